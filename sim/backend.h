/*
 * backend.h - where operations happen: the model, or a running kernel.
 *
 * A backend carries out one operation at a time and shows what can be seen
 * afterwards. Functions return 0 or a negative code (library or sim_status);
 * what the kernel answered comes out through `result`. Functions marked
 * optional may be NULL: the question makes no sense there.
 *
 * Processes are the world's numbers: 0, 1, 2, ... in the order of proc and fork.
 */
#ifndef SIM_BACKEND_H
#define SIM_BACKEND_H

#include "mem.h"
#include "op.h"

struct sim_backend;

/* What of a page somebody may be unable to see. */
enum sim_sight {
#define SIGHT(name, doc) SIM_SIGHT_##name,
#include "sights.def"
	SIM_SIGHT_NR
};

/* What a backend cannot see or does not model; one bit for each row of the tables. */
struct sim_blind {
	uint64_t counters; /* enum ksmsim_counter */
	uint64_t figures;  /* enum sim_figure */
	uint64_t pages;	   /* enum sim_sight */
	uint64_t mthp;	   /* enum ksmsim_mthp */
};

/* Statistics of large folios by order. */
struct sim_mthp {
	int64_t value[KSMSIM_MTHP_NR][KSMSIM_ORDERS];
};

/* Sums over all areas of anonymous memory, as smaps has them. */
struct sim_smaps {
	uint64_t private_clean, private_dirty, shared_clean, shared_dirty, referenced,
		lazyfree;      /* pages */
	uint64_t pss, locked;  /* KiB, rounded down for each area */
	uint64_t thp_eligible; /* areas */
};

struct sim_backend_ops {
	const char *name; /* "model" */
	void (*free)(struct sim_backend *backend);
	/* the kernel that it is, and its page size */
	void (*describe)(struct sim_backend *backend, char *kernel, size_t size, uint64_t *page);
	/* false: this kernel has no tracepoints of KSM */
	bool (*listen)(struct sim_backend *backend, ksmsim_listener listener, void *self);

	/* @result: >= 0 or -errno */
	int (*execute)(struct sim_backend *backend, const struct sim_op *op, int64_t *result);

	int (*counter)(struct sim_backend *backend, enum ksmsim_counter counter, int64_t *value);
	/* @file below /sys/kernel/mm; @result: length or -errno */
	int (*read_file)(struct sim_backend *backend, const char *file, char *buf, size_t size,
			 int64_t *result);
	int (*process)(struct sim_backend *backend, uint32_t process, struct ksmsim_process *out);
	int (*page)(struct sim_backend *backend, uint32_t process, uint64_t vaddr,
		    struct ksmsim_page *out);
	uint64_t (*now)(struct sim_backend *backend);

	/* optional: */
	/* all statistics of large folios; without it the run is blind to them */
	int (*mthp)(struct sim_backend *backend, struct sim_mthp *mthp);
	/* an ASKED figure; without it the run is blind to the figure */
	int (*ksm_pages)(struct sim_backend *backend, uint32_t process, uint64_t *value);
	/* the SMAPS figures, alike; *out is zeroed */
	int (*smaps)(struct sim_backend *backend, uint32_t process, struct sim_smaps *out);
	void (*blind)(struct sim_backend *backend, struct sim_blind *blind); /* NULL: sees all */
	/* the first present page at or above *vaddr; *vaddr becomes @end if there is none below it */
	int (*next_page)(struct sim_backend *backend, uint32_t process, uint64_t *vaddr,
			 uint64_t end);
	int (*vma)(struct sim_backend *backend, uint32_t process, size_t index,
		   struct ksmsim_vma *out);
	int (*walk_cost)(struct sim_backend *backend, uint32_t process, uint64_t vaddr,
			 uint64_t length, struct ksmsim_walk *out);
	int (*cost)(struct sim_backend *backend, const char *name, uint64_t *ns);
	/* how often it was charged so far */
	int (*uses)(struct sim_backend *backend, const char *name, uint64_t *count);
	int (*check)(struct sim_backend *backend, char *buf, size_t size);
	/* the sentence of the last error of execute() and its like; "": none of its own */
	const char *(*why)(struct sim_backend *backend);
};

struct sim_backend {
	const struct sim_backend_ops *ops;
};

/* "hugepages-64kB/anon_fault_alloc" */
void sim_mthp_name(uint64_t page, unsigned stat, unsigned order, char *buf, size_t size);
/* Is @word such a name? Directories above and stats/ may be written, too. */
bool sim_mthp_find(uint64_t page, struct sim_word word, unsigned *stat, unsigned *order);

/* Does reading the figure cost a walk? */
bool sim_figure_is_asked(unsigned figure);

/**
 * sim_figure_read() - any figure of a process
 * @seen: what ops->process() said of it
 */
int sim_figure_read(struct sim_backend *backend, uint32_t process,
		    const struct ksmsim_process *seen, unsigned figure, int64_t *value);

/**
 * sim_figures_read() - all of them, but for those that are @blind, which are 0
 * @values: SIM_FIGURE_NR
 */
int sim_figures_read(struct sim_backend *backend, uint32_t process,
		     const struct ksmsim_process *seen, uint64_t blind, int64_t *values);

/**
 * sim_model_new() - the model as a backend
 * @buf, @size: the sentence of an error
 */
int sim_model_new(const struct sim_options *options, struct sim_mem *mem, char *buf, size_t size,
		  struct sim_backend **out);

/* The same without short cuts in the scan (knob ksmsim/shortcuts). */
int sim_plain_new(const struct sim_options *options, struct sim_mem *mem, char *buf, size_t size,
		  struct sim_backend **out);

/* The same, and each batch of ksmd is done as batches of one page. */
int sim_single_new(const struct sim_options *options, struct sim_mem *mem, char *buf, size_t size,
		   struct sim_backend **out);

#endif
