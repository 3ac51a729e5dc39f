/*
 * probe.h - which model fits the running kernel.
 */
#ifndef SIM_PROBE_H
#define SIM_PROBE_H

#include "sim.h"

#define SIM_PROBE_MAX 8u

struct sim_probe {
	const char *profile;			    /* row of profiles.def */
	struct sim_setting features[SIM_PROBE_MAX]; /* where the kernel is not like the profile */
	size_t nr_features;
	char note[256]; /* what people should know about the choice; "" if nothing */
};

/**
 * sim_probe() - the profile of this release, and what its files tell
 * @release: as uname -r prints it; NULL: the running kernel's
 * @root: in front of every path: "" for the running kernel; NULL: no files are looked at
 */
void sim_probe(struct sim_probe *probe, const char *release, const char *root);

/* Does the running kernel tell which pages were changed (CONFIG_MEM_SOFT_DIRTY)? @root: as above */
bool sim_has_soft_dirty(const char *root);

#endif
