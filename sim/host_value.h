/*
 * host_value.h - one figure of a host in the kernel's spelling: between host_text.c, which finds
 * the figure, and host_value.c, which reads the value.
 */
#ifndef SIM_HOST_VALUE_H
#define SIM_HOST_VALUE_H

#include "host.h"
#include "words.h"

/* The column `form` of host.def; what the library's tables have is a number or advisor_mode. */
enum host_form {
	HOST_FORM_NUMBER,
	HOST_FORM_MODE,
	HOST_FORM_HUGE,
	HOST_FORM_HUGE_MODE,
	HOST_FORM_NODES,
	HOST_FORM_MEMINFO,
	HOST_FORM_STAT,
	HOST_FORM_STAT_YES,
	HOST_FORM_SMAPS,
	HOST_FORM_SUM,
};

enum host_form host_form(size_t figure);
/* File below /sys/kernel/mm, "vmstat", or the name in the line; "" if the kernel has none */
const char *host_key(size_t figure);
/* Without directories; for vmstat and sums the figure's own name */
const char *host_name(size_t figure);

/**
 * host_value() - read a value
 * @why, @size: out: on failure, what was expected
 */
bool host_value(size_t figure, struct sim_word text, int64_t *value, char *why, size_t size);

struct sim_word host_trimmed(const char *text, size_t length);
/* The word from a place on, without blanks around it */
struct sim_word host_rest(struct sim_word word, size_t from);
bool host_begins(struct sim_word word, const char *begin);
bool host_ends(struct sim_word word, const char *end);
bool host_holds(struct sim_word word, const char *part);
/* For messages: not more than a few words of it */
struct sim_word host_short(struct sim_word word);

#endif
