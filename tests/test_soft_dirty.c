/*
 * test_soft_dirty.c - clear_refs and the soft-dirty bit, as far as no real kernel was asked by a
 * scenario of tests/replay: counted faults, swap, migration, features, wrong calls.
 */
#include "outcome.h"

#define PAGE UINT64_C(4096)
#define BASE UINT64_C(0x10000000000)
#define THP "thp enabled always\nproc A\nmmap A r 512\n"
/* a THP that is mapped by PTEs, all of them dirty and none soft-dirty, half of them read-only */
#define PTES THP "fill A r seeds:1\nmprotect A r+0:256 r\nclear_refs A 4\n"

/* ---- faults ---- */

static void the_first_write_after_clearing_faults_and_reuses_the_page(void **state)
{
	(void)state;
	outcome_holds(
		"proc A\nmmap A r 4\nfill A r seeds:1\nexpect pgfault=4 pgreuse=0 A.r=writable\n"
		"clear_refs A 4\nexpect A.r=!writable,exclusive\n"
		"touch A r+1\ntouch A r+1\nexpect pgfault=5 pgreuse=1 A.r+1=writable\n"
		"read A r\nexpect pgfault=5\n");
	/* a huge page is one, and its reuse is not counted */
	outcome_holds(THP
		      "touch A r+0\nclear_refs A 4\nexpect pgfault=1 A.r=thp,!writable\n"
		      "touch A r+9\ntouch A r+10\nexpect pgfault=2 pgreuse=0 A.r=thp,writable\n");
}

static void pages_that_became_old_keep_their_content_and_owner(void **state)
{
	(void)state;
	outcome_holds(
		"proc A\nmmap A r 2\nfill A r seeds:1\nfork A B\nclear_refs A 4\ntouch A r+0\n"
		"expect differ(A.r+0,B.r+0) same(A.r+1,B.r+1) A.r+0=soft A.r+1=!soft B.r=soft\n"
		"check B r seeds:1\nexpect result=0\n");
}

/* ---- swap ---- */

static void a_swap_entry_carries_the_mark(void **state)
{
	(void)state;
	outcome_holds(
		"proc A\nmmap A r 4\nfill A r seeds:1\nclear_refs A 4\ntouch A r+0:2\nswapout A r\n"
		"expect A.r+0:2=swap,soft A.r+2:2=swap,!soft\n"
		"read A r+0\nread A r+2\nexpect A.r+0=anon,soft,writable "
		"A.r+2=anon,!soft,!writable\n"
		"clear_refs A 4\nexpect A.r=!soft A.r+1=swap A.r+3=swap\n"
		"fork A B\nexpect B.r+1=swap,!soft\n");
	/* a write is noticed: the page comes in read-only, and is reused */
	outcome_holds(
		"proc A\nmmap A r 2\nfill A r seeds:1\nclear_refs A 4\nswapout A r\ntouch A r+0\n"
		"expect A.r+0=soft,writable pgreuse=1\n");
	outcome_holds("proc A\nmmap A r 2\nfill A r seeds:1\nswapout A r\ntouch A r+0\n"
		      "expect A.r+0=soft,writable pgreuse=0\n");
}

/* ---- entries that move ---- */

static void migrated_pages_keep_their_marks(void **state)
{
	(void)state;
	outcome_holds("machine nodes=2\nproc A\nmmap A r 2\nfill A r seeds:1\nclear_refs A "
		      "4\ntouch A r+1\n"
		      "migrate A r 1\nexpect result=2 A.r+0=!soft A.r+1=soft\n");
	outcome_holds("machine nodes=2\nfeature migration_keeps_soft 0\nproc A\nmmap A r 2\n"
		      "fill A r+0 seed:1\nread A r+1\nclear_refs A 4\nmigrate A r 1\n"
		      "expect A.r+0=soft A.r+1=zero,!soft\n");
}

static void a_copy_for_the_child_of_a_pinned_page_is_soft_dirty(void **state)
{
	(void)state;
	outcome_holds(
		"proc A\nmmap A r 2\nfill A r seeds:1\npin A r+0 write\nclear_refs A 4\nfork A B\n"
		"expect A.r+0=soft B.r+0=soft A.r+1=!soft B.r+1=!soft differ(A.r+0,B.r+0)\n");
}

static void the_huge_zero_folio_carries_the_mark_of_a_move_to_the_child(void **state)
{
	(void)state;
	outcome_holds(THP "read A r+0\nclear_refs A 4\nmremap A r 512 as=s at=0x40000000000\n"
			  "expect A.s=huge_zero,soft\nfork A B\nclear_refs A 4\n"
			  "expect A.s=huge_zero,!soft B.s=huge_zero,soft\n");
}

/* ---- features ---- */

static const struct row {
	const char *feature, *lines;
	const char *on, *off; /* expectations */
} rows[] = {
	{ "soft_dirty", "proc A\nmmap A r 2\nfill A r seeds:1\nclear_refs A 4\ntouch A r+0\n",
	  "pgfault=3 A.r+0=soft A.r+1=!soft", "pgfault=2 A.r=!soft,writable" },
	{ "vma_sticky",
	  "proc A\nmmap A r 2 at=0x20000000000\nmadvise A r DONTFORK\nclear_refs A 4\n"
	  "mmap A n 2 at=0x20000002000\nmadvise A r DOFORK\n",
	  "A.vmas=1 A.r=soft A.n=soft", "A.vmas=1 A.r=!soft A.n=!soft" },
	{ "mremap_realigns",
	  "proc A\nmmap A r 512 at=0x20000100000\nfill A r seeds:1\nclear_refs A 4\n"
	  "mremap A r 512 as=s at=0x30000100000 dontunmap\n",
	  "A.s+0:256=!soft A.s+256:256=soft A.nr_ptes=3", "A.s=soft A.nr_ptes=4" },
	{ "mprotect_batched", PTES "mprotect A r+0:100 rw\n",
	  "A.r+0:100=soft,writable A.r+100=!soft", "A.r=!soft" },
	{ "migration_keeps_soft", THP "fill A r seeds:1\nclear_refs A 4\nsplit A r\n",
	  "A.r=order:0,!soft", "A.r=order:0,soft" },
	{ "zero_remap_keeps_soft", THP "touch A r\nclear_refs A 4\ntouch A r+1\nsplit A r\n",
	  "A.r=zero,soft", "A.r=zero,!soft" },
};

static void a_feature_decides_what_is_soft_dirty(void **state)
{
	char lines[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (int on = 0; on <= 1; on++) {
			snprintf(lines, sizeof(lines), "feature %s %d\n%sexpect %s\n",
				 rows[i].feature, on, rows[i].lines, on ? rows[i].on : rows[i].off);
			outcome_holds(lines);
		}
	}
}

/* ---- the call ---- */

static void clear_refs_refuses_what_the_kernel_refuses(void **state)
{
	struct ksmsim *sim = NULL;
	uint32_t pid = 0;
	int64_t ret = 1;

	(void)state;
	assert_int_equal(ksmsim_new(NULL, &sim), 0);
	assert_int_equal(ksmsim_spawn(sim, &pid), 0);
	for (unsigned what = 0; what <= 6; what++) {
		assert_int_equal(ksmsim_clear_refs(sim, pid, what, &ret), 0);
		assert_int_equal(ret, what >= 1 && what <= 5 ? 0 : -22);
	}
	assert_int_equal(ksmsim_clear_refs(sim, pid + 1, 4, &ret), KSMSIM_EPROCESS);
	assert_int_equal(ksmsim_exit(sim, pid), 0);
	assert_int_equal(ksmsim_clear_refs(sim, pid, 4, &ret), KSMSIM_EPROCESS);
	ksmsim_free(sim);
}

/* Behind the bit there is the field; without the feature there is neither. */
static void the_field_is_bit_55_of_pagemap(void **state)
{
	const struct ksmsim_mmap map = { .vaddr = BASE,
					 .length = 2 * PAGE,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = KSMSIM_MAP_FIXED };
	struct ksmsim_page page;
	uint32_t pid = 0;
	int64_t ret = 0;

	(void)state;
	for (int on = 0; on <= 1; on++) {
		struct ksmsim *sim = NULL;

		assert_int_equal(ksmsim_new(NULL, &sim), 0);
		assert_int_equal(ksmsim_feature_set(sim, "soft_dirty", on), 0);
		assert_int_equal(ksmsim_spawn(sim, &pid), 0);
		assert_int_equal(ksmsim_mmap(sim, pid, &map, &ret), 0);
		assert_int_equal(ksmsim_touch(sim, pid, BASE, 1, &ret), 0);
		for (uint64_t i = 0; i < 3; i++) {
			assert_int_equal(ksmsim_page_get(sim, pid, BASE + i * PAGE, &page), 0);
			assert_int_equal(page.soft_dirty, on && i < 2);
			assert_int_equal(page.pagemap >> 55 & 1, on && i < 2);
		}
		ksmsim_free(sim);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_first_write_after_clearing_faults_and_reuses_the_page),
	cmocka_unit_test(pages_that_became_old_keep_their_content_and_owner),
	cmocka_unit_test(a_swap_entry_carries_the_mark),
	cmocka_unit_test(migrated_pages_keep_their_marks),
	cmocka_unit_test(a_copy_for_the_child_of_a_pinned_page_is_soft_dirty),
	cmocka_unit_test(the_huge_zero_folio_carries_the_mark_of_a_move_to_the_child),
	cmocka_unit_test(a_feature_decides_what_is_soft_dirty),
	cmocka_unit_test(clear_refs_refuses_what_the_kernel_refuses),
	cmocka_unit_test(the_field_is_bit_55_of_pagemap),
};

TEST_MAIN(tests)
