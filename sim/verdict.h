/*
 * verdict.h - what came out of a lockstep run, for people and as JSON.
 */
#ifndef SIM_VERDICT_H
#define SIM_VERDICT_H

#include "lockstep.h"

enum sim_verdict { SIM_SAME, SIM_DIFFERENT, SIM_SKIPPED, SIM_REFUSED };

enum sim_verdict sim_verdict_of(const struct sim_lockstep *lockstep);

/* @again: the command that does it again; @seed: of the model's chances */
void sim_verdict_print(const struct sim_lockstep *lockstep, FILE *out, const char *again);

/* One line of JSON. false: no memory. */
bool sim_verdict_json(const struct sim_lockstep *lockstep, FILE *out, const char *again);

/* All runs of a command. */
struct sim_verdicts {
	uint64_t runs[SIM_REFUSED + 1];
	uint64_t operations, values;
	uint64_t repeated; /* differed, but not always */
	uint64_t masked[SIM_MASKS_MAX];
};
void sim_verdicts_add(struct sim_verdicts *all, const struct sim_lockstep *lockstep);
void sim_verdicts_print(const struct sim_verdicts *all, FILE *out);
bool sim_verdicts_json(const struct sim_verdicts *all, FILE *out);

#endif
