/*
 * host.h - what a host shows of its KSM: read from its files, or from pasted text.
 *
 * A figure that was not there is not known; nothing is guessed. Page counts are
 * bounded where they are read (HOST_PAGES_MAX), so that sums and products of a
 * few of them fit into 64 bits.
 */
#ifndef SIM_HOST_H
#define SIM_HOST_H

#include "mem.h"
#include "sim.h"

#define HOST_PAGES_MAX ((int64_t)1 << 40)
#define HOST_LABEL_MAX 120u
#define HOST_NO_PROCESS SIZE_MAX

/* Figures: those of sim/host.def, then knobs and counters of the library's tables. */
enum host_figure {
#define HOST(name, form, key, doc) HOST_##name,
#include "host.def"
#define KNOB(name, file, def, min, max, parse, feature, unit, doc) HOST_##name,
#include "ksmsim/knobs.def"
#define COUNTER(name, kind, file, feature, unit, doc) HOST_##name,
#include "ksmsim/counters.def"
	HOST_NR
};

struct host_figures {
	int64_t value[HOST_NR];
	bool known[HOST_NR];
};

struct host_process {
	char name[HOST_LABEL_MAX]; /* pid, or the file that it came from */
	struct host_figures figures;
};

/* One reading. */
struct host {
	struct sim_mem *mem;
	struct host_figures figures;
	struct host_process *processes; /* those that have to do with KSM */
	size_t nr_processes, capacity;
	uint64_t page;	     /* bytes of a base page */
	bool absent;	     /* there is no KSM in this kernel */
	bool quiet;	     /* nothing moved while the counters were read */
	bool saw_ksmd;	     /* so these are all processes, not those of a namespace */
	bool all_processes;  /* every process of the host was looked at */
	int64_t moved;	     /* how far a counter moved while the processes were read */
	uint64_t looked_at;  /* processes whose ksm_stat was read */
	uint64_t unreadable; /* processes whose ksm_stat could not be read */
	uint64_t ignored;    /* lines about something else */
	char first_ignored[HOST_LABEL_MAX];
};

void host_init(struct host *host, struct sim_mem *mem, uint64_t page);
void host_free(struct host *host);

static inline bool host_knows(const struct host *host, enum host_figure figure)
{
	return host->figures.known[figure];
}

/* 0 if not known */
static inline int64_t host_get(const struct host *host, enum host_figure figure)
{
	return host->figures.value[figure];
}

/* A name for output: as much of it as fits, and always text. */
void host_label(char *buf, size_t size, const char *name, size_t length);

/* NULL: no memory. @name is found again if there is such a process. */
struct host_process *host_process(struct host *host, const char *name);

/**
 * host_read() - this host
 * @root: "" or a directory that has its sys and proc
 * Only reads. What cannot be read is not known; no process is stopped or changed.
 * Returns: 0, SIM_EINPUT (a file is not what a kernel writes) or KSMSIM_ENOMEM.
 */
int host_read(struct host *host, const char *root, char *buf, size_t size);

/* A reader of text, line by line. */
struct host_text {
	struct host *host;
	const char *name; /* of the file */
	unsigned long line;
	char *buf; /* the sentence of an error */
	size_t size;
	size_t process;	       /* that the lines are about, or HOST_NO_PROCESS */
	unsigned nr_processes; /* begun in this file */
	bool in_stat, in_vma;
	int64_t vma_anon_kb, vma_huge_kb;
};

void host_text_init(struct host_text *text, struct host *host, const char *name, char *buf,
		    size_t size);
/* @line: without its end; may hold any bytes */
int host_text_line(struct host_text *text, const char *line, size_t length);

/**
 * host_text_read() - `grep -r . /sys/kernel/mm/ksm`, ksm_stat, smaps, in any mixture
 * @name: of the file, for messages and as the name of a process
 * @buf, @size: the sentence of an error, with file and line
 * Returns: 0, SIM_EINPUT or KSMSIM_ENOMEM.
 */
int host_text_read(struct host *host, FILE *in, const char *name, char *buf, size_t size);

#endif
