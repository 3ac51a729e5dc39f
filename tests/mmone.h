/*
 * mmone.h - one process of 8 pages at MMWORLD_BASE, new for each test, for the tests of system
 * calls and faults: the world is w, the process mm.
 *
 *	static const struct CMUnitTest tests[] = {
 *		MMONE_TEST(mmap_refuses_bad_requests),
 *	};
 */
#ifndef MMONE_H
#define MMONE_H

#include "mmworld.h"

static struct mmworld *w;
static struct ks_mm *mm;

static inline int mmone_set_up(void **state)
{
	(void)state;
	w = mmworld_new(KS_PROFILE_V6_18, 2);
	mm = mmworld_process(w, 8);
	return 0;
}

static inline int mmone_tear_down(void **state)
{
	(void)state;
	mmworld_free(w);
	return 0;
}

static inline uint64_t counter(enum ksmsim_counter which)
{
	return w->env.count[which];
}

static inline long advise(uint64_t page, uint64_t pages, enum ksmsim_advice advice)
{
	return ks_madvise(&w->sys, mm, MMWORLD_BASE + page, pages, advice);
}

#define MMONE_TEST(name) cmocka_unit_test_setup_teardown(name, mmone_set_up, mmone_tear_down)

#endif
