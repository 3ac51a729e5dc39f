/*
 * test_ksm_stable.c - the stable tree and the advisor from inside: when a chain is
 * pruned, in which order stale nodes go, what the advisor computes.
 */
#include "ksmworld.h"

/* ---- chains ---- */

/* The chain that is the root of the stable tree. */
static const struct ks_stable_node *chain(struct world *w)
{
	const struct ks_stable_node *node = ks_stable(&w->sim->ksm, w->sim->ksm.stable[0].root);

	assert_int_equal(node->kind, KS_STABLE_CHAIN);
	return node;
}

static uint64_t pruned(struct world *w)
{
	return (uint64_t)chain(w)->len << 32 | chain(w)->prune_lo;
}

/* Six equal pages on three dups; page 6 is of its own and makes every scan search past them. */
static void begin_chain(struct world *w, const char *interval, uint64_t at_ns)
{
	begin(w, "linux-6.18", 8);
	set(w, "ksm/max_page_sharing", "2");
	set(w, "ksm/stable_node_chains_prune_millisecs", interval);
	for (uint64_t i = 0; i < 6; i++)
		tag(w, w->pid, i, 5);
	good(ksmsim_advance(w->sim, at_ns));
	scan(w, 2);
	tag(w, w->pid, 6, 9);
	scan(w, 1); /* first visit: its checksum is new, no search */
	assert_int_equal(count(w, KSMSIM_COUNT_stable_node_dups), 3);
	assert_int_equal(pruned(w), at_ns / JIFFY);
}

static void a_chain_is_pruned_after_whole_ticks(void **state)
{
	static const struct {
		const char *millisecs;
		unsigned ticks; /* of 4 ms, rounded up */
	} rows[] = { { "1", 1 }, { "4", 1 }, { "5", 2 }, { "8", 2 }, { "9", 3 }, { "2000", 500 } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct world w;

		begin_chain(&w, rows[i].millisecs, 10 * JIFFY);
		good(ksmsim_advance(w.sim, rows[i].ticks * JIFFY - 1));
		scan(&w, 1);
		assert_int_equal(pruned(&w), 10);
		good(ksmsim_advance(w.sim, 1));
		scan(&w, 1);
		assert_int_equal(pruned(&w), 10 + rows[i].ticks);
		end(&w);
	}
}

static void no_interval_prunes_at_every_search(void **state)
{
	struct world w;

	(void)state;
	begin_chain(&w, "0", 3 * JIFFY);
	good(ksmsim_advance(w.sim, JIFFY));
	scan(&w, 1);
	assert_int_equal(pruned(&w), 4);
	end(&w);
}

static void the_time_of_pruning_has_more_than_32_bits(void **state)
{
	const uint64_t ticks = (UINT64_C(3) << 32) - 1;
	struct world w;

	(void)state;
	begin_chain(&w, "8", ticks * JIFFY);
	good(ksmsim_advance(w.sim, JIFFY));
	scan(&w, 1);
	assert_int_equal(pruned(&w), ticks);
	good(ksmsim_advance(w.sim, JIFFY));
	scan(&w, 1);
	assert_int_equal(pruned(&w), ticks + 2);
	end(&w);
}

/* ---- stale nodes ---- */

/* Pages 2i and 2i+1 have tag order[i] and become a KSM page. */
static void begin_pairs(struct world *w, const uint64_t *order, uint64_t nr)
{
	begin(w, "linux-7.3", 2 * nr + 2);
	for (uint64_t i = 0; i < nr; i++) {
		tag(w, w->pid, 2 * i, order[i]);
		tag(w, w->pid, 2 * i + 1, order[i]);
	}
	scan(w, 2);
	assert_int_equal(count(w, KSMSIM_COUNT_pages_shared), nr);
}

/* Tag of the node that each ksm_remove_ksm_page since then was about; @pfn by tag. */
static unsigned removed(const struct world *w, const uint64_t *pfn, uint64_t nr_tags,
			uint64_t *tags)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < w->nr_events; i++) {
		if (w->event[i].trace != KSMSIM_TRACE_ksm_remove_ksm_page)
			continue;
		for (uint64_t t = 0; t < nr_tags; t++)
			if (pfn[t] == w->event[i].pfn)
				tags[nr] = t;
		nr++;
	}
	return nr;
}

static void remember_frames(struct world *w, const uint64_t *order, uint64_t nr, uint64_t *pfn)
{
	struct ksmsim_page page;

	for (uint64_t i = 0; i < nr; i++) {
		good(ksmsim_page_get(w->sim, w->pid, WORLD_BASE + 2 * i * PAGE, &page));
		assert_int_equal(page.state, KSMSIM_PAGE_KSM);
		pfn[order[i]] = page.pfn;
	}
	w->nr_events = 0;
}

/* A child that KSM does not know keeps the pages while their items go; then it goes, too, and
 * nodes without page and items are left. */
static void purging_takes_the_root_first(void **state)
{
	static const uint64_t order[] = { 1, 2, 3 };
	uint64_t pfn[4] = { 0 }, tags[EVENTS] = { 0 };
	struct world w;
	uint32_t child;

	(void)state;
	begin_pairs(&w, order, 3);
	remember_frames(&w, order, 3, pfn);
	good(ksmsim_inject_failure(w.sim, KSMSIM_INJECT_mm_slot, 1));
	good(ksmsim_fork(w.sim, w.pid, &child, NULL));
	good(ksmsim_exit(w.sim, w.pid));
	scan(&w, 1);
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 0);
	good(ksmsim_exit(w.sim, child));
	assert_int_equal(w.sim->ksm.nodes.live, 3);
	set(&w, "ksm/max_page_sharing", "9");
	/* 2 is the root; its place goes to the next one, 3, then to 1 */
	assert_int_equal(removed(&w, pfn, 4, tags), 3);
	assert_int_equal(tags[0], 2);
	assert_int_equal(tags[1], 3);
	assert_int_equal(tags[2], 1);
	assert_int_equal(w.sim->ksm.nodes.live, 0);
	end(&w);
}

/* The same, but a search comes before the purge: it drops the stale root and begins again. */
static void a_search_that_drops_a_node_begins_again(void **state)
{
	static const uint64_t order[] = { 4, 2, 6, 1, 3, 5, 7 };
	uint64_t pfn[8] = { 0 }, tags[EVENTS] = { 0 };
	struct world w;
	uint32_t child, other;

	(void)state;
	begin_pairs(&w, order, 7);
	remember_frames(&w, order, 7, pfn);
	good(ksmsim_inject_failure(w.sim, KSMSIM_INJECT_mm_slot, 1));
	good(ksmsim_fork(w.sim, w.pid, &child, NULL));
	good(ksmsim_exit(w.sim, w.pid));
	other = process(&w, 1);
	tag(&w, other, 0, 7);
	scan(&w, 2); /* its checksum is known: the next visit searches */
	assert_int_equal(w.sim->ksm.nodes.live, 7);
	w.nr_events = 0;
	good(ksmsim_exit(w.sim, child));
	assert_int_equal(batch(&w, 1), 1);
	assert_int_equal(removed(&w, pfn, 8, tags), 7);
	assert_int_equal(tags[0], 4);
	assert_int_equal(tags[1], 5); /* the next one took the root's place */
	assert_int_equal(w.sim->ksm.nodes.live, 0);
	assert_int_equal(count(&w, KSMSIM_COUNT_pages_unshared), 1);
	end(&w);
}

static void stale_nodes_go_with_their_items(void **state)
{
	static const uint64_t order[] = { 4, 2, 6 };
	uint64_t pfn[8] = { 0 }, tags[EVENTS] = { 0 };
	struct world w;

	(void)state;
	begin_pairs(&w, order, 3);
	remember_frames(&w, order, 3, pfn);
	drop(&w, 0, 6);
	assert_int_equal(w.nr_events, 0); /* nobody has looked yet */
	tag(&w, w.pid, 6, 9);
	assert_int_equal(batch(&w, 1), 1); /* page 6 is found: the items before it go, in order */
	assert_int_equal(removed(&w, pfn, 8, tags), 3);
	assert_int_equal(tags[0], 4);
	assert_int_equal(tags[1], 2);
	assert_int_equal(tags[2], 6);
	end(&w);
}

/* ---- the advisor ---- */

static void the_advisor_computes_as_the_kernel_does(void **state)
{
	static const struct {
		uint64_t pages_to_scan, target, seconds, cpu_ms;
		uint64_t pages, cpu;
	} rows[] = {
		/* 50000/200*30% = 75; a page costs 500/50 = 10: at least 100 */
		{ 500, 200, 100, 50000, 100, 50 },
		/* no CPU time counts as 1 %: at least 5000 */
		{ 500, 200, 100, 0, 5000, 1 },
		{ 500, 200, 0, 0, 5000, 1 },
		/* 50000/1*30% = 15000, of which 70 % CPU allow 3500 */
		{ 500, 1, 1000, 100000, 3500, 10 },
		/* 400000/100*30% = 1200, between 10 and 70 times 4000/40 */
		{ 4000, 100, 100, 40000, 1200, 40 },
		/* 50000000*100 loses its bit 32: 705032704/20000*30% = 10575 */
		{ 50000000, 200, 1, 480000, 10575, 48000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct world w;
		struct ks_scan_hooks *hooks;
		const struct ksmsim_event *event;

		begin(&w, "linux-6.18", 1);
		set(&w, "ksm/advisor_mode", "scan-time");
		hooks = &w.sim->ksm.hooks;
		w.sim->env.knob.advisor_target_scan_time = rows[i].target;
		w.sim->env.knob.pages_to_scan = rows[i].pages_to_scan;
		w.sim->env.ksmd_ns = 0;
		w.nr_events = 0;
		hooks->start(hooks->self);
		good(ksmsim_advance(w.sim, rows[i].seconds * UINT64_C(1000000000) + 999999));
		good(ksmsim_ksmd_cpu_add(w.sim, rows[i].cpu_ms * UINT64_C(1000000)));
		hooks->stop(hooks->self);
		assert_int_equal(w.nr_events, 1);
		event = &w.event[0];
		assert_int_equal(event->trace, KSMSIM_TRACE_ksm_advisor);
		assert_int_equal(event->pages_to_scan, rows[i].pages);
		assert_int_equal(event->cpu_percent, rows[i].cpu);
		assert_int_equal(event->scan_time, rows[i].seconds ? rows[i].seconds : 1);
		assert_int_equal(w.sim->env.knob.pages_to_scan, rows[i].pages);
		end(&w);
	}
}

static void the_change_is_smoothed_from_scan_to_scan(void **state)
{
	/* factors: 30, then (70*30 + 30*200)/100 = 81, then (70*81 + 30*50)/100 = 71 */
	static const struct {
		uint64_t seconds, pages;
	} scans[] = { { 100, 60000 }, { 200, 97200 }, { 100, 34506 } };
	struct world w;
	struct ks_scan_hooks *hooks;

	(void)state;
	begin(&w, "linux-7.3", 1);
	set(&w, "ksm/advisor_mode", "scan-time");
	set(&w, "ksm/advisor_max_pages_to_scan", "1000000");
	set(&w, "ksm/advisor_max_cpu", "100");
	hooks = &w.sim->ksm.hooks;
	w.sim->env.ksmd_ns = 0;
	w.sim->env.knob.pages_to_scan = 400000;
	for (size_t i = 0; i < sizeof(scans) / sizeof(*scans); i++) {
		hooks->start(hooks->self);
		good(ksmsim_advance(w.sim, scans[i].seconds * UINT64_C(1000000000)));
		/* 100 % CPU: the limits are a tenth and all of pages_to_scan */
		good(ksmsim_ksmd_cpu_add(w.sim, scans[i].seconds * UINT64_C(1000000000)));
		hooks->stop(hooks->self);
		assert_int_equal(w.sim->env.knob.pages_to_scan, scans[i].pages);
		if (i == 0)
			w.sim->env.knob.pages_to_scan = 120000;
	}
	end(&w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_chain_is_pruned_after_whole_ticks),
	cmocka_unit_test(no_interval_prunes_at_every_search),
	cmocka_unit_test(the_time_of_pruning_has_more_than_32_bits),
	cmocka_unit_test(purging_takes_the_root_first),
	cmocka_unit_test(a_search_that_drops_a_node_begins_again),
	cmocka_unit_test(stale_nodes_go_with_their_items),
	cmocka_unit_test(the_advisor_computes_as_the_kernel_does),
	cmocka_unit_test(the_change_is_smoothed_from_scan_to_scan),
};

TEST_MAIN(tests)
