/*
 * ksm_lone.c - the scan of page tables with a single page, as mappings have them
 * that are nearly all hole.
 *
 * Each such page costs three lines of memory and nothing else: the table, the
 * segment, the item. They come in address order, so many are fetched at once.
 *
 * What can surprise: a run of lone tables is taken from the walk before it is
 * known whether all of its pages can be passed quickly; one that cannot goes the
 * long way in its place, and if the batch ends there the walk is put back.
 */
#include "ksm_scan.h"

#define RUN 32u /* tables taken together */

static struct ks_body_small *lone_body(const struct ks_ksm *ksm, const struct ks_seg *seg)
{
	return ks_pool_at(&ksm->body1, seg->body);
}

/*
 * The segment of a lone item at @vpn that follows the cursor, with nothing to free on the way to it,
 * or NULL. Segments of lone items that the cursor has done with are left behind.
 */
static struct ks_seg *find_seg(struct ks_batch *batch, uint64_t vpn, uint32_t *seg_id)
{
	const struct ks_ksm *ksm = batch->ksm;
	struct ks_cursor *cursor = &batch->ksm->cursor;
	uint32_t id = cursor->seg_prev
			      ? ((struct ks_seg *)ks_pool_at(&ksm->segs, cursor->seg_prev))->next
			      : ks_slot(ksm, cursor->slot)->first_seg;

	while (id) {
		struct ks_seg *seg = ks_pool_at(&ksm->segs, id);
		uint64_t item_vpn;

		if (seg->room != 1)
			return NULL;
		item_vpn = seg->vpn + lone_body(ksm, seg)->item->slot;
		if (item_vpn == vpn) {
			*seg_id = id;
			return seg;
		}
		if (seg->vpn + KS_SEG_SLOTS > vpn || item_vpn >= cursor->item_vpn)
			return NULL;
		cursor->seg_prev = id;
		id = seg->next;
	}
	return NULL;
}

/* The same, if the segment follows the one of the page before, as the table's word says. */
static struct ks_seg *next_seg(struct ks_batch *batch, const struct ks_leaf *leaf, uint64_t vpn,
			       uint32_t *seg_id)
{
	struct ks_seg *seg;

	if (!batch->lone || !leaf->upper || batch->lone->next != leaf->upper)
		return find_seg(batch, vpn, seg_id);
	seg = ks_pool_at(&batch->ksm->segs, leaf->upper);
	if (seg->room != 1 || seg->vpn + lone_body(batch->ksm, seg)->item->slot != vpn)
		return NULL;
	batch->ksm->cursor.seg_prev = batch->lone_id;
	*seg_id = leaf->upper;
	return seg;
}

/* ks_smart_skip() for an aged page whose item is in no tree, or left over in a forgotten one. */
static bool skip(struct ks_ksm *ksm, const struct ks_seg *seg, struct ks_body_small *body,
		 ks_pfn pfn)
{
	const struct ks_env *env = ksm->env;
	struct ks_item_small *item = body->item;

	if (item->age < 3 || !item->skips || body->plane[KS_ITEM_STABLE] ||
	    !env->feature[KS_FEAT_smart_scan] || !env->knob.smart_scan ||
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
	return true;
}

bool ks_scan_lone(struct ks_batch *batch, const struct ks_leaf *leaf, unsigned first, unsigned last)
{
	struct ks_ksm *ksm = batch->ksm;
	const unsigned slot = leaf->small.slot[0];
	const uint64_t vpn = leaf->vpn + slot;
	const unsigned bits = leaf->small.bits[0];
	struct ks_body_small *body;
	struct ks_seg *seg;
	uint32_t seg_id = 0;

	if (slot < first || slot > last ||
	    (bits & (KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(FILE))) != KS_PTE(PRESENT))
		return false;
	seg = next_seg(batch, leaf, vpn, &seg_id);
	if (!seg)
		return false;
	body = lone_body(ksm, seg);
	if (bits & KS_PTE(WATCHED) && body->plane[KS_ITEM_STABLE]) {
		batch->nr_settled++;
		batch->left--;
	} else if (skip(ksm, seg, body, leaf->small.pfn[0])) {
		batch->nr_skipped++;
	} else {
		return false;
	}
	ks_found(batch, vpn);
	ksm->cursor.vpn = vpn + 1;
	ksm->cursor.item_vpn = vpn + 1;
	batch->lone = seg;
	batch->lone_id = seg_id;
	return true;
}

/* Bring tables, segments and items of a run into the cache. */
static void fetch(const struct ks_ksm *ksm, const uint32_t *leaves, unsigned nr)
{
	const struct ks_tables *tables = &ksm->sys->tables;

	for (unsigned i = 0; i < nr; i++)
		__builtin_prefetch(ks_leaf(tables, leaves[i]));
	for (unsigned i = 0; i < nr; i++)
		__builtin_prefetch(ks_pool_at(&ksm->segs, ks_leaf(tables, leaves[i])->upper));
	for (unsigned i = 0; i < nr; i++) {
		const struct ks_leaf *leaf = ks_leaf(tables, leaves[i]);
		const struct ks_seg *seg = ks_pool_at(&ksm->segs, leaf->upper);

		if (leaf->upper && seg->room == 1)
			__builtin_prefetch(lone_body(ksm, seg));
	}
}

enum ks_progress ks_scan_lone_run(struct ks_batch *batch, struct ks_walk *walk)
{
	const struct ks_tables *tables = &batch->ksm->sys->tables;
	uint32_t leaves[RUN];
	unsigned nr;

	while ((nr = ks_walk_lone(walk, leaves, batch->left < RUN ? (unsigned)batch->left : RUN))) {
		fetch(batch->ksm, leaves, nr);
		for (unsigned i = 0; i < nr; i++) {
			struct ks_leaf *leaf = ks_leaf(tables, leaves[i]);
			const unsigned last =
				(1u << tables->geo->bits[tables->geo->levels - 1]) - 1;

			if (!ks_scan_lone(batch, leaf, 0, last) &&
			    ks_pte_is_anon(ks_leaf_get(leaf, leaf->small.slot[0])))
				ks_scan_page(batch, leaf, leaf->small.slot[0]);
			if (batch->left) {
				batch->entries += last + 1;
				continue;
			}
			batch->entries += batch->ksm->cursor.vpn - leaf->vpn;
			ks_walk_back(walk, leaves, nr, i);
			return KS_STOP;
		}
	}
	return KS_GO_ON;
}
