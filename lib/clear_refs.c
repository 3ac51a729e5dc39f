/*
 * clear_refs.c - floor 4: writes to /proc/PID/clear_refs.
 *
 *   4        every entry loses its soft-dirty bit and its write bit, so that the next write faults
 *            and sets both; areas are no longer new (VM_SOFTDIRTY)
 *   1, 2, 3  every page counts as not accessed: of all, of anonymous memory, of files
 *
 * A PMD entry is cleared as a whole, and one byte written makes all of it soft-dirty again. Swap
 * entries have the bit, too.
 *
 * What could surprise: a page that may be pinned keeps both bits, since whoever holds it writes
 * without a fault; but not if a PMD maps it. In an area that is new everything counts as changed,
 * whatever the entries say, and writes are not tracked at all: mprotect and swap-in give write
 * access at once only there, or where the entry is soft-dirty already.
 *
 * Models: fs/proc/task_mmu.c:clear_refs_write(), clear_soft_dirty(), clear_soft_dirty_pmd().
 */
#include "mm.h"

#include <errno.h>

enum what {
	CLEAR_ALL = 1,
	CLEAR_ANON = 2,
	CLEAR_MAPPED = 3,
	CLEAR_SOFT_DIRTY = 4,
	CLEAR_PEAK = 5, /* the highest RSS so far, which is not modelled */
};

struct clear {
	struct ks_system *sys;
	struct ks_mm *mm;
	const struct ks_vma *vma;
	enum what what;
};

/* ---- soft-dirty ---- */

/* Models: pte_is_pinned(). */
static bool is_pinned(const struct clear *c, struct ks_pte pte)
{
	return pte.bits & KS_PTE(WRITE) && !(c->vma->flags & KS_VM_SHARED) && c->mm->has_pinned &&
	       ks_pte_is_anon(pte) && ks_may_be_pinned(c->sys, pte.pfn);
}

static uint32_t without_soft(uint32_t bits)
{
	return bits & ~(uint32_t)(KS_PTE(SOFT) | (bits & KS_PTE(PRESENT) ? KS_PTE(WRITE) : 0) |
				  KS_PTE(WATCHED));
}

/* ---- accessed ---- */

/* Zero pages are nobody's. */
static bool is_page(struct ks_pte pte)
{
	return pte.bits & KS_PTE(PRESENT) && !(pte.bits & KS_PTE(SPECIAL));
}

static void forget_access(const struct clear *c, struct ks_pte pte)
{
	struct ks_frames *frames = &c->sys->frames;

	if (ks_pte_is_anon(pte))
		ks_lru_set_marks(c->sys->env, frames, pte.pfn,
				 ks_lru_marks(frames, pte.pfn) & ~(unsigned)KS_LRU_REFERENCED);
}

/* ---- the walk ---- */

static void clear_entry(const struct clear *c, uint64_t vpn, struct ks_pte pte)
{
	const uint32_t old = pte.bits;

	if (c->what == CLEAR_SOFT_DIRTY) {
		if (!is_pinned(c, pte))
			pte.bits = without_soft(pte.bits);
	} else if (is_page(pte)) {
		forget_access(c, pte);
		pte.bits &= ~(uint32_t)KS_PTE(YOUNG);
	}
	if ((pte.bits ^ old) & ~(uint32_t)KS_PTE(WATCHED))
		ks_pte_set(c->sys->env, &c->sys->tables, &c->mm->pt, vpn,
			   (struct ks_pte){ pte.pfn, pte.bits & ~(uint32_t)KS_PTE(WATCHED) });
}

static void clear_pmd(const struct clear *c, struct ks_leaf *leaf)
{
	uint32_t bits = leaf->pmd.bits;

	if (c->what == CLEAR_SOFT_DIRTY) {
		bits = without_soft(bits);
	} else {
		forget_access(c, ks_leaf_get(leaf, 0));
		bits &= ~(uint32_t)KS_PTE(YOUNG);
	}
	if (bits != leaf->pmd.bits)
		ks_pmd_change(&c->sys->tables, &c->mm->pt, leaf, bits);
}

static void clear_vma(const struct clear *c)
{
	struct ks_walk walk;

	ks_walk_start(&walk, &c->sys->tables, &c->mm->pt, c->vma->start, c->vma->end);
	while (ks_walk_leaf(&walk)) {
		struct ks_leaf *leaf = ks_leaf(&c->sys->tables, walk.leaf);

		if (leaf->huge) {
			clear_pmd(c, leaf);
			continue;
		}
		for (int slot = ks_walk_slot(&walk, walk.first); slot >= 0;
		     slot = ks_walk_slot(&walk, (unsigned)slot + 1))
			clear_entry(c, leaf->vpn + (unsigned)slot,
				    ks_leaf_get(leaf, (unsigned)slot));
	}
}

/* Models: clear_refs_test_walk(). Shared memory counts as a file's. */
static bool is_meant(const struct clear *c)
{
	return !(c->what == CLEAR_ANON && c->vma->file) &&
	       !(c->what == CLEAR_MAPPED && !c->vma->file);
}

long ks_clear_refs(struct ks_system *sys, struct ks_mm *mm, unsigned what)
{
	if (what < CLEAR_ALL || what > CLEAR_PEAK)
		return -EINVAL;
	if (what == CLEAR_PEAK ||
	    (what == CLEAR_SOFT_DIRTY && !sys->env->feature[KS_FEAT_soft_dirty]))
		return 0;
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		const struct clear c = { sys, mm, &mm->vmas[i], (enum what)what };

		if (what == CLEAR_SOFT_DIRTY)
			mm->vmas[i].soft_dirty = false;
		if (is_meant(&c))
			clear_vma(&c);
	}
	return 0;
}
