/*
 * live_host.c - small files of the kernel and its threads, our own memory, and how an error is told.
 *
 * A thread of the kernel that has nothing to do is in state S. It is R before the
 * write that wakes it returns, so S afterwards means that it has done what it was woken
 * for.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "live_parts.h"

#define REST_MS 60000u /* the longest batch */

/* ---- errors, time and files ---- */

int live_fail(struct live *live, int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(live->why, sizeof(live->why), format, args);
	va_end(args);
	return status;
}

int live_fail_errno(struct live *live, const char *what)
{
	return live_fail(live, SIM_LIVE_EBROKEN, "%s: %s", what, strerror(errno));
}

int live_no_memory(struct live *live)
{
	live->why[0] = '\0';
	return KSMSIM_ENOMEM;
}

uint64_t live_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool live_read_at(int dir, const char *name, char *buf, size_t size)
{
	const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got = -1;

	if (fd < 0)
		return false;
	while (length + 1 < size && (got = read(fd, buf + length, size - 1 - length)) > 0)
		length += (size_t)got;
	close(fd);
	buf[length] = '\0';
	return got >= 0 || length;
}

int live_write_at(int dir, const char *name, const char *text, size_t length)
{
	const int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, length) < 0)
		error = -errno;
	close(fd);
	return error;
}

int live_write_number(int dir, const char *name, uint64_t value)
{
	char text[32];
	const int length = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);

	return live_write_at(dir, name, text, (size_t)length);
}

bool live_read_number(int dir, const char *name, int64_t *value)
{
	char text[64];

	if (!live_read_at(dir, name, text, sizeof(text)))
		return false;
	*value = strtoll(text, NULL, 10);
	return true;
}

bool live_number_of(const char *text, const char *key, int64_t *value)
{
	const size_t length = strlen(key);
	const char *line;

	for (line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, length))
			continue;
		*value = strtoll(line + length + strspn(line + length, ": \t"), NULL, 10);
		return true;
	}
	return false;
}

/* ---- our own memory ---- */

#define ALIGNMENT ((size_t)16) /* of malloc() */

/* Not calloc(): jemalloc has the kernel clear large blocks, by giving them back. Nor malloc(): with
 * the memset() the compiler makes it calloc(). */
static void *alloc_zeroed(void *self, size_t bytes)
{
	const size_t whole = (bytes + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
	void *ptr = whole < bytes ? NULL : aligned_alloc(ALIGNMENT, whole);

	(void)self;
	return ptr ? memset(ptr, 0, bytes) : NULL;
}

static void free_zeroed(void *self, void *ptr, size_t bytes)
{
	(void)self;
	(void)bytes;
	free(ptr);
}

const struct ksmsim_allocator sim_live_allocator = { alloc_zeroed, free_zeroed, NULL };

/* jemalloc's, if that is the allocator */
extern int mallctl(const char *name, void *old, size_t *old_size, void *value, size_t size)
	__attribute__((weak));

/* Up to 6.12 a process that gives memory back drains the LRU batches of its CPU. */
void live_keep_memory(void)
{
	static const char *const kinds[] = { "dirty", "muzzy" };
	ssize_t never = -1;
	unsigned nr = 0, arena;
	size_t size = sizeof(nr), kind;
	char name[48];

	if (!mallctl || mallctl("arenas.narenas", &nr, &size, NULL, 0))
		return;
	for (kind = 0; kind < sizeof(kinds) / sizeof(*kinds); kind++) {
		snprintf(name, sizeof(name), "arenas.%s_decay_ms", kinds[kind]);
		mallctl(name, NULL, NULL, &never, sizeof(never));
		for (arena = 0; arena < nr; arena++) {
			snprintf(name, sizeof(name), "arena.%u.%s_decay_ms", arena, kinds[kind]);
			mallctl(name, NULL, NULL, &never, sizeof(never));
		}
	}
}

/* ---- processes and threads ---- */

bool live_is_pid(const char *name)
{
	return name[strspn(name, "0123456789")] == '\0' && *name;
}

int live_nice_get(pid_t pid)
{
	return pid ? getpriority(PRIO_PROCESS, (id_t)pid) : 0;
}

void live_nice_set(pid_t pid, int nice)
{
	if (pid)
		setpriority(PRIO_PROCESS, (id_t)pid, nice);
}

pid_t live_thread_find(const char *name)
{
	const int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = proc < 0 ? NULL : fdopendir(proc);
	const struct dirent *entry;
	char path[64], text[256], wanted[32];
	const char *found_at;
	pid_t found = 0;

	snprintf(wanted, sizeof(wanted), "(%s) ", name);
	while (dir && !found && (entry = readdir(dir)) != NULL) {
		if (!live_is_pid(entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%.20s/stat", entry->d_name);
		found_at =
			live_read_at(proc, path, text, sizeof(text)) ? strstr(text, wanted) : NULL;
		/* a child of kthreadd: behind the name are its state and its parent */
		if (found_at && strtol(found_at + strlen(wanted) + 1, NULL, 10) == 2)
			found = (pid_t)strtol(entry->d_name, NULL, 10);
	}
	if (dir)
		closedir(dir);
	return found;
}

static bool is_asleep(int stat)
{
	char text[128];
	const ssize_t length = pread(stat, text, sizeof(text) - 1, 0);
	const char *state;

	text[length > 0 ? length : 0] = '\0';
	state = strchr(text, ')');
	return state && state[1] && state[2] == 'S';
}

int live_thread_rest(struct live *live, int stat, const char *name)
{
	const uint64_t since = live_clock_ms();
	unsigned tries = 0;

	while (!is_asleep(stat)) {
		sched_yield();
		if ((++tries & 1023) == 0 && live_clock_ms() - since > REST_MS)
			return live_fail(live, SIM_LIVE_EBROKEN, "%s does not come to rest", name);
	}
	return 0;
}
