/*
 * bench_cases.c - small cases for counting instructions: bench/instructions.py
 * runs one of them with N and with 2 N repetitions under valgrind, so that what
 * making the world costs falls out.
 *
 *   bench_cases CASE REPETITIONS     prints the units (pages) done
 *   bench_cases --quick              every case once, for the test suite
 *   bench_cases --list               the names
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define BASE UINT64_C(0x10000000000)
#define PAGES UINT64_C(8192)

struct world {
	struct ksmsim *sim;
	uint32_t pid;
	uint64_t stride; /* bytes from page to page */
	uint64_t fresh;	 /* contents given out */
};

static void fill(struct world *w, uint64_t page, uint64_t seed)
{
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_SEED, .value = seed };

	bench_must(ksmsim_fill(w->sim, w->pid, BASE + page * w->stride, 1, &content, NULL), "fill");
}

static void knob(const struct world *w, const char *file, const char *value)
{
	bench_must(ksmsim_sysfs_write(w->sim, file, value, strlen(value), NULL), file);
}

static uint64_t scan(const struct world *w)
{
	bench_must(ksmsim_ksmd_batch(w->sim, UINT32_MAX, NULL), "scan");
	return PAGES;
}

static struct world make(uint64_t stride, uint64_t copies, const char *smart)
{
	struct world w = { .stride = stride, .fresh = PAGES };
	const struct ksmsim_mmap map = { .vaddr = BASE,
					 .length = PAGES * stride,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = KSMSIM_MAP_FIXED };

	bench_must(ksmsim_new(NULL, &w.sim), "new");
	bench_must(ksmsim_spawn(w.sim, &w.pid), "spawn");
	bench_must(ksmsim_mmap(w.sim, w.pid, &map, NULL), "mmap");
	for (uint64_t i = 0; i < PAGES; i++)
		fill(&w, i, i / copies + 1);
	bench_must(ksmsim_madvise(w.sim, w.pid, BASE, map.length, KSMSIM_MADV_MERGEABLE, NULL),
		   "madvise");
	knob(&w, "ksm/smart_scan", smart);
	knob(&w, "ksm/run", "1");
	for (int i = 0; i < 4; i++)
		scan(&w);
	return w;
}

static struct world make_unique(void)
{
	return make(4096, 1, "0");
}

static struct world make_aged(void)
{
	struct world w = make(4096, 1, "1");

	for (int i = 0; i < 40; i++) /* from now on eight scans of nine skip */
		scan(&w);
	return w;
}

static struct world make_merged(void)
{
	return make(4096, 2, "0");
}

static struct world make_lone(void)
{
	return make(UINT64_C(1) << 30, 2, "0");
}

/* Every page gets new content: a copy of a merged page, and what the next scan makes of it. */
static uint64_t rewrite(struct world *w)
{
	for (uint64_t i = 0; i < PAGES; i++)
		fill(w, i, ++w->fresh);
	return scan(w);
}

static uint64_t scan_world(struct world *w)
{
	return scan(w);
}

static uint64_t run_ten_seconds(struct world *w)
{
	int64_t before, after;

	bench_must(ksmsim_counter_get(w->sim, KSMSIM_COUNT_pages_scanned, &before), "counter");
	bench_must(ksmsim_run(w->sim, UINT64_C(10000000000)), "run");
	bench_must(ksmsim_counter_get(w->sim, KSMSIM_COUNT_pages_scanned, &after), "counter");
	return (uint64_t)(after - before);
}

static const struct {
	const char *name;
	struct world (*make)(void);
	uint64_t (*repeat)(struct world *w);
} cases[] = {
	{ "unique-steady", make_unique, scan_world },
	{ "aged-skipped", make_aged, scan_world },
	{ "merged-rescan", make_merged, scan_world },
	{ "lone-merged", make_lone, scan_world },
	{ "rewritten", make_unique, rewrite },
	{ "batches-of-100", make_unique, run_ten_seconds },
};
#define NR_CASES (sizeof(cases) / sizeof(cases[0]))

static uint64_t run(size_t i, unsigned long times, uint64_t *hash)
{
	struct world w = cases[i].make();
	uint64_t units = 0;

	for (unsigned long t = 0; t < times; t++)
		units += cases[i].repeat(&w);
	bench_must(ksmsim_hash(w.sim, hash), "hash");
	ksmsim_free(w.sim);
	return units;
}

int main(int argc, char **argv)
{
	const bool quick = argc == 2 && !strcmp(argv[1], "--quick");
	const bool list = argc == 2 && !strcmp(argv[1], "--list");
	uint64_t hash;

	for (size_t i = 0; i < NR_CASES; i++) {
		if (list)
			printf("%s\n", cases[i].name);
		if (quick)
			printf("%-16s %8" PRIu64 " pages", cases[i].name, run(i, 1, &hash));
		if (quick)
			printf("  result %016" PRIx64 "\n", hash);
		if (argc == 3 && !strcmp(argv[1], cases[i].name)) {
			printf("%" PRIu64 "\n", run(i, strtoul(argv[2], NULL, 10), &hash));
			return 0;
		}
	}
	if (quick || list)
		return 0;
	fprintf(stderr, "usage: %s CASE REPETITIONS | --quick | --list\n", argv[0]);
	return 2;
}
