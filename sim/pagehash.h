/*
 * pagehash.h - the fingerprint and the checksum of a page of bytes.
 */
#ifndef SIM_PAGEHASH_H
#define SIM_PAGEHASH_H

#include "capfile.h"

struct sim_pagehash {
	uint32_t page_bytes;
	bool keyed;
	uint64_t key;
	struct sim_print zero; /* of a page of zeros */
	uint32_t zero_checksum;
};

/**
 * sim_pagehash_init() - how pages are hashed
 * @key: NULL, or a secret number: without it nobody can tell from a fingerprint whether a page
 * holds bytes that he knows. KSM's checksum has no key, so it is then not kept, but made of
 * the fingerprint. XXH3 was not made to withstand a determined search for the key.
 */
void sim_pagehash_init(struct sim_pagehash *hash, uint32_t page_bytes, const uint64_t *key);

/* Sets print, checksum and the flags HASHED and ZERO. */
void sim_pagehash(const struct sim_pagehash *hash, const uint8_t *bytes, struct sim_cap_page *page);

/* What a capture must say about it. */
int sim_pagehash_meta(const struct sim_pagehash *hash, struct sim_capwriter *writer);

#endif
