/*
 * ksm_check.c - the invariants of the KSM floor; numbers are docs/INVARIANTS.md's.
 *
 * Everything is counted again from the lists and compared with the counters.
 */
#include "ksm.h"

struct tally {
	uint64_t items, stable, unstable, in_tree, lost;
	uint64_t shared, chains, dups, nodes_with_pfn, nodes_in_trees;
};

/* ---- items ---- */

/* Will the bell ring when the entry changes? A huge leaf has one watch for all, and goes on having it
 * after it rang. */
static bool is_watched(const struct ks_ksm *ksm, const struct ks_mm *mm, uint64_t vpn,
		       struct ks_pte pte)
{
	const struct ks_leaf *huge = ks_pmd_find(&ksm->sys->tables, &mm->pt, vpn);

	return huge ? huge->pmd.watched : pte.bits & KS_PTE(WATCHED);
}

/* A search believes the key of a tree node that it is not told to look at. */
static const char *check_tree_node(struct ks_ksm *ksm, const struct ks_mm *mm,
				   const struct ks_item *item, struct ks_pte pte)
{
	const struct ks_rb_node *rb = ks_item_tree_node(ksm, ks_item_id(item));
	uint64_t key;

	if (pte.bits & KS_PTE(WATCHED) || !(rb->key_lo & KS_RB_LOOK)) {
		if (!mm->alive || !is_watched(ksm, mm, ks_item_vpn(item), pte))
			return "I22: an item of the unstable tree is neither watched nor looked at";
		key = ks_content_key(&ksm->sys->contents, ks_frame_content(ksm, pte.pfn));
		if (!ks_pte_is_anon(pte) || (key ^ ks_rb_key(rb)) & ~(uint64_t)3)
			return "I22: a watched page differs from its key in the unstable tree";
	}
	return NULL;
}

static const char *check_item(struct ks_ksm *ksm, struct ks_mm *mm, const struct ks_item *item,
			      struct tally *tally)
{
	const bool stable = ks_item_test(ksm, item, KS_ITEM_STABLE);
	const bool unstable = ks_item_test(ksm, item, KS_ITEM_UNSTABLE);
	const bool in_tree = ks_item_in_tree(ksm, item);
	const bool lost = ks_item_lost_node(ksm, item) != 0;
	const uint64_t vpn = ks_item_vpn(item);
	const struct ks_pte pte =
		mm->alive ? ks_pte_get(&ksm->sys->tables, &mm->pt, vpn) : (struct ks_pte){ 0 };

	tally->items++;
	tally->stable += stable;
	tally->unstable += unstable;
	tally->in_tree += in_tree;
	tally->lost += lost;
	if (lost && (stable || unstable))
		return "I26: an item that points to a node that went is in a tree";
	if (stable && unstable)
		return "I5: an item is stable and unstable at once";
	if (in_tree && !unstable)
		return "I5: an item in the unstable tree is not unstable";
	if (stable && pte.bits & KS_PTE(WATCHED) &&
	    ks_stable(ksm, ks_item_link(ksm, item)->node)->pfn != pte.pfn)
		return "I22: a watched entry of a stable item maps another page";
	return in_tree ? check_tree_node(ksm, mm, item, pte) : NULL;
}

static const char *check_mm_items(struct ks_ksm *ksm, const struct ks_slot *slot,
				  struct tally *tally)
{
	const uint64_t before_items = tally->items, before_stable = tally->stable;
	uint64_t last = 0;
	bool first = true;

	for (uint32_t seg_id = slot->first_seg; seg_id;) {
		struct ks_seg *seg = ks_pool_at(&ksm->segs, seg_id);
		unsigned found = 0;

		if (!first && seg->vpn <= last)
			return "I19: the segments of an mm do not ascend";
		for (unsigned s = 0; s < KS_SEG_SLOTS; s++) {
			struct ks_item item;
			const char *fault;

			if (!ks_item_find(ksm, slot->mm, seg->vpn + s,
					  &(struct ks_leaf){ .upper = seg_id }, &item))
				continue;
			found++;
			fault = check_item(ksm, slot->mm, &item, tally);
			if (fault)
				return fault;
		}
		if (found != seg->nr || !found)
			return "I19: a segment miscounts its items";
		first = false;
		last = seg->vpn;
		seg_id = seg->next;
	}
	if (slot->mm->ksm_rmap_items - (int64_t)(tally->items - before_items) < 0 ||
	    slot->mm->ksm_merging_pages - (int64_t)(tally->stable - before_stable) < 0)
		return "I17: an mm counts fewer items than it has";
	if (ksm->env->feature[KS_FEAT_fork_resets_counters] &&
	    (slot->mm->ksm_rmap_items != (int64_t)(tally->items - before_items) ||
	     slot->mm->ksm_merging_pages != (int64_t)(tally->stable - before_stable)))
		return "I17: an mm miscounts its items";
	return NULL;
}

static const char *check_list(struct ks_ksm *ksm, struct tally *tally)
{
	bool cursor = ksm->cursor.slot == KS_SLOT_HEAD;
	uint32_t prev = KS_SLOT_HEAD, listed = 0;

	for (uint32_t id = ks_slot(ksm, prev)->next; id != KS_SLOT_HEAD;
	     id = ks_slot(ksm, id)->next) {
		const struct ks_slot *slot = ks_slot(ksm, id);
		const char *fault;

		if (slot->prev != prev || slot->mm->ksm_slot != id || !slot->mm->registered)
			return "I21: a slot of KSM's list and its mm do not agree";
		cursor |= id == ksm->cursor.slot;
		fault = check_mm_items(ksm, slot, tally);
		if (fault)
			return fault;
		prev = id;
		listed++;
	}
	for (uint32_t i = 0; i < ksm->sys->nr_mms; i++)
		listed -= ksm->sys->mms[i]->registered;
	if (listed)
		return "I21: the registered mms are not those on KSM's list";
	return cursor ? NULL : "I21: the cursor is not on KSM's list";
}

/* ---- stable nodes ---- */

static const char *check_page_node(struct ks_ksm *ksm, uint32_t id, struct tally *tally)
{
	const struct ks_stable_node *node = ks_stable(ksm, id);
	uint32_t len = 0, prev = 0;

	for (uint32_t at = node->items; at; len++) {
		const struct ks_item item = ks_item_at(ksm, at);
		const struct ks_stable_link *link = ks_item_link(ksm, &item);

		if (!ks_item_test(ksm, &item, KS_ITEM_STABLE) || link->node != id ||
		    link->prev != prev)
			return "I14: a stable node lists an item that is not attached to it";
		prev = at;
		at = link->next;
	}
	if (len != node->len)
		return "I14: a stable node miscounts its items";
	tally->shared += len > 0;
	if (node->stale)
		return NULL;
	tally->nodes_with_pfn++;
	if (ks_stable_of(ksm, node->pfn) != id)
		return "I15: a stable node's page does not lead back to it";
	if (!ks_frame_live(&ksm->sys->frames, node->pfn) ||
	    !ks_frame_test(ks_frame(&ksm->sys->frames, node->pfn), KS_FRAME_KSM))
		return "I15: a stable node that is not stale names no KSM page";
	return NULL;
}

/* A live page at this place of the tree, KS_PFN_NONE if all are stale. */
static const char *check_place(struct ks_ksm *ksm, uint32_t id, struct tally *tally, ks_pfn *pfn)
{
	const struct ks_stable_node *node = ks_stable(ksm, id);
	const char *fault = NULL;

	*pfn = KS_PFN_NONE;
	if (node->kind == KS_STABLE_REGULAR) {
		*pfn = node->stale ? KS_PFN_NONE : node->pfn;
		return check_page_node(ksm, id, tally);
	}
	if (node->kind != KS_STABLE_CHAIN)
		return "I18: a node in the stable tree is neither regular nor a chain";
	tally->chains++;
	for (uint32_t dup = node->dups; dup && !fault; dup = ks_stable(ksm, dup)->rb.child[0]) {
		const struct ks_stable_node *page = ks_stable(ksm, dup);

		tally->dups++;
		if (page->kind != KS_STABLE_DUP || page->rb.parent != id)
			return "I18: a dup does not know its chain";
		fault = check_page_node(ksm, dup, tally);
		if (page->stale)
			continue;
		if (*pfn && ks_frame_content(ksm, *pfn) != ks_frame_content(ksm, page->pfn))
			return "I18: the dups of a chain differ";
		*pfn = page->pfn;
	}
	return fault;
}

static const char *check_stable_tree(struct ks_ksm *ksm, unsigned nid, struct tally *tally)
{
	const struct ks_rb_tree *tree = &ksm->stable[nid];
	ks_pfn last = KS_PFN_NONE;

	if (!ks_rb_valid(tree))
		return "I20: a stable tree is not a red-black tree";
	for (uint32_t id = ks_rb_first(tree); id; id = ks_rb_next(tree, id)) {
		ks_pfn pfn;
		const char *fault = check_place(ksm, id, tally, &pfn);

		if (fault)
			return fault;
		if (!pfn)
			continue;
		if (last && ks_content_compare(&ksm->sys->contents, ks_frame_content(ksm, last),
					       ks_frame_content(ksm, pfn)) >= 0)
			return "I4: a stable tree is not ordered";
		last = pfn;
	}
	return NULL;
}

static const char *check_unstable_tree(struct ks_ksm *ksm, unsigned nid, struct tally *tally)
{
	const struct ks_rb_tree *tree = &ksm->unstable[nid];

	if (!ks_rb_valid(tree))
		return "I20: an unstable tree is not a red-black tree";
	for (uint32_t id = ks_rb_first(tree); id; id = ks_rb_next(tree, id)) {
		const struct ks_item item = ks_item_at(ksm, id);

		tally->nodes_in_trees++;
		if (!ks_item_in_tree(ksm, &item))
			return "I5: the unstable tree holds an item that is not in it";
	}
	return NULL;
}

static const char *check_counters(const struct ks_ksm *ksm, const struct tally *tally)
{
	const uint64_t *count = ksm->env->count;

	if (count[KSMSIM_COUNT_rmap_items] != tally->items)
		return "I17: rmap_items is not the number of items";
	if (count[KSMSIM_COUNT_pages_unshared] != tally->unstable)
		return "I17: pages_unshared is not the number of unstable items";
	if (tally->in_tree != tally->nodes_in_trees)
		return "I5: items marked as in the unstable tree are not in it";
	if (count[KSMSIM_COUNT_pages_shared] != tally->shared ||
	    count[KSMSIM_COUNT_pages_shared] + count[KSMSIM_COUNT_pages_sharing] != tally->stable)
		return "I16: pages_shared and pages_sharing do not fit the items";
	if (count[KSMSIM_COUNT_stable_node_chains] != tally->chains ||
	    count[KSMSIM_COUNT_stable_node_dups] != tally->dups)
		return "I18: chains or dups are miscounted";
	if (ksm->forgotten.nr != tally->lost)
		return "I26: nodes that went are on record for items that are not there";
	if (ksm->by_pfn_nr != tally->nodes_with_pfn)
		return "I15: the number of KSM pages with a node is wrong";
	return NULL;
}

const char *ks_ksm_check(struct ks_ksm *ksm)
{
	struct tally tally = { 0 };
	const char *fault = check_list(ksm, &tally);

	for (unsigned nid = 0; nid < ksm->nr_trees && !fault; nid++) {
		fault = check_stable_tree(ksm, nid, &tally);
		if (!fault)
			fault = check_unstable_tree(ksm, nid, &tally);
	}
	for (uint32_t id = ksm->migrate; id && !fault; id = ks_stable(ksm, id)->rb.child[0]) {
		if (ks_stable(ksm, id)->kind != KS_STABLE_MIGRATING)
			return "I18: a node on the migrate list is of another kind";
		fault = check_page_node(ksm, id, &tally);
	}
	return fault ? fault : check_counters(ksm, &tally);
}
