/*
 * capread.c - the pages of a unit: pagemap, kpageflags, kpagecount, bytes, and pagemap again.
 *
 * Threads take unit after unit. Contents are read some pages at a time into a buffer that
 * stays in the cache, and hashed there. The second look at pagemap finds pages that went
 * away or were exchanged meanwhile; nothing else about a running process can be known to
 * have stood still.
 *
 *	pagemap   present, swapped, file, mapped once, pfn
 *	kpageflags (root)   KSM, zero page, folio, lazily freed, locked, in the swap cache
 *	kpagecount (root)   how often mapped
 *
 * Not everybody may read the last two. Then KSM state, folios and frames are unknown, and
 * fingerprints are all the same.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "capread.h"
#include "kpf.h"

#define BUFFER_BYTES (256u << 10)
#define THREADS_MAX 64u

struct worker {
	const struct sim_capread *reader;
	struct sim_capread_unit *unit;
	uint64_t entries[SIM_CAPREAD_PAGES]; /* of the pages of the unit, then of those kept */
	uint64_t numbers[SIM_CAPREAD_PAGES];
	uint64_t block_pfn; /* the block of flags that is held; 0: none */
	uint64_t *block;
	uint8_t *buffer;
};

static uint64_t page_bytes(const struct worker *w)
{
	return w->reader->hash.page_bytes;
}

/* ---- pagemap ---- */

/* Entries of the unit; what is past the end of a process that left is not there. */
static int read_entries(struct worker *w)
{
	const struct sim_capread_unit *u = w->unit;
	const off_t at = (off_t)(u->vaddr >> w->reader->page_shift) * 8;
	const ssize_t got = pread(u->process->pagemap, w->entries, u->nr * sizeof(*w->entries), at);

	if (got < 0)
		return errno;
	memset((char *)w->entries + got, 0, u->nr * sizeof(*w->entries) - (size_t)got);
	return 0;
}

/* Pages from entries; the entry of page i is entries[i] from now on. */
static void take_entries(struct worker *w)
{
	struct sim_capread_unit *u = w->unit;
	uint32_t i;

	u->nr_pages = 0;
	for (i = 0; i < u->nr; i++) {
		const uint64_t entry = w->entries[i];
		struct sim_cap_page *page = &u->pages[u->nr_pages];

		if (!(entry & PAGEMAP_PRESENT) &&
		    (!(entry & PAGEMAP_SWAP) || entry & (PAGEMAP_FILE | PAGEMAP_GUARD)))
			continue;
		*page = (struct sim_cap_page){ .vaddr = u->vaddr + i * page_bytes(w),
					       .nid = SIM_CAP_NO_NODE };
		if (!(entry & PAGEMAP_PRESENT)) {
			page->flags = SIM_CAP_SWAPPED;
		} else {
			page->pfn = entry & PAGEMAP_PFN;
			page->nid = w->reader->only_node;
			page->flags = u->pmd ? SIM_CAP_PMD : 0;
			if (entry & PAGEMAP_ONCE) {
				page->flags |= SIM_CAP_EXCLUSIVE;
				page->mapcount = 1;
			}
		}
		w->entries[u->nr_pages++] = entry;
	}
}

/* ---- kpageflags and kpagecount ---- */

/* How many pages from @i on have pfns in a row and @flags as @page i. */
static uint32_t frames_in_a_row(const struct sim_capread_unit *u, uint32_t i, unsigned flags)
{
	const struct sim_cap_page *first = &u->pages[i];
	uint32_t n = 1;

	while (i + n < u->nr_pages && first->pfn && u->pages[i + n].pfn == first->pfn + n &&
	       (u->pages[i + n].flags & flags) == (first->flags & flags))
		n++;
	return n;
}

/* numbers[i], ...: a word for each of @n frames; false: cannot be read */
static bool read_words(struct worker *w, int fd, uint32_t i, uint32_t n)
{
	const size_t bytes = n * sizeof(*w->numbers);
	const uint64_t pfn = w->unit->pages[i].pfn;

	if (pfn && pread(fd, &w->numbers[i], bytes, (off_t)pfn * 8) == (ssize_t)bytes)
		return true;
	memset(&w->numbers[i], 0, bytes);
	return false;
}

/* Order and flags of the folio of a part of one, from the flags of all frames around it. */
static void look_at_folio(struct worker *w, struct sim_cap_page *page, uint64_t *flags)
{
	const size_t block = w->reader->block, bytes = block * sizeof(*w->block);
	const uint64_t start = page->pfn / block * block;
	size_t head = page->pfn - start, end;
	uint8_t order = 0;

	if (w->block_pfn != start || !start) {
		w->block_pfn = 0;
		if (pread(w->reader->flags_fd, w->block, bytes, (off_t)start * 8) != (ssize_t)bytes)
			return;
		w->block_pfn = start;
	}
	while (head && !(w->block[head] & KPF_HEAD))
		head--;
	for (end = head + 1; end < block && w->block[end] & KPF_TAIL;)
		end++;
	while (((size_t)2 << order) <= end - head)
		order++;
	page->order = order;
	/* Older kernels do not show a folio's flags on its tails. */
	*flags |= w->block[head] & (KPF_ANON | KPF_SWAPBACKED | KPF_SWAPCACHE | KPF_MLOCKED);
}

static bool is_ksm(const struct worker *w, const struct sim_cap_page *page, uint64_t flags)
{
	if (!w->reader->every_anon_is_ksm)
		return flags & KPF_KSM;
	/*
	 * A KSM page is small, nobody's own, and was made dirty when it became one. In a VMA
	 * that has KSM pages this leaves pages of a fork that were dirtied otherwise.
	 */
	return w->unit->maybe_merged && !page->order && flags & KPF_DIRTY &&
	       flags & KPF_SWAPBACKED && !(flags & KPF_EXCLUSIVE);
}

static void apply_flags(struct worker *w, struct sim_cap_page *page, uint64_t flags)
{
	if (flags & (KPF_HEAD | KPF_TAIL))
		look_at_folio(w, page, &flags);
	if (flags & KPF_ZERO) {
		page->flags |= SIM_CAP_ZEROPAGE;
		return;
	}
	if (is_ksm(w, page, flags)) {
		page->flags |= SIM_CAP_KSM;
		w->unit->nr_ksm++;
	}
	if (flags & KPF_SWAPCACHE)
		page->flags |= SIM_CAP_SWAPCACHE;
	if (flags & KPF_MLOCKED)
		page->flags |= SIM_CAP_MLOCKED;
	if (flags & KPF_ANON && !(flags & KPF_SWAPBACKED))
		page->flags |= SIM_CAP_LAZYFREE;
#ifdef __aarch64__
	if (flags & KPF_ARCH_2)
		page->flags |= SIM_CAP_TAGGED;
#endif
}

static void read_flags(struct worker *w)
{
	struct sim_capread_unit *u = w->unit;
	uint32_t i, n, end;

	w->block_pfn = 0;
	for (i = 0; i < u->nr_pages; i = end) {
		n = frames_in_a_row(u, i, SIM_CAP_SWAPPED);
		end = i + n;
		if (read_words(w, w->reader->flags_fd, i, n))
			for (; i < end; i++)
				apply_flags(w, &u->pages[i], w->numbers[i]);
	}
}

static void read_counts(struct worker *w)
{
	struct sim_capread_unit *u = w->unit;
	uint32_t i, n, end;

	for (i = 0; i < u->nr_pages; i = end) {
		n = frames_in_a_row(u, i, SIM_CAP_EXCLUSIVE);
		end = i + n;
		if (!(u->pages[i].flags & SIM_CAP_EXCLUSIVE) &&
		    read_words(w, w->reader->count_fd, i, n))
			for (; i < end; i++)
				u->pages[i].mapcount = (uint32_t)w->numbers[i];
	}
}

/* Where more than one node is: ask. This moves nothing. */
static void read_nodes(struct worker *w)
{
	struct sim_capread_unit *u = w->unit;
	void *addresses[SIM_CAPREAD_PAGES];
	int nodes[SIM_CAPREAD_PAGES];
	uint32_t i;

	for (i = 0; i < u->nr_pages; i++)
		addresses[i] = (void *)(uintptr_t)u->pages[i].vaddr;
	if (syscall(SYS_move_pages, (int)u->process->pid, (unsigned long)u->nr_pages, addresses,
		    NULL, nodes, 0))
		return;
	for (i = 0; i < u->nr_pages; i++)
		if (nodes[i] >= 0 && nodes[i] < (int)SIM_CAP_NO_NODE)
			u->pages[i].nid = (uint8_t)nodes[i];
}

/* ---- contents ---- */

static bool is_readable(const struct sim_cap_page *page)
{
	return !(page->flags & (SIM_CAP_SWAPPED | SIM_CAP_ZEROPAGE));
}

/* Up to a buffer full of pages in a row from page @i on; returns how many are done with. */
static uint32_t read_run(struct worker *w, uint32_t i)
{
	struct sim_capread_unit *u = w->unit;
	const uint64_t page = page_bytes(w);
	uint32_t n = 1, k, got = 0;
	ssize_t bytes;

	while (i + n < u->nr_pages && n < BUFFER_BYTES / page && is_readable(&u->pages[i + n]) &&
	       u->pages[i + n].vaddr == u->pages[i].vaddr + n * page)
		n++;
	bytes = pread(u->process->mem, w->buffer, n * page, (off_t)u->pages[i].vaddr);
	if (bytes > 0)
		got = (uint32_t)((uint64_t)bytes / page);
	for (k = 0; k < got; k++)
		sim_pagehash(&w->reader->hash, w->buffer + k * page, &u->pages[i + k]);
	if (got == n)
		return n;
	u->pages[i + got].flags |= SIM_CAP_UNREAD;
	return got + 1;
}

static void read_contents(struct worker *w)
{
	struct sim_capread_unit *u = w->unit;
	const struct sim_pagehash *hash = &w->reader->hash;
	uint32_t i = 0;

	while (i < u->nr_pages) {
		struct sim_cap_page *page = &u->pages[i];

		if (is_readable(page)) {
			i += read_run(w, i);
			continue;
		}
		if (page->flags & SIM_CAP_ZEROPAGE) {
			page->flags |= SIM_CAP_HASHED | SIM_CAP_ZERO;
			page->print = hash->zero;
			page->checksum = hash->zero_checksum;
		}
		i++;
	}
}

/* ---- a unit ---- */

static bool same_place(uint64_t before, uint64_t after)
{
	/* How often the page is mapped may change under a page that stays. */
	return !((before ^ after) & ~(PAGEMAP_SOFT_DIRTY | PAGEMAP_ONCE));
}

/* What the pages' entries are now: those that went away are dropped. */
static int look_again(struct worker *w)
{
	struct sim_capread_unit *u = w->unit;
	uint32_t i, kept = 0;
	int error;

	memcpy(w->numbers, w->entries, u->nr_pages * sizeof(*w->numbers));
	error = read_entries(w);
	for (i = 0; !error && i < u->nr_pages; i++) {
		const uint64_t at = (u->pages[i].vaddr - u->vaddr) / page_bytes(w);
		const uint64_t after = w->entries[at];

		if (!(after & (PAGEMAP_PRESENT | PAGEMAP_SWAP)) || after & PAGEMAP_GUARD) {
			u->nr_vanished++;
			continue;
		}
		if (!same_place(w->numbers[i], after))
			u->pages[i].flags |= SIM_CAP_MOVED;
		u->nr_unread += !!(u->pages[i].flags & SIM_CAP_UNREAD);
		u->pages[kept++] = u->pages[i];
	}
	u->nr_pages = kept;
	return error;
}

/* Without privilege only PAGEMAP_SCAN knows the zero page; files' pages are nobody's here. */
static void drop_files(struct worker *w)
{
	struct sim_capread_unit *u = w->unit;
	uint32_t i, kept = 0;

	for (i = 0; i < u->nr_pages; i++) {
		struct sim_cap_page *page = &u->pages[i];

		if (u->zero && w->reader->flags_fd < 0)
			page->flags |= SIM_CAP_ZEROPAGE;
		if (w->entries[i] & PAGEMAP_FILE && !(page->flags & SIM_CAP_ZEROPAGE))
			continue;
		w->entries[kept] = w->entries[i];
		u->pages[kept++] = *page;
	}
	u->nr_pages = kept;
}

static void read_unit(struct worker *w, struct sim_capread_unit *unit)
{
	w->unit = unit;
	unit->error = read_entries(w);
	if (unit->error)
		return;
	take_entries(w);
	if (w->reader->flags_fd >= 0)
		read_flags(w);
	drop_files(w);
	if (w->reader->count_fd >= 0)
		read_counts(w);
	if (w->reader->only_node == SIM_CAP_NO_NODE)
		read_nodes(w);
	read_contents(w);
	unit->error = look_again(w);
	if (unit->error)
		unit->nr_pages = 0;
}

/* ---- threads ---- */

struct pool {
	const struct sim_capread *reader;
	struct sim_capread_units *units;
	atomic_size_t next;
	atomic_int error;
};

static void *work(void *self)
{
	struct pool *pool = self;
	struct worker *w = calloc(1, sizeof(*w));
	size_t i;

	if (w) {
		w->reader = pool->reader;
		w->block = malloc(pool->reader->block * sizeof(*w->block));
		w->buffer = malloc(BUFFER_BYTES);
	}
	if (!w || !w->block || !w->buffer)
		atomic_store(&pool->error, ENOMEM);
	else
		while ((i = atomic_fetch_add(&pool->next, 1)) < pool->units->nr)
			read_unit(w, &pool->units->units[i]);
	if (w) {
		free(w->block);
		free(w->buffer);
	}
	free(w);
	return NULL;
}

int sim_capread_run(const struct sim_capread *reader, struct sim_capread_units *units,
		    unsigned threads)
{
	struct pool pool = { .reader = reader, .units = units };
	pthread_t others[THREADS_MAX];
	unsigned nr = 0;

	atomic_init(&pool.next, 0);
	atomic_init(&pool.error, 0);
	/* This thread works, too; a unit or two is not worth another. */
	while (nr + 1 < threads && nr < THREADS_MAX && nr + 2 < units->nr &&
	       !pthread_create(&others[nr], NULL, work, &pool))
		nr++;
	work(&pool);
	while (nr)
		pthread_join(others[--nr], NULL);
	return atomic_load(&pool.error);
}
