/*
 * cmd_import.c - ksmsim import: a capture of dumps or of lists of page hashes.
 *
 * Each file becomes a process (a list may have several). What is hashed here can be
 * compared with live captures; hashes of others only with each other, so one capture has
 * either kind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cli.h"
#include "human.h"
#include "import.h"
#include "words.h"

#define HASH_BYTES_MAX 32u

enum {
	OPTION_OUT,
	OPTION_FORMAT,
	OPTION_PAGE,
	OPTION_HASH_BYTES,
	OPTION_ZERO,
	OPTION_KEYED,
	OPTION_QUIET,
	OPTION_HELP
};

static const struct cli_option options[] = {
	[OPTION_OUT] = { "-o", "OUT", "the capture" },
	[OPTION_FORMAT] = { "--format", "elf|raw|csv|hashes",
			    "of all files (what they look like): an ELF core or dump, an image of "
			    "memory, text with hashes, binary hashes" },
	[OPTION_PAGE] = { "--page-size", "SIZE", "4K, 16K or 64K (4K)" },
	[OPTION_HASH_BYTES] = { "--hash-bytes", "N", "length of each binary hash (16)" },
	[OPTION_ZERO] = { "--zero-hash", "HEX", "the hash, in lists, of a page of zeros" },
	[OPTION_KEYED] = { "--keyed", NULL,
			   "with a secret key: fingerprints mean nothing outside this file" },
	[OPTION_QUIET] = { "--quiet", NULL, "only what went wrong" },
	[OPTION_HELP] = { "--help", NULL, "this text" },
	{ NULL, NULL, NULL },
};

static const char *const format_names[] = { "elf", "raw", "csv", "hashes" };

struct command {
	const char **files;
	size_t nr_files;
	const char *out;
	int format; /* enum sim_import_kind, or -1 */
	uint64_t page_bytes, hash_bytes;
	struct sim_import_list list;
	bool keyed, quiet, help;
};

/* ---- arguments ---- */

static int take_format(struct command *c, const char *value)
{
	for (c->format = 0; c->format < 4; c->format++)
		if (!strcmp(value, format_names[c->format]))
			return 0;
	return cli_error("--format: '%s' is none of elf, raw, csv, hashes", value);
}

static int take_page(struct command *c, const char *value)
{
	const char *wrong =
		sim_word_length((struct sim_word){ value, strlen(value) }, 1, &c->page_bytes);

	if (!wrong && c->page_bytes != 4096 && c->page_bytes != 16384 && c->page_bytes != 65536)
		wrong = "is none of 4K, 16K, 64K";
	return wrong ? cli_error("--page-size: '%s' %s", value, wrong) : 0;
}

static int take_zero(struct command *c, const char *value)
{
	const char *wrong = sim_import_hex(value, strlen(value), &c->list.zero);

	c->list.has_zero = true;
	return wrong ? cli_error("--zero-hash: '%s' %s", value, wrong) : 0;
}

static int take_hash_bytes(struct command *c, const char *value)
{
	if (cli_number("--hash-bytes", value, &c->hash_bytes))
		return CLI_USAGE;
	if (!c->hash_bytes || c->hash_bytes > HASH_BYTES_MAX)
		return cli_error("--hash-bytes: '%s' is not between 1 and %u", value,
				 HASH_BYTES_MAX);
	return 0;
}

static int take_option(void *self, int option, const char *value)
{
	struct command *c = self;

	switch (option) {
	case OPTION_OUT:
		c->out = value;
		return 0;
	case OPTION_FORMAT:
		return take_format(c, value);
	case OPTION_PAGE:
		return take_page(c, value);
	case OPTION_HASH_BYTES:
		return take_hash_bytes(c, value);
	case OPTION_ZERO:
		return take_zero(c, value);
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
		return cli_text(&c->files, &c->nr_files, value);
	}
}

static int take_arguments(struct command *c, int argc, char **argv)
{
	int status = cli_take(options, argc, argv, take_option, c);

	if (status || c->help)
		return status;
	if (!c->nr_files)
		return cli_error("import needs a file; see ksmsim import --help");
	if (!c->out)
		return cli_error("import needs -o OUT; see ksmsim import --help");
	c->list.hash_bytes = (unsigned)c->hash_bytes;
	return 0;
}

/* ---- the import ---- */

/* Into a file that is open. */
static int import_into(struct command *c, struct sim_import *import, FILE *out, int argc,
		       char **argv)
{
	char typed[4096];
	size_t i;

	if (sim_capwriter_open(c->out, import->why, import->size, &import->writer))
		return cli_error("%s", import->why);
	cli_typed(argc, argv, typed, sizeof(typed));
	sim_capwriter_meta(import->writer, SIM_CAP_META_COMMAND, typed);
	for (i = 0; i < c->nr_files && !import->error; i++)
		sim_import_file(import, c->files[i], c->format, &c->list);
	if (!import->error && sim_capwriter_commit(import->writer, out))
		sim_import_fail(import, SIM_EOUTPUT, "%s", sim_capwriter_error(import->writer));
	sim_capwriter_free(import->writer);
	free(import->buffer);
	return import->error ? cli_error("%s", import->why) : 0;
}

static void print_totals(const struct command *c, const struct sim_import *import)
{
	if (c->quiet)
		return;
	printf("%s: %s pages, %s of them zero\n", c->out, sim_count((int64_t)import->pages).text,
	       sim_count((int64_t)import->zeros).text);
	if (import->holes)
		printf("%s pages are holes of the files: taken as not resident\n",
		       sim_count((int64_t)import->holes).text);
	if (import->left_out)
		printf("%s pages of mapped files or of the kernel's own areas left out\n",
		       sim_count((int64_t)import->left_out).text);
}

static int import_files(struct command *c, int argc, char **argv)
{
	char why[1024] = "";
	struct sim_import import = { .why = why, .size = sizeof(why) };
	struct cli_output output;
	uint64_t key = 0;
	int status;

	if (c->keyed && getrandom(&key, sizeof(key), 0) != sizeof(key))
		return cli_error("there is no chance for a key: %s", strerror(errno));
	sim_pagehash_init(&import.hash, (uint32_t)c->page_bytes, c->keyed ? &key : NULL);
	if (!cli_output_open(&output, c->out))
		return CLI_USAGE;
	status = import_into(c, &import, output.file, argc, argv);
	if (!status && !cli_output_commit(&output))
		status = CLI_USAGE;
	cli_output_drop(&output);
	if (!status)
		print_totals(c, &import);
	return status;
}

static int print_help(void)
{
	printf("usage: ksmsim import FILE... -o OUT [OPTION...]\n\n"
	       "Makes a capture of core files, ELF dumps of guests (QEMU's dump-guest-memory), "
	       "images "
	       "of\nmemory, or lists of page hashes. Each file becomes a process. A list has a "
	       "hash a "
	       "line, or\ncolumns named by its first line: process,address,hash.\n\n");
	cli_print_options(options, stdout);
	printf("\nExit status: 0 done, 2 bad usage or input.\n");
	return cli_finish(CLI_DONE);
}

int cmd_import(int argc, char **argv)
{
	struct command c = { .format = -1, .page_bytes = 4096, .hash_bytes = 16 };
	int status = take_arguments(&c, argc, argv);

	if (!status)
		status = c.help ? print_help() : cli_finish(import_files(&c, argc, argv));
	free(c.files);
	return status;
}
