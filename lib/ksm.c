/*
 * ksm.c - who takes part: registration, the mm list, run=2, the bells.
 *
 * The list is circular with a head. A new mm goes in front of the cursor, so it
 * waits for the next scan; an exiting one goes right behind it, so that its items
 * are freed soon. What can surprise: nothing here changes the page counters except
 * through items, and an mm that left VM_MERGEABLE behind stays on the list until
 * a full scan has seen that.
 */
#include "ksm.h"

#define KS_ENOMEM (-12)
#define KS_EBUSY (-16)

void ks_ksm_init(struct ks_ksm *ksm, struct ks_system *sys)
{
	struct ks_env *env = sys->env;
	struct ks_slot *head;

	*ksm = (struct ks_ksm){
		.env = env, .sys = sys, .scan = 1, .nr_trees = sys->frames.nr_nodes
	};
	ks_pool_init(&ksm->slots, sizeof(struct ks_slot));
	ks_pool_init(&ksm->segs, sizeof(struct ks_seg));
	ks_pool_init(&ksm->nodes, sizeof(struct ks_stable_node));
	ks_pool_init(&ksm->body1, sizeof(struct ks_body_small) + sizeof(struct ks_item_small));
	ks_pool_init(&ksm->body8, sizeof(struct ks_body_small) + 8 * sizeof(struct ks_item_small));
	ks_pool_init(&ksm->body_dense, sizeof(struct ks_body_dense));
	ks_pool_init(&ksm->trees, KS_SEG_SLOTS * sizeof(struct ks_rb_node));
	ks_pool_init(&ksm->links, KS_SEG_SLOTS * sizeof(struct ks_stable_link));
	ksm->cursor.slot = ks_pool_alloc(env, &ksm->slots);
	KS_ASSERT(env, ksm->cursor.slot == KS_SLOT_HEAD);
	head = ks_slot(ksm, KS_SLOT_HEAD);
	head->next = head->prev = KS_SLOT_HEAD;
	for (unsigned nid = 0; nid < KS_NODES_MAX; nid++) {
		ksm->unstable[nid] = (struct ks_rb_tree){ .at = ks_item_tree_node, .owner = ksm };
		/* the tree node is the first member of a stable node */
		ksm->stable[nid] = (struct ks_rb_tree){ .at = ks_stable_rb, .owner = ksm };
	}
	ksm->zero_checksum = ks_content_checksum(&sys->contents, KS_CID_ZERO);
	sys->hooks = ks_ksm_hooks(ksm);
	sys->frames.ksm_freed = ks_stable_page_freed;
	sys->frames.self = ksm;
	sys->tables.watched = ks_ksm_watched;
	sys->tables.self = ksm;
}

void ks_ksm_destroy(struct ks_ksm *ksm)
{
	struct ks_pool *pools[] = { &ksm->slots, &ksm->segs,	   &ksm->nodes, &ksm->body1,
				    &ksm->body8, &ksm->body_dense, &ksm->trees, &ksm->links };

	for (unsigned i = 0; i < sizeof(pools) / sizeof(pools[0]); i++)
		ks_pool_destroy(ksm->env, pools[i]);
	ks_map_destroy(ksm->env, &ksm->forgotten);
}

/* ---- the list ---- */

static void slot_link(struct ks_ksm *ksm, uint32_t id, uint32_t prev)
{
	struct ks_slot *slot = ks_slot(ksm, id);

	slot->prev = prev;
	slot->next = ks_slot(ksm, prev)->next;
	ks_slot(ksm, slot->next)->prev = id;
	ks_slot(ksm, prev)->next = id;
}

static void slot_unlink(struct ks_ksm *ksm, uint32_t id)
{
	const struct ks_slot *slot = ks_slot(ksm, id);

	ks_slot(ksm, slot->next)->prev = slot->prev;
	ks_slot(ksm, slot->prev)->next = slot->next;
}

/* The mm loses its slot; if nobody else uses the mm either, it goes too. */
static void slot_free(struct ks_ksm *ksm, uint32_t id)
{
	struct ks_mm *mm = ks_slot(ksm, id)->mm;

	slot_unlink(ksm, id);
	mm->ksm_slot = 0;
	mm->registered = false;
	ks_pool_free(ksm->env, &ksm->slots, id);
	if (!mm->alive)
		ks_mm_free(ksm->sys, mm);
}

void ks_slot_remove(struct ks_ksm *ksm, uint32_t id)
{
	KS_ASSERT(ksm->env, !ks_slot(ksm, id)->first_seg);
	slot_free(ksm, id);
}

static void trace_mm(struct ks_ksm *ksm, enum ksmsim_trace trace, const struct ks_mm *mm)
{
	struct ksmsim_event event = { .trace = trace, .mm = mm->id };

	ks_trace(ksm->env, &event);
}

/* Models: mm/ksm.c:__ksm_enter(). While run=2 order does not matter to the scan: the tail. */
static long enter(struct ks_ksm *ksm, struct ks_mm *mm)
{
	uint32_t id;

	if (ks_inject(ksm->env, KSMSIM_INJECT_mm_slot))
		return KS_ENOMEM;
	id = ks_pool_alloc(ksm->env, &ksm->slots);
	ks_slot(ksm, id)->mm = mm;
	slot_link(ksm, id,
		  ks_slot(ksm, ksm->env->knob.run == 2 ? KS_SLOT_HEAD : ksm->cursor.slot)->prev);
	mm->ksm_slot = id;
	mm->registered = true;
	trace_mm(ksm, KSMSIM_TRACE_ksm_enter, mm);
	return 0;
}

/* ---- bells of floor 4 ---- */

/* Models: include/linux/ksm.h:ksm_fork(). The zero pages are counted as the parent's number,
 * whatever was really copied. */
static long on_fork(void *self, struct ks_mm *child)
{
	struct ks_ksm *ksm = self;

	ks_count(ksm->env, KSMSIM_COUNT_ksm_zero_pages, child->ksm_zero_pages);
	return enter(ksm, child);
}

static void on_exec(void *self, struct ks_mm *mm, struct ks_mm *old)
{
	(void)old;
	enter(self, mm);
}

/* Models: mm/ksm.c:__ksm_exit(). */
static void on_mm_exit(void *self, struct ks_mm *mm)
{
	struct ks_ksm *ksm = self;
	const uint32_t id = mm->ksm_slot;

	/* mm->alive is false already; keep the mm until its event is out */
	if (id != ksm->cursor.slot && ks_slot(ksm, id)->first_seg) {
		slot_unlink(ksm, id);
		slot_link(ksm, id, ksm->cursor.slot);
	}
	trace_mm(ksm, KSMSIM_TRACE_ksm_exit, mm);
	if (id != ksm->cursor.slot && !ks_slot(ksm, id)->first_seg) {
		slot_unlink(ksm, id);
		ks_pool_free(ksm->env, &ksm->slots, id);
		mm->ksm_slot = 0;
		mm->registered = false;
		mm->merge_any = false;
	}
}

bool ks_vma_compatible(uint32_t vm_flags)
{
	return !(vm_flags & (KS_VM_SHARED | KS_VM_HUGETLB | KS_VM_DROPPABLE));
}

/* An in-tree page of [start, end) is unreadable from now on, or may be: searches must look. */
static void look_at_range(struct ks_ksm *ksm, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	struct ks_walk walk;

	ks_walk_start(&walk, &ksm->sys->tables, &mm->pt, start, end);
	while (ks_walk_leaf(&walk)) {
		const struct ks_leaf *leaf = ks_leaf(&ksm->sys->tables, walk.leaf);

		for (int slot = ks_leaf_next(leaf, walk.first);
		     slot >= 0 && (unsigned)slot <= walk.last;
		     slot = ks_leaf_next(leaf, (unsigned)slot + 1))
			ks_pte_unwatch(&ksm->sys->tables, &mm->pt, leaf->vpn + (unsigned)slot);
	}
}

/* Models: mm/ksm.c:ksm_madvise(). */
static long on_madvise(void *self, struct ks_mm *mm, const struct ks_vma *vma, uint64_t start,
		       uint64_t end, bool mergeable, uint32_t *flags)
{
	struct ks_ksm *ksm = self;
	long err;

	if (mergeable) {
		if (vma->flags & KS_VM_MERGEABLE || !ks_vma_compatible(vma->flags))
			return 0;
		if (!mm->registered && (err = enter(ksm, mm)))
			return err;
		*flags |= KS_VM_MERGEABLE;
		return 0;
	}
	if (!(vma->flags & KS_VM_MERGEABLE))
		return 0;
	if (vma->anon_vma) {
		err = ks_unmerge(ksm, mm, start, end);
		if (err)
			return err;
		look_at_range(ksm, mm, start, end);
	}
	*flags &= ~(uint32_t)KS_VM_MERGEABLE;
	return 0;
}

static long on_unmerge(void *self, struct ks_mm *mm, uint64_t start, uint64_t end)
{
	return ks_unmerge(self, mm, start, end);
}

/* Models: mm/ksm.c:ksm_vma_flags(), ksm_add_vma() in 6.12. */
static uint32_t on_vma_flags(void *self, struct ks_mm *mm, uint32_t flags)
{
	if (!mm->merge_any || !ks_vma_compatible(flags))
		return flags;
	if (!mm->registered)
		enter(self, mm);
	return flags | KS_VM_MERGEABLE;
}

struct ks_mm_hooks ks_ksm_hooks(struct ks_ksm *ksm)
{
	return (struct ks_mm_hooks){
		.self = ksm,
		.fork = on_fork,
		.exit = on_mm_exit,
		.exec = on_exec,
		.madvise = on_madvise,
		.unmerge = on_unmerge,
		.vma_flags = on_vma_flags,
		.leads_to = ks_stable_leads_to,
	};
}

/* A watched entry changes: if its item is in the running unstable tree, the node's key may lie. */
void ks_ksm_watched(void *self, void *mm, uint64_t vpn, struct ks_leaf *leaf)
{
	struct ks_ksm *ksm = self;
	struct ks_item item;

	if (ks_item_find(ksm, mm, vpn, leaf, &item) && ks_item_in_tree(ksm, &item))
		ks_item_tree_node(ksm, ks_item_id(&item))->key_lo |= KS_RB_LOOK;
}

void ks_ksm_moved(void *self, ks_pfn from, ks_pfn to)
{
	struct ks_ksm *ksm = self;
	const uint32_t node = ks_stable_of(ksm, from);

	if (node)
		ks_stable_set_pfn(ksm, node, to);
}

/* ---- prctl ---- */

static long merge_any_on(struct ks_ksm *ksm, struct ks_mm *mm)
{
	if (mm->merge_any)
		return 0;
	if (!mm->registered) {
		const long err = enter(ksm, mm);

		if (err)
			return err;
	}
	mm->merge_any = true;
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		if (ks_vma_compatible(mm->vmas[i].flags))
			mm->vmas[i].flags |= KS_VM_MERGEABLE;
	}
	return 0;
}

/* Models: mm/ksm.c:ksm_disable_merge_any(). A failure makes all compatible VMAs mergeable again. */
static long merge_any_off(struct ks_ksm *ksm, struct ks_mm *mm)
{
	if (!mm->merge_any)
		return 0;
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		struct ks_vma *vma = &mm->vmas[i];

		if (!(vma->flags & KS_VM_MERGEABLE))
			continue;
		if (vma->anon_vma) {
			const long err = ks_unmerge(ksm, mm, vma->start, vma->end);

			if (err) {
				mm->merge_any = false;
				merge_any_on(ksm, mm);
				return err;
			}
			look_at_range(ksm, mm, vma->start, vma->end);
		}
		vma->flags &= ~(uint32_t)KS_VM_MERGEABLE;
	}
	mm->merge_any = false;
	return 0;
}

long ks_ksm_merge_any(struct ks_ksm *ksm, struct ks_mm *mm, bool on)
{
	return on ? merge_any_on(ksm, mm) : merge_any_off(ksm, mm);
}

/* ---- run=2 and the knobs that need empty trees ---- */

static long unmerge_mm(struct ks_ksm *ksm, struct ks_mm *mm)
{
	for (uint32_t i = 0; mm->alive && i < mm->nr_vmas; i++) {
		const struct ks_vma *vma = &mm->vmas[i];
		long err;

		if (!(vma->flags & KS_VM_MERGEABLE) || !vma->anon_vma)
			continue;
		err = ks_unmerge(ksm, mm, vma->start, vma->end);
		if (err)
			return err;
	}
	return 0;
}

/* Models: mm/ksm.c:unmerge_and_remove_all_rmap_items(). */
long ks_ksm_unmerge_all(struct ks_ksm *ksm)
{
	struct ks_cursor *cursor = &ksm->cursor;

	cursor->slot = ks_slot(ksm, KS_SLOT_HEAD)->next;
	while (cursor->slot != KS_SLOT_HEAD) {
		const uint32_t id = cursor->slot;
		struct ks_mm *mm = ks_slot(ksm, id)->mm;
		const long err = unmerge_mm(ksm, mm);

		if (err) {
			cursor->slot = KS_SLOT_HEAD;
			return err;
		}
		ks_cursor_enter(ksm);
		ks_item_free_rest(ksm);
		cursor->slot = ks_slot(ksm, id)->next;
		if (!mm->alive)
			ks_slot_remove(ksm, id);
	}
	ks_cursor_enter(ksm);
	ks_stable_purge(ksm);
	ksm->env->count[KSMSIM_COUNT_full_scans] = 0;
	return 0;
}

long ks_ksm_reshape(struct ks_ksm *ksm)
{
	if (ksm->env->count[KSMSIM_COUNT_pages_shared] || ks_stable_purge(ksm))
		return KS_EBUSY;
	return 0;
}
