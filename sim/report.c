/*
 * report.c - the figures at the end of a run, as a table for people.
 *
 * Every figure has its unit and a sentence, from the same tables as everything
 * else. Counts are exact. Times are modelled from the cost table, and say so.
 * For every mergeable mapping there is what one full walk over it reads, by
 * both walkers: the one that jumps over holes, and the look-up of each address.
 */
#include <inttypes.h>
#include <string.h>

#include "human.h"
#include "run.h"

#define ROWS_MAX 100u /* of processes and of mappings */

static int layout_of(struct sim_run *run, struct sim_layout *layout, uint64_t entry_ns,
		     uint64_t address_ns)
{
	const struct sim_region *region;
	int error;

	region = sim_world_region_at(sim_world_mm(&run->world, layout->process), layout->vma.start);
	layout->region = region ? region->name : NULL;
	error = run->backend->ops->walk_cost(run->backend, layout->process, layout->vma.start,
					     layout->vma.end - layout->vma.start, &layout->walk);
	layout->range_ns = layout->walk.range * entry_ns;
	layout->per_address_ns = layout->walk.addresses * address_ns;
	return error;
}

int sim_layouts(struct sim_run *run, int (*each)(void *self, const struct sim_layout *layout),
		void *self)
{
	const struct sim_backend_ops *ops = run->backend->ops;
	uint64_t entry_ns, address_ns;
	struct sim_layout layout;
	size_t i, vma;
	int error = 0;

	if (!ops->vma || !ops->walk_cost || !ops->cost)
		return 0;
	if (ops->cost(run->backend, "walk_entry", &entry_ns) ||
	    ops->cost(run->backend, "walk_address", &address_ns))
		return KSMSIM_ENAME;
	for (i = 0; !error && i < run->world.nr_processes; i++) {
		if (!run->world.processes[i].alive)
			continue;
		layout.process = (uint32_t)i;
		for (vma = 0; !error; vma++) {
			error = ops->vma(run->backend, layout.process, vma, &layout.vma);
			if (error == KSMSIM_EARGUMENT) {
				error = 0; /* past the last one */
				break;
			}
			if (error || !layout.vma.mergeable)
				continue;
			error = layout_of(run, &layout, entry_ns, address_ns);
			if (!error)
				error = each(self, &layout);
		}
	}
	return error;
}

/* ---- the table ---- */

struct table {
	struct sim_run *run;
	FILE *out;
	size_t rows, left_out;
};

static const char *unit_of(const char *unit)
{
	static const char *const words[][2] = { { "PAGES", "pages" }, { "NUMBER", "" },
						{ "BYTES", "bytes" }, { "NSECS", "ns" },
						{ "MSECS", "ms" },    { "SECONDS", "s" },
						{ "PERCENT", "%" } };
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (!strcmp(unit, words[i][0]))
			return words[i][1];
	return unit;
}

/* Statistics of large folios that are not 0. */
static int print_mthp(struct table *t)
{
	struct sim_run *run = t->run;
	struct sim_mthp seen = { 0 };
	size_t nr;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_MTHP, &nr);
	const int error =
		run->backend->ops->mthp ? run->backend->ops->mthp(run->backend, &seen) : 0;
	char name[64], text[40];

	for (unsigned order = 0; !error && order < KSMSIM_ORDERS; order++) {
		for (unsigned stat = 0; stat < nr; stat++) {
			if (!seen.value[stat][order])
				continue;
			sim_mthp_name(run->world.page, stat, order, name, sizeof(name));
			fprintf(t->out, "  %-36s %8s %-5s  %s\n", name,
				sim_grouped(text, seen.value[stat][order]), "", rows[stat].doc);
		}
	}
	return error;
}

static int print_counters(struct table *t)
{
	struct sim_run *run = t->run;
	size_t i, nr;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr);
	int64_t value;
	char text[40], time[40];
	int error;

	fprintf(t->out, "\nCounters (those that are not 0)\n");
	for (i = 0; i < nr; i++) {
		error = run->backend->ops->counter(run->backend, (enum ksmsim_counter)i, &value);
		if (error)
			return error;
		if (!value)
			continue;
		if (i == KSMSIM_COUNT_ksmd_cpu_ns)
			fprintf(t->out, "  %-24s %20s %-5s  %s\n", rows[i].name,
				sim_duration(time, (uint64_t)value), "", rows[i].doc);
		else
			fprintf(t->out, "  %-24s %20s %-5s  %s\n", rows[i].name,
				sim_grouped(text, value), unit_of(rows[i].unit), rows[i].doc);
	}
	return print_mthp(t);
}

static int print_savings(struct table *t)
{
	static const enum ksmsim_counter names[] = { KSMSIM_COUNT_pages_sharing,
						     KSMSIM_COUNT_ksm_zero_pages,
						     KSMSIM_COUNT_general_profit,
						     KSMSIM_COUNT_ksmd_cpu_ns };
	struct sim_run *run = t->run;
	int64_t v[4];
	char text[40];
	size_t i;
	int error;

	for (i = 0; i < 4; i++) {
		error = run->backend->ops->counter(run->backend, names[i], &v[i]);
		if (error)
			return error;
	}
	fprintf(t->out, "\nSavings\n");
	fprintf(t->out, "  %-24s %20s bytes  %s\n", "saved by sharing",
		sim_grouped(text, v[0] * (int64_t)run->world.page),
		"pages_sharing: pages that need no frame of their own");
	if (v[1])
		fprintf(t->out, "  %-24s %20s bytes  %s\n", "saved by the zero page",
			sim_grouped(text, v[1] * (int64_t)run->world.page),
			"ksm_zero_pages: pages that KSM replaced by the zero page");
	fprintf(t->out, "  %-24s %20s bytes  %s\n", "general_profit", sim_grouped(text, v[2]),
		"saved, less KSM's own records; can be negative");
	fprintf(t->out, "  %-24s %20s        %s\n", "CPU time of ksmd",
		sim_duration(text, v[3] > 0 ? (uint64_t)v[3] : 0), "modelled from the cost table");
	return 0;
}

static int print_processes(struct table *t)
{
	struct sim_run *run = t->run;
	struct ksmsim_process p;
	size_t i, rows = 0, left_out = 0;
	char a[40], b[40], c[40], d[40], f[40];
	int error;

	fprintf(t->out, "\nProcesses (pages; profit in bytes)\n  %-16s %14s %14s %14s %14s %18s\n",
		"name", "rss_anon", "merging_pages", "zero_pages", "rmap_items", "profit");
	for (i = 0; i < run->world.nr_processes; i++) {
		if (!run->world.processes[i].alive)
			continue;
		if (rows == ROWS_MAX) {
			left_out++;
			continue;
		}
		error = run->backend->ops->process(run->backend, (uint32_t)i, &p);
		if (error)
			return error;
		fprintf(t->out, "  %-16s %14s %14s %14s %14s %18s\n", run->world.processes[i].name,
			sim_grouped(a, (int64_t)p.rss_anon), sim_grouped(b, p.ksm_merging_pages),
			sim_grouped(c, p.ksm_zero_pages), sim_grouped(d, p.ksm_rmap_items),
			sim_grouped(f, p.ksm_process_profit));
		rows++;
	}
	if (!rows)
		fprintf(t->out, "  none\n");
	if (left_out)
		fprintf(t->out, "  and %zu more\n", left_out);
	return 0;
}

static int print_layout(void *self, const struct sim_layout *layout)
{
	struct table *t = self;
	char name[2 * SIM_NAME_MAX + 2], pages[40], range[40], address[40], fast[40], slow[40];

	if (t->rows == ROWS_MAX) {
		t->left_out++;
		return 0;
	}
	if (!t->rows++)
		fprintf(t->out,
			"\nOne full walk over each mergeable mapping: page-table entries read, and "
			"modelled time\n  %-16s %14s %20s %12s %24s %12s\n",
			"mapping", "pages", "jumping over holes", "", "looking up each address",
			"");
	snprintf(name, sizeof(name), "%s.%s", t->run->world.processes[layout->process].name,
		 layout->region ? layout->region : "?");
	fprintf(t->out, "  %-16s %14s %20s %12s %24s %12s\n", name,
		sim_grouped(pages, (int64_t)layout->walk.pages),
		sim_grouped(range, (int64_t)layout->walk.range),
		sim_duration(fast, layout->range_ns),
		sim_grouped(address, (int64_t)layout->walk.per_address),
		sim_duration(slow, layout->per_address_ns));
	return 0;
}

int sim_run_report(struct sim_run *run, FILE *out)
{
	struct table t = { run, out, 0, 0 };
	char time[40];
	int error;

	fprintf(out, "%s (%s), %" PRIu64 " operations, virtual time %s\n", run->kernel,
		run->backend->ops->name, run->nr_operations, sim_duration(time, sim_run_now(run)));
	error = print_counters(&t);
	if (!error)
		error = print_savings(&t);
	if (!error)
		error = print_processes(&t);
	if (!error)
		error = sim_layouts(run, print_layout, &t);
	if (t.left_out)
		fprintf(out, "  and %zu more\n", t.left_out);
	return error ? sim_fail(run, error) : 0;
}
