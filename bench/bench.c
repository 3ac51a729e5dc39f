/*
 * bench.c - see bench.h.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

bool bench_quick(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--quick"))
		return true;
	if (argc == 1)
		return false;
	fprintf(stderr, "usage: %s [--quick]\n", argv[0]);
	exit(2);
}

uint64_t bench_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

double bench_read_ns_per_byte(void)
{
	enum { WORDS = 32 << 20 }; /* 256 MiB */
	static double ns_per_byte;
	uint64_t *memory, sum = 0, start;

	if (ns_per_byte > 0)
		return ns_per_byte;
	memory = malloc((size_t)WORDS * sizeof(*memory));
	if (!memory) {
		fprintf(stderr, "no memory to measure with\n");
		exit(2);
	}
	memset(memory, 1, (size_t)WORDS * sizeof(*memory));
	start = bench_cpu_ns();
	for (size_t i = 0; i < WORDS; i += 8)
		sum += memory[i] + memory[i + 1] + memory[i + 2] + memory[i + 3] + memory[i + 4] +
		       memory[i + 5] + memory[i + 6] + memory[i + 7];
	ns_per_byte = (double)(bench_cpu_ns() - start) / ((double)WORDS * sizeof(*memory));
	if (!sum)
		fprintf(stderr, "impossible\n");
	free(memory);
	return ns_per_byte;
}

void bench_must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %s\n", what, ksmsim_strerror(err));
	exit(1);
}

void bench_row(const char *name, uint64_t units, uint64_t ns, double bytes)
{
	const double each = units ? (double)ns / (double)units : 0;

	printf("  %-44s %10llu  %9.2f ns  %9.2f M/s", name, (unsigned long long)units, each,
	       each > 0 ? 1000 / each : 0);
	if (bytes > 0)
		printf("  %6.2f x limit", each / (bytes * bench_read_ns_per_byte()));
	printf("\n");
	fflush(stdout);
}
