/*
 * bench_thp.c - what huge pages cost the model: host time and host memory for each.
 *
 * First a TiB of THPs that nobody writes to, which is where the memory goes: a huge page without
 * contents must need no memory for its 512 pages. Then, on smaller worlds, what makes and unmakes
 * them. Goals: under 300 bytes a THP in all, a TiB in under 2 s and 200 MB.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BASE UINT64_C(0x10000000000)
#define PAGE UINT64_C(4096)
#define THP (512 * PAGE)

struct world {
	struct ksmsim *sim;
	uint32_t pid;
	uint64_t nr; /* blocks */
};

static void knob(const struct world *w, const char *file, const char *value)
{
	bench_must(ksmsim_sysfs_write(w->sim, file, value, strlen(value), NULL), file);
}

static void must_ret(int64_t ret, int64_t wanted, const char *what)
{
	if (ret == wanted)
		return;
	fprintf(stderr, "%s: %lld\n", what, (long long)ret);
	exit(1);
}

static struct world make(uint64_t nr, const char *enabled)
{
	struct world w = { .nr = nr };
	const struct ksmsim_mmap map = { .vaddr = BASE,
					 .length = nr * THP,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = KSMSIM_MAP_FIXED | KSMSIM_MAP_NORESERVE };
	int64_t ret;

	bench_must(ksmsim_new(NULL, &w.sim), "new");
	knob(&w, "transparent_hugepage/enabled", enabled);
	bench_must(ksmsim_spawn(w.sim, &w.pid), "spawn");
	bench_must(ksmsim_mmap(w.sim, w.pid, &map, &ret), "mmap");
	return w;
}

static void advise(const struct world *w, uint64_t start, uint64_t length,
		   enum ksmsim_advice advice)
{
	int64_t ret;

	bench_must(ksmsim_madvise(w->sim, w->pid, BASE + start, length, advice, &ret), "madvise");
	must_ret(ret, 0, "madvise");
}

/* The first @pages pages of each block get contents of their own. */
static void fill(const struct world *w, uint64_t pages)
{
	for (uint64_t i = 0; i < w->nr; i++) {
		const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_SEEDS,
							.value = 1 + i * pages };
		int64_t ret;

		bench_must(ksmsim_fill(w->sim, w->pid, BASE + i * THP, pages, &content, &ret),
			   "fill");
		must_ret(ret, 0, "fill");
	}
}

static int64_t count(const struct world *w, enum ksmsim_counter counter)
{
	int64_t value;

	bench_must(ksmsim_counter_get(w->sim, counter, &value), "counter");
	return value;
}

static uint64_t memory_in_use(const struct world *w)
{
	struct ksmsim_memory part;
	uint64_t bytes = 0;

	for (size_t i = 0; ksmsim_memory_get(w->sim, i, &part) == 0; i++)
		bytes += part.bytes;
	return bytes;
}

/* Ends the world; what was counted goes into the hash: hashing all pages would take longer than all
 * else. */
static void end(struct world *w, uint64_t *hash)
{
	for (unsigned i = 0; i < KSMSIM_COUNT_NR; i++) {
		if (i != KSMSIM_COUNT_host_bytes)
			*hash = (*hash ^ (uint64_t)count(w, (enum ksmsim_counter)i)) *
				UINT64_C(0x100000001B3);
	}
	ksmsim_free(w->sim);
}

static void fault_in(uint64_t nr, uint64_t *hash)
{
	struct world w = make(nr, "always");
	const uint64_t before = memory_in_use(&w);
	uint64_t ns = bench_cpu_ns(), bytes, host;

	advise(&w, 0, nr * THP, KSMSIM_MADV_POPULATE_WRITE);
	ns = bench_cpu_ns() - ns;
	must_ret(count(&w, KSMSIM_COUNT_thp_fault_alloc), (int64_t)nr, "THPs");
	bytes = memory_in_use(&w) - before;
	host = (uint64_t)count(&w, KSMSIM_COUNT_host_bytes);
	printf("%" PRIu64 " MiB of THPs that nobody writes to\n", nr * THP >> 20);
	bench_row("write fault on an empty block", nr, ns, 0);
	printf("  %.3f s in all; %.1f bytes a THP in use, %.1f taken from the host: %.1f MB\n",
	       (double)ns / 1e9, (double)bytes / (double)nr, (double)host / (double)nr,
	       (double)host / 1e6);
	ns = bench_cpu_ns();
	end(&w, hash);
	bench_row("end of the machine", nr, bench_cpu_ns() - ns, 0);
}

/* ---- what is done to all blocks of a world ---- */

static void read_all(struct world *w)
{
	advise(w, 0, w->nr * THP, KSMSIM_MADV_POPULATE_READ);
}

static void touch_first(struct world *w)
{
	for (uint64_t i = 0; i < w->nr; i++)
		bench_must(ksmsim_touch(w->sim, w->pid, BASE + i * THP, 1, NULL), "touch");
}

static void drop_one_page(struct world *w)
{
	for (uint64_t i = 0; i < w->nr; i++)
		advise(w, i * THP, PAGE, KSMSIM_MADV_DONTNEED);
}

static void drop_all(struct world *w)
{
	advise(w, 0, w->nr * THP, KSMSIM_MADV_DONTNEED);
}

static void split_all(struct world *w)
{
	int64_t ret;

	bench_must(ksmsim_split(w->sim, w->pid, BASE, w->nr * THP, 0, -1, &ret), "split");
	must_ret(ret, (int64_t)w->nr, "split");
}

static void shrink_all(struct world *w)
{
	int64_t ret;

	knob(w, "transparent_hugepage/khugepaged/max_ptes_none", "0");
	bench_must(ksmsim_shrink(w->sim, false, &ret), "shrink");
	must_ret(ret, (int64_t)w->nr, "shrink");
}

static void fork_all(struct world *w)
{
	uint32_t child;
	int64_t ret;

	bench_must(ksmsim_fork(w->sim, w->pid, &child, &ret), "fork");
	must_ret(ret, 0, "fork");
}

static void collapse_all(struct world *w)
{
	advise(w, 0, w->nr * THP, KSMSIM_MADV_COLLAPSE);
	must_ret(count(w, KSMSIM_COUNT_thp_collapse_alloc), (int64_t)w->nr, "collapse");
}

static const struct {
	const char *name;
	const char *enabled; /* while the pages are made */
	uint64_t filled;     /* pages of each block that get contents */
	void (*prepare)(struct world *w);
	void (*run)(struct world *w);
} cases[] = {
	{ "read fault: huge zero folio", "always", 0, NULL, read_all },
	{ "write fault by a touch", "always", 0, NULL, touch_first },
	{ "write to the huge zero folio", "always", 0, read_all, touch_first },
	{ "fork of a THP", "always", 1, NULL, fork_all },
	{ "first write after fork: PMD split, copy", "always", 1, fork_all, touch_first },
	{ "PMD split and zap of one page", "always", 1, NULL, drop_one_page },
	{ "zap of a whole THP", "always", 1, NULL, drop_all },
	{ "folio split, 1 page filled", "always", 1, NULL, split_all },
	{ "folio split, all pages filled", "always", 512, NULL, split_all },
	{ "folio split of a PTE-mapped folio", "always", 512, drop_one_page, split_all },
	{ "shrinker: underused THP", "always", 1, NULL, shrink_all },
	{ "collapse of 1 page", "never", 1, NULL, collapse_all },
	{ "collapse of 512 pages", "never", 512, NULL, collapse_all },
};
#define NR_CASES (sizeof(cases) / sizeof(cases[0]))

static void bench(size_t i, uint64_t nr, uint64_t *hash)
{
	struct world w = make(nr, cases[i].enabled);
	uint64_t ns;

	if (cases[i].filled)
		fill(&w, cases[i].filled);
	if (cases[i].prepare)
		cases[i].prepare(&w);
	ns = bench_cpu_ns();
	cases[i].run(&w);
	bench_row(cases[i].name, nr, bench_cpu_ns() - ns, 0);
	end(&w, hash);
}

int main(int argc, char **argv)
{
	const bool quick = bench_quick(argc, argv);
	uint64_t hash = UINT64_C(0xCBF29CE484222325);

	fault_in(quick ? 1024 : UINT64_C(512) << 10, &hash);
	printf("each THP of a world of them\n");
	for (size_t i = 0; i < NR_CASES; i++)
		bench(i, quick ? 16 : 4096, &hash);
	printf("hash %016" PRIx64 "\n", hash);
	return 0;
}
