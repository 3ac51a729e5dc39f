/*
 * outcome.c - runs a text as a scenario and keeps what came of it; see outcome.h.
 *
 * Everything that a run writes goes to temporary files, which are gone when it ends.
 */
#include "outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *text_file(const char *text, size_t length)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, length, file), length);
	rewind(file);
	return file;
}

static char *contents(FILE *file)
{
	const long length = ftell(file);
	char *text = calloc(1, (size_t)length + 1);

	assert_non_null(text);
	rewind(file);
	assert_int_equal(fread(text, 1, (size_t)length, file), (size_t)length);
	fclose(file);
	return text;
}

void outcome_run(struct outcome *out, const struct sim_options *base, bool lua, const char *text,
		 size_t length)
{
	struct sim_options options = *base;
	FILE *in = text_file(text, length), *json = tmpfile(), *echo = tmpfile(), *map = tmpfile();
	struct sim_run *run = NULL;

	memset(out, 0, sizeof(*out));
	options.json = json;
	options.echo = echo;
	options.map = map;
	out->status = sim_run_new(&options, out->error, sizeof(out->error), &run);
	if (!out->status) {
		out->status = lua ? sim_run_lua(run, in, "t.lua") : sim_run_lines(run, in, "t.ksm");
		if (!out->status)
			out->status = sim_run_end(run);
		snprintf(out->error, sizeof(out->error), "%s", sim_run_error(run));
		snprintf(out->failure, sizeof(out->failure), "%s", sim_run_failure(run));
		out->failed = sim_run_failed(run);
		out->expected = sim_run_expected(run);
		out->operations = sim_run_operations(run);
		out->result = sim_run_result(run);
		sim_run_free(run);
	}
	fclose(in);
	out->json = contents(json);
	out->echo = contents(echo);
	out->drawn = contents(map);
}

void outcome_free(struct outcome *out)
{
	free(out->json);
	free(out->echo);
	free(out->drawn);
}

static const struct sim_options plain = { .check = true };

void outcome_of(struct outcome *out, const char *text)
{
	outcome_run(out, &plain, false, text, strlen(text));
}

void outcome_holds(const char *text)
{
	struct outcome out;

	outcome_of(&out, text);
	if (out.status || out.failed)
		fail_msg("%s%s", out.error, out.failure);
	assert_true(out.expected > 0);
	outcome_free(&out);
}

void outcome_refused(const char *text, const char *words)
{
	struct outcome out;

	outcome_of(&out, text);
	assert_int_equal(out.status, SIM_EINPUT);
	if (!strstr(out.error, words))
		fail_msg("'%s' is not in '%s'", words, out.error);
	outcome_free(&out);
}

void outcome_misses(const char *text, const char *words)
{
	struct outcome out;

	outcome_of(&out, text);
	if (out.status)
		fail_msg("%s", out.error);
	assert_int_equal(out.failed, 1);
	if (!strstr(out.failure, words))
		fail_msg("'%s' is not in '%s'", words, out.failure);
	outcome_free(&out);
}
