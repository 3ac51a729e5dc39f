/*
 * est_prints.c - numbers for fingerprints, in order of first appearance.
 *
 * An open table of numbers over an array of fingerprints: 20 to 28 bytes for each. Where
 * a fingerprint is in the table depends on its low half; lists of hashes may have few
 * bits there, so it is mixed.
 */
#include <stdlib.h>
#include <string.h>

#include "estimate.h"

#define SLOTS_MIN 1024u

struct est_prints {
	struct sim_print *prints; /* number - 1 */
	uint32_t *slots;	  /* numbers; 0: free */
	uint32_t nr, capacity;
	uint32_t mask;
};

static uint32_t slot_of(const struct est_prints *p, struct sim_print print)
{
	uint64_t mixed = (print.low ^ (print.high >> 29)) * UINT64_C(0x9E3779B97F4A7C15);

	mixed ^= mixed >> 32;
	return (uint32_t)(mixed * UINT64_C(0xD6E8FEB86659FD93) >> 32) & p->mask;
}

struct est_prints *est_prints_new(void)
{
	struct est_prints *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->slots = calloc(SLOTS_MIN, sizeof(*p->slots));
	p->mask = SLOTS_MIN - 1;
	if (p->slots)
		return p;
	free(p);
	return NULL;
}

void est_prints_free(struct est_prints *p)
{
	if (!p)
		return;
	free(p->prints);
	free(p->slots);
	free(p);
}

uint32_t est_prints_nr(const struct est_prints *p)
{
	return p->nr;
}

/* Twice the slots, before three quarters are taken. */
static bool grow_slots(struct est_prints *p)
{
	uint32_t *slots, at, i;

	if (p->nr < p->mask / 4 * 3)
		return true;
	if (p->mask > UINT32_MAX / 4)
		return false;
	slots = calloc(((size_t)p->mask + 1) * 2, sizeof(*slots));
	if (!slots)
		return false;
	free(p->slots);
	p->slots = slots;
	p->mask = p->mask * 2 + 1;
	for (i = 0; i < p->nr; i++) {
		/* unique ones are never looked for, but need no exception here */
		for (at = slot_of(p, p->prints[i]); slots[at]; at = (at + 1) & p->mask)
			;
		slots[at] = i + 1;
	}
	return true;
}

static bool grow_prints(struct est_prints *p)
{
	const uint32_t capacity = p->capacity ? p->capacity + p->capacity / 2 : SLOTS_MIN;
	struct sim_print *prints;

	if (p->nr < p->capacity)
		return true;
	prints = realloc(p->prints, (size_t)capacity * sizeof(*prints));
	if (!prints)
		return false;
	p->prints = prints;
	p->capacity = capacity;
	return true;
}

uint32_t est_prints_number(struct est_prints *p, struct sim_print print)
{
	uint32_t at;

	for (at = slot_of(p, print); p->slots[at]; at = (at + 1) & p->mask)
		if (!sim_print_compare(p->prints[p->slots[at] - 1], print))
			return p->slots[at];
	if (!grow_slots(p) || !grow_prints(p))
		return 0;
	for (at = slot_of(p, print); p->slots[at]; at = (at + 1) & p->mask)
		;
	p->prints[p->nr++] = print;
	p->slots[at] = p->nr;
	return p->nr;
}

uint32_t est_prints_unique(struct est_prints *p)
{
	if (!grow_slots(p) || !grow_prints(p))
		return 0;
	p->prints[p->nr] = (struct sim_print){ UINT64_MAX, p->nr };
	return ++p->nr;
}
