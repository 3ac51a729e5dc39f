/*
 * folio_map.c - floor 2: mappings of large folios, and what they make true of a page.
 *
 * What could surprise: whether a folio became partially mapped is asked only when
 * mappings go, and only of the step that takes a page's last mapping; a second
 * PTE-mapping process hides nothing, a PMD mapping hides everything. The two
 * slots for mms never see a third one: a folio can stay "shared" for good.
 *
 * Models: mm/rmap.c:__folio_remove_rmap(); include/linux/rmap.h:folio_add_return_large_mapcount().
 */
#include "folio.h"

#define ONE_MAP (UINT32_C(1) << KS_FRAME_FLAG_BITS)

/* ---- which mms map it ---- */

static int slot_of_mm(const struct ks_folio *folio, uint32_t mm)
{
	return folio->mm[0] == mm ? 0 : folio->mm[1] == mm ? 1 : -1;
}

/* @nr mappings more of @mm; folio->maps does not count them yet. */
static void mm_add(struct ks_folio *folio, uint32_t mm, uint32_t nr)
{
	int slot = slot_of_mm(folio, mm);

	if (slot < 0) {
		if (folio->maps)
			ks_folio_flag(folio, KS_FOLIO_SHARED, true);
		slot = slot_of_mm(folio, 0);
		if (slot < 0)
			return;
		folio->mm[slot] = mm;
	}
	folio->mm_maps[slot] += nr;
}

/* @nr mappings less of @mm; folio->maps is what remains. The bit is looked at again only when a slot
 * became free or the mm had none. */
static void mm_remove(struct ks_folio *folio, uint32_t mm, uint32_t nr)
{
	const int slot = slot_of_mm(folio, mm);

	if (slot >= 0) {
		folio->mm_maps[slot] -= nr < folio->mm_maps[slot] ? nr : folio->mm_maps[slot];
		if (folio->mm_maps[slot])
			return;
		folio->mm[slot] = 0;
	}
	for (unsigned i = 0; i < 2; i++) {
		if (folio->mm[i] && folio->mm_maps[i] == folio->maps)
			ks_folio_flag(folio, KS_FOLIO_SHARED, false);
	}
}

/* ---- mappings ---- */

void ks_folio_map_pmd(struct ks_env *env, struct ks_frames *frames, uint32_t id, uint32_t mm)
{
	struct ks_folio *folio = ks_folio(frames, id);

	if (folio->maps >= KS_FRAME_MAPS_MAX)
		ks_fail(env, KSMSIM_ELIMIT);
	mm_add(folio, mm, 1);
	frames->nr_anon_thps += !folio->entire;
	folio->entire++;
	folio->maps++;
}

void ks_folio_unmap_pmd(struct ks_env *env, struct ks_frames *frames, uint32_t id, uint32_t mm)
{
	struct ks_folio *folio = ks_folio(frames, id);

	KS_ASSERT(env, folio->entire > 0);
	folio->entire--;
	folio->maps--;
	mm_remove(folio, mm, 1);
	if (!folio->entire) {
		frames->nr_anon_thps--;
		if (folio->mapped && folio->mapped < ks_folio_pages(folio))
			ks_folio_queue(env, frames, id, true);
	}
	ks_folio_put_if_unused(env, frames, id);
}

void ks_folio_map_ptes(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t nr,
		       uint32_t mm)
{
	struct ks_folio *folio = ks_folio_of(frames, pfn);
	struct ks_frame *frame;

	KS_ASSERT(env, folio && pfn - folio->head + nr <= ks_folio_pages(folio));
	if (folio->maps >= KS_FRAME_MAPS_MAX - nr)
		ks_fail(env, KSMSIM_ELIMIT);
	ks_folio_need_frame(env, frames, pfn);
	frame = ks_block_frame(frames, pfn);
	for (uint32_t i = 0; i < nr; i++) {
		folio->mapped += !ks_frame_maps(&frame[i]);
		frame[i].meta += ONE_MAP;
	}
	mm_add(folio, mm, nr);
	folio->maps += nr;
}

/* Did a step that took the last mapping of @last pages leave the folio partially mapped? Before 6.12
 * nobody asks whether anything is left. */
static bool became_partial(const struct ks_env *env, const struct ks_folio *folio, uint32_t last)
{
	if (!last || folio->entire)
		return false;
	return folio->mapped || !env->feature[KS_FEAT_deferred_on_flag];
}

void ks_folio_unmap_ptes(struct ks_env *env, struct ks_frames *frames, ks_pfn pfn, uint32_t nr,
			 uint32_t mm)
{
	const uint32_t id = ks_folio_id(frames, pfn);
	struct ks_folio *folio = ks_folio(frames, id);
	struct ks_frame *frame = ks_block_frame(frames, pfn);
	uint32_t last = 0;

	KS_ASSERT(env, id && pfn - folio->head + nr <= ks_folio_pages(folio));
	for (uint32_t i = 0; i < nr; i++) {
		KS_ASSERT(env, ks_frame_maps(&frame[i]) > 0);
		frame[i].meta -= ONE_MAP;
		last += !ks_frame_maps(&frame[i]);
	}
	folio->mapped -= last;
	folio->maps -= nr;
	mm_remove(folio, mm, nr);
	if (became_partial(env, folio, last))
		ks_folio_queue(env, frames, id, true);
	ks_folio_put_if_unused(env, frames, id);
}

void ks_folio_pmd_to_ptes(struct ks_env *env, struct ks_frames *frames, uint32_t id, uint32_t mm)
{
	struct ks_folio *folio = ks_folio(frames, id);
	const bool exclusive = ks_folio_test(folio, KS_FOLIO_EXCLUSIVE);
	struct ks_frame *frame;

	KS_ASSERT(env, folio->entire > 0);
	ks_folio_map_ptes(env, frames, folio->head, ks_folio_pages(folio), mm);
	folio->entire--;
	folio->maps--;
	mm_remove(folio, mm, 1);
	frame = ks_block_frame(frames, folio->head);
	for (uint32_t i = 0; i < ks_folio_pages(folio); i++)
		ks_frame_flag(&frame[i], KS_FRAME_EXCLUSIVE, exclusive);
	if (!folio->entire) {
		ks_folio_flag(folio, KS_FOLIO_EXCLUSIVE, false);
		frames->nr_anon_thps--;
	}
}

/* ---- what is true of a page ---- */

uint32_t ks_page_mapcount(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	return ks_frame_maps(ks_frame(frames, pfn)) + (folio ? folio->entire : 0);
}

bool ks_page_exclusive(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	if (folio && ks_folio_test(folio, KS_FOLIO_EXCLUSIVE))
		return true;
	return ks_frame_test(ks_frame(frames, pfn), KS_FRAME_EXCLUSIVE);
}

bool ks_page_maybe_shared(const struct ks_env *env, const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	if (!folio || !env->feature[KS_FEAT_large_mapcount])
		return ks_page_mapcount(frames, pfn) > 1;
	if (folio->maps <= 1)
		return false;
	if (env->feature[KS_FEAT_mm_id])
		return ks_folio_test(folio, KS_FOLIO_SHARED);
	if (folio->entire || folio->maps > ks_folio_pages(folio))
		return true;
	return ks_frame_maps(ks_frame(frames, folio->head)) > 1;
}

bool ks_page_dirty(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	return folio ? ks_folio_test(folio, KS_FOLIO_DIRTY)
		     : ks_frame_test(ks_frame(frames, pfn), KS_FRAME_DIRTY);
}

bool ks_page_lazyfree(const struct ks_frames *frames, ks_pfn pfn)
{
	const struct ks_folio *folio = ks_folio_of(frames, pfn);

	return folio ? ks_folio_test(folio, KS_FOLIO_LAZYFREE)
		     : ks_frame_test(ks_frame(frames, pfn), KS_FRAME_LAZYFREE);
}
