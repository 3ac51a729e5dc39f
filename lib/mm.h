/*
 * mm.h - floor 4, address space: VMAs, mms, files, and the bells to KSM.
 *
 * Rooms: vma.c (find, split, merge, flags), mmap.c (mmap, munmap, mprotect,
 * brk), mremap.c, madvise.c (all advices and mlock), mm.c (create, fork, exec,
 * exit), zap.c (unmapping pages), swap.c, rmap.c (from frame to its mappings),
 * pmd.c (PMD entries of huge pages, the huge zero folio), split.c (folio splits), lazyfree.c,
 * clear_refs.c.
 *
 * Everything here takes the struct ks_system, which holds what all processes
 * share. Addresses are page numbers (vpn). Results: >= 0 or a negative Linux
 * errno of the *simulated* kernel (errno.h values of Linux).
 */
#ifndef KS_MM_H
#define KS_MM_H

#include "lru.h"
#include "pgtable.h"

enum ks_vm_flag {
	KS_VM_READ = 1 << 0,
	KS_VM_WRITE = 1 << 1,
	KS_VM_EXEC = 1 << 2,
	KS_VM_SHARED = 1 << 3,
	KS_VM_LOCKED = 1 << 4,
	KS_VM_MERGEABLE = 1 << 5,
	KS_VM_HUGEPAGE = 1 << 6,
	KS_VM_NOHUGEPAGE = 1 << 7,
	KS_VM_DONTCOPY = 1 << 8,
	KS_VM_WIPEONFORK = 1 << 9,
	KS_VM_DONTDUMP = 1 << 10,
	KS_VM_DROPPABLE = 1 << 11,
	KS_VM_HUGETLB = 1 << 12,
	KS_VM_NORESERVE = 1 << 13,
	KS_VM_GROWSDOWN = 1 << 14,
	KS_VM_ACCOUNT = 1 << 15, /* charged as memory of its own; unseen, but keeps VMAs apart */
};

struct ks_vma {
	uint64_t start, end; /* vpn, [start, end) */
	uint64_t pgoff;	     /* anonymous: the vpn it was created at; file: page index */
	uint32_t flags;	     /* enum ks_vm_flag */
	uint32_t anon_vma;   /* 0: none yet: nothing was ever faulted in anonymously */
	uint32_t anon_root;  /* of the anon_vma: fork shares it, so a page's place can be told */
	uint32_t file;	     /* 0: anonymous */
	bool cloned;	     /* its anon_vma chain has more than one link (inherited by fork) */
	bool guarded;	     /* VM_MAYBE_GUARD: had guard markers once */
	bool soft_dirty; /* VM_SOFTDIRTY: new since clear_refs, so that all of it counts as changed */
	uint64_t rmap_seq; /* when it was last put into the anon_vma's interval tree */
};

struct ks_file {
	struct ksmsim_content content; /* page i holds index i; bytes, if any, are owned here */
	uint64_t nr_pages;	       /* 0: endless; behind the last page is a bus error */
	struct ks_map pages;	       /* pages written through shared mappings: index + 1 -> cid */
};

/* One reference that ks_access_pin() took, oldest first in mm->pins. */
struct ks_pin {
	uint64_t vpn;
	ks_pfn pfn;
	enum ksmsim_pin how;
};

struct ks_mm {
	uint32_t id, pid;
	bool alive;   /* has users */
	unsigned nid; /* where its next pages come from */
	struct ks_pgtable pt;
	struct ks_vma *vmas; /* ascending, nr_vmas of room_vmas */
	uint32_t nr_vmas, room_vmas;
	uint64_t anon_roots;	 /* one bit, root % 64, for each root that a VMA here ever had */
	uint64_t brk_start, brk; /* vpn; 0: no heap yet */
	uint64_t rss_anon;	 /* MM_ANONPAGES */
	uint64_t rss_file;
	uint64_t nr_anon_pmds; /* PMD entries that map anonymous folios: smaps AnonHugePages */
	uint64_t swap_pages;
	bool has_pinned; /* MMF_HAS_PINNED: fork must look for pins */
	bool huge_zero;	 /* MMF_HUGE_ZERO_FOLIO: holds a reference of the huge zero folio */
	enum ksmsim_thp_disable thp_disable; /* MMF_DISABLE_THP_* */
	uint32_t khugepaged_slot;	     /* khugepaged's slot, 0 if it does not know the mm */
	/* KSM's share of the mm */
	bool merge_any;	   /* MMF_VM_MERGE_ANY */
	bool registered;   /* MMF_VM_MERGEABLE */
	uint32_t ksm_slot; /* KSM's slot, 0 if none */
	int64_t ksm_rmap_items, ksm_merging_pages, ksm_zero_pages;
	struct ks_pin *pins; /* nr_pins of room_pins, made by ksmsim_pin() */
	uint32_t nr_pins, room_pins;
};

/* Of ks_mm.anon_roots: what tells most mms apart from those that may map a folio. */
static inline uint64_t ks_anon_root_bit(uint32_t root)
{
	return UINT64_C(1) << root % 64;
}

struct ks_system;

/* What the floors below KSM tell it. A bell that is not wired is silent. */
struct ks_mm_hooks {
	void *self;
	/* fork: child's VMAs and pages are in place (or, without fork_enter_last, not yet).
	 * Returns 0 or -ENOMEM. Source: include/linux/ksm.h:ksm_fork(). */
	long (*fork)(void *self, struct ks_mm *child);
	/* the last user is gone, pages are still mapped: mm/ksm.c:__ksm_exit() */
	void (*exit)(void *self, struct ks_mm *mm);
	/* a new mm for exec of a merge-any process: include/linux/ksm.h:ksm_execve() */
	void (*exec)(void *self, struct ks_mm *mm, struct ks_mm *old);
	/* MADV_MERGEABLE / MADV_UNMERGEABLE on [start, end) inside @vma; changes *flags.
	 * Source: mm/ksm.c:ksm_madvise(). Returns 0 or -errno. */
	long (*madvise)(void *self, struct ks_mm *mm, const struct ks_vma *vma, uint64_t start,
			uint64_t end, bool mergeable, uint32_t *flags);
	/* mremap moves [start, end) of a VM_MERGEABLE vma: un-merge it first */
	long (*unmerge)(void *self, struct ks_mm *mm, uint64_t start, uint64_t end);
	/* Does an item lead reclaim to this mapping of a KSM page? mm/ksm.c:rmap_walk_ksm() */
	bool (*leads_to)(void *self, ks_pfn pfn, const struct ks_mm *mm, uint64_t vpn);
	/* khugepaged may take up the mm: @vma just became eligible, if it is: khugepaged_enter_vma().
	 * @child of a known @parent: khugepaged_fork(). The last user goes: khugepaged_exit(). */
	void *khugepaged;
	void (*khugepaged_enter)(void *khugepaged, struct ks_mm *mm, const struct ks_vma *vma);
	void (*khugepaged_fork)(void *khugepaged, struct ks_mm *child, struct ks_mm *parent);
	void (*khugepaged_exit)(void *khugepaged, struct ks_mm *mm);
	/* MADV_COLLAPSE on [start, end) inside one VMA: mm/khugepaged.c:madvise_collapse(); 0 or -errno */
	long (*collapse)(void *khugepaged, struct ks_mm *mm, uint64_t start, uint64_t end);
	/* flags of a new mapping of a merge-any mm: mm/ksm.c:ksm_vma_flags(), may register @mm */
	uint32_t (*vma_flags)(void *self, struct ks_mm *mm, uint32_t flags);
};

/* One slot of the swap area. */
struct ks_swap_slot {
	ks_cid cid;	/* holds a reference */
	uint32_t count; /* entries that point here */
	ks_pfn cached;	/* frame in the swap cache, or KS_PFN_NONE */
	/* where the cached frame belongs, if it is not a KSM page: its anon_vma's root and index */
	uint32_t root;
	uint64_t index;
};

struct ks_system {
	struct ks_env *env;
	struct ks_contents contents;
	struct ks_frames frames;
	struct ks_tables tables;
	struct ks_mm **mms; /* all mms that still exist, ascending id */
	uint32_t nr_mms, room_mms;
	uint32_t next_mm_id, next_pid, next_anon_vma;
	uint64_t next_rmap_seq;
	struct ks_file *files; /* [1 .. nr_files] */
	uint32_t nr_files, room_files;
	struct ks_pool swap;	     /* struct ks_swap_slot */
	struct ks_map swap_cache;    /* pfn -> slot, of frames with KS_FRAME_SWAPCACHE */
	bool huge_zero;		     /* the huge zero folio exists */
	uint32_t huge_zero_refs;     /* mms that hold it */
	uint64_t shrinker_carry;     /* folios that the deferred split shrinker still owes a look */
	struct ksmsim_policy policy; /* seams; an op that is NULL: the kernel's rule */
	struct ks_mm_hooks hooks;
};

void ks_system_init(struct ks_system *sys, struct ks_env *env, const struct ks_geometry *geo,
		    unsigned nr_nodes);
void ks_system_destroy(struct ks_system *sys);

/* The VMA enters the interval tree of its anon_vma, again if its boundaries changed: behind its
 * equals. Models: mm/vma.c:vma_prepare(), vma_complete(). */
static inline void ks_vma_reinsert(struct ks_system *sys, struct ks_vma *vma)
{
	vma->rmap_seq = ++sys->next_rmap_seq;
}

/* First vpn that no process can map. */
uint64_t ks_user_end(const struct ks_system *sys);

/* ---- file.c ---- */

/* A new file, > 0; @content is copied. */
uint32_t ks_file_new(struct ks_system *sys, const struct ksmsim_content *content);
/* Page @index as it is now; borrowed from the page cache. */
ks_cid ks_file_page(struct ks_system *sys, uint32_t file, uint64_t index);
/* Page @index becomes @cid; the caller's reference moves in. */
void ks_file_store(struct ks_system *sys, uint32_t file, uint64_t index, ks_cid cid);

/* ---- vma.c ---- */

#define KS_VMAS_MAX 65530u /* vm.max_map_count */

/* First VMA that ends above @vpn (it may start above it), or NULL: kernel find_vma(). Pointers
 * into mm->vmas are valid until the next change of the VMA list. */
struct ks_vma *ks_vma_find(const struct ks_mm *mm, uint64_t vpn);
/* The VMA that covers @vpn, or NULL. */
struct ks_vma *ks_vma_at(const struct ks_mm *mm, uint64_t vpn);
/* Insert; merges with its neighbours where the kernel does. -ENOMEM past 65530 VMAs. */
long ks_vma_insert(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma);
/* The same, but never merges with the VMA behind: brk() does so. */
long ks_vma_append(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma);
/* Take the VMAs of [start, end) off the list; they must lie wholly in it. */
void ks_vma_remove(struct ks_mm *mm, uint64_t start, uint64_t end);
/* Split the VMA over @vpn there, if @vpn is inside one. */
long ks_vma_split(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn);
/* Change the flags of [start, end), which lies in one VMA: splits and merges as vma_modify() does. */
long ks_vma_set_flags(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end,
		      uint32_t flags);
/* Give the VMA an anon_vma (a mergeable neighbour's or a new one): anon_vma_prepare(). */
void ks_vma_prepare_anon(struct ks_system *sys, struct ks_mm *mm, struct ks_vma *vma);
bool ks_mm_check_vmas(const struct ks_mm *mm);

/* ---- mm.c ---- */

struct ks_mm *ks_mm_new(struct ks_system *sys, uint32_t pid);
struct ks_mm *ks_mm_find(const struct ks_system *sys, uint32_t mm_id);
/* -ENOMEM or 0; *child is new */
long ks_mm_fork(struct ks_system *sys, struct ks_mm *parent, uint32_t child_pid,
		struct ks_mm **child);
/* a new mm with the same pid; @mm is exited */
struct ks_mm *ks_mm_exec(struct ks_system *sys, struct ks_mm *mm);
/* mmput() to zero: bell, unmap everything, free tables. The struct stays until ks_mm_free(). */
void ks_mm_exit(struct ks_system *sys, struct ks_mm *mm);
/* Gives back what @pin holds; @exiting: unless others hold it. */
void ks_pin_release(struct ks_system *sys, const struct ks_pin *pin, bool exiting);
/* Does somebody have a pin on the page, or so many references that it looks so? */
bool ks_may_be_pinned(const struct ks_system *sys, ks_pfn pfn);
/* no KSM slot and no user any more */
void ks_mm_free(struct ks_system *sys, struct ks_mm *mm);

/* ---- mmap.c, mremap.c, madvise.c: the system calls, arguments in vpn and pages ---- */

struct ks_mmap {
	uint64_t vpn, pages;
	unsigned prot, flags; /* enum ksmsim_prot, enum ksmsim_map */
	uint32_t file;
	uint64_t pgoff;
};
/* the vpn, or -errno */
int64_t ks_mmap(struct ks_system *sys, struct ks_mm *mm, const struct ks_mmap *req);
long ks_munmap(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages);
long ks_mprotect(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages,
		 unsigned prot);
int64_t ks_mremap(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t old_pages,
		  uint64_t new_pages, unsigned flags, uint64_t new_vpn);
/* the new end of the heap, vpn */
int64_t ks_brk(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn);
long ks_madvise(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages,
		enum ksmsim_advice advice);
long ks_mlock(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages, bool lock);
/* Writes @what to /proc/PID/clear_refs: 0 or -EINVAL. Defined in clear_refs.c. */
long ks_clear_refs(struct ks_system *sys, struct ks_mm *mm, unsigned what);

/* Private anonymous memory that is not huge TLB: vma_is_anonymous(). */
static inline bool ks_vma_is_anon(const struct ks_vma *vma)
{
	return !vma->file && !(vma->flags & KS_VM_HUGETLB);
}

/* Would a write to what an entry with @bits maps go unnoticed, if it were writable? Then it may become
 * so only by a write fault. Models: mm/internal.h:pte_needs_soft_dirty_wp(). */
static inline bool ks_tracks_writes(const struct ks_system *sys, const struct ks_vma *vma,
				    uint32_t bits)
{
	return sys->env->feature[KS_FEAT_soft_dirty] && !vma->soft_dirty && !(bits & KS_PTE(SOFT));
}

/* A free range of @pages at @hint, or the highest one below the mmap base; 0 if there is none. */
uint64_t ks_mmap_place(const struct ks_system *sys, const struct ks_mm *mm, uint64_t hint,
		       uint64_t pages);

/* Page faults ahead of the access. Defined one floor up, in fault.c: the only call that climbs. */
enum ks_populate {
	KS_POPULATE_LOCK,  /* as mlock() does: write faults where private memory is writable */
	KS_POPULATE_READ,  /* MADV_POPULATE_READ */
	KS_POPULATE_WRITE, /* MADV_POPULATE_WRITE */
};
/* LOCK skips holes. 0, -EFAULT (no right), -ENOMEM (no page; hole), READ and WRITE: -EINVAL (no
 * right). Stops at the first error, or with @ignore_errors goes on with the next VMA. */
long ks_populate(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end,
		 enum ks_populate how, bool ignore_errors);

/* The next slot >= @from of the walk's leaf, inside the walk's range, that is not none; or -1. */
static inline int ks_walk_slot(const struct ks_walk *walk, unsigned from)
{
	const int slot = ks_leaf_next(ks_leaf(walk->tables, walk->leaf), from);

	return slot >= 0 && (unsigned)slot <= walk->last ? slot : -1;
}

/* ---- zap.c ---- */

/* Unmap the pages of [start, end), a part of one VMA (entries become none; tables stay, and so do
 * guard markers): zap_page_range_single(). */
void ks_zap(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end);
/* The same for all VMAs of [start, end), one after the other, guard markers too: unmap_vmas(). */
void ks_zap_vmas(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end);
/* One PTE mapping of an anonymous page goes, of a large folio or not. */
static inline void ks_page_unmap(struct ks_system *sys, struct ks_mm *mm, ks_pfn pfn);
/* One KSM zero page entry of @mm goes: both zero page figures fall. */
void ks_zero_page_unmapped(struct ks_system *sys, struct ks_mm *mm);
/* How many entries from @slot to @last map neighbouring pages of the large folio that @slot maps a
 * page of: mm/internal.h:folio_pte_batch(). */
uint32_t ks_folio_run(const struct ks_system *sys, const struct ks_leaf *leaf, unsigned slot,
		      unsigned last);
/* What @pte stood for loses this one mapping or swap reference: counts and references, after the
 * entry itself was cleared or replaced. */
void ks_pte_gone(struct ks_system *sys, struct ks_mm *mm, struct ks_pte pte);
/* All that locked VMAs have in [start, end) is about to be unmapped: to the mlock batch with it. */
void ks_munlock_unmapped(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end);
/* The local LRU drains of munmap(), MADV_DONTNEED and exit, before pages are unmapped and when they
 * are freed, where the kernel has them. */
void ks_lru_drain_for_unmap(struct ks_system *sys);
/* Free the tables that no VMA needs; the VMAs are off the list, their pages unmapped. */
void ks_free_tables(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end);
/* true: a zero page entry that KSM placed (PRESENT, SPECIAL and the DIRTY mark, if tracked) */
static inline bool ks_pte_is_ksm_zero(struct ks_pte pte)
{
	return (pte.bits & (KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(DIRTY))) ==
	       (KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(DIRTY));
}
/* true: a guard marker (MADV_GUARD_INSTALL): any access is a fault */
static inline bool ks_pte_is_guard(struct ks_pte pte)
{
	return pte.bits & KS_PTE(NONPRESENT) && !pte.pfn;
}
/* The entry of a page whose memory failed: neither present nor swapped; pfn is the frame, which it
 * does not count as a mapping of. Models: include/linux/swapops.h:make_hwpoison_entry(). */
#define KS_PTE_HWPOISON (KS_PTE(NONPRESENT) | KS_PTE(FILE))
static inline bool ks_pte_is_hwpoison(struct ks_pte pte)
{
	return (pte.bits & KS_PTE_HWPOISON) == KS_PTE_HWPOISON;
}
/* true: maps an anonymous page (KSM pages are) */
static inline bool ks_pte_is_anon(struct ks_pte pte)
{
	return (pte.bits & (KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(FILE))) == KS_PTE(PRESENT);
}

/* ---- pmd.c: PMD entries that map huge pages ---- */

static inline uint64_t ks_pmd_pages(const struct ks_system *sys)
{
	return UINT64_C(1) << sys->frames.pmd_order;
}
/* First page of the block around @vpn. */
static inline uint64_t ks_pmd_start(const struct ks_system *sys, uint64_t vpn)
{
	return vpn & ~(ks_pmd_pages(sys) - 1);
}
/* Maps @folio (of PMD order) at @vpn, whose table is absent or empty; counts it. @bits: KS_PTE(...).
 * The folio's place (root, index) is the caller's to set. */
void ks_pmd_map(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint32_t folio,
		uint32_t bits);
/* Maps the huge zero folio at @vpn, with @bits more; false: it could not be allocated (counted). */
bool ks_pmd_map_huge_zero(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint32_t bits);
/* The mm's reference of the huge zero folio goes: at exit. */
void ks_huge_zero_put(struct ks_system *sys, struct ks_mm *mm);
/* The huge zero folio goes if no mm holds it: its shrinker. */
void ks_huge_zero_shrink(struct ks_system *sys);
/* If a PMD entry maps a huge page over @vpn, its table takes over: split_huge_pmd(). The folio stays. */
void ks_split_pmd(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn);
/* The same, if @vpn is inside the huge page: the end of a range or VMA cuts it. */
void ks_split_pmd_at(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn);
/* Unmaps the huge page that @leaf maps: zap_huge_pmd(). The deposited table goes. */
void ks_zap_pmd(struct ks_system *sys, struct ks_mm *mm, struct ks_leaf *leaf);
/* true: the PMD entry maps an anonymous folio, not the huge zero folio */
static inline bool ks_leaf_is_thp(const struct ks_leaf *leaf)
{
	return leaf->huge && !(leaf->pmd.bits & KS_PTE(SPECIAL));
}

/* ---- split.c ---- */

/*
 * Split the large folio of page @at into folios of @order (0: pages); @uniform false: only around
 * @at. The caller holds one reference, got of @at's folio, which it keeps on what @at is then; it
 * is the only reference that is no mapping, or the split fails.
 *
 * Every mapping of every mm is replaced; zero-filled single pages may be replaced by the zero page
 * (feature split_zero_remap, policy zero_remap); pages that nobody maps are freed.
 *
 * Models: mm/huge_memory.c:__folio_split(). Counted as thp_split_page(_failed), mTHP split(_failed).
 * Returns: 0, -EINVAL (order), -EAGAIN (references): then nothing changed.
 */
long ks_split_folio(struct ks_system *sys, ks_pfn at, unsigned order, bool uniform,
		    enum ksmsim_split_why why);

/* Of an entry that was a migration entry for a while. Models: mm/migrate.c:remove_migration_pte(). */
static inline uint32_t ks_migrated_bits(const struct ks_system *sys, uint32_t bits)
{
	if (bits & KS_PTE(DIRTY) && !sys->env->feature[KS_FEAT_migration_keeps_soft])
		bits |= KS_PTE(SOFT);
	return bits & ~KS_PTE(WATCHED);
}

/* ---- rmap.c ---- */

/* Calls @visit for every place that may map the folio, in the order of the anon_vma's interval tree:
 * by page offset of the VMA, among equals the one last changed last. @vpn is where the folio's first page would be (it may lie outside the VMA);
 * [start, end) is the part of the folio's range that the VMA covers. */
void ks_rmap_folio(struct ks_system *sys, const struct ks_folio *folio,
		   void (*visit)(void *self, struct ks_mm *mm, uint64_t vpn, uint64_t start,
				 uint64_t end),
		   void *self);

/* Calls @visit for every present entry of every mm that maps @pfn, by mm id, then address.
 * Costs a walk of all page tables: for rare operations (migration, reclaim). */
void ks_rmap_walk(struct ks_system *sys, ks_pfn pfn,
		  void (*visit)(void *self, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte),
		  void *self);

/* ---- lazyfree.c ---- */

/* Every page that MADV_FREE let go, and that nobody locks, holds or wrote since, leaves every
 * process: what reclaim does without a swap device, if it goes on for long. true: some were used so
 * much that they go only when it is done @again, after the shrinkers. */
bool ks_reclaim_lazyfree(struct ks_system *sys, bool again);
/* The same of the one folio that @vma maps at @vpn, whoever used it. false: it stays. */
bool ks_discard_lazyfree(struct ks_system *sys, const struct ks_vma *vma, uint64_t vpn, ks_pfn pfn);

/* ---- swap.c ---- */

/* Reclaim one frame: unmap it everywhere, leaving swap entries. Mappings removed. */
uint64_t ks_swap_out(struct ks_system *sys, ks_pfn pfn, bool keep_cached);
/* Splits the large folio of @pfn, which shall go out, and counts that; false: it cannot be. */
bool ks_swap_split(struct ks_system *sys, ks_pfn pfn);
void ks_swap_put(struct ks_system *sys, uint32_t slot); /* an entry goes */
void ks_swap_dup(struct ks_system *sys, uint32_t slot); /* fork copies an entry */
static inline struct ks_swap_slot *ks_swap_slot(const struct ks_system *sys, uint32_t slot)
{
	return ks_pool_at(&sys->swap, slot);
}
/* @pfn enters the swap cache as the page of @slot; @root, @index: where it belongs. */
void ks_swap_cache_add(struct ks_system *sys, uint32_t slot, ks_pfn pfn, uint32_t root,
		       uint64_t index);
/* Leaves the swap cache unless entries still point to the slot: folio_free_swap(). The frame goes
 * if that was its last reference. */
bool ks_swap_cache_drop(struct ks_system *sys, ks_pfn pfn);
/* One mapping less of an anonymous frame; with the last one it leaves the swap cache too, if it
 * can. To be used instead of ks_frame_unmap() wherever the frame may be in the swap cache. */
void ks_anon_unmap(struct ks_system *sys, ks_pfn pfn);

static inline void ks_page_unmap(struct ks_system *sys, struct ks_mm *mm, ks_pfn pfn)
{
	if (ks_pfn_is_large(&sys->frames, pfn))
		ks_folio_unmap_ptes(sys->env, &sys->frames, pfn, 1, mm->id);
	else
		ks_anon_unmap(sys, pfn);
}

/* All of this floor that can be checked; a sentence about the first fault, or NULL. */
const char *ks_system_check(struct ks_system *sys);

#endif
