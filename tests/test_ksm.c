/*
 * test_ksm.c - rules of the scan that a look inside shows more sharply than a
 * scenario: where batches end, how pages age, when items die, how segments
 * grow, what a changed page leaves in the unstable tree.
 */
#include "ksmworld.h"

/* ---- batches ---- */

static void a_batch_ends_with_its_pages_or_with_the_scan(void **state)
{
	(void)state;
	for (uint64_t size = 1; size <= 8; size++) {
		struct world w;
		uint64_t left = 5, visited;

		begin(&w, "linux-6.18", 5);
		for (uint64_t i = 0; i < 5; i++)
			tag(&w, w.pid, i, i);
		while (!count(&w, KSMSIM_COUNT_full_scans)) {
			visited = batch(&w, size);
			assert_int_equal(visited, left < size ? left : size);
			left -= visited;
		}
		assert_int_equal(left, 0);
		/* the last page found closes nothing: the next batch, perhaps an empty one, does */
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_scanned), 5);
		assert_int_equal(visited, 5 % size);
		end(&w);
	}
}

static void a_batch_of_no_pages_does_nothing(void **state)
{
	struct world w;

	(void)state;
	begin(&w, "linux-7.3", 2);
	tag(&w, w.pid, 0, 1);
	w.nr_events = 0;
	assert_int_equal(batch(&w, 0), 0);
	assert_int_equal(w.nr_events, 0);
	set(&w, "ksm/run", "0");
	assert_int_equal(batch(&w, 100), 0);
	assert_int_equal(w.nr_events, 0);
	end(&w);
}

static void more_than_256_scans_leave_no_trace(void **state)
{
	struct world w;

	(void)state;
	begin(&w, "linux-7.3", 4);
	for (uint64_t i = 0; i < 3; i++)
		tag(&w, w.pid, i, i);
	scan(&w, 1);
	for (int i = 0; i < 600; i++) {
		scan(&w, 1);
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_unshared), 3);
	}
	tag(&w, w.pid, 3, 1);
	scan(&w, 2);
	assert_int_equal(count(&w, KSMSIM_COUNT_pages_sharing), 1);
	end(&w);
}

/* ---- smart scan ---- */

static void smart_scan_skips_by_age(void **state)
{
	/* scans that visit a page which never merges; then every ninth */
	static const unsigned visits[] = { 0, 1, 2, 3, 5, 8, 13 };
	struct world w;
	unsigned i, next = 0;

	(void)state;
	begin(&w, "linux-7.3", 1);
	set(&w, "ksm/smart_scan", "1");
	tag(&w, w.pid, 0, 1);
	for (i = 0; i < 400; i++) {
		const bool visit = i < 13 ? i == visits[next] : (i - 13) % 9 == 0;
		struct ksmsim_page page;

		if (i < 13 && visit)
			next++;
		if (batch(&w, UINT32_MAX) != visit)
			fail_msg("scan %u: %s", i, visit ? "skipped" : "visited");
		good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE, &page));
		assert_int_equal(page.item_age, i < 255 ? i + 1 : 255);
		/* a page that is skipped is in no tree */
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_unshared), visit && i > 0);
	}
	end(&w);
}

static unsigned age_after_a_merge(const char *profile)
{
	struct ksmsim_page page;
	struct world w;

	begin(&w, profile, 2);
	set(&w, "ksm/smart_scan", "1");
	tag(&w, w.pid, 0, 1);
	tag(&w, w.pid, 1, 1);
	scan(&w, 3);
	good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE, &page));
	assert_int_equal(page.state, KSMSIM_PAGE_KSM);
	assert_int_equal(page.item_age, 2); /* merged pages do not age */
	tag(&w, w.pid, 0, 2);
	scan(&w, 1);
	good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE, &page));
	end(&w);
	return page.item_age;
}

static void leaving_the_stable_tree_makes_young_since_7_3(void **state)
{
	(void)state;
	assert_int_equal(age_after_a_merge("linux-7.3"), 0);
	assert_int_equal(age_after_a_merge("linux-6.18"), 3);
	assert_int_equal(age_after_a_merge("linux-6.12"), 3);
}

/* ---- items ---- */

static void items_die_when_the_next_page_is_found(void **state)
{
	struct world w;

	(void)state;
	begin(&w, "linux-6.12", 8);
	for (uint64_t i = 0; i < 6; i++)
		tag(&w, w.pid, i, i);
	scan(&w, 1);
	drop(&w, 1, 2);
	drop(&w, 5, 1);
	batch(&w, 1); /* page 0 */
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 6);
	batch(&w, 1); /* page 3: 1 and 2 go */
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 4);
	batch(&w, 1); /* page 4 */
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 4);
	batch(&w, 1); /* the mm is left: 5 goes */
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 3);
	assert_int_equal(count(&w, KSMSIM_COUNT_full_scans), 2);
	end(&w);
}

static void an_item_that_cannot_be_had_ends_the_batch(void **state)
{
	struct world w;

	(void)state;
	begin(&w, "linux-6.18", 1024);
	tag(&w, w.pid, 5, 1);
	tag(&w, w.pid, 600, 2);
	scan(&w, 1);
	/* the only item of the first segment dies while an allocation for page 7 fails */
	drop(&w, 5, 1);
	tag(&w, w.pid, 7, 3);
	good(ksmsim_inject_failure(w.sim, KSMSIM_INJECT_rmap_item, 1));
	assert_int_equal(batch(&w, 100), 0);
	expect_sound(&w);
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 1);
	assert_int_equal(count(&w, KSMSIM_COUNT_full_scans), 1);
	assert_int_equal(batch(&w, 100), 2);
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 2);
	end(&w);
}

static void segments_grow_and_keep_their_items(void **state)
{
	/* pages; every second one has a twin */
	static const uint64_t steps[] = { 1, 2, 5, 6, 30 };
	struct world w;
	uint64_t nr = 0;

	(void)state;
	begin(&w, "linux-7.3", 512);
	for (size_t s = 0; s < sizeof(steps) / sizeof(*steps); s++) {
		/* from behind: every new item comes before all old ones */
		for (; nr < steps[s]; nr++) {
			tag(&w, w.pid, 500 - 10 * nr, 100 + nr);
			if (nr % 2)
				tag(&w, w.pid, 500 - 10 * nr + 1, 100 + nr);
		}
		scan(&w, 3);
		expect_sound(&w);
		assert_int_equal(item_of(&w, w.pid, 500).seg->room, nr == 1 ? 1
								    : nr + nr / 2 <= 8
									    ? 8
									    : KS_SEG_SLOTS);
		assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), nr + nr / 2);
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_shared), nr / 2);
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_sharing), nr / 2);
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_unshared), nr - nr / 2);
	}
	end(&w);
}

static void growing_keeps_checksum_and_age(void **state)
{
	struct ksmsim_page page[2];
	struct world w;

	(void)state;
	begin(&w, "linux-6.12", 512);
	set(&w, "ksm/smart_scan", "1");
	tag(&w, w.pid, 100, 1);
	scan(&w, 2);
	good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE + 100 * PAGE, &page[0]));
	for (uint64_t i = 0; i < 40; i++)
		tag(&w, w.pid, 80 + i + (i >= 20), 50 + i);
	batch(&w, 30); /* stops behind page 100 */
	good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE + 100 * PAGE, &page[1]));
	assert_int_equal(item_of(&w, w.pid, 100).seg->room, KS_SEG_SLOTS);
	assert_int_equal(page[0].item_age, 2);
	assert_int_equal(page[1].item_age, 3);
	assert_int_equal(page[1].item_checksum, page[0].item_checksum);
	assert_int_not_equal(page[1].item_checksum, 0);
	end(&w);
}

/* ---- the unstable tree ---- */

static bool is_looked_at(struct world *w, uint64_t page)
{
	const struct ks_item item = item_of(w, w->pid, page);

	assert_true(ks_item_in_tree(&w->sim->ksm, &item));
	return ks_item_tree_node(&w->sim->ksm, ks_item_id(&item))->key_lo & KS_RB_LOOK;
}

static void change(struct world *w, unsigned how)
{
	const uint8_t byte = 1;

	switch (how) {
	case 0:
		good(ksmsim_poke(w->sim, w->pid, WORLD_BASE + 4095, &byte, 1, NULL));
		break;
	case 1:
		tag(w, w->pid, 0, 77);
		break;
	case 2:
		drop(w, 0, 1);
		break;
	case 3:
		good(ksmsim_munmap(w->sim, w->pid, WORLD_BASE, PAGE, NULL));
		break;
	case 4:
		good(ksmsim_swap_out(w->sim, w->pid, WORLD_BASE, 1, false, NULL));
		break;
	case 5:
		good(ksmsim_mremap(w->sim, w->pid, WORLD_BASE, PAGE, PAGE,
				   KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED, 2 * WORLD_BASE,
				   NULL));
		break;
	default:
		good(ksmsim_madvise(w->sim, w->pid, WORLD_BASE, PAGE, KSMSIM_MADV_UNMERGEABLE,
				    NULL));
		break;
	}
}

static void a_page_that_changes_in_the_tree_is_looked_at(void **state)
{
	(void)state;
	for (unsigned how = 0; how <= 6; how++) {
		struct world w;

		begin(&w, "linux-6.18", 3);
		for (uint64_t i = 0; i < 3; i++)
			tag(&w, w.pid, i, 10 + i);
		scan(&w, 1);
		batch(&w, 2); /* 0 and 1 are in the tree, the scan stands at 2 */
		assert_false(is_looked_at(&w, 0));
		assert_false(is_looked_at(&w, 1));
		change(&w, how);
		if (!is_looked_at(&w, 0))
			fail_msg("change %u goes unnoticed", how);
		assert_false(is_looked_at(&w, 1));
		expect_sound(&w);
		scan(&w, 3);
		end(&w);
	}
}

static void a_read_changes_nothing_in_the_tree(void **state)
{
	struct world w;

	(void)state;
	begin(&w, "linux-6.18", 2);
	tag(&w, w.pid, 0, 1);
	tag(&w, w.pid, 1, 2);
	scan(&w, 1);
	batch(&w, 1);
	good(ksmsim_read(w.sim, w.pid, WORLD_BASE, 2, NULL));
	assert_false(is_looked_at(&w, 0));
	end(&w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_batch_ends_with_its_pages_or_with_the_scan),
	cmocka_unit_test(a_batch_of_no_pages_does_nothing),
	cmocka_unit_test(more_than_256_scans_leave_no_trace),
	cmocka_unit_test(smart_scan_skips_by_age),
	cmocka_unit_test(leaving_the_stable_tree_makes_young_since_7_3),
	cmocka_unit_test(items_die_when_the_next_page_is_found),
	cmocka_unit_test(an_item_that_cannot_be_had_ends_the_batch),
	cmocka_unit_test(segments_grow_and_keep_their_items),
	cmocka_unit_test(growing_keeps_checksum_and_age),
	cmocka_unit_test(a_page_that_changes_in_the_tree_is_looked_at),
	cmocka_unit_test(a_read_changes_nothing_in_the_tree),
};

TEST_MAIN(tests)
