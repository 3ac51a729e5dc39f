/*
 * test_scenario.c - scenarios: what is read, what is refused and with which words,
 * how much one operation may be, options, and runs without memory.
 *
 * What is expected and observed is in test_observe.c, Lua in test_scenario_lua.c, huge
 * pages in test_scenario_thp.c.
 */
#include "outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* ---- lines ---- */

static void the_example_of_the_manual_holds(void **state)
{
	(void)state;
	outcome_holds(OUTCOME_PAIR "expect pages_shared=1 pages_sharing=1\n");
}

static void comments_blank_lines_and_cr_lf_are_fine(void **state)
{
	(void)state;
	outcome_holds("# \xff any bytes here\r\n\r\n\t \r\nproc A # end\r\nmmap A r 1\r\n"
		      "fill A r byte:'#' # hash\r\ncheck A r byte:35\r\nexpect result=0");
	outcome_holds(
		"proc A\nmmap A r 1\nfill A r byte:' '\ncheck A r byte:32\nexpect result=0\n");
}

static void lengths_are_pages_or_bytes(void **state)
{
	(void)state;
	outcome_holds("proc A\nmmap A a 2\nmmap A b 8K\nmmap A c 1M\nfill A a+4K byte:1\n"
		      "expect A.a+1=anon A.a+0=none\nfill A c+255:* byte:1\nexpect A.c+255=anon\n"
		      "expect A.rss_anon=2\n");
}

static void regions_are_placed_from_1_tib_with_gaps(void **state)
{
	(void)state;
	outcome_holds("proc A\nmmap A a 1\nexpect result=0x10000000000\n"
		      "mmap A b 3M\nexpect result=0x10000400000\n"
		      "mmap A c 1\nexpect result=0x10000a00000\n"
		      "mmap A d 1 at=0x10000e00000\nmmap A e 1\nexpect result=0x10001200000\n"
		      "fork A B\nmmap B f 1\nexpect result=0x10001600000\n"
		      "exec B\nmmap B a 1\nexpect result=0x10000000000\n");
}

static void a_refused_mapping_keeps_its_place(void **state)
{
	(void)state;
	outcome_holds("proc A\nmmap A big 64T\nexpect result=0x10000000000\nmmap A big2 100T\n"
		      "expect result=-ENOMEM\nmadvise A big2 MERGEABLE\nexpect result=-ENOMEM\n");
}

static void regions_follow_munmap_mremap_and_brk(void **state)
{
	(void)state;
	outcome_holds("proc A\nmmap A a 8\nfill A a seeds:1\nmunmap A a+2:2\nexpect A.a+0:2=anon "
		      "A.a+2:2=none A.a+4:*=anon\nmremap A a+4:* 2\nexpect A.a+4:2=anon\n");
	outcome_refused("proc A\nmmap A a 8\nmunmap A a\nread A a\n",
			"t.ksm:4:8: region 'a' of A is not mapped any more");
	outcome_refused("proc A\nmmap A a 8\nmremap A a 2\nread A a+2\n", "beyond region a");
	outcome_holds("proc A\nmmap A a 2\nfill A a seeds:1\nmmap A wall 1 at=0x10000002000 fixed\n"
		      "mremap A a 4 maymove as=b\nexpect result=0x10000400000 A.b+0:2=anon\n"
		      "check A b+0:2 seeds:1\nexpect result=0\n");
	outcome_refused("proc A\nmmap A a 4\nmremap A a+2:2 4 maymove\n", "needs as=NAME");
	outcome_holds("proc A\nbrk A 4\nfill A brk byte:1\nexpect A.brk=anon A.rss_anon=4\n"
		      "brk A 2\nexpect A.rss_anon=2\nbrk A 0\nexpect A.rss_anon=0\n");
	outcome_refused("proc A\nbrk A 1\nbrk A 0\nread A brk\n",
			"region 'brk' of A is not mapped any more");
}

static void a_line_says_what_was_expected(void **state)
{
	(void)state;
	outcome_refused("prok A\n", "t.ksm:1:1: unknown operation 'prok'; did you mean 'proc'?");
	outcome_refused("proc\n", "t.ksm:1:5: the line ends; expected a new name");
	outcome_refused("\nproc 9A\n", "t.ksm:2:6: '9A' is no name");
	outcome_refused("proc A B\n",
			"t.ksm:1:8: 'B' is one argument too many (proc NEWPROC [node=NODE])");
	outcome_refused("proc A\nproc A\n", "names are not used again");
	outcome_refused("proc A\nexit A\nread A x\n", "t.ksm:3:6: process A has exited");
	outcome_refused("proc guest1\nmmap guset1 a 1\n", "did you mean 'guest1'?");
	outcome_refused("proc A\nmmap A a 1\nmadvise A a MERGABLE\n", "did you mean 'MERGEABLE'?");
	outcome_refused("proc A\nmmap A a 1\nmprotect A a rx\n", "expected none|r|rw");
	outcome_refused("proc A\nmmap A a 1 shraed\n", "did you mean 'shared'?");
	outcome_refused("proc A\nmmap A a 1 shared=1\n", "'shared=1' is not how it is written");
	outcome_refused("proc A\nmmap A a 1 at\n", "expected at=ADDRESS");
	outcome_refused("proc A\nmmap A a 1 shared shared\n", "given twice");
	outcome_refused("proc A\nmmap A a 1\nmmap A a 1\n", "there is a region a already");
	outcome_refused("proc A\nmmap A heap 1\nread A heep\n", "did you mean 'heap'?");
	outcome_refused("ksm smart_scna 1\n", "did you mean 'smart_scan'?");
	outcome_refused("feature smart_scam 1\n", "did you mean 'smart_scan'?");
	outcome_refused("proc A\nfeature smart_scan 1\n", "before the first process");
	outcome_refused("inject stable_nods 1\n", "did you mean 'stable_node'?");
	outcome_refused("proc A node=1\n", "this machine has 1 NUMA node");
	outcome_refused("proc A\nmachine nodes=2\n", "must be the first operation");
	outcome_refused("proc A\nmmap A a 1\nfill A a byte:256\n", "has a byte above 255");
	outcome_refused("proc A\nmmap A a 1\npoke A a 4095 1 2\n", "not all in one page");
	outcome_refused("proc A\nmmap A a 1\nfill A @0x10000000001:1 zero\n",
			"fill needs whole pages");
	outcome_refused("run 5\n", "'5' is no time");
}

static void numbers_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	outcome_refused("proc A\nmmap A a 18446744073709551616\n", "is too large");
	outcome_refused("proc A\nmmap A a 9223372036854775808\n", "is too large");
	outcome_refused("proc A\nmmap A a 16777216T\n", "is too large");
	outcome_refused("proc A\nmmap A a 2\nread A a+1:18446744073709551615\n", "is too large");
	outcome_refused("proc A\nmmap A a 2\nread A a+1:2\n", "beyond region a, which has 2 pages");
	outcome_refused("read A @1:1\n", "unknown process 'A'");
	outcome_refused("proc A\nread A @0xffffffffffffffff:1\n", "is too large");
	outcome_refused("run 99999999999h\n", "is too large");
	outcome_refused("step 4294967296\n", "is too large");
	outcome_holds("proc A\nmmap A a 16777215T\nexpect result=-ENOMEM\nmmap A b 0\n"
		      "expect result=-EINVAL\n");
}

static void bytes_that_cannot_be_meant_are_refused(void **state)
{
	static const char nul[] = "echo a\nproc A\0B\n";
	struct outcome out;
	char *text = calloc(1, SIM_LINE_MAX + 16);

	(void)state;
	outcome_run(&out, &(struct sim_options){ .check = true }, false, nul, sizeof(nul) - 1);
	assert_string_equal(out.error, "t.ksm:2:7: a NUL byte");
	outcome_free(&out);
	outcome_refused("echo \033[1m\n", "t.ksm:1: a control character");
	outcome_refused("echo \xc0\xaf\n", "t.ksm:1: a control character, or not UTF-8");
	outcome_refused("echo \xed\xa0\x80\n", "not UTF-8");
	assert_non_null(text);
	memset(text, 'x', SIM_LINE_MAX + 1);
	memcpy(text, "echo ", 5);
	outcome_refused(text, "t.ksm:1: the line is longer than 65536 bytes");
	text[SIM_LINE_MAX] = '\n';
	outcome_of(&out, text);
	assert_int_equal(out.status, 0);
	outcome_free(&out);
	free(text);
}

static void a_machine_is_chosen_first(void **state)
{
	(void)state;
	outcome_holds(
		"machine nodes=2 geometry=x86-64-5level\nksm merge_across_nodes 0\nproc A node=1\n"
		"proc B\nmmap A a 1\nmmap B a 1\nfill A a byte:1\nfill B a byte:1\n"
		"madvise A a MERGEABLE\nmadvise B a MERGEABLE\nscan 3\n"
		"expect pages_sharing=0 pages_unshared=2\n");
}

static void step_needs_no_run_until_the_scenario_writes_it(void **state)
{
	(void)state;
	outcome_holds(
		"proc A\nmmap A a 3\nfill A a seeds:1\nmadvise A a MERGEABLE\nstep 1 2\n"
		"expect result=2 run=0 pages_scanned=2\nksm run 0\nscan\n"
		"expect result=0 pages_scanned=2\nksm run 1\nstep 1\nexpect result=1 run=1\n");
}

/* ---- how much one operation may be ---- */

/* Each line is refused, as the fourth of a scenario, with a column and @words. */
static void too_much(const char *const *lines, const char *words)
{
	char text[512];

	for (; *lines; lines++) {
		snprintf(text, sizeof(text),
			 "proc A\nmmap A m 32T noreserve\nmmap A s 1 locked\n%s\n", *lines);
		outcome_refused(text, "t.ksm:4:");
		outcome_refused(text, words);
	}
}

static void an_operation_touches_a_bounded_number_of_pages(void **state)
{
	static const char *const lines[] = { "fill A m byte:1",
					     "touch A m",
					     "read A m",
					     "check A m zero",
					     "poke A m 0 1",
					     "pin A m held",
					     "unpin A m",
					     "migrate A m 0",
					     "swapout A m",
					     "mlock A m",
					     "touch A @1T:1T",
					     "touch A m+0:67108865",
					     "madvise A m POPULATE_READ",
					     "madvise A m POPULATE_WRITE",
					     "mremap A s 1T",
					     "mmap A n 1T locked",
					     "mmap A n 1T populate",
					     NULL };

	(void)state;
	too_much(lines, "may touch 67108864 (256 GiB)");
	outcome_refused(
		"proc A\nmmap A a 256G locked prot=none at=32T\n"
		"mmap A b 256G locked prot=none at=0x204000000000\nmprotect A @32T:512G rw\n",
		"t.ksm:4:12: mprotect would touch 134217728 pages");
	outcome_holds("proc A\nmmap A m 32T noreserve prot=none\nmprotect A m rw\nexpect result=0\n"
		      "madvise A m MERGEABLE\nexpect result=0\ntouch A m+5\nscan 2\nmunlock A m\n"
		      "madvise A m DONTNEED\nexpect result=0 A.rss_anon=0\n");
}

static void an_operation_wakes_ksmd_a_bounded_number_of_times(void **state)
{
	static const char *const times[] = { "scan 1000001", "step 1 1000001", NULL };

	(void)state;
	too_much(times, "at most 1000000 times");
	outcome_holds("run 300h\nexpect result=0\nadvance 99999h\nexpect result=0\n"
		      "ksm sleep_millisecs 0\nrun 60s\nexpect result=0\n");
	outcome_refused("run 400h\n", "t.ksm:1:5: ksmd could wake up 71996400 times");
	outcome_refused("ksm sleep_millisecs 0\nrun 1h\n", "67 s with sleep_millisecs=0");
}

static void what_is_unmapped_is_said_to_be(void **state)
{
	(void)state;
	outcome_refused("proc A\nmmap A m 4\nmunmap A m\ntouch A m\n",
			"t.ksm:4:9: region 'm' of A is not mapped any more");
	outcome_refused("proc A\nmmap A mm 4\nmmap A mn 4\nmunmap A mn\ntouch A mo\n",
			"has no region 'mo'; did you mean 'mm'?");
	outcome_holds("proc A\nmmap A m 4\nmunmap A m\nmmap A m 4\ntouch A m\nexpect result=0\n");
}

static void a_knob_may_be_written_by_its_path(void **state)
{
	(void)state;
	outcome_holds(
		"ksm ksmsim/lru_drain 0\nexpect result=0 lru_drain=0\nksm ksmsim/lru_drain 1\n"
		"expect result=0 lru_drain=1 ksmsim/lru_drain=1\nksm ksm/pages_to_scan 7\n"
		"expect pages_to_scan=7\nksm ksm/nothing 1\nexpect result=-ENOENT\n");
	outcome_refused("ksm ksmsim/lru_drian 1\n",
			"unknown knob 'ksmsim/lru_drian'; did you mean 'lru_drain'?");
}

/* ---- no memory ---- */

struct meter {
	long left;   /* allocations until one fails; < 0: none does */
	size_t live; /* bytes */
};

static void *meter_alloc(void *self, size_t bytes)
{
	struct meter *meter = self;

	if (meter->left == 0)
		return NULL;
	if (meter->left > 0)
		meter->left--;
	meter->live += bytes;
	return calloc(1, bytes);
}

static void meter_free(void *self, void *ptr, size_t bytes)
{
	struct meter *meter = self;

	if (ptr)
		meter->live -= bytes;
	free(ptr);
}

/* Fails the 1st, 2nd, ... allocation and all after it, until the run gets through. */
static void survives_without_memory(bool lua, const char *text)
{
	struct meter meter = { 0, 0 };
	struct ksmsim_allocator allocator = { meter_alloc, meter_free, &meter };
	struct sim_options options = { .allocator = &allocator };
	struct outcome out;
	long n;

	for (n = 0; n < 100000; n++) {
		meter.left = n;
		outcome_run(&out, &options, lua, text, strlen(text));
		assert_int_equal(meter.live, 0);
		outcome_free(&out);
		if (!out.status)
			break;
		assert_int_equal(out.status, KSMSIM_ENOMEM);
		assert_non_null(strstr(out.error, "memory"));
	}
	assert_true(n > 20);
	assert_int_equal(out.failed, 0);
}

static void any_allocation_of_a_run_may_fail(void **state)
{
	(void)state;
	survives_without_memory(false,
				OUTCOME_PAIR "fork A B\nexec B\nmmap B x 1\nmunmap A heap\nexit A\n"
					     "expect events: enter(A) new(K1,A.heap+1) "
					     "merge(K1,A.heap+0) enter(B) exit(B) exit(A)\n");
}

static void any_allocation_of_a_script_may_fail(void **state)
{
	(void)state;
	survives_without_memory(true, "proc('A') mmap('A','h',2) pcall(fill,'A','h','byte:1')");
}

static long json_left;

static void *json_alloc(size_t bytes)
{
	return json_left && json_left-- ? malloc(bytes) : NULL;
}

static void any_allocation_of_an_observation_may_fail(void **state)
{
	struct outcome out;
	long n;

	(void)state;
	json_set_alloc_funcs(json_alloc, free);
	for (n = 0; n < 100000; n++) {
		json_left = n;
		outcome_of(&out, OUTCOME_PAIR "expect pages_shared=2\n");
		outcome_free(&out);
		if (!out.status)
			break;
		assert_int_equal(out.status, KSMSIM_ENOMEM);
	}
	json_set_alloc_funcs(malloc, free);
	assert_true(n > 100 && n < 100000);
}

/* ---- options ---- */

static void refused_options(const struct sim_options *options, const char *words)
{
	struct sim_run *run = NULL;
	char text[512];

	assert_int_equal(sim_run_new(options, text, sizeof(text), &run), SIM_EINPUT);
	if (!strstr(text, words))
		fail_msg("'%s' is not in '%s'", words, text);
}

static void options_are_checked(void **state)
{
	static const struct sim_setting typo = { "smart_scna", "1" }, bad = { "smart_scan", "7" },
					good = { "smart_scan", "0" };
	struct outcome out;

	(void)state;
	refused_options(&(struct sim_options){ .profile = "linux-6.19" },
			"did you mean 'linux-6.1'");
	refused_options(&(struct sim_options){ .geometry = "x86-64-4levels" }, "did you mean");
	refused_options(&(struct sim_options){ .knobs = &typo, .nr_knobs = 1 }, "'smart_scan'?");
	refused_options(&(struct sim_options){ .knobs = &bad, .nr_knobs = 1 }, "gives EINVAL");
	refused_options(
		&(struct sim_options){ .profile = "linux-6.1", .knobs = &good, .nr_knobs = 1 },
		"linux-6.1 has no knob smart_scan");
	refused_options(&(struct sim_options){ .features = &bad, .nr_features = 1 },
			"neither 0 nor 1");
	refused_options(&(struct sim_options){ .features = &typo, .nr_features = 1 },
			"did you mean");
	refused_options(&(struct sim_options){ .costs = &typo, .nr_costs = 1 }, "unknown cost");
	outcome_run(&out, &(struct sim_options){ .knobs = &good, .nr_knobs = 1 }, false,
		    "expect smart_scan=0\n", 20);
	assert_int_equal(out.status, 0);
	assert_int_equal(out.failed, 0);
	assert_int_equal(out.expected, 1);
	outcome_free(&out);
}

static void suggestions_are_near(void **state)
{
	const enum ksmsim_table knobs = KSMSIM_TABLE_KNOBS;

	(void)state;
	assert_string_equal(sim_nearest("smartscan", 9, sim_table_name, &knobs), "smart_scan");
	assert_null(sim_nearest("zebra", 5, sim_table_name, &knobs));
	assert_null(sim_nearest("", 0, sim_table_name, &knobs));
	assert_null(sim_nearest("x", 1, sim_table_name, &knobs));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_example_of_the_manual_holds),
	cmocka_unit_test(comments_blank_lines_and_cr_lf_are_fine),
	cmocka_unit_test(lengths_are_pages_or_bytes),
	cmocka_unit_test(regions_are_placed_from_1_tib_with_gaps),
	cmocka_unit_test(a_refused_mapping_keeps_its_place),
	cmocka_unit_test(regions_follow_munmap_mremap_and_brk),
	cmocka_unit_test(a_line_says_what_was_expected),
	cmocka_unit_test(numbers_that_do_not_fit_are_refused),
	cmocka_unit_test(bytes_that_cannot_be_meant_are_refused),
	cmocka_unit_test(a_machine_is_chosen_first),
	cmocka_unit_test(step_needs_no_run_until_the_scenario_writes_it),
	cmocka_unit_test(an_operation_touches_a_bounded_number_of_pages),
	cmocka_unit_test(an_operation_wakes_ksmd_a_bounded_number_of_times),
	cmocka_unit_test(what_is_unmapped_is_said_to_be),
	cmocka_unit_test(a_knob_may_be_written_by_its_path),
	cmocka_unit_test(any_allocation_of_a_run_may_fail),
	cmocka_unit_test(any_allocation_of_a_script_may_fail),
	cmocka_unit_test(any_allocation_of_an_observation_may_fail),
	cmocka_unit_test(options_are_checked),
	cmocka_unit_test(suggestions_are_near),
};

TEST_MAIN(tests)
