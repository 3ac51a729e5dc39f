/*
 * model.c - the model (libksmsim) as a backend.
 *
 * One case for each operation. What the scenario leaves to the tool has been
 * decided before (run.c): addresses, the end of the heap, where a moved region
 * goes. Where ksmd is driven, the model does as a driver of a real kernel has to:
 * as long as the scenario has not written `run` itself, step and scan write 1,
 * wait for the batch and write 0 again. After that its word counts, and with
 * run=0 or 2 nothing is scanned.
 */
#include <string.h>

#include "model_parts.h"

#define BATCH_MAX UINT32_MAX /* "finish the pass, or do a whole one" */

static void model_free(struct sim_backend *backend)
{
	struct model *model = model_of(backend);

	ksmsim_free(model->sim);
	sim_free(model->mem, model->pids);
	sim_free(model->mem, model);
}

static void model_describe(struct sim_backend *backend, char *kernel, size_t size, uint64_t *page)
{
	const struct model *model = model_of(backend);

	snprintf(kernel, size, "%s", model->profile);
	*page = model->page;
}

static bool model_listen(struct sim_backend *backend, ksmsim_listener listener, void *self)
{
	struct model *model = model_of(backend);
	bool traces = false;

	if (ksmsim_listen(model->sim, listener, self) ||
	    ksmsim_feature_get(model->sim, "ksm_trace", &traces))
		return false;
	return traces;
}

/* ---- operations ---- */

static int add_pid(struct model *model, uint32_t pid)
{
	/* room was made before the process was */
	model->pids[model->nr_pids++] = pid;
	return 0;
}

static int make_room(struct model *model)
{
	return sim_grow(model->mem, &model->pids, &model->pids_capacity, model->nr_pids,
			sizeof(*model->pids))
		       ? 0
		       : KSMSIM_ENOMEM;
}

static int do_proc(struct model *model, const struct sim_op *op)
{
	uint32_t pid;
	int error = make_room(model);

	if (!error)
		error = ksmsim_spawn(model->sim, &pid);
	if (!error && (op->options & SIM_OPTION(node)))
		error = ksmsim_node_set(model->sim, pid, op->node);
	return error ? error : add_pid(model, pid);
}

static int do_fork(struct model *model, uint32_t pid, int64_t *result)
{
	uint32_t child;
	int error = make_room(model);

	if (!error)
		error = ksmsim_fork(model->sim, pid, &child, result);
	if (error || *result < 0)
		return error;
	*result = 0;
	return add_pid(model, child);
}

static unsigned prot_of(unsigned choice)
{
	static const unsigned prots[] = { KSMSIM_PROT_NONE, KSMSIM_PROT_READ,
					  KSMSIM_PROT_READ | KSMSIM_PROT_WRITE };

	return prots[choice];
}

static int do_mmap(struct model *model, uint32_t pid, const struct sim_op *op, int64_t *result)
{
	static const struct {
		unsigned option, flag;
	} flags[] = {
		{ SIM_OPTION(shared), KSMSIM_MAP_SHARED },
		{ SIM_OPTION(fixed), KSMSIM_MAP_FIXED },
		{ SIM_OPTION(noreserve), KSMSIM_MAP_NORESERVE },
		{ SIM_OPTION(populate), KSMSIM_MAP_POPULATE },
		{ SIM_OPTION(locked), KSMSIM_MAP_LOCKED },
		{ SIM_OPTION(droppable), KSMSIM_MAP_DROPPABLE },
		{ SIM_OPTION(hugetlb), KSMSIM_MAP_HUGETLB },
	};
	struct ksmsim_mmap request = { .vaddr = op->vaddr,
				       .length = op->size,
				       .prot = prot_of(op->choice) };
	size_t i;
	int error;

	for (i = 0; i < sizeof(flags) / sizeof(*flags); i++)
		if (op->options & flags[i].option)
			request.flags |= flags[i].flag;
	if (!(op->options & (SIM_OPTION(at) | SIM_OPTION(fixed))))
		request.flags |= KSMSIM_MAP_FIXED_NOREPLACE;
	if (op->options & SIM_OPTION(file)) {
		error = ksmsim_file_new(model->sim, &op->content, &request.file);
		if (error)
			return error;
	}
	return ksmsim_mmap(model->sim, pid, &request, result);
}

static int do_mremap(struct model *model, uint32_t pid, const struct sim_op *op, int64_t *result)
{
	unsigned flags = 0;

	if (op->options & (SIM_OPTION(maymove) | SIM_OPTION(at) | SIM_OPTION(dontunmap)))
		flags |= KSMSIM_MREMAP_MAYMOVE;
	if (op->options & SIM_OPTION(at))
		flags |= KSMSIM_MREMAP_FIXED;
	if (op->options & SIM_OPTION(dontunmap))
		flags |= KSMSIM_MREMAP_DONTUNMAP;
	return ksmsim_mremap(model->sim, pid, op->vaddr, op->length, op->size, flags, op->at,
			     result);
}

static int do_poke(struct model *model, uint32_t pid, const struct sim_op *op, int64_t *result)
{
	unsigned char *bytes = sim_alloc(model->mem, op->size + 1);
	uint64_t at;
	int error = 0;

	if (!bytes)
		return KSMSIM_ENOMEM;
	memset(bytes, (int)op->number, op->size);
	for (at = 0; !error && *result >= 0 && at < op->length; at += model->page)
		error = ksmsim_poke(model->sim, pid, op->vaddr + at + op->offset, bytes, op->size,
				    result);
	sim_free(model->mem, bytes);
	return error;
}

static int do_prctl(struct model *model, uint32_t pid, const struct sim_op *op, int64_t *result)
{
	if (op->choice == SIM_PRCTL_get)
		return ksmsim_prctl_merge_get(model->sim, pid, result);
	return ksmsim_prctl_merge(model->sim, pid, op->choice == SIM_PRCTL_on, result);
}

static int do_thpdisable(struct model *model, uint32_t pid, const struct sim_op *op,
			 int64_t *result)
{
	static const enum ksmsim_thp_disable modes[] = {
		[SIM_THPDISABLE_off] = KSMSIM_THP_DISABLE_OFF,
		[SIM_THPDISABLE_all] = KSMSIM_THP_DISABLE_ALL,
		[SIM_THPDISABLE_except_advised] = KSMSIM_THP_DISABLE_EXCEPT_ADVISED,
	};

	return ksmsim_prctl_thp_disable(model->sim, pid, modes[op->choice], result);
}

static int do_pin(struct model *model, uint32_t pid, const struct sim_op *op, int64_t *result)
{
	static const enum ksmsim_pin hows[] = {
		[SIM_PIN_get] = KSMSIM_PIN_GET,
		[SIM_PIN_read] = KSMSIM_PIN_READ,
		[SIM_PIN_write] = KSMSIM_PIN_WRITE,
		[SIM_PIN_held] = KSMSIM_PIN_HELD,
	};

	return ksmsim_pin(model->sim, pid, op->vaddr, op->length / model->page, hows[op->choice],
			  result);
}

int model_write(struct model *model, const char *file, const char *text, int64_t *result)
{
	const int error = ksmsim_sysfs_write(model->sim, file, text, strlen(text), result);

	if (error || *result < 0)
		return error;
	*result = 0;
	if (!strcmp(file, "ksm/run"))
		model->run_written = true;
	return 0;
}

/* One batch; of a model that goes page by page, what is the same. */
static int batch(struct model *model, uint64_t pages, uint64_t *visited)
{
	uint64_t i, one = 1;
	int error = 0;

	if (!model->single || !pages)
		return ksmsim_ksmd_batch(model->sim, pages, visited);
	for (i = 0; !error && one && i < pages; i++)
		error = ksmsim_ksmd_batch(model->sim, 1, &one);
	*visited = i - (one ? 0 : 1);
	return error;
}

/* Batches until ksmd has visited all that @op asks for. */
static int batches(struct model *model, const struct sim_op *op, int64_t *result)
{
	const uint64_t pages = op->id == SIM_OP_scan ? BATCH_MAX : op->number;
	uint64_t i, visited;
	int error;

	for (i = 0; i < op->times; i++) {
		do {
			error = batch(model, pages, &visited);
			if (error)
				return error;
			*result += (int64_t)visited;
		} while (op->id == SIM_OP_scan && visited == pages);
	}
	return 0;
}

static int do_khugepaged(struct model *model, const struct sim_op *op, int64_t *result)
{
	int64_t collapsed;
	uint64_t i;
	int error = 0;

	for (i = 0; !error && i < op->times; i++) {
		error = ksmsim_khugepaged(model->sim, true, &collapsed);
		*result += error ? 0 : collapsed;
	}
	return error;
}

static int do_step(struct model *model, const struct sim_op *op, int64_t *result)
{
	const bool drive = !model->run_written;
	int64_t ret;
	int error = 0;

	if (drive)
		error = ksmsim_sysfs_write(model->sim, "ksm/run", "1", 1, &ret);
	if (!error)
		error = batches(model, op, result);
	if (!error && drive)
		error = ksmsim_sysfs_write(model->sim, "ksm/run", "0", 1, &ret);
	return error;
}

/* What a process does to its memory. */
static int execute_access(struct model *model, const struct sim_op *op, int64_t *result)
{
	const uint32_t pid = model->pids[op->process];
	const uint64_t nr = op->length / model->page;
	struct ksmsim *sim = model->sim;

	switch (op->id) {
	case SIM_OP_fill:
		return ksmsim_fill(sim, pid, op->vaddr, nr, &op->content, result);
	case SIM_OP_poke:
		return do_poke(model, pid, op, result);
	case SIM_OP_touch:
		return ksmsim_touch(sim, pid, op->vaddr, nr, result);
	case SIM_OP_read:
		return ksmsim_read(sim, pid, op->vaddr, nr, result);
	case SIM_OP_check:
		return ksmsim_check_pages(sim, pid, op->vaddr, nr, &op->content, result);
	case SIM_OP_pin:
		return do_pin(model, pid, op, result);
	case SIM_OP_unpin:
		return ksmsim_unpin(sim, pid, op->vaddr, nr, result);
	case SIM_OP_node:
		return ksmsim_node_set(sim, pid, op->node);
	case SIM_OP_migrate:
		return ksmsim_migrate(sim, pid, op->vaddr, nr, op->node, result);
	case SIM_OP_swapout:
		return ksmsim_swap_out(sim, pid, op->vaddr, nr,
				       (op->options & SIM_OPTION(cached)) != 0, result);
	default:
		return KSMSIM_EARGUMENT;
	}
}

/* What a process does to its mappings and to itself. */
static int execute_process(struct model *model, const struct sim_op *op, int64_t *result)
{
	const uint32_t pid = model->pids[op->process];
	struct ksmsim *sim = model->sim;

	switch (op->id) {
	case SIM_OP_exit:
		return ksmsim_exit(sim, pid);
	case SIM_OP_fork:
		return do_fork(model, pid, result);
	case SIM_OP_exec:
		return ksmsim_exec(sim, pid, result);
	case SIM_OP_mmap:
		return do_mmap(model, pid, op, result);
	case SIM_OP_munmap:
		return ksmsim_munmap(sim, pid, op->vaddr, op->length, result);
	case SIM_OP_mprotect:
		return ksmsim_mprotect(sim, pid, op->vaddr, op->length, prot_of(op->choice),
				       result);
	case SIM_OP_mlock:
		return ksmsim_mlock(sim, pid, op->vaddr, op->length, result);
	case SIM_OP_munlock:
		return ksmsim_munlock(sim, pid, op->vaddr, op->length, result);
	case SIM_OP_mremap:
		return do_mremap(model, pid, op, result);
	case SIM_OP_brk:
		return ksmsim_brk(sim, pid, op->at, result);
	case SIM_OP_madvise:
		return ksmsim_madvise(sim, pid, op->vaddr, op->length, op->advice, result);
	case SIM_OP_prctl:
		return do_prctl(model, pid, op, result);
	case SIM_OP_thpdisable:
		return do_thpdisable(model, pid, op, result);
	case SIM_OP_clear_refs:
		return ksmsim_clear_refs(sim, pid, op->choice + 1, result);
	default:
		return execute_access(model, op, result);
	}
}

static int model_execute(struct sim_backend *backend, const struct sim_op *op, int64_t *result)
{
	struct model *model = model_of(backend);
	struct ksmsim *sim = model->sim;

	*result = 0;
	switch (op->id) {
	case SIM_OP_proc:
		return do_proc(model, op);
	case SIM_OP_ksm:
	case SIM_OP_thp:
		return model_write(model, op->file, op->text, result);
	case SIM_OP_step:
	case SIM_OP_scan:
		return do_step(model, op, result);
	case SIM_OP_run:
		return ksmsim_run(sim, op->ns);
	case SIM_OP_advance:
		return ksmsim_advance(sim, op->ns);
	case SIM_OP_ksmdcpu:
		return ksmsim_ksmd_cpu_add(sim, op->ns);
	case SIM_OP_drain:
		return ksmsim_lru_drain(sim);
	case SIM_OP_inject:
		return ksmsim_inject_failure(sim, op->inject, op->number);
	case SIM_OP_split:
		return ksmsim_split(sim, model->pids[op->process], op->vaddr, op->length, op->order,
				    op->options & SIM_OPTION(page) ? (int64_t)op->index : -1,
				    result);
	case SIM_OP_shrink:
		return ksmsim_shrink(sim, (op->options & SIM_OPTION(all)) != 0, result);
	case SIM_OP_khugepaged:
		return do_khugepaged(model, op, result);
	case SIM_OP_policy:
		return ksmsim_policy_choose(sim, op->policy);
	case SIM_OP_feature:
		return ksmsim_feature_set(sim, op->feature, op->choice == 1);
	default:
		return execute_process(model, op, result);
	}
}

/* ---- observation ---- */

static int model_counter(struct sim_backend *backend, enum ksmsim_counter counter, int64_t *value)
{
	return ksmsim_counter_get(model_of(backend)->sim, counter, value);
}

static int model_mthp(struct sim_backend *backend, struct sim_mthp *mthp)
{
	struct model *model = model_of(backend);
	const unsigned pmd_order = model->pmd_order;
	int error = 0;

	for (unsigned stat = 0; stat < KSMSIM_MTHP_NR; stat++)
		for (unsigned order = 2; !error && order <= pmd_order; order++)
			error = ksmsim_mthp_get(model->sim, (enum ksmsim_mthp)stat, order,
						&mthp->value[stat][order]);
	return error;
}

static int model_read_file(struct sim_backend *backend, const char *file, char *buf, size_t size,
			   int64_t *result)
{
	return ksmsim_sysfs_read(model_of(backend)->sim, file, buf, size, result);
}

static int model_process(struct sim_backend *backend, uint32_t process, struct ksmsim_process *out)
{
	struct model *model = model_of(backend);

	return ksmsim_process_get(model->sim, model->pids[process], out);
}

static int model_ksm_pages(struct sim_backend *backend, uint32_t process, uint64_t *value)
{
	struct model *model = model_of(backend);

	return ksmsim_ksm_pages_get(model->sim, model->pids[process], value);
}

static int model_smaps(struct sim_backend *backend, uint32_t process, struct sim_smaps *out)
{
	struct model *model = model_of(backend);
	struct ksmsim_smaps area;
	int error = 0;

	for (size_t i = 0; !error; i++) {
		error = ksmsim_smaps_get(model->sim, model->pids[process], i, &area);
		if (error)
			break;
		out->private_clean += area.private_clean;
		out->private_dirty += area.private_dirty;
		out->shared_clean += area.shared_clean;
		out->shared_dirty += area.shared_dirty;
		out->referenced += area.referenced;
		out->lazyfree += area.lazyfree;
		out->pss += area.pss / 1024;
		out->locked += area.locked / 1024;
		out->thp_eligible += area.thp_eligible;
	}
	return error == KSMSIM_EARGUMENT || error == KSMSIM_EPROCESS ? 0 : error;
}

static int model_page(struct sim_backend *backend, uint32_t process, uint64_t vaddr,
		      struct ksmsim_page *out)
{
	struct model *model = model_of(backend);
	const int error = ksmsim_page_get(model->sim, model->pids[process], vaddr, out);

	if (error != KSMSIM_EFAULT)
		return error;
	memset(out, 0, sizeof(*out));
	out->state = KSMSIM_PAGE_NONE;
	return 0;
}

static uint64_t model_now(struct sim_backend *backend)
{
	return ksmsim_now(model_of(backend)->sim);
}

static int model_next_page(struct sim_backend *backend, uint32_t process, uint64_t *vaddr,
			   uint64_t end)
{
	struct model *model = model_of(backend);

	return ksmsim_page_next(model->sim, model->pids[process], vaddr, end);
}

/* What depends on how many batches there were, and what the kernel was built without. */
static void model_blind(struct sim_backend *backend, struct sim_blind *blind)
{
	bool soft_dirty = false;

	if (!ksmsim_feature_get(model_of(backend)->sim, "soft_dirty", &soft_dirty) && !soft_dirty)
		blind->pages |= UINT64_C(1) << SIM_SIGHT_soft_dirty;
	if (model_of(backend)->single)
		blind->counters |= UINT64_C(1) << KSMSIM_COUNT_walk_entries |
				   UINT64_C(1) << KSMSIM_COUNT_ksmd_cpu_ns;
}

static int model_vma(struct sim_backend *backend, uint32_t process, size_t index,
		     struct ksmsim_vma *out)
{
	struct model *model = model_of(backend);

	return ksmsim_vma_get(model->sim, model->pids[process], index, out);
}

static int model_walk_cost(struct sim_backend *backend, uint32_t process, uint64_t vaddr,
			   uint64_t length, struct ksmsim_walk *out)
{
	struct model *model = model_of(backend);

	return ksmsim_walk_cost(model->sim, model->pids[process], vaddr, length, out);
}

static int model_cost(struct sim_backend *backend, const char *name, uint64_t *ns)
{
	uint64_t count;

	return ksmsim_cost_get(model_of(backend)->sim, name, ns, &count);
}

static int model_uses(struct sim_backend *backend, const char *name, uint64_t *count)
{
	uint64_t ns;

	return ksmsim_cost_get(model_of(backend)->sim, name, &ns, count);
}

static int model_check(struct sim_backend *backend, char *buf, size_t size)
{
	return ksmsim_check(model_of(backend)->sim, buf, size);
}

const struct sim_backend_ops model_ops = {
	.name = "model",
	.free = model_free,
	.describe = model_describe,
	.listen = model_listen,
	.execute = model_execute,
	.counter = model_counter,
	.mthp = model_mthp,
	.read_file = model_read_file,
	.process = model_process,
	.ksm_pages = model_ksm_pages,
	.smaps = model_smaps,
	.page = model_page,
	.now = model_now,
	.blind = model_blind,
	.next_page = model_next_page,
	.vma = model_vma,
	.walk_cost = model_walk_cost,
	.cost = model_cost,
	.uses = model_uses,
	.check = model_check,
};
