/*
 * pacing.h - floor 7: how fast ksmd goes.
 *
 * advisor.c is the kernel's scan-time advisor; ksmd.c is the thread's own loop
 * in virtual time: a batch, a sleep, a batch. khugepaged has its turn in that loop, too.
 */
#ifndef KS_PACING_H
#define KS_PACING_H

#include "ksm.h"
#include "thp.h"

struct ks_advisor {
	struct ks_env *env;
	/* as of the last full scan that ended; zeroed when the mode is switched on */
	uint64_t start_ns, scan_time, change, cpu_ns;
};

void ks_advisor_init(struct ks_advisor *advisor, struct ks_ksm *ksm);
/* advisor_mode was changed to @on */
void ks_advisor_switch(struct ks_advisor *advisor, bool on);

struct ks_ksmd {
	struct ks_ksm *ksm;
	struct ks_khugepaged *khugepaged; /* NULL: there is none */
	bool timed;	     /* in the sleep between two batches; else in the wait for work */
	uint64_t wake_ns;    /* end of that sleep */
	uint64_t slept_with; /* sleep_millisecs when it began: a change ends the sleep */
};

void ks_ksmd_init(struct ks_ksmd *ksmd, struct ks_ksm *ksm);
/* Let time pass until @end, ns since boot. */
void ks_ksmd_run(struct ks_ksmd *ksmd, uint64_t end);

#endif
