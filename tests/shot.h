/*
 * shot.h - processes to look at, and a capture of them in memory.
 *
 * A child of the test has an area of memory at an address that both know, and does
 * what it is told; a shot is one capture of some children, read back at once.
 *
 *	child_map(CHILD_PAGES * PAGE);
 *	c = child_new(child_write_some, child_nothing);
 *	shot_of(&s, &c, NULL);
 *	shot_works(&s);
 *	assert_true(shot_page(&s, 0, 0, child_area, &page));
 *	shot_free(&s);
 *	child_end(&c);
 */
#ifndef SHOT_H
#define SHOT_H

#include "test.h"

#include <sys/types.h>

#include "sim/capture.h"

#define PAGE 4096u
#define HUGE (2u << 20)
#define CHILD_PAGES 64u
#define CHILD_AT UINT64_C(0x200000000000)

/* ---- children ---- */

struct child {
	pid_t pid;
	int to, from;
};

typedef void (*child_deed)(void);

/* What a child has; inherited from the test. */
extern uint8_t *child_area;

/* Before the children: a new area. A failed test leaves its own; one after the other is enough. */
void child_map(size_t bytes);
/* @first before this returns, @then whenever child_go() is called */
struct child child_new(child_deed first, child_deed then);
void child_go(struct child *c);
void child_end(struct child *c);

void child_nothing(void);
/* Even pages random, pages 4k+1 zero, the rest never touched. */
void child_write_some(void);
/* A page of random words. */
void child_fill(uint8_t *page, uint64_t seed);

void child_pause(long ms);
/* Frames, folios and KSM pages are only seen by root; says so. */
bool child_is_root(void);

/* ---- a capture in memory ---- */

struct shot {
	struct sim_capture_options options;
	struct sim_capture_totals totals;
	int64_t pids[4];
	char *bytes;
	size_t length;
	struct sim_capfile *file;
	char why[512];
};

/* One round of one child or two. */
void shot_of(struct shot *s, const struct child *a, const struct child *b);
/* What sim_capture() returns; the sentence is in why. */
int shot_take(struct shot *s);
void shot_works(struct shot *s);
void shot_free(struct shot *s);
/* The page at an address; false: it has none. */
bool shot_page(struct shot *s, uint32_t process, uint32_t round, const void *at,
	       struct sim_cap_page *page);

#endif
