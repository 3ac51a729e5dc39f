/*
 * expect_page.c - expectations of pages: P.RANGE=STATE, same(...), differ(...).
 *
 * Beyond the states of a page there are thp (an anonymous page that a PMD maps),
 * huge_zero (a page of the huge zero folio), order:N (an anonymous page of a
 * folio of order N), and marks; several of them are separated by commas. What the
 * backend cannot see is not tested.
 *
 * What could surprise: exclusive, dirty, lazyfree, locked, referenced and active are
 * as kpageflags has them, so of a large folio they tell what is true of its first page.
 */
#include <inttypes.h>
#include <string.h>

#include "expect.h"
#include "kpf.h"

#define STATE_PAGES_MAX ((uint64_t)1 << 24)

static int page_at(struct sim_run *run, uint32_t process, uint64_t vaddr, struct ksmsim_page *page)
{
	const int error = run->backend->ops->page(run->backend, process, vaddr, page);

	return error ? sim_fail(run, error) : 0;
}

int sim_expect_split(struct sim_run *run, struct sim_word word, uint32_t *process,
		     struct sim_word *rest)
{
	const char *dot = memchr(word.text, '.', word.length);

	if (!dot)
		return sim_refuse(run, word.text, "'%.*s' should be PROCESS.RANGE",
				  sim_expect_short(word), word.text);
	*rest = (struct sim_word){ dot + 1, (size_t)(word.text + word.length - dot) - 1 };
	word.length = (size_t)(dot - word.text);
	return sim_process_parse(run, word, process);
}

static struct sim_word trim(struct sim_word word)
{
	while (word.length && sim_expect_blank(*word.text)) {
		word.text++;
		word.length--;
	}
	while (word.length && sim_expect_blank(word.text[word.length - 1]))
		word.length--;
	return word;
}

/* ---- P.RANGE=STATE ---- */

enum mark {
	EXCLUSIVE,
	DIRTY,
	LAZYFREE,
	LOCKED,
	REFERENCED,
	ACTIVE,
	ONCE,
	AS_FILE,
	POISONED,
	SOFT,
	WRITABLE,
	NR_MARKS
};

static const struct {
	const char *name;
	enum sim_sight sight;
} marks[] = {
	[EXCLUSIVE] = { "exclusive", SIM_SIGHT_exclusive },
	[DIRTY] = { "dirty", SIM_SIGHT_flags },
	[LAZYFREE] = { "lazyfree", SIM_SIGHT_flags },
	[LOCKED] = { "locked", SIM_SIGHT_flags },
	[REFERENCED] = { "referenced", SIM_SIGHT_flags },
	[ACTIVE] = { "active", SIM_SIGHT_flags },
	[ONCE] = { "once", SIM_SIGHT_flags },	    /* bit 56 of pagemap */
	[AS_FILE] = { "as_file", SIM_SIGHT_flags }, /* bit 61 */
	[POISONED] = { "poisoned", SIM_SIGHT_flags },
	[SOFT] = { "soft", SIM_SIGHT_soft_dirty }, /* bit 55 */
	[WRITABLE] = { "writable", SIM_SIGHT_writable },
};

static unsigned marks_of(const struct ksmsim_page *page)
{
	const uint64_t flags = page->kpageflags;
	const bool own = page->order ? (flags & KPF_EXCLUSIVE) != 0 : page->anon_exclusive;
	const bool anon = page->state == KSMSIM_PAGE_ANON || page->state == KSMSIM_PAGE_KSM;

	return (unsigned)own << EXCLUSIVE | (flags & KPF_DIRTY ? 1u << DIRTY : 0) |
	       (anon && !(flags & KPF_SWAPBACKED) ? 1u << LAZYFREE : 0) |
	       (flags & KPF_MLOCKED ? 1u << LOCKED : 0) |
	       (flags & KPF_REFERENCED ? 1u << REFERENCED : 0) |
	       (flags & KPF_ACTIVE ? 1u << ACTIVE : 0) |
	       (page->pagemap & PAGEMAP_ONCE ? 1u << ONCE : 0) |
	       (page->pagemap & PAGEMAP_FILE ? 1u << AS_FILE : 0) |
	       (flags & KPF_HWPOISON ? 1u << POISONED : 0) |
	       (page->pagemap & PAGEMAP_SOFT_DIRTY ? 1u << SOFT : 0) |
	       (unsigned)page->writable << WRITABLE;
}

static bool parse_state(struct sim_word word, struct sim_expect_state *state)
{
	const char *name;
	unsigned i;

	if (sim_word_is(word, "thp") || sim_word_is(word, "huge_zero")) {
		state->huge = true;
		state->state = word.text[0] == 't' ? KSMSIM_PAGE_ANON : KSMSIM_PAGE_ZERO;
		return true;
	}
	for (i = 0; (name = sim_state_name(NULL, i)) != NULL; i++) {
		if (!sim_word_is(word, name))
			continue;
		state->state = (int)i;
		return true;
	}
	return false;
}

static bool parse_mark(struct sim_word word, struct sim_expect_state *state)
{
	const bool not = word.length && word.text[0] == '!';
	const struct sim_word name = { word.text + not, word.length - not };
	unsigned i;

	for (i = 0; i < NR_MARKS; i++) {
		if (!sim_word_is(name, marks[i].name))
			continue;
		*(not ? &state->clear : &state->set) |= 1u << i;
		return true;
	}
	return false;
}

/* NAME:N */
static bool parse_number(struct sim_word word, const char *name, uint64_t *value)
{
	const size_t length = strlen(name);

	return word.length > length + 1 && !memcmp(word.text, name, length) &&
	       word.text[length] == ':' &&
	       !sim_word_number(
		       (struct sim_word){ word.text + length + 1, word.length - length - 1 },
		       value);
}

static bool parse_part(struct sim_word word, struct sim_expect_state *state)
{
	uint64_t value;

	if (parse_number(word, "order", &value) && value < KSMSIM_ORDERS) {
		state->state = KSMSIM_PAGE_ANON;
		state->order = (int)value;
		return true;
	}
	if (parse_number(word, "refs", &value) && value <= INT32_MAX) {
		state->refs = (int64_t)value;
		return true;
	}
	if (parse_number(word, "maps", &value) && value <= INT32_MAX) {
		state->maps = (int64_t)value;
		return true;
	}
	return parse_state(word, state) || parse_mark(word, state);
}

bool sim_expect_state_parse(struct sim_word word, struct sim_expect_state *state)
{
	*state = (struct sim_expect_state){ .state = -1, .order = -1, .refs = -1, .maps = -1 };
	for (;;) {
		const char *comma = memchr(word.text, ',', word.length);
		const size_t length = comma ? (size_t)(comma - word.text) : word.length;

		if (!parse_part((struct sim_word){ word.text, length }, state))
			return false;
		if (!comma)
			return true;
		word = (struct sim_word){ comma + 1, word.length - length - 1 };
	}
}

const char *sim_expect_state_name(const void *self, size_t i)
{
	static const char *const more[] = { "thp", "huge_zero", "order:0", "refs:1", "maps:1" };
	size_t nr;

	(void)self;
	for (nr = 0; sim_state_name(NULL, nr); nr++)
		;
	if (i < nr)
		return sim_state_name(NULL, i);
	i -= nr;
	if (i < sizeof(more) / sizeof(*more))
		return more[i];
	i -= sizeof(more) / sizeof(*more);
	return i < NR_MARKS ? marks[i].name : NULL;
}

static bool sees(const struct sim_run *run, enum sim_sight sight)
{
	return !(run->blind.pages >> sight & 1);
}

/* What of @wanted the backend can tell. */
static struct sim_expect_state visible(const struct sim_run *run,
				       const struct sim_expect_state *wanted)
{
	struct sim_expect_state state = *wanted;
	unsigned i;

	state.huge &= sees(run, SIM_SIGHT_huge);
	if (!sees(run, SIM_SIGHT_order))
		state.order = -1;
	if (!sees(run, SIM_SIGHT_refs))
		state.refs = -1;
	if (!sees(run, SIM_SIGHT_mapcount))
		state.maps = -1;
	for (i = 0; i < NR_MARKS; i++) {
		if (sees(run, marks[i].sight))
			continue;
		state.set &= ~(1u << i);
		state.clear &= ~(1u << i);
	}
	return state;
}

static bool fits(const struct sim_expect_state *wanted, const struct ksmsim_page *page)
{
	const unsigned seen = marks_of(page);

	return (wanted->state < 0 || page->state == (enum ksmsim_page_state)wanted->state) &&
	       (!wanted->huge || page->pmd_mapped) &&
	       (wanted->order < 0 || page->order == (unsigned)wanted->order) &&
	       (wanted->refs < 0 || page->refs == wanted->refs) &&
	       (wanted->maps < 0 || page->mapcount == wanted->maps) &&
	       (seen & wanted->set) == wanted->set && !(seen & wanted->clear);
}

/* The marks that were asked for, as they are. */
static void missed_page(struct sim_expectation *e, struct sim_word item,
			const struct sim_expect_state *wanted, const struct ksmsim_page *page,
			uint64_t at)
{
	const unsigned seen = marks_of(page), asked = wanted->set | wanted->clear;
	struct sim_buf text = { .mem = &e->run->mem };
	unsigned i;

	if (page->order)
		sim_buf_printf(&text, " of order %u", page->order);
	if (page->pmd_mapped)
		sim_buf_printf(&text, ", mapped by a PMD");
	if (wanted->refs >= 0)
		sim_buf_printf(&text, ", refs:%" PRIu32, page->refs);
	if (wanted->maps >= 0)
		sim_buf_printf(&text, ", maps:%" PRIu32, page->mapcount);
	for (i = 0; i < NR_MARKS; i++)
		if (asked >> i & 1)
			sim_buf_printf(&text, ", %s%s", seen >> i & 1 ? "" : "!", marks[i].name);
	sim_expect_missed(e, item, "%s%s in its page %" PRIu64, sim_state_name(NULL, page->state),
			  sim_buf_text(&text), at);
	sim_buf_free(&text);
}

int sim_expect_pages(struct sim_expectation *e, struct sim_word item, uint32_t process,
		     struct sim_word range_word, const struct sim_expect_state *wanted)
{
	struct sim_run *run = e->run;
	const struct sim_expect_state state = visible(run, wanted);
	struct sim_range range;
	struct ksmsim_page page;
	uint64_t i, nr;
	int error = sim_range_parse(run, process, range_word, &range);

	if (error)
		return error;
	nr = range.length / run->world.page + (range.length % run->world.page != 0);
	if (nr > STATE_PAGES_MAX)
		return sim_refuse(run, range_word.text,
				  "a range of more than %" PRIu64 " pages is not looked at",
				  STATE_PAGES_MAX);
	for (i = 0; i < nr; i++) {
		error = page_at(run, process, range.vaddr + i * run->world.page, &page);
		if (error)
			return error;
		if (!fits(&state, &page)) {
			missed_page(e, item, &state, &page, i);
			return 0;
		}
	}
	return 0;
}

/* ---- same(...), differ(...) ---- */

static int frame_of(struct sim_expectation *e, struct sim_word word, bool *present, uint64_t *pfn)
{
	struct ksmsim_page page;
	struct sim_range range;
	struct sim_word rest = { NULL, 0 };
	uint32_t process = 0;
	int error;

	word = trim(word);
	error = sim_expect_split(e->run, word, &process, &rest);
	if (!error)
		error = sim_range_parse(e->run, process, rest, &range);
	if (!error && range.length != e->run->world.page)
		error = sim_refuse(e->run, word.text, "'%.*s' is not one page",
				   sim_expect_short(word), word.text);
	if (!error)
		error = page_at(e->run, process, range.vaddr, &page);
	if (error)
		return error;
	*present = page.state != KSMSIM_PAGE_NONE && page.state != KSMSIM_PAGE_SWAP &&
		   page.state != KSMSIM_PAGE_GUARD && page.state != KSMSIM_PAGE_HWPOISON;
	*pfn = page.pfn;
	return 0;
}

int sim_expect_frames(struct sim_expectation *e, struct sim_word item, size_t skip, bool same)
{
	struct sim_word one = { item.text + skip, item.length - skip }, two;
	bool present[2];
	uint64_t pfn[2];
	const char *comma;
	int error;

	if (item.text[item.length - 1] != ')' ||
	    (comma = memchr(one.text, ',', one.length)) == NULL)
		return sim_refuse(e->run, item.text, "expected %.*sPROCESS.RANGE,PROCESS.RANGE)",
				  (int)skip, item.text);
	two = (struct sim_word){ comma + 1, (size_t)(one.text + one.length - comma) - 2 };
	one.length = (size_t)(comma - one.text);
	error = frame_of(e, one, &present[0], &pfn[0]);
	if (!error)
		error = frame_of(e, two, &present[1], &pfn[1]);
	if (error)
		return error;
	if ((present[0] && present[1] && pfn[0] == pfn[1]) == same)
		return 0;
	if (!present[0] || !present[1])
		sim_expect_missed(e, item, "no page in the %s place",
				  present[0] ? "second" : "first");
	else
		sim_expect_missed(e, item, "%s", same ? "two frames" : "one frame");
	return 0;
}
