/*
 * test_cmd_estimate.c - the command: what it reads, prints and refuses.
 */
#include "place.h"

#include <string.h>

#include <jansson.h>

/* Two processes: three pages that are equal, one that is not. */
static void spill_list(const struct place *place)
{
	place_spill(place, "list.csv",
		    "process,address,hash\n"
		    "a,0x1000,00000000000000aa\na,0x2000,00000000000000aa\n"
		    "b,0x1000,00000000000000aa\nb,0x2000,00000000000000bb\n");
}

static void a_list_of_hashes_is_a_source(void **state)
{
	struct place *place = *state;

	spill_list(place);
	assert_int_equal(place_run(place, "estimate list.csv --matrix"), 0);
	place_has(place->out, "2 processes, 4 resident anonymous pages");
	place_has(place->out, "3 pages share 1 frames");
	place_has(place->out, "One round only, so memory is taken not to change");
	place_has(place->out, "modelled");
	place_has(place->out, "use_zero_pages=1");
	place_has(place->out, "Matrix");
	assert_string_equal(place->err, "");
}

static void json_has_the_same_sums(void **state)
{
	struct place *place = *state;
	const json_t *first, *end;
	json_t *all;

	spill_list(place);
	assert_int_equal(place_run(place, "estimate list.csv --json --try pages_to_scan=1"), 0);
	all = json_loads(place->out, 0, NULL);
	assert_non_null(all);
	first = json_array_get(json_object_get(all, "cases"), 0);
	end = json_object_get(json_object_get(first, "samples"), "end");
	assert_int_equal(json_integer_value(json_object_get(end, "saved_bytes")), 2 * 4096);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(end, "counters"),
							    "pages_sharing")),
			 2);
	assert_int_equal(json_array_size(json_object_get(all, "processes")), 2);
	json_decref(all);
}

static void what_is_wrong_is_told(void **state)
{
	static const struct {
		const char *arguments, *words;
	} cases[] = {
		{ "", "needs a capture or --pid" },
		{ "no-such-file", "no-such-file" },
		{ "rubbish.sqlite", "rubbish.sqlite" },
		{ "list.csv --knob no_such_knob=1", "no_such_knob" },
		{ "list.csv --knob pages_to_scan=many", "pages_to_scan" },
		{ "list.csv --profile linux-2.4", "linux-2.4" },
		{ "list.csv --feature none=1", "none" },
		{ "list.csv --assume 77", "77" },
		{ "list.csv --assume some", "some" },
		{ "list.csv --try pages_to_scan", "pages_to_scan" },
		{ "list.csv --rounds 0", "--rounds" },
		{ "--pid 0", "no process id" },
		{ "--frobnicate", "--frobnicate" },
	};
	struct place *place = *state;
	size_t i;

	spill_list(place);
	place_spill(place, "rubbish.sqlite",
		    "SQLite format 3 and then nothing that one could read");
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(place_run(place, "estimate %s", cases[i].arguments), 2);
		place_has(place->err, cases[i].words);
		assert_string_equal(place->out, "");
	}
}

static const struct CMUnitTest tests[] = {
	PLACE_TEST(a_list_of_hashes_is_a_source),
	PLACE_TEST(json_has_the_same_sums),
	PLACE_TEST(what_is_wrong_is_told),
};

PLACE_MAIN(tests)
