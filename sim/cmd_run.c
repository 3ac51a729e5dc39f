/*
 * cmd_run.c - ksmsim run: run a scenario, on the model or on the running kernel.
 *
 * Standard output has the report for people, or with --json the observations
 * and nothing else. Failed expectations and errors go to standard error; so
 * does the progress, and only if that is a terminal.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "costs.h"
#include "live.h"
#include "sim.h"

enum {
	OPTION_LIVE,
	OPTION_PROFILE,
	OPTION_GEOMETRY,
	OPTION_KNOB,
	OPTION_FEATURE,
	OPTION_COST,
	OPTION_COSTS,
	OPTION_SEED,
	OPTION_JSON,
	OPTION_TRACE,
	OPTION_CHECK,
	OPTION_MAP,
	OPTION_QUIET,
	OPTION_LUA_LIMIT,
	OPTION_HELP,
};

static const struct cli_option options[] = {
	[OPTION_LIVE] = { "--live", NULL, "run it on the running kernel; needs root" },
	[OPTION_PROFILE] = { "--profile", "P", "the kernel that the model is (linux-6.18)" },
	[OPTION_GEOMETRY] = { "--geometry", "G", "the shape of the page tables (x86-64-4level)" },
	[OPTION_KNOB] = { "--knob", "K=V", "write V to a knob before the first operation" },
	[OPTION_FEATURE] = { "--feature", "F=0|1", "change a behaviour of the profile" },
	[OPTION_COST] = { "--cost", "NAME=NS", "change a row of the cost table" },
	[OPTION_COSTS] = { "--costs", "FILE",
			   "a cost table, as calibrate writes it; --cost goes on top" },
	[OPTION_SEED] = { "--seed", "N", "of every chance (0)" },
	[OPTION_JSON] = { "--json", NULL, "observations as JSON lines instead of the report" },
	[OPTION_TRACE] = { "--trace", "FILE", "write the events in ftrace's text form" },
	[OPTION_CHECK] = { "--check", NULL, "test every invariant after each operation" },
	[OPTION_MAP] = { "--map", "P:RANGE", "draw these pages of a process at the end" },
	[OPTION_QUIET] = { "--quiet", NULL, "no report and no echo" },
	[OPTION_LUA_LIMIT] = { "--lua-limit", "N",
			       "instructions that a Lua scenario may run "
			       "(200000000)" },
	[OPTION_HELP] = { "--help", NULL, "this text" },
	{ NULL, NULL, NULL },
};

struct command {
	struct sim_options sim;
	struct cli_settings knobs, features, costs;
	const char **maps;
	size_t nr_maps;
	struct sim_mem mem;
	struct sim_costs table; /* --costs */
	const char *file, *trace_path, *costs_path;
	bool json, quiet, help;
	struct cli_output trace;
	struct timespec shown; /* last progress */
	bool on_terminal;
};

static int take_file(struct command *command, const char *value)
{
	if (command->file)
		return cli_error("run takes one file; '%s' is a second one", value);
	command->file = value;
	return 0;
}

static int take_option(void *self, int option, const char *value)
{
	struct command *command = self;
	struct sim_options *sim = &command->sim;

	switch (option) {
	case CLI_OPERAND:
		return take_file(command, value);
	case OPTION_LIVE:
		sim->backend = sim_live_new;
		sim->allocator = &sim_live_allocator;
		return 0;
	case OPTION_PROFILE:
		sim->profile = value;
		return 0;
	case OPTION_GEOMETRY:
		sim->geometry = value;
		return 0;
	case OPTION_KNOB:
		return cli_setting(&command->knobs, "--knob", value);
	case OPTION_FEATURE:
		return cli_setting(&command->features, "--feature", value);
	case OPTION_COST:
		return cli_setting(&command->costs, "--cost", value);
	case OPTION_COSTS:
		if (command->costs_path)
			return cli_error("--costs is there twice");
		command->costs_path = value;
		return 0;
	case OPTION_SEED:
		return cli_number("--seed", value, &sim->seed);
	case OPTION_JSON:
		command->json = true;
		return 0;
	case OPTION_TRACE:
		command->trace_path = value;
		return 0;
	case OPTION_CHECK:
		sim->check = true;
		return 0;
	case OPTION_MAP:
		if (!strchr(value, ':'))
			return cli_error("--map: '%s' is not PROCESS:RANGE", value);
		return cli_text(&command->maps, &command->nr_maps, value);
	case OPTION_QUIET:
		command->quiet = true;
		return 0;
	case OPTION_LUA_LIMIT:
		if (cli_number("--lua-limit", value, &sim->lua_instructions))
			return CLI_USAGE;
		if (!sim->lua_instructions)
			return cli_error("--lua-limit: must be above 0");
		return 0;
	default:
		command->help = true;
		return 0;
	}
}

static int take_arguments(struct command *command, int argc, char **argv)
{
	int status = cli_take(options, argc, argv, take_option, command);

	if (!status && !command->file && !command->help)
		status = cli_error("run needs a file; see ksmsim run --help");
	if (!status && command->json && command->nr_maps)
		status = cli_error("--map draws where --json writes its observations");
	return status;
}

/* A line on the terminal, a few times a second. */
static void progress(void *self, const struct sim_run *run)
{
	struct command *command = self;
	struct timespec now;
	long long ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (now.tv_sec - command->shown.tv_sec) * 1000LL +
	     (now.tv_nsec - command->shown.tv_nsec) / 1000000;
	if (ms < 200)
		return;
	command->shown = now;
	fprintf(stderr, "\r\033[Kline %lu, %" PRIu64 " operations, virtual time %" PRIu64 ".%03u s",
		sim_run_line_number(run), sim_run_operations(run), sim_run_now(run) / 1000000000u,
		(unsigned)(sim_run_now(run) % 1000000000u / 1000000u));
}

static void set_outputs(struct command *command)
{
	struct sim_options *sim = &command->sim;

	if (sim->backend && !sim->profile)
		sim->profile = sim_live_profile();
	sim->knobs = command->knobs.list;
	sim->nr_knobs = command->knobs.nr;
	sim->features = command->features.list;
	sim->nr_features = command->features.nr;
	sim->costs = command->costs_path ? command->table.list : command->costs.list;
	sim->nr_costs = command->costs_path ? command->table.nr : command->costs.nr;
	sim->json = command->json ? stdout : NULL;
	sim->echo = command->json || command->quiet ? NULL : stdout;
	sim->map = command->nr_maps ? stdout : sim->echo;
	sim->trace = command->trace.file;
	sim->log = stderr;
	command->on_terminal = isatty(STDERR_FILENO) && !command->quiet;
	if (command->on_terminal) {
		sim->progress = progress;
		sim->progress_self = command;
		clock_gettime(CLOCK_MONOTONIC, &command->shown);
	}
}

static int run_stream(struct sim_run *run, FILE *in, const char *path)
{
	const size_t length = strlen(path);

	if (length > 4 && !strcmp(path + length - 4, ".lua"))
		return sim_run_lua(run, in, path);
	return sim_run_lines(run, in, path);
}

/* P:RANGE is the operation "map P RANGE". */
static int draw_maps(const struct command *command, struct sim_run *run)
{
	char text[256];
	size_t i;
	int error = 0;

	for (i = 0; !error && i < command->nr_maps; i++) {
		const char *place = command->maps[i], *colon = strchr(place, ':');

		snprintf(text, sizeof(text), "map %.*s %s", (int)(colon - place), place, colon + 1);
		error = sim_run_line(run, "--map", 1, text, strlen(text));
	}
	return error;
}

static int run_file(struct command *command, FILE *in)
{
	struct sim_run *run;
	char text[512];
	int error, status = CLI_DONE;

	if (sim_run_new(&command->sim, text, sizeof(text), &run))
		return cli_error("%s", text);
	error = run_stream(run, in, !strcmp(command->file, "-") ? "stdin" : command->file);
	if (command->on_terminal)
		fputs("\r\033[K", stderr);
	if (!error)
		error = draw_maps(command, run);
	if (!error)
		error = sim_run_end(run);
	if (!error && !command->json && !command->quiet)
		error = sim_run_report(run, stdout);
	if (error) {
		fprintf(stderr, "%s\n", sim_run_error(run));
		status = CLI_USAGE;
	} else if (sim_run_failed(run)) {
		fprintf(stderr,
			"%" PRIu64 " of %" PRIu64 " expectations failed (seed %" PRIu64 ")\n",
			sim_run_failed(run), sim_run_expected(run), command->sim.seed);
		status = CLI_FAILED;
	}
	sim_run_free(run);
	return status;
}

static FILE *open_scenario(const char *path)
{
	struct stat info;
	FILE *in;

	if (!strcmp(path, "-")) /* NOLINT: not NULL, take_arguments() has refused that */
		return stdin;
	in = fopen(path, "r");
	if (in && !fstat(fileno(in), &info) && S_ISDIR(info.st_mode)) {
		fclose(in);
		errno = EISDIR;
		in = NULL;
	}
	if (!in)
		cli_error("%s cannot be read: %s", path, strerror(errno));
	return in;
}

/* The rows of the file, and those of the command line behind them. */
static int read_costs(struct command *command)
{
	struct sim_costs *table = &command->table;
	char text[512];
	FILE *in;
	size_t i;
	int error;

	if (!command->costs_path)
		return 0;
	in = open_scenario(command->costs_path);
	if (!in)
		return CLI_USAGE;
	sim_mem_init(&command->mem, NULL);
	error = sim_costs_read(table, &command->mem, in,
			       in == stdin ? "stdin" : command->costs_path, text, sizeof(text));
	if (in != stdin)
		fclose(in);
	if (error)
		return cli_error("%s", text);
	for (i = 0; i < command->costs.nr; i++) {
		if (!sim_grow(table->mem, &table->list, &table->capacity, table->nr,
			      sizeof(*table->list)))
			return cli_error("no memory");
		table->list[table->nr++] = command->costs.list[i];
	}
	return 0;
}

static int run_command(struct command *command)
{
	FILE *in;
	int status = read_costs(command);

	if (status)
		return status;
	in = open_scenario(command->file);
	if (!in)
		return CLI_USAGE;
	if (command->trace_path && !cli_output_open(&command->trace, command->trace_path)) {
		status = CLI_USAGE;
	} else {
		set_outputs(command);
		status = run_file(command, in);
		if (status != CLI_USAGE && !cli_output_commit(&command->trace))
			status = CLI_USAGE;
		cli_output_drop(&command->trace);
	}
	if (in != stdin)
		fclose(in);
	return cli_finish(status);
}

static int print_help(void)
{
	printf("usage: ksmsim run FILE [OPTION...]\n\n"
	       "Runs a scenario on the model, or with --live on the running kernel. FILE ends in "
	       ".lua for the Lua form; anything else, "
	       "and\n"
	       "- for standard input, is the line form. See docs/SCENARIOS.md.\n\n");
	cli_print_options(options, stdout);
	printf("\nExit status: 0 all held, 1 an expectation failed, 2 bad usage or input.\n");
	return cli_finish(CLI_DONE);
}

int cmd_run(int argc, char **argv)
{
	struct command command = { .help = false };
	int status = take_arguments(&command, argc, argv);

	if (!status)
		status = command.help ? print_help() : run_command(&command);
	free(command.maps);
	free(command.knobs.list);
	free(command.features.list);
	free(command.costs.list);
	sim_costs_free(&command.table);
	return status;
}
