/*
 * test_fault.c - page faults, stores and loads, files, pins. Pages that leave their frame
 * are in test_swap.c.
 */
#include "mmone.h"

#include <errno.h>

static enum ks_fault_result fault(struct ks_mm *who, uint64_t page, enum ks_fault_kind kind)
{
	return ks_fault(&w->sys, who, MMWORLD_BASE + page, kind);
}

static ks_pfn pfn_of(struct ks_mm *who, uint64_t page)
{
	return mmworld_pte(w, who, page).pfn;
}

static uint32_t refs_of(ks_pfn pfn)
{
	return ks_frame_refs(&w->sys.frames, pfn);
}

/* ---- holes and zero pages ---- */

static void read_of_a_hole_maps_the_zero_page(void **state)
{
	(void)state;
	mmworld_read(w, mm, 0, 1);
	mmworld_expect_pages(w, mm, "0.......");
	assert_int_equal(mm->vmas[0].anon_vma, 0);
	assert_int_equal(mm->rss_anon, 0);
	assert_int_equal(w->sys.frames.nr_used, 0);
	assert_int_equal(counter(KSMSIM_COUNT_pgfault), 1);
	assert_int_equal(w->env.cost_count[KS_COST_fault_zero], 1);
	/* there now: no fault, and the entry is not touched */
	mmworld_read(w, mm, 0, 1);
	assert_int_equal(counter(KSMSIM_COUNT_pgfault), 1);
}

static void write_to_a_hole_makes_an_exclusive_page(void **state)
{
	struct ks_pte pte;

	(void)state;
	assert_int_equal(fault(mm, 0, KS_FAULT_WRITE), KS_FAULT_DONE);
	pte = mmworld_pte(w, mm, 0);
	assert_int_equal(pte.bits,
			 KS_PTE(PRESENT) | KS_PTE(WRITE) | KS_PTE_MKDIRTY | KS_PTE(YOUNG));
	assert_true(ks_frame_test(ks_frame(&w->sys.frames, pte.pfn), KS_FRAME_EXCLUSIVE));
	assert_int_equal(refs_of(pte.pfn), 2); /* it waits in the LRU batch */
	assert_int_equal(mm->rss_anon, 1);
	assert_int_not_equal(mm->vmas[0].anon_vma, 0);
	mmworld_expect_value(w, mm, 0, 0);
	mmworld_check(w);
}

static void missing_rights_are_a_segmentation_fault(void **state)
{
	(void)state;
	mmworld_map(w, mm, 8, 1, MMWORLD_R, 0);
	mmworld_map(w, mm, 9, 1, KSMSIM_PROT_NONE, 0);
	mmworld_map(w, mm, 10, 1, KSMSIM_PROT_WRITE, 0);
	assert_int_equal(fault(mm, 11, KS_FAULT_READ), KS_FAULT_SIGSEGV);
	assert_int_equal(fault(mm, 8, KS_FAULT_WRITE), KS_FAULT_SIGSEGV);
	assert_int_equal(fault(mm, 9, KS_FAULT_READ), KS_FAULT_SIGSEGV);
	assert_int_equal(ks_access_load(&w->sys, mm, MMWORLD_BASE + 9), KS_CID_NONE);
	assert_int_equal(counter(KSMSIM_COUNT_pgfault), 0);
	assert_int_equal(fault(mm, 10, KS_FAULT_READ), KS_FAULT_DONE);
}

static void no_memory_leaves_the_entry_but_the_table_stays(void **state)
{
	(void)state;
	w->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(fault(mm, 0, KS_FAULT_WRITE), KS_FAULT_OOM);
	mmworld_expect_pages(w, mm, "........");
	assert_int_equal(mm->pt.nr_tables[3], 1);
	assert_int_equal(mm->rss_anon, 0);
}

static void write_to_a_zero_page_makes_a_new_one(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 1, 1);
	mmworld_read(w, mm, 0, 1);
	mmworld_make_ksm_zero(w, mm, 1);
	assert_int_equal(counter(KSMSIM_COUNT_ksm_zero_pages), 1);
	assert_int_equal(fault(mm, 0, KS_FAULT_WRITE), KS_FAULT_DONE);
	assert_int_equal(fault(mm, 1, KS_FAULT_WRITE), KS_FAULT_DONE);
	mmworld_expect_pages(w, mm, "ww......");
	assert_int_equal(counter(KSMSIM_COUNT_ksm_zero_pages), 0);
	assert_int_equal(mm->ksm_zero_pages, 0);
	assert_int_equal(mm->rss_anon, 2);
	assert_int_equal(counter(KSMSIM_COUNT_cow_ksm), 0);
	assert_int_equal(counter(KSMSIM_COUNT_pgreuse), 0);
}

static void untracked_zero_pages_are_not_counted(void **state)
{
	(void)state;
	w->env.feature[KS_FEAT_zero_tracking] = false;
	mmworld_fill(w, mm, 0, 2);
	mmworld_make_ksm_zero(w, mm, 0);
	mmworld_make_ksm_zero(w, mm, 1);
	mmworld_expect_pages(w, mm, "00......");
	mmworld_store(w, mm, 0, 1);
	ks_munmap(&w->sys, mm, MMWORLD_BASE, 8);
	assert_int_equal(counter(KSMSIM_COUNT_ksm_zero_pages), 0);
	assert_int_equal(mm->ksm_zero_pages, 0);
}

/* ---- copy on write ---- */

static void first_writer_after_fork_copies_and_the_last_reuses(void **state)
{
	struct ks_mm *child;
	ks_pfn shared;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	child = mmworld_fork(w, mm);
	shared = pfn_of(mm, 0);
	mmworld_store(w, child, 0, 50);
	assert_int_not_equal(pfn_of(child, 0), shared);
	mmworld_expect_pages(w, mm, "s.......");
	mmworld_expect_pages(w, child, "w.......");
	mmworld_expect_value(w, mm, 0, 1);
	assert_int_equal(counter(KSMSIM_COUNT_pgreuse), 0);
	mmworld_store(w, mm, 0, 60);
	assert_int_equal(pfn_of(mm, 0), shared);
	assert_int_equal(counter(KSMSIM_COUNT_pgreuse), 1);
	assert_int_equal(counter(KSMSIM_COUNT_cow_ksm), 0);
	mmworld_expect_pages(w, mm, "w.......");
	mmworld_expect_value(w, child, 0, 50);
}

/* mm/memory.c:wp_can_reuse_anon_folio(): the batch is drained for the test, references are not */
static void reuse_drains_the_batch_but_respects_references(void **state)
{
	ks_pfn pfn;

	(void)state;
	mmworld_fill(w, mm, 0, 2);
	ks_mm_exit(&w->sys, mmworld_fork(w, mm));
	pfn = pfn_of(mm, 0);
	mmworld_fill(w, mm, 7, 1);
	assert_int_equal(refs_of(pfn_of(mm, 7)), 2);
	mmworld_store(w, mm, 0, 1);
	assert_int_equal(pfn_of(mm, 0), pfn);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE + 1, 1, KSMSIM_PIN_HELD);
	pfn = pfn_of(mm, 1);
	mmworld_store(w, mm, 1, 1);
	assert_int_not_equal(pfn_of(mm, 1), pfn);
	assert_true(ks_frame_live(&w->sys.frames, pfn));
	assert_int_equal(ks_access_unpin(&w->sys, mm, MMWORLD_BASE, 8), 1);
	assert_false(ks_frame_live(&w->sys.frames, pfn));
}

static void pages_with_many_references_do_not_drain_the_batch(void **state)
{
	ks_pfn last;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	mmworld_fork(w, mm);
	mmworld_fork(w, mm);
	mmworld_fork(w, mm);
	assert_int_equal(refs_of(pfn_of(mm, 0)), 5);
	mmworld_store(w, mm, 0, 2);
	last = pfn_of(mm, 0);
	assert_int_equal(refs_of(last), 2);
	assert_int_equal(w->sys.frames.nr_lru_batch, 2);
}

static void batch_does_not_count_even_undrained(void **state)
{
	ks_pfn pfn;

	(void)state;
	w->env.knob.lru_drain = 0;
	mmworld_fill(w, mm, 0, 1);
	ks_mm_exit(&w->sys, mmworld_fork(w, mm));
	pfn = pfn_of(mm, 0);
	mmworld_store(w, mm, 0, 2);
	assert_int_equal(pfn_of(mm, 0), pfn);
	assert_int_equal(refs_of(pfn), 2);
}

static void exclusive_read_only_page_is_reused_whatever_its_references(void **state)
{
	ks_pfn pfn;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	pfn = pfn_of(mm, 0);
	mmworld_make_ksm(w, mm, 0);
	assert_int_equal(fault(mm, 0, KS_FAULT_UNSHARE), KS_FAULT_DONE);
	mmworld_expect_pages(w, mm, "e.......");
	assert_int_not_equal(pfn_of(mm, 0), pfn);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_PIN_HELD);
	pfn = pfn_of(mm, 0);
	mmworld_store(w, mm, 0, 3);
	assert_int_equal(pfn_of(mm, 0), pfn);
	assert_int_equal(counter(KSMSIM_COUNT_pgreuse), 1);
}

static void ksm_page_is_copied_even_by_its_last_user(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 1);
	mmworld_make_ksm(w, mm, 0);
	mmworld_store(w, mm, 0, 9);
	assert_int_equal(counter(KSMSIM_COUNT_cow_ksm), 1);
	assert_int_equal(w->ksm_freed, 1);
	assert_int_equal(w->env.cost_count[KS_COST_fault_cow_ksm], 1);
	mmworld_expect_pages(w, mm, "w.......");
}

static void unshare_leaves_a_clean_read_only_page(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 2);
	mmworld_make_ksm(w, mm, 0);
	mmworld_make_ksm_zero(w, mm, 1);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 8, KSMSIM_PROT_NONE);
	for (uint64_t i = 0; i < 2; i++) {
		const uint32_t soft = mmworld_pte(w, mm, i).bits & KS_PTE(SOFT);

		assert_int_equal(fault(mm, i, KS_FAULT_UNSHARE), KS_FAULT_DONE);
		assert_int_equal(mmworld_pte(w, mm, i).bits,
				 KS_PTE(PRESENT) | KS_PTE(YOUNG) | soft);
	}
	mmworld_expect_pages(w, mm, "ee......");
	assert_int_equal(counter(KSMSIM_COUNT_cow_ksm), 1);
	assert_int_equal(counter(KSMSIM_COUNT_ksm_zero_pages), 0);
	assert_int_equal(mm->rss_anon, 2);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 8, MMWORLD_RW);
	mmworld_expect_value(w, mm, 0, 1);
	mmworld_expect_value(w, mm, 1, 0);
}

static void forced_write_asks_no_rights_and_gives_none(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 2);
	mmworld_make_ksm(w, mm, 0);
	mmworld_make_ksm(w, mm, 1);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 1, MMWORLD_R);
	assert_int_equal(fault(mm, 0, KS_FAULT_WRITE_FORCED), KS_FAULT_DONE);
	assert_int_equal(fault(mm, 1, KS_FAULT_WRITE_FORCED), KS_FAULT_DONE);
	mmworld_expect_pages(w, mm, "ew......");
	assert_true(mmworld_pte(w, mm, 0).bits & KS_PTE(DIRTY));
	assert_int_equal(counter(KSMSIM_COUNT_cow_ksm), 2);
}

/* ---- files ---- */

static void private_file_pages_are_copied_on_write(void **state)
{
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_WORD, .value = 77 };
	struct ks_mmap req = { MMWORLD_BASE + 8, 4, MMWORLD_RW, KSMSIM_MAP_FIXED, 0, 3 };

	(void)state;
	req.file = ks_file_new(&w->sys, &content);
	assert_int_equal(ks_mmap(&w->sys, mm, &req), MMWORLD_BASE + 8);
	mmworld_read(w, mm, 8, 2);
	mmworld_expect_pages(w, mm, "........ff..");
	assert_int_equal(mm->rss_file, 2);
	mmworld_store(w, mm, 9, 5);
	assert_int_equal(fault(mm, 10, KS_FAULT_WRITE), KS_FAULT_DONE);
	mmworld_expect_pages(w, mm, "........fww.");
	assert_int_equal(mm->rss_file, 1);
	mmworld_expect_value(w, mm, 10, 77);
	ks_madvise(&w->sys, mm, MMWORLD_BASE + 8, 4, KSMSIM_MADV_DONTNEED);
	mmworld_expect_value(w, mm, 9, 77);
}

static void shared_memory_is_written_in_place(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_map(w, mm, 8, 2, MMWORLD_RW, KSMSIM_MAP_SHARED);
	child = mmworld_fork(w, mm);
	mmworld_store(w, mm, 8, 3);
	mmworld_store(w, child, 9, 4);
	mmworld_expect_value(w, child, 8, 3);
	mmworld_expect_value(w, mm, 9, 4);
	mmworld_expect_pages(w, mm, "........FF");
	assert_int_equal(mm->rss_anon, 0);
	ks_munmap(&w->sys, mm, MMWORLD_BASE + 8, 2);
	mmworld_expect_value(w, child, 8, 3);
}

static void shared_memory_ends_with_its_object(void **state)
{
	(void)state;
	mmworld_map(w, mm, 8, 2, MMWORLD_RW, KSMSIM_MAP_SHARED);
	assert_int_equal(ks_mremap(&w->sys, mm, MMWORLD_BASE + 8, 2, 4, 0, 0), MMWORLD_BASE + 8);
	assert_int_equal(fault(mm, 9, KS_FAULT_WRITE), KS_FAULT_DONE);
	assert_int_equal(fault(mm, 10, KS_FAULT_READ), KS_FAULT_SIGSEGV);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE + 8, 4, true), -ENOMEM);
	assert_int_equal(ks_madvise(&w->sys, mm, MMWORLD_BASE + 10, 1, KSMSIM_MADV_POPULATE_WRITE),
			 -EFAULT);
}

/* ---- stores and the bell ---- */

static void watch(struct ks_mm *who, uint64_t page)
{
	const uint64_t vpn = MMWORLD_BASE + page;
	struct ks_leaf *leaf = ks_leaf(&w->sys.tables, ks_leaf_find(&w->sys.tables, &who->pt, vpn));

	ks_leaf_watch(leaf, (unsigned)(vpn - leaf->vpn), true);
}

static void every_store_rings_once(void **state)
{
	const uint8_t byte = 1;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	watch(mm, 0);
	mmworld_read(w, mm, 0, 1);
	assert_int_equal(w->rings, 0);
	mmworld_store(w, mm, 0, 1); /* the same content */
	assert_int_equal(w->rings, 1);
	mmworld_store(w, mm, 0, 2);
	assert_int_equal(w->rings, 1);
	watch(mm, 0);
	assert_int_equal(ks_access_poke(&w->sys, mm, MMWORLD_BASE, 5, &byte, 1), KS_FAULT_DONE);
	assert_int_equal(w->rings, 2);
	watch(mm, 0);
	ks_munmap(&w->sys, mm, MMWORLD_BASE, 1);
	assert_int_equal(w->rings, 3);
}

static void poke_changes_only_its_bytes(void **state)
{
	const uint8_t bytes[2] = { 0xab, 0xcd };
	uint8_t seen[4];
	ks_cid cid;

	(void)state;
	mmworld_store(w, mm, 0, UINT64_C(0x0101010101010101));
	ks_access_poke(&w->sys, mm, MMWORLD_BASE, 4094, bytes, 2);
	cid = ks_access_load(&w->sys, mm, MMWORLD_BASE);
	ks_content_read(&w->sys.contents, cid, 4092, seen, 4);
	assert_memory_equal(seen, ((uint8_t[]){ 1, 1, 0xab, 0xcd }), 4);
	ks_access_poke(&w->sys, mm, MMWORLD_BASE, 4094, (const uint8_t[]){ 1, 1 }, 2);
	mmworld_expect_value(w, mm, 0, UINT64_C(0x0101010101010101));
	assert_int_equal(ks_access_poke(&w->sys, mm, MMWORLD_BASE + 9, 0, bytes, 1),
			 KS_FAULT_SIGSEGV);
}

static void store_to_a_lazily_freed_page_dirties_it_again(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 1);
	ks_madvise(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_MADV_FREE);
	assert_false(mmworld_pte(w, mm, 0).bits & KS_PTE(DIRTY));
	mmworld_store(w, mm, 0, 2);
	assert_true(mmworld_pte(w, mm, 0).bits & KS_PTE(DIRTY));
	assert_int_equal(counter(KSMSIM_COUNT_pgfault), 1);
}

/* ---- pins ---- */

static void pins_fault_as_they_must(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	child = mmworld_fork(w, mm);
	mmworld_fill(w, mm, 1, 1);
	mmworld_make_ksm(w, mm, 1);
	mmworld_read(w, mm, 2, 1);
	/* held: only what is there; get: faults, but shares */
	assert_int_equal(ks_access_pin(&w->sys, mm, MMWORLD_BASE, 8, KSMSIM_PIN_HELD), 0);
	assert_int_equal(mm->nr_pins, 2);
	assert_int_equal(ks_access_pin(&w->sys, mm, MMWORLD_BASE, 4, KSMSIM_PIN_GET), 0);
	mmworld_expect_pages(w, mm, "sk00....");
	assert_int_equal(refs_of(pfn_of(mm, 0)), 4);
	assert_false(mm->has_pinned);
	/* long-term pins own their pages */
	assert_int_equal(ks_access_pin(&w->sys, mm, MMWORLD_BASE, 3, KSMSIM_PIN_READ), 0);
	mmworld_expect_pages(w, mm, "eee0....");
	assert_int_equal(ks_access_pin(&w->sys, mm, MMWORLD_BASE + 3, 2, KSMSIM_PIN_WRITE), 0);
	mmworld_expect_pages(w, mm, "eeeww...");
	assert_int_equal(ks_frame_pins(&w->sys.frames, pfn_of(mm, 3)), 1);
	assert_true(mm->has_pinned);
	assert_int_equal(ks_access_pin(&w->sys, mm, MMWORLD_BASE + 7, 2, KSMSIM_PIN_WRITE),
			 -EFAULT);
	mmworld_expect_value(w, child, 0, 1);
}

static void unpin_undoes_the_oldest_at_each_address(void **state)
{
	ks_pfn first;

	(void)state;
	mmworld_fill(w, mm, 0, 2);
	ks_lru_drain(&w->env, &w->sys.frames);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE, 2, KSMSIM_PIN_GET);
	first = pfn_of(mm, 0);
	ks_mm_exit(&w->sys, mmworld_fork(w, mm));
	mmworld_store(w, mm, 0, 7); /* copies away from the reference */
	ks_access_pin(&w->sys, mm, MMWORLD_BASE, 2, KSMSIM_PIN_WRITE);
	assert_int_equal(refs_of(first), 1);
	assert_int_equal(ks_access_unpin(&w->sys, mm, MMWORLD_BASE, 8), 2);
	assert_false(ks_frame_live(&w->sys.frames, first));
	assert_int_equal(ks_frame_pins(&w->sys.frames, pfn_of(mm, 0)), 1);
	assert_int_equal(ks_access_unpin(&w->sys, mm, MMWORLD_BASE + 1, 1), 1);
	assert_int_equal(ks_access_unpin(&w->sys, mm, MMWORLD_BASE, 8), 1);
	assert_int_equal(ks_access_unpin(&w->sys, mm, MMWORLD_BASE, 8), 0);
}

static const struct CMUnitTest tests[] = {
	MMONE_TEST(read_of_a_hole_maps_the_zero_page),
	MMONE_TEST(write_to_a_hole_makes_an_exclusive_page),
	MMONE_TEST(missing_rights_are_a_segmentation_fault),
	MMONE_TEST(no_memory_leaves_the_entry_but_the_table_stays),
	MMONE_TEST(write_to_a_zero_page_makes_a_new_one),
	MMONE_TEST(untracked_zero_pages_are_not_counted),
	MMONE_TEST(first_writer_after_fork_copies_and_the_last_reuses),
	MMONE_TEST(reuse_drains_the_batch_but_respects_references),
	MMONE_TEST(pages_with_many_references_do_not_drain_the_batch),
	MMONE_TEST(batch_does_not_count_even_undrained),
	MMONE_TEST(exclusive_read_only_page_is_reused_whatever_its_references),
	MMONE_TEST(ksm_page_is_copied_even_by_its_last_user),
	MMONE_TEST(unshare_leaves_a_clean_read_only_page),
	MMONE_TEST(forced_write_asks_no_rights_and_gives_none),
	MMONE_TEST(private_file_pages_are_copied_on_write),
	MMONE_TEST(shared_memory_is_written_in_place),
	MMONE_TEST(shared_memory_ends_with_its_object),
	MMONE_TEST(every_store_rings_once),
	MMONE_TEST(poke_changes_only_its_bytes),
	MMONE_TEST(store_to_a_lazily_freed_page_dirties_it_again),
	MMONE_TEST(pins_fault_as_they_must),
	MMONE_TEST(unpin_undoes_the_oldest_at_each_address),
};

TEST_MAIN(tests)
