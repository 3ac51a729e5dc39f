/*
 * ksm_large.c - pages of large folios: who holds them, and the split before a merge.
 *
 * KSM looks at base pages and never at what maps them. Only when it is about to
 * merge a page of a large folio it splits the folio, before the page is
 * write-protected and before a byte is compared: a match that turns out to be
 * none has cost the folio.
 *
 * What can surprise: the split may replace the very page that is to be merged by
 * the zero page. Then the merge fails, and ksmd goes on with a page that nothing
 * maps any more and that only its own reference keeps. And two pages of one folio
 * cannot meet: with a reference of ksmd on each the folio is not split.
 *
 * Differs: the policy `split` may forbid the split. Then the merge fails as if
 * the folio could not be split, with its event, and nothing was touched or
 * counted. It is asked once for each folio before a merge begins, so that a pair
 * of folios is not torn apart by half.
 *
 * Models: mm/ksm.c:try_to_merge_one_page(), cmp_and_merge_page().
 */
#include "ksm.h"

void ks_large_hold(struct ks_ksm *ksm, enum ks_held who, ks_pfn pfn)
{
	if (!ks_pfn_is_large(&ksm->sys->frames, pfn))
		return;
	ks_folio_get(ksm->env, &ksm->sys->frames, pfn, 1);
	ksm->held[who] = pfn;
}

void ks_large_put(struct ks_ksm *ksm, enum ks_held who)
{
	const ks_pfn pfn = ksm->held[who];

	if (!pfn)
		return;
	ksm->held[who] = KS_PFN_NONE;
	ks_folio_put(ksm->env, &ksm->sys->frames, pfn, 1);
}

bool ks_large_split(struct ks_ksm *ksm, ks_pfn pfn)
{
	if (ks_split_folio(ksm->sys, pfn, 0, true, KSMSIM_SPLIT_KSM))
		return false;
	ksm->splits++;
	return true;
}

bool ks_large_same(const struct ks_ksm *ksm, ks_pfn pfn, ks_pfn other)
{
	const uint32_t folio = ks_folio_id(&ksm->sys->frames, pfn);

	return folio && folio == ks_folio_id(&ksm->sys->frames, other);
}

/* ---- the policy's question ---- */

struct pages {
	ks_pfn head;
	uint32_t nr;
};

struct seeker {
	struct ks_ksm *ksm;
	struct pages folio; /* the one that may be split */
	struct pages
		partner; /* what one of its pages would be merged with, and that page's folio */
};

static struct pages pages_of(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	return folio ? (struct pages){ folio->head, ks_folio_pages(folio) }
		     : (struct pages){ pfn, pfn != KS_PFN_ZERO };
}

/* A page at this place of the tree that is not gone; KS_PFN_NONE. *@usable: one that can take more. */
static ks_pfn page_at(const struct ks_ksm *ksm, uint32_t id, bool *usable)
{
	const bool chain = ks_stable(ksm, id)->kind == KS_STABLE_CHAIN;
	ks_pfn pfn = KS_PFN_NONE;

	*usable = false;
	for (uint32_t at = chain ? ks_stable(ksm, id)->dups : id; at;
	     at = chain ? ks_stable(ksm, at)->rb.child[0] : 0) {
		const struct ks_stable_node *node = ks_stable(ksm, at);

		if (node->stale)
			continue;
		pfn = node->pfn;
		*usable |= ks_stable_usable(ksm, node);
	}
	return pfn;
}

/* Is there a KSM page with the content of @pfn that can take one more? A search would change what it
 * passes; this changes nothing. */
static bool in_stable_tree(struct ks_ksm *ksm, ks_pfn pfn)
{
	const struct ks_contents *contents = &ksm->sys->contents;
	const ks_cid cid = ks_frame_content(ksm, pfn);
	const uint64_t key = ks_content_key(contents, cid) & ~(uint64_t)3;

	for (uint32_t id = ksm->stable[ks_ksm_nid(ksm, pfn)].root; id;) {
		const struct ks_rb_node *rb = ks_stable_rb(ksm, id);
		int order = key < ks_rb_key(rb) ? -1 : 1;
		bool usable = false;
		ks_pfn at;

		ks_cost(ksm->env, KS_COST_stable_level);
		if (key == ks_rb_key(rb) && (at = page_at(ksm, id, &usable)))
			order = ks_content_compare(contents, cid, ks_frame_content(ksm, at));
		if (!order)
			return usable;
		id = rb->child[order > 0];
	}
	return false;
}

/* Equal content means equal id. */
static bool partner_has(const struct seeker *seeker, ks_pfn self)
{
	const struct ks_ksm *ksm = seeker->ksm;

	for (uint32_t i = 0; i < seeker->partner.nr; i++) {
		const ks_pfn pfn = seeker->partner.head + i;

		if (pfn != self && ks_frame_content(ksm, pfn) == ks_frame_content(ksm, self))
			return true;
	}
	return false;
}

static bool would_merge(const struct seeker *seeker, ks_pfn pfn)
{
	struct ks_ksm *ksm = seeker->ksm;

	if (ksm->env->knob.use_zero_pages && ks_frame_content(ksm, pfn) == KS_CID_ZERO)
		return true;
	return partner_has(seeker, pfn) || in_stable_tree(ksm, pfn) || ks_unstable_has(ksm, pfn);
}

static uint32_t count_matches(const struct ksmsim_split_question *question)
{
	const struct seeker *seeker = question->opaque;
	uint32_t nr = 0;

	for (uint32_t i = 0; i < seeker->folio.nr; i++)
		nr += would_merge(seeker, seeker->folio.head + i);
	return nr;
}

bool ks_large_may_split(struct ks_ksm *ksm, ks_pfn pfn, ks_pfn partner)
{
	const struct ks_frames *frames = &ksm->sys->frames;
	const struct ksmsim_policy *policy = &ksm->sys->policy;

	if (!ks_pfn_is_large(frames, pfn) || !policy->split)
		return true;

	const struct ks_folio *folio = ks_folio_of(frames, pfn);
	const struct seeker seeker = { ksm, pages_of(frames, pfn), pages_of(frames, partner) };
	const struct ksmsim_split_question question = {
		.order = folio->order,
		.mappings = folio->maps,
		.zero = partner == KS_PFN_ZERO,
		.matches = count_matches,
		.opaque = &seeker,
	};

	return policy->split(policy->self, &question);
}
