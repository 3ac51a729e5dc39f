/*
 * cli.c - what the commands share: arguments and messages.
 *
 * A message begins with the name of the program and goes to standard error. An
 * option is told from an operand as everywhere: --name VALUE, --name=VALUE, and
 * -- before operands that look like options. Files: see output.c.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "sim.h"
#include "words.h"

int cli_error(const char *format, ...)
{
	va_list args;

	fputs("ksmsim: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return CLI_USAGE;
}

static const char *option_name(const void *self, size_t i)
{
	const struct cli_option *options = self;

	return options[i].name;
}

static int find_option(const struct cli_args *args, const char *text, size_t length)
{
	int i;

	for (i = 0; args->options[i].name; i++)
		if (strlen(args->options[i].name) == length &&
		    !memcmp(args->options[i].name, text, length))
			return i;
	return CLI_BAD;
}

static int bad_option(const struct cli_args *args, const char *text, size_t length)
{
	const char *guess = sim_nearest(text, length, option_name, args->options);

	if (guess)
		cli_error("%s has no option %.*s; did you mean %s?", args->command, (int)length,
			  text, guess);
	else
		cli_error("%s has no option %.*s; see ksmsim %s --help", args->command, (int)length,
			  text, args->command);
	return CLI_BAD;
}

int cli_next(struct cli_args *args, const char **value)
{
	const char *text, *equals;
	size_t length;
	int option;

	*value = NULL;
	if (args->next >= args->argc)
		return CLI_END;
	text = args->argv[args->next++];
	if (!args->only_operands && !strcmp(text, "--")) {
		args->only_operands = true;
		return cli_next(args, value);
	}
	if (args->only_operands || text[0] != '-' || !text[1]) {
		*value = text;
		return CLI_OPERAND;
	}
	equals = strchr(text, '=');
	length = equals ? (size_t)(equals - text) : strlen(text);
	option = find_option(args, text, length);
	if (option < 0)
		return bad_option(args, text, length);
	if (!args->options[option].value) {
		if (equals)
			cli_error("%.*s takes no value", (int)length, text);
		return equals ? CLI_BAD : option;
	}
	if (equals) {
		*value = equals + 1;
	} else if (args->next < args->argc) {
		*value = args->argv[args->next++];
	} else {
		cli_error("%s needs a value: %s", text, args->options[option].value);
		return CLI_BAD;
	}
	return option;
}

void cli_print_options(const struct cli_option *options, FILE *out)
{
	char left[64];

	for (; options->name; options++) {
		snprintf(left, sizeof(left), "%s %s", options->name,
			 options->value ? options->value : "");
		fprintf(out, "  %-24s %s\n", left, options->doc);
	}
}

bool cli_number(const char *option, const char *text, uint64_t *value)
{
	const char *wrong = sim_word_number((struct sim_word){ text, strlen(text) }, value);

	if (wrong)
		cli_error("%s: '%s' %s", option, text, wrong);
	return !wrong;
}

int cli_finish(int status)
{
	if (fflush(stdout) || ferror(stdout))
		return cli_error("standard output cannot be written: %s",
				 strerror(errno ? errno : EIO));
	return status;
}
