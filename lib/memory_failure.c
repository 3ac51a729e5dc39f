/*
 * memory_failure.c - floor 5: the memory of a page fails, as MADV_HWPOISON says.
 *
 *   1 mark        the frame, whatever becomes of it: kpageflags bit 19, HardwareCorrupted
 *   2 split       a large folio into pages; if it cannot be, all stays mapped: -EHWPOISON
 *   3 unmap       in every process: entries of the page become hwpoison entries, which are
 *                 neither present nor swapped, and any access to them is a bus error
 *   4 hold        the frame for good: nobody gets it again
 *
 * A hwpoison entry is copied by fork and moved by mremap; munmap, MADV_DONTNEED and
 * MADV_FREE make it a hole, whose next touch gets a new page.
 *
 * What could surprise: a range goes on by the size of what it met, so that a huge page is hit
 * once however much of it is asked for, at the page that the address is in. A page of a folio
 * mapped by PTEs is lost in the split already (split.c). A KSM page is lost in all processes
 * whose items lead to it, and its node stays until the scan comes by those items. Pinned pages
 * are unmapped like others; a pinned large folio cannot be split.
 *
 * Signals are not told: where the page was dirty, or could not be unmapped, the process that
 * asked gets a SIGBUS (BUS_MCEERR_AR, and dies of it if it is blocked or ignored), and those that
 * want to know early (PR_MCE_KILL) one with BUS_MCEERR_AO; all others at their next access.
 *
 * Models: mm/madvise.c:madvise_inject_error(); mm/memory-failure.c:memory_failure(),
 * hwpoison_user_mappings(), me_pagecache_clean(); mm/rmap.c:try_to_unmap_one().
 * Differs: pages of files, the huge zero folio and pages in the swap cache: -EOPNOTSUPP, and
 * nothing happens.
 */
#include "fault.h"

#include <errno.h>

struct failure {
	struct ks_system *sys;
	ks_pfn pfn;
};

static void mark(struct ks_system *sys, ks_pfn pfn)
{
	ks_frame_poison(sys->env, &sys->frames, pfn);
	ks_count(sys->env, KSMSIM_COUNT_HardwareCorrupted, 1);
}

/* ---- unmap ---- */

/* Items lead to the mappings of a KSM page. Models: mm/ksm.c:rmap_walk_ksm(). */
static bool is_found(const struct failure *f, const struct ks_mm *mm, uint64_t vpn)
{
	const struct ks_mm_hooks *hooks = &f->sys->hooks;

	return !ks_frame_test(ks_frame(&f->sys->frames, f->pfn), KS_FRAME_KSM) ||
	       !hooks->leads_to || hooks->leads_to(hooks->self, f->pfn, mm, vpn);
}

static void unmap_one(void *self, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte)
{
	const struct failure *f = self;
	struct ks_system *sys = f->sys;
	const bool locked = ks_vma_at(mm, vpn)->flags & KS_VM_LOCKED;

	if (!is_found(f, mm, vpn))
		return;
	if (pte.bits & KS_PTE(DIRTY))
		ks_frame_flag(ks_frame(&sys->frames, f->pfn), KS_FRAME_DIRTY, true);
	if (locked)
		ks_lru_munlock(sys->env, &sys->frames, f->pfn, false);
	ks_pte_set(sys->env, &sys->tables, &mm->pt, vpn,
		   (struct ks_pte){ f->pfn, KS_PTE_HWPOISON });
	mm->rss_anon--;
	ks_frame_unmap(sys->env, &sys->frames, f->pfn);
	if (locked)
		ks_lru_drain_mlock(sys->env, &sys->frames);
}

/* Off the LRU lists; that it was referenced stays. Models: delete_from_lru_cache(). */
static void leave_lru(struct ks_system *sys, ks_pfn pfn)
{
	const unsigned marks = ks_lru_marks(&sys->frames, pfn);

	ks_lru_forget(&sys->frames, pfn);
	ks_lru_set_marks(sys->env, &sys->frames, pfn, marks & KS_LRU_REFERENCED);
}

/* ---- one page ---- */

/* Of the page, which is of a small folio now, the caller holds a reference, for good. */
static long fail_small(struct ks_system *sys, ks_pfn pfn)
{
	struct failure f = { sys, pfn };

	ks_lru_drain_local(sys->env, &sys->frames);
	ks_rmap_walk(sys, pfn, unmap_one, &f);
	if (ks_frame_maps(ks_frame(&sys->frames, pfn)))
		return -EBUSY;
	leave_lru(sys, pfn);
	return 0;
}

static long fail_anon(struct ks_system *sys, ks_pfn pfn)
{
	if (ks_frame_test(ks_frame(&sys->frames, pfn), KS_FRAME_SWAPCACHE))
		return -EOPNOTSUPP;
	mark(sys, pfn);
	ks_folio_get(sys->env, &sys->frames, pfn, 1);
	if (ks_pfn_is_large(&sys->frames, pfn) &&
	    ks_split_folio(sys, pfn, 0, true, KSMSIM_SPLIT_FAILURE)) {
		ks_folio_put(sys->env, &sys->frames, pfn, 1);
		return -EHWPOISON;
	}
	return fail_small(sys, pfn);
}

/* Models: memory_failure(). */
static long fail_page(struct ks_system *sys, struct ks_pte pte)
{
	const bool special = pte.bits & KS_PTE(SPECIAL);

	if (pte.bits & KS_PTE(FILE) || (special && pte.pfn != KS_PFN_ZERO))
		return -EOPNOTSUPP;
	if (ks_frame_is_poisoned(&sys->frames, pte.pfn))
		return -EHWPOISON;
	if (!special)
		return fail_anon(sys, pte.pfn);
	mark(sys, KS_PFN_ZERO);
	return -EBUSY;
}

/**
 * ks_memory_failure() - MADV_HWPOISON for [vpn, vpn + pages), page by page, until one cannot
 *
 * Models: mm/madvise.c:madvise_inject_error().
 * Returns: 0, -EINVAL (the profile has it not), -EFAULT (no page can be had there), -EBUSY (it could not
 * be unmapped: the zero page, KSM pages that no item leads to), -EHWPOISON (it failed before, or a
 * large folio could not be split), -EOPNOTSUPP (not modelled).
 */
long ks_memory_failure(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages)
{
	const uint64_t end = vpn + pages;

	if (!sys->env->feature[KS_FEAT_memory_failure] || end < vpn)
		return -EINVAL;
	while (vpn < end) {
		const struct ks_folio *folio;
		struct ks_pte pte;
		uint64_t step;
		long ret;

		if (ks_access_get(sys, mm, vpn, &pte) != KS_FAULT_DONE)
			return -EFAULT;
		folio = ks_pte_is_anon(pte) ? ks_folio_of(&sys->frames, pte.pfn) : NULL;
		step = folio ? ks_folio_pages(folio) : 1;
		ret = fail_page(sys, pte);
		if (ret)
			return ret;
		vpn += step;
	}
	return 0;
}
