/*
 * shot.c - children of a test, and captures of them; see shot.h.
 *
 * A child is killed with the test, whatever ends the test. It answers each byte that
 * it is sent when it has done what it was told, so there is nothing to wait for.
 */
#define _GNU_SOURCE
#include "shot.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- children ---- */

uint8_t *child_area;

void child_pause(long ms)
{
	const struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

static void obey(child_deed first, child_deed then, int in, int out)
{
	char byte = 0;

	first();
	while (write(out, &byte, 1) == 1 && read(in, &byte, 1) == 1)
		then();
	_exit(0);
}

struct child child_new(child_deed first, child_deed then)
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

void child_go(struct child *c)
{
	char byte = 0;

	assert_int_equal(write(c->to, &byte, 1), 1);
	assert_int_equal(read(c->from, &byte, 1), 1);
}

void child_end(struct child *c)
{
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	close(c->to);
	close(c->from);
}

void child_nothing(void)
{
}

void child_map(size_t bytes)
{
	static size_t mapped;

	if (mapped)
		munmap(child_area, mapped);
	child_area = mmap((void *)(uintptr_t)CHILD_AT, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
	assert_true(child_area != MAP_FAILED);
	mapped = bytes;
	madvise(child_area, bytes, MADV_NOHUGEPAGE);
}

void child_fill(uint8_t *page, uint64_t seed)
{
	size_t i;

	for (i = 0; i < PAGE / 8; i++) {
		const uint64_t word = test_random(&seed);

		memcpy(page + 8 * i, &word, 8);
	}
}

bool child_is_root(void)
{
	if (!geteuid())
		return true;
	print_message("needs root: skipped\n");
	return false;
}

void child_write_some(void)
{
	size_t i;

	for (i = 0; i < CHILD_PAGES; i++)
		if (i % 2 == 0)
			child_fill(child_area + i * PAGE, i / 4);
		else if (i % 4 == 1)
			*(volatile uint8_t *)(child_area + i * PAGE) = 0;
}

/* ---- a capture in memory ---- */

void shot_of(struct shot *s, const struct child *a, const struct child *b)
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

int shot_take(struct shot *s)
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

void shot_works(struct shot *s)
{
	if (shot_take(s))
		fail_msg("%s", s->why);
}

void shot_free(struct shot *s)
{
	sim_capfile_close(s->file);
	free(s->bytes);
}

bool shot_page(struct shot *s, uint32_t process, uint32_t round, const void *at,
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
