/*
 * mm.c - floor 4: address spaces: made, forked, replaced, ended.
 *
 * What fork copies: every VMA but those marked DONTCOPY; the page tables of a VMA
 * only if it has an anon_vma, since a fault can rebuild all else. So the plain
 * zero pages of a VMA that was only read are not copied.
 *
 *   parent rw, exclusive --+--> parent r-, shared      a pinned exclusive page is
 *                          +--> child  r-, shared      copied for the child at once
 *
 * What could surprise: the bell of exit rings while the pages are still mapped but
 * the mm already counts as dead; an mm that KSM has not let go of stays on the
 * list without pages until ks_mm_free().
 *
 * Models: kernel/fork.c:dup_mmap(), mm/memory.c:copy_page_range(), mm/mmap.c:exit_mmap(),
 * fs/exec.c:exec_mmap().
 */
#include "mm.h"

#include <errno.h>
#include <string.h>

/* ---- the system ---- */

void ks_system_init(struct ks_system *sys, struct ks_env *env, const struct ks_geometry *geo,
		    unsigned nr_nodes)
{
	memset(sys, 0, sizeof(*sys));
	sys->env = env;
	ks_contents_init(env, &sys->contents, UINT32_C(1) << geo->page_shift);
	ks_frames_init(env, &sys->frames, &sys->contents, nr_nodes, geo->bits[geo->levels - 1]);
	ks_tables_init(env, &sys->tables, geo);
	ks_pool_init(&sys->swap, sizeof(struct ks_swap_slot));
	env->thp_size[sys->frames.pmd_order] = KS_THP_SIZE_INHERIT;
	sys->next_mm_id = 1;
	sys->next_pid = 1;
	sys->next_anon_vma = 1;
}

/* Mms, VMAs and files are tracked allocations: they go with the env. */
void ks_system_destroy(struct ks_system *sys)
{
	ks_pool_destroy(sys->env, &sys->swap);
	ks_tables_destroy(sys->env, &sys->tables);
	ks_frames_destroy(sys->env, &sys->frames);
	ks_contents_destroy(sys->env, &sys->contents);
}

/* x86-64 leaves the last page of the user half unused. */
uint64_t ks_user_end(const struct ks_system *sys)
{
	const struct ks_geometry *geo = sys->tables.geo;

	return (UINT64_C(1) << (geo->user_va_bits - geo->page_shift)) - 1;
}

/* ---- make, find, free ---- */

struct ks_mm *ks_mm_new(struct ks_system *sys, uint32_t pid)
{
	struct ks_mm *mm = ks_alloc(sys->env, sizeof(*mm));

	if (sys->nr_mms == sys->room_mms) {
		const uint32_t room = sys->room_mms ? 2 * sys->room_mms : 8;

		sys->mms = ks_realloc(sys->env, sys->mms, room * sizeof(struct ks_mm *));
		sys->room_mms = room;
	}
	ks_pgtable_init(sys->env, &sys->tables, &mm->pt, mm);
	mm->id = sys->next_mm_id++;
	mm->pid = pid;
	mm->alive = true;
	sys->mms[sys->nr_mms++] = mm;
	return mm;
}

static uint32_t mm_idx(const struct ks_system *sys, uint32_t mm_id)
{
	uint32_t low = 0, high = sys->nr_mms;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;

		if (sys->mms[middle]->id >= mm_id)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct ks_mm *ks_mm_find(const struct ks_system *sys, uint32_t mm_id)
{
	const uint32_t idx = mm_idx(sys, mm_id);

	return idx < sys->nr_mms && sys->mms[idx]->id == mm_id ? sys->mms[idx] : NULL;
}

void ks_mm_free(struct ks_system *sys, struct ks_mm *mm)
{
	const uint32_t idx = mm_idx(sys, mm->id);

	KS_ASSERT(sys->env, !mm->alive);
	KS_ASSERT(sys->env, !mm->ksm_slot);
	KS_ASSERT(sys->env, sys->mms[idx] == mm);
	sys->nr_mms--;
	memmove(sys->mms + idx, sys->mms + idx + 1, (sys->nr_mms - idx) * sizeof(struct ks_mm *));
	ks_free(sys->env, mm);
}

/* ---- fork ---- */

struct copy {
	struct ks_system *sys;
	struct ks_mm *parent, *child;
	const struct ks_vma *vma; /* the parent's */
};

static void set_pte(const struct copy *c, struct ks_mm *mm, uint64_t vpn, struct ks_pte pte)
{
	ks_pte_set(c->sys->env, &c->sys->tables, &mm->pt, vpn, pte);
}

/* A pinned page must stay the parent's: the child gets its own. Models: copy_present_page(). */
static long copy_pinned(const struct copy *c, uint64_t vpn, struct ks_pte pte)
{
	struct ks_system *sys = c->sys;
	const ks_cid cid = ks_frame(&sys->frames, pte.pfn)->cid;
	const ks_pfn pfn = ks_frame_alloc(sys->env, &sys->frames, c->child->nid, cid, true);

	if (!pfn)
		return -ENOMEM;
	ks_content_get(&sys->contents, cid);
	c->child->rss_anon++;
	pte = (struct ks_pte){ pfn, KS_PTE(PRESENT) | KS_PTE(YOUNG) | KS_PTE_MKDIRTY };
	if (c->vma->flags & KS_VM_WRITE)
		pte.bits |= KS_PTE(WRITE);
	set_pte(c, c->child, vpn, pte);
	return 0;
}

/* Models: mm/internal.h:folio_maybe_dma_pinned(). */
bool ks_may_be_pinned(const struct ks_system *sys, ks_pfn pfn)
{
	if (ks_pfn_is_large(&sys->frames, pfn))
		return ks_frame_pins(&sys->frames, pfn) > 0;
	return ks_frame_refs(&sys->frames, pfn) >= KS_PIN_BIAS;
}

static long copy_anon(const struct copy *c, uint64_t vpn, struct ks_pte pte)
{
	struct ks_system *sys = c->sys;
	struct ks_frame *frame = ks_frame(&sys->frames, pte.pfn);

	if (c->parent->has_pinned && ks_frame_test(frame, KS_FRAME_EXCLUSIVE) &&
	    ks_may_be_pinned(sys, pte.pfn))
		return copy_pinned(c, vpn, pte);
	if (ks_frame_test(frame, KS_FRAME_LARGE))
		ks_folio_map_ptes(sys->env, &sys->frames, pte.pfn, 1, c->child->id);
	else
		ks_frame_map(sys->env, &sys->frames, pte.pfn);
	ks_frame_flag(frame, KS_FRAME_EXCLUSIVE, false);
	c->child->rss_anon++;
	if (pte.bits & KS_PTE(WRITE)) {
		pte.bits &= ~(KS_PTE(WRITE) | KS_PTE(WATCHED));
		set_pte(c, c->parent, vpn, pte);
	}
	pte.bits &= ~(KS_PTE(YOUNG) | KS_PTE(WATCHED));
	set_pte(c, c->child, vpn, pte);
	return 0;
}

static void copy_swap(const struct copy *c, uint64_t vpn, struct ks_pte pte)
{
	ks_swap_dup(c->sys, pte.pfn);
	c->child->swap_pages++;
	if (pte.bits & KS_PTE(DIRTY)) {
		pte.bits &= ~(KS_PTE(DIRTY) | KS_PTE(WATCHED));
		set_pte(c, c->parent, vpn, pte);
	}
	set_pte(c, c->child, vpn, pte);
}

static long copy_entry(const struct copy *c, uint64_t vpn, struct ks_pte pte)
{
	ks_cost(c->sys->env, KS_COST_fork_page);
	if (ks_pte_is_anon(pte))
		return copy_anon(c, vpn, pte);
	pte.bits &= ~KS_PTE(WATCHED);
	if (ks_pte_is_guard(pte) || ks_pte_is_hwpoison(pte)) {
		set_pte(c, c->child, vpn, pte);
		return 0;
	}
	if (pte.bits & KS_PTE(NONPRESENT)) {
		copy_swap(c, vpn, pte);
		return 0;
	}
	if (pte.bits & KS_PTE(FILE))
		c->child->rss_file++;
	pte.bits &= ~KS_PTE(YOUNG);
	set_pte(c, c->child, vpn, pte);
	return 0;
}

/* Both sides map the folio read-only. Models: mm/huge_memory.c:copy_huge_pmd(). */
static void copy_pmd(const struct copy *c, struct ks_leaf *leaf)
{
	struct ks_system *sys = c->sys;
	const uint32_t bits = leaf->pmd.bits & ~(KS_PTE(WRITE) | KS_PTE(YOUNG));
	const uint32_t id = ks_folio_id(&sys->frames, leaf->pmd.pfn);

	ks_cost(sys->env, KS_COST_fork_thp);
	if (!ks_leaf_is_thp(leaf)) {
		(void)ks_pmd_map_huge_zero(sys, c->child, leaf->vpn, leaf->pmd.bits & KS_PTE(SOFT));
		return;
	}
	ks_pmd_map(sys, c->child, leaf->vpn, id, bits);
	ks_folio_flag(ks_folio(&sys->frames, id), KS_FOLIO_EXCLUSIVE, false);
	if (leaf->pmd.bits & KS_PTE(WRITE))
		ks_pmd_change(&sys->tables, &c->parent->pt, leaf, leaf->pmd.bits & ~KS_PTE(WRITE));
}

/* The pages of an exclusive folio that is pinned are copied one by one: its PMD is split first. */
static bool copies_as_huge(const struct copy *c, const struct ks_leaf *leaf)
{
	const struct ks_system *sys = c->sys;

	if (!leaf->huge)
		return false;
	if (!ks_leaf_is_thp(leaf) || !c->parent->has_pinned)
		return true;
	if (!ks_page_exclusive(&sys->frames, leaf->pmd.pfn) ||
	    !ks_may_be_pinned(sys, leaf->pmd.pfn))
		return true;
	ks_split_pmd(c->sys, c->parent, leaf->vpn);
	return false;
}

/* The child gets a table wherever the parent has one, also an empty one. */
static long copy_pages(const struct copy *c)
{
	struct ks_system *sys = c->sys;
	struct ks_walk walk;
	long ret = 0;

	ks_walk_start(&walk, &sys->tables, &c->parent->pt, c->vma->start, c->vma->end);
	while (!ret && ks_walk_leaf(&walk)) {
		struct ks_leaf *leaf = ks_leaf(&sys->tables, walk.leaf);

		if (copies_as_huge(c, leaf)) {
			copy_pmd(c, leaf);
			continue;
		}
		ks_pgtable_populate(sys->env, &sys->tables, &c->child->pt, leaf->vpn + walk.first);
		for (int slot = ks_walk_slot(&walk, walk.first); slot >= 0 && !ret;
		     slot = ks_walk_slot(&walk, (unsigned)slot + 1))
			ret = copy_entry(c, leaf->vpn + (unsigned)slot,
					 ks_leaf_get(leaf, (unsigned)slot));
	}
	return ret;
}

/* The child's own anon_vma below the parent's root; its chain has the parent's links, too. */
static void fork_anon_vma(struct ks_system *sys, struct ks_vma *vma)
{
	if (vma->flags & KS_VM_WIPEONFORK) {
		vma->anon_vma = 0;
		vma->anon_root = 0;
		vma->cloned = false;
	} else if (vma->anon_vma) {
		vma->anon_vma = sys->next_anon_vma++;
		vma->cloned = true;
		ks_vma_reinsert(sys, vma);
	}
}

/* Models: mm/memory.c:vma_needs_copy(), VM_WIPEONFORK of dup_mmap(). */
static bool needs_copy(const struct ks_vma *vma)
{
	return vma->anon_vma || (vma->guarded && !(vma->flags & KS_VM_WIPEONFORK));
}

static long copy_vmas(struct ks_system *sys, struct ks_mm *parent, struct ks_mm *child)
{
	child->vmas = ks_alloc(sys->env, (parent->nr_vmas + 1) * sizeof(*child->vmas));
	child->room_vmas = parent->nr_vmas + 1;
	child->anon_roots = parent->anon_roots;
	for (uint32_t i = 0; i < parent->nr_vmas; i++) {
		const struct copy c = { sys, parent, child, &parent->vmas[i] };
		struct ks_vma *vma = &child->vmas[child->nr_vmas];
		long ret;

		if (c.vma->flags & KS_VM_DONTCOPY)
			continue;
		*vma = *c.vma;
		vma->flags &= ~(uint32_t)KS_VM_LOCKED;
		fork_anon_vma(sys, vma);
		child->nr_vmas++;
		if (!needs_copy(vma))
			continue;
		ret = copy_pages(&c);
		if (ret)
			return ret;
	}
	return 0;
}

/**
 * ks_mm_fork() - a copy of @parent's address space
 * @child: out: the new mm; written only on success
 *
 * Before fork_enter_last the child is registered with KSM before it has any VMA,
 * and fork fails if that fails; after, it is registered last, as far as possible.
 *
 * The child takes over the parent's number of KSM zero pages, whatever is copied of
 * them; only if KSM hears of the child does the machine's number grow by it. So that
 * one can go below zero when the others' zero pages go.
 *
 * Models: kernel/fork.c:dup_mm().
 * Returns: 0 or -ENOMEM.
 */
long ks_mm_fork(struct ks_system *sys, struct ks_mm *parent, uint32_t child_pid,
		struct ks_mm **child)
{
	const bool enter_last = sys->env->feature[KS_FEAT_fork_enter_last];
	const bool tell = parent->registered && sys->hooks.fork;
	struct ks_mm *mm = ks_mm_new(sys, child_pid);
	long ret = 0;

	mm->nid = parent->nid;
	mm->brk_start = parent->brk_start;
	mm->brk = parent->brk;
	mm->merge_any = parent->merge_any;
	mm->thp_disable = parent->thp_disable;
	mm->ksm_zero_pages = parent->ksm_zero_pages;
	if (!sys->env->feature[KS_FEAT_fork_resets_counters]) {
		mm->ksm_rmap_items = parent->ksm_rmap_items;
		mm->ksm_merging_pages = parent->ksm_merging_pages;
	}
	if (tell && !enter_last)
		ret = sys->hooks.fork(sys->hooks.self, mm);
	if (!ret)
		ret = copy_vmas(sys, parent, mm);
	if (ret) {
		ks_mm_exit(sys, mm);
		if (!mm->ksm_slot)
			ks_mm_free(sys, mm);
		return ret;
	}
	if (parent->khugepaged_slot)
		sys->hooks.khugepaged_fork(sys->hooks.khugepaged, mm, parent);
	if (tell && enter_last)
		(void)sys->hooks.fork(sys->hooks.self, mm);
	*child = mm;
	return 0;
}

/* ---- exec and exit ---- */

struct ks_mm *ks_mm_exec(struct ks_system *sys, struct ks_mm *mm)
{
	struct ks_mm *next = ks_mm_new(sys, mm->pid);

	next->nid = mm->nid;
	next->merge_any = mm->merge_any;
	next->thp_disable = mm->thp_disable;
	ks_lru_drain_local(sys->env, &sys->frames);
	if (next->merge_any && sys->hooks.exec)
		sys->hooks.exec(sys->hooks.self, next, mm);
	ks_mm_exit(sys, mm);
	return next;
}

/* Open files go with the process, and with them its pins; what others hold they keep. */
static void release_pins(struct ks_system *sys, struct ks_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_pins; i++)
		ks_pin_release(sys, &mm->pins[i], true);
	ks_free(sys->env, mm->pins);
	mm->pins = NULL;
	mm->nr_pins = mm->room_pins = 0;
}

void ks_pin_release(struct ks_system *sys, const struct ks_pin *pin, bool exiting)
{
	const bool is_get = pin->how == KSMSIM_PIN_GET || pin->how == KSMSIM_PIN_HELD;

	if (exiting && pin->how == KSMSIM_PIN_HELD)
		return;
	ks_frame_release(sys->env, &sys->frames, pin->pfn, is_get, !is_get);
}

/**
 * ks_mm_exit() - the last user of @mm goes
 *
 * Models: kernel/fork.c:mmput() of the last user: KSM hears of it first, then
 * everything is unmapped and the tables are freed.
 */
void ks_mm_exit(struct ks_system *sys, struct ks_mm *mm)
{
	KS_ASSERT(sys->env, mm->alive);
	mm->alive = false;
	if (mm->registered && sys->hooks.exit)
		sys->hooks.exit(sys->hooks.self, mm);
	if (mm->khugepaged_slot)
		sys->hooks.khugepaged_exit(sys->hooks.khugepaged, mm);
	ks_lru_drain_for_unmap(sys);
	ks_munlock_unmapped(sys, mm, 0, ks_user_end(sys));
	ks_zap_vmas(sys, mm, 0, ks_user_end(sys));
	ks_lru_drain_for_unmap(sys);
	ks_pgtable_destroy(sys->env, &sys->tables, &mm->pt);
	ks_free(sys->env, mm->vmas);
	mm->vmas = NULL;
	mm->nr_vmas = mm->room_vmas = 0;
	ks_huge_zero_put(sys, mm);
	release_pins(sys, mm);
}
