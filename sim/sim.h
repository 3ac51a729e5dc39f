/*
 * sim.h - scenarios: the public interface of libksmsim-sim.
 *
 * A run (struct sim_run) is one scenario on one backend. Operations come as
 * lines (sim_run_line(), sim_run_lines()) or from Lua (sim_run_lua()); both go
 * through the same table, sim/ops.def, and the same parser. The syntax is in
 * docs/SCENARIOS.md.
 *
 * Return values are 0, a negative enum sim_status, or a negative KSMSIM_E...
 * code of the library; sim_run_error() has the sentence, with file and line.
 * After such an error only sim_run_error(), the readers and sim_run_free() may
 * be called. A failed expectation is not an error: see sim_run_failed().
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "ksmsim.h"

struct json_t;
struct sim_backend;
struct sim_blind;
struct sim_run;

#define SIM_SCHEMA 1	    /* of the JSON lines */
#define SIM_LINE_MAX 65536u /* bytes of one line */
#define SIM_NAME_MAX 63u    /* bytes of a name */
#define SIM_LUA_INSTRUCTIONS 200000000u
#define SIM_LUA_BYTES ((size_t)1 << 30)

enum sim_status {
	SIM_OK = 0,
	SIM_EINPUT = -20001,  /* the scenario or an option is wrong */
	SIM_EOUTPUT = -20002, /* an output file could not be written */
	SIM_EDIFFER = -20003, /* two backends do not show the same */
};

struct sim_setting {
	const char *name;
	const char *value;
};

struct sim_options;
struct sim_mem;

/* Makes a backend; @buf, @size: the sentence of an error. */
typedef int (*sim_backend_maker)(const struct sim_options *options, struct sim_mem *mem, char *buf,
				 size_t size, struct sim_backend **out);

struct sim_options {
	sim_backend_maker backend; /* NULL: the model */
	const char *profile;	   /* NULL: the library's default */
	const char *geometry;	   /* NULL: the library's default */
	unsigned nodes;		   /* NUMA nodes; 0: 1 */
	uint64_t seed;
	const struct sim_setting *features, *knobs, *costs;
	size_t nr_features, nr_knobs, nr_costs;
	bool check;		   /* ksmsim_check() after each operation */
	uint64_t lua_instructions; /* 0: SIM_LUA_INSTRUCTIONS */
	size_t lua_bytes;	   /* 0: SIM_LUA_BYTES */
	bool drain;		   /* drain the LRU batches after each operation */
	bool lose_memory;	   /* of the machine: MADV_HWPOISON on a live kernel */
	bool pages;		   /* observe page states, and every process after each operation */
	FILE *json;		   /* observations as JSON lines; NULL: none */
	/* each observation, before it is written; not 0 ends the run with this status */
	int (*observe)(void *self, struct sim_run *run, const struct json_t *line);
	void *observe_self;
	const struct sim_blind *blind;		  /* what else not to observe; or NULL */
	FILE *echo;				  /* what `echo` prints; NULL: nowhere */
	FILE *map;				  /* what `map` draws; NULL: nowhere */
	FILE *trace;				  /* events in ftrace's text form; NULL: none */
	FILE *log;				  /* failed expectations; NULL: nowhere */
	const struct ksmsim_allocator *allocator; /* of the model and of the run; NULL: built-in */
	void (*progress)(void *self, const struct sim_run *run); /* after each operation, or NULL */
	void *progress_self;
};

/**
 * sim_run_new() - a run on options->backend
 * @options: copied; what it points to must stay until sim_run_free()
 * @buf, @size: the sentence of an error; always terminated when @size > 0
 * @out: free with sim_run_free()
 */
int sim_run_new(const struct sim_options *options, char *buf, size_t size, struct sim_run **out);

/** sim_run_free() - NULL is allowed; closes no file of the options. */
void sim_run_free(struct sim_run *run);

/**
 * sim_run_line() - one operation
 * @name, @line: where it is from, for messages; @name must stay until sim_run_free()
 * @text, @length: without the end of line; may hold a comment or nothing
 */
int sim_run_line(struct sim_run *run, const char *name, unsigned long line, const char *text,
		 size_t length);

/** sim_run_lines() - a scenario in line form, from @in to its end */
int sim_run_lines(struct sim_run *run, FILE *in, const char *name);

/** sim_run_lua() - a scenario in Lua, from @in to its end */
int sim_run_lua(struct sim_run *run, FILE *in, const char *name);

/** sim_run_end() - write what is still to be written; the last call before sim_run_free() */
int sim_run_end(struct sim_run *run);

/** sim_run_report() - the figures at the end as a table for people */
int sim_run_report(struct sim_run *run, FILE *out);

/** sim_run_error() - the sentence of the error that ended the run; "" if none */
const char *sim_run_error(const struct sim_run *run);

/** sim_run_failure() - the last expectation that failed, and what was seen; "" if none */
const char *sim_run_failure(const struct sim_run *run);

/** sim_run_failed() - how many expectations failed */
uint64_t sim_run_failed(const struct sim_run *run);

/** sim_run_expected() - how many expectations were tested */
uint64_t sim_run_expected(const struct sim_run *run);

/** sim_run_operations() - how many operations ran */
uint64_t sim_run_operations(const struct sim_run *run);

/** sim_run_now() - virtual time, ns */
uint64_t sim_run_now(const struct sim_run *run);

/** sim_run_line_number() - the line of the operation that ran last */
unsigned long sim_run_line_number(const struct sim_run *run);

/** sim_run_result() - what the last operation (expect and echo aside) gave */
int64_t sim_run_result(const struct sim_run *run);

/** sim_run_backend() - to look at the world between operations; owned by the run */
struct sim_backend *sim_run_backend(struct sim_run *run);

/**
 * sim_nearest() - the name that somebody may have meant
 * @name: i-th candidate, or NULL past the last one
 * Returns: a candidate that differs in few letters, the first of the nearest, or NULL.
 */
const char *sim_nearest(const char *word, size_t length,
			const char *(*name)(const void *self, size_t i), const void *self);

/* Names of a table of the library, for sim_nearest(); @self: enum ksmsim_table */
const char *sim_table_name(const void *self, size_t i);

/** sim_operations() - rows of the operation table: name, signature (as file), doc */
const struct ksmsim_row *sim_operations(size_t *nr);

/** sim_figures() - rows of the table of per-process figures */
const struct ksmsim_row *sim_figures(size_t *nr);

#endif
