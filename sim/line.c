/*
 * line.c - cutting a line into words, and saying where in it something is wrong.
 *
 * A word ends at a blank. A character in quotes ('x', also ' ' and '#') is part
 * of its word; any other # begins a comment. Words point into the line.
 */
#include <stdio.h>
#include <string.h>

#include "run.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* A quoted character of 3 bytes that begins here? */
static bool is_quoted(const char *text, size_t left)
{
	return left >= 3 && text[0] == '\'' && text[2] == '\'';
}

size_t sim_line_end(const char *text, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++) {
		if (is_quoted(text + i, length - i))
			i += 2;
		else if (text[i] == '#')
			break;
	}
	return i;
}

bool sim_line_cut(struct sim_run *run, struct sim_line *line)
{
	size_t i = 0, start;

	line->nr = 0;
	for (;;) {
		while (i < line->length && is_blank(line->text[i]))
			i++;
		if (i == line->length)
			return true;
		for (start = i; i < line->length && !is_blank(line->text[i]); i++)
			if (is_quoted(line->text + i, line->length - i))
				i += 2;
		if (!sim_grow(&run->mem, &line->words, &line->capacity, line->nr,
			      sizeof(*line->words)))
			return false;
		line->words[line->nr++] = (struct sim_word){ line->text + start, i - start };
	}
}

int sim_refuse(struct sim_run *run, const char *at, const char *format, ...)
{
	char column[32] = "";
	va_list args;
	int length;

	if (run->status)
		return run->status;
	if (at && !run->lua)
		snprintf(column, sizeof(column), ":%zu", (size_t)(at - run->cut.text) + 1);
	length = snprintf(run->error, sizeof(run->error), "%s:%lu%s: ", run->name, run->line,
			  column);
	if (length > 0 && (size_t)length < sizeof(run->error)) {
		va_start(args, format);
		vsnprintf(run->error + length, sizeof(run->error) - (size_t)length, format, args);
		va_end(args);
	}
	run->status = SIM_EINPUT;
	return SIM_EINPUT;
}

int sim_fail(struct sim_run *run, int status)
{
	const struct sim_backend_ops *ops = run->backend->ops;
	const char *why = ops->why && status != KSMSIM_ENOMEM ? ops->why(run->backend) : "";

	return sim_fail_with(run, status, "%s", *why ? why : ksmsim_strerror(status));
}

int sim_fail_with(struct sim_run *run, int status, const char *format, ...)
{
	va_list args;
	int length = 0;

	if (run->status)
		return run->status;
	if (run->name)
		length = snprintf(run->error, sizeof(run->error), "%s:%lu: ", run->name, run->line);
	if (length >= 0 && (size_t)length < sizeof(run->error)) {
		va_start(args, format);
		vsnprintf(run->error + length, sizeof(run->error) - (size_t)length, format, args);
		va_end(args);
	}
	run->status = status;
	return status;
}
