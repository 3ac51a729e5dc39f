/*
 * sysfs.c - the files below /sys/kernel/mm: parsing, errors, side effects.
 *
 * Each knob and counter row is a file. Most writes store a number; the ones that
 * do more are in write_knob(). What can surprise: writing the value that run has
 * already does nothing (a second 2 does not unmerge again), pages_to_scan refuses
 * everything while the advisor is on, and a changed max_page_sharing or
 * merge_across_nodes needs an empty stable tree. What is below
 * transparent_hugepage/ and is no row is in sysfs_thp.c.
 *
 * Models: mm/ksm.c:*_show(), *_store(); mm/huge_memory.c:enabled_store(),
 * defrag_store(), single_hugepage_flag_store(); mm/khugepaged.c:max_ptes_none_store(),
 * __sleep_millisecs_store(); lib/kstrtox.c.
 */
#include "sysfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum parse { UINT, ULONG, ULONG_32, ULONG_RAW, INT_RAW, BOOL, MODE };

struct knob_row {
	const char *file;
	size_t offset; /* in struct ks_knobs */
	uint64_t min, max;
	enum parse parse;
	enum ks_feature feature;
};

static const struct knob_row knobs[KS_KNOB_NR] = {
#define KNOB(name, file, def, min, max, parse, feature, unit, doc) \
	{ file, offsetof(struct ks_knobs, name), min, max, parse, KS_FEAT_##feature },
#include "ksmsim/knobs.def"
};

static const struct {
	const char *file;
	enum ks_feature feature;
} counters[KSMSIM_COUNT_NR] = {
#define COUNTER(name, kind, file, feature, unit, doc) { file, KS_FEAT_##feature },
#include "ksmsim/counters.def"
};

/* The words of a MODE: its value is the index. */
static const char *const *words_of(enum ks_knob knob)
{
	static const char *const advisor[] = { "none", "scan-time", NULL };
	static const char *const enabled[] = { "always", "madvise", "never", NULL };
	static const char *const defrag[] = { "always",	 "defer", "defer+madvise",
					      "madvise", "never", NULL };

	return knob == KS_KNOB_thp_enabled  ? enabled
	       : knob == KS_KNOB_thp_defrag ? defrag
					    : advisor;
}

/* Limits of blocks are below the pages that a PMD maps. */
static uint64_t max_of(const struct ksmsim *sim, enum ks_knob knob)
{
	if (knob == KS_KNOB_max_ptes_none || knob == KS_KNOB_max_ptes_swap ||
	    knob == KS_KNOB_max_ptes_shared)
		return (UINT64_C(1) << sim->sys.frames.pmd_order) - 1;
	return knobs[knob].max;
}

/* ---- parsing ---- */

/* Digits with an optional sign and one newline at the end; 0, -EINVAL or -ERANGE. */
static int parse_number(const char *text, size_t len, bool *negative, uint64_t *value)
{
	uint64_t sum = 0;

	if (len && text[len - 1] == '\n')
		len--;
	*negative = len && text[0] == '-';
	if (len && (text[0] == '+' || text[0] == '-')) {
		text++;
		len--;
	}
	if (!len)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		const unsigned digit = (unsigned)(text[i] - '0');

		if (digit > 9)
			return -EINVAL;
		if (__builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_add_overflow(sum, digit, &sum))
			return -ERANGE;
	}
	*value = sum;
	return 0;
}

static int parse_unsigned(const char *text, size_t len, uint64_t max, uint64_t *value)
{
	bool negative;
	const int err = parse_number(text, len, &negative, value);

	if (err)
		return err;
	if (negative)
		return -EINVAL;
	return *value > max ? -ERANGE : 0;
}

/* Values below 0 come out as 0: every minimum is above. */
static int parse_int(const char *text, size_t len, uint64_t *value)
{
	bool negative;
	const int err = parse_number(text, len, &negative, value);

	if (err)
		return err;
	if (*value > (uint64_t)INT32_MAX + negative)
		return -ERANGE;
	if (negative)
		*value = 0;
	return 0;
}

static int parse_bool(const struct ks_env *env, const char *text, size_t len, uint64_t *value)
{
	const char first = len ? text[0] : '\0';
	const char second = len > 1 ? text[1] : '\0';

	if (first && strchr("1yYtT", first))
		*value = 1;
	else if (first && strchr("0nNfF", first))
		*value = 0;
	else if ((first == 'o' || first == 'O') && (second == 'n' || second == 'N'))
		*value = 1;
	else if ((first == 'o' || first == 'O') && (second == 'f' || second == 'F'))
		*value = 0;
	else if (env->feature[KS_FEAT_kstrtobool_enable] && first && strchr("eE", first))
		*value = 1;
	else if (env->feature[KS_FEAT_kstrtobool_enable] && first && strchr("dD", first))
		*value = 0;
	else
		return -EINVAL;
	return 0;
}

static int parse_mode(enum ks_knob knob, const char *text, size_t len, uint64_t *value)
{
	const int word = ks_sysfs_word(words_of(knob), text, len);

	if (word < 0)
		return -EINVAL;
	*value = (uint64_t)word;
	return 0;
}

static int parse_value(const struct ksmsim *sim, enum ks_knob knob, const char *text, size_t len,
		       uint64_t *value)
{
	const struct knob_row *row = &knobs[knob];
	int err = 0;

	switch (row->parse) {
	case UINT:
		err = parse_unsigned(text, len, UINT32_MAX, value) ? -EINVAL : 0;
		break;
	case ULONG:
	case ULONG_32:
		err = parse_unsigned(text, len, UINT64_MAX, value) ? -EINVAL : 0;
		break;
	case ULONG_RAW:
		err = parse_unsigned(text, len, UINT64_MAX, value);
		break;
	case INT_RAW:
		err = parse_int(text, len, value);
		break;
	case BOOL:
		err = parse_bool(&sim->env, text, len, value);
		break;
	case MODE:
		err = parse_mode(knob, text, len, value);
		break;
	}
	if (err)
		return err;
	if (row->parse == ULONG_32)
		*value = (uint32_t)*value;
	return *value < row->min || *value > max_of(sim, knob) ? -EINVAL : 0;
}

/* ---- writing ---- */

static long write_run(struct ksmsim *sim, uint64_t value)
{
	long err = 0;

	if (sim->env.knob.run == value)
		return 0;
	sim->env.knob.run = value;
	if (value == 2) {
		err = ks_ksm_unmerge_all(&sim->ksm);
		if (err)
			sim->env.knob.run = 0;
	}
	return err;
}

static long write_knob(struct ksmsim *sim, enum ks_knob knob, uint64_t *stored, uint64_t value)
{
	long err;

	switch (knob) {
	case KS_KNOB_run:
		return write_run(sim, value);
	case KS_KNOB_merge_across_nodes:
	case KS_KNOB_max_page_sharing:
		if (*stored == value)
			return 0;
		err = ks_ksm_reshape(&sim->ksm);
		if (err)
			return err;
		break;
	case KS_KNOB_advisor_mode:
		if (*stored != value)
			ks_advisor_switch(&sim->advisor, value != 0);
		break;
	default:
		break;
	}
	*stored = value;
	return 0;
}

static int find_knob(const struct ksmsim *sim, const char *file)
{
	for (int i = 0; i < KS_KNOB_NR; i++) {
		if (!strcmp(knobs[i].file, file) && ks_sysfs_exists(&sim->env, knobs[i].feature))
			return i;
	}
	return -1;
}

static int find_counter(const struct ksmsim *sim, const char *file)
{
	for (int i = 0; i < KSMSIM_COUNT_NR; i++) {
		if (!strcmp(counters[i].file, file) && strchr(file, '/') &&
		    ks_sysfs_exists(&sim->env, counters[i].feature))
			return i;
	}
	return -1;
}

struct write_call {
	const char *file, *text;
	size_t len;
	int64_t result;
};

/* The kernel's parsers see a string: it ends with the first NUL byte. */
static size_t text_length(const struct write_call *call)
{
	const char *end = memchr(call->text, '\0', call->len);

	return end ? (size_t)(end - call->text) : call->len;
}

static long write_thp(struct ksmsim *sim, const struct ks_thp_file *file,
		      const struct write_call *call)
{
	long err = 0;

	/* a file that cannot be written is refused when it is opened */
	if (call->len || file->kind != KS_THP_FILE_ENABLED)
		err = ks_thp_file_write(sim, file, call->text, text_length(call));
	return err ? err : (long)call->len;
}

static long write_file(struct ksmsim *sim, const struct write_call *call)
{
	const int knob = find_knob(sim, call->file);
	uint64_t *stored, value = 0;
	struct ks_thp_file thp;
	long err;

	if (knob < 0 && ks_thp_file_find(sim, call->file, &thp))
		return write_thp(sim, &thp, call);
	if (knob < 0)
		return find_counter(sim, call->file) < 0 ? -ENOENT : -EACCES;
	if (!call->len)
		return 0; /* sysfs does not call the file at all */
	if (knob == KS_KNOB_pages_to_scan && sim->env.knob.advisor_mode)
		return -EINVAL;
	err = parse_value(sim, (enum ks_knob)knob, call->text, text_length(call), &value);
	if (err)
		return err;
	stored = (uint64_t *)(void *)((char *)&sim->env.knob + knobs[knob].offset);
	err = write_knob(sim, (enum ks_knob)knob, stored, value);
	return err ? err : (long)call->len;
}

static int do_write(struct ksmsim *sim, void *args)
{
	struct write_call *call = args;

	call->result = write_file(sim, call);
	return 0;
}

int ksmsim_sysfs_write(struct ksmsim *sim, const char *file, const char *text, size_t len,
		       int64_t *ret)
{
	struct write_call call = { .file = file, .text = text, .len = len };
	int err;

	if (!file || (len && !text))
		return KSMSIM_EARGUMENT;
	err = ks_machine_run(sim, do_write, &call);
	if (!err && ret)
		*ret = call.result;
	return err;
}

/* ---- reading ---- */

static int64_t read_knob(const struct ksmsim *sim, enum ks_knob knob, char *buf, size_t size)
{
	const char *stored = (const char *)&sim->env.knob + knobs[knob].offset;
	const uint64_t value = *(const uint64_t *)(const void *)stored;

	if (knobs[knob].parse == MODE)
		return ks_sysfs_show_words(words_of(knob), value, buf, size);
	return snprintf(buf, size, "%" PRIu64 "\n", value);
}

static int64_t read_file(struct ksmsim *sim, const char *file, char *buf, size_t size)
{
	const int knob = find_knob(sim, file), counter = find_counter(sim, file);
	struct ks_thp_file thp;
	int64_t value = 0;

	if (knob >= 0)
		return read_knob(sim, (enum ks_knob)knob, buf, size);
	if (ks_thp_file_find(sim, file, &thp))
		return ks_thp_file_read(sim, &thp, buf, size);
	if (counter < 0)
		return -ENOENT;
	ksmsim_counter_get(sim, (enum ksmsim_counter)counter, &value);
	return snprintf(buf, size, "%" PRId64 "\n", value);
}

int ksmsim_sysfs_read(struct ksmsim *sim, const char *file, char *buf, size_t size, int64_t *ret)
{
	const int refused = ks_machine_refuses(sim);
	int64_t length;

	if (refused)
		return refused;
	if (!file || (size && !buf))
		return KSMSIM_EARGUMENT;
	if (size)
		buf[0] = '\0';
	length = read_file(sim, file, buf, size);
	if (ret)
		*ret = length;
	return 0;
}
