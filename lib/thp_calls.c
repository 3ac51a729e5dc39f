/*
 * thp_calls.c - the public interface to huge pages: who may have them, and the
 * split of what there is.
 *
 * What could surprise: a statistic that the profile's kernel does not have is 0
 * here, as a counter is.
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
