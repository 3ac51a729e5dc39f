/*
 * chaos.c - random worlds: running operations over the public interface, and
 * watching what they do.
 *
 * No operation may change the memory of another process, and what KSM and its
 * knobs do may change nobody's: every process is looked at before and after.
 */
#include "chaos_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint32_t chaos_below(struct chaos *chaos, uint32_t nr)
{
	return chaos->source.below(chaos->source.self, nr);
}

bool chaos_chance(struct chaos *chaos, uint32_t one_in)
{
	return chaos_below(chaos, one_in) == 0;
}

struct chaos_window chaos_window_at(const struct chaos *chaos, const struct chaos_process *process,
				    unsigned i)
{
	const struct chaos_window windows[CHAOS_WINDOWS] = {
		{ CHAOS_BASE, chaos->huge ? 1024 : 32 },
		{ CHAOS_BASE + 504 * CHAOS_PAGE, 32 },		   /* two page tables */
		{ CHAOS_BASE + (1u << 30) - 16 * CHAOS_PAGE, 32 }, /* and two tables above */
		{ process->heap, 32 },
		{ process->moved, 32 },
	};

	return windows[i];
}

struct chaos_process *chaos_process_of(struct chaos *chaos, uint32_t pid)
{
	unsigned i;

	for (i = 0; i < chaos->nr_alive; i++)
		if (chaos->process[i].pid == pid)
			return &chaos->process[i];
	return NULL;
}

/* ---- executing ---- */

/* A new address space: where is its heap? */
static int find_heap(struct chaos *chaos, struct chaos_process *process)
{
	int64_t heap = 0;
	const int error = ksmsim_brk(chaos->sim, process->pid, 0, &heap);

	process->heap = ((uint64_t)heap + CHAOS_PAGE - 1) & ~(CHAOS_PAGE - 1);
	process->moved = CHAOS_BASE + 64 * CHAOS_PAGE;
	chaos->furnish = process->pid;
	chaos->furniture = chaos_chance(chaos, 8) ? 3 : 0;
	return error;
}

static int execute_birth(struct chaos *chaos, struct chaos_op *op)
{
	struct chaos_process *process = &chaos->process[chaos->nr_alive];
	int error;

	if (op->kind == CHAOS_PROC)
		error = ksmsim_spawn(chaos->sim, &op->child);
	else
		error = ksmsim_fork(chaos->sim, op->pid, &op->child, &op->result);
	if (error || op->result)
		return error;
	if (op->kind == CHAOS_FORK)
		*process = *chaos_process_of(chaos, op->pid);
	else
		*process = (struct chaos_process){ 0 };
	process->pid = op->child;
	chaos->nr_alive++;
	return op->kind == CHAOS_FORK ? 0 : find_heap(chaos, process);
}

static int execute_exit(struct chaos *chaos, struct chaos_op *op)
{
	struct chaos_process *process = chaos_process_of(chaos, op->pid);

	*process = chaos->process[--chaos->nr_alive];
	return ksmsim_exit(chaos->sim, op->pid);
}

static int execute_exec(struct chaos *chaos, struct chaos_op *op)
{
	const int error = ksmsim_exec(chaos->sim, op->pid, &op->result);

	return error || op->result ? error : find_heap(chaos, chaos_process_of(chaos, op->pid));
}

static int execute_mmap(struct chaos *chaos, struct chaos_op *op)
{
	struct ksmsim_mmap request = {
		.vaddr = op->vaddr, .length = op->length, .prot = op->prot, .flags = op->flags
	};
	int error = 0;

	chaos->files |= op->value || op->flags & KSMSIM_MAP_SHARED;
	if (op->value)
		error = ksmsim_file_new(chaos->sim, &op->content, &request.file);
	if (!error)
		error = ksmsim_mmap(chaos->sim, op->pid, &request, &op->result);
	if (!error && op->result > 0 && !(op->flags & KSMSIM_MAP_FIXED))
		chaos_process_of(chaos, op->pid)->moved = (uint64_t)op->result;
	return error;
}

static int execute_mapping(struct chaos *chaos, struct chaos_op *op)
{
	struct ksmsim *sim = chaos->sim;
	int64_t *ret = &op->result;
	int error;

	switch (op->kind) {
	case CHAOS_MMAP:
		return execute_mmap(chaos, op);
	case CHAOS_MUNMAP:
		return ksmsim_munmap(sim, op->pid, op->vaddr, op->length, ret);
	case CHAOS_MPROTECT:
		return ksmsim_mprotect(sim, op->pid, op->vaddr, op->length, op->prot, ret);
	case CHAOS_MREMAP:
		error = ksmsim_mremap(sim, op->pid, op->vaddr, op->length, op->value, op->flags,
				      op->to, ret);
		if (!error && *ret > 0 && !op->to)
			chaos_process_of(chaos, op->pid)->moved = (uint64_t)*ret;
		return error;
	case CHAOS_BRK:
		return ksmsim_brk(sim, op->pid, op->vaddr + op->length, ret);
	case CHAOS_MADVISE:
		return ksmsim_madvise(sim, op->pid, op->vaddr, op->length,
				      (enum ksmsim_advice)op->flags, ret);
	case CHAOS_MLOCK:
		return ksmsim_mlock(sim, op->pid, op->vaddr, op->length, ret);
	case CHAOS_MUNLOCK:
		return ksmsim_munlock(sim, op->pid, op->vaddr, op->length, ret);
	case CHAOS_THP_DISABLE:
		return ksmsim_prctl_thp_disable(sim, op->pid, (enum ksmsim_thp_disable)op->flags,
						ret);
	case CHAOS_SPLIT:
		return ksmsim_split(sim, op->pid, op->vaddr, op->length, op->flags,
				    op->value ? (int64_t)op->value - 1 : -1, ret);
	default:
		if (op->flags == 2)
			return ksmsim_prctl_merge_get(sim, op->pid, ret);
		return ksmsim_prctl_merge(sim, op->pid, op->flags == 0, ret);
	}
}

/* What was written must be there. */
static int execute_fill(struct chaos *chaos, struct chaos_op *op)
{
	int64_t wrong = 0;
	int error = ksmsim_fill(chaos->sim, op->pid, op->vaddr, op->length / CHAOS_PAGE,
				&op->content, &op->result);

	if (!error && !op->result && chaos->watch)
		error = ksmsim_check_pages(chaos->sim, op->pid, op->vaddr, op->length / CHAOS_PAGE,
					   &op->content, &wrong);
	if (wrong)
		snprintf(chaos->fault, sizeof(chaos->fault),
			 "what was written is not there: %" PRId64, wrong);
	return error;
}

static int execute_access(struct chaos *chaos, struct chaos_op *op)
{
	const uint64_t nr = op->length / CHAOS_PAGE;
	struct ksmsim *sim = chaos->sim;
	int64_t *ret = &op->result;
	uint8_t bytes[64];

	switch (op->kind) {
	case CHAOS_FILL:
		return execute_fill(chaos, op);
	case CHAOS_POKE:
		memset(bytes, (int)op->value, sizeof(bytes));
		return ksmsim_poke(sim, op->pid, op->vaddr + op->offset, bytes, op->bytes, ret);
	case CHAOS_TOUCH:
		return ksmsim_touch(sim, op->pid, op->vaddr, nr, ret);
	case CHAOS_READ:
		return ksmsim_read(sim, op->pid, op->vaddr, nr, ret);
	case CHAOS_CHECK:
		return ksmsim_check_pages(sim, op->pid, op->vaddr, nr, &op->content, ret);
	case CHAOS_PIN:
		chaos->held |= op->flags == KSMSIM_PIN_HELD;
		return ksmsim_pin(sim, op->pid, op->vaddr, nr, (enum ksmsim_pin)op->flags, ret);
	case CHAOS_UNPIN:
		return ksmsim_unpin(sim, op->pid, op->vaddr, nr, ret);
	case CHAOS_NODE:
		return ksmsim_node_set(sim, op->pid, op->flags);
	case CHAOS_MIGRATE:
		return ksmsim_migrate(sim, op->pid, op->vaddr, nr, op->flags, ret);
	default:
		return ksmsim_swap_out(sim, op->pid, op->vaddr, nr, op->flags != 0, ret);
	}
}

static int execute_machine(struct chaos *chaos, struct chaos_op *op)
{
	struct ksmsim *sim = chaos->sim;
	char text[32];
	int length;

	switch (op->kind) {
	case CHAOS_KSM:
		length = snprintf(text, sizeof(text), "%s\n", op->text);
		return ksmsim_sysfs_write(sim, op->file, text, (size_t)length, &op->result);
	case CHAOS_STEP:
		return ksmsim_ksmd_batch(sim, op->value, NULL);
	case CHAOS_SCAN:
		return ksmsim_ksmd_batch(sim, UINT32_MAX, NULL);
	case CHAOS_RUN:
		return ksmsim_run(sim, op->value);
	case CHAOS_ADVANCE:
		return ksmsim_advance(sim, op->value);
	case CHAOS_CPU:
		return ksmsim_ksmd_cpu_add(sim, op->value);
	case CHAOS_DRAIN:
		return ksmsim_lru_drain(sim);
	case CHAOS_SHRINK:
		return ksmsim_shrink(sim, op->flags, &op->result);
	case CHAOS_KHUGEPAGED:
		return ksmsim_khugepaged(sim, op->flags, &op->result);
	case CHAOS_POLICY:
		return ksmsim_policy_choose(sim, op->text);
	default:
		return ksmsim_inject_failure(sim, (enum ksmsim_inject)op->flags, op->value);
	}
}

static int execute(struct chaos *chaos, struct chaos_op *op)
{
	switch (op->kind) {
	case CHAOS_PROC:
	case CHAOS_FORK:
		return execute_birth(chaos, op);
	case CHAOS_EXIT:
		return execute_exit(chaos, op);
	case CHAOS_EXEC:
		return execute_exec(chaos, op);
	default:
		if (op->kind >= CHAOS_KSM)
			return execute_machine(chaos, op);
		if (op->kind >= CHAOS_FILL)
			return execute_access(chaos, op);
		return execute_mapping(chaos, op);
	}
}

/* ---- watching what processes see ---- */

static struct chaos_page look(const struct chaos *chaos, uint32_t pid, uint64_t vaddr)
{
	struct ksmsim_page page;

	if (ksmsim_page_get(chaos->sim, pid, vaddr, &page))
		return (struct chaos_page){ .seen = CHAOS_NONE };
	switch (page.state) {
	case KSMSIM_PAGE_ANON:
	case KSMSIM_PAGE_KSM:
		return (struct chaos_page){ CHAOS_KNOWN, page.checksum };
	case KSMSIM_PAGE_ZERO:
	case KSMSIM_PAGE_KSM_ZERO:
		return (struct chaos_page){ CHAOS_KNOWN, chaos->zero_checksum };
	case KSMSIM_PAGE_FILE:
	case KSMSIM_PAGE_SWAP:
		return (struct chaos_page){ .seen = CHAOS_UNKNOWN };
	default:
		return (struct chaos_page){ .seen = CHAOS_NONE };
	}
}

/* May the operation change the memory of the process that it is about? */
static bool may_change_own(const struct chaos_op *op)
{
	switch (op->kind) {
	case CHAOS_MADVISE:
		return op->flags == KSMSIM_MADV_DONTNEED || op->flags == KSMSIM_MADV_FREE ||
		       op->flags == KSMSIM_MADV_DONTNEED_LOCKED ||
		       op->flags == KSMSIM_MADV_GUARD_INSTALL;
	case CHAOS_EXEC:
	case CHAOS_MMAP:
	case CHAOS_MUNMAP:
	case CHAOS_MREMAP:
	case CHAOS_BRK:
	case CHAOS_FILL:
	case CHAOS_POKE:
		return true;
	default:
		return false;
	}
}

static bool allowed(const struct chaos *chaos, bool own, struct chaos_page old,
		    struct chaos_page now)
{
	const struct chaos_op *op = &chaos->op;

	/* khugepaged fills holes */
	if (old.seen == CHAOS_NONE && now.seen == CHAOS_KNOWN && !own)
		return (op->kind == CHAOS_KHUGEPAGED || op->kind == CHAOS_RUN) &&
		       now.content == chaos->zero_checksum;
	if (old.seen == CHAOS_KNOWN && now.seen == CHAOS_KNOWN)
		return old.content == now.content;
	/* reclaim drops pages that MADV_FREE gave up; a page whose memory fails is lost to all */
	if (old.seen != CHAOS_NONE && now.seen == CHAOS_NONE)
		return op->kind == CHAOS_SWAPOUT || op->kind == CHAOS_SHRINK ||
		       (op->kind == CHAOS_MADVISE &&
			(op->flags == KSMSIM_MADV_PAGEOUT || op->flags == KSMSIM_MADV_HWPOISON));
	return old.seen != CHAOS_NONE || now.seen == CHAOS_NONE || own;
}

/* Compares with the last look and remembers this one. */
static void watch_process(struct chaos *chaos, struct chaos_process *process)
{
	const struct chaos_op *op = &chaos->op;
	const bool own = process->pid == op->pid, born = process->pid == op->child;
	unsigned w, i, at = 0;

	for (w = 0; w < CHAOS_WINDOWS; w++) {
		const struct chaos_window window = chaos_window_at(chaos, process, w);

		for (i = 0; i < window.pages; i++, at++) {
			const uint64_t vaddr = window.vaddr + i * CHAOS_PAGE;
			const struct chaos_page old = process->page[at];
			const struct chaos_page now = look(chaos, process->pid, vaddr);

			process->page[at] = now;
			if (own && may_change_own(op))
				continue;
			if (born && (op->kind != CHAOS_FORK || now.seen == CHAOS_NONE))
				continue;
			if (!chaos->fault[0] && !allowed(chaos, own, old, now))
				snprintf(chaos->fault, sizeof(chaos->fault),
					 "P%" PRIu32 " sees another page at 0x%" PRIx64
					 ": %d %08" PRIx32 " was %d %08" PRIx32,
					 process->pid, vaddr, (int)now.seen, now.content,
					 (int)old.seen, old.content);
		}
	}
}

bool chaos_check(struct chaos *chaos)
{
	const int error = ksmsim_check(chaos->sim, chaos->fault, sizeof(chaos->fault));

	if (error && error != KSMSIM_EINVARIANT)
		snprintf(chaos->fault, sizeof(chaos->fault), "check: %s", ksmsim_strerror(error));
	return !chaos->fault[0];
}

/* ---- a world ---- */

/* What an all-zero page has for a checksum, asked of a machine of its own. */
static int ask_zero_checksum(uint32_t *checksum)
{
	const struct ksmsim_mmap request = { .vaddr = CHAOS_BASE,
					     .length = CHAOS_PAGE,
					     .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					     .flags = KSMSIM_MAP_FIXED };
	struct ksmsim_page page = { 0 };
	struct ksmsim *sim;
	uint32_t pid = 0;
	int error = ksmsim_new(NULL, &sim);

	if (error)
		return error;
	error = ksmsim_spawn(sim, &pid);
	if (!error)
		error = ksmsim_mmap(sim, pid, &request, NULL);
	if (!error)
		error = ksmsim_touch(sim, pid, CHAOS_BASE, 1, NULL);
	if (!error)
		error = ksmsim_page_get(sim, pid, CHAOS_BASE, &page);
	*checksum = page.checksum;
	ksmsim_free(sim);
	return error;
}

/* Bytes of contents in use. */
static uint64_t content_bytes(struct chaos *chaos)
{
	struct ksmsim_memory memory;
	size_t i;

	for (i = 0; !ksmsim_memory_get(chaos->sim, i, &memory); i++)
		if (!strcmp(memory.part, "contents"))
			return memory.bytes;
	return 0;
}

int chaos_begin(struct chaos *chaos, struct chaos_source source, const char *profile)
{
	static const char *const profiles[] = { "linux-6.1", "linux-6.12", "linux-6.18",
						"linux-7.3" };
	struct ksmsim_config config = { .profile = profile };
	const uint32_t zero_checksum = chaos->zero_checksum;
	const bool watch = chaos->watch;
	int error = 0;

	*chaos = (struct chaos){ .source = source, .watch = watch, .zero_checksum = zero_checksum };
	if (!config.profile)
		config.profile = profiles[chaos_below(chaos, 4)];
	chaos->huge = chaos_chance(chaos, 3);
	config.nr_nodes = chaos->nr_nodes = 1 + chaos_below(chaos, 2);
	chaos->profile = config.profile;
	if (watch && !zero_checksum)
		error = ask_zero_checksum(&chaos->zero_checksum);
	if (!error)
		error = ksmsim_new(&config, &chaos->sim);
	if (!error)
		chaos->empty_bytes = content_bytes(chaos);
	if (!error && !chaos_chance(chaos, 4))
		error = ksmsim_sysfs_write(chaos->sim, "ksm/run", "1", 1, NULL);
	return error;
}

bool chaos_step(struct chaos *chaos)
{
	unsigned i;
	int error;

	chaos_choose(chaos, &chaos->op);
	error = execute(chaos, &chaos->op);
	if (error && !chaos->fault[0])
		snprintf(chaos->fault, sizeof(chaos->fault), "%s", ksmsim_strerror(error));
	for (i = 0; !error && chaos->watch && i < chaos->nr_alive; i++)
		watch_process(chaos, &chaos->process[i]);
	return !chaos->fault[0];
}

/* ---- the end of a world ---- */

static bool figure_is(struct chaos *chaos, enum ksmsim_counter counter, int64_t wanted)
{
	int64_t value = -1;
	const int error = ksmsim_counter_get(chaos->sim, counter, &value);

	if (error || value != wanted)
		snprintf(chaos->fault, sizeof(chaos->fault),
			 "everybody has gone, and %s is %" PRId64,
			 ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, NULL)[counter].name, value);
	return !error && value == wanted;
}

/* All but those whose memory failed; among these may be the zero page, which is no such frame. */
static bool frames_are_gone(struct chaos *chaos)
{
	int64_t left = 0, lost = 0;

	if (ksmsim_counter_get(chaos->sim, KSMSIM_COUNT_HardwareCorrupted, &lost) ||
	    ksmsim_counter_get(chaos->sim, KSMSIM_COUNT_nr_anon_frames, &left))
		return false;
	return figure_is(chaos, KSMSIM_COUNT_nr_anon_frames, left == lost - 1 ? left : lost);
}

static bool contents_are_gone(struct chaos *chaos)
{
	const uint64_t bytes = content_bytes(chaos);
	int64_t lost = 0;

	/* what failed keeps what it had */
	if (!ksmsim_counter_get(chaos->sim, KSMSIM_COUNT_HardwareCorrupted, &lost) && lost)
		return true;
	if (bytes != chaos->empty_bytes)
		snprintf(chaos->fault, sizeof(chaos->fault),
			 "everybody has gone, and contents have %" PRIu64 " bytes, not %" PRIu64,
			 bytes, chaos->empty_bytes);
	return bytes == chaos->empty_bytes;
}

static bool looks_change_nothing(struct chaos *chaos)
{
	struct ksmsim_walk walk;
	uint64_t before = 0, after = 1;
	char text[256];
	unsigned i;
	int error = ksmsim_hash(chaos->sim, &before);

	for (i = 0; !error && i < chaos->nr_alive; i++) {
		error = ksmsim_walk_cost(chaos->sim, chaos->process[i].pid, CHAOS_BASE,
					 UINT64_C(1) << 31, &walk);
		if (!error)
			error = ksmsim_ksm_stat(chaos->sim, chaos->process[i].pid, text,
						sizeof(text), NULL);
	}
	if (!error)
		error = ksmsim_hash(chaos->sim, &after);
	if (error || before != after)
		snprintf(chaos->fault, sizeof(chaos->fault), "looking at the machine: %s",
			 error ? ksmsim_strerror(error) : "its hash is another one");
	return !chaos->fault[0];
}

bool chaos_finish(struct chaos *chaos)
{
	struct ksmsim *sim = chaos->sim;
	unsigned i;
	int error = 0;

	if (!looks_change_nothing(chaos))
		return false;
	for (i = 0; !error && i < KSMSIM_INJECT_NR; i++)
		error = ksmsim_inject_failure(sim, (enum ksmsim_inject)i, 0);
	while (!error && chaos->nr_alive)
		error = ksmsim_exit(sim, chaos->process[--chaos->nr_alive].pid);
	if (!error)
		error = ksmsim_sysfs_write(sim, "ksm/run", "1", 1, NULL);
	for (i = 0; !error && i < 3; i++)
		error = ksmsim_ksmd_batch(sim, UINT32_MAX, NULL);
	if (!error)
		error = ksmsim_sysfs_write(sim, "ksm/run", "2", 1, NULL);
	if (!error)
		error = ksmsim_lru_drain(sim);
	if (error)
		snprintf(chaos->fault, sizeof(chaos->fault), "%s", ksmsim_strerror(error));
	return !error && chaos_check(chaos) && figure_is(chaos, KSMSIM_COUNT_rmap_items, 0) &&
	       figure_is(chaos, KSMSIM_COUNT_pages_shared, 0) &&
	       figure_is(chaos, KSMSIM_COUNT_pages_sharing, 0) &&
	       figure_is(chaos, KSMSIM_COUNT_pages_unshared, 0) &&
	       figure_is(chaos, KSMSIM_COUNT_stable_node_chains, 0) &&
	       figure_is(chaos, KSMSIM_COUNT_stable_node_dups, 0) &&
	       (chaos->held || frames_are_gone(chaos)) &&
	       (chaos->held || chaos->files || contents_are_gone(chaos));
}

void chaos_end(struct chaos *chaos)
{
	ksmsim_free(chaos->sim);
	chaos->sim = NULL;
}
