/*
 * test_ksm_thp_ways.c - all ways to scan huge pages do the same: with short cuts, without,
 * and page by page.
 *
 * SEEDS may be defined, for more of them.
 */
#include "ksmworld.h"

#ifndef SEEDS
#define SEEDS 2u
#endif
#define OPS 100u

static const char *const profiles[] = { "linux-6.1", "linux-6.12", "linux-6.18", "linux-7.3" };
#define NR_PROFILES (sizeof(profiles) / sizeof(profiles[0]))

struct twin {
	struct world w[3];
	uint64_t random;
};

/* w is declared here, so it cannot stand in parentheses: NOLINTBEGIN(bugprone-macro-parentheses) */
#define ALL(t, w)                 \
	struct world *w = (t)->w; \
	w < (t)->w + 3;           \
	w++
/* NOLINTEND(bugprone-macro-parentheses) */

static uint32_t draw(struct twin *t, uint32_t below)
{
	return test_random_below(&t->random, below);
}

static void twin_write(struct twin *t)
{
	static const enum ksmsim_content_kind kinds[] = { KSMSIM_CONTENT_ZERO, KSMSIM_CONTENT_TAG,
							  KSMSIM_CONTENT_TAGS,
							  KSMSIM_CONTENT_SEEDS };
	const enum ksmsim_content_kind kind = kinds[draw(t, 4)];
	const uint64_t page = draw(t, 4 * BLOCK), value = draw(t, 6);
	const uint64_t pages = draw(t, 3) ? 1 + draw(t, 8) : 1 + draw(t, 300);

	for (ALL(t, w))
		fill_with(w, page, pages < 4 * BLOCK - page ? pages : 4 * BLOCK - page, kind,
			  value);
}

static void twin_advice(struct twin *t)
{
	static const enum ksmsim_advice advices[] = {
		KSMSIM_MADV_DONTNEED, KSMSIM_MADV_DONTNEED,    KSMSIM_MADV_FREE,
		KSMSIM_MADV_COLD,     KSMSIM_MADV_UNMERGEABLE, KSMSIM_MADV_MERGEABLE,
		KSMSIM_MADV_MERGEABLE
	};
	const enum ksmsim_advice advice = advices[draw(t, 7)];
	uint64_t page = draw(t, 4 * BLOCK), pages = 1 + draw(t, 600);

	if (!draw(t, 2))
		page &= ~(uint64_t)(BLOCK - 1), pages = BLOCK;
	if (pages > 4 * BLOCK - page)
		pages = 4 * BLOCK - page;
	for (ALL(t, w))
		good(ksmsim_madvise(w->sim, w->pid, WORLD_BASE + page * PAGE, pages * PAGE, advice,
				    NULL));
}

static void twin_fork(struct twin *t)
{
	const bool stay = draw(t, 2);

	for (ALL(t, w)) {
		const uint32_t old = w->pid;

		good(ksmsim_fork(w->sim, old, &w->pid, NULL));
		if (!stay)
			good(ksmsim_exit(w->sim, old));
	}
}

static void twin_scan(struct twin *t)
{
	const uint64_t pages = draw(t, 4) ? draw(t, 700) : 5000;

	batch(&t->w[0], pages);
	batch(&t->w[1], pages);
	for (uint64_t i = 0; i < pages && batch(&t->w[2], 1); i++)
		;
}

static void twin_op(struct twin *t)
{
	const uint32_t what = draw(t, 100);

	if (what < 40)
		twin_scan(t);
	else if (what < 75)
		twin_write(t);
	else if (what < 90)
		twin_advice(t);
	else if (what < 93)
		twin_fork(t);
	else if (what < 96)
		for (ALL(t, w))
			set(w, "ksm/use_zero_pages", what % 2 ? "1" : "0");
	else
		for (ALL(t, w))
			good(ksmsim_shrink(w->sim, true, NULL));
}

static uint64_t hash(struct world *w)
{
	uint64_t value;

	good(ksmsim_hash(w->sim, &value));
	return value;
}

/* A batch has a price, and begins its walk at the root. */
static void expect_equal_counters(struct world *w, struct world *as)
{
	for (unsigned i = 0; i < KSMSIM_COUNT_NR; i++) {
		if (i != KSMSIM_COUNT_walk_entries && i != KSMSIM_COUNT_ksmd_cpu_ns &&
		    i != KSMSIM_COUNT_host_bytes)
			assert_int_equal(count(w, i), count(as, i));
	}
}

static void twins_run(const char *profile, uint64_t seed)
{
	struct twin *t = &(struct twin){ .random = seed };

	for (ALL(t, w)) {
		begin(w, profile, 4 * BLOCK);
		set(w, "transparent_hugepage/enabled", "always");
		if (strcmp(profile, "linux-6.1")) {
			set(w, "transparent_hugepage/hugepages-64kB/enabled", "always");
			set(w, "ksm/smart_scan", "1");
		}
	}
	t->w[1].sim->env.knob.shortcuts = 0;
	for (unsigned op = 0; op < OPS; op++) {
		twin_op(t);
		for (ALL(t, w)) {
			expect_sound(w);
			w->nr_events = 0;
		}
		assert_int_equal(hash(&t->w[1]), hash(&t->w[0]));
		expect_equal_counters(&t->w[2], &t->w[0]);
	}
	assert_true(count(&t->w[0], KSMSIM_COUNT_thp_split_page) > 0);
	for (ALL(t, w))
		end(w);
}

static void short_cuts_do_what_the_long_way_does(void **state)
{
	(void)state;
	for (unsigned p = 0; p < NR_PROFILES; p++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++)
			twins_run(profiles[p], seed);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(short_cuts_do_what_the_long_way_does),
};

TEST_MAIN(tests)
