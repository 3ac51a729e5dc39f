/*
 * policy_cow.c - cow=split|pmd: what a write to a THP that is shared after fork
 * costs.
 *
 * The kernel splits the PMD and copies the one page. Before 5.8 it copied all of
 * the THP, which keeps both sides huge but takes two megabytes at the first write;
 * that is `pmd`.
 */
#include "policy.h"

#include <string.h>

static bool split(void *self, const struct ksmsim_cow_question *question)
{
	(void)self;
	(void)question;
	return false;
}

static bool pmd(void *self, const struct ksmsim_cow_question *question)
{
	(void)self;
	(void)question;
	return true;
}

bool ks_policy_cow(struct ks_policies *policies, const char *text)
{
	const bool whole = !strcmp(text, "pmd");
	const struct ksmsim_policy policy = { .cow_pmd = whole ? pmd : split };

	if (!whole && strcmp(text, "split"))
		return false;
	ks_policies_set(policies, &policy);
	return true;
}
