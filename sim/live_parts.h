/*
 * live_parts.h - the live backend, as its files share it.
 *
 *	live.c		operations and figures: the backend itself
 *	live_child.c	the processes of the scenario
 *	live_code.c	what runs in them
 *	live_access.c	what they do to their memory, and pins
 *	live_ksmd.c	ksmd: knobs with a value of the scenario's own, steps
 *	live_trace.c	events
 *	live_item.c	which page an rmap item in an event stands for
 *	live_life.c	which KSM page a frame in an event stands for
 *	live_pages.c	pages and figures of a process
 *	live_thp.c	huge pages: knobs, the shrinker
 *	live_khugepaged.c	khugepaged
 *	live_split.c	large folios split at will
 *	live_failure.c	memory that fails at will
 *	live_group.c	the memory cgroup of the processes
 *	live_vmstat.c	what is counted for the whole machine
 *	live_sight.c	what this kernel tells
 *	live_guard.c	one at a time, nobody else, and everything put back
 *	live_host.c	small files and threads of the kernel
 *
 * All return 0 or a status; the sentence is in live->why then.
 */
#ifndef SIM_LIVE_PARTS_H
#define SIM_LIVE_PARTS_H

#include <sched.h>
#include <sys/types.h>

#include "live.h"
#include "world.h"

#define LIVE_PAGE ((uint64_t)4096)
#define LIVE_PMD_ORDER 9u
#define LIVE_USER_END UINT64_C(0x7ffffffff000)
#define LIVE_ARENA UINT64_C(0x7ff000000000) /* where every process has what it shares with us */
#define LIVE_ARENA_FD 100		    /* in a process, from exec on */
#define LIVE_CODE_SIZE UINT64_C(0x1000)
#define LIVE_SLOT_SIZE UINT64_C(0x80000)
#define LIVE_SLOT_SCRATCH UINT64_C(0x1000) /* a page for paths and structures */
#define LIVE_SLOT_STACK UINT64_C(0x1f000)  /* its top */
#define LIVE_SLOT_BUFFER UINT64_C(0x20000)
#define LIVE_BUFFER_PAGES 64u
#define LIVE_SLOTS 512u
#define LIVE_ARENA_SIZE (LIVE_CODE_SIZE + LIVE_SLOTS * LIVE_SLOT_SIZE)

/* What a process is told and answers; the first fields are known to its code (live_code.c). */
struct live_slot {
	uint32_t go, done; /* number of the last order given, carried out */
	uint64_t order;	   /* enum live_order */
	uint64_t args[7];
	int64_t result;
};

enum live_order {
	LIVE_SYSCALL, /* nr, six arguments */
	LIVE_COPY,    /* to, from, bytes, times, step of to, step of from */
	LIVE_TOUCH,   /* address, pages */
	LIVE_READ,    /* address, pages */
	LIVE_FORK,    /* slot of the child */
};

struct live_page {
	uint64_t vaddr, pfn;
	uint64_t entry; /* of pagemap */
	bool zero, file, huge;
	bool guard;	/* not present: a guard page */
	bool lost;	/* or a page whose memory failed */
	uint8_t order;	/* this and the rest: live_pages_look() */
	uint64_t flags; /* of kpageflags */
	uint64_t mapcount;
};

/* The present pages and the guard pages of a process, but for the arena, by address. */
struct live_pages {
	struct live_page *list;
	size_t nr, capacity;
	bool known, looked;
};

/* A stretch of mergeable mappings. */
struct live_range {
	uint64_t start, end;
};

struct live_pin {
	uint32_t process;
	uint64_t vaddr;
	int read_end, write_end; /* of a pipe; or the ring and -1 */
	bool held;
};

struct live_process {
	pid_t pid;
	uint32_t mm; /* changes with exec */
	bool alive, has_brk;
	uint64_t thp_mode; /* of PR_SET_THP_DISABLE, while it is hidden from khugepaged */
	unsigned slot;
	int proc; /* /proc/PID */
	int pagemap;
	struct live_pages pages;
	struct live_pages after;   /* of the step whose events are looked at */
	struct live_range *ranges; /* mergeable; read when ksmd is at work and it matters */
	size_t nr_ranges, ranges_capacity;
	bool ranges_known;
};

/* An mm as events name it. */
struct live_mm_name {
	uint64_t name; /* %p */
	uint32_t mm;
};

/* An rmap item as events name it: what it was last seen to be. */
struct live_item {
	uint64_t name; /* %p */
	uint32_t mm;
	uint64_t vaddr, pfn; /* pfn: of the KSM page that it belongs to; 0: to none */
	uint64_t life;	     /* of the KSM page that it was merged with last: live_life.c */
};

/* A page that ksmd replaced by the zero page. */
struct live_zero {
	uint32_t mm;
	uint64_t vaddr;
};

struct live_knobs {
	bool run_written;
	uint64_t run, sleep_millisecs, pages_to_scan, prune_millisecs; /* the scenario's */
	uint64_t pages_now; /* the size of a batch in the kernel */
	bool by_advisor;    /* pages_to_scan is the advisor's */
	bool sleep_other;
};

struct live_guard {
	pid_t pid;
	int pipe; /* as long as it is open, the guard waits */
	int lock;
	int tracefs, instance; /* directories */
	char instance_name[32];
	char group[64];	    /* memory cgroup of the processes; "": none */
	bool group_v2;	    /* of cgroups of version 2 */
	bool group_enabled; /* for which memory cgroups were enabled */
	cpu_set_t *before;  /* our own CPUs */
	int cpu, nice;
	pid_t ksmd;
	pid_t khugepaged; /* 0: there was none yet */
};

#define LIVE_SIZES 16u /* of folios that the kernel may have a file for */

struct live_thp {
	int dir;	/* /sys/kernel/mm/transparent_hugepage */
	int khugepaged; /* its stat */
	pid_t khugepaged_pid;
	int group;			  /* cgroup.procs of the memory cgroup */
	void *anchor;			  /* keeps khugepaged's list from being empty */
	bool disabled;			  /* this process gets no huge pages; see live_thp.c */
	bool zero_is_held;		  /* others use the huge zero folio */
	bool khugepaged_gone;		  /* the scenario ended it */
	uint64_t scan_sleep, alloc_sleep; /* the scenario's */
	/* the files named enabled: the scenario said always */
	char enabled[LIVE_SIZES][32];
	bool always[LIVE_SIZES];
	size_t nr_enabled;
	bool opened; /* they say always now */
	bool traced; /* the allocations of others are */
	bool used;   /* the scenario has done something about huge pages */
};

/* What this kernel tells: live_sight.c. */
struct live_sight {
	bool events;	  /* it has tracepoints of KSM */
	bool scan;	  /* PAGEMAP_SCAN */
	bool guard_pages; /* which knows guard pages */
};

struct live_vmstat {
	int file;
	int stats[KSMSIM_MTHP_NR][KSMSIM_ORDERS]; /* files */
	uint8_t rows[512];			  /* line of the file -> counter + 1 */
	bool known;
	/* before the operation that runs, and what operations have added */
	int64_t before[KSMSIM_COUNT_NR], sum[KSMSIM_COUNT_NR];
	struct sim_mthp mthp_before, mthp_sum;
	/* of the operation that runs: failed splits count up to so many */
	int64_t most_failed[KSMSIM_ORDERS];
	bool has_most_failed;
};

struct live {
	struct sim_backend backend;
	struct sim_mem *mem;
	char kernel[64];
	char why[512];
	struct live_guard guard;
	struct live_knobs knobs;
	int ksm;			 /* /sys/kernel/mm/ksm */
	int ksmd_stat, scanned, skipped; /* files read all the time; -1: there is none */
	int kpagecount, kpageflags;
	struct live_sight sight;
	bool lose_memory; /* it may: sim_options */
	bool lost;	  /* the memory of pages has failed: live_failure.c */
	int64_t failed_pages;
	struct live_thp thp;
	struct live_vmstat vmstat;
	int64_t base[KSMSIM_COUNT_NR];
	void *drain_range;

	uint8_t *arena;
	int arena_fd, program_fd;
	bool slot_used[LIVE_SLOTS];
	struct live_process *processes;
	size_t nr_processes, processes_capacity;
	uint32_t last_mm;
	struct live_pin *pins;
	size_t nr_pins, pins_capacity;

	/* events */
	ksmsim_listener listener;
	void *listener_self;
	int trace_pipe;
	char trace_text[16384];
	size_t trace_length;
	uint32_t newcomer; /* mm that is being made, or 0 */
	struct live_mm_name *mm_names;
	size_t nr_mm_names, mm_names_capacity;
	struct live_item *items;
	size_t nr_items, items_capacity;
	struct sim_map item_map; /* name -> index + 1 */
	struct live_zero *zeros;
	size_t nr_zeros, zeros_capacity;
	uint64_t *frames; /* KSM pages, as far as events told */
	size_t nr_frames, frames_capacity;
	struct sim_map frame_map; /* pfn + 1 -> 1 */
	struct sim_map life_map;  /* pfn + 1 -> how many lives it has had as a KSM page */
	uint64_t *nodes;	  /* lives that have a stable node, the oldest first */
	size_t nr_nodes, nodes_capacity;
	struct live_events {
		struct live_event {
			struct ksmsim_event event;
			uint64_t item;
			int32_t pid;
		} * list;
		size_t nr, capacity;
	} pending;
	uint32_t cursor_mm; /* of the last page that an event of this scan was about; 0: none */
	uint64_t cursor;
	uint64_t cursor_gap;  /* pages that ksmd passed since */
	bool cursor_moved;    /* in this step */
	bool pass_begun;      /* and no event told more yet */
	int64_t step_skipped; /* pages that smart scan skipped in this step; -1: not one step */
};

/* Keep a sentence; returns @status. */
int live_fail(struct live *live, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same with strerror(errno). */
int live_fail_errno(struct live *live, const char *what);
int live_no_memory(struct live *live);

/* ---- live_guard.c ---- */

int live_guard_start(struct live *live);
void live_guard_end(struct live *live);

/* ---- live_sight.c ---- */

/* After the guard has started. */
void live_sight_start(struct live *live);
/* sim_backend_ops.blind */
void live_blind(struct sim_backend *backend, struct sim_blind *blind);

/* ---- live_host.c ---- */

/* Reads a small file of @dir; false: errno. */
bool live_read_at(int dir, const char *name, char *buf, size_t size);
/* Is it a directory of a process in /proc? */
bool live_is_pid(const char *name);
/* Nothing is done with pid 0. */
int live_nice_get(pid_t pid);
void live_nice_set(pid_t pid, int nice);
/* The pid of a kernel thread; 0: there is none. */
pid_t live_thread_find(const char *name);
/* Until the thread whose stat this is waits for something to do. */
int live_thread_rest(struct live *live, int stat, const char *name);
/* 0 or -errno */
int live_write_at(int dir, const char *name, const char *text, size_t length);
int live_write_number(int dir, const char *name, uint64_t value);
bool live_read_number(int dir, const char *name, int64_t *value);
/* The number behind "KEY " at the start of a line; false: no such line. */
bool live_number_of(const char *text, const char *key, int64_t *value);
uint64_t live_clock_ms(void);
/* From now on this process gives no memory back. */
void live_keep_memory(void);

/* ---- live_child.c ---- */

int live_children_start(struct live *live);
void live_children_end(struct live *live);
struct live_slot *live_slot_of(struct live *live, const struct live_process *process);
uint64_t live_slot_address(const struct live_process *process);
uint8_t *live_buffer_of(struct live *live, const struct live_process *process);
uint8_t *live_scratch_of(struct live *live, const struct live_process *process);
int live_spawn(struct live *live);
int live_fork(struct live *live, uint32_t parent, int64_t *result);
int live_exec(struct live *live, uint32_t process, int64_t *result);
int live_exit(struct live *live, uint32_t process);
/* An order with up to seven arguments; @result: what it gave. */
int live_order(struct live *live, uint32_t process, enum live_order order, const uint64_t *args,
	       size_t nr, int64_t *result);
#define LIVE_ARGS(...)                       \
	((const uint64_t[]){ __VA_ARGS__ }), \
		sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t)
/* A signal handler in the process, and what it returns through. */
int live_handle(struct live *live, uint32_t process, int signal, uint64_t handler,
		uint64_t restorer);
/* live_order(LIVE_SYSCALL) */
#define live_call(live, process, result, ...) \
	live_order(live, process, LIVE_SYSCALL, LIVE_ARGS(__VA_ARGS__), result)

/* ---- live_code.c ---- */

/* The code, to the beginning of the arena. */
void live_code_copy(uint8_t *to);
/* In a process: where it answers -EFAULT. */
uint64_t live_code_fault_address(void);
/* A handler that does nothing, and what the kernel returns through behind it. */
uint64_t live_code_ignore_address(void);
uint64_t live_code_return_address(void);
/* Makes live->program_fd. */
int live_code_program(struct live *live);

/* ---- live_failure.c ---- */

/* madvise HWPOISON */
int live_memory_failure(struct live *live, const struct sim_op *op, int64_t *result);
/* Entries of the process whose pages are lost. */
uint64_t live_failure_lost(struct live *live, uint32_t process);

/* ---- live_access.c ---- */

int live_fill(struct live *live, const struct sim_op *op, int64_t *result);
int live_poke(struct live *live, const struct sim_op *op, int64_t *result);
int live_touch(struct live *live, const struct sim_op *op, int64_t *result);
int live_check(struct live *live, const struct sim_op *op, int64_t *result);
int live_pin(struct live *live, const struct sim_op *op, int64_t *result);
int live_unpin(struct live *live, const struct sim_op *op, int64_t *result);
/* Pins of a process that ended or has a new address space; those that others hold stay. */
void live_pins_release(struct live *live, uint32_t process, bool all);

/* ---- live_ksmd.c ---- */

int live_ksmd_start(struct live *live);
void live_ksmd_end(struct live *live);
int live_ksm_write(struct live *live, const char *file, const char *text, int64_t *result);
int live_ksm_read(struct live *live, const char *file, char *buf, size_t size, int64_t *result);
int live_ksmd_step(struct live *live, const struct sim_op *op, int64_t *result);
int live_drain(struct live *live);

/* ---- live_thp.c ---- */

/* Has the file one of huge pages? */
bool live_is_thp_file(const char *file);
int live_thp_start(struct live *live);
void live_thp_end(struct live *live);
int live_thp_write(struct live *live, const char *file, const char *text, int64_t *result);
int live_thp_read(struct live *live, const char *file, char *buf, size_t size, int64_t *result);
/* Around each operation: what the scenario set to always is always only for so long. */
void live_thp_open(struct live *live);
void live_thp_close(struct live *live);
int live_thp_disable(struct live *live, const struct sim_op *op, int64_t *result);
int live_shrink(struct live *live, const struct sim_op *op, int64_t *result);
/* madvise() of this process; huge pages are allowed to it for so long. */
int live_madvise_self(const struct live *live, void *start, size_t length, int advice);

/* ---- live_khugepaged.c ---- */

int live_khugepaged_start(struct live *live);
/* Whether it is to stay although the scenario has no use for it. */
void live_khugepaged_keep(const struct live *live, bool keep);
/* Around a write to a file of huge pages, which may end it or make a new one. */
int live_khugepaged_before(struct live *live);
int live_khugepaged_after(struct live *live);
int live_khugepaged(struct live *live, const struct sim_op *op, int64_t *result);

/* ---- live_split.c ---- */

int live_split(struct live *live, const struct sim_op *op, int64_t *result);

/* ---- live_group.c ---- */

/* Makes live->guard.group, if there are memory cgroups. */
void live_group_make(struct live *live);
/* Once its processes are gone. */
void live_group_remove(const struct live_guard *guard);
/* The knob shrink_tries: it can only be what it is. */
int live_group_write(struct live *live, const char *text, int64_t *result);
/* Reclaim what its processes have, until that brings nothing any more. */
int live_group_reclaim(struct live *live);

/* ---- live_vmstat.c ---- */

int live_vmstat_start(struct live *live);
void live_vmstat_end(struct live *live);
/* Around each operation. */
void live_vmstat_before(struct live *live);
void live_vmstat_after(struct live *live);
/* sim_backend_ops.counter */
int live_counter(struct sim_backend *backend, enum ksmsim_counter counter, int64_t *value);
/* What is counted from the beginning of the run on begins. */
void live_counters_begin(struct live *live);
/* Of the kernel's counters now; false: it has none of this name. */
bool live_vmstat_read(const struct live *live, const char *name, int64_t *value);
int live_mthp(struct sim_backend *backend, struct sim_mthp *mthp);
/* How many folios were split since live_vmstat_before(). */
int64_t live_vmstat_splits(struct live *live);

/* ---- live_trace.c ---- */

int live_trace_start(struct live *live);
void live_trace_end(struct live *live);
/* Nobody listens: only who joins and leaves KSM is traced, so that ksmd is not slowed down. */
void live_trace_quiet(struct live *live);
/* From now on a huge page that another process gets spoils the run. */
void live_trace_huge_pages(struct live *live);
/* Hand on what has happened since the last call. */
int live_trace_pump(struct live *live);

/* ---- live_life.c ---- */

/* Frames of the pending events become lives of frames. */
int live_lives(struct live *live);
void live_lives_free(struct live *live);

/* ---- live_item.c ---- */

/* By its address in the kernel; NULL: it was never merged. */
struct live_item *live_item_find(struct live *live, uint64_t name);

/* Before ksmd runs: what it will find. */
int live_items_before(struct live *live);
/* The addresses of the pending events. */
int live_items_resolve(struct live *live);
/* A step is over; @pages: how many it visited. */
void live_items_step(struct live *live, int64_t pages);
void live_items_free(struct live *live);
/* The frames and zero pages that are no longer KSM's are forgotten. */
int live_items_after(struct live *live);
int live_items_forked(struct live *live, uint32_t parent_mm, uint32_t child_mm);
bool live_is_ksm_frame(const struct live *live, uint64_t pfn);
bool live_is_ksm_zero(const struct live *live, uint32_t mm, uint64_t vaddr);

/* ---- live_pages.c ---- */

/* Does this kernel have PAGEMAP_SCAN, and does that know guard pages? */
bool live_pages_can_scan(int pagemap, bool *guard_pages);
/* The present pages, from the cache or read now. */
int live_pages_read(struct live *live, uint32_t process);
int live_pages_list(struct live *live, const struct live_process *process,
		    struct live_pages *pages);
/* The same, and what is known of their frames. */
int live_pages_look(struct live *live, uint32_t process);
void live_pages_forget(struct live *live);
/* NULL: not present */
const struct live_page *live_page_in(const struct live_pages *pages, uint64_t vaddr);
const struct live_page *live_page_find(const struct live_process *process, uint64_t vaddr);
/* The mergeable mappings of a process. */
int live_ranges_read(struct live *live, struct live_process *process);
/* The content of a page that is there; ksmd sleeps. false: the process may not read it. */
bool live_page_bytes(struct live *live, uint32_t process, uint64_t vaddr, uint8_t *bytes);
bool live_frame_mapcount(struct live *live, uint64_t pfn, uint64_t *count);
bool live_frame_exclusive(struct live *live, uint64_t pfn);
int live_process_get(struct live *live, uint32_t process, struct ksmsim_process *out);
/* sim_backend_ops.smaps */
int live_smaps_get(struct live *live, uint32_t process, struct sim_smaps *out);
/* sim_backend_ops.ksm_pages */
int live_ksm_pages_get(struct live *live, uint32_t process, uint64_t *value);
int live_page_get(struct live *live, uint32_t process, uint64_t vaddr, struct ksmsim_page *out);

#endif
