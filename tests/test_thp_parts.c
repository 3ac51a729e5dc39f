/*
 * test_thp_parts.c - advice, locks and look-ups on large folios of which entries map a part, or all.
 */
#include "thpworld.h"

#define HAS_BATCHES (t->env->feature[KS_FEAT_zap_batched])

static long advise(struct thpworld *t, struct ks_mm *mm, uint64_t page, uint64_t pages,
		   enum ksmsim_advice advice)
{
	return ks_madvise(t->sys, mm, MMWORLD_BASE + page, pages, advice);
}

static bool folio_is(struct thpworld *t, uint64_t page, enum ks_folio_flag flag)
{
	return ks_folio_test(thpworld_folio(t, t->p, page), flag);
}

/* Filled, mapped by PTEs, and nothing counted of it. */
static void fill_and_split_pmd(struct thpworld *t)
{
	thpworld_fill(t);
	ks_split_pmd(t->sys, t->p, MMWORLD_BASE);
	thpworld_changed(t);
}

static void make_clean(struct thpworld *t, uint64_t page)
{
	struct ks_pte pte = mmworld_pte(t->w, t->p, page);

	pte.bits &= ~(KS_PTE(DIRTY) | KS_PTE(YOUNG));
	ks_pte_set(t->env, &t->sys->tables, &t->p->pt, MMWORLD_BASE + page, pte);
}

/* ---- mlock ---- */

static void folio_is_locked_only_if_all_of_it_is_mapped(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		fill_and_split_pmd(t);
		advise(t, t->p, 9, 1, KSMSIM_MADV_DONTNEED);
		thpworld_read(t, t->p, 9);
		assert_int_equal(ks_mlock(t->sys, t->p, MMWORLD_BASE, 512, true), 0);
		assert_false(folio_is(t, 0, KS_FOLIO_MLOCKED));
	}
}

static void whole_folio_is_locked_by_its_ptes_in_newer_kernels(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		fill_and_split_pmd(t);
		assert_int_equal(ks_mlock(t->sys, t->p, MMWORLD_BASE, 511, true), 0);
		assert_false(folio_is(t, 0, KS_FOLIO_MLOCKED));
		assert_int_equal(ks_mlock(t->sys, t->p, MMWORLD_BASE, 512, false), 0);
		assert_int_equal(ks_mlock(t->sys, t->p, MMWORLD_BASE, 512, true), 0);
		assert_int_equal(folio_is(t, 0, KS_FOLIO_MLOCKED), HAS_BATCHES);
		assert_int_equal(ks_mlock(t->sys, t->p, MMWORLD_BASE + 3, 1, false), 0);
		assert_false(folio_is(t, 0, KS_FOLIO_MLOCKED));
	}
}

static void huge_page_is_locked_and_unlocked_as_one(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		thpworld_fill(t);
		assert_int_equal(ks_mlock(t->sys, t->p, MMWORLD_BASE, 512, true), 0);
		assert_true(folio_is(t, 0, KS_FOLIO_MLOCKED));
		assert_int_equal(ks_mlock(t->sys, t->p, MMWORLD_BASE, 512, false), 0);
		assert_false(folio_is(t, 0, KS_FOLIO_MLOCKED));
		assert_string_equal(thpworld_changed(t), "");
	}
}

static void pmd_split_unlocks_in_locked_memory_of_older_kernels(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		t->p->vmas[0].flags |= KS_VM_LOCKED;
		thpworld_fill(t);
		child = mmworld_fork(t->w, t->p);
		ks_split_pmd(t->sys, child, MMWORLD_BASE);
		assert_true(folio_is(t, 0, KS_FOLIO_MLOCKED));
		ks_split_pmd(t->sys, t->p, MMWORLD_BASE);
		assert_int_equal(folio_is(t, 0, KS_FOLIO_MLOCKED),
				 t->env->feature[KS_FEAT_mlock_kept_on_split]);
	}
}

/* ---- MADV_FREE, MADV_COLD ---- */

/* Two runs of entries, with a hole between them. */
static void one_failed_split_settles_the_run_or_the_table(void **state)
{
	static const enum ksmsim_advice advices[] = { KSMSIM_MADV_FREE, KSMSIM_MADV_COLD };
	struct thpworld *t;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(advices); i++) {
		THPWORLD_EACH(t)
		{
			fill_and_split_pmd(t);
			advise(t, t->p, 100, 1, KSMSIM_MADV_DONTNEED);
			ks_access_pin(t->sys, t->p, MMWORLD_BASE, 1, KSMSIM_PIN_GET);
			thpworld_changed(t);
			assert_int_equal(advise(t, t->p, 0, 512, advices[i]), 0);
			assert_string_equal(thpworld_changed(t),
					    HAS_BATCHES ? "SPF2 fail[9]2" : "SPF1 fail[9]1");
			assert_false(folio_is(t, 0, KS_FOLIO_LAZYFREE));
		}
	}
}

static void whole_folio_mapped_by_ptes_is_split_by_the_oldest_kernel_only(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		fill_and_split_pmd(t);
		ks_folio_flag(thpworld_folio(t, t->p, 0), KS_FOLIO_DIRTY, false);
		advise(t, t->p, 0, 512, KSMSIM_MADV_FREE);
		assert_int_equal(thpworld_folio(t, t->p, 0) != NULL, HAS_BATCHES);
		if (HAS_BATCHES)
			assert_true(folio_is(t, 0, KS_FOLIO_LAZYFREE));
		assert_false(mmworld_pte(t->w, t->p, 9).bits & KS_PTE(DIRTY));
		mmworld_check(t->w);
	}
}

static void shared_folio_is_freed_lazily_if_it_is_clean(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		if (!HAS_BATCHES)
			continue;
		fill_and_split_pmd(t);
		child = mmworld_fork(t->w, t->p);
		ks_folio_flag(thpworld_folio(t, t->p, 0), KS_FOLIO_DIRTY, true);
		advise(t, child, 0, 512, KSMSIM_MADV_FREE);
		assert_false(folio_is(t, 0, KS_FOLIO_LAZYFREE));
		ks_folio_flag(thpworld_folio(t, t->p, 0), KS_FOLIO_DIRTY, false);
		/* part of it: others map it, so it is not split */
		advise(t, child, 0, 9, KSMSIM_MADV_FREE);
		assert_false(folio_is(t, 0, KS_FOLIO_LAZYFREE));
		advise(t, child, 0, 512, KSMSIM_MADV_FREE);
		assert_true(folio_is(t, 0, KS_FOLIO_LAZYFREE));
		assert_string_equal(thpworld_changed(t), "");
	}
}

static void cold_leaves_shared_folios_young(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		fill_and_split_pmd(t);
		child = mmworld_fork(t->w, t->p);
		advise(t, t->p, 0, 512, KSMSIM_MADV_COLD);
		assert_true(mmworld_pte(t->w, t->p, 9).bits & KS_PTE(YOUNG));
		thpworld_exit(t, child);
		advise(t, t->p, 0, 512, KSMSIM_MADV_COLD);
		assert_false(mmworld_pte(t->w, t->p, 9).bits & KS_PTE(YOUNG));
	}
}

static void huge_page_is_freed_lazily_unless_others_map_it(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		thpworld_fill(t);
		child = mmworld_fork(t->w, t->p);
		ks_folio_flag(thpworld_folio(t, t->p, 0), KS_FOLIO_DIRTY, true);
		thpworld_changed(t);
		advise(t, t->p, 0, 512, KSMSIM_MADV_FREE);
		assert_false(folio_is(t, 0, KS_FOLIO_LAZYFREE));
		assert_true(folio_is(t, 0, KS_FOLIO_DIRTY));
		assert_true(mmworld_pte(t->w, t->p, 9).bits & KS_PTE(DIRTY));
		thpworld_exit(t, child);
		advise(t, t->p, 0, 512, KSMSIM_MADV_FREE);
		assert_true(folio_is(t, 0, KS_FOLIO_LAZYFREE));
		assert_false(folio_is(t, 0, KS_FOLIO_DIRTY));
		assert_false(mmworld_pte(t->w, t->p, 9).bits & (KS_PTE(DIRTY) | KS_PTE(YOUNG)));
		assert_string_equal(thpworld_changed(t), "");
	}
}

static void cold_leaves_a_huge_page_young_that_others_map(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		thpworld_fill(t);
		child = mmworld_fork(t->w, t->p);
		assert_false(mmworld_pte(t->w, child, 9).bits & KS_PTE(YOUNG));
		advise(t, t->p, 0, 512, KSMSIM_MADV_COLD);
		assert_true(mmworld_pte(t->w, t->p, 9).bits & KS_PTE(YOUNG));
		thpworld_exit(t, child);
		advise(t, t->p, 0, 512, KSMSIM_MADV_COLD);
		assert_false(mmworld_pte(t->w, t->p, 9).bits & KS_PTE(YOUNG));
	}
}

/* ---- what a split hands on ---- */

static long split_to(struct thpworld *t, unsigned order)
{
	const ks_pfn head = thpworld_folio(t, t->p, 0)->head;
	long ret;

	ks_folio_get(t->env, &t->sys->frames, head, 1);
	ret = ks_split_folio(t->sys, head, order, true, KSMSIM_SPLIT_EXPLICIT);
	ks_folio_put(t->env, &t->sys->frames, head, 1);
	return ret;
}

static void smaller_folios_take_over_the_marks(void **state)
{
	static const enum ks_folio_flag flags[] = { KS_FOLIO_DIRTY, KS_FOLIO_LAZYFREE,
						    KS_FOLIO_MLOCKED };
	struct thpworld *t;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		THPWORLD_EACH(t)
		{
			if (!t->env->feature[KS_FEAT_split_to_order])
				continue;
			fill_and_split_pmd(t);
			for (size_t k = 0; k < ARRAY_SIZE(flags); k++)
				ks_folio_flag(thpworld_folio(t, t->p, 0), flags[k], k == i);
			for (unsigned page = 0; page < 512; page++)
				make_clean(t, page);
			assert_int_equal(split_to(t, 4), 0);
			for (size_t k = 0; k < ARRAY_SIZE(flags); k++)
				assert_int_equal(folio_is(t, 500, flags[k]), k == i);
		}
	}
}

static void single_pages_take_over_dirt_and_laziness(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		ks_pfn pfn;

		fill_and_split_pmd(t);
		for (unsigned page = 0; page < 512; page++)
			make_clean(t, page);
		ks_folio_flag(thpworld_folio(t, t->p, 0), KS_FOLIO_DIRTY, false);
		ks_folio_flag(thpworld_folio(t, t->p, 0), KS_FOLIO_LAZYFREE, true);
		/* one entry is dirty: so is every page */
		thpworld_write(t, t->p, 9);
		assert_int_equal(split_to(t, 0), 0);
		pfn = mmworld_pte(t->w, t->p, 500).pfn;
		assert_true(ks_page_dirty(&t->sys->frames, pfn));
		assert_true(ks_page_lazyfree(&t->sys->frames, pfn));
	}
}

/* ---- look-ups ---- */

static void populate_dirties_the_page_and_not_its_entry(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		fill_and_split_pmd(t);
		ks_folio_flag(thpworld_folio(t, t->p, 0), KS_FOLIO_DIRTY, false);
		make_clean(t, 3);
		advise(t, t->p, 3, 1, KSMSIM_MADV_POPULATE_READ);
		assert_false(folio_is(t, 3, KS_FOLIO_DIRTY));
		advise(t, t->p, 3, 1, KSMSIM_MADV_POPULATE_WRITE);
		assert_true(folio_is(t, 3, KS_FOLIO_DIRTY));
		assert_false(mmworld_pte(t->w, t->p, 3).bits & KS_PTE(DIRTY));
	}
}

static void populate_dirties_a_single_page_alike(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, 8);
	const struct ks_frame *frame;

	(void)state;
	thpworld_write(t, t->p, 3);
	make_clean(t, 3);
	frame = ks_frame(&t->sys->frames, mmworld_pte(t->w, t->p, 3).pfn);
	assert_false(ks_frame_test(frame, KS_FRAME_DIRTY));
	advise(t, t->p, 3, 1, KSMSIM_MADV_POPULATE_WRITE);
	assert_true(ks_frame_test(frame, KS_FRAME_DIRTY));
	assert_false(mmworld_pte(t->w, t->p, 3).bits & KS_PTE(DIRTY));
	thpworld_free(t);
}

static void populate_dirties_the_entry_of_a_huge_page(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);

	(void)state;
	thpworld_fill(t);
	advise(t, t->p, 0, 512, KSMSIM_MADV_FREE);
	advise(t, t->p, 0, 512, KSMSIM_MADV_POPULATE_WRITE);
	assert_false(folio_is(t, 0, KS_FOLIO_DIRTY));
	assert_true(mmworld_pte(t->w, t->p, 0).bits & KS_PTE(DIRTY));
	thpworld_free(t);
}

static void pin_of_a_writable_page_dirties_nothing(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		fill_and_split_pmd(t);
		ks_folio_flag(thpworld_folio(t, t->p, 0), KS_FOLIO_DIRTY, false);
		make_clean(t, 3);
		assert_int_equal(ks_access_pin(t->sys, t->p, MMWORLD_BASE + 3, 1, KSMSIM_PIN_WRITE),
				 0);
		assert_false(folio_is(t, 3, KS_FOLIO_DIRTY));
		assert_false(mmworld_pte(t->w, t->p, 3).bits & KS_PTE(DIRTY));
		thpworld_write(t, t->p, 3);
		assert_true(mmworld_pte(t->w, t->p, 3).bits & KS_PTE(DIRTY));
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(folio_is_locked_only_if_all_of_it_is_mapped),
	cmocka_unit_test(whole_folio_is_locked_by_its_ptes_in_newer_kernels),
	cmocka_unit_test(huge_page_is_locked_and_unlocked_as_one),
	cmocka_unit_test(pmd_split_unlocks_in_locked_memory_of_older_kernels),
	cmocka_unit_test(one_failed_split_settles_the_run_or_the_table),
	cmocka_unit_test(whole_folio_mapped_by_ptes_is_split_by_the_oldest_kernel_only),
	cmocka_unit_test(shared_folio_is_freed_lazily_if_it_is_clean),
	cmocka_unit_test(cold_leaves_shared_folios_young),
	cmocka_unit_test(huge_page_is_freed_lazily_unless_others_map_it),
	cmocka_unit_test(cold_leaves_a_huge_page_young_that_others_map),
	cmocka_unit_test(smaller_folios_take_over_the_marks),
	cmocka_unit_test(single_pages_take_over_dirt_and_laziness),
	cmocka_unit_test(populate_dirties_the_page_and_not_its_entry),
	cmocka_unit_test(populate_dirties_a_single_page_alike),
	cmocka_unit_test(populate_dirties_the_entry_of_a_huge_page),
	cmocka_unit_test(pin_of_a_writable_page_dirties_nothing),
};

TEST_MAIN(tests)
