/*
 * expect_page.c - expectations of pages: P.RANGE=STATE, same(...), differ(...).
 *
 * Beyond the states of a page there are thp (an anonymous page that a PMD maps),
 * huge_zero (a page of the huge zero folio) and order:N (an anonymous page of a
 * folio of order N). Where the backend cannot see the difference nothing is
 * tested.
 */
#include <inttypes.h>
#include <string.h>

#include "expect.h"

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

bool sim_expect_state_parse(struct sim_word word, struct sim_expect_state *state)
{
	const char *name;
	uint64_t order;
	unsigned i;

	*state = (struct sim_expect_state){ .state = KSMSIM_PAGE_ANON, .order = -1 };
	state->huge = sim_word_is(word, "thp") || sim_word_is(word, "huge_zero");
	if (sim_word_is(word, "huge_zero"))
		state->state = KSMSIM_PAGE_ZERO;
	if (state->huge)
		return true;
	if (word.length > 6 && !memcmp(word.text, "order:", 6) &&
	    !sim_word_number((struct sim_word){ word.text + 6, word.length - 6 }, &order) &&
	    order < KSMSIM_ORDERS) {
		state->order = (int)order;
		return true;
	}
	for (i = 0; (name = sim_state_name(NULL, i)) != NULL; i++) {
		if (!sim_word_is(word, name))
			continue;
		state->state = (enum ksmsim_page_state)i;
		return true;
	}
	return false;
}

const char *sim_expect_state_name(const void *self, size_t i)
{
	static const char *const more[] = { "thp", "huge_zero", "order:0" };
	size_t nr;

	(void)self;
	for (nr = 0; sim_state_name(NULL, nr); nr++)
		;
	if (i < nr)
		return sim_state_name(NULL, i);
	return i - nr < sizeof(more) / sizeof(*more) ? more[i - nr] : NULL;
}

static bool fits(const struct sim_expect_state *wanted, const struct ksmsim_page *page)
{
	return page->state == wanted->state && (!wanted->huge || page->pmd_mapped) &&
	       (wanted->order < 0 || page->order == (unsigned)wanted->order);
}

static void missed_page(struct sim_expectation *e, struct sim_word item,
			const struct ksmsim_page *page, uint64_t at)
{
	char order[32] = "";

	if (page->order)
		snprintf(order, sizeof(order), " of order %u", page->order);
	sim_expect_missed(e, item, "%s%s%s in its page %" PRIu64, sim_state_name(NULL, page->state),
			  order, page->pmd_mapped ? ", mapped by a PMD" : "", at);
}

static bool is_visible(const struct sim_run *run, const struct sim_expect_state *wanted)
{
	uint64_t sights = 0;

	if (wanted->huge)
		sights |= UINT64_C(1) << SIM_SIGHT_huge;
	if (wanted->order >= 0)
		sights |= UINT64_C(1) << SIM_SIGHT_order;
	return !(run->blind.pages & sights);
}

int sim_expect_pages(struct sim_expectation *e, struct sim_word item, uint32_t process,
		     struct sim_word range_word, const struct sim_expect_state *wanted)
{
	struct sim_run *run = e->run;
	struct sim_range range;
	struct ksmsim_page page;
	uint64_t i, nr;
	int error = sim_range_parse(run, process, range_word, &range);

	if (error || !is_visible(run, wanted))
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
		if (!fits(wanted, &page)) {
			missed_page(e, item, &page, i);
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
		   page.state != KSMSIM_PAGE_GUARD;
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
