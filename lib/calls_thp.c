/*
 * calls_thp.c - the public interface to huge pages: who may have them, and the
 * split of what there is.
 *
 * What could surprise: a statistic that the profile's kernel does not have is 0
 * here, as a counter is. A split goes page by page, so what a split around one
 * page left large is split again where the range goes on.
 *
 * Models: mm/huge_memory.c:split_huge_pages_pid(); kernel/sys.c:prctl_set_thp_disable().
 */
#include "calls.h"

#include <errno.h>

/* ---- PR_SET_THP_DISABLE ---- */

static int64_t do_disable(struct ksmsim *sim, struct ks_call *call)
{
	const enum ksmsim_thp_disable mode = (enum ksmsim_thp_disable)call->flags;

	if (mode == KSMSIM_THP_DISABLE_EXCEPT_ADVISED &&
	    !sim->env.feature[KS_FEAT_thp_except_advised])
		return -EINVAL;
	call->mm->thp_disable = mode;
	return 0;
}

int ksmsim_prctl_thp_disable(struct ksmsim *sim, uint32_t pid, enum ksmsim_thp_disable mode,
			     int64_t *ret)
{
	if ((unsigned)mode > KSMSIM_THP_DISABLE_EXCEPT_ADVISED)
		return KSMSIM_EARGUMENT;
	return ks_call(sim, &(struct ks_call){ .pid = pid, .body = do_disable, .flags = mode },
		       ret);
}

/* ---- splits ---- */

/* The next page of [*vpn, end) that an entry maps; false: there is none. */
static bool next_page(const struct ksmsim *sim, const struct ks_mm *mm, uint64_t *vpn, uint64_t end)
{
	struct ks_walk walk;

	ks_walk_start(&walk, &sim->sys.tables, &mm->pt, *vpn, end);
	while (ks_walk_leaf(&walk)) {
		const int slot = ks_walk_slot(&walk, walk.first);

		if (slot < 0)
			continue;
		*vpn = ks_leaf(&sim->sys.tables, walk.leaf)->vpn + (unsigned)slot;
		return true;
	}
	return false;
}

/*
 * Split the folio of the page at @vpn, if it is large and nobody but its mappings
 * holds it: who does is passed over without a trace.
 */
static bool split_at(struct ksmsim *sim, const struct ks_call *call, uint64_t vpn)
{
	struct ks_frames *frames = &sim->sys.frames;
	const struct ks_pte pte = ks_pte_get(&sim->sys.tables, &call->mm->pt, vpn);
	const struct ks_folio *folio = ks_pte_is_anon(pte) ? ks_folio_of(frames, pte.pfn) : NULL;
	const int64_t page = call->at;
	const bool uniform = !folio || page < 0 || page >= ks_folio_pages(folio);
	ks_pfn at;
	long err;

	if (!folio || folio->gets || call->flags >= folio->order)
		return false;
	at = uniform ? pte.pfn : folio->head + (ks_pfn)page;
	ks_folio_get(&sim->env, frames, at, 1);
	err = ks_split_folio(&sim->sys, at, call->flags, uniform, KSMSIM_SPLIT_EXPLICIT);
	ks_folio_put(&sim->env, frames, at, 1);
	return !err;
}

/* What a split left large is met again at its next page. */
static int64_t do_split(struct ksmsim *sim, struct ks_call *call)
{
	uint64_t vpn = 0, pages = 0;
	int64_t nr = ks_call_pages(sim, call->vaddr, call->length, -EINVAL, &vpn, &pages);
	const uint64_t end = vpn + pages;

	if (nr)
		return nr;
	if ((call->flags && !sim->env.feature[KS_FEAT_split_to_order]) ||
	    (call->at >= 0 && !sim->env.feature[KS_FEAT_split_nonuniform]))
		return -EINVAL;
	for (; vpn < end && next_page(sim, call->mm, &vpn, end); vpn++)
		nr += split_at(sim, call, vpn);
	return nr;
}

int ksmsim_split(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t length, unsigned order,
		 int64_t at, int64_t *ret)
{
	return ks_call(sim,
		       &(struct ks_call){ .pid = pid,
					  .body = do_split,
					  .vaddr = vaddr,
					  .length = length,
					  .at = at,
					  .flags = order },
		       ret);
}

/* ---- shrinker and khugepaged ---- */

struct effort {
	bool all;
	int64_t result;
};

static int do_shrink(struct ksmsim *sim, void *args)
{
	struct effort *effort = args;

	if (effort->all) {
		effort->result = (int64_t)ks_shrink_deferred(&sim->sys);
		ks_huge_zero_shrink(&sim->sys);
	} else {
		effort->result = (int64_t)ks_shrink_force_empty(&sim->sys);
	}
	return 0;
}

int ksmsim_shrink(struct ksmsim *sim, bool all, int64_t *ret)
{
	struct effort effort = { .all = all };
	const int err = ks_machine_run(sim, do_shrink, &effort);

	if (!err && ret)
		*ret = effort.result;
	return err;
}

static int do_khugepaged(struct ksmsim *sim, void *args)
{
	struct effort *effort = args;

	effort->result = (int64_t)ks_khugepaged_wake(&sim->khugepaged, effort->all);
	return 0;
}

int ksmsim_khugepaged(struct ksmsim *sim, bool full, int64_t *ret)
{
	struct effort effort = { .all = full };
	const int err = ks_machine_run(sim, do_khugepaged, &effort);

	if (!err && ret)
		*ret = effort.result;
	return err;
}

/* ---- statistics ---- */

static bool has_stat(const struct ks_env *env, enum ksmsim_mthp stat)
{
	static const enum ks_feature features[] = {
#define KS_FEAT_always KS_FEAT_mthp
#define MTHP(name, feature, doc) KS_FEAT_##feature,
#include "ksmsim/mthp.def"
#undef KS_FEAT_always
	};

	return env->feature[KS_FEAT_mthp] && env->feature[features[stat]];
}

int ksmsim_mthp_get(struct ksmsim *sim, enum ksmsim_mthp stat, unsigned order, int64_t *value)
{
	const int refused = ks_machine_refuses(sim);

	if (refused)
		return refused;
	if ((unsigned)stat >= KSMSIM_MTHP_NR || order < 2 || order > sim->sys.frames.pmd_order)
		return KSMSIM_EARGUMENT;
	if (value)
		*value = has_stat(&sim->env, stat) ? sim->env.mthp[stat][order] : 0;
	return 0;
}
