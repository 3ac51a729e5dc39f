/*
 * mmap.c - floor 4: mmap, munmap, mprotect, brk.
 *
 *   0          heap (2/3 of user space)         mmap base, top down ...  user end
 *
 * What could surprise: a mapping without an address goes to the highest hole, so
 * that consecutive anonymous mappings grow downwards and merge; mprotect applies
 * what comes before a hole and then fails; giving write access back makes only
 * pages writable that surely belong to this process alone, never KSM pages.
 *
 * Models: mm/mmap.c:do_mmap(), mm/vma.c:__mmap_region(), do_vmi_align_munmap(),
 * mm/mprotect.c:do_mprotect_pkey(), mm/mmap.c:sys_brk().
 */
#include "mm.h"

#include <errno.h>

#define STACK_GAP_BYTES (UINT64_C(128) << 20)

/* What memory must be and not be to be charged. Models: mm/vma.c:accountable_mapping(). */
static const uint32_t never_charged = KS_VM_WRITE | KS_VM_SHARED | KS_VM_NORESERVE | KS_VM_HUGETLB;

/* ---- where a mapping goes ---- */

static bool is_free(const struct ks_mm *mm, uint64_t start, uint64_t end)
{
	const struct ks_vma *vma = ks_vma_find(mm, start);

	return !vma || vma->start >= end;
}

/* Differs: no address space randomisation; 5-level tables look below 47 bits, too. */
uint64_t ks_mmap_place(const struct ks_system *sys, const struct ks_mm *mm, uint64_t hint,
		       uint64_t pages)
{
	const unsigned page_shift = sys->tables.geo->page_shift;
	uint64_t end = ks_user_end(sys);

	if (hint && pages <= end && hint <= end - pages && is_free(mm, hint, hint + pages))
		return hint;
	if (end > UINT64_C(1) << (47 - page_shift))
		end = (UINT64_C(1) << (47 - page_shift)) - 1;
	end -= STACK_GAP_BYTES >> page_shift;
	for (uint32_t i = mm->nr_vmas; i > 0; i--) {
		const struct ks_vma *vma = &mm->vmas[i - 1];

		if (vma->end < end && end - vma->end >= pages)
			break;
		if (vma->start < end)
			end = vma->start;
	}
	return end > pages ? end - pages : 0;
}

/* ---- mmap ---- */

/* Bits of ks_mmap and of VMAs that mean the same. */
static uint32_t vm_flags_of(const struct ks_env *env, const struct ks_mmap *req)
{
	uint32_t flags = 0;

	if (req->prot & KSMSIM_PROT_READ)
		flags |= KS_VM_READ;
	if (req->prot & KSMSIM_PROT_WRITE)
		flags |= KS_VM_WRITE;
	if (req->prot & KSMSIM_PROT_EXEC)
		flags |= KS_VM_EXEC;
	if (req->flags & KSMSIM_MAP_SHARED)
		flags |= KS_VM_SHARED;
	if (req->flags & KSMSIM_MAP_NORESERVE)
		flags |= KS_VM_NORESERVE;
	if (req->flags & KSMSIM_MAP_LOCKED)
		flags |= KS_VM_LOCKED;
	if (req->flags & KSMSIM_MAP_HUGETLB)
		flags |= KS_VM_HUGETLB;
	if (req->flags & KSMSIM_MAP_GROWSDOWN)
		flags |= KS_VM_GROWSDOWN;
	if (req->flags & KSMSIM_MAP_STACK && env->feature[KS_FEAT_map_stack_nohuge])
		flags |= KS_VM_NOHUGEPAGE;
	if (req->flags & KSMSIM_MAP_DROPPABLE)
		flags |= KS_VM_DROPPABLE | KS_VM_NORESERVE | KS_VM_WIPEONFORK | KS_VM_DONTDUMP;
	return flags;
}

static long check_request(const struct ks_system *sys, const struct ks_mm *mm,
			  const struct ks_mmap *req)
{
	const unsigned never_droppable =
		KSMSIM_MAP_SHARED | KSMSIM_MAP_LOCKED | KSMSIM_MAP_HUGETLB | KSMSIM_MAP_GROWSDOWN;

	if (!req->pages)
		return -EINVAL;
	if (req->pages > ks_user_end(sys))
		return -ENOMEM;
	if (req->file > sys->nr_files)
		return -EBADF;
	if (req->file && req->pgoff + req->pages < req->pgoff)
		return -EOVERFLOW;
	if (mm->nr_vmas > KS_VMAS_MAX)
		return -ENOMEM;
	if (req->flags & KSMSIM_MAP_DROPPABLE &&
	    (!sys->env->feature[KS_FEAT_vm_droppable] || req->file || req->flags & never_droppable))
		return -EINVAL;
	return 0;
}

/* Models: mm/mmap.c:__get_unmapped_area(). */
static bool wants_alignment(const struct ks_system *sys, const struct ks_mmap *req)
{
	return sys->env->feature[KS_FEAT_mmap_aligns_thp] && !req->vpn && !req->file &&
	       !(req->flags & (KSMSIM_MAP_SHARED | KSMSIM_MAP_HUGETLB)) &&
	       !(req->pages & (ks_pmd_pages(sys) - 1));
}

/* On the boundary of a huge page, where there is room for one more; 0: there is not. Models:
 * mm/huge_memory.c:__thp_get_unmapped_area(), top-down. */
static uint64_t place_aligned(const struct ks_system *sys, const struct ks_mm *mm, uint64_t pages)
{
	const uint64_t block = ks_pmd_pages(sys);
	const uint64_t vpn = ks_mmap_place(sys, mm, 0, pages + block);

	return vpn ? ks_pmd_start(sys, vpn + block) : 0;
}

/* The vpn, or -errno. */
static int64_t find_place(const struct ks_system *sys, const struct ks_mm *mm,
			  const struct ks_mmap *req)
{
	const unsigned fixed = KSMSIM_MAP_FIXED | KSMSIM_MAP_FIXED_NOREPLACE;
	uint64_t vpn = req->vpn;

	if (!(req->flags & fixed)) {
		vpn = wants_alignment(sys, req) ? place_aligned(sys, mm, req->pages) : 0;
		if (!vpn)
			vpn = ks_mmap_place(sys, mm, req->vpn, req->pages);
		return vpn ? (int64_t)vpn : -ENOMEM;
	}
	if (vpn > ks_user_end(sys) - req->pages)
		return -ENOMEM;
	if (req->flags & KSMSIM_MAP_FIXED_NOREPLACE && !is_free(mm, vpn, vpn + req->pages))
		return -EEXIST;
	return (int64_t)vpn;
}

/* Puts a new private VMA on the list and lets merge-any mark it: before it is merged, or only if
 * it was not. Models: ksm_vma_flags(), before it ksm_add_vma(). */
static long insert_marked(struct ks_system *sys, struct ks_mm *mm, struct ks_vma *vma, bool append)
{
	const bool early = sys->env->feature[KS_FEAT_early_vma_flag];
	const bool mark = mm->merge_any && sys->hooks.vma_flags;
	struct ks_vma *placed;
	long ret;

	if (mark && early)
		vma->flags = sys->hooks.vma_flags(sys->hooks.self, mm, vma->flags);
	vma->soft_dirty = true;
	ret = append ? ks_vma_append(sys, mm, vma) : ks_vma_insert(sys, mm, vma);
	if (ret)
		return ret;
	placed = ks_vma_at(mm, vma->start);
	placed->soft_dirty = true; /* with all that it merged with */
	if (!mark || early)
		return 0;
	if (placed->start == vma->start && placed->end == vma->end)
		placed->flags = sys->hooks.vma_flags(sys->hooks.self, mm, placed->flags);
	return 0;
}

int64_t ks_mmap(struct ks_system *sys, struct ks_mm *mm, const struct ks_mmap *req)
{
	struct ks_vma vma = { .file = req->file };
	int64_t vpn = check_request(sys, mm, req);
	long ret;

	if (vpn)
		return vpn;
	vpn = find_place(sys, mm, req);
	if (vpn < 0)
		return vpn;
	vma.start = (uint64_t)vpn;
	vma.end = vma.start + req->pages;
	vma.flags = vm_flags_of(sys->env, req);
	if ((vma.flags & never_charged) == KS_VM_WRITE)
		vma.flags |= KS_VM_ACCOUNT;
	vma.pgoff = req->file ? req->pgoff : vma.start;
	ret = ks_munmap(sys, mm, vma.start, req->pages);
	if (ret)
		return ret;
	if (vma.flags & KS_VM_SHARED && !vma.file) {
		vma.file =
			ks_file_new(sys, &(struct ksmsim_content){ .kind = KSMSIM_CONTENT_ZERO });
		sys->files[vma.file].nr_pages = req->pages;
		vma.pgoff = 0;
	}
	ret = insert_marked(sys, mm, &vma, false);
	if (ret)
		return ret;
	if (req->flags & (KSMSIM_MAP_LOCKED | KSMSIM_MAP_POPULATE))
		(void)ks_populate(sys, mm, vma.start, vma.end, KS_POPULATE_LOCK, true);
	return vpn;
}

/* ---- munmap ---- */

long ks_munmap(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages)
{
	const uint64_t end = vpn + pages;
	const struct ks_vma *vma;
	long ret;

	if (!pages || end < vpn || end > ks_user_end(sys))
		return -EINVAL;
	if (is_free(mm, vpn, end))
		return 0;
	vma = ks_vma_find(mm, vpn);
	if (vma->start < vpn && end < vma->end && mm->nr_vmas >= KS_VMAS_MAX)
		return -ENOMEM;
	ret = ks_vma_split(sys, mm, vpn);
	if (!ret)
		ret = ks_vma_split(sys, mm, end);
	if (ret)
		return ret;
	ks_munlock_unmapped(sys, mm, vpn, end);
	ks_lru_drain_for_unmap(sys);
	ks_zap_vmas(sys, mm, vpn, end);
	ks_lru_drain_for_unmap(sys);
	ks_vma_remove(mm, vpn, end);
	ks_free_tables(sys, mm, vpn, end);
	return 0;
}

/* ---- mprotect ---- */

/* May the entry become writable without a fault? Models: can_change_pte_writable(). */
static bool can_be_writable(const struct ks_system *sys, const struct ks_vma *vma,
			    struct ks_pte pte)
{
	const bool dirty = pte.bits & KS_PTE(DIRTY);

	if (!(vma->flags & KS_VM_WRITE) || ks_tracks_writes(sys, vma, pte.bits))
		return false;
	if (vma->flags & KS_VM_SHARED)
		return dirty;
	if (!dirty && !sys->env->feature[KS_FEAT_mprotect_clean_writable])
		return false;
	return ks_pte_is_anon(pte) && ks_page_exclusive(&sys->frames, pte.pfn);
}

/* Who watches a page that can no longer be found by its address must know. */
static bool hides(const struct ks_system *sys, const struct ks_vma *vma)
{
	return sys->env->feature[KS_FEAT_follow_needs_access] &&
	       !(vma->flags & (KS_VM_READ | KS_VM_WRITE | KS_VM_EXEC));
}

/* Models: mm/huge_memory.c:change_huge_pmd(). A part of a huge page has a VMA boundary inside it, so
 * that its PMD was split already. Before 6.2 only a fault makes a huge page writable again. */
static void protect_pmd(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma,
			struct ks_leaf *leaf)
{
	const struct ks_pte pte = ks_leaf_get(leaf, 0);
	const bool writable = sys->env->feature[KS_FEAT_mprotect_clean_writable] &&
			      can_be_writable(sys, vma, pte);

	if (writable != !!(pte.bits & KS_PTE(WRITE)) || hides(sys, vma))
		ks_pmd_change(&sys->tables, &mm->pt, leaf,
			      (pte.bits & ~KS_PTE(WRITE)) | (writable ? KS_PTE(WRITE) : 0));
}

/* @more: bits that the entry gets besides. */
static void protect_entry(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma,
			  uint64_t vpn, struct ks_pte pte, uint32_t more)
{
	const uint32_t old = pte.bits;

	if (!(old & KS_PTE(PRESENT)))
		return;
	pte.bits = (old | more) & ~(uint32_t)KS_PTE(WRITE);
	if (can_be_writable(sys, vma, pte))
		pte.bits |= KS_PTE(WRITE);
	if (pte.bits == old && !hides(sys, vma))
		return;
	pte.bits &= ~(uint32_t)KS_PTE(WATCHED);
	ks_pte_set(sys->env, &sys->tables, &mm->pt, vpn, pte);
}

/* Entries from @slot on that are changed in one step: of one folio, and alike. *@more: what each of
 * them gets of the others. Models: mprotect_folio_pte_batch(), get_and_clear_ptes(). */
static uint32_t run_of(const struct ks_system *sys, const struct ks_walk *walk, unsigned slot,
		       uint32_t *more)
{
	const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk->leaf);
	const struct ks_pte first = ks_leaf_get(leaf, slot);
	uint32_t max, nr;

	*more = 0;
	if (!sys->env->feature[KS_FEAT_mprotect_batched] || !ks_pte_is_anon(first) ||
	    !ks_pfn_is_large(&sys->frames, first.pfn))
		return 1;
	max = ks_folio_run(sys, leaf, slot, walk->last);
	*more = first.bits & (KS_PTE(DIRTY) | KS_PTE(YOUNG));
	for (nr = 1; nr < max; nr++) {
		const uint32_t bits = ks_leaf_get(leaf, slot + nr).bits;

		if ((bits ^ first.bits) & (KS_PTE(SOFT) | KS_PTE(WRITE)))
			break;
		*more |= bits & KS_PTE(DIRTY) ? KS_PTE_MKDIRTY : 0;
		*more |= bits & KS_PTE(YOUNG);
	}
	return nr;
}

static void protect_leaf(struct ks_system *sys, struct ks_mm *mm, const struct ks_vma *vma,
			 const struct ks_walk *walk)
{
	const struct ks_leaf *leaf = ks_leaf(&sys->tables, walk->leaf);
	uint32_t more;

	for (int slot = ks_walk_slot(walk, walk->first); slot >= 0;) {
		const uint32_t nr = run_of(sys, walk, (unsigned)slot, &more);

		for (uint32_t i = 0; i < nr; i++)
			protect_entry(sys, mm, vma, leaf->vpn + (unsigned)slot + i,
				      ks_leaf_get(leaf, (unsigned)slot + i), more);
		slot = ks_walk_slot(walk, (unsigned)slot + nr);
	}
}

/* Models: mm/mprotect.c:change_pte_range(). */
static void change_protection(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	const struct ks_vma *vma = ks_vma_at(mm, start);
	struct ks_walk walk;

	ks_walk_start(&walk, &sys->tables, &mm->pt, start, end);
	while (ks_walk_leaf(&walk)) {
		struct ks_leaf *leaf = ks_leaf(&sys->tables, walk.leaf);

		if (leaf->huge)
			protect_pmd(sys, mm, vma, leaf);
		else
			protect_leaf(sys, mm, vma, &walk);
	}
}

/* Memory that becomes writable is charged, and stays so unless it was never touched. */
static uint32_t charged_flags(const struct ks_env *env, const struct ks_vma *vma, uint32_t flags)
{
	if ((flags & never_charged) == KS_VM_WRITE)
		return flags | KS_VM_ACCOUNT;
	if (!(flags & KS_VM_WRITE) && env->feature[KS_FEAT_mprotect_uncharges] &&
	    ks_vma_is_anon(vma) && !vma->anon_vma)
		return flags & ~(uint32_t)KS_VM_ACCOUNT;
	return flags;
}

/* Models: mm/mprotect.c:mprotect_fixup(). */
static long protect_vma(struct ks_system *sys, struct ks_mm *mm, uint64_t start, uint64_t end,
			uint32_t rights)
{
	const uint32_t all = KS_VM_READ | KS_VM_WRITE | KS_VM_EXEC;
	const uint32_t old = ks_vma_at(mm, start)->flags;
	uint32_t flags = (old & ~all) | rights;
	long ret;

	if (flags == old)
		return 0;
	flags = charged_flags(sys->env, ks_vma_at(mm, start), flags);
	ret = ks_vma_set_flags(sys, mm, start, end, flags);
	if (ret)
		return ret;
	change_protection(sys, mm, start, end);
	/* Locked private memory that becomes writable has its private copies at once. */
	if ((old & (KS_VM_WRITE | KS_VM_SHARED | KS_VM_LOCKED)) == KS_VM_LOCKED &&
	    flags & KS_VM_WRITE)
		(void)ks_populate(sys, mm, start, end, KS_POPULATE_LOCK, true);
	return 0;
}

long ks_mprotect(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn, uint64_t pages,
		 unsigned prot)
{
	const uint64_t end = vpn + pages;
	const uint32_t rights = vm_flags_of(sys->env, &(struct ks_mmap){ .prot = prot });

	if (!pages)
		return 0;
	if (end < vpn)
		return -ENOMEM;
	while (vpn < end) {
		const struct ks_vma *vma = ks_vma_at(mm, vpn);
		uint64_t stop;
		long ret;

		if (!vma)
			return -ENOMEM;
		stop = vma->end < end ? vma->end : end;
		ret = protect_vma(sys, mm, vpn, stop, rights);
		if (ret)
			return ret;
		vpn = stop;
	}
	return 0;
}

/* ---- brk ---- */

/* Models: do_brk_flags(). A page stays free before the VMA behind. */
static bool grow_heap(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn)
{
	struct ks_vma vma = { .start = mm->brk,
			      .end = vpn,
			      .pgoff = mm->brk,
			      .flags = KS_VM_READ | KS_VM_WRITE | KS_VM_ACCOUNT };

	if (vpn >= ks_user_end(sys) || !is_free(mm, mm->brk, vpn + 1))
		return false;
	if (mm->nr_vmas > KS_VMAS_MAX)
		return false;
	return !insert_marked(sys, mm, &vma, true);
}

/* false: nothing to unmap counts as a failure, too. */
static bool shrink_heap(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn)
{
	return !is_free(mm, vpn, mm->brk) && !ks_munmap(sys, mm, vpn, mm->brk - vpn);
}

/**
 * ks_brk() - move the end of the heap
 * @vpn: where it shall end; below its start: only ask
 *
 * A heap that is not mapped, as in the child of one that keeps it for itself,
 * cannot shrink.
 *
 * Models: sys_brk(): never fails but stays where it was.
 * Returns: the end of the heap.
 */
int64_t ks_brk(struct ks_system *sys, struct ks_mm *mm, uint64_t vpn)
{
	if (!mm->brk_start)
		mm->brk_start = mm->brk = ks_user_end(sys) / 3 * 2;
	if (vpn < mm->brk_start || vpn == mm->brk)
		return (int64_t)mm->brk;
	if (vpn < mm->brk ? shrink_heap(sys, mm, vpn) : grow_heap(sys, mm, vpn))
		mm->brk = vpn;
	return (int64_t)mm->brk;
}
