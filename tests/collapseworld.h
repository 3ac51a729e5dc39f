/*
 * collapseworld.h - an mmworld with khugepaged, for the tests of collapses.
 *
 * One process with whole blocks of memory at the base; no fault makes a THP
 * unless the test asks for it. Pages are counted from the base.
 */
#ifndef COLLAPSEWORLD_H
#define COLLAPSEWORLD_H

#include "mmworld.h"

#include "thp.h"

#define BLOCK UINT64_C(512)

struct collapseworld {
	struct mmworld *w;
	struct ks_khugepaged khugepaged;
	struct ks_mm *mm;
};

struct collapseworld *collapseworld_new(enum ks_profile profile, unsigned nr_nodes,
					unsigned blocks);
/* Checks the whole world a last time. */
void collapseworld_free(struct collapseworld *cw);

/* MADV_COLLAPSE; what it returns. */
long collapseworld_collapse(struct collapseworld *cw, struct ks_mm *mm, uint64_t page,
			    uint64_t pages);
uint64_t collapseworld_count(const struct collapseworld *cw, enum ksmsim_counter which);
/* Is the block around @page mapped by a PMD? */
bool collapseworld_is_huge(const struct collapseworld *cw, const struct ks_mm *mm, uint64_t page);
ks_pfn collapseworld_pfn(const struct collapseworld *cw, struct ks_mm *mm, uint64_t page);
/* Pages that mmworld_fill() wrote still read the same. */
void collapseworld_expect_filled(struct collapseworld *cw, struct ks_mm *mm, uint64_t page,
				 uint64_t pages);
/* Each page becomes a KSM page, as ksmd makes them. */
void collapseworld_make_ksm(struct collapseworld *cw, struct ks_mm *mm, uint64_t page,
			    uint64_t pages);
/* @page maps the KSM page of @of, too. */
void collapseworld_merge(struct collapseworld *cw, struct ks_mm *mm, uint64_t page, uint64_t of);

#endif
