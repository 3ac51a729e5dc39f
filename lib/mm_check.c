/*
 * mm_check.c - floor 4: is all of the address spaces true?
 *
 * Counts from the page tables what frames, slots and mms keep as numbers, and
 * compares; the numbers in front are those of docs/INVARIANTS.md. O(all entries
 * and frames); for tests and ksmsim_check().
 *
 *   entries -> maps per frame, entries per swap slot, rss and swap of each mm
 */
#include "mm.h"

struct count {
	struct ks_system *sys;
	struct ks_map maps;   /* pfn -> entries */
	struct ks_map slots;  /* swap slot -> entries */
	struct ks_map folios; /* head -> PMD entries */
	uint64_t anon, file, swap, ksm_zero, pmds;
};

static void add_one(struct ks_env *env, struct ks_map *map, uint32_t key)
{
	const uint64_t *nr = ks_map_find(map, key);

	ks_map_set(env, map, key, nr ? *nr + 1 : 1);
}

static uint64_t count_of(const struct ks_map *map, uint32_t key)
{
	const uint64_t *nr = ks_map_find(map, key);

	return nr ? *nr : 0;
}

/* ---- entries ---- */

static const char *check_anon(struct count *c, const struct ks_vma *vma, struct ks_pte pte)
{
	const struct ks_frames *frames = &c->sys->frames;
	const struct ks_frame *frame;

	if (pte.pfn <= KS_PFN_ZERO || !ks_frame_live(frames, pte.pfn))
		return "I6: an entry maps a frame that is free";
	frame = ks_frame(frames, pte.pfn);
	if (vma->flags & KS_VM_SHARED || !vma->anon_vma)
		return "I10: an anonymous page is mapped by a VMA without anon_vma";
	if (pte.bits & KS_PTE(WRITE) && !ks_page_exclusive(frames, pte.pfn))
		return "I8: a writable entry maps an anonymous page that is not exclusive";
	if (pte.bits & KS_PTE(WRITE) && !(vma->flags & KS_VM_WRITE))
		return "I10: a writable entry lies in a VMA that forbids writing";
	if (pte.bits & KS_PTE(WRITE) && ks_frame_test(frame, KS_FRAME_KSM))
		return "I3: a KSM page is mapped writable";
	c->anon++;
	add_one(c->sys->env, &c->maps, pte.pfn);
	return NULL;
}

static const char *check_entry(struct count *c, const struct ks_vma *vma, struct ks_pte pte)
{
	if (!vma)
		return "I10: an entry lies outside of all VMAs";
	if (ks_pte_is_guard(pte))
		return NULL;
	if (ks_pte_is_hwpoison(pte))
		return (pte.bits & ~(uint32_t)KS_PTE(SOFT)) == KS_PTE_HWPOISON &&
				       ks_frame_is_poisoned(&c->sys->frames, pte.pfn)
			       ? NULL
			       : "I27: an entry of a page that is lost names a sound one";
	if (pte.bits & KS_PTE(NONPRESENT)) {
		if (pte.bits & KS_PTE(PRESENT))
			return "I12: an entry is present and swapped out";
		c->swap++;
		add_one(c->sys->env, &c->slots, pte.pfn);
		return NULL;
	}
	if (!(pte.bits & KS_PTE(PRESENT)))
		return "I9: an entry is neither none, present nor swapped out";
	if (pte.bits & KS_PTE(FILE)) {
		c->file++;
		return vma->file ? NULL : "I11: a file page is mapped by an anonymous VMA";
	}
	if (!(pte.bits & KS_PTE(SPECIAL)))
		return check_anon(c, vma, pte);
	if (pte.pfn - ks_huge_zero(&c->sys->frames) < ks_pmd_pages(c->sys))
		return pte.bits & (KS_PTE(WRITE) | KS_PTE(DIRTY))
			       ? "I13: the huge zero folio is mapped writable or marked"
			       : NULL;
	if (pte.pfn != KS_PFN_ZERO || pte.bits & KS_PTE(WRITE))
		return "I13: a zero page entry is writable or maps something else";
	c->ksm_zero += ks_pte_is_ksm_zero(pte);
	if (ks_pte_is_ksm_zero(pte) && !c->sys->env->feature[KS_FEAT_zero_tracking])
		return "I13: a zero page entry is marked, though nothing tracks it";
	return NULL;
}

/* A PMD entry: all of a folio of PMD order, in one VMA. */
static const char *check_pmd(struct count *c, const struct ks_mm *mm, const struct ks_leaf *leaf)
{
	const struct ks_frames *frames = &c->sys->frames;
	const struct ks_vma *vma = ks_vma_at(mm, leaf->vpn);
	const struct ks_folio *folio;

	if (!vma || vma->end < leaf->vpn + ks_pmd_pages(c->sys))
		return "I23: a PMD entry reaches over the end of a VMA";
	if (!ks_leaf_is_thp(leaf))
		return mm->huge_zero && leaf->pmd.pfn == ks_huge_zero(frames)
			       ? NULL
			       : "I23: a PMD entry maps a zero folio that the mm does not hold";
	folio = ks_folio_of(frames, leaf->pmd.pfn);
	if (!folio || folio->head != leaf->pmd.pfn || folio->order != frames->pmd_order)
		return "I23: a PMD entry maps something other than a folio of its size";
	if (folio->root != vma->anon_root || folio->index != vma->pgoff + (leaf->vpn - vma->start))
		return "I23: a folio does not know where it is mapped";
	c->pmds++;
	add_one(c->sys->env, &c->folios, folio->head);
	return NULL;
}

static const char *check_leaf(struct count *c, const struct ks_mm *mm, const struct ks_walk *walk)
{
	const struct ks_leaf *leaf = ks_leaf(walk->tables, walk->leaf);
	const char *pmd = leaf->huge ? check_pmd(c, mm, leaf) : NULL;

	if (pmd)
		return pmd;

	for (int slot = ks_walk_slot(walk, walk->first); slot >= 0;
	     slot = ks_walk_slot(walk, (unsigned)slot + 1)) {
		const char *wrong = check_entry(c, ks_vma_at(mm, leaf->vpn + (unsigned)slot),
						ks_leaf_get(leaf, (unsigned)slot));

		if (wrong)
			return wrong;
	}
	return NULL;
}

static const char *check_mm(struct count *c, const struct ks_mm *mm)
{
	const struct ks_geometry *geo = c->sys->tables.geo;
	const char *wrong = NULL;
	struct ks_walk walk;

	if (!mm->alive)
		return mm->nr_vmas || mm->rss_anon || mm->rss_file || mm->swap_pages || mm->pt.root
			       ? "I11: a dead mm still has memory"
			       : NULL;
	if (!ks_mm_check_vmas(mm))
		return "I10: VMAs overlap or are out of order, or their anon_vma is wrong";
	if (!ks_pgtable_check(&c->sys->tables, &mm->pt))
		return "I9: a page table is broken";
	c->anon = c->file = c->swap = c->ksm_zero = c->pmds = 0;
	ks_walk_start(&walk, &c->sys->tables, &mm->pt, 0,
		      UINT64_C(1) << (geo->shift[0] + geo->bits[0]));
	while (!wrong && ks_walk_leaf(&walk))
		wrong = check_leaf(c, mm, &walk);
	if (wrong)
		return wrong;
	if (c->anon != mm->rss_anon)
		return "I11: rss_anon is not the number of anonymous pages mapped";
	if (c->pmds != mm->nr_anon_pmds)
		return "I23: nr_anon_pmds is not the number of PMD entries that map THPs";
	if (c->file != mm->rss_file)
		return "I11: rss_file is not the number of file pages mapped";
	if ((int64_t)c->ksm_zero > mm->ksm_zero_pages)
		return "I13: ksm_zero_pages of an mm is less than its marked entries";
	return c->swap == mm->swap_pages ? NULL
					 : "I12: swap_pages is not the number of swap entries";
}

/* ---- frames and slots ---- */

static const char *check_frame(struct count *c, ks_pfn pfn)
{
	const struct ks_frames *frames = &c->sys->frames;
	const struct ks_frame *frame = ks_frame(frames, pfn);
	const uint32_t maps = ks_frame_maps(frame);
	const uint64_t *slot = ks_map_find(&c->sys->swap_cache, pfn);

	if (ks_page_mapcount(frames, pfn) != count_of(&c->maps, pfn))
		return "I2: a frame's mapcount is not the number of entries that map it";
	if (ks_frame_refs(frames, pfn) < maps || !ks_frame_refs(frames, pfn))
		return "I1: a frame has fewer references than mappings, or none";
	if (ks_frame_test(frame, KS_FRAME_EXCLUSIVE) && maps > 1)
		return "I8: an exclusive frame is mapped more than once";
	if (ks_frame_test(frame, KS_FRAME_EXCLUSIVE) && ks_frame_test(frame, KS_FRAME_KSM))
		return "I8: a KSM page is exclusive";
	if (ks_frame_test(frame, KS_FRAME_SWAPCACHE) != !!slot)
		return "I1: the swap cache and the frame's flag differ";
	if (slot && ks_swap_slot(c->sys, (uint32_t)*slot)->cached != pfn)
		return "I12: a swap slot does not know its cached frame";
	return NULL;
}

/* The pages of blocks: large folios, and single pages that were part of one. */
static const char *check_blocks(struct count *c, unsigned nid)
{
	const struct ks_frames *frames = &c->sys->frames;
	const uint32_t base = frames->nid_shift >= 32 ? 0 : nid << frames->nid_shift;
	const uint32_t pages = UINT32_C(1) << frames->pmd_order;

	for (uint32_t id = nid ? 1 : 2; id < frames->node[nid].blocks.used; id++) {
		for (uint32_t i = 0; i < pages; i++) {
			const ks_pfn pfn = base | frames->block_bit | (id * pages + i);
			const struct ks_folio *folio = ks_folio_of(frames, pfn);
			const char *wrong = NULL;

			if (folio && folio->entire != count_of(&c->folios, folio->head))
				return "I23: a folio's PMD mappings are not the entries that map "
				       "it";
			if (ks_frame_live(frames, pfn))
				wrong = check_frame(c, pfn);
			if (wrong)
				return wrong;
		}
	}
	return NULL;
}

static const char *check_frames(struct count *c)
{
	const struct ks_frames *frames = &c->sys->frames;

	for (unsigned nid = 0; nid < frames->nr_nodes; nid++) {
		const uint32_t base = frames->nid_shift >= 32 ? 0 : nid << frames->nid_shift;
		const char *blocks = check_blocks(c, nid);

		if (blocks)
			return blocks;
		for (uint32_t idx = nid ? 1 : 2; idx < frames->node[nid].pool.used; idx++) {
			const char *wrong = NULL;

			if (ks_frame_live(frames, base | idx))
				wrong = check_frame(c, base | idx);
			if (wrong)
				return wrong;
		}
	}
	if (!ks_folios_check(c->sys->env, frames))
		return "I23: a large folio is broken";
	return ks_frames_check(frames) ? NULL : "I6: the frames' own lists are broken";
}

/* Slots without entries exist only for cached frames, and every slot has one or the other. */
static const char *check_slots(struct count *c)
{
	const struct ks_system *sys = c->sys;
	uint32_t idle = 0;

	for (uint32_t i = 0; i < c->slots.capacity; i++) {
		const uint64_t *pair = c->slots.slots + 2 * (size_t)i;

		if (pair[0] && ks_swap_slot(sys, (uint32_t)pair[0])->count != pair[1])
			return "I12: a swap slot's count is not the number of its entries";
	}
	for (uint32_t i = 0; i < sys->swap_cache.capacity; i++) {
		const uint64_t *pair = sys->swap_cache.slots + 2 * (size_t)i;

		if (pair[0] && !count_of(&c->slots, (uint32_t)pair[1]))
			idle++;
	}
	return c->slots.nr + idle == sys->swap.live ? NULL : "I12: a swap slot is lost";
}

/* What failed is in use for good: some reference holds it. */
static const char *check_poisoned(const struct ks_system *sys)
{
	const struct ks_map *poisoned = &sys->frames.poisoned;

	for (uint32_t i = 0; i < poisoned->capacity; i++) {
		const ks_pfn pfn = (ks_pfn)poisoned->slots[2 * (size_t)i];

		if (pfn && !ks_frame_live(&sys->frames, pfn))
			return "I27: a frame whose memory failed is free";
	}
	return poisoned->nr == sys->env->count[KSMSIM_COUNT_HardwareCorrupted]
		       ? NULL
		       : "I27: HardwareCorrupted is not the number of frames whose memory failed";
}

static const char *check_pins(const struct ks_system *sys, const struct ks_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_pins; i++) {
		if (!ks_frame_live(&sys->frames, mm->pins[i].pfn))
			return "I1: a pinned frame is free";
	}
	return NULL;
}

/* ---- all ---- */

static const char *check_mms(struct count *c)
{
	const struct ks_system *sys = c->sys;

	for (uint32_t i = 0; i < sys->nr_mms; i++) {
		const char *wrong;

		if (i > 0 && sys->mms[i - 1]->id >= sys->mms[i]->id)
			return "I21: mms are out of order";
		wrong = check_mm(c, sys->mms[i]);
		if (!wrong)
			wrong = check_pins(sys, sys->mms[i]);
		if (wrong)
			return wrong;
	}
	return NULL;
}

const char *ks_system_check(struct ks_system *sys)
{
	struct count c = { .sys = sys };
	const char *wrong = check_mms(&c);

	if (!wrong)
		wrong = check_frames(&c);
	if (!wrong)
		wrong = check_slots(&c);
	if (!wrong)
		wrong = check_poisoned(sys);
	if (!wrong && !ks_contents_check(&sys->contents))
		wrong = "I7: the contents are broken";
	ks_map_destroy(sys->env, &c.maps);
	ks_map_destroy(sys->env, &c.slots);
	ks_map_destroy(sys->env, &c.folios);
	return wrong;
}
