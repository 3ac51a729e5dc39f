/*
 * live.c - the running Linux kernel as a backend.
 *
 * Each operation is one or a few system calls of a real process (live_child.c),
 * a write below /sys/kernel/mm/ksm, or a number of batches of ksmd (live_ksmd.c);
 * what happened is read from the trace afterwards. What an ordinary machine cannot
 * do at will (reclaim, migration, failing allocations, time) is refused with
 * SIM_LIVE_ESKIP and a sentence.
 *
 * Counters that the kernel never resets are shown relative to the start of the
 * run. What cannot be seen at all is named by live_blind() (live_sight.c).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "live_parts.h"
#include "probe.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif
#define MEMORY_PAGES_MAX 1048576u /* that one operation may make: 4 GiB */
#define FILE_MORE 1024u		  /* pages behind the mapping */
#define BRK_START (LIVE_USER_END / LIVE_PAGE / 3 * 2 * LIVE_PAGE) /* as the model has it */

static struct live *live_of(struct sim_backend *backend)
{
	return (struct live *)(void *)backend;
}

/* ---- mappings ---- */

static uint64_t prot_of(unsigned choice)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };

	return (uint64_t)prots[choice];
}

static uint64_t map_flags(const struct sim_op *op)
{
	static const struct {
		unsigned option;
		int flag;
	} flags[] = {
		{ SIM_OPTION(noreserve), MAP_NORESERVE }, { SIM_OPTION(populate), MAP_POPULATE },
		{ SIM_OPTION(locked), MAP_LOCKED },	  { SIM_OPTION(hugetlb), MAP_HUGETLB },
		{ SIM_OPTION(fixed), MAP_FIXED },
	};
	int result = op->options & SIM_OPTION(shared)	   ? MAP_SHARED
		     : op->options & SIM_OPTION(droppable) ? MAP_DROPPABLE
							   : MAP_PRIVATE;
	size_t i;

	for (i = 0; i < sizeof(flags) / sizeof(*flags); i++)
		if (op->options & flags[i].option)
			result |= flags[i].flag;
	if (!(op->options & SIM_OPTION(file)))
		result |= MAP_ANONYMOUS;
	/* with a hint that is taken the kernel may choose; the model would, too */
	if (!(op->options & (SIM_OPTION(at) | SIM_OPTION(fixed))))
		result |= MAP_FIXED_NOREPLACE;
	return (uint64_t)result;
}

/* A file in memory. The model's is endless; this one has room for a mapping that grows. */
static int make_file(struct live *live, const struct sim_op *op, int *fd)
{
	const uint64_t nr = (op->size + LIVE_PAGE - 1) / LIVE_PAGE + FILE_MORE;
	uint8_t page[LIVE_PAGE];
	uint64_t i;
	int error = 0;

	if (nr > MEMORY_PAGES_MAX)
		return live_fail(live, SIM_LIVE_ESKIP, "a file of more than %u pages",
				 MEMORY_PAGES_MAX);
	*fd = memfd_create("ksmsim-file", MFD_CLOEXEC);
	if (*fd < 0)
		return live_fail_errno(live, "a file in memory");
	for (i = 0; !error && i < nr; i++) {
		error = ksmsim_content_page(&op->content, i, LIVE_PAGE, page);
		if (!error && write(*fd, page, LIVE_PAGE) != (ssize_t)LIVE_PAGE)
			error = live_fail_errno(live, "a file in memory");
	}
	return error;
}

/* The process opens the file that we have. */
static int open_in_process(struct live *live, uint32_t process, int fd, int64_t *theirs)
{
	const struct live_process *p = &live->processes[process];

	snprintf((char *)live_scratch_of(live, p), 64, "/proc/%d/fd/%d", (int)getpid(), fd);
	return live_call(live, process, theirs, SYS_open, live_slot_address(p) + LIVE_SLOT_SCRATCH,
			 O_RDWR | O_CLOEXEC);
}

static int do_mmap(struct live *live, const struct sim_op *op, int64_t *result)
{
	const bool has_file = (op->options & SIM_OPTION(file)) != 0;
	int64_t theirs = -1, closed;
	int fd = -1, error = 0;

	if (has_file)
		error = make_file(live, op, &fd);
	if (!error && has_file)
		error = open_in_process(live, op->process, fd, &theirs);
	if (!error && has_file && theirs < 0)
		error = live_fail(live, SIM_LIVE_EBROKEN, "a process cannot open a file: %s",
				  strerror((int)-theirs));
	if (!error)
		error = live_call(live, op->process, result, SYS_mmap, op->vaddr, op->size,
				  prot_of(op->choice), map_flags(op), (uint64_t)theirs, 0);
	if (!error && theirs >= 0)
		error = live_call(live, op->process, &closed, SYS_close, (uint64_t)theirs);
	if (fd >= 0)
		close(fd);
	if (!error && *result == -ENOMEM && (op->options & SIM_OPTION(hugetlb)))
		error = live_fail(live, SIM_LIVE_ESKIP, "no hugetlb pages are reserved");
	return error;
}

static int do_mremap(struct live *live, const struct sim_op *op, int64_t *result)
{
	uint64_t flags = 0;

	if (op->options & (SIM_OPTION(maymove) | SIM_OPTION(at) | SIM_OPTION(dontunmap)))
		flags |= MREMAP_MAYMOVE;
	if (op->options & SIM_OPTION(at))
		flags |= MREMAP_FIXED;
	if (op->options & SIM_OPTION(dontunmap))
		flags |= 4; /* MREMAP_DONTUNMAP */
	return live_call(live, op->process, result, SYS_mremap, op->vaddr, op->length, op->size,
			 flags, op->at);
}

/* struct prctl_mm_map of <linux/prctl.h>, which libc's header does not go with */
struct mm_map {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start,
		arg_end, env_start, env_end, auxv;
	uint32_t auxv_size, exe_fd;
};

/* The heap begins where the model's does. */
static int place_heap(struct live *live, uint32_t process)
{
	struct live_process *p = &live->processes[process];
	const uint64_t low = 1 << 20;
	const struct mm_map map = { low,       low + 1, low + 2, low + 3, BRK_START,
				    BRK_START, low + 4, low + 5, low + 6, low + 7,
				    low + 8,   0,	0,	 ~0u };
	int64_t result;
	int error;

	memcpy(live_scratch_of(live, p), &map, sizeof(map));
	error = live_call(live, process, &result, SYS_prctl, PR_SET_MM, PR_SET_MM_MAP,
			  live_slot_address(p) + LIVE_SLOT_SCRATCH, sizeof(map));
	if (!error && result < 0)
		error = live_fail(live, SIM_LIVE_ESKIP, "the heap cannot be placed: %s",
				  strerror((int)-result));
	p->has_brk = !error;
	return error;
}

static int do_brk(struct live *live, const struct sim_op *op, int64_t *result)
{
	const int error = live->processes[op->process].has_brk ? 0 : place_heap(live, op->process);

	return error ? error : live_call(live, op->process, result, SYS_brk, op->at);
}

static int do_madvise(struct live *live, const struct sim_op *op, int64_t *result)
{
	static const int advices[] = {
#define ADVICE(name, linux_value, doc) linux_value,
#include "ksmsim/advices.def"
	};

	if (op->advice == KSMSIM_MADV_HWPOISON)
		return live_memory_failure(live, op, result);
	return live_call(live, op->process, result, SYS_madvise, op->vaddr, op->length,
			 (uint64_t)advices[op->advice]);
}

static int do_prctl(struct live *live, const struct sim_op *op, int64_t *result)
{
	if (op->choice == SIM_PRCTL_get)
		return live_call(live, op->process, result, SYS_prctl, PR_GET_MEMORY_MERGE);
	return live_call(live, op->process, result, SYS_prctl, PR_SET_MEMORY_MERGE,
			 op->choice == SIM_PRCTL_on);
}

static int do_clear_refs(struct live *live, const struct sim_op *op, int64_t *result)
{
	*result =
		live_write_number(live->processes[op->process].proc, "clear_refs", op->choice + 1);
	return 0;
}

/* ---- operations ---- */

static int do_fork(struct live *live, const struct sim_op *op, int64_t *result)
{
	const uint32_t parent_mm = live->processes[op->process].mm;
	const int error = live_fork(live, op->process, result);

	if (error || *result < 0)
		return error;
	return live_items_forked(live, parent_mm, live->processes[live->nr_processes - 1].mm);
}

static int cannot(struct live *live, const char *why)
{
	return live_fail(live, SIM_LIVE_ESKIP, "%s", why);
}

/* A guest does not fill the machine. */
static bool is_too_large(const struct sim_op *op)
{
	return (op->id == SIM_OP_fill || op->id == SIM_OP_touch) &&
	       op->length / LIVE_PAGE > MEMORY_PAGES_MAX;
}

static int execute_process(struct live *live, const struct sim_op *op, int64_t *result)
{
	if (is_too_large(op))
		return live_fail(live, SIM_LIVE_ESKIP, "more than %u pages at once",
				 MEMORY_PAGES_MAX);
	switch (op->id) {
	case SIM_OP_exit:
		return live_exit(live, op->process);
	case SIM_OP_fork:
		return do_fork(live, op, result);
	case SIM_OP_exec:
		return live_exec(live, op->process, result);
	case SIM_OP_mmap:
		return do_mmap(live, op, result);
	case SIM_OP_munmap:
		return live_call(live, op->process, result, SYS_munmap, op->vaddr, op->length);
	case SIM_OP_mprotect:
		return live_call(live, op->process, result, SYS_mprotect, op->vaddr, op->length,
				 prot_of(op->choice));
	case SIM_OP_mlock:
		return live_call(live, op->process, result, SYS_mlock, op->vaddr, op->length);
	case SIM_OP_munlock:
		return live_call(live, op->process, result, SYS_munlock, op->vaddr, op->length);
	case SIM_OP_mremap:
		return do_mremap(live, op, result);
	case SIM_OP_brk:
		return do_brk(live, op, result);
	case SIM_OP_madvise:
		return do_madvise(live, op, result);
	case SIM_OP_prctl:
		return do_prctl(live, op, result);
	case SIM_OP_thpdisable:
		return live_thp_disable(live, op, result);
	case SIM_OP_clear_refs:
		return do_clear_refs(live, op, result);
	case SIM_OP_fill:
		return live_fill(live, op, result);
	case SIM_OP_poke:
		return live_poke(live, op, result);
	case SIM_OP_touch:
	case SIM_OP_read:
		return live_touch(live, op, result);
	case SIM_OP_check:
		return live_check(live, op, result);
	case SIM_OP_pin:
		return live_pin(live, op, result);
	case SIM_OP_unpin:
		return live_unpin(live, op, result);
	default:
		return KSMSIM_EARGUMENT;
	}
}

static int write_file(struct live *live, const char *file, const char *text, int64_t *result)
{
	return live_is_thp_file(file) ? live_thp_write(live, file, text, result)
				      : live_ksm_write(live, file, text, result);
}

static int execute(struct live *live, const struct sim_op *op, int64_t *result)
{
	switch (op->id) {
	case SIM_OP_proc:
		if (op->options & SIM_OPTION(node))
			return cannot(live, "NUMA nodes are not chosen on a live kernel");
		return live_spawn(live);
	case SIM_OP_ksm:
	case SIM_OP_thp:
		return write_file(live, op->file, op->text, result);
	case SIM_OP_shrink:
		return live_shrink(live, op, result);
	case SIM_OP_khugepaged:
		return live_khugepaged(live, op, result);
	case SIM_OP_step:
	case SIM_OP_scan:
		return live_ksmd_step(live, op, result);
	case SIM_OP_drain:
		return live_drain(live);
	case SIM_OP_run:
	case SIM_OP_advance:
	case SIM_OP_ksmdcpu:
		return cannot(live, "time on a live kernel is its own");
	case SIM_OP_node:
	case SIM_OP_migrate:
		return cannot(live, "NUMA nodes are not chosen on a live kernel");
	case SIM_OP_swapout:
		return cannot(live, "what a live kernel reclaims is not chosen");
	case SIM_OP_inject:
		return cannot(live, "allocations of a live kernel do not fail at will");
	case SIM_OP_feature:
		return cannot(live, "a live kernel has the features that it has");
	case SIM_OP_policy:
		return cannot(live, "a live kernel has its own rules");
	case SIM_OP_split:
		return live_split(live, op, result);
	default:
		return execute_process(live, op, result);
	}
}

/* Can it bring about huge pages, or make a process one of khugepaged's? */
static bool may_need_always(const struct sim_op *op)
{
	switch (op->id) {
	case SIM_OP_proc:
	case SIM_OP_exit:
	case SIM_OP_exec:
	case SIM_OP_munmap:
	case SIM_OP_munlock:
	case SIM_OP_ksm:
	case SIM_OP_thp:
	case SIM_OP_step:
	case SIM_OP_scan:
	case SIM_OP_drain:
	case SIM_OP_shrink:
	case SIM_OP_split:
	case SIM_OP_unpin:
	case SIM_OP_thpdisable:
	case SIM_OP_clear_refs:
		return false;
	default:
		return true;
	}
}

static int live_execute(struct sim_backend *backend, const struct sim_op *op, int64_t *result)
{
	struct live *live = live_of(backend);
	int error;

	*result = 0;
	live->why[0] = '\0';
	live->newcomer = 0;
	live->thp.used |=
		op->id == SIM_OP_thp || op->id == SIM_OP_shrink || op->id == SIM_OP_split ||
		(op->id == SIM_OP_madvise &&
		 (op->advice == KSMSIM_MADV_COLLAPSE || op->advice == KSMSIM_MADV_HUGEPAGE));
	live_vmstat_before(live);
	if (may_need_always(op))
		live_thp_open(live);
	error = execute(live, op, result);
	live_thp_close(live);
	live_vmstat_after(live);
	if (!error)
		error = live_trace_pump(live);
	live->newcomer = 0;
	return error ? error : live_items_after(live);
}

/* ---- observation ---- */

static int live_read_file(struct sim_backend *backend, const char *file, char *buf, size_t size,
			  int64_t *result)
{
	return live_is_thp_file(file) ? live_thp_read(live_of(backend), file, buf, size, result)
				      : live_ksm_read(live_of(backend), file, buf, size, result);
}

static int live_process(struct sim_backend *backend, uint32_t process, struct ksmsim_process *out)
{
	return live_process_get(live_of(backend), process, out);
}

static int live_smaps(struct sim_backend *backend, uint32_t process, struct sim_smaps *out)
{
	return live_smaps_get(live_of(backend), process, out);
}

static int live_ksm_pages(struct sim_backend *backend, uint32_t process, uint64_t *value)
{
	return live_ksm_pages_get(live_of(backend), process, value);
}

static int live_page(struct sim_backend *backend, uint32_t process, uint64_t vaddr,
		     struct ksmsim_page *out)
{
	return live_page_get(live_of(backend), process, vaddr, out);
}

static int live_next_page(struct sim_backend *backend, uint32_t process, uint64_t *vaddr,
			  uint64_t end)
{
	struct live *live = live_of(backend);
	const struct live_pages *pages = &live->processes[process].pages;
	const int error = live_pages_read(live, process);
	size_t low = 0, high = pages->nr;

	while (low < high) {
		const size_t mid = low + (high - low) / 2;

		if (pages->list[mid].vaddr < *vaddr)
			low = mid + 1;
		else
			high = mid;
	}
	*vaddr = low < pages->nr && pages->list[low].vaddr < end ? pages->list[low].vaddr : end;
	return error;
}

static uint64_t live_now(struct sim_backend *backend)
{
	(void)backend;
	return 0; /* the model's time stands still, too */
}

static const char *live_why(struct sim_backend *backend)
{
	return live_of(backend)->why;
}

static void live_describe(struct sim_backend *backend, char *kernel, size_t size, uint64_t *page)
{
	snprintf(kernel, size, "%s", live_of(backend)->kernel);
	*page = LIVE_PAGE;
}

static bool live_listen(struct sim_backend *backend, ksmsim_listener listener, void *self)
{
	struct live *live = live_of(backend);

	if (!live->sight.events)
		return false;
	live->listener = listener;
	live->listener_self = self;
	if (!listener)
		live_trace_quiet(live);
	return true;
}

/* ---- the whole ---- */

static void close_file(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void live_free(struct sim_backend *backend)
{
	struct live *live = live_of(backend);

	live_pins_release(live, SIM_NONE, true);
	live_children_end(live);
	live_trace_end(live);
	live_guard_end(live);
	live_ksmd_end(live);
	live_thp_end(live);
	live_items_free(live);
	live_lives_free(live);
	sim_free(live->mem, live->pins);
	close_file(live->kpagecount);
	close_file(live->kpageflags);
	sim_free(live->mem, live);
}

static const struct sim_backend_ops live_ops = {
	.name = "live",
	.free = live_free,
	.describe = live_describe,
	.listen = live_listen,
	.execute = live_execute,
	.counter = live_counter,
	.mthp = live_mthp,
	.read_file = live_read_file,
	.process = live_process,
	.page = live_page,
	.now = live_now,
	.ksm_pages = live_ksm_pages,
	.smaps = live_smaps,
	.blind = live_blind,
	.next_page = live_next_page,
	.why = live_why,
};

static int apply_knobs(struct live *live, const struct sim_options *options)
{
	int64_t result;
	size_t i;
	int error;

	for (i = 0; i < options->nr_knobs; i++) {
		const struct sim_setting *set = &options->knobs[i];
		const struct sim_word word = { set->name, strlen(set->name) };
		const char *file = sim_file_of(word);

		if (!file)
			return live_fail(live, SIM_EINPUT, "unknown knob '%s'", set->name);
		error = write_file(live, file, set->value, &result);
		if (!error && result < 0)
			error = live_fail(live, SIM_EINPUT, "knob %s: writing '%s' gives %s",
					  set->name, set->value, strerror((int)-result));
		if (error)
			return error;
	}
	return 0;
}

/* Only what was found out about this kernel may be said about it. */
static bool has_features(const struct sim_options *options)
{
	struct sim_probe probe;
	size_t i, k;

	sim_probe(&probe, NULL, "");
	for (i = 0; i < options->nr_features; i++) {
		for (k = 0; k < probe.nr_features; k++)
			if (!strcmp(options->features[i].name, probe.features[k].name) &&
			    !strcmp(options->features[i].value, probe.features[k].value))
				break;
		if (k == probe.nr_features)
			return false;
	}
	return true;
}

static int check_options(struct live *live, const struct sim_options *options)
{
	if (!has_features(options))
		return cannot(live, "a live kernel has the features that it has");
	if (options->nodes > 1)
		return cannot(live, "NUMA nodes are not chosen on a live kernel");
	if (options->geometry && strcmp(options->geometry, "x86-64-4level"))
		return cannot(live, "the live backend uses four levels of page tables");
	return 0;
}

static int start(struct live *live, const struct sim_options *options)
{
	int error = check_options(live, options);

	live_keep_memory();
	if (!error)
		error = live_guard_start(live);
	if (error)
		return error;
	live->kpagecount = open("/proc/kpagecount", O_RDONLY | O_CLOEXEC);
	live->kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (live->kpagecount < 0 || live->kpageflags < 0)
		return live_fail_errno(live, "/proc");
	live_sight_start(live);
	error = live_ksmd_start(live);
	if (!error)
		error = live_thp_start(live);
	if (!error)
		error = live_children_start(live);
	if (error)
		return error;
	live_counters_begin(live);
	return apply_knobs(live, options);
}

int sim_live_new(const struct sim_options *options, struct sim_mem *mem, char *buf, size_t size,
		 struct sim_backend **out)
{
	struct live *live = sim_alloc(mem, sizeof(*live));
	struct utsname name;
	int error;

	if (!live) {
		snprintf(buf, size, "%s", ksmsim_strerror(KSMSIM_ENOMEM));
		return KSMSIM_ENOMEM;
	}
	live->backend.ops = &live_ops;
	live->mem = mem;
	live->lose_memory = options->lose_memory;
	live->guard.pipe = live->guard.lock = live->guard.tracefs = live->guard.instance = -1;
	live->ksm = live->ksmd_stat = live->scanned = live->skipped = -1;
	live->kpagecount = live->kpageflags = live->vmstat.file = -1;
	live->thp.dir = live->thp.khugepaged = live->thp.group = -1;
	live->arena_fd = live->program_fd = live->trace_pipe = -1;
	if (!uname(&name))
		snprintf(live->kernel, sizeof(live->kernel), "linux %.50s", name.release);
	error = start(live, options);
	if (error) {
		snprintf(buf, size, "%s", live->why[0] ? live->why : ksmsim_strerror(error));
		live_free(&live->backend);
		return error;
	}
	*out = &live->backend;
	return 0;
}
