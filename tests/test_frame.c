/*
 * test_frame.c - floor 2: references, pfns and their reuse.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "lru.h"

struct world {
	struct ks_env env;
	struct ks_contents contents;
	struct ks_frames frames;
	jmp_buf out;
	ks_pfn freed[8]; /* what the bell told */
	uint32_t freed_refs[8];
	bool freed_live[8];
	unsigned nr_freed;
};

static struct world *world_new(unsigned nr_nodes)
{
	struct world *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	ks_env_init(&world->env, NULL, KS_PROFILE_V6_18, 0);
	world->env.out = &world->out;
	ks_contents_init(&world->env, &world->contents, 4096);
	ks_frames_init(&world->env, &world->frames, &world->contents, nr_nodes, 9);
	return world;
}

static void world_free(struct world *world)
{
	assert_true(ks_frames_check(&world->frames));
	assert_true(ks_contents_check(&world->contents));
	ks_frames_destroy(&world->env, &world->frames);
	ks_contents_destroy(&world->env, &world->contents);
	assert_int_equal(world->env.host_bytes, 0);
	ks_env_destroy(&world->env);
	free(world);
}

static ks_pfn new_frame(struct world *world, unsigned nid, uint64_t seed, bool lru)
{
	const ks_cid cid = ks_content_seed(&world->env, &world->contents, seed);

	return ks_frame_alloc(&world->env, &world->frames, nid, cid, lru);
}

static uint32_t refs(struct world *world, ks_pfn pfn)
{
	return ks_frame_refs(&world->frames, pfn);
}

static bool live(struct world *world, ks_pfn pfn)
{
	return ks_frame_live(&world->frames, pfn);
}

static void map(struct world *world, ks_pfn pfn)
{
	ks_frame_map(&world->env, &world->frames, pfn);
}

static void unmap(struct world *world, ks_pfn pfn)
{
	ks_frame_unmap(&world->env, &world->frames, pfn);
}

static void hold(struct world *world, ks_pfn pfn, uint32_t gets, uint32_t pins)
{
	ks_frame_hold(&world->env, &world->frames, pfn, gets, pins);
}

static void release(struct world *world, ks_pfn pfn, uint32_t gets, uint32_t pins)
{
	ks_frame_release(&world->env, &world->frames, pfn, gets, pins);
}

static void set_flag(struct world *world, ks_pfn pfn, enum ks_frame_flag flag)
{
	ks_frame_flag(ks_frame(&world->frames, pfn), flag, true);
}

/* ---- one frame ---- */

static void a_new_frame_is_exclusive_and_mapped_once(void **state)
{
	struct world *world = world_new(1);
	const ks_pfn pfn = new_frame(world, 0, 5, false);
	const struct ks_frame *frame = ks_frame(&world->frames, pfn);

	(void)state;
	assert_int_equal(pfn, 2); /* 1 is the zero page */
	assert_int_equal(ks_frame_maps(frame), 1);
	assert_int_equal(refs(world, pfn), 1);
	assert_int_equal(frame->meta & ((1u << KS_FRAME_FLAG_BITS) - 1), KS_FRAME_EXCLUSIVE);
	assert_int_equal(frame->cid, ks_content_seed(&world->env, &world->contents, 5));
	assert_int_equal(ks_content_refs(&world->contents, frame->cid), 2);
	assert_int_equal(world->frames.nr_used, 1);
	assert_int_equal(new_frame(world, 0, 6, false), 3);
	world_free(world);
}

static void the_last_mapping_frees_frame_and_content(void **state)
{
	struct world *world = world_new(1);
	const ks_pfn pfn = new_frame(world, 0, 5, false);

	(void)state;
	map(world, pfn);
	assert_int_equal(refs(world, pfn), 2);
	unmap(world, pfn);
	assert_true(live(world, pfn));
	assert_int_equal(world->contents.nr, 2);
	unmap(world, pfn);
	assert_false(live(world, pfn));
	assert_int_equal(world->contents.nr, 1);
	assert_int_equal(world->frames.nr_used, 0);
	world_free(world);
}

static void the_zero_page_is_never_counted(void **state)
{
	struct world *world = world_new(2);

	(void)state;
	assert_true(live(world, KS_PFN_ZERO));
	assert_int_equal(ks_frame(&world->frames, KS_PFN_ZERO)->cid, KS_CID_ZERO);
	map(world, KS_PFN_ZERO);
	hold(world, KS_PFN_ZERO, 1, 1);
	assert_int_equal(refs(world, KS_PFN_ZERO), 1);
	assert_int_equal(ks_frame_maps(ks_frame(&world->frames, KS_PFN_ZERO)), 0);
	release(world, KS_PFN_ZERO, 1, 1);
	unmap(world, KS_PFN_ZERO);
	unmap(world, KS_PFN_ZERO);
	assert_true(live(world, KS_PFN_ZERO));
	assert_int_equal(world->frames.nr_used, 0);
	world_free(world);
}

static void references_add_up(void **state)
{
	struct world *world = world_new(1);
	const ks_pfn pfn = new_frame(world, 0, 1, true);

	(void)state;
	assert_int_equal(refs(world, pfn), 2); /* mapping, LRU batch */
	hold(world, pfn, 3, 2);
	assert_int_equal(refs(world, pfn), 2 + 3 + 2 * 1024);
	assert_int_equal(ks_frame_pins(&world->frames, pfn), 2);
	set_flag(world, pfn, KS_FRAME_SWAPCACHE);
	set_flag(world, pfn, KS_FRAME_DIRTY);
	set_flag(world, pfn, KS_FRAME_LAZYFREE);
	set_flag(world, pfn, KS_FRAME_KSM);
	assert_int_equal(refs(world, pfn), 3 + 3 + 2 * 1024);
	hold(world, pfn, 0, 1);
	release(world, pfn, 1, 3);
	assert_int_equal(refs(world, pfn), 3 + 2);
	assert_int_equal(ks_frame_pins(&world->frames, pfn), 0);
	assert_true(ks_frames_check(&world->frames));
	ks_lru_drain(&world->env, &world->frames);
	assert_int_equal(refs(world, pfn), 2 + 2);
	ks_frame_uncache(&world->env, &world->frames, pfn);
	ks_frame_uncache(&world->env, &world->frames, pfn); /* only once */
	assert_int_equal(refs(world, pfn), 1 + 2);
	unmap(world, pfn);
	assert_int_equal(refs(world, pfn), 2);
	release(world, pfn, 1, 0);
	assert_true(live(world, pfn));
	release(world, pfn, 1, 0);
	assert_false(live(world, pfn));
	assert_int_equal(world->frames.extra.nr, 0);
	world_free(world);
}

/* Each kind of reference alone keeps a frame, and frees it when it goes. */
static void every_reference_can_be_the_last(void **state)
{
	struct world *world = world_new(1);
	const ks_pfn batch = new_frame(world, 0, 1, true);
	const ks_pfn cached = new_frame(world, 0, 2, false);
	const ks_pfn pinned = new_frame(world, 0, 3, false);

	(void)state;
	set_flag(world, cached, KS_FRAME_SWAPCACHE);
	hold(world, pinned, 0, 1);
	unmap(world, batch);
	unmap(world, cached);
	unmap(world, pinned);
	assert_true(live(world, batch) && live(world, cached) && live(world, pinned));
	assert_int_equal(world->frames.nr_used, 3);
	ks_lru_drain(&world->env, &world->frames);
	assert_false(live(world, batch));
	ks_frame_uncache(&world->env, &world->frames, cached);
	assert_false(live(world, cached));
	release(world, pinned, 0, 1);
	assert_false(live(world, pinned));
	assert_int_equal(world->frames.nr_used, 0);
	assert_int_equal(world->contents.nr, 1);
	world_free(world);
}

static void a_frame_takes_over_new_content(void **state)
{
	struct world *world = world_new(1);
	const ks_pfn pfn = new_frame(world, 0, 1, false);
	const ks_cid old = ks_frame(&world->frames, pfn)->cid;
	const ks_cid cid = ks_content_seed(&world->env, &world->contents, 2);

	(void)state;
	ks_content_get(&world->contents, old);
	ks_frame_set_content(&world->env, &world->frames, pfn, cid);
	assert_int_equal(ks_frame(&world->frames, pfn)->cid, cid);
	assert_int_equal(ks_content_refs(&world->contents, cid), 1);
	assert_int_equal(ks_content_refs(&world->contents, old), 1);
	world_free(world);
}

static void bell(void *self, ks_pfn pfn)
{
	struct world *world = self;

	world->freed[world->nr_freed] = pfn;
	world->freed_refs[world->nr_freed] = refs(world, pfn);
	world->freed_live[world->nr_freed] = ks_frame(&world->frames, pfn)->cid != KS_CID_NONE;
	world->nr_freed++;
}

static void the_bell_rings_for_ksm_frames_only(void **state)
{
	struct world *world = world_new(1);
	const ks_pfn plain = new_frame(world, 0, 1, false), ksm = new_frame(world, 0, 2, true);

	(void)state;
	world->frames.ksm_freed = bell;
	world->frames.self = world;
	set_flag(world, ksm, KS_FRAME_KSM);
	unmap(world, plain);
	unmap(world, ksm);
	assert_int_equal(world->nr_freed, 0); /* the batch still holds it */
	ks_lru_drain(&world->env, &world->frames);
	assert_int_equal(world->nr_freed, 1);
	assert_int_equal(world->freed[0], ksm);
	assert_int_equal(world->freed_refs[0], 0);
	assert_true(world->freed_live[0]); /* still a frame with its content */
	world_free(world);
}

/* ---- limits ---- */

static void one_mapping_too_many_is_a_limit(void **state)
{
	struct world *world = world_new(1);
	const ks_pfn pfn = new_frame(world, 0, 1, false);

	(void)state;
	ks_frame(&world->frames, pfn)->meta += (KS_FRAME_MAPS_MAX - 2) << KS_FRAME_FLAG_BITS;
	map(world, pfn);
	assert_int_equal(ks_frame_maps(ks_frame(&world->frames, pfn)), KS_FRAME_MAPS_MAX);
	assert_int_equal(world->env.failed, 0);
	if (setjmp(world->out) == 0)
		map(world, pfn);
	assert_int_equal(world->env.failed, KSMSIM_ELIMIT);
	assert_int_equal(ks_frame_maps(ks_frame(&world->frames, pfn)), KS_FRAME_MAPS_MAX);
	world_free(world);
}

static void too_many_pins_are_a_limit(void **state)
{
	struct world *world = world_new(1);
	const ks_pfn pfn = new_frame(world, 0, 1, false);

	(void)state;
	hold(world, pfn, 0, INT32_MAX / 1024);
	assert_int_equal(world->env.failed, 0);
	if (setjmp(world->out) == 0)
		hold(world, pfn, 0, 1);
	assert_int_equal(world->env.failed, KSMSIM_ELIMIT);
	assert_int_equal(ks_frame_pins(&world->frames, pfn), INT32_MAX / 1024);
	world_free(world);
}

static void a_full_node_is_a_limit(void **state)
{
	struct world *world = world_new(16);

	(void)state;
	world->frames.node[3].pool.used = 1u << 28;
	if (setjmp(world->out) == 0)
		new_frame(world, 3, 1, false);
	assert_int_equal(world->env.failed, KSMSIM_ELIMIT);
	world->frames.node[3].pool.used = 1;
	world_free(world);
}

static void an_injected_failure_leaves_the_content_to_the_caller(void **state)
{
	struct world *world = world_new(1);
	const ks_cid cid = ks_content_seed(&world->env, &world->contents, 1);

	(void)state;
	world->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(ks_frame_alloc(&world->env, &world->frames, 0, cid, true), KS_PFN_NONE);
	assert_int_equal(ks_content_refs(&world->contents, cid), 1);
	assert_int_equal(world->frames.nr_used, 0);
	assert_int_equal(ks_frame_alloc(&world->env, &world->frames, 0, cid, true), 2);
	world_free(world);
}

/* ---- pfns ---- */

static void pfns_are_reused_oldest_first_behind_the_quarantine(void **state)
{
	struct world *world = world_new(1);
	const uint32_t nr = KS_FRAME_QUARANTINE + 3;
	ks_pfn last;

	(void)state;
	for (uint32_t i = 0; i < nr; i++)
		assert_int_equal(new_frame(world, 0, i, false), 2 + i);
	/* freed from the middle on: 102, 103, ... then 2, 3, ... */
	for (uint32_t i = 0; i < KS_FRAME_QUARANTINE; i++)
		unmap(world, 2 + (i + 100) % nr);
	last = new_frame(world, 0, 1, false); /* exactly as many are free: not yet */
	assert_int_equal(last, 2 + nr);
	unmap(world, last);
	assert_int_equal(new_frame(world, 0, 1, false), 102);
	assert_int_equal(new_frame(world, 0, 2, false), 3 + nr);
	unmap(world, 102);
	assert_int_equal(new_frame(world, 0, 3, false), 103);
	assert_int_equal(ks_frame_maps(ks_frame(&world->frames, 103)), 1);
	world_free(world);
}

static void a_node_is_the_top_of_the_pfn(void **state)
{
	static const struct {
		unsigned nodes, shift;
	} sizes[] = { { 1, 32 }, { 2, 31 }, { 3, 30 }, { 4, 30 }, { 5, 29 }, { 16, 28 } };

	(void)state;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct world *world = world_new(sizes[s].nodes);

		assert_int_equal(world->frames.nid_shift, sizes[s].shift);
		for (unsigned nid = 0; nid < sizes[s].nodes; nid++) {
			const ks_pfn pfn = new_frame(world, nid, nid, false);

			assert_int_equal(pfn, nid ? nid << sizes[s].shift | 1u : 2);
			assert_int_equal(ks_frame_nid(&world->frames, pfn), nid);
			assert_true(live(world, pfn));
			assert_false(live(world, pfn + 1));
			assert_int_equal(new_frame(world, nid, 50 + nid, false), pfn + 1);
			unmap(world, pfn);
			assert_false(live(world, pfn));
			assert_int_equal(world->frames.node[nid].nr_free, 1);
		}
		assert_int_equal(world->frames.nr_used, sizes[s].nodes);
		assert_false(live(world, KS_PFN_NONE));
		if (sizes[s].nodes == 3)
			assert_false(live(world, 3u << 30 | 1u)); /* no such node */
		world_free(world);
	}
}

/* ---- all of it ---- */

/* Random operations next to plain counts of what each frame should have. */
static void references_agree_with_a_ledger(void **state)
{
	enum { NR = 50 };
	struct ledger {
		ks_pfn pfn;
		uint32_t maps, gets, pins;
	} ledger[NR] = { 0 };
	struct world *world = world_new(2);
	uint64_t chance = 21;

	(void)state;
	for (unsigned step = 0; step < 40000; step++) {
		struct ledger *entry = &ledger[test_random_below(&chance, NR)];
		const uint32_t how = test_random_below(&chance, 9);

		if (!entry->maps && !entry->gets && !entry->pins) {
			entry->pfn =
				new_frame(world, test_random_below(&chance, 2), step % 7, how < 6);
			entry->maps = 1;
		} else if (how < 2) {
			map(world, entry->pfn);
			entry->maps++;
		} else if (how < 5 && entry->maps) {
			unmap(world, entry->pfn);
			entry->maps--;
		} else if (how == 5) {
			hold(world, entry->pfn, 1, 2);
			entry->gets++;
			entry->pins += 2;
		} else if (how == 6 && entry->gets) {
			release(world, entry->pfn, 1, 0);
			entry->gets--;
		} else if (entry->pins) {
			release(world, entry->pfn, 0, 1);
			entry->pins--;
		}
		if (entry->maps || entry->gets || entry->pins) {
			const struct ks_frame *frame = ks_frame(&world->frames, entry->pfn);
			const uint32_t batch = ks_frame_test(frame, KS_FRAME_LRU_BATCH);

			assert_int_equal(refs(world, entry->pfn),
					 entry->maps + entry->gets + entry->pins * 1024 + batch);
		}
		if (step % 500 == 0)
			assert_true(ks_frames_check(&world->frames));
	}
	for (unsigned i = 0; i < NR; i++) {
		while (ledger[i].maps && ledger[i].maps--)
			unmap(world, ledger[i].pfn);
		if (ledger[i].gets || ledger[i].pins)
			release(world, ledger[i].pfn, ledger[i].gets, ledger[i].pins);
	}
	ks_lru_drain(&world->env, &world->frames);
	assert_int_equal(world->frames.nr_used, 0);
	assert_int_equal(world->contents.nr, 1);
	world_free(world);
}

static void broken_frames_are_seen(void **state)
{
	struct world *world = world_new(1);
	const ks_pfn a = new_frame(world, 0, 1, true), b = new_frame(world, 0, 2, false);
	struct ks_frame *frame = ks_frame(&world->frames, a);

	(void)state;
	unmap(world, b);
	assert_true(ks_frames_check(&world->frames));
	world->frames.nr_used++;
	assert_false(ks_frames_check(&world->frames));
	world->frames.nr_used--;
	frame->meta &= ~(uint32_t)KS_FRAME_LRU_BATCH; /* in the batch, but does not know */
	assert_false(ks_frames_check(&world->frames));
	frame->meta |= KS_FRAME_LRU_BATCH;
	frame->meta |= KS_FRAME_EXTRA; /* says that it has gets */
	assert_false(ks_frames_check(&world->frames));
	frame->meta &= ~(uint32_t)KS_FRAME_EXTRA;
	world->frames.node[0].free_head = 0;
	assert_false(ks_frames_check(&world->frames));
	world->frames.node[0].free_head = b;
	world_free(world);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_new_frame_is_exclusive_and_mapped_once),
	cmocka_unit_test(the_last_mapping_frees_frame_and_content),
	cmocka_unit_test(the_zero_page_is_never_counted),
	cmocka_unit_test(references_add_up),
	cmocka_unit_test(every_reference_can_be_the_last),
	cmocka_unit_test(a_frame_takes_over_new_content),
	cmocka_unit_test(the_bell_rings_for_ksm_frames_only),
	cmocka_unit_test(one_mapping_too_many_is_a_limit),
	cmocka_unit_test(too_many_pins_are_a_limit),
	cmocka_unit_test(a_full_node_is_a_limit),
	cmocka_unit_test(an_injected_failure_leaves_the_content_to_the_caller),
	cmocka_unit_test(pfns_are_reused_oldest_first_behind_the_quarantine),
	cmocka_unit_test(a_node_is_the_top_of_the_pfn),
	cmocka_unit_test(references_agree_with_a_ledger),
	cmocka_unit_test(broken_frames_are_seen),
};

TEST_MAIN(tests)
