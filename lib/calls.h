/*
 * calls.h - floor 8: how calls.c (system calls) and access_calls.c (what running
 * code and others do to memory) carry their arguments into the machine.
 */
#ifndef KS_CALLS_H
#define KS_CALLS_H

#include "machine.h"

struct ks_call {
	uint32_t pid;
	int64_t (*body)(struct ksmsim *sim, struct ks_call *call);
	uint64_t vaddr, length; /* bytes */
	uint64_t new_vaddr, new_length;
	uint64_t nr_pages;
	int64_t at;	/* page of a folio, or -1 */
	unsigned flags; /* prot, flags, advice, node, ... as the call names it */
	const struct ksmsim_mmap *mmap;
	const struct ksmsim_content *content;
	const uint8_t *from; /* bytes to write */
	uint8_t *to;	     /* bytes read */
	/* set on the way */
	struct ks_mm *mm;
	uint32_t made; /* a new process */
	int64_t result;
};

/* Run call->body on the mm of call->pid; *ret is what it returns. */
int ks_call(struct ksmsim *sim, struct ks_call *call, int64_t *ret);
/* Start and length as page numbers; 0, -EINVAL if not aligned, @overflow if too large. */
long ks_call_pages(const struct ksmsim *sim, uint64_t vaddr, uint64_t length, long overflow,
		   uint64_t *vpn, uint64_t *pages);

#endif
