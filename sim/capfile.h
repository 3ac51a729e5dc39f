/*
 * capfile.h - the capture file: what the memory of processes looked like.
 *
 * A capture is a SQLite file with the processes, their VMAs and one record for each
 * page of anonymous memory, for one or several rounds. No contents are stored, only
 * a 128-bit fingerprint of each page (XXH3-128 of its bytes) and the checksum that
 * KSM would compute. Equal fingerprints are taken for equal bytes.
 *
 * The trees of KSM need an order of contents. The kernel's is that of memcmp(), and
 * a capture does not know it; sim_print_compare() is a total order to use instead.
 * Every figure that depends on which pages are equal stays the same; the shape of
 * the trees, and so the exact number of nodes on a path, is that of other contents.
 *
 * Reading: sim_capfile_open(), then per process and round sim_capfile_vmas() and a
 * cursor, which gives the pages in address order, a block of some thousand at a time:
 * nothing is ever held whole. Two cursors may be open at once.
 *
 *     struct sim_cap_cursor *cursor;
 *     struct sim_cap_page page;
 *     int error = sim_cap_cursor_open(file, process, round, SIM_CAP_PAGES, &cursor);
 *
 *     while (!error && (error = sim_cap_cursor_next(cursor, &page)) == 1)
 *             ...
 *     sim_cap_cursor_close(cursor);
 *
 * Functions return 0 (the cursor also 1), SIM_EINPUT for a file that is no capture,
 * SIM_EOUTPUT for one that cannot be written, or KSMSIM_ENOMEM; the handle then has the
 * sentence. A file is not trusted: whatever is in it, reading ends with an answer.
 */
#ifndef SIM_CAPFILE_H
#define SIM_CAPFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim.h"

#define SIM_CAP_VERSION 1		      /* PRAGMA user_version */
#define SIM_CAP_APPLICATION 0x4b534d43	      /* PRAGMA application_id, "KSMC" */
#define SIM_CAP_ROUNDS_MAX 1000u	      /* rounds of a file */
#define SIM_CAP_PAGES_MAX (UINT64_C(1) << 51) /* page numbers are below */
#define SIM_CAP_NO_NODE 0xffu

struct sim_print {
	uint64_t high, low;
};

/* A total order that has nothing to do with memcmp() of the contents; see above. */
static inline int sim_print_compare(struct sim_print a, struct sim_print b)
{
	if (a.high != b.high)
		return a.high < b.high ? -1 : 1;
	if (a.low != b.low)
		return a.low < b.low ? -1 : 1;
	return 0;
}

/* What is known of a page. */
enum sim_cap_flag {
	SIM_CAP_HASHED = 1 << 0,    /* print and checksum are known */
	SIM_CAP_ZERO = 1 << 1,	    /* all bytes are zero; HASHED as well */
	SIM_CAP_ZEROPAGE = 1 << 2,  /* maps the zero page or the huge zero folio; ZERO as well */
	SIM_CAP_KSM = 1 << 3,	    /* a KSM page */
	SIM_CAP_EXCLUSIVE = 1 << 4, /* mapped exactly once */
	SIM_CAP_PMD = 1 << 5,	    /* mapped by a PMD entry */
	SIM_CAP_SWAPPED = 1 << 6,   /* not resident: in swap, or about to be migrated */
	SIM_CAP_SWAPCACHE = 1 << 7, /* resident, with a copy in swap */
	SIM_CAP_MLOCKED = 1 << 8,
	SIM_CAP_LAZYFREE = 1 << 9, /* MADV_FREE, and not written since */
	SIM_CAP_TAGGED = 1 << 10,  /* arm64: has memory tags */
	SIM_CAP_UNREAD = 1 << 11,  /* resident, but could not be read: not HASHED */
	SIM_CAP_MOVED = 1 << 12,   /* the entry changed while the page was read */
	SIM_CAP_GONE = 1 << 13,	   /* only from SIM_CAP_CHANGES: no such page any more */
	SIM_CAP_FLAGS = (1 << 14) - 1,
};

/* A page of anonymous memory that is resident or in swap. */
struct sim_cap_page {
	uint64_t vaddr;
	struct sim_print print;
	uint64_t pfn; /* 0: not known (no privilege, an import) or none */
	uint32_t checksum;
	uint32_t mapcount; /* 0: not known; 1 where EXCLUSIVE */
	uint16_t flags;	   /* enum sim_cap_flag */
	uint8_t order;	   /* of the folio; its head is pfn & ~(2^order - 1) */
	uint8_t nid;	   /* NUMA node, or SIM_CAP_NO_NODE */
};

/* A figure that is not known. */
#define SIM_CAP_UNKNOWN INT64_C(-1)

/* Figures of a process in a round: FIGURE(name, doc). */
#define SIM_CAP_FIGURES(FIGURE)                                                \
	FIGURE(rss_anon, "bytes of resident anonymous memory (RssAnon)")       \
	FIGURE(rss_file, "bytes of resident file pages (RssFile)")             \
	FIGURE(rss_shmem, "bytes of resident shared memory (RssShmem)")        \
	FIGURE(swap, "bytes of anonymous memory in swap (VmSwap)")             \
	FIGURE(minflt, "minor page faults so far")                             \
	FIGURE(ksm_merging_pages, "pages merged (ksm_stat)")                   \
	FIGURE(ksm_zero_pages, "KSM zero pages (ksm_stat)")                    \
	FIGURE(ksm_rmap_items, "items (ksm_stat)")                             \
	FIGURE(ksm_process_profit, "profit in bytes (ksm_stat)")               \
	FIGURE(ksm_merge_any, "1: prctl(PR_SET_MEMORY_MERGE) (ksm_stat)")      \
	FIGURE(ksm_mergeable, "1: has mergeable memory (ksm_stat)")            \
	FIGURE(pages_unread, "pages that were resident and could not be read") \
	FIGURE(pages_vanished, "pages that were gone before they were read")

struct sim_cap_figures {
#define FIGURE(name, doc) int64_t name;
	SIM_CAP_FIGURES(FIGURE)
#undef FIGURE
};

struct sim_cap_process {
	int64_t pid, ppid, uid; /* SIM_CAP_UNKNOWN where not known */
	uint64_t started;	/* clock ticks after boot; with the pid it tells processes apart */
	const char *name;	/* comm, or the name of the imported file */
	const char *exe, *cgroup;
};

/* Flags of a VMA that mean something here; the text has all of them. */
enum sim_cap_vma_flag {
	SIM_CAP_VMA_READ = 1 << 0,	  /* rd */
	SIM_CAP_VMA_WRITE = 1 << 1,	  /* wr */
	SIM_CAP_VMA_EXEC = 1 << 2,	  /* ex */
	SIM_CAP_VMA_SHARED = 1 << 3,	  /* sh or ms */
	SIM_CAP_VMA_MERGEABLE = 1 << 4,	  /* mg */
	SIM_CAP_VMA_HUGEPAGE = 1 << 5,	  /* hg */
	SIM_CAP_VMA_NOHUGEPAGE = 1 << 6,  /* nh */
	SIM_CAP_VMA_LOCKED = 1 << 7,	  /* lo */
	SIM_CAP_VMA_IO = 1 << 8,	  /* io or pf: no ordinary pages */
	SIM_CAP_VMA_MIXED = 1 << 9,	  /* mm */
	SIM_CAP_VMA_HUGETLB = 1 << 10,	  /* ht */
	SIM_CAP_VMA_DONTFORK = 1 << 11,	  /* dc */
	SIM_CAP_VMA_WIPEONFORK = 1 << 12, /* wf */
	SIM_CAP_VMA_DONTEXPAND = 1 << 13, /* de */
	SIM_CAP_VMA_GROWSDOWN = 1 << 14,  /* gd */
	SIM_CAP_VMA_MTE = 1 << 15,	  /* mt: may hold memory tags */
	SIM_CAP_VMA_UFFD = 1 << 16,	  /* um, uw or ui */
	SIM_CAP_VMA_DROPPABLE = 1 << 17,  /* dp */
	SIM_CAP_VMA_UNKNOWN = 1 << 18, /* an import: the flags but READ, WRITE, EXEC are unknown */
};

struct sim_cap_vma {
	uint64_t start, end; /* bytes */
	uint64_t offset;     /* in the file */
	uint64_t device, inode;
	uint32_t flags;		/* enum sim_cap_vma_flag */
	const char *flags_text; /* as VmFlags of smaps has them: "rd wr mr mw me ac" */
	const char *name;	/* path, "[heap]", "[stack]", "[anon:...]", "" */
};

/* Bits of a text of VmFlags. */
uint32_t sim_cap_vma_flags(const char *text);

struct sim_cap_round {
	uint64_t since_ns;    /* start of the first round */
	uint64_t duration_ns; /* of this one */
};

/* What could not be read. */
struct sim_cap_trouble {
	uint32_t round;
	int64_t pid; /* or SIM_CAP_UNKNOWN */
	const char *text;
};

/*
 * Keys of the meta table. Files written here have all of them; others may follow, like
 * "sys/ksm/pages_to_scan": the files of /sys/kernel/mm, as they were.
 */
#define SIM_CAP_META_SOURCE "source"	     /* "live", "elf", "raw", "hashes" */
#define SIM_CAP_META_PAGE "page_bytes"	     /* base page */
#define SIM_CAP_META_PRINTS "prints"	     /* "xxh3-128", "xxh3-128-keyed", "foreign" */
#define SIM_CAP_META_CHECKSUMS "checksums"   /* "xxh64", or "print": low half of the print's low */
#define SIM_CAP_META_ZERO_PRINT "zero_print" /* of a page of zeros, 32 hex digits; "": none known */
#define SIM_CAP_META_ZERO_CHECKSUM "zero_checksum"
#define SIM_CAP_META_HOST "host"
#define SIM_CAP_META_KERNEL "kernel" /* uname -r */
#define SIM_CAP_META_ARCH "arch"     /* uname -m */
#define SIM_CAP_META_CLOCK "clock"   /* seconds since 1970 at the first round */
#define SIM_CAP_META_INTERVAL "interval_ns"
#define SIM_CAP_META_COMMAND "command" /* what made the file */
#define SIM_CAP_META_TOOL "tool"       /* "ksmsim VERSION" */

/* ---- reading ---- */

struct sim_capfile;
struct sim_cap_cursor;

/**
 * sim_capfile_open() - a capture
 * @why, @size: the sentence of an error
 * @out: to be closed with sim_capfile_close()
 */
int sim_capfile_open(const char *path, char *why, size_t size, struct sim_capfile **out);

/** sim_capfile_open_bytes() - the same for a file in memory, which must stay; @name for messages */
int sim_capfile_open_bytes(const void *bytes, size_t length, const char *name, char *why,
			   size_t size, struct sim_capfile **out);
void sim_capfile_close(struct sim_capfile *file); /* NULL is allowed; cursors first */
const char *sim_capfile_error(const struct sim_capfile *file);

/* All strings belong to the file. */
const char *sim_capfile_meta(const struct sim_capfile *file, const char *key); /* NULL: none */
/* the i-th pair in order of keys; false past the last */
bool sim_capfile_meta_at(const struct sim_capfile *file, size_t i, const char **key,
			 const char **value);
uint32_t sim_capfile_page_bytes(const struct sim_capfile *file);
bool sim_capfile_is(const struct sim_capfile *file, const char *key, const char *value);

uint32_t sim_capfile_nr_rounds(const struct sim_capfile *file); /* at least 1 */
const struct sim_cap_round *sim_capfile_round(const struct sim_capfile *file, uint32_t round);
uint32_t sim_capfile_nr_processes(const struct sim_capfile *file);
const struct sim_cap_process *sim_capfile_process(const struct sim_capfile *file, uint32_t process);
/* NULL: the process was not read in this round */
const struct sim_cap_figures *sim_capfile_figures(const struct sim_capfile *file, uint32_t process,
						  uint32_t round);
size_t sim_capfile_nr_troubles(const struct sim_capfile *file);
const struct sim_cap_trouble *sim_capfile_trouble(const struct sim_capfile *file, size_t i);

/**
 * sim_capfile_vmas() - the VMAs of a process in a round, in address order
 * @vmas: out: an array for the caller to free(); NULL if there is none
 */
int sim_capfile_vmas(struct sim_capfile *file, uint32_t process, uint32_t round,
		     struct sim_cap_vma **vmas, size_t *nr);

enum sim_cap_view {
	SIM_CAP_PAGES,	 /* all pages of the round */
	SIM_CAP_CHANGES, /* what is not as in the round before: new and changed pages, GONE ones */
};

/**
 * sim_cap_cursor_open() - the pages of a process in address order
 * @round: one that the process was read in; otherwise the last such before it is shown
 *
 * The round before is the last one before @round that the process was read in; in its first
 * round every page is a change. A page whose frame, flags or map count are other ones has
 * changed, too: compare prints for contents.
 */
int sim_cap_cursor_open(struct sim_capfile *file, uint32_t process, uint32_t round,
			enum sim_cap_view view, struct sim_cap_cursor **out);
/* 1: a page; 0: no more; else an error */
int sim_cap_cursor_next(struct sim_cap_cursor *cursor, struct sim_cap_page *page);
void sim_cap_cursor_close(struct sim_cap_cursor *cursor); /* NULL is allowed */

/* ---- writing ---- */

struct sim_capwriter;

/**
 * sim_capwriter_open() - begin a capture
 * @near: a path; what is written before the end goes to the directory of it, under no name,
 * so that whatever ends the program leaves nothing behind
 */
int sim_capwriter_open(const char *near, char *why, size_t size, struct sim_capwriter **out);
const char *sim_capwriter_error(const struct sim_capwriter *writer);

/*
 * After the first error nothing more is written, and every further call returns it.
 * The meta keys PAGE, CHECKSUMS and both ZERO ones come before the first page.
 */
int sim_capwriter_meta(struct sim_capwriter *writer, const char *key, const char *value);
/* the next round, or what is known by now of the last one */
int sim_capwriter_round(struct sim_capwriter *writer, uint32_t round,
			const struct sim_cap_round *what);
/* @process: out: 0, 1, ... */
int sim_capwriter_process(struct sim_capwriter *writer, const struct sim_cap_process *what,
			  uint32_t *process);
/* per process and round: VMAs, pages, figures. @vmas in address order. */
int sim_capwriter_vmas(struct sim_capwriter *writer, uint32_t process, uint32_t round,
		       const struct sim_cap_vma *vmas, size_t nr);
/* Pages in address order between begin and end; only what changed is stored. */
int sim_capwriter_pages_begin(struct sim_capwriter *writer, uint32_t process, uint32_t round);
int sim_capwriter_page(struct sim_capwriter *writer, const struct sim_cap_page *page);
int sim_capwriter_pages_end(struct sim_capwriter *writer);
int sim_capwriter_figures(struct sim_capwriter *writer, uint32_t process, uint32_t round,
			  const struct sim_cap_figures *figures);
int sim_capwriter_trouble(struct sim_capwriter *writer, const struct sim_cap_trouble *trouble);

/** sim_capwriter_commit() - the whole file to @out; then only sim_capwriter_free() */
int sim_capwriter_commit(struct sim_capwriter *writer, FILE *out);
/* NULL is allowed. */
void sim_capwriter_free(struct sim_capwriter *writer);

#endif
