/*
 * chaos_draw.c - choosing the next operation of a random world.
 *
 * What could surprise: the addresses are a few windows at the edges of page
 * tables, and where the kernel put something last. Long ranges are only given
 * to calls that do not work page by page, so no operation takes long. A new
 * address space gets some mergeable memory first.
 */
#include "chaos_inside.h"

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

/* On top, in worlds of huge pages. */
static const struct {
	enum chaos_kind kind;
	unsigned weight;
} huge_weights[] = {
	{ CHAOS_THP_DISABLE, 3 }, { CHAOS_SPLIT, 8 },  { CHAOS_SHRINK, 10 },
	{ CHAOS_KHUGEPAGED, 10 }, { CHAOS_POLICY, 2 }, { CHAOS_MADVISE, 50 },
	{ CHAOS_KSM, 14 },
};

static enum chaos_kind draw_kind(struct chaos *chaos)
{
	unsigned total = 0, i, at;

	for (i = 0; i < sizeof(weights) / sizeof(*weights); i++)
		total += weights[i].weight;
	for (i = 0; chaos->huge && i < sizeof(huge_weights) / sizeof(*huge_weights); i++)
		total += huge_weights[i].weight;
	at = chaos_below(chaos, total);
	for (i = 0; chaos->huge && i < sizeof(huge_weights) / sizeof(*huge_weights); i++) {
		if (at < huge_weights[i].weight)
			return huge_weights[i].kind;
		at -= huge_weights[i].weight;
	}
	for (i = 0; at >= weights[i].weight; i++)
		at -= weights[i].weight;
	return weights[i].kind;
}

/* Blocks, halves of them, and the sizes between; often all of it. */
static void draw_huge_range(struct chaos *chaos, struct chaos_op *op)
{
	static const unsigned sizes[] = { 512, 512, 512, 1024, 256, 64, 16, 4 };
	const unsigned pages = sizes[chaos_below(chaos, 8)];
	const unsigned first = pages * chaos_below(chaos, 1024 / pages);

	op->vaddr = CHAOS_BASE + first * CHAOS_PAGE;
	op->length = pages * CHAOS_PAGE;
}

static void draw_range(struct chaos *chaos, const struct chaos_process *process,
		       struct chaos_op *op)
{
	const unsigned any = chaos_below(chaos, 2 * CHAOS_WINDOWS);
	const struct chaos_window window =
		chaos_window_at(chaos, process, any < CHAOS_WINDOWS ? any : any % 2);
	const unsigned first = chaos_below(chaos, window.pages);
	const unsigned most = window.pages - first;

	if (chaos->huge && chaos_chance(chaos, 3)) {
		draw_huge_range(chaos, op);
		return;
	}
	op->vaddr = window.vaddr + first * CHAOS_PAGE;
	op->length = (1 + chaos_below(chaos, chaos_chance(chaos, 3) || most < 6 ? most : 6)) *
		     CHAOS_PAGE;
}

/* For calls whose work does not grow with the range. */
static void draw_long_range(struct chaos *chaos, const struct chaos_process *process,
			    struct chaos_op *op)
{
	draw_range(chaos, process, op);
	switch (chaos_below(chaos, 24)) {
	case 0:
		op->length = UINT64_C(1) << 30;
		break;
	case 1:
		op->vaddr = CHAOS_BASE;
		op->length = (UINT64_C(1) << 30) + 64 * CHAOS_PAGE;
		break;
	case 2:
		op->length -= 1; /* rounded up */
		break;
	case 3:
		op->vaddr += chaos_below(chaos, 2) ? 1 : 4095;
		break;
	case 4:
		op->length = chaos_chance(chaos, 2) ? 0 : UINT64_MAX - chaos_below(chaos, 8192);
		break;
	default:
		break;
	}
}

static void draw_content(struct chaos *chaos, struct ksmsim_content *content)
{
	*content = (struct ksmsim_content){ 0 };
	switch (chaos_below(chaos, 12)) {
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
	content->value = chaos_below(chaos, content->kind == KSMSIM_CONTENT_BYTE ? 4 : 3);
}

static unsigned draw_prot(struct chaos *chaos)
{
	static const unsigned prots[] = { KSMSIM_PROT_NONE, KSMSIM_PROT_READ,
					  KSMSIM_PROT_READ | KSMSIM_PROT_WRITE };
	const unsigned i = chaos_below(chaos, 12);

	return prots[i < 2 ? i : 2];
}

static void draw_mmap(struct chaos *chaos, const struct chaos_process *process, struct chaos_op *op)
{
	static const unsigned extras[] = { KSMSIM_MAP_SHARED,	 KSMSIM_MAP_NORESERVE,
					   KSMSIM_MAP_POPULATE,	 KSMSIM_MAP_LOCKED,
					   KSMSIM_MAP_DROPPABLE, KSMSIM_MAP_HUGETLB };

	op->prot = draw_prot(chaos);
	if (chaos_chance(chaos, 12)) {
		op->vaddr = CHAOS_BASE;
		op->length = (UINT64_C(1) << 30) + 64 * CHAOS_PAGE;
		op->flags = KSMSIM_MAP_FIXED | KSMSIM_MAP_NORESERVE;
		return;
	}
	draw_range(chaos, process, op);
	if (chaos_chance(chaos, 3))
		op->length = (chaos->huge ? 512 : 32) * CHAOS_PAGE;
	op->flags = chaos_chance(chaos, 6) ? 0 : KSMSIM_MAP_FIXED;
	if (chaos_chance(chaos, 4))
		op->flags |= extras[chaos_below(chaos, sizeof(extras) / sizeof(*extras))];
	if (chaos_chance(chaos, 12)) {
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
	op->value = chaos_chance(chaos, 3) ? op->length : target.length;
	op->flags = chaos_chance(chaos, 5) ? 0 : KSMSIM_MREMAP_MAYMOVE;
	if (op->flags && chaos_chance(chaos, 2)) {
		op->flags |= KSMSIM_MREMAP_FIXED;
		op->to = target.vaddr;
	}
	if (op->flags && chaos_chance(chaos, 5))
		op->flags |= KSMSIM_MREMAP_DONTUNMAP;
}

static void draw_madvise(struct chaos *chaos, const struct chaos_process *process,
			 struct chaos_op *op)
{
	if (chaos_chance(chaos, 3) || (chaos->huge && chaos_chance(chaos, 2)))
		op->flags = chaos_below(chaos, KSMSIM_MADV_NR);
	else if (chaos_chance(chaos, 6))
		op->flags = chaos_chance(chaos, 2) ? KSMSIM_MADV_DONTNEED : KSMSIM_MADV_UNMERGEABLE;
	else
		op->flags = KSMSIM_MADV_MERGEABLE;
	if (op->flags == KSMSIM_MADV_POPULATE_READ || op->flags == KSMSIM_MADV_POPULATE_WRITE ||
	    op->flags == KSMSIM_MADV_GUARD_INSTALL || op->flags == KSMSIM_MADV_HWPOISON)
		draw_range(chaos, process, op);
	else
		draw_long_range(chaos, process, op);
	if (op->flags == KSMSIM_MADV_MERGEABLE && chaos_chance(chaos, 2)) {
		op->vaddr = CHAOS_BASE;
		op->length = (UINT64_C(1) << 30) + 64 * CHAOS_PAGE;
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

static const struct {
	const char *file, *text;
} huge_writes[] = {
	{ "transparent_hugepage/enabled", "always" },
	{ "transparent_hugepage/enabled", "always" },
	{ "transparent_hugepage/enabled", "madvise" },
	{ "transparent_hugepage/enabled", "never" },
	{ "transparent_hugepage/hugepages-2048kB/enabled", "inherit" },
	{ "transparent_hugepage/hugepages-2048kB/enabled", "never" },
	{ "transparent_hugepage/hugepages-64kB/enabled", "always" },
	{ "transparent_hugepage/hugepages-64kB/enabled", "never" },
	{ "transparent_hugepage/hugepages-16kB/enabled", "inherit" },
	{ "transparent_hugepage/hugepages-16kB/enabled", "never" },
	{ "transparent_hugepage/use_zero_page", "0" },
	{ "transparent_hugepage/use_zero_page", "1" },
	{ "transparent_hugepage/shrink_underused", "0" },
	{ "transparent_hugepage/shrink_underused", "1" },
	{ "transparent_hugepage/khugepaged/max_ptes_none", "511" },
	{ "transparent_hugepage/khugepaged/max_ptes_none", "0" },
	{ "transparent_hugepage/khugepaged/max_ptes_none", "409" },
	{ "transparent_hugepage/khugepaged/max_ptes_shared", "0" },
	{ "transparent_hugepage/khugepaged/max_ptes_shared", "256" },
	{ "transparent_hugepage/khugepaged/max_ptes_swap", "0" },
	{ "transparent_hugepage/khugepaged/max_ptes_swap", "64" },
	{ "ksmsim/memory_pages", "6000" },
	{ "ksmsim/memory_pages", "0" },
	{ "ksmsim/fragmentation", "50" },
	{ "ksmsim/fail_orders", "16" },
	{ "ksmsim/fail_orders", "0" },
};

static const char *const policies[] = {
	"split_min=1",
	"split_min=3",
	"split_min=never",
	"zero_remap=all",
	"zero_remap=none",
	"zero_remap=gated",
	"cow=pmd",
	"cow=split",
	"zero_remap=shrinker",
	"zero_remap=not_for_ksm",
};

static void draw_knob(struct chaos *chaos, struct chaos_op *op)
{
	uint32_t i;

	if (chaos->huge && chaos_chance(chaos, 2)) {
		i = chaos_below(chaos, sizeof(huge_writes) / sizeof(*huge_writes));
		op->file = huge_writes[i].file;
		op->text = huge_writes[i].text;
		return;
	}
	i = chaos_below(chaos, sizeof(writes) / sizeof(*writes));
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
		op->length = CHAOS_PAGE;
		op->offset = chaos_chance(chaos, 2)   ? 0
			     : chaos_chance(chaos, 2) ? 4095
						      : chaos_below(chaos, 4096);
		op->bytes = op->offset == 4095 || chaos_chance(chaos, 2)
				    ? 1
				    : 1 + chaos_below(chaos, 64);
		op->value = chaos_below(chaos, 3);
		break;
	case CHAOS_PIN:
		op->flags = chaos_chance(chaos, 40) ? KSMSIM_PIN_HELD
						    : chaos_below(chaos, KSMSIM_PIN_HELD);
		op->length = (1 + chaos_below(chaos, 3)) * CHAOS_PAGE;
		break;
	case CHAOS_MIGRATE:
		op->flags = chaos_below(chaos, chaos->nr_nodes);
		break;
	case CHAOS_SWAPOUT:
		op->flags = chaos_below(chaos, 2);
		break;
	default:
		break;
	}
}

static void draw_of_process(struct chaos *chaos, struct chaos_op *op)
{
	const struct chaos_process *process = &chaos->process[chaos_below(chaos, chaos->nr_alive)];

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
		op->length = chaos_below(chaos, 32) * CHAOS_PAGE;
		break;
	case CHAOS_MADVISE:
		draw_madvise(chaos, process, op);
		break;
	case CHAOS_PRCTL:
		op->flags = chaos_below(chaos, 3);
		break;
	case CHAOS_THP_DISABLE:
		op->flags = chaos_chance(chaos, 2) ? 0 : chaos_below(chaos, 3);
		break;
	case CHAOS_SPLIT:
		draw_range(chaos, process, op);
		op->flags = chaos_chance(chaos, 2) ? 0 : chaos_below(chaos, 10);
		op->value = chaos_chance(chaos, 3)
				    ? 1 + chaos_below(chaos, (uint32_t)(op->length / CHAOS_PAGE))
				    : 0;
		break;
	case CHAOS_NODE:
		op->flags = chaos_below(chaos, chaos->nr_nodes);
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
		op->value = 1 + chaos_below(chaos, 5);
		break;
	case CHAOS_RUN:
		op->value = (1 + chaos_below(chaos, 50)) * UINT64_C(1000000);
		break;
	case CHAOS_ADVANCE:
		op->value = (1 + chaos_below(chaos, 3000)) * UINT64_C(1000000);
		break;
	case CHAOS_CPU:
		op->value = chaos_below(chaos, 1000) * UINT64_C(1000000);
		break;
	case CHAOS_INJECT:
		op->flags = chaos_below(chaos, KSMSIM_INJECT_NR);
		op->value = 1 + chaos_below(chaos, 3);
		break;
	case CHAOS_SHRINK:
	case CHAOS_KHUGEPAGED:
		op->flags = chaos_below(chaos, 2);
		break;
	case CHAOS_POLICY:
		op->text = policies[chaos_below(chaos, sizeof(policies) / sizeof(*policies))];
		break;
	default:
		break;
	}
}

/* A new address space gets memory first: without, nearly all would fail. */
static bool choose_furniture(struct chaos *chaos, struct chaos_op *op)
{
	const struct chaos_process *process = chaos_process_of(chaos, chaos->furnish);
	const unsigned step = chaos->furniture;

	if (!process || step == 3)
		return false;
	chaos->furniture++;
	*op = (struct chaos_op){ .kind = step < 2 ? CHAOS_MMAP : CHAOS_MADVISE,
				 .pid = process->pid,
				 .vaddr = chaos_window_at(chaos, process, step % 2).vaddr,
				 .length = (chaos->huge ? 1024 : 32) * CHAOS_PAGE,
				 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
				 .flags = KSMSIM_MAP_FIXED };
	if (chaos->huge && step == 1) {
		op->vaddr = CHAOS_BASE;
		op->kind = CHAOS_MADVISE;
		op->flags = KSMSIM_MADV_HUGEPAGE;
	}
	if (step == 2) {
		op->length = UINT64_C(1) << 30;
		op->flags = KSMSIM_MADV_MERGEABLE;
	}
	return true;
}

void chaos_choose(struct chaos *chaos, struct chaos_op *op)
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
