/*
 * content_view.c - floor 1: from bytes to roots and back.
 *
 * Everything about one page that needs no store: finding the root of a page,
 * writing into it, comparing and hashing pages without their bytes.
 *
 * Why a page has one root at most: two FILL roots differ in every word; so do
 * two SEED roots; a FILL and a SEED root agree in one word at most. A page that
 * is within KS_PATCH_MAX words of two roots would make them agree in all but
 * 2 * KS_PATCH_MAX words, and a page has at least 512.
 *
 * What could surprise: no inverse of ks_mix() is needed to recover a SEED root.
 * Since it is a bijection, every base is the base of some seed, and bases are
 * what we keep.
 */
#include "content_view.h"

#include <xxhash.h>

static bool add_change(struct ks_changes *changes, uint32_t slot, uint64_t value)
{
	if (changes->nr == KS_PATCH_MAX)
		return false;
	changes->slot[changes->nr] = (uint16_t)slot;
	changes->value[changes->nr++] = value;
	return true;
}

struct ks_view ks_view_changed(enum ks_view_kind kind, uint64_t base,
			       const struct ks_changes *changes)
{
	struct ks_view view = ks_view_root(kind, base);
	uint64_t sum = view.hash;

	if (!changes->nr)
		return view;
	view.nr = changes->nr;
	view.value = changes->value;
	view.slot = changes->slot;
	for (uint32_t i = 0; i < view.nr; i++)
		sum += ks_mix(view.value[i] + (view.slot[i] + UINT64_C(1)) * KS_SEED_STEP);
	view.hash = ks_mix(sum);
	return view;
}

/*
 * The only possible base of a root with this step: with at most KS_PATCH_MAX
 * changed words it has the majority in any 2 * KS_PATCH_MAX + 1 words (vote of
 * Boyer and Moore).
 */
static uint64_t vote_base(const uint8_t *page, uint64_t step)
{
	uint64_t base = 0;
	uint32_t lead = 0;

	for (uint32_t i = 0; i < 2 * KS_PATCH_MAX + 1; i++) {
		const uint64_t vote = ks_load_word(page + (size_t)i * 8) - i * step;

		if (!lead)
			base = vote;
		lead = vote == base ? lead + 1 : lead - 1;
	}
	return base;
}

/* Whether @page is a page of this kind of root with few enough changes. */
static bool find_root(const uint8_t *page, uint32_t page_bytes, enum ks_view_kind kind,
		      uint64_t *base, struct ks_changes *changes)
{
	const uint64_t step = ks_view_step(kind);

	*base = vote_base(page, step);
	changes->nr = 0;
	for (uint32_t i = 0; i < page_bytes / 8; i++) {
		const uint64_t word = ks_load_word(page + (size_t)i * 8);

		if (word != *base + i * step && !add_change(changes, i, word))
			return false;
	}
	return true;
}

struct ks_view ks_view_bytes(const uint8_t *page, uint32_t page_bytes, struct ks_changes *changes)
{
	struct ks_view view = { .kind = KS_VIEW_BYTES, .bytes = page };
	uint64_t base;

	if (find_root(page, page_bytes, KS_VIEW_FILL, &base, changes))
		return ks_view_changed(KS_VIEW_FILL, base, changes);
	if (find_root(page, page_bytes, KS_VIEW_SEED, &base, changes))
		return ks_view_changed(KS_VIEW_SEED, base, changes);
	view.hash = XXH64(page, page_bytes, 0);
	return view;
}

/* @word, word @slot of a page, with what [offset, offset + length) has of it replaced. */
static uint64_t overlay(uint64_t word, uint32_t slot, uint32_t offset, const uint8_t *bytes,
			uint32_t length)
{
	const uint32_t start = slot * 8 > offset ? slot * 8 : offset;
	const uint32_t end = slot * 8 + 8 < offset + length ? slot * 8 + 8 : offset + length;
	uint8_t image[8];

	ks_store_word(image, word);
	memcpy(image + (start - slot * 8), bytes + (start - offset), end - start);
	return ks_load_word(image);
}

bool ks_view_patch(const struct ks_view *view, uint32_t offset, const uint8_t *bytes,
		   uint32_t length, struct ks_changes *changes)
{
	const uint32_t first = offset / 8, last = (offset + length - 1) / 8;
	uint32_t next = 0;

	changes->nr = 0;
	for (; next < view->nr && view->slot[next] < first; next++)
		add_change(changes, view->slot[next], view->value[next]);
	for (uint32_t slot = first; slot <= last; slot++) {
		const uint64_t old = ks_view_word(view, slot, &next);
		const uint64_t word = overlay(old, slot, offset, bytes, length);

		if (word != view->base + slot * view->step && !add_change(changes, slot, word))
			return false;
	}
	for (; next < view->nr; next++) {
		if (!add_change(changes, view->slot[next], view->value[next]))
			return false;
	}
	return true;
}

/* The root of a description, and its changes; BYTES for all that has none. */
static enum ks_view_kind describe_root(const struct ksmsim_content *what, uint64_t index,
				       uint32_t page_bytes, uint64_t *base,
				       struct ks_changes *changes)
{
	const uint64_t value = what->value;

	switch (what->kind) {
	case KSMSIM_CONTENT_ZERO:
		return KS_VIEW_FILL;
	case KSMSIM_CONTENT_BYTE:
		*base = (value & 255u) * KS_ALL_BYTES;
		return KS_VIEW_FILL;
	case KSMSIM_CONTENT_WORD:
		*base = value;
		return KS_VIEW_FILL;
	case KSMSIM_CONTENT_SEED:
		*base = ks_mix(value);
		return KS_VIEW_SEED;
	case KSMSIM_CONTENT_SEEDS:
		*base = ks_mix(value + index);
		return KS_VIEW_SEED;
	case KSMSIM_CONTENT_TAG:
		if (value)
			add_change(changes, 0, __builtin_bswap64(value));
		return KS_VIEW_FILL;
	case KSMSIM_CONTENT_TAGS:
		if (value + index)
			add_change(changes, 0, __builtin_bswap64(value + index));
		return KS_VIEW_FILL;
	case KSMSIM_CONTENT_LAST:
		if (value & 255u)
			add_change(changes, page_bytes / 8 - 1, value << 56);
		return KS_VIEW_FILL;
	case KSMSIM_CONTENT_BYTES:
	default:
		return KS_VIEW_BYTES;
	}
}

bool ks_view_describe(const struct ksmsim_content *what, uint64_t index, uint32_t page_bytes,
		      struct ks_changes *changes, struct ks_view *view)
{
	uint64_t base = 0;
	enum ks_view_kind kind;

	changes->nr = 0;
	kind = describe_root(what, index, page_bytes, &base, changes);
	if (kind != KS_VIEW_BYTES) {
		*view = ks_view_changed(kind, base, changes);
		return true;
	}
	if (what->kind != KSMSIM_CONTENT_BYTES || !what->bytes)
		return false;
	*view = ks_view_bytes(what->bytes, page_bytes, changes);
	return true;
}

void ks_view_write(const struct ks_view *view, uint32_t page_bytes, uint8_t *page)
{
	if (view->bytes) {
		memcpy(page, view->bytes, page_bytes);
		return;
	}
	for (uint32_t i = 0; i < page_bytes / 8; i++)
		ks_store_word(page + (size_t)i * 8, view->base + i * view->step);
	for (uint32_t i = 0; i < view->nr; i++)
		ks_store_word(page + (size_t)view->slot[i] * 8, view->value[i]);
}

/* ---- order ---- */

/* The order of two different words in memory. */
static int order(uint64_t a, uint64_t b)
{
	return __builtin_bswap64(a) < __builtin_bswap64(b) ? -1 : 1;
}

/* Two pages with the same root: only changed words can differ. */
static int compare_changes(const struct ks_view *a, const struct ks_view *b)
{
	uint32_t i = 0, j = 0;

	while (i < a->nr || j < b->nr) {
		const uint32_t slot_a = i < a->nr ? a->slot[i] : UINT32_MAX;
		const uint32_t slot_b = j < b->nr ? b->slot[j] : UINT32_MAX;
		const uint32_t slot = slot_a < slot_b ? slot_a : slot_b;
		const uint64_t word_a = ks_view_word(a, slot, &i);
		const uint64_t word_b = ks_view_word(b, slot, &j);

		if (word_a != word_b)
			return order(word_a, word_b);
	}
	return 0;
}

int ks_view_compare(const struct ks_view *a, const struct ks_view *b, uint32_t page_bytes)
{
	uint32_t next_a = 0, next_b = 0;

	if (a->bytes && b->bytes)
		return memcmp(a->bytes, b->bytes, page_bytes);
	if (a->kind == b->kind && a->base == b->base)
		return compare_changes(a, b);
	for (uint32_t slot = 0; slot < page_bytes / 8; slot++) {
		const uint64_t word_a = ks_view_word(a, slot, &next_a);
		const uint64_t word_b = ks_view_word(b, slot, &next_b);

		if (word_a != word_b)
			return order(word_a, word_b);
	}
	return 0;
}

/* ---- XXH64 of a page that is never written down ---- */

#define XXH_P1 UINT64_C(0x9E3779B185EBCA87)
#define XXH_P2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define XXH_P3 UINT64_C(0x165667B19E3779F9)
#define XXH_P4 UINT64_C(0x85EBCA77C2B2AE63)

static uint64_t rotate_left(uint64_t word, unsigned bits)
{
	return word << bits | word >> (64 - bits);
}

/* One word into one lane; @product is the word times XXH_P2. */
static uint64_t xxh_round(uint64_t lane, uint64_t product)
{
	return rotate_left(lane + product, 31) * XXH_P1;
}

/* Four words of a stripe, or what became of them. Separate members stay in registers. */
struct lanes {
	uint64_t a, b, c, d;
};

static inline struct lanes xxh_stripe(struct lanes lane, struct lanes product)
{
	return (struct lanes){ xxh_round(lane.a, product.a), xxh_round(lane.b, product.b),
			       xxh_round(lane.c, product.c), xxh_round(lane.d, product.d) };
}

/* The products of a stripe with changed words in it. */
static struct lanes changed_stripe(const struct ks_view *view, uint32_t slot, uint32_t *next)
{
	struct lanes product;

	product.a = ks_view_word(view, slot, next) * XXH_P2;
	product.b = ks_view_word(view, slot + 1, next) * XXH_P2;
	product.c = ks_view_word(view, slot + 2, next) * XXH_P2;
	product.d = ks_view_word(view, slot + 3, next) * XXH_P2;
	return product;
}

/* Page sizes leave no rest behind the stripes of 32 bytes. */
static uint64_t xxh_finish(struct lanes lane, uint32_t page_bytes)
{
	uint64_t hash = rotate_left(lane.a, 1) + rotate_left(lane.b, 7) + rotate_left(lane.c, 12) +
			rotate_left(lane.d, 18);

	hash = (hash ^ xxh_round(0, lane.a * XXH_P2)) * XXH_P1 + XXH_P4;
	hash = (hash ^ xxh_round(0, lane.b * XXH_P2)) * XXH_P1 + XXH_P4;
	hash = (hash ^ xxh_round(0, lane.c * XXH_P2)) * XXH_P1 + XXH_P4;
	hash = (hash ^ xxh_round(0, lane.d * XXH_P2)) * XXH_P1 + XXH_P4;
	hash += page_bytes;
	hash = (hash ^ hash >> 33) * XXH_P2;
	hash = (hash ^ hash >> 29) * XXH_P3;
	return hash ^ hash >> 32;
}

/**
 * ks_view_xxh64() - the hash that the kernel's checksum is the low half of
 *
 * Each word enters its lane multiplied by a constant. The words of a root are
 * an arithmetic progression, and so are these products: an addition makes the
 * next one, and no byte of the page is written.
 */
uint64_t ks_view_xxh64(const struct ks_view *view, uint32_t page_bytes)
{
	struct lanes lane = { XXH_P1 + XXH_P2, XXH_P2, 0, 0 - XXH_P1 };
	const uint64_t step = view->step * XXH_P2;
	uint64_t product = view->base * XXH_P2;
	uint32_t next = 0;

	if (view->bytes)
		return view->hash;
	for (uint32_t slot = 0; slot < page_bytes / 8; slot += 4) {
		struct lanes in = { product, product + step, product + 2 * step,
				    product + 3 * step };

		if (next < view->nr && view->slot[next] < slot + 4)
			in = changed_stripe(view, slot, &next);
		lane = xxh_stripe(lane, in);
		product += 4 * step;
	}
	return xxh_finish(lane, page_bytes);
}

/* ---- check ---- */

bool ks_view_is_canonical(const struct ks_view *view, uint32_t page_bytes)
{
	struct ks_changes changes;
	uint64_t base;

	if (view->bytes)
		return !find_root(view->bytes, page_bytes, KS_VIEW_FILL, &base, &changes) &&
		       !find_root(view->bytes, page_bytes, KS_VIEW_SEED, &base, &changes);
	if (view->nr > KS_PATCH_MAX)
		return false;
	for (uint32_t i = 0; i < view->nr; i++) {
		if (view->value[i] == view->base + view->slot[i] * view->step ||
		    view->slot[i] >= page_bytes / 8 || (i && view->slot[i - 1] >= view->slot[i]))
			return false;
	}
	return true;
}
