/*
 * test_fork.c - fork, exec and exit: what a child has, and what is left behind.
 */
#include "mmone.h"

#include <errno.h>

static uint64_t nr_ptes(const struct ks_mm *of)
{
	return of->pt.nr_tables[w->sys.tables.geo->levels - 1];
}

/* ---- fork, exec, exit ---- */

static void fork_shares_pages_read_only(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_fill(w, mm, 0, 2);
	mmworld_read(w, mm, 2, 1);
	mmworld_make_ksm(w, mm, 1);
	child = mmworld_fork(w, mm);
	mmworld_expect_pages(w, mm, "sk0.....");
	mmworld_expect_pages(w, child, "sk0.....");
	assert_int_equal(child->rss_anon, 2);
	assert_int_equal(ks_frame_maps(ks_frame(&w->sys.frames, mmworld_pte(w, mm, 0).pfn)), 2);
	assert_int_equal(w->env.cost_count[KS_COST_fork_page], 3);
	assert_int_equal(w->forks, 0);
}

/* mm/memory.c:vma_needs_copy(): nothing is copied that a fault can rebuild */
static void fork_skips_tables_of_vmas_without_anon_vma(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_read(w, mm, 0, 4);
	child = mmworld_fork(w, mm);
	mmworld_expect_pages(w, child, "........");
	assert_int_equal(nr_ptes(child), 0);
}

static void fork_obeys_the_advices(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_fill(w, mm, 0, 8);
	advise(0, 2, KSMSIM_MADV_DONTFORK);
	advise(4, 2, KSMSIM_MADV_WIPEONFORK);
	ks_mlock(&w->sys, mm, MMWORLD_BASE + 6, 2, true);
	child = mmworld_fork(w, mm);
	mmworld_expect_vmas(child, "..aabbcc");
	mmworld_expect_pages(w, child, "..ss..ss");
	mmworld_expect_pages(w, mm, "wwsswwss");
	assert_int_equal(child->vmas[1].anon_vma, 0);
	assert_false(child->vmas[2].flags & KS_VM_LOCKED);
	mmworld_expect_value(w, child, 4, 0);
	mmworld_expect_value(w, mm, 4, 5);
}

static void fork_copies_pinned_exclusive_pages_for_the_child(void **state)
{
	struct ks_mm *child = NULL;
	ks_pfn pinned;

	(void)state;
	mmworld_fill(w, mm, 0, 2);
	assert_int_equal(ks_access_pin(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_PIN_WRITE), 0);
	pinned = mmworld_pte(w, mm, 0).pfn;
	w->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(ks_mm_fork(&w->sys, mm, 7, &child), -ENOMEM);
	assert_int_equal(w->sys.nr_mms, 1);
	child = mmworld_fork(w, mm);
	mmworld_expect_pages(w, mm, "ws......");
	mmworld_expect_pages(w, child, "ws......");
	assert_int_equal(mmworld_pte(w, mm, 0).pfn, pinned);
	assert_int_not_equal(mmworld_pte(w, child, 0).pfn, pinned);
	mmworld_expect_value(w, child, 0, 1);
	/* a plain reference does not count as a pin */
	ks_access_unpin(&w->sys, mm, MMWORLD_BASE, 1);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_PIN_GET);
	mmworld_expect_pages(w, mmworld_fork(w, mm), "ss......");
}

/* many plain references look like a pin, but only to a process that ever pinned */
static void fork_looks_for_pins_only_where_some_were_made(void **state)
{
	ks_pfn pfn;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	pfn = mmworld_pte(w, mm, 0).pfn;
	ks_frame_hold(&w->env, &w->sys.frames, pfn, 1100, 0);
	mmworld_expect_pages(w, mmworld_fork(w, mm), "s.......");
	ks_frame_release(&w->env, &w->sys.frames, pfn, 1100, 0);
}

static void fork_copies_ksm_zero_pages_with_their_mark(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_fill(w, mm, 0, 2);
	mmworld_make_ksm_zero(w, mm, 1);
	child = mmworld_fork(w, mm);
	mmworld_expect_pages(w, child, "sz......");
	/* the number goes with the mm; the machine's grows only where KSM hears of the child */
	assert_int_equal(child->ksm_zero_pages, 1);
	assert_int_equal(w->env.count[KSMSIM_COUNT_ksm_zero_pages], 1);
	mm->registered = true;
	child = mmworld_fork(w, mm);
	assert_int_equal(child->ksm_zero_pages, 1);
	assert_int_equal(w->env.count[KSMSIM_COUNT_ksm_zero_pages], 2);
	mm->registered = false;
	/* what a failed fork had copied is unmapped again, though it was never added */
	ks_access_pin(&w->sys, mm, MMWORLD_BASE + 4, 1, KSMSIM_PIN_WRITE);
	w->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(ks_mm_fork(&w->sys, mm, 9, &child), -ENOMEM);
	assert_int_equal(w->env.count[KSMSIM_COUNT_ksm_zero_pages], 1);
}

static void fork_registers_the_child_of_a_registered_parent(void **state)
{
	struct ks_mm *child = NULL;

	(void)state;
	mm->registered = true;
	mm->merge_any = true;
	child = mmworld_fork(w, mm);
	assert_true(child->merge_any);
	assert_int_equal(w->forks, 1);
	/* a failure is ignored if the child is registered last, else fork fails */
	w->answer = -ENOMEM;
	assert_int_equal(ks_mm_fork(&w->sys, mm, 8, &child), 0);
	w->env.feature[KS_FEAT_fork_enter_last] = false;
	assert_int_equal(ks_mm_fork(&w->sys, mm, 9, &child), -ENOMEM);
	assert_int_equal(w->sys.nr_mms, 3);
}

static void exec_gives_a_new_mm_and_ends_the_old_one(void **state)
{
	struct ks_mm *next;

	(void)state;
	mmworld_fill(w, mm, 0, 8);
	mm->merge_any = true;
	mm->registered = true;
	next = ks_mm_exec(&w->sys, mm);
	assert_int_equal(w->execs, 1);
	assert_int_equal(w->exits, 1);
	assert_int_equal(next->pid, mm->pid);
	assert_int_not_equal(next->id, mm->id);
	assert_int_equal(next->nr_vmas, 0);
	assert_true(next->merge_any);
	assert_false(mm->alive);
	ks_lru_drain(&w->env, &w->sys.frames);
	assert_int_equal(w->sys.frames.nr_used, 0);
	ks_mm_free(&w->sys, mm);
	assert_null(ks_mm_find(&w->sys, 1));
	assert_ptr_equal(ks_mm_find(&w->sys, next->id), next);
}

static void exit_rings_before_it_unmaps(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 8);
	mmworld_make_ksm_zero(w, mm, 2);
	mm->registered = true;
	ks_mm_exit(&w->sys, mm);
	assert_int_equal(w->exits, 1);
	assert_int_equal(w->exit_rss, 7);
	assert_false(w->exit_alive);
	assert_int_equal(w->env.count[KSMSIM_COUNT_ksm_zero_pages], 0);
	ks_lru_drain(&w->env, &w->sys.frames);
	assert_int_equal(w->sys.frames.nr_used, 0);
	assert_int_equal(w->sys.tables.leaves.live, 0);
}

static void exit_gives_back_pins_but_not_what_others_hold(void **state)
{
	ks_pfn held;

	(void)state;
	mmworld_fill(w, mm, 0, 3);
	held = mmworld_pte(w, mm, 0).pfn;
	ks_access_pin(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_PIN_HELD);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE + 1, 1, KSMSIM_PIN_GET);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE + 2, 1, KSMSIM_PIN_WRITE);
	ks_mm_exit(&w->sys, mm);
	ks_lru_drain(&w->env, &w->sys.frames);
	assert_int_equal(w->sys.frames.nr_used, 1);
	assert_true(ks_frame_live(&w->sys.frames, held));
}

static const struct CMUnitTest tests[] = {
	MMONE_TEST(fork_shares_pages_read_only),
	MMONE_TEST(fork_skips_tables_of_vmas_without_anon_vma),
	MMONE_TEST(fork_obeys_the_advices),
	MMONE_TEST(fork_copies_pinned_exclusive_pages_for_the_child),
	MMONE_TEST(fork_looks_for_pins_only_where_some_were_made),
	MMONE_TEST(fork_copies_ksm_zero_pages_with_their_mark),
	MMONE_TEST(fork_registers_the_child_of_a_registered_parent),
	MMONE_TEST(exec_gives_a_new_mm_and_ends_the_old_one),
	MMONE_TEST(exit_rings_before_it_unmaps),
	MMONE_TEST(exit_gives_back_pins_but_not_what_others_hold),
};

TEST_MAIN(tests)
