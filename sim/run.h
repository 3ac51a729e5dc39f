/*
 * run.h - one running scenario, as the files of sim/ share it.
 */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include <jansson.h>

#include "backend.h"
#include "events.h"
#include "world.h"

struct sim_run {
	struct sim_mem mem;
	struct sim_options options;
	struct sim_backend *backend;
	struct sim_world world;
	struct sim_events events;
	bool listening;
	char kernel[64];
	struct sim_blind blind; /* what this run does not show */

	const char *name; /* of the file that runs */
	unsigned long line;
	bool lua;	     /* no columns in messages: they are words of a call */
	struct sim_line cut; /* the operation that runs, in words */

	int status; /* sticky */
	char error[1024];
	int64_t result;
	bool result_unseen; /* the backend cannot tell it */
	uint64_t nr_operations, nr_expected, nr_failed;
	struct sim_buf failure; /* the last failed expectation */
	struct sim_buf scratch, line_text, event_text;

	int64_t counters[KSMSIM_COUNT_NR]; /* at the last observation */
	struct sim_mthp mthp;		   /* the same */
	json_t *pages;			   /* the same: region -> text, or NULL */
};

/* The profile that expectations mean. */
const char *sim_run_profile(const struct sim_run *run);

/**
 * sim_refuse() - the scenario is wrong: file, line, column and why
 * @at: the word concerned, in the text of the operation; NULL text: no column
 * Returns: SIM_EINPUT, which the caller returns.
 */
int sim_refuse(struct sim_run *run, const char *at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* An error of the backend, the library or the output; keeps the first. Returns @status. */
int sim_fail(struct sim_run *run, int status);
/* The same with a sentence of one's own. */
int sim_fail_with(struct sim_run *run, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Run run->cut. */
int sim_run_cut(struct sim_run *run);
/* Run one operation as sim_op.line has it, without a comment; @name stays the caller's. */
int sim_run_text(struct sim_run *run, const char *name, unsigned long line, const char *text);

/* limits.c: what one operation may cost */
#define SIM_PAGES_MAX (UINT64_C(1) << 26)
#define SIM_BATCHES_MAX (UINT64_C(1) << 26)
#define SIM_TIMES_MAX UINT64_C(1000000)
/* 0, or the refusal of run->cut, whose operation is @op. */
int sim_limits_check(struct sim_run *run, const struct sim_op *op);

/* map.c: draws the range of @op on options.map */
int sim_map(struct sim_run *run, const struct sim_op *op);

/* expect.c: @op: an expectation. 0 also if it does not hold. */
int sim_expect(struct sim_run *run, const struct sim_op *op, bool *held);

/* What a file says: a line, or of "[none] scan-time" the word in brackets. */
struct sim_word sim_file_value(const char *text);

/* lua_prelude.c */
extern const char sim_lua_prelude[];

/* observe.c */
int sim_observe_begin(struct sim_run *run);
int sim_observe_op(struct sim_run *run, const struct sim_op *op, const bool *held);
int sim_observe_end(struct sim_run *run);

/* pages.c: P.R -> its pages as text, for every region of every living process; NULL: *error */
json_t *sim_pages(struct sim_run *run, int *error);
/* Page @page of a region in this text: "ksm 3 mapped 2 times"; "" if it is not there. */
void sim_pages_at(const char *text, uint64_t page, char *buf, size_t size);
/* The first page that is not the same in the two texts; UINT64_MAX: none. */
uint64_t sim_pages_differ(const char *a, const char *b);

/* report.c: cost of full walks over the mergeable mappings of one process */
struct sim_layout {
	uint32_t process;
	const char *region; /* NULL: unnamed */
	struct ksmsim_vma vma;
	struct ksmsim_walk walk;
	uint64_t range_ns, per_address_ns;
};
/* Calls @each for every mergeable mapping; stops at the first that does not return 0. */
int sim_layouts(struct sim_run *run, int (*each)(void *self, const struct sim_layout *layout),
		void *self);

#endif
