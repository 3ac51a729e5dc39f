/*
 * madvise.c - floor 4: all advices, and mlock.
 *
 * An advice is applied VMA by VMA in address order. A hole does not stop it: the
 * rest is done and -ENOMEM comes at the end. An error does stop it.
 *
 *   madvise [====|    |==!=|====]    ! error: what is left of it is done
 *   mlock   [====|    |                a hole stops, nothing is populated
 *
 * What could surprise: -ENOMEM of an advice that changes flags is told as -EAGAIN,
 * since -ENOMEM means a hole; DONTNEED leaves empty page tables behind (before
 * pt_reclaim); mlock() of merged pages in writable memory copies them apart.
 *
 * Models: mm/madvise.c:do_madvise(), mm/mlock.c:do_mlock().
 */
#include "mm.h"

#include <errno.h>

/* One VMA's part of the range. */
struct part {
	struct ks_system *sys;
	struct ks_mm *mm;
	uint64_t start, end;
	enum ksmsim_advice advice;
};

/* ---- advices that change flags ---- */

/* Each advice sets and clears flags, and some VMAs refuse it. */
static long advised_flags(const struct part *p, const struct ks_vma *vma, uint32_t *flags)
{
	switch (p->advice) {
	case KSMSIM_MADV_HUGEPAGE:
		*flags = (*flags & ~(uint32_t)KS_VM_NOHUGEPAGE) | KS_VM_HUGEPAGE;
		return 0;
	case KSMSIM_MADV_NOHUGEPAGE:
		*flags = (*flags & ~(uint32_t)KS_VM_HUGEPAGE) | KS_VM_NOHUGEPAGE;
		return 0;
	case KSMSIM_MADV_DONTFORK:
		*flags |= KS_VM_DONTCOPY;
		return 0;
	case KSMSIM_MADV_DOFORK:
		*flags &= ~(uint32_t)KS_VM_DONTCOPY;
		return 0;
	case KSMSIM_MADV_WIPEONFORK:
		if (!ks_vma_is_anon(vma))
			return -EINVAL;
		*flags |= KS_VM_WIPEONFORK;
		return 0;
	case KSMSIM_MADV_KEEPONFORK:
		if (vma->flags & KS_VM_DROPPABLE)
			return -EINVAL;
		*flags &= ~(uint32_t)KS_VM_WIPEONFORK;
		return 0;
	case KSMSIM_MADV_DONTDUMP:
		*flags |= KS_VM_DONTDUMP;
		return 0;
	case KSMSIM_MADV_DODUMP:
		if (vma->flags & KS_VM_DROPPABLE)
			return -EINVAL;
		*flags &= ~(uint32_t)KS_VM_DONTDUMP;
		return 0;
	default:
		return -EINVAL;
	}
}

static long advise_flags(const struct part *p)
{
	const struct ks_mm_hooks *hooks = &p->sys->hooks;
	const struct ks_vma *vma = ks_vma_at(p->mm, p->start);
	uint32_t flags = vma->flags;
	long ret = 0;

	if (p->advice != KSMSIM_MADV_MERGEABLE && p->advice != KSMSIM_MADV_UNMERGEABLE)
		ret = advised_flags(p, vma, &flags);
	else if (hooks->madvise)
		ret = hooks->madvise(hooks->self, p->mm, vma, p->start, p->end,
				     p->advice == KSMSIM_MADV_MERGEABLE, &flags);
	if (!ret)
		ret = ks_vma_set_flags(p->sys, p->mm, p->start, p->end, flags);
	if (!ret && p->advice == KSMSIM_MADV_HUGEPAGE && hooks->khugepaged_enter)
		hooks->khugepaged_enter(hooks->khugepaged, p->mm, ks_vma_at(p->mm, p->start));
	return ret == -ENOMEM ? -EAGAIN : ret;
}

/* ---- advices that drop pages ---- */

/* Tables that the zap left empty go, if all of their span was asked for. Upper tables stay.
 * Models: mm/pt_reclaim.c:try_get_and_clear_pmd(). */
static void reclaim_tables(const struct part *p)
{
	struct ks_tables *tables = &p->sys->tables;
	const uint64_t span = UINT64_C(1) << tables->geo->bits[tables->geo->levels - 1];
	uint64_t vpn = (p->start + span - 1) & ~(span - 1);

	while (vpn + span <= p->end) {
		struct ks_walk walk;

		ks_walk_start(&walk, tables, &p->mm->pt, vpn, p->end);
		if (!ks_walk_leaf(&walk))
			return;
		vpn = ks_leaf(tables, walk.leaf)->vpn;
		if (vpn + span <= p->end && !ks_leaf(tables, walk.leaf)->nr)
			ks_pgtable_free_range(p->sys->env, tables, &p->mm->pt, vpn, vpn + span, vpn,
					      vpn + span);
		vpn += span;
	}
}

static long advise_dontneed(const struct part *p)
{
	if (ks_vma_at(p->mm, p->start)->flags & KS_VM_LOCKED)
		return -EINVAL;
	ks_lru_drain_for_unmap(p->sys);
	ks_zap(p->sys, p->mm, p->start, p->end);
	if (p->sys->env->feature[KS_FEAT_pt_reclaim])
		reclaim_tables(p);
	return 0;
}

/* ---- advices that split what they do not cover ---- */

/* Splits the large folio of @pfn into pages. */
static bool split_folio(const struct part *p, ks_pfn pfn)
{
	struct ks_system *sys = p->sys;
	long ret;

	ks_folio_get(sys->env, &sys->frames, pfn, 1);
	ret = ks_split_folio(sys, pfn, 0, true, KSMSIM_SPLIT_MADVISE);
	ks_folio_put(sys->env, &sys->frames, pfn, 1);
	return !ret;
}

/* A huge page of which the walk covers a part: its folio is split, unless others map it or hold it.
 * false: it stays as it is. Models: madvise_free_huge_pmd(). */
static bool split_part(const struct part *p, const struct ks_leaf *leaf)
{
	return ks_leaf_is_thp(leaf) &&
	       !ks_page_maybe_shared(p->sys->env, &p->sys->frames, leaf->pmd.pfn) &&
	       split_folio(p, leaf->pmd.pfn);
}

enum fate {
	FOLIO_WHOLE, /* the entries map all of it */
	FOLIO_LEFT,  /* they do not, and it was left as it is */
	FOLIO_SPLIT, /* they did not: now there are single pages */
};

/* A folio mapped by PTEs, of which @slot is a page. *@nr: entries from @slot on that this settles. Before
 * 6.10 every folio is split, and one that cannot be ends the leaf. */
static enum fate settle_folio(const struct part *p, const struct ks_walk *walk, unsigned slot,
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
static bool is_large(const struct part *p, struct ks_pte pte)
{
	return ks_pte_is_anon(pte) && ks_pfn_is_large(&p->sys->frames, pte.pfn);
}

/* ---- MADV_FREE ---- */

/* The folio may be dropped by reclaim until it is written again. */
static void forget_folio(const struct part *p, struct ks_folio *folio)
{
	ks_folio_flag(folio, KS_FOLIO_DIRTY, false);
	ks_lru_lazyfree(p->sys->env, &p->sys->frames, folio->head);
}

static void make_clean(const struct part *p, uint64_t vpn, struct ks_pte pte)
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
static void free_lazily(const struct part *p, uint64_t vpn, struct ks_pte pte)
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
static uint32_t free_run(const struct part *p, const struct ks_walk *walk, unsigned slot)
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

static void free_leaf(const struct part *p, const struct ks_walk *walk)
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
static void free_pmd(const struct part *p, struct ks_leaf *leaf)
{
	const ks_pfn pfn = leaf->pmd.pfn;

	if (!ks_leaf_is_thp(leaf) || ks_page_maybe_shared(p->sys->env, &p->sys->frames, pfn))
		return;
	forget_folio(p, ks_folio_of(&p->sys->frames, pfn));
	ks_pmd_change(&p->sys->tables, &p->mm->pt, leaf,
		      leaf->pmd.bits & ~(KS_PTE(DIRTY) | KS_PTE(YOUNG)));
}

static long advise_free(const struct part *p)
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

/* ---- MADV_COLD, MADV_PAGEOUT: no swap device, so that nothing anonymous can go out ---- */

static void make_old(const struct part *p, uint64_t vpn, struct ks_pte pte)
{
	if (!(pte.bits & KS_PTE(YOUNG)))
		return;
	pte.bits &= ~(KS_PTE(YOUNG) | KS_PTE(WATCHED));
	ks_pte_set(p->sys->env, &p->sys->tables, &p->mm->pt, vpn, pte);
}

/* Returns how many entries from @slot on were dealt with; 0: it is a small page now. */
static uint32_t cool_run(const struct part *p, const struct ks_walk *walk, unsigned slot)
{
	const struct ks_leaf *leaf = ks_leaf(walk->tables, walk->leaf);
	const struct ks_pte pte = ks_leaf_get(leaf, slot);
	uint32_t nr = 1;

	if (is_large(p, pte)) {
		if (settle_folio(p, walk, slot, &nr) != FOLIO_WHOLE ||
		    ks_folio_of(&p->sys->frames, pte.pfn)->maps != nr)
			return nr;
	} else if (!ks_pte_is_anon(pte) ||
		   ks_page_maybe_shared(p->sys->env, &p->sys->frames, pte.pfn)) {
		return 1;
	}
	for (uint32_t i = 0; i < nr; i++)
		make_old(p, leaf->vpn + slot + i, ks_leaf_get(leaf, slot + i));
	return nr;
}

static void cool_leaf(const struct part *p, const struct ks_walk *walk)
{
	for (int slot = ks_walk_slot(walk, walk->first); slot >= 0;) {
		const uint32_t nr = cool_run(p, walk, (unsigned)slot);

		slot = ks_walk_slot(walk, (unsigned)slot + nr);
	}
}

/* Models: madvise_cold_or_pageout_pte_range(). */
static long advise_cold(const struct part *p)
{
	const struct ks_vma *vma = ks_vma_at(p->mm, p->start);
	struct ks_walk walk;

	if (vma->flags & (KS_VM_LOCKED | KS_VM_HUGETLB))
		return -EINVAL;
	ks_lru_drain_local(p->sys->env, &p->sys->frames);
	ks_walk_start(&walk, &p->sys->tables, &p->mm->pt, p->start, p->end);
	while (ks_walk_leaf(&walk)) {
		struct ks_leaf *leaf = ks_leaf(&p->sys->tables, walk.leaf);

		if (leaf->huge && walk.last - walk.first + 1 == ks_pmd_pages(p->sys)) {
			if (ks_leaf_is_thp(leaf) &&
			    !ks_page_maybe_shared(p->sys->env, &p->sys->frames, leaf->pmd.pfn))
				ks_pmd_change(&p->sys->tables, &p->mm->pt, leaf,
					      leaf->pmd.bits & ~KS_PTE(YOUNG));
		} else if (!leaf->huge || split_part(p, leaf)) {
			cool_leaf(p, &walk);
		}
	}
	return 0;
}

/* ---- guard pages ---- */

/* Files and shared memory may have guard pages, too. Models: mm/madvise.c:is_valid_guard_vma(). */
static bool may_guard(const struct part *p, const struct ks_vma *vma, uint32_t refused)
{
	return p->sys->env->feature[KS_FEAT_guard_regions] &&
	       !(vma->flags & (refused | KS_VM_HUGETLB));
}

/* Whatever is mapped goes, and every page gets a marker. Models: madvise_guard_install(). */
static long guard_install(const struct part *p)
{
	struct ks_system *sys = p->sys;
	struct ks_vma *vma = ks_vma_at(p->mm, p->start);

	if (!may_guard(p, vma, KS_VM_LOCKED))
		return -EINVAL;
	ks_vma_prepare_anon(sys, p->mm, vma);
	ks_zap(sys, p->mm, p->start, p->end);
	for (uint64_t vpn = p->start; vpn < p->end; vpn++)
		ks_pte_set(sys->env, &sys->tables, &p->mm->pt, vpn,
			   (struct ks_pte){ .bits = KS_PTE(NONPRESENT) });
	return 0;
}

/* Models: madvise_guard_remove(). */
static long guard_remove(const struct part *p)
{
	struct ks_system *sys = p->sys;
	struct ks_walk walk;

	if (!may_guard(p, ks_vma_at(p->mm, p->start), 0))
		return -EINVAL;
	ks_walk_start(&walk, &sys->tables, &p->mm->pt, p->start, p->end);
	while (ks_walk_leaf(&walk)) {
		const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk.leaf);

		for (int slot = leaf->huge ? -1 : ks_walk_slot(&walk, walk.first); slot >= 0;
		     slot = ks_walk_slot(&walk, (unsigned)slot + 1)) {
			if (ks_pte_is_guard(ks_leaf_get(leaf, (unsigned)slot)))
				ks_pte_set(sys->env, &sys->tables, &p->mm->pt,
					   leaf->vpn + (unsigned)slot,
					   (struct ks_pte){ .bits = 0 });
		}
	}
	return 0;
}

/* ---- MADV_COLLAPSE ---- */

static long advise_collapse(const struct part *p)
{
	const struct ks_mm_hooks *hooks = &p->sys->hooks;

	return hooks->collapse ? hooks->collapse(hooks->khugepaged, p->mm, p->start, p->end)
			       : -EINVAL;
}

/* ---- madvise ---- */

static long advise_part(const struct part *p)
{
	switch (p->advice) {
	case KSMSIM_MADV_DONTNEED:
		return advise_dontneed(p);
	case KSMSIM_MADV_FREE:
		return advise_free(p);
	case KSMSIM_MADV_COLD:
	case KSMSIM_MADV_PAGEOUT:
		return advise_cold(p);
	case KSMSIM_MADV_COLLAPSE:
		return advise_collapse(p);
	case KSMSIM_MADV_GUARD_INSTALL:
		return guard_install(p);
	case KSMSIM_MADV_GUARD_REMOVE:
		return guard_remove(p);
	default:
		return advise_flags(p);
	}
}

/* Models: madvise_walk_vmas(). */
static long walk_vmas(struct part *p, uint64_t start, uint64_t end)
{
	long hole = 0;

	while (start < end) {
		const struct ks_vma *vma = ks_vma_find(p->mm, start);
		long ret;

		if (!vma)
			return -ENOMEM;
		if (start < vma->start) {
			hole = -ENOMEM;
			start = vma->start;
			if (start >= end)
				break;
		}
		p->start = start;
		p->end = vma->end < end ? vma->end : end;
		start = p->end;
		ret = advise_part(p);
		if (ret)
			return ret;
	}
	return hole;
}

/**
 * ks_madvise() - one advice for [vpn, vpn + pages)
 *
 * Models: mm/madvise.c:do_madvise().
 * Returns: 0, -EINVAL (refused), -ENOMEM (holes, the rest is done), -EAGAIN (no memory),
 * POPULATE: as ks_populate().
 */
long ks_madvise(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages,
		enum ksmsim_advice advice)
{
	struct part p = { .sys = sys, .mm = mm, .advice = advice };
	const uint64_t end = vpn + pages;

	if (end < vpn)
		return -EINVAL;
	if (!pages)
		return 0;
	if (advice == KSMSIM_MADV_POPULATE_READ)
		return ks_populate(sys, mm, vpn, end, KS_POPULATE_READ, false);
	if (advice == KSMSIM_MADV_POPULATE_WRITE)
		return ks_populate(sys, mm, vpn, end, KS_POPULATE_WRITE, false);
	return walk_vmas(&p, vpn, end);
}

/* ---- mlock ---- */

/* Small pages by way of the mlock batch. Large folios: locked only if all of it is mapped in the
 * range, unlocked by any part; before 6.7 only huge pages are. Returns how many entries are done.
 * Models: mm/mlock.c:mlock_pte_range(), allow_mlock_munlock(). */
static unsigned lock_folio(struct ks_system *sys, const struct ks_walk *walk, unsigned slot,
			   bool lock)
{
	const struct ks_leaf *leaf = ks_leaf(walk->tables, walk->leaf);
	const struct ks_pte pte = ks_leaf_get(leaf, slot);
	const struct ks_folio *folio =
		ks_pte_is_anon(pte) ? ks_folio_of(&sys->frames, pte.pfn) : NULL;
	const unsigned nr = folio ? ks_folio_run(sys, leaf, slot, walk->last) : 1;

	if (!ks_pte_is_anon(pte))
		return 1;
	if (folio && !leaf->huge && !sys->env->feature[KS_FEAT_zap_batched])
		return nr;
	if (!lock)
		ks_lru_munlock(sys->env, &sys->frames, pte.pfn, leaf->huge);
	else if (!folio || nr == ks_folio_pages(folio))
		ks_lru_mlock(sys->env, &sys->frames, pte.pfn);
	return nr;
}

static void lock_folios(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end,
			bool lock)
{
	struct ks_walk walk;
	unsigned next;

	ks_walk_start(&walk, &sys->tables, &mm->pt, start, end);
	while (ks_walk_leaf(&walk)) {
		for (int slot = ks_walk_slot(&walk, walk.first); slot >= 0;
		     slot = ks_walk_slot(&walk, next))
			next = (unsigned)slot + lock_folio(sys, &walk, (unsigned)slot, lock);
	}
}

/* Models: mm/mlock.c:mlock_fixup(). */
static long lock_part(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end,
		      bool lock)
{
	const uint32_t old = ks_vma_at(mm, start)->flags;
	const uint32_t flags = lock ? old | KS_VM_LOCKED : old & ~(uint32_t)KS_VM_LOCKED;
	long ret;

	if (flags == old || old & (KS_VM_HUGETLB | KS_VM_DROPPABLE))
		return 0;
	ret = ks_vma_set_flags(sys, mm, start, end, flags);
	if (ret)
		return ret;
	ks_lru_drain_local(sys->env, &sys->frames);
	lock_folios(sys, mm, start, end, lock);
	ks_lru_drain_local(sys->env, &sys->frames);
	return 0;
}

/**
 * ks_mlock() - lock or unlock [vpn, vpn + pages)
 *
 * Models: mm/mlock.c:do_mlock(), apply_vma_lock_flags().
 * Returns: 0, -EINVAL, -ENOMEM (a hole: what is before it is done; or no right), -EAGAIN (no
 * memory while faulting in).
 */
long ks_mlock(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages, bool lock)
{
	const uint64_t end = vpn + pages;
	uint64_t next = vpn;
	long ret;

	if (end < vpn)
		return -EINVAL;
	while (next < end) {
		const struct ks_vma *vma = ks_vma_at(mm, next);
		uint64_t stop;

		if (!vma)
			return -ENOMEM;
		stop = vma->end < end ? vma->end : end;
		ret = lock_part(sys, mm, next, stop, lock);
		if (ret)
			return ret;
		next = stop;
	}
	if (!lock)
		return 0;
	ret = ks_populate(sys, mm, vpn, end, KS_POPULATE_LOCK, false);
	if (ret == -ENOMEM)
		return -EAGAIN;
	return ret == -EFAULT ? -ENOMEM : ret;
}
