/*
 * khugepaged.c - floor 5: the daemon that collapses: its list of mms, its pace.
 *
 *   head -> mm -> mm -> mm        newcomers at the end
 *                 ^ cursor, at a block of this mm
 *
 * A wake-up goes on from the cursor until its budget is used up or it has stood
 * at the head of the list twice. An attempt to collapse lets the mm's lock go:
 * the daemon then comes back to the same mm, at the next block. The first
 * allocation that fails makes it sleep in the middle of a wake-up, the second one
 * ends that.
 *
 * What could surprise: an mm becomes known only through a VMA that has an
 * anon_vma already, so small page faults alone never do it; an mm that exits
 * under the cursor stays on the list, as a slot without mm, until the next wake-up.
 *
 * Models: mm/khugepaged.c:khugepaged_do_scan(), khugepaged_scan_mm_slot(),
 * khugepaged_wait_work(), __khugepaged_enter(), __khugepaged_exit().
 * Differs: it is a thread on a CPU of its own: what it does takes effect when it wakes up, and ksmd
 * does not wait for it. Only a changed value of a sleep's knob ends the sleep early. Blocks without a
 * page table are passed together, without an event for each.
 */
#include "thp.h"

#define NS_PER_MS UINT64_C(1000000)
#define WAKE_NS_MIN UINT64_C(1000) /* with all costs 0 */

struct ks_khugepaged_slot {
	struct ks_mm *mm; /* NULL: it exited */
	uint32_t next, prev;
};

static struct ks_khugepaged_slot *slot_at(const struct ks_khugepaged *khugepaged, uint32_t id)
{
	return ks_pool_at(&khugepaged->slots, id);
}

void ks_khugepaged_init(struct ks_khugepaged *khugepaged, struct ks_system *sys)
{
	*khugepaged = (struct ks_khugepaged){ .sys = sys };
	ks_pool_init(&khugepaged->slots, sizeof(struct ks_khugepaged_slot));
}

void ks_khugepaged_destroy(struct ks_khugepaged *khugepaged)
{
	ks_pool_destroy(khugepaged->sys->env, &khugepaged->slots);
}

/* ---- the list ---- */

static void add_mm(struct ks_khugepaged *khugepaged, struct ks_mm *mm)
{
	const uint32_t id = ks_pool_alloc(khugepaged->sys->env, &khugepaged->slots);

	*slot_at(khugepaged, id) = (struct ks_khugepaged_slot){ mm, 0, khugepaged->last };
	if (khugepaged->last)
		slot_at(khugepaged, khugepaged->last)->next = id;
	else
		khugepaged->first = id;
	khugepaged->last = id;
	mm->khugepaged_slot = id;
}

static void drop_slot(struct ks_khugepaged *khugepaged, uint32_t id)
{
	const struct ks_khugepaged_slot *slot = slot_at(khugepaged, id);

	if (slot->prev)
		slot_at(khugepaged, slot->prev)->next = slot->next;
	else
		khugepaged->first = slot->next;
	if (slot->next)
		slot_at(khugepaged, slot->next)->prev = slot->prev;
	else
		khugepaged->last = slot->prev;
	ks_pool_free(khugepaged->sys->env, &khugepaged->slots, id);
}

/* Does any size that khugepaged makes have a user? */
bool ks_khugepaged_enabled(const struct ks_system *sys)
{
	const struct ks_env *env = sys->env;
	const bool global = env->knob.thp_enabled != KS_THP_NEVER;
	const unsigned pmd = sys->frames.pmd_order;

	if (!env->feature[KS_FEAT_mthp])
		return global;
	for (unsigned order = env->feature[KS_FEAT_mthp_collapse] ? 0 : pmd; order <= pmd;
	     order++) {
		const uint8_t size = env->thp_size[order];

		if (size == KS_THP_SIZE_INHERIT ? global : size != KS_THP_SIZE_NEVER)
			return true;
	}
	return false;
}

/* Orders that khugepaged may make here. */
static uint32_t orders_of(const struct ks_system *sys, const struct ks_mm *mm,
			  const struct ks_vma *vma)
{
	const uint32_t orders = ks_thp_orders(sys, mm, vma, KS_THP_KHUGEPAGED);

	if (sys->env->feature[KS_FEAT_mthp_collapse])
		return orders;
	return orders & UINT32_C(1) << sys->frames.pmd_order;
}

/* ---- bells ---- */

/* Models: khugepaged_enter_vma(). */
static void hear_enter(void *self, struct ks_mm *mm, const struct ks_vma *vma)
{
	struct ks_khugepaged *khugepaged = self;

	if (!mm->khugepaged_slot && ks_khugepaged_enabled(khugepaged->sys) &&
	    orders_of(khugepaged->sys, mm, vma))
		add_mm(khugepaged, mm);
}

static void hear_fork(void *self, struct ks_mm *child, struct ks_mm *parent)
{
	if (parent->khugepaged_slot)
		add_mm(self, child);
}

static void hear_exit(void *self, struct ks_mm *mm)
{
	struct ks_khugepaged *khugepaged = self;
	const uint32_t id = mm->khugepaged_slot;

	if (!id)
		return;
	mm->khugepaged_slot = 0;
	if (khugepaged->cursor == id)
		slot_at(khugepaged, id)->mm = NULL;
	else
		drop_slot(khugepaged, id);
}

void ks_khugepaged_hooks(struct ks_khugepaged *khugepaged, struct ks_mm_hooks *hooks)
{
	hooks->khugepaged = khugepaged;
	hooks->khugepaged_enter = hear_enter;
	hooks->khugepaged_fork = hear_fork;
	hooks->khugepaged_exit = hear_exit;
	hooks->collapse = ks_madvise_collapse;
}

/* ---- one mm ---- */

/* A visit to the cursor's mm. */
struct visit {
	struct ks_khugepaged *khugepaged;
	uint64_t budget, progress;
	enum ks_scan_result result; /* of the last block */
	bool left;		    /* the lock was let go or the budget used up */
};

static uint64_t block_price(const struct visit *v, const struct ks_collapse_effort *effort)
{
	const struct ks_system *sys = v->khugepaged->sys;

	if (!sys->env->feature[KS_FEAT_khugepaged_counts_ptes])
		return ks_pmd_pages(sys);
	return effort->looked ? effort->looked : 1;
}

/* Blocks without a table from here on, before @end, are passed at once: there may be very many. */
static uint64_t jump(struct visit *v, const struct ks_mm *mm, uint64_t end)
{
	const struct ks_khugepaged *khugepaged = v->khugepaged;
	const struct ks_system *sys = khugepaged->sys;
	const uint64_t price = block_price(v, &(struct ks_collapse_effort){ .looked = 0 });
	const uint64_t left =
		v->progress < v->budget ? (v->budget - v->progress - 1) / price + 1 : 1;
	struct ks_walk walk;
	uint64_t blocks;

	ks_walk_start(&walk, &sys->tables, &mm->pt, khugepaged->vpn, end);
	if (ks_walk_leaf(&walk))
		end = ks_leaf(&sys->tables, walk.leaf)->vpn;
	blocks = (end - khugepaged->vpn) / ks_pmd_pages(sys);
	if (blocks > left)
		blocks = left;
	v->progress += blocks * price;
	if (blocks)
		v->result = KS_SCAN_PMD_NONE;
	return blocks;
}

static void visit_block(struct visit *v, struct ks_mm *mm)
{
	struct ks_khugepaged *khugepaged = v->khugepaged;
	struct ks_collapse_effort effort = { .looked = 0 };

	v->result = ks_collapse_block(khugepaged->sys, mm, khugepaged->vpn, true, &effort);
	if (v->result == KS_SCAN_SUCCEED)
		ks_count(khugepaged->sys->env, KSMSIM_COUNT_khugepaged_pages_collapsed, 1);
	v->progress += block_price(v, &effort);
	v->left = effort.attempted;
	khugepaged->vpn += ks_pmd_pages(khugepaged->sys);
}

static void visit_blocks(struct visit *v, struct ks_mm *mm, uint64_t end)
{
	struct ks_khugepaged *khugepaged = v->khugepaged;
	const uint64_t pages = ks_pmd_pages(khugepaged->sys);

	while (khugepaged->vpn < end && !v->left) {
		const uint64_t blocks = jump(v, mm, end);

		khugepaged->vpn += blocks * pages;
		if (!blocks)
			visit_block(v, mm);
		v->left |= v->progress >= v->budget;
	}
}

/* true: no VMA is left. */
static bool visit_vmas(struct visit *v, struct ks_mm *mm)
{
	struct ks_khugepaged *khugepaged = v->khugepaged;
	const struct ks_system *sys = khugepaged->sys;
	const struct ks_vma *vma = ks_vma_find(mm, khugepaged->vpn);

	for (; vma && vma < mm->vmas + mm->nr_vmas; vma++) {
		const uint64_t start = ks_pmd_start(sys, vma->start + ks_pmd_pages(sys) - 1);
		const uint64_t end = ks_pmd_start(sys, vma->end);

		if (!orders_of(sys, mm, vma) || start >= end || khugepaged->vpn > end) {
			v->progress++;
			continue;
		}
		if (khugepaged->vpn < start)
			khugepaged->vpn = start;
		visit_blocks(v, mm, end);
		if (v->left)
			return false;
	}
	return true;
}

/* May the process have no THPs at all? Before 6.9 it is asked for each of its areas only. */
static bool is_passed_over(const struct ks_khugepaged *khugepaged, const struct ks_mm *mm)
{
	return mm->thp_disable == KSMSIM_THP_DISABLE_ALL &&
	       khugepaged->sys->env->feature[KS_FEAT_khugepaged_skips_disabled];
}

/* The cursor's mm is done with. */
static void pass_on(struct ks_khugepaged *khugepaged)
{
	const uint32_t id = khugepaged->cursor;
	const struct ks_khugepaged_slot *slot = slot_at(khugepaged, id);

	khugepaged->cursor = slot->next;
	khugepaged->vpn = 0;
	if (!khugepaged->cursor)
		ks_count(khugepaged->sys->env, KSMSIM_COUNT_khugepaged_full_scans, 1);
	if (!slot->mm)
		drop_slot(khugepaged, id);
}

/* Models: khugepaged_scan_mm_slot(). */
static enum ks_scan_result visit_mm(struct ks_khugepaged *khugepaged, uint64_t budget)
{
	struct visit v = { .khugepaged = khugepaged,
			   .budget = budget,
			   .progress = khugepaged->progress + 1,
			   .result = KS_SCAN_FAIL };
	struct ks_mm *mm;

	if (!khugepaged->cursor) {
		khugepaged->cursor = khugepaged->first;
		khugepaged->vpn = 0;
	}
	mm = slot_at(khugepaged, khugepaged->cursor)->mm;
	if (!mm || is_passed_over(khugepaged, mm) || visit_vmas(&v, mm))
		pass_on(khugepaged);
	khugepaged->progress = v.progress;
	return v.result;
}

/* ---- a wake-up ---- */

static bool has_work(const struct ks_khugepaged *khugepaged)
{
	return khugepaged->first && ks_khugepaged_enabled(khugepaged->sys);
}

static void end_wake(struct ks_khugepaged *khugepaged)
{
	khugepaged->was_short = false;
	khugepaged->progress = 0;
	khugepaged->heads = 0;
}

/* Models: khugepaged_do_scan(). Returns: true: it sleeps in between for want of memory. */
static bool go_on(struct ks_khugepaged *khugepaged, uint64_t budget)
{
	if (!khugepaged->was_short)
		ks_lru_drain(khugepaged->sys->env, &khugepaged->sys->frames);
	while (khugepaged->progress < budget) {
		enum ks_scan_result result;

		khugepaged->heads += !khugepaged->cursor;
		if (!has_work(khugepaged) || khugepaged->heads >= 2)
			break;
		result = visit_mm(khugepaged, budget);
		if (khugepaged->progress >= budget || result != KS_SCAN_ALLOC_HUGE_PAGE_FAIL)
			continue;
		if (khugepaged->was_short)
			break;
		khugepaged->was_short = true;
		return true;
	}
	end_wake(khugepaged);
	return false;
}

/* The sleep that begins now. */
static void fall_asleep(struct ks_khugepaged *khugepaged)
{
	const struct ks_env *env = khugepaged->sys->env;

	khugepaged->timed = khugepaged->was_short || has_work(khugepaged);
	khugepaged->slept_with = khugepaged->was_short ? env->knob.alloc_sleep_millisecs
						       : env->knob.scan_sleep_millisecs;
	khugepaged->wake_ns = env->now_ns + khugepaged->slept_with * NS_PER_MS;
}

uint64_t ks_khugepaged_wake(struct ks_khugepaged *khugepaged, bool full)
{
	const struct ks_env *env = khugepaged->sys->env;
	const uint64_t before = env->count[KSMSIM_COUNT_khugepaged_pages_collapsed];

	if (!ks_khugepaged_enabled(khugepaged->sys))
		return 0;
	while (go_on(khugepaged, full ? UINT64_MAX : env->knob.khugepaged_pages_to_scan)) {
	}
	fall_asleep(khugepaged);
	return env->count[KSMSIM_COUNT_khugepaged_pages_collapsed] - before;
}

uint64_t ks_khugepaged_due(const struct ks_khugepaged *khugepaged)
{
	const struct ks_env *env = khugepaged->sys->env;
	const uint64_t knob = khugepaged->was_short ? env->knob.alloc_sleep_millisecs
						    : env->knob.scan_sleep_millisecs;

	if (!has_work(khugepaged))
		return UINT64_MAX;
	if (!khugepaged->timed || khugepaged->slept_with != knob ||
	    khugepaged->wake_ns < env->now_ns)
		return env->now_ns;
	return khugepaged->wake_ns;
}

void ks_khugepaged_run(struct ks_khugepaged *khugepaged)
{
	const struct ks_env *env = khugepaged->sys->env;
	const uint64_t before = env->task_ns;
	uint64_t took;

	(void)go_on(khugepaged, env->knob.khugepaged_pages_to_scan);
	took = env->task_ns - before;
	fall_asleep(khugepaged);
	khugepaged->wake_ns += took < WAKE_NS_MIN ? WAKE_NS_MIN : took;
}
