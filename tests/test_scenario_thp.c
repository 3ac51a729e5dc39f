/*
 * test_scenario_thp.c - huge pages in scenarios: operations and how they are
 * refused, expectations, observations, and memory drawn.
 */
#include "outcome.h"

#include <string.h>

static void run_text(struct outcome *out, const char *text, bool lua)
{
	static const struct sim_options options = { .check = true, .pages = true };

	outcome_run(out, &options, lua, text, strlen(text));
}

static void holds(const char *text)
{
	struct outcome out;

	run_text(&out, text, false);
	if (out.status || out.failed)
		fail_msg("%s%s", out.error, out.failure);
	outcome_free(&out);
}

/* @status: of the run; 0 where an expectation does not hold */
static void ends(const char *text, int status, const char *words)
{
	struct outcome out;
	const char *said;

	run_text(&out, text, false);
	said = status ? out.error : out.failure;
	assert_int_equal(out.status, status);
	assert_true(status || out.failed);
	if (!strstr(said, words))
		fail_msg("'%s' is not in '%s'", words, said);
	outcome_free(&out);
}

#define THP "thp enabled always\nproc A\nmmap A r 512\n"

/* ---- operations ---- */

static void files_of_huge_pages_are_written(void **state)
{
	(void)state;
	holds("thp enabled always\nexpect result=0 thp_enabled=always thp_enabled=0\n"
	      "thp transparent_hugepage/enabled never\nexpect thp_enabled=2\n"
	      "thp max_ptes_none 7\nexpect max_ptes_none=7\n"
	      "thp khugepaged/max_ptes_none 512\nexpect result=-EINVAL\n"
	      "thp hugepages-64kB/enabled inherit\nexpect hugepages-64kB/enabled=inherit\n"
	      "thp hugepages-9kB/enabled always\nexpect result=-ENOENT\n"
	      "thp hpage_pmd_size 1\nexpect result=-EACCES\n");
	ends("thp use_zero_pge 1\n", SIM_EINPUT,
	     "t.ksm:1:5: unknown file of huge pages "
	     "'use_zero_pge'; did you mean 'use_zero_page'?");
	ends("thp\n", SIM_EINPUT, "expected a file of /sys/kernel/mm/transparent_hugepage");
}

static void a_process_is_kept_from_huge_pages(void **state)
{
	(void)state;
	holds(THP "thpdisable A all\nexpect result=0\ntouch A r+0\nexpect A.anon_huge=0\n");
	holds(THP "thpdisable A all\nthpdisable A off\ntouch A r+0\nexpect A.anon_huge=1\n");
	holds(THP "thpdisable A except_advised\ntouch A r+0\nexpect A.anon_huge=0\n"
		  "mmap A s 512\nmadvise A s HUGEPAGE\ntouch A s+0\nexpect A.anon_huge=1\n");
	holds("feature thp_except_advised 0\n" THP "thpdisable A except_advised\n"
	      "expect result=-EINVAL\n");
	ends(THP "thpdisable A on\n", SIM_EINPUT, "off|all|except_advised");
}

static void folios_are_split_and_blocks_collapsed(void **state)
{
	(void)state;
	holds(THP "fill A r seeds:1\nsplit A r\nexpect result=1 A.r=order:0 A.anon_huge=0\n"
		  "khugepaged\nexpect result=1 A.r=thp khugepaged_pages_collapsed=1\n"
		  "split A r+0 page=511\nexpect result=1 A.r+0:256=order:8 A.r+508:*=order:0\n");
	holds(THP "fill A r seeds:1\nsplit A r+0 order=3\nexpect A.r=order:3\n");
	holds(THP "touch A r\nthp khugepaged/max_ptes_none 10\nshrink\n"
		  "expect result=1 A.rss_anon=0 thp_underused_split_page=1 A.r=zero\n");
	ends(THP "split A r order=14\n", SIM_EINPUT, "is too large; expected the order");
	ends(THP "split A r page\n", SIM_EINPUT, "expected page=INDEX");
	ends("khugepaged 1000001\n", SIM_EINPUT, "at most 1000000 times");
}

/* Its shrinker drops the huge zero folio, and it is counted again. */
static void only_shrink_all_drops_the_huge_zero_folio(void **state)
{
	(void)state;
	holds(THP "read A r+0\nexit A\nshrink\nproc B\nmmap B r 512\nread B r+0\n"
		  "expect thp_zero_page_alloc=1\n");
	holds(THP "read A r+0\nexit A\nshrink all\nproc B\nmmap B r 512\nread B r+0\n"
		  "expect thp_zero_page_alloc=2\n");
	holds(THP "read A r+0\nshrink all\nproc B\nmmap B r 512\nread B r+0\n"
		  "expect thp_zero_page_alloc=1\n");
}

static void a_policy_is_chosen_by_name(void **state)
{
	(void)state;
	holds("policy zero_remap=none\n" THP
	      "touch A r+0\nsplit A r\nexpect result=1 A.rss_anon=512 A.r=anon\n");
	holds(THP "touch A r+0\nsplit A r\nexpect result=1 A.rss_anon=0 A.r=zero\n");
	ends("policy zero_rmap=none\n", SIM_EINPUT,
	     "unknown policy 'zero_rmap'; did you mean 'zero_remap'?");
	ends("policy zero_remap\n", SIM_EINPUT, "has no value");
	ends("policy zero_remap=nobody\n", KSMSIM_ENAME, "no row of the table has this name");
}

/* ---- expectations ---- */

static void pages_are_told_by_what_they_are_of(void **state)
{
	(void)state;
	holds("thp hugepages-64kB/enabled always\n" THP "mmap A z 512\nmmap A m 16\nmmap A s 1\n"
	      "touch A r+0\nread A z+0\ntouch A m+0\ntouch A s\n"
	      "expect A.r=thp A.r=order:9 A.r=anon A.z=huge_zero A.z=zero A.m=order:4 "
	      "A.s=order:0\n"
	      "expect hugepages-64kB/anon_fault_alloc=1 hugepages-64kB/stats/nr_anon=1 "
	      "hugepages-2048kB/nr_anon=1 hugepages-32kB/nr_anon=0\n"
	      "madvise A r+511 DONTNEED\nexpect A.r+0:511=order:9 A.r+511=none\n");
	ends(THP "touch A r+0\nmadvise A r+1 DONTNEED\nexpect A.r+0=thp\n", 0,
	     "expected A.r+0=thp, seen anon of order 9 in its page 0");
	ends(THP "touch A r+0\nexpect A.r=order:4\n", 0,
	     "seen anon of order 9, mapped by a PMD in its page 0");
	ends("proc A\nmmap A s 1\nread A s\nexpect A.s=huge_zero\n", 0, "seen zero in its page 0");
	ends(THP "expect A.r=order:14\n", SIM_EINPUT, "unknown state of a page 'order:14'");
	ends(THP "expect A.r=tph\n", SIM_EINPUT, "did you mean 'thp'?");
	ends(THP "expect hugepages-64kB/nr_anon=1\n", 0, "seen 0");
	ends("expect hugepages-64kB/nr_ann=1\n", 0, "no such file in this kernel");
}

static void marks_of_pages_are_expected(void **state)
{
	(void)state;
	holds(THP "touch A r+0\nexpect A.r=thp,exclusive,once,!dirty,refs:1,maps:1,writable\n"
		  "fork A B\nexpect A.r=!exclusive,!once,refs:2,maps:2,!writable\n"
		  "exit B\nmprotect A r+0:256 r\nexpect A.r=dirty,!lazyfree,order:9,refs:512\n"
		  "mprotect A r rw\nmlock A r\nexpect A.r=locked\n");
	holds(THP "read A r+0\nexpect A.r=huge_zero,as_file,!once,!lazyfree\n"
		  "mmap A s 1\nfill A s seed:1\nmadvise A s FREE\ndrain\nexpect "
		  "A.s=lazyfree,!as_file\n");
	ends(THP "touch A r+0\nexpect A.r=thp,dirty,!once\n", 0,
	     "seen anon of order 9, mapped by a PMD, !dirty, once in its page 0");
	ends(THP "touch A r+0\nexpect A.r=refs:2,maps:1\n", 0, "refs:1, maps:1 in its page 0");
	ends(THP "touch A r+0\nexpect A.r=maps:2\n", 0, "maps:1 in its page 0");
	ends(THP "expect A.r=thp,drity\n", SIM_EINPUT, "unknown state of a page 'thp,drity'");
	ends(THP "expect A.r=drity\n", SIM_EINPUT, "did you mean 'dirty'?");
	ends(THP "expect A.r=thp,\n", SIM_EINPUT, "unknown state of a page");
	ends(THP "expect A.r=refs:\n", SIM_EINPUT, "unknown state of a page");
}

static void guards_are_a_state(void **state)
{
	(void)state;
	holds("proc A\nmmap A r 4\nmadvise A r+1 GUARD_INSTALL\nexpect A.r+1=guard A.r+2=none\n"
	      "touch A r+1\nexpect result=-EFAULT\nmadvise A r GUARD_REMOVE\ntouch A r+1\n"
	      "expect result=0 A.r+1=anon\n");
	ends("proc A\nmmap A r 32T noreserve\nmadvise A r GUARD_INSTALL\n", SIM_EINPUT,
	     "would touch 8589934592 pages");
	ends("proc A\nmmap A r 4\nmadvise A r GUARD_INSTALL\nexpect same(A.r+0,A.r+0)\n", 0,
	     "no page in the first place");
}

static void a_script_sees_large_folios(void **state)
{
	struct outcome out;

	(void)state;
	run_text(&out,
		 "thp('enabled', 'always')\nproc('A')\nmmap('A', 'r', 512)\ntouch('A', 'r+0')\n"
		 "local p = page('A', 'r+9')\nassert(p.order == 9 and p.pmd_mapped)\n"
		 "assert(not p.huge_zero and process('A').anon_huge == 1)\n"
		 "assert(counter('hugepages-2048kB/nr_anon') == 1)\n"
		 "assert(split('A', 'r', {order = 2}) == 1 and page('A', 'r').order == 2)\n",
		 true);
	if (out.status)
		fail_msg("%s%s", out.error, out.failure);
	outcome_free(&out);
}

/* ---- observations ---- */

static void observations_tell_what_is_not_0(void **state)
{
	struct outcome out;

	(void)state;
	run_text(&out,
		 "thp hugepages-16kB/enabled always\n" THP "touch A r+0\nmmap A m 4\ntouch A m+0\n"
		 "munmap A m\nmmap A z 512\nread A z+0\n",
		 false);
	assert_int_equal(out.status, 0);
	assert_non_null(strstr(out.json, "\"large_folios\":true}\n"));
	assert_non_null(strstr(out.json, "\"hugepages-16kB/anon_fault_alloc\":1,"
					 "\"hugepages-16kB/nr_anon\":1}"));
	/* gone again: that is a change, too */
	assert_non_null(strstr(out.json, "\"hugepages-16kB/nr_anon\":0}"));
	assert_null(strstr(out.json, "hugepages-32kB"));
	assert_non_null(strstr(out.json, "\"A.r\":\"a1..512!o9^\""));
	assert_non_null(strstr(out.json, "\"A.m\":\"a513..516!o2\""));
	assert_non_null(strstr(out.json, "\"A.z\":\"z^*512\""));
	assert_non_null(strstr(out.json, "\"rss_anon\":512,\"anon_huge\":1"));
	outcome_free(&out);
}

/* 7.3 does not show the huge zero folio with the file bit. */
static void observations_mark_bits_that_the_state_does_not_tell(void **state)
{
	struct outcome out;

	(void)state;
	run_text(&out, "feature huge_zero_file_bit 0\n" THP "read A r+0\nmmap A s 1\nread A s\n",
		 false);
	assert_int_equal(out.status, 0);
	assert_non_null(strstr(out.json, "\"A.r\":\"z^b*512\""));
	assert_non_null(strstr(out.json, "\"A.s\":\"z\""));
	outcome_free(&out);
}

/* ---- maps ---- */

static void draws(const char *text, const char *wanted)
{
	struct outcome out;

	run_text(&out, text, false);
	if (out.status)
		fail_msg("%s%s", out.error, out.failure);
	if (strcmp(out.drawn, wanted))
		fail_msg("drawn is\n%s", out.drawn);
	outcome_free(&out);
}

static void a_map_has_a_character_for_each_page(void **state)
{
	(void)state;
	draws("proc A\nmmap A r 70\ntouch A r+1:2\nread A r+5\nmadvise A r+7 GUARD_INSTALL\n"
	      "fill A r+66:2 byte:1\nmadvise A r+66:2 MERGEABLE\nscan 2\nmap A r\nmap A r+65:3\n",
	      "A.r: 70 pages from 0x10000000000, a character for each page\n"
	      "               0  .aa..z.g........................................................\n"
	      "              64  ..kk..\n"
	      "               2  k  KSM page\n"
	      "               2  a  anonymous page of its own\n"
	      "               1  z  zero page\n"
	      "               1  g  guard\n"
	      "              64  .  nothing\n"
	      "A.r: 3 pages from 0x10000041000, a character for each page\n"
	      "              65  .kk\n"
	      "               2  k  KSM page\n"
	      "               1  .  nothing\n");
}

static void what_a_map_seldom_has_is_told_apart(void **state)
{
	(void)state;
	draws("thp hugepages-64kB/enabled always\nproc A\nmmap A m 16\ntouch A m+3\n"
	      "mmap A s 3\nthp hugepages-64kB/enabled never\nfill A s byte:1\ndrain\n"
	      "swapout A s+1\nmap A m\nmap A s\n",
	      "A.m: 16 pages from 0x10000000000, a character for each page\n"
	      "               0  mmmmmmmmmmmmmmmm\n"
	      "              16  m  folio of 4 pages or more, but no THP\n"
	      "A.s: 3 pages from 0x10000400000, a character for each page\n"
	      "               0  asa\n"
	      "               2  a  anonymous page of its own\n"
	      "               1  s  in swap\n");
	draws("ksm use_zero_pages 1\nproc A\nmmap A z 2\nfill A z zero\nmadvise A z MERGEABLE\n"
	      "scan 2\nmmap A f 2 file=byte:1\nread A f+1\nmap A z\nmap A f\n",
	      "A.z: 2 pages from 0x10000000000, a character for each page\n"
	      "               0  ZZ\n"
	      "               2  Z  zero page that KSM placed\n"
	      "A.f: 2 pages from 0x10000400000, a character for each page\n"
	      "               0  .f\n"
	      "               1  f  page of a file\n"
	      "               1  .  nothing\n");
}

static void equal_lines_are_drawn_once(void **state)
{
	(void)state;
	draws(THP "touch A r+0\nmap A r\n",
	      "A.r: 512 pages from 0x10000000000, a character for each page\n"
	      "               0  HHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHH\n"
	      "                  7 more lines of it\n"
	      "             512  H  THP, mapped by a PMD\n");
}

static void a_long_map_has_a_character_for_each_block(void **state)
{
	(void)state;
	draws("thp enabled always\nproc A\nmmap A r 32T noreserve\ntouch A r+512\nread A r+1024\n"
	      "touch A r+1536\nmadvise A r+1537 DONTNEED\ntouch A r+4294967296\nmap A r\n",
	      "A.r: 8,589,934,592 pages from 0x10000000000, a character for each 512\n"
	      "               0  .HYh............................................................\n"
	      "           32768  ................................................................\n"
	      "                  131,070 more lines of it\n"
	      "      4294967296  H...............................................................\n"
	      "      4295000064  ................................................................\n"
	      "                  131,070 more lines of it\n"
	      "           1,024  H  THP, mapped by a PMD\n"
	      "             512  Y  huge zero folio\n"
	      "             511  h  THP, mapped by PTEs\n"
	      "   8,589,932,545  .  nothing\n");
}

static void a_map_is_no_observation_of_its_own(void **state)
{
	struct outcome out;

	(void)state;
	run_text(&out, THP "munmap A @1:5\nmap A r\nexpect result=-EINVAL\n", false);
	assert_int_equal(out.status, 0);
	assert_int_equal(out.failed, 0);
	assert_non_null(strstr(out.json, "\"op\":\"map A r\"}\n"));
	outcome_free(&out);
	ends(THP "map A r+0:1K\n", SIM_EINPUT, "map needs whole pages");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(files_of_huge_pages_are_written),
	cmocka_unit_test(a_process_is_kept_from_huge_pages),
	cmocka_unit_test(folios_are_split_and_blocks_collapsed),
	cmocka_unit_test(only_shrink_all_drops_the_huge_zero_folio),
	cmocka_unit_test(a_policy_is_chosen_by_name),
	cmocka_unit_test(pages_are_told_by_what_they_are_of),
	cmocka_unit_test(marks_of_pages_are_expected),
	cmocka_unit_test(guards_are_a_state),
	cmocka_unit_test(a_script_sees_large_folios),
	cmocka_unit_test(observations_tell_what_is_not_0),
	cmocka_unit_test(observations_mark_bits_that_the_state_does_not_tell),
	cmocka_unit_test(a_map_has_a_character_for_each_page),
	cmocka_unit_test(what_a_map_seldom_has_is_told_apart),
	cmocka_unit_test(equal_lines_are_drawn_once),
	cmocka_unit_test(a_long_map_has_a_character_for_each_block),
	cmocka_unit_test(a_map_is_no_observation_of_its_own),
};

TEST_MAIN(tests)
