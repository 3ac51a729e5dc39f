/*
 * test_costs.c - cost tables in files: the parser, run --costs, and what calibrate
 * says where it cannot measure.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "place.h"

#include "sim/costs.h"

struct table {
	struct sim_mem mem;
	struct sim_costs costs;
	char why[512];
};

static int read_text(struct table *table, const char *text)
{
	FILE *in = tmpfile();
	int error;

	assert_non_null(in);
	fputs(text, in);
	rewind(in);
	table->why[0] = '\0';
	sim_mem_init(&table->mem, NULL);
	error = sim_costs_read(&table->costs, &table->mem, in, "F", table->why, sizeof(table->why));
	fclose(in);
	return error;
}

static void refuses(const char *text, const char *why)
{
	struct table table;

	assert_int_equal(read_text(&table, text), SIM_EINPUT);
	assert_string_equal(table.why, why);
	sim_costs_free(&table.costs);
}

static void rows_comments_and_blank_lines_are_read(void **state)
{
	struct table table;

	(void)state;
	assert_int_equal(read_text(&table, "# head\n\nvisit 7 # tail\n\tmerge\t0x10\r\n#skip 1\n"
					   "zap 0"),
			 0);
	assert_int_equal(table.costs.nr, 3);
	assert_string_equal(table.costs.list[0].name, "visit");
	assert_string_equal(table.costs.list[0].value, "7");
	assert_string_equal(table.costs.list[1].name, "merge");
	assert_string_equal(table.costs.list[1].value, "0x10");
	assert_string_equal(table.costs.list[2].name, "zap");
	sim_costs_free(&table.costs);
}

static void an_empty_file_changes_nothing(void **state)
{
	struct table table;

	(void)state;
	assert_int_equal(read_text(&table, ""), 0);
	assert_int_equal(table.costs.nr, 0);
	sim_costs_free(&table.costs);
}

static void errors_name_file_and_line(void **state)
{
	(void)state;
	refuses("visit 1\nmerg 2\n", "F:2: there is no cost 'merg'; did you mean 'merge'?");
	refuses("qqqqqqqqqq 2\n", "F:1: there is no cost 'qqqqqqqqqq'; see ksmsim list costs");
	refuses("\n\nvisit\n", "F:3: 'visit' needs a number of ns");
	refuses("visit -1\n", "F:1: '-1' is not a number");
	refuses("visit 99999999999999999999\n", "F:1: '99999999999999999999' is too large");
	refuses("visit 1 2\n", "F:1: '2' is one word too many; a row is a name and a number");
	refuses("visit 1\nvisit 1\n", "F:2: 'visit' is there twice");
	refuses("visit \x01\n", "F:1: 'the line' has bytes that are no text");
}

/* ---- the program ---- */

/* ksmd's CPU time for one batch that finds nothing, with a table of one row. */
static void the_command_line_goes_on_top_of_the_file(void **state)
{
	struct place *place = *state;
	char seen[sizeof(place->out)];

	place_spill(place, "t", "batch 5000\nvisit 7\n");
	place_spill(
		place, "s.ksm",
		"ksm run 1\nproc A\nmmap A r 1\nfill A r byte:7\nmadvise A r MERGEABLE\nscan\n");
	assert_int_equal(place_run(place, "run s.ksm"), 0);
	strcpy(seen, place->out);
	assert_int_equal(place_run(place, "run s.ksm --costs t"), 0);
	assert_string_not_equal(place->out, seen);
	strcpy(seen, place->out);
	assert_int_equal(place_run(place, "run s.ksm --costs t --cost batch=1"), 0);
	assert_string_not_equal(place->out, seen);
	strcpy(seen, place->out);
	assert_int_equal(place_run(place, "run s.ksm --cost visit=7 --cost batch=1"), 0);
	assert_string_equal(place->out, seen);
	assert_int_equal(place_run(place, "run s.ksm --costs none"), 2);
	place_has(place->err, "none cannot be read");
}

static void calibrate_says_why_it_cannot_measure(void **state)
{
	const char *nobody = geteuid() ? "" : "setpriv --reuid=65534 --regid=65534 --clear-groups ";
	struct place *place = *state;

	if (place_shell(place, "%s'%s' --version", nobody, place_program())) {
		print_message("the program cannot be run as another user\n");
		skip();
	}
	assert_int_equal(
		place_shell(place, "cd /tmp && %s'%s' calibrate --runs 1", nobody, place_program()),
		2);
	assert_string_equal(place->out, "");
	assert_ptr_equal(strstr(place->err, "ksmsim: calibrate: "), place->err);
	place_has(place->err, "root");
	assert_int_equal(place_run(place, "calibrate --runs 0"), 2);
	assert_string_equal(place->err, "ksmsim: --runs: must be 1 to 9\n");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(rows_comments_and_blank_lines_are_read),
	cmocka_unit_test(an_empty_file_changes_nothing),
	cmocka_unit_test(errors_name_file_and_line),
	PLACE_TEST(the_command_line_goes_on_top_of_the_file),
	PLACE_TEST(calibrate_says_why_it_cannot_measure),
};

TEST_MAIN(tests)
