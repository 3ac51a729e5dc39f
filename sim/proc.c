/*
 * proc.c - processes as /proc shows them: stat, status, ksm_stat, cgroup, smaps.
 *
 * The files are the kernel's, but names in them are anybody's: a comm may hold spaces
 * and parentheses, a path line breaks (shown as \012) and colons.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proc.h"
#include "vector.h"

#define PF_KTHREAD 0x00200000u
#define SMALL_FILE 8192u

int sim_proc_open(int64_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%" PRId64, pid);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* 0 or an errno */
static int read_small(int dir, const char *name, char *text, size_t size)
{
	const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got = 0;
	int error;

	*text = 0;
	if (fd < 0)
		return errno;
	while (length < size - 1 && (got = read(fd, text + length, size - 1 - length)) > 0)
		length += (size_t)got;
	error = got < 0 ? errno : 0;
	close(fd);
	text[length] = 0;
	return error;
}

void sim_proc_text(int dir, const char *name, char *text, size_t size)
{
	size_t length;

	if (read_small(dir, name, text, size))
		*text = 0;
	length = strlen(text);
	if (length && text[length - 1] == '\n')
		text[length - 1] = 0;
}

void sim_proc_link(int dir, const char *name, char *text, size_t size)
{
	const ssize_t length = readlinkat(dir, name, text, size - 1);

	text[length < 0 ? 0 : length] = 0;
}

/* Fields of stat, counted from 1; pid and comm are in front of these. */
enum {
	STAT_STATE = 3,
	STAT_PPID = 4,
	STAT_FLAGS = 9,
	STAT_MINFLT = 10,
	STAT_STARTED = 22,
	STAT_RSS = 24
};

static bool parse_stat(const char *text, struct sim_proc *proc)
{
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	long long numbers[STAT_RSS + 1] = { 0 };
	unsigned i;
	char *end;

	if (!open || !close || close < open || close[1] != ' ' || !close[2])
		return false;
	snprintf(proc->comm, sizeof(proc->comm), "%.*s", (int)(close - open - 1), open + 1);
	proc->pid = strtoll(text, NULL, 10);
	proc->state = close[2];
	text = close + 3;
	for (i = STAT_STATE + 1; i <= STAT_RSS; i++, text = end) {
		numbers[i] = strtoll(text, &end, 10);
		if (end == text)
			return false;
	}
	proc->ppid = numbers[STAT_PPID];
	proc->minflt = numbers[STAT_MINFLT];
	proc->started = (uint64_t)numbers[STAT_STARTED];
	proc->kernel_thread = numbers[STAT_FLAGS] & PF_KTHREAD;
	if (numbers[STAT_RSS] > 0)
		proc->rss = (uint64_t)numbers[STAT_RSS] * (uint64_t)sysconf(_SC_PAGESIZE);
	return true;
}

int sim_proc_stat(int dir, struct sim_proc *proc)
{
	char text[SMALL_FILE];
	struct stat info;
	int error = read_small(dir, "stat", text, sizeof(text));

	*proc = (struct sim_proc){ .uid = SIM_CAP_UNKNOWN };
	if (error)
		return error;
	if (!parse_stat(text, proc))
		return EPROTO;
	if (!fstat(dir, &info))
		proc->uid = (int64_t)info.st_uid;
	return 0;
}

/* The value of a line "key value", "key: value kB", "key: yes", or unknown. */
static int64_t value_of(const char *text, const char *key)
{
	const size_t length = strlen(key);
	long long value;
	char *end;

	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (strncmp(text, key, length) != 0 || !strchr(": ", text[length]))
			continue;
		text += length + (text[length] == ':');
		value = strtoll(text, &end, 10);
		if (end != text)
			return value;
		text += strspn(text, " \t");
		return !strncmp(text, "yes", 3);
	}
	return SIM_CAP_UNKNOWN;
}

static int64_t bytes_of(const char *text, const char *key)
{
	const int64_t kilobytes = value_of(text, key);

	return kilobytes == SIM_CAP_UNKNOWN ? kilobytes : kilobytes * 1024;
}

void sim_proc_figures(int dir, struct sim_cap_figures *figures)
{
	char text[SMALL_FILE];
	struct sim_proc proc;

#define FIGURE(name, doc) figures->name = SIM_CAP_UNKNOWN;
	SIM_CAP_FIGURES(FIGURE)
#undef FIGURE
	read_small(dir, "status", text, sizeof(text));
	figures->rss_anon = bytes_of(text, "RssAnon");
	figures->rss_file = bytes_of(text, "RssFile");
	figures->rss_shmem = bytes_of(text, "RssShmem");
	figures->swap = bytes_of(text, "VmSwap");
	if (!sim_proc_stat(dir, &proc))
		figures->minflt = proc.minflt;
	read_small(dir, "ksm_stat", text, sizeof(text));
	figures->ksm_merging_pages = value_of(text, "ksm_merging_pages");
	figures->ksm_zero_pages = value_of(text, "ksm_zero_pages");
	figures->ksm_rmap_items = value_of(text, "ksm_rmap_items");
	figures->ksm_process_profit = value_of(text, "ksm_process_profit");
	figures->ksm_merge_any = value_of(text, "ksm_merge_any");
	figures->ksm_mergeable = value_of(text, "ksm_mergeable");
}

bool sim_proc_in_cgroup(const char *lines, const char *cgroup)
{
	size_t length = strlen(cgroup);
	const char *path;

	while (length > 1 && cgroup[length - 1] == '/')
		length--;
	/* hierarchy:controllers:path */
	for (; lines && *lines; lines = strchr(lines, '\n')) {
		lines += *lines == '\n';
		path = strchr(lines, ':');
		path = path ? strchr(path + 1, ':') : NULL;
		if (!path)
			continue;
		path++;
		if (!strncmp(path, cgroup, length) && (length == 1 || strchr("/\n", path[length])))
			return true;
	}
	return false;
}

/* ---- smaps ---- */

/* A string that lives as long as the array; NULL: no memory. */
static const char *keep(struct sim_proc_vmas *all, const char *text)
{
	char **string = sim_vector_add(&all->strings, &all->nr_strings, sizeof(*string));

	if (string)
		*string = strdup(text);
	return string ? *string : NULL;
}

static int add_vma(struct sim_proc_vmas *all, const struct sim_cap_vma *vma, const char *name)
{
	struct sim_proc_vma *new;

	/* smaps is read piece by piece: areas that change meanwhile may come twice. */
	if (all->nr && vma->start < all->vmas[all->nr - 1].vma.end)
		return 0;
	new = sim_vector_add(&all->vmas, &all->nr, sizeof(*new));
	if (!new)
		return ENOMEM;
	new->vma = *vma;
	new->vma.flags_text = "";
	new->vma.name = keep(all, name);
	return new->vma.name ? 0 : ENOMEM;
}

/* A number, and @after it; false: it is none. */
static bool take_number(const char **at, int base, char after, uint64_t *number)
{
	char *end;

	*number = strtoull(*at, &end, base);
	if (end == *at || *end != after)
		return false;
	*at = end + 1;
	return true;
}

/* start-end perms offset major:minor inode [name] */
static bool parse_head(const char *line, struct sim_cap_vma *vma, const char **name)
{
	uint64_t major, minor;
	char *end;

	*vma = (struct sim_cap_vma){ .start = 0 };
	if (!take_number(&line, 16, '-', &vma->start) || !take_number(&line, 16, ' ', &vma->end))
		return false;
	line += strcspn(line, " ");
	if (!take_number(&line, 16, ' ', &vma->offset) || !take_number(&line, 16, ':', &major) ||
	    !take_number(&line, 16, ' ', &minor))
		return false;
	vma->inode = strtoull(line, &end, 10);
	vma->device = major << 20 | minor;
	*name = end + strspn(end, " ");
	return end != line;
}

/* "Swap:   12 kB" */
static bool parse_size(const char *line, const char *key, uint64_t *bytes)
{
	const size_t length = strlen(key);

	if (strncmp(line, key, length) != 0 || line[length] != ':')
		return false;
	*bytes = strtoull(line + length + 1, NULL, 10) * 1024;
	return true;
}

static int parse_flags(struct sim_proc_vmas *all, struct sim_proc_vma *vma, char *text)
{
	size_t length;

	text += strspn(text, " ");
	for (length = strlen(text); length && text[length - 1] == ' '; length--)
		text[length - 1] = 0;
	vma->vma.flags_text = keep(all, text);
	if (!vma->vma.flags_text)
		return ENOMEM;
	vma->vma.flags = sim_cap_vma_flags(text);
	return 0;
}

static int parse_line(struct sim_proc_vmas *all, char *line)
{
	struct sim_proc_vma *last = all->nr ? &all->vmas[all->nr - 1] : NULL;
	struct sim_cap_vma vma;
	const char *name;

	if (parse_head(line, &vma, &name))
		/* The page of old system calls is beyond what a process has. */
		return vma.end >> 63 ? 0 : add_vma(all, &vma, name);
	if (!last)
		return 0;
	if (!strncmp(line, "VmFlags:", 8))
		return parse_flags(all, last, line + 8);
	if (!parse_size(line, "Anonymous", &last->anonymous) &&
	    !parse_size(line, "Swap", &last->swap) && parse_size(line, "KSM", &last->ksm))
		last->has_ksm = true;
	return 0;
}

int sim_proc_vmas(int dir, struct sim_proc_vmas *vmas)
{
	const int fd = openat(dir, "smaps", O_RDONLY | O_CLOEXEC);
	FILE *in = fd < 0 ? NULL : fdopen(fd, "r");
	size_t capacity = 0;
	char *line = NULL;
	ssize_t length;
	int error = 0;

	*vmas = (struct sim_proc_vmas){ .nr = 0 };
	if (!in) {
		error = errno;
		if (fd >= 0)
			close(fd);
		return error;
	}
	while (!error && (length = getline(&line, &capacity, in)) > 0) {
		if (line[length - 1] == '\n')
			line[length - 1] = 0;
		error = parse_line(vmas, line);
	}
	if (!error && ferror(in))
		error = errno ? errno : EIO;
	free(line);
	fclose(in);
	return error;
}

void sim_proc_vmas_free(struct sim_proc_vmas *vmas)
{
	size_t i;

	for (i = 0; i < vmas->nr_strings; i++)
		free(vmas->strings[i]);
	free(vmas->strings);
	free(vmas->vmas);
	*vmas = (struct sim_proc_vmas){ .nr = 0 };
}

/* ---- all of them ---- */

static int by_pid(const void *a, const void *b)
{
	const struct sim_proc *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

int sim_proc_list(struct sim_proc **procs, size_t *nr)
{
	DIR *proc_dir = opendir("/proc");
	struct sim_proc *array = NULL, *new, proc;
	size_t n = 0;
	struct dirent *entry;
	int error = 0, dir;

	if (!proc_dir)
		return errno;
	while (!error && (entry = readdir(proc_dir)) != NULL) {
		if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name))
			continue;
		dir = openat(dirfd(proc_dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0)
			continue;
		if (!sim_proc_stat(dir, &proc)) {
			new = sim_vector_add(&array, &n, sizeof(*new));
			error = new ? 0 : ENOMEM;
			if (new)
				*new = proc;
		}
		close(dir);
	}
	closedir(proc_dir);
	if (error) {
		free(array);
		return error;
	}
	if (n)
		qsort(array, n, sizeof(*array), by_pid);
	*procs = array;
	*nr = n;
	return 0;
}
