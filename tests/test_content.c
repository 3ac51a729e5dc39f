/*
 * test_content.c - floor 1: contents against real pages, one rule at a time.
 */
#include "contentworld.h"

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
	cmocka_unit_test(references_are_counted),
	cmocka_unit_test(the_index_survives_growth_and_churn),
	cmocka_unit_test(the_index_does_not_grow_with_what_is_gone),
	cmocka_unit_test(a_unique_content_takes_about_23_bytes),
	cmocka_unit_test(a_broken_store_is_seen),
};

TEST_MAIN(tests)
