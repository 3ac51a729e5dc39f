/*
 * fault.h - floor 5: page faults, and what running code does to memory.
 *
 * Rooms: fault.c (read, write, copy-on-write, unshare faults), access.c
 * (writing and reading contents with the faults that they cause, pins),
 * migrate.c, memory_failure.c; and those of thp.h.
 *
 * Source of the rules: mm/memory.c:do_anonymous_page(), do_wp_page(),
 * do_swap_page(); spec of the rules for base pages: write to an exclusive page
 * reuses it; to a KSM page always copies; to another read-only page reuses it
 * iff this mapping holds the only reference (the local LRU batch is drained for
 * the test), else copies.
 */
#ifndef KS_FAULT_H
#define KS_FAULT_H

#include "mm.h"

enum ks_fault_kind {
	KS_FAULT_READ,
	KS_FAULT_WRITE,
	KS_FAULT_WRITE_FORCED, /* by the kernel itself: the VMA's rights are not asked, and the entry
				* becomes writable only if they allow it. KSM before unmerge_unshares */
	KS_FAULT_UNSHARE,      /* FAULT_FLAG_UNSHARE: make the page exclusive, keep it read-only */
};

enum ks_fault_result {
	KS_FAULT_DONE,
	KS_FAULT_SIGSEGV,  /* no VMA, or it forbids the access; or a bus error: no such file page */
	KS_FAULT_OOM,	   /* the simulated kernel has no page */
	KS_FAULT_HWPOISON, /* a bus error: the memory of the page failed */
};

/* Handle one fault; a no-op if the entry already allows the access. Counts pgfault, pgreuse,
 * cow_ksm, ksm_zero_pages, rss; allocates tables. New pages enter the LRU batch. */
enum ks_fault_result ks_fault(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
			      enum ks_fault_kind kind);

/* get_user_pages() with FOLL_TOUCH found the page that is there: it was accessed. */
void ks_fault_touch(struct ks_system *sys, const struct ks_mm *mm, uint64_t vpn);

/* get_user_pages_fast() of one page, to read it: *@pte is its entry then. The reference is the caller's
 * to take. */
enum ks_fault_result ks_access_get(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
				   struct ks_pte *pte);
/* The whole page gets @cid (the caller's reference moves in on KS_FAULT_DONE only). */
enum ks_fault_result ks_access_store(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
				     ks_cid cid);
/* Part of the page. */
enum ks_fault_result ks_access_poke(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
				    uint32_t offset, const uint8_t *bytes, uint32_t length);
/* The content that a reader sees, with a read fault; borrowed, KS_CID_NONE on SIGSEGV or OOM. */
ks_cid ks_access_load(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn);
/* The content behind a present entry; borrowed. */
ks_cid ks_pte_content(struct ks_system *sys, const struct ks_vma *vma, uint64_t vpn,
		      struct ks_pte pte);

/* 0 or -EFAULT, -ENOMEM */
long ks_access_pin(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages,
		   enum ksmsim_pin how);
/* pages unpinned */
long ks_access_unpin(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages);
/* memory_failure.c: MADV_HWPOISON. 0, -EINVAL, -EFAULT, -EBUSY, -EHWPOISON, -EOPNOTSUPP */
long ks_memory_failure(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages);
/* migrate.c: pages moved; KSM hears through @moved (may be NULL) of KSM pages: old and new pfn */
long ks_access_migrate(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages,
		       unsigned nid, void (*moved)(void *self, ks_pfn from, ks_pfn to), void *self);

#endif
