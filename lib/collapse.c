/*
 * collapse.c - floor 5: the pages of a block become one large folio.
 *
 *   scan      look at every entry of the table (collapse_look.c)
 *   allocate  counted, whatever comes of it
 *   swap in   what is swapped out
 *   isolate   look again, now locking each page (collapse_look.c)
 *   replace   contents go over, the old mappings go, and the table is the new THP's deposit
 *
 * Below PMD order (khugepaged since 7.3) the scan leaves a bitmap of present
 * pages, and each part of the block is tried from the largest size down.
 *
 * What could surprise: a failure after the first step leaves an allocation
 * counted, and pages in the LRU add batch; a swap entry and a guard marker count
 * alike, but the latter cannot be swapped in; the pages that others map, too, stay
 * theirs, KSM pages among them.
 *
 * Models: mm/khugepaged.c:collapse_huge_page(), __collapse_huge_page_copy(),
 * madvise_collapse().
 * Differs: no userfaultfd, no NUMA distance limit, no memory errors. Blocks without a table of
 * PMD entries are passed together, with one event. Files and shared memory have contents, but no
 * page cache and no folios: MADV_COLLAPSE of them is -EINVAL, and counted as not modelled. The
 * kernel makes THPs of shared memory in which a page of the block was ever touched, by anybody.
 * The pages that were copied do not wait in the LRU add batch for their end.
 */
#include "collapse.h"

#include <errno.h>

/* ---- allocate and swap in ---- */

/* The node that has most of the pages. Models: hpage_collapse_find_target_node(). */
static unsigned target_node(const struct ks_collapse *c)
{
	unsigned target = 0;

	for (unsigned nid = 1; nid < c->sys->frames.nr_nodes; nid++) {
		if (c->load[nid] > c->load[target])
			target = nid;
	}
	return target;
}

/* A new folio, held once. Models: alloc_charge_folio(). */
static enum ks_scan_result alloc_folio(const struct ks_collapse *c, unsigned order, ks_pfn *head)
{
	struct ks_env *env = c->sys->env;
	struct ks_frames *frames = &c->sys->frames;
	const uint32_t id = ks_folio_alloc(env, frames, target_node(c), order);

	if (order == ks_collapse_pmd_order(c))
		ks_count(env,
			 id ? KSMSIM_COUNT_thp_collapse_alloc
			    : KSMSIM_COUNT_thp_collapse_alloc_failed,
			 1);
	if (ks_collapse_has(c, KS_FEAT_mthp_collapse))
		ks_mthp(env, id ? KSMSIM_MTHP_collapse_alloc : KSMSIM_MTHP_collapse_alloc_failed,
			order, 1);
	if (!id)
		return KS_SCAN_ALLOC_HUGE_PAGE_FAIL;
	if (ks_inject(env, KSMSIM_INJECT_thp_charge)) {
		ks_folio_put_if_unused(env, frames, id);
		return KS_SCAN_CGROUP_CHARGE_FAIL;
	}
	*head = ks_folio(frames, id)->head;
	ks_folio_get(env, frames, *head, 1);
	return KS_SCAN_SUCCEED;
}

/* Only all of the block is worth reading from swap. The fault is no page fault of the process, and
 * what it leaves in the LRU batch is drained. Models: __collapse_huge_page_swapin(). */
static enum ks_scan_result swap_in(struct ks_collapse *c, uint64_t vpn, unsigned order)
{
	struct ks_env *env = c->sys->env;
	const uint64_t pgfault = env->count[KSMSIM_COUNT_pgfault];
	enum ks_scan_result result = KS_SCAN_SUCCEED;

	for (uint64_t at = vpn; at < vpn + (UINT64_C(1) << order); at++) {
		const struct ks_pte pte = ks_leaf_get(c->leaf, (unsigned)(at - c->vpn));

		if (!(pte.bits & KS_PTE(NONPRESENT)))
			continue;
		if (order < ks_collapse_pmd_order(c))
			result = ks_collapse_exceed(c, order, KS_SCAN_EXCEED_SWAP_PTE);
		else if (ks_fault(c->sys, c->mm, at, KS_FAULT_READ) != KS_FAULT_DONE)
			result = KS_SCAN_FAIL;
		if (result != KS_SCAN_SUCCEED)
			break;
		c->seen.swapped_in++;
	}
	env->count[KSMSIM_COUNT_pgfault] = pgfault;
	if (c->seen.swapped_in && result == KS_SCAN_SUCCEED)
		ks_lru_drain(env, &c->sys->frames);
	c->vma = ks_vma_at(c->mm, c->vpn);
	ks_collapse_trace(c, KSMSIM_TRACE_mm_collapse_huge_page_swapin, result, &c->seen);
	return result;
}

/* ---- copy ---- */

/* New folios are pages of zeros. */
static void copy_contents(const struct ks_collapse *c, unsigned first, unsigned order, ks_pfn head)
{
	struct ks_system *sys = c->sys;

	for (unsigned i = 0; i < 1u << order; i++) {
		const struct ks_pte pte = ks_leaf_get(c->leaf, first + i);
		ks_cid cid;

		if (ks_pte_is_hole(pte))
			continue;
		cid = ks_frame(&sys->frames, pte.pfn)->cid;
		if (cid == KS_CID_ZERO)
			continue;
		ks_content_get(&sys->contents, cid);
		ks_frame_set_content(sys->env, &sys->frames, head + i, cid);
	}
}

/* The old mappings go. Returns: entries. */
static unsigned drop_entries(const struct ks_collapse *c, unsigned slot, unsigned behind)
{
	struct ks_system *sys = c->sys;
	const struct ks_pte pte = ks_leaf_get(c->leaf, slot);
	const bool large = ks_pte_is_anon(pte) && ks_pfn_is_large(&sys->frames, pte.pfn);
	const bool batched = large && ks_collapse_has(c, KS_FEAT_collapse_unmap_batched);
	const unsigned nr = batched ? ks_folio_run(sys, c->leaf, slot, behind - 1) : 1;

	for (unsigned i = 0; i < nr; i++)
		ks_pte_set(sys->env, &sys->tables, &c->mm->pt, c->vpn + slot + i,
			   (struct ks_pte){ .bits = 0 });
	if (c->vma->flags & KS_VM_LOCKED && ks_pte_is_anon(pte))
		ks_lru_munlock(sys->env, &sys->frames, pte.pfn, false);
	if (!large) {
		ks_pte_gone(sys, c->mm, pte);
		return nr;
	}
	c->mm->rss_anon -= nr;
	ks_folio_unmap_ptes(sys->env, &sys->frames, pte.pfn, nr, c->mm->id);
	return nr;
}

static uint32_t new_bits(const struct ks_collapse *c)
{
	return KS_PTE(PRESENT) | KS_PTE(YOUNG) | KS_PTE_MKDIRTY |
	       (c->vma->flags & KS_VM_WRITE ? KS_PTE(WRITE) : 0);
}

static void map_pmd(const struct ks_collapse *c, uint32_t id)
{
	struct ks_system *sys = c->sys;

	ks_pmd_map(sys, c->mm, c->vpn, id, new_bits(c));
	ks_folio_flag(ks_folio(&sys->frames, id), KS_FOLIO_EXCLUSIVE, true);
	if (ks_collapse_has(c, KS_FEAT_underused_shrinker) && sys->env->knob.shrink_underused)
		ks_folio_queue(sys->env, &sys->frames, id, false);
	ks_cost(sys->env, KS_COST_collapse);
}

static void map_ptes(const struct ks_collapse *c, uint64_t vpn, ks_pfn head, uint32_t nr)
{
	struct ks_system *sys = c->sys;

	ks_folio_map_ptes(sys->env, &sys->frames, head, nr, c->mm->id);
	for (uint32_t i = 0; i < nr; i++) {
		ks_frame_flag(ks_frame(&sys->frames, head + i), KS_FRAME_EXCLUSIVE, true);
		ks_pte_set(sys->env, &sys->tables, &c->mm->pt, vpn + i,
			   (struct ks_pte){ head + i, new_bits(c) });
	}
	c->mm->rss_anon += nr;
	ks_cost_n(sys->env, KS_COST_fault_mthp_page, nr);
}

/* Nothing can fail any more. */
static void replace(const struct ks_collapse *c, unsigned first, unsigned order, ks_pfn head)
{
	struct ks_system *sys = c->sys;
	const uint32_t id = ks_folio_id(&sys->frames, head);
	struct ks_folio *folio = ks_folio(&sys->frames, id);
	unsigned slot = first;

	copy_contents(c, first, order, head);
	while (slot < first + (1u << order))
		slot += drop_entries(c, slot, first + (1u << order));
	folio->root = c->vma->anon_root;
	folio->index = c->vma->pgoff + (c->vpn + first - c->vma->start);
	ks_folio_flag(folio, KS_FOLIO_LAZYFREE, c->vma->flags & KS_VM_DROPPABLE);
	if (order == ks_collapse_pmd_order(c))
		map_pmd(c, id);
	else
		map_ptes(c, c->vpn + first, head, 1u << order);
	ks_lru_add_large(sys->env, &sys->frames, head, c->vma->flags & KS_VM_LOCKED);
}

static enum ks_scan_result fill_folio(struct ks_collapse *c, unsigned first, unsigned order,
				      ks_pfn head)
{
	enum ks_scan_result result = KS_SCAN_SUCCEED;

	if (c->seen.swap)
		result = swap_in(c, c->vpn + first, order);
	if (result == KS_SCAN_SUCCEED)
		result = ks_collapse_isolate(c, first, order);
	if (result == KS_SCAN_SUCCEED)
		replace(c, first, order, head);
	ks_folio_put(c->sys->env, &c->sys->frames, head, 1);
	return result;
}

/* Models: collapse_huge_page(). */
static enum ks_scan_result collapse_part(struct ks_collapse *c, unsigned first, unsigned order)
{
	enum ks_scan_result result;
	ks_pfn head;

	result = alloc_folio(c, order, &head);
	if (result == KS_SCAN_SUCCEED)
		result = fill_folio(c, first, order, head);
	ks_collapse_trace(c, KSMSIM_TRACE_mm_collapse_huge_page, result, &c->seen);
	return result;
}

/* ---- parts of a block, since 7.3 ---- */

static unsigned nr_present(const struct ks_collapse *c, unsigned first, unsigned order)
{
	unsigned nr = 0;

	for (unsigned slot = first; slot < first + (1u << order); slot++)
		nr += (unsigned)(c->present[slot / 64] >> (slot % 64) & 1);
	return nr;
}

static bool is_worth_it(const struct ks_collapse *c, unsigned first, unsigned order)
{
	uint32_t nr = nr_present(c, first, order);

	if (order == ks_collapse_pmd_order(c))
		nr += c->seen.swap;
	return c->orders >> order & 1 && nr + ks_collapse_none_max(c, order) >= UINT32_C(1)
											<< order;
}

/* Might a smaller size do? */
static bool depends_on_size(enum ks_scan_result result)
{
	switch (result) {
	case KS_SCAN_ALLOC_HUGE_PAGE_FAIL:
	case KS_SCAN_LACK_REFERENCED_PAGE:
	case KS_SCAN_EXCEED_NONE_PTE:
	case KS_SCAN_EXCEED_SWAP_PTE:
	case KS_SCAN_EXCEED_SHARED_PTE:
	case KS_SCAN_PAGE_LOCK:
	case KS_SCAN_PAGE_COUNT:
	case KS_SCAN_PAGE_NULL:
	case KS_SCAN_PAGE_LRU:
	case KS_SCAN_DEL_PAGE_LRU:
	case KS_SCAN_PTE_NON_PRESENT:
	case KS_SCAN_PAGE_LAZYFREE:
		return true;
	default:
		return false;
	}
}

/**
 * collapse_parts() - the largest sizes that fit, from the start of the block on
 *
 * The sizes at a place are those of its alignment. Models: mm/khugepaged.c:mthp_collapse().
 * Returns: KS_SCAN_SUCCEED if any part was collapsed, else that there was no memory for one, else why
 * the last one was not.
 */
static enum ks_scan_result collapse_parts(struct ks_collapse *c)
{
	enum ks_scan_result last = KS_SCAN_FAIL;
	unsigned first = 0, order = ks_collapse_pmd_order(c);
	bool any = false, no_memory = false;

	while (first < ks_pmd_pages(c->sys)) {
		bool smaller = true;

		if (is_worth_it(c, first, order)) {
			const enum ks_scan_result result = collapse_part(c, first, order);

			any |= result == KS_SCAN_SUCCEED;
			no_memory |= result == KS_SCAN_ALLOC_HUGE_PAGE_FAIL;
			smaller = depends_on_size(result);
			if (result != KS_SCAN_SUCCEED && result != KS_SCAN_PTE_MAPPED_HUGEPAGE)
				last = result;
			if (!smaller && last == result)
				break;
		}
		if (smaller && c->orders & ((UINT32_C(1) << order) - 1)) {
			order--;
			continue;
		}
		first += 1u << order;
		order = (unsigned)__builtin_ctz(first);
	}
	if (any)
		return KS_SCAN_SUCCEED;
	return no_memory ? KS_SCAN_ALLOC_HUGE_PAGE_FAIL : last;
}

/* ---- a block ---- */

static uint32_t allowed_orders(const struct ks_system *sys, const struct ks_mm *mm,
			       const struct ks_vma *vma, bool khugepaged)
{
	const uint32_t pmd = UINT32_C(1) << sys->frames.pmd_order;

	if (!khugepaged)
		return ks_thp_orders(sys, mm, vma, KS_THP_COLLAPSE) & pmd;
	return ks_thp_orders(sys, mm, vma, KS_THP_KHUGEPAGED) &
	       (sys->env->feature[KS_FEAT_mthp_collapse] ? UINT32_MAX : pmd);
}

static enum ks_scan_result collapse_table(struct ks_collapse *c, struct ks_collapse_effort *effort)
{
	const uint32_t id = ks_leaf_find(&c->sys->tables, &c->mm->pt, c->vpn);
	const uint64_t looked = effort->looked;
	enum ks_scan_result result;

	if (!id)
		return ks_pmd_table_exists(&c->sys->tables, &c->mm->pt, c->vpn) ? KS_SCAN_PMD_NONE
										: KS_SCAN_PMD_NULL;
	c->leaf = ks_leaf(&c->sys->tables, id);
	if (c->leaf->huge)
		return KS_SCAN_PMD_MAPPED;
	result = ks_collapse_scan(c, &effort->looked);
	ks_cost_n(c->sys->env, KS_COST_collapse_pte, effort->looked - looked);
	if (result != KS_SCAN_SUCCEED)
		return result;
	effort->attempted = true;
	if (c->orders == UINT32_C(1) << ks_collapse_pmd_order(c))
		return collapse_part(c, 0, ks_collapse_pmd_order(c));
	return collapse_parts(c);
}

/**
 * ks_collapse_block() - make the block at @vpn one large folio, or several smaller ones
 * @khugepaged: its limits hold, and since 7.3 it may make smaller folios; else it is MADV_COLLAPSE
 * @effort:     grows
 */
enum ks_scan_result ks_collapse_block(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn,
				      bool khugepaged, struct ks_collapse_effort *effort)
{
	struct ks_collapse c = { .sys = sys, .mm = mm, .vpn = vpn, .khugepaged = khugepaged };
	enum ks_scan_result result;

	c.vma = ks_vma_at(mm, vpn);
	if (!c.vma || !ks_thp_fits(c.vma, vpn, sys->frames.pmd_order))
		return KS_SCAN_VMA_CHECK;
	c.orders = allowed_orders(sys, mm, c.vma, khugepaged);
	if (!c.orders)
		return KS_SCAN_VMA_CHECK;
	result = collapse_table(&c, effort);
	ks_collapse_trace(&c, KSMSIM_TRACE_mm_khugepaged_scan_pmd, result, &c.seen);
	return result;
}

/* ---- MADV_COLLAPSE ---- */

static long errno_of(enum ks_scan_result result)
{
	switch (result) {
	case KS_SCAN_ALLOC_HUGE_PAGE_FAIL:
		return -ENOMEM;
	case KS_SCAN_CGROUP_CHARGE_FAIL:
		return -EBUSY;
	case KS_SCAN_PAGE_COUNT:
	case KS_SCAN_PAGE_LOCK:
	case KS_SCAN_PAGE_LRU:
	case KS_SCAN_DEL_PAGE_LRU:
		return -EAGAIN;
	default:
		return -EINVAL;
	}
}

/* Do the blocks behind one that could not be collapsed have their turn? */
static bool goes_on(const struct ks_env *env, enum ks_scan_result result)
{
	switch (result) {
	case KS_SCAN_PMD_NONE:
		return !env->feature[KS_FEAT_collapse_stops_on_pmd_none];
	case KS_SCAN_PMD_NULL:
	case KS_SCAN_PTE_NON_PRESENT:
	case KS_SCAN_PAGE_RO:
	case KS_SCAN_LACK_REFERENCED_PAGE:
	case KS_SCAN_PAGE_NULL:
	case KS_SCAN_PAGE_COUNT:
	case KS_SCAN_PAGE_LOCK:
	case KS_SCAN_PAGE_LRU:
	case KS_SCAN_DEL_PAGE_LRU:
		return true;
	default:
		return false;
	}
}

/* Behind a block; behind all that have no table for their PMD entries, either. */
static uint64_t next_block(const struct ks_system *sys, uint64_t vpn, enum ks_scan_result result)
{
	const struct ks_geometry *geo = sys->tables.geo;

	if (result == KS_SCAN_PMD_NULL)
		return ((vpn >> geo->shift[geo->levels - 3]) + 1) << geo->shift[geo->levels - 3];
	return vpn + ks_pmd_pages(sys);
}

/**
 * ks_madvise_collapse() - MADV_COLLAPSE of what whole blocks [start, end) has
 * @start, @end: inside one VMA
 *
 * Models: mm/khugepaged.c:madvise_collapse().
 * Returns: 0 if every block is huge now, else what went wrong last; before 7.3 also -EINVAL for a
 * range strictly inside one block.
 */
long ks_madvise_collapse(void *khugepaged, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	struct ks_system *sys = ((struct ks_khugepaged *)khugepaged)->sys;
	const uint64_t pages = ks_pmd_pages(sys);
	const uint64_t first = ks_pmd_start(sys, start + pages - 1),
		       behind = ks_pmd_start(sys, end);
	struct ks_collapse_effort effort = { .looked = 0 };
	enum ks_scan_result result;
	long ret = 0;

	if (ks_vma_at(mm, start)->file)
		ks_count(sys->env, KSMSIM_COUNT_file_collapses, 1);
	if (!allowed_orders(sys, mm, ks_vma_at(mm, start), false))
		return -EINVAL;
	ks_lru_drain(sys->env, &sys->frames);
	if (first > behind)
		return sys->env->feature[KS_FEAT_collapse_inside_block_ok] ? 0 : -EINVAL;
	for (uint64_t vpn = first; vpn < behind; vpn = next_block(sys, vpn, result)) {
		result = ks_collapse_block(sys, mm, vpn, false, &effort);
		if (result == KS_SCAN_SUCCEED || result == KS_SCAN_PMD_MAPPED)
			continue;
		ret = errno_of(result);
		if (!goes_on(sys->env, result))
			break;
	}
	return ret;
}
