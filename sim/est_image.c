/*
 * est_image.c - captures as an image that can be played.
 *
 * Columns over all pages, ten bytes a page: of one process after the other, by address. The
 * first round that a process was seen in gives its pages; later rounds give changes. Areas
 * are those of all rounds together. What a frame was shared with is in est_fork.c.
 *
 * What could surprise:
 *  - pages in swap and mappings of the zero page are counted, and then are not there;
 *  - a huge page is one whose 512 pages are all there, in one block: what is left of a huge
 *    page in parts, or is of a smaller folio, is taken as single pages.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "est_parts.h"
#include "vector.h"

#define PAGES_MAX ((size_t)1 << 31)
#define CHANGES_MAX ((size_t)1 << 30)
#define PMD_ORDER 9u

int est_fail(struct est_image *image, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(image->why, sizeof(image->why), format, args);
	va_end(args);
	return error;
}

int est_no_memory(struct est_image *image)
{
	return est_fail(image, KSMSIM_ENOMEM, "no memory");
}

/* ---- columns ---- */

static bool grow(void *column, size_t capacity, size_t bytes)
{
	void **array = column;
	void *grown = realloc(*array, capacity * bytes);

	if (grown)
		*array = grown;
	return grown != NULL;
}

static int reserve_page(struct est_image *image)
{
	const size_t capacity = image->capacity + image->capacity / 2 + 4096;

	if (image->nr_pages < image->capacity)
		return 0;
	if (capacity > PAGES_MAX)
		return est_fail(image, SIM_EINPUT, "more than %zu pages", PAGES_MAX);
	if (!grow(&image->page, capacity, sizeof(*image->page)) ||
	    !grow(&image->content, capacity, sizeof(*image->content)) ||
	    !grow(&image->attr, capacity, sizeof(*image->attr)) ||
	    !grow(&image->nid, capacity, sizeof(*image->nid)))
		return est_no_memory(image);
	image->capacity = capacity;
	return 0;
}

/* ---- pages ---- */

/* The number of what the page holds; 0 also for zeros, so errors go another way. */
static int content_of(struct est_image *image, const struct sim_cap_page *page, uint32_t *content)
{
	const bool unique = !(page->flags & SIM_CAP_HASHED) || page->flags & SIM_CAP_TAGGED;

	*content = EST_ZERO;
	if (page->flags & SIM_CAP_ZERO && !unique)
		return 0;
	*content = unique ? est_prints_unique(image->prints)
			  : est_prints_number(image->prints, page->print);
	return *content ? 0 : est_no_memory(image);
}

/* Is there nothing that KSM could look at? */
static bool is_absent(const struct sim_cap_page *page)
{
	return page->flags & (SIM_CAP_SWAPPED | SIM_CAP_ZEROPAGE | SIM_CAP_GONE);
}

static void count_page(struct est_image *image, const struct est_area *area,
		       const struct sim_cap_page *page)
{
	struct est_counts *counts = &image->counts;

	counts->pages++;
	counts->zero += page->flags & SIM_CAP_ZERO ? 1 : 0;
	counts->able += area->able;
	counts->mergeable += area->able && area->flags & SIM_CAP_VMA_MERGEABLE;
	counts->merged += page->flags & SIM_CAP_KSM ? 1 : 0;
	counts->unread += page->flags & SIM_CAP_HASHED ? 0 : 1;
	counts->tagged += page->flags & SIM_CAP_TAGGED ? 1 : 0;
	counts->large += page->order > 0;
}

static int add_page(struct est_image *image, struct est_area *area, const struct sim_cap_page *page)
{
	const size_t i = image->nr_pages;

	if (reserve_page(image) || content_of(image, page, &image->content[i]))
		return KSMSIM_ENOMEM;
	image->page[i] = (uint32_t)((page->vaddr - area->start) / EST_PAGE);
	image->attr[i] = page->order >= PMD_ORDER ? EST_HUGE : 0;
	image->nid[i] = page->nid < EST_NODES_MAX ? page->nid : 0;
	if (image->nid[i] >= image->nr_nodes)
		image->nr_nodes = image->nid[i] + 1u;
	area->nr++;
	image->nr_pages++;
	count_page(image, area, page);
	return est_fork_page(image, area->process, i, page);
}

static int read_page(struct est_image *image, struct est_area **at, const struct est_area *end,
		     const struct sim_cap_page *page)
{
	if (is_absent(page)) {
		image->counts.swapped += page->flags & SIM_CAP_SWAPPED ? 1 : 0;
		image->counts.zero_page += page->flags & SIM_CAP_ZEROPAGE ? 1 : 0;
		return 0;
	}
	while (*at < end && (*at)->end <= page->vaddr) {
		++*at;
		if (*at < end)
			(*at)->first = image->nr_pages;
	}
	if (*at == end || page->vaddr < (*at)->start) {
		image->counts.outside++;
		return 0;
	}
	return add_page(image, *at, page);
}

static int read_pages(struct est_image *image, struct sim_capfile *file, uint32_t process,
		      uint32_t round, struct est_process *p)
{
	struct est_area *at = image->areas + p->first_area;
	const struct est_area *end = at + p->nr_areas;
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page;
	int error = sim_cap_cursor_open(file, process, round, SIM_CAP_PAGES, &cursor);

	if (at < end)
		at->first = image->nr_pages;
	while (!error && (error = sim_cap_cursor_next(cursor, &page)) == 1)
		error = read_page(image, &at, end, &page);
	sim_cap_cursor_close(cursor);
	if (error && !*image->why)
		est_fail(image, error, "%s", sim_capfile_error(file));
	return error;
}

/* ---- huge pages ---- */

/* Do 512 pages from the i-th one on fill a block? */
static bool is_block(const struct est_image *image, const struct est_area *area, size_t i)
{
	const uint64_t vaddr = area->start + (uint64_t)image->page[i] * EST_PAGE;
	size_t k;

	if (vaddr % (EST_BLOCK_PAGES * EST_PAGE) || i + EST_BLOCK_PAGES > area->first + area->nr)
		return false;
	for (k = 0; k < EST_BLOCK_PAGES; k++)
		if (!(image->attr[i + k] & EST_HUGE) || image->page[i + k] != image->page[i] + k)
			return false;
	return true;
}

static void find_blocks(struct est_image *image, const struct est_area *area)
{
	size_t i = area->first;

	while (i < area->first + area->nr) {
		if (image->attr[i] & EST_HUGE && is_block(image, area, i)) {
			i += EST_BLOCK_PAGES;
			image->nr_blocks++;
			image->counts.huge += EST_BLOCK_PAGES;
			image->counts.large -= EST_BLOCK_PAGES;
		} else {
			image->attr[i++] &= (uint8_t)~EST_HUGE;
		}
	}
}

/* ---- changes ---- */

struct est_area *est_find_area(const struct est_image *image, const struct est_process *p,
			       uint64_t vaddr)
{
	size_t low = p->first_area, high = low + p->nr_areas;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (image->areas[middle].end <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == p->first_area + p->nr_areas || image->areas[low].start > vaddr)
		return NULL;
	return &image->areas[low];
}

size_t est_find_page(const struct est_image *image, const struct est_area *area, uint32_t page)
{
	size_t low = area->first, high = low + area->nr;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (image->page[middle] < page)
			low = middle + 1;
		else
			high = middle;
	}
	return low < area->first + area->nr && image->page[low] == page ? low : SIZE_MAX;
}

static int add_change(struct est_image *image, struct est_round *round,
		      const struct est_change *change)
{
	if (round->nr == round->capacity) {
		const size_t capacity = round->capacity * 2 + 1024;

		if (capacity > CHANGES_MAX || !grow(&round->changes, capacity, sizeof(*change)))
			return est_no_memory(image);
		round->capacity = capacity;
	}
	round->changes[round->nr++] = *change;
	return 0;
}

/*
 * A page of SIM_CAP_CHANGES. @now has what each page of the image holds in the round before;
 * what came later than the image is not in there, and counts as rewritten whenever it is told.
 */
static int read_change(struct est_image *image, struct est_round *round, uint32_t process,
		       uint32_t *now, const struct sim_cap_page *page)
{
	const struct est_process *p = &image->processes[process];
	struct est_area *area = est_find_area(image, p, page->vaddr);
	struct est_change change = { .process = process, .content = EST_GONE };
	size_t i;

	if (!area)
		return 0;
	change.area = (uint32_t)(area - image->areas);
	change.page = (uint32_t)((page->vaddr - area->start) / EST_PAGE);
	if (!is_absent(page) && content_of(image, page, &change.content))
		return KSMSIM_ENOMEM;
	i = est_find_page(image, area, change.page);
	if (i != SIZE_MAX && now[i - p->first_page] == change.content)
		return 0;
	if (i != SIZE_MAX) {
		change.rewrite = now[i - p->first_page] != EST_GONE && change.content != EST_GONE;
		now[i - p->first_page] = change.content;
		if (change.rewrite && !(image->attr[i] & EST_VOLATILE)) {
			image->attr[i] |= EST_VOLATILE;
			image->counts.changed++;
		}
	}
	return add_change(image, round, &change);
}

static int read_round(struct est_image *image, struct sim_capfile *file, uint32_t process,
		      uint32_t number, uint32_t in_image, uint32_t *now)
{
	struct est_round *round = &image->rounds[number];
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page;
	int error = sim_cap_cursor_open(file, process, number, SIM_CAP_CHANGES, &cursor);

	while (!error && (error = sim_cap_cursor_next(cursor, &page)) == 1)
		error = read_change(image, round, in_image, now, &page);
	sim_cap_cursor_close(cursor);
	if (error && !*image->why)
		est_fail(image, error, "%s", sim_capfile_error(file));
	return error;
}

static int read_rounds(struct est_image *image, struct sim_capfile *file, uint32_t process,
		       uint32_t first, uint32_t in_image)
{
	const struct est_process *p = &image->processes[in_image];
	const uint32_t rounds = sim_capfile_nr_rounds(file);
	uint32_t *now, round;
	int error = 0;

	if (first + 1 >= rounds)
		return 0;
	now = malloc((p->nr_pages + 1) * sizeof(*now));
	if (!now)
		return est_no_memory(image);
	memcpy(now, image->content + p->first_page, p->nr_pages * sizeof(*now));
	for (round = first + 1; !error && round < rounds; round++)
		if (sim_capfile_figures(file, process, round))
			error = read_round(image, file, process, round, in_image, now);
	free(now);
	return error;
}

/* ---- processes ---- */

static uint32_t first_round(const struct sim_capfile *file, uint32_t process)
{
	uint32_t round = 0;

	while (round < sim_capfile_nr_rounds(file) && !sim_capfile_figures(file, process, round))
		round++;
	return round;
}

static int add_process(struct est_image *image, struct sim_capfile *file, uint32_t process)
{
	const struct sim_cap_process *captured = sim_capfile_process(file, process);
	const uint32_t round = first_round(file, process), in_image = (uint32_t)image->nr_processes;
	struct est_process *p;
	size_t i;
	int error;

	if (round == sim_capfile_nr_rounds(file))
		return 0;
	p = sim_vector_add(&image->processes, &image->nr_processes, sizeof(*p));
	if (!p)
		return est_no_memory(image);
	p->pid = captured->pid;
	p->forked_from = EST_NONE;
	p->first_page = image->nr_pages;
	snprintf(p->name, sizeof(p->name), "%s", captured->name);
	error = est_areas_add(image, file, process, round, in_image);
	if (!error)
		error = read_pages(image, file, process, round, p);
	if (error)
		return error;
	p->nr_pages = image->nr_pages - p->first_page;
	for (i = p->first_area; i < p->first_area + p->nr_areas; i++)
		find_blocks(image, &image->areas[i]);
	return read_rounds(image, file, process, round, in_image);
}

/* Rounds of the file become rounds of the image. */
static int add_rounds(struct est_image *image, const struct sim_capfile *file)
{
	const uint32_t rounds = sim_capfile_nr_rounds(file);
	struct est_round *round;
	uint32_t i;

	while (image->nr_rounds < rounds)
		if (!sim_vector_add(&image->rounds, &image->nr_rounds, sizeof(*image->rounds)))
			return est_no_memory(image);
	for (i = 1; i < rounds; i++) {
		round = &image->rounds[i];
		if (!round->after_ns)
			round->after_ns = sim_capfile_round(file, i)->since_ns -
					  sim_capfile_round(file, i - 1)->since_ns;
	}
	return 0;
}

int est_image_add(struct est_image *image, struct sim_capfile *file)
{
	uint32_t i;
	int error;

	if (sim_capfile_page_bytes(file) != EST_PAGE)
		return est_fail(image, SIM_EINPUT, "pages of %" PRIu32 " bytes are not modelled",
				sim_capfile_page_bytes(file));
	if (!image->prints)
		image->prints = est_prints_new();
	if (!image->prints)
		return est_no_memory(image);
	error = est_host_add(image, file);
	if (!error)
		error = add_rounds(image, file);
	for (i = 0; !error && i < sim_capfile_nr_processes(file); i++)
		error = add_process(image, file, i);
	return error ? error : est_fork_resolve(image);
}

/* ---- the end ---- */

static int count_copies(struct est_image *image)
{
	uint32_t *copies = calloc((size_t)image->nr_contents + 1, sizeof(*copies));
	size_t i;

	if (!copies)
		return est_no_memory(image);
	for (i = 0; i < image->nr_pages; i++) {
		const uint32_t content = image->content[i];

		if (content != EST_ZERO && ++copies[content] > image->max_copies)
			image->max_copies = copies[content];
	}
	free(copies);
	return 0;
}

/* With rounds: the contents of pages that were never rewritten */
static int mark_steady(struct est_image *image)
{
	size_t i;

	if (image->nr_rounds < 2)
		return 0;
	image->steady = calloc(image->nr_contents / 8 + 1u, 1);
	if (!image->steady)
		return est_no_memory(image);
	for (i = 0; i < image->nr_pages; i++)
		if (!(image->attr[i] & EST_VOLATILE))
			image->steady[image->content[i] / 8] |=
				(uint8_t)(1u << image->content[i] % 8);
	return 0;
}

int est_image_end(struct est_image *image)
{
	if (!image->nr_pages)
		return est_fail(image, SIM_EINPUT, "there is no resident anonymous page in it");
	if (!image->nr_nodes)
		image->nr_nodes = 1;
	image->nr_contents = est_prints_nr(image->prints);
	est_prints_free(image->prints);
	image->prints = NULL;
	est_place(image);
	return mark_steady(image) ? KSMSIM_ENOMEM : count_copies(image);
}

void est_image_free(struct est_image *image)
{
	size_t i;

	for (i = 0; i < image->nr_rounds; i++)
		free(image->rounds[i].changes);
	est_host_free(image);
	est_fork_free(image);
	est_prints_free(image->prints);
	free(image->rounds);
	free(image->processes);
	free(image->areas);
	free(image->groups);
	free(image->page);
	free(image->content);
	free(image->attr);
	free(image->nid);
	free(image->steady);
	free(image->loans);
}
