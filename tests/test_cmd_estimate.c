/*
 * test_cmd_estimate.c - the command: what it reads, prints and refuses.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <jansson.h>

struct place {
	char dir[64];
	char out[65536], err[4096];
};

static const char *program(void)
{
	const char *path = getenv("KSMSIM_CLI");

	return path ? path : KSMSIM_CLI;
}

static int enter(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	if (!place)
		return -1;
	strcpy(place->dir, "/tmp/ksmsim-estimate-XXXXXX");
	*state = place;
	return mkdtemp(place->dir) ? 0 : -1;
}

static int leave(void **state)
{
	struct place *place = *state;
	char command[128];
	int status;

	snprintf(command, sizeof(command), "rm -rf '%s'", place->dir);
	status = system(command);
	free(place);
	return status;
}

static void slurp(const struct place *place, const char *name, char *buf, size_t size)
{
	char path[128];
	FILE *file;
	size_t length;

	snprintf(path, sizeof(path), "%s/%s", place->dir, name);
	file = fopen(path, "r");
	assert_non_null(file);
	length = fread(buf, 1, size - 1, file);
	buf[length] = '\0';
	fclose(file);
}

static void spill(const struct place *place, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", place->dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static int estimate(struct place *place, const char *arguments)
{
	char command[1024];
	int status;

	snprintf(command, sizeof(command), "cd '%s' && >.out 2>.err '%s' estimate %s", place->dir,
		 program(), arguments);
	status = system(command);
	slurp(place, ".out", place->out, sizeof(place->out));
	slurp(place, ".err", place->err, sizeof(place->err));
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void has(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("'%s' is not in '%s'", words, text);
}

/* Two processes: three pages that are equal, one that is not. */
static void spill_list(const struct place *place)
{
	spill(place, "list.csv",
	      "process,address,hash\n"
	      "a,0x1000,00000000000000aa\na,0x2000,00000000000000aa\n"
	      "b,0x1000,00000000000000aa\nb,0x2000,00000000000000bb\n");
}

static void a_list_of_hashes_is_a_source(void **state)
{
	struct place *place = *state;

	spill_list(place);
	assert_int_equal(estimate(place, "list.csv --matrix"), 0);
	has(place->out, "2 processes, 4 resident anonymous pages");
	has(place->out, "3 pages share 1 frames");
	has(place->out, "One round only, so memory is taken not to change");
	has(place->out, "modelled");
	has(place->out, "use_zero_pages=1");
	has(place->out, "Matrix");
	assert_string_equal(place->err, "");
}

static void json_has_the_same_sums(void **state)
{
	struct place *place = *state;
	const json_t *first, *end;
	json_t *all;

	spill_list(place);
	assert_int_equal(estimate(place, "list.csv --json --try pages_to_scan=1"), 0);
	all = json_loads(place->out, 0, NULL);
	assert_non_null(all);
	first = json_array_get(json_object_get(all, "cases"), 0);
	end = json_object_get(json_object_get(first, "samples"), "end");
	assert_int_equal(json_integer_value(json_object_get(end, "saved_bytes")), 2 * 4096);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(end, "counters"),
							    "pages_sharing")),
			 2);
	assert_int_equal(json_array_size(json_object_get(all, "processes")), 2);
	json_decref(all);
}

static void what_is_wrong_is_told(void **state)
{
	static const struct {
		const char *arguments, *words;
	} cases[] = {
		{ "", "needs a capture or --pid" },
		{ "no-such-file", "no-such-file" },
		{ "rubbish.sqlite", "rubbish.sqlite" },
		{ "list.csv --knob no_such_knob=1", "no_such_knob" },
		{ "list.csv --knob pages_to_scan=many", "pages_to_scan" },
		{ "list.csv --profile linux-2.4", "linux-2.4" },
		{ "list.csv --feature none=1", "none" },
		{ "list.csv --assume 77", "77" },
		{ "list.csv --assume some", "some" },
		{ "list.csv --try pages_to_scan", "pages_to_scan" },
		{ "list.csv --rounds 0", "--rounds" },
		{ "--pid 0", "no process id" },
		{ "--frobnicate", "--frobnicate" },
	};
	struct place *place = *state;
	size_t i;

	spill_list(place);
	spill(place, "rubbish.sqlite", "SQLite format 3 and then nothing that one could read");
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(estimate(place, cases[i].arguments), 2);
		has(place->err, cases[i].words);
		assert_string_equal(place->out, "");
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(a_list_of_hashes_is_a_source, enter, leave),
	cmocka_unit_test_setup_teardown(json_has_the_same_sums, enter, leave),
	cmocka_unit_test_setup_teardown(what_is_wrong_is_told, enter, leave),
};

TEST_MAIN(tests)
