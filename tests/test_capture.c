/*
 * test_capture.c - looking at live processes: what is seen, and that looking changes nothing.
 *
 * The processes looked at are children of the test. Frames, folios and KSM pages are
 * only seen by root; tests of these say so and skip otherwise.
 */
#define _GNU_SOURCE
#include "test.h"

#include <fcntl.h>
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

#include "sim/capselect.h"
#include "sim/capture.h"
#include "sim/proc.h"

#define PAGE 4096u
#define HUGE (2u << 20)
#define AREA_PAGES 64u
#define AREA_AT UINT64_C(0x200000000000)

/* ---- a child with memory, that does what it is told ---- */

struct child {
	pid_t pid;
	int to, from;
};

/* What a child has; inherited from the test, so both know the address. */
static uint8_t *area;

typedef void (*deed)(void);

static void pause_for(long ms)
{
	const struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

static void obey(deed first, deed then, int in, int out)
{
	char byte = 0;

	first();
	while (write(out, &byte, 1) == 1 && read(in, &byte, 1) == 1)
		then();
	_exit(0);
}

/* @first before this returns, @then whenever child_go() is called */
static struct child child_new(deed first, deed then)
{
	int to[2], from[2];
	struct child c;
	char byte;

	assert_int_equal(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), 0);
	c.pid = fork();
	if (!c.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(to[1]);
		close(from[0]);
		obey(first, then, to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	c.to = to[1];
	c.from = from[0];
	assert_int_equal(read(c.from, &byte, 1), 1);
	return c;
}

static void child_go(struct child *c)
{
	char byte = 0;

	assert_int_equal(write(c->to, &byte, 1), 1);
	assert_int_equal(read(c->from, &byte, 1), 1);
}

static void child_end(struct child *c)
{
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	close(c->to);
	close(c->from);
}

static void nothing(void)
{
}

/* A failed test leaves its area; one after the other is enough. */
static void map_area(size_t bytes)
{
	static size_t mapped;

	if (mapped)
		munmap(area, mapped);
	area = mmap((void *)(uintptr_t)AREA_AT, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
	assert_true(area != MAP_FAILED);
	mapped = bytes;
	madvise(area, bytes, MADV_NOHUGEPAGE);
}

static void fill(uint8_t *page, uint64_t seed)
{
	size_t i;

	for (i = 0; i < PAGE / 8; i++) {
		const uint64_t word = test_random(&seed);

		memcpy(page + 8 * i, &word, 8);
	}
}

static bool is_root(void)
{
	if (!geteuid())
		return true;
	print_message("needs root: skipped\n");
	return false;
}

/* ---- a capture in memory ---- */

struct shot {
	struct sim_capture_options options;
	struct sim_capture_totals totals;
	int64_t pids[4];
	char *bytes;
	size_t length;
	struct sim_capfile *file;
	char why[512];
};

static void shot_of(struct shot *s, const struct child *a, const struct child *b)
{
	memset(s, 0, sizeof(*s));
	s->options.select.uid = SIM_CAP_UNKNOWN;
	s->options.select.pids = s->pids;
	s->pids[s->options.select.nr_pids++] = a->pid;
	if (b)
		s->pids[s->options.select.nr_pids++] = b->pid;
	s->options.rounds = 1;
	s->options.threads = 2;
	sim_pagehash_init(&s->options.hash, PAGE, NULL);
}

static int shot_take(struct shot *s)
{
	struct sim_capwriter *writer;
	FILE *out = open_memstream(&s->bytes, &s->length);
	int error;

	assert_int_equal(sim_capwriter_open("/tmp/x", s->why, sizeof(s->why), &writer), 0);
	assert_int_equal(sim_pagehash_meta(&s->options.hash, writer), 0);
	error = sim_capture(&s->options, writer, &s->totals, s->why, sizeof(s->why));
	if (!error)
		error = sim_capwriter_commit(writer, out);
	if (error && !*s->why)
		snprintf(s->why, sizeof(s->why), "%s", sim_capwriter_error(writer));
	sim_capwriter_free(writer);
	fclose(out);
	if (!error &&
	    sim_capfile_open_bytes(s->bytes, s->length, "shot", s->why, sizeof(s->why), &s->file))
		fail_msg("%s", s->why);
	return error;
}

static void shot_works(struct shot *s)
{
	if (shot_take(s))
		fail_msg("%s", s->why);
}

static void shot_free(struct shot *s)
{
	sim_capfile_close(s->file);
	free(s->bytes);
}

/* The page at an address; false: it has none. */
static bool shot_page(struct shot *s, uint32_t process, uint32_t round, const void *at,
		      struct sim_cap_page *page)
{
	struct sim_cap_cursor *cursor;
	int got;

	assert_int_equal(sim_cap_cursor_open(s->file, process, round, SIM_CAP_PAGES, &cursor), 0);
	do
		got = sim_cap_cursor_next(cursor, page);
	while (got == 1 && page->vaddr < (uintptr_t)at);
	sim_cap_cursor_close(cursor);
	return got == 1 && page->vaddr == (uintptr_t)at;
}

/* ---- what is seen ---- */

/* Even pages random, pages 4k+1 zero, the rest never touched. */
static void write_some(void)
{
	size_t i;

	for (i = 0; i < AREA_PAGES; i++)
		if (i % 2 == 0)
			fill(area + i * PAGE, i / 4);
		else if (i % 4 == 1)
			*(volatile uint8_t *)(area + i * PAGE) = 0;
}

static void pages_have_the_fingerprints_of_their_bytes(void **state)
{
	struct child c;
	struct shot s;
	struct sim_cap_page page, wanted;
	uint8_t bytes[PAGE];
	size_t i;

	(void)state;
	map_area(AREA_PAGES * PAGE);
	c = child_new(write_some, nothing);
	shot_of(&s, &c, NULL);
	shot_works(&s);
	for (i = 0; i < AREA_PAGES; i++) {
		if (i % 4 == 3) {
			assert_false(shot_page(&s, 0, 0, area + i * PAGE, &page));
			continue;
		}
		assert_true(shot_page(&s, 0, 0, area + i * PAGE, &page));
		memset(bytes, 0, sizeof(bytes));
		if (i % 2 == 0)
			fill(bytes, i / 4);
		wanted = (struct sim_cap_page){ .flags = 0 };
		sim_pagehash(&s.options.hash, bytes, &wanted);
		assert_int_equal(sim_print_compare(page.print, wanted.print), 0);
		assert_int_equal(page.checksum, wanted.checksum);
		assert_int_equal(page.flags & (SIM_CAP_HASHED | SIM_CAP_ZERO), wanted.flags);
		assert_true(!!(page.flags & SIM_CAP_ZERO) == (i % 4 == 1));
		assert_true(page.flags & SIM_CAP_EXCLUSIVE);
	}
	shot_free(&s);
	child_end(&c);
}

static void zero_has_the_checksum_that_the_kernel_computes(void **state)
{
	struct sim_pagehash hash;

	(void)state;
	sim_pagehash_init(&hash, PAGE, NULL);
	assert_int_equal(hash.zero_checksum, 0x32d8bbdb);
}

static void a_key_changes_prints_and_hides_checksums(void **state)
{
	const uint64_t key = 7;
	struct sim_pagehash plain, keyed;
	struct sim_cap_page a = { .flags = 0 }, b = { .flags = 0 };
	uint8_t bytes[PAGE];

	(void)state;
	fill(bytes, 1);
	sim_pagehash_init(&plain, PAGE, NULL);
	sim_pagehash_init(&keyed, PAGE, &key);
	sim_pagehash(&plain, bytes, &a);
	sim_pagehash(&keyed, bytes, &b);
	assert_int_not_equal(sim_print_compare(a.print, b.print), 0);
	assert_int_not_equal(a.checksum, b.checksum);
	assert_int_equal(b.checksum, (uint32_t)b.print.low);
	assert_int_not_equal(keyed.zero_checksum, plain.zero_checksum);
}

static void touch_huge(void)
{
	madvise(area, 4 * (size_t)HUGE, MADV_HUGEPAGE);
	fill(area, 1);
	fill(area + HUGE + 5 * PAGE, 2);
}

static void large_folios_have_their_order_and_head(void **state)
{
	struct child c;
	struct shot s;
	struct sim_cap_page page;
	size_t i;

	(void)state;
	if (!is_root())
		skip();
	map_area(4 * (size_t)HUGE);
	c = child_new(touch_huge, nothing);
	shot_of(&s, &c, NULL);
	shot_works(&s);
	assert_true(shot_page(&s, 0, 0, area, &page));
	if (page.order != 9) {
		print_message("needs transparent huge pages: skipped\n");
		shot_free(&s);
		child_end(&c);
		skip();
	}
	for (i = 0; i < 512; i++) {
		assert_true(shot_page(&s, 0, 0, area + HUGE + i * PAGE, &page));
		assert_int_equal(page.order, 9);
		assert_int_equal(page.pfn % 512, i);
		assert_true(page.flags & SIM_CAP_PMD);
		assert_true(!!(page.flags & SIM_CAP_ZERO) == (i != 5));
	}
	assert_false(shot_page(&s, 0, 0, area + 2 * (size_t)HUGE, &page));
	shot_free(&s);
	child_end(&c);
}

static void read_only_once(void)
{
	size_t i;

	for (i = 0; i < AREA_PAGES; i++)
		(void)*(volatile uint8_t *)(area + i * PAGE);
}

static void mappings_of_the_zero_page_are_told_from_pages_of_zeros(void **state)
{
	struct child c;
	struct shot s;
	struct sim_cap_page page;

	(void)state;
	map_area(AREA_PAGES * PAGE);
	c = child_new(read_only_once, nothing);
	shot_of(&s, &c, NULL);
	shot_works(&s);
	assert_true(shot_page(&s, 0, 0, area + 9 * PAGE, &page));
	assert_true(page.flags & SIM_CAP_ZEROPAGE);
	assert_true(page.flags & SIM_CAP_ZERO);
	shot_free(&s);
	child_end(&c);
}

static void sparse_memory_of_terabytes_is_found_at_once(void **state)
{
	const size_t bytes = (size_t)8 << 40;
	struct timespec before, after;
	struct child c;
	struct shot s;
	struct sim_cap_page page;

	(void)state;
	map_area(bytes);
	fill(area + bytes / 2, 1);
	c = child_new(nothing, nothing);
	shot_of(&s, &c, NULL);
	clock_gettime(CLOCK_MONOTONIC, &before);
	shot_works(&s);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true(shot_page(&s, 0, 0, area + bytes / 2, &page));
	assert_in_range(after.tv_sec - before.tv_sec, 0, 5);
	shot_free(&s);
	child_end(&c);
}

#define SCATTERED_PAGES 3000u

static void touch_every_other(void)
{
	size_t i;

	for (i = 0; i < SCATTERED_PAGES; i += 2)
		area[i * PAGE] = 1;
}

static void many_small_ranges_are_found_once_each(void **state)
{
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page;
	struct child c;
	struct shot s;
	unsigned found = 0;

	(void)state;
	map_area(SCATTERED_PAGES * PAGE);
	c = child_new(touch_every_other, nothing);
	shot_of(&s, &c, NULL);
	shot_works(&s);
	assert_int_equal(sim_cap_cursor_open(s.file, 0, 0, SIM_CAP_PAGES, &cursor), 0);
	while (sim_cap_cursor_next(cursor, &page) == 1)
		found += page.vaddr - AREA_AT < SCATTERED_PAGES * PAGE;
	sim_cap_cursor_close(cursor);
	assert_int_equal(found, SCATTERED_PAGES / 2);
	shot_free(&s);
	child_end(&c);
}

/* ---- rounds ---- */

static struct child *told;
static uint32_t told_in; /* round */

static void tell_child(void *self, uint32_t round, uint64_t processes, uint64_t pages)
{
	(void)self;
	(void)processes;
	(void)pages;
	if (round == told_in)
		child_go(told);
}

static void change_two(void)
{
	fill(area, 77);
	madvise(area + 2 * PAGE, PAGE, MADV_DONTNEED);
}

static void a_second_round_tells_what_changed(void **state)
{
	struct child c;
	struct shot s;
	struct sim_cap_page first, second;

	(void)state;
	map_area(AREA_PAGES * PAGE);
	c = child_new(write_some, change_two);
	shot_of(&s, &c, NULL);
	s.options.rounds = 2;
	s.options.progress = tell_child;
	told = &c;
	told_in = 0;
	shot_works(&s);
	assert_int_equal(sim_capfile_nr_rounds(s.file), 2);
	assert_true(shot_page(&s, 0, 0, area, &first));
	assert_true(shot_page(&s, 0, 1, area, &second));
	assert_int_not_equal(sim_print_compare(first.print, second.print), 0);
	assert_true(shot_page(&s, 0, 0, area + 2 * PAGE, &first));
	assert_false(shot_page(&s, 0, 1, area + 2 * PAGE, &second));
	assert_true(shot_page(&s, 0, 0, area + 4 * PAGE, &first));
	assert_true(shot_page(&s, 0, 1, area + 4 * PAGE, &second));
	assert_int_equal(sim_print_compare(first.print, second.print), 0);
	shot_free(&s);
	child_end(&c);
}

static void kill_child(void *self, uint32_t round, uint64_t processes, uint64_t pages)
{
	(void)self;
	(void)processes;
	(void)pages;
	if (!round) {
		kill(told->pid, SIGKILL);
		waitpid(told->pid, NULL, WNOWAIT | WEXITED);
	}
}

static void a_process_that_ends_between_rounds_is_a_trouble(void **state)
{
	struct child stays, ends;
	struct shot s;

	(void)state;
	map_area(AREA_PAGES * PAGE);
	stays = child_new(write_some, nothing);
	ends = child_new(write_some, nothing);
	shot_of(&s, &stays, &ends);
	s.options.rounds = 2;
	s.options.progress = kill_child;
	told = &ends;
	shot_works(&s);
	assert_non_null(sim_capfile_figures(s.file, 0, 1));
	assert_non_null(sim_capfile_figures(s.file, 1, 0));
	assert_null(sim_capfile_figures(s.file, 1, 1));
	assert_int_equal(sim_capfile_nr_troubles(s.file), 1);
	assert_int_equal(sim_capfile_trouble(s.file, 0)->round, 1);
	assert_int_equal(sim_capfile_trouble(s.file, 0)->pid, ends.pid);
	assert_non_null(strstr(sim_capfile_trouble(s.file, 0)->text, "ended"));
	shot_free(&s);
	child_end(&ends);
	child_end(&stays);
}

/* Some processes that end at any moment: whatever happens, the file is whole. */
static void processes_that_end_meanwhile_do_no_harm(void **state)
{
	struct child c[4];
	struct sim_cap_page page;
	struct sim_cap_cursor *cursor;
	struct shot s;
	pid_t killer;
	unsigned run, i;
	int error;

	(void)state;
	map_area((size_t)64 << 20);
	memset(area, 5, (size_t)64 << 20);
	for (run = 0; run < 8; run++) {
		for (i = 0; i < 4; i++)
			c[i] = child_new(nothing, nothing);
		shot_of(&s, &c[0], &c[1]);
		s.pids[s.options.select.nr_pids++] = c[2].pid;
		s.pids[s.options.select.nr_pids++] = c[3].pid;
		killer = fork();
		if (!killer) {
			pause_for(5 * (long)run);
			for (i = 0; i < 4; i++)
				kill(c[i].pid, SIGKILL);
			_exit(0);
		}
		if (!shot_take(&s)) {
			for (i = 0; i < 4; i++) {
				if (!sim_capfile_figures(s.file, i, 0))
					continue;
				assert_int_equal(
					sim_cap_cursor_open(s.file, i, 0, SIM_CAP_PAGES, &cursor),
					0);
				while ((error = sim_cap_cursor_next(cursor, &page)) == 1)
					;
				assert_int_equal(error, 0);
				sim_cap_cursor_close(cursor);
			}
		} else if (!strstr(s.why, "ended") && !strstr(s.why, "no process")) {
			fail_msg("%s", s.why);
		}
		waitpid(killer, NULL, 0);
		for (i = 0; i < 4; i++)
			child_end(&c[i]);
		shot_free(&s);
	}
}

/* ---- looking changes nothing ---- */

/* pagemap and the flags of every page of a range, as root sees them */
struct image {
	uint64_t entries[AREA_PAGES], flags[AREA_PAGES];
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
			       (off_t)((uintptr_t)area / PAGE * 8)),
			 sizeof(image->entries));
	for (i = 0; i < AREA_PAGES; i++)
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

	for (i = 0; i < AREA_PAGES; i++) {
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

	for (i = 0; i < AREA_PAGES / 4; i++) {
		fill(area + i * PAGE, i);
		(void)*(volatile uint8_t *)(area + (AREA_PAGES / 2 + i) * PAGE);
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
	if (!is_root())
		skip();
	map_area(2 * (size_t)HUGE);
	madvise(area + HUGE, HUGE, MADV_HUGEPAGE);
	for (i = AREA_PAGES / 4; i < AREA_PAGES / 2; i++)
		fill(area + i * PAGE, 100 + i);
	area[HUGE] = 1;
	c = child_new(mixed, nothing);
	other = child_new(mixed, nothing);
	do {
		splits = vmstat("thp_split_page") + vmstat("thp_split_pmd");
		take_image(&before, c.pid);
		shot_of(&s, &c, &other);
		shot_works(&s);
		take_image(&after, c.pid);
		assert_same_image(&before, &after);
		assert_true(s.totals.pages > AREA_PAGES);
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

	for (i = 0; i < AREA_PAGES; i++)
		fill(area + i * PAGE, 42);
	madvise(area, AREA_PAGES * PAGE, MADV_MERGEABLE);
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
		pause_for(100);
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

	for (tries = 0; tries < 200 && figures.ksm_merging_pages < (int64_t)AREA_PAGES; tries++) {
		pause_for(20);
		sim_proc_figures(dir, &figures);
	}
	close(dir);
	return figures.ksm_merging_pages == (int64_t)AREA_PAGES;
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
	assert_true(shot_page(&s, 0, 0, area, &first));
	for (i = 0; i < AREA_PAGES; i++) {
		assert_true(shot_page(&s, 0, 0, area + i * PAGE, &page));
		assert_true(page.flags & SIM_CAP_KSM);
		assert_int_equal(page.mapcount, AREA_PAGES);
		assert_true(page.pfn == first.pfn);
	}
	assert_int_equal(sim_capfile_figures(s.file, 0, 0)->ksm_merging_pages, AREA_PAGES);
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
	map_area(AREA_PAGES * PAGE);
	c = child_new(equal_pages, nothing);
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
	map_area(AREA_PAGES * PAGE);
	c = child_new(write_some, nothing);
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
		pause_for(1);
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
	map_area(AREA_PAGES * PAGE);
	c = child_new(write_some, nothing);
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
		pause_for(10);
	assert_int_not_equal(state_of(c.pid), 'T');
	child_go(&c);
	child_end(&c);
}

/* ---- what is refused ---- */

static void processes_that_are_not_there_are_refused(void **state)
{
	struct child c = { .pid = INT32_MAX };
	struct shot s;

	(void)state;
	shot_of(&s, &c, NULL);
	assert_int_equal(shot_take(&s), SIM_EINPUT);
	assert_non_null(strstr(s.why, "there is no process 2147483647"));
	free(s.bytes);
	c.pid = getpid();
	shot_of(&s, &c, NULL);
	assert_int_equal(shot_take(&s), SIM_EINPUT);
	assert_non_null(strstr(s.why, "ksmsim itself"));
	free(s.bytes);
}

static void processes_of_others_are_refused(void **state)
{
	struct child c;
	struct shot s;
	pid_t program;
	int status;

	(void)state;
	if (!is_root())
		skip();
	map_area(AREA_PAGES * PAGE);
	c = child_new(write_some, nothing);
	program = fork();
	if (!program) {
		shot_of(&s, &c, NULL);
		_exit(!(!setgid(65534) && !setuid(65534) && shot_take(&s) == SIM_EINPUT &&
			strstr(s.why, "permission denied")));
	}
	waitpid(program, &status, 0);
	assert_int_equal(status, 0);
	child_end(&c);
}

/* ---- which processes ---- */

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
	struct child c = child_new(take_a_strange_name, nothing);
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
	cmocka_unit_test(pages_have_the_fingerprints_of_their_bytes),
	cmocka_unit_test(zero_has_the_checksum_that_the_kernel_computes),
	cmocka_unit_test(a_key_changes_prints_and_hides_checksums),
	cmocka_unit_test(large_folios_have_their_order_and_head),
	cmocka_unit_test(mappings_of_the_zero_page_are_told_from_pages_of_zeros),
	cmocka_unit_test(sparse_memory_of_terabytes_is_found_at_once),
	cmocka_unit_test(many_small_ranges_are_found_once_each),
	cmocka_unit_test(a_second_round_tells_what_changed),
	cmocka_unit_test(a_process_that_ends_between_rounds_is_a_trouble),
	cmocka_unit_test(processes_that_end_meanwhile_do_no_harm),
	cmocka_unit_test(looking_changes_nothing),
	cmocka_unit_test(looking_at_merged_pages_leaves_them_merged),
	cmocka_unit_test(stopped_processes_go_on_after_the_round),
	cmocka_unit_test(stopped_processes_go_on_when_the_program_is_killed),
	cmocka_unit_test(processes_that_are_not_there_are_refused),
	cmocka_unit_test(processes_of_others_are_refused),
	cmocka_unit_test(selection_follows_names_filters_and_descendants),
	cmocka_unit_test(cgroups_are_matched_by_whole_names),
	cmocka_unit_test(strange_names_are_read),
};

TEST_MAIN(tests)
