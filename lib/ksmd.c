/*
 * ksmd.c - the thread in virtual time: batch, sleep, batch; and khugepaged beside it.
 *
 * A batch takes as long as its modelled cost. The sleep between two batches ends
 * early only when sleep_millisecs differs from what it was when the sleep began;
 * neither run=1 nor a new process ends it. The wait for work ends as soon as
 * there is some.
 *
 * Models: mm/ksm.c:ksm_scan_thread().
 * Differs: the timer has no grain of its own; with all costs 0 a batch takes 1 us.
 */
#include "pacing.h"

#define NS_PER_MS UINT64_C(1000000)
#define BATCH_NS_MIN UINT64_C(1000)

void ks_ksmd_init(struct ks_ksmd *ksmd, struct ks_ksm *ksm)
{
	*ksmd = (struct ks_ksmd){ .ksm = ksm };
}

static bool has_work(const struct ks_ksmd *ksmd)
{
	return ksmd->ksm->env->knob.run == 1 && !ks_ksm_list_empty(ksmd->ksm);
}

static void batch(struct ks_ksmd *ksmd)
{
	struct ks_env *env = ksmd->ksm->env;
	const uint64_t before = env->ksmd_ns;
	uint64_t took;

	ks_ksm_batch(ksmd->ksm, env->knob.pages_to_scan);
	took = env->ksmd_ns - before;
	env->now_ns += took < BATCH_NS_MIN ? BATCH_NS_MIN : took;
	ksmd->timed = has_work(ksmd);
	ksmd->slept_with = env->knob.sleep_millisecs;
	ksmd->wake_ns = env->now_ns + ksmd->slept_with * NS_PER_MS;
}

/* When ksmd has a batch to do; UINT64_MAX: it waits for work. */
static uint64_t due(const struct ks_ksmd *ksmd)
{
	const struct ks_env *env = ksmd->ksm->env;

	if (ksmd->timed && ksmd->slept_with == env->knob.sleep_millisecs &&
	    ksmd->wake_ns > env->now_ns)
		return ksmd->wake_ns;
	return has_work(ksmd) ? env->now_ns : UINT64_MAX;
}

static void wait_until(struct ks_env *env, uint64_t ns)
{
	if (env->now_ns < ns)
		env->now_ns = ns;
}

/* khugepaged, whose work takes none of ksmd's time, comes first where both are due. */
void ks_ksmd_run(struct ks_ksmd *ksmd, uint64_t end)
{
	struct ks_env *env = ksmd->ksm->env;

	while (env->now_ns < end) {
		const uint64_t mine = due(ksmd);
		const uint64_t other =
			ksmd->khugepaged ? ks_khugepaged_due(ksmd->khugepaged) : UINT64_MAX;

		if (other < end && other <= mine) {
			wait_until(env, other);
			ks_khugepaged_run(ksmd->khugepaged);
			continue;
		}
		if (mine == UINT64_MAX)
			ksmd->timed = false;
		if (mine >= end)
			break;
		wait_until(env, mine);
		ksmd->timed = false;
		if (has_work(ksmd))
			batch(ksmd);
	}
	wait_until(env, end);
}
