/*
 * est_share.c - which mappings and processes share with which, at the end of a run.
 *
 * What is merged is read from the model's pages; which pages are copies of each other, from
 * the contents of the image, so pages that changed in a later round are left out. A content
 * with n copies in f frames saves n - f pages; every copy gets the same part of that.
 *
 * Two passes over the pages: the first counts the merged copies of each content, the second
 * puts their owners next to each other; then each content is looked at once.
 */
#include <stdlib.h>
#include <string.h>

#include "est_machine.h"

#define PART_UNIT 1024u

struct looking {
	struct est_share *share;
	const struct est_plan *plan;
	const struct est_image *image;
	struct ksmsim *sim;
	const uint32_t *pids;
	uint8_t *state;	  /* of each page */
	uint32_t *merged; /* of each content: pages that are merged */
	uint32_t *copies; /* of each content: mergeable pages */
	uint32_t *first;  /* of each content: in owners */
	uint32_t *owners; /* areas of merged pages, by content */
	uint64_t *seen;	  /* by column: pages of the content at hand */
};

enum { STATE_OTHER, STATE_MERGED, STATE_ZERO, STATE_SINGLE, STATE_HUGE };

/* ---- columns of the matrix ---- */

static size_t find_column(const struct est_share *share, const char *name)
{
	size_t i;

	for (i = 0; i < share->nr_columns; i++)
		if (!strcmp(share->names[i], name))
			return i;
	return share->nr_columns;
}

/* A column for each process; when they are many, one for each name; the last takes the rest. */
static void make_columns(struct est_share *share, const struct est_image *image)
{
	const bool by_name = image->nr_processes > EST_COLUMNS_MAX;
	char name[EST_NAME_BYTES + 24];
	size_t i, column;

	for (i = 0; i < image->nr_processes; i++) {
		const struct est_process *p = &image->processes[i];

		if (by_name || p->pid < 0)
			snprintf(name, sizeof(name), "%s", p->name);
		else
			snprintf(name, sizeof(name), "%lld %s", (long long)p->pid, p->name);
		name[EST_NAME_BYTES - 1] = 0;
		column = by_name ? find_column(share, name) : share->nr_columns;
		if (column == EST_COLUMNS_MAX)
			column--;
		if (column == share->nr_columns) {
			const char *text =
				column == EST_COLUMNS_MAX - 1 && by_name ? "others" : name;

			snprintf(share->names[share->nr_columns++], EST_NAME_BYTES, "%.*s",
				 EST_NAME_BYTES - 1, text);
		}
		share->column[i] = (uint32_t)column;
	}
}

/* ---- pages ---- */

static uint8_t state_of(const struct ksmsim_page *page)
{
	if (page->state == KSMSIM_PAGE_KSM)
		return STATE_MERGED;
	if (page->state == KSMSIM_PAGE_KSM_ZERO || page->state == KSMSIM_PAGE_ZERO)
		return STATE_ZERO;
	return page->state == KSMSIM_PAGE_ANON && page->pmd_mapped ? STATE_HUGE : STATE_SINGLE;
}

static int look_at(struct looking *l, const struct est_area *area, size_t i)
{
	struct est_part *group = &l->share->groups[area->group];
	struct ksmsim_page page;
	const int error =
		ksmsim_page_get(l->sim, l->pids[area->process],
				area->vaddr + (uint64_t)l->image->page[i] * EST_PAGE, &page);

	if (error)
		return error;
	group->mergeable++;
	l->state[i] = state_of(&page);
	if (l->state[i] == STATE_ZERO)
		group->zeros++;
	if (l->image->attr[i] & EST_VOLATILE)
		l->state[i] = STATE_OTHER;
	l->copies[l->image->content[i]]++;
	if (l->state[i] == STATE_MERGED) {
		group->merged++;
		l->merged[l->image->content[i]]++;
	}
	return 0;
}

static int look_at_all(struct looking *l)
{
	const struct est_case plain = { .nr_knobs = 0 };
	size_t i, k;
	int error = 0;

	for (i = 0; i < l->image->nr_areas; i++) {
		const struct est_area *area = &l->image->areas[i];

		l->share->groups[area->group].pages += area->nr;
		if (!est_is_mergeable(l->plan, &plain, area))
			continue;
		for (k = area->first; !error && k < area->first + area->nr; k++)
			error = look_at(l, area, k);
	}
	return error;
}

/* What is left single though it need not be, so to say. */
static void count_twins(struct looking *l)
{
	const struct est_case plain = { .nr_knobs = 0 };
	size_t i, k;

	for (i = 0; i < l->image->nr_areas; i++) {
		const struct est_area *area = &l->image->areas[i];
		struct est_part *group = &l->share->groups[area->group];

		if (!est_is_mergeable(l->plan, &plain, area))
			continue;
		for (k = area->first; k < area->first + area->nr; k++) {
			const bool twin = l->copies[l->image->content[k]] > 1;

			group->blocked += l->state[k] == STATE_OTHER;
			group->in_huge += l->state[k] == STATE_HUGE;
			group->twins += twin && l->state[k] == STATE_SINGLE;
		}
	}
}

static void sort_owners(struct looking *l)
{
	uint32_t content, at = 0;
	size_t i, k;

	for (content = 0; content <= l->image->nr_contents; content++) {
		l->first[content] = at;
		at += l->merged[content];
	}
	for (i = 0; i < l->image->nr_areas; i++) {
		const struct est_area *area = &l->image->areas[i];

		for (k = area->first; k < area->first + area->nr; k++)
			if (l->state[k] == STATE_MERGED)
				l->owners[l->first[l->image->content[k]]++] = (uint32_t)i;
	}
	for (content = 0; content <= l->image->nr_contents; content++)
		l->first[content] -= l->merged[content];
}

/* ---- contents ---- */

static uint64_t part_of(const struct est_share *share, uint64_t copies)
{
	const uint64_t frames = (copies + share->max_page_sharing - 1) / share->max_page_sharing;

	return (copies - frames) * PART_UNIT / copies;
}

/* The owners are in the order of areas, so those of a group or a process are neighbours. */
static void share_out(struct looking *l, const uint32_t *owners, uint32_t nr)
{
	const struct est_area *areas = l->image->areas;
	const bool one_process = areas[owners[0]].process == areas[owners[nr - 1]].process;
	const uint64_t part = part_of(l->share, nr);
	bool one_group = one_process;
	uint32_t i;

	for (i = 1; i < nr; i++)
		one_group &= areas[owners[i]].group == areas[owners[0]].group;
	for (i = 0; i < nr; i++) {
		struct est_part *group = &l->share->groups[areas[owners[i]].group];

		group->saved += part;
		group->alone += one_group;
		group->inside += one_process && !one_group;
		group->across += !one_process;
	}
}

static void fill_matrix(struct looking *l, const uint32_t *owners, uint32_t nr)
{
	struct est_share *share = l->share;
	uint32_t columns[EST_COLUMNS_MAX];
	size_t nr_columns = 0, a, b;
	uint32_t i;

	for (i = 0; i < nr; i++) {
		const uint32_t column = share->column[l->image->areas[owners[i]].process];

		if (!l->seen[column]++)
			columns[nr_columns++] = column;
	}
	for (a = 0; a < nr_columns; a++)
		for (b = 0; b < nr_columns; b++)
			if (a != b || l->seen[columns[a]] > 1)
				share->matrix[columns[a] * share->nr_columns + columns[b]] +=
					l->seen[columns[a]];
	for (a = 0; a < nr_columns; a++)
		l->seen[columns[a]] = 0;
}

static void add_part(struct est_part *sum, const struct est_part *part)
{
	sum->pages += part->pages;
	sum->mergeable += part->mergeable;
	sum->merged += part->merged;
	sum->zeros += part->zeros;
	sum->alone += part->alone;
	sum->inside += part->inside;
	sum->across += part->across;
	sum->saved += part->saved;
	sum->twins += part->twins;
	sum->blocked += part->blocked;
	sum->in_huge += part->in_huge;
}

static void look_at_contents(struct looking *l)
{
	const struct est_image *image = l->image;
	uint32_t content;
	size_t i;

	for (content = 0; content <= image->nr_contents; content++)
		if (l->merged[content]) {
			const uint32_t *owners = l->owners + l->first[content];

			share_out(l, owners, l->merged[content]);
			fill_matrix(l, owners, l->merged[content]);
		}
	for (i = 0; i < image->nr_groups; i++) {
		add_part(&l->share->processes[image->groups[i].process], &l->share->groups[i]);
		add_part(&l->share->total, &l->share->groups[i]);
	}
}

/* ---- all of it ---- */

static bool make_tables(struct looking *l)
{
	const struct est_image *image = l->image;
	const size_t contents = (size_t)image->nr_contents + 1;
	struct est_share *share = l->share;

	share->groups = calloc(image->nr_groups + 1, sizeof(*share->groups));
	share->processes = calloc(image->nr_processes + 1, sizeof(*share->processes));
	share->column = calloc(image->nr_processes + 1, sizeof(*share->column));
	share->names = calloc(EST_COLUMNS_MAX, sizeof(*share->names));
	share->matrix = calloc((size_t)EST_COLUMNS_MAX * EST_COLUMNS_MAX, sizeof(*share->matrix));
	l->state = calloc(image->nr_pages + 1, sizeof(*l->state));
	l->merged = calloc(contents, sizeof(*l->merged));
	l->copies = calloc(contents, sizeof(*l->copies));
	l->first = calloc(contents, sizeof(*l->first));
	l->seen = calloc(EST_COLUMNS_MAX, sizeof(*l->seen));
	return share->groups && share->processes && share->column && share->names &&
	       share->matrix && l->state && l->merged && l->copies && l->first && l->seen;
}

int est_share_look(void *self, struct ksmsim *sim, const struct est_plan *plan,
		   const uint32_t *pids)
{
	struct looking l = {
		.share = self, .plan = plan, .image = plan->image, .sim = sim, .pids = pids
	};
	int error = make_tables(&l) ? 0 : KSMSIM_ENOMEM;

	if (!error)
		error = look_at_all(&l);
	if (!error) {
		uint64_t merged = 0;
		size_t i;

		make_columns(l.share, l.image);
		for (i = 0; i <= l.image->nr_contents; i++)
			merged += l.merged[i];
		l.owners = malloc((merged + 1) * sizeof(*l.owners));
		error = l.owners ? 0 : KSMSIM_ENOMEM;
	}
	if (!error) {
		count_twins(&l);
		sort_owners(&l);
		look_at_contents(&l);
	}
	free(l.state);
	free(l.merged);
	free(l.copies);
	free(l.first);
	free(l.owners);
	free(l.seen);
	return error;
}

void est_share_free(struct est_share *share)
{
	free(share->groups);
	free(share->processes);
	free(share->column);
	free(share->names);
	free(share->matrix);
}
