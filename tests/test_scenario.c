/*
 * test_scenario.c - scenarios: what is read, what is refused and with which
 * words, expectations, observations, Lua and its limits.
 *
 * A test gives a text and says what the run must end with. Messages are
 * compared where people depend on them: place, name and suggestion.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "sim/sim.h"
#include "test.h"

struct outcome {
	int status;
	uint64_t failed, expected, operations;
	int64_t result;
	char error[1024];
	char failure[8192];
	char *json; /* free() */
	char *echo; /* free() */
};

static FILE *text_file(const char *text, size_t length)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, length, file), length);
	rewind(file);
	return file;
}

static char *contents(FILE *file)
{
	const long length = ftell(file);
	char *text = calloc(1, (size_t)length + 1);

	assert_non_null(text);
	rewind(file);
	assert_int_equal(fread(text, 1, (size_t)length, file), (size_t)length);
	fclose(file);
	return text;
}

static void run_bytes(struct outcome *out, const struct sim_options *base, bool lua,
		      const char *text, size_t length)
{
	struct sim_options options = *base;
	FILE *in = text_file(text, length), *json = tmpfile(), *echo = tmpfile();
	struct sim_run *run = NULL;

	memset(out, 0, sizeof(*out));
	options.json = json;
	options.echo = echo;
	out->status = sim_run_new(&options, out->error, sizeof(out->error), &run);
	if (!out->status) {
		out->status = lua ? sim_run_lua(run, in, "t.lua") : sim_run_lines(run, in, "t.ksm");
		if (!out->status)
			out->status = sim_run_end(run);
		snprintf(out->error, sizeof(out->error), "%s", sim_run_error(run));
		snprintf(out->failure, sizeof(out->failure), "%s", sim_run_failure(run));
		out->failed = sim_run_failed(run);
		out->expected = sim_run_expected(run);
		out->operations = sim_run_operations(run);
		out->result = sim_run_result(run);
		sim_run_free(run);
	}
	fclose(in);
	out->json = contents(json);
	out->echo = contents(echo);
}

static void outcome_free(struct outcome *out)
{
	free(out->json);
	free(out->echo);
}

static const struct sim_options plain = { .check = true };

static void run_text(struct outcome *out, const char *text)
{
	run_bytes(out, &plain, false, text, strlen(text));
}

/* The text runs, and everything that it expects holds. */
static void holds(const char *text)
{
	struct outcome out;

	run_text(&out, text);
	if (out.status || out.failed)
		fail_msg("%s%s", out.error, out.failure);
	assert_true(out.expected > 0);
	outcome_free(&out);
}

/* The text is refused, and the message has @words. */
static void refused(const char *text, const char *words)
{
	struct outcome out;

	run_text(&out, text);
	assert_int_equal(out.status, SIM_EINPUT);
	if (!strstr(out.error, words))
		fail_msg("'%s' is not in '%s'", words, out.error);
	outcome_free(&out);
}

/* The text runs, one expectation fails, and the report has @words. */
static void misses(const char *text, const char *words)
{
	struct outcome out;

	run_text(&out, text);
	if (out.status)
		fail_msg("%s", out.error);
	assert_int_equal(out.failed, 1);
	if (!strstr(out.failure, words))
		fail_msg("'%s' is not in '%s'", words, out.failure);
	outcome_free(&out);
}

#define PAIR "proc A\nmmap A heap 4\nfill A heap+0:2 byte:7\nmadvise A heap MERGEABLE\nscan 2\n"

/* ---- lines ---- */

static void the_example_of_the_manual_holds(void **state)
{
	(void)state;
	holds(PAIR "expect pages_shared=1 pages_sharing=1\n");
}

static void comments_blank_lines_and_cr_lf_are_fine(void **state)
{
	(void)state;
	holds("# \xff any bytes here\r\n\r\n\t \r\nproc A # end\r\nmmap A r 1\r\n"
	      "fill A r byte:'#' # hash\r\ncheck A r byte:35\r\nexpect result=0");
	holds("proc A\nmmap A r 1\nfill A r byte:' '\ncheck A r byte:32\nexpect result=0\n");
}

static void lengths_are_pages_or_bytes(void **state)
{
	(void)state;
	holds("proc A\nmmap A a 2\nmmap A b 8K\nmmap A c 1M\nfill A a+4K byte:1\n"
	      "expect A.a+1=anon A.a+0=none\nfill A c+255:* byte:1\nexpect A.c+255=anon\n"
	      "expect A.rss_anon=2\n");
}

static void regions_are_placed_from_1_tib_with_gaps(void **state)
{
	(void)state;
	holds("proc A\nmmap A a 1\nexpect result=0x10000000000\n"
	      "mmap A b 3M\nexpect result=0x10000400000\n"
	      "mmap A c 1\nexpect result=0x10000a00000\n"
	      "mmap A d 1 at=0x10000e00000\nmmap A e 1\nexpect result=0x10001200000\n"
	      "fork A B\nmmap B f 1\nexpect result=0x10001600000\n"
	      "exec B\nmmap B a 1\nexpect result=0x10000000000\n");
}

static void a_refused_mapping_keeps_its_place(void **state)
{
	(void)state;
	holds("proc A\nmmap A big 64T\nexpect result=0x10000000000\nmmap A big2 100T\n"
	      "expect result=-ENOMEM\nmadvise A big2 MERGEABLE\nexpect result=-ENOMEM\n");
}

static void regions_follow_munmap_mremap_and_brk(void **state)
{
	(void)state;
	holds("proc A\nmmap A a 8\nfill A a seeds:1\nmunmap A a+2:2\nexpect A.a+0:2=anon "
	      "A.a+2:2=none A.a+4:*=anon\nmremap A a+4:* 2\nexpect A.a+4:2=anon\n");
	refused("proc A\nmmap A a 8\nmunmap A a\nread A a\n",
		"t.ksm:4:8: region 'a' of A is not mapped any more");
	refused("proc A\nmmap A a 8\nmremap A a 2\nread A a+2\n", "beyond region a");
	holds("proc A\nmmap A a 2\nfill A a seeds:1\nmmap A wall 1 at=0x10000002000 fixed\n"
	      "mremap A a 4 maymove as=b\nexpect result=0x10000400000 A.b+0:2=anon\n"
	      "check A b+0:2 seeds:1\nexpect result=0\n");
	refused("proc A\nmmap A a 4\nmremap A a+2:2 4 maymove\n", "needs as=NAME");
	holds("proc A\nbrk A 4\nfill A brk byte:1\nexpect A.brk=anon A.rss_anon=4\n"
	      "brk A 2\nexpect A.rss_anon=2\nbrk A 0\nexpect A.rss_anon=0\n");
	refused("proc A\nbrk A 1\nbrk A 0\nread A brk\n",
		"region 'brk' of A is not mapped any more");
}

static void a_line_says_what_was_expected(void **state)
{
	(void)state;
	refused("prok A\n", "t.ksm:1:1: unknown operation 'prok'; did you mean 'proc'?");
	refused("proc\n", "t.ksm:1:5: the line ends; expected a new name");
	refused("\nproc 9A\n", "t.ksm:2:6: '9A' is no name");
	refused("proc A B\n", "t.ksm:1:8: 'B' is one argument too many (proc NEWPROC [node=NODE])");
	refused("proc A\nproc A\n", "names are not used again");
	refused("proc A\nexit A\nread A x\n", "t.ksm:3:6: process A has exited");
	refused("proc guest1\nmmap guset1 a 1\n", "did you mean 'guest1'?");
	refused("proc A\nmmap A a 1\nmadvise A a MERGABLE\n", "did you mean 'MERGEABLE'?");
	refused("proc A\nmmap A a 1\nmprotect A a rx\n", "expected none|r|rw");
	refused("proc A\nmmap A a 1 shraed\n", "did you mean 'shared'?");
	refused("proc A\nmmap A a 1 shared=1\n", "'shared=1' is not how it is written");
	refused("proc A\nmmap A a 1 at\n", "expected at=ADDRESS");
	refused("proc A\nmmap A a 1 shared shared\n", "given twice");
	refused("proc A\nmmap A a 1\nmmap A a 1\n", "there is a region a already");
	refused("proc A\nmmap A heap 1\nread A heep\n", "did you mean 'heap'?");
	refused("ksm smart_scna 1\n", "did you mean 'smart_scan'?");
	refused("feature smart_scam 1\n", "did you mean 'smart_scan'?");
	refused("proc A\nfeature smart_scan 1\n", "before the first process");
	refused("inject stable_nods 1\n", "did you mean 'stable_node'?");
	refused("proc A node=1\n", "this machine has 1 NUMA node");
	refused("proc A\nmachine nodes=2\n", "must be the first operation");
	refused("proc A\nmmap A a 1\nfill A a byte:256\n", "has a byte above 255");
	refused("proc A\nmmap A a 1\npoke A a 4095 1 2\n", "not all in one page");
	refused("proc A\nmmap A a 1\nfill A @0x10000000001:1 zero\n", "fill needs whole pages");
	refused("run 5\n", "'5' is no time");
}

static void numbers_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	refused("proc A\nmmap A a 18446744073709551616\n", "is too large");
	refused("proc A\nmmap A a 9223372036854775808\n", "is too large");
	refused("proc A\nmmap A a 16777216T\n", "is too large");
	refused("proc A\nmmap A a 2\nread A a+1:18446744073709551615\n", "is too large");
	refused("proc A\nmmap A a 2\nread A a+1:2\n", "beyond region a, which has 2 pages");
	refused("read A @1:1\n", "unknown process 'A'");
	refused("proc A\nread A @0xffffffffffffffff:1\n", "is too large");
	refused("run 99999999999h\n", "is too large");
	refused("step 4294967296\n", "is too large");
	holds("proc A\nmmap A a 16777215T\nexpect result=-ENOMEM\nmmap A b 0\n"
	      "expect result=-EINVAL\n");
}

static void bytes_that_cannot_be_meant_are_refused(void **state)
{
	static const char nul[] = "echo a\nproc A\0B\n";
	struct outcome out;
	char *text = calloc(1, SIM_LINE_MAX + 16);

	(void)state;
	run_bytes(&out, &plain, false, nul, sizeof(nul) - 1);
	assert_string_equal(out.error, "t.ksm:2:7: a NUL byte");
	outcome_free(&out);
	refused("echo \033[1m\n", "t.ksm:1: a control character");
	refused("echo \xc0\xaf\n", "t.ksm:1: a control character, or not UTF-8");
	refused("echo \xed\xa0\x80\n", "not UTF-8");
	assert_non_null(text);
	memset(text, 'x', SIM_LINE_MAX + 1);
	memcpy(text, "echo ", 5);
	refused(text, "t.ksm:1: the line is longer than 65536 bytes");
	text[SIM_LINE_MAX] = '\n';
	run_text(&out, text);
	assert_int_equal(out.status, 0);
	outcome_free(&out);
	free(text);
}

static void a_machine_is_chosen_first(void **state)
{
	(void)state;
	holds("machine nodes=2 geometry=x86-64-5level\nksm merge_across_nodes 0\nproc A node=1\n"
	      "proc B\nmmap A a 1\nmmap B a 1\nfill A a byte:1\nfill B a byte:1\n"
	      "madvise A a MERGEABLE\nmadvise B a MERGEABLE\nscan 3\n"
	      "expect pages_sharing=0 pages_unshared=2\n");
}

static void step_needs_no_run_until_the_scenario_writes_it(void **state)
{
	(void)state;
	holds("proc A\nmmap A a 3\nfill A a seeds:1\nmadvise A a MERGEABLE\nstep 1 2\n"
	      "expect result=2 run=0 pages_scanned=2\nksm run 0\nscan\n"
	      "expect result=0 pages_scanned=2\nksm run 1\nstep 1\nexpect result=1 run=1\n");
}

/* ---- expectations ---- */

static void expectations_say_what_was_seen(void **state)
{
	(void)state;
	misses(PAIR "expect pages_shared=2\n", "t.ksm:6:8: expected pages_shared=2, seen 1");
	misses(PAIR "expect general_profit=-1\n", "seen 3968");
	misses(PAIR "expect smart_scan=0\n", "seen 1");
	misses(PAIR "expect advisor_mode=scan-time\n", "seen none");
	misses(PAIR "ksm run 5\nexpect result=0\n", "seen -EINVAL");
	misses(PAIR "expect result=-EINVAL\n", "seen 4");
	misses(PAIR "expect A.rmap_items=3\n", "seen 2");
	misses(PAIR "expect A.heap=ksm\n", "seen none in its page 2");
	misses(PAIR "expect same(A.heap+0,A.heap+2)\n", "seen no page in the second place");
	misses(PAIR "fill A heap+2 byte:1\nexpect same(A.heap+0,A.heap+2)\n", "seen two frames");
	misses(PAIR "expect differ(A.heap+0, A.heap+1)\n", "seen one frame");
	misses(PAIR "expect events: enter(A) merge(K1,A.heap+0)\n",
	       "seen enter(A) new(K1,A.heap+1) merge(K1,A.heap+0) (differs from event 2 on)");
	misses(PAIR "expect events: none\n", "seen enter(A)");
	misses("expect events: enter(A)\n", "seen none (differs from event 1 on)");
}

static void every_wrong_item_of_a_line_is_reported(void **state)
{
	struct outcome out;

	(void)state;
	run_text(&out, PAIR "expect pages_shared=5 full_scans=2 pages_sharing=6\nexpect run=0\n");
	assert_int_equal(out.failed, 1);
	assert_int_equal(out.expected, 2);
	assert_non_null(strstr(out.failure, "pages_shared=5, seen 1"));
	assert_non_null(strstr(out.failure, "pages_sharing=6, seen 1"));
	assert_null(strstr(out.failure, "full_scans"));
	outcome_free(&out);
}

static void events_are_those_since_the_last_expectation(void **state)
{
	(void)state;
	holds(PAIR "expect events: enter(A) new(K1,A.heap+1) merge(K1, A.heap+0)\n"
		   "expect pages_shared=1\nexpect events: none\nexit A\nscan\n"
		   "expect allevents: exit(A) start(2,2) rmitem(K1,A.heap+1) "
		   "rmnode(K1) stop(2,0)\n"
		   "expect @linux-6.18 events: none\n");
}

static void expectations_of_other_profiles_are_skipped(void **state)
{
	struct outcome out;

	(void)state;
	run_text(&out, PAIR "expect @linux-6.1,linux-7.3 pages_shared=9\n"
			    "expect @linux-6.1 events: none\n"
			    "expect @linux-6.12,linux-6.18 pages_shared=1\n"
			    "expect events: enter(A) new(K1,A.heap+1) merge(K1,A.heap+0)\n");
	assert_int_equal(out.status, 0);
	assert_int_equal(out.failed, 0);
	assert_int_equal(out.expected, 2);
	outcome_free(&out);
	refused("expect @linux-6.13 run=0\n", "unknown profile 'linux-6.13'");
}

static void expectations_that_cannot_be_read_end_the_run(void **state)
{
	(void)state;
	refused("expect\n", "expected something");
	refused("expect pages_shred=1\n", "did you mean 'pages_shared'?");
	refused("expect pages_shared=x\n", "'x' is not a number");
	refused("expect pages_shared=\n", "expected a value");
	refused("expect pages_shared\n", "is no expectation");
	refused("proc A\nexpect A.rmap_itms=1\n", "did you mean 'rmap_items'?");
	refused("proc A\nmmap A h 1\nexpect A.h=annon\n", "did you mean 'anon'?");
	refused("proc A\nexit A\nexpect A.rmap_items=0\n", "process A has exited");
	refused("proc A\nmmap A h 2\nexpect same(A.h,A.h+1)\n", "is not one page");
	refused("expect same(A)\n", "expected same(PROCESS.RANGE,PROCESS.RANGE)");
	refused("expect events: entre(A)\n", "did you mean 'enter'?");
	refused("expect events: enter(A,B)\n", "enter(...) has 1 to 1 arguments");
	refused("expect events:\n", "expected events, or none");
	refused("proc A\nmmap A h 32T\nexpect A.h=none\n", "is not looked at");
}

/* ---- names of frames ---- */

static void a_frame_that_lives_again_has_another_name(void **state)
{
	(void)state;
	holds("proc A\nmmap A h 2\nfill A h byte:1\nmadvise A h MERGEABLE\nksm smart_scan 0\n"
	      "scan 2\nexpect events: enter(A) new(K1,A.h+1) merge(K1,A.h+0)\n"
	      "ksm run 2\nexpect events: rmitem(K1,A.h+1) rmnode(K1)\nksm run 1\nscan 2\n"
	      "expect events: new(K2,A.h+1) merge(K2,A.h+0)\n");
}

static void a_page_that_is_refused_twice_has_another_name(void **state)
{
	(void)state;
	holds("proc A\nmmap A h 2\nfill A h byte:1\nmadvise A h MERGEABLE\nksm smart_scan 0\n"
	      "pin A h+1 get\nscan 2\nexpect events: enter(A) new(K1,A.h+1,EFAULT)\n"
	      "scan\nexpect events: new(K2,A.h+1,EFAULT)\nunpin A h+1\nscan\n"
	      "expect events: new(K3,A.h+1) merge(K3,A.h+0)\n");
}

/* ---- observations ---- */

static json_t *line_of(const char *json, size_t nr)
{
	json_t *object;

	while (nr--) {
		json = strchr(json, '\n');
		assert_non_null(json);
		json++;
	}
	object = json_loads(json, JSON_DISABLE_EOF_CHECK, NULL);
	assert_non_null(object);
	return object;
}

static void observations_have_a_stable_form(void **state)
{
	struct outcome out;
	json_t *object;

	(void)state;
	run_text(&out, PAIR "ksm run 5\nexpect run=1\necho hi\n");
	assert_ptr_equal(strstr(out.json,
				"{\"schema\":1,\"ksmsim\":\"" KSMSIM_VERSION
				"\",\"backend\":\"model\",\"kernel\":\"linux-6.18\","
				"\"profile\":\"linux-6.18\",\"geometry\":\"x86-64-4level\","
				"\"page_bytes\":4096,\"seed\":0,\"counters\":{\"pages_shared\":0,"),
			 out.json);
	assert_non_null(
		strstr(out.json, "\n{\"n\":1,\"line\":1,\"op\":\"proc A\",\"result\":0}\n"));
	assert_non_null(strstr(out.json, "{\"n\":2,\"line\":2,\"op\":\"mmap A heap 4\",\"result\":"
					 "1099511627776,\"processes\":{\"A\":{\"vmas\":1}}}\n"));
	assert_non_null(strstr(out.json, "\"events\":[\"start(0,0)\",\"stop(0,2)\",\"start(1,2)\","
					 "\"new(K1,A.heap+1)\",\"merge(K1,A.heap+0)\","
					 "\"stop(1,2)\"],\"processes\":{\"A\":{\"rmap_items\":2,"
					 "\"merging_pages\":2,\"profit\":8064}}}"));
	assert_non_null(strstr(out.json, "\"op\":\"ksm run 5\",\"result\":\"-EINVAL\"}\n"));
	assert_non_null(
		strstr(out.json, "\"op\":\"expect run=1\",\"held\":false,\"seen\":\"t.ksm:7:8"));
	assert_non_null(strstr(out.json, "{\"n\":8,\"line\":8,\"op\":\"echo hi\"}\n"));
	assert_null(strstr(out.json, "host_bytes"));
	object = line_of(out.json, 9);
	assert_true(json_is_true(json_object_get(object, "end")));
	assert_int_equal(json_integer_value(json_object_get(object, "operations")), 8);
	assert_int_equal(json_integer_value(json_object_get(object, "failed")), 1);
	assert_int_equal(json_array_size(json_object_get(object, "walks")), 1);
	json_decref(object);
	outcome_free(&out);
}

static void equal_runs_give_equal_bytes(void **state)
{
	static const char script[] = "proc('A') mmap('A','h',64) for i=0,63 do "
				     "fill('A','h+'..i,'byte:'..math.random(1,9)) end "
				     "madvise('A','h','MERGEABLE') scan(3)";
	struct sim_options options = { .seed = 42 };
	struct outcome a, b, c;

	(void)state;
	run_bytes(&a, &options, true, script, strlen(script));
	run_bytes(&b, &options, true, script, strlen(script));
	options.seed = 43;
	run_bytes(&c, &options, true, script, strlen(script));
	assert_int_equal(a.status, 0);
	assert_string_equal(a.json, b.json);
	assert_string_not_equal(strstr(a.json, "\n"), strstr(c.json, "\n"));
	outcome_free(&a);
	outcome_free(&b);
	outcome_free(&c);
}

/* Each line is refused, as the fourth of a scenario, with a column and @words. */
static void too_much(const char *const *lines, const char *words)
{
	char text[512];

	for (; *lines; lines++) {
		snprintf(text, sizeof(text),
			 "proc A\nmmap A m 32T noreserve\nmmap A s 1 locked\n%s\n", *lines);
		refused(text, "t.ksm:4:");
		refused(text, words);
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
	refused("proc A\nmmap A a 256G locked prot=none at=32T\n"
		"mmap A b 256G locked prot=none at=0x204000000000\nmprotect A @32T:512G rw\n",
		"t.ksm:4:12: mprotect would touch 134217728 pages");
	holds("proc A\nmmap A m 32T noreserve prot=none\nmprotect A m rw\nexpect result=0\n"
	      "madvise A m MERGEABLE\nexpect result=0\ntouch A m+5\nscan 2\nmunlock A m\n"
	      "madvise A m DONTNEED\nexpect result=0 A.rss_anon=0\n");
}

static void an_operation_wakes_ksmd_a_bounded_number_of_times(void **state)
{
	static const char *const times[] = { "scan 1000001", "step 1 1000001", NULL };

	(void)state;
	too_much(times, "at most 1000000 times");
	holds("run 300h\nexpect result=0\nadvance 99999h\nexpect result=0\n"
	      "ksm sleep_millisecs 0\nrun 60s\nexpect result=0\n");
	refused("run 400h\n", "t.ksm:1:5: ksmd could wake up 71996400 times");
	refused("ksm sleep_millisecs 0\nrun 1h\n", "67 s with sleep_millisecs=0");
}

static void what_is_unmapped_is_said_to_be(void **state)
{
	(void)state;
	refused("proc A\nmmap A m 4\nmunmap A m\ntouch A m\n",
		"t.ksm:4:9: region 'm' of A is not mapped any more");
	refused("proc A\nmmap A mm 4\nmmap A mn 4\nmunmap A mn\ntouch A mo\n",
		"has no region 'mo'; did you mean 'mm'?");
	holds("proc A\nmmap A m 4\nmunmap A m\nmmap A m 4\ntouch A m\nexpect result=0\n");
}

static void a_knob_may_be_written_by_its_path(void **state)
{
	(void)state;
	holds("ksm ksmsim/lru_drain 0\nexpect result=0 lru_drain=0\nksm ksmsim/lru_drain 1\n"
	      "expect result=0 lru_drain=1 ksmsim/lru_drain=1\nksm ksm/pages_to_scan 7\n"
	      "expect pages_to_scan=7\nksm ksm/nothing 1\nexpect result=-ENOENT\n");
	refused("ksm ksmsim/lru_drian 1\n",
		"unknown knob 'ksmsim/lru_drian'; did you mean 'lru_drain'?");
}

static void ksm_pages_are_counted_when_asked_for_and_at_the_end(void **state)
{
	struct outcome out;

	(void)state;
	holds(PAIR "expect A.ksm_pages=2\nfill A heap+0 byte:8\nexpect A.ksm_pages=1\n"
		   "munmap A heap+1\nexpect A.ksm_pages=0\n");
	misses(PAIR "expect A.ksm_pages=3\n", "seen 2");
	run_text(&out, PAIR);
	assert_non_null(strstr(out.json, "\"ksm_pages\":2"));
	assert_true(strstr(out.json, "\"ksm_pages\":") > strstr(out.json, "{\"end\""));
	outcome_free(&out);
}

/* ---- Lua ---- */

static void run_script(struct outcome *out, const char *text)
{
	static const struct sim_options options = { .check = true,
						    .lua_instructions = 10000000,
						    .lua_bytes = (size_t)128 << 20 };

	run_bytes(out, &options, true, text, strlen(text));
}

static void echoes(const char *script, const char *text)
{
	struct outcome out;

	run_script(&out, script);
	if (out.status)
		fail_msg("%s", out.error);
	assert_string_equal(out.echo, text);
	outcome_free(&out);
}

static void dies(const char *script, const char *words)
{
	struct outcome out;

	run_script(&out, script);
	assert_int_equal(out.status, SIM_EINPUT);
	if (!strstr(out.error, words))
		fail_msg("'%s' is not in '%s'", words, out.error);
	outcome_free(&out);
}

static void lua_calls_are_the_same_operations(void **state)
{
	struct outcome lines, lua;

	(void)state;
	run_text(&lines, "proc A\nmmap A h 4 populate prot=rw\nmadvise A h MERGEABLE\n");
	run_script(&lua, "proc('A')\nmmap('A', 'h', 4, {prot='rw', populate=true, shared=false})\n"
			 "madvise('A', 'h', 'MERGEABLE')\n");
	assert_int_equal(lua.status, 0);
	assert_string_equal(strchr(lines.json, '\n'), strchr(lua.json, '\n'));
	outcome_free(&lines);
	outcome_free(&lua);
}

static void lua_sees_results_and_figures(void **state)
{
	(void)state;
	echoes("proc('A') local at = mmap('A','h',4) fill('A','h+0:2','byte:7')\n"
	       "madvise('A','h','MERGEABLE') echo(scan(2)) echo(string.format('%x', at))\n"
	       "echo(ksm('run', 7)) echo(counter('pages_sharing')) echo(knob('run'))\n"
	       "print(process('A').rmap_items, process('A').ksm_pages) "
	       "echo(page('A','h+1').state)\n"
	       "print(expect('pages_shared=1'), knob('advisor_mode'), now(), profile)\n",
	       "4\n10000000000\n-22\n1\n0\n2 2\nksm\ntrue none 0 linux-6.18\n");
}

static void lua_expectations_fail_the_run(void **state)
{
	struct outcome out;

	(void)state;
	run_script(&out, "proc('A')\nprint(expect('pages_shared=1', 'run=0'))\n");
	assert_int_equal(out.status, 0);
	assert_int_equal(out.failed, 1);
	assert_string_equal(out.failure, "t.lua:2: expected pages_shared=1, seen 0");
	assert_string_equal(out.echo, "false\n");
	outcome_free(&out);
}

static void lua_errors_name_file_and_line(void **state)
{
	(void)state;
	dies("proc('A')\n\nmadvise('A', 'heap', 'MERGEABLE')\n", "t.lua:3: A has no region 'heap'");
	dies("proc('A')\nmmap('A', 'h', 1.5)\n",
	     "t.lua:2: argument 3 is a number; expected a whole");
	dies("mmap('A', {}, 1)\n", "t.lua:1: argument 2 is a table");
	dies("\n\nx = nil + 1\n", "t.lua:3: attempt to perform arithmetic");
	dies("x = = 1\n", "t.lua:1: unexpected symbol");
	dies("error({})\n", "error() with a table");
	dies("counter('pages_shred')\n", "t.lua:1: unknown counter 'pages_shred'; did you mean");
	dies("echo('a\\nb')\n", "t.lua:1: argument 1 has a control character");
	dies("\x1bLua\n", "t.lua: attempt to load a binary chunk");
	dies("pcall(proc) proc('B')\n", "t.lua:1: the line ends; expected a new name");
}

static void lua_has_no_way_out(void **state)
{
	(void)state;
	echoes("for _, n in ipairs{'io','os','package','debug','load','loadstring','loadfile',"
	       "'dofile','require','collectgarbage','next','warn'} do print(n, _G[n]) end\n"
	       "print(string.dump, math.randomseed)\n",
	       "io nil\nos nil\npackage nil\ndebug nil\nload nil\nloadstring nil\nloadfile nil\n"
	       "dofile nil\nrequire nil\ncollectgarbage nil\nnext nil\nwarn nil\nnil nil\n");
	dies("setmetatable({}, {__gc = function() end})", "__gc is not available");
	dies("string.format('%p', {})", "%p is an address");
	dies("string.format('%%%-10p', 1)", "%p is an address");
}

static void lua_shows_no_addresses_and_no_hash_order(void **state)
{
	(void)state;
	echoes("local t = {}\nfor i = 1, 40 do t['k' .. i % 40] = i end\nt[3] = 1 t[-1] = 1 "
	       "t[2.5] = 1 t[true] = 1\nlocal s = {}\nfor k in pairs(t) do s[#s + 1] = "
	       "tostring(k) end\nprint(table.concat(s, ' ', 1, 7), s[44])\n",
	       "-1 2.5 3 k0 k1 k10 k11 true\n");
	dies("for k in pairs({[{}] = 1}) do end", "t.lua:1: pairs: a key that is a table");
	echoes("print({}, print, string.format('%s', {}), tostring(nil))",
	       "table function table nil\n");
	echoes("local t = {}\nfor i = 1, 500 do t[i] = {i % 7, i} end\n"
	       "table.sort(t, function(a, b) return a[1] < b[1] end)\nlocal ok = true\n"
	       "for i = 2, 500 do local a, b = t[i-1], t[i]\n"
	       "ok = ok and (a[1] < b[1] or a[1] == b[1] and a[2] < b[2]) end\nprint(ok)",
	       "true\n");
}

static void lua_instructions_are_limited(void **state)
{
	static const char limit[] = "t.lua:1: the script ran more instructions than the limit";

	(void)state;
	dies("while true do end", limit);
	dies("while true do pcall(function() while true do end end) end", limit);
	dies("local function f() return pcall(f) end while true do f() end", limit);
	dies("while true do coroutine.wrap(function() end)() end", limit);
	dies("coroutine.wrap(function() while true do end end)()", limit);
	dies("table.sort({3, 2, 1}, function() while true do end end)", limit);
}

static void lua_library_functions_count_their_work(void **state)
{
	static const char limit[] = "the script ran more instructions than the limit";

	(void)state;
	dies("local s = string.rep('a', 5000) s:find('.-.-.-b')", limit);
	dies("local s = string.rep('a', 60) s:match(string.rep('a*', 30) .. 'b')", limit);
	dies("local s = string.rep('a', 5000) for w in s:gmatch('.*.*.*b') do end", limit);
	dies("local s = string.rep('a', 100) s:gsub(string.rep('a?', 40) .. 'b', '')", limit);
	dies("local s = string.rep('(', 99999) s:find('%b()')", limit);
	dies("local s = string.rep('a', 99999) s:find(s:sub(2) .. 'b', 1, true) s:find('%f[b]')\n"
	     "s:find('(a*)%1b')",
	     limit);
	dies("string.rep('', 1 << 60)", limit);
	dies("while true do string.rep('x', 1000000) end", limit);
	dies("local s = string.rep('x', 1000000) while true do local t = s .. 'y' end", limit);
	dies("local s = string.rep('x', 1000000) while true do pcall(utf8.len, s) end", limit);
	dies("local t = {'a'} table.move(t, 1, 1 << 60, 2)", limit);
	dies("local t = {} for i = 1, 20000 do table.insert(t, 1, i) end", limit);
	dies("local t = {} for i = 1, 20000 do t[i] = '' end\n"
	     "while true do table.concat(t) end",
	     limit);
	dies("local t = setmetatable({}, {__len = function() return 1 << 60 end})\n"
	     "table.insert(t, 1, 1)",
	     "t.lua:2: a table with __len cannot be shifted");
	dies("local t = {} t[100000] = 1 while true do pcall(table.unpack, t, 1, 100000) end",
	     limit);
}

static void lua_library_functions_do_what_they_did(void **state)
{
	(void)state;
	echoes("print(('key = value'):match('^(%w+)%s*=%s*(%w+)$'))\n"
	       "print(('a.b'):find('.', 1, true), ('x(y(z))w'):match('%b()'))\n"
	       "print(('hello world'):gsub('o', '0'), ('THE (quick) fox'):find('%f[%a]%a+%f[%A]', "
	       "5))\n"
	       "local n = 0 for a, b in ('k=v, l=w'):gmatch('(%w)=(%w)') do n = n + 1 end "
	       "print(n)\n"
	       "print(('abab'):match('(ab)%1'), ('[x]'):match('[]]'), ('a-b'):match('[a%-]+'))\n"
	       "local t = {1, 2, 3} table.insert(t, 2, 9) table.insert(t, 8) table.remove(t, 1)\n"
	       "print(table.concat(t, ',')) print(table.concat(t, ',', 2, 3), table.unpack(t))\n"
	       "print(string.rep('ab', 3, '-'), pcall(string.find, 'a', '['))\n",
	       "key value\n2 (y(z))\nhell0 w0rld 6 10\n2\nab ] a-\n9,2,3,8\n2,3 9 2 3 8\n"
	       "ab-ab-ab false malformed pattern (missing ']')\n");
}

static void lua_memory_and_depth_are_limited(void **state)
{
	(void)state;
	dies("local s = 'x' while true do s = s .. s end",
	     "the script needs more than 134217728 bytes");
	dies("string.rep('x', 1 << 40)", "resulting string too large");
	dies("string.rep('x', 1 << 30)", "the script needs more than 134217728 bytes");
	dies("local function f() return 1 + f() end f()", "stack overflow");
	dies("local s = string.rep('(', 300) .. '1' local t = setmetatable({}, "
	     "{__index = function(t, k) return t[k] end}) print(t.x)",
	     "overflow");
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
		run_bytes(&out, &options, lua, text, strlen(text));
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
	survives_without_memory(false, PAIR "fork A B\nexec B\nmmap B x 1\nmunmap A heap\nexit A\n"
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
		run_text(&out, PAIR "expect pages_shared=2\n");
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
	run_bytes(&out, &(struct sim_options){ .knobs = &good, .nr_knobs = 1 }, false,
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
	cmocka_unit_test(expectations_say_what_was_seen),
	cmocka_unit_test(every_wrong_item_of_a_line_is_reported),
	cmocka_unit_test(events_are_those_since_the_last_expectation),
	cmocka_unit_test(expectations_of_other_profiles_are_skipped),
	cmocka_unit_test(expectations_that_cannot_be_read_end_the_run),
	cmocka_unit_test(a_frame_that_lives_again_has_another_name),
	cmocka_unit_test(a_page_that_is_refused_twice_has_another_name),
	cmocka_unit_test(observations_have_a_stable_form),
	cmocka_unit_test(equal_runs_give_equal_bytes),
	cmocka_unit_test(ksm_pages_are_counted_when_asked_for_and_at_the_end),
	cmocka_unit_test(an_operation_touches_a_bounded_number_of_pages),
	cmocka_unit_test(an_operation_wakes_ksmd_a_bounded_number_of_times),
	cmocka_unit_test(what_is_unmapped_is_said_to_be),
	cmocka_unit_test(a_knob_may_be_written_by_its_path),
	cmocka_unit_test(lua_calls_are_the_same_operations),
	cmocka_unit_test(lua_sees_results_and_figures),
	cmocka_unit_test(lua_expectations_fail_the_run),
	cmocka_unit_test(lua_errors_name_file_and_line),
	cmocka_unit_test(lua_has_no_way_out),
	cmocka_unit_test(lua_shows_no_addresses_and_no_hash_order),
	cmocka_unit_test(lua_instructions_are_limited),
	cmocka_unit_test(lua_library_functions_count_their_work),
	cmocka_unit_test(lua_library_functions_do_what_they_did),
	cmocka_unit_test(lua_memory_and_depth_are_limited),
	cmocka_unit_test(any_allocation_of_a_run_may_fail),
	cmocka_unit_test(any_allocation_of_a_script_may_fail),
	cmocka_unit_test(any_allocation_of_an_observation_may_fail),
	cmocka_unit_test(options_are_checked),
	cmocka_unit_test(suggestions_are_near),
};

TEST_MAIN(tests)
