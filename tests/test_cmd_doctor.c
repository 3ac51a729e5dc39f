/*
 * test_cmd_doctor.c - doctor: what is printed, for people and for tools, what the
 * program ends with, and the doctor without memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <jansson.h>

#include "test.h"

#include "sim/doctor.h"

static const char host_of_64_gib[] = "/sys/kernel/mm/ksm/full_scans:560\n"
				     "/sys/kernel/mm/ksm/general_profit:20620539008\n"
				     "/sys/kernel/mm/ksm/max_page_sharing:256\n"
				     "/sys/kernel/mm/ksm/pages_shared:125446\n"
				     "/sys/kernel/mm/ksm/pages_sharing:5259506\n"
				     "/sys/kernel/mm/ksm/pages_unshared:1897537\n"
				     "/sys/kernel/mm/ksm/pages_volatile:12389223\n"
				     "/sys/kernel/mm/ksm/stable_node_chains:176\n"
				     "/sys/kernel/mm/ksm/stable_node_dups:2604\n"
				     "/sys/kernel/mm/ksm/ksm_zero_pages:0\n";

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
	fprintf(in, "%sksm_rmap_items 100\nksm_merging_pages 1\n", host_of_64_gib);
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

static int shell(const char *arguments, char *out, size_t size)
{
	const char *path = getenv("KSMSIM_CLI");
	char command[1024];
	FILE *pipe;
	size_t length;
	int status;

	snprintf(command, sizeof(command), arguments, path ? path : KSMSIM_CLI);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	length = fread(out, 1, size - 1, pipe);
	out[length] = '\0';
	status = pclose(pipe);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void has(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("'%s' is not in '%s'", words, text);
}

static void the_program_ends_with_1_when_it_has_something_to_say(void **state)
{
	char text[16384];

	(void)state;
	assert_int_equal(shell("printf 'run:0\\n' | '%s' doctor - 2>&1", text, sizeof(text)), 1);
	has(text, "KSM of stdin\n");
	has(text, "WARNING  ksmd is stopped (run=0)");
	has(text, "0 problems, 1 warning, 0 notes\n");
	assert_int_equal(shell("printf 'run:1\\n' | '%s' doctor - 2>&1", text, sizeof(text)), 0);
	assert_int_equal(shell("printf 'run:1\\n' | '%s' doctor --json - 2>&1", text, sizeof(text)),
			 0);
	has(text, "{\"schema\":1,\"source\":\"stdin\",\"counters\":{\"run\":1}");
	assert_int_equal(shell("'%s' doctor --root /nonexistent 2>&1", text, sizeof(text)), 1);
	has(text, "PROBLEM  This kernel has no KSM");
}

static void the_program_reads_twice(void **state)
{
	static const char script[] =
		"d=$(mktemp -d); printf 'run:1\\nfull_scans:1\\n' >$d/a; "
		"printf 'run:1\\nfull_scans:3\\n' >$d/b; '%s' doctor $d/a --later "
		"$d/b --interval 10s 2>&1; e=$?; rm -r $d; exit $e";
	char text[16384];

	(void)state;
	assert_int_equal(shell(script, text, sizeof(text)), 0);
	has(text, "in 10.0 s: 0 visits (0 a second), 2 full scans");
}

static void wrong_arguments_end_with_2(void **state)
{
	static const char *const wrong[][2] = {
		{ "printf 'x\\n' | '%s' doctor - 2>&1", "stdin:1: 'x' is not known" },
		{ "'%s' doctor /nonexistent 2>&1", "/nonexistent cannot be read" },
		{ "'%s' doctor a --interval 1s 2>&1", "needs --later" },
		{ "'%s' doctor --later a --interval 1s 2>&1", "--later needs files" },
		{ "'%s' doctor --interval soon 2>&1", "'soon' is no time" },
		{ "'%s' doctor --interval 0 2>&1", "'0' is no time" },
		{ "'%s' doctor --page-size 5K a 2>&1", "'5K' is none of 4K" },
		{ "'%s' doctor --root / a 2>&1", "not for files" },
		{ "'%s' doctor --jsno 2>&1", "did you mean --json?" },
		{ "printf 'run:1\\n' | '%s' doctor - 2>&1 >/dev/full", "cannot be written" },
	};
	char text[16384];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		assert_int_equal(shell(wrong[i][0], text, sizeof(text)), 2);
		has(text, wrong[i][1]);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(no_memory_is_an_error_and_leaks_nothing),
	cmocka_unit_test(json_has_every_finding_with_its_figures),
	cmocka_unit_test(the_program_ends_with_1_when_it_has_something_to_say),
	cmocka_unit_test(the_program_reads_twice),
	cmocka_unit_test(wrong_arguments_end_with_2),
};

TEST_MAIN(tests)
