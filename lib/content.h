/*
 * content.h - floor 1: what a base page holds, as a value.
 *
 * A content is an id. Ids are canonical: two ids are equal iff all bytes of the
 * pages are equal, however they were built. So comparing for equality, zero
 * tests and checksums of known pages cost nothing, and no page's bytes are
 * stored unless they are really irregular.
 *
 *   root   = ZERO | FILL(word) | SEED(s): word i = mix(s) + i * odd constant
 *   page   = root with at most KS_PATCH_MAX words changed, or BYTES
 *
 * Canonical because a root is recoverable: a page has at most one root that it
 * differs from in no more than KS_PATCH_MAX of its >= 512 words (a FILL root
 * repeats one word, a SEED root never repeats one, and two SEED roots differ in
 * every word). ks_content_bytes() finds that root; whatever has none is BYTES.
 * mix() is a bijection on 64 bits: each base belongs to one seed, and a SEED root
 * is recovered as its base.
 *
 * Words are little-endian in the page whatever the host; order is memcmp's.
 */
#ifndef KS_CONTENT_H
#define KS_CONTENT_H

#include "env.h"

typedef uint32_t ks_cid;

#define KS_CID_NONE 0u
#define KS_CID_ZERO 1u /* lives for ever */
#define KS_PATCH_MAX 64u
#define KS_SEED_STEP UINT64_C(0x9E3779B97F4A7C15)

struct ks_contents {
	uint32_t page_bytes; /* 4096, 16384, 65536 */
	struct ks_pool pool; /* struct ks_content, private to content.c */
	uint32_t *index;     /* open-addressing hash of ids, in cache lines private to content.c */
	uint32_t index_capacity;
	uint32_t index_lines;
	uint32_t index_used; /* slots that are not empty: live ids and removed ones */
	uint32_t nr;	     /* live ids */
	uint64_t blob_bytes; /* in patches and literal pages */
	uint8_t *scratch;    /* one page */
};

void ks_contents_init(struct ks_env *env, struct ks_contents *contents, uint32_t page_bytes);
void ks_contents_destroy(struct ks_env *env, struct ks_contents *contents);

/* Each returns one reference, to be given back with ks_content_put(). */
ks_cid ks_content_fill(struct ks_env *env, struct ks_contents *contents, uint64_t word);
ks_cid ks_content_seed(struct ks_env *env, struct ks_contents *contents, uint64_t seed);
ks_cid ks_content_bytes(struct ks_env *env, struct ks_contents *contents, const uint8_t *page);
/* @base with @length bytes at @offset replaced; @base keeps its own reference */
ks_cid ks_content_patch(struct ks_env *env, struct ks_contents *contents, ks_cid base,
			uint32_t offset, const uint8_t *bytes, uint32_t length);
/* page @index of a range filled with a public content description */
ks_cid ks_content_make(struct ks_env *env, struct ks_contents *contents,
		       const struct ksmsim_content *what, uint64_t index);
/* the same as bytes; pure, used by ksmsim_content_page() and by tests */
bool ks_content_describe(const struct ksmsim_content *what, uint64_t index, uint32_t page_bytes,
			 uint8_t *page);

void ks_content_get(struct ks_contents *contents, ks_cid cid);
void ks_content_put(struct ks_env *env, struct ks_contents *contents, ks_cid cid);

/* <0, 0, >0 as memcmp over the whole page */
int ks_content_compare(const struct ks_contents *contents, ks_cid a, ks_cid b);
/* first 8 bytes, big-endian: orders like memcmp as far as it goes */
uint64_t ks_content_key(const struct ks_contents *contents, ks_cid cid);
/* XXH64 seed 0 of the page, low 32 bits; computed once per content.
 * Source: mm/ksm.c:calc_checksum(), spec value for zeros 0x32d8bbdb (4 KiB). */
uint32_t ks_content_checksum(struct ks_contents *contents, ks_cid cid);
void ks_content_read(const struct ks_contents *contents, ks_cid cid, uint32_t offset,
		     uint8_t *bytes, uint32_t length);
uint32_t ks_content_refs(const struct ks_contents *contents, ks_cid cid);
uint64_t ks_contents_memory(const struct ks_contents *contents);
/* the part of it that finds contents by their bytes */
uint64_t ks_contents_index_memory(const struct ks_contents *contents);
/* index and reference counts consistent; false if not */
bool ks_contents_check(struct ks_contents *contents);

#endif
