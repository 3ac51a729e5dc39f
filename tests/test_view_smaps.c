/*
 * test_view_smaps.c - areas as /proc/PID/smaps shows them, through the public door.
 *
 * A process has a THP, some small pages and a file; each test looks at one area.
 */
#include <string.h>

#include "ksmsim.h"
#include "test.h"

#define PAGE UINT64_C(4096)
#define BASE (UINT64_C(1) << 40)
#define SMALL (BASE + 1024 * PAGE) /* so that two areas do not touch */

struct world {
	struct ksmsim *sim;
	uint32_t pid;
};

static void good(int error)
{
	if (error)
		fail_msg("%s", ksmsim_strerror(error));
}

static void set(struct world *w, const char *file, const char *text)
{
	int64_t ret = 0;

	good(ksmsim_sysfs_write(w->sim, file, text, strlen(text), &ret));
	assert_int_equal(ret, strlen(text));
}

static void map(struct world *w, uint64_t vaddr, uint64_t pages, uint32_t file)
{
	const struct ksmsim_mmap req = { .vaddr = vaddr,
					 .length = pages * PAGE,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = KSMSIM_MAP_FIXED,
					 .file = file };

	good(ksmsim_mmap(w->sim, w->pid, &req, NULL));
}

static void fill(struct world *w, uint64_t vaddr, uint64_t pages)
{
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_SEEDS, .value = 1 };
	int64_t ret = -1;

	good(ksmsim_fill(w->sim, w->pid, vaddr, pages, &content, &ret));
	assert_int_equal(ret, 0);
}

/* Area 0: a THP; area 1: @small pages. */
static void start(struct world *w, const char *profile, uint64_t small)
{
	const struct ksmsim_config config = { .profile = profile };

	good(ksmsim_new(&config, &w->sim));
	set(w, "transparent_hugepage/enabled", "always");
	good(ksmsim_spawn(w->sim, &w->pid));
	map(w, BASE, 512, 0);
	map(w, SMALL, small, 0);
	fill(w, BASE, 512);
	fill(w, SMALL, small);
}

static struct ksmsim_smaps look(struct world *w, uint32_t pid, size_t index)
{
	struct ksmsim_smaps smaps;

	good(ksmsim_smaps_get(w->sim, pid, index, &smaps));
	return smaps;
}

static void end(struct world *w)
{
	char text[256] = "";

	if (ksmsim_check(w->sim, text, sizeof(text)))
		fail_msg("%s", text);
	ksmsim_free(w->sim);
}

static const char *const profiles[] = { "linux-6.1", "linux-6.12", "linux-6.18", "linux-7.3" };

static void pages_are_told_by_who_else_maps_them(void **state)
{
	struct ksmsim_smaps s;

	(void)state;
	for (unsigned p = 0; p < 4; p++) {
		struct world w;
		uint32_t child;

		start(&w, profiles[p], 3);
		s = look(&w, w.pid, 0);
		assert_true(s.anonymous == 512 && s.private_dirty == 512 && !s.shared_dirty);
		assert_true(s.anon_huge == 1 && s.pss == 512 * PAGE && s.thp_eligible);
		good(ksmsim_fork(w.sim, w.pid, &child, NULL));
		s = look(&w, child, 0);
		assert_true(s.anonymous == 512 && s.shared_dirty == 512 && !s.private_dirty);
		assert_true(s.anon_huge == 1 && s.pss == 256 * PAGE);
		/* the child's PMD becomes PTEs, one of them to a page of its own */
		good(ksmsim_touch(w.sim, child, BASE + 7 * PAGE, 1, NULL));
		s = look(&w, child, 0);
		assert_true(s.anonymous == 512 && s.shared_dirty == 511 && s.private_dirty == 1);
		assert_true(!s.anon_huge && s.pss == 511 * PAGE / 2 + PAGE);
		s = look(&w, w.pid, 0);
		assert_true(s.shared_dirty == 511 && s.private_dirty == 1 && s.anon_huge == 1);
		/* three mappings: each page a third of it, rounded down in 4096ths of a byte */
		good(ksmsim_fork(w.sim, w.pid, &child, NULL));
		s = look(&w, child, 1);
		assert_true(s.shared_dirty == 3 && s.pss == 4095 && !s.thp_eligible);
		end(&w);
	}
}

static void lazily_freed_pages_are_clean(void **state)
{
	struct ksmsim_smaps s;
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 8);
	good(ksmsim_madvise(w.sim, w.pid, BASE, 512 * PAGE, KSMSIM_MADV_FREE, NULL));
	good(ksmsim_madvise(w.sim, w.pid, SMALL, 4 * PAGE, KSMSIM_MADV_FREE, NULL));
	good(ksmsim_lru_drain(w.sim));
	s = look(&w, w.pid, 0);
	assert_true(s.lazyfree == 512 && s.private_clean == 512 && !s.private_dirty);
	s = look(&w, w.pid, 1);
	assert_true(s.lazyfree == 4 && s.private_clean == 4 && s.private_dirty == 4);
	good(ksmsim_touch(w.sim, w.pid, SMALL, 1, NULL));
	good(ksmsim_touch(w.sim, w.pid, BASE, 1, NULL));
	s = look(&w, w.pid, 0);
	assert_true(!s.lazyfree && !s.private_clean && s.private_dirty == 512);
	s = look(&w, w.pid, 1);
	assert_true(s.lazyfree == 3 && s.private_clean == 3 && s.private_dirty == 5);
	end(&w);
}

/* A child's entries are old, and so are those of cold pages; a read makes them young again. */
static void entries_or_marks_make_pages_referenced(void **state)
{
	struct world w;
	uint32_t child;

	(void)state;
	start(&w, "linux-6.18", 6);
	assert_int_equal(look(&w, w.pid, 0).referenced, 512);
	good(ksmsim_fork(w.sim, w.pid, &child, NULL));
	assert_int_equal(look(&w, child, 0).referenced, 0);
	assert_int_equal(look(&w, child, 1).referenced, 0);
	good(ksmsim_read(w.sim, child, BASE + 9 * PAGE, 1, NULL));
	good(ksmsim_read(w.sim, child, SMALL, 2, NULL));
	assert_int_equal(look(&w, child, 0).referenced, 512);
	assert_int_equal(look(&w, child, 1).referenced, 2);
	good(ksmsim_exit(w.sim, child));
	good(ksmsim_madvise(w.sim, w.pid, SMALL, 4 * PAGE, KSMSIM_MADV_COLD, NULL));
	assert_int_equal(look(&w, w.pid, 1).referenced, 2);
	end(&w);
}

static void locked_is_the_pss_of_locked_areas(void **state)
{
	struct ksmsim_smaps s;
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 3);
	good(ksmsim_mlock(w.sim, w.pid, SMALL, 3 * PAGE, NULL));
	s = look(&w, w.pid, 0);
	assert_int_equal(s.locked, 0);
	s = look(&w, w.pid, 1);
	assert_int_equal(s.locked, 3 * PAGE);
	assert_int_equal(s.pss, 3 * PAGE);
	end(&w);
}

/* Both pages become one KSM page, which is dirty by its folio only. */
static void zero_pages_count_nowhere_and_ksm_pages_beside(void **state)
{
	struct ksmsim_smaps s;
	struct world w;
	uint32_t child;

	(void)state;
	start(&w, "linux-6.18", 6);
	fill(&w, SMALL + PAGE, 1);
	good(ksmsim_madvise(w.sim, w.pid, SMALL, 6 * PAGE, KSMSIM_MADV_DONTNEED, NULL));
	fill(&w, SMALL, 1);
	fill(&w, SMALL + PAGE, 1);
	good(ksmsim_read(w.sim, w.pid, SMALL + 4 * PAGE, 1, NULL));
	good(ksmsim_madvise(w.sim, w.pid, SMALL, 6 * PAGE, KSMSIM_MADV_MERGEABLE, NULL));
	set(&w, "ksm/run", "1");
	good(ksmsim_ksmd_batch(w.sim, 6, NULL));
	good(ksmsim_ksmd_batch(w.sim, 6, NULL));
	s = look(&w, w.pid, 1);
	assert_true(s.anonymous == 2 && s.ksm == 2 && s.shared_dirty == 2 && !s.shared_clean);
	/* a child's entries are old, but the mark of the KSM page is not */
	good(ksmsim_fork(w.sim, w.pid, &child, NULL));
	assert_int_equal(look(&w, child, 1).referenced, 2);
	assert_int_equal(s.pss, PAGE);
	end(&w);
}

static void swapped_pages_are_counted_and_guard_pages_are_not(void **state)
{
	struct ksmsim_smaps s;
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 8);
	good(ksmsim_lru_drain(w.sim));
	good(ksmsim_swap_out(w.sim, w.pid, SMALL, 2, false, NULL));
	good(ksmsim_madvise(w.sim, w.pid, SMALL + 3 * PAGE, PAGE, KSMSIM_MADV_GUARD_INSTALL, NULL));
	s = look(&w, w.pid, 1);
	assert_true(s.swap == 2 && s.anonymous == 5 && s.pss == 5 * PAGE);
	end(&w);
}

static void areas_are_eligible_by_size_and_advice(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 8);
	assert_false(look(&w, w.pid, 1).thp_eligible);
	set(&w, "transparent_hugepage/hugepages-16kB/enabled", "always");
	assert_true(look(&w, w.pid, 1).thp_eligible);
	good(ksmsim_madvise(w.sim, w.pid, BASE, 512 * PAGE, KSMSIM_MADV_NOHUGEPAGE, NULL));
	assert_false(look(&w, w.pid, 0).thp_eligible);
	end(&w);
}

static void areas_of_files_are_left_out(void **state)
{
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_SEEDS, .value = 9 };
	struct ksmsim_smaps s;
	struct world w;
	uint32_t file;

	(void)state;
	start(&w, "linux-6.18", 1);
	good(ksmsim_file_new(w.sim, &content, &file));
	map(&w, SMALL + 512 * PAGE, 4, file);
	fill(&w, SMALL + 512 * PAGE, 2);
	s = look(&w, w.pid, 2);
	assert_int_equal(s.anonymous | s.swap | s.pss | s.locked, 0);
	assert_int_equal(s.shared_clean | s.shared_dirty | s.private_clean | s.private_dirty, 0);
	assert_false(s.thp_eligible);
	assert_int_equal(ksmsim_smaps_get(w.sim, w.pid, 3, &s), KSMSIM_EARGUMENT);
	assert_int_equal(ksmsim_smaps_get(w.sim, w.pid, 0, NULL), KSMSIM_EARGUMENT);
	assert_int_equal(ksmsim_smaps_get(w.sim, w.pid + 1, 0, &s), KSMSIM_EPROCESS);
	assert_int_equal(ksmsim_smaps_get(NULL, w.pid, 0, &s), KSMSIM_EARGUMENT);
	end(&w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(pages_are_told_by_who_else_maps_them),
	cmocka_unit_test(lazily_freed_pages_are_clean),
	cmocka_unit_test(entries_or_marks_make_pages_referenced),
	cmocka_unit_test(locked_is_the_pss_of_locked_areas),
	cmocka_unit_test(zero_pages_count_nowhere_and_ksm_pages_beside),
	cmocka_unit_test(swapped_pages_are_counted_and_guard_pages_are_not),
	cmocka_unit_test(areas_are_eligible_by_size_and_advice),
	cmocka_unit_test(areas_of_files_are_left_out),
};

TEST_MAIN(tests)
