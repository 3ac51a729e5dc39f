/*
 * bench_live.c - the same workload on the running kernel's ksmd and on the model,
 * side by side: CPU time of ksmd (schedstat) and CPU time of the model, for each
 * page that the scan met, and how many times faster the model is.
 *
 * The counters of both sides must say the same after each workload; their hash is
 * printed. Needs root and a kernel whose KSM nobody uses; without that it says why
 * and exits with 77. An operation of the line form is timed as a whole, so short
 * scans are done many times in one.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/live.h"
#include "sim/pair.h"

#define SKIPPED 77

static void must(struct sim_pair *pair, int error)
{
	if (!error)
		return;
	fprintf(stderr, "bench_live: %s\n", pair->why);
	sim_pair_end(pair);
	exit(error == SIM_LIVE_EREFUSED || error == SIM_LIVE_EDISTURBED ? SKIPPED : 1);
}

static void line(struct sim_pair *pair, const char *text)
{
	must(pair, sim_pair_line(pair, text, NULL));
}

static void print(const char *name, uint64_t pages, unsigned times,
		  const struct sim_pair_time *took)
{
	const double visits = (double)pages * times;
	const double live = (double)took->ksmd_ns / visits, model = (double)took->model_ns / visits;

	printf("  %-42s %8" PRIu64 "  %10.1f  %9.1f  %8.1f\n", name, pages, live, model,
	       model > 0 ? live / model : 0);
	fflush(stdout);
}

/* @times full scans, as a row of the table. */
static void row(struct sim_pair *pair, const char *name, uint64_t pages, unsigned times)
{
	struct sim_pair_time took;

	must(pair, sim_pair_do(pair, &took, "scan %u", times));
	print(name, pages, times, &took);
}

/* A scan that skips every page; how many come before it is a matter of the pages' age. */
static void skipping(struct sim_pair *pair, const char *name, uint64_t pages)
{
	struct sim_pair_time took;

	for (unsigned i = 0; i < 16; i++) {
		must(pair, sim_pair_line(pair, "scan", &took));
		if (!took.result) {
			print(name, pages, 1, &took);
			return;
		}
	}
}

static void agree(struct sim_pair *pair, uint64_t *hash)
{
	if (sim_pair_agree(pair, hash))
		return;
	fprintf(stderr, "bench_live: not the same: %s\n", pair->why);
	sim_pair_end(pair);
	exit(1);
}

static void unique(struct sim_pair *pair, uint64_t pages, uint64_t *hash)
{
	line(pair, "proc u");
	must(pair, sim_pair_do(pair, NULL, "mmap u r %" PRIu64, pages));
	line(pair, "fill u r seeds:1");
	line(pair, "madvise u r MERGEABLE");
	row(pair, "unique pages, first scan", pages, 1);
	line(pair, "scan");
	row(pair, "unique pages, steady", pages, 2);
	line(pair, "ksm smart_scan 1");
	skipping(pair, "unique pages, smart scan skips them", pages);
	line(pair, "ksm smart_scan 0");
	agree(pair, hash);
	line(pair, "exit u");
	line(pair, "scan");
}

/* The last quarter repeats the first; after that the second half repeats the first. */
static void duplicates(struct sim_pair *pair, uint64_t pages, uint64_t *hash)
{
	line(pair, "proc d");
	must(pair, sim_pair_do(pair, NULL, "mmap d r %" PRIu64, pages));
	must(pair, sim_pair_do(pair, NULL, "fill d r+0:%" PRIu64 " seeds:1", pages * 3 / 4));
	must(pair, sim_pair_do(pair, NULL, "fill d r+%" PRIu64 ":%" PRIu64 " seeds:1",
			       pages * 3 / 4, pages / 4));
	line(pair, "madvise d r MERGEABLE");
	line(pair, "scan");
	row(pair, "half duplicates, merging scan", pages, 1);
	row(pair, "half duplicates, scan after that", pages, 2);
	must(pair, sim_pair_do(pair, NULL, "fill d r+0:%" PRIu64 " seeds:1", pages / 2));
	must(pair, sim_pair_do(pair, NULL, "fill d r+%" PRIu64 ":%" PRIu64 " seeds:1", pages / 2,
			       pages / 2));
	line(pair, "scan 2");
	row(pair, "all merged, rescan", pages, 4);
	agree(pair, hash);
	line(pair, "exit d");
	line(pair, "scan");
}

/* One page every @stride pages of 32 TiB at most, all equal, merged already. */
static void sparse(struct sim_pair *pair, const char *process, const char *name, uint64_t pages,
		   uint64_t stride, unsigned times, uint64_t *hash)
{
	must(pair, sim_pair_do(pair, NULL, "proc %s", process));
	must(pair, sim_pair_do(pair, NULL, "mmap %s r %" PRIu64 " noreserve at=0x10000000000",
			       process, pages * stride));
	for (uint64_t i = 0; i < pages; i++)
		must(pair, sim_pair_do(pair, NULL, "fill %s r+%" PRIu64 ":1 seed:1", process,
				       i * stride));
	must(pair, sim_pair_do(pair, NULL, "madvise %s r MERGEABLE", process));
	line(pair, "scan 3");
	row(pair, name, pages, times);
	agree(pair, hash);
	must(pair, sim_pair_do(pair, NULL, "exit %s", process));
	line(pair, "scan");
}

int main(int argc, char **argv)
{
	const bool quick = bench_quick(argc, argv);
	const uint64_t pages = quick ? 8192 : 65536;
	uint64_t hash = UINT64_C(0xCBF29CE484222325);
	struct sim_pair pair;

	if (sim_pair_begin(&pair)) {
		fprintf(stderr, "bench_live is skipped: %s\n", pair.why);
		sim_pair_end(&pair);
		return SKIPPED;
	}
	printf("  %-42s %8s  %10s  %9s  %8s\n", "full scan of", "pages", "ksmd ns", "model ns",
	       "ratio");
	line(&pair, "ksm run 1");
	line(&pair, "ksm smart_scan 0");
	unique(&pair, pages, &hash);
	duplicates(&pair, pages, &hash);
	sparse(&pair, "s1", "32 TiB, one page", 1, UINT64_C(1) << 33, quick ? 500 : 5000, &hash);
	sparse(&pair, "s2", "32 TiB, one page per 512 GiB", 64, UINT64_C(1) << 27, quick ? 20 : 200,
	       &hash);
	sparse(&pair, "s3", quick ? "128 GiB, one page per GiB" : "1 TiB, one page per GiB",
	       quick ? 128 : 1024, UINT64_C(1) << 18, quick ? 5 : 20, &hash);
	printf("result %016" PRIx64 "\n", hash);
	sim_pair_end(&pair);
	return 0;
}
