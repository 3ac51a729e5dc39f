/*
 * test_costs.c - cost tables in files: the parser, run --costs, and what calibrate
 * says where it cannot measure.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

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

static int shell(const char *command, char *out, size_t size)
{
	FILE *pipe = popen(command, "r");
	size_t length;
	int status;

	assert_non_null(pipe);
	length = fread(out, 1, size - 1, pipe);
	out[length] = '\0';
	status = pclose(pipe);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static const char *program(void)
{
	const char *path = getenv("KSMSIM_CLI");

	return path ? path : KSMSIM_CLI;
}

/* ksmd's CPU time for one batch that finds nothing, with a table of one row. */
static void the_command_line_goes_on_top_of_the_file(void **state)
{
	static const char script[] = "d=$(mktemp -d) && cd $d && printf 'batch 5000\\nvisit 7\\n' "
				     ">t && printf 'ksm run 1\\nproc A\\nmmap A r 1\\nfill A r "
				     "byte:7\\nmadvise A r MERGEABLE\\nscan\\n' >s.ksm && "
				     "'%s' run s.ksm %s 2>&1; e=$?; rm -r $d; exit $e";
	char command[1024], plain[8192], table[8192], both[8192], again[8192];

	(void)state;
	snprintf(command, sizeof(command), script, program(), "");
	assert_int_equal(shell(command, plain, sizeof(plain)), 0);
	snprintf(command, sizeof(command), script, program(), "--costs t");
	assert_int_equal(shell(command, table, sizeof(table)), 0);
	assert_string_not_equal(plain, table);
	snprintf(command, sizeof(command), script, program(), "--costs t --cost batch=1");
	assert_int_equal(shell(command, both, sizeof(both)), 0);
	assert_string_not_equal(table, both);
	snprintf(command, sizeof(command), script, program(), "--cost visit=7 --cost batch=1");
	assert_int_equal(shell(command, again, sizeof(again)), 0);
	assert_string_equal(both, again);
	snprintf(command, sizeof(command), script, program(), "--costs none");
	assert_int_equal(shell(command, both, sizeof(both)), 2);
	assert_non_null(strstr(both, "none cannot be read"));
}

static void calibrate_says_why_it_cannot_measure(void **state)
{
	const char *nobody = geteuid() ? "" : "setpriv --reuid=65534 --regid=65534 --clear-groups ";
	char command[512], text[4096];
	int status;

	(void)state;
	snprintf(command, sizeof(command), "%s'%s' --version 2>&1", nobody, program());
	if (shell(command, text, sizeof(text))) {
		print_message("the program cannot be run as another user\n");
		skip();
	}
	snprintf(command, sizeof(command), "cd /tmp && %s'%s' calibrate --runs 1 2>&1", nobody,
		 program());
	status = shell(command, text, sizeof(text));
	assert_int_equal(status, 2);
	assert_ptr_equal(strstr(text, "ksmsim: calibrate: "), text);
	assert_non_null(strstr(text, "root"));
	snprintf(command, sizeof(command), "'%s' calibrate --runs 0 2>&1", program());
	assert_int_equal(shell(command, text, sizeof(text)), 2);
	assert_string_equal(text, "ksmsim: --runs: must be 1 to 9\n");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(rows_comments_and_blank_lines_are_read),
	cmocka_unit_test(an_empty_file_changes_nothing),
	cmocka_unit_test(errors_name_file_and_line),
	cmocka_unit_test(the_command_line_goes_on_top_of_the_file),
	cmocka_unit_test(calibrate_says_why_it_cannot_measure),
};

TEST_MAIN(tests)
