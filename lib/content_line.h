/*
 * content_line.h - floor 1, inside: one cache line of the index of contents.
 *
 * Twelve ids, each with a tag byte: empty, removed, or KS_TAG_LIVE with seven
 * bits of the hash. Tags are compared eight at a time in a plain 64-bit word.
 *
 * A zero byte of a word x is found as a top bit of (x - 0x0101..) & ~x. A borrow
 * can mark the byte above a zero byte too, if that is 1: so a search may report
 * a slot whose tag differs in the lowest bit. For live tags that is a live slot,
 * and the caller compares what it finds anyway.
 */
#ifndef KS_CONTENT_LINE_H
#define KS_CONTENT_LINE_H

#include "content_view.h"

#define KS_LINE_SLOTS 12u
#define KS_LINE_BYTES 64u

enum { KS_TAG_EMPTY = 0, KS_TAG_REMOVED = 1, KS_TAG_LIVE = 128 };

struct ks_line {
	uint8_t tag[16]; /* KS_LINE_SLOTS are used */
	ks_cid id[KS_LINE_SLOTS];
};

/* One bit for each of the slots 0..7 and 8..11, at the top of its byte. */
struct ks_slots {
	uint64_t low, high;
};

#define KS_LINE_TOPS (KS_ALL_BYTES << 7)
#define KS_LINE_HIGH_TOPS UINT64_C(0x80808080)

/* Lines start on cache lines, wherever the allocator put the block. */
static inline struct ks_line *ks_line_at(const uint32_t *index, uint32_t at)
{
	const uintptr_t start =
		((uintptr_t)index + KS_LINE_BYTES - 1) & ~(uintptr_t)(KS_LINE_BYTES - 1);

	return (struct ks_line *)start + at;
}

/* Slots whose tag is @tag. May report a neighbour of a hit too, but only a live one. */
static inline struct ks_slots ks_slots_tagged(const struct ks_line *line, uint8_t tag)
{
	const uint64_t low = ks_load_word(line->tag) ^ tag * KS_ALL_BYTES;
	const uint64_t high = ks_load_word(line->tag + 8) ^ tag * KS_ALL_BYTES;

	return (struct ks_slots){ (low - KS_ALL_BYTES) & ~low & KS_LINE_TOPS,
				  (high - KS_ALL_BYTES) & ~high & KS_LINE_HIGH_TOPS };
}

static inline struct ks_slots ks_slots_free(const struct ks_line *line)
{
	return (struct ks_slots){ ~ks_load_word(line->tag) & KS_LINE_TOPS,
				  ~ks_load_word(line->tag + 8) & KS_LINE_HIGH_TOPS };
}

/* Takes the first slot out of a non-empty set. */
static inline unsigned ks_slots_pop(struct ks_slots *slots)
{
	unsigned bit;

	if (slots->low) {
		bit = (unsigned)__builtin_ctzll(slots->low);
		slots->low &= slots->low - 1;
		return bit / 8;
	}
	bit = (unsigned)__builtin_ctzll(slots->high);
	slots->high &= slots->high - 1;
	return 8 + bit / 8;
}

static inline bool ks_slots_any(const struct ks_slots *slots)
{
	return slots->low | slots->high;
}

static inline bool ks_line_has_empty(const struct ks_line *line)
{
	const struct ks_slots empty = ks_slots_tagged(line, KS_TAG_EMPTY);

	return ks_slots_any(&empty);
}

static inline uint8_t ks_line_tag(uint64_t hash)
{
	return (uint8_t)(KS_TAG_LIVE | (hash & 127u));
}

#endif
