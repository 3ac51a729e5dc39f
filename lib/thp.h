/*
 * thp.h - floor 5: who gets large folios, and what makes and unmakes them.
 *
 * Rooms: thp.c (eligibility, faults on empty blocks, writes to huge pages),
 * collapse.c (one block becomes a THP: for MADV_COLLAPSE and khugepaged),
 * khugepaged.c (the daemon's list and pacing), shrinker.c (the deferred split
 * queue under pressure).
 */
#ifndef KS_THP_H
#define KS_THP_H

#include "fault.h"

/* ---- thp.c ---- */

enum ks_thp_use { KS_THP_FAULT, KS_THP_SMAPS, KS_THP_KHUGEPAGED, KS_THP_COLLAPSE };

/* Orders that @vma may have for this use, bit by bit; 0: none. Whether a block fits anywhere in @vma
 * is asked too, but not for FAULT. Models: mm/huge_memory.c:__thp_vma_allowable_orders(). */
uint32_t ks_thp_orders(const struct ks_system *sys, const struct ks_mm *mm,
		       const struct ks_vma *vma, enum ks_thp_use use);
/* Is the aligned block of 1 << @order pages around @vpn inside @vma? */
static inline bool ks_thp_fits(const struct ks_vma *vma, uint64_t vpn, unsigned order)
{
	const uint64_t pages = UINT64_C(1) << order;
	const uint64_t start = vpn & ~(pages - 1);

	return start >= vma->start && start + pages <= vma->end;
}

/* A fault where there is no page table, for @write or reading. true: a huge page is there now; false:
 * it goes on with the page. Models: do_huge_pmd_anonymous_page(). */
bool ks_thp_fault(struct ks_system *sys, struct ks_mm *mm, struct ks_vma *vma, uint64_t vpn,
		  bool write);
/* A write fault on an empty entry of a table, in anonymous memory with an anon_vma. true: a folio of
 * several pages is there now; false: it goes on with a single page. Models: alloc_anon_folio(). */
bool ks_thp_fault_ptes(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma,
		       uint64_t vpn);
/* A write (or unshare) fault on a huge page that does not allow it. true: it does now; false: the
 * PMD is split, and it goes on with the page. Models: do_huge_pmd_wp_page(). */
bool ks_thp_write(struct ks_system *sys, struct ks_mm *mm, struct ks_vma *vma, uint64_t vpn,
		  bool write);

/* ---- collapse.c ---- */

/* Names as in include/trace/events/huge_memory.h. */
enum ks_scan_result {
	KS_SCAN_SUCCEED,
	KS_SCAN_FAIL,
	KS_SCAN_PMD_NULL, /* not even a table for the PMD entry */
	KS_SCAN_PMD_NONE,
	KS_SCAN_PMD_MAPPED,
	KS_SCAN_EXCEED_NONE_PTE,
	KS_SCAN_EXCEED_SWAP_PTE,
	KS_SCAN_EXCEED_SHARED_PTE,
	KS_SCAN_PTE_NON_PRESENT,
	KS_SCAN_PAGE_RO,
	KS_SCAN_LACK_REFERENCED_PAGE,
	KS_SCAN_PAGE_NULL,
	KS_SCAN_PAGE_ANON,
	KS_SCAN_PAGE_COUNT,
	KS_SCAN_PAGE_LOCK,
	KS_SCAN_PAGE_LRU,
	KS_SCAN_PAGE_LAZYFREE,
	KS_SCAN_DEL_PAGE_LRU,
	KS_SCAN_VMA_CHECK,
	KS_SCAN_ALLOC_HUGE_PAGE_FAIL,
	KS_SCAN_CGROUP_CHARGE_FAIL,
	KS_SCAN_PTE_MAPPED_HUGEPAGE,
};

/* What went into collapses. */
struct ks_collapse_effort {
	uint64_t looked; /* page-table entries looked at */
	bool attempted;	 /* nothing spoke against one: a folio was asked for, the lock let go */
};
/* Collapse the block of PMD order at @vpn (aligned), which lies in one VMA of @mm. @khugepaged: its
 * limits hold; else it is MADV_COLLAPSE. *@effort grows. */
enum ks_scan_result ks_collapse_block(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
				      bool khugepaged, struct ks_collapse_effort *effort);
/* MADV_COLLAPSE of [start, end) of one VMA; 0 or -errno. For ks_mm_hooks. */
long ks_madvise_collapse(void *khugepaged, struct ks_mm *mm, uint64_t start, uint64_t end);

/* ---- khugepaged.c ---- */

struct ks_khugepaged {
	struct ks_system *sys;
	struct ks_pool slots;	      /* one for each known mm: struct ks_khugepaged_slot */
	uint32_t first, last, cursor; /* slots; cursor 0: at the head of the list */
	uint64_t vpn;		      /* next block of the cursor's mm */
	/* the wake-up that is going on, if it sleeps in between for want of memory */
	bool was_short;	   /* it does: an allocation failed */
	uint64_t progress; /* of the budget used up */
	unsigned heads;	   /* times that it stood at the head of the list */
	/* in virtual time */
	bool timed;	     /* in a sleep that ends at wake_ns; else in the wait for work */
	uint64_t wake_ns;    /* end of that sleep */
	uint64_t slept_with; /* the knob of that sleep when it began: a change ends the sleep */
};

void ks_khugepaged_init(struct ks_khugepaged *khugepaged, struct ks_system *sys);
void ks_khugepaged_destroy(struct ks_khugepaged *khugepaged);
/* Sets the bells of khugepaged in @hooks. */
void ks_khugepaged_hooks(struct ks_khugepaged *khugepaged, struct ks_mm_hooks *hooks);
/* One wake-up; @full: without budget, until every mm was passed once. Blocks collapsed. */
uint64_t ks_khugepaged_wake(struct ks_khugepaged *khugepaged, bool full);
/* Does khugepaged run at all with these knobs? Models: hugepage_pmd_enabled(). */
bool ks_khugepaged_enabled(const struct ks_system *sys);
/* When it wakes up by itself, ns since boot; UINT64_MAX: it waits for work. */
uint64_t ks_khugepaged_due(const struct ks_khugepaged *khugepaged);
/* It is due: a wake-up, or a part of one, and the sleep behind it begins. */
void ks_khugepaged_run(struct ks_khugepaged *khugepaged);

/* ---- shrinker.c ---- */

/* The deferred split queue, all of it once, as "echo 2 > drop_caches" does: folios split. Models:
 * deferred_split_scan(). */
uint64_t ks_shrink_deferred(struct ks_system *sys);
/* As often as memory.force_empty of the memory cgroup asks for it. */
uint64_t ks_shrink_force_empty(struct ks_system *sys);

#endif
