/*
 * fuzz_capfile.c - libFuzzer: bytes are a capture, or a block of pages of one.
 *
 * An even first byte: the rest is a capture file, of which all is read. An odd one: the rest
 * is a block; what can be decoded must be the same after encoding and decoding again.
 */
#include <stdlib.h>
#include <string.h>

#include "sim/capblock.h"

#define BLOCK_HEADER 5u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_process(struct sim_capfile *file, uint32_t process, uint32_t round)
{
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page, before = { .vaddr = 0 };
	struct sim_cap_vma *vmas;
	size_t nr;
	bool any = false;

	if (!sim_capfile_vmas(file, process, round, &vmas, &nr))
		free(vmas);
	if (sim_cap_cursor_open(file, process, round, round & 1 ? SIM_CAP_CHANGES : SIM_CAP_PAGES,
				&cursor))
		return;
	while (sim_cap_cursor_next(cursor, &page) == 1) {
		if (any && page.vaddr <= before.vaddr)
			abort();
		before = page;
		any = true;
	}
	sim_cap_cursor_close(cursor);
}

static void read_file(const uint8_t *bytes, size_t length)
{
	struct sim_capfile *file;
	char why[512] = "";
	const char *key, *value;
	uint32_t process, round;
	size_t i;

	if (sim_capfile_open_bytes(bytes, length, "input", why, sizeof(why), &file)) {
		if (!*why)
			abort();
		return;
	}
	for (i = 0; sim_capfile_meta_at(file, i, &key, &value); i++)
		if (!sim_capfile_meta(file, key))
			abort();
	for (process = 0; process < sim_capfile_nr_processes(file) && process < 8; process++)
		for (round = 0; round < sim_capfile_nr_rounds(file) && round < 4; round++)
			if (sim_capfile_figures(file, process, round))
				read_process(file, process, round);
	sim_capfile_close(file);
}

static void check_block(const struct sim_capcodec *codec, const struct sim_cap_page *pages,
			size_t nr)
{
	static struct sim_cap_page again[SIM_CAPBLOCK_PAGES];
	static uint8_t bytes[SIM_CAPBLOCK_BYTES];
	const size_t length = sim_capblock_encode(codec, pages, nr, bytes);

	if (length > sizeof(bytes))
		abort();
	memset(again, 0, nr * sizeof(*again));
	if (sim_capblock_decode(codec, bytes, length, pages[0].vaddr >> codec->page_shift, nr,
				again))
		abort();
	/* Both were all zero before, padding as well. */
	if (memcmp(again, pages, nr * sizeof(*pages)) != 0)
		abort();
}

static void read_block(const uint8_t *data, size_t size)
{
	static struct sim_cap_page pages[SIM_CAPBLOCK_PAGES];
	const struct sim_capcodec codec = { .page_shift = 12,
					    .derived = data[0] & 2,
					    .has_zero = data[0] & 4,
					    .zero_checksum = 5,
					    .zero_print = { 3, 4 } };
	const size_t nr = 1 + (data[1] | (size_t)data[2] << 8) % SIM_CAPBLOCK_PAGES;
	const uint64_t first = data[3] | (uint64_t)data[4] << 43;

	memset(pages, 0, nr * sizeof(*pages));
	if (!sim_capblock_decode(&codec, data + BLOCK_HEADER, size - BLOCK_HEADER, first, nr,
				 pages))
		check_block(&codec, pages, nr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < BLOCK_HEADER)
		return 0;
	if (data[0] & 1)
		read_block(data, size);
	else
		read_file(data + 1, size - 1);
	return 0;
}
