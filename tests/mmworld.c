/*
 * mmworld.c - address spaces without KSM; see mmworld.h.
 */
#include <stdlib.h>
#include <string.h>

#include "mmworld.h"

/* ---- the bells ---- */

static long hear_fork(void *self, struct ks_mm *child)
{
	struct mmworld *w = self;

	w->forks++;
	ks_count(&w->env, KSMSIM_COUNT_ksm_zero_pages, child->ksm_zero_pages);
	if (!w->answer)
		child->registered = true;
	return w->answer;
}

static void hear_exit(void *self, struct ks_mm *mm)
{
	struct mmworld *w = self;

	w->exits++;
	w->exit_rss = mm->rss_anon;
	w->exit_alive = mm->alive;
	mm->registered = false;
}

static void hear_exec(void *self, struct ks_mm *mm, struct ks_mm *old)
{
	struct mmworld *w = self;

	(void)mm;
	(void)old;
	w->execs++;
}

static long hear_madvise(void *self, struct ks_mm *mm, const struct ks_vma *vma, uint64_t start,
			 uint64_t end, bool mergeable, uint32_t *flags)
{
	struct mmworld *w = self;

	(void)mm;
	assert_true(vma->start <= start && end <= vma->end);
	w->advices++;
	w->advice_mergeable = mergeable;
	if (w->answer)
		return w->answer;
	*flags = mergeable ? *flags | KS_VM_MERGEABLE : *flags & ~(uint32_t)KS_VM_MERGEABLE;
	return 0;
}

static long hear_unmerge(void *self, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	struct mmworld *w = self;

	(void)mm;
	w->unmerges++;
	w->unmerge_start = start;
	w->unmerge_end = end;
	return w->answer;
}

static uint32_t hear_vma_flags(void *self, struct ks_mm *mm, uint32_t flags)
{
	(void)self;
	assert_true(mm->merge_any);
	return flags & KS_VM_SHARED ? flags : flags | KS_VM_MERGEABLE;
}

static void hear_watched(void *self, void *mm, uint64_t vpn, struct ks_leaf *leaf)
{
	struct mmworld *w = self;

	(void)mm;
	(void)vpn;
	(void)leaf;
	w->rings++;
}

static void hear_ksm_freed(void *self, ks_pfn pfn)
{
	struct mmworld *w = self;

	(void)pfn;
	w->ksm_freed++;
}

/* ---- the world ---- */

struct mmworld *mmworld_new(enum ks_profile profile, unsigned nr_nodes)
{
	struct mmworld *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	ks_env_init(&w->env, NULL, profile, 1);
	ks_system_init(&w->sys, &w->env, ks_geometry_find("x86-64-4level"), nr_nodes);
	w->sys.hooks = (struct ks_mm_hooks){ .self = w,
					     .fork = hear_fork,
					     .exit = hear_exit,
					     .exec = hear_exec,
					     .madvise = hear_madvise,
					     .unmerge = hear_unmerge,
					     .vma_flags = hear_vma_flags };
	w->sys.tables.watched = hear_watched;
	w->sys.tables.self = w;
	w->sys.frames.ksm_freed = hear_ksm_freed;
	w->sys.frames.self = w;
	return w;
}

void mmworld_check(struct mmworld *w)
{
	const char *wrong = ks_system_check(&w->sys);

	if (wrong)
		fail_msg("%s", wrong);
}

void mmworld_free(struct mmworld *w)
{
	mmworld_check(w);
	ks_system_destroy(&w->sys);
	ks_env_destroy(&w->env);
	assert_int_equal(w->env.host_bytes, 0);
	free(w);
}

/* ---- memory ---- */

int64_t mmworld_map(struct mmworld *w, struct ks_mm *mm, uint64_t page, uint64_t pages,
		    unsigned prot, unsigned flags)
{
	const struct ks_mmap req = { .vpn = MMWORLD_BASE + page,
				     .pages = pages,
				     .prot = prot,
				     .flags = flags | KSMSIM_MAP_FIXED };

	return ks_mmap(&w->sys, mm, &req);
}

struct ks_mm *mmworld_process(struct mmworld *w, uint64_t pages)
{
	struct ks_mm *mm = ks_mm_new(&w->sys, w->sys.next_pid++);

	assert_int_equal(mmworld_map(w, mm, 0, pages, MMWORLD_RW, 0), MMWORLD_BASE);
	return mm;
}

struct ks_mm *mmworld_fork(struct mmworld *w, struct ks_mm *parent)
{
	struct ks_mm *child = NULL;

	assert_int_equal(ks_mm_fork(&w->sys, parent, w->sys.next_pid++, &child), 0);
	assert_non_null(child);
	return child;
}

void mmworld_store(struct mmworld *w, struct ks_mm *mm, uint64_t page, uint64_t value)
{
	const ks_cid cid = ks_content_fill(&w->env, &w->sys.contents, value);

	assert_int_equal(ks_access_store(&w->sys, mm, MMWORLD_BASE + page, cid), KS_FAULT_DONE);
}

void mmworld_fill(struct mmworld *w, struct ks_mm *mm, uint64_t page, uint64_t pages)
{
	for (uint64_t i = page; i < page + pages; i++)
		mmworld_store(w, mm, i, i + 1);
}

void mmworld_read(struct mmworld *w, struct ks_mm *mm, uint64_t page, uint64_t pages)
{
	for (uint64_t i = page; i < page + pages; i++)
		assert_int_not_equal(ks_access_load(&w->sys, mm, MMWORLD_BASE + i), KS_CID_NONE);
}

void mmworld_expect_value(struct mmworld *w, struct ks_mm *mm, uint64_t page, uint64_t value)
{
	const ks_cid cid = ks_content_fill(&w->env, &w->sys.contents, value);

	assert_int_equal(ks_access_load(&w->sys, mm, MMWORLD_BASE + page), cid);
	ks_content_put(&w->env, &w->sys.contents, cid);
}

struct ks_pte mmworld_pte(struct mmworld *w, struct ks_mm *mm, uint64_t page)
{
	return ks_pte_get(&w->sys.tables, &mm->pt, MMWORLD_BASE + page);
}

void mmworld_make_ksm(struct mmworld *w, struct ks_mm *mm, uint64_t page)
{
	struct ks_pte pte = mmworld_pte(w, mm, page);
	struct ks_frame *frame = ks_frame(&w->sys.frames, pte.pfn);

	ks_lru_drain(&w->env, &w->sys.frames);
	assert_true(ks_pte_is_anon(pte));
	pte.bits &= ~(KS_PTE(WRITE) | KS_PTE(DIRTY) | KS_PTE(WATCHED));
	ks_pte_set(&w->env, &w->sys.tables, &mm->pt, MMWORLD_BASE + page, pte);
	ks_frame_flag(frame, KS_FRAME_EXCLUSIVE, false);
	ks_frame_flag(frame, KS_FRAME_KSM, true);
	ks_frame_flag(frame, KS_FRAME_DIRTY, true);
}

void mmworld_make_ksm_zero(struct mmworld *w, struct ks_mm *mm, uint64_t page)
{
	const struct ks_pte old = mmworld_pte(w, mm, page);
	struct ks_pte pte = { KS_PFN_ZERO, KS_PTE(PRESENT) | KS_PTE(SPECIAL) };

	if (w->env.feature[KS_FEAT_zero_tracking]) {
		pte.bits |= KS_PTE(DIRTY);
		ks_count(&w->env, KSMSIM_COUNT_ksm_zero_pages, 1);
		mm->ksm_zero_pages++;
	}
	ks_pte_set(&w->env, &w->sys.tables, &mm->pt, MMWORLD_BASE + page, pte);
	ks_pte_gone(&w->sys, mm, old);
}

/* ---- drawings ---- */

void mmworld_expect_vmas(const struct ks_mm *mm, const char *drawing)
{
	char seen[128] = "";
	const size_t nr = strlen(drawing);

	assert_true(nr < sizeof(seen));
	for (size_t i = 0; i < nr; i++) {
		const struct ks_vma *vma = ks_vma_at(mm, MMWORLD_BASE + i);

		seen[i] = vma ? (char)('a' + (vma - ks_vma_find(mm, MMWORLD_BASE))) : '.';
	}
	assert_string_equal(seen, drawing);
}

static char draw_page(struct mmworld *w, struct ks_pte pte)
{
	const struct ks_frame *frame;

	if (pte.bits & KS_PTE(NONPRESENT))
		return '$';
	if (!(pte.bits & KS_PTE(PRESENT)))
		return '.';
	if (pte.bits & KS_PTE(SPECIAL))
		return pte.bits & KS_PTE(DIRTY) ? 'z' : '0';
	if (pte.bits & KS_PTE(FILE))
		return pte.bits & KS_PTE(WRITE) ? 'F' : 'f';
	frame = ks_frame(&w->sys.frames, pte.pfn);
	if (ks_frame_test(frame, KS_FRAME_KSM))
		return 'k';
	if (pte.bits & KS_PTE(WRITE))
		return 'w';
	return ks_page_exclusive(&w->sys.frames, pte.pfn) ? 'e' : 's';
}

void mmworld_expect_pages(struct mmworld *w, struct ks_mm *mm, const char *drawing)
{
	char seen[128] = "";
	const size_t nr = strlen(drawing);

	assert_true(nr < sizeof(seen));
	for (size_t i = 0; i < nr; i++)
		seen[i] = draw_page(w, mmworld_pte(w, mm, i));
	assert_string_equal(seen, drawing);
	mmworld_check(w);
}
