/*
 * ksm_visit.c - what one visit does to a page: smart scan, checksum, zero page,
 * stable tree, unstable tree, in the order of the profile.
 *
 * What can surprise: the order is part of the behaviour. Since 6.11 the checksum
 * comes before the stable tree, so that even a page that equals a KSM page needs
 * two visits; and the zero page comes before both trees.
 */
#include "ksm_scan.h"

/* Models: mm/ksm.c:skip_age(). */
static uint8_t skip_count(uint8_t age)
{
	return age <= 3 ? 1 : age <= 5 ? 2 : age <= 8 ? 4 : 8;
}

/* Models: mm/ksm.c:should_skip_rmap_item(). */
bool ks_smart_skip(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn)
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
	event.error = ks_merge_zero(ksm, mm, vpn, pfn);
	ks_trace(ksm->env, &event);
	return !event.error;
}

/* An item whose node was removed with its page still points to it: a new node in the same place is
 * taken for the old one, and the item stays out of it. */
static bool takes_for_own(struct ks_ksm *ksm, const struct ks_item *item, uint32_t node)
{
	const uint32_t lost = ks_item_lost_node(ksm, item);

	if (!lost)
		return false;
	ks_count(ksm->env, KSMSIM_COUNT_stale_links, 1);
	return ksm->env->feature[KS_FEAT_node_reuse] && lost == node;
}

/* Stable node of the page; the item's own link answers in nearly all cases. */
static uint32_t node_of(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn, bool *attached)
{
	uint32_t node;

	*attached = false;
	if (!ks_frame_test(ks_frame(&ksm->sys->frames, pfn), KS_FRAME_KSM))
		return 0;
	node = ks_stable_of(ksm, pfn);
	if (ks_item_test(ksm, item, KS_ITEM_STABLE))
		*attached = ks_item_link(ksm, item)->node == node;
	else
		*attached = node && takes_for_own(ksm, item, node);
	return node;
}

/* The item has been inserted: how is its page's change to be noticed? A split in this very visit may
 * have put the zero page in its place, so that the tree holds a page that is not there; and a page
 * that cannot be found by its address ends every search. */
static void watch(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn, struct ks_leaf *leaf)
{
	const unsigned slot = (unsigned)(ks_item_vpn(item) - leaf->vpn);

	if ((ksm->held[KS_HELD_VISITED] && ks_leaf_get(leaf, slot).pfn != pfn) ||
	    !ks_can_follow(ksm, ks_vma_at(ks_item_mm(ksm, item), ks_item_vpn(item))))
		ks_tree_node(ksm, ks_item_id(item))->key_lo |= KS_RB_LOOK;
	else
		ks_leaf_watch(leaf, slot, true);
}

/* The page with the one that the tree gave. Two pages of one folio cannot be merged, since ksmd holds
 * both; the folio is split all the same, for the next time. */
static ks_pfn merge_pair(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn,
			 const struct ks_item *match, ks_pfn match_pfn)
{
	bool same;
	ks_pfn kpfn;

	ks_large_hold(ksm, KS_HELD_MATCH, match_pfn);
	kpfn = ks_merge_two(ksm, item, pfn, match, match_pfn);
	same = ks_large_same(ksm, pfn, match_pfn);
	ks_large_put(ksm, KS_HELD_MATCH);
	if (same && ks_large_may_split(ksm, pfn, match_pfn))
		ks_large_split(ksm, pfn);
	return kpfn;
}

static void unstable_visit(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn,
			   struct ks_leaf *leaf)
{
	struct ks_item match;
	ks_pfn match_pfn, kpfn;
	uint32_t node;

	if (!ks_unstable_search_insert(ksm, item, pfn, &match, &match_pfn)) {
		if (ks_item_in_tree(ksm, item))
			watch(ksm, item, pfn, leaf);
		return;
	}
	kpfn = merge_pair(ksm, item, pfn, &match, match_pfn);
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
void ks_visit(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn, struct ks_leaf *leaf)
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
			if (ks_item_test(ksm, item, KS_ITEM_STABLE))
				ks_leaf_watch(leaf, (unsigned)(ks_item_vpn(item) - leaf->vpn),
					      true);
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
