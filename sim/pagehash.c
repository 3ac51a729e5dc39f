/*
 * pagehash.c - the fingerprint and the checksum of a page of bytes.
 *
 * Fingerprint: XXH3-128 of all bytes. Checksum: the low half of XXH64 with seed 0, which
 * is what the kernel's KSM computes on 64-bit hosts (spelled out there as xxhash()).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "pagehash.h"

#define PAGE_BYTES_MAX 65536u

static struct sim_print print_of(const struct sim_pagehash *hash, const uint8_t *bytes)
{
	const XXH128_hash_t h = hash->keyed
					? XXH3_128bits_withSeed(bytes, hash->page_bytes, hash->key)
					: XXH3_128bits(bytes, hash->page_bytes);

	return (struct sim_print){ h.high64, h.low64 };
}

static uint32_t checksum_of(const struct sim_pagehash *hash, const uint8_t *bytes,
			    struct sim_print print)
{
	return (uint32_t)(hash->keyed ? print.low : XXH64(bytes, hash->page_bytes, 0));
}

static bool is_zero(const struct sim_pagehash *hash, const uint8_t *bytes)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, hash->page_bytes - 1);
}

void sim_pagehash_init(struct sim_pagehash *hash, uint32_t page_bytes, const uint64_t *key)
{
	static const uint8_t zeros[PAGE_BYTES_MAX];

	*hash = (struct sim_pagehash){ .page_bytes = page_bytes,
				       .keyed = key != NULL,
				       .key = key ? *key : 0 };
	hash->zero = print_of(hash, zeros);
	hash->zero_checksum = checksum_of(hash, zeros, hash->zero);
}

void sim_pagehash(const struct sim_pagehash *hash, const uint8_t *bytes, struct sim_cap_page *page)
{
	page->print = print_of(hash, bytes);
	page->checksum = checksum_of(hash, bytes, page->print);
	page->flags |= SIM_CAP_HASHED;
	if (!sim_print_compare(page->print, hash->zero) && is_zero(hash, bytes))
		page->flags |= SIM_CAP_ZERO;
}

int sim_pagehash_meta(const struct sim_pagehash *hash, struct sim_capwriter *writer)
{
	char page[16], zero[40], checksum[16];

	snprintf(page, sizeof(page), "%u", hash->page_bytes);
	snprintf(zero, sizeof(zero), "%016" PRIx64 "%016" PRIx64, hash->zero.high, hash->zero.low);
	snprintf(checksum, sizeof(checksum), "%08" PRIx32, hash->zero_checksum);
	sim_capwriter_meta(writer, SIM_CAP_META_PAGE, page);
	sim_capwriter_meta(writer, SIM_CAP_META_PRINTS,
			   hash->keyed ? "xxh3-128-keyed" : "xxh3-128");
	sim_capwriter_meta(writer, SIM_CAP_META_CHECKSUMS, hash->keyed ? "print" : "xxh64");
	sim_capwriter_meta(writer, SIM_CAP_META_ZERO_PRINT, zero);
	return sim_capwriter_meta(writer, SIM_CAP_META_ZERO_CHECKSUM, checksum);
}
