/*
 * bench.h - what every bench shares: thread CPU time, this machine's own limits,
 * and rows of a report that puts ratios side by side.
 *
 * A bench prints a hash of its result, so that it cannot change its meaning
 * unnoticed, and takes --quick, which is how the test suite runs it.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ksmsim.h"

/* Is the only argument --quick? Anything else ends the program with status 2. */
bool bench_quick(int argc, char **argv);

/* CPU time of the calling thread, ns. */
uint64_t bench_cpu_ns(void);

/* ns to read one byte of memory far larger than the caches, one thread, in order; measured once. */
double bench_read_ns_per_byte(void);

/* Ends the program with a sentence if @err is not 0. */
void bench_must(int err, const char *what);

/* "name  n units  ns/unit  M/s" and, if @bytes is not 0, the ratio to the time in which this
 * machine could have read that many bytes per unit. */
void bench_row(const char *name, uint64_t units, uint64_t ns, double bytes);

#endif
