/*
 * live_access.c - what the processes of a live scenario do to their memory, and pins.
 *
 * Pages are written whole with one copy each, from the slot's buffer in the
 * arena: one fault for a page, as the model has it. Contents come from the same
 * ksmsim_content_page().
 *
 * Pins are taken by the process and held by the driver, which copies the file
 * descriptors out of it (pidfd_getfd); so a fork inherits none, and the end of a
 * process gives back what it held only because the driver lets go.
 *
 *	get, held	vmsplice() into a pipe: a reference
 *	write		buffers registered with an io_uring: a long-term pin
 *	read		nothing in an ordinary kernel does that: cannot be done
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "live_parts.h"

/* ---- writing and reading ---- */

/* Fill or compare, LIVE_BUFFER_PAGES at a time. */
typedef int (*buffer_step)(struct live *live, const struct sim_op *op, uint64_t first, uint64_t nr,
			   int64_t *result);

static int by_buffers(struct live *live, const struct sim_op *op, buffer_step step, int64_t *result)
{
	const uint64_t nr = op->length / LIVE_PAGE;
	uint64_t at, some;
	int error = 0;

	for (at = 0; !error && *result >= 0 && at < nr; at += some) {
		some = nr - at < LIVE_BUFFER_PAGES ? nr - at : LIVE_BUFFER_PAGES;
		error = step(live, op, at, some, result);
	}
	return error;
}

static int fill_buffer(struct live *live, const struct sim_op *op, uint64_t first, uint64_t nr,
		       int64_t *result)
{
	const struct live_process *p = &live->processes[op->process];
	const uint64_t from = live_slot_address(p) + LIVE_SLOT_BUFFER;
	uint8_t *buffer = live_buffer_of(live, p);
	uint64_t i;
	int error = 0;

	for (i = 0; !error && i < nr; i++)
		error = ksmsim_content_page(&op->content, first + i, LIVE_PAGE,
					    buffer + i * LIVE_PAGE);
	if (error)
		return error;
	return live_order(
		live, op->process, LIVE_COPY,
		LIVE_ARGS(op->vaddr + first * LIVE_PAGE, from, LIVE_PAGE, nr, LIVE_PAGE, LIVE_PAGE),
		result);
}

int live_fill(struct live *live, const struct sim_op *op, int64_t *result)
{
	return by_buffers(live, op, fill_buffer, result);
}

static int check_buffer(struct live *live, const struct sim_op *op, uint64_t first, uint64_t nr,
			int64_t *result)
{
	const struct live_process *p = &live->processes[op->process];
	const uint64_t to = live_slot_address(p) + LIVE_SLOT_BUFFER;
	const uint8_t *buffer = live_buffer_of(live, p);
	uint8_t page[LIVE_PAGE];
	int64_t copied;
	uint64_t i;
	int error = live_order(
		live, op->process, LIVE_COPY,
		LIVE_ARGS(to, op->vaddr + first * LIVE_PAGE, LIVE_PAGE, nr, LIVE_PAGE, LIVE_PAGE),
		&copied);

	for (i = 0; !error && copied >= 0 && i < nr; i++) {
		error = ksmsim_content_page(&op->content, first + i, LIVE_PAGE, page);
		*result += memcmp(buffer + i * LIVE_PAGE, page, LIVE_PAGE) != 0;
	}
	if (!error && copied < 0)
		*result = copied;
	return error;
}

int live_check(struct live *live, const struct sim_op *op, int64_t *result)
{
	return by_buffers(live, op, check_buffer, result);
}

int live_poke(struct live *live, const struct sim_op *op, int64_t *result)
{
	const struct live_process *p = &live->processes[op->process];

	if (!op->size)
		return 0;
	memset(live_buffer_of(live, p), (int)op->number, op->size);
	return live_order(live, op->process, LIVE_COPY,
			  LIVE_ARGS(op->vaddr + op->offset, live_slot_address(p) + LIVE_SLOT_BUFFER,
				    op->size, op->length / LIVE_PAGE, LIVE_PAGE, 0),
			  result);
}

/* touch and read */
int live_touch(struct live *live, const struct sim_op *op, int64_t *result)
{
	return live_order(live, op->process, op->id == SIM_OP_touch ? LIVE_TOUCH : LIVE_READ,
			  LIVE_ARGS(op->vaddr, op->length / LIVE_PAGE), result);
}

/* ---- pins ---- */

#define NOBODY (SIM_NONE - 1)

static void let_go(struct live_pin *pin)
{
	if (pin->write_end >= 0)
		close(pin->write_end);
	else
		syscall(SYS_io_uring_register, pin->read_end, IORING_UNREGISTER_BUFFERS, NULL, 0);
	close(pin->read_end);
}

void live_pins_release(struct live *live, uint32_t process, bool all)
{
	size_t i, kept = 0;

	for (i = 0; i < live->nr_pins; i++) {
		struct live_pin pin = live->pins[i];

		if (all || (pin.process == process && !pin.held)) {
			let_go(&pin);
			continue;
		}
		/* what others hold is of an address space that nobody can name any more */
		if (pin.process == process)
			pin.process = NOBODY;
		live->pins[kept++] = pin;
	}
	live->nr_pins = kept;
}

int live_unpin(struct live *live, const struct sim_op *op, int64_t *result)
{
	size_t i, j, kept = 0;

	for (i = 0; i < live->nr_pins; i++) {
		struct live_pin *pin = &live->pins[i];

		/* one of each address: the first that is met */
		for (j = 0; j < i && pin->process == op->process; j++)
			if (live->pins[j].process == SIM_NONE && live->pins[j].vaddr == pin->vaddr)
				break;
		if (pin->process == op->process && j == i && pin->vaddr >= op->vaddr &&
		    pin->vaddr - op->vaddr < op->length) {
			let_go(pin);
			pin->process = SIM_NONE;
			++*result;
		}
	}
	for (i = 0; i < live->nr_pins; i++)
		if (live->pins[i].process != SIM_NONE)
			live->pins[kept++] = live->pins[i];
	live->nr_pins = kept;
	return 0;
}

/* A file descriptor of the process becomes ours; the process closes it. */
static int take_file(struct live *live, uint32_t process, int fd, int *mine)
{
	const int pidfd = (int)syscall(SYS_pidfd_open, live->processes[process].pid, 0);
	int64_t result;

	*mine = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (pidfd >= 0)
		close(pidfd);
	if (*mine < 0)
		return live_fail_errno(live, "a file of a process");
	return live_call(live, process, &result, SYS_close, (uint64_t)fd);
}

static void put_iovec(struct live *live, uint32_t process, uint64_t vaddr)
{
	const uint64_t iovec[] = { vaddr, LIVE_PAGE };

	memcpy(live_scratch_of(live, &live->processes[process]) + 64, iovec, sizeof(iovec));
}

/* A reference through a pipe. */
static int pin_by_pipe(struct live *live, struct live_pin *pin, int64_t *result)
{
	const struct live_process *p = &live->processes[pin->process];
	const uint64_t scratch = live_slot_address(p) + LIVE_SLOT_SCRATCH;
	int ends[2], error;

	error = live_call(live, pin->process, result, SYS_pipe2, scratch, 0);
	if (error || *result < 0)
		return error;
	memcpy(ends, live_scratch_of(live, p), sizeof(ends));
	put_iovec(live, pin->process, pin->vaddr);
	error = live_call(live, pin->process, result, SYS_vmsplice, (uint64_t)ends[1], scratch + 64,
			  1, 0);
	if (!error)
		error = take_file(live, pin->process, ends[0], &pin->read_end);
	if (!error)
		error = take_file(live, pin->process, ends[1], &pin->write_end);
	return error;
}

static int pin_by_ring(struct live *live, struct live_pin *pin, int64_t *result)
{
	const struct live_process *p = &live->processes[pin->process];
	const uint64_t scratch = live_slot_address(p) + LIVE_SLOT_SCRATCH;
	int64_t ring, code;
	int error;

	memset(live_scratch_of(live, p) + 256, 0, sizeof(struct io_uring_params));
	error = live_call(live, pin->process, &ring, SYS_io_uring_setup, 1, scratch + 256);
	if (error)
		return error;
	if (ring < 0)
		return live_fail(live, SIM_LIVE_ESKIP, "write pins need io_uring: %s",
				 strerror((int)-ring));
	put_iovec(live, pin->process, pin->vaddr);
	error = live_call(live, pin->process, &code, SYS_io_uring_register, (uint64_t)ring,
			  IORING_REGISTER_BUFFERS, scratch + 64, 1);
	*result = code < 0 ? code : 0;
	pin->write_end = -1;
	return error ? error : take_file(live, pin->process, (int)ring, &pin->read_end);
}

/* Only what is anonymous memory is a pin: the zero page and files need none. */
static int keep_pin(struct live *live, struct live_pin *pin)
{
	const struct live_page *page;
	int error;

	live_pages_forget(live);
	error = live_pages_read(live, pin->process);
	if (error)
		return error;
	page = live_page_find(&live->processes[pin->process], pin->vaddr);
	if (!page || page->zero || page->file) {
		let_go(pin);
		return 0;
	}
	if (!sim_grow(live->mem, &live->pins, &live->pins_capacity, live->nr_pins,
		      sizeof(*live->pins)))
		return live_no_memory(live);
	live->pins[live->nr_pins++] = *pin;
	return 0;
}

static int pin_page(struct live *live, const struct sim_op *op, uint64_t vaddr, int64_t *result)
{
	struct live_pin pin = { .process = op->process,
				.vaddr = vaddr,
				.held = op->choice == SIM_PIN_held };
	int error = 0;

	if (pin.held) {
		live_pages_forget(live);
		error = live_pages_read(live, op->process);
		if (error || !live_page_find(&live->processes[op->process], vaddr))
			return error;
	}
	if (op->choice == SIM_PIN_write)
		error = pin_by_ring(live, &pin, result);
	else
		error = pin_by_pipe(live, &pin, result);
	if (error)
		return error;
	if (*result < 0) {
		let_go(&pin);
		return pin.held ? live_fail(live, SIM_LIVE_ESKIP,
					    "pages that the process may not read cannot be held")
				: 0;
	}
	*result = 0;
	return keep_pin(live, &pin);
}

int live_pin(struct live *live, const struct sim_op *op, int64_t *result)
{
	uint64_t at;
	int error = 0;

	if (op->choice == SIM_PIN_read)
		return live_fail(live, SIM_LIVE_ESKIP,
				 "nothing in a running kernel pins for reading only");
	for (at = 0; !error && *result >= 0 && at < op->length; at += LIVE_PAGE)
		error = pin_page(live, op, op->vaddr + at, result);
	return error;
}
