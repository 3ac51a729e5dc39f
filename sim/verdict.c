/*
 * verdict.c - what came out of a lockstep run, for people and as JSON.
 *
 *	walk.ksm:14: scan 2
 *	  field                  model                  6.18.44
 *	  counters.pages_shared  1                      0
 *	  before it:
 *	    12: madvise A heap MERGEABLE
 *	    13: ksm use_zero_pages 1
 *	  again: ksmsim verify walk.ksm
 *
 * A scenario that the other side cannot do at all is skipped, with the operation
 * that it cannot do. Everything goes to the one stream that the caller gives.
 */
#include <inttypes.h>
#include <string.h>

#include "live.h"
#include "run.h"
#include "verdict.h"

enum sim_verdict sim_verdict_of(const struct sim_lockstep *l)
{
	if (l->nr_reports)
		return SIM_DIFFERENT;
	if (l->status == SIM_LIVE_ESKIP)
		return SIM_SKIPPED;
	return l->status ? SIM_REFUSED : SIM_SAME;
}

static const char *const verdict_names[] = {
	[SIM_SAME] = "same",
	[SIM_DIFFERENT] = "different",
	[SIM_SKIPPED] = "skipped",
	[SIM_REFUSED] = "refused",
};

/* ---- for people ---- */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static int width_of(const json_t *differences, const char *key, size_t least)
{
	const json_t *difference;
	size_t i, width = least;

	json_array_foreach((json_t *)differences, i,
			   difference) if (strlen(text_of(difference, key)) > width) width =
		strlen(text_of(difference, key));
	return width > 60 ? 60 : (int)width;
}

static void print_differences(const struct sim_lockstep *l, const json_t *differences, FILE *out)
{
	const int field = width_of(differences, "field", strlen("field"));
	const int a = width_of(differences, "a", strlen(l->kernels[0]));
	const json_t *difference;
	size_t i;

	fprintf(out, "  %-*s  %-*s  %s\n", field, "field", a, l->kernels[0], l->kernels[1]);
	json_array_foreach((json_t *)differences, i, difference)
		fprintf(out, "  %-*s  %-*s  %s\n", field, text_of(difference, "field"), a,
			text_of(difference, "a"), text_of(difference, "b"));
}

static void print_report(const struct sim_lockstep *l, const struct sim_lockstep_report *report,
			 FILE *out)
{
	const size_t nr = json_array_size(report->past);
	const char *last = nr ? json_string_value(json_array_get(report->past, nr - 1)) : NULL;
	size_t i;

	if (report->line && last)
		fprintf(out, "%s:%s\n", l->name, last);
	else
		fprintf(out, "%s: at the %s\n", l->name, nr ? "end" : "beginning");
	print_differences(l, report->differences, out);
	if (nr > 1)
		fprintf(out, "  before it:\n");
	for (i = 0; i + 1 < nr; i++)
		fprintf(out, "    %s\n", json_string_value(json_array_get(report->past, i)));
}

void sim_verdict_print(const struct sim_lockstep *l, FILE *out, const char *again)
{
	size_t i;

	switch (sim_verdict_of(l)) {
	case SIM_SAME:
		fprintf(out,
			"%s: same, %" PRIu64 " operations, %" PRIu64 " expectations, %" PRIu64
			" values compared%s\n",
			l->name, l->operations, l->expectations, l->compare.values,
			l->options.undrained ? "; LRU batches left as they are" : "");
		return;
	case SIM_SKIPPED:
		fprintf(out, "%s: skipped: %s\n", l->name, l->error);
		return;
	case SIM_DIFFERENT:
		for (i = 0; i < l->nr_reports; i++)
			print_report(l, &l->reports[i], out);
		fprintf(out, "  seed %" PRIu64 "; again: %s\n", l->options.side[0].seed, again);
		break;
	case SIM_REFUSED:
		break;
	}
	if (l->status)
		fprintf(out, "%s: %s\n", l->name, l->error);
}

/* ---- JSON ---- */

static bool write_json(json_t *object, FILE *out)
{
	const bool done =
		object && !json_dumpf(object, out, JSON_COMPACT) && fputc('\n', out) != EOF;

	json_decref(object);
	return done;
}

static json_t *masks_json(const uint64_t *masked)
{
	json_t *object = json_object();
	size_t i;

	for (i = 0; sim_masks()[i].name; i++)
		if (masked[i])
			json_object_set_new(object, sim_masks()[i].name,
					    json_integer((json_int_t)masked[i]));
	return object;
}

bool sim_verdict_json(const struct sim_lockstep *l, FILE *out, const char *again)
{
	const enum sim_verdict verdict = sim_verdict_of(l);
	json_t *line = json_object(), *reports = json_array();
	size_t i;

	json_object_set_new(line, "scenario", json_string(l->name));
	json_object_set_new(line, "verdict", json_string(verdict_names[verdict]));
	json_object_set_new(line, "model", json_string(l->kernels[0]));
	json_object_set_new(line, "kernel", json_string(l->kernels[1]));
	json_object_set_new(line, "operations", json_integer((json_int_t)l->operations));
	json_object_set_new(line, "expectations", json_integer((json_int_t)l->expectations));
	json_object_set_new(line, "values", json_integer((json_int_t)l->compare.values));
	json_object_set_new(line, "masks", masks_json(l->compare.masked));
	if (l->options.undrained)
		json_object_set_new(line, "undrained", json_true());
	for (i = 0; i < l->nr_reports; i++)
		json_array_append_new(reports,
				      json_pack("{sIsOsO}", "line", (json_int_t)l->reports[i].line,
						"operations", l->reports[i].past, "differences",
						l->reports[i].differences));
	json_object_set_new(line, "reports", reports);
	if (l->status)
		json_object_set_new(line, "error", json_string(l->error));
	if (verdict == SIM_DIFFERENT) {
		json_object_set_new(line, "seed",
				    json_integer((json_int_t)l->options.side[0].seed));
		json_object_set_new(line, "again", json_string(again));
	}
	return write_json(line, out);
}

/* ---- all runs ---- */

void sim_verdicts_add(struct sim_verdicts *all, const struct sim_lockstep *l)
{
	size_t i;

	all->runs[sim_verdict_of(l)]++;
	all->operations += l->operations;
	all->values += l->compare.values;
	for (i = 0; sim_masks()[i].name; i++)
		all->masked[i] += l->compare.masked[i];
}

void sim_verdicts_print(const struct sim_verdicts *all, FILE *out)
{
	const uint64_t *runs = all->runs;
	size_t i;

	fprintf(out,
		"%" PRIu64 " same, %" PRIu64 " different, %" PRIu64 " skipped, %" PRIu64
		" refused; %" PRIu64 " operations, %" PRIu64 " values compared\n",
		runs[SIM_SAME], runs[SIM_DIFFERENT], runs[SIM_SKIPPED], runs[SIM_REFUSED],
		all->operations, all->values);
	if (all->repeated)
		fprintf(out, "%" PRIu64 " differed, but not always, and were repeated\n",
			all->repeated);
	for (i = 0; sim_masks()[i].name; i++)
		if (all->masked[i])
			fprintf(out, "masked %" PRIu64 " times by %s (%s): %s\n", all->masked[i],
				sim_masks()[i].name, sim_masks()[i].what, sim_masks()[i].reason);
}

bool sim_verdicts_json(const struct sim_verdicts *all, FILE *out)
{
	return write_json(
		json_pack("{sbsIsIsIsIsIsIsIso}", "end", 1, "same", (json_int_t)all->runs[SIM_SAME],
			  "different", (json_int_t)all->runs[SIM_DIFFERENT], "skipped",
			  (json_int_t)all->runs[SIM_SKIPPED], "refused",
			  (json_int_t)all->runs[SIM_REFUSED], "operations",
			  (json_int_t)all->operations, "values", (json_int_t)all->values,
			  "repeated", (json_int_t)all->repeated, "masks", masks_json(all->masked)),
		out);
}
