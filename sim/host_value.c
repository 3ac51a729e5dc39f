/*
 * host_value.c - one figure of a host in the kernel's spelling.
 *
 * Which figures there are comes from sim/host.def and the library's tables of knobs
 * and counters; so do their bounds. Page counts get bounds of their own: what is
 * above them is no figure of a machine, and below them sums and products fit.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <string.h>

#include "host_value.h"

static const struct row {
	const char *name, *key;
	enum host_form form;
	uint64_t min, max;
} rows[HOST_NR] = {
#define HOST(name, form, key, doc) { #name, key, HOST_FORM_##form, 0, (uint64_t)HOST_PAGES_MAX },
#include "host.def"
#define KNOB(name, file, def, min, max, parse, feature, unit, doc) \
	{ #name, file, HOST_FORM_NUMBER, min, max },
#include "ksmsim/knobs.def"
#define COUNTER(name, kind, file, feature, unit, doc) \
	{ #name, file, HOST_FORM_NUMBER, 0, INT64_MAX },
#include "ksmsim/counters.def"
};

static bool has_sign(size_t figure)
{
	return figure == HOST_general_profit || figure == HOST_stat_profit ||
	       figure == HOST_ksm_zero_pages || figure == HOST_stat_zero;
}

static uint64_t max_of(size_t figure)
{
	switch (figure) {
	case HOST_run:
		return 7; /* 4 is added while memory goes offline */
	case HOST_general_profit:
	case HOST_stat_profit:
		return (uint64_t)1 << 62;
	case HOST_pages_shared:
	case HOST_pages_sharing:
	case HOST_pages_unshared:
	case HOST_pages_volatile:
	case HOST_ksm_zero_pages:
	case HOST_stable_node_chains:
	case HOST_stable_node_dups:
		return (uint64_t)HOST_PAGES_MAX;
	default:
		return rows[figure].max < INT64_MAX ? rows[figure].max : INT64_MAX;
	}
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

enum host_form host_form(size_t figure)
{
	return figure == HOST_advisor_mode ? HOST_FORM_MODE : rows[figure].form;
}

const char *host_key(size_t figure)
{
	return rows[figure].key;
}

const char *host_name(size_t figure)
{
	const char *key = rows[figure].key;

	return *key && strcmp(key, "vmstat") != 0 ? base_name(key) : rows[figure].name;
}

/* ---- words ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

struct sim_word host_trimmed(const char *text, size_t length)
{
	while (length && is_blank(*text)) {
		text++;
		length--;
	}
	while (length && is_blank(text[length - 1]))
		length--;
	return (struct sim_word){ text, length };
}

struct sim_word host_rest(struct sim_word word, size_t from)
{
	return host_trimmed(word.text + from, word.length - from);
}

bool host_ends(struct sim_word word, const char *end)
{
	const size_t length = strlen(end);

	return word.length >= length && !memcmp(word.text + word.length - length, end, length);
}

bool host_begins(struct sim_word word, const char *begin)
{
	const size_t length = strlen(begin);

	return word.length >= length && !memcmp(word.text, begin, length);
}

bool host_holds(struct sim_word word, const char *part)
{
	return memmem(word.text, word.length, part, strlen(part)) != NULL;
}

#define SHORT 60u

/* Not within a character. */
static size_t cut(const char *text, size_t length, size_t max)
{
	if (length <= max)
		return length;
	while (max && (text[max] & 0xc0) == 0x80)
		max--;
	return max;
}

struct sim_word host_short(struct sim_word word)
{
	return (struct sim_word){ word.text, cut(word.text, word.length, SHORT) };
}

void host_label(char *buf, size_t size, const char *name, size_t length)
{
	const size_t used = cut(name, length, size - 1);
	size_t i;

	memcpy(buf, name, used);
	buf[used] = '\0';
	if (sim_text_is_clean(buf, used))
		return;
	for (i = 0; i < used; i++)
		if (buf[i] < ' ' || buf[i] > '~')
			buf[i] = '?';
}

/* ---- values ---- */

/* Also as the kernel prints a negative number without its sign. */
static bool decimal(struct sim_word word, size_t figure, int64_t *value)
{
	bool negative = word.length && *word.text == '-';
	uint64_t number;

	if (negative)
		word = host_rest(word, 1);
	if (host_holds(word, "x") || sim_word_number(word, &number))
		return false;
	if (!negative && has_sign(figure) && number > INT64_MAX) {
		negative = true;
		number = 0 - number;
	}
	if (number > max_of(figure) || (negative && !has_sign(figure)) ||
	    (!negative && number < rows[figure].min))
		return false;
	*value = negative ? -(int64_t)number : (int64_t)number;
	return true;
}

/* The place of the word in brackets: "always [madvise] never"; one word needs none. */
static bool choice(struct sim_word text, const char *const *words, int64_t *value)
{
	struct sim_word word = text;
	const char *open = memchr(text.text, '[', text.length), *close;
	int64_t i;

	if (open) {
		close = memchr(open, ']', text.length - (size_t)(open - text.text));
		if (!close)
			return false;
		word = (struct sim_word){ open + 1, (size_t)(close - open) - 1 };
	}
	for (i = 0; words[i]; i++)
		if (sim_word_is(word, words[i])) {
			*value = i;
			return true;
		}
	return false;
}

/* "0-1,4": how many */
static bool count_nodes(struct sim_word text, int64_t *value)
{
	const char *at = text.text, *end = at + text.length, *stop, *dash;
	uint64_t first, last;

	for (*value = 0; at < end; at = stop + 1) {
		stop = memchr(at, ',', (size_t)(end - at));
		if (!stop)
			stop = end;
		dash = memchr(at, '-', (size_t)(stop - at));
		if (!dash)
			dash = stop;
		if (sim_word_number((struct sim_word){ at, (size_t)(dash - at) }, &first))
			return false;
		last = first;
		if (dash < stop &&
		    sim_word_number((struct sim_word){ dash + 1, (size_t)(stop - dash) - 1 },
				    &last))
			return false;
		if (last < first || last > 65535)
			return false;
		*value += (int64_t)(last - first) + 1;
	}
	return *value > 0 && *value <= 65536;
}

static bool kilobytes(struct sim_word text, size_t figure, int64_t *value)
{
	if (!host_ends(text, "kB"))
		return false;
	return decimal(host_trimmed(text.text, text.length - 2), figure, value);
}

static void expect_number(size_t figure, char *why, size_t size)
{
	const uint64_t max = max_of(figure);

	snprintf(why, size, "a number from %s%" PRIu64 " to %" PRIu64, has_sign(figure) ? "-" : "",
		 has_sign(figure) ? max : rows[figure].min, max);
}

static const char *const modes[] = { "none", "scan-time", NULL };
static const char *const huge[] = { "always", "madvise", "never", NULL };
static const char *const answers[] = { "no", "yes", NULL };

bool host_value(size_t figure, struct sim_word text, int64_t *value, char *why, size_t size)
{
	switch (host_form(figure)) {
	case HOST_FORM_MODE:
		snprintf(why, size, "'[none] scan-time' or 'none [scan-time]'");
		return choice(text, modes, value);
	case HOST_FORM_HUGE_MODE:
		snprintf(why, size, "always, madvise and never, one of them in brackets");
		return choice(text, huge, value);
	case HOST_FORM_STAT_YES:
		snprintf(why, size, "yes or no");
		return choice(text, answers, value);
	case HOST_FORM_NODES:
		snprintf(why, size, "a list of nodes, as 0-1,4");
		return count_nodes(text, value);
	case HOST_FORM_MEMINFO:
	case HOST_FORM_SMAPS:
		snprintf(why, size, "a number of kB");
		return kilobytes(text, figure, value);
	default:
		expect_number(figure, why, size);
		return decimal(text, figure, value);
	}
}
