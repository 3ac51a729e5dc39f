/*
 * folio.c - floor 2: large folios: blocks, the deferred split queue, splits. What maps them is in
 * folio_map.c.
 *
 *   block of a THP        |================ folio ================|
 *   block of smaller ones |= a =|= b =|= c =|.. not given out yet ..|
 *   after a split of a THP|.|.|.|.| = | = = |  single pages and what folios remain
 *
 * A block goes to its node's free list when the last of its pages goes, and is
 * not used again before KS_BLOCK_QUARANTINE others wait too, so that in a short
 * run a pfn is a name that is never given twice.
 *
 * Models: mm/huge_memory.c:deferred_split_folio(), __split_unmapped_folio().
 * Differs: memory is not a buddy system: see ks_folio_alloc().
 */
#include "lru.h"

#define KS_BLOCK_QUARANTINE 256u
#define PART_SHIFT 2u /* the smallest large folio has four pages */

/* ---- blocks ---- */

static uint32_t block_pages(const struct ks_frames *frames)
{
	return UINT32_C(1) << frames->pmd_order;
}

static uint32_t block_of(const struct ks_frames *frames, ks_pfn pfn)
{
	return (pfn & (frames->block_bit - 1)) >> frames->pmd_order;
}

static uint32_t slot_of(const struct ks_frames *frames, ks_pfn pfn)
{
	return pfn & (block_pages(frames) - 1);
}

static struct ks_block *block_at(const struct ks_frames *frames, ks_pfn pfn)
{
	return ks_pool_at(&frames->node[ks_frame_nid(frames, pfn)].blocks, block_of(frames, pfn));
}

static ks_pfn block_pfn(const struct ks_frames *frames, unsigned nid, uint32_t block)
{
	const ks_pfn node = frames->nid_shift >= 32 ? 0 : (ks_pfn)nid << frames->nid_shift;

	return node | frames->block_bit | block << frames->pmd_order;
}

struct ks_frame *ks_block_frame(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_block *block = block_at(frames, pfn);
	struct ks_frame *all = ks_pool_at(&frames->block_frames, block->frames);

	/* blank is the one frame that code may look at but never change */
	return block->frames ? all + slot_of(frames, pfn)
			     : (struct ks_frame *)(uintptr_t)&frames->blank;
}

static uint32_t *part_of(const struct ks_frames *frames, const struct ks_block *block, ks_pfn pfn)
{
	uint32_t *parts = ks_pool_at(&frames->block_parts, block->parts);

	return parts + (slot_of(frames, pfn) >> PART_SHIFT);
}

uint32_t ks_folio_id(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_block *block;

	if (!ks_pfn_is_large(frames, pfn))
		return 0;
	block = block_at(frames, pfn);
	if (block->folio || !block->parts)
		return block->folio; /* 0: the huge zero folio */
	return *part_of(frames, block, pfn);
}

struct ks_folio *ks_folio_of(const struct ks_frames *frames, ks_pfn pfn)
{
	const uint32_t id = ks_folio_id(frames, pfn);

	return id ? ks_folio(frames, id) : NULL;
}

static uint32_t take_block(struct ks_env *env, struct ks_frames *frames, unsigned nid)
{
	struct ks_node_frames *node = &frames->node[nid];
	uint32_t id = node->free_block_head;

	if (node->nr_free_blocks <= KS_BLOCK_QUARANTINE) {
		if (node->blocks.used >= frames->block_bit >> frames->pmd_order)
			ks_fail(env, KSMSIM_ELIMIT);
		return ks_pool_alloc(env, &node->blocks);
	}
	node->free_block_head = ((struct ks_block *)ks_pool_at(&node->blocks, id))->live;
	node->nr_free_blocks--;
	*(struct ks_block *)ks_pool_at(&node->blocks, id) = (struct ks_block){ 0 };
	return id;
}

static void free_block(struct ks_env *env, struct ks_frames *frames, unsigned nid, uint32_t id)
{
	struct ks_node_frames *node = &frames->node[nid];
	struct ks_block *block = ks_pool_at(&node->blocks, id);

	if (block->frames)
		ks_pool_free(env, &frames->block_frames, block->frames);
	if (block->parts)
		ks_pool_free(env, &frames->block_parts, block->parts);
	*block = (struct ks_block){ 0 };
	if (node->nr_free_blocks)
		((struct ks_block *)ks_pool_at(&node->blocks, node->free_block_tail))->live = id;
	else
		node->free_block_head = id;
	node->free_block_tail = id;
	node->nr_free_blocks++;
}

/* @nr pages of the block go. A block from which folios are still cut stays. */
static void block_put(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t nr)
{
	const unsigned nid = ks_frame_nid(frames, pfn);
	const uint32_t id = block_of(frames, pfn);
	struct ks_block *block = block_at(frames, pfn);

	block->live -= nr;
	frames->nr_used -= nr;
	if (block->live)
		return;
	for (unsigned order = 0; order < KS_ORDERS; order++) {
		if (frames->node[nid].open[order].block == id)
			return;
	}
	free_block(env, frames, nid, id);
}

/* The frames of a THP become memory: pages of zeros. */
static void need_frames(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	struct ks_block *block = block_at(frames, pfn);
	struct ks_frame *all;

	if (block->frames)
		return;
	block->frames = ks_pool_alloc(env, &frames->block_frames);
	all = ks_pool_at(&frames->block_frames, block->frames);
	for (uint32_t i = 0; i < block_pages(frames); i++)
		all[i] = frames->blank;
}

static void need_parts(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	struct ks_block *block = block_at(frames, pfn);

	if (!block->parts)
		block->parts = ks_pool_alloc(env, &frames->block_parts);
}

void ks_folio_need_frame(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	if (pfn & frames->block_bit)
		need_frames(env, frames, pfn);
}

void ks_block_page_freed(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	block_put(env, frames, pfn, 1);
}

bool ks_block_page_live(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_block *block = block_at(frames, pfn);

	if (block_of(frames, pfn) >= frames->node[ks_frame_nid(frames, pfn)].blocks.used)
		return false;
	return block->frames ? ks_block_frame(frames, pfn)->meta : block->folio;
}

/* ---- life ---- */

/*
 * Memory that ends (knob memory_pages) is a number of pages, and of blocks: a THP needs a whole
 * block. What single pages fill is taken to be packed, but for the share of blocks that the knob
 * fragmentation says are spoilt.
 */
static bool has_block(const struct ks_env *env, const struct ks_frames *frames)
{
	const uint64_t blocks = env->knob.memory_pages >> frames->pmd_order;

	return !env->knob.memory_pages ||
	       frames->nr_thp_blocks < blocks * (100 - env->knob.fragmentation) / 100;
}

static bool may_alloc(struct ks_env *env, const struct ks_frames *frames, unsigned order)
{
	const bool pmd = order == frames->pmd_order;

	if (ks_inject(env, pmd ? KSMSIM_INJECT_thp : KSMSIM_INJECT_mthp))
		return false;
	if (env->knob.fail_orders >> order & 1 || (pmd && !has_block(env, frames)))
		return false;
	return ks_frames_have_room(env, frames, UINT64_C(1) << order);
}

/* The first page of the next @order pages of the block from which folios of this order are cut. */
static ks_pfn cut(struct ks_env *env, struct ks_frames *frames, unsigned nid, unsigned order)
{
	struct ks_open_block *open = &frames->node[nid].open[order];
	ks_pfn head;

	if (!open->block) {
		struct ks_frame *all;

		open->block = take_block(env, frames, nid);
		open->next = 0;
		head = block_pfn(frames, nid, open->block);
		need_frames(env, frames, head);
		need_parts(env, frames, head);
		all = ks_block_frame(frames, head);
		for (uint32_t i = 0; i < block_pages(frames); i++)
			all[i] = (struct ks_frame){ .cid = 0 };
	}
	head = block_pfn(frames, nid, open->block) + open->next;
	open->next += UINT32_C(1) << order;
	if (open->next == block_pages(frames))
		open->block = 0;
	for (uint32_t i = 0; i < UINT32_C(1) << order; i++)
		ks_block_frame(frames, head)[i] = frames->blank;
	return head;
}

static uint32_t folio_new(struct ks_env *env, struct ks_frames *frames, ks_pfn head, unsigned order)
{
	const uint32_t id = ks_pool_alloc(env, &frames->folios);
	struct ks_folio *folio = ks_folio(frames, id);

	folio->head = head;
	folio->order = (uint8_t)order;
	folio->nid = (uint8_t)ks_frame_nid(frames, head);
	ks_mthp(env, KSMSIM_MTHP_nr_anon, order, 1);
	return id;
}

/* Every page of the folio knows where it belongs, or with @id 0 no longer. */
static void link_parts(struct ks_env *env, struct ks_frames *frames, const struct ks_folio *folio,
		       uint32_t id)
{
	struct ks_block *block = block_at(frames, folio->head);

	if (folio->order == frames->pmd_order) {
		block->folio = id;
		return;
	}
	need_parts(env, frames, folio->head);
	for (uint32_t i = 0; i < ks_folio_pages(folio); i += 1u << PART_SHIFT)
		*part_of(frames, block, folio->head + i) = id;
}

uint32_t ks_folio_alloc(struct ks_env *env, struct ks_frames *frames, unsigned nid, unsigned order)
{
	ks_pfn head;
	uint32_t id;

	KS_ASSERT(env, order >= PART_SHIFT && order <= frames->pmd_order);
	KS_ASSERT(env, nid < frames->nr_nodes);
	if (!may_alloc(env, frames, order))
		return 0;
	if (order == frames->pmd_order)
		head = block_pfn(frames, nid, take_block(env, frames, nid));
	else
		head = cut(env, frames, nid, order);
	id = folio_new(env, frames, head, order);
	link_parts(env, frames, ks_folio(frames, id), id);
	block_at(frames, head)->live += UINT32_C(1) << order;
	frames->nr_used += UINT32_C(1) << order;
	frames->nr_thp_blocks += order == frames->pmd_order;
	return id;
}

static void forget(struct ks_env *env, struct ks_frames *frames, uint32_t id)
{
	struct ks_folio *folio = ks_folio(frames, id);

	ks_folio_dequeue(frames, id);
	if (ks_folio_test(folio, KS_FOLIO_PARTIAL))
		ks_mthp(env, KSMSIM_MTHP_nr_anon_partially_mapped, folio->order, -1);
	ks_mthp(env, KSMSIM_MTHP_nr_anon, folio->order, -1);
	frames->nr_thp_blocks -= folio->order == frames->pmd_order;
	link_parts(env, frames, folio, 0);
	folio->order = 0; /* free: check tells by it */
	ks_pool_free(env, &frames->folios, id);
}

/* Of a folio in which the memory of a page failed all others become free. Models:
 * mm/page_alloc.c:free_has_hwpoisoned(). Differs: before 7.0 such a folio was freed as a whole. */
static void free_sound_pages(struct ks_env *env, struct ks_frames *frames, uint32_t id)
{
	const ks_pfn head = ks_folio(frames, id)->head;
	const uint32_t nr = ks_folio_pages(ks_folio(frames, id));

	ks_folio_break(env, frames, id, head, 0, 0, true);
	ks_folio_settle(env, frames, head, nr);
}

void ks_folio_put_if_unused(struct ks_env *env, struct ks_frames *frames, uint32_t id)
{
	const struct ks_folio *folio = ks_folio(frames, id);
	const uint32_t nr = ks_folio_pages(folio);
	const ks_pfn head = folio->head;

	if (folio->maps || folio->gets)
		return;
	if (ks_frames_any_poisoned(frames, head, nr)) {
		free_sound_pages(env, frames, id);
		return;
	}
	ks_lru_forget(frames, head);
	if (block_at(frames, head)->frames) {
		struct ks_frame *all = ks_block_frame(frames, head);

		for (uint32_t i = 0; i < nr; i++) {
			ks_content_put(env, frames->contents, all[i].cid);
			all[i] = (struct ks_frame){ .cid = 0 };
		}
	}
	forget(env, frames, id);
	block_put(env, frames, head, nr);
}

void ks_folio_get(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t nr)
{
	ks_frame_hold(env, frames, pfn, nr, 0);
}

void ks_folio_put(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t nr)
{
	ks_frame_release(env, frames, pfn, nr, 0);
}

/* ---- the deferred split queue ---- */

static void count_deferred(struct ks_env *env, const struct ks_frames *frames,
			   const struct ks_folio *folio)
{
	if (folio->order == frames->pmd_order)
		ks_count(env, KSMSIM_COUNT_thp_deferred_split_page, 1);
	ks_mthp(env, KSMSIM_MTHP_split_deferred, folio->order, 1);
}

void ks_folio_queue(struct ks_env *env, struct ks_frames *frames, uint32_t id, bool partial)
{
	struct ks_folio *folio = ks_folio(frames, id);
	const bool queued = ks_folio_test(folio, KS_FOLIO_QUEUED);
	const bool flagged = ks_folio_test(folio, KS_FOLIO_PARTIAL);

	if (partial && !flagged) {
		ks_folio_flag(folio, KS_FOLIO_PARTIAL, true);
		ks_mthp(env, KSMSIM_MTHP_nr_anon_partially_mapped, folio->order, 1);
	}
	if (partial && (env->feature[KS_FEAT_deferred_on_flag] ? !flagged : !queued))
		count_deferred(env, frames, folio);
	if (queued)
		return;
	ks_folio_flag(folio, KS_FOLIO_QUEUED, true);
	folio->prev = frames->split_tail;
	folio->next = 0;
	if (frames->split_tail)
		ks_folio(frames, frames->split_tail)->next = id;
	else
		frames->split_head = id;
	frames->split_tail = id;
	frames->nr_split_queue++;
}

void ks_folio_dequeue(struct ks_frames *frames, uint32_t id)
{
	struct ks_folio *folio = ks_folio(frames, id);

	if (!ks_folio_test(folio, KS_FOLIO_QUEUED))
		return;
	ks_folio_flag(folio, KS_FOLIO_QUEUED, false);
	if (folio->prev)
		ks_folio(frames, folio->prev)->next = folio->next;
	else
		frames->split_head = folio->next;
	if (folio->next)
		ks_folio(frames, folio->next)->prev = folio->prev;
	else
		frames->split_tail = folio->prev;
	folio->prev = folio->next = 0;
	frames->nr_split_queue--;
}

/* ---- split ---- */

static void make_single(struct ks_frame *frame, uint16_t flags)
{
	ks_frame_flag(frame, KS_FRAME_LARGE, false);
	ks_frame_flag(frame, KS_FRAME_DIRTY, flags & KS_FOLIO_DIRTY);
	ks_frame_flag(frame, KS_FRAME_LAZYFREE, flags & KS_FOLIO_LAZYFREE);
}

/* The pages [head, + 1 << order) of a folio that was like @old become one folio or single pages. */
static void make_part(struct ks_env *env, struct ks_frames *frames, const struct ks_folio *old,
		      ks_pfn head, unsigned order)
{
	const uint16_t kept = KS_FOLIO_DIRTY | KS_FOLIO_LAZYFREE;

	if (order < PART_SHIFT) {
		for (uint32_t i = 0; i < UINT32_C(1) << order; i++)
			make_single(ks_block_frame(frames, head + i), old->flags);
		return;
	}
	const uint32_t id = folio_new(env, frames, head, order);
	struct ks_folio *folio = ks_folio(frames, id);

	folio->flags = old->flags & kept;
	folio->root = old->root;
	folio->index = old->index + (head - old->head);
	link_parts(env, frames, folio, id);
}

/* Halves the part around @at until it has the order; the other halves stay as they are. */
static void make_halves(struct ks_env *env, struct ks_frames *frames, const struct ks_folio *old,
			ks_pfn at, unsigned order)
{
	unsigned now = old->order;
	ks_pfn head = old->head;

	while (now > order) {
		ks_pfn upper;

		now--;
		upper = head + (UINT32_C(1) << now);
		make_part(env, frames, old, at < upper ? upper : head, now);
		if (at >= upper)
			head = upper;
	}
	make_part(env, frames, old, head, order);
}

/* The first part keeps the mlock_count, the others begin anew: lru_add_split_folio(). */
static void lock_parts(struct ks_env *env, struct ks_frames *frames, ks_pfn head, uint32_t nr,
		       struct ks_lru_lock lock)
{
	for (uint32_t i = 0; i < nr;) {
		const struct ks_folio *part = ks_folio_of(frames, head + i);

		ks_lru_set_lock(env, frames, head + i, lock);
		lock.count = 0;
		i += part ? ks_folio_pages(part) : 1;
	}
}

void ks_folio_break(struct ks_env *env, struct ks_frames *frames, uint32_t id, ks_pfn at,
		    uint32_t held, unsigned order, bool uniform)
{
	const struct ks_folio old = *ks_folio(frames, id);
	const struct ks_lru_lock lock = ks_lru_lock_of(frames, old.head);

	KS_ASSERT(env, !old.maps && !old.pins && old.gets == held);
	KS_ASSERT(env, order < old.order && order != 1);
	need_frames(env, frames, old.head);
	ks_lru_forget(frames, old.head);
	forget(env, frames, id);
	if (!uniform)
		make_halves(env, frames, &old, at, order);
	for (uint32_t i = 0; uniform && i < ks_folio_pages(&old); i += UINT32_C(1) << order)
		make_part(env, frames, &old, old.head + i, order);
	if (lock.mlocked || lock.unevictable || lock.marks)
		lock_parts(env, frames, old.head, ks_folio_pages(&old), lock);
	ks_frame_hold(env, frames, at, held, 0);
}

void ks_folio_settle(struct ks_env *env, struct ks_frames *frames, ks_pfn head, uint32_t nr)
{
	uint32_t i = 0;

	/* the block must outlast the loop */
	block_at(frames, head)->live++;
	frames->nr_used++;
	while (i < nr) {
		const uint32_t id = ks_folio_id(frames, head + i);

		if (id) {
			const uint32_t pages = ks_folio_pages(ks_folio(frames, id));

			ks_folio_put_if_unused(env, frames, id);
			i += pages;
			continue;
		}
		ks_frame_free_if_unused(env, frames, head + i);
		i++;
	}
	block_put(env, frames, head, 1);
}

/* ---- check ---- */

static bool check_folio(const struct ks_frames *frames, uint32_t id)
{
	const struct ks_folio *folio = ks_folio(frames, id);
	uint32_t maps = 0, mapped = 0;

	if (ks_folio_id(frames, folio->head) != id || (!folio->maps && !folio->gets))
		return false;
	if (folio->head & (ks_folio_pages(folio) - 1) || folio->pins > folio->gets)
		return false;
	for (uint32_t i = 0; i < ks_folio_pages(folio); i++) {
		const struct ks_frame *frame = ks_frame(frames, folio->head + i);

		if (!ks_frame_test(frame, KS_FRAME_LARGE) || !frame->cid ||
		    ks_frame_test(frame, KS_FRAME_KSM) || ks_frame_test(frame, KS_FRAME_EXTRA))
			return false;
		maps += ks_frame_maps(frame);
		mapped += ks_frame_maps(frame) > 0;
	}
	return folio->maps == maps + folio->entire && folio->mapped == mapped;
}

struct totals {
	uint64_t nr_anon[KS_ORDERS], partial[KS_ORDERS];
	uint64_t queued, thps, blocks;
};

static void add_up(struct totals *sum, const struct ks_frames *frames, uint32_t id)
{
	const struct ks_folio *folio = ks_folio(frames, id);

	sum->nr_anon[folio->order]++;
	sum->partial[folio->order] += ks_folio_test(folio, KS_FOLIO_PARTIAL);
	sum->queued += ks_folio_test(folio, KS_FOLIO_QUEUED);
	sum->thps += folio->entire > 0;
	sum->blocks += folio->order == frames->pmd_order;
}

static bool check_queue(const struct ks_frames *frames)
{
	uint32_t nr = 0, last = 0;

	for (uint32_t id = frames->split_head; id; id = ks_folio(frames, id)->next) {
		const struct ks_folio *folio = ks_folio(frames, id);

		if (folio->prev != last || !ks_folio_test(folio, KS_FOLIO_QUEUED) ||
		    nr++ > frames->nr_split_queue)
			return false;
		last = id;
	}
	return last == frames->split_tail && nr == frames->nr_split_queue;
}

bool ks_folios_check(const struct ks_env *env, const struct ks_frames *frames)
{
	struct totals sum = { .queued = 0 };

	if (frames->blank.cid != KS_CID_ZERO || frames->blank.meta != KS_FRAME_LARGE)
		return false;
	for (uint32_t id = 1; id < frames->folios.used; id++) {
		if (!ks_folio(frames, id)->order)
			continue;
		if (!check_folio(frames, id))
			return false;
		add_up(&sum, frames, id);
	}
	for (unsigned order = 0; order < KS_ORDERS; order++) {
		if ((uint64_t)env->mthp[KSMSIM_MTHP_nr_anon][order] != sum.nr_anon[order] ||
		    (uint64_t)env->mthp[KSMSIM_MTHP_nr_anon_partially_mapped][order] !=
			    sum.partial[order])
			return false;
	}
	return sum.queued == frames->nr_split_queue && sum.thps == frames->nr_anon_thps &&
	       sum.blocks == frames->nr_thp_blocks && check_queue(frames);
}
