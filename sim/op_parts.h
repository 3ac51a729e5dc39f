/*
 * op_parts.h - between op.c, which walks a signature, and op_args.c, which reads one argument.
 */
#ifndef SIM_OP_PARTS_H
#define SIM_OP_PARTS_H

#include "run.h"

struct op_parse {
	struct sim_run *run;
	const struct sim_line *line;
	struct sim_op *op;
	const struct ksmsim_row *row; /* of the operation: name, signature (as file) */
	const char *expected;	      /* by the argument that is being read */
};

/* One argument, of the kind that @argument names, or one of its words a|b|c. */
int op_argument(struct op_parse *p, struct sim_word argument, struct sim_word word);
/* The line ends where @argument is expected. */
int op_refuse_missing(struct op_parse *p, struct sim_word argument);

const char *op_nearest(struct sim_word word, const char *(*name)(const void *self, size_t i),
		       const void *self);
/* "unknown @what"; @guess: or NULL */
int op_refuse_name(struct sim_run *run, struct sim_word word, const char *what, const char *guess);

#endif
