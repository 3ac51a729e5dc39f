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

#include "generate.h"

#define PROCESSES_MAX 8u
#define REGIONS_MAX 10u
#define LINE_BYTES 160u
#define HEAP UINT_MAX			/* the name of region brk */
#define WINDOW UINT64_C(0x100000000000) /* where regions are placed side by side, ... */
#define WINDOW_PAGES 48u		/* ... on top of each other, and ranges span them */

struct region {
	unsigned name; /* r%u, or HEAP */
	unsigned pages;
	bool hidden; /* maybe without access: nobody can take a reference for others */
};

struct process {
	bool alive;
	unsigned nr;
	struct region regions[REGIONS_MAX];
};

struct generator {
	uint64_t state;
	json_t *lines;
	bool failed;
	struct process processes[64]; /* P%u; the last ones are never made */
	unsigned nr_processes, nr_alive, next_region;
	bool dense;  /* regions of several hundred pages */
	bool locked; /* mlock and MAP_LOCKED */
	bool window; /* regions in the window */
	unsigned contents;
};

/* ---- chance ---- */

static uint64_t draw(struct generator *g)
{
	uint64_t word = g->state += UINT64_C(0x9E3779B97F4A7C15);

	word = (word ^ word >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	word = (word ^ word >> 27) * UINT64_C(0x94D049BB133111EB);
	return word ^ word >> 31;
}

static unsigned below(struct generator *g, unsigned nr)
{
	return (unsigned)((draw(g) >> 32) * nr >> 32);
}

static bool chance(struct generator *g, unsigned one_in)
{
	return below(g, one_in) == 0;
}

static void say(struct generator *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct generator *g, const char *format, ...)
{
	char text[LINE_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (json_array_append_new(g->lines, json_string(text)))
		g->failed = true;
}

/* ---- what there is ---- */

static unsigned any_process(struct generator *g)
{
	unsigned left = below(g, g->nr_alive), i;

	for (i = 0; !g->processes[i].alive || left--; i++)
		;
	return i;
}

/* A living process with a region; false: none was met. */
static bool any_region(struct generator *g, unsigned *process, struct region **region)
{
	unsigned tries;

	for (tries = 0; tries < 4; tries++) {
		*process = any_process(g);
		if (!g->processes[*process].nr)
			continue;
		*region = &g->processes[*process].regions[below(g, g->processes[*process].nr)];
		return true;
	}
	return false;
}

static const char *name_of(const struct region *region, char buf[16])
{
	if (region->name == HEAP)
		return "brk";
	snprintf(buf, 16, "r%u", region->name);
	return buf;
}

/* Whole, one page, or a stretch. */
static const char *any_range(struct generator *g, const struct region *region, char buf[48])
{
	const unsigned from = below(g, region->pages);
	const unsigned left = region->pages - from;
	char name[16];

	switch (below(g, 8)) {
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
			 1 + below(g, chance(g, 3) || left < 8 ? left : 8));
		break;
	}
	return buf;
}

static uint64_t any_address(struct generator *g)
{
	return WINDOW + (uint64_t)below(g, WINDOW_PAGES) * 4096;
}

/* The same, or some part of the window, whatever is there. */
static const char *any_stretch(struct generator *g, const struct region *region, char buf[48])
{
	if (!g->window || !chance(g, 3))
		return any_range(g, region, buf);
	snprintf(buf, 48, "@0x%" PRIx64 ":%u", any_address(g), 1 + below(g, 16));
	return buf;
}

static const char *any_content(struct generator *g, char buf[48])
{
	const unsigned value = below(g, g->contents);

	switch (below(g, 10)) {
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

static unsigned any_length(struct generator *g)
{
	if (g->dense && chance(g, 3))
		return 480 + below(g, 120);
	return chance(g, 4) ? 1 + below(g, 40) : 1 + below(g, 8);
}

static void op_mmap(struct generator *g)
{
	/* locked, the last one, only where such areas are wanted */
	static const char *const flags[] = { " populate",   " noreserve", " prot=r", " shared",
					     " file=tag:1", " droppable", " locked" };
	const unsigned nr_flags = sizeof(flags) / sizeof(flags[0]);
	const unsigned p = any_process(g);
	struct process *process = &g->processes[p];
	const unsigned pages = any_length(g);
	const bool plain = !chance(g, 6);
	char place[48] = "";

	if (process->nr == REGIONS_MAX)
		return;
	process->regions[process->nr++] = (struct region){ .name = g->next_region, .pages = pages };
	if (g->window && chance(g, 2))
		snprintf(place, sizeof(place), " at=0x%" PRIx64 "%s", any_address(g),
			 chance(g, 3) ? "" : " fixed");
	say(g, "mmap P%u r%u %u%s%s", p, g->next_region, pages, place,
	    plain ? "" : flags[below(g, g->locked ? nr_flags : nr_flags - 1)]);
	if (!chance(g, 5))
		say(g, "madvise P%u r%u MERGEABLE", p, g->next_region);
	g->next_region++;
}

static void op_proc(struct generator *g)
{
	if (g->nr_alive >= PROCESSES_MAX || g->nr_processes >= 64)
		return;
	g->processes[g->nr_processes] = (struct process){ .alive = true };
	say(g, "proc P%u", g->nr_processes++);
	g->nr_alive++;
	op_mmap(g);
}

static void op_fork(struct generator *g)
{
	const unsigned p = any_process(g);

	if (g->nr_alive >= PROCESSES_MAX || g->nr_processes >= 64)
		return;
	g->processes[g->nr_processes] = g->processes[p];
	say(g, "fork P%u P%u", p, g->nr_processes++);
	g->nr_alive++;
}

static void op_exit(struct generator *g)
{
	const unsigned p = any_process(g);

	if (g->nr_alive == 1)
		return;
	g->processes[p].alive = false;
	g->nr_alive--;
	say(g, "exit P%u", p);
}

static void op_exec(struct generator *g)
{
	const unsigned p = any_process(g);

	g->processes[p].nr = 0;
	say(g, "exec P%u", p);
	op_mmap(g);
}

static struct region *heap_of(struct process *process)
{
	unsigned i;

	for (i = 0; i < process->nr; i++)
		if (process->regions[i].name == HEAP)
			return &process->regions[i];
	if (process->nr == REGIONS_MAX)
		return NULL;
	process->regions[process->nr] = (struct region){ .name = HEAP };
	return &process->regions[process->nr++];
}

static void op_brk(struct generator *g)
{
	const unsigned p = any_process(g), pages = below(g, 12);
	struct process *process = &g->processes[p];
	struct region *heap = heap_of(process);

	if (!heap)
		return;
	say(g, "brk P%u %u", p, pages);
	if (pages)
		heap->pages = pages;
	else
		*heap = process->regions[--process->nr];
	if (pages && chance(g, 2))
		say(g, "madvise P%u brk MERGEABLE", p);
}

static void op_prctl(struct generator *g)
{
	static const char *const words[] = { "on", "on", "off", "get" };

	say(g, "prctl P%u %s", any_process(g), words[below(g, 4)]);
}

static void op_knob(struct generator *g)
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

	say(g, "%s", lines[below(g, sizeof(lines) / sizeof(*lines))]);
}

/* run=2 and back: the tool wakes ksmd only while nobody has written run. */
static void op_run(struct generator *g)
{
	say(g, "ksm run %u", chance(g, 3) ? 0 : 2);
	if (!chance(g, 4))
		say(g, "ksm run 1");
}

static void op_step(struct generator *g)
{
	if (chance(g, 3))
		say(g, "step %u", 1 + below(g, 200));
	else
		say(g, "step %u", 1 + below(g, 6));
}

static void op_scan(struct generator *g)
{
	if (chance(g, 3))
		say(g, "scan %u", 2 + below(g, chance(g, 6) ? 10 : 2));
	else
		say(g, "scan");
}

static void op_mremap(struct generator *g, unsigned p, struct region *region)
{
	struct process *process = &g->processes[p];
	const unsigned pages = 1 + below(g, region->pages + 4);
	char range[48], name[16], place[48] = "";

	switch (below(g, 4)) {
	case 0:
		say(g, "mremap P%u %s %u", p, name_of(region, name), pages);
		break;
	case 1:
		say(g, "mremap P%u %s %u maymove", p, name_of(region, name), pages);
		break;
	case 2:
		if (process->nr == REGIONS_MAX)
			return;
		if (g->window && chance(g, 2))
			snprintf(place, sizeof(place), " at=0x%" PRIx64, any_address(g));
		say(g, "mremap P%u %s %u as=r%u%s maymove", p, any_stretch(g, region, range), pages,
		    g->next_region, place);
		process->regions[process->nr++] =
			(struct region){ g->next_region++, pages, region->hidden };
		return;
	default:
		if (process->nr == REGIONS_MAX)
			return;
		say(g, "mremap P%u %s %u as=r%u dontunmap", p, name_of(region, name), region->pages,
		    g->next_region);
		process->regions[process->nr++] =
			(struct region){ g->next_region++, region->pages, region->hidden };
		return;
	}
	if (region->pages != pages)
		region->pages = pages < region->pages ? pages : region->pages;
}

static void op_munmap(struct generator *g, unsigned p, struct region *region)
{
	struct process *process = &g->processes[p];
	char range[48], name[16];

	if (!chance(g, 4)) {
		say(g, "munmap P%u %s", p, any_stretch(g, region, range));
		if (!strpbrk(range, "+@"))
			*region = process->regions[--process->nr];
		return;
	}
	say(g, "munmap P%u %s", p, name_of(region, name));
	*region = process->regions[--process->nr];
}

static void op_madvise(struct generator *g, unsigned p, const struct region *region)
{
	static const char *const advices[] = {
		"MERGEABLE",   "MERGEABLE",	"MERGEABLE",	  "MERGEABLE",	"UNMERGEABLE",
		"UNMERGEABLE", "DONTNEED",	"DONTNEED",	  "DONTNEED",	"FREE",
		"DONTFORK",    "DOFORK",	"WIPEONFORK",	  "KEEPONFORK", "POPULATE_READ",
		"DONTDUMP",    "POPULATE_READ", "POPULATE_WRITE", "NOHUGEPAGE", "DODUMP",
	};
	char range[48];

	say(g, "madvise P%u %s %s", p, any_stretch(g, region, range),
	    advices[below(g, sizeof(advices) / sizeof(*advices))]);
}

/* A stretch of the window can be any region's. */
static void hide(struct process *process, struct region *region, bool all)
{
	unsigned i;

	region->hidden = true;
	for (i = 0; all && i < process->nr; i++)
		process->regions[i].hidden = true;
}

static void op_protect(struct generator *g, unsigned p, struct region *region)
{
	static const char *const prots[] = { "rw", "rw", "r", "none" };
	const unsigned prot = below(g, 4);
	char range[48];

	say(g, "mprotect P%u %s %s", p, any_stretch(g, region, range), prots[prot]);
	if (prot == 3)
		hide(&g->processes[p], region, g->window);
}

static void op_lock(struct generator *g, unsigned p, const struct region *region)
{
	char range[48];

	if (g->locked)
		say(g, "%s P%u %s", chance(g, 2) ? "mlock" : "munlock", p,
		    any_stretch(g, region, range));
}

static void op_pin(struct generator *g, unsigned p, const struct region *region)
{
	static const char *const hows[] = { "get", "get", "write", "write", "held" };
	char range[48], name[16];

	if (chance(g, 2))
		say(g, "unpin P%u %s", p, any_range(g, region, range));
	else
		say(g, "pin P%u %s+%u %s", p, name_of(region, name), below(g, region->pages),
		    hows[below(g, region->hidden ? 4 : 5)]);
}

static void op_poke(struct generator *g, unsigned p, const struct region *region)
{
	char range[48];

	say(g, "poke P%u %s %u %u", p, any_range(g, region, range),
	    chance(g, 2) ? 4095 : below(g, 8), below(g, 3));
}

static void op_look(struct generator *g, unsigned p, const struct region *region)
{
	char range[48], content[48];

	switch (below(g, 3)) {
	case 0:
		say(g, "read P%u %s", p, any_range(g, region, range));
		break;
	case 1:
		say(g, "touch P%u %s", p, any_range(g, region, range));
		break;
	default:
		say(g, "check P%u %s %s", p, any_range(g, region, range), any_content(g, content));
		break;
	}
}

static void op_fill(struct generator *g, unsigned p, const struct region *region)
{
	char range[48], content[48];

	say(g, "fill P%u %s %s", p, any_range(g, region, range), any_content(g, content));
}

/* ---- one after the other ---- */

static void any_op(struct generator *g)
{
	unsigned p, kind = below(g, 100);
	struct region *region;

	if (kind < 18)
		op_step(g);
	else if (kind < 28)
		op_scan(g);
	else if (kind < 31)
		op_fork(g);
	else if (kind < 33)
		op_proc(g);
	else if (kind < 35)
		op_exit(g);
	else if (kind < 39)
		op_mmap(g);
	else if (kind < 41)
		op_knob(g);
	else if (kind < 42)
		op_run(g);
	else if (kind < 44)
		op_prctl(g);
	else if (kind < 45)
		chance(g, 4) ? op_exec(g) : op_brk(g);
	else if (!any_region(g, &p, &region))
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

static void begin(struct generator *g)
{
	static const char *const sharing[] = { "2", "3", "4", "256" };
	unsigned i;

	say(g, "ksm max_page_sharing %s", sharing[below(g, 4)]);
	say(g, "ksm stable_node_chains_prune_millisecs %s", chance(g, 3) ? "4294967295" : "0");
	say(g, "ksm use_zero_pages %u", below(g, 2));
	say(g, "ksm smart_scan %u", below(g, 2));
	for (i = 0; i < 2; i++)
		op_proc(g);
}

json_t *sim_generate(uint64_t seed, uint64_t nr)
{
	struct generator g = { .state = seed, .lines = json_array() };
	size_t last;

	g.dense = chance(&g, 3);
	g.locked = chance(&g, 3);
	g.window = chance(&g, 3);
	g.contents = 1 + below(&g, chance(&g, 3) ? 12 : 3);
	begin(&g);
	for (last = json_array_size(g.lines); !g.failed && last < nr;
	     last = json_array_size(g.lines))
		any_op(&g);
	if (!g.failed)
		return g.lines;
	json_decref(g.lines);
	return NULL;
}
