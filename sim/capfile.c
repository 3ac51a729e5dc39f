/*
 * capfile.c - reading a capture.
 *
 * What is small (strings, rounds, processes, figures) is read when the file is opened;
 * VMAs and pages when they are asked for. The file is opened as one that nobody changes:
 * no lock, no journal beside it is looked for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capdb.h"
#include "vector.h"

struct figure_row {
	uint32_t process, round;
	struct sim_cap_figures figures;
};

struct pair {
	char *key, *value;
};

struct sim_capfile {
	struct sim_capdb base;
	struct pair *meta;
	char **names;
	struct sim_cap_round *rounds;
	struct sim_cap_process *processes;
	struct figure_row *figures; /* by process and round */
	struct sim_cap_trouble *troubles;
	size_t nr_meta, nr_names, nr_rounds, nr_processes, nr_figures, nr_troubles;
};

static void *add(struct sim_capfile *file, void *vector, size_t *nr, size_t bytes)
{
	void *element = sim_vector_add(vector, nr, bytes);

	if (!element)
		sim_capdb_fail(&file->base, KSMSIM_ENOMEM, "no memory");
	return element;
}

static char *column_text(sqlite3_stmt *s, int column)
{
	const char *text = (const char *)sqlite3_column_text(s, column);

	return sim_capdb_text(text ? text : "", (size_t)sqlite3_column_bytes(s, column));
}

static int damaged(struct sim_capfile *file, const char *what)
{
	return sim_capdb_fail(&file->base, SIM_EINPUT, "%s is damaged: %s", file->base.name, what);
}

/* ---- what is read at the beginning: one function a row ---- */

static int take_meta(struct sim_capfile *file, sqlite3_stmt *s)
{
	struct pair *pair = add(file, &file->meta, &file->nr_meta, sizeof(*pair));

	if (!pair)
		return file->base.error;
	pair->key = column_text(s, 0);
	pair->value = column_text(s, 1);
	if (!pair->key || !pair->value)
		return sim_capdb_fail(&file->base, KSMSIM_ENOMEM, "no memory");
	if (file->nr_meta > 1 && strcmp(pair[-1].key, pair->key) >= 0)
		return damaged(file, "a key is there twice");
	return sim_capdb_codec(&file->base, pair->key, pair->value);
}

static int take_name(struct sim_capfile *file, sqlite3_stmt *s)
{
	char **name;

	if (sqlite3_column_int64(s, 0) != (int64_t)file->nr_names)
		return damaged(file, "its strings are not numbered 0, 1, ...");
	name = add(file, &file->names, &file->nr_names, sizeof(*name));
	if (!name)
		return file->base.error;
	*name = column_text(s, 1);
	return *name ? 0 : sim_capdb_fail(&file->base, KSMSIM_ENOMEM, "no memory");
}

static int take_round(struct sim_capfile *file, sqlite3_stmt *s)
{
	struct sim_cap_round *round;

	if (sqlite3_column_int64(s, 0) != (int64_t)file->nr_rounds)
		return damaged(file, "its rounds are not numbered 0, 1, ...");
	if (file->nr_rounds == SIM_CAP_ROUNDS_MAX)
		return damaged(file, "it has more than 1000 rounds");
	round = add(file, &file->rounds, &file->nr_rounds, sizeof(*round));
	if (!round)
		return file->base.error;
	round->since_ns = (uint64_t)sqlite3_column_int64(s, 1);
	round->duration_ns = (uint64_t)sqlite3_column_int64(s, 2);
	return 0;
}

/* NULL: there is no such string. */
static const char *name_of(const struct sim_capfile *file, sqlite3_stmt *s, int column)
{
	const int64_t id = sqlite3_column_int64(s, column);

	return id >= 0 && (uint64_t)id < file->nr_names ? file->names[id] : NULL;
}

static int take_process(struct sim_capfile *file, sqlite3_stmt *s)
{
	struct sim_cap_process *process;

	if (sqlite3_column_int64(s, 0) != (int64_t)file->nr_processes)
		return damaged(file, "its processes are not numbered 0, 1, ...");
	process = add(file, &file->processes, &file->nr_processes, sizeof(*process));
	if (!process)
		return file->base.error;
	process->pid = sqlite3_column_int64(s, 1);
	process->ppid = sqlite3_column_int64(s, 2);
	process->uid = sqlite3_column_int64(s, 3);
	process->started = (uint64_t)sqlite3_column_int64(s, 4);
	process->name = name_of(file, s, 5);
	process->exe = name_of(file, s, 6);
	process->cgroup = name_of(file, s, 7);
	if (!process->name || !process->exe || !process->cgroup)
		return damaged(file, "a process has a string that does not exist");
	return 0;
}

static int take_figure(struct sim_capfile *file, sqlite3_stmt *s)
{
	const int64_t process = sqlite3_column_int64(s, 0), round = sqlite3_column_int64(s, 1);
	struct figure_row *row;
	int column = 2;

	if (process < 0 || (uint64_t)process >= file->nr_processes || round < 0 ||
	    (uint64_t)round >= file->nr_rounds)
		return damaged(file, "figures of a process or a round that does not exist");
	row = add(file, &file->figures, &file->nr_figures, sizeof(*row));
	if (!row)
		return file->base.error;
	row->process = (uint32_t)process;
	row->round = (uint32_t)round;
	if (file->nr_figures > 1 &&
	    (row[-1].process > row->process ||
	     (row[-1].process == row->process && row[-1].round >= row->round)))
		return damaged(file, "figures are there twice");
#define FIGURE(name, doc) row->figures.name = sqlite3_column_int64(s, column++);
	SIM_CAP_FIGURES(FIGURE)
#undef FIGURE
	return 0;
}

static int take_trouble(struct sim_capfile *file, sqlite3_stmt *s)
{
	const int64_t round = sqlite3_column_int64(s, 0);
	struct sim_cap_trouble *trouble;

	if (sqlite3_column_int64(s, 3) != (int64_t)file->nr_troubles + 1)
		return damaged(file, "its troubles are not numbered 1, 2, ...");
	if (round < 0 || (uint64_t)round >= file->nr_rounds)
		return damaged(file, "trouble in a round that does not exist");
	trouble = add(file, &file->troubles, &file->nr_troubles, sizeof(*trouble));
	if (!trouble)
		return file->base.error;
	trouble->round = (uint32_t)round;
	trouble->pid = sqlite3_column_int64(s, 1);
	trouble->text = column_text(s, 2);
	return trouble->text ? 0 : sim_capdb_fail(&file->base, KSMSIM_ENOMEM, "no memory");
}

#define FIGURE(name, doc) ", " #name
static const struct {
	int (*take)(struct sim_capfile *file, sqlite3_stmt *s);
	const char *sql;
} tables[] = {
	{ take_meta, "SELECT key, value FROM meta ORDER BY key" },
	{ take_name, "SELECT id, text FROM name ORDER BY id" },
	{ take_round, "SELECT id, since_ns, duration_ns FROM round ORDER BY id" },
	{ take_process,
	  "SELECT id, pid, ppid, uid, started, name, exe, cgroup FROM process ORDER BY id" },
	{ take_figure,
	  "SELECT process, round" SIM_CAP_FIGURES(FIGURE) " FROM figure ORDER BY process, round" },
	{ take_trouble, "SELECT round, pid, text, id FROM trouble ORDER BY id" },
};
#undef FIGURE

static int load(struct sim_capfile *file)
{
	sqlite3_stmt *s;
	size_t i;
	int error = sim_capdb_check(&file->base);

	for (i = 0; !error && i < sizeof(tables) / sizeof(*tables); i++) {
		error = sim_capdb_prepare(&file->base, tables[i].sql, &s);
		while (!error && (error = sim_capdb_step(&file->base, s)) == 1)
			error = tables[i].take(file, s);
		sqlite3_finalize(s);
	}
	if (!error && !file->nr_rounds)
		error = damaged(file, "it has no rounds");
	if (!error && !sim_capfile_meta(file, SIM_CAP_META_PAGE))
		error = damaged(file, "it does not tell its page size");
	return error;
}

/* ---- open and close ---- */

static int finish_open(struct sim_capfile *file, int error, char *why, size_t size,
		       struct sim_capfile **out)
{
	if (error) {
		snprintf(why, size, "%s", file->base.why);
		sim_capfile_close(file);
		return error;
	}
	*out = file;
	return 0;
}

static struct sim_capfile *new_file(const char *name, char *why, size_t size)
{
	struct sim_capfile *file = calloc(1, sizeof(*file));

	if (file && !sim_capdb_init(&file->base, name))
		return file;
	free(file);
	snprintf(why, size, "no memory");
	return NULL;
}

#define HEADER_BYTES 100u /* at the beginning of each SQLite file */

static uint64_t big_endian(const uint8_t *at, unsigned bytes)
{
	uint64_t number = 0;

	for (; bytes; bytes--)
		number = number << 8 | *at++;
	return number;
}

/* What SQLite would find out late, or say less about; @got: bytes of the header that there are. */
static int check_header(struct sim_capfile *file, const uint8_t *header, size_t got,
			uint64_t length)
{
	static const char magic[16] = "SQLite format 3";
	uint64_t page, bytes;

	if (got < sizeof(magic) || memcmp(header, magic, sizeof(magic)) != 0)
		return sim_capdb_fail(&file->base, SIM_EINPUT,
				      "%s is no capture: it does not begin with '%s' (ksmsim "
				      "capture makes captures, ksmsim import makes them of dumps)",
				      file->base.name, magic);
	file->base.bytes = length;
	page = got < HEADER_BYTES ? 0 : big_endian(header + 16, 2);
	page = page == 1 ? 65536 : page;
	bytes = page * (got < HEADER_BYTES ? 0 : big_endian(header + 28, 4));
	if (length != bytes || !bytes)
		return sim_capdb_fail(&file->base, SIM_EINPUT,
				      "%s is damaged or cut off: it has %llu bytes, and its header "
				      "says %llu",
				      file->base.name, (unsigned long long)length,
				      (unsigned long long)bytes);
	return 0;
}

static int check_file(struct sim_capfile *file, const char *path)
{
	FILE *in = fopen(path, "rb");
	uint8_t header[HEADER_BYTES];
	size_t got = in ? fread(header, 1, sizeof(header), in) : 0;
	off_t length = -1;

	if (in && !ferror(in) && !fseeko(in, 0, SEEK_END))
		length = ftello(in);
	if (length < 0)
		sim_capdb_fail(&file->base, SIM_EINPUT, "%s cannot be read: %s", path,
			       strerror(errno));
	else
		check_header(file, header, got, (uint64_t)length);
	if (in)
		fclose(in);
	return file->base.error;
}

/* As a URI that says that the file does not change; NULL: no memory. */
static char *uri_of(const char *path)
{
	static const char before[] = "file:", after[] = "?immutable=1";
	char *uri = malloc(sizeof(before) + 2 + 3 * strlen(path) + sizeof(after)), *at;

	if (!uri)
		return NULL;
	/* Between two slashes and the third is the name of a host: none. */
	at = uri + sprintf(uri, "%s%s", before, *path == '/' ? "//" : "");
	for (; *path; path++)
		at += *path == '/' ? sprintf(at, "/")
				   : sprintf(at, "%%%02x", (unsigned)(unsigned char)*path);
	sprintf(at, "%s", after);
	return uri;
}

int sim_capfile_open(const char *path, char *why, size_t size, struct sim_capfile **out)
{
	struct sim_capfile *file = new_file(path, why, size);
	char *uri;
	int error;

	if (!file)
		return KSMSIM_ENOMEM;
	error = check_file(file, path);
	uri = error ? NULL : uri_of(path);
	if (!error && !uri)
		error = sim_capdb_fail(&file->base, KSMSIM_ENOMEM, "no memory");
	if (!error &&
	    sqlite3_open_v2(uri, &file->base.db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL))
		error = sim_capdb_fail_sqlite(&file->base, SIM_EINPUT, "cannot be read");
	free(uri);
	if (!error)
		error = sim_capdb_harden(&file->base);
	if (!error)
		error = load(file);
	return finish_open(file, error, why, size, out);
}

int sim_capfile_open_bytes(const void *bytes, size_t length, const char *name, char *why,
			   size_t size, struct sim_capfile **out)
{
	struct sim_capfile *file = new_file(name, why, size);
	unsigned char *image;
	int error;

	if (!file)
		return KSMSIM_ENOMEM;
	error = check_header(file, bytes, length < HEADER_BYTES ? length : HEADER_BYTES, length);
	if (!error && sqlite3_open_v2(":memory:", &file->base.db, SQLITE_OPEN_READWRITE, NULL))
		error = sim_capdb_fail_sqlite(&file->base, SIM_EINPUT, "cannot be read");
	/* SQLite does not write to an image that it may not resize and that is read only. */
	memcpy(&image, &bytes, sizeof(image));
	if (!error && sqlite3_deserialize(file->base.db, "main", image, (sqlite3_int64)length,
					  (sqlite3_int64)length, SQLITE_DESERIALIZE_READONLY))
		error = sim_capdb_fail_sqlite(&file->base, SIM_EINPUT, "is no capture");
	if (!error)
		error = sim_capdb_harden(&file->base);
	if (!error)
		error = load(file);
	return finish_open(file, error, why, size, out);
}

void sim_capfile_close(struct sim_capfile *file)
{
	size_t i;

	if (!file)
		return;
	for (i = 0; i < file->nr_meta; i++) {
		free(file->meta[i].key);
		free(file->meta[i].value);
	}
	for (i = 0; i < file->nr_names; i++)
		free(file->names[i]);
	for (i = 0; i < file->nr_troubles; i++)
		free((void *)(uintptr_t)file->troubles[i].text);
	free(file->meta);
	free(file->names);
	free(file->rounds);
	free(file->processes);
	free(file->figures);
	free(file->troubles);
	sim_capdb_close(&file->base);
	free(file);
}

/* ---- what was read at the beginning ---- */

const char *sim_capfile_error(const struct sim_capfile *file)
{
	return file->base.why;
}

const char *sim_capfile_meta(const struct sim_capfile *file, const char *key)
{
	size_t i;

	for (i = 0; i < file->nr_meta; i++)
		if (!strcmp(file->meta[i].key, key))
			return file->meta[i].value;
	return NULL;
}

bool sim_capfile_meta_at(const struct sim_capfile *file, size_t i, const char **key,
			 const char **value)
{
	if (i >= file->nr_meta)
		return false;
	*key = file->meta[i].key;
	*value = file->meta[i].value;
	return true;
}

uint32_t sim_capfile_page_bytes(const struct sim_capfile *file)
{
	return UINT32_C(1) << file->base.codec.page_shift;
}

bool sim_capfile_is(const struct sim_capfile *file, const char *key, const char *value)
{
	const char *is = sim_capfile_meta(file, key);

	return is && !strcmp(is, value);
}

uint32_t sim_capfile_nr_rounds(const struct sim_capfile *file)
{
	return (uint32_t)file->nr_rounds;
}

const struct sim_cap_round *sim_capfile_round(const struct sim_capfile *file, uint32_t round)
{
	return round < file->nr_rounds ? &file->rounds[round] : NULL;
}

uint32_t sim_capfile_nr_processes(const struct sim_capfile *file)
{
	return (uint32_t)file->nr_processes;
}

const struct sim_cap_process *sim_capfile_process(const struct sim_capfile *file, uint32_t process)
{
	return process < file->nr_processes ? &file->processes[process] : NULL;
}

/* The first row of figures that is not before the process and the round. */
static size_t figure_at(const struct sim_capfile *file, uint32_t process, uint32_t round)
{
	size_t low = 0, high = file->nr_figures, middle;

	while (low < high) {
		const struct figure_row *row = &file->figures[middle = low + (high - low) / 2];

		if (row->process < process || (row->process == process && row->round < round))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct sim_cap_figures *sim_capfile_figures(const struct sim_capfile *file, uint32_t process,
						  uint32_t round)
{
	const size_t i = figure_at(file, process, round);

	if (i < file->nr_figures && file->figures[i].process == process &&
	    file->figures[i].round == round)
		return &file->figures[i].figures;
	return NULL;
}

size_t sim_capfile_nr_troubles(const struct sim_capfile *file)
{
	return file->nr_troubles;
}

const struct sim_cap_trouble *sim_capfile_trouble(const struct sim_capfile *file, size_t i)
{
	return i < file->nr_troubles ? &file->troubles[i] : NULL;
}

/* ---- VMAs ---- */

static int take_vma(struct sim_capfile *file, sqlite3_stmt *s, struct sim_cap_vma *vma)
{
	const uint64_t mask = sim_capfile_page_bytes(file) - 1u;
	const int64_t end = sqlite3_column_int64(s, 1);

	*vma = (struct sim_cap_vma){
		.start = (uint64_t)sqlite3_column_int64(s, 0),
		.end = (uint64_t)end,
		.offset = (uint64_t)sqlite3_column_int64(s, 2),
		.device = (uint64_t)sqlite3_column_int64(s, 3),
		.inode = (uint64_t)sqlite3_column_int64(s, 4),
		.flags_text = name_of(file, s, 5),
		.name = name_of(file, s, 6),
	};
	if (!vma->flags_text || !vma->name)
		return damaged(file, "a VMA has a string that does not exist");
	if (end < 0 || vma->start >= vma->end || (vma->start | vma->end) & mask)
		return damaged(file, "a VMA has an impossible range");
	vma->flags = sim_cap_vma_flags(vma->flags_text);
	return 0;
}

int sim_capfile_vmas(struct sim_capfile *file, uint32_t process, uint32_t round,
		     struct sim_cap_vma **vmas, size_t *nr)
{
	struct sim_cap_vma *array = NULL, *vma;
	size_t nr_array = 0;
	sqlite3_stmt *s;
	int error = file->base.error;

	*vmas = NULL;
	*nr = 0;
	if (error)
		return error;
	error = sim_capdb_prepare(&file->base,
				  "SELECT start, end, offset, device, inode, flags, name FROM vma "
				  "WHERE process = ?1 AND first_round <= ?2 AND last_round >= ?2 "
				  "ORDER BY start",
				  &s);
	if (!error) {
		sqlite3_bind_int64(s, 1, process);
		sqlite3_bind_int64(s, 2, round);
	}
	while (!error && (error = sim_capdb_step(&file->base, s)) == 1) {
		vma = add(file, &array, &nr_array, sizeof(*vma));
		error = vma ? take_vma(file, s, vma) : file->base.error;
		if (!error && nr_array > 1 && vma[-1].end > vma->start)
			error = damaged(file, "two VMAs overlap");
	}
	sqlite3_finalize(s);
	if (error) {
		free(array);
		return error;
	}
	*vmas = array;
	*nr = nr_array;
	return 0;
}

int sim_cap_cursor_open(struct sim_capfile *file, uint32_t process, uint32_t round,
			enum sim_cap_view view, struct sim_cap_cursor **out)
{
	const size_t i = figure_at(file, process, 0);
	uint32_t first;

	*out = NULL;
	if (file->base.error)
		return file->base.error;
	if (i >= file->nr_figures || file->figures[i].process != process ||
	    round >= file->nr_rounds || file->figures[i].round > round)
		return sim_capdb_fail(&file->base, SIM_EINPUT,
				      "%s: process %u was not read in round %u or before",
				      file->base.name, process, round);
	first = view == SIM_CAP_CHANGES ? round : file->figures[i].round;
	return sim_capdb_cursor(&file->base, process, first, round, view == SIM_CAP_CHANGES, out);
}
