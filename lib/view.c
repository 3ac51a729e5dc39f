/*
 * view.c - what can be seen of a machine: counters, processes, VMAs, walk costs,
 * memory by part. Looking changes nothing. Pages are in view_page.c.
 */
#include "machine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static int64_t page_bytes(const struct ksmsim *sim)
{
	return (int64_t)sim->sys.contents.page_bytes;
}

static int64_t counter(const struct ksmsim *sim, enum ksmsim_counter which)
{
	const uint64_t *count = sim->env.count;

	switch (which) {
	case KSMSIM_COUNT_pages_volatile: {
		const int64_t rest = (int64_t)(count[KSMSIM_COUNT_rmap_items] -
					       count[KSMSIM_COUNT_pages_shared] -
					       count[KSMSIM_COUNT_pages_sharing] -
					       count[KSMSIM_COUNT_pages_unshared]);

		return rest > 0 ? rest : 0;
	}
	case KSMSIM_COUNT_general_profit:
		return (int64_t)(count[KSMSIM_COUNT_pages_sharing] +
				 count[KSMSIM_COUNT_ksm_zero_pages]) *
			       page_bytes(sim) -
		       (int64_t)count[KSMSIM_COUNT_rmap_items] * KS_ITEM_BYTES;
	case KSMSIM_COUNT_nr_anon_frames:
		return (int64_t)sim->sys.frames.nr_used;
	case KSMSIM_COUNT_nr_anon_thps:
		return (int64_t)sim->sys.frames.nr_anon_thps;
	case KSMSIM_COUNT_deferred_split_queue:
		return (int64_t)sim->sys.frames.nr_split_queue;
	case KSMSIM_COUNT_ksmd_cpu_ns:
		return (int64_t)sim->env.ksmd_ns;
	case KSMSIM_COUNT_host_bytes:
		return (int64_t)sim->env.host_bytes;
	default:
		return (int64_t)count[which];
	}
}

int ksmsim_counter_get(struct ksmsim *sim, enum ksmsim_counter which, int64_t *value)
{
	const int refused = ks_machine_refuses(sim);

	if (refused)
		return refused;
	if ((unsigned)which >= KSMSIM_COUNT_NR)
		return KSMSIM_EARGUMENT;
	if (value)
		*value = counter(sim, which);
	return 0;
}

/* ---- processes ---- */

static bool any_mergeable(const struct ks_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		if (mm->vmas[i].flags & KS_VM_MERGEABLE)
			return true;
	}
	return false;
}

static int64_t process_profit(const struct ksmsim *sim, const struct ks_mm *mm)
{
	return (mm->ksm_merging_pages + mm->ksm_zero_pages) * page_bytes(sim) -
	       mm->ksm_rmap_items * KS_ITEM_BYTES;
}

int ksmsim_process_get(struct ksmsim *sim, uint32_t pid, struct ksmsim_process *out)
{
	const int refused = ks_machine_refuses(sim);
	const struct ks_mm *mm;

	if (refused)
		return refused;
	if (!out)
		return KSMSIM_EARGUMENT;
	if (!pid || pid > sim->nr_processes)
		return KSMSIM_EPROCESS;
	*out = (struct ksmsim_process){ .pid = pid,
					.mm = sim->processes[pid].mm,
					.alive = sim->processes[pid].alive };
	mm = ks_mm_find(&sim->sys, out->mm);
	if (!mm)
		return 0;
	out->merge_any = mm->merge_any;
	out->mergeable = any_mergeable(mm);
	out->registered = mm->registered;
	out->ksm_rmap_items = mm->ksm_rmap_items;
	out->ksm_zero_pages = mm->ksm_zero_pages;
	out->ksm_merging_pages = mm->ksm_merging_pages;
	out->ksm_process_profit = process_profit(sim, mm);
	out->rss_anon = mm->rss_anon;
	out->anon_huge = mm->nr_anon_pmds;
	out->nr_ptes = mm->pt.nr_tables[sim->sys.tables.geo->levels - 1];
	out->nr_vmas = mm->nr_vmas;
	out->swap_pages = mm->swap_pages;
	return 0;
}

static uint64_t count_ksm_pages(const struct ksmsim *sim, const struct ks_mm *mm)
{
	const struct ks_tables *tables = &sim->sys.tables;
	uint64_t nr = 0;

	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		struct ks_walk walk;

		ks_walk_start(&walk, tables, &mm->pt, mm->vmas[i].start, mm->vmas[i].end);
		while (ks_walk_leaf(&walk)) {
			const struct ks_leaf *leaf = ks_leaf(tables, walk.leaf);

			if (leaf->huge)
				continue; /* KSM pages are small */
			for (int slot = ks_leaf_next(leaf, walk.first);
			     slot >= 0 && (unsigned)slot <= walk.last;
			     slot = ks_leaf_next(leaf, (unsigned)slot + 1)) {
				const struct ks_pte pte = ks_leaf_get(leaf, (unsigned)slot);

				nr += (ks_pte_is_anon(pte) || ks_pte_is_hwpoison(pte)) &&
				      ks_frame_test(ks_frame(&sim->sys.frames, pte.pfn),
						    KS_FRAME_KSM);
			}
		}
	}
	return nr;
}

int ksmsim_ksm_pages_get(struct ksmsim *sim, uint32_t pid, uint64_t *pages)
{
	const int refused = ks_machine_refuses(sim);
	const struct ks_mm *mm;

	if (refused)
		return refused;
	if (!pages)
		return KSMSIM_EARGUMENT;
	if (!pid || pid > sim->nr_processes)
		return KSMSIM_EPROCESS;
	mm = ks_mm_find(&sim->sys, sim->processes[pid].mm);
	*pages = mm ? count_ksm_pages(sim, mm) : 0;
	return 0;
}

int ksmsim_ksm_stat(struct ksmsim *sim, uint32_t pid, char *buf, size_t size, int64_t *ret)
{
	const int refused = ks_machine_refuses(sim);
	const struct ks_mm *mm;
	char text[256];
	int length = 0;

	if (refused)
		return refused;
	if (size && !buf)
		return KSMSIM_EARGUMENT;
	mm = ks_machine_mm(sim, pid);
	if (!mm)
		return KSMSIM_EPROCESS;
	length += snprintf(text, sizeof(text), "ksm_rmap_items %" PRId64 "\n", mm->ksm_rmap_items);
	if (sim->env.feature[KS_FEAT_ksm_stat_zero])
		length += snprintf(text + length, sizeof(text) - (size_t)length,
				   "ksm_zero_pages %" PRId64 "\nksm_merging_pages %" PRId64
				   "\nksm_process_profit %" PRId64 "\n",
				   mm->ksm_zero_pages, mm->ksm_merging_pages,
				   process_profit(sim, mm));
	if (sim->env.feature[KS_FEAT_ksm_stat_flags])
		length += snprintf(text + length, sizeof(text) - (size_t)length,
				   "ksm_merge_any: %s\nksm_mergeable: %s\n",
				   mm->merge_any ? "yes" : "no", any_mergeable(mm) ? "yes" : "no");
	if (size)
		snprintf(buf, size, "%s", text);
	if (ret)
		*ret = length;
	return 0;
}

/* ---- VMAs and walks ---- */

int ksmsim_vma_get(struct ksmsim *sim, uint32_t pid, size_t index, struct ksmsim_vma *out)
{
	const int refused = ks_machine_refuses(sim);
	const struct ks_vma *vma;
	const struct ks_mm *mm;
	unsigned shift;

	if (refused)
		return refused;
	mm = ks_machine_mm(sim, pid);
	if (!mm)
		return KSMSIM_EPROCESS;
	if (!out || index >= mm->nr_vmas)
		return KSMSIM_EARGUMENT;
	vma = &mm->vmas[index];
	shift = sim->sys.tables.geo->page_shift;
	*out = (struct ksmsim_vma){
		.start = vma->start << shift,
		.end = vma->end << shift,
		.prot = vma->flags & (KSMSIM_PROT_READ | KSMSIM_PROT_WRITE | KSMSIM_PROT_EXEC),
		.shared = vma->flags & KS_VM_SHARED,
		.mergeable = vma->flags & KS_VM_MERGEABLE,
		.locked = vma->flags & KS_VM_LOCKED,
		.hugepage = vma->flags & KS_VM_HUGEPAGE,
		.nohugepage = vma->flags & KS_VM_NOHUGEPAGE,
		.dontfork = vma->flags & KS_VM_DONTCOPY,
		.wipeonfork = vma->flags & KS_VM_WIPEONFORK,
		.anon_vma = vma->anon_vma,
		.file = vma->file,
	};
	return 0;
}

int ksmsim_walk_cost(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length,
		     struct ksmsim_walk *out)
{
	const int refused = ks_machine_refuses(sim);
	const struct ks_mm *mm;
	uint64_t mask, end;
	unsigned shift;

	if (refused)
		return refused;
	mm = ks_machine_mm(sim, pid);
	if (!mm)
		return KSMSIM_EPROCESS;
	shift = sim->sys.tables.geo->page_shift;
	mask = (UINT64_C(1) << shift) - 1;
	if (!out || vaddr & mask || __builtin_add_overflow(vaddr, length, &end) ||
	    end > ks_user_end(&sim->sys) << shift)
		return KSMSIM_EARGUMENT;
	ks_walk_cost(&sim->sys.tables, &mm->pt, vaddr >> shift, (end + mask) >> shift, out);
	return 0;
}

/* ---- host memory ---- */

int ksmsim_memory_get(struct ksmsim *sim, size_t index, struct ksmsim_memory *out)
{
	const int refused = ks_machine_refuses(sim);
	const struct ks_ksm *ksm;

	if (refused)
		return refused;
	ksm = &sim->ksm;

	/* grows with the contents that there ever were, all else with what there is */
	const uint64_t index_bytes = ks_contents_index_memory(&sim->sys.contents);
	const struct ksmsim_memory parts[] = {
		{ "page tables", ks_tables_memory(&sim->sys.tables) },
		{ "frames", ks_frames_memory(&sim->sys.frames) },
		{ "contents", ks_contents_memory(&sim->sys.contents) - index_bytes },
		{ "content index", index_bytes },
		{ "khugepaged", ks_pool_bytes(&sim->khugepaged.slots) },
		{ "items", ks_pool_bytes(&ksm->segs) + ks_pool_bytes(&ksm->body1) +
				   ks_pool_bytes(&ksm->body8) + ks_pool_bytes(&ksm->body_dense) },
		{ "unstable tree", ks_pool_bytes(&ksm->trees) },
		{ "stable links", ks_pool_bytes(&ksm->links) },
		{ "stable nodes", ks_pool_bytes(&ksm->nodes) +
					  ksm->by_pfn_room * sizeof(*ksm->by_pfn) +
					  ksm->forgotten.capacity * 2 * sizeof(uint64_t) },
	};

	if (!out || index >= sizeof(parts) / sizeof(parts[0]))
		return KSMSIM_EARGUMENT;
	*out = parts[index];
	return 0;
}
