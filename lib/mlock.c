/*
 * mlock.c - floor 4: mlock and munlock.
 *
 * VMA by VMA in address order; a hole stops it, and then nothing is populated. What
 * could surprise: mlock() of merged pages in writable memory copies them apart, and a
 * large folio is locked only by who maps all of it.
 *
 * Models: mm/mlock.c:do_mlock().
 */
#include "mm.h"

#include <errno.h>

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
