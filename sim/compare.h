/*
 * compare.h - do two backends show the same?
 *
 * Both sides come as observations (observe.c), one for each operation, whether
 * they are from a backend that runs now or from a recording. An observation
 * only has what changed; a view adds them up.
 */
#ifndef SIM_COMPARE_H
#define SIM_COMPARE_H

#include <jansson.h>

#include "mem.h"

#define SIM_MASKS_MAX 16u

struct sim_mask_row {
	const char *name, *what, *reason;
};
/* The rows of masks.def; the last one has no name. */
const struct sim_mask_row *sim_masks(void);

struct sim_compare {
	json_t *views[2]; /* {"counters":{},"processes":{},"pages":{}} */
	json_t *told;	  /* fields that differ now: name -> the two values */
	const struct sim_mask_row *masks;
	uint64_t masked[SIM_MASKS_MAX]; /* how often, by row */
	uint64_t values;		/* compared so far */
};

/* false: no memory */
bool sim_compare_init(struct sim_compare *compare);
void sim_compare_free(struct sim_compare *compare);

/**
 * sim_compare_lines() - one observation of each side
 * @a, @b: of the same operation, or both headers, or both ends
 * @differences: array; gets {"field", "a", "b"} for each value that began to differ, or that
 *		 differs in another way than before
 * Returns: 0 or KSMSIM_ENOMEM.
 */
int sim_compare_lines(struct sim_compare *compare, const json_t *a, const json_t *b,
		      json_t *differences);

#endif
