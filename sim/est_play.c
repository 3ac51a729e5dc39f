/*
 * est_play.c - an image in virtual time, under one set of knobs.
 *
 * Without later rounds memory stands still: the first full scan notes checksums, the second
 * merges, and the run ends after the third or later one, when it changed nothing.
 *
 * With rounds, what changed between two of them is written again as much later, and after
 * the last round it goes on with the first: pages that changed go on changing, to bytes not
 * seen before but where another page always holds them; what came or went does so once.
 * Then the run lasts for three turns of the rounds and sixteen full scans, of which four will
 * do after an hour.
 *
 * khugepaged sleeps: huge pages that KSM splits stay split.
 */
#include <stdlib.h>
#include <string.h>

#include "est_machine.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define MINUTE (60 * NS_PER_S)
#define STEP_MIN (NS_PER_S / 10)
#define STEP_MAX (600 * NS_PER_S)
#define STEPS_A_SCAN 50u
#define STILL_SCANS 3
#define MOVING_SCANS 16 /* smart scan has its longest pauses by then */
#define MOVING_SCANS_LONG 4
#define MOVING_TURNS 3
#define PLAY_MAX (UINT64_C(30) * 24 * 3600 * NS_PER_S)

static const uint64_t marks[EST_AT_END] = { 0, MINUTE, 10 * MINUTE, 60 * MINUTE };

struct point {
	uint64_t ns;
	int64_t frames, cpu_ns;
};

struct player {
	struct est_machine m;
	const struct est_plan *plan;
	struct est_result *result;
	struct est_sample now;
	struct point *points;
	size_t nr_points, capacity;
	unsigned next_mark;
	uint64_t next_change; /* since ksmd began */
	uint64_t nr_changes;  /* rounds played */
	int64_t changed_in;   /* full scan in which the sums changed last */
	int64_t sums[4];
};

/* ---- the machine ---- */

static int set_all(struct est_machine *m, const struct sim_setting *list, size_t nr, bool must)
{
	size_t i;
	int error = 0;

	for (i = 0; !error && i < nr; i++)
		error = est_knob(m, list[i].name, list[i].value, must);
	return error;
}

static int set_features(struct est_machine *m, const struct sim_setting *list, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		const int error =
			ksmsim_feature_set(m->sim, list[i].name, strcmp(list[i].value, "0") != 0);

		if (error) {
			snprintf(m->why, EST_WHY_BYTES, "feature '%s': %s", list[i].name,
				 ksmsim_strerror(error));
			return error;
		}
	}
	return 0;
}

static int set_costs(struct est_machine *m, const struct est_plan *plan)
{
	size_t i;

	for (i = 0; i < plan->nr_costs; i++) {
		const int error = ksmsim_cost_set(m->sim, plan->costs[i].name,
						  strtoull(plan->costs[i].value, NULL, 10));

		if (error) {
			snprintf(m->why, EST_WHY_BYTES, "cost '%s': %s", plan->costs[i].name,
				 ksmsim_strerror(error));
			return error;
		}
	}
	return 0;
}

static int set_up(struct est_machine *m, const struct est_plan *plan, const struct est_case *which)
{
	const struct est_image *image = plan->image;
	const struct ksmsim_config config = {
		.profile = plan->profile ? plan->profile : image->probe.profile,
		.nr_nodes = image->nr_nodes,
	};
	int error = ksmsim_new(&config, &m->sim);

	if (error) {
		snprintf(m->why, EST_WHY_BYTES, "%s: %s", config.profile, ksmsim_strerror(error));
		return error;
	}
	if (!plan->profile)
		error = set_features(m, image->probe.features, image->probe.nr_features);
	if (!error)
		error = set_features(m, plan->features, plan->nr_features);
	if (!error)
		error = set_costs(m, plan);
	if (!error && !plan->default_knobs)
		error = set_all(m, image->knobs, image->nr_knobs, false);
	if (!error)
		error = set_all(m, plan->knobs, plan->nr_knobs, true);
	if (!error)
		error = set_all(m, which->knobs, which->nr_knobs, true);
	if (!error && which->policy)
		error = ksmsim_policy_choose(m->sim, which->policy);
	if (error && !*m->why)
		snprintf(m->why, EST_WHY_BYTES, "%s", ksmsim_strerror(error));
	return error;
}

/* ---- looking ---- */

static int look(struct player *p)
{
	enum ksmsim_counter counter;
	int error = 0;

	p->now.ns = ksmsim_now(p->m.sim) - p->result->begin_ns;
	for (counter = 0; !error && counter < KSMSIM_COUNT_NR; counter++)
		error = ksmsim_counter_get(p->m.sim, counter, &p->now.count[counter]);
	return error;
}

static int keep_point(struct player *p)
{
	if (p->nr_points == p->capacity) {
		const size_t capacity = p->capacity * 2 + 256;
		struct point *points = realloc(p->points, capacity * sizeof(*points));

		if (!points)
			return KSMSIM_ENOMEM;
		p->points = points;
		p->capacity = capacity;
	}
	p->points[p->nr_points++] = (struct point){
		p->now.ns,
		p->now.count[KSMSIM_COUNT_nr_anon_frames],
		p->now.count[KSMSIM_COUNT_ksmd_cpu_ns],
	};
	return 0;
}

static void note_sums(struct player *p)
{
	const int64_t sums[4] = { p->now.count[KSMSIM_COUNT_pages_shared],
				  p->now.count[KSMSIM_COUNT_pages_sharing],
				  p->now.count[KSMSIM_COUNT_ksm_zero_pages],
				  p->now.count[KSMSIM_COUNT_nr_anon_frames] };

	if (!memcmp(sums, p->sums, sizeof(sums)))
		return;
	memcpy(p->sums, sums, sizeof(sums));
	p->changed_in = p->now.count[KSMSIM_COUNT_full_scans];
}

static int note(struct player *p)
{
	const int error = look(p);

	if (error)
		return error;
	note_sums(p);
	while (p->next_mark < EST_AT_END && p->now.ns >= marks[p->next_mark])
		p->result->at[p->next_mark++] = p->now;
	return keep_point(p);
}

/* ---- rounds ---- */

static bool moves(const struct player *p)
{
	return p->m.image->nr_rounds > 1;
}

static const struct est_round *round_of(const struct player *p, uint64_t number)
{
	return &p->m.image->rounds[1 + number % (p->m.image->nr_rounds - 1)];
}

/* Contents that no page always holds are others in each turn. */
static uint64_t content_in_turn(const struct est_image *image, uint32_t content, uint64_t turn)
{
	if (content == EST_ZERO || image->steady[content / 8] & 1u << content % 8)
		return content;
	return content | turn << 32;
}

static int play_round(struct player *p)
{
	const struct est_image *image = p->m.image;
	const struct est_round *round = round_of(p, p->nr_changes);
	const uint64_t turn = p->nr_changes / (image->nr_rounds - 1);
	size_t i;
	int error = 0;

	for (i = 0; !error && i < round->nr; i++) {
		const struct est_change *change = &round->changes[i];
		const struct est_area *area = &image->areas[change->area];
		const uint64_t vaddr = area->vaddr + (uint64_t)change->page * EST_PAGE;
		const uint32_t pid = p->m.pids[change->process];

		if (!area->vaddr || (turn && !change->rewrite))
			continue;
		if (change->content == EST_GONE)
			error = est_drop(&p->m, pid, vaddr, 1);
		else
			error = est_write(&p->m, pid, vaddr, 1,
					  content_in_turn(image, change->content, turn));
	}
	p->nr_changes++;
	p->next_change += round_of(p, p->nr_changes)->after_ns;
	return error;
}

/* ---- time ---- */

static uint64_t sysfs_number(struct ksmsim *sim, const char *file)
{
	char text[64];
	int64_t ret = 0;

	if (ksmsim_sysfs_read(sim, file, text, sizeof(text), &ret) || ret < 0)
		return EST_NO_KNOB;
	return strtoull(text, NULL, 10);
}

/* A part of what a full scan takes now, roughly; the advisor changes it. */
static uint64_t step_ns(struct player *p)
{
	const uint64_t pages = sysfs_number(p->m.sim, "ksm/pages_to_scan");
	const uint64_t sleep = sysfs_number(p->m.sim, "ksm/sleep_millisecs");
	const uint64_t batches = pages ? p->m.mergeable / pages + 1 : UINT32_MAX;
	const uint64_t batch = sleep * NS_PER_MS + (pages < 100000 ? pages : 100000) * 1000;
	const uint64_t step = batches > STEP_MAX / (batch + 1) * STEPS_A_SCAN
				      ? STEP_MAX
				      : batches * batch / STEPS_A_SCAN;

	return step > STEP_MAX ? STEP_MAX : step;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The longer it goes on, the longer are the steps: half a percent of the time so far. */
static int go_on(struct player *p)
{
	uint64_t to = p->now.ns + most(most(step_ns(p), STEP_MIN), p->now.ns / 200);
	int error;

	if (p->next_mark < EST_AT_END)
		to = least(to, marks[p->next_mark]);
	if (moves(p))
		to = least(to, p->next_change);
	error = ksmsim_run(p->m.sim, to > p->now.ns ? to - p->now.ns : 0);
	if (!error && moves(p) && to == p->next_change)
		error = play_round(p);
	return error ? error : note(p);
}

/* Has memory that changes shown how it goes on? */
static bool has_shown(const struct player *p)
{
	const int64_t scans = p->now.count[KSMSIM_COUNT_full_scans];

	if (p->nr_changes < MOVING_TURNS * (p->m.image->nr_rounds - 1))
		return false;
	return scans >= MOVING_SCANS ||
	       (scans >= MOVING_SCANS_LONG && p->now.ns >= marks[EST_AT_60_MIN]);
}

static bool is_over(struct player *p)
{
	const int64_t scans = p->now.count[KSMSIM_COUNT_full_scans];

	if (!p->m.mergeable)
		p->result->settled = true;
	else if (moves(p))
		p->result->settled = has_shown(p);
	else
		p->result->settled = scans >= STILL_SCANS && scans > p->changed_in;
	return p->result->settled || p->now.ns >= PLAY_MAX;
}

/* ---- the result ---- */

static void find_settled(struct player *p)
{
	const int64_t begin = p->points[0].frames, end = p->points[p->nr_points - 1].frames;
	const int64_t enough = begin - (begin - end) / 100 * 99;
	size_t i = 0;

	while (i < p->nr_points - 1 && p->points[i].frames > enough)
		i++;
	p->result->settled_ns = p->points[i].ns;
	p->result->settled_cpu_ns = (uint64_t)(p->points[i].cpu_ns - p->points[0].cpu_ns);
}

static int play(struct player *p, const struct est_case *which)
{
	struct est_result *result = p->result;
	int error = est_build(&p->m, p->plan, which);

	if (!error)
		error = est_knob(&p->m, "run", "1", true);
	if (error)
		return error;
	result->begin_ns = ksmsim_now(p->m.sim);
	result->mergeable = p->m.mergeable;
	if (moves(p))
		p->next_change = round_of(p, 0)->after_ns;
	error = note(p);
	while (!error && !is_over(p))
		error = go_on(p);
	if (error)
		return error;
	while (p->next_mark < EST_AT_END)
		result->at[p->next_mark++] = p->now;
	result->at[EST_AT_END] = p->now;
	find_settled(p);
	return 0;
}

/* ---- knobs as they are ---- */

int est_knobs_get(const struct est_plan *plan, struct est_knobs *knobs, char *why)
{
	const struct est_case plain = { .nr_knobs = 0 };
	struct est_machine m = { .image = plan->image, .why = why };
	char text[64] = "";
	int64_t ret = -1;
	const int error = set_up(&m, plan, &plain);

	if (!error) {
		knobs->pages_to_scan = sysfs_number(m.sim, "ksm/pages_to_scan");
		knobs->sleep_millisecs = sysfs_number(m.sim, "ksm/sleep_millisecs");
		knobs->use_zero_pages = sysfs_number(m.sim, "ksm/use_zero_pages");
		knobs->max_page_sharing = sysfs_number(m.sim, "ksm/max_page_sharing");
		knobs->smart_scan = sysfs_number(m.sim, "ksm/smart_scan");
		ksmsim_sysfs_read(m.sim, "ksm/advisor_mode", text, sizeof(text), &ret);
		knobs->has_advisor = ret >= 0;
		knobs->advises = ret >= 0 && strstr(text, "[scan-time]");
	}
	ksmsim_free(m.sim);
	return error;
}

int est_play(const struct est_plan *plan, const struct est_case *which, est_look looks, void *self,
	     struct est_result *result)
{
	struct player p = { .plan = plan, .result = result };
	int error;

	memset(result, 0, sizeof(*result));
	p.m.image = plan->image;
	p.m.why = result->why;
	p.m.pids = calloc(plan->image->nr_processes + 1, sizeof(*p.m.pids));
	error = p.m.pids ? set_up(&p.m, plan, which) : KSMSIM_ENOMEM;
	if (!error)
		error = play(&p, which);
	if (!error && looks)
		error = looks(self, p.m.sim, plan, p.m.pids);
	if (error && !*result->why)
		snprintf(result->why, sizeof(result->why), "%s", ksmsim_strerror(error));
	ksmsim_free(p.m.sim);
	free(p.m.pids);
	free(p.points);
	return error;
}
