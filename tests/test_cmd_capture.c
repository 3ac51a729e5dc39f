/*
 * test_cmd_capture.c - ksmsim capture, import and info as their users see them.
 *
 * The program is the one in $KSMSIM_CLI; without it the tests are skipped (77).
 */
#define _GNU_SOURCE
#include "test.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *program(void)
{
	const char *path = getenv("KSMSIM_CLI");

	return path ? path : KSMSIM_CLI;
}

/* A directory with the files of a test, and a process to look at. */
struct place {
	char dir[64];
	char out[16384], err[8192]; /* of the last call */
	pid_t pid;
};

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

static int enter(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	if (!place)
		return -1;
	strcpy(place->dir, "/tmp/ksmsim-capture-XXXXXX");
	*state = place;
	if (!mkdtemp(place->dir))
		return -1;
	spill(place, "list.csv", "process,address,hash\na,0,00\na,4096,01\nb,0,01\n");
	place->pid = fork();
	if (!place->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return 0;
}

static int leave(void **state)
{
	struct place *place = *state;
	char command[128];
	int status;

	kill(place->pid, SIGKILL);
	waitpid(place->pid, NULL, 0);
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

__attribute__((format(printf, 2, 3))) static int ksmsim(struct place *place, const char *format,
							...)
{
	char arguments[512], command[768];
	va_list args;
	int status;

	va_start(args, format);
	vsnprintf(arguments, sizeof(arguments), format, args);
	va_end(args);
	snprintf(command, sizeof(command), "cd '%s' && >.out 2>.err '%s' %s", place->dir, program(),
		 arguments);
	status = system(command);
	slurp(place, ".out", place->out, sizeof(place->out));
	slurp(place, ".err", place->err, sizeof(place->err));
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' does not have '%s'", text, part);
}

/* Files of the directory that no test put there; the outputs begin with a dot. */
static unsigned new_files(const struct place *place)
{
	DIR *dir = opendir(place->dir);
	struct dirent *entry;
	unsigned nr = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		nr += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
		      strcmp(entry->d_name, ".out") && strcmp(entry->d_name, ".err") &&
		      strcmp(entry->d_name, "list.csv");
	closedir(dir);
	return nr;
}

static void a_capture_of_a_process_is_told_by_info(void **state)
{
	struct place *place = *state;
	char pid[32];

	assert_int_equal(
		ksmsim(place, "capture --pid %d --rounds 2 --interval 10ms -o c", (int)place->pid),
		0);
	assert_string_equal(place->err, "");
	assert_has(place->out, "2 rounds");
	assert_int_equal(new_files(place), 1);
	assert_int_equal(ksmsim(place, "info c"), 0);
	snprintf(pid, sizeof(pid), "%d test_cmd_captur", (int)place->pid);
	assert_has(place->out, pid);
	assert_has(place->out, "source live");
	assert_int_equal(ksmsim(place, "info --json c"), 0);
	assert_has(place->out, "\"rounds\":[{");
	assert_has(place->out, "\"sys/ksm/run\"");
}

static void a_list_of_hashes_is_told_by_info(void **state)
{
	struct place *place = *state;

	assert_int_equal(ksmsim(place, "import list.csv --zero-hash 00 -o c"), 0);
	assert_has(place->out, "3 pages, 1 of them zero");
	assert_int_equal(ksmsim(place, "info c"), 0);
	assert_has(place->out, "source hashes");
}

static void usage_errors_end_with_2_and_make_no_file(void **state)
{
	struct place *place = *state;

	assert_int_equal(ksmsim(place, "capture -o c"), 2);
	assert_has(place->err, "--pid, --name, --cgroup or --all");
	assert_int_equal(ksmsim(place, "capture --pid 1"), 2);
	assert_has(place->err, "-o OUT");
	assert_int_equal(ksmsim(place, "capture --pid x -o c"), 2);
	assert_has(place->err, "'x' is no process id");
	assert_int_equal(ksmsim(place, "capture --pid 1 x -o c"), 2);
	assert_has(place->err, "takes no operand");
	assert_int_equal(ksmsim(place, "capture --all --stop -o c"), 2);
	assert_has(place->err, "--stop and --all");
	assert_int_equal(ksmsim(place, "capture --pid 1 --rounds 0 -o c"), 2);
	assert_has(place->err, "between 1 and 1000");
	assert_int_equal(ksmsim(place, "capture --pid 1 --user nobody-at-all -o c"), 2);
	assert_has(place->err, "no user");
	assert_int_equal(ksmsim(place, "import -o c"), 2);
	assert_int_equal(ksmsim(place, "import list.csv"), 2);
	assert_int_equal(ksmsim(place, "import list.csv --page-size 5K -o c"), 2);
	assert_int_equal(ksmsim(place, "import list.csv --format x -o c"), 2);
	assert_int_equal(ksmsim(place, "info"), 2);
	assert_int_equal(new_files(place), 0);
}

static void what_fails_makes_no_file(void **state)
{
	struct place *place = *state;

	assert_int_equal(ksmsim(place, "capture --pid 2147483647 -o c"), 2);
	assert_has(place->err, "there is no process 2147483647");
	assert_int_equal(ksmsim(place, "capture --name no-such-name -o c"), 2);
	assert_has(place->err, "no process is what the options ask for");
	assert_int_equal(ksmsim(place, "import /dev/null --format elf -o c"), 2);
	assert_has(place->err, "cut off");
	assert_int_equal(ksmsim(place, "import missing -o c"), 2);
	assert_has(place->err, "missing cannot be read: No such file");
	assert_int_equal(ksmsim(place, "import . -o c"), 2);
	assert_has(place->err, "directory");
	assert_int_equal(ksmsim(place, "capture --pid %d -o nowhere/c", (int)place->pid), 2);
	assert_has(place->err, "nowhere/c");
	assert_int_equal(ksmsim(place, "import list.csv -o nowhere/c"), 2);
	assert_int_equal(new_files(place), 0);
}

static void what_is_no_capture_is_refused(void **state)
{
	struct place *place = *state;

	assert_int_equal(ksmsim(place, "info list.csv"), 2);
	assert_has(place->err, "list.csv is no capture");
	assert_int_equal(ksmsim(place, "info missing"), 2);
	assert_has(place->err, "missing cannot be read: No such file");
	assert_int_equal(ksmsim(place, "import list.csv -o c"), 0);
	assert_int_equal(ksmsim(place, "import c -o d"), 2);
	assert_has(place->err, "capture already");
}

static void an_old_file_stays_until_the_new_one_is_done(void **state)
{
	struct place *place = *state;
	char text[64];

	spill(place, "c", "old");
	assert_int_equal(ksmsim(place, "import missing -o c"), 2);
	slurp(place, "c", text, sizeof(text));
	assert_string_equal(text, "old");
	assert_int_equal(ksmsim(place, "import list.csv -o c"), 0);
	assert_int_equal(ksmsim(place, "info c"), 0);
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

	snprintf(pid, sizeof(pid), "%d", (int)place->pid);
	snprintf(out, sizeof(out), "%s/c", place->dir);
	for (i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		child = fork();
		if (!child) {
			execl(program(), "ksmsim", "capture", "--pid", pid, "--rounds", "2",
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

	assert_int_equal(ksmsim(place, "import list.csv -o /dev/full"), 2);
	assert_has(place->err, "No space left");
	assert_int_equal(ksmsim(place, "import list.csv -o c"), 0);
	assert_int_equal(ksmsim(place, "info c >/dev/full"), 2);
}

static void every_command_tells_its_options(void **state)
{
	struct place *place = *state;

	assert_int_equal(ksmsim(place, "help capture"), 0);
	assert_has(place->out, "--cgroup PATH");
	assert_int_equal(ksmsim(place, "import --help"), 0);
	assert_has(place->out, "--zero-hash HEX");
	assert_int_equal(ksmsim(place, "info --help"), 0);
	assert_has(place->out, "--meta");
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

int main(void)
{
	if (access(program(), X_OK)) {
		print_message("no program %s: skipped\n", program());
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
