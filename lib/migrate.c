/*
 * migrate.c - floor 5: pages move to another NUMA node.
 *
 * A large folio moves as a whole, if a folio of its size can be had there: PMD
 * entries stay PMD entries. If none can be had it is split, and its pages move.
 * Whatever has references beyond its mappings stays where it is.
 *
 * What could surprise: a folio mapped by PTEs loses them one by one on its way and
 * so becomes partially mapped, is counted, and stays so in its new place, where it
 * is counted again; a folio that was partially mapped before is split instead.
 *
 * Models: mm/migrate.c:do_pages_move(), migrate_pages_batch(), migrate_folio_move().
 */
#include "fault.h"

/* ---- single pages ---- */

struct migration {
	struct ks_system *sys;
	ks_pfn from, to;
	bool first; /* the new frame was made with one mapping */
};

static void move_mapping(void *self, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte)
{
	struct migration *m = self;
	struct ks_system *sys = m->sys;

	if (!m->first)
		ks_frame_map(sys->env, &sys->frames, m->to);
	m->first = false;
	pte.pfn = m->to;
	pte.bits = ks_migrated_bits(sys, pte.bits);
	ks_pte_set(sys->env, &sys->tables, &mm->pt, vpn, pte);
	ks_frame_unmap(sys->env, &sys->frames, m->from);
}

/* What the page is moves to the new frame; the old one must not ring when it is freed. */
static void move_flags(const struct migration *m)
{
	struct ks_frame *from = ks_frame(&m->sys->frames, m->from);
	struct ks_frame *to = ks_frame(&m->sys->frames, m->to);
	const uint32_t moved =
		KS_FRAME_EXCLUSIVE | KS_FRAME_KSM | KS_FRAME_LAZYFREE | KS_FRAME_DIRTY;

	to->meta = (to->meta & ~moved) | (from->meta & moved);
	ks_lru_set_lock(m->sys->env, &m->sys->frames, m->to,
			ks_lru_lock_of(&m->sys->frames, m->from));
	ks_frame_flag(from, KS_FRAME_KSM, false);
}

/* false: others hold it, or there is no memory. Models: migrate_folio(). */
static bool migrate_page(struct ks_system *sys, ks_pfn from, unsigned nid,
			 void (*moved)(void *self, ks_pfn from, ks_pfn to), void *self)
{
	struct ks_frames *frames = &sys->frames;
	struct ks_frame *frame = ks_frame(frames, from);
	struct migration m = { .sys = sys, .from = from, .first = true };

	if (ks_frame_nid(frames, from) == nid ||
	    ks_frame_refs(frames, from) != ks_frame_maps(frame))
		return false;
	m.to = ks_frame_alloc(sys->env, frames, nid, frame->cid, false);
	if (!m.to)
		return false;
	ks_content_get(&sys->contents, frame->cid);
	if (ks_frame_test(frame, KS_FRAME_KSM) && moved)
		moved(self, from, m.to);
	move_flags(&m);
	ks_rmap_walk(sys, from, move_mapping, &m);
	return true;
}

/* ---- large folios ---- */

struct move {
	struct ks_system *sys;
	ks_pfn from, to; /* first pages */
	uint32_t pages;
};

static void move_pmd(const struct move *m, struct ks_mm *mm, const struct ks_leaf *leaf)
{
	struct ks_system *sys = m->sys;
	struct ks_frames *frames = &sys->frames;
	const uint32_t from = ks_folio_id(frames, m->from), to = ks_folio_id(frames, m->to);

	ks_folio_map_pmd(sys->env, frames, to, mm->id);
	ks_pmd_set(sys->env, &sys->tables, &mm->pt, leaf->vpn,
		   (struct ks_pte){ m->to, leaf->pmd.bits });
	ks_folio_unmap_pmd(sys->env, frames, from, mm->id);
}

static void move_ptes(const struct move *m, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	struct ks_system *sys = m->sys;

	for (uint64_t vpn = start; vpn < end; vpn++) {
		struct ks_pte pte = ks_pte_get(&sys->tables, &mm->pt, vpn);
		const ks_pfn page = pte.pfn - m->from;

		if (!ks_pte_is_anon(pte) || page >= m->pages)
			continue;
		pte.bits = ks_migrated_bits(sys, pte.bits);
		pte.pfn = m->to + page;
		ks_folio_map_ptes(sys->env, &sys->frames, pte.pfn, 1, mm->id);
		ks_pte_set(sys->env, &sys->tables, &mm->pt, vpn, pte);
		ks_folio_unmap_ptes(sys->env, &sys->frames, m->from + page, 1, mm->id);
	}
}

static void move_place(void *self, struct ks_mm *mm, uint64_t vpn, uint64_t start, uint64_t end)
{
	const struct move *m = self;
	const struct ks_leaf *leaf = ks_pmd_find(&m->sys->tables, &mm->pt, start);

	(void)vpn;
	if (leaf && leaf->pmd.pfn == m->from)
		move_pmd(m, mm, leaf);
	else
		move_ptes(m, mm, start, end);
}

/* Contents, and what each page was; pages that nobody maps, too. */
static void copy_pages(const struct move *m)
{
	struct ks_frames *frames = &m->sys->frames;

	for (uint32_t i = 0; i < m->pages; i++) {
		const struct ks_frame *from = ks_frame(frames, m->from + i);

		if (from->cid != KS_CID_ZERO) {
			ks_content_get(&m->sys->contents, from->cid);
			ks_frame_set_content(m->sys->env, frames, m->to + i, from->cid);
		}
		if (ks_frame_test(from, KS_FRAME_EXCLUSIVE)) {
			ks_folio_need_frame(m->sys->env, frames, m->to);
			ks_frame_flag(ks_frame(frames, m->to + i), KS_FRAME_EXCLUSIVE, true);
		}
	}
}

/* The whole folio moves into the new one. Both are held meanwhile. */
static void move_folio(struct ks_system *sys, uint32_t id, uint32_t new_id)
{
	const uint16_t kept = KS_FOLIO_EXCLUSIVE | KS_FOLIO_DIRTY | KS_FOLIO_LAZYFREE;
	struct ks_folio *from = ks_folio(&sys->frames, id), *to = ks_folio(&sys->frames, new_id);
	struct move m = { sys, from->head, to->head, ks_folio_pages(from) };
	bool queued, partial;

	ks_folio_get(sys->env, &sys->frames, m.from, 1);
	ks_folio_get(sys->env, &sys->frames, m.to, 1);
	to->flags = from->flags & kept;
	ks_lru_set_lock(sys->env, &sys->frames, m.to, ks_lru_lock_of(&sys->frames, m.from));
	to->root = from->root;
	to->index = from->index;
	copy_pages(&m);
	ks_rmap_folio(sys, from, move_place, &m);
	queued = ks_folio_test(from, KS_FOLIO_QUEUED);
	partial = ks_folio_test(from, KS_FOLIO_PARTIAL);
	ks_folio_put(sys->env, &sys->frames, m.from, 1);
	ks_folio_put(sys->env, &sys->frames, m.to, 1);
	if (queued && sys->env->feature[KS_FEAT_deferred_on_flag])
		ks_folio_queue(sys->env, &sys->frames, new_id, partial);
}

static void split_large(struct ks_system *sys, ks_pfn pfn)
{
	ks_folio_get(sys->env, &sys->frames, pfn, 1);
	(void)ks_split_folio(sys, pfn, 0, true, KSMSIM_SPLIT_RECLAIM);
	ks_folio_put(sys->env, &sys->frames, pfn, 1);
}

/* Pages moved. With 0 the folio may have been split. */
static long migrate_large(struct ks_system *sys, ks_pfn pfn, unsigned nid)
{
	const uint32_t id = ks_folio_id(&sys->frames, pfn);
	const struct ks_folio *folio = ks_folio(&sys->frames, id);
	const uint32_t pages = ks_folio_pages(folio);
	uint32_t new_id = 0;

	if (folio->nid == nid || folio->gets)
		return 0;
	if (!ks_folio_test(folio, KS_FOLIO_PARTIAL) || !sys->env->feature[KS_FEAT_deferred_on_flag])
		new_id = ks_folio_alloc(sys->env, &sys->frames, nid, folio->order);
	if (!new_id) {
		split_large(sys, pfn);
		return 0;
	}
	move_folio(sys, id, new_id);
	return pages;
}

/* ---- the call ---- */

static struct ks_pte pte_at(const struct ks_system *sys, const struct ks_mm *mm, uint64_t vpn)
{
	return ks_pte_get(&sys->tables, &mm->pt, vpn);
}

/**
 * ks_access_migrate() - move the anonymous pages of [vpn, vpn + pages) to node @nid
 *
 * Pages with references beyond their mappings stay where they are. All pages of a large folio
 * count, in the range or not.
 *
 * Models: mm/migrate.c:do_pages_move() with MPOL_MF_MOVE_ALL.
 */
long ks_access_migrate(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages,
		       unsigned nid, void (*moved)(void *self, ks_pfn from, ks_pfn to), void *self)
{
	long nr = 0;

	KS_ASSERT(sys->env, nid < sys->frames.nr_nodes);
	ks_lru_drain(sys->env, &sys->frames);
	for (uint64_t i = 0; i < pages; i++) {
		struct ks_pte pte = pte_at(sys, mm, vpn + i);

		if (ks_pte_is_anon(pte) && ks_pfn_is_large(&sys->frames, pte.pfn)) {
			nr += migrate_large(sys, pte.pfn, nid);
			pte = pte_at(sys, mm, vpn + i);
		}
		if (ks_pte_is_anon(pte) && !ks_pfn_is_large(&sys->frames, pte.pfn) &&
		    migrate_page(sys, pte.pfn, nid, moved, self))
			nr++;
	}
	return nr;
}
