/*
 * caphost.h - what a capture says about the host it was made on.
 */
#ifndef SIM_CAPHOST_H
#define SIM_CAPHOST_H

#include "capfile.h"

/* host, kernel, time and the files of /sys/kernel/mm that steer KSM and THP */
int sim_caphost_meta(struct sim_capwriter *writer);

#endif
