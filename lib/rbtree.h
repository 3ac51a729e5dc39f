/*
 * rbtree.h - floor 0: red-black trees with the exact shape of the kernel's.
 *
 * The shape shows: it decides which nodes a search passes and so which stale
 * nodes KSM drops, and in which order a purge goes. Textbook algorithms
 * (Cormen et al.): insert as a red leaf, repair by uncle recolouring or one or
 * two rotations; erase splices out a node with at most one child, otherwise the
 * in-order successor takes its place and colour.
 *
 * Nodes are 20 bytes, named by 32-bit ids (0 is "none") that the tree's owner
 * resolves; the two low bits of the key belong to the tree: bit 1 is the colour
 * (1 red), bit 0 is the owner's LOOK flag. The first 62 bits are the first 62
 * bits of the page's content, so most descents never leave the node.
 */
#ifndef KS_RBTREE_H
#define KS_RBTREE_H

#include "env.h"

struct ks_rb_node {
	uint32_t key_hi, key_lo;
	uint32_t child[2]; /* left, right */
	uint32_t parent;
};

#define KS_RB_LOOK 1u /* key_lo: the key may lie; ask the owner */
#define KS_RB_RED 2u  /* key_lo */

struct ks_rb_tree {
	uint32_t root;
	struct ks_rb_node *(*at)(const void *owner, uint32_t id);
	const void *owner;
};

static inline uint64_t ks_rb_key(const struct ks_rb_node *node)
{
	return ((uint64_t)node->key_hi << 32 | node->key_lo) & ~(uint64_t)3;
}

/* Keeps colour and LOOK. */
static inline void ks_rb_set_key(struct ks_rb_node *node, uint64_t key)
{
	node->key_hi = (uint32_t)(key >> 32);
	node->key_lo = ((uint32_t)key & ~3u) | (node->key_lo & 3u);
}

/* Link @id as child @side (0 left, 1 right) of @parent (0: as root of an empty tree) and
 * rebalance. The node's key must be set; children, parent and colour are set here. */
void ks_rb_insert(struct ks_rb_tree *tree, uint32_t id, uint32_t parent, int side);
void ks_rb_erase(struct ks_rb_tree *tree, uint32_t id);
/* @to takes position and colour of @from; its key and LOOK stay its own. */
void ks_rb_replace(struct ks_rb_tree *tree, uint32_t from, uint32_t to);
uint32_t ks_rb_first(const struct ks_rb_tree *tree);
uint32_t ks_rb_next(const struct ks_rb_tree *tree, uint32_t id);
/* Red-black rules, parent links; false if broken. For checks. */
bool ks_rb_valid(const struct ks_rb_tree *tree);

#endif
