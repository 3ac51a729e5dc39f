/*
 * lru.h - floor 2: the batches in front of the LRU lists, and who is mlocked.
 *
 * The lists themselves have no order here; what can be seen of them is that a
 * page waiting in a batch has one more reference, and that a page on the
 * unevictable list cannot be freed lazily.
 *
 * KS_FRAME_MLOCKED follows mlock at once, KS_FRAME_UNEVICTABLE when the batch is
 * drained; while it is set the folio has an mlock_count: how many locked mappings
 * were counted, which need not be how many there are. Of a large folio the same two
 * flags are in the folio, and it waits in no batch.
 */
#ifndef KS_LRU_H
#define KS_LRU_H

#include "folio.h"

/* of any page, also one of a large folio */
bool ks_lru_is_mlocked(const struct ks_frames *frames, ks_pfn pfn);

/* A new frame into the add batch. ks_lru_reserve() before it: nothing fails then. */
void ks_lru_reserve(struct ks_env *env, struct ks_frames *frames);
void ks_lru_add(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
/* A locked VMA begins to map the page (all of a large folio), or the call mlock() reaches it.
 * Models: mlock_folio(). */
void ks_lru_mlock(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
/* A mapping in a locked VMA is about to end, or the call munlock() reaches it: of a PMD, or of
 * PTEs; before 6.7 PTEs of large folios were not counted. Models: munlock_folio(). */
void ks_lru_munlock(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, bool pmd);
/* A frame made for a locked VMA, instead of the add batch. Models: mlock_new_folio() */
void ks_lru_mlock_new(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
/* The same of a new large folio, or for any other VMA folio_add_lru(): it waits in no batch, but
 * takes along what waits in the one it would be in. */
void ks_lru_add_large(struct ks_env *env, struct ks_frames *frames, ks_pfn head, bool locked);
/* A small page that was taken off its LRU list goes back to it by way of the add batch.
 * Models: folio_putback_lru(). */
void ks_lru_putback(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
/* MADV_FREE: KS_FRAME_LAZYFREE once the batch is drained. Models: folio_mark_lazyfree(). */
void ks_lru_lazyfree(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);

/* ---- lru_mark.c: marks that reclaim goes by ---- */

enum ks_lru_mark { KS_LRU_REFERENCED = 1, KS_LRU_ACTIVE = 2 };

/* Of any page, enum ks_lru_mark or'ed. */
unsigned ks_lru_marks(const struct ks_frames *frames, ks_pfn pfn);
void ks_lru_set_marks(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, unsigned marks);
/* The page is found without a fault: get_user_pages_fast(). */
void ks_lru_referenced(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
/* FOLL_TOUCH: referenced, or the second time active. Models: folio_mark_accessed(). */
void ks_lru_accessed(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
/* The frame has got KS_FRAME_KSM, and so was accessed. */
void ks_lru_became_ksm(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
void ks_lru_forget_marks(struct ks_frames *frames, ks_pfn pfn);
bool ks_lru_check_marks(const struct ks_frames *frames);
/* lru.c: a page on a list becomes active once the batch is drained, a large folio at once.
 * Models: folio_activate(). */
void ks_lru_activate(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);
/* Not referenced any more, and by the same way not active. Models: folio_deactivate(). */
void ks_lru_deactivate(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn);

/* ---- locks ---- */

/* What goes along with a page that moves, or to the parts of a folio that is split. */
struct ks_lru_lock {
	bool mlocked, unevictable;
	uint64_t count; /* mlock_count, if unevictable */
	unsigned marks; /* enum ks_lru_mark */
};

struct ks_lru_lock ks_lru_lock_of(const struct ks_frames *frames, ks_pfn pfn);
void ks_lru_set_lock(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn,
		     struct ks_lru_lock lock);
/* The page is on no list any more: it is freed. */
void ks_lru_forget(struct ks_frames *frames, ks_pfn pfn);

/* lru_add_drain_all(): all batches */
void ks_lru_drain(struct ks_env *env, struct ks_frames *frames);
/* where a one-CPU kernel drains its own batches (populate, mlock, ...): only if knob lru_drain */
void ks_lru_drain_local(struct ks_env *env, struct ks_frames *frames);
/* mlock_drain_local(): the mlock batch, only if knob lru_drain */
void ks_lru_drain_mlock(struct ks_env *env, struct ks_frames *frames);

/* What the batches hold is held, and no other of the @waiting frames that have KS_FRAME_LRU_BATCH;
 * no count is left of a page that is evictable or free, and no mark of one that is free. */
bool ks_lru_check(const struct ks_frames *frames, uint64_t waiting);

#endif
