/*
 * swap.c - floor 4: the swap area, the swap cache and reclaim of single frames.
 *
 *   entries --count--> slot --cached--> frame (holds one reference while cached)
 *
 * A slot lives while an entry or a cached frame needs it. A frame in the swap
 * cache remembers in its slot where it belongs (root of the anon_vma and index):
 * a fault elsewhere, as after reclaim of a KSM page, may not map it but copies.
 *
 * What could surprise: a page that someone holds a plain reference of is unmapped
 * but stays in the swap cache; one that is pinned and exclusive, lies in a locked
 * VMA or still waits in the LRU batch is not reclaimed at all; a lazily freed
 * clean page is dropped without a slot.
 *
 * Models: mm/vmscan.c:shrink_folio_list(), mm/rmap.c:try_to_unmap_one(),
 * mm/swapfile.c:folio_free_swap().
 */
#include "mm.h"

/* ---- slots ---- */

static void free_slot_if_unused(struct ks_system *sys, uint32_t idx)
{
	struct ks_swap_slot *slot = ks_swap_slot(sys, idx);

	if (slot->count || slot->cached)
		return;
	ks_content_put(sys->env, &sys->contents, slot->cid);
	ks_pool_free(sys->env, &sys->swap, idx);
}

void ks_swap_dup(struct ks_system *sys, uint32_t slot)
{
	ks_swap_slot(sys, slot)->count++;
}

void ks_swap_put(struct ks_system *sys, uint32_t slot)
{
	struct ks_swap_slot *s = ks_swap_slot(sys, slot);

	KS_ASSERT(sys->env, s->count > 0);
	s->count--;
	if (s->count)
		return;
	if (!s->cached)
		free_slot_if_unused(sys, slot);
	else if (!ks_frame_maps(ks_frame(&sys->frames, s->cached)))
		ks_swap_cache_drop(sys, s->cached);
}

/* ---- the swap cache ---- */

void ks_swap_cache_add(struct ks_system *sys, uint32_t slot, ks_pfn pfn, uint32_t root,
		       uint64_t index)
{
	struct ks_swap_slot *s = ks_swap_slot(sys, slot);

	KS_ASSERT(sys->env, !s->cached);
	ks_map_set(sys->env, &sys->swap_cache, pfn, slot);
	s->cached = pfn;
	s->root = root;
	s->index = index;
	ks_frame_flag(ks_frame(&sys->frames, pfn), KS_FRAME_SWAPCACHE, true);
}

static void cache_remove(struct ks_system *sys, ks_pfn pfn)
{
	const uint32_t slot = (uint32_t)*ks_map_find(&sys->swap_cache, pfn);

	ks_map_delete(&sys->swap_cache, pfn);
	ks_swap_slot(sys, slot)->cached = KS_PFN_NONE;
	free_slot_if_unused(sys, slot);
	ks_frame_uncache(sys->env, &sys->frames, pfn);
}

bool ks_swap_cache_drop(struct ks_system *sys, ks_pfn pfn)
{
	const uint64_t *slot = ks_map_find(&sys->swap_cache, pfn);

	KS_ASSERT(sys->env, slot);
	if (ks_swap_slot(sys, (uint32_t)*slot)->count)
		return false;
	cache_remove(sys, pfn);
	return true;
}

void ks_anon_unmap(struct ks_system *sys, ks_pfn pfn)
{
	const struct ks_frame *frame = ks_frame(&sys->frames, pfn);
	const bool is_cached = ks_frame_test(frame, KS_FRAME_SWAPCACHE);

	ks_frame_unmap(sys->env, &sys->frames, pfn);
	if (is_cached && !ks_frame_maps(frame))
		ks_swap_cache_drop(sys, pfn);
}

/* ---- reclaim ---- */

struct reclaim {
	struct ks_system *sys;
	ks_pfn pfn;
	uint32_t slot; /* 0: the page is dropped */
	bool exclusive;
	/* found by the look before */
	bool locked, dirty;
	uint32_t root;
	uint64_t index;
};

static void look(void *self, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte)
{
	struct reclaim *r = self;
	const struct ks_vma *vma = ks_vma_at(mm, vpn);

	r->locked |= (vma->flags & KS_VM_LOCKED) != 0;
	r->dirty |= (pte.bits & KS_PTE(DIRTY)) != 0;
	r->root = vma->anon_root;
	r->index = vma->pgoff + (vpn - vma->start);
}

static void unmap_one(void *self, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte)
{
	struct reclaim *r = self;
	struct ks_system *sys = r->sys;
	struct ks_pte swap = { .pfn = r->slot };

	if (r->slot) {
		swap.bits = KS_PTE(NONPRESENT) | (r->exclusive ? KS_PTE(DIRTY) : 0) |
			    (pte.bits & KS_PTE(SOFT));
		ks_swap_dup(sys, r->slot);
		mm->swap_pages++;
	}
	ks_pte_set(sys->env, &sys->tables, &mm->pt, vpn, swap);
	mm->rss_anon--;
	ks_frame_unmap(sys->env, &sys->frames, pte.pfn);
}

/* The slot of a frame that is to be swapped out, made or, from the swap cache, refreshed. */
static uint32_t slot_for(struct reclaim *r, ks_cid cid)
{
	struct ks_system *sys = r->sys;
	const uint64_t *cached = ks_map_find(&sys->swap_cache, r->pfn);
	uint32_t slot;

	if (cached) {
		slot = (uint32_t)*cached;
		ks_content_get(&sys->contents, cid);
		ks_content_put(sys->env, &sys->contents, ks_swap_slot(sys, slot)->cid);
	} else {
		slot = ks_pool_alloc(sys->env, &sys->swap);
		*ks_swap_slot(sys, slot) = (struct ks_swap_slot){ .count = 0 };
		ks_content_get(&sys->contents, cid);
		ks_swap_cache_add(sys, slot, r->pfn, r->root, r->index);
	}
	ks_swap_slot(sys, slot)->cid = cid;
	return slot;
}

static bool can_reclaim(const struct reclaim *r)
{
	const struct ks_frames *frames = &r->sys->frames;
	const struct ks_frame *frame = ks_frame(frames, r->pfn);

	return ks_frame_maps(frame) && !ks_frame_test(frame, KS_FRAME_LRU_BATCH) && !r->locked &&
	       !(r->exclusive && ks_frame_refs(frames, r->pfn) >= KS_PIN_BIAS);
}

/* Drops the cached frame whatever points to its slot: the content is in the swap area. */
static void write_out(struct ks_system *sys, ks_pfn pfn)
{
	if (ks_frame_refs(&sys->frames, pfn) == 1)
		cache_remove(sys, pfn);
}

/* A folio that is partially mapped, before 6.12 one without a PMD mapping, is split first of all: that
 * is no fallback. */
static bool is_fallback(const struct ks_env *env, const struct ks_folio *folio)
{
	return env->feature[KS_FEAT_mthp] ? !ks_folio_test(folio, KS_FOLIO_PARTIAL)
					  : folio->entire > 0;
}

/* Models: mm/vmscan.c:shrink_folio_list() where the swap area has no room for all of a folio.
 * Differs: it never has any, and a large folio never goes out as a whole. */
bool ks_swap_split(struct ks_system *sys, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(&sys->frames, pfn);
	const bool fallback = is_fallback(sys->env, folio);
	const unsigned order = folio->order;
	bool done;

	ks_folio_get(sys->env, &sys->frames, pfn, 1);
	done = !ks_split_folio(sys, pfn, 0, true, KSMSIM_SPLIT_RECLAIM);
	ks_folio_put(sys->env, &sys->frames, pfn, 1);
	if (!done || !fallback)
		return done;
	if (order == sys->frames.pmd_order)
		ks_count(sys->env, KSMSIM_COUNT_thp_swpout_fallback, 1);
	ks_mthp(sys->env, KSMSIM_MTHP_swpout_fallback, order, 1);
	return true;
}

/* Is it a small page now that somebody maps? */
static bool split_large(struct ks_system *sys, ks_pfn pfn)
{
	return ks_swap_split(sys, pfn) && ks_frame_maps(ks_frame(&sys->frames, pfn));
}

/**
 * ks_swap_out() - reclaim one frame
 * @keep_cached: unmap it only; it stays in the swap cache
 *
 * Returns: mappings removed, 0 if it cannot be reclaimed now.
 */
uint64_t ks_swap_out(struct ks_system *sys, ks_pfn pfn, bool keep_cached)
{
	struct reclaim r = { .sys = sys, .pfn = pfn };
	struct ks_frame *frame;
	uint32_t maps;

	if (ks_pfn_is_large(&sys->frames, pfn) && !split_large(sys, pfn))
		return 0;
	frame = ks_frame(&sys->frames, pfn);
	maps = ks_frame_maps(frame);
	ks_lru_drain_local(sys->env, &sys->frames);
	r.exclusive = ks_frame_test(frame, KS_FRAME_EXCLUSIVE);
	ks_rmap_walk(sys, pfn, look, &r);
	if (!can_reclaim(&r))
		return 0;
	if (ks_frame_test(frame, KS_FRAME_LAZYFREE) && !ks_frame_test(frame, KS_FRAME_DIRTY) &&
	    !ks_frame_test(frame, KS_FRAME_SWAPCACHE) && !r.dirty) {
		if (ks_frame_refs(&sys->frames, pfn) != maps) {
			ks_frame_flag(frame, KS_FRAME_LAZYFREE,
				      sys->env->feature[KS_FEAT_lazyfree_kept_if_held]);
			return 0;
		}
		ks_rmap_walk(sys, pfn, unmap_one, &r);
		return maps;
	}
	ks_frame_flag(frame, KS_FRAME_LAZYFREE, false);
	r.slot = slot_for(&r, frame->cid);
	ks_frame_flag(frame, KS_FRAME_EXCLUSIVE, false);
	ks_rmap_walk(sys, pfn, unmap_one, &r);
	if (!keep_cached)
		write_out(sys, pfn);
	return maps;
}
