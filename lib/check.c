/*
 * check.c - the whole machine: every invariant, a dump as text, a hash.
 *
 * Dump and hash list processes by pid, pages by address and trees in order, so
 * they are the same for the same calls on every host.
 */
#include "machine.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* What mms say of the huge zero folio and of khugepaged's list, against what those know. */
static const char *check_huge(const struct ksmsim *sim)
{
	const struct ks_system *sys = &sim->sys;
	uint32_t holders = 0, known = 0;

	for (uint32_t i = 0; i < sys->nr_mms; i++) {
		holders += sys->mms[i]->huge_zero;
		known += sys->mms[i]->khugepaged_slot != 0;
	}
	if (holders != sys->huge_zero_refs || (holders && !sys->huge_zero))
		return "I24: the references of the huge zero folio are not the mms that hold it";
	/* the mm under the cursor may have exited */
	if (known != sim->khugepaged.slots.live &&
	    (!sim->khugepaged.cursor || known + 1 != sim->khugepaged.slots.live))
		return "I25: khugepaged's list is not the mms that it knows";
	return NULL;
}

static int do_check(struct ksmsim *sim, void *args)
{
	const char **fault = args;

	*fault = ks_system_check(&sim->sys);
	if (!*fault)
		*fault = check_huge(sim);
	if (!*fault)
		*fault = ks_ksm_check(&sim->ksm);
	return *fault ? KSMSIM_EINVARIANT : 0;
}

int ksmsim_check(struct ksmsim *sim, char *buf, size_t size)
{
	const char *fault = NULL;
	const int err = ks_machine_run(sim, do_check, &fault);

	if (fault && buf && size)
		snprintf(buf, size, "%s", fault);
	return err;
}

/* ---- dump ---- */

struct dump {
	struct ksmsim *sim;
	void (*line)(void *self, const char *text);
	void *self;
};

__attribute__((format(printf, 2, 3))) static void say(const struct dump *dump, const char *format,
						      ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	dump->line(dump->self, text);
}

static const char *const page_names[] = {
	[KSMSIM_PAGE_NONE] = "none", [KSMSIM_PAGE_ANON] = "anon",
	[KSMSIM_PAGE_KSM] = "ksm",   [KSMSIM_PAGE_ZERO] = "zero",
	[KSMSIM_PAGE_FILE] = "file", [KSMSIM_PAGE_KSM_ZERO] = "ksm_zero",
	[KSMSIM_PAGE_SWAP] = "swap", [KSMSIM_PAGE_GUARD] = "guard",
};

static void dump_page(const struct dump *dump, uint32_t pid, uint64_t vpn)
{
	const uint64_t vaddr = vpn << dump->sim->sys.tables.geo->page_shift;
	const bool tracked = dump->sim->env.feature[KS_FEAT_soft_dirty];
	struct ksmsim_page page;
	char order[24] = "";

	if (ksmsim_page_get(dump->sim, pid, vaddr, &page))
		return;
	if (page.order)
		snprintf(order, sizeof(order), " order %u", page.order);
	say(dump,
	    "  page 0x%" PRIx64 " %s%s%s pfn %" PRIu64 " maps %u refs %u%s%s%s%s sum %08" PRIx32,
	    vaddr, page_names[page.state], order, page.pmd_mapped ? " pmd" : "", page.pfn,
	    page.mapcount, page.refs, page.writable ? " writable" : "", page.dirty ? " dirty" : "",
	    page.anon_exclusive ? " exclusive" : "",
	    tracked && !page.soft_dirty ? " unchanged" : "", page.checksum);
	if (page.has_item)
		say(dump, "    item sum %08" PRIx32 " age %u skips %u", page.item_checksum,
		    page.item_age, page.item_skips);
}

static void dump_vma(const struct dump *dump, uint32_t pid, const struct ks_mm *mm,
		     const struct ks_vma *vma)
{
	const struct ks_tables *tables = &dump->sim->sys.tables;
	struct ks_walk walk;

	say(dump, " vma 0x%" PRIx64 "-0x%" PRIx64 " flags %#x anon_vma %s file %" PRIu32,
	    vma->start << tables->geo->page_shift, vma->end << tables->geo->page_shift, vma->flags,
	    vma->anon_vma ? "yes" : "no", vma->file);
	ks_walk_start(&walk, tables, &mm->pt, vma->start, vma->end);
	while (ks_walk_leaf(&walk)) {
		const struct ks_leaf *leaf = ks_leaf(tables, walk.leaf);

		for (int slot = ks_leaf_next(leaf, walk.first);
		     slot >= 0 && (unsigned)slot <= walk.last;
		     slot = ks_leaf_next(leaf, (unsigned)slot + 1))
			dump_page(dump, pid, leaf->vpn + (unsigned)slot);
	}
}

static void dump_process(const struct dump *dump, uint32_t pid)
{
	const struct ks_mm *mm = ks_machine_mm(dump->sim, pid);
	struct ksmsim_process process;
	uint64_t ksm_pages;

	if (ksmsim_process_get(dump->sim, pid, &process) ||
	    ksmsim_ksm_pages_get(dump->sim, pid, &ksm_pages))
		return;
	say(dump,
	    "process %" PRIu32 "%s items %" PRId64 " merging %" PRId64 " zero %" PRId64
	    " rss %" PRIu64 " ptes %" PRIu64 " ksm %" PRIu64 "%s%s",
	    pid, process.alive ? "" : " (gone)", process.ksm_rmap_items, process.ksm_merging_pages,
	    process.ksm_zero_pages, process.rss_anon, process.nr_ptes, ksm_pages,
	    process.registered ? " registered" : "", process.merge_any ? " merge_any" : "");
	for (uint32_t i = 0; mm && i < mm->nr_vmas; i++)
		dump_vma(dump, pid, mm, &mm->vmas[i]);
}

static void dump_node(const struct dump *dump, uint32_t id, const char *indent)
{
	const struct ks_stable_node *node = ks_stable(&dump->sim->ksm, id);

	say(dump, "%snode pfn %" PRIu32 " len %" PRIu32 "%s", indent, node->pfn, node->len,
	    node->stale ? " stale" : "");
}

static void dump_trees(const struct dump *dump, unsigned nid)
{
	const struct ks_ksm *ksm = &dump->sim->ksm;
	const struct ks_rb_tree *stable = &ksm->stable[nid], *unstable = &ksm->unstable[nid];

	say(dump, "stable tree of node %u", nid);
	for (uint32_t id = ks_rb_first(stable); id; id = ks_rb_next(stable, id)) {
		if (ks_stable(ksm, id)->kind == KS_STABLE_REGULAR) {
			dump_node(dump, id, " ");
			continue;
		}
		say(dump, " chain");
		for (uint32_t dup = ks_stable(ksm, id)->dups; dup;
		     dup = ks_stable(ksm, dup)->rb.child[0])
			dump_node(dump, dup, "  ");
	}
	say(dump, "unstable tree of node %u", nid);
	for (uint32_t id = ks_rb_first(unstable); id; id = ks_rb_next(unstable, id)) {
		const struct ks_item item = ks_item_at(ksm, id);

		say(dump, " mm %" PRIu32 " 0x%" PRIx64, ks_item_mm(ksm, &item)->id,
		    ks_item_vpn(&item) << dump->sim->sys.tables.geo->page_shift);
	}
}

static void dump_mthp(const struct dump *dump)
{
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_MTHP, NULL);

	for (int stat = 0; stat < KSMSIM_MTHP_NR; stat++) {
		for (unsigned order = 0; order < KSMSIM_ORDERS; order++) {
			const int64_t value = dump->sim->env.mthp[stat][order];

			if (value)
				say(dump, "order %u %s %" PRId64, order, rows[stat].name, value);
		}
	}
}

/* What only the model has, and depends on how the host's memory is laid out, is no result. */
static bool is_result(enum ksmsim_counter counter)
{
	return counter != KSMSIM_COUNT_host_bytes;
}

int ksmsim_dump(struct ksmsim *sim, void (*line)(void *self, const char *text), void *self)
{
	const struct dump dump = { .sim = sim, .line = line, .self = self };
	const int refused = ks_machine_refuses(sim);
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, NULL);

	if (refused)
		return refused;
	if (!line)
		return KSMSIM_EARGUMENT;
	say(&dump, "time %" PRIu64 " ns", sim->env.now_ns);
	for (int i = 0; i < KSMSIM_COUNT_NR; i++) {
		int64_t value = 0;

		ksmsim_counter_get(sim, (enum ksmsim_counter)i, &value);
		if (is_result((enum ksmsim_counter)i))
			say(&dump, "%s %" PRId64, rows[i].name, value);
	}
	dump_mthp(&dump);
	for (uint32_t pid = 1; pid <= sim->nr_processes; pid++)
		dump_process(&dump, pid);
	for (unsigned nid = 0; nid < sim->ksm.nr_trees; nid++)
		dump_trees(&dump, nid);
	return 0;
}

/* FNV-1a over the lines of the dump. */
static void hash_line(void *self, const char *text)
{
	uint64_t *hash = self;

	do
		*hash = (*hash ^ (uint8_t)*text) * UINT64_C(0x100000001B3);
	while (*text++);
}

int ksmsim_hash(struct ksmsim *sim, uint64_t *hash)
{
	uint64_t sum = UINT64_C(0xCBF29CE484222325);
	const int err = ksmsim_dump(sim, hash_line, &sum);

	if (!err && hash)
		*hash = sum;
	return err;
}
