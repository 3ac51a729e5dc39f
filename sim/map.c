/*
 * map.c - the memory of a process drawn, a character for a page or for a block.
 *
 *	A.heap: 1024 pages from 0x10000000000, a character for each page
 *	       0  HHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHH
 *	          7 more lines of it
 *	     512  aakkaa..
 *
 * A long range has one character for each block that a PMD maps: that of the page
 * in it which comes first in kinds[]. Lines that are the same are drawn once, so
 * that 32 TiB with one page in it are three lines; where the backend knows its
 * holes they cost nothing.
 */
#include <inttypes.h>
#include <string.h>

#include "human.h"
#include "run.h"

#define COLUMNS 64u
#define PAGES_MAX 4096u /* with a character of their own */

static const struct kind {
	char letter;
	const char *what;
} kinds[] = {
	{ 'H', "THP, mapped by a PMD" },
	{ 'Y', "huge zero folio" },
	{ 'h', "THP, mapped by PTEs" },
	{ 'm', "folio of 4 pages or more, but no THP" },
	{ 'k', "KSM page" },
	{ 'a', "anonymous page of its own" },
	{ 'Z', "zero page that KSM placed" },
	{ 'z', "zero page" },
	{ 's', "in swap" },
	{ 'f', "page of a file" },
	{ 'g', "guard" },
	{ 'x', "lost: its memory failed" },
	{ '.', "nothing" },
};
enum {
	THP,
	HUGE_ZERO,
	PTE_THP,
	MTHP,
	KSM,
	SMALL,
	KSM_ZERO,
	ZERO,
	SWAP,
	PAGE_OF_FILE,
	GUARD,
	LOST,
	HOLE,
	NR
};
_Static_assert(sizeof(kinds) / sizeof(*kinds) == NR, "a row for each kind");

struct line {
	char cells[COLUMNS + 1];
};

struct map {
	struct sim_run *run;
	FILE *out;
	uint32_t process;
	uint64_t vaddr, end; /* of the range */
	uint64_t zero;	     /* address that counts as page 0; UINT64_MAX: print addresses */
	uint64_t unit;	     /* bytes of a character */
	uint64_t next;	     /* the first page that was not looked at yet */
	uint64_t pages[NR];
	struct line last;
	uint64_t repeated; /* more lines like the last one */
};

static unsigned kind_of(const struct map *map, const struct ksmsim_page *page)
{
	const uint64_t block = map->run->world.page / 8;

	switch (page->state) {
	case KSMSIM_PAGE_NONE:
		return HOLE;
	case KSMSIM_PAGE_KSM:
		return KSM;
	case KSMSIM_PAGE_ZERO:
		return page->huge_zero ? HUGE_ZERO : ZERO;
	case KSMSIM_PAGE_KSM_ZERO:
		return KSM_ZERO;
	case KSMSIM_PAGE_FILE:
		return PAGE_OF_FILE;
	case KSMSIM_PAGE_SWAP:
		return SWAP;
	case KSMSIM_PAGE_GUARD:
		return GUARD;
	case KSMSIM_PAGE_HWPOISON:
		return LOST;
	case KSMSIM_PAGE_ANON:
		break;
	}
	if (page->pmd_mapped)
		return THP;
	if (UINT64_C(1) << page->order == block)
		return PTE_THP;
	return page->order ? MTHP : SMALL;
}

/* ---- lines ---- */

static void flush(struct map *map)
{
	char text[SIM_HUMAN_BYTES];

	if (map->repeated)
		fprintf(map->out, "  %14s  %s more line%s of it\n", "",
			sim_grouped(text, (int64_t)map->repeated), map->repeated == 1 ? "" : "s");
	map->repeated = 0;
}

static void put_line(struct map *map, uint64_t vaddr, const struct line *line)
{
	char label[24];

	if (!strcmp(map->last.cells, line->cells)) {
		map->repeated++;
		return;
	}
	flush(map);
	map->last = *line;
	if (map->zero == UINT64_MAX)
		snprintf(label, sizeof(label), "0x%" PRIx64, vaddr);
	else
		snprintf(label, sizeof(label), "%" PRIu64,
			 (vaddr - map->zero) / map->run->world.page);
	fprintf(map->out, "  %14s  %s\n", label, line->cells);
}

static int go_to_next(struct map *map)
{
	struct sim_backend *backend = map->run->backend;

	if (!backend->ops->next_page || map->next >= map->end)
		return 0;
	return backend->ops->next_page(backend, map->process, &map->next, map->end);
}

/* The pages of [vaddr, end), which is at most a line. */
static int look(struct map *map, uint64_t vaddr, uint64_t end, struct line *line)
{
	struct sim_backend *backend = map->run->backend;
	unsigned seen[COLUMNS];
	struct ksmsim_page page;
	size_t i;
	int error = 0;

	for (i = 0; i < COLUMNS; i++)
		seen[i] = HOLE;
	while (!error && map->next < end) {
		error = backend->ops->page(backend, map->process, map->next, &page);
		if (!error) {
			const unsigned kind = kind_of(map, &page);

			i = (map->next - vaddr) / map->unit;
			if (kind < seen[i])
				seen[i] = kind;
			map->pages[kind]++;
			map->next += map->run->world.page;
			error = go_to_next(map);
		}
	}
	memset(line, 0, sizeof(*line));
	for (i = 0; i < COLUMNS && vaddr + i * map->unit < end; i++)
		line->cells[i] = kinds[seen[i]].letter;
	return error;
}

static int put_lines(struct map *map)
{
	const uint64_t bytes = COLUMNS * map->unit;
	uint64_t vaddr = map->vaddr, end, skip;
	struct line line;
	int error = go_to_next(map);

	while (!error && vaddr < map->end) {
		end = map->end - vaddr < bytes ? map->end : vaddr + bytes;
		error = look(map, vaddr, end, &line);
		if (error)
			break;
		put_line(map, vaddr, &line);
		vaddr = end;
		/* whole lines of holes: the first is drawn, the others are only counted */
		skip = map->next > vaddr ? (map->next - vaddr) / bytes : 0;
		if (skip > 1) {
			look(map, vaddr, vaddr + bytes, &line);
			put_line(map, vaddr, &line);
			map->repeated += skip - 1;
			vaddr += skip * bytes;
		}
	}
	flush(map);
	return error;
}

/* ---- the map ---- */

static void put_title(const struct map *map, const struct sim_op *op)
{
	const uint64_t page = map->run->world.page;
	char pages[SIM_HUMAN_BYTES];

	fprintf(map->out, "%s.%s: %s page%s from 0x%" PRIx64 ", a character for ",
		map->run->world.processes[op->process].name, op->region ? op->region : "memory",
		sim_grouped(pages, (int64_t)((map->end - map->vaddr) / page)),
		map->end - map->vaddr == page ? "" : "s", map->vaddr);
	if (map->unit == page)
		fprintf(map->out, "each page\n");
	else
		fprintf(map->out, "each %" PRIu64 "\n", map->unit / page);
}

static void put_legend(const struct map *map)
{
	char text[SIM_HUMAN_BYTES];
	uint64_t holes = (map->end - map->vaddr) / map->run->world.page;
	size_t i;

	for (i = 0; i < HOLE; i++)
		holes -= map->pages[i];
	for (i = 0; i < NR; i++) {
		const uint64_t pages = i == HOLE ? holes : map->pages[i];

		if (pages)
			fprintf(map->out, "  %14s  %c  %s\n", sim_grouped(text, (int64_t)pages),
				kinds[i].letter, kinds[i].what);
	}
}

int sim_map(struct sim_run *run, const struct sim_op *op)
{
	const uint64_t page = run->world.page;
	const struct sim_region *region = NULL;
	struct map map = { .run = run,
			   .out = run->options.map,
			   .process = op->process,
			   .vaddr = op->vaddr,
			   .end = op->vaddr + op->length / page * page,
			   .zero = UINT64_MAX,
			   .unit = page,
			   .next = op->vaddr };
	int error;

	if (!map.out)
		return 0;
	if (op->region)
		region = sim_world_region(&run->world, op->process,
					  (struct sim_word){ op->region, strlen(op->region) });
	if (region)
		map.zero = region->vaddr;
	if ((map.end - map.vaddr) / page > PAGES_MAX) {
		map.unit = page / 8 * page;
		map.vaddr = map.vaddr / map.unit * map.unit;
	}
	put_title(&map, op);
	error = put_lines(&map);
	if (!error)
		put_legend(&map);
	return error ? sim_fail(run, error) : 0;
}
