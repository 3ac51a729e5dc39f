/*
 * policy.h - floor 7: who answers at the seams (struct ksmsim_policy).
 *
 * The floors below ask sys->policy; an op that is NULL there means the kernel's
 * rule, which is written where the question comes up. Each seam may have another
 * owner, with a `self` of its own: so sys->policy holds ops of policy.c, which
 * pass the question on.
 */
#ifndef KS_POLICY_H
#define KS_POLICY_H

#include "mm.h"

struct ks_policies {
	struct ks_system *sys;
	struct ksmsim_policy split, zero_remap, cow_pmd, underused; /* only the op of that name */
	uint32_t split_min;
};

void ks_policies_init(struct ks_policies *policies, struct ks_system *sys);
/* The ops that @policy has take over their seams; NULL: every seam is the kernel's again. */
void ks_policies_set(struct ks_policies *policies, const struct ksmsim_policy *policy);
/* "name=value" of policies.def; false: there is no such policy or value. */
bool ks_policies_choose(struct ks_policies *policies, const char *text);

/* One for each row of policies.def, in policy_<name>.c; false: it has no such value. */
#define POLICY(seam, name, value, doc) \
	bool ks_policy_##name(struct ks_policies *policies, const char *text);
#include "ksmsim/policies.def"

#endif
