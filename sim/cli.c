/*
 * cli.c - what the commands share: arguments and messages.
 *
 * A message begins with the name of the program and goes to standard error. An
 * option is told from an operand as everywhere: --name VALUE, --name=VALUE, and
 * -- before operands that look like options. Files: see output.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "vector.h"
#include "words.h"

enum { END = -2, BAD = -3 }; /* beside options and CLI_OPERAND */

struct cli_args {
	const char *command;
	const struct cli_option *options;
	int argc;
	char **argv;
	int next;
	bool only_operands; /* after -- */
};

/* ---- messages ---- */

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

/* ---- arguments ---- */

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
	return BAD;
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
	return BAD;
}

/* Index of an option, CLI_OPERAND, END, or BAD (a message was printed); @value: its text. */
static int next(struct cli_args *args, const char **value)
{
	const char *text, *equals;
	size_t length;
	int option;

	*value = NULL;
	if (args->next >= args->argc)
		return END;
	text = args->argv[args->next++];
	if (!args->only_operands && !strcmp(text, "--")) {
		args->only_operands = true;
		return next(args, value);
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
		return equals ? BAD : option;
	}
	if (equals) {
		*value = equals + 1;
	} else if (args->next < args->argc) {
		*value = args->argv[args->next++];
	} else {
		cli_error("%s needs a value: %s", text, args->options[option].value);
		return BAD;
	}
	return option;
}

int cli_take(const struct cli_option *options, int argc, char **argv,
	     int (*take)(void *command, int option, const char *value), void *command)
{
	struct cli_args args = {
		.command = argv[0], .options = options, .argc = argc, .argv = argv, .next = 1
	};
	const char *value;
	int option, status = 0;

	while (!status && (option = next(&args, &value)) != END)
		status = option == BAD ? CLI_USAGE : take(command, option, value);
	return status;
}

/* ---- values ---- */

int cli_settings_add(struct cli_settings *to, const struct sim_setting *list, size_t nr)
{
	struct sim_setting *setting;
	size_t i;

	for (i = 0; i < nr; i++) {
		setting = sim_vector_add(&to->list, &to->nr, sizeof(*setting));
		if (!setting)
			return cli_error("no memory");
		*setting = list[i];
	}
	return 0;
}

int cli_setting(struct cli_settings *to, const char *option, const char *text)
{
	char *equals = strchr(text, '=');
	const struct sim_setting setting = { text, equals ? equals + 1 : NULL };

	if (!equals || equals == text)
		return cli_error("%s: '%s' is not NAME=VALUE", option, text);
	*equals = '\0';
	return cli_settings_add(to, &setting, 1);
}

int cli_text(const char ***list, size_t *nr, const char *text)
{
	const char **element = sim_vector_add(list, nr, sizeof(*element));

	if (!element)
		return cli_error("no memory");
	*element = text;
	return 0;
}

int cli_pids(int64_t **list, size_t *nr, const char *option, const char *text)
{
	size_t length;
	uint64_t number;
	int64_t *pid;

	for (; *text; text += length + (text[length] == ',')) {
		struct sim_word word = { text, length = strcspn(text, ",") };

		if (sim_word_number(word, &number) || !number || number > INT32_MAX)
			return cli_error("%s: '%.*s' is no process id", option, SIM_WORD_ARG(word));
		pid = sim_vector_add(list, nr, sizeof(*pid));
		if (!pid)
			return cli_error("no memory");
		*pid = (int64_t)number;
	}
	return 0;
}

int cli_number(const char *option, const char *text, uint64_t *value)
{
	const char *wrong = sim_word_number((struct sim_word){ text, strlen(text) }, value);

	if (wrong)
		return cli_error("%s: '%s' %s", option, text, wrong);
	return 0;
}

int cli_number_to(const char *option, const char *text, uint64_t max, uint32_t *value)
{
	uint64_t number;

	if (cli_number(option, text, &number))
		return CLI_USAGE;
	if (!number || number > max)
		return cli_error("%s: '%s' is not between 1 and %" PRIu64, option, text, max);
	*value = (uint32_t)number;
	return 0;
}

void cli_typed(int argc, char **argv, char *buf, size_t size)
{
	size_t length = 0;
	int i;

	buf[0] = '\0';
	for (i = 0; i < argc && length < size; i++)
		length += (size_t)snprintf(buf + length, size - length, "%s%s", i ? " " : "",
					   argv[i]);
}

/* ---- output ---- */

void cli_print_options(const struct cli_option *options, FILE *out)
{
	char left[64];

	for (; options->name; options++) {
		snprintf(left, sizeof(left), "%s %s", options->name,
			 options->value ? options->value : "");
		fprintf(out, "  %-24s %s\n", left, options->doc);
	}
}

int cli_finish(int status)
{
	if (fflush(stdout) || ferror(stdout))
		return cli_error("standard output cannot be written: %s",
				 strerror(errno ? errno : EIO));
	return status;
}
