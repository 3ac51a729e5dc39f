/*
 * op.c - from the words of a line to a resolved operation, by the table.
 *
 * The signature of an operation (ops.def) is walked word by word:
 *
 *	PROC NEWREGION LENGTH [at=ADDRESS] [shared]
 *	---- positions ------ ---- options, any order ----
 *
 * An upper-case word is a row of kinds[]: how such an argument is read, into
 * which field of struct sim_op, and what to say that was expected. So an
 * operation needs no parsing code of its own, in lines and in Lua alike.
 *
 * A name that must exist is looked up at once; a name that is to be made is
 * only interned here. World and backend change when the operation is run.
 */
#include <string.h>

#include "run.h"

#define NODES_MAX 16u
#define THP_DIRECTORY "transparent_hugepage/"

struct parse {
	struct sim_run *run;
	const struct sim_line *line;
	struct sim_op *op;
	const struct ksmsim_row *row; /* of the operation: name, signature (as file) */
	const char *expected;	      /* by the argument that is being read */
};

/* ---- refusing a word ---- */

static const char *nearest(struct sim_word word, const char *(*name)(const void *self, size_t i),
			   const void *self)
{
	return sim_nearest(word.text, word.length, name, self);
}

static int refuse_name(struct sim_run *run, struct sim_word word, const char *what,
		       const char *guess)
{
	/* a word may be as long as a line */
	const int length = word.length > SIM_NAME_MAX ? (int)SIM_NAME_MAX : (int)word.length;

	if (guess)
		return sim_refuse(run, word.text, "unknown %s '%.*s'; did you mean '%s'?", what,
				  length, word.text, guess);
	return sim_refuse(run, word.text, "unknown %s '%.*s'", what, length, word.text);
}

static int refuse_word(struct parse *p, struct sim_word word, const char *why)
{
	const int length = word.length > SIM_NAME_MAX ? (int)SIM_NAME_MAX : (int)word.length;

	return sim_refuse(p->run, word.text, "'%.*s' %s; expected %s (%s %s)", length, word.text,
			  why, p->expected, p->row->name, p->row->file);
}

/* ---- kinds of arguments ---- */

int sim_process_parse(struct sim_run *run, struct sim_word word, uint32_t *process)
{
	const uint32_t found = sim_world_process(&run->world, word);

	if (found == SIM_NONE)
		return refuse_name(run, word, "process",
				   nearest(word, sim_world_process_name, &run->world));
	if (!run->world.processes[found].alive)
		return sim_refuse(run, word.text, "process %s has exited",
				  run->world.processes[found].name);
	*process = found;
	return 0;
}

static int parse_proc(struct parse *p, struct sim_word word)
{
	return sim_process_parse(p->run, word, &p->op->process);
}

static int intern(struct parse *p, struct sim_word word, const char **name)
{
	if (!sim_word_is_name(word))
		return refuse_word(p, word, "is no name");
	*name = sim_world_intern(&p->run->world, word);
	return *name ? 0 : sim_fail(p->run, KSMSIM_ENOMEM);
}

static int parse_newproc(struct parse *p, struct sim_word word)
{
	if (sim_world_process(&p->run->world, word) != SIM_NONE)
		return sim_refuse(p->run, word.text,
				  "there is, or was, a process %.*s; names are not used again",
				  SIM_WORD_ARG(word));
	return intern(p, word, &p->op->name);
}

static int parse_newregion(struct parse *p, struct sim_word word)
{
	if (sim_word_is(word, "brk"))
		return refuse_word(p, word, "is the name of the heap");
	return intern(p, word, &p->op->target);
}

static int parse_range(struct parse *p, struct sim_word word)
{
	struct sim_range range;
	const int error = sim_range_parse(p->run, p->op->process, word, &range);

	if (error)
		return error;
	p->op->vaddr = range.vaddr;
	p->op->length = range.length;
	p->op->region = range.region;
	p->op->whole = range.whole;
	return 0;
}

static int length_into(struct parse *p, struct sim_word word, uint64_t unit, uint64_t *bytes)
{
	const char *wrong = sim_word_length(word, unit, bytes);

	return wrong ? refuse_word(p, word, wrong) : 0;
}

static int parse_length(struct parse *p, struct sim_word word)
{
	return length_into(p, word, p->run->world.page, &p->op->size);
}

static int parse_bytes(struct parse *p, struct sim_word word)
{
	return length_into(p, word, 1, &p->op->size);
}

static int parse_offset(struct parse *p, struct sim_word word)
{
	return length_into(p, word, 1, &p->op->offset);
}

static int parse_address(struct parse *p, struct sim_word word)
{
	return length_into(p, word, 1, &p->op->at);
}

static int number_into(struct parse *p, struct sim_word word, uint64_t max, uint64_t *number)
{
	const char *wrong = sim_word_value(word, number);

	if (!wrong && *number > max)
		wrong = "is too large";
	return wrong ? refuse_word(p, word, wrong) : 0;
}

static int parse_number(struct parse *p, struct sim_word word)
{
	return number_into(p, word, UINT64_MAX, &p->op->number);
}

static int parse_pages(struct parse *p, struct sim_word word)
{
	return number_into(p, word, UINT32_MAX, &p->op->number);
}

static int parse_value(struct parse *p, struct sim_word word)
{
	return number_into(p, word, 255, &p->op->number);
}

static int parse_times(struct parse *p, struct sim_word word)
{
	return number_into(p, word, UINT32_MAX, &p->op->times);
}

static int parse_node(struct parse *p, struct sim_word word)
{
	const unsigned nodes = p->run->options.nodes;
	uint64_t node;
	const int error = number_into(p, word, NODES_MAX - 1, &node);

	if (error)
		return error;
	if (node >= nodes)
		return sim_refuse(p->run, word.text,
				  "this machine has %u NUMA node%s; begin with machine nodes=N",
				  nodes, nodes == 1 ? "" : "s");
	p->op->node = (unsigned)node;
	return 0;
}

static int parse_nodes(struct parse *p, struct sim_word word)
{
	uint64_t nodes;
	const int error = number_into(p, word, NODES_MAX, &nodes);

	if (!error && !nodes)
		return refuse_word(p, word, "is too small");
	p->op->node = error ? 0 : (unsigned)nodes;
	return error;
}

static int parse_time(struct parse *p, struct sim_word word)
{
	const char *wrong = sim_word_time(word, &p->op->ns);

	return wrong ? refuse_word(p, word, wrong) : 0;
}

static int parse_content(struct parse *p, struct sim_word word)
{
	const char *wrong = sim_word_content(word, &p->op->content);

	return wrong ? refuse_word(p, word, wrong) : 0;
}

/* A row of a table of the library; @what: for the message */
static int parse_row(struct parse *p, struct sim_word word, enum ksmsim_table table,
		     const char *what, size_t *row)
{
	const struct sim_rows rows = sim_table_rows(table);

	*row = sim_rows_find(&rows, word);
	return *row < rows.nr
		       ? 0
		       : refuse_name(p->run, word, what, nearest(word, sim_rows_name, &rows));
}

static int parse_advice(struct parse *p, struct sim_word word)
{
	size_t row;
	const int error = parse_row(p, word, KSMSIM_TABLE_ADVICES, "advice", &row);

	p->op->advice = error ? KSMSIM_MADV_NR : (enum ksmsim_advice)row;
	return error;
}

static const char *any_file(const void *self, size_t i)
{
	const enum ksmsim_table knob_table = KSMSIM_TABLE_KNOBS;
	const enum ksmsim_table counter_table = KSMSIM_TABLE_COUNTERS;
	size_t nr;

	(void)self;
	ksmsim_table_rows(knob_table, &nr);
	return i < nr ? sim_table_name(&knob_table, i) : sim_table_name(&counter_table, i - nr);
}

/* A slip is refused; what is like no file at all goes to the kernel, which says ENOENT. */
static int parse_file(struct parse *p, struct sim_word word)
{
	static const char *const directories[] = { "ksm/", "ksmsim/" };
	char path[SIM_NAME_MAX + sizeof("ksm/")];
	struct sim_word name = word;
	const char *guess;
	int length;
	size_t i;

	p->op->file = sim_file_of(word);
	if (p->op->file)
		return 0;
	for (i = 0; i < sizeof(directories) / sizeof(*directories); i++) {
		const size_t skip = strlen(directories[i]);

		if (word.length > skip && !memcmp(word.text, directories[i], skip))
			name = (struct sim_word){ word.text + skip, word.length - skip };
	}
	guess = nearest(name, any_file, NULL);
	if (guess || !sim_word_is_name(name))
		return refuse_name(p->run, word, "knob", guess);
	length = snprintf(path, sizeof(path), "ksm/%.*s", SIM_WORD_ARG(name));
	p->op->file = sim_world_intern(&p->run->world, (struct sim_word){ path, (size_t)length });
	return p->op->file ? 0 : sim_fail(p->run, KSMSIM_ENOMEM);
}

/* i-th file of huge pages that is neither of one size nor a statistic */
static const char *thp_file(const void *self, size_t i)
{
	static const char *const files[] = {
#define KNOB(name, file, def, min, max, parse, feature, unit, doc) file,
#include "ksmsim/knobs.def"
#define COUNTER(name, kind, file, feature, unit, doc) file,
#include "ksmsim/counters.def"
	};
	size_t k;

	(void)self;
	for (k = 0; k < sizeof(files) / sizeof(*files); k++)
		if (!strncmp(files[k], THP_DIRECTORY, sizeof(THP_DIRECTORY) - 1) && !i--)
			return files[k] + sizeof(THP_DIRECTORY) - 1;
	return NULL;
}

/* The path may be given from the directory on, or by the name of the knob. */
static int parse_thpfile(struct parse *p, struct sim_word word)
{
	static const size_t skip = sizeof(THP_DIRECTORY) - 1;
	char path[SIM_NAME_MAX + sizeof(THP_DIRECTORY)];
	const char *guess;
	int length;

	p->op->file = sim_file_of(word);
	if (p->op->file && !strncmp(p->op->file, THP_DIRECTORY, skip))
		return 0;
	if (word.length > skip && !memcmp(word.text, THP_DIRECTORY, skip))
		word = (struct sim_word){ word.text + skip, word.length - skip };
	guess = nearest(word, thp_file, NULL);
	if ((guess && !sim_word_is(word, guess)) || word.length > SIM_NAME_MAX)
		return refuse_name(p->run, word, "file of huge pages", guess);
	length = snprintf(path, sizeof(path), THP_DIRECTORY "%.*s", SIM_WORD_ARG(word));
	p->op->file = sim_world_intern(&p->run->world, (struct sim_word){ path, (size_t)length });
	return p->op->file ? 0 : sim_fail(p->run, KSMSIM_ENOMEM);
}

static int parse_what(struct parse *p, struct sim_word word)
{
	size_t row;
	const int error = parse_row(p, word, KSMSIM_TABLE_INJECT, "allocation", &row);

	p->op->inject = error ? KSMSIM_INJECT_NR : (enum ksmsim_inject)row;
	return error;
}

static int parse_feature(struct parse *p, struct sim_word word)
{
	const enum ksmsim_table table = KSMSIM_TABLE_FEATURES;
	size_t row;
	const int error = parse_row(p, word, table, "feature", &row);

	if (error)
		return error;
	if (p->run->world.nr_processes)
		return sim_refuse(p->run, word.text,
				  "a feature must be set before the first process");
	p->op->feature = sim_table_name(&table, row);
	return 0;
}

/* Whether the value fits the policy is the library's to say. */
static int parse_policy(struct parse *p, struct sim_word word)
{
	const char *equals = memchr(word.text, '=', word.length);
	struct sim_word name = word;
	size_t row;
	int error;

	if (!equals)
		return refuse_word(p, word, "has no value");
	name.length = (size_t)(equals - word.text);
	error = parse_row(p, name, KSMSIM_TABLE_POLICIES, "policy", &row);
	if (error)
		return error;
	p->op->policy = sim_world_intern(&p->run->world, word);
	return p->op->policy ? 0 : sim_fail(p->run, KSMSIM_ENOMEM);
}

static int parse_order(struct parse *p, struct sim_word word)
{
	uint64_t order;
	const int error = number_into(p, word, KSMSIM_ORDERS - 1, &order);

	p->op->order = error ? 0 : (unsigned)order;
	return error;
}

static int parse_index(struct parse *p, struct sim_word word)
{
	return number_into(p, word, (1u << (KSMSIM_ORDERS - 1)) - 1, &p->op->index);
}

static int parse_geometry(struct parse *p, struct sim_word word)
{
	const enum ksmsim_table table = KSMSIM_TABLE_GEOMETRIES;
	size_t row;
	const int error = parse_row(p, word, table, "geometry", &row);

	p->op->geometry = error ? NULL : sim_table_name(&table, row);
	return error;
}

static const struct kind {
	const char *word;
	const char *expected;
	int (*parse)(struct parse *p, struct sim_word word);
} kinds[] = {
	{ "PROC", "a process", parse_proc },
	{ "NEWPROC", "a new name: a letter, then letters, digits, _ and -", parse_newproc },
	{ "NEWREGION", "a new name: a letter, then letters, digits, _ and -", parse_newregion },
	{ "RANGE", "a range: REGION, REGION+PAGE, REGION+PAGE:PAGES or @ADDRESS:LENGTH",
	  parse_range },
	{ "LENGTH", "a length: pages, or bytes with K, M, G or T", parse_length },
	{ "BYTES", "a number of bytes", parse_bytes },
	{ "OFFSET", "an offset in bytes", parse_offset },
	{ "ADDRESS", "an address", parse_address },
	{ "CONTENT", "zero, byte:N, word:N, seed:N, seeds:N, tag:N, tags:N or last:N",
	  parse_content },
	{ "ADVICE", "an advice", parse_advice },
	{ "FILE", "a file of /sys/kernel/mm/ksm", parse_file },
	{ "THPFILE", "a file of /sys/kernel/mm/transparent_hugepage", parse_thpfile },
	{ "ORDER", "the order of a folio: it has 2^order pages", parse_order },
	{ "INDEX", "the number of a page in its folio", parse_index },
	{ "POLICY", "a policy: NAME=VALUE", parse_policy },
	{ "WHAT", "a kind of allocation", parse_what },
	{ "FEATURE", "a feature", parse_feature },
	{ "NUMBER", "a number", parse_number },
	{ "PAGES", "a number of pages", parse_pages },
	{ "VALUE", "a byte: 0 to 255, or a character in quotes", parse_value },
	{ "TIMES", "how many times", parse_times },
	{ "NODE", "the number of a NUMA node", parse_node },
	{ "NODES", "1 to 16 NUMA nodes", parse_nodes },
	{ "GEOMETRY", "a page-table shape", parse_geometry },
	{ "TIME", "a whole number with its unit: ns, us, ms, s, m or h", parse_time },
};

/* a|b|c: which one @word is */
static int parse_choice(struct parse *p, struct sim_word argument, struct sim_word word)
{
	const char *end = argument.text + argument.length, *at = argument.text, *bar;
	char expected[64];
	unsigned i;
	int error;

	for (i = 0; at <= end; i++, at = bar + 1) {
		bar = memchr(at, '|', (size_t)(end - at));
		if (!bar)
			bar = end;
		if (word.length == (size_t)(bar - at) && !memcmp(word.text, at, word.length)) {
			p->op->choice = i;
			return 0;
		}
	}
	snprintf(expected, sizeof(expected), "%.*s", SIM_WORD_ARG(argument));
	p->expected = expected;
	error = refuse_word(p, word, "is none of these");
	p->expected = NULL;
	return error;
}

static const struct kind *kind_of(struct sim_word argument)
{
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (sim_word_is(argument, kinds[i].word))
			return &kinds[i];
	return NULL;
}

static int parse_argument(struct parse *p, struct sim_word argument, struct sim_word word)
{
	const struct kind *kind = kind_of(argument);

	if (!kind)
		return parse_choice(p, argument, word);
	p->expected = kind->expected;
	return kind->parse(p, word);
}

static int refuse_missing(struct parse *p, struct sim_word argument)
{
	const struct kind *kind = kind_of(argument);
	const struct ksmsim_row *row = p->row;
	const char *end = p->line->text + p->line->length;

	if (kind)
		return sim_refuse(p->run, end, "the line ends; expected %s (%s %s)", kind->expected,
				  row->name, row->file);
	return sim_refuse(p->run, end, "the line ends; expected %.*s (%s %s)",
			  SIM_WORD_ARG(argument), row->name, row->file);
}

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

static int refuse_option(struct parse *p, struct sim_word name)
{
	const struct ksmsim_row *row = p->row;
	const char *guess = nearest(name, option_name, row->file);
	const int length = name.length > SIM_NAME_MAX ? (int)SIM_NAME_MAX : (int)name.length;

	if (guess)
		return sim_refuse(p->run, name.text, "unknown option '%.*s'; did you mean '%s'?",
				  length, name.text, guess);
	return sim_refuse(p->run, name.text, "'%.*s' is one argument too many (%s %s)", length,
			  name.text, row->name, row->file);
}

/* One name=value or flag behind the positions. */
static int parse_option(struct parse *p, const char *signature, struct sim_word word)
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
	return parse_argument(p, argument, word);
}

static int parse_arguments(struct parse *p)
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
			return optional ? 0 : refuse_missing(p, argument);
		error = parse_argument(p, argument, line->words[i++]);
		if (error)
			return error;
	}
	for (; !error && i < line->nr; i++)
		error = parse_option(p, p->row->file, line->words[i]);
	return error;
}

/* What the arguments must be to each other. */
static int check_op(struct parse *p)
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
	struct parse p = { .run = run, .line = line, .op = op };
	const struct sim_word name = line->words[0];
	const struct sim_rows operations = sim_operation_rows();
	const size_t id = sim_rows_find(&operations, name);
	int error;

	memset(op, 0, sizeof(*op));
	if (id == SIM_OP_NR)
		return refuse_name(run, name, "operation",
				   nearest(name, sim_rows_name, &operations));
	op->id = (enum sim_op_id)id;
	op->line = line->text;
	op->times = 1;
	op->size = op->id == SIM_OP_poke ? 1 : 0;
	op->choice = op->id == SIM_OP_mmap ? SIM_PROT_rw : 0;
	p.row = &operations.row[id];
	error = parse_arguments(&p);
	return error ? error : check_op(&p);
}
