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
 * After KSMSIM_ENOMEM or KSMSIM_ELIMIT the machine stays readable by nobody:
 * every further call but ksmsim_free() returns the same code.
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
	KSMSIM_TABLE_TRACE,
	KSMSIM_TABLE_COSTS,
	KSMSIM_TABLE_INJECT,
	KSMSIM_TABLE_GEOMETRIES,
	KSMSIM_TABLE_ADVICES,
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

/** ksmsim_feature_get() - @on: out. Returns: 0 or -ENAME. */
KSMSIM_API int ksmsim_feature_get(struct ksmsim *sim, const char *name, bool *on);

/** ksmsim_cost_set() - set one row of costs.def, in ns. Returns: 0 or -ENAME. */
KSMSIM_API int ksmsim_cost_set(struct ksmsim *sim, const char *name, uint64_t ns);

/** ksmsim_cost_get() - price (ns) and how often the primitive was charged so far. */
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

/** ksmsim_counter_get() - one figure; see counters.def for units. */
KSMSIM_API int ksmsim_counter_get(struct ksmsim *sim, enum ksmsim_counter counter, int64_t *value);

/* ---- processes and memory ---- */

/** ksmsim_spawn() - a new process with an empty address space, on NUMA node 0 */
KSMSIM_API int ksmsim_spawn(struct ksmsim *sim, uint32_t *pid);
/** ksmsim_fork() - @ret: 0 or -ENOMEM; @child: valid when @ret is 0 */
KSMSIM_API int ksmsim_fork(struct ksmsim *sim, uint32_t pid, uint32_t *child, int64_t *ret);
/** ksmsim_exec() - the process gets a new, empty mm (a new id in events); it keeps its pid */
KSMSIM_API int ksmsim_exec(struct ksmsim *sim, uint32_t pid, int64_t *ret);
/** ksmsim_exit() - the process ends; its pid is not used again */
KSMSIM_API int ksmsim_exit(struct ksmsim *sim, uint32_t pid);
/** ksmsim_node_set() - NUMA node from which the process's next pages come */
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

/** ksmsim_mmap() - @ret: the address, or -EINVAL, -ENOMEM, -EEXIST, -EAGAIN */
KSMSIM_API int ksmsim_mmap(struct ksmsim *sim, uint32_t pid, const struct ksmsim_mmap *req,
			   int64_t *ret);
KSMSIM_API int ksmsim_munmap(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
			     int64_t *ret);
KSMSIM_API int ksmsim_mprotect(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
			       unsigned prot, int64_t *ret);

enum ksmsim_mremap_flags {
	KSMSIM_MREMAP_MAYMOVE = 1,
	KSMSIM_MREMAP_FIXED = 2,
	KSMSIM_MREMAP_DONTUNMAP = 4
};
/** ksmsim_mremap() - @new_vaddr: only with FIXED. @ret: the address or -errno */
KSMSIM_API int ksmsim_mremap(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t old_length,
			     uint64_t new_length, unsigned flags, uint64_t new_vaddr, int64_t *ret);
/** ksmsim_brk() - grow or shrink the heap to end at @vaddr (0: ask). @ret: the new end */
KSMSIM_API int ksmsim_brk(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, int64_t *ret);

enum ksmsim_advice {
#define ADVICE(name, linux_value, doc) KSMSIM_MADV_##name,
#include "ksmsim/advices.def"
	KSMSIM_MADV_NR
};

KSMSIM_API int ksmsim_madvise(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
			      enum ksmsim_advice advice, int64_t *ret);
KSMSIM_API int ksmsim_mlock(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
			    int64_t *ret);
KSMSIM_API int ksmsim_munlock(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
			      int64_t *ret);
/** ksmsim_prctl_merge() - PR_SET_MEMORY_MERGE. @ret: 0, -EINVAL (no such prctl), -ENOMEM */
KSMSIM_API int ksmsim_prctl_merge(struct ksmsim *sim, uint32_t pid, bool on, int64_t *ret);
/** ksmsim_prctl_merge_get() - PR_GET_MEMORY_MERGE. @ret: 0, 1 or -EINVAL */
KSMSIM_API int ksmsim_prctl_merge_get(struct ksmsim *sim, uint32_t pid, int64_t *ret);

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

/** ksmsim_content_write_page() - the bytes of page @index of a range filled with @content.
 * @page: page_size bytes, written. Pure: what a live process would write. */
KSMSIM_API int ksmsim_content_page(const struct ksmsim_content *content, uint64_t index,
				   size_t page_size, void *page);

/** ksmsim_file_new() - a file whose pages hold @content (page i: index i); private and shared
 * mappings of it can be made. @file: out, > 0 */
KSMSIM_API int ksmsim_file_new(struct ksmsim *sim, const struct ksmsim_content *content,
			       uint32_t *file);

/* ---- access: what running code of the process does ---- */

/** ksmsim_fill() - write whole pages. @vaddr page aligned. @ret: 0 or -EFAULT, -ENOMEM (stops there) */
KSMSIM_API int ksmsim_fill(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			   const struct ksmsim_content *content, int64_t *ret);
/** ksmsim_poke() - write @length bytes. @ret: 0 or -EFAULT, -ENOMEM */
KSMSIM_API int ksmsim_poke(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, const void *bytes,
			   size_t length, int64_t *ret);
/** ksmsim_touch() - write to every page without changing its content */
KSMSIM_API int ksmsim_touch(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			    int64_t *ret);
/** ksmsim_read() - read every page (read faults). */
KSMSIM_API int ksmsim_read(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			   int64_t *ret);
/** ksmsim_peek() - the bytes at @vaddr, with read faults, as the process would see them */
KSMSIM_API int ksmsim_peek(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, void *bytes,
			   size_t length, int64_t *ret);
/** ksmsim_check_pages() - read all pages. @ret: number of pages that differ from @content */
KSMSIM_API int ksmsim_check_pages(struct ksmsim *sim, uint32_t pid, uint64_t vaddr,
				  uint64_t nr_pages, const struct ksmsim_content *content,
				  int64_t *ret);

enum ksmsim_pin {
	KSMSIM_PIN_GET, /* a plain reference to the page that is mapped (vmsplice); no fault if read-only */
	KSMSIM_PIN_WRITE, /* long-term write pin (io_uring, RDMA): write fault first, refs + 1024 */
	KSMSIM_PIN_READ,  /* long-term read pin: unshares first, refs + 1024 */
	KSMSIM_PIN_HELD, /* a plain reference to what is mapped now, without any fault; holes are skipped */
};
KSMSIM_API int ksmsim_pin(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			  enum ksmsim_pin how, int64_t *ret);
/** ksmsim_unpin() - undo the oldest pins that this process made on these addresses. @ret: how many */
KSMSIM_API int ksmsim_unpin(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			    int64_t *ret);
/** ksmsim_migrate() - move the pages mapped there to another NUMA node. @ret: pages moved */
KSMSIM_API int ksmsim_migrate(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			      unsigned node, int64_t *ret);
/** ksmsim_swap_out() - reclaim the pages mapped there, from every process that maps them
 * @keep_cached: unmap them only; they stay in the swap cache and the next fault finds them there
 * @ret: pages unmapped */
KSMSIM_API int ksmsim_swap_out(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t nr_pages,
			       bool keep_cached, int64_t *ret);

/* ---- time ---- */

/** ksmsim_ksmd_batch() - one wake-up of ksmd: at most @pages visits, never past the end of a
 * full scan; nothing if run is not 1. @visited: out, may be NULL. Virtual time stands still. */
KSMSIM_API int ksmsim_ksmd_batch(struct ksmsim *sim, uint64_t pages, uint64_t *visited);
/** ksmsim_run() - let @ns of virtual time pass with ksmd running at its own pace */
KSMSIM_API int ksmsim_run(struct ksmsim *sim, uint64_t ns);
/** ksmsim_advance() - let @ns of virtual time pass while ksmd does nothing */
KSMSIM_API int ksmsim_advance(struct ksmsim *sim, uint64_t ns);
/** ksmsim_ksmd_cpu_add() - add to the CPU time that the advisor sees */
KSMSIM_API int ksmsim_ksmd_cpu_add(struct ksmsim *sim, uint64_t ns);
/** ksmsim_lru_drain() - drain the LRU add batches of all CPUs */
KSMSIM_API int ksmsim_lru_drain(struct ksmsim *sim);
/** ksmsim_now() - virtual time since boot, ns */
KSMSIM_API uint64_t ksmsim_now(const struct ksmsim *sim);
/** ksmsim_inject_failure() - let the next @count allocations of this kind fail */
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
	uint64_t nr_ptes;	    /* PTE tables */
	uint64_t nr_vmas;
	uint64_t swap_pages;
};
KSMSIM_API int ksmsim_process_get(struct ksmsim *sim, uint32_t pid, struct ksmsim_process *out);

/** ksmsim_ksm_pages_get() - smaps KSM:, mapped KSM pages of a process; walks all that it maps */
KSMSIM_API int ksmsim_ksm_pages_get(struct ksmsim *sim, uint32_t pid, uint64_t *pages);

/** ksmsim_ksm_stat() - /proc/PID/ksm_stat as text. @ret: length */
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
};
struct ksmsim_page {
	enum ksmsim_page_state state;
	uint64_t pfn;
	uint32_t mapcount;
	uint32_t refs;
	bool writable, dirty, anon_exclusive;
	bool has_item;				      /* KSM keeps an rmap item for this address */
	uint32_t checksum;			      /* of the content now */
	uint32_t item_checksum, item_age, item_skips; /* of the item */
	unsigned node;
};
KSMSIM_API int ksmsim_page_get(struct ksmsim *sim, uint32_t pid, uint64_t vaddr,
			       struct ksmsim_page *out);

struct ksmsim_vma {
	uint64_t start, end; /* bytes */
	unsigned prot;
	bool shared, mergeable, locked, hugepage, nohugepage, dontfork, wipeonfork, anon_vma;
	uint32_t file;
};
/** ksmsim_vma_get() - the @index-th VMA by address. Returns: 0, -EARGUMENT past the last one */
KSMSIM_API int ksmsim_vma_get(struct ksmsim *sim, uint32_t pid, size_t index,
			      struct ksmsim_vma *out);

/* Cost of one full walk over [vaddr, vaddr + length): page-table entries read. */
struct ksmsim_walk {
	uint64_t range;	      /* by the walker that jumps over holes */
	uint64_t per_address; /* by a look-up of every page address */
	uint64_t addresses;   /* page addresses in the range */
	uint64_t pages;	      /* present entries */
};
KSMSIM_API int ksmsim_walk_cost(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
				struct ksmsim_walk *out);

/* Host memory by part, bytes in use (not merely reserved). */
struct ksmsim_memory {
	const char *part;
	uint64_t bytes;
};
/** ksmsim_memory_get() - @index-th part. Returns 0, or -EARGUMENT past the last one */
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

/** ksmsim_hash() - 64-bit hash of all that can be seen: counters, processes, pages, trees */
KSMSIM_API int ksmsim_hash(struct ksmsim *sim, uint64_t *hash);

#ifdef __cplusplus
}
#endif
#endif
