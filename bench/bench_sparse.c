/*
 * bench_sparse.c - a full scan of mappings that are nearly all hole, with the
 * walker that jumps over holes, beside what a look-up of every address would read.
 *
 * The per-address figures are computed from the shape of the tables (8.6 billion
 * addresses are never visited); its modelled time uses the cost of one address
 * from the cost table. Published for a live 6.18 guest of this kind: 32 TiB with
 * one page 4.4 us a scan; one page per GiB 5295 ns a page (smart scan off, so its
 * pages also go through the unstable tree); per 2 MiB in 64 GiB 3479 ns a page.
 */
#include "bench.h"

#include <inttypes.h>
#include <string.h>

#define BASE UINT64_C(0x10000000000)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

struct shape {
	const char *name;
	uint64_t length, stride;
};

static void knob(struct ksmsim *sim, const char *file, const char *value)
{
	int64_t ret;

	bench_must(ksmsim_sysfs_write(sim, file, value, strlen(value), &ret), file);
}

static struct ksmsim *make(const struct shape *shape, bool equal, uint32_t *pid)
{
	const struct ksmsim_mmap map = { .vaddr = BASE,
					 .length = shape->length,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = KSMSIM_MAP_FIXED | KSMSIM_MAP_NORESERVE };
	struct ksmsim *sim;
	int64_t ret;

	bench_must(ksmsim_new(NULL, &sim), "new");
	bench_must(ksmsim_spawn(sim, pid), "spawn");
	bench_must(ksmsim_mmap(sim, *pid, &map, &ret), "mmap");
	for (uint64_t at = 0; at < shape->length; at += shape->stride) {
		const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_SEED,
							.value = equal ? 1
								       : at / shape->stride + 1 };

		bench_must(ksmsim_fill(sim, *pid, BASE + at, 1, &content, &ret), "fill");
	}
	bench_must(ksmsim_madvise(sim, *pid, BASE, shape->length, KSMSIM_MADV_MERGEABLE, &ret),
		   "madvise");
	knob(sim, "ksm/max_page_sharing", "1000000000");
	knob(sim, "ksm/run", "1");
	return sim;
}

/* Median of several full scans, ns of host CPU. */
static uint64_t scans(struct ksmsim *sim, unsigned times)
{
	uint64_t took[101];

	for (unsigned i = 0; i < times; i++) {
		const uint64_t start = bench_cpu_ns();
		uint64_t now;
		unsigned at = i;

		bench_must(ksmsim_ksmd_batch(sim, UINT32_MAX, NULL), "scan");
		now = bench_cpu_ns() - start;
		for (; at && took[at - 1] > now; at--)
			took[at] = took[at - 1];
		took[at] = now;
	}
	return took[times / 2];
}

/* A single scan is too short for the clock: the mean over many. */
static uint64_t short_scan(struct ksmsim *sim)
{
	enum { TIMES = 100000 };
	const uint64_t start = bench_cpu_ns();

	for (int i = 0; i < TIMES; i++)
		bench_must(ksmsim_ksmd_batch(sim, UINT32_MAX, NULL), "scan");
	return (bench_cpu_ns() - start) / TIMES;
}

static int64_t count(struct ksmsim *sim, enum ksmsim_counter counter)
{
	int64_t value;

	bench_must(ksmsim_counter_get(sim, counter, &value), "counter");
	return value;
}

static void walk(struct ksmsim *sim, uint32_t pid, const struct shape *shape, uint64_t *hash)
{
	uint64_t entry_ns, address_ns;
	struct ksmsim_walk cost;

	bench_must(ksmsim_walk_cost(sim, pid, BASE, shape->length, &cost), "walk cost");
	bench_must(ksmsim_cost_get(sim, "walk_entry", &entry_ns, NULL), "cost");
	bench_must(ksmsim_cost_get(sim, "walk_address", &address_ns, NULL), "cost");
	printf("  range walk       %14" PRIu64 " entries, modelled %16.6f s\n", cost.range,
	       (double)(cost.range * entry_ns) / 1e9);
	printf("  per address      %14" PRIu64 " entries, modelled %16.6f s (%" PRIu64
	       " addresses): %.0f times the entries\n",
	       cost.per_address, (double)(cost.addresses * address_ns) / 1e9, cost.addresses,
	       (double)cost.per_address / (double)cost.range);
	*hash = (*hash ^ cost.range ^ cost.per_address) * UINT64_C(0x100000001B3);
}

static void bench(const struct shape *shape, uint64_t *hash)
{
	const uint64_t pages = shape->length / shape->stride;
	const unsigned times = pages > 1 ? 21 : 1;
	uint32_t pid;
	struct ksmsim *sim = make(shape, true, &pid);

	printf("%s\n", shape->name);
	walk(sim, pid, shape, hash);
	scans(sim, 3); /* merge, settle */
	bench_row(pages > 1 ? "scan, all pages merged: each page" : "scan with the one page", pages,
		  pages > 1 ? scans(sim, times) : short_scan(sim), 0);
	*hash = (*hash ^ (uint64_t)count(sim, KSMSIM_COUNT_walk_entries)) * UINT64_C(0x100000001B3);
	ksmsim_free(sim);
	if (pages == 1)
		return;

	sim = make(shape, false, &pid);
	scans(sim, 4);
	bench_row("scan, all pages skipped by smart scan", pages, scans(sim, 1), 0);
	knob(sim, "ksm/smart_scan", "0");
	scans(sim, 1);
	bench_row("scan, all pages into the unstable tree", pages, scans(sim, 5), 0);
	*hash = (*hash ^ (uint64_t)count(sim, KSMSIM_COUNT_pages_unshared)) *
		UINT64_C(0x100000001B3);
	ksmsim_free(sim);
}

int main(int argc, char **argv)
{
	static const struct shape shapes[] = {
		{ "32 TiB, one page", 32 * TIB, 32 * TIB },
		{ "32 TiB, one page per 512 GiB", 32 * TIB, 512 * GIB },
		{ "32 TiB, one page per GiB", 32 * TIB, GIB },
		{ "64 GiB, one page per 2 MiB", 64 * GIB, UINT64_C(2) << 20 },
	};
	const bool quick = bench_quick(argc, argv);
	uint64_t hash = UINT64_C(0xCBF29CE484222325);

	for (size_t i = 0; i < (quick ? 2 : sizeof(shapes) / sizeof(shapes[0])); i++)
		bench(&shapes[i], &hash);
	printf("result %016" PRIx64 "\n", hash);
	return 0;
}
