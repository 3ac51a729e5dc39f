/*
 * costs.c - the file form of a cost table.
 *
 * One row a line: the name of a row of include/ksmsim/costs.def and a number of
 * ns. A # begins a comment. Rows that are not there keep what they had, so a file
 * may have one row only; a row that is there twice is an error, as it is not clear
 * which one was meant.
 */
#include <stdio.h>
#include <string.h>

#include "costs.h"
#include "words.h"

#define FILE_MAX ((size_t)1 << 20)

struct place {
	const char *name;
	unsigned long line;
	char *buf;
	size_t size;
};

/* The sentence behind file and line is the caller's. */
static size_t begin_message(const struct place *at)
{
	const int length = snprintf(at->buf, at->size, "%s:%lu: ", at->name, at->line);

	return length > 0 && (size_t)length < at->size ? (size_t)length : 0;
}

static const char *row_name(const char *word)
{
	const enum ksmsim_table table = KSMSIM_TABLE_COSTS;
	const char *name;
	size_t i;

	for (i = 0; (name = sim_table_name(&table, i)) != NULL; i++)
		if (!strcmp(name, word))
			return name;
	return NULL;
}

static int unknown_row(const struct place *at, const char *word)
{
	const enum ksmsim_table table = KSMSIM_TABLE_COSTS;
	const char *guess = sim_nearest(word, strlen(word), sim_table_name, &table);
	const size_t used = begin_message(at);

	if (guess)
		snprintf(at->buf + used, at->size - used,
			 "there is no cost '%s'; did you mean '%s'?", word, guess);
	else
		snprintf(at->buf + used, at->size - used,
			 "there is no cost '%s'; see ksmsim list costs", word);
	return SIM_EINPUT;
}

static int bad_row(const struct place *at, const char *word, const char *wrong)
{
	const size_t used = begin_message(at);

	snprintf(at->buf + used, at->size - used, "'%s' %s", word, wrong);
	return SIM_EINPUT;
}

static char *next_word(char **text)
{
	char *word = *text + strspn(*text, " \t\r");
	const size_t length = strcspn(word, " \t\r");

	*text = word + length;
	if (**text)
		*(*text)++ = '\0';
	return length ? word : NULL;
}

static int take_line(struct sim_costs *costs, const struct place *at, char *line)
{
	char *word, *value, *more;
	const char *name, *wrong;
	uint64_t ns;
	size_t i;

	line[strcspn(line, "#")] = '\0';
	word = next_word(&line);
	if (!word)
		return 0;
	name = row_name(word);
	if (!name)
		return unknown_row(at, word);
	value = next_word(&line);
	if (!value)
		return bad_row(at, word, "needs a number of ns");
	wrong = sim_word_number((struct sim_word){ value, strlen(value) }, &ns);
	if (wrong)
		return bad_row(at, value, wrong);
	more = next_word(&line);
	if (more)
		return bad_row(at, more, "is one word too many; a row is a name and a number");
	for (i = 0; i < costs->nr; i++)
		if (costs->list[i].name == name)
			return bad_row(at, word, "is there twice");
	if (!sim_grow(costs->mem, &costs->list, &costs->capacity, costs->nr, sizeof(*costs->list)))
		return KSMSIM_ENOMEM;
	costs->list[costs->nr++] = (struct sim_setting){ name, value };
	return 0;
}

static int read_all(struct sim_costs *costs, FILE *in, const struct place *at)
{
	size_t length;

	costs->text = sim_alloc(costs->mem, FILE_MAX + 1);
	if (!costs->text)
		return KSMSIM_ENOMEM;
	length = fread(costs->text, 1, FILE_MAX + 1, in);
	if (ferror(in)) {
		snprintf(at->buf, at->size, "%s cannot be read", at->name);
		return SIM_EINPUT;
	}
	if (length > FILE_MAX) {
		snprintf(at->buf, at->size, "%s is no cost table: it has more than 1 MiB",
			 at->name);
		return SIM_EINPUT;
	}
	costs->text[length] = '\0';
	if (strlen(costs->text) != length) {
		snprintf(at->buf, at->size, "%s is no cost table: it is no text", at->name);
		return SIM_EINPUT;
	}
	return 0;
}

int sim_costs_read(struct sim_costs *costs, struct sim_mem *mem, FILE *in, const char *name,
		   char *buf, size_t size)
{
	struct place at = { .name = name, .buf = buf, .size = size };
	char *line, *end;
	int error;

	*costs = (struct sim_costs){ .mem = mem };
	error = read_all(costs, in, &at);
	for (line = costs->text; !error && line; line = end) {
		end = strchr(line, '\n');
		if (end)
			*end++ = '\0';
		at.line++;
		if (!sim_text_is_clean(line, strcspn(line, "\r")))
			error = bad_row(&at, "the line", "has bytes that are no text");
		else
			error = take_line(costs, &at, line);
	}
	if (error == KSMSIM_ENOMEM)
		snprintf(buf, size, "%s: no memory", name);
	return error;
}

void sim_costs_free(struct sim_costs *costs)
{
	if (!costs->mem)
		return;
	sim_free(costs->mem, costs->list);
	sim_free(costs->mem, costs->text);
}
