/*
 * rbtree.c - floor 0: red-black trees, by the book.
 *
 * Insertion and deletion of Cormen, Leiserson, Rivest and Stein, chapter 13,
 * with ids in place of pointers and 0 for the (black) leaves. The mirror cases
 * share one body: `side` is the side of the node under its parent, 1 - side the
 * other one.
 *
 *      parent                 parent           a rotation towards `side`
 *        |                      |              lifts the child of the
 *        x         ->           y              other side
 *       / \                    / \             (here: side 0, left)
 *      a   y                  x   c
 *         / \                / \
 *        b   c              a   b
 *
 * What could surprise: a deleted node with two children is not overwritten;
 * its in-order successor is moved into its place and takes its colour, so ids
 * keep naming the same content.
 *
 * Models: lib/rbtree.c:rb_insert_color(), rb_erase() and rb_replace_node(): the shapes that they give.
 */
#include "rbtree.h"

static struct ks_rb_node *node_at(const struct ks_rb_tree *tree, uint32_t id)
{
	return tree->at(tree->owner, id);
}

static bool is_red(const struct ks_rb_tree *tree, uint32_t id)
{
	return id && (node_at(tree, id)->key_lo & KS_RB_RED);
}

static void set_red(struct ks_rb_node *node, bool red)
{
	node->key_lo = red ? node->key_lo | KS_RB_RED : node->key_lo & ~KS_RB_RED;
}

/* Lets whatever pointed to @from, below @parent, point to @to. */
static void relink(struct ks_rb_tree *tree, uint32_t parent, uint32_t from, uint32_t to)
{
	struct ks_rb_node *above;

	if (!parent) {
		tree->root = to;
		return;
	}
	above = node_at(tree, parent);
	above->child[above->child[1] == from] = to;
}

/* @id goes down to @side; its other child comes up in its place. */
static void rotate(struct ks_rb_tree *tree, uint32_t id, int side)
{
	struct ks_rb_node *down = node_at(tree, id);
	const uint32_t up_id = down->child[1 - side];
	struct ks_rb_node *up = node_at(tree, up_id);
	const uint32_t inner = up->child[side];

	down->child[1 - side] = inner;
	if (inner)
		node_at(tree, inner)->parent = id;
	up->parent = down->parent;
	relink(tree, down->parent, id, up_id);
	up->child[side] = id;
	down->parent = up_id;
}

void ks_rb_insert(struct ks_rb_tree *tree, uint32_t id, uint32_t parent, int side)
{
	struct ks_rb_node *node = node_at(tree, id);

	node->child[0] = 0;
	node->child[1] = 0;
	node->parent = parent;
	set_red(node, true);
	if (parent)
		node_at(tree, parent)->child[side] = id;
	else
		tree->root = id;

	/* the only rule that can be broken: @id and its parent are both red */
	while (is_red(tree, node->parent)) {
		struct ks_rb_node *above = node_at(tree, node->parent);
		const uint32_t top_id = above->parent;
		struct ks_rb_node *top = node_at(tree, top_id);
		const int at = top->child[1] == node->parent;
		const uint32_t uncle = top->child[1 - at];

		if (is_red(tree, uncle)) {
			set_red(above, false);
			set_red(node_at(tree, uncle), false);
			set_red(top, true);
			node = top;
			id = top_id;
			continue;
		}
		if (above->child[1 - at] == id) { /* inner grandchild: make it the outer one */
			rotate(tree, node->parent, at);
			above = node;
		}
		set_red(above, false);
		set_red(top, true);
		rotate(tree, top_id, 1 - at);
		break;
	}
	set_red(node_at(tree, tree->root), false);
}

/*
 * The paths through child @id (0: a leaf) of @parent lack one black node. One
 * step either repairs that or moves the lack one level up.
 */
static void erase_repair(struct ks_rb_tree *tree, uint32_t id, uint32_t parent)
{
	while (parent && !is_red(tree, id)) {
		struct ks_rb_node *above = node_at(tree, parent);
		const int side = above->child[1] == id;
		struct ks_rb_node *sibling = node_at(tree, above->child[1 - side]);

		if (sibling->key_lo & KS_RB_RED) { /* case 1: get a black sibling */
			set_red(sibling, false);
			set_red(above, true);
			rotate(tree, parent, side);
			sibling = node_at(tree, above->child[1 - side]);
		}
		if (!is_red(tree, sibling->child[0]) && !is_red(tree, sibling->child[1])) {
			set_red(sibling, true); /* case 2: the lack moves up */
			id = parent;
			parent = above->parent;
			continue;
		}
		if (!is_red(tree, sibling->child[1 - side])) { /* case 3: turn it into case 4 */
			set_red(node_at(tree, sibling->child[side]), false);
			set_red(sibling, true);
			rotate(tree, above->child[1 - side], 1 - side);
			sibling = node_at(tree, above->child[1 - side]);
		}
		set_red(sibling, above->key_lo & KS_RB_RED); /* case 4 */
		set_red(above, false);
		set_red(node_at(tree, sibling->child[1 - side]), false);
		rotate(tree, parent, side);
		return;
	}
	if (id)
		set_red(node_at(tree, id), false);
}

/* The leftmost node below @id. */
static uint32_t leftmost(const struct ks_rb_tree *tree, uint32_t id)
{
	uint32_t left;

	while ((left = node_at(tree, id)->child[0]))
		id = left;
	return id;
}

void ks_rb_erase(struct ks_rb_tree *tree, uint32_t id)
{
	const struct ks_rb_node *node = node_at(tree, id);
	uint32_t out = id; /* the node that leaves its position */
	uint32_t child, parent;
	const struct ks_rb_node *leaving;
	bool was_red;

	if (node->child[0] && node->child[1])
		out = leftmost(tree, node->child[1]);
	leaving = node_at(tree, out);
	child = leaving->child[0] ? leaving->child[0] : leaving->child[1];
	parent = leaving->parent;
	was_red = leaving->key_lo & KS_RB_RED;

	relink(tree, parent, out, child);
	if (child)
		node_at(tree, child)->parent = parent;
	if (out != id) {
		ks_rb_replace(tree, id, out);
		if (parent == id)
			parent = out;
	}
	if (!was_red)
		erase_repair(tree, child, parent);
}

void ks_rb_replace(struct ks_rb_tree *tree, uint32_t from, uint32_t to)
{
	const struct ks_rb_node *old = node_at(tree, from);
	struct ks_rb_node *node = node_at(tree, to);

	node->parent = old->parent;
	set_red(node, old->key_lo & KS_RB_RED);
	relink(tree, old->parent, from, to);
	for (int side = 0; side < 2; side++) {
		node->child[side] = old->child[side];
		if (node->child[side])
			node_at(tree, node->child[side])->parent = to;
	}
}

uint32_t ks_rb_first(const struct ks_rb_tree *tree)
{
	return tree->root ? leftmost(tree, tree->root) : 0;
}

uint32_t ks_rb_next(const struct ks_rb_tree *tree, uint32_t id)
{
	const struct ks_rb_node *node = node_at(tree, id);
	uint32_t parent;

	if (node->child[1])
		return leftmost(tree, node->child[1]);
	while ((parent = node->parent)) {
		node = node_at(tree, parent);
		if (node->child[0] == id)
			return parent;
		id = parent;
	}
	return 0;
}

/* A tree of 2^32 nodes is no deeper than this: a broken one cannot exhaust the stack. */
#define DEPTH_MAX 66u

/* Black nodes on every path below @id, or -1 if a rule is broken there. */
static int black_height(const struct ks_rb_tree *tree, uint32_t id, uint32_t parent, unsigned depth)
{
	const struct ks_rb_node *node;
	int left, right;

	if (!id)
		return 0;
	node = node_at(tree, id);
	if (depth > DEPTH_MAX || node->parent != parent)
		return -1;
	if ((node->key_lo & KS_RB_RED) &&
	    (is_red(tree, node->child[0]) || is_red(tree, node->child[1])))
		return -1;
	left = black_height(tree, node->child[0], id, depth + 1);
	right = black_height(tree, node->child[1], id, depth + 1);
	if (left < 0 || left != right)
		return -1;
	return left + !(node->key_lo & KS_RB_RED);
}

bool ks_rb_valid(const struct ks_rb_tree *tree)
{
	return !is_red(tree, tree->root) && black_height(tree, tree->root, 0, 0) >= 0;
}
