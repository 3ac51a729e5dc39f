/*
 * test_shrinker.c - the deferred split queue under pressure, in each profile that
 * has it, and what it saves.
 */
#include "ksmworld.h"

struct row {
	const char *profile;
	int64_t value;
};

static void write_pages(struct world *w, uint64_t page, uint64_t pages,
			enum ksmsim_content_kind kind)
{
	const struct ksmsim_content content = { .kind = kind, .value = 1 };
	int64_t ret = 0;

	good(ksmsim_fill(w->sim, w->pid, WORLD_BASE + page * PAGE, pages, &content, &ret));
	assert_int_equal(ret, 0);
}

/* @blocks THPs, each with @filled pages that are not zero. */
static void start(struct world *w, const char *profile, uint64_t blocks, uint64_t filled)
{
	begin(w, profile, blocks * BLOCK);
	set(w, "transparent_hugepage/enabled", "always");
	set(w, "ksm/run", "0");
	for (uint64_t block = 0; block < blocks; block++) {
		write_pages(w, block * BLOCK, 1, KSMSIM_CONTENT_ZERO);
		if (filled)
			write_pages(w, block * BLOCK, filled, KSMSIM_CONTENT_SEEDS);
	}
}

static void max_none(struct world *w, const char *text)
{
	set(w, "transparent_hugepage/khugepaged/max_ptes_none", text);
}

static int64_t shrink(struct world *w)
{
	int64_t ret = -1;

	good(ksmsim_shrink(w->sim, true, &ret));
	return ret;
}

static uint64_t rss(struct world *w)
{
	struct ksmsim_process process;

	good(ksmsim_process_get(w->sim, w->pid, &process));
	return process.rss_anon;
}

static void expect(struct world *w, int64_t split, int64_t underused, int64_t failed,
		   int64_t queued)
{
	assert_int_equal(count(w, KSMSIM_COUNT_thp_split_page), split);
	assert_int_equal(count(w, KSMSIM_COUNT_thp_underused_split_page), underused);
	assert_int_equal(count(w, KSMSIM_COUNT_thp_split_page_failed), failed);
	assert_int_equal(count(w, KSMSIM_COUNT_deferred_split_queue), queued);
}

/* ---- underused ---- */

static void more_zero_pages_than_allowed_are_underused(void **state)
{
	static const char *const profiles[] = { "linux-6.12", "linux-6.18", "linux-7.3" };

	(void)state;
	for (unsigned p = 0; p < 3; p++) {
		struct world w;

		start(&w, profiles[p], 1, 102);
		max_none(&w, "409");
		expect(&w, 0, 0, 0, 1);
		assert_int_equal(shrink(&w), 1);
		expect(&w, 1, 1, 0, 0);
		assert_int_equal(count(&w, KSMSIM_COUNT_thp_split_pmd), 1);
		assert_int_equal(rss(&w), 102);
		end(&w);
	}
}

static void as_many_as_allowed_are_not_and_leave_the_queue(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 1, 103);
	max_none(&w, "409");
	assert_int_equal(shrink(&w), 0);
	expect(&w, 0, 0, 0, 0);
	write_pages(&w, 0, 1, KSMSIM_CONTENT_ZERO);
	assert_int_equal(shrink(&w), 0);
	expect(&w, 0, 0, 0, 0);
	end(&w);
}

static void the_default_limit_takes_every_thp_off_the_queue(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 1, 1);
	shrink(&w);
	expect(&w, 0, 0, 0, 0);
	max_none(&w, "0");
	shrink(&w);
	expect(&w, 0, 0, 0, 0);
	assert_int_equal(rss(&w), BLOCK);
	end(&w);
}

static void the_knob_is_asked_when_a_thp_is_born(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 1, 1);
	set(&w, "transparent_hugepage/shrink_underused", "0");
	max_none(&w, "0");
	assert_int_equal(shrink(&w), 1);
	expect(&w, 1, 1, 0, 0);
	drop(&w, 0, BLOCK);
	write_pages(&w, 0, 1, KSMSIM_CONTENT_SEEDS);
	set(&w, "transparent_hugepage/shrink_underused", "1");
	assert_int_equal(shrink(&w), 0);
	expect(&w, 1, 1, 0, 0);
	end(&w);
}

static void locked_thps_are_passed_over_since_6_18(void **state)
{
	static const struct row rows[] = { { "linux-6.12", 1 },
					   { "linux-6.18", 0 },
					   { "linux-7.3", 0 } };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct world w;

		start(&w, rows[i].profile, 1, 1);
		max_none(&w, "0");
		good(ksmsim_mlock(w.sim, w.pid, WORLD_BASE, BLOCK * PAGE, NULL));
		assert_int_equal(shrink(&w), rows[i].value);
		expect(&w, rows[i].value, rows[i].value, 0, 0);
		/* no zero page comes into locked memory */
		assert_int_equal(rss(&w), BLOCK);
		end(&w);
	}
}

static void a_pinned_thp_is_tried_once(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 1, 1);
	max_none(&w, "0");
	good(ksmsim_pin(w.sim, w.pid, WORLD_BASE + 3 * PAGE, 1, KSMSIM_PIN_GET, NULL));
	assert_int_equal(shrink(&w), 0);
	expect(&w, 0, 0, 1, 0);
	good(ksmsim_unpin(w.sim, w.pid, WORLD_BASE + 3 * PAGE, 1, NULL));
	assert_int_equal(shrink(&w), 0);
	expect(&w, 0, 0, 1, 0);
	end(&w);
}

static uint64_t tests_of(struct world *w)
{
	uint64_t nr;

	good(ksmsim_cost_get(w->sim, "zero_test", NULL, &nr));
	return nr;
}

static void the_test_ends_when_the_answer_is_known(void **state)
{
	static const struct {
		const char *limit;
		uint64_t filled, tests;
	} rows[] = {
		{ "511", 1, 0 },     /* nobody wants to know */
		{ "0", 512, 512 },   /* the last page could be zero */
		{ "0", 10, 11 },     /* the first zero page */
		{ "409", 512, 103 }, /* 410 can no longer be reached */
		{ "409", 50, 460 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;

		start(&w, "linux-6.18", 1, rows[i].filled);
		max_none(&w, rows[i].limit);
		shrink(&w);
		assert_int_equal(tests_of(&w), rows[i].tests);
		end(&w);
	}
}

/* ---- partially mapped ---- */

static void a_partially_mapped_thp_is_split_untested(void **state)
{
	static const char *const profiles[] = { "linux-6.1", "linux-6.12", "linux-6.18",
						"linux-7.3" };

	(void)state;
	for (unsigned p = 0; p < 4; p++) {
		struct world w;

		start(&w, profiles[p], 1, BLOCK);
		drop(&w, 5, 1);
		expect(&w, 0, 0, 0, 1);
		assert_int_equal(count(&w, KSMSIM_COUNT_nr_anon_frames), BLOCK);
		assert_int_equal(shrink(&w), 1);
		expect(&w, 1, 0, 0, 0);
		assert_int_equal(count(&w, KSMSIM_COUNT_thp_deferred_split_page), 1);
		assert_int_equal(count(&w, KSMSIM_COUNT_thp_split_pmd), 1);
		assert_int_equal(count(&w, KSMSIM_COUNT_nr_anon_frames), BLOCK - 1);
		assert_int_equal(rss(&w), BLOCK - 1);
		assert_int_equal(tests_of(&w), 0);
		end(&w);
	}
}

static void its_zero_pages_go_too(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 1, 1);
	drop(&w, 5, 1);
	assert_int_equal(shrink(&w), 1);
	expect(&w, 1, 0, 0, 0);
	assert_int_equal(rss(&w), 1);
	end(&w);
}

static void a_pinned_one_waits_at_the_tail(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 2, BLOCK);
	drop(&w, 5, 1);
	drop(&w, BLOCK + 5, 1);
	good(ksmsim_pin(w.sim, w.pid, WORLD_BASE + 3 * PAGE, 1, KSMSIM_PIN_GET, NULL));
	assert_int_equal(shrink(&w), 1);
	expect(&w, 1, 0, 1, 1);
	good(ksmsim_unpin(w.sim, w.pid, WORLD_BASE + 3 * PAGE, 1, NULL));
	assert_int_equal(shrink(&w), 1);
	expect(&w, 2, 0, 1, 0);
	assert_int_equal(count(&w, KSMSIM_COUNT_thp_deferred_split_page), 2);
	end(&w);
}

static int64_t mthp(struct world *w, enum ksmsim_mthp stat)
{
	int64_t value;

	good(ksmsim_mthp_get(w->sim, stat, 4, &value));
	return value;
}

static void smaller_folios_are_split_when_partially_mapped(void **state)
{
	struct world w;

	(void)state;
	begin(&w, "linux-6.18", BLOCK);
	set(&w, "transparent_hugepage/hugepages-64kB/enabled", "always");
	write_pages(&w, 5, 1, KSMSIM_CONTENT_SEEDS);
	write_pages(&w, 16, 1, KSMSIM_CONTENT_SEEDS);
	drop(&w, 5, 1);
	assert_int_equal(mthp(&w, KSMSIM_MTHP_nr_anon_partially_mapped), 1);
	assert_int_equal(shrink(&w), 1);
	expect(&w, 0, 0, 0, 0);
	assert_int_equal(mthp(&w, KSMSIM_MTHP_split), 1);
	assert_int_equal(mthp(&w, KSMSIM_MTHP_nr_anon), 1);
	assert_int_equal(mthp(&w, KSMSIM_MTHP_nr_anon_partially_mapped), 0);
	/* 15 pages of zeros; the other folio is not on the queue */
	assert_int_equal(rss(&w), 16);
	end(&w);
}

/* ---- memory.force_empty ---- */

/* Failures with @blocks THPs that cannot be split, of a queue that was long before. */
static int64_t failures(bool twice, uint64_t blocks)
{
	int64_t nr, ret = -1;
	struct world w;

	start(&w, "linux-6.18", blocks, BLOCK);
	w.sim->env.feature[KS_FEAT_reclaim_walks_twice] = twice;
	for (uint64_t block = 0; block < blocks; block++) {
		drop(&w, block * BLOCK + 5, 1);
		good(ksmsim_pin(w.sim, w.pid, WORLD_BASE + (block * BLOCK + 7) * PAGE, 1,
				KSMSIM_PIN_GET, NULL));
	}
	good(ksmsim_shrink(w.sim, false, &ret));
	assert_int_equal(ret, 0);
	nr = count(&w, KSMSIM_COUNT_thp_split_page_failed);
	expect(&w, 0, 0, nr, (int64_t)blocks);
	end(&w);
	return nr;
}

/* The figures of 6.18 are those of a running one. */
static void reclaim_tries_what_fails_a_known_number_of_times(void **state)
{
	static const struct {
		uint64_t blocks;
		int64_t failures, before;
	} rows[] = {
		{ 1, 32, 16 }, { 2, 128, 64 }, { 3, 159, 78 }, { 4, 256, 128 }, { 9, 576, 288 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(failures(true, rows[i].blocks), rows[i].failures);
		assert_int_equal(failures(false, rows[i].blocks), rows[i].before);
	}
}

static void it_takes_new_pages_out_of_the_batches(void **state)
{
	struct ksmsim_page page;
	struct world w;

	(void)state;
	begin(&w, "linux-6.18", 1);
	tag(&w, w.pid, 0, 7);
	good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE, &page));
	assert_int_equal(page.refs, 2);
	good(ksmsim_shrink(w.sim, true, NULL));
	good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE, &page));
	assert_int_equal(page.refs, 2);
	good(ksmsim_shrink(w.sim, false, NULL));
	good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE, &page));
	assert_int_equal(page.refs, 1);
	end(&w);
}

/* ---- what it is for ---- */

/* 4 KiB in every 50 KiB of 40 MiB of THPs, in 20 MiB of memory without swap; whoever finds no room
 * lets the shrinker run. Pages that would not fit. */
static uint64_t touch_sparsely(const char *limit, const char *shrink_underused)
{
	const uint64_t blocks = 20, room = 10 * BLOCK;
	uint64_t missing = 0;
	struct world w;

	start(&w, "linux-6.18", blocks, 0);
	drop(&w, 0, blocks * BLOCK);
	set(&w, "transparent_hugepage/shrink_underused", shrink_underused);
	max_none(&w, limit);
	for (uint64_t byte = 0; byte < blocks * BLOCK * PAGE; byte += 50 * 1024) {
		write_pages(&w, byte / PAGE, 1, KSMSIM_CONTENT_SEEDS);
		if (rss(&w) > room)
			shrink(&w);
		if (rss(&w) > room + missing)
			missing = rss(&w) - room;
	}
	end(&w);
	return missing;
}

static void sparse_memory_fits_if_it_counts_as_underused(void **state)
{
	(void)state;
	assert_int_equal(touch_sparsely("0", "1"), 0);
	assert_int_equal(touch_sparsely("409", "1"), 0);
	assert_int_equal(touch_sparsely("470", "1"), 0);
	assert_true(touch_sparsely("471", "1") > 0);
	assert_true(touch_sparsely("511", "1") > 0);
	assert_true(touch_sparsely("0", "0") > 0);
}

static bool more_than_limit(void *self, const struct ksmsim_underused_question *question)
{
	(void)self;
	return question->zero > question->max_ptes_none;
}

static void thps_of_zeros_stay_at_511_but_for_a_test_without_that_case(void **state)
{
	const struct ksmsim_policy eager = { .underused = more_than_limit };
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 64, 0);
	assert_int_equal(shrink(&w), 0);
	assert_int_equal(rss(&w), 64 * BLOCK);
	end(&w);
	start(&w, "linux-6.18", 64, 0);
	good(ksmsim_policy_set(w.sim, &eager));
	assert_int_equal(shrink(&w), 64);
	assert_int_equal(rss(&w), 0);
	end(&w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(more_zero_pages_than_allowed_are_underused),
	cmocka_unit_test(as_many_as_allowed_are_not_and_leave_the_queue),
	cmocka_unit_test(the_default_limit_takes_every_thp_off_the_queue),
	cmocka_unit_test(the_knob_is_asked_when_a_thp_is_born),
	cmocka_unit_test(locked_thps_are_passed_over_since_6_18),
	cmocka_unit_test(a_pinned_thp_is_tried_once),
	cmocka_unit_test(the_test_ends_when_the_answer_is_known),
	cmocka_unit_test(a_partially_mapped_thp_is_split_untested),
	cmocka_unit_test(its_zero_pages_go_too),
	cmocka_unit_test(a_pinned_one_waits_at_the_tail),
	cmocka_unit_test(smaller_folios_are_split_when_partially_mapped),
	cmocka_unit_test(reclaim_tries_what_fails_a_known_number_of_times),
	cmocka_unit_test(it_takes_new_pages_out_of_the_batches),
	cmocka_unit_test(sparse_memory_fits_if_it_counts_as_underused),
	cmocka_unit_test(thps_of_zeros_stay_at_511_but_for_a_test_without_that_case),
};

TEST_MAIN(tests)
