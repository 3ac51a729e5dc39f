/*
 * main.c - the command line: which command, and nothing else.
 *
 * To add a command: a row in commands[], and sim/cmd_NAME.c.
 * Exit status: 0 done, 1 a check or comparison failed, 2 usage or bad input.
 */
#include <string.h>

#include "cli.h"
#include "sim.h"

static const struct cli_command commands[] = {
	{ "run", cmd_run, "FILE [OPTION...]", "run a scenario on the model" },
	{ "verify", cmd_verify, "FILE... [OPTION...]",
	  "compare the model with the running kernel, operation by operation" },
	{ "record", cmd_record, "FILE [-o OUT]", "write down what the running kernel shows" },
	{ "replay", cmd_replay, "RECORDING...", "compare the model with recordings" },
	{ "calibrate", cmd_calibrate, "[-o FILE] [--runs N]",
	  "measure the cost table on the running kernel" },
	{ "doctor", cmd_doctor, "[FILE...] [--json]",
	  "what is wrong with KSM on this host, or in a paste" },
	{ "capture", cmd_capture, "-o OUT [OPTION...]",
	  "fingerprints of the memory of running processes" },
	{ "import", cmd_import, "FILE... -o OUT", "a capture of dumps or of lists of page hashes" },
	{ "estimate", cmd_estimate, "[SOURCE...] [--pid N]",
	  "what KSM would save on captured memory, and cost" },
	{ "info", cmd_info, "CAPTURE [--json]", "what is in a capture" },
	{ "list", cmd_list, "[NAME] [--json]",
	  "profiles, features, knobs, counters, operations, ..." },
};
#define NR_COMMANDS (sizeof(commands) / sizeof(*commands))

static const char *command_name(const void *self, size_t i)
{
	static const char *const others[] = { "help", "--help", "--version" };

	(void)self;
	if (i < NR_COMMANDS)
		return commands[i].name;
	i -= NR_COMMANDS;
	return i < sizeof(others) / sizeof(*others) ? others[i] : NULL;
}

static const struct cli_command *find_command(const char *name)
{
	const char *guess = sim_nearest(name, strlen(name), command_name, NULL);
	size_t i;

	for (i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	if (guess)
		cli_error("there is no command '%s'; did you mean '%s'?", name, guess);
	else
		cli_error("there is no command '%s'; see ksmsim help", name);
	return NULL;
}

static void print_help(FILE *out)
{
	size_t i;

	fprintf(out, "usage: ksmsim COMMAND [ARGUMENT...]\n\n"
		     "Models the memory deduplication of Linux (KSM).\n\n");
	for (i = 0; i < NR_COMMANDS; i++)
		fprintf(out, "  %-9s %-20s %s\n", commands[i].name, commands[i].usage,
			commands[i].doc);
	fprintf(out, "  %-9s %-20s %s\n", "help", "[COMMAND]", "this text, or a command's options");
	fprintf(out, "\nksmsim --version prints the version.\n");
}

static int help(int argc, char **argv)
{
	char option[] = "--help";
	const struct cli_command *command;

	if (argc < 2) {
		print_help(stdout);
		return cli_finish(CLI_DONE);
	}
	command = find_command(argv[1]);
	return command ? command->main(2, (char *[]){ argv[1], option, NULL }) : CLI_USAGE;
}

int main(int argc, char **argv)
{
	const struct cli_command *command;

	if (argc < 2) {
		print_help(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help"))
		return help(argc - 1, argv + 1);
	if (!strcmp(argv[1], "--version")) {
		printf("ksmsim %s\n", KSMSIM_VERSION);
		return cli_finish(CLI_DONE);
	}
	command = find_command(argv[1]);
	return command ? command->main(argc - 1, argv + 1) : CLI_USAGE;
}
