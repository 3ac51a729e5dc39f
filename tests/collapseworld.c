/*
 * collapseworld.c - an mmworld with khugepaged; see collapseworld.h.
 */
#include <stdlib.h>

#include "collapseworld.h"

struct collapseworld *collapseworld_new(enum ks_profile profile, unsigned nr_nodes, unsigned blocks)
{
	struct collapseworld *cw = calloc(1, sizeof(*cw));

	assert_non_null(cw);
	cw->w = mmworld_new(profile, nr_nodes);
	ks_khugepaged_init(&cw->khugepaged, &cw->w->sys);
	ks_khugepaged_hooks(&cw->khugepaged, &cw->w->sys.hooks);
	cw->w->env.knob.thp_enabled = KS_THP_NEVER;
	cw->mm = mmworld_process(cw->w, blocks * BLOCK);
	return cw;
}

void collapseworld_free(struct collapseworld *cw)
{
	mmworld_check(cw->w);
	ks_khugepaged_destroy(&cw->khugepaged);
	mmworld_free(cw->w);
	free(cw);
}

long collapseworld_collapse(struct collapseworld *cw, struct ks_mm *mm, uint64_t page,
			    uint64_t pages)
{
	const long ret =
		ks_madvise(&cw->w->sys, mm, MMWORLD_BASE + page, pages, KSMSIM_MADV_COLLAPSE);

	mmworld_check(cw->w);
	return ret;
}

uint64_t collapseworld_count(const struct collapseworld *cw, enum ksmsim_counter which)
{
	return cw->w->env.count[which];
}

bool collapseworld_is_huge(const struct collapseworld *cw, const struct ks_mm *mm, uint64_t page)
{
	return ks_pmd_find(&cw->w->sys.tables, &mm->pt, MMWORLD_BASE + page) != NULL;
}

ks_pfn collapseworld_pfn(const struct collapseworld *cw, struct ks_mm *mm, uint64_t page)
{
	return mmworld_pte(cw->w, mm, page).pfn;
}

void collapseworld_expect_filled(struct collapseworld *cw, struct ks_mm *mm, uint64_t page,
				 uint64_t pages)
{
	for (uint64_t i = page; i < page + pages; i++)
		mmworld_expect_value(cw->w, mm, i, i + 1);
}

void collapseworld_make_ksm(struct collapseworld *cw, struct ks_mm *mm, uint64_t page,
			    uint64_t pages)
{
	for (uint64_t i = page; i < page + pages; i++)
		mmworld_make_ksm(cw->w, mm, i);
}

void collapseworld_merge(struct collapseworld *cw, struct ks_mm *mm, uint64_t page, uint64_t of)
{
	struct ks_system *sys = &cw->w->sys;
	const struct ks_pte old = mmworld_pte(cw->w, mm, page), ksm = mmworld_pte(cw->w, mm, of);

	ks_frame_map(sys->env, &sys->frames, ksm.pfn);
	mm->rss_anon++;
	ks_pte_set(sys->env, &sys->tables, &mm->pt, MMWORLD_BASE + page, ksm);
	ks_pte_gone(sys, mm, old);
}
