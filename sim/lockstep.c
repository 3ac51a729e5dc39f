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

static int compare(struct sim_lockstep *l, const json_t *a, const json_t *b)
{
	json_t *differences = json_array(), *past;
	int error = sim_compare_lines(&l->compare, a, b, differences);

	if (error || !json_array_size(differences)) {
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
		snprintf(l->error, sizeof(l->error), "on the other side (%s): %s", l->kernels[1],
			 sim_run_error(l->runs[1]));
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
		return meet(l, line, sim_run_end(l->runs[1]));
	error = remember(l, line);
	if (!error)
		error = meet(l, line, sim_run_text(l->runs[1], run->name, run->line, op));
	return error;
}

static int make_runs(struct sim_lockstep *l)
{
	char text[1024];
	int side, error;

	for (side = 0; side < 2; side++) {
		struct sim_options *options = &l->options.side[side];

		options->drain = options->pages = true;
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
	}
	l->runs[0]->blind = l->runs[1]->blind = l->blind;
	return 0;
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
	if (!sim_compare_init(&l->compare) || !l->past || !l->accepted)
		return KSMSIM_ENOMEM;
	return make_runs(l);
}

/* The runs are no longer needed: a live backend is put away as early as can be. */
static int finish(struct sim_lockstep *l, int error)
{
	int side;

	if (!error)
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
		error = is_lua(name) ? sim_run_lua(l->runs[0], in, name)
				     : sim_run_lines(l->runs[0], in, name);
	return finish(l, error);
}

int sim_lockstep_list(struct sim_lockstep *l, const struct sim_lockstep_options *options,
		      const json_t *operations, const char *name)
{
	int error = start(l, options, name);

	if (!error)
		error = run_list(l, operations);
	return finish(l, error);
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
	json_decref(l->accepted);
}
