/*
 * test_vma.c - VMAs: where they split, merge and get their anon_vma.
 */
#include "mmworld.h"

#include <errno.h>

static long set_flags(struct mmworld *w, struct ks_mm *mm, uint64_t from, uint64_t to,
		      uint32_t flags)
{
	return ks_vma_set_flags(&w->sys, mm, MMWORLD_BASE + from, MMWORLD_BASE + to, flags);
}

static const uint32_t rw = KS_VM_READ | KS_VM_WRITE | KS_VM_ACCOUNT;

static void find_returns_the_first_that_ends_above(void **state)
{
	struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
	struct ks_mm *mm = mmworld_process(w, 2);

	(void)state;
	mmworld_map(w, mm, 4, 2, MMWORLD_RW, 0);
	assert_ptr_equal(ks_vma_find(mm, 0), &mm->vmas[0]);
	assert_ptr_equal(ks_vma_find(mm, MMWORLD_BASE + 1), &mm->vmas[0]);
	assert_ptr_equal(ks_vma_find(mm, MMWORLD_BASE + 2), &mm->vmas[1]);
	assert_ptr_equal(ks_vma_find(mm, MMWORLD_BASE + 5), &mm->vmas[1]);
	assert_null(ks_vma_find(mm, MMWORLD_BASE + 6));
	assert_null(ks_vma_at(mm, MMWORLD_BASE + 3));
	assert_ptr_equal(ks_vma_at(mm, MMWORLD_BASE + 4), &mm->vmas[1]);
	mmworld_free(w);
}

static void neighbours_with_equal_flags_merge(void **state)
{
	struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
	struct ks_mm *mm = mmworld_process(w, 2);

	(void)state;
	mmworld_map(w, mm, 4, 2, MMWORLD_RW, 0);
	mmworld_expect_vmas(mm, "aa..bb.");
	mmworld_map(w, mm, 2, 2, MMWORLD_RW, 0);
	mmworld_expect_vmas(mm, "aaaaaa.");
	mmworld_map(w, mm, 6, 1, MMWORLD_R, 0);
	mmworld_expect_vmas(mm, "aaaaaab");
	mmworld_free(w);
}

static void shared_mappings_of_different_objects_do_not_merge(void **state)
{
	struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
	struct ks_mm *mm = mmworld_process(w, 1);

	(void)state;
	mmworld_map(w, mm, 1, 1, MMWORLD_RW, KSMSIM_MAP_SHARED);
	mmworld_map(w, mm, 2, 1, MMWORLD_RW, KSMSIM_MAP_SHARED);
	mmworld_expect_vmas(mm, "abc.");
	mmworld_free(w);
}

static void flags_of_a_part_split_and_given_back_merge(void **state)
{
	struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
	struct ks_mm *mm = mmworld_process(w, 8);

	(void)state;
	set_flags(w, mm, 2, 5, rw | KS_VM_MERGEABLE);
	mmworld_expect_vmas(mm, "aabbbccc");
	assert_int_equal(mm->vmas[1].pgoff, MMWORLD_BASE + 2);
	assert_int_equal(mm->vmas[2].pgoff, MMWORLD_BASE + 5);
	/* the neighbour takes the part in without a new VMA */
	set_flags(w, mm, 5, 6, rw | KS_VM_MERGEABLE);
	mmworld_expect_vmas(mm, "aabbbbcc");
	set_flags(w, mm, 1, 2, rw | KS_VM_MERGEABLE);
	mmworld_expect_vmas(mm, "abbbbbcc");
	set_flags(w, mm, 1, 6, rw);
	mmworld_expect_vmas(mm, "aaaaaaaa");
	assert_int_equal(mm->vmas[0].pgoff, MMWORLD_BASE);
	mmworld_free(w);
}

static void moved_memory_keeps_its_offset_and_does_not_merge(void **state)
{
	struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
	struct ks_mm *mm = mmworld_process(w, 8);

	(void)state;
	mmworld_store(w, mm, 6, 1);
	assert_int_equal(ks_mremap(&w->sys, mm, MMWORLD_BASE + 6, 1, 1,
				   KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED, MMWORLD_BASE + 8),
			 MMWORLD_BASE + 8);
	mmworld_expect_vmas(mm, "aaaaaa.bc.");
	assert_int_equal(ks_vma_at(mm, MMWORLD_BASE + 8)->pgoff, MMWORLD_BASE + 6);
	mmworld_free(w);
}

static void untouched_memory_forgets_its_offset_when_moved(void **state)
{
	struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
	struct ks_mm *mm = mmworld_process(w, 8);

	(void)state;
	ks_mremap(&w->sys, mm, MMWORLD_BASE + 6, 1, 1, KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED,
		  MMWORLD_BASE + 8);
	mmworld_expect_vmas(mm, "aaaaaa.bb.");
	mmworld_free(w);
}

/* mm/vma.c:is_mergeable_anon_vma(): a neighbour without pages is not taken in by a forked VMA */
static void forked_vma_does_not_take_in_a_new_one(void **state)
{
	struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
	struct ks_mm *mm = mmworld_process(w, 2);
	struct ks_mm *child;

	(void)state;
	mmworld_store(w, mm, 0, 1);
	child = mmworld_fork(w, mm);
	assert_true(child->vmas[0].cloned);
	assert_false(mm->vmas[0].cloned);
	assert_int_equal(child->vmas[0].anon_root, mm->vmas[0].anon_root);
	assert_int_not_equal(child->vmas[0].anon_vma, mm->vmas[0].anon_vma);
	mmworld_map(w, mm, 2, 1, MMWORLD_RW, 0);
	mmworld_expect_vmas(mm, "aaa.");
	mmworld_map(w, child, 2, 1, MMWORLD_RW, 0);
	mmworld_expect_vmas(child, "aab.");
	mmworld_free(w);
}

static void different_anon_vmas_keep_vmas_apart(void **state)
{
	struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
	struct ks_mm *mm = mmworld_process(w, 1);

	(void)state;
	mmworld_map(w, mm, 2, 1, MMWORLD_RW, 0);
	mmworld_fill(w, mm, 0, 1);
	mmworld_fill(w, mm, 2, 1);
	assert_int_not_equal(mm->vmas[0].anon_vma, mm->vmas[1].anon_vma);
	/* the gap goes to the lower one; the two never join */
	mmworld_map(w, mm, 1, 1, MMWORLD_RW, 0);
	mmworld_expect_vmas(mm, "aab.");
	mmworld_free(w);
}

/* mm/vma.c:find_mergeable_anon_vma(): parts that mprotect split share one anon_vma */
static void neighbour_with_other_rights_shares_its_anon_vma(void **state)
{
	struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
	struct ks_mm *mm = mmworld_process(w, 4);

	(void)state;
	mmworld_map(w, mm, 0, 4, MMWORLD_RW, KSMSIM_MAP_NORESERVE);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 2, KSMSIM_PROT_READ);
	mmworld_expect_vmas(mm, "aabb");
	mmworld_fill(w, mm, 2, 2);
	assert_int_equal(mm->vmas[0].anon_vma, 0);
	assert_int_equal(ks_fault(&w->sys, mm, MMWORLD_BASE, KS_FAULT_WRITE_FORCED), KS_FAULT_DONE);
	assert_int_equal(mm->vmas[0].anon_vma, mm->vmas[1].anon_vma);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 2, MMWORLD_RW);
	mmworld_expect_vmas(mm, "aaaa");
	mmworld_free(w);
}

static void vma_with_pages_joins_an_untouched_one_since_6_18(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct mmworld *w = mmworld_new(newer ? KS_PROFILE_V6_18 : KS_PROFILE_V6_12, 1);
		struct ks_mm *mm = mmworld_process(w, 2);

		assert_int_equal(w->env.feature[KS_FEAT_merge_takes_anon_vma], newer);
		mmworld_map(w, mm, 2, 2, MMWORLD_R, 0);
		assert_int_equal(ks_fault(&w->sys, mm, MMWORLD_BASE + 2, KS_FAULT_WRITE_FORCED),
				 KS_FAULT_DONE);
		mm->vmas[0].anon_vma = mm->vmas[0].anon_root = 0;
		ks_mprotect(&w->sys, mm, MMWORLD_BASE + 2, 2, MMWORLD_RW);
		mmworld_expect_vmas(mm, newer ? "aaaa" : "aabb");
		assert_int_not_equal(ks_vma_at(mm, MMWORLD_BASE + 2)->anon_vma, 0);
		mmworld_free(w);
	}
}

/* mm/mprotect.c:mprotect_fixup(): what was charged keeps apart from what never was */
static void memory_once_writable_joins_read_only_memory_only_untouched(void **state)
{
	(void)state;
	for (unsigned uncharges = 0; uncharges < 2; uncharges++) {
		struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
		struct ks_mm *mm = mmworld_process(w, 2);

		w->env.feature[KS_FEAT_mprotect_uncharges] = uncharges;
		mmworld_map(w, mm, 2, 2, MMWORLD_R, 0);
		mmworld_map(w, mm, 4, 2, MMWORLD_RW, 0);
		mmworld_fill(w, mm, 4, 1);
		ks_mprotect(&w->sys, mm, MMWORLD_BASE, 6, MMWORLD_R);
		mmworld_expect_vmas(mm, uncharges ? "aaaabb" : "aabbcc");
		ks_mprotect(&w->sys, mm, MMWORLD_BASE, 6, MMWORLD_RW);
		mmworld_expect_vmas(mm, "aaaaaa");
		mmworld_free(w);
	}
}

static void vma_limit_stops_mmap_and_split(void **state)
{
	struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
	struct ks_mm *mm = mmworld_process(w, 1);

	(void)state;
	for (uint64_t i = 1; i < KS_VMAS_MAX; i++)
		assert_int_equal(mmworld_map(w, mm, 4 * i, 3, MMWORLD_RW, 0), MMWORLD_BASE + 4 * i);
	assert_int_equal(mm->nr_vmas, KS_VMAS_MAX);
	assert_int_equal(ks_munmap(&w->sys, mm, MMWORLD_BASE + 5, 1), -ENOMEM);
	assert_int_equal(ks_mprotect(&w->sys, mm, MMWORLD_BASE + 5, 1, MMWORLD_R), -ENOMEM);
	assert_int_equal(ks_madvise(&w->sys, mm, MMWORLD_BASE + 5, 1, KSMSIM_MADV_HUGEPAGE),
			 -EAGAIN);
	/* as in the kernel, mmap is stopped one later */
	assert_int_equal(mmworld_map(w, mm, 2, 1, MMWORLD_RW, 0), MMWORLD_BASE + 2);
	assert_int_equal(mmworld_map(w, mm, 4 * KS_VMAS_MAX, 1, MMWORLD_RW, 0), -ENOMEM);
	assert_int_equal(ks_munmap(&w->sys, mm, MMWORLD_BASE + 4, 3), 0);
	mmworld_free(w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(find_returns_the_first_that_ends_above),
	cmocka_unit_test(neighbours_with_equal_flags_merge),
	cmocka_unit_test(shared_mappings_of_different_objects_do_not_merge),
	cmocka_unit_test(flags_of_a_part_split_and_given_back_merge),
	cmocka_unit_test(moved_memory_keeps_its_offset_and_does_not_merge),
	cmocka_unit_test(untouched_memory_forgets_its_offset_when_moved),
	cmocka_unit_test(forked_vma_does_not_take_in_a_new_one),
	cmocka_unit_test(different_anon_vmas_keep_vmas_apart),
	cmocka_unit_test(neighbour_with_other_rights_shares_its_anon_vma),
	cmocka_unit_test(vma_with_pages_joins_an_untouched_one_since_6_18),
	cmocka_unit_test(memory_once_writable_joins_read_only_memory_only_untouched),
	cmocka_unit_test(vma_limit_stops_mmap_and_split),
};

TEST_MAIN(tests)
