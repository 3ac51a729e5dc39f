/*
 * capcursor.c - the pages of a process, in address order, from the blocks of several rounds.
 *
 * Round 0 of a process has all its pages, a later round only what is new, changed or
 * gone. A cursor reads all these streams side by side, a block of each at a time: what
 * the youngest of them says about the lowest address is the next page.
 *
 *     round 0   a  b  c  d           next pages as of round 2: a, b', d', e
 *     round 1         c- d'
 *     round 2      b'       e
 */
#include <stdlib.h>
#include <string.h>

#include "capdb.h"

struct stream {
	sqlite3_stmt *blocks;
	struct sim_cap_page *pages; /* SIM_CAPBLOCK_PAGES */
	size_t nr, next;
	bool begun;
	uint64_t last; /* vaddr */
};

struct sim_cap_cursor {
	struct sim_capdb *base;
	uint32_t process;
	bool show_gone;
	size_t nr;
	struct stream streams[]; /* oldest first; those that are at their end have no statement */
};

void sim_cap_cursor_close(struct sim_cap_cursor *cursor)
{
	size_t i;

	if (!cursor)
		return;
	for (i = 0; i < cursor->nr; i++) {
		sqlite3_finalize(cursor->streams[i].blocks);
		free(cursor->streams[i].pages);
	}
	free(cursor);
}

static int bad_block(const struct sim_cap_cursor *c, const struct stream *s, const char *what)
{
	return sim_capdb_fail(c->base, SIM_EINPUT,
			      "%s is damaged: process %u, block at page %#llx: %s", c->base->name,
			      c->process, (unsigned long long)sqlite3_column_int64(s->blocks, 0),
			      what);
}

/* The block that the statement stands on. */
static int decode(struct sim_cap_cursor *c, struct stream *s)
{
	const int64_t first = sqlite3_column_int64(s->blocks, 0);
	const int64_t nr = sqlite3_column_int64(s->blocks, 1);
	const uint8_t *bytes = sqlite3_column_blob(s->blocks, 2);
	const int length = sqlite3_column_bytes(s->blocks, 2);
	const char *wrong;

	if (nr < 1 || nr > SIM_CAPBLOCK_PAGES)
		return bad_block(c, s, "the number of its pages is not between 1 and 4096");
	if (!bytes || length < 1)
		return bad_block(c, s, "it is empty");
	wrong = sim_capblock_decode(&c->base->codec, bytes, (size_t)length, (uint64_t)first,
				    (size_t)nr, s->pages);
	if (!wrong && s->begun && s->pages[0].vaddr <= s->last)
		wrong = "it begins before the end of the one before";
	if (wrong)
		return bad_block(c, s, wrong);
	s->begun = true;
	s->last = s->pages[nr - 1].vaddr;
	s->nr = (size_t)nr;
	s->next = 0;
	return 0;
}

/* The next block of a stream that is used up. */
static int refill(struct sim_cap_cursor *c, struct stream *s)
{
	const int got = sim_capdb_step(c->base, s->blocks);

	if (got == 1)
		return decode(c, s);
	sqlite3_finalize(s->blocks);
	free(s->pages);
	*s = (struct stream){ .blocks = NULL };
	return got;
}

static int open_stream(struct sim_cap_cursor *c, uint32_t round)
{
	struct stream *s = &c->streams[c->nr];
	int error = sim_capdb_prepare(c->base,
				      "SELECT first, nr, data FROM block WHERE process = ? AND "
				      "round = ? ORDER BY first",
				      &s->blocks);

	if (error)
		return error;
	c->nr++;
	sqlite3_bind_int64(s->blocks, 1, c->process);
	sqlite3_bind_int64(s->blocks, 2, round);
	s->pages = malloc(SIM_CAPBLOCK_PAGES * sizeof(*s->pages));
	if (!s->pages)
		return sim_capdb_fail(c->base, KSMSIM_ENOMEM, "no memory");
	error = refill(c, s);
	if (!error && !s->blocks)
		c->nr--;
	return error;
}

int sim_capdb_cursor(struct sim_capdb *base, uint32_t process, uint32_t first_round,
		     uint32_t last_round, bool show_gone, struct sim_cap_cursor **out)
{
	const size_t rounds = last_round - first_round + 1u;
	struct sim_cap_cursor *c = calloc(1, sizeof(*c) + rounds * sizeof(*c->streams));
	uint32_t round;
	int error = 0;

	if (!c)
		return sim_capdb_fail(base, KSMSIM_ENOMEM, "no memory");
	c->base = base;
	c->process = process;
	c->show_gone = show_gone;
	for (round = first_round; !error && round <= last_round; round++)
		error = open_stream(c, round);
	if (error) {
		sim_cap_cursor_close(c);
		return error;
	}
	*out = c;
	return 0;
}

static int advance(struct sim_cap_cursor *c, struct stream *s)
{
	s->next++;
	return s->next < s->nr ? 0 : refill(c, s);
}

/* The next page of a stream; NULL: it is at its end. */
static const struct sim_cap_page *head_of(const struct stream *s)
{
	return s->blocks && s->pages ? &s->pages[s->next] : NULL;
}

/* The lowest address: what the youngest stream says; all that speak of it move on. */
static int take_lowest(struct sim_cap_cursor *c, struct sim_cap_page *page)
{
	const struct sim_cap_page *lowest = NULL, *head;
	size_t i;
	int error = 0;

	for (i = 0; i < c->nr; i++) {
		head = head_of(&c->streams[i]);
		if (head && (!lowest || head->vaddr <= lowest->vaddr))
			lowest = head;
	}
	if (!lowest)
		return 0;
	*page = *lowest;
	for (i = 0; !error && i < c->nr; i++) {
		head = head_of(&c->streams[i]);
		if (head && head->vaddr == page->vaddr)
			error = advance(c, &c->streams[i]);
	}
	return error ? error : 1;
}

int sim_cap_cursor_next(struct sim_cap_cursor *c, struct sim_cap_page *page)
{
	int got;

	if (c->base->error)
		return c->base->error;
	do
		got = take_lowest(c, page);
	while (got == 1 && page->flags & SIM_CAP_GONE && !c->show_gone);
	return got;
}
