/*
 * test_ksm.c - rules of KSM that a look inside shows more sharply than a
 * scenario: when a chain is pruned, when items die, what a changed page leaves
 * in the unstable tree, how segments grow, what the advisor computes.
 *
 * Worlds are one or two processes with pages at WORLD_BASE, a page table and a
 * segment of their own for each 512.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "machine.h"
#include "test.h"

#define PAGE UINT64_C(4096)
#define WORLD_BASE (UINT64_C(1) << 40)
#define VPN(page) (WORLD_BASE / PAGE + (page))
#define JIFFY UINT64_C(4000000)
#define EVENTS 64u

struct world {
	struct ksmsim *sim;
	uint32_t pid;
	struct ksmsim_event event[EVENTS];
	unsigned nr_events;
};

static void good(int error)
{
	if (error)
		fail_msg("%s", ksmsim_strerror(error));
}

static void set(struct world *w, const char *file, const char *text)
{
	int64_t ret = 0;

	good(ksmsim_sysfs_write(w->sim, file, text, strlen(text), &ret));
	assert_int_equal(ret, strlen(text));
}

static int64_t count(struct world *w, enum ksmsim_counter counter)
{
	int64_t value;

	good(ksmsim_counter_get(w->sim, counter, &value));
	return value;
}

static void expect_sound(struct world *w)
{
	char text[160] = "";

	if (ksmsim_check(w->sim, text, sizeof(text)))
		fail_msg("%s", text);
}

static void listen(void *self, const struct ksmsim_event *event)
{
	struct world *w = self;

	if (w->nr_events < EVENTS)
		w->event[w->nr_events++] = *event;
}

static uint32_t process(struct world *w, uint64_t pages)
{
	const struct ksmsim_mmap map = { .vaddr = WORLD_BASE,
					 .length = pages * PAGE,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = KSMSIM_MAP_FIXED };
	uint32_t pid;

	good(ksmsim_spawn(w->sim, &pid));
	good(ksmsim_mmap(w->sim, pid, &map, NULL));
	good(ksmsim_madvise(w->sim, pid, WORLD_BASE, map.length, KSMSIM_MADV_MERGEABLE, NULL));
	return pid;
}

static void begin(struct world *w, const char *profile, uint64_t pages)
{
	const struct ksmsim_config config = { .profile = profile };

	memset(w, 0, sizeof(*w));
	good(ksmsim_new(&config, &w->sim));
	good(ksmsim_listen(w->sim, listen, w));
	set(w, "ksm/run", "1");
	if (strcmp(profile, "linux-6.1"))
		set(w, "ksm/smart_scan", "0");
	w->pid = process(w, pages);
}

static void end(struct world *w)
{
	expect_sound(w);
	ksmsim_free(w->sim);
}

/* memcmp order of the pages is the order of the tags. */
static void tag(struct world *w, uint32_t pid, uint64_t page, uint64_t value)
{
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_TAG, .value = value };
	int64_t ret = 0;

	good(ksmsim_fill(w->sim, pid, WORLD_BASE + page * PAGE, 1, &content, &ret));
	assert_int_equal(ret, 0);
}

static void drop(struct world *w, uint64_t page, uint64_t pages)
{
	good(ksmsim_madvise(w->sim, w->pid, WORLD_BASE + page * PAGE, pages * PAGE,
			    KSMSIM_MADV_DONTNEED, NULL));
}

static uint64_t batch(struct world *w, uint64_t pages)
{
	uint64_t visited;

	good(ksmsim_ksmd_batch(w->sim, pages, &visited));
	return visited;
}

static void scan(struct world *w, unsigned times)
{
	while (times--)
		batch(w, UINT32_MAX);
}

static struct ks_item item_of(struct world *w, uint32_t pid, uint64_t page)
{
	struct ks_item item;

	assert_true(ks_item_find(&w->sim->ksm, ks_machine_mm(w->sim, pid), VPN(page), NULL, &item));
	return item;
}

/* ---- batches ---- */

static void a_batch_ends_with_its_pages_or_with_the_scan(void **state)
{
	(void)state;
	for (uint64_t size = 1; size <= 8; size++) {
		struct world w;
		uint64_t left = 5, visited;

		begin(&w, "linux-6.18", 5);
		for (uint64_t i = 0; i < 5; i++)
			tag(&w, w.pid, i, i);
		while (!count(&w, KSMSIM_COUNT_full_scans)) {
			visited = batch(&w, size);
			assert_int_equal(visited, left < size ? left : size);
			left -= visited;
		}
		assert_int_equal(left, 0);
		/* the last page found closes nothing: the next batch, perhaps an empty one, does */
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_scanned), 5);
		assert_int_equal(visited, 5 % size);
		end(&w);
	}
}

static void a_batch_of_no_pages_does_nothing(void **state)
{
	struct world w;

	(void)state;
	begin(&w, "linux-7.3", 2);
	tag(&w, w.pid, 0, 1);
	w.nr_events = 0;
	assert_int_equal(batch(&w, 0), 0);
	assert_int_equal(w.nr_events, 0);
	set(&w, "ksm/run", "0");
	assert_int_equal(batch(&w, 100), 0);
	assert_int_equal(w.nr_events, 0);
	end(&w);
}

static void more_than_256_scans_leave_no_trace(void **state)
{
	struct world w;

	(void)state;
	begin(&w, "linux-7.3", 4);
	for (uint64_t i = 0; i < 3; i++)
		tag(&w, w.pid, i, i);
	scan(&w, 1);
	for (int i = 0; i < 600; i++) {
		scan(&w, 1);
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_unshared), 3);
	}
	tag(&w, w.pid, 3, 1);
	scan(&w, 2);
	assert_int_equal(count(&w, KSMSIM_COUNT_pages_sharing), 1);
	end(&w);
}

/* ---- smart scan ---- */

static void smart_scan_skips_by_age(void **state)
{
	/* scans that visit a page which never merges; then every ninth */
	static const unsigned visits[] = { 0, 1, 2, 3, 5, 8, 13 };
	struct world w;
	unsigned i, next = 0;

	(void)state;
	begin(&w, "linux-7.3", 1);
	set(&w, "ksm/smart_scan", "1");
	tag(&w, w.pid, 0, 1);
	for (i = 0; i < 400; i++) {
		const bool visit = i < 13 ? i == visits[next] : (i - 13) % 9 == 0;
		struct ksmsim_page page;

		if (i < 13 && visit)
			next++;
		if (batch(&w, UINT32_MAX) != visit)
			fail_msg("scan %u: %s", i, visit ? "skipped" : "visited");
		good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE, &page));
		assert_int_equal(page.item_age, i < 255 ? i + 1 : 255);
		/* a page that is skipped is in no tree */
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_unshared), visit && i > 0);
	}
	end(&w);
}

static unsigned age_after_a_merge(const char *profile)
{
	struct ksmsim_page page;
	struct world w;

	begin(&w, profile, 2);
	set(&w, "ksm/smart_scan", "1");
	tag(&w, w.pid, 0, 1);
	tag(&w, w.pid, 1, 1);
	scan(&w, 3);
	good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE, &page));
	assert_int_equal(page.state, KSMSIM_PAGE_KSM);
	assert_int_equal(page.item_age, 2); /* merged pages do not age */
	tag(&w, w.pid, 0, 2);
	scan(&w, 1);
	good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE, &page));
	end(&w);
	return page.item_age;
}

static void leaving_the_stable_tree_makes_young_since_7_3(void **state)
{
	(void)state;
	assert_int_equal(age_after_a_merge("linux-7.3"), 0);
	assert_int_equal(age_after_a_merge("linux-6.18"), 3);
	assert_int_equal(age_after_a_merge("linux-6.12"), 3);
}

/* ---- items ---- */

static void items_die_when_the_next_page_is_found(void **state)
{
	struct world w;

	(void)state;
	begin(&w, "linux-6.12", 8);
	for (uint64_t i = 0; i < 6; i++)
		tag(&w, w.pid, i, i);
	scan(&w, 1);
	drop(&w, 1, 2);
	drop(&w, 5, 1);
	batch(&w, 1); /* page 0 */
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 6);
	batch(&w, 1); /* page 3: 1 and 2 go */
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 4);
	batch(&w, 1); /* page 4 */
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 4);
	batch(&w, 1); /* the mm is left: 5 goes */
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 3);
	assert_int_equal(count(&w, KSMSIM_COUNT_full_scans), 2);
	end(&w);
}

static void an_item_that_cannot_be_had_ends_the_batch(void **state)
{
	struct world w;

	(void)state;
	begin(&w, "linux-6.18", 1024);
	tag(&w, w.pid, 5, 1);
	tag(&w, w.pid, 600, 2);
	scan(&w, 1);
	/* the only item of the first segment dies while an allocation for page 7 fails */
	drop(&w, 5, 1);
	tag(&w, w.pid, 7, 3);
	good(ksmsim_inject_failure(w.sim, KSMSIM_INJECT_rmap_item, 1));
	assert_int_equal(batch(&w, 100), 0);
	expect_sound(&w);
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 1);
	assert_int_equal(count(&w, KSMSIM_COUNT_full_scans), 1);
	assert_int_equal(batch(&w, 100), 2);
	assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), 2);
	end(&w);
}

static void segments_grow_and_keep_their_items(void **state)
{
	/* pages; every second one has a twin */
	static const uint64_t steps[] = { 1, 2, 5, 6, 30 };
	struct world w;
	uint64_t nr = 0;

	(void)state;
	begin(&w, "linux-7.3", 512);
	for (size_t s = 0; s < sizeof(steps) / sizeof(*steps); s++) {
		/* from behind: every new item comes before all old ones */
		for (; nr < steps[s]; nr++) {
			tag(&w, w.pid, 500 - 10 * nr, 100 + nr);
			if (nr % 2)
				tag(&w, w.pid, 500 - 10 * nr + 1, 100 + nr);
		}
		scan(&w, 3);
		expect_sound(&w);
		assert_int_equal(item_of(&w, w.pid, 500).seg->room, nr == 1 ? 1
								    : nr + nr / 2 <= 8
									    ? 8
									    : KS_SEG_SLOTS);
		assert_int_equal(count(&w, KSMSIM_COUNT_rmap_items), nr + nr / 2);
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_shared), nr / 2);
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_sharing), nr / 2);
		assert_int_equal(count(&w, KSMSIM_COUNT_pages_unshared), nr - nr / 2);
	}
	end(&w);
}

static void growing_keeps_checksum_and_age(void **state)
{
	struct ksmsim_page page[2];
	struct world w;

	(void)state;
	begin(&w, "linux-6.12", 512);
	set(&w, "ksm/smart_scan", "1");
	tag(&w, w.pid, 100, 1);
	scan(&w, 2);
	good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE + 100 * PAGE, &page[0]));
	for (uint64_t i = 0; i < 40; i++)
		tag(&w, w.pid, 80 + i + (i >= 20), 50 + i);
	batch(&w, 30); /* stops behind page 100 */
	good(ksmsim_page_get(w.sim, w.pid, WORLD_BASE + 100 * PAGE, &page[1]));
	assert_int_equal(item_of(&w, w.pid, 100).seg->room, KS_SEG_SLOTS);
	assert_int_equal(page[0].item_age, 2);
	assert_int_equal(page[1].item_age, 3);
	assert_int_equal(page[1].item_checksum, page[0].item_checksum);
	assert_int_not_equal(page[1].item_checksum, 0);
	end(&w);
}

/* ---- the unstable tree ---- */

static bool is_looked_at(struct world *w, uint64_t page)
{
	const struct ks_item item = item_of(w, w->pid, page);

	assert_true(ks_item_in_tree(&w->sim->ksm, &item));
	return ks_item_tree_node(&w->sim->ksm, ks_item_id(&item))->key_lo & KS_RB_LOOK;
}

static void change(struct world *w, unsigned how)
{
	const uint8_t byte = 1;

	switch (how) {
	case 0:
		good(ksmsim_poke(w->sim, w->pid, WORLD_BASE + 4095, &byte, 1, NULL));
		break;
	case 1:
		tag(w, w->pid, 0, 77);
		break;
	case 2:
		drop(w, 0, 1);
		break;
	case 3:
		good(ksmsim_munmap(w->sim, w->pid, WORLD_BASE, PAGE, NULL));
		break;
	case 4:
		good(ksmsim_swap_out(w->sim, w->pid, WORLD_BASE, 1, false, NULL));
		break;
	case 5:
		good(ksmsim_mremap(w->sim, w->pid, WORLD_BASE, PAGE, PAGE,
				   KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED, 2 * WORLD_BASE,
				   NULL));
		break;
	default:
		good(ksmsim_madvise(w->sim, w->pid, WORLD_BASE, PAGE, KSMSIM_MADV_UNMERGEABLE,
				    NULL));
		break;
	}
}

static void a_page_that_changes_in_the_tree_is_looked_at(void **state)
{
	(void)state;
	for (unsigned how = 0; how <= 6; how++) {
		struct world w;

		begin(&w, "linux-6.18", 3);
		for (uint64_t i = 0; i < 3; i++)
			tag(&w, w.pid, i, 10 + i);
		scan(&w, 1);
		batch(&w, 2); /* 0 and 1 are in the tree, the scan stands at 2 */
		assert_false(is_looked_at(&w, 0));
		assert_false(is_looked_at(&w, 1));
		change(&w, how);
		if (!is_looked_at(&w, 0))
			fail_msg("change %u goes unnoticed", how);
		assert_false(is_looked_at(&w, 1));
		expect_sound(&w);
		scan(&w, 3);
		end(&w);
	}
}

static void a_read_changes_nothing_in_the_tree(void **state)
{
	struct world w;

	(void)state;
	begin(&w, "linux-6.18", 2);
	tag(&w, w.pid, 0, 1);
	tag(&w, w.pid, 1, 2);
	scan(&w, 1);
	batch(&w, 1);
	good(ksmsim_read(w.sim, w.pid, WORLD_BASE, 2, NULL));
	assert_false(is_looked_at(&w, 0));
	end(&w);
}

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
	uint64_t pfn[4] = { 0 }, tags[EVENTS];
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
	uint64_t pfn[8] = { 0 }, tags[EVENTS];
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
	uint64_t pfn[8] = { 0 }, tags[EVENTS];
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
	cmocka_unit_test(a_batch_ends_with_its_pages_or_with_the_scan),
	cmocka_unit_test(a_batch_of_no_pages_does_nothing),
	cmocka_unit_test(more_than_256_scans_leave_no_trace),
	cmocka_unit_test(smart_scan_skips_by_age),
	cmocka_unit_test(leaving_the_stable_tree_makes_young_since_7_3),
	cmocka_unit_test(items_die_when_the_next_page_is_found),
	cmocka_unit_test(an_item_that_cannot_be_had_ends_the_batch),
	cmocka_unit_test(segments_grow_and_keep_their_items),
	cmocka_unit_test(growing_keeps_checksum_and_age),
	cmocka_unit_test(a_page_that_changes_in_the_tree_is_looked_at),
	cmocka_unit_test(a_read_changes_nothing_in_the_tree),
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
