/*
 * generate.h - random scenarios, and what is left of them that still differs.
 */
#ifndef SIM_GENERATE_H
#define SIM_GENERATE_H

#include "lockstep.h"

/**
 * sim_generate() - a scenario of @nr operations from a seed
 * Returns: array of lines, the same for the same arguments everywhere; NULL: no memory.
 */
json_t *sim_generate(uint64_t seed, uint64_t nr);

/* The same with huge pages. */
json_t *sim_generate_thp(uint64_t seed, uint64_t nr);

/**
 * sim_shrink() - the fewest and simplest operations that still differ
 * @operations: a scenario that differs under @options
 * @tries: how many runs at most
 * Returns: array of lines; NULL: no memory, or a backend failed (status of @lockstep).
 * @lockstep: out: the last run that differed; free with sim_lockstep_free()
 */
json_t *sim_shrink(const struct sim_lockstep_options *options, const json_t *operations,
		   uint64_t tries, struct sim_lockstep *lockstep);

#endif
