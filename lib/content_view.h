/*
 * content_view.h - floor 1, inside: one page as a value, without a store.
 *
 * A view says what a page holds: a root with changed words, or literal bytes.
 * It owns nothing; it points into a record of content.c, into a struct
 * ks_changes on the stack, or at the caller's bytes. Only content*.c see this.
 *
 * FILL and SEED are one thing here, "word i = base + i * step": FILL has step 0,
 * SEED has step KS_SEED_STEP and base ks_mix(seed).
 */
#ifndef KS_CONTENT_VIEW_H
#define KS_CONTENT_VIEW_H

#include <string.h>

#include "content.h"

enum ks_view_kind { KS_VIEW_FILL, KS_VIEW_SEED, KS_VIEW_PATCH, KS_VIEW_BYTES };

/* Words that differ from a root, ascending. */
struct ks_changes {
	uint32_t nr;
	uint16_t slot[KS_PATCH_MAX];
	uint64_t value[KS_PATCH_MAX];
};

struct ks_view {
	enum ks_view_kind kind; /* of the root, or BYTES; never PATCH */
	uint32_t nr;		/* changed words */
	uint64_t base, step;
	uint64_t hash; /* names the content; equal pages have equal ones */
	const uint64_t *value;
	const uint16_t *slot;
	const uint8_t *bytes; /* NULL unless BYTES */
};

#define KS_ALL_BYTES UINT64_C(0x0101010101010101)

static inline uint64_t ks_load_word(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

static inline void ks_store_word(uint8_t *bytes, uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	memcpy(bytes, &word, sizeof(word));
}

/* A bijection of 64-bit words, well spread: the finaliser of splitmix64. */
static inline uint64_t ks_mix(uint64_t word)
{
	word = (word ^ word >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	word = (word ^ word >> 27) * UINT64_C(0x94D049BB133111EB);
	return word ^ word >> 31;
}

static inline uint64_t ks_view_step(enum ks_view_kind kind)
{
	return kind == KS_VIEW_SEED ? KS_SEED_STEP : 0;
}

static inline struct ks_view ks_view_root(enum ks_view_kind kind, uint64_t base)
{
	const uint64_t salt = kind == KS_VIEW_SEED ? UINT64_C(0xD6E8FEB86659FD93) : 0;
	struct ks_view view = { .kind = kind, .base = base };

	view.step = ks_view_step(kind);
	view.hash = ks_mix(base ^ salt);
	return view;
}

/* Word @slot; @next is the first change at or behind it and moves along: ask in ascending order. */
static inline uint64_t ks_view_word(const struct ks_view *view, uint32_t slot, uint32_t *next)
{
	if (view->bytes)
		return ks_load_word(view->bytes + (size_t)slot * 8);
	if (*next < view->nr && view->slot[*next] == slot)
		return view->value[(*next)++];
	return view->base + slot * view->step;
}

/* A root with changes; @changes must outlive the view. */
struct ks_view ks_view_changed(enum ks_view_kind kind, uint64_t base,
			       const struct ks_changes *changes);
/* The canonical view of literal bytes: points into @changes or at @page. */
struct ks_view ks_view_bytes(const uint8_t *page, uint32_t page_bytes, struct ks_changes *changes);
/* What is left of a root after a write into @view; false: too many changes for that root. */
bool ks_view_patch(const struct ks_view *view, uint32_t offset, const uint8_t *bytes,
		   uint32_t length, struct ks_changes *changes);
/* A public description; false if it is none, or literal bytes without bytes. */
bool ks_view_describe(const struct ksmsim_content *what, uint64_t index, uint32_t page_bytes,
		      struct ks_changes *changes, struct ks_view *view);

void ks_view_write(const struct ks_view *view, uint32_t page_bytes, uint8_t *page);
/* memcmp() of the two pages */
int ks_view_compare(const struct ks_view *a, const struct ks_view *b, uint32_t page_bytes);
/* XXH64 of the page, seed 0 */
uint64_t ks_view_xxh64(const struct ks_view *view, uint32_t page_bytes);
/* In the only form that its page may have, with ascending changes that are ones. */
bool ks_view_is_canonical(const struct ks_view *view, uint32_t page_bytes);

#endif
