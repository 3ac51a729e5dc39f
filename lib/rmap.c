/*
 * rmap.c - floor 4: from a frame to the entries that map it.
 *
 * Nothing is kept for this: all page tables are walked, in the order of mm ids,
 * until as many mappings were met as the frame has. Reclaim and migration of
 * single pages can afford that, and a frame stays 8 bytes.
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

		for (int slot = ks_walk_slot(&walk, walk.first); slot >= 0 && nr < left;
		     slot = ks_walk_slot(&walk, (unsigned)slot + 1)) {
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
