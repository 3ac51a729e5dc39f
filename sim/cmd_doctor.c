/*
 * cmd_doctor.c - ksmsim doctor: what is wrong with KSM on a host.
 *
 * Without files it reads this host; with files, what somebody pasted of theirs.
 * The host is read only: nothing is ever written to /sys or /proc. Two readings
 * with an interval between (--interval alone: this host twice; with --later: two
 * sets of files) tell whether ksmd gets on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "doctor.h"
#include "words.h"

#define SECOND_NS 1000000000ull
#define INTERVAL_MAX (7 * 86400 * SECOND_NS)

enum { OPTION_INTERVAL, OPTION_LATER, OPTION_ROOT, OPTION_PAGE, OPTION_JSON, OPTION_HELP };

static const struct cli_option options[] = {
	[OPTION_INTERVAL] = { "--interval", "TIME",
			      "two readings, this long apart (10s, 5m); of files: see --later" },
	[OPTION_LATER] = { "--later", "FILE", "the second reading, may be given several times" },
	[OPTION_ROOT] = { "--root", "DIR", "read DIR/sys and DIR/proc instead of /sys and /proc" },
	[OPTION_PAGE] = { "--page-size", "BYTES", "of the host of the files (4K)" },
	[OPTION_JSON] = { "--json", NULL, "one JSON object" },
	[OPTION_HELP] = { "--help", NULL, "this text" },
	{ NULL, NULL, NULL },
};

struct command {
	const char **files, **later;
	size_t nr_files, nr_later;
	const char *root;
	uint64_t interval_ns, page;
	bool json, help;
	struct sim_mem mem;
	struct host first, second;
};

/* ---- arguments ---- */

static int take_interval(struct command *c, const char *value)
{
	const struct sim_word word = { value, strlen(value) };
	const char *wrong = sim_word_time(word, &c->interval_ns);

	if (wrong && !sim_word_number(word, &c->interval_ns)) {
		wrong = NULL;
		c->interval_ns = c->interval_ns > INTERVAL_MAX ? 0 : c->interval_ns * SECOND_NS;
	}
	if (wrong || c->interval_ns < SECOND_NS / 1000 || c->interval_ns > INTERVAL_MAX)
		return cli_error("--interval: '%s' is no time between 1ms and 168h", value);
	return 0;
}

static int take_page(struct command *c, const char *value)
{
	const struct sim_word word = { value, strlen(value) };

	if (sim_word_length(word, 1, &c->page) || c->page < 4096 || c->page > 65536 ||
	    (c->page & (c->page - 1)))
		return cli_error("--page-size: '%s' is none of 4K, 8K, 16K, 32K, 64K", value);
	return 0;
}

static int take_option(void *self, int option, const char *value)
{
	struct command *c = self;

	switch (option) {
	case CLI_OPERAND:
		return cli_text(&c->files, &c->nr_files, value);
	case OPTION_INTERVAL:
		return take_interval(c, value);
	case OPTION_LATER:
		return cli_text(&c->later, &c->nr_later, value);
	case OPTION_ROOT:
		c->root = value;
		return 0;
	case OPTION_PAGE:
		return take_page(c, value);
	case OPTION_JSON:
		c->json = true;
		return 0;
	default:
		c->help = true;
		return 0;
	}
}

static int take_arguments(struct command *c, int argc, char **argv)
{
	int status = cli_take(options, argc, argv, take_option, c);

	if (status || c->help)
		return status;
	if (c->nr_later && (!c->nr_files || !c->interval_ns))
		return cli_error(
			"--later needs files of the first reading and --interval, the time "
			"between the two");
	if (c->interval_ns && c->nr_files && !c->nr_later)
		return cli_error("--interval with files needs --later FILE, the second reading");
	if (c->root && c->nr_files)
		return cli_error("--root is for a host that is read, not for files");
	return 0;
}

/* ---- readings ---- */

static int read_file(struct host *host, const char *path)
{
	const bool standard = !strcmp(path, "-");
	FILE *in = standard ? stdin : fopen(path, "re");
	char why[1024];
	int error;

	if (!in)
		return cli_error("%s cannot be read: %s", path, strerror(errno));
	error = host_text_read(host, in, standard ? "stdin" : path, why, sizeof(why));
	if (!standard)
		fclose(in);
	return error ? cli_error("%s", why) : 0;
}

static int read_files(struct host *host, const char **files, size_t nr)
{
	size_t i;
	int status = 0;

	for (i = 0; !status && i < nr; i++)
		status = read_file(host, files[i]);
	return status;
}

static int read_host(struct command *c, struct host *host)
{
	char why[1024];

	return host_read(host, c->root ? c->root : "", why, sizeof(why)) ? cli_error("%s", why) : 0;
}

static void wait_interval(uint64_t ns)
{
	struct timespec left = { .tv_sec = (time_t)(ns / SECOND_NS),
				 .tv_nsec = (long)(ns % SECOND_NS) };

	while (nanosleep(&left, &left) && errno == EINTR)
		continue;
}

static int read_all(struct command *c)
{
	int status;

	if (c->nr_files) {
		status = read_files(&c->first, c->files, c->nr_files);
		return status || !c->nr_later ? status
					      : read_files(&c->second, c->later, c->nr_later);
	}
	status = read_host(c, &c->first);
	if (status || !c->interval_ns)
		return status;
	wait_interval(c->interval_ns);
	return read_host(c, &c->second);
}

/* ---- the answer ---- */

static void name_source(const struct command *c, char *buf, size_t size)
{
	struct utsname uname_of;
	char text[256] = "this host";
	const char *name = text;

	if (c->nr_files)
		name = strcmp(c->files[0], "-") != 0 ? c->files[0] : "stdin";
	else if (c->root)
		name = c->root;
	else if (!uname(&uname_of))
		snprintf(text, sizeof(text), "this host, Linux %s", uname_of.release);
	host_label(buf, size, name, strlen(name));
}

static int answer(struct command *c)
{
	struct doctor doctor = { .mem = &c->mem,
				 .now = c->interval_ns ? &c->second : &c->first,
				 .before = c->interval_ns ? &c->first : NULL,
				 .interval_ms = (int64_t)(c->interval_ns / (SECOND_NS / 1000)) };
	char source[512];
	int status = doctor_examine(&doctor) ? cli_error("no memory") : 0;

	name_source(c, source, sizeof(source));
	if (!status && c->json)
		status = doctor_json(&doctor, source, stdout) ? 0 : cli_error("no memory");
	else if (!status)
		doctor_print(&doctor, source, stdout);
	if (!status)
		status = cli_finish(doctor_objects(&doctor) ? CLI_FAILED : CLI_DONE);
	doctor_free(&doctor);
	return status;
}

static int print_help(void)
{
	printf("usage: ksmsim doctor [FILE...] [OPTION...]\n\n"
	       "Says why nothing merges, whether the counters add up, whether it pays, how long a\n"
	       "full scan takes, and what to change. Without a FILE it reads this host (and only\n"
	       "reads); root sees more processes. A FILE (- is standard input) has what\n"
	       "'grep -r . /sys/kernel/mm/ksm' prints, ksm_stat, smaps, vmstat or meminfo.\n\n");
	cli_print_options(options, stdout);
	printf("\nExit status: 0 nothing to change, 1 a problem or a warning, 2 bad usage or "
	       "input.\n");
	return cli_finish(CLI_DONE);
}

int cmd_doctor(int argc, char **argv)
{
	struct command c = { .page = 4096 };
	int status = take_arguments(&c, argc, argv);

	sim_mem_init(&c.mem, NULL);
	if (!status && !c.nr_files && !c.root)
		c.page = (uint64_t)sysconf(_SC_PAGESIZE);
	host_init(&c.first, &c.mem, c.page);
	host_init(&c.second, &c.mem, c.page);
	if (!status && c.help)
		status = print_help();
	else if (!status) {
		status = read_all(&c);
		status = status ? status : answer(&c);
	}
	host_free(&c.first);
	host_free(&c.second);
	free(c.files);
	free(c.later);
	return status;
}
