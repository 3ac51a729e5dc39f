/*
 * zap.c - floor 4: pages leave a process.
 *
 * An entry is cleared first, which rings the bell if it was watched; then what it
 * stood for loses a mapping, a swap reference or a count. Page tables stay; only
 * ks_free_tables() gives back those that no VMA needs any more.
 *
 * A PMD entry goes as a whole, or is split first if only a part of it is asked
 * for. PTEs of neighbouring pages of a large folio go in one step, since 6.9.
 *
 * What could surprise: that step ends at the end of a VMA and of a page table, so
 * the same pages unmapped in two steps leave the folio partially mapped between.
 *
 * Models: mm/memory.c:zap_pte_range(), zap_present_ptes(), mm/vma.c:unmap_region().
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
	if (ks_pte_is_guard(pte) || ks_pte_is_hwpoison(pte)) {
		return;
	} else if (pte.bits & KS_PTE(NONPRESENT)) {
		mm->swap_pages--;
		ks_swap_put(sys, pte.pfn);
	} else if (pte.bits & KS_PTE(FILE)) {
		mm->rss_file--;
	} else if (ks_pte_is_ksm_zero(pte)) {
		ks_zero_page_unmapped(sys, mm);
	} else if (ks_pte_is_anon(pte)) {
		mm->rss_anon--;
		ks_page_unmap(sys, mm, pte.pfn);
	}
}

static void zap_entry(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte)
{
	ks_pte_set(sys->env, &sys->tables, &mm->pt, vpn, (struct ks_pte){ .bits = 0 });
	ks_pte_gone(sys, mm, pte);
	if (pte.bits & KS_PTE(PRESENT))
		ks_cost(sys->env, KS_COST_zap);
}

uint32_t ks_folio_run(const struct ks_system *sys, const struct ks_leaf *leaf, unsigned slot,
		      unsigned last)
{
	const struct ks_pte first = ks_leaf_get(leaf, slot);
	const struct ks_folio *folio = ks_folio_of(&sys->frames, first.pfn);
	const ks_pfn behind = folio->head + ks_folio_pages(folio);
	uint32_t nr = 1;

	while (slot + nr <= last && first.pfn + nr < behind) {
		const struct ks_pte next = ks_leaf_get(leaf, slot + nr);

		if (!ks_pte_is_anon(next) || next.pfn != first.pfn + nr)
			break;
		nr++;
	}
	return nr;
}

/* Pages of a large folio; returns how many. */
static uint32_t zap_run(struct ks_system *sys, struct ks_mm *mm, const struct ks_walk *walk,
			unsigned slot, struct ks_pte pte)
{
	const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk->leaf);
	const uint32_t nr = sys->env->feature[KS_FEAT_zap_batched]
				    ? ks_folio_run(sys, leaf, slot, walk->last)
				    : 1;

	for (uint32_t i = 0; i < nr; i++)
		ks_pte_set(sys->env, &sys->tables, &mm->pt, leaf->vpn + slot + i,
			   (struct ks_pte){ .bits = 0 });
	mm->rss_anon -= nr;
	ks_folio_unmap_ptes(sys->env, &sys->frames, pte.pfn, nr, mm->id);
	ks_cost_n(sys->env, KS_COST_zap, nr);
	return nr;
}

static void zap_leaf(struct ks_system *sys, struct ks_mm *mm, const struct ks_walk *walk,
		     bool keep_guards)
{
	const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk->leaf);
	unsigned next;

	for (int slot = ks_walk_slot(walk, walk->first); slot >= 0;
	     slot = ks_walk_slot(walk, next)) {
		const struct ks_pte pte = ks_leaf_get(leaf, (unsigned)slot);

		next = (unsigned)slot + 1;
		if (keep_guards && ks_pte_is_guard(pte))
			continue;
		if (ks_pte_is_anon(pte) && ks_pfn_is_large(&sys->frames, pte.pfn))
			next += zap_run(sys, mm, walk, (unsigned)slot, pte) - 1;
		else
			zap_entry(sys, mm, leaf->vpn + (unsigned)slot, pte);
	}
}

static void zap(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end,
		bool keep_guards)
{
	struct ks_walk walk;

	if (start >= end)
		return;
	ks_walk_start(&walk, &sys->tables, &mm->pt, start, end);
	while (ks_walk_leaf(&walk)) {
		struct ks_leaf *leaf = ks_leaf(&sys->tables, walk.leaf);

		if (leaf->huge && walk.last - walk.first + 1 == ks_pmd_pages(sys)) {
			ks_zap_pmd(sys, mm, leaf);
			continue;
		}
		if (leaf->huge)
			ks_split_pmd(sys, mm, leaf->vpn);
		zap_leaf(sys, mm, &walk, keep_guards);
	}
}

void ks_zap(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	zap(sys, mm, start, end, true);
}

void ks_zap_vmas(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		const struct ks_vma *vma = &mm->vmas[i];

		zap(sys, mm, vma->start > start ? vma->start : start,
		    vma->end < end ? vma->end : end, false);
	}
}

/* The pages of [start, end), all of one locked VMA. */
static void munlock_pages(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	struct ks_walk walk;

	ks_walk_start(&walk, &sys->tables, &mm->pt, start, end);
	while (ks_walk_leaf(&walk)) {
		const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk.leaf);
		unsigned next;

		if (ks_leaf_is_thp(leaf))
			ks_lru_munlock(sys->env, &sys->frames, leaf->pmd.pfn, true);
		for (int slot = leaf->huge ? -1 : ks_walk_slot(&walk, walk.first); slot >= 0;
		     slot = ks_walk_slot(&walk, next)) {
			const struct ks_pte pte = ks_leaf_get(leaf, (unsigned)slot);

			next = (unsigned)slot + 1;
			if (!ks_pte_is_anon(pte))
				continue;
			ks_lru_munlock(sys->env, &sys->frames, pte.pfn, false);
			if (ks_pfn_is_large(&sys->frames, pte.pfn))
				next = (unsigned)slot +
				       ks_folio_run(sys, leaf, (unsigned)slot, walk.last);
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
void ks_free_tables(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	const struct ks_vma *behind = ks_vma_find(mm, start);
	const uint32_t idx = behind ? (uint32_t)(behind - mm->vmas) : mm->nr_vmas;

	ks_pgtable_free_range(sys->env, &sys->tables, &mm->pt, start, end,
			      idx > 0 ? mm->vmas[idx - 1].end : 0, behind ? behind->start : 0);
}
