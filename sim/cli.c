/*
 * cli.c - what the commands share: arguments, messages, files written at once.
 *
 * An output file is written under a temporary name in the directory where it
 * will be, and renamed when it is complete: nobody ever sees half of it, and a
 * run that fails leaves what was there. Devices and pipes are written in place.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* ---- output files ---- */

static bool cannot_write(const char *path)
{
	cli_error("%s cannot be written: %s", path, strerror(errno));
	return false;
}

static bool open_in_place(struct cli_output *output)
{
	output->file = fopen(output->path, "w");
	return output->file ? true : cannot_write(output->path);
}

bool cli_output_open(struct cli_output *output, const char *path)
{
	static const char suffix[] = ".XXXXXX";
	const size_t length = strlen(path);
	struct stat info;
	mode_t mask;
	int fd;

	*output = (struct cli_output){ .path = path };
	if (!stat(path, &info) && !S_ISREG(info.st_mode))
		return open_in_place(output);
	output->temporary = malloc(length + sizeof(suffix));
	if (!output->temporary)
		return cannot_write(path);
	memcpy(output->temporary, path, length);
	memcpy(output->temporary + length, suffix, sizeof(suffix));
	fd = mkstemp(output->temporary);
	if (fd < 0) {
		free(output->temporary);
		output->temporary = NULL;
		return cannot_write(path);
	}
	mask = umask(0);
	umask(mask);
	output->file = fchmod(fd, 0666 & ~mask) ? NULL : fdopen(fd, "w");
	if (output->file)
		return true;
	cannot_write(path);
	close(fd);
	cli_output_drop(output);
	return false;
}

bool cli_output_commit(struct cli_output *output)
{
	FILE *file = output->file;
	bool done;

	if (!file)
		return true;
	done = !fflush(file) && !ferror(file);
	output->file = NULL;
	done = !fclose(file) && done;
	if (done && output->temporary)
		done = !rename(output->temporary, output->path);
	if (!done) {
		cannot_write(output->path);
		cli_output_drop(output);
		return false;
	}
	free(output->temporary);
	output->temporary = NULL;
	return true;
}

void cli_output_drop(struct cli_output *output)
{
	if (output->file)
		fclose(output->file);
	if (output->temporary) {
		unlink(output->temporary);
		free(output->temporary);
	}
	output->file = NULL;
	output->temporary = NULL;
}
