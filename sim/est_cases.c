/*
 * est_cases.c - the sets of knobs that are compared, and the figures of each.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "estimate.h"

#define ITEM_BYTES 64 /* of the kernel, on 64 bits: an rmap item, and a stable node */
#define MANY_SHARING 65536u

/* ---- which ---- */

static struct est_case *add(struct est_cases *cases, const char *name)
{
	struct est_case *c = &cases->list[cases->nr++];

	*c = (struct est_case){ .nr_knobs = 0 };
	snprintf(c->name, sizeof(c->name), "%s", name);
	return c;
}

static void add_knob(struct est_cases *cases, const char *name, uint64_t value)
{
	char *text = cases->texts[cases->nr];
	char line[EST_NAME_BYTES];
	struct est_case *c;

	snprintf(line, sizeof(line), "%s=%" PRIu64, name, value);
	snprintf(text, EST_NAME_BYTES, "%" PRIu64, value);
	c = add(cases, line);
	c->knobs[c->nr_knobs++] = (struct sim_setting){ name, text };
}

static void add_advisor(struct est_cases *cases, const struct est_knobs *knobs)
{
	const char *mode = knobs->advises ? "none" : "scan-time";
	char line[EST_NAME_BYTES];
	struct est_case *c;

	snprintf(line, sizeof(line), "advisor_mode=%s", mode);
	c = add(cases, line);
	c->knobs[c->nr_knobs++] = (struct sim_setting){ "advisor_mode", mode };
}

static void add_sharing(struct est_cases *cases, const struct est_plan *plan,
			const struct est_knobs *knobs)
{
	if (knobs->max_page_sharing >= MANY_SHARING)
		return;
	add_knob(cases, "max_page_sharing", MANY_SHARING);
	if (plan->image->nr_rounds < 2 && plan->image->max_copies <= knobs->max_page_sharing &&
	    plan->image->counts.zero <= knobs->max_page_sharing)
		cases->list[cases->nr - 1].same_as = "no content has so many pages";
}

static void add_captured(struct est_cases *cases, const struct est_plan *plan)
{
	const struct est_counts *counts = &plan->image->counts;

	if (plan->assume != EST_ASSUME_ALL || counts->mergeable == counts->able)
		return;
	if (counts->mergeable)
		add(cases, "only what is mergeable now")->captured_only = true;
}

void est_cases_fill(struct est_cases *cases, const struct est_plan *plan,
		    const struct est_knobs *knobs, bool others)
{
	cases->nr = 0;
	add(cases, "as it is");
	if (!others)
		return;
	add_knob(cases, "use_zero_pages", !knobs->use_zero_pages);
	if (plan->image->nr_rounds < 2 && !plan->image->counts.zero)
		cases->list[cases->nr - 1].same_as = "there are no pages of zeros";
	if (!knobs->advises)
		add_knob(cases, "pages_to_scan", knobs->pages_to_scan * 10);
	if (knobs->smart_scan != EST_NO_KNOB)
		add_knob(cases, "smart_scan", !knobs->smart_scan);
	if (knobs->has_advisor)
		add_advisor(cases, knobs);
	add_sharing(cases, plan, knobs);
	if (plan->image->nr_blocks)
		add(cases, "huge pages stay (policy)")->policy = "split_min=never";
	add_captured(cases, plan);
}

bool est_cases_add(struct est_cases *cases, const char *text)
{
	struct est_case *c;
	char *copy = cases->texts[cases->nr];
	char *word, *equals, *rest = NULL;

	if (cases->nr == EST_CASES_MAX || strlen(text) >= EST_NAME_BYTES)
		return false;
	snprintf(copy, EST_NAME_BYTES, "%s", text);
	c = add(cases, text);
	for (word = strtok_r(copy, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
		equals = strchr(word, '=');
		if (!equals || c->nr_knobs == sizeof(c->knobs) / sizeof(*c->knobs))
			return false;
		*equals = 0;
		c->knobs[c->nr_knobs++] = (struct sim_setting){ word, equals + 1 };
	}
	return c->nr_knobs > 0;
}

/* ---- all of them ---- */

struct work {
	struct est_cases *cases;
	const struct est_plan *plan;
	est_look look;
	void *self;
	void (*done)(void *self, size_t done);
	void *done_self;
	pthread_mutex_t lock;
	size_t next, finished;
	int error;
};

static size_t take(struct work *w)
{
	size_t mine;

	pthread_mutex_lock(&w->lock);
	while (w->next < w->cases->nr && w->cases->list[w->next].same_as)
		w->next++;
	mine = w->error ? w->cases->nr : w->next++;
	pthread_mutex_unlock(&w->lock);
	return mine;
}

static void give(struct work *w, int error)
{
	pthread_mutex_lock(&w->lock);
	if (error && !w->error)
		w->error = error;
	w->finished++;
	if (w->done)
		w->done(w->done_self, w->finished);
	pthread_mutex_unlock(&w->lock);
}

static void *worker(void *self)
{
	struct work *w = self;
	size_t i;

	while ((i = take(w)) < w->cases->nr)
		give(w, est_play(w->plan, &w->cases->list[i], i ? NULL : w->look, w->self,
				 &w->cases->results[i]));
	return NULL;
}

int est_cases_play(struct est_cases *cases, const struct est_plan *plan, unsigned threads,
		   est_look looks, void *self, void (*done)(void *self, size_t done),
		   void *done_self)
{
	struct work w = { .cases = cases,
			  .plan = plan,
			  .look = looks,
			  .self = self,
			  .done = done,
			  .done_self = done_self,
			  .lock = PTHREAD_MUTEX_INITIALIZER };
	pthread_t others[EST_CASES_MAX];
	unsigned i, nr = 0;

	for (i = 1; i < threads && i < cases->nr; i++)
		if (!pthread_create(&others[nr], NULL, worker, &w))
			nr++;
	worker(&w);
	for (i = 0; i < nr; i++)
		pthread_join(others[i], NULL);
	for (i = 1; !w.error && i < cases->nr; i++)
		if (cases->list[i].same_as)
			cases->results[i] = cases->results[0];
	return w.error;
}

/* ---- figures ---- */

static int64_t change(const struct est_result *result, unsigned at, enum ksmsim_counter counter)
{
	return result->at[at].count[counter] - result->at[EST_AT_START].count[counter];
}

int64_t est_saved(const struct est_result *result, unsigned at)
{
	return -change(result, at, KSMSIM_COUNT_nr_anon_frames) * EST_PAGE;
}

int64_t est_zero_bytes(const struct est_result *result, unsigned at)
{
	return result->at[at].count[KSMSIM_COUNT_ksm_zero_pages] * EST_PAGE;
}

int64_t est_sharing_bytes(const struct est_result *result, unsigned at)
{
	return result->at[at].count[KSMSIM_COUNT_pages_sharing] * EST_PAGE;
}

int64_t est_metadata(const struct est_result *result)
{
	const int64_t *count = result->at[EST_AT_END].count;

	return (count[KSMSIM_COUNT_rmap_items] + count[KSMSIM_COUNT_pages_shared] +
		count[KSMSIM_COUNT_stable_node_chains]) *
	       ITEM_BYTES;
}

int64_t est_delta(const struct est_result *result, enum ksmsim_counter counter)
{
	return change(result, EST_AT_END, counter);
}

uint64_t est_busy(const struct est_result *result)
{
	return result->settled_ns ? result->settled_cpu_ns * 1000 / result->settled_ns : 0;
}

uint64_t est_busy_after(const struct est_result *result)
{
	const uint64_t ns = result->at[EST_AT_END].ns - result->settled_ns;
	const uint64_t cpu = (uint64_t)change(result, EST_AT_END, KSMSIM_COUNT_ksmd_cpu_ns) -
			     result->settled_cpu_ns;

	return ns ? cpu / 1000 * 1000000 / ns : 0;
}

uint64_t est_breaks(const struct est_result *result)
{
	const uint64_t ns = result->at[EST_AT_END].ns;

	return ns ? (uint64_t)change(result, EST_AT_END, KSMSIM_COUNT_cow_ksm) * 1000 /
			       (ns / 100000000 + 1)
		  : 0;
}
