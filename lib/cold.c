/*
 * cold.c - floor 4: MADV_FREE, MADV_COLD, MADV_PAGEOUT.
 *
 * They leave the memory where it is and tell reclaim what to do with it. What could
 * surprise: a large folio that is not wholly in the range is split for it, unless
 * others map it or hold it; one that may be shared is left out without a word. There
 * is no swap device for MADV_PAGEOUT, which tries it all the same.
 *
 * Models: mm/madvise.c:madvise_free_single_vma(), madvise_cold_or_pageout_pte_range().
 */
#include "advice.h"

#include <errno.h>

/* ---- advices that split what they do not cover ---- */

/* Splits the large folio of @pfn into pages. */
static bool split_folio(const struct ks_part *p, ks_pfn pfn)
{
	struct ks_system *sys = p->sys;
	long ret;

	ks_folio_get(sys->env, &sys->frames, pfn, 1);
	ret = ks_split_folio(sys, pfn, 0, true, KSMSIM_SPLIT_MADVISE);
	ks_folio_put(sys->env, &sys->frames, pfn, 1);
	return !ret;
}

/* A THP that nobody else maps. Before folios knew the sum of their mappings MADV_FREE added it up, and
 * the others asked for those of the head page. */
static bool is_own_thp(const struct ks_part *p, const struct ks_leaf *leaf)
{
	const struct ks_env *env = p->sys->env;

	if (!ks_leaf_is_thp(leaf))
		return false;
	if (p->advice == KSMSIM_MADV_FREE && !env->feature[KS_FEAT_large_mapcount])
		return ks_folio_of(&p->sys->frames, leaf->pmd.pfn)->maps == 1;
	return !ks_page_maybe_shared(env, &p->sys->frames, leaf->pmd.pfn);
}

/* A huge page of which the walk covers a part: its folio is split, unless others map it or hold it.
 * false: it stays as it is. Models: madvise_free_huge_pmd(). */
static bool split_part(const struct ks_part *p, const struct ks_leaf *leaf)
{
	return is_own_thp(p, leaf) && split_folio(p, leaf->pmd.pfn);
}

enum fate {
	FOLIO_WHOLE, /* the entries map all of it */
	FOLIO_LEFT,  /* they do not, and it was left as it is */
	FOLIO_SPLIT, /* they did not: now there are single pages */
};

/* A folio mapped by PTEs, of which @slot is a page. *@nr: entries from @slot on that this settles. Before
 * 6.10 every folio is split, and one that cannot be ends the leaf. */
static enum fate settle_folio(const struct ks_part *p, const struct ks_walk *walk, unsigned slot,
			      uint32_t *nr)
{
	const struct ks_pte pte = ks_leaf_get(ks_leaf(walk->tables, walk->leaf), slot);
	const bool batched = p->sys->env->feature[KS_FEAT_zap_batched];

	*nr = batched ? ks_folio_run(p->sys, ks_leaf(walk->tables, walk->leaf), slot, walk->last)
		      : walk->last - slot + 1;
	if (batched && *nr == ks_folio_pages(ks_folio_of(&p->sys->frames, pte.pfn)))
		return FOLIO_WHOLE;
	if (ks_page_maybe_shared(p->sys->env, &p->sys->frames, pte.pfn) || !split_folio(p, pte.pfn))
		return FOLIO_LEFT;
	*nr = 0;
	return FOLIO_SPLIT;
}

/* Is the entry one of a large folio mapped by PTEs? */
static bool is_large(const struct ks_part *p, struct ks_pte pte)
{
	return ks_pte_is_anon(pte) && ks_pfn_is_large(&p->sys->frames, pte.pfn);
}

/* ---- MADV_FREE ---- */

/* The folio may be dropped by reclaim until it is written again. */
static void forget_folio(const struct ks_part *p, struct ks_folio *folio)
{
	ks_folio_flag(folio, KS_FOLIO_DIRTY, false);
	ks_lru_lazyfree(p->sys->env, &p->sys->frames, folio->head);
}

static void make_clean(const struct ks_part *p, uint64_t vpn, struct ks_pte pte)
{
	if (!(pte.bits & (KS_PTE(DIRTY) | KS_PTE(YOUNG))))
		return;
	pte.bits &= ~(KS_PTE(DIRTY) | KS_PTE(YOUNG) | KS_PTE(WATCHED));
	ks_pte_set(p->sys->env, &p->sys->tables, &p->mm->pt, vpn, pte);
}

/* Does the page lose its dirty mark? Not while others map it. */
static bool wash(struct ks_system *sys, ks_pfn pfn)
{
	struct ks_frame *frame = ks_frame(&sys->frames, pfn);

	if (!ks_frame_test(frame, KS_FRAME_SWAPCACHE) && !ks_frame_test(frame, KS_FRAME_DIRTY))
		return true;
	if (ks_frame_maps(frame) != 1)
		return false;
	if (ks_frame_test(frame, KS_FRAME_SWAPCACHE) && !ks_swap_cache_drop(sys, pfn))
		return false;
	ks_frame_flag(frame, KS_FRAME_DIRTY, false);
	return true;
}

/* The page, one of KSM too, may be dropped by reclaim until it is written again.
 * Models: madvise_free_pte_range(). */
static void free_lazily(const struct ks_part *p, uint64_t vpn, struct ks_pte pte)
{
	struct ks_system *sys = p->sys;

	if (ks_pte_is_guard(pte))
		return;
	if (pte.bits & KS_PTE(NONPRESENT)) {
		ks_pte_set(sys->env, &sys->tables, &p->mm->pt, vpn, (struct ks_pte){ .bits = 0 });
		ks_pte_gone(sys, p->mm, pte);
		return;
	}
	if (!ks_pte_is_anon(pte) || !wash(sys, pte.pfn))
		return;
	ks_lru_lazyfree(sys->env, &sys->frames, pte.pfn);
	make_clean(p, vpn, pte);
}

/* Returns how many entries of a large folio were dealt with; 0: @slot is a small page now. Only one
 * that is dirty must not be shared. */
static uint32_t free_run(const struct ks_part *p, const struct ks_walk *walk, unsigned slot)
{
	const struct ks_leaf *leaf = ks_leaf(walk->tables, walk->leaf);
	struct ks_folio *folio = ks_folio_of(&p->sys->frames, ks_leaf_get(leaf, slot).pfn);
	uint32_t nr;

	if (settle_folio(p, walk, slot, &nr) != FOLIO_WHOLE)
		return nr;
	if (ks_folio_test(folio, KS_FOLIO_DIRTY) && folio->maps != nr)
		return nr;
	forget_folio(p, folio);
	for (uint32_t i = 0; i < nr; i++)
		make_clean(p, leaf->vpn + slot + i, ks_leaf_get(leaf, slot + i));
	return nr;
}

static void free_leaf(const struct ks_part *p, const struct ks_walk *walk)
{
	const struct ks_leaf *leaf = ks_leaf(walk->tables, walk->leaf);
	unsigned next;

	for (int slot = ks_walk_slot(walk, walk->first); slot >= 0;
	     slot = ks_walk_slot(walk, next)) {
		uint32_t nr = 0;

		if (is_large(p, ks_leaf_get(leaf, (unsigned)slot)))
			nr = free_run(p, walk, (unsigned)slot);
		next = (unsigned)slot + (nr ? nr : 1);
		if (!nr)
			free_lazily(p, leaf->vpn + (unsigned)slot,
				    ks_leaf_get(leaf, (unsigned)slot));
	}
}

/* All of a huge page at once. */
static void free_pmd(const struct ks_part *p, struct ks_leaf *leaf)
{
	if (!is_own_thp(p, leaf))
		return;
	forget_folio(p, ks_folio_of(&p->sys->frames, leaf->pmd.pfn));
	ks_pmd_change(&p->sys->tables, &p->mm->pt, leaf,
		      leaf->pmd.bits & ~(KS_PTE(DIRTY) | KS_PTE(YOUNG)));
}

long ks_advise_free(const struct ks_part *p)
{
	const struct ks_vma *vma = ks_vma_at(p->mm, p->start);
	struct ks_walk walk;

	if (!ks_vma_is_anon(vma) || vma->flags & KS_VM_LOCKED)
		return -EINVAL;
	ks_lru_drain_local(p->sys->env, &p->sys->frames);
	ks_walk_start(&walk, &p->sys->tables, &p->mm->pt, p->start, p->end);
	while (ks_walk_leaf(&walk)) {
		struct ks_leaf *leaf = ks_leaf(&p->sys->tables, walk.leaf);

		if (leaf->huge && walk.last - walk.first + 1 == ks_pmd_pages(p->sys))
			free_pmd(p, leaf);
		else if (!leaf->huge || split_part(p, leaf))
			free_leaf(p, &walk);
	}
	return 0;
}

/* ---- MADV_COLD, MADV_PAGEOUT ---- */

/* Folios on their way out: taken off their lists. One walk over a page table takes at most a page
 * for each entry. */
struct outgoing {
	uint64_t *vpn;
	uint32_t nr, room;
};

static void take_out(const struct ks_part *p, struct outgoing *out, uint64_t vpn, ks_pfn pfn)
{
	struct ks_system *sys = p->sys;

	if (p->advice != KSMSIM_MADV_PAGEOUT) {
		ks_lru_deactivate(sys->env, &sys->frames, pfn);
		return;
	}
	ks_lru_set_marks(sys->env, &sys->frames, pfn,
			 ks_lru_marks(&sys->frames, pfn) & ~(unsigned)KS_LRU_REFERENCED);
	if (ks_lru_lock_of(&sys->frames, pfn).unevictable) {
		ks_lru_putback(sys->env, &sys->frames, pfn);
		return;
	}
	if (out->nr == out->room) {
		out->room = out->room ? 2 * out->room : 32;
		out->vpn = ks_realloc(sys->env, out->vpn, out->room * sizeof(*out->vpn));
	}
	out->vpn[out->nr++] = vpn;
}

static ks_pfn anon_at(const struct ks_part *p, uint64_t vpn)
{
	const struct ks_pte pte = ks_pte_get(&p->sys->tables, &p->mm->pt, vpn);

	return ks_pte_is_anon(pte) ? pte.pfn : KS_PFN_NONE;
}

/* What reclaim could not have is active from then on, unless it did not try at all: it is pinned.
 * @tried: it did, pinned or not. */
static void put_back(const struct ks_part *p, uint64_t vpn, bool tried)
{
	struct ks_system *sys = p->sys;
	const ks_pfn pfn = anon_at(p, vpn);
	const struct ks_folio *folio = ks_folio_of(&sys->frames, pfn);
	bool pinned;

	if (!pfn)
		return;
	pinned = folio ? folio->pins : ks_frame_pins(&sys->frames, pfn);
	ks_lru_set_marks(sys->env, &sys->frames, pfn, pinned && !tried ? 0 : KS_LRU_ACTIVE);
	if (folio)
		ks_lru_add_large(sys->env, &sys->frames, pfn, false);
	else
		ks_lru_putback(sys->env, &sys->frames, pfn);
}

/* The pages of a split folio come back after it, the last one first. Those that nobody maps any more
 * wait in the batch, too, in the kernel; here they are gone. */
static void put_back_parts(const struct ks_part *p, uint64_t vpn, uint32_t pages)
{
	put_back(p, vpn, false);
	for (uint32_t i = pages; --i > 0;)
		put_back(p, vpn + i, false);
}

/* There is no swap device: a large folio is split in vain, and all come back. Only what was freed
 * lazily can go. Models: mm/vmscan.c:reclaim_pages(), shrink_folio_list(). */
static void page_out(const struct ks_part *p, uint64_t vpn)
{
	struct ks_system *sys = p->sys;
	const ks_pfn pfn = anon_at(p, vpn);
	const struct ks_folio *folio = ks_folio_of(&sys->frames, pfn);
	const uint32_t pages = folio ? ks_folio_pages(folio) : 1;
	const bool lazyfree = ks_page_lazyfree(&sys->frames, pfn);

	if (lazyfree) {
		if (ks_discard_lazyfree(sys, ks_vma_at(p->mm, vpn), vpn, pfn))
			return;
	} else if (folio && !folio->gets && ks_swap_split(sys, pfn)) {
		put_back_parts(p, vpn, pages);
		return;
	}
	put_back(p, vpn, lazyfree);
}

static void page_out_all(const struct ks_part *p, struct outgoing *out)
{
	for (uint32_t i = 0; i < out->nr; i++)
		page_out(p, out->vpn[i]);
	out->nr = 0;
}

/* Since 6.9 MADV_PAGEOUT has reclaim take no notice of the accessed marks. */
static bool keeps_young(const struct ks_part *p)
{
	return p->advice == KSMSIM_MADV_PAGEOUT &&
	       p->sys->env->feature[KS_FEAT_pageout_keeps_young];
}

static void make_old(const struct ks_part *p, uint64_t vpn, struct ks_pte pte)
{
	if (!(pte.bits & KS_PTE(YOUNG)) || keeps_young(p))
		return;
	pte.bits &= ~(KS_PTE(YOUNG) | KS_PTE(WATCHED));
	ks_pte_set(p->sys->env, &p->sys->tables, &p->mm->pt, vpn, pte);
}

/* Returns how many entries from @slot on were dealt with; 0: it is a small page now. */
static uint32_t cool_run(const struct ks_part *p, const struct ks_walk *walk, unsigned slot,
			 struct outgoing *out)
{
	const struct ks_leaf *leaf = ks_leaf(walk->tables, walk->leaf);
	const struct ks_pte pte = ks_leaf_get(leaf, slot);
	uint32_t nr = 1;

	if (is_large(p, pte)) {
		if (settle_folio(p, walk, slot, &nr) != FOLIO_WHOLE ||
		    ks_folio_of(&p->sys->frames, pte.pfn)->maps != nr)
			return nr;
	} else if (!ks_pte_is_anon(pte) ||
		   ks_frame_test(ks_frame(&p->sys->frames, pte.pfn), KS_FRAME_LRU_BATCH) ||
		   ks_page_maybe_shared(p->sys->env, &p->sys->frames, pte.pfn)) {
		return 1;
	}
	for (uint32_t i = 0; i < nr; i++)
		make_old(p, leaf->vpn + slot + i, ks_leaf_get(leaf, slot + i));
	take_out(p, out, leaf->vpn + slot, pte.pfn);
	return nr;
}

static void cool_leaf(const struct ks_part *p, const struct ks_walk *walk, struct outgoing *out)
{
	for (int slot = ks_walk_slot(walk, walk->first); slot >= 0;) {
		const uint32_t nr = cool_run(p, walk, (unsigned)slot, out);

		slot = ks_walk_slot(walk, (unsigned)slot + nr);
	}
}

static void cool_pmd(const struct ks_part *p, struct ks_leaf *leaf, struct outgoing *out)
{
	if (!is_own_thp(p, leaf))
		return;
	if (!keeps_young(p))
		ks_pmd_change(&p->sys->tables, &p->mm->pt, leaf, leaf->pmd.bits & ~KS_PTE(YOUNG));
	take_out(p, out, leaf->vpn, leaf->pmd.pfn);
}

/* Models: madvise_cold_or_pageout_pte_range(). */
long ks_advise_cold(const struct ks_part *p)
{
	const struct ks_vma *vma = ks_vma_at(p->mm, p->start);
	struct outgoing out = { .nr = 0 };
	struct ks_walk walk;

	if (vma->flags & (KS_VM_LOCKED | KS_VM_HUGETLB))
		return -EINVAL;
	ks_lru_drain_local(p->sys->env, &p->sys->frames);
	ks_walk_start(&walk, &p->sys->tables, &p->mm->pt, p->start, p->end);
	while (ks_walk_leaf(&walk)) {
		struct ks_leaf *leaf = ks_leaf(&p->sys->tables, walk.leaf);

		if (leaf->huge && walk.last - walk.first + 1 == ks_pmd_pages(p->sys))
			cool_pmd(p, leaf, &out);
		else if (!leaf->huge || split_part(p, leaf))
			cool_leaf(p, &walk, &out);
		page_out_all(p, &out);
	}
	ks_free(p->sys->env, out.vpn);
	return 0;
}
