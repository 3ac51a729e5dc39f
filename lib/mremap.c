/*
 * mremap.c - floor 4: resize and move mappings.
 *
 * A move inserts a VMA at the new place (which may merge there, even with the VMA
 * that is moved), carries the entries over one by one, and unmaps the old place:
 *
 *   old  |..abc..|   ->   |.......|  unmapped, or with DONTUNMAP left empty
 *   new  |.......|   ->   |..abc..|  same frames, same page offsets
 *
 * What could surprise: a moved entry counts as changed (soft-dirty), but not where its whole
 * table moves; memory that was never touched forgets where it came from
 * (its page offset becomes that of the new place), so that it can merge there;
 * KSM pages are copied apart before a move; with FIXED older kernels unmap the
 * target before the source was even checked.
 *
 * Models: mm/mremap.c:do_mremap(), move_vma(), move_page_tables(); mm/vma.c:copy_vma().
 */
#include "mm.h"

#include <errno.h>

struct move {
	uint64_t vpn, old_pages;
	uint64_t new_vpn, new_pages;
	bool keep;    /* MREMAP_DONTUNMAP */
	bool realign; /* the first table goes with the others though the range begins inside it */
};

/* ---- entries ---- */

static void move_entry(struct ks_system *sys, struct ks_mm *mm, uint64_t from, uint64_t to,
		       struct ks_pte pte)
{
	ks_pte_set(sys->env, &sys->tables, &mm->pt, from, (struct ks_pte){ .bits = 0 });
	pte.bits &= ~KS_PTE(WATCHED);
	ks_pte_set(sys->env, &sys->tables, &mm->pt, to, pte);
}

/* Does all that one PMD entry has go to where one PMD entry has it? */
static bool moves_table(const struct ks_system *sys, const struct ks_walk *walk,
			const struct move *m)
{
	const uint64_t mask = ks_pmd_pages(sys) - 1;
	const uint64_t first = ks_leaf(&sys->tables, walk->leaf)->vpn + walk->first;

	if ((m->new_vpn ^ m->vpn) & mask || walk->last != mask)
		return false;
	return !walk->first || (m->realign && first == m->vpn);
}

/* Models: mm/mremap.c:can_align_down(). */
static bool is_first_of_block(const struct ks_system *sys, const struct ks_mm *mm, uint64_t vpn)
{
	return ks_vma_find(mm, ks_pmd_start(sys, vpn))->start == vpn;
}

/* Asked when the new place is mapped. Models: try_realign_addr(). */
static bool can_realign(const struct ks_system *sys, const struct ks_mm *mm, const struct move *m)
{
	const uint64_t mask = ks_pmd_pages(sys) - 1;

	return sys->env->feature[KS_FEAT_mremap_realigns] && m->vpn & mask &&
	       !((m->vpn ^ m->new_vpn) & mask) && m->old_pages > (~m->vpn & mask) &&
	       is_first_of_block(sys, mm, m->vpn) && is_first_of_block(sys, mm, m->new_vpn);
}

/* A huge page moves as a whole, with its deposited table, if both places are aligned and all of it
 * moves; else it is split. Models: move_huge_pmd(). */
static bool move_pmd(struct ks_system *sys, struct ks_mm *mm, const struct ks_walk *walk,
		     const struct move *m)
{
	const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk->leaf);
	const uint64_t vpn = leaf->vpn;
	const struct ks_pte pte = { leaf->pmd.pfn, leaf->pmd.bits | KS_PTE(SOFT) };

	if (!moves_table(sys, walk, m)) {
		ks_split_pmd(sys, mm, vpn);
		return false;
	}
	ks_pmd_clear(sys->env, &sys->tables, &mm->pt, vpn);
	ks_pmd_set(sys->env, &sys->tables, &mm->pt, vpn + (m->new_vpn - m->vpn), pte);
	return true;
}

/* The part of one table that lies in the range. The new place gets tables also for an empty one;
 * shifted, one table may need two. */
static void move_leaf(struct ks_system *sys, struct ks_mm *mm, const struct ks_walk *walk,
		      const struct move *m)
{
	const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk->leaf);
	const uint64_t shift = m->new_vpn - m->vpn;
	uint32_t soft;

	if (leaf->huge && move_pmd(sys, mm, walk, m))
		return;
	soft = moves_table(sys, walk, m) ? 0 : KS_PTE(SOFT);
	ks_pgtable_populate(sys->env, &sys->tables, &mm->pt, leaf->vpn + walk->first + shift);
	ks_pgtable_populate(sys->env, &sys->tables, &mm->pt, leaf->vpn + walk->last + shift);
	for (int slot = ks_walk_slot(walk, walk->first); slot >= 0;
	     slot = ks_walk_slot(walk, (unsigned)slot + 1)) {
		const uint64_t vpn = leaf->vpn + (unsigned)slot;
		struct ks_pte pte = ks_leaf_get(leaf, (unsigned)slot);

		pte.bits |= soft;
		move_entry(sys, mm, vpn, vpn + shift, pte);
	}
}

/* A whole table goes to the new place as it is, so none stays at the old one. Only seen with
 * DONTUNMAP: else the old place is unmapped anyway. Models: move_normal_pmd(). */
static void drop_moved_tables(struct ks_system *sys, struct ks_mm *mm, const struct move *m)
{
	const struct ks_geometry *geo = sys->tables.geo;
	const uint64_t span = UINT64_C(1) << geo->bits[geo->levels - 1];
	uint64_t vpn = (m->realign ? m->vpn : m->vpn + span - 1) & ~(span - 1);

	if ((m->vpn ^ m->new_vpn) & (span - 1))
		return;
	for (; vpn + span <= m->vpn + m->old_pages; vpn += span) {
		struct ks_walk walk;

		ks_walk_start(&walk, &sys->tables, &mm->pt, vpn, m->vpn + m->old_pages);
		if (!ks_walk_leaf(&walk))
			break;
		vpn = ks_leaf(&sys->tables, walk.leaf)->vpn;
		if (vpn + span <= m->vpn + m->old_pages && !ks_leaf(&sys->tables, walk.leaf)->nr)
			ks_pgtable_free_range(sys->env, &sys->tables, &mm->pt, vpn, vpn + span, vpn,
					      vpn + span);
	}
}

/* A new walk for each table: those made at the new place may reshape the tables above. */
static void move_entries(struct ks_system *sys, struct ks_mm *mm, const struct move *m)
{
	const uint64_t end = m->vpn + m->old_pages;
	uint64_t vpn = m->vpn;
	struct ks_walk walk;

	while (vpn < end) {
		ks_walk_start(&walk, &sys->tables, &mm->pt, vpn, end);
		if (!ks_walk_leaf(&walk))
			break;
		vpn = ks_leaf(&sys->tables, walk.leaf)->vpn + walk.last + 1;
		move_leaf(sys, mm, &walk, m);
	}
	if (m->keep)
		drop_moved_tables(sys, mm, m);
}

/* ---- move ---- */

/* Models: mm/vma.c:copy_vma(). */
static long insert_copy(struct ks_system *sys, struct ks_mm *mm, const struct move *m)
{
	struct ks_vma copy = *ks_vma_at(mm, m->vpn);

	copy.pgoff += m->vpn - copy.start;
	copy.start = m->new_vpn;
	copy.end = m->new_vpn + m->new_pages;
	if (ks_vma_is_anon(&copy) && !copy.anon_vma)
		copy.pgoff = copy.start;
	return ks_vma_insert(sys, mm, &copy);
}

/* The old place stays mapped, empty and not locked. */
static void leave_behind(struct ks_mm *mm, const struct move *m)
{
	struct ks_vma *vma = ks_vma_at(mm, m->vpn);

	vma->flags &= ~(uint32_t)KS_VM_LOCKED;
	if (vma->start == m->vpn && vma->end == m->vpn + m->old_pages) {
		vma->anon_vma = 0;
		vma->anon_root = 0;
		vma->cloned = false;
	}
}

static int64_t move_vma(struct ks_system *sys, struct ks_mm *mm, struct move *m)
{
	const struct ks_vma *vma = ks_vma_at(mm, m->vpn);
	const bool locked = vma->flags & KS_VM_LOCKED;
	long ret = 0;

	if (mm->nr_vmas >= KS_VMAS_MAX - 3)
		return -ENOMEM;
	if (vma->flags & KS_VM_MERGEABLE && vma->anon_vma && sys->hooks.unmerge)
		ret = sys->hooks.unmerge(sys->hooks.self, mm, m->vpn, m->vpn + m->old_pages);
	if (!ret)
		ret = insert_copy(sys, mm, m);
	if (ret)
		return ret;
	if (m->old_pages) {
		m->realign = can_realign(sys, mm, m);
		move_entries(sys, mm, m);
		if (m->keep)
			leave_behind(mm, m);
		else
			(void)ks_munmap(sys, mm, m->vpn, m->old_pages);
	}
	if (locked && m->new_pages > m->old_pages)
		(void)ks_populate(sys, mm, m->new_vpn + m->old_pages, m->new_vpn + m->new_pages,
				  KS_POPULATE_LOCK, true);
	return (int64_t)m->new_vpn;
}

/* ---- the call ---- */

/* Only shared memory can be mapped a second time by an old length of 0. */
static long check_source(const struct ks_mm *mm, uint64_t vpn, uint64_t old_pages)
{
	const struct ks_vma *vma = ks_vma_at(mm, vpn);

	if (!vma)
		return -EFAULT;
	if (!old_pages && !(vma->flags & KS_VM_SHARED))
		return -EINVAL;
	return old_pages > vma->end - vpn ? -EFAULT : 0;
}

/* The new place must be in user space and off the old one. */
static bool is_good_target(const struct ks_system *sys, const struct move *m)
{
	const uint64_t end = ks_user_end(sys);

	if (m->new_pages > end || m->new_vpn > end - m->new_pages)
		return false;
	return m->vpn + m->old_pages <= m->new_vpn || m->new_vpn + m->new_pages <= m->vpn;
}

/* Models: mremap_to(). */
static int64_t move_to(struct ks_system *sys, struct ks_mm *mm, struct move *m, bool fixed)
{
	long ret = 0;

	if (!is_good_target(sys, m))
		return -EINVAL;
	if (sys->env->feature[KS_FEAT_mremap_checks_first])
		ret = check_source(mm, m->vpn,
				   m->old_pages < m->new_pages ? m->old_pages : m->new_pages);
	if (ret)
		return ret;
	if (mm->nr_vmas + 2 >= KS_VMAS_MAX - 3)
		return -ENOMEM;
	if (fixed)
		ret = ks_munmap(sys, mm, m->new_vpn, m->new_pages);
	if (!ret && m->old_pages > m->new_pages) {
		ret = ks_munmap(sys, mm, m->vpn + m->new_pages, m->old_pages - m->new_pages);
		m->old_pages = m->new_pages;
	}
	if (!ret)
		ret = check_source(mm, m->vpn, m->old_pages);
	if (ret)
		return ret;
	if (!fixed)
		m->new_vpn = ks_mmap_place(sys, mm, m->new_vpn, m->new_pages);
	return m->new_vpn ? move_vma(sys, mm, m) : -ENOMEM;
}

/*
 * Every VMA of the range, one after the other, with the holes between them. What was moved before
 * one that cannot be moved stays moved. Models: mm/mremap.c:remap_move().
 */
static int64_t move_many(struct ks_system *sys, struct ks_mm *mm, const struct move *all)
{
	const uint64_t end = all->vpn + all->old_pages;
	uint64_t vpn = all->vpn;
	const struct ks_vma *vma = ks_vma_at(mm, vpn);

	for (; vpn < end && vma && vma->start < end; vma = ks_vma_find(mm, vpn)) {
		const uint64_t from = vma->start > vpn ? vma->start : vpn;
		const uint64_t pages = (vma->end < end ? vma->end : end) - from;
		struct move m = { from,	 pages,	    all->new_vpn + (from - all->vpn),
				  pages, all->keep, false };
		const int64_t ret = move_to(sys, mm, &m, true);

		if (ret < 0)
			return ret;
		vpn = from + pages;
	}
	return (int64_t)all->new_vpn;
}

static bool grow_in_place(struct ks_system *sys, struct ks_mm *mm, const struct move *m)
{
	const struct ks_vma *vma = ks_vma_at(mm, m->vpn);
	struct ks_vma more = *vma;
	const struct ks_vma *behind = ks_vma_find(mm, vma->end);

	more.start = vma->end;
	more.end = m->vpn + m->new_pages;
	more.pgoff += vma->end - vma->start;
	if (m->vpn + m->old_pages != vma->end || more.end > ks_user_end(sys) ||
	    (behind && behind->start < more.end))
		return false;
	if (ks_vma_insert(sys, mm, &more))
		return false;
	if (more.flags & KS_VM_LOCKED)
		(void)ks_populate(sys, mm, more.start, more.end, KS_POPULATE_LOCK, true);
	return true;
}

static int64_t grow(struct ks_system *sys, struct ks_mm *mm, struct move *m, bool may_move)
{
	const long ret = check_source(mm, m->vpn, m->old_pages);

	if (ret)
		return ret;
	if (m->new_pages > ks_user_end(sys))
		return -ENOMEM;
	if (grow_in_place(sys, mm, m))
		return (int64_t)m->vpn;
	if (!may_move)
		return -ENOMEM;
	m->new_vpn = ks_mmap_place(sys, mm, 0, m->new_pages);
	return m->new_vpn ? move_vma(sys, mm, m) : -ENOMEM;
}

/**
 * ks_mremap() - resize or move [vpn, vpn + old_pages)
 * @flags:   enum ksmsim_mremap_flags
 * @new_vpn: the place with FIXED, a hint with DONTUNMAP alone
 *
 * Models: mm/mremap.c:do_mremap().
 * Returns: where the mapping is now, -EINVAL, -EFAULT or -ENOMEM.
 */
int64_t ks_mremap(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t old_pages,
		  uint64_t new_pages, unsigned flags, uint64_t new_vpn)
{
	const bool may_move = flags & KSMSIM_MREMAP_MAYMOVE;
	const bool fixed = flags & KSMSIM_MREMAP_FIXED;
	struct move m = { .vpn = vpn,
			  .old_pages = old_pages,
			  .new_vpn = new_vpn,
			  .new_pages = new_pages,
			  .keep = flags & KSMSIM_MREMAP_DONTUNMAP };
	long ret;

	if ((fixed || m.keep) && !may_move)
		return -EINVAL;
	if ((m.keep && old_pages != new_pages) || !new_pages)
		return -EINVAL;
	if (sys->env->feature[KS_FEAT_mremap_checks_first] && (fixed || m.keep) &&
	    !is_good_target(sys, &m))
		return -EINVAL;
	if (!ks_vma_at(mm, vpn))
		return -EFAULT;
	if (fixed && old_pages == new_pages && sys->env->feature[KS_FEAT_mremap_moves_many])
		return move_many(sys, mm, &m);
	if (fixed || m.keep)
		return move_to(sys, mm, &m, fixed);
	if (new_pages > old_pages)
		return grow(sys, mm, &m, may_move);
	ret = new_pages < old_pages ? ks_munmap(sys, mm, vpn + new_pages, old_pages - new_pages)
				    : 0;
	return ret ? ret : (int64_t)vpn;
}
