/*
 * op.c - from the words of a line to a resolved operation, by the table.
 *
 * The signature of an operation (ops.def) is walked word by word:
 *
 *	PROC NEWREGION LENGTH [at=ADDRESS] [shared]
 *	---- positions ------ ---- options, any order ----
 *
 * An upper-case word is a kind of argument (op_args.c). So an operation needs no
 * parsing code of its own, in lines and in Lua alike.
 */
#include <string.h>

#include "op_parts.h"

/* ---- signatures ---- */

/* The next word of a signature; [X] comes without its brackets, with *optional set. */
static struct sim_word signature_next(const char **signature, bool *optional)
{
	struct sim_word word;

	while (**signature == ' ')
		++*signature;
	word = (struct sim_word){ *signature, strcspn(*signature, " ") };
	*signature += word.length;
	*optional = word.length && word.text[0] == '[';
	if (*optional) {
		word.text++;
		word.length -= 2;
	}
	return word;
}

static const char *const option_names[] = {
#define OPTION(name) #name,
#include "options.def"
};

static unsigned option_bit(struct sim_word name)
{
	unsigned i;

	for (i = 0; i + 1 < SIM_OPTION_NR; i++)
		if (sim_word_is(name, option_names[i]))
			break;
	return 1u << i;
}

static struct sim_word name_part(struct sim_word word)
{
	const char *equals = memchr(word.text, '=', word.length);

	if (equals)
		word.length = (size_t)(equals - word.text);
	return word;
}

static bool is_named(struct sim_word argument)
{
	return argument.length && argument.text[0] >= 'a' && argument.text[0] <= 'z';
}

/* The option of this name; nothing if the signature has none. */
static struct sim_word option_find(const char *signature, struct sim_word name)
{
	struct sim_word argument, option;
	bool optional;

	for (;;) {
		argument = signature_next(&signature, &optional);
		option = name_part(argument);
		if (!argument.length ||
		    (optional && is_named(argument) && option.length == name.length &&
		     !memcmp(option.text, name.text, name.length)))
			return argument;
	}
}

/* i-th option of a signature, for sim_nearest() */
static const char *option_name(const void *signature, size_t i)
{
	size_t bit;

	for (bit = 0; bit < SIM_OPTION_NR; bit++) {
		const struct sim_word name = { option_names[bit], strlen(option_names[bit]) };

		if (option_find(signature, name).length && !i--)
			return option_names[bit];
	}
	return NULL;
}

static int refuse_option(struct op_parse *p, struct sim_word name)
{
	const struct ksmsim_row *row = p->row;
	const char *guess = op_nearest(name, option_name, row->file);
	const int length = name.length > SIM_NAME_MAX ? (int)SIM_NAME_MAX : (int)name.length;

	if (guess)
		return sim_refuse(p->run, name.text, "unknown option '%.*s'; did you mean '%s'?",
				  length, name.text, guess);
	return sim_refuse(p->run, name.text, "'%.*s' is one argument too many (%s %s)", length,
			  name.text, row->name, row->file);
}

/* One name=value or flag behind the positions. */
static int parse_option(struct op_parse *p, const char *signature, struct sim_word word)
{
	const struct sim_word name = name_part(word);
	const unsigned bit = option_bit(name);
	struct sim_word argument = option_find(signature, name);
	const size_t length = name_part(argument).length;

	if (!argument.length)
		return refuse_option(p, name);
	if (p->op->options & bit)
		return sim_refuse(p->run, word.text, "%.*s is given twice", SIM_WORD_ARG(name));
	p->op->options |= bit;
	if ((length == argument.length) != (name.length == word.length))
		return sim_refuse(p->run, word.text,
				  "'%.*s' is not how it is written; expected %.*s",
				  SIM_WORD_ARG(word), SIM_WORD_ARG(argument));
	if (name.length == word.length)
		return 0;
	argument.text += length + 1;
	argument.length -= length + 1;
	word.text += name.length + 1;
	word.length -= name.length + 1;
	return op_argument(p, argument, word);
}

static int parse_arguments(struct op_parse *p)
{
	const char *signature = p->row->file;
	const struct sim_line *line = p->line;
	struct sim_word argument;
	bool optional;
	size_t i = 1;
	int error = 0;

	for (;;) {
		argument = signature_next(&signature, &optional);
		if (!argument.length || (optional && is_named(argument)))
			break;
		if (sim_word_is(argument, "TEXT")) {
			p->op->text =
				i < line->nr ? line->words[i].text : line->text + line->length;
			return 0;
		}
		if (i == line->nr)
			return optional ? 0 : op_refuse_missing(p, argument);
		error = op_argument(p, argument, line->words[i++]);
		if (error)
			return error;
	}
	for (; !error && i < line->nr; i++)
		error = parse_option(p, p->row->file, line->words[i]);
	return error;
}

/* What the arguments must be to each other. */
static int check_op(struct op_parse *p)
{
	struct sim_op *op = p->op;
	const uint64_t page = p->run->world.page;
	const struct sim_region *region = NULL;
	const bool by_page = op->id == SIM_OP_fill || op->id == SIM_OP_poke ||
			     op->id == SIM_OP_touch || op->id == SIM_OP_read ||
			     op->id == SIM_OP_check || op->id == SIM_OP_pin ||
			     op->id == SIM_OP_unpin || op->id == SIM_OP_migrate ||
			     op->id == SIM_OP_swapout || op->id == SIM_OP_map;

	if (op->id == SIM_OP_mmap)
		region = sim_world_region(&p->run->world, op->process, p->line->words[2]);
	if (by_page && (op->vaddr % page || op->length % page))
		return sim_refuse(p->run, p->line->words[2].text, "%s needs whole pages",
				  p->row->name);
	if (op->id == SIM_OP_machine && p->run->nr_operations)
		return sim_refuse(p->run, p->line->text, "machine must be the first operation");
	if (op->id == SIM_OP_poke && (op->offset > page || op->size > page - op->offset))
		return sim_refuse(p->run, p->line->words[3].text,
				  "these bytes are not all in one page");
	if (op->id == SIM_OP_mmap && !(op->options & SIM_OPTION(fixed)) && region &&
	    !region->refused)
		return sim_refuse(p->run, p->line->words[2].text,
				  "there is a region %s already; with fixed its name moves",
				  op->target);
	return 0;
}

int sim_op_parse(struct sim_run *run, const struct sim_line *line, struct sim_op *op)
{
	struct op_parse p = { .run = run, .line = line, .op = op };
	const struct sim_word name = line->words[0];
	const struct sim_rows operations = sim_operation_rows();
	const size_t id = sim_rows_find(&operations, name);
	int error;

	memset(op, 0, sizeof(*op));
	if (id == SIM_OP_NR)
		return op_refuse_name(run, name, "operation",
				      op_nearest(name, sim_rows_name, &operations));
	op->id = (enum sim_op_id)id;
	op->line = line->text;
	op->times = 1;
	op->size = op->id == SIM_OP_poke ? 1 : 0;
	op->choice = op->id == SIM_OP_mmap ? SIM_PROT_rw : 0;
	p.row = &operations.row[id];
	error = parse_arguments(&p);
	return error ? error : check_op(&p);
}
