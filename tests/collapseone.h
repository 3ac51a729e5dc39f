/*
 * collapseone.h - one process whose memory is collapsed, for the tests of MADV_COLLAPSE: the world is
 * cw or w, the process mm.
 */
#ifndef COLLAPSEONE_H
#define COLLAPSEONE_H

#include "collapseworld.h"

static struct collapseworld *cw;
static struct mmworld *w;
static struct ks_mm *mm;

static inline void start_nodes(enum ks_profile profile, unsigned blocks, unsigned nr_nodes)
{
	cw = collapseworld_new(profile, nr_nodes, blocks);
	w = cw->w;
	mm = cw->mm;
}

static inline void start(enum ks_profile profile, unsigned blocks)
{
	start_nodes(profile, blocks, 1);
}

static inline void stop(void)
{
	collapseworld_free(cw);
}

static inline long collapse(uint64_t page, uint64_t pages)
{
	return collapseworld_collapse(cw, mm, page, pages);
}

static inline uint64_t count(enum ksmsim_counter which)
{
	return collapseworld_count(cw, which);
}

static inline uint64_t allocated(void)
{
	return count(KSMSIM_COUNT_thp_collapse_alloc);
}

static inline struct ks_folio *folio_at(uint64_t page)
{
	return ks_folio_of(&w->sys.frames, collapseworld_pfn(cw, mm, page));
}

/* A test for each kernel, from 6.1 on: `profile`. */
#define FOR_EACH_PROFILE                                                            \
	for (enum ks_profile profile = KS_PROFILE_V6_1; profile <= KS_PROFILE_V7_3; \
	     profile = (enum ks_profile)(profile + 1))

static inline bool is_new(enum ks_profile profile)
{
	return profile >= KS_PROFILE_V6_18;
}

#endif
