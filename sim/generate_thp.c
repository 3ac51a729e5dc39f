/*
 * generate_thp.c - random scenarios with huge pages.
 *
 * As generate.c, but regions have one to three blocks of 512 pages, and what is done
 * to them is drawn where folios end and where they do not: whole blocks, smaller
 * sizes in their places, single pages, ranges across blocks. Each run has a character:
 * which sizes there are, whether there are pins, locked memory, KSM, lazily freed
 * pages. Some go badly together on a running kernel: its shrinker tries folios that are
 * held no fixed number of times, and khugepaged with enabled=always is everybody's.
 */
#include <inttypes.h>
#include <string.h>

#include "generate_books.h"

#define BLOCK 512u

static const struct gen_kind huge_kind = { .alive = 4, .ever = 32, .regions = 4 };

/* ---- what there is ---- */

/* Where a range begins and ends: a block, a folio's place, a page, anything. */
static void any_stretch(struct gen *g, unsigned pages, unsigned *from, unsigned *nr)
{
	const unsigned kind = gen_below(g, 8);
	unsigned size = 1;

	*from = gen_below(g, pages);
	if (kind < 2 && pages >= BLOCK)
		size = BLOCK;
	else if (kind < 5)
		size = 4u << gen_below(g, 7);
	if (kind < 5)
		*from = *from / size * size;
	else if (kind < 7)
		size = 1;
	else
		size = 1 + gen_below(g, gen_chance(g, 2) ? 16 : 600);
	*nr = size < pages - *from ? size : pages - *from;
}

static const char *any_range(struct gen *g, const struct gen_region *region, char buf[48])
{
	unsigned from, nr;

	any_stretch(g, region->pages, &from, &nr);
	if (gen_chance(g, 6))
		snprintf(buf, 48, "r%u", region->name);
	else
		snprintf(buf, 48, "r%u+%u:%u", region->name, from, nr);
	return buf;
}

static const char *any_content(struct gen *g, char buf[32])
{
	static const char *const kinds[] = { "tag", "seeds", "seeds", "tags", "last" };
	unsigned number;

	if (gen_chance(g, 4))
		return "zero";
	number = 1 + gen_below(g, g->contents);
	snprintf(buf, 32, "%s:%u", GEN_ANY(g, kinds), number);
	return buf;
}

/* ---- processes and mappings ---- */

static void op_mmap(struct gen *g)
{
	static const unsigned sizes[] = { 512, 512, 512, 1024, 700, 1536, 64 };
	static const char *const flags[] = { " prot=r", " noreserve", " populate" };
	const unsigned p = gen_any_process(g), pages = GEN_ANY(g, sizes);
	struct gen_process *process = &g->processes[p];
	unsigned name;

	if (process->nr == huge_kind.regions)
		return;
	name = gen_new_region(g, process, pages, false);
	gen_say(g, "mmap P%u r%u %u%s", p, name, pages, gen_chance(g, 12) ? GEN_ANY(g, flags) : "");
	if (!gen_chance(g, 6))
		gen_say(g, "madvise P%u r%u HUGEPAGE", p, name);
	if (g->ksm && !gen_chance(g, 3))
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

static void op_munmap(struct gen *g, unsigned p, struct gen_region *region)
{
	struct gen_process *process = &g->processes[p];
	char range[48];

	gen_say(g, "munmap P%u %s", p, any_range(g, region, range));
	if (!strchr(range, '+'))
		*region = process->regions[--process->nr];
}

static void op_mremap(struct gen *g, unsigned p, struct gen_region *region)
{
	struct gen_process *process = &g->processes[p];
	unsigned from, nr;

	any_stretch(g, region->pages, &from, &nr);
	if (process->nr == huge_kind.regions || gen_chance(g, 4)) {
		gen_say(g, "mremap P%u r%u %u", p, region->name, from + 1);
		region->pages = from + 1;
		return;
	}
	gen_say(g, "mremap P%u r%u+%u:%u %u as=r%u %s", p, region->name, from, nr, nr,
		g->next_region, gen_chance(g, 4) ? "dontunmap" : "maymove");
	gen_new_region(g, process, nr, false);
}

/* ---- knobs and threads ---- */

static void op_knob(struct gen *g)
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

	const char *word;

	if (g->sizes && gen_chance(g, 2)) {
		word = GEN_ANY(g, words);
		gen_say(g, "thp hugepages-%skB/enabled %s", GEN_ANY(g, sizes), word);
	} else if (g->sizes && gen_chance(g, 4))
		gen_say(g, "thp hugepages-2048kB/enabled %s", GEN_ANY(g, words));
	else
		gen_say(g, "thp %s", GEN_ANY(g, knobs));
	if (gen_chance(g, 2))
		gen_say(g, "thp enabled %s", g->always ? "always" : "madvise");
}

static void op_thread(struct gen *g)
{
	/* how often the kernel tries a folio that is held is up to what else there is to reclaim */
	if (!g->pins && gen_chance(g, 2))
		gen_say(g, "shrink%s", gen_chance(g, 8) ? " all" : "");
	else if (!g->always)
		gen_say(g, "khugepaged");
}

static void op_ksm(struct gen *g)
{
	static const char *const knobs[] = { "smart_scan 0", "smart_scan 1", "use_zero_pages 0",
					     "use_zero_pages 1", "max_page_sharing 3" };

	if (!g->ksm)
		return;
	if (gen_chance(g, 8))
		gen_say(g, "ksm %s", GEN_ANY(g, knobs));
	else if (gen_chance(g, 2))
		gen_say(g, "step %u", 1 + gen_below(g, gen_chance(g, 2) ? 8 : 800));
	else
		gen_say(g, "scan");
}

static void op_prctl(struct gen *g)
{
	static const char *const words[] = { "off", "off", "all", "except_advised" };
	const char *word = GEN_ANY(g, words);

	gen_say(g, "thpdisable P%u %s", gen_any_process(g), word);
}

/* ---- memory ---- */

static void op_madvise(struct gen *g, unsigned p, const struct gen_region *region)
{
	static const char *const advices[] = {
		"HUGEPAGE",	 "HUGEPAGE",	  "NOHUGEPAGE",	   "DONTNEED",	    "DONTNEED",
		"DONTNEED",	 "DONTNEED",	  "COLLAPSE",	   "COLLAPSE",	    "COLLAPSE",
		"COLLAPSE",	 "COLD",	  "PAGEOUT",	   "GUARD_INSTALL", "GUARD_REMOVE",
		"DODUMP",	 "WIPEONFORK",	  "DONTFORK",	   "KEEPONFORK",    "DONTDUMP",
		"POPULATE_READ", "POPULATE_READ", "POPULATE_WRITE"
	};
	static const char *const merging[] = { "MERGEABLE", "MERGEABLE", "UNMERGEABLE" };
	const char *advice = GEN_ANY(g, advices);
	char range[48];

	if (g->ksm && gen_chance(g, 5))
		advice = GEN_ANY(g, merging);
	else if (g->lazy && gen_chance(g, 4))
		advice = "FREE";
	gen_say(g, "madvise P%u %s %s", p, any_range(g, region, range), advice);
}

static void op_protect(struct gen *g, unsigned p, const struct gen_region *region)
{
	static const char *const prots[] = { "rw", "rw", "r", "none" };
	char range[48];

	any_range(g, region, range);
	gen_say(g, "mprotect P%u %s %s", p, range, GEN_ANY(g, prots));
	if (gen_chance(g, 2))
		gen_say(g, "mprotect P%u %s rw", p, range);
}

static void op_hold(struct gen *g, unsigned p, const struct gen_region *region)
{
	const char *how;
	char range[48];

	if (g->locked && gen_chance(g, 2)) {
		any_range(g, region, range);
		how = gen_chance(g, 2) ? "mlock" : "munlock";
		gen_say(g, "%s P%u %s", how, p, range);
	} else if (g->pins && gen_chance(g, 2)) {
		how = gen_chance(g, 2) ? "get" : "write";
		gen_say(g, "pin P%u r%u+%u %s", p, region->name, gen_below(g, region->pages), how);
	} else if (g->pins)
		gen_say(g, "unpin P%u r%u", p, region->name);
}

static void op_access(struct gen *g, unsigned p, const struct gen_region *region)
{
	char range[48], content[32];
	unsigned value;

	any_range(g, region, range);
	switch (gen_below(g, 8)) {
	case 0:
		gen_say(g, "read P%u %s", p, range);
		break;
	case 1:
	case 2:
		gen_say(g, "touch P%u %s", p, range);
		break;
	case 3:
		value = gen_below(g, 3);
		gen_say(g, "poke P%u %s %u %u", p, range, gen_chance(g, 2) ? 4095 : 0, value);
		break;
	default:
		gen_say(g, "fill P%u %s %s", p, range, any_content(g, content));
	}
}

/* ---- one after the other ---- */

static void any_op(struct gen *g)
{
	unsigned p, kind = gen_below(g, 100);
	struct gen_region *region;

	if (kind < 4)
		gen_fork(g);
	else if (kind < 7)
		gen_exit(g);
	else if (kind < 9)
		op_proc(g);
	else if (kind < 13)
		op_mmap(g);
	else if (kind < 14)
		gen_chance(g, 2) ? op_exec(g) : op_prctl(g);
	else if (kind < 19)
		op_knob(g);
	else if (kind < 25)
		op_thread(g);
	else if (kind < 33)
		op_ksm(g);
	else if (!gen_any_region(g, 1, &p, &region))
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
	struct gen g = { .kind = &huge_kind, .state = seed, .lines = json_array() };

	g.always = gen_chance(&g, 16);
	g.lazy = gen_chance(&g, 3);
	g.pins = gen_chance(&g, 4);
	g.locked = gen_chance(&g, 3);
	g.ksm = gen_chance(&g, 2);
	g.sizes = gen_chance(&g, 2);
	g.contents = 1 + gen_below(&g, 3);
	if (g.always)
		gen_say(&g, "thp enabled always");
	op_proc(&g);
	return gen_lines(&g, nr, any_op);
}
