/*
 * access.c - floor 5: what running code does: store, load, pin; and migration.
 *
 * A store faults first and then changes the content of the frame in place. The
 * watch on the entry rings before that, also when the page gets the bytes that it
 * had: whoever watches must hear of every write.
 *
 * What could surprise: a pin of a page that is not mapped from memory of its own
 * (file pages of shared mappings, the zero page) holds nothing; pins that others
 * hold (HELD) outlive the process.
 *
 * Models: mm/gup.c:follow_page_pte(), gup_must_unshare(); mm/migrate.c:migrate_folio().
 */
#include "fault.h"

#include <errno.h>

/* ---- contents ---- */

ks_cid ks_pte_content(struct ks_system *sys, const struct ks_vma *vma, uint64_t vpn,
		      struct ks_pte pte)
{
	if (pte.bits & KS_PTE(SPECIAL))
		return KS_CID_ZERO;
	if (pte.bits & KS_PTE(FILE))
		return ks_file_page(sys, vma->file, vma->pgoff + (vpn - vma->start));
	return ks_frame(&sys->frames, pte.pfn)->cid;
}

ks_cid ks_access_load(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn)
{
	if (ks_fault(sys, mm, vpn, KS_FAULT_READ) != KS_FAULT_DONE)
		return KS_CID_NONE;
	return ks_pte_content(sys, ks_vma_at(mm, vpn), vpn, ks_pte_get(&sys->tables, &mm->pt, vpn));
}

/* The page behind a writable entry becomes @cid. */
static void store(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte,
		  ks_cid cid)
{
	const struct ks_vma *vma = ks_vma_at(mm, vpn);

	ks_pte_unwatch(&sys->tables, &mm->pt, vpn);
	if (pte.bits & KS_PTE(FILE))
		ks_file_store(sys, vma->file, vma->pgoff + (vpn - vma->start), cid);
	else
		ks_frame_set_content(sys->env, &sys->frames, pte.pfn, cid);
}

enum ks_fault_result ks_access_store(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
				     ks_cid cid)
{
	const enum ks_fault_result result = ks_fault(sys, mm, vpn, KS_FAULT_WRITE);

	if (result == KS_FAULT_DONE)
		store(sys, mm, vpn, ks_pte_get(&sys->tables, &mm->pt, vpn), cid);
	return result;
}

enum ks_fault_result ks_access_poke(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
				    uint32_t offset, const uint8_t *bytes, uint32_t length)
{
	const enum ks_fault_result result = ks_fault(sys, mm, vpn, KS_FAULT_WRITE);
	struct ks_pte pte;
	ks_cid cid;

	if (result != KS_FAULT_DONE)
		return result;
	pte = ks_pte_get(&sys->tables, &mm->pt, vpn);
	cid = ks_pte_content(sys, ks_vma_at(mm, vpn), vpn, pte);
	store(sys, mm, vpn, pte,
	      ks_content_patch(sys->env, &sys->contents, cid, offset, bytes, length));
	return result;
}

/* ---- pins ---- */

static void remember_pin(struct ks_system *sys, struct ks_mm *mm, const struct ks_pin *pin)
{
	const bool is_get = pin->how == KSMSIM_PIN_GET || pin->how == KSMSIM_PIN_HELD;

	if (mm->nr_pins == mm->room_pins) {
		const uint32_t room = mm->room_pins ? 2 * mm->room_pins : 8;

		mm->pins = ks_realloc(sys->env, mm->pins, room * sizeof(*mm->pins));
		mm->room_pins = room;
	}
	ks_frame_hold(sys->env, &sys->frames, pin->pfn, is_get, !is_get);
	mm->pins[mm->nr_pins++] = *pin;
}

/* Long-term pins need a page that stays the process's own. */
static enum ks_fault_result fault_before_pin(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
					     enum ksmsim_pin how)
{
	enum ks_fault_result result;

	if (how == KSMSIM_PIN_HELD)
		return KS_FAULT_DONE;
	if (how == KSMSIM_PIN_WRITE)
		return ks_fault(sys, mm, vpn, KS_FAULT_WRITE);
	result = ks_fault(sys, mm, vpn, KS_FAULT_READ);
	if (result == KS_FAULT_DONE && how == KSMSIM_PIN_READ)
		result = ks_fault(sys, mm, vpn, KS_FAULT_UNSHARE);
	return result;
}

/**
 * ks_access_pin() - take a reference of each page of [vpn, vpn + pages)
 *
 * Stops at the first page that cannot be had; those before stay pinned.
 *
 * Models: mm/gup.c:__gup_longterm_locked(), for GET get_user_pages_fast().
 */
long ks_access_pin(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages,
		   enum ksmsim_pin how)
{
	if (how == KSMSIM_PIN_WRITE || how == KSMSIM_PIN_READ)
		mm->has_pinned = true;
	for (uint64_t i = 0; i < pages; i++) {
		const enum ks_fault_result result = fault_before_pin(sys, mm, vpn + i, how);
		struct ks_pte pte;

		if (result != KS_FAULT_DONE)
			return result == KS_FAULT_OOM ? -ENOMEM : -EFAULT;
		pte = ks_pte_get(&sys->tables, &mm->pt, vpn + i);
		if (ks_pte_is_anon(pte))
			remember_pin(sys, mm, &(struct ks_pin){ vpn + i, pte.pfn, how });
	}
	return 0;
}

/* One pin of each address goes, the oldest. */
long ks_access_unpin(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages)
{
	struct ks_map seen = { .nr = 0 };
	uint32_t kept = 0;
	long nr = 0;

	for (uint32_t i = 0; i < mm->nr_pins; i++) {
		const struct ks_pin pin = mm->pins[i];

		if (pin.vpn - vpn >= pages || ks_map_find(&seen, pin.vpn + 1)) {
			mm->pins[kept++] = pin;
			continue;
		}
		ks_map_set(sys->env, &seen, pin.vpn + 1, 1);
		ks_pin_release(sys, &pin, false);
		nr++;
	}
	mm->nr_pins = kept;
	ks_map_destroy(sys->env, &seen);
	return nr;
}

/* ---- migration ---- */

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
	pte.bits &= ~KS_PTE(WATCHED);
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

/**
 * ks_access_migrate() - move the anonymous pages of [vpn, vpn + pages) to node @nid
 *
 * Pages with references beyond their mappings stay where they are.
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
		const struct ks_pte pte = ks_pte_get(&sys->tables, &mm->pt, vpn + i);

		if (ks_pte_is_anon(pte) && migrate_page(sys, pte.pfn, nid, moved, self))
			nr++;
	}
	return nr;
}
