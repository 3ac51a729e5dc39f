/*
 * pgleaf.c - floor 3: the entries of PTE tables.
 *
 * A leaf with few entries is a sorted list in its own cache line, the bits of
 * an entry in one word; the seventh entry moves them into an array of pfns with
 * one bit plane for each bit, so that the floors above can scan 64 entries at a
 * time. It stays dense until the table goes.
 *
 * A huge leaf is a PMD entry: one pfn and one set of bits for all. It becomes a
 * dense one when it is split.
 *
 * An entry that is none has no bit in any plane and pfn 0, in both forms.
 *
 * The bell rings before the change, with the watch still set, so that the
 * listener can look at what is about to go. It must not change entries.
 */
#include "pgnode.h"

#define MAPPED (KS_PTE(PRESENT) | KS_PTE(NONPRESENT))

_Static_assert(KS_PTE_PLANES <= 16, "the small form has 16 bits for those of an entry");

/* Position of the first entry at or behind @slot in the small form. */
static unsigned small_find(const struct ks_leaf *leaf, unsigned slot)
{
	unsigned k = 0;

	while (k < leaf->nr && leaf->small.slot[k] < slot)
		k++;
	return k;
}

static struct ks_pte dense_get(const struct ks_leaf *leaf, unsigned slot)
{
	struct ks_dense *all = leaf->all;
	const uint64_t *word = all->plane + slot / 64;
	uint64_t bits = 0;

	for (unsigned plane = 0; plane < KS_PTE_PLANES; plane++, word += all->words)
		bits |= (*word >> (slot % 64) & 1) << plane;
	return (struct ks_pte){ .pfn = ks_dense_pfn(all)[slot], .bits = (uint32_t)bits };
}

struct ks_pte ks_leaf_get(const struct ks_leaf *leaf, unsigned slot)
{
	if (leaf->huge)
		return (struct ks_pte){ .pfn = leaf->pmd.pfn + slot, .bits = leaf->pmd.bits };
	if (leaf->dense)
		return dense_get(leaf, slot);

	const unsigned k = small_find(leaf, slot);
	if (k == leaf->nr || leaf->small.slot[k] != slot)
		return (struct ks_pte){ 0 };
	return (struct ks_pte){ .pfn = leaf->small.pfn[k], .bits = leaf->small.bits[k] };
}

int ks_leaf_next(const struct ks_leaf *leaf, unsigned slot)
{
	if (leaf->huge)
		return slot < leaf->nr ? (int)slot : -1;
	if (!leaf->dense) {
		const unsigned k = small_find(leaf, slot);

		return k < leaf->nr ? leaf->small.slot[k] : -1;
	}

	struct ks_dense *all = leaf->all;
	const uint64_t *present = ks_dense_plane(all, KS_PTE_PRESENT);
	const uint64_t *nonpresent = ks_dense_plane(all, KS_PTE_NONPRESENT);
	uint64_t keep = UINT64_MAX << (slot % 64);
	for (unsigned word = slot / 64; word < all->words; word++, keep = UINT64_MAX) {
		const uint64_t mapped = (present[word] | nonpresent[word]) & keep;

		if (mapped)
			return (int)(word * 64 + (unsigned)__builtin_ctzll(mapped));
	}
	return -1;
}

/* ---- changing entries ---- */

static void dense_put(struct ks_leaf *leaf, unsigned slot, struct ks_pte pte)
{
	struct ks_dense *all = leaf->all;
	const uint64_t mask = UINT64_C(1) << (slot % 64);
	uint64_t *word = all->plane + slot / 64;

	for (unsigned plane = 0; plane < KS_PTE_PLANES; plane++, word += all->words)
		*word = (*word & ~mask) | ((uint64_t)(pte.bits >> plane & 1) << (slot % 64));
	ks_dense_pfn(all)[slot] = pte.pfn;
}

static bool dense_has(const struct ks_leaf *leaf, unsigned slot)
{
	struct ks_dense *all = leaf->all;
	const uint64_t mapped = ks_dense_plane(all, KS_PTE_PRESENT)[slot / 64] |
				ks_dense_plane(all, KS_PTE_NONPRESENT)[slot / 64];

	return mapped >> (slot % 64) & 1;
}

static void leaf_grow(struct ks_env *env, struct ks_tables *tables, struct ks_leaf *leaf)
{
	const struct ks_geometry *geo = tables->geo;
	const uint32_t id = ks_pool_alloc(env, &tables->dense);
	struct ks_leaf old = *leaf;

	leaf->all = ks_pool_at(&tables->dense, id);
	leaf->all_id = id;
	leaf->dense = true;
	leaf->all->entries = 1u << geo->bits[geo->levels - 1];
	leaf->all->words = (leaf->all->entries + 63) / 64;
	for (unsigned k = 0; k < old.nr; k++)
		dense_put(leaf, old.small.slot[k],
			  (struct ks_pte){ old.small.pfn[k], old.small.bits[k] });
}

static void small_insert(struct ks_leaf *leaf, unsigned at, unsigned slot, struct ks_pte pte)
{
	for (unsigned k = leaf->nr; k > at; k--) {
		leaf->small.pfn[k] = leaf->small.pfn[k - 1];
		leaf->small.slot[k] = leaf->small.slot[k - 1];
		leaf->small.bits[k] = leaf->small.bits[k - 1];
	}
	leaf->small.pfn[at] = pte.pfn;
	leaf->small.slot[at] = (uint16_t)slot;
	leaf->small.bits[at] = (uint16_t)pte.bits;
	leaf->nr++;
}

static void small_remove(struct ks_leaf *leaf, unsigned at)
{
	leaf->nr--;
	for (unsigned k = at; k < leaf->nr; k++) {
		leaf->small.pfn[k] = leaf->small.pfn[k + 1];
		leaf->small.slot[k] = leaf->small.slot[k + 1];
		leaf->small.bits[k] = leaf->small.bits[k + 1];
	}
}

/* Set the entry, or clear it if @pte is none (all zero). */
static void leaf_put(struct ks_env *env, struct ks_tables *tables, struct ks_leaf *leaf,
		     unsigned slot, struct ks_pte pte)
{
	if (!leaf->dense) {
		const unsigned at = small_find(leaf, slot);
		const bool found = at < leaf->nr && leaf->small.slot[at] == slot;

		if (found && pte.bits) {
			leaf->small.pfn[at] = pte.pfn;
			leaf->small.bits[at] = (uint16_t)pte.bits;
		} else if (found) {
			small_remove(leaf, at);
		} else if (pte.bits && leaf->nr < KS_LEAF_SMALL) {
			small_insert(leaf, at, slot, pte);
		} else if (pte.bits) {
			leaf_grow(env, tables, leaf);
		}
		if (!leaf->dense)
			return;
	}
	leaf->nr = (uint16_t)(leaf->nr - dense_has(leaf, slot) + !!pte.bits);
	dense_put(leaf, slot, pte);
}

void ks_leaf_watch(struct ks_leaf *leaf, unsigned slot, bool on)
{
	if (leaf->huge) {
		leaf->pmd.watched |= on;
		return;
	}
	if (leaf->dense) {
		uint64_t *word = ks_dense_plane(leaf->all, KS_PTE_WATCHED) + slot / 64;
		const uint64_t mask = UINT64_C(1) << (slot % 64);

		*word = on && dense_has(leaf, slot) ? *word | mask : *word & ~mask;
		return;
	}

	const unsigned k = small_find(leaf, slot);
	if (k == leaf->nr || leaf->small.slot[k] != slot)
		return;
	leaf->small.bits[k] &= (uint16_t)~KS_PTE(WATCHED);
	if (on)
		leaf->small.bits[k] |= KS_PTE(WATCHED);
}

void ks_leaf_access(struct ks_leaf *leaf, unsigned slot)
{
	if (leaf->huge)
		leaf->pmd.bits |= KS_PTE(YOUNG);
	else if (leaf->dense)
		ks_dense_plane(leaf->all, KS_PTE_YOUNG)[slot / 64] |= UINT64_C(1) << (slot % 64);
	else
		leaf->small.bits[small_find(leaf, slot)] |= (uint16_t)KS_PTE(YOUNG);
}

static bool leaf_watched(const struct ks_leaf *leaf, unsigned slot)
{
	if (leaf->huge)
		return leaf->pmd.watched;
	if (leaf->dense)
		return ks_dense_plane(leaf->all, KS_PTE_WATCHED)[slot / 64] >> (slot % 64) & 1;
	return ks_leaf_get(leaf, slot).bits & KS_PTE(WATCHED);
}

static bool ring(struct ks_tables *tables, struct ks_pgtable *pt, struct ks_leaf *leaf,
		 unsigned slot)
{
	if (!leaf_watched(leaf, slot))
		return false;
	if (tables->watched)
		tables->watched(tables->self, pt->mm, leaf->vpn + slot, leaf);
	return true;
}

/* ---- by address ---- */

static unsigned slot_of(const struct ks_tables *tables, uint64_t vpn)
{
	return ks_pgtable_index(tables->geo, tables->geo->levels - 1, vpn);
}

struct ks_pte ks_pte_get(const struct ks_tables *tables, const struct ks_pgtable *pt, uint64_t vpn)
{
	const uint32_t id = ks_leaf_find(tables, pt, vpn);

	if (!id)
		return (struct ks_pte){ 0 };
	return ks_leaf_get(ks_leaf(tables, id), slot_of(tables, vpn));
}

/**
 * ks_pte_set() - write one entry
 * @pte: bits 0 (pfn then does not matter) clears the entry; else exactly one of
 *       PRESENT and NONPRESENT is among its bits
 *
 * The old entry's watch rings even if the new one is equal: whoever watches
 * wants to hear of every write.
 */
void ks_pte_set(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt, uint64_t vpn,
		struct ks_pte pte)
{
	const uint32_t mapped = pte.bits & MAPPED;
	uint32_t id = ks_leaf_find(tables, pt, vpn);

	KS_ASSERT(env, !pte.bits || mapped == KS_PTE(PRESENT) || mapped == KS_PTE(NONPRESENT));
	KS_ASSERT(env, pte.bits >> KS_PTE_PLANES == 0);
	if (!pte.bits && !id)
		return;
	if (!id)
		id = ks_pgnode_populate(env, tables, pt, vpn);
	if (!pte.bits)
		pte.pfn = 0;

	struct ks_leaf *leaf = ks_leaf(tables, id);
	KS_ASSERT(env, !leaf->huge);
	ring(tables, pt, leaf, slot_of(tables, vpn));
	leaf_put(env, tables, leaf, slot_of(tables, vpn), pte);
}

void ks_pte_unwatch(struct ks_tables *tables, struct ks_pgtable *pt, uint64_t vpn)
{
	const uint32_t id = ks_leaf_find(tables, pt, vpn);

	if (id && ring(tables, pt, ks_leaf(tables, id), slot_of(tables, vpn)))
		ks_leaf_watch(ks_leaf(tables, id), slot_of(tables, vpn), false);
}

/* ---- huge leaves ---- */

static unsigned entries_of(const struct ks_tables *tables)
{
	return 1u << tables->geo->bits[tables->geo->levels - 1];
}

struct ks_leaf *ks_pmd_find(const struct ks_tables *tables, const struct ks_pgtable *pt,
			    uint64_t vpn)
{
	const uint32_t id = ks_leaf_find(tables, pt, vpn);

	return id && ks_leaf(tables, id)->huge ? ks_leaf(tables, id) : NULL;
}

static void ring_all(struct ks_tables *tables, struct ks_pgtable *pt, struct ks_leaf *leaf)
{
	if (!leaf->pmd.watched)
		return;
	for (unsigned slot = 0; slot < leaf->nr; slot++)
		ring(tables, pt, leaf, slot);
	leaf->pmd.watched = false;
}

void ks_pmd_set(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt, uint64_t vpn,
		struct ks_pte pte)
{
	struct ks_leaf *leaf = ks_leaf(tables, ks_pgnode_populate(env, tables, pt, vpn));

	KS_ASSERT(env, pte.bits & KS_PTE(PRESENT));
	KS_ASSERT(env, leaf->vpn == vpn);
	if (leaf->huge) {
		ring_all(tables, pt, leaf);
	} else {
		KS_ASSERT(env, leaf->nr == 0);
		if (leaf->dense)
			ks_pool_free(env, &tables->dense, leaf->all_id);
		leaf->dense = false;
		leaf->huge = true;
		leaf->nr = (uint16_t)entries_of(tables);
		leaf->pmd.watched = false;
	}
	leaf->pmd.pfn = pte.pfn;
	leaf->pmd.bits = pte.bits & ~KS_PTE(WATCHED);
}

void ks_pmd_change(struct ks_tables *tables, struct ks_pgtable *pt, struct ks_leaf *leaf,
		   uint32_t bits)
{
	KS_ASSERT(tables->env, leaf->huge);
	ring_all(tables, pt, leaf);
	leaf->pmd.bits = bits & ~KS_PTE(WATCHED);
}

static void fill_plane(struct ks_dense *all, enum ks_pte_plane plane, bool on)
{
	uint64_t *word = ks_dense_plane(all, plane);

	for (uint32_t i = 0; i < all->words; i++)
		word[i] = !on		      ? 0
			  : all->entries < 64 ? (UINT64_C(1) << all->entries) - 1
					      : UINT64_MAX;
}

void ks_pmd_split(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt, uint64_t vpn,
		  struct ks_pte first, uint32_t step)
{
	struct ks_leaf *leaf = ks_pmd_find(tables, pt, vpn);
	const uint32_t id = ks_pool_alloc(env, &tables->dense);

	KS_ASSERT(env, leaf);
	ring_all(tables, pt, leaf);
	leaf->all = ks_pool_at(&tables->dense, id);
	leaf->all_id = id;
	leaf->huge = false;
	leaf->dense = true;
	leaf->all->entries = leaf->nr;
	leaf->all->words = (leaf->all->entries + 63) / 64;
	for (unsigned plane = 0; plane < KS_PTE_PLANES; plane++)
		fill_plane(leaf->all, plane, first.bits >> plane & 1);
	for (uint32_t i = 0; i < leaf->all->entries; i++)
		ks_dense_pfn(leaf->all)[i] = first.pfn + i * step;
}

void ks_pmd_clear(struct ks_env *env, struct ks_tables *tables, struct ks_pgtable *pt, uint64_t vpn)
{
	struct ks_leaf *leaf = ks_pmd_find(tables, pt, vpn);
	uint64_t start;

	KS_ASSERT(env, leaf);
	ring_all(tables, pt, leaf);
	start = leaf->vpn;
	leaf->huge = false;
	leaf->nr = 0;
	ks_pgtable_free_range(env, tables, pt, start, start + entries_of(tables), start,
			      start + entries_of(tables));
}

/* ---- checks ---- */

static bool entry_check(struct ks_pte pte)
{
	const uint32_t mapped = pte.bits & MAPPED;

	if (!pte.bits)
		return !pte.pfn;
	return mapped == KS_PTE(PRESENT) || mapped == KS_PTE(NONPRESENT);
}

bool ks_leaf_check(const struct ks_tables *tables, const struct ks_leaf *leaf)
{
	const struct ks_geometry *geo = tables->geo;
	const unsigned entries = 1u << geo->bits[geo->levels - 1];
	unsigned nr = 0;

	if (leaf->huge)
		return !leaf->dense && leaf->nr == entries && leaf->pmd.bits & KS_PTE(PRESENT) &&
		       !(leaf->pmd.bits & (KS_PTE(NONPRESENT) | KS_PTE(WATCHED))) &&
		       !(leaf->vpn & (entries - 1));
	if (!leaf->dense) {
		for (unsigned k = 0; k < leaf->nr && k < KS_LEAF_SMALL; k++) {
			if (leaf->small.slot[k] >= entries ||
			    (k && leaf->small.slot[k - 1] >= leaf->small.slot[k]))
				return false;
			if (!leaf->small.bits[k] ||
			    !entry_check(ks_leaf_get(leaf, leaf->small.slot[k])))
				return false;
		}
		return leaf->nr <= KS_LEAF_SMALL;
	}
	if (leaf->all != ks_pool_at(&tables->dense, leaf->all_id) || leaf->all->entries != entries)
		return false;
	for (unsigned slot = 0; slot < entries; slot++) {
		const struct ks_pte pte = dense_get(leaf, slot);

		if (!entry_check(pte))
			return false;
		nr += !!pte.bits;
	}
	return nr == leaf->nr;
}
