/*
 * test_pgwalk.c - floor 3: what walks find and read.
 *
 * Three ways to count a pass (leaf by leaf, page by page as KSM's scan goes,
 * and from the shape alone) against the reference that reads entry after
 * entry, and against known totals of passes over a sparse VMA of 32 TiB.
 *
 * KSMSIM_TEST_LARGE=1 in the environment adds the totals with 16.8 million
 * tables (1.2 GB); without it a 512th of them is compared with the formula.
 */
#include <stdlib.h>

#include "pgworld.h"

#define TIB (UINT64_C(1) << 40)
#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

static bool is_hit(struct ks_pte pte)
{
	return (pte.bits & (KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(FILE))) == KS_PTE(PRESENT);
}

/* One walk over all, restarts added by ks_walk_restart(). */
static uint64_t pass_leaf_by_leaf(struct pgworld *w, uint64_t vpn, uint64_t end)
{
	struct ks_walk walk;
	uint64_t reads = 0, before = vpn;

	ks_walk_start(&walk, &w->tables, &w->pt, vpn, end);
	while (ks_walk_leaf(&walk)) {
		const struct ks_leaf *leaf = ks_leaf(&w->tables, walk.leaf);

		assert_true(leaf->vpn + walk.first >= before);
		assert_true(walk.first <= walk.last);
		before = leaf->vpn + walk.last + 1;
		assert_true(before <= end);
		reads += walk.last - walk.first + 1;
		for (int slot = ks_leaf_next(leaf, walk.first);
		     slot >= 0 && (unsigned)slot <= walk.last;
		     slot = ks_leaf_next(leaf, (unsigned)slot + 1)) {
			const uint64_t page = leaf->vpn + (unsigned)slot;

			if (is_hit(ks_leaf_get(leaf, (unsigned)slot)) && page + 1 < end)
				reads += ks_walk_restart(w->tables.geo, page, page + 1);
		}
	}
	assert_false(ks_walk_leaf(&walk));
	return reads + walk.entries;
}

/* One walk for each page, as KSM's scan goes. */
static uint64_t pass_page_by_page(struct pgworld *w, uint64_t vpn, uint64_t end, uint64_t *pages)
{
	uint64_t reads = 0;

	*pages = 0;
	while (vpn < end) {
		struct ks_walk walk;
		uint64_t next = end;

		ks_walk_start(&walk, &w->tables, &w->pt, vpn, end);
		while (next == end && ks_walk_leaf(&walk)) {
			const struct ks_leaf *leaf = ks_leaf(&w->tables, walk.leaf);

			for (unsigned slot = walk.first; slot <= walk.last; slot++) {
				reads++;
				if (!is_hit(ks_leaf_get(leaf, slot)))
					continue;
				next = leaf->vpn + slot + 1;
				++*pages;
				break;
			}
		}
		reads += walk.entries;
		vpn = next;
	}
	return reads;
}

static void assert_passes_agree(struct pgworld *w, struct pgref *ref, uint64_t vpn, uint64_t end)
{
	struct ksmsim_walk cost;
	uint64_t pages;

	pgref_pass(ref, vpn, end);
	assert_int_equal(pass_leaf_by_leaf(w, vpn, end), ref->reads);
	assert_int_equal(pass_page_by_page(w, vpn, end, &pages), ref->reads);
	assert_int_equal(pages, ref->pages);
	ks_walk_cost(&w->tables, &w->pt, vpn, end, &cost);
	assert_int_equal(cost.range, ref->reads);
	assert_int_equal(cost.pages, ref->pages);
	assert_int_equal(cost.addresses, end - vpn);
	assert_int_equal(cost.per_address, pgref_per_address(ref, vpn, end));
}

static void passes_over_random_tables_read_what_the_kernel_reads(void **state)
{
	(void)state;
	const struct ks_geometry *geos[] = { ks_geometry_find("x86-64-4level"),
					     ks_geometry_find("x86-64-5level"), &pg_arm64_16k,
					     &pg_arm64_64k };

	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct pgworld *w = pgworld_new(geos[seed % 4], seed);
		struct pgref ref = { .geo = geos[seed % 4] };

		pgworld_random_steps(w, &ref, 1 + (unsigned)ks_chance(&w->env, 60));
		for (unsigned k = 0; k < 6; k++) {
			uint64_t vpn = pgworld_near(w, ref.vpn, ref.nr);
			uint64_t end = pgworld_near(w, ref.vpn, ref.nr);

			if (vpn > end) {
				const uint64_t swap = vpn;

				vpn = end;
				end = swap;
			}
			assert_passes_agree(w, &ref, vpn, end);
		}
		pgworld_free(w);
	}
}

static void passes_over_dense_leaves_restart_at_every_page(void **state)
{
	(void)state;
	struct pgworld *w = pgworld_new_x86();
	struct pgref ref = { .geo = w->tables.geo };
	static const uint64_t ends[] = { 1, 63, 64, 65, 128, 256, 257, 300, 512, 1024 };

	/* over the border between two leaves that is a border of 1 GiB as well */
	for (uint64_t k = 0; k < 300; k++) {
		static const uint32_t kinds[] = { PG_ANON, KS_PTE(NONPRESENT),
						  KS_PTE(PRESENT) | KS_PTE(SPECIAL),
						  KS_PTE(PRESENT) | KS_PTE(FILE) };
		const struct ks_pte pte = { (uint32_t)k, kinds[k % 5 == 1 ? k / 5 % 4 : 0] };

		pgworld_set(w, (1 << 18) - 256 + k, pte.pfn, pte.bits);
		pgref_set(&ref, (1 << 18) - 256 + k, pte);
	}
	for (size_t k = 0; k < ARRAY_SIZE(ends); k++) {
		assert_passes_agree(w, &ref, (1 << 18) - 256, (1 << 18) - 256 + ends[k]);
		assert_passes_agree(w, &ref, (1 << 18) - 320 + k, (1 << 18) + ends[k]);
		assert_passes_agree(w, &ref, (1 << 18), (1 << 18) + ends[k]);
	}
	pgworld_free(w);
}

static void an_empty_range_and_an_empty_table_cost_next_to_nothing(void **state)
{
	(void)state;
	struct pgworld *w = pgworld_new_x86();
	struct pgref ref = { .geo = w->tables.geo };
	struct ks_walk walk;

	assert_passes_agree(w, &ref, 5, 5);
	assert_passes_agree(w, &ref, 5, 6);
	assert_passes_agree(w, &ref, 0, UINT64_C(1) << 36);
	ks_walk_start(&walk, &w->tables, &w->pt, 0, UINT64_C(1) << 36);
	assert_false(ks_walk_leaf(&walk));
	assert_int_equal(walk.entries, 512);
	pgworld_free(w);
}

static void restarts_reread_the_levels_that_cover_both_pages(void **state)
{
	(void)state;
	const struct ks_geometry *four = ks_geometry_find("x86-64-4level");
	const struct ks_geometry *five = ks_geometry_find("x86-64-5level");

	assert_int_equal(ks_walk_restart(four, 0, 1), 3);
	assert_int_equal(ks_walk_restart(four, 511, 512), 2);
	assert_int_equal(ks_walk_restart(four, (1 << 18) - 1, 1 << 18), 1);
	assert_int_equal(ks_walk_restart(four, (1 << 27) - 1, 1 << 27), 0);
	assert_int_equal(ks_walk_restart(five, 0, 1), 4);
	assert_int_equal(ks_walk_restart(five, (1 << 27) - 1, 1 << 27), 1);
}

static void a_walk_goes_on_when_its_tables_change(void **state)
{
	(void)state;
	struct pgworld *w = pgworld_new_x86();
	struct ks_walk walk;

	pgworld_set(w, 100, 1, PG_ANON);
	pgworld_set(w, 512 * 20 + 5, 2, PG_ANON);
	ks_walk_start(&walk, &w->tables, &w->pt, 0, 1 << 18);
	assert_true(ks_walk_leaf(&walk));
	const uint32_t first = walk.leaf;
	assert_int_equal(walk.entries, 3);
	for (unsigned k = 0; k < 30; k++) /* small to dense */
		pgworld_set(w, 200 + k, 3, PG_ANON);
	pgworld_clear(w, 100);
	assert_int_equal(walk.leaf, first);
	for (uint64_t k = 2; k < 40; k += 2) /* the parent grows to its full form */
		pgworld_set(w, 512 * k, 4, PG_ANON);
	for (uint64_t k = 2; k < 40; k += 2) {
		assert_true(ks_walk_leaf(&walk));
		assert_int_equal(ks_leaf(&w->tables, walk.leaf)->vpn, 512 * k);
		assert_int_equal(walk.first, 0);
		assert_int_equal(walk.last, 511);
		assert_int_equal(walk.entries, 3 + k);
	}
	assert_false(ks_walk_leaf(&walk));
	assert_int_equal(walk.entries, 2 + 512);
	pgworld_free(w);
}

/* ---- known totals: a VMA of 32 TiB from 32 TiB up ---- */

struct example {
	const char *geometry; /* NULL: geo */
	const struct ks_geometry *geo;
	uint64_t length, stride; /* bytes; stride 0: one page */
	uint64_t range, per_address, addresses;
};

static void run_example(const struct example *example)
{
	const struct ks_geometry *geo =
		example->geo ? example->geo : ks_geometry_find(example->geometry);
	struct pgworld *w = pgworld_new(geo, 1);
	const uint64_t vpn = 32 * TIB >> geo->page_shift;
	const uint64_t pages = example->length >> geo->page_shift;
	const uint64_t stride = example->stride ? example->stride >> geo->page_shift : pages;
	struct ksmsim_walk cost;
	uint64_t found;

	for (uint64_t k = 0; k < pages; k += stride)
		pgworld_set(w, vpn + k, 2, PG_ANON);
	ks_walk_cost(&w->tables, &w->pt, vpn, vpn + pages, &cost);
	assert_int_equal(cost.pages, pages / stride);
	assert_int_equal(cost.addresses, example->addresses);
	assert_int_equal(cost.range, example->range);
	if (example->per_address)
		assert_int_equal(cost.per_address, example->per_address);
	if (cost.pages < 1000) {
		assert_int_equal(pass_page_by_page(w, vpn, vpn + pages, &found), example->range);
		assert_int_equal(found, cost.pages);
	}
	pgworld_free(w);
}

#define X4 "x86-64-4level", NULL
#define X5 "x86-64-5level", NULL
#define A16 NULL, &pg_arm64_16k
#define A64 NULL, &pg_arm64_64k
#define PAGES_4K (UINT64_C(1) << 33)

static void one_page_in_32_tib(void **state)
{
	(void)state;
	const struct example examples[] = {
		{ X4, 32 * TIB, 0, 1603, UINT64_C(8724414976), PAGES_4K },
		{ X5, 32 * TIB, 0, 1605, UINT64_C(8724414976) + PAGES_4K, PAGES_4K },
		{ A16, 32 * TIB, 0, 4612, 0, PAGES_4K / 4 },
		{ A64, 32 * TIB, 0, 16394, 0, PAGES_4K / 16 },
	};

	for (size_t k = 0; k < ARRAY_SIZE(examples); k++)
		run_example(&examples[k]);
}

static void one_page_in_each_512_gib(void **state)
{
	(void)state;
	const struct example examples[] = {
		{ X4, 32 * TIB, 512 * GIB, 98560, UINT64_C(17196679168), PAGES_4K },
		{ X5, 32 * TIB, 512 * GIB, 98625, UINT64_C(17196679168) + PAGES_4K, PAGES_4K },
		{ A16, 32 * TIB, 512 * GIB, 262849, 0, PAGES_4K / 4 },
		{ A64, 32 * TIB, 512 * GIB, 589960, 0, PAGES_4K / 16 },
	};

	for (size_t k = 0; k < ARRAY_SIZE(examples); k++)
		run_example(&examples[k]);
}

static void one_page_in_each_gib(void **state)
{
	(void)state;
	const struct example examples[] = {
		{ X4, 32 * TIB, GIB, 33685568, UINT64_C(25786580992), PAGES_4K },
		{ X5, 32 * TIB, GIB, 33718337, UINT64_C(25786580992) + PAGES_4K, PAGES_4K },
		{ A16, 32 * TIB, GIB, 68256257, 0, PAGES_4K / 4 },
		{ A64, 32 * TIB, GIB, 268566536, 0, PAGES_4K / 16 },
	};

	for (size_t k = 0; k < ARRAY_SIZE(examples); k++)
		run_example(&examples[k]);
}

static void one_page_in_each_2_mib(void **state)
{
	(void)state;
	const uint64_t blocks = 64 * GIB / (2 * MIB), addresses = 64 * GIB / 4096;
	const struct example part4 = { X4,
				       64 * GIB,
				       2 * MIB,
				       1 + 64 + blocks + blocks * 512 + 3 * blocks,
				       4 * addresses,
				       addresses };
	const struct example part5 = { X5,
				       64 * GIB,
				       2 * MIB,
				       2 + 64 + blocks + blocks * 512 + 4 * blocks,
				       5 * addresses,
				       addresses };
	const struct example whole4 = { X4,	      32 * TIB, 2 * MIB, UINT64_C(8657076288),
					4 * PAGES_4K, PAGES_4K };
	const struct example whole5 = { X5,	      32 * TIB, 2 * MIB, UINT64_C(8673853505),
					5 * PAGES_4K, PAGES_4K };

	run_example(&part4);
	run_example(&part5);
	if (!getenv("KSMSIM_TEST_LARGE"))
		return;
	run_example(&whole4);
	run_example(&whole5);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(passes_over_random_tables_read_what_the_kernel_reads),
	cmocka_unit_test(passes_over_dense_leaves_restart_at_every_page),
	cmocka_unit_test(an_empty_range_and_an_empty_table_cost_next_to_nothing),
	cmocka_unit_test(restarts_reread_the_levels_that_cover_both_pages),
	cmocka_unit_test(a_walk_goes_on_when_its_tables_change),
	cmocka_unit_test(one_page_in_32_tib),
	cmocka_unit_test(one_page_in_each_512_gib),
	cmocka_unit_test(one_page_in_each_gib),
	cmocka_unit_test(one_page_in_each_2_mib),
};

TEST_MAIN(tests)
