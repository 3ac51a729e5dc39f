/*
 * proc.h - processes as /proc shows them.
 *
 * Everything is read through a descriptor of /proc/PID: when the process ends, reading
 * fails, and never shows another one that got its number.
 */
#ifndef SIM_PROC_H
#define SIM_PROC_H

#include "capfile.h"

struct sim_proc {
	int64_t pid, ppid, uid;
	uint64_t started; /* clock ticks after boot */
	int64_t minflt;
	uint64_t rss; /* bytes */
	char state;
	bool kernel_thread;
	char comm[64];
	bool selected;
};

/* VMAs of a process, with what smaps counts in them. */
struct sim_proc_vma {
	struct sim_cap_vma vma;	       /* strings belong to the array */
	uint64_t anonymous, swap, ksm; /* bytes */
	bool has_ksm;		       /* the kernel counts KSM pages per VMA */
};

struct sim_proc_vmas {
	struct sim_proc_vma *vmas;
	size_t nr;
	char **strings;
	size_t nr_strings;
};

/* Descriptor of /proc/PID, or -1 */
int sim_proc_open(int64_t pid);
/* 0 or an errno */
int sim_proc_stat(int dir, struct sim_proc *proc);
/* status, stat and ksm_stat; what is not there stays SIM_CAP_UNKNOWN */
void sim_proc_figures(int dir, struct sim_cap_figures *figures);
/* A link or a small file as text, without a newline at the end; "" if it cannot be read. */
void sim_proc_text(int dir, const char *name, char *text, size_t size);
void sim_proc_link(int dir, const char *name, char *text, size_t size);
/* Is it in this cgroup, or below? Lines as in /proc/PID/cgroup */
bool sim_proc_in_cgroup(const char *lines, const char *cgroup);

/* 0, an errno (ENOMEM: no memory here); to be freed in any case */
int sim_proc_vmas(int dir, struct sim_proc_vmas *vmas);
void sim_proc_vmas_free(struct sim_proc_vmas *vmas);

/* All processes in order of pid; 0 or an errno. To be freed with free(). */
int sim_proc_list(struct sim_proc **procs, size_t *nr);

#endif
