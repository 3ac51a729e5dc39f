/*
 * content.c - floor 1: page contents, interned.
 *
 * A record is 16 bytes: what the page is, its checksum once it was asked for,
 * and kind and references. FILL and SEED are both "word i = base + i * step":
 * FILL has step 0, SEED has step KS_SEED_STEP and base mix(seed). A PATCH adds
 * a block with the changed words, by slot; BYTES has a block with the page.
 *
 *   record --> base                             FILL, SEED
 *          --> { root, hash, values, slots }    PATCH
 *          --> { hash, page }                   BYTES
 *
 * The index finds a record by what it is. It is made of cache lines of twelve
 * ids, each with a byte that says empty, removed, or seven bits of the hash, so
 * that a look-up mostly reads one line of the index and, on a hit, one record.
 *
 * What could surprise:
 *  - a reference count that reaches its maximum stays there and the content
 *    lives until the end; that is also how the zero page lives for ever;
 *  - the roots are told apart by base and step alone: since mix() is a
 *    bijection, every base is the base of some seed, and no inverse is needed;
 *  - order of the index never shows: an id depends on the order of the calls.
 */
#include "content.h"

#include <string.h>
#include <xxhash.h>

enum kind { FILL, SEED, PATCH, BYTES };

/* Layout of content.meta: checksum known, kind, references. */
#define META_HASHED (UINT32_C(1) << 31)
#define META_KIND_SHIFT 29u
#define META_REFS_MAX ((UINT32_C(1) << META_KIND_SHIFT) - 1u)

struct patch_block {
	uint64_t base, hash;
	uint32_t kind; /* of the root: FILL or SEED */
	uint32_t nr;
	uint64_t value[]; /* nr words, then nr uint16_t slots, ascending */
};

struct bytes_block {
	uint64_t hash;
	uint64_t pad;
	uint8_t page[];
};

struct ks_content {
	union {
		uint64_t base;
		struct patch_block *patch;
		struct bytes_block *bytes;
	};
	uint32_t checksum;
	uint32_t meta; /* 0 while free; not in the first 4 bytes, which are the pool's then */
};

/* Words that differ from a root, ascending. */
struct changes {
	uint32_t nr;
	uint16_t slot[KS_PATCH_MAX];
	uint64_t value[KS_PATCH_MAX];
};

/* What a page is, from its record or on its way to one. */
struct view {
	enum kind kind; /* of the root, or BYTES */
	uint64_t base, step;
	uint32_t nr; /* changed words */
	const uint64_t *value;
	const uint16_t *slot;
	const uint8_t *bytes;
	uint64_t hash;
};

/* ---- words ---- */

static uint64_t swap_words(uint64_t word)
{
	return __builtin_bswap64(word);
}

static uint64_t load_word(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = swap_words(word);
#endif
	return word;
}

static void store_word(uint8_t *bytes, uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = swap_words(word);
#endif
	memcpy(bytes, &word, sizeof(word));
}

/* A bijection of 64-bit words, well spread: the finaliser of splitmix64. */
static uint64_t mix(uint64_t word)
{
	word = (word ^ word >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	word = (word ^ word >> 27) * UINT64_C(0x94D049BB133111EB);
	return word ^ word >> 31;
}

static uint64_t step_of(enum kind kind)
{
	return kind == SEED ? KS_SEED_STEP : 0;
}

/* ---- records and views ---- */

static struct ks_content *record(const struct ks_contents *contents, ks_cid cid)
{
	return ks_pool_at(&contents->pool, cid);
}

static enum kind kind_of(const struct ks_content *content)
{
	return (enum kind)(content->meta >> META_KIND_SHIFT & 3u);
}

static const uint16_t *patch_slots(const struct patch_block *patch)
{
	return (const uint16_t *)(const void *)(patch->value + patch->nr);
}

static struct view root_view(enum kind kind, uint64_t base)
{
	return (struct view){
		.kind = kind,
		.base = base,
		.step = step_of(kind),
		.hash = mix(base ^ (kind == SEED ? UINT64_C(0xD6E8FEB86659FD93) : 0)),
	};
}

static struct view view_of(const struct ks_content *content)
{
	const enum kind kind = kind_of(content);

	if (kind == PATCH) {
		const struct patch_block *patch = content->patch;

		return (struct view){
			.kind = (enum kind)patch->kind,
			.base = patch->base,
			.step = step_of((enum kind)patch->kind),
			.nr = patch->nr,
			.value = patch->value,
			.slot = patch_slots(patch),
			.hash = patch->hash,
		};
	}
	if (kind == BYTES)
		return (struct view){
			.kind = BYTES,
			.bytes = content->bytes->page,
			.hash = content->bytes->hash,
		};
	return root_view(kind, content->base);
}

static struct view changed_view(enum kind kind, uint64_t base, const struct changes *changes)
{
	struct view view = root_view(kind, base);

	view.nr = changes->nr;
	view.value = changes->value;
	view.slot = changes->slot;
	if (view.nr) {
		uint64_t sum = view.hash;

		for (uint32_t i = 0; i < view.nr; i++)
			sum += mix(view.value[i] + (view.slot[i] + UINT64_C(1)) * KS_SEED_STEP);
		view.hash = mix(sum);
	}
	return view;
}

/* Same page? Canonical, so no byte of two pages of different form needs a look. */
static bool is_view(const struct ks_content *content, const struct view *view, uint32_t page_bytes)
{
	const enum kind kind = kind_of(content);

	if (kind == BYTES)
		return view->bytes && content->bytes->hash == view->hash &&
		       memcmp(content->bytes->page, view->bytes, page_bytes) == 0;
	if (kind == PATCH) {
		const struct patch_block *patch = content->patch;

		return view->nr == patch->nr && view->hash == patch->hash &&
		       view->base == patch->base && (uint32_t)view->kind == patch->kind &&
		       memcmp(patch->value, view->value, view->nr * sizeof(*view->value)) == 0 &&
		       memcmp(patch_slots(patch), view->slot, view->nr * sizeof(*view->slot)) == 0;
	}
	return kind == view->kind && !view->nr && content->base == view->base;
}

/* Word @slot; @next is the first change at or behind it and moves along: ask in ascending order. */
static uint64_t view_word(const struct view *view, uint32_t slot, uint32_t *next)
{
	if (view->bytes)
		return load_word(view->bytes + (size_t)slot * 8);
	if (*next < view->nr && view->slot[*next] == slot)
		return view->value[(*next)++];
	return view->base + slot * view->step;
}

static void write_page(const struct view *view, uint32_t page_bytes, uint8_t *page)
{
	if (view->bytes) {
		memcpy(page, view->bytes, page_bytes);
		return;
	}
	for (uint32_t i = 0; i < page_bytes / 8; i++)
		store_word(page + (size_t)i * 8, view->base + i * view->step);
	for (uint32_t i = 0; i < view->nr; i++)
		store_word(page + (size_t)view->slot[i] * 8, view->value[i]);
}

/* ---- the index ---- */

#define LINE_SLOTS 12u
#define LINE_BYTES 64u
#define LINES_MIN 8u

enum { TAG_EMPTY = 0, TAG_REMOVED = 1, TAG_LIVE = 128 };

struct line {
	uint8_t tag[16]; /* LINE_SLOTS are used */
	ks_cid id[LINE_SLOTS];
};

/* One bit for each of the slots 0..7 and 8..11, at the top of its byte. */
struct slots {
	uint64_t low, high;
};

#define ALL_BYTES UINT64_C(0x0101010101010101)
#define TOP_BITS (ALL_BYTES << 7)
#define HIGH_SLOTS UINT64_C(0x80808080)

/* Lines start on cache lines, wherever the allocator put the block. */
static struct line *line_at(const uint32_t *index, uint32_t at)
{
	const uintptr_t start = ((uintptr_t)index + LINE_BYTES - 1) & ~(uintptr_t)(LINE_BYTES - 1);

	return (struct line *)start + at;
}

/* Slots whose tag is @tag. May report a neighbour of a hit too, but only a live one. */
static struct slots slots_tagged(const struct line *line, uint8_t tag)
{
	const uint64_t low = load_word(line->tag) ^ tag * ALL_BYTES;
	const uint64_t high = load_word(line->tag + 8) ^ tag * ALL_BYTES;

	return (struct slots){ (low - ALL_BYTES) & ~low & TOP_BITS,
			       (high - ALL_BYTES) & ~high & HIGH_SLOTS };
}

static struct slots slots_free(const struct line *line)
{
	return (struct slots){ ~load_word(line->tag) & TOP_BITS,
			       ~load_word(line->tag + 8) & HIGH_SLOTS };
}

/* Takes the first slot out of a non-empty set. */
static unsigned slots_pop(struct slots *slots)
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

static bool slots_any(const struct slots *slots)
{
	return slots->low | slots->high;
}

static bool line_has_empty(const struct line *line)
{
	const struct slots empty = slots_tagged(line, TAG_EMPTY);

	return slots_any(&empty);
}

static uint8_t tag_of(uint64_t hash)
{
	return (uint8_t)(TAG_LIVE | (hash & 127u));
}

static uint32_t line_of(uint64_t hash, uint32_t lines)
{
	return (uint32_t)((hash >> 32) * lines >> 32);
}

static uint32_t line_after(uint32_t at, uint32_t lines)
{
	return at + 1 == lines ? 0 : at + 1;
}

static ks_cid index_find(const struct ks_contents *contents, const struct view *view)
{
	uint32_t at = line_of(view->hash, contents->index_lines);

	for (;; at = line_after(at, contents->index_lines)) {
		const struct line *line = line_at(contents->index, at);
		struct slots slots = slots_tagged(line, tag_of(view->hash));

		while (slots_any(&slots)) {
			const ks_cid cid = line->id[slots_pop(&slots)];

			if (is_view(record(contents, cid), view, contents->page_bytes))
				return cid;
		}
		if (line_has_empty(line))
			return KS_CID_NONE;
	}
}

/* Returns whether an empty slot was used, and not a removed one. */
static bool index_put(uint32_t *index, uint32_t lines, uint64_t hash, ks_cid cid)
{
	uint32_t at = line_of(hash, lines);

	for (;; at = line_after(at, lines)) {
		struct line *line = line_at(index, at);
		struct slots slots = slots_free(line);

		if (slots_any(&slots)) {
			const unsigned slot = slots_pop(&slots);
			const bool was_empty = line->tag[slot] == TAG_EMPTY;

			line->tag[slot] = tag_of(hash);
			line->id[slot] = cid;
			return was_empty;
		}
	}
}

static void index_remove(struct ks_env *env, struct ks_contents *contents, uint64_t hash,
			 ks_cid cid)
{
	uint32_t at = line_of(hash, contents->index_lines);

	for (;; at = line_after(at, contents->index_lines)) {
		struct line *line = line_at(contents->index, at);
		const bool ends_here = line_has_empty(line);
		struct slots slots = slots_tagged(line, tag_of(hash));

		while (slots_any(&slots)) {
			const unsigned slot = slots_pop(&slots);

			if (line->id[slot] != cid)
				continue;
			/* no search goes past a line with an empty slot: one more is no gap */
			line->tag[slot] = ends_here ? TAG_EMPTY : TAG_REMOVED;
			line->id[slot] = KS_CID_NONE;
			contents->index_used -= ends_here;
			return;
		}
		KS_ASSERT(env, !ends_here);
	}
}

/* Room for one more id: at 7/8 the index grows by half, or sheds its removed slots. */
static void index_reserve(struct ks_env *env, struct ks_contents *contents)
{
	uint32_t lines = contents->index_lines;
	uint32_t *index;

	if (contents->index_used < contents->index_capacity / 8 * 7)
		return;
	if (contents->nr >= contents->index_capacity / 8 * 5)
		lines += lines < LINES_MIN ? LINES_MIN : lines / 2;
	if (lines > UINT32_MAX / LINE_SLOTS)
		ks_fail(env, KSMSIM_ELIMIT);
	index = ks_alloc(env, (size_t)lines * LINE_BYTES + LINE_BYTES);
	for (ks_cid cid = 1; cid < contents->pool.used; cid++) {
		const struct ks_content *content = record(contents, cid);

		if (content->meta)
			index_put(index, lines, view_of(content).hash, cid);
	}
	ks_free(env, contents->index);
	contents->index = index;
	contents->index_lines = lines;
	contents->index_capacity = lines * LINE_SLOTS;
	contents->index_used = contents->nr;
}

/* ---- interning ---- */

static size_t patch_bytes(uint32_t nr)
{
	return sizeof(struct patch_block) + nr * (sizeof(uint64_t) + sizeof(uint16_t));
}

static struct patch_block *new_patch(struct ks_env *env, const struct view *view)
{
	struct patch_block *patch = ks_alloc(env, patch_bytes(view->nr));

	patch->base = view->base;
	patch->hash = view->hash;
	patch->kind = (uint32_t)view->kind;
	patch->nr = view->nr;
	memcpy(patch->value, view->value, view->nr * sizeof(*view->value));
	memcpy(patch->value + view->nr, view->slot, view->nr * sizeof(*view->slot));
	return patch;
}

static struct bytes_block *new_bytes(struct ks_env *env, const struct view *view,
				     uint32_t page_bytes)
{
	struct bytes_block *bytes = ks_alloc(env, sizeof(*bytes) + page_bytes);

	bytes->hash = view->hash;
	memcpy(bytes->page, view->bytes, page_bytes);
	return bytes;
}

/* One reference to the content that @view shows, found or made. */
static ks_cid intern(struct ks_env *env, struct ks_contents *contents, const struct view *view)
{
	struct ks_content made = { .base = view->base };
	enum kind kind = view->kind;
	ks_cid cid = index_find(contents, view);

	if (cid) {
		ks_content_get(contents, cid);
		return cid;
	}
	/* memory first: from here on ks_fail() may leave, and nothing may be half linked */
	index_reserve(env, contents);
	if (view->bytes) {
		made.bytes = new_bytes(env, view, contents->page_bytes);
		made.checksum = (uint32_t)view->hash;
	} else if (view->nr) {
		made.patch = new_patch(env, view);
		kind = PATCH;
	}
	made.meta = (view->bytes ? META_HASHED : 0) | (uint32_t)kind << META_KIND_SHIFT | 1u;
	cid = ks_pool_alloc(env, &contents->pool);
	*record(contents, cid) = made;
	contents->index_used += index_put(contents->index, contents->index_lines, view->hash, cid);
	contents->nr++;
	if (kind == PATCH)
		contents->blob_bytes += patch_bytes(view->nr);
	if (kind == BYTES)
		contents->blob_bytes += sizeof(struct bytes_block) + contents->page_bytes;
	return cid;
}

static void free_block(struct ks_env *env, struct ks_contents *contents,
		       const struct ks_content *content)
{
	if (kind_of(content) == PATCH) {
		contents->blob_bytes -= patch_bytes(content->patch->nr);
		ks_free(env, content->patch);
	} else if (kind_of(content) == BYTES) {
		contents->blob_bytes -= sizeof(struct bytes_block) + contents->page_bytes;
		ks_free(env, content->bytes);
	}
}

/**
 * ks_contents_init() - no contents but the zero page
 * @page_bytes: 4096, 16384 or 65536
 */
void ks_contents_init(struct ks_env *env, struct ks_contents *contents, uint32_t page_bytes)
{
	const struct view zero = root_view(FILL, 0);
	ks_cid cid;

	KS_ASSERT(env, page_bytes % 4096 == 0 && page_bytes / 8 <= UINT16_MAX);
	memset(contents, 0, sizeof(*contents));
	contents->page_bytes = page_bytes;
	ks_pool_init(&contents->pool, sizeof(struct ks_content));
	contents->scratch[0] = ks_alloc(env, page_bytes);
	contents->scratch[1] = ks_alloc(env, page_bytes);
	index_reserve(env, contents);
	cid = intern(env, contents, &zero);
	KS_ASSERT(env, cid == KS_CID_ZERO);
	record(contents, cid)->meta |= META_REFS_MAX;
}

void ks_contents_destroy(struct ks_env *env, struct ks_contents *contents)
{
	for (ks_cid cid = 1; cid < contents->pool.used; cid++) {
		if (record(contents, cid)->meta)
			free_block(env, contents, record(contents, cid));
	}
	ks_pool_destroy(env, &contents->pool);
	ks_free(env, contents->index);
	ks_free(env, contents->scratch[0]);
	ks_free(env, contents->scratch[1]);
	memset(contents, 0, sizeof(*contents));
}

ks_cid ks_content_fill(struct ks_env *env, struct ks_contents *contents, uint64_t word)
{
	const struct view view = root_view(FILL, word);

	return word ? intern(env, contents, &view) : KS_CID_ZERO;
}

ks_cid ks_content_seed(struct ks_env *env, struct ks_contents *contents, uint64_t seed)
{
	const struct view view = root_view(SEED, mix(seed));

	return intern(env, contents, &view);
}

/* ---- from bytes to roots ---- */

static bool add_change(struct changes *changes, uint32_t slot, uint64_t value)
{
	if (changes->nr == KS_PATCH_MAX)
		return false;
	changes->slot[changes->nr] = (uint16_t)slot;
	changes->value[changes->nr++] = value;
	return true;
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
		const uint64_t vote = load_word(page + (size_t)i * 8) - i * step;

		if (!lead)
			base = vote;
		lead = vote == base ? lead + 1 : lead - 1;
	}
	return base;
}

/* Whether @page is a page of this kind of root with few enough changes. */
static bool find_root(const uint8_t *page, uint32_t page_bytes, enum kind kind, uint64_t *base,
		      struct changes *changes)
{
	const uint64_t step = step_of(kind);

	*base = vote_base(page, step);
	changes->nr = 0;
	for (uint32_t i = 0; i < page_bytes / 8; i++) {
		const uint64_t word = load_word(page + (size_t)i * 8);

		if (word != *base + i * step && !add_change(changes, i, word))
			return false;
	}
	return true;
}

/* @page may be a scratch page. */
ks_cid ks_content_bytes(struct ks_env *env, struct ks_contents *contents, const uint8_t *page)
{
	const uint32_t page_bytes = contents->page_bytes;
	struct changes changes;
	struct view view;
	uint64_t base;

	if (find_root(page, page_bytes, FILL, &base, &changes)) {
		view = changed_view(FILL, base, &changes);
	} else if (find_root(page, page_bytes, SEED, &base, &changes)) {
		view = changed_view(SEED, base, &changes);
	} else {
		view = (struct view){ .kind = BYTES, .bytes = page };
		view.hash = XXH64(page, page_bytes, 0);
	}
	return intern(env, contents, &view);
}

/* ---- writing into a page ---- */

/* @word, word @slot of a page, with what [offset, offset + length) has of it replaced. */
static uint64_t overlay(uint64_t word, uint32_t slot, uint32_t offset, const uint8_t *bytes,
			uint32_t length)
{
	const uint32_t start = slot * 8 > offset ? slot * 8 : offset;
	const uint32_t end = slot * 8 + 8 < offset + length ? slot * 8 + 8 : offset + length;
	uint8_t image[8];

	store_word(image, word);
	memcpy(image + (start - slot * 8), bytes + (start - offset), end - start);
	return load_word(image);
}

/* The changes of @view after a write; false if they become too many for its root. */
static bool patch_changes(const struct view *view, uint32_t offset, const uint8_t *bytes,
			  uint32_t length, struct changes *changes)
{
	const uint32_t first = offset / 8, last = (offset + length - 1) / 8;
	uint32_t next = 0;

	changes->nr = 0;
	while (next < view->nr && view->slot[next] < first) {
		add_change(changes, view->slot[next], view->value[next]);
		next++;
	}
	for (uint32_t slot = first; slot <= last; slot++) {
		const uint64_t old = view_word(view, slot, &next);
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

/**
 * ks_content_patch() - the content of a page after a write into it
 * @base:   the content before
 * @offset, @bytes, @length: the write; inside the page
 *
 * Few changes to a root stay changes to that root. Everything else goes through
 * the bytes, which may as well come nearer to another root.
 */
ks_cid ks_content_patch(struct ks_env *env, struct ks_contents *contents, ks_cid base,
			uint32_t offset, const uint8_t *bytes, uint32_t length)
{
	const struct view before = view_of(record(contents, base));
	struct changes changes;

	KS_ASSERT(env, offset <= contents->page_bytes);
	KS_ASSERT(env, length <= contents->page_bytes - offset);
	if (!length) {
		ks_content_get(contents, base);
		return base;
	}
	if (!before.bytes && patch_changes(&before, offset, bytes, length, &changes)) {
		const struct view after = changed_view(before.kind, before.base, &changes);

		return intern(env, contents, &after);
	}
	write_page(&before, contents->page_bytes, contents->scratch[0]);
	memcpy(contents->scratch[0] + offset, bytes, length);
	return ks_content_bytes(env, contents, contents->scratch[0]);
}

/* ---- public descriptions ---- */

/* What a description without literal bytes says; false if it is none. */
static bool describe(const struct ksmsim_content *what, uint64_t index, uint32_t page_bytes,
		     enum kind *kind, uint64_t *base, struct changes *changes)
{
	*kind = FILL;
	*base = 0;
	changes->nr = 0;
	switch (what->kind) {
	case KSMSIM_CONTENT_ZERO:
		return true;
	case KSMSIM_CONTENT_BYTE:
		*base = (what->value & 255u) * ALL_BYTES;
		return true;
	case KSMSIM_CONTENT_WORD:
		*base = what->value;
		return true;
	case KSMSIM_CONTENT_SEED:
	case KSMSIM_CONTENT_SEEDS:
		*kind = SEED;
		*base = mix(what->value + (what->kind == KSMSIM_CONTENT_SEEDS ? index : 0));
		return true;
	case KSMSIM_CONTENT_TAG:
	case KSMSIM_CONTENT_TAGS: {
		const uint64_t tag = what->value + (what->kind == KSMSIM_CONTENT_TAGS ? index : 0);

		return !tag || add_change(changes, 0, swap_words(tag));
	}
	case KSMSIM_CONTENT_LAST:
		return !(what->value & 255u) ||
		       add_change(changes, page_bytes / 8 - 1, (what->value & 255u) << 56);
	case KSMSIM_CONTENT_BYTES:
	default:
		return false;
	}
}

/* @what must be valid: known kind, and bytes if it says so. */
ks_cid ks_content_make(struct ks_env *env, struct ks_contents *contents,
		       const struct ksmsim_content *what, uint64_t index)
{
	struct changes changes;
	struct view view;
	enum kind kind;
	uint64_t base;

	if (!describe(what, index, contents->page_bytes, &kind, &base, &changes)) {
		KS_ASSERT(env, what->kind == KSMSIM_CONTENT_BYTES && what->bytes);
		return ks_content_bytes(env, contents, what->bytes);
	}
	view = changed_view(kind, base, &changes);
	return intern(env, contents, &view);
}

bool ks_content_describe(const struct ksmsim_content *what, uint64_t index, uint32_t page_bytes,
			 uint8_t *page)
{
	struct changes changes;
	struct view view;
	enum kind kind;
	uint64_t base;

	if (describe(what, index, page_bytes, &kind, &base, &changes)) {
		view = changed_view(kind, base, &changes);
		write_page(&view, page_bytes, page);
		return true;
	}
	if (what->kind != KSMSIM_CONTENT_BYTES || !what->bytes)
		return false;
	memcpy(page, what->bytes, page_bytes);
	return true;
}

/* ---- references ---- */

void ks_content_get(struct ks_contents *contents, ks_cid cid)
{
	struct ks_content *content = record(contents, cid);

	content->meta += (content->meta & META_REFS_MAX) != META_REFS_MAX;
}

void ks_content_put(struct ks_env *env, struct ks_contents *contents, ks_cid cid)
{
	struct ks_content *content = record(contents, cid);
	const uint32_t refs = content->meta & META_REFS_MAX;

	KS_ASSERT(env, refs > 0);
	if (refs == META_REFS_MAX)
		return;
	if (refs > 1) {
		content->meta--;
		return;
	}
	index_remove(env, contents, view_of(content).hash, cid);
	free_block(env, contents, content);
	content->meta = 0;
	ks_pool_free(env, &contents->pool, cid);
	contents->nr--;
}

uint32_t ks_content_refs(const struct ks_contents *contents, ks_cid cid)
{
	return record(contents, cid)->meta & META_REFS_MAX;
}

/* ---- questions ---- */

static int order(uint64_t a, uint64_t b)
{
	return swap_words(a) < swap_words(b) ? -1 : 1;
}

/* Two pages with the same root: only changed words can differ. */
static int compare_changes(const struct view *a, const struct view *b)
{
	uint32_t i = 0, j = 0;

	while (i < a->nr || j < b->nr) {
		const uint32_t slot_a = i < a->nr ? a->slot[i] : UINT32_MAX;
		const uint32_t slot_b = j < b->nr ? b->slot[j] : UINT32_MAX;
		const uint32_t slot = slot_a < slot_b ? slot_a : slot_b;
		const uint64_t word_a = view_word(a, slot, &i);
		const uint64_t word_b = view_word(b, slot, &j);

		if (word_a != word_b)
			return order(word_a, word_b);
	}
	return 0;
}

int ks_content_compare(const struct ks_contents *contents, ks_cid a, ks_cid b)
{
	struct view view_a, view_b;
	uint32_t next_a = 0, next_b = 0;

	if (a == b)
		return 0;
	view_a = view_of(record(contents, a));
	view_b = view_of(record(contents, b));
	if (view_a.bytes && view_b.bytes)
		return memcmp(view_a.bytes, view_b.bytes, contents->page_bytes);
	if (view_a.kind == view_b.kind && view_a.base == view_b.base)
		return compare_changes(&view_a, &view_b);
	for (uint32_t slot = 0; slot < contents->page_bytes / 8; slot++) {
		const uint64_t word_a = view_word(&view_a, slot, &next_a);
		const uint64_t word_b = view_word(&view_b, slot, &next_b);

		if (word_a != word_b)
			return order(word_a, word_b);
	}
	return 0;
}

uint64_t ks_content_key(const struct ks_contents *contents, ks_cid cid)
{
	const struct ks_content *content = record(contents, cid);
	const enum kind kind = kind_of(content);

	if (kind == BYTES)
		return swap_words(load_word(content->bytes->page));
	if (kind == PATCH) {
		const struct patch_block *patch = content->patch;

		return swap_words(patch_slots(patch)[0] ? patch->base : patch->value[0]);
	}
	return swap_words(content->base);
}

uint32_t ks_content_checksum(struct ks_contents *contents, ks_cid cid)
{
	struct ks_content *content = record(contents, cid);

	if (!(content->meta & META_HASHED)) {
		const struct view view = view_of(content);

		write_page(&view, contents->page_bytes, contents->scratch[1]);
		content->checksum = (uint32_t)XXH64(contents->scratch[1], contents->page_bytes, 0);
		content->meta |= META_HASHED;
	}
	return content->checksum;
}

void ks_content_read(const struct ks_contents *contents, ks_cid cid, uint32_t offset,
		     uint8_t *bytes, uint32_t length)
{
	const struct view view = view_of(record(contents, cid));
	const uint32_t end = offset + length;
	uint32_t next = 0;

	if (view.bytes) {
		memcpy(bytes, view.bytes + offset, length);
		return;
	}
	if (!offset && length == contents->page_bytes) {
		write_page(&view, length, bytes);
		return;
	}
	while (next < view.nr && view.slot[next] < offset / 8)
		next++;
	for (uint32_t at = offset; at < end;) {
		const uint32_t skip = at % 8;
		const uint32_t part = 8 - skip < end - at ? 8 - skip : end - at;
		uint8_t image[8];

		store_word(image, view_word(&view, at / 8, &next));
		memcpy(bytes + (at - offset), image + skip, part);
		at += part;
	}
}

uint64_t ks_contents_memory(const struct ks_contents *contents)
{
	return ks_pool_bytes(&contents->pool) + contents->blob_bytes +
	       (uint64_t)contents->index_lines * LINE_BYTES + 2 * (uint64_t)contents->page_bytes;
}

/* ---- check ---- */

/* A record in the only form that its page may have. */
static bool is_canonical(const struct ks_contents *contents, const struct ks_content *content)
{
	const struct view view = view_of(content);
	struct changes changes;
	uint64_t base;

	if (view.bytes)
		return !find_root(view.bytes, contents->page_bytes, FILL, &base, &changes) &&
		       !find_root(view.bytes, contents->page_bytes, SEED, &base, &changes);
	if (view.nr > KS_PATCH_MAX || (kind_of(content) == PATCH) != (view.nr > 0))
		return false;
	for (uint32_t i = 0; i < view.nr; i++) {
		if (view.value[i] == view.base + view.slot[i] * view.step ||
		    view.slot[i] >= contents->page_bytes / 8 ||
		    (i && view.slot[i - 1] >= view.slot[i]))
			return false;
	}
	return true;
}

bool ks_contents_check(struct ks_contents *contents)
{
	uint32_t nr = 0, used = 0;

	for (ks_cid cid = 1; cid < contents->pool.used; cid++) {
		const struct ks_content *content = record(contents, cid);
		struct view view;

		if (!content->meta)
			continue;
		view = view_of(content);
		nr++;
		if (!ks_content_refs(contents, cid) || !is_canonical(contents, content) ||
		    index_find(contents, &view) != cid)
			return false;
	}
	for (uint32_t at = 0; at < contents->index_lines; at++) {
		for (unsigned slot = 0; slot < LINE_SLOTS; slot++)
			used += line_at(contents->index, at)->tag[slot] != TAG_EMPTY;
	}
	return nr == contents->nr && nr == contents->pool.live && used == contents->index_used;
}
