/*
 * folio.h - floor 2: large folios: 2^order frames with one life.
 *
 * A folio of PMD order is a block (frame.h). Smaller ones, order 2 and up, are
 * cut from blocks of their own, one block for each order and node; a split
 * leaves its pieces where they were.
 *
 *	references = maps + gets        maps = entire + all PTE mappings
 *	mappings of a page = its frame's (PTEs) + entire (PMDs)
 *
 * A PMD-mapped folio that nobody mapped page by page is this struct and a
 * struct ks_block: its frames appear with the first PTE or the first byte that
 * is not zero.
 *
 * What could surprise: AnonExclusive is in the folio while a PMD maps it and in
 * each frame after a PMD split, as in the kernel; a page whose last mapping
 * went is still a page of the folio, with its content, until the folio is split
 * or freed. A pin counts as one get and one pin of the folio.
 *
 * Models: include/linux/mm_types.h:struct folio; include/linux/rmap.h:
 * __folio_add_anon_rmap(), __folio_remove_rmap(), folio_set_large_mapcount();
 * mm/huge_memory.c:deferred_split_folio(), __folio_split().
 */
#ifndef KS_FOLIO_H
#define KS_FOLIO_H

#include "frame.h"

enum ks_folio_flag {
	KS_FOLIO_EXCLUSIVE = 1, /* AnonExclusive of the head, while a PMD maps the folio */
	KS_FOLIO_DIRTY = 2,	/* PG_dirty */
	KS_FOLIO_LAZYFREE = 4,	/* not swapbacked: MADV_FREE */
	KS_FOLIO_MLOCKED = 8,
	KS_FOLIO_SHARED = 16,  /* folio_maybe_mapped_shared() with mm ids */
	KS_FOLIO_PARTIAL = 32, /* partially mapped; stays until a split */
	KS_FOLIO_QUEUED = 64,  /* on the deferred split queue */
	KS_FOLIO_UNEVICTABLE = 128,
	KS_FOLIO_REFERENCED = 256,
	KS_FOLIO_ACTIVE = 512,
};

struct ks_folio {
	ks_pfn head;
	uint8_t order, nid;
	uint16_t flags;	     /* enum ks_folio_flag */
	uint32_t entire;     /* PMD mappings */
	uint32_t maps;	     /* large mapcount: a PMD mapping counts 1, a PTE mapping 1 */
	uint32_t mapped;     /* pages that have a PTE mapping */
	uint32_t gets, pins; /* references that are not mappings; a pin is among the gets */
	uint32_t mm[2];	     /* the mms of the two slots, 0: free */
	uint32_t mm_maps[2]; /* their mappings */
	uint32_t prev, next; /* deferred split queue */
	uint32_t root; /* where it belongs: root of the anon_vma, and page offset of the head */
	uint64_t index;
};

_Static_assert(sizeof(struct ks_folio) == 64, "one cache line");

static inline struct ks_folio *ks_folio(const struct ks_frames *frames, uint32_t id)
{
	return ks_pool_at(&frames->folios, id);
}

static inline bool ks_folio_test(const struct ks_folio *folio, enum ks_folio_flag flag)
{
	return folio->flags & (uint32_t)flag;
}

static inline void ks_folio_flag(struct ks_folio *folio, enum ks_folio_flag flag, bool on)
{
	folio->flags =
		(uint16_t)(on ? folio->flags | (uint32_t)flag : folio->flags & ~(uint32_t)flag);
}

static inline uint32_t ks_folio_pages(const struct ks_folio *folio)
{
	return UINT32_C(1) << folio->order;
}

/* The huge zero folio: a block that nothing is ever counted of. Its pages are in no zero PTE. */
static inline ks_pfn ks_huge_zero(const struct ks_frames *frames)
{
	return frames->block_bit | UINT32_C(1) << frames->pmd_order;
}

/* Is @pfn a page of a large folio? */
static inline bool ks_pfn_is_large(const struct ks_frames *frames, ks_pfn pfn)
{
	return pfn & frames->block_bit && ks_frame_test(ks_frame(frames, pfn), KS_FRAME_LARGE);
}

/* Id of the large folio that @pfn is a page of; 0: a small folio. */
uint32_t ks_folio_id(const struct ks_frames *frames, ks_pfn pfn);
/* The same as a pointer, or NULL. */
struct ks_folio *ks_folio_of(const struct ks_frames *frames, ks_pfn pfn);

/* ---- life ---- */

/* A new folio of zeros without any reference: the caller maps it or takes a reference at once.
 * @order: 2 .. pmd_order. 0: the simulated kernel has no memory for it. */
uint32_t ks_folio_alloc(struct ks_env *env, struct ks_frames *frames, unsigned nid, unsigned order);
/* Frees the folio if it has no reference. */
void ks_folio_put_if_unused(struct ks_env *env, struct ks_frames *frames, uint32_t id);
/* @nr plain references of the folio that @pfn is a page of (small folios: of the frame). */
void ks_folio_get(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t nr);
void ks_folio_put(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t nr);

/* ---- mappings; @mm is the id of the mm ---- */

void ks_folio_map_pmd(struct ks_env *env, struct ks_frames *frames, uint32_t id, uint32_t mm);
/* The folio is freed with its last reference, and queued if it became partially mapped. */
void ks_folio_unmap_pmd(struct ks_env *env, struct ks_frames *frames, uint32_t id, uint32_t mm);
/* @nr neighbouring pages of one folio, each by one PTE, in one step. */
void ks_folio_map_ptes(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t nr,
		       uint32_t mm);
void ks_folio_unmap_ptes(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t nr,
			 uint32_t mm);
/* A PMD mapping becomes as many PTE mappings as the folio has pages; never partially mapped. */
void ks_folio_pmd_to_ptes(struct ks_env *env, struct ks_frames *frames, uint32_t id, uint32_t mm);

/* ---- what is true of a page, large folio or not ---- */

/* precise: PTE and PMD mappings of this page */
uint32_t ks_page_mapcount(const struct ks_frames *frames, ks_pfn pfn);
bool ks_page_exclusive(const struct ks_frames *frames, ks_pfn pfn);
/* folio_maybe_mapped_shared() and what came before it, by the profile */
bool ks_page_maybe_shared(const struct ks_env *env, const struct ks_frames *frames, ks_pfn pfn);
/* PG_dirty and not swapbacked, of the folio */
bool ks_page_dirty(const struct ks_frames *frames, ks_pfn pfn);
bool ks_page_lazyfree(const struct ks_frames *frames, ks_pfn pfn);

/* ---- the deferred split queue ---- */

/* At the tail, unless it is on the queue. @partial: also becomes partially mapped, and is counted. */
void ks_folio_queue(struct ks_env *env, struct ks_frames *frames, uint32_t id, bool partial);
void ks_folio_dequeue(struct ks_frames *frames, uint32_t id);

/* ---- split: two steps, between which the caller restores the mappings ---- */

/*
 * The folio, which nothing maps any more, ends: its pages become folios of @order (0: single
 * pages), all of them, or with @uniform false only the part around @at, the rest in the largest
 * folios that fit. Flags are copied; the @held references that the caller has go to @at's folio.
 * Nothing is freed: ks_folio_settle() does that.
 */
void ks_folio_break(struct ks_env *env, struct ks_frames *frames, uint32_t id, ks_pfn at,
		    uint32_t held, unsigned order, bool uniform);
/* Frees what has no reference of the @nr frames from @head on: the pages of a folio broken up. */
void ks_folio_settle(struct ks_env *env, struct ks_frames *frames, ks_pfn head, uint32_t nr);

/* ---- for frame.c ---- */

/* The page gets a content or a reference of its own, so it needs a frame that is not blank. */
void ks_folio_need_frame(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
/* A single page of a block lost its last reference; its content was put. */
void ks_block_page_freed(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
bool ks_block_page_live(const struct ks_frames *frames, ks_pfn pfn);

/* folios, blocks, queue and counts agree; false if not. O(frames of blocks) */
bool ks_folios_check(const struct ks_env *env, const struct ks_frames *frames);

#endif
