/*
 * capwrite.c - writing a capture.
 *
 * All goes into one transaction of a database that has no name: SQLite opens a file by
 * its path and the name is taken away at once. In the end its bytes are copied to where
 * the caller wants them. So there is no moment in which half a capture could be found.
 *
 * Of a process's later rounds only the differences are stored. For that the pages
 * of the round before are read back, in step with those that come in.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#include "capdb.h"
#include "mem.h"

enum {
	PUT_META,
	PUT_NAME,
	PUT_ROUND,
	PUT_PROCESS,
	PUT_VMA,
	KEEP_VMA,
	OLD_VMAS,
	PUT_FIGURES,
	PUT_BLOCK,
	PUT_TROUBLE,
	NR_STATEMENTS
};

static const char old_vmas[] =
	"SELECT rowid, start, end, offset, device, inode, flags, name FROM vma "
	"WHERE process = ? AND last_round = ? ORDER BY start";

#define FIGURE(name, doc) ", ?"
static const char put_figures[] = "INSERT INTO figure VALUES(?, ?" SIM_CAP_FIGURES(FIGURE) ")";
#undef FIGURE

static const char *const statements[NR_STATEMENTS] = {
	[PUT_META] = "INSERT OR REPLACE INTO meta VALUES(?, ?)",
	[PUT_NAME] = "INSERT INTO name VALUES(?, ?)",
	[PUT_ROUND] = "INSERT OR REPLACE INTO round VALUES(?, ?, ?)",
	[PUT_PROCESS] = "INSERT INTO process VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_VMA] = "INSERT INTO vma VALUES(?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	[KEEP_VMA] = "UPDATE vma SET last_round = ? WHERE rowid = ?",
	[OLD_VMAS] = old_vmas,
	[PUT_FIGURES] = put_figures,
	[PUT_BLOCK] = "INSERT INTO block VALUES(?, ?, ?, ?, ?)",
	[PUT_TROUBLE] = "INSERT INTO trouble(round, pid, text) VALUES(?, ?, ?)",
};

/* What was written of a process. */
struct written {
	uint32_t pages_first, pages_last, vmas_last; /* rounds */
	bool any_pages, any_vmas;
};

struct sim_capwriter {
	struct sim_capdb base;
	int fd;
	sqlite3_stmt *statements[NR_STATEMENTS];
	struct sim_mem mem;
	struct sim_map ids; /* hash of a string -> its number + 1 */
	char **names;
	size_t nr_names, capacity_names;
	struct written *processes;
	size_t nr_processes, capacity_processes;
	/* between begin and end */
	uint32_t process, round;
	bool any;
	uint64_t last; /* vaddr of the last page */
	struct sim_cap_cursor *old;
	bool has_old;
	struct sim_cap_page old_page;
	size_t nr;
	struct sim_cap_page *pages; /* SIM_CAPBLOCK_PAGES */
	uint8_t *bytes;		    /* SIM_CAPBLOCK_BYTES */
};

static int no_memory(struct sim_capwriter *w)
{
	return sim_capdb_fail(&w->base, KSMSIM_ENOMEM, "no memory");
}

/* ---- begin and end ---- */

/* The database, open, without a name; its file stays open as w->fd. */
static int open_at(struct sim_capwriter *w, const char *dir, size_t length)
{
	static const char name[] = "/.ksmsim-XXXXXX";
	char *path = malloc(length + sizeof(name));
	sigset_t all, before;

	if (!path)
		return no_memory(w);
	memcpy(path, dir, length);
	memcpy(path + length, name, sizeof(name));
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	w->fd = mkostemp(path, O_CLOEXEC);
	if (w->fd >= 0) {
		if (sqlite3_open_v2(path, &w->base.db, SQLITE_OPEN_READWRITE, NULL))
			sim_capdb_fail_sqlite(&w->base, SIM_EOUTPUT, "cannot be written");
		unlink(path);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	free(path);
	return w->base.error;
}

static int open_database(struct sim_capwriter *w, const char *near)
{
	static const char *const others[] = { "/var/tmp", "/tmp" };
	const char *slash = strrchr(near, '/');
	size_t i;
	int error = open_at(w, slash ? near : ".", slash ? (size_t)(slash - near) : 1);

	/* A device, a pipe: its directory is none to write to. */
	for (i = 0; w->fd < 0 && i < sizeof(others) / sizeof(*others); i++)
		error = open_at(w, others[i], strlen(others[i]));
	if (w->fd < 0)
		return sim_capdb_fail(&w->base, SIM_EOUTPUT,
				      "there is no place for a file beside %s, in /var/tmp or "
				      "/tmp: %s",
				      near, strerror(errno));
	return error;
}

int sim_capwriter_open(const char *near, char *why, size_t size, struct sim_capwriter **out)
{
	struct sim_capwriter *w = calloc(1, sizeof(*w));
	int error = w ? sim_capdb_init(&w->base, near) : KSMSIM_ENOMEM;

	if (error) {
		free(w);
		snprintf(why, size, "no memory");
		return error;
	}
	w->fd = -1;
	sim_mem_init(&w->mem, NULL);
	w->pages = malloc(SIM_CAPBLOCK_PAGES * sizeof(*w->pages));
	w->bytes = malloc(SIM_CAPBLOCK_BYTES);
	error = w->pages && w->bytes ? open_database(w, near) : no_memory(w);
	if (!error)
		error = sim_capdb_create(&w->base);
	if (error) {
		snprintf(why, size, "%s", w->base.why);
		sim_capwriter_free(w);
		return error;
	}
	*out = w;
	return 0;
}

static void close_database(struct sim_capwriter *w)
{
	size_t i;

	sim_cap_cursor_close(w->old);
	w->old = NULL;
	for (i = 0; i < NR_STATEMENTS; i++) {
		sqlite3_finalize(w->statements[i]);
		w->statements[i] = NULL;
	}
	sqlite3_close(w->base.db);
	w->base.db = NULL;
}

void sim_capwriter_free(struct sim_capwriter *w)
{
	size_t i;

	if (!w)
		return;
	close_database(w);
	sim_capdb_close(&w->base);
	if (w->fd >= 0)
		close(w->fd);
	for (i = 0; i < w->nr_names; i++)
		free(w->names[i]);
	sim_free(&w->mem, w->names);
	sim_free(&w->mem, w->processes);
	sim_map_free(&w->mem, &w->ids);
	free(w->pages);
	free(w->bytes);
	free(w);
}

const char *sim_capwriter_error(const struct sim_capwriter *w)
{
	return w->base.why;
}

static int copy_file(struct sim_capwriter *w, FILE *out)
{
	off_t at = 0;
	ssize_t got;

	while ((got = pread(w->fd, w->bytes, SIM_CAPBLOCK_BYTES, at)) > 0) {
		if (fwrite(w->bytes, 1, (size_t)got, out) != (size_t)got)
			return sim_capdb_fail(&w->base, SIM_EOUTPUT, "%s cannot be written: %s",
					      w->base.name, strerror(errno));
		at += got;
	}
	if (got < 0)
		return sim_capdb_fail(&w->base, SIM_EOUTPUT, "%s cannot be read back: %s",
				      w->base.name, strerror(errno));
	return 0;
}

int sim_capwriter_commit(struct sim_capwriter *w, FILE *out)
{
	if (w->base.error)
		return w->base.error;
	if (sqlite3_exec(w->base.db, "COMMIT", NULL, NULL, NULL))
		return sim_capdb_fail_sqlite(&w->base, SIM_EOUTPUT, "cannot be written");
	close_database(w);
	return copy_file(w, out);
}

/* ---- statements ---- */

/* Ready to bind; NULL after an error. */
static sqlite3_stmt *statement(struct sim_capwriter *w, unsigned which)
{
	if (w->base.error)
		return NULL;
	if (!w->statements[which])
		sim_capdb_prepare(&w->base, statements[which], &w->statements[which]);
	else
		sqlite3_reset(w->statements[which]);
	return w->base.error ? NULL : w->statements[which];
}

static int execute(struct sim_capwriter *w, sqlite3_stmt *s)
{
	const int code = s ? sqlite3_step(s) : SQLITE_DONE;

	if (w->base.error)
		return w->base.error;
	if (code != SQLITE_DONE)
		return sim_capdb_fail_sqlite(&w->base, SIM_EOUTPUT, "cannot be written");
	sqlite3_reset(s);
	return 0;
}

static void bind_numbers(sqlite3_stmt *s, int first, const int64_t *numbers, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		sqlite3_bind_int64(s, first + i, numbers[i]);
}

static void bind_text(sqlite3_stmt *s, int column, const char *text)
{
	sqlite3_bind_text(s, column, text, -1, SQLITE_STATIC);
}

static int64_t new_name(struct sim_capwriter *w, uint64_t key, const char *text)
{
	const int64_t id = (int64_t)w->nr_names;
	sqlite3_stmt *s;

	if (!sim_grow(&w->mem, &w->names, &w->capacity_names, w->nr_names, sizeof(*w->names)) ||
	    !sim_map_set(&w->mem, &w->ids, key, (uint64_t)id + 1)) {
		no_memory(w);
		return 0;
	}
	w->names[id] = strdup(text);
	if (!w->names[id]) {
		no_memory(w);
		return 0;
	}
	w->nr_names++;
	s = statement(w, PUT_NAME);
	if (s) {
		sqlite3_bind_int64(s, 1, id);
		bind_text(s, 2, text);
		execute(w, s);
	}
	return id;
}

/* The number of a string. */
static int64_t name_id(struct sim_capwriter *w, const char *given)
{
	char *text = sim_capdb_text(given, strlen(given));
	uint64_t key, id;
	int64_t found;

	if (!text) {
		no_memory(w);
		return 0;
	}
	for (key = XXH3_64bits(text, strlen(text)); (id = sim_map_get(&w->ids, key)) != 0; key++)
		if (!strcmp(w->names[id - 1], text))
			break;
	found = id ? (int64_t)id - 1 : new_name(w, key, text);
	free(text);
	return found;
}

/* ---- small rows ---- */

int sim_capwriter_meta(struct sim_capwriter *w, const char *key, const char *value)
{
	sqlite3_stmt *s = statement(w, PUT_META);
	char *text = sim_capdb_text(value, strlen(value));
	int error;

	if (!text)
		return no_memory(w);
	if (s) {
		bind_text(s, 1, key);
		bind_text(s, 2, text);
	}
	error = execute(w, s);
	free(text);
	return error ? error : sim_capdb_codec(&w->base, key, value);
}

int sim_capwriter_round(struct sim_capwriter *w, uint32_t round, const struct sim_cap_round *what)
{
	const int64_t numbers[] = { round, (int64_t)what->since_ns, (int64_t)what->duration_ns };
	sqlite3_stmt *s = statement(w, PUT_ROUND);

	if (round >= SIM_CAP_ROUNDS_MAX)
		return sim_capdb_fail(&w->base, SIM_EOUTPUT, "a capture has at most %u rounds",
				      SIM_CAP_ROUNDS_MAX);
	if (s)
		bind_numbers(s, 1, numbers, 3);
	return execute(w, s);
}

int sim_capwriter_process(struct sim_capwriter *w, const struct sim_cap_process *what,
			  uint32_t *process)
{
	const int64_t numbers[] = { (int64_t)w->nr_processes,
				    what->pid,
				    what->ppid,
				    what->uid,
				    (int64_t)what->started,
				    name_id(w, what->name),
				    name_id(w, what->exe),
				    name_id(w, what->cgroup) };
	sqlite3_stmt *s = statement(w, PUT_PROCESS);

	if (!sim_grow(&w->mem, &w->processes, &w->capacity_processes, w->nr_processes,
		      sizeof(*w->processes)))
		return no_memory(w);
	if (s)
		bind_numbers(s, 1, numbers, 8);
	if (execute(w, s))
		return w->base.error;
	w->processes[w->nr_processes] = (struct written){ .any_pages = false };
	*process = (uint32_t)w->nr_processes++;
	return 0;
}

int sim_capwriter_figures(struct sim_capwriter *w, uint32_t process, uint32_t round,
			  const struct sim_cap_figures *figures)
{
	const int64_t numbers[] = { process, round,
#define FIGURE(name, doc) figures->name,
				    SIM_CAP_FIGURES(FIGURE)
#undef FIGURE
	};
	sqlite3_stmt *s = statement(w, PUT_FIGURES);

	if (s)
		bind_numbers(s, 1, numbers, (int)(sizeof(numbers) / sizeof(*numbers)));
	return execute(w, s);
}

int sim_capwriter_trouble(struct sim_capwriter *w, const struct sim_cap_trouble *trouble)
{
	char *text = sim_capdb_text(trouble->text, strlen(trouble->text));
	sqlite3_stmt *s = statement(w, PUT_TROUBLE);
	int error;

	if (!text)
		return no_memory(w);
	if (s) {
		sqlite3_bind_int64(s, 1, trouble->round);
		sqlite3_bind_int64(s, 2, trouble->pid);
		bind_text(s, 3, text);
	}
	error = execute(w, s);
	free(text);
	return error;
}

/* ---- VMAs: a row lives as long as nothing about it changes ---- */

#define VMA_COLUMNS 7

static bool same_vma(sqlite3_stmt *old, const int64_t *columns)
{
	int i;

	for (i = 0; i < VMA_COLUMNS; i++)
		if (sqlite3_column_int64(old, i + 1) != columns[i])
			return false;
	return true;
}

static void put_vma(struct sim_capwriter *w, uint32_t process, uint32_t round,
		    const int64_t *columns)
{
	sqlite3_stmt *s = statement(w, PUT_VMA);

	if (s) {
		sqlite3_bind_int64(s, 1, process);
		sqlite3_bind_int64(s, 2, round);
		bind_numbers(s, 3, columns, VMA_COLUMNS);
	}
	execute(w, s);
}

static void keep_vma(struct sim_capwriter *w, uint32_t round, int64_t rowid)
{
	sqlite3_stmt *s = statement(w, KEEP_VMA);

	if (s) {
		sqlite3_bind_int64(s, 1, round);
		sqlite3_bind_int64(s, 2, rowid);
	}
	execute(w, s);
}

int sim_capwriter_vmas(struct sim_capwriter *w, uint32_t process, uint32_t round,
		       const struct sim_cap_vma *vmas, size_t nr)
{
	struct written *written = &w->processes[process];
	sqlite3_stmt *old = statement(w, OLD_VMAS);
	int more = 0;
	size_t i;

	if (old && written->any_vmas) {
		sqlite3_bind_int64(old, 1, process);
		sqlite3_bind_int64(old, 2, written->vmas_last);
		more = sim_capdb_step(&w->base, old);
	}
	for (i = 0; !w->base.error && i < nr; i++) {
		const struct sim_cap_vma *v = &vmas[i];
		const int64_t columns[VMA_COLUMNS] = {
			(int64_t)v->start,  (int64_t)v->end,   (int64_t)v->offset,
			(int64_t)v->device, (int64_t)v->inode, name_id(w, v->flags_text),
			name_id(w, v->name)
		};

		while (more == 1 && sqlite3_column_int64(old, 1) < columns[0])
			more = sim_capdb_step(&w->base, old);
		if (more == 1 && same_vma(old, columns))
			keep_vma(w, round, sqlite3_column_int64(old, 0));
		else
			put_vma(w, process, round, columns);
	}
	if (old)
		sqlite3_reset(old);
	written->any_vmas = true;
	written->vmas_last = round;
	return w->base.error;
}

/* ---- pages ---- */

static int flush_block(struct sim_capwriter *w)
{
	sqlite3_stmt *s = statement(w, PUT_BLOCK);
	const unsigned shift = w->base.codec.page_shift;
	size_t length;

	if (!s || !w->nr)
		return w->base.error;
	length = sim_capblock_encode(&w->base.codec, w->pages, w->nr, w->bytes);
	sqlite3_bind_int64(s, 1, w->process);
	sqlite3_bind_int64(s, 2, w->round);
	sqlite3_bind_int64(s, 3, (int64_t)(w->pages[0].vaddr >> shift));
	sqlite3_bind_int64(s, 4, (int64_t)w->nr);
	sqlite3_bind_blob(s, 5, w->bytes, (int)length, SQLITE_STATIC);
	w->nr = 0;
	return execute(w, s);
}

static int put_page(struct sim_capwriter *w, const struct sim_cap_page *page)
{
	w->pages[w->nr++] = *page;
	return w->nr == SIM_CAPBLOCK_PAGES ? flush_block(w) : w->base.error;
}

static void next_old(struct sim_capwriter *w)
{
	w->has_old = w->old && sim_cap_cursor_next(w->old, &w->old_page) == 1;
}

/* What was below @vaddr in the round before, and has not come again, is gone. */
static void bury_below(struct sim_capwriter *w, uint64_t vaddr)
{
	struct sim_cap_page gone = { .flags = SIM_CAP_GONE };

	while (w->has_old && w->old_page.vaddr < vaddr) {
		gone.vaddr = w->old_page.vaddr;
		put_page(w, &gone);
		next_old(w);
	}
}

static bool same_page(const struct sim_cap_page *a, const struct sim_cap_page *b)
{
	return !sim_print_compare(a->print, b->print) && a->pfn == b->pfn &&
	       a->checksum == b->checksum && a->mapcount == b->mapcount && a->flags == b->flags &&
	       a->order == b->order && a->nid == b->nid;
}

int sim_capwriter_pages_begin(struct sim_capwriter *w, uint32_t process, uint32_t round)
{
	struct written *written = &w->processes[process];

	if (w->base.error)
		return w->base.error;
	w->process = process;
	w->round = round;
	w->any = false;
	w->nr = 0;
	if (written->any_pages && sim_capdb_cursor(&w->base, process, written->pages_first,
						   written->pages_last, false, &w->old))
		return w->base.error;
	next_old(w);
	if (!written->any_pages)
		written->pages_first = round;
	written->any_pages = true;
	written->pages_last = round;
	return w->base.error;
}

/* As it will be read back. */
static struct sim_cap_page normal(const struct sim_capcodec *codec, const struct sim_cap_page *page)
{
	struct sim_cap_page p = *page;

	if (!(p.flags & SIM_CAP_HASHED)) {
		p.print = (struct sim_print){ 0, 0 };
		p.checksum = 0;
	} else if (p.flags & SIM_CAP_ZERO) {
		p.print = codec->zero_print;
		p.checksum = codec->zero_checksum;
	} else if (codec->derived) {
		p.checksum = (uint32_t)p.print.low;
	}
	return p;
}

int sim_capwriter_page(struct sim_capwriter *w, const struct sim_cap_page *given)
{
	const struct sim_cap_page normalised = normal(&w->base.codec, given), *page = &normalised;
	const char *wrong = sim_capblock_refuse(&w->base.codec, page);
	bool same;

	if (!wrong && w->any && page->vaddr <= w->last)
		wrong = "a page out of order";
	if (wrong)
		return sim_capdb_fail(&w->base, SIM_EOUTPUT, "%s: page at %#llx: %s", w->base.name,
				      (unsigned long long)page->vaddr, wrong);
	w->any = true;
	w->last = page->vaddr;
	bury_below(w, page->vaddr);
	same = w->has_old && w->old_page.vaddr == page->vaddr;
	if (same) {
		same = same_page(&w->old_page, page);
		next_old(w);
	}
	return same ? w->base.error : put_page(w, page);
}

int sim_capwriter_pages_end(struct sim_capwriter *w)
{
	bury_below(w, UINT64_MAX);
	sim_cap_cursor_close(w->old);
	w->old = NULL;
	w->has_old = false;
	return flush_block(w);
}
