/*
 * pgworld.h - one page table and a slow, obvious reference, for the tests of floor 3.
 *
 * The reference keeps a plain list of addresses that were ever populated and
 * derives everything from it: a table exists where any of them has its prefix,
 * and a walk reads entry after entry, as the kernel's loops do.
 */
#ifndef PGWORLD_H
#define PGWORLD_H

#include "test.h"

#include "pgtable.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define PG_ANON (KS_PTE(PRESENT) | KS_PTE(WRITE) | KS_PTE(DIRTY))

/* Shapes that no row of geometries.def has: 2 to 8192 entries a table, 3 levels. */
extern const struct ks_geometry pg_arm64_16k, pg_arm64_64k;

struct pgworld {
	struct ks_env env;
	struct ks_tables tables;
	struct ks_pgtable pt;
	unsigned rings;
	uint64_t rung_vpn;
	void *rung_mm;
	struct ks_pte rung_pte; /* the entry as the bell saw it */
};

struct pgworld *pgworld_new(const struct ks_geometry *geo, uint64_t seed);
struct pgworld *pgworld_new_x86(void);
void pgworld_free(struct pgworld *w);
void pgworld_set(struct pgworld *w, uint64_t vpn, uint32_t pfn, uint32_t bits);
void pgworld_clear(struct pgworld *w, uint64_t vpn);
void pgworld_assert_pte(struct pgworld *w, uint64_t vpn, uint32_t pfn, uint32_t bits);

#define PGREF_MAX 400u

struct pgref {
	const struct ks_geometry *geo;
	unsigned nr;
	uint64_t vpn[PGREF_MAX]; /* ever populated; no duplicates */
	struct ks_pte pte[PGREF_MAX];
	uint64_t reads, pages;
};

/* The position of @vpn in the list, or ref->nr. */
unsigned pgref_slot(const struct pgref *ref, uint64_t vpn);
void pgref_set(struct pgref *ref, uint64_t vpn, struct ks_pte pte);
uint64_t pgref_nr_tables(const struct pgref *ref, unsigned level);
/* A full pass that starts again behind each page: fills reads and pages. */
void pgref_pass(struct pgref *ref, uint64_t vpn, uint64_t end);
/* Entries read by look-ups of all addresses. */
uint64_t pgref_per_address(const struct pgref *ref, uint64_t vpn, uint64_t end);

/* A page number near one of @known, at every scale. */
uint64_t pgworld_near(struct pgworld *w, const uint64_t *known, unsigned nr);
/* Sets, clears and unwatches entries of both, and checks each step and the bell. */
void pgworld_random_steps(struct pgworld *w, struct pgref *ref, unsigned steps);

#endif
