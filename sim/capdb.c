/*
 * capdb.c - the database under a capture: schema, errors, text.
 *
 *   meta(key, value)            what holds for the whole file
 *   name(id, text)              every other string, once
 *   round(id, ...)              when
 *   process(id, ...)            who; the numbers are 0, 1, ... as in the interface
 *   vma(process, first_round, last_round, ...)
 *                               one row as long as nothing about it changes
 *   figure(process, round, ...) there is a row iff the process was read in the round
 *   block(process, round, first, nr, data)
 *                               pages (capblock.h); of later rounds only what changed
 *   trouble(id, ...)            what could not be read
 *
 * A file is a capture iff application_id and user_version say so and the schema is this
 * one to the letter: a view or a trigger of somebody else's never runs. Numbers that may
 * have 64 bits are stored as SQLite's signed ones.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capdb.h"
#include "words.h"

#define BLOB_MAX (1 << 20) /* bytes of a value in a file */

/* Steps of SQLite's machine: a row takes some twenty, and some bytes of the file. */
#define STEPS 1000
#define STEPS_MIN 1000000
#define STEPS_A_BYTE 8

_Static_assert(SIM_CAPBLOCK_BYTES <= BLOB_MAX, "a block is a value");

#define FIGURE(name, doc) ", " #name " INTEGER NOT NULL"

/* In order of their names. */
static const struct {
	const char *name, *sql;
} schema[] = {
	{ "block", "CREATE TABLE block(process INTEGER NOT NULL, round INTEGER NOT NULL, "
		   "first INTEGER NOT NULL, nr INTEGER NOT NULL, data BLOB NOT NULL)" },
	{ "block_at", "CREATE UNIQUE INDEX block_at ON block(process, round, first)" },
	{ "figure",
	  "CREATE TABLE figure(process INTEGER NOT NULL, round INTEGER NOT NULL" SIM_CAP_FIGURES(
		  FIGURE) ", PRIMARY KEY(process, round)) WITHOUT ROWID" },
	{ "meta", "CREATE TABLE meta(key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) "
		  "WITHOUT ROWID" },
	{ "name", "CREATE TABLE name(id INTEGER PRIMARY KEY, text TEXT NOT NULL)" },
	{ "process", "CREATE TABLE process(id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, "
		     "ppid INTEGER NOT NULL, uid INTEGER NOT NULL, started INTEGER NOT NULL, "
		     "name INTEGER NOT NULL, exe INTEGER NOT NULL, cgroup INTEGER NOT NULL)" },
	{ "round", "CREATE TABLE round(id INTEGER PRIMARY KEY, since_ns INTEGER NOT NULL, "
		   "duration_ns INTEGER NOT NULL)" },
	{ "trouble", "CREATE TABLE trouble(id INTEGER PRIMARY KEY, round INTEGER NOT NULL, "
		     "pid INTEGER NOT NULL, text TEXT NOT NULL)" },
	{ "vma", "CREATE TABLE vma(process INTEGER NOT NULL, first_round INTEGER NOT NULL, "
		 "last_round INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, "
		 "offset INTEGER NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL, "
		 "flags INTEGER NOT NULL, name INTEGER NOT NULL)" },
	{ "vma_of", "CREATE INDEX vma_of ON vma(process)" },
};
#undef FIGURE
#define NR_SCHEMA (sizeof(schema) / sizeof(*schema))

int sim_capdb_init(struct sim_capdb *base, const char *name)
{
	*base = (struct sim_capdb){ .name = strdup(name), .codec = { .page_shift = 12 } };
	return base->name ? 0 : KSMSIM_ENOMEM;
}

void sim_capdb_close(struct sim_capdb *base)
{
	sqlite3_close(base->db);
	free(base->name);
	base->db = NULL;
	base->name = NULL;
}

int sim_capdb_fail(struct sim_capdb *base, int error, const char *format, ...)
{
	va_list args;

	if (base->error)
		return base->error;
	base->error = error;
	va_start(args, format);
	vsnprintf(base->why, sizeof(base->why), format, args);
	va_end(args);
	return error;
}

int sim_capdb_fail_sqlite(struct sim_capdb *base, int error, const char *what)
{
	const int code = base->db ? sqlite3_errcode(base->db) : SQLITE_NOMEM;

	if (code == SQLITE_NOMEM)
		return sim_capdb_fail(base, KSMSIM_ENOMEM, "no memory");
	if (code == SQLITE_INTERRUPT)
		return sim_capdb_fail(base, error, "%s is damaged: its tables go in circles",
				      base->name);
	return sim_capdb_fail(base, error, "%s %s: %s", base->name, what, sqlite3_errmsg(base->db));
}

static int run_sql(struct sim_capdb *base, const char *sql)
{
	if (sqlite3_exec(base->db, sql, NULL, NULL, NULL))
		return sim_capdb_fail_sqlite(base, SIM_EINPUT, "is no capture, or is damaged");
	return 0;
}

/* Ends a query that takes longer than reading all of the file could take. */
static int count_steps(void *self)
{
	struct sim_capdb *base = self;

	base->steps_left -= STEPS;
	return base->steps_left < 0;
}

int sim_capdb_harden(struct sim_capdb *base)
{
	sqlite3_progress_handler(base->db, STEPS, count_steps, base);
	base->steps_left = STEPS_MIN;
	sqlite3_limit(base->db, SQLITE_LIMIT_LENGTH, BLOB_MAX);
	sqlite3_limit(base->db, SQLITE_LIMIT_ATTACHED, 0);
	sqlite3_db_config(base->db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
	sqlite3_db_config(base->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)NULL);
	sqlite3_db_config(base->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)NULL);
	sqlite3_db_config(base->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, (int *)NULL);
	return run_sql(base, "PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON");
}

int sim_capdb_create(struct sim_capdb *base)
{
	char pragmas[160];
	size_t i;
	int error;

	/* Nobody else sees the file, and whatever goes wrong, it is thrown away. */
	snprintf(pragmas, sizeof(pragmas),
		 "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA application_id=%d; "
		 "PRAGMA user_version=%d; BEGIN",
		 SIM_CAP_APPLICATION, SIM_CAP_VERSION);
	error = run_sql(base, pragmas);
	for (i = 0; !error && i < NR_SCHEMA; i++)
		error = run_sql(base, schema[i].sql);
	return error;
}

int sim_capdb_prepare(struct sim_capdb *base, const char *sql, sqlite3_stmt **out)
{
	*out = NULL;
	base->steps_left = STEPS_MIN + (int64_t)base->bytes * STEPS_A_BYTE;
	if (sqlite3_prepare_v3(base->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL))
		return sim_capdb_fail_sqlite(base, SIM_EINPUT, "is no capture, or is damaged");
	return 0;
}

int sim_capdb_step(struct sim_capdb *base, sqlite3_stmt *statement)
{
	const int code = sqlite3_step(statement);

	if (code == SQLITE_ROW)
		return 1;
	if (code == SQLITE_DONE)
		return 0;
	return sim_capdb_fail_sqlite(base, SIM_EINPUT, "is damaged or cut off");
}

static int pragma_number(struct sim_capdb *base, const char *sql, int64_t *number)
{
	sqlite3_stmt *statement;
	int error = sim_capdb_prepare(base, sql, &statement);

	*number = 0;
	if (!error) {
		error = sim_capdb_step(base, statement);
		if (error == 1)
			*number = sqlite3_column_int64(statement, 0);
		error = error < 0 ? error : 0;
	}
	sqlite3_finalize(statement);
	return error;
}

static int check_version(struct sim_capdb *base)
{
	int64_t application, version;
	int error = pragma_number(base, "PRAGMA application_id", &application);

	if (!error)
		error = pragma_number(base, "PRAGMA user_version", &version);
	if (error)
		return error;
	if (application != SIM_CAP_APPLICATION)
		return sim_capdb_fail(base, SIM_EINPUT,
				      "%s is a database, but no capture: its application_id is "
				      "%lld, that of captures %d",
				      base->name, (long long)application, SIM_CAP_APPLICATION);
	if (version != SIM_CAP_VERSION)
		return sim_capdb_fail(base, SIM_EINPUT,
				      "%s is a capture of version %lld; this program reads version "
				      "%d",
				      base->name, (long long)version, SIM_CAP_VERSION);
	return 0;
}

/* Is row @i of the file's schema ours? */
static bool same_row(sqlite3_stmt *statement, size_t i)
{
	const char *name = (const char *)sqlite3_column_text(statement, 0);
	const char *sql = (const char *)sqlite3_column_text(statement, 1);

	return i < NR_SCHEMA && name && sql && !strcmp(name, schema[i].name) &&
	       !strcmp(sql, schema[i].sql);
}

int sim_capdb_check(struct sim_capdb *base)
{
	sqlite3_stmt *statement;
	size_t i = 0;
	int error = check_version(base);

	if (error)
		return error;
	error = sim_capdb_prepare(base, "SELECT name, sql FROM sqlite_schema ORDER BY name",
				  &statement);
	while (!error && (error = sim_capdb_step(base, statement)) == 1) {
		if (!same_row(statement, i))
			error = sim_capdb_fail(
				base, SIM_EINPUT,
				"%s is no capture: its schema is not that of version "
				"%d, from '%.64s' on",
				base->name, SIM_CAP_VERSION,
				(const char *)sqlite3_column_text(statement, 0));
		else
			error = 0;
		i++;
	}
	sqlite3_finalize(statement);
	if (!error && i != NR_SCHEMA)
		error = sim_capdb_fail(base, SIM_EINPUT, "%s is no capture: it has no table %s",
				       base->name, schema[i].name);
	return error;
}

/* ---- what the meta table says about pages ---- */

static int bad_meta(struct sim_capdb *base, const char *key, const char *value,
		    const char *expected)
{
	return sim_capdb_fail(base, SIM_EINPUT, "%s: %s is '%.40s'; expected is %s", base->name,
			      key, value, expected);
}

static bool hex(const char *text, size_t digits, uint64_t *number)
{
	char part[17] = "0", *end;

	if (digits > 16 || strlen(text) < digits || strspn(text, "0123456789abcdef") < digits)
		return false;
	memcpy(part, text, digits);
	part[digits] = 0;
	*number = strtoull(part, &end, 16);
	return !*end;
}

static int set_page(struct sim_capdb *base, const char *value)
{
	static const unsigned shifts[] = { 12, 14, 16 };
	char text[24];
	size_t i;

	for (i = 0; i < sizeof(shifts) / sizeof(*shifts); i++) {
		snprintf(text, sizeof(text), "%u", 1u << shifts[i]);
		if (!strcmp(text, value)) {
			base->codec.page_shift = shifts[i];
			return 0;
		}
	}
	return bad_meta(base, SIM_CAP_META_PAGE, value, "4096, 16384 or 65536");
}

int sim_capdb_codec(struct sim_capdb *base, const char *key, const char *value)
{
	struct sim_capcodec *codec = &base->codec;
	uint64_t number;

	if (!strcmp(key, SIM_CAP_META_PAGE))
		return set_page(base, value);
	if (!strcmp(key, SIM_CAP_META_CHECKSUMS)) {
		codec->derived = !strcmp(value, "print");
		if (!codec->derived && strcmp(value, "xxh64"))
			return bad_meta(base, key, value, "xxh64 or print");
	} else if (!strcmp(key, SIM_CAP_META_ZERO_PRINT) && *value) {
		codec->has_zero = strlen(value) == 32 && hex(value, 16, &codec->zero_print.high) &&
				  hex(value + 16, 16, &codec->zero_print.low);
		if (!codec->has_zero)
			return bad_meta(base, key, value, "32 hexadecimal digits");
	} else if (!strcmp(key, SIM_CAP_META_ZERO_CHECKSUM)) {
		if (strlen(value) != 8 || !hex(value, 8, &number))
			return bad_meta(base, key, value, "8 hexadecimal digits");
		codec->zero_checksum = (uint32_t)number;
	}
	return 0;
}

/* ---- text ---- */

char *sim_capdb_text(const char *text, size_t length)
{
	char *copy = malloc(length + 1);
	size_t i;
	bool clean = true;

	if (!copy)
		return NULL;
	for (i = 0; i < length; i++) {
		const unsigned char byte = (unsigned char)text[i];

		copy[i] = byte < 0x20 || byte == 0x7f ? '?' : text[i];
	}
	copy[length] = 0;
	clean = sim_text_is_clean(copy, length);
	for (i = 0; !clean && i < length; i++)
		if (copy[i] & 0x80)
			copy[i] = '?';
	return copy;
}
