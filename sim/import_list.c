/*
 * import_list.c - lists of page hashes that somebody else made.
 *
 * Text, one page a line, lines beginning with # aside:
 *
 *	process,address,hash           <- what the columns are, in any order; only `hash`
 *	web,0x7f0000000000,5df2...        must be there
 *
 * Without such a line each line is a hash. Pages without an address follow each other,
 * from 0 on in each process. A hash has 1 to 64 hexadecimal digits, all the same number;
 * of more than 32 the first 32 count.
 *
 * Binary: hashes of one length, one behind the other; one process, pages from 0 on.
 *
 * KSM's checksum cannot be known. It is made up of the hash: right as to when it changes,
 * wrong as a number.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import.h"
#include "vector.h"
#include "words.h"

#define LINE_BYTES 1024u
#define DIGITS_MAX 64u
#define DIGITS_USED 32u
#define VADDR_MAX (SIM_CAP_PAGES_MAX << 12)

enum column { COLUMN_PROCESS, COLUMN_ADDRESS, COLUMN_HASH, NR_COLUMNS };

static const char *const column_names[NR_COLUMNS] = { "process", "address", "hash" };

struct row {
	uint64_t vaddr;
	struct sim_print print;
	uint64_t line;
	uint32_t process;
};

struct process {
	char *name;
	uint64_t next; /* vaddr of a page that does not tell */
};

struct reader {
	struct sim_import *import;
	const char *path;
	const struct sim_import_list *list;
	uint64_t line;
	enum column columns[NR_COLUMNS];
	size_t nr_columns;
	size_t digits; /* of the first hash */
	struct row *rows;
	size_t nr_rows;
	struct process *processes;
	size_t nr_processes;
	uint32_t last; /* process of the last row */
};

const char *sim_import_hex(const char *text, size_t length, struct sim_print *print)
{
	size_t i;

	if (!length || length > DIGITS_MAX)
		return "has not between 1 and 64 digits";
	*print = (struct sim_print){ 0, 0 };
	for (i = 0; i < length; i++) {
		static const char digits[] = "0123456789abcdef0123456789ABCDEF";
		const char *digit = memchr(digits, text[i], sizeof(digits) - 1);

		if (!digit)
			return "is not hexadecimal";
		if (i >= DIGITS_USED)
			continue;
		print->high = print->high << 4 | print->low >> 60;
		print->low = print->low << 4 | ((uint64_t)(digit - digits) & 15);
	}
	return NULL;
}

int sim_import_list_meta(struct sim_import *import, const struct sim_import_list *list)
{
	char text[40] = "", checksum[16], page[16];

	if (list->has_zero)
		snprintf(text, sizeof(text), "%016" PRIx64 "%016" PRIx64, list->zero.high,
			 list->zero.low);
	snprintf(checksum, sizeof(checksum), "%08" PRIx32, (uint32_t)list->zero.low);
	snprintf(page, sizeof(page), "%u", import->hash.page_bytes);
	sim_capwriter_meta(import->writer, SIM_CAP_META_PAGE, page);
	sim_capwriter_meta(import->writer, SIM_CAP_META_PRINTS, "foreign");
	sim_capwriter_meta(import->writer, SIM_CAP_META_CHECKSUMS, "print");
	sim_capwriter_meta(import->writer, SIM_CAP_META_ZERO_PRINT, text);
	if (sim_capwriter_meta(import->writer, SIM_CAP_META_ZERO_CHECKSUM, checksum))
		return sim_import_fail(import, SIM_EOUTPUT, "%s",
				       sim_capwriter_error(import->writer));
	return 0;
}

static int put_page(struct sim_import *import, const struct sim_import_list *list, uint64_t vaddr,
		    struct sim_print print)
{
	const bool zero = list->has_zero && !sim_print_compare(print, list->zero);
	const struct sim_cap_page page = {
		.vaddr = vaddr,
		.print = print,
		.flags = SIM_CAP_HASHED | (zero ? SIM_CAP_ZERO : 0),
		.nid = SIM_CAP_NO_NODE,
	};

	return sim_import_page(import, &page);
}

/* ---- text ---- */

static int wrong(struct reader *r, struct sim_word word, const char *what)
{
	return sim_import_fail(r->import, SIM_EINPUT, "%s:%" PRIu64 ": '%.*s' %s", r->path, r->line,
			       word.length > 80 ? 80 : (int)word.length, word.text, what);
}

/* The next field of a line, without the space around it; false: no more */
static bool next_field(const char **at, struct sim_word *field)
{
	const char *end;

	if (!*at)
		return false;
	end = strchr(*at, ',');
	field->text = *at + strspn(*at, " \t\r");
	field->length = end ? (size_t)(end - *at) : strlen(*at);
	field->length =
		field->text > *at + field->length ? 0 : field->length - (size_t)(field->text - *at);
	while (field->length && strchr(" \t\r", field->text[field->length - 1]))
		field->length--;
	*at = end ? end + 1 : NULL;
	return true;
}

/* The first line, if it says what the columns are. */
static bool take_header(struct reader *r, const char *line)
{
	struct sim_word field;
	size_t i, nr = 0;
	bool has_hash = false;

	while (next_field(&line, &field)) {
		for (i = 0; i < NR_COLUMNS && !sim_word_is(field, column_names[i]); i++)
			;
		if (i == NR_COLUMNS || nr == NR_COLUMNS)
			return false;
		r->columns[nr++] = (enum column)i;
		has_hash |= i == COLUMN_HASH;
	}
	if (has_hash)
		r->nr_columns = nr;
	return has_hash;
}

/* The number of a process, which is new if no row had it. */
static int find_process(struct reader *r, struct sim_word name, uint32_t *process)
{
	struct process *new;
	size_t i;

	if (r->last < r->nr_processes && sim_word_is(name, r->processes[r->last].name)) {
		*process = r->last;
		return 0;
	}
	for (i = 0; i < r->nr_processes; i++)
		if (sim_word_is(name, r->processes[i].name))
			break;
	if (i == r->nr_processes) {
		if (i == UINT16_MAX)
			return wrong(r, name, "is one process too many (65535)");
		new = sim_vector_add(&r->processes, &r->nr_processes, sizeof(*new));
		if (new)
			new->name = strndup(name.text, name.length);
		if (!new || !new->name)
			return sim_import_fail(r->import, KSMSIM_ENOMEM, "no memory");
	}
	*process = (uint32_t)i;
	return 0;
}

static int take_hash(struct reader *r, struct sim_word field, struct row *row)
{
	const char *what = sim_import_hex(field.text, field.length, &row->print);

	if (!what && r->digits && field.length != r->digits)
		what = "has another number of digits than the first hash";
	r->digits = field.length;
	return what ? wrong(r, field, what) : 0;
}

static int take_address(struct reader *r, struct sim_word field, struct row *row)
{
	const char *what = sim_word_number(field, &row->vaddr);

	if (!what && row->vaddr % r->import->hash.page_bytes)
		what = "is not the address of a page";
	if (!what && row->vaddr >= VADDR_MAX)
		what = "is too large";
	return what ? wrong(r, field, what) : 0;
}

static int take_row(struct reader *r, const char *line)
{
	struct row row = { .line = r->line };
	struct sim_word field, process = { "", 0 };
	bool has_address = false;
	struct row *new;
	size_t i;

	for (i = 0; i < r->nr_columns; i++) {
		if (!next_field(&line, &field))
			return wrong(r, (struct sim_word){ "", 0 }, "is where a column is missing");
		if (r->columns[i] == COLUMN_HASH && take_hash(r, field, &row))
			return r->import->error;
		if (r->columns[i] == COLUMN_ADDRESS && take_address(r, field, &row))
			return r->import->error;
		has_address |= r->columns[i] == COLUMN_ADDRESS;
		if (r->columns[i] == COLUMN_PROCESS)
			process = field;
	}
	if (next_field(&line, &field))
		return wrong(r, field, "is one column too many");
	if (find_process(r, process, &row.process))
		return r->import->error;
	r->last = row.process;
	if (!has_address)
		row.vaddr = r->processes[row.process].next;
	r->processes[row.process].next = row.vaddr + r->import->hash.page_bytes;
	new = sim_vector_add(&r->rows, &r->nr_rows, sizeof(*new));
	if (!new)
		return sim_import_fail(r->import, KSMSIM_ENOMEM, "no memory");
	*new = row;
	return 0;
}

static int take_line(struct reader *r, const char *line)
{
	line += strspn(line, " \t\r");
	if (!*line || *line == '#')
		return 0;
	if (!r->nr_columns) {
		if (take_header(r, line))
			return 0;
		r->columns[0] = COLUMN_HASH;
		r->nr_columns = 1;
	}
	return take_row(r, line);
}

static int read_lines(struct reader *r, FILE *in)
{
	char line[LINE_BYTES + 1];
	size_t length;

	while (!r->import->error && fgets(line, sizeof(line), in)) {
		r->line++;
		length = strlen(line);
		if (length && line[length - 1] == '\n')
			line[--length] = 0;
		else if (!feof(in))
			return sim_import_fail(r->import, SIM_EINPUT,
					       "%s:%" PRIu64 ": the line has a zero byte, or more "
					       "than %u bytes: this is no list of hashes",
					       r->path, r->line, LINE_BYTES);
		take_line(r, line);
	}
	if (!r->import->error && ferror(in))
		sim_import_fail(r->import, SIM_EINPUT, "%s cannot be read", r->path);
	return r->import->error;
}

static int by_place(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->process != y->process)
		return x->process < y->process ? -1 : 1;
	if (x->vaddr != y->vaddr)
		return x->vaddr < y->vaddr ? -1 : 1;
	return x->line < y->line ? -1 : x->line > y->line;
}

/* One process of rows that are sorted; returns the row after its last one. */
static size_t put_process(struct reader *r, size_t first)
{
	const struct process *process = &r->processes[r->rows[first].process];
	const uint64_t page = r->import->hash.page_bytes;
	const char *slash = strrchr(r->path, '/');
	size_t i, start = first;

	sim_import_begin(r->import, r->path,
			 *process->name ? process->name
			 : slash	? slash + 1
					: r->path,
			 SIM_CAP_UNKNOWN);
	for (i = first; !r->import->error; i++) {
		const bool more = i < r->nr_rows && r->rows[i].process == r->rows[first].process;

		if (more && i > first && r->rows[i].vaddr == r->rows[i - 1].vaddr) {
			sim_import_fail(r->import, SIM_EINPUT,
					"%s:%" PRIu64 ": the page at %#" PRIx64
					" was in line %" PRIu64 ", too",
					r->path, r->rows[i].line, r->rows[i].vaddr,
					r->rows[i - 1].line);
			break;
		}
		if (i > start && (!more || r->rows[i].vaddr != r->rows[i - 1].vaddr + page)) {
			sim_import_vma(r->import, r->rows[start].vaddr, r->rows[i - 1].vaddr + page,
				       "rd wr ??", "[list]");
			start = i;
		}
		if (!more)
			break;
		put_page(r->import, r->list, r->rows[i].vaddr, r->rows[i].print);
	}
	sim_import_end(r->import);
	return i;
}

int sim_import_csv(struct sim_import *import, struct sim_source *source,
		   const struct sim_import_list *list)
{
	struct reader r = { .import = import, .path = source->path, .list = list };
	FILE *in = fdopen(source->fd, "r");
	size_t i;

	if (!in)
		return sim_import_fail(import, KSMSIM_ENOMEM, "no memory");
	source->fd = -1; /* goes with the stream */
	rewind(in);
	if (!read_lines(&r, in) && !r.nr_rows)
		sim_import_fail(import, SIM_EINPUT, "%s has no hashes", source->path);
	fclose(in);
	if (r.nr_rows)
		qsort(r.rows, r.nr_rows, sizeof(*r.rows), by_place);
	for (i = 0; !import->error && i < r.nr_rows;)
		i = put_process(&r, i);
	for (i = 0; i < r.nr_processes; i++)
		free(r.processes[i].name);
	free(r.processes);
	free(r.rows);
	return import->error;
}

/* ---- binary ---- */

int sim_import_hashes(struct sim_import *import, struct sim_source *source,
		      const struct sim_import_list *list)
{
	const uint64_t nr = source->length / list->hash_bytes;
	const char *slash = strrchr(source->path, '/');
	uint8_t hash[DIGITS_MAX / 2];
	uint64_t i;

	if (!nr || source->length % list->hash_bytes || nr >= SIM_CAP_PAGES_MAX)
		return sim_import_fail(import, SIM_EINPUT,
				       "%s: %" PRIu64 " bytes are no whole hashes of %u bytes",
				       source->path, source->length, list->hash_bytes);
	if (sim_import_begin(import, source->path, slash ? slash + 1 : source->path,
			     SIM_CAP_UNKNOWN))
		return import->error;
	sim_import_vma(import, 0, nr * import->hash.page_bytes, "rd wr ??", "[list]");
	for (i = 0; i < nr && !import->error; i++) {
		struct sim_print print = { 0, 0 };
		unsigned k;

		if (sim_source_read(import, source, i * list->hash_bytes, hash, list->hash_bytes))
			break;
		for (k = 0; k < list->hash_bytes && k < DIGITS_USED / 2; k++) {
			print.high = print.high << 8 | print.low >> 56;
			print.low = print.low << 8 | hash[k];
		}
		put_page(import, list, i * import->hash.page_bytes, print);
	}
	return sim_import_end(import);
}
