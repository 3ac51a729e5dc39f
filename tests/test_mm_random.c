/*
 * test_mm_random.c - many processes, all operations at random, against a plain list of pages.
 *
 * The reference knows for each process and page only what its user knows: is it
 * mapped, may it be written, which value does a reader see, which advice was
 * given. How the pages are shared, copied, merged, swapped or moved must never
 * show. After each operation every invariant of the floors is tested.
 */
#include <string.h>

#include "mmworld.h"

#define PAGES 40u  /* of the arena, */
#define ARENA 492u /* which lies across the end of a page table */
#define PROCESSES 6u
#define OBJECTS 400u
#define FILE_VALUE UINT64_C(1000)

struct page {
	bool mapped, locked, dontfork, wipe;
	bool lazy; /* MADV_FREE: may read as zero */
	unsigned prot;
	unsigned object; /* 0: private; else shared memory */
	unsigned object_page;
	bool file; /* private file: a dropped page reads FILE_VALUE */
	uint64_t value;
};

struct process {
	struct ks_mm *mm;
	struct page page[PAGES];
};

/* What must be as it was while the entry is still watched. */
struct watched {
	struct ks_pte pte;
	ks_cid cid;
};

struct random_world {
	struct mmworld *w;
	uint64_t seed;
	struct process process[PROCESSES];
	struct watched watched[PROCESSES][PAGES];
	uint64_t object[OBJECTS][PAGES];
	unsigned nr_objects;
	uint32_t file;
	uint64_t next_value;
};

static uint32_t below(struct random_world *r, uint32_t limit)
{
	return test_random_below(&r->seed, limit);
}

static uint64_t vpn_of(unsigned page)
{
	return MMWORLD_BASE + ARENA + page;
}

/* ---- the reference ---- */

static uint64_t dropped_value(const struct page *page)
{
	return page->file ? FILE_VALUE : 0;
}

static uint64_t *value_at(struct random_world *r, struct page *page)
{
	return page->object ? &r->object[page->object][page->object_page] : &page->value;
}

static bool is_anon(const struct page *page)
{
	return !page->object && !page->file;
}

/* Does a reader of every readable page see what was written last? */
static void compare(struct random_world *r, struct process *p, unsigned i)
{
	struct page *page = &p->page[i];
	const struct ks_vma *vma = ks_vma_at(p->mm, vpn_of(i));
	ks_cid cid, want;

	assert_int_equal(vma != NULL, page->mapped);
	if (!page->mapped)
		return;
	assert_int_equal((vma->flags & KS_VM_LOCKED) != 0, page->locked);
	assert_int_equal((vma->flags & KS_VM_DONTCOPY) != 0, page->dontfork);
	assert_int_equal((vma->flags & KS_VM_WIPEONFORK) != 0, page->wipe);
	assert_int_equal(vma->flags & (KS_VM_READ | KS_VM_WRITE), page->prot);
	if (!page->prot)
		return;
	cid = ks_access_load(&r->w->sys, p->mm, vpn_of(i));
	want = ks_content_fill(&r->w->env, &r->w->sys.contents, *value_at(r, page));
	if (page->lazy && cid == KS_CID_ZERO)
		page->value = 0;
	else
		assert_int_equal(cid, want);
	ks_content_put(&r->w->env, &r->w->sys.contents, want);
}

/* A range of pages, mostly short. */
struct range {
	unsigned first, end;
};

static struct range some_range(struct random_world *r)
{
	struct range range = { .first = below(r, PAGES) };

	range.end = range.first + 1 + below(r, below(r, 4) ? 6 : PAGES);
	if (range.end > PAGES)
		range.end = PAGES;
	return range;
}

/* ---- operations ---- */

static void do_map(struct random_world *r, struct process *p, struct range range)
{
	const unsigned kind = below(r, 8);
	const bool shared = kind == 0 && r->nr_objects + 1 < OBJECTS, file = kind == 1;
	const struct ks_mmap req = { .vpn = vpn_of(range.first),
				     .pages = range.end - range.first,
				     .prot = MMWORLD_RW,
				     .flags = KSMSIM_MAP_FIXED | (shared ? KSMSIM_MAP_SHARED : 0) |
					      (below(r, 8) ? 0 : KSMSIM_MAP_POPULATE),
				     .file = file ? r->file : 0,
				     .pgoff = range.first };

	if (shared)
		r->nr_objects++;
	assert_int_equal(ks_mmap(&r->w->sys, p->mm, &req), req.vpn);
	for (unsigned i = range.first; i < range.end; i++) {
		p->page[i] = (struct page){ .mapped = true,
					    .prot = MMWORLD_RW,
					    .file = file,
					    .object = shared ? r->nr_objects : 0,
					    .object_page = i - range.first };
		p->page[i].value = dropped_value(&p->page[i]);
	}
}

static void do_unmap(struct random_world *r, struct process *p, struct range range)
{
	assert_int_equal(ks_munmap(&r->w->sys, p->mm, vpn_of(range.first), range.end - range.first),
			 0);
	for (unsigned i = range.first; i < range.end; i++)
		p->page[i].mapped = false;
}

static void do_protect(struct random_world *r, struct process *p, struct range range)
{
	static const unsigned prots[] = { KSMSIM_PROT_NONE, MMWORLD_R, MMWORLD_RW, MMWORLD_RW };
	const unsigned prot = prots[below(r, 4)];
	const long ret =
		ks_mprotect(&r->w->sys, p->mm, vpn_of(range.first), range.end - range.first, prot);
	unsigned i = range.first;

	for (; i < range.end && p->page[i].mapped; i++)
		p->page[i].prot = prot;
	assert_int_equal(ret != 0, i < range.end);
}

static void do_remap(struct random_world *r, struct process *p, struct range range)
{
	const bool keep = !below(r, 3);
	const unsigned to = below(r, PAGES), nr = range.end - range.first;
	const unsigned more = keep || p->page[range.first].object ? 0 : below(r, 3);
	const struct ks_vma *vma = ks_vma_at(p->mm, vpn_of(range.first));
	struct page old[PAGES];

	if (!vma || vma->end < vpn_of(range.end) || to + nr + more > PAGES ||
	    (to < range.end && range.first < to + nr + more))
		return;
	if (keep && vma->flags & KS_VM_LOCKED)
		return;
	assert_int_equal(ks_mremap(&r->w->sys, p->mm, vpn_of(range.first), nr, nr + more,
				   KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED |
					   (keep ? KSMSIM_MREMAP_DONTUNMAP : 0),
				   vpn_of(to)),
			 vpn_of(to));
	memcpy(old, p->page, sizeof(old));
	for (unsigned i = 0; i < nr + more; i++) {
		struct page *page = &p->page[to + i];

		*page = old[range.first + (i < nr ? i : 0)];
		if (i < nr)
			continue;
		page->lazy = false;
		page->value = dropped_value(page);
	}
	for (unsigned i = range.first; i < range.end; i++) {
		p->page[i].mapped = keep;
		p->page[i].value = dropped_value(&p->page[i]);
		p->page[i].lazy = false;
	}
}

/* What the advice does to one page; false: it refuses, and stops there. */
static bool advise_page(struct page *page, enum ksmsim_advice advice)
{
	switch (advice) {
	case KSMSIM_MADV_DONTNEED:
		if (page->locked)
			return false;
		page->value = dropped_value(page);
		page->lazy = false;
		return true;
	case KSMSIM_MADV_FREE:
		if (page->locked || !is_anon(page))
			return false;
		page->lazy = true;
		return true;
	case KSMSIM_MADV_COLD:
	case KSMSIM_MADV_PAGEOUT:
		return !page->locked;
	case KSMSIM_MADV_DONTFORK:
	case KSMSIM_MADV_DOFORK:
		page->dontfork = advice == KSMSIM_MADV_DONTFORK;
		return true;
	case KSMSIM_MADV_WIPEONFORK:
		if (!is_anon(page))
			return false;
		page->wipe = true;
		return true;
	case KSMSIM_MADV_KEEPONFORK:
		page->wipe = false;
		return true;
	default:
		return true;
	}
}

static void do_advise(struct random_world *r, struct process *p, struct range range)
{
	/* all that change no more than what one can see: guards and collapses have tests of their own */
	const unsigned nr = below(r, KSMSIM_MADV_COLLAPSE + 2);
	const enum ksmsim_advice advice = nr < KSMSIM_MADV_COLLAPSE    ? nr
					  : nr == KSMSIM_MADV_COLLAPSE ? KSMSIM_MADV_COLD
								       : KSMSIM_MADV_PAGEOUT;
	const long ret =
		ks_madvise(&r->w->sys, p->mm, vpn_of(range.first), range.end - range.first, advice);
	bool refused = false, hole = false;

	if (advice == KSMSIM_MADV_POPULATE_READ || advice == KSMSIM_MADV_POPULATE_WRITE)
		return;
	for (unsigned i = range.first; i < range.end && !refused; i++) {
		hole |= !p->page[i].mapped;
		if (p->page[i].mapped)
			refused = !advise_page(&p->page[i], advice);
	}
	assert_int_equal(ret != 0, refused || hole);
}

static void do_lock(struct random_world *r, struct process *p, struct range range)
{
	const bool lock = below(r, 3) == 0;

	(void)ks_mlock(&r->w->sys, p->mm, vpn_of(range.first), range.end - range.first, lock);
	for (unsigned i = range.first; i < range.end && p->page[i].mapped; i++)
		p->page[i].locked = lock;
}

static void do_store(struct random_world *r, struct process *p, struct range range)
{
	struct mmworld *w = r->w;

	for (unsigned i = range.first; i < range.end; i++) {
		struct page *page = &p->page[i];
		const uint64_t value = below(r, 3) ? below(r, 4) : ++r->next_value;
		const ks_cid cid = ks_content_fill(&w->env, &w->sys.contents, value);

		if (!page->mapped || page->prot != MMWORLD_RW) {
			assert_int_equal(ks_access_store(&w->sys, p->mm, vpn_of(i), cid),
					 KS_FAULT_SIGSEGV);
			ks_content_put(&w->env, &w->sys.contents, cid);
			continue;
		}
		assert_int_equal(ks_access_store(&w->sys, p->mm, vpn_of(i), cid), KS_FAULT_DONE);
		*value_at(r, page) = value;
		page->lazy = false;
	}
}

static void do_fork(struct random_world *r, struct process *p)
{
	struct process *child = &r->process[below(r, PROCESSES)];

	if (child->mm)
		return;
	child->mm = mmworld_fork(r->w, p->mm);
	for (unsigned i = 0; i < PAGES; i++) {
		struct page *page = &child->page[i];

		*page = p->page[i];
		page->locked = false;
		if (page->dontfork)
			page->mapped = false;
		if (page->wipe) {
			page->value = 0;
			page->lazy = false;
		}
	}
}

static void do_exit(struct random_world *r, struct process *p)
{
	ks_mm_exit(&r->w->sys, p->mm);
	ks_mm_free(&r->w->sys, p->mm);
	*p = (struct process){ .mm = NULL };
}

static void do_exec(struct random_world *r, struct process *p)
{
	struct ks_mm *old = p->mm;
	struct ks_mm *mm = ks_mm_exec(&r->w->sys, old);

	ks_mm_free(&r->w->sys, old);
	*p = (struct process){ .mm = mm };
}

/* What KSM would do, without looking for a twin: any page that nobody else holds. */
static void do_ksm(struct random_world *r, struct process *p, unsigned i)
{
	const struct ks_pte pte = ks_pte_get(&r->w->sys.tables, &p->mm->pt, vpn_of(i));
	const struct ks_frame *frame;

	ks_lru_drain(&r->w->env, &r->w->sys.frames);
	if (!ks_pte_is_anon(pte))
		return;
	frame = ks_frame(&r->w->sys.frames, pte.pfn);
	if (ks_frame_refs(&r->w->sys.frames, pte.pfn) != 1)
		return;
	if (frame->cid == KS_CID_ZERO && below(r, 2) && !ks_frame_test(frame, KS_FRAME_KSM))
		mmworld_make_ksm_zero(r->w, p->mm, ARENA + i);
	else
		mmworld_make_ksm(r->w, p->mm, ARENA + i);
}

static void do_swap_out(struct random_world *r, struct process *p, struct range range)
{
	const bool keep_cached = below(r, 2);

	for (unsigned i = range.first; i < range.end; i++) {
		const struct ks_pte pte = ks_pte_get(&r->w->sys.tables, &p->mm->pt, vpn_of(i));

		if (ks_pte_is_anon(pte))
			ks_swap_out(&r->w->sys, pte.pfn, keep_cached);
	}
}

static void do_kernel_fault(struct random_world *r, struct process *p, unsigned i)
{
	static const enum ks_fault_kind kinds[] = { KS_FAULT_UNSHARE, KS_FAULT_WRITE_FORCED,
						    KS_FAULT_READ };
	const enum ks_fault_kind kind = kinds[below(r, 3)];

	/* KSM forces a write only where a page is */
	if (kind == KS_FAULT_WRITE_FORCED &&
	    !ks_pte_is_anon(ks_pte_get(&r->w->sys.tables, &p->mm->pt, vpn_of(i))))
		return;
	(void)ks_fault(&r->w->sys, p->mm, vpn_of(i), kind);
}

static void do_watch(struct random_world *r, struct process *p, unsigned i)
{
	struct ks_system *sys = &r->w->sys;
	struct watched *watched = &r->watched[p - r->process][i];
	struct ks_leaf *leaf;

	watched->pte = ks_pte_get(&sys->tables, &p->mm->pt, vpn_of(i));
	if (!ks_pte_is_anon(watched->pte))
		return;
	leaf = ks_leaf(&sys->tables, ks_leaf_find(&sys->tables, &p->mm->pt, vpn_of(i)));
	ks_leaf_watch(leaf, (unsigned)(vpn_of(i) - leaf->vpn), true);
	watched->pte.bits |= KS_PTE(WATCHED);
	watched->cid = ks_frame(&sys->frames, watched->pte.pfn)->cid;
}

/* A watched entry maps the same frame with the same rights and content as when it was watched. */
static void check_watched(struct random_world *r)
{
	const struct ks_system *sys = &r->w->sys;

	for (unsigned i = 0; i < PROCESSES * PAGES; i++) {
		const struct process *p = &r->process[i / PAGES];
		const struct watched *watched = &r->watched[i / PAGES][i % PAGES];
		struct ks_pte pte;

		if (!p->mm)
			continue;
		pte = ks_pte_get(&sys->tables, &p->mm->pt, vpn_of(i % PAGES));
		if (!(pte.bits & KS_PTE(WATCHED)))
			continue;
		assert_int_equal(pte.pfn, watched->pte.pfn);
		assert_int_equal(pte.bits, watched->pte.bits);
		assert_int_equal(ks_frame(&sys->frames, pte.pfn)->cid, watched->cid);
	}
}

/* Shortage of memory may stop any of these; what a user sees is the same. */
static void do_shortage(struct random_world *r, struct process *p, struct range range)
{
	struct mmworld *w = r->w;
	const uint64_t vpn = vpn_of(range.first);
	struct ks_mm *child;

	w->env.inject[KSMSIM_INJECT_frame] = 1 + below(r, 3);
	(void)ks_fault(&w->sys, p->mm, vpn, KS_FAULT_WRITE);
	(void)ks_fault(&w->sys, p->mm, vpn, KS_FAULT_UNSHARE);
	if (!ks_mm_fork(&w->sys, p->mm, w->sys.next_pid++, &child)) {
		ks_mm_exit(&w->sys, child);
		ks_mm_free(&w->sys, child);
	}
	(void)ks_access_migrate(&w->sys, p->mm, vpn, range.end - range.first, below(r, 2), NULL,
				NULL);
	w->env.inject[KSMSIM_INJECT_frame] = 0;
}

static void do_pages(struct random_world *r, struct process *p, struct range range)
{
	struct ks_system *sys = &r->w->sys;
	const uint64_t vpn = vpn_of(range.first), pages = range.end - range.first;

	switch (below(r, 10)) {
	case 0:
		(void)ks_access_pin(sys, p->mm, vpn, pages, below(r, 4));
		return;
	case 1:
		(void)ks_access_unpin(sys, p->mm, vpn, pages);
		return;
	case 2:
		(void)ks_access_migrate(sys, p->mm, vpn, pages, below(r, 2), NULL, NULL);
		return;
	case 3:
		do_swap_out(r, p, range);
		return;
	case 4:
		do_kernel_fault(r, p, range.first);
		return;
	case 5:
		do_shortage(r, p, range);
		return;
	case 6:
	case 7:
		do_ksm(r, p, range.first);
		return;
	default:
		do_watch(r, p, range.first);
	}
}

static void do_one(struct random_world *r, struct process *p)
{
	const struct range range = some_range(r);
	const unsigned kind = below(r, 40);

	if (kind < 4)
		do_map(r, p, range);
	else if (kind < 6)
		do_unmap(r, p, range);
	else if (kind < 9)
		do_protect(r, p, range);
	else if (kind < 12)
		do_remap(r, p, range);
	else if (kind < 15)
		do_advise(r, p, range);
	else if (kind < 17)
		do_lock(r, p, range);
	else if (kind < 24)
		do_store(r, p, range);
	else if (kind < 26)
		do_fork(r, p);
	else if (kind < 36)
		do_pages(r, p, range);
	else if (kind == 36 && !below(r, 4))
		do_exec(r, p);
	else if (kind == 37 && !below(r, 2))
		do_exit(r, p);
	else
		compare(r, p, range.first);
}

/* ---- the runs ---- */

static void run_seed(struct random_world *r, enum ks_profile profile, uint64_t seed)
{
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_WORD, .value = FILE_VALUE };

	memset(r, 0, sizeof(*r));
	r->w = mmworld_new(profile, 2);
	r->seed = seed;
	r->next_value = 2000;
	r->file = ks_file_new(&r->w->sys, &content);
	for (unsigned step = 0; step < 600; step++) {
		struct process *p = &r->process[below(r, PROCESSES)];

		if (!p->mm && (p == r->process || !below(r, 8)))
			p->mm = ks_mm_new(&r->w->sys, r->w->sys.next_pid++);
		if (!p->mm)
			continue;
		if (!below(r, 50))
			p->mm->nid ^= 1;
		if (!below(r, 50))
			r->w->env.knob.lru_drain ^= 1;
		do_one(r, p);
		check_watched(r);
		mmworld_check(r->w);
	}
	for (unsigned i = 0; i < PROCESSES * PAGES; i++) {
		if (r->process[i / PAGES].mm)
			compare(r, &r->process[i / PAGES], i % PAGES);
	}
	for (unsigned i = 0; i < PROCESSES; i++) {
		if (r->process[i].mm)
			do_exit(r, &r->process[i]);
	}
	ks_lru_drain(&r->w->env, &r->w->sys.frames);
	assert_int_equal(r->w->sys.tables.leaves.live, 0);
	assert_int_equal(r->w->sys.swap.live, r->w->sys.swap_cache.nr);
	mmworld_free(r->w);
}

static void users_see_what_they_wrote(void **state)
{
	static struct random_world r;

	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		print_message("seed %u\n", (unsigned)seed);
		run_seed(&r, (enum ks_profile)(seed % KS_PROFILE_NR), seed);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(users_see_what_they_wrote),
};

TEST_MAIN(tests)
