/*
 * ksm_scan.h - floor 6, private: what the rooms of the scan share.
 *
 * ksm_scan.c walks mms and VMAs, ksm_dense.c takes full page tables a word at a
 * time, ksm_lone.c tables with a single page, ksm_visit.c does the work on one
 * page. The fast paths do what ks_scan_page() would have done, page by page.
 */
#ifndef KS_KSM_SCAN_H
#define KS_KSM_SCAN_H

#include "ksm.h"

enum ks_progress { KS_GO_ON, KS_STOP };

/* The running batch. */
struct ks_batch {
	struct ks_ksm *ksm;
	uint64_t left;	    /* pages still to visit */
	uint64_t entries;   /* page-table entries read below the upper tables */
	uint64_t hit;	    /* page found last in this walk, + 1; the next one restarts behind it */
	bool gap;	    /* items were passed that the next page found must free */
	struct ks_seg *seg; /* dense segment under the cursor, NULL: not known */
	uint32_t seg_id;
	/* ksm_lone.c: the segment of the page before, if it was one of a lone item */
	const struct ks_seg *lone;
	uint32_t lone_id;
	uint64_t nr_settled, nr_skipped; /* still to be counted: ks_batch_count() */
};

/* The walk restarts behind the page found last, and reads on to @vpn: every upper level again, but
 * for those that it leaves there. */
static inline void ks_found(struct ks_batch *batch, uint64_t vpn)
{
	const struct ks_geometry *geo = batch->ksm->sys->tables.geo;
	const uint64_t table = (UINT64_C(1) << geo->bits[geo->levels - 1]) - 1;

	if (batch->hit & table)
		batch->entries += geo->levels - 1;
	else if (batch->hit)
		batch->entries += ks_walk_restart(geo, batch->hit - 1, batch->hit);
	batch->hit = vpn + 1;
}

/* One page: its item, smart scan, the visit. */
enum ks_progress ks_scan_page(struct ks_batch *batch, struct ks_leaf *leaf, unsigned slot);
/* The pages in slots [first, last] of a dense table, or of a PMD entry up to its split: there the
 * cursor stands then. */
enum ks_progress ks_scan_dense(struct ks_batch *batch, struct ks_leaf *leaf, unsigned first,
			       unsigned last);
/* true: the only page of this table is merged or skipped, and that is done. */
bool ks_scan_lone(struct ks_batch *batch, const struct ks_leaf *leaf, unsigned first,
		  unsigned last);
/* Tables with a lone page as far as they come in a row; KS_STOP at the end of the batch. */
enum ks_progress ks_scan_lone_run(struct ks_batch *batch, struct ks_walk *walk);
/* The counters of pages that the fast paths passed. */
void ks_batch_count(struct ks_batch *batch);

bool ks_smart_skip(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn);
void ks_visit(struct ks_ksm *ksm, const struct ks_item *item, ks_pfn pfn, struct ks_leaf *leaf);

#endif
