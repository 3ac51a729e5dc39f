/*
 * test_cmd_doctor.c - doctor: what is printed, for people and for tools, what the
 * program ends with, and the doctor without memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "paste.h"
#include "place.h"

/* ---- memory of the doctor itself ---- */

struct scarce {
	uint64_t left, live;
};

static void *scarce_alloc(void *self, size_t size)
{
	struct scarce *scarce = self;

	if (!scarce->left)
		return NULL;
	scarce->left--;
	scarce->live++;
	return calloc(1, size);
}

static void scarce_free(void *self, void *ptr, size_t size)
{
	struct scarce *scarce = self;

	(void)size;
	scarce->live--;
	free(ptr);
}

static int read_host_of_64_gib(struct host *host, struct sim_mem *mem)
{
	FILE *in = tmpfile();
	char why[256];
	int error;

	assert_non_null(in);
	fputs(PASTE_HOST_OF_64_GIB "ksm_rmap_items 100\nksm_merging_pages 1\n", in);
	rewind(in);
	host_init(host, mem, 4096);
	error = host_text_read(host, in, "F", why, sizeof(why));
	fclose(in);
	return error;
}

static int examine_scarcely(struct scarce *scarce)
{
	const struct ksmsim_allocator allocator = { .alloc = scarce_alloc,
						    .free = scarce_free,
						    .self = scarce };
	struct sim_mem mem;
	struct host host;
	struct doctor doctor = { .mem = &mem, .now = &host };
	int error;

	sim_mem_init(&mem, &allocator);
	error = read_host_of_64_gib(&host, &mem);
	if (!error)
		error = doctor_examine(&doctor);
	doctor_free(&doctor);
	host_free(&host);
	assert_int_equal(scarce->live, 0);
	return error;
}

static void no_memory_is_an_error_and_leaks_nothing(void **state)
{
	struct scarce scarce;
	uint64_t nr;
	int error = KSMSIM_ENOMEM;

	(void)state;
	for (nr = 0; error && nr < 1000; nr++) {
		scarce = (struct scarce){ nr, 0 };
		error = examine_scarcely(&scarce);
		assert_true(!error || error == KSMSIM_ENOMEM);
	}
	assert_int_equal(error, 0);
	assert_true(nr > 10);
}

/* ---- output ---- */

static json_t *as_json(const struct doctor *doctor)
{
	FILE *out = tmpfile();
	json_t *json;

	assert_non_null(out);
	assert_true(doctor_json(doctor, "a \"paste\"", out));
	rewind(out);
	json = json_loadf(out, 0, NULL);
	fclose(out);
	assert_non_null(json);
	return json;
}

static void json_has_every_finding_with_its_figures(void **state)
{
	struct sim_mem mem;
	struct host host;
	struct doctor doctor = { .mem = &mem, .now = &host };
	json_t *json, *list, *first;

	(void)state;
	sim_mem_init(&mem, NULL);
	assert_int_equal(read_host_of_64_gib(&host, &mem), 0);
	assert_int_equal(doctor_examine(&doctor), 0);
	json = as_json(&doctor);
	list = json_object_get(json, "findings");
	assert_int_equal(json_array_size(list), doctor.nr_findings);
	first = json_array_get(list, 0);
	assert_string_equal(json_string_value(json_object_get(first, "name")), "profit_differs");
	assert_string_equal(json_string_value(json_object_get(first, "severity")), "PROBLEM");
	assert_int_equal(json_integer_value(
				 json_object_get(json_object_get(first, "figures"), "difference")),
			 336592000);
	assert_true(json_array_size(json_object_get(first, "arithmetic")) >= 5);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "counters"),
							    "pages_sharing")),
			 5259506);
	json_decref(json);
	doctor_free(&doctor);
	host_free(&host);
}

/* ---- the program ---- */

static void the_program_ends_with_1_when_it_has_something_to_say(void **state)
{
	struct place *place = *state;

	place_spill(place, "stopped", "run:0\n");
	assert_int_equal(place_run(place, "doctor - <stopped"), 1);
	place_has(place->out, "KSM of stdin\n");
	place_has(place->out, "WARNING  ksmd is stopped (run=0)");
	place_has(place->out, "0 problems, 1 warning, 0 notes\n");
	place_spill(place, "runs", "run:1\n");
	assert_int_equal(place_run(place, "doctor - <runs"), 0);
	assert_int_equal(place_run(place, "doctor --json - <runs"), 0);
	place_has(place->out, "{\"schema\":1,\"source\":\"stdin\",\"counters\":{\"run\":1}");
	assert_int_equal(place_run(place, "doctor --root /nonexistent"), 1);
	place_has(place->out, "PROBLEM  This kernel has no KSM");
}

static void the_program_reads_twice(void **state)
{
	struct place *place = *state;

	place_spill(place, "a", "run:1\nfull_scans:1\n");
	place_spill(place, "b", "run:1\nfull_scans:3\n");
	assert_int_equal(place_run(place, "doctor a --later b --interval 10s"), 0);
	place_has(place->out, "in 10.0 s: 0 visits (0 a second), 2 full scans");
}

static void wrong_arguments_end_with_2(void **state)
{
	static const char *const wrong[][2] = {
		{ "- <x", "stdin:1: 'x' is not known" },
		{ "/nonexistent", "/nonexistent cannot be read" },
		{ "a --interval 1s", "needs --later" },
		{ "--later a --interval 1s", "--later needs files" },
		{ "--interval soon", "'soon' is no time" },
		{ "--interval 0", "'0' is no time" },
		{ "--page-size 5K a", "'5K' is none of 4K" },
		{ "--root / a", "not for files" },
		{ "--jsno", "did you mean --json?" },
		{ "- <runs >/dev/full", "cannot be written" },
	};
	struct place *place = *state;
	size_t i;

	place_spill(place, "x", "x\n");
	place_spill(place, "runs", "run:1\n");
	for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		assert_int_equal(place_run(place, "doctor %s", wrong[i][0]), 2);
		place_has(place->err, wrong[i][1]);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(no_memory_is_an_error_and_leaks_nothing),
	cmocka_unit_test(json_has_every_finding_with_its_figures),
	PLACE_TEST(the_program_ends_with_1_when_it_has_something_to_say),
	PLACE_TEST(the_program_reads_twice),
	PLACE_TEST(wrong_arguments_end_with_2),
};

TEST_MAIN(tests)
