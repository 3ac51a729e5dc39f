/*
 * thpworld.h - one process with huge pages, without KSM, and what changed since one last looked.
 *
 * Its memory is a block that huge pages fit in, alone at MMWORLD_BASE (mmworld.h); THPs are always
 * enabled, other sizes never. What changed is a text with all counters of large folios that did,
 * in this order and by these names:
 *
 *   FA FF FFC SP SPF SD SPMD US ZA ZAF PR CK    thp_fault_alloc, _fallback, _fallback_charge,
 *       thp_split_page, _failed, thp_deferred_split_page, thp_split_pmd, thp_underused_split_page,
 *       thp_zero_page_alloc, _failed, pgreuse, cow_ksm
 *   alloc fall charge split fail deferred nr partial    with [order]: of mthp.def
 *
 *   assert_string_equal(thpworld_changed(t), "FA1 alloc[9]1 nr[9]1");
 */
#ifndef THPWORLD_H
#define THPWORLD_H

#include "mmworld.h"

#include "thp.h"

#define THPWORLD_NR 512u /* pages of a THP */

struct thpworld {
	struct mmworld *w;
	struct ks_env *env; /* of w */
	struct ks_system *sys;
	struct ks_mm *p; /* the process */
	uint64_t count[KSMSIM_COUNT_NR];
	int64_t mthp[KSMSIM_MTHP_NR][KSMSIM_ORDERS];
	char text[512];
};

/* One for each profile in turn. */
#define THPWORLD_EACH(t)                                                      \
	for (enum ks_profile profile = 0; profile < KS_PROFILE_NR; profile++) \
		for ((t) = thpworld_new(profile, THPWORLD_NR); (t); thpworld_free(t), (t) = NULL)

/* @pages: of the process's memory */
struct thpworld *thpworld_new(enum ks_profile profile, uint64_t pages);
/* One where faults get folios of 64 KiB and no THPs. */
struct thpworld *thpworld_of_64_kib(enum ks_profile profile);
/* Checks the whole world. */
void thpworld_free(struct thpworld *t);
/* What changed since the last call, or since the beginning; "" for nothing. Checks the world. */
const char *thpworld_changed(struct thpworld *t);

/* All pages of the block get contents of their own. */
void thpworld_fill(struct thpworld *t);
void thpworld_write(struct thpworld *t, struct ks_mm *mm, uint64_t page);
void thpworld_read(struct thpworld *t, struct ks_mm *mm, uint64_t page);
void thpworld_exit(struct thpworld *t, struct ks_mm *mm);
/* The folio that @page of @mm is of, or NULL. */
struct ks_folio *thpworld_folio(struct thpworld *t, struct ks_mm *mm, uint64_t page);
/* PTE tables of @mm: nr_ptes. */
uint64_t thpworld_tables(const struct ks_mm *mm);
/* The entry that maps the block as a whole, or NULL. */
struct ks_leaf *thpworld_pmd(struct thpworld *t, struct ks_mm *mm);
/* Of the frame that @page of @mm maps. */
uint32_t thpworld_refs(struct thpworld *t, struct ks_mm *mm, uint64_t page);
bool thpworld_exclusive(struct thpworld *t, struct ks_mm *mm, uint64_t page);

enum ks_fault_result thpworld_fault(struct thpworld *t, struct ks_mm *mm, uint64_t page,
				    enum ks_fault_kind kind);
uint64_t thpworld_faults(const struct thpworld *t);
long thpworld_pin(struct thpworld *t, struct ks_mm *mm, uint64_t page, enum ksmsim_pin how);
/* A VMA that is split and merged again: PTE-mapped, and nothing else. */
void thpworld_split_pmd(struct thpworld *t, struct ks_mm *mm);
/* hugepages-*kB/enabled */
void thpworld_use_size(struct thpworld *t, unsigned order, enum ks_thp_size how);

/* What a fault that makes a THP changes. */
#define THPWORLD_FAULT "FA1 alloc[9]1 nr[9]1"
#define THPWORLD_HAS_MTHP(profile) ((profile) >= KS_PROFILE_V6_12)

#endif
