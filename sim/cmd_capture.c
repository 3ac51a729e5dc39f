/*
 * cmd_capture.c - ksmsim capture: fingerprints of the memory of running processes.
 *
 * No contents leave the processes. The file appears when the last round is done, and
 * not at all if something ends the program before.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "capture.h"
#include "cli.h"
#include "human.h"
#include "words.h"

#define THREADS_MAX 64u
#define INTERVAL_DEFAULT UINT64_C(30000000000)
#define INTERVAL_MAX (UINT64_C(7) * 24 * 3600 * 1000000000)
#define TROUBLES_SHOWN 10u

enum { NOT_THESE = -1 };

enum {
	OPTION_PID,
	OPTION_NAME,
	OPTION_CGROUP,
	OPTION_ALL,
	OPTION_TREE,
	OPTION_EXCLUDE,
	OPTION_USER,
	OPTION_MIN_RSS,
	OPTION_ROUNDS,
	OPTION_INTERVAL,
	OPTION_STOP,
	OPTION_KEYED,
	OPTION_THREADS,
	OPTION_OUT,
	OPTION_QUIET,
	OPTION_HELP
};

static const struct cli_option options[] = {
	[OPTION_PID] = { "--pid", "N[,N...]", "these processes" },
	[OPTION_NAME] = { "--name", "PATTERN",
			  "processes whose name, or program file, is like it" },
	[OPTION_CGROUP] = { "--cgroup", "PATH", "processes in this control group or below" },
	[OPTION_ALL] = { "--all", NULL, "every process" },
	[OPTION_TREE] = { "--tree", NULL, "the descendants of these, too" },
	[OPTION_EXCLUDE] = { "--exclude", "PATTERN", "but none with such a name" },
	[OPTION_USER] = { "--user", "NAME|UID", "but only of this user" },
	[OPTION_MIN_RSS] = { "--min-rss", "SIZE", "but only with so much resident memory: 10M" },
	[OPTION_ROUNDS] = { "--rounds", "N", "look so often (1): tells which pages change" },
	[OPTION_INTERVAL] = { "--interval", "TIME", "from round to round: 30s, 5m (30s)" },
	[OPTION_STOP] = { "--stop", NULL, "stop the processes during a round (SIGSTOP, SIGCONT)" },
	[OPTION_KEYED] = { "--keyed", NULL,
			   "with a secret key: fingerprints mean nothing outside this file" },
	[OPTION_THREADS] = { "--threads", "N", "read with so many (one for each CPU)" },
	[OPTION_OUT] = { "-o", "OUT", "the capture" },
	[OPTION_QUIET] = { "--quiet", NULL, "only what went wrong" },
	[OPTION_HELP] = { "--help", NULL, "this text" },
	{ NULL, NULL, NULL },
};

struct command {
	struct sim_capture_options capture;
	int64_t *pids;
	const char **names, **cgroups, **excludes;
	size_t nr_pids, nr_names, nr_cgroups, nr_excludes;
	const char *out;
	bool keyed, quiet, on_terminal, help;
};

static struct sim_word word_of(const char *text)
{
	return (struct sim_word){ text, strlen(text) };
}

static int take_user(struct command *c, const char *text)
{
	const struct passwd *user = getpwnam(text);
	uint64_t uid;

	if (user)
		c->capture.select.uid = (int64_t)user->pw_uid;
	else if (!sim_word_number(word_of(text), &uid) && uid <= UINT32_MAX)
		c->capture.select.uid = (int64_t)uid;
	else
		return cli_error("--user: there is no user '%s'", text);
	return 0;
}

static int take_wrong(const char *option, const char *text, const char *wrong)
{
	return wrong ? cli_error("%s: '%s' %s", option, text, wrong) : 0;
}

static int take_operand(const char *value)
{
	return cli_error("capture takes no operand; '%s' is one (processes are chosen with --pid, "
			 "--name, --cgroup or --all)",
			 value);
}

/* Options that say which processes; NOT_THESE: none of these. */
static int take_selection(struct command *c, int option, const char *value)
{
	struct sim_capture_select *select = &c->capture.select;

	switch (option) {
	case OPTION_PID:
		return cli_pids(&c->pids, &c->nr_pids, "--pid", value);
	case OPTION_NAME:
		return cli_text(&c->names, &c->nr_names, value);
	case OPTION_CGROUP:
		return cli_text(&c->cgroups, &c->nr_cgroups, value);
	case OPTION_EXCLUDE:
		return cli_text(&c->excludes, &c->nr_excludes, value);
	case OPTION_ALL:
		select->all = true;
		return 0;
	case OPTION_TREE:
		select->tree = true;
		return 0;
	case OPTION_USER:
		return take_user(c, value);
	case OPTION_MIN_RSS:
		return take_wrong("--min-rss", value,
				  sim_word_length(word_of(value), 1, &select->rss_min));
	default:
		return NOT_THESE;
	}
}

static int take_option(void *self, int option, const char *value)
{
	struct command *c = self;
	const int status = take_selection(c, option, value);

	if (status != NOT_THESE)
		return status;
	switch (option) {
	case OPTION_ROUNDS:
		return cli_number_to("--rounds", value, SIM_CAP_ROUNDS_MAX, &c->capture.rounds);
	case OPTION_INTERVAL:
		return take_wrong("--interval", value,
				  sim_word_time(word_of(value), &c->capture.interval_ns));
	case OPTION_THREADS:
		return cli_number_to("--threads", value, THREADS_MAX, &c->capture.threads);
	case OPTION_OUT:
		c->out = value;
		return 0;
	case OPTION_STOP:
		c->capture.stop = true;
		return 0;
	case OPTION_KEYED:
		c->keyed = true;
		return 0;
	case OPTION_QUIET:
		c->quiet = true;
		return 0;
	case OPTION_HELP:
		c->help = true;
		return 0;
	default:
		return take_operand(value);
	}
}

/* What the options say together. */
static int check_options(struct command *c)
{
	struct sim_capture_select *select = &c->capture.select;

	if (!c->nr_pids && !c->nr_names && !c->nr_cgroups && !select->all)
		return cli_error("capture needs --pid, --name, --cgroup or --all; see ksmsim "
				 "capture --help");
	if (!c->out)
		return cli_error("capture needs -o OUT; see ksmsim capture --help");
	if (select->all && c->capture.stop)
		return cli_error(
			"--stop and --all: this would stop what shows you the output, too");
	if (c->capture.interval_ns > INTERVAL_MAX)
		return cli_error("--interval: more than a week");
	select->pids = c->pids;
	select->nr_pids = c->nr_pids;
	select->names = c->names;
	select->nr_names = c->nr_names;
	select->cgroups = c->cgroups;
	select->nr_cgroups = c->nr_cgroups;
	select->excludes = c->excludes;
	select->nr_excludes = c->nr_excludes;
	return 0;
}

static int take_arguments(struct command *c, int argc, char **argv)
{
	int status = cli_take(options, argc, argv, take_option, c);

	return status || c->help ? status : check_options(c);
}

/* ---- the capture ---- */

static void show_progress(void *self, uint32_t round, uint64_t processes, uint64_t pages)
{
	const struct command *c = self;

	if (c->on_terminal)
		fprintf(stderr, "\rround %u of %u: %s processes, %s pages\033[K", round + 1,
			c->capture.rounds, sim_count((int64_t)processes).text,
			sim_count((int64_t)pages).text);
}

static void print_totals(const struct command *c, const struct sim_capture_totals *totals)
{
	if (c->on_terminal)
		fprintf(stderr, "\r\033[K");
	if (c->quiet)
		return;
	printf("%s: %u round%s, %s pages of %s processes in the last; %s spent reading\n", c->out,
	       c->capture.rounds, c->capture.rounds == 1 ? "" : "s",
	       sim_count((int64_t)totals->pages).text, sim_count((int64_t)totals->processes).text,
	       sim_wait(totals->busy_ns / 1000000).text);
	if (totals->unread || totals->vanished)
		printf("%s pages could not be read, %s went away while they were read\n",
		       sim_count((int64_t)totals->unread).text,
		       sim_count((int64_t)totals->vanished).text);
}

/* What could not be read, one line each, not too many. */
static void print_troubles(const char *path, uint64_t troubles)
{
	struct sim_capfile *file;
	char why[256];
	size_t i;

	if (!troubles || sim_capfile_open(path, why, sizeof(why), &file))
		return;
	for (i = 0; i < sim_capfile_nr_troubles(file) && i < TROUBLES_SHOWN; i++)
		fprintf(stderr, "ksmsim: round %u: %s\n", sim_capfile_trouble(file, i)->round,
			sim_capfile_trouble(file, i)->text);
	if (i < sim_capfile_nr_troubles(file))
		fprintf(stderr, "ksmsim: and %zu more; ksmsim info %s shows all\n",
			sim_capfile_nr_troubles(file) - i, path);
	sim_capfile_close(file);
}

static int write_meta(struct command *c, struct sim_capwriter *writer, int argc, char **argv)
{
	char text[4096], interval[32];

	cli_typed(argc, argv, text, sizeof(text));
	snprintf(interval, sizeof(interval), "%" PRIu64, c->capture.interval_ns);
	sim_capwriter_meta(writer, SIM_CAP_META_SOURCE, "live");
	sim_capwriter_meta(writer, SIM_CAP_META_COMMAND, text);
	sim_capwriter_meta(writer, SIM_CAP_META_INTERVAL, interval);
	sim_capwriter_meta(writer, "stopped", c->capture.stop ? "1" : "0");
	return sim_pagehash_meta(&c->capture.hash, writer);
}

/* Into a file that is open. 0, or what ends the program */
static int capture_into(struct command *c, FILE *out, struct sim_capture_totals *totals, int argc,
			char **argv)
{
	struct sim_capwriter *writer;
	char why[1024] = "";
	int error = sim_capwriter_open(c->out, why, sizeof(why), &writer);

	if (error)
		return cli_error("%s", why);
	error = write_meta(c, writer, argc, argv);
	if (!error)
		error = sim_capture(&c->capture, writer, totals, why, sizeof(why));
	if (!error)
		error = sim_capwriter_commit(writer, out);
	if (error)
		cli_error("%s", *why ? why : sim_capwriter_error(writer));
	sim_capwriter_free(writer);
	return error ? CLI_USAGE : 0;
}

static int capture(struct command *c, int argc, char **argv)
{
	struct sim_capture_totals totals = { .pages = 0 };
	struct cli_output output;
	uint64_t key = 0;
	int status;

	if (c->keyed && getrandom(&key, sizeof(key), 0) != sizeof(key))
		return cli_error("there is no chance for a key: %s", strerror(errno));
	sim_pagehash_init(&c->capture.hash, (uint32_t)sysconf(_SC_PAGESIZE),
			  c->keyed ? &key : NULL);
	c->on_terminal = isatty(STDERR_FILENO) && !c->quiet;
	c->capture.progress = show_progress;
	c->capture.self = c;
	if (!cli_output_open(&output, c->out))
		return CLI_USAGE;
	status = capture_into(c, output.file, &totals, argc, argv);
	if (!status && !cli_output_commit(&output))
		status = CLI_USAGE;
	cli_output_drop(&output);
	if (!status) {
		print_totals(c, &totals);
		print_troubles(c->out, totals.troubles);
	}
	return status;
}

static int print_help(void)
{
	printf("usage: ksmsim capture -o OUT --pid N | --name PATTERN | --cgroup PATH | --all "
	       "[OPTION...]\n\n"
	       "Writes down which pages of anonymous memory processes have, and a fingerprint of "
	       "each;\nno contents. Nothing is faulted in, split or un-shared, but one thing: a "
	       "page "
	       "that a running\nprocess gives away just while it is read may be faulted in again; "
	       "with --stop it cannot.\n\nOther users' processes need root; so do frames, folios "
	       "and "
	       "KSM pages of one's own.\n--pid, --name, --cgroup and --exclude may be "
	       "repeated.\n\n");
	cli_print_options(options, stdout);
	printf("\nExit status: 0 done (what could not be read is told), 2 bad usage, or nothing "
	       "was "
	       "read.\n");
	return cli_finish(CLI_DONE);
}

int cmd_capture(int argc, char **argv)
{
	struct command c = { .capture = { .rounds = 1, .interval_ns = INTERVAL_DEFAULT } };
	int status;

	c.capture.select.uid = SIM_CAP_UNKNOWN;
	status = take_arguments(&c, argc, argv);
	if (!status)
		status = c.help ? print_help() : cli_finish(capture(&c, argc, argv));
	free(c.pids);
	free(c.names);
	free(c.cgroups);
	free(c.excludes);
	return status;
}
