/*
 * ksmsim.h - the public interface of libksmsim.
 *
 * A machine (struct ksmsim) models one Linux host's anonymous memory and its
 * same-page merging. Machines share nothing: each may live on its own thread.
 * Nothing is printed, no clock is read, no file is touched; the same calls give
 * the same answers everywhere.
 *
 * Return values. Every function that can fail returns 0 or a negative
 * KSMSIM_E... code of errors.def: the library could not do it. What the
 * *simulated kernel* answers comes out through `ret`, as the system call would
 * return it: >= 0 or a negative errno. `ret` may be NULL. Out parameters are
 * written only when the function returns 0.
 *
 * After KSMSIM_ENOMEM or KSMSIM_ELIMIT nobody can read the machine any more:
 * every further call but ksmsim_free() returns the same code. These two,
 * KSMSIM_EREENTRY, and KSMSIM_EARGUMENT for a NULL machine, can come from every
 * function and are not repeated below, where -ENAME stands for KSMSIM_ENAME.
 *
 * Ownership: the caller owns what it passes in, the machine copies what it
 * keeps; ksmsim_free() frees everything that the machine made.
 *
 * Units: addresses and lengths are bytes, `vaddr` is an address in the
 * simulated process, `pfn` a frame number, times are ns of virtual time.
 */
#ifndef KSMSIM_H
#define KSMSIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KSMSIM_API __attribute__((visibility("default")))
#else
#define KSMSIM_API
#endif

#define KSMSIM_VERSION "0.1.0"

struct ksmsim;

/* ---- tables ---- */

enum ksmsim_error {
	KSMSIM_OK = 0,
#define ERROR(name, number, sentence) KSMSIM_E##name = (number),
#include "ksmsim/errors.def"
};

enum ksmsim_counter {
#define COUNTER(name, kind, file, feature, unit, doc) KSMSIM_COUNT_##name,
#include "ksmsim/counters.def"
	KSMSIM_COUNT_NR
};

/* Statistics of large folios, each for every order. */
enum ksmsim_mthp {
#define MTHP(name, feature, doc) KSMSIM_MTHP_##name,
#include "ksmsim/mthp.def"
	KSMSIM_MTHP_NR
};
#define KSMSIM_ORDERS 14 /* a PMD of 64 KiB pages is of order 13 */

enum ksmsim_trace {
#define TRACE(name, system, fields, doc) KSMSIM_TRACE_##name,
#include "ksmsim/trace.def"
	KSMSIM_TRACE_NR
};

enum ksmsim_inject {
#define INJECT(name, doc) KSMSIM_INJECT_##name,
#include "ksmsim/inject.def"
	KSMSIM_INJECT_NR
};

/* One row of any table, for lists, help and documentation. */
struct ksmsim_row {
	const char *name;
	const char *file; /* kernel path, version column or reference; "" if none */
	const char *unit; /* "" if none */
	const char *doc;
};

enum ksmsim_table {
	KSMSIM_TABLE_ERRORS,
	KSMSIM_TABLE_PROFILES,
	KSMSIM_TABLE_FEATURES,
	KSMSIM_TABLE_KNOBS,
	KSMSIM_TABLE_COUNTERS,
	KSMSIM_TABLE_MTHP,
	KSMSIM_TABLE_TRACE,
	KSMSIM_TABLE_COSTS,
	KSMSIM_TABLE_INJECT,
	KSMSIM_TABLE_GEOMETRIES,
	KSMSIM_TABLE_ADVICES,
	KSMSIM_TABLE_POLICIES,
	KSMSIM_TABLE_NR
};

/**
 * ksmsim_table_rows() - the rows of one table, in the order of the .def file
 * @table: which one
 * @nr:    out: number of rows
 * Returns: the first row (static, never freed), or NULL for a bad @table.
 */
KSMSIM_API const struct ksmsim_row *ksmsim_table_rows(enum ksmsim_table table, size_t *nr);

/**
 * ksmsim_strerror() - the sentence of an error code
 * Returns: a static string, also for unknown codes.
 */
KSMSIM_API const char *ksmsim_strerror(int error);

/* ---- the machine ---- */

/* Where host memory comes from. alloc() must return zeroed memory aligned to 16
 * or NULL; a machine never keeps anything from elsewhere. */
struct ksmsim_allocator {
	void *(*alloc)(void *self, size_t bytes);
	void (*free)(void *self, void *ptr, size_t bytes);
	void *self;
};

struct ksmsim_config {
	const char *profile;  /* row of profiles.def; NULL: "linux-6.18" */
	const char *geometry; /* row of geometries.def; NULL: "x86-64-4level" */
	uint64_t seed;	      /* for every chance; printed by failed assertions */
	unsigned nr_nodes;    /* NUMA nodes, 1..16; 0: 1 */
	const struct ksmsim_allocator *allocator; /* NULL: the built-in one; copied */
};

/**
 * ksmsim_new() - a machine as it is after boot: no process, every knob at its default
 * @config: NULL for all defaults; not kept
 * @out:    the machine; free with ksmsim_free()
 * Returns: 0, -ENAME (unknown profile or geometry), -EARGUMENT, -ENOMEM.
 */
KSMSIM_API int ksmsim_new(const struct ksmsim_config *config, struct ksmsim **out);

/** ksmsim_free() - free the machine and all that it owns; NULL is allowed. */
KSMSIM_API void ksmsim_free(struct ksmsim *sim);

/**
 * ksmsim_feature_set() - switch one row of features.def on top of the profile
 * @on: the behaviour
 * Call it before the first process exists. Returns: 0, -ENAME, -EARGUMENT.
 */
KSMSIM_API int ksmsim_feature_set(struct ksmsim *sim, const char *name, bool on);

/**
 * ksmsim_feature_get() - is a row of features.def on?
 * @on: out; may be NULL
 * Returns: 0, -ENAME.
 */
KSMSIM_API int ksmsim_feature_get(struct ksmsim *sim, const char *name, bool *on);

/**
 * ksmsim_cost_set() - price of one row of costs.def
 * @ns: ns of CPU time for each; counts are exact, times are modelled from them
 * Returns: 0, -ENAME.
 */
KSMSIM_API int ksmsim_cost_set(struct ksmsim *sim, const char *name, uint64_t ns);

/**
 * ksmsim_cost_get() - price and use of one row of costs.def
 * @ns:    out: ns for each; may be NULL
 * @count: out: how often it was charged so far; may be NULL
 * Returns: 0, -ENAME.
 */
KSMSIM_API int ksmsim_cost_get(struct ksmsim *sim, const char *name, uint64_t *ns, uint64_t *count);

/* ---- events ---- */

/* One tracepoint. Which fields are valid: trace.def. */
struct ksmsim_event {
	uint64_t ns; /* virtual time */
	enum ksmsim_trace trace;
	uint32_t mm;	/* id of the mm (ksmsim_process.mm); with vaddr it names the rmap item */
	uint64_t vaddr; /* bytes */
	uint64_t pfn;
	bool has_ksm_page; /* merge_with_ksm_page: the target was a KSM page already */
	int32_t error;	   /* 0 or a negative errno */
	int32_t seq;
	uint32_t rmap_items;
	int64_t scan_time; /* seconds */
	uint64_t pages_to_scan;
	uint32_t cpu_percent;
	/* of collapses */
	const char *status;    /* how it ends, as the kernel's trace names it; static */
	bool isolated;	       /* it ends well */
	bool khugepaged;       /* khugepaged's; else MADV_COLLAPSE of the mm */
	int32_t ret;	       /* 1 or 0: the pages could be read */
	uint32_t referenced;   /* pages in use, counted for khugepaged only */
	uint32_t none_or_zero; /* holes */
	uint32_t unmapped;     /* swap entries */
	uint32_t swapped_in;   /* pages read */
};

typedef void (*ksmsim_listener)(void *self, const struct ksmsim_event *event);

/**
 * ksmsim_listen() - hand every event to @listener, as it happens
 * @listener: NULL to stop; must not call back into @sim
 * @self:     passed through; owned by the caller
 */
KSMSIM_API int ksmsim_listen(struct ksmsim *sim, ksmsim_listener listener, void *self);

/**
 * ksmsim_event_format() - the event as the kernel's trace file prints it
 * @buf, @size: where; always terminated when @size > 0
 * "ksm_merge_with_ksm_page: ksm pfn 3 rmap_item 1:0x10000000000 mm 1 error 0":
 * the part from the event name on. Returns: the length as snprintf() does.
 */
KSMSIM_API int ksmsim_event_format(const struct ksmsim_event *event, char *buf, size_t size);

/* ---- knobs and counters ---- */

/**
 * ksmsim_sysfs_write() - write to a file below /sys/kernel/mm
 * @file: "ksm/run"; text and len: exactly what write(2) would pass
 * @ret:  len, or -EINVAL, -ERANGE, -EBUSY, -ENOMEM, -ENOENT, -EACCES (read-only file)
 */
KSMSIM_API int ksmsim_sysfs_write(struct ksmsim *sim, const char *file, const char *text,
				  size_t len, int64_t *ret);

/**
 * ksmsim_sysfs_read() - what the file reads, newline included
 * @buf, @size: where; always terminated when @size > 0
 * @ret: length, or -ENOENT
 */
KSMSIM_API int ksmsim_sysfs_read(struct ksmsim *sim, const char *file, char *buf, size_t size,
				 int64_t *ret);

/**
 * ksmsim_counter_get() - one figure of counters.def
 * @value: out; units are the row's: pages, bytes, ns or a plain number; can be negative
 * Returns: 0, -EARGUMENT.
 */
KSMSIM_API int ksmsim_counter_get(struct ksmsim *sim, enum ksmsim_counter counter, int64_t *value);

/* ---- processes and memory ---- */

/**
 * ksmsim_spawn() - a new process with an empty address space
 * @pid: out, > 0, never used again in this machine; its pages come from NUMA node 0
 * Returns: 0.
 */
KSMSIM_API int ksmsim_spawn(struct ksmsim *sim, uint32_t *pid);
/**
 * ksmsim_fork() - fork(2)
 * @child: out: the new process; 0 if @ret is an error
 * @ret:   0 or -ENOMEM
 * Both sides map the same pages read-only; KSM is told as in include/linux/ksm.h:ksm_fork().
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_fork(struct ksmsim *sim, uint32_t pid, uint32_t *child, int64_t *ret);
/**
 * ksmsim_exec() - execve(2): the process keeps its pid and gets a new, empty mm
 * @ret: 0
 * The new mm has a new id in events; a merge-any process stays one (ksm_execve()).
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_exec(struct ksmsim *sim, uint32_t pid, int64_t *ret);
/**
 * ksmsim_exit() - the last user of the mm goes: KSM is told, then all is unmapped
 * Source: kernel/fork.c:mmput(), mm/ksm.c:__ksm_exit().
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_exit(struct ksmsim *sim, uint32_t pid);
/**
 * ksmsim_node_set() - NUMA node from which the process's next pages come
 * @node: 0 .. nr_nodes - 1
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_node_set(struct ksmsim *sim, uint32_t pid, unsigned node);

enum ksmsim_prot {
	KSMSIM_PROT_NONE = 0,
	KSMSIM_PROT_READ = 1,
	KSMSIM_PROT_WRITE = 2,
	KSMSIM_PROT_EXEC = 4
};

enum ksmsim_map {
	KSMSIM_MAP_PRIVATE = 0,
	KSMSIM_MAP_SHARED = 1,
	KSMSIM_MAP_FIXED = 2,		/* replace what is there */
	KSMSIM_MAP_FIXED_NOREPLACE = 4, /* -EEXIST if something is there */
	KSMSIM_MAP_NORESERVE = 8,
	KSMSIM_MAP_LOCKED = 16,
	KSMSIM_MAP_POPULATE = 32,
	KSMSIM_MAP_DROPPABLE = 64,
	KSMSIM_MAP_HUGETLB = 128,
	KSMSIM_MAP_STACK = 256,
	KSMSIM_MAP_GROWSDOWN = 512,
};

struct ksmsim_mmap {
	uint64_t vaddr;	 /* hint, or the place with FIXED */
	uint64_t length; /* bytes, rounded up to pages */
	unsigned prot;	 /* enum ksmsim_prot */
	unsigned flags;	 /* enum ksmsim_map */
	uint32_t file;	 /* 0: anonymous; else a file made by ksmsim_file_new() */
	uint64_t offset; /* bytes into the file, page aligned */
};

/**
 * ksmsim_mmap() - mmap(2)
 * @req: not kept
 * @ret: the address, or -EINVAL (length 0, alignment), -ENOMEM (no room, 65530 VMAs),
 *       -EEXIST (FIXED_NOREPLACE), -EAGAIN (MAP_LOCKED)
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT (no such file).
 */
KSMSIM_API int ksmsim_mmap(struct ksmsim *sim, uint32_t pid, const struct ksmsim_mmap *req,
			   int64_t *ret);
/**
 * ksmsim_munmap() - munmap(2)
 * @vaddr, @length: bytes; @vaddr page aligned, @length rounded up; holes are fine
 * @ret: 0, -EINVAL (alignment, length 0), -ENOMEM (a split past 65530 VMAs)
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_munmap(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
			     int64_t *ret);
/**
 * ksmsim_mprotect() - mprotect(2)
 * @vaddr, @length: bytes; @vaddr page aligned, @length rounded up
 * @prot: enum ksmsim_prot, or'ed
 * @ret: 0, -EINVAL, -ENOMEM (a hole: what lies before it is changed)
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_mprotect(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
			       unsigned prot, int64_t *ret);

enum ksmsim_mremap_flags {
	KSMSIM_MREMAP_MAYMOVE = 1,
	KSMSIM_MREMAP_FIXED = 2,
	KSMSIM_MREMAP_DONTUNMAP = 4
};
/**
 * ksmsim_mremap() - mremap(2)
 * @vaddr, @old_length, @new_length: bytes, lengths rounded up
 * @flags: enum ksmsim_mremap_flags; @new_vaddr: only with FIXED
 * @ret: the address, or -EINVAL, -EFAULT (not one VMA), -ENOMEM (cannot grow in place, no room)
 * Moving mergeable memory un-merges it first. Source: mm/mremap.c.
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_mremap(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t old_length,
			     uint64_t new_length, unsigned flags, uint64_t new_vaddr, int64_t *ret);
/**
 * ksmsim_brk() - brk(2)
 * @vaddr: new end of the heap, bytes; 0 asks
 * @ret: the end of the heap afterwards; unchanged if it could not be moved
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_brk(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, int64_t *ret);

enum ksmsim_advice {
#define ADVICE(name, linux_value, doc) KSMSIM_MADV_##name,
#include "ksmsim/advices.def"
	KSMSIM_MADV_NR
};

/**
 * ksmsim_madvise() - madvise(2)
 * @vaddr, @length: bytes; @vaddr page aligned, @length rounded up; length 0 does nothing
 * @advice: row of advices.def
 * @ret: 0, -EINVAL, -ENOMEM (a hole: the rest is done all the same), -EAGAIN (KSM had no memory);
 *       HWPOISON: 0, -EFAULT (no page there), -EHWPOISON (133: it failed before, or belongs to a large
 *       folio that could not be split), -EBUSY (the zero page), -EOPNOTSUPP (not modelled: see
 *       lib/memory_failure.c)
 * Source: mm/madvise.c, mm/ksm.c:ksm_madvise().
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_madvise(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
			      enum ksmsim_advice advice, int64_t *ret);
/**
 * ksmsim_mlock() - mlock(2): locks and faults in; that copies merged pages of writable mappings apart
 * @vaddr, @length: bytes; rounded out to pages
 * @ret: 0, -ENOMEM (a hole), -EAGAIN
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_mlock(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
			    int64_t *ret);
/**
 * ksmsim_munlock() - munlock(2)
 * @vaddr, @length: bytes; rounded out to pages
 * @ret: 0, -ENOMEM (a hole)
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_munlock(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
			      int64_t *ret);
/**
 * ksmsim_clear_refs() - write @what to /proc/PID/clear_refs
 * @what: 4: nothing counts as changed any more (soft-dirty), all is write-protected; 1: nothing as
 *        accessed; 2, 3: the same of anonymous memory, of files and shared memory; 5: does nothing here
 * @ret: 0, -EINVAL (another @what)
 * Without the feature soft_dirty 4 does nothing. Source: fs/proc/task_mmu.c:clear_refs_write().
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_clear_refs(struct ksmsim *sim, uint32_t pid, unsigned what, int64_t *ret);
/**
 * ksmsim_prctl_merge() - prctl(PR_SET_MEMORY_MERGE, @on)
 * @ret: 0, -EINVAL (the profile has no such prctl), -ENOMEM
 * Source: kernel/sys.c, mm/ksm.c:ksm_enable_merge_any(), ksm_disable_merge_any().
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_prctl_merge(struct ksmsim *sim, uint32_t pid, bool on, int64_t *ret);
/**
 * ksmsim_prctl_merge_get() - prctl(PR_GET_MEMORY_MERGE)
 * @ret: 0 or 1, -EINVAL (the profile has no such prctl)
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_prctl_merge_get(struct ksmsim *sim, uint32_t pid, int64_t *ret);

enum ksmsim_thp_disable {
	KSMSIM_THP_DISABLE_OFF,
	KSMSIM_THP_DISABLE_ALL,
	KSMSIM_THP_DISABLE_EXCEPT_ADVISED, /* PR_THP_DISABLE_EXCEPT_ADVISED */
};
/**
 * ksmsim_prctl_thp_disable() - prctl(PR_SET_THP_DISABLE)
 * @ret: 0, -EINVAL (the profile has no such mode)
 * Only future faults and collapses are affected; inherited by fork and exec.
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_prctl_thp_disable(struct ksmsim *sim, uint32_t pid,
					enum ksmsim_thp_disable mode, int64_t *ret);

/* ---- large folios ---- */

/**
 * ksmsim_split() - split the large folios of a range, as debugfs' split_huge_pages does
 * @vaddr, @length: bytes, page aligned
 * @order: of the folios that they are split to; 0: pages
 * @at: page of each folio around which alone it is split, or -1: all of it
 * @ret: folios split, -EINVAL (the profile cannot do it)
 * Folios with references beyond their mappings are passed over and not counted.
 * Source: mm/huge_memory.c:split_huge_pages_pid().
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_split(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
			    unsigned order, int64_t at, int64_t *ret);
/**
 * ksmsim_shrink() - run the deferred split shrinker over its whole queue
 * @all: the shrinker of the huge zero folio, too, as "echo 2 > /proc/sys/vm/drop_caches" does;
 *       otherwise only what memory.force_empty of a memory cgroup does
 * @ret: folios split
 * Source: mm/huge_memory.c:deferred_split_scan().
 * Returns: 0.
 */
KSMSIM_API int ksmsim_shrink(struct ksmsim *sim, bool all, int64_t *ret);
/**
 * ksmsim_khugepaged() - one wake-up of khugepaged, without a limit by pages_to_scan if @full
 * @ret: blocks collapsed
 * @full: goes on until every process was passed once
 * Source: mm/khugepaged.c:khugepaged_do_scan().
 * Returns: 0.
 */
KSMSIM_API int ksmsim_khugepaged(struct ksmsim *sim, bool full, int64_t *ret);
/**
 * ksmsim_mthp_get() - one statistic of the large folios of one order
 * @order: 2 .. that of a PMD
 * Returns: 0, -EARGUMENT.
 */
KSMSIM_API int ksmsim_mthp_get(struct ksmsim *sim, enum ksmsim_mthp stat, unsigned order,
			       int64_t *value);

/* ---- policies ---- */

/* Who wants a large folio split. */
enum ksmsim_split_why {
	KSMSIM_SPLIT_KSM,	/* to merge one of its pages */
	KSMSIM_SPLIT_MADVISE,	/* MADV_FREE, COLD, PAGEOUT of a part */
	KSMSIM_SPLIT_UNDERUSED, /* the shrinker: mostly zero */
	KSMSIM_SPLIT_PARTIAL,	/* the shrinker: partially mapped */
	KSMSIM_SPLIT_RECLAIM,	/* reclaim, migration */
	KSMSIM_SPLIT_EXPLICIT,	/* ksmsim_split() */
	KSMSIM_SPLIT_FAILURE,	/* the memory of one page failed */
};

/* May KSM split this folio for the page that it wants to merge? The kernel: always. */
struct ksmsim_split_question {
	unsigned order;
	uint32_t mappings; /* of the folio: PMD and PTE mappings */
	bool zero;	   /* the match is the zero page */
	/* Pages of the folio that would find a partner in the trees now; looks at each: costly. */
	uint32_t (*matches)(const struct ksmsim_split_question *question);
	const void *opaque; /* of the machine */
};

/* May this zero-filled page of a folio that was just split be replaced by the zero page? The kernel
 * since 6.12: always; before: never. Asked only where the kernel allows it: single page, not locked. */
struct ksmsim_zero_remap_question {
	enum ksmsim_split_why why;
	bool mergeable;	       /* its mapping is VM_MERGEABLE */
	bool ksm_runs;	       /* ksm/run is 1 */
	bool shrink_underused; /* the knob */
	bool feature;	       /* the profile's kernel does it */
};

/* Shall a write to a shared PMD-mapped folio copy all of it? The kernel: no, it splits the PMD and
 * copies one page. If no folio can be had it is the kernel's way all the same. */
struct ksmsim_cow_question {
	bool hugepage;	   /* MADV_HUGEPAGE */
	uint32_t mappings; /* of the folio */
};

/* Is a folio of @pages pages, of which @zero are zero-filled, underused? The kernel: zero >
 * max_ptes_none, and never with max_ptes_none = pages - 1. */
struct ksmsim_underused_question {
	uint32_t pages, zero;
	uint64_t max_ptes_none;
};

/* The seams; an op that is NULL leaves its seam as it is. @self is passed through. */
struct ksmsim_policy {
	const char *name; /* static or NULL */
	void *self;
	bool (*split)(void *self, const struct ksmsim_split_question *question);
	bool (*zero_remap)(void *self, const struct ksmsim_zero_remap_question *question);
	bool (*cow_pmd)(void *self, const struct ksmsim_cow_question *question);
	bool (*underused)(void *self, const struct ksmsim_underused_question *question);
};
/**
 * ksmsim_policy_set() - replace the ops that @policy has
 * @policy: copied; ops must not call back into @sim; NULL: all back to the kernel's rules
 * Returns: 0.
 */
KSMSIM_API int ksmsim_policy_set(struct ksmsim *sim, const struct ksmsim_policy *policy);
/**
 * ksmsim_policy_choose() - one of the policies of policies.def, e.g. "split_min=8"
 * Only the seam of that policy changes.
 * Returns: 0, -ENAME.
 */
KSMSIM_API int ksmsim_policy_choose(struct ksmsim *sim, const char *text);

/* ---- contents ---- */

enum ksmsim_content_kind {
	KSMSIM_CONTENT_ZERO,  /* all zero */
	KSMSIM_CONTENT_BYTE,  /* value & 255, repeated */
	KSMSIM_CONTENT_WORD,  /* value, a little-endian 64-bit word, repeated */
	KSMSIM_CONTENT_SEED,  /* pseudo-random page of the seed value; page i of a range: value */
	KSMSIM_CONTENT_SEEDS, /* the same, but page i of a range gets seed value + i */
	KSMSIM_CONTENT_TAG,   /* value as a big-endian 64-bit word at byte 0, zeros after it */
	KSMSIM_CONTENT_TAGS,  /* the same, page i gets value + i */
	KSMSIM_CONTENT_LAST,  /* zeros, last byte value & 255 */
	KSMSIM_CONTENT_BYTES, /* literal: bytes points to one page */
};

struct ksmsim_content {
	enum ksmsim_content_kind kind;
	uint64_t value;
	const void *bytes; /* KSMSIM_CONTENT_BYTES: page-size bytes, copied */
};

/**
 * ksmsim_content_page() - the bytes that filling a range with @content gives its page @index
 * @page: @page_size bytes (4096 .. 65536, a power of two), written
 * Pure: what a real process has to write to have the same content.
 * Returns: 0, -EARGUMENT.
 */
KSMSIM_API int ksmsim_content_page(const struct ksmsim_content *content, uint64_t index,
				   size_t page_size, void *page);

/**
 * ksmsim_file_new() - a file whose page i holds what @content gives page i of a range
 * @content: copied, literal bytes too
 * @file: out, > 0, for struct ksmsim_mmap; lives as long as the machine
 * Returns: 0, -EARGUMENT.
 */
KSMSIM_API int ksmsim_file_new(struct ksmsim *sim, const struct ksmsim_content *content,
			       uint32_t *file);

/* ---- access: what running code of the process does ---- */

/**
 * ksmsim_fill() - write whole pages
 * @vaddr: page aligned; @nr_pages: pages
 * @ret: 0, -EINVAL (alignment), -EFAULT (not mapped, not writable), -ENOMEM (no page); stops there
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_fill(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			   const struct ksmsim_content *content, int64_t *ret);
/**
 * ksmsim_poke() - write @length bytes at @vaddr; may cross pages
 * @bytes: not kept
 * @ret: 0, -EFAULT, -ENOMEM; stops there
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_poke(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, const void *bytes,
			   size_t length, int64_t *ret);
/**
 * ksmsim_touch() - write to every page without changing its content
 * @vaddr: page aligned; @nr_pages: pages
 * @ret: 0, -EINVAL, -EFAULT, -ENOMEM; stops there
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_touch(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			    int64_t *ret);
/**
 * ksmsim_read() - read every page (read faults)
 * @vaddr: page aligned; @nr_pages: pages
 * @ret: 0, -EINVAL, -EFAULT; stops there
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_read(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			   int64_t *ret);
/**
 * ksmsim_peek() - the bytes at @vaddr as the process reads them, with read faults
 * @bytes: @length bytes, written as far as memory can be read
 * @ret: 0, -EFAULT
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_peek(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, void *bytes,
			   size_t length, int64_t *ret);
/**
 * ksmsim_check_pages() - read all pages and compare
 * @vaddr: page aligned; @nr_pages: pages; page i should hold what @content gives page i of a range
 * @ret: number of pages that differ, -EINVAL, -EFAULT
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_check_pages(struct ksmsim *sim, uint32_t pid, uint64_t vaddr,
				  uint64_t nr_pages, const struct ksmsim_content *content,
				  int64_t *ret);

enum ksmsim_pin {
	KSMSIM_PIN_GET, /* a plain reference to the page that is mapped (vmsplice); no fault if read-only */
	KSMSIM_PIN_WRITE, /* long-term write pin (io_uring, RDMA): write fault first, refs + 1024 */
	KSMSIM_PIN_READ,  /* long-term read pin: unshares first, refs + 1024 */
	KSMSIM_PIN_HELD, /* a plain reference to what is mapped now, without any fault; holes are skipped */
};
/**
 * ksmsim_pin() - take references on the pages mapped there, as others do
 * @vaddr: page aligned; @nr_pages: pages; @how: enum ksmsim_pin
 * @ret: 0, -EINVAL, -EFAULT, -ENOMEM
 * They go with ksmsim_unpin(), and at exit, but for KSMSIM_PIN_HELD.
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_pin(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			  enum ksmsim_pin how, int64_t *ret);
/**
 * ksmsim_unpin() - undo the oldest pins that this process made on these addresses
 * @vaddr: page aligned; @nr_pages: pages
 * @ret: how many were undone, -EINVAL
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_unpin(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			    int64_t *ret);
/**
 * ksmsim_migrate() - move the pages mapped there to another NUMA node
 * @vaddr: page aligned; @nr_pages: pages; @node: 0 .. nr_nodes - 1
 * @ret: pages moved (one with references beyond its mappings stays), -EINVAL
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_migrate(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			      unsigned node, int64_t *ret);
/**
 * ksmsim_swap_out() - reclaim the pages mapped there, from every process that maps them
 * @vaddr: page aligned; @nr_pages: pages
 * @keep_cached: only unmap them; they stay in the swap cache and the next fault finds them there
 * @ret: pages unmapped, -EINVAL, -EFAULT
 * Returns: 0, -EPROCESS (no such process, or it has exited).
 */
KSMSIM_API int ksmsim_swap_out(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			       bool keep_cached, int64_t *ret);

/* ---- time ---- */

/**
 * ksmsim_ksmd_batch() - one wake-up of ksmd, if run is 1
 * @pages:   most visits; the batch never passes the end of a full scan
 * @visited: out: visits; may be NULL
 * Virtual time stands still; the modelled CPU time of ksmd grows. Source: mm/ksm.c:ksm_do_scan().
 * Returns: 0.
 */
KSMSIM_API int ksmsim_ksmd_batch(struct ksmsim *sim, uint64_t pages, uint64_t *visited);
/**
 * ksmsim_run() - let @ns of virtual time pass with ksmd at its own pace
 * A batch takes its modelled CPU time, then ksmd sleeps sleep_millisecs.
 * Returns: 0, -EARGUMENT (time would overflow).
 */
KSMSIM_API int ksmsim_run(struct ksmsim *sim, uint64_t ns);
/**
 * ksmsim_advance() - let @ns of virtual time pass while ksmd does nothing
 * Returns: 0, -EARGUMENT (time would overflow).
 */
KSMSIM_API int ksmsim_advance(struct ksmsim *sim, uint64_t ns);
/**
 * ksmsim_ksmd_cpu_add() - add @ns to the CPU time of ksmd that the advisor sees
 * Returns: 0, -EARGUMENT (it would overflow).
 */
KSMSIM_API int ksmsim_ksmd_cpu_add(struct ksmsim *sim, uint64_t ns);
/**
 * ksmsim_lru_drain() - drain the LRU add batches of all CPUs: lru_add_drain_all()
 * Returns: 0.
 */
KSMSIM_API int ksmsim_lru_drain(struct ksmsim *sim);
/**
 * ksmsim_now() - virtual time since boot, ns; 0 for NULL
 */
KSMSIM_API uint64_t ksmsim_now(const struct ksmsim *sim);
/**
 * ksmsim_inject_failure() - let the next @count steps of this kind fail, in the simulated kernel
 * @what: row of inject.def
 * Returns: 0, -EARGUMENT.
 */
KSMSIM_API int ksmsim_inject_failure(struct ksmsim *sim, enum ksmsim_inject what, uint64_t count);

/* ---- what can be seen ---- */

struct ksmsim_process {
	uint32_t pid;
	uint32_t mm; /* id of its mm in events; changes at exec */
	bool alive;
	bool merge_any;	 /* ksm_merge_any: MMF_VM_MERGE_ANY */
	bool mergeable;	 /* ksm_mergeable: some VMA has VM_MERGEABLE now */
	bool registered; /* MMF_VM_MERGEABLE: on KSM's list */
	int64_t ksm_rmap_items;
	int64_t ksm_zero_pages;
	int64_t ksm_merging_pages;
	int64_t ksm_process_profit; /* bytes */
	uint64_t rss_anon;	    /* pages */
	uint64_t anon_huge;	    /* PMD-mapped THPs: smaps AnonHugePages / size */
	uint64_t nr_ptes;	    /* PTE tables */
	uint64_t nr_vmas;
	uint64_t swap_pages;
};
/**
 * ksmsim_process_get() - figures of one process, also of one that has exited
 * @out: written; after exit its figures are 0 once KSM has let go of it
 * Returns: 0, -EPROCESS (never existed), -EARGUMENT.
 */
KSMSIM_API int ksmsim_process_get(struct ksmsim *sim, uint32_t pid, struct ksmsim_process *out);

/**
 * ksmsim_ksm_pages_get() - smaps KSM: of the whole process
 * @pages: out: present entries that map KSM pages, KSM zero pages not among them
 * Costs a walk of its page tables.
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_ksm_pages_get(struct ksmsim *sim, uint32_t pid, uint64_t *pages);

/**
 * ksmsim_ksm_stat() - /proc/PID/ksm_stat as text, with the lines that the profile has
 * @buf, @size: where; always terminated when @size > 0
 * @ret: length of the whole text
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_ksm_stat(struct ksmsim *sim, uint32_t pid, char *buf, size_t size,
			       int64_t *ret);

enum ksmsim_page_state {
	KSMSIM_PAGE_NONE,
	KSMSIM_PAGE_ANON,
	KSMSIM_PAGE_KSM,
	KSMSIM_PAGE_ZERO,     /* the zero page, placed by a read fault */
	KSMSIM_PAGE_KSM_ZERO, /* the zero page, placed by KSM */
	KSMSIM_PAGE_FILE,
	KSMSIM_PAGE_SWAP,
	KSMSIM_PAGE_GUARD,    /* MADV_GUARD_INSTALL */
	KSMSIM_PAGE_HWPOISON, /* MADV_HWPOISON: the page is lost, any access is a bus error */
};
struct ksmsim_page {
	enum ksmsim_page_state state;
	uint64_t pfn;
	uint32_t mapcount;
	uint32_t refs;
	bool writable, dirty, anon_exclusive;
	unsigned order;	     /* of the folio */
	bool pmd_mapped;     /* by a PMD entry of this process */
	bool huge_zero;	     /* state ZERO: page of the huge zero folio */
	bool soft_dirty;     /* bit 55 of pagemap: changed since clear_refs, or the area is new */
	uint64_t pagemap;    /* as /proc/PID/pagemap shows it, the pfn included */
	uint64_t kpageflags; /* as /proc/kpageflags, as far as it is modelled: docs/FIDELITY.md */
	bool has_item;	     /* KSM keeps an rmap item for this address */
	uint32_t checksum;   /* of the content now */
	uint32_t item_checksum, item_age, item_skips; /* of the item */
	unsigned node;
};
/**
 * ksmsim_page_get() - state of the page at @vaddr; looking changes nothing
 * @out: written; .state is KSMSIM_PAGE_NONE where nothing is mapped
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_page_get(struct ksmsim *sim, uint32_t pid, uint64_t vaddr,
			       struct ksmsim_page *out);

/**
 * ksmsim_page_next() - the first address at or above *@vaddr and below @end that has a page,
 * of whatever state but none; jumps over holes
 * @vaddr: in, and out: @end if there is none
 */
KSMSIM_API int ksmsim_page_next(struct ksmsim *sim, uint32_t pid, uint64_t *vaddr, uint64_t end);

struct ksmsim_vma {
	uint64_t start, end; /* bytes */
	unsigned prot;
	bool shared, mergeable, locked, hugepage, nohugepage, dontfork, wipeonfork, anon_vma;
	uint32_t file;
};
/**
 * ksmsim_vma_get() - the @index-th VMA by address
 * @out: written
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT (past the last one).
 */
KSMSIM_API int ksmsim_vma_get(struct ksmsim *sim, uint32_t pid, size_t index,
			      struct ksmsim_vma *out);

/* One area in /proc/PID/smaps; pages but for pss and locked. Zero pages are in none of it, and of an
 * area of a file nothing is told. */
struct ksmsim_smaps {
	uint64_t anonymous;    /* Anonymous: and Rss: */
	uint64_t anon_huge;    /* THPs mapped by a PMD: AnonHugePages: / size */
	uint64_t shared_clean; /* mapped more than once */
	uint64_t shared_dirty;
	uint64_t private_clean;
	uint64_t private_dirty;
	uint64_t referenced;
	uint64_t ksm;
	uint64_t lazyfree;
	uint64_t swap;
	uint64_t pss;	   /* bytes: each page divided by its mappings */
	uint64_t locked;   /* bytes: Pss of an mlocked area */
	bool thp_eligible; /* THPeligible: some size of large folios may be had */
};
/**
 * ksmsim_smaps_get() - smaps of the @index-th VMA by address
 * @out: written
 * Costs a walk of its page tables; smaps_rollup is the sum over all VMAs.
 * Source: fs/proc/task_mmu.c:smaps_account(), show_smap().
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT (past the last one).
 */
KSMSIM_API int ksmsim_smaps_get(struct ksmsim *sim, uint32_t pid, size_t index,
				struct ksmsim_smaps *out);

/* Cost of one full walk over [vaddr, vaddr + length): page-table entries read. */
struct ksmsim_walk {
	uint64_t range;	      /* by the walker that jumps over holes */
	uint64_t per_address; /* by a look-up of every page address */
	uint64_t addresses;   /* page addresses in the range */
	uint64_t pages;	      /* present entries */
};
/**
 * ksmsim_walk_cost() - page-table entries that one full walk over a range reads
 * @vaddr: page aligned; @length: bytes
 * @out: written; costs the existing tables, not the addresses
 * Returns: 0, -EPROCESS (no such process, or it has exited), -EARGUMENT.
 */
KSMSIM_API int ksmsim_walk_cost(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
				struct ksmsim_walk *out);

/* Host memory by part, bytes in use (not merely reserved). */
struct ksmsim_memory {
	const char *part;
	uint64_t bytes;
};
/**
 * ksmsim_memory_get() - host memory of one part of the model
 * @index: 0, 1, ... ; @out: written; .part is a static string
 * Returns: 0, -EARGUMENT (past the last one).
 */
KSMSIM_API int ksmsim_memory_get(struct ksmsim *sim, size_t index, struct ksmsim_memory *out);

/**
 * ksmsim_check() - test every invariant of docs/INVARIANTS.md; O(size of the machine)
 * @buf, @size: where the first violated one is described; may be NULL, 0
 * Returns: 0, -EINVARIANT.
 */
KSMSIM_API int ksmsim_check(struct ksmsim *sim, char *buf, size_t size);

/**
 * ksmsim_dump() - the whole state as text, line by line, in a stable order
 * @line: called with one line without its newline
 */
KSMSIM_API int ksmsim_dump(struct ksmsim *sim, void (*line)(void *self, const char *text),
			   void *self);

/**
 * ksmsim_hash() - 64-bit hash of all that can be seen: counters, processes, pages, trees
 * @hash: out; the same calls give the same hash on every host and compiler
 * Returns: 0.
 */
KSMSIM_API int ksmsim_hash(struct ksmsim *sim, uint64_t *hash);

#ifdef __cplusplus
}
#endif
#endif
