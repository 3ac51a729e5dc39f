/*
 * trace.c - floor 0: tracepoints on their way out.
 *
 * An event is a plain value. It is stamped here and handed to the listener at
 * once, in the order in which the kernel's tracepoints fire. While the listener
 * runs, in_listener makes the public functions refuse to be called back.
 *
 * The text form is the tail of a line of the kernel's trace file, from the
 * event's name on. The kernel prints pointers for the rmap item and the mm; we
 * print what they stand for: the mm by its id, the item as MM:0xVADDR.
 */
#include "env.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct trace_form {
	const char *name, *system;
	const char *fields; /* letters of trace.def */
};

static const struct trace_form forms[KSMSIM_TRACE_NR] = {
#define TRACE(name, system, fields, doc) { #name, system, fields },
#include "ksmsim/trace.def"
};

/**
 * ks_trace() - let a tracepoint fire
 * @event: `ns` is set here; everything else by the caller, as trace.def says
 *
 * Nothing happens without a listener, or in a kernel without these tracepoints.
 * Models: include/trace/events/ksm.h, huge_memory.h.
 */
void ks_trace(struct ks_env *env, struct ksmsim_event *event)
{
	if (!env->listener)
		return;
	if (!env->feature[KS_FEAT_ksm_trace] && !strcmp(forms[event->trace].system, "ksm"))
		return;
	KS_ASSERT(env, !env->in_listener);
	event->ns = env->now_ns;
	env->in_listener = true;
	env->listener(env->listener_self, event);
	env->in_listener = false;
}

/* Text under construction: what does not fit is counted, not written. */
struct text {
	char *buf;
	size_t size, length;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *text, const char *format, ...)
{
	const size_t at = text->length < text->size ? text->length : text->size;
	va_list args;
	int written;

	va_start(args, format);
	written = vsnprintf(text->size ? text->buf + at : NULL, text->size - at, format, args);
	va_end(args);
	text->length += written > 0 ? (size_t)written : 0;
}

/* One letter of trace.def; @item: the mm comes with an address, as an rmap item. */
static void add_field(struct text *text, const struct ksmsim_event *event, char field, bool item)
{
	switch (field) {
	case 'm':
		if (item)
			add(text, " rmap_item %" PRIu32 ":0x%" PRIx64, event->mm, event->vaddr);
		add(text, " mm %" PRIu32, event->mm);
		break;
	case 'p':
		add(text, " pfn %" PRIu64, event->pfn);
		break;
	case 'k':
		add(text, "%s", event->has_ksm_page ? " ksm" : "");
		break;
	case 'e':
		add(text, " error %" PRId32, event->error);
		break;
	case 's':
		add(text, " seq %" PRId32, event->seq);
		break;
	case 'r':
		/* the kernel prints this unsigned figure with %d */
		add(text, " rmap size %" PRId32, (int32_t)event->rmap_items);
		break;
	case 't':
		add(text, " ksm scan time %" PRId64, event->scan_time);
		break;
	case 'n':
		add(text, " pages_to_scan %" PRIu64, event->pages_to_scan);
		break;
	case 'c':
		add(text, " cpu percent %" PRIu32, event->cpu_percent);
		break;
	default: /* 'a' came with 'm' */
		break;
	}
}

/* The same for an event of huge_memory: words and numbers joined, and commas between. */
static void add_huge_field(struct text *text, const struct ksmsim_event *event, char field)
{
	switch (field) {
	case 'm':
		add(text, "mm=%" PRIu32, event->mm);
		break;
	case 'p':
		add(text, "scan_pfn=0x%" PRIx64, event->pfn);
		break;
	case 'f':
		add(text, "referenced=%" PRIu32, event->referenced);
		break;
	case 'z':
		add(text, "none_or_zero=%" PRIu32, event->none_or_zero);
		break;
	case 'u':
		add(text, "unmapped=%" PRIu32, event->unmapped);
		break;
	case 'w':
		add(text, "swapped_in=%" PRIu32, event->swapped_in);
		break;
	case 'i':
		add(text, "isolated=%d", event->isolated);
		break;
	case 'x':
		add(text, "status=%s", event->status ? event->status : "");
		break;
	default:
		add(text, "ret=%" PRId32, event->ret);
		break;
	}
}

int ksmsim_event_format(const struct ksmsim_event *event, char *buf, size_t size)
{
	struct text text = { .buf = buf, .size = size };
	const struct trace_form *form;
	bool item;

	if ((unsigned)event->trace >= KSMSIM_TRACE_NR)
		return KSMSIM_EARGUMENT;
	form = &forms[event->trace];
	item = strchr(form->fields, 'a') != NULL;
	add(&text, "%s:", form->name);
	if (strcmp(form->system, "ksm") != 0) {
		for (const char *field = form->fields; *field; field++) {
			add(&text, field == form->fields ? " " : ", ");
			add_huge_field(&text, event, *field);
		}
		return (int)text.length;
	}
	/* the zero page counts as a KSM page here: the word is part of the kernel's format */
	if (event->trace == KSMSIM_TRACE_ksm_merge_one_page)
		add(&text, " ksm");
	for (const char *field = form->fields; *field; field++)
		add_field(&text, event, *field, item);
	return (int)text.length;
}
