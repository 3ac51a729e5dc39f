/*
 * test_sequences.c - what mm/ksm.c itself answered, line by line.
 *
 * Each operation of tests/data/ksm-sequences goes through the scenario layer:
 * as lines of a scenario, on its backend, seen through its getters. Frames are
 * names: one of ours stands for one of theirs throughout a case.
 *
 * What could surprise: events are worded only after the operation, because a
 * forked process has its name only then.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/run.h"
#include "test.h"

#define FRAMES 4096u
#define EVENTS 4096u
#define LINE 160u
#define PROCESSES 64u

struct replay {
	struct sim_run *run;
	const char *profile;
	const struct sim_setting *feature; /* one more, or NULL */
	bool quiet;
	const char *file;
	unsigned long line;
	int number; /* of the case */
	/* frames of this case by order of first appearance */
	uint64_t ours[FRAMES], theirs[FRAMES];
	size_t nr_frames;
	struct ksmsim_event event[EVENTS];
	size_t nr_events;
	char result[LINE]; /* of a write, shown behind its events */
	/* last shown, to leave out what did not change */
	char state[LINE], figures[PROCESSES][LINE];
	/* what this operation is to show, one line after the other */
	const char *wanted;
	const char *operation;
	bool differs;
	unsigned cases, operations, lines;
};

/* ---- comparing ---- */

static bool same_frame(struct replay *replay, uint64_t theirs, uint64_t ours)
{
	size_t i;

	for (i = 0; i < replay->nr_frames; i++)
		if (replay->theirs[i] == theirs || replay->ours[i] == ours)
			return replay->theirs[i] == theirs && replay->ours[i] == ours;
	assert_true(i < FRAMES);
	replay->theirs[i] = theirs;
	replay->ours[i] = ours;
	replay->nr_frames++;
	return true;
}

/* Equal but for the numbers behind "pfn ", which name frames. */
static bool same_line(struct replay *replay, const char *want, size_t length, const char *got)
{
	const char *end = want + length;
	char *after;
	uint64_t theirs, ours;

	while (want < end && *got) {
		if (!strncmp(want, "pfn ", 4) && !strncmp(got, "pfn ", 4)) {
			theirs = strtoull(want + 4, &after, 10);
			want = after;
			ours = strtoull(got + 4, &after, 10);
			got = after;
			if (!same_frame(replay, theirs, ours))
				return false;
		} else if (*want++ != *got++) {
			return false;
		}
	}
	return want == end && !*got;
}

static void differ(struct replay *replay, const char *want, size_t length, const char *got)
{
	replay->differs = true;
	if (!replay->quiet)
		print_error("%s:%lu, case %d, %s, after '%s'\n  wanted: %.*s\n  got:    %s\n",
			    replay->file, replay->line, replay->number, replay->profile,
			    replay->operation, (int)length, want, got);
}

/* One line that the model shows. */
static void show(struct replay *replay, const char *got)
{
	const char *want = replay->wanted;
	size_t length = 0;

	if (replay->differs)
		return;
	while (want && want[0] == ' ')
		want++;
	if (want)
		length = strcspn(want, "\n");
	replay->lines++;
	if (!length)
		differ(replay, "nothing", 7, got);
	else if (!same_line(replay, want, length, got))
		differ(replay, want, length, got);
	else
		replay->wanted = want[length] && want[length + 1] == ' ' ? want + length + 1 : NULL;
}

/* ---- what the model shows ---- */

static void listen(void *self, const struct ksmsim_event *event)
{
	struct replay *replay = self;

	assert_true(replay->nr_events < EVENTS);
	replay->event[replay->nr_events++] = *event;
	sim_events_listen(&replay->run->events, event);
}

static const char *process_of(struct replay *replay, uint64_t mm)
{
	const struct sim_world *world = &replay->run->world;
	const uint64_t found = sim_map_get(&world->mm_map, mm + 1);

	assert_true(found > 0);
	return world->processes[world->mms[found - 1].process].name;
}

static void show_event(struct replay *replay, const struct ksmsim_event *event)
{
	char text[LINE], item[48] = "";

	if (event->mm)
		snprintf(item, sizeof(item), "%s[%" PRIu64 "]", process_of(replay, event->mm),
			 (event->vaddr - SIM_PLACE_FIRST) / replay->run->world.page);
	switch (event->trace) {
	case KSMSIM_TRACE_ksm_start_scan:
	case KSMSIM_TRACE_ksm_stop_scan:
		snprintf(text, sizeof(text), "%s seq %" PRId32 " rmap %" PRIu32,
			 event->trace == KSMSIM_TRACE_ksm_start_scan ? "start_scan" : "stop_scan",
			 event->seq, event->rmap_items);
		break;
	case KSMSIM_TRACE_ksm_enter:
	case KSMSIM_TRACE_ksm_exit:
		snprintf(text, sizeof(text), "%s %s",
			 event->trace == KSMSIM_TRACE_ksm_enter ? "enter" : "exit",
			 process_of(replay, event->mm));
		break;
	case KSMSIM_TRACE_ksm_merge_one_page:
		snprintf(text, sizeof(text), "merge_one_page pfn %" PRIu64 " %s err %" PRId32,
			 event->pfn, item, event->error);
		break;
	case KSMSIM_TRACE_ksm_merge_with_ksm_page:
		snprintf(text, sizeof(text),
			 "merge_with_ksm_page %spfn %" PRIu64 " %s err %" PRId32,
			 event->has_ksm_page ? "ksm " : "", event->pfn, item, event->error);
		break;
	case KSMSIM_TRACE_ksm_remove_ksm_page:
		snprintf(text, sizeof(text), "remove_ksm_page pfn %" PRIu64, event->pfn);
		break;
	case KSMSIM_TRACE_ksm_remove_rmap_item:
		snprintf(text, sizeof(text), "remove_rmap_item pfn %" PRIu64 " %s", event->pfn,
			 item);
		break;
	default:
		snprintf(text, sizeof(text), "an event that no sequence has");
		break;
	}
	show(replay, text);
}

static int64_t counter(struct replay *replay, enum ksmsim_counter which)
{
	struct sim_backend *backend = sim_run_backend(replay->run);
	int64_t value;

	assert_int_equal(backend->ops->counter(backend, which, &value), 0);
	return value;
}

static void show_state(struct replay *replay)
{
	static const struct {
		const char *before;
		enum ksmsim_counter counter;
	} columns[] = {
		{ "S ", KSMSIM_COUNT_pages_shared },	   { " ", KSMSIM_COUNT_pages_sharing },
		{ " ", KSMSIM_COUNT_pages_unshared },	   { " r", KSMSIM_COUNT_rmap_items },
		{ " p", KSMSIM_COUNT_pages_scanned },	   { " f", KSMSIM_COUNT_full_scans },
		{ " sk", KSMSIM_COUNT_pages_skipped },	   { " z", KSMSIM_COUNT_ksm_zero_pages },
		{ " c", KSMSIM_COUNT_stable_node_chains }, { " d", KSMSIM_COUNT_stable_node_dups },
		{ " cow", KSMSIM_COUNT_cow_ksm },
	};
	char text[LINE];
	size_t i, at = 0;

	for (i = 0; i < sizeof(columns) / sizeof(*columns); i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%" PRId64,
				       columns[i].before, counter(replay, columns[i].counter));
	if (strcmp(text, replay->state))
		show(replay, strcpy(replay->state, text));
}

static void show_figures(struct replay *replay, uint32_t i)
{
	struct sim_backend *backend = sim_run_backend(replay->run);
	struct ksmsim_process seen;
	char text[LINE];

	assert_true(i < PROCESSES);
	assert_int_equal(backend->ops->process(backend, i, &seen), 0);
	snprintf(text, sizeof(text), "M %s %" PRId64 " %" PRId64 " %" PRId64 " %d",
		 replay->run->world.processes[i].name, seen.ksm_rmap_items, seen.ksm_merging_pages,
		 seen.ksm_zero_pages, seen.registered);
	if (strcmp(text, replay->figures[i]))
		show(replay, strcpy(replay->figures[i], text));
}

/* ---- operations ---- */

static void line(struct replay *replay, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void line(struct replay *replay, const char *format, ...)
{
	char text[LINE];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (sim_run_line(replay->run, replay->file, replay->line, text, (size_t)length))
		fail_msg("%s:%lu: '%s': %s", replay->file, replay->line, text,
			 sim_run_error(replay->run));
}

static bool runs(struct replay *replay)
{
	struct sim_backend *backend = sim_run_backend(replay->run);
	char text[16] = "";
	int64_t length;

	assert_int_equal(backend->ops->read_file(backend, "ksm/run", text, sizeof(text), &length),
			 0);
	return !strcmp(text, "1\n");
}

static const char *knob_of(const char *word)
{
	static const char *const names[][2] = {
		{ "smart", "smart_scan" },
		{ "zero", "use_zero_pages" },
		{ "prune", "stable_node_chains_prune_millisecs" },
		{ "max", "max_page_sharing" },
		{ "run", "run" },
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(word, names[i][0]))
			return names[i][1];
	fail_msg("operation '%s' is unknown", word);
	return NULL;
}

static void write_knob(struct replay *replay, const char *word, const char *value)
{
	int64_t result;

	line(replay, "ksm %s %s", knob_of(word), value);
	if (strcmp(word, "max") && strcmp(word, "run"))
		return;
	result = sim_run_result(replay->run);
	snprintf(replay->result, sizeof(replay->result), "write '%s' -> %" PRId64, value,
		 result ? result : 1);
}

/* Operations that are about pages of a process. */
static bool execute_pages(struct replay *replay, const char *word, const char *who, int slot,
			  int number)
{
	int i;

	if (!strcmp(word, "w"))
		line(replay, "fill %s m+%d byte:%d", who, slot, number);
	else if (!strcmp(word, "touch"))
		line(replay, "touch %s m+%d", who, slot);
	else if (!strcmp(word, "rd"))
		line(replay, "read %s m+%d", who, slot);
	else if (!strcmp(word, "merge"))
		line(replay, "madvise %s m+%d:%d MERGEABLE", who, slot, number);
	else if (!strcmp(word, "unmerge"))
		line(replay, "madvise %s m+%d:%d UNMERGEABLE", who, slot, number);
	else if (!strcmp(word, "dn"))
		line(replay, "madvise %s m+%d:%d DONTNEED", who, slot, number);
	else if (!strcmp(word, "pin"))
		for (i = 0; i < number; i++)
			line(replay, "pin %s m+%d held", who, slot);
	else
		return false;
	return true;
}

static void execute(struct replay *replay, const char *operation)
{
	char word[16] = "", who[16] = "", second[16] = "", third[16] = "";
	const int nr = sscanf(operation, "%15s %15s %15s %15s", word, who, second, third);

	assert_true(nr >= 2);
	if (!strcmp(word, "mm")) {
		line(replay, "proc %s", who);
		line(replay, "mmap %s m %s", who, second);
	} else if (!strcmp(word, "fork")) {
		line(replay, "fork %s %s", who, second);
	} else if (!strcmp(word, "exit")) {
		line(replay, "exit %s", who);
	} else if (!strcmp(word, "batch")) {
		if (runs(replay))
			line(replay, "step %s", who);
	} else if (!strcmp(word, "jif")) {
		line(replay, "advance %dms", 4 * atoi(who));
	} else if (!execute_pages(replay, word, who, atoi(second), atoi(third))) {
		write_knob(replay, word, who);
	}
}

static void one_operation(struct replay *replay, const char *operation, const char *wanted)
{
	uint32_t i;

	replay->operation = operation;
	replay->wanted = wanted;
	replay->nr_events = 0;
	replay->result[0] = '\0';
	replay->operations++;
	execute(replay, operation);
	for (i = 0; i < replay->nr_events; i++)
		show_event(replay, &replay->event[i]);
	if (replay->result[0])
		show(replay, replay->result);
	show_state(replay);
	for (i = 0; i < replay->run->world.nr_processes; i++)
		show_figures(replay, i);
	if (replay->wanted && !replay->differs)
		differ(replay, replay->wanted, strcspn(replay->wanted, "\n"), "nothing");
}

/* ---- files ---- */

static void case_begin(struct replay *replay, int number)
{
	const struct sim_setting knobs[] = { { "smart_scan", "0" },
					     { "run", "1" },
					     { "lru_drain", "0" } };
	const struct sim_options options = { .profile = replay->profile,
					     .features = replay->feature,
					     .nr_features = replay->feature ? 1 : 0,
					     .knobs = knobs,
					     .nr_knobs = 3,
					     .check = true };
	struct sim_backend *backend;
	char error[256];

	replay->number = number;
	replay->nr_frames = 0;
	replay->differs = false;
	replay->state[0] = '\0';
	memset(replay->figures, 0, sizeof(replay->figures));
	if (sim_run_new(&options, error, sizeof(error), &replay->run))
		fail_msg("%s", error);
	backend = sim_run_backend(replay->run);
	assert_true(backend->ops->listen(backend, listen, replay));
	replay->cases++;
}

static char *read_text(const char *name)
{
	char path[512];
	FILE *file;
	char *text;
	long length;

	snprintf(path, sizeof(path), "%s/tests/data/ksm-sequences/%s", KSMSIM_SOURCE_DIR, name);
	file = fopen(path, "rb");
	assert_non_null(file);
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	length = ftell(file);
	rewind(file);
	text = calloc(1, (size_t)length + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, (size_t)length, file), (size_t)length);
	fclose(file);
	return text;
}

/* Returns how many cases differ. */
static unsigned replay_file(struct replay *replay, const char *name)
{
	char *text = read_text(name), *at, *next, *end;
	unsigned nr = 0;

	replay->file = name;
	for (at = text; *at; at = next) {
		end = strchr(at, '\n');
		assert_non_null(end);
		next = end + 1;
		replay->line++;
		if (!strncmp(at, "case ", 5)) {
			sim_run_free(replay->run);
			case_begin(replay, atoi(at + 5));
		} else if (at[0] == '>' && !replay->differs) {
			*end = '\0';
			one_operation(replay, at + 2, next[0] == ' ' ? next : NULL);
			nr += replay->differs;
		}
	}
	sim_run_free(replay->run);
	free(text);
	return nr;
}

static struct replay *replay_new(const char *profile, const struct sim_setting *feature)
{
	struct replay *replay = calloc(1, sizeof(*replay));

	assert_non_null(replay);
	replay->profile = profile;
	replay->feature = feature;
	replay->quiet = feature != NULL;
	return replay;
}

static void expect_equal(const char *profile, const char *name)
{
	struct replay *replay = replay_new(profile, NULL);

	assert_int_equal(replay_file(replay, name), 0);
	assert_int_equal(replay->cases, 100);
	assert_true(replay->lines > replay->operations);
	print_message("%s as %s: %u cases, %u operations, %u lines\n", name, profile, replay->cases,
		      replay->operations, replay->lines);
	free(replay);
}

static void sequences_of_7_3_are_equal(void **state)
{
	(void)state;
	expect_equal("linux-7.3", "linux-7.3.txt");
}

static void sequences_of_6_12_are_equal(void **state)
{
	(void)state;
	expect_equal("linux-6.12", "linux-6.12.txt");
}

static void sequences_of_6_12_are_those_of_6_18(void **state)
{
	(void)state;
	expect_equal("linux-6.18", "linux-6.12.txt");
}

/* ---- and the comparison can fail ---- */

static void expect_different(const char *profile, const char *name, const char *feature,
			     const char *value)
{
	const struct sim_setting setting = { feature, value };
	struct replay *replay = replay_new(profile, &setting);
	const unsigned nr = replay_file(replay, name);

	print_message("%s with %s=%s: %u cases differ\n", profile, feature, value, nr);
	if (!nr)
		fail_msg("%s: no case depends on feature %s", name, feature);
	free(replay);
}

static void every_rule_of_a_version_matters(void **state)
{
	static const char *const both[] = { "hash_before_stable", "zero_before_stable",
					    "pick_any_dup" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(both) / sizeof(*both); i++) {
		expect_different("linux-7.3", "linux-7.3.txt", both[i], "0");
		expect_different("linux-6.12", "linux-6.12.txt", both[i], "0");
	}
	expect_different("linux-7.3", "linux-7.3.txt", "reset_on_unstable", "0");
	expect_different("linux-6.12", "linux-6.12.txt", "reset_on_unstable", "1");
	expect_different("linux-7.3", "linux-7.3.txt", "smart_scan_ignores_stable_item", "0");
	expect_different("linux-6.12", "linux-6.12.txt", "smart_scan_ignores_stable_item", "1");
}

/* The files differ where the versions do. */
static void profiles_cannot_be_confused(void **state)
{
	struct replay *replay = replay_new("linux-6.12", NULL);

	(void)state;
	replay->quiet = true;
	assert_int_not_equal(replay_file(replay, "linux-7.3.txt"), 0);
	free(replay);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(sequences_of_7_3_are_equal),
	cmocka_unit_test(sequences_of_6_12_are_equal),
	cmocka_unit_test(sequences_of_6_12_are_those_of_6_18),
	cmocka_unit_test(every_rule_of_a_version_matters),
	cmocka_unit_test(profiles_cannot_be_confused),
};

TEST_MAIN(tests)
