/*
 * draft.c - a capture made of numbers, and the model playing it; see draft.h.
 *
 * What could surprise: fingerprints are the numbers of the contents, checksums come
 * from them, and the capture says so; nothing is hashed.
 */
#define _GNU_SOURCE
#include "draft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- captures ---- */

void draft_begin(struct draft *d)
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

void draft_round(struct draft *d, uint32_t round)
{
	const struct sim_cap_round when = { .since_ns = round * d->interval_s * SECOND,
					    .duration_ns = 5 };

	d->round = round;
	assert_int_equal(sim_capwriter_round(d->writer, round, &when), 0);
}

void draft_pages_of(struct draft *d, uint32_t process)
{
	assert_int_equal(sim_capwriter_vmas(d->writer, process, d->round, d->vmas, d->nr_vmas), 0);
	assert_int_equal(sim_capwriter_pages_begin(d->writer, process, d->round), 0);
	d->process = process;
}

uint32_t draft_process_of(struct draft *d, const char *name)
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

uint32_t draft_process(struct draft *d, const char *name, const char *flags)
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

struct sim_cap_page draft_page_of(uint64_t vaddr, uint32_t content)
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

void draft_page(struct draft *d, const struct sim_cap_page *page)
{
	assert_int_equal(sim_capwriter_page(d->writer, page), 0);
}

void draft_run(struct draft *d, uint64_t vaddr, uint32_t content, uint32_t nr)
{
	uint32_t i;

	for (i = 0; i < nr; i++) {
		const struct sim_cap_page page =
			draft_page_of(vaddr + i * PAGE, content == ZEROS ? ZEROS : content + i);

		draft_page(d, &page);
	}
}

void draft_block(struct draft *d, uint64_t vaddr, uint32_t zeros, uint32_t content)
{
	uint32_t i;

	for (i = 0; i < BLOCK; i++) {
		struct sim_cap_page page =
			draft_page_of(vaddr + i * PAGE, i < zeros ? ZEROS : content + i);

		page.order = 9;
		page.flags |= SIM_CAP_PMD;
		draft_page(d, &page);
	}
}

void draft_done(struct draft *d)
{
	const struct sim_cap_figures figures = { .rss_anon = 1 };

	assert_int_equal(sim_capwriter_pages_end(d->writer), 0);
	assert_int_equal(sim_capwriter_figures(d->writer, d->process, d->round, &figures), 0);
}

void draft_end(struct draft *d)
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

void draft_free(struct draft *d)
{
	sim_capfile_close(d->file);
	est_image_free(&d->image);
	est_share_free(&d->share);
	free(d->bytes);
}

/* ---- playing ---- */

void draft_play_with(struct draft *d, const char *knob, const char *value)
{
	const struct est_case c = { .knobs = { { knob, value } }, .nr_knobs = knob != NULL };

	est_share_free(&d->share);
	d->share = (struct est_share){ .max_page_sharing = 256 };
	if (est_play(&d->plan, &c, est_share_look, &d->share, &d->result))
		fail_msg("%s", d->result.why);
	assert_true(d->result.settled);
}

void draft_play(struct draft *d)
{
	draft_play_with(d, NULL, NULL);
}

int64_t draft_at_end(const struct draft *d, enum ksmsim_counter counter)
{
	return d->result.at[EST_AT_END].count[counter];
}

void draft_assert_pages(const struct draft *d, int64_t shared, int64_t sharing, int64_t zero)
{
	assert_int_equal(draft_at_end(d, KSMSIM_COUNT_pages_shared), shared);
	assert_int_equal(draft_at_end(d, KSMSIM_COUNT_pages_sharing), sharing);
	assert_int_equal(draft_at_end(d, KSMSIM_COUNT_ksm_zero_pages), zero);
}

void draft_assert_saved(const struct draft *d, int64_t pages)
{
	assert_int_equal(est_saved(&d->result, EST_AT_END), pages * (int64_t)PAGE);
}

void draft_three_processes(struct draft *d)
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
