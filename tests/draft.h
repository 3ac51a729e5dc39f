/*
 * draft.h - small captures, and the model that plays them, for the tests of estimates.
 *
 * What a page holds is a number: the same number, the same page. A capture is drafted
 * round by round, process by process, ended, and played:
 *
 *	draft_begin(&d);
 *	draft_round(&d, 0);
 *	draft_process(&d, "a", "rd wr");
 *	draft_run(&d, AT, 1, 100);
 *	draft_done(&d);
 *	draft_end(&d);
 *	draft_play(&d);
 *	draft_assert_saved(&d, 0);
 *	draft_free(&d);
 */
#ifndef DRAFT_H
#define DRAFT_H

#include "test.h"

#include "sim/estimate.h"

#define PAGE UINT64_C(4096)
#define AT UINT64_C(0x10000000)
#define HUGE_AT UINT64_C(0x40000000)
#define BLOCK 512u
#define SECOND UINT64_C(1000000000)

#define ZEROS 0u /* the content of a page of zeros */

struct draft {
	struct sim_capwriter *writer;
	char *bytes;
	size_t length;
	struct sim_capfile *file;
	uint32_t process, round;
	uint64_t interval_s;
	int64_t pid;
	struct sim_cap_vma vmas[8];
	size_t nr_vmas;
	struct est_image image;
	struct est_plan plan;
	struct est_result result;
	struct est_share share;
};

/* ---- captures ---- */

void draft_begin(struct draft *d);
void draft_round(struct draft *d, uint32_t round);
/* A new process with a heap of 256 MiB at AT, and an anonymous VMA for huge pages at HUGE_AT. */
uint32_t draft_process(struct draft *d, const char *name, const char *flags);
/* One with the VMAs of the draft. */
uint32_t draft_process_of(struct draft *d, const char *name);
/* In a later round: pages of a process that was there. */
void draft_pages_of(struct draft *d, uint32_t process);

struct sim_cap_page draft_page_of(uint64_t vaddr, uint32_t content);
void draft_page(struct draft *d, const struct sim_cap_page *page);
/* Page i holds content + i, or zeros. */
void draft_run(struct draft *d, uint64_t vaddr, uint32_t content, uint32_t nr);
/* A huge page: @zeros pages of zeros, then content + i. */
void draft_block(struct draft *d, uint64_t vaddr, uint32_t zeros, uint32_t content);

/* No more pages of the process in this round. */
void draft_done(struct draft *d);
void draft_end(struct draft *d);
void draft_free(struct draft *d);

/* All of a capture: 100 pages that three processes have, 10 of its own each, 5 of zeros each. */
void draft_three_processes(struct draft *d);

/* ---- playing ---- */

/* Until nothing changes any more. */
void draft_play(struct draft *d);
void draft_play_with(struct draft *d, const char *knob, const char *value);

int64_t draft_at_end(const struct draft *d, enum ksmsim_counter counter);
void draft_assert_pages(const struct draft *d, int64_t shared, int64_t sharing, int64_t zero);
void draft_assert_saved(const struct draft *d, int64_t pages);

#endif
