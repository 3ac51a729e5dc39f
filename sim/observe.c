/*
 * observe.c - observations as JSON lines.
 *
 *	{"schema":1,"backend":"model",...}		header
 *	{"n":1,"line":3,"op":"proc A","result":0,...}	one for each operation
 *	{"end":true,"operations":12,...}		last: the file is whole
 *
 * An operation shows what it changed: counters with their new values, figures
 * of processes, and its events. Keys come in the order in which they are put
 * in here, which is the order of the tables; nothing depends on an address.
 * Figures about this program and not about the kernel (host_bytes) are left
 * out, so that recordings of different builds are the same; so is what the
 * backend cannot see, whose names are in the header.
 */
#include <string.h>

#include "run.h"

/* NULL from jansson is "no memory": the text put in was checked when it was read. */
static int put(json_t *object, const char *key, json_t *value, int error)
{
	/* takes @value also when it fails */
	return json_object_set_new(object, key, value) ? KSMSIM_ENOMEM : error;
}

static int write_line(struct sim_run *run, json_t *object, int error)
{
	json_malloc_t allocate;
	json_free_t release;
	char *text;

	if (!error && run->options.observe)
		error = run->options.observe(run->options.observe_self, run, object);
	if (error || !run->options.json) {
		json_decref(object);
		return error ? sim_fail(run, error) : 0;
	}
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	if (!text)
		return sim_fail(run, KSMSIM_ENOMEM);
	error = fputs(text, run->options.json) < 0 || fputc('\n', run->options.json) < 0;
	json_get_alloc_funcs(&allocate, &release);
	release(text);
	return error ? sim_fail_with(run, SIM_EOUTPUT, "the observations cannot be written") : 0;
}

static bool is_blind(uint64_t mask, size_t row)
{
	return (mask >> row & 1) != 0;
}

static int read_counters(struct sim_run *run, int64_t *values)
{
	size_t i;
	int error = 0;

	memset(values, 0, KSMSIM_COUNT_NR * sizeof(*values));
	for (i = 0; !error && i < KSMSIM_COUNT_NR; i++)
		if (!is_blind(run->blind.counters, i))
			error = run->backend->ops->counter(run->backend, (enum ksmsim_counter)i,
							   &values[i]);
	return error;
}

/* @base: NULL for those that are not 0, else those that differ */
static int put_mthp(struct sim_run *run, json_t *object, const struct sim_mthp *base)
{
	static const struct sim_mthp none;
	struct sim_mthp now = none;
	unsigned stat, order;
	char name[64];
	int error = 0;

	if (run->backend->ops->mthp)
		error = run->backend->ops->mthp(run->backend, &now);
	if (!base)
		base = &none;
	for (stat = 0; stat < KSMSIM_MTHP_NR; stat++) {
		if (is_blind(run->blind.mthp, stat))
			continue;
		for (order = 0; order < KSMSIM_ORDERS; order++) {
			if (now.value[stat][order] == base->value[stat][order])
				continue;
			sim_mthp_name(run->world.page, stat, order, name, sizeof(name));
			error = put(object, name, json_integer(now.value[stat][order]), error);
		}
	}
	run->mthp = now;
	return error;
}

/* @all: every counter, else those that differ from the last observation */
static int put_counters(struct sim_run *run, json_t *line, bool all)
{
	const int64_t *base = all ? NULL : run->counters;
	json_t *object = json_object();
	int64_t now[KSMSIM_COUNT_NR];
	size_t i, nr;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr);
	int error = read_counters(run, now);

	for (i = 0; i < KSMSIM_COUNT_NR; i++)
		if (!is_blind(run->blind.counters, i) && (!base || now[i] != base[i]))
			error = put(object, rows[i].name, json_integer(now[i]), error);
	memcpy(run->counters, now, sizeof(now));
	if (!error)
		error = put_mthp(run, object, all ? NULL : &run->mthp);
	if (base && json_object_size(object) == 0) {
		json_decref(object);
		return error;
	}
	return put(line, "counters", object, error);
}

/* Those that cost a walk are shown only where all are. */
static json_t *figures_of(const struct sim_run *run, uint32_t process,
			  const struct ksmsim_process *now, const struct ksmsim_process *base,
			  int *error)
{
	json_t *object = json_object();
	int64_t values[SIM_FIGURE_NR];
	size_t i, nr;
	const struct ksmsim_row *rows = sim_figures(&nr);

	if (!*error && !base)
		*error = sim_figures_read(run->backend, process, now, run->blind.figures, values);
	for (i = 0; i < nr; i++) {
		if (base)
			values[i] = sim_figure_get(now, (unsigned)i);
		if (*error || is_blind(run->blind.figures, i))
			continue;
		if (!base || values[i] != sim_figure_get(base, (unsigned)i))
			*error = put(object, rows[i].name, json_integer(values[i]), *error);
	}
	return object;
}

/* @all: every figure; else those that have changed, and nothing if none has */
static int put_process(struct sim_run *run, json_t *object, uint32_t i, bool all)
{
	struct sim_process *process = &run->world.processes[i];
	struct ksmsim_process now;
	json_t *figures;
	int error;

	if (!process->alive)
		return 0;
	error = run->backend->ops->process(run->backend, i, &now);
	if (error)
		return error;
	figures = figures_of(run, i, &now, all ? NULL : &process->seen, &error);
	process->seen = now;
	if (all || !figures || json_object_size(figures))
		return put(object, process->name, figures, error);
	json_decref(figures);
	return error;
}

/*
 * What a process does changes figures of itself and of its child. To ask about
 * all others after each operation would be most of the work of a long run.
 */
static bool is_own_business(const struct sim_op *op)
{
	switch (op->id) {
	case SIM_OP_exit:
	case SIM_OP_fork:
	case SIM_OP_exec:
	case SIM_OP_mmap:
	case SIM_OP_munmap:
	case SIM_OP_mprotect:
	case SIM_OP_mlock:
	case SIM_OP_munlock:
	case SIM_OP_mremap:
	case SIM_OP_brk:
	case SIM_OP_madvise:
	case SIM_OP_prctl:
	case SIM_OP_thpdisable:
	case SIM_OP_clear_refs:
	case SIM_OP_fill:
	case SIM_OP_poke:
	case SIM_OP_touch:
	case SIM_OP_read:
	case SIM_OP_check:
	case SIM_OP_pin:
	case SIM_OP_unpin:
	case SIM_OP_node:
		return true;
	default:
		return false;
	}
}

/* @op: NULL for everything */
static int put_processes(struct sim_run *run, json_t *line, const struct sim_op *op)
{
	const uint32_t nr = (uint32_t)run->world.nr_processes;
	json_t *object = json_object();
	uint32_t i;
	int error = 0;

	if (op && op->id == SIM_OP_proc) {
		error = put_process(run, object, nr - 1, false);
	} else if (op && !run->options.pages && is_own_business(op)) {
		error = put_process(run, object, op->process, false);
		if (!error && op->id == SIM_OP_fork && run->result >= 0)
			error = put_process(run, object, nr - 1, false);
	} else {
		for (i = 0; !error && i < nr; i++)
			error = put_process(run, object, i, !op);
	}
	if (op && !error && json_object_size(object) == 0) {
		json_decref(object);
		return 0;
	}
	return put(line, "processes", object, error);
}

/* An item that cannot be told is a question mark. */
static void print_event(struct sim_run *run, const struct sim_event *event)
{
	const char *name = sim_errno_name(-(int64_t)event->error);

	if (!is_blind(run->blind.pages, SIM_SIGHT_failed) || !event->error || event->born)
		sim_event_print(&run->events, event, &run->event_text);
	else if (event->trace == KSMSIM_TRACE_ksm_merge_one_page)
		sim_buf_printf(&run->event_text, "zero(?,%s)", name ? name : "?");
	else
		sim_buf_printf(&run->event_text, "merge(K%u,?,%s)", (unsigned)event->frame,
			       name ? name : "?");
}

static int put_events(struct sim_run *run, json_t *line, int error)
{
	const struct sim_events *events = &run->events;
	json_t *list;
	size_t i;

	if (events->op_from == events->nr && !events->op_lost)
		return error;
	list = json_array();
	for (i = events->op_from; i < events->nr; i++) {
		sim_buf_clear(&run->event_text);
		print_event(run, &events->events[i]);
		if (run->event_text.failed ||
		    json_array_append_new(list, json_string(sim_buf_text(&run->event_text))))
			error = KSMSIM_ENOMEM;
	}
	error = put(line, "events", list, error);
	if (events->op_lost)
		error = put(line, "events_left_out", json_integer((json_int_t)events->op_lost),
			    error);
	return error;
}

/* Page states: of the regions where something changed; null for one that has gone. */
static int put_pages(struct sim_run *run, json_t *line, bool all)
{
	json_t *now, *changed, *text;
	const char *key;
	int error = 0;

	if (!run->options.pages)
		return 0;
	now = sim_pages(run, &error);
	changed = json_object();
	json_object_foreach(now, key, text) if (all || !run->pages ||
						!json_equal(text, json_object_get(run->pages, key)))
		error = put(changed, key, json_incref(text), error);
	if (!all && run->pages)
		json_object_foreach(run->pages, key, text) if (!json_object_get(now, key)) error =
			put(changed, key, json_null(), error);
	json_decref(run->pages);
	run->pages = now;
	if (error || (!all && json_object_size(changed) == 0)) {
		json_decref(changed);
		return error;
	}
	return put(line, "pages", changed, error);
}

static int put_result(struct sim_run *run, json_t *line, int error)
{
	const char *name = run->result < 0 ? sim_errno_name(-run->result) : NULL;

	if (run->result_unseen)
		return error;
	if (!name)
		return put(line, "result", json_integer(run->result), error);
	return put(line, "result", json_sprintf("-%s", name), error);
}

static int put_settings(json_t *line, const char *key, const struct sim_setting *set, size_t nr,
			int error)
{
	json_t *object;
	size_t i;

	if (!nr)
		return error;
	object = json_object();
	for (i = 0; i < nr; i++)
		error = put(object, set[i].name, json_string(set[i].value), error);
	return put(line, key, object, error);
}

/* Names of the rows whose bits are set. */
static int put_names(json_t *object, const char *key, uint64_t mask, const struct ksmsim_row *rows,
		     size_t nr, int error)
{
	json_t *list;
	size_t i;

	if (!mask)
		return error;
	list = json_array();
	for (i = 0; i < nr; i++)
		if (is_blind(mask, i) && json_array_append_new(list, json_string(rows[i].name)))
			error = KSMSIM_ENOMEM;
	return put(object, key, list, error);
}

/* Figures about this program are nobody's business: they are left out of this list, too. */
static int put_blind(struct sim_run *run, json_t *line, int error)
{
	static const struct ksmsim_row sights[] = {
#define SIGHT(name, doc) { #name, "", "", doc },
#include "sights.def"
	};
	const uint64_t counters = run->blind.counters & ~(UINT64_C(1) << KSMSIM_COUNT_host_bytes);
	const struct ksmsim_row *rows;
	json_t *object;
	size_t nr;

	if (!counters && !run->blind.figures && !run->blind.pages && !run->blind.mthp)
		return error;
	object = json_object();
	rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr);
	error = put_names(object, "counters", counters, rows, nr, error);
	rows = sim_figures(&nr);
	error = put_names(object, "figures", run->blind.figures, rows, nr, error);
	error = put_names(object, "pages", run->blind.pages, sights, SIM_SIGHT_NR, error);
	rows = ksmsim_table_rows(KSMSIM_TABLE_MTHP, &nr);
	error = put_names(object, "mthp", run->blind.mthp, rows, nr, error);
	return put(line, "blind", object, error);
}

static bool is_watched(const struct sim_run *run)
{
	return run->options.json || run->options.observe;
}

int sim_observe_begin(struct sim_run *run)
{
	const struct sim_options *o = &run->options;
	json_t *line;
	int error = 0;

	if (!is_watched(run))
		return 0;
	line = json_object();
	error = put(line, "schema", json_integer(SIM_SCHEMA), error);
	error = put(line, "ksmsim", json_string(KSMSIM_VERSION), error);
	error = put(line, "backend", json_string(run->backend->ops->name), error);
	error = put(line, "kernel", json_string(run->kernel), error);
	error = put(line, "profile", json_string(sim_run_profile(run)), error);
	error = put(line, "geometry", json_string(o->geometry ? o->geometry : "x86-64-4level"),
		    error);
	error = put(line, "page_bytes", json_integer((json_int_t)run->world.page), error);
	error = put(line, "seed", json_integer((json_int_t)o->seed), error);
	error = put_settings(line, "features", o->features, o->nr_features, error);
	error = put_settings(line, "knobs", o->knobs, o->nr_knobs, error);
	error = put_settings(line, "costs", o->costs, o->nr_costs, error);
	if (o->drain)
		error = put(line, "drain", json_true(), error);
	error = put_blind(run, line, error);
	if (!error)
		error = put_counters(run, line, true);
	/* recordings without this are older than statistics of large folios */
	error = put(line, "large_folios", json_true(), error);
	return write_line(run, line, error);
}

int sim_observe_op(struct sim_run *run, const struct sim_op *op, const bool *held)
{
	json_t *line;
	int error = 0;

	if (!is_watched(run))
		return 0;
	line = json_object();
	error = put(line, "n", json_integer((json_int_t)run->nr_operations), error);
	error = put(line, "line", json_integer((json_int_t)run->line), error);
	error = put(line, "op", json_string(op->line), error);
	if (held) {
		error = put(line, "held", json_boolean(*held), error);
		if (!*held)
			error = put(line, "seen", json_string(sim_buf_text(&run->failure)), error);
	} else if (op->id != SIM_OP_echo && op->id != SIM_OP_map) {
		error = put_result(run, line, error);
		if (!error)
			error = put_counters(run, line, false);
		error = put_events(run, line, error);
		if (!error)
			error = put_processes(run, line, op);
		if (!error)
			error = put_pages(run, line, false);
	}
	return write_line(run, line, error);
}

static int put_layout(void *self, const struct sim_layout *layout)
{
	json_t *list = self, *object = json_object();
	int error = 0;

	error = put(object, "process", json_integer(layout->process), error);
	error = put(object, "region", layout->region ? json_string(layout->region) : json_null(),
		    error);
	error = put(object, "start", json_integer((json_int_t)layout->vma.start), error);
	error = put(object, "end", json_integer((json_int_t)layout->vma.end), error);
	error = put(object, "pages", json_integer((json_int_t)layout->walk.pages), error);
	error = put(object, "range_entries", json_integer((json_int_t)layout->walk.range), error);
	error = put(object, "range_ns", json_integer((json_int_t)layout->range_ns), error);
	error = put(object, "per_address_entries",
		    json_integer((json_int_t)layout->walk.per_address), error);
	error = put(object, "per_address_ns", json_integer((json_int_t)layout->per_address_ns),
		    error);
	if (json_array_append_new(list, object))
		error = KSMSIM_ENOMEM;
	return error;
}

int sim_observe_end(struct sim_run *run)
{
	json_t *line, *list;
	int error = 0;

	if (!is_watched(run))
		return 0;
	line = json_object();
	error = put(line, "end", json_true(), error);
	error = put(line, "operations", json_integer((json_int_t)run->nr_operations), error);
	error = put(line, "expectations", json_integer((json_int_t)run->nr_expected), error);
	error = put(line, "failed", json_integer((json_int_t)run->nr_failed), error);
	error = put(line, "now_ns", json_integer((json_int_t)sim_run_now(run)), error);
	if (!error)
		error = put_counters(run, line, true);
	if (!error)
		error = put_processes(run, line, NULL);
	if (!error)
		error = put_pages(run, line, true);
	list = json_array();
	if (!error)
		error = list ? sim_layouts(run, put_layout, list) : KSMSIM_ENOMEM;
	error = put(line, "walks", list, error);
	error = write_line(run, line, error);
	if (!error && run->options.json && fflush(run->options.json))
		error = sim_fail_with(run, SIM_EOUTPUT, "the observations cannot be written");
	return error;
}
