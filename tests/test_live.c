/*
 * test_live.c - the running kernel as a backend: it does what scenarios say, and
 * however a run ends, the machine is as it was.
 *
 * Needs root, KSM and a kernel that one of the profiles is for; without them each
 * test says what is missing and is skipped.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/live.h"
#include "sim/sim.h"

#define STATE_MAX 8192
#define PATIENCE_MS 20000

static void doze(long ms)
{
	const struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

/* The run of this test: one that is not freed would hold the machine for ever. */
static struct sim_run *running;

static int stop(void **state)
{
	(void)state;
	sim_run_free(running);
	running = NULL;
	return 0;
}

static struct sim_run *start(char *why, size_t size, int *error)
{
	const struct sim_options options = { .backend = sim_live_new,
					     .profile = sim_live_profile(),
					     .log = stderr };

	*error = sim_run_new(&options, why, size, &running);
	if (*error)
		running = NULL;
	return running;
}

/* A kernel that a run can be had on: of a program that uses KSM only for a moment the end is waited for. */
static void need_live(void)
{
	char why[256];
	int error = SIM_LIVE_EREFUSED;
	unsigned tries;

	if (sim_live_supported(why, sizeof(why))) {
		for (tries = 0; tries < 50 && error == SIM_LIVE_EREFUSED; tries++) {
			if (tries)
				doze(100);
			start(why, sizeof(why), &error);
			stop(NULL);
		}
		if (error != SIM_LIVE_EREFUSED)
			return;
	}
	print_message("skipped: %s\n", why);
	skip();
}

static int play(struct sim_run *run, const char *text)
{
	FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	int error;

	assert_non_null(in);
	error = sim_run_lines(run, in, "test");
	fclose(in);
	return error;
}

/* ---- what a run may not leave behind ---- */

static void add_files(char *state, const char *pattern)
{
	const size_t length = strlen(pattern);
	char line[64];
	size_t i;
	glob_t found;
	FILE *file;

	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	for (i = 0; i < found.gl_pathc; i++) {
		if (strstr(found.gl_pathv[i], "scan") && strstr(found.gl_pathv[i], "full"))
			continue;
		file = access(found.gl_pathv[i], W_OK) ? NULL : fopen(found.gl_pathv[i], "r");
		if (!file || !fgets(line, sizeof(line), file))
			line[0] = '\0';
		if (file)
			fclose(file);
		snprintf(state + strlen(state), STATE_MAX - strlen(state), "%s: %s",
			 found.gl_pathv[i] + length / 2, line);
	}
	globfree(&found);
}

static int64_t number_in(const char *path)
{
	FILE *file = fopen(path, "r");
	char text[64] = "";

	if (file && !fgets(text, sizeof(text), file))
		text[0] = '\0';
	if (file)
		fclose(file);
	return strtoll(text, NULL, 10);
}

/* Every knob of KSM and of huge pages, and that nothing is merged. Not while a run goes on. */
static void state_of_machine(char *state)
{
	state[0] = '\0';
	add_files(state, "/sys/kernel/mm/ksm/[!fgp]*");
	add_files(state, "/sys/kernel/mm/ksm/pages_to_scan");
	add_files(state, "/sys/kernel/mm/transparent_hugepage/enabled");
	add_files(state, "/sys/kernel/mm/transparent_hugepage/hugepages-*/enabled");
	snprintf(state + strlen(state), STATE_MAX - strlen(state), "merged: %d\n",
		 (int)number_in("/sys/kernel/mm/ksm/pages_shared"));
}

/* Nobody runs anything on the live kernel as long as it is held. */
static int hold_lock(void)
{
	int fd = open("/run/lock/ksmsim.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		fd = open("/tmp/ksmsim.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	while (flock(fd, LOCK_EX))
		assert_int_equal(errno, EINTR);
	return fd;
}

/* Whoever was forked meanwhile has it open, too. */
static void release_lock(int lock)
{
	flock(lock, LOCK_UN);
	close(lock);
}

static void assert_untouched(const char *before)
{
	char after[STATE_MAX];
	const int lock = hold_lock();

	state_of_machine(after);
	release_lock(lock);
	assert_string_equal(before, after);
}

static void state_at_rest(char *state)
{
	const int lock = hold_lock();

	state_of_machine(state);
	release_lock(lock);
}

/* ---- scenarios ---- */

static void play_file(const char *name)
{
	char path[512], why[512];
	struct sim_run *run;
	FILE *in;
	int error;

	run = start(why, sizeof(why), &error);
	if (!run)
		fail_msg("%s", why);
	snprintf(path, sizeof(path), "%s/tests/replay/%s.ksm", KSMSIM_SOURCE_DIR, name);
	in = fopen(path, "r");
	assert_non_null(in);
	if (sim_run_lines(run, in, path) || sim_run_end(run))
		fail_msg("%s", sim_run_error(run));
	if (sim_run_failed(run))
		fail_msg("%s", sim_run_failure(run));
	assert_true(sim_run_expected(run) > 0);
	fclose(in);
	stop(NULL);
}

static void scenarios_hold_on_the_kernel(void **state)
{
	static const char *const names[] = {
		"8001-two-identical-pages-merge-in-the-second-scan",
		"8017-a-forked-child-attaches-to-ksm-pages-on-its-first-visit",
		"8024-zero-pages-merge-with-the-zero-page",
		"8037-run-2-unmerges-everything-and-writing-it-twice-does-nothing",
		"8077-prctl-makes-a-whole-process-mergeable",
		"8111-one-page-in-32-tib",
		"8209-drain0-cow-remerge",
		"8231-max-sharing-4",
		"8244-pin-after-merge",
		"8245-pinned-scanned-page",
		"8246-pinned-tree-page",
		"8250-smart-scan-256",
		"8313-stable-node-chains-prune-millisecs-takes-32-bits",
		"8333-private-file-pages-merge-once-written",
		"8352-moving-merged-pages-unmerges-them",
		"8358-exec-under-merge-any",
	};
	size_t i;

	(void)state;
	need_live();
	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		play_file(names[i]);
}

/* Nothing of its own: what a process could have, merge-any would show. */
static void a_process_has_only_what_the_scenario_gives_it(void **state)
{
	char why[512];
	struct sim_run *run;
	int error;

	(void)state;
	need_live();
	run = start(why, sizeof(why), &error);
	assert_non_null(run);
	assert_int_equal(play(run, "proc A\n"
				   "prctl A on\n"
				   "expect A.vmas=0 A.rss_anon=0 A.mergeable=0 A.merge_any=1\n"
				   "scan 3\n"
				   "expect pages_scanned=0 rmap_items=0\n"
				   "brk A 3\n"
				   "fill A brk byte:1\n"
				   "fork A B\n"
				   "exec A\n"
				   "expect A.vmas=0 A.rss_anon=0 B.vmas=1 B.rss_anon=3\n"),
			 0);
	assert_int_equal(sim_run_failed(run), 0);
	stop(NULL);
}

static void what_a_kernel_cannot_do_is_said_and_leaves_nothing(void **state)
{
	static const char *const lines[] = { "advance 1s",     "run 1s",      "inject frame 1",
					     "node A 0",       "swapout A m", "migrate A m 0",
					     "pin A m+0 read", "ksmdcpu 1s",  "ksm ksmsim/hz 100" };
	char before[STATE_MAX], why[512], text[256];
	struct sim_run *run;
	size_t i;
	int error;

	(void)state;
	need_live();
	state_at_rest(before);
	for (i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		run = start(why, sizeof(why), &error);
		assert_non_null(run);
		snprintf(text, sizeof(text), "proc A\nmmap A m 2\nfill A m byte:1\n%s\n", lines[i]);
		error = play(run, text);
		if (error != SIM_LIVE_ESKIP)
			fail_msg("%s: %d %s", lines[i], error, sim_run_error(run));
		assert_true(strlen(sim_run_error(run)) > 10);
		stop(NULL);
	}
	assert_untouched(before);
}

/* ---- ends ---- */

static const char long_scenario[] = "ksm max_page_sharing 3\n"
				    "ksm use_zero_pages 1\n"
				    "ksm smart_scan 0\n"
				    "ksm pages_to_scan 77\n"
				    "proc A\n"
				    "mmap A m 2000\n"
				    "fill A m byte:7\n"
				    "madvise A m MERGEABLE\n"
				    "scan 1000000\n";

/* A run that would take very long; its pid, when ksmd is at work for it. */
static pid_t start_long_run(void)
{
	char why[512], byte = 0;
	struct sim_run *run;
	int ends[2], error, i;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run = start(why, sizeof(why), &error);
		_exit(run && write(ends[1], &byte, 1) == 1 && play(run, long_scenario) ? 0 : 1);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	for (i = 0; number_in("/sys/kernel/mm/ksm/pages_shared") < 100; i++) {
		assert_true(i < PATIENCE_MS / 10);
		doze(10);
	}
	return pid;
}

static void end_by(int signal)
{
	char before[STATE_MAX];
	pid_t pid;
	int status;

	need_live();
	state_at_rest(before);
	pid = start_long_run();
	assert_int_equal(number_in("/sys/kernel/mm/ksm/max_page_sharing"), 3);
	assert_int_equal(kill(pid, signal), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_untouched(before);
}

static void sigterm_in_the_middle_leaves_every_knob_as_it_was(void **state)
{
	(void)state;
	end_by(SIGTERM);
}

static void sigint_in_the_middle_leaves_every_knob_as_it_was(void **state)
{
	(void)state;
	end_by(SIGINT);
}

static void sigkill_in_the_middle_leaves_every_knob_as_it_was(void **state)
{
	(void)state;
	end_by(SIGKILL);
}

/* Some child of ours that is a process of the scenario. */
static pid_t scenario_process(void)
{
	char path[64], text[512] = "", comm[64] = "", *at = text;
	FILE *file;
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	while ((pid = (pid_t)strtol(at, &at, 10)) > 0) {
		snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
		file = fopen(path, "r");
		if (file && fgets(comm, sizeof(comm), file) && strstr(comm, "memfd")) {
			fclose(file);
			return pid;
		}
		if (file)
			fclose(file);
	}
	return 0;
}

static void a_process_that_is_killed_ends_the_run(void **state)
{
	char before[STATE_MAX], why[512];
	struct sim_run *run;
	pid_t pid;
	int error;

	(void)state;
	need_live();
	state_at_rest(before);
	run = start(why, sizeof(why), &error);
	assert_non_null(run);
	assert_int_equal(play(run, "ksm max_page_sharing 4\nproc A\nmmap A m 4\n"), 0);
	pid = scenario_process();
	assert_true(pid > 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(play(run, "fill A m byte:1\n"), SIM_LIVE_EBROKEN);
	assert_non_null(strstr(sim_run_error(run), "died"));
	stop(NULL);
	assert_untouched(before);
}

/* ---- others ---- */

/* A process that has advised KSM, until it is killed. */
static pid_t start_foreigner(void)
{
	char *page;
	int ends[2];
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (page == MAP_FAILED || madvise(page, 8192, 12 /* MADV_MERGEABLE */) ||
		    write(ends[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	close(ends[1]);
	return pid;
}

static void end_foreigner(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_machine_where_ksm_is_in_use_is_refused(void **state)
{
	char before[STATE_MAX], why[512] = "", number[32];
	struct sim_run *run;
	pid_t pid;
	int error, lock;

	(void)state;
	need_live();
	lock = hold_lock();
	state_of_machine(before);
	pid = start_foreigner();
	release_lock(lock);
	run = start(why, sizeof(why), &error);
	end_foreigner(pid);
	assert_null(run);
	assert_int_equal(error, SIM_LIVE_EREFUSED);
	snprintf(number, sizeof(number), "process %d", (int)pid);
	assert_non_null(strstr(why, number));
	assert_untouched(before);
}

static void a_run_during_which_somebody_else_joins_is_disturbed(void **state)
{
	char before[STATE_MAX], why[512];
	struct sim_run *run;
	pid_t pid;
	int error;

	(void)state;
	need_live();
	state_at_rest(before);
	run = start(why, sizeof(why), &error);
	assert_non_null(run);
	assert_int_equal(play(run, "proc A\n"), 0);
	pid = start_foreigner();
	error = play(run, "mmap A m 4\n");
	end_foreigner(pid);
	assert_int_equal(error, SIM_LIVE_EDISTURBED);
	stop(NULL);
	assert_untouched(before);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(scenarios_hold_on_the_kernel, stop),
		cmocka_unit_test_teardown(a_process_has_only_what_the_scenario_gives_it, stop),
		cmocka_unit_test_teardown(what_a_kernel_cannot_do_is_said_and_leaves_nothing, stop),
		cmocka_unit_test_teardown(sigterm_in_the_middle_leaves_every_knob_as_it_was, stop),
		cmocka_unit_test_teardown(sigint_in_the_middle_leaves_every_knob_as_it_was, stop),
		cmocka_unit_test_teardown(sigkill_in_the_middle_leaves_every_knob_as_it_was, stop),
		cmocka_unit_test_teardown(a_process_that_is_killed_ends_the_run, stop),
		cmocka_unit_test_teardown(a_machine_where_ksm_is_in_use_is_refused, stop),
		cmocka_unit_test_teardown(a_run_during_which_somebody_else_joins_is_disturbed,
					  stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
