/*
 * frame.h - floor 2: frames, named by pfn, 8 bytes each.
 *
 * meta = mapcount << KS_FRAME_FLAG_BITS | flags. A frame's references are
 *   mapcount + (LRU batch ? 1 : 0) + (swap cache ? 1 : 0) + gets + 1024 * pins
 * where gets and pins live in a side map (KS_FRAME_EXTRA), since almost no
 * frame has any. The mlock and lazyfree batches (lru.h) hold gets. ksmd's own reference
 * of a visit is accounted by its code.
 *
 * pfn 0 is none, pfn 1 the zero page (never counted, never freed). With more
 * than one NUMA node the node is the top bits of the pfn: ks_frame_nid().
 *
 * The next bit below the node (block_bit) tells two kinds of frames apart: single
 * ones, whose struct is in the node's pool, and those of a *block*: as many as a
 * PMD maps, aligned, where large folios live (folio.h). The frames of a block
 * need no memory as long as all are pages of zeros that no PTE maps; asked for one
 * of them, ks_frame() then answers with `blank`, which nobody may change.
 * When a folio is split its pages stay in the block as single pages.
 *
 * Freed frames are reused oldest first and only while more than
 * KS_FRAME_QUARANTINE are free, so that in a short run a pfn is a name that is never given twice.
 */
#ifndef KS_FRAME_H
#define KS_FRAME_H

#include "content.h"

typedef uint32_t ks_pfn;

#define KS_PFN_NONE 0u
#define KS_PFN_ZERO 1u
#define KS_FRAME_QUARANTINE 65536u
#define KS_NODES_MAX 16u
#define KS_PIN_BIAS 1024u /* GUP_PIN_COUNTING_BIAS */

enum ks_frame_flag {
	KS_FRAME_EXCLUSIVE = 1,	 /* AnonExclusive */
	KS_FRAME_KSM = 2,	 /* mapping word carries the KSM mark */
	KS_FRAME_LRU_BATCH = 4,	 /* on no LRU list yet, in a per-CPU batch: one more reference */
	KS_FRAME_EXTRA = 8,	 /* has gets or pins */
	KS_FRAME_LAZYFREE = 16,	 /* not swapbacked: MADV_FREE */
	KS_FRAME_DIRTY = 32,	 /* PG_dirty */
	KS_FRAME_SWAPCACHE = 64, /* the swap cache holds one reference */
	KS_FRAME_LARGE = 128, /* page of a large folio: references and most flags are the folio's */
	KS_FRAME_MLOCKED = 256,
	KS_FRAME_UNEVICTABLE = 512, /* on the unevictable list: a locked VMA maps it */
};
#define KS_FRAME_FLAG_BITS 10u
#define KS_FRAME_MAPS_MAX ((1u << 22) - 2u) /* one more is KSMSIM_ELIMIT */
#define KS_ORDERS ((unsigned)KSMSIM_ORDERS)

struct ks_frame {
	ks_cid cid;    /* holds one reference of the content; free frames: next free pfn */
	uint32_t meta; /* 0 while free */
};

/* Frames [block << pmd_order, + 1 << pmd_order) of a node. */
struct ks_block {
	uint32_t frames; /* in block_frames; 0: every page is blank */
	uint32_t folio;	 /* the folio that is all of it, or 0 */
	uint32_t
		parts; /* in block_parts: folios smaller than the block, by their first four pages; 0 */
	uint32_t live; /* pages in use; of a free block: the next free one */
};

/* Where the next folio of one order below PMD order is cut from. */
struct ks_open_block {
	uint32_t block, next; /* next: first page not given out yet */
};

struct ks_node_frames {
	struct ks_pool pool; /* struct ks_frame */
	uint32_t free_head, free_tail, nr_free;
	struct ks_pool blocks; /* struct ks_block */
	uint32_t free_block_head, free_block_tail, nr_free_blocks;
	struct ks_open_block open[KS_ORDERS];
};

/* A per-CPU batch of pages that are on an LRU list and will change it; each is held. Frames may be
 * in it several times. Entries: pfn << 2 | what is to happen: lru.c. */
struct ks_lru_batch {
	uint64_t *list;
	uint32_t nr, max;
};

struct ks_frames {
	struct ks_contents *contents;
	struct ks_node_frames node[KS_NODES_MAX];
	unsigned nr_nodes, nid_shift; /* nid = pfn >> nid_shift; 32 with one node */
	uint32_t block_bit;	      /* of a pfn: it is of a block */
	unsigned pmd_order;
	struct ks_frame blank;	     /* of a page that nobody wrote to or mapped by PTE */
	struct ks_pool block_frames; /* struct ks_frame [1 << pmd_order] */
	struct ks_pool block_parts;  /* uint32_t [1 << (pmd_order - 2)] */
	struct ks_pool folios;	     /* struct ks_folio */
	uint32_t split_head, split_tail, nr_split_queue; /* deferred split queue: folios */
	uint64_t nr_anon_thps;				 /* folios with at least one PMD mapping */
	uint64_t nr_thp_blocks;				 /* blocks that hold a folio of PMD order */
	struct ks_map extra;				 /* pfn -> pins << 32 | gets */
	ks_pfn lru_batch[31];
	ks_pfn *lru_more; /* beyond one batch, only while knob lru_drain = 0 */
	uint32_t nr_lru_batch, nr_lru_more, lru_more_max;
	struct ks_lru_batch mlock, lazyfree, activate, deactivate;
	struct ks_map mlock_counts; /* pfn, of a folio its head: lru.h */
	struct ks_map marks;	    /* of single frames: lru_mark.c */
	struct ks_map poisoned;	    /* pfn -> 1: its memory failed; the zero page, too */
	uint64_t nr_used;
	/* the bell upstairs: a KSM frame lost its last reference; called before it is freed */
	void (*ksm_freed)(void *self, ks_pfn pfn);
	void *self;
};

void ks_frames_init(struct ks_env *env, struct ks_frames *frames, struct ks_contents *contents,
		    unsigned nr_nodes, unsigned pmd_order);
void ks_frames_destroy(struct ks_env *env, struct ks_frames *frames);

static inline unsigned ks_frame_nid(const struct ks_frames *frames, ks_pfn pfn)
{
	return frames->nid_shift >= 32 ? 0 : pfn >> frames->nid_shift;
}

/* folio.c: the frame of a page of a block, or blank */
struct ks_frame *ks_block_frame(const struct ks_frames *frames, ks_pfn pfn);

static inline struct ks_frame *ks_frame(const struct ks_frames *frames, ks_pfn pfn)
{
	const unsigned nid = ks_frame_nid(frames, pfn);

	if (__builtin_expect(pfn & frames->block_bit, 0))
		return ks_block_frame(frames, pfn);

	const uint32_t idx = frames->nid_shift >= 32 ? pfn : pfn & ((1u << frames->nid_shift) - 1);

	return ks_pool_at(&frames->node[nid].pool, idx);
}

static inline uint32_t ks_frame_maps(const struct ks_frame *frame)
{
	return frame->meta >> KS_FRAME_FLAG_BITS;
}

static inline bool ks_frame_test(const struct ks_frame *frame, enum ks_frame_flag flag)
{
	return frame->meta & (uint32_t)flag;
}

static inline void ks_frame_flag(struct ks_frame *frame, enum ks_frame_flag flag, bool on)
{
	frame->meta = on ? frame->meta | (uint32_t)flag : frame->meta & ~(uint32_t)flag;
}

/* A new anonymous frame on @nid, one mapping, exclusive, holding @cid (the caller's reference of
 * @cid moves in). With @lru it goes into the LRU add batch. KS_PFN_NONE: the simulated kernel has
 * no memory (injected). */
ks_pfn ks_frame_alloc(struct ks_env *env, struct ks_frames *frames, unsigned nid, ks_cid cid,
		      bool lru);
/* One more / one less mapping; the frame is freed with its last reference. Zero page: nothing.
 * Not for pages of large folios: folio.h. */
void ks_frame_map(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
void ks_frame_unmap(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
/* Plain references and pins that outlive an operation; of a large folio's page: of the folio. */
void ks_frame_hold(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t gets,
		   uint32_t pins);
void ks_frame_release(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t gets,
		      uint32_t pins);
/* the swap cache lets go of the frame: clears KS_FRAME_SWAPCACHE, frees with the last reference */
void ks_frame_uncache(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
uint32_t ks_frame_refs(const struct ks_frames *frames, ks_pfn pfn);
uint32_t ks_frame_pins(const struct ks_frames *frames, ks_pfn pfn);
/* The simulated machine has this many pages left: knob memory_pages. */
bool ks_frames_have_room(const struct ks_env *env, const struct ks_frames *frames, uint64_t pages);
/* The memory of the frame failed, of a page of a large folio or not: PG_hwpoison. It will never be
 * free again: without its last reference it is held for good. */
void ks_frame_poison(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
static inline bool ks_frame_is_poisoned(const struct ks_frames *frames, ks_pfn pfn)
{
	return frames->poisoned.nr && ks_map_find(&frames->poisoned, pfn);
}
/* Any of @nr frames from @pfn on? */
bool ks_frames_any_poisoned(const struct ks_frames *frames, ks_pfn pfn, uint32_t nr);
/* Frees a single frame that has no reference; nothing if it has one or is free already. */
void ks_frame_free_if_unused(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
/* false if free or never allocated */
bool ks_frame_live(const struct ks_frames *frames, ks_pfn pfn);
/* the content changes in place; the caller's reference of @cid moves in, the old one is put */
void ks_frame_set_content(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, ks_cid cid);
uint64_t ks_frames_memory(const struct ks_frames *frames);
/* free lists, batch and counts agree; false if not. O(frames) */
bool ks_frames_check(const struct ks_frames *frames);

#endif
