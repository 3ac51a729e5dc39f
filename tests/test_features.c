/*
 * test_features.c - features that no scenario can see: files that exist or not,
 * lines of /proc/PID/ksm_stat, flags of mappings. Through the public door.
 *
 * Every test switches one feature both ways on every profile and expects the
 * feature, not the profile, to decide; and that only the right profiles have it.
 */
#include "test.h"

#include <string.h>

#include "ksmsim.h"

static const char *const profiles[] = { "linux-6.1", "linux-6.12", "linux-6.18", "linux-7.3" };
#define NR_PROFILES (sizeof(profiles) / sizeof(profiles[0]))

static struct ksmsim *machine(const char *profile, const char *feature, bool on)
{
	const struct ksmsim_config config = { .profile = profile };
	struct ksmsim *sim = NULL;

	assert_int_equal(ksmsim_new(&config, &sim), 0);
	if (feature)
		assert_int_equal(ksmsim_feature_set(sim, feature, on), 0);
	return sim;
}

static void look_at(struct ksmsim *sim, bool on, void (*look)(struct ksmsim *sim, bool on))
{
	look(sim, on);
	assert_int_equal(ksmsim_check(sim, NULL, 0), 0);
	ksmsim_free(sim);
}

/* @had: a 0 or 1 for each profile. */
static void for_both(const char *feature, const char *had,
		     void (*look)(struct ksmsim *sim, bool on))
{
	for (size_t i = 0; i < NR_PROFILES; i++) {
		look_at(machine(profiles[i], NULL, false), had[i] == '1', look);
		for (int on = 0; on <= 1; on++)
			look_at(machine(profiles[i], feature, on), on, look);
	}
}

static bool file_exists(struct ksmsim *sim, const char *file)
{
	char text[64];
	int64_t ret = 0;

	assert_int_equal(ksmsim_sysfs_read(sim, file, text, sizeof(text), &ret), 0);
	assert_true(ret > 0 || ret == -2); /* ENOENT */
	return ret > 0;
}

static void look_at_scan_counters(struct ksmsim *sim, bool on)
{
	assert_int_equal(file_exists(sim, "ksm/pages_scanned"), on);
	assert_int_equal(file_exists(sim, "ksm/general_profit"), on);
	assert_true(file_exists(sim, "ksm/pages_shared"));
}

static void scan_counters_exist_with_scan_counters(void **state)
{
	(void)state;
	for_both("scan_counters", "0111", look_at_scan_counters);
}

static bool stat_has(struct ksmsim *sim, const char *line)
{
	char text[512];
	int64_t ret = 0;
	uint32_t pid;

	assert_int_equal(ksmsim_spawn(sim, &pid), 0);
	assert_int_equal(ksmsim_ksm_stat(sim, pid, text, sizeof(text), &ret), 0);
	assert_int_equal(ret, (int64_t)strlen(text));
	assert_non_null(strstr(text, "ksm_rmap_items 0\n"));
	return strstr(text, line) != NULL;
}

static void look_at_stat_zero(struct ksmsim *sim, bool on)
{
	assert_int_equal(stat_has(sim, "ksm_zero_pages 0\n"), on);
	assert_int_equal(stat_has(sim, "ksm_merging_pages 0\n"), on);
	assert_int_equal(stat_has(sim, "ksm_process_profit 0\n"), on);
}

static void ksm_stat_shows_merged_pages_with_ksm_stat_zero(void **state)
{
	(void)state;
	for_both("ksm_stat_zero", "0111", look_at_stat_zero);
}

static void look_at_stat_flags(struct ksmsim *sim, bool on)
{
	assert_int_equal(stat_has(sim, "ksm_merge_any: no\n"), on);
	assert_int_equal(stat_has(sim, "ksm_mergeable: no\n"), on);
}

static void ksm_stat_shows_flags_with_ksm_stat_flags(void **state)
{
	(void)state;
	for_both("ksm_stat_flags", "0011", look_at_stat_flags);
}

static void look_at_stack(struct ksmsim *sim, bool on)
{
	const struct ksmsim_mmap req = { .length = 4096,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = KSMSIM_MAP_STACK };
	struct ksmsim_vma vma;
	int64_t ret = 0;
	uint32_t pid;

	assert_int_equal(ksmsim_spawn(sim, &pid), 0);
	assert_int_equal(ksmsim_mmap(sim, pid, &req, &ret), 0);
	assert_true(ret > 0);
	assert_int_equal(ksmsim_vma_get(sim, pid, 0, &vma), 0);
	assert_int_equal(vma.nohugepage, on);
}

static void stacks_refuse_huge_pages_with_map_stack_nohuge(void **state)
{
	(void)state;
	for_both("map_stack_nohuge", "0111", look_at_stack);
}

static uint64_t place_of(struct ksmsim *sim, uint32_t pid, uint64_t pages)
{
	const struct ksmsim_mmap req = { .length = pages * 4096,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE };
	int64_t ret = 0;

	assert_int_equal(ksmsim_mmap(sim, pid, &req, &ret), 0);
	assert_true(ret > 0);
	return (uint64_t)ret;
}

static void look_at_place(struct ksmsim *sim, bool on)
{
	uint32_t pid;

	assert_int_equal(ksmsim_spawn(sim, &pid), 0);
	place_of(sim, pid, 3);
	assert_int_equal(place_of(sim, pid, 512) % (512 * 4096) == 0, on);
}

static void whole_huge_pages_are_aligned_with_mmap_aligns_thp(void **state)
{
	(void)state;
	for_both("mmap_aligns_thp", "0111", look_at_place);
}

static void hear(void *self, const struct ksmsim_event *event)
{
	(void)event;
	++*(unsigned *)self;
}

static void look_at_events(struct ksmsim *sim, bool on)
{
	unsigned heard = 0;
	uint64_t vaddr;
	uint32_t pid;

	assert_int_equal(ksmsim_spawn(sim, &pid), 0);
	vaddr = place_of(sim, pid, 1);
	assert_int_equal(ksmsim_listen(sim, hear, &heard), 0);
	assert_int_equal(ksmsim_madvise(sim, pid, vaddr, 4096, KSMSIM_MADV_MERGEABLE, NULL), 0);
	assert_int_equal(heard, on);
}

static void registration_is_an_event_with_ksm_trace(void **state)
{
	(void)state;
	for_both("ksm_trace", "0111", look_at_events);
}

static int64_t host_bytes(struct ksmsim *sim)
{
	int64_t bytes = 0;

	assert_int_equal(ksmsim_counter_get(sim, KSMSIM_COUNT_host_bytes, &bytes), 0);
	return bytes;
}

/* Pages that differ in every word: each is counted while a process has it. */
static void host_bytes_grow_with_contents_and_shrink_again(void **state)
{
	const struct ksmsim_mmap req = { .length = 4096 * 4096,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE };
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_SEEDS, .value = 1 };
	struct ksmsim *sim = NULL;
	int64_t vaddr = 0, before, filled;
	uint32_t pid;

	(void)state;
	assert_int_equal(ksmsim_new(NULL, &sim), 0);
	assert_int_equal(ksmsim_spawn(sim, &pid), 0);
	assert_int_equal(ksmsim_mmap(sim, pid, &req, &vaddr), 0);
	before = host_bytes(sim);
	assert_int_equal(ksmsim_fill(sim, pid, (uint64_t)vaddr, 4096, &content, NULL), 0);
	filled = host_bytes(sim);
	assert_true(filled > before + 4096 * 8); /* at the very least a frame each */
	assert_int_equal(ksmsim_exit(sim, pid), 0);
	assert_true(host_bytes(sim) <= filled);
	ksmsim_free(sim);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(scan_counters_exist_with_scan_counters),
	cmocka_unit_test(ksm_stat_shows_merged_pages_with_ksm_stat_zero),
	cmocka_unit_test(ksm_stat_shows_flags_with_ksm_stat_flags),
	cmocka_unit_test(stacks_refuse_huge_pages_with_map_stack_nohuge),
	cmocka_unit_test(whole_huge_pages_are_aligned_with_mmap_aligns_thp),
	cmocka_unit_test(registration_is_an_event_with_ksm_trace),
	cmocka_unit_test(host_bytes_grow_with_contents_and_shrink_again),
};

TEST_MAIN(tests)
