/*
 * compare.c - do two backends show the same?
 *
 * Only what one of the two observations mentions can have begun to differ, so
 * only that is looked at, with the value that each side has by now. A value that
 * stays wrong is told once; when it is wrong in another way it is told again.
 *
 * Of the page states only the first page that differs is told: frames are
 * numbered in the order in which they are met, so one page that is not the same
 * frame shifts the numbers of all behind it.
 */
#include <inttypes.h>
#include <string.h>

#include "compare.h"
#include "run.h"

static const struct sim_mask_row mask_rows[] = {
#define MASK(name, what, reason) { #name, what, reason },
#include "masks.def"
	{ NULL, NULL, NULL },
};
_Static_assert(sizeof(mask_rows) / sizeof(*mask_rows) <= SIM_MASKS_MAX + 1, "room for all masks");

const struct sim_mask_row *sim_masks(void)
{
	return mask_rows;
}

bool sim_compare_init(struct sim_compare *compare)
{
	memset(compare, 0, sizeof(*compare));
	compare->masks = mask_rows;
	compare->views[0] = json_pack("{s{}s{}s{}}", "counters", "processes", "pages");
	compare->views[1] = json_pack("{s{}s{}s{}}", "counters", "processes", "pages");
	compare->told = json_object();
	return compare->views[0] && compare->views[1] && compare->told;
}

void sim_compare_free(struct sim_compare *compare)
{
	json_decref(compare->views[0]);
	json_decref(compare->views[1]);
	json_decref(compare->told);
}

/* ---- masks ---- */

static bool fits(const char *pattern, size_t length, const char *text, size_t size)
{
	if (length && pattern[length - 1] == '*')
		return size >= length - 1 && !memcmp(pattern, text, length - 1);
	return size == length && !memcmp(pattern, text, size);
}

static bool is_masked(struct sim_compare *compare, const char *op, const char *field)
{
	const size_t name = strcspn(op, " ");
	const char *what, *colon;
	size_t i;

	for (i = 0; compare->masks[i].name; i++) {
		what = compare->masks[i].what;
		colon = strchr(what, ':');
		if (!fits(what, (size_t)(colon - what), op, name) ||
		    !fits(colon + 1, strlen(colon + 1), field, strlen(field)))
			continue;
		compare->masked[i]++;
		return true;
	}
	return false;
}

/* ---- one value ---- */

struct pair {
	struct sim_compare *compare;
	const json_t *a, *b; /* the observations */
	const char *op;
	json_t *differences;
};

/* A value as text, in @buf unless it is a string. */
static const char *text_of(const json_t *value, char *buf, size_t size)
{
	if (json_is_string(value))
		return json_string_value(value);
	if (json_is_integer(value))
		snprintf(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_boolean(value))
		snprintf(buf, size, "%s", json_is_true(value) ? "true" : "false");
	else
		snprintf(buf, size, "none");
	return buf;
}

/* @key: under which it is remembered; @field: how it is told */
static int tell(struct pair *pair, const char *key, const char *field, const char *a, const char *b)
{
	json_t *told = pair->compare->told, *before = json_object_get(told, key), *now;
	bool known;

	if (is_masked(pair->compare, pair->op, field))
		return 0;
	now = json_pack("[ss]", a, b);
	known = before && now && json_equal(before, now);
	if (!now || json_object_set_new(told, key, now))
		return KSMSIM_ENOMEM;
	if (known)
		return 0;
	return json_array_append_new(pair->differences,
				     json_pack("{ssssss}", "field", field, "a", a, "b", b))
		       ? KSMSIM_ENOMEM
		       : 0;
}

/* Is the value, which may have changed, the same on both sides? */
static int compare_value(struct pair *pair, const char *field, const json_t *a, const json_t *b)
{
	char text_a[32], text_b[32];

	pair->compare->values++;
	if (a == b || (a && b && json_equal(a, b))) {
		json_object_del(pair->compare->told, field);
		return 0;
	}
	return tell(pair, field, field, text_of(a, text_a, sizeof(text_a)),
		    text_of(b, text_b, sizeof(text_b)));
}

/* ---- objects ---- */

typedef int (*compare_fn)(struct pair *pair, const char *field, const json_t *a, const json_t *b);

/* Every key of @changed, and with @but those only that it does not have. */
static int compare_keys(struct pair *pair, const char *prefix, const json_t *changed,
			const json_t *but, json_t *view_a, json_t *view_b, compare_fn each)
{
	char field[256];
	const char *key;
	json_t *value;
	int error = 0;

	json_object_foreach((json_t *)changed, key, value)
	{
		if (error)
			break;
		if (but && json_object_get(but, key))
			continue;
		snprintf(field, sizeof(field), "%s.%s", prefix, key);
		error = each(pair, field, json_object_get(view_a, key),
			     json_object_get(view_b, key));
	}
	return error;
}

static int compare_objects(struct pair *pair, const char *prefix, const json_t *a, const json_t *b,
			   json_t *view_a, json_t *view_b, compare_fn each)
{
	const int error = compare_keys(pair, prefix, a, NULL, view_a, view_b, each);

	return error ? error : compare_keys(pair, prefix, b, a, view_a, view_b, each);
}

/* Into the view: new values replace old ones, null takes the key out. */
static int merge(json_t *view, const json_t *changed)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)changed, key, value)
	{
		if (json_is_null(value))
			json_object_del(view, key);
		else if (json_object_set(view, key, value))
			return KSMSIM_ENOMEM;
	}
	return 0;
}

static int merge_processes(json_t *view, const json_t *changed)
{
	const char *key;
	json_t *value, *process;
	int error = 0;

	json_object_foreach((json_t *)changed, key, value)
	{
		process = json_object_get(view, key);
		if (!process) {
			process = json_object();
			if (json_object_set_new(view, key, process))
				return KSMSIM_ENOMEM;
		}
		error = error ? error : merge(process, value);
	}
	return error;
}

static int merge_all(json_t *view, const json_t *line)
{
	int error = merge(json_object_get(view, "counters"), json_object_get(line, "counters"));

	if (!error)
		error = merge_processes(json_object_get(view, "processes"),
					json_object_get(line, "processes"));
	if (!error)
		error = merge(json_object_get(view, "pages"), json_object_get(line, "pages"));
	return error;
}

static int compare_process(struct pair *pair, const char *field, const json_t *a, const json_t *b)
{
	return compare_objects(pair, field, a, b, (json_t *)a, (json_t *)b, compare_value);
}

/* ---- pages ---- */

static int compare_region(struct pair *pair, const char *field, const json_t *a, const json_t *b)
{
	const char *text_a = json_is_string(a) ? json_string_value(a) : "";
	const char *text_b = json_is_string(b) ? json_string_value(b) : "";
	char at[300], page_a[96], page_b[96];
	uint64_t page;

	pair->compare->values++;
	if (!strcmp(text_a, text_b))
		return 0;
	if (json_object_get(pair->compare->told, "pages"))
		return 0;
	page = sim_pages_differ(text_a, text_b);
	if (page == UINT64_MAX)
		return 0;
	snprintf(at, sizeof(at), "%s+%" PRIu64, field, page);
	sim_pages_at(text_a, page, page_a, sizeof(page_a));
	sim_pages_at(text_b, page, page_b, sizeof(page_b));
	return tell(pair, "pages", at, page_a, page_b);
}

/* Told once until all pages are the same again. */
static int compare_pages(struct pair *pair, const json_t *a, const json_t *b)
{
	json_t *view_a = json_object_get(pair->compare->views[0], "pages");
	json_t *view_b = json_object_get(pair->compare->views[1], "pages");

	if (json_object_get(pair->compare->told, "pages") && json_equal(view_a, view_b))
		json_object_del(pair->compare->told, "pages");
	return compare_objects(pair, "pages", a, b, view_a, view_b, compare_region);
}

/* ---- events ---- */

/* The first event that is not the same; what comes after it follows from it. */
static int compare_events(struct pair *pair)
{
	const json_t *a = json_object_get(pair->a, "events");
	const json_t *b = json_object_get(pair->b, "events");
	const size_t nr_a = json_array_size(a), nr_b = json_array_size(b);
	const json_t *event_a, *event_b;
	char field[64];
	size_t i;

	pair->compare->values += nr_a;
	for (i = 0; i < nr_a || i < nr_b; i++) {
		event_a = json_array_get(a, i);
		event_b = json_array_get(b, i);
		if (event_a && event_b && json_equal(event_a, event_b))
			continue;
		snprintf(field, sizeof(field), "events[%zu]", i);
		json_object_del(pair->compare->told, "events");
		return tell(pair, "events", field, event_a ? json_string_value(event_a) : "none",
			    event_b ? json_string_value(event_b) : "none");
	}
	return 0;
}

/* ---- observations ---- */

static int compare_answer(struct pair *pair)
{
	const json_t *held_a = json_object_get(pair->a, "held");
	const json_t *held_b = json_object_get(pair->b, "held");
	const json_t *a = json_object_get(pair->a, "result");
	const json_t *b = json_object_get(pair->b, "result");

	json_object_del(pair->compare->told, "result");
	json_object_del(pair->compare->told, "expectation");
	if (!held_a && !held_b)
		return compare_value(pair, "result", a, b);
	pair->compare->values++;
	if (json_is_true(held_a) && json_is_true(held_b))
		return 0;
	a = json_object_get(pair->a, "seen");
	b = json_object_get(pair->b, "seen");
	return tell(pair, "expectation", "expectation", a ? json_string_value(a) : "holds",
		    b ? json_string_value(b) : "holds");
}

int sim_compare_lines(struct sim_compare *compare, const json_t *a, const json_t *b,
		      json_t *differences)
{
	const char *op = json_string_value(json_object_get(a, "op"));
	struct pair pair = { compare, a, b, op ? op : "", differences };
	json_t *const *views = compare->views;
	int error = merge_all(views[0], a);

	if (!error)
		error = merge_all(views[1], b);
	if (!error)
		error = compare_answer(&pair);
	if (!error)
		error = compare_events(&pair);
	if (!error)
		error = compare_objects(&pair, "counters", json_object_get(a, "counters"),
					json_object_get(b, "counters"),
					json_object_get(views[0], "counters"),
					json_object_get(views[1], "counters"), compare_value);
	if (!error)
		error = compare_objects(&pair, "processes", json_object_get(a, "processes"),
					json_object_get(b, "processes"),
					json_object_get(views[0], "processes"),
					json_object_get(views[1], "processes"), compare_process);
	if (!error)
		error = compare_pages(&pair, json_object_get(a, "pages"),
				      json_object_get(b, "pages"));
	return error;
}
