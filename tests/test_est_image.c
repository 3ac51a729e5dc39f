/*
 * test_est_image.c - how a capture becomes a machine: which pages take part, huge pages,
 * and frames that are shared since a fork.
 *
 * As in test_estimate.c, every figure is exact.
 */
#include "draft.h"

/* ---- what takes part ---- */

static void only_mergeable_mappings_take_part_if_so_assumed(void **state)
{
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	draft_process(&d, "a", "rd wr mg");
	draft_run(&d, AT, 1, 10);
	draft_done(&d);
	draft_process(&d, "b", "rd wr");
	draft_run(&d, AT, 1, 10);
	draft_done(&d);
	draft_process(&d, "c", "rd wr mg");
	draft_run(&d, AT, 1, 4);
	draft_done(&d);
	draft_end(&d);
	draft_play(&d);
	draft_assert_pages(&d, 10, 14, 0);
	d.plan.assume = EST_ASSUME_CAPTURED;
	draft_play(&d);
	draft_assert_pages(&d, 4, 4, 0);
	d.plan.assume = EST_ASSUME_PIDS;
	d.plan.pids = (const int64_t[]){ 100, 101 };
	d.plan.nr_pids = 2;
	draft_play(&d);
	draft_assert_pages(&d, 10, 10, 0);
	draft_free(&d);
}

static void mappings_that_ksm_cannot_have_never_take_part(void **state)
{
	static const char *const flags[] = { "rd wr sh", "rd wr io", "rd wr ht",
					     "rd wr de", "rd wr mm", "rd wr dp" };
	struct draft d;

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		draft_begin(&d);
		draft_round(&d, 0);
		draft_process(&d, "a", flags[i]);
		draft_run(&d, AT, 1, 10);
		draft_run(&d, AT + 20 * PAGE, 1, 10);
		draft_done(&d);
		draft_end(&d);
		assert_int_equal(d.image.counts.able, 0);
		draft_free(&d);
	}
}

static void what_is_not_resident_is_not_there(void **state)
{
	struct sim_cap_page page;
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	draft_process(&d, "a", "rd wr");
	draft_run(&d, AT, 1, 2);
	page = draft_page_of(AT + 10 * PAGE, ZEROS);
	page.flags = SIM_CAP_SWAPPED;
	draft_page(&d, &page);
	page = draft_page_of(AT + 11 * PAGE, ZEROS);
	page.flags |= SIM_CAP_ZEROPAGE;
	draft_page(&d, &page);
	draft_done(&d);
	draft_end(&d);
	assert_int_equal(d.image.nr_pages, 2);
	assert_int_equal(d.image.counts.swapped, 1);
	assert_int_equal(d.image.counts.zero_page, 1);
	draft_free(&d);
}

static void pages_that_could_not_be_read_are_like_no_other(void **state)
{
	struct sim_cap_page page;
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	draft_process(&d, "a", "rd wr");
	for (uint32_t i = 0; i < 4; i++) {
		page = draft_page_of(AT + i * PAGE, 9);
		page.flags = SIM_CAP_UNREAD;
		draft_page(&d, &page);
	}
	draft_run(&d, AT + 10 * PAGE, 9, 1);
	draft_run(&d, AT + 11 * PAGE, 9, 1);
	draft_done(&d);
	draft_end(&d);
	draft_play(&d);
	draft_assert_pages(&d, 1, 1, 0);
	draft_free(&d);
}

static void a_dump_that_begins_at_0_finds_a_place(void **state)
{
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	draft_process(&d, "image", "rd wr");
	draft_done(&d);
	d.vmas[0].start = 0;
	d.vmas[0].end = 100 * PAGE;
	d.nr_vmas = 1;
	draft_process_of(&d, "low");
	draft_run(&d, 0, 1, 10);
	draft_run(&d, 50 * PAGE, 1, 10);
	draft_done(&d);
	draft_end(&d);
	draft_play(&d);
	draft_assert_pages(&d, 10, 10, 0);
	draft_free(&d);
}

/* ---- huge pages ---- */

static void one_equal_page_splits_two_huge_pages(void **state)
{
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	draft_process(&d, "a", "rd wr");
	draft_run(&d, AT, 4711, 1);
	draft_block(&d, HUGE_AT, 0, 10000);
	draft_block(&d, HUGE_AT + BLOCK * PAGE, 0, 20000);
	draft_done(&d);
	draft_process(&d, "b", "rd wr");
	draft_block(&d, HUGE_AT, 0, 10000 + BLOCK - 1);
	draft_done(&d);
	draft_end(&d);
	assert_int_equal(d.image.nr_blocks, 3);
	draft_play(&d);
	/* the last page of a's first is the first of b's */
	draft_assert_pages(&d, 1, 1, 0);
	assert_int_equal(d.result.at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_thps], 3);
	assert_int_equal(draft_at_end(&d, KSMSIM_COUNT_nr_anon_thps), 1);
	assert_int_equal(est_delta(&d.result, KSMSIM_COUNT_thp_split_page), 2);
	draft_free(&d);
}

static void splits_drop_pages_of_zeros(void **state)
{
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	for (uint32_t i = 0; i < 2; i++) {
		draft_process(&d, "a", "rd wr");
		draft_block(&d, HUGE_AT, 100, 10000 + i * 1000);
		draft_done(&d);
	}
	draft_end(&d);
	draft_play(&d);
	/* they match each other, so both are split, and the split maps the zero page */
	assert_int_equal(est_delta(&d.result, KSMSIM_COUNT_thp_split_page), 2);
	assert_true(est_saved(&d.result, EST_AT_END) >= 198 * (int64_t)PAGE);
	draft_free(&d);
}

static void parts_of_huge_pages_are_single_pages(void **state)
{
	struct sim_cap_page page;
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	draft_process(&d, "a", "rd wr");
	for (uint32_t i = 1; i < BLOCK; i++) {
		page = draft_page_of(HUGE_AT + i * PAGE, 100 + i);
		page.order = 9;
		draft_page(&d, &page);
	}
	draft_done(&d);
	draft_end(&d);
	assert_int_equal(d.image.nr_blocks, 0);
	assert_int_equal(d.image.counts.large, BLOCK - 1);
	draft_play(&d);
	assert_int_equal(d.result.at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_thps], 0);
	draft_free(&d);
}

/* ---- forks ---- */

static void frames_shared_since_a_fork_are_saved_already(void **state)
{
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	for (uint32_t i = 0; i < 3; i++) {
		draft_process(&d, "fork", "rd wr");
		for (uint32_t k = 0; k < 50; k++) {
			struct sim_cap_page page = draft_page_of(AT + k * PAGE, 1 + k);

			/* the second has written page 10, and the third has page 20 no more */
			if (k == 20 && i == 2)
				continue;
			page.pfn = k == 10 && i == 1 ? 999 : 1000 + k;
			page.mapcount = k == 10 && i == 1 ? 1 : k == 10 || k == 20 ? 2 : 3;
			page.flags = SIM_CAP_HASHED;
			draft_page(&d, &page);
		}
		draft_done(&d);
	}
	draft_end(&d);
	assert_int_equal(d.image.processes[1].forked_from, 0);
	assert_int_equal(d.image.counts.forked, 49 + 49);
	draft_play(&d);
	assert_int_equal(d.result.at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_frames], 51);
	/* page 10: the copy of the second holds the same bytes as the frame of the others */
	draft_assert_saved(&d, 1);
	draft_free(&d);
}

static void siblings_share_what_their_parent_has_no_more(void **state)
{
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	for (uint32_t i = 0; i < 4; i++) {
		draft_process(&d, "fork", "rd wr");
		for (uint32_t k = 0; k < 10; k++) {
			struct sim_cap_page page = draft_page_of(AT + k * PAGE, 1 + k);

			const bool own = (k == 3 && !i) || (k >= 5 && k < 8 && i == 1);

			/* the first has written page 3 and dropped page 4; the last has neither */
			if ((k == 4 && !i) || ((k == 3 || k == 4) && i == 3))
				continue;
			if (own)
				page = draft_page_of(AT + k * PAGE, 500 + k);
			page.pfn = own ? 900 + k : 1000 + k;
			page.mapcount = own ? 1 : k == 3 || k == 4 ? 2 : 3;
			page.flags = SIM_CAP_HASHED;
			draft_page(&d, &page);
		}
		draft_done(&d);
	}
	draft_end(&d);
	assert_int_equal(d.image.counts.lonely, 0);
	assert_int_equal(d.image.nr_loans, 2);
	draft_play(&d);
	assert_int_equal(d.result.at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_frames], 11 + 3);
	draft_assert_pages(&d, 0, 0, 0);
	draft_free(&d);
}

static void a_child_without_a_mapping_of_its_parent(void **state)
{
	struct sim_cap_page page;
	struct draft d;

	(void)state;
	draft_begin(&d);
	draft_round(&d, 0);
	for (uint32_t i = 0; i < 2; i++) {
		if (i) {
			/* of the first mapping it has the end, of the second too */
			d.vmas[0].start += 5 * PAGE;
			d.vmas[1].start += BLOCK * PAGE;
			draft_process_of(&d, "fork");
		} else {
			draft_process(&d, "fork", "rd wr");
			draft_run(&d, AT, 700, 3);
		}
		page = draft_page_of(AT + 7 * PAGE, 77);
		page.pfn = 5;
		page.mapcount = 2;
		page.flags = SIM_CAP_HASHED;
		draft_page(&d, &page);
		draft_run(&d, HUGE_AT + BLOCK * PAGE, 800, 2);
		draft_done(&d);
	}
	draft_end(&d);
	draft_play(&d);
	assert_int_equal(d.result.at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_frames], 3 + 1 + 4);
	draft_assert_pages(&d, 2, 2, 0);
	draft_free(&d);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(only_mergeable_mappings_take_part_if_so_assumed),
	cmocka_unit_test(mappings_that_ksm_cannot_have_never_take_part),
	cmocka_unit_test(what_is_not_resident_is_not_there),
	cmocka_unit_test(pages_that_could_not_be_read_are_like_no_other),
	cmocka_unit_test(a_dump_that_begins_at_0_finds_a_place),
	cmocka_unit_test(one_equal_page_splits_two_huge_pages),
	cmocka_unit_test(splits_drop_pages_of_zeros),
	cmocka_unit_test(parts_of_huge_pages_are_single_pages),
	cmocka_unit_test(frames_shared_since_a_fork_are_saved_already),
	cmocka_unit_test(siblings_share_what_their_parent_has_no_more),
	cmocka_unit_test(a_child_without_a_mapping_of_its_parent),
};

TEST_MAIN(tests)
