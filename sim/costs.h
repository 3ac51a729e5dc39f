/*
 * costs.h - cost tables in files: what `run --costs` reads and `calibrate` writes.
 */
#ifndef SIM_COSTS_H
#define SIM_COSTS_H

#include "mem.h"
#include "sim.h"

struct sim_costs {
	struct sim_setting *list; /* names are the library's, values numbers as text */
	size_t nr, capacity;
	char *text; /* the file */
	struct sim_mem *mem;
};

/**
 * sim_costs_read() - the rows of a file
 * @costs: written; sim_costs_free() also after an error
 * @name: of the file, for messages
 * @buf, @size: the sentence of an error, with file and line
 * Returns: 0, SIM_EINPUT or KSMSIM_ENOMEM.
 */
int sim_costs_read(struct sim_costs *costs, struct sim_mem *mem, FILE *in, const char *name,
		   char *buf, size_t size);
void sim_costs_free(struct sim_costs *costs);

#endif
