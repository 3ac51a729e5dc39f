/*
 * bench_capture.c - a process full of random bytes, captured: wall time, CPU time, bytes of
 * the file for each page, and reading it back.
 *
 * 4 GiB, 64 MiB with --quick; in base pages, and in huge ones where the kernel gives them.
 * The hash is that of the fingerprints, which are the same wherever this runs.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/capture.h"

#define SKIPPED 77
#define AREA_AT UINT64_C(0x200000000000)

static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* In the child: the memory, and then nothing until it is killed. */
static void hold(size_t bytes, bool huge, int ready)
{
	uint64_t *words = mmap((void *)(uintptr_t)AREA_AT, bytes, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	uint64_t state = 1;
	size_t i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (words == MAP_FAILED)
		_exit(1);
	madvise(words, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (i = 0; i < bytes / sizeof(*words); i++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		words[i] = state ^ state >> 29;
	}
	if (write(ready, "", 1) == 1)
		pause();
	_exit(0);
}

static pid_t holder(size_t bytes, bool huge)
{
	int ends[2];
	char byte;
	pid_t pid;

	if (pipe(ends))
		bench_must(1, "pipe");
	pid = fork();
	if (!pid)
		hold(bytes, huge, ends[1]);
	close(ends[1]);
	if (read(ends[0], &byte, 1) != 1) {
		fprintf(stderr, "bench_capture: not enough memory: skipped\n");
		exit(SKIPPED);
	}
	close(ends[0]);
	return pid;
}

static void take(pid_t pid, FILE *out)
{
	const int64_t pids[] = { pid };
	struct sim_capture_options options = {
		.select = { .pids = pids, .nr_pids = 1, .uid = SIM_CAP_UNKNOWN }, .rounds = 1
	};
	struct sim_capture_totals totals;
	struct sim_capwriter *writer;
	char why[512];

	sim_pagehash_init(&options.hash, (uint32_t)sysconf(_SC_PAGESIZE), NULL);
	bench_must(sim_capwriter_open("/tmp/bench", why, sizeof(why), &writer), "open");
	bench_must(sim_pagehash_meta(&options.hash, writer), "meta");
	if (sim_capture(&options, writer, &totals, why, sizeof(why))) {
		fprintf(stderr, "bench_capture: %s: skipped\n", why);
		exit(SKIPPED);
	}
	bench_must(sim_capwriter_commit(writer, out), "commit");
	sim_capwriter_free(writer);
}

/* Pages of the area; their fingerprints go into @hash. */
static uint64_t read_back(const char *bytes, size_t length, uint64_t *hash)
{
	struct sim_capfile *file;
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page;
	uint64_t pages = 0;
	char why[512];

	bench_must(sim_capfile_open_bytes(bytes, length, "bench", why, sizeof(why), &file), "read");
	bench_must(sim_cap_cursor_open(file, 0, 0, SIM_CAP_PAGES, &cursor), "cursor");
	for (*hash = 0; sim_cap_cursor_next(cursor, &page) == 1; pages++)
		if (page.vaddr >= AREA_AT && page.vaddr < AREA_AT << 1)
			*hash = (*hash ^ page.print.low) * UINT64_C(0x100000001b3);
	sim_cap_cursor_close(cursor);
	sim_capfile_close(file);
	return pages;
}

static void row(const char *name, size_t bytes, bool huge)
{
	const pid_t pid = holder(bytes, huge);
	double wall, cpu, back;
	uint64_t pages, hash;
	char *image = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&image, &length);

	bench_must(!out, "memory");
	wall = seconds(CLOCK_MONOTONIC);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	take(pid, out);
	fclose(out);
	wall = seconds(CLOCK_MONOTONIC) - wall;
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	back = seconds(CLOCK_PROCESS_CPUTIME_ID);
	pages = read_back(image, length, &hash);
	back = seconds(CLOCK_PROCESS_CPUTIME_ID) - back;
	printf("  %-12s %10" PRIu64
	       " pages %7.2f s wall %7.2f s CPU %7.1f ns/page %6.1f bytes/page, "
	       "read back %5.1f ns/page, hash %016" PRIx64 "\n",
	       name, pages, wall, cpu, cpu * 1e9 / (double)pages, (double)length / (double)pages,
	       back * 1e9 / (double)pages, hash);
	free(image);
}

int main(int argc, char **argv)
{
	const size_t bytes = bench_quick(argc, argv) ? (size_t)64 << 20 : (size_t)4 << 30;

	printf("capture of a process with %zu MiB:\n", bytes >> 20);
	fflush(stdout);
	row("base pages", bytes, false);
	row("huge pages", bytes, true);
	return 0;
}
