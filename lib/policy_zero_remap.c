/*
 * policy_zero_remap.c - zero_remap=...: which splits of a large folio put the zero
 * page in the place of its zero-filled pages.
 *
 * Since 6.12 the kernel does it at every split, whoever wants it. `all` does so in
 * every profile; the others take the kernel's rule and allow less:
 *
 *   none         never, as before 6.12
 *   shrinker     only splits of the deferred split shrinker
 *   not_for_ksm  not where KSM splits
 *   not_mergeable  not in VM_MERGEABLE memory while ksmd runs: KSM will look at it
 *   gated        not while shrink_underused is 0
 */
#include "policy.h"

#include <string.h>

static bool all(void *self, const struct ksmsim_zero_remap_question *question)
{
	(void)self;
	(void)question;
	return true;
}

static bool none(void *self, const struct ksmsim_zero_remap_question *question)
{
	(void)self;
	(void)question;
	return false;
}

static bool shrinker(void *self, const struct ksmsim_zero_remap_question *question)
{
	(void)self;
	return question->feature &&
	       (question->why == KSMSIM_SPLIT_UNDERUSED || question->why == KSMSIM_SPLIT_PARTIAL);
}

static bool not_for_ksm(void *self, const struct ksmsim_zero_remap_question *question)
{
	(void)self;
	return question->feature && question->why != KSMSIM_SPLIT_KSM;
}

static bool not_mergeable(void *self, const struct ksmsim_zero_remap_question *question)
{
	(void)self;
	return question->feature && !(question->mergeable && question->ksm_runs);
}

static bool gated(void *self, const struct ksmsim_zero_remap_question *question)
{
	(void)self;
	return question->feature && question->shrink_underused;
}

bool ks_policy_zero_remap(struct ks_policies *policies, const char *text)
{
	static const struct {
		const char *name;
		bool (*op)(void *self, const struct ksmsim_zero_remap_question *question);
	} rules[] = {
		{ "all", all },
		{ "none", none },
		{ "shrinker", shrinker },
		{ "not_for_ksm", not_for_ksm },
		{ "not_mergeable", not_mergeable },
		{ "gated", gated },
	};

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const struct ksmsim_policy policy = { .zero_remap = rules[i].op };

		if (strcmp(text, rules[i].name))
			continue;
		ks_policies_set(policies, &policy);
		return true;
	}
	return false;
}
