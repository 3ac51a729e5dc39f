/*
 * capread_find.c - which pages of a process are there.
 *
 * PAGEMAP_SCAN walks only page tables that exist, so a hole of terabytes costs nothing.
 * Kernels before 6.7 do not have it; there pagemap is read, 8 bytes for each address.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "capread.h"
#include "kpf.h"
#include "vector.h"

/*
 * No more: the kernel collects regions 512 at a time, and after a second turn that came to the
 * end it still reports as the end of its walk where the first one was full.
 */
#define REGIONS 512
#define ENTRIES 8192

/* linux/fs.h of Debian 12 does not have it yet. */
struct region {
	uint64_t start, end, categories;
};

struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
#define SCAN_FILE (UINT64_C(1) << 2)
#define SCAN_PRESENT (UINT64_C(1) << 3)
#define SCAN_SWAPPED (UINT64_C(1) << 4)
#define SCAN_ZERO (UINT64_C(1) << 5)
#define SCAN_HUGE (UINT64_C(1) << 6)

/* ---- what the kernel can tell ---- */

/* Does kpageflags call a page of ours that nobody merged a KSM page? */
static bool calls_all_ksm(int flags_fd, unsigned page_shift)
{
	const size_t page_bytes = (size_t)1 << page_shift;
	char *page =
		mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0, flags = 0;
	bool is_ksm = false;

	if (page != MAP_FAILED && pagemap >= 0) {
		*(volatile char *)page = 1;
		if (pread(pagemap, &entry, 8, (off_t)((uintptr_t)page >> page_shift) * 8) == 8 &&
		    pread(flags_fd, &flags, 8, (off_t)(entry & PAGEMAP_PFN) * 8) == 8)
			is_ksm = (flags & KPF_KSM) != 0;
	}
	if (page != MAP_FAILED)
		munmap(page, page_bytes);
	if (pagemap >= 0)
		close(pagemap);
	return is_ksm;
}

/* The first line of a file; "" if there is none. */
static void first_line(const char *path, char *text, size_t size)
{
	FILE *in = fopen(path, "r");

	*text = 0;
	if (in && !fgets(text, (int)size, in))
		*text = 0;
	if (in)
		fclose(in);
}

/* The node, if only one has memory: "0" and not "0-1,3" */
static uint8_t only_node(void)
{
	char text[32];
	unsigned long node;

	first_line("/sys/devices/system/node/has_memory", text, sizeof(text));
	node = strtoul(text, NULL, 10); /* 0 on a kernel without NUMA */
	return strpbrk(text, ",-") || node >= SIM_CAP_NO_NODE ? SIM_CAP_NO_NODE : (uint8_t)node;
}

static bool has_scan(void)
{
	struct scan_arg arg = { .size = sizeof(arg) };
	const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool has = false;

	if (pagemap >= 0) {
		has = ioctl(pagemap, SCAN_IOCTL, &arg) >= 0;
		close(pagemap);
	}
	return has;
}

void sim_capread_open(struct sim_capread *r, const struct sim_pagehash *hash)
{
	char pmd_size[32];

	first_line("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", pmd_size,
		   sizeof(pmd_size));
	*r = (struct sim_capread){ .hash = *hash };
	while ((UINT32_C(1) << r->page_shift) < hash->page_bytes)
		r->page_shift++;
	r->flags_fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	r->count_fd = open("/proc/kpagecount", O_RDONLY | O_CLOEXEC);
	r->block = (unsigned)(strtoul(pmd_size, NULL, 10) >> r->page_shift);
	if (r->block < 512 || r->block > 65536)
		r->block = 512;
	r->every_anon_is_ksm = r->flags_fd >= 0 && calls_all_ksm(r->flags_fd, r->page_shift);
	r->has_scan = has_scan();
	r->only_node = only_node();
}

void sim_capread_close(struct sim_capread *r)
{
	if (r->flags_fd >= 0)
		close(r->flags_fd);
	if (r->count_fd >= 0)
		close(r->count_fd);
}

/* ---- units ---- */

/* A range becomes units that do not cross multiples of their size. */
static int add_range(const struct sim_capread *r, const struct sim_capread_unit *like,
		     uint64_t start, uint64_t end, uint64_t categories,
		     struct sim_capread_units *units)
{
	const uint64_t step = (uint64_t)SIM_CAPREAD_PAGES << r->page_shift;
	struct sim_capread_unit *unit;
	uint64_t next;

	for (; start < end; start = next) {
		next = (start / step + 1) * step;
		if (next > end)
			next = end;
		unit = sim_vector_add(&units->units, &units->nr, sizeof(*unit));
		if (!unit)
			return ENOMEM;
		*unit = *like;
		unit->vaddr = start;
		unit->nr = (uint32_t)((next - start) >> r->page_shift);
		unit->zero = categories & SCAN_ZERO;
		unit->pmd = categories & SCAN_HUGE;
		units->pages += unit->nr;
	}
	return 0;
}

static int scan(const struct sim_capread *r, const struct sim_capread_unit *like, uint64_t *at,
		uint64_t end, uint64_t enough, struct sim_capread_units *units)
{
	struct region regions[REGIONS];
	struct scan_arg arg = {
		.size = sizeof(arg),
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = REGIONS,
		.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
		.return_mask = SCAN_PRESENT | SCAN_SWAPPED | SCAN_FILE | SCAN_ZERO | SCAN_HUGE,
	};
	int nr, i, error = 0;

	while (!error && *at < end && units->pages < enough) {
		arg.start = *at;
		/* A page is the least that a region can hold: this bounds what is found. */
		arg.max_pages = enough - units->pages;
		nr = ioctl(like->process->pagemap, SCAN_IOCTL, &arg);
		if (nr < 0)
			/* So it answers for a process that has ended. */
			return errno == EINVAL ? ESRCH : errno;
		for (i = 0; !error && i < nr; i++) {
			/* The huge zero folio counts as a file on some kernels. */
			if (regions[i].categories & SCAN_FILE &&
			    !(regions[i].categories & SCAN_ZERO))
				continue;
			error = add_range(r, like, regions[i].start, regions[i].end,
					  regions[i].categories, units);
		}
		if (arg.walk_end <= *at)
			return EPROTO;
		*at = arg.walk_end;
	}
	return error;
}

static bool is_page(uint64_t entry)
{
	return entry & (PAGEMAP_PRESENT | PAGEMAP_SWAP) && !(entry & PAGEMAP_FILE);
}

static int read_all(const struct sim_capread *r, const struct sim_capread_unit *like, uint64_t *at,
		    uint64_t end, uint64_t enough, struct sim_capread_units *units)
{
	uint64_t *entries = malloc(ENTRIES * sizeof(*entries));
	const uint64_t page = UINT64_C(1) << r->page_shift;
	ssize_t got;
	int error = entries ? 0 : ENOMEM;

	while (!error && *at < end && units->pages < enough) {
		uint64_t nr = (end - *at) >> r->page_shift, i, from;

		if (nr > ENTRIES)
			nr = ENTRIES;
		got = pread(like->process->pagemap, entries, nr * 8,
			    (off_t)(*at >> r->page_shift) * 8);
		if (got <= 0) {
			error = got < 0 ? errno : ESRCH;
			break;
		}
		nr = (uint64_t)got / 8;
		for (i = 0; !error && i < nr; i++) {
			for (from = i; i < nr && is_page(entries[i]); i++)
				;
			error = add_range(r, like, *at + from * page, *at + i * page, 0, units);
		}
		*at += nr * page;
	}
	free(entries);
	return error;
}

int sim_capread_find(struct sim_capread *r, const struct sim_capread_unit *like, uint64_t *at,
		     uint64_t end, uint64_t enough, struct sim_capread_units *units)
{
	if (r->has_scan)
		return scan(r, like, at, end, enough, units);
	return read_all(r, like, at, end, enough, units);
}
