/*
 * test_lockstep.c - two backends in lockstep: what is found, what is told, what
 * is left of it, and random scenarios.
 *
 * The other side is a second model with one behaviour switched, so that it is
 * known what must be found. test_live.c has the running kernel there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/generate.h"
#include "sim/probe.h"
#include "sim/run.h"
#include "sim/verdict.h"
#include "test.h"

/* The stable tree before the checksum: a late copy merges one visit earlier. */
static const struct sim_setting early = { "hash_before_stable", "0" };

static const char late_copy[] = "proc A\n"
				"mmap A m 3\n"
				"madvise A m MERGEABLE\n"
				"fill A m+0:2 tag:7\n"
				"scan 2\n"
				"fill A m+2 tag:7\n"
				"read A m\n"
				"scan\n"
				"touch A m+0\n";

static FILE *text_file(const char *text)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	rewind(file);
	return file;
}

static void verify(struct sim_lockstep *l, const struct sim_lockstep_options *options,
		   const char *name, const char *text)
{
	FILE *in = text_file(text);

	sim_lockstep_file(l, options, in, name);
	fclose(in);
}

static struct sim_lockstep_options against_early(void)
{
	struct sim_lockstep_options options = { .keep_going = false };

	options.side[1].features = &early;
	options.side[1].nr_features = 1;
	return options;
}

static const char *difference(const struct sim_lockstep *l, size_t report, size_t i,
			      const char *key)
{
	const json_t *value = json_array_get(l->reports[report].differences, i);
	const char *text = json_string_value(json_object_get(value, key));

	return text ? text : "";
}

/* ---- what is found ---- */

static void equal_models_show_the_same(void **state)
{
	const struct sim_lockstep_options options = { .keep_going = false };
	struct sim_lockstep l;

	(void)state;
	verify(&l, &options, "t.ksm", late_copy);
	assert_int_equal(l.status, 0);
	assert_int_equal(sim_verdict_of(&l), SIM_SAME);
	assert_int_equal(l.operations, 9);
	assert_true(l.compare.values > 50);
	sim_lockstep_free(&l);
}

static void the_first_operation_that_differs_ends_the_run(void **state)
{
	const struct sim_lockstep_options options = against_early();
	struct sim_lockstep l;

	(void)state;
	verify(&l, &options, "t.ksm", late_copy);
	assert_int_equal(l.status, 0);
	assert_int_equal(sim_verdict_of(&l), SIM_DIFFERENT);
	assert_int_equal(l.nr_reports, 1);
	assert_int_equal(l.reports[0].line, 8);
	assert_string_equal(difference(&l, 0, 0, "field"), "events[1]");
	assert_string_equal(difference(&l, 0, 0, "a"), "stop(2,3)");
	assert_string_equal(difference(&l, 0, 0, "b"), "merge(K1,A.m+2)");
	sim_lockstep_free(&l);
}

static bool is_told(const struct sim_lockstep *l, const char *field, const char *a, const char *b)
{
	size_t i, j;

	for (i = 0; i < l->nr_reports; i++)
		for (j = 0; j < json_array_size(l->reports[i].differences); j++)
			if (!strcmp(difference(l, i, j, "field"), field) &&
			    !strcmp(difference(l, i, j, "a"), a) &&
			    !strcmp(difference(l, i, j, "b"), b))
				return true;
	return false;
}

static void counters_processes_and_pages_are_compared(void **state)
{
	const struct sim_lockstep_options options = against_early();
	struct sim_lockstep l;

	(void)state;
	verify(&l, &options, "t.ksm", late_copy);
	assert_true(is_told(&l, "counters.pages_sharing", "1", "2"));
	assert_true(is_told(&l, "processes.A.merging_pages", "2", "3"));
	assert_true(is_told(&l, "pages.A.m+0", "ksm 1 mapped 2 times", "ksm 1 mapped 3 times"));
	sim_lockstep_free(&l);
}

static void what_stays_wrong_is_told_once(void **state)
{
	struct sim_lockstep_options options = against_early();
	struct sim_lockstep l;

	(void)state;
	options.keep_going = true;
	verify(&l, &options, "t.ksm", late_copy);
	assert_int_equal(l.operations, 9);
	/* the scan, the write that follows it, and what is only looked at in the end */
	assert_int_equal(l.nr_reports, 3);
	assert_int_equal(l.reports[1].line, 9);
	assert_int_equal(json_array_size(l.reports[1].differences), 1);
	assert_int_equal(json_array_size(l.reports[2].differences), 4);
	assert_true(is_told(&l, "processes.A.ksm_pages", "1", "2"));
	assert_true(is_told(&l, "processes.A.private_dirty", "3", "1"));
	sim_lockstep_free(&l);
}

static void an_expectation_that_fails_on_one_side_differs(void **state)
{
	const struct sim_lockstep_options options = against_early();
	struct sim_lockstep l;

	(void)state;
	verify(&l, &options, "t.ksm", "proc A\nexpect pages_shared=1\n");
	assert_int_equal(sim_verdict_of(&l), SIM_DIFFERENT);
	assert_string_equal(difference(&l, 0, 0, "field"), "expectation");
	assert_true(sim_lockstep_agrees(&l));
	sim_lockstep_free(&l);
}

static void lua_drives_both_sides(void **state)
{
	const struct sim_lockstep_options options = against_early();
	struct sim_lockstep l;

	(void)state;
	verify(&l, &options, "t.lua",
	       "proc('A') mmap('A', 'm', 3) madvise('A', 'm', 'MERGEABLE')\n"
	       "for _, r in ipairs{'m+0:2', 'm+2'} do fill('A', r, 'tag:7') scan(2) end\n");
	assert_int_equal(l.status, 0);
	assert_int_equal(l.nr_reports, 1);
	assert_int_equal(l.reports[0].line, 2);
	sim_lockstep_free(&l);
}

static void a_scenario_that_cannot_be_read_is_refused(void **state)
{
	const struct sim_lockstep_options options = { .keep_going = false };
	struct sim_lockstep l;

	(void)state;
	verify(&l, &options, "t.ksm", "proc A\nfill B m zero\n");
	assert_int_equal(sim_verdict_of(&l), SIM_REFUSED);
	assert_non_null(strstr(l.error, "t.ksm:2:6: "));
	sim_lockstep_free(&l);
}

/* ---- what is told ---- */

static void a_report_shows_what_a_reader_needs(void **state)
{
	static const char wanted[] =
		"t.ksm:8: scan\n"
		"  field                      linux-6.18            linux-6.18\n"
		"  events[1]                  stop(2,3)             merge(K1,A.m+2)\n"
		"  counters.pages_volatile    1                     0\n";
	const struct sim_lockstep_options options = against_early();
	struct sim_lockstep l;
	char text[4096];
	FILE *out = tmpfile();

	(void)state;
	assert_non_null(out);
	verify(&l, &options, "t.ksm", late_copy);
	sim_verdict_print(&l, out, "ksmsim verify t.ksm");
	rewind(out);
	text[fread(text, 1, sizeof(text) - 1, out)] = '\0';
	fclose(out);
	assert_memory_equal(text, wanted, strlen(wanted));
	assert_non_null(strstr(text, "  before it:\n    3: madvise A m MERGEABLE\n"));
	assert_non_null(strstr(text, "    7: read A m\n"));
	assert_non_null(strstr(text, "  seed 0; again: ksmsim verify t.ksm\n"));
	sim_lockstep_free(&l);
}

static void pages_read_back_as_they_were_written(void **state)
{
	char at[64];

	(void)state;
	sim_pages_at("-*3 a1..4! k5/2*2 z*1000000000 Z", 2, at, sizeof(at));
	assert_string_equal(at, "none");
	sim_pages_at("-*3 a1..4! k5/2*2 z*1000000000 Z", 6, at, sizeof(at));
	assert_string_equal(at, "anon 4 own");
	sim_pages_at("-*3 a1..4! k5/2*2 z*1000000000 Z", 8, at, sizeof(at));
	assert_string_equal(at, "ksm 5 mapped 2 times");
	sim_pages_at("-*3 a1..4! k5/2*2 z*1000000000 Z", 1000000009, at, sizeof(at));
	assert_string_equal(at, "ksm_zero");
	/* of a KSM page the letters d and r tell what it is not */
	sim_pages_at("a1dr k2/2lr k3dv", 0, at, sizeof(at));
	assert_string_equal(at, "anon 1 dirty referenced");
	sim_pages_at("a1dr k2/2lr k3dv", 1, at, sizeof(at));
	assert_string_equal(at, "ksm 2 mapped 2 times lazily freed not referenced");
	sim_pages_at("a1dr k2/2lr k3dv", 2, at, sizeof(at));
	assert_string_equal(at, "ksm 3 not dirty active");
	sim_pages_at("a1", 7, at, sizeof(at));
	assert_string_equal(at, "none");
}

static void the_first_page_that_differs_is_found(void **state)
{
	(void)state;
	assert_int_equal(sim_pages_differ("a1..4 z*9", "a1..4 z*9"), UINT64_MAX);
	assert_int_equal(sim_pages_differ("a1..4 z*9", "a1..3 a4/2 z*9"), 3);
	assert_int_equal(sim_pages_differ("z*9", "z*8"), 8);
	assert_int_equal(sim_pages_differ("-*3000000000 a1", "-*3000000000 k1"), 3000000000);
	assert_int_equal(sim_pages_differ("", "-*2 a1!"), 2);
	assert_int_equal(sim_pages_differ("a1..2", "a1*2"), 1);
}

static void frames_are_named_by_where_they_are_met(void **state)
{
	static const char scenario[] = "proc A\nmmap A m 9\nmadvise A m MERGEABLE\n"
				       "fill A m+1:2 tag:1\nfill A m+4:3 tag:9\nread A m+8\n"
				       "scan 2\n";
	struct sim_options options = { .pages = true, .drain = true };
	struct sim_run *run;
	json_t *pages;
	char text[512];
	FILE *in = text_file(scenario);
	int error;

	(void)state;
	assert_int_equal(sim_run_new(&options, text, sizeof(text), &run), 0);
	assert_int_equal(sim_run_lines(run, in, "t"), 0);
	pages = sim_pages(run, &error);
	assert_int_equal(error, 0);
	assert_string_equal(json_string_value(json_object_get(pages, "A.m")),
			    "- k1/2*2 - k2/3*3 - z");
	json_decref(pages);
	sim_run_free(run);
	fclose(in);
}

/* ---- masks ---- */

static void a_masked_difference_is_counted_and_not_told(void **state)
{
	static const struct sim_mask_row masks[] = { { "heap", "brk:result", "anywhere" },
						     { "faults", "*:counters.pg*", "noise" },
						     { NULL, NULL, NULL } };
	struct sim_compare compare;
	json_t *a = json_pack("{sssisi}", "op", "brk A 3", "line", 1, "result", 4096);
	json_t *b = json_pack("{sssisi}", "op", "brk A 3", "line", 1, "result", 8192);
	json_t *differences = json_array();

	(void)state;
	assert_true(sim_compare_init(&compare));
	compare.masks = masks;
	json_object_set_new(b, "counters", json_pack("{sisi}", "pgfault", 1, "pgreuse", 2));
	assert_int_equal(sim_compare_lines(&compare, a, b, differences), 0);
	assert_int_equal(json_array_size(differences), 0);
	assert_int_equal(compare.masked[0], 1);
	assert_int_equal(compare.masked[1], 2);
	json_object_set_new(a, "op", json_string("mmap A m 3"));
	assert_int_equal(sim_compare_lines(&compare, a, b, differences), 0);
	assert_int_equal(json_array_size(differences), 1);
	json_decref(a);
	json_decref(b);
	json_decref(differences);
	sim_compare_free(&compare);
}

/* whether the new node lies where the old one was: both are right, and what follows is not told */
static void a_doubt_of_the_model_ends_the_comparison(void **state)
{
	static const struct sim_setting reuse = { "node_reuse", "1" };
	static const char text[] =
		"proc A\nmmap A m 2\nmadvise A m MERGEABLE\nfill A m byte:1\nscan\nstep 2\n"
		"fill A m byte:2\nfork A B\nstep 1\nscan\nscan\nscan\n";
	struct sim_lockstep_options options = { .keep_going = false };
	struct sim_lockstep l;

	(void)state;
	verify(&l, &options, "t.ksm", text);
	assert_int_equal(l.operations, 12);
	assert_int_equal(l.compare.masked[0], 0);
	sim_lockstep_free(&l);
	options.side[1].features = &reuse;
	options.side[1].nr_features = 1;
	verify(&l, &options, "t.ksm", text);
	assert_int_equal(l.status, 0);
	assert_int_equal(l.nr_reports, 0);
	assert_int_equal(l.operations, 11);
	assert_string_equal(sim_masks()[0].name, "node_address");
	assert_int_equal(l.compare.masked[0], 1);
	sim_lockstep_free(&l);
}

/* ---- random scenarios ---- */

static void a_seed_is_a_scenario(void **state)
{
	json_t *one = sim_generate(7, 100), *again = sim_generate(7, 100);
	json_t *other = sim_generate(8, 100);

	(void)state;
	assert_true(json_array_size(one) >= 100 && json_array_size(one) < 110);
	assert_true(json_equal(one, again));
	assert_false(json_equal(one, other));
	json_decref(one);
	json_decref(again);
	json_decref(other);
}

static uint64_t digest(json_t *(*generate)(uint64_t seed, uint64_t nr))
{
	uint64_t seed, hash = 0;

	for (seed = 0; seed < 64; seed++) {
		json_t *lines = generate(seed, 200), *line;
		size_t i;

		json_array_foreach(lines, i, line)
		{
			const char *at = json_string_value(line);

			for (; *at; at++)
				hash = hash * 31 + (unsigned char)*at;
		}
		json_decref(lines);
	}
	return hash;
}

/* Compilers disagree on which argument of a call comes first. These change with the generators. */
static void a_seed_means_the_same_with_every_compiler(void **state)
{
	(void)state;
	assert_int_equal(digest(sim_generate), UINT64_C(0xbbcaf67d1d30655a));
	assert_int_equal(digest(sim_generate_thp), UINT64_C(0x7eaa20b12a278249));
}

/* Nearly every line of a random scenario can be read, and every operation comes up. */
static void expect_meaning(json_t *(*generate)(uint64_t seed, uint64_t nr),
			   const char *const *words, size_t nr, size_t percent)
{
	const struct sim_lockstep_options options = { .lenient = true };
	size_t total = 0, accepted = 0, seen[32] = { 0 }, i, w;
	struct sim_lockstep l;
	uint64_t seed;

	assert_true(nr <= 32);
	for (seed = 0; seed < 40; seed++) {
		json_t *list = generate(seed, 100);

		assert_int_equal(sim_lockstep_list(&l, &options, list, "t"), 0);
		total += json_array_size(list);
		accepted += json_array_size(l.accepted);
		for (i = 0; i < json_array_size(l.accepted); i++)
			for (w = 0; w < nr; w++)
				seen[w] +=
					!strncmp(json_string_value(json_array_get(l.accepted, i)),
						 words[w], strlen(words[w]));
		sim_lockstep_free(&l);
		json_decref(list);
	}
	assert_true(accepted * 100 > total * percent);
	for (w = 0; w < nr; w++)
		if (!seen[w])
			fail_msg("no '%s' in 40 random scenarios", words[w]);
}

static void random_scenarios_mean_something(void **state)
{
	static const char *const words[] = { "proc ",	 "exit ",  "fork ",	"exec ",   "mmap ",
					     "munmap ",	 "mlock ", "mprotect ", "mremap ", "brk ",
					     "madvise ", "prctl ", "fill ",	"poke ",   "touch ",
					     "read ",	 "check ", "pin ",	"unpin ",  "ksm ",
					     "step ",	 "scan" };

	(void)state;
	expect_meaning(sim_generate, words, sizeof(words) / sizeof(*words), 95);
}

static void random_scenarios_of_huge_pages_mean_something(void **state)
{
	static const char *const words[] = { "proc ",	  "exit ",     "fork ",	     "exec ",
					     "mmap ",	  "munmap ",   "mlock ",     "mprotect ",
					     "mremap ",	  "madvise ",  "fill ",	     "poke ",
					     "touch ",	  "read ",     "pin ",	     "unpin ",
					     "ksm ",	  "step ",     "scan",	     "thp enabled",
					     "thp hugep", "thp khuge", "thpdisable", "shrink",
					     "khugepaged" };

	(void)state;
	expect_meaning(sim_generate_thp, words, sizeof(words) / sizeof(*words), 90);
}

static void a_difference_is_shrunk_to_what_it_needs(void **state)
{
	const struct sim_lockstep_options options = against_early();
	struct sim_lockstep found, l;
	json_t *list, *least = NULL;
	uint64_t seed;

	(void)state;
	for (seed = 0; !least && seed < 50; seed++) {
		struct sim_lockstep_options lenient = options;

		lenient.lenient = true;
		list = sim_generate(seed, 100);
		assert_int_equal(sim_lockstep_list(&found, &lenient, list, "t"), 0);
		if (found.nr_reports) {
			least = sim_shrink(&options, found.accepted, 3000, &l);
			assert_non_null(least);
			assert_true(l.nr_reports > 0);
			assert_true(json_equal(l.accepted, least));
			sim_lockstep_free(&l);
		}
		sim_lockstep_free(&found);
		json_decref(list);
	}
	/* a process, a region, advice, one or two fills, scans; and not much else */
	assert_non_null(least);
	assert_true(json_array_size(least) <= 10);
	json_decref(least);
}

/* ---- which model ---- */

static void a_release_has_the_nearest_profile(void **state)
{
	static const struct {
		const char *release, *profile;
		bool note;
	} cases[] = {
		{ "6.18.44-cloud", "linux-6.18", false }, { "6.1.0-37-amd64", "linux-6.1", false },
		{ "6.17.9", "linux-6.12", true },	  { "5.10.0", "linux-6.1", true },
		{ "7.4.0-rc1", "linux-7.3", true },	  { "6.12.117", "linux-6.12", false },
	};
	struct sim_probe probe;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		sim_probe(&probe, cases[i].release, "");
		assert_string_equal(probe.profile, cases[i].profile);
		assert_int_equal(strstr(probe.note, "no profile") != NULL, cases[i].note);
	}
}

static void a_missing_file_switches_its_feature_off(void **state)
{
	struct sim_probe probe;
	size_t i;
	bool advisor = false;

	(void)state;
	sim_probe(&probe, "6.18.1", "/nonexistent");
	for (i = 0; i < probe.nr_features; i++)
		advisor |= !strcmp(probe.features[i].name, "advisor") &&
			   !strcmp(probe.features[i].value, "0");
	assert_true(advisor);
	assert_non_null(strstr(probe.note, "advisor is 0"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_models_show_the_same),
		cmocka_unit_test(the_first_operation_that_differs_ends_the_run),
		cmocka_unit_test(counters_processes_and_pages_are_compared),
		cmocka_unit_test(what_stays_wrong_is_told_once),
		cmocka_unit_test(an_expectation_that_fails_on_one_side_differs),
		cmocka_unit_test(lua_drives_both_sides),
		cmocka_unit_test(a_scenario_that_cannot_be_read_is_refused),
		cmocka_unit_test(a_report_shows_what_a_reader_needs),
		cmocka_unit_test(pages_read_back_as_they_were_written),
		cmocka_unit_test(the_first_page_that_differs_is_found),
		cmocka_unit_test(frames_are_named_by_where_they_are_met),
		cmocka_unit_test(a_masked_difference_is_counted_and_not_told),
		cmocka_unit_test(a_doubt_of_the_model_ends_the_comparison),
		cmocka_unit_test(a_seed_is_a_scenario),
		cmocka_unit_test(a_seed_means_the_same_with_every_compiler),
		cmocka_unit_test(random_scenarios_mean_something),
		cmocka_unit_test(random_scenarios_of_huge_pages_mean_something),
		cmocka_unit_test(a_difference_is_shrunk_to_what_it_needs),
		cmocka_unit_test(a_release_has_the_nearest_profile),
		cmocka_unit_test(a_missing_file_switches_its_feature_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
