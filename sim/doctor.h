/*
 * doctor.h - what is wrong with a host's KSM, and how one can tell.
 *
 * A finding is a row of sim/findings.def, lines that show its arithmetic, and the
 * figures of it by name. Rooms: doctor.c the list and the settings, doctor_sums.c
 * counters that must add up, doctor_pace.c time, doctor_worth.c what it saves and
 * costs, doctor_report.c the output.
 */
#ifndef SIM_DOCTOR_H
#define SIM_DOCTOR_H

#include "host.h"

#define DOCTOR_ITEM_BYTES 64   /* of KSM's record for one page, on 64-bit kernels */
#define DOCTOR_FIGURES_MAX 12u /* of a finding */

enum doctor_finding_id {
#define FINDING(name, severity, what, change) FINDING_##name,
#include "findings.def"
	FINDING_NR
};

enum doctor_severity { DOCTOR_PROBLEM, DOCTOR_WARNING, DOCTOR_NOTE };

struct doctor_finding {
	enum doctor_finding_id id;
	struct sim_buf lines; /* arithmetic, each line with its end */
	struct {
		const char *name;
		int64_t value;
	} figures[DOCTOR_FIGURES_MAX];
	unsigned nr_figures;
};

/* One full scan at the present settings. */
struct doctor_pace {
	bool known;
	bool measured; /* ns_per_visit is this ksmd's own; else from the cost table */
	int64_t visits, batches, ns_per_visit;
	int64_t sleep_ms, cpu_ms, scan_ms;
	int64_t skipped_permille; /* of all visits, by smart scan */
	int64_t target_ms;
};

struct doctor {
	struct sim_mem *mem;
	const struct host *now, *before; /* before: NULL, or the earlier reading */
	int64_t interval_ms;		 /* between the two */
	struct doctor_finding *findings;
	size_t nr_findings, capacity;
	bool failed; /* no memory */
	/* what the four classes add up to, if all are known */
	bool counted;
	int64_t items, merged, saved;
	int64_t leaked; /* of the zero pages in saved, those that no process has */
	int64_t slack;	/* visits that may fall between the reading of two counters */
	struct doctor_pace pace;
};

/**
 * doctor_examine() - all findings of a reading, or of two
 * @doctor: zeroed but for mem, now, before, interval_ms; doctor_free() it
 * Returns: 0 or KSMSIM_ENOMEM.
 */
int doctor_examine(struct doctor *doctor);
void doctor_free(struct doctor *doctor);

/* NULL: not found */
const struct doctor_finding *doctor_has(const struct doctor *doctor, enum doctor_finding_id id);
/* Is there a problem or a warning? */
bool doctor_objects(const struct doctor *doctor);

enum doctor_severity doctor_severity_of(enum doctor_finding_id id);
/* Rows for `ksmsim list findings` */
const struct ksmsim_row *sim_findings(size_t *nr);

void doctor_print(const struct doctor *doctor, const char *source, FILE *out);
/* One JSON object. false: no memory, or not written. */
bool doctor_json(const struct doctor *doctor, const char *source, FILE *out);

/* ---- between the rooms ---- */

void doctor_find(struct doctor *doctor, enum doctor_finding_id id);
/* A line of arithmetic, or a figure, of the finding that was made last. */
void doctor_say(struct doctor *doctor, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void doctor_figure(struct doctor *doctor, const char *name, int64_t value);

static inline bool doctor_knows(const struct doctor *doctor, enum host_figure figure)
{
	return host_knows(doctor->now, figure);
}

static inline int64_t doctor_get(const struct doctor *doctor, enum host_figure figure)
{
	return host_get(doctor->now, figure);
}

/* Known, and this value? */
static inline bool doctor_is(const struct doctor *doctor, enum host_figure figure, int64_t value)
{
	return doctor_knows(doctor, figure) && doctor_get(doctor, figure) == value;
}

/* How much a figure grew between the readings; 0 if it is not known in both. */
int64_t doctor_grew(const struct doctor *doctor, enum host_figure figure);
/* Is ksmd allowed to run, as far as is known? */
bool doctor_runs(const struct doctor *doctor);
/* Sum over the processes */
int64_t doctor_sum(const struct doctor *doctor, enum host_figure figure);

/* The largest number instead of one that does not fit; neither is negative. */
int64_t doctor_times(int64_t a, int64_t b);

void doctor_pace(struct doctor *doctor); /* fills doctor->pace, finds nothing */
void doctor_find_pace(struct doctor *doctor);
void doctor_find_progress(struct doctor *doctor);
void doctor_find_sums(struct doctor *doctor);
void doctor_find_worth(struct doctor *doctor);

#endif
