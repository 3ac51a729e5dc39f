/*
 * test_ksm_fast.c - the short cuts of the scan do what the long way does.
 *
 * Each world runs on several layouts at once: the same pages in the same order,
 * but one behind the other (full page tables, full segments), six in a table (no
 * short cut applies), or one a GiB (tables with a lone page); and the scan in
 * whole batches or page by page. KSM sees pages, not distances, so all layouts
 * must show the same counters, events, costs, items and pages after every
 * operation. Only the page-table entries read differ; they are what a full pass
 * costs.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

#include "ksmsim.h"

#define PAGE UINT64_C(4096)
#define BASE (UINT64_C(1) << 40)
#define PROCESSES 3u
#define BIG_PAGES 4600u

static const struct layout {
	uint64_t stride;
	bool single; /* every batch in batches of one page */
} layouts[] = {
	{ 100, false },		      /* the long way, which the others are compared with */
	{ 1, false },		      /* dense */
	{ 1, true },		      /* dense, and every batch begins anew */
	{ UINT64_C(1) << 18, false }, /* lone */
	{ UINT64_C(1) << 18, true },
	{ 256, false }, /* two in a table: next to a hole, lone at either place */
};
#define NR_LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

static const char *const profiles[] = { "linux-6.18", "linux-7.3", "linux-6.1", "linux-6.12" };

struct copy {
	struct ksmsim *sim;
	const struct layout *layout;
	uint64_t events; /* hash of all so far */
};

struct world {
	struct copy copy[NR_LAYOUTS];
	uint64_t random, seed;
	unsigned pages; /* of each process */
	uint32_t pid[PROCESSES];
	unsigned nr;
	unsigned nr_files;
	unsigned op;
};

/* c is declared here, so it cannot stand in parentheses: NOLINTBEGIN(bugprone-macro-parentheses) */
#define EACH_COPY(w, c)             \
	struct copy *c = (w)->copy; \
	c < (w)->copy + NR_LAYOUTS; \
	c++
/* NOLINTEND(bugprone-macro-parentheses) */

static uint32_t draw(struct world *w, uint32_t below)
{
	return test_random_below(&w->random, below);
}

static void good(int error)
{
	if (error)
		fail_msg("%s", ksmsim_strerror(error));
}

static uint64_t vaddr(const struct copy *copy, unsigned page)
{
	return BASE + page * copy->layout->stride * PAGE;
}

static uint64_t length(const struct copy *copy, unsigned pages)
{
	return pages * copy->layout->stride * PAGE;
}

static void mix(uint64_t *hash, uint64_t value)
{
	*hash = (*hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
	*hash ^= *hash >> 29;
}

static void hear(void *self, const struct ksmsim_event *event)
{
	struct copy *copy = self;

	mix(&copy->events, event->trace);
	mix(&copy->events, event->mm);
	mix(&copy->events, event->pfn);
	mix(&copy->events, (uint32_t)event->error);
	mix(&copy->events, event->rmap_items);
	mix(&copy->events, (uint32_t)event->seq);
	if (event->vaddr)
		mix(&copy->events, (event->vaddr - BASE) / (copy->layout->stride * PAGE));
}

static int64_t count(const struct copy *copy, enum ksmsim_counter counter)
{
	int64_t value;

	good(ksmsim_counter_get(copy->sim, counter, &value));
	return value;
}

static void set(struct world *w, const char *file, const char *text)
{
	for (EACH_COPY(w, copy))
		good(ksmsim_sysfs_write(copy->sim, file, text, strlen(text), NULL));
}

/* ---- what must be equal ---- */

static void equal(const struct world *w, const struct copy *copy, const char *what, uint64_t a,
		  uint64_t b)
{
	if (a != b)
		fail_msg("seed %" PRIu64 ", operation %u, stride %" PRIu64 "%s: %s is %" PRIu64
			 ", not %" PRIu64,
			 w->seed, w->op, copy->layout->stride,
			 copy->layout->single ? ", page by page" : "", what, b, a);
}

static void compare_counters(const struct world *w, const struct copy *copy)
{
	static const enum ksmsim_counter differ[] = { KSMSIM_COUNT_walk_entries,
						      KSMSIM_COUNT_unmerge_entries,
						      KSMSIM_COUNT_ksmd_cpu_ns,
						      KSMSIM_COUNT_host_bytes };
	size_t nr;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr);

	for (unsigned i = 0; i < nr; i++) {
		bool skip = false;

		for (size_t d = 0; d < sizeof(differ) / sizeof(differ[0]); d++)
			skip |= differ[d] == i;
		if (!skip)
			equal(w, copy, rows[i].name,
			      (uint64_t)count(&w->copy[0], (enum ksmsim_counter)i),
			      (uint64_t)count(copy, (enum ksmsim_counter)i));
	}
	if (copy->layout->stride == copy[-1].layout->stride)
		equal(w, copy, "walk_entries", (uint64_t)count(copy - 1, KSMSIM_COUNT_walk_entries),
		      (uint64_t)count(copy, KSMSIM_COUNT_walk_entries));
	rows = ksmsim_table_rows(KSMSIM_TABLE_COSTS, &nr);
	for (size_t i = 0; i < nr; i++) {
		uint64_t ns, a, b;

		if (!strncmp(rows[i].name, "walk_", 5) || !strcmp(rows[i].name, "batch"))
			continue;
		good(ksmsim_cost_get(w->copy[0].sim, rows[i].name, &ns, &a));
		good(ksmsim_cost_get(copy->sim, rows[i].name, &ns, &b));
		equal(w, copy, rows[i].name, a, b);
	}
	equal(w, copy, "the hash of the events", w->copy[0].events, copy->events);
}

static void compare_page(const struct world *w, const struct copy *copy, uint32_t pid, unsigned i)
{
	struct ksmsim_page a, b;

	good(ksmsim_page_get(w->copy[0].sim, pid, vaddr(&w->copy[0], i), &a));
	good(ksmsim_page_get(copy->sim, pid, vaddr(copy, i), &b));
	equal(w, copy, "a state", a.state, b.state);
	if (a.state != KSMSIM_PAGE_FILE) /* there it is an index into the file */
		equal(w, copy, "a frame", a.pfn, b.pfn);
	equal(w, copy, "has_item", a.has_item, b.has_item);
	if (!a.has_item)
		return;
	equal(w, copy, "a checksum", a.item_checksum, b.item_checksum);
	equal(w, copy, "an age", a.item_age, b.item_age);
	equal(w, copy, "a skip count", a.item_skips, b.item_skips);
}

static void compare(struct world *w, bool pages)
{
	for (EACH_COPY(w, copy)) {
		char text[160];

		if (pages && ksmsim_check(copy->sim, text, sizeof(text)))
			fail_msg("seed %" PRIu64 ", operation %u, stride %" PRIu64 ": %s", w->seed,
				 w->op, copy->layout->stride, text);
		if (copy == w->copy)
			continue;
		compare_counters(w, copy);
		for (unsigned p = 0; pages && p < w->nr; p++)
			for (unsigned i = 0; i < w->pages; i++)
				compare_page(w, copy, w->pid[p], i);
	}
}

/* ---- operations ---- */

static void map(struct world *w, uint32_t pid, unsigned first, unsigned pages, uint32_t file)
{
	for (EACH_COPY(w, copy)) {
		const struct ksmsim_mmap request = {
			.vaddr = vaddr(copy, first),
			.length = length(copy, pages),
			.prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
			.flags = KSMSIM_MAP_FIXED | KSMSIM_MAP_NORESERVE,
			.file = file,
		};

		good(ksmsim_mmap(copy->sim, pid, &request, NULL));
		good(ksmsim_madvise(copy->sim, pid, vaddr(copy, first), length(copy, pages),
				    KSMSIM_MADV_MERGEABLE, NULL));
	}
}

static void fill(struct world *w, uint32_t pid, unsigned page, uint64_t seed)
{
	const struct ksmsim_content content = { .kind = seed ? KSMSIM_CONTENT_SEED
							     : KSMSIM_CONTENT_ZERO,
						.value = seed };

	for (EACH_COPY(w, copy))
		good(ksmsim_fill(copy->sim, pid, vaddr(copy, page), 1, &content, NULL));
}

/* One page in @own_in has a content of its own, the others share a few, zeros among them. */
static uint64_t draw_content(struct world *w, unsigned own_in)
{
	return draw(w, own_in) ? draw(w, 12) : 1000 + draw(w, 1u << 20);
}

/* Stretches that merge completely, stretches where no page merges, and mixed ones. */
static void populate(struct world *w, uint32_t pid, unsigned hole_in)
{
	unsigned own_in = 1;

	map(w, pid, 0, w->pages, 0);
	for (unsigned i = 0; i < w->pages; i++) {
		static const unsigned kinds[] = { 1, 1, 2, 1000000, 1000000 };

		if (!draw(w, 130))
			own_in = kinds[draw(w, 5)];
		if (!hole_in || draw(w, hole_in))
			fill(w, pid, i, draw_content(w, own_in));
	}
}

/* Every page has a content of its own. */
static void populate_unique(struct world *w, uint32_t pid)
{
	map(w, pid, 0, w->pages, 0);
	for (unsigned i = 0; i < w->pages; i++)
		fill(w, pid, i, 1 + i);
}

static uint32_t spawn(struct world *w)
{
	for (EACH_COPY(w, copy))
		good(ksmsim_spawn(copy->sim, &w->pid[w->nr]));
	return w->pid[w->nr++];
}

/* One page a batch, but where the batch of @pages would have ended with the full scan. */
static void batch(const struct copy *copy, uint64_t pages)
{
	const int64_t full_scans = count(copy, KSMSIM_COUNT_full_scans);
	uint64_t visited = 1;

	if (!copy->layout->single) {
		good(ksmsim_ksmd_batch(copy->sim, pages, NULL));
		return;
	}
	for (; pages && visited && count(copy, KSMSIM_COUNT_full_scans) == full_scans; pages--)
		good(ksmsim_ksmd_batch(copy->sim, 1, &visited));
}

static void scan(struct world *w)
{
	for (EACH_COPY(w, copy))
		batch(copy, UINT32_MAX);
}

static void one_batch(struct world *w)
{
	const uint64_t pages = 1 + draw(w, 3 * w->pages / 2);

	for (EACH_COPY(w, copy))
		batch(copy, pages);
}

static void on_range(struct world *w, uint32_t pid, unsigned first, unsigned pages)
{
	const unsigned what = draw(w, 12);
	uint32_t file = 0;

	for (EACH_COPY(w, copy)) {
		const uint64_t at = vaddr(copy, first), bytes = length(copy, pages);

		if (what < 5)
			good(ksmsim_madvise(copy->sim, pid, at, bytes, KSMSIM_MADV_DONTNEED, NULL));
		else if (what < 8)
			good(ksmsim_munmap(copy->sim, pid, at, bytes, NULL));
		else if (what == 8)
			good(ksmsim_madvise(copy->sim, pid, at, bytes, KSMSIM_MADV_UNMERGEABLE,
					    NULL));
		else if (what == 9)
			good(ksmsim_madvise(copy->sim, pid, at, bytes, KSMSIM_MADV_MERGEABLE,
					    NULL));
		else if (what == 10)
			good(ksmsim_file_new(
				copy->sim, &(struct ksmsim_content){ KSMSIM_CONTENT_BYTE, 7, NULL },
				&file));
	}
	if (what >= 10)
		map(w, pid, first, pages, file);
}

static void on_pages(struct world *w, uint32_t pid, unsigned first, unsigned pages)
{
	const unsigned what = draw(w, 8);

	for (unsigned i = first; i < first + pages; i++) {
		const uint64_t content = draw_content(w, 3);

		if (what < 3) {
			fill(w, pid, i, content);
			continue;
		}
		for (EACH_COPY(w, copy)) {
			if (what < 5)
				good(ksmsim_touch(copy->sim, pid, vaddr(copy, i), 1, NULL));
			else if (what < 7)
				good(ksmsim_read(copy->sim, pid, vaddr(copy, i), 1, NULL));
			else
				good(ksmsim_swap_out(copy->sim, pid, vaddr(copy, i), 1, content & 1,
						     NULL));
		}
	}
}

static void fork_or_exit(struct world *w)
{
	const unsigned p = draw(w, w->nr);

	if (w->nr < PROCESSES) {
		for (EACH_COPY(w, copy))
			good(ksmsim_fork(copy->sim, w->pid[p], &w->pid[w->nr], NULL));
		w->nr++;
	} else {
		for (EACH_COPY(w, copy))
			good(ksmsim_exit(copy->sim, w->pid[p]));
		w->pid[p] = w->pid[--w->nr];
	}
}

static void turn_a_knob(struct world *w)
{
	switch (draw(w, 6)) {
	case 5:
		for (EACH_COPY(w, copy))
			good(ksmsim_inject_failure(copy->sim, KSMSIM_INJECT_rmap_item, 1));
		break;
	case 0:
		set(w, "ksm/run", "2");
		set(w, "ksm/run", "1");
		break;
	case 1:
		set(w, "ksm/use_zero_pages", draw(w, 2) ? "1" : "0");
		break;
	default:
		set(w, "ksm/smart_scan", draw(w, 3) ? "1" : "0");
		break;
	}
}

static unsigned draw_range(struct world *w, unsigned *first)
{
	static const unsigned longest[] = { 4, 4, 4, 90, 90, 300 };
	const unsigned most = longest[draw(w, 6)];

	*first = draw(w, w->pages);
	return 1 + draw(w, w->pages - *first < most ? w->pages - *first : most);
}

static void operate(struct world *w)
{
	const uint32_t pid = w->pid[draw(w, w->nr)];
	unsigned first;
	const unsigned pages = draw_range(w, &first);
	const unsigned what = draw(w, 41);

	if (what < 10)
		scan(w);
	else if (what < 24)
		one_batch(w);
	else if (what < 30)
		on_range(w, pid, first, pages);
	else if (what < 38)
		on_pages(w, pid, first, pages);
	else if (what < 40)
		turn_a_knob(w);
	else
		fork_or_exit(w);
}

/* ---- worlds ---- */

static void begin(struct world *w, uint64_t seed, unsigned pages)
{
	struct ksmsim_config config = { .profile = profiles[seed % 4] };

	*w = (struct world){ .random = seed, .seed = seed, .pages = pages };
	for (EACH_COPY(w, copy)) {
		copy->layout = &layouts[copy - w->copy];
		good(ksmsim_new(&config, &copy->sim));
		good(ksmsim_listen(copy->sim, hear, copy));
	}
	set(w, "ksm/run", "1");
	set(w, "ksm/max_page_sharing", draw(w, 2) ? "5" : "256");
}

static void end(struct world *w)
{
	compare(w, true);
	for (EACH_COPY(w, copy))
		ksmsim_free(copy->sim);
}

static void random_worlds_are_the_same_on_every_layout(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 16; seed++) {
		struct world w;

		begin(&w, seed, seed % 3 ? 600 : 90);
		for (unsigned i = 1 + draw(&w, PROCESSES - 1); i; i--)
			populate(&w, spawn(&w), draw(&w, 2) ? 0 : 5);
		for (w.op = 0; w.op < 96; w.op++) {
			operate(&w);
			compare(&w, w.op % 12 == 0);
		}
		end(&w);
	}
}

/* Few writes between the scans, so that pages grow old and most visits are skips. */
static void quiet_worlds_are_the_same_on_every_layout(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 108; seed++) {
		struct world w;

		begin(&w, seed, 600);
		populate(&w, spawn(&w), 0);
		for (w.op = 0; w.op < 40; w.op++) {
			if (draw(&w, 2))
				scan(&w);
			else
				one_batch(&w);
			if (!draw(&w, 3))
				on_pages(&w, w.pid[0], draw(&w, 590), 1 + draw(&w, 10));
			if (!draw(&w, 6))
				on_range(&w, w.pid[0], draw(&w, 300), 1 + draw(&w, 300));
			compare(&w, w.op % 8 == 0);
		}
		end(&w);
	}
}

/* The paths of a tree of more than 4096 nodes are fetched ahead of the searches. */
static void a_big_tree_is_the_same_on_every_layout(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 200, BIG_PAGES);
	populate_unique(&w, spawn(&w));
	for (w.op = 0; w.op < 9; w.op++) {
		scan(&w);
		compare(&w, false);
	}
	assert_true(count(&w.copy[0], KSMSIM_COUNT_pages_skipped) > 4096);
	end(&w);
}

/* An age stops at 255: after 300 scans pages still get their visit every ninth scan. */
static void old_pages_stay_old_on_every_layout(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 300, 70);
	set(&w, "ksm/smart_scan", "1");
	populate_unique(&w, spawn(&w));
	for (w.op = 0; w.op < 320; w.op++) {
		scan(&w);
		compare(&w, false);
	}
	for (EACH_COPY(&w, copy)) {
		struct ksmsim_page page;

		good(ksmsim_page_get(copy->sim, w.pid[0], vaddr(copy, 69), &page));
		assert_int_equal(page.item_age, 255);
	}
	end(&w);
}

/* ---- entries read ---- */

static uint64_t pass_cost(const struct world *w, const struct copy *copy)
{
	uint64_t entries = 0;

	for (unsigned p = 0; p < w->nr; p++) {
		struct ksmsim_vma vma;

		for (size_t i = 0; !ksmsim_vma_get(copy->sim, w->pid[p], i, &vma); i++) {
			struct ksmsim_walk walk;

			if (!vma.mergeable || !vma.anon_vma)
				continue;
			good(ksmsim_walk_cost(copy->sim, w->pid[p], vma.start, vma.end - vma.start,
					      &walk));
			entries += walk.range;
		}
	}
	return entries;
}

/* Without zero pages a scan changes no entry's kind, so the pass before it costs what it reads. */
static void a_full_scan_reads_what_a_pass_costs(void **state)
{
	(void)state;
	for (uint64_t seed = 400; seed < 408; seed++) {
		struct world w;

		begin(&w, seed - seed % 4, 600); /* linux-6.18 */
		set(&w, "ksm/use_zero_pages", "0");
		for (EACH_COPY(&w, copy))
			good(ksmsim_feature_set(copy->sim, "range_scan", true));
		w.random = seed;
		populate(&w, spawn(&w), seed % 2 ? 0 : 3);
		for (w.op = 0; w.op < 14; w.op++) {
			on_pages(&w, w.pid[0], draw(&w, 500), 1 + draw(&w, 9));
			if (!draw(&w, 4))
				on_range(&w, w.pid[0], draw(&w, 500), 1 + draw(&w, 90));
			for (EACH_COPY(&w, copy)) {
				const int64_t before = count(copy, KSMSIM_COUNT_walk_entries);
				const uint64_t cost = pass_cost(&w, copy);

				for (const int64_t scans = count(copy, KSMSIM_COUNT_full_scans);
				     count(copy, KSMSIM_COUNT_full_scans) == scans;)
					batch(copy, copy->layout->stride == 1 ? 77 : 33);
				equal(&w, copy, "walk_entries", cost,
				      (uint64_t)(count(copy, KSMSIM_COUNT_walk_entries) - before));
			}
		}
		for (EACH_COPY(&w, copy))
			ksmsim_free(copy->sim);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(random_worlds_are_the_same_on_every_layout),
	cmocka_unit_test(quiet_worlds_are_the_same_on_every_layout),
	cmocka_unit_test(a_big_tree_is_the_same_on_every_layout),
	cmocka_unit_test(old_pages_stay_old_on_every_layout),
	cmocka_unit_test(a_full_scan_reads_what_a_pass_costs),
};

TEST_MAIN(tests)
