/*
 * capstop.h - processes stopped for a while, and sure to go on.
 */
#ifndef SIM_CAPSTOP_H
#define SIM_CAPSTOP_H

#include <sys/types.h>

#include "proc.h"

struct sim_capstop {
	pid_t guard;
	int pipe; /* when its last writer is gone, the guard lets them go on */
};

/**
 * sim_capstop_begin() - stop the selected processes that are not stopped already
 * @slow: out: how many of them were still running after a second
 * Returns: 0 or an errno; nothing is stopped then.
 */
int sim_capstop_begin(struct sim_capstop *stop, const struct sim_proc *procs, size_t nr,
		      size_t *slow);
/* They go on. Also right when nothing was begun. */
void sim_capstop_end(struct sim_capstop *stop);

#endif
