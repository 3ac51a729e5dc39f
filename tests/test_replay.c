/*
 * test_replay.c - every shipped scenario on every profile, all invariants
 * checked after each operation, every expectation held.
 *
 * A scenario whose expectations are all for other profiles still runs: it must
 * not fail. One without any expectation at all for any profile tests nothing and
 * fails here.
 */
#include "test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

static const char *const folders[] = { KSMSIM_SOURCE_DIR "/tests/replay",
				       KSMSIM_SOURCE_DIR "/sim/scenarios" };

static bool ends_with(const char *text, const char *end)
{
	const size_t length = strlen(text), tail = strlen(end);

	return length >= tail && !strcmp(text + length - tail, end);
}

static int is_scenario(const struct dirent *entry)
{
	return ends_with(entry->d_name, ".ksm") || ends_with(entry->d_name, ".lua");
}

/* Expectations that were tested; fails the test if one does not hold. */
static uint64_t replay(const char *path, const char *profile)
{
	const struct sim_options options = { .profile = profile, .check = true, .log = stderr };
	char error[512];
	struct sim_run *run;
	FILE *in = fopen(path, "r");
	uint64_t expected;
	int status;

	assert_non_null(in);
	if (sim_run_new(&options, error, sizeof(error), &run))
		fail_msg("%s", error);
	status =
		ends_with(path, ".lua") ? sim_run_lua(run, in, path) : sim_run_lines(run, in, path);
	if (!status)
		status = sim_run_end(run);
	if (status)
		fail_msg("%s on %s: %s", path, profile, sim_run_error(run));
	if (sim_run_failed(run))
		fail_msg("%s on %s: %s", path, profile, sim_run_failure(run));
	expected = sim_run_expected(run);
	sim_run_free(run);
	fclose(in);
	return expected;
}

static void replay_all(const char *path)
{
	size_t nr;
	const struct ksmsim_row *profiles = ksmsim_table_rows(KSMSIM_TABLE_PROFILES, &nr);
	uint64_t expected = 0;

	for (size_t i = 0; i < nr; i++)
		expected += replay(path, profiles[i].name);
	if (!expected)
		fail_msg("%s expects nothing", path);
}

static void every_scenario_holds_on_every_profile(void **state)
{
	unsigned replayed = 0;

	(void)state;
	for (size_t f = 0; f < sizeof(folders) / sizeof(folders[0]); f++) {
		struct dirent **entries;
		const int nr = scandir(folders[f], &entries, is_scenario, alphasort);

		assert_true(nr > 0);
		for (int i = 0; i < nr; i++) {
			char path[1024];

			snprintf(path, sizeof(path), "%s/%s", folders[f], entries[i]->d_name);
			replay_all(path);
			free(entries[i]);
			replayed++;
		}
		free(entries);
	}
	print_message("%u scenarios\n", replayed);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_scenario_holds_on_every_profile),
};

TEST_MAIN(tests)
