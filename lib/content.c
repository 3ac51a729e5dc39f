/*
 * content.c - floor 1: page contents, interned.
 *
 * A record is 16 bytes: what the page is, its checksum once it was asked for,
 * and kind and references. A PATCH has a block with the changed words; BYTES
 * has a block with the page. What a page is without a store: content_view.c.
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
 *  - the hash of literal bytes is their XXH64, so their checksum is known;
 *  - order of the index never shows: an id depends on the order of the calls.
 */
#include "content_line.h"

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

/* ---- records and views ---- */

static struct ks_content *record(const struct ks_contents *contents, ks_cid cid)
{
	return ks_pool_at(&contents->pool, cid);
}

static enum ks_view_kind kind_of(const struct ks_content *content)
{
	return (enum ks_view_kind)(content->meta >> META_KIND_SHIFT & 3u);
}

static const uint16_t *patch_slots(const struct patch_block *patch)
{
	return (const uint16_t *)(const void *)(patch->value + patch->nr);
}

static struct ks_view view_of(const struct ks_content *content)
{
	const enum ks_view_kind kind = kind_of(content);

	if (kind == KS_VIEW_PATCH) {
		const struct patch_block *patch = content->patch;

		return (struct ks_view){
			.kind = (enum ks_view_kind)patch->kind,
			.base = patch->base,
			.step = ks_view_step((enum ks_view_kind)patch->kind),
			.nr = patch->nr,
			.value = patch->value,
			.slot = patch_slots(patch),
			.hash = patch->hash,
		};
	}
	if (kind == KS_VIEW_BYTES)
		return (struct ks_view){
			.kind = KS_VIEW_BYTES,
			.bytes = content->bytes->page,
			.hash = content->bytes->hash,
		};
	return ks_view_root(kind, content->base);
}

/* Same page? Canonical, so no byte of two pages of different form needs a look. */
static bool is_view(const struct ks_content *content, const struct ks_view *view,
		    uint32_t page_bytes)
{
	const enum ks_view_kind kind = kind_of(content);

	if (kind == KS_VIEW_BYTES)
		return view->bytes && content->bytes->hash == view->hash &&
		       memcmp(content->bytes->page, view->bytes, page_bytes) == 0;
	if (kind == KS_VIEW_PATCH) {
		const struct patch_block *patch = content->patch;

		return view->value && view->nr == patch->nr && view->hash == patch->hash &&
		       view->base == patch->base && (uint32_t)view->kind == patch->kind &&
		       memcmp(patch->value, view->value, view->nr * sizeof(*view->value)) == 0 &&
		       memcmp(patch_slots(patch), view->slot, view->nr * sizeof(*view->slot)) == 0;
	}
	return kind == view->kind && !view->nr && content->base == view->base;
}

/* ---- the index ---- */

#define LINES_MIN 8u

static uint32_t line_of(uint64_t hash, uint32_t lines)
{
	return (uint32_t)((hash >> 32) * lines >> 32);
}

static uint32_t line_after(uint32_t at, uint32_t lines)
{
	return at + 1 == lines ? 0 : at + 1;
}

static ks_cid index_find(const struct ks_contents *contents, const struct ks_view *view)
{
	uint32_t at = line_of(view->hash, contents->index_lines);

	for (;; at = line_after(at, contents->index_lines)) {
		const struct ks_line *line = ks_line_at(contents->index, at);
		struct ks_slots slots = ks_slots_tagged(line, ks_line_tag(view->hash));

		while (ks_slots_any(&slots)) {
			const ks_cid cid = line->id[ks_slots_pop(&slots)];

			if (is_view(record(contents, cid), view, contents->page_bytes))
				return cid;
		}
		if (ks_line_has_empty(line))
			return KS_CID_NONE;
	}
}

/* Returns whether an empty slot was used, and not a removed one. */
static bool index_put(uint32_t *index, uint32_t lines, uint64_t hash, ks_cid cid)
{
	uint32_t at = line_of(hash, lines);

	for (;; at = line_after(at, lines)) {
		struct ks_line *line = ks_line_at(index, at);
		struct ks_slots slots = ks_slots_free(line);

		if (ks_slots_any(&slots)) {
			const unsigned slot = ks_slots_pop(&slots);
			const bool was_empty = line->tag[slot] == KS_TAG_EMPTY;

			line->tag[slot] = ks_line_tag(hash);
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
		struct ks_line *line = ks_line_at(contents->index, at);
		const bool ends_here = ks_line_has_empty(line);
		struct ks_slots slots = ks_slots_tagged(line, ks_line_tag(hash));

		while (ks_slots_any(&slots)) {
			const unsigned slot = ks_slots_pop(&slots);

			if (line->id[slot] != cid)
				continue;
			/* no search goes past a line with an empty slot: one more is no gap */
			line->tag[slot] = ends_here ? KS_TAG_EMPTY : KS_TAG_REMOVED;
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
	if (lines > UINT32_MAX / KS_LINE_SLOTS)
		ks_fail(env, KSMSIM_ELIMIT);
	index = ks_alloc(env, (size_t)lines * KS_LINE_BYTES + KS_LINE_BYTES);
	for (ks_cid cid = 1; cid < contents->pool.used; cid++) {
		const struct ks_content *content = record(contents, cid);

		if (content->meta)
			index_put(index, lines, view_of(content).hash, cid);
	}
	ks_free(env, contents->index);
	contents->index = index;
	contents->index_lines = lines;
	contents->index_capacity = lines * KS_LINE_SLOTS;
	contents->index_used = contents->nr;
}

/* ---- interning ---- */

static size_t patch_bytes(uint32_t nr)
{
	return sizeof(struct patch_block) + nr * (sizeof(uint64_t) + sizeof(uint16_t));
}

static struct patch_block *new_patch(struct ks_env *env, const struct ks_view *view)
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

static struct bytes_block *new_bytes(struct ks_env *env, const struct ks_view *view,
				     uint32_t page_bytes)
{
	struct bytes_block *bytes = ks_alloc(env, sizeof(*bytes) + page_bytes);

	bytes->hash = view->hash;
	memcpy(bytes->page, view->bytes, page_bytes);
	return bytes;
}

/* One reference to the content that @view shows, found or made. */
static ks_cid intern(struct ks_env *env, struct ks_contents *contents, const struct ks_view *view)
{
	struct ks_content made = { .base = view->base };
	enum ks_view_kind kind = view->kind;
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
		kind = KS_VIEW_PATCH;
	}
	made.meta = (view->bytes ? META_HASHED : 0) | (uint32_t)kind << META_KIND_SHIFT | 1u;
	cid = ks_pool_alloc(env, &contents->pool);
	*record(contents, cid) = made;
	contents->index_used += index_put(contents->index, contents->index_lines, view->hash, cid);
	contents->nr++;
	if (kind == KS_VIEW_PATCH)
		contents->blob_bytes += patch_bytes(view->nr);
	if (kind == KS_VIEW_BYTES)
		contents->blob_bytes += sizeof(struct bytes_block) + contents->page_bytes;
	return cid;
}

static void free_block(struct ks_env *env, struct ks_contents *contents,
		       const struct ks_content *content)
{
	if (kind_of(content) == KS_VIEW_PATCH) {
		contents->blob_bytes -= patch_bytes(content->patch->nr);
		ks_free(env, content->patch);
	} else if (kind_of(content) == KS_VIEW_BYTES) {
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
	const struct ks_view zero = ks_view_root(KS_VIEW_FILL, 0);
	ks_cid cid;

	KS_ASSERT(env, page_bytes % 4096 == 0 && page_bytes / 8 <= UINT16_MAX);
	memset(contents, 0, sizeof(*contents));
	contents->page_bytes = page_bytes;
	ks_pool_init(&contents->pool, sizeof(struct ks_content));
	contents->scratch = ks_alloc(env, page_bytes);
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
	ks_free(env, contents->scratch);
	memset(contents, 0, sizeof(*contents));
}

ks_cid ks_content_fill(struct ks_env *env, struct ks_contents *contents, uint64_t word)
{
	const struct ks_view view = ks_view_root(KS_VIEW_FILL, word);

	return word ? intern(env, contents, &view) : KS_CID_ZERO;
}

ks_cid ks_content_seed(struct ks_env *env, struct ks_contents *contents, uint64_t seed)
{
	const struct ks_view view = ks_view_root(KS_VIEW_SEED, ks_mix(seed));

	return intern(env, contents, &view);
}

/* @page may be the scratch page. */
ks_cid ks_content_bytes(struct ks_env *env, struct ks_contents *contents, const uint8_t *page)
{
	struct ks_changes changes;
	const struct ks_view view = ks_view_bytes(page, contents->page_bytes, &changes);

	return intern(env, contents, &view);
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
	const struct ks_view before = view_of(record(contents, base));
	struct ks_changes changes;

	KS_ASSERT(env, offset <= contents->page_bytes);
	KS_ASSERT(env, length <= contents->page_bytes - offset);
	if (!length) {
		ks_content_get(contents, base);
		return base;
	}
	if (!before.bytes && ks_view_patch(&before, offset, bytes, length, &changes)) {
		const struct ks_view after = ks_view_changed(before.kind, before.base, &changes);

		return intern(env, contents, &after);
	}
	ks_view_write(&before, contents->page_bytes, contents->scratch);
	memcpy(contents->scratch + offset, bytes, length);
	return ks_content_bytes(env, contents, contents->scratch);
}

/* @what must be valid: known kind, and bytes if it says so. */
ks_cid ks_content_make(struct ks_env *env, struct ks_contents *contents,
		       const struct ksmsim_content *what, uint64_t index)
{
	struct ks_changes changes;
	struct ks_view view;
	const bool valid = ks_view_describe(what, index, contents->page_bytes, &changes, &view);

	KS_ASSERT(env, valid);
	return intern(env, contents, &view);
}

bool ks_content_describe(const struct ksmsim_content *what, uint64_t index, uint32_t page_bytes,
			 uint8_t *page)
{
	struct ks_changes changes;
	struct ks_view view;

	if (!ks_view_describe(what, index, page_bytes, &changes, &view))
		return false;
	ks_view_write(&view, page_bytes, page);
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

int ks_content_compare(const struct ks_contents *contents, ks_cid a, ks_cid b)
{
	struct ks_view view_a, view_b;

	if (a == b)
		return 0;
	view_a = view_of(record(contents, a));
	view_b = view_of(record(contents, b));
	return ks_view_compare(&view_a, &view_b, contents->page_bytes);
}

uint64_t ks_content_key(const struct ks_contents *contents, ks_cid cid)
{
	const struct ks_content *content = record(contents, cid);
	const enum ks_view_kind kind = kind_of(content);

	if (kind == KS_VIEW_BYTES)
		return __builtin_bswap64(ks_load_word(content->bytes->page));
	if (kind == KS_VIEW_PATCH) {
		const struct patch_block *patch = content->patch;

		return __builtin_bswap64(patch_slots(patch)[0] ? patch->base : patch->value[0]);
	}
	return __builtin_bswap64(content->base);
}

uint32_t ks_content_checksum(struct ks_contents *contents, ks_cid cid)
{
	struct ks_content *content = record(contents, cid);

	if (!(content->meta & META_HASHED)) {
		const struct ks_view view = view_of(content);

		content->checksum = (uint32_t)ks_view_xxh64(&view, contents->page_bytes);
		content->meta |= META_HASHED;
	}
	return content->checksum;
}

void ks_content_read(const struct ks_contents *contents, ks_cid cid, uint32_t offset,
		     uint8_t *bytes, uint32_t length)
{
	const struct ks_view view = view_of(record(contents, cid));
	const uint32_t end = offset + length;
	uint32_t next = 0;

	if (view.bytes) {
		memcpy(bytes, view.bytes + offset, length);
		return;
	}
	if (!offset && length == contents->page_bytes) {
		ks_view_write(&view, length, bytes);
		return;
	}
	while (next < view.nr && view.slot[next] < offset / 8)
		next++;
	for (uint32_t at = offset; at < end;) {
		const uint32_t skip = at % 8;
		const uint32_t part = 8 - skip < end - at ? 8 - skip : end - at;
		uint8_t image[8];

		ks_store_word(image, ks_view_word(&view, at / 8, &next));
		memcpy(bytes + (at - offset), image + skip, part);
		at += part;
	}
}

uint64_t ks_contents_index_memory(const struct ks_contents *contents)
{
	return (uint64_t)contents->index_lines * KS_LINE_BYTES;
}

uint64_t ks_contents_memory(const struct ks_contents *contents)
{
	return ks_pool_bytes(&contents->pool) + contents->blob_bytes +
	       ks_contents_index_memory(contents) + contents->page_bytes;
}

/* ---- check ---- */

bool ks_contents_check(struct ks_contents *contents)
{
	uint32_t nr = 0, used = 0;

	for (ks_cid cid = 1; cid < contents->pool.used; cid++) {
		const struct ks_content *content = record(contents, cid);
		struct ks_view view;

		if (!content->meta)
			continue;
		view = view_of(content);
		nr++;
		if (!ks_content_refs(contents, cid) ||
		    !ks_view_is_canonical(&view, contents->page_bytes) ||
		    (kind_of(content) == KS_VIEW_PATCH) != (view.nr > 0) ||
		    index_find(contents, &view) != cid)
			return false;
	}
	for (uint32_t at = 0; at < contents->index_lines; at++) {
		for (unsigned slot = 0; slot < KS_LINE_SLOTS; slot++)
			used += ks_line_at(contents->index, at)->tag[slot] != KS_TAG_EMPTY;
	}
	return nr == contents->nr && nr == contents->pool.live && used == contents->index_used;
}
