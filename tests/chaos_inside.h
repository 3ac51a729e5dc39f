/*
 * chaos_inside.h - what the files of chaos.h share: chaos.c (worlds, running and
 * watching operations), chaos_draw.c (choosing them), chaos_line.c (as text).
 */
#ifndef KSMSIM_CHAOS_INSIDE_H
#define KSMSIM_CHAOS_INSIDE_H

#include "chaos.h"

#define CHAOS_PAGE UINT64_C(4096)
#define CHAOS_BASE (UINT64_C(1) << 40)
#define CHAOS_WINDOWS 5u

/* Where operations go. */
struct chaos_window {
	uint64_t vaddr;
	unsigned pages;
};

struct chaos_window chaos_window_at(const struct chaos *chaos, const struct chaos_process *process,
				    unsigned i);
/* NULL if it does not live */
struct chaos_process *chaos_process_of(struct chaos *chaos, uint32_t pid);
uint32_t chaos_below(struct chaos *chaos, uint32_t nr);
bool chaos_chance(struct chaos *chaos, uint32_t one_in);
/* The next operation. */
void chaos_choose(struct chaos *chaos, struct chaos_op *op);

#endif
