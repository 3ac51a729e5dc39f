/*
 * generate_thp.c - random scenarios with huge pages.
 *
 * As generate.c, but regions have one to three blocks of 512 pages, and what is done
 * to them is drawn where folios end and where they do not: whole blocks, smaller
 * sizes in their places, single pages, ranges across blocks. Each run has a character:
 * which sizes there are, whether there are pins, locked memory, KSM, lazily freed
 * pages. Some go badly together on a running kernel: its shrinker takes lazily freed
 * pages away, and khugepaged with enabled=always is everybody's.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "generate.h"

#define PROCESSES_MAX 4u
#define PROCESSES_EVER 32u
#define REGIONS_MAX 4u
#define LINE_BYTES 128u
#define BLOCK 512u

struct region {
	unsigned name; /* r%u */
	unsigned pages;
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
	struct process processes[PROCESSES_EVER]; /* P%u */
	unsigned nr_processes, nr_alive, next_region;
	unsigned contents;
	bool always, lazy, pins, locked, ksm, sizes;
};

/* ---- chance ---- */

static unsigned below(struct generator *g, unsigned nr)
{
	uint64_t word = g->state += UINT64_C(0x9E3779B97F4A7C15);

	word = (word ^ word >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	word = (word ^ word >> 27) * UINT64_C(0x94D049BB133111EB);
	return (unsigned)((word ^ word >> 31) >> 32) % nr;
}

static bool chance(struct generator *g, unsigned one_in)
{
	return below(g, one_in) == 0;
}

#define ANY(g, list) (list)[below(g, sizeof(list) / sizeof(*(list)))]

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

static bool any_region(struct generator *g, unsigned *process, struct region **region)
{
	*process = any_process(g);
	if (!g->processes[*process].nr)
		return false;
	*region = &g->processes[*process].regions[below(g, g->processes[*process].nr)];
	return true;
}

/* Where a range begins and ends: a block, a folio's place, a page, anything. */
static void any_stretch(struct generator *g, unsigned pages, unsigned *from, unsigned *nr)
{
	const unsigned kind = below(g, 8);
	unsigned size = 1;

	*from = below(g, pages);
	if (kind < 2 && pages >= BLOCK)
		size = BLOCK;
	else if (kind < 5)
		size = 4u << below(g, 7);
	if (kind < 5)
		*from = *from / size * size;
	else if (kind < 7)
		size = 1;
	else
		size = 1 + below(g, chance(g, 2) ? 16 : 600);
	*nr = size < pages - *from ? size : pages - *from;
}

static const char *any_range(struct generator *g, const struct region *region, char buf[48])
{
	unsigned from, nr;

	any_stretch(g, region->pages, &from, &nr);
	if (chance(g, 6))
		snprintf(buf, 48, "r%u", region->name);
	else
		snprintf(buf, 48, "r%u+%u:%u", region->name, from, nr);
	return buf;
}

static const char *any_content(struct generator *g, char buf[32])
{
	static const char *const kinds[] = { "tag", "seeds", "seeds", "tags", "last" };

	if (chance(g, 4))
		return "zero";
	snprintf(buf, 32, "%s:%u", ANY(g, kinds), 1 + below(g, g->contents));
	return buf;
}

/* ---- processes and mappings ---- */

static void op_mmap(struct generator *g)
{
	static const unsigned sizes[] = { 512, 512, 512, 1024, 700, 1536, 64 };
	static const char *const flags[] = { " prot=r", " noreserve" };
	const unsigned p = any_process(g), pages = ANY(g, sizes), name = g->next_region;
	struct process *process = &g->processes[p];

	if (process->nr == REGIONS_MAX)
		return;
	g->next_region++;
	process->regions[process->nr++] = (struct region){ name, pages };
	say(g, "mmap P%u r%u %u%s", p, name, pages, chance(g, 12) ? ANY(g, flags) : "");
	if (!chance(g, 6))
		say(g, "madvise P%u r%u HUGEPAGE", p, name);
	if (g->ksm && !chance(g, 3))
		say(g, "madvise P%u r%u MERGEABLE", p, name);
}

static void op_proc(struct generator *g)
{
	if (g->nr_alive >= PROCESSES_MAX || g->nr_processes >= PROCESSES_EVER)
		return;
	g->processes[g->nr_processes] = (struct process){ .alive = true };
	say(g, "proc P%u", g->nr_processes++);
	g->nr_alive++;
	op_mmap(g);
}

static void op_fork(struct generator *g)
{
	const unsigned p = any_process(g);

	if (g->nr_alive >= PROCESSES_MAX || g->nr_processes >= PROCESSES_EVER)
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

static void op_munmap(struct generator *g, unsigned p, struct region *region)
{
	struct process *process = &g->processes[p];
	char range[48];

	say(g, "munmap P%u %s", p, any_range(g, region, range));
	if (!strchr(range, '+'))
		*region = process->regions[--process->nr];
}

static void op_mremap(struct generator *g, unsigned p, struct region *region)
{
	struct process *process = &g->processes[p];
	unsigned from, nr;

	any_stretch(g, region->pages, &from, &nr);
	if (process->nr == REGIONS_MAX || chance(g, 4)) {
		say(g, "mremap P%u r%u %u", p, region->name, from + 1);
		region->pages = from + 1;
		return;
	}
	say(g, "mremap P%u r%u+%u:%u %u as=r%u %s", p, region->name, from, nr, nr, g->next_region,
	    chance(g, 4) ? "dontunmap" : "maymove");
	process->regions[process->nr++] = (struct region){ g->next_region++, nr };
}

/* ---- knobs and threads ---- */

static void op_knob(struct generator *g)
{
	static const char *const knobs[] = {
		"khugepaged/max_ptes_none 0",
		"khugepaged/max_ptes_none 511",
		"khugepaged/max_ptes_none 255",
		"khugepaged/max_ptes_none 400",
		"khugepaged/max_ptes_shared 0",
		"khugepaged/max_ptes_shared 256",
		"shrink_underused 0",
		"shrink_underused 1",
		"use_zero_page 0",
		"use_zero_page 1",
		"enabled madvise",
		"enabled never",
	};
	static const char *const sizes[] = { "16", "32", "64", "128", "256", "512", "1024" };
	static const char *const words[] = { "madvise", "madvise", "inherit", "never" };

	if (g->sizes && chance(g, 2))
		say(g, "thp hugepages-%skB/enabled %s", ANY(g, sizes), ANY(g, words));
	else if (g->sizes && chance(g, 4))
		say(g, "thp hugepages-2048kB/enabled %s", ANY(g, words));
	else
		say(g, "thp %s", ANY(g, knobs));
	if (chance(g, 2))
		say(g, "thp enabled %s", g->always ? "always" : "madvise");
}

static void op_thread(struct generator *g)
{
	/* how often the kernel tries a folio that is held is up to what else there is to reclaim */
	if (!g->lazy && !g->pins && chance(g, 2))
		say(g, "shrink%s", chance(g, 8) ? " all" : "");
	else if (!g->always)
		say(g, "khugepaged");
}

static void op_ksm(struct generator *g)
{
	static const char *const knobs[] = { "smart_scan 0", "smart_scan 1", "use_zero_pages 0",
					     "use_zero_pages 1", "max_page_sharing 3" };

	if (!g->ksm)
		return;
	if (chance(g, 8))
		say(g, "ksm %s", ANY(g, knobs));
	else if (chance(g, 2))
		say(g, "step %u", 1 + below(g, chance(g, 2) ? 8 : 800));
	else
		say(g, "scan");
}

static void op_prctl(struct generator *g)
{
	static const char *const words[] = { "off", "off", "all", "except_advised" };

	say(g, "thpdisable P%u %s", any_process(g), ANY(g, words));
}

/* ---- memory ---- */

static void op_madvise(struct generator *g, unsigned p, const struct region *region)
{
	static const char *const advices[] = {
		"HUGEPAGE",   "HUGEPAGE", "NOHUGEPAGE",	   "DONTNEED",	   "DONTNEED",
		"DONTNEED",   "DONTNEED", "COLLAPSE",	   "COLLAPSE",	   "COLLAPSE",
		"COLLAPSE",   "COLD",	  "GUARD_INSTALL", "GUARD_REMOVE", "DODUMP",
		"WIPEONFORK", "DONTFORK", "KEEPONFORK",	   "DONTDUMP"
	};
	static const char *const merging[] = { "MERGEABLE", "MERGEABLE", "UNMERGEABLE" };
	const char *advice = ANY(g, advices);
	char range[48];

	if (g->ksm && chance(g, 5))
		advice = ANY(g, merging);
	else if (g->lazy && chance(g, 4))
		advice = "FREE";
	say(g, "madvise P%u %s %s", p, any_range(g, region, range), advice);
}

static void op_protect(struct generator *g, unsigned p, const struct region *region)
{
	static const char *const prots[] = { "rw", "rw", "r", "none" };
	char range[48];

	any_range(g, region, range);
	say(g, "mprotect P%u %s %s", p, range, ANY(g, prots));
	if (chance(g, 2))
		say(g, "mprotect P%u %s rw", p, range);
}

static void op_hold(struct generator *g, unsigned p, const struct region *region)
{
	char range[48];

	if (g->locked && chance(g, 2))
		say(g, "%s P%u %s", chance(g, 2) ? "mlock" : "munlock", p,
		    any_range(g, region, range));
	else if (g->pins && chance(g, 2))
		say(g, "pin P%u r%u+%u %s", p, region->name, below(g, region->pages),
		    chance(g, 2) ? "get" : "write");
	else if (g->pins)
		say(g, "unpin P%u r%u", p, region->name);
}

static void op_access(struct generator *g, unsigned p, const struct region *region)
{
	char range[48], content[32];

	any_range(g, region, range);
	switch (below(g, 8)) {
	case 0:
		say(g, "read P%u %s", p, range);
		break;
	case 1:
	case 2:
		say(g, "touch P%u %s", p, range);
		break;
	case 3:
		say(g, "poke P%u %s %u %u", p, range, chance(g, 2) ? 4095 : 0, below(g, 3));
		break;
	default:
		say(g, "fill P%u %s %s", p, range, any_content(g, content));
	}
}

/* ---- one after the other ---- */

static void any_op(struct generator *g)
{
	unsigned p, kind = below(g, 100);
	struct region *region;

	if (kind < 4)
		op_fork(g);
	else if (kind < 7)
		op_exit(g);
	else if (kind < 9)
		op_proc(g);
	else if (kind < 13)
		op_mmap(g);
	else if (kind < 14)
		chance(g, 2) ? op_exec(g) : op_prctl(g);
	else if (kind < 19)
		op_knob(g);
	else if (kind < 25)
		op_thread(g);
	else if (kind < 33)
		op_ksm(g);
	else if (!any_region(g, &p, &region))
		op_mmap(g);
	else if (kind < 37)
		op_munmap(g, p, region);
	else if (kind < 40)
		op_mremap(g, p, region);
	else if (kind < 44)
		op_protect(g, p, region);
	else if (kind < 48)
		op_hold(g, p, region);
	else if (kind < 66)
		op_madvise(g, p, region);
	else
		op_access(g, p, region);
}

json_t *sim_generate_thp(uint64_t seed, uint64_t nr)
{
	struct generator g = { .state = seed, .lines = json_array() };
	size_t last;

	g.always = chance(&g, 16);
	g.lazy = chance(&g, 3);
	g.pins = chance(&g, 4);
	g.locked = chance(&g, 3);
	g.ksm = chance(&g, 2);
	g.sizes = chance(&g, 2);
	g.contents = 1 + below(&g, 3);
	if (g.always)
		say(&g, "thp enabled always");
	op_proc(&g);
	for (last = json_array_size(g.lines); !g.failed && last < nr;
	     last = json_array_size(g.lines))
		any_op(&g);
	if (!g.failed)
		return g.lines;
	json_decref(g.lines);
	return NULL;
}
