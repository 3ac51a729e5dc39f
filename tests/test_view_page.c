/*
 * test_view_page.c - one page as /proc/PID/pagemap and /proc/kpageflags show it.
 *
 * A world is a THP, the huge zero folio or a smaller folio in one process or two;
 * each test asks for the bits that say what it is. Through the public door.
 */
#include <string.h>

#include "ksmsim.h"
#include "test.h"

#define PAGE UINT64_C(4096)
#define BLOCK (UINT64_C(512) * PAGE)
#define BASE (UINT64_C(1) << 40)

#define BIT(n) (UINT64_C(1) << (n))
#define PM_PRESENT BIT(63)
#define PM_SWAP BIT(62)
#define PM_FILE BIT(61)
#define PM_GUARD BIT(58)
#define PM_ONCE BIT(56)
#define PM_SOFT BIT(55)
#define PM_PFN (BIT(55) - 1)

enum {
	DIRTY = 4,
	LRU = 5,
	MMAP = 11,
	ANON = 12,
	SWAPBACKED = 14,
	HEAD = 15,
	TAIL = 16,
	KSM = 21,
	THP = 22,
	ZERO_PAGE = 24,
	RESERVED = 32,
	MLOCKED = 33,
	EXCLUSIVE = 34,
};

struct world {
	struct ksmsim *sim;
	uint32_t pid, child;
};

static void init(struct world *w, const char *feature, bool on)
{
	int64_t ret = 0;

	memset(w, 0, sizeof(*w));
	assert_int_equal(ksmsim_new(NULL, &w->sim), 0);
	if (feature)
		assert_int_equal(ksmsim_feature_set(w->sim, feature, on), 0);
	ksmsim_sysfs_write(w->sim, "transparent_hugepage/enabled", "always", 6, &ret);
	assert_int_equal(ret, 6);
	assert_int_equal(ksmsim_spawn(w->sim, &w->pid), 0);
}

static void done(struct world *w)
{
	char text[256] = "";

	if (ksmsim_check(w->sim, text, sizeof(text)))
		fail_msg("%s", text);
	ksmsim_free(w->sim);
}

static void map_pages(struct world *w, uint64_t pages, unsigned flags, uint32_t file)
{
	const struct ksmsim_mmap map = { .vaddr = BASE,
					 .length = pages * PAGE,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = flags | KSMSIM_MAP_FIXED,
					 .file = file };
	int64_t ret = 0;

	assert_int_equal(ksmsim_mmap(w->sim, w->pid, &map, &ret), 0);
	assert_int_equal(ret, BASE);
}

static void touch(struct world *w, uint64_t page, uint64_t nr)
{
	int64_t ret = -1;

	assert_int_equal(ksmsim_touch(w->sim, w->pid, BASE + page * PAGE, nr, &ret), 0);
	assert_int_equal(ret, 0);
}

static void read_page(struct world *w, uint64_t page)
{
	int64_t ret = -1;

	assert_int_equal(ksmsim_read(w->sim, w->pid, BASE + page * PAGE, 1, &ret), 0);
	assert_int_equal(ret, 0);
}

static void advise(struct world *w, uint64_t page, uint64_t nr, enum ksmsim_advice advice)
{
	int64_t ret = -1;

	assert_int_equal(
		ksmsim_madvise(w->sim, w->pid, BASE + page * PAGE, nr * PAGE, advice, &ret), 0);
	assert_int_equal(ret, 0);
}

static struct ksmsim_page look(struct world *w, uint32_t pid, uint64_t page)
{
	struct ksmsim_page seen;

	assert_int_equal(ksmsim_page_get(w->sim, pid, BASE + page * PAGE, &seen), 0);
	return seen;
}

static struct ksmsim_page see(struct world *w, uint64_t page)
{
	return look(w, w->pid, page);
}

static bool has(const struct ksmsim_page *page, unsigned flag)
{
	return page->kpageflags >> flag & 1;
}

static void thp(struct world *w, const char *feature, bool on)
{
	init(w, feature, on);
	map_pages(w, 512, 0, 0);
	touch(w, 0, 1);
}

/* ---- what a page is ---- */

static void a_page_of_a_thp_knows_its_folio(void **state)
{
	struct world w;
	struct ksmsim_page first, page;

	(void)state;
	thp(&w, NULL, false);
	first = see(&w, 0);
	page = see(&w, 300);
	assert_int_equal(page.state, KSMSIM_PAGE_ANON);
	assert_true(page.pmd_mapped && page.writable && page.dirty && page.anon_exclusive);
	assert_false(page.huge_zero);
	assert_int_equal(page.order, 9);
	assert_int_equal(page.mapcount, 1);
	assert_int_equal(page.refs, 1);
	assert_int_equal(page.pfn, first.pfn + 300);
	assert_int_equal(first.pfn % 512, 0);
	advise(&w, 7, 1, KSMSIM_MADV_DONTNEED);
	page = see(&w, 300);
	assert_int_equal(page.order, 9);
	assert_false(page.pmd_mapped);
	assert_true(page.anon_exclusive);
	assert_int_equal(page.refs, 511);
	assert_int_equal(see(&w, 7).state, KSMSIM_PAGE_NONE);
	done(&w);
}

static void a_small_page_is_of_order_0(void **state)
{
	struct ksmsim_page page;
	struct world w;

	(void)state;
	init(&w, NULL, false);
	map_pages(&w, 3, 0, 0);
	touch(&w, 1, 1);
	page = see(&w, 1);
	assert_int_equal(page.order, 0);
	assert_false(page.pmd_mapped);
	assert_int_equal(page.pagemap, PM_PRESENT | PM_ONCE | PM_SOFT | page.pfn);
	assert_true(has(&page, ANON) && has(&page, MMAP) && has(&page, SWAPBACKED));
	assert_true(has(&page, EXCLUSIVE));
	assert_false(has(&page, THP) || has(&page, HEAD) || has(&page, TAIL) || has(&page, KSM));
	assert_false(has(&page, LRU)); /* it waits in the batch */
	ksmsim_lru_drain(w.sim);
	page = see(&w, 1);
	assert_true(has(&page, LRU));
	assert_int_equal(see(&w, 0).pagemap, PM_SOFT); /* a hole in an area that is new */
	done(&w);
}

static void the_figure_of_thps_counts_pmds(void **state)
{
	struct ksmsim_process process;
	int64_t nr = 0, queued = 0;
	struct world w;

	(void)state;
	thp(&w, NULL, false);
	assert_int_equal(ksmsim_process_get(w.sim, w.pid, &process), 0);
	assert_int_equal(process.anon_huge, 1);
	assert_int_equal(process.rss_anon, 512);
	ksmsim_counter_get(w.sim, KSMSIM_COUNT_nr_anon_thps, &nr);
	ksmsim_counter_get(w.sim, KSMSIM_COUNT_deferred_split_queue, &queued);
	assert_int_equal(nr, 1);
	assert_int_equal(queued, 1);
	advise(&w, 7, 1, KSMSIM_MADV_DONTNEED);
	assert_int_equal(ksmsim_process_get(w.sim, w.pid, &process), 0);
	assert_int_equal(process.anon_huge, 0);
	assert_int_equal(process.rss_anon, 511);
	ksmsim_counter_get(w.sim, KSMSIM_COUNT_nr_anon_thps, &nr);
	assert_int_equal(nr, 0);
	done(&w);
}

/* ---- /proc/PID/pagemap ---- */

/*
 * The child maps page 0 by a PTE and nothing else of the THP, which the parent
 * maps by a PMD: of page 0 there are two mappings, of page 9 one.
 */
static void share_page_0(struct world *w)
{
	int64_t ret = -1;

	assert_int_equal(ksmsim_fork(w->sim, w->pid, &w->child, &ret), 0);
	assert_int_equal(ret, 0);
	assert_int_equal(ksmsim_munmap(w->sim, w->child, BASE + PAGE, 511 * PAGE, &ret), 0);
	assert_int_equal(ret, 0);
}

static void the_exclusive_bit_of_a_pmd_is_that_of_the_head(void **state)
{
	(void)state;
	for (int of_head = 0; of_head <= 1; of_head++) {
		struct ksmsim_page page;
		struct world w;

		thp(&w, "pagemap_exclusive_of_head", of_head);
		assert_int_equal(see(&w, 9).pagemap & PM_ONCE, PM_ONCE);
		share_page_0(&w);
		page = see(&w, 9);
		assert_true(page.pmd_mapped);
		assert_int_equal(page.mapcount, 1);
		assert_int_equal(see(&w, 0).mapcount, 2);
		assert_int_equal(see(&w, 0).pagemap & PM_ONCE, 0);
		assert_int_equal((page.pagemap & PM_ONCE) != 0, !of_head);
		assert_int_equal(look(&w, w.child, 0).pagemap & PM_ONCE, 0);
		assert_int_equal(page.pagemap & PM_PFN, page.pfn);
		done(&w);
	}
}

static void the_exclusive_bit_of_a_pte_is_that_of_the_page(void **state)
{
	struct world w;
	int64_t ret = -1;

	(void)state;
	thp(&w, NULL, false);
	share_page_0(&w);
	assert_int_equal(ksmsim_mprotect(w.sim, w.pid, BASE, PAGE, KSMSIM_PROT_READ, &ret), 0);
	assert_false(see(&w, 9).pmd_mapped);
	assert_int_equal(see(&w, 9).pagemap & PM_ONCE, PM_ONCE);
	assert_int_equal(see(&w, 0).pagemap & PM_ONCE, 0);
	done(&w);
}

static void the_huge_zero_folio_has_the_file_bit_of_its_feature(void **state)
{
	(void)state;
	for (int on = 0; on <= 1; on++) {
		struct ksmsim_page page;
		struct world w;

		init(&w, "huge_zero_file_bit", on);
		map_pages(&w, 512, 0, 0);
		read_page(&w, 3);
		page = see(&w, 5);
		assert_int_equal(page.state, KSMSIM_PAGE_ZERO);
		assert_true(page.huge_zero && page.pmd_mapped);
		assert_false(page.writable);
		assert_int_equal(page.order, 9);
		assert_int_equal(page.pfn, see(&w, 0).pfn + 5);
		assert_int_equal(page.pagemap,
				 PM_PRESENT | PM_SOFT | page.pfn | (on ? PM_FILE : 0));
		assert_int_equal(page.kpageflags, BIT(ZERO_PAGE) | BIT(THP) | BIT(TAIL));
		page = see(&w, 0);
		assert_int_equal(page.kpageflags, BIT(ZERO_PAGE) | BIT(THP) | BIT(HEAD));
		done(&w);
	}
}

static void a_zero_page_is_no_page_of_the_huge_zero_folio(void **state)
{
	struct ksmsim_page page;
	struct world w;

	(void)state;
	init(&w, "huge_zero_file_bit", true);
	map_pages(&w, 3, 0, 0);
	read_page(&w, 1);
	page = see(&w, 1);
	assert_int_equal(page.state, KSMSIM_PAGE_ZERO);
	assert_false(page.huge_zero || page.pmd_mapped);
	assert_int_equal(page.order, 0);
	assert_int_equal(page.pagemap, PM_PRESENT | PM_SOFT | page.pfn);
	assert_int_equal(page.kpageflags, BIT(RESERVED) | BIT(ZERO_PAGE));
	done(&w);
}

static void guards_swap_and_files_have_their_bits(void **state)
{
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_BYTE, .value = 1 };
	struct ksmsim_page page;
	uint32_t file = 0;
	int64_t ret = -1;
	struct world w;

	(void)state;
	init(&w, NULL, false);
	map_pages(&w, 8, 0, 0);
	advise(&w, 2, 1, KSMSIM_MADV_GUARD_INSTALL);
	page = see(&w, 2);
	assert_int_equal(page.state, KSMSIM_PAGE_GUARD);
	assert_int_equal(page.pagemap, PM_SWAP | PM_GUARD | PM_SOFT);
	touch(&w, 3, 1);
	assert_int_equal(ksmsim_swap_out(w.sim, w.pid, BASE + 3 * PAGE, 1, false, &ret), 0);
	assert_int_equal(ret, 1);
	page = see(&w, 3);
	assert_int_equal(page.state, KSMSIM_PAGE_SWAP);
	assert_int_equal(page.pagemap & (PM_PRESENT | PM_SWAP | PM_GUARD | PM_ONCE), PM_SWAP);
	assert_int_equal(ksmsim_file_new(w.sim, &content, &file), 0);
	map_pages(&w, 1, 0, file);
	read_page(&w, 0);
	assert_int_equal(see(&w, 0).pagemap & ~PM_PFN, PM_PRESENT | PM_FILE | PM_SOFT);
	done(&w);
}

/* ---- /proc/kpageflags ---- */

static void tails_copy_the_head_with_their_feature(void **state)
{
	(void)state;
	for (int copies = 0; copies <= 1; copies++) {
		struct ksmsim_page head, tail;
		struct world w;

		thp(&w, "kpf_tails_copy_head", copies);
		head = see(&w, 0);
		tail = see(&w, 9);
		assert_true(has(&head, HEAD) && has(&head, THP) && has(&head, LRU));
		assert_true(has(&head, EXCLUSIVE) && has(&head, SWAPBACKED));
		assert_false(has(&head, TAIL) || has(&tail, HEAD));
		assert_true(has(&tail, TAIL) && has(&tail, THP));
		assert_true(has(&tail, ANON) && has(&tail, MMAP));
		assert_int_equal(has(&tail, LRU), copies);
		assert_int_equal(has(&tail, EXCLUSIVE), copies);
		assert_int_equal(has(&tail, SWAPBACKED), copies);
		done(&w);
	}
}

static void a_fresh_thp_is_dirty_only_in_its_entry(void **state)
{
	struct ksmsim_page page;
	struct world w;

	(void)state;
	thp(&w, NULL, false);
	page = see(&w, 0);
	assert_true(page.dirty);
	assert_false(has(&page, DIRTY));
	advise(&w, 7, 1, KSMSIM_MADV_DONTNEED);
	page = see(&w, 0);
	assert_true(has(&page, DIRTY));
	done(&w);
}

static void a_page_born_of_a_split_is_no_thp(void **state)
{
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_SEEDS, .value = 1 };
	struct ksmsim_page page;
	struct world w;
	int64_t ret = -1;

	(void)state;
	thp(&w, NULL, false);
	assert_int_equal(ksmsim_fill(w.sim, w.pid, BASE, 512, &content, &ret), 0);
	assert_int_equal(ksmsim_split(w.sim, w.pid, BASE, BLOCK, 0, -1, &ret), 0);
	assert_int_equal(ret, 1);
	page = see(&w, 9);
	assert_int_equal(page.order, 0);
	assert_int_equal(page.refs, 1);
	assert_true(has(&page, DIRTY) && has(&page, LRU) && has(&page, EXCLUSIVE));
	assert_false(has(&page, THP) || has(&page, TAIL));
	done(&w);
}

static void locked_thps_and_ksm_pages_are_marked(void **state)
{
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_BYTE, .value = 1 };
	struct ksmsim_page page;
	struct world w;
	int64_t ret = -1;

	(void)state;
	thp(&w, NULL, false);
	assert_int_equal(ksmsim_mlock(w.sim, w.pid, BASE, BLOCK, &ret), 0);
	ksmsim_lru_drain(w.sim);
	page = see(&w, 0);
	assert_true(has(&page, MLOCKED));
	map_pages(&w, 4, 0, 0);
	assert_int_equal(ksmsim_fill(w.sim, w.pid, BASE, 2, &content, &ret), 0);
	advise(&w, 0, 2, KSMSIM_MADV_MERGEABLE);
	ksmsim_sysfs_write(w.sim, "ksm/run", "1", 1, &ret);
	for (int i = 0; i < 3; i++)
		ksmsim_ksmd_batch(w.sim, 100, NULL);
	page = see(&w, 1);
	assert_int_equal(page.state, KSMSIM_PAGE_KSM);
	assert_true(has(&page, KSM));
	assert_false(has(&page, EXCLUSIVE));
	assert_int_equal(page.pagemap & PM_ONCE, 0);
	done(&w);
}

static void a_pmd_split_passes_dirt_on_with_its_feature(void **state)
{
	(void)state;
	for (int on = 0; on <= 1; on++) {
		struct ksmsim_page page;
		struct world w;

		thp(&w, "split_pmd_dirty", on);
		advise(&w, 7, 1, KSMSIM_MADV_DONTNEED);
		page = see(&w, 300);
		assert_int_equal(page.dirty, on);
		assert_true(has(&page, DIRTY));
		done(&w);
	}
}

static void a_folio_stays_locked_through_a_pmd_split_with_its_feature(void **state)
{
	(void)state;
	for (int on = 0; on <= 1; on++) {
		struct ksmsim_page page;
		struct world w;
		int64_t ret = -1;

		thp(&w, "mlock_kept_on_split", on);
		assert_int_equal(ksmsim_mlock(w.sim, w.pid, BASE, BLOCK, &ret), 0);
		ksmsim_lru_drain(w.sim);
		assert_int_equal(ksmsim_mprotect(w.sim, w.pid, BASE, PAGE, KSMSIM_PROT_READ, &ret),
				 0);
		page = see(&w, 300);
		assert_false(page.pmd_mapped);
		assert_int_equal(has(&page, MLOCKED), on);
		done(&w);
	}
}

/* ---- splits asked for ---- */

static void a_split_may_stop_at_an_order(void **state)
{
	struct world w;
	int64_t ret = -1;

	(void)state;
	thp(&w, NULL, false);
	assert_int_equal(ksmsim_split(w.sim, w.pid, BASE, PAGE, 4, -1, &ret), 0);
	assert_int_equal(ret, 1);
	assert_int_equal(see(&w, 0).order, 4);
	assert_int_equal(see(&w, 511).order, 4);
	assert_int_equal(ksmsim_split(w.sim, w.pid, BASE, BLOCK, 4, -1, &ret), 0);
	assert_int_equal(ret, 0);
	done(&w);
}

static void a_split_around_a_page_leaves_larger_ones(void **state)
{
	struct world w;
	int64_t ret = -1;

	(void)state;
	thp(&w, NULL, false);
	assert_int_equal(ksmsim_split(w.sim, w.pid, BASE, PAGE, 0, 0, &ret), 0);
	assert_int_equal(ret, 1);
	assert_int_equal(see(&w, 3).order, 0);
	assert_int_equal(see(&w, 4).order, 2);
	assert_int_equal(see(&w, 8).order, 3);
	assert_int_equal(see(&w, 300).order, 8);
	/* the whole range meets every folio that is still large */
	assert_int_equal(ksmsim_split(w.sim, w.pid, BASE, BLOCK, 0, -1, &ret), 0);
	assert_int_equal(ret, 7);
	done(&w);
}

static void a_split_passes_over_what_others_hold(void **state)
{
	struct world w;
	int64_t ret = -1, failed = -1;

	(void)state;
	thp(&w, NULL, false);
	assert_int_equal(ksmsim_pin(w.sim, w.pid, BASE + 9 * PAGE, 1, KSMSIM_PIN_HELD, &ret), 0);
	assert_int_equal(ksmsim_split(w.sim, w.pid, BASE, BLOCK, 0, -1, &ret), 0);
	assert_int_equal(ret, 0);
	assert_true(see(&w, 0).pmd_mapped);
	ksmsim_counter_get(w.sim, KSMSIM_COUNT_thp_split_page_failed, &failed);
	assert_int_equal(failed, 0);
	done(&w);
}

static void a_kernel_that_cannot_split_so_says_so(void **state)
{
	struct world w;
	int64_t ret = 0;

	(void)state;
	thp(&w, "split_to_order", false);
	assert_int_equal(ksmsim_split(w.sim, w.pid, BASE, PAGE, 4, -1, &ret), 0);
	assert_int_equal(ret, -22);
	done(&w);
	thp(&w, "split_nonuniform", false);
	assert_int_equal(ksmsim_split(w.sim, w.pid, BASE, PAGE, 0, 0, &ret), 0);
	assert_int_equal(ret, -22);
	assert_int_equal(ksmsim_split(w.sim, w.pid, BASE, PAGE, 4, -1, &ret), 0);
	assert_int_equal(ret, 1);
	done(&w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_page_of_a_thp_knows_its_folio),
	cmocka_unit_test(a_small_page_is_of_order_0),
	cmocka_unit_test(the_figure_of_thps_counts_pmds),
	cmocka_unit_test(the_exclusive_bit_of_a_pmd_is_that_of_the_head),
	cmocka_unit_test(the_exclusive_bit_of_a_pte_is_that_of_the_page),
	cmocka_unit_test(the_huge_zero_folio_has_the_file_bit_of_its_feature),
	cmocka_unit_test(a_zero_page_is_no_page_of_the_huge_zero_folio),
	cmocka_unit_test(guards_swap_and_files_have_their_bits),
	cmocka_unit_test(tails_copy_the_head_with_their_feature),
	cmocka_unit_test(a_fresh_thp_is_dirty_only_in_its_entry),
	cmocka_unit_test(a_page_born_of_a_split_is_no_thp),
	cmocka_unit_test(locked_thps_and_ksm_pages_are_marked),
	cmocka_unit_test(a_pmd_split_passes_dirt_on_with_its_feature),
	cmocka_unit_test(a_folio_stays_locked_through_a_pmd_split_with_its_feature),
	cmocka_unit_test(a_split_may_stop_at_an_order),
	cmocka_unit_test(a_split_around_a_page_leaves_larger_ones),
	cmocka_unit_test(a_split_passes_over_what_others_hold),
	cmocka_unit_test(a_kernel_that_cannot_split_so_says_so),
};

TEST_MAIN(tests)
