/*
 * oracle.h - what KSM must have merged in the end, by brute force.
 *
 * Looks at a machine before any scan, compares every page with every other, and
 * says what the counters must be once ksmd has had enough full scans of memory
 * that nobody writes to.
 */
#ifndef KSMSIM_ORACLE_H
#define KSMSIM_ORACLE_H

#include <stddef.h>
#include <stdint.h>

#include "ksmsim.h"

struct oracle {
	uint64_t pages;	  /* anonymous pages in mergeable areas: each gets an item */
	uint64_t shared;  /* pages_shared */
	uint64_t sharing; /* pages_sharing */
	uint64_t zero;	  /* pages that become the zero page */
	uint64_t bound;	  /* pages_sharing cannot be above, whatever is pinned */
};

/* n equal pages with at most @max mappings of one KSM page: adds to shared and sharing. */
void oracle_add_equal(struct oracle *oracle, uint64_t nr, uint64_t max);

/* @pids: the living processes. Reads the knobs of the machine. 0 or a KSMSIM_E code. */
int oracle_ask(struct ksmsim *sim, const uint32_t *pids, size_t nr_pids, struct oracle *oracle);

#endif
