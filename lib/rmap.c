/*
 * rmap.c - floor 4: from a frame or folio to the entries that map it.
 *
 * Nothing is kept for single frames: all page tables are walked, in the order of
 * mm ids, until as many mappings were met as the frame has. Reclaim and migration
 * of single pages can afford that, and a frame stays 8 bytes.
 *
 * A large folio knows where it belongs: the root of its anon_vma and its page
 * offset there. Only VMAs of that root which cover the offset can map it.
 *
 * Differs: the kernel finds the mappings through the anon_vma's interval tree or
 * KSM's items, and so in the order in which these were made.
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

void ks_rmap_folio(struct ks_system *sys, const struct ks_folio *folio,
		   void (*visit)(void *self, struct ks_mm *mm, uint64_t vpn, uint64_t start,
				 uint64_t end),
		   void *self)
{
	const uint64_t index = folio->index, behind = index + ks_folio_pages(folio);
	const uint32_t root = folio->root;

	for (uint32_t i = 0; i < sys->nr_mms; i++) {
		struct ks_mm *mm = sys->mms[i];

		for (uint32_t k = 0; k < mm->nr_vmas; k++) {
			const struct ks_vma *vma = &mm->vmas[k];
			const uint64_t pages = vma->end - vma->start;
			uint64_t start, end;

			if (vma->anon_root != root || vma->pgoff >= behind ||
			    vma->pgoff + pages <= index)
				continue;
			start = vma->pgoff > index ? vma->start : vma->start + (index - vma->pgoff);
			end = vma->pgoff + pages < behind ? vma->end
							  : vma->start + (behind - vma->pgoff);
			visit(self, mm, vma->start + (index - vma->pgoff), start, end);
		}
	}
}
