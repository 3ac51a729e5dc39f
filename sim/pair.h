/*
 * pair.h - the same operations on the model and on the running kernel, with a clock.
 *
 * Nobody listens to events, so ksmd does whole batches and the trace costs it
 * nothing; what it does is not compared but for the counters (sim_pair_agree()).
 */
#ifndef SIM_PAIR_H
#define SIM_PAIR_H

#include "probe.h"
#include "run.h"

#define SIM_PAIR_COSTS 64u /* room for the rows of costs.def */

struct sim_pair {
	struct sim_run *live, *model;
	struct sim_probe probe;
	int ksmd; /* its schedstat; -1: none */
	char why[1024];
};

/* What one operation took. */
struct sim_pair_time {
	uint64_t ksmd_ns;	       /* CPU time of the live ksmd */
	uint64_t wall_ns;	       /* of the live operation */
	uint64_t model_ns;	       /* CPU time of the model, on this machine */
	int64_t result;		       /* of the operation */
	uint64_t uses[SIM_PAIR_COSTS]; /* of each row of costs.def, in the model */
};

/* 0, or a status and pair->why; sim_pair_end() in any case. */
int sim_pair_begin(struct sim_pair *pair);
void sim_pair_end(struct sim_pair *pair);

/**
 * sim_pair_line() - one operation on both
 * @time: out; or NULL
 */
int sim_pair_line(struct sim_pair *pair, const char *text, struct sim_pair_time *time);
int sim_pair_do(struct sim_pair *pair, struct sim_pair_time *time, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * sim_pair_agree() - do the counters of KSM say the same on both sides?
 * @hash: goes on over their values
 * Returns: false and pair->why: the first that does not.
 */
bool sim_pair_agree(struct sim_pair *pair, uint64_t *hash);

#endif
