/*
 * expect.c - expectations: compare what can be seen with what the line says.
 *
 *	expect [@PROFILE,...] ITEM...	 [events: EVENT...]
 *
 * A wrong item is one of two things. It may be unreadable (unknown name, bad
 * number): that ends the run. Or it does not hold: then every such item of the
 * line is reported with what was seen, and the run goes on.
 *
 * An item ends at a blank outside parentheses. An expectation that is limited
 * to other profiles is not read further, and uses up no events.
 */
#include <inttypes.h>
#include <string.h>

#include "expect.h"

static bool begins(struct sim_word item, const char *with)
{
	return item.length >= strlen(with) && !memcmp(item.text, with, strlen(with));
}

static struct sim_word next_item(struct sim_expectation *e)
{
	struct sim_word item;
	int depth = 0;

	while (e->at < e->end && sim_expect_blank(*e->at))
		e->at++;
	item.text = e->at;
	while (e->at < e->end && (depth > 0 || !sim_expect_blank(*e->at))) {
		depth += (*e->at == '(') - (*e->at == ')');
		e->at++;
	}
	item.length = (size_t)(e->at - item.text);
	return item;
}

void sim_expect_missed(struct sim_expectation *e, struct sim_word item, const char *format, ...)
{
	struct sim_run *run = e->run;
	struct sim_buf *buf = &run->failure;
	va_list args;

	if (e->held)
		sim_buf_clear(buf);
	else
		sim_buf_put(buf, "\n", 1);
	e->held = false;
	sim_buf_printf(buf, "%s:%lu", run->name, run->line);
	if (!run->lua)
		sim_buf_printf(buf, ":%zu", (size_t)(item.text - run->cut.text) + 1);
	sim_buf_printf(buf, ": expected %.*s, seen ", sim_expect_short(item), item.text);
	va_start(args, format);
	sim_buf_vprintf(buf, format, args);
	va_end(args);
}

int sim_expect_refuse(struct sim_run *run, struct sim_word word, const char *what,
		      const char *(*name)(const void *self, size_t i), const void *self)
{
	const char *guess = sim_nearest(word.text, word.length, name, self);

	if (guess)
		return sim_refuse(run, word.text, "unknown %s '%.*s'; did you mean '%s'?", what,
				  sim_expect_short(word), word.text, guess);
	return sim_refuse(run, word.text, "unknown %s '%.*s'", what, sim_expect_short(word),
			  word.text);
}

static int signed_value(struct sim_run *run, struct sim_word word, int64_t *value)
{
	const char *wrong = sim_word_signed(word, value);

	return wrong ? sim_refuse(run, word.text, "'%.*s' %s; expected a number",
				  sim_expect_short(word), word.text, wrong)
		     : 0;
}

/* ---- NAME=VALUE ---- */

static int expect_result(struct sim_expectation *e, struct sim_word item, struct sim_word value)
{
	const int64_t seen = e->run->result;
	const char *name = seen < 0 ? sim_errno_name(-seen) : NULL;
	int64_t wanted = 0;
	int error = 0;

	if (value.length > 1 && value.text[0] == '-')
		wanted = -sim_errno_number((struct sim_word){ value.text + 1, value.length - 1 });
	if (!wanted)
		error = signed_value(e->run, value, &wanted);
	if (error || wanted == seen || e->run->result_unseen)
		return error;
	if (name)
		sim_expect_missed(e, item, "-%s", name);
	else
		sim_expect_missed(e, item, "%" PRId64, seen);
	return 0;
}

static int expect_counter(struct sim_expectation *e, struct sim_word item, unsigned counter,
			  struct sim_word value)
{
	struct sim_run *run = e->run;
	int64_t wanted, seen;
	int error = signed_value(run, value, &wanted);

	if (error || (run->blind.counters >> counter & 1))
		return error; /* nothing was seen, nothing tested */
	error = run->backend->ops->counter(run->backend, (enum ksmsim_counter)counter, &seen);
	if (error)
		return sim_fail(run, error);
	if (seen != wanted)
		sim_expect_missed(e, item, "%" PRId64, seen);
	return 0;
}

struct sim_word sim_file_value(const char *text)
{
	struct sim_word word = { text, strcspn(text, "\n") };
	const char *open = memchr(text, '[', word.length), *close;

	if (open && (close = memchr(open, ']', (size_t)(text + word.length - open))) != NULL)
		word = (struct sim_word){ open + 1, (size_t)(close - open) - 1 };
	return word;
}

static uint64_t place_of(const char *text, struct sim_word word)
{
	uint64_t place = 0;

	for (; text < word.text; text++)
		place += *text == ' ';
	return place;
}

static int expect_file(struct sim_expectation *e, struct sim_word item, const char *file,
		       struct sim_word value)
{
	struct sim_run *run = e->run;
	uint64_t wanted, number;
	struct sim_word seen;
	char text[256];
	int64_t ret = 0;
	int error;

	error = run->backend->ops->read_file(run->backend, file, text, sizeof(text), &ret);
	if (error)
		return sim_fail(run, error);
	if (ret < 0) {
		sim_expect_missed(e, item, "no such file in this kernel");
		return 0;
	}
	seen = sim_file_value(text);
	if (seen.length == value.length && !memcmp(seen.text, value.text, seen.length))
		return 0;
	/* of "none [scan-time]" also the place of the word: 1 */
	if (sim_word_number(seen, &number))
		number = place_of(text, seen);
	if (sim_word_number(value, &wanted) || wanted != number)
		sim_expect_missed(e, item, "%.*s", SIM_WORD_ARG(seen));
	return 0;
}

static int expect_mthp(struct sim_expectation *e, struct sim_word item, unsigned stat,
		       unsigned order, struct sim_word value)
{
	struct sim_run *run = e->run;
	struct sim_mthp seen = { 0 };
	int64_t wanted;
	int error = signed_value(run, value, &wanted);

	if (error || (run->blind.mthp >> stat & 1))
		return error;
	error = run->backend->ops->mthp(run->backend, &seen);
	if (error)
		return sim_fail(run, error);
	if (seen.value[stat][order] != wanted)
		sim_expect_missed(e, item, "%" PRId64, seen.value[stat][order]);
	return 0;
}

static const char *any_name(const void *self, size_t i)
{
	static const enum ksmsim_table tables[] = { KSMSIM_TABLE_COUNTERS, KSMSIM_TABLE_KNOBS };
	const char *name;
	size_t t, nr;

	for (t = 0; t < 2; t++) {
		name = sim_table_name(&tables[t], i);
		if (name)
			return name;
		ksmsim_table_rows(tables[t], &nr);
		i -= nr;
	}
	(void)self;
	return i == 0 ? "result" : NULL;
}

static int expect_name(struct sim_expectation *e, struct sim_word item, struct sim_word name,
		       struct sim_word value)
{
	const unsigned counter = sim_counter_of(name);
	const char *file = sim_file_of(name);
	unsigned stat, order;
	char path[128];

	if (sim_word_is(name, "result"))
		return expect_result(e, item, value);
	if (counter < KSMSIM_COUNT_NR)
		return expect_counter(e, item, counter, value);
	if (file)
		return expect_file(e, item, file, value);
	if (sim_mthp_find(e->run->world.page, name, &stat, &order))
		return expect_mthp(e, item, stat, order, value);
	if (begins(name, "hugepages-") && name.length <= SIM_NAME_MAX) {
		snprintf(path, sizeof(path), "transparent_hugepage/%.*s", SIM_WORD_ARG(name));
		return expect_file(e, item, path, value);
	}
	return sim_expect_refuse(e->run, name, "counter or knob", any_name, NULL);
}

/* ---- P.NAME=VALUE, P.RANGE=STATE ---- */

static const char *figure_name(const void *self, size_t i)
{
	size_t nr;
	const struct ksmsim_row *rows = sim_figures(&nr);

	(void)self;
	return i < nr ? rows[i].name : NULL;
}

static int expect_figure(struct sim_expectation *e, struct sim_word item, uint32_t process,
			 unsigned figure, struct sim_word value)
{
	struct sim_run *run = e->run;
	struct ksmsim_process seen;
	int64_t wanted, found;
	int error = signed_value(run, value, &wanted);

	if (error || (run->blind.figures >> figure & 1))
		return error;
	error = run->backend->ops->process(run->backend, process, &seen);
	if (!error)
		error = sim_figure_read(run->backend, process, &seen, figure, &found);
	if (error)
		return sim_fail(run, error);
	if (found != wanted)
		sim_expect_missed(e, item, "%" PRId64, found);
	return 0;
}

static int expect_process(struct sim_expectation *e, struct sim_word item, struct sim_word name,
			  struct sim_word value)
{
	struct sim_expect_state state;
	struct sim_word rest = { NULL, 0 };
	uint32_t process = 0;
	unsigned figure;
	int error = sim_expect_split(e->run, name, &process, &rest);

	if (error)
		return error;
	if (sim_expect_state_parse(value, &state))
		return sim_expect_pages(e, item, process, rest, &state);
	figure = sim_figure_of(rest);
	if (figure < SIM_FIGURE_NR)
		return expect_figure(e, item, process, figure, value);
	if (rest.length && (value.text[0] == '-' || (value.text[0] >= '0' && value.text[0] <= '9')))
		return sim_expect_refuse(e->run, rest, "figure of a process", figure_name, NULL);
	return sim_expect_refuse(e->run, value, "state of a page", sim_expect_state_name, NULL);
}

/* ---- events ---- */

static bool equal_but_blanks(struct sim_word word, const char *text)
{
	size_t i;

	for (i = 0; i < word.length; i++) {
		if (sim_expect_blank(word.text[i]))
			continue;
		if (word.text[i] != *text++)
			return false;
	}
	return *text == '\0';
}

/* Is it written as an event can be? */
static int check_event(struct sim_run *run, struct sim_word item)
{
	const char *open = memchr(item.text, '(', item.length), *name;
	struct sim_word word = item;
	unsigned least, most, nr = 1;
	size_t i;

	if (!open || item.text[item.length - 1] != ')')
		return sim_refuse(run, item.text, "'%.*s' is no event: NAME(...)",
				  sim_expect_short(item), item.text);
	word.length = (size_t)(open - item.text);
	for (i = 0; (name = sim_event_name(NULL, i)) != NULL; i++)
		if (sim_word_is(word, name))
			break;
	if (!name)
		return sim_expect_refuse(run, word, "event", sim_event_name, NULL);
	sim_event_arguments(i, &least, &most);
	for (i = 0; i < item.length; i++)
		nr += item.text[i] == ',';
	if (nr < least || nr > most)
		return sim_refuse(run, item.text, "%s(...) has %u to %u arguments", name, least,
				  most);
	return 0;
}

/* The next event that counts, from *i on, as text; NULL: no more. */
static const char *next_event(struct sim_run *run, bool all, size_t *i)
{
	const struct sim_events *events = &run->events;

	while (*i < events->nr) {
		const struct sim_event *event = &events->events[(*i)++];

		if (!all && sim_event_is_pass(event))
			continue;
		sim_buf_clear(&run->event_text);
		sim_event_print(events, event, &run->event_text);
		return sim_buf_text(&run->event_text);
	}
	return NULL;
}

static void missed_events(struct sim_expectation *e, struct sim_word head, bool all, size_t nr)
{
	struct sim_run *run = e->run;
	size_t i = run->events.expect_from;
	const char *text = next_event(run, all, &i);
	struct sim_word whole = { head.text, (size_t)(e->end - head.text) };

	sim_expect_missed(e, whole, "%s", text ? text : "none");
	while ((text = next_event(run, all, &i)) != NULL)
		sim_buf_printf(&run->failure, " %s", text);
	sim_buf_printf(&run->failure, " (differs from event %zu on)", nr);
}

static int expect_events(struct sim_expectation *e, struct sim_word head, bool all)
{
	struct sim_run *run = e->run;
	size_t i = run->events.expect_from, nr = 0, wrong = 0;
	struct sim_word item;
	const char *text;
	int error;

	for (;;) {
		item = next_item(e);
		if (!item.length || (!nr && sim_word_is(item, "none")))
			break;
		error = check_event(run, item);
		if (error)
			return error;
		nr++;
		text = next_event(run, all, &i);
		if (!wrong && (!text || !equal_but_blanks(item, text)))
			wrong = nr;
	}
	if (!nr && !item.length)
		return sim_refuse(run, e->end, "expected events, or none");
	if (item.length && next_item(e).length)
		return sim_refuse(run, item.text, "none stands alone");
	if (!wrong && next_event(run, all, &i))
		wrong = nr + 1;
	if (!run->listening)
		return 0; /* this kernel has no tracepoints: nothing was seen, nothing tested */
	if (run->events.lost)
		return sim_refuse(run, head.text,
				  "more than %zu events since the last expectation of events",
				  SIM_EVENTS_MAX);
	if (wrong)
		missed_events(e, head, all, wrong);
	run->events.expect_from = run->events.nr;
	return 0;
}

/* ---- the line ---- */

static int expect_item(struct sim_expectation *e, struct sim_word item)
{
	const char *equals = memchr(item.text, '=', item.length);
	struct sim_word name = item, value;

	if (sim_word_is(item, "events:") || sim_word_is(item, "allevents:"))
		return expect_events(e, item, item.text[0] == 'a');
	if (begins(item, "same("))
		return sim_expect_frames(e, item, strlen("same("), true);
	if (begins(item, "differ("))
		return sim_expect_frames(e, item, strlen("differ("), false);
	if (!equals)
		return sim_refuse(e->run, item.text,
				  "'%.*s' is no expectation: NAME=VALUE, P.NAME=VALUE, "
				  "P.RANGE=STATE, same(...), differ(...), events: ...",
				  sim_expect_short(item), item.text);
	name.length = (size_t)(equals - item.text);
	value = (struct sim_word){ equals + 1, item.length - name.length - 1 };
	if (!value.length)
		return sim_refuse(e->run, value.text, "expected a value after =");
	if (memchr(name.text, '.', name.length))
		return expect_process(e, item, name, value);
	return expect_name(e, item, name, value);
}

/* @PROFILE[,PROFILE...] */
static int read_profiles(struct sim_expectation *e, struct sim_word item)
{
	const enum ksmsim_table table = KSMSIM_TABLE_PROFILES;
	const char *at = item.text + 1, *end = item.text + item.length, *comma, *name;
	struct sim_word profile;
	size_t i;

	e->skipped = true;
	for (; at <= end; at = comma + 1) {
		comma = memchr(at, ',', (size_t)(end - at));
		if (!comma)
			comma = end;
		profile = (struct sim_word){ at, (size_t)(comma - at) };
		for (i = 0; (name = sim_table_name(&table, i)) != NULL; i++)
			if (sim_word_is(profile, name))
				break;
		if (!name)
			return sim_expect_refuse(e->run, profile, "profile", sim_table_name,
						 &table);
		if (!strcmp(name, sim_run_profile(e->run)))
			e->skipped = false;
	}
	return 0;
}

int sim_expect(struct sim_run *run, const struct sim_op *op, bool *held)
{
	struct sim_expectation e = { .run = run, .at = op->text, .held = true };
	struct sim_word item;
	int error = 0, nr = 0;

	e.end = op->text + strlen(op->text);
	item = next_item(&e);
	if (item.length && item.text[0] == '@') {
		error = read_profiles(&e, item);
		if (error || e.skipped) {
			*held = true;
			return error;
		}
		item = next_item(&e);
	}
	for (; !error && item.length; item = next_item(&e), nr++)
		error = expect_item(&e, item);
	if (!error && !nr)
		error = sim_refuse(run, op->text, "expected something to expect");
	if (!error && (run->failure.failed || run->event_text.failed))
		error = sim_fail(run, KSMSIM_ENOMEM);
	if (error)
		return error;
	*held = e.held;
	run->nr_expected++;
	return 0;
}
