/*
 * generate.c - random scenarios in line form.
 *
 * The generator keeps books of processes and regions only to write lines that
 * mean something; what the kernel answers it neither knows nor needs to. What it
 * draws is biased to where trouble is: few contents, so that pages meet; a small
 * max_page_sharing, so that chains grow and fold; small batches, so that things
 * happen in mid-scan; some regions that fill a page table, most of a few pages.
 *
 * Everything comes from the seed. Changing the generator changes what a seed
 * means: a run that matters is kept as its lines, not as its number.
 */
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "generate_books.h"

#define HEAP UINT_MAX			/* the name of region brk */
#define WINDOW UINT64_C(0x100000000000) /* where regions are placed side by side, ... */
#define WINDOW_PAGES 48u		/* ... on top of each other, and ranges span them */

static const struct gen_kind base_kind = { .alive = 8, .ever = 64, .regions = 10, .scaled = true };

/* ---- what there is ---- */

static const char *name_of(const struct gen_region *region, char buf[16])
{
	if (region->name == HEAP)
		return "brk";
	snprintf(buf, 16, "r%u", region->name);
	return buf;
}

/* Whole, one page, or a stretch. */
static const char *any_range(struct gen *g, const struct gen_region *region, char buf[48])
{
	const unsigned from = gen_below(g, region->pages);
	const unsigned left = region->pages - from;
	char name[16];

	switch (gen_below(g, 8)) {
	case 0:
	case 1:
		snprintf(buf, 48, "%s", name_of(region, name));
		break;
	case 2:
	case 3:
	case 4:
		snprintf(buf, 48, "%s+%u", name_of(region, name), from);
		break;
	default:
		snprintf(buf, 48, "%s+%u:%u", name_of(region, name), from,
			 1 + gen_below(g, gen_chance(g, 3) || left < 8 ? left : 8));
		break;
	}
	return buf;
}

static uint64_t any_address(struct gen *g)
{
	return WINDOW + (uint64_t)gen_below(g, WINDOW_PAGES) * 4096;
}

/* The same, or some part of the window, whatever is there. */
static const char *any_stretch(struct gen *g, const struct gen_region *region, char buf[48])
{
	unsigned pages;

	if (!g->window || !gen_chance(g, 3))
		return any_range(g, region, buf);
	pages = 1 + gen_below(g, 16);
	snprintf(buf, 48, "@0x%" PRIx64 ":%u", any_address(g), pages);
	return buf;
}

static const char *any_content(struct gen *g, char buf[48])
{
	const unsigned value = gen_below(g, g->contents);

	switch (gen_below(g, 10)) {
	case 0:
	case 1:
		return "zero";
	case 2:
		snprintf(buf, 48, "last:%u", value);
		break;
	case 3:
		snprintf(buf, 48, "tags:%u", value);
		break;
	case 4:
		snprintf(buf, 48, "seeds:%u", value);
		break;
	case 5:
		snprintf(buf, 48, "seed:%u", value);
		break;
	default:
		snprintf(buf, 48, "tag:%u", value + 1);
		break;
	}
	return buf;
}

/* ---- operations ---- */

static unsigned any_length(struct gen *g)
{
	if (g->dense && gen_chance(g, 3))
		return 480 + gen_below(g, 120);
	return gen_chance(g, 4) ? 1 + gen_below(g, 40) : 1 + gen_below(g, 8);
}

static void op_mmap(struct gen *g)
{
	/* locked, the last one, only where such areas are wanted */
	static const char *const flags[] = { " populate",   " noreserve", " prot=r", " shared",
					     " file=tag:1", " droppable", " locked" };
	const unsigned nr_flags = sizeof(flags) / sizeof(flags[0]);
	const unsigned p = gen_any_process(g);
	struct gen_process *process = &g->processes[p];
	const unsigned pages = any_length(g);
	const bool plain = !gen_chance(g, 6);
	char place[48] = "";
	unsigned name;

	if (process->nr == base_kind.regions)
		return;
	name = gen_new_region(g, process, pages, false);
	if (g->window && gen_chance(g, 2)) {
		const char *fixed = gen_chance(g, 3) ? "" : " fixed";

		snprintf(place, sizeof(place), " at=0x%" PRIx64 "%s", any_address(g), fixed);
	}
	gen_say(g, "mmap P%u r%u %u%s%s", p, name, pages, place,
		plain ? "" : flags[gen_below(g, g->locked ? nr_flags : nr_flags - 1)]);
	if (!gen_chance(g, 5))
		gen_say(g, "madvise P%u r%u MERGEABLE", p, name);
}

static void op_proc(struct gen *g)
{
	if (gen_proc(g))
		op_mmap(g);
}

static void op_exec(struct gen *g)
{
	gen_exec(g);
	op_mmap(g);
}

static struct gen_region *heap_of(struct gen_process *process)
{
	unsigned i;

	for (i = 0; i < process->nr; i++)
		if (process->regions[i].name == HEAP)
			return &process->regions[i];
	if (process->nr == base_kind.regions)
		return NULL;
	process->regions[process->nr] = (struct gen_region){ .name = HEAP };
	return &process->regions[process->nr++];
}

static void op_brk(struct gen *g)
{
	const unsigned p = gen_any_process(g), pages = gen_below(g, 12);
	struct gen_process *process = &g->processes[p];
	struct gen_region *heap = heap_of(process);

	if (!heap)
		return;
	gen_say(g, "brk P%u %u", p, pages);
	if (pages)
		heap->pages = pages;
	else
		*heap = process->regions[--process->nr];
	if (pages && gen_chance(g, 2))
		gen_say(g, "madvise P%u brk MERGEABLE", p);
}

static void op_prctl(struct gen *g)
{
	static const char *const words[] = { "on", "on", "off", "get" };
	const char *word = GEN_ANY(g, words);

	gen_say(g, "prctl P%u %s", gen_any_process(g), word);
}

static void op_knob(struct gen *g)
{
	static const char *const lines[] = {
		"ksm smart_scan 0",
		"ksm smart_scan 1",
		"ksm use_zero_pages 0",
		"ksm use_zero_pages 1",
		"ksm use_zero_pages 1",
		"ksm max_page_sharing 2",
		"ksm max_page_sharing 3",
		"ksm max_page_sharing 5",
		"ksm max_page_sharing 256",
		"ksm stable_node_chains_prune_millisecs 0",
		"ksm stable_node_chains_prune_millisecs 4294967295",
		"ksm pages_to_scan 7",
		"ksm sleep_millisecs 3",
		"ksm run 3",
		"ksm max_page_sharing 1",
	};

	gen_say(g, "%s", GEN_ANY(g, lines));
}

/* run=2 and back: the tool wakes ksmd only while nobody has written run. */
static void op_run(struct gen *g)
{
	gen_say(g, "ksm run %u", gen_chance(g, 3) ? 0 : 2);
	if (!gen_chance(g, 4))
		gen_say(g, "ksm run 1");
}

static void op_step(struct gen *g)
{
	if (gen_chance(g, 3))
		gen_say(g, "step %u", 1 + gen_below(g, 200));
	else
		gen_say(g, "step %u", 1 + gen_below(g, 6));
}

static void op_scan(struct gen *g)
{
	if (gen_chance(g, 3))
		gen_say(g, "scan %u", 2 + gen_below(g, gen_chance(g, 6) ? 10 : 2));
	else
		gen_say(g, "scan");
}

static void op_mremap(struct gen *g, unsigned p, struct gen_region *region)
{
	struct gen_process *process = &g->processes[p];
	const unsigned pages = 1 + gen_below(g, region->pages + 4);
	char range[48], name[16], place[48] = "";

	switch (gen_below(g, 4)) {
	case 0:
		gen_say(g, "mremap P%u %s %u", p, name_of(region, name), pages);
		break;
	case 1:
		gen_say(g, "mremap P%u %s %u maymove", p, name_of(region, name), pages);
		break;
	case 2:
		if (process->nr == base_kind.regions)
			return;
		if (g->window && gen_chance(g, 2))
			snprintf(place, sizeof(place), " at=0x%" PRIx64, any_address(g));
		gen_say(g, "mremap P%u %s %u as=r%u%s maymove", p, any_stretch(g, region, range),
			pages, g->next_region, place);
		gen_new_region(g, process, pages, region->hidden);
		return;
	default:
		if (process->nr == base_kind.regions)
			return;
		gen_say(g, "mremap P%u %s %u as=r%u dontunmap", p, name_of(region, name),
			region->pages, g->next_region);
		gen_new_region(g, process, region->pages, region->hidden);
		return;
	}
	if (region->pages != pages)
		region->pages = pages < region->pages ? pages : region->pages;
}

static void op_munmap(struct gen *g, unsigned p, struct gen_region *region)
{
	struct gen_process *process = &g->processes[p];
	char range[48], name[16];

	if (!gen_chance(g, 4)) {
		gen_say(g, "munmap P%u %s", p, any_stretch(g, region, range));
		if (!strpbrk(range, "+@"))
			*region = process->regions[--process->nr];
		return;
	}
	gen_say(g, "munmap P%u %s", p, name_of(region, name));
	*region = process->regions[--process->nr];
}

static void op_madvise(struct gen *g, unsigned p, const struct gen_region *region)
{
	static const char *const advices[] = {
		"MERGEABLE",   "MERGEABLE",	"MERGEABLE",	  "MERGEABLE",	"UNMERGEABLE",
		"UNMERGEABLE", "DONTNEED",	"DONTNEED",	  "DONTNEED",	"FREE",
		"DONTFORK",    "DOFORK",	"WIPEONFORK",	  "KEEPONFORK", "POPULATE_READ",
		"DONTDUMP",    "POPULATE_READ", "POPULATE_WRITE", "NOHUGEPAGE", "DODUMP",
		"PAGEOUT",
	};
	const char *advice = GEN_ANY(g, advices);
	char range[48];

	gen_say(g, "madvise P%u %s %s", p, any_stretch(g, region, range), advice);
}

/* A stretch of the window can be any region's. */
static void hide(struct gen_process *process, struct gen_region *region, bool all)
{
	unsigned i;

	region->hidden = true;
	for (i = 0; all && i < process->nr; i++)
		process->regions[i].hidden = true;
}

static void op_protect(struct gen *g, unsigned p, struct gen_region *region)
{
	static const char *const prots[] = { "rw", "rw", "r", "none" };
	const unsigned prot = gen_below(g, 4);
	char range[48];

	gen_say(g, "mprotect P%u %s %s", p, any_stretch(g, region, range), prots[prot]);
	if (prot == 3)
		hide(&g->processes[p], region, g->window);
}

static void op_lock(struct gen *g, unsigned p, const struct gen_region *region)
{
	char range[48];

	if (!g->locked)
		return;
	any_stretch(g, region, range);
	gen_say(g, "%s P%u %s", gen_chance(g, 2) ? "mlock" : "munlock", p, range);
}

static void op_pin(struct gen *g, unsigned p, const struct gen_region *region)
{
	static const char *const hows[] = { "get", "get", "write", "write", "held" };
	char range[48], name[16];

	const char *how;

	if (gen_chance(g, 2)) {
		gen_say(g, "unpin P%u %s", p, any_range(g, region, range));
		return;
	}
	how = hows[gen_below(g, region->hidden ? 4 : 5)];
	gen_say(g, "pin P%u %s+%u %s", p, name_of(region, name), gen_below(g, region->pages), how);
}

static void op_poke(struct gen *g, unsigned p, const struct gen_region *region)
{
	const unsigned value = gen_below(g, 3);
	const unsigned offset = gen_chance(g, 2) ? 4095 : gen_below(g, 8);
	char range[48];

	gen_say(g, "poke P%u %s %u %u", p, any_range(g, region, range), offset, value);
}

static void op_look(struct gen *g, unsigned p, const struct gen_region *region)
{
	char range[48], buf[48];
	const char *content;

	switch (gen_below(g, 3)) {
	case 0:
		gen_say(g, "read P%u %s", p, any_range(g, region, range));
		break;
	case 1:
		gen_say(g, "touch P%u %s", p, any_range(g, region, range));
		break;
	default:
		content = any_content(g, buf);
		gen_say(g, "check P%u %s %s", p, any_range(g, region, range), content);
		break;
	}
}

static void op_fill(struct gen *g, unsigned p, const struct gen_region *region)
{
	char range[48], buf[48];
	const char *content = any_content(g, buf);

	gen_say(g, "fill P%u %s %s", p, any_range(g, region, range), content);
}

/* ---- one after the other ---- */

static void any_op(struct gen *g)
{
	unsigned p, kind = gen_below(g, 100);
	struct gen_region *region;

	if (kind < 18)
		op_step(g);
	else if (kind < 28)
		op_scan(g);
	else if (kind < 31)
		gen_fork(g);
	else if (kind < 33)
		op_proc(g);
	else if (kind < 35)
		gen_exit(g);
	else if (kind < 39)
		op_mmap(g);
	else if (kind < 41)
		op_knob(g);
	else if (kind < 42)
		op_run(g);
	else if (kind < 44)
		op_prctl(g);
	else if (kind < 45)
		gen_chance(g, 4) ? op_exec(g) : op_brk(g);
	else if (!gen_any_region(g, 4, &p, &region))
		op_mmap(g);
	else if (kind < 69)
		op_fill(g, p, region);
	else if (kind < 75)
		op_poke(g, p, region);
	else if (kind < 80)
		op_look(g, p, region);
	else if (kind < 89)
		op_madvise(g, p, region);
	else if (kind < 91)
		op_protect(g, p, region);
	else if (kind < 93)
		op_munmap(g, p, region);
	else if (kind < 95)
		op_mremap(g, p, region);
	else if (kind < 97)
		op_lock(g, p, region);
	else
		op_pin(g, p, region);
}

static void begin(struct gen *g)
{
	static const char *const sharing[] = { "2", "3", "4", "256" };
	unsigned i;

	gen_say(g, "ksm max_page_sharing %s", sharing[gen_below(g, 4)]);
	gen_say(g, "ksm stable_node_chains_prune_millisecs %s",
		gen_chance(g, 3) ? "4294967295" : "0");
	gen_say(g, "ksm use_zero_pages %u", gen_below(g, 2));
	gen_say(g, "ksm smart_scan %u", gen_below(g, 2));
	for (i = 0; i < 2; i++)
		op_proc(g);
}

json_t *sim_generate(uint64_t seed, uint64_t nr)
{
	struct gen g = { .kind = &base_kind, .state = seed, .lines = json_array() };

	g.dense = gen_chance(&g, 3);
	g.locked = gen_chance(&g, 3);
	g.window = gen_chance(&g, 3);
	g.contents = 1 + gen_below(&g, gen_chance(&g, 3) ? 12 : 3);
	begin(&g);
	return gen_lines(&g, nr, any_op);
}
