/*
 * expect.h - what expect.c (lines, figures, events) and expect_page.c share.
 */
#ifndef SIM_EXPECT_H
#define SIM_EXPECT_H

#include "run.h"

struct sim_expectation {
	struct sim_run *run;
	const char *at, *end; /* what is still to be read */
	bool held;
	bool skipped;
};

static inline bool sim_expect_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* How much of a word goes into a message. */
static inline int sim_expect_short(struct sim_word word)
{
	return word.length > 200 ? 200 : (int)word.length;
}

/* The item does not hold. */
void sim_expect_missed(struct sim_expectation *e, struct sim_word item, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Unknown @what, with the name that may have been meant. */
int sim_expect_refuse(struct sim_run *run, struct sim_word word, const char *what,
		      const char *(*name)(const void *self, size_t i), const void *self);
/* Cut P.REST. */
int sim_expect_split(struct sim_run *run, struct sim_word word, uint32_t *process,
		     struct sim_word *rest);

/* expect_page.c */
struct sim_expect_state {
	int state;	     /* enum ksmsim_page_state; -1: any */
	bool huge;	     /* mapped by a PMD */
	int order;	     /* of the folio; -1: any */
	unsigned set, clear; /* marks that the page must have, and must not have: bits by row */
	int64_t refs, maps;  /* -1: any */
};

/* false: no state of this name */
bool sim_expect_state_parse(struct sim_word word, struct sim_expect_state *state);
/* For sim_nearest(). */
const char *sim_expect_state_name(const void *self, size_t i);
/* Every page of the range has the state. */
int sim_expect_pages(struct sim_expectation *e, struct sim_word item, uint32_t process,
		     struct sim_word range_word, const struct sim_expect_state *wanted);
/* same(...), differ(...); @skip: length of "same(" */
int sim_expect_frames(struct sim_expectation *e, struct sim_word item, size_t skip, bool same);

#endif
