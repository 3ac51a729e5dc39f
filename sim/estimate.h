/*
 * estimate.h - what KSM would make of captured memory.
 *
 * Captures are read into an image (est_image.c): processes, their areas, and for each page
 * a content, which is a number: equal fingerprint, equal number. The image is then played
 * on the model, once for each set of knobs (est_play.c): a process for each captured one,
 * its memory at the same addresses, and virtual time. What comes out are the model's own
 * counters at several times. Who shares with whom is read from the model's pages
 * (est_share.c). est_report.c and est_json.c print.
 *
 * Contents are made from their numbers, so their order in the trees is not that of
 * memcmp() on the captured bytes, and neither are their checksums. Which pages are equal is
 * what counts: sums are the same, and times differ by the levels of the trees.
 *
 * Functions return 0 or SIM_EINPUT, SIM_EOUTPUT, KSMSIM_E...; est_image.why has the sentence.
 */
#ifndef SIM_ESTIMATE_H
#define SIM_ESTIMATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "capfile.h"
#include "probe.h"

#define EST_PAGE 4096u
#define EST_BLOCK_PAGES 512u
#define EST_WHY_BYTES 512
#define EST_NAME_BYTES 64
#define EST_NODES_MAX 16u

/* ---- the image ---- */

enum est_kind { EST_ANON, EST_HEAP, EST_STACK, EST_FILE, EST_GUEST, EST_KINDS };

struct est_area {
	uint64_t start, end; /* as captured */
	uint64_t vaddr;	     /* in the model; 0: not there, has no pages */
	size_t first, nr;    /* its pages */
	uint32_t process;
	uint32_t flags; /* enum sim_cap_vma_flag */
	uint32_t group; /* of mappings: est_image.groups */
	bool able;	/* the kernel would let KSM have it */
};

struct est_process {
	int64_t pid;
	char name[EST_NAME_BYTES];
	size_t first_area, nr_areas;
	size_t first_page, nr_pages;
	uint32_t forked_from; /* another process, or EST_NONE */
};

#define EST_NONE UINT32_MAX

/* The mappings of one name in one process. */
struct est_group {
	uint32_t process;
	enum est_kind kind;
	char name[EST_NAME_BYTES];
};

enum est_attr {
	EST_HUGE = 1 << 0,	/* of a folio of PMD size */
	EST_VOLATILE = 1 << 1,	/* other bytes in a later round */
	EST_INHERITED = 1 << 2, /* the frame of the process that this one was forked from */
};

#define EST_ZERO 0u	    /* the content of pages of zeros */
#define EST_GONE UINT32_MAX /* in changes: no page any more */

/* What a page became from one round to the next. */
struct est_change {
	uint32_t process, area;
	uint32_t page; /* of the area */
	uint32_t content;
	bool rewrite; /* there was a page before, too */
};

struct est_round {
	uint64_t after_ns; /* the round before */
	struct est_change *changes;
	size_t nr, capacity;
};

/* A page that a process had when it was forked, and its children still share; itself it has
 * another one now, or none. */
struct est_loan {
	uint32_t process, area;
	uint32_t page; /* of the area */
	uint32_t content;
	size_t own; /* page of the image, or SIZE_MAX */
};

/* Pages by what is known of them before anything is played. */
#define EST_COUNTS(COUNT)                                                                        \
	COUNT(pages, "resident anonymous pages")                                                 \
	COUNT(zero, "full of zeros")                                                             \
	COUNT(huge, "in huge pages")                                                             \
	COUNT(large, "in smaller large folios, or parts of huge ones: taken as single pages")    \
	COUNT(able, "in mappings that KSM could have")                                           \
	COUNT(mergeable, "in mappings that are mergeable now")                                   \
	COUNT(changed, "with other bytes in a later round")                                      \
	COUNT(forked, "still shared since a fork")                                               \
	COUNT(lonely, "shared with processes that are not here, or in a way that one fork does " \
		      "not explain: taken as single pages")                                      \
	COUNT(merged, "merged by the host's KSM")                                                \
	COUNT(swapped, "in swap: KSM does not see them")                                         \
	COUNT(zero_page, "mappings of the zero page: nothing to save")                           \
	COUNT(unread, "whose bytes are not known: taken as unique")                              \
	COUNT(tagged, "with memory tags: KSM does not merge them")                               \
	COUNT(outside, "in no mapping: left out")

struct est_counts {
#define COUNT(name, doc) uint64_t name;
	EST_COUNTS(COUNT)
#undef COUNT
};

struct est_prints;
struct est_frames;

struct est_image {
	struct est_process *processes;
	size_t nr_processes;
	struct est_area *areas;
	size_t nr_areas;
	struct est_group *groups;
	size_t nr_groups;
	/* pages, by process and address */
	uint32_t *page;	   /* of its area */
	uint32_t *content; /* number, EST_ZERO */
	uint8_t *attr;	   /* enum est_attr */
	uint8_t *nid;
	size_t nr_pages, capacity;
	uint32_t nr_contents;
	uint8_t *steady;     /* bit for each content: some page always holds it; with rounds */
	uint32_t max_copies; /* of any content but zeros */
	size_t nr_blocks;    /* huge pages */
	uint32_t nr_nodes;
	struct est_round *rounds; /* rounds[0] is unused */
	size_t nr_rounds;
	struct est_counts counts;
	struct est_loan *loans;
	size_t nr_loans;
	struct est_prints *prints; /* only while captures are read */
	struct est_frames *frames; /* likewise */
	/* of the first capture */
	struct sim_probe probe;
	struct sim_setting *knobs; /* names are files below /sys/kernel/mm */
	size_t nr_knobs;
	bool foreign, keyed;
	char host[EST_NAME_BYTES], kernel[EST_NAME_BYTES];
	char why[EST_WHY_BYTES];
};

/** est_image_add() - one capture more */
int est_image_add(struct est_image *image, struct sim_capfile *file);
/** est_image_end() - after the last one */
int est_image_end(struct est_image *image);
void est_image_free(struct est_image *image);

/* By captured address; NULL and SIZE_MAX: none */
struct est_area *est_find_area(const struct est_image *image, const struct est_process *p,
			       uint64_t vaddr);
size_t est_find_page(const struct est_image *image, const struct est_area *area, uint32_t page);

int est_fail(struct est_image *image, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Numbers for fingerprints, 1, 2, ...; 0: no memory */
struct est_prints *est_prints_new(void);
uint32_t est_prints_number(struct est_prints *prints, struct sim_print print);
/* A number that no fingerprint gets. */
uint32_t est_prints_unique(struct est_prints *prints);
uint32_t est_prints_nr(const struct est_prints *prints);
void est_prints_free(struct est_prints *prints);

/* ---- playing ---- */

enum est_assume { EST_ASSUME_ALL, EST_ASSUME_CAPTURED, EST_ASSUME_PIDS };

/* One set of knobs. */
struct est_case {
	char name[EST_NAME_BYTES];
	struct sim_setting knobs[4]; /* beyond those of the image and the user */
	size_t nr_knobs;
	const char *policy; /* or NULL */
	bool captured_only;
	const char *same_as; /* why nothing changes; NULL: it must be played */
};

struct est_plan {
	const struct est_image *image;
	const char *profile;
	const struct sim_setting *knobs, *features, *costs; /* of the user */
	size_t nr_knobs, nr_features, nr_costs;
	bool default_knobs; /* not those of the image */
	enum est_assume assume;
	const int64_t *pids;
	size_t nr_pids;
};

struct est_sample {
	uint64_t ns;
	int64_t count[KSMSIM_COUNT_NR];
};

enum { EST_AT_START, EST_AT_1_MIN, EST_AT_10_MIN, EST_AT_60_MIN, EST_AT_END, EST_SAMPLES };

struct est_result {
	struct est_sample at[EST_SAMPLES];
	uint64_t settled_ns; /* 99 % of the saving at the end was there; since ksmd began */
	uint64_t settled_cpu_ns;
	bool settled; /* it will stay so, as far as can be seen */
	bool no_mergeable;
	uint64_t begin_ns;
	uint64_t mergeable; /* pages */
	char why[EST_WHY_BYTES];
};

/* What to do with the machine at the end. */
typedef int (*est_look)(void *self, struct ksmsim *sim, const struct est_plan *plan,
			const uint32_t *pids);

int est_play(const struct est_plan *plan, const struct est_case *which, est_look look, void *self,
	     struct est_result *result);

/* Knobs as a run begins with them. */
struct est_knobs {
	uint64_t pages_to_scan, sleep_millisecs, use_zero_pages, max_page_sharing;
	uint64_t smart_scan; /* EST_NO_KNOB: this kernel has none */
	bool has_advisor, advises;
};
#define EST_NO_KNOB UINT64_MAX
int est_knobs_get(const struct est_plan *plan, struct est_knobs *knobs, char *why);

/* ---- what is compared ---- */

#define EST_CASES_MAX 24u

struct est_cases {
	struct est_case list[EST_CASES_MAX]; /* the first: as it is */
	struct est_result results[EST_CASES_MAX];
	char texts[EST_CASES_MAX][EST_NAME_BYTES]; /* of knobs */
	size_t nr;
};

/* The first case, and the usual others. */
void est_cases_fill(struct est_cases *cases, const struct est_plan *plan,
		    const struct est_knobs *knobs, bool others);
/* "NAME=VALUE[,NAME=VALUE...]"; false: wrong or too many */
bool est_cases_add(struct est_cases *cases, const char *text);
/**
 * est_cases_play() - all of them, @threads at a time; a case that is like the first is copied
 * @done: called after each, perhaps from another thread; or NULL
 */
int est_cases_play(struct est_cases *cases, const struct est_plan *plan, unsigned threads,
		   est_look look, void *self, void (*done)(void *self, size_t done),
		   void *done_self);

/* Figures of one result: bytes, but where it says otherwise */
int64_t est_saved(const struct est_result *result, unsigned at);
int64_t est_zero_bytes(const struct est_result *result, unsigned at);
int64_t est_sharing_bytes(const struct est_result *result, unsigned at);
int64_t est_metadata(const struct est_result *result);
int64_t est_delta(const struct est_result *result, enum ksmsim_counter counter);
/* per mille of a core until it settled, and after that */
uint64_t est_busy(const struct est_result *result);
uint64_t est_busy_after(const struct est_result *result);
/* copies of KSM pages, in hundredths a second, after it settled */
uint64_t est_breaks(const struct est_result *result);

/* ---- who shares with whom ---- */

/* Of one group, or of one process */
struct est_part {
	uint64_t pages, mergeable, merged, zeros;
	uint64_t alone, inside,
		across; /* merged pages: with copies in the group only; in this process, too; in others */
	uint64_t saved; /* pages, in 1/1024: each of n copies in f frames saves (n - f) / n */
	uint64_t twins,
		blocked; /* not merged, but there is another page of that content; of these volatile */
	uint64_t in_huge; /* not merged, of a huge page that is still one */
};

struct est_share {
	struct est_part *groups;    /* by est_image.groups */
	struct est_part *processes; /* by est_image.processes */
	uint32_t *column;	    /* of the matrix, by process */
	char (*names)[EST_NAME_BYTES];
	size_t nr_columns;
	uint64_t *matrix; /* [row][column]: merged pages of row whose content column has, too */
	struct est_part total;
	uint64_t max_page_sharing;
	char *why;
};

#define EST_COLUMNS_MAX 32u

/* An est_look; @self: struct est_share, zeroed, why and max_page_sharing set */
int est_share_look(void *self, struct ksmsim *sim, const struct est_plan *plan,
		   const uint32_t *pids);
void est_share_free(struct est_share *share);

/* ---- printing ---- */

struct est_report {
	const struct est_image *image;
	const struct est_plan *plan;
	const struct est_cases *cases;
	const struct est_share *share;
	const struct est_knobs *knobs;
	const char *profile;
	bool matrix;
	size_t rows; /* of the tables of mappings */
	const char *const *sources;
	size_t nr_sources;
};

void est_report_print(const struct est_report *report, FILE *out);
int est_report_json(const struct est_report *report, FILE *out);

#endif
