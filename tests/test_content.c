/*
 * test_content.c - floor 1: contents against real pages.
 *
 * Everything is compared with a buffer that holds the same page: equality of
 * ids with memcmp() == 0, the sign of the order, XXH64 of the buffer. Pages are
 * filled here independently of lib/.
 */
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

static struct world *world_new(uint32_t page_bytes)
{
	struct world *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	ks_env_init(&world->env, NULL, KS_PROFILE_V6_18, 0);
	world->env.out = &world->out;
	ks_contents_init(&world->env, &world->contents, page_bytes);
	return world;
}

static void world_free(struct world *world)
{
	assert_true(ks_contents_check(&world->contents));
	ks_contents_destroy(&world->env, &world->contents);
	assert_int_equal(world->env.host_bytes, 0);
	ks_env_destroy(&world->env);
	free(world);
}

static ks_cid from_bytes(struct world *world, const uint8_t *page)
{
	return ks_content_bytes(&world->env, &world->contents, page);
}

static ks_cid make(struct world *world, enum ksmsim_content_kind kind, uint64_t value,
		   uint64_t index)
{
	const struct ksmsim_content what = { .kind = kind, .value = value };

	return ks_content_make(&world->env, &world->contents, &what, index);
}

static ks_cid patch(struct world *world, ks_cid base, uint32_t offset, const void *bytes,
		    uint32_t length)
{
	return ks_content_patch(&world->env, &world->contents, base, offset, bytes, length);
}

static void put(struct world *world, ks_cid cid)
{
	ks_content_put(&world->env, &world->contents, cid);
}

static uint32_t checksum(struct world *world, ks_cid cid)
{
	return ks_content_checksum(&world->contents, cid);
}

static void put_word(uint8_t *page, uint32_t slot, uint64_t word)
{
	for (unsigned i = 0; i < 8; i++)
		page[slot * 8 + i] = (uint8_t)(word >> 8 * i);
}

/* Pages as content.h describes them. */
static void paint_words(uint8_t *page, uint32_t page_bytes, uint64_t word, uint64_t step)
{
	for (uint32_t i = 0; i < page_bytes / 8; i++)
		put_word(page, i, word + i * step);
}

static void paint_seed(uint8_t *page, uint32_t page_bytes, uint64_t seed)
{
	seed = (seed ^ seed >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	seed = (seed ^ seed >> 27) * UINT64_C(0x94D049BB133111EB);
	paint_words(page, page_bytes, seed ^ seed >> 31, KS_SEED_STEP);
}

static void paint(uint8_t *page, uint32_t page_bytes, enum ksmsim_content_kind kind, uint64_t value,
		  uint64_t index)
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

/* ---- known values ---- */

static void checksums_are_the_kernels(void **state)
{
	static const struct {
		uint8_t byte;
		uint32_t checksum;
	} fills[] = { { 0x00, 0x32d8bbdb },
		      { 0x01, 0x68da1f79 },
		      { 0x41, 0x6d2b58c3 },
		      { 0xcf, 0xced8678f },
		      { 0xff, 0x4282321f } };
	static const uint8_t one = 1;
	uint8_t page[4096];
	struct world *world = world_new(4096);

	(void)state;
	for (size_t i = 0; i < sizeof(fills) / sizeof(fills[0]); i++) {
		const ks_cid cid = make(world, KSMSIM_CONTENT_BYTE, fills[i].byte, 0);

		assert_int_equal(checksum(world, cid), fills[i].checksum);
		assert_int_equal(checksum(world, cid), fills[i].checksum); /* cached */
	}
	assert_int_equal(checksum(world, patch(world, KS_CID_ZERO, 0, &one, 1)), 0xa2484610);
	assert_int_equal(checksum(world, make(world, KSMSIM_CONTENT_LAST, 1, 0)), 0xc8cabf7c);
	for (unsigned i = 0; i < 4096; i++)
		page[i] = (uint8_t)i;
	assert_int_equal(checksum(world, from_bytes(world, page)), 0x186af6a4);
	world_free(world);

	world = world_new(16384);
	assert_int_equal(checksum(world, KS_CID_ZERO), 0x332c45ec);
	world_free(world);
	world = world_new(65536);
	assert_int_equal(checksum(world, KS_CID_ZERO), 0xf15715a4);
	world_free(world);
}

static void a_description_and_its_bytes_are_one_content(void **state)
{
	static uint8_t expected[PAGE_MAX], page[PAGE_MAX];
	static const uint64_t values[] = { 0, 1, 0x100, 0x1ff, 77, UINT64_MAX };
	static const uint32_t sizes[] = { 4096, 16384, 65536 };

	(void)state;
	for (unsigned s = 0; s < 3; s++) {
		struct world *world = world_new(sizes[s]);

		for (int kind = 0; kind < KSMSIM_CONTENT_BYTES; kind++) {
			for (unsigned i = 0; i < 12; i++) {
				const struct ksmsim_content what = {
					.kind = (enum ksmsim_content_kind)kind,
					.value = values[i / 2]
				};
				const uint64_t index = i % 2 * 5;
				ks_cid cid;

				paint(expected, sizes[s], what.kind, what.value, index);
				assert_true(ks_content_describe(&what, index, sizes[s], page));
				assert_memory_equal(page, expected, sizes[s]);
				cid = ks_content_make(&world->env, &world->contents, &what, index);
				assert_int_equal(cid, from_bytes(world, expected));
				assert_int_equal(checksum(world, cid),
						 (uint32_t)XXH64(expected, sizes[s], 0));
				ks_content_read(&world->contents, cid, 0, page, sizes[s]);
				assert_memory_equal(page, expected, sizes[s]);
			}
		}
		world_free(world);
	}
}

static void literal_descriptions_need_bytes(void **state)
{
	struct ksmsim_content what = { .kind = KSMSIM_CONTENT_BYTES };
	struct world *world = world_new(4096);
	uint8_t bytes[4096], page[4096];
	uint64_t chance = 1;
	ks_cid cid;

	(void)state;
	assert_false(ks_content_describe(&what, 0, 4096, page));
	for (unsigned i = 0; i < 4096; i++)
		bytes[i] = (uint8_t)test_random(&chance);
	what.bytes = bytes;
	assert_true(ks_content_describe(&what, 3, 4096, page));
	assert_memory_equal(page, bytes, 4096);
	cid = ks_content_make(&world->env, &world->contents, &what, 3);
	assert_int_equal(cid, from_bytes(world, bytes));
	bytes[9] ^= 1; /* the store has its own copy */
	ks_content_read(&world->contents, cid, 0, bytes, 4096);
	assert_memory_equal(page, bytes, 4096);
	what.kind = (enum ksmsim_content_kind)(KSMSIM_CONTENT_BYTES + 1);
	assert_false(ks_content_describe(&what, 0, 4096, page));
	world_free(world);
}

static void zero_has_one_id_and_lives_for_ever(void **state)
{
	static const uint8_t zeros[4096], one = 1;
	struct world *world = world_new(4096);
	const uint64_t memory = ks_contents_memory(&world->contents);
	ks_cid cid;

	(void)state;
	assert_int_equal(ks_content_fill(&world->env, &world->contents, 0), KS_CID_ZERO);
	assert_int_equal(from_bytes(world, zeros), KS_CID_ZERO);
	assert_int_equal(make(world, KSMSIM_CONTENT_TAG, 0, 0), KS_CID_ZERO);
	assert_int_equal(make(world, KSMSIM_CONTENT_LAST, 256, 0), KS_CID_ZERO);
	cid = patch(world, KS_CID_ZERO, 100, &one, 1);
	assert_int_not_equal(cid, KS_CID_ZERO);
	assert_int_equal(patch(world, cid, 100, zeros, 1), KS_CID_ZERO);
	put(world, cid);
	for (unsigned i = 0; i < 100; i++)
		put(world, KS_CID_ZERO);
	assert_int_equal(ks_content_key(&world->contents, KS_CID_ZERO), 0);
	assert_int_equal(world->contents.nr, 1);
	assert_int_equal(ks_contents_memory(&world->contents), memory);
	world_free(world);
}

static void seeds_give_different_pages(void **state)
{
	struct world *world = world_new(4096);

	(void)state;
	for (uint32_t seed = 0; seed < 1000; seed++) {
		assert_int_equal(ks_content_seed(&world->env, &world->contents, seed),
				 KS_CID_ZERO + 1 + seed);
		assert_int_equal(make(world, KSMSIM_CONTENT_SEEDS, seed / 2, seed - seed / 2),
				 KS_CID_ZERO + 1 + seed);
	}
	world_free(world);
}

/* ---- the limit of changes ---- */

/* @nr words of a root page changed one after the other, then back. */
static void change_and_restore(uint64_t word, uint64_t step, uint32_t nr)
{
	struct world *world = world_new(4096);
	uint8_t page[4096], other[8];
	ks_cid trail[512], cid;

	paint_words(page, 4096, word, step);
	cid = from_bytes(world, page);
	for (uint32_t i = 0; i < nr; i++) {
		const uint32_t slot = i * 5 % 512;

		trail[i] = cid;
		put_word(other, 0, 0xabcdef + i);
		memcpy(page + slot * 8, other, 8);
		cid = patch(world, cid, slot * 8, other, 8);
		assert_int_equal(from_bytes(world, page), cid);
		/* a page is stored as changes as long as these are few */
		if (i == KS_PATCH_MAX - 1)
			assert_true(world->contents.blob_bytes < KS_PATCH_MAX * KS_PATCH_MAX * 10);
		if (i == KS_PATCH_MAX)
			assert_true(world->contents.blob_bytes > 4096);
	}
	for (uint32_t i = nr; i-- > 0;) {
		const uint32_t slot = i * 5 % 512;

		put_word(other, 0, word + slot * step);
		cid = patch(world, cid, slot * 8, other, 8);
		assert_int_equal(cid, trail[i]);
	}
	world_free(world);
}

static void changes_around_the_limit_are_undone(void **state)
{
	(void)state;
	for (uint32_t nr = KS_PATCH_MAX - 1; nr <= KS_PATCH_MAX + 1; nr++) {
		change_and_restore(0, 0, nr);
		change_and_restore(0x1122334455667788, 0, nr);
		change_and_restore(0x1122334455667788, KS_SEED_STEP, nr);
	}
	change_and_restore(0, 0, 400);
	change_and_restore(99, KS_SEED_STEP, 400);
}

static uint64_t blob_bytes_of(const uint8_t *page)
{
	struct world *world = world_new(4096);
	uint64_t bytes;

	from_bytes(world, page);
	bytes = world->contents.blob_bytes;
	world_free(world);
	return bytes;
}

static void sixty_four_changes_are_a_patch_and_one_more_is_not(void **state)
{
	uint8_t page[4096];

	(void)state;
	for (int seed = 0; seed < 2; seed++) {
		/* at the front, where the vote for the root is taken, and at the back */
		for (int back = 0; back < 2; back++) {
			paint_words(page, 4096, 7, seed ? KS_SEED_STEP : 0);
			for (uint32_t i = 0; i < 63; i++)
				put_word(page, back ? 511 - i : i, 5);
			assert_true(blob_bytes_of(page) < 63 * 10 + 64);
			put_word(page, back ? 511 - 63 : 63, 5);
			assert_true(blob_bytes_of(page) < 64 * 10 + 64);
			put_word(page, back ? 511 - 64 : 64, 5);
			assert_true(blob_bytes_of(page) > 4096);
		}
	}
}

static void a_page_moves_from_one_root_to_another(void **state)
{
	struct world *world = world_new(4096);
	uint8_t page[4096], next[4096];
	ks_cid cid = make(world, KSMSIM_CONTENT_WORD, 3, 0);
	uint32_t literal = 0;

	(void)state;
	paint_words(page, 4096, 3, 0);
	paint_seed(next, 4096, 8);
	for (uint32_t slot = 0; slot < 512; slot++) {
		const uint64_t before = world->contents.blob_bytes;
		const ks_cid old = cid;

		memcpy(page + slot * 8, next + slot * 8, 8);
		cid = patch(world, cid, slot * 8, next + slot * 8, 8);
		assert_int_equal(from_bytes(world, page), cid);
		put(world, cid);
		literal += world->contents.blob_bytes > before + 3000;
		put(world, old);
	}
	assert_int_equal(cid, make(world, KSMSIM_CONTENT_SEED, 8, 0));
	/* in between, more than KS_PATCH_MAX words differ from either root */
	assert_int_equal(literal, 512 - 2 * KS_PATCH_MAX - 1);
	assert_int_equal(world->contents.nr, 2);
	assert_int_equal(world->contents.blob_bytes, 0);
	world_free(world);
}

static void half_a_page_is_nobodys_root(void **state)
{
	struct world *world = world_new(4096);
	uint8_t page[4096];
	ks_cid halves, few;

	(void)state;
	paint_words(page, 4096, 1, 0);
	for (uint32_t slot = 0; slot < 256; slot++)
		put_word(page, slot * 2, 2);
	halves = from_bytes(world, page);
	assert_true(world->contents.blob_bytes > 4096);
	assert_int_equal(checksum(world, halves), (uint32_t)XXH64(page, 4096, 0));
	for (uint32_t slot = 0; slot < 192; slot++)
		put_word(page, slot * 2 + 1, 2);
	few = from_bytes(world, page); /* the root is 2 now, with 64 words of 1 */
	put(world, halves);
	assert_true(world->contents.blob_bytes < 1024);
	assert_int_equal(checksum(world, few), (uint32_t)XXH64(page, 4096, 0));
	world_free(world);
}

/* ---- anything at all ---- */

enum { SLOTS = 20 };

struct mirror {
	struct world *world;
	uint32_t page_bytes;
	uint64_t chance;
	struct {
		ks_cid cid;
		uint8_t page[16384];
	} slot[SLOTS];
};

static uint32_t dice(struct mirror *m, uint32_t below)
{
	return test_random_below(&m->chance, below);
}

static void build_described(struct mirror *m, unsigned at)
{
	const enum ksmsim_content_kind kind =
		(enum ksmsim_content_kind)dice(m, KSMSIM_CONTENT_BYTES);
	const uint64_t value = dice(m, 3), index = dice(m, 2);

	paint(m->slot[at].page, m->page_bytes, kind, value, index);
	m->slot[at].cid = make(m->world, kind, value, index);
}

/* A root with about as many words of another root as a patch may have. */
static void build_mixed(struct mirror *m, unsigned at)
{
	static const uint32_t amounts[] = { 1, 62, 63, 64, 65, 66, 128, 256 };
	const uint32_t words = m->page_bytes / 8, nr = amounts[dice(m, 8)];
	uint8_t *page = m->slot[at].page, other[16384];

	paint_words(page, m->page_bytes, dice(m, 2), dice(m, 2) ? KS_SEED_STEP : 0);
	paint_words(other, m->page_bytes, dice(m, 3), dice(m, 2) ? KS_SEED_STEP : 0);
	for (uint32_t i = 0; i < nr; i++) {
		const uint32_t slot = dice(m, 2) ? i : dice(m, words);

		memcpy(page + slot * 8, other + slot * 8, 8);
	}
	m->slot[at].cid = from_bytes(m->world, page);
}

static void build_random(struct mirror *m, unsigned at)
{
	for (uint32_t i = 0; i < m->page_bytes; i++)
		m->slot[at].page[i] = (uint8_t)dice(m, 256);
	m->slot[at].cid = from_bytes(m->world, m->slot[at].page);
}

/* The source slot with some bytes changed: random ones, or those of a third page. */
static void build_patched(struct mirror *m, unsigned at, unsigned from)
{
	static const uint32_t lengths[] = { 1, 3, 8, 16, 40, 500, 1000, 16384 };
	const uint8_t *third = m->slot[dice(m, SLOTS)].page;
	uint32_t length = 1 + dice(m, lengths[dice(m, 8)]), offset;
	uint8_t bytes[16384];
	ks_cid cid;

	length = length < m->page_bytes ? length : m->page_bytes;
	offset = dice(m, m->page_bytes - length + 1);
	memcpy(bytes, third + offset, length);
	if (dice(m, 2) && length <= 40) {
		for (uint32_t i = 0; i < length; i++)
			bytes[i] = (uint8_t)dice(m, 3);
	}
	cid = patch(m->world, m->slot[from].cid, offset, bytes, length);
	if (at != from)
		memcpy(m->slot[at].page, m->slot[from].page, m->page_bytes);
	/* what was there before, written back, gives the content from before */
	{
		const ks_cid back =
			patch(m->world, cid, offset, m->slot[from].page + offset, length);

		assert_int_equal(back, m->slot[from].cid);
		put(m->world, back);
	}
	memcpy(m->slot[at].page + offset, bytes, length);
	m->slot[at].cid = cid;
}

static uint64_t big_endian_word(const uint8_t *page)
{
	uint64_t word = 0;

	for (unsigned i = 0; i < 8; i++)
		word = word << 8 | page[i];
	return word;
}

static int sign(int value)
{
	return (value > 0) - (value < 0);
}

static void expect_slot(struct mirror *m, unsigned at)
{
	const struct ks_contents *contents = &m->world->contents;
	const ks_cid cid = m->slot[at].cid;
	const uint8_t *page = m->slot[at].page;
	const uint32_t offset = dice(m, m->page_bytes);
	const uint32_t length = dice(m, m->page_bytes - offset + 1);
	uint8_t bytes[16384];
	ks_cid again;

	assert_int_equal(checksum(m->world, cid), (uint32_t)XXH64(page, m->page_bytes, 0));
	assert_int_equal(ks_content_key(contents, cid), big_endian_word(page));
	ks_content_read(contents, cid, offset, bytes, length);
	assert_memory_equal(bytes, page + offset, length);
	ks_content_read(contents, cid, 0, bytes, m->page_bytes);
	assert_memory_equal(bytes, page, m->page_bytes);
	again = from_bytes(m->world, page);
	assert_int_equal(again, cid);
	put(m->world, again);
	for (unsigned i = 0; i < SLOTS; i++) {
		const int expected = sign(memcmp(page, m->slot[i].page, m->page_bytes));

		assert_int_equal(cid == m->slot[i].cid, expected == 0);
		assert_int_equal(sign(ks_content_compare(contents, cid, m->slot[i].cid)), expected);
		assert_int_equal(sign(ks_content_compare(contents, m->slot[i].cid, cid)),
				 -expected);
	}
}

static void mirror_pages(uint32_t page_bytes, uint64_t seed, unsigned steps)
{
	struct mirror *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	*m = (struct mirror){ .world = world_new(page_bytes), .page_bytes = page_bytes };
	m->chance = seed;
	for (unsigned i = 0; i < SLOTS; i++)
		m->slot[i].cid = KS_CID_ZERO;
	for (unsigned step = 0; step < steps; step++) {
		const unsigned at = dice(m, SLOTS), from = dice(m, SLOTS), how = dice(m, 20);
		const ks_cid old = m->slot[at].cid;

		if (how < 3)
			build_described(m, at);
		else if (how < 5)
			build_mixed(m, at);
		else if (how < 6)
			build_random(m, at);
		else
			build_patched(m, at, how < 16 ? at : from);
		put(m->world, old);
		expect_slot(m, at);
		if (step % 100 == 0)
			assert_true(ks_contents_check(&m->world->contents));
	}
	for (unsigned i = 0; i < SLOTS; i++)
		put(m->world, m->slot[i].cid);
	assert_int_equal(m->world->contents.nr, 1); /* references were all accounted for */
	assert_int_equal(m->world->contents.blob_bytes, 0);
	world_free(m->world);
	free(m);
}

static void contents_agree_with_pages(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++)
		mirror_pages(4096, seed, 2000);
	mirror_pages(16384, 6, 1000);
}

/* ---- the store ---- */

static void references_are_counted(void **state)
{
	struct world *world = world_new(4096);
	struct ks_contents *contents = &world->contents;
	const ks_cid cid = ks_content_seed(&world->env, contents, 1);
	ks_cid other;

	(void)state;
	assert_int_equal(ks_content_refs(contents, cid), 1);
	ks_content_get(contents, cid);
	assert_int_equal(ks_content_seed(&world->env, contents, 1), cid);
	assert_int_equal(ks_content_refs(contents, cid), 3);
	assert_int_equal(patch(world, cid, 17, NULL, 0), cid);
	assert_int_equal(ks_content_refs(contents, cid), 4);
	for (unsigned i = 0; i < 3; i++)
		put(world, cid);
	assert_int_equal(ks_content_refs(contents, cid), 1);
	other = patch(world, cid, 0, "x", 1);
	assert_int_equal(ks_content_refs(contents, cid), 1); /* a patch needs no base */
	put(world, cid);
	assert_int_equal(contents->nr, 2);
	put(world, other);
	assert_int_equal(contents->nr, 1);
	world_free(world);
}

static void the_index_survives_growth_and_churn(void **state)
{
	enum { NR = 5000 };
	static ks_cid live[NR];
	struct world *world = world_new(4096);
	uint64_t chance = 9;

	(void)state;
	for (unsigned step = 0; step < 60000; step++) {
		/* waves: nearly all live, then nearly none */
		const bool fill = test_random_below(&chance, 100) < (step / 10000 % 2 ? 10u : 90u);
		const uint32_t i = test_random_below(&chance, NR);

		if (fill) {
			const ks_cid cid = ks_content_seed(&world->env, &world->contents, i);

			assert_true(!live[i] || live[i] == cid);
			if (live[i])
				put(world, cid);
			live[i] = cid;
		} else if (live[i]) {
			put(world, live[i]);
			live[i] = 0;
		}
		if (step % 5000 == 0)
			assert_true(ks_contents_check(&world->contents));
	}
	memset(live, 0, sizeof(live));
	world_free(world);
}

static void the_index_does_not_grow_with_what_is_gone(void **state)
{
	enum { NR = 1000 };
	ks_cid live[NR];
	struct world *world = world_new(4096);
	uint32_t capacity = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 200000; seed++) {
		if (seed >= NR)
			put(world, live[seed % NR]);
		live[seed % NR] = ks_content_seed(&world->env, &world->contents, seed);
		if (world->contents.index_capacity > capacity)
			capacity = world->contents.index_capacity;
	}
	assert_true(capacity < 2 * NR);
	world_free(world);
}

static void a_unique_content_takes_about_23_bytes(void **state)
{
	struct world *world = world_new(4096);
	uint64_t sum = 0, samples = 0;

	(void)state;
	for (uint32_t i = 1; i <= 200000; i++) {
		ks_content_seed(&world->env, &world->contents, i);
		if (i >= 50000) {
			sum += (ks_contents_memory(&world->contents) - 4096) * 100 / i;
			samples++;
		}
	}
	assert_in_range(sum / samples, 2100, 2450);
	world_free(world);
}

static void a_broken_store_is_seen(void **state)
{
	struct world *world = world_new(4096);
	struct ks_contents *contents = &world->contents;

	(void)state;
	ks_content_seed(&world->env, contents, 1);
	assert_true(ks_contents_check(contents));
	contents->nr++;
	assert_false(ks_contents_check(contents));
	contents->nr--;
	contents->index_used++;
	assert_false(ks_contents_check(contents));
	contents->index_used--;
	world_free(world);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(checksums_are_the_kernels),
	cmocka_unit_test(a_description_and_its_bytes_are_one_content),
	cmocka_unit_test(literal_descriptions_need_bytes),
	cmocka_unit_test(zero_has_one_id_and_lives_for_ever),
	cmocka_unit_test(seeds_give_different_pages),
	cmocka_unit_test(changes_around_the_limit_are_undone),
	cmocka_unit_test(sixty_four_changes_are_a_patch_and_one_more_is_not),
	cmocka_unit_test(a_page_moves_from_one_root_to_another),
	cmocka_unit_test(half_a_page_is_nobodys_root),
	cmocka_unit_test(contents_agree_with_pages),
	cmocka_unit_test(references_are_counted),
	cmocka_unit_test(the_index_survives_growth_and_churn),
	cmocka_unit_test(the_index_does_not_grow_with_what_is_gone),
	cmocka_unit_test(a_unique_content_takes_about_23_bytes),
	cmocka_unit_test(a_broken_store_is_seen),
};

TEST_MAIN(tests)
