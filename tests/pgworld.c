/*
 * pgworld.c - one page table and its reference; see pgworld.h.
 *
 * The reference costs O(addresses) a look at an entry: keep populations in the
 * tens where whole passes are compared.
 */
#include <stdlib.h>
#include <string.h>

#include "pgworld.h"

const struct ks_geometry pg_arm64_16k = { .name = "arm64-16k",
					  .page_shift = 14,
					  .user_va_bits = 48,
					  .levels = 4,
					  .bits = { 1, 11, 11, 11, 0 },
					  .shift = { 33, 22, 11, 0, 0 } };
const struct ks_geometry pg_arm64_64k = { .name = "arm64-64k",
					  .page_shift = 16,
					  .user_va_bits = 48,
					  .levels = 3,
					  .bits = { 6, 13, 13, 0, 0 },
					  .shift = { 26, 13, 0, 0, 0 } };

/* ---- one page table and what its bell said ---- */

static void hear(void *self, void *mm, uint64_t vpn, struct ks_leaf *leaf)
{
	struct pgworld *w = self;

	w->rings++;
	w->rung_vpn = vpn;
	w->rung_mm = mm;
	w->rung_pte = ks_leaf_get(leaf, (unsigned)(vpn - leaf->vpn));
}

struct pgworld *pgworld_new(const struct ks_geometry *geo, uint64_t seed)
{
	struct pgworld *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	ks_env_init(&w->env, NULL, KS_PROFILE_V6_18, seed);
	ks_tables_init(&w->env, &w->tables, geo);
	w->tables.watched = hear;
	w->tables.self = w;
	ks_pgtable_init(&w->env, &w->tables, &w->pt, &w->rings);
	return w;
}

struct pgworld *pgworld_new_x86(void)
{
	return pgworld_new(ks_geometry_find("x86-64-4level"), 1);
}

void pgworld_free(struct pgworld *w)
{
	ks_tables_destroy(&w->env, &w->tables);
	ks_env_destroy(&w->env);
	free(w);
}

void pgworld_set(struct pgworld *w, uint64_t vpn, uint32_t pfn, uint32_t bits)
{
	ks_pte_set(&w->env, &w->tables, &w->pt, vpn, (struct ks_pte){ pfn, bits });
}

void pgworld_clear(struct pgworld *w, uint64_t vpn)
{
	pgworld_set(w, vpn, 0, 0);
}

void pgworld_assert_pte(struct pgworld *w, uint64_t vpn, uint32_t pfn, uint32_t bits)
{
	const struct ks_pte pte = ks_pte_get(&w->tables, &w->pt, vpn);

	assert_int_equal(pte.pfn, pfn);
	assert_int_equal(pte.bits, bits);
}

/* ---- the reference ---- */

unsigned pgref_slot(const struct pgref *ref, uint64_t vpn)
{
	unsigned k = 0;

	while (k < ref->nr && ref->vpn[k] != vpn)
		k++;
	return k;
}

void pgref_set(struct pgref *ref, uint64_t vpn, struct ks_pte pte)
{
	const unsigned k = pgref_slot(ref, vpn);

	assert_true(k < PGREF_MAX);
	if (k == ref->nr && !pte.bits)
		return;
	ref->nr += k == ref->nr;
	ref->vpn[k] = vpn;
	ref->pte[k] = pte;
}

static unsigned span_bits(const struct ks_geometry *geo, unsigned level)
{
	return geo->shift[level] + geo->bits[level];
}

/* Is there a table of this level that covers @vpn? */
static bool pgref_table(const struct pgref *ref, unsigned level, uint64_t vpn)
{
	const unsigned bits = span_bits(ref->geo, level);

	for (unsigned k = 0; k < ref->nr; k++)
		if (ref->vpn[k] >> bits == vpn >> bits)
			return true;
	return level == 0;
}

uint64_t pgref_nr_tables(const struct pgref *ref, unsigned level)
{
	const unsigned bits = span_bits(ref->geo, level);
	uint64_t nr = 0;

	for (unsigned k = 0; k < ref->nr; k++) {
		unsigned j = 0;

		while (ref->vpn[j] >> bits != ref->vpn[k] >> bits)
			j++;
		nr += j == k;
	}
	return level == 0 ? 1 : nr;
}

static bool pgref_hit(const struct pgref *ref, uint64_t vpn)
{
	const unsigned k = pgref_slot(ref, vpn);

	return k < ref->nr && (ref->pte[k].bits & KS_PTE(PRESENT)) &&
	       !(ref->pte[k].bits & (KS_PTE(SPECIAL) | KS_PTE(FILE)));
}

/* Entry after entry, down where there is a table, until a page: its vpn, or @end. */
static uint64_t pgref_walk(struct pgref *ref, unsigned level, uint64_t vpn, uint64_t end)
{
	while (vpn < end) {
		uint64_t next = ((vpn >> ref->geo->shift[level]) + 1) << ref->geo->shift[level];

		next = next < end ? next : end;
		ref->reads++;
		/* the second test is for compilers that unroll the recursion */
		if (level == ref->geo->levels - 1 || level == KS_LEVELS_MAX - 1) {
			if (pgref_hit(ref, vpn))
				return vpn;
		} else if (pgref_table(ref, level + 1, vpn)) {
			const uint64_t hit = pgref_walk(ref, level + 1, vpn, next);

			if (hit < next)
				return hit;
		}
		vpn = next;
	}
	return end;
}

void pgref_pass(struct pgref *ref, uint64_t vpn, uint64_t end)
{
	ref->reads = 0;
	ref->pages = 0;
	while (vpn < end) {
		const uint64_t hit = pgref_walk(ref, 0, vpn, end);

		ref->pages += hit < end;
		vpn = hit + 1;
	}
}

/* Look-ups of all addresses, those behind one none entry counted together. */
uint64_t pgref_per_address(const struct pgref *ref, uint64_t vpn, uint64_t end)
{
	uint64_t reads = 0;

	while (vpn < end) {
		unsigned level = 0;

		while (level < ref->geo->levels - 1 && pgref_table(ref, level + 1, vpn))
			level++;
		uint64_t next = ((vpn >> ref->geo->shift[level]) + 1) << ref->geo->shift[level];
		next = next < end ? next : end;
		reads += (next - vpn) * (level + 1);
		vpn = next;
	}
	return reads;
}

uint64_t pgworld_near(struct pgworld *w, const uint64_t *known, unsigned nr)
{
	const struct ks_geometry *geo = w->tables.geo;
	const unsigned bits = geo->user_va_bits - geo->page_shift;
	const uint64_t span = UINT64_C(1) << bits;

	if (!nr || ks_chance(&w->env, 20) == 0)
		return ks_chance(&w->env, span);
	const uint64_t base = known[ks_chance(&w->env, nr)];
	const uint64_t distance = ks_chance(&w->env, UINT64_C(1) << ks_chance(&w->env, bits + 1));
	return (ks_chance(&w->env, 2) ? base + distance : base - distance) & (span - 1);
}

static struct ks_pte random_pte(struct pgworld *w)
{
	static const uint32_t kinds[] = {
		0,
		PG_ANON,
		PG_ANON,
		PG_ANON | KS_PTE(YOUNG),
		KS_PTE(PRESENT),
		KS_PTE(PRESENT) | KS_PTE(SPECIAL),
		KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(DIRTY),
		KS_PTE(PRESENT) | KS_PTE(FILE),
		KS_PTE(NONPRESENT),
		KS_PTE(NONPRESENT) | KS_PTE(DIRTY),
	};
	struct ks_pte pte = { .bits = kinds[ks_chance(&w->env, ARRAY_SIZE(kinds))] };

	if (pte.bits)
		pte.pfn = (uint32_t)ks_chance(&w->env, UINT32_MAX);
	if (pte.bits & KS_PTE(PRESENT) && ks_chance(&w->env, 2))
		pte.bits |= KS_PTE(WATCHED);
	return pte;
}

void pgworld_random_steps(struct pgworld *w, struct pgref *ref, unsigned steps)
{
	for (unsigned step = 0; step < steps; step++) {
		const bool again = ref->nr && ks_chance(&w->env, 2);
		const uint64_t vpn = again || ref->nr == PGREF_MAX
					     ? ref->vpn[ks_chance(&w->env, ref->nr)]
					     : pgworld_near(w, ref->vpn, ref->nr);
		const unsigned k = pgref_slot(ref, vpn);
		struct ks_pte pte = random_pte(w);
		const bool watched = k < ref->nr && ref->pte[k].bits & KS_PTE(WATCHED);
		const unsigned rings = w->rings;

		if (k < ref->nr && ks_chance(&w->env, 5) == 0) {
			ks_pte_unwatch(&w->tables, &w->pt, vpn);
			pte = ref->pte[k];
			pte.bits &= ~KS_PTE(WATCHED);
		} else {
			pgworld_set(w, vpn, pte.pfn, pte.bits);
		}
		assert_int_equal(w->rings, rings + watched);
		if (watched) {
			assert_int_equal(w->rung_vpn, vpn);
			assert_int_equal(w->rung_pte.bits, ref->pte[k].bits);
		}
		pgref_set(ref, vpn, pte);
		pgworld_assert_pte(w, vpn, pte.pfn, pte.bits);
	}
}
