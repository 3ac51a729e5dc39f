/*
 * pmd.c - floor 4: PMD entries that map huge pages, and the huge zero folio.
 *
 *   PMD -> THP          one mapping of the folio; 512 pages of RSS
 *   PMD -> huge zero    no mapping, no RSS; one reference per mm, whatever it maps
 *
 * Either has its PTE table deposited: the huge leaf itself (pgtable.h). A PMD
 * split fills it and changes nothing else: the folio stays large, and all its
 * pages stay mapped.
 *
 * What could surprise: a split of a dirty entry marks all its pages as soft-dirty;
 * a split of the huge zero folio's entry maps the small zero page; the huge zero folio outlives its last user until its shrinker runs.
 *
 * Models: mm/huge_memory.c:__split_huge_pmd_locked(), zap_huge_pmd(),
 * mm_get_huge_zero_folio().
 */
#include "mm.h"

void ks_pmd_map(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint32_t folio,
		uint32_t bits)
{
	const ks_pfn head = ks_folio(&sys->frames, folio)->head;

	ks_folio_map_pmd(sys->env, &sys->frames, folio, mm->id);
	ks_pmd_set(sys->env, &sys->tables, &mm->pt, vpn, (struct ks_pte){ head, bits });
	mm->rss_anon += ks_pmd_pages(sys);
	mm->nr_anon_pmds++;
}

/* ---- the huge zero folio ---- */

static bool get_huge_zero(struct ks_system *sys, struct ks_mm *mm)
{
	if (mm->huge_zero)
		return true;
	if (!sys->huge_zero) {
		if (ks_inject(sys->env, KSMSIM_INJECT_huge_zero)) {
			ks_count(sys->env, KSMSIM_COUNT_thp_zero_page_alloc_failed, 1);
			return false;
		}
		ks_count(sys->env, KSMSIM_COUNT_thp_zero_page_alloc, 1);
		sys->huge_zero = true;
	}
	sys->huge_zero_refs++;
	mm->huge_zero = true;
	return true;
}

bool ks_pmd_map_huge_zero(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint32_t bits)
{
	const struct ks_pte pte = { ks_huge_zero(&sys->frames),
				    KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(YOUNG) | bits };

	if (!get_huge_zero(sys, mm))
		return false;
	ks_pmd_set(sys->env, &sys->tables, &mm->pt, vpn, pte);
	return true;
}

void ks_huge_zero_put(struct ks_system *sys, struct ks_mm *mm)
{
	if (!mm->huge_zero)
		return;
	mm->huge_zero = false;
	sys->huge_zero_refs--;
}

void ks_huge_zero_shrink(struct ks_system *sys)
{
	if (!sys->huge_zero_refs)
		sys->huge_zero = false;
}

/* ---- split ---- */

/* In locked memory a folio stays locked only if the profile's kernel counts PTEs of large folios as
 * locked, too. */
static void split_mlocked(struct ks_system *sys, struct ks_mm *mm, struct ks_folio *folio,
			  uint64_t vpn)
{
	const struct ks_vma *vma = ks_vma_at(mm, vpn);

	if (!sys->env->feature[KS_FEAT_mlock_kept_on_split] && vma && vma->flags & KS_VM_LOCKED)
		ks_lru_munlock(sys->env, &sys->frames, folio->head, true);
}

static void split_thp(struct ks_system *sys, struct ks_mm *mm, const struct ks_leaf *leaf)
{
	const uint32_t id = ks_folio_id(&sys->frames, leaf->pmd.pfn);
	struct ks_folio *folio = ks_folio(&sys->frames, id);
	struct ks_pte first = { leaf->pmd.pfn, leaf->pmd.bits };

	if (first.bits & KS_PTE(DIRTY))
		ks_folio_flag(folio, KS_FOLIO_DIRTY, true);
	if (!sys->env->feature[KS_FEAT_split_pmd_dirty])
		first.bits &= ~KS_PTE(DIRTY);
	else if (first.bits & KS_PTE(DIRTY))
		first.bits |= KS_PTE_MKDIRTY;
	split_mlocked(sys, mm, folio, leaf->vpn);
	ks_pmd_split(sys->env, &sys->tables, &mm->pt, leaf->vpn, first, 1);
	ks_folio_pmd_to_ptes(sys->env, &sys->frames, id, mm->id);
	mm->nr_anon_pmds--;
}

void ks_split_pmd(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn)
{
	const struct ks_leaf *leaf = ks_pmd_find(&sys->tables, &mm->pt, vpn);
	const struct ks_pte zero = { KS_PFN_ZERO,
				     KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(YOUNG) };

	if (!leaf)
		return;
	ks_count(sys->env, KSMSIM_COUNT_thp_split_pmd, 1);
	ks_cost(sys->env, KS_COST_split_pmd);
	if (ks_leaf_is_thp(leaf))
		split_thp(sys, mm, leaf);
	else
		ks_pmd_split(sys->env, &sys->tables, &mm->pt, leaf->vpn, zero, 0);
}

void ks_split_pmd_at(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn)
{
	if (vpn != ks_pmd_start(sys, vpn))
		ks_split_pmd(sys, mm, vpn);
}

/* ---- unmap ---- */

void ks_zap_pmd(struct ks_system *sys, struct ks_mm *mm, struct ks_leaf *leaf)
{
	const uint32_t id = ks_leaf_is_thp(leaf) ? ks_folio_id(&sys->frames, leaf->pmd.pfn) : 0;

	ks_pmd_clear(sys->env, &sys->tables, &mm->pt, leaf->vpn);
	ks_cost(sys->env, KS_COST_zap_thp);
	if (!id)
		return;
	mm->rss_anon -= ks_pmd_pages(sys);
	mm->nr_anon_pmds--;
	ks_folio_unmap_pmd(sys->env, &sys->frames, id, mm->id);
}
