/*
 * test_lru.c - floor 2: the batches in front of the LRU lists, and what mlock counts.
 */
#include "test.h"

#include "memory.h"

static ks_pfn new_frame(struct memory *w, uint64_t seed, bool lru)
{
	const ks_cid cid = ks_content_seed(&w->env, &w->contents, seed);

	return ks_frame_alloc(&w->env, &w->frames, 0, cid, lru);
}

static ks_pfn new_folio(struct memory *w, unsigned order, bool locked)
{
	const uint32_t id = ks_folio_alloc(&w->env, &w->frames, 0, order);

	assert_int_not_equal(id, 0);
	ks_folio_get(&w->env, &w->frames, ks_folio(&w->frames, id)->head, 1);
	ks_lru_add_large(&w->env, &w->frames, ks_folio(&w->frames, id)->head, locked);
	return ks_folio(&w->frames, id)->head;
}

static uint32_t refs(struct memory *w, ks_pfn pfn)
{
	return ks_frame_refs(&w->frames, pfn);
}

static bool is_live(struct memory *w, ks_pfn pfn)
{
	return ks_frame_live(&w->frames, pfn);
}

static void unmap(struct memory *w, ks_pfn pfn)
{
	ks_frame_unmap(&w->env, &w->frames, pfn);
}

static void lock(struct memory *w, ks_pfn pfn)
{
	ks_lru_mlock(&w->env, &w->frames, pfn);
}

static void unlock(struct memory *w, ks_pfn pfn)
{
	ks_lru_munlock(&w->env, &w->frames, pfn, true);
}

static void drain(struct memory *w)
{
	ks_lru_drain(&w->env, &w->frames);
}

static void expect_lock(struct memory *w, ks_pfn pfn, bool mlocked, bool unevictable,
			uint64_t count)
{
	const struct ks_lru_lock lock = ks_lru_lock_of(&w->frames, pfn);

	assert_int_equal(lock.mlocked, mlocked);
	assert_int_equal(lock.unevictable, unevictable);
	if (unevictable)
		assert_int_equal(lock.count, count);
}

/* All single frames and the batches go. */
static void end(struct memory *w)
{
	memory_check(w);
	drain(w);
	for (ks_pfn pfn = KS_PFN_ZERO + 1; pfn < w->frames.node[0].pool.used; pfn++) {
		while (is_live(w, pfn))
			unmap(w, pfn);
	}
	assert_int_equal(w->frames.mlock_counts.nr, 0);
	memory_free(w);
}

/* ---- batches ---- */

static void expect_batch_size(bool is_31, uint32_t size)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	ks_pfn first = 0;

	w->env.feature[KS_FEAT_lru_batch_31] = is_31;
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 1; i < size; i++) {
			const ks_pfn pfn = new_frame(w, round * 100 + i, true);

			first = i == 1 ? pfn : first;
			assert_int_equal(refs(w, pfn), 2);
		}
		assert_int_equal(refs(w, first), 2);
		assert_int_equal(refs(w, new_frame(w, round * 100, true)), 1);
		assert_int_equal(refs(w, first), 1);
		assert_int_equal(w->frames.nr_lru_batch, 0);
	}
	/* frames outside the batch do not fill it */
	first = new_frame(w, 1000, true);
	for (uint32_t i = 0; i < 2 * size; i++)
		new_frame(w, 2000 + i, false);
	assert_int_equal(refs(w, first), 2);
	end(w);
}

static void a_full_batch_is_drained(void **state)
{
	(void)state;
	expect_batch_size(true, 31);
	expect_batch_size(false, 15);
}

static void a_full_batch_frees_what_nobody_maps(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn first = new_frame(w, 0, true);

	(void)state;
	unmap(w, first);
	for (uint32_t i = 1; i < 30; i++)
		new_frame(w, i, true);
	assert_true(is_live(w, first));
	assert_int_equal(refs(w, first), 1);
	new_frame(w, 30, true);
	assert_false(is_live(w, first));
	end(w);
}

static void without_lru_drain_only_a_full_drain_helps(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	ks_pfn pfn[200];

	(void)state;
	w->env.knob.lru_drain = 0;
	for (unsigned i = 0; i < 200; i++)
		pfn[i] = new_frame(w, i, true);
	ks_lru_drain_local(&w->env, &w->frames);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(refs(w, pfn[i]), 2);
	assert_true(ks_frames_check(&w->frames));
	ks_lru_drain(&w->env, &w->frames);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(refs(w, pfn[i]), 1);
	new_frame(w, 500, true);
	assert_true(ks_frames_check(&w->frames));
	end(w);
}

/* what was unmapped from locked memory lives on until the mlock batch is drained */
static void the_mlock_batch_holds_what_locked_memory_unmaps(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn gone = new_frame(w, 1, false), fresh = new_frame(w, 2, false);

	(void)state;
	ks_lru_mlock(&w->env, &w->frames, gone);
	ks_lru_mlock(&w->env, &w->frames, gone);
	ks_lru_mlock(&w->env, &w->frames, KS_PFN_ZERO);
	assert_int_equal(refs(w, gone), 3);
	ks_frame_unmap(&w->env, &w->frames, gone);
	assert_true(is_live(w, gone));
	/* a new one is on no LRU list yet, as those in the add batch */
	ks_lru_mlock_new(&w->env, &w->frames, fresh);
	assert_int_equal(refs(w, fresh), 2);
	assert_true(ks_frame_test(ks_frame(&w->frames, fresh), KS_FRAME_LRU_BATCH));
	assert_true(ks_frames_check(&w->frames));
	ks_lru_drain_local(&w->env, &w->frames);
	assert_false(is_live(w, gone));
	assert_int_equal(refs(w, fresh), 1);
	assert_false(ks_frame_test(ks_frame(&w->frames, fresh), KS_FRAME_LRU_BATCH));
	end(w);
}

/* each batch is drained alone when it is full, and only where the knob lets it */
static void a_full_batch_is_drained_alone(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	ks_pfn added, pfn[31];

	(void)state;
	added = new_frame(w, 100, true);
	for (uint32_t i = 0; i < 31; i++) {
		pfn[i] = new_frame(w, i, false);
		assert_int_equal(refs(w, pfn[0]), i ? 2 : 1);
		ks_lru_mlock(&w->env, &w->frames, pfn[i]);
	}
	for (uint32_t i = 0; i < 31; i++) {
		assert_int_equal(refs(w, pfn[i]), 1);
		assert_int_equal(refs(w, added), 2);
		ks_lru_lazyfree(&w->env, &w->frames, pfn[i]);
	}
	assert_int_equal(refs(w, added), 2);
	assert_int_equal(refs(w, pfn[0]), 1);
	w->env.knob.lru_drain = 0;
	for (uint32_t i = 0; i < 40; i++)
		ks_lru_mlock(&w->env, &w->frames, pfn[i % 31]);
	assert_int_equal(refs(w, pfn[0]), 3);
	ks_lru_drain_local(&w->env, &w->frames);
	assert_int_equal(refs(w, pfn[0]), 3);
	ks_lru_drain(&w->env, &w->frames);
	assert_int_equal(refs(w, pfn[0]), 1);
	assert_int_equal(refs(w, added), 1);
	end(w);
}

static void a_page_becomes_lazily_freed_when_the_batch_is_drained(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn pfn = new_frame(w, 1, false), waits = new_frame(w, 2, true);
	const struct ks_frame *frame = ks_frame(&w->frames, pfn);

	(void)state;
	ks_lru_lazyfree(&w->env, &w->frames, pfn);
	ks_lru_lazyfree(&w->env, &w->frames, waits); /* on no list: nothing to move */
	assert_int_equal(refs(w, pfn), 2);
	assert_int_equal(refs(w, waits), 2);
	assert_false(ks_frame_test(frame, KS_FRAME_LAZYFREE));
	ks_lru_drain(&w->env, &w->frames);
	assert_int_equal(refs(w, pfn), 1);
	assert_true(ks_frame_test(frame, KS_FRAME_LAZYFREE));
	assert_false(ks_frame_test(ks_frame(&w->frames, waits), KS_FRAME_LAZYFREE));
	ks_lru_lazyfree(&w->env, &w->frames, pfn); /* it is already */
	assert_int_equal(refs(w, pfn), 1);
	end(w);
}

static void lru_drain_switched_on_drains_the_overflow(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	ks_pfn pfn[40];

	(void)state;
	w->env.knob.lru_drain = 0;
	for (unsigned i = 0; i < 40; i++)
		pfn[i] = new_frame(w, i, true);
	w->env.knob.lru_drain = 1;
	new_frame(w, 40, true); /* the batch is full: all of it goes */
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(refs(w, pfn[i]), 1);
	pfn[0] = new_frame(w, 50, true);
	ks_lru_drain_local(&w->env, &w->frames);
	assert_int_equal(refs(w, pfn[0]), 1);
	end(w);
}

/* ---- mlock counts ---- */

/* __munlock_folio(): two who locked it have to unlock it */
static void a_page_locked_twice_is_unlocked_twice(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn pfn = new_frame(w, 1, false);

	(void)state;
	lock(w, pfn);
	lock(w, pfn);
	expect_lock(w, pfn, true, false, 0);
	drain(w);
	expect_lock(w, pfn, true, true, 2);
	unlock(w, pfn);
	drain(w);
	expect_lock(w, pfn, true, true, 1);
	unlock(w, pfn);
	expect_lock(w, pfn, true, true, 1);
	drain(w);
	expect_lock(w, pfn, false, false, 0);
	end(w);
}

/* lru_add(): a page that was locked while it waited comes onto its list with a count of 0, so that
 * the first munlock ends it whoever else locked it */
static void a_page_locked_before_it_is_on_a_list_is_not_counted(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn pfn = new_frame(w, 1, true), other = new_frame(w, 2, false);

	(void)state;
	lock(w, pfn);
	lock(w, pfn);
	for (unsigned i = 0; i < 29; i++)
		lock(w, other); /* the mlock batch is drained, the add batch is not */
	expect_lock(w, other, true, true, 29);
	expect_lock(w, pfn, true, false, 0);
	drain(w);
	expect_lock(w, pfn, true, true, 0);
	unlock(w, pfn);
	drain(w);
	expect_lock(w, pfn, false, false, 0);
	end(w);
}

/* lru_add() looks again: a page that was taken off the unevictable list and unlocked meanwhile,
 * whatever its count was, comes back onto an evictable one */
static void a_page_unlocked_while_it_waits_forgets_its_count(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn pfn = new_frame(w, 1, false), other = new_frame(w, 2, false);

	(void)state;
	lock(w, pfn);
	lock(w, pfn);
	drain(w);
	ks_lru_putback(&w->env, &w->frames, pfn);
	unlock(w, pfn);
	for (unsigned i = 0; i < 30; i++)
		lock(w, other); /* the mlock batch is drained, the add batch is not */
	expect_lock(w, pfn, false, true, 2);
	drain(w);
	expect_lock(w, pfn, false, false, 0);
	end(w);
}

/* the same beyond one batch */
static void a_page_locked_in_the_overflow_is_not_counted(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn other = new_frame(w, 1, false);
	ks_pfn pfn = KS_PFN_NONE;

	(void)state;
	w->env.knob.lru_drain = 0;
	for (unsigned i = 0; i < 40; i++)
		pfn = new_frame(w, 2 + i, true);
	w->env.knob.lru_drain = 1;
	lock(w, pfn);
	for (unsigned i = 0; i < 30; i++)
		lock(w, other);
	expect_lock(w, pfn, true, false, 0);
	drain(w);
	expect_lock(w, pfn, true, true, 0);
	end(w);
}

/* mlock_new_folio(): its first lock counts */
static void a_new_page_of_locked_memory_is_counted_once(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn pfn = new_frame(w, 1, false);

	(void)state;
	ks_lru_mlock_new(&w->env, &w->frames, pfn);
	drain(w);
	expect_lock(w, pfn, true, true, 1);
	lock(w, pfn);
	unlock(w, pfn);
	drain(w);
	expect_lock(w, pfn, true, true, 1);
	end(w);
}

/* Three entries of one batch: munlock takes the mark off, and the second mlock finds an evictable
 * page and leaves it so, since it set the mark before the munlock was carried out. */
static void entries_of_a_batch_are_carried_out_in_order(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn pfn = new_frame(w, 1, false);

	(void)state;
	lock(w, pfn);
	unlock(w, pfn);
	lock(w, pfn);
	drain(w);
	expect_lock(w, pfn, false, false, 0);
	lock(w, pfn);
	drain(w);
	expect_lock(w, pfn, true, true, 1);
	end(w);
}

/* A large folio waits in no batch, and empties the one that it would wait in. */
static void a_large_folio_is_counted_at_once(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn small = new_frame(w, 1, false), head = new_folio(w, PMD, false);

	(void)state;
	lock(w, small);
	expect_lock(w, small, true, false, 0);
	lock(w, head + 7);
	expect_lock(w, small, true, true, 1);
	expect_lock(w, head, true, true, 1);
	lock(w, head);
	unlock(w, small);
	unlock(w, head + 3);
	expect_lock(w, small, false, false, 0);
	expect_lock(w, head, true, true, 1);
	unlock(w, head);
	expect_lock(w, head, false, false, 0);
	ks_folio_put(&w->env, &w->frames, head, 1);
	end(w);
}

/* add batch or mlock batch: that of the list where the folio is going */
static void a_new_large_folio_empties_its_own_batch_only(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn added = new_frame(w, 1, true), locked = new_frame(w, 2, false);
	ks_pfn head;

	(void)state;
	lock(w, locked);
	head = new_folio(w, PMD, false);
	expect_lock(w, head, false, false, 0);
	assert_int_equal(refs(w, added), 1);
	assert_int_equal(refs(w, locked), 2);
	ks_folio_put(&w->env, &w->frames, head, 1);
	ks_lru_putback(&w->env, &w->frames, added);
	head = new_folio(w, PMD, true);
	expect_lock(w, head, true, true, 1);
	assert_int_equal(refs(w, added), 2);
	assert_int_equal(refs(w, locked), 1);
	ks_folio_put(&w->env, &w->frames, head, 1);
	end(w);
}

/* before 6.7 mappings of large folios by PTEs were not among those that lock */
static void ptes_of_large_folios_unlock_by_version(void **state)
{
	static const struct {
		enum ks_profile profile;
		bool locked;
	} kernels[] = { { KS_PROFILE_V6_1, true }, { KS_PROFILE_V6_12, false } };

	(void)state;
	for (size_t i = 0; i < sizeof(kernels) / sizeof(*kernels); i++) {
		struct memory *w = memory_new(kernels[i].profile);
		const ks_pfn head = new_folio(w, PMD, true);

		ks_lru_munlock(&w->env, &w->frames, head + 1, false);
		expect_lock(w, head, kernels[i].locked, kernels[i].locked, 1);
		ks_folio_put(&w->env, &w->frames, head, 1);
		end(w);
	}
}

/* lru_add_split_folio(): the marks are copied, the count stays with the first part */
static void parts_of_a_locked_folio_begin_with_a_count_of_0(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn head = new_folio(w, PMD, true);

	(void)state;
	lock(w, head);
	lock(w, head);
	ks_folio_break(&w->env, &w->frames, ks_folio_id(&w->frames, head), head, 1, 4, true);
	expect_lock(w, head, true, true, 3);
	expect_lock(w, head + 15, true, true, 3);
	expect_lock(w, head + 16, true, true, 0);
	unlock(w, head + 511);
	expect_lock(w, head + 511, false, false, 0);
	ks_folio_break(&w->env, &w->frames, ks_folio_id(&w->frames, head), head, 1, 0, true);
	expect_lock(w, head, true, true, 3);
	expect_lock(w, head + 1, true, true, 0);
	ks_folio_settle(&w->env, &w->frames, head, NR);
	ks_folio_put(&w->env, &w->frames, head, 1);
	end(w);
}

/* lru_lazyfree(): not what is on the unevictable list, be it there when the batch is drained only */
static void an_unevictable_page_is_not_freed_lazily(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn before = new_frame(w, 1, false), between = new_frame(w, 2, false);
	const ks_pfn head = new_folio(w, PMD, true);

	(void)state;
	lock(w, before);
	drain(w);
	ks_lru_lazyfree(&w->env, &w->frames, before);
	assert_int_equal(refs(w, before), 1);
	ks_lru_lazyfree(&w->env, &w->frames, between);
	for (unsigned i = 0; i < 31; i++)
		lock(w, between); /* the mlock batch is full, and drained alone */
	drain(w);
	assert_false(ks_page_lazyfree(&w->frames, before));
	assert_false(ks_page_lazyfree(&w->frames, between));
	ks_lru_lazyfree(&w->env, &w->frames, head);
	assert_false(ks_page_lazyfree(&w->frames, head));
	unlock(w, head);
	ks_lru_lazyfree(&w->env, &w->frames, head);
	assert_true(ks_page_lazyfree(&w->frames, head));
	ks_folio_put(&w->env, &w->frames, head, 1);
	end(w);
}

/* neither when it is asked for nor when the batch is drained */
static void a_page_in_the_swap_cache_is_not_freed_lazily(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn before = new_frame(w, 1, false), between = new_frame(w, 2, false);

	(void)state;
	ks_frame_flag(ks_frame(&w->frames, before), KS_FRAME_SWAPCACHE, true);
	ks_lru_lazyfree(&w->env, &w->frames, before);
	assert_int_equal(refs(w, before), 2);
	ks_lru_lazyfree(&w->env, &w->frames, between);
	ks_frame_flag(ks_frame(&w->frames, between), KS_FRAME_SWAPCACHE, true);
	drain(w);
	assert_false(ks_page_lazyfree(&w->frames, before));
	assert_false(ks_page_lazyfree(&w->frames, between));
	ks_frame_uncache(&w->env, &w->frames, before);
	ks_frame_uncache(&w->env, &w->frames, between);
	end(w);
}

static void a_large_folio_freed_lazily_empties_the_batch(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn small = new_frame(w, 1, false), head = new_folio(w, PMD, false);

	(void)state;
	ks_lru_lazyfree(&w->env, &w->frames, small);
	assert_false(ks_page_lazyfree(&w->frames, small));
	ks_lru_lazyfree(&w->env, &w->frames, head);
	assert_true(ks_page_lazyfree(&w->frames, small));
	assert_true(ks_page_lazyfree(&w->frames, head));
	ks_folio_put(&w->env, &w->frames, head, 1);
	end(w);
}

static void the_check_finds_a_count_without_a_page(void **state)
{
	struct memory *w = memory_new(KS_PROFILE_V6_18);
	const ks_pfn pfn = new_frame(w, 1, false);

	(void)state;
	ks_map_set(&w->env, &w->frames.mlock_counts, pfn, 2);
	assert_false(ks_frames_check(&w->frames));
	ks_map_delete(&w->frames.mlock_counts, pfn);
	end(w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_full_batch_is_drained),
	cmocka_unit_test(a_full_batch_frees_what_nobody_maps),
	cmocka_unit_test(without_lru_drain_only_a_full_drain_helps),
	cmocka_unit_test(the_mlock_batch_holds_what_locked_memory_unmaps),
	cmocka_unit_test(a_full_batch_is_drained_alone),
	cmocka_unit_test(a_page_becomes_lazily_freed_when_the_batch_is_drained),
	cmocka_unit_test(lru_drain_switched_on_drains_the_overflow),
	cmocka_unit_test(a_page_locked_twice_is_unlocked_twice),
	cmocka_unit_test(a_page_locked_before_it_is_on_a_list_is_not_counted),
	cmocka_unit_test(a_page_unlocked_while_it_waits_forgets_its_count),
	cmocka_unit_test(a_page_locked_in_the_overflow_is_not_counted),
	cmocka_unit_test(a_new_page_of_locked_memory_is_counted_once),
	cmocka_unit_test(entries_of_a_batch_are_carried_out_in_order),
	cmocka_unit_test(a_large_folio_is_counted_at_once),
	cmocka_unit_test(a_new_large_folio_empties_its_own_batch_only),
	cmocka_unit_test(ptes_of_large_folios_unlock_by_version),
	cmocka_unit_test(parts_of_a_locked_folio_begin_with_a_count_of_0),
	cmocka_unit_test(an_unevictable_page_is_not_freed_lazily),
	cmocka_unit_test(a_page_in_the_swap_cache_is_not_freed_lazily),
	cmocka_unit_test(a_large_folio_freed_lazily_empties_the_batch),
	cmocka_unit_test(the_check_finds_a_count_without_a_page),
};

TEST_MAIN(tests)
