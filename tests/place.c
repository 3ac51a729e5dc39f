/*
 * place.c - a directory for a test of the program, and runs of the program in it.
 *
 * What a run prints is in two files of the directory whose names begin with a dot;
 * they are no files of the test's.
 */
#define _GNU_SOURCE
#include "place.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUT ".out"
#define ERR ".err"

/* ---- the program ---- */

const char *place_program(void)
{
	const char *path = getenv("KSMSIM_CLI");

	return path ? path : KSMSIM_CLI;
}

bool place_has_program(void)
{
	if (!access(place_program(), X_OK))
		return true;
	print_message("no program %s: skipped\n", place_program());
	return false;
}

/* ---- the directory ---- */

int place_enter(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	if (!place)
		return -1;
	strcpy(place->dir, "/tmp/ksmsim-place-XXXXXX");
	*state = place;
	return mkdtemp(place->dir) ? 0 : -1;
}

int place_leave(void **state)
{
	struct place *place = *state;
	char command[128];
	int status;

	snprintf(command, sizeof(command), "rm -rf '%s'", place->dir);
	status = system(command);
	free(place);
	return status;
}

static FILE *file_in(const struct place *place, const char *name, const char *mode)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", place->dir, name);
	file = fopen(path, mode);
	assert_non_null(file);
	return file;
}

void place_slurp(const struct place *place, const char *name, char *buf, size_t size)
{
	FILE *file = file_in(place, name, "r");
	const size_t length = fread(buf, 1, size - 1, file);

	buf[length] = '\0';
	fclose(file);
}

void place_spill(const struct place *place, const char *name, const char *text)
{
	FILE *file = file_in(place, name, "w");

	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

unsigned place_files(const struct place *place)
{
	static const char *const aside[] = { ".", "..", OUT, ERR };
	DIR *dir = opendir(place->dir);
	const struct dirent *entry;
	unsigned nr = 0;
	size_t i;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		nr++;
		for (i = 0; i < sizeof(aside) / sizeof(*aside); i++)
			nr -= !strcmp(entry->d_name, aside[i]);
	}
	closedir(dir);
	return nr;
}

/* ---- runs ---- */

static int run(struct place *place, const char *program, const char *format, va_list args)
{
	char words[1024], command[1280];
	int status;

	assert_in_range(vsnprintf(words, sizeof(words), format, args), 0, sizeof(words) - 1);
	snprintf(command, sizeof(command), "cd '%s' && { %s %s\n} >" OUT " 2>" ERR, place->dir,
		 program, words);
	status = system(command);
	place_slurp(place, OUT, place->out, sizeof(place->out));
	place_slurp(place, ERR, place->err, sizeof(place->err));
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

int place_shell(struct place *place, const char *format, ...)
{
	va_list args;
	int status;

	va_start(args, format);
	status = run(place, "", format, args);
	va_end(args);
	return status;
}

int place_run(struct place *place, const char *format, ...)
{
	char program[256];
	va_list args;
	int status;

	snprintf(program, sizeof(program), "'%s'", place_program());
	va_start(args, format);
	status = run(place, program, format, args);
	va_end(args);
	return status;
}

void place_has(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("'%s' is not in '%s'", words, text);
}
