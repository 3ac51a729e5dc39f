/*
 * live_item.c - which page an event is about.
 *
 * Events name an rmap item by its address in the kernel and a frame by its number,
 * but never say where in the process the page is. It is found by what changed in
 * the page tables over one step of ksmd:
 *
 *	new(K, item)	the page had the frame K already: where K was mapped in the mm
 *	merge(K, item)	the one address of the mm that has K now and had not before
 *	zero(item)	an address of the mm that has the zero page now and had not: the one
 *			that was visited, since a split may hand out others
 *	rmitem(K, item)	what the item was when it was merged last
 *
 * So a step is one page; in a larger batch one step could merge two pages of the
 * mm with K. It is not enough where nothing changes: a merge that fails, and the
 * visit of a KSM page that a fork has already mapped. Then the page is
 *
 *	- what the item is known to be, if that is still possible;
 *	- the page that this step visited: the cursor is known from the last event in
 *	  the same mm, and how many pages ksmd passed since is in the counters of
 *	  scanned and skipped pages;
 *	- or, for the partner in the unstable tree, the first page with equal content.
 *
 * An item is freed without a word, and its address in the kernel is used again;
 * so every merge tells anew what the item is.
 */
#include <string.h>

#include "live_parts.h"

static struct live_process *process_of(struct live *live, uint32_t mm)
{
	size_t i;

	for (i = 0; i < live->nr_processes; i++)
		if (live->processes[i].alive && live->processes[i].mm == mm)
			return &live->processes[i];
	return NULL;
}

/* ---- items ---- */

struct live_item *live_item_find(struct live *live, uint64_t name)
{
	const uint64_t found = sim_map_get(&live->item_map, name);

	return found ? &live->items[found - 1] : NULL;
}

/* The page has this item and no other. */
static int item_learn(struct live *live, const struct live_event *event, bool merged)
{
	struct live_item *item = live_item_find(live, event->item);
	size_t i;

	for (i = 0; i < live->nr_items; i++)
		if (live->items[i].vaddr == event->event.vaddr &&
		    live->items[i].mm == event->event.mm)
			live->items[i].pfn = 0;

	if (!item) {
		if (!sim_grow(live->mem, &live->items, &live->items_capacity, live->nr_items,
			      sizeof(*live->items)) ||
		    !sim_map_set(live->mem, &live->item_map, event->item, live->nr_items + 1))
			return live_no_memory(live);
		item = &live->items[live->nr_items++];
		item->life = 0;
	}
	*item = (struct live_item){ .name = event->item,
				    .life = item->life,
				    .mm = event->event.mm,
				    .vaddr = event->event.vaddr,
				    .pfn = merged ? event->event.pfn : 0 };
	return 0;
}

/* Some item, other than @name, is this page's place in the KSM page @pfn. */
static bool is_taken(const struct live *live, uint64_t name, uint32_t mm, uint64_t vaddr,
		     uint64_t pfn)
{
	size_t i;

	for (i = 0; i < live->nr_items; i++)
		if (live->items[i].pfn == pfn && live->items[i].vaddr == vaddr &&
		    live->items[i].mm == mm && live->items[i].name != name)
			return true;
	return false;
}

/* ---- the frames that are KSM pages ---- */

bool live_is_ksm_frame(const struct live *live, uint64_t pfn)
{
	return sim_map_get(&live->frame_map, pfn + 1) != 0;
}

static int frame_add(struct live *live, uint64_t pfn)
{
	if (live_is_ksm_frame(live, pfn))
		return 0;
	if (!sim_grow(live->mem, &live->frames, &live->frames_capacity, live->nr_frames,
		      sizeof(*live->frames)) ||
	    !sim_map_set(live->mem, &live->frame_map, pfn + 1, 1))
		return live_no_memory(live);
	live->frames[live->nr_frames++] = pfn;
	return 0;
}

static void frames_sweep(struct live *live)
{
	size_t i, kept = 0;
	uint64_t count;

	for (i = 0; i < live->nr_frames; i++) {
		const uint64_t pfn = live->frames[i];

		if (live_frame_mapcount(live, pfn, &count) && count &&
		    !live_frame_exclusive(live, pfn))
			live->frames[kept++] = pfn;
		else
			sim_map_delete(&live->frame_map, pfn + 1);
	}
	live->nr_frames = kept;
}

/* ---- zero pages that KSM placed ---- */

bool live_is_ksm_zero(const struct live *live, uint32_t mm, uint64_t vaddr)
{
	size_t i;

	for (i = 0; i < live->nr_zeros; i++)
		if (live->zeros[i].vaddr == vaddr && live->zeros[i].mm == mm)
			return true;
	return false;
}

static int zero_add(struct live *live, uint32_t mm, uint64_t vaddr)
{
	if (live_is_ksm_zero(live, mm, vaddr))
		return 0;
	if (!sim_grow(live->mem, &live->zeros, &live->zeros_capacity, live->nr_zeros,
		      sizeof(*live->zeros)))
		return live_no_memory(live);
	live->zeros[live->nr_zeros++] = (struct live_zero){ mm, vaddr };
	return 0;
}

int live_items_forked(struct live *live, uint32_t parent_mm, uint32_t child_mm)
{
	const size_t nr = live->nr_zeros;
	size_t i;
	int error = 0;

	for (i = 0; !error && i < nr; i++)
		if (live->zeros[i].mm == parent_mm)
			error = zero_add(live, child_mm, live->zeros[i].vaddr);
	return error;
}

static int zeros_sweep(struct live *live)
{
	const struct live_process *process;
	const struct live_page *page;
	size_t i, kept = 0;
	int error = 0;

	for (i = 0; !error && i < live->nr_zeros; i++) {
		process = process_of(live, live->zeros[i].mm);
		if (!process)
			continue;
		error = live_pages_read(live, (uint32_t)(process - live->processes));
		page = live_page_find(process, live->zeros[i].vaddr);
		if (page && page->zero)
			live->zeros[kept++] = live->zeros[i];
	}
	live->nr_zeros = kept;
	return error;
}

int live_items_after(struct live *live)
{
	live_pages_forget(live);
	frames_sweep(live);
	return zeros_sweep(live);
}

/* ---- candidates ---- */

static bool is_anon(const struct live_page *page)
{
	return page && !page->zero && !page->file && !page->guard;
}

/* Does ksmd visit it? */
static bool is_candidate(const struct live_process *process, const struct live_page *page)
{
	size_t i;

	for (i = 0; is_anon(page) && i < process->nr_ranges; i++)
		if (page->vaddr >= process->ranges[i].start && page->vaddr < process->ranges[i].end)
			return true;
	return false;
}

static int read_ranges(struct live *live)
{
	size_t i;
	int error = 0;

	for (i = 0; !error && i < live->nr_processes; i++)
		if (live->processes[i].alive && !live->processes[i].ranges_known)
			error = live_ranges_read(live, &live->processes[i]);
	return error;
}

/* Where nobody else has anything to visit, a pass begins with this process. */
static bool begins_pass(const struct live *live, const struct live_process *process)
{
	size_t i;

	for (i = 0; i < live->nr_processes; i++)
		if (live->processes[i].alive && live->processes[i].nr_ranges &&
		    &live->processes[i] != process)
			return false;
	return live->pass_begun;
}

/* The page that this step visited, if it is in this process and that can be told. */
static const struct live_page *visited(struct live *live, const struct live_process *process)
{
	uint64_t left = live->cursor_gap + (uint64_t)live->step_skipped;
	size_t i;

	if (begins_pass(live, process)) {
		live->cursor_mm = process->mm;
		live->cursor = 0;
	}
	if (live->cursor_mm != process->mm || live->step_skipped < 0)
		return NULL;
	for (i = 0; i < process->pages.nr; i++) {
		const struct live_page *page = &process->pages.list[i];

		if (page->vaddr <= live->cursor || !is_candidate(process, page))
			continue;
		if (!left--)
			return page;
	}
	return NULL;
}

/* The first page above the cursor that @fits; or the first at all. */
static const struct live_page *
first_page(struct live *live, const struct live_process *process, const struct live_event *event,
	   bool (*fits)(struct live *live, const struct live_process *process,
			const struct live_event *event, const struct live_page *page))
{
	const struct live_page *first = NULL;
	size_t i;

	for (i = 0; i < process->pages.nr; i++) {
		const struct live_page *page = &process->pages.list[i];

		if (!is_candidate(process, page) || !fits(live, process, event, page))
			continue;
		if (live->cursor_mm != process->mm || page->vaddr > live->cursor)
			return page;
		if (!first)
			first = page;
	}
	return first;
}

/* Mapped by a fork, and no item's place yet. */
static bool fits_shared(struct live *live, const struct live_process *process,
			const struct live_event *event, const struct live_page *page)
{
	return page->pfn == event->event.pfn &&
	       !is_taken(live, event->item, process->mm, page->vaddr, page->pfn);
}

/* Some place where the frame is mapped now. */
static bool bytes_of_frame(struct live *live, uint64_t pfn, uint8_t *bytes)
{
	size_t p, i;

	for (p = 0; p < live->nr_processes; p++)
		for (i = 0; live->processes[p].alive && i < live->processes[p].pages.nr; i++)
			if (live->processes[p].pages.list[i].pfn == pfn)
				return live_page_bytes(live, (uint32_t)p,
						       live->processes[p].pages.list[i].vaddr,
						       bytes);
	return false;
}

static bool fits_content(struct live *live, const struct live_process *process,
			 const struct live_event *event, const struct live_page *page)
{
	uint8_t wanted[LIVE_PAGE] = { 0 }, seen[LIVE_PAGE];

	return page->pfn != event->event.pfn &&
	       (event->event.trace == KSMSIM_TRACE_ksm_merge_one_page ||
		bytes_of_frame(live, event->event.pfn, wanted)) &&
	       live_page_bytes(live, (uint32_t)(process - live->processes), page->vaddr, seen) &&
	       !memcmp(wanted, seen, LIVE_PAGE);
}

/* ---- resolving ---- */

/* The address that had the frame before the step. */
static const struct live_page *had_frame(const struct live_process *process, uint64_t pfn)
{
	size_t i;

	for (i = 0; i < process->pages.nr; i++)
		if (process->pages.list[i].pfn == pfn && is_anon(&process->pages.list[i]))
			return &process->pages.list[i];
	return NULL;
}

/* Has this page the frame since the step? */
static bool got_in_step(const struct live *live, const struct live_process *process,
			const struct live_event *event, const struct live_page *page)
{
	const uint64_t pfn = event->event.pfn; /* of the zero page, too */
	const bool zero = event->event.trace == KSMSIM_TRACE_ksm_merge_one_page;
	const struct live_page *before;

	if (page->pfn != pfn || page->zero != zero)
		return false;
	before = live_page_in(&process->pages, page->vaddr);
	return (!before || before->pfn != pfn) &&
	       (live->step_skipped >= 0 ||
		!is_taken(live, event->item, process->mm, page->vaddr, pfn));
}

/* The address that has the frame since the step. A split may have given the zero page to many: then
 * the one that was visited. */
static const struct live_page *got_frame(struct live *live, const struct live_process *process,
					 const struct live_event *event)
{
	const struct live_page *first = NULL, *page;
	size_t i, nr = 0;

	for (i = 0; i < process->after.nr; i++) {
		page = &process->after.list[i];
		if (got_in_step(live, process, event, page) && !nr++)
			first = page;
	}
	if (nr < 2 || read_ranges(live))
		return first;
	page = visited(live, process);
	if (page)
		page = live_page_in(&process->after, page->vaddr);
	return page && got_in_step(live, process, event, page) ? page : first;
}

/* What the item was before, if there is still a page that it may be about. */
static const struct live_page *known_page(struct live *live, const struct live_process *process,
					  const struct live_event *event)
{
	const struct live_item *item = live_item_find(live, event->item);
	const struct live_page *page;

	if (!item || item->mm != process->mm)
		return NULL;
	page = live_page_find(process, item->vaddr);
	return is_anon(page) ? page : NULL;
}

/* A merge that changed nothing; @partner: of the page that has just become a KSM page. */
static const struct live_page *unchanged(struct live *live, const struct live_process *process,
					 const struct live_event *event, bool partner)
{
	const bool merged = !event->event.error;
	const struct live_page *page;

	if (read_ranges(live))
		return NULL;
	page = partner ? NULL : visited(live, process);
	if (page && (!merged || page->pfn == event->event.pfn))
		return page;
	page = known_page(live, process, event);
	if (page && (!merged || page->pfn == event->event.pfn))
		return page;
	return first_page(live, process, event, merged ? fits_shared : fits_content);
}

static const struct live_page *page_of(struct live *live, const struct live_process *process,
				       const struct live_event *event, bool partner)
{
	const struct live_page *page;

	if (event->event.trace == KSMSIM_TRACE_ksm_merge_with_ksm_page &&
	    !event->event.has_ksm_page)
		return had_frame(process, event->event.pfn);
	page = event->event.error ? NULL : got_frame(live, process, event);
	return page ? page : unchanged(live, process, event, partner);
}

static int resolve_merge(struct live *live, struct live_event *event, bool partner)
{
	const struct live_process *process = process_of(live, event->event.mm);
	const struct live_page *page = process ? page_of(live, process, event, partner) : NULL;
	const bool to_zero = event->event.trace == KSMSIM_TRACE_ksm_merge_one_page;
	int error;

	if (!page)
		return 0;
	event->event.vaddr = page->vaddr;
	if (!partner) {
		live->cursor_mm = event->event.mm;
		live->cursor = page->vaddr;
		live->cursor_moved = true;
		live->pass_begun = false;
	}
	error = item_learn(live, event, !to_zero && !event->event.error);
	if (error || event->event.error)
		return error;
	return to_zero ? zero_add(live, event->event.mm, event->event.vaddr)
		       : frame_add(live, event->event.pfn);
}

static int resolve(struct live *live, struct live_event *event, const struct live_event *before)
{
	struct live_item *item;

	switch (event->event.trace) {
	case KSMSIM_TRACE_ksm_start_scan:
		live->cursor_mm = 0;
		live->cursor_gap = 0;
		live->pass_begun = true;
		return 0;
	case KSMSIM_TRACE_ksm_merge_one_page:
		return resolve_merge(live, event, false);
	case KSMSIM_TRACE_ksm_merge_with_ksm_page:
		return resolve_merge(live, event,
				     before && event->event.has_ksm_page &&
					     before->event.pfn == event->event.pfn &&
					     before->event.trace == event->event.trace &&
					     !before->event.has_ksm_page);
	case KSMSIM_TRACE_ksm_remove_rmap_item:
		item = live_item_find(live, event->item);
		if (item && item->mm == event->event.mm) {
			event->event.vaddr = item->vaddr;
			item->pfn = 0;
		}
		return 0;
	default:
		return 0;
	}
}

static bool is_merge(const struct live_event *event)
{
	return event->event.trace == KSMSIM_TRACE_ksm_merge_one_page ||
	       event->event.trace == KSMSIM_TRACE_ksm_merge_with_ksm_page;
}

/* The pages of all processes as they are now, if there was a merge: the split before it may have
 * given the zero page to any of them. */
static int read_after(struct live *live)
{
	bool merges = false;
	size_t i;
	int error = 0;

	for (i = 0; i < live->pending.nr; i++)
		merges |= is_merge(&live->pending.list[i]);
	for (i = 0; merges && !error && i < live->nr_processes; i++) {
		struct live_process *process = &live->processes[i];

		if (!process->alive)
			continue;
		error = live_pages_list(live, process, &process->after);
		process->after.known = true;
	}
	return error;
}

int live_items_resolve(struct live *live)
{
	struct live_event *list = live->pending.list;
	struct live_pages swap;
	size_t i;
	int error = read_after(live);

	for (i = 0; !error && i < live->pending.nr; i++)
		error = resolve(live, &list[i], i ? &list[i - 1] : NULL);
	for (i = 0; i < live->nr_processes; i++) {
		struct live_process *process = &live->processes[i];

		if (!process->after.known)
			continue;
		swap = process->pages;
		process->pages = process->after;
		process->after = swap;
		process->after.known = false;
	}
	return error;
}

int live_items_before(struct live *live)
{
	size_t i;
	int error = 0;

	live->cursor_mm = 0;
	live->pass_begun = false;
	for (i = 0; !error && i < live->nr_processes; i++) {
		live->processes[i].ranges_known = false;
		if (live->processes[i].alive)
			error = live_pages_read(live, (uint32_t)i);
	}
	return error;
}

void live_items_step(struct live *live, int64_t pages)
{
	if (live->step_skipped < 0)
		live->cursor_mm = 0;
	live->cursor_gap += (uint64_t)(live->step_skipped + pages);
	if (live->cursor_moved)
		live->cursor_gap = 0;
	live->cursor_moved = false;
}

void live_items_free(struct live *live)
{
	sim_free(live->mem, live->items);
	sim_free(live->mem, live->zeros);
	sim_free(live->mem, live->frames);
	sim_map_free(live->mem, &live->item_map);
	sim_map_free(live->mem, &live->frame_map);
}
