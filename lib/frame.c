/*
 * frame.c - floor 2: frames and their references.
 *
 * A frame is in use while it has a reference; with the last one it goes to the
 * tail of its node's free list, and its pfn is not handed out again before
 * KS_FRAME_QUARANTINE others are waiting too. The zero page is a frame without
 * counts: mapping and unmapping it does nothing.
 *
 * Models: mm/gup.c:try_grab_folio(); mm/page_alloc.c as far as a pfn is a name.
 */
#include "lru.h"

#include <string.h>

/* A flag of this set stands for a reference or more. */
#define REF_FLAGS (KS_FRAME_LRU_BATCH | KS_FRAME_EXTRA | KS_FRAME_SWAPCACHE)
#define ONE_MAP (UINT32_C(1) << KS_FRAME_FLAG_BITS)
#define REFS_MAX INT32_MAX

static uint32_t idx_of(const struct ks_frames *frames, ks_pfn pfn)
{
	return frames->nid_shift >= 32 ? pfn : pfn & ((1u << frames->nid_shift) - 1);
}

static ks_pfn pfn_of(const struct ks_frames *frames, unsigned nid, uint32_t idx)
{
	return frames->nid_shift >= 32 ? idx : (uint32_t)nid << frames->nid_shift | idx;
}

/**
 * ks_frames_init() - memory with the zero page only
 * @contents: where frames give their contents back; must outlive @frames
 * @nr_nodes: 1..KS_NODES_MAX
 * @pmd_order: a PMD maps 1 << @pmd_order pages; below KS_ORDERS
 */
void ks_frames_init(struct ks_env *env, struct ks_frames *frames, struct ks_contents *contents,
		    unsigned nr_nodes, unsigned pmd_order)
{
	const uint32_t pages = UINT32_C(1) << pmd_order;
	ks_pfn zero;

	KS_ASSERT(env, nr_nodes >= 1 && nr_nodes <= KS_NODES_MAX);
	memset(frames, 0, sizeof(*frames));
	frames->contents = contents;
	frames->nr_nodes = nr_nodes;
	frames->nid_shift = 32;
	while (nr_nodes > 1u << (32 - frames->nid_shift))
		frames->nid_shift--;
	frames->block_bit = UINT32_C(1) << (frames->nid_shift - 1);
	frames->pmd_order = pmd_order;
	frames->blank = (struct ks_frame){ .cid = KS_CID_ZERO, .meta = KS_FRAME_LARGE };
	ks_pool_init(&frames->block_frames, pages * (uint32_t)sizeof(struct ks_frame));
	ks_pool_init(&frames->block_parts, pages / 4 * (uint32_t)sizeof(uint32_t));
	ks_pool_init(&frames->folios, sizeof(struct ks_folio));
	for (unsigned nid = 0; nid < nr_nodes; nid++) {
		ks_pool_init(&frames->node[nid].pool, sizeof(struct ks_frame));
		ks_pool_init(&frames->node[nid].blocks, sizeof(struct ks_block));
	}
	/* block 1 of node 0 is the huge zero folio's */
	ks_pool_alloc(env, &frames->node[0].blocks);
	zero = ks_pool_alloc(env, &frames->node[0].pool);
	KS_ASSERT(env, zero == KS_PFN_ZERO);
	ks_frame(frames, zero)->cid = KS_CID_ZERO;
}

/* The contents of frames still in use are not given back: they go with all contents. */
void ks_frames_destroy(struct ks_env *env, struct ks_frames *frames)
{
	for (unsigned nid = 0; nid < frames->nr_nodes; nid++) {
		ks_pool_destroy(env, &frames->node[nid].pool);
		ks_pool_destroy(env, &frames->node[nid].blocks);
	}
	ks_pool_destroy(env, &frames->block_frames);
	ks_pool_destroy(env, &frames->block_parts);
	ks_pool_destroy(env, &frames->folios);
	ks_map_destroy(env, &frames->extra);
	ks_map_destroy(env, &frames->mlock_counts);
	ks_map_destroy(env, &frames->marks);
	ks_map_destroy(env, &frames->poisoned);
	ks_free(env, frames->lru_more);
	ks_free(env, frames->mlock.list);
	ks_free(env, frames->lazyfree.list);
	ks_free(env, frames->activate.list);
	ks_free(env, frames->deactivate.list);
	memset(frames, 0, sizeof(*frames));
}

/* ---- free frames ---- */

/* The oldest free frame if enough are waiting, else one never used before. */
static ks_pfn take_free(struct ks_env *env, struct ks_frames *frames, unsigned nid)
{
	struct ks_node_frames *node = &frames->node[nid];
	uint32_t idx;

	if (node->nr_free > KS_FRAME_QUARANTINE) {
		struct ks_frame *frame;

		idx = node->free_head;
		frame = ks_pool_at(&node->pool, idx);
		node->free_head = frame->cid;
		node->nr_free--;
		return pfn_of(frames, nid, idx);
	}
	if (node->pool.used >= frames->block_bit)
		ks_fail(env, KSMSIM_ELIMIT);
	idx = ks_pool_alloc(env, &node->pool);
	return pfn_of(frames, nid, idx);
}

static void append_free(struct ks_frames *frames, ks_pfn pfn)
{
	struct ks_node_frames *node = &frames->node[ks_frame_nid(frames, pfn)];
	const uint32_t idx = idx_of(frames, pfn);

	if (node->nr_free) {
		struct ks_frame *tail = ks_pool_at(&node->pool, node->free_tail);

		tail->cid = idx;
	} else {
		node->free_head = idx;
	}
	node->free_tail = idx;
	node->nr_free++;
}

/* The last reference went: tell the floor above of a KSM page while it still is one. */
static void free_frame(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	struct ks_frame *frame = ks_frame(frames, pfn);

	if (ks_frame_test(frame, KS_FRAME_KSM) && frames->ksm_freed)
		frames->ksm_freed(frames->self, pfn);
	ks_lru_forget(frames, pfn);
	if (ks_frame_is_poisoned(frames, pfn)) {
		ks_frame_flag(frame, KS_FRAME_KSM, false);
		ks_frame_hold(env, frames, pfn, 1, 0);
		return;
	}
	ks_content_put(env, frames->contents, frame->cid);
	*frame = (struct ks_frame){ .cid = 0 };
	if (pfn & frames->block_bit) {
		ks_block_page_freed(env, frames, pfn);
		return;
	}
	append_free(frames, pfn);
	frames->nr_used--;
}

static bool has_no_refs(const struct ks_frame *frame)
{
	return frame->meta < ONE_MAP && !(frame->meta & REF_FLAGS);
}

void ks_frame_free_if_unused(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_frame *frame = ks_frame(frames, pfn);

	if (frame->cid && has_no_refs(frame))
		free_frame(env, frames, pfn);
}

void ks_frame_poison(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	ks_map_set(env, &frames->poisoned, pfn, 1);
}

bool ks_frames_any_poisoned(const struct ks_frames *frames, ks_pfn pfn, uint32_t nr)
{
	if (!frames->poisoned.nr)
		return false;
	for (uint32_t i = 0; i < nr; i++) {
		if (ks_map_find(&frames->poisoned, pfn + i))
			return true;
	}
	return false;
}

bool ks_frames_have_room(const struct ks_env *env, const struct ks_frames *frames, uint64_t pages)
{
	return !env->knob.memory_pages || frames->nr_used + pages <= env->knob.memory_pages;
}

/* ---- references ---- */

/* On KS_PFN_NONE the caller keeps its reference of @cid. */
ks_pfn ks_frame_alloc(struct ks_env *env, struct ks_frames *frames, unsigned nid, ks_cid cid,
		      bool lru)
{
	ks_pfn pfn;

	KS_ASSERT(env, nid < frames->nr_nodes);
	if (ks_inject(env, KSMSIM_INJECT_frame) || env->knob.fail_orders & 1 ||
	    !ks_frames_have_room(env, frames, 1))
		return KS_PFN_NONE;
	if (lru)
		ks_lru_reserve(env, frames);
	pfn = take_free(env, frames, nid);
	*ks_frame(frames, pfn) =
		(struct ks_frame){ .cid = cid, .meta = ONE_MAP | KS_FRAME_EXCLUSIVE };
	frames->nr_used++;
	if (lru)
		ks_lru_add(env, frames, pfn);
	return pfn;
}

void ks_frame_map(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	struct ks_frame *frame;

	if (pfn == KS_PFN_ZERO)
		return;
	frame = ks_frame(frames, pfn);
	KS_ASSERT(env, !ks_frame_test(frame, KS_FRAME_LARGE));
	if (ks_frame_maps(frame) >= KS_FRAME_MAPS_MAX)
		ks_fail(env, KSMSIM_ELIMIT);
	frame->meta += ONE_MAP;
}

void ks_frame_unmap(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	struct ks_frame *frame;

	if (pfn == KS_PFN_ZERO)
		return;
	frame = ks_frame(frames, pfn);
	KS_ASSERT(env, ks_frame_maps(frame) > 0);
	KS_ASSERT(env, !ks_frame_test(frame, KS_FRAME_LARGE));
	frame->meta -= ONE_MAP;
	if (has_no_refs(frame))
		free_frame(env, frames, pfn);
}

static uint64_t extra_of(const struct ks_frames *frames, ks_pfn pfn)
{
	const uint64_t *extra;

	if (!ks_frame_test(ks_frame(frames, pfn), KS_FRAME_EXTRA))
		return 0;
	extra = ks_map_find(&frames->extra, pfn);
	return extra ? *extra : 0;
}

static uint64_t extra_refs(uint64_t extra)
{
	return (uint32_t)extra + (extra >> 32) * KS_PIN_BIAS;
}

/* A pin of a large folio is one reference, and counted. */
static void folio_hold(struct ks_env *env, struct ks_folio *folio, uint32_t gets, uint32_t pins)
{
	if ((uint64_t)folio->gets + gets + pins > REFS_MAX)
		ks_fail(env, KSMSIM_ELIMIT);
	folio->gets += gets + pins;
	folio->pins += pins;
}

/**
 * ks_frame_hold() - references that are not mappings
 * @gets: plain references
 * @pins: counted KS_PIN_BIAS references each
 *
 * Models: mm/gup.c:try_grab_folio(). The zero page takes none.
 */
void ks_frame_hold(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t gets,
		   uint32_t pins)
{
	uint64_t extra;

	if (pfn == KS_PFN_ZERO || !(gets | pins))
		return;
	if (ks_pfn_is_large(frames, pfn)) {
		folio_hold(env, ks_folio_of(frames, pfn), gets, pins);
		return;
	}
	extra = extra_of(frames, pfn);
	if (extra_refs(extra) + gets + (uint64_t)pins * KS_PIN_BIAS > REFS_MAX)
		ks_fail(env, KSMSIM_ELIMIT);
	ks_map_set(env, &frames->extra, pfn, extra + ((uint64_t)pins << 32) + gets);
	ks_frame_flag(ks_frame(frames, pfn), KS_FRAME_EXTRA, true);
}

void ks_frame_release(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t gets,
		      uint32_t pins)
{
	struct ks_frame *frame;
	uint64_t extra;

	if (pfn == KS_PFN_ZERO || !(gets | pins))
		return;
	if (ks_pfn_is_large(frames, pfn)) {
		struct ks_folio *folio = ks_folio_of(frames, pfn);

		KS_ASSERT(env, folio->gets >= gets + pins && folio->pins >= pins);
		folio->gets -= gets + pins;
		folio->pins -= pins;
		ks_folio_put_if_unused(env, frames, ks_folio_id(frames, pfn));
		return;
	}
	extra = extra_of(frames, pfn);
	KS_ASSERT(env, (uint32_t)extra >= gets);
	KS_ASSERT(env, extra >> 32 >= pins);
	extra -= ((uint64_t)pins << 32) + gets;
	if (extra) {
		ks_map_set(env, &frames->extra, pfn, extra);
		return;
	}
	ks_map_delete(&frames->extra, pfn);
	frame = ks_frame(frames, pfn);
	ks_frame_flag(frame, KS_FRAME_EXTRA, false);
	if (has_no_refs(frame))
		free_frame(env, frames, pfn);
}

void ks_frame_uncache(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	struct ks_frame *frame = ks_frame(frames, pfn);

	if (!ks_frame_test(frame, KS_FRAME_SWAPCACHE))
		return;
	ks_frame_flag(frame, KS_FRAME_SWAPCACHE, false);
	if (has_no_refs(frame))
		free_frame(env, frames, pfn);
}

/* The zero page answers 1: it is never counted and never goes. A page of a large folio answers for
 * the folio. */
uint32_t ks_frame_refs(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_frame *frame = ks_frame(frames, pfn);
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	if (pfn == KS_PFN_ZERO)
		return 1;
	if (folio)
		return folio->maps + folio->gets;
	return ks_frame_maps(frame) + ks_frame_test(frame, KS_FRAME_LRU_BATCH) +
	       ks_frame_test(frame, KS_FRAME_SWAPCACHE) +
	       (uint32_t)extra_refs(extra_of(frames, pfn));
}

uint32_t ks_frame_pins(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	return folio ? folio->pins : (uint32_t)(extra_of(frames, pfn) >> 32);
}

bool ks_frame_live(const struct ks_frames *frames, ks_pfn pfn)
{
	const unsigned nid = ks_frame_nid(frames, pfn);
	const uint32_t idx = idx_of(frames, pfn);

	if (pfn == KS_PFN_ZERO)
		return true;
	if (nid < frames->nr_nodes && pfn & frames->block_bit)
		return ks_block_page_live(frames, pfn);
	return nid < frames->nr_nodes && idx && idx < frames->node[nid].pool.used &&
	       ks_frame(frames, pfn)->meta;
}

void ks_frame_set_content(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, ks_cid cid)
{
	struct ks_frame *frame;

	KS_ASSERT(env, pfn != KS_PFN_ZERO);
	/* pages of zeros may be blank, and stay so */
	if (ks_frame(frames, pfn)->cid == cid) {
		ks_content_put(env, frames->contents, cid);
		return;
	}
	ks_folio_need_frame(env, frames, pfn);
	frame = ks_frame(frames, pfn);
	ks_content_put(env, frames->contents, frame->cid);
	frame->cid = cid;
}

uint64_t ks_frames_memory(const struct ks_frames *frames)
{
	const uint64_t waiting = (uint64_t)frames->mlock.max + frames->lazyfree.max +
				 frames->activate.max + frames->deactivate.max;
	const uint64_t slots = (uint64_t)frames->extra.capacity + frames->marks.capacity +
			       frames->mlock_counts.capacity + frames->poisoned.capacity;
	uint64_t bytes = slots * 2 * sizeof(uint64_t) + waiting * sizeof(uint64_t) +
			 frames->lru_more_max * sizeof(*frames->lru_more);

	bytes += ks_pool_bytes(&frames->block_frames) + ks_pool_bytes(&frames->block_parts) +
		 ks_pool_bytes(&frames->folios);
	for (unsigned nid = 0; nid < frames->nr_nodes; nid++)
		bytes += ks_pool_bytes(&frames->node[nid].pool) +
			 ks_pool_bytes(&frames->node[nid].blocks);
	return bytes;
}

/* ---- check ---- */

/* Every free frame is on the list, once, and nothing else is. */
static bool check_free_list(const struct ks_node_frames *node, uint32_t free_frames)
{
	uint32_t idx = node->free_head;

	if (node->nr_free != free_frames)
		return false;
	for (uint32_t i = 0; i < node->nr_free; i++) {
		const struct ks_frame *frame;

		if (!idx || idx >= node->pool.used)
			return false;
		frame = ks_pool_at(&node->pool, idx);
		if (frame->meta || (i + 1 == node->nr_free && idx != node->free_tail))
			return false;
		idx = frame->cid;
	}
	return true;
}

struct totals {
	uint64_t used, free, batch, extra;
};

/* false: neither free nor in use. Pages of large folios are folio.c's. */
static bool add_frame(struct totals *sum, const struct ks_frame *frame)
{
	if (ks_frame_test(frame, KS_FRAME_LARGE))
		return true;
	if (frame->meta && (has_no_refs(frame) || !frame->cid))
		return false;
	sum->used += frame->meta != 0;
	sum->free += frame->meta == 0;
	sum->batch += ks_frame_test(frame, KS_FRAME_LRU_BATCH);
	sum->extra += ks_frame_test(frame, KS_FRAME_EXTRA);
	return true;
}

static bool check_node(const struct ks_frames *frames, unsigned nid, struct totals *sum)
{
	const struct ks_node_frames *node = &frames->node[nid];
	const uint64_t free_before = sum->free;

	for (uint32_t idx = nid ? 1 : KS_PFN_ZERO + 1; idx < node->pool.used; idx++) {
		if (!add_frame(sum, ks_pool_at(&node->pool, idx)))
			return false;
	}
	return check_free_list(node, (uint32_t)(sum->free - free_before));
}

/* Single pages of one block; pages of large folios count as used. false: its count is wrong. */
static bool check_block(const struct ks_frames *frames, const struct ks_block *block,
			struct totals *sum)
{
	const uint32_t pages = UINT32_C(1) << frames->pmd_order;
	const struct ks_frame *all = ks_pool_at(&frames->block_frames, block->frames);
	const uint64_t before = sum->used;

	if (!block->frames) {
		sum->used += block->folio ? pages : 0;
		return !block->folio || block->live == pages;
	}
	for (uint32_t i = 0; i < pages; i++) {
		sum->used += ks_frame_test(&all[i], KS_FRAME_LARGE);
		if (!add_frame(sum, &all[i]))
			return false;
	}
	return sum->used - before == block->live;
}

static bool check_blocks(const struct ks_frames *frames, struct totals *sum)
{
	for (unsigned nid = 0; nid < frames->nr_nodes; nid++) {
		const struct ks_pool *blocks = &frames->node[nid].blocks;

		for (uint32_t id = 1; id < blocks->used; id++) {
			if (!check_block(frames, ks_pool_at(blocks, id), sum))
				return false;
		}
	}
	return true;
}

bool ks_frames_check(const struct ks_frames *frames)
{
	struct totals sum = { .used = 0 };

	for (unsigned nid = 0; nid < frames->nr_nodes; nid++) {
		if (!check_node(frames, nid, &sum))
			return false;
	}
	return check_blocks(frames, &sum) && sum.used == frames->nr_used &&
	       sum.extra == frames->extra.nr && ks_lru_check(frames, sum.batch);
}
