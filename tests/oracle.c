/*
 * oracle.c - grouping pages by comparing all bytes of all pages.
 *
 * What could surprise: two mappings of one frame (fork) are no partners for each
 * other, they need a page of another frame; and a page with a reference beyond
 * its mappings (a pin) is no partner for anybody. It may even keep others apart,
 * so the answer is exact only if the pinned contents are on no other page.
 */
#include "oracle.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

struct seen {
	uint8_t bytes[PAGE];
	uint64_t pfn;
	unsigned node;
	bool pinned, done;
};

struct list {
	struct seen *page;
	size_t nr, room;
};

void oracle_add_equal(struct oracle *oracle, uint64_t nr, uint64_t max)
{
	const uint64_t rest = nr % max, shared = nr / max;

	if (rest < 2) { /* one that is left over finds no partner */
		oracle->shared += shared;
		oracle->sharing += shared * (max - 1);
	} else {
		oracle->shared += shared + 1;
		oracle->sharing += nr - shared - 1;
	}
}

static uint64_t knob(struct ksmsim *sim, const char *file)
{
	char text[32] = "";

	ksmsim_sysfs_read(sim, file, text, sizeof(text), NULL);
	return strtoull(text, NULL, 10);
}

static int add_page(struct ksmsim *sim, struct list *list, uint32_t pid, uint64_t vaddr)
{
	struct ksmsim_page page;
	struct seen *seen;
	int error = ksmsim_page_get(sim, pid, vaddr, &page);

	if (error || page.state != KSMSIM_PAGE_ANON)
		return error;
	if (list->nr == list->room) {
		list->room = list->room ? 2 * list->room : 64;
		list->page = realloc(list->page, list->room * sizeof(*list->page));
		if (!list->page)
			return KSMSIM_ENOMEM;
	}
	seen = &list->page[list->nr++];
	memset(seen, 0, sizeof(*seen));
	seen->pfn = page.pfn;
	seen->node = page.node;
	seen->pinned = page.refs != page.mapcount;
	return ksmsim_peek(sim, pid, vaddr, seen->bytes, PAGE, NULL);
}

static int collect(struct ksmsim *sim, struct list *list, uint32_t pid)
{
	struct ksmsim_vma vma;
	uint64_t vaddr;
	int error = 0;

	for (size_t i = 0; !error && !ksmsim_vma_get(sim, pid, i, &vma); i++)
		for (vaddr = vma.start; !error && vma.mergeable && vaddr < vma.end; vaddr += PAGE)
			error = add_page(sim, list, pid, vaddr);
	return error;
}

static bool is_zero(const uint8_t *bytes)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, PAGE - 1);
}

static bool equal(const struct seen *a, const struct seen *b, bool across)
{
	return (across || a->node == b->node) && !memcmp(a->bytes, b->bytes, PAGE);
}

/* All pages that are equal to page @first, itself among them. */
static void one_group(struct list *list, size_t first, bool across, uint64_t max,
		      struct oracle *oracle)
{
	const struct seen *leader = &list->page[first];
	uint64_t nr = 0, all = 0;
	bool frames_differ = false;

	for (size_t i = first; i < list->nr; i++) {
		struct seen *page = &list->page[i];

		if (page->done || !equal(leader, page, across))
			continue;
		page->done = true;
		all++;
		if (page->pinned)
			continue;
		nr++;
		frames_differ |= page->pfn != leader->pfn;
	}
	oracle->bound += all - 1;
	if (frames_differ)
		oracle_add_equal(oracle, nr, max);
}

int oracle_ask(struct ksmsim *sim, const uint32_t *pids, size_t nr_pids, struct oracle *oracle)
{
	const bool across = knob(sim, "ksm/merge_across_nodes");
	const bool zero_pages = knob(sim, "ksm/use_zero_pages");
	const uint64_t max = knob(sim, "ksm/max_page_sharing");
	struct list list = { 0 };
	int error = 0;

	*oracle = (struct oracle){ 0 };
	for (size_t i = 0; !error && i < nr_pids; i++)
		error = collect(sim, &list, pids[i]);
	oracle->pages = list.nr;
	for (size_t i = 0; !error && i < list.nr; i++) {
		struct seen *page = &list.page[i];

		if (zero_pages && !page->pinned && is_zero(page->bytes)) {
			page->done = true;
			oracle->zero++;
		}
	}
	for (size_t i = 0; !error && i < list.nr; i++)
		if (!list.page[i].done)
			one_group(&list, i, across, max, oracle);
	free(list.page);
	return error;
}
