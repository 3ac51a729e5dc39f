/*
 * test_policy.c - rules other than the kernel's, one seam at a time.
 */
#include "ksmworld.h"

static void choose(struct world *w, const char *text)
{
	good(ksmsim_policy_choose(w->sim, text));
}

static void start(struct world *w, const char *profile, uint64_t blocks)
{
	begin(w, profile, blocks * BLOCK);
	set(w, "transparent_hugepage/enabled", "always");
}

static void expect_ksm(struct world *w, int64_t split, int64_t shared, int64_t sharing)
{
	assert_int_equal(count(w, KSMSIM_COUNT_thp_split_page), split);
	assert_int_equal(count(w, KSMSIM_COUNT_pages_shared), shared);
	assert_int_equal(count(w, KSMSIM_COUNT_pages_sharing), sharing);
}

/* ---- names ---- */

static void unknown_names_and_values_are_refused(void **state)
{
	static const char *const bad[] = { "split_min",	   "split_min=",   "split_min=x",
					   "split_min=8x", "split_min=-1", "split_min=9999999999",
					   "split=never",  "split_mi=8",   "zero_remap=some",
					   "zero_remap=",  "cow=",	   "cow=thp",
					   "cowboy=split", "=never",	   "",
					   "split_min =8" };
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 1);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ksmsim_policy_choose(w.sim, bad[i]), KSMSIM_ENAME);
	assert_int_equal(ksmsim_policy_choose(w.sim, NULL), KSMSIM_ENAME);
	end(&w);
}

static void every_value_of_the_table_is_known(void **state)
{
	static const struct {
		const char *name, *values;
	} rows[] = {
#define POLICY(seam, name, value, doc) { #name, value },
#include "ksmsim/policies.def"
	};
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 1);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char values[200], text[100];

		snprintf(values, sizeof(values), "%s", rows[i].values);
		for (char *value = strtok(values, "|"); value; value = strtok(NULL, "|")) {
			snprintf(text, sizeof(text), "%s=%s", rows[i].name,
				 strcmp(value, "NUMBER") ? value : "12");
			choose(&w, text);
		}
	}
	end(&w);
}

/* ---- split ---- */

/* Two THPs with @equal equal pages. */
static void pair(struct world *w, const char *policy, uint64_t equal)
{
	start(w, "linux-6.18", 2);
	choose(w, policy);
	for (uint64_t block = 0; block < 2; block++) {
		fill_with(w, block * BLOCK, BLOCK, KSMSIM_CONTENT_SEEDS, 1000 * (block + 1));
		fill_with(w, block * BLOCK + 100 * (block + 1), equal, KSMSIM_CONTENT_TAGS, 1);
	}
}

static void enough_matches_split_both_thps(void **state)
{
	struct world w;

	(void)state;
	pair(&w, "split_min=8", 8);
	scan(&w, 3);
	expect_ksm(&w, 2, 8, 8);
	end(&w);
}

static void too_few_matches_leave_both_thps_whole(void **state)
{
	struct world w;

	(void)state;
	pair(&w, "split_min=8", 7);
	scan(&w, 4);
	expect_ksm(&w, 0, 0, 0);
	assert_int_equal(count(&w, KSMSIM_COUNT_thp_split_page_failed), 0);
	assert_int_equal(count(&w, KSMSIM_COUNT_cow_ksm), 0);
	assert_int_equal(figures(&w, w.pid).anon_huge, 2);
	end(&w);
}

static void small_numbers_are_the_kernels_rule(void **state)
{
	static const char *const texts[] = { "split_min=0", "split_min=1" };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct world w;

		pair(&w, texts[i], 1);
		scan(&w, 3);
		expect_ksm(&w, 2, 1, 1);
		end(&w);
	}
}

static void never_merges_only_what_is_small(void **state)
{
	struct world w;

	(void)state;
	pair(&w, "split_min=never", 8);
	drop(&w, BLOCK, BLOCK);
	set(&w, "transparent_hugepage/enabled", "never");
	/* in 6.18 the table went with the pages; a page by itself makes a new one */
	tag(&w, w.pid, BLOCK, 500);
	tag(&w, w.pid, BLOCK + 1, 500);
	tag(&w, w.pid, BLOCK + 2, 1);
	scan(&w, 3);
	expect_ksm(&w, 0, 1, 1);
	assert_int_equal(figures(&w, w.pid).anon_huge, 1);
	end(&w);
}

/* A refused merge shows as a failed one. */
static void a_refusal_is_an_event(void **state)
{
	unsigned refused = 0;
	struct world w;

	(void)state;
	pair(&w, "split_min=never", 1);
	scan(&w, 1);
	w.nr_events = 0;
	scan(&w, 1);
	for (unsigned i = 0; i < w.nr_events; i++)
		refused += w.event[i].trace == KSMSIM_TRACE_ksm_merge_with_ksm_page &&
			   w.event[i].error == KS_EFAULT;
	assert_int_equal(refused, 1);
	end(&w);
}

static void matches_in_the_same_thp_count(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 1);
	choose(&w, "split_min=4");
	fill_with(&w, 0, BLOCK, KSMSIM_CONTENT_SEEDS, 1);
	fill_with(&w, 10, 3, KSMSIM_CONTENT_TAG, 7);
	scan(&w, 3);
	expect_ksm(&w, 0, 0, 0);
	fill_with(&w, 13, 1, KSMSIM_CONTENT_TAG, 7);
	scan(&w, 3);
	expect_ksm(&w, 1, 1, 3);
	end(&w);
}

static void zero_pages_count_if_they_are_merged(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 1);
	choose(&w, "split_min=100");
	set(&w, "ksm/use_zero_pages", "1");
	fill_with(&w, 0, BLOCK, KSMSIM_CONTENT_SEEDS, 1);
	fill_with(&w, 0, 99, KSMSIM_CONTENT_ZERO, 0);
	scan(&w, 3);
	expect_ksm(&w, 0, 0, 0);
	fill_with(&w, 99, 1, KSMSIM_CONTENT_ZERO, 0);
	scan(&w, 3);
	expect_ksm(&w, 1, 0, 0);
	assert_int_equal(figures(&w, w.pid).rss_anon, BLOCK - 100);
	end(&w);
}

static void ksm_pages_that_are_full_do_not_count(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 2);
	set(&w, "ksm/max_page_sharing", "2");
	choose(&w, "split_min=2");
	set(&w, "transparent_hugepage/enabled", "never");
	tag(&w, w.pid, 0, 1);
	tag(&w, w.pid, 1, 1);
	tag(&w, w.pid, 2, 2);
	tag(&w, w.pid, 3, 3);
	scan(&w, 2);
	set(&w, "transparent_hugepage/enabled", "always");
	fill_with(&w, BLOCK, BLOCK, KSMSIM_CONTENT_SEEDS, 1000);
	fill_with(&w, BLOCK + 5, 2, KSMSIM_CONTENT_TAGS, 1);
	scan(&w, 3);
	/* 1 has no partner, 2 has one: not enough */
	expect_ksm(&w, 0, 1, 1);
	fill_with(&w, BLOCK + 7, 1, KSMSIM_CONTENT_TAG, 3);
	scan(&w, 3);
	expect_ksm(&w, 1, 3, 3);
	end(&w);
}

static void every_ksm_page_that_has_room_counts(void **state)
{
	struct world w;

	(void)state;
	start(&w, "linux-6.18", 2);
	choose(&w, "split_min=3");
	set(&w, "transparent_hugepage/enabled", "never");
	for (uint64_t page = 0; page < 6; page++)
		tag(&w, w.pid, page, 1 + page % 3);
	scan(&w, 2);
	expect_ksm(&w, 0, 3, 3);
	set(&w, "transparent_hugepage/enabled", "always");
	fill_with(&w, BLOCK, BLOCK, KSMSIM_CONTENT_SEEDS, 1000);
	fill_with(&w, BLOCK + 5, 2, KSMSIM_CONTENT_TAGS, 1);
	scan(&w, 3);
	expect_ksm(&w, 0, 3, 3);
	fill_with(&w, BLOCK + 5, 3, KSMSIM_CONTENT_TAGS, 1);
	scan(&w, 3);
	expect_ksm(&w, 1, 3, 6);
	end(&w);
}

/* What a policy was asked. */
struct witness {
	struct ksmsim_split_question last;
	unsigned asked;
	uint32_t matches;
	bool answer;
};

static bool hear(void *self, const struct ksmsim_split_question *question)
{
	struct witness *witness = self;

	witness->asked++;
	witness->last = *question;
	witness->matches = question->matches(question);
	return witness->answer;
}

static uint64_t hash(struct world *w)
{
	uint64_t value;

	good(ksmsim_hash(w->sim, &value));
	return value;
}

static void counting_matches_changes_nothing(void **state)
{
	struct witness witness = { .answer = true };
	const struct ksmsim_policy policy = { .self = &witness, .split = hear };
	struct world kernel, asked;

	(void)state;
	pair(&kernel, "split_min=0", 20);
	pair(&asked, "split_min=0", 20);
	good(ksmsim_policy_set(asked.sim, &policy));
	good(ksmsim_cost_set(kernel.sim, "unstable_level", 0));
	good(ksmsim_cost_set(asked.sim, "unstable_level", 0));
	good(ksmsim_cost_set(kernel.sim, "stable_level", 0));
	good(ksmsim_cost_set(asked.sim, "stable_level", 0));
	good(ksmsim_cost_set(kernel.sim, "compare_full", 0));
	good(ksmsim_cost_set(asked.sim, "compare_full", 0));
	for (unsigned i = 0; i < 40; i++) {
		batch(&kernel, 60);
		batch(&asked, 60);
		assert_int_equal(hash(&asked), hash(&kernel));
	}
	/* first the folio of the page visited, then that of the page in the tree */
	assert_int_equal(witness.asked, 2);
	assert_int_equal(witness.matches, 20);
	assert_int_equal(witness.last.order, 9);
	assert_int_equal(witness.last.mappings, 1);
	assert_false(witness.last.zero);
	end(&kernel);
	end(&asked);
}

/* ---- zero_remap: a GiB of zeros in mergeable memory ---- */

struct outcome {
	uint64_t rss;
	int64_t splits, zero_pages;
};

/* After one full scan for checksums, ksmd visits @pages pages. */
static struct outcome zeros(const char *profile, const char *policy, uint64_t blocks,
			    uint64_t pages)
{
	struct outcome outcome;
	struct world w;

	start(&w, profile, blocks);
	if (policy)
		choose(&w, policy);
	set(&w, "ksm/use_zero_pages", "1");
	fill_with(&w, 0, blocks * BLOCK, KSMSIM_CONTENT_ZERO, 0);
	scan(&w, 1);
	batch(&w, pages);
	outcome = (struct outcome){
		figures(&w, w.pid).rss_anon, count(&w, KSMSIM_COUNT_thp_split_page),
		strcmp(profile, "linux-6.1") ? count(&w, KSMSIM_COUNT_ksm_zero_pages) : 0
	};
	end(&w);
	return outcome;
}

static void expect_zeros(const char *profile, const char *policy, uint64_t rss, int64_t splits,
			 int64_t zero_pages)
{
	const struct outcome outcome = zeros(profile, policy, 32, 100);

	assert_int_equal(outcome.rss, rss);
	assert_int_equal(outcome.splits, splits);
	assert_int_equal(outcome.zero_pages, zero_pages);
}

static void who_may_remap_zero_pages(void **state)
{
	const uint64_t all = 32 * BLOCK;

	(void)state;
	/* each visit frees a THP, far beyond what it was asked to look at; KSM counts none of it */
	expect_zeros("linux-6.18", NULL, 0, 32, 0);
	expect_zeros("linux-6.18", "zero_remap=all", 0, 32, 0);
	expect_zeros("linux-6.18", "zero_remap=gated", 0, 32, 0);
	/* a THP is split, and its pages are merged one by one */
	expect_zeros("linux-6.18", "zero_remap=none", all - 100, 1, 100);
	expect_zeros("linux-6.18", "zero_remap=shrinker", all - 100, 1, 100);
	expect_zeros("linux-6.18", "zero_remap=not_for_ksm", all - 100, 1, 100);
	expect_zeros("linux-6.18", "zero_remap=not_mergeable", all - 100, 1, 100);
	/* before 6.12 nobody does */
	expect_zeros("linux-6.1", NULL, all - 100, 1, 0);
	expect_zeros("linux-6.1", "zero_remap=not_for_ksm", all - 100, 1, 0);
	expect_zeros("linux-6.1", "zero_remap=all", 0, 32, 0);
}

static void a_gib_of_zeros_goes_in_512_visits(void **state)
{
	const struct outcome kernel = zeros("linux-6.18", NULL, 512, 512);
	const struct outcome careful = zeros("linux-6.18", "zero_remap=not_for_ksm", 512, 512);

	(void)state;
	assert_int_equal(kernel.rss, 0);
	assert_int_equal(kernel.splits, 512);
	assert_int_equal(kernel.zero_pages, 0);
	assert_int_equal(careful.rss, 512 * BLOCK - 512);
	assert_int_equal(careful.splits, 1);
	assert_int_equal(careful.zero_pages, 512);
}

/* Splits that have nothing to do with KSM: of a THP with one page that is not zero. */
static uint64_t rss_after(const char *policy, bool shrinker)
{
	struct world w;
	uint64_t rss;

	start(&w, "linux-6.18", 1);
	set(&w, "transparent_hugepage/khugepaged/max_ptes_none", "0");
	tag(&w, w.pid, 7, 7);
	if (!strcmp(policy, "zero_remap=gated"))
		set(&w, "transparent_hugepage/shrink_underused", "0");
	if (!strcmp(policy, "run=0"))
		set(&w, "ksm/run", "0");
	choose(&w, strncmp(policy, "run", 3) ? policy : "zero_remap=not_mergeable");
	if (shrinker)
		good(ksmsim_shrink(w.sim, true, NULL));
	else
		good(ksmsim_split(w.sim, w.pid, WORLD_BASE, BLOCK * PAGE, 0, -1, NULL));
	assert_int_equal(count(&w, KSMSIM_COUNT_thp_split_page), 1);
	rss = figures(&w, w.pid).rss_anon;
	end(&w);
	return rss;
}

static void the_policy_knows_who_splits_and_what(void **state)
{
	(void)state;
	assert_int_equal(rss_after("zero_remap=shrinker", true), 1);
	assert_int_equal(rss_after("zero_remap=shrinker", false), BLOCK);
	assert_int_equal(rss_after("zero_remap=not_for_ksm", false), 1);
	assert_int_equal(rss_after("zero_remap=not_mergeable", true), BLOCK);
	assert_int_equal(rss_after("run=0", true), 1);
	assert_int_equal(rss_after("zero_remap=gated", true), BLOCK);
	assert_int_equal(rss_after("zero_remap=none", true), BLOCK);
}

/* ---- cow ---- */

static void a_shared_thp_is_copied_whole(void **state)
{
	struct world w;
	uint32_t child;

	(void)state;
	start(&w, "linux-6.18", 1);
	fill_with(&w, 0, BLOCK, KSMSIM_CONTENT_SEEDS, 1);
	choose(&w, "cow=pmd");
	good(ksmsim_fork(w.sim, w.pid, &child, NULL));
	tag(&w, child, 7, 7);
	assert_int_equal(count(&w, KSMSIM_COUNT_thp_split_pmd), 0);
	assert_int_equal(figures(&w, child).anon_huge, 1);
	assert_int_equal(figures(&w, child).rss_anon, BLOCK);
	assert_int_equal(count(&w, KSMSIM_COUNT_nr_anon_frames), 2 * BLOCK);
	end(&w);
}

static void or_by_default_only_its_page(void **state)
{
	struct world w;
	uint32_t child;

	(void)state;
	start(&w, "linux-6.18", 1);
	fill_with(&w, 0, BLOCK, KSMSIM_CONTENT_SEEDS, 1);
	choose(&w, "cow=pmd");
	choose(&w, "cow=split");
	good(ksmsim_fork(w.sim, w.pid, &child, NULL));
	tag(&w, child, 7, 7);
	assert_int_equal(count(&w, KSMSIM_COUNT_thp_split_pmd), 1);
	assert_int_equal(count(&w, KSMSIM_COUNT_nr_anon_frames), BLOCK + 1);
	end(&w);
}

/* ---- several at once ---- */

static void each_seam_has_its_own_owner(void **state)
{
	struct witness witness = { .answer = false };
	const struct ksmsim_policy policy = { .self = &witness, .split = hear };
	struct world w;

	(void)state;
	pair(&w, "zero_remap=none", 3);
	good(ksmsim_policy_set(w.sim, &policy));
	choose(&w, "cow=pmd");
	scan(&w, 2);
	assert_int_equal(witness.asked, 3);
	expect_ksm(&w, 0, 0, 0);
	/* zero_remap is still none */
	fill_with(&w, 0, BLOCK, KSMSIM_CONTENT_ZERO, 0);
	good(ksmsim_split(w.sim, w.pid, WORLD_BASE, BLOCK * PAGE, 0, -1, NULL));
	assert_int_equal(figures(&w, w.pid).rss_anon, 2 * BLOCK);
	/* and now everything is the kernel's */
	good(ksmsim_policy_set(w.sim, NULL));
	fill_with(&w, BLOCK, BLOCK, KSMSIM_CONTENT_ZERO, 0);
	good(ksmsim_split(w.sim, w.pid, WORLD_BASE + BLOCK * PAGE, BLOCK * PAGE, 0, -1, NULL));
	assert_int_equal(figures(&w, w.pid).rss_anon, BLOCK);
	end(&w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(unknown_names_and_values_are_refused),
	cmocka_unit_test(every_value_of_the_table_is_known),
	cmocka_unit_test(enough_matches_split_both_thps),
	cmocka_unit_test(too_few_matches_leave_both_thps_whole),
	cmocka_unit_test(small_numbers_are_the_kernels_rule),
	cmocka_unit_test(never_merges_only_what_is_small),
	cmocka_unit_test(a_refusal_is_an_event),
	cmocka_unit_test(matches_in_the_same_thp_count),
	cmocka_unit_test(zero_pages_count_if_they_are_merged),
	cmocka_unit_test(ksm_pages_that_are_full_do_not_count),
	cmocka_unit_test(every_ksm_page_that_has_room_counts),
	cmocka_unit_test(counting_matches_changes_nothing),
	cmocka_unit_test(who_may_remap_zero_pages),
	cmocka_unit_test(a_gib_of_zeros_goes_in_512_visits),
	cmocka_unit_test(the_policy_knows_who_splits_and_what),
	cmocka_unit_test(a_shared_thp_is_copied_whole),
	cmocka_unit_test(or_by_default_only_its_page),
	cmocka_unit_test(each_seam_has_its_own_owner),
};

TEST_MAIN(tests)
