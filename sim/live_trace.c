/*
 * live_trace.c - events, from a trace instance of our own.
 *
 * The text of trace_pipe is read after every operation and every step. Addresses
 * in it (%p) are names: hashed, but the same as long as the thing lives. An mm's
 * name is learnt when it joins KSM (ksm_enter): in the context of its process, or,
 * for the mm that a fork or an exec makes, in that of the process that calls. What
 * an rmap item stands for is found out by live_item.c.
 *
 * Linux 6.1 has none of these events: nothing is told there (live_sight.c).
 *
 * An event of a process that is not ours means that somebody else uses KSM now;
 * so does a gap in the trace. Both spoil the run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "live_parts.h"

int live_trace_start(struct live *live)
{
	const int dir = live->guard.instance;

	live->sight.events = !live_write_at(dir, "events/ksm/enable", "1", 1);
	live->trace_pipe = openat(dir, "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return live->trace_pipe < 0 ? live_fail_errno(live, "trace_pipe") : 0;
}

void live_trace_quiet(struct live *live)
{
	const int dir = live->guard.instance;

	live_write_at(dir, "events/ksm/enable", "0", 1);
	live_write_at(dir, "events/ksm/ksm_enter/enable", "1", 1);
	live_write_at(dir, "events/ksm/ksm_exit/enable", "1", 1);
}

void live_trace_huge_pages(struct live *live)
{
	static const char filter[] = "order >= 2 && migratetype == 1";
	const int dir = live->guard.instance;

	live_write_at(dir, "events/kmem/mm_page_alloc/filter", filter, strlen(filter));
	live_write_at(dir, "events/kmem/mm_page_alloc/enable", "1", 1);
}

void live_trace_end(struct live *live)
{
	if (live->trace_pipe >= 0)
		close(live->trace_pipe);
	live->trace_pipe = -1;
	sim_free(live->mem, live->mm_names);
	sim_free(live->mem, live->pending.list);
}

/* ---- one line ---- */

/* The number behind " KEY " */
static bool field(const char *text, const char *key, int base, uint64_t *value)
{
	char word[32];
	const char *at;

	snprintf(word, sizeof(word), " %s ", key);
	at = strstr(text, word);
	if (!at)
		return false;
	*value = base == 16 ? strtoull(at + strlen(word), NULL, 16)
			    : (uint64_t)strtoll(at + strlen(word), NULL, 10);
	return true;
}

static const char *const trace_names[] = {
#define TRACE(name, system, fields, doc) #name,
#include "ksmsim/trace.def"
};

/* "task-PID   [001] ....." before @event */
static int32_t pid_of(const char *line, const char *event)
{
	const char *at = event;

	while (at > line && *at != '[')
		at--;
	while (at > line && (*at == '[' || *at == ' '))
		at--;
	while (at > line && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return (int32_t)strtol(at, NULL, 10);
}

static bool parse(const char *line, struct live_event *out, uint64_t *mm)
{
	struct ksmsim_event *event = &out->event;
	const char *at = strstr(line, ": ksm_"), *end;
	uint64_t value;
	size_t i;

	memset(out, 0, sizeof(*out));
	*mm = 0;
	if (!at)
		return false;
	out->pid = pid_of(line, at);
	at += 2;
	end = strchr(at, ':');
	for (i = 0; end && i < KSMSIM_TRACE_NR; i++)
		if (strlen(trace_names[i]) == (size_t)(end - at) &&
		    !memcmp(trace_names[i], at, (size_t)(end - at)))
			break;
	if (!end || i == KSMSIM_TRACE_NR)
		return false;
	event->trace = (enum ksmsim_trace)i;
	event->has_ksm_page = !strncmp(end, ": ksm pfn", 9);
	field(end, "mm", 16, mm);
	field(end, "rmap_item", 16, &out->item);
	field(end, "pfn", 10, &event->pfn);
	if (field(end, "error", 10, &value))
		event->error = (int32_t)(int64_t)value;
	if (field(end, "seq", 10, &value))
		event->seq = (int32_t)value;
	if (field(end, "size", 10, &value))
		event->rmap_items = (uint32_t)value;
	if (field(end, "time", 10, &value))
		event->scan_time = (int64_t)value;
	field(end, "pages_to_scan", 10, &event->pages_to_scan);
	if (field(end, "percent", 10, &value))
		event->cpu_percent = (uint32_t)value;
	return true;
}

/* ---- mms ---- */

static uint32_t mm_named(const struct live *live, uint64_t name)
{
	size_t i;

	for (i = 0; i < live->nr_mm_names; i++)
		if (live->mm_names[i].name == name)
			return live->mm_names[i].mm;
	return 0;
}

static int name_mm(struct live *live, uint64_t name, uint32_t mm)
{
	size_t i;

	for (i = 0; i < live->nr_mm_names; i++) {
		if (live->mm_names[i].name != name)
			continue;
		live->mm_names[i].mm = mm;
		return 0;
	}
	if (!sim_grow(live->mem, &live->mm_names, &live->mm_names_capacity, live->nr_mm_names,
		      sizeof(*live->mm_names)))
		return live_no_memory(live);
	live->mm_names[live->nr_mm_names++] = (struct live_mm_name){ name, mm };
	return 0;
}

static int disturbed(struct live *live, int32_t pid)
{
	return live_fail(live, SIM_LIVE_EDISTURBED,
			 "process %ld, which is not part of the scenario, began to use KSM",
			 (long)pid);
}

/* An mm joins the list. */
static int enter(struct live *live, const struct live_event *event, uint64_t name)
{
	size_t i;

	for (i = 0; i < live->nr_processes; i++)
		if (live->processes[i].alive && live->processes[i].pid == event->pid)
			return name_mm(live, name,
				       live->newcomer ? live->newcomer : live->processes[i].mm);
	return disturbed(live, event->pid);
}

static bool is_ours(const struct live *live, int32_t pid)
{
	size_t i;

	for (i = 0; i < live->nr_processes; i++)
		if (live->processes[i].pid == pid)
			return true;
	return pid == live->thp.khugepaged_pid;
}

/* Not the page cache: only memory of processes is asked for like this. */
static int take_allocation(struct live *live, const char *line, const char *event)
{
	const int32_t pid = pid_of(line, event);

	if (!strstr(event, "GFP_TRANSHUGE") || is_ours(live, pid))
		return 0;
	return live_fail(live, SIM_LIVE_EDISTURBED,
			 "process %ld, which is not part of the scenario, got a huge page",
			 (long)pid);
}

static int take_line(struct live *live, const char *line)
{
	struct live_event event;
	const char *allocation;
	uint64_t mm;
	int error = 0;

	if (strstr(line, "[LOST "))
		return live_fail(live, SIM_LIVE_EDISTURBED, "the trace has a gap");
	allocation = strstr(line, ": mm_page_alloc: ");
	if (allocation)
		return take_allocation(live, line, allocation);
	if (!parse(line, &event, &mm))
		return 0;
	if (event.event.trace == KSMSIM_TRACE_ksm_enter)
		error = enter(live, &event, mm);
	if (error)
		return error;
	event.event.mm = mm ? mm_named(live, mm) : 0;
	if (mm && !event.event.mm)
		return disturbed(live, event.pid);
	if (!sim_grow(live->mem, &live->pending.list, &live->pending.capacity, live->pending.nr,
		      sizeof(*live->pending.list)))
		return live_no_memory(live);
	live->pending.list[live->pending.nr++] = event;
	return 0;
}

/* ---- reading ---- */

/* All lines that are complete; what is left begins the next. */
static int take_lines(struct live *live)
{
	char *line = live->trace_text, *end;
	int error = 0;

	live->trace_text[live->trace_length] = '\0';
	while (!error && (end = strchr(line, '\n')) != NULL) {
		*end = '\0';
		error = take_line(live, line);
		line = end + 1;
	}
	live->trace_length -= (size_t)(line - live->trace_text);
	memmove(live->trace_text, line, live->trace_length);
	return error;
}

int live_trace_pump(struct live *live)
{
	ssize_t got;
	size_t i;
	int error = 0;

	live->pending.nr = 0;
	while (!error && (got = read(live->trace_pipe, live->trace_text + live->trace_length,
				     sizeof(live->trace_text) - 1 - live->trace_length)) > 0) {
		live->trace_length += (size_t)got;
		error = take_lines(live);
	}
	if (!error && live->listener && live->pending.nr)
		error = live_items_resolve(live);
	if (!error && live->listener)
		error = live_lives(live);
	for (i = 0; !error && live->listener && i < live->pending.nr; i++)
		live->listener(live->listener_self, &live->pending.list[i].event);
	live->pending.nr = 0;
	return error;
}
