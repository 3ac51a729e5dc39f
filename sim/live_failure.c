/*
 * live_failure.c - madvise HWPOISON in the processes of a live scenario.
 *
 * What the kernel loses so is lost until it boots again: a few pages for each scenario that
 * does it, so it is done only where that was allowed. Zero pages are spared, since all processes have them, and pages of files, since
 * they may be programs: such a scenario is skipped, as is all of them by a kernel that was
 * built without CONFIG_MEMORY_FAILURE.
 *
 * What could surprise: the process that asks gets a SIGBUS itself, on its way out of the
 * system call, and would die of it if it were blocked or ignored. So it has a handler for
 * that moment that does nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live_parts.h"

#define ADVICE_HWPOISON 100

/* /proc/meminfo, pages; -1: the kernel does not tell. */
static int64_t corrupted(void)
{
	char text[8192];
	int64_t kib = -1;

	if (!live_read_at(AT_FDCWD, "/proc/meminfo", text, sizeof(text)) ||
	    !live_number_of(text, "HardwareCorrupted:", &kib))
		return -1;
	return kib * 1024 / (int64_t)LIVE_PAGE;
}

/* Everything in the range is memory that is the scenario's own, or is not there and will not be. */
static int check_range(struct live *live, const struct sim_op *op)
{
	const struct live_process *p = &live->processes[op->process];
	uint64_t at;
	int error = live_pages_look(live, op->process);

	for (at = op->vaddr; !error && at < op->vaddr + op->length;) {
		const struct live_page *page = live_page_find(p, at);

		if (!page || page->zero || page->file)
			error = live_fail(live, SIM_LIVE_ESKIP,
					  "a zero page, or one of a file, would be lost");
		else
			at += (uint64_t)LIVE_PAGE << page->order;
	}
	return error;
}

int live_memory_failure(struct live *live, const struct sim_op *op, int64_t *result)
{
	const uint64_t fault = live_code_fault_address();
	const int64_t before = corrupted();
	int error;

	if (access("/proc/sys/vm/memory_failure_early_kill", F_OK) || before < 0)
		return live_fail(live, SIM_LIVE_ESKIP,
				 "the kernel has no MADV_HWPOISON (CONFIG_MEMORY_FAILURE)");
	if (!live->lose_memory)
		return live_fail(live, SIM_LIVE_ESKIP,
				 "the machine would lose memory until it boots again; "
				 "--lose-memory allows it");
	error = check_range(live, op);
	if (error)
		return error;
	live->lost = true;
	error = live_handle(live, op->process, SIGBUS, live_code_ignore_address(),
			    live_code_return_address());
	if (!error)
		error = live_call(live, op->process, result, SYS_madvise, op->vaddr, op->length,
				  ADVICE_HWPOISON);
	if (!error)
		error = live_handle(live, op->process, SIGBUS, fault, fault);
	live->failed_pages += corrupted() - before;
	return error;
}

uint64_t live_failure_lost(struct live *live, uint32_t process)
{
	const struct live_pages *pages = &live->processes[process].pages;
	uint64_t nr = 0;
	size_t i;

	if (live_pages_read(live, process))
		return 0;
	for (i = 0; i < pages->nr; i++)
		nr += pages->list[i].lost;
	return nr;
}
