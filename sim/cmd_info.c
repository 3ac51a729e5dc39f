/*
 * cmd_info.c - ksmsim info: what is in a capture.
 *
 * Reads every page of every round, so it also tells whether the file is whole.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <jansson.h>

#include "capfile.h"
#include "cli.h"
#include "human.h"

enum { OPTION_JSON, OPTION_META, OPTION_HELP };

static const struct cli_option options[] = {
	[OPTION_JSON] = { "--json", NULL, "as JSON: an object for each file" },
	[OPTION_META] = { "--meta", NULL, "the files of /sys/kernel/mm as they were, too" },
	[OPTION_HELP] = { "--help", NULL, "this text" },
	{ NULL, NULL, NULL },
};

/* Sums of pages: COUNT(name, condition on the page p, what it is). */
#define COUNTS(COUNT)                                                                          \
	COUNT(pages, true, "resident or in swap")                                              \
	COUNT(hashed, p->flags &SIM_CAP_HASHED, "with a fingerprint")                          \
	COUNT(zero, p->flags &SIM_CAP_ZERO && !(p->flags & SIM_CAP_ZEROPAGE), "full of zeros") \
	COUNT(zero_page, p->flags &SIM_CAP_ZEROPAGE, "mappings of the zero page")              \
	COUNT(ksm, p->flags &SIM_CAP_KSM, "KSM pages")                                         \
	COUNT(huge, p->order > 0, "in large folios")                                           \
	COUNT(pmd, p->flags &SIM_CAP_PMD, "mapped by PMD entries")                             \
	COUNT(shared, p->mapcount > 1, "mapped more than once")                                \
	COUNT(swapped, p->flags &SIM_CAP_SWAPPED, "in swap")                                   \
	COUNT(locked, p->flags &SIM_CAP_MLOCKED, "locked")                                     \
	COUNT(lazyfree, p->flags &SIM_CAP_LAZYFREE, "lazily freed")                            \
	COUNT(tagged, p->flags &SIM_CAP_TAGGED, "with memory tags")                            \
	COUNT(unread, p->flags &SIM_CAP_UNREAD, "not readable")                                \
	COUNT(moved, p->flags &SIM_CAP_MOVED, "changed while they were read")

struct counts {
#define COUNT(name, condition, doc) int64_t name;
	COUNTS(COUNT)
#undef COUNT
};

struct round_counts {
	struct counts sums;
	int64_t processes;
	int64_t changed, gone; /* since the round before */
};

struct command {
	const char **files;
	size_t nr_files;
	bool json, meta, help;
	/* of the file at hand */
	struct sim_capfile *file;
	int64_t bytes;
	struct counts *processes; /* in the last round that each was read in */
	uint32_t *last_round;	  /* of each; UINT32_MAX: never read */
	struct round_counts *rounds;
};

/* ---- counting ---- */

static void count(struct counts *c, const struct sim_cap_page *p)
{
#define COUNT(name, condition, doc) c->name += (condition) ? 1 : 0;
	COUNTS(COUNT)
#undef COUNT
}

static void add_counts(struct counts *sum, const struct counts *c)
{
#define COUNT(name, condition, doc) sum->name += c->name;
	COUNTS(COUNT)
#undef COUNT
}

/* 0 or an error of the file */
static int count_pages(struct command *c, uint32_t process, uint32_t round)
{
	struct counts counts = { .pages = 0 };
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page;
	int error = sim_cap_cursor_open(c->file, process, round, SIM_CAP_PAGES, &cursor);

	while (!error && (error = sim_cap_cursor_next(cursor, &page)) == 1) {
		count(&counts, &page);
		error = 0;
	}
	sim_cap_cursor_close(cursor);
	c->processes[process] = counts;
	c->rounds[round].processes++;
	add_counts(&c->rounds[round].sums, &counts);
	return error;
}

static int count_changes(struct command *c, uint32_t process, uint32_t round)
{
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page;
	int error = sim_cap_cursor_open(c->file, process, round, SIM_CAP_CHANGES, &cursor);

	while (!error && (error = sim_cap_cursor_next(cursor, &page)) == 1) {
		c->rounds[round].gone += page.flags & SIM_CAP_GONE ? 1 : 0;
		c->rounds[round].changed += page.flags & SIM_CAP_GONE ? 0 : 1;
		error = 0;
	}
	sim_cap_cursor_close(cursor);
	return error;
}

static int count_file(struct command *c)
{
	const uint32_t processes = sim_capfile_nr_processes(c->file);
	const uint32_t rounds = sim_capfile_nr_rounds(c->file);
	uint32_t process, round;
	int error = 0;

	for (process = 0; process < processes; process++) {
		c->last_round[process] = UINT32_MAX;
		for (round = 0; !error && round < rounds; round++) {
			if (!sim_capfile_figures(c->file, process, round))
				continue;
			c->last_round[process] = round;
			error = count_pages(c, process, round);
			if (!error && round)
				error = count_changes(c, process, round);
		}
	}
	return error ? cli_error("%s", sim_capfile_error(c->file)) : 0;
}

/* ---- as a table ---- */

static const char *meta(const struct command *c, const char *key)
{
	const char *value = sim_capfile_meta(c->file, key);

	return value ? value : "";
}

static void print_meta(const struct command *c)
{
	const char *key, *value;
	size_t i;

	printf("\nMeta\n");
	for (i = 0; sim_capfile_meta_at(c->file, i, &key, &value); i++)
		printf("  %-44s %s\n", key, value);
}

static void print_head(const struct command *c, const char *path)
{
	const time_t clock = (time_t)strtoll(meta(c, SIM_CAP_META_CLOCK), NULL, 10);
	const int64_t pages = c->rounds[0].sums.pages;
	struct tm parts;
	char when[64] = "";

	if (clock > 0 && gmtime_r(&clock, &parts))
		strftime(when, sizeof(when), ", %Y-%m-%d %H:%M:%S UTC", &parts);
	printf("%s: capture, source %s", path, meta(c, SIM_CAP_META_SOURCE));
	if (*meta(c, SIM_CAP_META_HOST))
		printf(", of %s, Linux %s %s", meta(c, SIM_CAP_META_HOST),
		       meta(c, SIM_CAP_META_KERNEL), meta(c, SIM_CAP_META_ARCH));
	printf("%s\n", when);
	printf("  %s, %s a page of the first round; pages of %u bytes, fingerprints %s\n",
	       sim_bytes(c->bytes).text,
	       pages ? sim_hundredths((uint64_t)(c->bytes * 100 / pages)).text : "-",
	       sim_capfile_page_bytes(c->file), meta(c, SIM_CAP_META_PRINTS));
	if (*meta(c, SIM_CAP_META_COMMAND))
		printf("  made by %s: ksmsim %s\n", meta(c, SIM_CAP_META_TOOL),
		       meta(c, SIM_CAP_META_COMMAND));
}

static void print_rounds(const struct command *c)
{
	char since[SIM_HUMAN_BYTES], took[SIM_HUMAN_BYTES];
	uint32_t i;

	printf("\nRounds\n  %5s %12s %12s %9s %14s %14s %14s\n", "round", "begun at", "took",
	       "processes", "pages", "changed", "gone");
	for (i = 0; i < sim_capfile_nr_rounds(c->file); i++) {
		const struct sim_cap_round *round = sim_capfile_round(c->file, i);
		const struct round_counts *r = &c->rounds[i];

		printf("  %5u %12s %12s %9s %14s %14s %14s\n", i,
		       sim_duration(since, round->since_ns), sim_duration(took, round->duration_ns),
		       sim_count(r->processes).text, sim_count(r->sums.pages).text,
		       i ? sim_count(r->changed).text : "", i ? sim_count(r->gone).text : "");
	}
}

static void print_pages(const struct command *c)
{
	const struct counts *sums = &c->rounds[sim_capfile_nr_rounds(c->file) - 1].sums;

	printf("\nPages of the last round (those that are not 0)\n");
#define COUNT(name, condition, doc) \
	if (sums->name)             \
		printf("  %-10s %16s  %s\n", #name, sim_count(sums->name).text, doc);
	COUNTS(COUNT)
#undef COUNT
}

static void print_processes(const struct command *c)
{
	uint32_t i;

	printf("\nProcesses (pages, in the last round each was read in)\n");
	printf("  %8s %-20s %12s %12s %12s %12s %12s\n", "pid", "name", "pages", "zero", "ksm",
	       "huge", "swapped");
	for (i = 0; i < sim_capfile_nr_processes(c->file); i++) {
		const struct sim_cap_process *p = sim_capfile_process(c->file, i);
		const struct counts *n = &c->processes[i];

		if (p->pid == SIM_CAP_UNKNOWN)
			printf("  %8s %-20s", "-", p->name);
		else
			printf("  %8" PRId64 " %-20s", p->pid, p->name);
		if (c->last_round[i] == UINT32_MAX)
			printf(" %12s\n", "not read");
		else
			printf(" %12s %12s %12s %12s %12s\n", sim_count(n->pages).text,
			       sim_count(n->zero).text, sim_count(n->ksm).text,
			       sim_count(n->huge).text, sim_count(n->swapped).text);
	}
}

static void print_troubles(const struct command *c)
{
	const size_t nr = sim_capfile_nr_troubles(c->file);
	size_t i;

	if (nr)
		printf("\nWhat could not be read\n");
	for (i = 0; i < nr; i++)
		printf("  round %u: %s\n", sim_capfile_trouble(c->file, i)->round,
		       sim_capfile_trouble(c->file, i)->text);
}

static int print_table(const struct command *c, const char *path)
{
	print_head(c, path);
	print_rounds(c);
	print_pages(c);
	print_processes(c);
	print_troubles(c);
	if (c->meta)
		print_meta(c);
	return 0;
}

/* ---- as JSON ---- */

static json_t *json_counts(const struct counts *c)
{
	json_t *object = json_object();

#define COUNT(name, condition, doc) json_object_set_new(object, #name, json_integer(c->name));
	COUNTS(COUNT)
#undef COUNT
	return object;
}

static json_t *json_figures(const struct sim_cap_figures *figures)
{
	json_t *object = json_object();

#define FIGURE(name, doc)                     \
	if (figures->name != SIM_CAP_UNKNOWN) \
		json_object_set_new(object, #name, json_integer(figures->name));
	SIM_CAP_FIGURES(FIGURE)
#undef FIGURE
	return object;
}

static json_t *json_rounds(const struct command *c)
{
	json_t *array = json_array();
	uint32_t i;

	for (i = 0; i < sim_capfile_nr_rounds(c->file); i++) {
		const struct sim_cap_round *round = sim_capfile_round(c->file, i);
		const struct round_counts *r = &c->rounds[i];

		json_array_append_new(array,
				      json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "since_ns",
						(json_int_t)round->since_ns, "duration_ns",
						(json_int_t)round->duration_ns, "processes",
						(json_int_t)r->processes, "changed",
						(json_int_t)r->changed, "gone", (json_int_t)r->gone,
						"counts", json_counts(&r->sums)));
	}
	return array;
}

static json_t *json_process(const struct command *c, uint32_t i)
{
	const struct sim_cap_process *p = sim_capfile_process(c->file, i);
	json_t *object = json_pack("{s:I, s:I, s:I, s:s, s:s, s:s}", "pid", (json_int_t)p->pid,
				   "ppid", (json_int_t)p->ppid, "uid", (json_int_t)p->uid, "name",
				   p->name, "exe", p->exe, "cgroup", p->cgroup);

	if (c->last_round[i] == UINT32_MAX)
		return object;
	json_object_set_new(object, "last_round", json_integer(c->last_round[i]));
	json_object_set_new(object, "counts", json_counts(&c->processes[i]));
	json_object_set_new(object, "figures",
			    json_figures(sim_capfile_figures(c->file, i, c->last_round[i])));
	return object;
}

static int print_json(const struct command *c, const char *path)
{
	json_t *all = json_pack("{s:s, s:I, s:i}", "file", path, "bytes", (json_int_t)c->bytes,
				"version", SIM_CAP_VERSION);
	json_t *object = json_object(), *processes = json_array(), *troubles = json_array();
	const char *key, *value;
	size_t i;
	int error;

	for (i = 0; sim_capfile_meta_at(c->file, i, &key, &value); i++)
		json_object_set_new(object, key, json_string(value));
	for (i = 0; i < sim_capfile_nr_processes(c->file); i++)
		json_array_append_new(processes, json_process(c, (uint32_t)i));
	for (i = 0; i < sim_capfile_nr_troubles(c->file); i++) {
		const struct sim_cap_trouble *t = sim_capfile_trouble(c->file, i);

		json_array_append_new(troubles,
				      json_pack("{s:i, s:I, s:s}", "round", (int)t->round, "pid",
						(json_int_t)t->pid, "text", t->text));
	}
	json_object_set_new(all, "meta", object);
	json_object_set_new(all, "rounds", json_rounds(c));
	json_object_set_new(all, "processes", processes);
	json_object_set_new(all, "troubles", troubles);
	error = json_dumpf(all, stdout, JSON_COMPACT);
	json_decref(all);
	putchar('\n');
	return error ? cli_error("no memory") : 0;
}

/* ---- the command ---- */

static int show_open_file(struct command *c, const char *path)
{
	const size_t processes = sim_capfile_nr_processes(c->file) + 1u;
	int status;

	c->processes = calloc(processes, sizeof(*c->processes));
	c->last_round = calloc(processes, sizeof(*c->last_round));
	c->rounds = calloc(sim_capfile_nr_rounds(c->file), sizeof(*c->rounds));
	if (!c->processes || !c->last_round || !c->rounds)
		return cli_error("no memory");
	status = count_file(c);
	if (!status)
		status = c->json ? print_json(c, path) : print_table(c, path);
	return status;
}

static int show_file(struct command *c, const char *path)
{
	struct stat info = { .st_size = 0 };
	char why[1024];
	int status;

	if (sim_capfile_open(path, why, sizeof(why), &c->file))
		return cli_error("%s", why);
	if (!stat(path, &info))
		c->bytes = info.st_size;
	status = show_open_file(c, path);
	free(c->processes);
	free(c->last_round);
	free(c->rounds);
	c->processes = NULL;
	c->last_round = NULL;
	c->rounds = NULL;
	sim_capfile_close(c->file);
	return status;
}

static int take_option(void *self, int option, const char *value)
{
	struct command *c = self;

	if (option == CLI_OPERAND)
		return cli_text(&c->files, &c->nr_files, value);
	c->meta |= option == OPTION_META;
	c->json |= option == OPTION_JSON;
	c->help |= option == OPTION_HELP;
	return 0;
}

static int take_arguments(struct command *c, int argc, char **argv)
{
	const int status = cli_take(options, argc, argv, take_option, c);

	if (status)
		return status;
	if (!c->help && !c->nr_files)
		return cli_error("info needs a capture; see ksmsim info --help");
	return 0;
}

static int print_help(void)
{
	printf("usage: ksmsim info CAPTURE... [OPTION...]\n\n"
	       "Shows what is in captures: where from, rounds, processes, kinds of pages, what "
	       "could not\nbe read. Every page is read, so a damaged file is found.\n\n");
	cli_print_options(options, stdout);
	printf("\nExit status: 0 done, 2 bad usage or a file that is no capture.\n");
	return cli_finish(CLI_DONE);
}

int cmd_info(int argc, char **argv)
{
	struct command c = { .files = NULL };
	int status = take_arguments(&c, argc, argv);
	size_t i;

	if (!status && c.help) {
		status = print_help();
	} else if (!status) {
		for (i = 0; !status && i < c.nr_files; i++)
			status = show_file(&c, c.files[i]);
		status = cli_finish(status);
	}
	free(c.files);
	return status;
}
