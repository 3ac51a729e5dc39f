/*
 * bench_scan.c - pages that ksmd visits in a second of the host's CPU time, and
 * the bytes that one resident mergeable page costs.
 *
 * All unique; half the pages duplicate the other half, as neighbours and with
 * partners far apart in no order; scans after merging; smart scan on and off.
 * The limit column: time over the time in which this machine reads, in order,
 * the bytes that the model keeps for a page. Published for a live 6.18 guest of
 * this kind, ns a page: first visit 692, steady unique 4384, merging pass 3854
 * to 4244, rescan of merged pages 151 to 178, skipped by smart scan 95 to 100.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdlib.h>

#define BASE UINT64_C(0x10000000000)
#define PAGE 4096u

struct world {
	struct ksmsim *sim;
	uint32_t pid;
	uint64_t pages;
	uint64_t hash;
};

enum pattern { UNIQUE, NEIGHBOURS, FAR };

static void knob(const struct world *w, const char *file, const char *value)
{
	int64_t ret;
	size_t length = 0;

	while (value[length])
		length++;
	bench_must(ksmsim_sysfs_write(w->sim, file, value, length, &ret), file);
}

/* Content of page i: its own, its pair's, or that of a page of the first half in mixed order. */
static uint64_t seed_of(enum pattern pattern, uint64_t i, uint64_t pages)
{
	const uint64_t half = pages / 2;

	switch (pattern) {
	case NEIGHBOURS:
		return i / 2 + 1;
	case FAR:
		/* a prime that does not divide the half permutes it */
		return (i < half ? i : (i - half) * UINT64_C(2654435761) % half) + 1;
	case UNIQUE:
	default:
		return i + 1;
	}
}

static struct world make(enum pattern pattern, uint64_t pages, const char *smart)
{
	struct world w = { .pages = pages };
	struct ksmsim_mmap map = { .vaddr = BASE,
				   .length = pages * PAGE,
				   .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
				   .flags = KSMSIM_MAP_FIXED };
	int64_t ret;

	bench_must(ksmsim_new(NULL, &w.sim), "new");
	bench_must(ksmsim_spawn(w.sim, &w.pid), "spawn");
	bench_must(ksmsim_mmap(w.sim, w.pid, &map, &ret), "mmap");
	for (uint64_t i = 0; i < pages; i++) {
		const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_SEED,
							.value = seed_of(pattern, i, pages) };

		bench_must(ksmsim_fill(w.sim, w.pid, BASE + i * PAGE, 1, &content, &ret), "fill");
	}
	bench_must(ksmsim_madvise(w.sim, w.pid, BASE, pages * PAGE, KSMSIM_MADV_MERGEABLE, &ret),
		   "madvise");
	knob(&w, "ksm/smart_scan", smart);
	knob(&w, "ksm/run", "1");
	return w;
}

static void scan(const struct world *w, const char *name, double bytes)
{
	const uint64_t start = bench_cpu_ns();
	uint64_t visited;

	bench_must(ksmsim_ksmd_batch(w->sim, UINT32_MAX, &visited), "scan");
	bench_row(name, w->pages, bench_cpu_ns() - start, bytes);
}

static double bytes_per_page(const struct world *w, bool print)
{
	struct ksmsim_memory part;
	double sum = 0;

	for (size_t i = 0; !ksmsim_memory_get(w->sim, i, &part); i++) {
		const double each = (double)part.bytes / (double)w->pages;

		if (print)
			printf("  %-44s %23.2f bytes a page\n", part.part, each);
		sum += each;
	}
	if (print)
		printf("  %-44s %23.2f bytes a page\n", "all", sum);
	return sum;
}

static void finish(struct world *w, uint64_t *all)
{
	static const enum ksmsim_counter shown[] = {
		KSMSIM_COUNT_pages_shared,   KSMSIM_COUNT_pages_sharing,
		KSMSIM_COUNT_pages_unshared, KSMSIM_COUNT_pages_volatile,
		KSMSIM_COUNT_pages_scanned,  KSMSIM_COUNT_pages_skipped,
	};

	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		int64_t value;

		bench_must(ksmsim_counter_get(w->sim, shown[i], &value), "counter");
		*all = (*all ^ (uint64_t)value) * UINT64_C(0x100000001B3);
	}
	ksmsim_free(w->sim);
}

static void bench(uint64_t pages, uint64_t *hash)
{
	struct world w;

	printf("%" PRIu64 " pages, all unique\n", pages);
	w = make(UNIQUE, pages, "0");
	scan(&w, "first scan: make items, hash", 0);
	scan(&w, "second scan: all into the unstable tree", 0);
	scan(&w, "steady scan: all into the unstable tree", bytes_per_page(&w, false));
	bytes_per_page(&w, true);
	finish(&w, hash);

	printf("%" PRIu64 " pages, all unique, smart scan\n", pages);
	w = make(UNIQUE, pages, "1");
	for (int i = 0; i < 4; i++)
		bench_must(ksmsim_ksmd_batch(w.sim, UINT32_MAX, NULL), "scan");
	scan(&w, "skipped, out of the tree of the last scan", bytes_per_page(&w, false));
	bench_must(ksmsim_ksmd_batch(w.sim, UINT32_MAX, NULL), "scan");
	bench_must(ksmsim_ksmd_batch(w.sim, UINT32_MAX, NULL), "scan");
	scan(&w, "skipped again", bytes_per_page(&w, false));
	finish(&w, hash);

	for (enum pattern p = NEIGHBOURS; p <= FAR; p++) {
		printf("%" PRIu64 " pages, half duplicates, %s\n", pages,
		       p == FAR ? "random partners" : "neighbours");
		w = make(p, pages, "0");
		bench_must(ksmsim_ksmd_batch(w.sim, UINT32_MAX, NULL), "scan");
		scan(&w, "merging scan", 0);
		scan(&w, "scan after it", 0);
		scan(&w, "rescan of merged pages", bytes_per_page(&w, false));
		bytes_per_page(&w, true);
		finish(&w, hash);
	}
}

int main(int argc, char **argv)
{
	const bool quick = bench_quick(argc, argv);
	uint64_t hash = UINT64_C(0xCBF29CE484222325);

	if (quick) {
		bench(4096, &hash);
	} else {
		bench(UINT64_C(1) << 20, &hash);
		bench(UINT64_C(10) << 20, &hash);
	}
	printf("result %016" PRIx64 "\n", hash);
	return 0;
}
