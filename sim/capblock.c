/*
 * capblock.c - some thousand page records as bytes, and back.
 *
 * A block is a sequence of columns, one behind the other:
 *
 *   where      run, gap, run, gap, ..., run: pages in a row, page numbers left out
 *   state      (state, run) pairs: flags, order, node and map count in one word
 *   frame      (delta, run) pairs: pfns that count up in a row; delta is what the first
 *              differs by from the one after the last run's end, sign in bit 0
 *   print      16 bytes each
 *   checksum   4 bytes each; not there if the file derives checksums
 *
 * Numbers are 7 bits a byte, least significant first, except in the last two columns
 * (little-endian). Only pages with a frame are in the third column, only hashed ones that are not zero
 * in the last two. So a page costs 20 bytes, its share of the runs and, where frames are
 * scattered, up to 9 more.
 *
 * Decoding trusts nothing. Each column must end with the last page, and the last column with the
 * last byte, so that a page has one meaning and the bytes of a block have no room to hide.
 */
#include <string.h>

#include "capblock.h"

#define PFN_MAX (UINT64_C(1) << 55) /* as many bits as pagemap has */
#define ORDER_MAX 20u

/* Bits of the state word. */
#define STATE_FLAGS 14u
#define STATE_FRAME (UINT64_C(1) << 14) /* there is a pfn */
#define STATE_ORDER 15u
#define STATE_NID 20u
#define STATE_MAPCOUNT 28u
#define STATE_BITS 60u

_Static_assert(SIM_CAP_FLAGS == (1 << STATE_FLAGS) - 1, "the state word has room for the flags");

const char *sim_capblock_refuse(const struct sim_capcodec *codec, const struct sim_cap_page *page)
{
	const unsigned flags = page->flags;

	if (flags & ~(unsigned)SIM_CAP_FLAGS)
		return "unknown flags of a page";
	if (page->vaddr >> codec->page_shift >= SIM_CAP_PAGES_MAX ||
	    page->vaddr & ((UINT64_C(1) << codec->page_shift) - 1))
		return "an address that is none of a page";
	if (page->order > ORDER_MAX)
		return "a folio that is too large";
	if (page->pfn >= PFN_MAX)
		return "a page frame number that is too large";
	if (flags & SIM_CAP_ZERO && !(flags & SIM_CAP_HASHED && codec->has_zero))
		return "a zero page, without the fingerprint of one";
	if (flags & SIM_CAP_ZEROPAGE && !(flags & SIM_CAP_ZERO))
		return "a mapping of the zero page that is not zero";
	if (flags & SIM_CAP_EXCLUSIVE && page->mapcount != 1)
		return "a page that is mapped once, and not once";
	if (flags & SIM_CAP_GONE && (flags != SIM_CAP_GONE || page->pfn))
		return "a page that is gone, and has a state";
	return NULL;
}

static bool has_content(const struct sim_cap_page *page)
{
	return (page->flags & (SIM_CAP_HASHED | SIM_CAP_ZERO)) == SIM_CAP_HASHED;
}

/* ---- encoding ---- */

static uint8_t *put(uint8_t *at, uint64_t number)
{
	for (; number >= 0x80; number >>= 7)
		*at++ = (uint8_t)(number | 0x80);
	*at++ = (uint8_t)number;
	return at;
}

static uint8_t *put_le(uint8_t *at, uint64_t number, unsigned bytes)
{
	for (; bytes; bytes--, number >>= 8)
		*at++ = (uint8_t)number;
	return at;
}

static uint64_t zigzag(uint64_t delta)
{
	return delta << 1 ^ (delta >> 63 ? UINT64_MAX : 0);
}

static uint64_t zigzag_back(uint64_t number)
{
	return number >> 1 ^ (number & 1 ? UINT64_MAX : 0);
}

static uint64_t state_of(const struct sim_cap_page *page)
{
	/* An exclusive page is mapped once: not to be said twice. */
	const uint64_t mapcount = page->flags & SIM_CAP_EXCLUSIVE ? 0 : page->mapcount;

	return page->flags | (page->pfn ? STATE_FRAME : 0) | (uint64_t)page->order << STATE_ORDER |
	       (uint64_t)page->nid << STATE_NID | mapcount << STATE_MAPCOUNT;
}

static uint8_t *put_where(uint8_t *at, unsigned shift, const struct sim_cap_page *pages, size_t nr)
{
	const uint64_t step = UINT64_C(1) << shift;
	size_t i, run = 1;

	for (i = 1; i < nr; i++, run++) {
		if (pages[i].vaddr == pages[i - 1].vaddr + step)
			continue;
		at = put(at, run);
		at = put(at, (pages[i].vaddr - pages[i - 1].vaddr) / step - 1);
		run = 0;
	}
	return put(at, run);
}

static uint8_t *put_states(uint8_t *at, const struct sim_cap_page *pages, size_t nr)
{
	uint64_t state = state_of(&pages[0]), next;
	size_t i, run = 1;

	for (i = 1; i < nr; i++, run++) {
		next = state_of(&pages[i]);
		if (next == state)
			continue;
		at = put(put(at, state), run);
		state = next;
		run = 0;
	}
	return put(put(at, state), run);
}

static uint8_t *put_frames(uint8_t *at, const struct sim_cap_page *pages, size_t nr)
{
	uint64_t expected = 0, run = 0;
	size_t i;

	for (i = 0; i < nr; i++) {
		if (!pages[i].pfn)
			continue;
		if (!run || pages[i].pfn != expected) {
			if (run)
				at = put(at, run);
			at = put(at, zigzag(pages[i].pfn - expected));
			run = 0;
		}
		expected = pages[i].pfn + 1;
		run++;
	}
	return run ? put(at, run) : at;
}

size_t sim_capblock_encode(const struct sim_capcodec *codec, const struct sim_cap_page *pages,
			   size_t nr, uint8_t *out)
{
	uint8_t *at = put_where(out, codec->page_shift, pages, nr);
	size_t i;

	at = put_states(at, pages, nr);
	at = put_frames(at, pages, nr);
	for (i = 0; i < nr; i++)
		if (has_content(&pages[i]))
			at = put_le(put_le(at, pages[i].print.high, 8), pages[i].print.low, 8);
	for (i = 0; i < nr && !codec->derived; i++)
		if (has_content(&pages[i]))
			at = put_le(at, pages[i].checksum, 4);
	return (size_t)(at - out);
}

/* ---- decoding ---- */

struct reader {
	const uint8_t *at, *end;
	const char *wrong; /* the first thing */
};

static uint64_t fail(struct reader *r, const char *wrong)
{
	if (!r->wrong)
		r->wrong = wrong;
	r->at = r->end;
	return 0;
}

/* A number of at most @bits; 0 after an error. */
static uint64_t get(struct reader *r, unsigned bits)
{
	uint64_t number = 0, part;
	unsigned shift = 0;

	do {
		if (r->at == r->end)
			return fail(r, "the block ends in the middle of a column");
		part = *r->at & 0x7f;
		if (shift >= bits || (bits - shift < 7 && part >> (bits - shift)))
			return fail(r, "a number is too large");
		number |= part << shift;
		shift += 7;
	} while (*r->at++ & 0x80);
	return number;
}

static uint64_t get_le(struct reader *r, unsigned bytes)
{
	uint64_t number = 0;
	unsigned i;

	if ((size_t)(r->end - r->at) < bytes)
		return fail(r, "the block ends in the middle of a column");
	for (i = 0; i < bytes; i++)
		number |= (uint64_t)*r->at++ << 8 * i;
	return number;
}

/* The length of a run of which @left pages remain. */
static size_t get_run(struct reader *r, size_t left)
{
	const uint64_t run = get(r, 32);

	if (!run || run > left)
		return (size_t)fail(r, "a run does not fit into its block");
	return (size_t)run;
}

static void get_where(struct reader *r, const struct sim_capcodec *codec, uint64_t vpn,
		      struct sim_cap_page *pages, size_t nr)
{
	size_t i = 0, run;

	while (!r->wrong && i < nr) {
		for (run = get_run(r, nr - i); run && vpn < SIM_CAP_PAGES_MAX; run--, vpn++)
			pages[i++].vaddr = vpn << codec->page_shift;
		if (run) {
			fail(r, "an address is too large");
		} else if (i < nr) {
			/* One page at least is between two runs. */
			const uint64_t gap = get(r, 51);

			if (!gap)
				fail(r, "two runs of addresses touch");
			vpn += gap;
		}
	}
}

static void set_state(struct sim_cap_page *page, uint64_t state)
{
	page->flags = state & SIM_CAP_FLAGS;
	page->pfn = !!(state & STATE_FRAME); /* for now */
	page->order = state >> STATE_ORDER & 0x1f;
	page->nid = (uint8_t)(state >> STATE_NID);
	page->mapcount = page->flags & SIM_CAP_EXCLUSIVE ? 1 : (uint32_t)(state >> STATE_MAPCOUNT);
}

static void get_states(struct reader *r, struct sim_cap_page *pages, size_t nr)
{
	uint64_t state;
	size_t i = 0, run;

	while (!r->wrong && i < nr) {
		state = get(r, STATE_BITS);
		for (run = get_run(r, nr - i); run; run--)
			set_state(&pages[i++], state);
	}
}

static void get_frames(struct reader *r, struct sim_cap_page *pages, size_t nr)
{
	uint64_t pfn = 0, run = 0;
	size_t i;

	for (i = 0; !r->wrong && i < nr; i++) {
		if (!pages[i].pfn)
			continue;
		if (!run) {
			pfn += zigzag_back(get(r, 64));
			run = get_run(r, nr - i);
		}
		if (!pfn || pfn >= PFN_MAX)
			fail(r, "a page frame number is out of range");
		pages[i].pfn = pfn++;
		run--;
	}
	if (run && !r->wrong)
		fail(r, "more frames than pages");
}

static void get_contents(struct reader *r, const struct sim_capcodec *codec,
			 struct sim_cap_page *pages, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		pages[i].print = (struct sim_print){ 0, 0 };
		pages[i].checksum = 0;
		if (has_content(&pages[i])) {
			pages[i].print.high = get_le(r, 8);
			pages[i].print.low = get_le(r, 8);
			pages[i].checksum = (uint32_t)pages[i].print.low;
		} else if (pages[i].flags & SIM_CAP_ZERO) {
			pages[i].print = codec->zero_print;
			pages[i].checksum = codec->zero_checksum;
		}
	}
	for (i = 0; i < nr && !codec->derived; i++)
		if (has_content(&pages[i]))
			pages[i].checksum = (uint32_t)get_le(r, 4);
}

const char *sim_capblock_decode(const struct sim_capcodec *codec, const uint8_t *bytes,
				size_t length, uint64_t first, size_t nr,
				struct sim_cap_page *pages)
{
	struct reader r = { .at = bytes, .end = bytes + length, .wrong = NULL };
	size_t i;

	get_where(&r, codec, first, pages, nr);
	if (!r.wrong)
		get_states(&r, pages, nr);
	if (!r.wrong)
		get_frames(&r, pages, nr);
	if (!r.wrong)
		get_contents(&r, codec, pages, nr);
	if (!r.wrong && r.at != r.end)
		fail(&r, "bytes are left over behind the last page");
	for (i = 0; i < nr && !r.wrong; i++)
		r.wrong = sim_capblock_refuse(codec, &pages[i]);
	return r.wrong;
}
