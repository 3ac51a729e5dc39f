/*
 * thp.c - floor 5: who gets large folios at a fault, and writes to huge pages.
 *
 *   no page table    read  -> huge zero folio     write -> THP of zeros
 *   huge zero folio  write -> THP of zeros; before 6.17: PMD split
 *   read-only THP    write -> reuse if exclusive or alone, else PMD split
 *   empty PTE        write -> the largest folio whose whole block is empty
 *
 * After a PMD split the fault goes on with the page (fault.c).
 *
 * What could surprise: a table, be it empty, keeps THPs out of its block; a block that the VMA does
 * not cover is refused without being counted, and so is an order whose block has a single entry,
 * a zero page too; only allocations that fail are counted. A read that gets a THP maps it writable
 * and dirty. The reuse of a THP is not counted as pgreuse.
 *
 * Models: mm/huge_memory.c:__thp_vma_allowable_orders(), do_huge_pmd_anonymous_page(),
 * do_huge_pmd_wp_page(), do_huge_zero_wp_pmd(); mm/memory.c:alloc_anon_folio().
 * Differs: no userfaultfd, no NUMA hinting, no memory cgroup but for injected refusals; how hard the
 * kernel tries to allocate (defrag) makes no difference.
 */
#include "thp.h"

#define BIT(order) (UINT32_C(1) << (order))
#define SMALLEST 2u /* anonymous folios of two pages do not exist */

/* ---- eligibility ---- */

static uint32_t all_orders(const struct ks_system *sys)
{
	const unsigned pmd = sys->frames.pmd_order;

	return sys->env->feature[KS_FEAT_mthp] ? BIT(pmd + 1) - BIT(SMALLEST) : BIT(pmd);
}

/* What the files enabled and hugepages-<size>kB/enabled say. */
static uint32_t enabled_orders(const struct ks_system *sys, const struct ks_vma *vma)
{
	const struct ks_env *env = sys->env;
	const bool advised = vma->flags & KS_VM_HUGEPAGE;
	const bool inherited = env->knob.thp_enabled == KS_THP_ALWAYS ||
			       (advised && env->knob.thp_enabled == KS_THP_MADVISE);
	const bool yes[] = { [KS_THP_SIZE_NEVER] = false,
			     [KS_THP_SIZE_INHERIT] = inherited,
			     [KS_THP_SIZE_MADVISE] = advised,
			     [KS_THP_SIZE_ALWAYS] = true };
	uint32_t orders = 0;

	if (!env->feature[KS_FEAT_mthp])
		return inherited ? BIT(sys->frames.pmd_order) : 0;
	for (unsigned order = SMALLEST; order <= sys->frames.pmd_order; order++)
		orders |= (uint32_t)yes[env->thp_size[order]] << order;
	return orders;
}

/* Models: include/linux/huge_mm.h:vma_thp_disabled(). */
static bool is_disabled(const struct ks_mm *mm, const struct ks_vma *vma, enum ks_thp_use use)
{
	if (vma->flags & KS_VM_NOHUGEPAGE || mm->thp_disable == KSMSIM_THP_DISABLE_ALL)
		return true;
	return mm->thp_disable == KSMSIM_THP_DISABLE_EXCEPT_ADVISED &&
	       !(vma->flags & KS_VM_HUGEPAGE) && use != KS_THP_COLLAPSE;
}

static unsigned highest(uint32_t orders)
{
	return 31u - (unsigned)__builtin_clz(orders);
}

/* Without the orders of which not even the last block of the VMA fits. */
static uint32_t fitting_orders(const struct ks_vma *vma, uint32_t orders)
{
	while (orders) {
		const unsigned order = highest(orders);
		const uint64_t pages = UINT64_C(1) << order;

		if (vma->end >= pages && ks_thp_fits(vma, vma->end - pages, order))
			break;
		orders -= BIT(order);
	}
	return orders;
}

uint32_t ks_thp_orders(const struct ks_system *sys, const struct ks_mm *mm,
		       const struct ks_vma *vma, enum ks_thp_use use)
{
	uint32_t orders;

	if (!ks_vma_is_anon(vma))
		return 0;
	orders = use == KS_THP_COLLAPSE ? all_orders(sys) : enabled_orders(sys, vma);
	if (!orders || is_disabled(mm, vma, use))
		return 0;
	if (!vma->anon_vma && (use == KS_THP_KHUGEPAGED || use == KS_THP_COLLAPSE))
		return 0;
	return use == KS_THP_FAULT ? orders : fitting_orders(vma, orders);
}

/* ---- new folios ---- */

/* A folio for a fault; 0: there is none, or the memory cgroup refused it. Counts the failures of
 * mTHP sizes; @order may be that of a PMD, too. */
static uint32_t new_folio(struct ks_system *sys, const struct ks_mm *mm, unsigned order,
			  bool *refused)
{
	struct ks_env *env = sys->env;
	const uint32_t id = ks_folio_alloc(env, &sys->frames, mm->nid, order);

	*refused = id && ks_inject(env, KSMSIM_INJECT_thp_charge);
	if (id && !*refused)
		return id;
	ks_mthp(env, KSMSIM_MTHP_anon_fault_fallback, order, 1);
	if (*refused) {
		ks_mthp(env, KSMSIM_MTHP_anon_fault_fallback_charge, order, 1);
		ks_folio_put_if_unused(env, &sys->frames, id);
	}
	return 0;
}

static uint32_t new_thp(struct ks_system *sys, const struct ks_mm *mm)
{
	bool refused;
	const uint32_t id = new_folio(sys, mm, sys->frames.pmd_order, &refused);

	if (id)
		return id;
	ks_count(sys->env, KSMSIM_COUNT_thp_fault_fallback, 1);
	if (refused)
		ks_count(sys->env, KSMSIM_COUNT_thp_fault_fallback_charge, 1);
	return 0;
}

/* @folio gets its place and flags as the folio of the pages from @start on. */
static void place_folio(struct ks_system *sys, const struct ks_vma *vma, uint64_t start,
			struct ks_folio *folio)
{
	folio->root = vma->anon_root;
	folio->index = vma->pgoff + (start - vma->start);
	ks_folio_flag(folio, KS_FOLIO_LAZYFREE, vma->flags & KS_VM_DROPPABLE);
	ks_lru_add_large(sys->env, &sys->frames, folio->head, vma->flags & KS_VM_LOCKED);
}

/* Models: map_anon_folio_pmd(). */
static void map_thp(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma,
		    uint64_t start, uint32_t id, uint32_t bits)
{
	struct ks_env *env = sys->env;
	struct ks_folio *folio = ks_folio(&sys->frames, id);

	ks_pmd_map(sys, mm, start, id, bits);
	ks_folio_flag(folio, KS_FOLIO_EXCLUSIVE, true);
	place_folio(sys, vma, start, folio);
	ks_count(env, KSMSIM_COUNT_thp_fault_alloc, 1);
	ks_mthp(env, KSMSIM_MTHP_anon_fault_alloc, folio->order, 1);
	if (env->feature[KS_FEAT_underused_shrinker] && env->knob.shrink_underused)
		ks_folio_queue(env, &sys->frames, id, false);
}

static uint32_t writable_bits(const struct ks_vma *vma)
{
	return KS_PTE(PRESENT) | KS_PTE(YOUNG) | KS_PTE_MKDIRTY |
	       (vma->flags & KS_VM_WRITE ? KS_PTE(WRITE) : 0);
}

/* ---- faults where nothing is ---- */

static void tell_khugepaged(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma)
{
	if (sys->hooks.khugepaged_enter)
		sys->hooks.khugepaged_enter(sys->hooks.khugepaged, mm, vma);
}

bool ks_thp_fault(struct ks_system *sys, struct ks_mm *mm, struct ks_vma *vma, uint64_t vpn,
		  bool write)
{
	const unsigned order = sys->frames.pmd_order;
	const uint64_t start = ks_pmd_start(sys, vpn);
	uint32_t id;

	if (!ks_thp_fits(vma, vpn, order) ||
	    !(ks_thp_orders(sys, mm, vma, KS_THP_FAULT) & BIT(order)))
		return false;
	ks_vma_prepare_anon(sys, mm, vma);
	tell_khugepaged(sys, mm, vma);
	if (!write && sys->env->knob.use_zero_page) {
		if (ks_pmd_map_huge_zero(sys, mm, start, 0)) {
			ks_cost(sys->env, KS_COST_fault_huge_zero);
			return true;
		}
		ks_count(sys->env, KSMSIM_COUNT_thp_fault_fallback, 1);
		return false;
	}
	id = new_thp(sys, mm);
	if (!id)
		return false;
	map_thp(sys, mm, vma, start, id, writable_bits(vma));
	ks_cost(sys->env, KS_COST_fault_thp);
	return true;
}

/* Of @orders, those of at most the highest one whose block around @vpn has no entry at all. */
static uint32_t empty_orders(const struct ks_system *sys, const struct ks_mm *mm, uint64_t vpn,
			     uint32_t orders)
{
	const struct ks_leaf *leaf =
		ks_leaf(&sys->tables, ks_leaf_find(&sys->tables, &mm->pt, vpn));
	const unsigned slot = (unsigned)(vpn - leaf->vpn);

	while (orders) {
		const unsigned order = highest(orders), first = slot & ~(BIT(order) - 1);
		const int next = ks_leaf_next(leaf, first);

		if (next < 0 || (unsigned)next >= first + BIT(order))
			break;
		orders -= BIT(order);
	}
	return orders;
}

static void map_mthp(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma,
		     uint64_t start, uint32_t id)
{
	struct ks_env *env = sys->env;
	struct ks_folio *folio = ks_folio(&sys->frames, id);
	const uint32_t nr = ks_folio_pages(folio), bits = writable_bits(vma);

	ks_folio_map_ptes(env, &sys->frames, folio->head, nr, mm->id);
	for (uint32_t i = 0; i < nr; i++) {
		ks_frame_flag(ks_frame(&sys->frames, folio->head + i), KS_FRAME_EXCLUSIVE, true);
		ks_pte_set(env, &sys->tables, &mm->pt, start + i,
			   (struct ks_pte){ folio->head + i, bits });
	}
	mm->rss_anon += nr;
	place_folio(sys, vma, start, folio);
	ks_mthp(env, KSMSIM_MTHP_anon_fault_alloc, folio->order, 1);
	ks_cost_n(env, KS_COST_fault_mthp_page, nr);
}

bool ks_thp_fault_ptes(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma,
		       uint64_t vpn)
{
	uint32_t orders =
		ks_thp_orders(sys, mm, vma, KS_THP_FAULT) & (BIT(sys->frames.pmd_order) - 1);

	while (orders && !ks_thp_fits(vma, vpn, highest(orders)))
		orders -= BIT(highest(orders));
	if (orders)
		orders = empty_orders(sys, mm, vpn, orders);
	while (orders) {
		const unsigned order = highest(orders);
		bool refused;
		const uint32_t id = new_folio(sys, mm, order, &refused);

		if (id) {
			map_mthp(sys, mm, vma, vpn & ~(uint64_t)(BIT(order) - 1), id);
			return true;
		}
		orders -= BIT(order);
	}
	return false;
}

/* ---- writes to huge pages that may not be written ---- */

/* The THP that takes the place of the huge zero folio is writable for an unshare fault, too. */
static bool write_huge_zero(struct ks_system *sys, struct ks_mm *mm, struct ks_vma *vma,
			    uint64_t start)
{
	uint32_t id;

	if (!sys->env->feature[KS_FEAT_huge_zero_write_allocs])
		return false;
	ks_vma_prepare_anon(sys, mm, vma);
	id = new_thp(sys, mm);
	if (!id)
		return false;
	map_thp(sys, mm, vma, start, id, writable_bits(vma));
	ks_cost(sys->env, KS_COST_fault_thp);
	return true;
}

static bool reuse_thp(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma,
		      struct ks_leaf *leaf, bool write)
{
	struct ks_folio *folio = ks_folio_of(&sys->frames, leaf->pmd.pfn);

	if (!ks_folio_test(folio, KS_FOLIO_EXCLUSIVE)) {
		if (folio->maps + folio->gets != 1)
			return false;
		ks_folio_flag(folio, KS_FOLIO_EXCLUSIVE, true);
	}
	if (write) {
		ks_pmd_change(&sys->tables, &mm->pt, leaf, leaf->pmd.bits | writable_bits(vma));
		ks_cost(sys->env, KS_COST_fault_reuse);
	}
	return true;
}

static void copy_contents(struct ks_system *sys, ks_pfn from, ks_pfn to, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++) {
		const ks_cid cid = ks_frame(&sys->frames, from + i)->cid;

		if (cid == KS_CID_ZERO)
			continue;
		ks_content_get(&sys->contents, cid);
		ks_frame_set_content(sys->env, &sys->frames, to + i, cid);
	}
}

/* Policy: the whole of a shared THP is copied. No kernel since 5.8 does it. */
static bool copy_thp(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma,
		     const struct ks_leaf *leaf, bool write)
{
	const struct ksmsim_policy *policy = &sys->policy;
	const uint32_t old = ks_folio_id(&sys->frames, leaf->pmd.pfn);
	struct ks_folio *folio = ks_folio(&sys->frames, old);
	const struct ksmsim_cow_question question = { .hugepage = vma->flags & KS_VM_HUGEPAGE,
						      .mappings = folio->maps };
	uint32_t id;

	if (!policy->cow_pmd || !policy->cow_pmd(policy->self, &question))
		return false;
	id = new_thp(sys, mm);
	if (!id)
		return false;
	copy_contents(sys, folio->head, ks_folio(&sys->frames, id)->head, ks_folio_pages(folio));
	mm->rss_anon -= ks_pmd_pages(sys);
	mm->nr_anon_pmds--;
	map_thp(sys, mm, vma, leaf->vpn, id,
		write ? writable_bits(vma)
		      : KS_PTE(PRESENT) | KS_PTE(YOUNG) | (leaf->pmd.bits & KS_PTE(SOFT)));
	if (vma->flags & KS_VM_LOCKED)
		ks_lru_munlock(sys->env, &sys->frames, folio->head, true);
	ks_folio_unmap_pmd(sys->env, &sys->frames, old, mm->id);
	ks_cost(sys->env, KS_COST_copy_pmd);
	return true;
}

bool ks_thp_write(struct ks_system *sys, struct ks_mm *mm, struct ks_vma *vma, uint64_t vpn,
		  bool write)
{
	struct ks_leaf *leaf = ks_pmd_find(&sys->tables, &mm->pt, vpn);
	bool done;

	KS_ASSERT(sys->env, leaf);
	if (ks_leaf_is_thp(leaf))
		done = reuse_thp(sys, mm, vma, leaf, write) || copy_thp(sys, mm, vma, leaf, write);
	else
		done = write_huge_zero(sys, mm, vma, leaf->vpn);
	if (!done)
		ks_split_pmd(sys, mm, vpn);
	return done;
}
