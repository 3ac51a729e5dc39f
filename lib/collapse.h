/*
 * collapse.h - floor 5: between the two halves of a collapse.
 *
 * collapse_look.c finds out whether entries may be collapsed; collapse.c does it.
 */
#ifndef KS_COLLAPSE_H
#define KS_COLLAPSE_H

#include "thp.h"

#define KS_TABLE_WORDS_MAX (8192u / 64u) /* entries of a PTE table: 64 KiB pages */

/* What a look came upon. */
struct ks_collapse_sight {
	ks_pfn pfn; /* head of the last folio; KS_PFN_NONE */
	uint32_t none, swap, referenced;
	uint32_t swapped_in; /* of these */
};

/* One block. */
struct ks_collapse {
	struct ks_system *sys;
	struct ks_mm *mm;
	const struct ks_vma *vma;
	const struct ks_leaf *leaf;
	uint64_t vpn;
	bool khugepaged;
	uint32_t orders;		      /* that the block may have, bit by bit */
	struct ks_collapse_sight seen;	      /* by the scan */
	uint32_t load[KS_NODES_MAX];	      /* pages of each node */
	uint64_t present[KS_TABLE_WORDS_MAX]; /* entries that map a page */
};

static inline unsigned ks_collapse_pmd_order(const struct ks_collapse *c)
{
	return c->sys->frames.pmd_order;
}

static inline bool ks_collapse_has(const struct ks_collapse *c, enum ks_feature feature)
{
	return c->sys->env->feature[feature];
}

/* An entry that stands for zeros: none, or one of the zero pages. */
static inline bool ks_pte_is_hole(struct ks_pte pte)
{
	return !pte.bits || pte.bits & KS_PTE(SPECIAL);
}

/* Holes that a folio of @order may have. */
uint32_t ks_collapse_none_max(const struct ks_collapse *c, unsigned order);
/* A limit was exceeded: counts and returns @result. */
enum ks_scan_result ks_collapse_exceed(const struct ks_collapse *c, unsigned order,
				       enum ks_scan_result result);
/* An event of huge_memory. */
void ks_collapse_trace(const struct ks_collapse *c, enum ksmsim_trace which,
		       enum ks_scan_result result, const struct ks_collapse_sight *seen);
/* Looks at all of the table; *@looked grows by the entries looked at. */
enum ks_scan_result ks_collapse_scan(struct ks_collapse *c, uint64_t *looked);
/* Takes the pages of 1 << @order entries from @first on off their LRU lists, or none of them. */
enum ks_scan_result ks_collapse_isolate(const struct ks_collapse *c, unsigned first,
					unsigned order);

#endif
