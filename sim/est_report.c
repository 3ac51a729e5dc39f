/*
 * est_report.c - an estimate as a table for people.
 *
 * Sums are the model's counts. Everything that is a time, or for each second, is modelled
 * from the cost table, and says so.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "estimate.h"
#include "human.h"

#define LINE "  %-34s %16s  "

static struct sim_human pages(uint64_t nr)
{
	return sim_bytes((int64_t)(nr * EST_PAGE));
}

static struct sim_human percent(int64_t part, uint64_t all)
{
	struct sim_human human;
	const uint64_t size = (uint64_t)(part < 0 ? -part : part);
	const uint64_t tenths = all ? size * 1000 / all : 0;

	snprintf(human.text, sizeof(human.text), "%s%" PRIu64 ".%" PRIu64 " %%",
		 part < 0 && tenths ? "-" : "", tenths / 10, tenths % 10);
	return human;
}

static struct sim_human waited(uint64_t ns)
{
	return sim_wait(ns / 1000000);
}

static const struct est_result *first_of(const struct est_report *r)
{
	return &r->cases->results[0];
}

static bool moves(const struct est_report *r)
{
	return r->image->nr_rounds > 1;
}

/* ---- the head ---- */

static const char *assumed(const struct est_plan *plan)
{
	static const char *const texts[] = {
		[EST_ASSUME_ALL] = "every mapping that KSM can have is taken as mergeable",
		[EST_ASSUME_CAPTURED] = "mergeable is what is mergeable now",
		[EST_ASSUME_PIDS] = "mergeable is what KSM can have of the given processes",
	};

	return texts[plan->assume];
}

static void print_head(const struct est_report *r, FILE *out)
{
	const struct est_image *image = r->image;

	fprintf(out, "%s process%s, %s resident anonymous pages: %s",
		sim_count((int64_t)image->nr_processes).text, image->nr_processes == 1 ? "" : "es",
		sim_count((int64_t)image->counts.pages).text, pages(image->counts.pages).text);
	if (*image->host)
		fprintf(out, ", of %s (Linux %s)", image->host, image->kernel);
	fprintf(out, "\nKSM of %s (model), %s\n", r->profile, assumed(r->plan));
	if (r->knobs->advises)
		fprintf(out, "ksmd's pace by the advisor");
	else
		fprintf(out, "pages_to_scan %" PRIu64 " each %" PRIu64 " ms",
			r->knobs->pages_to_scan, r->knobs->sleep_millisecs);
	fprintf(out, ", max_page_sharing %" PRIu64 ", use_zero_pages %" PRIu64 ": %s\n",
		r->knobs->max_page_sharing, r->knobs->use_zero_pages,
		image->nr_knobs && !r->plan->default_knobs ? "as captured"
							   : "the kernel's defaults");
	if (*image->probe.note && !r->plan->profile)
		fprintf(out, "%s\n", image->probe.note);
	if (!first_of(r)->mergeable)
		fprintf(out, "Nothing of it is mergeable, so nothing can be saved%s\n",
			r->plan->assume == EST_ASSUME_CAPTURED ? "; --assume all asks what if"
							       : "");
	if (image->counts.merged)
		fprintf(out, "%s pages are merged already; the estimate begins with none merged\n",
			sim_count((int64_t)image->counts.merged).text);
	if (moves(r))
		fprintf(out,
			"%zu rounds: what changed between them goes on changing at the same pace\n",
			image->nr_rounds);
	else
		fprintf(out, "One round only, so memory is taken not to change: pages that do "
			     "change will not be saved\n");
}

/* ---- the first case ---- */

static void print_saved(const struct est_report *r, FILE *out)
{
	const struct est_result *result = first_of(r);
	const int64_t saved = est_saved(result, EST_AT_END);
	const int64_t sharing = est_sharing_bytes(result, EST_AT_END);
	const int64_t zero = est_zero_bytes(result, EST_AT_END);
	const int64_t metadata = est_metadata(result);
	unsigned at;

	fprintf(out, "\nWhat KSM would save\n");
	fprintf(out, LINE "%s of this memory\n", moves(r) ? "saved at the end" : "saved in the end",
		sim_bytes(saved).text, percent(saved / EST_PAGE, r->image->counts.pages).text);
	fprintf(out, LINE "%s pages share %s frames\n", "  by sharing", sim_bytes(sharing).text,
		sim_count(result->at[EST_AT_END].count[KSMSIM_COUNT_pages_sharing] +
			  result->at[EST_AT_END].count[KSMSIM_COUNT_pages_shared])
			.text,
		sim_count(result->at[EST_AT_END].count[KSMSIM_COUNT_pages_shared]).text);
	fprintf(out, LINE "use_zero_pages is %" PRIu64 "\n", "  as zero pages",
		sim_bytes(zero).text, r->knobs->use_zero_pages);
	if (saved != sharing + zero)
		fprintf(out, LINE "%s\n", "  otherwise", sim_bytes(saved - sharing - zero).text,
			"zeros of split huge pages; less pages that shared a frame before KSM, or "
			"came");
	fprintf(out, LINE "items and stable nodes, 64 bytes each\n", "cost of KSM's records",
		sim_bytes(metadata).text);
	fprintf(out, LINE "\n", "net profit", sim_bytes(saved - metadata).text);
	for (at = EST_AT_1_MIN; at <= EST_AT_60_MIN; at++) {
		static const char *const names[] = { "", "saved after 1 min", "saved after 10 min",
						     "saved after 60 min" };

		fprintf(out, LINE "of it zero pages %s (time modelled)\n", names[at],
			sim_bytes(est_saved(result, at)).text,
			sim_bytes(est_zero_bytes(result, at)).text);
	}
}

static void print_speed(const struct est_report *r, FILE *out)
{
	const struct est_result *result = first_of(r);

	if (result->settled)
		fprintf(out, LINE "modelled; %s full scans in %s\n", "99 % of it is saved after",
			waited(result->settled_ns).text,
			sim_count(result->at[EST_AT_END].count[KSMSIM_COUNT_full_scans]).text,
			waited(result->at[EST_AT_END].ns).text);
	else
		fprintf(out, LINE "modelled; not all of it was scanned often enough\n",
			"not settled after", waited(result->at[EST_AT_END].ns).text);
	fprintf(out, LINE "modelled; after that %s\n", "ksmd needs of a core",
		percent((int64_t)est_busy(result), 1000).text,
		percent((int64_t)est_busy_after(result), 1000).text);
	if (moves(r))
		fprintf(out, LINE "a second, modelled: each copies a page\n",
			"writes to merged pages", sim_hundredths(est_breaks(result)).text);
	else
		fprintf(out, LINE "capture several rounds to know\n", "writes to merged pages",
			"not known");
}

static void print_huge(const struct est_report *r, FILE *out)
{
	const struct est_result *result = first_of(r);
	const int64_t had = result->at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_thps];
	const int64_t lost = had - result->at[EST_AT_END].count[KSMSIM_COUNT_nr_anon_thps];

	fprintf(out, LINE "of %s: %s are no longer mapped by huge pages\n", "huge pages split",
		sim_count(est_delta(result, KSMSIM_COUNT_thp_split_page)).text, sim_count(had).text,
		pages((uint64_t)lost * EST_BLOCK_PAGES).text);
	fprintf(out, LINE "frames, if all of it is written to\n", "memory when all is un-merged",
		pages((uint64_t)result->at[EST_AT_START].count[KSMSIM_COUNT_nr_anon_frames]).text);
}

/* ---- what limits it ---- */

static void limit(FILE *out, uint64_t nr, const char *what)
{
	if (nr)
		fprintf(out, "  %16s  %s\n", sim_count((int64_t)nr).text, what);
}

static void print_limits(const struct est_report *r, FILE *out)
{
	const struct est_counts *counts = &r->image->counts;
	const struct est_part *total = &r->share->total;
	const uint64_t single = total->mergeable - total->merged - total->zeros - total->twins -
				total->blocked -
				(total->in_huge < total->mergeable - total->merged - total->zeros -
							  total->twins - total->blocked
					 ? total->in_huge
					 : 0);

	fprintf(out, "\nWhat limits it (pages)\n");
	limit(out, counts->pages - counts->able, "in mappings that KSM cannot have");
	limit(out, counts->able - total->mergeable, "in mappings that are not mergeable");
	limit(out, total->blocked, "volatile: other bytes in a later round");
	limit(out, single, "single: no other mergeable page has these bytes");
	limit(out, total->in_huge, "in huge pages none of whose pages has a partner");
	limit(out, total->twins,
	      "with a partner all the same: not scanned often enough, or a frame shared since a "
	      "fork");
	limit(out, counts->unread, "whose bytes are not known: taken as unique");
	limit(out, counts->tagged, "with memory tags: never merged");
	limit(out, counts->swapped, "in swap: not seen by KSM");
	limit(out, counts->zero_page, "mappings of the zero page: nothing to save");
	limit(out, counts->forked, "still shared since a fork: saved already");
	limit(out, counts->lonely,
	      "shared in a way that this fork model cannot make: taken as single pages");
	fprintf(out, "  %16s  %s\n", "not known",
		"pinned for devices: a capture cannot see it; such pages do not merge");
}

/* ---- the others ---- */

static void print_case(const struct est_report *r, size_t i, FILE *out)
{
	const struct est_result *result = &r->cases->results[i];
	const struct est_case *c = &r->cases->list[i];
	const int64_t saved = est_saved(result, EST_AT_END);

	fprintf(out, "  %-26s %11s %11s %11s %11s %11s %12s %7s %7s\n", c->name,
		sim_bytes(saved).text, sim_bytes(est_saved(result, EST_AT_1_MIN)).text,
		sim_bytes(est_saved(result, EST_AT_10_MIN)).text,
		sim_bytes(est_saved(result, EST_AT_60_MIN)).text,
		sim_bytes(saved - est_metadata(result)).text,
		result->settled ? waited(result->settled_ns).text : "-",
		percent((int64_t)est_busy(result), 1000).text,
		sim_count(est_delta(result, KSMSIM_COUNT_thp_split_page)).text);
	if (c->same_as)
		fprintf(out, "  %-26s %s\n", "", c->same_as);
}

static void print_cases(const struct est_report *r, FILE *out)
{
	size_t i;

	if (r->cases->nr < 2)
		return;
	fprintf(out,
		"\nWith other knobs (times modelled)\n  %-26s %11s %11s %11s %11s %11s %12s "
		"%7s %7s\n",
		"", "saved", "in 1 min", "in 10 min", "in 60 min", "net", "99 % after", "ksmd",
		"splits");
	for (i = 0; i < r->cases->nr; i++)
		print_case(r, i, out);
}

/* ---- who shares ---- */

struct rank {
	uint64_t saved;
	uint32_t part;
};

static int compare_ranks(const void *left, const void *right)
{
	const struct rank *a = left, *b = right;

	if (a->saved != b->saved)
		return a->saved > b->saved ? -1 : 1;
	return a->part < b->part ? -1 : a->part > b->part;
}

/* Those that save most first; NULL: no memory */
static struct rank *sort_parts(const struct est_part *parts, size_t nr)
{
	struct rank *ranks = malloc((nr + 1) * sizeof(*ranks));
	size_t i;

	if (!ranks)
		return NULL;
	for (i = 0; i < nr; i++)
		ranks[i] = (struct rank){ parts[i].saved / 1024 + parts[i].zeros, (uint32_t)i };
	qsort(ranks, nr, sizeof(*ranks), compare_ranks);
	return ranks;
}

static void print_part(FILE *out, const char *name, const char *inner, const struct est_part *part)
{
	fprintf(out, "  %-26.26s %-22.22s %11s %11s %11s %11s %11s %11s\n", name, inner,
		sim_count((int64_t)part->pages).text,
		sim_count((int64_t)(part->saved / 1024 + part->zeros)).text,
		sim_count((int64_t)part->zeros).text, sim_count((int64_t)part->alone).text,
		sim_count((int64_t)part->inside).text, sim_count((int64_t)part->across).text);
}

static struct sim_human process_name(const struct est_process *p)
{
	struct sim_human human;

	if (p->pid < 0)
		snprintf(human.text, sizeof(human.text), "%.30s", p->name);
	else
		snprintf(human.text, sizeof(human.text), "%" PRId64 " %.18s", p->pid, p->name);
	return human;
}

static void print_processes(const struct est_report *r, FILE *out)
{
	const size_t nr = r->image->nr_processes;
	struct rank *order = sort_parts(r->share->processes, nr);
	size_t i;

	for (i = 0; order && i < nr && i < r->rows; i++)
		print_part(out, process_name(&r->image->processes[order[i].part]).text, "all of it",
			   &r->share->processes[order[i].part]);
	if (nr > r->rows)
		fprintf(out, "  and %s more processes (--rows shows more)\n",
			sim_count((int64_t)(nr - r->rows)).text);
	free(order);
}

static void print_groups(const struct est_report *r, FILE *out)
{
	const size_t nr = r->image->nr_groups;
	struct rank *order = sort_parts(r->share->groups, nr);
	size_t i;

	for (i = 0; order && i < nr && i < r->rows; i++) {
		const struct est_group *group = &r->image->groups[order[i].part];
		const struct est_part *part = &r->share->groups[order[i].part];

		if (part->merged + part->zeros)
			print_part(out, process_name(&r->image->processes[group->process]).text,
				   group->name, part);
	}
	free(order);
}

static void print_shares(const struct est_report *r, FILE *out)
{
	fprintf(out,
		"\nWho shares (pages; saved: each of the copies gets its part)\n  %-26s %-22s %11s "
		"%11s %11s %11s %11s %11s\n",
		"process", "mapping", "pages", "saved", "of it zero", "with itself", "in process",
		"with others");
	print_processes(r, out);
	print_groups(r, out);
}

static void print_matrix(const struct est_report *r, FILE *out)
{
	const struct est_share *share = r->share;
	size_t a, b;

	if (!r->matrix)
		return;
	fprintf(out, "\nMatrix: merged pages of the row whose bytes the column has, too\n%28s", "");
	for (b = 0; b < share->nr_columns; b++)
		fprintf(out, " %9zu", b + 1);
	fputc('\n', out);
	for (a = 0; a < share->nr_columns; a++) {
		fprintf(out, "  %3zu %-22.22s", a + 1, share->names[a]);
		for (b = 0; b < share->nr_columns; b++)
			fprintf(out, " %9s",
				sim_count((int64_t)share->matrix[a * share->nr_columns + b]).text);
		fputc('\n', out);
	}
}

void est_report_print(const struct est_report *r, FILE *out)
{
	print_head(r, out);
	print_saved(r, out);
	print_speed(r, out);
	print_huge(r, out);
	print_limits(r, out);
	print_cases(r, out);
	print_shares(r, out);
	print_matrix(r, out);
}
