/*
 * test_thp_fault.c - what a fault on an empty block makes: THPs and the huge zero folio, and
 * what stores, guards and populating make of them; for all profiles. Who may have which size
 * is in test_thp_orders.c.
 *
 * Numbers like S3 are those of the scenarios in the behaviour's specification.
 */
#include "thpworld.h"

#include <errno.h>

/* expectations by profile: 6.1, 6.12, 6.18, 7.3 */
#define OLD2_NEW2(old, new) (profile <= KS_PROFILE_V6_12 ? (old) : (new))

/* ---- PMD faults ---- */

/* S1 */
static void write_to_an_empty_block_makes_a_thp(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		const struct ks_folio *folio;

		thpworld_write(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), THPWORLD_FAULT);
		assert_int_equal(t->p->rss_anon, 512);
		assert_int_equal(t->p->nr_anon_pmds, 1);
		assert_int_equal(thpworld_tables(t->p), 1);
		assert_int_equal(thpworld_faults(t), 1);
		folio = thpworld_folio(t, t->p, 511);
		assert_int_equal(folio->maps + folio->gets, 1);
		assert_true(ks_folio_test(folio, KS_FOLIO_EXCLUSIVE));
		assert_false(ks_folio_test(folio, KS_FOLIO_DIRTY));
		assert_int_equal(t->sys->frames.nr_split_queue, THPWORLD_HAS_MTHP(profile));
		assert_int_equal(thpworld_pmd(t, t->p)->pmd.bits,
				 KS_PTE(PRESENT) | KS_PTE(WRITE) | KS_PTE_MKDIRTY | KS_PTE(YOUNG));
		assert_int_equal(folio->root, t->p->vmas[0].anon_root);
		assert_int_equal(folio->index, t->p->vmas[0].pgoff);
		mmworld_expect_value(t->w, t->p, 0, 1000);
		mmworld_expect_value(t->w, t->p, 511, 0);
		/* it is all there: no further fault */
		thpworld_write(t, t->p, 511);
		assert_int_equal(thpworld_faults(t), 1);
		assert_string_equal(thpworld_changed(t), "");
	}
}

/* S2 */
static void read_of_an_empty_block_maps_the_huge_zero_folio(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *other = mmworld_process(t->w, THPWORLD_NR);

		thpworld_read(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), "ZA1");
		assert_int_equal(t->p->rss_anon, 0);
		assert_int_equal(t->p->nr_anon_pmds, 0);
		assert_int_equal(thpworld_tables(t->p), 1);
		assert_int_not_equal(t->p->vmas[0].anon_vma, 0);
		assert_int_equal(mmworld_pte(t->w, t->p, 511).pfn,
				 ks_huge_zero(&t->sys->frames) + 511);
		thpworld_read(t, other, 0);
		assert_string_equal(thpworld_changed(t), "");
		assert_int_equal(t->sys->huge_zero_refs, 2);
		mmworld_expect_value(t->w, other, 9, 0);
	}
}

/* S3 */
static void write_to_the_huge_zero_folio_by_profile(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		thpworld_read(t, t->p, 0);
		thpworld_changed(t);
		thpworld_write(t, t->p, 7);
		assert_string_equal(thpworld_changed(t), OLD2_NEW2("SPMD1", THPWORLD_FAULT));
		assert_int_equal(t->p->rss_anon, OLD2_NEW2(1, 512));
		assert_int_equal(t->p->nr_anon_pmds, OLD2_NEW2(0, 1));
		assert_int_equal(thpworld_tables(t->p), 1);
		assert_int_equal(t->sys->frames.nr_split_queue, OLD2_NEW2(0, 1));
		mmworld_expect_pages(t->w, t->p, OLD2_NEW2("0000000w0000", "wwwwwwwwwwww"));
		mmworld_expect_value(t->w, t->p, 7, 1007);
		mmworld_expect_value(t->w, t->p, 8, 0);
	}
}

/* S4 */
static void write_to_the_huge_zero_folio_without_memory_splits_the_pmd(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		thpworld_read(t, t->p, 0);
		thpworld_changed(t);
		t->env->inject[KSMSIM_INJECT_thp] = 1;
		thpworld_write(t, t->p, 7);
		assert_string_equal(thpworld_changed(t), OLD2_NEW2("SPMD1", "FF1 SPMD1 fall[9]1"));
		assert_int_equal(t->p->rss_anon, 1);
		mmworld_expect_pages(t->w, t->p, "0000000w0000");
	}
}

static void refused_charge_is_counted_and_leaves_nothing(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		t->env->inject[KSMSIM_INJECT_thp_charge] = 1;
		thpworld_write(t, t->p, 7);
		assert_string_equal(thpworld_changed(t), "FF1 FFC1 fall[9]1 charge[9]1");
		assert_int_equal(t->p->rss_anon, 1);
		assert_int_equal(t->sys->frames.nr_used, 1);
		assert_int_equal(t->sys->frames.nr_thp_blocks, 0);
	}
}

static void failed_allocation_is_counted_and_the_table_keeps_thps_out(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		t->env->inject[KSMSIM_INJECT_thp] = 1;
		thpworld_write(t, t->p, 7);
		assert_string_equal(thpworld_changed(t), "FF1 fall[9]1");
		thpworld_write(t, t->p, 8);
		assert_string_equal(thpworld_changed(t), "");
		assert_int_equal(t->p->rss_anon, 2);
	}
}

static void failed_huge_zero_folio_falls_back_to_the_zero_page(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		t->env->inject[KSMSIM_INJECT_huge_zero] = 1;
		thpworld_read(t, t->p, 3);
		assert_string_equal(thpworld_changed(t), "FF1 ZAF1");
		mmworld_expect_pages(t->w, t->p, "...0....");
		/* the fault got as far as an anon_vma */
		assert_int_not_equal(t->p->vmas[0].anon_vma, 0);
	}
}

/* S5 */
static void read_without_huge_zero_folio_makes_a_writable_thp(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		t->env->knob.use_zero_page = 0;
		thpworld_read(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), THPWORLD_FAULT);
		assert_int_equal(t->p->rss_anon, 512);
		thpworld_write(t, t->p, 0);
		assert_int_equal(thpworld_faults(t), 1);
		assert_string_equal(thpworld_changed(t), "");
	}
}

static void read_only_memory_gets_a_thp_that_may_not_be_written(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		t->env->knob.use_zero_page = 0;
		assert_int_equal(ks_mprotect(t->sys, t->p, MMWORLD_BASE, THPWORLD_NR, MMWORLD_R),
				 0);
		thpworld_read(t, t->p, 0);
		assert_int_equal(thpworld_pmd(t, t->p)->pmd.bits,
				 KS_PTE(PRESENT) | KS_PTE_MKDIRTY | KS_PTE(YOUNG));
		assert_int_equal(ks_fault(t->sys, t->p, MMWORLD_BASE, KS_FAULT_WRITE),
				 KS_FAULT_SIGSEGV);
	}
}

/* S6 */
static void read_of_a_small_vma_makes_no_anon_vma(void **state)
{
	for (enum ks_profile profile = 0; profile < KS_PROFILE_NR; profile++) {
		struct thpworld *t = thpworld_new(profile, 256);
		struct ks_mm *child;

		thpworld_read(t, t->p, 0);
		child = mmworld_fork(t->w, t->p);
		mmworld_expect_pages(t->w, child, "....");
		mmworld_expect_pages(t->w, t->p, "0...");
		thpworld_write(t, t->p, 9);
		child = mmworld_fork(t->w, t->p);
		mmworld_expect_pages(t->w, child, "0........s..");
		assert_string_equal(thpworld_changed(t), "");
		thpworld_free(t);
	}
	(void)state;
}

/* S11 */
static void block_across_the_end_of_the_vma_is_refused_uncounted(void **state)
{
	for (enum ks_profile profile = 0; profile < KS_PROFILE_NR; profile++) {
		struct thpworld *t = thpworld_new(profile, 1);

		assert_true(mmworld_map(t->w, t->p, 256, 512, MMWORLD_RW, 0) > 0);
		thpworld_write(t, t->p, 384);
		thpworld_write(t, t->p, 600);
		assert_string_equal(thpworld_changed(t), "");
		assert_int_equal(t->p->rss_anon, 2);
		thpworld_free(t);
	}
	(void)state;
}

/* S12 */
static void emptied_table_keeps_thps_out_unless_it_is_reclaimed(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		t->env->knob.thp_enabled = KS_THP_NEVER;
		thpworld_write(t, t->p, 0);
		t->env->knob.thp_enabled = KS_THP_ALWAYS;
		assert_int_equal(
			ks_madvise(t->sys, t->p, MMWORLD_BASE, THPWORLD_NR, KSMSIM_MADV_DONTNEED),
			0);
		assert_int_equal(thpworld_tables(t->p), OLD2_NEW2(1, 0));
		thpworld_write(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), OLD2_NEW2("", THPWORLD_FAULT));
	}
}

/* S13 */
static void table_emptied_in_two_halves_stays(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		t->env->knob.thp_enabled = KS_THP_NEVER;
		thpworld_write(t, t->p, 0);
		t->env->knob.thp_enabled = KS_THP_ALWAYS;
		ks_madvise(t->sys, t->p, MMWORLD_BASE, 256, KSMSIM_MADV_DONTNEED);
		ks_madvise(t->sys, t->p, MMWORLD_BASE + 256, 256, KSMSIM_MADV_DONTNEED);
		thpworld_write(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), "");
		assert_int_equal(t->p->rss_anon, 1);
	}
}

/* ---- stores, guards, populate ---- */

static void store_rings_the_watch_of_a_huge_page(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);

	(void)state;
	thpworld_write(t, t->p, 0);
	ks_leaf_watch(thpworld_pmd(t, t->p), 3, true);
	thpworld_read(t, t->p, 4);
	assert_int_equal(t->w->rings, 0);
	thpworld_write(t, t->p, 4);
	assert_int_equal(t->w->rings, 1);
	thpworld_free(t);
}

static void write_sets_the_dirty_bit_of_a_huge_page(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);
	struct ks_leaf *leaf;

	(void)state;
	thpworld_write(t, t->p, 0);
	leaf = thpworld_pmd(t, t->p);
	ks_pmd_change(&t->sys->tables, &t->p->pt, leaf,
		      leaf->pmd.bits & ~(KS_PTE(DIRTY) | KS_PTE(YOUNG)));
	thpworld_read(t, t->p, 9);
	assert_false(leaf->pmd.bits & KS_PTE(DIRTY));
	thpworld_write(t, t->p, 9);
	assert_true(leaf->pmd.bits & KS_PTE(DIRTY));
	assert_int_equal(thpworld_faults(t), 1);
	thpworld_free(t);
}

static void untouched_thp_needs_no_frames(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);

	(void)state;
	mmworld_store(t->w, t->p, 3, 0);
	assert_int_equal(t->sys->frames.block_frames.live, 0);
	mmworld_store(t->w, t->p, 3, 1);
	assert_int_equal(t->sys->frames.block_frames.live, 1);
	mmworld_expect_value(t->w, t->p, 2, 0);
	mmworld_expect_value(t->w, t->p, 3, 1);
	thpworld_free(t);
}

static void guard_is_a_segmentation_fault_that_counts_as_a_fault(void **state)
{
	const struct ks_pte guard = { 0, KS_PTE(NONPRESENT) };
	struct thpworld *t = thpworld_of_64_kib(KS_PROFILE_V6_18);

	(void)state;
	ks_pte_set(t->env, &t->sys->tables, &t->p->pt, MMWORLD_BASE + 5, guard);
	assert_int_equal(ks_fault(t->sys, t->p, MMWORLD_BASE + 5, KS_FAULT_READ), KS_FAULT_SIGSEGV);
	assert_int_equal(ks_fault(t->sys, t->p, MMWORLD_BASE + 5, KS_FAULT_WRITE),
			 KS_FAULT_SIGSEGV);
	assert_int_equal(thpworld_faults(t), 2);
	assert_int_equal(
		ks_populate(t->sys, t->p, MMWORLD_BASE, MMWORLD_BASE + 8, KS_POPULATE_WRITE, false),
		-EFAULT);
	assert_int_equal(t->p->rss_anon, 5);
	/* its block is not empty */
	thpworld_write(t, t->p, 6);
	assert_string_equal(thpworld_changed(t), "");
	ks_pte_set(t->env, &t->sys->tables, &t->p->pt, MMWORLD_BASE + 5, (struct ks_pte){ 0, 0 });
	thpworld_free(t);
}

static void populate_takes_a_huge_page_in_one_fault(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		assert_true(mmworld_map(t->w, t->p, 512, 520, MMWORLD_RW, 0) > 0);
		assert_int_equal(ks_populate(t->sys, t->p, MMWORLD_BASE + 5, MMWORLD_BASE + 1032,
					     KS_POPULATE_WRITE, false),
				 0);
		assert_int_equal(thpworld_faults(t), 2 + 8);
		assert_int_equal(t->p->rss_anon, 1032);
		assert_string_equal(thpworld_changed(t), "FA2 alloc[9]2 nr[9]2");
	}
}

static void populate_for_reading_then_writing(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		assert_int_equal(ks_populate(t->sys, t->p, MMWORLD_BASE, MMWORLD_BASE + 512,
					     KS_POPULATE_READ, false),
				 0);
		assert_int_equal(thpworld_faults(t), 1);
		assert_int_equal(t->p->rss_anon, 0);
		assert_int_equal(ks_populate(t->sys, t->p, MMWORLD_BASE + 3, MMWORLD_BASE + 512,
					     KS_POPULATE_WRITE, false),
				 0);
		assert_int_equal(thpworld_faults(t), OLD2_NEW2(1 + 509, 2));
		assert_int_equal(t->p->rss_anon, OLD2_NEW2(509, 512));
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(write_to_an_empty_block_makes_a_thp),
	cmocka_unit_test(read_of_an_empty_block_maps_the_huge_zero_folio),
	cmocka_unit_test(write_to_the_huge_zero_folio_by_profile),
	cmocka_unit_test(write_to_the_huge_zero_folio_without_memory_splits_the_pmd),
	cmocka_unit_test(refused_charge_is_counted_and_leaves_nothing),
	cmocka_unit_test(failed_allocation_is_counted_and_the_table_keeps_thps_out),
	cmocka_unit_test(failed_huge_zero_folio_falls_back_to_the_zero_page),
	cmocka_unit_test(read_without_huge_zero_folio_makes_a_writable_thp),
	cmocka_unit_test(read_only_memory_gets_a_thp_that_may_not_be_written),
	cmocka_unit_test(read_of_a_small_vma_makes_no_anon_vma),
	cmocka_unit_test(block_across_the_end_of_the_vma_is_refused_uncounted),
	cmocka_unit_test(emptied_table_keeps_thps_out_unless_it_is_reclaimed),
	cmocka_unit_test(table_emptied_in_two_halves_stays),
	cmocka_unit_test(store_rings_the_watch_of_a_huge_page),
	cmocka_unit_test(write_sets_the_dirty_bit_of_a_huge_page),
	cmocka_unit_test(untouched_thp_needs_no_frames),
	cmocka_unit_test(guard_is_a_segmentation_fault_that_counts_as_a_fault),
	cmocka_unit_test(populate_takes_a_huge_page_in_one_fault),
	cmocka_unit_test(populate_for_reading_then_writing),
};

TEST_MAIN(tests)
