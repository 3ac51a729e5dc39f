/*
 * mmworld.h - address spaces without KSM, for the tests of floors 4 and 5.
 *
 * Tests are drawings: one character a page, from MMWORLD_BASE on. VMAs are
 * letters in order of address; '.' is a hole:
 *
 *   mmworld_expect_vmas(w, mm, "aaabb..c");
 *
 * Pages: '.' none, '0' zero page, 'z' zero page by KSM, 'w' anonymous and
 * writable, 'e' read-only but exclusive, 's' read-only and not exclusive, 'k' KSM
 * page, 'f' file page, 'F' file page, writable, '$' swapped out.
 */
#ifndef MMWORLD_H
#define MMWORLD_H

#include "test.h"

#include "fault.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define MMWORLD_BASE UINT64_C(0x10000000) /* vpn: 1 TiB */
#define MMWORLD_R KSMSIM_PROT_READ
#define MMWORLD_RW (KSMSIM_PROT_READ | KSMSIM_PROT_WRITE)

struct mmworld {
	struct ks_env env;
	struct ks_system sys;
	/* what the bells said, and what they answer */
	unsigned forks, exits, execs, unmerges, advices, rings, ksm_freed, moves;
	long answer;
	uint64_t unmerge_start, unmerge_end;
	uint64_t exit_rss; /* pages still mapped when the bell of exit rang */
	bool exit_alive;
	bool advice_mergeable;
	ks_pfn moved_from, moved_to;
};

struct mmworld *mmworld_new(enum ks_profile profile, unsigned nr_nodes);
/* Checks the whole world a last time. */
void mmworld_free(struct mmworld *w);
/* Every invariant of these floors. */
void mmworld_check(struct mmworld *w);

/* Fixed, at @page from the base. Returns what mmap does. */
int64_t mmworld_map(struct mmworld *w, struct ks_mm *mm, uint64_t page, uint64_t pages,
		    unsigned prot, unsigned flags);
/* A process with @pages of private memory at the base. */
struct ks_mm *mmworld_process(struct mmworld *w, uint64_t pages);
struct ks_mm *mmworld_fork(struct mmworld *w, struct ks_mm *parent);
/* Each page gets a content of its own, or all the one of @value. */
void mmworld_fill(struct mmworld *w, struct ks_mm *mm, uint64_t page, uint64_t pages);
void mmworld_store(struct mmworld *w, struct ks_mm *mm, uint64_t page, uint64_t value);
void mmworld_read(struct mmworld *w, struct ks_mm *mm, uint64_t page, uint64_t pages);
/* What a reader sees there is the content that stores of @value leave. */
void mmworld_expect_value(struct mmworld *w, struct ks_mm *mm, uint64_t page, uint64_t value);
struct ks_pte mmworld_pte(struct mmworld *w, struct ks_mm *mm, uint64_t page);
/* By hand what KSM does: the page becomes a KSM page, or the zero page with the mark. */
void mmworld_make_ksm(struct mmworld *w, struct ks_mm *mm, uint64_t page);
void mmworld_make_ksm_zero(struct mmworld *w, struct ks_mm *mm, uint64_t page);

void mmworld_expect_vmas(const struct ks_mm *mm, const char *drawing);
void mmworld_expect_pages(struct mmworld *w, struct ks_mm *mm, const char *drawing);

#endif
