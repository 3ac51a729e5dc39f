/*
 * est_machine.h - an image on a machine: between est_build.c, which makes it, and est_play.c,
 * which lets time pass.
 */
#ifndef SIM_EST_MACHINE_H
#define SIM_EST_MACHINE_H

#include "estimate.h"

struct est_machine {
	struct ksmsim *sim;
	const struct est_image *image;
	uint32_t *pids;	    /* of the model, by process */
	uint64_t mergeable; /* pages */
	char *why;	    /* EST_WHY_BYTES */
};

/* @must: an answer of the simulated kernel other than yes is an error */
int est_knob(struct est_machine *m, const char *name, const char *value, bool must);
/* page i gets content + i, or zeros */
int est_write(struct est_machine *m, uint32_t pid, uint64_t vaddr, uint64_t nr, uint64_t content);
int est_drop(struct est_machine *m, uint32_t pid, uint64_t vaddr, uint64_t nr);
int est_build(struct est_machine *m, const struct est_plan *plan, const struct est_case *which);

bool est_is_mergeable(const struct est_plan *plan, const struct est_case *which,
		      const struct est_area *area);

#endif
