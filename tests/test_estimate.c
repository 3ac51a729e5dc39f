/*
 * test_estimate.c - estimates of small captures whose answers are known: what is saved,
 * over rounds, by whom, and in other cases. Which pages there are to save is in
 * test_est_image.c.
 *
 * Prices of the model are its defaults and memory is made up, so every figure is exact.
 */
#include "draft.h"

#include <string.h>

/* ---- sums ---- */

static void equal_pages_of_three_processes_share_frames(void **state)
{
	struct draft d;

	(void)state;
	draft_three_processes(&d);
	draft_play(&d);
	/* 15 pages of zeros are one frame like any other */
	draft_assert_pages(&d, 101, 200 + 14, 0);
	draft_assert_saved(&d, 214);
	assert_int_equal(d.result.at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_frames], 3 * 115);
	assert_int_equal(est_metadata(&d.result), (3 * 115 + 101) * 64);
	draft_free(&d);
}

static void pages_of_zeros_need_no_frame_with_use_zero_pages(void **state)
{
	struct draft d;

	(void)state;
	draft_three_processes(&d);
	draft_play_with(&d, "use_zero_pages", "1");
	draft_assert_pages(&d, 100, 200, 15);
	draft_assert_saved(&d, 215);
	assert_int_equal(est_zero_bytes(&d.result, EST_AT_END), 15 * PAGE);
	draft_free(&d);
}

static void max_page_sharing_makes_dups_and_leaves_the_odd_page(void **state)
{
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	draft_process(&d, "many", "rd wr");
	for (uint32_t i = 0; i < 7; i++)
		draft_run(&d, AT + i * PAGE, 5, 1);
	draft_done(&d);
	draft_end(&d);
	assert_int_equal(d.image.max_copies, 7);
	draft_play_with(&d, "max_page_sharing", "3");
	draft_assert_pages(&d, 2, 4, 0);
	draft_play(&d);
	draft_assert_pages(&d, 1, 6, 0);
	draft_free(&d);
}

static void it_takes_two_full_scans(void **state)
{
	struct draft d;

	(void)state;
	draft_three_processes(&d);
	draft_play(&d);
	/* 345 pages are four batches with 20 ms between two of them; seen every 100 ms */
	assert_true(d.result.settled_ns >= 80000000 && d.result.settled_ns <= 300000000);
	assert_int_equal(est_saved(&d.result, EST_AT_1_MIN), est_saved(&d.result, EST_AT_END));
	assert_true(est_busy(&d.result) > 0);
	draft_play_with(&d, "pages_to_scan", "1");
	/* one page each 20 ms: 6.9 s a scan */
	assert_true(d.result.settled_ns > 7 * SECOND && d.result.settled_ns < 14 * SECOND);
	draft_free(&d);
}

/* ---- rounds ---- */

static void pages_that_change_do_not_stay_merged(void **state)
{
	uint32_t process[2], i, round;
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	for (i = 0; i < 2; i++) {
		process[i] = draft_process(&d, "busy", "rd wr");
		draft_run(&d, AT, 1, 10);
		draft_done(&d);
	}
	for (round = 1; round < 3; round++) {
		draft_round(&d, round);
		for (i = 0; i < 2; i++) {
			draft_pages_of(&d, process[i]);
			draft_run(&d, AT, 1000 * round + i, 1);
			draft_run(&d, AT + PAGE, 2, 9);
			draft_done(&d);
		}
	}
	draft_end(&d);
	assert_int_equal(d.image.counts.changed, 2);
	draft_play(&d);
	draft_assert_pages(&d, 9, 9, 0);
	assert_int_equal(d.share.total.blocked, 2);
	/* merged within the first second; then each write is a copy, once */
	assert_int_equal(est_delta(&d.result, KSMSIM_COUNT_cow_ksm), 2);
	assert_true(d.result.at[EST_AT_END].ns >= 3 * 2 * SECOND);
	draft_free(&d);
}

static void pages_that_come_and_go_do_so_once(void **state)
{
	uint32_t process;
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	process = draft_process(&d, "busy", "rd wr");
	draft_run(&d, AT, 1, 10);
	draft_done(&d);
	draft_round(&d, 1);
	draft_pages_of(&d, process);
	draft_run(&d, AT + PAGE, 2, 9);
	draft_run(&d, AT + 100 * PAGE, 2, 3);
	draft_done(&d);
	draft_end(&d);
	draft_play(&d);
	draft_assert_pages(&d, 3, 3, 0);
	assert_int_equal(draft_at_end(&d, KSMSIM_COUNT_nr_anon_frames), 10 - 1 + 3 - 3);
	draft_free(&d);
}

/* ---- who shares ---- */

static void the_matrix_says_who_shares_with_whom(void **state)
{
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	draft_process(&d, "a", "rd wr");
	draft_run(&d, AT, 1, 5);
	draft_run(&d, AT + 50 * PAGE, 90, 2);
	draft_done(&d);
	draft_process(&d, "b", "rd wr");
	draft_run(&d, AT, 1, 4);
	draft_done(&d);
	draft_process(&d, "c", "rd wr");
	draft_run(&d, AT, 90, 2);
	draft_run(&d, HUGE_AT, 70, 3);
	draft_run(&d, HUGE_AT + 10 * PAGE, 70, 3);
	draft_done(&d);
	draft_end(&d);
	draft_play(&d);
	assert_int_equal(d.share.nr_columns, 3);
	assert_int_equal(d.share.matrix[0 * 3 + 1], 4);
	assert_int_equal(d.share.matrix[1 * 3 + 0], 4);
	assert_int_equal(d.share.matrix[0 * 3 + 2], 2);
	assert_int_equal(d.share.matrix[1 * 3 + 2], 0);
	assert_int_equal(d.share.matrix[2 * 3 + 2], 6);
	assert_int_equal(d.share.processes[0].across, 6);
	assert_int_equal(d.share.processes[2].alone, 6);
	/* two copies each: every one saves half a page */
	assert_int_equal(d.share.processes[2].saved, (6 + 2) * 512);
	assert_int_equal(d.share.total.saved / 1024, draft_at_end(&d, KSMSIM_COUNT_pages_sharing));
	draft_free(&d);
}

/* ---- cases ---- */

/* Without forks and huge pages: a content of n mergeable pages saves n - 1. */
static void random_captures_save_what_can_be_counted(void **state)
{
	uint32_t copies[64], processes, i, k, content;
	uint64_t seed;
	struct draft d;

	(void)state;
	for (seed = 1; seed <= 20; seed++) {
		uint64_t chance = seed;
		int64_t shared = 0, sharing = 0;

		memset(copies, 0, sizeof(copies));
		draft_begin(&d);
		draft_round(&d, 0);
		processes = 1 + test_random_below(&chance, 5);
		for (i = 0; i < processes; i++) {
			const bool able = test_random_below(&chance, 4) > 0;

			draft_process(&d, "p", able ? "rd wr" : "rd wr sh");
			for (k = 0; k < 100; k++) {
				content = test_random_below(&chance, 64);
				if (test_random_below(&chance, 3) == 0)
					continue;
				draft_run(&d, AT + k * PAGE, content, 1);
				copies[content] += able;
			}
			draft_done(&d);
		}
		draft_end(&d);
		draft_play(&d);
		for (i = 0; i < 64; i++) {
			shared += copies[i] > 1;
			sharing += copies[i] > 1 ? copies[i] - 1 : 0;
		}
		draft_assert_pages(&d, shared, sharing, 0);
		draft_assert_saved(&d, sharing);
		assert_int_equal(d.share.total.merged, shared + sharing);
		draft_free(&d);
	}
}

/* Some of 60 small pages, owned or shared with others, on any of three nodes; perhaps a huge page. */
static void draft_anything(struct draft *d, uint64_t *chance)
{
	uint32_t k;

	for (k = 0; k < 60; k++) {
		struct sim_cap_page page =
			draft_page_of(AT + k * PAGE, test_random_below(chance, 40));

		if (test_random_below(chance, 4) == 0)
			continue;
		if (test_random_below(chance, 2)) {
			page.flags &= (uint16_t)~SIM_CAP_EXCLUSIVE;
			page.mapcount = 2;
			page.pfn = 1 + k * 3 + test_random_below(chance, 3);
		}
		page.nid = (uint8_t)test_random_below(chance, 3);
		draft_page(d, &page);
	}
	if (test_random_below(chance, 2))
		draft_block(d, HUGE_AT, test_random_below(chance, 40),
			    test_random_below(chance, 2000));
}

/* Anything may be in a capture; whatever it is, it is played, and the sums fit together. */
static void random_worlds_can_be_played(void **state)
{
	const struct sim_setting slowly = { "sleep_millisecs", "1000" };
	uint64_t seed;
	uint32_t i, round;
	struct draft d;

	(void)state;
	for (seed = 1; seed <= 30; seed++) {
		uint64_t chance = seed;
		uint32_t process[4];

		draft_begin(&d);
		d.interval_s = 300;
		for (round = 0; round < 2; round++) {
			draft_round(&d, round);
			for (i = 0; i < 4; i++) {
				if (!round)
					process[i] = draft_process(&d, "p", "rd wr mg");
				else
					draft_pages_of(&d, process[i]);
				draft_anything(&d, &chance);
				draft_done(&d);
			}
		}
		draft_end(&d);
		d.plan.knobs = &slowly;
		d.plan.nr_knobs = 1;
		draft_play_with(&d, "use_zero_pages", seed % 2 ? "1" : "0");
		assert_true(d.share.total.merged + d.share.total.zeros <= d.share.total.mergeable);
		assert_true(d.share.total.mergeable == d.image.counts.able);
		draft_free(&d);
	}
}

static void a_case_that_changes_nothing_is_not_played(void **state)
{
	static struct est_cases cases;
	struct est_knobs knobs;
	char why[EST_WHY_BYTES];
	struct draft d;
	size_t i;

	(void)state;
	draft_three_processes(&d);
	assert_int_equal(est_knobs_get(&d.plan, &knobs, why), 0);
	assert_int_equal(knobs.pages_to_scan, 100);
	assert_true(knobs.has_advisor && !knobs.advises);
	est_cases_fill(&cases, &d.plan, &knobs, true);
	assert_true(est_cases_add(&cases, "pages_to_scan=7,use_zero_pages=1"));
	assert_false(est_cases_add(&cases, "pages_to_scan"));
	cases.nr--;
	assert_int_equal(est_cases_play(&cases, &d.plan, 2, NULL, NULL, NULL, NULL), 0);
	for (i = 0; i < cases.nr; i++) {
		const bool zero = strstr(cases.list[i].name, "use_zero_pages=1") != NULL;

		assert_int_equal(est_saved(&cases.results[i], EST_AT_END),
				 (zero ? 215 : 214) * (int64_t)PAGE);
		if (strstr(cases.list[i].name, "max_page_sharing"))
			assert_non_null(cases.list[i].same_as);
	}
	draft_free(&d);
}

static void an_unknown_knob_is_an_error(void **state)
{
	const struct sim_setting knob = { "no_such_knob", "1" };
	const struct est_case c = { .nr_knobs = 0 };
	struct draft d;

	(void)state;
	draft_three_processes(&d);
	d.plan.knobs = &knob;
	d.plan.nr_knobs = 1;
	assert_int_not_equal(est_play(&d.plan, &c, NULL, NULL, &d.result), 0);
	assert_non_null(strstr(d.result.why, "no_such_knob"));
	draft_free(&d);
}

static void fingerprints_are_numbered_in_order(void **state)
{
	struct est_prints *prints = est_prints_new();
	uint64_t seed = 1;
	uint32_t i;

	(void)state;
	for (i = 0; i < 20000; i++)
		assert_int_equal(
			est_prints_number(prints, (struct sim_print){ i, test_random(&seed) }),
			i + 1);
	seed = 1;
	for (i = 0; i < 20000; i++)
		assert_int_equal(
			est_prints_number(prints, (struct sim_print){ i, test_random(&seed) }),
			i + 1);
	assert_int_equal(est_prints_unique(prints), 20001);
	assert_int_equal(est_prints_nr(prints), 20001);
	est_prints_free(prints);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(equal_pages_of_three_processes_share_frames),
	cmocka_unit_test(pages_of_zeros_need_no_frame_with_use_zero_pages),
	cmocka_unit_test(max_page_sharing_makes_dups_and_leaves_the_odd_page),
	cmocka_unit_test(it_takes_two_full_scans),
	cmocka_unit_test(pages_that_change_do_not_stay_merged),
	cmocka_unit_test(pages_that_come_and_go_do_so_once),
	cmocka_unit_test(the_matrix_says_who_shares_with_whom),
	cmocka_unit_test(random_captures_save_what_can_be_counted),
	cmocka_unit_test(random_worlds_can_be_played),
	cmocka_unit_test(a_case_that_changes_nothing_is_not_played),
	cmocka_unit_test(an_unknown_knob_is_an_error),
	cmocka_unit_test(fingerprints_are_numbered_in_order),
};

TEST_MAIN(tests)
