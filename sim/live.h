/*
 * live.h - the running Linux kernel as a backend.
 *
 * Every process of the scenario is a real one, its memory lies at the same
 * addresses as in the model, and ksmd does exactly the batches that the scenario
 * asks for. The backend is a strict guest: it refuses to start where somebody
 * else uses KSM, and a process of its own puts back every knob when the run ends,
 * however it ends. See sim/live_guard.c.
 */
#ifndef SIM_LIVE_H
#define SIM_LIVE_H

#include "backend.h"

enum sim_live_status {
	SIM_LIVE_EREFUSED = -20010,   /* this machine, now: no root, no KSM, KSM is in use, ... */
	SIM_LIVE_ESKIP = -20011,      /* this operation has no meaning on a live kernel */
	SIM_LIVE_EDISTURBED = -20012, /* somebody else began to use KSM; the run proves nothing */
	SIM_LIVE_EBROKEN = -20013,    /* a process died, ksmd does not answer, ... */
};

/**
 * sim_live_new() - the running kernel as a backend; only one exists at a time on a machine:
 * a second one waits until the first is gone
 * @buf, @size: the sentence of an error; SIM_LIVE_EREFUSED names the reason
 * After an error of execute(), ops->why() has the sentence.
 */
int sim_live_new(const struct sim_options *options, struct sim_mem *mem, char *buf, size_t size,
		 struct sim_backend **out);

/**
 * sim_live_supported() - could sim_live_new() work here, nobody else using KSM?
 * @why, @size: the sentence if not
 */
bool sim_live_supported(char *why, size_t size);

/* Does this kernel tell all that runs compare? @what: what it does not. */
bool sim_live_tells(const char **what);

/* "linux-6.18": the row of the profiles that is this kernel's; NULL: none is. */
const char *sim_live_profile(void);

/**
 * sim_live_setting() - a knob that the model needs on this machine, since the kernel has no
 * file for it
 * Returns: false: there is none
 */
bool sim_live_setting(struct sim_setting *setting);

/* The wait for another run to end, in ms, before sim_live_new() refuses. */
#define SIM_LIVE_WAIT_MS 600000u

/* For everything that runs beside a live kernel: it gives no memory back, which older kernels would
 * notice. */
extern const struct ksmsim_allocator sim_live_allocator;

#endif
