/*
 * split.c - floor 4: a large folio becomes smaller ones.
 *
 *   1 refuse      references beyond the mappings: nothing was changed
 *   2 unmap       every mapping, of every process; a PMD becomes a page table
 *   3 break       the folio ends; its pages are folios of their own
 *   4 remap       page by page; zero-filled ones may get the zero page instead
 *   5 settle      what nobody maps is freed
 *
 * The entries stay where they are between 2 and 4, standing for the kernel's
 * migration entries.
 *
 * What could surprise: step 2 takes the PTEs of a folio away one by one, so that a
 * folio mapped by PTEs counts as partially mapped for a moment, and is counted; one
 * mapped by PMDs only does not. The zero page comes in whoever wanted the split,
 * in every process, and nobody counts it. A page whose memory failed never becomes the
 * zero page; where a PTE maps it, it is lost in step 2, where a PMD does it stays mapped.
 *
 * Models: mm/huge_memory.c:__folio_split(), mm/rmap.c:try_to_migrate_one(),
 * mm/migrate.c:remove_migration_pte(), try_to_map_unused_to_zeropage().
 */
#include "mm.h"

#include <errno.h>

/* One stretch of addresses of one process that mapped the folio, or part of it. */
struct place {
	struct ks_mm *mm;
	uint64_t start, end;
	bool exclusive; /* by an exclusive PMD */
};

struct split {
	struct ks_system *sys;
	uint32_t id;
	ks_pfn head;
	uint32_t pages;
	enum ksmsim_split_why why;
	struct place *places;
	uint32_t nr_places, room_places;
	bool hidden; /* some page is behind a huge page of another folio */
};

static bool maps_folio(const struct split *s, struct ks_pte pte)
{
	return ks_pte_is_anon(pte) && pte.pfn - s->head < s->pages;
}

/* ---- refuse ---- */

static bool maps_any(const struct split *s, const struct ks_mm *mm, uint64_t start, uint64_t end)
{
	for (uint64_t vpn = start; vpn < end; vpn++) {
		if (maps_folio(s, ks_pte_get(&s->sys->tables, &mm->pt, vpn)))
			return true;
	}
	return false;
}

/* The stretch begins with a huge page of another folio: before 6.18 the walk ends there. */
static void find_hidden(void *self, struct ks_mm *mm, uint64_t vpn, uint64_t start, uint64_t end)
{
	struct split *s = self;
	const struct ks_leaf *leaf = ks_pmd_find(&s->sys->tables, &mm->pt, start);

	(void)vpn;
	s->hidden |= leaf && leaf->pmd.pfn != s->head && maps_any(s, mm, start, end);
}

/* ---- unmap ---- */

static void add_place(struct split *s, const struct place *place)
{
	if (s->nr_places == s->room_places) {
		const uint32_t room = s->room_places ? 2 * s->room_places : 4;

		s->places = ks_realloc(s->sys->env, s->places, room * sizeof(*s->places));
		s->room_places = room;
	}
	s->places[s->nr_places++] = *place;
}

static bool is_locked(const struct ks_mm *mm, uint64_t vpn)
{
	return ks_vma_at(mm, vpn)->flags & KS_VM_LOCKED;
}

/* The PMD entry becomes 512 that stand for migration entries, as dirty as it was. The mapping goes in one
 * step; in 6.1 page by page, as 512. */
static void unmap_pmd(struct split *s, struct ks_mm *mm, const struct ks_leaf *leaf)
{
	struct ks_system *sys = s->sys;
	struct ks_folio *folio = ks_folio(&sys->frames, s->id);
	const struct ks_pte first = { leaf->pmd.pfn, leaf->pmd.bits };

	add_place(s, &(struct place){ mm, leaf->vpn, leaf->vpn + s->pages,
				      ks_folio_test(folio, KS_FOLIO_EXCLUSIVE) });
	if (first.bits & KS_PTE(DIRTY))
		ks_folio_flag(folio, KS_FOLIO_DIRTY, true);
	ks_count(sys->env, KSMSIM_COUNT_thp_split_pmd, 1);
	ks_cost(sys->env, KS_COST_split_pmd);
	if (is_locked(mm, leaf->vpn))
		ks_lru_munlock(sys->env, &sys->frames, s->head, true);
	ks_pmd_split(sys->env, &sys->tables, &mm->pt, leaf->vpn, first, 1);
	mm->nr_anon_pmds--;
	if (!sys->env->feature[KS_FEAT_split_pmd_mapped_defers]) {
		ks_folio_unmap_pmd(sys->env, &sys->frames, s->id, mm->id);
		return;
	}
	ks_folio_pmd_to_ptes(sys->env, &sys->frames, s->id, mm->id);
	for (uint32_t i = 0; i < s->pages; i++)
		ks_folio_unmap_ptes(sys->env, &sys->frames, s->head + i, 1, mm->id);
}

static void unmap_ptes(struct split *s, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	struct ks_system *sys = s->sys;
	const bool locked = is_locked(mm, start);

	add_place(s, &(struct place){ mm, start, end, false });
	for (uint64_t vpn = start; vpn < end; vpn++) {
		const struct ks_pte pte = ks_pte_get(&sys->tables, &mm->pt, vpn);

		if (!maps_folio(s, pte))
			continue;
		if (pte.bits & KS_PTE(DIRTY))
			ks_folio_flag(ks_folio(&sys->frames, s->id), KS_FOLIO_DIRTY, true);
		if (locked)
			ks_lru_munlock(sys->env, &sys->frames, pte.pfn, false);
		ks_folio_unmap_ptes(sys->env, &sys->frames, pte.pfn, 1, mm->id);
		if (ks_frame_is_poisoned(&sys->frames, pte.pfn)) {
			ks_pte_set(sys->env, &sys->tables, &mm->pt, vpn,
				   (struct ks_pte){ pte.pfn, KS_PTE_HWPOISON });
			mm->rss_anon--;
		}
	}
}

static void unmap_place(void *self, struct ks_mm *mm, uint64_t vpn, uint64_t start, uint64_t end)
{
	struct split *s = self;
	const struct ks_leaf *leaf = ks_pmd_find(&s->sys->tables, &mm->pt, start);

	(void)vpn;
	/* another huge page may be there: the folio's pages, moved out of place, begin behind it */
	if (leaf && leaf->pmd.pfn == s->head)
		unmap_pmd(s, mm, leaf);
	else
		unmap_ptes(s, mm, start, end);
}

/* ---- remap ---- */

static bool wants_zero_page(const struct split *s, const struct ks_vma *vma, ks_pfn pfn)
{
	const struct ks_system *sys = s->sys;
	const struct ksmsim_policy *policy = &sys->policy;
	const struct ksmsim_zero_remap_question question = {
		.why = s->why,
		.mergeable = vma->flags & KS_VM_MERGEABLE,
		.ksm_runs = sys->env->knob.run == 1,
		.shrink_underused = sys->env->knob.shrink_underused,
		.feature = sys->env->feature[KS_FEAT_split_zero_remap],
	};

	if (ks_frame(&sys->frames, pfn)->cid != KS_CID_ZERO || vma->flags & KS_VM_LOCKED ||
	    ks_lru_is_mlocked(&sys->frames, pfn) || ks_frame_is_poisoned(&sys->frames, pfn))
		return false;
	return policy->zero_remap ? policy->zero_remap(policy->self, &question) : question.feature;
}

static void remap_bits(struct ks_system *sys, const struct place *place, uint64_t vpn,
		       struct ks_pte pte)
{
	const uint32_t bits = ks_migrated_bits(sys, pte.bits);

	if (bits == (pte.bits & ~KS_PTE(WATCHED)))
		return;
	pte.bits = bits;
	ks_pte_set(sys->env, &sys->tables, &place->mm->pt, vpn, pte);
}

static void remap_page(struct split *s, const struct place *place, const struct ks_vma *vma,
		       uint64_t vpn, struct ks_pte pte)
{
	struct ks_system *sys = s->sys;
	struct ks_frame *frame = ks_frame(&sys->frames, pte.pfn);
	struct ks_pte zero = { KS_PFN_ZERO, KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(YOUNG) };

	if (sys->env->feature[KS_FEAT_zero_remap_keeps_soft])
		zero.bits |= pte.bits & KS_PTE(SOFT);
	if (place->exclusive)
		ks_frame_flag(frame, KS_FRAME_EXCLUSIVE, true);
	remap_bits(sys, place, vpn, pte);
	if (ks_frame_test(frame, KS_FRAME_LARGE)) {
		ks_folio_map_ptes(sys->env, &sys->frames, pte.pfn, 1, place->mm->id);
	} else if (wants_zero_page(s, vma, pte.pfn)) {
		ks_pte_set(sys->env, &sys->tables, &place->mm->pt, vpn, zero);
		place->mm->rss_anon--;
	} else {
		ks_frame_map(sys->env, &sys->frames, pte.pfn);
		if (vma->flags & KS_VM_LOCKED)
			ks_lru_mlock(sys->env, &sys->frames, pte.pfn);
	}
}

static void remap_place(struct split *s, const struct place *place)
{
	const struct ks_vma *vma = ks_vma_at(place->mm, place->start);

	for (uint64_t vpn = place->start; vpn < place->end; vpn++) {
		const struct ks_pte pte = ks_pte_get(&s->sys->tables, &place->mm->pt, vpn);

		if (maps_folio(s, pte))
			remap_page(s, place, vma, vpn, pte);
	}
	if (vma->flags & KS_VM_LOCKED)
		ks_lru_drain_mlock(s->sys->env, &s->sys->frames);
}

/* ---- the call ---- */

static long fail(struct ks_system *sys, unsigned order, long error)
{
	if (order == sys->frames.pmd_order)
		ks_count(sys->env, KSMSIM_COUNT_thp_split_page_failed, 1);
	ks_mthp(sys->env, KSMSIM_MTHP_split_failed, order, 1);
	return error;
}

static bool may_become(const struct ks_env *env, const struct ks_folio *folio, unsigned order,
		       bool uniform)
{
	if (order >= folio->order || order == 1 || (order && !env->feature[KS_FEAT_split_to_order]))
		return false;
	return uniform || env->feature[KS_FEAT_split_nonuniform];
}

static void charge(struct ks_system *sys, unsigned order)
{
	if (order == sys->frames.pmd_order)
		ks_count(sys->env, KSMSIM_COUNT_thp_split_page, 1);
	ks_mthp(sys->env, KSMSIM_MTHP_split, order, 1);
	/* the price is that of a THP: a smaller folio is charged at least once */
	ks_cost_n(sys->env,
		  order == sys->frames.pmd_order ? KS_COST_split_folio : KS_COST_split_pmd, 1);
}

long ks_split_folio(struct ks_system *sys, ks_pfn at, unsigned order, bool uniform,
		    enum ksmsim_split_why why)
{
	const uint32_t id = ks_folio_id(&sys->frames, at);
	const struct ks_folio folio = *ks_folio(&sys->frames, id);
	struct split s = { .sys = sys,
			   .id = id,
			   .head = folio.head,
			   .pages = ks_folio_pages(&folio),
			   .why = why };

	KS_ASSERT(sys->env, id && folio.gets >= 1);
	if (!may_become(sys->env, &folio, order, uniform))
		return sys->env->feature[KS_FEAT_split_counts_refusals]
			       ? fail(sys, folio.order, -EINVAL)
			       : -EINVAL;
	if (folio.gets != 1)
		return fail(sys, folio.order, -EAGAIN);
	if (!sys->env->feature[KS_FEAT_split_sees_past_pmd])
		ks_rmap_folio(sys, &folio, find_hidden, &s);
	if (s.hidden)
		return fail(sys, folio.order, -EAGAIN);
	ks_rmap_folio(sys, &folio, unmap_place, &s);
	KS_ASSERT(sys->env, !ks_folio(&sys->frames, id)->maps);
	ks_folio_break(sys->env, &sys->frames, id, at, 1, order, uniform);
	for (uint32_t i = 0; i < s.nr_places; i++)
		remap_place(&s, &s.places[i]);
	ks_folio_settle(sys->env, &sys->frames, s.head, s.pages);
	ks_free(sys->env, s.places);
	charge(sys, folio.order);
	return 0;
}
