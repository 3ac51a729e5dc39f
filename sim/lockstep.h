/*
 * lockstep.h - one scenario on two backends, operation by operation.
 */
#ifndef SIM_LOCKSTEP_H
#define SIM_LOCKSTEP_H

#include "backend.h"
#include "compare.h"
#include "sim.h"

#define SIM_LOCKSTEP_PAST 6u /* operations that a report shows before the one that differs */

struct sim_lockstep_options {
	struct sim_options side[2]; /* of the model, and of the other one */
	bool keep_going;	    /* do not stop at the first difference */
	bool lenient;		    /* leave operations out that cannot be read */
	bool undrained;		    /* leave the LRU batches as they are */
};

/* One operation after which something differs. */
struct sim_lockstep_report {
	unsigned long line; /* in the file; 0: the beginning, or the end */
	json_t *past;	    /* ["12: scan 2", ...] the operation itself last */
	json_t *differences;
};

struct sim_lockstep {
	struct sim_lockstep_options options;
	const char *name; /* of the scenario, for messages */
	char kernels[2][64];
	uint64_t operations, expectations;
	struct sim_compare compare;
	struct sim_lockstep_report *reports;
	size_t nr_reports, reports_capacity;
	json_t *accepted; /* the operations that ran */
	int status;
	char error[1200];

	/* while it runs */
	struct sim_mem mem;
	struct sim_blind blind;
	struct sim_run *runs[2]; /* the second is NULL if it is a recording */
	json_t *settings;	 /* of a recording: what options point to */
	json_t *headers[2];	 /* not compared yet */
	json_t *line;		 /* of the second run, not compared yet */
	json_t *past;
	int64_t doubts[SIM_MASKS_MAX]; /* counters that masks are about, before the operation */
};

/* The scenario is wrong, or a backend failed: status and error say how. Differences are none. */
int sim_lockstep_file(struct sim_lockstep *lockstep, const struct sim_lockstep_options *options,
		      FILE *in, const char *name);
/* @operations: array of strings */
int sim_lockstep_list(struct sim_lockstep *lockstep, const struct sim_lockstep_options *options,
		      const json_t *operations, const char *name);
/**
 * sim_lockstep_recording() - what a recording holds, against the model
 * @options: side[0] gets kernel, settings and seed from the recording's header
 */
int sim_lockstep_recording(struct sim_lockstep *lockstep,
			   const struct sim_lockstep_options *options, FILE *in, const char *name);
/* Every difference is an expectation that fails in the same way on both sides. */
bool sim_lockstep_agrees(const struct sim_lockstep *lockstep);
/* Something differs, but only in what the kernel counts of huge pages for the whole machine: another
 * process may have done that. */
bool sim_lockstep_doubts(const struct sim_lockstep *lockstep);
void sim_lockstep_free(struct sim_lockstep *lockstep);

#endif
