/*
 * test_ksm_thp.c - KSM over huge pages.
 *
 * A world is two blocks of mergeable memory, X and Y, each a THP; what is equal in
 * them is said in each test. Figures are changes since the blocks were filled.
 */
#include "ksmworld.h"

#define X 0u
#define Y BLOCK

static const char *const profiles[] = { "linux-6.1", "linux-6.12", "linux-6.18", "linux-7.3" };
#define NR_PROFILES (sizeof(profiles) / sizeof(profiles[0]))

static bool has(struct world *w, const char *feature)
{
	bool on;

	good(ksmsim_feature_get(w->sim, feature, &on));
	return on;
}

static void start(struct world *w, const char *profile)
{
	begin(w, profile, 2 * BLOCK);
	set(w, "transparent_hugepage/enabled", "always");
	set(w, "ksm/max_page_sharing", "1000");
}

/* Each page of the block is like no other. */
static void fill_block(struct world *w, uint64_t page)
{
	fill_with(w, page, BLOCK, KSMSIM_CONTENT_SEEDS, 1000 + page);
}

/* A THP whose pages but the first @nr are zero; those are tags from @value on. */
static void fill_sparse(struct world *w, uint64_t page, uint64_t nr, uint64_t value)
{
	fill_with(w, page, 1, KSMSIM_CONTENT_ZERO, 0);
	if (nr)
		fill_with(w, page, nr, KSMSIM_CONTENT_TAGS, value);
}

static uint64_t rss(struct world *w)
{
	return figures(w, w->pid).rss_anon;
}

static struct ksmsim_page page_of(struct world *w, uint64_t page)
{
	struct ksmsim_page out;

	good(ksmsim_page_get(w->sim, w->pid, WORLD_BASE + page * PAGE, &out));
	return out;
}

static void expect_splits(struct world *w, int64_t split, int64_t failed, int64_t pmd)
{
	assert_int_equal(count(w, KSMSIM_COUNT_thp_split_page), split);
	assert_int_equal(count(w, KSMSIM_COUNT_thp_split_page_failed), failed);
	assert_int_equal(count(w, KSMSIM_COUNT_thp_split_pmd), pmd);
}

static void expect_ksm(struct world *w, int64_t shared, int64_t sharing, int64_t unshared)
{
	assert_int_equal(count(w, KSMSIM_COUNT_pages_shared), shared);
	assert_int_equal(count(w, KSMSIM_COUNT_pages_sharing), sharing);
	assert_int_equal(count(w, KSMSIM_COUNT_pages_unshared), unshared);
}

/* ---- one page of each ---- */

static void scanning_leaves_different_thps_whole(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18");
	fill_block(&w, X);
	fill_block(&w, Y);
	scan(&w, 3);
	expect_splits(&w, 0, 0, 0);
	expect_ksm(&w, 0, 0, 2 * BLOCK);
	assert_int_equal(figures(&w, w.pid).anon_huge, 2);
	end(&w);
}

static void two_thps_are_split_for_one_equal_page(void **state)
{
	(void)state;
	for (unsigned p = 0; p < NR_PROFILES; p++) {
		struct world w;

		start(&w, profiles[p]);
		fill_block(&w, X);
		fill_block(&w, Y);
		tag(&w, w.pid, X + 3, 7);
		tag(&w, w.pid, Y + 9, 7);
		scan(&w, 3);
		expect_splits(&w, 2, 0, 2);
		assert_int_equal(count(&w, KSMSIM_COUNT_thp_deferred_split_page),
				 has(&w, "split_pmd_mapped_defers") ? 2 : 0);
		expect_ksm(&w, 1, 1, 2 * BLOCK - 2);
		assert_int_equal(rss(&w), 2 * BLOCK);
		assert_int_equal(count(&w, KSMSIM_COUNT_nr_anon_frames), 2 * BLOCK - 1);
		/* the page visited takes over the place of the one in the tree */
		assert_int_equal(page_of(&w, X + 3).pfn, page_of(&w, Y + 9).pfn);
		assert_int_equal(page_of(&w, Y + 9).pfn + 1, page_of(&w, Y + 10).pfn);
		end(&w);
	}
}

static void a_thp_page_meets_a_ksm_page(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18");
	fill_block(&w, X);
	tag(&w, w.pid, X + 3, 7);
	set(&w, "transparent_hugepage/enabled", "never");
	tag(&w, w.pid, Y, 7);
	tag(&w, w.pid, Y + 1, 7);
	drop(&w, X, BLOCK);
	scan(&w, 2);
	expect_ksm(&w, 1, 1, 0);
	set(&w, "transparent_hugepage/enabled", "always");
	fill_block(&w, X);
	assert_int_equal(figures(&w, w.pid).anon_huge, 1);
	tag(&w, w.pid, X + 3, 7);
	scan(&w, 1); /* checksums */
	batch(&w, 3);
	expect_splits(&w, 0, 0, 0);
	batch(&w, 1);
	expect_splits(&w, 1, 0, 1);
	expect_ksm(&w, 1, 2, 3);
	end(&w);
}

static void equal_pages_of_one_thp_merge_a_scan_later(void **state)
{
	(void)state;
	for (unsigned p = 0; p < NR_PROFILES; p++) {
		struct world w;

		start(&w, profiles[p]);
		fill_block(&w, X);
		tag(&w, w.pid, X + 3, 7);
		tag(&w, w.pid, X + 9, 7);
		scan(&w, 2);
		expect_splits(&w, 1, 1, 1);
		expect_ksm(&w, 0, 0, BLOCK - 1);
		scan(&w, 1);
		expect_splits(&w, 1, 1, 1);
		expect_ksm(&w, 1, 1, BLOCK - 2);
		end(&w);
	}
}

static void both_thps_of_equal_content_merge_in_one_scan(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18");
	fill_with(&w, X, BLOCK, KSMSIM_CONTENT_SEEDS, 1);
	fill_with(&w, Y, BLOCK, KSMSIM_CONTENT_SEEDS, 1);
	scan(&w, 1);
	batch(&w, BLOCK);
	expect_splits(&w, 0, 0, 0);
	batch(&w, 1);
	expect_splits(&w, 2, 0, 2);
	scan(&w, 1);
	expect_ksm(&w, BLOCK, BLOCK, 0);
	end(&w);
}

/* ---- zero pages ---- */

static void a_zero_thp_vanishes_at_the_first_zero_page_merge(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18");
	set(&w, "ksm/use_zero_pages", "1");
	fill_sparse(&w, X, 0, 0);
	scan(&w, 1);
	assert_int_equal(rss(&w), BLOCK);
	w.nr_events = 0;
	assert_int_equal(batch(&w, 1), 1);
	expect_splits(&w, 1, 0, 1);
	assert_int_equal(rss(&w), 0);
	assert_int_equal(count(&w, KSMSIM_COUNT_ksm_zero_pages), 0);
	assert_int_equal(count(&w, KSMSIM_COUNT_nr_anon_frames), 0);
	assert_int_equal(w.event[1].trace, KSMSIM_TRACE_ksm_merge_one_page);
	assert_int_equal(w.event[1].error, KS_EFAULT);
	expect_ksm(&w, 0, 0, 1); /* the ghost */
	scan(&w, 2);
	expect_ksm(&w, 0, 0, 0);
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 0);
	end(&w);
}

static void before_zero_remap_every_zero_page_merges_alone(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.1");
	set(&w, "ksm/use_zero_pages", "1");
	fill_sparse(&w, X, 0, 0);
	scan(&w, 1);
	batch(&w, 100);
	expect_splits(&w, 1, 0, 1);
	assert_int_equal(rss(&w), BLOCK - 100);
	scan(&w, 1);
	assert_int_equal(rss(&w), 0);
	end(&w);
}

static void unmerging_leaves_what_the_split_remapped(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18");
	set(&w, "ksm/use_zero_pages", "1");
	fill_sparse(&w, X, 0, 0);
	scan(&w, 3);
	good(ksmsim_madvise(w.sim, w.pid, WORLD_BASE, BLOCK * PAGE, KSMSIM_MADV_UNMERGEABLE, NULL));
	assert_int_equal(rss(&w), 0);
	assert_int_equal(page_of(&w, X + 5).state, KSMSIM_PAGE_ZERO);
	end(&w);
}

/* X: its third page meets its second one; that split leaves one page of X, and Y's match for it. */
static void any_merge_lets_the_zero_pages_of_the_folio_vanish(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18");
	fill_sparse(&w, X, 1, 7);
	fill_sparse(&w, Y, 1, 7);
	scan(&w, 1);
	batch(&w, 2);
	expect_ksm(&w, 0, 0, 2);
	batch(&w, 1);
	expect_splits(&w, 1, 1, 1);
	assert_int_equal(rss(&w), BLOCK + 1);
	scan(&w, 1);
	expect_splits(&w, 2, 1, 2);
	assert_int_equal(rss(&w), 2);
	expect_ksm(&w, 1, 1, 1); /* X's second page is a ghost */
	scan(&w, 1);
	expect_ksm(&w, 1, 1, 0);
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 2);
	end(&w);
}

static void without_remap_zero_pages_become_ksm_pages(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.1");
	set(&w, "ksm/max_page_sharing", "256");
	fill_sparse(&w, X, 1, 7);
	fill_sparse(&w, Y, 1, 7);
	scan(&w, 6);
	expect_ksm(&w, 1 + 4, 1 + 1022 - 4, 0);
	end(&w);
}

static void a_ghost_blocks_the_search_of_its_content(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18");
	set(&w, "ksm/use_zero_pages", "1");
	fill_sparse(&w, X, 0, 0);
	fill_block(&w, Y);
	scan(&w, 1);
	batch(&w, 1);
	expect_ksm(&w, 0, 0, 1);
	/* the ghost is the root: nothing gets past it in this scan */
	scan(&w, 1);
	expect_ksm(&w, 0, 0, 1);
	scan(&w, 1);
	expect_ksm(&w, 0, 0, BLOCK);
	end(&w);
}

static void locked_memory_keeps_its_zero_pages(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18");
	set(&w, "ksm/max_page_sharing", "256");
	good(ksmsim_mlock(w.sim, w.pid, WORLD_BASE, BLOCK * PAGE, NULL));
	fill_with(&w, X, 1, KSMSIM_CONTENT_TAG, 7);
	scan(&w, 4);
	assert_int_equal(count(&w, KSMSIM_COUNT_thp_split_page), 1);
	assert_int_equal(rss(&w), BLOCK);
	expect_ksm(&w, 2, BLOCK - 3, 1);
	end(&w);
}

/* ---- references ---- */

static void a_pinned_thp_is_not_split(void **state)
{
	struct world w;
	int64_t ret = 0;

	(void)state;
	start(&w, "linux-6.18");
	fill_block(&w, X);
	tag(&w, w.pid, X + 3, 7);
	set(&w, "transparent_hugepage/enabled", "never");
	tag(&w, w.pid, Y, 7);
	good(ksmsim_pin(w.sim, w.pid, WORLD_BASE + 200 * PAGE, 1, KSMSIM_PIN_GET, &ret));
	assert_int_equal(ret, 0);
	scan(&w, 2);
	expect_splits(&w, 0, 1, 0);
	scan(&w, 1);
	expect_splits(&w, 0, 2, 0);
	assert_int_equal(figures(&w, w.pid).anon_huge, 1);
	/* the small page was made a KSM page and is copied back each time */
	expect_ksm(&w, 0, 0, BLOCK);
	assert_int_equal(count(&w, KSMSIM_COUNT_cow_ksm), 2);
	good(ksmsim_unpin(w.sim, w.pid, WORLD_BASE + 200 * PAGE, 1, &ret));
	scan(&w, 1);
	expect_splits(&w, 1, 2, 1);
	expect_ksm(&w, 1, 1, BLOCK - 1);
	end(&w);
}

static void a_forked_thp_is_split_in_both_processes(void **state)
{
	struct world w;
	uint32_t child;

	(void)state;
	start(&w, "linux-6.18");
	fill_block(&w, X);
	tag(&w, w.pid, X + 3, 7);
	set(&w, "transparent_hugepage/enabled", "never");
	tag(&w, w.pid, Y, 7);
	good(ksmsim_fork(w.sim, w.pid, &child, NULL));
	tag(&w, child, Y, 8);
	scan(&w, 3);
	expect_splits(&w, 1, 0, 2);
	assert_int_equal(figures(&w, child).anon_huge, 0);
	assert_int_equal(figures(&w, child).rss_anon, BLOCK + 1);
	end(&w);
}

static void pages_shared_by_fork_enter_the_tree_once(void **state)
{
	struct world w;
	uint32_t child;

	(void)state;
	start(&w, "linux-6.18");
	fill_block(&w, X);
	good(ksmsim_fork(w.sim, w.pid, &child, NULL));
	scan(&w, 3);
	expect_splits(&w, 0, 0, 0);
	expect_ksm(&w, 0, 0, BLOCK);
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 2 * BLOCK);
	end(&w);
}

/* ---- the tree and what changes under it ---- */

static void a_write_through_the_pmd_is_seen_by_searches(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18");
	fill_with(&w, X, BLOCK, KSMSIM_CONTENT_TAGS, 1000);
	set(&w, "transparent_hugepage/enabled", "never");
	tag(&w, w.pid, Y, 1100);
	scan(&w, 1);
	batch(&w, BLOCK);
	expect_ksm(&w, 0, 0, BLOCK);
	/* no fault, no new entry: only the content changes */
	tag(&w, w.pid, X + 100, 1101);
	expect_sound(&w);
	scan(&w, 1);
	expect_ksm(&w, 0, 0, BLOCK + 1);
	expect_splits(&w, 0, 0, 0);
	tag(&w, w.pid, X + 100, 1100);
	scan(&w, 3);
	expect_ksm(&w, 1, 1, BLOCK - 1);
	end(&w);
}

static void the_rest_of_the_folio_is_watched_after_one_page_changed(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18");
	fill_block(&w, X);
	scan(&w, 1);
	batch(&w, BLOCK);
	for (unsigned page = 0; page < BLOCK; page += 100) {
		tag(&w, w.pid, X + page, 5 + page);
		expect_sound(&w);
	}
	drop(&w, X, 1);
	expect_sound(&w);
	drop(&w, X, BLOCK);
	expect_sound(&w);
	end(&w);
}

/* ---- the walk ---- */

static void a_huge_page_costs_no_ptes(void **state)
{
	struct world w;
	struct ksmsim_walk walk;
	int64_t before;

	(void)state;
	start(&w, "linux-6.18");
	fill_block(&w, X);
	fill_block(&w, Y);
	scan(&w, 1);
	before = count(&w, KSMSIM_COUNT_walk_entries);
	scan(&w, 1);
	good(ksmsim_walk_cost(w.sim, w.pid, WORLD_BASE, 2 * BLOCK * PAGE, &walk));
	assert_int_equal(count(&w, KSMSIM_COUNT_walk_entries) - before, walk.range);
	/* PGD, PUD, two PMDs; each of 1023 restarts reads the levels above that it shares */
	assert_int_equal(walk.range, 4 + 1022 * 3 + 2);
	end(&w);
}

static void after_the_split_the_ptes_are_read(void **state)
{
	struct world w;
	int64_t before;

	(void)state;
	start(&w, "linux-6.18");
	fill_block(&w, X);
	tag(&w, w.pid, X + 3, 7);
	tag(&w, w.pid, X + 100, 7);
	scan(&w, 1);
	before = count(&w, KSMSIM_COUNT_walk_entries);
	scan(&w, 1);
	expect_splits(&w, 1, 1, 1);
	/* PTEs from slot 101 on; the PMD entry behind, which is none */
	assert_int_equal(count(&w, KSMSIM_COUNT_walk_entries) - before,
			 3 + 511 * 3 + (BLOCK - 101) + 1 + 2);
	end(&w);
}

static void unmerging_reads_no_ptes_of_a_huge_page(void **state)
{
	struct world w;
	int64_t before;

	(void)state;
	start(&w, "linux-7.3");
	fill_block(&w, X);
	fill_block(&w, Y);
	before = count(&w, KSMSIM_COUNT_unmerge_entries);
	good(ksmsim_madvise(w.sim, w.pid, WORLD_BASE, 2 * BLOCK * PAGE, KSMSIM_MADV_UNMERGEABLE,
			    NULL));
	assert_int_equal(count(&w, KSMSIM_COUNT_unmerge_entries) - before, 1 + 1 + 2);
	end(&w);
}

static void the_huge_zero_folio_is_not_visited(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18");
	good(ksmsim_read(w.sim, w.pid, WORLD_BASE, 1, NULL));
	assert_true(page_of(&w, X).huge_zero);
	fill_block(&w, Y);
	assert_int_equal(batch(&w, UINT32_MAX), BLOCK);
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), BLOCK);
	/* items of pages that made way for it are freed when the next page is found */
	fill_block(&w, X);
	scan(&w, 1);
	drop(&w, X, BLOCK);
	good(ksmsim_read(w.sim, w.pid, WORLD_BASE, 1, NULL));
	batch(&w, 1);
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), BLOCK);
	end(&w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(scanning_leaves_different_thps_whole),
	cmocka_unit_test(two_thps_are_split_for_one_equal_page),
	cmocka_unit_test(a_thp_page_meets_a_ksm_page),
	cmocka_unit_test(equal_pages_of_one_thp_merge_a_scan_later),
	cmocka_unit_test(both_thps_of_equal_content_merge_in_one_scan),
	cmocka_unit_test(a_zero_thp_vanishes_at_the_first_zero_page_merge),
	cmocka_unit_test(before_zero_remap_every_zero_page_merges_alone),
	cmocka_unit_test(unmerging_leaves_what_the_split_remapped),
	cmocka_unit_test(any_merge_lets_the_zero_pages_of_the_folio_vanish),
	cmocka_unit_test(without_remap_zero_pages_become_ksm_pages),
	cmocka_unit_test(a_ghost_blocks_the_search_of_its_content),
	cmocka_unit_test(locked_memory_keeps_its_zero_pages),
	cmocka_unit_test(a_pinned_thp_is_not_split),
	cmocka_unit_test(a_forked_thp_is_split_in_both_processes),
	cmocka_unit_test(pages_shared_by_fork_enter_the_tree_once),
	cmocka_unit_test(a_write_through_the_pmd_is_seen_by_searches),
	cmocka_unit_test(the_rest_of_the_folio_is_watched_after_one_page_changed),
	cmocka_unit_test(a_huge_page_costs_no_ptes),
	cmocka_unit_test(after_the_split_the_ptes_are_read),
	cmocka_unit_test(unmerging_reads_no_ptes_of_a_huge_page),
	cmocka_unit_test(the_huge_zero_folio_is_not_visited),
};

TEST_MAIN(tests)
