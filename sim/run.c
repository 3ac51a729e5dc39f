/*
 * run.c - a run: one operation after the other, on one backend.
 *
 *	words -> sim_op_parse() -> place() -> backend -> learn() -> observe, check
 *
 * place() fills in what the scenario leaves to the tool, before; learn() tells
 * the world what an operation that succeeded has changed, after. So a backend
 * never chooses an address that could be different on another one.
 */
#include <string.h>

#include "run.h"

/* ---- addresses ---- */

static const struct sim_region *heap_of(struct sim_run *run, uint32_t process)
{
	return sim_world_region(&run->world, process, (struct sim_word){ "brk", 3 });
}

static uint64_t round_up(uint64_t bytes, uint64_t page)
{
	return bytes > UINT64_MAX - page ? bytes : (bytes + page - 1) / page * page;
}

static void place_mmap(struct sim_run *run, struct sim_op *op)
{
	const uint64_t length = round_up(op->size, run->world.page);

	if (op->options & SIM_OPTION(at)) {
		op->vaddr = op->at;
		return;
	}
	op->vaddr = sim_world_place(&run->world, op->process, length);
	if (op->vaddr == UINT64_MAX) {
		/* no such place: let the kernel say so */
		op->vaddr = 0;
		op->options |= SIM_OPTION(at);
	}
}

/* The heap's end; asks for its begin if there is no heap yet. */
static int place_brk(struct sim_run *run, struct sim_op *op)
{
	const struct sim_region *heap = heap_of(run, op->process);
	int64_t begin = 0;
	int error;

	if (heap) {
		op->vaddr = heap->vaddr;
	} else {
		op->at = 0;
		error = run->backend->ops->execute(run->backend, op, &begin);
		if (error)
			return sim_fail(run, error);
		op->vaddr = (uint64_t)begin;
	}
	if (__builtin_add_overflow(op->vaddr, op->size, &op->at))
		return sim_refuse(run, run->cut.words[2].text, "this length is too large");
	return 0;
}

/* Does [vaddr, vaddr + length) touch a region, @but aside? */
static bool meets_region(const struct sim_mm *mm, uint64_t vaddr, uint64_t length,
			 const struct sim_region *but)
{
	size_t i;

	for (i = 0; i < mm->nr; i++) {
		const struct sim_region *region = &mm->regions[i];

		if (region->gone || region == but || region->vaddr >= vaddr + length ||
		    vaddr >= region->vaddr + region->length)
			continue;
		return true;
	}
	return false;
}

/* Where a moved region goes must not be left to the kernel. */
static int place_mremap(struct sim_run *run, struct sim_op *op)
{
	const uint64_t size = round_up(op->size, run->world.page);
	const struct sim_mm *mm = sim_world_mm(&run->world, op->process);
	const struct sim_region *region = sim_world_region_at(mm, op->vaddr), *from = NULL;
	const bool may_move = (op->options & (SIM_OPTION(maymove) | SIM_OPTION(dontunmap))) != 0;

	if (may_move && !op->whole && !op->target)
		return sim_refuse(run, run->cut.words[2].text,
				  "moving a part of a region needs as=NAME for the result");
	if ((op->options & SIM_OPTION(at)) || !may_move || size > INT64_MAX / 2)
		return 0;
	/* what grows at the end of its region may go on there; a part may not */
	if (region && op->vaddr + op->length >= region->vaddr + region->length)
		from = region;
	if (!(op->options & SIM_OPTION(dontunmap)) &&
	    (size <= op->length ||
	     !meets_region(mm, op->vaddr + op->length, size - op->length, from)))
		return 0;
	op->at = sim_world_place(&run->world, op->process, size);
	if (op->at != UINT64_MAX)
		op->options |= SIM_OPTION(at);
	return 0;
}

static int place(struct sim_run *run, struct sim_op *op)
{
	switch (op->id) {
	case SIM_OP_mmap:
		place_mmap(run, op);
		return 0;
	case SIM_OP_brk:
		return place_brk(run, op);
	case SIM_OP_mremap:
		return place_mremap(run, op);
	default:
		return 0;
	}
}

/* ---- what the world learns ---- */

static bool learn_mmap(struct sim_run *run, const struct sim_op *op)
{
	const uint64_t length = round_up(op->size, run->world.page);

	if (!(op->options & SIM_OPTION(at)))
		sim_world_placed(&run->world, op->process, op->vaddr, length);
	if (run->result < 0)
		return op->vaddr == 0 ||
		       sim_world_refused(&run->world, op->process, op->target, op->vaddr, length);
	return sim_world_mapped(&run->world, op->process, op->target, (uint64_t)run->result,
				length);
}

static bool learn_brk(struct sim_run *run, const struct sim_op *op)
{
	const struct sim_region *heap = heap_of(run, op->process);
	const char *name;

	if ((uint64_t)run->result != op->at)
		return true; /* refused: the heap is as it was */
	if (heap)
		sim_world_unmapped(&run->world, op->process, heap->vaddr, heap->length);
	if (!op->size)
		return true;
	name = sim_world_intern(&run->world, (struct sim_word){ "brk", 3 });
	return name && sim_world_mapped(&run->world, op->process, name, op->vaddr,
					round_up(op->size, run->world.page));
}

static bool learn_mremap(struct sim_run *run, const struct sim_op *op)
{
	struct sim_world *world = &run->world;
	const uint64_t size = round_up(op->size, world->page), to = (uint64_t)run->result;
	struct sim_region *region = NULL;

	if (op->at == to && to >= SIM_PLACE_FIRST && to >= sim_world_mm(world, op->process)->place)
		sim_world_placed(world, op->process, to, size);
	if (op->region)
		region = sim_world_region(world, op->process,
					  (struct sim_word){ op->region, strlen(op->region) });
	if (to == op->vaddr && region && !op->target) {
		/* in place: if it was the end of the region, that is what grew or shrank */
		if (op->vaddr + op->length == region->vaddr + region->length)
			region->length = op->vaddr - region->vaddr + size;
		return true;
	}
	if (to != op->vaddr && !(op->options & SIM_OPTION(dontunmap)))
		sim_world_unmapped(world, op->process, op->vaddr, op->length);
	if (!op->target && !op->region)
		return true;
	return sim_world_mapped(world, op->process, op->target ? op->target : op->region, to, size);
}

static int mm_id(struct sim_run *run, uint32_t process, uint64_t *id)
{
	struct ksmsim_process seen;
	const int error = run->backend->ops->process(run->backend, process, &seen);

	*id = error ? 0 : seen.mm;
	return error;
}

/* A new process, or a new address space of an old one. */
static int learn_mm(struct sim_run *run, const struct sim_op *op)
{
	struct sim_world *world = &run->world;
	const bool is_new = op->id != SIM_OP_exec;
	const uint32_t process = is_new ? (uint32_t)world->nr_processes : op->process;
	uint64_t id;
	int error = mm_id(run, process, &id);
	bool done;

	if (error)
		return error;
	if (is_new)
		done = sim_world_born(world, op->name, id,
				      op->id == SIM_OP_fork ? op->process : SIM_NONE);
	else
		done = sim_world_exec(world, process, id);
	return done ? 0 : KSMSIM_ENOMEM;
}

static int learn(struct sim_run *run, const struct sim_op *op)
{
	bool done = true;

	if (run->result < 0 && op->id != SIM_OP_mmap)
		return 0;
	switch (op->id) {
	case SIM_OP_proc:
	case SIM_OP_fork:
	case SIM_OP_exec:
		return learn_mm(run, op);
	case SIM_OP_exit:
		run->world.processes[op->process].alive = false;
		break;
	case SIM_OP_mmap:
		done = learn_mmap(run, op);
		break;
	case SIM_OP_munmap:
		sim_world_unmapped(&run->world, op->process, op->vaddr,
				   round_up(op->length, run->world.page));
		break;
	case SIM_OP_mremap:
		done = learn_mremap(run, op);
		break;
	case SIM_OP_brk:
		done = learn_brk(run, op);
		break;
	default:
		break;
	}
	return done ? 0 : KSMSIM_ENOMEM;
}

/* ---- one operation ---- */

/* Listen to a new backend; the world is still empty. */
static void connect(struct sim_run *run)
{
	run->blind = (struct sim_blind){ .counters = UINT64_C(1) << KSMSIM_COUNT_host_bytes };
	if (!run->backend->ops->ksm_pages)
		run->blind.figures |= UINT64_C(1) << SIM_FIGURE_ksm_pages;
	for (unsigned i = 0; i < SIM_FIGURE_NR && !run->backend->ops->smaps; i++)
		if (i != SIM_FIGURE_ksm_pages && sim_figure_is_asked(i))
			run->blind.figures |= UINT64_C(1) << i;
	if (!run->backend->ops->mthp)
		run->blind.mthp = UINT64_MAX;
	if (run->backend->ops->blind)
		run->backend->ops->blind(run->backend, &run->blind);
	if (run->options.blind) {
		run->blind.counters |= run->options.blind->counters;
		run->blind.figures |= run->options.blind->figures;
		run->blind.pages |= run->options.blind->pages;
		run->blind.mthp |= run->options.blind->mthp;
	}
	run->backend->ops->describe(run->backend, run->kernel, sizeof(run->kernel),
				    &run->world.page);
	run->listening = run->backend->ops->listen(run->backend, sim_events_listen, &run->events);
}

static int run_expect(struct sim_run *run, const struct sim_op *op, bool *held)
{
	const int error = sim_expect(run, op, held);

	if (error || *held)
		return error;
	run->nr_failed++;
	if (run->options.log)
		fprintf(run->options.log, "%s\n", sim_buf_text(&run->failure));
	return 0;
}

/* How many pages a step visits is known where they are counted. */
static bool is_unseen(const struct sim_run *run, const struct sim_op *op)
{
	return (op->id == SIM_OP_step || op->id == SIM_OP_scan) &&
	       (run->blind.counters >> KSMSIM_COUNT_pages_scanned & 1);
}

static int check_world(struct sim_run *run)
{
	char text[512] = "";
	int error;

	if (!run->options.check || !run->backend->ops->check)
		return 0;
	error = run->backend->ops->check(run->backend, text, sizeof(text));
	if (!error)
		return 0;
	return sim_fail_with(run, error, "%s: %s", ksmsim_strerror(error), text);
}

static int run_on_backend(struct sim_run *run, struct sim_op *op)
{
	static const struct sim_op drain = { .id = SIM_OP_drain, .times = 1, .line = "drain" };
	int64_t drained;
	int error = place(run, op);

	if (error)
		return error;
	error = run->backend->ops->execute(run->backend, op, &run->result);
	run->result_unseen = is_unseen(run, op);
	if (!error)
		error = learn(run, op);
	if (!error && run->options.drain)
		error = run->backend->ops->execute(run->backend, &drain, &drained);
	if (!error && run->events.failed)
		error = KSMSIM_ENOMEM;
	return error ? sim_fail(run, error) : check_world(run);
}

static int make_backend(struct sim_run *run, char *buf, size_t size)
{
	const sim_backend_maker make = run->options.backend ? run->options.backend : sim_model_new;

	return make(&run->options, &run->mem, buf, size, &run->backend);
}

/* Throw the machine away that nothing has happened on, and take another one. */
static int change_machine(struct sim_run *run, const struct sim_op *op)
{
	char text[512];
	int error;

	if (op->options & SIM_OPTION(nodes))
		run->options.nodes = op->node;
	if (op->options & SIM_OPTION(geometry))
		run->options.geometry = op->geometry;
	run->backend->ops->free(run->backend);
	run->backend = NULL;
	error = make_backend(run, text, sizeof(text));
	if (error)
		return sim_fail_with(run, error, "%s", text);
	connect(run);
	return 0;
}

static int execute(struct sim_run *run, struct sim_op *op, bool *held)
{
	sim_events_begin(&run->events);
	switch (op->id) {
	case SIM_OP_machine:
		return change_machine(run, op);
	case SIM_OP_expect:
		return run_expect(run, op, held);
	case SIM_OP_map:
		return sim_map(run, op);
	case SIM_OP_echo:
		if (run->options.echo)
			fprintf(run->options.echo, "%s\n", op->text);
		return 0;
	default:
		return run_on_backend(run, op);
	}
}

static int run_op(struct sim_run *run, struct sim_op *op)
{
	bool held = true;
	int error = 0;

	if (!run->nr_operations && op->id != SIM_OP_machine)
		error = sim_observe_begin(run);
	if (!error)
		error = execute(run, op, &held);
	if (error)
		return error;
	if (!run->nr_operations++ && op->id == SIM_OP_machine)
		error = sim_observe_begin(run);
	if (!error)
		error = sim_observe_op(run, op, op->id == SIM_OP_expect ? &held : NULL);
	if (!error && run->options.progress)
		run->options.progress(run->options.progress_self, run);
	return error;
}

int sim_run_cut(struct sim_run *run)
{
	struct sim_op op;
	int error;

	if (run->status)
		return run->status;
	if (!run->cut.nr)
		return 0;
	error = sim_op_parse(run, &run->cut, &op);
	if (!error)
		error = sim_limits_check(run, &op);
	return error ? error : run_op(run, &op);
}

int sim_run_text(struct sim_run *run, const char *name, unsigned long line, const char *text)
{
	if (run->status)
		return run->status;
	run->name = name;
	run->line = line;
	sim_buf_clear(&run->line_text);
	sim_buf_put(&run->line_text, text, strlen(text));
	run->cut.text = sim_buf_text(&run->line_text);
	run->cut.length = run->line_text.length;
	if (run->line_text.failed || !sim_line_cut(run, &run->cut))
		return sim_fail(run, KSMSIM_ENOMEM);
	return sim_run_cut(run);
}

/* ---- the run ---- */

int sim_run_new(const struct sim_options *options, char *buf, size_t size, struct sim_run **out)
{
	struct sim_mem mem;
	struct sim_run *run;
	int error;

	if (size)
		buf[0] = '\0';
	sim_mem_init(&mem, options->allocator);
	run = sim_alloc(&mem, sizeof(*run));
	if (!run) {
		snprintf(buf, size, "%s", ksmsim_strerror(KSMSIM_ENOMEM));
		return KSMSIM_ENOMEM;
	}
	run->mem = mem;
	run->options = *options;
	if (!run->options.nodes)
		run->options.nodes = 1;
	run->failure.mem = run->scratch.mem = run->line_text.mem = run->event_text.mem = &run->mem;
	error = make_backend(run, buf, size);
	if (error) {
		sim_run_free(run);
		return error;
	}
	sim_world_init(&run->world, &run->mem);
	sim_events_init(&run->events, &run->world, run->options.trace);
	connect(run);
	*out = run;
	return 0;
}

void sim_run_free(struct sim_run *run)
{
	struct sim_mem mem;

	if (!run)
		return;
	if (run->backend)
		run->backend->ops->free(run->backend);
	if (run->events.world)
		sim_events_free(&run->events);
	if (run->world.mem)
		sim_world_free(&run->world);
	sim_free(&run->mem, run->cut.words);
	json_decref(run->pages);
	sim_buf_free(&run->failure);
	sim_buf_free(&run->scratch);
	sim_buf_free(&run->line_text);
	sim_buf_free(&run->event_text);
	mem = run->mem;
	sim_free(&mem, run);
}

int sim_run_end(struct sim_run *run)
{
	int error = run->status;

	if (!error && !run->nr_operations)
		error = sim_observe_begin(run);
	return error ? error : sim_observe_end(run);
}

const char *sim_run_profile(const struct sim_run *run)
{
	return run->options.profile ? run->options.profile : "linux-6.18";
}

const char *sim_run_error(const struct sim_run *run)
{
	return run->error;
}

const char *sim_run_failure(const struct sim_run *run)
{
	return sim_buf_text(&run->failure);
}

uint64_t sim_run_failed(const struct sim_run *run)
{
	return run->nr_failed;
}

uint64_t sim_run_expected(const struct sim_run *run)
{
	return run->nr_expected;
}

uint64_t sim_run_operations(const struct sim_run *run)
{
	return run->nr_operations;
}

uint64_t sim_run_now(const struct sim_run *run)
{
	return run->backend->ops->now(run->backend);
}

unsigned long sim_run_line_number(const struct sim_run *run)
{
	return run->line;
}

int64_t sim_run_result(const struct sim_run *run)
{
	return run->result;
}

struct sim_backend *sim_run_backend(struct sim_run *run)
{
	return run->backend;
}
