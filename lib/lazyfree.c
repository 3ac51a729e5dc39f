/*
 * lazyfree.c - floor 4: reclaim takes the pages that MADV_FREE let go.
 *
 * They wait on the list of file pages, and need no swap device. A process has none of
 * its own besides, so all of them have their turn before reclaim gives up:
 *
 *   look	accessed marks go, and what was used has one more turn, soon or, if it was
 *		used by two, after the next try of the shrinkers; what a locked VMA maps
 *		as a whole is found to be locked
 *   unmap	VMA by VMA in the order of the reverse map, a PMD entry split first
 *   stop	at an entry that was written since, which makes the page an ordinary one
 *		again, at a locked VMA, or if somebody holds the page
 *
 * What could surprise: what was unmapped before the stop is gone, so that after fork
 * one process may lose a page that the other keeps; page tables stay, also the one
 * below a PMD entry; memory of MAP_DROPPABLE goes, written or not.
 *
 * Models: mm/vmscan.c:shrink_folio_list(); mm/rmap.c:folio_referenced_one(),
 * try_to_unmap_one().
 */
#include "mm.h"

struct candidate {
	ks_pfn head;
	uint32_t root; /* where it belongs, also if it is a single page */
	uint64_t index;
};

struct candidates {
	struct candidate *list;
	uint32_t nr, room;
	struct ks_map seen;
};

/* One folio, or single page, on its way. */
struct reclaim {
	struct ks_system *sys;
	ks_pfn head;
	uint32_t pages;
	unsigned used; /* VMAs with an accessed mark */
	bool kept;
};

/* ---- what there is ---- */

static bool can_go(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	const uint32_t locked = KS_FOLIO_MLOCKED | KS_FOLIO_UNEVICTABLE;

	if (folio)
		return (folio->flags & (KS_FOLIO_LAZYFREE | locked)) == KS_FOLIO_LAZYFREE;
	return (ks_frame(frames, pfn)->meta & (KS_FRAME_LAZYFREE | KS_FRAME_MLOCKED |
					       KS_FRAME_UNEVICTABLE | KS_FRAME_SWAPCACHE)) ==
	       KS_FRAME_LAZYFREE;
}

/* What @vma maps at @vpn. */
static struct candidate candidate_at(const struct ks_system *sys, const struct ks_vma *vma,
				     uint64_t vpn, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(&sys->frames, pfn);

	if (folio)
		return (struct candidate){ folio->head, folio->root, folio->index };
	return (struct candidate){ pfn, vma->anon_root, vma->pgoff + (vpn - vma->start) };
}

static void add_candidate(struct ks_system *sys, struct candidates *all, const struct ks_vma *vma,
			  uint64_t vpn, ks_pfn pfn)
{
	const struct candidate one = candidate_at(sys, vma, vpn, pfn);

	if (ks_map_find(&all->seen, one.head))
		return;
	ks_map_set(sys->env, &all->seen, one.head, 1);
	if (all->nr == all->room) {
		all->room = all->room ? 2 * all->room : 64;
		all->list = ks_realloc(sys->env, all->list, all->room * sizeof(*all->list));
	}
	all->list[all->nr++] = one;
}

/* All pages of @mm that can go. */
static void look_through(struct ks_system *sys, const struct ks_mm *mm, struct candidates *all)
{
	struct ks_walk walk;

	ks_walk_start(&walk, &sys->tables, &mm->pt, 0, ks_user_end(sys));
	while (ks_walk_leaf(&walk)) {
		const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk.leaf);
		const unsigned step = leaf->huge ? (unsigned)ks_pmd_pages(sys) : 1;

		for (int slot = ks_walk_slot(&walk, walk.first); slot >= 0;
		     slot = ks_walk_slot(&walk, (unsigned)slot + step)) {
			const uint64_t vpn = leaf->vpn + (unsigned)slot;
			const struct ks_pte pte = ks_leaf_get(leaf, (unsigned)slot);

			if (ks_pte_is_anon(pte) && can_go(&sys->frames, pte.pfn))
				add_candidate(sys, all, ks_vma_at(mm, vpn), vpn, pte.pfn);
		}
	}
}

/* ---- look ---- */

static bool maps(const struct reclaim *r, struct ks_pte pte)
{
	return ks_pte_is_anon(pte) && pte.pfn - r->head < r->pages;
}

static bool is_locked(const struct ks_mm *mm, uint64_t vpn)
{
	return ks_vma_at(mm, vpn)->flags & KS_VM_LOCKED;
}

/* The PMD entry that maps the folio over @vpn, or NULL. */
static struct ks_leaf *pmd_of(const struct reclaim *r, const struct ks_mm *mm, uint64_t vpn)
{
	struct ks_leaf *leaf = ks_pmd_find(&r->sys->tables, &mm->pt, vpn);

	return leaf && leaf->pmd.pfn == r->head ? leaf : NULL;
}

/* Was it young? */
static bool make_old(const struct reclaim *r, struct ks_mm *mm, uint64_t vpn)
{
	struct ks_pte pte = ks_pte_get(&r->sys->tables, &mm->pt, vpn);

	if (!maps(r, pte) || !(pte.bits & KS_PTE(YOUNG)))
		return false;
	pte.bits &= ~(KS_PTE(YOUNG) | KS_PTE(WATCHED));
	ks_pte_set(r->sys->env, &r->sys->tables, &mm->pt, vpn, pte);
	return true;
}

static bool maps_all(const struct reclaim *r, const struct ks_mm *mm, uint64_t start, uint64_t end)
{
	for (uint64_t vpn = start; vpn < end; vpn++) {
		if (!maps(r, ks_pte_get(&r->sys->tables, &mm->pt, vpn)))
			return false;
	}
	return end - start == r->pages;
}

static void look(void *self, struct ks_mm *mm, uint64_t vpn, uint64_t start, uint64_t end)
{
	struct reclaim *r = self;
	struct ks_leaf *leaf = pmd_of(r, mm, start);
	bool young = false;

	(void)vpn;
	if (r->kept)
		return;
	if (is_locked(mm, start)) {
		r->kept = maps_all(r, mm, start, end);
		if (r->kept)
			ks_lru_mlock(r->sys->env, &r->sys->frames, r->head);
	} else if (leaf && leaf->pmd.bits & KS_PTE(YOUNG)) {
		ks_pmd_change(&r->sys->tables, &mm->pt, leaf, leaf->pmd.bits & ~KS_PTE(YOUNG));
		young = true;
	} else if (!leaf) {
		for (uint64_t at = start; at < end; at++)
			young |= make_old(r, mm, at);
	}
	r->used += young;
}

/* Reclaim goes by the items of a KSM page: what none of them leads to is not found. */
static bool is_found(const struct reclaim *r, const struct ks_mm *mm, uint64_t vpn)
{
	const struct ks_mm_hooks *hooks = &r->sys->hooks;

	return !hooks->leads_to || hooks->leads_to(hooks->self, r->head, mm, vpn);
}

static void look_at_ksm(void *self, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte)
{
	(void)pte;
	if (is_found(self, mm, vpn))
		look(self, mm, vpn, vpn, vpn + 1);
}

/* ---- unmap ---- */

static bool is_held(const struct reclaim *r)
{
	const struct ks_frames *frames = &r->sys->frames;
	const struct ks_folio *folio = ks_folio_of(frames, r->head);

	return folio ? folio->gets > 0
		     : ks_frame_refs(frames, r->head) != ks_frame_maps(ks_frame(frames, r->head));
}

static void mark_dirty(const struct reclaim *r)
{
	struct ks_folio *folio = ks_folio_of(&r->sys->frames, r->head);

	if (folio)
		ks_folio_flag(folio, KS_FOLIO_DIRTY, true);
	else
		ks_frame_flag(ks_frame(&r->sys->frames, r->head), KS_FRAME_DIRTY, true);
}

/* Written since: an ordinary page again, and active as what reclaim could not unmap. */
static void make_ordinary(const struct reclaim *r)
{
	struct ks_folio *folio = ks_folio_of(&r->sys->frames, r->head);

	if (folio)
		ks_folio_flag(folio, KS_FOLIO_LAZYFREE, false);
	else
		ks_frame_flag(ks_frame(&r->sys->frames, r->head), KS_FRAME_LAZYFREE, false);
	ks_lru_set_marks(r->sys->env, &r->sys->frames, r->head, KS_LRU_ACTIVE);
}

/* Entries from @vpn on that are unmapped in one step: they map neighbouring pages, and all of them may
 * be written, or none. *@dirty: was any of them? Models: folio_unmap_pte_batch(). */
static unsigned run_of(const struct reclaim *r, const struct ks_mm *mm, uint64_t vpn, uint64_t end,
		       bool *dirty)
{
	const struct ks_tables *tables = &r->sys->tables;
	const struct ks_pte first = ks_pte_get(tables, &mm->pt, vpn);
	const bool batched = r->sys->env->feature[KS_FEAT_lazyfree_batched];
	unsigned nr = 1;

	*dirty = first.bits & KS_PTE(DIRTY);
	for (; batched && vpn + nr < end; nr++) {
		const struct ks_pte next = ks_pte_get(tables, &mm->pt, vpn + nr);

		if (!maps(r, next) || next.pfn != first.pfn + nr ||
		    (next.bits ^ first.bits) & KS_PTE(WRITE))
			break;
		*dirty |= (next.bits & KS_PTE(DIRTY)) != 0;
	}
	return nr;
}

/* The run stays, and each of its entries is as dirty as all together. */
static void keep_run(struct reclaim *r, struct ks_mm *mm, uint64_t vpn, unsigned nr, bool dirty)
{
	r->kept = true;
	for (unsigned i = 0; dirty && i < nr; i++) {
		struct ks_pte pte = ks_pte_get(&r->sys->tables, &mm->pt, vpn + i);

		pte.bits =
			(pte.bits | (nr > 1 ? KS_PTE_MKDIRTY : KS_PTE(DIRTY))) & ~KS_PTE(WATCHED);
		ks_pte_set(r->sys->env, &r->sys->tables, &mm->pt, vpn + i, pte);
	}
}

static void drop_run(const struct reclaim *r, struct ks_mm *mm, uint64_t vpn, unsigned nr)
{
	struct ks_system *sys = r->sys;
	const struct ks_pte first = ks_pte_get(&sys->tables, &mm->pt, vpn);

	for (unsigned i = 0; i < nr; i++)
		ks_pte_set(sys->env, &sys->tables, &mm->pt, vpn + i, (struct ks_pte){ .bits = 0 });
	ks_cost_n(sys->env, KS_COST_zap, nr);
	if (!ks_pfn_is_large(&sys->frames, first.pfn)) {
		ks_pte_gone(sys, mm, first);
		return;
	}
	mm->rss_anon -= nr;
	ks_folio_unmap_ptes(sys->env, &sys->frames, first.pfn, nr, mm->id);
}

/* Is it one that somebody wrote? Before 6.18 what is held counts as written. */
static bool is_written(const struct reclaim *r, const struct ks_mm *mm, uint64_t vpn)
{
	const bool kept = r->sys->env->feature[KS_FEAT_lazyfree_kept_if_held];

	return !(ks_vma_at(mm, vpn)->flags & KS_VM_DROPPABLE) &&
	       (ks_page_dirty(&r->sys->frames, r->head) || (!kept && is_held(r)));
}

/* What maps the folio at @vpn. Returns: entries. */
static unsigned unmap_run(struct reclaim *r, struct ks_mm *mm, uint64_t vpn, uint64_t end)
{
	unsigned nr;
	bool dirty;

	if (!maps(r, ks_pte_get(&r->sys->tables, &mm->pt, vpn)))
		return 1;
	if (is_locked(mm, vpn)) {
		r->kept = true;
		return 1;
	}
	nr = run_of(r, mm, vpn, end, &dirty);
	if (dirty)
		mark_dirty(r);
	if (is_written(r, mm, vpn)) {
		make_ordinary(r);
		keep_run(r, mm, vpn, nr, dirty);
	} else if (is_held(r)) {
		ks_lru_set_marks(r->sys->env, &r->sys->frames, r->head, 0);
		keep_run(r, mm, vpn, nr, dirty);
	} else {
		drop_run(r, mm, vpn, nr);
	}
	return nr;
}

static void unmap(void *self, struct ks_mm *mm, uint64_t vpn, uint64_t start, uint64_t end)
{
	struct reclaim *r = self;

	(void)vpn;
	if (r->kept)
		return;
	if (pmd_of(r, mm, start) && !is_locked(mm, start))
		ks_split_pmd(r->sys, mm, start);
	while (start < end && !r->kept)
		start += unmap_run(r, mm, start, end);
}

static void unmap_ksm(void *self, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte)
{
	(void)pte;
	if (is_found(self, mm, vpn))
		unmap(self, mm, vpn, vpn, vpn + 1);
}

/* ---- reclaim ---- */

enum how {
	TRY,   /* used by two, or marked and used by one: it becomes active and has to wait */
	AGAIN, /* nothing waits any more */
	FORCED /* whoever asks for it does not look who used the page */
};

/* Models: folio_check_references(). */
static bool becomes_active(const struct ks_frames *frames, const struct reclaim *r)
{
	return r->used > 1 || (r->used && ks_lru_marks(frames, r->head) & KS_LRU_REFERENCED);
}

/* A KSM page whose mappings were not all found stays as it is, but for its marks. */
static bool left_mapped(struct ks_system *sys, ks_pfn pfn)
{
	if (!ks_frame_maps(ks_frame(&sys->frames, pfn)))
		return false;
	if (ks_page_lazyfree(&sys->frames, pfn))
		ks_lru_set_marks(sys->env, &sys->frames, pfn, 0);
	return true;
}

/* *@waits: it became active. Returns: is it gone? */
static bool reclaim(struct ks_system *sys, const struct candidate *one, enum how how, bool *waits)
{
	const struct ks_folio *large = ks_folio_of(&sys->frames, one->head);
	const struct ks_folio folio = { .head = one->head,
					.order = large ? large->order : 0,
					.root = one->root,
					.index = one->index };
	struct reclaim r = { .sys = sys, .head = one->head, .pages = ks_folio_pages(&folio) };

	if (ks_frame_test(ks_frame(&sys->frames, one->head), KS_FRAME_KSM)) {
		if (how != FORCED)
			ks_rmap_walk(sys, one->head, look_at_ksm, &r);
		ks_rmap_walk(sys, one->head, unmap_ksm, &r);
		return !r.kept && !left_mapped(sys, one->head);
	}
	if (how != FORCED)
		ks_rmap_folio(sys, &folio, look, &r);
	if (how == TRY && becomes_active(&sys->frames, &r)) {
		*waits = true;
		return false;
	}
	ks_rmap_folio(sys, &folio, unmap, &r);
	return !r.kept;
}

bool ks_discard_lazyfree(struct ks_system *sys, const struct ks_vma *vma, uint64_t vpn, ks_pfn pfn)
{
	const struct candidate one = candidate_at(sys, vma, vpn, pfn);

	return reclaim(sys, &one, FORCED, NULL);
}

bool ks_reclaim_lazyfree(struct ks_system *sys, bool again)
{
	struct candidates all = { .nr = 0 };
	bool waits = false;

	for (uint32_t i = 0; i < sys->nr_mms; i++) {
		if (sys->mms[i]->pt.root)
			look_through(sys, sys->mms[i], &all);
	}
	for (uint32_t i = 0; i < all.nr; i++)
		(void)reclaim(sys, &all.list[i], again ? AGAIN : TRY, &waits);
	ks_lru_drain(sys->env, &sys->frames);
	ks_map_destroy(sys->env, &all.seen);
	ks_free(sys->env, all.list);
	return waits;
}
