/*
 * pgtable.h - floor 3: multi-level page tables and the two walkers.
 *
 * Addresses are page numbers (vpn = vaddr >> page_shift) from here up.
 *
 * Real levels, adaptive storage: an upper table is a sorted list of up to 8
 * children (one cache line) or all its entries with a bitmap of the used ones;
 * a PTE table ("leaf") is one cache line with up to 6 entries or a dense array
 * with bit planes. A table exists in the model exactly when the kernel has it,
 * also when it is empty: nr_tables is the kernel's count, and what a walk reads
 * is computed from the shape, never by visiting empty entries.
 *
 * A PMD entry that maps a THP is the leaf below it in its huge form: the PTE table
 * that the kernel deposits with such an entry is that leaf, and counted as a table.
 * Readers see it as all its PTEs, one after the other, each with the bits of the
 * PMD; writers must split it first (ks_pmd_split()) or change it as a whole.
 *
 * Each leaf has an id for life and carries one word of the floor above
 * (`upper`). An entry can be *watched* by that floor: a software bit of the
 * entry that any change of the entry clears, after ringing the bell.
 */
#ifndef KS_PGTABLE_H
#define KS_PGTABLE_H

#include "frame.h"

#define KS_LEVELS_MAX 5u

struct ks_geometry {
	const char *name;
	unsigned page_shift, user_va_bits, levels;
	unsigned bits[KS_LEVELS_MAX];  /* index bits, [0] top .. [levels - 1] PTE */
	unsigned shift[KS_LEVELS_MAX]; /* of an entry at that level, in vpn bits; PTE: 0 */
};

const struct ks_geometry *ks_geometry_find(const char *name);

/* The bits of an entry; each has a plane in a leaf. An entry without PRESENT and NONPRESENT is none. */
enum ks_pte_plane {
	KS_PTE_PRESENT,
	KS_PTE_WRITE,
	KS_PTE_DIRTY,
	KS_PTE_YOUNG,
	KS_PTE_SPECIAL,	   /* maps the zero page; with DIRTY: KSM placed it (ZERO_TRACKING) */
	KS_PTE_FILE,	   /* maps a page of a file or shared object: never anonymous */
	KS_PTE_NONPRESENT, /* swap entry: pfn is the swap slot; WRITE plane unused, DIRTY: exclusive */
	KS_PTE_WATCHED,	   /* software: the floor above wants to hear of a change */
	KS_PTE_SOFT,	   /* soft-dirty: changed since clear_refs; swap entries have it, too */
	KS_PTE_PLANES
};
#define KS_PTE(plane) (1u << KS_PTE_##plane)
/* What pte_mkdirty() sets. The processor itself sets DIRTY only. */
#define KS_PTE_MKDIRTY (KS_PTE(DIRTY) | KS_PTE(SOFT))

struct ks_pte {
	uint32_t pfn;  /* frame, file page or swap slot */
	uint32_t bits; /* KS_PTE(...) or'ed; 0: none */
};

#define KS_LEAF_SMALL 6u

struct ks_leaf {
	uint64_t vpn;	/* of entry 0 */
	uint32_t upper; /* word of the floor above; 0 at first, never touched here after */
	uint16_t nr;	/* entries that are not none; huge: all */
	bool dense;
	bool huge; /* a PMD entry maps a huge page; never dense then */
	union {
		struct {
			uint32_t pfn[KS_LEAF_SMALL];
			uint16_t slot[KS_LEAF_SMALL]; /* ascending */
			uint16_t bits[KS_LEAF_SMALL]; /* KS_PTE(...) */
		} small;
		struct {
			uint32_t pfn;  /* of the first page */
			uint32_t bits; /* KS_PTE(...), without WATCHED */
			bool watched;  /* the bell rings for any page of it */
		} pmd;
		struct {
			struct ks_dense *all;
			uint32_t all_id; /* of `all` in its pool */
		};
	};
};

_Static_assert(sizeof(struct ks_leaf) == 64, "a small leaf is one cache line");

/* pfn[entries], then the planes, entries / 64 words each: see the inlines. */
struct ks_dense {
	uint32_t entries;
	uint32_t words;
	uint64_t plane[]; /* KS_PTE_PLANES * words, then the pfns */
};

static inline uint64_t *ks_dense_plane(struct ks_dense *dense, enum ks_pte_plane plane)
{
	return dense->plane + (size_t)plane * dense->words;
}

static inline uint32_t *ks_dense_pfn(struct ks_dense *dense)
{
	return (uint32_t *)(void *)(dense->plane + (size_t)KS_PTE_PLANES * dense->words);
}

/* All tables of a machine; each process has a struct ks_pgtable. */
struct ks_tables {
	const struct ks_env *env; /* for assertions where no env comes in */
	const struct ks_geometry *geo;
	struct ks_pool leaves;		    /* struct ks_leaf */
	struct ks_pool dense;		    /* struct ks_dense of the geometry's size */
	struct ks_pool nodes;		    /* upper tables, small form */
	struct ks_pool full[KS_LEVELS_MAX]; /* upper tables, full form, by level (sizes differ) */
	/* the bell: a watched entry is about to change or go */
	void (*watched)(void *self, void *mm, uint64_t vpn, struct ks_leaf *leaf);
	void *self;
};

struct ks_pgtable {
	void *mm;			   /* handed to the bell */
	uint32_t root;			   /* node id; the top table exists from the start */
	uint64_t nr_tables[KS_LEVELS_MAX]; /* by level; [levels - 1] is the kernel's nr_ptes */
};

void ks_tables_init(struct ks_env *env, struct ks_tables *tables, const struct ks_geometry *geo);
void ks_tables_destroy(struct ks_env *env, struct ks_tables *tables);
void ks_pgtable_init(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt, void *mm);
/* frees all tables; entries must have been zapped */
void ks_pgtable_destroy(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt);

struct ks_pte ks_pte_get(const struct ks_tables *tables, const struct ks_pgtable *pt, uint64_t vpn);
/* Sets (or with bits 0 clears) the entry, which is not of a huge leaf, building tables as needed (not for a clear). Rings the
 * bell first if the old entry was watched; the new one is watched only if @pte says so. */
void ks_pte_set(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt, uint64_t vpn,
		struct ks_pte pte);
/* Rings the bell and clears the watch, if there is one: the page's content changes in place. */
void ks_pte_unwatch(struct ks_tables *tables, struct ks_pgtable *pt, uint64_t vpn);
/* Makes sure the PTE table for @vpn exists (a fault allocates it even if it then fails). */
void ks_pgtable_populate(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt,
			 uint64_t vpn);
/* The leaf that holds @vpn, or 0. */
uint32_t ks_leaf_find(const struct ks_tables *tables, const struct ks_pgtable *pt, uint64_t vpn);
/* Has @vpn a PMD entry, be it empty? */
bool ks_pmd_table_exists(const struct ks_tables *tables, const struct ks_pgtable *pt, uint64_t vpn);

static inline struct ks_leaf *ks_leaf(const struct ks_tables *tables, uint32_t id)
{
	return ks_pool_at(&tables->leaves, id);
}

/* Entry @slot of a leaf (bits 0 if none). */
struct ks_pte ks_leaf_get(const struct ks_leaf *leaf, unsigned slot);
/* First slot >= @slot whose entry is not none, or -1. */
int ks_leaf_next(const struct ks_leaf *leaf, unsigned slot);
/* Set or clear the watch of a present entry, without ringing. A huge leaf has one watch for all: it
 * rings for whatever page changes, only setting works, and ks_leaf_get() does not show it. */
void ks_leaf_watch(struct ks_leaf *leaf, unsigned slot, bool on);
/* The processor marks a present entry, or the huge page, as accessed. Does not ring: a watch is not
 * for that. */
void ks_leaf_access(struct ks_leaf *leaf, unsigned slot);

/* ---- PMD entries that map a huge page ---- */

/* The huge leaf of @vpn, or NULL. */
struct ks_leaf *ks_pmd_find(const struct ks_tables *tables, const struct ks_pgtable *pt,
			    uint64_t vpn);
/* Maps a huge page at @vpn (aligned): @pte is its first page. Where there is a table its entries are
 * none, or it is huge already; otherwise one is made (the deposit). Rings for every page. */
void ks_pmd_set(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt, uint64_t vpn,
		struct ks_pte pte);
/* New bits for the huge page that @leaf maps. Rings for every page. */
void ks_pmd_change(struct ks_tables *tables, struct ks_pgtable *pt, struct ks_leaf *leaf,
		   uint32_t bits);
/* The deposited table takes over: entry i maps @first.pfn + i * @step. Rings for every page. */
void ks_pmd_split(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt, uint64_t vpn,
		  struct ks_pte first, uint32_t step);
/* The huge page at @vpn is unmapped and the deposited table freed; upper tables stay. */
void ks_pmd_clear(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt,
		  uint64_t vpn);

/*
 * free_pgtables(): after the entries of [start, end) were zapped, free the
 * tables that no VMA needs any more. floor and ceiling (vpn; 0 as ceiling means
 * the end of user space) are the end of the VMA before and the start of the VMA
 * behind. A table goes iff the whole span of the entry that points to it lies in
 * [floor, ceiling). Source: mm/memory.c:free_pgd_range().
 */
void ks_pgtable_free_range(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt,
			   uint64_t start, uint64_t end, uint64_t floor, uint64_t ceiling);

/*
 * The range walker: yields every leaf that overlaps [vpn, end), ascending, and
 * counts the entries that the kernel's walk_page_range_vma() reads in the tables
 * *above* the leaves; the caller counts PTEs. Holes are jumped at every level.
 * The walk stays valid while entries of the current leaf change and while tables
 * are added below; not while tables are freed.
 */
struct ks_pgnode; /* an upper table: pgnode.h */

struct ks_pgnode;

struct ks_walk {
	const struct ks_tables *tables;
	const struct ks_pgtable *pt;
	uint64_t vpn, end;	      /* still to do */
	uint64_t entries;	      /* read so far, all upper levels */
	const struct ks_pgnode *lone; /* table of the current leaf, if it was not entered */
	uint32_t leaf;		      /* current leaf id */
	unsigned first, last;	      /* slots of it inside the range, inclusive */
	unsigned level; /* of the table to go on in; the rest is its path from the top */
	struct {
		const struct ks_pgnode *node;
		uint64_t vpn;	     /* of its entry 0 */
		uint16_t next, last; /* entries still to read, inclusive; next > last: none */
	} at[KS_LEVELS_MAX - 1];
};

void ks_walk_start(struct ks_walk *walk, const struct ks_tables *tables,
		   const struct ks_pgtable *pt, uint64_t vpn, uint64_t end);
bool ks_walk_leaf(struct ks_walk *walk);
/* The next leaves at once while they are lone ones, and back to one of them: see pgwalk.c. */
unsigned ks_walk_lone(struct ks_walk *walk, uint32_t *leaves, unsigned max);
void ks_walk_back(struct ks_walk *walk, const uint32_t *leaves, unsigned nr, unsigned at);

/* Upper entries that a walk restarted at @vpn reads again after the last one stopped in @last_vpn:
 * one for each level above the PTEs whose entry covers both. */
unsigned ks_walk_restart(const struct ks_geometry *geo, uint64_t last_vpn, uint64_t vpn);

/*
 * What one full pass over [vpn, end) reads, all levels, from the shape alone:
 * the range walker (restarting after each present page, as KSM's scan does) and
 * a look-up of each address. Costs O(tables), never O(addresses).
 */
void ks_walk_cost(const struct ks_tables *tables, const struct ks_pgtable *pt, uint64_t vpn,
		  uint64_t end, struct ksmsim_walk *out);

uint64_t ks_tables_memory(const struct ks_tables *tables);
/* counts, order, planes, nr_tables; false if broken */
bool ks_pgtable_check(const struct ks_tables *tables, const struct ks_pgtable *pt);

#endif
