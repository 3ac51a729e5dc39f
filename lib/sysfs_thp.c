/*
 * sysfs_thp.c - files of transparent_hugepage/ that are not rows of knobs.def or
 * counters.def: one directory for each size of folios, and the size of a PMD.
 *
 *	hugepages-64kB/enabled                   who gets this size
 *	hugepages-64kB/stats/anon_fault_alloc    rows of mthp.def, read-only
 *	hpage_pmd_size                           bytes, read-only
 *
 * What could surprise: the sizes of these directories are in kB, so that one
 * order is another directory with another page size; orders 0 and 1 have none.
 *
 * Models: mm/huge_memory.c:anon_enabled_store(), DEFINE_MTHP_STAT_ATTR,
 * hpage_pmd_size_show().
 * Differs: no shmem_enabled, no statistics of shmem, and so no hugepages-8kB; none of what goes to
 * swap or comes from there as a whole, which nothing does here.
 */
#include "sysfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DIRECTORY "transparent_hugepage/"
#define SIZE "hugepages-"

/* In the order in which they are shown. */
static const char *const words[] = { "always", "inherit", "madvise", "never", NULL };
static const enum ks_thp_size values[] = { KS_THP_SIZE_ALWAYS, KS_THP_SIZE_INHERIT,
					   KS_THP_SIZE_MADVISE, KS_THP_SIZE_NEVER };

static const struct {
	const char *name;
	enum ks_feature feature;
} stats[KSMSIM_MTHP_NR] = {
#define MTHP(name, feature, doc) { #name, KS_FEAT_##feature },
#include "ksmsim/mthp.def"
};

int ks_sysfs_word(const char *const *list, const char *text, size_t len)
{
	if (len && text[len - 1] == '\n')
		len--;
	for (int i = 0; list[i]; i++) {
		if (len == strlen(list[i]) && !memcmp(text, list[i], len))
			return i;
	}
	return -1;
}

int ks_sysfs_show_words(const char *const *list, size_t chosen, char *buf, size_t size)
{
	char text[128];
	int length = 0;

	for (size_t i = 0; list[i]; i++)
		length += snprintf(text + length, sizeof(text) - (size_t)length, "%s%s%s%s",
				   i ? " " : "", i == chosen ? "[" : "", list[i],
				   i == chosen ? "]" : "");
	return snprintf(buf, size, "%s\n", text);
}

/* The order of "64kB/...", and what comes behind the slash; 0: there is no such directory. */
static unsigned order_of(const struct ksmsim *sim, const char *text, const char **rest)
{
	const unsigned shift = sim->sys.tables.geo->page_shift;
	char name[32];

	for (unsigned order = 2; order <= sim->sys.frames.pmd_order; order++) {
		const int length = snprintf(name, sizeof(name), "%" PRIu64 "kB/",
					    UINT64_C(1) << (order + shift - 10));

		if (!strncmp(text, name, (size_t)length)) {
			*rest = text + length;
			return order;
		}
	}
	return 0;
}

static bool find_stat(const struct ksmsim *sim, const char *name, struct ks_thp_file *found)
{
	for (int i = 0; i < KSMSIM_MTHP_NR; i++) {
		if (strcmp(stats[i].name, name) || !ks_sysfs_exists(&sim->env, stats[i].feature))
			continue;
		found->kind = KS_THP_FILE_STAT;
		found->stat = (enum ksmsim_mthp)i;
		return true;
	}
	return false;
}

bool ks_thp_file_find(const struct ksmsim *sim, const char *file, struct ks_thp_file *found)
{
	const char *name;

	if (strncmp(file, DIRECTORY, strlen(DIRECTORY)))
		return false;
	file += strlen(DIRECTORY);
	*found = (struct ks_thp_file){ .kind = KS_THP_FILE_PMD_SIZE };
	if (!strcmp(file, "hpage_pmd_size"))
		return true;
	if (!sim->env.feature[KS_FEAT_mthp] || strncmp(file, SIZE, strlen(SIZE)))
		return false;
	found->order = order_of(sim, file + strlen(SIZE), &name);
	if (!found->order)
		return false;
	found->kind = KS_THP_FILE_ENABLED;
	if (!strcmp(name, "enabled"))
		return true;
	return !strncmp(name, "stats/", 6) && find_stat(sim, name + 6, found);
}

long ks_thp_file_write(struct ksmsim *sim, const struct ks_thp_file *file, const char *text,
		       size_t len)
{
	const int word = ks_sysfs_word(words, text, len);

	if (file->kind != KS_THP_FILE_ENABLED)
		return -EACCES;
	if (word < 0)
		return -EINVAL;
	sim->env.thp_size[file->order] = (uint8_t)values[word];
	return 0;
}

int ks_thp_file_read(const struct ksmsim *sim, const struct ks_thp_file *file, char *buf,
		     size_t size)
{
	const unsigned shift = sim->sys.tables.geo->page_shift;
	size_t word = 0;

	switch (file->kind) {
	case KS_THP_FILE_ENABLED:
		while (values[word] != sim->env.thp_size[file->order])
			word++;
		return ks_sysfs_show_words(words, word, buf, size);
	case KS_THP_FILE_STAT:
		return snprintf(buf, size, "%" PRId64 "\n", sim->env.mthp[file->stat][file->order]);
	case KS_THP_FILE_PMD_SIZE:
		break;
	}
	return snprintf(buf, size, "%" PRIu64 "\n",
			UINT64_C(1) << (sim->sys.frames.pmd_order + shift));
}

void ks_thp_defaults(struct ksmsim *sim)
{
	struct ks_knobs *knob = &sim->env.knob;
	const unsigned order = sim->sys.frames.pmd_order;
	const uint64_t pages = UINT64_C(1) << order;

	sim->env.thp_size[order] = KS_THP_SIZE_INHERIT;
	knob->max_ptes_none = pages - 1;
	knob->max_ptes_swap = pages / 8;
	knob->max_ptes_shared = pages / 2;
	knob->khugepaged_pages_to_scan = pages * 8;
}
