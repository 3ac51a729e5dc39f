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

/* Reads the arguments of a command one after the other. */
struct cli_args {
	const char *command;
	const struct cli_option *options; /* ends with a NULL name */
	int argc;
	char **argv;
	int next;
	bool only_operands; /* after -- */
};

enum { CLI_END = -1, CLI_OPERAND = -2, CLI_BAD = -3 };

/**
 * cli_next() - the next argument
 * @value: out: of the option, or the operand
 * Returns: index of the option, CLI_OPERAND, CLI_END, or CLI_BAD (a message was printed).
 */
int cli_next(struct cli_args *args, const char **value);

/* Message on stderr; returns CLI_USAGE. */
int cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_print_options(const struct cli_option *options, FILE *out);
bool cli_number(const char *option, const char *text, uint64_t *value);
/* Flushes stdout; CLI_USAGE and a message if anything could not be written, else @status. */
int cli_finish(int status);

#endif
