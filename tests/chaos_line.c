/*
 * chaos_line.c - random operations as lines of a scenario.
 *
 * What a scenario cannot say (lengths that are no pages) comes out as a comment.
 */
#include "chaos_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_content(const struct ksmsim_content *content, char *text, size_t size)
{
	static const char *const names[] = {
		[KSMSIM_CONTENT_BYTE] = "byte", [KSMSIM_CONTENT_WORD] = "word",
		[KSMSIM_CONTENT_SEED] = "seed", [KSMSIM_CONTENT_SEEDS] = "seeds",
		[KSMSIM_CONTENT_TAG] = "tag",	[KSMSIM_CONTENT_TAGS] = "tags",
		[KSMSIM_CONTENT_LAST] = "last",
	};

	if (content->kind == KSMSIM_CONTENT_ZERO)
		snprintf(text, size, "zero");
	else
		snprintf(text, size, "%s:%" PRIu64, names[content->kind], content->value);
}

static const char *prot_name(unsigned prot)
{
	return prot & KSMSIM_PROT_WRITE ? "rw" : prot & KSMSIM_PROT_READ ? "r" : "none";
}

static void print_mmap(const struct chaos_op *op, char *line, size_t size)
{
	static const struct {
		unsigned flag;
		const char *word;
	} words[] = {
		{ KSMSIM_MAP_FIXED, "fixed" },	       { KSMSIM_MAP_SHARED, "shared" },
		{ KSMSIM_MAP_NORESERVE, "noreserve" }, { KSMSIM_MAP_POPULATE, "populate" },
		{ KSMSIM_MAP_LOCKED, "locked" },       { KSMSIM_MAP_DROPPABLE, "droppable" },
		{ KSMSIM_MAP_HUGETLB, "hugetlb" },
	};
	char content[48] = "";
	size_t i, length;

	length = (size_t)snprintf(line, size,
				  "mmap P%" PRIu32 " m %" PRIu64 " at=0x%" PRIx64 " prot=%s",
				  op->pid, op->length / CHAOS_PAGE, op->vaddr, prot_name(op->prot));
	if (op->value) {
		print_content(&op->content, content, sizeof(content));
		length += (size_t)snprintf(line + length, size - length, " file=%s", content);
	}
	for (i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (op->flags & words[i].flag)
			length += (size_t)snprintf(line + length, size - length, " %s",
						   words[i].word);
}

static void print_mremap(const struct chaos_op *op, const char *range, char *line, size_t size)
{
	char at[32] = "";

	if (op->flags & KSMSIM_MREMAP_FIXED)
		snprintf(at, sizeof(at), " at=0x%" PRIx64, op->to);
	snprintf(line, size, "mremap P%" PRIu32 " %s %" PRIu64 " as=m%s%s%s", op->pid, range,
		 op->value / CHAOS_PAGE, at, op->flags & KSMSIM_MREMAP_MAYMOVE ? " maymove" : "",
		 op->flags & KSMSIM_MREMAP_DONTUNMAP ? " dontunmap" : "");
}

/* What stands behind the name of an operation of the machine. */
static void print_rest_of_machine(const struct chaos_op *op, char *rest, size_t size)
{
	switch (op->kind) {
	case CHAOS_SHRINK:
		snprintf(rest, size, "%s", op->flags ? " all" : "");
		break;
	case CHAOS_POLICY:
		snprintf(rest, size, " %s", op->text);
		break;
	case CHAOS_KSM:
		snprintf(rest, size, " %s %s", op->file, op->text);
		break;
	case CHAOS_STEP:
		snprintf(rest, size, " %" PRIu64, op->value);
		break;
	case CHAOS_RUN:
	case CHAOS_ADVANCE:
	case CHAOS_CPU:
		snprintf(rest, size, " %" PRIu64 "ns", op->value);
		break;
	case CHAOS_INJECT:
		snprintf(rest, size, " %s %" PRIu64,
			 ksmsim_table_rows(KSMSIM_TABLE_INJECT, NULL)[op->flags].name, op->value);
		break;
	default:
		break;
	}
}

/* What stands behind `OPERATION PROCESS`. */
static void print_rest(const struct chaos_op *op, const char *range, char *rest, size_t size)
{
	static const char *const pins[] = { "get", "write", "read", "held" };
	static const char *const prctls[] = { "on", "off", "get" };
	static const char *const disables[] = { "off", "all", "except_advised" };
	char content[48];

	print_content(&op->content, content, sizeof(content));
	switch (op->kind) {
	case CHAOS_FORK:
		snprintf(rest, size, " P%" PRIu32, op->child);
		break;
	case CHAOS_MPROTECT:
		snprintf(rest, size, " %s %s", range, prot_name(op->prot));
		break;
	case CHAOS_BRK:
		snprintf(rest, size, " %" PRIu64, op->length / CHAOS_PAGE);
		break;
	case CHAOS_MADVISE:
		snprintf(rest, size, " %s %s", range,
			 ksmsim_table_rows(KSMSIM_TABLE_ADVICES, NULL)[op->flags].name);
		break;
	case CHAOS_PRCTL:
		snprintf(rest, size, " %s", prctls[op->flags]);
		break;
	case CHAOS_FILL:
	case CHAOS_CHECK:
		snprintf(rest, size, " %s %s", range, content);
		break;
	case CHAOS_POKE:
		snprintf(rest, size, " %s %" PRIu32 " %" PRIu64 " %" PRIu32, range, op->offset,
			 op->value, op->bytes);
		break;
	case CHAOS_PIN:
		snprintf(rest, size, " %s %s", range, pins[op->flags]);
		break;
	case CHAOS_NODE:
		snprintf(rest, size, " %u", op->flags);
		break;
	case CHAOS_MIGRATE:
		snprintf(rest, size, " %s %u", range, op->flags);
		break;
	case CHAOS_SWAPOUT:
		snprintf(rest, size, " %s%s", range, op->flags ? " cached" : "");
		break;
	case CHAOS_THP_DISABLE:
		snprintf(rest, size, " %s", disables[op->flags]);
		break;
	case CHAOS_SPLIT:
		snprintf(rest, size, " %s order=%u", range, op->flags);
		if (op->value)
			snprintf(rest, size, " %s order=%u page=%" PRIu64, range, op->flags,
				 op->value - 1);
		break;
	default:
		snprintf(rest, size, "%s%s", op->length ? " " : "", op->length ? range : "");
		break;
	}
}

void chaos_print(const struct chaos_op *op, char *line, size_t size)
{
	static const char *const names[CHAOS_KINDS] = {
		"proc",	    "exit",	  "fork",   "exec",    "mmap",	     "munmap",
		"mprotect", "mremap",	  "brk",    "madvise", "mlock",	     "munlock",
		"prctl",    "thpdisable", "split",  "fill",    "poke",	     "touch",
		"read",	    "check",	  "pin",    "unpin",   "node",	     "migrate",
		"swapout",  "ksm",	  "step",   "scan",    "run",	     "advance",
		"ksmdcpu",  "drain",	  "inject", "shrink",  "khugepaged", "policy",
	};
	const bool odd = (op->length & (CHAOS_PAGE - 1)) != 0;
	char range[64], rest[120] = "", who[16] = "";

	snprintf(range, sizeof(range), "@0x%" PRIx64 ":%" PRIu64, op->vaddr,
		 op->length / CHAOS_PAGE);
	if (op->pid || op->child)
		snprintf(who, sizeof(who), " P%" PRIu32, op->pid ? op->pid : op->child);
	if (op->kind == CHAOS_MMAP) {
		print_mmap(op, line, size);
	} else if (op->kind == CHAOS_MREMAP) {
		print_mremap(op, range, line, size);
	} else {
		if (op->kind >= CHAOS_KSM)
			print_rest_of_machine(op, rest, sizeof(rest));
		else
			print_rest(op, range, rest, sizeof(rest));
		snprintf(line, size, "%s%s%s%s%s", odd ? "# " : "", names[op->kind], who, rest,
			 odd ? ", length in bytes" : "");
	}
}
