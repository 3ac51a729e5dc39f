/*
 * view_page.c - what can be seen of one page: its entry, its folio, and the words
 * of /proc/PID/pagemap and /proc/kpageflags.
 *
 *	pagemap  63 present  62 swap or marker  61 file  58 guard  56 mapped once  55 soft-dirty
 *		 0-54 pfn
 *
 * What could surprise: in an area that is new since clear_refs all is soft-dirty, holes
 * too; bit 56 is about mappings, not about AnonExclusive, and with
 * most kernels of the head of what a PMD maps. kpageflags has the flags of the
 * folio, which newer kernels show for each of its pages; what a page of a THP is
 * mapped by (PMD or PTE) is in neither word.
 *
 * Models: fs/proc/task_mmu.c:pte_to_pagemap_entry(), pagemap_pmd_range_thp();
 * fs/proc/page.c:stable_page_flags().
 * Differs: no uffd and idle bits; pages of files have no flags.
 */
#include "machine.h"

#define PM_BIT(n) (UINT64_C(1) << (n))
#define PM_PRESENT PM_BIT(63)
#define PM_SWAP PM_BIT(62)
#define PM_FILE PM_BIT(61)
#define PM_GUARD PM_BIT(58)
#define PM_EXCLUSIVE PM_BIT(56)
#define PM_SOFT_DIRTY PM_BIT(55)
#define PM_SWAP_SHIFT 5 /* of the offset: the area's number is below it */

enum kpf {
	KPF_REFERENCED = 2,
	KPF_UPTODATE = 3,
	KPF_DIRTY = 4,
	KPF_LRU = 5,
	KPF_ACTIVE = 6,
	KPF_MMAP = 11,
	KPF_ANON = 12,
	KPF_SWAPCACHE = 13,
	KPF_SWAPBACKED = 14,
	KPF_COMPOUND_HEAD = 15,
	KPF_COMPOUND_TAIL = 16,
	KPF_UNEVICTABLE = 18,
	KPF_HWPOISON = 19,
	KPF_KSM = 21,
	KPF_THP = 22,
	KPF_ZERO_PAGE = 24,
	KPF_RESERVED = 32,
	KPF_MLOCKED = 33,
	KPF_EXCLUSIVE = 34, /* the flag that doubles as AnonExclusive */
};
#define KPF(name) (UINT64_C(1) << KPF_##name)

static uint64_t kpf_if(bool set, enum kpf flag)
{
	return (uint64_t)set << flag;
}

static enum ksmsim_page_state page_state(const struct ksmsim *sim, struct ks_pte pte)
{
	if (ks_pte_is_guard(pte))
		return KSMSIM_PAGE_GUARD;
	if (ks_pte_is_hwpoison(pte))
		return KSMSIM_PAGE_HWPOISON;
	if (pte.bits & KS_PTE(NONPRESENT))
		return KSMSIM_PAGE_SWAP;
	if (!(pte.bits & KS_PTE(PRESENT)))
		return KSMSIM_PAGE_NONE;
	if (ks_pte_is_ksm_zero(pte))
		return KSMSIM_PAGE_KSM_ZERO;
	if (pte.bits & KS_PTE(SPECIAL))
		return KSMSIM_PAGE_ZERO;
	if (pte.bits & KS_PTE(FILE))
		return KSMSIM_PAGE_FILE;
	return ks_frame_test(ks_frame(&sim->sys.frames, pte.pfn), KS_FRAME_KSM) ? KSMSIM_PAGE_KSM
										: KSMSIM_PAGE_ANON;
}

/* ---- /proc/PID/pagemap ---- */

static bool mapped_once(const struct ksmsim *sim, const struct ksmsim_page *page)
{
	const struct ks_frames *frames = &sim->sys.frames;
	const struct ks_folio *folio = ks_folio_of(frames, (ks_pfn)page->pfn);

	if (page->pmd_mapped && folio && sim->env.feature[KS_FEAT_pagemap_exclusive_of_head])
		return ks_page_mapcount(frames, folio->head) == 1;
	return page->mapcount == 1;
}

static uint64_t pagemap_word(const struct ksmsim *sim, const struct ksmsim_page *page)
{
	switch (page->state) {
	case KSMSIM_PAGE_NONE:
		return 0;
	case KSMSIM_PAGE_GUARD:
		return PM_SWAP | PM_GUARD;
	case KSMSIM_PAGE_SWAP:
	case KSMSIM_PAGE_HWPOISON: /* the kind of entry, below the offset, differs between kernels */
		return PM_SWAP | page->pfn << PM_SWAP_SHIFT;
	case KSMSIM_PAGE_FILE:
		return PM_PRESENT | PM_FILE | page->pfn;
	case KSMSIM_PAGE_ZERO:
	case KSMSIM_PAGE_KSM_ZERO:
		return PM_PRESENT | page->pfn |
		       (page->huge_zero && sim->env.feature[KS_FEAT_huge_zero_file_bit] ? PM_FILE
											: 0);
	default:
		return PM_PRESENT | page->pfn | (mapped_once(sim, page) ? PM_EXCLUSIVE : 0);
	}
}

/* ---- /proc/kpageflags ---- */

static uint64_t flags_of_marks(const struct ks_frames *frames, ks_pfn pfn)
{
	const unsigned marks = ks_lru_marks(frames, pfn);

	return kpf_if(marks & KS_LRU_REFERENCED, KPF_REFERENCED) |
	       kpf_if(marks & KS_LRU_ACTIVE, KPF_ACTIVE);
}

static uint64_t flags_of_small(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_frame *frame = ks_frame(frames, pfn);

	return KPF(UPTODATE) | KPF(ANON) | flags_of_marks(frames, pfn) |
	       kpf_if(ks_frame_maps(frame), KPF_MMAP) |
	       kpf_if(ks_frame_test(frame, KS_FRAME_DIRTY), KPF_DIRTY) |
	       kpf_if(!ks_frame_test(frame, KS_FRAME_LRU_BATCH), KPF_LRU) |
	       kpf_if(ks_frame_test(frame, KS_FRAME_SWAPCACHE), KPF_SWAPCACHE) |
	       kpf_if(!ks_frame_test(frame, KS_FRAME_LAZYFREE), KPF_SWAPBACKED) |
	       kpf_if(ks_frame_test(frame, KS_FRAME_MLOCKED), KPF_MLOCKED) |
	       kpf_if(ks_frame_test(frame, KS_FRAME_UNEVICTABLE), KPF_UNEVICTABLE) |
	       kpf_if(ks_frame_test(frame, KS_FRAME_KSM), KPF_KSM) |
	       kpf_if(ks_frame_test(frame, KS_FRAME_EXCLUSIVE), KPF_EXCLUSIVE);
}

static uint64_t flags_of_head(const struct ks_frames *frames, const struct ks_folio *folio)
{
	return KPF(UPTODATE) | KPF(LRU) | flags_of_marks(frames, folio->head) |
	       kpf_if(ks_folio_test(folio, KS_FOLIO_DIRTY), KPF_DIRTY) |
	       kpf_if(!ks_folio_test(folio, KS_FOLIO_LAZYFREE), KPF_SWAPBACKED) |
	       kpf_if(ks_folio_test(folio, KS_FOLIO_MLOCKED), KPF_MLOCKED) |
	       kpf_if(ks_folio_test(folio, KS_FOLIO_UNEVICTABLE), KPF_UNEVICTABLE) |
	       kpf_if(ks_page_exclusive(frames, folio->head), KPF_EXCLUSIVE);
}

static uint64_t flags_of_large(const struct ksmsim *sim, const struct ks_folio *folio, ks_pfn pfn)
{
	const struct ks_frames *frames = &sim->sys.frames;
	const bool head = pfn == folio->head;
	const bool copies = sim->env.feature[KS_FEAT_kpf_tails_copy_head];
	uint64_t flags = KPF(ANON) | KPF(THP) | kpf_if(folio->maps, KPF_MMAP);

	flags |= head ? KPF(COMPOUND_HEAD) : KPF(COMPOUND_TAIL);
	if (head || copies)
		return flags | flags_of_head(frames, folio);
	/* the flag of a tail page is its own: only PTE mappings set it */
	return flags |
	       kpf_if(ks_frame_test(ks_frame(frames, pfn), KS_FRAME_EXCLUSIVE), KPF_EXCLUSIVE);
}

static uint64_t flags_of_zero(const struct ksmsim *sim, const struct ksmsim_page *page)
{
	if (!page->huge_zero)
		return KPF(RESERVED) | KPF(ZERO_PAGE);
	return KPF(ZERO_PAGE) | KPF(THP) |
	       (page->pfn == ks_huge_zero(&sim->sys.frames) ? KPF(COMPOUND_HEAD)
							    : KPF(COMPOUND_TAIL));
}

/* ---- one page ---- */

static void fill_frame(struct ksmsim *sim, ks_pfn pfn, struct ksmsim_page *out)
{
	const struct ks_frames *frames = &sim->sys.frames;
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	out->mapcount = ks_page_mapcount(frames, pfn);
	out->refs = ks_frame_refs(frames, pfn);
	out->anon_exclusive = ks_page_exclusive(frames, pfn);
	out->order = folio ? folio->order : 0;
	out->checksum = ks_content_checksum(&sim->sys.contents, ks_frame(frames, pfn)->cid);
	out->node = ks_frame_nid(frames, pfn);
	out->kpageflags = (folio ? flags_of_large(sim, folio, pfn) : flags_of_small(frames, pfn)) |
			  kpf_if(ks_frame_is_poisoned(frames, pfn), KPF_HWPOISON);
}

static void fill_item(const struct ksmsim *sim, const struct ks_mm *mm, uint64_t vpn,
		      struct ksmsim_page *out)
{
	const uint32_t leaf = ks_leaf_find(&sim->sys.tables, &mm->pt, vpn);
	struct ks_item item;

	out->has_item = ks_item_find(&sim->ksm, mm, vpn,
				     leaf ? ks_leaf(&sim->sys.tables, leaf) : NULL, &item);
	if (!out->has_item)
		return;
	out->item_checksum = *ks_item_checksum(&sim->ksm, &item);
	out->item_age = *ks_item_age(&sim->ksm, &item);
	out->item_skips = *ks_item_skips(&sim->ksm, &item);
}

static void fill_page(struct ksmsim *sim, const struct ks_mm *mm, uint64_t vpn,
		      struct ksmsim_page *out)
{
	const struct ks_vma *vma = ks_vma_at(mm, vpn);
	struct ks_pte pte = { 0 };

	if (vma)
		pte = ks_pte_get(&sim->sys.tables, &mm->pt, vpn);
	*out = (struct ksmsim_page){ .state = page_state(sim, pte),
				     .writable = pte.bits & KS_PTE(WRITE),
				     .dirty = pte.bits & KS_PTE(DIRTY),
				     .pfn = pte.pfn };
	out->soft_dirty = vma && sim->env.feature[KS_FEAT_soft_dirty] &&
			  (vma->soft_dirty || pte.bits & KS_PTE(SOFT));
	if (pte.bits & KS_PTE(PRESENT))
		out->pmd_mapped = ks_pmd_find(&sim->sys.tables, &mm->pt, vpn);
	if (ks_pte_is_anon(pte)) {
		fill_frame(sim, pte.pfn, out);
	} else if (pte.bits & KS_PTE(SPECIAL)) {
		out->huge_zero = pte.pfn != KS_PFN_ZERO;
		out->order = out->huge_zero ? sim->sys.frames.pmd_order : 0;
		out->kpageflags =
			flags_of_zero(sim, out) |
			kpf_if(ks_frame_is_poisoned(&sim->sys.frames, pte.pfn), KPF_HWPOISON);
	}
	out->pagemap = pagemap_word(sim, out) | (out->soft_dirty ? PM_SOFT_DIRTY : 0);
}

int ksmsim_page_get(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, struct ksmsim_page *out)
{
	const int refused = ks_machine_refuses(sim);
	const struct ks_mm *mm;
	uint64_t vpn;

	if (refused)
		return refused;
	if (!out)
		return KSMSIM_EARGUMENT;
	mm = ks_machine_mm(sim, pid);
	if (!mm)
		return KSMSIM_EPROCESS;
	vpn = vaddr >> sim->sys.tables.geo->page_shift;
	fill_page(sim, mm, vpn, out);
	if (vpn < ks_user_end(&sim->sys))
		fill_item(sim, mm, vpn, out);
	return 0;
}

int ksmsim_page_next(struct ksmsim *sim, uint32_t pid, uint64_t *vaddr, uint64_t end)
{
	const int refused = ks_machine_refuses(sim);
	const struct ks_mm *mm;
	struct ks_walk walk;
	unsigned shift;

	if (refused)
		return refused;
	if (!vaddr || *vaddr > end)
		return KSMSIM_EARGUMENT;
	mm = ks_machine_mm(sim, pid);
	if (!mm)
		return KSMSIM_EPROCESS;
	shift = sim->sys.tables.geo->page_shift;
	ks_walk_start(&walk, &sim->sys.tables, &mm->pt, *vaddr >> shift, end >> shift);
	while (ks_walk_leaf(&walk)) {
		const struct ks_leaf *leaf = ks_leaf(&sim->sys.tables, walk.leaf);
		const int slot = ks_leaf_next(leaf, walk.first);

		if (slot < 0 || (unsigned)slot > walk.last)
			continue;
		*vaddr = (leaf->vpn + (unsigned)slot) << shift;
		return 0;
	}
	*vaddr = end;
	return 0;
}
