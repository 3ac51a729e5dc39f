/*
 * test_thp_pins.c - huge pages that somebody holds, and huge pages that migrate; for all
 * profiles.
 *
 * Numbers like S18 are those of the scenarios in the behaviour's specification.
 */
#include "thpworld.h"

/* ---- pins ---- */

static void pin_of_an_exclusive_huge_page_needs_no_fault(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		const struct ks_leaf *leaf;

		thpworld_fill(t);
		ks_mprotect(t->sys, t->p, MMWORLD_BASE, THPWORLD_NR, MMWORLD_R);
		assert_int_equal(thpworld_pin(t, t->p, 3, KSMSIM_PIN_READ), 0);
		assert_int_equal(t->env->count[KSMSIM_COUNT_pgfault], 1);
		leaf = ks_pmd_find(&t->sys->tables, &t->p->pt, MMWORLD_BASE);
		assert_non_null(leaf);
		assert_false(leaf->pmd.bits & KS_PTE(WRITE));
	}
}

static void pin_of_a_page_holds_the_folio_once(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		const struct ks_folio *folio;

		thpworld_fill(t);
		assert_int_equal(thpworld_pin(t, t->p, 3, KSMSIM_PIN_WRITE), 0);
		assert_int_equal(thpworld_pin(t, t->p, 4, KSMSIM_PIN_GET), 0);
		folio = thpworld_folio(t, t->p, 0);
		assert_int_equal(folio->pins, 1);
		assert_int_equal(folio->gets, 2);
		assert_true(t->p->has_pinned);
		assert_int_equal(ks_access_unpin(t->sys, t->p, MMWORLD_BASE, 512), 2);
		assert_int_equal(folio->pins + folio->gets, 0);
		assert_string_equal(thpworld_changed(t), "");
	}
}

/* S24 */
static void pinned_huge_page_is_copied_at_fork(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		thpworld_fill(t);
		thpworld_pin(t, t->p, 3, KSMSIM_PIN_WRITE);
		child = mmworld_fork(t->w, t->p);
		assert_string_equal(thpworld_changed(t), "SPMD1");
		assert_int_equal(child->rss_anon, 512);
		assert_null(thpworld_folio(t, child, 0));
		mmworld_expect_pages(t->w, child, "wwww");
		mmworld_expect_pages(t->w, t->p, "wwww");
		thpworld_write(t, t->p, 3);
		assert_string_equal(thpworld_changed(t), "");
	}
}

/* S24 with a plain reference: the write leaves the page that is held */
static void plain_reference_makes_the_writer_copy_away(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;
		ks_pfn held;

		thpworld_fill(t);
		thpworld_pin(t, t->p, 3, KSMSIM_PIN_GET);
		held = mmworld_pte(t->w, t->p, 3).pfn;
		child = mmworld_fork(t->w, t->p);
		assert_string_equal(thpworld_changed(t), "");
		thpworld_exit(t, child);
		thpworld_write(t, t->p, 3);
		assert_string_equal(thpworld_changed(t), "SD1 SPMD1 deferred[9]1 partial[9]1");
		assert_int_not_equal(mmworld_pte(t->w, t->p, 3).pfn, held);
		/* neither reused while it is held, though nobody else maps it */
		thpworld_write(t, t->p, 4);
		assert_int_not_equal(mmworld_pte(t->w, t->p, 4).pfn, held + 1);
		assert_string_equal(thpworld_changed(t), "");
	}
}

/* ---- migration ---- */

static long migrate(struct thpworld *t, uint64_t page, uint64_t pages)
{
	return ks_access_migrate(t->sys, t->p, MMWORLD_BASE + page, pages, 1, NULL, NULL);
}

static void huge_page_migrates_as_a_whole(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		const bool queued = t->env->feature[KS_FEAT_underused_shrinker];
		struct ks_mm *child;

		thpworld_fill(t);
		assert_int_equal(migrate(t, 5, 1), 512);
		assert_string_equal(thpworld_changed(t), "");
		assert_int_equal(thpworld_folio(t, t->p, 0)->nid, 1);
		assert_int_equal(t->sys->frames.nr_split_queue, queued);
		assert_int_equal(t->p->nr_anon_pmds, 1);
		mmworld_expect_pages(t->w, t->p, "wwww");
		mmworld_expect_value(t->w, t->p, 511, 512);
		assert_int_equal(migrate(t, 0, 512), 0);
		child = mmworld_fork(t->w, t->p);
		assert_int_equal(ks_access_migrate(t->sys, child, MMWORLD_BASE, 1, 0, NULL, NULL),
				 512);
		assert_int_equal(thpworld_refs(t, t->p, 0), 2);
		assert_int_equal(mmworld_pte(t->w, t->p, 7).pfn, mmworld_pte(t->w, child, 7).pfn);
		assert_string_equal(thpworld_changed(t), "");
	}
}

static bool copy_whole(void *self, const struct ksmsim_cow_question *question)
{
	(void)self;
	(void)question;
	return true;
}

static void copy_at_the_same_place_stays_where_it_is(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);
	struct ks_mm *child;

	(void)state;
	t->sys->policy.cow_pmd = copy_whole;
	thpworld_fill(t);
	child = mmworld_fork(t->w, t->p);
	thpworld_write(t, child, 7);
	assert_int_equal(migrate(t, 0, 512), 512);
	assert_int_equal(thpworld_folio(t, child, 0)->nid, 0);
	mmworld_expect_value(t->w, child, 7, 1007);
	mmworld_expect_value(t->w, t->p, 7, 8);
	thpworld_free(t);
}

static void partially_mapped_folio_is_split_instead(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		const bool splits = t->env->feature[KS_FEAT_deferred_on_flag];

		thpworld_fill(t);
		ks_madvise(t->sys, t->p, MMWORLD_BASE + 9, 1, KSMSIM_MADV_DONTNEED);
		thpworld_changed(t);
		assert_int_equal(migrate(t, 0, 512), splits ? 511 : 512);
		assert_int_equal(thpworld_folio(t, t->p, 0) == NULL, splits);
		assert_int_equal(t->p->rss_anon, 511);
		mmworld_check(t->w);
	}
}

static void pte_mapped_folio_arrives_partially_mapped(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		const bool again = t->env->feature[KS_FEAT_deferred_on_flag];

		thpworld_fill(t);
		thpworld_split_pmd(t, t->p);
		assert_int_equal(migrate(t, 0, 1), 512);
		assert_string_equal(thpworld_changed(t),
				    again ? "SD2 deferred[9]2 partial[9]1" : "SD1 deferred[9]1");
		mmworld_expect_pages(t->w, t->p, "wwww");
		mmworld_expect_value(t->w, t->p, 511, 512);
		assert_int_equal(thpworld_folio(t, t->p, 511)->maps, 512);
	}
}

static void folio_that_cannot_move_whole_is_split(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		thpworld_fill(t);
		t->env->inject[KSMSIM_INJECT_thp] = 1;
		assert_int_equal(migrate(t, 3, 2), 2);
		assert_int_equal(ks_frame_nid(&t->sys->frames, mmworld_pte(t->w, t->p, 3).pfn), 1);
		assert_int_equal(ks_frame_nid(&t->sys->frames, mmworld_pte(t->w, t->p, 5).pfn), 0);
		mmworld_expect_value(t->w, t->p, 4, 5);
		assert_int_equal(t->p->rss_anon, 512);
		mmworld_check(t->w);
	}
}

static void held_folio_stays(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);

	(void)state;
	thpworld_fill(t);
	thpworld_pin(t, t->p, 3, KSMSIM_PIN_GET);
	assert_int_equal(migrate(t, 0, 512), 0);
	assert_string_equal(thpworld_changed(t), "");
	thpworld_free(t);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(pin_of_an_exclusive_huge_page_needs_no_fault),
	cmocka_unit_test(pin_of_a_page_holds_the_folio_once),
	cmocka_unit_test(pinned_huge_page_is_copied_at_fork),
	cmocka_unit_test(plain_reference_makes_the_writer_copy_away),
	cmocka_unit_test(huge_page_migrates_as_a_whole),
	cmocka_unit_test(copy_at_the_same_place_stays_where_it_is),
	cmocka_unit_test(partially_mapped_folio_is_split_instead),
	cmocka_unit_test(pte_mapped_folio_arrives_partially_mapped),
	cmocka_unit_test(folio_that_cannot_move_whole_is_split),
	cmocka_unit_test(held_folio_stays),
};

TEST_MAIN(tests)
