/*
 * test_pgtable.c - floor 3: when tables come and go, entries in both forms of a
 * leaf, and the bell.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pgworld.h"

static void assert_tables(struct pgworld *w, uint64_t level1, uint64_t level2, uint64_t leaves)
{
	assert_int_equal(w->pt.nr_tables[0], 1);
	assert_int_equal(w->pt.nr_tables[1], level1);
	assert_int_equal(w->pt.nr_tables[2], level2);
	assert_int_equal(w->pt.nr_tables[3], leaves);
	assert_true(ks_pgtable_check(&w->tables, &w->pt));
}

static void free_range(struct pgworld *w, uint64_t start, uint64_t end, uint64_t floor,
		       uint64_t ceiling)
{
	ks_pgtable_free_range(&w->env, &w->tables, &w->pt, start, end, floor, ceiling);
}

/* ---- geometry ---- */

static void geometry_lookup_knows_the_rows(void **state)
{
	(void)state;
	const struct ks_geometry *four = ks_geometry_find("x86-64-4level");
	const struct ks_geometry *five = ks_geometry_find("x86-64-5level");
	const unsigned shift4[] = { 27, 18, 9, 0 }, shift5[] = { 36, 27, 18, 9, 0 };

	assert_non_null(four);
	assert_non_null(five);
	assert_int_equal(four->levels, 4);
	assert_int_equal(four->page_shift, 12);
	assert_int_equal(four->user_va_bits, 47);
	assert_memory_equal(four->shift, shift4, sizeof(shift4));
	assert_int_equal(five->levels, 5);
	assert_int_equal(five->user_va_bits, 56);
	assert_memory_equal(five->shift, shift5, sizeof(shift5));
	assert_null(ks_geometry_find("x86-64"));
	assert_null(ks_geometry_find(""));
}

/* ---- tables ---- */

static void tables_exist_from_the_first_fault_until_they_are_freed(void **state)
{
	(void)state;
	struct pgworld *w = pgworld_new_x86();

	assert_tables(w, 0, 0, 0);
	ks_pgtable_populate(&w->env, &w->tables, &w->pt, 1000);
	assert_tables(w, 1, 1, 1);
	pgworld_assert_pte(w, 1000, 0, 0);
	pgworld_set(w, 1000, 7, PG_ANON);
	pgworld_set(w, 1001, 8, PG_ANON);
	assert_tables(w, 1, 1, 1);
	pgworld_set(w, 1024, 9, PG_ANON);		/* next 2 MiB */
	pgworld_set(w, 1 << 18, 10, PG_ANON);		/* next 1 GiB */
	pgworld_set(w, UINT64_C(1) << 27, 11, PG_ANON); /* next 512 GiB */
	assert_tables(w, 2, 3, 4);
	pgworld_clear(w, 1000);
	pgworld_clear(w, 1001);
	pgworld_clear(w, 1024);
	pgworld_clear(w, 1 << 18);
	pgworld_clear(w, UINT64_C(1) << 27);
	assert_tables(w, 2, 3, 4); /* empty, but there */
	ks_pgtable_destroy(&w->env, &w->tables, &w->pt);
	assert_int_equal(w->tables.leaves.live, 0);
	assert_int_equal(w->tables.nodes.live, 0);
	assert_int_equal(ks_tables_memory(&w->tables), 0);
	pgworld_free(w);
}

static void clearing_a_hole_builds_nothing(void **state)
{
	(void)state;
	struct pgworld *w = pgworld_new_x86();

	pgworld_clear(w, 12345);
	ks_pte_unwatch(&w->tables, &w->pt, 12345);
	assert_tables(w, 0, 0, 0);
	assert_int_equal(ks_leaf_find(&w->tables, &w->pt, 12345), 0);
	pgworld_free(w);
}

static void leaf_ids_are_found_for_every_page_of_the_leaf_only(void **state)
{
	(void)state;
	struct pgworld *w = pgworld_new_x86();

	pgworld_set(w, 512 * 5 + 3, 1, PG_ANON);
	const uint32_t id = ks_leaf_find(&w->tables, &w->pt, 512 * 5);
	assert_int_not_equal(id, 0);
	assert_int_equal(ks_leaf(&w->tables, id)->vpn, 512 * 5);
	assert_int_equal(ks_leaf_find(&w->tables, &w->pt, 512 * 5 + 511), id);
	assert_int_equal(ks_leaf_find(&w->tables, &w->pt, 512 * 5 - 1), 0);
	assert_int_equal(ks_leaf_find(&w->tables, &w->pt, 512 * 6), 0);
	pgworld_free(w);
}

static void an_address_beyond_the_top_table_stops_the_program(void **state)
{
	(void)state;
	struct pgworld *w = pgworld_new_x86();
	int status = 0;

	pgworld_assert_pte(w, (UINT64_C(1) << 36) - 1, 0, 0);
	const pid_t child = fork();
	assert_true(child >= 0);
	if (!child) {
		close(STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		ks_pte_get(&w->tables, &w->pt, UINT64_C(1) << 36);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	pgworld_free(w);
}

/* 40 children each, the last entry too, in an order neither ascending nor descending. */
static void upper_tables_grow_past_eight_children_at_every_level(void **state)
{
	(void)state;
	const struct ks_geometry *geo = ks_geometry_find("x86-64-5level");

	for (unsigned level = 0; level < 4; level++) {
		struct pgworld *w = pgworld_new(geo, 1);

		for (uint64_t k = 0; k < 40; k++) {
			pgworld_set(w, (511 - k * 17 % 40 * 5) << geo->shift[level],
				    (uint32_t)k + 1, PG_ANON);
			assert_true(ks_pgtable_check(&w->tables, &w->pt));
		}
		for (uint64_t k = 0; k < 40; k++)
			pgworld_assert_pte(w, (511 - k * 17 % 40 * 5) << geo->shift[level],
					   (uint32_t)k + 1, PG_ANON);
		assert_int_equal(w->pt.nr_tables[level], 1);
		assert_int_equal(w->pt.nr_tables[level + 1], 40);
		for (uint64_t k = 0; k < 40; k++)
			pgworld_clear(w, (511 - k * 5) << geo->shift[level]);
		ks_pgtable_destroy(&w->env, &w->tables, &w->pt);
		assert_int_equal(ks_tables_memory(&w->tables), 0);
		pgworld_free(w);
	}
}

/* ---- freeing ---- */

static void neighbours_keep_the_tables_that_they_share(void **state)
{
	(void)state;
	static const struct {
		uint64_t floor, ceiling;
		uint64_t tables[3];
	} cases[] = {
		{ 0, 0, { 0, 0, 0 } },		       /* alone */
		{ (1 << 18) + 100, 0, { 1, 1, 1 } },   /* VMA before in the same 2 MiB */
		{ 0, (1 << 18) + 300, { 1, 1, 1 } },   /* VMA behind in the same 2 MiB */
		{ (1 << 18), 0, { 1, 0, 0 } },	       /* VMA before ends with its 1 GiB */
		{ 0, (1 << 18) + 512, { 1, 1, 0 } },   /* behind: next 2 MiB */
		{ 0, (1 << 18) + 511, { 1, 1, 1 } },   /* behind: last page of this 2 MiB */
		{ (1 << 17), 0, { 1, 0, 0 } },	       /* before: same 512 GiB only */
		{ 0, (2 << 18) - 1, { 1, 1, 0 } },     /* behind: same 1 GiB */
		{ 0, 2 << 18, { 1, 0, 0 } },	       /* behind: same 512 GiB */
		{ 0, UINT64_C(1) << 27, { 0, 0, 0 } }, /* behind: next 512 GiB */
		{ 0, (UINT64_C(1) << 27) - 1, { 1, 0, 0 } },
	};

	for (size_t k = 0; k < ARRAY_SIZE(cases); k++) {
		struct pgworld *w = pgworld_new_x86();
		const uint64_t vpn = (1 << 18) + 200;

		pgworld_set(w, vpn, 1, PG_ANON);
		pgworld_clear(w, vpn);
		free_range(w, vpn, vpn + 50, cases[k].floor, cases[k].ceiling);
		assert_tables(w, cases[k].tables[0], cases[k].tables[1], cases[k].tables[2]);
		pgworld_free(w);
	}
}

static void freeing_takes_the_tables_inside_and_no_others(void **state)
{
	(void)state;
	struct pgworld *w = pgworld_new_x86();

	for (uint64_t k = 0; k < 100; k++)
		ks_pgtable_populate(&w->env, &w->tables, &w->pt, k * 512);
	pgworld_set(w, 9 * 512 + 511, 1, PG_ANON);
	pgworld_set(w, 90 * 512, 2, PG_ANON);
	free_range(w, 10 * 512, 90 * 512, 10 * 512, 90 * 512);
	assert_tables(w, 1, 1, 20);
	free_range(w, 5 * 512 + 1, 7 * 512, 5 * 512 + 1, 8 * 512 - 1);
	assert_tables(w, 1, 1, 19); /* the 6th: the 5th and 7th are shared */
	pgworld_assert_pte(w, 9 * 512 + 511, 1, PG_ANON);
	pgworld_assert_pte(w, 90 * 512, 2, PG_ANON);
	free_range(w, 3 * 512, 3 * 512 + 1, 3 * 512, 8 * 512);
	assert_tables(w, 1, 1, 18); /* no more than the range, whatever the ceiling */
	free_range(w, 20 * 512 + 1, 20 * 512 + 1, 0, 0);
	free_range(w, 92 * 512 + 1, 92 * 512 + 1, 92 * 512, 93 * 512);
	assert_tables(w, 1, 1, 18);
	pgworld_free(w);
}

static void a_leaf_that_comes_again_is_a_new_leaf(void **state)
{
	(void)state;
	struct pgworld *w = pgworld_new_x86();

	for (unsigned slot = 0; slot < 20; slot++)
		pgworld_set(w, slot, slot + 1, PG_ANON);
	ks_leaf(&w->tables, ks_leaf_find(&w->tables, &w->pt, 0))->upper = 77;
	for (unsigned slot = 0; slot < 20; slot++)
		pgworld_clear(w, slot);
	free_range(w, 0, 20, 0, 0);
	assert_int_equal(w->tables.dense.live, 0);
	pgworld_set(w, 3, 9, PG_ANON);
	const struct ks_leaf *leaf = ks_leaf(&w->tables, ks_leaf_find(&w->tables, &w->pt, 0));
	assert_int_equal(leaf->upper, 0);
	assert_false(leaf->dense);
	pgworld_assert_pte(w, 3, 9, PG_ANON);
	pgworld_assert_pte(w, 4, 0, 0);
	pgworld_free(w);
}

/* ---- entries ---- */

static void seventh_entry_makes_a_leaf_dense_and_changes_nothing_else(void **state)
{
	(void)state;
	static const unsigned slots[] = { 300, 5, 511, 64, 0, 63, 128 };
	struct pgworld *w = pgworld_new_x86();
	uint32_t id = 0;

	for (uint32_t k = 0; k < 7; k++) {
		pgworld_set(w, 512 + slots[k], 100 + k, PG_ANON | (k % 2 ? KS_PTE(WATCHED) : 0));
		if (!id) {
			id = ks_leaf_find(&w->tables, &w->pt, 512);
			ks_leaf(&w->tables, id)->upper = 4711;
		}
		assert_int_equal(ks_leaf(&w->tables, id)->nr, k + 1);
		assert_int_equal(ks_leaf(&w->tables, id)->dense, k == 6);
	}
	assert_int_equal(ks_leaf_find(&w->tables, &w->pt, 512), id);
	assert_int_equal(ks_leaf(&w->tables, id)->upper, 4711);
	assert_int_equal(ks_leaf(&w->tables, id)->vpn, 512);
	for (uint32_t k = 0; k < 7; k++)
		pgworld_assert_pte(w, 512 + slots[k], 100 + k,
				   PG_ANON | (k % 2 ? KS_PTE(WATCHED) : 0));
	assert_int_equal(w->rings, 0);
	for (uint32_t k = 0; k < 7; k++)
		pgworld_clear(w, 512 + slots[k]);
	assert_int_equal(w->rings, 3);
	pgworld_set(w, 512 + 300, 9, 0); /* still a clear */
	pgworld_assert_pte(w, 512 + 300, 0, 0);
	assert_int_equal(ks_leaf(&w->tables, id)->nr, 0);
	assert_int_equal(ks_leaf_next(ks_leaf(&w->tables, id), 0), -1);
	assert_tables(w, 1, 1, 1);
	pgworld_free(w);
}

static void leaf_next_finds_swap_entries_too(void **state)
{
	(void)state;

	for (unsigned nr = 4; nr <= 10; nr += 6) { /* small, dense */
		struct pgworld *w = pgworld_new_x86();

		for (unsigned k = 0; k < nr; k++)
			pgworld_set(w, 10 + k * 50, k, k % 2 ? PG_ANON : KS_PTE(NONPRESENT));
		const struct ks_leaf *leaf =
			ks_leaf(&w->tables, ks_leaf_find(&w->tables, &w->pt, 0));
		assert_int_equal(leaf->dense, nr == 10);
		assert_int_equal(ks_leaf_next(leaf, 0), 10);
		assert_int_equal(ks_leaf_next(leaf, 10), 10);
		assert_int_equal(ks_leaf_next(leaf, 11), 60);
		assert_int_equal(ks_leaf_next(leaf, 10 + 50 * (nr - 1)), 10 + 50 * (nr - 1));
		assert_int_equal(ks_leaf_next(leaf, 11 + 50 * (nr - 1)), -1);
		assert_int_equal(ks_leaf_next(leaf, 511), -1);
		pgworld_free(w);
	}
}

static void assert_like(struct pgworld *w, const struct pgref *ref)
{
	for (unsigned k = 0; k < ref->nr; k++)
		pgworld_assert_pte(w, ref->vpn[k], ref->pte[k].pfn, ref->pte[k].bits);
	for (unsigned level = 0; level < ref->geo->levels; level++)
		assert_int_equal(w->pt.nr_tables[level], pgref_nr_tables(ref, level));
	assert_true(ks_pgtable_check(&w->tables, &w->pt));
}

static void random_entries_match_a_plain_map(void **state)
{
	(void)state;
	const struct ks_geometry *geos[] = { ks_geometry_find("x86-64-4level"),
					     ks_geometry_find("x86-64-5level"), &pg_arm64_16k,
					     &pg_arm64_64k };

	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct pgworld *w = pgworld_new(geos[seed % 4], seed);
		struct pgref ref = { .geo = geos[seed % 4] };

		for (unsigned k = 0; k < 5; k++) {
			pgworld_random_steps(w, &ref, 300);
			assert_like(w, &ref);
		}
		pgworld_free(w);
	}
}

/* ---- the bell ---- */

static void bell_rings_once_for_each_change_of_a_watched_entry(void **state)
{
	(void)state;

	for (unsigned others = 0; others <= 8; others += 8) { /* small, dense */
		struct pgworld *w = pgworld_new_x86();
		const uint64_t vpn = 700;

		for (unsigned k = 0; k < others; k++)
			pgworld_set(w, 512 + k, k, PG_ANON);
		pgworld_set(w, vpn, 5, PG_ANON);
		struct ks_leaf *leaf = ks_leaf(&w->tables, ks_leaf_find(&w->tables, &w->pt, vpn));
		assert_int_equal(leaf->dense, others == 8);
		pgworld_set(w, vpn, 6, PG_ANON);
		assert_int_equal(w->rings, 0);

		ks_leaf_watch(leaf, 700 - 512, true);
		pgworld_assert_pte(w, vpn, 6, PG_ANON | KS_PTE(WATCHED));
		pgworld_set(w, vpn + 1, 5, PG_ANON); /* a neighbour */
		assert_int_equal(w->rings, 0);
		pgworld_set(w, vpn, 7, PG_ANON);
		assert_int_equal(w->rings, 1);
		assert_int_equal(w->rung_vpn, vpn);
		assert_ptr_equal(w->rung_mm, w->pt.mm);
		assert_int_equal(w->rung_pte.pfn, 6); /* rung before the change */
		assert_int_equal(w->rung_pte.bits, PG_ANON | KS_PTE(WATCHED));
		pgworld_assert_pte(w, vpn, 7, PG_ANON);
		pgworld_set(w, vpn, 8, PG_ANON);
		assert_int_equal(w->rings, 1);

		ks_leaf_watch(leaf, 700 - 512, true);
		pgworld_clear(w, vpn);
		assert_int_equal(w->rings, 2);
		pgworld_set(w, vpn, 9, PG_ANON | KS_PTE(WATCHED));
		assert_int_equal(w->rings, 2);
		ks_pte_unwatch(&w->tables, &w->pt, vpn);
		assert_int_equal(w->rings, 3);
		pgworld_assert_pte(w, vpn, 9, PG_ANON);
		ks_pte_unwatch(&w->tables, &w->pt, vpn);
		assert_int_equal(w->rings, 3);

		ks_leaf_watch(leaf, 700 - 512, true);
		ks_leaf_watch(leaf, 700 - 512, false);
		ks_leaf_watch(leaf, 400, true); /* with none there: nothing to watch */
		pgworld_assert_pte(w, 512 + 400, 0, 0);
		pgworld_set(w, 512 + 400, 1, PG_ANON);
		pgworld_clear(w, vpn);
		assert_int_equal(w->rings, 3);
		assert_true(ks_pgtable_check(&w->tables, &w->pt));
		pgworld_free(w);
	}
}

static void a_bell_that_is_not_wired_is_silent(void **state)
{
	(void)state;
	struct pgworld *w = pgworld_new_x86();

	w->tables.watched = NULL;
	pgworld_set(w, 1, 1, PG_ANON | KS_PTE(WATCHED));
	ks_pte_unwatch(&w->tables, &w->pt, 1);
	pgworld_assert_pte(w, 1, 1, PG_ANON);
	pgworld_set(w, 1, 1, PG_ANON | KS_PTE(WATCHED));
	pgworld_clear(w, 1);
	assert_int_equal(w->rings, 0);
	pgworld_free(w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(geometry_lookup_knows_the_rows),
	cmocka_unit_test(tables_exist_from_the_first_fault_until_they_are_freed),
	cmocka_unit_test(clearing_a_hole_builds_nothing),
	cmocka_unit_test(leaf_ids_are_found_for_every_page_of_the_leaf_only),
	cmocka_unit_test(an_address_beyond_the_top_table_stops_the_program),
	cmocka_unit_test(upper_tables_grow_past_eight_children_at_every_level),
	cmocka_unit_test(neighbours_keep_the_tables_that_they_share),
	cmocka_unit_test(freeing_takes_the_tables_inside_and_no_others),
	cmocka_unit_test(a_leaf_that_comes_again_is_a_new_leaf),
	cmocka_unit_test(seventh_entry_makes_a_leaf_dense_and_changes_nothing_else),
	cmocka_unit_test(leaf_next_finds_swap_entries_too),
	cmocka_unit_test(random_entries_match_a_plain_map),
	cmocka_unit_test(bell_rings_once_for_each_change_of_a_watched_entry),
	cmocka_unit_test(a_bell_that_is_not_wired_is_silent),
};

TEST_MAIN(tests)
