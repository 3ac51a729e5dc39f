/*
 * model_parts.h - the model as a backend, as its files share it.
 *
 *	model.c		operations, and what is observed
 *	model_new.c	options, and models that go another way to the same end
 */
#ifndef SIM_MODEL_PARTS_H
#define SIM_MODEL_PARTS_H

#include "run.h"

struct model {
	struct sim_backend backend;
	struct sim_mem *mem;
	struct ksmsim *sim;
	const char *profile;
	uint64_t page;
	unsigned pmd_order;
	bool single;	  /* batches of one page each, as often as it takes */
	bool run_written; /* the scenario has a say in whether ksmd runs */
	uint32_t *pids;	  /* by number of the process */
	size_t nr_pids, pids_capacity;
};

static inline struct model *model_of(struct sim_backend *backend)
{
	return (struct model *)backend;
}

extern const struct sim_backend_ops model_ops;

/* A file below /sys/kernel/mm; @result: 0, or what write(2) fails with. */
int model_write(struct model *model, const char *file, const char *text, int64_t *result);

#endif
