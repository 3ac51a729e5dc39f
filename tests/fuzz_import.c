/*
 * fuzz_import.c - libFuzzer: bytes are a file to import.
 *
 * The first byte chooses what it is taken for. Whatever comes of it must be a sentence,
 * or a capture that can be read.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void import(struct sim_import *i, struct sim_source *source, unsigned kind)
{
	struct sim_import_list list = { .hash_bytes = 1 + kind % 32, .has_zero = kind & 1 };
	enum sim_import_kind guess = SIM_IMPORT_RAW;
	const bool is_list = kind % 4 >= 2;

	if (is_list ? sim_import_list_meta(i, &list) : sim_pagehash_meta(&i->hash, i->writer))
		abort();
	if (kind % 4 == 0)
		sim_import_elf(i, source);
	else if (kind % 4 == 1 && !sim_import_guess(i, source, &guess))
		sim_import_raw(i, source);
	else if (kind % 4 == 2)
		sim_import_csv(i, source, &list);
	else if (kind % 4 == 3)
		sim_import_hashes(i, source, &list);
}

static void check_pages(struct sim_capfile *file, uint32_t process)
{
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page;
	struct sim_cap_vma *vmas;
	size_t nr;
	int got = 1;

	if (sim_cap_cursor_open(file, process, 0, SIM_CAP_PAGES, &cursor))
		abort();
	while (got == 1)
		got = sim_cap_cursor_next(cursor, &page);
	sim_cap_cursor_close(cursor);
	if (got || sim_capfile_vmas(file, process, 0, &vmas, &nr))
		abort();
	free(vmas);
}

/* What was written must be read. */
static void read_back(struct sim_import *i)
{
	struct sim_capfile *file;
	char *bytes = NULL;
	size_t length = 0;
	char why[512];
	FILE *out = open_memstream(&bytes, &length);
	uint32_t process;

	if (!out || sim_capwriter_commit(i->writer, out) || fclose(out) ||
	    sim_capfile_open_bytes(bytes, length, "output", why, sizeof(why), &file))
		abort();
	for (process = 0; process < sim_capfile_nr_processes(file); process++)
		check_pages(file, process);
	sim_capfile_close(file);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct sim_cap_round round = { 0, 0 };
	char why[512] = "", path[64];
	struct sim_import i = { .why = why, .size = sizeof(why) };
	struct sim_source source;
	int fd;

	if (!size)
		return 0;
	fd = memfd_create("input", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)size - 1)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	sim_pagehash_init(&i.hash, 4096, NULL);
	if (sim_capwriter_open("/tmp/x", why, sizeof(why), &i.writer) ||
	    sim_capwriter_round(i.writer, 0, &round) || sim_source_open(&i, path, &source))
		abort();
	import(&i, &source, data[0]);
	sim_source_close(&source);
	if (!i.error)
		read_back(&i);
	else if (!*why)
		abort();
	sim_capwriter_free(i.writer);
	free(i.buffer);
	close(fd);
	return 0;
}
