/*
 * est_json.c - an estimate as one JSON object.
 *
 * Bytes, pages and ns as they are; shares of a core in per mille. Keys that end with _ns
 * are modelled times.
 */
#include <jansson.h>

#include "estimate.h"

static const char *const sample_names[EST_SAMPLES] = { "start", "1min", "10min", "60min", "end" };

static json_t *integer(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *json_sample(const struct est_result *result, unsigned at)
{
	size_t nr, i;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr);
	json_t *counters = json_object(), *object = json_object();

	for (i = 0; i < nr; i++)
		if (i != KSMSIM_COUNT_host_bytes)
			json_object_set_new(counters, rows[i].name,
					    json_integer(result->at[at].count[i]));
	json_object_set_new(object, "ns", integer(result->at[at].ns));
	json_object_set_new(object, "saved_bytes", json_integer(est_saved(result, at)));
	json_object_set_new(object, "zero_bytes", json_integer(est_zero_bytes(result, at)));
	json_object_set_new(object, "counters", counters);
	return object;
}

static json_t *json_knobs(const struct est_case *c)
{
	json_t *object = json_object();
	size_t i;

	for (i = 0; i < c->nr_knobs; i++)
		json_object_set_new(object, c->knobs[i].name, json_string(c->knobs[i].value));
	if (c->policy)
		json_object_set_new(object, "policy", json_string(c->policy));
	return object;
}

static json_t *json_case(const struct est_case *c, const struct est_result *result)
{
	json_t *object = json_object(), *samples = json_object();
	unsigned at;

	for (at = 0; at < EST_SAMPLES; at++)
		json_object_set_new(samples, sample_names[at], json_sample(result, at));
	json_object_set_new(object, "name", json_string(c->name));
	json_object_set_new(object, "knobs", json_knobs(c));
	json_object_set_new(object, "mergeable_pages", integer(result->mergeable));
	json_object_set_new(object, "settled", json_boolean(result->settled));
	json_object_set_new(object, "settled_ns", integer(result->settled_ns));
	json_object_set_new(object, "metadata_bytes", json_integer(est_metadata(result)));
	json_object_set_new(object, "net_bytes",
			    json_integer(est_saved(result, EST_AT_END) - est_metadata(result)));
	json_object_set_new(object, "ksmd_per_mille", integer(est_busy(result)));
	json_object_set_new(object, "ksmd_per_mille_after", integer(est_busy_after(result)));
	json_object_set_new(object, "cow_breaks_per_100s", integer(est_breaks(result)));
	json_object_set_new(object, "samples", samples);
	return object;
}

static json_t *json_counts(const struct est_counts *counts)
{
	json_t *object = json_object();

#define COUNT(name, doc) json_object_set_new(object, #name, integer(counts->name));
	EST_COUNTS(COUNT)
#undef COUNT
	return object;
}

static json_t *json_part(const struct est_part *part)
{
	json_t *object = json_object();

	json_object_set_new(object, "pages", integer(part->pages));
	json_object_set_new(object, "mergeable", integer(part->mergeable));
	json_object_set_new(object, "merged", integer(part->merged));
	json_object_set_new(object, "zeros", integer(part->zeros));
	json_object_set_new(object, "alone", integer(part->alone));
	json_object_set_new(object, "inside", integer(part->inside));
	json_object_set_new(object, "across", integer(part->across));
	json_object_set_new(object, "saved", integer(part->saved / 1024));
	return object;
}

/* Why pages are not merged; see print_limits() of est_report.c. */
static json_t *json_total(const struct est_part *total)
{
	json_t *object = json_part(total);

	json_object_set_new(object, "volatile", integer(total->blocked));
	json_object_set_new(object, "in_huge", integer(total->in_huge));
	json_object_set_new(object, "unmerged_twins", integer(total->twins));
	return object;
}

static json_t *json_processes(const struct est_report *r)
{
	json_t *array = json_array();
	size_t i;

	for (i = 0; i < r->image->nr_processes; i++) {
		json_t *object = json_part(&r->share->processes[i]);

		json_object_set_new(object, "pid", json_integer(r->image->processes[i].pid));
		json_object_set_new(object, "name", json_string(r->image->processes[i].name));
		json_array_append_new(array, object);
	}
	return array;
}

static json_t *json_groups(const struct est_report *r)
{
	json_t *array = json_array();
	size_t i;

	for (i = 0; i < r->image->nr_groups; i++) {
		const struct est_group *group = &r->image->groups[i];
		json_t *object;

		if (!r->share->groups[i].pages)
			continue;
		object = json_part(&r->share->groups[i]);
		json_object_set_new(object, "process", integer(group->process));
		json_object_set_new(object, "mapping", json_string(group->name));
		json_array_append_new(array, object);
	}
	return array;
}

static json_t *json_matrix(const struct est_share *share)
{
	json_t *names = json_array(), *rows = json_array(), *object = json_object();
	size_t a, b;

	for (a = 0; a < share->nr_columns; a++) {
		json_t *row = json_array();

		for (b = 0; b < share->nr_columns; b++)
			json_array_append_new(row,
					      integer(share->matrix[a * share->nr_columns + b]));
		json_array_append_new(names, json_string(share->names[a]));
		json_array_append_new(rows, row);
	}
	json_object_set_new(object, "names", names);
	json_object_set_new(object, "rows", rows);
	return object;
}

int est_report_json(const struct est_report *r, FILE *out)
{
	static const char *const assumes[] = { "all", "captured", "pids" };
	json_t *all = json_object(), *cases = json_array();
	size_t i;
	int failed;

	for (i = 0; i < r->cases->nr; i++)
		json_array_append_new(cases, json_case(&r->cases->list[i], &r->cases->results[i]));
	json_object_set_new(all, "schema", json_integer(1));
	json_object_set_new(all, "profile", json_string(r->profile));
	json_object_set_new(all, "host", json_string(r->image->host));
	json_object_set_new(all, "kernel", json_string(r->image->kernel));
	json_object_set_new(all, "assume", json_string(assumes[r->plan->assume]));
	json_object_set_new(all, "rounds", integer(r->image->nr_rounds));
	json_object_set_new(all, "counts", json_counts(&r->image->counts));
	json_object_set_new(all, "huge_pages", integer(r->image->nr_blocks));
	json_object_set_new(all, "cases", cases);
	json_object_set_new(all, "total", json_total(&r->share->total));
	json_object_set_new(all, "processes", json_processes(r));
	json_object_set_new(all, "mappings", json_groups(r));
	json_object_set_new(all, "matrix", json_matrix(r->share));
	failed = json_dumpf(all, out, JSON_COMPACT);
	json_decref(all);
	return failed || fputc('\n', out) == EOF ? SIM_EOUTPUT : 0;
}
