/*
 * cmd_estimate.c - ksmsim estimate: what KSM would save, cost and take.
 *
 * Captures are read, dumps and lists of hashes are imported and processes are captured
 * first, both into a file without a name. Then everything is one host, and is played on
 * the model: see estimate.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture.h"
#include "cli.h"
#include "costs.h"
#include "estimate.h"
#include "human.h"
#include "import.h"
#include "words.h"

#define THREADS_MAX 64u
#define ROWS_DEFAULT 20u
#define INTERVAL_DEFAULT UINT64_C(10000000000)
#define COMPARE_PAGES_MAX 4000000u /* beyond, other knobs only when asked for */
#define INTERVAL_MAX (UINT64_C(24) * 3600 * 1000000000)

enum { NOT_THESE = -1 };

enum {
	OPTION_PID,
	OPTION_ROUNDS,
	OPTION_INTERVAL,
	OPTION_ASSUME,
	OPTION_PROFILE,
	OPTION_DEFAULTS,
	OPTION_KNOB,
	OPTION_FEATURE,
	OPTION_COSTS,
	OPTION_TRY,
	OPTION_ONLY,
	OPTION_COMPARE,
	OPTION_MATRIX,
	OPTION_ROWS,
	OPTION_THREADS,
	OPTION_JSON,
	OPTION_HELP
};

static const struct cli_option options[] = {
	[OPTION_PID] = { "--pid", "N[,N...]", "capture these processes first; they go on running" },
	[OPTION_ROUNDS] = { "--rounds", "N", "and so often (1): tells which pages change" },
	[OPTION_INTERVAL] = { "--interval", "TIME", "from round to round: 30s, 5m (10s)" },
	[OPTION_ASSUME] = { "--assume", "all|captured|N[,N...]",
			    "mergeable is: what KSM can have (all); what is now; all of these "
			    "pids" },
	[OPTION_PROFILE] = { "--profile", "P", "kernel (the captured one): ksmsim list profiles" },
	[OPTION_DEFAULTS] = { "--default-knobs", NULL,
			      "begin with the kernel's knobs, not the captured ones" },
	[OPTION_KNOB] = { "--knob", "NAME=VALUE", "set a knob in all runs; may be repeated" },
	[OPTION_FEATURE] = { "--feature", "NAME=0|1", "switch a behaviour; may be repeated" },
	[OPTION_COSTS] = { "--costs", "FILE", "times from this table: ksmsim calibrate" },
	[OPTION_TRY] = { "--try", "NAME=VALUE[,...]",
			 "compare with these knobs, too; may be repeated" },
	[OPTION_ONLY] = { "--only", NULL, "do not compare with the usual other knobs" },
	[OPTION_COMPARE] = { "--compare", NULL, "do so even on more than 4,000,000 pages" },
	[OPTION_MATRIX] = { "--matrix", NULL, "which processes share with which" },
	[OPTION_ROWS] = { "--rows", "N", "of the table of mappings (20)" },
	[OPTION_THREADS] = { "--threads", "N", "play so many at once (one for each CPU)" },
	[OPTION_JSON] = { "--json", NULL, "as one JSON object" },
	[OPTION_HELP] = { "--help", NULL, "this text" },
	{ NULL, NULL, NULL },
};

struct command {
	const char **files, **tries;
	size_t nr_files, nr_tries;
	int64_t *pids, *assumed;
	size_t nr_pids, nr_assumed;
	struct cli_settings knobs, features;
	const char *costs_path, *profile;
	struct sim_mem mem;
	struct sim_costs costs;
	enum est_assume assume;
	uint32_t rounds, rows, threads;
	uint64_t interval_ns;
	bool defaults, only, compare, matrix, json, help, on_terminal;
	/* what is made of it */
	struct est_image image;
	struct est_plan plan;
	struct est_cases cases;
	struct est_knobs now;
	struct est_share share;
};

/* ---- arguments ---- */

static int take_assume(struct command *c, const char *value)
{
	if (!strcmp(value, "all")) {
		c->assume = EST_ASSUME_ALL;
		return 0;
	}
	if (!strcmp(value, "captured")) {
		c->assume = EST_ASSUME_CAPTURED;
		return 0;
	}
	c->assume = EST_ASSUME_PIDS;
	return cli_pids(&c->assumed, &c->nr_assumed, "--assume", value);
}

static int take_interval(struct command *c, const char *value)
{
	const char *wrong =
		sim_word_time((struct sim_word){ value, strlen(value) }, &c->interval_ns);

	if (!wrong && (!c->interval_ns || c->interval_ns > INTERVAL_MAX))
		wrong = "is no time up to a day";
	return wrong ? cli_error("--interval: '%s' %s", value, wrong) : 0;
}

/* NOT_THESE: none of these */
static int take_model(struct command *c, int option, const char *value)
{
	switch (option) {
	case OPTION_ASSUME:
		return take_assume(c, value);
	case OPTION_PROFILE:
		c->profile = value;
		return 0;
	case OPTION_DEFAULTS:
		c->defaults = true;
		return 0;
	case OPTION_KNOB:
		return cli_setting(&c->knobs, "--knob", value);
	case OPTION_FEATURE:
		return cli_setting(&c->features, "--feature", value);
	case OPTION_COSTS:
		c->costs_path = value;
		return 0;
	case OPTION_TRY:
		return cli_text(&c->tries, &c->nr_tries, value);
	case OPTION_ONLY:
		c->only = true;
		return 0;
	case OPTION_COMPARE:
		c->compare = true;
		return 0;
	default:
		return NOT_THESE;
	}
}

static int take_option(void *self, int option, const char *value)
{
	struct command *c = self;
	const int status = take_model(c, option, value);

	if (status != NOT_THESE)
		return status;
	switch (option) {
	case OPTION_PID:
		return cli_pids(&c->pids, &c->nr_pids, "--pid", value);
	case OPTION_ROUNDS:
		return cli_number_to("--rounds", value, SIM_CAP_ROUNDS_MAX, &c->rounds);
	case OPTION_INTERVAL:
		return take_interval(c, value);
	case OPTION_MATRIX:
		c->matrix = true;
		return 0;
	case OPTION_ROWS:
		return cli_number_to("--rows", value, UINT32_MAX, &c->rows);
	case OPTION_THREADS:
		return cli_number_to("--threads", value, THREADS_MAX, &c->threads);
	case OPTION_JSON:
		c->json = true;
		return 0;
	case OPTION_HELP:
		c->help = true;
		return 0;
	default:
		return cli_text(&c->files, &c->nr_files, value);
	}
}

static int take_arguments(struct command *c, int argc, char **argv)
{
	int status = cli_take(options, argc, argv, take_option, c);

	if (status || c->help)
		return status;
	if (!c->nr_files && !c->nr_pids)
		return cli_error("estimate needs a capture or --pid; see ksmsim estimate --help");
	return 0;
}

/* ---- sources ---- */

static void show(const struct command *c, const char *text)
{
	if (c->on_terminal)
		fprintf(stderr, "\r%s\033[K", text);
}

static int add_capture(struct command *c, const char *name, struct sim_capfile *file)
{
	const int error = est_image_add(&c->image, file);

	return error ? cli_error("%s: %s", name, c->image.why) : 0;
}

/* A capture that was written into a file without a name */
static int add_written(struct command *c, FILE *written, const char *name)
{
	struct sim_capfile *file;
	struct stat info;
	char why[1024];
	void *bytes;
	int status;

	if (fflush(written) || fstat(fileno(written), &info))
		return cli_error("%s: %s", name, strerror(errno));
	bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fileno(written), 0);
	if (bytes == MAP_FAILED)
		return cli_error("%s: %s", name, strerror(errno));
	if (sim_capfile_open_bytes(bytes, (size_t)info.st_size, name, why, sizeof(why), &file)) {
		status = cli_error("%s", why);
	} else {
		status = add_capture(c, name, file);
		sim_capfile_close(file);
	}
	munmap(bytes, (size_t)info.st_size);
	return status;
}

static int capture_into(const struct command *c, struct sim_capwriter *writer)
{
	struct sim_capture_options capture = { .rounds = c->rounds, .interval_ns = c->interval_ns };
	struct sim_capture_totals totals;
	char why[1024] = "";
	int error;

	capture.select.pids = c->pids;
	capture.select.nr_pids = c->nr_pids;
	capture.select.uid = SIM_CAP_UNKNOWN;
	sim_pagehash_init(&capture.hash, (uint32_t)sysconf(_SC_PAGESIZE), NULL);
	sim_capwriter_meta(writer, SIM_CAP_META_SOURCE, "live");
	error = sim_pagehash_meta(&capture.hash, writer);
	if (!error)
		error = sim_capture(&capture, writer, &totals, why, sizeof(why));
	if (error)
		return cli_error("%s", *why ? why : sim_capwriter_error(writer));
	if (totals.troubles)
		cli_error("not all could be read; ksmsim capture says what");
	return 0;
}

/* Does it begin as captures do? What cannot be opened is left to who tries next. */
static bool is_capture(const char *path)
{
	static const char begin[] = "SQLite format 3";
	char bytes[sizeof(begin)] = "";
	FILE *in = fopen(path, "re");
	const size_t got = in ? fread(bytes, 1, sizeof(begin), in) : 0;

	if (in)
		fclose(in);
	return got == sizeof(begin) && !memcmp(bytes, begin, sizeof(begin));
}

static int import_into(struct sim_capwriter *writer, const char *path)
{
	const struct sim_import_list list = { .hash_bytes = 16 };
	char why[1024] = "";
	struct sim_import import = { .writer = writer, .why = why, .size = sizeof(why) };
	int error;

	sim_pagehash_init(&import.hash, EST_PAGE, NULL);
	error = sim_import_file(&import, path, -1, &list);
	free(import.buffer);
	if (error)
		cli_error("%s%s", why, strstr(why, "--format") ? " of ksmsim import" : "");
	return error ? CLI_USAGE : 0;
}

/* A capture that is made now: of a dump or a list, or (NULL) of processes */
static int add_made(struct command *c, const char *name, const char *path)
{
	FILE *written = tmpfile();
	struct sim_capwriter *writer;
	char why[1024];
	int status;

	if (!written)
		return cli_error("no temporary file: %s", strerror(errno));
	if (sim_capwriter_open(P_tmpdir "/capture", why, sizeof(why), &writer)) {
		fclose(written);
		return cli_error("%s", why);
	}
	status = path ? import_into(writer, path) : capture_into(c, writer);
	if (!status && sim_capwriter_commit(writer, written))
		status = cli_error("%s", sim_capwriter_error(writer));
	sim_capwriter_free(writer);
	if (!status)
		status = add_written(c, written, name);
	fclose(written);
	return status;
}

static int add_file(struct command *c, const char *path)
{
	struct sim_capfile *file;
	char why[1024];
	int status;

	if (!is_capture(path))
		return add_made(c, path, path);
	if (sim_capfile_open(path, why, sizeof(why), &file))
		return cli_error("%s", why);
	status = add_capture(c, path, file);
	sim_capfile_close(file);
	return status;
}

static int read_sources(struct command *c)
{
	int status = 0;
	size_t i;

	show(c, "capturing");
	if (c->nr_pids)
		status = add_made(c, "processes", NULL);
	for (i = 0; !status && i < c->nr_files; i++) {
		show(c, c->files[i]);
		status = add_file(c, c->files[i]);
	}
	if (!status && est_image_end(&c->image))
		status = cli_error("%s", c->image.why);
	return status;
}

/* ---- the estimate ---- */

static int read_costs(struct command *c)
{
	char why[1024];
	FILE *in;
	int error;

	if (!c->costs_path)
		return 0;
	in = fopen(c->costs_path, "re");
	if (!in)
		return cli_error("%s: %s", c->costs_path, strerror(errno));
	error = sim_costs_read(&c->costs, &c->mem, in, c->costs_path, why, sizeof(why));
	fclose(in);
	return error ? cli_error("%s", why) : 0;
}

static int check_assumed(const struct command *c)
{
	size_t i, k;

	for (i = 0; i < c->nr_assumed; i++) {
		for (k = 0; k < c->image.nr_processes; k++)
			if (c->image.processes[k].pid == c->assumed[i])
				break;
		if (k == c->image.nr_processes)
			return cli_error("--assume: process %" PRId64 " is not in the capture",
					 c->assumed[i]);
	}
	return 0;
}

static int make_plan(struct command *c)
{
	char why[EST_WHY_BYTES] = "";
	const bool others = !c->only && (c->compare || c->image.nr_pages <= COMPARE_PAGES_MAX);
	size_t i;

	c->plan = (struct est_plan){
		.image = &c->image,
		.profile = c->profile,
		.knobs = c->knobs.list,
		.nr_knobs = c->knobs.nr,
		.features = c->features.list,
		.nr_features = c->features.nr,
		.costs = c->costs.list,
		.nr_costs = c->costs.nr,
		.default_knobs = c->defaults,
		.assume = c->assume,
		.pids = c->assumed,
		.nr_pids = c->nr_assumed,
	};
	if (est_knobs_get(&c->plan, &c->now, why))
		return cli_error("%s", *why ? why : "the model cannot be set up");
	est_cases_fill(&c->cases, &c->plan, &c->now, others);
	for (i = 0; i < c->nr_tries; i++)
		if (!est_cases_add(&c->cases, c->tries[i]))
			return cli_error("--try: '%s' is not NAME=VALUE[,NAME=VALUE...], or there "
					 "are too many",
					 c->tries[i]);
	return 0;
}

static void played(void *self, size_t done)
{
	const struct command *c = self;
	char text[64];

	snprintf(text, sizeof(text), "%zu of %zu played", done, c->cases.nr);
	show(c, text);
}

static int play(struct command *c)
{
	const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	const unsigned threads = c->threads ? c->threads : cpus < 1 ? 1 : (unsigned)cpus;
	size_t i;

	show(c, "playing");
	c->share.max_page_sharing = c->now.max_page_sharing;
	if (!est_cases_play(&c->cases, &c->plan, threads, est_share_look, &c->share, played, c))
		return 0;
	for (i = 0; i < c->cases.nr; i++)
		if (*c->cases.results[i].why)
			return cli_error("%s", c->cases.results[i].why);
	return cli_error("no memory");
}

static int print(struct command *c)
{
	const struct est_report report = {
		.image = &c->image,
		.plan = &c->plan,
		.cases = &c->cases,
		.share = &c->share,
		.knobs = &c->now,
		.profile = c->profile ? c->profile : c->image.probe.profile,
		.matrix = c->matrix,
		.rows = c->rows,
	};

	show(c, "");
	if (!c->only && !c->compare && c->image.nr_pages > COMPARE_PAGES_MAX)
		cli_error("so many pages are not played with other knobs; --compare does it");
	if (!c->json)
		est_report_print(&report, stdout);
	else if (est_report_json(&report, stdout))
		return cli_error("no memory, or standard output cannot be written");
	return 0;
}

static int estimate(struct command *c)
{
	int status = read_costs(c);

	c->on_terminal = isatty(STDERR_FILENO);
	if (!status)
		status = read_sources(c);
	if (!status)
		status = check_assumed(c);
	if (!status)
		status = make_plan(c);
	if (!status)
		status = play(c);
	return status ? status : print(c);
}

static int print_help(void)
{
	printf("usage: ksmsim estimate [SOURCE...] [--pid N] [OPTION...]\n\n"
	       "What KSM would save on captured memory, what it would cost and how long it would "
	       "take.\nSources are captures, ELF cores and dumps, images of memory, lists of "
	       "hashes; several are\ntaken as one host. They are played on the model of the "
	       "captured kernel, with its knobs and "
	       "with others.\n\n");
	cli_print_options(options, stdout);
	printf("\nExit status: 0 done, 2 bad usage or input.\n");
	return cli_finish(CLI_DONE);
}

int cmd_estimate(int argc, char **argv)
{
	struct command *c = calloc(1, sizeof(*c));
	int status;

	if (!c)
		return cli_error("no memory");
	c->rounds = 1;
	c->rows = ROWS_DEFAULT;
	c->interval_ns = INTERVAL_DEFAULT;
	sim_mem_init(&c->mem, NULL);
	status = take_arguments(c, argc, argv);
	if (!status)
		status = c->help ? print_help() : cli_finish(estimate(c));
	est_share_free(&c->share);
	est_image_free(&c->image);
	sim_costs_free(&c->costs);
	free(c->knobs.list);
	free(c->features.list);
	free(c->files);
	free(c->tries);
	free(c->pids);
	free(c->assumed);
	free(c);
	return status;
}
