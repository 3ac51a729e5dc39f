/*
 * view_smaps.c - /proc/PID/smaps: what an area of anonymous memory has, by who else
 * maps it and whether it is dirty.
 *
 *	shared   a page that more than one entry maps      private  all others
 *	dirty    its entry is, or its folio                clean    all others
 *
 * What could surprise: zero pages are in none of the figures, those that KSM placed
 * neither. Pss is summed up in 4096ths of a byte, so that the third part of a page
 * is not a whole number of bytes; a huge page has a share for each of its pages.
 *
 * Models: fs/proc/task_mmu.c:smaps_account(), smaps_page_accumulate(),
 * smaps_pte_entry(), smaps_pmd_entry(), show_smap().
 * Differs: areas of files are left out.
 */
#include "machine.h"

#define PSS_SHIFT 12u

struct smaps {
	const struct ksmsim *sim;
	struct ksmsim_smaps *out;
	uint64_t pss; /* bytes << PSS_SHIFT */
};

/* @nr pages from @pfn on that are alike, each with @maps mappings, by entries with @bits. */
static void account(struct smaps *s, ks_pfn pfn, uint64_t nr, uint32_t maps, uint32_t bits)
{
	const struct ks_frames *frames = &s->sim->sys.frames;
	const uint64_t bytes = (uint64_t)s->sim->sys.contents.page_bytes << PSS_SHIFT;
	const bool dirty = bits & KS_PTE(DIRTY) || ks_page_dirty(frames, pfn);
	struct ksmsim_smaps *out = s->out;

	out->anonymous += nr;
	out->lazyfree += ks_page_lazyfree(frames, pfn) && !dirty ? nr : 0;
	out->referenced +=
		bits & KS_PTE(YOUNG) || ks_lru_marks(frames, pfn) & KS_LRU_REFERENCED ? nr : 0;
	s->pss += nr * (maps > 1 ? bytes / maps : bytes);
	*(maps > 1 ? dirty ? &out->shared_dirty : &out->shared_clean
	  : dirty  ? &out->private_dirty
		   : &out->private_clean) += nr;
}

/* The entry of a page whose memory failed: as shared, though nothing maps it any more, and all of its
 * Pss. Models: smaps_pte_entry() of a page that is not present. */
static void account_lost(struct smaps *s, ks_pfn pfn)
{
	const struct ks_frames *frames = &s->sim->sys.frames;
	const bool dirty = ks_page_dirty(frames, pfn);

	s->out->ksm += ks_frame_test(ks_frame(frames, pfn), KS_FRAME_KSM);
	s->out->anonymous++;
	s->out->lazyfree += ks_page_lazyfree(frames, pfn) && !dirty;
	s->out->referenced += !!(ks_lru_marks(frames, pfn) & KS_LRU_REFERENCED);
	s->pss += (uint64_t)s->sim->sys.contents.page_bytes << PSS_SHIFT;
	*(dirty ? &s->out->shared_dirty : &s->out->shared_clean) += 1;
}

static void account_page(struct smaps *s, struct ks_pte pte)
{
	const struct ks_frames *frames = &s->sim->sys.frames;

	if (ks_pte_is_hwpoison(pte)) {
		account_lost(s, pte.pfn);
		return;
	}
	if (pte.bits & KS_PTE(NONPRESENT) && !ks_pte_is_guard(pte))
		s->out->swap++;
	if (!ks_pte_is_anon(pte))
		return;
	s->out->ksm += ks_frame_test(ks_frame(frames, pte.pfn), KS_FRAME_KSM);
	account(s, pte.pfn, 1, ks_page_mapcount(frames, pte.pfn), pte.bits);
}

/* A huge page that no PTE maps is accounted in one step. */
static void account_leaf(struct smaps *s, const struct ks_walk *walk)
{
	const struct ks_frames *frames = &s->sim->sys.frames;
	const struct ks_leaf *leaf = ks_leaf(&s->sim->sys.tables, walk->leaf);
	const struct ks_folio *folio =
		leaf->huge && ks_leaf_is_thp(leaf) ? ks_folio_of(frames, leaf->pmd.pfn) : NULL;

	s->out->anon_huge += folio != NULL;
	if (leaf->huge && !folio)
		return;
	if (folio && !folio->mapped) {
		account(s, folio->head, ks_folio_pages(folio), folio->entire, leaf->pmd.bits);
		return;
	}
	for (int slot = ks_walk_slot(walk, walk->first); slot >= 0;
	     slot = ks_walk_slot(walk, (unsigned)slot + 1))
		account_page(s, ks_leaf_get(leaf, (unsigned)slot));
}

static void look_at_vma(const struct ksmsim *sim, const struct ks_mm *mm, const struct ks_vma *vma,
			struct ksmsim_smaps *out)
{
	struct smaps s = { .sim = sim, .out = out };
	struct ks_walk walk;

	if (!ks_vma_is_anon(vma))
		return;
	ks_walk_start(&walk, &sim->sys.tables, &mm->pt, vma->start, vma->end);
	while (ks_walk_leaf(&walk))
		account_leaf(&s, &walk);
	out->pss = s.pss >> PSS_SHIFT;
	out->locked = vma->flags & KS_VM_LOCKED ? out->pss : 0;
	out->thp_eligible = ks_thp_orders(&sim->sys, mm, vma, KS_THP_SMAPS) != 0;
}

int ksmsim_smaps_get(struct ksmsim *sim, uint32_t pid, size_t index, struct ksmsim_smaps *out)
{
	const int refused = ks_machine_refuses(sim);
	const struct ks_mm *mm;

	if (refused)
		return refused;
	mm = ks_machine_mm(sim, pid);
	if (!mm)
		return KSMSIM_EPROCESS;
	if (!out || index >= mm->nr_vmas)
		return KSMSIM_EARGUMENT;
	*out = (struct ksmsim_smaps){ .anonymous = 0 };
	look_at_vma(sim, mm, &mm->vmas[index], out);
	return 0;
}
