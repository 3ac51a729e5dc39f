/*
 * calls_policy.c - the policies of the public interface.
 */
#include "machine.h"

int ksmsim_policy_set(struct ksmsim *sim, const struct ksmsim_policy *policy)
{
	const int refused = ks_machine_refuses(sim);

	if (refused)
		return refused;
	ks_policies_set(&sim->policies, policy);
	return 0;
}

int ksmsim_policy_choose(struct ksmsim *sim, const char *text)
{
	const int refused = ks_machine_refuses(sim);

	if (refused)
		return refused;
	return text && ks_policies_choose(&sim->policies, text) ? 0 : KSMSIM_ENAME;
}
