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
		if (vpn + span <= p->end)
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

/* A clean page that only this process maps may be dropped by reclaim until it is written again.
 * Models: madvise_free_pte_range(). */
static void free_lazily(const struct part *p, uint64_t vpn, struct ks_pte pte)
{
	struct ks_system *sys = p->sys;
	struct ks_frame *frame;

	if (pte.bits & KS_PTE(NONPRESENT)) {
		ks_pte_set(sys->env, &sys->tables, &p->mm->pt, vpn, (struct ks_pte){ .bits = 0 });
		ks_pte_gone(sys, p->mm, pte);
		return;
	}
	if (!ks_pte_is_anon(pte))
		return;
	frame = ks_frame(&sys->frames, pte.pfn);
	if (ks_frame_test(frame, KS_FRAME_KSM) || ks_frame_maps(frame) != 1)
		return;
	if (ks_frame_test(frame, KS_FRAME_SWAPCACHE) && !ks_swap_cache_drop(sys, pte.pfn))
		return;
	ks_frame_flag(frame, KS_FRAME_DIRTY, false);
	ks_lru_lazyfree(sys->env, &sys->frames, pte.pfn);
	if (!(pte.bits & (KS_PTE(DIRTY) | KS_PTE(YOUNG))))
		return;
	pte.bits &= ~(KS_PTE(DIRTY) | KS_PTE(YOUNG) | KS_PTE(WATCHED));
	ks_pte_set(sys->env, &sys->tables, &p->mm->pt, vpn, pte);
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
		const struct ks_leaf *leaf = ks_leaf(&p->sys->tables, walk.leaf);

		for (int slot = ks_walk_slot(&walk, walk.first); slot >= 0;
		     slot = ks_walk_slot(&walk, (unsigned)slot + 1))
			free_lazily(p, leaf->vpn + (unsigned)slot,
				    ks_leaf_get(leaf, (unsigned)slot));
	}
	return 0;
}

/* ---- madvise ---- */

static long advise_part(const struct part *p)
{
	switch (p->advice) {
	case KSMSIM_MADV_DONTNEED:
		return advise_dontneed(p);
	case KSMSIM_MADV_FREE:
		return advise_free(p);
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
	if (!ret)
		ks_lru_drain_local(sys->env, &sys->frames);
	return ret;
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
