/*
 * capblock.h - some thousand page records as bytes, and back.
 */
#ifndef SIM_CAPBLOCK_H
#define SIM_CAPBLOCK_H

#include "capfile.h"

#define SIM_CAPBLOCK_PAGES 4096u
#define SIM_CAPBLOCK_BYTES (64u * SIM_CAPBLOCK_PAGES) /* no block is longer */

/* What is said once for all blocks of a file. */
struct sim_capcodec {
	unsigned page_shift;
	bool derived;  /* checksums are the low half of print.low, and not stored */
	bool has_zero; /* zero_print is known; pages may be ZERO */
	uint32_t zero_checksum;
	struct sim_print zero_print;
};

/* NULL, or what is wrong with a page for this file */
const char *sim_capblock_refuse(const struct sim_capcodec *codec, const struct sim_cap_page *page);

/**
 * sim_capblock_encode() - @nr pages in address order
 * @nr: 1..SIM_CAPBLOCK_PAGES; none of them refused
 * @out: SIM_CAPBLOCK_BYTES of room
 * Returns: the length. The number of the first page is not in the bytes.
 */
size_t sim_capblock_encode(const struct sim_capcodec *codec, const struct sim_cap_page *pages,
			   size_t nr, uint8_t *out);

/**
 * sim_capblock_decode() - the pages again
 * @first: the number of the first page
 * @pages: room for @nr
 * Returns: NULL, or what is wrong with the bytes. All pages are then such that
 * sim_capblock_refuse() finds nothing, and in address order.
 */
const char *sim_capblock_decode(const struct sim_capcodec *codec, const uint8_t *bytes,
				size_t length, uint64_t first, size_t nr,
				struct sim_cap_page *pages);

#endif
