/*
 * test_recordings.c - what kernels have shown, the model shows.
 *
 * tests/recordings/ has one recording for each scenario that a running kernel
 * can do. They need no kernel and no root. A scenario without a recording is
 * told by its name, with the reason that tests/recordings/SKIPPED gives.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/verdict.h"
#include "test.h"

#define RECORDINGS KSMSIM_SOURCE_DIR "/tests/recordings"

static int is_recording(const struct dirent *entry)
{
	const size_t length = strlen(entry->d_name);

	return length > 6 && !strcmp(entry->d_name + length - 6, ".jsonl");
}

static int is_scenario(const struct dirent *entry)
{
	const size_t length = strlen(entry->d_name);

	return length > 4 && (!strcmp(entry->d_name + length - 4, ".ksm") ||
			      !strcmp(entry->d_name + length - 4, ".lua"));
}

static bool replay(const char *path)
{
	const struct sim_lockstep_options options = { .keep_going = false };
	struct sim_lockstep l;
	bool same;
	FILE *in = fopen(path, "r");

	assert_non_null(in);
	sim_lockstep_recording(&l, &options, in, path);
	fclose(in);
	same = sim_verdict_of(&l) == SIM_SAME && l.operations > 0;
	if (!same)
		sim_verdict_print(&l, stdout, "ksmsim replay");
	sim_lockstep_free(&l);
	return same;
}

static void every_recording_is_what_the_model_shows(void **state)
{
	struct dirent **entries;
	char path[1024];
	int i, wrong = 0, nr = scandir(RECORDINGS, &entries, is_recording, alphasort);

	(void)state;
	if (nr <= 0)
		skip();
	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "%s/%s", RECORDINGS, entries[i]->d_name);
		wrong += !replay(path);
		free(entries[i]);
	}
	free(entries);
	printf("%d recordings, %d differ\n", nr, wrong);
	assert_int_equal(wrong, 0);
}

/* A line "NAME: why" in the list of what no recording can be made of. */
static bool is_excused(const char *name)
{
	const size_t length = strlen(name);
	char line[1024];
	bool found = false;
	FILE *in = fopen(RECORDINGS "/SKIPPED", "r");

	while (in && !found && fgets(line, sizeof(line), in)) {
		found = !strncmp(line, name, length) && line[length] == ':';
		if (found)
			printf("no recording of %s", line);
	}
	if (in)
		fclose(in);
	return found;
}

/* @total: gets the number of scenarios added */
static int missing_in(const char *folder, int *total)
{
	struct dirent **entries;
	char path[1024];
	int i, missing = 0, nr = scandir(folder, &entries, is_scenario, alphasort);

	assert_true(nr > 0);
	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "%s/%s.jsonl", RECORDINGS, entries[i]->d_name);
		if (access(path, R_OK) && !is_excused(entries[i]->d_name)) {
			printf("%s is not recorded yet: tests/record.sh\n", entries[i]->d_name);
			missing++;
		}
		free(entries[i]);
	}
	free(entries);
	*total += nr;
	return missing;
}

/* A few new ones may wait for a machine that can record them. */
static void nearly_every_scenario_has_a_recording_or_a_reason(void **state)
{
	int total = 0, missing;

	(void)state;
	if (access(RECORDINGS "/SKIPPED", R_OK))
		skip();
	missing = missing_in(KSMSIM_SOURCE_DIR "/tests/replay", &total) +
		  missing_in(KSMSIM_SOURCE_DIR "/sim/scenarios", &total);
	assert_true(missing * 20 < total);
}

/* ---- the comparison itself ---- */

/* Of a kernel that shows no counter at all: what is told is then about the operation. */
static void write_header(FILE *out)
{
	size_t i, nr;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr);

	fputs("{\"schema\":1,\"backend\":\"live\",\"kernel\":\"6.18.0\","
	      "\"profile\":\"linux-6.18\",\"seed\":0,\"drain\":true,\"counters\":{},"
	      "\"blind\":{\"counters\":[",
	      out);
	for (i = 0; i < nr; i++)
		fprintf(out, "%s\"%s\"", i ? "," : "", rows[i].name);
	fputs("]}}\n", out);
}

/* Replays these lines after the header; the field of the first difference, or the error. */
static void first_difference(const char *lines, char *field, size_t size)
{
	const struct sim_lockstep_options options = { .keep_going = false };
	struct sim_lockstep l;
	FILE *in = tmpfile();

	assert_non_null(in);
	write_header(in);
	assert_true(fputs(lines, in) >= 0);
	rewind(in);
	sim_lockstep_recording(&l, &options, in, "t");
	fclose(in);
	if (l.nr_reports)
		snprintf(field, size, "%s",
			 json_string_value(json_object_get(
				 json_array_get(l.reports[0].differences, 0), "field")));
	else
		snprintf(field, size, "%s", l.error);
	sim_lockstep_free(&l);
}

static void a_recording_that_shows_something_else_differs(void **state)
{
	static const char *const cases[][2] = {
		{ "{\"op\":\"proc A\",\"line\":1,\"result\":1}\n", "result" },
		{ "{\"op\":\"proc "
		  "A\",\"line\":1,\"result\":0,\"processes\":{\"A\":{\"vmas\":7}}}\n",
		  "processes.A.vmas" },
		{ "{\"op\":\"proc A\",\"line\":1,\"result\":0,\"events\":[\"enter(A)\"]}\n",
		  "events[0]" },
		{ "{\"op\":\"proc A\",\"line\":1,\"result\":0,\"pages\":{\"A.m\":\"a1\"}}\n",
		  "pages.A.m+0" },
		{ "{\"op\":\"expect max_page_sharing=3\",\"line\":1,\"held\":true}\n",
		  "expectation" },
		{ "{\"op\":\"proc A\",\"line\":1,\"result\":0}\n",
		  "t:3: the recording is not whole" },
		{ "{\"op\":\"nonsense\",\"line\":1,\"result\":0}\n",
		  "t:1:1: unknown operation 'nonsense'" },
	};
	char field[1200];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		first_difference(cases[i][0], field, sizeof(field));
		assert_string_equal(field, cases[i][1]);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_recording_is_what_the_model_shows),
		cmocka_unit_test(nearly_every_scenario_has_a_recording_or_a_reason),
		cmocka_unit_test(a_recording_that_shows_something_else_differs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
