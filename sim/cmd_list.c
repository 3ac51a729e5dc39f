/*
 * cmd_list.c - ksmsim list: what there is to name.
 *
 * Every list is a table that the program itself uses, row by row.
 */
#include <string.h>

#include <jansson.h>

#include "cli.h"
#include "doctor.h"
#include "sim.h"

static const struct ksmsim_row *profiles(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_PROFILES, nr);
}

static const struct ksmsim_row *features(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_FEATURES, nr);
}

static const struct ksmsim_row *knobs(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_KNOBS, nr);
}

static const struct ksmsim_row *counters(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, nr);
}

static const struct ksmsim_row *events(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_TRACE, nr);
}

static const struct ksmsim_row *costs(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_COSTS, nr);
}

static const struct ksmsim_row *advices(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_ADVICES, nr);
}

static const struct ksmsim_row *geometries(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_GEOMETRIES, nr);
}

static const struct ksmsim_row *errors(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_ERRORS, nr);
}

static const struct ksmsim_row *allocations(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_INJECT, nr);
}

static const struct ksmsim_row *mthp(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_MTHP, nr);
}

static const struct ksmsim_row *policies(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_POLICIES, nr);
}

static const struct list {
	const char *name;
	const struct ksmsim_row *(*rows)(size_t *nr);
	const char *doc;
} lists[] = {
	{ "profiles", profiles, "kernels that the model can be" },
	{ "features", features, "behaviours that differ between kernels" },
	{ "knobs", knobs, "tunables" },
	{ "counters", counters, "figures of the machine" },
	{ "mthp", mthp, "statistics of large folios of one size" },
	{ "figures", sim_figures, "figures of a process" },
	{ "events", events, "tracepoints" },
	{ "costs", costs, "modelled times" },
	{ "advices", advices, "what madvise understands" },
	{ "operations", sim_operations, "what a scenario can do" },
	{ "policies", policies, "rules other than the kernel's" },
	{ "allocations", allocations, "what inject can make fail" },
	{ "geometries", geometries, "page-table shapes" },
	{ "findings", sim_findings, "what doctor can find" },
	{ "errors", errors, "what the library can refuse" },
};
#define NR_LISTS (sizeof(lists) / sizeof(*lists))

enum { OPTION_JSON, OPTION_HELP };

static const struct cli_option options[] = {
	[OPTION_JSON] = { "--json", NULL, "one JSON object a row" },
	[OPTION_HELP] = { "--help", NULL, "this text" },
	{ NULL, NULL, NULL },
};

static const char *list_name(const void *self, size_t i)
{
	(void)self;
	return i < NR_LISTS ? lists[i].name : NULL;
}

static const struct list *find_list(const char *name)
{
	const char *guess = sim_nearest(name, strlen(name), list_name, NULL);
	size_t i;

	for (i = 0; i < NR_LISTS; i++)
		if (!strcmp(lists[i].name, name))
			return &lists[i];
	if (guess)
		cli_error("there is no list '%s'; did you mean '%s'?", name, guess);
	else
		cli_error("there is no list '%s'; see ksmsim list", name);
	return NULL;
}

static size_t width(const struct ksmsim_row *rows, size_t nr,
		    const char *(*of)(const struct ksmsim_row *))
{
	size_t i, widest = 0;

	for (i = 0; i < nr; i++)
		if (strlen(of(&rows[i])) > widest)
			widest = strlen(of(&rows[i]));
	return widest < 40 ? widest : 40;
}

static const char *name_of(const struct ksmsim_row *row)
{
	return row->name;
}

static const char *file_of(const struct ksmsim_row *row)
{
	return row->file;
}

static const char *unit_of(const struct ksmsim_row *row)
{
	return row->unit;
}

static void print_table(const struct ksmsim_row *rows, size_t nr)
{
	const int name = (int)width(rows, nr, name_of), file = (int)width(rows, nr, file_of),
		  unit = (int)width(rows, nr, unit_of);
	size_t i;

	for (i = 0; i < nr; i++) {
		printf("%-*s  ", name, rows[i].name);
		if (file)
			printf("%-*s  ", file, rows[i].file);
		if (unit)
			printf("%-*s  ", unit, rows[i].unit);
		printf("%s\n", rows[i].doc);
	}
}

static int print_json(const struct ksmsim_row *rows, size_t nr)
{
	json_t *object;
	size_t i;
	int error = 0;

	for (i = 0; !error && i < nr; i++) {
		object = json_pack("{ssssssss}", "name", rows[i].name, "file", rows[i].file, "unit",
				   rows[i].unit, "doc", rows[i].doc);
		error = !object || json_dumpf(object, stdout, JSON_COMPACT);
		json_decref(object);
		putchar('\n');
	}
	return error ? cli_error("the list cannot be written") : 0;
}

static void print_lists(void)
{
	size_t i;

	printf("usage: ksmsim list NAME [--json]\n\n");
	for (i = 0; i < NR_LISTS; i++)
		printf("  %-12s %s\n", lists[i].name, lists[i].doc);
}

struct command {
	const struct list *list;
	bool json, help;
};

static int take_option(void *self, int option, const char *value)
{
	struct command *c = self;

	c->json |= option == OPTION_JSON;
	c->help |= option == OPTION_HELP;
	if (option != CLI_OPERAND)
		return 0;
	if (c->list)
		return cli_error("list takes one name; '%s' is a second one", value);
	c->list = find_list(value);
	return c->list ? 0 : CLI_USAGE;
}

int cmd_list(int argc, char **argv)
{
	struct command c = { .list = NULL };
	const struct ksmsim_row *rows;
	size_t nr;
	int status = cli_take(options, argc, argv, take_option, &c);

	if (status)
		return status;
	if (c.help || !c.list) {
		print_lists();
		return cli_finish(CLI_DONE);
	}
	rows = c.list->rows(&nr);
	if (c.json)
		status = print_json(rows, nr);
	else
		print_table(rows, nr);
	return status ? status : cli_finish(CLI_DONE);
}
