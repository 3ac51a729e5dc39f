/*
 * test_content_random.c - floor 1: contents of all kinds, changed and compared at random.
 *
 * A mirror holds a number of contents and the page of each; after every step one of them
 * must say of all others what the pages say.
 */
#include "contentworld.h"

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

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(contents_agree_with_pages),
};

TEST_MAIN(tests)
