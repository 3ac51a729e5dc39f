/*
 * test_thp_fault.c - who gets large folios at a fault, and huge zero pages; for all profiles.
 *
 * Numbers like S3 are those of the scenarios in the behaviour's specification.
 */
#include "thpworld.h"

#include <errno.h>

#define THP "FA1 alloc[9]1 nr[9]1"
/* expectations by profile: 6.1, 6.12, 6.18, 7.3 */
#define OLD2_NEW2(old, new) (profile <= KS_PROFILE_V6_12 ? (old) : (new))
#define HAS_MTHP (profile >= KS_PROFILE_V6_12)

static uint64_t faults(struct thpworld *t)
{
	return t->env->count[KSMSIM_COUNT_pgfault];
}

static void use_size(struct thpworld *t, unsigned order, enum ks_thp_size how)
{
	t->env->thp_size[order] = (uint8_t)how;
}

static struct ks_leaf *huge(struct thpworld *t, struct ks_mm *mm)
{
	return ks_pmd_find(&t->sys->tables, &mm->pt, MMWORLD_BASE);
}

static uint32_t orders(struct thpworld *t, enum ks_thp_use use)
{
	return ks_thp_orders(t->sys, t->p, &t->p->vmas[0], use);
}

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
		assert_string_equal(thpworld_changed(t), THP);
		assert_int_equal(t->p->rss_anon, 512);
		assert_int_equal(t->p->nr_anon_pmds, 1);
		assert_int_equal(thpworld_tables(t->p), 1);
		assert_int_equal(faults(t), 1);
		folio = thpworld_folio(t, t->p, 511);
		assert_int_equal(folio->maps + folio->gets, 1);
		assert_true(ks_folio_test(folio, KS_FOLIO_EXCLUSIVE));
		assert_false(ks_folio_test(folio, KS_FOLIO_DIRTY));
		assert_int_equal(t->sys->frames.nr_split_queue, HAS_MTHP);
		assert_int_equal(huge(t, t->p)->pmd.bits,
				 KS_PTE(PRESENT) | KS_PTE(WRITE) | KS_PTE(DIRTY) | KS_PTE(YOUNG));
		assert_int_equal(folio->root, t->p->vmas[0].anon_root);
		assert_int_equal(folio->index, t->p->vmas[0].pgoff);
		mmworld_expect_value(t->w, t->p, 0, 1000);
		mmworld_expect_value(t->w, t->p, 511, 0);
		/* it is all there: no further fault */
		thpworld_write(t, t->p, 511);
		assert_int_equal(faults(t), 1);
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
		assert_string_equal(thpworld_changed(t), OLD2_NEW2("SPMD1", THP));
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
		assert_string_equal(thpworld_changed(t), THP);
		assert_int_equal(t->p->rss_anon, 512);
		thpworld_write(t, t->p, 0);
		assert_int_equal(faults(t), 1);
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
		assert_int_equal(huge(t, t->p)->pmd.bits,
				 KS_PTE(PRESENT) | KS_PTE(DIRTY) | KS_PTE(YOUNG));
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
		assert_string_equal(thpworld_changed(t), OLD2_NEW2("", THP));
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
		if (!HAS_MTHP)
			continue;
		t->env->knob.thp_enabled = KS_THP_NEVER;
		use_size(t, 9, KS_THP_SIZE_ALWAYS);
		assert_int_equal(orders(t, KS_THP_FAULT), 1u << 9);
		t->env->knob.thp_enabled = KS_THP_ALWAYS;
		use_size(t, 9, KS_THP_SIZE_MADVISE);
		assert_int_equal(orders(t, KS_THP_FAULT), 0);
		t->p->vmas[0].flags |= KS_VM_HUGEPAGE;
		assert_int_equal(orders(t, KS_THP_FAULT), 1u << 9);
		use_size(t, 4, KS_THP_SIZE_INHERIT);
		assert_int_equal(orders(t, KS_THP_FAULT), 1u << 9 | 1u << 4);
		t->p->vmas[0].flags &= ~(uint32_t)KS_VM_HUGEPAGE;
		use_size(t, 9, KS_THP_SIZE_NEVER);
		use_size(t, 4, KS_THP_SIZE_NEVER);
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
	use_size(t, 6, KS_THP_SIZE_ALWAYS);
	use_size(t, 4, KS_THP_SIZE_ALWAYS);
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
		assert_int_equal(t->sys->frames.nr_split_queue, HAS_MTHP);
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

static struct thpworld *mthp_world(enum ks_profile profile)
{
	struct thpworld *t = thpworld_new(profile, THPWORLD_NR);

	use_size(t, 4, KS_THP_SIZE_ALWAYS);
	use_size(t, 9, KS_THP_SIZE_NEVER);
	return t;
}

#define MTHP_EACH(t)                                                                         \
	for (enum ks_profile profile = KS_PROFILE_V6_12; profile < KS_PROFILE_NR; profile++) \
		for ((t) = mthp_world(profile); (t); thpworld_free(t), (t) = NULL)

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
		assert_int_equal(faults(t), 1);
		mmworld_expect_value(t->w, t->p, 5, 1005);
		mmworld_expect_value(t->w, t->p, 6, 0);
	}
}

static void older_kernel_knows_no_other_size(void **state)
{
	struct thpworld *t = mthp_world(KS_PROFILE_V6_1);

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
		use_size(t, 2, KS_THP_SIZE_ALWAYS);
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
		use_size(t, 2, KS_THP_SIZE_ALWAYS);
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
		use_size(t, 2, KS_THP_SIZE_ALWAYS);
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
		use_size(t, 9, KS_THP_SIZE_INHERIT);
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
	assert_string_equal(thpworld_changed(t), THP);
	assert_true(mmworld_map(t->w, t->p, 512, 512, MMWORLD_RW, 0) > 0);
	thpworld_write(t, t->p, 512);
	assert_string_equal(thpworld_changed(t), "FF1 fall[9]1");
	thpworld_free(t);
}

/* ---- stores, guards, populate ---- */

static void store_rings_the_watch_of_a_huge_page(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);

	(void)state;
	thpworld_write(t, t->p, 0);
	ks_leaf_watch(huge(t, t->p), 3, true);
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
	leaf = huge(t, t->p);
	ks_pmd_change(&t->sys->tables, &t->p->pt, leaf,
		      leaf->pmd.bits & ~(KS_PTE(DIRTY) | KS_PTE(YOUNG)));
	thpworld_read(t, t->p, 9);
	assert_false(leaf->pmd.bits & KS_PTE(DIRTY));
	thpworld_write(t, t->p, 9);
	assert_true(leaf->pmd.bits & KS_PTE(DIRTY));
	assert_int_equal(faults(t), 1);
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
	struct thpworld *t = mthp_world(KS_PROFILE_V6_18);

	(void)state;
	ks_pte_set(t->env, &t->sys->tables, &t->p->pt, MMWORLD_BASE + 5, guard);
	assert_int_equal(ks_fault(t->sys, t->p, MMWORLD_BASE + 5, KS_FAULT_READ), KS_FAULT_SIGSEGV);
	assert_int_equal(ks_fault(t->sys, t->p, MMWORLD_BASE + 5, KS_FAULT_WRITE),
			 KS_FAULT_SIGSEGV);
	assert_int_equal(faults(t), 2);
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
		assert_int_equal(faults(t), 2 + 8);
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
		assert_int_equal(faults(t), 1);
		assert_int_equal(t->p->rss_anon, 0);
		assert_int_equal(ks_populate(t->sys, t->p, MMWORLD_BASE + 3, MMWORLD_BASE + 512,
					     KS_POPULATE_WRITE, false),
				 0);
		assert_int_equal(faults(t), OLD2_NEW2(1 + 509, 2));
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
	cmocka_unit_test(store_rings_the_watch_of_a_huge_page),
	cmocka_unit_test(write_sets_the_dirty_bit_of_a_huge_page),
	cmocka_unit_test(untouched_thp_needs_no_frames),
	cmocka_unit_test(guard_is_a_segmentation_fault_that_counts_as_a_fault),
	cmocka_unit_test(populate_takes_a_huge_page_in_one_fault),
	cmocka_unit_test(populate_for_reading_then_writing),
};

TEST_MAIN(tests)
