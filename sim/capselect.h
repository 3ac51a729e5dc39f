/*
 * capselect.h - which processes to look at.
 */
#ifndef SIM_CAPSELECT_H
#define SIM_CAPSELECT_H

#include "capture.h"
#include "proc.h"

/**
 * sim_capselect() - set @selected of those that the options mean
 * @own: a pid that is never selected
 * Returns: how many.
 */
size_t sim_capselect(const struct sim_capture_select *select, int64_t own, struct sim_proc *procs,
		     size_t nr);

#endif
