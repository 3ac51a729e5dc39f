/*
 * policy_split_min.c - split_min=NUMBER|never: what a large folio must be worth
 * before KSM splits it.
 *
 * The kernel splits a THP for one page: two THPs with a single equal page each
 * cost two THPs and save 4 KiB. Here the pages of the folio that would find a
 * partner are counted first, and fewer than the number leave it whole. 0 and 1
 * are the kernel's rule; with never only what is small already is merged.
 *
 * What could surprise: partners count that are in the trees now. A pair of folios
 * is found when the second one is visited, all of the first being in the unstable
 * tree by then. But small pages that are visited after the folio come one at a
 * time, each in vain, and are in no tree afterwards: for them a folio is never
 * worth more than the KSM pages that it equals, and one.
 */
#include "policy.h"

#include <string.h>

static bool never(void *self, const struct ksmsim_split_question *question)
{
	(void)self;
	(void)question;
	return false;
}

static bool enough(void *self, const struct ksmsim_split_question *question)
{
	const struct ks_policies *policies = self;

	return policies->split_min <= 1 || question->matches(question) >= policies->split_min;
}

/* Decimal digits only; false if there is anything else, or too much of it. */
static bool parse(const char *text, uint32_t *number)
{
	uint64_t value = 0;

	if (!*text || strlen(text) > 9)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (uint64_t)(*text - '0');
	}
	*number = (uint32_t)value;
	return true;
}

bool ks_policy_split_min(struct ks_policies *policies, const char *text)
{
	struct ksmsim_policy policy = { .self = policies, .split = enough };

	if (!strcmp(text, "never"))
		policy.split = never;
	else if (!parse(text, &policies->split_min))
		return false;
	ks_policies_set(policies, &policy);
	return true;
}
