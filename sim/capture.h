/*
 * capture.h - looking at live processes.
 *
 * A capture changes as little as a reader can: it never faults a page in, splits a huge
 * page or breaks sharing. Which pages are there comes from /proc/PID/pagemap; only those
 * are read, and through /proc/PID/mem: process_vm_readv() pins what it reads, and the
 * kernel gives a reader who pins a shared anonymous page, or a KSM page, a copy of its
 * own, so that looking at a merged page would un-merge it.
 *
 * What remains: reading marks a page as accessed, and for a moment holds a reference
 * (KSM or a split that comes just then fails, and tries again later). A page that goes
 * away between the look at pagemap and the read of a running process may be faulted in
 * again, as a mapping of the zero page or from swap; with `stop` that cannot happen.
 */
#ifndef SIM_CAPTURE_H
#define SIM_CAPTURE_H

#include "pagehash.h"

/* Which processes; kernel threads and this program never. */
struct sim_capture_select {
	const int64_t *pids; /* each must exist */
	const char **names;  /* patterns of comm, or of the name of the program file */
	const char **cgroups;
	const char **excludes; /* patterns; not for pids */
	size_t nr_pids, nr_names, nr_cgroups, nr_excludes;
	bool all;
	bool tree;	  /* the descendants, too */
	int64_t uid;	  /* only of this user; SIM_CAP_UNKNOWN: any. Not for pids. */
	uint64_t rss_min; /* bytes. Not for pids. */
};

struct sim_capture_options {
	struct sim_capture_select select;
	uint32_t rounds;
	uint64_t interval_ns; /* from the start of a round to the next */
	bool stop;	      /* SIGSTOP during a round, SIGCONT after it whatever happens */
	unsigned threads;     /* 0: as many as there are CPUs */
	struct sim_pagehash hash;
	void (*progress)(void *self, uint32_t round, uint64_t processes, uint64_t pages);
	void *self;
};

struct sim_capture_totals {
	uint64_t processes, pages;	     /* of the last round */
	uint64_t unread, vanished, troubles; /* of all rounds */
	uint64_t busy_ns;		     /* spent with reading pages, all rounds */
};

/**
 * sim_capture() - @options->rounds looks at the processes, into @writer
 * @writer: new; has the meta of the hash already
 * Returns: 0, or an error with its sentence in @why. What only some of the processes
 * refuse, or that one of them ends, is no error but a trouble in the file.
 */
int sim_capture(const struct sim_capture_options *options, struct sim_capwriter *writer,
		struct sim_capture_totals *totals, char *why, size_t size);

#endif
