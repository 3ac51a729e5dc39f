/*
 * words.h - the words of a scenario: numbers, lengths, times, contents, names.
 *
 * The parsers return NULL, or a short sentence that says what is wrong with
 * the word; the caller adds the word and its place.
 */
#ifndef SIM_WORDS_H
#define SIM_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ksmsim.h"

struct sim_word {
	const char *text; /* not terminated */
	size_t length;
};

#define SIM_WORD_ARG(word) (int)(word).length, (word).text

bool sim_word_is(struct sim_word word, const char *text);

/* decimal or 0x hexadecimal */
const char *sim_word_number(struct sim_word word, uint64_t *value);
/* the same with a minus sign allowed */
const char *sim_word_signed(struct sim_word word, int64_t *value);
/* a number times @unit, or bytes with a suffix K, M, G, T */
const char *sim_word_length(struct sim_word word, uint64_t unit, uint64_t *bytes);
const char *sim_word_time(struct sim_word word, uint64_t *ns);
/* a number or a character in quotes */
const char *sim_word_value(struct sim_word word, uint64_t *value);
const char *sim_word_content(struct sim_word word, struct ksmsim_content *content);
/* 1..SIM_NAME_MAX letters, digits, _ and -, not a digit or - first */
bool sim_word_is_name(struct sim_word word);

/* "ENOMEM" or NULL for unknown numbers; @number positive */
const char *sim_errno_name(int64_t number);
/* 0 for unknown names */
int sim_errno_number(struct sim_word word);

/* "none", "anon", ...; NULL past the last */
const char *sim_state_name(const void *self, size_t i);

/* valid UTF-8 without control characters except tab */
bool sim_text_is_clean(const char *text, size_t length);

#endif
