/*
 * ksm_item.c - segments and items: what KSM remembers of each visited page.
 *
 * A segment covers 512 consecutive pages of one mm and grows 1 -> 8 -> dense.
 * Growing moves the arrays but not the ids, so tree nodes and links, which name
 * items by id, stay right. What can surprise: a struct ks_item carries the
 * position in the arrays, which is stale after any insertion or removal in its
 * segment; get it again with ks_item_at().
 *
 * Items die lazily, as in the kernel: the cursor frees the ones that it passes
 * without finding a page, when it finds the *next* page, or when it leaves the mm.
 */
#include "ksm.h"

#include <string.h>

static struct ks_body_small *small_body(const struct ks_ksm *ksm, const struct ks_seg *seg)
{
	return ks_pool_at(seg->room == 1 ? &ksm->body1 : &ksm->body8, seg->body);
}

/* Position of @slot among the items of a small segment, or where it would be inserted. */
static unsigned small_pos(const struct ks_body_small *body, unsigned nr, unsigned slot)
{
	unsigned pos = 0;

	while (pos < nr && body->item[pos].slot < slot)
		pos++;
	return pos;
}

static struct ks_item_small *small_item(const struct ks_ksm *ksm, const struct ks_item *item)
{
	return &small_body(ksm, item->seg)->item[item->pos];
}

static bool is_dense(const struct ks_seg *seg)
{
	return seg->room == KS_SEG_SLOTS;
}

struct ks_item ks_item_at(const struct ks_ksm *ksm, uint32_t id)
{
	struct ks_item item = {
		.seg = ks_pool_at(&ksm->segs, id >> KS_SEG_SHIFT),
		.seg_id = id >> KS_SEG_SHIFT,
		.slot = id & (KS_SEG_SLOTS - 1),
	};

	item.pos = item.slot;
	if (!is_dense(item.seg))
		item.pos = small_pos(small_body(ksm, item.seg), item.seg->nr, item.slot);
	return item;
}

struct ks_mm *ks_item_mm(const struct ks_ksm *ksm, const struct ks_item *item)
{
	return ks_slot(ksm, item->seg->slot)->mm;
}

bool ks_item_test(const struct ks_ksm *ksm, const struct ks_item *item, enum ks_item_plane plane)
{
	if (is_dense(item->seg))
		return ks_seg_dense(ksm, item->seg)->plane[plane][item->slot / 64] >>
			       (item->slot % 64) &
		       1;
	return small_body(ksm, item->seg)->plane[plane] >> item->pos & 1;
}

void ks_item_mark(struct ks_ksm *ksm, const struct ks_item *item, enum ks_item_plane plane, bool on)
{
	if (is_dense(item->seg)) {
		uint64_t *word = &ks_seg_dense(ksm, item->seg)->plane[plane][item->slot / 64];
		const uint64_t bit = UINT64_C(1) << (item->slot % 64);

		*word = on ? *word | bit : *word & ~bit;
	} else {
		uint8_t *byte = &small_body(ksm, item->seg)->plane[plane];
		const uint8_t bit = (uint8_t)(1u << item->pos);

		*byte = (uint8_t)(on ? *byte | bit : *byte & ~bit);
	}
}

/* The IN_TREE plane of a segment that no item of this scan's tree has touched yet is old. */
bool ks_item_in_tree(const struct ks_ksm *ksm, const struct ks_item *item)
{
	return item->seg->scan == ksm->scan && ks_item_test(ksm, item, KS_ITEM_IN_TREE);
}

uint32_t *ks_item_checksum(const struct ks_ksm *ksm, const struct ks_item *item)
{
	return is_dense(item->seg) ? &ks_seg_dense(ksm, item->seg)->checksum[item->slot]
				   : &small_item(ksm, item)->checksum;
}

uint8_t *ks_item_age(const struct ks_ksm *ksm, const struct ks_item *item)
{
	return is_dense(item->seg) ? &ks_seg_dense(ksm, item->seg)->age[item->slot]
				   : &small_item(ksm, item)->age;
}

uint8_t *ks_item_skips(const struct ks_ksm *ksm, const struct ks_item *item)
{
	return is_dense(item->seg) ? &ks_seg_dense(ksm, item->seg)->skips[item->slot]
				   : &small_item(ksm, item)->skips;
}

struct ks_stable_link *ks_item_link(const struct ks_ksm *ksm, const struct ks_item *item)
{
	if (is_dense(item->seg))
		return (struct ks_stable_link *)ks_pool_at(&ksm->links, item->seg->links) +
		       item->slot;
	return &small_item(ksm, item)->link;
}

void ks_item_lose_node(struct ks_ksm *ksm, const struct ks_item *item, uint32_t node)
{
	ks_map_set(ksm->env, &ksm->forgotten, ks_item_id(item), node);
}

void ks_item_forget_node(struct ks_ksm *ksm, const struct ks_item *item)
{
	if (ksm->forgotten.nr)
		ks_map_delete(&ksm->forgotten, ks_item_id(item));
}

uint32_t ks_item_lost_node(const struct ks_ksm *ksm, const struct ks_item *item)
{
	const uint64_t *node =
		ksm->forgotten.nr ? ks_map_find(&ksm->forgotten, ks_item_id(item)) : NULL;

	return node ? (uint32_t)*node : 0;
}

struct ks_rb_node *ks_item_small_tree_node(const struct ks_ksm *ksm, uint32_t id)
{
	const struct ks_seg *seg = ks_pool_at(&ksm->segs, id >> KS_SEG_SHIFT);
	struct ks_body_small *body = small_body(ksm, seg);

	return &body->item[small_pos(body, seg->nr, id & (KS_SEG_SLOTS - 1))].tree;
}

struct ks_rb_node *ks_item_tree_node(const void *ksm, uint32_t id)
{
	return ks_tree_node(ksm, id);
}

static void set_tree(struct ks_ksm *ksm, uint32_t seg_id, struct ks_seg *seg, uint32_t tree)
{
	seg->tree = tree;
	ksm->tree_nodes[seg_id] = tree ? ks_pool_at(&ksm->trees, tree) : NULL;
}

void ks_item_need_tree(struct ks_ksm *ksm, const struct ks_item *item)
{
	if (is_dense(item->seg) && !item->seg->tree)
		set_tree(ksm, item->seg_id, item->seg, ks_pool_alloc(ksm->env, &ksm->trees));
}

void ks_item_need_link(struct ks_ksm *ksm, const struct ks_item *item)
{
	if (is_dense(item->seg) && !item->seg->links)
		item->seg->links = ks_pool_alloc(ksm->env, &ksm->links);
}

static bool plane_empty(const uint64_t *plane)
{
	uint64_t any = 0;

	for (unsigned w = 0; w < KS_SEG_WORDS; w++)
		any |= plane[w];
	return !any;
}

void ks_seg_trim(struct ks_ksm *ksm, uint32_t seg_id)
{
	struct ks_seg *seg = ks_pool_at(&ksm->segs, seg_id);

	if (!is_dense(seg))
		return;

	const struct ks_body_dense *body = ks_seg_dense(ksm, seg);

	if (seg->tree && (seg->scan != ksm->scan || plane_empty(body->plane[KS_ITEM_IN_TREE]))) {
		ks_pool_free(ksm->env, &ksm->trees, seg->tree);
		set_tree(ksm, seg_id, seg, 0);
	}
	if (seg->links && plane_empty(body->plane[KS_ITEM_STABLE])) {
		ks_pool_free(ksm->env, &ksm->links, seg->links);
		seg->links = 0;
	}
}

/* ---- growing ---- */

static void grow_to_8(struct ks_ksm *ksm, struct ks_seg *seg)
{
	const uint32_t body = ks_pool_alloc(ksm->env, &ksm->body8);
	const struct ks_body_small *from = small_body(ksm, seg);
	struct ks_body_small *to = ks_pool_at(&ksm->body8, body);

	memcpy(to->plane, from->plane, sizeof(to->plane));
	to->item[0] = from->item[0];
	ks_pool_free(ksm->env, &ksm->body1, seg->body);
	seg->body = body;
	seg->room = 8;
}

static void grow_to_dense(struct ks_ksm *ksm, uint32_t seg_id, struct ks_seg *seg)
{
	const struct ks_body_small *from = small_body(ksm, seg);
	const uint32_t body = ks_pool_alloc(ksm->env, &ksm->body_dense);
	const uint32_t tree = ks_pool_alloc(ksm->env, &ksm->trees);
	const uint32_t links =
		from->plane[KS_ITEM_STABLE] ? ks_pool_alloc(ksm->env, &ksm->links) : 0;
	struct ks_body_dense *to = ks_pool_at(&ksm->body_dense, body);
	const uint32_t old = seg->body;

	for (unsigned i = 0; i < seg->nr; i++) {
		const struct ks_item_small *item = &from->item[i];
		const unsigned slot = item->slot;

		for (unsigned p = 0; p < KS_ITEM_PLANES; p++)
			to->plane[p][slot / 64] |= (uint64_t)(from->plane[p] >> i & 1)
						   << (slot % 64);
		to->checksum[slot] = item->checksum;
		to->age[slot] = item->age;
		to->skips[slot] = item->skips;
		if (from->plane[KS_ITEM_STABLE] >> i & 1)
			((struct ks_stable_link *)ks_pool_at(&ksm->links, links))[slot] =
				item->link;
		else
			((struct ks_rb_node *)ks_pool_at(&ksm->trees, tree))[slot] = item->tree;
	}
	seg->body = body;
	set_tree(ksm, seg_id, seg, tree);
	seg->links = links;
	seg->room = KS_SEG_SLOTS;
	ks_pool_free(ksm->env, &ksm->body8, old);
}

/* Planes of a small segment are masks by position: open or close a gap at @pos. */
static void small_shift(struct ks_body_small *body, unsigned nr, unsigned pos, bool insert)
{
	const unsigned low = (1u << pos) - 1;

	for (unsigned p = 0; p < KS_ITEM_PLANES; p++) {
		const unsigned mask = body->plane[p];

		body->plane[p] = (uint8_t)(insert ? (mask & low) | (mask & ~low) << 1
						  : (mask & low) | (mask >> 1 & ~low));
	}
	if (insert)
		memmove(&body->item[pos + 1], &body->item[pos], (nr - pos) * sizeof(body->item[0]));
	else
		memmove(&body->item[pos], &body->item[pos + 1],
			(nr - pos - 1) * sizeof(body->item[0]));
}

static void item_add(struct ks_ksm *ksm, uint32_t seg_id, unsigned slot)
{
	struct ks_seg *seg = ks_pool_at(&ksm->segs, seg_id);

	if (seg->room == 1 && seg->nr == 1)
		grow_to_8(ksm, seg);
	if (seg->room == 8 && seg->nr == 8)
		grow_to_dense(ksm, seg_id, seg);
	if (is_dense(seg)) {
		struct ks_body_dense *body = ks_seg_dense(ksm, seg);

		body->plane[KS_ITEM_EXISTS][slot / 64] |= UINT64_C(1) << (slot % 64);
		body->checksum[slot] = 0;
		body->age[slot] = 0;
		body->skips[slot] = 0;
	} else {
		struct ks_body_small *body = small_body(ksm, seg);
		const unsigned pos = small_pos(body, seg->nr, slot);

		small_shift(body, seg->nr, pos, true);
		body->item[pos] = (struct ks_item_small){ .slot = (uint16_t)slot };
		body->plane[KS_ITEM_EXISTS] |= (uint8_t)(1u << pos);
	}
	seg->nr++;
}

/* ---- freeing ---- */

static void item_free(struct ks_ksm *ksm, const struct ks_item *item)
{
	ks_item_detach(ksm, item);
	ks_item_forget_node(ksm, item);
	ks_item_mm(ksm, item)->ksm_rmap_items--;
	ks_count(ksm->env, KSMSIM_COUNT_rmap_items, -1);
	ks_cost(ksm->env, KS_COST_item_free);
	for (unsigned p = 0; p < KS_ITEM_PLANES; p++)
		ks_item_mark(ksm, item, p, false);
	if (!is_dense(item->seg))
		small_shift(small_body(ksm, item->seg), item->seg->nr, item->pos, false);
	item->seg->nr--;
}

/* First item of the segment at or above @slot, or -1. */
static int seg_next_item(const struct ks_ksm *ksm, const struct ks_seg *seg, unsigned slot)
{
	if (slot >= KS_SEG_SLOTS)
		return -1;
	if (!is_dense(seg)) {
		const struct ks_body_small *body = small_body(ksm, seg);
		const unsigned pos = small_pos(body, seg->nr, slot);

		return pos < seg->nr ? body->item[pos].slot : -1;
	}

	const uint64_t *exists = ks_seg_dense(ksm, seg)->plane[KS_ITEM_EXISTS];
	uint64_t word = exists[slot / 64] >> (slot % 64) << (slot % 64);

	for (unsigned w = slot / 64;; word = exists[w]) {
		if (word)
			return (int)(w * 64 + (unsigned)__builtin_ctzll(word));
		if (++w == KS_SEG_WORDS)
			return -1;
	}
}

/* Free the items of the segment in slots [from, to). */
static void seg_free_items(struct ks_ksm *ksm, uint32_t seg_id, unsigned from, unsigned to)
{
	struct ks_seg *seg = ks_pool_at(&ksm->segs, seg_id);

	for (;;) {
		const int slot = seg_next_item(ksm, seg, from);

		if (slot < 0 || (unsigned)slot >= to)
			return;

		const struct ks_item item =
			ks_item_at(ksm, seg_id << KS_SEG_SHIFT | (unsigned)slot);

		item_free(ksm, &item);
		from = (unsigned)slot + 1;
	}
}

static uint32_t *seg_link(struct ks_ksm *ksm, struct ks_slot *slot, uint32_t prev)
{
	struct ks_seg *seg;

	if (!prev)
		return &slot->first_seg;
	seg = ks_pool_at(&ksm->segs, prev);
	return &seg->next;
}

static void seg_free(struct ks_ksm *ksm, struct ks_slot *slot, uint32_t prev, uint32_t seg_id)
{
	struct ks_seg *seg = ks_pool_at(&ksm->segs, seg_id);
	struct ks_pool *bodies = is_dense(seg)	  ? &ksm->body_dense
				 : seg->room == 8 ? &ksm->body8
						  : &ksm->body1;

	*seg_link(ksm, slot, prev) = seg->next;
	ks_pool_free(ksm->env, bodies, seg->body);
	if (seg->tree) {
		ks_pool_free(ksm->env, &ksm->trees, seg->tree);
		set_tree(ksm, seg_id, seg, 0);
	}
	if (seg->links)
		ks_pool_free(ksm->env, &ksm->links, seg->links);
	seg->slot = 0;
	seg->vpn = UINT64_MAX;
	ks_pool_free(ksm->env, &ksm->segs, seg_id);
}

static uint32_t seg_new(struct ks_ksm *ksm, uint32_t slot_id, uint64_t vpn)
{
	const uint32_t body = ks_pool_alloc(ksm->env, &ksm->body1);
	const uint32_t seg_id = ks_pool_alloc(ksm->env, &ksm->segs);
	struct ks_seg *seg = ks_pool_at(&ksm->segs, seg_id);

	if (seg_id >= 1u << (32 - KS_SEG_SHIFT))
		ks_fail(ksm->env, KSMSIM_ELIMIT);
	if (seg_id >= ksm->room_tree_nodes) {
		const uint32_t room = ksm->room_tree_nodes ? 2 * ksm->room_tree_nodes : 64;

		ksm->tree_nodes =
			ks_realloc(ksm->env, ksm->tree_nodes, room * sizeof(ksm->tree_nodes[0]));
		ksm->room_tree_nodes = room;
	}
	*seg = (struct ks_seg){
		.vpn = vpn & ~(uint64_t)(KS_SEG_SLOTS - 1), .slot = slot_id, .room = 1, .body = body
	};
	return seg_id;
}

/* Free the items of the cursor's mm below @vpn, from the cursor's position on. Returns the segment
 * that covers or follows @vpn, 0 if none. */
static uint32_t free_items_below(struct ks_ksm *ksm, uint64_t vpn)
{
	struct ks_cursor *cursor = &ksm->cursor;
	struct ks_slot *slot = ks_slot(ksm, cursor->slot);

	for (;;) {
		const uint32_t seg_id = *seg_link(ksm, slot, cursor->seg_prev);
		struct ks_seg *seg = ks_pool_at(&ksm->segs, seg_id);

		if (!seg_id || seg->vpn >= vpn)
			return seg_id;

		const unsigned from =
			cursor->item_vpn > seg->vpn ? (unsigned)(cursor->item_vpn - seg->vpn) : 0;

		if (vpn - seg->vpn < KS_SEG_SLOTS) {
			seg_free_items(ksm, seg_id, from, (unsigned)(vpn - seg->vpn));
			return seg_id;
		}
		if (from < KS_SEG_SLOTS)
			seg_free_items(ksm, seg_id, from, KS_SEG_SLOTS);
		if (!seg->nr) {
			seg_free(ksm, slot, cursor->seg_prev, seg_id);
		} else {
			ks_seg_trim(ksm, seg_id);
			cursor->seg_prev = seg_id;
		}
	}
}

void ks_item_free_rest(struct ks_ksm *ksm)
{
	free_items_below(ksm, UINT64_MAX - KS_SEG_SLOTS);
}

bool ks_item_next(struct ks_ksm *ksm, uint64_t vpn, struct ks_item *item)
{
	struct ks_cursor *cursor = &ksm->cursor;
	uint32_t seg_id = free_items_below(ksm, vpn);
	struct ks_seg *seg = ks_pool_at(&ksm->segs, seg_id);
	const unsigned slot = (unsigned)(vpn & (KS_SEG_SLOTS - 1));

	if (!seg_id || seg->vpn > vpn || seg_next_item(ksm, seg, slot) != (int)slot) {
		if (ks_inject(ksm->env, KSMSIM_INJECT_rmap_item)) {
			if (seg_id && !seg->nr) /* it lost its last item just now */
				seg_free(ksm, ks_slot(ksm, cursor->slot), cursor->seg_prev, seg_id);
			return false;
		}
		if (!seg_id || seg->vpn > vpn) {
			const uint32_t next = seg_id;

			seg_id = seg_new(ksm, cursor->slot, vpn);
			seg = ks_pool_at(&ksm->segs, seg_id);
			seg->next = next;
			*seg_link(ksm, ks_slot(ksm, cursor->slot), cursor->seg_prev) = seg_id;
		}
		item_add(ksm, seg_id, slot);
		ks_slot(ksm, cursor->slot)->mm->ksm_rmap_items++;
		ks_count(ksm->env, KSMSIM_COUNT_rmap_items, 1);
		ks_cost(ksm->env, KS_COST_item_new);
	}
	*item = ks_item_at(ksm, seg_id << KS_SEG_SHIFT | slot);
	cursor->item_vpn = vpn + 1;
	return true;
}

bool ks_item_find(const struct ks_ksm *ksm, const struct ks_mm *mm, uint64_t vpn,
		  const struct ks_leaf *leaf, struct ks_item *item)
{
	const uint64_t base = vpn & ~(uint64_t)(KS_SEG_SLOTS - 1);
	uint32_t seg_id = leaf ? leaf->upper : 0;
	const struct ks_seg *seg = ks_pool_at(&ksm->segs, seg_id);

	/* The leaf's word is a hint: the segment may have been freed or be another one now. */
	if (!mm->ksm_slot)
		return false;
	if (!seg_id || seg->slot != mm->ksm_slot || seg->vpn > base)
		seg_id = ks_slot(ksm, mm->ksm_slot)->first_seg;
	for (; seg_id; seg_id = seg->next) {
		seg = ks_pool_at(&ksm->segs, seg_id);
		if (seg->vpn > base)
			return false;
		if (seg->vpn == base)
			break;
	}
	if (!seg_id || seg_next_item(ksm, seg, (unsigned)(vpn - base)) != (int)(vpn - base))
		return false;
	*item = ks_item_at(ksm, seg_id << KS_SEG_SHIFT | (unsigned)(vpn - base));
	return true;
}

/* ---- states ---- */

void ks_item_reset(struct ks_ksm *ksm, const struct ks_item *item)
{
	if (!ksm->env->feature[KS_FEAT_reset_on_unstable])
		return;
	*ks_item_checksum(ksm, item) = 0;
	*ks_item_age(ksm, item) = 0;
	*ks_item_skips(ksm, item) = 0;
}

void ks_item_detach(struct ks_ksm *ksm, const struct ks_item *item)
{
	if (ks_item_test(ksm, item, KS_ITEM_STABLE)) {
		/* A stale node is dropped by the look and takes this item off with it. */
		if (!ks_stable_peek(ksm, ks_item_link(ksm, item)->node))
			return;
		ks_stable_unlink_item(ksm, item);
		ks_item_mark(ksm, item, KS_ITEM_STABLE, false);
		ks_item_reset(ksm, item);
	} else if (ks_item_test(ksm, item, KS_ITEM_UNSTABLE)) {
		/* An item of an earlier scan is in a tree that was forgotten: nothing to erase. */
		if (ks_item_in_tree(ksm, item))
			ks_unstable_erase(ksm, item);
		ks_item_mark(ksm, item, KS_ITEM_UNSTABLE, false);
		ks_count(ksm->env, KSMSIM_COUNT_pages_unshared, -1);
	}
}
