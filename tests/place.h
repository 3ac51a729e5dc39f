/*
 * place.h - the program in a directory of its own.
 *
 * Each test gets an empty directory, puts files there, runs the program in it and
 * looks at its exit status, at what it printed and at the files it left. The program
 * is the one in $KSMSIM_CLI, or else the one of this build; a test program without
 * one is skipped (77).
 *
 *	static const struct CMUnitTest tests[] = {
 *		PLACE_TEST(a_run_that_holds_ends_with_0),
 *	};
 *
 *	PLACE_MAIN(tests)
 */
#ifndef PLACE_H
#define PLACE_H

#include "test.h"

struct place {
	char dir[64];
	char out[65536], err[16384]; /* of the last run */
};

/* Setup and teardown: a place in *state. */
int place_enter(void **state);
int place_leave(void **state);

const char *place_program(void);
bool place_has_program(void);

/* A file of the directory: the whole text. */
void place_spill(const struct place *place, const char *name, const char *text);
void place_slurp(const struct place *place, const char *name, char *buf, size_t size);
/* How many files there are, those with what was printed aside. */
unsigned place_files(const struct place *place);

/**
 * place_shell() - run a command of the shell in the directory
 * A redirection in the command wins over the one to @out and @err.
 * Returns: its exit status
 */
int place_shell(struct place *place, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with "ksmsim ARGUMENTS". */
int place_run(struct place *place, const char *format, ...) __attribute__((format(printf, 2, 3)));

void place_has(const char *text, const char *words);

#define PLACE_TEST(name) cmocka_unit_test_setup_teardown(name, place_enter, place_leave)

#define PLACE_MAIN(tests)                                                                      \
	int main(void)                                                                         \
	{                                                                                      \
		return place_has_program() ? cmocka_run_group_tests((tests), NULL, NULL) : 77; \
	}

#endif
