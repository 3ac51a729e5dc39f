/*
 * live_split.c - large folios of the running kernel are split at will.
 *
 * debugfs has a file for it, split_huge_pages, where debugfs is mounted and the kernel is
 * not locked down. It says nothing about what it did: the splits are those that were
 * counted. What a kernel of this version does not understand it passes over without a word
 * (an order before 6.12 is no part of the line), so the features of the profile tell what
 * can be asked of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "live_parts.h"

#define SPLIT_FILE "/sys/kernel/debug/split_huge_pages"

static bool has_feature(const char *name)
{
	const struct ksmsim_config config = { .profile = sim_live_profile() };
	struct ksmsim *model;
	bool on = false;

	if (ksmsim_new(&config, &model))
		return false;
	ksmsim_feature_get(model, name, &on);
	ksmsim_free(model);
	return on;
}

/* PID,START,END, and what this kernel knows besides. */
static int make_line(struct live *live, const struct sim_op *op, char *text, size_t size)
{
	const bool page = (op->options & SIM_OPTION(page)) != 0;
	const bool to_order = has_feature("split_to_order");
	int length;

	if (op->order && !to_order)
		return live_fail(live, SIM_LIVE_ESKIP, "this kernel splits folios to pages only");
	if (page && !has_feature("split_nonuniform"))
		return live_fail(live, SIM_LIVE_ESKIP,
				 "this kernel cannot split a folio around one page");
	length = snprintf(text, size, "%d,0x%" PRIx64 ",0x%" PRIx64,
			  (int)live->processes[op->process].pid, op->vaddr, op->vaddr + op->length);
	if (to_order)
		length += snprintf(text + length, size - (size_t)length, ",%u", op->order);
	if (page)
		snprintf(text + length, size - (size_t)length, ",%" PRIu64, op->index);
	return 0;
}

int live_split(struct live *live, const struct sim_op *op, int64_t *result)
{
	char text[128];
	int error = make_line(live, op, text, sizeof(text));

	if (error)
		return error;
	error = live_write_at(AT_FDCWD, SPLIT_FILE, text, strlen(text));
	if (error == -ENOENT || error == -EPERM || error == -EACCES)
		return live_fail(live, SIM_LIVE_ESKIP,
				 "split needs debugfs, which a live kernel may not have");
	if (error)
		return live_fail(live, SIM_LIVE_EBROKEN, SPLIT_FILE ": %s", strerror(-error));
	*result = live_vmstat_splits(live);
	return 0;
}
