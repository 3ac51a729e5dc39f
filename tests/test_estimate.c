/*
 * test_estimate.c - estimates of small captures whose answers are known.
 *
 * Prices of the model are its defaults and memory is made up, so every figure is exact.
 */
#define _GNU_SOURCE
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/estimate.h"

#define PAGE UINT64_C(4096)
#define AT UINT64_C(0x10000000)
#define HUGE_AT UINT64_C(0x40000000)
#define BLOCK 512u
#define SECOND UINT64_C(1000000000)

#define ZEROS 0u /* contents of the tests: numbers; the same number, the same page */

/* ---- captures ---- */

struct draft {
	struct sim_capwriter *writer;
	char *bytes;
	size_t length;
	struct sim_capfile *file;
	uint32_t process, round;
	uint64_t interval_s;
	int64_t pid;
	struct sim_cap_vma vmas[8];
	size_t nr_vmas;
	struct est_image image;
	struct est_plan plan;
	struct est_result result;
	struct est_share share;
};

static void draft_begin(struct draft *d)
{
	char why[256];

	memset(d, 0, sizeof(*d));
	assert_int_equal(sim_capwriter_open("/tmp/x", why, sizeof(why), &d->writer), 0);
	sim_capwriter_meta(d->writer, SIM_CAP_META_PAGE, "4096");
	sim_capwriter_meta(d->writer, SIM_CAP_META_CHECKSUMS, "print");
	sim_capwriter_meta(d->writer, SIM_CAP_META_ZERO_PRINT, "00000000000000010000000000000002");
	sim_capwriter_meta(d->writer, SIM_CAP_META_ZERO_CHECKSUM, "00000002");
	sim_capwriter_meta(d->writer, SIM_CAP_META_KERNEL, "6.18.1");
	d->pid = 100;
	d->interval_s = 1;
}

static void draft_round(struct draft *d, uint32_t round)
{
	const struct sim_cap_round when = { .since_ns = round * d->interval_s * SECOND,
					    .duration_ns = 5 };

	d->round = round;
	assert_int_equal(sim_capwriter_round(d->writer, round, &when), 0);
}

static void draft_pages_of(struct draft *d, uint32_t process)
{
	assert_int_equal(sim_capwriter_vmas(d->writer, process, d->round, d->vmas, d->nr_vmas), 0);
	assert_int_equal(sim_capwriter_pages_begin(d->writer, process, d->round), 0);
	d->process = process;
}

/* A process with these VMAs */
static uint32_t draft_process_of(struct draft *d, const char *name)
{
	const struct sim_cap_process process = { .pid = d->pid++,
						 .ppid = 1,
						 .uid = 0,
						 .started = 99,
						 .name = name,
						 .exe = "",
						 .cgroup = "/" };
	uint32_t id;

	assert_int_equal(sim_capwriter_process(d->writer, &process, &id), 0);
	draft_pages_of(d, id);
	return id;
}

/* A process with a heap of 256 MiB, and an anonymous VMA for huge pages. */
static uint32_t draft_process(struct draft *d, const char *name, const char *flags)
{
	d->nr_vmas = 2;
	d->vmas[0] = (struct sim_cap_vma){ .start = AT,
					   .end = AT + (UINT64_C(256) << 20),
					   .flags = sim_cap_vma_flags(flags),
					   .flags_text = flags,
					   .name = "[heap]" };
	d->vmas[1] = d->vmas[0];
	d->vmas[1].start = HUGE_AT;
	d->vmas[1].end = HUGE_AT + (UINT64_C(64) << 20);
	d->vmas[1].name = "";
	return draft_process_of(d, name);
}

static struct sim_cap_page page_of(uint64_t vaddr, uint32_t content)
{
	struct sim_cap_page page = { .vaddr = vaddr,
				     .flags = SIM_CAP_HASHED | SIM_CAP_EXCLUSIVE,
				     .mapcount = 1,
				     .nid = SIM_CAP_NO_NODE };

	if (content == ZEROS)
		page.flags |= SIM_CAP_ZERO;
	page.print = (struct sim_print){ content == ZEROS ? 1 : content,
					 content == ZEROS ? 2 : content * 77u };
	page.checksum = (uint32_t)page.print.low;
	return page;
}

static void draft_page(struct draft *d, const struct sim_cap_page *page)
{
	assert_int_equal(sim_capwriter_page(d->writer, page), 0);
}

/* Page i holds content + i, or zeros */
static void draft_run(struct draft *d, uint64_t vaddr, uint32_t content, uint32_t nr)
{
	uint32_t i;

	for (i = 0; i < nr; i++) {
		const struct sim_cap_page page =
			page_of(vaddr + i * PAGE, content == ZEROS ? ZEROS : content + i);

		draft_page(d, &page);
	}
}

/* A huge page: @zeros pages of zeros, then content + i */
static void draft_block(struct draft *d, uint64_t vaddr, uint32_t zeros, uint32_t content)
{
	uint32_t i;

	for (i = 0; i < BLOCK; i++) {
		struct sim_cap_page page =
			page_of(vaddr + i * PAGE, i < zeros ? ZEROS : content + i);

		page.order = 9;
		page.flags |= SIM_CAP_PMD;
		draft_page(d, &page);
	}
}

static void draft_done(struct draft *d)
{
	const struct sim_cap_figures figures = { .rss_anon = 1 };

	assert_int_equal(sim_capwriter_pages_end(d->writer), 0);
	assert_int_equal(sim_capwriter_figures(d->writer, d->process, d->round, &figures), 0);
}

static void draft_end(struct draft *d)
{
	FILE *out = open_memstream(&d->bytes, &d->length);
	char why[256] = "";

	assert_int_equal(sim_capwriter_commit(d->writer, out), 0);
	fclose(out);
	sim_capwriter_free(d->writer);
	d->writer = NULL;
	if (sim_capfile_open_bytes(d->bytes, d->length, "draft", why, sizeof(why), &d->file))
		fail_msg("%s", why);
	if (est_image_add(&d->image, d->file) || est_image_end(&d->image))
		fail_msg("%s", d->image.why);
	d->plan.image = &d->image;
}

static void draft_free(struct draft *d)
{
	sim_capfile_close(d->file);
	est_image_free(&d->image);
	est_share_free(&d->share);
	free(d->bytes);
}

/* ---- playing ---- */

static void play_with(struct draft *d, const char *name, const char *value)
{
	const struct est_case c = { .knobs = { { name, value } }, .nr_knobs = name != NULL };

	est_share_free(&d->share);
	d->share = (struct est_share){ .max_page_sharing = 256 };
	if (est_play(&d->plan, &c, est_share_look, &d->share, &d->result))
		fail_msg("%s", d->result.why);
	assert_true(d->result.settled);
}

static void play(struct draft *d)
{
	play_with(d, NULL, NULL);
}

static int64_t at_end(const struct draft *d, enum ksmsim_counter counter)
{
	return d->result.at[EST_AT_END].count[counter];
}

static void assert_pages(const struct draft *d, int64_t shared, int64_t sharing, int64_t zero)
{
	assert_int_equal(at_end(d, KSMSIM_COUNT_pages_shared), shared);
	assert_int_equal(at_end(d, KSMSIM_COUNT_pages_sharing), sharing);
	assert_int_equal(at_end(d, KSMSIM_COUNT_ksm_zero_pages), zero);
}

static void assert_saved(const struct draft *d, int64_t pages)
{
	assert_int_equal(est_saved(&d->result, EST_AT_END), pages * (int64_t)PAGE);
}

/* 100 pages that all three have, 10 of its own each, 5 of zeros each */
static void three_processes(struct draft *d)
{
	uint32_t i;

	draft_begin(d);
	draft_round(d, 0);
	for (i = 0; i < 3; i++) {
		draft_process(d, "twin", "rd wr mr mw me ac");
		draft_run(d, AT, 1, 100);
		draft_run(d, AT + 200 * PAGE, 1000 + i * 10, 10);
		draft_run(d, AT + 300 * PAGE, ZEROS, 5);
		draft_done(d);
	}
	draft_end(d);
}

/* ---- sums ---- */

static void equal_pages_of_three_processes_share_frames(void **state)
{
	struct draft d;

	(void)state;
	three_processes(&d);
	play(&d);
	/* 15 pages of zeros are one frame like any other */
	assert_pages(&d, 101, 200 + 14, 0);
	assert_saved(&d, 214);
	assert_int_equal(d.result.at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_frames], 3 * 115);
	assert_int_equal(est_metadata(&d.result), (3 * 115 + 101) * 64);
	draft_free(&d);
}

static void pages_of_zeros_need_no_frame_with_use_zero_pages(void **state)
{
	struct draft d;

	(void)state;
	three_processes(&d);
	play_with(&d, "use_zero_pages", "1");
	assert_pages(&d, 100, 200, 15);
	assert_saved(&d, 215);
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
	play_with(&d, "max_page_sharing", "3");
	assert_pages(&d, 2, 4, 0);
	play(&d);
	assert_pages(&d, 1, 6, 0);
	draft_free(&d);
}

static void it_takes_two_full_scans(void **state)
{
	struct draft d;

	(void)state;
	three_processes(&d);
	play(&d);
	/* 345 pages are four batches with 20 ms between two of them; seen every 100 ms */
	assert_true(d.result.settled_ns >= 80000000 && d.result.settled_ns <= 300000000);
	assert_int_equal(est_saved(&d.result, EST_AT_1_MIN), est_saved(&d.result, EST_AT_END));
	assert_true(est_busy(&d.result) > 0);
	play_with(&d, "pages_to_scan", "1");
	/* one page each 20 ms: 6.9 s a scan */
	assert_true(d.result.settled_ns > 7 * SECOND && d.result.settled_ns < 14 * SECOND);
	draft_free(&d);
}

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
	play(&d);
	assert_pages(&d, 10, 14, 0);
	d.plan.assume = EST_ASSUME_CAPTURED;
	play(&d);
	assert_pages(&d, 4, 4, 0);
	d.plan.assume = EST_ASSUME_PIDS;
	d.plan.pids = (const int64_t[]){ 100, 101 };
	d.plan.nr_pids = 2;
	play(&d);
	assert_pages(&d, 10, 10, 0);
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
	page = page_of(AT + 10 * PAGE, ZEROS);
	page.flags = SIM_CAP_SWAPPED;
	draft_page(&d, &page);
	page = page_of(AT + 11 * PAGE, ZEROS);
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
		page = page_of(AT + i * PAGE, 9);
		page.flags = SIM_CAP_UNREAD;
		draft_page(&d, &page);
	}
	draft_run(&d, AT + 10 * PAGE, 9, 1);
	draft_run(&d, AT + 11 * PAGE, 9, 1);
	draft_done(&d);
	draft_end(&d);
	play(&d);
	assert_pages(&d, 1, 1, 0);
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
	play(&d);
	assert_pages(&d, 10, 10, 0);
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
	play(&d);
	/* the last page of a's first is the first of b's */
	assert_pages(&d, 1, 1, 0);
	assert_int_equal(d.result.at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_thps], 3);
	assert_int_equal(at_end(&d, KSMSIM_COUNT_nr_anon_thps), 1);
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
	play(&d);
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
		page = page_of(HUGE_AT + i * PAGE, 100 + i);
		page.order = 9;
		draft_page(&d, &page);
	}
	draft_done(&d);
	draft_end(&d);
	assert_int_equal(d.image.nr_blocks, 0);
	assert_int_equal(d.image.counts.large, BLOCK - 1);
	play(&d);
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
			struct sim_cap_page page = page_of(AT + k * PAGE, 1 + k);

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
	play(&d);
	assert_int_equal(d.result.at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_frames], 51);
	/* page 10: the copy of the second holds the same bytes as the frame of the others */
	assert_saved(&d, 1);
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
			struct sim_cap_page page = page_of(AT + k * PAGE, 1 + k);

			const bool own = (k == 3 && !i) || (k >= 5 && k < 8 && i == 1);

			/* the first has written page 3 and dropped page 4; the last has neither */
			if ((k == 4 && !i) || ((k == 3 || k == 4) && i == 3))
				continue;
			if (own)
				page = page_of(AT + k * PAGE, 500 + k);
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
	play(&d);
	assert_int_equal(d.result.at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_frames], 11 + 3);
	assert_pages(&d, 0, 0, 0);
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
		page = page_of(AT + 7 * PAGE, 77);
		page.pfn = 5;
		page.mapcount = 2;
		page.flags = SIM_CAP_HASHED;
		draft_page(&d, &page);
		draft_run(&d, HUGE_AT + BLOCK * PAGE, 800, 2);
		draft_done(&d);
	}
	draft_end(&d);
	play(&d);
	assert_int_equal(d.result.at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_frames], 3 + 1 + 4);
	assert_pages(&d, 2, 2, 0);
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
	play(&d);
	assert_pages(&d, 9, 9, 0);
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
	play(&d);
	assert_pages(&d, 3, 3, 0);
	assert_int_equal(at_end(&d, KSMSIM_COUNT_nr_anon_frames), 10 - 1 + 3 - 3);
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
	play(&d);
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
	assert_int_equal(d.share.total.saved / 1024, at_end(&d, KSMSIM_COUNT_pages_sharing));
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
		play(&d);
		for (i = 0; i < 64; i++) {
			shared += copies[i] > 1;
			sharing += copies[i] > 1 ? copies[i] - 1 : 0;
		}
		assert_pages(&d, shared, sharing, 0);
		assert_saved(&d, sharing);
		assert_int_equal(d.share.total.merged, shared + sharing);
		draft_free(&d);
	}
}

/* Some of 60 small pages, owned or shared with others, on any of three nodes; perhaps a huge page. */
static void draft_anything(struct draft *d, uint64_t *chance)
{
	uint32_t k;

	for (k = 0; k < 60; k++) {
		struct sim_cap_page page = page_of(AT + k * PAGE, test_random_below(chance, 40));

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
		play_with(&d, "use_zero_pages", seed % 2 ? "1" : "0");
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
	three_processes(&d);
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
	three_processes(&d);
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
