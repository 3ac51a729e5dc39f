/*
 * lru_mark.c - floor 2: which pages are marked as referenced, and which are active.
 *
 *	referenced	asked for by address (populate, mlock, pins), or a new KSM page
 *	active		so a second time
 *
 * Two bits of each single frame, in words of 32 frames. A word is there only while one
 * of its frames is not as usual: KSM pages are referenced, others are not. Of a large
 * folio they are in its flags.
 *
 * What could surprise: what a program does with its memory leaves no mark here, only
 * in its page tables; the second time takes the first mark away; a page made active
 * waits in a batch, which holds it.
 *
 * Models: mm/swap.c:folio_mark_accessed(); include/linux/page-flags.h:PG_referenced,
 * PG_active.
 */
#include "lru.h"

#define PER_WORD 32u

static uint64_t key_of(ks_pfn pfn)
{
	return pfn / PER_WORD + UINT64_C(1);
}

static unsigned shift_of(ks_pfn pfn)
{
	return pfn % PER_WORD * 2;
}

static uint64_t *word_of(const struct ks_frames *frames, ks_pfn pfn)
{
	return frames->marks.nr ? ks_map_find(&frames->marks, key_of(pfn)) : NULL;
}

/* What is kept of a single frame: where it is not as usual. */
static unsigned stored(const struct ks_frames *frames, ks_pfn pfn)
{
	const uint64_t *word = word_of(frames, pfn);

	return word ? (unsigned)(*word >> shift_of(pfn) & 3) : 0;
}

static void store(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, unsigned bits)
{
	uint64_t *word = word_of(frames, pfn);

	if (!word) {
		if (bits)
			ks_map_set(env, &frames->marks, key_of(pfn),
				   (uint64_t)bits << shift_of(pfn));
		return;
	}
	*word = (*word & ~(UINT64_C(3) << shift_of(pfn))) | (uint64_t)bits << shift_of(pfn);
	if (!*word)
		ks_map_delete(&frames->marks, key_of(pfn));
}

static unsigned usual(const struct ks_frames *frames, ks_pfn pfn)
{
	return ks_frame_test(ks_frame(frames, pfn), KS_FRAME_KSM) ? KS_LRU_REFERENCED : 0;
}

unsigned ks_lru_marks(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	if (folio)
		return (ks_folio_test(folio, KS_FOLIO_REFERENCED) ? KS_LRU_REFERENCED : 0) |
		       (ks_folio_test(folio, KS_FOLIO_ACTIVE) ? KS_LRU_ACTIVE : 0);
	return stored(frames, pfn) ^ usual(frames, pfn);
}

void ks_lru_set_marks(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, unsigned marks)
{
	struct ks_folio *folio = ks_folio_of(frames, pfn);

	if (pfn == KS_PFN_ZERO)
		return;
	if (!folio) {
		store(env, frames, pfn, marks ^ usual(frames, pfn));
		return;
	}
	ks_folio_flag(folio, KS_FOLIO_REFERENCED, marks & KS_LRU_REFERENCED);
	ks_folio_flag(folio, KS_FOLIO_ACTIVE, marks & KS_LRU_ACTIVE);
}

void ks_lru_forget_marks(struct ks_frames *frames, ks_pfn pfn)
{
	uint64_t *word = word_of(frames, pfn);

	if (!word)
		return;
	*word &= ~(UINT64_C(3) << shift_of(pfn));
	if (!*word)
		ks_map_delete(&frames->marks, key_of(pfn));
}

void ks_lru_referenced(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	ks_lru_set_marks(env, frames, pfn, ks_lru_marks(frames, pfn) | KS_LRU_REFERENCED);
}

void ks_lru_accessed(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	const unsigned marks = ks_lru_marks(frames, pfn);

	if (pfn == KS_PFN_ZERO)
		return;
	if (!(marks & KS_LRU_REFERENCED)) {
		ks_lru_referenced(env, frames, pfn);
	} else if (!(marks & KS_LRU_ACTIVE) && !ks_lru_lock_of(frames, pfn).unevictable) {
		ks_lru_set_marks(env, frames, pfn, marks & ~(unsigned)KS_LRU_REFERENCED);
		ks_lru_activate(env, frames, pfn);
	}
}

void ks_lru_became_ksm(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	const unsigned before = stored(frames, pfn);

	if (!(before & KS_LRU_REFERENCED))
		return;
	ks_lru_set_marks(env, frames, pfn, before);
	ks_lru_accessed(env, frames, pfn);
}

/* Every word is of single frames that are in use. */
bool ks_lru_check_marks(const struct ks_frames *frames)
{
	for (uint32_t i = 0; i < frames->marks.capacity; i++) {
		const uint64_t *slot = frames->marks.slots + 2 * (size_t)i;

		for (unsigned nr = 0; slot[0] && nr < PER_WORD; nr++) {
			const ks_pfn pfn = (ks_pfn)((slot[0] - 1) * PER_WORD + nr);

			if (slot[1] >> shift_of(pfn) & 3 &&
			    (!ks_frame_live(frames, pfn) || ks_pfn_is_large(frames, pfn)))
				return false;
		}
	}
	return true;
}
