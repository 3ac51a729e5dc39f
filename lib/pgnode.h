/*
 * pgnode.h - floor 3, private: upper page tables, shared by pgtable.c, pgleaf.c and pgwalk.c.
 *
 * An upper table keeps its id for life. It starts as a sorted list of up to
 * KS_PGNODE_SMALL children in one cache line; the next child moves them into a
 * body with all entries and a bitmap of the used ones, and from then on the
 * node only points there. A table that grew does not shrink back: what it read
 * like to a walk never depended on its form.
 *
 * Children of level `levels - 2` are leaf ids, all others node ids; 0 is none.
 */
#ifndef KS_PGNODE_H
#define KS_PGNODE_H

#include "pgtable.h"

#define KS_PGNODE_SMALL 8u

/* words of the bitmap, then the children: see the inline. */
struct ks_pgfull {
	uint32_t entries;
	uint32_t words;
	uint64_t used[];
};

struct ks_pgnode {
	uint64_t vpn;  /* of entry 0 */
	uint32_t body; /* full: id of `all` in its pool */
	uint16_t nr;   /* children */
	uint8_t level;
	bool full;
	union {
		struct {
			uint32_t child[KS_PGNODE_SMALL];
			uint16_t index[KS_PGNODE_SMALL]; /* ascending */
		} small;
		struct ks_pgfull *all;
	};
};

_Static_assert(sizeof(struct ks_pgnode) == 64, "an upper table is one cache line");

static inline struct ks_pgnode *ks_pgnode_at(const struct ks_tables *tables, uint32_t id)
{
	return ks_pool_at(&tables->nodes, id);
}

static inline uint32_t *ks_pgfull_child(struct ks_pgfull *all)
{
	return (uint32_t *)(void *)(all->used + all->words);
}

/* Number of entries of a table of this level, less one. */
static inline uint64_t ks_pgtable_mask(const struct ks_geometry *geo, unsigned level)
{
	return (UINT64_C(1) << geo->bits[level]) - 1;
}

/* Which entry of a table of this level covers @vpn. */
static inline unsigned ks_pgtable_index(const struct ks_geometry *geo, unsigned level, uint64_t vpn)
{
	return (unsigned)((vpn >> geo->shift[level]) & ks_pgtable_mask(geo, level));
}

/* Pages under one table of this level. */
static inline uint64_t ks_pgtable_span(const struct ks_geometry *geo, unsigned level)
{
	return UINT64_C(1) << (geo->shift[level] + geo->bits[level]);
}

/* The child at @index, or 0. */
static inline uint32_t ks_pgnode_child(const struct ks_pgnode *node, unsigned index)
{
	if (node->full)
		return ks_pgfull_child(node->all)[index];
	for (unsigned k = 0; k < node->nr; k++)
		if (node->small.index[k] == index)
			return node->small.child[k];
	return 0;
}

/* The first child at or behind @from, or 0; *index says where. */
static inline uint32_t ks_pgnode_next(const struct ks_pgnode *node, unsigned from, unsigned *index)
{
	if (!node->full) {
		for (unsigned k = 0; k < node->nr; k++) {
			if (node->small.index[k] < from)
				continue;
			*index = node->small.index[k];
			return node->small.child[k];
		}
		return 0;
	}
	unsigned word = from / 64;
	if (word >= node->all->words)
		return 0;
	uint64_t used = node->all->used[word] & (UINT64_MAX << (from % 64));
	while (!used) {
		if (++word == node->all->words)
			return 0;
		used = node->all->used[word];
	}
	*index = word * 64 + (unsigned)__builtin_ctzll(used);
	return ks_pgfull_child(node->all)[*index];
}

/* ks_pgtable_populate(), and the id of the leaf. */
uint32_t ks_pgnode_populate(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt,
			    uint64_t vpn);
/* counts, order and planes of one leaf */
bool ks_leaf_check(const struct ks_tables *tables, const struct ks_leaf *leaf);

#endif
