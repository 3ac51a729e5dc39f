/*
 * events.c - events with the names of the scenario: new(K1,A.heap+1).
 *
 * The listener turns numbers into names at once, while they still mean what
 * they meant: an item becomes process, region and page; a frame becomes K1, K2,
 * ... in order of first appearance. Frame numbers are reused, by a real kernel
 * not even predictably, so a name is for one life of a frame:
 *
 *	new		a life as a KSM page begins, or is refused to a page: a new
 *			name, also for a page that was refused before, since
 *			nobody can tell it from another in the same frame
 *	rmnode		the life is over
 *
 * Only the events since the last `expect events:` (and those of the running
 * operation) are kept, at most SIM_EVENTS_MAX of them.
 */
#include <inttypes.h>
#include <string.h>

#include "events.h"

struct sim_frame_name {
	uint64_t pfn;
	uint32_t k;
	uint32_t next_free; /* index + 1 */
};

void sim_events_init(struct sim_events *events, struct sim_world *world, FILE *trace)
{
	memset(events, 0, sizeof(*events));
	events->world = world;
	events->trace = trace;
	if (trace)
		sim_trace_header(trace);
}

void sim_events_free(struct sim_events *events)
{
	sim_free(events->world->mem, events->events);
	sim_free(events->world->mem, events->frames);
	sim_map_free(events->world->mem, &events->frame_map);
}

/* ---- frames ---- */

static struct sim_frame_name *frame_find(struct sim_events *events, uint64_t pfn)
{
	const uint64_t found = sim_map_get(&events->frame_map, pfn + 1);

	return found ? &events->frames[found - 1] : NULL;
}

static struct sim_frame_name *frame_add(struct sim_events *events, uint64_t pfn)
{
	struct sim_mem *mem = events->world->mem;
	struct sim_frame_name *frame = frame_find(events, pfn);
	size_t i = events->free_frame;

	if (frame)
		return frame;
	if (!i) {
		if (!sim_grow(mem, &events->frames, &events->frames_capacity, events->nr_frames,
			      sizeof(*events->frames)))
			return NULL;
		i = events->nr_frames + 1;
	}
	if (!sim_map_set(mem, &events->frame_map, pfn + 1, i))
		return NULL;
	frame = &events->frames[i - 1];
	if (events->free_frame)
		events->free_frame = frame->next_free;
	else
		events->nr_frames++;
	memset(frame, 0, sizeof(*frame));
	frame->pfn = pfn;
	return frame;
}

static void frame_drop(struct sim_events *events, uint64_t pfn)
{
	struct sim_frame_name *frame = frame_find(events, pfn);

	if (!frame)
		return;
	frame->next_free = events->free_frame;
	events->free_frame = (uint32_t)(frame - events->frames) + 1;
	sim_map_delete(&events->frame_map, pfn + 1);
}

static uint32_t frame_name(struct sim_events *events, const struct ksmsim_event *event)
{
	const bool birth =
		event->trace == KSMSIM_TRACE_ksm_merge_with_ksm_page && !event->has_ksm_page;
	struct sim_frame_name *frame = frame_find(events, event->pfn);

	if (frame && !birth)
		return frame->k;
	frame = frame_add(events, event->pfn);
	if (!frame) {
		events->failed = true;
		return 0;
	}
	frame->k = ++events->last_k;
	return frame->k;
}

/* ---- listening ---- */

/* letters of trace.def */
static const char *const fields_of[KSMSIM_TRACE_NR] = {
#define TRACE(name, system, fields, doc) fields,
#include "ksmsim/trace.def"
};

/* Scenarios know the events of KSM, which are the first of trace.def; --trace writes all. */
#define NR_FORMS (KSMSIM_TRACE_ksm_advisor + 1)

/* How scenarios write an event, in the order of trace.def. */
static const struct form {
	const char *name;
	unsigned least, most; /* arguments */
} forms[NR_FORMS] = {
	[KSMSIM_TRACE_ksm_start_scan] = { "start", 2, 2 },
	[KSMSIM_TRACE_ksm_stop_scan] = { "stop", 2, 2 },
	[KSMSIM_TRACE_ksm_enter] = { "enter", 1, 1 },
	[KSMSIM_TRACE_ksm_exit] = { "exit", 1, 1 },
	[KSMSIM_TRACE_ksm_merge_one_page] = { "zero", 1, 2 },
	[KSMSIM_TRACE_ksm_merge_with_ksm_page] = { "merge", 2, 3 },
	[KSMSIM_TRACE_ksm_remove_ksm_page] = { "rmnode", 1, 1 },
	[KSMSIM_TRACE_ksm_remove_rmap_item] = { "rmitem", 2, 2 },
	[KSMSIM_TRACE_ksm_advisor] = { "adv", 3, 3 },
};
static const struct form form_new = { "new", 2, 3 };

static bool has(const struct ksmsim_event *event, char field)
{
	return strchr(fields_of[event->trace], field) != NULL;
}

static bool names_of(struct sim_events *events, const struct ksmsim_event *event,
		     struct sim_event *out)
{
	const struct sim_region *region;

	out->mm = sim_world_mm_of(events->world, event->mm);
	if (out->mm == SIM_NONE)
		return false;
	out->page = event->vaddr;
	if (!has(event, 'a'))
		return true;
	region = sim_world_region_at(&events->world->mms[out->mm], event->vaddr);
	if (region) {
		out->region = region->name;
		out->page = (event->vaddr - region->vaddr) / events->world->page;
	}
	return true;
}

static void trace_line(struct sim_events *events, const struct ksmsim_event *event)
{
	const bool by_process = event->trace == KSMSIM_TRACE_ksm_enter ||
				event->trace == KSMSIM_TRACE_ksm_exit ||
				(event->trace >= NR_FORMS && !event->khugepaged);
	const char *task = "ksmd";
	uint32_t pid = 1, mm;
	char text[256];

	if (event->khugepaged)
		task = "khugepaged";
	if (by_process) {
		mm = sim_world_mm_of(events->world, event->mm);
		task = "task";
		pid = event->mm;
		if (mm != SIM_NONE && events->world->mms[mm].process != SIM_NONE)
			task = events->world->processes[events->world->mms[mm].process].name;
	}
	ksmsim_event_format(event, text, sizeof(text));
	fprintf(events->trace, "%16.16s-%-7" PRIu32 " [000] ..... %5" PRIu64 ".%06" PRIu64 ": %s\n",
		task, pid, event->ns / 1000000000u, event->ns % 1000000000u / 1000, text);
}

void sim_events_listen(void *self, const struct ksmsim_event *event)
{
	struct sim_events *events = self;
	struct sim_event out = { .trace = event->trace, .error = event->error };

	if (events->trace)
		trace_line(events, event);
	if (event->trace >= NR_FORMS)
		return;
	if (has(event, 'p') && event->trace != KSMSIM_TRACE_ksm_merge_one_page)
		out.frame = frame_name(events, event);
	if (event->trace == KSMSIM_TRACE_ksm_remove_ksm_page)
		frame_drop(events, event->pfn);
	if (event->trace == KSMSIM_TRACE_ksm_merge_with_ksm_page)
		out.born = !event->has_ksm_page;
	if (has(event, 'm') && !names_of(events, event, &out))
		events->failed = true;
	if (event->trace == KSMSIM_TRACE_ksm_advisor) {
		out.a = event->scan_time;
		out.b = (int64_t)event->pages_to_scan;
		out.c = event->cpu_percent;
	} else {
		out.a = event->seq;
		out.b = event->rmap_items;
	}
	if (events->nr - events->op_from >= SIM_EVENTS_MAX) {
		events->op_lost++;
		events->lost = true;
		return;
	}
	if (!sim_grow(events->world->mem, &events->events, &events->capacity, events->nr,
		      sizeof(*events->events))) {
		events->failed = true;
		return;
	}
	events->events[events->nr++] = out;
}

void sim_events_begin(struct sim_events *events)
{
	size_t keep = events->expect_from;

	if (events->nr - keep >= SIM_EVENTS_MAX) {
		events->lost = true;
		keep = events->nr;
	}
	if (keep) {
		memmove(events->events, events->events + keep,
			(events->nr - keep) * sizeof(*events->events));
		events->nr -= keep;
	}
	events->expect_from = 0;
	events->op_from = events->nr;
	events->op_lost = 0;
}

/* ---- printing ---- */

bool sim_event_is_pass(const struct sim_event *event)
{
	return event->trace == KSMSIM_TRACE_ksm_start_scan ||
	       event->trace == KSMSIM_TRACE_ksm_stop_scan ||
	       event->trace == KSMSIM_TRACE_ksm_advisor;
}

const char *sim_event_name(const void *self, size_t i)
{
	(void)self;
	if (i == NR_FORMS)
		return form_new.name;
	return i < NR_FORMS ? forms[i].name : NULL;
}

void sim_event_arguments(size_t i, unsigned *least, unsigned *most)
{
	const struct form *form = i < NR_FORMS ? &forms[i] : &form_new;

	*least = form->least;
	*most = form->most;
}

static const char *process_name(const struct sim_events *events, const struct sim_event *event)
{
	const struct sim_mm *mm = &events->world->mms[event->mm];

	return mm->process == SIM_NONE ? "?" : events->world->processes[mm->process].name;
}

static void print_item(const struct sim_events *events, const struct sim_event *event,
		       struct sim_buf *buf)
{
	const char *process = process_name(events, event);

	if (event->region)
		sim_buf_printf(buf, "%s.%s+%" PRIu64, process, event->region, event->page);
	else
		sim_buf_printf(buf, "%s.@0x%" PRIx64, process, event->page);
}

void sim_event_print(const struct sim_events *events, const struct sim_event *event,
		     struct sim_buf *buf)
{
	const char *error;

	sim_buf_printf(buf, "%s(", event->born ? form_new.name : forms[event->trace].name);
	switch (event->trace) {
	case KSMSIM_TRACE_ksm_start_scan:
	case KSMSIM_TRACE_ksm_stop_scan:
		sim_buf_printf(buf, "%" PRId64 ",%" PRId64, event->a, event->b);
		break;
	case KSMSIM_TRACE_ksm_advisor:
		sim_buf_printf(buf, "%" PRId64 ",%" PRId64 ",%" PRId64, event->a, event->b,
			       event->c);
		break;
	case KSMSIM_TRACE_ksm_enter:
	case KSMSIM_TRACE_ksm_exit:
		sim_buf_printf(buf, "%s", process_name(events, event));
		break;
	case KSMSIM_TRACE_ksm_remove_ksm_page:
		sim_buf_printf(buf, "K%" PRIu32, event->frame);
		break;
	default:
		if (event->trace != KSMSIM_TRACE_ksm_merge_one_page)
			sim_buf_printf(buf, "K%" PRIu32 ",", event->frame);
		print_item(events, event, buf);
	}
	error = sim_errno_name(-(int64_t)event->error);
	if (event->error && error)
		sim_buf_printf(buf, ",%s", error);
	else if (event->error)
		sim_buf_printf(buf, ",%" PRId32, event->error);
	sim_buf_put(buf, ")", 1);
}

void sim_trace_header(FILE *out)
{
	fputs("# tracer: nop\n"
	      "#\n"
	      "#                                _-----=> irqs-off/BH-disabled\n"
	      "#                               / _----=> need-resched\n"
	      "#                              | / _---=> hardirq/softirq\n"
	      "#                              || / _--=> preempt-depth\n"
	      "#                              ||| / _-=> migrate-disable\n"
	      "#                              |||| /     delay\n"
	      "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
	      "#              | |         |   |||||     |         |\n",
	      out);
}
