/*
 * test_memory_failure.c - MADV_HWPOISON: what no running kernel shows, or may be asked.
 *
 * The rest is in tests/replay/s18* and s19*, which running kernels have confirmed.
 */
#include "mmworld.h"
#include "outcome.h"

#include <string.h>

#define THP "thp enabled always\nproc A\nmmap A r 512\ntouch A r\n"
/* a THP that stays whole, with a page of zeros that failed */
#define MARKED                                                                        \
	THP "fill A r+0 seed:1\npin A r+9 get\nmadvise A r+5 HWPOISON\nunpin A r+9\n" \
	    "expect A.r=thp A.r+5=thp,poisoned A.r+4=thp,!poisoned HardwareCorrupted=1\n"

static void a_kernel_without_it_refuses(void **state)
{
	(void)state;
	outcome_holds(
		"feature memory_failure 0\nproc A\nmmap A r 1\ntouch A r\nmadvise A r HWPOISON\n"
		"expect result=-EINVAL A.r=anon,!poisoned HardwareCorrupted=0\n");
}

static void a_split_maps_the_zero_page_but_for_the_failed_one(void **state)
{
	(void)state;
	outcome_holds(MARKED "split A r\nexpect result=1 A.r+0=anon A.r+1:4=zero A.r+6:506=zero "
			     "A.r+5=anon,poisoned A.rss_anon=2\ntouch A r+5\nexpect result=0\n");
	/* a policy that takes whatever it may does not get it either */
	outcome_holds("policy zero_remap=all\n" MARKED "split A r\nexpect A.r+5=anon,poisoned\n");
}

static void a_thp_with_a_failed_page_is_never_underused(void **state)
{
	(void)state;
	outcome_holds("thp khugepaged/max_ptes_none 100\n" MARKED "shrink\n"
		      "expect result=0 A.r=thp thp_underused_split_page=0\n");
	outcome_holds("thp khugepaged/max_ptes_none 100\n" THP
		      "shrink\nexpect result=1 thp_underused_split_page=1\n");
}

static void a_failed_page_of_a_thp_that_goes_is_kept(void **state)
{
	(void)state;
	outcome_holds(MARKED "munmap A r\nexpect nr_anon_frames=1 HardwareCorrupted=1\n");
	outcome_holds(MARKED "exit A\nexpect nr_anon_frames=1 HardwareCorrupted=1\n");
	outcome_holds(MARKED
		      "madvise A r COLLAPSE\nsplit A r\nmadvise A r+5 DONTNEED\ntouch A r+5\n"
		      "expect A.r+5=anon,!poisoned nr_anon_frames=3\n");
}

static void memory_that_failed_is_missing_from_what_there_is(void **state)
{
	(void)state;
	outcome_holds("ksm memory_pages 2\nproc A\nmmap A r 2\ntouch A r\nmadvise A r+0 HWPOISON\n"
		      "madvise A r+0 DONTNEED\ntouch A r+0\nexpect result=-ENOMEM A.rss_anon=1\n");
}

static void the_zero_page_is_marked_once_and_used_on(void **state)
{
	(void)state;
	outcome_holds(
		"proc A\nmmap A r 3\ntouch A r+0\nmadvise A r HWPOISON\n"
		"expect result=-EBUSY A.r+0=hwpoison A.r+1=zero,poisoned A.r+2=none "
		"HardwareCorrupted=2\n"
		"madvise A r+2 HWPOISON\nexpect result=-EHWPOISON A.r+2=zero,poisoned "
		"HardwareCorrupted=2\n"
		"read A r+1\nexpect result=0\ntouch A r+1\nexpect result=0 A.r+1=anon,!poisoned\n");
}

static void what_is_not_modelled_is_refused_and_stays(void **state)
{
	(void)state;
	outcome_holds("proc A\nmmap A s 1 shared\ntouch A s\nmadvise A s HWPOISON\n"
		      "expect result=-EOPNOTSUPP A.s=file HardwareCorrupted=0\n");
	outcome_holds(
		"thp enabled always\nproc A\nmmap A r 512\nread A r+0\nmadvise A r+5 HWPOISON\n"
		"expect result=-EOPNOTSUPP A.r=huge_zero HardwareCorrupted=0\n");
	outcome_holds(
		"proc A\nmmap A r 1\ntouch A r\npin A r held\nswapout A r cached\nread A r\n"
		"madvise A r HWPOISON\nexpect result=-EOPNOTSUPP A.r=anon HardwareCorrupted=0\n");
}

static void expect_broken(struct mmworld *w, const char *number)
{
	const char *wrong = ks_system_check(&w->sys);

	assert_non_null(wrong);
	assert_memory_equal(wrong, number, strlen(number));
}

static void find_lost(void *self, const char *text)
{
	*(unsigned *)self += strstr(text, " hwpoison ") != NULL;
}

static void a_lost_page_is_dumped_and_hashed(void **state)
{
	const uint64_t at = UINT64_C(1) << 40;
	const struct ksmsim_mmap req = { .vaddr = at,
					 .length = 8192,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = KSMSIM_MAP_FIXED };
	struct ksmsim *sim = NULL;
	uint64_t before = 0, after = 0;
	unsigned lost = 0;
	uint32_t pid = 0;
	int64_t ret = -1;

	(void)state;
	assert_int_equal(ksmsim_new(NULL, &sim), 0);
	assert_int_equal(ksmsim_spawn(sim, &pid), 0);
	assert_int_equal(ksmsim_mmap(sim, pid, &req, NULL), 0);
	assert_int_equal(ksmsim_touch(sim, pid, at, 2, NULL), 0);
	assert_int_equal(ksmsim_hash(sim, &before), 0);
	assert_int_equal(ksmsim_madvise(sim, pid, at, 4096, KSMSIM_MADV_HWPOISON, &ret), 0);
	assert_int_equal(ret, 0);
	assert_int_equal(ksmsim_hash(sim, &after), 0);
	assert_true(before != after);
	assert_int_equal(ksmsim_dump(sim, find_lost, &lost), 0);
	assert_int_equal(lost, 1);
	ksmsim_free(sim);
}

/* Invariant I27. */
static void the_check_knows_what_a_failed_page_is(void **state)
{
	struct mmworld *w = mmworld_new(KS_PROFILE_V6_18, 1);
	struct ks_mm *mm = mmworld_process(w, 2);
	struct ks_pte lost;

	(void)state;
	mmworld_fill(w, mm, 0, 2);
	assert_int_equal(ks_memory_failure(&w->sys, mm, MMWORLD_BASE, 1), 0);
	mmworld_check(w);
	lost = mmworld_pte(w, mm, 0);
	w->env.count[KSMSIM_COUNT_HardwareCorrupted]++;
	expect_broken(w, "I27");
	w->env.count[KSMSIM_COUNT_HardwareCorrupted]--;
	ks_map_delete(&w->sys.frames.poisoned, lost.pfn);
	expect_broken(w, "I27");
	ks_map_set(&w->env, &w->sys.frames.poisoned, lost.pfn, 1);
	ks_zap(&w->sys, mm, MMWORLD_BASE, MMWORLD_BASE + 1);
	ks_frame_release(&w->env, &w->sys.frames, lost.pfn, 1, 0);
	/* held again at once */
	assert_int_equal(ks_frame_refs(&w->sys.frames, lost.pfn), 1);
	mmworld_free(w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_kernel_without_it_refuses),
		cmocka_unit_test(a_split_maps_the_zero_page_but_for_the_failed_one),
		cmocka_unit_test(a_thp_with_a_failed_page_is_never_underused),
		cmocka_unit_test(a_failed_page_of_a_thp_that_goes_is_kept),
		cmocka_unit_test(memory_that_failed_is_missing_from_what_there_is),
		cmocka_unit_test(the_zero_page_is_marked_once_and_used_on),
		cmocka_unit_test(a_lost_page_is_dumped_and_hashed),
		cmocka_unit_test(the_check_knows_what_a_failed_page_is),
		cmocka_unit_test(what_is_not_modelled_is_refused_and_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
