/*
 * madvise.c - floor 4: all advices but those that only tell reclaim something (cold.c).
 *
 * An advice is applied VMA by VMA in address order. A hole does not stop it: the
 * rest is done and -ENOMEM comes at the end. An error does stop it.
 *
 *   [====|    |==!=|====]    ! error: what is left of it is done
 *
 * What could surprise: -ENOMEM of an advice that changes flags is told as -EAGAIN,
 * since -ENOMEM means a hole; DONTNEED leaves empty page tables behind (before
 * pt_reclaim).
 *
 * Models: mm/madvise.c:do_madvise().
 */
#include "advice.h"

#include <errno.h>

/* ---- advices that change flags ---- */

/* Each advice sets and clears flags, and some VMAs refuse it. */
static long advised_flags(const struct ks_part *p, const struct ks_vma *vma, uint32_t *flags)
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

static void enter_khugepaged(const struct ks_part *p, const struct ks_vma *vma)
{
	const struct ks_mm_hooks *hooks = &p->sys->hooks;

	if (p->advice == KSMSIM_MADV_HUGEPAGE && hooks->khugepaged_enter)
		hooks->khugepaged_enter(hooks->khugepaged, p->mm, vma);
}

/* khugepaged is asked first, and about the whole VMA, of which only a part may be advised; newer kernels
 * ask it afterwards, about that part, if it changed. Models: mm/khugepaged.c:hugepage_madvise(). */
static long advise_flags(const struct ks_part *p)
{
	const struct ks_mm_hooks *hooks = &p->sys->hooks;
	const bool part = p->sys->env->feature[KS_FEAT_khugepaged_enter_part];
	struct ks_vma vma = *ks_vma_at(p->mm, p->start);
	const uint32_t old = vma.flags;
	uint32_t flags = old;
	long ret = 0;

	if (p->advice != KSMSIM_MADV_MERGEABLE && p->advice != KSMSIM_MADV_UNMERGEABLE)
		ret = advised_flags(p, &vma, &flags);
	else if (hooks->madvise)
		ret = hooks->madvise(hooks->self, p->mm, &vma, p->start, p->end,
				     p->advice == KSMSIM_MADV_MERGEABLE, &flags);
	if (ret)
		return ret == -ENOMEM ? -EAGAIN : ret;
	vma.flags = flags;
	if (!part)
		enter_khugepaged(p, &vma);
	ret = ks_vma_set_flags(p->sys, p->mm, p->start, p->end, flags);
	if (part && !ret && vma.flags != old)
		enter_khugepaged(p, ks_vma_at(p->mm, p->start));
	return ret == -ENOMEM ? -EAGAIN : ret;
}

/* ---- advices that drop pages ---- */

/* Tables that the zap left empty go, if all of their span was asked for. Upper tables stay.
 * Models: mm/pt_reclaim.c:try_get_and_clear_pmd(). */
static void reclaim_tables(const struct ks_part *p)
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

static long advise_dontneed(const struct ks_part *p)
{
	const bool locked = ks_vma_at(p->mm, p->start)->flags & KS_VM_LOCKED;

	if (locked && p->advice == KSMSIM_MADV_DONTNEED)
		return -EINVAL;
	ks_lru_drain_for_unmap(p->sys);
	if (locked) {
		ks_split_pmd_at(p->sys, p->mm, p->start);
		ks_split_pmd_at(p->sys, p->mm, p->end);
		ks_munlock_unmapped(p->sys, p->mm, p->start, p->end);
	}
	ks_zap(p->sys, p->mm, p->start, p->end);
	if (p->sys->env->feature[KS_FEAT_pt_reclaim])
		reclaim_tables(p);
	return 0;
}

/* ---- guard pages ---- */

/* Files and shared memory may have guard pages, too. Models: mm/madvise.c:is_valid_guard_vma(). */
static bool may_guard(const struct ks_vma *vma, uint32_t refused)
{
	return !(vma->flags & (refused | KS_VM_HUGETLB));
}

/* Whatever is mapped goes, and every page gets a marker. Models: madvise_guard_install(). */
static long guard_install(const struct ks_part *p)
{
	struct ks_system *sys = p->sys;
	struct ks_vma *vma = ks_vma_at(p->mm, p->start);

	if (!may_guard(vma, KS_VM_LOCKED))
		return -EINVAL;
	ks_vma_prepare_anon(sys, p->mm, vma);
	vma->guarded = true;
	ks_zap(sys, p->mm, p->start, p->end);
	for (uint64_t vpn = p->start; vpn < p->end; vpn++)
		ks_pte_set(sys->env, &sys->tables, &p->mm->pt, vpn,
			   (struct ks_pte){ .bits = KS_PTE(NONPRESENT) });
	return 0;
}

/* Models: madvise_guard_remove(). */
static long guard_remove(const struct ks_part *p)
{
	struct ks_system *sys = p->sys;
	struct ks_walk walk;

	if (!may_guard(ks_vma_at(p->mm, p->start), 0))
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

static long advise_collapse(const struct ks_part *p)
{
	const struct ks_mm_hooks *hooks = &p->sys->hooks;

	return hooks->collapse ? hooks->collapse(hooks->khugepaged, p->mm, p->start, p->end)
			       : -EINVAL;
}

/* ---- madvise ---- */

static long advise_part(const struct ks_part *p)
{
	switch (p->advice) {
	case KSMSIM_MADV_DONTNEED:
	case KSMSIM_MADV_DONTNEED_LOCKED:
		return advise_dontneed(p);
	case KSMSIM_MADV_FREE:
		return ks_advise_free(p);
	case KSMSIM_MADV_COLD:
	case KSMSIM_MADV_PAGEOUT:
		return ks_advise_cold(p);
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
static long walk_vmas(struct ks_part *p, uint64_t start, uint64_t end)
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

/* What the kernel does not know it refuses before it looks at the range. */
static bool is_known(const struct ks_system *sys, enum ksmsim_advice advice)
{
	return sys->env->feature[KS_FEAT_guard_regions] ||
	       (advice != KSMSIM_MADV_GUARD_INSTALL && advice != KSMSIM_MADV_GUARD_REMOVE);
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
	struct ks_part p = { .sys = sys, .mm = mm, .advice = advice };
	const uint64_t end = vpn + pages;

	if (end < vpn || !is_known(sys, advice))
		return -EINVAL;
	if (!pages)
		return 0;
	if (advice == KSMSIM_MADV_POPULATE_READ)
		return ks_populate(sys, mm, vpn, end, KS_POPULATE_READ, false);
	if (advice == KSMSIM_MADV_POPULATE_WRITE)
		return ks_populate(sys, mm, vpn, end, KS_POPULATE_WRITE, false);
	return walk_vmas(&p, vpn, end);
}
