/*
 * shrink.c - the fewest and simplest operations that still differ.
 *
 * Delta debugging: leave out half of the operations, a quarter, ... one, and
 * keep what still differs; then make the numbers in what is left smaller. An
 * operation that can no longer be read because the one that made its region has
 * gone is left out with it (sim_lockstep_options.lenient), so whole stories go
 * at once. What comes after the difference goes first.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "generate.h"

struct shrink {
	struct sim_lockstep_options options;
	uint64_t left; /* runs that may still be made */
	json_t *best;
	struct sim_lockstep *lockstep; /* the run of @best */
	int status;
};

/* Does it still differ? Then it is the best now; takes @candidate. */
static bool try_it(struct shrink *s, json_t *candidate)
{
	struct sim_lockstep run;
	int status;

	if (!candidate || !s->left || s->status) {
		json_decref(candidate);
		return false;
	}
	s->left--;
	status = sim_lockstep_list(&run, &s->options, candidate, s->lockstep->name);
	json_decref(candidate);
	if (status || !run.nr_reports) {
		/* an operation that cannot be read is no failure, it is no difference either */
		if (status && status != SIM_EINPUT)
			s->status = status;
		sim_lockstep_free(&run);
		return false;
	}
	sim_lockstep_free(s->lockstep);
	*s->lockstep = run;
	json_decref(s->best);
	s->best = json_incref(run.accepted);
	return true;
}

/* @best without [from, from + nr) */
static json_t *without(const struct shrink *s, size_t from, size_t nr)
{
	json_t *list = json_copy(s->best);
	size_t i;

	for (i = 0; list && i < nr && from < json_array_size(list); i++)
		json_array_remove(list, from);
	return list;
}

static void drop_operations(struct shrink *s)
{
	size_t chunk = json_array_size(s->best) / 2, at, before;

	while (chunk && s->left && !s->status) {
		before = json_array_size(s->best);
		/* from the end: what was done last often matters least */
		for (at = before; at > 0 && s->left;) {
			at = at > chunk ? at - chunk : 0;
			try_it(s, without(s, at, chunk));
			if (at > json_array_size(s->best))
				at = json_array_size(s->best);
		}
		if (chunk > 1 || json_array_size(s->best) == before)
			chunk /= 2;
	}
}

/* ---- arguments ---- */

/* A number that is an argument or part of one, not of a name: r12+3:4 has 3 and 4. */
static const char *next_number(const char *text)
{
	bool in_word = true; /* the operation itself has none */

	for (; *text; text++) {
		if (isdigit((unsigned char)*text) && !in_word)
			return text;
		in_word = isalnum((unsigned char)*text) || *text == '_';
	}
	return NULL;
}

static json_t *with_line(const struct shrink *s, size_t at, const char *text)
{
	json_t *list = json_copy(s->best);

	if (list && json_array_set_new(list, at, json_string(text))) {
		json_decref(list);
		return NULL;
	}
	return list;
}

/* Line @at with the number at @offset replaced. */
static bool try_number(struct shrink *s, size_t at, size_t offset, uint64_t value)
{
	const char *text = json_string_value(json_array_get(s->best, at));
	const size_t digits = strspn(text + offset, "0123456789");
	char line[512];
	const size_t nr = json_array_size(s->best);

	snprintf(line, sizeof(line), "%.*s%" PRIu64 "%s", (int)offset, text, value,
		 text + offset + digits);
	return try_it(s, with_line(s, at, line)) && json_array_size(s->best) == nr;
}

static void shrink_number(struct shrink *s, size_t at, size_t offset)
{
	const char *text = json_string_value(json_array_get(s->best, at));
	const uint64_t value = strtoull(text + offset, NULL, 10);
	uint64_t step;

	if (!value || try_number(s, at, offset, 0) || try_number(s, at, offset, 1))
		return;
	for (step = value / 2; step; step /= 2)
		while (s->left && json_array_size(s->best) > at) {
			text = json_string_value(json_array_get(s->best, at));
			if (strtoull(text + offset, NULL, 10) <= step ||
			    !try_number(s, at, offset, strtoull(text + offset, NULL, 10) - step))
				break;
		}
}

/* The last word, if the operation can do without it. */
static void drop_word(struct shrink *s, size_t at)
{
	const char *text = json_string_value(json_array_get(s->best, at));
	const char *last = strrchr(text, ' ');
	char line[512];

	if (!last)
		return;
	snprintf(line, sizeof(line), "%.*s", (int)(last - text), text);
	try_it(s, with_line(s, at, line));
}

static void simplify_arguments(struct shrink *s)
{
	const char *text, *number;
	size_t at, offset;

	for (at = 0; at < json_array_size(s->best) && s->left && !s->status; at++) {
		drop_word(s, at);
		offset = 0;
		while (at < json_array_size(s->best) && s->left) {
			text = json_string_value(json_array_get(s->best, at));
			number = offset < strlen(text) ? next_number(text + offset) : NULL;
			if (!number)
				break;
			offset = (size_t)(number - text);
			shrink_number(s, at, offset);
			if (at >= json_array_size(s->best))
				break;
			text = json_string_value(json_array_get(s->best, at));
			if (offset >= strlen(text))
				break;
			offset += strspn(text + offset, "0123456789");
		}
	}
}

json_t *sim_shrink(const struct sim_lockstep_options *options, const json_t *operations,
		   uint64_t tries, struct sim_lockstep *lockstep)
{
	struct shrink s = { .options = *options, .left = tries, .lockstep = lockstep };
	size_t before;

	s.options.lenient = true;
	s.options.keep_going = false;
	s.status = sim_lockstep_list(lockstep, &s.options, operations, "shrunk");
	if (s.status || !lockstep->nr_reports)
		return NULL;
	s.best = json_incref(lockstep->accepted);
	do {
		before = json_array_size(s.best);
		drop_operations(&s);
		simplify_arguments(&s);
	} while (s.left && !s.status && json_array_size(s.best) < before);
	return s.best;
}
