/*
 * op_args.c - the arguments of operations: how each kind is read, into which field of
 * struct sim_op, and what to say that was expected.
 *
 * A name that must exist is looked up at once; a name that is to be made is only
 * interned here. World and backend change when the operation is run.
 *
 * To add a kind: a row of kinds[], and its word in a signature of ops.def.
 */
#include <string.h>

#include "op_parts.h"

#define NODES_MAX 16u
#define THP_DIRECTORY "transparent_hugepage/"

/* ---- refusing a word ---- */

const char *op_nearest(struct sim_word word, const char *(*name)(const void *self, size_t i),
		       const void *self)
{
	return sim_nearest(word.text, word.length, name, self);
}

int op_refuse_name(struct sim_run *run, struct sim_word word, const char *what, const char *guess)
{
	/* a word may be as long as a line */
	const int length = word.length > SIM_NAME_MAX ? (int)SIM_NAME_MAX : (int)word.length;

	if (guess)
		return sim_refuse(run, word.text, "unknown %s '%.*s'; did you mean '%s'?", what,
				  length, word.text, guess);
	return sim_refuse(run, word.text, "unknown %s '%.*s'", what, length, word.text);
}

static int refuse_word(struct op_parse *p, struct sim_word word, const char *why)
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
		return op_refuse_name(run, word, "process",
				      op_nearest(word, sim_world_process_name, &run->world));
	if (!run->world.processes[found].alive)
		return sim_refuse(run, word.text, "process %s has exited",
				  run->world.processes[found].name);
	*process = found;
	return 0;
}

static int parse_proc(struct op_parse *p, struct sim_word word)
{
	return sim_process_parse(p->run, word, &p->op->process);
}

static int intern(struct op_parse *p, struct sim_word word, const char **name)
{
	if (!sim_word_is_name(word))
		return refuse_word(p, word, "is no name");
	*name = sim_world_intern(&p->run->world, word);
	return *name ? 0 : sim_fail(p->run, KSMSIM_ENOMEM);
}

static int parse_newproc(struct op_parse *p, struct sim_word word)
{
	if (sim_world_process(&p->run->world, word) != SIM_NONE)
		return sim_refuse(p->run, word.text,
				  "there is, or was, a process %.*s; names are not used again",
				  SIM_WORD_ARG(word));
	return intern(p, word, &p->op->name);
}

static int parse_newregion(struct op_parse *p, struct sim_word word)
{
	if (sim_word_is(word, "brk"))
		return refuse_word(p, word, "is the name of the heap");
	return intern(p, word, &p->op->target);
}

static int parse_range(struct op_parse *p, struct sim_word word)
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

static int length_into(struct op_parse *p, struct sim_word word, uint64_t unit, uint64_t *bytes)
{
	const char *wrong = sim_word_length(word, unit, bytes);

	return wrong ? refuse_word(p, word, wrong) : 0;
}

static int parse_length(struct op_parse *p, struct sim_word word)
{
	return length_into(p, word, p->run->world.page, &p->op->size);
}

static int parse_bytes(struct op_parse *p, struct sim_word word)
{
	return length_into(p, word, 1, &p->op->size);
}

static int parse_offset(struct op_parse *p, struct sim_word word)
{
	return length_into(p, word, 1, &p->op->offset);
}

static int parse_address(struct op_parse *p, struct sim_word word)
{
	return length_into(p, word, 1, &p->op->at);
}

static int number_into(struct op_parse *p, struct sim_word word, uint64_t max, uint64_t *number)
{
	const char *wrong = sim_word_value(word, number);

	if (!wrong && *number > max)
		wrong = "is too large";
	return wrong ? refuse_word(p, word, wrong) : 0;
}

static int parse_number(struct op_parse *p, struct sim_word word)
{
	return number_into(p, word, UINT64_MAX, &p->op->number);
}

static int parse_pages(struct op_parse *p, struct sim_word word)
{
	return number_into(p, word, UINT32_MAX, &p->op->number);
}

static int parse_value(struct op_parse *p, struct sim_word word)
{
	return number_into(p, word, 255, &p->op->number);
}

static int parse_times(struct op_parse *p, struct sim_word word)
{
	return number_into(p, word, UINT32_MAX, &p->op->times);
}

static int parse_node(struct op_parse *p, struct sim_word word)
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

static int parse_nodes(struct op_parse *p, struct sim_word word)
{
	uint64_t nodes;
	const int error = number_into(p, word, NODES_MAX, &nodes);

	if (!error && !nodes)
		return refuse_word(p, word, "is too small");
	p->op->node = error ? 0 : (unsigned)nodes;
	return error;
}

static int parse_time(struct op_parse *p, struct sim_word word)
{
	const char *wrong = sim_word_time(word, &p->op->ns);

	return wrong ? refuse_word(p, word, wrong) : 0;
}

static int parse_content(struct op_parse *p, struct sim_word word)
{
	const char *wrong = sim_word_content(word, &p->op->content);

	return wrong ? refuse_word(p, word, wrong) : 0;
}

/* A row of a table of the library; @what: for the message */
static int parse_row(struct op_parse *p, struct sim_word word, enum ksmsim_table table,
		     const char *what, size_t *row)
{
	const struct sim_rows rows = sim_table_rows(table);

	*row = sim_rows_find(&rows, word);
	return *row < rows.nr
		       ? 0
		       : op_refuse_name(p->run, word, what, op_nearest(word, sim_rows_name, &rows));
}

static int parse_advice(struct op_parse *p, struct sim_word word)
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
static int parse_file(struct op_parse *p, struct sim_word word)
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
	guess = op_nearest(name, any_file, NULL);
	if (guess || !sim_word_is_name(name))
		return op_refuse_name(p->run, word, "knob", guess);
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
static int parse_thpfile(struct op_parse *p, struct sim_word word)
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
	guess = op_nearest(word, thp_file, NULL);
	if ((guess && !sim_word_is(word, guess)) || word.length > SIM_NAME_MAX)
		return op_refuse_name(p->run, word, "file of huge pages", guess);
	length = snprintf(path, sizeof(path), THP_DIRECTORY "%.*s", SIM_WORD_ARG(word));
	p->op->file = sim_world_intern(&p->run->world, (struct sim_word){ path, (size_t)length });
	return p->op->file ? 0 : sim_fail(p->run, KSMSIM_ENOMEM);
}

static int parse_what(struct op_parse *p, struct sim_word word)
{
	size_t row;
	const int error = parse_row(p, word, KSMSIM_TABLE_INJECT, "allocation", &row);

	p->op->inject = error ? KSMSIM_INJECT_NR : (enum ksmsim_inject)row;
	return error;
}

static int parse_feature(struct op_parse *p, struct sim_word word)
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
static int parse_policy(struct op_parse *p, struct sim_word word)
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

static int parse_order(struct op_parse *p, struct sim_word word)
{
	uint64_t order;
	const int error = number_into(p, word, KSMSIM_ORDERS - 1, &order);

	p->op->order = error ? 0 : (unsigned)order;
	return error;
}

static int parse_index(struct op_parse *p, struct sim_word word)
{
	return number_into(p, word, (1u << (KSMSIM_ORDERS - 1)) - 1, &p->op->index);
}

static int parse_geometry(struct op_parse *p, struct sim_word word)
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
	int (*parse)(struct op_parse *p, struct sim_word word);
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
static int parse_choice(struct op_parse *p, struct sim_word argument, struct sim_word word)
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

int op_argument(struct op_parse *p, struct sim_word argument, struct sim_word word)
{
	const struct kind *kind = kind_of(argument);

	if (!kind)
		return parse_choice(p, argument, word);
	p->expected = kind->expected;
	return kind->parse(p, word);
}

int op_refuse_missing(struct op_parse *p, struct sim_word argument)
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
