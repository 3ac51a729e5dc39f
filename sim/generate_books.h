/*
 * generate_books.h - what every kind of random scenario is made with.
 *
 * Chance, lines, and the books of processes and regions that let a line mean
 * something. A kind (generate.c, generate_thp.c) draws its character once, then one
 * operation after the other.
 */
#ifndef SIM_GENERATE_BOOKS_H
#define SIM_GENERATE_BOOKS_H

#include "generate.h"

#define GEN_PROCESSES_MAX 64u
#define GEN_REGIONS_MAX 10u

struct gen_kind {
	unsigned alive, ever; /* processes: at a time, and P%u at all */
	unsigned regions;     /* of a process */
	bool scaled;	      /* how a draw gets small; what a seed means hangs on it */
};

struct gen_region {
	unsigned name; /* r%u, or what else the kind has */
	unsigned pages;
	bool hidden; /* maybe without access: nobody can take a reference for others */
};

struct gen_process {
	bool alive;
	unsigned nr;
	struct gen_region regions[GEN_REGIONS_MAX];
};

struct gen {
	const struct gen_kind *kind;
	uint64_t state; /* the seed at first */
	json_t *lines;
	bool failed;
	struct gen_process processes[GEN_PROCESSES_MAX]; /* P%u */
	unsigned nr_processes, nr_alive, next_region;
	unsigned contents; /* how many there are to draw from */
	/* the character of this run, as far as its kind has it */
	bool dense;  /* regions of several hundred pages */
	bool locked; /* mlock and MAP_LOCKED */
	bool window; /* regions in one place */
	bool always; /* khugepaged takes everything */
	bool lazy;   /* MADV_FREE */
	bool pins;   /* references from elsewhere */
	bool ksm;    /* mergeable regions */
	bool sizes;  /* huge pages smaller than a block */
};

/* Less than @nr. */
unsigned gen_below(struct gen *g, unsigned nr);
bool gen_chance(struct gen *g, unsigned one_in);

#define GEN_ANY(g, list) (list)[gen_below(g, sizeof(list) / sizeof(*(list)))]

/* Adds a line. */
void gen_say(struct gen *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A living process. */
unsigned gen_any_process(struct gen *g);
/* One with a region; false: none was met in @tries. */
bool gen_any_region(struct gen *g, unsigned tries, unsigned *process, struct gen_region **region);

/* Notes a region, which takes the next name; there is room. Returns the name. */
unsigned gen_new_region(struct gen *g, struct gen_process *process, unsigned pages, bool hidden);

/* Operations on processes; a new one and one that begins anew want regions. */
bool gen_proc(struct gen *g);
void gen_fork(struct gen *g);
void gen_exit(struct gen *g);
void gen_exec(struct gen *g);

/**
 * gen_lines() - operations until there are @nr lines
 * Returns: the lines, which are the caller's now; NULL: no memory
 */
json_t *gen_lines(struct gen *g, uint64_t nr, void (*any_op)(struct gen *g));

#endif
