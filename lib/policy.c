/*
 * policy.c - which policy answers at which seam; see policy.h.
 *
 * Nothing here decides anything: the kernel's rules are where they are asked
 * for (ksm_large.c, split.c, thp.c, shrinker.c), the others in policy_<name>.c.
 */
#include "policy.h"

#include <string.h>

static bool ask_split(void *self, const struct ksmsim_split_question *question)
{
	const struct ksmsim_policy *policy = &((struct ks_policies *)self)->split;

	return policy->split(policy->self, question);
}

static bool ask_zero_remap(void *self, const struct ksmsim_zero_remap_question *question)
{
	const struct ksmsim_policy *policy = &((struct ks_policies *)self)->zero_remap;

	return policy->zero_remap(policy->self, question);
}

static bool ask_cow_pmd(void *self, const struct ksmsim_cow_question *question)
{
	const struct ksmsim_policy *policy = &((struct ks_policies *)self)->cow_pmd;

	return policy->cow_pmd(policy->self, question);
}

static bool ask_underused(void *self, const struct ksmsim_underused_question *question)
{
	const struct ksmsim_policy *policy = &((struct ks_policies *)self)->underused;

	return policy->underused(policy->self, question);
}

void ks_policies_init(struct ks_policies *policies, struct ks_system *sys)
{
	*policies = (struct ks_policies){ .sys = sys };
	ks_policies_set(policies, NULL);
}

void ks_policies_set(struct ks_policies *policies, const struct ksmsim_policy *policy)
{
	struct ksmsim_policy *seams = &policies->sys->policy;

	if (!policy) {
		*seams = (struct ksmsim_policy){ .name = "kernel", .self = policies };
		return;
	}
	if (policy->split) {
		policies->split = *policy;
		seams->split = ask_split;
	}
	if (policy->zero_remap) {
		policies->zero_remap = *policy;
		seams->zero_remap = ask_zero_remap;
	}
	if (policy->cow_pmd) {
		policies->cow_pmd = *policy;
		seams->cow_pmd = ask_cow_pmd;
	}
	if (policy->underused) {
		policies->underused = *policy;
		seams->underused = ask_underused;
	}
}

/* ---- by name ---- */

bool ks_policies_choose(struct ks_policies *policies, const char *text)
{
	static const struct {
		const char *name;
		bool (*choose)(struct ks_policies *policies, const char *value);
	} rows[] = {
#define POLICY(seam, name, value, doc) { #name, ks_policy_##name },
#include "ksmsim/policies.def"
	};
	const size_t len = strcspn(text, "=");

	for (size_t i = 0; text[len] && i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strlen(rows[i].name) == len && !strncmp(rows[i].name, text, len))
			return rows[i].choose(policies, text + len + 1);
	}
	return false;
}
