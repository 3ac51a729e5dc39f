/*
 * cmd_record.c - ksmsim record: what the running kernel shows, for later.
 *
 * The recording has the form of `run --json`, with page states, and with the
 * LRU batches drained after every operation. It appears under its name only if
 * the scenario ran to its end on a machine that nobody else disturbed.
 */
#include <errno.h>
#include <string.h>

#include "cli.h"
#include "live.h"
#include "probe.h"

#define DISTURBED_MAX 5u

enum { OPTION_OUT, OPTION_AGAINST, OPTION_UNDRAINED, OPTION_LOSE_MEMORY, OPTION_HELP };

static const struct cli_option options[] = {
	[OPTION_OUT] = { "-o", "OUT", "the recording (standard output)" },
	[OPTION_AGAINST] = { "--of", "live|model", "what is recorded (live)" },
	[OPTION_UNDRAINED] = { "--undrained", NULL,
			       "leave the LRU batches as they are: what is in them is as other "
			       "programs have it" },
	[OPTION_LOSE_MEMORY] = { "--lose-memory", NULL,
				 "MADV_HWPOISON may take pages from this machine until it boots "
				 "again" },
	[OPTION_HELP] = { "--help", NULL, "this text" },
	{ NULL, NULL, NULL },
};

struct command {
	struct sim_options sim;
	struct sim_probe probe;
	struct sim_setting setting; /* that the machine needs */
	const char *file, *out;
	bool model, help;
};

static int take_option(void *self, int option, const char *value)
{
	struct command *c = self;

	switch (option) {
	case OPTION_OUT:
		c->out = value;
		return 0;
	case OPTION_AGAINST:
		c->model = strcmp(value, "model") == 0;
		if (!c->model && strcmp(value, "live") != 0)
			return cli_error("--of: '%s' is none of live, model", value);
		return 0;
	case OPTION_UNDRAINED:
		c->sim.drain = false;
		return 0;
	case OPTION_LOSE_MEMORY:
		c->sim.lose_memory = true;
		return 0;
	case OPTION_HELP:
		c->help = true;
		return 0;
	default:
		if (c->file)
			return cli_error("record takes one file; '%s' is a second one", value);
		c->file = value;
		return 0;
	}
}

static int take_arguments(struct command *c, int argc, char **argv)
{
	int status = cli_take(options, argc, argv, take_option, c);

	if (!status && !c->help && !c->file)
		status = cli_error("record needs a file; see ksmsim record --help");
	return status;
}

static int choose_kernel(struct command *c)
{
	char why[512];

	if (c->model)
		return 0;
	if (!sim_live_supported(why, sizeof(why)))
		return cli_error("the kernel cannot be used: %s", why);
	sim_probe(&c->probe, NULL, "");
	if (c->probe.note[0])
		fprintf(stderr, "ksmsim: %s\n", c->probe.note);
	c->sim.backend = sim_live_new;
	c->sim.allocator = &sim_live_allocator;
	c->sim.profile = c->probe.profile;
	c->sim.features = c->probe.features;
	c->sim.nr_features = c->probe.nr_features;
	c->sim.knobs = &c->setting;
	c->sim.nr_knobs = sim_live_setting(&c->setting);
	return 0;
}

/* @failed: out: expectations that did not hold */
static int run_scenario(struct command *c, FILE *in, FILE *out, uint64_t *failed)
{
	const char *end = strrchr(c->file, '.');
	const bool lua = end && strcmp(end, ".lua") == 0;
	struct sim_run *run;
	char text[1024];
	int error;

	c->sim.json = out;
	error = sim_run_new(&c->sim, text, sizeof(text), &run);
	if (error) {
		cli_error("%s", text);
		return error;
	}
	error = lua ? sim_run_lua(run, in, c->file) : sim_run_lines(run, in, c->file);
	if (!error)
		error = sim_run_end(run);
	if (error && error != SIM_LIVE_EDISTURBED)
		cli_error("%s", sim_run_error(run));
	*failed = sim_run_failed(run);
	sim_run_free(run);
	return error;
}

/* One recording, under its name if all went well. */
static int record_once(struct command *c, FILE *in, uint64_t *failed)
{
	struct cli_output output = { .file = NULL };
	int error;

	rewind(in);
	*failed = 0;
	if (c->out && !cli_output_open(&output, c->out))
		return SIM_EOUTPUT;
	error = run_scenario(c, in, c->out ? output.file : stdout, failed);
	if (!error && c->out && !cli_output_commit(&output))
		error = SIM_EOUTPUT;
	cli_output_drop(&output);
	return error;
}

/*
 * A scenario about what is in the LRU batches fails when they are drained all the
 * time; it is recorded as it is meant.
 */
static int record(struct command *c, FILE *in)
{
	uint64_t failed = 0;
	unsigned tries = 0;
	int error;

	for (;;) {
		error = record_once(c, in, &failed);
		if (!c->out || (error && error != SIM_LIVE_EDISTURBED))
			break;
		if (error && ++tries == DISTURBED_MAX) {
			cli_error("%s: another program disturbed it every time", c->file);
			break;
		}
		if (!error && (!failed || !c->sim.drain))
			break;
		c->sim.drain = c->sim.drain && !failed;
	}
	if (!error && failed)
		fprintf(stderr, "%s: %llu expectations failed\n", c->file,
			(unsigned long long)failed);
	return error ? CLI_USAGE : CLI_DONE;
}

static int print_help(void)
{
	printf("usage: ksmsim record FILE [-o OUT] [OPTION...]\n\n"
	       "Runs a scenario on the running kernel and writes down what it shows after each\n"
	       "operation. It is a strict guest, as verify is.\n\n");
	cli_print_options(options, stdout);
	printf("\nExit status: 0 recorded, 2 bad usage or input, or the kernel cannot be used.\n");
	return cli_finish(CLI_DONE);
}

int cmd_record(int argc, char **argv)
{
	struct command c = { .sim = {
				     .drain = true,
				     .pages = true,
			     } };
	FILE *in;
	int status = take_arguments(&c, argc, argv);

	if (!status && c.help)
		return print_help();
	if (!status)
		status = choose_kernel(&c);
	if (status)
		return status;
	in = c.file ? fopen(c.file, "r") : NULL;
	if (!in)
		return cli_error("%s cannot be read: %s", c.file, strerror(errno));
	status = cli_finish(record(&c, in));
	fclose(in);
	return status;
}
