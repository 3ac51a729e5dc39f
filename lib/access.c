/*
 * access.c - floor 5: what running code does: store, load, pin.
 *
 * A store faults first and then changes the content of the frame in place. The
 * watch on the entry rings before that, also when the page gets the bytes that it
 * had: whoever watches must hear of every write. In a THP the first byte that is
 * stored makes its frames appear.
 *
 * What could surprise: a pin of a page that is not mapped from memory of its own
 * (file pages of shared mappings, the zero page, the huge zero folio) holds nothing;
 * a pin of a page of a large folio holds all of the folio; pins that others hold
 * (HELD) outlive the process.
 *
 * Models: mm/gup.c:follow_page_pte(), follow_huge_pmd(), gup_must_unshare().
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

/* Can get_user_pages_fast() have the page? It leaves the entry as it is, its dirty bit, too. Long-term
 * pins need a page that stays the process's own. */
static bool is_there(const struct ks_system *sys, const struct ks_vma *vma, struct ks_pte pte,
		     enum ksmsim_pin how)
{
	if (!(pte.bits & KS_PTE(PRESENT)) || pte.bits & KS_PTE(SPECIAL) ||
	    !(vma->flags & (KS_VM_READ | KS_VM_WRITE | KS_VM_EXEC)))
		return false;
	if (how == KSMSIM_PIN_WRITE)
		return pte.bits & KS_PTE(WRITE);
	return how != KSMSIM_PIN_READ || !ks_pte_is_anon(pte) ||
	       ks_page_exclusive(&sys->frames, pte.pfn);
}

static enum ks_fault_result fault_before_pin(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
					     enum ksmsim_pin how)
{
	enum ks_fault_result result;

	if (how == KSMSIM_PIN_WRITE)
		return ks_fault(sys, mm, vpn, KS_FAULT_WRITE);
	result = ks_fault(sys, mm, vpn, KS_FAULT_READ);
	if (result == KS_FAULT_DONE && how == KSMSIM_PIN_READ)
		result = ks_fault(sys, mm, vpn, KS_FAULT_UNSHARE);
	return result;
}

/* In 6.1 a long-term pin looks pages up without a mark. */
static bool marks(const struct ks_system *sys, enum ksmsim_pin how)
{
	return sys->env->feature[KS_FEAT_pin_marks_page] ||
	       (how != KSMSIM_PIN_WRITE && how != KSMSIM_PIN_READ);
}

/* The page for a pin, as it is marked then. */
static enum ks_fault_result find_page(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
				      enum ksmsim_pin how)
{
	const struct ks_pte pte = ks_pte_get(&sys->tables, &mm->pt, vpn);
	enum ks_fault_result result;

	if (is_there(sys, ks_vma_at(mm, vpn), pte, how)) {
		if (ks_pte_is_anon(pte) && marks(sys, how))
			ks_lru_referenced(sys->env, &sys->frames, pte.pfn);
		return KS_FAULT_DONE;
	}
	if (how == KSMSIM_PIN_HELD)
		return KS_FAULT_DONE;
	result = fault_before_pin(sys, mm, vpn, how);
	if (result == KS_FAULT_DONE && marks(sys, how))
		ks_fault_touch(sys, mm, vpn);
	return result;
}

enum ks_fault_result ks_access_get(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
				   struct ks_pte *pte)
{
	const enum ks_fault_result result =
		ks_vma_at(mm, vpn) ? find_page(sys, mm, vpn, KSMSIM_PIN_GET) : KS_FAULT_SIGSEGV;

	*pte = ks_pte_get(&sys->tables, &mm->pt, vpn);
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
		const enum ks_fault_result result = find_page(sys, mm, vpn + i, how);
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
