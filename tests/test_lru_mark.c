/*
 * test_lru_mark.c - floor 2: referenced and active pages, and the batches between the two.
 */
#include "test.h"

#include "memory.h"

static ks_pfn new_frame(struct memory *w, bool lru)
{
	return ks_frame_alloc(&w->env, &w->frames, 0,
			      ks_content_seed(&w->env, &w->contents, w->frames.nr_used), lru);
}

static ks_pfn new_folio(struct memory *w)
{
	const uint32_t id = ks_folio_alloc(&w->env, &w->frames, 0, PMD);

	ks_folio_get(&w->env, &w->frames, ks_folio(&w->frames, id)->head, 1);
	return ks_folio(&w->frames, id)->head;
}

static void accessed(struct memory *w, ks_pfn pfn, unsigned times)
{
	while (times--)
		ks_lru_accessed(&w->env, &w->frames, pfn);
}

static void drain(struct memory *w)
{
	ks_lru_drain(&w->env, &w->frames);
}

static void expect_marks(struct memory *w, ks_pfn pfn, bool referenced, bool active)
{
	assert_int_equal(ks_lru_marks(&w->frames, pfn),
			 (referenced ? KS_LRU_REFERENCED : 0) | (active ? KS_LRU_ACTIVE : 0));
}

static void expect_refs(struct memory *w, ks_pfn pfn, uint32_t refs)
{
	assert_int_equal(ks_frame_refs(&w->frames, pfn), refs);
}

static void end(struct memory *w)
{
	memory_check(w);
	drain(w);
	for (ks_pfn pfn = KS_PFN_ZERO + 1; pfn < w->frames.node[0].pool.used; pfn++) {
		if (ks_frame_live(&w->frames, pfn))
			ks_frame_unmap(&w->env, &w->frames, pfn);
	}
	assert_int_equal(w->frames.marks.nr, 0);
	memory_free(w);
}

static void the_second_time_makes_a_page_active(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn other = new_frame(w, false), pfn = new_frame(w, false);

	(void)state;
	accessed(w, pfn, 1);
	expect_marks(w, pfn, true, false);
	expect_refs(w, pfn, 1);
	accessed(w, pfn, 1);
	expect_marks(w, pfn, false, false);
	expect_refs(w, pfn, 2);
	drain(w);
	expect_marks(w, pfn, false, true);
	expect_refs(w, pfn, 1);
	accessed(w, pfn, 2);
	expect_marks(w, pfn, true, true);
	expect_refs(w, pfn, 1);
	expect_marks(w, other, false, false);
	end(w);
}

/* The page stays on its list meanwhile, so that it can come again. */
static void a_page_waits_several_times_to_become_active(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn pfn = new_frame(w, false);

	(void)state;
	accessed(w, pfn, 60);
	expect_refs(w, pfn, 31);
	expect_marks(w, pfn, false, false);
	/* the 31st entry fills the batch */
	accessed(w, pfn, 2);
	expect_refs(w, pfn, 1);
	expect_marks(w, pfn, false, true);
	end(w);
}

static void a_page_that_is_not_on_a_list_yet_is_active_at_once(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn added = new_frame(w, true), locked = new_frame(w, false);

	(void)state;
	ks_lru_mlock_new(&w->env, &w->frames, locked);
	accessed(w, added, 2);
	accessed(w, locked, 2);
	expect_marks(w, added, false, true);
	expect_marks(w, locked, false, false);
	expect_refs(w, added, 2);
	drain(w);
	expect_marks(w, added, false, true);
	end(w);
}

static void the_unevictable_list_has_no_active_pages(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn pfn = new_frame(w, false), waits = new_frame(w, false);

	(void)state;
	accessed(w, pfn, 2);
	drain(w);
	ks_lru_mlock(&w->env, &w->frames, pfn);
	drain(w);
	expect_marks(w, pfn, false, false);
	accessed(w, pfn, 5);
	expect_marks(w, pfn, true, false);
	/* the mlock batch is drained behind the other */
	ks_lru_mlock(&w->env, &w->frames, waits);
	accessed(w, waits, 2);
	drain(w);
	expect_marks(w, waits, false, false);
	end(w);
}

static void a_ksm_page_is_referenced_and_was_accessed(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn plain = new_frame(w, false), used = new_frame(w, false),
		     active = new_frame(w, false);

	(void)state;
	accessed(w, used, 1);
	accessed(w, active, 3);
	drain(w);
	for (ks_pfn pfn = plain; pfn <= active; pfn++) {
		ks_frame_flag(ks_frame(&w->frames, pfn), KS_FRAME_KSM, true);
		ks_lru_became_ksm(&w->env, &w->frames, pfn);
	}
	expect_marks(w, plain, true, false);
	expect_marks(w, used, false, false);
	expect_marks(w, active, true, true);
	drain(w);
	expect_marks(w, used, false, true);
	end(w);
}

static void cold_pages_lose_their_marks(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn used = new_frame(w, false), active = new_frame(w, false);

	(void)state;
	accessed(w, used, 1);
	accessed(w, active, 3);
	drain(w);
	ks_lru_deactivate(&w->env, &w->frames, used);
	ks_lru_deactivate(&w->env, &w->frames, active);
	expect_marks(w, used, false, false);
	expect_refs(w, used, 1);
	expect_marks(w, active, false, true);
	expect_refs(w, active, 2);
	drain(w);
	expect_marks(w, active, false, false);
	end(w);
}

static void lazily_freed_pages_lose_their_marks_once(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn pfn = new_frame(w, false), head = new_folio(w);

	(void)state;
	accessed(w, pfn, 3);
	accessed(w, head, 3);
	for (int round = 0; round < 2; round++) {
		ks_lru_lazyfree(&w->env, &w->frames, pfn);
		ks_lru_lazyfree(&w->env, &w->frames, head);
		drain(w);
		expect_marks(w, pfn, round, false);
		expect_marks(w, head, round, false);
		accessed(w, pfn, 1);
		accessed(w, head, 1);
	}
	ks_folio_put(&w->env, &w->frames, head, 1);
	end(w);
}

static void a_large_folio_is_active_at_once_and_hands_its_marks_on(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn small = new_frame(w, false), head = new_folio(w);

	(void)state;
	accessed(w, small, 2);
	accessed(w, head + 5, 1);
	expect_marks(w, head, true, false);
	expect_refs(w, small, 2);
	accessed(w, head + 9, 1);
	expect_marks(w, head, false, true);
	expect_refs(w, small, 1);
	accessed(w, head, 1);
	ks_folio_break(&w->env, &w->frames, ks_folio_id(&w->frames, head), head, 1, 0, true);
	expect_marks(w, head, true, true);
	expect_marks(w, head + NR - 1, true, true);
	ks_folio_settle(&w->env, &w->frames, head, NR);
	expect_marks(w, head, true, true);
	ks_folio_put(&w->env, &w->frames, head, 1);
	end(w);
}

static void the_check_finds_marks_of_a_free_frame(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);

	(void)state;
	ks_map_set(&w->env, &w->frames.marks, 100, 1);
	assert_false(ks_frames_check(&w->frames));
	ks_map_delete(&w->frames.marks, 100);
	end(w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_second_time_makes_a_page_active),
	cmocka_unit_test(a_page_waits_several_times_to_become_active),
	cmocka_unit_test(a_page_that_is_not_on_a_list_yet_is_active_at_once),
	cmocka_unit_test(the_unevictable_list_has_no_active_pages),
	cmocka_unit_test(a_ksm_page_is_referenced_and_was_accessed),
	cmocka_unit_test(cold_pages_lose_their_marks),
	cmocka_unit_test(lazily_freed_pages_lose_their_marks_once),
	cmocka_unit_test(a_large_folio_is_active_at_once_and_hands_its_marks_on),
	cmocka_unit_test(the_check_finds_marks_of_a_free_frame),
};

TEST_MAIN(tests)
