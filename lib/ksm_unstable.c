/*
 * ksm_unstable.c - the unstable tree: pages that looked unchanged for one scan.
 *
 * The kernel compares with the page that a tree item maps *now*. So a search can
 * go the wrong way past a page that changed after its insertion, and it gives up
 * at an item whose page is gone. Both must happen here at the same nodes.
 *
 * A node carries the first 62 bits of its page. As long as the page table entry
 * is watched those bits are the truth; when the watch is lost the node gets LOOK
 * and every later search asks the page tables. A page that only got its old
 * bytes back keeps LOOK: that costs time, never truth.
 */
#include "ksm.h"

static struct ks_rb_tree *tree_of(struct ks_ksm *ksm, uint32_t id)
{
	unsigned nid = 0;

	if (ksm->nr_trees > 1) {
		uint32_t root = id;

		for (uint32_t up; (up = ks_tree_node(ksm, root)->parent);)
			root = up;
		while (ksm->unstable[nid].root != root)
			nid++;
	}
	return &ksm->unstable[nid];
}

void ks_unstable_erase(struct ks_ksm *ksm, const struct ks_item *item)
{
	const uint32_t id = ks_item_id(item);

	ks_rb_erase(tree_of(ksm, id), id);
	ks_item_mark(ksm, item, KS_ITEM_IN_TREE, false);
}

/* What a search does at a node whose key it cannot decide on. */
enum verdict { GO_LEFT, GO_RIGHT, EQUAL, BLOCKED };

static enum verdict look(struct ks_ksm *ksm, uint32_t id, unsigned nid, ks_pfn pfn,
			 struct ks_item *match, ks_pfn *match_pfn)
{
	int order;

	*match = ks_item_at(ksm, id);
	*match_pfn = ks_mergeable_page(ksm, ks_item_mm(ksm, match), ks_item_vpn(match));
	if (!*match_pfn || *match_pfn == pfn)
		return BLOCKED;
	order = ks_content_compare(&ksm->sys->contents, ks_frame_content(ksm, pfn),
				   ks_frame_content(ksm, *match_pfn));
	if (order)
		return order < 0 ? GO_LEFT : GO_RIGHT;
	ks_cost(ksm->env, KS_COST_compare_full);
	if (!ksm->env->knob.merge_across_nodes &&
	    ks_frame_nid(&ksm->sys->frames, *match_pfn) != nid)
		return BLOCKED;
	return EQUAL;
}

bool ks_unstable_has(struct ks_ksm *ksm, ks_pfn pfn)
{
	const unsigned nid = ks_ksm_nid(ksm, pfn);
	const uint64_t key =
		ks_content_key(&ksm->sys->contents, ks_frame_content(ksm, pfn)) & ~(uint64_t)3;
	enum verdict verdict = GO_LEFT;

	for (uint32_t id = ksm->unstable[nid].root; id;) {
		const struct ks_rb_node *rb = ks_tree_node(ksm, id);
		struct ks_item match;
		ks_pfn match_pfn;

		ks_cost(ksm->env, KS_COST_unstable_level);
		verdict = key > ks_rb_key(rb) ? GO_RIGHT : GO_LEFT;
		if (rb->key_lo & KS_RB_LOOK || key == ks_rb_key(rb))
			verdict = look(ksm, id, nid, pfn, &match, &match_pfn);
		if (verdict == EQUAL || verdict == BLOCKED)
			break;
		id = rb->child[verdict == GO_RIGHT];
	}
	return verdict == EQUAL;
}

static void insert(struct ks_ksm *ksm, const struct ks_item *item, struct ks_rb_tree *tree,
		   uint64_t key, uint32_t parent, int side)
{
	const uint32_t id = ks_item_id(item);

	if (item->seg->scan != ksm->scan) {
		/* The plane still speaks of a forgotten tree. */
		for (unsigned slot = 0; slot < KS_SEG_SLOTS; slot++) {
			const struct ks_item old = { .seg = item->seg, .slot = slot, .pos = slot };

			if (item->seg->room != KS_SEG_SLOTS && slot >= item->seg->nr)
				break;
			ks_item_mark(ksm, &old, KS_ITEM_IN_TREE, false);
		}
		item->seg->scan = ksm->scan;
	}
	ks_item_need_tree(ksm, item);
	*ks_tree_node(ksm, id) = (struct ks_rb_node){ 0 };
	ks_rb_set_key(ks_tree_node(ksm, id), key);
	ks_rb_insert(tree, id, parent, side);
	ks_item_mark(ksm, item, KS_ITEM_IN_TREE, true);
	ks_item_mark(ksm, item, KS_ITEM_UNSTABLE, true);
	ks_count(ksm->env, KSMSIM_COUNT_pages_unshared, 1);
}

bool ks_unstable_search_insert(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn,
			       struct ks_item *match, ks_pfn *match_pfn)
{
	const unsigned nid = ks_ksm_nid(ksm, pfn);
	struct ks_rb_tree *tree = &ksm->unstable[nid];
	const uint64_t key =
		ks_content_key(&ksm->sys->contents, ks_frame_content(ksm, pfn)) & ~(uint64_t)3;
	uint32_t parent = 0;
	uint64_t levels = 0;
	int side = 0;

	for (uint32_t id = tree->root; id;) {
		const struct ks_rb_node *rb = ks_tree_node(ksm, id);

		levels++;
		side = key > ks_rb_key(rb);
		if (rb->key_lo & KS_RB_LOOK || key == ks_rb_key(rb)) {
			const enum verdict verdict = look(ksm, id, nid, pfn, match, match_pfn);

			if (verdict == EQUAL || verdict == BLOCKED) {
				ks_cost_n(ksm->env, KS_COST_unstable_level, levels);
				return verdict == EQUAL;
			}
			side = verdict == GO_RIGHT;
		}
		parent = id;
		id = rb->child[side];
	}
	ks_cost_n(ksm->env, KS_COST_unstable_level, levels);
	ks_item_forget_node(ksm, item);
	insert(ksm, item, tree, key, parent, side);
	return false;
}

void ks_unstable_prefetch(const struct ks_ksm *ksm, const ks_pfn *pfns, unsigned nr)
{
	const struct ks_rb_node *at[KS_PREFETCH];
	uint64_t key[KS_PREFETCH];

	if (!ksm->unstable[0].root)
		return;
	for (unsigned i = 0; i < nr; i++) {
		at[i] = ks_tree_node(ksm, ksm->unstable[0].root);
		key[i] = ks_content_key(&ksm->sys->contents, ks_frame_content(ksm, pfns[i]));
	}
	/* All paths one level down in turn, each next node on its way while the others are read. */
	while (nr) {
		for (unsigned i = 0; i < nr; i++) {
			const uint32_t next = at[i]->child[key[i] > ks_rb_key(at[i])];

			if (next) {
				at[i] = ks_tree_node(ksm, next);
				__builtin_prefetch(at[i]);
			} else {
				nr--;
				at[i] = at[nr];
				key[i] = key[nr];
				i--;
			}
		}
	}
}
