/*
 * pgwalk.c - floor 3: the range walker and what full passes cost.
 *
 * The kernel's walker reads a table from the first entry that the range
 * overlaps to the last, one by one; a none entry costs one read and skips all
 * beneath. Here the next child comes from the list or bitmap of the table, and
 * the reads in between from the distance:
 *
 *	table   . . . A . . . . B . .        from . to A: 4 reads, A to B: 5,
 *	        ^range start                 behind B to the end: 2
 *
 * Of each table on its path the walker keeps which entry to read next: so a
 * table may grow, in number and in form, while the walk rests on a leaf, and
 * going on after a leaf never waits for what was read on the way down to it.
 *
 * What could surprise: a walk that ends on a leaf has not read the entries
 * behind it. KSM's scan stops at each page and starts a new walk behind it,
 * which re-reads the entries that cover both: ks_walk_restart().
 */
#include "pgnode.h"

/* What a walk meets next in a table, and which child comes then (0: not known). */
struct step {
	uint32_t child, follow;
	unsigned index;
};

/* The first child at or behind entry @from; false if there is none. */
static inline bool step_to(const struct ks_pgnode *node, unsigned from, struct step *step)
{
	if (!node->full) {
		for (unsigned k = 0; k < node->nr; k++) {
			if (node->small.index[k] < from)
				continue;
			step->index = node->small.index[k];
			step->child = node->small.child[k];
			step->follow = k + 1 < node->nr ? node->small.child[k + 1] : 0;
			return true;
		}
		return false;
	}

	struct ks_pgfull *all = node->all;
	const uint32_t words = all->words;
	unsigned word = from / 64;
	if (word >= words)
		return false;
	uint64_t used = all->used[word] & (UINT64_MAX << (from % 64));
	while (!used) {
		if (++word == words)
			return false;
		used = all->used[word];
	}
	const uint32_t *child = (const uint32_t *)(const void *)(all->used + words) + word * 64;
	const uint64_t rest = used & (used - 1);
	const unsigned bit = (unsigned)__builtin_ctzll(used);
	step->index = word * 64 + bit;
	step->child = child[bit];
	step->follow = rest ? child[__builtin_ctzll(rest)] : 0;
	return true;
}

/* Fetch what the walk is going to read after this child. */
static inline void prefetch(const struct ks_tables *tables, uint32_t id, bool leaf)
{
	if (id)
		__builtin_prefetch(ks_pool_at(leaf ? &tables->leaves : &tables->nodes, id));
}

/* Go on at the beginning of table @id of this level, which the range overlaps. */
static inline void enter(struct ks_walk *walk, unsigned level, uint32_t id, uint64_t vpn)
{
	const struct ks_geometry *geo = walk->tables->geo;
	const unsigned shift = geo->shift[level];
	const uint64_t mask = ks_pgtable_mask(geo, level);
	const uint64_t left = (walk->end - 1 - vpn) >> shift;

	walk->level = level;
	walk->at[level].node = ks_pgnode_at(walk->tables, id);
	walk->at[level].vpn = vpn;
	walk->at[level].next = (uint16_t)(vpn < walk->vpn ? (walk->vpn - vpn) >> shift : 0);
	walk->at[level].last = (uint16_t)(left < mask ? left : mask);
}

/**
 * ks_walk_start() - rest before [vpn, end); nothing is read yet
 * @end: may be the end of the whole table; vpn == end is an empty walk
 */
void ks_walk_start(struct ks_walk *walk, const struct ks_tables *tables,
		   const struct ks_pgtable *pt, uint64_t vpn, uint64_t end)
{
	KS_ASSERT(tables->env, vpn <= end);
	KS_ASSERT(tables->env, end <= ks_pgtable_span(tables->geo, 0));
	walk->tables = tables;
	walk->pt = pt;
	walk->vpn = vpn;
	walk->end = end;
	walk->entries = 0;
	walk->lone = NULL;
	walk->leaf = 0;
	walk->first = 0;
	walk->last = 0;
	walk->level = 0;
	if (vpn < end)
		enter(walk, 0, pt->root, 0);
}

/* Rest on @leaf, which starts at @vpn. */
static inline bool yield_leaf(struct ks_walk *walk, uint32_t leaf, uint64_t vpn)
{
	const struct ks_geometry *geo = walk->tables->geo;
	const uint64_t next = vpn + ks_pgtable_span(geo, geo->levels - 1);
	const uint64_t end = next < walk->end ? next : walk->end;

	walk->leaf = leaf;
	walk->first = (unsigned)(vpn < walk->vpn ? walk->vpn - vpn : 0);
	walk->last = (unsigned)(end - vpn - 1);
	walk->vpn = end;
	return true;
}

/*
 * The child of a table is a table with a single leaf, wholly inside the range, as in mappings that
 * are nearly all hole: rest on that leaf without entering its table. What lies behind the leaf in
 * that table is read when the walk goes on.
 */
static inline bool lone_leaf(struct ks_walk *walk, unsigned level, uint32_t id, uint64_t vpn)
{
	const struct ks_geometry *geo = walk->tables->geo;
	const struct ks_pgnode *node = ks_pgnode_at(walk->tables, id);
	const uint64_t mask = ks_pgtable_mask(geo, level);
	const unsigned shift = geo->shift[level];

	if (node->full || node->nr != 1 || vpn < walk->vpn || walk->end - vpn < (mask + 1) << shift)
		return false;
	walk->entries += node->small.index[0] + 1u;
	walk->lone = node;
	return yield_leaf(walk, node->small.child[0],
			  vpn + ((uint64_t)node->small.index[0] << shift));
}

/* Go on behind a lone leaf. Returns the level to go on at: inside the leaf's table only if that has
 * got more children meanwhile. */
static inline unsigned leave_lone(struct ks_walk *walk, unsigned level)
{
	const struct ks_geometry *geo = walk->tables->geo;
	const unsigned mask = (unsigned)ks_pgtable_mask(geo, level + 1);
	const struct ks_pgnode *node = walk->lone;

	walk->lone = NULL;
	if (!node->full && node->nr == 1) {
		walk->entries += mask - node->small.index[0];
		return level;
	}
	level++;
	walk->at[level].node = node;
	walk->at[level].vpn = node->vpn;
	walk->at[level].next = (uint16_t)(((walk->vpn - 1 - node->vpn) >> geo->shift[level]) + 1);
	walk->at[level].last = (uint16_t)mask;
	return level;
}

/**
 * ks_walk_leaf() - go on to the next leaf
 *
 * Models: mm/pagewalk.c:walk_page_range_vma(), without a hole callback.
 * Returns: false at the end of the range; then walk->entries is the whole pass.
 */
bool ks_walk_leaf(struct ks_walk *walk)
{
	const struct ks_geometry *geo = walk->tables->geo;
	const unsigned bottom = geo->levels - 2;
	unsigned level = walk->level;

	if (walk->lone)
		level = leave_lone(walk, level);
	if (walk->vpn >= walk->end) {
		walk->leaf = 0;
		return false;
	}
	for (;;) {
		const struct ks_pgnode *node = walk->at[level].node;
		const unsigned next = walk->at[level].next, last = walk->at[level].last;
		struct step step;

		if (!step_to(node, next, &step) || step.index > last) {
			walk->entries += last + 1 - next;
			if (level-- == 0)
				break;
			continue;
		}
		const uint64_t vpn =
			walk->at[level].vpn + ((uint64_t)step.index << geo->shift[level]);
		walk->entries += step.index + 1 - next;
		walk->at[level].next = (uint16_t)(step.index + 1);
		prefetch(walk->tables, step.follow, level == bottom);
		if (level == bottom) {
			walk->level = level;
			return yield_leaf(walk, step.child, vpn);
		}
		if (level + 1 == bottom && lone_leaf(walk, bottom, step.child, vpn)) {
			walk->level = level;
			return true;
		}
		enter(walk, ++level, step.child, vpn);
	}
	walk->leaf = 0;
	walk->vpn = walk->end;
	return false;
}

/**
 * ks_walk_lone() - go on over the next leaves, as long as each is the only page of its table's table
 *
 * @leaves: out: at most @max ids of leaves with a single entry
 *
 * What ks_walk_leaf() would have given one by one, all wholly inside the range; the walk rests on
 * the last one. Returns: how many, 0 if the next leaf is of another kind or there is none.
 */
unsigned ks_walk_lone(struct ks_walk *walk, uint32_t *leaves, unsigned max)
{
	const struct ks_tables *tables = walk->tables;
	const struct ks_geometry *geo = tables->geo;
	const unsigned bottom = geo->levels - 2, level = walk->level;
	const unsigned mask = (unsigned)ks_pgtable_mask(geo, bottom);
	const struct ks_pgnode *parent = walk->at[level].node, *lone = walk->lone;
	unsigned next = walk->at[level].next, last = walk->at[level].last, nr = 0;
	struct step step;

	if (!lone || level + 1 != bottom || lone->full || lone->nr != 1 || !parent->full)
		return 0;
	/* the last table may reach over the end of the range */
	if (last < next ||
	    walk->at[level].vpn + ((uint64_t)(last + 1) << geo->shift[level]) > walk->end)
		return 0;
	while (nr < max && step_to(parent, next, &step) && step.index <= last) {
		const struct ks_pgnode *node = ks_pgnode_at(tables, step.child);

		if (node->full || node->nr != 1 || ks_leaf(tables, node->small.child[0])->nr != 1)
			break;
		prefetch(tables, step.follow, false);
		/* behind the leaf before, then to this table, then in it to the leaf */
		walk->entries += mask - lone->small.index[0] + step.index + 1 - next +
				 node->small.index[0] + 1u;
		next = step.index + 1;
		lone = node;
		leaves[nr++] = node->small.child[0];
	}
	if (nr) {
		walk->at[level].next = (uint16_t)next;
		walk->lone = lone;
		yield_leaf(walk, leaves[nr - 1], ks_leaf(tables, leaves[nr - 1])->vpn);
	}
	return nr;
}

/* The table below entry @index of the table at this level. */
static const struct ks_pgnode *find_lone(const struct ks_walk *walk, unsigned level, unsigned index)
{
	struct step step = { 0 };

	step_to(walk->at[level].node, index, &step);
	return ks_pgnode_at(walk->tables, step.child);
}

/**
 * ks_walk_back() - rest on leaf @at of the @nr leaves that ks_walk_lone() gave, as if it had not
 * gone on
 */
void ks_walk_back(struct ks_walk *walk, const uint32_t *leaves, unsigned nr, unsigned at)
{
	const struct ks_geometry *geo = walk->tables->geo;
	const unsigned bottom = geo->levels - 2, level = walk->level;
	const uint64_t mask = ks_pgtable_mask(geo, bottom);

	for (unsigned i = nr - 1; i > at; i--) {
		const uint64_t vpn = ks_leaf(walk->tables, leaves[i])->vpn;
		const uint64_t before = ks_leaf(walk->tables, leaves[i - 1])->vpn;

		walk->entries -= (mask - ks_pgtable_index(geo, bottom, before)) +
				 (vpn >> geo->shift[level]) - (before >> geo->shift[level]) +
				 ks_pgtable_index(geo, bottom, vpn) + 1;
	}
	walk->leaf = leaves[at];
	walk->vpn = ks_leaf(walk->tables, leaves[at])->vpn + ks_pgtable_span(geo, geo->levels - 1);
	walk->at[level].next = (uint16_t)(ks_pgtable_index(geo, level, walk->vpn - 1) + 1);
	walk->lone = find_lone(walk, level, walk->at[level].next - 1u);
}

/**
 * ks_walk_restart() - entries that stopping at one page and starting behind it reads twice
 * @last_vpn: where the walk stopped
 * @vpn:      where it starts again, behind that
 */
unsigned ks_walk_restart(const struct ks_geometry *geo, uint64_t last_vpn, uint64_t vpn)
{
	unsigned nr = 0;

	for (unsigned level = 0; level < geo->levels - 1; level++)
		nr += last_vpn >> geo->shift[level] == vpn >> geo->shift[level];
	return nr;
}

/* ---- what a pass costs ---- */

struct cost {
	const struct ks_tables *tables;
	uint64_t end; /* of the range */
	struct ksmsim_walk sum;
};

#define HIT_MASK (KS_PTE(PRESENT) | KS_PTE(SPECIAL) | KS_PTE(FILE))

/* Slots [first, last] of a leaf that KSM's walk stops at; *on_last: the last one is one. */
static unsigned leaf_hits(const struct ks_leaf *leaf, unsigned first, unsigned last, bool *on_last)
{
	unsigned nr = 0;

	*on_last = false;
	if (leaf->huge) {
		*on_last = (leaf->pmd.bits & HIT_MASK) == KS_PTE(PRESENT);
		return *on_last ? last - first + 1 : 0;
	}
	if (!leaf->dense) {
		for (unsigned k = 0; k < leaf->nr; k++) {
			const unsigned slot = leaf->small.slot[k];
			const bool hit = (leaf->small.bits[k] & HIT_MASK) == KS_PTE(PRESENT);

			nr += hit && slot >= first && slot <= last;
			*on_last |= hit && slot == last;
		}
		return nr;
	}

	const uint64_t *present = ks_dense_plane(leaf->all, KS_PTE_PRESENT);
	const uint64_t *special = ks_dense_plane(leaf->all, KS_PTE_SPECIAL);
	const uint64_t *file = ks_dense_plane(leaf->all, KS_PTE_FILE);
	for (unsigned word = first / 64; word <= last / 64; word++) {
		uint64_t hits = present[word] & ~special[word] & ~file[word];

		if (word == last / 64) {
			*on_last = hits >> (last % 64) & 1;
			hits &= UINT64_MAX >> (63 - last % 64);
		}
		if (word == first / 64)
			hits &= UINT64_MAX << (first % 64);
		nr += (unsigned)__builtin_popcountll(hits);
	}
	return nr;
}

/* The part [from, to) of the range lies in this leaf. */
static void cost_leaf(struct cost *cost, const struct ks_leaf *leaf, uint64_t from, uint64_t to)
{
	const struct ks_geometry *geo = cost->tables->geo;
	bool on_last;
	const unsigned hits = leaf_hits(leaf, (unsigned)(from - leaf->vpn),
					(unsigned)(to - 1 - leaf->vpn), &on_last);

	cost->sum.pages += hits;
	cost->sum.range += (uint64_t)hits * (geo->levels - 1);
	if (on_last) {
		/* the restart behind it is in another leaf, or there is none */
		cost->sum.range -= geo->levels - 1;
		if (to < cost->end)
			cost->sum.range += ks_walk_restart(geo, to - 1, to);
	}
}

/* A table and all below it; [from, to) is the part of the range that it covers. */
static void cost_table(struct cost *cost, unsigned level, uint32_t id, uint64_t from, uint64_t to)
{
	const struct ks_geometry *geo = cost->tables->geo;
	const unsigned shift = geo->shift[level];

	if (level == geo->levels - 1 && ks_leaf(cost->tables, id)->huge) {
		cost_leaf(cost, ks_leaf(cost->tables, id), from, to);
		return;
	}
	cost->sum.range += ((to - 1) >> shift) - (from >> shift) + 1;
	cost->sum.per_address += to - from;
	if (level == geo->levels - 1) {
		cost_leaf(cost, ks_leaf(cost->tables, id), from, to);
		return;
	}

	const struct ks_pgnode *node = ks_pgnode_at(cost->tables, id);
	struct step step = { .index = ks_pgtable_index(geo, level, from) };
	for (; step_to(node, step.index, &step); step.index++) {
		const uint64_t start = node->vpn + ((uint64_t)step.index << shift);
		const uint64_t end = start + (UINT64_C(1) << shift);

		if (start >= to)
			return;
		prefetch(cost->tables, step.follow, level == geo->levels - 2);
		cost_table(cost, level + 1, step.child, start > from ? start : from,
			   end < to ? end : to);
	}
}

/**
 * ks_walk_cost() - entries that one full pass over [vpn, end) reads
 * @out: every field is set; pages are those that KSM's walk stops at: present,
 *       neither a zero page nor a page of a file
 *
 * range is what ks_walk_leaf(), the PTEs of each leaf and ks_walk_restart()
 * behind each page add up to. per_address: each address reads one entry of
 * every table that covers it, so it is the sum of the tables' shares of the
 * range.
 */
void ks_walk_cost(const struct ks_tables *tables, const struct ks_pgtable *pt, uint64_t vpn,
		  uint64_t end, struct ksmsim_walk *out)
{
	struct cost cost = { .tables = tables, .end = end };

	KS_ASSERT(tables->env, vpn <= end);
	KS_ASSERT(tables->env, end <= ks_pgtable_span(tables->geo, 0));
	cost.sum.addresses = end - vpn;
	if (vpn < end)
		cost_table(&cost, 0, pt->root, vpn, end);
	*out = cost.sum;
}
