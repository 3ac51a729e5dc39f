/*
 * shrinker.c - the deferred split queue under pressure.
 *
 * The queue holds new THPs, in case they turn out to be mostly zero, and folios
 * that are partially mapped. A THP is tested once: if it has too few pages of
 * zeros, or cannot be split, it leaves the queue for good, whatever the knobs say
 * later. A folio that is partially mapped is split untested and comes back to the
 * tail if that fails.
 *
 * Reclaim asks the shrinker for a share of the queue by priority, carries over
 * what was too little to begin with, and goes on as long as there may be something
 * to get: a folio that cannot be split is tried dozens of times. Lazily freed pages go
 * first (lazyfree.c).
 *
 * What can surprise: max_ptes_none is read here and not when the THP was queued,
 * the knob shrink_underused only there. A folio stays on the queue while it is
 * being split, so that the split does not count it as queued anew.
 *
 * Models: mm/huge_memory.c:deferred_split_scan(), thp_underused();
 * mm/shrinker.c:do_shrink_slab(); mm/memcontrol-v1.c:mem_cgroup_force_empty().
 * Differs: nobody else holds a folio's lock, so what 7.3 does with a locked one
 * never happens; what lazily freed pages bring in does not count, so that force_empty
 * never gets anywhere and ends after its number of tries. How often drop_caches goes
 * round depends on all that it drops; here it looks at each folio once.
 */
#include "thp.h"

static bool is_zero(const struct ks_system *sys, const struct ks_folio *folio, uint32_t page)
{
	return ks_frame(&sys->frames, folio->head + page)->cid == KS_CID_ZERO;
}

/* Are more than max_ptes_none pages zero? Reads them until that is known; a limit of all pages but
 * one means that nobody wants to know. Models: mm/huge_memory.c:thp_underused(). */
static bool thp_underused(struct ks_system *sys, const struct ks_folio *folio)
{
	const uint64_t max_none = sys->env->knob.max_ptes_none;
	const uint32_t pages = ks_folio_pages(folio);
	uint32_t zero = 0, filled = 0;

	if (max_none >= pages - 1 && sys->env->feature[KS_FEAT_underused_early_return])
		return false;
	while (zero <= max_none && filled < pages - max_none) {
		if (is_zero(sys, folio, zero + filled))
			zero++;
		else
			filled++;
	}
	ks_cost_n(sys->env, KS_COST_zero_test, zero + filled);
	return zero > max_none;
}

static bool underused(struct ks_system *sys, const struct ks_folio *folio)
{
	const struct ksmsim_policy *policy = &sys->policy;
	struct ksmsim_underused_question question = {
		.pages = ks_folio_pages(folio),
		.max_ptes_none = sys->env->knob.max_ptes_none,
	};

	if (sys->env->feature[KS_FEAT_shrinker_skips_mlocked] &&
	    ks_lru_is_mlocked(&sys->frames, folio->head))
		return false;
	if (ks_frames_any_poisoned(&sys->frames, folio->head, ks_folio_pages(folio)))
		return false;
	if (!policy->underused)
		return thp_underused(sys, folio);
	ks_cost_n(sys->env, KS_COST_zero_test, question.pages);
	for (uint32_t i = 0; i < question.pages; i++)
		question.zero += is_zero(sys, folio, i);
	return policy->underused(policy->self, &question);
}

/* true: the folio was split, and is no more. */
static bool split(struct ks_system *sys, const struct ks_folio *folio, enum ksmsim_split_why why)
{
	const ks_pfn head = folio->head;
	long err;

	ks_folio_get(sys->env, &sys->frames, head, 1);
	err = ks_split_folio(sys, head, 0, true, why);
	ks_folio_put(sys->env, &sys->frames, head, 1);
	return !err;
}

/* The folio at the head of the queue; true: split. */
static bool shrink_one(struct ks_system *sys)
{
	const uint32_t id = sys->frames.split_head;
	const struct ks_folio *folio = ks_folio(&sys->frames, id);
	const bool partial = ks_folio_test(folio, KS_FOLIO_PARTIAL);

	if (partial && split(sys, folio, KSMSIM_SPLIT_PARTIAL))
		return true;
	if (!partial && underused(sys, folio) && split(sys, folio, KSMSIM_SPLIT_UNDERUSED)) {
		ks_count(sys->env, KSMSIM_COUNT_thp_underused_split_page, 1);
		return true;
	}
	ks_folio_dequeue(&sys->frames, id);
	if (partial)
		ks_folio_queue(sys->env, &sys->frames, id, false);
	return false;
}

/* The first @nr folios of the queue; how many were split. */
static uint64_t scan(struct ks_system *sys, uint64_t nr)
{
	const uint32_t queued = sys->frames.nr_split_queue;
	uint64_t split_up = 0;

	if (nr > queued)
		nr = queued;
	for (; nr; nr--)
		split_up += shrink_one(sys);
	return split_up;
}

uint64_t ks_shrink_deferred(struct ks_system *sys)
{
	return scan(sys, UINT64_MAX);
}

/* ---- how often ---- */

#define BATCH 128u	 /* SHRINK_BATCH */
#define DEF_PRIORITY 12u /* of 1 << 12 folios one is asked for */

/* One call at a priority: twice as many folios as that share of the queue, in batches, and only if they
 * fill one or are the whole queue. Models: do_shrink_slab(). */
static uint64_t shrink_slab(struct ks_system *sys, unsigned priority)
{
	const uint64_t queued = sys->frames.nr_split_queue, most = 2 * queued;
	const uint64_t delta = (queued >> priority) * 2;
	uint64_t total = (sys->shrinker_carry >> priority) + delta, done = 0, split_up = 0;

	if (!queued)
		return 0;
	if (total > most)
		total = most;
	while (total >= BATCH || total >= queued) {
		const uint64_t nr = total < BATCH ? total : BATCH;
		const uint64_t got = scan(sys, nr);

		if (!got && !sys->frames.nr_split_queue)
			break;
		split_up += got;
		total -= nr;
		done += nr;
	}
	sys->shrinker_carry += delta;
	sys->shrinker_carry -= done < sys->shrinker_carry ? done : sys->shrinker_carry;
	if (sys->shrinker_carry > most)
		sys->shrinker_carry = most;
	return split_up;
}

uint64_t ks_shrink_force_empty(struct ks_system *sys)
{
	const unsigned walks = sys->env->feature[KS_FEAT_reclaim_walks_twice] ? 2 : 1;
	const uint64_t rounds = sys->env->knob.shrink_tries * walks;
	uint64_t split_up = 0;
	bool waits;

	ks_lru_drain(sys->env, &sys->frames);
	waits = ks_reclaim_lazyfree(sys, false);
	if (waits && !sys->env->feature[KS_FEAT_active_after_shrinkers])
		waits = ks_reclaim_lazyfree(sys, true);
	for (uint64_t round = 0; round < rounds; round++) {
		for (unsigned priority = DEF_PRIORITY + 1; priority--;)
			split_up += shrink_slab(sys, priority);
		if (waits)
			waits = ks_reclaim_lazyfree(sys, true);
	}
	return split_up;
}
