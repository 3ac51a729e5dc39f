/*
 * words.c - the words of a scenario: numbers, lengths, times, contents, names.
 *
 * All are given by pointer and length, so that nothing is copied or cut. Every
 * number is checked for overflow where it is read: behind this file there are
 * only values that fit. Errors of the kernel are known by name; the numbers are
 * Linux's, whatever the host is.
 */
#include <string.h>

#include "sim.h"
#include "words.h"

static const char too_large[] = "is too large";
static const char not_a_number[] = "is not a number";

bool sim_word_is(struct sim_word word, const char *text)
{
	return word.length == strlen(text) && !memcmp(word.text, text, word.length);
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

const char *sim_word_number(struct sim_word word, uint64_t *value)
{
	unsigned base = 10;
	uint64_t sum = 0;
	size_t i = 0;

	if (word.length > 2 && word.text[0] == '0' && (word.text[1] | 32) == 'x') {
		base = 16;
		i = 2;
	}
	if (i == word.length)
		return not_a_number;
	for (; i < word.length; i++) {
		const unsigned digit = (unsigned)digit_of(word.text[i]);

		if (digit >= base)
			return not_a_number;
		if (__builtin_mul_overflow(sum, base, &sum) ||
		    __builtin_add_overflow(sum, digit, &sum))
			return too_large;
	}
	*value = sum;
	return NULL;
}

const char *sim_word_signed(struct sim_word word, int64_t *value)
{
	const bool negative = word.length && word.text[0] == '-';
	const char *wrong;
	uint64_t size;

	if (negative) {
		word.text++;
		word.length--;
	}
	wrong = sim_word_number(word, &size);
	if (wrong)
		return wrong;
	if (size > (uint64_t)INT64_MAX + negative)
		return too_large;
	*value = (int64_t)(negative ? 0 - size : size);
	return NULL;
}

const char *sim_word_length(struct sim_word word, uint64_t unit, uint64_t *bytes)
{
	static const char suffixes[] = "KMGT";
	const char *suffix = NULL, *wrong;
	uint64_t number;

	if (word.length && word.text[word.length - 1])
		suffix = strchr(suffixes, word.text[word.length - 1]);
	if (suffix) {
		unit = (uint64_t)1 << (10 * (suffix - suffixes + 1));
		word.length--;
	}
	wrong = sim_word_number(word, &number);
	if (wrong)
		return wrong;
	return __builtin_mul_overflow(number, unit, bytes) ? too_large : NULL;
}

const char *sim_word_time(struct sim_word word, uint64_t *ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "ns", 1 },
		{ "us", 1000 },
		{ "ms", 1000000 },
		{ "s", 1000000000 },
		{ "m", 60 * 1000000000ul },
		{ "h", 3600 * 1000000000ul },
	};
	struct sim_word unit = word;
	const char *wrong;
	uint64_t number;
	size_t i;

	while (unit.length && digit_of(*unit.text) < 10) {
		unit.text++;
		unit.length--;
	}
	word.length -= unit.length;
	for (i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (sim_word_is(unit, units[i].name))
			break;
	if (i == sizeof(units) / sizeof(*units))
		return "is no time";
	wrong = sim_word_number(word, &number);
	if (wrong)
		return wrong;
	return __builtin_mul_overflow(number, units[i].ns, ns) ? too_large : NULL;
}

const char *sim_word_value(struct sim_word word, uint64_t *value)
{
	if (word.length == 3 && word.text[0] == '\'' && word.text[2] == '\'') {
		*value = (unsigned char)word.text[1];
		return NULL;
	}
	return sim_word_number(word, value);
}

const char *sim_word_content(struct sim_word word, struct ksmsim_content *content)
{
	static const struct {
		const char *name;
		enum ksmsim_content_kind kind;
		uint64_t max;
	} kinds[] = {
		{ "byte:", KSMSIM_CONTENT_BYTE, 255 },
		{ "word:", KSMSIM_CONTENT_WORD, UINT64_MAX },
		{ "seed:", KSMSIM_CONTENT_SEED, UINT64_MAX },
		{ "seeds:", KSMSIM_CONTENT_SEEDS, UINT64_MAX },
		{ "tag:", KSMSIM_CONTENT_TAG, UINT64_MAX },
		{ "tags:", KSMSIM_CONTENT_TAGS, UINT64_MAX },
		{ "last:", KSMSIM_CONTENT_LAST, 255 },
	};
	const char *wrong;
	size_t i;

	memset(content, 0, sizeof(*content));
	content->kind = KSMSIM_CONTENT_ZERO;
	if (sim_word_is(word, "zero"))
		return NULL;
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		const size_t length = strlen(kinds[i].name);

		if (word.length < length || memcmp(word.text, kinds[i].name, length))
			continue;
		word.text += length;
		word.length -= length;
		wrong = sim_word_value(word, &content->value);
		if (wrong)
			return wrong;
		content->kind = kinds[i].kind;
		return content->value > kinds[i].max ? "has a byte above 255" : NULL;
	}
	return "is no content";
}

bool sim_word_is_name(struct sim_word word)
{
	size_t i;

	if (!word.length || word.length > SIM_NAME_MAX)
		return false;
	for (i = 0; i < word.length; i++) {
		const char c = word.text[i];
		const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
		const bool later = (c >= '0' && c <= '9') || c == '-';

		if (!letter && !(later && i))
			return false;
	}
	return true;
}

/* ---- errors of the kernel ---- */

static const struct {
	const char *name;
	int number;
} errnos[] = {
	{ "EPERM", 1 },	      { "ENOENT", 2 },	   { "ESRCH", 3 },	 { "EINTR", 4 },
	{ "EIO", 5 },	      { "ENXIO", 6 },	   { "E2BIG", 7 },	 { "EBADF", 9 },
	{ "ECHILD", 10 },     { "EAGAIN", 11 },	   { "ENOMEM", 12 },	 { "EACCES", 13 },
	{ "EFAULT", 14 },     { "EBUSY", 16 },	   { "EEXIST", 17 },	 { "ENODEV", 19 },
	{ "EINVAL", 22 },     { "ENFILE", 23 },	   { "EMFILE", 24 },	 { "EFBIG", 27 },
	{ "ENOSPC", 28 },     { "EROFS", 30 },	   { "EPIPE", 32 },	 { "ERANGE", 34 },
	{ "ENOSYS", 38 },     { "EOVERFLOW", 75 }, { "EOPNOTSUPP", 95 }, { "ETIMEDOUT", 110 },
	{ "EHWPOISON", 133 },
};

const char *sim_errno_name(int64_t number)
{
	size_t i;

	for (i = 0; i < sizeof(errnos) / sizeof(*errnos); i++)
		if (errnos[i].number == number)
			return errnos[i].name;
	return NULL;
}

int sim_errno_number(struct sim_word word)
{
	size_t i;

	for (i = 0; i < sizeof(errnos) / sizeof(*errnos); i++)
		if (sim_word_is(word, errnos[i].name))
			return errnos[i].number;
	return 0;
}

const char *sim_state_name(const void *self, size_t i)
{
	/* in the order of enum ksmsim_page_state */
	static const char *const names[] = { "none", "anon", "ksm",   "zero",	 "ksm_zero",
					     "file", "swap", "guard", "hwpoison" };

	(void)self;
	return i < sizeof(names) / sizeof(*names) ? names[i] : NULL;
}

/* ---- suggestions ---- */

#define NEAREST_MAX 64u

/* Letters to insert, delete or replace; saturates at NEAREST_MAX. */
static size_t distance(const char *a, size_t a_length, const char *b)
{
	size_t row[NEAREST_MAX + 1];
	const size_t b_length = strlen(b);
	size_t i, j, diagonal, above;

	if (a_length > NEAREST_MAX || b_length > NEAREST_MAX)
		return NEAREST_MAX;
	for (j = 0; j <= b_length; j++)
		row[j] = j;
	for (i = 1; i <= a_length; i++) {
		diagonal = row[0];
		row[0] = i;
		for (j = 1; j <= b_length; j++) {
			above = row[j];
			row[j] = diagonal + (a[i - 1] != b[j - 1]);
			if (above + 1 < row[j])
				row[j] = above + 1;
			if (row[j - 1] + 1 < row[j])
				row[j] = row[j - 1] + 1;
			diagonal = above;
		}
	}
	return row[b_length];
}

const char *sim_nearest(const char *word, size_t length,
			const char *(*name)(const void *self, size_t i), const void *self)
{
	/* a third of the letters may be wrong, at least one */
	size_t best = length / 3 + 2, i, d;
	const char *candidate, *nearest = NULL;

	for (i = 0; (candidate = name(self, i)) != NULL; i++) {
		d = distance(word, length, candidate);
		if (d < best && d < length) {
			best = d;
			nearest = candidate;
		}
	}
	return nearest;
}

/* ---- text ---- */

/* Bytes of the character that starts here, or 0. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length, i;
	uint32_t code;

	if (s[0] < 0x80)
		return s[0] >= 0x20 || s[0] == '\t' ? s[0] != 0x7f : 0;
	if (s[0] >= 0xf8 || s[0] < 0xc0)
		return 0;
	length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (length > left)
		return 0;
	code = s[0] & (0x7fu >> length);
	for (i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return length;
}

bool sim_text_is_clean(const char *text, size_t length)
{
	size_t i = 0, step;

	while (i < length) {
		step = utf8_length((const unsigned char *)text + i, length - i);
		if (!step)
			return false;
		i += step;
	}
	return true;
}
