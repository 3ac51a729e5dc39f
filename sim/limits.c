/*
 * limits.c - what one operation may cost, so that no line of a scenario hangs.
 *
 * An operation that goes page by page touches at most SIM_PAGES_MAX pages; one
 * that costs only what is mapped (munmap, madvise MERGEABLE, ...) may have any
 * range. `run` has a bound in batches: ksmd could wake up once in each sleep and
 * the shortest batch, whatever it finds to do then. TIMES has its own.
 *
 * The bounds hold on every backend, so that a scenario is refused on both sides
 * or on none.
 */
#include <inttypes.h>

#include "run.h"

#define NS_PER_MS UINT64_C(1000000)
#define BATCH_NS_MIN UINT64_C(1000) /* a batch takes at least this long */

static int refuse_pages(struct sim_run *run, struct sim_word word, uint64_t bytes)
{
	const uint64_t page = run->world.page;

	return sim_refuse(run, word.text,
			  "%.*s would touch %" PRIu64 " pages; one operation may touch %" PRIu64
			  " (%" PRIu64 " GiB)",
			  SIM_WORD_ARG(run->cut.words[0]), bytes / page, SIM_PAGES_MAX,
			  (SIM_PAGES_MAX * page) >> 30);
}

/* Does it go over every page of its range, mapped or not? */
static bool goes_page_by_page(const struct sim_op *op)
{
	switch (op->id) {
	case SIM_OP_fill:
	case SIM_OP_poke:
	case SIM_OP_touch:
	case SIM_OP_read:
	case SIM_OP_check:
	case SIM_OP_pin:
	case SIM_OP_unpin:
	case SIM_OP_migrate:
	case SIM_OP_swapout:
	case SIM_OP_mlock:
		return true;
	case SIM_OP_madvise:
		return op->advice == KSMSIM_MADV_POPULATE_READ ||
		       op->advice == KSMSIM_MADV_POPULATE_WRITE ||
		       op->advice == KSMSIM_MADV_GUARD_INSTALL ||
		       op->advice == KSMSIM_MADV_HWPOISON;
	default:
		return false;
	}
}

/* Locked memory in the range, bytes. */
static int locked_bytes(struct sim_run *run, const struct sim_op *op, uint64_t *bytes)
{
	struct sim_backend *backend = run->backend;
	const uint64_t end = op->vaddr + op->length;
	struct ksmsim_vma vma;
	uint64_t from, to;
	size_t i;
	int error = 0;

	*bytes = 0;
	for (i = 0; backend->ops->vma; i++) {
		error = backend->ops->vma(backend, op->process, i, &vma);
		if (error || vma.start >= end)
			break;
		from = vma.start > op->vaddr ? vma.start : op->vaddr;
		to = vma.end < end ? vma.end : end;
		if (vma.locked && from < to)
			*bytes += to - from;
	}
	return !error || error == KSMSIM_EARGUMENT ? 0 : sim_fail(run, error);
}

/* Locked memory gets its pages when it grows, and when it becomes accessible. */
static int check_locked(struct sim_run *run, const struct sim_op *op)
{
	const uint64_t max = SIM_PAGES_MAX * run->world.page;
	const bool grows = op->id == SIM_OP_mremap;
	uint64_t pages = grows ? (op->size > op->length ? op->size - op->length : 0) : op->length;
	uint64_t locked;
	int error;

	if (pages <= max)
		return 0;
	error = locked_bytes(run, op, &locked);
	if (error || !locked || (!grows && locked <= max))
		return error;
	return refuse_pages(run, run->cut.words[grows ? 3 : 2], grows ? pages : locked);
}

static int check_run(struct sim_run *run, const struct sim_op *op)
{
	char text[64];
	uint64_t sleep = 0, period;
	int64_t ret = 0;
	int error = run->backend->ops->read_file(run->backend, "ksm/sleep_millisecs", text,
						 sizeof(text), &ret);

	if (error)
		return sim_fail(run, error);
	if (ret > 0)
		sim_word_number(sim_file_value(text), &sleep);
	period = sleep * NS_PER_MS + BATCH_NS_MIN;
	if (op->ns / period <= SIM_BATCHES_MAX)
		return 0;
	return sim_refuse(run, run->cut.words[1].text,
			  "ksmd could wake up %" PRIu64
			  " times in this time; one operation may have "
			  "%" PRIu64 " batches: %" PRIu64 " s with sleep_millisecs=%" PRIu64,
			  op->ns / period, SIM_BATCHES_MAX,
			  SIM_BATCHES_MAX * period / (NS_PER_MS * 1000), sleep);
}

int sim_limits_check(struct sim_run *run, const struct sim_op *op)
{
	const uint64_t max = SIM_PAGES_MAX * run->world.page;
	const struct sim_word *words = run->cut.words;

	if (goes_page_by_page(op))
		return op->length > max ? refuse_pages(run, words[2], op->length) : 0;
	switch (op->id) {
	case SIM_OP_mmap:
		if (!(op->options & (SIM_OPTION(populate) | SIM_OPTION(locked))))
			return 0;
		return op->size > max ? refuse_pages(run, words[3], op->size) : 0;
	case SIM_OP_mremap:
	case SIM_OP_mprotect:
		return check_locked(run, op);
	case SIM_OP_step:
	case SIM_OP_scan:
	case SIM_OP_khugepaged:
		if (op->times <= SIM_TIMES_MAX)
			return 0;
		return sim_refuse(run, words[op->id == SIM_OP_step ? 2 : 1].text,
				  "at most %" PRIu64 " times in one operation", SIM_TIMES_MAX);
	case SIM_OP_run:
		return check_run(run, op);
	default:
		return 0;
	}
}
