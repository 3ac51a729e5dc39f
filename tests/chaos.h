/*
 * chaos.h - random operations over the public interface, for soak and fuzzing.
 *
 * A world is small (some 130 pages a process, a few processes), so that every
 * operation can be followed by ksmsim_check(), and dense in accidents: few
 * contents, ranges across the edges of page tables, chains, pins, swap. One in
 * three is of huge pages: 4 MiB a process in which they may be, and whatever
 * makes, shares, cuts, splits and collapses them.
 * Where the choices come from is the driver's business (a generator, or the
 * bytes of a fuzzer). Every operation can be printed as a line of a scenario.
 */
#ifndef KSMSIM_CHAOS_H
#define KSMSIM_CHAOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ksmsim.h"

#define CHAOS_LINE 160u	  /* bytes of an operation as text */
#define CHAOS_ALIVE 6u	  /* processes at a time */
#define CHAOS_PAGES 1152u /* pages of a process that are looked at */

struct chaos_source {
	/* in [0, below); below is 1..65536 */
	uint32_t (*below)(void *self, uint32_t below);
	void *self;
};

enum chaos_kind {
	CHAOS_PROC,
	CHAOS_EXIT,
	CHAOS_FORK,
	CHAOS_EXEC,
	CHAOS_MMAP,
	CHAOS_MUNMAP,
	CHAOS_MPROTECT,
	CHAOS_MREMAP,
	CHAOS_BRK,
	CHAOS_MADVISE,
	CHAOS_MLOCK,
	CHAOS_MUNLOCK,
	CHAOS_PRCTL,
	CHAOS_THP_DISABLE,
	CHAOS_SPLIT,
	CHAOS_FILL,
	CHAOS_POKE,
	CHAOS_TOUCH,
	CHAOS_READ,
	CHAOS_CHECK,
	CHAOS_PIN,
	CHAOS_UNPIN,
	CHAOS_NODE,
	CHAOS_MIGRATE,
	CHAOS_SWAPOUT,
	CHAOS_KSM,
	CHAOS_STEP,
	CHAOS_SCAN,
	CHAOS_RUN,
	CHAOS_ADVANCE,
	CHAOS_CPU,
	CHAOS_DRAIN,
	CHAOS_INJECT,
	CHAOS_SHRINK,
	CHAOS_KHUGEPAGED,
	CHAOS_POLICY,
	CHAOS_KINDS
};

struct chaos_op {
	enum chaos_kind kind;
	uint32_t pid, child;
	uint64_t vaddr, length; /* bytes */
	uint64_t to;		/* where to; 0: the kernel chooses */
	uint64_t value;		/* ns, count, new length, byte */
	unsigned flags;		/* as the public call names them */
	unsigned prot;
	uint32_t offset, bytes; /* poke */
	struct ksmsim_content content;
	const char *file, *text; /* knob and what is written to it */
	int64_t result;
};

/* What one process shows at one address. */
struct chaos_page {
	enum { CHAOS_NONE, CHAOS_KNOWN, CHAOS_UNKNOWN } seen;
	uint32_t content; /* checksum */
};

struct chaos_process {
	uint32_t pid;
	uint64_t heap, moved; /* address of the heap, and of the last mapping put by the kernel */
	struct chaos_page page[CHAOS_PAGES];
};

struct chaos {
	struct ksmsim *sim;
	struct chaos_source source;
	const char *profile;
	unsigned nr_nodes;
	bool huge;  /* a world of huge pages */
	bool watch; /* compare what processes see before and after each operation */
	struct chaos_process process[CHAOS_ALIVE];
	unsigned nr_alive;
	uint32_t zero_checksum; /* of an all-zero page */
	uint32_t furnish;	/* process that gets its first mappings ... */
	unsigned furniture;	/* ... and how many it has */
	bool held;		/* some page is held for ever */
	bool files;		/* there are files, which keep their pages */
	uint64_t empty_bytes;	/* of contents, when there was no process */
	struct chaos_op op;	/* the last one */
	char fault[160];	/* what is wrong, "" if nothing */
};

/* A new machine. @profile: NULL for one that the source chooses. Returns what ksmsim_new() does. */
int chaos_begin(struct chaos *chaos, struct chaos_source source, const char *profile);
/* One more operation, and with chaos->watch a look at all processes. Returns false if something is
 * wrong: see chaos->fault. */
bool chaos_step(struct chaos *chaos);
/* ksmsim_check() */
bool chaos_check(struct chaos *chaos);
/* Everybody exits, and nothing must be left but pages that are held for ever. */
bool chaos_finish(struct chaos *chaos);
void chaos_end(struct chaos *chaos);
/* The operation as a line of a scenario; processes are named P1, P2, ... */
void chaos_print(const struct chaos_op *op, char *line, size_t size);

#endif
