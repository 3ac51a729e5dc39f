/*
 * events.h - events with the names of the scenario: new(K1,A.heap+1).
 */
#ifndef SIM_EVENTS_H
#define SIM_EVENTS_H

#include "world.h"

#include <stdio.h>

#define SIM_EVENTS_MAX ((size_t)1 << 20) /* kept for one expectation or one observation */

/* One event as it will be shown. */
struct sim_event {
	enum ksmsim_trace trace;
	bool born; /* the page became a KSM page, or failed to: new(...) */
	int32_t error;
	uint32_t frame;	    /* K number */
	uint32_t mm;	    /* index in the world */
	const char *region; /* interned; NULL: the address is in no region */
	uint64_t page;	    /* of the region, or an address */
	int64_t a, b, c;    /* start, stop: seq, items; adv: seconds, pages, cpu */
};

struct sim_frame_name;

struct sim_events {
	struct sim_world *world;
	FILE *trace; /* NULL: none */
	struct sim_event *events;
	size_t nr, capacity;
	size_t expect_from; /* first event that no `expect events:` has seen */
	size_t op_from;	    /* first event of the running operation */
	uint64_t op_lost;   /* events of the running operation that were not kept */
	bool lost;	    /* some event since the last expectation was not kept */
	bool failed;	    /* no memory */

	struct sim_frame_name *frames;
	size_t nr_frames, frames_capacity;
	uint32_t free_frame; /* index + 1 */
	uint32_t last_k;
	struct sim_map frame_map; /* pfn + 1 -> index + 1 */
};

void sim_events_init(struct sim_events *events, struct sim_world *world, FILE *trace);
void sim_events_free(struct sim_events *events);
/* The listener of the backend; @self: struct sim_events */
void sim_events_listen(void *self, const struct ksmsim_event *event);
/* An operation begins: what nobody will ask for again is forgotten. */
void sim_events_begin(struct sim_events *events);
void sim_event_print(const struct sim_events *events, const struct sim_event *event,
		     struct sim_buf *buf);
/* start, stop and adv: left out by `events:` */
bool sim_event_is_pass(const struct sim_event *event);
/* i-th name of an event as scenarios write it, and its number of arguments (least, most) */
const char *sim_event_name(const void *self, size_t i);
void sim_event_arguments(size_t i, unsigned *least, unsigned *most);

void sim_trace_header(FILE *out);

#endif
