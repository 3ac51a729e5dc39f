/*
 * host.c - what this host shows of its KSM.
 *
 * Read only: no file is written, no process is stopped. The files go through the
 * reader of host_text.c, so that a host and a paste of it give the same reading.
 *
 * ksmd works on while its counters are read one after the other. So they are read
 * again until two readings are the same: ksmd sleeps most of the time. Reading the
 * processes takes longer; how far a counter moved meanwhile is kept (host->moved).
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host_value.h"

#define READINGS_MAX 8u
#define PATH_BYTES 512u

void host_init(struct host *host, struct sim_mem *mem, uint64_t page)
{
	memset(host, 0, sizeof(*host));
	host->mem = mem;
	host->page = page;
}

void host_free(struct host *host)
{
	if (host->mem)
		sim_free(host->mem, host->processes);
	host->processes = NULL;
	host->nr_processes = host->capacity = 0;
}

struct host_process *host_process(struct host *host, const char *name)
{
	struct host_process *process;
	size_t i;

	for (i = 0; i < host->nr_processes; i++)
		if (!strcmp(host->processes[i].name, name))
			return &host->processes[i];
	if (!sim_grow(host->mem, &host->processes, &host->capacity, host->nr_processes,
		      sizeof(*host->processes)))
		return NULL;
	process = &host->processes[host->nr_processes++];
	memset(process, 0, sizeof(*process));
	snprintf(process->name, sizeof(process->name), "%s", name);
	return process;
}

/* ---- files ---- */

struct reader {
	struct host *host;
	const char *root;
	char *buf;
	size_t size;
};

/* The first line of a file; false: it cannot be read. */
static bool first_line(const char *path, char *line, size_t size)
{
	FILE *in = fopen(path, "re");
	bool there;

	if (!in)
		return false;
	there = fgets(line, (int)size, in) != NULL;
	fclose(in);
	if (there)
		line[strcspn(line, "\n")] = '\0';
	return there;
}

/* One file with one value, below /sys/kernel/mm or /sys. */
static int read_value(const struct reader *r, struct host *into, const char *dir, const char *key)
{
	char path[PATH_BYTES], value[256], line[PATH_BYTES + 256];
	struct host_text text;

	snprintf(path, sizeof(path), "%s%s/%s", r->root, dir, key);
	if (!first_line(path, value, sizeof(value)))
		return 0;
	host_text_init(&text, into, path, r->buf, r->size);
	snprintf(line, sizeof(line), "%s/%s:%s", dir, key, value);
	return host_text_line(&text, line, strlen(line));
}

static int read_ksm(const struct reader *r, struct host *into)
{
	size_t i;
	int error = 0;

	for (i = 0; !error && i < HOST_NR; i++)
		if (!strncmp(host_key(i), "ksm/", strlen("ksm/")))
			error = read_value(r, into, "/sys/kernel/mm", host_key(i));
	return error;
}

static bool same_counters(const struct host *a, const struct host *b)
{
	size_t i;

	for (i = HOST_pages_shared; i < HOST_NR; i++)
		if (!strncmp(host_key(i), "ksm/", strlen("ksm/")) &&
		    a->figures.value[i] != b->figures.value[i])
			return false;
	return true;
}

/* Until nothing moves while they are read. */
static int read_counters(const struct reader *r, struct host *into)
{
	struct host once, again;
	unsigned i;
	int error;

	host_init(&once, r->host->mem, r->host->page);
	error = read_ksm(r, &once);
	for (i = 0; !error && i < READINGS_MAX && !into->quiet; i++) {
		host_init(&again, r->host->mem, r->host->page);
		error = read_ksm(r, &again);
		into->quiet = !error && same_counters(&once, &again);
		once = again;
	}
	for (i = 0; !error && i < HOST_NR; i++)
		if (once.figures.known[i]) {
			into->figures.value[i] = once.figures.value[i];
			into->figures.known[i] = true;
		}
	return error;
}

/* Files of other subjects; their form is checked as that of a paste. */
static int read_around(const struct reader *r)
{
	static const char *const files[] = { "/proc/meminfo", "/proc/vmstat" };
	char path[PATH_BYTES], line[256], whole[512];
	struct host_text text;
	size_t i;
	FILE *in;
	int error = 0;

	for (i = 0; !error && i < HOST_NR; i++)
		if (host_form(i) == HOST_FORM_HUGE || host_form(i) == HOST_FORM_HUGE_MODE)
			error = read_value(r, r->host, "/sys/kernel/mm", host_key(i));
	if (!error)
		error = read_value(r, r->host, "/sys", host_key(HOST_nodes));
	for (i = 0; !error && i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s%s", r->root, files[i]);
		in = fopen(path, "re");
		host_text_init(&text, r->host, path, r->buf, r->size);
		while (in && !error && fgets(line, sizeof(line), in)) {
			snprintf(whole, sizeof(whole), "%s:%s", files[i], line);
			error = host_text_line(&text, whole, strcspn(whole, "\n"));
		}
		if (in)
			fclose(in);
	}
	return error;
}

/* ---- processes ---- */

static bool is_pid(const char *name)
{
	return isdigit((unsigned char)*name) && strlen(name) < 12 &&
	       strspn(name, "0123456789") == strlen(name);
}

static void path_of(const struct reader *r, char *path, const char *pid, const char *file)
{
	snprintf(path, PATH_BYTES, "%s/proc/%.12s/%s", r->root, pid, file);
}

/* What ksmd ran since it was made, from its schedstat. */
static void read_ksmd(const struct reader *r, const char *pid)
{
	char path[PATH_BYTES], line[256];
	uint64_t ns;

	r->host->saw_ksmd = true;
	path_of(r, path, pid, "schedstat");
	if (!first_line(path, line, sizeof(line)))
		return;
	if (sim_word_number((struct sim_word){ line, strcspn(line, " ") }, &ns) || ns > INT64_MAX)
		return;
	r->host->figures.value[HOST_ksmd_cpu_ns] = (int64_t)ns;
	r->host->figures.known[HOST_ksmd_cpu_ns] = true;
}

/* "123 (redis-server)"; whatever the process calls itself, it is one line of text. */
static void name_process(const struct reader *r, char *name, const char *pid)
{
	char path[PATH_BYTES], comm[64] = "?";
	char *at;

	path_of(r, path, pid, "comm");
	first_line(path, comm, sizeof(comm));
	for (at = comm; *at; at++)
		if (!isprint((unsigned char)*at))
			*at = '?';
	if (!strcmp(comm, "ksmd"))
		read_ksmd(r, pid);
	snprintf(name, HOST_LABEL_MAX, "%.12s (%s)", pid, comm);
}

static bool has_ksm(const struct host_figures *figures)
{
	size_t i;

	for (i = 0; i < HOST_NR; i++)
		if (figures->value[i])
			return true;
	return false;
}

/* One file of a process; it may end at any line, as the process may. */
static int read_lines(const struct reader *r, const char *path, const char *name, FILE *in)
{
	char why[512];
	const int error = host_text_read(r->host, in, name, why, sizeof(why));

	if (error == SIM_EINPUT && ferror(in))
		return 0;
	if (error == SIM_EINPUT)
		snprintf(r->buf, r->size, "%s: %s", path, why);
	else if (error)
		snprintf(r->buf, r->size, "%s", why);
	return error;
}

static int read_process(const struct reader *r, const char *pid)
{
	char path[PATH_BYTES], name[HOST_LABEL_MAX];
	const size_t before = r->host->nr_processes;
	FILE *in;
	int error;

	name_process(r, name, pid);
	path_of(r, path, pid, "ksm_stat");
	in = fopen(path, "re");
	if (!in) {
		r->host->unreadable += errno == EACCES || errno == EPERM;
		return 0;
	}
	error = read_lines(r, path, name, in);
	fclose(in);
	if (error || r->host->nr_processes == before)
		return error; /* a kernel thread has an empty file */
	r->host->looked_at++;
	if (!has_ksm(&r->host->processes[before].figures))
		r->host->nr_processes = before;
	return 0;
}

static int compare_pids(const void *a, const void *b)
{
	const int left = *(const int *)a, right = *(const int *)b;

	return (left > right) - (left < right);
}

/* All pids, ascending: the order of a directory is nobody's. */
static int *list_pids(const struct reader *r, size_t *nr)
{
	char path[PATH_BYTES];
	struct dirent *entry;
	int *pids = NULL;
	size_t capacity = 0;
	DIR *dir;

	*nr = 0;
	snprintf(path, sizeof(path), "%s/proc", r->root);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) != NULL) {
		if (!is_pid(entry->d_name))
			continue;
		if (!sim_grow(r->host->mem, &pids, &capacity, *nr, sizeof(*pids)))
			break;
		pids[(*nr)++] = (int)strtol(entry->d_name, NULL, 10);
	}
	if (dir)
		closedir(dir);
	if (pids)
		qsort(pids, *nr, sizeof(*pids), compare_pids);
	return pids;
}

static int read_processes(const struct reader *r)
{
	char pid[16];
	size_t i, nr;
	int *pids = list_pids(r, &nr), error = 0;

	for (i = 0; !error && i < nr; i++) {
		snprintf(pid, sizeof(pid), "%d", pids[i]);
		error = read_process(r, pid);
	}
	sim_free(r->host->mem, pids);
	r->host->all_processes = r->host->looked_at && !r->host->unreadable && r->host->saw_ksmd;
	return error;
}

/* Only of processes with KSM, as this walks their page tables. */
static int read_smaps(const struct reader *r)
{
	char path[PATH_BYTES], pid[16];
	size_t i;
	FILE *in;
	int error = 0;

	for (i = 0; !error && i < r->host->nr_processes; i++) {
		const char *name = r->host->processes[i].name;

		snprintf(pid, sizeof(pid), "%.*s", (int)strcspn(name, " "), name);
		path_of(r, path, pid, "smaps");
		in = fopen(path, "re");
		if (!in)
			continue;
		error = read_lines(r, path, name, in);
		fclose(in);
	}
	return error;
}

/* ---- all of it ---- */

static void note_moved(struct host *host, const struct host *later)
{
	static const enum host_figure which[] = { HOST_pages_shared, HOST_pages_sharing,
						  HOST_pages_unshared, HOST_pages_volatile,
						  HOST_ksm_zero_pages };
	int64_t by;
	size_t i;

	for (i = 0; i < sizeof(which) / sizeof(*which); i++) {
		by = later->figures.value[which[i]] - host_get(host, which[i]);
		host->moved += by < 0 ? -by : by;
	}
}

int host_read(struct host *host, const char *root, char *buf, size_t size)
{
	struct reader r = { host, root, buf, size };
	char path[PATH_BYTES];
	struct host later;
	int error;

	buf[0] = '\0';
	snprintf(path, sizeof(path), "%s/sys/kernel/mm/ksm", root);
	host->absent = access(path, F_OK) != 0;
	if (host->absent)
		return 0;
	host_init(&later, host->mem, host->page);
	error = read_counters(&r, host);
	if (!error)
		error = read_processes(&r);
	if (!error)
		error = read_ksm(&r, &later);
	note_moved(host, &later);
	if (!error)
		error = read_around(&r);
	return error ? error : read_smaps(&r);
}
