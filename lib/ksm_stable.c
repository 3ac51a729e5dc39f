/*
 * ksm_stable.c - the stable tree: KSM pages by content, chains, dups, NUMA.
 *
 * Equal content can need several KSM pages: when one is full (max_page_sharing)
 * a second one is made and both hang as dups on a chain, which takes the tree
 * position. A chain is looked at whenever a search passes it, and the look has
 * effects: stale dups go, an empty chain is deleted, a chain of one is folded.
 *
 * What can surprise: a node holds no reference on its page. When the page is
 * freed the node is only marked stale, and goes when somebody looks at it
 * (peek): that is when items of *other* processes lose their node. After any
 * such removal a search starts again at the root, which may have changed.
 */
#include "ksm.h"

struct ks_rb_node *ks_stable_rb(const void *ksm, uint32_t id)
{
	return &ks_stable(ksm, id)->rb;
}

static void set_look(struct ks_stable_node *node, bool on)
{
	node->rb.key_lo = on ? node->rb.key_lo | KS_RB_LOOK : node->rb.key_lo & ~KS_RB_LOOK;
}

/* ---- frame -> node ---- */

static uint32_t pfn_hash(const struct ks_ksm *ksm, ks_pfn pfn)
{
	return (uint32_t)((pfn * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (ksm->by_pfn_room - 1);
}

static uint32_t by_pfn_slot(const struct ks_ksm *ksm, ks_pfn pfn)
{
	uint32_t i = pfn_hash(ksm, pfn);

	while (ksm->by_pfn[i] && ks_stable(ksm, ksm->by_pfn[i])->pfn != pfn)
		i = (i + 1) & (ksm->by_pfn_room - 1);
	return i;
}

static void by_pfn_grow(struct ks_ksm *ksm)
{
	const uint32_t room = ksm->by_pfn_room ? ksm->by_pfn_room * 2 : 64;
	uint32_t *old = ksm->by_pfn;
	const uint32_t old_room = ksm->by_pfn_room;
	uint32_t *table = ks_alloc(ksm->env, (size_t)room * sizeof(*table));

	ksm->by_pfn = table;
	ksm->by_pfn_room = room;
	for (uint32_t i = 0; i < old_room; i++) {
		if (old[i])
			table[by_pfn_slot(ksm, ks_stable(ksm, old[i])->pfn)] = old[i];
	}
	ks_free(ksm->env, old);
}

static void by_pfn_add(struct ks_ksm *ksm, uint32_t node)
{
	if ((uint64_t)ksm->by_pfn_nr * 4 >= (uint64_t)ksm->by_pfn_room * 3)
		by_pfn_grow(ksm);
	ksm->by_pfn[by_pfn_slot(ksm, ks_stable(ksm, node)->pfn)] = node;
	ksm->by_pfn_nr++;
}

static void by_pfn_remove(struct ks_ksm *ksm, ks_pfn pfn)
{
	const uint32_t mask = ksm->by_pfn_room - 1;
	uint32_t hole = by_pfn_slot(ksm, pfn);

	ksm->by_pfn[hole] = 0;
	ksm->by_pfn_nr--;
	for (uint32_t i = (hole + 1) & mask; ksm->by_pfn[i]; i = (i + 1) & mask) {
		const uint32_t home = pfn_hash(ksm, ks_stable(ksm, ksm->by_pfn[i])->pfn);

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		ksm->by_pfn[hole] = ksm->by_pfn[i];
		ksm->by_pfn[i] = 0;
		hole = i;
	}
}

uint32_t ks_stable_of(const struct ks_ksm *ksm, ks_pfn pfn)
{
	return ksm->by_pfn_nr ? ksm->by_pfn[by_pfn_slot(ksm, pfn)] : 0;
}

void ks_stable_set_pfn(struct ks_ksm *ksm, uint32_t node, ks_pfn pfn)
{
	by_pfn_remove(ksm, ks_stable(ksm, node)->pfn);
	ks_stable(ksm, node)->pfn = pfn;
	by_pfn_add(ksm, node);
}

void ks_stable_page_freed(void *self, ks_pfn pfn)
{
	struct ks_ksm *ksm = self;
	const uint32_t id = ks_stable_of(ksm, pfn);

	if (!id)
		return;
	by_pfn_remove(ksm, pfn);
	ks_stable(ksm, id)->stale = true;
	set_look(ks_stable(ksm, id), true);
}

/* ---- lists: the dups of a chain, the migrate list ---- */

static void list_push(struct ks_ksm *ksm, uint32_t *front, uint32_t id)
{
	struct ks_rb_node *rb = &ks_stable(ksm, id)->rb;

	rb->child[0] = *front;
	rb->child[1] = 0;
	if (*front)
		ks_stable(ksm, *front)->rb.child[1] = id;
	*front = id;
}

static void list_unlink(struct ks_ksm *ksm, uint32_t *front, uint32_t id)
{
	const struct ks_rb_node *rb = &ks_stable(ksm, id)->rb;

	if (rb->child[0])
		ks_stable(ksm, rb->child[0])->rb.child[1] = rb->child[1];
	if (rb->child[1])
		ks_stable(ksm, rb->child[1])->rb.child[0] = rb->child[0];
	else
		*front = rb->child[0];
}

static uint32_t list_next(const struct ks_ksm *ksm, uint32_t id)
{
	return ks_stable(ksm, id)->rb.child[0];
}

static void chain_add_dup(struct ks_ksm *ksm, uint32_t chain, uint32_t id)
{
	struct ks_stable_node *dup = ks_stable(ksm, id);

	dup->kind = KS_STABLE_DUP;
	list_push(ksm, &ks_stable(ksm, chain)->dups, id);
	dup->rb.parent = chain;
	ks_count(ksm->env, KSMSIM_COUNT_stable_node_dups, 1);
}

static void chain_del_dup(struct ks_ksm *ksm, uint32_t id)
{
	list_unlink(ksm, &ks_stable(ksm, ks_stable(ksm, id)->rb.parent)->dups, id);
	ks_count(ksm->env, KSMSIM_COUNT_stable_node_dups, -1);
}

/* Out of wherever the node is; an emptied chain stays. */
static void unlink_node(struct ks_ksm *ksm, uint32_t id)
{
	struct ks_stable_node *node = ks_stable(ksm, id);

	switch ((enum ks_stable_kind)node->kind) {
	case KS_STABLE_MIGRATING:
		list_unlink(ksm, &ksm->migrate, id);
		break;
	case KS_STABLE_DUP:
		chain_del_dup(ksm, id);
		break;
	case KS_STABLE_REGULAR:
	case KS_STABLE_CHAIN:
		ks_rb_erase(&ksm->stable[node->nid], id);
		break;
	}
}

static uint64_t jiffies(const struct ks_ksm *ksm, uint64_t ns)
{
	return ns / (UINT64_C(1000000000) / ksm->env->knob.hz);
}

static void set_prune_time(struct ks_ksm *ksm, struct ks_stable_node *chain)
{
	const uint64_t now = jiffies(ksm, ksm->env->now_ns);

	chain->prune_lo = (uint32_t)now;
	chain->len = (uint32_t)(now >> 32) & ((1u << 25) - 1);
}

/* A chain in the place of regular node @id, with it as first dup; 0: allocation failed. */
static uint32_t chain_new(struct ks_ksm *ksm, uint32_t id)
{
	uint32_t chain;

	if (ks_inject(ksm->env, KSMSIM_INJECT_stable_node))
		return 0;
	chain = ks_pool_alloc(ksm->env, &ksm->nodes);
	ks_stable(ksm, chain)->kind = KS_STABLE_CHAIN;
	ks_stable(ksm, chain)->nid = ks_stable(ksm, id)->nid;
	ks_rb_set_key(&ks_stable(ksm, chain)->rb, ks_rb_key(&ks_stable(ksm, id)->rb));
	set_look(ks_stable(ksm, chain), true);
	set_prune_time(ksm, ks_stable(ksm, chain));
	ks_rb_replace(&ksm->stable[ks_stable(ksm, id)->nid], id, chain);
	ks_count(ksm->env, KSMSIM_COUNT_stable_node_chains, 1);
	chain_add_dup(ksm, chain, id);
	return chain;
}

static void chain_free(struct ks_ksm *ksm, uint32_t chain)
{
	ks_count(ksm->env, KSMSIM_COUNT_stable_node_chains, -1);
	ks_pool_free(ksm->env, &ksm->nodes, chain);
}

/* ---- peek, drop, attach ---- */

static void trace_drop(struct ks_ksm *ksm, enum ksmsim_trace trace, ks_pfn pfn,
		       const struct ks_item *item)
{
	struct ksmsim_event event = { .trace = trace, .pfn = pfn };

	if (item) {
		event.mm = ks_item_mm(ksm, item)->id;
		event.vaddr = ks_item_vpn(item) << ksm->sys->tables.geo->page_shift;
	}
	ks_trace(ksm->env, &event);
}

/* Models: mm/ksm.c:remove_node_from_stable_tree(). The first attached item, which is the last of
 * the list, was counted in pages_shared and has no event. */
static void drop(struct ks_ksm *ksm, uint32_t id)
{
	struct ks_stable_node *node = ks_stable(ksm, id);
	uint32_t next;

	for (uint32_t at = node->items; at; at = next) {
		const struct ks_item item = ks_item_at(ksm, at);

		next = ks_item_link(ksm, &item)->next;
		ks_item_lose_node(ksm, &item, id);
		if (next) {
			ks_count(ksm->env, KSMSIM_COUNT_pages_sharing, -1);
			trace_drop(ksm, KSMSIM_TRACE_ksm_remove_rmap_item, node->pfn, &item);
		} else {
			ks_count(ksm->env, KSMSIM_COUNT_pages_shared, -1);
		}
		ks_item_mm(ksm, &item)->ksm_merging_pages--;
		ks_item_mark(ksm, &item, KS_ITEM_STABLE, false);
		ks_item_reset(ksm, &item);
	}
	trace_drop(ksm, KSMSIM_TRACE_ksm_remove_ksm_page, node->pfn, NULL);
	unlink_node(ksm, id);
	ks_pool_free(ksm->env, &ksm->nodes, id);
}

ks_pfn ks_stable_peek(struct ks_ksm *ksm, uint32_t id)
{
	const struct ks_stable_node *node = ks_stable(ksm, id);

	if (!node->stale)
		return node->pfn;
	drop(ksm, id);
	return KS_PFN_NONE;
}

void ks_stable_attach(struct ks_ksm *ksm, const struct ks_item *item, uint32_t id)
{
	struct ks_stable_node *node = ks_stable(ksm, id);
	const uint32_t item_id = ks_item_id(item);

	ks_item_need_link(ksm, item);
	ks_item_forget_node(ksm, item);
	*ks_item_link(ksm, item) = (struct ks_stable_link){ .node = id, .next = node->items };
	if (node->items) {
		const struct ks_item front = ks_item_at(ksm, node->items);

		ks_item_link(ksm, &front)->prev = item_id;
	}
	node->items = item_id;
	node->len++;
	ks_item_mark(ksm, item, KS_ITEM_STABLE, true);
	ks_count(ksm->env, node->len == 1 ? KSMSIM_COUNT_pages_shared : KSMSIM_COUNT_pages_sharing,
		 1);
	ks_item_mm(ksm, item)->ksm_merging_pages++;
}

/* Does @item belong to the same anon_vma tree as what @mm has at its address? */
static bool is_related(const struct ks_ksm *ksm, const struct ks_item *item, const struct ks_mm *mm)
{
	const struct ks_mm *owner = ks_item_mm(ksm, item);
	const struct ks_vma *own, *other;

	if (owner == mm || !owner->alive)
		return true;
	own = ks_vma_at(owner, ks_item_vpn(item));
	other = ks_vma_at(mm, ks_item_vpn(item));
	return own && other && own->anon_root == other->anon_root;
}

bool ks_stable_leads_to(void *self, ks_pfn pfn, const struct ks_mm *mm, uint64_t vpn)
{
	const struct ks_ksm *ksm = self;
	const uint32_t id = ks_stable_of(ksm, pfn);
	uint32_t at = id ? ks_stable(ksm, id)->items : 0;

	while (at) {
		const struct ks_item item = ks_item_at(ksm, at);

		if (ks_item_vpn(&item) == vpn && is_related(ksm, &item, mm))
			return true;
		at = ks_item_link(ksm, &item)->next;
	}
	return false;
}

void ks_stable_unlink_item(struct ks_ksm *ksm, const struct ks_item *item)
{
	const struct ks_stable_link link = *ks_item_link(ksm, item);
	struct ks_stable_node *node = ks_stable(ksm, link.node);

	if (link.next) {
		const struct ks_item next = ks_item_at(ksm, link.next);

		ks_item_link(ksm, &next)->prev = link.prev;
	}
	if (link.prev) {
		const struct ks_item prev = ks_item_at(ksm, link.prev);

		ks_item_link(ksm, &prev)->next = link.next;
	} else {
		node->items = link.next;
	}
	node->len--;
	ks_count(ksm->env, node->len ? KSMSIM_COUNT_pages_sharing : KSMSIM_COUNT_pages_shared, -1);
	ks_item_mm(ksm, item)->ksm_merging_pages--;
}

/* ---- chains ---- */

/* Front to back: drop stale dups, choose the first usable one or, when pruning, the fullest usable
 * one. Models: mm/ksm.c:stable_node_dup(). Returns 0 if no dup is alive (or, in 6.1, usable). */
static uint32_t best_dup(struct ks_ksm *ksm, uint32_t chain, bool prune, unsigned *alive)
{
	const bool any = ksm->env->feature[KS_FEAT_pick_any_dup];
	uint32_t best = 0, next;

	*alive = 0;
	for (uint32_t id = ks_stable(ksm, chain)->dups; id; id = next) {
		const struct ks_stable_node *dup = ks_stable(ksm, id);

		next = list_next(ksm, id);
		if (!ks_stable_peek(ksm, id))
			continue;
		(*alive)++;
		ks_cost(ksm->env, KS_COST_stable_level);

		const bool usable = ks_stable_usable(ksm, dup);

		if (!usable && !(any && !best))
			continue;
		if (best && ks_stable_usable(ksm, ks_stable(ksm, best)) &&
		    dup->len <= ks_stable(ksm, best)->len)
			continue;
		best = id;
		if (!prune && usable)
			break;
	}
	return best;
}

/* The chain has one dup left: it takes the chain's place in the tree. */
static void collapse(struct ks_ksm *ksm, uint32_t chain, uint32_t id)
{
	struct ks_stable_node *dup = ks_stable(ksm, id);

	chain_del_dup(ksm, id);
	dup->kind = KS_STABLE_REGULAR;
	ks_rb_replace(&ksm->stable[ks_stable(ksm, chain)->nid], chain, id);
	chain_free(ksm, chain);
}

/* What a search does at node *@place. Returns the dup to compare with (for a regular node itself),
 * or 0: something was removed, start again at the root. A fold changes *@place. *@full: 6.1 found
 * no usable dup; the dup returned is only good for comparing.
 * Models: mm/ksm.c:chain(), chain_prune(). */
static uint32_t pick(struct ks_ksm *ksm, uint32_t *place, bool may_prune, bool *full)
{
	const uint32_t chain = *place;
	struct ks_stable_node *node = ks_stable(ksm, chain);
	unsigned alive;

	*full = false;
	if (node->kind != KS_STABLE_CHAIN)
		return ks_stable_peek(ksm, chain) ? chain : 0;

	const uint64_t pruned = (uint64_t)node->len << 32 | node->prune_lo;
	const uint64_t hz = ksm->env->knob.hz;
	const uint64_t interval =
		(ksm->env->knob.stable_node_chains_prune_millisecs * hz + 999) / 1000;
	const uint64_t now = jiffies(ksm, ksm->env->now_ns);
	const bool prune = may_prune && (int64_t)(now - (pruned + interval)) >= 0;

	if (prune)
		set_prune_time(ksm, node);

	const uint32_t best = best_dup(ksm, chain, prune, &alive);
	const bool any = ksm->env->feature[KS_FEAT_pick_any_dup];

	if (!node->dups) {
		ks_rb_erase(&ksm->stable[node->nid], chain);
		chain_free(ksm, chain);
		return 0;
	}
	if (!best) {
		*full = true;
		return node->dups;
	}
	if (!list_next(ksm, node->dups) && (any || (prune && alive == 1))) {
		collapse(ksm, chain, best);
		*place = best;
	} else if (best != node->dups && ks_stable_usable(ksm, ks_stable(ksm, best)) &&
		   ks_stable(ksm, best)->len + 1u < ksm->env->knob.max_page_sharing) {
		list_unlink(ksm, &node->dups, best);
		list_push(ksm, &node->dups, best);
	}
	return best;
}

/* ---- search ---- */

struct place {
	uint32_t parent; /* where a new leaf would go */
	int side;
	uint32_t node; /* equal node (regular or chain), 0 if none */
	uint32_t dup;  /* the dup of it that was compared */
	bool full;     /* 6.1: only full dups */
};

/* Down the tree of node @nid for the content of @pfn, with all the effects of passing nodes. */
static struct place descend(struct ks_ksm *ksm, unsigned nid, ks_pfn pfn, bool may_prune)
{
	const struct ks_contents *contents = &ksm->sys->contents;
	const ks_cid cid = ks_frame_content(ksm, pfn);
	const uint64_t key = ks_content_key(contents, cid) & ~(uint64_t)3;
	struct place place;
	uint64_t levels = 0;

again:
	place = (struct place){ 0 };
	for (uint32_t id = ksm->stable[nid].root; id;) {
		const struct ks_rb_node *rb = &ks_stable(ksm, id)->rb;
		int order;

		levels++;
		if (!(rb->key_lo & KS_RB_LOOK) && ks_rb_key(rb) != key) {
			order = key < ks_rb_key(rb) ? -1 : 1;
		} else {
			place.dup = pick(ksm, &id, may_prune, &place.full);
			if (!place.dup)
				goto again;
			rb = &ks_stable(ksm, id)->rb;
			order = ks_content_compare(
				contents, cid,
				ks_frame_content(ksm, ks_stable(ksm, place.dup)->pfn));
		}
		if (!order) {
			place.node = id;
			ks_cost(ksm->env, KS_COST_compare_full);
			break;
		}
		place.parent = id;
		place.side = order > 0;
		id = rb->child[order > 0];
	}
	ks_cost_n(ksm->env, KS_COST_stable_level, levels);
	return place;
}

static void link_regular(struct ks_ksm *ksm, uint32_t id, unsigned nid, const struct place *place)
{
	struct ks_stable_node *node = ks_stable(ksm, id);

	node->kind = KS_STABLE_REGULAR;
	node->nid = nid & (KS_NODES_MAX - 1);
	ks_rb_insert(&ksm->stable[nid], id, place->parent, place->side);
}

static ks_pfn page_if_usable(struct ks_ksm *ksm, uint32_t id)
{
	const struct ks_stable_node *node = ks_stable(ksm, id);

	return ks_stable_usable(ksm, node) ? node->pfn : KS_PFN_NONE;
}

static void to_migrate_list(struct ks_ksm *ksm, uint32_t id)
{
	ks_stable(ksm, id)->kind = KS_STABLE_MIGRATING;
	list_push(ksm, &ksm->migrate, id);
}

void ks_stable_migrate(struct ks_ksm *ksm, uint32_t id)
{
	unlink_node(ksm, id);
	to_migrate_list(ksm, id);
}

void ks_stable_sweep_migrate(struct ks_ksm *ksm)
{
	uint32_t next;

	for (uint32_t id = ksm->migrate; id; id = next) {
		next = list_next(ksm, id);
		ks_stable_peek(ksm, id);
	}
}

/* A migrated, shared page meets equal content on its new node: it becomes a dup there. */
static ks_pfn chain_append(struct ks_ksm *ksm, const struct place *place, uint32_t moved)
{
	uint32_t chain = place->node;

	if (ks_stable(ksm, chain)->kind != KS_STABLE_CHAIN) {
		chain = chain_new(ksm, chain);
		if (!chain)
			return KS_PFN_NONE;
	}
	list_unlink(ksm, &ksm->migrate, moved);
	chain_add_dup(ksm, chain, moved);
	ks_stable(ksm, moved)->nid = ks_stable(ksm, chain)->nid;
	return page_if_usable(ksm, moved);
}

/* The equal dup's own page has left this node: its place goes to @moved, if there is one, and the
 * dup to the migrate list. */
static ks_pfn replace(struct ks_ksm *ksm, const struct place *place, uint32_t moved, unsigned nid)
{
	const uint32_t dup = place->dup;

	if (moved) {
		struct ks_stable_node *node = ks_stable(ksm, moved);

		list_unlink(ksm, &ksm->migrate, moved);
		node->nid = nid & (KS_NODES_MAX - 1);
		if (place->node == dup) {
			node->kind = KS_STABLE_REGULAR;
			ks_rb_replace(&ksm->stable[nid], dup, moved);
		} else {
			chain_del_dup(ksm, dup);
			chain_add_dup(ksm, place->node, moved);
		}
	} else {
		unlink_node(ksm, dup);
	}
	to_migrate_list(ksm, dup);
	return moved ? page_if_usable(ksm, moved) : KS_PFN_NONE;
}

/**
 * ks_stable_search() - the KSM page that @pfn can be merged with
 * @pfn: an ordinary page, or a KSM page (then usually itself: the fork case)
 *
 * Models: mm/ksm.c:stable_tree_search(), 6.1 to 7.3.
 * Differs: no page is ever locked by somebody else, so never busy.
 */
ks_pfn ks_stable_search(struct ks_ksm *ksm, ks_pfn pfn)
{
	const uint32_t own = ks_frame_test(ks_frame(&ksm->sys->frames, pfn), KS_FRAME_KSM)
				     ? ks_stable_of(ksm, pfn)
				     : 0;
	const unsigned nid = ks_ksm_nid(ksm, pfn);

	if (own && ks_stable(ksm, own)->kind != KS_STABLE_MIGRATING)
		return pfn;

	const struct place place = descend(ksm, nid, pfn, true);

	if (!place.node) {
		if (!own)
			return KS_PFN_NONE;
		list_unlink(ksm, &ksm->migrate, own);
		link_regular(ksm, own, nid, &place);
		return page_if_usable(ksm, own);
	}
	if (own && ks_frame_maps(ks_frame(&ksm->sys->frames, pfn)) > 1)
		return chain_append(ksm, &place, own);

	const struct ks_stable_node *dup = ks_stable(ksm, place.dup);

	if (place.full || !ks_stable_usable(ksm, dup))
		return KS_PFN_NONE;
	if (ks_ksm_nid(ksm, dup->pfn) != dup->nid)
		return replace(ksm, &place, own, nid);
	return dup->pfn;
}

/**
 * ks_stable_insert() - a stable node for @pfn, which has just become a KSM page
 *
 * Equal content is there already if all its pages are full, or if a node without
 * items is: then the new node becomes a dup.
 *
 * Models: mm/ksm.c:stable_tree_insert().
 */
uint32_t ks_stable_insert(struct ks_ksm *ksm, ks_pfn pfn)
{
	const unsigned nid = ks_ksm_nid(ksm, pfn);
	const struct place place = descend(ksm, nid, pfn, false);
	uint32_t chain = place.node;
	uint32_t id;

	if (ks_inject(ksm->env, KSMSIM_INJECT_stable_node))
		return 0;
	id = ks_pool_alloc(ksm->env, &ksm->nodes);
	ks_stable(ksm, id)->pfn = pfn;
	ks_rb_set_key(&ks_stable(ksm, id)->rb,
		      ks_content_key(&ksm->sys->contents, ks_frame_content(ksm, pfn)));
	if (!place.node) {
		link_regular(ksm, id, nid, &place);
	} else {
		if (ks_stable(ksm, chain)->kind != KS_STABLE_CHAIN)
			chain = chain_new(ksm, chain);
		if (!chain) {
			ks_pool_free(ksm->env, &ksm->nodes, id);
			return 0;
		}
		ks_stable(ksm, id)->nid = nid & (KS_NODES_MAX - 1);
		chain_add_dup(ksm, chain, id);
	}
	by_pfn_add(ksm, id);
	return id;
}

/* ---- purge ---- */

/* true: still mapped, it stays. A page that is only referenced becomes an orphan. */
static bool purge_node(struct ks_ksm *ksm, uint32_t id)
{
	const ks_pfn pfn = ks_stable_peek(ksm, id);

	if (!pfn)
		return false;
	if (ks_frame_maps(ks_frame(&ksm->sys->frames, pfn)))
		return true;
	by_pfn_remove(ksm, pfn);
	drop(ksm, id);
	return false;
}

static bool purge_place(struct ks_ksm *ksm, uint32_t id)
{
	uint32_t next;

	if (ks_stable(ksm, id)->kind != KS_STABLE_CHAIN)
		return purge_node(ksm, id);
	for (uint32_t dup = ks_stable(ksm, id)->dups; dup; dup = next) {
		next = list_next(ksm, dup);
		if (purge_node(ksm, dup))
			return true;
	}
	ks_rb_erase(&ksm->stable[ks_stable(ksm, id)->nid], id);
	chain_free(ksm, id);
	return false;
}

/* Models: mm/ksm.c:remove_all_stable_nodes(): always the root, then the new root. */
bool ks_stable_purge(struct ks_ksm *ksm)
{
	bool busy = false;
	uint32_t next;

	for (unsigned nid = 0; nid < ksm->nr_trees; nid++) {
		while (ksm->stable[nid].root) {
			if (purge_place(ksm, ksm->stable[nid].root)) {
				busy = true;
				break;
			}
		}
	}
	for (uint32_t id = ksm->migrate; id; id = next) {
		next = list_next(ksm, id);
		busy |= purge_node(ksm, id);
	}
	return busy;
}
