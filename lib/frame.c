/*
 * frame.c - floor 2: frames, their references, and the LRU batches.
 *
 * A frame is in use while it has a reference; with the last one it goes to the
 * tail of its node's free list, and its pfn is not handed out again before
 * KS_FRAME_QUARANTINE others are waiting too. The zero page is a frame without
 * counts: mapping and unmapping it does nothing.
 *
 * Batches hold one reference for each of their entries:
 *
 *	add		new frames
 *	mlock		frames that a locked VMA begins or ceases to map, and its new ones
 *	lazyfree	frames given MADV_FREE
 *
 * A full one is drained alone, as the kernel drains a folio_batch; all other
 * draining is of all three. Frames that nobody maps any more are freed by that.
 *
 * What could surprise: KSM cannot merge a page that waits in a batch, nor is the
 * node of a KSM page stale as long; so memory that was locked behaves otherwise.
 * With the knob lru_drain off nothing leaves the batches but through
 * ks_lru_drain(), so they grow without bound (lru_more).
 *
 * Models: mm/swap.c:folio_add_lru(), folio_mark_lazyfree(), lru_add_drain();
 * mm/mlock.c:mlock_folio(), munlock_folio(); mm/gup.c:try_grab_folio().
 * Differs: the batch of pages to activate is missing, which holds new KSM pages
 * that were populated, not written first; files fill no place in the mlock batch.
 */
#include "folio.h"

#include <string.h>

/* A flag of this set stands for a reference or more. */
#define REF_FLAGS (KS_FRAME_LRU_BATCH | KS_FRAME_EXTRA | KS_FRAME_SWAPCACHE)
#define ONE_MAP (UINT32_C(1) << KS_FRAME_FLAG_BITS)
#define REFS_MAX INT32_MAX

/* What happens to a frame in the mlock batch when it is drained. */
enum batch_entry { MLOCK, MLOCK_NEW, MUNLOCK };

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
	ks_free(env, frames->lru_more);
	ks_free(env, frames->mlock.list);
	ks_free(env, frames->lazyfree.list);
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

bool ks_frames_have_room(const struct ks_env *env, const struct ks_frames *frames, uint64_t pages)
{
	return !env->knob.memory_pages || frames->nr_used + pages <= env->knob.memory_pages;
}

/* ---- the LRU batches ---- */

static void drain_one(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	struct ks_frame *frame = ks_frame(frames, pfn);

	ks_frame_flag(frame, KS_FRAME_LRU_BATCH, false);
	if (has_no_refs(frame))
		free_frame(env, frames, pfn);
}

static void drain_added(struct ks_env *env, struct ks_frames *frames)
{
	for (uint32_t i = 0; i < frames->nr_lru_batch; i++)
		drain_one(env, frames, frames->lru_batch[i]);
	for (uint32_t i = 0; i < frames->nr_lru_more; i++)
		drain_one(env, frames, frames->lru_more[i]);
	frames->nr_lru_batch = 0;
	frames->nr_lru_more = 0;
}

static void drain_lazyfree(struct ks_env *env, struct ks_frames *frames)
{
	for (uint32_t i = 0; i < frames->lazyfree.nr; i++) {
		const ks_pfn pfn = (ks_pfn)(frames->lazyfree.list[i] >> 2);

		if (!(ks_frame(frames, pfn)->meta & (KS_FRAME_SWAPCACHE | KS_FRAME_LOCKED)))
			ks_frame_flag(ks_frame(frames, pfn), KS_FRAME_LAZYFREE, true);
		ks_frame_release(env, frames, pfn, 1, 0);
	}
	frames->lazyfree.nr = 0;
}

/* Differs: a page of two locked VMAs is unlocked by the first that lets it go: no mlock_count. */
static void drain_mlock(struct ks_env *env, struct ks_frames *frames)
{
	for (uint32_t i = 0; i < frames->mlock.nr; i++) {
		const ks_pfn pfn = (ks_pfn)(frames->mlock.list[i] >> 2);
		const enum batch_entry what = frames->mlock.list[i] & 3;

		if (!ks_pfn_is_large(frames, pfn))
			ks_frame_flag(ks_frame(frames, pfn), KS_FRAME_LOCKED, what != MUNLOCK);
		if (what == MLOCK_NEW)
			drain_one(env, frames, pfn);
		else
			ks_frame_release(env, frames, pfn, 1, 0);
	}
	frames->mlock.nr = 0;
}

void ks_lru_drain(struct ks_env *env, struct ks_frames *frames)
{
	drain_added(env, frames);
	drain_lazyfree(env, frames);
	drain_mlock(env, frames);
}

void ks_lru_drain_local(struct ks_env *env, struct ks_frames *frames)
{
	if (env->knob.lru_drain)
		ks_lru_drain(env, frames);
}

static uint32_t lru_batch_size(const struct ks_env *env)
{
	return env->feature[KS_FEAT_lru_batch_31] ? 31 : 15;
}

/* Makes sure that one more frame can wait, so that lru_add() needs no memory. */
static void lru_reserve(struct ks_env *env, struct ks_frames *frames)
{
	uint32_t max;

	if (frames->nr_lru_batch < lru_batch_size(env) ||
	    frames->nr_lru_more < frames->lru_more_max)
		return;
	max = frames->lru_more_max ? 2 * frames->lru_more_max : 64;
	frames->lru_more = ks_realloc(env, frames->lru_more, max * sizeof(*frames->lru_more));
	frames->lru_more_max = max;
}

static void lru_add(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	const uint32_t size = lru_batch_size(env);

	ks_frame_flag(ks_frame(frames, pfn), KS_FRAME_LRU_BATCH, true);
	if (frames->nr_lru_batch < size)
		frames->lru_batch[frames->nr_lru_batch++] = pfn;
	else
		frames->lru_more[frames->nr_lru_more++] = pfn;
	if (frames->nr_lru_batch >= size && env->knob.lru_drain)
		drain_added(env, frames);
}

/* Room for one more entry first: nothing may fail once the frame is held. */
static void batch_add(struct ks_env *env, struct ks_lru_batch *batch, uint64_t entry)
{
	if (batch->nr == batch->max) {
		const uint32_t max = batch->max ? 2 * batch->max : 32;

		batch->list = ks_realloc(env, batch->list, max * sizeof(*batch->list));
		batch->max = max;
	}
	batch->list[batch->nr++] = entry;
}

static bool is_full(const struct ks_env *env, const struct ks_lru_batch *batch)
{
	return batch->nr >= lru_batch_size(env) && env->knob.lru_drain;
}

static void mlock_add(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn,
		      enum batch_entry what)
{
	ks_frame_hold(env, frames, pfn, 1, 0);
	batch_add(env, &frames->mlock, (uint64_t)pfn << 2 | what);
	if (is_full(env, &frames->mlock))
		drain_mlock(env, frames);
}

void ks_lru_mlock(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	if (pfn == KS_PFN_ZERO)
		return;
	if (ks_pfn_is_large(frames, pfn)) {
		/* never waits, and nothing before it does */
		drain_mlock(env, frames);
		return;
	}
	mlock_add(env, frames, pfn, MLOCK);
}

void ks_lru_munlock(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, bool pmd)
{
	struct ks_folio *folio = ks_folio_of(frames, pfn);

	if (pfn == KS_PFN_ZERO)
		return;
	if (!folio) {
		mlock_add(env, frames, pfn, MUNLOCK);
	} else if (pmd || env->feature[KS_FEAT_zap_batched]) {
		ks_folio_flag(folio, KS_FOLIO_MLOCKED, false);
		ks_lru_add_large(env, frames, true);
	}
}

void ks_lru_mlock_new(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	batch_add(env, &frames->mlock, (uint64_t)pfn << 2 | MLOCK_NEW);
	ks_frame_flag(ks_frame(frames, pfn), KS_FRAME_LRU_BATCH, true);
	if (is_full(env, &frames->mlock))
		drain_mlock(env, frames);
}

void ks_lru_putback(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	if (pfn == KS_PFN_ZERO ||
	    ks_frame(frames, pfn)->meta & (KS_FRAME_LRU_BATCH | KS_FRAME_LARGE))
		return;
	lru_reserve(env, frames);
	lru_add(env, frames, pfn);
}

void ks_lru_add_large(struct ks_env *env, struct ks_frames *frames, bool locked)
{
	if (!env->knob.lru_drain)
		return;
	if (locked)
		drain_mlock(env, frames);
	else
		drain_added(env, frames);
}

void ks_lru_lazyfree(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	const uint32_t flags =
		KS_FRAME_LAZYFREE | KS_FRAME_SWAPCACHE | KS_FRAME_LRU_BATCH | KS_FRAME_LOCKED;

	if (ks_frame(frames, pfn)->meta & flags)
		return;
	ks_frame_hold(env, frames, pfn, 1, 0);
	batch_add(env, &frames->lazyfree, (uint64_t)pfn << 2);
	if (is_full(env, &frames->lazyfree))
		drain_lazyfree(env, frames);
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
		lru_reserve(env, frames);
	pfn = take_free(env, frames, nid);
	*ks_frame(frames, pfn) =
		(struct ks_frame){ .cid = cid, .meta = ONE_MAP | KS_FRAME_EXCLUSIVE };
	frames->nr_used++;
	if (lru)
		lru_add(env, frames, pfn);
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
	uint64_t bytes = frames->extra.capacity * 2 * sizeof(uint64_t) +
			 frames->lru_more_max * sizeof(*frames->lru_more) +
			 ((uint64_t)frames->mlock.max + frames->lazyfree.max) * sizeof(uint64_t);

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

static bool check_batch(const struct ks_frames *frames)
{
	for (uint32_t i = 0; i < frames->nr_lru_batch; i++) {
		if (!ks_frame_test(ks_frame(frames, frames->lru_batch[i]), KS_FRAME_LRU_BATCH))
			return false;
	}
	for (uint32_t i = 0; i < frames->nr_lru_more; i++) {
		if (!ks_frame_test(ks_frame(frames, frames->lru_more[i]), KS_FRAME_LRU_BATCH))
			return false;
	}
	return true;
}

/* Every entry holds its frame, by its flag if it is new. The number of new ones to *nr. */
static bool check_held(const struct ks_frames *frames, const struct ks_lru_batch *batch,
		       uint64_t *nr)
{
	for (uint32_t i = 0; i < batch->nr; i++) {
		const bool is_new = (batch->list[i] & 3) == MLOCK_NEW;
		const struct ks_frame *frame = ks_frame(frames, (ks_pfn)(batch->list[i] >> 2));

		if (!ks_frame_test(frame, is_new ? KS_FRAME_LRU_BATCH : KS_FRAME_EXTRA))
			return false;
		*nr += is_new;
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
	uint64_t nr_new = 0;

	for (unsigned nid = 0; nid < frames->nr_nodes; nid++) {
		if (!check_node(frames, nid, &sum))
			return false;
	}
	return check_blocks(frames, &sum) && check_held(frames, &frames->mlock, &nr_new) &&
	       check_held(frames, &frames->lazyfree, &nr_new) && sum.used == frames->nr_used &&
	       sum.extra == frames->extra.nr &&
	       sum.batch == nr_new + frames->nr_lru_batch + frames->nr_lru_more &&
	       check_batch(frames);
}
