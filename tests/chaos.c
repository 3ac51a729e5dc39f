/*
 * chaos.c - random operations over the public interface.
 *
 * choose() draws an operation, execute() runs it, watch() compares what every
 * process sees before and after: no operation may change the memory of another
 * process, and what KSM and its knobs do may change nobody's.
 *
 * What could surprise: the addresses are a few windows at the edges of page
 * tables, and where the kernel put something last. Long ranges are only given
 * to calls that do not work page by page, so no operation takes long.
 */
#include "chaos.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAGE UINT64_C(4096)
#define BASE (UINT64_C(1) << 40)
#define NR_WINDOWS 5u

struct window {
	uint64_t vaddr;
	unsigned pages;
};

static uint32_t below(struct chaos *chaos, uint32_t nr)
{
	return chaos->source.below(chaos->source.self, nr);
}

static bool chance(struct chaos *chaos, uint32_t one_in)
{
	return below(chaos, one_in) == 0;
}

static struct window window_at(const struct chaos_process *process, unsigned i)
{
	const struct window windows[NR_WINDOWS] = {
		{ BASE, 32 },
		{ BASE + 504 * PAGE, 32 },	       /* two page tables */
		{ BASE + (1u << 30) - 16 * PAGE, 32 }, /* and two tables above */
		{ process->heap, 32 },
		{ process->moved, 32 },
	};

	return windows[i];
}

static struct chaos_process *process_of(struct chaos *chaos, uint32_t pid)
{
	unsigned i;

	for (i = 0; i < chaos->nr_alive; i++)
		if (chaos->process[i].pid == pid)
			return &chaos->process[i];
	return NULL;
}

/* ---- drawing ---- */

static const struct {
	enum chaos_kind kind;
	unsigned weight;
} weights[] = {
	{ CHAOS_PROC, 4 },  { CHAOS_EXIT, 3 },	   { CHAOS_FORK, 5 },	  { CHAOS_EXEC, 1 },
	{ CHAOS_MMAP, 8 },  { CHAOS_MUNMAP, 5 },   { CHAOS_MPROTECT, 6 }, { CHAOS_MREMAP, 8 },
	{ CHAOS_BRK, 4 },   { CHAOS_MADVISE, 30 }, { CHAOS_MLOCK, 4 },	  { CHAOS_MUNLOCK, 4 },
	{ CHAOS_PRCTL, 5 }, { CHAOS_FILL, 70 },	   { CHAOS_POKE, 16 },	  { CHAOS_TOUCH, 14 },
	{ CHAOS_READ, 10 }, { CHAOS_CHECK, 6 },	   { CHAOS_PIN, 8 },	  { CHAOS_UNPIN, 8 },
	{ CHAOS_NODE, 4 },  { CHAOS_MIGRATE, 8 },  { CHAOS_SWAPOUT, 10 }, { CHAOS_KSM, 26 },
	{ CHAOS_STEP, 70 }, { CHAOS_SCAN, 50 },	   { CHAOS_RUN, 6 },	  { CHAOS_ADVANCE, 8 },
	{ CHAOS_CPU, 2 },   { CHAOS_DRAIN, 4 },	   { CHAOS_INJECT, 4 },
};

static enum chaos_kind draw_kind(struct chaos *chaos)
{
	unsigned total = 0, i, at;

	for (i = 0; i < sizeof(weights) / sizeof(*weights); i++)
		total += weights[i].weight;
	at = below(chaos, total);
	for (i = 0; at >= weights[i].weight; i++)
		at -= weights[i].weight;
	return weights[i].kind;
}

static void draw_range(struct chaos *chaos, const struct chaos_process *process,
		       struct chaos_op *op)
{
	const unsigned any = below(chaos, 2 * NR_WINDOWS);
	const struct window window = window_at(process, any < NR_WINDOWS ? any : any % 2);
	const unsigned first = below(chaos, window.pages);
	const unsigned most = window.pages - first;

	op->vaddr = window.vaddr + first * PAGE;
	op->length = (1 + below(chaos, chance(chaos, 3) || most < 6 ? most : 6)) * PAGE;
}

/* For calls whose work does not grow with the range. */
static void draw_long_range(struct chaos *chaos, const struct chaos_process *process,
			    struct chaos_op *op)
{
	draw_range(chaos, process, op);
	switch (below(chaos, 24)) {
	case 0:
		op->length = UINT64_C(1) << 30;
		break;
	case 1:
		op->vaddr = BASE;
		op->length = (UINT64_C(1) << 30) + 64 * PAGE;
		break;
	case 2:
		op->length -= 1; /* rounded up */
		break;
	case 3:
		op->vaddr += below(chaos, 2) ? 1 : 4095;
		break;
	case 4:
		op->length = chance(chaos, 2) ? 0 : UINT64_MAX - below(chaos, 8192);
		break;
	default:
		break;
	}
}

static void draw_content(struct chaos *chaos, struct ksmsim_content *content)
{
	*content = (struct ksmsim_content){ 0 };
	switch (below(chaos, 12)) {
	case 0:
		content->kind = KSMSIM_CONTENT_TAGS;
		break;
	case 1:
		content->kind = KSMSIM_CONTENT_SEEDS;
		break;
	case 2:
		content->kind = KSMSIM_CONTENT_LAST;
		break;
	case 3:
		content->kind = KSMSIM_CONTENT_TAG;
		break;
	case 4:
		content->kind = KSMSIM_CONTENT_WORD;
		break;
	case 5:
	case 6:
		return; /* zero */
	default:
		content->kind = KSMSIM_CONTENT_BYTE;
		break;
	}
	content->value = below(chaos, content->kind == KSMSIM_CONTENT_BYTE ? 4 : 3);
}

static unsigned draw_prot(struct chaos *chaos)
{
	static const unsigned prots[] = { KSMSIM_PROT_NONE, KSMSIM_PROT_READ,
					  KSMSIM_PROT_READ | KSMSIM_PROT_WRITE };
	const unsigned i = below(chaos, 12);

	return prots[i < 2 ? i : 2];
}

static void draw_mmap(struct chaos *chaos, const struct chaos_process *process, struct chaos_op *op)
{
	static const unsigned extras[] = { KSMSIM_MAP_SHARED,	 KSMSIM_MAP_NORESERVE,
					   KSMSIM_MAP_POPULATE,	 KSMSIM_MAP_LOCKED,
					   KSMSIM_MAP_DROPPABLE, KSMSIM_MAP_HUGETLB };

	op->prot = draw_prot(chaos);
	if (chance(chaos, 12)) {
		op->vaddr = BASE;
		op->length = (UINT64_C(1) << 30) + 64 * PAGE;
		op->flags = KSMSIM_MAP_FIXED | KSMSIM_MAP_NORESERVE;
		return;
	}
	draw_range(chaos, process, op);
	if (chance(chaos, 3))
		op->length = 32 * PAGE;
	op->flags = chance(chaos, 6) ? 0 : KSMSIM_MAP_FIXED;
	if (chance(chaos, 4))
		op->flags |= extras[below(chaos, sizeof(extras) / sizeof(*extras))];
	if (chance(chaos, 12)) {
		op->value = 1; /* a file */
		draw_content(chaos, &op->content);
	}
}

static void draw_mremap(struct chaos *chaos, const struct chaos_process *process,
			struct chaos_op *op)
{
	struct chaos_op target;

	draw_range(chaos, process, op);
	draw_range(chaos, process, &target);
	op->value = chance(chaos, 3) ? op->length : target.length;
	op->flags = chance(chaos, 5) ? 0 : KSMSIM_MREMAP_MAYMOVE;
	if (op->flags && chance(chaos, 2)) {
		op->flags |= KSMSIM_MREMAP_FIXED;
		op->to = target.vaddr;
	}
	if (op->flags && chance(chaos, 5))
		op->flags |= KSMSIM_MREMAP_DONTUNMAP;
}

static void draw_madvise(struct chaos *chaos, const struct chaos_process *process,
			 struct chaos_op *op)
{
	if (chance(chaos, 3))
		op->flags = below(chaos, KSMSIM_MADV_NR);
	else if (chance(chaos, 6))
		op->flags = chance(chaos, 2) ? KSMSIM_MADV_DONTNEED : KSMSIM_MADV_UNMERGEABLE;
	else
		op->flags = KSMSIM_MADV_MERGEABLE;
	if (op->flags == KSMSIM_MADV_POPULATE_READ || op->flags == KSMSIM_MADV_POPULATE_WRITE)
		draw_range(chaos, process, op);
	else
		draw_long_range(chaos, process, op);
	if (op->flags == KSMSIM_MADV_MERGEABLE && chance(chaos, 2)) {
		op->vaddr = BASE;
		op->length = (UINT64_C(1) << 30) + 64 * PAGE;
	}
}

static const struct {
	const char *file, *text;
} writes[] = {
	{ "ksm/run", "0" },
	{ "ksm/run", "1" },
	{ "ksm/run", "1" },
	{ "ksm/run", "2" },
	{ "ksm/merge_across_nodes", "0" },
	{ "ksm/merge_across_nodes", "1" },
	{ "ksm/max_page_sharing", "2" },
	{ "ksm/max_page_sharing", "3" },
	{ "ksm/max_page_sharing", "256" },
	{ "ksm/use_zero_pages", "1" },
	{ "ksm/use_zero_pages", "0" },
	{ "ksm/smart_scan", "0" },
	{ "ksm/smart_scan", "1" },
	{ "ksm/sleep_millisecs", "1" },
	{ "ksm/sleep_millisecs", "20" },
	{ "ksm/pages_to_scan", "3" },
	{ "ksm/pages_to_scan", "100" },
	{ "ksm/pages_to_scan", "0" },
	{ "ksm/advisor_mode", "scan-time" },
	{ "ksm/advisor_mode", "none" },
	{ "ksm/stable_node_chains_prune_millisecs", "0" },
	{ "ksm/stable_node_chains_prune_millisecs", "2000" },
	{ "ksmsim/lru_drain", "0" },
	{ "ksmsim/lru_drain", "1" },
};

static void draw_knob(struct chaos *chaos, struct chaos_op *op)
{
	const uint32_t i = below(chaos, sizeof(writes) / sizeof(*writes));

	op->file = writes[i].file;
	op->text = writes[i].text;
}

static void draw_access(struct chaos *chaos, const struct chaos_process *process,
			struct chaos_op *op)
{
	draw_range(chaos, process, op);
	switch (op->kind) {
	case CHAOS_FILL:
	case CHAOS_CHECK:
		draw_content(chaos, &op->content);
		break;
	case CHAOS_POKE:
		op->length = PAGE;
		op->offset = chance(chaos, 2) ? 0 : chance(chaos, 2) ? 4095 : below(chaos, 4096);
		op->bytes = op->offset == 4095 || chance(chaos, 2) ? 1 : 1 + below(chaos, 64);
		op->value = below(chaos, 3);
		break;
	case CHAOS_PIN:
		op->flags = chance(chaos, 40) ? KSMSIM_PIN_HELD : below(chaos, KSMSIM_PIN_HELD);
		op->length = (1 + below(chaos, 3)) * PAGE;
		break;
	case CHAOS_MIGRATE:
		op->flags = below(chaos, chaos->nr_nodes);
		break;
	case CHAOS_SWAPOUT:
		op->flags = below(chaos, 2);
		break;
	default:
		break;
	}
}

static void draw_of_process(struct chaos *chaos, struct chaos_op *op)
{
	const struct chaos_process *process = &chaos->process[below(chaos, chaos->nr_alive)];

	op->pid = process->pid;
	switch (op->kind) {
	case CHAOS_MMAP:
		draw_mmap(chaos, process, op);
		break;
	case CHAOS_MPROTECT:
		op->prot = draw_prot(chaos);
		draw_long_range(chaos, process, op);
		break;
	case CHAOS_MUNMAP:
	case CHAOS_MUNLOCK:
		draw_long_range(chaos, process, op);
		break;
	case CHAOS_MREMAP:
		draw_mremap(chaos, process, op);
		break;
	case CHAOS_BRK:
		op->vaddr = process->heap;
		op->length = below(chaos, 32) * PAGE;
		break;
	case CHAOS_MADVISE:
		draw_madvise(chaos, process, op);
		break;
	case CHAOS_PRCTL:
		op->flags = below(chaos, 3);
		break;
	case CHAOS_NODE:
		op->flags = below(chaos, chaos->nr_nodes);
		break;
	case CHAOS_EXIT:
	case CHAOS_FORK:
	case CHAOS_EXEC:
		break;
	default:
		draw_access(chaos, process, op);
		break;
	}
}

static void draw_of_machine(struct chaos *chaos, struct chaos_op *op)
{
	switch (op->kind) {
	case CHAOS_KSM:
		draw_knob(chaos, op);
		break;
	case CHAOS_STEP:
		op->value = 1 + below(chaos, 5);
		break;
	case CHAOS_RUN:
		op->value = (1 + below(chaos, 50)) * UINT64_C(1000000);
		break;
	case CHAOS_ADVANCE:
		op->value = (1 + below(chaos, 3000)) * UINT64_C(1000000);
		break;
	case CHAOS_CPU:
		op->value = below(chaos, 1000) * UINT64_C(1000000);
		break;
	case CHAOS_INJECT:
		op->flags = below(chaos, KSMSIM_INJECT_NR);
		op->value = 1 + below(chaos, 3);
		break;
	default:
		break;
	}
}

/* A new address space gets memory first: without, nearly all would fail. */
static bool choose_furniture(struct chaos *chaos, struct chaos_op *op)
{
	const struct chaos_process *process = process_of(chaos, chaos->furnish);
	const unsigned step = chaos->furniture;

	if (!process || step == 3)
		return false;
	chaos->furniture++;
	*op = (struct chaos_op){ .kind = step < 2 ? CHAOS_MMAP : CHAOS_MADVISE,
				 .pid = process->pid,
				 .vaddr = window_at(process, step % 2).vaddr,
				 .length = 32 * PAGE,
				 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
				 .flags = KSMSIM_MAP_FIXED };
	if (step == 2) {
		op->length = UINT64_C(1) << 30;
		op->flags = KSMSIM_MADV_MERGEABLE;
	}
	return true;
}

static void choose(struct chaos *chaos, struct chaos_op *op)
{
	if (choose_furniture(chaos, op))
		return;
	*op = (struct chaos_op){ .kind = draw_kind(chaos) };
	if (!chaos->nr_alive)
		op->kind = CHAOS_PROC;
	if ((op->kind == CHAOS_PROC || op->kind == CHAOS_FORK) && chaos->nr_alive == CHAOS_ALIVE)
		op->kind = CHAOS_EXIT;
	if (op->kind == CHAOS_PROC || op->kind >= CHAOS_KSM)
		draw_of_machine(chaos, op);
	else
		draw_of_process(chaos, op);
}

/* ---- executing ---- */

/* A new address space: where is its heap? */
static int find_heap(struct chaos *chaos, struct chaos_process *process)
{
	int64_t heap = 0;
	const int error = ksmsim_brk(chaos->sim, process->pid, 0, &heap);

	process->heap = ((uint64_t)heap + PAGE - 1) & ~(PAGE - 1);
	process->moved = BASE + 64 * PAGE;
	chaos->furnish = process->pid;
	chaos->furniture = chance(chaos, 8) ? 3 : 0;
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
		*process = *process_of(chaos, op->pid);
	else
		*process = (struct chaos_process){ 0 };
	process->pid = op->child;
	chaos->nr_alive++;
	return op->kind == CHAOS_FORK ? 0 : find_heap(chaos, process);
}

static int execute_exit(struct chaos *chaos, struct chaos_op *op)
{
	struct chaos_process *process = process_of(chaos, op->pid);

	*process = chaos->process[--chaos->nr_alive];
	return ksmsim_exit(chaos->sim, op->pid);
}

static int execute_exec(struct chaos *chaos, struct chaos_op *op)
{
	const int error = ksmsim_exec(chaos->sim, op->pid, &op->result);

	return error || op->result ? error : find_heap(chaos, process_of(chaos, op->pid));
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
		process_of(chaos, op->pid)->moved = (uint64_t)op->result;
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
			process_of(chaos, op->pid)->moved = (uint64_t)*ret;
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
	int error = ksmsim_fill(chaos->sim, op->pid, op->vaddr, op->length / PAGE, &op->content,
				&op->result);

	if (!error && !op->result && chaos->watch)
		error = ksmsim_check_pages(chaos->sim, op->pid, op->vaddr, op->length / PAGE,
					   &op->content, &wrong);
	if (wrong)
		snprintf(chaos->fault, sizeof(chaos->fault),
			 "what was written is not there: %" PRId64, wrong);
	return error;
}

static int execute_access(struct chaos *chaos, struct chaos_op *op)
{
	const uint64_t nr = op->length / PAGE;
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
		return op->flags == KSMSIM_MADV_DONTNEED || op->flags == KSMSIM_MADV_FREE;
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

static bool allowed(const struct chaos_op *op, bool own, struct chaos_page old,
		    struct chaos_page now)
{
	if (old.seen == CHAOS_KNOWN && now.seen == CHAOS_KNOWN)
		return old.content == now.content;
	/* reclaim drops pages that MADV_FREE gave up */
	if (old.seen != CHAOS_NONE && now.seen == CHAOS_NONE)
		return op->kind == CHAOS_SWAPOUT;
	return old.seen != CHAOS_NONE || now.seen == CHAOS_NONE || own;
}

/* Compares with the last look and remembers this one. */
static void watch_process(struct chaos *chaos, struct chaos_process *process)
{
	const struct chaos_op *op = &chaos->op;
	const bool own = process->pid == op->pid, born = process->pid == op->child;
	unsigned w, i, at = 0;

	for (w = 0; w < NR_WINDOWS; w++) {
		const struct window window = window_at(process, w);

		for (i = 0; i < window.pages; i++, at++) {
			const uint64_t vaddr = window.vaddr + i * PAGE;
			const struct chaos_page old = process->page[at];
			const struct chaos_page now = look(chaos, process->pid, vaddr);

			process->page[at] = now;
			if (own && may_change_own(op))
				continue;
			if (born && (op->kind != CHAOS_FORK || now.seen == CHAOS_NONE))
				continue;
			if (!chaos->fault[0] && !allowed(op, own, old, now))
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
	const struct ksmsim_mmap request = { .vaddr = BASE,
					     .length = PAGE,
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
		error = ksmsim_touch(sim, pid, BASE, 1, NULL);
	if (!error)
		error = ksmsim_page_get(sim, pid, BASE, &page);
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
		config.profile = profiles[below(chaos, 4)];
	config.nr_nodes = chaos->nr_nodes = 1 + below(chaos, 2);
	chaos->profile = config.profile;
	if (watch && !zero_checksum)
		error = ask_zero_checksum(&chaos->zero_checksum);
	if (!error)
		error = ksmsim_new(&config, &chaos->sim);
	if (!error)
		chaos->empty_bytes = content_bytes(chaos);
	if (!error && !chance(chaos, 4))
		error = ksmsim_sysfs_write(chaos->sim, "ksm/run", "1", 1, NULL);
	return error;
}

bool chaos_step(struct chaos *chaos)
{
	unsigned i;
	int error;

	choose(chaos, &chaos->op);
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

static bool contents_are_gone(struct chaos *chaos)
{
	const uint64_t bytes = content_bytes(chaos);

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
		error = ksmsim_walk_cost(chaos->sim, chaos->process[i].pid, BASE, UINT64_C(1) << 31,
					 &walk);
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
	       (chaos->held || figure_is(chaos, KSMSIM_COUNT_nr_anon_frames, 0)) &&
	       (chaos->held || chaos->files || contents_are_gone(chaos));
}

void chaos_end(struct chaos *chaos)
{
	ksmsim_free(chaos->sim);
	chaos->sim = NULL;
}

/* ---- as lines of a scenario ---- */

static void print_content(const struct ksmsim_content *content, char *text, size_t size)
{
	static const char *const names[] = {
		[KSMSIM_CONTENT_BYTE] = "byte", [KSMSIM_CONTENT_WORD] = "word",
		[KSMSIM_CONTENT_SEED] = "seed", [KSMSIM_CONTENT_SEEDS] = "seeds",
		[KSMSIM_CONTENT_TAG] = "tag",	[KSMSIM_CONTENT_TAGS] = "tags",
		[KSMSIM_CONTENT_LAST] = "last",
	};

	if (content->kind == KSMSIM_CONTENT_ZERO)
		snprintf(text, size, "zero");
	else
		snprintf(text, size, "%s:%" PRIu64, names[content->kind], content->value);
}

static const char *prot_name(unsigned prot)
{
	return prot & KSMSIM_PROT_WRITE ? "rw" : prot & KSMSIM_PROT_READ ? "r" : "none";
}

static void print_mmap(const struct chaos_op *op, char *line, size_t size)
{
	static const struct {
		unsigned flag;
		const char *word;
	} words[] = {
		{ KSMSIM_MAP_FIXED, "fixed" },	       { KSMSIM_MAP_SHARED, "shared" },
		{ KSMSIM_MAP_NORESERVE, "noreserve" }, { KSMSIM_MAP_POPULATE, "populate" },
		{ KSMSIM_MAP_LOCKED, "locked" },       { KSMSIM_MAP_DROPPABLE, "droppable" },
		{ KSMSIM_MAP_HUGETLB, "hugetlb" },
	};
	char content[48] = "";
	size_t i, length;

	length = (size_t)snprintf(line, size,
				  "mmap P%" PRIu32 " m %" PRIu64 " at=0x%" PRIx64 " prot=%s",
				  op->pid, op->length / PAGE, op->vaddr, prot_name(op->prot));
	if (op->value) {
		print_content(&op->content, content, sizeof(content));
		length += (size_t)snprintf(line + length, size - length, " file=%s", content);
	}
	for (i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (op->flags & words[i].flag)
			length += (size_t)snprintf(line + length, size - length, " %s",
						   words[i].word);
}

static void print_mremap(const struct chaos_op *op, const char *range, char *line, size_t size)
{
	char at[32] = "";

	if (op->flags & KSMSIM_MREMAP_FIXED)
		snprintf(at, sizeof(at), " at=0x%" PRIx64, op->to);
	snprintf(line, size, "mremap P%" PRIu32 " %s %" PRIu64 " as=m%s%s%s", op->pid, range,
		 op->value / PAGE, at, op->flags & KSMSIM_MREMAP_MAYMOVE ? " maymove" : "",
		 op->flags & KSMSIM_MREMAP_DONTUNMAP ? " dontunmap" : "");
}

/* What stands behind `OPERATION PROCESS`, or `OPERATION` for those of the machine. */
static void print_rest(const struct chaos_op *op, const char *range, char *rest, size_t size)
{
	static const char *const pins[] = { "get", "write", "read", "held" };
	static const char *const prctls[] = { "on", "off", "get" };
	char content[48];

	print_content(&op->content, content, sizeof(content));
	switch (op->kind) {
	case CHAOS_FORK:
		snprintf(rest, size, " P%" PRIu32, op->child);
		break;
	case CHAOS_MPROTECT:
		snprintf(rest, size, " %s %s", range, prot_name(op->prot));
		break;
	case CHAOS_BRK:
		snprintf(rest, size, " %" PRIu64, op->length / PAGE);
		break;
	case CHAOS_MADVISE:
		snprintf(rest, size, " %s %s", range,
			 ksmsim_table_rows(KSMSIM_TABLE_ADVICES, NULL)[op->flags].name);
		break;
	case CHAOS_PRCTL:
		snprintf(rest, size, " %s", prctls[op->flags]);
		break;
	case CHAOS_FILL:
	case CHAOS_CHECK:
		snprintf(rest, size, " %s %s", range, content);
		break;
	case CHAOS_POKE:
		snprintf(rest, size, " %s %" PRIu32 " %" PRIu64 " %" PRIu32, range, op->offset,
			 op->value, op->bytes);
		break;
	case CHAOS_PIN:
		snprintf(rest, size, " %s %s", range, pins[op->flags]);
		break;
	case CHAOS_NODE:
		snprintf(rest, size, " %u", op->flags);
		break;
	case CHAOS_MIGRATE:
		snprintf(rest, size, " %s %u", range, op->flags);
		break;
	case CHAOS_SWAPOUT:
		snprintf(rest, size, " %s%s", range, op->flags ? " cached" : "");
		break;
	case CHAOS_KSM:
		snprintf(rest, size, " %s %s", strchr(op->file, '/') + 1, op->text);
		break;
	case CHAOS_STEP:
		snprintf(rest, size, " %" PRIu64, op->value);
		break;
	case CHAOS_RUN:
	case CHAOS_ADVANCE:
	case CHAOS_CPU:
		snprintf(rest, size, " %" PRIu64 "ns", op->value);
		break;
	case CHAOS_INJECT:
		snprintf(rest, size, " %s %" PRIu64,
			 ksmsim_table_rows(KSMSIM_TABLE_INJECT, NULL)[op->flags].name, op->value);
		break;
	default:
		snprintf(rest, size, "%s%s", op->length ? " " : "", op->length ? range : "");
		break;
	}
}

void chaos_print(const struct chaos_op *op, char *line, size_t size)
{
	static const char *const names[CHAOS_KINDS] = {
		"proc", "exit",	   "fork",  "exec",    "mmap",	  "munmap",  "mprotect", "mremap",
		"brk",	"madvise", "mlock", "munlock", "prctl",	  "fill",    "poke",	 "touch",
		"read", "check",   "pin",   "unpin",   "node",	  "migrate", "swapout",	 "ksm",
		"step", "scan",	   "run",   "advance", "ksmdcpu", "drain",   "inject",
	};
	const bool odd = (op->length & (PAGE - 1)) != 0;
	char range[64], rest[120] = "", who[16] = "";

	snprintf(range, sizeof(range), "@0x%" PRIx64 ":%" PRIu64, op->vaddr, op->length / PAGE);
	if (op->pid || op->child)
		snprintf(who, sizeof(who), " P%" PRIu32, op->pid ? op->pid : op->child);
	if (op->kind == CHAOS_MMAP) {
		print_mmap(op, line, size);
	} else if (op->kind == CHAOS_MREMAP) {
		print_mremap(op, range, line, size);
	} else {
		print_rest(op, range, rest, sizeof(rest));
		snprintf(line, size, "%s%s%s%s%s", odd ? "# " : "", names[op->kind], who, rest,
			 odd ? ", length in bytes" : "");
	}
}
