/*
 * ksm.h - floor 6, KSM: same-page merging as mm/ksm.c does it.
 *
 * Two trees. The *stable* tree holds KSM pages: read-only, shared, so it stays
 * sorted. The *unstable* tree holds pages that looked unchanged for one scan;
 * they stay writable, so its order can rot under it, and it is forgotten at the
 * start of each full scan. Both shapes are exact, because searches have effects
 * on what they pass (stale nodes are dropped, chains pruned, searches blocked).
 *
 *   slot (one per registered mm, circular list with a head)
 *    `- segments: 512 consecutive pages each, ascending, singly linked
 *        `- items: one per visited page, by slot in the segment
 *             NONE | UNSTABLE (in the tree of this scan, or left over) | STABLE
 *   stable node: REGULAR in a tree | CHAIN in a tree -> DUPs | MIGRATING
 *
 * An item id is segment * 512 + slot: it never moves while the item lives.
 * A segment is small (1 or 8 items) or dense (structure of arrays; tree nodes
 * and stable links are attached only while some item needs them).
 *
 * The scan trusts a page-table entry's WATCHED bit: set by KSM, cleared by any
 * change of the entry. With a STABLE item it means "still maps the node's page";
 * with an item of the current unstable tree its loss marks the tree node LOOK,
 * so a search trusts the key in a node without LOOK and asks the page tables
 * otherwise. The entries of a huge leaf share one watch, which no entry shows:
 * it only says that the bell will ring, so LOOK is all that tells there.
 *
 * Rooms: ksm_item.c (segments, items), ksm_stable.c, ksm_unstable.c,
 * ksm_merge.c (write-protect, replace, un-merge), ksm_large.c (pages of large
 * folios), ksm_scan.c (the cursor and one visit), ksm.c (registration, run,
 * purge, the bells).
 */
#ifndef KS_KSM_H
#define KS_KSM_H

#include "fault.h"
#include "rbtree.h"

#define KS_SEG_SHIFT 9u
#define KS_SEG_SLOTS (1u << KS_SEG_SHIFT)
#define KS_SEG_WORDS (KS_SEG_SLOTS / 64)
#define KS_EFAULT (-14)
#define KS_ITEM_BYTES 64 /* sizeof(struct ksm_rmap_item) on 64-bit kernels */

struct ks_slot {
	struct ks_mm *mm;
	uint32_t next, prev; /* circular; slot 1 is the head and has no mm */
	uint32_t first_seg;
};
#define KS_SLOT_HEAD 1u

/* Where a STABLE item hangs. */
struct ks_stable_link {
	uint32_t node, next, prev; /* item ids; next is towards the first attached */
};

enum ks_item_plane {
	KS_ITEM_EXISTS,
	KS_ITEM_STABLE,
	KS_ITEM_UNSTABLE, /* counted in pages_unshared */
	KS_ITEM_IN_TREE,  /* in the unstable tree; valid if seg->scan is the running scan */
	KS_ITEM_PLANES
};

struct ks_seg {
	uint64_t vpn;	      /* of slot 0 */
	uint32_t next;	      /* segment of the same mm, ascending */
	uint32_t slot;	      /* owner; 0: the segment is free */
	uint32_t scan;	      /* scan whose tree the IN_TREE plane speaks of */
	uint16_t nr;	      /* items */
	uint16_t room;	      /* 1, 8 or KS_SEG_SLOTS */
	uint32_t body;	      /* pool index */
	uint32_t tree, links; /* dense: pool indices of the arrays, 0 if absent */
};

struct ks_item_small {
	uint32_t checksum;
	uint16_t slot;
	uint8_t age, skips;
	union {
		struct ks_rb_node tree;
		struct ks_stable_link link;
	};
};

struct ks_body_small {
	uint8_t plane[KS_ITEM_PLANES];
	uint32_t pad;
	struct ks_item_small item[]; /* ascending slots */
};

struct ks_body_dense {
	uint64_t plane[KS_ITEM_PLANES][KS_SEG_WORDS];
	uint32_t checksum[KS_SEG_SLOTS];
	uint8_t age[KS_SEG_SLOTS], skips[KS_SEG_SLOTS];
};

enum ks_stable_kind { KS_STABLE_REGULAR, KS_STABLE_CHAIN, KS_STABLE_DUP, KS_STABLE_MIGRATING };

struct ks_stable_node {
	/* REGULAR, CHAIN: place in the tree. DUP, MIGRATING: child[0] next, child[1] previous on
	 * the list; DUP: parent is the chain. */
	struct ks_rb_node rb;
	union {
		ks_pfn pfn;	   /* of a page's node */
		uint32_t prune_lo; /* of a chain: jiffies of its last pruning, low part */
	};
	union {
		uint32_t items; /* of a page's node: front of the list, the last attached */
		uint32_t dups;	/* of a chain: front of the list */
	};
	uint32_t len : 25;  /* of a page's node: items; of a chain: jiffies, high part */
	uint32_t stale : 1; /* its page was freed */
	uint32_t kind : 2;  /* enum ks_stable_kind */
	uint32_t nid : 4;
};

/* An item as code handles it: good until items of the segment are added or freed. */
struct ks_item {
	struct ks_seg *seg;
	uint32_t seg_id;
	unsigned slot; /* in the segment */
	unsigned pos;  /* in the arrays */
};

struct ks_cursor {
	uint32_t slot;	   /* KS_SLOT_HEAD: between two full scans */
	uint64_t vpn;	   /* next page to look at */
	uint64_t item_vpn; /* items below are done with in this scan */
	uint32_t seg_prev; /* last segment that is wholly below item_vpn */
};

/* What a pacing policy hears of the scan (lib/advisor.c). */
struct ks_scan_hooks {
	void *self;
	void (*start)(void *self);
	void (*stop)(void *self);
};

/* Whom ksmd holds during a visit: the page visited, the page that the unstable tree gave. */
enum ks_held { KS_HELD_VISITED, KS_HELD_MATCH, KS_HELD_NR };

struct ks_ksm {
	struct ks_env *env;
	struct ks_system *sys;
	struct ks_pool slots, segs, nodes;
	struct ks_pool body1, body8, body_dense, trees, links;
	struct ks_cursor cursor;
	/* [segment]: its tree nodes if it is dense and has any, so that a descent resolves an id with
	 * one look */
	struct ks_rb_node **tree_nodes;
	uint32_t room_tree_nodes;
	uint32_t scan;	   /* names the running full scan; never reused */
	unsigned nr_trees; /* one pair for each NUMA node; only [0] while nodes may meet */
	struct ks_rb_tree stable[KS_NODES_MAX], unstable[KS_NODES_MAX];
	uint32_t migrate; /* front of the list of MIGRATING nodes */
	uint32_t *by_pfn; /* open-addressing: frame -> its stable node */
	uint32_t by_pfn_room, by_pfn_nr;
	struct ks_map
		forgotten; /* item -> the node that went with its page, and was not replaced */
	uint32_t zero_checksum;
	/* References that are counted: only of pages that were of a large folio when they were taken.
	 * Those of small pages are allowed for, and never taken. */
	ks_pfn held[KS_HELD_NR];
	uint64_t splits; /* folios split so far: what was read ahead of the tables may be old */
	struct ks_scan_hooks hooks;
};

void ks_ksm_init(struct ks_ksm *ksm, struct ks_system *sys);
void ks_ksm_destroy(struct ks_ksm *ksm);

static inline struct ks_slot *ks_slot(const struct ks_ksm *ksm, uint32_t id)
{
	return ks_pool_at(&ksm->slots, id);
}

static inline struct ks_stable_node *ks_stable(const struct ks_ksm *ksm, uint32_t id)
{
	return ks_pool_at(&ksm->nodes, id);
}

static inline bool ks_ksm_list_empty(const struct ks_ksm *ksm)
{
	return ks_slot(ksm, KS_SLOT_HEAD)->next == KS_SLOT_HEAD;
}

/* NUMA(): every page is of node 0 while nodes may meet. */
static inline unsigned ks_ksm_nid(const struct ks_ksm *ksm, ks_pfn pfn)
{
	return ksm->env->knob.merge_across_nodes ? 0 : ks_frame_nid(&ksm->sys->frames, pfn);
}

static inline ks_cid ks_frame_content(const struct ks_ksm *ksm, ks_pfn pfn)
{
	return ks_frame(&ksm->sys->frames, pfn)->cid;
}

/* ---- ksm_item.c ---- */

static inline struct ks_body_dense *ks_seg_dense(const struct ks_ksm *ksm, const struct ks_seg *seg)
{
	return ks_pool_at(&ksm->body_dense, seg->body);
}

static inline uint32_t ks_item_id(const struct ks_item *item)
{
	return item->seg_id << KS_SEG_SHIFT | item->slot;
}

static inline uint64_t ks_item_vpn(const struct ks_item *item)
{
	return item->seg->vpn + item->slot;
}

struct ks_item ks_item_at(const struct ks_ksm *ksm, uint32_t id);
struct ks_mm *ks_item_mm(const struct ks_ksm *ksm, const struct ks_item *item);
bool ks_item_test(const struct ks_ksm *ksm, const struct ks_item *item, enum ks_item_plane plane);
void ks_item_mark(struct ks_ksm *ksm, const struct ks_item *item, enum ks_item_plane plane,
		  bool on);
bool ks_item_in_tree(const struct ks_ksm *ksm, const struct ks_item *item);
uint32_t *ks_item_checksum(const struct ks_ksm *ksm, const struct ks_item *item);
uint8_t *ks_item_age(const struct ks_ksm *ksm, const struct ks_item *item);
uint8_t *ks_item_skips(const struct ks_ksm *ksm, const struct ks_item *item);
struct ks_stable_link *ks_item_link(const struct ks_ksm *ksm, const struct ks_item *item);
/* The item's node went with its page, and the item still points to it; it does no more; the node,
 * or 0. */
void ks_item_lose_node(struct ks_ksm *ksm, const struct ks_item *item, uint32_t node);
void ks_item_forget_node(struct ks_ksm *ksm, const struct ks_item *item);
uint32_t ks_item_lost_node(const struct ks_ksm *ksm, const struct ks_item *item);
/* Make room for a tree node or a stable link before the item gets it. */
void ks_item_need_tree(struct ks_ksm *ksm, const struct ks_item *item);
void ks_item_need_link(struct ks_ksm *ksm, const struct ks_item *item);
/* for ks_rb_tree.at */
struct ks_rb_node *ks_item_tree_node(const void *ksm, uint32_t id);
struct ks_rb_node *ks_item_small_tree_node(const struct ks_ksm *ksm, uint32_t id);
static inline struct ks_rb_node *ks_tree_node(const struct ks_ksm *ksm, uint32_t id)
{
	struct ks_rb_node *nodes = ksm->tree_nodes[id >> KS_SEG_SHIFT];

	return nodes ? nodes + (id & (KS_SEG_SLOTS - 1)) : ks_item_small_tree_node(ksm, id);
}
struct ks_rb_node *ks_stable_rb(const void *ksm, uint32_t id);

/* The item for @vpn of the cursor's mm; frees every item between the cursor's item position and
 * @vpn, makes a new one if there is none. false: the simulated allocation failed.
 * Models: mm/ksm.c:get_next_rmap_item(). */
bool ks_item_next(struct ks_ksm *ksm, uint64_t vpn, struct ks_item *item);
/* Free the items of the cursor's mm from the cursor's item position to the end. */
void ks_item_free_rest(struct ks_ksm *ksm);
/* The item of (mm, vpn), if there is one. @leaf: leaf of the page, or NULL to search the list. */
bool ks_item_find(const struct ks_ksm *ksm, const struct ks_mm *mm, uint64_t vpn,
		  const struct ks_leaf *leaf, struct ks_item *item);
/* Out of whatever tree it is in. Models: mm/ksm.c:remove_rmap_item_from_tree(). */
void ks_item_detach(struct ks_ksm *ksm, const struct ks_item *item);
/* 7.3: checksum, age and skip count go with the stable state (feature reset_on_unstable) */
void ks_item_reset(struct ks_ksm *ksm, const struct ks_item *item);
/* Give back arrays of the segment that nothing uses any more. */
void ks_seg_trim(struct ks_ksm *ksm, uint32_t seg_id);

/* ---- ksm_stable.c ---- */

/* The node's page, or KS_PFN_NONE if it is gone; then the node is dropped.
 * Models: mm/ksm.c:ksm_get_folio(). */
ks_pfn ks_stable_peek(struct ks_ksm *ksm, uint32_t node);
/* Node of a KSM frame; 0 for an orphan. */
uint32_t ks_stable_of(const struct ks_ksm *ksm, ks_pfn pfn);
/* Hook: the mapping is at the address of one of the node's items, in its process or in one that fork
 * made of it. An item of a process that is gone is taken for the parent's of all. */
bool ks_stable_leads_to(void *ksm, ks_pfn pfn, const struct ks_mm *mm, uint64_t vpn);
void ks_stable_set_pfn(struct ks_ksm *ksm, uint32_t node, ks_pfn pfn);
void ks_stable_attach(struct ks_ksm *ksm, const struct ks_item *item, uint32_t node);
/* Only list and counters; state and reset are the caller's. */
void ks_stable_unlink_item(struct ks_ksm *ksm, const struct ks_item *item);
/* The KSM page to merge @pfn with, or KS_PFN_NONE. */
ks_pfn ks_stable_search(struct ks_ksm *ksm, ks_pfn pfn);
/* A node for the new KSM page @pfn; 0: the simulated allocation failed. */
uint32_t ks_stable_insert(struct ks_ksm *ksm, ks_pfn pfn);
/* The page moved to another NUMA node: out of its tree, onto the migrate list. */
void ks_stable_migrate(struct ks_ksm *ksm, uint32_t node);
/* Drop the stale nodes of the migrate list. */
void ks_stable_sweep_migrate(struct ks_ksm *ksm);
/* Drop every node; true if one is still mapped (-EBUSY). Models: remove_all_stable_nodes(). */
bool ks_stable_purge(struct ks_ksm *ksm);
static inline bool ks_stable_usable(const struct ks_ksm *ksm, const struct ks_stable_node *node)
{
	return node->len > 0 && node->len < ksm->env->knob.max_page_sharing;
}
/* bell: a KSM frame is being freed */
void ks_stable_page_freed(void *ksm, ks_pfn pfn);

/* ---- ksm_unstable.c ---- */

/* An item whose page equals @pfn, in *match with its page in *match_pfn; or none, then @item was
 * inserted unless the search was blocked. Models: mm/ksm.c:unstable_tree_search_insert(). */
bool ks_unstable_search_insert(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn,
			       struct ks_item *match, ks_pfn *match_pfn);
void ks_unstable_erase(struct ks_ksm *ksm, const struct ks_item *item);
#define KS_PREFETCH 16u
/* Is a page with the content of @pfn, other than @pfn, in the tree now? Changes nothing. */
bool ks_unstable_has(struct ks_ksm *ksm, ks_pfn pfn);
/* Bring the search paths of at most KS_PREFETCH upcoming pages into the cache; no effect on any result. */
void ks_unstable_prefetch(const struct ks_ksm *ksm, const ks_pfn *pfns, unsigned nr);

/* ---- ksm_merge.c ---- */

/* The VMA of an item if KSM may still work on it. Models: find_mergeable_vma(). */
struct ks_vma *ks_mergeable_vma(struct ks_mm *mm, uint64_t vpn);
/* The anonymous page mapped there if KSM may still work on it, else KS_PFN_NONE. */
ks_pfn ks_mergeable_page(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t vpn);
/* 0 or KS_EFAULT; @kpfn: the KSM page */
int ks_merge_with(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn, ks_pfn kpfn);
/* With the zero page; 0 or KS_EFAULT. */
int ks_merge_zero(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t vpn, ks_pfn pfn);
/* @pfn becomes a KSM page and takes over the mapping of @match_pfn. KS_PFN_NONE: failed. */
ks_pfn ks_merge_two(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn,
		    const struct ks_item *match, ks_pfn match_pfn);
/* Can ksmd find pages of @vma by their address? Models: mm/gup.c:follow_page_pte(). */
bool ks_can_follow(const struct ks_ksm *ksm, const struct ks_vma *vma);
/* The merge cannot be completed: copy the page back. Models: break_cow(). */
void ks_break_cow(struct ks_ksm *ksm, const struct ks_item *item);
/* Copy apart every KSM page and KSM zero page of the range; 0 or -ENOMEM.
 * Models: mm/ksm.c:break_ksm(), unmerge_ksm_pages(). */
long ks_unmerge(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t start, uint64_t end);

/* ---- ksm_large.c ---- */

/* A reference of ksmd's, if @pfn is a page of a large folio; it goes with ks_large_put(). */
void ks_large_hold(struct ks_ksm *ksm, enum ks_held who, ks_pfn pfn);
void ks_large_put(struct ks_ksm *ksm, enum ks_held who);
/* How many of a frame's references are those. */
static inline uint32_t ks_large_held(const struct ks_ksm *ksm, ks_pfn pfn)
{
	uint32_t nr = 0;

	for (unsigned who = 0; who < KS_HELD_NR; who++)
		nr += ksm->held[who] == pfn;
	return nr;
}
/* The large folio of @pfn, of which ksmd holds one reference, into single pages. */
bool ks_large_split(struct ks_ksm *ksm, ks_pfn pfn);
bool ks_large_same(const struct ks_ksm *ksm, ks_pfn pfn, ks_pfn other);
/* May @pfn's folio be split, to merge @pfn with @partner? true for a small page. */
bool ks_large_may_split(struct ks_ksm *ksm, ks_pfn pfn, ks_pfn partner);

/* ---- ksm_scan.c ---- */

/* One batch of ksmd; the pages visited. Models: ksm_do_scan(). */
uint64_t ks_ksm_batch(struct ks_ksm *ksm, uint64_t pages);
/* The cursor enters the slot it stands on from its start. */
void ks_cursor_enter(struct ks_ksm *ksm);

/* ---- ksm.c ---- */

/* The bells of floor 4, to be wired by the machine. */
struct ks_mm_hooks ks_ksm_hooks(struct ks_ksm *ksm);
void ks_ksm_watched(void *ksm, void *mm, uint64_t vpn, struct ks_leaf *leaf);
/* Take the slot off the list; an mm without users is freed with it. */
void ks_slot_remove(struct ks_ksm *ksm, uint32_t slot);
/* PR_SET_MEMORY_MERGE; 0 or -ENOMEM */
long ks_ksm_merge_any(struct ks_ksm *ksm, struct ks_mm *mm, bool on);
/* run=2: un-merge everything; 0 or -ENOMEM */
long ks_ksm_unmerge_all(struct ks_ksm *ksm);
/* max_page_sharing, merge_across_nodes: 0 or -EBUSY */
long ks_ksm_reshape(struct ks_ksm *ksm);
bool ks_vma_compatible(uint32_t vm_flags);
/* a KSM page moved (for ks_access_migrate) */
void ks_ksm_moved(void *ksm, ks_pfn from, ks_pfn to);
/* The first invariant of this floor that does not hold, or NULL. */
const char *ks_ksm_check(struct ks_ksm *ksm);

#endif
