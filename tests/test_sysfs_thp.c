/*
 * test_sysfs_thp.c - the files below /sys/kernel/mm/transparent_hugepage: what each
 * accepts, with which error it refuses the rest, and what it reads afterwards.
 *
 * A row is a write and its effect. What could surprise: limits of khugepaged are
 * below the pages of a PMD, use_zero_page passes on ERANGE, and a size has a word
 * more than `enabled` has.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ksmsim.h"
#include "test.h"

#define THP "transparent_hugepage/"

static const char *const profiles[] = { "linux-6.1", "linux-6.12", "linux-6.18", "linux-7.3" };
#define NR_PROFILES 4u

static struct ksmsim *machine(const char *profile)
{
	const struct ksmsim_config config = { .profile = profile };
	struct ksmsim *sim = NULL;

	assert_int_equal(ksmsim_new(&config, &sim), 0);
	return sim;
}

static int64_t write_file(struct ksmsim *sim, const char *file, const char *text, size_t length)
{
	char path[128];
	int64_t ret = 0;

	snprintf(path, sizeof(path), THP "%s", file);
	assert_int_equal(ksmsim_sysfs_write(sim, path, text, length, &ret), 0);
	return ret;
}

/* "": there is no such file */
static const char *read_file(struct ksmsim *sim, const char *file, char *buf, size_t size)
{
	char path[128];
	int64_t ret = 0;

	snprintf(path, sizeof(path), THP "%s", file);
	assert_int_equal(ksmsim_sysfs_read(sim, path, buf, size, &ret), 0);
	assert_int_equal(ret, *buf ? (int64_t)strlen(buf) : -ENOENT);
	return buf;
}

static void reads(struct ksmsim *sim, const char *file, const char *wanted)
{
	char text[128];

	if (strcmp(read_file(sim, file, text, sizeof(text)), wanted))
		fail_msg("%s reads %s instead of %s", file, text, wanted);
}

/* ---- writes ---- */

static const struct row {
	const char *file, *text;
	int refused;	   /* errno, or 0 */
	const char *after; /* what the file reads then */
} rows[] = {
	{ "enabled", "always", 0, "[always] madvise never\n" },
	{ "enabled", "never\n", 0, "always madvise [never]\n" },
	{ "enabled", "inherit", EINVAL, "always madvise [never]\n" },
	{ "enabled", "always\n\n", EINVAL, "always madvise [never]\n" },
	{ "enabled", "alwaysx", EINVAL, "always madvise [never]\n" },
	{ "enabled", "1", EINVAL, "always madvise [never]\n" },
	{ "enabled", "madvise", 0, "always [madvise] never\n" },
	{ "defrag", "defer", 0, "always [defer] defer+madvise madvise never\n" },
	{ "defrag", "defer+madvise\n", 0, "always defer [defer+madvise] madvise never\n" },
	{ "defrag", "defer+", EINVAL, "always defer [defer+madvise] madvise never\n" },
	{ "use_zero_page", "0", 0, "0\n" },
	{ "use_zero_page", "2", EINVAL, "0\n" },
	{ "use_zero_page", "on", EINVAL, "0\n" },
	{ "use_zero_page", "99999999999999999999", ERANGE, "0\n" },
	{ "shrink_underused", "off", 0, "0\n" },
	{ "shrink_underused", "Y", 0, "1\n" },
	{ "shrink_underused", "2", EINVAL, "1\n" },
	{ "khugepaged/defrag", "0", 0, "0\n" },
	{ "khugepaged/defrag", "99999999999999999999", ERANGE, "0\n" },
	{ "khugepaged/max_ptes_none", "0", 0, "0\n" },
	{ "khugepaged/max_ptes_none", "511", 0, "511\n" },
	{ "khugepaged/max_ptes_none", "512", EINVAL, "511\n" },
	{ "khugepaged/max_ptes_none", "99999999999999999999", EINVAL, "511\n" },
	{ "khugepaged/max_ptes_swap", "511\n", 0, "511\n" },
	{ "khugepaged/max_ptes_swap", "512", EINVAL, "511\n" },
	{ "khugepaged/max_ptes_shared", "512", EINVAL, "256\n" },
	{ "khugepaged/max_ptes_shared", "-1", EINVAL, "256\n" },
	{ "khugepaged/pages_to_scan", "0", EINVAL, "4096\n" },
	{ "khugepaged/pages_to_scan", "1", 0, "1\n" },
	{ "khugepaged/pages_to_scan", "4294967296", EINVAL, "1\n" },
	{ "khugepaged/scan_sleep_millisecs", "0", 0, "0\n" },
	{ "khugepaged/alloc_sleep_millisecs", "4294967295", 0, "4294967295\n" },
	{ "khugepaged/pages_collapsed", "0", EACCES, "0\n" },
	{ "khugepaged/full_scans", "0", EACCES, "0\n" },
	{ "hpage_pmd_size", "4096", EACCES, "2097152\n" },
	{ "hugepages-64kB/enabled", "madvise", 0, "always inherit [madvise] never\n" },
	{ "hugepages-64kB/enabled", "inherit\n", 0, "always [inherit] madvise never\n" },
	{ "hugepages-64kB/enabled", "always", 0, "[always] inherit madvise never\n" },
	{ "hugepages-64kB/enabled", "Always", EINVAL, "[always] inherit madvise never\n" },
	{ "hugepages-64kB/enabled", "never", 0, "always inherit madvise [never]\n" },
	{ "hugepages-2048kB/enabled", "never", 0, "always inherit madvise [never]\n" },
	{ "hugepages-64kB/stats/split", "0", EACCES, "0\n" },
	{ "hugepages-64kB/stats/swpout_none", "0", ENOENT, "" },
	{ "hugepages-64kB/stats", "0", ENOENT, "" },
	{ "hugepages-64kB/", "0", ENOENT, "" },
	{ "hugepages-64kBx/enabled", "always", ENOENT, "" },
	{ "hugepages-48kB/enabled", "always", ENOENT, "" },
	{ "hugepages-8kB/enabled", "always", ENOENT, "" },
	{ "hugepages-4096kB/enabled", "always", ENOENT, "" },
	{ "enable", "always", ENOENT, "" },
	{ "", "always", ENOENT, "" },
};

static void a_write_is_taken_or_refused_as_the_kernel_does(void **state)
{
	struct ksmsim *sim = machine("linux-6.18");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct row *row = &rows[i];
		const int64_t ret = write_file(sim, row->file, row->text, strlen(row->text));

		if (ret != (row->refused ? -row->refused : (int64_t)strlen(row->text)))
			fail_msg("%s: writing %s gives %" PRId64, row->file, row->text, ret);
		reads(sim, row->file, row->after);
	}
	ksmsim_free(sim);
}

static void nothing_written_is_nothing_done(void **state)
{
	struct ksmsim *sim = machine("linux-6.18");

	(void)state;
	assert_int_equal(write_file(sim, "enabled", "", 0), 0);
	assert_int_equal(write_file(sim, "hugepages-64kB/enabled", "", 0), 0);
	assert_int_equal(write_file(sim, "hugepages-64kB/stats/split", "", 0), -EACCES);
	/* a zero byte is a text, an empty one, and no word */
	assert_int_equal(write_file(sim, "hugepages-64kB/enabled", "", 1), -EINVAL);
	reads(sim, "enabled", "always [madvise] never\n");
	ksmsim_free(sim);
}

/* ---- after boot ---- */

static void only_the_size_of_a_pmd_inherits(void **state)
{
	struct ksmsim *sim = machine("linux-6.18");
	char file[64];

	(void)state;
	for (unsigned kb = 16; kb <= 2048; kb *= 2) {
		snprintf(file, sizeof(file), "hugepages-%ukB/enabled", kb);
		reads(sim, file,
		      kb == 2048 ? "always [inherit] madvise never\n"
				 : "always inherit madvise [never]\n");
	}
	ksmsim_free(sim);
}

static void limits_of_khugepaged_are_those_of_a_block_of_512(void **state)
{
	struct ksmsim *sim = machine("linux-6.18");

	(void)state;
	reads(sim, "enabled", "always [madvise] never\n");
	reads(sim, "defrag", "always defer defer+madvise [madvise] never\n");
	reads(sim, "khugepaged/max_ptes_none", "511\n");
	reads(sim, "khugepaged/max_ptes_swap", "64\n");
	reads(sim, "khugepaged/max_ptes_shared", "256\n");
	reads(sim, "khugepaged/pages_to_scan", "4096\n");
	ksmsim_free(sim);
}

/* ---- files that a kernel may lack ---- */

static bool exists(struct ksmsim *sim, const char *file)
{
	char text[128];

	return *read_file(sim, file, text, sizeof(text)) != '\0';
}

static void files_exist_with_their_features(void **state)
{
	static const struct {
		const char *feature, *file;
	} files[] = {
		{ "mthp", "hugepages-64kB/enabled" },
		{ "mthp", "hugepages-2048kB/stats/nr_anon" },
		{ "mthp_collapse", "hugepages-64kB/stats/collapse_alloc" },
		{ "underused_shrinker", "shrink_underused" },
	};

	(void)state;
	for (size_t p = 0; p < NR_PROFILES; p++) {
		for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
			struct ksmsim *sim = machine(profiles[p]);

			assert_int_equal(ksmsim_feature_set(sim, "mthp", true), 0);
			assert_int_equal(ksmsim_feature_set(sim, files[i].feature, true), 0);
			assert_true(exists(sim, files[i].file));
			assert_int_equal(ksmsim_feature_set(sim, files[i].feature, false), 0);
			assert_false(exists(sim, files[i].file));
			assert_true(exists(sim, "enabled"));
			ksmsim_free(sim);
		}
	}
}

/* ---- statistics ---- */

static void a_fault_is_counted_for_the_size_of_its_folio(void **state)
{
	struct ksmsim *sim = machine("linux-6.18");
	struct ksmsim_mmap map = { .length = 64 << 10, .prot = 3, .vaddr = UINT64_C(1) << 40 };
	int64_t ret = 0, value = 7;
	uint32_t pid = 0;

	(void)state;
	write_file(sim, "hugepages-64kB/enabled", "always", 6);
	assert_int_equal(ksmsim_spawn(sim, &pid), 0);
	assert_int_equal(ksmsim_mmap(sim, pid, &map, &ret), 0);
	assert_int_equal(ksmsim_touch(sim, pid, (uint64_t)ret, 1, &ret), 0);
	reads(sim, "hugepages-64kB/stats/anon_fault_alloc", "1\n");
	reads(sim, "hugepages-64kB/stats/nr_anon", "1\n");
	reads(sim, "hugepages-32kB/stats/anon_fault_alloc", "0\n");
	assert_int_equal(ksmsim_mthp_get(sim, KSMSIM_MTHP_nr_anon, 4, &value), 0);
	assert_int_equal(value, 1);
	assert_int_equal(ksmsim_mthp_get(sim, KSMSIM_MTHP_nr_anon, 9, NULL), 0);
	assert_int_equal(ksmsim_mthp_get(sim, KSMSIM_MTHP_nr_anon, 1, &value), KSMSIM_EARGUMENT);
	assert_int_equal(ksmsim_mthp_get(sim, KSMSIM_MTHP_nr_anon, 10, &value), KSMSIM_EARGUMENT);
	assert_int_equal(ksmsim_mthp_get(sim, KSMSIM_MTHP_NR, 4, &value), KSMSIM_EARGUMENT);
	assert_int_equal(value, 1);
	ksmsim_free(sim);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_write_is_taken_or_refused_as_the_kernel_does),
	cmocka_unit_test(nothing_written_is_nothing_done),
	cmocka_unit_test(only_the_size_of_a_pmd_inherits),
	cmocka_unit_test(limits_of_khugepaged_are_those_of_a_block_of_512),
	cmocka_unit_test(files_exist_with_their_features),
	cmocka_unit_test(a_fault_is_counted_for_the_size_of_its_folio),
};

TEST_MAIN(tests)
