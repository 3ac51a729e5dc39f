/*
 * test_madvise.c - madvise and mlock: what becomes of pages and of VMAs.
 */
#include "mmone.h"

#include <errno.h>

static uint64_t nr_ptes(const struct ks_mm *of)
{
	return of->pt.nr_tables[w->sys.tables.geo->levels - 1];
}

/* ---- madvise, mlock ---- */

static void madvise_does_the_rest_behind_a_hole(void **state)
{
	(void)state;
	ks_munmap(&w->sys, mm, MMWORLD_BASE + 2, 2);
	assert_int_equal(advise(0, 8, KSMSIM_MADV_MERGEABLE), -ENOMEM);
	assert_int_equal(w->advices, 2);
	assert_true(mm->vmas[0].flags & KS_VM_MERGEABLE);
	assert_true(mm->vmas[1].flags & KS_VM_MERGEABLE);
	assert_int_equal(advise(2, 1, KSMSIM_MADV_MERGEABLE), -ENOMEM);
	assert_int_equal(advise(20, 1, KSMSIM_MADV_MERGEABLE), -ENOMEM);
	assert_int_equal(advise(20, 0, KSMSIM_MADV_MERGEABLE), 0);
	assert_int_equal(w->advices, 2);
}

static void ksm_without_memory_is_told_as_eagain(void **state)
{
	(void)state;
	w->answer = -ENOMEM;
	assert_int_equal(advise(0, 8, KSMSIM_MADV_MERGEABLE), -EAGAIN);
	assert_false(mm->vmas[0].flags & KS_VM_MERGEABLE);
	w->answer = 0;
	advise(0, 8, KSMSIM_MADV_MERGEABLE);
	assert_int_equal(advise(2, 2, KSMSIM_MADV_UNMERGEABLE), 0);
	assert_false(w->advice_mergeable);
	mmworld_expect_vmas(mm, "aabbcccc");
}

static void flag_advices_split_and_refuse(void **state)
{
	(void)state;
	mmworld_map(w, mm, 8, 2, MMWORLD_RW, KSMSIM_MAP_SHARED);
	mmworld_map(w, mm, 10, 2, MMWORLD_RW, KSMSIM_MAP_DROPPABLE);
	assert_int_equal(advise(0, 2, KSMSIM_MADV_HUGEPAGE), 0);
	assert_int_equal(advise(1, 2, KSMSIM_MADV_NOHUGEPAGE), 0);
	mmworld_expect_vmas(mm, "abbcccccddee");
	assert_int_equal(mm->vmas[1].flags & (KS_VM_HUGEPAGE | KS_VM_NOHUGEPAGE), KS_VM_NOHUGEPAGE);
	assert_int_equal(advise(8, 1, KSMSIM_MADV_WIPEONFORK), -EINVAL);
	assert_int_equal(advise(10, 1, KSMSIM_MADV_KEEPONFORK), -EINVAL);
	assert_int_equal(advise(10, 1, KSMSIM_MADV_DODUMP), -EINVAL);
	assert_int_equal(advise(8, 1, KSMSIM_MADV_FREE), -EINVAL);
	assert_int_equal(advise(3, 1, KSMSIM_MADV_DONTFORK), 0);
	assert_int_equal(advise(3, 1, KSMSIM_MADV_DOFORK), 0);
	mmworld_expect_vmas(mm, "abbcccccddee");
}

static void dontneed_drops_pages_but_not_locked_ones(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 4);
	mmworld_read(w, mm, 4, 1);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE + 2, 1, true), 0);
	assert_int_equal(advise(0, 8, KSMSIM_MADV_DONTNEED), -EINVAL);
	mmworld_expect_pages(w, mm, "..ww0...");
	ks_mlock(&w->sys, mm, MMWORLD_BASE + 2, 1, false);
	assert_int_equal(advise(0, 8, KSMSIM_MADV_DONTNEED), 0);
	mmworld_expect_pages(w, mm, "........");
	assert_int_equal(nr_ptes(mm), 1);
	mmworld_expect_value(w, mm, 1, 0);
}

/* mm/pt_reclaim.c */
static void dontneed_frees_a_table_if_it_covers_all_of_it(void **state)
{
	(void)state;
	for (unsigned reclaim = 0; reclaim < 2; reclaim++) {
		w->env.feature[KS_FEAT_pt_reclaim] = reclaim;
		mmworld_map(w, mm, 0, 1536, MMWORLD_RW, 0);
		mmworld_fill(w, mm, 0, 1);
		mmworld_fill(w, mm, 600, 1);
		mmworld_fill(w, mm, 1100, 1);
		assert_int_equal(advise(1, 1100, KSMSIM_MADV_DONTNEED), 0);
		assert_int_equal(nr_ptes(mm), reclaim ? 2 : 3);
		assert_int_equal(mm->rss_anon, 1);
		/* an empty table goes as well; upper tables stay */
		assert_int_equal(advise(512, 1024, KSMSIM_MADV_DONTNEED), 0);
		assert_int_equal(nr_ptes(mm), reclaim ? 1 : 3);
		assert_int_equal(advise(0, 512, KSMSIM_MADV_DONTNEED), 0);
		assert_int_equal(nr_ptes(mm), reclaim ? 0 : 3);
		assert_int_equal(mm->pt.nr_tables[2], 1);
	}
}

static void free_makes_pages_lazy_but_for_dirty_ones_that_others_map(void **state)
{
	struct ks_mm *child;
	struct ks_pte pte;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	mmworld_fill(w, mm, 4, 1);
	ks_frame_flag(ks_frame(&w->sys.frames, mmworld_pte(w, mm, 0).pfn), KS_FRAME_DIRTY, true);
	child = mmworld_fork(w, mm);
	mmworld_fill(w, mm, 1, 2);
	mmworld_make_ksm(w, mm, 2);
	ks_frame_flag(ks_frame(&w->sys.frames, mmworld_pte(w, mm, 1).pfn), KS_FRAME_DIRTY, true);
	assert_int_equal(advise(0, 8, KSMSIM_MADV_FREE), 0);
	ks_lru_drain(&w->env, &w->sys.frames);
	for (uint64_t i = 0; i < 5; i += i == 2 ? 2 : 1) {
		const struct ks_frame *frame = ks_frame(&w->sys.frames, mmworld_pte(w, mm, i).pfn);

		assert_int_equal(ks_frame_test(frame, KS_FRAME_LAZYFREE), i != 0);
		assert_int_equal(ks_frame_test(frame, KS_FRAME_DIRTY), i == 0);
	}
	pte = mmworld_pte(w, mm, 1);
	assert_int_equal(pte.bits, KS_PTE(PRESENT) | KS_PTE(WRITE) | KS_PTE(SOFT));
	/* a clean lazily freed page is dropped by reclaim, a written one is swapped */
	mmworld_store(w, mm, 3, 4);
	advise(3, 1, KSMSIM_MADV_FREE);
	mmworld_store(w, mm, 3, 9);
	assert_int_equal(ks_swap_out(&w->sys, pte.pfn, false), 1);
	assert_int_equal(ks_swap_out(&w->sys, mmworld_pte(w, mm, 3).pfn, false), 1);
	mmworld_expect_pages(w, mm, "s.k$s...");
	mmworld_expect_value(w, mm, 1, 0);
	mmworld_expect_value(w, mm, 3, 9);
	mmworld_expect_value(w, child, 0, 1);
}

static void populate_faults_in_and_refuses(void **state)
{
	(void)state;
	assert_int_equal(advise(0, 2, KSMSIM_MADV_POPULATE_READ), 0);
	assert_int_equal(advise(1, 2, KSMSIM_MADV_POPULATE_WRITE), 0);
	mmworld_expect_pages(w, mm, "0ww.....");
	assert_int_equal(advise(7, 2, KSMSIM_MADV_POPULATE_WRITE), -ENOMEM);
	mmworld_expect_pages(w, mm, "0ww....w");
	ks_mprotect(&w->sys, mm, MMWORLD_BASE + 4, 1, MMWORLD_R);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE + 5, 1, KSMSIM_PROT_NONE);
	assert_int_equal(advise(4, 1, KSMSIM_MADV_POPULATE_WRITE), -EINVAL);
	assert_int_equal(advise(4, 2, KSMSIM_MADV_POPULATE_READ), -EINVAL);
	mmworld_expect_pages(w, mm, "0ww.0..w");
	w->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(advise(3, 1, KSMSIM_MADV_POPULATE_WRITE), -ENOMEM);
}

/* a surprise of the live kernel: mlock() populates by write faults */
static void mlock_copies_merged_pages_of_writable_memory(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 4);
	mmworld_make_ksm(w, mm, 0);
	mmworld_make_ksm(w, mm, 3);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE + 3, 1, MMWORLD_R);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE, 8, true), 0);
	mmworld_expect_pages(w, mm, "wwwkwwww");
	assert_int_equal(w->env.count[KSMSIM_COUNT_cow_ksm], 1);
	assert_int_equal(w->ksm_freed, 1);
	/* read-only locked memory that becomes writable gets its copies then */
	ks_mprotect(&w->sys, mm, MMWORLD_BASE + 3, 1, MMWORLD_RW);
	mmworld_expect_pages(w, mm, "wwwwwwww");
	mmworld_expect_vmas(mm, "aaaaaaaa");
}

static void mlock_reports_holes_rights_and_memory(void **state)
{
	(void)state;
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE + 6, 4, true), -ENOMEM);
	assert_true(ks_vma_at(mm, MMWORLD_BASE + 6)->flags & KS_VM_LOCKED);
	mmworld_expect_pages(w, mm, "........");
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_PROT_NONE);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE, 1, true), -ENOMEM);
	w->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE + 2, 1, true), -EAGAIN);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE, 8, false), 0);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE, 0, true), 0);
}

/* what drains the batch, as a live 6.18 shows it by the LRU flag of a page that waits there */
static void batch_is_drained_where_the_kernel_drains_it(void **state)
{
	const struct ks_frames *frames = &w->sys.frames;

	(void)state;
	for (unsigned unmap_drains = 0; unmap_drains < 2; unmap_drains++) {
		w->env.feature[KS_FEAT_unmap_drains_lru] = unmap_drains;
		mmworld_map(w, mm, 0, 8, MMWORLD_RW, 0);
		ks_lru_drain(&w->env, &w->sys.frames);
		mmworld_fill(w, mm, 0, 1);
		advise(4, 1, KSMSIM_MADV_DONTNEED);
		assert_int_equal(frames->nr_lru_batch, !unmap_drains);
		mmworld_fill(w, mm, 1, 1);
		ks_munmap(&w->sys, mm, MMWORLD_BASE + 7, 1);
		assert_int_equal(frames->nr_lru_batch, unmap_drains ? 0 : 2);
		mmworld_fill(w, mm, 2, 1);
		ks_mm_exit(&w->sys, mmworld_fork(w, mm));
		assert_int_equal(frames->nr_lru_batch, unmap_drains ? 0 : 3);
		mmworld_fill(w, mm, 3, 1);
		advise(6, 1, KSMSIM_MADV_FREE);
		assert_int_equal(frames->nr_lru_batch, 0);
		mmworld_fill(w, mm, 4, 1);
		advise(5, 1, KSMSIM_MADV_POPULATE_WRITE);
		assert_int_equal(frames->nr_lru_batch, 0);
		mmworld_fill(w, mm, 6, 1);
		ks_mlock(&w->sys, mm, MMWORLD_BASE + 6, 1, true);
		assert_int_equal(frames->nr_lru_batch, 0);
	}
}

/* pages of a locked area live on in the mlock batch, unless unmapping drains it; others do not */
static void locked_pages_outlive_munmap_and_exit(void **state)
{
	(void)state;
	for (unsigned unmap_drains = 0; unmap_drains < 2; unmap_drains++) {
		struct ks_mm *child;
		ks_pfn locked, loose, last;

		w->env.feature[KS_FEAT_unmap_drains_lru] = unmap_drains;
		child = ks_mm_new(&w->sys, 7);
		mmworld_map(w, child, 0, 4, MMWORLD_RW, 0);
		mmworld_fill(w, child, 0, 4);
		assert_int_equal(ks_mlock(&w->sys, child, MMWORLD_BASE + 1, 2, true), 0);
		loose = mmworld_pte(w, child, 0).pfn;
		locked = mmworld_pte(w, child, 1).pfn;
		last = mmworld_pte(w, child, 2).pfn;
		ks_munmap(&w->sys, child, MMWORLD_BASE, 2);
		assert_false(ks_frame_live(&w->sys.frames, loose));
		assert_int_equal(ks_frame_live(&w->sys.frames, locked), !unmap_drains);
		ks_mm_exit(&w->sys, child);
		ks_mm_free(&w->sys, child);
		assert_int_equal(ks_frame_live(&w->sys.frames, last), !unmap_drains);
		ks_lru_drain(&w->env, &w->sys.frames);
		assert_false(ks_frame_live(&w->sys.frames, locked));
		assert_false(ks_frame_live(&w->sys.frames, last));
	}
}

static const struct CMUnitTest tests[] = {
	MMONE_TEST(madvise_does_the_rest_behind_a_hole),
	MMONE_TEST(ksm_without_memory_is_told_as_eagain),
	MMONE_TEST(flag_advices_split_and_refuse),
	MMONE_TEST(dontneed_drops_pages_but_not_locked_ones),
	MMONE_TEST(dontneed_frees_a_table_if_it_covers_all_of_it),
	MMONE_TEST(free_makes_pages_lazy_but_for_dirty_ones_that_others_map),
	MMONE_TEST(populate_faults_in_and_refuses),
	MMONE_TEST(mlock_copies_merged_pages_of_writable_memory),
	MMONE_TEST(mlock_reports_holes_rights_and_memory),
	MMONE_TEST(batch_is_drained_where_the_kernel_drains_it),
	MMONE_TEST(locked_pages_outlive_munmap_and_exit),
};

TEST_MAIN(tests)
