/*
 * lru.c - floor 2: the LRU batches, mlock counts, lazily freed pages.
 *
 * Batches hold one reference for each of their entries:
 *
 *	add		new frames
 *	mlock		frames that a locked VMA begins or ceases to map, and its new ones
 *	lazyfree	frames given MADV_FREE
 *	activate	frames that were marked twice (lru_mark.c)
 *	deactivate	active ones given MADV_COLD
 *
 * A full one is drained alone, as the kernel drains a folio_batch; all other
 * draining is of all. Frames that nobody maps any more are freed by that.
 *
 * What could surprise: KSM cannot merge a page that waits in a batch, nor is the
 * node of a KSM page stale as long; so memory that was locked behaves otherwise.
 * The kernel's mlock_count is a guess that reclaim would correct: it starts at 0
 * for a page that was locked before it came onto a list, and any mapping of a locked
 * VMA that ends takes one off, counted or not. With the knob lru_drain off nothing
 * leaves the batches but through ks_lru_drain(), so they grow without bound (lru_more).
 *
 * Models: mm/swap.c:folio_add_lru(), lru_add(), folio_mark_lazyfree(), lru_add_drain();
 * mm/mlock.c:mlock_folio(), munlock_folio(), __mlock_folio(), __munlock_folio().
 * Differs: files fill no place in the mlock batch.
 */
#include "lru.h"

/* What happens to a frame in the mlock batch when it is drained. */
enum batch_entry { MLOCK, MLOCK_NEW, MUNLOCK };

/* ---- flags and counts ---- */

bool ks_lru_is_mlocked(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	return folio ? ks_folio_test(folio, KS_FOLIO_MLOCKED)
		     : ks_frame_test(ks_frame(frames, pfn), KS_FRAME_MLOCKED);
}

static bool is_unevictable(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	return folio ? ks_folio_test(folio, KS_FOLIO_UNEVICTABLE)
		     : ks_frame_test(ks_frame(frames, pfn), KS_FRAME_UNEVICTABLE);
}

static void set_mlocked(struct ks_frames *frames, ks_pfn pfn, bool on)
{
	struct ks_folio *folio = ks_folio_of(frames, pfn);

	if (folio)
		ks_folio_flag(folio, KS_FOLIO_MLOCKED, on);
	else
		ks_frame_flag(ks_frame(frames, pfn), KS_FRAME_MLOCKED, on);
}

static void set_unevictable(struct ks_frames *frames, ks_pfn pfn, bool on)
{
	struct ks_folio *folio = ks_folio_of(frames, pfn);

	if (folio)
		ks_folio_flag(folio, KS_FOLIO_UNEVICTABLE, on);
	else
		ks_frame_flag(ks_frame(frames, pfn), KS_FRAME_UNEVICTABLE, on);
}

/* A large folio goes by its head. */
static ks_pfn name_of(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	return folio ? folio->head : pfn;
}

/* Of an unevictable page. Almost all counts are 1: only others are kept. */
static uint64_t mlock_count(const struct ks_frames *frames, ks_pfn pfn)
{
	const uint64_t *count = ks_map_find(&frames->mlock_counts, name_of(frames, pfn));

	return count ? *count : 1;
}

static void set_mlock_count(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn,
			    uint64_t count)
{
	if (count == 1)
		ks_map_delete(&frames->mlock_counts, name_of(frames, pfn));
	else
		ks_map_set(env, &frames->mlock_counts, name_of(frames, pfn), count);
}

static void make_unevictable(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn,
			     uint64_t count)
{
	set_unevictable(frames, pfn, true);
	set_mlock_count(env, frames, pfn, count);
	ks_lru_set_marks(env, frames, pfn, ks_lru_marks(frames, pfn) & ~(unsigned)KS_LRU_ACTIVE);
}

static void make_evictable(struct ks_frames *frames, ks_pfn pfn)
{
	if (!is_unevictable(frames, pfn))
		return;
	set_unevictable(frames, pfn, false);
	ks_map_delete(&frames->mlock_counts, name_of(frames, pfn));
}

void ks_lru_forget(struct ks_frames *frames, ks_pfn pfn)
{
	make_evictable(frames, pfn);
	ks_lru_forget_marks(frames, pfn);
}

struct ks_lru_lock ks_lru_lock_of(const struct ks_frames *frames, ks_pfn pfn)
{
	return (struct ks_lru_lock){ .mlocked = ks_lru_is_mlocked(frames, pfn),
				     .unevictable = is_unevictable(frames, pfn),
				     .count = mlock_count(frames, pfn),
				     .marks = ks_lru_marks(frames, pfn) };
}

void ks_lru_set_lock(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn,
		     struct ks_lru_lock lock)
{
	set_mlocked(frames, pfn, lock.mlocked);
	ks_lru_set_marks(env, frames, pfn, lock.marks);
	if (lock.unevictable)
		make_unevictable(env, frames, pfn, lock.count);
}

/* Large folios are on their list from the first moment. */
static bool is_on_list(const struct ks_frames *frames, ks_pfn pfn)
{
	return !ks_frame_test(ks_frame(frames, pfn), KS_FRAME_LRU_BATCH);
}

/* Models: __mlock_folio(). */
static void count_mlock(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	if (!is_on_list(frames, pfn))
		return;
	if (!ks_lru_is_mlocked(frames, pfn))
		make_evictable(frames, pfn);
	else if (is_unevictable(frames, pfn))
		set_mlock_count(env, frames, pfn, mlock_count(frames, pfn) + 1);
	else
		make_unevictable(env, frames, pfn, 1);
}

/* Models: __munlock_folio(). */
static void count_munlock(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	const bool unevictable = is_on_list(frames, pfn) && is_unevictable(frames, pfn);
	const uint64_t count = unevictable ? mlock_count(frames, pfn) : 0;

	if (count > 1) {
		set_mlock_count(env, frames, pfn, count - 1);
		return;
	}
	set_mlocked(frames, pfn, false);
	if (unevictable)
		make_evictable(frames, pfn);
}

/* ---- draining ---- */

/* The page comes onto a list; @count if it is the unevictable one. */
static void put_on_list(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint64_t count)
{
	struct ks_frame *frame = ks_frame(frames, pfn);

	ks_frame_flag(frame, KS_FRAME_LRU_BATCH, false);
	if (ks_frame_test(frame, KS_FRAME_MLOCKED))
		make_unevictable(env, frames, pfn, count);
	else
		make_evictable(frames, pfn);
	ks_frame_free_if_unused(env, frames, pfn);
}

static void drain_added(struct ks_env *env, struct ks_frames *frames)
{
	for (uint32_t i = 0; i < frames->nr_lru_batch; i++)
		put_on_list(env, frames, frames->lru_batch[i], 0);
	for (uint32_t i = 0; i < frames->nr_lru_more; i++)
		put_on_list(env, frames, frames->lru_more[i], 0);
	frames->nr_lru_batch = 0;
	frames->nr_lru_more = 0;
}

static void drain_lazyfree(struct ks_env *env, struct ks_frames *frames)
{
	for (uint32_t i = 0; i < frames->lazyfree.nr; i++) {
		const ks_pfn pfn = (ks_pfn)(frames->lazyfree.list[i] >> 2);
		struct ks_frame *frame = ks_frame(frames, pfn);

		if (!(frame->meta &
		      (KS_FRAME_SWAPCACHE | KS_FRAME_UNEVICTABLE | KS_FRAME_LAZYFREE))) {
			ks_frame_flag(frame, KS_FRAME_LAZYFREE, true);
			ks_lru_set_marks(env, frames, pfn, 0);
		}
		ks_frame_release(env, frames, pfn, 1, 0);
	}
	frames->lazyfree.nr = 0;
}

/* The page goes to another list, unless it became unevictable. */
static void drain_moved(struct ks_env *env, struct ks_frames *frames, struct ks_lru_batch *batch,
			bool active)
{
	for (uint32_t i = 0; i < batch->nr; i++) {
		const ks_pfn pfn = (ks_pfn)(batch->list[i] >> 2);
		const unsigned marks = ks_lru_marks(frames, pfn);

		if (!is_unevictable(frames, pfn) && !(marks & KS_LRU_ACTIVE) == active)
			ks_lru_set_marks(env, frames, pfn, active ? marks | KS_LRU_ACTIVE : 0);
		ks_frame_release(env, frames, pfn, 1, 0);
	}
	batch->nr = 0;
}

static void drain_mlock(struct ks_env *env, struct ks_frames *frames)
{
	for (uint32_t i = 0; i < frames->mlock.nr; i++) {
		const ks_pfn pfn = (ks_pfn)(frames->mlock.list[i] >> 2);
		const enum batch_entry what = frames->mlock.list[i] & 3;

		if (what == MLOCK_NEW) {
			put_on_list(env, frames, pfn, 1);
			continue;
		}
		if (what == MLOCK)
			count_mlock(env, frames, pfn);
		else
			count_munlock(env, frames, pfn);
		ks_frame_release(env, frames, pfn, 1, 0);
	}
	frames->mlock.nr = 0;
}

void ks_lru_drain(struct ks_env *env, struct ks_frames *frames)
{
	drain_added(env, frames);
	drain_moved(env, frames, &frames->deactivate, false);
	drain_lazyfree(env, frames);
	drain_moved(env, frames, &frames->activate, true);
	drain_mlock(env, frames);
}

void ks_lru_drain_local(struct ks_env *env, struct ks_frames *frames)
{
	if (env->knob.lru_drain)
		ks_lru_drain(env, frames);
}

void ks_lru_drain_mlock(struct ks_env *env, struct ks_frames *frames)
{
	if (env->knob.lru_drain)
		drain_mlock(env, frames);
}

/* ---- adding ---- */

static uint32_t lru_batch_size(const struct ks_env *env)
{
	return env->feature[KS_FEAT_lru_batch_31] ? 31 : 15;
}

/* Makes sure that one more frame can wait. */
void ks_lru_reserve(struct ks_env *env, struct ks_frames *frames)
{
	uint32_t max;

	if (frames->nr_lru_batch < lru_batch_size(env) ||
	    frames->nr_lru_more < frames->lru_more_max)
		return;
	max = frames->lru_more_max ? 2 * frames->lru_more_max : 64;
	frames->lru_more = ks_realloc(env, frames->lru_more, max * sizeof(*frames->lru_more));
	frames->lru_more_max = max;
}

void ks_lru_add(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	const uint32_t size = lru_batch_size(env);

	ks_frame_flag(ks_frame(frames, pfn), KS_FRAME_LRU_BATCH, true);
	if (frames->nr_lru_batch < size)
		frames->lru_batch[frames->nr_lru_batch++] = pfn;
	else
		frames->lru_more[frames->nr_lru_more++] = pfn;
	if (frames->nr_lru_batch >= size && env->knob.lru_drain)
		drain_added(env, frames);
}

/* Room for one more entry first: nothing may fail once the frame is held. */
static void batch_add(struct ks_env *env, struct ks_lru_batch *batch, uint64_t entry)
{
	if (batch->nr == batch->max) {
		const uint32_t max = batch->max ? 2 * batch->max : 32;

		batch->list = ks_realloc(env, batch->list, max * sizeof(*batch->list));
		batch->max = max;
	}
	batch->list[batch->nr++] = entry;
}

static bool is_full(const struct ks_env *env, const struct ks_lru_batch *batch)
{
	return batch->nr >= lru_batch_size(env) && env->knob.lru_drain;
}

static void mlock_add(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn,
		      enum batch_entry what)
{
	ks_frame_hold(env, frames, pfn, 1, 0);
	batch_add(env, &frames->mlock, (uint64_t)pfn << 2 | what);
	if (is_full(env, &frames->mlock))
		drain_mlock(env, frames);
}

void ks_lru_mlock(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	if (pfn == KS_PFN_ZERO)
		return;
	set_mlocked(frames, pfn, true);
	if (!ks_pfn_is_large(frames, pfn)) {
		mlock_add(env, frames, pfn, MLOCK);
		return;
	}
	ks_lru_drain_mlock(env, frames);
	count_mlock(env, frames, pfn);
}

void ks_lru_munlock(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, bool pmd)
{
	if (pfn == KS_PFN_ZERO)
		return;
	if (!ks_pfn_is_large(frames, pfn)) {
		mlock_add(env, frames, pfn, MUNLOCK);
	} else if (pmd || env->feature[KS_FEAT_zap_batched]) {
		ks_lru_drain_mlock(env, frames);
		count_munlock(env, frames, pfn);
	}
}

void ks_lru_mlock_new(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	batch_add(env, &frames->mlock, (uint64_t)pfn << 2 | MLOCK_NEW);
	ks_frame_flag(ks_frame(frames, pfn), KS_FRAME_LRU_BATCH, true);
	ks_frame_flag(ks_frame(frames, pfn), KS_FRAME_MLOCKED, true);
	if (is_full(env, &frames->mlock))
		drain_mlock(env, frames);
}

void ks_lru_add_large(struct ks_env *env, struct ks_frames *frames, ks_pfn head, bool locked)
{
	if (locked) {
		ks_lru_mlock(env, frames, head);
		return;
	}
	if (env->knob.lru_drain)
		drain_added(env, frames);
}

void ks_lru_putback(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	if (pfn == KS_PFN_ZERO || !is_on_list(frames, pfn))
		return;
	ks_lru_reserve(env, frames);
	ks_lru_add(env, frames, pfn);
}

void ks_lru_lazyfree(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	struct ks_folio *folio = ks_folio_of(frames, pfn);

	if (is_unevictable(frames, pfn) || !is_on_list(frames, pfn))
		return;
	if (folio) {
		if (env->knob.lru_drain)
			drain_lazyfree(env, frames);
		if (!ks_folio_test(folio, KS_FOLIO_LAZYFREE))
			ks_lru_set_marks(env, frames, pfn, 0);
		ks_folio_flag(folio, KS_FOLIO_LAZYFREE, true);
		return;
	}
	if (ks_frame(frames, pfn)->meta & (KS_FRAME_LAZYFREE | KS_FRAME_SWAPCACHE))
		return;
	ks_frame_hold(env, frames, pfn, 1, 0);
	batch_add(env, &frames->lazyfree, (uint64_t)pfn << 2);
	if (is_full(env, &frames->lazyfree))
		drain_lazyfree(env, frames);
}

/* A page waits for another list, and may do so several times. */
static void move(struct ks_env *env, struct ks_frames *frames, struct ks_lru_batch *batch,
		 ks_pfn pfn, bool active)
{
	ks_frame_hold(env, frames, pfn, 1, 0);
	batch_add(env, batch, (uint64_t)pfn << 2);
	if (is_full(env, batch))
		drain_moved(env, frames, batch, active);
}

static bool is_added(const struct ks_frames *frames, ks_pfn pfn)
{
	for (uint32_t i = 0; i < frames->nr_lru_batch; i++) {
		if (frames->lru_batch[i] == pfn)
			return true;
	}
	for (uint32_t i = 0; i < frames->nr_lru_more; i++) {
		if (frames->lru_more[i] == pfn)
			return true;
	}
	return false;
}

void ks_lru_activate(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	const unsigned marks = ks_lru_marks(frames, pfn);
	const bool large = ks_pfn_is_large(frames, pfn);

	if (large && env->knob.lru_drain)
		drain_moved(env, frames, &frames->activate, true);
	if (large || is_added(frames, pfn))
		ks_lru_set_marks(env, frames, pfn, marks | KS_LRU_ACTIVE);
	else if (is_on_list(frames, pfn))
		move(env, frames, &frames->activate, pfn, true);
}

void ks_lru_deactivate(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn)
{
	const unsigned marks = ks_lru_marks(frames, pfn);
	const bool large = ks_pfn_is_large(frames, pfn);

	ks_lru_set_marks(env, frames, pfn, marks & ~(unsigned)KS_LRU_REFERENCED);
	if (!(marks & KS_LRU_ACTIVE) || is_unevictable(frames, pfn))
		return;
	if (large && env->knob.lru_drain)
		drain_moved(env, frames, &frames->deactivate, false);
	if (large)
		ks_lru_set_marks(env, frames, pfn, 0);
	else if (is_on_list(frames, pfn))
		move(env, frames, &frames->deactivate, pfn, false);
}

/* ---- check ---- */

static bool waits(const struct ks_frames *frames, ks_pfn pfn)
{
	return ks_frame_test(ks_frame(frames, pfn), KS_FRAME_LRU_BATCH);
}

static bool check_added(const struct ks_frames *frames)
{
	for (uint32_t i = 0; i < frames->nr_lru_batch; i++) {
		if (!waits(frames, frames->lru_batch[i]))
			return false;
	}
	for (uint32_t i = 0; i < frames->nr_lru_more; i++) {
		if (!waits(frames, frames->lru_more[i]))
			return false;
	}
	return true;
}

/* Every entry holds its frame, by its flag if it is new. The number of new ones to *nr. */
static bool check_held(const struct ks_frames *frames, const struct ks_lru_batch *batch,
		       uint64_t *nr)
{
	for (uint32_t i = 0; i < batch->nr; i++) {
		const bool is_new = (batch->list[i] & 3) == MLOCK_NEW;
		const struct ks_frame *frame = ks_frame(frames, (ks_pfn)(batch->list[i] >> 2));

		if (!ks_frame_test(frame, is_new ? KS_FRAME_LRU_BATCH : KS_FRAME_EXTRA))
			return false;
		*nr += is_new;
	}
	return true;
}

static bool check_counts(const struct ks_frames *frames)
{
	for (uint32_t i = 0; i < frames->mlock_counts.capacity; i++) {
		const ks_pfn pfn = (ks_pfn)frames->mlock_counts.slots[2 * (size_t)i];

		if (pfn && !(ks_frame_live(frames, pfn) && name_of(frames, pfn) == pfn &&
			     is_unevictable(frames, pfn)))
			return false;
	}
	return true;
}

bool ks_lru_check(const struct ks_frames *frames, uint64_t waiting)
{
	uint64_t nr = (uint64_t)frames->nr_lru_batch + frames->nr_lru_more;

	return check_added(frames) && check_held(frames, &frames->mlock, &nr) &&
	       check_held(frames, &frames->lazyfree, &nr) &&
	       check_held(frames, &frames->activate, &nr) &&
	       check_held(frames, &frames->deactivate, &nr) && nr == waiting &&
	       check_counts(frames) && ks_lru_check_marks(frames);
}
