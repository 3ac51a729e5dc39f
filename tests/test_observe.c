/*
 * test_observe.c - what a scenario expects, and what is observed of a run: its report,
 * the names of frames, and the lines of JSON, which are the same for equal runs.
 */
#include "outcome.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

/* ---- expectations ---- */

static void expectations_say_what_was_seen(void **state)
{
	(void)state;
	outcome_misses(OUTCOME_PAIR "expect pages_shared=2\n",
		       "t.ksm:6:8: expected pages_shared=2, seen 1");
	outcome_misses(OUTCOME_PAIR "expect general_profit=-1\n", "seen 3968");
	outcome_misses(OUTCOME_PAIR "expect smart_scan=0\n", "seen 1");
	outcome_misses(OUTCOME_PAIR "expect advisor_mode=scan-time\n", "seen none");
	outcome_misses(OUTCOME_PAIR "ksm run 5\nexpect result=0\n", "seen -EINVAL");
	outcome_misses(OUTCOME_PAIR "expect result=-EINVAL\n", "seen 4");
	outcome_misses(OUTCOME_PAIR "expect A.rmap_items=3\n", "seen 2");
	outcome_misses(OUTCOME_PAIR "expect A.heap=ksm\n", "seen none in its page 2");
	outcome_misses(OUTCOME_PAIR "expect same(A.heap+0,A.heap+2)\n",
		       "seen no page in the second place");
	outcome_misses(OUTCOME_PAIR "fill A heap+2 byte:1\nexpect same(A.heap+0,A.heap+2)\n",
		       "seen two frames");
	outcome_misses(OUTCOME_PAIR "expect differ(A.heap+0, A.heap+1)\n", "seen one frame");
	outcome_misses(
		OUTCOME_PAIR "expect events: enter(A) merge(K1,A.heap+0)\n",
		"seen enter(A) new(K1,A.heap+1) merge(K1,A.heap+0) (differs from event 2 on)");
	outcome_misses(OUTCOME_PAIR "expect events: none\n", "seen enter(A)");
	outcome_misses("expect events: enter(A)\n", "seen none (differs from event 1 on)");
}

static void every_wrong_item_of_a_line_is_reported(void **state)
{
	struct outcome out;

	(void)state;
	outcome_of(&out, OUTCOME_PAIR
		   "expect pages_shared=5 full_scans=2 pages_sharing=6\nexpect run=0\n");
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
	outcome_holds(OUTCOME_PAIR "expect events: enter(A) new(K1,A.heap+1) merge(K1, A.heap+0)\n"
				   "expect pages_shared=1\nexpect events: none\nexit A\nscan\n"
				   "expect allevents: exit(A) start(2,2) rmitem(K1,A.heap+1) "
				   "rmnode(K1) stop(2,0)\n"
				   "expect @linux-6.18 events: none\n");
}

static void expectations_of_other_profiles_are_skipped(void **state)
{
	struct outcome out;

	(void)state;
	outcome_of(&out,
		   OUTCOME_PAIR "expect @linux-6.1,linux-7.3 pages_shared=9\n"
				"expect @linux-6.1 events: none\n"
				"expect @linux-6.12,linux-6.18 pages_shared=1\n"
				"expect events: enter(A) new(K1,A.heap+1) merge(K1,A.heap+0)\n");
	assert_int_equal(out.status, 0);
	assert_int_equal(out.failed, 0);
	assert_int_equal(out.expected, 2);
	outcome_free(&out);
	outcome_refused("expect @linux-6.13 run=0\n", "unknown profile 'linux-6.13'");
}

static void expectations_that_cannot_be_read_end_the_run(void **state)
{
	(void)state;
	outcome_refused("expect\n", "expected something");
	outcome_refused("expect pages_shred=1\n", "did you mean 'pages_shared'?");
	outcome_refused("expect pages_shared=x\n", "'x' is not a number");
	outcome_refused("expect pages_shared=\n", "expected a value");
	outcome_refused("expect pages_shared\n", "is no expectation");
	outcome_refused("proc A\nexpect A.rmap_itms=1\n", "did you mean 'rmap_items'?");
	outcome_refused("proc A\nmmap A h 1\nexpect A.h=annon\n", "did you mean 'anon'?");
	outcome_refused("proc A\nexit A\nexpect A.rmap_items=0\n", "process A has exited");
	outcome_refused("proc A\nmmap A h 2\nexpect same(A.h,A.h+1)\n", "is not one page");
	outcome_refused("expect same(A)\n", "expected same(PROCESS.RANGE,PROCESS.RANGE)");
	outcome_refused("expect events: entre(A)\n", "did you mean 'enter'?");
	outcome_refused("expect events: enter(A,B)\n", "enter(...) has 1 to 1 arguments");
	outcome_refused("expect events:\n", "expected events, or none");
	outcome_refused("proc A\nmmap A h 32T\nexpect A.h=none\n", "is not looked at");
}

/* ---- names of frames ---- */

static void a_frame_that_lives_again_has_another_name(void **state)
{
	(void)state;
	outcome_holds(
		"proc A\nmmap A h 2\nfill A h byte:1\nmadvise A h MERGEABLE\nksm smart_scan 0\n"
		"scan 2\nexpect events: enter(A) new(K1,A.h+1) merge(K1,A.h+0)\n"
		"ksm run 2\nexpect events: rmitem(K1,A.h+1) rmnode(K1)\nksm run 1\nscan 2\n"
		"expect events: new(K2,A.h+1) merge(K2,A.h+0)\n");
}

static void a_page_that_is_refused_twice_has_another_name(void **state)
{
	(void)state;
	outcome_holds(
		"proc A\nmmap A h 2\nfill A h byte:1\nmadvise A h MERGEABLE\nksm smart_scan 0\n"
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
	outcome_of(&out, OUTCOME_PAIR "ksm run 5\nexpect run=1\necho hi\n");
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
	outcome_run(&a, &options, true, script, strlen(script));
	outcome_run(&b, &options, true, script, strlen(script));
	options.seed = 43;
	outcome_run(&c, &options, true, script, strlen(script));
	assert_int_equal(a.status, 0);
	assert_string_equal(a.json, b.json);
	assert_string_not_equal(strstr(a.json, "\n"), strstr(c.json, "\n"));
	outcome_free(&a);
	outcome_free(&b);
	outcome_free(&c);
}

static void ksm_pages_are_counted_when_asked_for_and_at_the_end(void **state)
{
	struct outcome out;

	(void)state;
	outcome_holds(OUTCOME_PAIR
		      "expect A.ksm_pages=2\nfill A heap+0 byte:8\nexpect A.ksm_pages=1\n"
		      "munmap A heap+1\nexpect A.ksm_pages=0\n");
	outcome_misses(OUTCOME_PAIR "expect A.ksm_pages=3\n", "seen 2");
	outcome_of(&out, OUTCOME_PAIR);
	assert_non_null(strstr(out.json, "\"ksm_pages\":2"));
	assert_true(strstr(out.json, "\"ksm_pages\":") > strstr(out.json, "{\"end\""));
	outcome_free(&out);
}

static void smaps_are_read_when_asked_for_and_at_the_end(void **state)
{
	struct outcome out;

	(void)state;
	outcome_holds(OUTCOME_PAIR
		      "expect A.shared_dirty=2 A.private_dirty=0 A.pss=4\n"
		      "fork A B\nexpect A.shared_dirty=2 A.pss=2 B.pss=2 B.locked=0\n");
	outcome_misses(OUTCOME_PAIR "expect A.shared_dirty=3\n", "seen 2");
	outcome_of(&out, OUTCOME_PAIR);
	assert_non_null(strstr(out.json, "\"pss\":4"));
	assert_true(strstr(out.json, "\"pss\":") > strstr(out.json, "{\"end\""));
	outcome_free(&out);
}

static const struct CMUnitTest tests[] = {
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
	cmocka_unit_test(smaps_are_read_when_asked_for_and_at_the_end),
};

TEST_MAIN(tests)
