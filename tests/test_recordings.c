/*
 * test_recordings.c - what kernels have shown, the model shows.
 *
 * tests/recordings/ has one recording for each scenario that a running kernel
 * can do. They need no kernel and no root. A scenario without a recording is
 * told by its name, with the reason that tests/recordings/SKIPPED gives.
 *
 * A folder there, linux-6.1 say, has what a kernel of that profile showed. Where that
 * was what is recorded above the folder, as far as that kernel shows it, there is but a
 * line in its SAME: the recording above is then true of both profiles.
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

static int is_folder(const struct dirent *entry)
{
	return !strncmp(entry->d_name, "linux-", 6);
}

/* The same recording, as if the kernel were of this profile. */
static FILE *as_profile(FILE *in, const char *profile)
{
	FILE *out = tmpfile();
	char *line = NULL;
	size_t size = 0;
	json_t *header;

	assert_non_null(out);
	assert_true(getline(&line, &size, in) > 0);
	header = json_loads(line, 0, NULL);
	assert_int_equal(json_object_set_new(header, "profile", json_string(profile)), 0);
	assert_int_equal(json_dumpf(header, out, JSON_COMPACT), 0);
	fputc('\n', out);
	while (getline(&line, &size, in) > 0)
		fputs(line, out);
	json_decref(header);
	free(line);
	fclose(in);
	rewind(out);
	return out;
}

/* @profile: NULL: that of the recording */
static bool replay(const char *path, const char *profile)
{
	const struct sim_lockstep_options options = { .keep_going = false };
	struct sim_lockstep l;
	bool same;
	FILE *in = fopen(path, "r");

	if (!in) {
		printf("%s cannot be read\n", path);
		return false;
	}
	if (profile)
		in = as_profile(in, profile);
	sim_lockstep_recording(&l, &options, in, path);
	fclose(in);
	same = sim_verdict_of(&l) == SIM_SAME && l.operations > 0;
	if (!same)
		sim_verdict_print(&l, stdout, "ksmsim replay");
	sim_lockstep_free(&l);
	return same;
}

/* Returns: how many recordings differ. @nr: gets the number of them added */
static int replay_folder(const char *folder, int *nr)
{
	struct dirent **entries;
	char path[1024];
	int i, wrong = 0, found = scandir(folder, &entries, is_recording, alphasort);

	for (i = 0; i < found; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		wrong += !replay(path, NULL);
		free(entries[i]);
	}
	if (found >= 0)
		free(entries);
	*nr += found > 0 ? found : 0;
	return wrong;
}

static void every_recording_is_what_the_model_shows(void **state)
{
	int nr = 0, wrong = replay_folder(RECORDINGS, &nr);

	(void)state;
	if (!nr)
		skip();
	printf("%d recordings, %d differ\n", nr, wrong);
	assert_int_equal(wrong, 0);
}

/* The names in SAME of the folder of a profile. @nr: as above */
static int replay_same(const char *profile, int *nr)
{
	char line[512], path[1024];
	int wrong = 0;
	FILE *in;

	snprintf(path, sizeof(path), RECORDINGS "/%s/SAME", profile);
	in = fopen(path, "r");
	while (in && fgets(line, sizeof(line), in)) {
		line[strcspn(line, "\n")] = '\0';
		snprintf(path, sizeof(path), RECORDINGS "/%s.jsonl", line);
		wrong += !replay(path, profile);
		++*nr;
	}
	if (in)
		fclose(in);
	return wrong;
}

static void recordings_of_other_kernels_are_what_their_profiles_show(void **state)
{
	struct dirent **entries;
	char folder[1024];
	int i, wrong = 0, nr = scandir(RECORDINGS, &entries, is_folder, alphasort);

	(void)state;
	if (nr <= 0)
		skip();
	for (i = 0; i < nr; i++) {
		int own = 0, same = 0, differ;

		snprintf(folder, sizeof(folder), "%s/%s", RECORDINGS, entries[i]->d_name);
		differ = replay_folder(folder, &own) + replay_same(entries[i]->d_name, &same);
		printf("%s: %d recordings and %d the same as above it, %d differ\n",
		       entries[i]->d_name, own, same, differ);
		wrong += differ + !(own + same);
		free(entries[i]);
	}
	free(entries);
	assert_int_equal(wrong, 0);
}

/* A line "NAME" or "NAME: why" in a list of a folder. */
static bool is_listed(const char *folder, const char *list, const char *name)
{
	const size_t length = strlen(name);
	char line[1024];
	bool found = false;
	FILE *in;

	snprintf(line, sizeof(line), "%s/%s", folder, list);
	in = fopen(line, "r");
	while (in && !found && fgets(line, sizeof(line), in))
		found = !strncmp(line, name, length) && strchr(":\n", line[length]);
	if (found && !strcmp(folder, RECORDINGS))
		printf("no recording of %s", line);
	if (in)
		fclose(in);
	return found;
}

static bool is_accounted_for(const char *recordings, const char *name)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s.jsonl", recordings, name);
	return !access(path, R_OK) || is_listed(recordings, "SKIPPED", name) ||
	       is_listed(recordings, "SAME", name);
}

/* @total: gets the number of scenarios added */
static int missing_in(const char *recordings, const char *folder, int *total)
{
	struct dirent **entries;
	int i, missing = 0, nr = scandir(folder, &entries, is_scenario, alphasort);

	assert_true(nr > 0);
	for (i = 0; i < nr; i++) {
		if (!is_accounted_for(recordings, entries[i]->d_name)) {
			printf("%s is not recorded yet in %s\n", entries[i]->d_name, recordings);
			missing++;
		}
		free(entries[i]);
	}
	free(entries);
	*total += nr;
	return missing;
}

/* A few new ones may wait for a machine that can record them: tests/record.sh, tests/guests. */
static void check_complete(const char *recordings)
{
	int total = 0, missing;

	missing = missing_in(recordings, KSMSIM_SOURCE_DIR "/tests/replay", &total) +
		  missing_in(recordings, KSMSIM_SOURCE_DIR "/sim/scenarios", &total);
	assert_true(missing * 20 < total);
}

static void nearly_every_scenario_has_a_recording_or_a_reason(void **state)
{
	struct dirent **entries;
	char folder[1024];
	int i, nr;

	(void)state;
	if (access(RECORDINGS "/SKIPPED", R_OK))
		skip();
	check_complete(RECORDINGS);
	nr = scandir(RECORDINGS, &entries, is_folder, alphasort);
	for (i = 0; i < nr; i++) {
		snprintf(folder, sizeof(folder), "%s/%s", RECORDINGS, entries[i]->d_name);
		check_complete(folder);
		free(entries[i]);
	}
	if (nr >= 0)
		free(entries);
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
		cmocka_unit_test(recordings_of_other_kernels_are_what_their_profiles_show),
		cmocka_unit_test(nearly_every_scenario_has_a_recording_or_a_reason),
		cmocka_unit_test(a_recording_that_shows_something_else_differs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
