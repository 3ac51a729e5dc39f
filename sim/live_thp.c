/*
 * live_thp.c - huge pages on the running kernel.
 *
 * Whoever sets huge pages to "always" sets them for every process of the machine.
 * So a file that the scenario set to always says madvise while nothing of the
 * scenario runs, and always only during its operations (live_thp_open(), _close()):
 * others have next to no time to get a huge page, and what they got before does not
 * matter, since counters are read around the operation (live_vmstat.c). A huge page
 * that somebody else is given all the same is seen in the trace and spoils the run.
 * This process itself is not to get any: PR_SET_THP_DISABLE, which its children
 * inherit until they are set free.
 *
 * The deferred split shrinker works for one memory cgroup: the processes have one
 * of their own, and just that is shrunk (live_group.c).
 *
 * The huge zero folio is there or not depending on what was before: it is dropped
 * before a run, and the lock file has the number of its allocations then, so that a run
 * that follows one without it need not. A process that ever had it mapped holds it until it
 * ends; while there is one, the counter of its allocations is not looked at.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live_parts.h"

#ifndef PR_SET_THP_DISABLE
#define PR_SET_THP_DISABLE 41
#define PR_GET_THP_DISABLE 42
#endif
#define EXCEPT_ADVISED 2 /* PR_THP_DISABLE_EXCEPT_ADVISED of 6.18 */

#define DIRECTORY "transparent_hugepage/"
#define KHUGEPAGED "khugepaged/"
#define HUGE ((size_t)2 << 20)
#define FREED_AT "no huge zero folio after %lld allocations\n" /* in the lock file */

/* ---- this process ---- */

static void disable_self(const struct live *live, bool disable)
{
	if (live->thp.disabled)
		prctl(PR_SET_THP_DISABLE, disable, 0, 0, 0);
}

int live_madvise_self(const struct live *live, void *start, size_t length, int advice)
{
	int result;

	disable_self(live, false);
	result = madvise(start, length, advice);
	disable_self(live, true);
	return result;
}

/* On khugepaged's list; the advised block is not touched. */
static int make_anchor(struct live *live)
{
	uintptr_t block;

	live->thp.anchor = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (live->thp.anchor == MAP_FAILED) {
		live->thp.anchor = NULL;
		return live_fail_errno(live, "memory");
	}
	block = ((uintptr_t)live->thp.anchor + HUGE - 1) & ~(uintptr_t)(HUGE - 1);
	if (madvise((void *)block, HUGE, MADV_HUGEPAGE))
		return live_fail_errno(live, "MADV_HUGEPAGE");
	live->thp.disabled = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 0;
	disable_self(live, true);
	return 0;
}

/* ---- what is always ---- */

static void write_always(const struct live *live, const char *word)
{
	size_t i;

	for (i = 0; i < live->thp.nr_enabled; i++)
		if (live->thp.always[i])
			live_write_at(live->thp.dir, live->thp.enabled[i], word, strlen(word));
}

void live_thp_open(struct live *live)
{
	write_always(live, "always");
	live->thp.opened = true;
}

/* Also what the scenario has just set to always. */
void live_thp_close(struct live *live)
{
	if (live->thp.opened)
		write_always(live, "madvise");
	live->thp.opened = false;
}

static void note_always(struct live *live, const char *name)
{
	struct live_thp *thp = &live->thp;
	char text[128];
	size_t i;

	for (i = 0; i < thp->nr_enabled && strcmp(thp->enabled[i], name); i++)
		;
	if (i == thp->nr_enabled || !live_read_at(thp->dir, name, text, sizeof(text)))
		return;
	thp->always[i] = strstr(text, "[always]") != NULL;
	thp->opened |= thp->always[i];
	if (thp->always[i] && !thp->traced)
		live_trace_huge_pages(live);
	thp->traced |= thp->always[i];
}

/* ---- files ---- */

bool live_is_thp_file(const char *file)
{
	return !strncmp(file, DIRECTORY, strlen(DIRECTORY));
}

/* As kstrtouint() takes it. */
static bool parse_uint(const char *text, uint64_t *value)
{
	size_t digits;

	text += *text == '+';
	digits = strspn(text, "0123456789");
	if (!digits || digits > 19 || (text[digits] && strcmp(text + digits, "\n")))
		return false;
	*value = strtoull(text, NULL, 10);
	return *value <= UINT32_MAX;
}

/* The two files whose write wakes khugepaged; NULL: another one. */
static uint64_t *own_value(struct live *live, const char *name)
{
	if (!strcmp(name, KHUGEPAGED "scan_sleep_millisecs"))
		return &live->thp.scan_sleep;
	if (!strcmp(name, KHUGEPAGED "alloc_sleep_millisecs"))
		return &live->thp.alloc_sleep;
	return NULL;
}

static bool is_of_shmem(const char *name)
{
	return strstr(name, "shmem_enabled") != NULL;
}

int live_thp_write(struct live *live, const char *file, const char *text, int64_t *result)
{
	const char *name = file + strlen(DIRECTORY);
	uint64_t *own = own_value(live, name), value;
	int error;

	if (is_of_shmem(name) || strstr(name, ".."))
		return live_fail(live, SIM_LIVE_ESKIP, "%s is not the scenario's to write", file);
	live->thp.used = true;
	if (own) {
		*result = parse_uint(text, &value) ? 0 : -EINVAL;
		*own = *result ? *own : value;
		return 0;
	}
	error = live_khugepaged_before(live);
	if (error)
		return error;
	*result = live_write_at(live->thp.dir, name, text, strlen(text));
	note_always(live, name);
	return live_khugepaged_after(live);
}

/* Statistics as the scenario counts them. */
static bool own_statistic(struct live *live, const char *file, const char *text, int64_t *value)
{
	size_t i, nr;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr);
	const size_t prefix = strlen(DIRECTORY "hugepages-");
	unsigned long kib;
	unsigned order;
	char *stat;

	for (i = 0; i < nr; i++)
		if (!strcmp(rows[i].file, file)) {
			*value = strtoll(text, NULL, 10) - live->base[i];
			return true;
		}
	if (strncmp(file, DIRECTORY "hugepages-", prefix) != 0)
		return false;
	kib = strtoul(file + prefix, &stat, 10);
	if (strncmp(stat, "kB/stats/", strlen("kB/stats/")) != 0)
		return false;
	stat += strlen("kB/stats/");
	rows = ksmsim_table_rows(KSMSIM_TABLE_MTHP, &nr);
	for (order = 2; order < KSMSIM_ORDERS && LIVE_PAGE / 1024 << order != kib; order++)
		;
	for (i = 0; i < nr && order < KSMSIM_ORDERS; i++)
		if (!strcmp(rows[i].name, stat)) {
			*value = live->vmstat.mthp_sum.value[i][order];
			return true;
		}
	return false;
}

int live_thp_read(struct live *live, const char *file, char *buf, size_t size, int64_t *result)
{
	const char *name = file + strlen(DIRECTORY);
	const uint64_t *own = own_value(live, name);
	bool there;
	int64_t value;

	live_thp_open(live);
	there = live_read_at(live->thp.dir, name, buf, size);
	*result = there ? 0 : -errno;
	live_thp_close(live);
	if (!there)
		return 0;
	if (own)
		snprintf(buf, size, "%llu\n", (unsigned long long)*own);
	else if (own_statistic(live, file, buf, &value))
		snprintf(buf, size, "%lld\n", (long long)value);
	*result = (int64_t)strlen(buf);
	return 0;
}

int live_thp_disable(struct live *live, const struct sim_op *op, int64_t *result)
{
	return live_call(live, op->process, result, 157 /* prctl */, PR_SET_THP_DISABLE,
			 op->choice != SIM_THPDISABLE_off,
			 op->choice == SIM_THPDISABLE_except_advised ? EXCEPT_ADVISED : 0);
}

/* ---- the shrinker ---- */

static int drop_caches(struct live *live)
{
	const int error = live_write_at(AT_FDCWD, "/proc/sys/vm/drop_caches", "2", 1);

	return error ? live_fail(live, SIM_LIVE_EBROKEN, "drop_caches: %s", strerror(-error)) : 0;
}

/* The large folio of a pin, as its head and order; false: none. */
static bool held_folio(struct live *live, const struct live_pin *pin, uint64_t *head,
		       unsigned *order)
{
	const struct live_page *page;

	if (!live->processes[pin->process].alive || live_pages_look(live, pin->process))
		return false;
	page = live_page_find(&live->processes[pin->process], pin->vaddr);
	*order = page ? page->order : 0;
	*head = page ? page->pfn >> *order << *order : 0;
	return *order != 0;
}

/* The page of a pin is mapped there no more, so that nobody can say what folio it was of: all of
 * these together are taken for one. */
static bool is_lost(struct live *live, const struct live_pin *pin)
{
	return live->processes[pin->process].alive && !live_pages_look(live, pin->process) &&
	       !live_page_find(&live->processes[pin->process], pin->vaddr);
}

/* How often drop_caches goes round depends on what else it drops: folios that are held, which the
 * shrinker tries again and again, are one failure each. */
static void count_held(struct live *live)
{
	struct live_vmstat *v = &live->vmstat;
	uint64_t head, other;
	unsigned order, same;
	bool lost = false;
	size_t i, j;

	live_pages_forget(live);
	memset(v->most_failed, 0, sizeof(v->most_failed));
	v->has_most_failed = true;
	for (i = 0; i < live->nr_pins; i++) {
		lost = lost || is_lost(live, &live->pins[i]);
		if (!held_folio(live, &live->pins[i], &head, &order))
			continue;
		for (j = 0; j < i; j++)
			if (held_folio(live, &live->pins[j], &other, &same) && other == head)
				break;
		if (j == i)
			v->most_failed[order]++;
	}
	for (order = 0; order < KSMSIM_ORDERS; order++)
		v->most_failed[order] += lost;
}

int live_shrink(struct live *live, const struct sim_op *op, int64_t *result)
{
	const bool all = (op->options & SIM_OPTION(all)) != 0;
	const int error = all ? drop_caches(live) : live_group_reclaim(live);

	*result = live_vmstat_splits(live);
	if (all)
		count_held(live);
	return error;
}

/* ---- the huge zero folio ---- */

/* A process reads a block of its own, and ends. */
static int read_block(void)
{
	volatile char *block;
	uintptr_t start;

	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	start = (uintptr_t)mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if ((void *)start == MAP_FAILED)
		return 1;
	block = (volatile char *)((start + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	return madvise((void *)(uintptr_t)block, HUGE, MADV_HUGEPAGE) || *block;
}

static int64_t zero_allocations(const struct live *live)
{
	int64_t nr = 0;

	live_vmstat_read(live, "thp_zero_page_alloc", &nr);
	return nr;
}

/* Dropped, is it allocated anew? If not, a process that once had it mapped still lives. */
static int drop_huge_zero(struct live *live)
{
	int64_t before;
	pid_t pid;
	int error = drop_caches(live);

	if (error)
		return error;
	before = zero_allocations(live);
	pid = fork();
	if (pid == 0)
		_exit(read_block());
	if (pid < 0)
		return live_fail_errno(live, "a process");
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	live->thp.zero_is_held = zero_allocations(live) == before;
	return drop_caches(live);
}

static int free_huge_zero(struct live *live)
{
	char text[64], wanted[64];
	const ssize_t length = pread(live->guard.lock, text, sizeof(text) - 1, 0);
	int error;

	text[length > 0 ? length : 0] = '\0';
	snprintf(wanted, sizeof(wanted), FREED_AT, (long long)zero_allocations(live));
	if (!strcmp(text, wanted))
		return 0;
	error = drop_huge_zero(live);
	if (error || live->thp.zero_is_held)
		return error;
	snprintf(text, sizeof(text), FREED_AT, (long long)zero_allocations(live));
	if (pwrite(live->guard.lock, text, strlen(text), 0) < 0 ||
	    ftruncate(live->guard.lock, (off_t)strlen(text)))
		return live_fail_errno(live, "the lock file");
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

static void set_sizes(struct live *live)
{
	struct live_thp *thp = &live->thp;
	unsigned order;
	char path[64], text[128];
	const char *word;

	for (order = 2; order < KSMSIM_ORDERS && thp->nr_enabled < LIVE_SIZES; order++) {
		const unsigned kib = (unsigned)LIVE_PAGE / 1024 << order;

		snprintf(path, sizeof(path), "hugepages-%ukB/enabled", kib);
		word = kib == HUGE / 1024 ? "inherit" : "never";
		if (!live_read_at(thp->dir, path, text, sizeof(text)))
			continue;
		live_write_at(thp->dir, path, word, strlen(word));
		snprintf(thp->enabled[thp->nr_enabled++], sizeof(thp->enabled[0]), "%.31s", path);
	}
}

/* The knobs that are words: as in knobs.def. */
static int set_defaults(struct live *live)
{
	static const char *const enabled = "madvise", *const defrag = "madvise";
	const char *name;
	uint64_t *own;
	size_t i;

	if (live_write_at(live->thp.dir, "enabled", enabled, strlen(enabled)))
		return live_fail(live, SIM_LIVE_EREFUSED, "this kernel has no huge pages");
	live_write_at(live->thp.dir, "defrag", defrag, strlen(defrag));
	live_khugepaged_keep(live, false);
	for (i = 0; i < sizeof(defaults) / sizeof(*defaults); i++) {
		if (!live_is_thp_file(defaults[i].file))
			continue;
		name = defaults[i].file + strlen(DIRECTORY);
		own = own_value(live, name);
		if (own)
			*own = defaults[i].value;
		else if (strcmp(name, "enabled") && strcmp(name, "defrag"))
			live_write_number(live->thp.dir, name, defaults[i].value);
	}
	snprintf(live->thp.enabled[0], sizeof(live->thp.enabled[0]), "enabled");
	live->thp.nr_enabled = 1;
	set_sizes(live);
	return 0;
}

int live_thp_start(struct live *live)
{
	char path[96];
	int error;

	live->thp.dir =
		open("/sys/kernel/mm/transparent_hugepage", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (live->thp.dir < 0)
		return live_fail(live, SIM_LIVE_EREFUSED, "this kernel has no huge pages");
	if (live->guard.group[0]) {
		snprintf(path, sizeof(path), "%s/cgroup.procs", live->guard.group);
		live->thp.group = open(path, O_WRONLY | O_CLOEXEC);
	}
	error = set_defaults(live);
	if (!error)
		error = live_vmstat_start(live);
	if (!error)
		error = make_anchor(live);
	if (!error)
		error = live_khugepaged_start(live);
	return error ? error : free_huge_zero(live);
}

void live_thp_end(struct live *live)
{
	disable_self(live, false);
	if (live->thp.anchor)
		munmap(live->thp.anchor, 2 * HUGE);
	live_vmstat_end(live);
	if (live->thp.khugepaged >= 0)
		close(live->thp.khugepaged);
	if (live->thp.group >= 0)
		close(live->thp.group);
	if (live->thp.dir >= 0)
		close(live->thp.dir);
}
