/*
 * cli.h - what the commands of the command line share.
 */
#ifndef SIM_CLI_H
#define SIM_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "output.h"
#include "sim.h"

enum cli_exit { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli_command {
	const char *name;
	int (*main)(int argc, char **argv); /* argv[0]: the command's name */
	const char *usage;		    /* the arguments */
	const char *doc;		    /* one sentence */
};

int cmd_run(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_record(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_calibrate(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_capture(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_estimate(int argc, char **argv);
int cmd_list(int argc, char **argv);

/* One option of a command. */
struct cli_option {
	const char *name;  /* "--profile" */
	const char *value; /* "P", or NULL: takes none */
	const char *doc;
};

enum { CLI_OPERAND = -1 };

/**
 * cli_take() - the arguments of a command, one after the other
 * @options: ends with a NULL name
 * @take: gets the index of an option, or CLI_OPERAND; ends it if it returns not 0
 * @command: for @take
 * Returns: 0, or a status (and a message was printed).
 */
int cli_take(const struct cli_option *options, int argc, char **argv,
	     int (*take)(void *command, int option, const char *value), void *command);

/* Values of options that may be repeated: NAME=VALUE. */
struct cli_settings {
	struct sim_setting *list; /* free() */
	size_t nr;
};

/* The text is the program's own argument: it is cut in two where it is. */
int cli_setting(struct cli_settings *to, const char *option, const char *text);
int cli_settings_add(struct cli_settings *to, const struct sim_setting *list, size_t nr);

/* A list of texts, and "1,2,3" in one of process ids; both to be freed with free(). */
int cli_text(const char ***list, size_t *nr, const char *text);
int cli_pids(int64_t **list, size_t *nr, const char *option, const char *text);

/* Message on stderr; returns CLI_USAGE. */
int cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_print_options(const struct cli_option *options, FILE *out);
/* 0 or CLI_USAGE */
int cli_number(const char *option, const char *text, uint64_t *value);
/* From 1 to @max. */
int cli_number_to(const char *option, const char *text, uint64_t max, uint32_t *value);
/* The command line as it was typed, cut off where it does not fit. */
void cli_typed(int argc, char **argv, char *buf, size_t size);
/* Flushes stdout; CLI_USAGE and a message if anything could not be written, else @status. */
int cli_finish(int status);

#endif
