/*
 * ksm_merge.c - write-protecting, replacing and un-sharing pages.
 *
 * The page being scanned becomes the KSM page; the one found in the unstable
 * tree is given up. Every failure is -EFAULT and leaves a trace event. What can
 * surprise: a KSM page has no anon_vma, so it can never be merged into another
 * one (write_protect refuses it), and a page with any reference beyond its
 * mappings cannot be merged at all: a fresh page in the LRU add batch is one.
 */
#include "ksm.h"

struct ks_vma *ks_mergeable_vma(struct ks_mm *mm, uint64_t vpn)
{
	struct ks_vma *vma;

	if (!mm->alive)
		return NULL;
	vma = ks_vma_at(mm, vpn);
	return vma && vma->flags & KS_VM_MERGEABLE && vma->anon_vma ? vma : NULL;
}

bool ks_can_follow(const struct ks_ksm *ksm, const struct ks_vma *vma)
{
	return vma->flags & (KS_VM_READ | KS_VM_WRITE | KS_VM_EXEC) ||
	       !ksm->env->feature[KS_FEAT_follow_needs_access];
}

ks_pfn ks_mergeable_page(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t vpn)
{
	const struct ks_vma *vma = ks_mergeable_vma(mm, vpn);
	struct ks_pte pte;

	if (!vma || !ks_can_follow(ksm, vma))
		return KS_PFN_NONE;
	pte = ks_pte_get(&ksm->sys->tables, &mm->pt, vpn);
	return ks_pte_is_anon(pte) ? pte.pfn : KS_PFN_NONE;
}

/* Models: mm/ksm.c:write_protect_page(). ksmd's own references of a page are not among the frame's
 * here, unless the page was one of a large folio. */
static bool write_protect(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t vpn, ks_pfn pfn)
{
	struct ks_frames *frames = &ksm->sys->frames;
	struct ks_frame *frame = ks_frame(frames, pfn);
	struct ks_pte pte = ks_pte_get(&ksm->sys->tables, &mm->pt, vpn);
	const bool exclusive = ks_frame_test(frame, KS_FRAME_EXCLUSIVE);

	if (ks_frame_test(frame, KS_FRAME_KSM))
		return false;
	if (!ks_pte_is_anon(pte) || pte.pfn != pfn)
		return false;
	if (!exclusive && !(pte.bits & (KS_PTE(WRITE) | KS_PTE(DIRTY))))
		return true;
	if (ks_frame_refs(frames, pfn) != ks_frame_maps(frame) + ks_large_held(ksm, pfn) +
						  ks_frame_test(frame, KS_FRAME_SWAPCACHE))
		return false;
	ks_frame_flag(frame, KS_FRAME_EXCLUSIVE, false);
	if (pte.bits & KS_PTE(DIRTY))
		ks_frame_flag(frame, KS_FRAME_DIRTY, true);
	pte.bits &= ~(uint32_t)(KS_PTE(WRITE) | KS_PTE(DIRTY) | KS_PTE(WATCHED));
	ks_pte_set(ksm->env, &ksm->sys->tables, &mm->pt, vpn, pte);
	return true;
}

/* What is mapped instead does not count as changed, whatever the page before did; but the marked zero
 * page does. Models: mm/ksm.c:replace_page(). */
static void replace(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t vpn, ks_pfn pfn, ks_pfn kpfn)
{
	struct ks_env *env = ksm->env;
	struct ks_frames *frames = &ksm->sys->frames;
	struct ks_pte pte = { .pfn = kpfn, .bits = KS_PTE(PRESENT) | KS_PTE(YOUNG) };
	const bool locked = ks_vma_at(mm, vpn)->flags & KS_VM_LOCKED;

	if (kpfn == KS_PFN_ZERO) {
		pte.bits = KS_PTE(PRESENT) | KS_PTE(SPECIAL);
		mm->rss_anon--;
		if (env->feature[KS_FEAT_zero_tracking]) {
			pte.bits |= KS_PTE_MKDIRTY;
			mm->ksm_zero_pages++;
			ks_count(env, KSMSIM_COUNT_ksm_zero_pages, 1);
		}
		ks_cost(env, KS_COST_merge_zero);
	} else {
		ks_frame_map(env, frames, kpfn);
		ks_cost(env, KS_COST_merge);
	}
	if (locked) {
		ks_lru_mlock(env, frames, kpfn);
		ks_lru_munlock(env, frames, pfn, false);
	}
	ks_pte_set(env, &ksm->sys->tables, &mm->pt, vpn, pte);
	ks_anon_unmap(ksm->sys, pfn);
}

/* @kpfn: a KSM page, KS_PFN_ZERO, or KS_PFN_NONE to make @pfn a KSM page.
 * Models: mm/ksm.c:try_to_merge_one_page(). */
static int merge_one(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t vpn, ks_pfn pfn, ks_pfn kpfn)
{
	struct ks_frame *frame;

	if (pfn == kpfn)
		return 0;
	if (ks_pfn_is_large(&ksm->sys->frames, pfn) && !ks_large_split(ksm, pfn))
		return KS_EFAULT;
	if (!write_protect(ksm, mm, vpn, pfn))
		return KS_EFAULT;
	frame = ks_frame(&ksm->sys->frames, pfn);
	if (kpfn == KS_PFN_NONE) {
		ks_frame_flag(frame, KS_FRAME_KSM, true);
		ks_lru_became_ksm(ksm->env, &ksm->sys->frames, pfn);
		ks_frame_flag(frame, KS_FRAME_DIRTY, true);
		ks_cost(ksm->env, KS_COST_merge_new);
		return 0;
	}
	if (ks_inject(ksm->env, KSMSIM_INJECT_merge_race) ||
	    frame->cid != (kpfn == KS_PFN_ZERO ? KS_CID_ZERO : ks_frame_content(ksm, kpfn)))
		return KS_EFAULT;
	ks_cost(ksm->env, KS_COST_compare_full);
	replace(ksm, mm, vpn, pfn, kpfn);
	return 0;
}

int ks_merge_zero(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t vpn, ks_pfn pfn)
{
	if (!ks_large_may_split(ksm, pfn, KS_PFN_ZERO))
		return KS_EFAULT;
	return merge_one(ksm, mm, vpn, pfn, KS_PFN_ZERO);
}

/* @allowed: the folio of @pfn may be split. Models: mm/ksm.c:try_to_merge_with_ksm_page(). */
static int merge_with(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn, ks_pfn kpfn,
		      bool allowed)
{
	struct ks_mm *mm = ks_item_mm(ksm, item);
	const uint64_t vpn = ks_item_vpn(item);
	struct ksmsim_event event = {
		.trace = KSMSIM_TRACE_ksm_merge_with_ksm_page,
		.mm = mm->id,
		.vaddr = vpn << ksm->sys->tables.geo->page_shift,
		.pfn = kpfn ? kpfn : pfn,
		.has_ksm_page = kpfn != KS_PFN_NONE,
		.error = KS_EFAULT,
	};

	if (allowed && ks_mergeable_vma(mm, vpn))
		event.error = merge_one(ksm, mm, vpn, pfn, kpfn);
	if (!event.error)
		ks_item_detach(ksm, item);
	ks_trace(ksm->env, &event);
	return event.error;
}

int ks_merge_with(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn, ks_pfn kpfn)
{
	return merge_with(ksm, item, pfn, kpfn, ks_large_may_split(ksm, pfn, kpfn));
}

void ks_break_cow(struct ks_ksm *ksm, const struct ks_item *item)
{
	struct ks_mm *mm = ks_item_mm(ksm, item);
	const uint64_t vpn = ks_item_vpn(item);

	ks_item_reset(ksm, item);
	if (ks_mergeable_vma(mm, vpn))
		ks_unmerge(ksm, mm, vpn, vpn + 1);
}

/* Models: mm/ksm.c:try_to_merge_two_pages(). */
ks_pfn ks_merge_two(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn,
		    const struct ks_item *match, ks_pfn match_pfn)
{
	const bool allowed =
		ks_large_may_split(ksm, pfn, match_pfn) && ks_large_may_split(ksm, match_pfn, pfn);

	if (merge_with(ksm, item, pfn, KS_PFN_NONE, allowed))
		return KS_PFN_NONE;
	if (!merge_with(ksm, match, match_pfn, pfn, true))
		return pfn;
	ks_break_cow(ksm, item);
	return KS_PFN_NONE;
}

/* One page apart: an unshare fault, or in 6.1 a write fault. */
static long break_one(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t vpn)
{
	const enum ks_fault_kind kind = ksm->env->feature[KS_FEAT_unmerge_unshares]
						? KS_FAULT_UNSHARE
						: KS_FAULT_WRITE_FORCED;

	return ks_fault(ksm->sys, mm, vpn, kind) == KS_FAULT_OOM ? -12 : 0;
}

static bool wants_unmerge(const struct ks_ksm *ksm, struct ks_pte pte)
{
	if (ks_pte_is_ksm_zero(pte))
		return true;
	return ks_pte_is_anon(pte) &&
	       ks_frame_test(ks_frame(&ksm->sys->frames, pte.pfn), KS_FRAME_KSM);
}

/* What one look-up of each address reads, up to 6.18: mm/ksm.c:unmerge_ksm_pages(). */
static void charge_addresses(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	struct ksmsim_walk walk;

	ks_walk_cost(&ksm->sys->tables, &mm->pt, start, end, &walk);
	ks_count(ksm->env, KSMSIM_COUNT_unmerge_entries, (int64_t)walk.per_address);
	ks_cost_n(ksm->env, KS_COST_walk_address, walk.addresses);
}

/* Each page of the leaf in slots [first, last]; the number of pages copied apart in *broken. What a
 * PMD entry maps is never of KSM. */
static long unmerge_leaf(struct ks_ksm *ksm, struct ks_mm *mm, const struct ks_leaf *leaf,
			 unsigned first, unsigned last, uint64_t *broken)
{
	if (leaf->huge)
		return 0;
	for (int slot = ks_leaf_next(leaf, first); slot >= 0 && (unsigned)slot <= last;
	     slot = ks_leaf_next(leaf, (unsigned)slot + 1)) {
		long err;

		if (!wants_unmerge(ksm, ks_leaf_get(leaf, (unsigned)slot)) ||
		    !ks_can_follow(ksm, ks_vma_at(mm, leaf->vpn + (unsigned)slot)))
			continue;
		err = break_one(ksm, mm, leaf->vpn + (unsigned)slot);
		if (err)
			return err;
		(*broken)++;
	}
	return 0;
}

long ks_unmerge(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	const struct ks_tables *tables = &ksm->sys->tables;
	uint64_t ptes = 0, broken = 0, entries;
	struct ks_walk walk;
	long err = 0;

	if (!ksm->env->feature[KS_FEAT_range_unmerge])
		charge_addresses(ksm, mm, start, end);
	ks_walk_start(&walk, tables, &mm->pt, start, end);
	while (!err && ks_walk_leaf(&walk)) {
		const struct ks_leaf *leaf = ks_leaf(tables, walk.leaf);

		err = unmerge_leaf(ksm, mm, leaf, walk.first, walk.last, &broken);
		ptes += leaf->huge ? 0 : walk.last - walk.first + 1;
	}
	if (!ksm->env->feature[KS_FEAT_range_unmerge])
		return err;
	/* The range walk starts again at each page that it found: one entry of every level more. */
	entries = walk.entries + ptes + broken * tables->geo->levels;
	ks_count(ksm->env, KSMSIM_COUNT_unmerge_entries, (int64_t)entries);
	ks_cost_n(ksm->env, KS_COST_walk_entry, entries);
	return err;
}
