/*
 * pgtable.c - floor 3: the shape of page tables: which tables there are, and for how long.
 *
 *   root (level 0) -> ... -> parent (levels - 2) -> leaf (levels - 1: the PTE table)
 *
 * Tables come with the first entry or fault below them and go only when no VMA
 * needs their span any more, however empty they are: MADV_DONTNEED leaves them,
 * and nr_tables, which people read as VmPTE, counts them. Entries are
 * pgleaf.c's subject, walks are pgwalk.c's.
 *
 * What could surprise: the range check is against the whole span of the top
 * table, twice the user half on x86-64; keeping to user space is the address
 * space's business.
 */
#include <string.h>

#include "pgnode.h"

static const struct ks_geometry geometries[] = {
#define GEOMETRY(id, name_, page_shift_, va_bits_, levels_, b0, b1, b2, b3, b4) \
	{ .name = (name_),                                                      \
	  .page_shift = (page_shift_),                                          \
	  .user_va_bits = (va_bits_),                                           \
	  .levels = (levels_),                                                  \
	  .bits = { (b0), (b1), (b2), (b3), (b4) },                             \
	  .shift = { (b1) + (b2) + (b3) + (b4), (b2) + (b3) + (b4), (b3) + (b4), (b4), 0 } },
#include "ksmsim/geometries.def"
};

/** ks_geometry_find() - the row of geometries.def of this name; NULL if there is none. */
const struct ks_geometry *ks_geometry_find(const char *name)
{
	for (size_t k = 0; k < sizeof(geometries) / sizeof(geometries[0]); k++)
		if (!strcmp(geometries[k].name, name))
			return &geometries[k];
	return NULL;
}

static uint32_t words_of(const struct ks_geometry *geo, unsigned level)
{
	return (uint32_t)((ks_pgtable_mask(geo, level) + 64) / 64);
}

/* Bytes of a header, `planes` bitmaps and one 32-bit word for each entry, as a multiple of 8. */
static uint32_t array_bytes(const struct ks_geometry *geo, unsigned level, uint32_t planes)
{
	const uint32_t entries = (uint32_t)ks_pgtable_mask(geo, level) + 1;
	const uint32_t bytes = 8 + planes * words_of(geo, level) * 8 + entries * 4;

	return (bytes + 7) & ~UINT32_C(7);
}

/**
 * ks_tables_init() - no tables yet
 * @geo: kept by reference
 * The bell is silent until the floor above sets `watched`.
 */
void ks_tables_init(struct ks_env *env, struct ks_tables *tables, const struct ks_geometry *geo)
{
	KS_ASSERT(env, geo->levels >= 2);
	KS_ASSERT(env, geo->levels <= KS_LEVELS_MAX);
	*tables = (struct ks_tables){ .env = env, .geo = geo };
	ks_pool_init(&tables->leaves, sizeof(struct ks_leaf));
	ks_pool_init(&tables->dense, array_bytes(geo, geo->levels - 1, KS_PTE_PLANES));
	ks_pool_init(&tables->nodes, sizeof(struct ks_pgnode));
	for (unsigned level = 0; level < geo->levels - 1; level++)
		ks_pool_init(&tables->full[level], array_bytes(geo, level, 1));
}

/** ks_tables_destroy() - give back all memory, whatever page tables still exist. */
void ks_tables_destroy(struct ks_env *env, struct ks_tables *tables)
{
	if (!tables->geo)
		return; /* the machine failed before it had tables */
	ks_pool_destroy(env, &tables->leaves);
	ks_pool_destroy(env, &tables->dense);
	ks_pool_destroy(env, &tables->nodes);
	for (unsigned level = 0; level < tables->geo->levels - 1; level++)
		ks_pool_destroy(env, &tables->full[level]);
}

/* ---- tables and their children ---- */

static uint32_t node_new(struct ks_env *env, struct ks_tables *tables, unsigned level, uint64_t vpn)
{
	const uint32_t id = ks_pool_alloc(env, &tables->nodes);
	struct ks_pgnode *node = ks_pgnode_at(tables, id);

	node->level = (uint8_t)level;
	node->vpn = vpn;
	return id;
}

static uint32_t leaf_new(struct ks_env *env, struct ks_tables *tables, uint64_t vpn)
{
	const uint32_t id = ks_pool_alloc(env, &tables->leaves);

	ks_leaf(tables, id)->vpn = vpn;
	return id;
}

static void full_link(struct ks_pgfull *all, unsigned index, uint32_t child)
{
	all->used[index / 64] |= UINT64_C(1) << (index % 64);
	ks_pgfull_child(all)[index] = child;
}

static void node_grow(struct ks_env *env, struct ks_tables *tables, struct ks_pgnode *node)
{
	const uint32_t body = ks_pool_alloc(env, &tables->full[node->level]);
	struct ks_pgfull *all = ks_pool_at(&tables->full[node->level], body);

	all->entries = (uint32_t)ks_pgtable_mask(tables->geo, node->level) + 1;
	all->words = words_of(tables->geo, node->level);
	for (unsigned k = 0; k < node->nr; k++)
		full_link(all, node->small.index[k], node->small.child[k]);
	node->full = true;
	node->body = body;
	node->all = all;
}

static void node_link(struct ks_env *env, struct ks_tables *tables, struct ks_pgnode *node,
		      unsigned index, uint32_t child)
{
	if (!node->full && node->nr == KS_PGNODE_SMALL)
		node_grow(env, tables, node);
	if (node->full) {
		full_link(node->all, index, child);
	} else {
		unsigned k = node->nr;

		for (; k && node->small.index[k - 1] > index; k--) {
			node->small.index[k] = node->small.index[k - 1];
			node->small.child[k] = node->small.child[k - 1];
		}
		node->small.index[k] = (uint16_t)index;
		node->small.child[k] = child;
	}
	node->nr++;
}

static void node_unlink(struct ks_pgnode *node, unsigned index)
{
	node->nr--;
	if (node->full) {
		node->all->used[index / 64] &= ~(UINT64_C(1) << (index % 64));
		ks_pgfull_child(node->all)[index] = 0;
		return;
	}
	unsigned k = 0;
	while (node->small.index[k] != index)
		k++;
	for (; k < node->nr; k++) {
		node->small.index[k] = node->small.index[k + 1];
		node->small.child[k] = node->small.child[k + 1];
	}
}

/* One table that has no entry left goes. */
static void table_free(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt,
		       unsigned level, uint32_t id)
{
	if (level == tables->geo->levels - 1) {
		struct ks_leaf *leaf = ks_leaf(tables, id);

		KS_ASSERT(env, leaf->nr == 0);
		if (leaf->dense)
			ks_pool_free(env, &tables->dense, leaf->all_id);
		ks_pool_free(env, &tables->leaves, id);
	} else {
		struct ks_pgnode *node = ks_pgnode_at(tables, id);

		KS_ASSERT(env, node->nr == 0);
		if (node->full)
			ks_pool_free(env, &tables->full[level], node->body);
		ks_pool_free(env, &tables->nodes, id);
	}
	pt->nr_tables[level]--;
}

/* ---- one page table ---- */

/**
 * ks_pgtable_init() - a page table with nothing but its top table
 * @mm: handed to the bell, never looked at
 */
void ks_pgtable_init(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt, void *mm)
{
	*pt = (struct ks_pgtable){ .mm = mm, .root = node_new(env, tables, 0, 0) };
	pt->nr_tables[0] = 1;
}

/* The table for @vpn that is @below levels below the top one; 0: there is none. */
static inline uint32_t table_find(const struct ks_tables *tables, const struct ks_pgtable *pt,
				  uint64_t vpn, unsigned below)
{
	const struct ks_geometry *geo = tables->geo;
	uint32_t id = pt->root;

	KS_ASSERT(tables->env, vpn < ks_pgtable_span(geo, 0));
	for (unsigned level = 0; id && level < below; level++)
		id = ks_pgnode_child(ks_pgnode_at(tables, id), ks_pgtable_index(geo, level, vpn));
	return id;
}

uint32_t ks_leaf_find(const struct ks_tables *tables, const struct ks_pgtable *pt, uint64_t vpn)
{
	return table_find(tables, pt, vpn, tables->geo->levels - 1);
}

bool ks_pmd_table_exists(const struct ks_tables *tables, const struct ks_pgtable *pt, uint64_t vpn)
{
	return table_find(tables, pt, vpn, tables->geo->levels - 2);
}

uint32_t ks_pgnode_populate(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt,
			    uint64_t vpn)
{
	const struct ks_geometry *geo = tables->geo;
	uint32_t id = pt->root;

	KS_ASSERT(env, vpn < ks_pgtable_span(geo, 0));
	for (unsigned level = 0; level < geo->levels - 1; level++) {
		struct ks_pgnode *node = ks_pgnode_at(tables, id);
		const unsigned index = ks_pgtable_index(geo, level, vpn);
		const uint64_t start = vpn & ~(ks_pgtable_span(geo, level + 1) - 1);

		id = ks_pgnode_child(node, index);
		if (id)
			continue;
		id = level + 1 == geo->levels - 1 ? leaf_new(env, tables, start)
						  : node_new(env, tables, level + 1, start);
		node_link(env, tables, node, index, id);
		pt->nr_tables[level + 1]++;
	}
	return id;
}

void ks_pgtable_populate(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt,
			 uint64_t vpn)
{
	ks_pgnode_populate(env, tables, pt, vpn);
}

/* ---- the end of tables ---- */

struct free_range {
	uint64_t start, end;	 /* looked at */
	uint64_t floor, ceiling; /* what no VMA needs */
};

/* Frees below one table, children before parents. */
static void free_children(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt,
			  uint32_t id, const struct free_range *range)
{
	struct ks_pgnode *node = ks_pgnode_at(tables, id);
	const unsigned level = node->level;
	const uint64_t span = UINT64_C(1) << tables->geo->shift[level];
	unsigned index = 0;
	uint32_t child;

	if (range->start > node->vpn)
		index = (unsigned)((range->start - node->vpn) / span);
	for (; (child = ks_pgnode_next(node, index, &index)); index++) {
		const uint64_t vpn = node->vpn + index * span;

		if (vpn >= range->end)
			return;
		if (level + 1 < tables->geo->levels - 1)
			free_children(env, tables, pt, child, range);
		if (vpn < range->floor || vpn + span > range->ceiling)
			continue;
		node_unlink(node, index);
		table_free(env, tables, pt, level + 1, child);
	}
}

/**
 * ks_pgtable_free_range() - free the tables of [start, end) that no VMA needs any more
 * @floor:   end of the VMA before, 0 if there is none
 * @ceiling: start of the VMA behind, 0 for the end of user space
 *
 * The entries of the range are none already. Tables below a table that goes
 * must lie in the range, as they do when every unmapping comes through here.
 *
 * Models: mm/memory.c:free_pgd_range().
 */
void ks_pgtable_free_range(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt,
			   uint64_t start, uint64_t end, uint64_t floor, uint64_t ceiling)
{
	const struct free_range range = { start, end, floor, ceiling ? ceiling : UINT64_MAX };

	KS_ASSERT(env, start <= end);
	KS_ASSERT(env, end <= ks_pgtable_span(tables->geo, 0));
	if (start < end)
		free_children(env, tables, pt, pt->root, &range);
}

void ks_pgtable_destroy(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt)
{
	ks_pgtable_free_range(env, tables, pt, 0, ks_pgtable_span(tables->geo, 0), 0, 0);
	table_free(env, tables, pt, 0, pt->root);
	pt->root = 0;
}

/* ---- figures and checks ---- */

uint64_t ks_tables_memory(const struct ks_tables *tables)
{
	uint64_t bytes = ks_pool_bytes(&tables->leaves) + ks_pool_bytes(&tables->dense) +
			 ks_pool_bytes(&tables->nodes);

	for (unsigned level = 0; level < tables->geo->levels - 1; level++)
		bytes += ks_pool_bytes(&tables->full[level]);
	return bytes;
}

static bool full_check(const struct ks_tables *tables, const struct ks_pgnode *node)
{
	struct ks_pgfull *all = node->all;

	return all == ks_pool_at(&tables->full[node->level], node->body) &&
	       all->words == words_of(tables->geo, node->level) &&
	       all->entries == ks_pgtable_mask(tables->geo, node->level) + 1;
}

/* One table and all below it; adds them up in @nr. */
static bool check_table(const struct ks_tables *tables, uint32_t id, unsigned level, uint64_t vpn,
			uint64_t nr[KS_LEVELS_MAX])
{
	const struct ks_geometry *geo = tables->geo;

	nr[level]++;
	if (level == geo->levels - 1) {
		const struct ks_leaf *leaf = ks_leaf(tables, id);

		return leaf->vpn == vpn && ks_leaf_check(tables, leaf);
	}
	const struct ks_pgnode *node = ks_pgnode_at(tables, id);
	if (node->level != level || node->vpn != vpn || (node->full && !full_check(tables, node)))
		return false;
	if (!node->full && node->nr > KS_PGNODE_SMALL)
		return false;
	unsigned found = 0;
	uint32_t child;
	for (unsigned index = 0; (child = ks_pgnode_next(node, index, &index)); index++) {
		if (index > ks_pgtable_mask(geo, level) || ks_pgnode_child(node, index) != child)
			return false;
		if (!check_table(tables, child, level + 1,
				 vpn + ((uint64_t)index << geo->shift[level]), nr))
			return false;
		found++;
	}
	return found == node->nr;
}

/**
 * ks_pgtable_check() - the shape of one page table and the form of every entry, I9
 *
 * O(tables + slots of dense leaves). Returns: false if anything is broken.
 */
bool ks_pgtable_check(const struct ks_tables *tables, const struct ks_pgtable *pt)
{
	uint64_t nr[KS_LEVELS_MAX] = { 0 };

	return check_table(tables, pt->root, 0, 0, nr) &&
	       !memcmp(nr, pt->nr_tables, sizeof(pt->nr_tables));
}
