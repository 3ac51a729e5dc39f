/*
 * capvma.c - what the two-letter flags of a VMA (VmFlags in smaps) mean here.
 */
#include <string.h>

#include "capfile.h"

static const struct {
	char code[3];
	uint32_t flag;
} flags[] = {
	{ "rd", SIM_CAP_VMA_READ },	  { "wr", SIM_CAP_VMA_WRITE },
	{ "ex", SIM_CAP_VMA_EXEC },	  { "sh", SIM_CAP_VMA_SHARED },
	{ "ms", SIM_CAP_VMA_SHARED },	  { "mg", SIM_CAP_VMA_MERGEABLE },
	{ "hg", SIM_CAP_VMA_HUGEPAGE },	  { "nh", SIM_CAP_VMA_NOHUGEPAGE },
	{ "lo", SIM_CAP_VMA_LOCKED },	  { "io", SIM_CAP_VMA_IO },
	{ "pf", SIM_CAP_VMA_IO },	  { "mm", SIM_CAP_VMA_MIXED },
	{ "ht", SIM_CAP_VMA_HUGETLB },	  { "dc", SIM_CAP_VMA_DONTFORK },
	{ "wf", SIM_CAP_VMA_WIPEONFORK }, { "de", SIM_CAP_VMA_DONTEXPAND },
	{ "gd", SIM_CAP_VMA_GROWSDOWN },  { "mt", SIM_CAP_VMA_MTE },
	{ "um", SIM_CAP_VMA_UFFD },	  { "uw", SIM_CAP_VMA_UFFD },
	{ "ui", SIM_CAP_VMA_UFFD },	  { "dp", SIM_CAP_VMA_DROPPABLE },
	{ "??", SIM_CAP_VMA_UNKNOWN },
};

static uint32_t flag_of(const char *code)
{
	size_t i;

	for (i = 0; i < sizeof(flags) / sizeof(*flags); i++)
		if (!memcmp(code, flags[i].code, 2))
			return flags[i].flag;
	return 0;
}

uint32_t sim_cap_vma_flags(const char *text)
{
	uint32_t all = 0;
	size_t length;

	for (; *text; text += length + !!text[length]) {
		length = strcspn(text, " ");
		if (length == 2)
			all |= flag_of(text);
	}
	return all;
}
