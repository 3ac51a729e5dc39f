/*
 * test_trace.c - floor 0: who hears an event, and how it reads as ftrace text.
 */
#include "test.h"

#include <string.h>

#include "env.h"

struct heard {
	struct ks_env *env;
	unsigned nr;
	struct ksmsim_event last;
	bool in_listener;
};

static void hear(void *self, const struct ksmsim_event *event)
{
	struct heard *heard = self;

	heard->nr++;
	heard->last = *event;
	heard->in_listener = heard->env->in_listener;
}

static void a_listener_hears_stamped_events(void **state)
{
	struct ksmsim_event event = { .trace = KSMSIM_TRACE_ksm_enter, .mm = 3, .ns = 1 };
	struct ks_env env;
	struct heard heard = { .env = &env };

	(void)state;
	ks_env_init(&env, NULL, KS_PROFILE_V6_18, 0);
	ks_trace(&env, &event);
	assert_int_equal(heard.nr, 0);
	env.listener = hear;
	env.listener_self = &heard;
	env.now_ns = 99;
	ks_trace(&env, &event);
	assert_int_equal(heard.nr, 1);
	assert_int_equal(heard.last.ns, 99);
	assert_int_equal(heard.last.mm, 3);
	assert_int_equal(heard.last.trace, KSMSIM_TRACE_ksm_enter);
	assert_true(heard.in_listener);
	assert_false(env.in_listener);
	ks_env_destroy(&env);
}

static void a_kernel_without_ksm_trace_is_silent(void **state)
{
	struct ksmsim_event event = { .trace = KSMSIM_TRACE_ksm_enter };
	struct ks_env env;
	struct heard heard = { .env = &env };

	(void)state;
	ks_env_init(&env, NULL, KS_PROFILE_V6_1, 0);
	env.listener = hear;
	env.listener_self = &heard;
	ks_trace(&env, &event);
	assert_int_equal(heard.nr, 0);
	env.feature[KS_FEAT_ksm_trace] = true;
	ks_trace(&env, &event);
	assert_int_equal(heard.nr, 1);
	env.feature[KS_FEAT_ksm_trace] = false;
	event.trace = KSMSIM_TRACE_mm_collapse_huge_page;
	ks_trace(&env, &event);
	assert_int_equal(heard.nr, 2);
	ks_env_destroy(&env);
}

static void expect_text(const struct ksmsim_event *event, const char *expected)
{
	char text[256];

	assert_int_equal(ksmsim_event_format(event, text, sizeof(text)), strlen(expected));
	assert_string_equal(text, expected);
}

static void events_read_as_in_the_trace_file(void **state)
{
	struct ksmsim_event event = {
		.mm = 2,
		.vaddr = 0x10000000000,
		.pfn = 3,
		.error = -14,
		.seq = 7,
		.rmap_items = 12,
		.scan_time = -5,
		.pages_to_scan = 30000,
		.cpu_percent = 70,
	};

	(void)state;
	event.trace = KSMSIM_TRACE_ksm_start_scan;
	expect_text(&event, "ksm_start_scan: seq 7 rmap size 12");
	event.trace = KSMSIM_TRACE_ksm_stop_scan;
	expect_text(&event, "ksm_stop_scan: seq 7 rmap size 12");
	event.trace = KSMSIM_TRACE_ksm_enter;
	expect_text(&event, "ksm_enter: mm 2");
	event.trace = KSMSIM_TRACE_ksm_exit;
	expect_text(&event, "ksm_exit: mm 2");
	event.trace = KSMSIM_TRACE_ksm_merge_one_page;
	expect_text(&event,
		    "ksm_merge_one_page: ksm pfn 3 rmap_item 2:0x10000000000 mm 2 error -14");
	event.trace = KSMSIM_TRACE_ksm_merge_with_ksm_page;
	expect_text(&event,
		    "ksm_merge_with_ksm_page: pfn 3 rmap_item 2:0x10000000000 mm 2 error -14");
	event.has_ksm_page = true;
	event.error = 0;
	expect_text(&event,
		    "ksm_merge_with_ksm_page: ksm pfn 3 rmap_item 2:0x10000000000 mm 2 error 0");
	event.trace = KSMSIM_TRACE_ksm_remove_ksm_page;
	expect_text(&event, "ksm_remove_ksm_page: pfn 3");
	event.trace = KSMSIM_TRACE_ksm_remove_rmap_item;
	expect_text(&event, "ksm_remove_rmap_item: pfn 3 rmap_item 2:0x10000000000 mm 2");
	event.trace = KSMSIM_TRACE_ksm_advisor;
	expect_text(&event, "ksm_advisor: ksm scan time -5 pages_to_scan 30000 cpu percent 70");
}

static void collapses_read_as_in_the_trace_file(void **state)
{
	struct ksmsim_event event = {
		.mm = 2,
		.pfn = 0x145480,
		.status = "page_locked",
		.referenced = 301,
		.none_or_zero = 211,
		.unmapped = 4,
		.swapped_in = 3,
	};

	(void)state;
	event.trace = KSMSIM_TRACE_mm_khugepaged_scan_pmd;
	expect_text(&event, "mm_khugepaged_scan_pmd: mm=2, scan_pfn=0x145480, referenced=301, "
			    "none_or_zero=211, status=page_locked, unmapped=4");
	event.trace = KSMSIM_TRACE_mm_collapse_huge_page_isolate;
	expect_text(&event, "mm_collapse_huge_page_isolate: scan_pfn=0x145480, none_or_zero=211, "
			    "referenced=301, status=page_locked");
	event.trace = KSMSIM_TRACE_mm_collapse_huge_page_swapin;
	expect_text(&event,
		    "mm_collapse_huge_page_swapin: mm=2, swapped_in=3, referenced=301, ret=0");
	event.trace = KSMSIM_TRACE_mm_collapse_huge_page;
	event.isolated = true;
	event.status = "succeeded";
	expect_text(&event, "mm_collapse_huge_page: mm=2, isolated=1, status=succeeded");
}

static void text_is_cut_but_its_length_is_told(void **state)
{
	const struct ksmsim_event event = { .trace = KSMSIM_TRACE_ksm_enter, .mm = 12345 };
	const char full[] = "ksm_enter: mm 12345";
	char text[sizeof(full) + 2];

	(void)state;
	assert_int_equal(ksmsim_event_format(&event, NULL, 0), sizeof(full) - 1);
	for (size_t size = 1; size < sizeof(text); size++) {
		const size_t kept = size - 1 < sizeof(full) - 1 ? size - 1 : sizeof(full) - 1;

		memset(text, '#', sizeof(text));
		assert_int_equal(ksmsim_event_format(&event, text, size), sizeof(full) - 1);
		assert_memory_equal(text, full, kept);
		assert_int_equal(text[kept], 0);
		assert_int_equal(text[size], '#');
	}
}

static void an_unknown_event_is_refused(void **state)
{
	struct ksmsim_event event = { .trace = KSMSIM_TRACE_NR };
	char text[8] = "";

	(void)state;
	assert_int_equal(ksmsim_event_format(&event, text, sizeof(text)), KSMSIM_EARGUMENT);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_listener_hears_stamped_events),
	cmocka_unit_test(a_kernel_without_ksm_trace_is_silent),
	cmocka_unit_test(events_read_as_in_the_trace_file),
	cmocka_unit_test(collapses_read_as_in_the_trace_file),
	cmocka_unit_test(text_is_cut_but_its_length_is_told),
	cmocka_unit_test(an_unknown_event_is_refused),
};

TEST_MAIN(tests)
