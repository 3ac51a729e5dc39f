/*
 * test_oracle.c - quiet memory ends where brute force says it must.
 *
 * Random worlds: processes, forks, areas that may be merged and areas that may
 * not, few contents. The oracle groups the pages before the first scan; after
 * enough full scans the counters must be its numbers.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "oracle.h"
#include "test.h"

#define PAGE UINT64_C(4096)
#define BASE (UINT64_C(1) << 40)
#define AREAS 4u
#define PROCESSES 5u
#define FULL_SCANS 8

static const char *const profiles[] = { "linux-6.1", "linux-6.12", "linux-6.18", "linux-7.3" };

struct world {
	struct ksmsim *sim;
	uint64_t random;
	const char *profile;
	unsigned nr_nodes;
	uint32_t pids[PROCESSES + 1];
	size_t nr;
};

static uint32_t draw(struct world *w, uint32_t below)
{
	return test_random_below(&w->random, below);
}

static void good(int error)
{
	if (error)
		fail_msg("%s", ksmsim_strerror(error));
}

static void set(struct world *w, const char *file, const char *text)
{
	int64_t ret;

	good(ksmsim_sysfs_write(w->sim, file, text, strlen(text), &ret));
}

static int64_t count(struct world *w, enum ksmsim_counter counter)
{
	int64_t value;

	good(ksmsim_counter_get(w->sim, counter, &value));
	return value;
}

static void world_begin(struct world *w, uint64_t seed)
{
	struct ksmsim_config config = { 0 };

	*w = (struct world){ .random = seed };
	config.profile = w->profile = profiles[seed % 4];
	config.nr_nodes = w->nr_nodes = 1 + draw(w, 3);
	good(ksmsim_new(&config, &w->sim));
	set(w, "ksm/run", "1");
	if (seed % 4)
		set(w, "ksm/smart_scan", "0");
	set(w, "ksm/merge_across_nodes", draw(w, 2) ? "1" : "0");
	set(w, "ksm/use_zero_pages", draw(w, 2) ? "1" : "0");
}

static uint64_t area(unsigned i)
{
	return BASE + i * UINT64_C(512) * PAGE;
}

static void one_process(struct world *w, unsigned contents)
{
	struct ksmsim_mmap request = { .length = 16 * PAGE,
				       .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
				       .flags = KSMSIM_MAP_FIXED };
	uint32_t pid;

	good(ksmsim_spawn(w->sim, &pid));
	w->pids[w->nr++] = pid;
	for (unsigned a = 0; a < AREAS; a++) {
		request.vaddr = area(a);
		good(ksmsim_mmap(w->sim, pid, &request, NULL));
		if (draw(w, 3))
			good(ksmsim_madvise(w->sim, pid, area(a), request.length,
					    KSMSIM_MADV_MERGEABLE, NULL));
		for (unsigned i = 0; i < 16; i++) {
			const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_BYTE,
								.value = draw(w, contents) };

			good(ksmsim_node_set(w->sim, pid, draw(w, w->nr_nodes)));
			if (draw(w, 4))
				good(ksmsim_fill(w->sim, pid, area(a) + i * PAGE, 1, &content,
						 NULL));
		}
	}
}

static void fork_one(struct world *w)
{
	int64_t ret;

	good(ksmsim_fork(w->sim, w->pids[draw(w, (uint32_t)w->nr)], &w->pids[w->nr], &ret));
	assert_int_equal(ret, 0);
	w->nr++;
}

/* References of others to some pages; @own: to pages whose content is nowhere else. */
static void pin_some(struct world *w, bool own)
{
	for (uint32_t i = 0; i < w->nr; i++) {
		const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_SEED,
							.value = 1000 + i };
		const uint64_t vaddr = area(draw(w, AREAS)) + draw(w, 16) * PAGE;

		if (own)
			good(ksmsim_fill(w->sim, w->pids[i], vaddr, 1, &content, NULL));
		good(ksmsim_pin(w->sim, w->pids[i], vaddr, 1, KSMSIM_PIN_HELD, NULL));
	}
}

static void scan_enough(struct world *w, const struct oracle *oracle)
{
	uint64_t visited;

	for (int i = 0; i < FULL_SCANS; i++)
		good(ksmsim_ksmd_batch(w->sim, UINT32_MAX, &visited));
	/* without mergeable memory nobody is on the list, and no scan begins */
	if (oracle->pages)
		assert_int_equal(count(w, KSMSIM_COUNT_full_scans), FULL_SCANS);
	good(ksmsim_check(w->sim, NULL, 0));
}

static void expect_oracle(struct world *w, const struct oracle *oracle, uint64_t seed)
{
	const int64_t zero = count(w, KSMSIM_COUNT_ksm_zero_pages);
	const int64_t items = count(w, KSMSIM_COUNT_rmap_items);

	if (count(w, KSMSIM_COUNT_pages_shared) != (int64_t)oracle->shared ||
	    count(w, KSMSIM_COUNT_pages_sharing) != (int64_t)oracle->sharing ||
	    items != (int64_t)(oracle->pages - oracle->zero) ||
	    zero != (seed % 4 ? (int64_t)oracle->zero : 0))
		fail_msg("seed %" PRIu64 ", %s: shared %" PRId64 " sharing %" PRId64
			 " items %" PRId64 " zero %" PRId64 ", the oracle says %" PRIu64 " %" PRIu64
			 " %" PRIu64 " %" PRIu64,
			 seed, w->profile, count(w, KSMSIM_COUNT_pages_shared),
			 count(w, KSMSIM_COUNT_pages_sharing), items, zero, oracle->shared,
			 oracle->sharing, oracle->pages - oracle->zero, oracle->zero);
}

/* ---- worlds ---- */

static void quiet_memory_merges_as_far_as_it_can(void **state)
{
	uint64_t merged = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct oracle oracle;
		struct world w;

		world_begin(&w, seed);
		set(&w, "ksm/max_page_sharing", "1000000");
		for (unsigned i = 1 + draw(&w, PROCESSES); i; i--)
			one_process(&w, 1 + draw(&w, 20));
		good(ksmsim_lru_drain(w.sim));
		good(oracle_ask(w.sim, w.pids, w.nr, &oracle));
		scan_enough(&w, &oracle);
		expect_oracle(&w, &oracle, seed);
		merged += oracle.sharing;
		ksmsim_free(w.sim);
	}
	assert_true(merged > 1000);
}

static void forked_memory_merges_as_far_as_it_can(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct oracle oracle;
		struct world w;

		world_begin(&w, seed);
		set(&w, "ksm/max_page_sharing", "1000000");
		for (unsigned i = 1 + draw(&w, PROCESSES - 2); i; i--)
			one_process(&w, 20);
		fork_one(&w);
		one_process(&w, 20);
		good(ksmsim_lru_drain(w.sim));
		good(oracle_ask(w.sim, w.pids, w.nr, &oracle));
		scan_enough(&w, &oracle);
		expect_oracle(&w, &oracle, seed);
		ksmsim_free(w.sim);
	}
}

static void one_pinned_world(uint64_t seed, bool own)
{
	struct oracle oracle;
	struct world w;

	world_begin(&w, seed);
	set(&w, "ksm/max_page_sharing", "1000000");
	for (unsigned i = 1 + draw(&w, PROCESSES); i; i--)
		one_process(&w, 8);
	pin_some(&w, own);
	good(ksmsim_lru_drain(w.sim));
	good(oracle_ask(w.sim, w.pids, w.nr, &oracle));
	scan_enough(&w, &oracle);
	if (own)
		expect_oracle(&w, &oracle, seed);
	assert_true(count(&w, KSMSIM_COUNT_pages_sharing) <= (int64_t)oracle.bound);
	ksmsim_free(w.sim);
}

static void pinned_pages_of_their_own_content_change_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++)
		one_pinned_world(seed, true);
}

static void pinned_pages_never_add_to_what_is_saved(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++)
		one_pinned_world(seed, false);
}

static void full_pages_get_dups_by_the_formula(void **state)
{
	static const char *const limits[] = { "2", "3", "4", "7", "16" };

	(void)state;
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct oracle oracle;
		struct world w;

		world_begin(&w, seed);
		set(&w, "ksm/max_page_sharing", limits[draw(&w, 5)]);
		for (unsigned i = 1 + draw(&w, PROCESSES); i; i--)
			one_process(&w, 1 + draw(&w, 6));
		good(ksmsim_lru_drain(w.sim));
		good(oracle_ask(w.sim, w.pids, w.nr, &oracle));
		scan_enough(&w, &oracle);
		expect_oracle(&w, &oracle, seed);
		ksmsim_free(w.sim);
	}
}

/* ---- the oracle itself ---- */

static void expect_equal_pages(uint64_t nr, uint64_t max, uint64_t shared, uint64_t sharing)
{
	struct oracle oracle = { 0 };

	oracle_add_equal(&oracle, nr, max);
	assert_int_equal(oracle.shared, shared);
	assert_int_equal(oracle.sharing, sharing);
}

static void the_formula_gives_the_published_figures(void **state)
{
	(void)state;
	expect_equal_pages(1, 2, 0, 0);
	expect_equal_pages(2, 256, 1, 1);
	expect_equal_pages(100, 256, 1, 99);
	expect_equal_pages(257, 256, 1, 255);
	expect_equal_pages(258, 256, 2, 256);
	expect_equal_pages(12, 3, 4, 8);
	expect_equal_pages(10, 3, 3, 6);
	expect_equal_pages(11, 3, 4, 7);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_formula_gives_the_published_figures),
	cmocka_unit_test(quiet_memory_merges_as_far_as_it_can),
	cmocka_unit_test(forked_memory_merges_as_far_as_it_can),
	cmocka_unit_test(pinned_pages_of_their_own_content_change_nothing),
	cmocka_unit_test(pinned_pages_never_add_to_what_is_saved),
	cmocka_unit_test(full_pages_get_dups_by_the_formula),
};

TEST_MAIN(tests)
