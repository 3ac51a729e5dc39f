/*
 * test_capture.c - looking at live processes: what is seen, in one round and in several,
 * and what is refused. That looking changes nothing is in test_capture_still.c.
 *
 * Frames and folios are only seen by root; tests of these say so and skip otherwise.
 */
#define _GNU_SOURCE
#include "shot.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- what is seen ---- */

static void pages_have_the_fingerprints_of_their_bytes(void **state)
{
	struct child c;
	struct shot s;
	struct sim_cap_page page, wanted;
	uint8_t bytes[PAGE];
	size_t i;

	(void)state;
	child_map(CHILD_PAGES * PAGE);
	c = child_new(child_write_some, child_nothing);
	shot_of(&s, &c, NULL);
	shot_works(&s);
	for (i = 0; i < CHILD_PAGES; i++) {
		if (i % 4 == 3) {
			assert_false(shot_page(&s, 0, 0, child_area + i * PAGE, &page));
			continue;
		}
		assert_true(shot_page(&s, 0, 0, child_area + i * PAGE, &page));
		memset(bytes, 0, sizeof(bytes));
		if (i % 2 == 0)
			child_fill(bytes, i / 4);
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
	child_fill(bytes, 1);
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
	madvise(child_area, 4 * (size_t)HUGE, MADV_HUGEPAGE);
	child_fill(child_area, 1);
	child_fill(child_area + HUGE + 5 * PAGE, 2);
}

static void large_folios_have_their_order_and_head(void **state)
{
	struct child c;
	struct shot s;
	struct sim_cap_page page;
	size_t i;

	(void)state;
	if (!child_is_root())
		skip();
	child_map(4 * (size_t)HUGE);
	c = child_new(touch_huge, child_nothing);
	shot_of(&s, &c, NULL);
	shot_works(&s);
	assert_true(shot_page(&s, 0, 0, child_area, &page));
	if (page.order != 9) {
		print_message("needs transparent huge pages: skipped\n");
		shot_free(&s);
		child_end(&c);
		skip();
	}
	for (i = 0; i < 512; i++) {
		assert_true(shot_page(&s, 0, 0, child_area + HUGE + i * PAGE, &page));
		assert_int_equal(page.order, 9);
		assert_int_equal(page.pfn % 512, i);
		assert_true(page.flags & SIM_CAP_PMD);
		assert_true(!!(page.flags & SIM_CAP_ZERO) == (i != 5));
	}
	assert_false(shot_page(&s, 0, 0, child_area + 2 * (size_t)HUGE, &page));
	shot_free(&s);
	child_end(&c);
}

static void read_only_once(void)
{
	size_t i;

	for (i = 0; i < CHILD_PAGES; i++)
		(void)*(volatile uint8_t *)(child_area + i * PAGE);
}

static void mappings_of_the_zero_page_are_told_from_pages_of_zeros(void **state)
{
	struct child c;
	struct shot s;
	struct sim_cap_page page;

	(void)state;
	child_map(CHILD_PAGES * PAGE);
	c = child_new(read_only_once, child_nothing);
	shot_of(&s, &c, NULL);
	shot_works(&s);
	assert_true(shot_page(&s, 0, 0, child_area + 9 * PAGE, &page));
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
	child_map(bytes);
	child_fill(child_area + bytes / 2, 1);
	c = child_new(child_nothing, child_nothing);
	shot_of(&s, &c, NULL);
	clock_gettime(CLOCK_MONOTONIC, &before);
	shot_works(&s);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true(shot_page(&s, 0, 0, child_area + bytes / 2, &page));
	assert_in_range(after.tv_sec - before.tv_sec, 0, 5);
	shot_free(&s);
	child_end(&c);
}

#define SCATTERED_PAGES 3000u

static void touch_every_other(void)
{
	size_t i;

	for (i = 0; i < SCATTERED_PAGES; i += 2)
		child_area[i * PAGE] = 1;
}

static void many_small_ranges_are_found_once_each(void **state)
{
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page;
	struct child c;
	struct shot s;
	unsigned found = 0;

	(void)state;
	child_map(SCATTERED_PAGES * PAGE);
	c = child_new(touch_every_other, child_nothing);
	shot_of(&s, &c, NULL);
	shot_works(&s);
	assert_int_equal(sim_cap_cursor_open(s.file, 0, 0, SIM_CAP_PAGES, &cursor), 0);
	while (sim_cap_cursor_next(cursor, &page) == 1)
		found += page.vaddr - CHILD_AT < SCATTERED_PAGES * PAGE;
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
	child_fill(child_area, 77);
	madvise(child_area + 2 * PAGE, PAGE, MADV_DONTNEED);
}

static void a_second_round_tells_what_changed(void **state)
{
	struct child c;
	struct shot s;
	struct sim_cap_page first, second;

	(void)state;
	child_map(CHILD_PAGES * PAGE);
	c = child_new(child_write_some, change_two);
	shot_of(&s, &c, NULL);
	s.options.rounds = 2;
	s.options.progress = tell_child;
	told = &c;
	told_in = 0;
	shot_works(&s);
	assert_int_equal(sim_capfile_nr_rounds(s.file), 2);
	assert_true(shot_page(&s, 0, 0, child_area, &first));
	assert_true(shot_page(&s, 0, 1, child_area, &second));
	assert_int_not_equal(sim_print_compare(first.print, second.print), 0);
	assert_true(shot_page(&s, 0, 0, child_area + 2 * PAGE, &first));
	assert_false(shot_page(&s, 0, 1, child_area + 2 * PAGE, &second));
	assert_true(shot_page(&s, 0, 0, child_area + 4 * PAGE, &first));
	assert_true(shot_page(&s, 0, 1, child_area + 4 * PAGE, &second));
	assert_int_equal(sim_print_compare(first.print, second.print), 0);
	shot_free(&s);
	child_end(&c);
}

static void kill_child(void *self, uint32_t round, uint64_t processes, uint64_t pages)
{
	siginfo_t ended;

	(void)self;
	(void)processes;
	(void)pages;
	if (round)
		return;
	assert_int_equal(kill(told->pid, SIGKILL), 0);
	/* Without this, the next round may come before the end. waitpid() knows no WNOWAIT. */
	assert_int_equal(waitid(P_PID, (id_t)told->pid, &ended, WEXITED | WNOWAIT), 0);
}

static void a_process_that_ends_between_rounds_is_a_trouble(void **state)
{
	struct child stays, ends;
	struct shot s;

	(void)state;
	child_map(CHILD_PAGES * PAGE);
	stays = child_new(child_write_some, child_nothing);
	ends = child_new(child_write_some, child_nothing);
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
	child_map((size_t)64 << 20);
	memset(child_area, 5, (size_t)64 << 20);
	for (run = 0; run < 8; run++) {
		for (i = 0; i < 4; i++)
			c[i] = child_new(child_nothing, child_nothing);
		shot_of(&s, &c[0], &c[1]);
		s.pids[s.options.select.nr_pids++] = c[2].pid;
		s.pids[s.options.select.nr_pids++] = c[3].pid;
		killer = fork();
		if (!killer) {
			child_pause(5 * (long)run);
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
	if (!child_is_root())
		skip();
	child_map(CHILD_PAGES * PAGE);
	c = child_new(child_write_some, child_nothing);
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
	cmocka_unit_test(processes_that_are_not_there_are_refused),
	cmocka_unit_test(processes_of_others_are_refused),
};

TEST_MAIN(tests)
