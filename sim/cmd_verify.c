/*
 * cmd_verify.c - ksmsim verify: the same scenario on the model and on the kernel.
 *
 * Standard output has one verdict for each scenario, then all together. What a
 * random run finds is shrunk and written to a file named by its seed, which is
 * a scenario like any other. A run that somebody else disturbed proves nothing
 * and is repeated.
 *
 * The other side need not be the kernel: a second model, with features of its
 * own, without short cuts or with batches of one page, shows what a change of the
 * model changes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"
#include "cli.h"
#include "generate.h"
#include "live.h"
#include "probe.h"
#include "verdict.h"

#define DISTURBED_MAX 5u /* times in a row */
#define SHRINK_TRIES_DEFAULT 2000u
#define STEADY_RUNS 3u

enum {
	OPTION_KEEP_GOING,
	OPTION_AGAINST,
	OPTION_PROFILE,
	OPTION_FEATURE,
	OPTION_OTHER,
	OPTION_KNOB,
	OPTION_SEED,
	OPTION_REPEAT,
	OPTION_RANDOM,
	OPTION_THP,
	OPTION_OPS,
	OPTION_RUNS,
	OPTION_TRIES,
	OPTION_OUT,
	OPTION_LOSE_MEMORY,
	OPTION_JSON,
	OPTION_QUIET,
	OPTION_HELP,
};

static const struct cli_option options[] = {
	[OPTION_KEEP_GOING] = { "--keep-going", NULL, "tell all differences, not only the first" },
	[OPTION_AGAINST] = { "--against", "live|model|plain|single",
			     "the other side (live): the kernel, a second model, one whose scan "
			     "takes no short cuts, or only batches of one page" },
	[OPTION_PROFILE] = { "--profile", "P",
			     "the kernel that the model is (as the running one)" },
	[OPTION_FEATURE] = { "--feature", "F=0|1", "change a behaviour of the model" },
	[OPTION_OTHER] = { "--other", "F=0|1", "change a behaviour of a second model" },
	[OPTION_KNOB] = { "--knob", "K=V", "write V to a knob on both sides first" },
	[OPTION_SEED] = { "--seed", "N", "of every chance in the model (0)" },
	[OPTION_REPEAT] = { "--repeat", "N", "everything N times (1)" },
	[OPTION_RANDOM] = { "--random", "SEED",
			    "random scenarios, from this seed on, and no file" },
	[OPTION_THP] = { "--thp", NULL, "random scenarios with huge pages" },
	[OPTION_OPS] = { "--ops", "N", "operations of a random scenario (100)" },
	[OPTION_RUNS] = { "--runs", "N", "how many random scenarios (1)" },
	[OPTION_TRIES] = { "--tries", "N", "runs for shrinking one that differs (2000)" },
	[OPTION_OUT] = { "--out", "DIR", "where random scenarios that differ are written (.)" },
	[OPTION_LOSE_MEMORY] = { "--lose-memory", NULL,
				 "MADV_HWPOISON may take pages from this machine until it boots "
				 "again" },
	[OPTION_JSON] = { "--json", NULL, "verdicts as JSON lines" },
	[OPTION_QUIET] = { "--quiet", NULL, "only what differs" },
	[OPTION_HELP] = { "--help", NULL, "this text" },
	{ NULL, NULL, NULL },
};

struct command {
	struct sim_lockstep_options lockstep;
	struct cli_settings features, others, knobs;
	struct cli_settings second; /* features of a second model */
	const char **files;
	size_t nr_files;
	const char *against, *profile, *out;
	uint64_t random, ops, runs, repeat, tries;
	bool is_random, thp, json, quiet, help;
	struct sim_probe probe;
	struct sim_verdicts verdicts;
	char again[512]; /* what comes before and behind the file */
};

/* ---- arguments ---- */

static int take_against(struct command *c, const char *value)
{
	static const char *const sides[] = { "live", "model", "plain", "single" };
	size_t i;

	for (i = 0; i < sizeof(sides) / sizeof(*sides); i++)
		if (!strcmp(value, sides[i]))
			c->against = sides[i];
	if (strcmp(value, c->against) != 0)
		return cli_error("--against: '%s' is none of live, model, plain, single", value);
	return 0;
}

static int take_option(void *self, int option, const char *value)
{
	struct command *c = self;

	switch (option) {
	case CLI_OPERAND:
		return cli_text(&c->files, &c->nr_files, value);
	case OPTION_AGAINST:
		return take_against(c, value);
	case OPTION_PROFILE:
		c->profile = value;
		return 0;
	case OPTION_FEATURE:
		return cli_setting(&c->features, "--feature", value);
	case OPTION_OTHER:
		return cli_setting(&c->others, "--other", value);
	case OPTION_KNOB:
		return cli_setting(&c->knobs, "--knob", value);
	case OPTION_SEED:
		return cli_number("--seed", value, &c->lockstep.side[0].seed);
	case OPTION_REPEAT:
		return cli_number("--repeat", value, &c->repeat);
	case OPTION_RANDOM:
		c->is_random = true;
		return cli_number("--random", value, &c->random);
	case OPTION_OPS:
		return cli_number("--ops", value, &c->ops);
	case OPTION_RUNS:
		return cli_number("--runs", value, &c->runs);
	case OPTION_TRIES:
		return cli_number("--tries", value, &c->tries);
	case OPTION_OUT:
		c->out = value;
		return 0;
	default:
		c->lockstep.keep_going |= option == OPTION_KEEP_GOING;
		c->lockstep.side[1].lose_memory |= option == OPTION_LOSE_MEMORY;
		c->json |= option == OPTION_JSON;
		c->thp |= option == OPTION_THP;
		c->quiet |= option == OPTION_QUIET;
		c->help |= option == OPTION_HELP;
		return 0;
	}
}

static int take_arguments(struct command *c, int argc, char **argv)
{
	int status = cli_take(options, argc, argv, take_option, c);

	if (!status && !c->help && !c->nr_files && !c->is_random)
		status = cli_error("verify needs a file, or --random; see ksmsim verify --help");
	if (!status && c->nr_files && c->is_random)
		status = cli_error("verify takes files or --random, not both");
	if (!status && c->others.nr && strcmp(c->against, "live") == 0)
		status = cli_error("--other needs --against model, plain or single");
	return status;
}

/* ---- sides ---- */

static void note_settings(struct command *c, const char *option,
			  const struct cli_settings *settings)
{
	size_t i, length = strlen(c->again);

	for (i = 0; i < settings->nr && length < sizeof(c->again); i++)
		length +=
			(size_t)snprintf(c->again + length, sizeof(c->again) - length, " %s %s=%s",
					 option, settings->list[i].name, settings->list[i].value);
}

/* The options that matter to a run, as they would be typed. */
static void note_again(struct command *c)
{
	size_t length = 0;

	c->again[0] = '\0';
	if (strcmp(c->against, "live") != 0)
		length += (size_t)snprintf(c->again, sizeof(c->again), " --against %s", c->against);
	if (c->profile)
		length += (size_t)snprintf(c->again + length, sizeof(c->again) - length,
					   " --profile %s", c->profile);
	if (c->lockstep.side[0].seed)
		snprintf(c->again + length, sizeof(c->again) - length, " --seed %" PRIu64,
			 c->lockstep.side[0].seed);
	note_settings(c, "--feature", &c->features);
	note_settings(c, "--other", &c->others);
	note_settings(c, "--knob", &c->knobs);
}

static int choose_live(struct command *c)
{
	struct sim_options *model = &c->lockstep.side[0];
	const char *missing;
	struct sim_setting setting;
	char why[512];

	if (!sim_live_supported(why, sizeof(why)))
		return cli_error("the kernel cannot be used: %s", why);
	if (!sim_live_tells(&missing))
		fprintf(stderr, "ksmsim: %s\n", missing);
	c->lockstep.side[1].backend = sim_live_new;
	c->lockstep.side[0].allocator = c->lockstep.side[1].allocator = &sim_live_allocator;
	if (sim_live_setting(&setting) && cli_settings_add(&c->knobs, &setting, 1))
		return CLI_USAGE;
	if (c->profile)
		return 0;
	sim_probe(&c->probe, NULL, "");
	model->profile = c->lockstep.side[1].profile = c->probe.profile;
	if (c->probe.note[0])
		fprintf(stderr, "ksmsim: %s\n", c->probe.note);
	return cli_settings_add(&c->features, c->probe.features, c->probe.nr_features);
}

static int choose_sides(struct command *c)
{
	struct sim_options *model = &c->lockstep.side[0], *other = &c->lockstep.side[1];
	int status = 0;

	model->profile = other->profile = c->profile;
	other->seed = model->seed;
	note_again(c);
	if (strcmp(c->against, "live") == 0)
		status = choose_live(c);
	else if (strcmp(c->against, "plain") == 0)
		other->backend = sim_plain_new;
	else if (strcmp(c->against, "single") == 0)
		other->backend = sim_single_new;
	model->features = c->features.list;
	model->nr_features = c->features.nr;
	model->knobs = other->knobs = c->knobs.list;
	model->nr_knobs = other->nr_knobs = c->knobs.nr;
	if (strcmp(c->against, "live") == 0)
		return status;
	/* a second model is like the first, but for --other */
	status = cli_settings_add(&c->second, c->features.list, c->features.nr);
	if (!status)
		status = cli_settings_add(&c->second, c->others.list, c->others.nr);
	other->features = c->second.list;
	other->nr_features = c->second.nr;
	return status;
}

/* ---- runs ---- */

/* Out of memory is the only thing that can go wrong with a verdict. */
static bool show(const struct command *c, const struct sim_lockstep *l, const char *again)
{
	const enum sim_verdict verdict = sim_verdict_of(l);

	if (c->json)
		return sim_verdict_json(l, stdout, again);
	if (!c->quiet || verdict == SIM_DIFFERENT || verdict == SIM_REFUSED)
		sim_verdict_print(l, stdout, again);
	fflush(stdout);
	return true;
}

/* 0, or CLI_USAGE when nothing further makes sense. */
static int judge(struct command *c, const struct sim_lockstep *l, const char *again)
{
	sim_verdicts_add(&c->verdicts, l);
	if (!show(c, l, again))
		return cli_error("no memory");
	return l->status == SIM_LIVE_EREFUSED || l->status == KSMSIM_ENOMEM ? CLI_USAGE : 0;
}

/* Was it somebody else? */
static bool is_disturbed(const struct command *c, const struct sim_lockstep *l)
{
	return l->status == SIM_LIVE_EDISTURBED ||
	       (c->lockstep.side[1].backend == sim_live_new && sim_lockstep_doubts(l));
}

/* Whoever disturbed the run is given more time each time to be done. */
static void let_pass(const struct sim_lockstep *l, unsigned tries)
{
	const struct timespec pause = { .tv_sec = (time_t)tries };

	if (l->status == SIM_LIVE_EDISTURBED)
		nanosleep(&pause, NULL);
}

/* Does it differ where something else on the CPU may have drained the batches in between? */
static bool is_doubtful(const struct sim_lockstep_options *o, const struct sim_lockstep *l)
{
	return o->undrained && sim_verdict_of(l) == SIM_DIFFERENT;
}

static int verify_file(struct command *c, const char *path)
{
	struct sim_lockstep_options o = c->lockstep;
	struct sim_lockstep l;
	char again[1024];
	unsigned tries = 0;
	bool doubtful;
	FILE *in = fopen(path, "r");
	int status;

	if (!in)
		return cli_error("%s cannot be read: %s", path, strerror(errno));
	for (;;) {
		status = sim_lockstep_file(&l, &o, in, path);
		doubtful = is_doubtful(&o, &l);
		/* about what is in the LRU batches: once more, as they are */
		if (!status && l.nr_reports && !o.undrained && sim_lockstep_agrees(&l))
			o.undrained = true;
		else if (!(doubtful || is_disturbed(c, &l)) || ++tries == DISTURBED_MAX)
			break;
		c->verdicts.repeated += doubtful;
		let_pass(&l, tries);
		sim_lockstep_free(&l);
		rewind(in);
	}
	snprintf(again, sizeof(again), "ksmsim verify %s%s", path, c->again);
	status = judge(c, &l, again);
	sim_lockstep_free(&l);
	fclose(in);
	return status;
}

/* A scenario that still differs, and where it is from, as a file. */
static int keep(struct command *c, uint64_t seed, const json_t *operations, char *path, size_t size)
{
	struct cli_output output;
	const json_t *line;
	size_t i;

	snprintf(path, size, "%s/random-%" PRIu64 ".ksm", c->out, seed);
	if (!cli_output_open(&output, path))
		return CLI_USAGE;
	fprintf(output.file,
		"# What is left of ksmsim verify --random %" PRIu64 "%s --ops %" PRIu64 "%s\n",
		seed, c->thp ? " --thp" : "", c->ops, c->again);
	json_array_foreach((json_t *)operations, i, line)
		fprintf(output.file, "%s\n", json_string_value(line));
	return cli_output_commit(&output) ? 0 : CLI_USAGE;
}

/* @least: NULL: as it ran, @l */
static int keep_and_judge(struct command *c, uint64_t seed, const json_t *least,
			  struct sim_lockstep *l)
{
	char path[512], again[1152];
	int status = keep(c, seed, least ? least : l->accepted, path, sizeof(path));

	l->name = path;
	snprintf(again, sizeof(again), "ksmsim verify %s%s", path, c->again);
	if (!status)
		status = judge(c, l, again);
	l->name = NULL;
	return status;
}

/* Does it always differ? Something else on the CPU may have drained the batches in between. */
static bool is_steady(const struct command *c, const json_t *operations)
{
	unsigned i;

	for (i = 0; i < STEADY_RUNS; i++) {
		struct sim_lockstep l;
		bool differs;

		sim_lockstep_list(&l, &c->lockstep, operations, "again");
		differs = sim_verdict_of(&l) == SIM_DIFFERENT;
		sim_lockstep_free(&l);
		if (!differs)
			return false;
	}
	return true;
}

/* @gone: it does not always differ when it is run again, and @l is all that is known. */
static int shrink_and_keep(struct command *c, uint64_t seed, const struct sim_lockstep *l,
			   bool *gone)
{
	struct sim_lockstep shrunk;
	json_t *least = sim_shrink(&c->lockstep, l->accepted, c->tries, &shrunk);
	int status = 0;

	*gone = !least || !is_steady(c, least);
	if (!*gone)
		status = keep_and_judge(c, seed, least, &shrunk);
	json_decref(least);
	sim_lockstep_free(&shrunk);
	return status;
}

static int run_seed(struct command *c, const json_t *operations, const char *name,
		    struct sim_lockstep *l)
{
	struct sim_lockstep_options lenient = c->lockstep;
	unsigned tries = 0;
	int status;

	lenient.lenient = true;
	for (;;) {
		status = sim_lockstep_list(l, &lenient, operations, name);
		if (!is_disturbed(c, l) || ++tries == DISTURBED_MAX)
			return status;
		let_pass(l, tries);
		sim_lockstep_free(l);
	}
}

/* What differs only once is told and repeated; if it is never the same, it is a difference. */
static int verify_seed(struct command *c, uint64_t seed)
{
	json_t *operations = c->thp ? sim_generate_thp(seed, c->ops) : sim_generate(seed, c->ops);
	unsigned tries = 0;
	bool gone = true;
	int status = 0;

	if (!operations)
		return cli_error("no memory");
	while (gone && !status) {
		struct sim_lockstep l;
		char name[64];

		snprintf(name, sizeof(name), "random %" PRIu64, seed);
		run_seed(c, operations, name, &l);
		gone = false;
		if (sim_verdict_of(&l) != SIM_DIFFERENT)
			status = judge(c, &l, "");
		else if (++tries == DISTURBED_MAX)
			status = keep_and_judge(c, seed, NULL, &l);
		else
			status = shrink_and_keep(c, seed, &l, &gone);
		if (gone) {
			sim_verdict_print(&l, stdout, "it does not always differ, and is repeated");
			c->verdicts.repeated++;
		}
		sim_lockstep_free(&l);
	}
	json_decref(operations);
	return status;
}

static int verify_all(struct command *c)
{
	uint64_t round, i;
	int status = 0;

	for (round = 0; !status && round < c->repeat; round++) {
		for (i = 0; !status && i < c->nr_files; i++)
			status = verify_file(c, c->files[i]);
		for (i = 0; !status && c->is_random && i < c->runs; i++)
			status = verify_seed(c, c->random + i);
	}
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
	printf("usage: ksmsim verify FILE... [OPTION...]\n"
	       "       ksmsim verify --random SEED [--ops N] [--runs N] [OPTION...]\n\n"
	       "Runs scenarios on the model and on the running kernel at the same time and "
	       "compares\n"
	       "them after every operation. It is a strict guest: it refuses to start where\n"
	       "somebody else uses KSM, and puts back every knob.\n\n");
	cli_print_options(options, stdout);
	printf("\nExit status: 0 all the same (or skipped), 1 something differs, 2 bad usage or "
	       "input,\nor the kernel cannot be used.\n");
	return cli_finish(CLI_DONE);
}

int cmd_verify(int argc, char **argv)
{
	struct command c = { .against = "live",
			     .out = ".",
			     .ops = 100,
			     .runs = 1,
			     .repeat = 1,
			     .tries = SHRINK_TRIES_DEFAULT };
	int status = take_arguments(&c, argc, argv);

	if (!status && c.help)
		status = print_help();
	else if (!status) {
		status = choose_sides(&c);
		if (!status)
			status = cli_finish(verify_all(&c));
	}
	free(c.features.list);
	free(c.others.list);
	free(c.second.list);
	free(c.knobs.list);
	free(c.files);
	return status;
}
