/*
 * cmd_calibrate.c - ksmsim calibrate: the cost table of this machine.
 *
 * A workload runs on the kernel and on the model at once. The kernel tells how
 * long it took, the model how often each row of the table was charged meanwhile.
 * A measured step has one row that it is about: the time, less what the model
 * charges for all other rows, divided by the uses of that row. The rows are
 * therefore found in an order (solve_order) in which what is subtracted is known
 * already; a few rows that no step can tell from others keep their defaults.
 * Every run is solved by itself; the file has the medians and the spread.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "cli.h"
#include "live.h"
#include "pair.h"

#define RUNS_MAX 9u
#define STEPS_MAX 32u

enum { OPTION_OUT, OPTION_RUNS, OPTION_HELP };

static const struct cli_option options[] = {
	[OPTION_OUT] = { "-o", "FILE", "the table (standard output)" },
	[OPTION_RUNS] = { "--runs", "N", "how often everything is measured, 1 to 9 (5)" },
	[OPTION_HELP] = { "--help", NULL, "this text" },
	{ NULL, NULL, NULL },
};

enum clock { NONE, KSMD, WALL };

/* The workload: lines of a scenario; with a row, the line is measured for it. */
static const struct step {
	const char *line;
	const char *row;
	enum clock clock;
	unsigned times;	 /* 0: once, as it is; else with "+page:1 seed:1" behind it, */
	uint64_t stride; /* page being a multiple of this */
} steps[] = {
	{ .line = "ksm run 1" },
	{ .line = "ksm smart_scan 0" },
	/* nothing but the wake-up: a mapping without a page */
	{ .line = "proc e" },
	{ .line = "mmap e r 1" },
	{ .line = "madvise e r MERGEABLE" },
	{ .line = "step 1 1000", .row = "batch", .clock = KSMD },
	{ .line = "exit e" },
	/* unique pages: first visit, changed ones, steady ones, skipped ones, all gone */
	{ .line = "proc a" },
	{ .line = "mmap a r 8192" },
	{ .line = "fill a r seeds:1" },
	{ .line = "madvise a r MERGEABLE" },
	{ .line = "scan", .row = "item_new", .clock = KSMD },
	{ .line = "fill a r seeds:100000" },
	{ .line = "scan", .row = "checksum", .clock = KSMD },
	{ .line = "scan" },
	{ .line = "scan", .row = "unstable_level", .clock = KSMD },
	{ .line = "ksm smart_scan 1" },
	{ .line = "scan 4" }, /* the fifth leaves them out */
	{ .line = "scan", .row = "skip", .clock = KSMD },
	{ .line = "ksm smart_scan 0" },
	{ .line = "madvise a r DONTNEED", .row = "zap", .clock = WALL },
	{ .line = "scan", .row = "item_free", .clock = KSMD },
	{ .line = "exit a" },
	/* pairs: every second merge makes a new KSM page */
	{ .line = "proc b" },
	{ .line = "mmap b r 4096" },
	{ .line = "mmap b s 4096" },
	{ .line = "fill b r seeds:1" },
	{ .line = "fill b s seeds:1" },
	{ .line = "madvise b r MERGEABLE" },
	{ .line = "madvise b s MERGEABLE" },
	{ .line = "scan" },
	{ .line = "scan", .row = "merge_new", .clock = KSMD },
	{ .line = "scan", .row = "visit", .clock = KSMD },
	/* unique pages, looked up among the KSM pages of the pairs */
	{ .line = "proc c" },
	{ .line = "mmap c r 8192" },
	{ .line = "fill c r seeds:100000" },
	{ .line = "madvise c r MERGEABLE" },
	{ .line = "scan" },
	{ .line = "scan" },
	{ .line = "scan", .row = "stable_level", .clock = KSMD },
	{ .line = "exit c" },
	{ .line = "touch b r", .row = "fault_cow_ksm", .clock = WALL },
	{ .line = "exit b" },
	/* 1024 contents: KSM pages first, then eight more copies of each */
	{ .line = "proc d" },
	{ .line = "mmap d r 1024" },
	{ .line = "fill d r seeds:1" },
	{ .line = "mmap d s 1024" },
	{ .line = "fill d s seeds:1" },
	{ .line = "madvise d r MERGEABLE" },
	{ .line = "madvise d s MERGEABLE" },
	{ .line = "scan 2" },
	{ .line = "proc g" },
	{ .line = "mmap g r 8192" },
	{ .line = "fill g r+0:1024 seeds:1" },
	{ .line = "fill g r+1024:1024 seeds:1" },
	{ .line = "fill g r+2048:1024 seeds:1" },
	{ .line = "fill g r+3072:1024 seeds:1" },
	{ .line = "fill g r+4096:1024 seeds:1" },
	{ .line = "fill g r+5120:1024 seeds:1" },
	{ .line = "fill g r+6144:1024 seeds:1" },
	{ .line = "fill g r+7168:1024 seeds:1" },
	{ .line = "madvise g r MERGEABLE" },
	{ .line = "scan 2", .row = "merge", .clock = KSMD },
	{ .line = "exit d" },
	{ .line = "exit g" },
	/* zero pages */
	{ .line = "ksm use_zero_pages 1" },
	{ .line = "proc z" },
	{ .line = "mmap z r 4096" },
	{ .line = "fill z r zero" },
	{ .line = "madvise z r MERGEABLE" },
	{ .line = "scan 2", .row = "merge_zero", .clock = KSMD },
	{ .line = "ksm use_zero_pages 0" },
	{ .line = "exit z" },
	/* a page in each of 16 GiB, all equal; then every address of them is looked up */
	{ .line = "proc s" },
	{ .line = "mmap s r 16G noreserve" },
	{ .line = "fill s r", .times = 16, .stride = 262144 },
	{ .line = "madvise s r MERGEABLE" },
	{ .line = "scan 3" },
	{ .line = "scan 200", .row = "walk_entry", .clock = KSMD },
	{ .line = "madvise s r UNMERGEABLE", .row = "walk_address", .clock = WALL },
	{ .line = "exit s" },
	/* faults */
	{ .line = "proc f" },
	{ .line = "mmap f r 8192" },
	{ .line = "read f r", .row = "fault_zero", .clock = WALL },
	{ .line = "mmap f s 8192" },
	{ .line = "touch f s", .row = "fault_anon", .clock = WALL },
	{ .line = "fork f h" },
	{ .line = "touch h s", .row = "fault_cow", .clock = WALL },
	{ .line = "touch f s", .row = "fault_reuse", .clock = WALL },
	{ .line = "exit h" },
	{ .line = "exit f" },
	{ .line = "scan 2" },
};

/* A row may need those before it. */
static const char *const solve_order[] = {
	"batch",	"visit",	 "checksum",	 "item_new",   "unstable_level",
	"stable_level", "skip",		 "item_free",	 "merge",      "merge_new",
	"merge_zero",	"walk_entry",	 "fault_zero",	 "fault_anon", "fault_cow",
	"fault_reuse",	"fault_cow_ksm", "walk_address", "zap",
};
#define NR_SOLVED (sizeof(solve_order) / sizeof(*solve_order))

/* Why a row is not measured. */
static const struct {
	const char *row, *why;
} kept[] = {
	{ "visit_merged", "a visit to a merged page is measured whole; visit has the rest" },
	{ "compare_full", "no merge without it; merge has the rest" },
	{ "fork_page", "a fork is mostly other work" },
};

struct measured {
	const char *row;
	struct sim_pair_time time;
	enum clock clock;
};

struct command {
	uint64_t runs;
	const char *out;
	bool help;
	uint64_t values[SIM_PAIR_COSTS][RUNS_MAX]; /* ns */
	bool known[SIM_PAIR_COSTS];
};

static const struct ksmsim_row *cost_rows(size_t *nr)
{
	return ksmsim_table_rows(KSMSIM_TABLE_COSTS, nr);
}

static size_t row_index(const char *name)
{
	size_t nr, i = 0;
	const struct ksmsim_row *rows = cost_rows(&nr);

	while (i < nr && strcmp(rows[i].name, name) != 0)
		i++;
	return i;
}

static int run_step(struct sim_pair *pair, const struct step *step, struct sim_pair_time *time)
{
	unsigned i;
	int error = 0;

	if (!step->times)
		return sim_pair_line(pair, step->line, time);
	for (i = 0; !error && i < step->times; i++)
		error = sim_pair_do(pair, NULL, "%s+%" PRIu64 ":1 seed:1", step->line,
				    i * step->stride);
	return error;
}

/* What @measured is about, ns for one use; @costs: of the other rows. */
static uint64_t solve(const struct measured *measured, size_t row, const uint64_t *costs, size_t nr)
{
	const struct sim_pair_time *time = &measured->time;
	const uint64_t uses = time->uses[row];
	uint64_t left = measured->clock == WALL ? time->wall_ns : time->ksmd_ns;
	size_t i;

	for (i = 0; i < nr; i++) {
		const uint64_t other = i == row ? 0 : time->uses[i] * costs[i];

		left -= other < left ? other : left;
	}
	return uses ? (left + uses / 2) / uses : costs[row];
}

static void solve_all(struct command *command, const struct measured *list, size_t nr_list,
		      uint64_t *costs, unsigned run)
{
	size_t nr, i, m, row;

	cost_rows(&nr);
	for (i = 0; i < NR_SOLVED; i++) {
		row = row_index(solve_order[i]);
		for (m = 0; m < nr_list; m++)
			if (!strcmp(list[m].row, solve_order[i]) && list[m].time.uses[row]) {
				costs[row] = solve(&list[m], row, costs, nr);
				command->known[row] = true;
			}
		command->values[row][run] = costs[row];
	}
}

/* Everything once. */
static int measure(struct command *command, unsigned run, char *kernel, size_t size)
{
	struct measured list[STEPS_MAX];
	struct sim_pair pair;
	uint64_t costs[SIM_PAIR_COSTS] = { 0 }, hash = 0, page;
	struct sim_backend *model;
	size_t nr, i, nr_list = 0;
	const struct ksmsim_row *rows = cost_rows(&nr);
	int error = sim_pair_begin(&pair);

	for (i = 0; !error && i < sizeof(steps) / sizeof(*steps); i++) {
		list[nr_list].row = steps[i].row;
		list[nr_list].clock = steps[i].clock;
		error = run_step(&pair, &steps[i], &list[nr_list].time);
		nr_list += steps[i].row != NULL;
	}
	if (!error && !sim_pair_agree(&pair, &hash))
		error = SIM_EDIFFER;
	if (error) {
		cli_error("calibrate: %s", pair.why);
	} else {
		model = sim_run_backend(pair.model);
		for (i = 0; i < nr; i++)
			model->ops->cost(model, rows[i].name, &costs[i]);
		solve_all(command, list, nr_list, costs, run);
		sim_run_backend(pair.live)->ops->describe(sim_run_backend(pair.live), kernel, size,
							  &page);
	}
	sim_pair_end(&pair);
	return error;
}

/* ---- the file ---- */

static void processor(char *name, size_t size)
{
	FILE *file = fopen("/proc/cpuinfo", "r");
	char line[256];

	snprintf(name, size, "unknown");
	while (file && fgets(line, sizeof(line), file)) {
		const char *value = strchr(line, ':');

		if (!value || strncmp(line, "model name", 10) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(name, size, "%s", value + 1 + strspn(value + 1, " "));
		break;
	}
	if (file)
		fclose(file);
}

static int by_size(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static const char *why_kept(const char *row)
{
	size_t i;

	for (i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		if (!strcmp(kept[i].row, row))
			return kept[i].why;
	return "this kernel did not do it";
}

static void write_table(struct command *command, const char *kernel, FILE *out)
{
	static const uint64_t defaults[] = {
#define COST(name, ns, doc) ns,
#include "ksmsim/costs.def"
	};
	const uint64_t runs = command->runs;
	struct utsname host;
	char cpu[128];
	size_t nr, i;
	const struct ksmsim_row *rows = cost_rows(&nr);

	processor(cpu, sizeof(cpu));
	uname(&host);
	fprintf(out, "# Costs of %s on %s (%s), in ns.\n", kernel, cpu, host.machine);
	fprintf(out,
		"# Medians of %" PRIu64 " runs; behind each its lowest and highest value.\n"
		"# A row is what is left of a measured time when the other rows, as often as\n"
		"# the model charges them, are taken away, for each use. Time is CPU time of\n"
		"# ksmd; for faults, zap and walk_address that of the whole operation.\n"
		"# Other work on the machine makes rows larger and spreads wider.\n\n",
		runs);
	for (i = 0; i < nr; i++) {
		uint64_t *values = command->values[i];
		const char *why = command->known[i] ? NULL : why_kept(rows[i].name);

		qsort(values, runs, sizeof(*values), by_size);
		if (!why && !values[runs / 2])
			why = "less than the noise of the other rows";
		if (why) {
			fprintf(out, "# %-14s %6" PRIu64 "  default: %s\n", rows[i].name,
				defaults[i], why);
			continue;
		}
		fprintf(out, "%-16s %6" PRIu64 "  # %" PRIu64 " to %" PRIu64 "; %s\n", rows[i].name,
			values[runs / 2], values[0], values[runs - 1], rows[i].doc);
	}
}

static int calibrate(struct command *command)
{
	struct cli_output output = { .file = NULL };
	char kernel[64] = "";
	uint64_t run;
	int status = CLI_DONE;

	for (run = 0; run < command->runs; run++)
		if (measure(command, (unsigned)run, kernel, sizeof(kernel)))
			return CLI_USAGE;
	if (command->out && !cli_output_open(&output, command->out))
		return CLI_USAGE;
	write_table(command, kernel, command->out ? output.file : stdout);
	if (command->out && !cli_output_commit(&output))
		status = CLI_USAGE;
	cli_output_drop(&output);
	return status;
}

static int take_option(void *self, int option, const char *value)
{
	struct command *command = self;

	if (option == CLI_OPERAND)
		return cli_error("calibrate takes no '%s'; the file goes behind -o", value);
	if (option == OPTION_RUNS)
		return cli_number("--runs", value, &command->runs);
	if (option == OPTION_OUT)
		command->out = value;
	command->help |= option == OPTION_HELP;
	return 0;
}

static int take_arguments(struct command *command, int argc, char **argv)
{
	const int status = cli_take(options, argc, argv, take_option, command);

	if (status)
		return status;
	if (!command->runs || command->runs > RUNS_MAX)
		return cli_error("--runs: must be 1 to %u", RUNS_MAX);
	return 0;
}

static int print_help(void)
{
	printf("usage: ksmsim calibrate [-o FILE] [--runs N]\n\n"
	       "Measures on the running kernel what the rows of the cost table cost, and writes\n"
	       "them as run --costs takes them. It is a strict guest, as verify is.\n\n");
	cli_print_options(options, stdout);
	printf("\nExit status: 0 measured, 2 bad usage, or the kernel cannot be used.\n");
	return cli_finish(CLI_DONE);
}

int cmd_calibrate(int argc, char **argv)
{
	struct command command = { .runs = 5 };
	const int status = take_arguments(&command, argc, argv);

	if (status)
		return status;
	return command.help ? print_help() : cli_finish(calibrate(&command));
}
