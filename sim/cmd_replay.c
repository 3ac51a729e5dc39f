/*
 * cmd_replay.c - ksmsim replay: recordings of a kernel against the model.
 *
 * A recording holds the operations and what was seen after each. No kernel, no
 * root: the model does the operations again and must show the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "verdict.h"

enum { OPTION_KEEP_GOING, OPTION_JSON, OPTION_QUIET, OPTION_HELP };

static const struct cli_option options[] = {
	[OPTION_KEEP_GOING] = { "--keep-going", NULL, "tell all differences, not only the first" },
	[OPTION_JSON] = { "--json", NULL, "verdicts as JSON lines" },
	[OPTION_QUIET] = { "--quiet", NULL, "only what differs" },
	[OPTION_HELP] = { "--help", NULL, "this text" },
	{ NULL, NULL, NULL },
};

struct command {
	struct sim_lockstep_options lockstep;
	const char **files;
	size_t nr_files;
	bool json, quiet, help;
	struct sim_verdicts verdicts;
};

static int take_option(void *self, int option, const char *value)
{
	struct command *c = self;

	if (option == CLI_OPERAND)
		return cli_text(&c->files, &c->nr_files, value);
	c->lockstep.keep_going |= option == OPTION_KEEP_GOING;
	c->quiet |= option == OPTION_QUIET;
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
		return cli_error("replay needs a recording; see ksmsim replay --help");
	return 0;
}

static int replay_file(struct command *c, const char *path)
{
	struct sim_lockstep l;
	char again[1024];
	enum sim_verdict verdict;
	bool shown = true;
	FILE *in = fopen(path, "r");

	if (!in)
		return cli_error("%s cannot be read: %s", path, strerror(errno));
	sim_lockstep_recording(&l, &c->lockstep, in, path);
	fclose(in);
	snprintf(again, sizeof(again), "ksmsim replay %s", path);
	sim_verdicts_add(&c->verdicts, &l);
	verdict = sim_verdict_of(&l);
	if (c->json)
		shown = sim_verdict_json(&l, stdout, again);
	else if (!c->quiet || verdict != SIM_SAME)
		sim_verdict_print(&l, stdout, again);
	sim_lockstep_free(&l);
	return shown ? 0 : cli_error("no memory");
}

static int replay_all(struct command *c)
{
	size_t i;
	int status = 0;

	for (i = 0; !status && i < c->nr_files; i++)
		status = replay_file(c, c->files[i]);
	if (c->json)
		sim_verdicts_json(&c->verdicts, stdout);
	else
		sim_verdicts_print(&c->verdicts, stdout);
	if (c->verdicts.runs[SIM_DIFFERENT])
		return CLI_FAILED;
	return status || c->verdicts.runs[SIM_REFUSED] ? CLI_USAGE : CLI_DONE;
}

static int print_help(void)
{
	printf("usage: ksmsim replay RECORDING... [OPTION...]\n\n"
	       "Does the operations of recordings (ksmsim record) on the model, and compares what "
	       "it\nshows with what was seen then.\n\n");
	cli_print_options(options, stdout);
	printf("\nExit status: 0 all the same, 1 something differs, 2 bad usage or input.\n");
	return cli_finish(CLI_DONE);
}

int cmd_replay(int argc, char **argv)
{
	struct command c = { .files = NULL };
	int status = take_arguments(&c, argc, argv);

	if (!status)
		status = c.help ? print_help() : cli_finish(replay_all(&c));
	free(c.files);
	return status;
}
