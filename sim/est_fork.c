/*
 * est_fork.c - frames that several processes map since a fork.
 *
 * Two processes that map the same frame at the same address: one was forked from the
 * other, or both from a third. The later one in the capture is taken for a child of the
 * earlier one with which it shares most; of its pages those with the frame of the other
 * are inherited, and all others are written after the fork. What siblings share and their
 * parent has no more, the parent has until they are forked: a loan. Whatever else is shared, or
 * with whom is not known, is taken as single pages, and counted.
 */
#include <stdlib.h>

#include "est_parts.h"
#include "vector.h"

struct shared {
	uint64_t pfn, vaddr;
	size_t i; /* of the image: also in the order of processes */
	uint32_t process;
};

struct est_frames {
	struct shared *list;
	size_t nr;
};

int est_fork_page(struct est_image *image, uint32_t process, size_t i,
		  const struct sim_cap_page *page)
{
	struct shared *shared;

	if (!page->pfn || page->mapcount < 2 || page->flags & SIM_CAP_KSM)
		return 0;
	if (!image->frames)
		image->frames = calloc(1, sizeof(*image->frames));
	if (!image->frames)
		return est_no_memory(image);
	shared = sim_vector_add(&image->frames->list, &image->frames->nr, sizeof(*shared));
	if (!shared)
		return est_no_memory(image);
	*shared = (struct shared){ page->pfn, page->vaddr, i, process };
	return 0;
}

static int compare(const void *left, const void *right)
{
	const struct shared *a = left, *b = right;

	if (a->pfn != b->pfn)
		return a->pfn < b->pfn ? -1 : 1;
	if (a->vaddr != b->vaddr)
		return a->vaddr < b->vaddr ? -1 : 1;
	return a->i < b->i ? -1 : a->i > b->i;
}

/* The end of the run of mappings of one frame at one address */
static size_t run_end(const struct est_frames *frames, size_t i)
{
	size_t k = i + 1;

	while (k < frames->nr && frames->list[k].pfn == frames->list[i].pfn &&
	       frames->list[k].vaddr == frames->list[i].vaddr)
		k++;
	return k;
}

/* votes[child][parent]: pages that both map. Each run gives one for each earlier mapping. */
static void count_votes(const struct est_image *image, uint32_t child, size_t *votes)
{
	const struct est_frames *frames = image->frames;
	size_t i, k, end;

	for (i = 0; i < frames->nr; i = end) {
		end = run_end(frames, i);
		for (k = i; k < end && frames->list[k].process < child; k++)
			;
		if (k == end || frames->list[k].process != child)
			continue;
		while (k-- > i)
			votes[frames->list[k].process]++;
	}
}

static void choose_parents(struct est_image *image, size_t *votes, const bool *shares)
{
	uint32_t child, p;

	for (child = 1; child < image->nr_processes; child++) {
		uint32_t best = EST_NONE;

		if (!shares[child] || image->processes[child].forked_from != EST_NONE)
			continue;
		for (p = 0; p < child; p++)
			votes[p] = 0;
		count_votes(image, child, votes);
		for (p = 0; p < child; p++)
			if (votes[p] && (best == EST_NONE || votes[p] > votes[best]))
				best = p;
		image->processes[child].forked_from = best;
	}
}

static bool is_in_run(const struct est_frames *frames, size_t i, size_t end, uint32_t process)
{
	for (; i < end; i++)
		if (frames->list[i].process == process)
			return true;
	return false;
}

/* A frame that only children of one process still have: lent to them by that. 1: done */
static int lend(struct est_image *image, size_t i, size_t end)
{
	const struct shared *list = image->frames->list;
	const uint32_t parent = image->processes[list[i].process].forked_from;
	struct est_loan *loan;
	struct est_area *area;
	size_t k;

	for (k = i; k < end; k++)
		if (image->processes[list[k].process].forked_from != parent ||
		    image->attr[list[k].i] & EST_HUGE)
			return 0;
	if (parent == EST_NONE || end == i + 1)
		return 0;
	area = est_find_area(image, &image->processes[parent], list[i].vaddr);
	loan = area ? sim_vector_add(&image->loans, &image->nr_loans, sizeof(*loan)) : NULL;
	if (!loan)
		return 0;
	loan->process = parent;
	loan->area = (uint32_t)(area - image->areas);
	loan->page = (uint32_t)((list[i].vaddr - area->start) / EST_PAGE);
	loan->content = image->content[list[i].i];
	loan->own = est_find_page(image, area, loan->page);
	if (loan->own != SIZE_MAX && image->attr[loan->own] & EST_HUGE) {
		image->nr_loans--;
		return 0;
	}
	for (k = i; k < end; k++)
		image->attr[list[k].i] |= EST_INHERITED;
	return 1;
}

static void mark_inherited(struct est_image *image)
{
	const struct est_frames *frames = image->frames;
	size_t i, k, end, marked;

	for (i = 0; i < frames->nr; i = end) {
		end = run_end(frames, i);
		marked = 0;
		for (k = i; k < end; k++) {
			const struct shared *shared = &frames->list[k];
			const uint32_t parent = image->processes[shared->process].forked_from;

			if (parent == EST_NONE || !is_in_run(frames, i, k, parent))
				continue;
			image->attr[shared->i] |= EST_INHERITED;
			marked++;
		}
		if (!marked && lend(image, i, end))
			marked = end - i - 1;
		image->counts.forked += marked;
		if (!marked)
			image->counts.lonely += end - i;
	}
}

int est_fork_resolve(struct est_image *image)
{
	struct est_frames *frames = image->frames;
	size_t *votes, i;
	bool *shares;

	if (!frames)
		return 0;
	votes = calloc(image->nr_processes + 1, sizeof(*votes));
	shares = calloc(image->nr_processes + 1, sizeof(*shares));
	if (votes && shares) {
		qsort(frames->list, frames->nr, sizeof(*frames->list), compare);
		for (i = 0; i < frames->nr; i++)
			shares[frames->list[i].process] = true;
		choose_parents(image, votes, shares);
		mark_inherited(image);
	}
	i = votes && shares;
	free(votes);
	free(shares);
	est_fork_free(image);
	return i ? 0 : est_no_memory(image);
}

void est_fork_free(struct est_image *image)
{
	if (image->frames)
		free(image->frames->list);
	free(image->frames);
	image->frames = NULL;
}
