/*
 * test_capselect.c - which processes a capture looks at, and what /proc says of them.
 */
#define _GNU_SOURCE
#include "shot.h"

#include <sys/prctl.h>
#include <unistd.h>

#include "sim/capselect.h"
#include "sim/proc.h"

static size_t selected(const struct sim_capture_select *select, struct sim_proc *procs, size_t nr)
{
	return sim_capselect(select, 3, procs, nr);
}

static void selection_follows_names_filters_and_descendants(void **state)
{
	/* Numbers of processes that cannot be, so that nothing is looked up. */
	struct sim_proc procs[] = {
		{ .pid = 1, .comm = "never", .kernel_thread = true },
		{ .pid = 3, .comm = "self", .ppid = 1 },
		{ .pid = INT32_MAX - 4, .comm = "redis-server", .rss = 1000, .uid = 5 },
		{ .pid = INT32_MAX - 3, .comm = "redis-cli", .rss = 10, .uid = 6 },
		{ .pid = INT32_MAX - 2, .comm = "worker", .ppid = INT32_MAX - 1 },
		{ .pid = INT32_MAX - 1, .comm = "module", .ppid = INT32_MAX - 4 },
	};
	static const char *names[] = { "redis*" }, *excludes[] = { "*-cli" };
	static const int64_t pids[] = { INT32_MAX - 3 };
	struct sim_capture_select select = { .names = names,
					     .nr_names = 1,
					     .uid = SIM_CAP_UNKNOWN };

	(void)state;
	assert_int_equal(selected(&select, procs, 6), 2);
	assert_true(procs[2].selected && procs[3].selected);
	select.tree = true;
	assert_int_equal(selected(&select, procs, 6), 4);
	select.tree = false;
	select.excludes = excludes;
	select.nr_excludes = 1;
	assert_int_equal(selected(&select, procs, 6), 1);
	assert_true(procs[2].selected);
	select.nr_excludes = 0;
	select.uid = 6;
	assert_int_equal(selected(&select, procs, 6), 1);
	assert_true(procs[3].selected);
	select.uid = SIM_CAP_UNKNOWN;
	select.rss_min = 100;
	assert_int_equal(selected(&select, procs, 6), 1);
	select.pids = pids; /* not filtered */
	select.nr_pids = 1;
	assert_int_equal(selected(&select, procs, 6), 2);
	select = (struct sim_capture_select){ .all = true, .uid = SIM_CAP_UNKNOWN };
	assert_int_equal(selected(&select, procs, 6), 4);
	assert_false(procs[0].selected || procs[1].selected);
}

static void cgroups_are_matched_by_whole_names(void **state)
{
	static const char lines[] = "4:memory:/shop/web\n0::/shop.slice/db";

	(void)state;
	assert_true(sim_proc_in_cgroup(lines, "/shop.slice/db"));
	assert_true(sim_proc_in_cgroup(lines, "/shop.slice/"));
	assert_true(sim_proc_in_cgroup(lines, "/shop"));
	assert_true(sim_proc_in_cgroup(lines, "/"));
	assert_false(sim_proc_in_cgroup(lines, "/shop.slice/d"));
	assert_false(sim_proc_in_cgroup(lines, "/sho"));
	assert_false(sim_proc_in_cgroup(lines, "shop"));
}

static void take_a_strange_name(void)
{
	prctl(PR_SET_NAME, "a) R (1 2");
}

static void strange_names_are_read(void **state)
{
	struct child c = child_new(take_a_strange_name, child_nothing);
	const int dir = sim_proc_open(c.pid);
	struct sim_proc proc;

	(void)state;
	assert_int_equal(sim_proc_stat(dir, &proc), 0);
	assert_string_equal(proc.comm, "a) R (1 2");
	assert_int_equal(proc.pid, c.pid);
	assert_int_equal(proc.ppid, getpid());
	close(dir);
	child_end(&c);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(selection_follows_names_filters_and_descendants),
	cmocka_unit_test(cgroups_are_matched_by_whole_names),
	cmocka_unit_test(strange_names_are_read),
};

TEST_MAIN(tests)
