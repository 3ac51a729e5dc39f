/*
 * test_swap.c - pages that leave their frame: swap and migration.
 */
#include "mmone.h"

static ks_pfn pfn_of(struct ks_mm *who, uint64_t page)
{
	return mmworld_pte(w, who, page).pfn;
}

static uint32_t refs_of(ks_pfn pfn)
{
	return ks_frame_refs(&w->sys.frames, pfn);
}

/* ---- swap ---- */

static void swapped_page_comes_back(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 2);
	assert_int_equal(ks_swap_out(&w->sys, pfn_of(mm, 0), false), 1);
	mmworld_expect_pages(w, mm, "$w......");
	assert_int_equal(mm->rss_anon, 1);
	assert_int_equal(mm->swap_pages, 1);
	assert_int_equal(w->sys.frames.nr_used, 1);
	mmworld_expect_value(w, mm, 0, 1);
	mmworld_expect_pages(w, mm, "ww......");
	assert_int_equal(w->sys.swap.live, 0);
}

static void swapped_pages_of_forked_processes_stay_apart(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	child = mmworld_fork(w, mm);
	assert_int_equal(ks_swap_out(&w->sys, pfn_of(mm, 0), false), 2);
	mmworld_expect_pages(w, child, "$.......");
	mmworld_store(w, mm, 0, 5);
	mmworld_expect_pages(w, mm, "w.......");
	mmworld_expect_pages(w, child, "$.......");
	mmworld_expect_value(w, child, 0, 1);
	/* fork of a swapped page: both sides may no longer assume that it is theirs */
	assert_int_equal(ks_swap_out(&w->sys, pfn_of(mm, 0), false), 1);
	assert_true(mmworld_pte(w, mm, 0).bits & KS_PTE(DIRTY));
	child = mmworld_fork(w, mm);
	assert_false(mmworld_pte(w, mm, 0).bits & KS_PTE(DIRTY));
	mmworld_read(w, mm, 0, 1);
	mmworld_expect_pages(w, mm, "s.......");
	mmworld_store(w, mm, 0, 6);
	mmworld_expect_value(w, child, 0, 5);
	mmworld_expect_value(w, mm, 0, 6);
}

static void cached_page_is_found_again(void **state)
{
	ks_pfn pfn;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	pfn = pfn_of(mm, 0);
	assert_int_equal(ks_swap_out(&w->sys, pfn, true), 1);
	assert_true(ks_frame_live(&w->sys.frames, pfn));
	mmworld_read(w, mm, 0, 1);
	assert_int_equal(pfn_of(mm, 0), pfn);
	assert_int_equal(refs_of(pfn), 2);
	/* the cache goes with the last mapping */
	ks_munmap(&w->sys, mm, MMWORLD_BASE, 1);
	assert_int_equal(w->sys.swap.live, 0);
	assert_false(ks_frame_live(&w->sys.frames, pfn));
	mmworld_check(w);
}

static void page_written_in_the_swap_cache_is_swapped_out_anew(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 1);
	ks_swap_out(&w->sys, pfn_of(mm, 0), true);
	mmworld_read(w, mm, 0, 1);
	mmworld_store(w, mm, 0, 8);
	ks_swap_out(&w->sys, pfn_of(mm, 0), false);
	assert_int_equal(w->sys.frames.nr_used, 0);
	assert_int_equal(w->sys.swap.live, 1);
	mmworld_expect_value(w, mm, 0, 8);
	mmworld_expect_pages(w, mm, "w.......");
}

/* mm/ksm.c:ksm_might_need_to_copy() */
static void cached_ksm_page_is_mapped_as_it_is_unless_unmerging(void **state)
{
	struct ks_mm *child;
	ks_pfn ksm;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	mmworld_make_ksm(w, mm, 0);
	child = mmworld_fork(w, mm);
	ksm = pfn_of(mm, 0);
	assert_int_equal(ks_swap_out(&w->sys, ksm, true), 2);
	mmworld_read(w, mm, 0, 1);
	mmworld_expect_pages(w, mm, "k.......");
	assert_int_equal(pfn_of(mm, 0), ksm);
	assert_int_equal(counter(KSMSIM_COUNT_ksm_swpin_copy), 0);
	w->env.knob.run = 2;
	mmworld_read(w, child, 0, 1);
	mmworld_expect_pages(w, child, "w.......");
	assert_int_equal(counter(KSMSIM_COUNT_ksm_swpin_copy), 1);
	assert_int_equal(w->ksm_freed, 0);
	mmworld_store(w, mm, 0, 2);
	assert_int_equal(w->ksm_freed, 1);
}

static void reclaimed_ksm_page_comes_back_as_ordinary_ones(void **state)
{
	struct ks_mm *other = mmworld_process(w, 8);
	struct ks_pte pte;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	mmworld_fill(w, other, 3, 1);
	mmworld_make_ksm(w, mm, 0);
	/* merge by hand */
	pte = mmworld_pte(w, other, 3);
	ks_frame_map(&w->env, &w->sys.frames, pfn_of(mm, 0));
	ks_pte_set(&w->env, &w->sys.tables, &other->pt, MMWORLD_BASE + 3, mmworld_pte(w, mm, 0));
	ks_frame_unmap(&w->env, &w->sys.frames, pte.pfn);
	assert_int_equal(ks_swap_out(&w->sys, pfn_of(mm, 0), false), 2);
	assert_int_equal(w->ksm_freed, 1);
	mmworld_read(w, mm, 0, 1);
	mmworld_expect_pages(w, mm, "s.......");
	/* the cached page belongs to another place: it is copied */
	mmworld_read(w, other, 3, 1);
	mmworld_expect_pages(w, other, "...w....");
	assert_int_not_equal(pfn_of(other, 3), pfn_of(mm, 0));
	assert_int_equal(counter(KSMSIM_COUNT_ksm_swpin_copy), 1);
	mmworld_expect_value(w, other, 3, 1);
}

static void pinned_locked_and_held_pages_resist_reclaim(void **state)
{
	ks_pfn held;

	(void)state;
	mmworld_fill(w, mm, 0, 3);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_PIN_WRITE);
	ks_mlock(&w->sys, mm, MMWORLD_BASE + 1, 1, true);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE + 2, 1, KSMSIM_PIN_HELD);
	held = pfn_of(mm, 2);
	assert_int_equal(ks_swap_out(&w->sys, pfn_of(mm, 0), false), 0);
	assert_int_equal(ks_swap_out(&w->sys, pfn_of(mm, 1), false), 0);
	assert_int_equal(ks_swap_out(&w->sys, held, false), 1);
	mmworld_expect_pages(w, mm, "ww$.....");
	mmworld_read(w, mm, 2, 1);
	assert_int_equal(pfn_of(mm, 2), held);
}

/* ---- migration ---- */

static void note_move(void *self, ks_pfn from, ks_pfn to)
{
	(void)self;
	w->moves++;
	w->moved_from = from;
	w->moved_to = to;
	assert_true(ks_frame_live(&w->sys.frames, from));
	assert_true(ks_frame_test(ks_frame(&w->sys.frames, from), KS_FRAME_KSM));
}

static long migrate(uint64_t page, uint64_t pages, unsigned nid)
{
	return ks_access_migrate(&w->sys, mm, MMWORLD_BASE + page, pages, nid, note_move, NULL);
}

static void migration_moves_all_mappings(void **state)
{
	struct ks_mm *child;
	ks_pfn old;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	child = mmworld_fork(w, mm);
	mmworld_fill(w, mm, 1, 1);
	old = pfn_of(mm, 0);
	mmworld_read(w, mm, 2, 1);
	assert_int_equal(migrate(0, 8, 1), 2);
	assert_int_equal(ks_frame_nid(&w->sys.frames, pfn_of(mm, 0)), 1);
	assert_int_equal(pfn_of(child, 0), pfn_of(mm, 0));
	assert_false(ks_frame_live(&w->sys.frames, old));
	mmworld_expect_pages(w, mm, "sw0.....");
	mmworld_expect_value(w, child, 0, 1);
	assert_int_equal(migrate(0, 8, 1), 0);
	assert_int_equal(w->moves, 0);
}

static void migrated_ksm_page_is_told_and_not_freed(void **state)
{
	ks_pfn old;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	mmworld_make_ksm(w, mm, 0);
	old = pfn_of(mm, 0);
	assert_int_equal(migrate(0, 1, 1), 1);
	assert_int_equal(w->moves, 1);
	assert_int_equal(w->moved_from, old);
	assert_int_equal(w->moved_to, pfn_of(mm, 0));
	assert_int_equal(w->ksm_freed, 0);
	mmworld_expect_pages(w, mm, "k.......");
}

static void referenced_pages_are_not_migrated(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 2);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_PIN_HELD);
	assert_int_equal(migrate(0, 2, 1), 1);
	w->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(migrate(1, 1, 0), 0);
	mmworld_expect_pages(w, mm, "ww......");
}

static void new_pages_come_from_the_process_node(void **state)
{
	(void)state;
	mm->nid = 1;
	mmworld_fill(w, mm, 0, 1);
	assert_int_equal(ks_frame_nid(&w->sys.frames, pfn_of(mm, 0)), 1);
	assert_int_equal(mmworld_fork(w, mm)->nid, 1);
}

static const struct CMUnitTest tests[] = {
	MMONE_TEST(swapped_page_comes_back),
	MMONE_TEST(swapped_pages_of_forked_processes_stay_apart),
	MMONE_TEST(cached_page_is_found_again),
	MMONE_TEST(page_written_in_the_swap_cache_is_swapped_out_anew),
	MMONE_TEST(cached_ksm_page_is_mapped_as_it_is_unless_unmerging),
	MMONE_TEST(reclaimed_ksm_page_comes_back_as_ordinary_ones),
	MMONE_TEST(pinned_locked_and_held_pages_resist_reclaim),
	MMONE_TEST(migration_moves_all_mappings),
	MMONE_TEST(migrated_ksm_page_is_told_and_not_freed),
	MMONE_TEST(referenced_pages_are_not_migrated),
	MMONE_TEST(new_pages_come_from_the_process_node),
};

TEST_MAIN(tests)
