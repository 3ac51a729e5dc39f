/*
 * live_ksmd.c - ksmd: knobs, and batches one at a time.
 *
 * Between operations ksmd is parked: run is 0 and it sleeps until run is 1. A
 * batch is a write of 1, after which ksmd runs at once; when its state is S again
 * the batch is over and ksmd is in its timed sleep, out of which only a changed
 * sleep_millisecs wakes it:
 *
 *	run=1 -> batch -> asleep, sleep_millisecs = other -> batch -> ... -> run=0,
 *	sleep_millisecs = other -> parked
 *
 * Only two values of sleep_millisecs are ever used, both "for ever". State S is
 * the one sign that is always right: a woken thread is R before the write returns.
 *
 * So four knobs have a value of the scenario's, which it reads and writes, beside
 * the one in the kernel: run, sleep_millisecs, pages_to_scan and the time between
 * two prunings of a chain. What the scenario writes goes to the kernel first, for
 * its answer. run=2 stays 2 in the kernel, because it changes where processes join
 * the list. Time stands still for the model, so chains are pruned always (0) or
 * never (anything else).
 *
 * A kernel that does not count visits (6.1) ends a batch with the pass all the same: there the
 * rest of a pass is one batch that is longer than any pass.
 *
 * With a listener a batch of n pages is n batches of one page, so that an event
 * can be told to be about the page of this step. It is the same to the kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live_parts.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define BATCH_MAX 65536u     /* pages; a longer one cannot be stopped */
#define FOR_EVER 4294967295u /* ms */
#define HUGE ((size_t)2 << 20)

/* ---- the thread ---- */

static int64_t read_fd_number(int fd)
{
	char text[32];
	const ssize_t length = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, 0);

	text[length > 0 ? length : 0] = '\0';
	return strtoll(text, NULL, 10);
}

static int wait_asleep(struct live *live)
{
	return live_thread_rest(live, live->ksmd_stat, "ksmd");
}

static int wake(struct live *live)
{
	live->knobs.sleep_other = !live->knobs.sleep_other;
	return live_write_number(live->ksm, "sleep_millisecs", FOR_EVER - live->knobs.sleep_other);
}

static int real_run(const struct live *live)
{
	return live->knobs.run == 2 ? 2 : 0;
}

static int park(struct live *live)
{
	int error = live_write_number(live->ksm, "run", (uint64_t)real_run(live));

	if (!error)
		error = wake(live);
	if (error)
		return live_fail(live, SIM_LIVE_EBROKEN, "ksmd cannot be parked: %s",
				 strerror(-error));
	return wait_asleep(live);
}

/* ---- steps ---- */

static int batch(struct live *live, bool first, int64_t *visited)
{
	const int64_t scanned = read_fd_number(live->scanned);
	const int64_t skipped = read_fd_number(live->skipped);
	int error = first ? live_write_number(live->ksm, "run", 1) : wake(live);

	if (error)
		return live_fail(live, SIM_LIVE_EBROKEN, "ksmd cannot be woken: %s",
				 strerror(-error));
	error = wait_asleep(live);
	*visited = read_fd_number(live->scanned) - scanned;
	live->step_skipped = read_fd_number(live->skipped) - skipped;
	if (live->knobs.by_advisor)
		live->step_skipped = -1;
	if (!error && live->listener)
		error = live_trace_pump(live);
	live_items_step(live, *visited);
	return error;
}

/* Batches of @size pages until @pages were visited or the pass is over. */
static int batches(struct live *live, uint64_t pages, uint64_t size, bool *first, int64_t *result)
{
	int64_t visited = 0;
	int error = 0;

	while (pages) {
		if (size > pages)
			size = pages;
		if (!live->knobs.by_advisor && (*first || size != live->knobs.pages_now))
			error = live_write_number(live->ksm, "pages_to_scan", size);
		if (error)
			return live_fail(live, SIM_LIVE_EBROKEN, "pages_to_scan: %s",
					 strerror(-error));
		live->knobs.pages_now = size;
		error = batch(live, *first, &visited);
		*first = false;
		*result += visited;
		if (error || visited < (int64_t)size)
			return error;
		pages -= size;
	}
	return 0;
}

/* How many pages a batch of this operation has. */
static int batch_size(struct live *live, const struct sim_op *op, uint64_t *size)
{
	int64_t now = 0;

	*size = live->listener ? 1 : BATCH_MAX;
	if (live->scanned < 0)
		*size = UINT32_MAX;
	if (!live->knobs.by_advisor)
		return 0;
	live_read_number(live->ksm, "pages_to_scan", &now);
	*size = (uint64_t)now;
	if (op->id == SIM_OP_scan || op->number != *size)
		return live_fail(
			live, SIM_LIVE_ESKIP,
			"with advisor_mode=scan-time the size of a batch is the advisor's");
	return 0;
}

int live_ksmd_step(struct live *live, const struct sim_op *op, int64_t *result)
{
	const bool all = op->id == SIM_OP_scan;
	bool first = true;
	uint64_t i, size;
	int error, parked;

	if ((live->knobs.run_written && live->knobs.run != 1) || (!all && !op->number))
		return 0;
	error = live->listener ? live_items_before(live) : 0;
	for (i = 0; !error && i < op->times; i++) {
		error = batch_size(live, op, &size);
		if (!error)
			error = batches(live, all ? UINT64_MAX : op->number, size, &first, result);
	}
	parked = first ? 0 : park(live);
	return error ? error : parked;
}

/*
 * Moving no pages begins by draining the LRU batches of all CPUs. A kernel without NUMA cannot move
 * pages; there MADV_COLLAPSE drains (until 7.3, which does so only when it fails) before it finds that the
 * range has no whole huge page in it: one page on either side of where a huge page begins.
 */
int live_drain(struct live *live)
{
	const uintptr_t middle = ((uintptr_t)live->drain_range + HUGE) & ~(uintptr_t)(HUGE - 1);
	void *range = (void *)(middle - LIVE_PAGE);
	int node = 0, status;

	if (!syscall(SYS_move_pages, 0, 0L, &range, &node, &status, MPOL_MF_MOVE))
		return 0;
	if (errno != ENOSYS || live_madvise_self(live, range, 2 * LIVE_PAGE, MADV_COLLAPSE))
		return live_fail_errno(live, "the LRU batches cannot be drained");
	return 0;
}

/* ---- knobs ---- */

/* What kstrtouint() takes for 1: that would wake ksmd. */
static bool is_one(const char *text)
{
	text += *text == '+';
	while (text[0] == '0' && text[1])
		text++;
	return text[0] == '1' && (!text[1] || (text[1] == '\n' && !text[2]));
}

static int64_t write_run(struct live *live, const char *text)
{
	struct live_knobs *knobs = &live->knobs;
	const char *real = is_one(text) ? "0" : text;
	const int error = live_write_at(live->ksm, "run", real, strlen(real));
	int64_t now = 0;

	if (error == -EINVAL || !live_read_number(live->ksm, "run", &now))
		return error;
	knobs->run = is_one(text) ? 1 : (uint64_t)now;
	if (!error)
		knobs->run_written = true;
	return error;
}

/* The kernel's answer; the value that it took becomes the scenario's. */
static int64_t write_own(struct live *live, const char *name, const char *text, uint64_t *value)
{
	const int error = live_write_at(live->ksm, name, text, strlen(text));
	int64_t now;

	if (!error && live_read_number(live->ksm, name, &now))
		*value = (uint64_t)now;
	return error;
}

static int64_t write_mode(struct live *live, const char *text)
{
	struct live_knobs *knobs = &live->knobs;
	char mode[64] = "";
	int64_t error, now = 0;

	if (!knobs->by_advisor)
		live_write_number(live->ksm, "pages_to_scan", knobs->pages_to_scan);
	error = live_write_at(live->ksm, "advisor_mode", text, strlen(text));
	if (live_read_at(live->ksm, "advisor_mode", mode, sizeof(mode)))
		knobs->by_advisor = strstr(mode, "[scan-time]") != NULL;
	if (live_read_number(live->ksm, "pages_to_scan", &now))
		knobs->pages_to_scan = (uint64_t)now;
	return error;
}

static int64_t write_knob(struct live *live, const char *name, const char *text)
{
	struct live_knobs *knobs = &live->knobs;
	int64_t result;

	if (!strcmp(name, "run"))
		return write_run(live, text);
	if (!strcmp(name, "pages_to_scan"))
		return write_own(live, name, text, &knobs->pages_to_scan);
	if (!strcmp(name, "advisor_mode"))
		return write_mode(live, text);
	if (!strcmp(name, "sleep_millisecs")) {
		result = write_own(live, name, text, &knobs->sleep_millisecs);
		wake(live);
		return result;
	}
	if (!strcmp(name, "stable_node_chains_prune_millisecs")) {
		result = write_own(live, name, text, &knobs->prune_millisecs);
		live_write_number(live->ksm, name, knobs->prune_millisecs ? FOR_EVER : 0);
		return result;
	}
	return live_write_at(live->ksm, name, text, strlen(text));
}

/* The name of a file in /sys/kernel/mm/ksm; NULL: it is elsewhere. */
static const char *name_in_ksm(const char *file)
{
	if (strncmp(file, "ksm/", 4) || strchr(file + 4, '/') || file[4] == '.' || !file[4])
		return NULL;
	return file + 4;
}

int live_ksm_write(struct live *live, const char *file, const char *text, int64_t *result)
{
	const char *name = name_in_ksm(file);

	if (!strcmp(file, "ksmsim/shrink_tries"))
		return live_group_write(live, text, result);
	if (!name && !strncmp(file, "ksmsim/", 7))
		return live_fail(live, SIM_LIVE_ESKIP, "%s is a knob of the model only", file);
	*result = name ? write_knob(live, name, text) : -ENOENT;
	return 0;
}

static bool own_value(const struct live *live, const char *name, uint64_t *value)
{
	const struct live_knobs *knobs = &live->knobs;
	const struct {
		const char *name;
		uint64_t value;
	} own[] = { { "run", knobs->run },
		    { "sleep_millisecs", knobs->sleep_millisecs },
		    { "stable_node_chains_prune_millisecs", knobs->prune_millisecs },
		    { knobs->by_advisor ? "" : "pages_to_scan", knobs->pages_to_scan } };
	size_t i;

	for (i = 0; i < sizeof(own) / sizeof(*own); i++) {
		if (strcmp(name, own[i].name))
			continue;
		*value = own[i].value;
		return true;
	}
	return false;
}

int live_ksm_read(struct live *live, const char *file, char *buf, size_t size, int64_t *result)
{
	const char *name = name_in_ksm(file);
	uint64_t value;
	int64_t seen;
	size_t i, nr;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr);

	*result = -ENOENT;
	if (!name)
		return 0;
	if (own_value(live, name, &value)) {
		*result = snprintf(buf, size, "%llu\n", (unsigned long long)value);
		return 0;
	}
	if (!live_read_at(live->ksm, name, buf, size)) {
		*result = -errno;
		return 0;
	}
	for (i = 0; i < nr; i++)
		if (live->base[i] && !strcmp(rows[i].file, file) &&
		    live_read_number(live->ksm, name, &seen))
			snprintf(buf, size, "%lld\n", (long long)(seen - live->base[i]));
	*result = (int64_t)strlen(buf);
	return 0;
}

/* ---- begin and end ---- */

static const struct {
	const char *file;
	uint64_t value;
} defaults[] = {
#define KNOB(name, file, value, min, max, parse, feature, unit, doc) { file, value },
#include "ksmsim/knobs.def"
};

static int set_defaults(struct live *live)
{
	const char *name;
	size_t i;
	int error;

	live_write_at(live->ksm, "advisor_mode", "none", 4);
	for (i = 0; i < sizeof(defaults) / sizeof(*defaults); i++) {
		name = name_in_ksm(defaults[i].file);
		if (!name || !strcmp(name, "advisor_mode"))
			continue;
		error = live_write_number(live->ksm, name, defaults[i].value);
		if (error && error != -ENOENT)
			return live_fail(live, SIM_LIVE_EREFUSED, "%s cannot be set: %s", name,
					 strerror(-error));
		if (!strcmp(name, "sleep_millisecs"))
			live->knobs.sleep_millisecs = defaults[i].value;
		else if (!strcmp(name, "pages_to_scan"))
			live->knobs.pages_to_scan = defaults[i].value;
		else if (!strcmp(name, "stable_node_chains_prune_millisecs"))
			live->knobs.prune_millisecs = defaults[i].value;
	}
	live_write_number(live->ksm, "stable_node_chains_prune_millisecs", FOR_EVER);
	return 0;
}

static int open_files(struct live *live)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)live->guard.ksmd);
	live->ksmd_stat = open(path, O_RDONLY | O_CLOEXEC);
	live->scanned = openat(live->ksm, "pages_scanned", O_RDONLY | O_CLOEXEC);
	live->skipped = openat(live->ksm, "pages_skipped", O_RDONLY | O_CLOEXEC);
	if (live->ksmd_stat < 0)
		return live_fail_errno(live, "ksmd");
	live->drain_range = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (live->drain_range == MAP_FAILED) {
		live->drain_range = NULL;
		return live_fail_errno(live, "memory");
	}
	/* a VMA without an anon_vma is refused before the draining */
	*(volatile char *)live->drain_range = 1;
	return 0;
}

int live_ksmd_start(struct live *live)
{
	int error = open_files(live);

	if (!error)
		error = set_defaults(live);
	return error ? error : park(live);
}

void live_ksmd_end(struct live *live)
{
	if (live->drain_range)
		munmap(live->drain_range, 2 * HUGE);
	if (live->ksmd_stat >= 0)
		close(live->ksmd_stat);
	if (live->scanned >= 0)
		close(live->scanned);
	if (live->skipped >= 0)
		close(live->skipped);
}
