/*
 * memory.c - floors 1 and 2 alone, for the tests of frames, folios and LRU batches.
 */
#include "memory.h"
#include "test.h"

#include <stdlib.h>

struct memory *memory_new(enum ks_profile profile)
{
	struct memory *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	ks_env_init(&w->env, NULL, profile, 0);
	w->env.out = &w->out;
	ks_contents_init(&w->env, &w->contents, 4096);
	ks_frames_init(&w->env, &w->frames, &w->contents, 2, PMD);
	return w;
}

void memory_check(struct memory *w)
{
	assert_true(ks_folios_check(&w->env, &w->frames));
	assert_true(ks_frames_check(&w->frames));
}

void memory_free(struct memory *w)
{
	memory_check(w);
	assert_int_equal(w->frames.nr_used, 0);
	assert_int_equal(w->frames.folios.live, 0);
	assert_int_equal(w->frames.nr_split_queue, 0);
	ks_frames_destroy(&w->env, &w->frames);
	ks_contents_destroy(&w->env, &w->contents);
	assert_int_equal(w->env.host_bytes, 0);
	ks_env_destroy(&w->env);
	free(w);
}
