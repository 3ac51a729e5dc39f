/*
 * rmap.c - floor 4: from a frame or folio to the entries that map it.
 *
 * Nothing is kept for single frames: all page tables are walked, in the order of
 * mm ids, until as many mappings were met as the frame has. Reclaim and migration
 * of single pages can afford that, and a frame stays 8 bytes.
 *
 * A large folio knows where it belongs: the root of its anon_vma and its page
 * offset there. Only VMAs of that root which cover the offset can map it, and only
 * an mm that ever had a VMA of that root is looked at: one in 64 of the others.
 *
 * What could surprise: their order is that of the anon_vma's interval tree, where a
 * VMA whose boundaries changed goes behind its equals; it decides whether a folio
 * counts as partially mapped while it is split.
 *
 * Models: mm/rmap.c:rmap_walk_anon(), mm/interval_tree.c.
 * Differs: single frames in the order of mms.
 */
#include "mm.h"

/* Visits at most @left mappings of @pfn in one mm. Returns how many there were. */
static uint32_t
walk_mm(struct ks_system *sys, struct ks_mm *mm, ks_pfn pfn, uint32_t left,
	void (*visit)(void *self, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte), void *self)
{
	struct ks_walk walk;
	uint32_t nr = 0;

	ks_walk_start(&walk, &sys->tables, &mm->pt, 0, ks_user_end(sys));
	while (nr < left && ks_walk_leaf(&walk)) {
		const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk.leaf);

		for (int slot = leaf->huge ? -1 : ks_walk_slot(&walk, walk.first);
		     slot >= 0 && nr < left; slot = ks_walk_slot(&walk, (unsigned)slot + 1)) {
			const struct ks_pte pte = ks_leaf_get(leaf, (unsigned)slot);

			if (!ks_pte_is_anon(pte) || pte.pfn != pfn)
				continue;
			visit(self, mm, leaf->vpn + (unsigned)slot, pte);
			nr++;
		}
	}
	return nr;
}

void ks_rmap_walk(struct ks_system *sys, ks_pfn pfn,
		  void (*visit)(void *self, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte),
		  void *self)
{
	uint32_t left = ks_frame_maps(ks_frame(&sys->frames, pfn));

	for (uint32_t i = 0; i < sys->nr_mms && left; i++) {
		if (sys->mms[i]->pt.root)
			left -= walk_mm(sys, sys->mms[i], pfn, left, visit, self);
	}
}

/* One VMA that may map a folio. */
struct candidate {
	struct ks_mm *mm;
	uint64_t pgoff, seq;	  /* of the VMA: its place in the interval tree */
	uint64_t vpn, start, end; /* what ks_rmap_folio() tells of it */
};

struct candidates {
	struct candidate *list;
	uint32_t nr, room;
};

static void add_candidate(struct ks_env *env, struct candidates *all, const struct candidate *one)
{
	uint32_t i = all->nr;

	if (all->nr == all->room) {
		all->room = all->room ? 2 * all->room : 8;
		all->list = ks_realloc(env, all->list, all->room * sizeof(*all->list));
	}
	for (; i > 0; i--) {
		const struct candidate *before = &all->list[i - 1];

		if (before->pgoff < one->pgoff ||
		    (before->pgoff == one->pgoff && before->seq < one->seq))
			break;
		all->list[i] = *before;
	}
	all->list[i] = *one;
	all->nr++;
}

/* The part of @folio that @vma covers, if it belongs to it. */
static bool covers(const struct ks_vma *vma, const struct ks_folio *folio, struct candidate *one)
{
	const uint64_t index = folio->index, behind = index + ks_folio_pages(folio);
	const uint64_t pages = vma->end - vma->start;

	if (vma->anon_root != folio->root || vma->pgoff >= behind || vma->pgoff + pages <= index)
		return false;
	one->pgoff = vma->pgoff;
	one->seq = vma->rmap_seq;
	one->vpn = vma->start + (index - vma->pgoff);
	one->start = vma->pgoff > index ? vma->start : one->vpn;
	one->end = vma->pgoff + pages < behind ? vma->end : vma->start + (behind - vma->pgoff);
	return true;
}

void ks_rmap_folio(struct ks_system *sys, const struct ks_folio *folio,
		   void (*visit)(void *self, struct ks_mm *mm, uint64_t vpn, uint64_t start,
				 uint64_t end),
		   void *self)
{
	const struct ks_folio wanted = *folio; /* visits may change it */
	struct candidates all = { .nr = 0 };

	for (uint32_t i = 0; i < sys->nr_mms; i++) {
		struct candidate one = { .mm = sys->mms[i] };

		if (!(one.mm->anon_roots & ks_anon_root_bit(wanted.root)))
			continue;
		for (uint32_t k = 0; k < one.mm->nr_vmas; k++) {
			if (covers(&one.mm->vmas[k], &wanted, &one))
				add_candidate(sys->env, &all, &one);
		}
	}
	for (uint32_t i = 0; i < all.nr; i++) {
		const struct candidate *one = &all.list[i];

		visit(self, one->mm, one->vpn, one->start, one->end);
	}
	ks_free(sys->env, all.list);
}
