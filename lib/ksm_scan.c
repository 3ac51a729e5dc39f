/*
 * ksm_scan.c - the cursor, and what one visit does.
 *
 *   batch -> for each mm -> for each mergeable VMA -> for each PTE table
 *         -> 64 entries at a time: all merged already?  count them at once
 *                                  else one by one: item, smart scan, visit
 *
 * The kernel finds one page, works on it, and starts again from the root. Here
 * the walk goes on; what the restarts would have read is added up instead.
 *
 * What can surprise: a batch ends with the full scan, and when pages_to_scan
 * divides the number of pages the scan is closed by one more, empty batch. Items
 * of pages that are gone are freed when the next page is found, or when the mm
 * is left, which may happen a batch later.
 */
#include "ksm.h"

#define PREFETCH 16u	   /* search paths brought into the cache together */
#define PREFETCH_MIN 4096u /* items; smaller trees are in the cache anyway */

void ks_cursor_enter(struct ks_ksm *ksm)
{
	ksm->cursor.vpn = 0;
	ksm->cursor.item_vpn = 0;
	ksm->cursor.seg_prev = 0;
}

/* ---- one visit ---- */

/* Models: mm/ksm.c:skip_age(). */
static uint8_t skip_count(uint8_t age)
{
	return age <= 3 ? 1 : age <= 5 ? 2 : age <= 8 ? 4 : 8;
}

/* Models: mm/ksm.c:should_skip_rmap_item(). */
static bool smart_skip(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn)
{
	const struct ks_env *env = ksm->env;
	uint8_t *age, *skips, old;

	if (!env->feature[KS_FEAT_smart_scan] || !env->knob.smart_scan)
		return false;
	if (ks_frame_test(ks_frame(&ksm->sys->frames, pfn), KS_FRAME_KSM))
		return false;
	if (env->feature[KS_FEAT_smart_scan_ignores_stable_item] &&
	    ks_item_test(ksm, item, KS_ITEM_STABLE))
		return false;
	age = ks_item_age(ksm, item);
	skips = ks_item_skips(ksm, item);
	old = *age;
	if (old != UINT8_MAX)
		(*age)++;
	if (old < 3)
		return false;
	if (!*skips) {
		*skips = skip_count(old);
		return false;
	}
	(*skips)--;
	ks_count(ksm->env, KSMSIM_COUNT_pages_skipped, 1);
	ks_cost(ksm->env, KS_COST_skip);
	ks_item_detach(ksm, item);
	return true;
}

/* The page changed since its last visit: remember the new checksum and leave it alone. */
static bool changed(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn)
{
	const uint32_t sum = ks_content_checksum(&ksm->sys->contents, ks_frame_content(ksm, pfn));
	uint32_t *old = ks_item_checksum(ksm, item);

	ks_cost(ksm->env, KS_COST_checksum);
	if (*old == sum)
		return false;
	*old = sum;
	return true;
}

/* The page looks zero: try the zero page. true: that was it for this visit. */
static bool zero_merged(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn)
{
	struct ks_mm *mm = ks_item_mm(ksm, item);
	const uint64_t vpn = ks_item_vpn(item);
	struct ksmsim_event event = {
		.trace = KSMSIM_TRACE_ksm_merge_one_page,
		.mm = mm->id,
		.vaddr = vpn << ksm->sys->tables.geo->page_shift,
		.pfn = KS_PFN_ZERO,
	};

	if (!ksm->env->knob.use_zero_pages || *ks_item_checksum(ksm, item) != ksm->zero_checksum)
		return false;
	if (!ks_mergeable_vma(mm, vpn))
		return true;
	event.error = ks_merge_one(ksm, mm, vpn, pfn, KS_PFN_ZERO);
	ks_trace(ksm->env, &event);
	return !event.error;
}

/* Stable node of the page; the item's own link answers in nearly all cases. */
static uint32_t node_of(const struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn,
			bool *attached)
{
	uint32_t node;

	*attached = false;
	if (!ks_frame_test(ks_frame(&ksm->sys->frames, pfn), KS_FRAME_KSM))
		return 0;
	node = ks_stable_of(ksm, pfn);
	if (ks_item_test(ksm, item, KS_ITEM_STABLE))
		*attached = ks_item_link(ksm, item)->node == node;
	return node;
}

static void unstable_visit(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn,
			   struct ks_leaf *leaf)
{
	struct ks_item match;
	ks_pfn match_pfn, kpfn;
	uint32_t node;

	if (!ks_unstable_search_insert(ksm, item, pfn, &match, &match_pfn)) {
		if (ks_item_in_tree(ksm, item))
			ks_leaf_watch(leaf, (unsigned)(ks_item_vpn(item) - leaf->vpn), true);
		return;
	}
	kpfn = ks_merge_two(ksm, item, pfn, &match, match_pfn);
	if (!kpfn)
		return;
	node = ks_stable_insert(ksm, kpfn);
	if (node) {
		ks_stable_attach(ksm, &match, node);
		ks_stable_attach(ksm, item, node);
	} else {
		ks_break_cow(ksm, &match);
		ks_break_cow(ksm, item);
	}
}

/* Models: mm/ksm.c:cmp_and_merge_page(). */
static void visit(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn, struct ks_leaf *leaf)
{
	const bool *feature = ksm->env->feature;
	bool attached;
	const uint32_t node = node_of(ksm, item, pfn, &attached);
	ks_pfn kpfn;

	ks_cost(ksm->env, KS_COST_visit);
	if (node) {
		struct ks_stable_node *stable = ks_stable(ksm, node);

		if (stable->kind != KS_STABLE_MIGRATING && ks_ksm_nid(ksm, pfn) != stable->nid)
			ks_stable_migrate(ksm, node);
		if (stable->kind != KS_STABLE_MIGRATING && attached) {
			ks_cost(ksm->env, KS_COST_visit_merged);
			ks_leaf_watch(leaf, (unsigned)(ks_item_vpn(item) - leaf->vpn), true);
			return;
		}
	} else if (feature[KS_FEAT_hash_before_stable]) {
		ks_item_detach(ksm, item);
		if (changed(ksm, item, pfn))
			return;
		if (feature[KS_FEAT_zero_before_stable] && zero_merged(ksm, item, pfn))
			return;
	}
	kpfn = ks_stable_search(ksm, pfn);
	if (kpfn == pfn && attached)
		return;
	ks_item_detach(ksm, item);
	if (kpfn) {
		if (!ks_merge_with(ksm, item, pfn, kpfn))
			ks_stable_attach(ksm, item, ks_stable_of(ksm, kpfn));
		return;
	}
	if (!feature[KS_FEAT_hash_before_stable] && changed(ksm, item, pfn))
		return;
	if (!feature[KS_FEAT_zero_before_stable] && zero_merged(ksm, item, pfn))
		return;
	unstable_visit(ksm, item, pfn, leaf);
}

/* ---- the walk ---- */

enum progress { GO_ON, STOP };

/* The running batch. */
struct batch {
	struct ks_ksm *ksm;
	uint64_t left;	    /* pages still to visit */
	uint64_t entries;   /* page-table entries read below the upper tables */
	uint64_t hit;	    /* page found last in this walk, + 1; the next one restarts behind it */
	bool gap;	    /* items were passed that the next page found must free */
	struct ks_seg *seg; /* dense segment under the cursor, NULL: not known */
	uint32_t seg_id;
};

/* The walk restarts behind the page found last, and reads on to @vpn: every upper level again, but
 * for those that it leaves there. */
static void found(struct batch *batch, uint64_t vpn)
{
	const struct ks_geometry *geo = batch->ksm->sys->tables.geo;
	const uint64_t table = (UINT64_C(1) << geo->bits[geo->levels - 1]) - 1;

	if (batch->hit & table)
		batch->entries += geo->levels - 1;
	else if (batch->hit)
		batch->entries += ks_walk_restart(geo, batch->hit - 1, batch->hit);
	batch->hit = vpn + 1;
}

/* The item exists in the dense segment at hand, and none that must be freed lies before it. */
static bool item_at_hand(const struct batch *batch, uint64_t vpn)
{
	const unsigned slot = (unsigned)(vpn & (KS_SEG_SLOTS - 1));
	const uint64_t word_vpn = vpn & ~(uint64_t)63;
	const uint64_t done = batch->ksm->cursor.item_vpn;
	uint64_t below = (UINT64_C(1) << (slot % 64)) - 1;
	uint64_t exists;

	if (!batch->seg || batch->gap || batch->seg->vpn + slot != vpn)
		return false;
	exists = ks_seg_dense(batch->ksm, batch->seg)->plane[KS_ITEM_EXISTS][slot / 64];
	if (done > word_vpn)
		below &= ~UINT64_C(0) << (done - word_vpn);
	return exists >> (slot % 64) & 1 && !(exists & below);
}

static bool get_item(struct batch *batch, uint64_t vpn, struct ks_item *item)
{
	struct ks_ksm *ksm = batch->ksm;
	const unsigned slot = (unsigned)(vpn & (KS_SEG_SLOTS - 1));

	if (item_at_hand(batch, vpn)) {
		*item = (struct ks_item){ batch->seg, batch->seg_id, slot, slot };
		ksm->cursor.item_vpn = vpn + 1;
		return true;
	}
	if (!ks_item_next(ksm, vpn, item))
		return false;
	batch->gap = false;
	batch->seg = item->seg->room == KS_SEG_SLOTS ? item->seg : NULL;
	batch->seg_id = item->seg_id;
	return true;
}

static enum progress scan_page(struct batch *batch, struct ks_leaf *leaf, unsigned slot)
{
	struct ks_ksm *ksm = batch->ksm;
	const uint64_t vpn = leaf->vpn + slot;
	const ks_pfn pfn = ks_leaf_get(leaf, slot).pfn;
	struct ks_item item;

	ksm->cursor.vpn = vpn;
	found(batch, vpn);
	if (!get_item(batch, vpn, &item)) {
		batch->left = 0;
		return STOP;
	}
	if (!leaf->upper || item.seg->vpn == leaf->vpn)
		leaf->upper = item.seg_id;
	ksm->cursor.vpn = vpn + 1;
	if (smart_skip(ksm, &item, pfn))
		return GO_ON;
	visit(ksm, &item, pfn, leaf);
	ks_count(ksm->env, KSMSIM_COUNT_pages_scanned, 1);
	return --batch->left ? GO_ON : STOP;
}

/* The page still maps the node that its item is attached to: nothing to do but count. */
static uint64_t settled_pages(const struct batch *batch, struct ks_dense *dense, unsigned word,
			      uint64_t vpn)
{
	const unsigned w = (unsigned)(vpn & (KS_SEG_SLOTS - 1)) / 64;

	return ks_dense_plane(dense, KS_PTE_WATCHED)[word] &
	       ks_seg_dense(batch->ksm, batch->seg)->plane[KS_ITEM_STABLE][w];
}

/* Items of this word below the pages of @pages that have no page any more. */
static uint64_t orphan_items(const struct batch *batch, uint64_t vpn, uint64_t pages)
{
	const unsigned w = (unsigned)(vpn & (KS_SEG_SLOTS - 1)) / 64;
	uint64_t items;

	if (!batch->seg || batch->seg->vpn + w * 64 != vpn)
		return 0;
	items = ks_seg_dense(batch->ksm, batch->seg)->plane[KS_ITEM_EXISTS][w] & ~pages;
	if (batch->ksm->cursor.item_vpn > vpn)
		items &= batch->ksm->cursor.item_vpn - vpn >= 64
				 ? 0
				 : ~UINT64_C(0) << (batch->ksm->cursor.item_vpn - vpn);
	return items;
}

/* All pages of @pages, which are settled: @vpn is the page of bit 0. */
static enum progress count_settled(struct batch *batch, uint64_t vpn, uint64_t pages)
{
	struct ks_ksm *ksm = batch->ksm;
	const struct ks_geometry *geo = ksm->sys->tables.geo;
	uint64_t nr = (uint64_t)__builtin_popcountll(pages);
	uint64_t last;

	while (nr > batch->left) {
		pages &= ~(UINT64_C(1) << (63 - __builtin_clzll(pages)));
		nr--;
	}
	found(batch, vpn + (uint64_t)__builtin_ctzll(pages));
	batch->entries += (nr - 1) * (geo->levels - 1);
	last = vpn + 63 - (uint64_t)__builtin_clzll(pages);
	batch->hit = last + 1;
	ksm->cursor.vpn = last + 1;
	ksm->cursor.item_vpn = last + 1;
	ks_count(ksm->env, KSMSIM_COUNT_pages_scanned, (int64_t)nr);
	ks_cost_n(ksm->env, KS_COST_visit, nr);
	ks_cost_n(ksm->env, KS_COST_visit_merged, nr);
	batch->left -= nr;
	return batch->left ? GO_ON : STOP;
}

static void prefetch_paths(const struct batch *batch, const struct ks_leaf *leaf, unsigned word,
			   uint64_t pages)
{
	const uint32_t *pfns = ks_dense_pfn(leaf->all) + word * 64;
	ks_pfn ahead[KS_PREFETCH];
	unsigned nr = 0;

	for (; pages && nr < KS_PREFETCH; pages &= pages - 1)
		ahead[nr++] = pfns[__builtin_ctzll(pages)];
	ks_unstable_prefetch(batch->ksm, ahead, nr);
}

/*
 * smart_skip() for the common case: an aged page whose item is in no tree, or was left over in a
 * forgotten one. false: not that case, nothing was changed.
 */
static bool quick_skip(struct batch *batch, struct ks_body_dense *body, unsigned slot, ks_pfn pfn)
{
	struct ks_ksm *ksm = batch->ksm;
	const uint64_t bit = UINT64_C(1) << (slot % 64);
	const unsigned w = slot / 64;

	if (body->age[slot] < 3 || !body->skips[slot] || body->plane[KS_ITEM_STABLE][w] & bit ||
	    ks_frame_test(ks_frame(&ksm->sys->frames, pfn), KS_FRAME_KSM))
		return false;
	if (body->plane[KS_ITEM_UNSTABLE][w] & bit) {
		if (batch->seg->scan == ksm->scan && body->plane[KS_ITEM_IN_TREE][w] & bit)
			return false;
		body->plane[KS_ITEM_UNSTABLE][w] &= ~bit;
		ks_count(ksm->env, KSMSIM_COUNT_pages_unshared, -1);
	}
	if (body->age[slot] != UINT8_MAX)
		body->age[slot]++;
	body->skips[slot]--;
	return true;
}

/* Skip what can be skipped quickly of @pages, from the lowest on; the pages that remain. The items
 * of all of @pages exist and no other items lie between them. */
static uint64_t skip_pages(struct batch *batch, struct ks_leaf *leaf, unsigned word, uint64_t pages)
{
	struct ks_ksm *ksm = batch->ksm;
	struct ks_body_dense *body = ks_seg_dense(ksm, batch->seg);
	const uint32_t *pfns = ks_dense_pfn(leaf->all) + word * 64;
	const uint64_t vpn = leaf->vpn + word * 64;
	const unsigned slot0 = (unsigned)(vpn & (KS_SEG_SLOTS - 1));
	uint64_t skipped = 0;

	for (; pages; pages &= pages - 1, skipped++) {
		const unsigned i = (unsigned)__builtin_ctzll(pages);

		if (!quick_skip(batch, body, slot0 + i, pfns[i]))
			break;
		found(batch, vpn + i);
	}
	if (skipped) {
		ksm->cursor.vpn = batch->hit;
		ksm->cursor.item_vpn = batch->hit;
		ks_count(ksm->env, KSMSIM_COUNT_pages_skipped, (int64_t)skipped);
		ks_cost_n(ksm->env, KS_COST_skip, skipped);
	}
	return pages;
}

static bool seg_at_hand(const struct batch *batch, uint64_t vpn)
{
	return batch->seg && batch->seg->vpn == (vpn & ~(uint64_t)(KS_SEG_SLOTS - 1));
}

/* All items of @pages exist in the segment at hand, and no others among them must be freed. */
static bool items_ready(const struct batch *batch, uint64_t vpn, uint64_t pages)
{
	const unsigned w = (unsigned)(vpn & (KS_SEG_SLOTS - 1)) / 64;

	return seg_at_hand(batch, vpn) && !batch->gap && !orphan_items(batch, vpn, pages) &&
	       !(pages & ~ks_seg_dense(batch->ksm, batch->seg)->plane[KS_ITEM_EXISTS][w]);
}

/* One by one. @pages has bit i for the page of slot word * 64 + i. */
static enum progress scan_word(struct batch *batch, struct ks_leaf *leaf, unsigned word,
			       uint64_t pages)
{
	const struct ks_env *env = batch->ksm->env;
	const bool prefetch = env->count[KSMSIM_COUNT_pages_unshared] > PREFETCH_MIN;
	const bool smart = env->feature[KS_FEAT_smart_scan] && env->knob.smart_scan &&
			   items_ready(batch, leaf->vpn + word * 64, pages);
	unsigned ahead = 0;

	while (pages) {
		if (smart)
			pages = skip_pages(batch, leaf, word, pages);
		if (!pages)
			break;
		if (prefetch && ahead-- == 0) {
			prefetch_paths(batch, leaf, word, pages);
			ahead = KS_PREFETCH - 1;
		}
		if (scan_page(batch, leaf, word * 64 + (unsigned)__builtin_ctzll(pages)) == STOP)
			return STOP;
		pages &= pages - 1;
	}
	return GO_ON;
}

/* The pages of one word of a dense table. */
static enum progress scan_pages(struct batch *batch, struct ks_leaf *leaf, unsigned word,
				uint64_t pages)
{
	const uint64_t vpn = leaf->vpn + word * 64;
	enum progress progress = GO_ON;

	if (!seg_at_hand(batch, vpn)) {
		/* The first page of a segment finds it, with all that has to be freed before. */
		progress = scan_page(batch, leaf, word * 64 + (unsigned)__builtin_ctzll(pages));
		pages &= pages - 1;
	}
	if (progress == STOP || !pages)
		return progress;
	if (items_ready(batch, vpn, pages) &&
	    (settled_pages(batch, leaf->all, word, vpn) & pages) == pages)
		return count_settled(batch, vpn, pages);
	if (orphan_items(batch, vpn, pages))
		batch->gap = true;
	return scan_word(batch, leaf, word, pages);
}

static enum progress scan_dense(struct batch *batch, struct ks_leaf *leaf, unsigned first,
				unsigned last)
{
	struct ks_dense *dense = leaf->all;
	const uint64_t *present = ks_dense_plane(dense, KS_PTE_PRESENT);
	const uint64_t *special = ks_dense_plane(dense, KS_PTE_SPECIAL);
	const uint64_t *file = ks_dense_plane(dense, KS_PTE_FILE);

	for (unsigned w = first / 64; w <= last / 64; w++) {
		uint64_t pages = present[w] & ~special[w] & ~file[w];

		if (w == first / 64)
			pages &= ~UINT64_C(0) << (first % 64);
		if (w == last / 64)
			pages &= ~UINT64_C(0) >> (63 - last % 64);
		if (pages && scan_pages(batch, leaf, w, pages) == STOP)
			return STOP;
		/* Items behind the last page of this word wait for the next page. */
		if (orphan_items(batch, leaf->vpn + w * 64, pages))
			batch->gap = true;
	}
	return GO_ON;
}

/*
 * The segment of a lone item at @vpn that follows the cursor, with nothing to free on the way to it,
 * or NULL. The segment passed last, if it is one of a lone item too, is left behind.
 */
static struct ks_seg *lone_seg(struct ks_ksm *ksm, uint64_t vpn, struct ks_item_small **item)
{
	struct ks_cursor *cursor = &ksm->cursor;
	uint32_t id = cursor->seg_prev
			      ? ((struct ks_seg *)ks_pool_at(&ksm->segs, cursor->seg_prev))->next
			      : ks_slot(ksm, cursor->slot)->first_seg;

	for (; id;
	     cursor->seg_prev = id, id = ((struct ks_seg *)ks_pool_at(&ksm->segs, id))->next) {
		struct ks_seg *seg = ks_pool_at(&ksm->segs, id);
		struct ks_body_small *body = ks_pool_at(&ksm->body1, seg->body);

		if (seg->room != 1)
			return NULL;
		*item = body->item;
		if (seg->vpn + body->item->slot == vpn)
			return seg;
		if (seg->vpn + KS_SEG_SLOTS > vpn ||
		    seg->vpn + body->item->slot >= cursor->item_vpn)
			return NULL;
	}
	return NULL;
}

/* quick_skip() for a lone item. */
static bool quick_skip_lone(struct ks_ksm *ksm, const struct ks_seg *seg,
			    struct ks_item_small *item, ks_pfn pfn)
{
	struct ks_body_small *body = ks_pool_at(&ksm->body1, seg->body);
	const struct ks_env *env = ksm->env;

	if (!env->feature[KS_FEAT_smart_scan] || !env->knob.smart_scan || item->age < 3 ||
	    !item->skips || body->plane[KS_ITEM_STABLE] ||
	    (seg->scan == ksm->scan && body->plane[KS_ITEM_IN_TREE]) ||
	    ks_frame_test(ks_frame(&ksm->sys->frames, pfn), KS_FRAME_KSM))
		return false;
	if (body->plane[KS_ITEM_UNSTABLE]) {
		body->plane[KS_ITEM_UNSTABLE] = 0;
		ks_count(ksm->env, KSMSIM_COUNT_pages_unshared, -1);
	}
	if (item->age != UINT8_MAX)
		item->age++;
	item->skips--;
	ks_count(ksm->env, KSMSIM_COUNT_pages_skipped, 1);
	ks_cost(ksm->env, KS_COST_skip);
	return true;
}

/* A table with one page, that is merged or skipped: false if it is anything else. */
static bool quick_lone(struct batch *batch, const struct ks_leaf *leaf, unsigned first,
		       unsigned last)
{
	struct ks_ksm *ksm = batch->ksm;
	const unsigned slot = leaf->small.slot[0];
	const uint64_t vpn = leaf->vpn + slot;
	struct ks_item_small *item;
	struct ks_seg *seg;

	if (slot < first || slot > last ||
	    (leaf->small.bits[0] & (KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(FILE))) !=
		    KS_PTE(PRESENT))
		return false;
	seg = lone_seg(ksm, vpn, &item);
	if (!seg)
		return false;
	if (leaf->small.bits[0] & KS_PTE(WATCHED) &&
	    ((struct ks_body_small *)ks_pool_at(&ksm->body1, seg->body))->plane[KS_ITEM_STABLE]) {
		ks_count(ksm->env, KSMSIM_COUNT_pages_scanned, 1);
		ks_cost(ksm->env, KS_COST_visit);
		ks_cost(ksm->env, KS_COST_visit_merged);
		batch->left--;
	} else if (!quick_skip_lone(ksm, seg, item, leaf->small.pfn[0])) {
		return false;
	}
	found(batch, vpn);
	ksm->cursor.vpn = vpn + 1;
	ksm->cursor.item_vpn = vpn + 1;
	return true;
}

static enum progress scan_small(struct batch *batch, struct ks_leaf *leaf, unsigned first,
				unsigned last)
{
	batch->seg = NULL;
	if (leaf->nr == 1 && quick_lone(batch, leaf, first, last))
		return batch->left ? GO_ON : STOP;
	for (int slot = ks_leaf_next(leaf, first); slot >= 0 && (unsigned)slot <= last;
	     slot = ks_leaf_next(leaf, (unsigned)slot + 1)) {
		if (ks_pte_is_anon(ks_leaf_get(leaf, (unsigned)slot)) &&
		    scan_page(batch, leaf, (unsigned)slot) == STOP)
			return STOP;
	}
	return GO_ON;
}

/* What the walk read is charged as the profile's walker would have read it. */
static void charge_walk(struct batch *batch, const struct ks_walk *walk, const struct ks_mm *mm,
			uint64_t from, uint64_t to)
{
	struct ks_env *env = batch->ksm->env;

	if (env->feature[KS_FEAT_range_scan]) {
		ks_count(env, KSMSIM_COUNT_walk_entries, (int64_t)(batch->entries + walk->entries));
		ks_cost_n(env, KS_COST_walk_entry, batch->entries + walk->entries);
	} else if (to > from) {
		struct ksmsim_walk cost;

		ks_walk_cost(&batch->ksm->sys->tables, &mm->pt, from, to, &cost);
		ks_count(env, KSMSIM_COUNT_walk_entries, (int64_t)cost.per_address);
		ks_cost_n(env, KS_COST_walk_address, cost.addresses);
	}
	batch->entries = 0;
}

static enum progress scan_vma(struct batch *batch, const struct ks_mm *mm, const struct ks_vma *vma)
{
	struct ks_ksm *ksm = batch->ksm;
	const uint64_t from = ksm->cursor.vpn;
	enum progress progress = GO_ON;
	struct ks_walk walk;

	batch->hit = 0;
	batch->gap = true; /* items between two VMAs */
	ks_walk_start(&walk, &ksm->sys->tables, &mm->pt, from, vma->end);
	while (progress == GO_ON && ks_walk_leaf(&walk)) {
		struct ks_leaf *leaf = ks_leaf(&ksm->sys->tables, walk.leaf);

		progress = leaf->dense ? scan_dense(batch, leaf, walk.first, walk.last)
				       : scan_small(batch, leaf, walk.first, walk.last);
		batch->entries += progress == STOP && ksm->cursor.vpn <= leaf->vpn + walk.last
					  ? ksm->cursor.vpn - leaf->vpn - walk.first
					  : walk.last - walk.first + 1;
	}
	if (progress == GO_ON) {
		if (batch->hit && batch->hit < vma->end)
			found(batch, vma->end);
		ksm->cursor.vpn = vma->end;
	}
	charge_walk(batch, &walk, mm, from, ksm->cursor.vpn);
	return progress;
}

/* Models: the VMA loop of mm/ksm.c:scan_get_next_rmap_item(). */
static enum progress scan_mm(struct batch *batch)
{
	struct ks_cursor *cursor = &batch->ksm->cursor;
	const struct ks_mm *mm = ks_slot(batch->ksm, cursor->slot)->mm;

	batch->seg = NULL;
	if (!mm->alive) {
		ks_cursor_enter(batch->ksm);
		return GO_ON;
	}
	for (const struct ks_vma *vma = ks_vma_find(mm, cursor->vpn);
	     vma && vma < mm->vmas + mm->nr_vmas; vma++) {
		if (!(vma->flags & KS_VM_MERGEABLE))
			continue;
		if (cursor->vpn < vma->start)
			cursor->vpn = vma->start;
		if (!vma->anon_vma)
			cursor->vpn = vma->end;
		else if (scan_vma(batch, mm, vma) == STOP)
			return STOP;
	}
	return GO_ON;
}

static void trace_scan(struct ks_ksm *ksm, enum ksmsim_trace trace)
{
	struct ksmsim_event event = {
		.trace = trace,
		.seq = (int32_t)ksm->env->count[KSMSIM_COUNT_full_scans],
		.rmap_items = (uint32_t)ksm->env->count[KSMSIM_COUNT_rmap_items],
	};

	ks_trace(ksm->env, &event);
}

static void start_full_scan(struct ks_ksm *ksm)
{
	if (ksm->hooks.start)
		ksm->hooks.start(ksm->hooks.self);
	trace_scan(ksm, KSMSIM_TRACE_ksm_start_scan);
	ks_lru_drain(ksm->env, &ksm->sys->frames);
	if (!ksm->env->knob.merge_across_nodes)
		ks_stable_sweep_migrate(ksm);
	/* The unstable trees are forgotten; their items keep the UNSTABLE state until visited. */
	for (unsigned nid = 0; nid < ksm->nr_trees; nid++)
		ksm->unstable[nid].root = 0;
	ksm->scan++;
	ksm->cursor.slot = ks_slot(ksm, KS_SLOT_HEAD)->next;
	ks_cursor_enter(ksm);
}

/* The cursor leaves its mm. An mm that is exiting, or had no mergeable VMA, goes off the list: the
 * kernel's only test for both is that the address is still 0. */
static void leave_slot(struct ks_ksm *ksm)
{
	const uint32_t slot = ksm->cursor.slot;

	ks_item_free_rest(ksm);
	ksm->cursor.slot = ks_slot(ksm, slot)->next;
	if (!ksm->cursor.vpn)
		ks_slot_remove(ksm, slot);
	ks_cursor_enter(ksm);
}

static void stop_full_scan(struct ks_ksm *ksm)
{
	if (ksm->hooks.stop)
		ksm->hooks.stop(ksm->hooks.self);
	trace_scan(ksm, KSMSIM_TRACE_ksm_stop_scan);
	ks_count(ksm->env, KSMSIM_COUNT_full_scans, 1);
}

uint64_t ks_ksm_batch(struct ks_ksm *ksm, uint64_t pages)
{
	struct batch batch = { .ksm = ksm, .left = pages };
	const uint64_t before = ksm->env->count[KSMSIM_COUNT_pages_scanned];

	ksm->env->ksmd_runs = true;
	ks_cost(ksm->env, KS_COST_batch);
	while (batch.left && !ks_ksm_list_empty(ksm)) {
		if (ksm->cursor.slot == KS_SLOT_HEAD)
			start_full_scan(ksm);
		if (scan_mm(&batch) == STOP)
			break;
		leave_slot(ksm);
		if (ksm->cursor.slot == KS_SLOT_HEAD) {
			stop_full_scan(ksm);
			break;
		}
	}
	ksm->env->ksmd_runs = false;
	return ksm->env->count[KSMSIM_COUNT_pages_scanned] - before;
}
