/*
 * test_capture_still.c - looking at live processes changes nothing: not their memory, not
 * what KSM merged, and who was stopped for it goes on.
 *
 * What could surprise: one test has the running kernel merge pages. It takes the lock of
 * all users of KSM, puts every knob back and skips where somebody else uses KSM.
 */
#define _GNU_SOURCE
#include "shot.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/proc.h"

/* ---- looking changes nothing ---- */

/* pagemap and the flags of every page of a range, as root sees them */
struct image {
	uint64_t entries[CHILD_PAGES], flags[CHILD_PAGES];
	uint64_t minflt, huge, rss;
	char ksm[512];
};

static uint64_t smaps_sum(pid_t pid, const char *key)
{
	char path[64], line[256];
	uint64_t sum = 0, value;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	in = fopen(path, "r");
	assert_non_null(in);
	while (fgets(line, sizeof(line), in))
		if (!strncmp(line, key, strlen(key)) &&
		    sscanf(line + strlen(key), ": %lu", &value) == 1)
			sum += value;
	fclose(in);
	return sum;
}

static uint64_t vmstat(const char *key)
{
	char name[64];
	uint64_t value, found = 0;
	FILE *in = fopen("/proc/vmstat", "r");

	assert_non_null(in);
	while (fscanf(in, "%63s %lu", name, &value) == 2)
		if (!strcmp(name, key))
			found = value;
	fclose(in);
	return found;
}

static void take_image(struct image *image, pid_t pid)
{
	const uint64_t pfn = (UINT64_C(1) << 55) - 1;
	char path[64];
	struct sim_proc proc;
	int fd, flags = open("/proc/kpageflags", O_RDONLY), dir = sim_proc_open(pid);
	size_t i;

	memset(image, 0, sizeof(*image));
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0 && flags >= 0 && dir >= 0);
	assert_int_equal(pread(fd, image->entries, sizeof(image->entries),
			       (off_t)((uintptr_t)child_area / PAGE * 8)),
			 sizeof(image->entries));
	for (i = 0; i < CHILD_PAGES; i++)
		if (image->entries[i] >> 63 &&
		    pread(flags, &image->flags[i], 8, (off_t)(image->entries[i] & pfn) * 8) != 8)
			fail();
	assert_int_equal(sim_proc_stat(dir, &proc), 0);
	image->minflt = (uint64_t)proc.minflt;
	image->huge = smaps_sum(pid, "AnonHugePages");
	image->rss = smaps_sum(pid, "Rss");
	sim_proc_text(dir, "ksm_stat", image->ksm, sizeof(image->ksm));
	close(fd);
	close(flags);
	close(dir);
}

static void assert_same_image(const struct image *a, const struct image *b)
{
	/* LOCKED, REFERENCED, LRU, ACTIVE, IDLE: of the LRU, which a reader may stir. */
	const uint64_t lru = 1u | 1u << 2 | 1u << 5 | 1u << 6 | 1u << 25;
	size_t i;

	for (i = 0; i < CHILD_PAGES; i++) {
		assert_true(a->entries[i] == b->entries[i]);
		assert_true((a->flags[i] & ~lru) == (b->flags[i] & ~lru));
	}
	assert_int_equal(a->minflt, b->minflt);
	assert_int_equal(a->huge, b->huge);
	assert_int_equal(a->rss, b->rss);
	assert_string_equal(a->ksm, b->ksm);
}

/* A quarter own pages, a quarter shared by a fork, a quarter zero pages, a quarter holes. */
static void mixed(void)
{
	size_t i;

	for (i = 0; i < CHILD_PAGES / 4; i++) {
		child_fill(child_area + i * PAGE, i);
		(void)*(volatile uint8_t *)(child_area + (CHILD_PAGES / 2 + i) * PAGE);
	}
}

static void looking_changes_nothing(void **state)
{
	static struct image before, after;
	struct child c, other;
	struct shot s;
	uint64_t splits;
	unsigned tries = 0;
	size_t i;

	(void)state;
	if (!child_is_root())
		skip();
	child_map(2 * (size_t)HUGE);
	madvise(child_area + HUGE, HUGE, MADV_HUGEPAGE);
	for (i = CHILD_PAGES / 4; i < CHILD_PAGES / 2; i++)
		child_fill(child_area + i * PAGE, 100 + i);
	child_area[HUGE] = 1;
	c = child_new(mixed, child_nothing);
	other = child_new(mixed, child_nothing);
	do {
		splits = vmstat("thp_split_page") + vmstat("thp_split_pmd");
		take_image(&before, c.pid);
		shot_of(&s, &c, &other);
		shot_works(&s);
		take_image(&after, c.pid);
		assert_same_image(&before, &after);
		assert_true(s.totals.pages > CHILD_PAGES);
		assert_int_equal(s.totals.unread, 0);
		shot_free(&s);
		/* The counters are everybody's: others may split theirs meanwhile. */
	} while (splits != vmstat("thp_split_page") + vmstat("thp_split_pmd") && ++tries < 20);
	if (tries == 20)
		print_message("others split huge pages all the time: vmstat not compared\n");
	if (!before.huge)
		print_message("the kernel gave no huge page: none was there to be split\n");
	child_end(&other);
	child_end(&c);
}

/* ---- pages that KSM merged, on the running kernel ---- */

static void equal_pages(void)
{
	size_t i;

	for (i = 0; i < CHILD_PAGES; i++)
		child_fill(child_area + i * PAGE, 42);
	madvise(child_area, CHILD_PAGES * PAGE, MADV_MERGEABLE);
}

static void ksm_write(const char *name, const char *value)
{
	char path[128];
	FILE *out;

	snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", name);
	out = fopen(path, "w");
	assert_non_null(out);
	fputs(value, out);
	fclose(out);
}

static void ksm_read(const char *name, char *value, size_t size)
{
	char path[128];
	FILE *in;

	snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", name);
	in = fopen(path, "r");
	*value = 0;
	if (in && !fgets(value, (int)size, in))
		*value = 0;
	if (in)
		fclose(in);
}

/* The lock that all users of the running kernel's KSM take; -1: it is not ours to use. */
static int ksm_lock(void)
{
	const int fd = open("/run/lock/ksmsim.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char run[16], shared[16];
	unsigned tries;

	for (tries = 0; fd >= 0 && tries < 300 && flock(fd, LOCK_EX | LOCK_NB); tries++)
		child_pause(100);
	ksm_read("run", run, sizeof(run));
	ksm_read("pages_shared", shared, sizeof(shared));
	if (fd >= 0 && tries < 300 && atoi(run) != 1 && *shared && !atoi(shared))
		return fd;
	if (fd >= 0)
		close(fd);
	print_message("needs root, and a KSM that nobody uses: skipped\n");
	return -1;
}

static bool merge_all(pid_t pid)
{
	const int dir = sim_proc_open(pid);
	struct sim_cap_figures figures = { .ksm_merging_pages = 0 };
	unsigned tries;

	for (tries = 0; tries < 200 && figures.ksm_merging_pages < (int64_t)CHILD_PAGES; tries++) {
		child_pause(20);
		sim_proc_figures(dir, &figures);
	}
	close(dir);
	return figures.ksm_merging_pages == (int64_t)CHILD_PAGES;
}

static void check_merged(struct child *c, bool merged)
{
	static struct image before, after;
	struct sim_cap_page page, first;
	struct shot s;
	uint64_t copies = vmstat("cow_ksm");
	size_t i;

	take_image(&before, c->pid);
	shot_of(&s, c, NULL);
	shot_works(&s);
	take_image(&after, c->pid);
	assert_true(merged);
	assert_same_image(&before, &after);
	assert_int_equal(vmstat("cow_ksm"), copies);
	assert_true(shot_page(&s, 0, 0, child_area, &first));
	for (i = 0; i < CHILD_PAGES; i++) {
		assert_true(shot_page(&s, 0, 0, child_area + i * PAGE, &page));
		assert_true(page.flags & SIM_CAP_KSM);
		assert_int_equal(page.mapcount, CHILD_PAGES);
		assert_true(page.pfn == first.pfn);
	}
	assert_int_equal(sim_capfile_figures(s.file, 0, 0)->ksm_merging_pages, CHILD_PAGES);
	shot_free(&s);
}

static void looking_at_merged_pages_leaves_them_merged(void **state)
{
	char pages_to_scan[32], sleep_ms[32], run[16];
	const int lock = geteuid() ? -1 : ksm_lock();
	struct child c;
	bool merged;

	(void)state;
	if (lock < 0)
		skip();
	ksm_read("pages_to_scan", pages_to_scan, sizeof(pages_to_scan));
	ksm_read("sleep_millisecs", sleep_ms, sizeof(sleep_ms));
	ksm_read("run", run, sizeof(run));
	child_map(CHILD_PAGES * PAGE);
	c = child_new(equal_pages, child_nothing);
	ksm_write("pages_to_scan", "1000");
	ksm_write("sleep_millisecs", "10");
	ksm_write("run", "1");
	merged = merge_all(c.pid);
	ksm_write("run", "0");
	/* As it was, before anything can fail: no process of the test is merged then. */
	ksm_write("pages_to_scan", pages_to_scan);
	ksm_write("sleep_millisecs", sleep_ms);
	check_merged(&c, merged);
	child_end(&c);
	ksm_write("run", "2");
	ksm_write("run", run);
	close(lock);
}

/* ---- stopping ---- */

static char state_of(pid_t pid)
{
	const int dir = sim_proc_open(pid);
	struct sim_proc proc;

	assert_int_equal(sim_proc_stat(dir, &proc), 0);
	close(dir);
	return proc.state;
}

static const struct child *told;
static char seen_state;

static void see_state(void *self, uint32_t round, uint64_t processes, uint64_t pages)
{
	(void)self;
	(void)round;
	(void)processes;
	(void)pages;
	seen_state = state_of(told->pid);
}

static void stopped_processes_go_on_after_the_round(void **state)
{
	struct child c;
	struct shot s;

	(void)state;
	child_map(CHILD_PAGES * PAGE);
	c = child_new(child_write_some, child_nothing);
	shot_of(&s, &c, NULL);
	s.options.stop = true;
	s.options.progress = see_state;
	told = &c;
	shot_works(&s);
	assert_int_equal(seen_state, 'T');
	child_go(&c);
	assert_int_not_equal(state_of(c.pid), 'T');
	shot_free(&s);
	kill(c.pid, SIGSTOP);
	while (state_of(c.pid) != 'T')
		child_pause(1);
	shot_of(&s, &c, NULL);
	s.options.stop = true;
	shot_works(&s);
	assert_int_equal(state_of(c.pid), 'T'); /* it was before */
	shot_free(&s);
	child_end(&c);
}

static void die(void *self, uint32_t round, uint64_t processes, uint64_t pages)
{
	(void)self;
	(void)round;
	(void)processes;
	(void)pages;
	raise(SIGKILL);
}

static void stopped_processes_go_on_when_the_program_is_killed(void **state)
{
	struct child c;
	struct shot s;
	pid_t program;
	unsigned tries;
	int status;

	(void)state;
	child_map(CHILD_PAGES * PAGE);
	c = child_new(child_write_some, child_nothing);
	program = fork();
	if (!program) {
		shot_of(&s, &c, NULL);
		s.options.stop = true;
		s.options.progress = die;
		shot_take(&s);
		_exit(0);
	}
	waitpid(program, &status, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	for (tries = 0; tries < 500 && state_of(c.pid) == 'T'; tries++)
		child_pause(10);
	assert_int_not_equal(state_of(c.pid), 'T');
	child_go(&c);
	child_end(&c);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(looking_changes_nothing),
	cmocka_unit_test(looking_at_merged_pages_leaves_them_merged),
	cmocka_unit_test(stopped_processes_go_on_after_the_round),
	cmocka_unit_test(stopped_processes_go_on_when_the_program_is_killed),
};

TEST_MAIN(tests)
