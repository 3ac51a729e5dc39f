/*
 * live_pages.c - pages and figures of a process, from /proc.
 *
 * The present pages of a process are read with PAGEMAP_SCAN, which jumps over
 * holes, and pagemap; they stay valid until something is executed. Counts of
 * mappings are from kpagecount. A kernel without PAGEMAP_SCAN (6.1) has its pagemap
 * read from end to end, which is why it cannot have terabytes.
 *
 * What could surprise: the KSM bit of kpageflags is set for every anonymous page
 * from 6.12 to 7.0. So where there are events a page is a KSM page if its frame is known from events to
 * have become one, is still mapped since, and is not a process's own (bit 34,
 * which is the anon-exclusive mark of an anonymous page).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kpf.h"
#include "live_parts.h"

#define BLOCK 512u /* frames of the largest folio */
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
#define SCAN_SWAPPED (UINT64_C(1) << 4)
#define SCAN_ZERO (UINT64_C(1) << 5)
#define SCAN_HUGE (UINT64_C(1) << 6)
#define SCAN_GUARD (UINT64_C(1) << 8)

#define AREAS_MAX (UINT64_C(1) << 34) /* bytes that are looked at without PAGEMAP_SCAN */

/* ---- present pages ---- */

bool live_pages_can_scan(int pagemap, bool *guard_pages)
{
	struct scan_arg arg = { .size = sizeof(arg),
				.category_anyof_mask = SCAN_PRESENT | SCAN_GUARD,
				.return_mask = SCAN_PRESENT | SCAN_GUARD };

	*guard_pages = ioctl(pagemap, SCAN_IOCTL, &arg) >= 0;
	arg.category_anyof_mask = arg.return_mask = SCAN_PRESENT;
	return *guard_pages || ioctl(pagemap, SCAN_IOCTL, &arg) >= 0;
}

/* What PAGEMAP_SCAN says of a page, as far as others say it, too. */
static uint64_t categories_of(const struct live *live, uint64_t entry)
{
	uint64_t flags = 0;

	if (entry & PAGEMAP_PRESENT)
		pread(live->kpageflags, &flags, 8, (off_t)((entry & PAGEMAP_PFN) * 8));
	return (entry & PAGEMAP_FILE ? SCAN_FILE : 0) | (flags & KPF_ZERO ? SCAN_ZERO : 0) |
	       (flags & KPF_ZERO && flags & KPF_THP ? SCAN_HUGE : 0);
}

static int add_region(struct live *live, const struct live_process *process,
		      const struct scan_region *region, struct live_pages *pages)
{
	uint64_t entries[ENTRIES], at = region->start, nr, i, categories;
	ssize_t got;

	while (at < region->end) {
		nr = (region->end - at) / LIVE_PAGE;
		if (nr > ENTRIES)
			nr = ENTRIES;
		got = pread(process->pagemap, entries, nr * 8, (off_t)(at / LIVE_PAGE * 8));
		if (got <= 0)
			return live_fail_errno(live, "pagemap");
		for (i = 0; i < (uint64_t)got / 8; i++, at += LIVE_PAGE) {
			const bool lost = live->lost && entries[i] & PAGEMAP_SWAP &&
					  !(entries[i] & PAGEMAP_GUARD);

			if (!(entries[i] & (PAGEMAP_PRESENT | PAGEMAP_GUARD)) && !lost)
				continue;
			if (!sim_grow(live->mem, &pages->list, &pages->capacity, pages->nr,
				      sizeof(*pages->list)))
				return live_no_memory(live);
			categories = live->sight.scan ? region->categories
						      : categories_of(live, entries[i]);
			pages->list[pages->nr++] = (struct live_page){
				.vaddr = at,
				.pfn = entries[i] & PAGEMAP_PRESENT ? entries[i] & PAGEMAP_PFN : 0,
				.entry = entries[i],
				.guard = !(entries[i] & PAGEMAP_PRESENT),
				.lost = lost,
				.huge = (categories & SCAN_HUGE) != 0,
				.zero = (categories & SCAN_ZERO) != 0,
				.file = (categories & SCAN_FILE) != 0,
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
				.category_anyof_mask = SCAN_PRESENT,
				.return_mask = SCAN_PRESENT | SCAN_FILE | SCAN_ZERO | SCAN_HUGE };
	int nr, i, error = 0;

	if (live->lost)
		arg.category_anyof_mask |= SCAN_SWAPPED;
	if (live->sight.guard_pages) {
		arg.category_anyof_mask |= SCAN_GUARD;
		arg.return_mask |= SCAN_GUARD;
	}
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

/* The line "START-END PERMS OFFSET DEVICE INODE [PATH]" of an area: what follows END; NULL: another line. */
static const char *area_of(const char *line, struct live_range *range)
{
	char *text;
	const unsigned long start = strtoul(line, &text, 16);
	const unsigned long end = *text == '-' ? strtoul(text + 1, &text, 16) : 0;

	if (end <= start || *text != ' ')
		return NULL;
	*range = (struct live_range){ start, end };
	return text;
}

/* Areas of the process, but for the arena and the gate page. */
static bool is_ours(const struct live_range *area)
{
	return area->start < LIVE_ARENA ||
	       (area->start >= LIVE_ARENA + LIVE_ARENA_SIZE && area->start < LIVE_USER_END);
}

/* Without PAGEMAP_SCAN. */
static int list_areas(struct live *live, const struct live_process *process,
		      struct live_pages *pages)
{
	const int fd = openat(process->proc, "maps", O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	uint64_t left = AREAS_MAX;
	struct live_range area;
	char line[512];
	int error = 0;

	while (!error && file && fgets(line, sizeof(line), file)) {
		if (!area_of(line, &area) || !is_ours(&area))
			continue;
		if (area.end - area.start > left)
			error = live_fail(live, SIM_LIVE_ESKIP,
					  "without PAGEMAP_SCAN no more than %u GiB are looked at",
					  (unsigned)(AREAS_MAX >> 30));
		else
			error = add_region(live, process,
					   &(struct scan_region){ area.start, area.end, 0 }, pages);
		left -= area.end - area.start;
	}
	if (file)
		fclose(file);
	return error;
}

int live_pages_list(struct live *live, const struct live_process *process, struct live_pages *pages)
{
	int error;

	pages->nr = 0;
	if (!live->sight.scan)
		return list_areas(live, process, pages);
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
	p->pages.looked = false;
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
	char line[512];
	int error = 0;

	process->nr_ranges = 0;
	while (!error && file && fgets(line, sizeof(line), file)) {
		area_of(line, &range);
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
	       (flags & KPF_EXCLUSIVE) != 0;
}

/* Frames around one that is looked at. */
struct block {
	uint64_t first; /* its frame; not aligned: none is read yet */
	uint64_t flags[BLOCK];
};

/* A folio is a head and the tails behind it, and lies at a multiple of its size. */
static uint8_t order_of(struct live *live, struct block *block, uint64_t pfn)
{
	const uint64_t first = pfn / BLOCK * BLOCK;
	unsigned head = (unsigned)(pfn - first), end;
	uint8_t order = 0;

	if (block->first != first && pread(live->kpageflags, block->flags, sizeof(block->flags),
					   (off_t)(first * 8)) != (ssize_t)sizeof(block->flags))
		return 0;
	block->first = first;
	while (head && block->flags[head] & KPF_TAIL)
		head--;
	for (end = head + 1; end < BLOCK && block->flags[end] & KPF_TAIL; end++)
		;
	while (2u << order <= end - head)
		order++;
	return order;
}

/* Flags and mappings of @nr pages whose frames are in a row. */
static bool read_frames(struct live *live, struct live_page *pages, size_t nr)
{
	uint64_t flags[ENTRIES], counts[ENTRIES];
	const ssize_t bytes = (ssize_t)(nr * 8);
	size_t i;

	if (pread(live->kpageflags, flags, nr * 8, (off_t)(pages->pfn * 8)) != bytes ||
	    pread(live->kpagecount, counts, nr * 8, (off_t)(pages->pfn * 8)) != bytes)
		return false;
	for (i = 0; i < nr; i++) {
		pages[i].flags = flags[i];
		pages[i].mapcount = counts[i];
	}
	return true;
}

int live_pages_look(struct live *live, uint32_t process)
{
	struct live_pages *pages = &live->processes[process].pages;
	struct block block = { .first = 1 };
	const int error = live_pages_read(live, process);
	size_t i, nr;

	for (i = 0; !error && !pages->looked && i < pages->nr; i += nr) {
		struct live_page *page = &pages->list[i];

		for (nr = 1; nr < ENTRIES && i + nr < pages->nr; nr++)
			if (page[nr].pfn != page->pfn + nr || page[nr].zero != page->zero)
				break;
		if (!page->guard && !read_frames(live, page, nr))
			return live_fail_errno(live, "/proc/kpageflags");
	}
	for (i = 0; !error && !pages->looked && i < pages->nr; i++)
		if (pages->list[i].flags & (KPF_HEAD | KPF_TAIL))
			pages->list[i].order = order_of(live, &block, pages->list[i].pfn);
	pages->looked = !error;
	return error;
}

static enum ksmsim_page_state state_of(const struct live *live, const struct live_process *process,
				       const struct live_page *page)
{
	if (page->guard)
		return page->lost ? KSMSIM_PAGE_HWPOISON : KSMSIM_PAGE_GUARD;
	if (page->zero)
		return live_is_ksm_zero(live, process->mm, page->vaddr) ? KSMSIM_PAGE_KSM_ZERO
									: KSMSIM_PAGE_ZERO;
	if (page->file)
		return KSMSIM_PAGE_FILE;
	if (!live->sight.events)
		return page->flags & KPF_KSM ? KSMSIM_PAGE_KSM : KSMSIM_PAGE_ANON;
	return !(page->flags & KPF_EXCLUSIVE) && live_is_ksm_frame(live, page->pfn)
		       ? KSMSIM_PAGE_KSM
		       : KSMSIM_PAGE_ANON;
}

/* What pagemap says of a page that is not there: whether its area is new. */
static uint64_t mark_of_hole(const struct live_process *process, uint64_t vaddr)
{
	uint64_t entry;

	if (pread(process->pagemap, &entry, sizeof(entry), (off_t)(vaddr / LIVE_PAGE * 8)) !=
	    (ssize_t)sizeof(entry))
		return 0;
	return entry & PAGEMAP_SOFT_DIRTY;
}

int live_page_get(struct live *live, uint32_t process, uint64_t vaddr, struct ksmsim_page *out)
{
	const struct live_process *p = &live->processes[process];
	const struct live_page *page = NULL;
	int error = 0;

	memset(out, 0, sizeof(*out));
	if (p->alive)
		error = live_pages_look(live, process);
	if (!error && p->alive)
		page = live_page_find(p, vaddr / LIVE_PAGE * LIVE_PAGE);
	if (page)
		out->pagemap = page->entry;
	else if (!error && p->alive)
		out->pagemap = mark_of_hole(p, vaddr);
	out->soft_dirty = (out->pagemap & PAGEMAP_SOFT_DIRTY) != 0;
	if (!page)
		return error;
	out->state = state_of(live, p, page);
	out->pfn = page->pfn;
	if (page->guard)
		return 0;
	out->mapcount = (uint32_t)page->mapcount;
	out->kpageflags = page->flags;
	out->pmd_mapped = page->huge && !page->file;
	out->huge_zero = page->zero && page->huge;
	if (!page->zero && !page->file) {
		out->anon_exclusive = (page->flags & KPF_EXCLUSIVE) != 0;
		out->order = page->order;
	}
	return 0;
}

/* ---- figures ---- */

/* Mappings, but for the arena and the gate page. */
static uint64_t count_mappings(const struct live_process *process)
{
	const int fd = openat(process->proc, "maps", O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char line[512];
	struct live_range area;
	uint64_t nr = 0;

	while (file && fgets(line, sizeof(line), file))
		nr += area_of(line, &area) && is_ours(&area);
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
	live_number_of(text, "ksm_process_profit", &out->ksm_process_profit);
	live_read_number(p->proc, "ksm_merging_pages", &out->ksm_merging_pages);
	out->merge_any = strstr(text, "ksm_merge_any: yes") != NULL;
	out->mergeable = strstr(text, "ksm_mergeable: yes") != NULL;
	if (live_read_at(p->proc, "smaps_rollup", text, sizeof(text))) {
		out->rss_anon = pages_of(text, "Anonymous:");
		out->swap_pages = pages_of(text, "Swap:");
		out->anon_huge = pages_of(text, "AnonHugePages:") / BLOCK;
	}
	/* to smaps they still are pages */
	if (live->lost)
		out->rss_anon -= live_failure_lost(live, process);
	out->nr_vmas = count_mappings(p);
	return 0;
}

/* The first line of an area; others leave *ours as it is. */
static void take_area(const char *line, bool *ours)
{
	struct live_range range;
	const char *text = area_of(line, &range);

	if (!text)
		return;
	for (int word = 0; word < 3; word++) {
		text += strspn(text, " ");
		text += strcspn(text, " ");
	}
	*ours = !strtoul(text, NULL, 10) && is_ours(&range);
}

/* A line "Pss:  4 kB". */
static void take_smaps_line(const char *line, struct sim_smaps *out)
{
	const struct {
		const char *key;
		uint64_t *value;
		uint64_t kib; /* that are one */
	} fields[] = {
		{ "Private_Clean:", &out->private_clean, LIVE_PAGE / 1024 },
		{ "Private_Dirty:", &out->private_dirty, LIVE_PAGE / 1024 },
		{ "Shared_Clean:", &out->shared_clean, LIVE_PAGE / 1024 },
		{ "Shared_Dirty:", &out->shared_dirty, LIVE_PAGE / 1024 },
		{ "Referenced:", &out->referenced, LIVE_PAGE / 1024 },
		{ "LazyFree:", &out->lazyfree, LIVE_PAGE / 1024 },
		{ "Pss:", &out->pss, 1 },
		{ "Locked:", &out->locked, 1 },
		{ "THPeligible:", &out->thp_eligible, 1 },
	};
	size_t i;

	for (i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		const size_t length = strlen(fields[i].key);

		if (!strncmp(line, fields[i].key, length))
			*fields[i].value += strtoull(line + length, NULL, 10) / fields[i].kib;
	}
}

/* What an area may have depends on files that are as the scenario wrote them only for this. */
int live_smaps_get(struct live *live, uint32_t process, struct sim_smaps *out)
{
	const struct live_process *p = &live->processes[process];
	const int fd = p->alive ? openat(p->proc, "smaps", O_RDONLY | O_CLOEXEC) : -1;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	bool ours = false;
	char line[512];

	live_thp_open(live);
	while (file && fgets(line, sizeof(line), file)) {
		take_area(line, &ours);
		if (ours)
			take_smaps_line(line, out);
	}
	live_thp_close(live);
	if (file)
		fclose(file);
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
