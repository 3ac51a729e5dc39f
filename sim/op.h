/*
 * op.h - one operation, parsed and with every name resolved.
 *
 * This is what a backend gets: process numbers of the world, addresses, values;
 * no text to interpret.
 */
#ifndef SIM_OP_H
#define SIM_OP_H

#include "sim.h"
#include "words.h"

enum sim_op_id {
#define OP(name, signature, doc) SIM_OP_##name,
#include "ops.def"
	SIM_OP_NR
};

enum sim_option_bit {
#define OPTION(name) SIM_OPTION_BIT_##name,
#include "options.def"
	SIM_OPTION_NR
};
#define SIM_OPTION(name) (1u << SIM_OPTION_BIT_##name)

enum { SIM_PROT_none, SIM_PROT_r, SIM_PROT_rw };     /* choice of mprotect, mmap */
enum { SIM_PRCTL_on, SIM_PRCTL_off, SIM_PRCTL_get }; /* choice of prctl */
enum { SIM_THPDISABLE_off, SIM_THPDISABLE_all, SIM_THPDISABLE_except_advised };
enum { SIM_PIN_get, SIM_PIN_read, SIM_PIN_write, SIM_PIN_held }; /* choice of pin */

struct sim_op {
	enum sim_op_id id;
	unsigned options; /* SIM_OPTION(...) that were given */
	unsigned choice;  /* which word of a|b|c */
	uint32_t process;
	const char *name;	/* interned: new process */
	const char *region;	/* interned: of the range, if it was given by name */
	const char *target;	/* interned: new region, also as= */
	bool whole;		/* the range is the whole region */
	uint64_t vaddr, length; /* bytes: the range; for mmap and brk filled in when it is run */
	uint64_t size;		/* bytes: LENGTH, BYTES */
	uint64_t at;		/* bytes: at= */
	uint64_t offset;	/* bytes in a page */
	uint64_t number;	/* VALUE, PAGES, NUMBER */
	unsigned order;		/* of folios: order= */
	uint64_t index;		/* of a page in its folio: page= */
	uint64_t times;
	uint64_t ns;
	unsigned node; /* NODE, or how many: NODES */
	struct ksmsim_content content;
	enum ksmsim_advice advice;
	enum ksmsim_inject inject;
	const char *file; /* below /sys/kernel/mm */
	const char *feature;
	const char *geometry;
	const char *policy; /* interned: NAME=VALUE */
	const char *text;   /* rest of the line; not kept */
	const char *line;   /* the whole operation, terminated; not kept */
};

/* One line cut into words; @text is terminated and has no comment. */
struct sim_line {
	const char *text;
	size_t length;
	struct sim_word *words;
	size_t nr, capacity;
};

struct sim_run;

/* Cut @line->text at blanks. false: no memory. */
bool sim_line_cut(struct sim_run *run, struct sim_line *line);

/* Where the comment begins, or @length. */
size_t sim_line_end(const char *text, size_t length);

/**
 * sim_op_parse() - the operation of a line; all names are looked up
 * @line: at least one word
 * Returns: 0, -EINPUT (sim_run_error() says what was expected), -KSMSIM_ENOMEM.
 */
int sim_op_parse(struct sim_run *run, const struct sim_line *line, struct sim_op *op);

/* RANGE for process @process; also used by expectations. @region: out, may be NULL. */
struct sim_range {
	uint64_t vaddr, length;
	const char *region;
	bool whole;
};
int sim_range_parse(struct sim_run *run, uint32_t process, struct sim_word word,
		    struct sim_range *range);

/* A living process. */
int sim_process_parse(struct sim_run *run, struct sim_word word, uint32_t *process);

/* A table, to look a name up in. */
struct sim_rows {
	const struct ksmsim_row *row;
	size_t nr;
};
struct sim_rows sim_operation_rows(void);
struct sim_rows sim_table_rows(enum ksmsim_table table);
/* The row's index, or the number of rows. */
size_t sim_rows_find(const struct sim_rows *rows, struct sim_word word);
/* For sim_nearest(). */
const char *sim_rows_name(const void *rows, size_t i);

/* The file of a knob or of a figure of KSM, given by name or by its path; or NULL. */
const char *sim_file_of(struct sim_word word);
/* Index of a counter, or KSMSIM_COUNT_NR. */
unsigned sim_counter_of(struct sim_word word);
/* Index in figures.def, or SIM_FIGURE_NR. */
unsigned sim_figure_of(struct sim_word word);
/* 0 for an ASKED figure: see sim_figure_read() in backend.h */
int64_t sim_figure_get(const struct ksmsim_process *process, unsigned figure);

enum sim_figure {
#define FIGURE(name, how, field, unit, doc) SIM_FIGURE_##name,
#include "figures.def"
	SIM_FIGURE_NR
};

#endif
