/*
 * live_pages.c - pages and figures of a process, from /proc.
 *
 * The present pages of a process are read with PAGEMAP_SCAN, which jumps over
 * holes, and pagemap; they stay valid until something is executed. Counts of
 * mappings are from kpagecount.
 *
 * What could surprise: the KSM bit of kpageflags is set for every anonymous page
 * from 6.12 to 7.0. So a page is a KSM page if its frame is known from events to
 * have become one, is still mapped since, and is not a process's own (bit 34,
 * which is the anon-exclusive mark of an anonymous page).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "live_parts.h"

#define PAGEMAP_PFN ((UINT64_C(1) << 55) - 1)
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define KPF_EXCLUSIVE 34
#define REGIONS 256
#define ENTRIES 512

/* <linux/fs.h> of 6.7 */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
		category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
#define SCAN_FILE (UINT64_C(1) << 2)
#define SCAN_PRESENT (UINT64_C(1) << 3)
#define SCAN_ZERO (UINT64_C(1) << 5)

/* ---- present pages ---- */

static int add_region(struct live *live, const struct live_process *process,
		      const struct scan_region *region, struct live_pages *pages)
{
	uint64_t entries[ENTRIES], at = region->start, nr, i;
	ssize_t got;

	while (at < region->end) {
		nr = (region->end - at) / LIVE_PAGE;
		if (nr > ENTRIES)
			nr = ENTRIES;
		got = pread(process->pagemap, entries, nr * 8, (off_t)(at / LIVE_PAGE * 8));
		if (got <= 0)
			return live_fail_errno(live, "pagemap");
		for (i = 0; i < (uint64_t)got / 8; i++, at += LIVE_PAGE) {
			if (!(entries[i] & PAGEMAP_PRESENT))
				continue;
			if (!sim_grow(live->mem, &pages->list, &pages->capacity, pages->nr,
				      sizeof(*pages->list)))
				return live_no_memory(live);
			pages->list[pages->nr++] = (struct live_page){
				.vaddr = at,
				.pfn = entries[i] & PAGEMAP_PFN,
				.zero = (region->categories & SCAN_ZERO) != 0,
				.file = (region->categories & SCAN_FILE) != 0,
			};
		}
	}
	return 0;
}

static int list_part(struct live *live, const struct live_process *process, uint64_t start,
		     uint64_t end, struct live_pages *pages)
{
	struct scan_region regions[REGIONS];
	struct scan_arg arg = { .size = sizeof(arg),
				.start = start,
				.end = end,
				.vec = (uint64_t)(uintptr_t)regions,
				.vec_len = REGIONS,
				.category_mask = SCAN_PRESENT,
				.return_mask = SCAN_PRESENT | SCAN_FILE | SCAN_ZERO };
	int nr, i, error = 0;

	while (!error && arg.start < arg.end) {
		nr = ioctl(process->pagemap, SCAN_IOCTL, &arg);
		if (nr < 0)
			return live_fail_errno(live, "PAGEMAP_SCAN");
		for (i = 0; !error && i < nr; i++)
			error = add_region(live, process, &regions[i], pages);
		arg.start = arg.walk_end;
	}
	return error;
}

int live_pages_list(struct live *live, const struct live_process *process, struct live_pages *pages)
{
	int error;

	pages->nr = 0;
	error = list_part(live, process, 0, LIVE_ARENA, pages);
	return error ? error
		     : list_part(live, process, LIVE_ARENA + LIVE_ARENA_SIZE, LIVE_USER_END, pages);
}

int live_pages_read(struct live *live, uint32_t process)
{
	struct live_process *p = &live->processes[process];
	int error;

	if (p->pages.known)
		return 0;
	error = live_pages_list(live, p, &p->pages);
	p->pages.known = !error;
	return error;
}

void live_pages_forget(struct live *live)
{
	size_t i;

	for (i = 0; i < live->nr_processes; i++)
		live->processes[i].pages.known = false;
}

const struct live_page *live_page_in(const struct live_pages *pages, uint64_t vaddr)
{
	size_t low = 0, high = pages->nr;

	while (low < high) {
		const size_t mid = low + (high - low) / 2;

		if (pages->list[mid].vaddr < vaddr)
			low = mid + 1;
		else
			high = mid;
	}
	return low < pages->nr && pages->list[low].vaddr == vaddr ? &pages->list[low] : NULL;
}

const struct live_page *live_page_find(const struct live_process *process, uint64_t vaddr)
{
	return live_page_in(&process->pages, vaddr);
}

int live_ranges_read(struct live *live, struct live_process *process)
{
	const int fd = openat(process->proc, "smaps", O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	struct live_range range = { 0, 0 };
	unsigned long start, end;
	char line[512], *text;
	int error = 0;

	process->nr_ranges = 0;
	while (!error && file && fgets(line, sizeof(line), file)) {
		start = strtoul(line, &text, 16);
		end = *text == '-' ? strtoul(text + 1, &text, 16) : 0;
		if (end > start && *text == ' ')
			range = (struct live_range){ start, end };
		if (strncmp(line, "VmFlags:", 8) || !strstr(line, " mg"))
			continue;
		if (sim_grow(live->mem, &process->ranges, &process->ranges_capacity,
			     process->nr_ranges, sizeof(range)))
			process->ranges[process->nr_ranges++] = range;
		else
			error = live_no_memory(live);
	}
	process->ranges_known = !error;
	if (file)
		fclose(file);
	return error;
}

/* By the process itself: /proc/PID/mem marks the page accessed, so that a page that was populated
 * goes to the LRU batch of pages to activate, whose reference keeps KSM from merging it. */
bool live_page_bytes(struct live *live, uint32_t process, uint64_t vaddr, uint8_t *bytes)
{
	const struct live_process *p = &live->processes[process];
	int64_t result = 0;

	if (live_order(
		    live, process, LIVE_COPY,
		    LIVE_ARGS(live_slot_address(p) + LIVE_SLOT_BUFFER, vaddr, LIVE_PAGE, 1, 0, 0),
		    &result) ||
	    result)
		return false;
	memcpy(bytes, live_buffer_of(live, p), LIVE_PAGE);
	return true;
}

/* ---- frames ---- */

bool live_frame_mapcount(struct live *live, uint64_t pfn, uint64_t *count)
{
	return pread(live->kpagecount, count, 8, (off_t)(pfn * 8)) == 8;
}

bool live_frame_exclusive(struct live *live, uint64_t pfn)
{
	uint64_t flags = 0;

	return pread(live->kpageflags, &flags, 8, (off_t)(pfn * 8)) == 8 &&
	       (flags >> KPF_EXCLUSIVE & 1) != 0;
}

int live_page_get(struct live *live, uint32_t process, uint64_t vaddr, struct ksmsim_page *out)
{
	const struct live_process *p = &live->processes[process];
	const struct live_page *page = NULL;
	uint64_t count = 0;
	int error = 0;

	memset(out, 0, sizeof(*out));
	if (p->alive)
		error = live_pages_read(live, process);
	if (!error && p->alive)
		page = live_page_find(p, vaddr / LIVE_PAGE * LIVE_PAGE);
	if (!page)
		return error;
	out->pfn = page->pfn;
	if (live_frame_mapcount(live, page->pfn, &count))
		out->mapcount = (uint32_t)count;
	if (page->zero)
		out->state = live_is_ksm_zero(live, p->mm, page->vaddr) ? KSMSIM_PAGE_KSM_ZERO
									: KSMSIM_PAGE_ZERO;
	else if (page->file)
		out->state = KSMSIM_PAGE_FILE;
	else
		out->anon_exclusive = live_frame_exclusive(live, page->pfn);
	if (!page->zero && !page->file)
		out->state = !out->anon_exclusive && live_is_ksm_frame(live, page->pfn)
				     ? KSMSIM_PAGE_KSM
				     : KSMSIM_PAGE_ANON;
	return 0;
}

/* ---- figures ---- */

/* Mappings, but for the arena and the gate page. */
static uint64_t count_mappings(const struct live_process *process)
{
	const int fd = openat(process->proc, "maps", O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char line[512];
	uint64_t start, nr = 0;

	while (file && fgets(line, sizeof(line), file)) {
		start = strtoull(line, NULL, 16);
		nr += start < LIVE_ARENA ||
		      (start >= LIVE_ARENA + LIVE_ARENA_SIZE && start < LIVE_USER_END);
	}
	if (file)
		fclose(file);
	return nr;
}

static uint64_t pages_of(const char *text, const char *key)
{
	int64_t kib = 0;

	live_number_of(text, key, &kib);
	return (uint64_t)kib * 1024 / LIVE_PAGE;
}

int live_process_get(struct live *live, uint32_t process, struct ksmsim_process *out)
{
	const struct live_process *p = &live->processes[process];
	char text[2048];

	memset(out, 0, sizeof(*out));
	out->pid = process;
	out->mm = p->mm;
	out->alive = p->alive;
	if (!p->alive)
		return 0;
	if (!live_read_at(p->proc, "ksm_stat", text, sizeof(text)))
		return live_fail_errno(live, "ksm_stat");
	live_number_of(text, "ksm_rmap_items", &out->ksm_rmap_items);
	live_number_of(text, "ksm_zero_pages", &out->ksm_zero_pages);
	live_number_of(text, "ksm_merging_pages", &out->ksm_merging_pages);
	live_number_of(text, "ksm_process_profit", &out->ksm_process_profit);
	out->merge_any = strstr(text, "ksm_merge_any: yes") != NULL;
	out->mergeable = strstr(text, "ksm_mergeable: yes") != NULL;
	if (live_read_at(p->proc, "smaps_rollup", text, sizeof(text))) {
		out->rss_anon = pages_of(text, "Anonymous:");
		out->swap_pages = pages_of(text, "Swap:");
	}
	out->nr_vmas = count_mappings(p);
	return 0;
}

int live_ksm_pages_get(struct live *live, uint32_t process, uint64_t *value)
{
	const struct live_process *p = &live->processes[process];
	char text[2048];

	*value = 0;
	if (p->alive && live_read_at(p->proc, "smaps_rollup", text, sizeof(text)))
		*value = pages_of(text, "KSM:");
	return 0;
}
