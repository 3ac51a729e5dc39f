/*
 * doctor_report.c - findings for people, and as JSON.
 *
 * What matters most comes first: problems, warnings, notes; in each the order of
 * sim/findings.def. The same figures always give the same bytes.
 */
#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include "doctor.h"
#include "human.h"

#define DOCTOR_SCHEMA 1
#define COLUMNS 96u
#define INDENT 9u

static const struct row {
	const char *name, *what, *change;
} rows[] = {
#define FINDING(name, severity, what, change) { #name, what, change },
#include "findings.def"
};

static const char *const severities[] = { "PROBLEM", "WARNING", "NOTE" };

static const enum host_figure shown[] = {
	HOST_run,
	HOST_full_scans,
	HOST_pages_shared,
	HOST_pages_sharing,
	HOST_pages_unshared,
	HOST_pages_volatile,
	HOST_ksm_zero_pages,
	HOST_general_profit,
};
static const char *const shown_names[] = {
	"run",
	"full_scans",
	"pages_shared",
	"pages_sharing",
	"pages_unshared",
	"pages_volatile",
	"ksm_zero_pages",
	"general_profit",
};
#define NR_SHOWN (sizeof(shown) / sizeof(*shown))

/* ---- text ---- */

static void print_wrapped(FILE *out, const char *lead, const char *text)
{
	size_t column = INDENT + strlen(lead), length;

	fprintf(out, "%s", lead);
	while (*text) {
		length = strcspn(text, " ");
		if (column + length > COLUMNS) {
			fprintf(out, "\n%*s", (int)INDENT, "");
			column = INDENT;
		}
		fprintf(out, "%.*s", (int)length, text);
		column += length;
		text += length;
		if (*text) {
			text++;
			if (column + 1 + strcspn(text, " ") <= COLUMNS)
				fputc(' ', out);
			column++;
		}
	}
	fputc('\n', out);
}

static void print_finding(const struct doctor_finding *finding, FILE *out)
{
	const struct row *row = &rows[finding->id];
	const char *line = sim_buf_text(&finding->lines), *end;

	fprintf(out, "\n%-*s", (int)INDENT, severities[doctor_severity_of(finding->id)]);
	print_wrapped(out, "", row->what);
	for (; *line; line = end + 1) {
		end = strchr(line, '\n');
		fprintf(out, "%*s    %.*s\n", (int)INDENT, "", (int)(end - line), line);
	}
	if (*row->change) {
		fprintf(out, "%*s", (int)INDENT, "");
		print_wrapped(out, "-> ", row->change);
	}
}

static void print_figures(const struct doctor *d, FILE *out)
{
	size_t i;

	for (i = 0; i < NR_SHOWN; i++)
		if (doctor_knows(d, shown[i]))
			fprintf(out, "  %-16s %20s\n", shown_names[i],
				sim_count(doctor_get(d, shown[i])).text);
}

static void count(const struct doctor *d, unsigned nr[3])
{
	size_t i;

	nr[0] = nr[1] = nr[2] = 0;
	for (i = 0; i < d->nr_findings; i++)
		nr[doctor_severity_of(d->findings[i].id)]++;
}

/* All of one severity, in the order of the table. */
static void print_severity(const struct doctor *d, enum doctor_severity severity, FILE *out)
{
	size_t i;
	int id;

	for (id = 0; id < FINDING_NR; id++)
		for (i = 0; i < d->nr_findings; i++)
			if ((int)d->findings[i].id == id &&
			    doctor_severity_of(d->findings[i].id) == severity)
				print_finding(&d->findings[i], out);
}

void doctor_print(const struct doctor *d, const char *source, FILE *out)
{
	unsigned nr[3];

	count(d, nr);
	fprintf(out, "KSM of %s\n", source);
	print_figures(d, out);
	print_severity(d, DOCTOR_PROBLEM, out);
	print_severity(d, DOCTOR_WARNING, out);
	print_severity(d, DOCTOR_NOTE, out);
	fprintf(out, "\n%u problem%s, %u warning%s, %u note%s\n", nr[0], nr[0] == 1 ? "" : "s",
		nr[1], nr[1] == 1 ? "" : "s", nr[2], nr[2] == 1 ? "" : "s");
}

/* ---- JSON ---- */

static json_t *lines_of(const struct doctor_finding *finding)
{
	const char *line = sim_buf_text(&finding->lines), *end;
	json_t *list = json_array();

	for (; list && *line; line = end + 1) {
		end = strchr(line, '\n');
		if (json_array_append_new(list, json_stringn(line, (size_t)(end - line)))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *figures_of(const struct doctor_finding *finding)
{
	json_t *object = json_object();
	unsigned i;

	for (i = 0; object && i < finding->nr_figures; i++)
		if (json_object_set_new(object, finding->figures[i].name,
					json_integer(finding->figures[i].value))) {
			json_decref(object);
			return NULL;
		}
	return object;
}

static json_t *finding_json(const struct doctor_finding *finding)
{
	const struct row *row = &rows[finding->id];

	return json_pack("{ssssssso*so*ss}", "name", row->name, "severity",
			 severities[doctor_severity_of(finding->id)], "what", row->what,
			 "arithmetic", lines_of(finding), "figures", figures_of(finding), "change",
			 row->change);
}

static bool add_severity(const struct doctor *d, enum doctor_severity severity, json_t *list)
{
	size_t i;
	int id;

	for (id = 0; id < FINDING_NR; id++)
		for (i = 0; i < d->nr_findings; i++)
			if ((int)d->findings[i].id == id &&
			    doctor_severity_of(d->findings[i].id) == severity &&
			    json_array_append_new(list, finding_json(&d->findings[i])))
				return false;
	return true;
}

static json_t *known_figures(const struct doctor *d)
{
	json_t *object = json_object();
	size_t i;

	for (i = 0; object && i < NR_SHOWN; i++)
		if (doctor_knows(d, shown[i]) &&
		    json_object_set_new(object, shown_names[i],
					json_integer(doctor_get(d, shown[i])))) {
			json_decref(object);
			return NULL;
		}
	return object;
}

bool doctor_json(const struct doctor *d, const char *source, FILE *out)
{
	json_t *list = json_array(), *all;
	bool done = list && add_severity(d, DOCTOR_PROBLEM, list) &&
		    add_severity(d, DOCTOR_WARNING, list) && add_severity(d, DOCTOR_NOTE, list);

	all = done ? json_pack("{siss*so*sIsO}", "schema", DOCTOR_SCHEMA, "source", source,
			       "counters", known_figures(d), "page_size", (json_int_t)d->now->page,
			       "findings", list)
		   : NULL;
	json_decref(list);
	done = all && !json_dumpf(all, out, JSON_COMPACT) && fputc('\n', out) != EOF;
	json_decref(all);
	return done;
}
