/*
 * vma.c - floor 4: the VMAs of a process: find, insert, split, merge, flags.
 *
 * A process's VMAs are one sorted array. They are few (65530 at most) and change
 * rarely against how often they are looked up, so an insertion may move the tail.
 *
 *      before      behind              two neighbours become one VMA when flags and
 *   |aaaaaaaaaa|bbbbbbbbbb|            file are the same, the page offsets run on,
 *   0          10         20           and the anon_vmas fit
 *
 * What could surprise: anonymous memory has page offsets, too (where it was first
 * mapped), so moved memory does not merge with what was always there; and a VMA
 * that got its pages from a parent (`cloned`) does not take in a neighbour that
 * has none, since its anon_vma lives longer than it. VM_SOFTDIRTY keeps nobody from
 * merging; what becomes of it then differs between kernels.
 *
 * Models: mm/vma.c:vma_merge_new_range(), vma_merge_existing_range(), split_vma();
 * mm/mmap.c of 6.1; mm/vma.c:find_mergeable_anon_vma().
 */
#include "mm.h"

#include <errno.h>
#include <string.h>

/* ---- the array ---- */

struct ks_vma *ks_vma_find(const struct ks_mm *mm, uint64_t vpn)
{
	uint32_t low = 0, high = mm->nr_vmas;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;

		if (mm->vmas[middle].end > vpn)
			high = middle;
		else
			low = middle + 1;
	}
	return low < mm->nr_vmas ? &mm->vmas[low] : NULL;
}

struct ks_vma *ks_vma_at(const struct ks_mm *mm, uint64_t vpn)
{
	struct ks_vma *vma = ks_vma_find(mm, vpn);

	return vma && vma->start <= vpn ? vma : NULL;
}

/* Index of the first VMA that ends above @vpn; nr_vmas if there is none. */
static uint32_t idx_from(const struct ks_mm *mm, uint64_t vpn)
{
	const struct ks_vma *vma = ks_vma_find(mm, vpn);

	return vma ? (uint32_t)(vma - mm->vmas) : mm->nr_vmas;
}

static void open_slot(struct ks_env *env, struct ks_mm *mm, uint32_t idx, const struct ks_vma *vma)
{
	const struct ks_vma copy = *vma;

	if (mm->nr_vmas == mm->room_vmas) {
		const uint32_t room = mm->room_vmas ? 2 * mm->room_vmas : 8;

		mm->vmas = ks_realloc(env, mm->vmas, room * sizeof(*mm->vmas));
		mm->room_vmas = room;
	}
	memmove(mm->vmas + idx + 1, mm->vmas + idx, (mm->nr_vmas - idx) * sizeof(*mm->vmas));
	mm->vmas[idx] = copy;
	mm->nr_vmas++;
}

static void close_slots(struct ks_mm *mm, uint32_t idx, uint32_t nr)
{
	mm->nr_vmas -= nr;
	memmove(mm->vmas + idx, mm->vmas + idx + nr, (mm->nr_vmas - idx) * sizeof(*mm->vmas));
}

/* ---- what fits together ---- */

/* May @target take in pages that belong to @range's anon_vma? Models: is_mergeable_anon_vma(). */
static bool anon_vma_fits(const struct ks_env *env, const struct ks_vma *target,
			  const struct ks_vma *range)
{
	if (target->anon_vma == range->anon_vma)
		return true;
	if (!range->anon_vma)
		return !target->cloned;
	return !target->anon_vma && !range->cloned && env->feature[KS_FEAT_merge_takes_anon_vma];
}

static bool is_followed_by(const struct ks_vma *before, const struct ks_vma *behind)
{
	return before->end == behind->start && before->file == behind->file &&
	       before->pgoff + (before->end - before->start) == behind->pgoff;
}

static bool can_grow_up(const struct ks_env *env, const struct ks_vma *before,
			const struct ks_vma *range)
{
	return is_followed_by(before, range) && before->flags == range->flags &&
	       anon_vma_fits(env, before, range);
}

static bool can_grow_down(const struct ks_env *env, const struct ks_vma *behind,
			  const struct ks_vma *range)
{
	return is_followed_by(range, behind) && behind->flags == range->flags &&
	       anon_vma_fits(env, behind, range);
}

/* May the VMAs on both sides of a range become one? */
static bool can_join(const struct ks_vma *before, const struct ks_vma *behind)
{
	return !before->anon_vma || !behind->anon_vma || before->anon_vma == behind->anon_vma;
}

static void take_anon_vma(struct ks_vma *to, const struct ks_vma *from)
{
	if (to->anon_vma || !from->anon_vma)
		return;
	to->anon_vma = from->anon_vma;
	to->anon_root = from->anon_root;
	to->cloned = from->cloned;
}

/* What @to is to be told when it grows over @from. */
static void take_over(const struct ks_env *env, struct ks_vma *to, const struct ks_vma *from)
{
	to->guarded |= from->guarded;
	if (env->feature[KS_FEAT_vma_sticky])
		to->soft_dirty |= from->soft_dirty;
	take_anon_vma(to, from);
}

static void set_start(struct ks_vma *vma, uint64_t start)
{
	vma->pgoff += start - vma->start;
	vma->start = start;
}

/* ---- insert ---- */

/* khugepaged is told of VMAs that grew or merged. */
static void enter_khugepaged(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn)
{
	if (sys->hooks.khugepaged_enter)
		sys->hooks.khugepaged_enter(sys->hooks.khugepaged, mm, ks_vma_at(mm, vpn));
}

/* Covers @range by its neighbours, if they can. Models: vma_merge_new_range(). */
static bool merge_new(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *range,
		      bool with_behind)
{
	const struct ks_env *env = sys->env;
	const uint32_t idx = idx_from(mm, range->start);
	struct ks_vma *before = idx > 0 ? &mm->vmas[idx - 1] : NULL;
	struct ks_vma *behind = with_behind && idx < mm->nr_vmas ? &mm->vmas[idx] : NULL;

	if (before && !can_grow_up(env, before, range))
		before = NULL;
	if (behind && !can_grow_down(env, behind, range))
		behind = NULL;
	if (before) {
		before->end = range->end;
		if (behind && can_join(before, behind)) {
			before->end = behind->end;
			take_over(env, before, behind);
			close_slots(mm, idx, 1);
		}
		take_over(env, before, range);
		ks_vma_reinsert(sys, before);
	} else if (behind) {
		set_start(behind, range->start);
		take_over(env, behind, range);
		ks_vma_reinsert(sys, behind);
	}
	return before || behind;
}

static long insert(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma,
		   bool with_behind)
{
	const uint32_t idx = idx_from(mm, vma->start);

	KS_ASSERT(sys->env, vma->start < vma->end);
	KS_ASSERT(sys->env, idx == mm->nr_vmas || mm->vmas[idx].start >= vma->end);
	if (merge_new(sys, mm, vma, with_behind)) {
		enter_khugepaged(sys, mm, vma->start);
		return 0;
	}
	if (mm->nr_vmas > KS_VMAS_MAX)
		return -ENOMEM;
	open_slot(sys->env, mm, idx, vma);
	ks_vma_reinsert(sys, &mm->vmas[idx]);
	return 0;
}

long ks_vma_insert(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma)
{
	return insert(sys, mm, vma, true);
}

long ks_vma_append(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma)
{
	return insert(sys, mm, vma, false);
}

void ks_vma_remove(struct ks_mm *mm, uint64_t start, uint64_t end)
{
	const uint32_t first = idx_from(mm, start);
	uint32_t idx = first;

	while (idx < mm->nr_vmas && mm->vmas[idx].start < end)
		idx++;
	if (idx > first)
		close_slots(mm, first, idx - first);
}

/* ---- split, and change the flags of a part ---- */

long ks_vma_split(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn)
{
	const struct ks_vma *vma = ks_vma_at(mm, vpn);
	struct ks_vma upper;
	uint32_t idx;

	if (!vma || vma->start == vpn)
		return 0;
	if (mm->nr_vmas >= KS_VMAS_MAX)
		return -ENOMEM;
	idx = (uint32_t)(vma - mm->vmas);
	upper = *vma;
	set_start(&upper, vpn);
	open_slot(sys->env, mm, idx + 1, &upper);
	mm->vmas[idx].end = vpn;
	ks_vma_reinsert(sys, &mm->vmas[idx + 1]);
	ks_vma_reinsert(sys, &mm->vmas[idx]);
	ks_split_pmd_at(sys, mm, vpn);
	return 0;
}

/* Gives the part @piece (its flags are the new ones) of VMA @idx to its neighbours, if they can
 * take it. Models: vma_merge_existing_range(). */
static bool merge_piece(struct ks_system *sys, struct ks_mm *mm, uint32_t idx,
			const struct ks_vma *piece)
{
	const struct ks_env *env = sys->env;
	struct ks_vma *vma = &mm->vmas[idx];
	const bool at_start = piece->start == vma->start, at_end = piece->end == vma->end;
	struct ks_vma *before = at_start && idx > 0 ? vma - 1 : NULL;
	struct ks_vma *behind = at_end && idx + 1 < mm->nr_vmas ? vma + 1 : NULL;

	if (before && !can_grow_up(env, before, piece))
		before = NULL;
	if (behind && !can_grow_down(env, behind, piece))
		behind = NULL;
	if (before && behind && can_join(before, behind)) {
		before->end = behind->end;
		take_over(env, before, behind);
		take_over(env, before, vma);
		ks_vma_reinsert(sys, before);
		close_slots(mm, idx, 2);
	} else if (before) {
		before->end = piece->end;
		take_over(env, before, vma);
		ks_vma_reinsert(sys, before);
		ks_vma_reinsert(sys, vma);
		if (at_end)
			close_slots(mm, idx, 1);
		else
			set_start(vma, piece->end);
	} else if (behind) {
		set_start(behind, piece->start);
		take_over(env, behind, vma);
		ks_vma_reinsert(sys, behind);
		ks_vma_reinsert(sys, vma);
		if (at_start)
			close_slots(mm, idx, 1);
		else
			vma->end = piece->start;
	}
	return before || behind;
}

long ks_vma_set_flags(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end,
		      uint32_t flags)
{
	struct ks_vma *vma = ks_vma_at(mm, start);
	struct ks_vma piece;
	long ret;

	KS_ASSERT(sys->env, vma && start < end);
	KS_ASSERT(sys->env, end <= vma->end);
	if (vma->flags == flags)
		return 0;
	piece = *vma;
	set_start(&piece, start);
	piece.end = end;
	piece.flags = flags;
	if (merge_piece(sys, mm, (uint32_t)(vma - mm->vmas), &piece)) {
		/* the caller's flags, VM_SOFTDIRTY too, become those of all of it */
		if (!sys->env->feature[KS_FEAT_vma_sticky])
			ks_vma_at(mm, start)->soft_dirty = piece.soft_dirty;
		/* one of the two is the VMA's boundary now, or none: vma_adjust_trans_huge() */
		if (ks_vma_at(mm, start)->start == start)
			ks_split_pmd_at(sys, mm, start);
		if (ks_vma_at(mm, end - 1)->end == end)
			ks_split_pmd_at(sys, mm, end);
		enter_khugepaged(sys, mm, start);
		return 0;
	}
	ret = ks_vma_split(sys, mm, start);
	if (!ret)
		ret = ks_vma_split(sys, mm, end);
	if (!ret)
		ks_vma_at(mm, start)->flags = flags;
	return ret;
}

/* ---- anon_vma ---- */

/* Rights may differ: mprotect() splits VMAs that would otherwise be one. */
static bool shares_anon_vma(const struct ks_vma *vma, const struct ks_vma *neighbour,
			    bool neighbour_is_behind)
{
	const uint32_t rights = KS_VM_READ | KS_VM_WRITE | KS_VM_EXEC;

	if (!neighbour->anon_vma || neighbour->cloned ||
	    ((vma->flags ^ neighbour->flags) & ~rights))
		return false;
	return neighbour_is_behind ? is_followed_by(vma, neighbour)
				   : is_followed_by(neighbour, vma);
}

/**
 * ks_vma_prepare_anon() - give the VMA an anon_vma before its first anonymous page
 *
 * The neighbour behind is asked first, then the one before.
 *
 * Models: mm/rmap.c:__anon_vma_prepare(), mm/vma.c:find_mergeable_anon_vma().
 */
void ks_vma_prepare_anon(struct ks_system *sys, struct ks_mm *mm, struct ks_vma *vma)
{
	const uint32_t idx = (uint32_t)(vma - mm->vmas);

	if (vma->anon_vma)
		return;
	ks_vma_reinsert(sys, vma);
	if (idx + 1 < mm->nr_vmas && shares_anon_vma(vma, vma + 1, true)) {
		take_anon_vma(vma, vma + 1);
	} else if (idx > 0 && shares_anon_vma(vma, vma - 1, false)) {
		take_anon_vma(vma, vma - 1);
	} else {
		vma->anon_vma = sys->next_anon_vma++;
		vma->anon_root = vma->anon_vma;
		vma->cloned = false;
		mm->anon_roots |= ks_anon_root_bit(vma->anon_root);
	}
}

bool ks_mm_check_vmas(const struct ks_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		const struct ks_vma *vma = &mm->vmas[i];

		if (vma->start >= vma->end || (i > 0 && vma[-1].end > vma->start))
			return false;
		if (!vma->anon_vma != !vma->anon_root || (vma->cloned && !vma->anon_vma))
			return false;
		if (vma->anon_root && !(mm->anon_roots & ks_anon_root_bit(vma->anon_root)))
			return false;
	}
	return mm->nr_vmas <= mm->room_vmas;
}
