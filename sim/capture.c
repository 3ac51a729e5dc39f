/*
 * capture.c - looking at live processes: rounds, processes, batches of pages.
 *
 * Units of pages are collected from one process after the other until a batch is full,
 * then all CPUs read them, then they are written in order. A process may need many
 * batches, and a batch may hold many processes, so its state (struct subject) lives from
 * its first page to its last:
 *
 *	begin_subject   VMAs, figures, descriptors
 *	find_pages      units, and a batch whenever enough are there
 *	end of batch    its pages are written; if all were, so is what was counted
 *
 * Processes end while we look. One that ends before any page of it was written was not read
 * in this round; one that ends later stays with what is known. Both are troubles.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "caphost.h"
#include "capread.h"
#include "capselect.h"
#include "capstop.h"
#include "vector.h"

#define BATCH_PAGES (UINT64_C(1) << 18)
#define BATCH_SUBJECTS 64u
#define TEXT_BYTES 4096u

/* A process that the file knows. */
struct known {
	int64_t pid;
	uint64_t started;
	uint32_t id;
};

/* A process that is being read. */
struct subject {
	struct sim_proc proc;
	struct sim_capread_process fds;
	int dir;
	uint32_t id;
	struct sim_cap_figures figures;
	size_t first_unit;	 /* of the batch */
	bool complete;		 /* no more units follow */
	bool begun;		 /* some pages were written */
	int error;		 /* errno of what ended it */
	uint64_t ksm, smaps_ksm; /* pages */
};

struct run {
	const struct sim_capture_options *options;
	struct sim_capwriter *writer;
	struct sim_capture_totals *totals;
	struct sim_capread reader;
	struct known *known;
	size_t nr_known;
	struct subject subjects[BATCH_SUBJECTS];
	size_t nr_subjects;
	struct sim_capread_units units;
	uint32_t round;
	unsigned threads;
	uint64_t begin_ns;
	uint64_t pages, processes; /* of this round */
	char first_trouble[TEXT_BYTES];
	struct sim_capstop stop;
	int error; /* of the library; why has the sentence */
	char *why;
	size_t size;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

__attribute__((format(printf, 3, 4))) static int fail(struct run *r, int error, const char *format,
						      ...)
{
	va_list args;

	if (!r->error) {
		r->error = error;
		va_start(args, format);
		vsnprintf(r->why, r->size, format, args);
		va_end(args);
	}
	return r->error;
}

/* The result of a call of the writer. */
static int written(struct run *r, int error)
{
	return error ? fail(r, error, "%s", sim_capwriter_error(r->writer)) : 0;
}

__attribute__((format(printf, 3, 4))) static void trouble(struct run *r, int64_t pid,
							  const char *format, ...)
{
	char text[TEXT_BYTES];
	const struct sim_cap_trouble what = { .round = r->round, .pid = pid, .text = text };
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	r->totals->troubles++;
	if (!*r->first_trouble)
		snprintf(r->first_trouble, sizeof(r->first_trouble), "%s", text);
	written(r, sim_capwriter_trouble(r->writer, &what));
}

static const char *reason(int error)
{
	if (error == ESRCH || error == ENOENT)
		return "it has ended";
	if (error == EACCES || error == EPERM)
		return "permission denied: this needs root, or CAP_SYS_PTRACE";
	return strerror(error);
}

/* ---- the end of a subject and of a batch ---- */

static void close_subject(struct subject *s)
{
	if (s->fds.mem >= 0)
		close(s->fds.mem);
	if (s->fds.pagemap >= 0)
		close(s->fds.pagemap);
	if (s->dir >= 0)
		close(s->dir);
}

static bool is_alive(const struct subject *s)
{
	struct sim_proc proc;

	return !sim_proc_stat(s->dir, &proc) && proc.state != 'Z' && proc.state != 'X';
}

static void write_unit(struct run *r, struct subject *s, const struct sim_capread_unit *u)
{
	uint32_t i;

	for (i = 0; !r->error && i < u->nr_pages; i++)
		written(r, sim_capwriter_page(r->writer, &u->pages[i]));
	s->figures.pages_unread += u->nr_unread;
	s->figures.pages_vanished += u->nr_vanished;
	s->ksm += u->nr_ksm;
	r->pages += u->nr_pages;
}

static void finish_subject(struct run *r, struct subject *s)
{
	const char *name = s->proc.comm;
	const int64_t pid = s->proc.pid;

	written(r, sim_capwriter_pages_end(r->writer));
	written(r, sim_capwriter_figures(r->writer, s->id, r->round, &s->figures));
	r->totals->unread += (uint64_t)s->figures.pages_unread;
	r->totals->vanished += (uint64_t)s->figures.pages_vanished;
	r->processes++;
	if (s->error)
		trouble(r, pid, "process %" PRId64 " (%s): not all of it was read: %s", pid, name,
			reason(s->error));
	if (s->figures.pages_unread)
		trouble(r, pid, "process %" PRId64 " (%s): %" PRId64 " pages could not be read",
			pid, name, s->figures.pages_unread);
	if (r->reader.every_anon_is_ksm && s->ksm != s->smaps_ksm)
		trouble(r, pid,
			"process %" PRId64 " (%s): %" PRIu64 " pages look like KSM pages, smaps "
			"counts %" PRIu64 " (this kernel's kpageflags cannot tell them)",
			pid, name, s->ksm, s->smaps_ksm);
}

/* Pages of one subject, as far as this batch has them. */
static void write_subject(struct run *r, struct subject *s, size_t end_unit)
{
	size_t i;

	for (i = s->first_unit; i < end_unit && !s->error; i++)
		s->error = r->units.units[i].error;
	/* A process on its way out shows fewer and fewer pages, which is no change of it. */
	if (!s->error && !is_alive(s))
		s->error = ESRCH;
	if (s->error && !s->begun) {
		trouble(r, s->proc.pid, "process %" PRId64 " (%s): not read: %s", s->proc.pid,
			s->proc.comm, reason(s->error));
		s->complete = true;
		return;
	}
	if (!s->begun)
		written(r, sim_capwriter_pages_begin(r->writer, s->id, r->round));
	s->begun = true;
	for (i = s->first_unit; i < end_unit; i++)
		write_unit(r, s, &r->units.units[i]);
	s->complete |= s->error != 0;
	if (s->complete)
		finish_subject(r, s);
}

static int read_units(struct run *r, struct sim_cap_page **pages)
{
	size_t i, at = 0;
	const uint64_t begin = now_ns();
	int error;

	*pages = malloc((r->units.pages + 1) * sizeof(**pages));
	if (!*pages)
		return fail(r, KSMSIM_ENOMEM, "no memory");
	for (i = 0; i < r->units.nr; i++) {
		r->units.units[i].pages = *pages + at;
		at += r->units.units[i].nr;
	}
	error = sim_capread_run(&r->reader, &r->units, r->threads);
	r->totals->busy_ns += now_ns() - begin;
	return error ? fail(r, KSMSIM_ENOMEM, "no memory") : 0;
}

/* Read and write what was collected. The last subject stays if more of it is to come. */
static int flush_batch(struct run *r)
{
	struct sim_cap_page *pages = NULL;
	size_t i, kept = 0;

	if (!read_units(r, &pages)) {
		for (i = 0; i < r->nr_subjects; i++)
			write_subject(r, &r->subjects[i],
				      i + 1 < r->nr_subjects ? r->subjects[i + 1].first_unit
							     : r->units.nr);
	}
	for (i = 0; i < r->nr_subjects; i++) {
		if (r->subjects[i].complete) {
			close_subject(&r->subjects[i]);
			continue;
		}
		/* Its units point to its descriptors, but there are none now. */
		r->subjects[kept] = r->subjects[i];
		r->subjects[kept++].first_unit = 0;
	}
	r->nr_subjects = kept;
	free(pages);
	free(r->units.units);
	r->units = (struct sim_capread_units){ .nr = 0 };
	if (r->options->progress)
		r->options->progress(r->options->self, r->round, r->processes, r->pages);
	return r->error;
}

/* ---- the beginning of a subject ---- */

/* Pages of files, devices and of memory that KSM never looks at are not in a capture. */
static bool is_looked_at(const struct sim_proc_vma *v)
{
	if (v->vma.flags & (SIM_CAP_VMA_SHARED | SIM_CAP_VMA_IO | SIM_CAP_VMA_HUGETLB))
		return false;
	return !v->vma.inode || v->anonymous || v->swap;
}

static int find_pages(struct run *r, const struct sim_proc_vmas *vmas)
{
	const struct sim_proc_vma *v;
	struct subject *s = &r->subjects[r->nr_subjects - 1];
	struct sim_capread_unit like = { .process = &s->fds };
	uint64_t at;
	size_t i;

	for (i = 0; !r->error && !s->error && i < vmas->nr; i++) {
		v = &vmas->vmas[i];
		if (!is_looked_at(v))
			continue;
		like.vma = (uint32_t)i;
		like.maybe_merged = v->has_ksm ? v->ksm > 0 : v->vma.flags & SIM_CAP_VMA_MERGEABLE;
		for (at = v->vma.start; !r->error && !s->error && at < v->vma.end;) {
			if (r->units.pages >= BATCH_PAGES && flush_batch(r))
				return r->error;
			if (!r->nr_subjects)
				return 0; /* it ended */
			s = &r->subjects[r->nr_subjects - 1];
			like.process = &s->fds;
			s->error = sim_capread_find(&r->reader, &like, &at, v->vma.end, BATCH_PAGES,
						    &r->units);
			if (s->error == ENOMEM)
				fail(r, KSMSIM_ENOMEM, "no memory");
		}
	}
	r->subjects[r->nr_subjects - 1].complete = true;
	return r->error;
}

/* The number of a process in the file, new or not. */
static uint32_t identify(struct run *r, const struct subject *s)
{
	char exe[TEXT_BYTES], cgroup[TEXT_BYTES];
	const struct sim_cap_process process = { .pid = s->proc.pid,
						 .ppid = s->proc.ppid,
						 .uid = s->proc.uid,
						 .started = s->proc.started,
						 .name = s->proc.comm,
						 .exe = exe,
						 .cgroup = cgroup };
	struct known *known;
	size_t i;

	for (i = 0; i < r->nr_known; i++)
		if (r->known[i].pid == s->proc.pid && r->known[i].started == s->proc.started)
			return r->known[i].id;
	sim_proc_link(s->dir, "exe", exe, sizeof(exe));
	sim_proc_text(s->dir, "cgroup", cgroup, sizeof(cgroup));
	known = sim_vector_add(&r->known, &r->nr_known, sizeof(*known));
	if (!known) {
		fail(r, KSMSIM_ENOMEM, "no memory");
		return 0;
	}
	known->pid = s->proc.pid;
	known->started = s->proc.started;
	written(r, sim_capwriter_process(r->writer, &process, &known->id));
	return known->id;
}

static int write_vmas(struct run *r, struct subject *s, const struct sim_proc_vmas *vmas)
{
	struct sim_cap_vma *array = malloc((vmas->nr + 1) * sizeof(*array));
	size_t i;

	if (!array)
		return fail(r, KSMSIM_ENOMEM, "no memory");
	for (i = 0; i < vmas->nr; i++) {
		array[i] = vmas->vmas[i].vma;
		s->smaps_ksm += vmas->vmas[i].ksm >> r->reader.page_shift;
	}
	written(r, sim_capwriter_vmas(r->writer, s->id, r->round, array, vmas->nr));
	free(array);
	return r->error;
}

/* Descriptors and VMAs; 0 or an errno */
static int open_subject(struct subject *s, int64_t pid, uint64_t started,
			struct sim_proc_vmas *vmas)
{
	int error;

	*s = (struct subject){ .fds = { .pid = pid, .mem = -1, .pagemap = -1 } };
	s->dir = sim_proc_open(pid);
	error = s->dir < 0 ? errno : sim_proc_stat(s->dir, &s->proc);
	if (error || s->proc.started != started)
		return error ? error : ESRCH;
	s->fds.mem = openat(s->dir, "mem", O_RDONLY | O_CLOEXEC);
	if (s->fds.mem < 0)
		return errno;
	s->fds.pagemap = openat(s->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	if (s->fds.pagemap < 0)
		return errno;
	sim_proc_figures(s->dir, &s->figures);
	s->figures.pages_unread = 0;
	s->figures.pages_vanished = 0;
	return sim_proc_vmas(s->dir, vmas);
}

static int read_process(struct run *r, const struct sim_proc *proc)
{
	struct sim_proc_vmas vmas = { .nr = 0 };
	struct subject *s;
	int error;

	if (r->nr_subjects == BATCH_SUBJECTS && flush_batch(r))
		return r->error;
	s = &r->subjects[r->nr_subjects];
	error = open_subject(s, proc->pid, proc->started, &vmas);
	/* A zombie, or one on its way out, has no memory left to see. */
	if (!error && !vmas.nr)
		error = ESRCH;
	if (error) {
		trouble(r, proc->pid, "process %" PRId64 " (%s): not read: %s", proc->pid,
			proc->comm, reason(error));
		close_subject(s);
	} else {
		s->first_unit = r->units.nr;
		s->id = identify(r, s);
		r->nr_subjects++;
		if (!r->error && !write_vmas(r, s, &vmas))
			find_pages(r, &vmas);
	}
	sim_proc_vmas_free(&vmas);
	return r->error;
}

/* ---- rounds ---- */

/* Pids that were given must be there: in the first round it is an error if one is not. */
static int check_pids(struct run *r, const struct sim_proc *procs, size_t nr)
{
	const struct sim_capture_select *s = &r->options->select;
	size_t i, k;

	for (i = 0; !r->error && i < s->nr_pids; i++) {
		for (k = 0; k < nr && (procs[k].pid != s->pids[i] || !procs[k].selected); k++)
			;
		if (k < nr)
			continue;
		if (r->round)
			trouble(r, s->pids[i], "process %" PRId64 ": not read: it has ended",
				s->pids[i]);
		else if (s->pids[i] == getpid())
			fail(r, SIM_EINPUT, "a capture cannot show ksmsim itself");
		else
			fail(r, SIM_EINPUT,
			     "there is no process %" PRId64 ", or it is a thread "
			     "or a kernel thread",
			     s->pids[i]);
	}
	return r->error;
}

static int stop_all(struct run *r, const struct sim_proc *procs, size_t nr)
{
	size_t slow = 0;
	const int error = sim_capstop_begin(&r->stop, procs, nr, &slow);

	if (error)
		return fail(r, SIM_EINPUT, "the processes cannot be stopped: %s", strerror(error));
	if (slow)
		trouble(r, SIM_CAP_UNKNOWN, "%zu processes did not stop within a second", slow);
	return r->error;
}

static int read_all(struct run *r)
{
	struct sim_proc *procs = NULL;
	size_t nr = 0, found, i;
	const int error = sim_proc_list(&procs, &nr);

	if (error)
		return fail(r, SIM_EINPUT, "/proc cannot be read: %s", strerror(error));
	found = sim_capselect(&r->options->select, getpid(), procs, nr);
	check_pids(r, procs, nr);
	if (!r->error && !found && !r->round)
		fail(r, SIM_EINPUT, "no process is what the options ask for");
	if (!r->error && r->options->stop)
		stop_all(r, procs, nr);
	for (i = 0; !r->error && i < nr; i++)
		if (procs[i].selected)
			read_process(r, &procs[i]);
	if (!r->error)
		flush_batch(r);
	sim_capstop_end(&r->stop);
	free(procs);
	return r->error;
}

static int one_round(struct run *r)
{
	const uint64_t begin = now_ns();
	struct sim_cap_round when = { .since_ns = begin - r->begin_ns };

	r->pages = 0;
	r->processes = 0;
	if (written(r, sim_capwriter_round(r->writer, r->round, &when)) || read_all(r))
		return r->error;
	if (!r->round && !r->processes)
		return fail(r, SIM_EINPUT, "%s", r->first_trouble);
	when.duration_ns = now_ns() - begin;
	r->totals->pages = r->pages;
	r->totals->processes = r->processes;
	return written(r, sim_capwriter_round(r->writer, r->round, &when));
}

static void wait_until(uint64_t ns)
{
	const struct timespec when = { .tv_sec = (time_t)(ns / 1000000000u),
				       .tv_nsec = (long)(ns % 1000000000u) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
		;
}

int sim_capture(const struct sim_capture_options *options, struct sim_capwriter *writer,
		struct sim_capture_totals *totals, char *why, size_t size)
{
	struct run *r = calloc(1, sizeof(*r));
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t i;
	int error;

	if (!r) {
		snprintf(why, size, "no memory");
		return KSMSIM_ENOMEM;
	}
	*totals = (struct sim_capture_totals){ .pages = 0 };
	r->options = options;
	r->writer = writer;
	r->totals = totals;
	r->why = why;
	r->size = size;
	r->stop.pipe = -1;
	r->threads = options->threads ? options->threads : cpus < 1 ? 1 : (unsigned)cpus;
	sim_capread_open(&r->reader, &options->hash);
	written(r, sim_caphost_meta(writer));
	r->begin_ns = now_ns();
	for (; !r->error && r->round < options->rounds; r->round++) {
		if (r->round)
			wait_until(r->begin_ns + r->round * options->interval_ns);
		one_round(r);
	}
	for (i = 0; i < r->nr_subjects; i++)
		close_subject(&r->subjects[i]);
	sim_capread_close(&r->reader);
	free(r->units.units);
	free(r->known);
	error = r->error;
	free(r);
	return error;
}
