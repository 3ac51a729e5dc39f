/*
 * thpworld.c - one process with huge pages; see thpworld.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "thpworld.h"

struct figure {
	const char *name;
	unsigned which;
};

static const struct figure counters[] = {
	{ "FA", KSMSIM_COUNT_thp_fault_alloc },
	{ "FF", KSMSIM_COUNT_thp_fault_fallback },
	{ "FFC", KSMSIM_COUNT_thp_fault_fallback_charge },
	{ "SP", KSMSIM_COUNT_thp_split_page },
	{ "SPF", KSMSIM_COUNT_thp_split_page_failed },
	{ "SD", KSMSIM_COUNT_thp_deferred_split_page },
	{ "SPMD", KSMSIM_COUNT_thp_split_pmd },
	{ "US", KSMSIM_COUNT_thp_underused_split_page },
	{ "ZA", KSMSIM_COUNT_thp_zero_page_alloc },
	{ "ZAF", KSMSIM_COUNT_thp_zero_page_alloc_failed },
	{ "PR", KSMSIM_COUNT_pgreuse },
	{ "CK", KSMSIM_COUNT_cow_ksm },
};

static const struct figure stats[] = {
	{ "alloc", KSMSIM_MTHP_anon_fault_alloc },
	{ "fall", KSMSIM_MTHP_anon_fault_fallback },
	{ "charge", KSMSIM_MTHP_anon_fault_fallback_charge },
	{ "split", KSMSIM_MTHP_split },
	{ "fail", KSMSIM_MTHP_split_failed },
	{ "deferred", KSMSIM_MTHP_split_deferred },
	{ "nr", KSMSIM_MTHP_nr_anon },
	{ "partial", KSMSIM_MTHP_nr_anon_partially_mapped },
};

struct thpworld *thpworld_new(enum ks_profile profile, uint64_t pages)
{
	struct thpworld *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->w = mmworld_new(profile, 2);
	t->env = &t->w->env;
	t->sys = &t->w->sys;
	t->env->knob.thp_enabled = KS_THP_ALWAYS;
	t->p = mmworld_process(t->w, pages);
	return t;
}

struct thpworld *thpworld_of_64_kib(enum ks_profile profile)
{
	struct thpworld *t = thpworld_new(profile, THPWORLD_NR);

	thpworld_use_size(t, 4, KS_THP_SIZE_ALWAYS);
	thpworld_use_size(t, 9, KS_THP_SIZE_NEVER);
	return t;
}

void thpworld_free(struct thpworld *t)
{
	mmworld_free(t->w);
	free(t);
}

static void add(struct thpworld *t, const char *name, int order, int64_t by)
{
	const size_t used = strlen(t->text);
	char where[16] = "";

	if (!by)
		return;
	if (order >= 0)
		snprintf(where, sizeof(where), "[%d]", order);
	snprintf(t->text + used, sizeof(t->text) - used, "%s%s%s%lld", used ? " " : "", name, where,
		 (long long)by);
}

const char *thpworld_changed(struct thpworld *t)
{
	mmworld_check(t->w);
	t->text[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		const unsigned which = counters[i].which;

		add(t, counters[i].name, -1, (int64_t)(t->env->count[which] - t->count[which]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(stats); i++) {
		for (int order = 0; order < KSMSIM_ORDERS; order++)
			add(t, stats[i].name, order,
			    t->env->mthp[stats[i].which][order] - t->mthp[stats[i].which][order]);
	}
	memcpy(t->count, t->env->count, sizeof(t->count));
	memcpy(t->mthp, t->env->mthp, sizeof(t->mthp));
	return t->text;
}

void thpworld_fill(struct thpworld *t)
{
	mmworld_fill(t->w, t->p, 0, THPWORLD_NR);
	thpworld_changed(t);
}

void thpworld_write(struct thpworld *t, struct ks_mm *mm, uint64_t page)
{
	mmworld_store(t->w, mm, page, 1000 + page);
}

void thpworld_read(struct thpworld *t, struct ks_mm *mm, uint64_t page)
{
	mmworld_read(t->w, mm, page, 1);
}

void thpworld_exit(struct thpworld *t, struct ks_mm *mm)
{
	ks_mm_exit(t->sys, mm);
	ks_mm_free(t->sys, mm);
}

struct ks_folio *thpworld_folio(struct thpworld *t, struct ks_mm *mm, uint64_t page)
{
	return ks_folio_of(&t->sys->frames, mmworld_pte(t->w, mm, page).pfn);
}

uint64_t thpworld_tables(const struct ks_mm *mm)
{
	return mm->pt.nr_tables[3];
}

struct ks_leaf *thpworld_pmd(struct thpworld *t, struct ks_mm *mm)
{
	return ks_pmd_find(&t->sys->tables, &mm->pt, MMWORLD_BASE);
}

uint32_t thpworld_refs(struct thpworld *t, struct ks_mm *mm, uint64_t page)
{
	return ks_frame_refs(&t->sys->frames, mmworld_pte(t->w, mm, page).pfn);
}

bool thpworld_exclusive(struct thpworld *t, struct ks_mm *mm, uint64_t page)
{
	return ks_page_exclusive(&t->sys->frames, mmworld_pte(t->w, mm, page).pfn);
}

enum ks_fault_result thpworld_fault(struct thpworld *t, struct ks_mm *mm, uint64_t page,
				    enum ks_fault_kind kind)
{
	return ks_fault(t->sys, mm, MMWORLD_BASE + page, kind);
}

uint64_t thpworld_faults(const struct thpworld *t)
{
	return t->env->count[KSMSIM_COUNT_pgfault];
}

long thpworld_pin(struct thpworld *t, struct ks_mm *mm, uint64_t page, enum ksmsim_pin how)
{
	return ks_access_pin(t->sys, mm, MMWORLD_BASE + page, 1, how);
}

void thpworld_split_pmd(struct thpworld *t, struct ks_mm *mm)
{
	ks_split_pmd(t->sys, mm, MMWORLD_BASE);
	assert_string_equal(thpworld_changed(t), "SPMD1");
}

void thpworld_use_size(struct thpworld *t, unsigned order, enum ks_thp_size how)
{
	t->env->thp_size[order] = (uint8_t)how;
}
