/*
 * paste.h - what people paste of a host, read as doctor reads it, for the tests of doctor.
 *
 * A world is one reading or two of a host, and the doctor that looks at them. Each test
 * has one of its own.
 */
#ifndef PASTE_H
#define PASTE_H

#include "test.h"

#include "sim/doctor.h"

struct world {
	struct sim_mem mem;
	struct host first, second;
	struct doctor doctor;
	char why[1024]; /* a paste is refused */
};

struct world *paste_new(void);
void paste_free(struct world *w);
/* Setup and teardown: a world in *state. */
int paste_enter(void **state);
int paste_leave(void **state);

/* As of a file of this name. Returns what host_text_read() does. */
int paste_named(struct world *w, struct host *host, const char *name, const char *text);
/* Of the first reading; it is understood. */
void paste(struct world *w, const char *text);

/* Published figures of a host. */
#define PASTE_HOST_OF_64_GIB                              \
	"/sys/kernel/mm/ksm/full_scans:560\n"             \
	"/sys/kernel/mm/ksm/general_profit:20620539008\n" \
	"/sys/kernel/mm/ksm/max_page_sharing:256\n"       \
	"/sys/kernel/mm/ksm/pages_shared:125446\n"        \
	"/sys/kernel/mm/ksm/pages_sharing:5259506\n"      \
	"/sys/kernel/mm/ksm/pages_unshared:1897537\n"     \
	"/sys/kernel/mm/ksm/pages_volatile:12389223\n"    \
	"/sys/kernel/mm/ksm/stable_node_chains:176\n"     \
	"/sys/kernel/mm/ksm/stable_node_dups:2604\n"      \
	"/sys/kernel/mm/ksm/ksm_zero_pages:0\n"

#endif
