/*
 * tables.c - every table of include/ksmsim as rows that can be listed.
 */
#include "machine.h"

#include <string.h>

static const struct ksmsim_row errors[] = {
#define ERROR(name, number, sentence) { "KSMSIM_E" #name, "", "", sentence },
#include "ksmsim/errors.def"
};

static const struct ksmsim_row profiles[] = {
#define PROFILE(id, name, source) { name, "", "", source },
#include "ksmsim/profiles.def"
};

static const struct ksmsim_row features[] = {
#define FEATURE(name, v6_1, v6_12, v6_18, v7_3, where, doc) \
	{ #name, where, #v6_1 " " #v6_12 " " #v6_18 " " #v7_3, doc },
#include "ksmsim/features.def"
};

static const struct ksmsim_row knobs[] = {
#define KNOB(name, file, def, min, max, parse, feature, unit, doc) { #name, file, #unit, doc },
#include "ksmsim/knobs.def"
};

static const struct ksmsim_row counters[] = {
#define COUNTER(name, kind, file, feature, unit, doc) { #name, file, #unit, doc },
#include "ksmsim/counters.def"
};

static const struct ksmsim_row trace[] = {
#define TRACE(name, system, fields, doc) { #name, system, "", doc },
#include "ksmsim/trace.def"
};

static const struct ksmsim_row costs[] = {
#define COST(name, ns, doc) { #name, "", #ns " ns", doc },
#include "ksmsim/costs.def"
};

static const struct ksmsim_row inject[] = {
#define INJECT(name, doc) { #name, "", "", doc },
#include "ksmsim/inject.def"
};

static const struct ksmsim_row geometries[] = {
#define GEOMETRY(id, name, page_shift, va, levels, b0, b1, b2, b3, b4) \
	{ name, "", "", #levels " levels, " #va " bits of user address" },
#include "ksmsim/geometries.def"
};

static const struct ksmsim_row advices[] = {
#define ADVICE(name, linux_value, doc) { #name, "", "", doc },
#include "ksmsim/advices.def"
};

static const struct ksmsim_row mthp[] = {
#define MTHP(name, feature, doc) { #name, "hugepages-*kB/stats/" #name, "NUMBER", doc },
#include "ksmsim/mthp.def"
};

static const struct ksmsim_row policies[] = {
#define POLICY(seam, name, value, doc) { #name, #seam, value, doc },
#include "ksmsim/policies.def"
};

#define TABLE(rows)                                    \
	{                                              \
		rows, sizeof(rows) / sizeof((rows)[0]) \
	}

static const struct {
	const struct ksmsim_row *rows;
	size_t nr;
} tables[KSMSIM_TABLE_NR] = {
	[KSMSIM_TABLE_ERRORS] = TABLE(errors),
	[KSMSIM_TABLE_PROFILES] = TABLE(profiles),
	[KSMSIM_TABLE_FEATURES] = TABLE(features),
	[KSMSIM_TABLE_KNOBS] = TABLE(knobs),
	[KSMSIM_TABLE_COUNTERS] = TABLE(counters),
	[KSMSIM_TABLE_TRACE] = TABLE(trace),
	[KSMSIM_TABLE_COSTS] = TABLE(costs),
	[KSMSIM_TABLE_INJECT] = TABLE(inject),
	[KSMSIM_TABLE_GEOMETRIES] = TABLE(geometries),
	[KSMSIM_TABLE_ADVICES] = TABLE(advices),
	[KSMSIM_TABLE_MTHP] = TABLE(mthp),
	[KSMSIM_TABLE_POLICIES] = TABLE(policies),
};

const struct ksmsim_row *ksmsim_table_rows(enum ksmsim_table table, size_t *nr)
{
	if ((unsigned)table >= KSMSIM_TABLE_NR)
		return NULL;
	if (nr)
		*nr = tables[table].nr;
	return tables[table].rows;
}

int ks_table_find(enum ksmsim_table table, const char *name)
{
	for (size_t i = 0; name && i < tables[table].nr; i++) {
		if (!strcmp(tables[table].rows[i].name, name))
			return (int)i;
	}
	return -1;
}

const char *ksmsim_strerror(int error)
{
	switch (error) {
	case KSMSIM_OK:
		return "no error";
#define ERROR(name, number, sentence) \
	case (number):                \
		return sentence;
#include "ksmsim/errors.def"
	default:
		return "not an error code of ksmsim";
	}
}
