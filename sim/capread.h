/*
 * capread.h - pages of live processes: which there are, their state, their fingerprints.
 */
#ifndef SIM_CAPREAD_H
#define SIM_CAPREAD_H

#include "pagehash.h"

#define SIM_CAPREAD_PAGES 1024u /* of a unit */

/* What is the same for all processes. */
struct sim_capread {
	struct sim_pagehash hash;
	unsigned page_shift;
	int flags_fd, count_fd; /* kpageflags, kpagecount; -1: no privilege */
	unsigned block;		/* pages of the largest folio */
	bool every_anon_is_ksm; /* kpageflags says so (6.12 to 7.0): look for something else */
	bool has_scan;		/* PAGEMAP_SCAN */
	uint8_t only_node;	/* the one there is, or SIM_CAP_NO_NODE: ask for each page */
};

struct sim_capread_process {
	int64_t pid;
	int mem, pagemap;
};

/* Some pages in a row. */
struct sim_capread_unit {
	const struct sim_capread_process *process;
	uint64_t vaddr;
	uint32_t nr;
	uint32_t vma;	   /* for the caller */
	bool zero, pmd;	   /* what PAGEMAP_SCAN knows: maps the zero page; by PMD entries */
	bool maybe_merged; /* the VMA has KSM pages */
	/* out: */
	struct sim_cap_page *pages; /* room for nr */
	uint32_t nr_pages;
	uint32_t nr_unread;   /* resident, but could not be read */
	uint32_t nr_vanished; /* were there when we looked, not any more when they had been read */
	uint32_t nr_ksm;
	int error; /* errno: nothing was read */
};

struct sim_capread_units {
	struct sim_capread_unit *units;
	size_t nr;
	uint64_t pages;
};

void sim_capread_open(struct sim_capread *reader, const struct sim_pagehash *hash);
void sim_capread_close(struct sim_capread *reader);

/**
 * sim_capread_find() - what is resident or in swap, as units
 * @like: process, vma and maybe_merged of the units
 * @at: in: from where; out: how far it got: @end, or less when @enough pages were found
 * Returns: 0 or an errno. Pages that are not there are neither touched nor walked over.
 */
int sim_capread_find(struct sim_capread *reader, const struct sim_capread_unit *like, uint64_t *at,
		     uint64_t end, uint64_t enough, struct sim_capread_units *units);

/** sim_capread_run() - read all units, on @threads threads; 0 or ENOMEM */
int sim_capread_run(const struct sim_capread *reader, struct sim_capread_units *units,
		    unsigned threads);

#endif
