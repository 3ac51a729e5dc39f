/*
 * test_capfile.c - captures: what is written is read, and a damaged file is refused.
 */
#include "test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "sim/capblock.h"

#define PAGE UINT64_C(4096)
#define PAGES_MAX 20000u

/* A capture in the making, and its bytes. */
struct draft {
	struct sim_capwriter *writer;
	char *bytes;
	size_t length;
	struct sim_capfile *file;
};

static struct draft draft_begin(const char *checksums)
{
	struct draft d = { .writer = NULL };
	char why[256];

	assert_int_equal(sim_capwriter_open("/tmp/x", why, sizeof(why), &d.writer), 0);
	sim_capwriter_meta(d.writer, SIM_CAP_META_PAGE, "4096");
	sim_capwriter_meta(d.writer, SIM_CAP_META_CHECKSUMS, checksums);
	sim_capwriter_meta(d.writer, SIM_CAP_META_ZERO_PRINT, "00000000000000010000000000000002");
	sim_capwriter_meta(d.writer, SIM_CAP_META_ZERO_CHECKSUM, "32d8bbdb");
	return d;
}

static uint32_t draft_process(struct draft *d, const char *name)
{
	const struct sim_cap_process process = {
		.pid = 7, .ppid = 1, .uid = 0, .started = 99, .name = name, .exe = "", .cgroup = "/"
	};
	uint32_t id;

	assert_int_equal(sim_capwriter_process(d->writer, &process, &id), 0);
	return id;
}

static void draft_pages(struct draft *d, uint32_t process, uint32_t round,
			const struct sim_cap_page *pages, size_t nr)
{
	const struct sim_cap_round when = { .since_ns = round * 1000u, .duration_ns = 5 };
	const struct sim_cap_figures figures = { .rss_anon = (int64_t)(nr * PAGE) };
	size_t i;

	assert_int_equal(sim_capwriter_round(d->writer, round, &when), 0);
	assert_int_equal(sim_capwriter_pages_begin(d->writer, process, round), 0);
	for (i = 0; i < nr; i++)
		assert_int_equal(sim_capwriter_page(d->writer, &pages[i]), 0);
	assert_int_equal(sim_capwriter_pages_end(d->writer), 0);
	assert_int_equal(sim_capwriter_figures(d->writer, process, round, &figures), 0);
}

static void draft_commit(struct draft *d)
{
	FILE *out = open_memstream(&d->bytes, &d->length);

	assert_int_equal(sim_capwriter_commit(d->writer, out), 0);
	fclose(out);
	sim_capwriter_free(d->writer);
	d->writer = NULL;
}

static void draft_end(struct draft *d)
{
	char why[256] = "";

	draft_commit(d);
	if (sim_capfile_open_bytes(d->bytes, d->length, "draft", why, sizeof(why), &d->file))
		fail_msg("%s", why);
}

static void draft_free(struct draft *d)
{
	sim_capwriter_free(d->writer);
	sim_capfile_close(d->file);
	free(d->bytes);
}

static void assert_same_page(const struct sim_cap_page *a, const struct sim_cap_page *b)
{
	assert_true(a->vaddr == b->vaddr);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(sim_print_compare(a->print, b->print), 0);
	assert_int_equal(a->checksum, b->checksum);
	assert_true(a->pfn == b->pfn);
	assert_int_equal(a->mapcount, b->mapcount);
	assert_int_equal(a->order, b->order);
	assert_int_equal(a->nid, b->nid);
}

static void assert_shows(struct draft *d, uint32_t process, uint32_t round, enum sim_cap_view view,
			 const struct sim_cap_page *pages, size_t nr)
{
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page;
	size_t i;

	assert_int_equal(sim_cap_cursor_open(d->file, process, round, view, &cursor), 0);
	for (i = 0; i < nr; i++) {
		assert_int_equal(sim_cap_cursor_next(cursor, &page), 1);
		assert_same_page(&page, &pages[i]);
	}
	assert_int_equal(sim_cap_cursor_next(cursor, &page), 0);
	sim_cap_cursor_close(cursor);
}

/* A page as the writer leaves it: what is not hashed has no print. */
static struct sim_cap_page random_page(uint64_t *seed, uint64_t vaddr)
{
	static const uint16_t kinds[] = { SIM_CAP_HASHED | SIM_CAP_EXCLUSIVE,
					  SIM_CAP_HASHED | SIM_CAP_KSM,
					  SIM_CAP_HASHED | SIM_CAP_ZERO | SIM_CAP_EXCLUSIVE,
					  SIM_CAP_HASHED | SIM_CAP_ZERO | SIM_CAP_ZEROPAGE,
					  SIM_CAP_SWAPPED,
					  SIM_CAP_UNREAD | SIM_CAP_MLOCKED };
	struct sim_cap_page page = { .vaddr = vaddr,
				     .flags = kinds[test_random_below(seed, 6)],
				     .nid = (uint8_t)test_random_below(seed, 2),
				     .order = (uint8_t)test_random_below(seed, 10) };

	if (page.flags & SIM_CAP_ZERO) {
		page.print = (struct sim_print){ 1, 2 };
		page.checksum = 0x32d8bbdb;
	} else if (page.flags & SIM_CAP_HASHED) {
		page.print = (struct sim_print){ test_random(seed), test_random(seed) };
		page.checksum = (uint32_t)test_random(seed);
	}
	if (!(page.flags & SIM_CAP_SWAPPED))
		page.pfn = 1 + (test_random(seed) >> (10 + test_random_below(seed, 50)));
	page.mapcount = page.flags & SIM_CAP_EXCLUSIVE ? 1 : test_random_below(seed, 1000);
	return page;
}

static size_t random_pages(uint64_t *seed, struct sim_cap_page *pages, uint32_t nr)
{
	uint64_t vpn = 1 + test_random_below(seed, 1000);
	size_t i;

	for (i = 0; i < nr; i++) {
		pages[i] = random_page(seed, vpn * PAGE);
		vpn += test_random_below(seed, 8) ? 1 : test_random(seed) >> 24;
	}
	return nr;
}

/* ---- what is written is read ---- */

static void pages_come_back_as_they_were(void **state)
{
	struct sim_cap_page *pages = calloc(PAGES_MAX, sizeof(*pages));
	uint64_t seed = 1;
	struct draft d = draft_begin("xxh64");
	const uint32_t a = draft_process(&d, "a"), b = draft_process(&d, "b");
	const size_t nr = random_pages(&seed, pages, PAGES_MAX);

	(void)state;
	draft_pages(&d, a, 0, pages, nr);
	draft_pages(&d, b, 0, pages, 1);
	draft_end(&d);
	assert_shows(&d, a, 0, SIM_CAP_PAGES, pages, nr);
	assert_shows(&d, b, 0, SIM_CAP_PAGES, pages, 1);
	assert_shows(&d, b, 0, SIM_CAP_CHANGES, pages, 1);
	draft_free(&d);
	free(pages);
}

static void later_rounds_show_every_page_again(void **state)
{
	static struct sim_cap_page pages[3][PAGES_MAX];
	size_t nr[3], round, i;
	uint64_t seed = 2;
	struct draft d = draft_begin("xxh64");
	const uint32_t id = draft_process(&d, "a");

	(void)state;
	nr[0] = random_pages(&seed, pages[0], 15000);
	for (round = 1; round < 3; round++) {
		nr[round] = 0;
		for (i = 0; i < nr[round - 1]; i++) {
			const struct sim_cap_page *before = &pages[round - 1][i];

			if (!test_random_below(&seed, 10))
				continue; /* gone */
			pages[round][nr[round]] = test_random_below(&seed, 10)
							  ? *before
							  : random_page(&seed, before->vaddr);
			nr[round]++;
		}
		/* new ones at the end */
		for (i = 0; i < 100; i++, nr[round]++)
			pages[round][nr[round]] =
				random_page(&seed, pages[round][nr[round] - 1].vaddr + PAGE);
	}
	for (round = 0; round < 3; round++)
		draft_pages(&d, id, (uint32_t)round, pages[round], nr[round]);
	draft_end(&d);
	for (round = 0; round < 3; round++)
		assert_shows(&d, id, (uint32_t)round, SIM_CAP_PAGES, pages[round], nr[round]);
	draft_free(&d);
}

static void changes_are_what_is_new_other_or_gone(void **state)
{
	const struct sim_cap_page page = {
		.vaddr = PAGE, .flags = SIM_CAP_HASHED, .print = { 5, 6 }, .checksum = 7, .pfn = 8
	};
	struct sim_cap_page before[4], after[4], changes[3];
	struct draft d = draft_begin("xxh64");
	const uint32_t id = draft_process(&d, "a");
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++) {
		before[i] = page;
		before[i].vaddr = (i + 1) * PAGE;
	}
	after[0] = before[0];
	after[1] = before[2]; /* page 1 has gone */
	after[2] = before[3];
	after[2].print.low++; /* page 3 is another */
	after[3] = page;
	after[3].vaddr = 9 * PAGE;
	changes[0] = (struct sim_cap_page){ .vaddr = 2 * PAGE, .flags = SIM_CAP_GONE };
	changes[1] = after[2];
	changes[2] = after[3];
	draft_pages(&d, id, 0, before, 4);
	draft_pages(&d, id, 1, after, 4);
	draft_pages(&d, id, 2, after, 4);
	draft_end(&d);
	assert_shows(&d, id, 1, SIM_CAP_CHANGES, changes, 3);
	assert_shows(&d, id, 2, SIM_CAP_CHANGES, NULL, 0);
	assert_shows(&d, id, 2, SIM_CAP_PAGES, after, 4);
	draft_free(&d);
}

static void derived_checksums_cost_nothing(void **state)
{
	struct sim_cap_page pages[64], wanted[64];
	struct sim_capcodec stored = { .page_shift = 12 },
			    derived = { .page_shift = 12, .derived = true };
	static uint8_t bytes[SIM_CAPBLOCK_BYTES];
	struct draft d = draft_begin("print");
	const uint32_t id = draft_process(&d, "a");
	size_t i;

	(void)state;
	for (i = 0; i < 64; i++) {
		pages[i] = (struct sim_cap_page){ .vaddr = i * PAGE,
						  .flags = SIM_CAP_HASHED,
						  .print = { i, UINT64_C(0x1234567890) + i },
						  .checksum = 1 };
		wanted[i] = pages[i];
		wanted[i].checksum = (uint32_t)pages[i].print.low;
	}
	assert_int_equal(sim_capblock_encode(&stored, pages, 64, bytes) -
				 sim_capblock_encode(&derived, pages, 64, bytes),
			 4 * 64);
	draft_pages(&d, id, 0, pages, 64);
	draft_end(&d);
	assert_shows(&d, id, 0, SIM_CAP_PAGES, wanted, 64);
	draft_free(&d);
}

static void a_page_costs_less_than_forty_bytes(void **state)
{
	struct sim_cap_page *pages = calloc(PAGES_MAX, sizeof(*pages));
	uint64_t seed = 3;
	struct draft d = draft_begin("xxh64");
	const uint32_t id = draft_process(&d, "a");
	size_t i;

	(void)state;
	/* The worst that is not made up: every frame from somewhere else, half of them merged. */
	for (i = 0; i < PAGES_MAX; i++)
		pages[i] = (struct sim_cap_page){
			.vaddr = i * PAGE,
			.flags = SIM_CAP_HASHED |
				 (test_random_below(&seed, 2) ? SIM_CAP_KSM : SIM_CAP_EXCLUSIVE),
			.mapcount = 1,
			.print = { test_random(&seed), test_random(&seed) },
			.checksum = (uint32_t)test_random(&seed),
			.pfn = 1 + test_random_below(&seed, 1u << 28),
		};
	draft_pages(&d, id, 0, pages, PAGES_MAX);
	draft_end(&d);
	assert_in_range(d.length / PAGES_MAX, 20, 39);
	draft_free(&d);
	free(pages);
}

static void vmas_keep_their_row_while_they_stay_the_same(void **state)
{
	const struct sim_cap_vma first[] = {
		{ .start = 4096, .end = 8192, .flags_text = "rd wr mg", .name = "[heap]" },
		{ .start = 8192, .end = 16384, .flags_text = "rd", .name = "" },
	};
	const struct sim_cap_vma second[] = {
		{ .start = 4096, .end = 8192, .flags_text = "rd wr mg", .name = "[heap]" },
		{ .start = 8192, .end = 20480, .flags_text = "rd", .name = "" },
	};
	struct draft d = draft_begin("xxh64");
	const uint32_t id = draft_process(&d, "a");
	struct sim_cap_vma *vmas;
	sqlite3 *db = NULL;
	sqlite3_stmt *count = NULL;
	size_t nr;

	(void)state;
	sim_capwriter_vmas(d.writer, id, 0, first, 2);
	draft_pages(&d, id, 0, NULL, 0);
	sim_capwriter_vmas(d.writer, id, 1, second, 2);
	draft_pages(&d, id, 1, NULL, 0);
	draft_end(&d);
	assert_int_equal(sim_capfile_vmas(d.file, id, 0, &vmas, &nr), 0);
	assert_int_equal(nr, 2);
	assert_int_equal(vmas[0].flags,
			 SIM_CAP_VMA_READ | SIM_CAP_VMA_WRITE | SIM_CAP_VMA_MERGEABLE);
	assert_string_equal(vmas[0].name, "[heap]");
	assert_int_equal(vmas[1].end, 16384);
	free(vmas);
	assert_int_equal(sim_capfile_vmas(d.file, id, 1, &vmas, &nr), 0);
	assert_int_equal(nr, 2);
	assert_int_equal(vmas[1].end, 20480);
	free(vmas);
	sqlite3_open(":memory:", &db);
	sqlite3_deserialize(db, "main", (unsigned char *)d.bytes, (sqlite3_int64)d.length,
			    (sqlite3_int64)d.length, SQLITE_DESERIALIZE_READONLY);
	sqlite3_prepare_v2(db, "SELECT count(*) FROM vma", -1, &count, NULL);
	assert_int_equal(sqlite3_step(count), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int(count, 0), 3);
	sqlite3_finalize(count);
	sqlite3_close(db);
	draft_free(&d);
}

static void a_process_that_left_has_no_figures(void **state)
{
	const struct sim_cap_page page = { .vaddr = PAGE, .flags = SIM_CAP_SWAPPED };
	struct draft d = draft_begin("xxh64");
	const uint32_t stays = draft_process(&d, "stays"), leaves = draft_process(&d, "leaves");
	const uint32_t comes = draft_process(&d, "comes");
	struct sim_cap_cursor *cursor;

	(void)state;
	draft_pages(&d, stays, 0, &page, 1);
	draft_pages(&d, leaves, 0, &page, 1);
	draft_pages(&d, stays, 1, &page, 1);
	draft_pages(&d, comes, 1, &page, 1);
	draft_end(&d);
	assert_int_equal(sim_capfile_nr_processes(d.file), 3);
	assert_string_equal(sim_capfile_process(d.file, leaves)->name, "leaves");
	assert_non_null(sim_capfile_figures(d.file, stays, 1));
	assert_null(sim_capfile_figures(d.file, leaves, 1));
	assert_null(sim_capfile_figures(d.file, comes, 0));
	assert_shows(&d, leaves, 1, SIM_CAP_PAGES, &page, 1);
	assert_int_equal(sim_cap_cursor_open(d.file, comes, 0, SIM_CAP_PAGES, &cursor), SIM_EINPUT);
	draft_free(&d);
}

static void control_characters_do_not_get_in(void **state)
{
	struct draft d = draft_begin("xxh64");

	(void)state;
	draft_process(&d, "a\033[2J\n\xff");
	draft_pages(&d, 0, 0, NULL, 0);
	draft_end(&d);
	assert_string_equal(sim_capfile_process(d.file, 0)->name, "a?[2J??");
	draft_free(&d);
}

/* ---- what is refused ---- */

static void pages_out_of_order_are_refused(void **state)
{
	const struct sim_cap_page page = { .vaddr = PAGE, .flags = SIM_CAP_SWAPPED };
	const struct sim_cap_round round = { 0, 0 };
	struct draft d = draft_begin("xxh64");
	const uint32_t id = draft_process(&d, "a");

	(void)state;
	sim_capwriter_round(d.writer, 0, &round);
	sim_capwriter_pages_begin(d.writer, id, 0);
	assert_int_equal(sim_capwriter_page(d.writer, &page), 0);
	assert_int_equal(sim_capwriter_page(d.writer, &page), SIM_EOUTPUT);
	assert_non_null(strstr(sim_capwriter_error(d.writer), "out of order"));
	draft_free(&d);
}

static void refused(const void *bytes, size_t length, const char *word)
{
	struct sim_capfile *file = NULL;
	char why[512] = "";
	int error = sim_capfile_open_bytes(bytes, length, "draft", why, sizeof(why), &file);
	struct sim_cap_cursor *cursor = NULL;
	struct sim_cap_page page;

	if (!error)
		error = sim_cap_cursor_open(file, 0, 0, SIM_CAP_PAGES, &cursor);
	while (!error && (error = sim_cap_cursor_next(cursor, &page)) == 1)
		error = 0;
	assert_int_equal(error, SIM_EINPUT);
	if (file)
		snprintf(why, sizeof(why), "%s", sim_capfile_error(file));
	if (!strstr(why, word))
		fail_msg("'%s' does not have '%s'", why, word);
	sim_cap_cursor_close(cursor);
	sim_capfile_close(file);
}

static struct draft small_draft(void)
{
	const struct sim_cap_page page = { .vaddr = PAGE, .flags = SIM_CAP_SWAPPED };
	struct draft d = draft_begin("xxh64");

	draft_process(&d, "a");
	draft_pages(&d, 0, 0, &page, 1);
	return d;
}

/* The draft with one statement of SQL more. */
static void refused_after(const char *sql, const char *word)
{
	struct draft d = small_draft();
	sqlite3 *db = NULL;
	sqlite3_int64 length;
	unsigned char *image, *changed;

	draft_commit(&d);
	image = sqlite3_malloc64(d.length);
	memcpy(image, d.bytes, d.length);
	sqlite3_open(":memory:", &db);
	sqlite3_deserialize(db, "main", image, (sqlite3_int64)d.length, (sqlite3_int64)d.length,
			    SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	changed = sqlite3_serialize(db, "main", &length, 0);
	sqlite3_close(db);
	refused(changed, (size_t)length, word);
	sqlite3_free(changed);
	draft_free(&d);
}

static void files_of_others_are_refused(void **state)
{
	(void)state;
	refused("", 0, "does not begin with");
	refused("this is no database at all, is it?", 34, "does not begin with");
	refused("SQLite format 3", 16, "cut off");
	refused_after("PRAGMA user_version = 2", "version 2");
	refused_after("PRAGMA application_id = 1", "application_id");
	refused_after("CREATE TABLE extra(x)", "schema");
	refused_after("DROP TABLE trouble", "schema");
	refused_after("CREATE TRIGGER zz AFTER INSERT ON meta BEGIN SELECT 1; END", "schema");
	refused_after("DROP TABLE vma; CREATE VIEW vma AS SELECT 1", "schema");
}

static void damaged_rows_are_refused(void **state)
{
	(void)state;
	refused_after("UPDATE meta SET value = '8192' WHERE key = 'page_bytes'", "page_bytes");
	refused_after("DELETE FROM meta WHERE key = 'page_bytes'", "page size");
	refused_after("UPDATE meta SET value = 'md5' WHERE key = 'checksums'", "xxh64 or print");
	refused_after("UPDATE meta SET value = 'xy' WHERE key = 'zero_print'", "32 hexadecimal");
	refused_after("UPDATE process SET name = 77", "string");
	refused_after("UPDATE process SET id = 5", "not numbered");
	refused_after("DELETE FROM round", "round that does not exist");
	refused_after("DELETE FROM figure; DELETE FROM round", "no rounds");
	refused_after("UPDATE figure SET process = 3", "does not exist");
	refused_after("UPDATE block SET nr = 0", "between 1 and 4096");
	refused_after("UPDATE block SET nr = 1 << 40", "between 1 and 4096");
	refused_after("UPDATE block SET nr = 2", "in the middle");
	refused_after("UPDATE block SET data = x''", "empty");
	refused_after("UPDATE block SET data = data || x'00'", "left over");
	refused_after("UPDATE block SET data = substr(data, 1, 1)", "in the middle");
	refused_after("UPDATE block SET first = -1", "address is too large");
	refused_after("INSERT INTO block SELECT process, round, first - 1, 2, x'02' || "
		      "substr(data, 2, 1) || x'02' FROM block",
		      "before the end of the one before");
}

static void every_cut_is_refused(void **state)
{
	struct draft d = small_draft();
	char path[] = "/tmp/ksmsim-cut-XXXXXX", why[512];
	struct sim_capfile *file;
	size_t length;
	int fd;

	(void)state;
	draft_commit(&d);
	fd = mkstemp(path);
	for (length = d.length - 512; length < d.length; length -= 512) {
		assert_int_equal(pwrite(fd, d.bytes, length, 0), (ssize_t)length);
		assert_int_equal(ftruncate(fd, (off_t)length), 0);
		file = NULL;
		assert_int_equal(sim_capfile_open(path, why, sizeof(why), &file), SIM_EINPUT);
		assert_non_null(strstr(why, path));
	}
	close(fd);
	unlink(path);
	draft_free(&d);
}

static void files_that_are_not_there_are_refused(void **state)
{
	struct sim_capfile *file;
	char why[512];

	(void)state;
	assert_int_equal(sim_capfile_open("/nowhere/x", why, sizeof(why), &file), SIM_EINPUT);
	assert_non_null(strstr(why, "No such file"));
	assert_int_equal(sim_capfile_open("/tmp", why, sizeof(why), &file), SIM_EINPUT);
	assert_non_null(strstr(why, "directory"));
}

static void strange_names_can_be_opened(void **state)
{
	static const char path[] = "/tmp/ksmsim #?%41&x=1.ksmcap";
	struct draft d = small_draft();
	struct sim_capfile *file;
	char why[512] = "";
	FILE *out;

	(void)state;
	draft_commit(&d);
	out = fopen(path, "w");
	fwrite(d.bytes, 1, d.length, out);
	fclose(out);
	if (sim_capfile_open(path, why, sizeof(why), &file))
		fail_msg("%s", why);
	assert_true(sim_capfile_is(file, SIM_CAP_META_CHECKSUMS, "xxh64"));
	sim_capfile_close(file);
	unlink(path);
	draft_free(&d);
}

static unsigned files_in(const char *path)
{
	DIR *dir = opendir(path);
	unsigned nr = 0;

	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr - 2;
}

static void nothing_is_left_behind(void **state)
{
	char dir[] = "/tmp/ksmsim-dir-XXXXXX", near[64], why[256];
	struct sim_capwriter *writer;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(near, sizeof(near), "%s/x", dir);
	assert_int_equal(sim_capwriter_open(near, why, sizeof(why), &writer), 0);
	assert_int_equal(files_in(dir), 0);
	sim_capwriter_meta(writer, SIM_CAP_META_PAGE, "4096");
	sim_capwriter_free(writer);
	assert_int_equal(files_in(dir), 0);
	rmdir(dir);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(pages_come_back_as_they_were),
	cmocka_unit_test(later_rounds_show_every_page_again),
	cmocka_unit_test(changes_are_what_is_new_other_or_gone),
	cmocka_unit_test(derived_checksums_cost_nothing),
	cmocka_unit_test(a_page_costs_less_than_forty_bytes),
	cmocka_unit_test(vmas_keep_their_row_while_they_stay_the_same),
	cmocka_unit_test(a_process_that_left_has_no_figures),
	cmocka_unit_test(control_characters_do_not_get_in),
	cmocka_unit_test(pages_out_of_order_are_refused),
	cmocka_unit_test(files_of_others_are_refused),
	cmocka_unit_test(damaged_rows_are_refused),
	cmocka_unit_test(every_cut_is_refused),
	cmocka_unit_test(files_that_are_not_there_are_refused),
	cmocka_unit_test(strange_names_can_be_opened),
	cmocka_unit_test(nothing_is_left_behind),
};

TEST_MAIN(tests)
