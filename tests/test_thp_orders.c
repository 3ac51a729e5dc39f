/*
 * test_thp_orders.c - who gets large folios at a fault, and of which sizes; for all profiles.
 *
 * Numbers like S7 are those of the scenarios in the behaviour's specification.
 */
#include "thpworld.h"

static uint32_t orders(struct thpworld *t, enum ks_thp_use use)
{
	return ks_thp_orders(t->sys, t->p, &t->p->vmas[0], use);
}

/* ---- who may ---- */

static void enabled_file_and_advice_decide(void **state)
{
	static const struct {
		enum ks_thp_enabled enabled;
		uint32_t flags;
		bool thp;
	} cases[] = {
		{ KS_THP_ALWAYS, 0, true },
		{ KS_THP_ALWAYS, KS_VM_HUGEPAGE, true },
		{ KS_THP_ALWAYS, KS_VM_NOHUGEPAGE, false },
		{ KS_THP_MADVISE, 0, false },
		{ KS_THP_MADVISE, KS_VM_HUGEPAGE, true },
		{ KS_THP_NEVER, 0, false },
		{ KS_THP_NEVER, KS_VM_HUGEPAGE, false },
	};
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			t->env->knob.thp_enabled = cases[i].enabled;
			t->p->vmas[0].flags = KS_VM_READ | KS_VM_WRITE | cases[i].flags;
			assert_int_equal(orders(t, KS_THP_FAULT), (uint32_t)cases[i].thp << 9);
		}
		t->p->vmas[0].flags = KS_VM_READ | KS_VM_WRITE;
	}
}

/* S14, and the other settings of one size */
static void size_of_its_own_setting_does_not_ask_the_global_one(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		if (!THPWORLD_HAS_MTHP(profile))
			continue;
		t->env->knob.thp_enabled = KS_THP_NEVER;
		thpworld_use_size(t, 9, KS_THP_SIZE_ALWAYS);
		assert_int_equal(orders(t, KS_THP_FAULT), 1u << 9);
		t->env->knob.thp_enabled = KS_THP_ALWAYS;
		thpworld_use_size(t, 9, KS_THP_SIZE_MADVISE);
		assert_int_equal(orders(t, KS_THP_FAULT), 0);
		t->p->vmas[0].flags |= KS_VM_HUGEPAGE;
		assert_int_equal(orders(t, KS_THP_FAULT), 1u << 9);
		thpworld_use_size(t, 4, KS_THP_SIZE_INHERIT);
		assert_int_equal(orders(t, KS_THP_FAULT), 1u << 9 | 1u << 4);
		t->p->vmas[0].flags &= ~(uint32_t)KS_VM_HUGEPAGE;
		thpworld_use_size(t, 9, KS_THP_SIZE_NEVER);
		thpworld_use_size(t, 4, KS_THP_SIZE_NEVER);
		thpworld_write(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), "");
		assert_int_equal(t->p->rss_anon, 1);
	}
}

/* S15 */
static void process_may_be_told_to_do_without(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		ks_vma_prepare_anon(t->sys, t->p, &t->p->vmas[0]);
		t->p->thp_disable = KSMSIM_THP_DISABLE_ALL;
		t->p->vmas[0].flags |= KS_VM_HUGEPAGE;
		assert_int_equal(orders(t, KS_THP_FAULT), 0);
		assert_int_equal(orders(t, KS_THP_COLLAPSE), 0);
		t->p->thp_disable = KSMSIM_THP_DISABLE_EXCEPT_ADVISED;
		assert_int_equal(orders(t, KS_THP_FAULT), 1u << 9);
		t->p->vmas[0].flags &= ~(uint32_t)KS_VM_HUGEPAGE;
		assert_int_equal(orders(t, KS_THP_FAULT), 0);
		assert_int_equal(orders(t, KS_THP_KHUGEPAGED), 0);
		assert_int_not_equal(orders(t, KS_THP_COLLAPSE) & 1u << 9, 0);
		thpworld_write(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), "");
	}
}

static void collapse_ignores_the_files_but_needs_an_anon_vma_and_room(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		t->env->knob.thp_enabled = KS_THP_NEVER;
		assert_int_equal(orders(t, KS_THP_COLLAPSE), 0);
		ks_vma_prepare_anon(t->sys, t->p, &t->p->vmas[0]);
		assert_int_equal(orders(t, KS_THP_COLLAPSE) >> 9, 1);
		assert_int_equal(orders(t, KS_THP_KHUGEPAGED), 0);
		t->env->knob.thp_enabled = KS_THP_ALWAYS;
		assert_int_equal(orders(t, KS_THP_KHUGEPAGED), 1u << 9);
		ks_munmap(t->sys, t->p, MMWORLD_BASE, 1);
		assert_int_equal(orders(t, KS_THP_KHUGEPAGED), 0);
		assert_int_equal(orders(t, KS_THP_SMAPS), 0);
		assert_int_equal(orders(t, KS_THP_FAULT), 1u << 9);
		assert_int_equal(orders(t, KS_THP_COLLAPSE) >> 9, 0);
	}
}

static void vma_below_the_size_of_a_block_fits_none(void **state)
{
	const struct ks_mmap low = {
		.vpn = 16, .pages = 64, .prot = MMWORLD_RW, .flags = KSMSIM_MAP_FIXED
	};
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);

	(void)state;
	assert_int_equal(ks_mmap(t->sys, t->p, &low), 16);
	ks_vma_prepare_anon(t->sys, t->p, &t->p->vmas[0]);
	thpworld_use_size(t, 6, KS_THP_SIZE_ALWAYS);
	thpworld_use_size(t, 4, KS_THP_SIZE_ALWAYS);
	assert_int_equal(orders(t, KS_THP_KHUGEPAGED), 1u << 4);
	thpworld_free(t);
}

/* S16 */
static void huge_zero_folio_lives_until_its_shrinker_runs(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *other = mmworld_process(t->w, THPWORLD_NR);

		thpworld_read(t, other, 0);
		ks_huge_zero_shrink(t->sys);
		assert_true(t->sys->huge_zero);
		thpworld_exit(t, other);
		assert_string_equal(thpworld_changed(t), "ZA1");
		thpworld_read(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), "");
		thpworld_exit(t, t->p);
		ks_huge_zero_shrink(t->sys);
		other = mmworld_process(t->w, THPWORLD_NR);
		thpworld_read(t, other, 0);
		assert_string_equal(thpworld_changed(t), "ZA1");
	}
}

static void new_thps_are_queued_only_while_the_knob_says_so(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		t->env->knob.shrink_underused = 0;
		thpworld_write(t, t->p, 0);
		assert_int_equal(t->sys->frames.nr_split_queue, 0);
		assert_true(mmworld_map(t->w, t->p, 512, 512, MMWORLD_RW, 0) > 0);
		t->env->knob.shrink_underused = 1;
		thpworld_write(t, t->p, 512);
		assert_int_equal(t->sys->frames.nr_split_queue, THPWORLD_HAS_MTHP(profile));
		assert_string_equal(thpworld_changed(t), "FA2 alloc[9]2 nr[9]2");
	}
}

static void locked_and_droppable_memory_mark_the_folio(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		t->p->vmas[0].flags |= KS_VM_LOCKED;
		thpworld_write(t, t->p, 0);
		assert_true(ks_folio_test(thpworld_folio(t, t->p, 0), KS_FOLIO_MLOCKED));
		assert_true(mmworld_map(t->w, t->p, 1024, 512, MMWORLD_RW, 0) > 0);
		t->p->vmas[1].flags |= KS_VM_DROPPABLE;
		thpworld_write(t, t->p, 1024);
		assert_true(ks_folio_test(thpworld_folio(t, t->p, 1024), KS_FOLIO_LAZYFREE));
		assert_false(ks_folio_test(thpworld_folio(t, t->p, 1024), KS_FOLIO_MLOCKED));
	}
}

static void new_thp_comes_from_the_node_of_the_process(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);

	(void)state;
	t->p->nid = 1;
	thpworld_write(t, t->p, 0);
	assert_int_equal(thpworld_folio(t, t->p, 0)->nid, 1);
	thpworld_free(t);
}

static void new_thp_takes_the_waiting_batch_along(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);
	ks_pfn small;

	(void)state;
	assert_true(mmworld_map(t->w, t->p, 1024, 1, MMWORLD_RW, 0) > 0);
	thpworld_write(t, t->p, 1024);
	small = mmworld_pte(t->w, t->p, 1024).pfn;
	assert_int_equal(ks_frame_refs(&t->sys->frames, small), 2);
	thpworld_write(t, t->p, 0);
	assert_int_equal(ks_frame_refs(&t->sys->frames, small), 1);
	thpworld_free(t);
}

static unsigned entered;

static void hear_khugepaged_enter(void *self, struct ks_mm *mm, const struct ks_vma *vma)
{
	(void)self;
	assert_ptr_equal(vma, &mm->vmas[0]);
	assert_int_not_equal(vma->anon_vma, 0);
	entered++;
}

static void khugepaged_hears_of_faults_on_empty_blocks_alone(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);

	(void)state;
	t->sys->hooks.khugepaged_enter = hear_khugepaged_enter;
	entered = 0;
	t->env->knob.thp_enabled = KS_THP_NEVER;
	thpworld_write(t, t->p, 0);
	assert_int_equal(entered, 0);
	ks_madvise(t->sys, t->p, MMWORLD_BASE, THPWORLD_NR, KSMSIM_MADV_DONTNEED);
	t->env->knob.thp_enabled = KS_THP_ALWAYS;
	t->env->inject[KSMSIM_INJECT_thp] = 1;
	thpworld_write(t, t->p, 0); /* also if there is no memory for it */
	assert_int_equal(entered, 1);
	thpworld_write(t, t->p, 1);
	assert_int_equal(entered, 1);
	thpworld_free(t);
}

/* ---- smaller sizes ---- */

#define MTHP_EACH(t)                                                                         \
	for (enum ks_profile profile = KS_PROFILE_V6_12; profile < KS_PROFILE_NR; profile++) \
		for ((t) = thpworld_of_64_kib(profile); (t); thpworld_free(t), (t) = NULL)

/* S7 */
static void write_gets_the_enabled_size(void **state)
{
	struct thpworld *t;

	(void)state;
	MTHP_EACH(t)
	{
		const struct ks_folio *folio;

		thpworld_write(t, t->p, 5);
		assert_string_equal(thpworld_changed(t), "alloc[4]1 nr[4]1");
		mmworld_expect_pages(t->w, t->p, "wwwwwwwwwwwwwwww....");
		folio = thpworld_folio(t, t->p, 0);
		assert_int_equal(folio->order, 4);
		assert_int_equal(folio->maps + folio->gets, 16);
		assert_int_equal(folio->index, t->p->vmas[0].pgoff);
		assert_true(ks_page_exclusive(&t->sys->frames, mmworld_pte(t->w, t->p, 15).pfn));
		assert_true(mmworld_pte(t->w, t->p, 15).bits & KS_PTE(DIRTY));
		assert_int_equal(t->p->rss_anon, 16);
		assert_int_equal(t->sys->frames.nr_split_queue, 0);
		assert_int_equal(thpworld_faults(t), 1);
		mmworld_expect_value(t->w, t->p, 5, 1005);
		mmworld_expect_value(t->w, t->p, 6, 0);
	}
}

static void older_kernel_knows_no_other_size(void **state)
{
	struct thpworld *t = thpworld_of_64_kib(KS_PROFILE_V6_1);

	(void)state;
	t->env->knob.thp_enabled = KS_THP_NEVER;
	thpworld_write(t, t->p, 5);
	assert_string_equal(thpworld_changed(t), "");
	assert_int_equal(t->p->rss_anon, 1);
	thpworld_free(t);
}

/* S8 */
static void zero_page_in_the_block_keeps_the_size_out(void **state)
{
	struct thpworld *t;

	(void)state;
	MTHP_EACH(t)
	{
		thpworld_read(t, t->p, 5);
		thpworld_write(t, t->p, 5);
		thpworld_write(t, t->p, 6);
		assert_string_equal(thpworld_changed(t), "");
		assert_int_equal(t->p->rss_anon, 2);
		thpworld_write(t, t->p, 20);
		assert_string_equal(thpworld_changed(t), "alloc[4]1 nr[4]1");
		assert_int_equal(t->p->rss_anon, 18);
		assert_int_equal(thpworld_folio(t, t->p, 16)->index, t->p->vmas[0].pgoff + 16);
	}
}

static void block_is_empty_whatever_lies_right_behind_it(void **state)
{
	struct thpworld *t;

	(void)state;
	MTHP_EACH(t)
	{
		thpworld_read(t, t->p, 16);
		thpworld_write(t, t->p, 5);
		assert_string_equal(thpworld_changed(t), "alloc[4]1 nr[4]1");
		mmworld_expect_pages(t->w, t->p, "wwwwwwwwwwwwwwww0...");
	}
}

/* S9 */
static void highest_empty_size_is_taken_and_others_are_not_counted(void **state)
{
	struct thpworld *t;

	(void)state;
	MTHP_EACH(t)
	{
		thpworld_use_size(t, 2, KS_THP_SIZE_ALWAYS);
		thpworld_read(t, t->p, 3);
		thpworld_write(t, t->p, 5);
		assert_string_equal(thpworld_changed(t), "alloc[2]1 nr[2]1");
		mmworld_expect_pages(t->w, t->p, "...0wwww....");
		assert_int_equal(t->p->rss_anon, 4);
	}
}

/* S10 */
static void failed_sizes_are_counted_one_by_one(void **state)
{
	struct thpworld *t;

	(void)state;
	MTHP_EACH(t)
	{
		t->env->inject[KSMSIM_INJECT_mthp] = 1;
		thpworld_write(t, t->p, 5);
		assert_string_equal(thpworld_changed(t), "fall[4]1");
		assert_int_equal(t->p->rss_anon, 1);
		thpworld_use_size(t, 2, KS_THP_SIZE_ALWAYS);
		t->env->knob.fail_orders = 1 << 4;
		thpworld_write(t, t->p, 20);
		assert_string_equal(thpworld_changed(t), "alloc[2]1 fall[4]1 nr[2]1");
		t->env->knob.fail_orders = 0;
		t->env->inject[KSMSIM_INJECT_thp_charge] = 2;
		thpworld_write(t, t->p, 40);
		assert_string_equal(thpworld_changed(t), "fall[2]1 fall[4]1 charge[2]1 charge[4]1");
		assert_int_equal(t->p->rss_anon, 6);
	}
}

static void sizes_must_fit_the_vma_around_the_fault(void **state)
{
	struct thpworld *t;

	(void)state;
	MTHP_EACH(t)
	{
		thpworld_use_size(t, 2, KS_THP_SIZE_ALWAYS);
		ks_munmap(t->sys, t->p, MMWORLD_BASE, 1);
		thpworld_write(t, t->p, 5);
		assert_string_equal(thpworld_changed(t), "alloc[2]1 nr[2]1");
		thpworld_write(t, t->p, 2);
		assert_string_equal(thpworld_changed(t), "");
		assert_int_equal(t->p->rss_anon, 5);
	}
}

static void thp_that_cannot_be_had_falls_back_to_the_smaller_size(void **state)
{
	struct thpworld *t;

	(void)state;
	MTHP_EACH(t)
	{
		thpworld_use_size(t, 9, KS_THP_SIZE_INHERIT);
		t->env->knob.fail_orders = 1 << 9;
		thpworld_write(t, t->p, 100);
		assert_string_equal(thpworld_changed(t), "FF1 alloc[4]1 fall[9]1 nr[4]1");
		assert_int_equal(t->p->rss_anon, 16);
	}
}

static void finite_memory_refuses_what_does_not_fit(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);

	(void)state;
	t->env->knob.memory_pages = 600;
	thpworld_write(t, t->p, 0);
	assert_string_equal(thpworld_changed(t), THPWORLD_FAULT);
	assert_true(mmworld_map(t->w, t->p, 512, 512, MMWORLD_RW, 0) > 0);
	thpworld_write(t, t->p, 512);
	assert_string_equal(thpworld_changed(t), "FF1 fall[9]1");
	thpworld_free(t);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(enabled_file_and_advice_decide),
	cmocka_unit_test(size_of_its_own_setting_does_not_ask_the_global_one),
	cmocka_unit_test(process_may_be_told_to_do_without),
	cmocka_unit_test(collapse_ignores_the_files_but_needs_an_anon_vma_and_room),
	cmocka_unit_test(vma_below_the_size_of_a_block_fits_none),
	cmocka_unit_test(huge_zero_folio_lives_until_its_shrinker_runs),
	cmocka_unit_test(new_thps_are_queued_only_while_the_knob_says_so),
	cmocka_unit_test(locked_and_droppable_memory_mark_the_folio),
	cmocka_unit_test(new_thp_comes_from_the_node_of_the_process),
	cmocka_unit_test(new_thp_takes_the_waiting_batch_along),
	cmocka_unit_test(khugepaged_hears_of_faults_on_empty_blocks_alone),
	cmocka_unit_test(write_gets_the_enabled_size),
	cmocka_unit_test(older_kernel_knows_no_other_size),
	cmocka_unit_test(zero_page_in_the_block_keeps_the_size_out),
	cmocka_unit_test(block_is_empty_whatever_lies_right_behind_it),
	cmocka_unit_test(highest_empty_size_is_taken_and_others_are_not_counted),
	cmocka_unit_test(failed_sizes_are_counted_one_by_one),
	cmocka_unit_test(sizes_must_fit_the_vma_around_the_fault),
	cmocka_unit_test(thp_that_cannot_be_had_falls_back_to_the_smaller_size),
	cmocka_unit_test(finite_memory_refuses_what_does_not_fit),
};

TEST_MAIN(tests)
