/*
 * live_vmstat.c - what the kernel counts.
 *
 * Huge pages have no counters of their own for a process or a group: those of
 * /proc/vmstat and of transparent_hugepage/hugepages-<size>kB/stats are everybody's. So
 * they are read right before and right after each operation, and what has been
 * added in between is the scenario's; what others did while it waited is not.
 * Levels (nr_anon) are changes since the beginning of the run in the same way.
 * Before a scenario has done anything about huge pages all that changes is others'.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "live_parts.h"

#define TEXT_BYTES 16384u

static const struct ksmsim_row *counter_row(size_t counter)
{
	size_t nr;

	return &ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr)[counter];
}

/* ---- /proc/vmstat ---- */

static size_t read_text(const struct live *live, char text[TEXT_BYTES])
{
	const ssize_t length = pread(live->vmstat.file, text, TEXT_BYTES - 1, 0);

	text[length > 0 ? length : 0] = '\0';
	return length > 0 ? (size_t)length : 0;
}

bool live_vmstat_read(const struct live *live, const char *name, int64_t *value)
{
	char text[TEXT_BYTES], key[64];

	read_text(live, text);
	snprintf(key, sizeof(key), "%s ", name);
	return live_number_of(text, key, value);
}

static uint8_t row_of(const char *line)
{
	size_t i;

	for (i = 0; i < KSMSIM_COUNT_NR; i++) {
		const struct ksmsim_row *row = counter_row(i);
		const size_t length = strlen(row->name);

		if (!strcmp(row->file, "vmstat") && !strncmp(line, row->name, length) &&
		    line[length] == ' ')
			return (uint8_t)(i + 1);
	}
	return 0;
}

/* The lines of a kernel are always the same: which one is whose is found out once. */
static void read_counters(struct live *live, int64_t values[KSMSIM_COUNT_NR])
{
	struct live_vmstat *v = &live->vmstat;
	char text[TEXT_BYTES], *line = text, *end;
	size_t at;

	memset(values, 0, KSMSIM_COUNT_NR * sizeof(*values));
	read_text(live, text);
	for (at = 0; at < sizeof(v->rows) && (end = strchr(line, '\n')); at++, line = end + 1) {
		if (!v->known)
			v->rows[at] = row_of(line);
		if (v->rows[at])
			values[v->rows[at] - 1] = strtoll(strchr(line, ' '), NULL, 10);
	}
	v->known = true;
}

/* ---- statistics of each size ---- */

static const char *const stat_names[] = {
#define MTHP(name, feature, doc) #name,
#include "ksmsim/mthp.def"
};

static void open_stats(struct live *live)
{
	char path[96];
	unsigned stat, order;

	for (stat = 0; stat < KSMSIM_MTHP_NR; stat++)
		for (order = 2; order < KSMSIM_ORDERS; order++) {
			snprintf(path, sizeof(path), "hugepages-%ukB/stats/%s",
				 (unsigned)LIVE_PAGE / 1024 << order, stat_names[stat]);
			live->vmstat.stats[stat][order] =
				openat(live->thp.dir, path, O_RDONLY | O_CLOEXEC);
		}
}

static int64_t read_stat(int fd)
{
	char text[32];
	const ssize_t length = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, 0);

	text[length > 0 ? length : 0] = '\0';
	return strtoll(text, NULL, 10);
}

static void read_stats(const struct live *live, struct sim_mthp *mthp)
{
	unsigned stat, order;

	for (stat = 0; stat < KSMSIM_MTHP_NR; stat++)
		for (order = 2; order < KSMSIM_ORDERS; order++)
			mthp->value[stat][order] = read_stat(live->vmstat.stats[stat][order]);
}

int live_mthp(struct sim_backend *backend, struct sim_mthp *mthp)
{
	*mthp = ((const struct live *)(const void *)backend)->vmstat.mthp_sum;
	return 0;
}

/* ---- around an operation ---- */

void live_vmstat_before(struct live *live)
{
	live->vmstat.has_most_failed = false;
	read_counters(live, live->vmstat.before);
	if (live->thp.used)
		read_stats(live, &live->vmstat.mthp_before);
}

static void limit(int64_t before, int64_t most, int64_t *now)
{
	if (*now - before > most)
		*now = before + most;
}

static void limit_failed(const struct live *live, int64_t now[KSMSIM_COUNT_NR],
			 struct sim_mthp *stats)
{
	const struct live_vmstat *v = &live->vmstat;
	const int counter = KSMSIM_COUNT_thp_split_page_failed, stat = KSMSIM_MTHP_split_failed;
	unsigned order;

	limit(v->before[counter], v->most_failed[LIVE_PMD_ORDER], &now[counter]);
	for (order = 2; order < KSMSIM_ORDERS; order++)
		limit(v->mthp_before.value[stat][order], v->most_failed[order],
		      &stats->value[stat][order]);
}

void live_vmstat_after(struct live *live)
{
	struct live_vmstat *v = &live->vmstat;
	int64_t now[KSMSIM_COUNT_NR];
	struct sim_mthp stats;
	unsigned stat, order;
	size_t i;

	read_counters(live, now);
	if (live->thp.used)
		read_stats(live, &stats);
	if (live->thp.used && v->has_most_failed)
		limit_failed(live, now, &stats);
	for (i = 0; i < KSMSIM_COUNT_NR; i++)
		if (live->thp.used || strncmp(counter_row(i)->name, "thp_", 4) != 0)
			v->sum[i] += now[i] - v->before[i];
	for (stat = 0; live->thp.used && stat < KSMSIM_MTHP_NR; stat++)
		for (order = 2; order < KSMSIM_ORDERS; order++)
			v->mthp_sum.value[stat][order] +=
				stats.value[stat][order] - v->mthp_before.value[stat][order];
}

/* A kernel without statistics of sizes has no smaller ones. */
int64_t live_vmstat_splits(struct live *live)
{
	int64_t splits = 0;
	unsigned order;

	if (live->vmstat.stats[KSMSIM_MTHP_split][LIVE_PMD_ORDER] < 0 &&
	    live_vmstat_read(live, "thp_split_page", &splits))
		return splits - live->vmstat.before[KSMSIM_COUNT_thp_split_page];
	for (order = 2; order < KSMSIM_ORDERS; order++)
		splits += read_stat(live->vmstat.stats[KSMSIM_MTHP_split][order]) -
			  live->vmstat.mthp_before.value[KSMSIM_MTHP_split][order];
	return splits;
}

/* ---- all counters ---- */

/* general_profit counts every item at its size. */
static int64_t count_items(const struct live *live)
{
	int64_t sharing = 0, zero = 0, profit = 0;

	live_read_number(live->ksm, "pages_sharing", &sharing);
	live_read_number(live->ksm, "ksm_zero_pages", &zero);
	live_read_number(live->ksm, "general_profit", &profit);
	return ((sharing + zero) * (int64_t)LIVE_PAGE - profit) / 64;
}

static int64_t read_counter(const struct live *live, enum ksmsim_counter counter)
{
	size_t nr;
	const struct ksmsim_row *row = &ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr)[counter];
	int64_t value = 0;

	if (counter == KSMSIM_COUNT_rmap_items)
		return count_items(live);
	if (!strcmp(row->file, "vmstat"))
		return live->vmstat.sum[counter];
	if (counter == KSMSIM_COUNT_HardwareCorrupted)
		return live->failed_pages;
	if (live_is_thp_file(row->file))
		live_read_number(live->thp.dir, strchr(row->file, '/') + 1, &value);
	else if (!strncmp(row->file, "ksm/", 4))
		live_read_number(live->ksm, row->file + 4, &value);
	return value;
}

int live_counter(struct sim_backend *backend, enum ksmsim_counter counter, int64_t *value)
{
	const struct live *live = (const struct live *)(const void *)backend;

	*value = read_counter(live, counter) - live->base[counter];
	return 0;
}

void live_counters_begin(struct live *live)
{
	static const enum ksmsim_counter counters[] = {
		KSMSIM_COUNT_pages_scanned,
		KSMSIM_COUNT_pages_skipped,
		KSMSIM_COUNT_ksm_zero_pages,
		KSMSIM_COUNT_general_profit,
		KSMSIM_COUNT_khugepaged_pages_collapsed,
		KSMSIM_COUNT_khugepaged_full_scans,
	};
	size_t i;

	for (i = 0; i < sizeof(counters) / sizeof(*counters); i++)
		live->base[counters[i]] = read_counter(live, counters[i]);
}

/* ---- begin and end ---- */

int live_vmstat_start(struct live *live)
{
	live->vmstat.file = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	if (live->vmstat.file < 0)
		return live_fail_errno(live, "/proc/vmstat");
	open_stats(live);
	return 0;
}

void live_vmstat_end(struct live *live)
{
	unsigned stat, order;

	if (live->vmstat.file < 0)
		return;
	close(live->vmstat.file);
	for (stat = 0; stat < KSMSIM_MTHP_NR; stat++)
		for (order = 2; order < KSMSIM_ORDERS; order++)
			if (live->vmstat.stats[stat][order] >= 0)
				close(live->vmstat.stats[stat][order]);
}
