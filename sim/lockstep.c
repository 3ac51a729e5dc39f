/*
 * lockstep.c - one scenario on two backends, operation by operation.
 *
 *	file, Lua, list --> first run --observation--> compare
 *	                        | text of the operation   ^
 *	                        +--> second run ----------+
 *
 * The first run reads the scenario; each operation, when it is done there, is
 * given to the second run as the line that it is. So a Lua script runs once,
 * and looks at the first backend. Addresses are the world's (world.h), and each
 * run has one of its own: as long as nothing differs they are the same.
 *
 * What one of the two cannot see, neither shows. After every operation the LRU
 * batches are drained on both sides: what is in them depends on what else a real
 * CPU did.
 */
#include <string.h>

#include "lockstep.h"
#include "run.h"

/* ---- differences ---- */

static int remember(struct sim_lockstep *l, const json_t *line)
{
	const char *op = json_string_value(json_object_get(line, "op"));
	const json_int_t at = json_integer_value(json_object_get(line, "line"));

	if (!op)
		return 0;
	if (json_array_append_new(l->past, json_sprintf("%lld: %s", (long long)at, op)))
		return KSMSIM_ENOMEM;
	if (json_array_size(l->past) > SIM_LOCKSTEP_PAST)
		json_array_remove(l->past, 0);
	if (l->accepted && json_array_append(l->accepted, json_object_get(line, "op")))
		return KSMSIM_ENOMEM;
	return 0;
}

/* The counter of the first run that the mask is about; -1: it is about something else. */
static int64_t doubts_of(struct sim_lockstep *l, const struct sim_mask_row *mask)
{
	const struct sim_rows rows = sim_table_rows(KSMSIM_TABLE_COUNTERS);
	const size_t prefix = strlen("counter:");
	int64_t value = -1;
	size_t row;

	if (strncmp(mask->what, "counter:", prefix) != 0)
		return -1;
	row = sim_rows_find(&rows,
			    (struct sim_word){ mask->what + prefix, strlen(mask->what + prefix) });
	l->runs[0]->backend->ops->counter(l->runs[0]->backend, (enum ksmsim_counter)row, &value);
	return value;
}

/* Has this operation met what no model can know? Then all that comes after it is in doubt. */
static bool in_doubt(struct sim_lockstep *l, bool differs)
{
	const struct sim_mask_row *masks = l->compare.masks;
	bool doubt = false;
	int64_t now;
	size_t i;

	for (i = 0; masks[i].name; i++) {
		now = doubts_of(l, &masks[i]);
		if (differs && now > l->doubts[i]) {
			l->compare.masked[i]++;
			doubt = true;
		}
		l->doubts[i] = now;
	}
	return doubt;
}

static int compare(struct sim_lockstep *l, const json_t *a, const json_t *b)
{
	json_t *differences = json_array(), *past;
	int error = sim_compare_lines(&l->compare, a, b, differences);
	const bool differs = json_array_size(differences) != 0;

	if (!error && in_doubt(l, differs))
		error = SIM_EDIFFER; /* the end, and no report */
	if (error || !differs) {
		json_decref(differences);
		return error;
	}
	past = json_copy(l->past);
	if (!past || !sim_grow(&l->mem, &l->reports, &l->reports_capacity, l->nr_reports,
			       sizeof(*l->reports))) {
		json_decref(differences);
		json_decref(past);
		return KSMSIM_ENOMEM;
	}
	l->reports[l->nr_reports++] = (struct sim_lockstep_report){
		.line = (unsigned long)json_integer_value(json_object_get(a, "line")),
		.past = past,
		.differences = differences,
	};
	return l->options.keep_going ? 0 : SIM_EDIFFER;
}

/* ---- the two runs ---- */

static bool is_header(const json_t *line)
{
	return json_object_get(line, "schema") != NULL;
}

static void keep(json_t **kept, const json_t *line)
{
	json_decref(*kept);
	*kept = json_incref((json_t *)line);
}

static int second_observes(void *self, struct sim_run *run, const json_t *line)
{
	struct sim_lockstep *l = self;

	(void)run;
	keep(is_header(line) ? &l->headers[1] : &l->line, line);
	return 0;
}

static int compare_headers(struct sim_lockstep *l)
{
	int error = 0;

	if (l->headers[0] && l->headers[1])
		error = compare(l, l->headers[0], l->headers[1]);
	json_decref(l->headers[0]);
	json_decref(l->headers[1]);
	l->headers[0] = l->headers[1] = NULL;
	return error;
}

/* The second run has done what the first has done, with @status; compare what they show. */
static int meet(struct sim_lockstep *l, const json_t *line, int status)
{
	int error;

	if (status) {
		snprintf(l->error, sizeof(l->error), "%s", sim_run_error(l->runs[1]));
		return status;
	}
	error = compare_headers(l);
	if (!error && l->line)
		error = compare(l, line, l->line);
	json_decref(l->line);
	l->line = NULL;
	return error;
}

static int first_observes(void *self, struct sim_run *run, const json_t *line)
{
	struct sim_lockstep *l = self;
	const char *op = json_string_value(json_object_get(line, "op"));
	int error;

	if (is_header(line)) {
		keep(&l->headers[0], line);
		return 0;
	}
	if (!op)
		return meet(l, line, l->runs[1] ? sim_run_end(l->runs[1]) : 0);
	error = remember(l, line);
	if (!error && !l->runs[1])
		error = meet(l, line, 0);
	else if (!error)
		error = meet(l, line, sim_run_text(l->runs[1], run->name, run->line, op));
	return error;
}

static int make_run(struct sim_lockstep *l, int side)
{
	struct sim_options *options = &l->options.side[side];
	char text[1024];
	int error;

	options->drain = !l->options.undrained;
	options->pages = true;
	options->observe = side ? second_observes : first_observes;
	options->observe_self = l;
	options->blind = &l->blind;
	error = sim_run_new(options, text, sizeof(text), &l->runs[side]);
	if (error) {
		snprintf(l->error, sizeof(l->error), "%s", text);
		return error;
	}
	snprintf(l->kernels[side], sizeof(l->kernels[side]), "%s", l->runs[side]->kernel);
	l->blind.counters |= l->runs[side]->blind.counters;
	l->blind.figures |= l->runs[side]->blind.figures;
	l->blind.pages |= l->runs[side]->blind.pages;
	l->blind.mthp |= l->runs[side]->blind.mthp;
	return 0;
}

static int make_runs(struct sim_lockstep *l)
{
	int error = make_run(l, 0);

	if (!error)
		error = make_run(l, 1);
	if (!error)
		l->runs[0]->blind = l->runs[1]->blind = l->blind;
	return error;
}

/* ---- the scenario ---- */

static bool is_lua(const char *name)
{
	const size_t length = strlen(name);

	return length > 4 && !strcmp(name + length - 4, ".lua");
}

/* An operation that cannot be read has changed nothing. */
static bool forgive(struct sim_lockstep *l, int error)
{
	struct sim_run *run = l->runs[0];

	if (!l->options.lenient || error != SIM_EINPUT || l->error[0])
		return false;
	run->status = 0;
	run->error[0] = '\0';
	return true;
}

static int run_list(struct sim_lockstep *l, const json_t *operations)
{
	const json_t *operation;
	size_t i;
	int error = 0;

	json_array_foreach((json_t *)operations, i, operation)
	{
		error = sim_run_text(l->runs[0], l->name, i + 1, json_string_value(operation));
		if (error && !forgive(l, error))
			break;
		error = 0;
	}
	return error;
}

static int start(struct sim_lockstep *l, const struct sim_lockstep_options *options,
		 const char *name)
{
	memset(l, 0, sizeof(*l));
	sim_mem_init(&l->mem, options->side[0].allocator);
	l->options = *options;
	l->name = name;
	l->past = json_array();
	l->accepted = json_array();
	return sim_compare_init(&l->compare) && l->past && l->accepted ? 0 : KSMSIM_ENOMEM;
}

/* The runs are no longer needed: a live backend is put away as early as can be. */
static int finish(struct sim_lockstep *l, int error)
{
	int side;

	if (!error && l->runs[0])
		error = sim_run_end(l->runs[0]);
	if (l->runs[0]) {
		l->operations = sim_run_operations(l->runs[0]);
		l->expectations = sim_run_expected(l->runs[0]);
	}
	if (error && error != SIM_EDIFFER && !l->error[0])
		snprintf(l->error, sizeof(l->error), "%s",
			 l->runs[0] && sim_run_error(l->runs[0])[0] ? sim_run_error(l->runs[0])
								    : ksmsim_strerror(error));
	for (side = 0; side < 2; side++) {
		sim_run_free(l->runs[side]);
		l->runs[side] = NULL;
	}
	l->status = error == SIM_EDIFFER ? 0 : error;
	return l->status;
}

int sim_lockstep_file(struct sim_lockstep *l, const struct sim_lockstep_options *options, FILE *in,
		      const char *name)
{
	int error = start(l, options, name);

	if (!error)
		error = make_runs(l);
	if (!error)
		error = is_lua(name) ? sim_run_lua(l->runs[0], in, name)
				     : sim_run_lines(l->runs[0], in, name);
	return finish(l, error);
}

int sim_lockstep_list(struct sim_lockstep *l, const struct sim_lockstep_options *options,
		      const json_t *operations, const char *name)
{
	int error = start(l, options, name);

	if (!error)
		error = make_runs(l);
	if (!error)
		error = run_list(l, operations);
	return finish(l, error);
}

/* ---- a recording ---- */

static int bad_recording(struct sim_lockstep *l, unsigned long at, const char *why)
{
	snprintf(l->error, sizeof(l->error), "%s:%lu: %s", l->name, at, why);
	return SIM_EINPUT;
}

/* The names in this list as bits of their rows. */
static uint64_t bits_of(const json_t *list, const struct sim_rows *rows)
{
	const json_t *name;
	uint64_t bits = 0;
	size_t i;

	json_array_foreach((json_t *)list, i, name)
	{
		const char *text = json_string_value(name);
		const size_t row =
			text ? sim_rows_find(rows, (struct sim_word){ text, strlen(text) })
			     : rows->nr;

		if (row < rows->nr)
			bits |= UINT64_C(1) << row;
	}
	return bits;
}

static void take_blind(struct sim_lockstep *l, const json_t *blind)
{
	static const struct ksmsim_row sight_rows[] = {
#define SIGHT(name, doc) { #name, "", "", doc },
#include "sights.def"
	};
	const struct sim_rows counters = sim_table_rows(KSMSIM_TABLE_COUNTERS);
	const struct sim_rows mthp = sim_table_rows(KSMSIM_TABLE_MTHP);
	const struct sim_rows sights = { sight_rows, SIM_SIGHT_NR };
	struct sim_rows figures;

	figures.row = sim_figures(&figures.nr);
	l->blind.counters |= bits_of(json_object_get(blind, "counters"), &counters);
	l->blind.figures |= bits_of(json_object_get(blind, "figures"), &figures);
	l->blind.pages |= bits_of(json_object_get(blind, "pages"), &sights);
	l->blind.mthp |= bits_of(json_object_get(blind, "mthp"), &mthp);
}

/* What a recording does not have, since it is older, is not compared. */
static void take_unknown(struct sim_lockstep *l, const json_t *header)
{
	const json_t *counters = json_object_get(header, "counters");
	const struct sim_rows rows = sim_table_rows(KSMSIM_TABLE_COUNTERS);
	size_t i;

	if (!json_object_get(header, "large_folios")) {
		l->blind.mthp = UINT64_MAX;
		l->blind.figures |= UINT64_C(1) << SIM_FIGURE_anon_huge;
		l->blind.pages |= UINT64_C(1) << SIM_SIGHT_order | UINT64_C(1) << SIM_SIGHT_huge |
				  UINT64_C(1) << SIM_SIGHT_flags;
	}

	for (i = 0; counters && i < rows.nr; i++)
		if (!json_object_get(counters, rows.row[i].name))
			l->blind.counters |= UINT64_C(1) << i;
}

/* The same for figures of processes: the end of a recording has all that it knows. */
static void take_unknown_figures(struct sim_lockstep *l, const json_t *processes)
{
	const json_t *figures = json_object_iter_value(json_object_iter((json_t *)processes));
	size_t nr, i;
	const struct ksmsim_row *rows = sim_figures(&nr);

	for (i = 0; figures && i < nr; i++)
		if (!json_object_get(figures, rows[i].name))
			l->runs[0]->blind.figures |= UINT64_C(1) << i;
}

/* {"smart_scan":"0"} as settings, which live as long as the run. */
static int take_settings(struct sim_lockstep *l, const json_t *object,
			 const struct sim_setting **list, size_t *nr)
{
	struct sim_setting *settings =
		sim_alloc(&l->mem, (json_object_size(object) + 1) * sizeof(*settings));
	const char *key;
	json_t *value;

	if (!settings)
		return KSMSIM_ENOMEM;
	*nr = 0;
	json_object_foreach((json_t *)object, key, value)
	{
		if (json_is_string(value))
			settings[(*nr)++] = (struct sim_setting){ key, json_string_value(value) };
	}
	*list = settings;
	return 0;
}

static int take_header(struct sim_lockstep *l, const json_t *header)
{
	struct sim_options *options = &l->options.side[0];
	const char *kernel = json_string_value(json_object_get(header, "kernel"));
	int error;

	if (json_integer_value(json_object_get(header, "schema")) != SIM_SCHEMA)
		return bad_recording(l, 1, "no recording, or one of another version");
	l->settings = json_incref((json_t *)header);
	options->profile = json_string_value(json_object_get(header, "profile"));
	options->geometry = json_string_value(json_object_get(header, "geometry"));
	options->seed = (uint64_t)json_integer_value(json_object_get(header, "seed"));
	l->options.undrained = !json_is_true(json_object_get(header, "drain"));
	error = take_settings(l, json_object_get(header, "features"), &options->features,
			      &options->nr_features);
	if (!error)
		error = take_settings(l, json_object_get(header, "knobs"), &options->knobs,
				      &options->nr_knobs);
	if (error)
		return error;
	take_blind(l, json_object_get(header, "blind"));
	take_unknown(l, header);
	snprintf(l->kernels[1], sizeof(l->kernels[1]), "%s", kernel ? kernel : "?");
	error = make_run(l, 0);
	if (!error)
		l->runs[0]->blind = l->blind;
	keep(&l->headers[1], header);
	return error;
}

/* One line of a recording. @ended: its last one */
static int take_line(struct sim_lockstep *l, unsigned long at, const json_t *line, bool *ended)
{
	const char *op = json_string_value(json_object_get(line, "op"));

	if (!l->runs[0])
		return take_header(l, line);
	keep(&l->line, line);
	if (op)
		return sim_run_text(
			l->runs[0], l->name,
			(unsigned long)json_integer_value(json_object_get(line, "line")), op);
	if (!json_is_true(json_object_get(line, "end")))
		return bad_recording(l, at, "neither an operation nor the end");
	take_unknown_figures(l, json_object_get(line, "processes"));
	*ended = true;
	return 0;
}

int sim_lockstep_recording(struct sim_lockstep *l, const struct sim_lockstep_options *options,
			   FILE *in, const char *name)
{
	unsigned long at = 0;
	json_error_t wrong;
	bool ended = false;
	json_t *line;
	int error = start(l, options, name);

	while (!error && !ended) {
		at++;
		line = json_loadf(in, JSON_DISABLE_EOF_CHECK, &wrong);
		if (!line) {
			error = bad_recording(l, at, "the recording is not whole");
			break;
		}
		error = take_line(l, at, line, &ended);
		json_decref(line);
	}
	error = finish(l, error);
	sim_free(&l->mem, (void *)(uintptr_t)l->options.side[0].features);
	sim_free(&l->mem, (void *)(uintptr_t)l->options.side[0].knobs);
	l->options.side[0].features = l->options.side[0].knobs = NULL;
	return error;
}

bool sim_lockstep_agrees(const struct sim_lockstep *l)
{
	const json_t *difference, *a, *b;
	size_t i, j;

	for (i = 0; i < l->nr_reports; i++)
		json_array_foreach(l->reports[i].differences, j, difference)
		{
			a = json_object_get(difference, "a");
			b = json_object_get(difference, "b");
			if (strcmp(json_string_value(json_object_get(difference, "field")),
				   "expectation") != 0 ||
			    !json_equal(a, b))
				return false;
		}
	return true;
}

/* Is the result of the last operation ("12: shrink") one that is counted for the whole machine? */
static bool counts_for_all(const json_t *past)
{
	const json_t *last = json_array_get(past, json_array_size(past) - 1);
	const char *op = last ? strchr(json_string_value(last), ' ') : NULL;

	return op && (!strncmp(op, " shrink", 7) || !strncmp(op, " split", 6) ||
		      !strncmp(op, " khugepaged", 11));
}

bool sim_lockstep_doubts(const struct sim_lockstep *l)
{
	const json_t *difference;
	const char *field;
	size_t i, j;

	for (i = 0; i < l->nr_reports; i++)
		json_array_foreach(l->reports[i].differences, j, difference)
		{
			field = json_string_value(json_object_get(difference, "field"));
			if (strncmp(field, "counters.thp_", 13) != 0 &&
			    strncmp(field, "counters.hugepages-", 19) != 0 &&
			    (strcmp(field, "result") != 0 || !counts_for_all(l->reports[i].past)))
				return false;
		}
	return l->nr_reports != 0;
}

void sim_lockstep_free(struct sim_lockstep *l)
{
	size_t i;

	for (i = 0; i < l->nr_reports; i++) {
		json_decref(l->reports[i].past);
		json_decref(l->reports[i].differences);
	}
	sim_free(&l->mem, l->reports);
	sim_compare_free(&l->compare);
	json_decref(l->headers[0]);
	json_decref(l->headers[1]);
	json_decref(l->line);
	json_decref(l->past);
	json_decref(l->settings);
	json_decref(l->accepted);
}
