/*
 * khugeone.h - one process and its khugepaged, for the tests of khugepaged: the world is cw or
 * w, the process mm. THPs are for advised memory.
 */
#ifndef KHUGEONE_H
#define KHUGEONE_H

#include "collapseworld.h"

static struct collapseworld *cw;
static struct mmworld *w;
static struct ks_mm *mm;

static inline void advise(struct ks_mm *who, uint64_t page, uint64_t pages)
{
	assert_int_equal(ks_madvise(&w->sys, who, MMWORLD_BASE + page, pages, KSMSIM_MADV_HUGEPAGE),
			 0);
}

/* Memory that was touched already and is advised then: khugepaged takes the mm up. */
static inline void make_known(struct ks_mm *who, uint64_t blocks)
{
	advise(who, 0, blocks * BLOCK);
	assert_int_not_equal(who->khugepaged_slot, 0);
}

static inline void start(enum ks_profile profile, unsigned blocks)
{
	cw = collapseworld_new(profile, 1, blocks);
	w = cw->w;
	mm = cw->mm;
	w->env.knob.thp_enabled = KS_THP_MADVISE;
}

static inline void stop(void)
{
	collapseworld_free(cw);
}

static inline uint64_t wake(bool full)
{
	const uint64_t collapsed = ks_khugepaged_wake(&cw->khugepaged, full);

	mmworld_check(w);
	return collapsed;
}

static inline uint64_t count(enum ksmsim_counter which)
{
	return collapseworld_count(cw, which);
}

static inline bool is_huge(uint64_t page)
{
	return collapseworld_is_huge(cw, mm, page);
}

#endif
