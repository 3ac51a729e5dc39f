/*
 * pair.c - see pair.h.
 *
 * The CPU time of ksmd is the first figure of its schedstat: the kernel brings it
 * up to date when the thread goes to sleep, and between operations it sleeps. The
 * live side runs first, so that the model's work does not cool the caches between
 * the operation and the clock.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "live.h"
#include "pair.h"

static int open_schedstat(void)
{
	DIR *dir = opendir("/proc");
	const struct dirent *entry;
	char path[64], name[16];
	int fd, found = -1;
	ssize_t got;

	while (dir && found < 0 && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		got = fd < 0 ? 0 : read(fd, name, sizeof(name));
		if (fd >= 0)
			close(fd);
		if (got != 5 || memcmp(name, "ksmd\n", 5))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/schedstat", entry->d_name);
		found = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (dir)
		closedir(dir);
	return found;
}

static uint64_t ksmd_ns(const struct sim_pair *pair)
{
	char text[96];
	const ssize_t length = pread(pair->ksmd, text, sizeof(text) - 1, 0);

	text[length > 0 ? length : 0] = '\0';
	return strtoull(text, NULL, 10);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int pair_fail(struct sim_pair *pair, int status, const struct sim_run *run)
{
	snprintf(pair->why, sizeof(pair->why), "%s", sim_run_error(run));
	return status;
}

int sim_pair_begin(struct sim_pair *pair)
{
	struct sim_options options = { .backend = sim_live_new };
	struct sim_backend *live;
	int error;

	*pair = (struct sim_pair){ .ksmd = -1 };
	if (!sim_live_supported(pair->why, sizeof(pair->why)))
		return SIM_LIVE_EREFUSED;
	sim_probe(&pair->probe, NULL, "");
	options.profile = pair->probe.profile;
	options.features = pair->probe.features;
	options.nr_features = pair->probe.nr_features;
	error = sim_run_new(&options, pair->why, sizeof(pair->why), &pair->live);
	if (error)
		return error;
	live = sim_run_backend(pair->live);
	live->ops->listen(live, NULL, NULL);
	options.backend = NULL;
	error = sim_run_new(&options, pair->why, sizeof(pair->why), &pair->model);
	if (error)
		return error;
	pair->ksmd = open_schedstat();
	if (pair->ksmd >= 0 && ksmd_ns(pair))
		return 0;
	snprintf(pair->why, sizeof(pair->why),
		 "this kernel does not tell the CPU time of ksmd (/proc/PID/schedstat)");
	return SIM_LIVE_EREFUSED;
}

void sim_pair_end(struct sim_pair *pair)
{
	sim_run_free(pair->live);
	sim_run_free(pair->model);
	if (pair->ksmd >= 0)
		close(pair->ksmd);
	pair->live = pair->model = NULL;
	pair->ksmd = -1;
}

/* Uses so far; @after: those since @uses was written. */
static void count_uses(struct sim_pair *pair, uint64_t *uses, bool after)
{
	struct sim_backend *model = sim_run_backend(pair->model);
	size_t nr, i;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_COSTS, &nr);
	uint64_t now;

	for (i = 0; i < nr && i < SIM_PAIR_COSTS; i++)
		if (!model->ops->uses(model, rows[i].name, &now))
			uses[i] = after ? now - uses[i] : now;
}

int sim_pair_line(struct sim_pair *pair, const char *text, struct sim_pair_time *time)
{
	struct sim_pair_time unused;
	const size_t length = strlen(text);
	int error;

	if (!time)
		time = &unused;
	*time = (struct sim_pair_time){ .result = 0 };
	count_uses(pair, time->uses, false);
	time->ksmd_ns = ksmd_ns(pair);
	time->wall_ns = clock_ns(CLOCK_MONOTONIC);
	error = sim_run_line(pair->live, "workload", 1, text, length);
	time->wall_ns = clock_ns(CLOCK_MONOTONIC) - time->wall_ns;
	time->ksmd_ns = ksmd_ns(pair) - time->ksmd_ns;
	if (error)
		return pair_fail(pair, error, pair->live);
	time->model_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	error = sim_run_line(pair->model, "workload", 1, text, length);
	time->model_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - time->model_ns;
	if (error)
		return pair_fail(pair, error, pair->model);
	count_uses(pair, time->uses, true);
	time->result = sim_run_result(pair->live);
	if (time->result == sim_run_result(pair->model) || !strncmp(text, "mmap", 4))
		return 0;
	snprintf(pair->why, sizeof(pair->why),
		 "%s: the kernel gives %" PRId64 ", the model %" PRId64, text, time->result,
		 sim_run_result(pair->model));
	return SIM_EDIFFER;
}

int sim_pair_do(struct sim_pair *pair, struct sim_pair_time *time, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return sim_pair_line(pair, text, time);
}

bool sim_pair_agree(struct sim_pair *pair, uint64_t *hash)
{
	static const enum ksmsim_counter compared[] = {
		KSMSIM_COUNT_pages_shared,   KSMSIM_COUNT_pages_sharing,
		KSMSIM_COUNT_pages_unshared, KSMSIM_COUNT_pages_volatile,
		KSMSIM_COUNT_pages_skipped,  KSMSIM_COUNT_pages_scanned,
		KSMSIM_COUNT_full_scans,     KSMSIM_COUNT_ksm_zero_pages,
	};
	struct sim_backend *live = sim_run_backend(pair->live);
	struct sim_backend *model = sim_run_backend(pair->model);
	size_t nr, i;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr);
	int64_t seen, wanted;

	for (i = 0; i < sizeof(compared) / sizeof(*compared); i++) {
		if (live->ops->counter(live, compared[i], &seen) ||
		    model->ops->counter(model, compared[i], &wanted))
			continue;
		if (seen != wanted) {
			snprintf(pair->why, sizeof(pair->why),
				 "%s: the kernel has %" PRId64 ", the model %" PRId64,
				 rows[compared[i]].name, seen, wanted);
			return false;
		}
		*hash = (*hash ^ (uint64_t)seen) * UINT64_C(0x100000001B3);
	}
	return true;
}
