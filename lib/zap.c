/*
 * zap.c - floor 4: pages leave a process.
 *
 * An entry is cleared first, which rings the bell if it was watched; then what it
 * stood for loses a mapping, a swap reference or a count. Page tables stay; only
 * ks_unmap_region() gives back those that no VMA needs any more.
 *
 * Models: mm/memory.c:zap_pte_range(), mm/vma.c:unmap_region().
 */
#include "mm.h"

void ks_zero_page_unmapped(struct ks_system *sys, struct ks_mm *mm)
{
	if (!sys->env->feature[KS_FEAT_zero_tracking])
		return;
	ks_count(sys->env, KSMSIM_COUNT_ksm_zero_pages, -1);
	mm->ksm_zero_pages--;
}

void ks_pte_gone(struct ks_system *sys, struct ks_mm *mm, struct ks_pte pte)
{
	if (pte.bits & KS_PTE(NONPRESENT)) {
		mm->swap_pages--;
		ks_swap_put(sys, pte.pfn);
	} else if (pte.bits & KS_PTE(FILE)) {
		mm->rss_file--;
	} else if (ks_pte_is_ksm_zero(pte)) {
		ks_zero_page_unmapped(sys, mm);
	} else if (ks_pte_is_anon(pte)) {
		mm->rss_anon--;
		ks_anon_unmap(sys, pte.pfn);
	}
}

static void zap_entry(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte)
{
	ks_pte_set(sys->env, &sys->tables, &mm->pt, vpn, (struct ks_pte){ .bits = 0 });
	ks_pte_gone(sys, mm, pte);
	if (pte.bits & KS_PTE(PRESENT))
		ks_cost(sys->env, KS_COST_zap);
}

void ks_zap(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	struct ks_walk walk;

	if (start >= end)
		return;
	ks_walk_start(&walk, &sys->tables, &mm->pt, start, end);
	while (ks_walk_leaf(&walk)) {
		const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk.leaf);

		for (int slot = ks_walk_slot(&walk, walk.first); slot >= 0;
		     slot = ks_walk_slot(&walk, (unsigned)slot + 1))
			zap_entry(sys, mm, leaf->vpn + (unsigned)slot,
				  ks_leaf_get(leaf, (unsigned)slot));
	}
}

/* The pages of [start, end), all of one locked VMA. */
static void munlock_pages(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	struct ks_walk walk;

	ks_walk_start(&walk, &sys->tables, &mm->pt, start, end);
	while (ks_walk_leaf(&walk)) {
		const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk.leaf);

		for (int slot = ks_walk_slot(&walk, walk.first); slot >= 0;
		     slot = ks_walk_slot(&walk, (unsigned)slot + 1)) {
			const struct ks_pte pte = ks_leaf_get(leaf, (unsigned)slot);

			if (ks_pte_is_anon(pte))
				ks_lru_mlock(sys->env, &sys->frames, pte.pfn);
		}
	}
}

/* Models: mm/rmap.c:folio_remove_rmap_ptes() in a locked VMA. */
void ks_munlock_unmapped(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		const struct ks_vma *vma = &mm->vmas[i];

		if (vma->flags & KS_VM_LOCKED && vma->start < end && vma->end > start)
			munlock_pages(sys, mm, vma->start > start ? vma->start : start,
				      vma->end < end ? vma->end : end);
	}
}

void ks_lru_drain_for_unmap(struct ks_system *sys)
{
	if (sys->env->feature[KS_FEAT_unmap_drains_lru])
		ks_lru_drain_local(sys->env, &sys->frames);
}

/* Tables may reach into the holes on both sides, up to the next VMAs. */
void ks_unmap_region(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	const struct ks_vma *behind = ks_vma_find(mm, start);
	const uint32_t idx = behind ? (uint32_t)(behind - mm->vmas) : mm->nr_vmas;

	ks_lru_drain_for_unmap(sys);
	ks_zap(sys, mm, start, end);
	ks_lru_drain_for_unmap(sys);
	ks_pgtable_free_range(sys->env, &sys->tables, &mm->pt, start, end,
			      idx > 0 ? mm->vmas[idx - 1].end : 0, behind ? behind->start : 0);
}
