/*
 * ksm_scan.c - the cursor: which page next, when a batch and a full scan end.
 *
 *   batch -> for each mm -> for each mergeable VMA -> for each PTE table
 *
 * The kernel finds one page, works on it, and starts again from the root. Here
 * the walk goes on; what the restarts would have read is added up instead.
 *
 * What can surprise: a batch ends with the full scan, and when pages_to_scan
 * divides the number of pages the scan is closed by one more, empty batch. Items
 * of pages that are gone are freed when the next page is found, or when the mm
 * is left, which may happen a batch later.
 */
#include "ksm_scan.h"

void ks_cursor_enter(struct ks_ksm *ksm)
{
	ksm->cursor.vpn = 0;
	ksm->cursor.item_vpn = 0;
	ksm->cursor.seg_prev = 0;
}

/* ---- one page ---- */

/* The item exists in the dense segment at hand, and none that must be freed lies before it. */
static bool item_at_hand(const struct ks_batch *batch, uint64_t vpn)
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

static bool get_item(struct ks_batch *batch, uint64_t vpn, struct ks_item *item)
{
	struct ks_ksm *ksm = batch->ksm;
	const unsigned slot = (unsigned)(vpn & (KS_SEG_SLOTS - 1));

	if (ksm->env->knob.shortcuts && item_at_hand(batch, vpn)) {
		*item = (struct ks_item){ batch->seg, batch->seg_id, slot, slot };
		ksm->cursor.item_vpn = vpn + 1;
		return true;
	}
	batch->lone = NULL; /* its segment may be freed now */
	if (!ks_item_next(ksm, vpn, item))
		return false;
	batch->gap = false;
	batch->seg = item->seg->room == KS_SEG_SLOTS ? item->seg : NULL;
	batch->seg_id = item->seg_id;
	return true;
}

enum ks_progress ks_scan_page(struct ks_batch *batch, struct ks_leaf *leaf, unsigned slot)
{
	struct ks_ksm *ksm = batch->ksm;
	const uint64_t vpn = leaf->vpn + slot;
	const ks_pfn pfn = ks_leaf_get(leaf, slot).pfn;
	struct ks_item item;

	ksm->cursor.vpn = vpn;
	ks_found(batch, vpn);
	if (!get_item(batch, vpn, &item)) {
		batch->left = 0;
		return KS_STOP;
	}
	if (!leaf->upper || item.seg->vpn == leaf->vpn)
		leaf->upper = item.seg_id;
	ksm->cursor.vpn = vpn + 1;
	if (ks_smart_skip(ksm, &item, pfn))
		return KS_GO_ON;
	ks_large_hold(ksm, KS_HELD_VISITED, pfn);
	ks_visit(ksm, &item, pfn, leaf);
	ks_large_put(ksm, KS_HELD_VISITED);
	ks_count(ksm->env, KSMSIM_COUNT_pages_scanned, 1);
	return --batch->left ? KS_GO_ON : KS_STOP;
}

static enum ks_progress scan_small(struct ks_batch *batch, struct ks_leaf *leaf, unsigned first,
				   unsigned last)
{
	batch->seg = NULL;
	if (leaf->nr == 1 && batch->ksm->env->knob.shortcuts &&
	    ks_scan_lone(batch, leaf, first, last))
		return batch->left ? KS_GO_ON : KS_STOP;
	for (int slot = ks_leaf_next(leaf, first); slot >= 0 && (unsigned)slot <= last;
	     slot = ks_leaf_next(leaf, (unsigned)slot + 1)) {
		if (ks_pte_is_anon(ks_leaf_get(leaf, (unsigned)slot)) &&
		    ks_scan_page(batch, leaf, (unsigned)slot) == KS_STOP)
			return KS_STOP;
	}
	return KS_GO_ON;
}

/* The pages of a PMD entry, until a merge has split it: the cursor stands on the next one. */
static enum ks_progress scan_huge(struct ks_batch *batch, struct ks_leaf *leaf, unsigned first,
				  unsigned last)
{
	enum ks_progress progress = KS_GO_ON;

	if (!ks_leaf_is_thp(leaf))
		return KS_GO_ON;
	if (batch->ksm->env->knob.shortcuts)
		return ks_scan_dense(batch, leaf, first, last);
	while (first <= last && leaf->huge && progress == KS_GO_ON)
		progress = ks_scan_page(batch, leaf, first++);
	return progress;
}

/* ---- the walk ---- */

void ks_batch_count(struct ks_batch *batch)
{
	struct ks_env *env = batch->ksm->env;

	ks_count(env, KSMSIM_COUNT_pages_scanned, (int64_t)batch->nr_settled);
	ks_cost_n(env, KS_COST_visit, batch->nr_settled);
	ks_cost_n(env, KS_COST_visit_merged, batch->nr_settled);
	ks_count(env, KSMSIM_COUNT_pages_skipped, (int64_t)batch->nr_skipped);
	ks_cost_n(env, KS_COST_skip, batch->nr_skipped);
	batch->nr_settled = 0;
	batch->nr_skipped = 0;
}

/* What the walk read is charged as the profile's walker would have read it. */
static void charge_walk(struct ks_batch *batch, const struct ks_walk *walk, const struct ks_mm *mm,
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

/* The leaf that the walk rests on, and the entries read in it: none of a PMD entry, as long as it is
 * one. */
static enum ks_progress scan_leaf(struct ks_batch *batch, const struct ks_walk *walk)
{
	struct ks_leaf *leaf = ks_leaf(walk->tables, walk->leaf);
	enum ks_progress progress = KS_GO_ON;
	unsigned first = walk->first;
	uint64_t done;

	if (leaf->huge) {
		progress = scan_huge(batch, leaf, first, walk->last);
		first = (unsigned)(batch->ksm->cursor.vpn - leaf->vpn);
		if (leaf->huge || first > walk->last || progress == KS_STOP)
			return progress;
	}
	progress = leaf->dense && batch->ksm->env->knob.shortcuts
			   ? ks_scan_dense(batch, leaf, first, walk->last)
			   : scan_small(batch, leaf, first, walk->last);
	done = batch->ksm->cursor.vpn - leaf->vpn;
	batch->entries +=
		progress == KS_STOP && done <= walk->last ? done - first : walk->last - first + 1;
	return progress;
}

static enum ks_progress scan_vma(struct ks_batch *batch, const struct ks_mm *mm,
				 const struct ks_vma *vma)
{
	struct ks_ksm *ksm = batch->ksm;
	const uint64_t from = ksm->cursor.vpn;
	const bool shortcuts = ksm->env->knob.shortcuts != 0;
	enum ks_progress progress = KS_GO_ON;
	struct ks_walk walk;

	batch->hit = 0;
	batch->gap = true; /* items between two VMAs */
	ks_walk_start(&walk, &ksm->sys->tables, &mm->pt, from, vma->end);
	while (progress == KS_GO_ON && ks_walk_leaf(&walk)) {
		progress = scan_leaf(batch, &walk);
		if (progress == KS_GO_ON && shortcuts)
			progress = ks_scan_lone_run(batch, &walk);
	}
	ks_batch_count(batch);
	if (progress == KS_GO_ON) {
		if (batch->hit && batch->hit < vma->end)
			ks_found(batch, vma->end);
		ksm->cursor.vpn = vma->end;
	}
	charge_walk(batch, &walk, mm, from, ksm->cursor.vpn);
	return progress;
}

/* Models: the VMA loop of mm/ksm.c:scan_get_next_rmap_item(). */
static enum ks_progress scan_mm(struct ks_batch *batch)
{
	struct ks_cursor *cursor = &batch->ksm->cursor;
	const struct ks_mm *mm = ks_slot(batch->ksm, cursor->slot)->mm;

	batch->seg = NULL;
	batch->lone = NULL;
	if (!mm->alive) {
		ks_cursor_enter(batch->ksm);
		return KS_GO_ON;
	}
	for (const struct ks_vma *vma = ks_vma_find(mm, cursor->vpn);
	     vma && vma < mm->vmas + mm->nr_vmas; vma++) {
		if (!(vma->flags & KS_VM_MERGEABLE))
			continue;
		if (cursor->vpn < vma->start)
			cursor->vpn = vma->start;
		if (!vma->anon_vma)
			cursor->vpn = vma->end;
		else if (scan_vma(batch, mm, vma) == KS_STOP)
			return KS_STOP;
	}
	return KS_GO_ON;
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
	struct ks_batch batch = { .ksm = ksm, .left = pages };
	const uint64_t before = ksm->env->count[KSMSIM_COUNT_pages_scanned];

	ksm->env->ksmd_runs = true;
	ks_cost(ksm->env, KS_COST_batch);
	while (batch.left && !ks_ksm_list_empty(ksm)) {
		if (ksm->cursor.slot == KS_SLOT_HEAD)
			start_full_scan(ksm);
		if (scan_mm(&batch) == KS_STOP)
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
