/*
 * test_steps.c - the short cuts of the scan change nothing, nor do batches.
 *
 * The scan takes short cuts: 64 merged pages are counted at once, aged ones are
 * skipped by the word, tables with a lone page are taken in a row. So every
 * scenario here runs on two models, one of which takes every page the long way,
 * in one of two manners. In the same batches: then everything must be the same
 * after each operation, the entries read and the modelled time too. Or each batch
 * as batches of one page: then only these two may differ, because each batch
 * starts from the root.
 *
 * KSMSIM_STEPS_SEEDS=FROM..TO runs other seeds, for as long as one likes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/backend.h"
#include "sim/generate.h"
#include "test.h"

struct lines {
	json_t *list;
	uint64_t state;
};

static void add(struct lines *lines, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct lines *lines, const char *format, ...)
{
	char text[160];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	assert_int_equal(json_array_append_new(lines->list, json_string(text)), 0);
}

/* Both models show the same, or the fewest operations that differ are printed. */
static void assert_same(const json_t *operations, uint64_t seed)
{
	const bool undrained = seed % 2 == 0, single = seed % 4 >= 2;
	struct sim_lockstep_options options = { .lenient = true, .undrained = undrained };
	struct sim_lockstep l, shrunk;
	json_t *least;
	char *text;
	size_t i;

	options.side[0].check = seed % 16 == 0;
	options.side[1].backend = single ? sim_single_new : sim_plain_new;
	assert_int_equal(sim_lockstep_list(&l, &options, operations, "steps"), 0);
	if (l.nr_reports) {
		least = sim_shrink(&options, l.accepted, 3000, &shrunk);
		printf("seed %" PRIu64 "%s%s differs:\n", seed, undrained ? ", undrained," : "",
		       single ? " page by page," : "");
		for (i = 0; i < json_array_size(least); i++)
			printf("\t%s\n", json_string_value(json_array_get(least, i)));
		text = shrunk.nr_reports ? json_dumps(shrunk.reports[0].differences, 0) : NULL;
		printf("\t%s\n", text ? text : "");
		fail_msg("the long way is not the same (seed %" PRIu64 ")", seed);
	}
	sim_lockstep_free(&l);
}

/* ---- scenarios that live on whole page tables ---- */

static unsigned below(struct lines *lines, unsigned nr)
{
	return test_random_below(&lines->state, nr);
}

static const char *content(struct lines *lines, char buf[32])
{
	static const char *const forms[] = { "tag:%u",	"tag:%u",   "tag:%u", "seed:%u",
					     "tags:%u", "seeds:%u", "last:%u" };
	static const char *const zero = "zero";
	const unsigned form = below(lines, 8);

	if (form == 7)
		return zero;
	snprintf(buf, 32, forms[form], below(lines, 3));
	return buf;
}

/* A change somewhere in a region of @pages pages. */
static void disturb(struct lines *lines, unsigned process, unsigned pages)
{
	const unsigned at = below(lines, pages);
	const unsigned nr = below(lines, 3) ? 1 : 1 + below(lines, pages - at);
	char text[32];

	switch (below(lines, 10)) {
	case 9:
		add(lines, "scan %u", 3 + below(lines, 6));
		break;
	case 0:
		add(lines, "madvise P%u r+%u:%u DONTNEED", process, at, nr);
		break;
	case 1:
		add(lines, "madvise P%u r+%u:%u UNMERGEABLE", process, at, nr);
		break;
	case 2:
		add(lines, "madvise P%u r MERGEABLE", process);
		break;
	case 3:
		add(lines, "munmap P%u r+%u:%u", process, at, nr);
		break;
	case 4:
		add(lines, "poke P%u r+%u:%u 4000 1", process, at, nr);
		break;
	case 5:
		add(lines, "pin P%u r+%u get", process, at);
		break;
	case 6:
		add(lines, "unpin P%u r", process);
		break;
	default:
		add(lines, "fill P%u r+%u:%u %s", process, at, nr, content(lines, text));
		break;
	}
}

static void begin(struct lines *lines, unsigned *pages, unsigned *nr)
{
	static const unsigned sharing[] = { 2, 5, 256, 100000 };
	char text[32];
	unsigned i;

	add(lines, "ksm max_page_sharing %u", sharing[below(lines, 4)]);
	add(lines, "ksm use_zero_pages %u", below(lines, 2));
	add(lines, "ksm smart_scan %u", below(lines, 2));
	add(lines, "ksm stable_node_chains_prune_millisecs %u", below(lines, 2) ? 0 : 100000);
	*nr = 1 + below(lines, 3);
	for (i = 0; i < *nr; i++) {
		pages[i] = below(lines, 3) ? 64 + below(lines, 540) : 505 + below(lines, 16);
		add(lines, "proc P%u", i);
		add(lines, "mmap P%u r %u", i, pages[i]);
		add(lines, "madvise P%u r MERGEABLE", i);
		add(lines, "fill P%u r %s", i, content(lines, text));
	}
}

/* Scans over tables that are mostly merged, with a few changes in between. */
static json_t *dense_scenario(uint64_t seed)
{
	struct lines lines = { .list = json_array(), .state = seed };
	unsigned pages[8] = { 0 }, nr = 0, i;
	char text[32];

	begin(&lines, pages, &nr);
	for (i = 0; i < 40; i++) {
		const unsigned process = below(&lines, nr);

		if (nr < 5 && below(&lines, 16) == 0) {
			add(&lines, "fork P%u P%u", process, nr);
			pages[nr++] = pages[process];
		}
		switch (below(&lines, 6)) {
		case 0:
			add(&lines, "scan");
			break;
		case 1:
		case 2:
			add(&lines, "step %u", 1 + below(&lines, below(&lines, 2) ? 700 : 70));
			break;
		case 3:
			add(&lines, "fill P%u r %s", process, content(&lines, text));
			add(&lines, "scan 2");
			break;
		default:
			disturb(&lines, process, pages[process]);
			break;
		}
	}
	return lines.list;
}

/* ---- scenarios of page tables with one page each, or a few ---- */

#define TABLE 512u

static void sparse_change(struct lines *lines, unsigned process, unsigned tables)
{
	const unsigned at = below(lines, tables) * TABLE + below(lines, 3) * 200;
	char text[32];

	switch (below(lines, 8)) {
	case 0:
		add(lines, "madvise P%u r+%u DONTNEED", process, at);
		break;
	case 1:
		add(lines, "madvise P%u r+%u:%u UNMERGEABLE", process, at, 1 + below(lines, 400));
		break;
	case 2:
		add(lines, "madvise P%u r MERGEABLE", process);
		break;
	case 3:
		add(lines, "read P%u r+%u", process, at);
		break;
	case 4:
		add(lines, "pin P%u r+%u get", process, at);
		break;
	default:
		add(lines, "fill P%u r+%u %s", process, at, content(lines, text));
		break;
	}
}

static json_t *sparse_scenario(uint64_t seed)
{
	struct lines lines = { .list = json_array(), .state = seed };
	const unsigned tables = 3 + below(&lines, 14), nr = 1 + below(&lines, 2);
	unsigned i, process;
	char text[32];

	add(&lines, "ksm max_page_sharing %u", below(&lines, 2) ? 3 : 256);
	add(&lines, "ksm use_zero_pages %u", below(&lines, 2));
	add(&lines, "ksm smart_scan %u", below(&lines, 3) ? 1 : 0);
	for (process = 0; process < nr; process++) {
		add(&lines, "proc P%u", process);
		add(&lines, "mmap P%u r %u", process, tables * TABLE);
		add(&lines, "madvise P%u r MERGEABLE", process);
		for (i = 0; i < tables; i++)
			if (below(&lines, 5))
				add(&lines, "fill P%u r+%u %s", process, i * TABLE,
				    content(&lines, text));
	}
	for (i = 0; i < 30; i++) {
		const unsigned kind = below(&lines, 4);

		if (kind == 0)
			add(&lines, "scan %u", 1 + below(&lines, 3));
		else if (kind == 1)
			add(&lines, "step %u", 1 + below(&lines, 2 * tables));
		else
			sparse_change(&lines, below(&lines, nr), tables);
	}
	return lines.list;
}

/* ---- tests ---- */

static void range_of_seeds(uint64_t *from, uint64_t *to)
{
	const char *text = getenv("KSMSIM_STEPS_SEEDS");

	if (text)
		assert_int_equal(sscanf(text, "%" SCNu64 "..%" SCNu64, from, to), 2);
}

static void full_tables_are_scanned_as_the_long_way(void **state)
{
	uint64_t from = 1, to = 60, seed;

	(void)state;
	range_of_seeds(&from, &to);
	for (seed = from; seed <= to; seed++) {
		json_t *operations = dense_scenario(seed);

		assert_same(operations, seed);
		json_decref(operations);
	}
}

static void lone_pages_are_scanned_as_the_long_way(void **state)
{
	uint64_t from = 1, to = 40, seed;

	(void)state;
	range_of_seeds(&from, &to);
	for (seed = from; seed <= to; seed++) {
		json_t *operations = sparse_scenario(seed);

		assert_same(operations, seed);
		json_decref(operations);
	}
}

static void random_operations_are_scanned_as_the_long_way(void **state)
{
	uint64_t from = 1, to = 120, seed;

	(void)state;
	range_of_seeds(&from, &to);
	for (seed = from; seed <= to; seed++) {
		json_t *operations = sim_generate(seed, 120);

		assert_non_null(operations);
		assert_same(operations, seed);
		json_decref(operations);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_tables_are_scanned_as_the_long_way),
		cmocka_unit_test(lone_pages_are_scanned_as_the_long_way),
		cmocka_unit_test(random_operations_are_scanned_as_the_long_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
