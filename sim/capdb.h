/*
 * capdb.h - the database under a capture: what reader, writer and cursor share.
 */
#ifndef SIM_CAPDB_H
#define SIM_CAPDB_H

#include <sqlite3.h>

#include "capblock.h"

#define SIM_CAP_WHY 512u

struct sim_capdb {
	sqlite3 *db;
	char *name;	       /* of the file, for messages */
	int error;	       /* the first; 0: none */
	char why[SIM_CAP_WHY]; /* its sentence */
	uint64_t bytes;	       /* of a file that is read */
	int64_t steps_left;    /* of a query of such a file */
	struct sim_capcodec codec;
};

/* @name is copied. 0 or KSMSIM_ENOMEM */
int sim_capdb_init(struct sim_capdb *base, const char *name);
void sim_capdb_close(struct sim_capdb *base);

/* Keeps the first error: returns base->error. */
int sim_capdb_fail(struct sim_capdb *base, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* what SQLite says: no memory, or, with @what, the file */
int sim_capdb_fail_sqlite(struct sim_capdb *base, int error, const char *what);

/* Limits that hold for a file from anywhere, too. */
int sim_capdb_harden(struct sim_capdb *base);
int sim_capdb_create(struct sim_capdb *base);
/* Is this the schema that sim_capdb_create() makes, of this version? */
int sim_capdb_check(struct sim_capdb *base);

int sim_capdb_prepare(struct sim_capdb *base, const char *sql, sqlite3_stmt **out);
/* 1: a row, 0: no more, else an error */
int sim_capdb_step(struct sim_capdb *base, sqlite3_stmt *statement);

/* One pair of the meta table for the codec; others are left alone. */
int sim_capdb_codec(struct sim_capdb *base, const char *key, const char *value);

/* A copy without control characters, in UTF-8; NULL: no memory. */
char *sim_capdb_text(const char *text, size_t length);

/* What blocks of these rounds say together; @show_gone: pages that are no more, too. */
int sim_capdb_cursor(struct sim_capdb *base, uint32_t process, uint32_t first_round,
		     uint32_t last_round, bool show_gone, struct sim_cap_cursor **out);

#endif
