/*
 * test_sysfs.c - the files below /sys/kernel/mm/ksm: what each accepts, and with
 * which error it refuses the rest.
 *
 * One table: a row is a text as write(2) would pass it, a column a kind of file.
 * What could surprise: two files pass on -ERANGE, booleans look at one or two
 * characters only, one file stores the low 32 bits of what it accepted, and an
 * empty write succeeds everywhere without reaching the file.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmsim.h"
#include "test.h"

static const char *const profiles[] = { "linux-6.1", "linux-6.12", "linux-6.18", "linux-7.3" };
#define NR_PROFILES 4u

static struct ksmsim *machine(const char *profile)
{
	const struct ksmsim_config config = { .profile = profile };
	struct ksmsim *sim = NULL;

	assert_int_equal(ksmsim_new(&config, &sim), 0);
	return sim;
}

static int64_t write_text(struct ksmsim *sim, const char *file, const char *text, size_t length)
{
	int64_t ret = 0;

	assert_int_equal(ksmsim_sysfs_write(sim, file, text, length, &ret), 0);
	return ret;
}

static const char *read_text(struct ksmsim *sim, const char *file, char *buf, size_t size)
{
	int64_t ret = 0;

	assert_int_equal(ksmsim_sysfs_read(sim, file, buf, size, &ret), 0);
	if (ret >= 0)
		assert_int_equal(ret, strlen(buf));
	return ret < 0 ? NULL : buf;
}

/* ---- numbers ---- */

/* What a row says of a kind of file: the value that is stored, or an errno. */
enum { EI = -EINVAL, ER = -ERANGE };

enum column { UINT, ULONG, LOW32, ACROSS, SHARING, RUN, NR_COLUMNS };

#define U32 INT64_C(4294967295)

static const struct row {
	const char *text;
	int64_t stored[NR_COLUMNS];
} rows[] = {
	/*                UINT  ULONG LOW32 ACROSS SHARING RUN */
	{ "0", { 0, 0, 0, 0, EI, 0 } },
	{ "1", { 1, 1, 1, 1, EI, 1 } },
	{ "2", { 2, 2, 2, EI, 2, 2 } },
	{ "5", { 5, 5, 5, EI, 5, EI } },
	{ "+5", { 5, 5, 5, EI, 5, EI } },
	{ "05", { 5, 5, 5, EI, 5, EI } },
	{ "+1\n", { 1, 1, 1, 1, EI, 1 } },
	{ "5\n", { 5, 5, 5, EI, 5, EI } },
	{ "000000000000000000000000000002", { 2, 2, 2, EI, 2, 2 } },
	{ " 5", { EI, EI, EI, EI, EI, EI } },
	{ "5 ", { EI, EI, EI, EI, EI, EI } },
	{ "5\n\n", { EI, EI, EI, EI, EI, EI } },
	{ "\n5", { EI, EI, EI, EI, EI, EI } },
	{ "\n", { EI, EI, EI, EI, EI, EI } },
	{ "+", { EI, EI, EI, EI, EI, EI } },
	{ "-", { EI, EI, EI, EI, EI, EI } },
	{ "+-5", { EI, EI, EI, EI, EI, EI } },
	{ "-1", { EI, EI, EI, EI, EI, EI } },
	{ "-0", { EI, EI, EI, EI, EI, EI } },
	{ "0x10", { EI, EI, EI, EI, EI, EI } },
	{ "5a", { EI, EI, EI, EI, EI, EI } },
	{ "none", { EI, EI, EI, EI, EI, EI } },
	{ "2147483647", { 2147483647, 2147483647, 2147483647, EI, 2147483647, EI } },
	{ "2147483648", { 2147483648, 2147483648, 2147483648, EI, ER, EI } },
	{ "-2147483649", { EI, EI, EI, EI, ER, EI } },
	{ "4294967295", { U32, U32, U32, EI, ER, EI } },
	{ "4294967296", { EI, U32 + 1, 0, EI, ER, EI } },
	{ "4294967301", { EI, U32 + 6, 5, EI, ER, EI } },
	{ "9223372036854775807", { EI, INT64_MAX, U32, EI, ER, EI } },
	{ "18446744073709551616", { EI, EI, EI, ER, ER, EI } },
	{ "99999999999999999999", { EI, EI, EI, ER, ER, EI } },
	{ "99999999999999999999a", { EI, EI, EI, ER, ER, EI } },
};

static const struct number_file {
	const char *file;
	enum column column;
	int min;
	bool advisor; /* only where there is one */
} number_files[] = {
	{ "ksm/run", RUN, 0, false },
	{ "ksm/sleep_millisecs", UINT, 0, false },
	{ "ksm/pages_to_scan", UINT, 0, false },
	{ "ksm/stable_node_chains_prune_millisecs", UINT, 0, false },
	{ "ksm/merge_across_nodes", ACROSS, 0, false },
	{ "ksm/max_page_sharing", SHARING, 2, false },
	{ "ksm/advisor_max_cpu", LOW32, 0, true },
	{ "ksm/advisor_min_pages_to_scan", ULONG, 0, true },
	{ "ksm/advisor_max_pages_to_scan", ULONG, 0, true },
	{ "ksm/advisor_target_scan_time", ULONG, 1, true },
};

static void try_number(struct ksmsim *sim, const struct number_file *file, const struct row *row)
{
	const int64_t stored = row->stored[file->column];
	const bool refused = stored < file->min;
	char before[64], after[64], wanted[64];
	int64_t ret;

	assert_non_null(read_text(sim, file->file, before, sizeof(before)));
	ret = write_text(sim, file->file, row->text, strlen(row->text));
	assert_non_null(read_text(sim, file->file, after, sizeof(after)));
	snprintf(wanted, sizeof(wanted), "%" PRId64 "\n", stored);
	if (ret != (refused ? (stored < 0 ? stored : EI) : (int64_t)strlen(row->text)) ||
	    strcmp(after, refused ? before : wanted))
		fail_msg("%s: '%s' gives %" PRId64 " and leaves %s", file->file, row->text, ret,
			 after);
}

static void numbers_are_read_as_the_kernel_reads_them(void **state)
{
	(void)state;
	for (size_t p = 0; p < NR_PROFILES; p++) {
		struct ksmsim *sim = machine(profiles[p]);

		for (size_t f = 0; f < sizeof(number_files) / sizeof(*number_files); f++) {
			if (number_files[f].advisor && !p)
				continue;
			for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++)
				try_number(sim, &number_files[f], &rows[r]);
		}
		ksmsim_free(sim);
	}
}

static void the_largest_number_of_64_bits_is_accepted(void **state)
{
	struct ksmsim *sim = machine("linux-6.18");
	char text[64];

	(void)state;
	assert_int_equal(
		write_text(sim, "ksm/advisor_max_pages_to_scan", "18446744073709551615", 20), 20);
	assert_string_equal(read_text(sim, "ksm/advisor_max_pages_to_scan", text, sizeof(text)),
			    "18446744073709551615\n");
	ksmsim_free(sim);
}

/* The parsers see a string, the caller hears of all that it wrote. */
static void a_text_ends_with_its_length_or_a_nul_byte(void **state)
{
	struct ksmsim *sim = machine("linux-6.18");
	char text[64];

	(void)state;
	assert_int_equal(write_text(sim, "ksm/sleep_millisecs", "71", 1), 1);
	assert_string_equal(read_text(sim, "ksm/sleep_millisecs", text, sizeof(text)), "7\n");
	assert_int_equal(write_text(sim, "ksm/sleep_millisecs", "8\0x", 3), 3);
	assert_string_equal(read_text(sim, "ksm/sleep_millisecs", text, sizeof(text)), "8\n");
	assert_int_equal(write_text(sim, "ksm/sleep_millisecs", "\0", 1), EI);
	assert_int_equal(write_text(sim, "ksm/use_zero_pages", "\0", 1), EI);
	assert_int_equal(write_text(sim, "ksm/advisor_mode", "none\0", 5), 5);
	ksmsim_free(sim);
}

static void nothing_written_is_nothing_done(void **state)
{
	struct ksmsim *sim = machine("linux-6.18");

	(void)state;
	assert_int_equal(write_text(sim, "ksm/run", "", 0), 0);
	assert_int_equal(write_text(sim, "ksm/max_page_sharing", "", 0), 0);
	assert_int_equal(write_text(sim, "ksm/use_zero_pages", "", 0), 0);
	assert_int_equal(write_text(sim, "ksm/advisor_mode", "", 0), 0);
	assert_int_equal(write_text(sim, "ksm/pages_shared", "", 0), -EACCES);
	assert_int_equal(ksmsim_sysfs_write(sim, "ksm/run", NULL, 0, NULL), 0);
	ksmsim_free(sim);
}

/* ---- words ---- */

static const struct word {
	const char *text;
	int value; /* -1: refused; 2, 3: 0, 1 only where features say so */
} booleans[] = {
	{ "0", 0 },	 { "1", 1 },   { "0\n", 0 },  { "1\n", 1 },   { "y", 1 },   { "Y", 1 },
	{ "t", 1 },	 { "T", 1 },   { "n", 0 },    { "N", 0 },     { "f", 0 },   { "F", 0 },
	{ "yes", 1 },	 { "no", 0 },  { "true", 1 }, { "FALSE", 0 }, { "on", 1 },  { "oN", 1 },
	{ "ON\n", 1 },	 { "off", 0 }, { "oFF", 0 },  { "Of", 0 },    { "1x", 1 },  { "0x1", 0 },
	{ "10", 1 },	 { "o", -1 },  { "ox", -1 },  { "o\n", -1 },  { "\n", -1 }, { " 1", -1 },
	{ "2", -1 },	 { "-1", -1 }, { "+1", -1 },  { "x", -1 },    { "e", 3 },   { "E", 3 },
	{ "enable", 3 }, { "d", 2 },   { "D\n", 2 },
};

static void try_boolean(struct ksmsim *sim, const char *file, const struct word *word, bool enables)
{
	const int value = word->value < 2 ? word->value : enables ? word->value - 2 : -1;
	char before[16], after[16], wanted[16];
	int64_t ret;

	assert_non_null(read_text(sim, file, before, sizeof(before)));
	ret = write_text(sim, file, word->text, strlen(word->text));
	assert_non_null(read_text(sim, file, after, sizeof(after)));
	snprintf(wanted, sizeof(wanted), "%d\n", value);
	if (ret != (value < 0 ? EI : (int64_t)strlen(word->text)) ||
	    strcmp(after, value < 0 ? before : wanted))
		fail_msg("%s: '%s' gives %" PRId64 " and leaves %s", file, word->text, ret, after);
}

static void booleans_are_read_as_the_kernel_reads_them(void **state)
{
	(void)state;
	for (size_t p = 0; p < NR_PROFILES; p++) {
		struct ksmsim *sim = machine(profiles[p]);
		bool enables = false;

		assert_int_equal(ksmsim_feature_get(sim, "kstrtobool_enable", &enables), 0);
		assert_int_equal(enables, p >= 2);
		for (size_t i = 0; i < sizeof(booleans) / sizeof(*booleans); i++) {
			try_boolean(sim, "ksm/use_zero_pages", &booleans[i], enables);
			if (p)
				try_boolean(sim, "ksm/smart_scan", &booleans[i], enables);
		}
		ksmsim_free(sim);
	}
}

static void modes_are_whole_words(void **state)
{
	static const struct {
		const char *text, *shown; /* NULL: refused */
	} modes[] = {
		{ "scan-time", "none [scan-time]\n" },
		{ "none", "[none] scan-time\n" },
		{ "scan-time\n", "none [scan-time]\n" },
		{ "none\n", "[none] scan-time\n" },
		{ "none\n\n", NULL },
		{ " none", NULL },
		{ "None", NULL },
		{ "scan", NULL },
		{ "scan-times", NULL },
		{ "[none]", NULL },
		{ "0", NULL },
		{ "\n", NULL },
	};
	struct ksmsim *sim = machine("linux-7.3");
	char text[64];

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		const int64_t ret =
			write_text(sim, "ksm/advisor_mode", modes[i].text, strlen(modes[i].text));

		read_text(sim, "ksm/advisor_mode", text, sizeof(text));
		assert_int_equal(ret, modes[i].shown ? (int64_t)strlen(modes[i].text) : EI);
		assert_string_equal(text, modes[i].shown ? modes[i].shown : "[none] scan-time\n");
	}
	ksmsim_free(sim);
}

static void pages_to_scan_is_the_advisors_while_it_is_on(void **state)
{
	struct ksmsim *sim = machine("linux-6.18");
	char text[64];

	(void)state;
	write_text(sim, "ksm/pages_to_scan", "7", 1);
	write_text(sim, "ksm/advisor_mode", "scan-time", 9);
	assert_int_equal(write_text(sim, "ksm/pages_to_scan", "9", 1), EI);
	assert_string_equal(read_text(sim, "ksm/pages_to_scan", text, sizeof(text)), "500\n");
	write_text(sim, "ksm/advisor_mode", "none", 4);
	assert_string_equal(read_text(sim, "ksm/pages_to_scan", text, sizeof(text)), "100\n");
	assert_int_equal(write_text(sim, "ksm/pages_to_scan", "9", 1), 1);
	ksmsim_free(sim);
}

/* ---- which files there are ---- */

static const struct {
	const char *name;
	bool written, old; /* old: 6.1 has it, too */
} files[] = {
	{ "run", true, true },
	{ "sleep_millisecs", true, true },
	{ "pages_to_scan", true, true },
	{ "merge_across_nodes", true, true },
	{ "max_page_sharing", true, true },
	{ "use_zero_pages", true, true },
	{ "stable_node_chains_prune_millisecs", true, true },
	{ "smart_scan", true, false },
	{ "advisor_mode", true, false },
	{ "advisor_max_cpu", true, false },
	{ "advisor_min_pages_to_scan", true, false },
	{ "advisor_max_pages_to_scan", true, false },
	{ "advisor_target_scan_time", true, false },
	{ "pages_shared", false, true },
	{ "pages_sharing", false, true },
	{ "pages_unshared", false, true },
	{ "pages_volatile", false, true },
	{ "full_scans", false, true },
	{ "stable_node_chains", false, true },
	{ "stable_node_dups", false, true },
	{ "pages_skipped", false, false },
	{ "pages_scanned", false, false },
	{ "ksm_zero_pages", false, false },
	{ "general_profit", false, false },
};

static void try_file(struct ksmsim *sim, size_t i, bool exists)
{
	char file[64], text[64], again[64];
	int64_t ret;

	snprintf(file, sizeof(file), "ksm/%s", files[i].name);
	if (!exists) {
		assert_null(read_text(sim, file, text, sizeof(text)));
		assert_int_equal(write_text(sim, file, "1\n", 2), -ENOENT);
		return;
	}
	assert_non_null(read_text(sim, file, text, sizeof(text)));
	assert_int_equal(text[strlen(text) - 1], '\n');
	ret = write_text(sim, file, text, strlen(text));
	if (!files[i].written)
		assert_int_equal(ret, -EACCES);
	else if (strcmp(files[i].name, "advisor_mode"))
		assert_int_equal(ret, strlen(text));
	assert_string_equal(read_text(sim, file, again, sizeof(again)), text);
}

static void files_exist_where_the_kernel_has_them(void **state)
{
	(void)state;
	for (size_t p = 0; p < NR_PROFILES; p++) {
		struct ksmsim *sim = machine(profiles[p]);

		for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
			try_file(sim, i, p || files[i].old);
		ksmsim_free(sim);
	}
}

static void unknown_files_do_not_exist(void **state)
{
	static const char *const names[] = {
		"ksm/nothing", "ksm/",	  "ksm",    "run",   "",
		"ksm/run ",    "KSM/run", "vmstat", "model", "ksm/rmap_items",
		"ksm/cow_ksm"
	};
	struct ksmsim *sim = machine("linux-7.3");
	char text[64];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		assert_null(read_text(sim, names[i], text, sizeof(text)));
		assert_int_equal(write_text(sim, names[i], "1", 1), -ENOENT);
	}
	assert_int_equal(ksmsim_sysfs_write(sim, NULL, "1", 1, NULL), KSMSIM_EARGUMENT);
	assert_int_equal(ksmsim_sysfs_write(sim, "ksm/run", NULL, 1, NULL), KSMSIM_EARGUMENT);
	ksmsim_free(sim);
}

static void a_short_buffer_gets_a_terminated_part(void **state)
{
	struct ksmsim *sim = machine("linux-6.18");
	char text[4] = "xxx";
	int64_t ret = 0;

	(void)state;
	assert_int_equal(
		ksmsim_sysfs_read(sim, "ksm/stable_node_chains_prune_millisecs", text, 4, &ret), 0);
	assert_int_equal(ret, 5);
	assert_string_equal(text, "200");
	assert_int_equal(ksmsim_sysfs_read(sim, "ksm/run", NULL, 0, &ret), 0);
	assert_int_equal(ret, 2);
	ksmsim_free(sim);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(numbers_are_read_as_the_kernel_reads_them),
	cmocka_unit_test(the_largest_number_of_64_bits_is_accepted),
	cmocka_unit_test(a_text_ends_with_its_length_or_a_nul_byte),
	cmocka_unit_test(nothing_written_is_nothing_done),
	cmocka_unit_test(booleans_are_read_as_the_kernel_reads_them),
	cmocka_unit_test(modes_are_whole_words),
	cmocka_unit_test(pages_to_scan_is_the_advisors_while_it_is_on),
	cmocka_unit_test(files_exist_where_the_kernel_has_them),
	cmocka_unit_test(unknown_files_do_not_exist),
	cmocka_unit_test(a_short_buffer_gets_a_terminated_part),
};

TEST_MAIN(tests)
