/*
 * outcome.h - a scenario is a text, and this is what came of it.
 *
 * A test gives a text and says what the run must end with. Messages are compared
 * where people depend on them: place, name and suggestion.
 *
 *	outcome_holds("proc A\nmmap A r 1\nexpect A.r=none\n");
 *	outcome_refused("prok A\n", "t.ksm:1:1: unknown operation 'prok'");
 */
#ifndef OUTCOME_H
#define OUTCOME_H

#include "test.h"

#include "sim/sim.h"

struct outcome {
	int status;
	uint64_t failed, expected, operations;
	int64_t result;
	char error[1024];
	char failure[8192];
	char *json, *echo, *drawn; /* observations, echo and map; gone with outcome_free() */
};

/* A text of lines, t.ksm, or a script, t.lua. */
void outcome_run(struct outcome *out, const struct sim_options *options, bool lua, const char *text,
		 size_t length);
/* Lines, checked after each. */
void outcome_of(struct outcome *out, const char *text);
void outcome_free(struct outcome *out);

/* The text runs, and everything that it expects holds. */
void outcome_holds(const char *text);
/* The text is refused, and the message has @words. */
void outcome_refused(const char *text, const char *words);
/* The text runs, one expectation fails, and the report has @words. */
void outcome_misses(const char *text, const char *words);

/* Two equal pages, merged. */
#define OUTCOME_PAIR \
	"proc A\nmmap A heap 4\nfill A heap+0:2 byte:7\nmadvise A heap MERGEABLE\nscan 2\n"

#endif
