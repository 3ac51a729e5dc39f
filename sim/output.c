/*
 * output.c - files that appear under their name only when they are complete.
 *
 * This is the one place where the commands make files. Such a file has no name at
 * all until the end (O_TMPFILE), so whatever ends the program, a signal too, leaves
 * nothing behind. Then it gets a name beside its place and is renamed over it, with
 * signals held off.
 *
 * Where the file system knows no unnamed files, or /proc is not there to name one,
 * the file has a temporary name from the beginning, which a signal leaves behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#define SUFFIX_MAX 32u /* bytes of what makes a temporary name */

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

static void fd_path(char *buf, size_t size, int fd)
{
	snprintf(buf, size, "/proc/self/fd/%d", fd);
}

/* A file without a name in the directory of the path; NULL: not here. */
static FILE *open_unnamed(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	const int fd = dir ? open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666) : -1;
	char link[SUFFIX_MAX];
	FILE *file = NULL;

	free(dir);
	if (fd < 0)
		return NULL;
	fd_path(link, sizeof(link), fd);
	if (!access(link, F_OK))
		file = fdopen(fd, "w");
	if (!file)
		close(fd);
	return file;
}

/* The path with room for a suffix. */
static char *temporary_name(const char *path)
{
	const size_t length = strlen(path);
	char *name = malloc(length + SUFFIX_MAX);

	if (name)
		memcpy(name, path, length + 1);
	return name;
}

static bool open_named(struct cli_output *output)
{
	mode_t mask;
	int fd;

	output->temporary = temporary_name(output->path);
	if (!output->temporary)
		return cannot_write(output->path);
	memcpy(output->temporary + strlen(output->path), ".XXXXXX", sizeof(".XXXXXX"));
	fd = mkstemp(output->temporary);
	if (fd < 0) {
		free(output->temporary);
		output->temporary = NULL;
		return cannot_write(output->path);
	}
	mask = umask(0);
	umask(mask);
	output->file = fchmod(fd, 0666 & ~mask) ? NULL : fdopen(fd, "w");
	if (output->file)
		return true;
	cannot_write(output->path);
	close(fd);
	cli_output_drop(output);
	return false;
}

bool cli_output_open(struct cli_output *output, const char *path)
{
	struct stat info;

	*output = (struct cli_output){ .path = path };
	if (!stat(path, &info) && !S_ISREG(info.st_mode))
		return open_in_place(output);
	output->file = open_unnamed(path);
	output->unnamed = output->file != NULL;
	return output->unnamed || open_named(output);
}

/* The file has no name: give it one that nobody has. */
static bool give_name(struct cli_output *output)
{
	const size_t length = strlen(output->path);
	char *name = temporary_name(output->path), link[SUFFIX_MAX];
	unsigned i;
	int error = -1;

	if (!name)
		return false;
	fd_path(link, sizeof(link), fileno(output->file));
	for (i = 0; error && (!i || errno == EEXIST); i++) {
		snprintf(name + length, SUFFIX_MAX, ".%ld-%u", (long)getpid(), i);
		error = linkat(AT_FDCWD, link, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
	}
	if (error) {
		free(name);
		return false;
	}
	output->unnamed = false;
	output->temporary = name;
	return true;
}

static bool finish(struct cli_output *output)
{
	FILE *file = output->file;
	bool done = !fflush(file) && !ferror(file);

	if (done && output->unnamed)
		done = give_name(output);
	output->file = NULL;
	done = !fclose(file) && done;
	if (done && output->temporary)
		done = !rename(output->temporary, output->path);
	if (!done)
		return false;
	free(output->temporary);
	output->temporary = NULL;
	return true;
}

bool cli_output_commit(struct cli_output *output)
{
	sigset_t all, before;
	bool done;

	if (!output->file)
		return true;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	done = finish(output);
	if (!done) {
		cannot_write(output->path);
		cli_output_drop(output);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return done;
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
	output->unnamed = false;
	output->temporary = NULL;
}
