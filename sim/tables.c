/*
 * tables.c - rows by name: the tables of sim/ and those of the library.
 *
 * What a scenario can name is a row somewhere. A look-up gives the index, which
 * is also the value of the enum made from the same .def file, or the number of
 * rows if there is none of that name.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend.h"

static const struct ksmsim_row operations[] = {
#define OP(name, signature, doc) { #name, signature, "", doc },
#include "ops.def"
};

static const struct ksmsim_row figures[] = {
#define FIGURE(name, how, field, unit, doc) { #name, "", unit, doc },
#include "figures.def"
};

const struct ksmsim_row *sim_operations(size_t *nr)
{
	*nr = sizeof(operations) / sizeof(*operations);
	return operations;
}

const struct ksmsim_row *sim_figures(size_t *nr)
{
	*nr = sizeof(figures) / sizeof(*figures);
	return figures;
}

struct sim_rows sim_operation_rows(void)
{
	return (struct sim_rows){ operations, SIM_OP_NR };
}

struct sim_rows sim_table_rows(enum ksmsim_table table)
{
	struct sim_rows rows;

	rows.row = ksmsim_table_rows(table, &rows.nr);
	return rows;
}

size_t sim_rows_find(const struct sim_rows *rows, struct sim_word word)
{
	size_t i;

	for (i = 0; i < rows->nr; i++)
		if (sim_word_is(word, rows->row[i].name))
			break;
	return i;
}

const char *sim_rows_name(const void *rows, size_t i)
{
	const struct sim_rows *r = rows;

	return i < r->nr ? r->row[i].name : NULL;
}

const char *sim_table_name(const void *self, size_t i)
{
	const enum ksmsim_table *table = self;
	const struct sim_rows rows = sim_table_rows(*table);

	return sim_rows_name(&rows, i);
}

unsigned sim_counter_of(struct sim_word word)
{
	const struct sim_rows rows = sim_table_rows(KSMSIM_TABLE_COUNTERS);

	return (unsigned)sim_rows_find(&rows, word);
}

unsigned sim_figure_of(struct sim_word word)
{
	const struct sim_rows rows = { figures, SIM_FIGURE_NR };

	return (unsigned)sim_rows_find(&rows, word);
}

int64_t sim_figure_get(const struct ksmsim_process *process, unsigned figure)
{
	switch (figure) {
#define KEPT(name, field)       \
	case SIM_FIGURE_##name: \
		return (int64_t)process->field;
#define ASKED(name, op)
#define SMAPS(name, field)
#define FIGURE(name, how, field, unit, doc) how(name, field)
#include "figures.def"
#undef KEPT
#undef ASKED
#undef SMAPS
	default:
		return 0;
	}
}

#define MTHP_DIRECTORY "hugepages-"

void sim_mthp_name(uint64_t page, unsigned stat, unsigned order, char *buf, size_t size)
{
	const struct sim_rows rows = sim_table_rows(KSMSIM_TABLE_MTHP);

	snprintf(buf, size, MTHP_DIRECTORY "%" PRIu64 "kB/%s", (page << order) / 1024,
		 rows.row[stat].name);
}

static bool skip_text(struct sim_word *word, const char *text)
{
	const size_t length = strlen(text);

	if (word->length < length || memcmp(word->text, text, length))
		return false;
	word->text += length;
	word->length -= length;
	return true;
}

bool sim_mthp_find(uint64_t page, struct sim_word word, unsigned *stat, unsigned *order)
{
	const struct sim_rows rows = sim_table_rows(KSMSIM_TABLE_MTHP);
	char directory[64];

	skip_text(&word, "transparent_hugepage/");
	for (*order = 2; *order < KSMSIM_ORDERS; ++*order) {
		snprintf(directory, sizeof(directory), MTHP_DIRECTORY "%" PRIu64 "kB/",
			 (page << *order) / 1024);
		if (skip_text(&word, directory))
			break;
	}
	skip_text(&word, "stats/");
	*stat = (unsigned)sim_rows_find(&rows, word);
	return *order < KSMSIM_ORDERS && *stat < rows.nr;
}

bool sim_figure_is_asked(unsigned figure)
{
	switch (figure) {
#define KEPT(name, field)
#define ASKED(name, op)         \
	case SIM_FIGURE_##name: \
		return true;
#define SMAPS(name, field) ASKED(name, field)
#define FIGURE(name, how, field, unit, doc) how(name, field)
#include "figures.def"
#undef KEPT
#undef ASKED
#undef SMAPS
	default:
		return false;
	}
}

/* A figure of smaps; others stay as they are. */
static void take_smaps(const struct sim_smaps *smaps, unsigned figure, int64_t *value)
{
	switch (figure) {
#define KEPT(name, field)
#define ASKED(name, op)
#define SMAPS(name, field)                      \
	case SIM_FIGURE_##name:                 \
		*value = (int64_t)smaps->field; \
		break;
#define FIGURE(name, how, field, unit, doc) how(name, field)
#include "figures.def"
#undef KEPT
#undef ASKED
#undef SMAPS
	default:
		break;
	}
}

static int ask(struct sim_backend *backend,
	       int (*op)(struct sim_backend *backend, uint32_t process, uint64_t *value),
	       uint32_t process, int64_t *value)
{
	uint64_t seen = 0;
	const int error = op ? op(backend, process, &seen) : 0;

	*value = (int64_t)seen;
	return error;
}

static int smaps_of(struct sim_backend *backend, uint32_t process, struct sim_smaps *smaps)
{
	*smaps = (struct sim_smaps){ .pss = 0 };
	return backend->ops->smaps ? backend->ops->smaps(backend, process, smaps) : 0;
}

static int ask_smaps(struct sim_backend *backend, uint32_t process, unsigned figure, int64_t *value)
{
	struct sim_smaps smaps;
	const int error = smaps_of(backend, process, &smaps);

	take_smaps(&smaps, figure, value);
	return error;
}

int sim_figure_read(struct sim_backend *backend, uint32_t process,
		    const struct ksmsim_process *seen, unsigned figure, int64_t *value)
{
	switch (figure) {
#define KEPT(name, field)       \
	case SIM_FIGURE_##name: \
		break;
#define ASKED(name, op)         \
	case SIM_FIGURE_##name: \
		return ask(backend, backend->ops->op, process, value);
#define SMAPS(name, field)      \
	case SIM_FIGURE_##name: \
		return ask_smaps(backend, process, figure, value);
#define FIGURE(name, how, field, unit, doc) how(name, field)
#include "figures.def"
#undef KEPT
#undef ASKED
#undef SMAPS
	default:
		break;
	}
	*value = sim_figure_get(seen, figure);
	return 0;
}

int sim_figures_read(struct sim_backend *backend, uint32_t process,
		     const struct ksmsim_process *seen, uint64_t blind, int64_t *values)
{
	struct sim_smaps smaps;
	int error = smaps_of(backend, process, &smaps);

	for (unsigned i = 0; !error && i < SIM_FIGURE_NR; i++) {
		values[i] = sim_figure_get(seen, i);
		if (blind >> i & 1)
			values[i] = 0;
		else if (i == SIM_FIGURE_ksm_pages)
			error = sim_figure_read(backend, process, seen, i, &values[i]);
		else
			take_smaps(&smaps, i, &values[i]);
	}
	return error;
}

const char *sim_file_of(struct sim_word word)
{
	static const struct {
		const char *name, *file;
	} files[] = {
#define KNOB(name, file, def, min, max, parse, feature, unit, doc) { #name, file },
#include "ksmsim/knobs.def"
#define COUNTER(name, kind, file, feature, unit, doc) { #name, file },
#include "ksmsim/counters.def"
	};
	size_t i;

	/* counters that are in no file of /sys/kernel/mm have no / in that column */
	for (i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (strchr(files[i].file, '/') &&
		    (sim_word_is(word, files[i].name) || sim_word_is(word, files[i].file)))
			return files[i].file;
	return NULL;
}
