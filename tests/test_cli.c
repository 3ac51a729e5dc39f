/*
 * test_cli.c - the program as its users see it: exit status, what goes where,
 * and files that are whole or not there.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "place.h"

static const char good[] = "proc A\nmmap A heap 4\nfill A heap+0:2 byte:7\n"
			   "madvise A heap MERGEABLE\nscan 2\necho hello\nexpect pages_shared=1\n";

static void a_run_that_holds_ends_with_0_and_a_report(void **state)
{
	struct place *place = *state;

	place_spill(place, "a.ksm", good);
	assert_int_equal(place_run(place, "run a.ksm --check"), 0);
	assert_string_equal(place->err, "");
	place_has(place->out, "hello\n");
	place_has(place->out, "pages_sharing");
	place_has(place->out, "further items of those nodes: the pages saved");
	place_has(place->out, "modelled");
	place_has(place->out, "A.heap");
	assert_int_equal(place_run(place, "run --quiet - <a.ksm"), 0);
	assert_string_equal(place->out, "");
}

static void a_failed_expectation_ends_with_1(void **state)
{
	struct place *place = *state;

	place_spill(place, "a.ksm", "expect run=1\nexpect run=0\n");
	assert_int_equal(place_run(place, "run a.ksm --quiet --seed 5"), 1);
	assert_string_equal(place->out, "");
	assert_string_equal(place->err, "a.ksm:1:8: expected run=1, seen 0\n"
					"1 of 2 expectations failed (seed 5)\n");
}

static void bad_input_ends_with_2(void **state)
{
	struct place *place = *state;

	place_spill(place, "a.ksm", "prok A\n");
	assert_int_equal(place_run(place, "run a.ksm"), 2);
	assert_string_equal(place->out, "");
	assert_string_equal(place->err,
			    "a.ksm:1:1: unknown operation 'prok'; did you mean 'proc'?\n");
	place_spill(place, "a.lua", "x = 1\nproc()\n");
	assert_int_equal(place_run(place, "run a.lua"), 2);
	place_has(place->err, "a.lua:2: ");
	place_spill(place, "b.lua", "while true do end\n");
	assert_int_equal(place_run(place, "run b.lua --lua-limit 10000"), 2);
	place_has(place->err, "b.lua:1: the script ran more instructions than the limit");
	assert_int_equal(place_run(place, "run nothing.ksm"), 2);
	place_has(place->err, "nothing.ksm cannot be read");
	assert_int_equal(place_run(place, "run ."), 2);
	place_has(place->err, "directory");
}

static void bad_usage_ends_with_2_and_a_suggestion(void **state)
{
	struct place *place = *state;

	place_spill(place, "a.ksm", good);
	assert_int_equal(place_run(place, "%s", ""), 2);
	place_has(place->err, "usage: ksmsim");
	assert_int_equal(place_run(place, "rnu a.ksm"), 2);
	place_has(place->err, "did you mean 'run'?");
	assert_int_equal(place_run(place, "run"), 2);
	assert_int_equal(place_run(place, "run a.ksm a.ksm"), 2);
	assert_int_equal(place_run(place, "run a.ksm --profle x"), 2);
	place_has(place->err, "did you mean --profile?");
	assert_int_equal(place_run(place, "run a.ksm --profile"), 2);
	assert_int_equal(place_run(place, "run a.ksm --quiet=1"), 2);
	assert_int_equal(place_run(place, "run a.ksm --seed x"), 2);
	assert_int_equal(place_run(place, "run a.ksm --knob smart_scan"), 2);
	place_has(place->err, "is not NAME=VALUE");
	assert_int_equal(place_run(place, "run a.ksm --knob=smart_scna=1"), 2);
	place_has(place->err, "did you mean 'smart_scan'?");
	assert_int_equal(place_run(place, "run a.ksm --lua-limit 0"), 2);
	assert_int_equal(place_run(place, "list knbos"), 2);
	place_has(place->err, "did you mean 'knobs'?");
}

/* The figure in the last line. */
static long ksmd_ns(const char *json)
{
	const char *end = strstr(json, "{\"end\":"), *figure;

	assert_non_null(end);
	figure = strstr(end, "\"ksmd_cpu_ns\":");
	assert_non_null(figure);
	return strtol(figure + strlen("\"ksmd_cpu_ns\":"), NULL, 10);
}

static void options_reach_the_machine(void **state)
{
	struct place *place = *state;
	char before[sizeof(place->out)];

	place_spill(place, "a.ksm",
		    "expect pages_to_scan=7 use_zero_pages=1\nproc A\nmmap A h 2\n"
		    "fill A h zero\nmadvise A h MERGEABLE\nscan 2\n"
		    "expect ksm_zero_pages=2\n");
	assert_int_equal(
		place_run(place, "run a.ksm --knob pages_to_scan=7 --knob=use_zero_pages=1"), 0);
	assert_int_equal(place_run(place, "run a.ksm"), 1);
	place_spill(place, "b.ksm", "ksm smart_scan 1\nexpect result=-ENOENT\n");
	assert_int_equal(place_run(place, "run b.ksm --profile linux-6.1"), 0);
	assert_int_equal(place_run(place, "run b.ksm --feature smart_scan=0"), 0);
	assert_int_equal(place_run(place, "run b.ksm"), 1);
	place_spill(place, "c.ksm",
		    "proc A\nmmap A h 1\nfill A h zero\nmadvise A h MERGEABLE\nstep 1\n");
	assert_int_equal(place_run(place, "run c.ksm --json"), 0);
	strcpy(before, place->out);
	assert_int_equal(place_run(place, "run c.ksm --json --cost visit=1000"), 0);
	place_has(place->out, "\"costs\":{\"visit\":\"1000\"}");
	assert_int_equal(ksmd_ns(place->out) - ksmd_ns(before), 1000 - 100);
}

static void json_has_standard_output_for_itself(void **state)
{
	struct place *place = *state;
	const char *line;

	place_spill(place, "a.ksm", good);
	assert_int_equal(place_run(place, "run a.ksm --json"), 0);
	for (line = place->out; *line; line = strchr(line, '\n') + 1)
		assert_int_equal(*line, '{');
	place_has(place->out, "{\"schema\":1,");
	place_has(place->out, "\n{\"end\":true,");
	assert_int_equal(place_run(place, "run - --json </dev/null"), 0);
	place_has(place->out, "{\"schema\":1,");
	place_has(place->out, "\n{\"end\":true,\"operations\":0,");
}

static void a_trace_is_in_the_form_of_ftrace(void **state)
{
	struct place *place = *state;
	char text[8192];

	place_spill(place, "a.ksm", good);
	assert_int_equal(place_run(place, "run a.ksm --quiet --trace t"), 0);
	place_slurp(place, "t", text, sizeof(text));
	assert_ptr_equal(strstr(text, "# tracer: nop\n#\n"), text);
	place_has(text,
		  "\n            ksmd-1       [000] .....     0.000000: ksm_start_scan: seq 0 rmap "
		  "size 0\n");
	assert_int_equal(place_files(place), 2);
}

static void a_trace_is_whole_or_not_there(void **state)
{
	struct place *place = *state;
	char text[64];

	place_spill(place, "bad.ksm", "proc A\nmmap A h 1\nmadvise A h MERGEABLE\nscan\nprok\n");
	place_spill(place, "t", "old");
	assert_int_equal(place_run(place, "run bad.ksm --trace t"), 2);
	place_slurp(place, "t", text, sizeof(text));
	assert_string_equal(text, "old");
	assert_int_equal(place_files(place), 2);
	place_spill(place, "fails.ksm", "expect run=1\n");
	assert_int_equal(place_run(place, "run fails.ksm --trace t"), 1);
	place_slurp(place, "t", text, sizeof(text));
	place_has(text, "# tracer: nop");
	assert_int_equal(place_files(place), 3);
	assert_int_equal(place_run(place, "run fails.ksm --trace no/t"), 2);
	place_has(place->err, "no/t cannot be written");
	assert_int_equal(place_run(place, "run fails.ksm --trace /dev/full"), 2);
	place_has(place->err, "/dev/full cannot be written");
}

static pid_t start_run(const struct place *place, int in)
{
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	if (chdir(place->dir) || dup2(in, STDIN_FILENO) < 0)
		_exit(126);
	execl(place_program(), "ksmsim", "run", "-", "--quiet", "--trace", "t", (char *)NULL);
	_exit(127);
}

/* Does the process hold a file of the directory open? */
static bool writes_in(const struct place *place, pid_t pid)
{
	char path[64], link[256], to[256];
	struct dirent *entry;
	bool found = false;
	ssize_t length;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%ld/fd", (long)pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)) != NULL) {
		snprintf(link, sizeof(link), "%.32s/%.32s", path, entry->d_name);
		length = readlink(link, to, sizeof(to) - 1);
		to[length < 0 ? 0 : length] = '\0';
		found = !strncmp(to, place->dir, strlen(place->dir));
	}
	if (dir)
		closedir(dir);
	return found;
}

static void a_signal_leaves_no_file_behind(void **state)
{
	struct place *place = *state;
	int to[2], status, tries;
	char text[16];
	pid_t pid;

	place_spill(place, "t", "old");
	assert_int_equal(pipe(to), 0);
	pid = start_run(place, to[0]);
	close(to[0]);
	assert_int_equal(write(to[1], "proc A\n", 7), 7);
	for (tries = 0; !writes_in(place, pid) && tries < 1000; tries++)
		usleep(10000);
	assert_true(writes_in(place, pid));
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(to[1]);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	place_slurp(place, "t", text, sizeof(text));
	assert_string_equal(text, "old");
	assert_int_equal(place_files(place), 1);
}

static void output_that_cannot_be_written_is_an_error(void **state)
{
	struct place *place = *state;

	place_spill(place, "a.ksm", good);
	assert_int_equal(place_run(place, "run a.ksm >/dev/full"), 2);
	place_has(place->err, "cannot be written");
	assert_int_equal(place_run(place, "run a.ksm --json >/dev/full"), 2);
	place_has(place->err, "cannot be written");
	assert_int_equal(place_run(place, "list counters >/dev/full"), 2);
	place_has(place->err, "cannot be written");
	assert_int_equal(place_run(place, "list counters --json >/dev/full"), 2);
	assert_int_equal(place_run(place, "--version >/dev/full"), 2);
}

static void lists_and_help_are_there(void **state)
{
	static const char *const names[] = { "profiles",   "features",	 "knobs",	"counters",
					     "figures",	   "events",	 "costs",	"advices",
					     "operations", "geometries", "allocations", "findings",
					     "errors",	   "mthp",	 "policies" };
	struct place *place = *state;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		assert_int_equal(place_run(place, "list %s", names[i]), 0);
		assert_non_null(strchr(place->out, '\n'));
		assert_int_equal(place_run(place, "list %s --json", names[i]), 0);
		place_has(place->out, "{\"name\":\"");
	}
	assert_int_equal(place_run(place, "list"), 0);
	place_has(place->out, "operations");
	assert_int_equal(place_run(place, "help"), 0);
	place_has(place->out, "run a scenario");
	assert_int_equal(place_run(place, "help run"), 0);
	place_has(place->out, "--profile P");
	assert_int_equal(place_run(place, "run --help"), 0);
	place_has(place->out, "Exit status");
	assert_int_equal(place_run(place, "--version"), 0);
	place_has(place->out, "ksmsim ");
}

static void memory_is_drawn_behind_the_run(void **state)
{
	struct place *place = *state;

	place_spill(place, "a.ksm", "proc A\nmmap A r 3\ntouch A r+1\nproc B\nexit B\n");
	assert_int_equal(place_run(place, "run a.ksm --quiet --map A:r --map A:r+1"), 0);
	assert_string_equal(place->out,
			    "A.r: 3 pages from 0x10000000000, a character for each page\n"
			    "               0  .a.\n"
			    "               1  a  anonymous page of its own\n"
			    "               2  .  nothing\n"
			    "A.r: 1 page from 0x10000001000, a character for each page\n"
			    "               1  a\n"
			    "               1  a  anonymous page of its own\n");
	assert_int_equal(place_run(place, "run a.ksm --map A:s"), 2);
	place_has(place->err, "--map:1:7: A has no region 's'");
	assert_int_equal(place_run(place, "run a.ksm --map B:r"), 2);
	place_has(place->err, "process B has exited");
	assert_int_equal(place_run(place, "run a.ksm --map A"), 2);
	place_has(place->err, "'A' is not PROCESS:RANGE");
	assert_int_equal(place_run(place, "run a.ksm --json --map A:r"), 2);
	place_has(place->err, "--json");
}

static void progress_is_for_terminals(void **state)
{
	struct place *place = *state;

	place_spill(place, "a.lua",
		    "for i = 1, 300000 do now() end for i = 1, 20000 do drain() end\n");
	assert_int_equal(place_run(place, "run a.lua --quiet"), 0);
	assert_string_equal(place->err, "");
}

static const struct CMUnitTest tests[] = {
	PLACE_TEST(a_run_that_holds_ends_with_0_and_a_report),
	PLACE_TEST(a_failed_expectation_ends_with_1),
	PLACE_TEST(bad_input_ends_with_2),
	PLACE_TEST(bad_usage_ends_with_2_and_a_suggestion),
	PLACE_TEST(options_reach_the_machine),
	PLACE_TEST(json_has_standard_output_for_itself),
	PLACE_TEST(a_trace_is_in_the_form_of_ftrace),
	PLACE_TEST(a_trace_is_whole_or_not_there),
	PLACE_TEST(a_signal_leaves_no_file_behind),
	PLACE_TEST(output_that_cannot_be_written_is_an_error),
	PLACE_TEST(lists_and_help_are_there),
	PLACE_TEST(memory_is_drawn_behind_the_run),
	PLACE_TEST(progress_is_for_terminals),
};

PLACE_MAIN(tests)
