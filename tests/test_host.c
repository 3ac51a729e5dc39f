/*
 * test_host.c - what doctor reads: pastes of all kinds, and hosts.
 *
 * A host is a directory with sys and proc in it. The running kernel is looked at in
 * one test, and only read.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "paste.h"

/* ---- pastes ---- */

static void paths_of_grep_tell_the_processes_apart(void **state)
{
	struct world *w = *state;

	paste(w, "/proc/7/ksm_stat:ksm_rmap_items 1\n/proc/7/ksm_stat:ksm_zero_pages 2\n"
		 "/proc/8/ksm_stat:ksm_rmap_items 3\n/proc/8/ksm_stat:ksm_new_line 3\n"
		 "/sys/kernel/mm/ksm/ksm_zero_pages:9\n");
	assert_int_equal(w->first.nr_processes, 2);
	assert_string_equal(w->first.processes[1].name, "8");
	assert_int_equal(w->first.processes[0].figures.value[HOST_stat_zero], 2);
	assert_int_equal(w->first.processes[1].figures.value[HOST_stat_items], 3);
	assert_int_equal(host_get(&w->first, HOST_ksm_zero_pages), 9);
	assert_int_equal(w->first.ignored, 1);
}

static void zero_pages_are_of_a_process_only_behind_its_items(void **state)
{
	struct world *w = *state;

	paste(w, "ksm_zero_pages 5\nrun 1\nksm_rmap_items 1\nksm_zero_pages 2\npages_shared 0\n");
	assert_int_equal(host_get(&w->first, HOST_ksm_zero_pages), 5);
	assert_int_equal(w->first.processes[0].figures.value[HOST_stat_zero], 2);
}

/* ---- bad input ---- */

static void refuses(const char *text, const char *why)
{
	struct world *w;

	w = paste_new();
	assert_int_equal(paste_named(w, &w->first, "F", text), SIM_EINPUT);
	assert_string_equal(w->why, why);
	paste_free(w);
}

static void garbage_is_refused_with_its_line_and_what_was_expected(void **state)
{
	(void)state;
	refuses("\n# x\nhello\n",
		"F:3: 'hello' is not known; expected NAME:VALUE as grep prints the files of "
		"/sys/kernel/mm/ksm, or a line of ksm_stat or smaps");
	refuses("pages_shraed:1\n",
		"F:1: 'pages_shraed' is not known; did you mean 'pages_shared'?");
	refuses("run:3x\n", "F:1: run is '3x'; expected a number from 0 to 7");
	refuses("run:\n", "F:1: run is ''; expected a number from 0 to 7");
	refuses("run:8\n", "F:1: run is '8'; expected a number from 0 to 7");
	refuses("pages_to_scan:0x10\n",
		"F:1: pages_to_scan is '0x10'; expected a number from 0 to 4294967295");
	refuses("pages_shared:-1\n",
		"F:1: pages_shared is '-1'; expected a number from 0 to 1099511627776");
	refuses("pages_shared:99999999999999999999\n",
		"F:1: pages_shared is '99999999999999999999'; expected a number from 0 to "
		"1099511627776");
	refuses("run:1\nrun:1\n", "F:2: run is there twice; one reading has it once");
	refuses("advisor_mode:[fast]\n",
		"F:1: advisor_mode is '[fast]'; expected '[none] scan-time' "
		"or 'none [scan-time]'");
	refuses("/sys/devices/system/node/online:3-1\n",
		"F:1: online is '3-1'; expected a list of nodes, as 0-1,4");
	refuses("/sys/kernel/mm/transparent_hugepage/enabled:[always\n",
		"F:1: enabled is '[always'; expected always, madvise and never, one of them in "
		"brackets");
	refuses("ksm_mergeable: maybe\n", "F:1: ksm_mergeable is 'maybe'; expected yes or no");
	refuses("MemTotal: 5\n", "F:1: MemTotal is '5'; expected a number of kB");
	refuses("/proc/1/ksm_stat:pages 5\n",
		"F:1: 'pages' is no line of ksm_stat; expected ksm_rmap_items and a number");
	refuses("\001\002\n", "F:1: the line has bytes that are no text");
}

static void a_line_without_end_is_refused(void **state)
{
	struct world *w = *state;
	char *text = malloc(SIM_LINE_MAX + 10);

	assert_non_null(text);
	memset(text, 'a', SIM_LINE_MAX + 9);
	text[SIM_LINE_MAX + 9] = '\0';
	assert_int_equal(paste_named(w, &w->first, "F", text), SIM_EINPUT);
	assert_string_equal(w->why, "F:1: the line has more than 65536 bytes");
	free(text);
}

static void other_files_of_the_kernel_are_ignored_and_counted(void **state)
{
	struct world *w = *state;

	paste(w, "/sys/kernel/mm/transparent_hugepage/defrag:always [madvise] never\n"
		 "/sys/kernel/mm/transparent_hugepage/enabled:always [madvise] never\n"
		 "/sys/kernel/mm/ksm/of_the_future:?\n/proc/stat:cpu 1\n/proc/vmstat:pgfault 3\n"
		 "/proc/vmstat:of_the_future 3\n");
	assert_int_equal(w->first.ignored, 3);
	assert_string_equal(w->first.first_ignored, "/sys/kernel/mm/transparent_hugepage/defrag");
	assert_int_equal(host_get(&w->first, HOST_huge_enabled), 1);
}

static void names_in_messages_are_short_and_text(void **state)
{
	struct world *w = *state;
	char text[300];

	memset(text, 'q', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(paste_named(w, &w->first, "F", text), SIM_EINPUT);
	assert_true(strlen(w->why) < 220);
	assert_int_equal(paste_named(w, &w->first, "caf\xc3(\n", "ksm_rmap_items 1\n"), 0);
	assert_string_equal(w->first.processes[0].name, "caf?(?");
}

static void mails_and_directories_around_the_names_do_no_harm(void **state)
{
	struct world *w = *state;

	paste(w, "> > pages_shared: 4\r\n>ksm/pages_sharing:5\n./run:1\nsleep_millisecs = 30\n"
		 "grep: /sys/kernel/mm/ksm/x: Permission denied\nSwapFree:  10 kB\n"
		 "advisor_mode:none [scan-time]\n");
	assert_int_equal(host_get(&w->first, HOST_pages_shared), 4);
	assert_int_equal(host_get(&w->first, HOST_pages_sharing), 5);
	assert_int_equal(host_get(&w->first, HOST_run), 1);
	assert_int_equal(host_get(&w->first, HOST_sleep_millisecs), 30);
	assert_int_equal(host_get(&w->first, HOST_advisor_mode), 1);
	assert_int_equal(w->first.ignored, 2);
}

/* ---- hosts ---- */

static void put(const char *root, const char *path, const char *text)
{
	char name[256], *slash;
	FILE *out;

	snprintf(name, sizeof(name), "%s/%s", root, path);
	for (slash = name + strlen(root); (slash = strchr(slash + 1, '/')) != NULL;) {
		*slash = '\0';
		mkdir(name, 0777);
		*slash = '/';
	}
	out = fopen(name, "w");
	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
}

static void remove_all(const char *root)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	assert_int_equal(system(command), 0);
}

static void make_host(const char *root)
{
	put(root, "sys/kernel/mm/ksm/run", "1\n");
	put(root, "sys/kernel/mm/ksm/pages_shared", "1\n");
	put(root, "sys/kernel/mm/ksm/pages_sharing", "4\n");
	put(root, "sys/kernel/mm/ksm/pages_unshared", "0\n");
	put(root, "sys/kernel/mm/ksm/pages_volatile", "0\n");
	put(root, "sys/kernel/mm/ksm/pages_scanned", "4000\n");
	put(root, "sys/kernel/mm/ksm/pages_to_scan", "100\n");
	put(root, "sys/kernel/mm/ksm/sleep_millisecs", "20\n");
	put(root, "sys/kernel/mm/ksm/advisor_mode", "[none] scan-time\n");
	put(root, "sys/kernel/mm/ksm/of_the_future", "?\n");
	put(root, "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
	put(root, "sys/devices/system/node/online", "0-1\n");
	put(root, "proc/meminfo", "MemTotal:  1000 kB\nAnonPages:  100 kB\n");
	put(root, "proc/vmstat", "nr_free_pages 5\ncow_ksm 12\n");
	put(root, "proc/9/comm", "ksmd\n");
	put(root, "proc/9/schedstat", "8000000 5 6\n");
	put(root, "proc/9/ksm_stat", "");
	put(root, "proc/100/comm", "red is) 1\n");
	put(root, "proc/100/ksm_stat",
	    "ksm_rmap_items 5\nksm_zero_pages 0\nksm_merging_pages 5\nksm_process_profit 20160\n"
	    "ksm_mergeable: yes\n");
	put(root, "proc/100/smaps",
	    "7f00-7f05 rw-p 0 00:00 0\nAnonymous: 20 kB\nKSM: 20 kB\nVmFlags: rd mg\n");
	put(root, "proc/20/comm", "sh\n");
	put(root, "proc/20/ksm_stat", "ksm_rmap_items 0\nksm_mergeable: no\n");
	put(root, "proc/20/smaps", "this is not read\n");
}

static void a_host_is_read_from_its_files(void **state)
{
	struct world *w = *state;
	char root[] = "/tmp/ksmsim-doctor-XXXXXX";

	assert_non_null(mkdtemp(root));
	make_host(root);
	if (host_read(&w->first, root, w->why, sizeof(w->why)))
		fail_msg("%s", w->why);
	remove_all(root);
	assert_false(w->first.absent);
	assert_true(w->first.quiet);
	assert_true(w->first.all_processes);
	assert_int_equal(w->first.looked_at, 2);
	assert_int_equal(w->first.nr_processes, 1);
	assert_string_equal(w->first.processes[0].name, "100 (red is) 1)");
	assert_int_equal(w->first.processes[0].figures.value[HOST_mergeable_anon_kb], 20);
	assert_int_equal(host_get(&w->first, HOST_nodes), 2);
	assert_int_equal(host_get(&w->first, HOST_anon_kb), 100);
	assert_int_equal(host_get(&w->first, HOST_cow_ksm), 12);
	assert_int_equal(host_get(&w->first, HOST_ksmd_cpu_ns), 8000000);
}

/* A directory gives what the files of a process give that ends: an error of read. */
static void a_process_that_ends_meanwhile_is_left_out(void **state)
{
	struct world *w = *state;
	char root[] = "/tmp/ksmsim-doctor-XXXXXX";

	assert_non_null(mkdtemp(root));
	make_host(root);
	put(root, "proc/55/comm", "gone\n");
	put(root, "proc/55/ksm_stat/x", "");
	put(root, "proc/56/comm", "half\n");
	put(root, "proc/56/ksm_stat", "ksm_rmap_items 3\nksm_mergeable: yes\n");
	put(root, "proc/56/smaps/x", "");
	if (host_read(&w->first, root, w->why, sizeof(w->why)))
		fail_msg("%s", w->why);
	remove_all(root);
	assert_int_equal(w->first.nr_processes, 2);
	assert_string_equal(w->first.processes[0].name, "56 (half)");
	assert_false(w->first.processes[0].figures.known[HOST_smaps_anon_kb]);
}

static void a_host_without_the_directory_has_no_ksm(void **state)
{
	struct world *w = *state;

	assert_int_equal(host_read(&w->first, "/nonexistent", w->why, sizeof(w->why)), 0);
	assert_true(w->first.absent);
}

static void files_that_no_kernel_writes_are_an_error(void **state)
{
	struct world *w = *state;
	char root[] = "/tmp/ksmsim-doctor-XXXXXX";

	assert_non_null(mkdtemp(root));
	put(root, "sys/kernel/mm/ksm/run", "on\n");
	assert_int_equal(host_read(&w->first, root, w->why, sizeof(w->why)), SIM_EINPUT);
	remove_all(root);
	assert_non_null(strstr(w->why, "/sys/kernel/mm/ksm/run:1: run is 'on'"));
}

/* What grep prints of this host is what doctor reads of it. */
static void this_host_reads_like_its_paste(void **state)
{
	static const enum host_figure knobs[] = {
		HOST_run,	 HOST_pages_to_scan, HOST_sleep_millisecs, HOST_max_page_sharing,
		HOST_smart_scan, HOST_use_zero_pages
	};
	struct world *w = *state;
	FILE *grep;
	size_t i;

	if (access("/sys/kernel/mm/ksm/run", R_OK)) {
		print_message("this kernel has no KSM\n");
		skip();
	}
	grep = popen("grep -r . /sys/kernel/mm/ksm", "r");
	assert_non_null(grep);
	if (host_text_read(&w->second, grep, "grep", w->why, sizeof(w->why)))
		fail_msg("%s", w->why);
	pclose(grep);
	if (host_read(&w->first, "", w->why, sizeof(w->why)))
		fail_msg("%s", w->why);
	assert_true(host_knows(&w->first, HOST_run));
	assert_true(w->first.looked_at > 0);
	for (i = 0; i < sizeof(knobs) / sizeof(*knobs); i++)
		assert_int_equal(host_knows(&w->first, knobs[i]), host_knows(&w->second, knobs[i]));
	assert_int_equal(w->second.ignored, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, paste_enter, paste_leave)

static const struct CMUnitTest tests[] = {
	TEST(paths_of_grep_tell_the_processes_apart),
	TEST(zero_pages_are_of_a_process_only_behind_its_items),
	TEST(garbage_is_refused_with_its_line_and_what_was_expected),
	TEST(a_line_without_end_is_refused),
	TEST(other_files_of_the_kernel_are_ignored_and_counted),
	TEST(names_in_messages_are_short_and_text),
	TEST(mails_and_directories_around_the_names_do_no_harm),
	TEST(a_host_is_read_from_its_files),
	TEST(a_process_that_ends_meanwhile_is_left_out),
	TEST(a_host_without_the_directory_has_no_ksm),
	TEST(files_that_no_kernel_writes_are_an_error),
	TEST(this_host_reads_like_its_paste),
};

TEST_MAIN(tests)
