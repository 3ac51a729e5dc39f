/*
 * test_folio.c - floor 2: large folios: what maps them, who holds them, when they are partially
 * mapped, and how they break up.
 */
#include "test.h"

#include "memory.h"

static uint32_t new_thp(struct memory *w, uint32_t mm)
{
	const uint32_t id = ks_folio_alloc(&w->env, &w->frames, 0, PMD);

	assert_int_not_equal(id, 0);
	ks_folio_map_pmd(&w->env, &w->frames, id, mm);
	return id;
}

static struct ks_folio *folio(struct memory *w, uint32_t id)
{
	return ks_folio(&w->frames, id);
}

static void unmap_pmd(struct memory *w, uint32_t id, uint32_t mm)
{
	ks_folio_unmap_pmd(&w->env, &w->frames, id, mm);
}

static void to_ptes(struct memory *w, uint32_t id, uint32_t mm)
{
	ks_folio_pmd_to_ptes(&w->env, &w->frames, id, mm);
}

static void unmap(struct memory *w, uint32_t id, uint32_t first, uint32_t nr, uint32_t mm)
{
	ks_folio_unmap_ptes(&w->env, &w->frames, folio(w, id)->head + first, nr, mm);
}

static uint64_t deferred(struct memory *w)
{
	return w->env.count[KSMSIM_COUNT_thp_deferred_split_page];
}

static bool shared(struct memory *w, uint32_t id)
{
	return ks_page_maybe_shared(&w->env, &w->frames, folio(w, id)->head);
}

/* ---- memory ---- */

static void an_untouched_thp_has_no_frames(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);
	const ks_pfn head = folio(w, id)->head;

	(void)state;
	assert_int_equal(head % NR, 0);
	assert_int_equal(w->frames.block_frames.live, 0);
	assert_int_equal(ks_frame(&w->frames, head + 7)->cid, KS_CID_ZERO);
	assert_int_equal(ks_page_mapcount(&w->frames, head + 7), 1);
	assert_int_equal(ks_frame_refs(&w->frames, head + 7), 1);
	assert_int_equal(ks_folio_id(&w->frames, head + 511), id);
	assert_int_equal(w->frames.nr_used, NR);
	unmap_pmd(w, id, 1);
	assert_false(ks_frame_live(&w->frames, head));
	memory_free(w);
}

static void the_first_byte_makes_frames_and_others_stay_zero(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);
	const ks_pfn head = folio(w, id)->head;
	const ks_cid cid = ks_content_seed(&w->env, &w->contents, 5);

	(void)state;
	ks_frame_set_content(&w->env, &w->frames, head + 3, cid);
	assert_int_equal(ks_frame(&w->frames, head + 3)->cid, cid);
	assert_int_equal(ks_frame(&w->frames, head + 4)->cid, KS_CID_ZERO);
	assert_int_equal(w->frames.block_frames.live, 1);
	memory_check(w);
	unmap_pmd(w, id, 1);
	assert_int_equal(w->frames.block_frames.live, 0);
	memory_free(w);
}

static void smaller_folios_share_a_block_and_are_aligned(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	uint32_t id[33];

	(void)state;
	for (unsigned i = 0; i < 33; i++) {
		id[i] = ks_folio_alloc(&w->env, &w->frames, 1, 4);
		assert_int_equal(folio(w, id[i])->head % 16, 0);
		assert_int_equal(ks_frame_nid(&w->frames, folio(w, id[i])->head), 1);
		ks_folio_map_ptes(&w->env, &w->frames, folio(w, id[i])->head, 16, 1);
	}
	assert_int_equal(folio(w, id[31])->head / NR, folio(w, id[0])->head / NR);
	assert_int_not_equal(folio(w, id[32])->head / NR, folio(w, id[0])->head / NR);
	assert_int_equal(ks_folio_id(&w->frames, folio(w, id[5])->head + 15), id[5]);
	memory_check(w);
	for (unsigned i = 0; i < 33; i++)
		unmap(w, id[i], 0, 16, 1);
	memory_free(w);
}

static void the_huge_zero_folio_is_nobodys(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);

	(void)state;
	assert_int_equal(ks_folio_id(&w->frames, ks_huge_zero(&w->frames) + 3), 0);
	assert_int_equal(ks_frame(&w->frames, ks_huge_zero(&w->frames) + 3)->cid, KS_CID_ZERO);
	memory_free(w);
}

static void memory_that_ends_and_orders_that_fail(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	uint32_t id;

	(void)state;
	w->env.knob.memory_pages = 4 * NR;
	w->env.knob.fragmentation = 75;
	id = new_thp(w, 1);
	assert_int_equal(ks_folio_alloc(&w->env, &w->frames, 0, PMD), 0);
	w->env.knob.fragmentation = 0;
	w->env.knob.fail_orders = 1u << 4;
	assert_int_equal(ks_folio_alloc(&w->env, &w->frames, 0, 4), 0);
	w->env.inject[KSMSIM_INJECT_thp] = 1;
	assert_int_equal(ks_folio_alloc(&w->env, &w->frames, 0, PMD), 0);
	assert_int_equal(w->env.inject[KSMSIM_INJECT_thp], 0);
	unmap_pmd(w, id, 1);
	memory_free(w);
}

/* ---- partially mapped ---- */

static void a_pmd_split_maps_every_page_and_queues_nothing(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);
	const ks_pfn head = folio(w, id)->head;

	(void)state;
	ks_folio_flag(folio(w, id), KS_FOLIO_EXCLUSIVE, true);
	to_ptes(w, id, 1);
	assert_int_equal(folio(w, id)->maps, NR);
	assert_int_equal(folio(w, id)->mapped, NR);
	assert_int_equal(folio(w, id)->entire, 0);
	assert_true(ks_page_exclusive(&w->frames, head + 511));
	assert_int_equal(w->frames.nr_anon_thps, 0);
	assert_int_equal(deferred(w), 0);
	memory_check(w);
	unmap(w, id, 0, NR, 1);
	assert_int_equal(deferred(w), 0);
	memory_free(w);
}

static void one_page_less_is_counted_once(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);

	(void)state;
	to_ptes(w, id, 1);
	unmap(w, id, 5, 1, 1);
	unmap(w, id, 9, 2, 1);
	assert_int_equal(deferred(w), 1);
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_nr_anon_partially_mapped][PMD], 1);
	assert_int_equal(w->frames.nr_split_queue, 1);
	ks_folio_map_ptes(&w->env, &w->frames, folio(w, id)->head + 5, 1, 1);
	assert_true(ks_folio_test(folio(w, id), KS_FOLIO_PARTIAL));
	memory_check(w);
	unmap(w, id, 0, 9, 1);
	unmap(w, id, 11, NR - 11, 1);
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_nr_anon_partially_mapped][PMD], 0);
	memory_free(w);
}

static void before_6_12_the_last_page_of_a_folio_is_queued_in_passing(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_1);
	const uint32_t id = new_thp(w, 1);

	(void)state;
	to_ptes(w, id, 1);
	for (unsigned i = 0; i < NR; i++)
		unmap(w, id, i, 1, 1);
	assert_int_equal(deferred(w), 1);
	memory_free(w);
}

static void a_pmd_elsewhere_hides_that_pages_are_gone(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);

	(void)state;
	ks_folio_map_pmd(&w->env, &w->frames, id, 2);
	to_ptes(w, id, 1);
	unmap(w, id, 7, 1, 1);
	assert_int_equal(deferred(w), 0);
	unmap_pmd(w, id, 2);
	assert_int_equal(deferred(w), 1);
	unmap(w, id, 0, 7, 1);
	unmap(w, id, 8, NR - 8, 1);
	memory_free(w);
}

static void a_smaller_folio_counts_for_its_size_only(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = ks_folio_alloc(&w->env, &w->frames, 0, 4);

	(void)state;
	ks_folio_map_ptes(&w->env, &w->frames, folio(w, id)->head, 16, 1);
	unmap(w, id, 5, 1, 1);
	assert_int_equal(deferred(w), 0);
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_split_deferred][4], 1);
	unmap(w, id, 0, 5, 1);
	unmap(w, id, 6, 10, 1);
	memory_free(w);
}

/* ---- who maps it ---- */

static void two_mms_share_and_one_does_not(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);

	(void)state;
	assert_false(shared(w, id));
	ks_folio_map_pmd(&w->env, &w->frames, id, 2);
	assert_true(shared(w, id));
	unmap_pmd(w, id, 1);
	assert_false(shared(w, id));
	unmap_pmd(w, id, 2);
	memory_free(w);
}

/* The third mm finds no slot; alone, mapped by PTEs, it still counts as one of several. */
static void a_third_mm_leaves_the_folio_shared_for_good(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);

	(void)state;
	ks_folio_map_pmd(&w->env, &w->frames, id, 2);
	ks_folio_map_pmd(&w->env, &w->frames, id, 3);
	to_ptes(w, id, 3);
	unmap_pmd(w, id, 1);
	unmap_pmd(w, id, 2);
	assert_true(shared(w, id));
	unmap(w, id, 0, NR, 3);
	memory_free(w);
}

static void a_split_after_the_others_went_does_not_repair_it(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);

	(void)state;
	ks_folio_map_pmd(&w->env, &w->frames, id, 2);
	ks_folio_map_pmd(&w->env, &w->frames, id, 3);
	unmap_pmd(w, id, 1);
	unmap_pmd(w, id, 2);
	to_ptes(w, id, 3);
	assert_int_equal(folio(w, id)->mm_maps[0] + folio(w, id)->mm_maps[1], NR - 1);
	assert_true(shared(w, id));
	unmap(w, id, 0, NR, 3);
	memory_free(w);
}

static void the_guess_of_6_12_looks_at_the_first_page(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_12);
	const uint32_t id = ks_folio_alloc(&w->env, &w->frames, 0, 4);
	const ks_pfn head = folio(w, id)->head;

	(void)state;
	ks_folio_map_ptes(&w->env, &w->frames, head, 8, 1);
	ks_folio_map_ptes(&w->env, &w->frames, head + 8, 8, 2);
	assert_false(shared(w, id));
	unmap(w, id, 15, 1, 2);
	ks_folio_map_ptes(&w->env, &w->frames, head, 1, 2);
	assert_true(shared(w, id));
	unmap(w, id, 0, 1, 2);
	unmap(w, id, 0, 8, 1);
	unmap(w, id, 8, 7, 2);
	memory_free(w);
}

/* ---- references ---- */

static void a_reference_outlives_all_mappings(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);
	const ks_pfn head = folio(w, id)->head;

	(void)state;
	ks_frame_hold(&w->env, &w->frames, head + 9, 1, 1);
	assert_int_equal(ks_frame_refs(&w->frames, head), 3);
	assert_int_equal(ks_frame_pins(&w->frames, head + 100), 1);
	unmap_pmd(w, id, 1);
	assert_true(ks_frame_live(&w->frames, head));
	ks_frame_release(&w->env, &w->frames, head + 9, 0, 1);
	ks_frame_release(&w->env, &w->frames, head + 3, 1, 0);
	assert_false(ks_frame_live(&w->frames, head));
	memory_free(w);
}

/* ---- breaking up ---- */

static void pages_that_nobody_maps_are_freed_at_the_end(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);
	const ks_pfn head = folio(w, id)->head;

	(void)state;
	ks_folio_flag(folio(w, id), KS_FOLIO_DIRTY, true);
	ks_folio_get(&w->env, &w->frames, head + 8, 1);
	unmap_pmd(w, id, 1);
	ks_folio_break(&w->env, &w->frames, id, head + 8, 1, 0, true);
	ks_frame_map(&w->env, &w->frames, head + 2);
	ks_folio_settle(&w->env, &w->frames, head, NR);
	assert_int_equal(w->frames.nr_used, 2);
	assert_true(ks_frame_live(&w->frames, head + 2));
	assert_true(ks_page_dirty(&w->frames, head + 2));
	assert_true(ks_frame_live(&w->frames, head + 8));
	assert_false(ks_frame_live(&w->frames, head + 9));
	memory_check(w);
	ks_folio_put(&w->env, &w->frames, head + 8, 1);
	ks_frame_unmap(&w->env, &w->frames, head + 2);
	memory_free(w);
}

static void a_break_around_a_page_halves_towards_it(void **state)
{
	static const unsigned orders[NR] = {
		[0] = 8, [256] = 7, [384] = 6, [448] = 5, [480] = 4, [496] = 3, [504] = 2
	};
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);
	const ks_pfn head = folio(w, id)->head;

	(void)state;
	ks_folio_get(&w->env, &w->frames, head + 510, 1);
	unmap_pmd(w, id, 1);
	ks_folio_break(&w->env, &w->frames, id, head + 510, 1, 0, false);
	for (unsigned i = 0; i < 508; i++) {
		const struct ks_folio *part = ks_folio_of(&w->frames, head + i);

		assert_non_null(part);
		if (orders[i]) {
			assert_int_equal(part->head, head + i);
			assert_int_equal(part->order, orders[i]);
		}
	}
	for (unsigned i = 508; i < NR; i++)
		assert_null(ks_folio_of(&w->frames, head + i));
	ks_folio_settle(&w->env, &w->frames, head, NR);
	ks_folio_put(&w->env, &w->frames, head + 510, 1);
	memory_free(w);
}

static void a_break_to_a_smaller_order_counts_its_parts(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const uint32_t id = new_thp(w, 1);
	const ks_pfn head = folio(w, id)->head;

	(void)state;
	ks_folio_get(&w->env, &w->frames, head, 1);
	unmap_pmd(w, id, 1);
	ks_folio_break(&w->env, &w->frames, id, head, 1, 4, true);
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_nr_anon][PMD], 0);
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_nr_anon][4], 32);
	assert_int_equal(ks_frame_refs(&w->frames, head + 15), 1);
	ks_folio_settle(&w->env, &w->frames, head, NR);
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_nr_anon][4], 1);
	ks_folio_put(&w->env, &w->frames, head, 1);
	memory_free(w);
}

/* ---- names ---- */

static void a_block_is_not_used_again_at_once(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	ks_pfn first = 0;
	unsigned reused = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		const uint32_t id = new_thp(w, 1);

		if (i == 0)
			first = folio(w, id)->head;
		else if (folio(w, id)->head == first && !reused)
			reused = i;
		unmap_pmd(w, id, 1);
	}
	assert_in_range(reused, 200, 400);
	memory_free(w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(an_untouched_thp_has_no_frames),
	cmocka_unit_test(the_first_byte_makes_frames_and_others_stay_zero),
	cmocka_unit_test(smaller_folios_share_a_block_and_are_aligned),
	cmocka_unit_test(the_huge_zero_folio_is_nobodys),
	cmocka_unit_test(memory_that_ends_and_orders_that_fail),
	cmocka_unit_test(a_pmd_split_maps_every_page_and_queues_nothing),
	cmocka_unit_test(one_page_less_is_counted_once),
	cmocka_unit_test(before_6_12_the_last_page_of_a_folio_is_queued_in_passing),
	cmocka_unit_test(a_pmd_elsewhere_hides_that_pages_are_gone),
	cmocka_unit_test(a_smaller_folio_counts_for_its_size_only),
	cmocka_unit_test(two_mms_share_and_one_does_not),
	cmocka_unit_test(a_third_mm_leaves_the_folio_shared_for_good),
	cmocka_unit_test(a_split_after_the_others_went_does_not_repair_it),
	cmocka_unit_test(the_guess_of_6_12_looks_at_the_first_page),
	cmocka_unit_test(a_reference_outlives_all_mappings),
	cmocka_unit_test(pages_that_nobody_maps_are_freed_at_the_end),
	cmocka_unit_test(a_break_around_a_page_halves_towards_it),
	cmocka_unit_test(a_break_to_a_smaller_order_counts_its_parts),
	cmocka_unit_test(a_block_is_not_used_again_at_once),
};

TEST_MAIN(tests)
