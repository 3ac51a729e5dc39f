/*
 * est_parts.h - between the files that make an image of captures.
 */
#ifndef SIM_EST_PARTS_H
#define SIM_EST_PARTS_H

#include "estimate.h"

int est_no_memory(struct est_image *image);

/* Areas of a process, of all rounds from @round on. */
int est_areas_add(struct est_image *image, struct sim_capfile *file, uint32_t process,
		  uint32_t round, uint32_t in_image);
/* Where areas are in the model. */
void est_place(struct est_image *image);

/* What the capture says of its host. */
int est_host_add(struct est_image *image, const struct sim_capfile *file);
void est_host_free(struct est_image *image);

/* A page of the image, perhaps of a frame that others map, too. */
int est_fork_page(struct est_image *image, uint32_t process, size_t i,
		  const struct sim_cap_page *page);
/* After a capture: who was forked from whom. */
int est_fork_resolve(struct est_image *image);
void est_fork_free(struct est_image *image);

#endif
