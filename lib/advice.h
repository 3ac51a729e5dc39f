/*
 * advice.h - floor 4: what the files of madvise() share.
 */
#ifndef KS_ADVICE_H
#define KS_ADVICE_H

#include "mm.h"

/* One VMA's part of the range. */
struct ks_part {
	struct ks_system *sys;
	struct ks_mm *mm;
	uint64_t start, end;
	enum ksmsim_advice advice;
};

/* cold.c. Return 0 or -EINVAL. */
long ks_advise_free(const struct ks_part *p);
long ks_advise_cold(const struct ks_part *p); /* MADV_COLD, MADV_PAGEOUT */

#endif
