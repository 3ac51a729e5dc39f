/*
 * test_cmd_capture.c - ksmsim capture, import and info as their users see them.
 */
#define _GNU_SOURCE
#include "place.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The process to look at: it does nothing. */
static pid_t looked_at;

static int enter(void **state)
{
	if (place_enter(state))
		return -1;
	place_spill(*state, "list.csv", "process,address,hash\na,0,00\na,4096,01\nb,0,01\n");
	looked_at = fork();
	if (!looked_at) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return 0;
}

static int leave(void **state)
{
	kill(looked_at, SIGKILL);
	waitpid(looked_at, NULL, 0);
	return place_leave(state);
}

/* Files of the directory that were not there at first. */
static unsigned new_files(const struct place *place)
{
	return place_files(place) - 1;
}

static void a_capture_of_a_process_is_told_by_info(void **state)
{
	struct place *place = *state;
	char pid[32];

	assert_int_equal(place_run(place, "capture --pid %d --rounds 2 --interval 10ms -o c",
				   (int)looked_at),
			 0);
	assert_string_equal(place->err, "");
	place_has(place->out, "2 rounds");
	assert_int_equal(new_files(place), 1);
	assert_int_equal(place_run(place, "info c"), 0);
	snprintf(pid, sizeof(pid), "%d test_cmd_captur", (int)looked_at);
	place_has(place->out, pid);
	place_has(place->out, "source live");
	assert_int_equal(place_run(place, "info --json c"), 0);
	place_has(place->out, "\"rounds\":[{");
	place_has(place->out, "\"sys/ksm/run\"");
}

static void a_list_of_hashes_is_told_by_info(void **state)
{
	struct place *place = *state;

	assert_int_equal(place_run(place, "import list.csv --zero-hash 00 -o c"), 0);
	place_has(place->out, "3 pages, 1 of them zero");
	assert_int_equal(place_run(place, "info c"), 0);
	place_has(place->out, "source hashes");
}

static void usage_errors_end_with_2_and_make_no_file(void **state)
{
	struct place *place = *state;

	assert_int_equal(place_run(place, "capture -o c"), 2);
	place_has(place->err, "--pid, --name, --cgroup or --all");
	assert_int_equal(place_run(place, "capture --pid 1"), 2);
	place_has(place->err, "-o OUT");
	assert_int_equal(place_run(place, "capture --pid x -o c"), 2);
	place_has(place->err, "'x' is no process id");
	assert_int_equal(place_run(place, "capture --pid 1 x -o c"), 2);
	place_has(place->err, "takes no operand");
	assert_int_equal(place_run(place, "capture --all --stop -o c"), 2);
	place_has(place->err, "--stop and --all");
	assert_int_equal(place_run(place, "capture --pid 1 --rounds 0 -o c"), 2);
	place_has(place->err, "between 1 and 1000");
	assert_int_equal(place_run(place, "capture --pid 1 --user nobody-at-all -o c"), 2);
	place_has(place->err, "no user");
	assert_int_equal(place_run(place, "import -o c"), 2);
	assert_int_equal(place_run(place, "import list.csv"), 2);
	assert_int_equal(place_run(place, "import list.csv --page-size 5K -o c"), 2);
	assert_int_equal(place_run(place, "import list.csv --format x -o c"), 2);
	assert_int_equal(place_run(place, "info"), 2);
	assert_int_equal(new_files(place), 0);
}

static void what_fails_makes_no_file(void **state)
{
	struct place *place = *state;

	assert_int_equal(place_run(place, "capture --pid 2147483647 -o c"), 2);
	place_has(place->err, "there is no process 2147483647");
	assert_int_equal(place_run(place, "capture --name no-such-name -o c"), 2);
	place_has(place->err, "no process is what the options ask for");
	assert_int_equal(place_run(place, "import /dev/null --format elf -o c"), 2);
	place_has(place->err, "cut off");
	assert_int_equal(place_run(place, "import missing -o c"), 2);
	place_has(place->err, "missing cannot be read: No such file");
	assert_int_equal(place_run(place, "import . -o c"), 2);
	place_has(place->err, "directory");
	assert_int_equal(place_run(place, "capture --pid %d -o nowhere/c", (int)looked_at), 2);
	place_has(place->err, "nowhere/c");
	assert_int_equal(place_run(place, "import list.csv -o nowhere/c"), 2);
	assert_int_equal(new_files(place), 0);
}

static void what_is_no_capture_is_refused(void **state)
{
	struct place *place = *state;

	assert_int_equal(place_run(place, "info list.csv"), 2);
	place_has(place->err, "list.csv is no capture");
	assert_int_equal(place_run(place, "info missing"), 2);
	place_has(place->err, "missing cannot be read: No such file");
	assert_int_equal(place_run(place, "import list.csv -o c"), 0);
	assert_int_equal(place_run(place, "import c -o d"), 2);
	place_has(place->err, "capture already");
}

static void an_old_file_stays_until_the_new_one_is_done(void **state)
{
	struct place *place = *state;
	char text[64];

	place_spill(place, "c", "old");
	assert_int_equal(place_run(place, "import missing -o c"), 2);
	place_slurp(place, "c", text, sizeof(text));
	assert_string_equal(text, "old");
	assert_int_equal(place_run(place, "import list.csv -o c"), 0);
	assert_int_equal(place_run(place, "info c"), 0);
}

static void a_capture_that_is_killed_leaves_nothing(void **state)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGKILL };
	const struct timespec time = { .tv_nsec = 300000000 };
	struct place *place = *state;
	char pid[16], out[128];
	size_t i;
	int status;
	pid_t child;

	snprintf(pid, sizeof(pid), "%d", (int)looked_at);
	snprintf(out, sizeof(out), "%s/c", place->dir);
	for (i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		child = fork();
		if (!child) {
			execl(place_program(), "ksmsim", "capture", "--pid", pid, "--rounds", "2",
			      "--interval", "60s", "-o", out, (char *)NULL);
			_exit(127);
		}
		nanosleep(&time, NULL);
		kill(child, signals[i]);
		waitpid(child, &status, 0);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signals[i]);
		assert_int_equal(new_files(place), 0);
	}
}

static void output_that_cannot_be_written_is_told(void **state)
{
	struct place *place = *state;

	assert_int_equal(place_run(place, "import list.csv -o /dev/full"), 2);
	place_has(place->err, "No space left");
	assert_int_equal(place_run(place, "import list.csv -o c"), 0);
	assert_int_equal(place_run(place, "info c >/dev/full"), 2);
}

static void every_command_tells_its_options(void **state)
{
	struct place *place = *state;

	assert_int_equal(place_run(place, "help capture"), 0);
	place_has(place->out, "--cgroup PATH");
	assert_int_equal(place_run(place, "import --help"), 0);
	place_has(place->out, "--zero-hash HEX");
	assert_int_equal(place_run(place, "info --help"), 0);
	place_has(place->out, "--meta");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

static const struct CMUnitTest tests[] = {
	TEST(a_capture_of_a_process_is_told_by_info),
	TEST(a_list_of_hashes_is_told_by_info),
	TEST(usage_errors_end_with_2_and_make_no_file),
	TEST(what_fails_makes_no_file),
	TEST(what_is_no_capture_is_refused),
	TEST(an_old_file_stays_until_the_new_one_is_done),
	TEST(a_capture_that_is_killed_leaves_nothing),
	TEST(output_that_cannot_be_written_is_told),
	TEST(every_command_tells_its_options),
};

PLACE_MAIN(tests)
