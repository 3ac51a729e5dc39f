/*
 * collapse_look.c - floor 5: may these entries be collapsed?
 *
 * Asked twice: when the table is scanned, which touches nothing, and when the
 * pages are isolated, one after the other, each locked until the collapse ends.
 * The limits hold for khugepaged only; MADV_COLLAPSE has none.
 *
 * What could surprise: a KSM page that is mapped twice passes the scan, but the
 * second mapping finds the page locked by the first; pages isolated in vain go
 * back through the LRU add batch, which holds a reference until it is drained.
 *
 * Models: mm/khugepaged.c:hpage_collapse_scan_pmd(), __collapse_huge_page_isolate(),
 * release_pte_pages().
 */
#include "collapse.h"

#define NO_LIMIT UINT32_MAX

/* What a look at several entries came upon, and may come upon. */
struct look {
	unsigned order;
	uint32_t none_max, swap_max, shared_max;
	struct ks_collapse_sight seen;
	uint32_t shared;
	bool writable;
};

/* ---- events ---- */

/* Newer kernels have one word for a block without a page table. */
static const char *status_of(const struct ks_collapse *c, enum ks_scan_result result)
{
	static const char *const names[] = {
		[KS_SCAN_SUCCEED] = "succeeded",
		[KS_SCAN_FAIL] = "failed",
		[KS_SCAN_PMD_NULL] = "pmd_null",
		[KS_SCAN_PMD_NONE] = "pmd_none",
		[KS_SCAN_PMD_MAPPED] = "page_pmd_mapped",
		[KS_SCAN_EXCEED_NONE_PTE] = "exceed_none_pte",
		[KS_SCAN_EXCEED_SWAP_PTE] = "exceed_swap_pte",
		[KS_SCAN_EXCEED_SHARED_PTE] = "exceed_shared_pte",
		[KS_SCAN_PTE_NON_PRESENT] = "pte_non_present",
		[KS_SCAN_PAGE_RO] = "no_writable_page",
		[KS_SCAN_LACK_REFERENCED_PAGE] = "lack_referenced_page",
		[KS_SCAN_PAGE_NULL] = "page_null",
		[KS_SCAN_PAGE_ANON] = "page_not_anon",
		[KS_SCAN_PAGE_COUNT] = "not_suitable_page_count",
		[KS_SCAN_PAGE_LOCK] = "page_locked",
		[KS_SCAN_PAGE_LRU] = "page_not_in_lru",
		[KS_SCAN_PAGE_LAZYFREE] = "page_lazyfree",
		[KS_SCAN_DEL_PAGE_LRU] = "could_not_delete_page_from_lru",
		[KS_SCAN_VMA_CHECK] = "vma_check_failed",
		[KS_SCAN_ALLOC_HUGE_PAGE_FAIL] = "alloc_huge_page_failed",
		[KS_SCAN_CGROUP_CHARGE_FAIL] = "ccgroup_charge_failed",
		[KS_SCAN_PTE_MAPPED_HUGEPAGE] = "pte_mapped_hugepage",
	};

	if ((result == KS_SCAN_PMD_NULL || result == KS_SCAN_PMD_NONE) &&
	    !ks_collapse_has(c, KS_FEAT_collapse_stops_on_pmd_none))
		return "no_pte_table";
	return names[result];
}

void ks_collapse_trace(const struct ks_collapse *c, enum ksmsim_trace which,
		       enum ks_scan_result result, const struct ks_collapse_sight *seen)
{
	struct ksmsim_event event = {
		.trace = which,
		.mm = c->mm->id,
		.pfn = seen->pfn ? seen->pfn : UINT64_MAX,
		.status = status_of(c, result),
		.isolated = result == KS_SCAN_SUCCEED,
		.ret = result == KS_SCAN_SUCCEED,
		.khugepaged = c->khugepaged,
		.referenced = seen->referenced,
		.none_or_zero = seen->none,
		.unmapped = seen->swap,
		.swapped_in = seen->swapped_in,
	};

	ks_trace(c->sys->env, &event);
}

/* ---- limits ---- */

/* Below PMD order the limit is all or nothing. */
uint32_t ks_collapse_none_max(const struct ks_collapse *c, unsigned order)
{
	const uint64_t knob = c->sys->env->knob.max_ptes_none;

	if (!c->khugepaged)
		return NO_LIMIT;
	if (order == ks_collapse_pmd_order(c))
		return (uint32_t)knob;
	return knob == ks_pmd_pages(c->sys) - 1 ? (UINT32_C(1) << order) - 1 : 0;
}

static struct look look_of(const struct ks_collapse *c, unsigned order)
{
	const struct ks_knobs *knob = &c->sys->env->knob;
	struct look look = { .order = order,
			     .none_max = ks_collapse_none_max(c, order),
			     .swap_max = NO_LIMIT,
			     .shared_max = NO_LIMIT };

	if (c->khugepaged) {
		look.swap_max = (uint32_t)knob->max_ptes_swap;
		look.shared_max =
			order == ks_collapse_pmd_order(c) ? (uint32_t)knob->max_ptes_shared : 0;
	}
	return look;
}

/* A limit was exceeded: counted as an event for PMD order only. */
enum ks_scan_result ks_collapse_exceed(const struct ks_collapse *c, unsigned order,
				       enum ks_scan_result result)
{
	struct ks_env *env = c->sys->env;
	enum ksmsim_counter counter = KSMSIM_COUNT_thp_scan_exceed_none_pte;
	enum ksmsim_mthp stat = KSMSIM_MTHP_collapse_exceed_none_pte;

	if (result == KS_SCAN_EXCEED_SWAP_PTE) {
		counter = KSMSIM_COUNT_thp_scan_exceed_swap_pte;
		stat = KSMSIM_MTHP_collapse_exceed_swap_pte;
	} else if (result == KS_SCAN_EXCEED_SHARED_PTE) {
		counter = KSMSIM_COUNT_thp_scan_exceed_share_pte;
		stat = KSMSIM_MTHP_collapse_exceed_shared_pte;
	}
	if (order == ks_collapse_pmd_order(c))
		ks_count(env, counter, 1);
	if (env->feature[KS_FEAT_mthp_collapse])
		ks_mthp(env, stat, order, 1);
	return result;
}

/* ---- a look at one entry ---- */

static enum ks_scan_result look_at_hole(const struct ks_collapse *c, struct look *look)
{
	look->seen.none++;
	return look->seen.none <= look->none_max
		       ? KS_SCAN_SUCCEED
		       : ks_collapse_exceed(c, look->order, KS_SCAN_EXCEED_NONE_PTE);
}

/* A clean page of MADV_FREE would be made to stay. */
static bool is_free_to_go(const struct ks_collapse *c, struct ks_pte pte)
{
	const struct ks_frames *frames = &c->sys->frames;

	return c->khugepaged && ks_collapse_has(c, KS_FEAT_collapse_skips_lazyfree) &&
	       !(pte.bits & KS_PTE(DIRTY)) && ks_page_lazyfree(frames, pte.pfn) &&
	       !ks_page_dirty(frames, pte.pfn);
}

/* Others than mappings and the swap cache hold the page. */
static bool is_held(const struct ks_collapse *c, ks_pfn pfn)
{
	const struct ks_frames *frames = &c->sys->frames;
	const struct ks_folio *folio = ks_folio_of(frames, pfn);
	const struct ks_frame *frame = ks_frame(frames, pfn);

	if (folio)
		return folio->gets > 0;
	return ks_frame_refs(frames, pfn) !=
	       ks_frame_maps(frame) + ks_frame_test(frame, KS_FRAME_SWAPCACHE);
}

static enum ks_scan_result look_at_sharing(const struct ks_collapse *c, struct look *look,
					   ks_pfn pfn)
{
	look->shared += ks_page_maybe_shared(c->sys->env, &c->sys->frames, pfn);
	return look->shared <= look->shared_max
		       ? KS_SCAN_SUCCEED
		       : ks_collapse_exceed(c, look->order, KS_SCAN_EXCEED_SHARED_PTE);
}

static void look_at_use(const struct ks_collapse *c, struct look *look, struct ks_pte pte)
{
	const bool used = pte.bits & KS_PTE(YOUNG) ||
			  ks_lru_marks(&c->sys->frames, pte.pfn) & KS_LRU_REFERENCED;

	look->writable |= pte.bits & KS_PTE(WRITE);
	look->seen.referenced += c->khugepaged && used;
}

static void look_at_page(const struct ks_collapse *c, struct look *look, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(&c->sys->frames, pfn);

	look->seen.pfn = folio ? folio->head : pfn;
}

/* Before 6.15 a block without a writable page stays; and khugepaged wants pages that are used. */
static enum ks_scan_result look_back(const struct ks_collapse *c, const struct look *look)
{
	if (ks_collapse_has(c, KS_FEAT_collapse_needs_writable) && !look->writable)
		return KS_SCAN_PAGE_RO;
	if (c->khugepaged && !look->seen.referenced)
		return KS_SCAN_LACK_REFERENCED_PAGE;
	if (c->khugepaged && look->seen.swap && look->seen.referenced < ks_pmd_pages(c->sys) / 2)
		return KS_SCAN_LACK_REFERENCED_PAGE;
	return KS_SCAN_SUCCEED;
}

/* ---- scan ---- */

static enum ks_scan_result scan_page(struct ks_collapse *c, struct look *look, unsigned slot,
				     struct ks_pte pte)
{
	const struct ks_frames *frames = &c->sys->frames;
	enum ks_scan_result result;

	look_at_page(c, look, pte.pfn);
	if (is_free_to_go(c, pte))
		return KS_SCAN_PAGE_LAZYFREE;
	if (!ks_pte_is_anon(pte))
		return KS_SCAN_PAGE_ANON;
	result = look_at_sharing(c, look, pte.pfn);
	if (result != KS_SCAN_SUCCEED)
		return result;
	c->present[slot / 64] |= UINT64_C(1) << (slot % 64);
	c->load[ks_frame_nid(frames, pte.pfn)]++;
	if (ks_frame_test(ks_frame(frames, pte.pfn), KS_FRAME_LRU_BATCH))
		return KS_SCAN_PAGE_LRU;
	if (is_held(c, pte.pfn))
		return KS_SCAN_PAGE_COUNT;
	look_at_use(c, look, pte);
	return KS_SCAN_SUCCEED;
}

static enum ks_scan_result scan_entry(struct ks_collapse *c, struct look *look, unsigned slot)
{
	const struct ks_pte pte = ks_leaf_get(c->leaf, slot);

	if (ks_pte_is_hole(pte))
		return look_at_hole(c, look);
	if (pte.bits & KS_PTE(PRESENT))
		return scan_page(c, look, slot, pte);
	look->seen.swap++;
	return look->seen.swap <= look->swap_max
		       ? KS_SCAN_SUCCEED
		       : ks_collapse_exceed(c, look->order, KS_SCAN_EXCEED_SWAP_PTE);
}

/* With smaller sizes at hand holes do not end the scan, if there is any page: a part of the block may
 * have none. */
enum ks_scan_result ks_collapse_scan(struct ks_collapse *c, uint64_t *looked)
{
	struct look look = look_of(c, ks_collapse_pmd_order(c));
	enum ks_scan_result result = KS_SCAN_SUCCEED;
	unsigned slot = 0;

	if (c->orders != UINT32_C(1) << ks_collapse_pmd_order(c))
		look.none_max = (uint32_t)ks_pmd_pages(c->sys) - 1;
	while (slot < ks_pmd_pages(c->sys) && result == KS_SCAN_SUCCEED) {
		result = scan_entry(c, &look, slot);

		slot++;
		++*looked;
	}
	c->seen = look.seen;
	return result == KS_SCAN_SUCCEED ? look_back(c, &look) : result;
}

/* ---- isolate ---- */

/* A page of a small folio is locked; false: it is already, by an entry before this one. */
static bool lock_page(const struct ks_collapse *c, struct ks_map *locked, ks_pfn pfn)
{
	if (!ks_frame_test(ks_frame(&c->sys->frames, pfn), KS_FRAME_KSM))
		return true;
	if (ks_map_find(locked, pfn))
		return false;
	ks_map_set(c->sys->env, locked, pfn, 1);
	return true;
}

static enum ks_scan_result isolate_page(const struct ks_collapse *c, struct look *look,
					struct ks_map *locked, struct ks_pte pte)
{
	const struct ks_folio *folio = ks_folio_of(&c->sys->frames, pte.pfn);
	enum ks_scan_result result;

	look_at_page(c, look, pte.pfn);
	if (!ks_pte_is_anon(pte))
		return KS_SCAN_PAGE_ANON;
	result = look_at_sharing(c, look, pte.pfn);
	if (result != KS_SCAN_SUCCEED)
		return result;
	if (folio && folio->order >= look->order && look->order < ks_collapse_pmd_order(c))
		return KS_SCAN_PTE_MAPPED_HUGEPAGE;
	if (!folio && !lock_page(c, locked, pte.pfn))
		return KS_SCAN_PAGE_LOCK;
	if (is_held(c, pte.pfn))
		return KS_SCAN_PAGE_COUNT;
	look_at_use(c, look, pte);
	return KS_SCAN_SUCCEED;
}

static enum ks_scan_result isolate_entry(const struct ks_collapse *c, struct look *look,
					 struct ks_map *locked, unsigned slot)
{
	const struct ks_pte pte = ks_leaf_get(c->leaf, slot);

	if (ks_pte_is_hole(pte))
		return look_at_hole(c, look);
	if (!(pte.bits & KS_PTE(PRESENT)))
		return KS_SCAN_PTE_NON_PRESENT;
	return isolate_page(c, look, locked, pte);
}

/* The pages of entries [first, behind) go back to their LRU lists, the last one first; large folios
 * come after all others, and take along what waits in the batch. Models: release_pte_pages(). */
static void put_back(const struct ks_collapse *c, unsigned first, unsigned behind)
{
	struct ks_frames *frames = &c->sys->frames;
	ks_pfn large = KS_PFN_NONE;

	for (unsigned slot = behind; slot-- > first;) {
		const struct ks_pte pte = ks_leaf_get(c->leaf, slot);

		if (ks_pte_is_hole(pte))
			continue;
		if (ks_pfn_is_large(frames, pte.pfn))
			large = pte.pfn;
		else
			ks_lru_putback(c->sys->env, frames, pte.pfn);
	}
	if (large)
		ks_lru_add_large(c->sys->env, frames, large, false);
}

enum ks_scan_result ks_collapse_isolate(const struct ks_collapse *c, unsigned first, unsigned order)
{
	struct look look = look_of(c, order);
	const unsigned behind = first + (1u << order);
	enum ks_scan_result result = KS_SCAN_SUCCEED;
	struct ks_map locked = { .nr = 0 };
	unsigned slot = first;

	while (slot < behind) {
		result = isolate_entry(c, &look, &locked, slot);
		if (result != KS_SCAN_SUCCEED)
			break;
		slot++;
	}
	ks_map_destroy(c->sys->env, &locked);
	if (result == KS_SCAN_SUCCEED)
		result = look_back(c, &look);
	if (result != KS_SCAN_SUCCEED)
		put_back(c, first, slot);
	ks_collapse_trace(c, KSMSIM_TRACE_mm_collapse_huge_page_isolate, result, &look.seen);
	return result;
}
