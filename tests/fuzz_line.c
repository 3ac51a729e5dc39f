/*
 * fuzz_line.c - libFuzzer: bytes are a scenario, parsed and run.
 *
 * The first byte chooses the profile. A line that is refused has changed
 * nothing, so the run goes on behind it. Between the scenario layer and the
 * model sits a gate: what is legal but long (fills of terabytes, thousands of
 * batches) is answered with ENOMEM, and all operations together get a budget.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/run.h"

#define LINES 200u
#define PAGES_OF_OPERATION 600u
#define PAGES 20000u	/* of a whole input */
#define BATCHES 40u	/* of an operation */
#define RUN_NS 1000000u /* of an operation: up to a thousand batches */
#define RUNS 10u	/* of a whole input */
#define ENOMEM_OF_KERNEL 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The model's functions, and what is left. One input at a time. */
static const struct sim_backend_ops *model;
static uint64_t pages_left, runs_left;

static bool spend(uint64_t pages)
{
	if (pages > PAGES_OF_OPERATION || pages > pages_left)
		return false;
	pages_left -= pages;
	return true;
}

static bool spend_run(void)
{
	return runs_left && runs_left--;
}

static uint64_t pages_of(uint64_t bytes)
{
	return bytes / 4096 + 1;
}

/* Is this quick enough? */
static bool is_short(const struct sim_op *op)
{
	switch (op->id) {
	case SIM_OP_mmap:
		return !(op->options & (SIM_OPTION(populate) | SIM_OPTION(locked))) ||
		       spend(pages_of(op->size));
	case SIM_OP_mremap:
	case SIM_OP_brk:
		return spend(pages_of(op->size));
	case SIM_OP_madvise:
		return (op->advice != KSMSIM_MADV_POPULATE_READ &&
			op->advice != KSMSIM_MADV_POPULATE_WRITE) ||
		       spend(pages_of(op->length));
	case SIM_OP_poke:
		return spend(pages_of(op->length)) && op->size <= 65536 &&
		       spend(pages_of(op->size * (op->length / 4096)));
	case SIM_OP_mlock:
	case SIM_OP_fill:
	case SIM_OP_touch:
	case SIM_OP_read:
	case SIM_OP_check:
	case SIM_OP_pin:
	case SIM_OP_migrate:
	case SIM_OP_swapout:
		return spend(pages_of(op->length));
	case SIM_OP_fork:
	case SIM_OP_step:
	case SIM_OP_scan:
		return op->times <= BATCHES && spend(1 + op->times);
	case SIM_OP_run:
		return op->ns <= RUN_NS && spend_run();
	default:
		return true;
	}
}

static int execute(struct sim_backend *backend, const struct sim_op *op, int64_t *result)
{
	if (is_short(op))
		return model->execute(backend, op, result);
	*result = op->id == SIM_OP_proc ? 0 : -ENOMEM_OF_KERNEL;
	return 0;
}

static int page(struct sim_backend *backend, uint32_t process, uint64_t vaddr,
		struct ksmsim_page *out)
{
	return spend(1) ? model->page(backend, process, vaddr, out) : KSMSIM_EARGUMENT;
}

static struct sim_run *begin(uint8_t choice, FILE *sink, struct sim_backend_ops *gate)
{
	static const char *const profiles[] = { "linux-6.1", "linux-6.12", "linux-6.18",
						"linux-7.3" };
	const struct sim_options options = { .profile = profiles[choice % 4],
					     .check = true,
					     .json = choice & 4 ? sink : NULL,
					     .trace = choice & 8 ? sink : NULL,
					     .echo = sink,
					     .log = sink };
	struct sim_run *run;
	char error[256];

	if (sim_run_new(&options, error, sizeof(error), &run))
		abort();
	model = run->backend->ops;
	*gate = *model;
	gate->execute = execute;
	gate->page = page;
	run->backend->ops = gate;
	pages_left = PAGES;
	runs_left = RUNS;
	return run;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1, *end = (const char *)data + size, *next;
	FILE *sink = fopen("/dev/null", "w");
	struct sim_backend_ops gate;
	struct sim_run *run;
	unsigned long line;
	int error;

	if (!size || !sink) {
		if (sink)
			fclose(sink);
		return 0;
	}
	run = begin(data[0], sink, &gate);
	for (line = 1; text < end && line <= LINES; text = next + 1, line++) {
		next = memchr(text, '\n', (size_t)(end - text));
		if (!next)
			next = end;
		error = sim_run_line(run, "input", line, text, (size_t)(next - text));
		if (error == SIM_EINPUT) {
			run->status = 0;
		} else if (error && error != KSMSIM_EARGUMENT) {
			fprintf(stderr, "%s\n", sim_run_error(run));
			abort();
		} else if (error) {
			break;
		}
	}
	if (!run->status)
		sim_run_end(run);
	sim_run_free(run);
	fclose(sink);
	return 0;
}
