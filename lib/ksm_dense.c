/*
 * ksm_dense.c - the scan of dense page tables, and of what a PMD entry maps, 64
 * entries at a time.
 *
 *   all pages of a word merged already?  counted at once
 *   aged pages whose turn it is to be skipped?  skipped without a visit
 *   else one by one, with the search paths of the next pages on their way
 *
 * What can surprise: every shortcut needs the items of the word to be there and
 * none between them to be due for freeing (items_ready); the first page of each
 * segment goes the long way and brings that about. And a merge may split a folio,
 * which puts the zero page in the place of pages that are still to come: then the
 * rest of the word is read again.
 */
#include "ksm_scan.h"

#define PREFETCH_MIN 4096u /* items; smaller trees are in the cache anyway */

static ks_pfn page_at(const struct ks_leaf *leaf, unsigned slot)
{
	return leaf->huge ? leaf->pmd.pfn + slot : ks_dense_pfn(leaf->all)[slot];
}

/* The page still maps the node that its item is attached to: nothing to do but count. */
static uint64_t settled_pages(const struct ks_batch *batch, struct ks_dense *dense, unsigned word,
			      uint64_t vpn)
{
	const unsigned w = (unsigned)(vpn & (KS_SEG_SLOTS - 1)) / 64;

	KS_ASSERT(batch->ksm->env, batch->seg);
	return ks_dense_plane(dense, KS_PTE_WATCHED)[word] &
	       ks_seg_dense(batch->ksm, batch->seg)->plane[KS_ITEM_STABLE][w];
}

/* Items of this word below the pages of @pages that have no page any more. */
static uint64_t orphan_items(const struct ks_batch *batch, uint64_t vpn, uint64_t pages)
{
	const unsigned w = (unsigned)(vpn & (KS_SEG_SLOTS - 1)) / 64;
	uint64_t items;

	if (!batch->seg || batch->seg->vpn + w * 64 != vpn)
		return 0;
	items = ks_seg_dense(batch->ksm, batch->seg)->plane[KS_ITEM_EXISTS][w] & ~pages;
	if (batch->ksm->cursor.item_vpn > vpn)
		items &= batch->ksm->cursor.item_vpn - vpn >= 64
				 ? 0
				 : ~UINT64_C(0) << (batch->ksm->cursor.item_vpn - vpn);
	return items;
}

/* All pages of @pages, which are settled: @vpn is the page of bit 0. */
static enum ks_progress count_settled(struct ks_batch *batch, uint64_t vpn, uint64_t pages)
{
	struct ks_ksm *ksm = batch->ksm;
	const struct ks_geometry *geo = ksm->sys->tables.geo;
	uint64_t nr = (uint64_t)__builtin_popcountll(pages);
	uint64_t last;

	while (nr > batch->left) {
		pages &= ~(UINT64_C(1) << (63 - __builtin_clzll(pages)));
		nr--;
	}
	ks_found(batch, vpn + (uint64_t)__builtin_ctzll(pages));
	batch->entries += (nr - 1) * (geo->levels - 1);
	last = vpn + 63 - (uint64_t)__builtin_clzll(pages);
	batch->hit = last + 1;
	ksm->cursor.vpn = last + 1;
	ksm->cursor.item_vpn = last + 1;
	batch->nr_settled += nr;
	batch->left -= nr;
	return batch->left ? KS_GO_ON : KS_STOP;
}

static void prefetch_paths(const struct ks_batch *batch, const struct ks_leaf *leaf, unsigned word,
			   uint64_t pages)
{
	ks_pfn ahead[KS_PREFETCH];
	unsigned nr = 0;

	for (; pages && nr < KS_PREFETCH; pages &= pages - 1)
		ahead[nr++] = page_at(leaf, word * 64 + (unsigned)__builtin_ctzll(pages));
	ks_unstable_prefetch(batch->ksm, ahead, nr);
}

/*
 * smart_skip() for the common case: an aged page whose item is in no tree, or was left over in a
 * forgotten one. false: not that case, nothing was changed.
 */
static bool quick_skip(struct ks_batch *batch, struct ks_body_dense *body, unsigned slot,
		       ks_pfn pfn)
{
	struct ks_ksm *ksm = batch->ksm;
	const uint64_t bit = UINT64_C(1) << (slot % 64);
	const unsigned w = slot / 64;

	if (body->age[slot] < 3 || !body->skips[slot] || body->plane[KS_ITEM_STABLE][w] & bit ||
	    ks_frame_test(ks_frame(&ksm->sys->frames, pfn), KS_FRAME_KSM))
		return false;
	if (body->plane[KS_ITEM_UNSTABLE][w] & bit) {
		if (batch->seg->scan == ksm->scan && body->plane[KS_ITEM_IN_TREE][w] & bit)
			return false;
		body->plane[KS_ITEM_UNSTABLE][w] &= ~bit;
		ks_count(ksm->env, KSMSIM_COUNT_pages_unshared, -1);
	}
	if (body->age[slot] != UINT8_MAX)
		body->age[slot]++;
	body->skips[slot]--;
	return true;
}

/* Skip what can be skipped quickly of @pages, from the lowest on; the pages that remain. The items
 * of all of @pages exist and no other items lie between them. */
static uint64_t skip_pages(struct ks_batch *batch, struct ks_leaf *leaf, unsigned word,
			   uint64_t pages)
{
	struct ks_ksm *ksm = batch->ksm;
	struct ks_body_dense *body = ks_seg_dense(ksm, batch->seg);
	const uint64_t vpn = leaf->vpn + word * 64;
	const unsigned slot0 = (unsigned)(vpn & (KS_SEG_SLOTS - 1));
	uint64_t skipped = 0;

	for (; pages; pages &= pages - 1, skipped++) {
		const unsigned i = (unsigned)__builtin_ctzll(pages);

		if (!quick_skip(batch, body, slot0 + i, page_at(leaf, word * 64 + i)))
			break;
		ks_found(batch, vpn + i);
	}
	if (skipped) {
		ksm->cursor.vpn = batch->hit;
		ksm->cursor.item_vpn = batch->hit;
		batch->nr_skipped += skipped;
	}
	return pages;
}

static bool seg_at_hand(const struct ks_batch *batch, uint64_t vpn)
{
	return batch->seg && batch->seg->vpn == (vpn & ~(uint64_t)(KS_SEG_SLOTS - 1));
}

/* All items of @pages exist in the segment at hand, and no others among them must be freed. */
static bool items_ready(const struct ks_batch *batch, uint64_t vpn, uint64_t pages)
{
	const unsigned w = (unsigned)(vpn & (KS_SEG_SLOTS - 1)) / 64;

	return seg_at_hand(batch, vpn) && !batch->gap && !orphan_items(batch, vpn, pages) &&
	       !(pages & ~ks_seg_dense(batch->ksm, batch->seg)->plane[KS_ITEM_EXISTS][w]);
}

/* One by one. @pages has bit i for the page of slot word * 64 + i. */
static enum ks_progress scan_word(struct ks_batch *batch, struct ks_leaf *leaf, unsigned word,
				  uint64_t pages)
{
	const struct ks_env *env = batch->ksm->env;
	const bool prefetch = env->count[KSMSIM_COUNT_pages_unshared] > PREFETCH_MIN;
	const bool smart = env->feature[KS_FEAT_smart_scan] && env->knob.smart_scan &&
			   items_ready(batch, leaf->vpn + word * 64, pages);
	const uint64_t splits = batch->ksm->splits;
	unsigned ahead = 0;

	while (pages && splits == batch->ksm->splits) {
		if (smart)
			pages = skip_pages(batch, leaf, word, pages);
		if (!pages)
			break;
		if (prefetch && ahead-- == 0) {
			prefetch_paths(batch, leaf, word, pages);
			ahead = KS_PREFETCH - 1;
		}
		if (ks_scan_page(batch, leaf, word * 64 + (unsigned)__builtin_ctzll(pages)) ==
		    KS_STOP)
			return KS_STOP;
		pages &= pages - 1;
	}
	return KS_GO_ON;
}

/* The pages of one word of a dense table, at least up to the next split of a folio. */
static enum ks_progress scan_pages(struct ks_batch *batch, struct ks_leaf *leaf, unsigned word,
				   uint64_t pages)
{
	const uint64_t vpn = leaf->vpn + word * 64;
	const uint64_t splits = batch->ksm->splits;
	enum ks_progress progress = KS_GO_ON;

	if (!seg_at_hand(batch, vpn)) {
		/* The first page of a segment finds it, with all that has to be freed before. */
		progress = ks_scan_page(batch, leaf, word * 64 + (unsigned)__builtin_ctzll(pages));
		pages &= pages - 1;
	}
	if (progress == KS_STOP || !pages || splits != batch->ksm->splits)
		return progress;
	if (!leaf->huge && items_ready(batch, vpn, pages) &&
	    (settled_pages(batch, leaf->all, word, vpn) & pages) == pages)
		return count_settled(batch, vpn, pages);
	return scan_word(batch, leaf, word, pages);
}

/* The same up to the next split of a folio, from where the cursor stands then. */
static enum ks_progress scan_words(struct ks_batch *batch, struct ks_leaf *leaf, unsigned first,
				   unsigned last)
{
	const uint64_t splits = batch->ksm->splits;
	const bool huge = leaf->huge;
	const uint64_t *present = huge ? NULL : ks_dense_plane(leaf->all, KS_PTE_PRESENT);
	const uint64_t *special = huge ? NULL : ks_dense_plane(leaf->all, KS_PTE_SPECIAL);
	const uint64_t *file = huge ? NULL : ks_dense_plane(leaf->all, KS_PTE_FILE);

	for (unsigned w = first / 64; w <= last / 64; w++) {
		uint64_t pages = huge ? ~UINT64_C(0) : present[w] & ~special[w] & ~file[w];

		if (w == first / 64)
			pages &= ~UINT64_C(0) << (first % 64);
		if (w == last / 64)
			pages &= ~UINT64_C(0) >> (63 - last % 64);
		if (pages && scan_pages(batch, leaf, w, pages) == KS_STOP)
			return KS_STOP;
		if (splits != batch->ksm->splits)
			return KS_GO_ON;
		/* Items behind the last page of this word wait for the next page. */
		if (orphan_items(batch, leaf->vpn + w * 64, pages))
			batch->gap = true;
	}
	return KS_GO_ON;
}

enum ks_progress ks_scan_dense(struct ks_batch *batch, struct ks_leaf *leaf, unsigned first,
			       unsigned last)
{
	const bool huge = leaf->huge;
	enum ks_progress progress = KS_GO_ON;
	uint64_t splits = batch->ksm->splits - 1;

	while (first <= last && leaf->huge == huge && splits != batch->ksm->splits &&
	       progress == KS_GO_ON) {
		splits = batch->ksm->splits;
		progress = scan_words(batch, leaf, first, last);
		first = (unsigned)(batch->ksm->cursor.vpn - leaf->vpn);
	}
	return progress;
}
