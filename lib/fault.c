/*
 * fault.c - floor 5: page faults, and populating ahead of access.
 *
 *   hole      read  -> zero page, no anon_vma     write -> new page
 *   zero page write -> new page                   unshare -> new page, read-only
 *   anonymous write -> reuse if exclusive or alone, else copy; KSM pages: copy
 *   file      write -> copy (private), in place (shared)
 *   swap      any   -> page from the swap cache or a new one, then as above
 *   guard     any   -> SIGSEGV
 *   hwpoison  any   -> SIGBUS
 *
 * Large folios are asked first (thp.c); what is left is for single entries.
 *
 * New pages are exclusive and wait in the LRU add batch, which holds a reference;
 * "alone" is asked after the batch of this CPU was drained.
 *
 * What could surprise: a KSM page is copied even if nobody else maps it; so is a
 * page of a large folio, with some kernels always, with others if it is the last
 * one mapped; copies are single pages. An unshare fault leaves the new page
 * read-only and clean; a present entry that allows the access is not touched at
 * all, so that a watch on it stays.
 *
 * Models: mm/memory.c:__handle_mm_fault(), handle_pte_fault(), do_anonymous_page(),
 * do_wp_page(), do_swap_page(), do_fault(); mm/ksm.c:ksm_might_need_to_copy(); mm/gup.c.
 */
#include "thp.h"

#include <errno.h>

struct fault {
	struct ks_system *sys;
	struct ks_mm *mm;
	struct ks_vma *vma;
	uint64_t vpn;
	enum ks_fault_kind kind;
	struct ks_leaf *leaf; /* the table, or NULL; stale after a PMD split */
	struct ks_pte pte;    /* the entry as it is */
};

static bool is_write(const struct fault *f)
{
	return f->kind == KS_FAULT_WRITE || f->kind == KS_FAULT_WRITE_FORCED;
}

static uint64_t page_index(const struct fault *f)
{
	return f->vma->pgoff + (f->vpn - f->vma->start);
}

static void set_pte(struct fault *f, ks_pfn pfn, uint32_t bits)
{
	f->pte = (struct ks_pte){ pfn, bits & ~KS_PTE(WATCHED) };
	ks_pte_set(f->sys->env, &f->sys->tables, &f->mm->pt, f->vpn, f->pte);
}

/* Bits of a page that a write or unshare fault leaves: maybe_mkwrite(). */
static uint32_t owned_bits(const struct fault *f)
{
	uint32_t bits = KS_PTE(PRESENT) | KS_PTE(YOUNG);

	if (is_write(f)) {
		bits |= KS_PTE_MKDIRTY;
		if (f->vma->flags & KS_VM_WRITE)
			bits |= KS_PTE(WRITE);
	}
	return bits;
}

/* A new exclusive page with a copy of @cid, counted but in no entry yet; 0: no memory. */
static ks_pfn new_page(struct fault *f, ks_cid cid)
{
	struct ks_system *sys = f->sys;
	const bool locked = f->vma->flags & KS_VM_LOCKED;
	ks_pfn pfn;

	ks_vma_prepare_anon(sys, f->mm, f->vma);
	pfn = ks_frame_alloc(sys->env, &sys->frames, f->mm->nid, cid, !locked);
	if (!pfn)
		return KS_PFN_NONE;
	if (locked)
		ks_lru_mlock_new(sys->env, &sys->frames, pfn);
	ks_content_get(&sys->contents, cid);
	f->mm->rss_anon++;
	if (f->vma->flags & KS_VM_DROPPABLE)
		ks_frame_flag(ks_frame(&sys->frames, pfn), KS_FRAME_LAZYFREE, true);
	return pfn;
}

/* ---- nothing there ---- */

/* Shared memory that mremap() made longer than its object: a bus error in the kernel. */
static bool is_behind_file(const struct fault *f)
{
	const uint64_t nr_pages = f->vma->file ? f->sys->files[f->vma->file].nr_pages : 0;

	return nr_pages && page_index(f) >= nr_pages;
}

static enum ks_fault_result map_file_page(struct fault *f)
{
	uint32_t bits = KS_PTE(PRESENT) | KS_PTE(FILE) | KS_PTE(YOUNG);

	if (is_write(f))
		bits |= KS_PTE_MKDIRTY;
	if (f->vma->flags & KS_VM_SHARED && f->vma->flags & KS_VM_WRITE &&
	    !ks_tracks_writes(f->sys, f->vma, bits))
		bits |= KS_PTE(WRITE);
	(void)ks_file_page(f->sys, f->vma->file, page_index(f));
	f->mm->rss_file++;
	set_pte(f, (uint32_t)page_index(f), bits);
	return KS_FAULT_DONE;
}

/* Models: do_anonymous_page(), do_read_fault(), do_cow_fault(), do_shared_fault(). */
static enum ks_fault_result fault_on_hole(struct fault *f)
{
	struct ks_system *sys = f->sys;
	ks_pfn pfn;

	if (is_behind_file(f))
		return KS_FAULT_SIGSEGV;
	ks_pgtable_populate(sys->env, &sys->tables, &f->mm->pt, f->vpn);
	if (f->vma->file && (!is_write(f) || f->vma->flags & KS_VM_SHARED))
		return map_file_page(f);
	if (!is_write(f)) {
		set_pte(f, KS_PFN_ZERO, KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(YOUNG));
		ks_cost(sys->env, KS_COST_fault_zero);
		return KS_FAULT_DONE;
	}
	ks_vma_prepare_anon(sys, f->mm, f->vma);
	if (ks_thp_fault_ptes(sys, f->mm, f->vma, f->vpn))
		return KS_FAULT_DONE;
	pfn = new_page(f,
		       f->vma->file ? ks_file_page(sys, f->vma->file, page_index(f)) : KS_CID_ZERO);
	if (!pfn)
		return KS_FAULT_OOM;
	set_pte(f, pfn, owned_bits(f));
	ks_cost(sys->env, KS_COST_fault_anon);
	return KS_FAULT_DONE;
}

/* ---- a page that may not be written ---- */

static enum ks_fault_result copy_page(struct fault *f)
{
	struct ks_system *sys = f->sys;
	const struct ks_pte old = f->pte;
	const ks_pfn pfn = new_page(f, ks_pte_content(sys, f->vma, f->vpn, old));
	bool from_ksm;

	if (!pfn)
		return KS_FAULT_OOM;
	from_ksm =
		ks_pte_is_anon(old) && ks_frame_test(ks_frame(&sys->frames, old.pfn), KS_FRAME_KSM);
	if (from_ksm)
		ks_count(sys->env, KSMSIM_COUNT_cow_ksm, 1);
	ks_cost(sys->env, from_ksm ? KS_COST_fault_cow_ksm : KS_COST_fault_cow);
	set_pte(f, pfn, owned_bits(f) | (old.bits & KS_PTE(SOFT)));
	if (f->vma->flags & KS_VM_LOCKED && ks_pte_is_anon(old))
		ks_lru_munlock(sys->env, &sys->frames, old.pfn, false);
	ks_pte_gone(sys, f->mm, old);
	return KS_FAULT_DONE;
}

/* The page is this process's alone. An unshare fault leaves the entry as it is. */
static enum ks_fault_result reuse_page(struct fault *f)
{
	if (!is_write(f))
		return KS_FAULT_DONE;
	set_pte(f, f->pte.pfn, f->pte.bits | owned_bits(f));
	ks_count(f->sys->env, KSMSIM_COUNT_pgreuse, 1);
	ks_cost(f->sys->env, KS_COST_fault_reuse);
	return KS_FAULT_DONE;
}

/* Is this mapping the only user of the page? The batch's reference does not count, also where the
 * knob lru_drain leaves the page in it. Models: wp_can_reuse_anon_folio(). */
static bool is_alone(struct fault *f)
{
	struct ks_frames *frames = &f->sys->frames;
	const ks_pfn pfn = f->pte.pfn;
	const struct ks_frame *frame = ks_frame(frames, pfn);
	uint32_t refs_max = 1;

	if (ks_frame_test(frame, KS_FRAME_KSM) || ks_frame_refs(frames, pfn) > 3)
		return false;
	if (ks_frame_test(frame, KS_FRAME_LRU_BATCH))
		ks_lru_drain_local(f->sys->env, frames);
	refs_max += ks_frame_test(frame, KS_FRAME_LRU_BATCH);
	refs_max += ks_frame_test(frame, KS_FRAME_SWAPCACHE);
	if (ks_frame_refs(frames, pfn) > refs_max)
		return false;
	return !ks_frame_test(frame, KS_FRAME_SWAPCACHE) || ks_swap_cache_drop(f->sys, pfn);
}

/* The same for a page of a large folio. 6.1: it is the last one that anybody maps. 6.12: never. Since
 * then: the folio is this process's alone, and the page not the last one, which is copied so that
 * the folio can go. Models: wp_can_reuse_anon_folio(), __wp_can_reuse_large_anon_folio(). */
static bool is_alone_in_folio(const struct fault *f)
{
	const struct ks_env *env = f->sys->env;
	const struct ks_folio *folio = ks_folio_of(&f->sys->frames, f->pte.pfn);

	if (env->feature[KS_FEAT_large_reuse_last_page])
		return folio->maps + folio->gets == 1;
	if (!env->feature[KS_FEAT_mm_id])
		return false;
	return folio->maps > 1 && !folio->gets && !ks_folio_test(folio, KS_FOLIO_SHARED);
}

static bool may_reuse(struct fault *f)
{
	return ks_pfn_is_large(&f->sys->frames, f->pte.pfn) ? is_alone_in_folio(f) : is_alone(f);
}

/* Models: do_wp_page(). */
static enum ks_fault_result fault_on_readonly(struct fault *f)
{
	struct ks_frame *frame;

	if (f->pte.bits & KS_PTE(FILE) && f->vma->flags & KS_VM_SHARED)
		return reuse_page(f);
	if (!ks_pte_is_anon(f->pte))
		return copy_page(f);
	frame = ks_frame(&f->sys->frames, f->pte.pfn);
	if (!ks_frame_test(frame, KS_FRAME_EXCLUSIVE)) {
		if (!may_reuse(f))
			return copy_page(f);
		ks_frame_flag(frame, KS_FRAME_EXCLUSIVE, true);
	}
	return reuse_page(f);
}

/* ---- a page that is swapped out ---- */

/* May the cached page be mapped here as it is? Models: ksm_might_need_to_copy(). */
static bool cached_page_fits(const struct fault *f, const struct ks_swap_slot *slot)
{
	if (ks_frame_test(ks_frame(&f->sys->frames, slot->cached), KS_FRAME_KSM))
		return f->sys->env->knob.run != 2;
	return slot->root == f->vma->anon_root && slot->index == page_index(f);
}

/* A page read from the swap area, or a copy of a cached one that does not fit. Only what other
 * entries still need goes into the swap cache. */
static ks_pfn read_swapped(struct fault *f, bool *exclusive)
{
	struct ks_system *sys = f->sys;
	const struct ks_swap_slot *slot = ks_swap_slot(sys, f->pte.pfn);
	const ks_pfn pfn = new_page(f, slot->cid);

	if (!pfn)
		return KS_PFN_NONE;
	*exclusive = slot->cached || slot->count == 1;
	if (slot->cached)
		ks_count(sys->env, KSMSIM_COUNT_ksm_swpin_copy, 1);
	else if (slot->count > 1)
		ks_swap_cache_add(sys, f->pte.pfn, pfn, f->vma->anon_root, page_index(f));
	return pfn;
}

static ks_pfn map_cached(struct fault *f, const struct ks_swap_slot *slot, bool *exclusive)
{
	ks_frame_map(f->sys->env, &f->sys->frames, slot->cached);
	if (f->vma->flags & KS_VM_LOCKED)
		ks_lru_mlock(f->sys->env, &f->sys->frames, slot->cached);
	f->mm->rss_anon++;
	*exclusive = f->pte.bits & KS_PTE(DIRTY) &&
		     !ks_frame_test(ks_frame(&f->sys->frames, slot->cached), KS_FRAME_KSM);
	return slot->cached;
}

/* The swap cache is given up early where the page will be written or locked. */
static void drop_cache_early(struct fault *f, ks_pfn pfn)
{
	const struct ks_frame *frame = ks_frame(&f->sys->frames, pfn);

	if (!ks_frame_test(frame, KS_FRAME_SWAPCACHE))
		return;
	if (f->vma->flags & KS_VM_LOCKED || (is_write(f) && !ks_frame_test(frame, KS_FRAME_KSM) &&
					     ks_frame_refs(&f->sys->frames, pfn) == 2))
		ks_swap_cache_drop(f->sys, pfn);
}

/* Models: do_swap_page(). */
static enum ks_fault_result fault_on_swapped(struct fault *f)
{
	struct ks_system *sys = f->sys;
	const struct ks_swap_slot *slot = ks_swap_slot(sys, f->pte.pfn);
	const uint32_t slot_idx = f->pte.pfn;
	const bool tracked = ks_tracks_writes(sys, f->vma, f->pte.bits);
	uint32_t bits = KS_PTE(PRESENT) | KS_PTE(YOUNG) | (f->pte.bits & KS_PTE(SOFT));
	bool exclusive;
	ks_pfn pfn;

	if (slot->cached && cached_page_fits(f, slot))
		pfn = map_cached(f, slot, &exclusive);
	else
		pfn = read_swapped(f, &exclusive);
	if (!pfn)
		return KS_FAULT_OOM;
	f->mm->swap_pages--;
	ks_swap_put(sys, slot_idx);
	drop_cache_early(f, pfn);
	ks_frame_flag(ks_frame(&sys->frames, pfn), KS_FRAME_EXCLUSIVE, exclusive);
	if (exclusive && !tracked) {
		if (f->vma->flags & KS_VM_WRITE)
			bits |= KS_PTE(WRITE);
		if (is_write(f))
			bits |= KS_PTE_MKDIRTY;
	}
	set_pte(f, pfn, bits);
	ks_cost(sys->env, KS_COST_fault_anon);
	if (f->kind == KS_FAULT_READ || (exclusive && !(tracked && is_write(f))))
		return KS_FAULT_DONE;
	return fault_on_readonly(f);
}

/* ---- dispatch ---- */

/* x86-64 has no memory that can be written but not read. */
static bool is_allowed(const struct ks_vma *vma, enum ks_fault_kind kind)
{
	if (kind == KS_FAULT_READ)
		return vma->flags & (KS_VM_READ | KS_VM_WRITE | KS_VM_EXEC);
	return kind != KS_FAULT_WRITE || vma->flags & KS_VM_WRITE;
}

/* The processor itself sets the dirty bit of a writable entry. */
static void set_dirty(struct fault *f)
{
	const uint32_t bits = f->pte.bits | KS_PTE(DIRTY) | KS_PTE(YOUNG);

	if (f->leaf->huge)
		ks_pmd_change(&f->sys->tables, &f->mm->pt, f->leaf, bits);
	else
		set_pte(f, f->pte.pfn, bits);
}

/* And the accessed bit, which khugepaged asks for. */
static void set_accessed(const struct fault *f)
{
	if (!(f->pte.bits & KS_PTE(YOUNG)))
		ks_leaf_access(f->leaf, (unsigned)(f->vpn - f->leaf->vpn));
}

/* The entry is there and allows the access. */
static bool needs_no_fault(struct fault *f)
{
	if (!(f->pte.bits & KS_PTE(PRESENT)))
		return false;
	if (f->kind == KS_FAULT_READ) {
		set_accessed(f);
		return true;
	}
	if (f->pte.bits & KS_PTE(WRITE)) {
		set_accessed(f);
		if (is_write(f) && !(f->pte.bits & KS_PTE(DIRTY)))
			set_dirty(f);
		return true;
	}
	if (f->kind != KS_FAULT_UNSHARE)
		return false;
	return f->vma->flags & KS_VM_SHARED ||
	       (ks_pte_is_anon(f->pte) && ks_page_exclusive(&f->sys->frames, f->pte.pfn));
}

/* What large folios do about it. false: it goes on with f->pte. */
static bool handle_huge(struct fault *f)
{
	if (!f->leaf)
		return ks_thp_fault(f->sys, f->mm, f->vma, f->vpn, is_write(f));
	if (!f->leaf->huge)
		return false;
	if (ks_thp_write(f->sys, f->mm, f->vma, f->vpn, is_write(f)))
		return true;
	f->pte = ks_pte_get(&f->sys->tables, &f->mm->pt, f->vpn);
	return false;
}

/* MADV_GUARD_INSTALL leaves entries that are neither present nor swapped. */
static bool is_guard(struct ks_pte pte)
{
	return pte.bits & KS_PTE(NONPRESENT) && !pte.pfn;
}

static void look_up(struct fault *f)
{
	const uint32_t leaf = ks_leaf_find(&f->sys->tables, &f->mm->pt, f->vpn);

	f->leaf = leaf ? ks_leaf(&f->sys->tables, leaf) : NULL;
	f->pte = leaf ? ks_leaf_get(f->leaf, (unsigned)(f->vpn - f->leaf->vpn))
		      : (struct ks_pte){ .bits = 0 };
}

/* Memory that ends: a program that finds no room for what it may get lets the shrinker of large
 * folios run first, as the direct reclaim of its memory cgroup would. */
static void make_room(struct fault *f)
{
	struct ks_system *sys = f->sys;
	const unsigned order = sys->frames.pmd_order;
	bool huge;

	if (!sys->env->knob.memory_pages || (f->kind != KS_FAULT_READ && f->kind != KS_FAULT_WRITE))
		return;
	huge = !f->leaf && ks_thp_fits(f->vma, f->vpn, order) &&
	       ks_thp_orders(sys, f->mm, f->vma, KS_THP_FAULT) >> order & 1;
	if (ks_frames_have_room(sys->env, &sys->frames, huge ? ks_pmd_pages(sys) : 1))
		return;
	ks_shrink_deferred(sys);
	look_up(f);
}

/**
 * ks_fault() - handle one page fault
 *
 * Models: mm/memory.c:handle_mm_fault() after the VMA was found.
 * Differs: no userfaultfd, no NUMA hinting.
 */
enum ks_fault_result ks_fault(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
			      enum ks_fault_kind kind)
{
	struct fault f = { sys, mm, ks_vma_at(mm, vpn), vpn, kind, NULL, { 0, 0 } };

	if (!f.vma || !is_allowed(f.vma, kind))
		return KS_FAULT_SIGSEGV;
	look_up(&f);
	if (needs_no_fault(&f))
		return KS_FAULT_DONE;
	ks_count(sys->env, KSMSIM_COUNT_pgfault, 1);
	if (is_guard(f.pte))
		return KS_FAULT_SIGSEGV;
	if (ks_pte_is_hwpoison(f.pte))
		return KS_FAULT_HWPOISON;
	make_room(&f);
	if (handle_huge(&f))
		return KS_FAULT_DONE;
	if (f.pte.bits & KS_PTE(NONPRESENT))
		return fault_on_swapped(&f);
	return f.pte.bits & KS_PTE(PRESENT) ? fault_on_readonly(&f) : fault_on_hole(&f);
}

/* ---- populate ---- */

/* -EINVAL or -EFAULT if the VMA does not allow it. Models: mm/gup.c:check_vma_flags(). */
static long check_rights(const struct ks_vma *vma, enum ks_populate how)
{
	if (how == KS_POPULATE_LOCK)
		return is_allowed(vma, KS_FAULT_READ) ? 0 : -EFAULT;
	if (how == KS_POPULATE_WRITE)
		return vma->flags & KS_VM_WRITE ? 0 : -EINVAL;
	return vma->flags & KS_VM_READ ? 0 : -EINVAL;
}

/* Behind the page at @vpn that was just faulted in, or behind the huge page: that is there as a whole
 * or not at all once its first page was asked for. */
static uint64_t next_vpn(const struct ks_system *sys, const struct ks_mm *mm, uint64_t vpn,
			 uint64_t start)
{
	if (vpn != start && vpn != ks_pmd_start(sys, vpn))
		return vpn + 1;
	return ks_pmd_find(&sys->tables, &mm->pt, vpn) ? ks_pmd_start(sys, vpn) + ks_pmd_pages(sys)
						       : vpn + 1;
}

/* What is there and allows the access is only looked up, which leaves its entry as it is, also if that
 * makes the page dirty; but a huge page that is to be written gets the marks of a write.
 * Models: mm/gup.c:follow_page_pte(), touch_pmd() with FOLL_TOUCH. */
static bool look_up_page(struct ks_system *sys, const struct ks_mm *mm, uint64_t vpn, bool write)
{
	const struct ks_pte pte = ks_pte_get(&sys->tables, &mm->pt, vpn);
	struct ks_folio *folio;

	if (!(pte.bits & KS_PTE(PRESENT)))
		return false;
	if (!write)
		return true;
	if (!(pte.bits & KS_PTE(WRITE)) || !ks_pte_is_anon(pte) ||
	    ks_pmd_find(&sys->tables, &mm->pt, vpn))
		return false;
	folio = ks_folio_of(&sys->frames, pte.pfn);
	if (folio && !(pte.bits & KS_PTE(DIRTY)))
		ks_folio_flag(folio, KS_FOLIO_DIRTY, true);
	else if (!(pte.bits & KS_PTE(DIRTY)))
		ks_frame_flag(ks_frame(&sys->frames, pte.pfn), KS_FRAME_DIRTY, true);
	return true;
}

/* Huge pages keep it in their entry only. Models: mm/gup.c:follow_page_pte(), touch_pmd(). */
void ks_fault_touch(struct ks_system *sys, const struct ks_mm *mm, uint64_t vpn)
{
	const struct ks_pte pte = ks_pte_get(&sys->tables, &mm->pt, vpn);

	if (ks_pte_is_anon(pte) && !ks_pmd_find(&sys->tables, &mm->pt, vpn))
		ks_lru_accessed(sys->env, &sys->frames, pte.pfn);
}

static enum ks_fault_result populate_page(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
					  bool write)
{
	if (look_up_page(sys, mm, vpn, write))
		return KS_FAULT_DONE;
	return ks_fault(sys, mm, vpn, write ? KS_FAULT_WRITE : KS_FAULT_READ);
}

/* Only MADV_POPULATE_... asks for the difference between the two kinds of memory errors. */
static long populate_error(enum ks_fault_result result, enum ks_populate how)
{
	if (result == KS_FAULT_OOM)
		return -ENOMEM;
	return result == KS_FAULT_HWPOISON && how != KS_POPULATE_LOCK ? -EHWPOISON : -EFAULT;
}

static long populate_vma(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma,
			 uint64_t start, uint64_t end, enum ks_populate how)
{
	const uint32_t flags = vma->flags & (KS_VM_WRITE | KS_VM_SHARED);
	const bool write =
		how == KS_POPULATE_WRITE || (how == KS_POPULATE_LOCK && flags == KS_VM_WRITE);
	const long ret = check_rights(vma, how);

	if (ret)
		return ret;
	for (uint64_t vpn = start; vpn < end; vpn = next_vpn(sys, mm, vpn, start)) {
		const enum ks_fault_result result = populate_page(sys, mm, vpn, write);

		if (result != KS_FAULT_DONE)
			return populate_error(result, how);
		ks_fault_touch(sys, mm, vpn);
	}
	return 0;
}

static long populate(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end,
		     enum ks_populate how, bool ignore_errors)
{
	while (start < end) {
		const struct ks_vma *vma = ks_vma_find(mm, start);
		uint64_t stop;
		long ret;

		if (!vma || vma->start > start) {
			if (how != KS_POPULATE_LOCK)
				return -ENOMEM;
			if (!vma || vma->start >= end)
				return 0;
			start = vma->start;
		}
		stop = vma->end < end ? vma->end : end;
		ret = populate_vma(sys, mm, vma, start, stop, how);
		if (ret && !ignore_errors)
			return ret;
		start = stop;
	}
	return 0;
}

/* Models: mm/gup.c:__mm_populate(), faultin_page_range(). No page is left in the LRU batch, as
 * seen on 6.18. */
long ks_populate(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end,
		 enum ks_populate how, bool ignore_errors)
{
	const long ret = populate(sys, mm, start, end, how, ignore_errors);

	ks_lru_drain_local(sys->env, &sys->frames);
	return ret;
}
