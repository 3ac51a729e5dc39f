/*
 * contentworld.h - contents, and pages painted independently of lib/, for the tests of floor 1.
 *
 * Everything is compared with a buffer that holds the same page: equality of ids with
 * memcmp() == 0, the sign of the order, XXH64 of the buffer.
 */
#ifndef CONTENTWORLD_H
#define CONTENTWORLD_H

#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "content.h"

#define PAGE_MAX 65536u

struct world {
	struct ks_env env;
	struct ks_contents contents;
	jmp_buf out;
};

static inline struct world *world_new(uint32_t page_bytes)
{
	struct world *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	ks_env_init(&world->env, NULL, KS_PROFILE_V6_18, 0);
	world->env.out = &world->out;
	ks_contents_init(&world->env, &world->contents, page_bytes);
	return world;
}

static inline void world_free(struct world *world)
{
	assert_true(ks_contents_check(&world->contents));
	ks_contents_destroy(&world->env, &world->contents);
	assert_int_equal(world->env.host_bytes, 0);
	ks_env_destroy(&world->env);
	free(world);
}

static inline ks_cid from_bytes(struct world *world, const uint8_t *page)
{
	return ks_content_bytes(&world->env, &world->contents, page);
}

static inline ks_cid make(struct world *world, enum ksmsim_content_kind kind, uint64_t value,
			  uint64_t index)
{
	const struct ksmsim_content what = { .kind = kind, .value = value };

	return ks_content_make(&world->env, &world->contents, &what, index);
}

static inline ks_cid patch(struct world *world, ks_cid base, uint32_t offset, const void *bytes,
			   uint32_t length)
{
	return ks_content_patch(&world->env, &world->contents, base, offset, bytes, length);
}

static inline void put(struct world *world, ks_cid cid)
{
	ks_content_put(&world->env, &world->contents, cid);
}

static inline uint32_t checksum(struct world *world, ks_cid cid)
{
	return ks_content_checksum(&world->contents, cid);
}

static inline void put_word(uint8_t *page, uint32_t slot, uint64_t word)
{
	for (unsigned i = 0; i < 8; i++)
		page[slot * 8 + i] = (uint8_t)(word >> 8 * i);
}

/* Pages as content.h describes them. */
static inline void paint_words(uint8_t *page, uint32_t page_bytes, uint64_t word, uint64_t step)
{
	for (uint32_t i = 0; i < page_bytes / 8; i++)
		put_word(page, i, word + i * step);
}

static inline void paint_seed(uint8_t *page, uint32_t page_bytes, uint64_t seed)
{
	seed = (seed ^ seed >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	seed = (seed ^ seed >> 27) * UINT64_C(0x94D049BB133111EB);
	paint_words(page, page_bytes, seed ^ seed >> 31, KS_SEED_STEP);
}

static inline void paint(uint8_t *page, uint32_t page_bytes, enum ksmsim_content_kind kind,
			 uint64_t value, uint64_t index)
{
	memset(page, 0, page_bytes);
	if (kind == KSMSIM_CONTENT_BYTE)
		memset(page, (int)(value & 255), page_bytes);
	if (kind == KSMSIM_CONTENT_WORD)
		paint_words(page, page_bytes, value, 0);
	if (kind == KSMSIM_CONTENT_SEED)
		paint_seed(page, page_bytes, value);
	if (kind == KSMSIM_CONTENT_SEEDS)
		paint_seed(page, page_bytes, value + index);
	if (kind == KSMSIM_CONTENT_TAGS)
		value += index;
	if (kind == KSMSIM_CONTENT_TAG || kind == KSMSIM_CONTENT_TAGS) {
		for (unsigned i = 0; i < 8; i++)
			page[i] = (uint8_t)(value >> (56 - 8 * i));
	}
	if (kind == KSMSIM_CONTENT_LAST)
		page[page_bytes - 1] = (uint8_t)value;
}

#endif
