/*
 * test_rbtree.c - floor 0: the shape of our trees against a textbook's.
 *
 * The reference below is Cormen et al. written out with pointers, a sentinel
 * and every mirror case by itself: slow to read, easy to check against the book.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "rbtree.h"

#define IDS 2000u

/* ---- the book ---- */

struct book_node {
	struct book_node *left, *right, *p;
	bool red;
	uint32_t id;
	uint64_t key;
};

struct book_tree {
	struct book_node *root;
	struct book_node nil;
};

static void book_init(struct book_tree *t)
{
	memset(t, 0, sizeof(*t));
	t->nil.left = t->nil.right = t->nil.p = &t->nil;
	t->root = &t->nil;
}

static void left_rotate(struct book_tree *t, struct book_node *x)
{
	struct book_node *y = x->right;

	x->right = y->left;
	if (y->left != &t->nil)
		y->left->p = x;
	y->p = x->p;
	if (x->p == &t->nil)
		t->root = y;
	else if (x == x->p->left)
		x->p->left = y;
	else
		x->p->right = y;
	y->left = x;
	x->p = y;
}

static void right_rotate(struct book_tree *t, struct book_node *x)
{
	struct book_node *y = x->left;

	x->left = y->right;
	if (y->right != &t->nil)
		y->right->p = x;
	y->p = x->p;
	if (x->p == &t->nil)
		t->root = y;
	else if (x == x->p->right)
		x->p->right = y;
	else
		x->p->left = y;
	y->right = x;
	x->p = y;
}

static void book_insert_fixup(struct book_tree *t, struct book_node *z)
{
	while (z->p->red) {
		if (z->p == z->p->p->left) {
			struct book_node *y = z->p->p->right;

			if (y->red) {
				z->p->red = false;
				y->red = false;
				z->p->p->red = true;
				z = z->p->p;
			} else {
				if (z == z->p->right) {
					z = z->p;
					left_rotate(t, z);
				}
				z->p->red = false;
				z->p->p->red = true;
				right_rotate(t, z->p->p);
			}
		} else {
			struct book_node *y = z->p->p->left;

			if (y->red) {
				z->p->red = false;
				y->red = false;
				z->p->p->red = true;
				z = z->p->p;
			} else {
				if (z == z->p->left) {
					z = z->p;
					right_rotate(t, z);
				}
				z->p->red = false;
				z->p->p->red = true;
				left_rotate(t, z->p->p);
			}
		}
	}
	t->root->red = false;
}

static void book_insert(struct book_tree *t, struct book_node *z)
{
	struct book_node *y = &t->nil;
	struct book_node *x = t->root;

	while (x != &t->nil) {
		y = x;
		x = z->key < x->key ? x->left : x->right;
	}
	z->p = y;
	if (y == &t->nil)
		t->root = z;
	else if (z->key < y->key)
		y->left = z;
	else
		y->right = z;
	z->left = z->right = &t->nil;
	z->red = true;
	book_insert_fixup(t, z);
}

static void book_transplant(struct book_tree *t, struct book_node *u, struct book_node *v)
{
	if (u->p == &t->nil)
		t->root = v;
	else if (u == u->p->left)
		u->p->left = v;
	else
		u->p->right = v;
	v->p = u->p;
}

/* The half of the deletion's repair in which x is a left child; w is its sibling. */
static struct book_node *book_delete_left(struct book_tree *t, struct book_node *x)
{
	struct book_node *w = x->p->right;

	if (w->red) {
		w->red = false;
		x->p->red = true;
		left_rotate(t, x->p);
		w = x->p->right;
	}
	if (!w->left->red && !w->right->red) {
		w->red = true;
		return x->p;
	}
	if (!w->right->red) {
		w->left->red = false;
		w->red = true;
		right_rotate(t, w);
		w = x->p->right;
	}
	w->red = x->p->red;
	x->p->red = false;
	w->right->red = false;
	left_rotate(t, x->p);
	return t->root;
}

static struct book_node *book_delete_right(struct book_tree *t, struct book_node *x)
{
	struct book_node *w = x->p->left;

	if (w->red) {
		w->red = false;
		x->p->red = true;
		right_rotate(t, x->p);
		w = x->p->left;
	}
	if (!w->right->red && !w->left->red) {
		w->red = true;
		return x->p;
	}
	if (!w->left->red) {
		w->right->red = false;
		w->red = true;
		left_rotate(t, w);
		w = x->p->left;
	}
	w->red = x->p->red;
	x->p->red = false;
	w->left->red = false;
	right_rotate(t, x->p);
	return t->root;
}

static void book_delete(struct book_tree *t, struct book_node *z)
{
	struct book_node *y = z, *x;
	bool y_was_red = y->red;

	if (z->left == &t->nil) {
		x = z->right;
		book_transplant(t, z, z->right);
	} else if (z->right == &t->nil) {
		x = z->left;
		book_transplant(t, z, z->left);
	} else {
		for (y = z->right; y->left != &t->nil; y = y->left)
			;
		y_was_red = y->red;
		x = y->right;
		if (y->p == z) {
			x->p = y;
		} else {
			book_transplant(t, y, y->right);
			y->right = z->right;
			y->right->p = y;
		}
		book_transplant(t, z, y);
		y->left = z->left;
		y->left->p = y;
		y->red = z->red;
	}
	if (y_was_red)
		return;
	while (x != t->root && !x->red)
		x = x == x->p->left ? book_delete_left(t, x) : book_delete_right(t, x);
	x->red = false;
}

/* ---- both ---- */

struct pair {
	struct ks_env env;
	struct ks_rb_tree tree;
	struct ks_rb_node node[IDS + 1];
	struct book_tree book;
	struct book_node book_node[IDS + 1];
	uint32_t live[IDS], nr_live;
	uint32_t idle[IDS], nr_idle;
};

static struct ks_rb_node *at(const void *owner, uint32_t id)
{
	const struct pair *pair = owner;

	assert_in_range(id, 1, IDS);
	return (struct ks_rb_node *)&pair->node[id];
}

static struct pair *pair_new(void)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	assert_non_null(pair);
	pair->tree.at = at;
	pair->tree.owner = pair;
	book_init(&pair->book);
	for (uint32_t i = 0; i < IDS; i++)
		pair->idle[pair->nr_idle++] = IDS - i;
	return pair;
}

static void pair_insert(struct pair *pair, uint64_t key)
{
	const uint32_t id = pair->idle[--pair->nr_idle];
	uint32_t parent = 0, next = pair->tree.root;
	int side = 0;

	/* what was there before must not matter: only key and LOOK are the owner's */
	memset(&pair->node[id], 0xee, sizeof(pair->node[id]));
	pair->node[id].key_lo = id & KS_RB_LOOK;
	ks_rb_set_key(&pair->node[id], key);
	while (next) {
		parent = next;
		side = ks_rb_key(&pair->node[id]) >= ks_rb_key(&pair->node[next]);
		next = pair->node[next].child[side];
	}
	ks_rb_insert(&pair->tree, id, parent, side);
	pair->book_node[id].id = id;
	pair->book_node[id].key = key & ~UINT64_C(3);
	book_insert(&pair->book, &pair->book_node[id]);
	pair->live[pair->nr_live++] = id;
}

static uint32_t pair_take_live(struct pair *pair, uint32_t pos)
{
	const uint32_t id = pair->live[pos];

	pair->live[pos] = pair->live[--pair->nr_live];
	return id;
}

static void pair_erase(struct pair *pair, uint32_t pos)
{
	const uint32_t id = pair_take_live(pair, pos);

	ks_rb_erase(&pair->tree, id);
	book_delete(&pair->book, &pair->book_node[id]);
	pair->idle[pair->nr_idle++] = id;
}

static void pair_replace(struct pair *pair, uint32_t pos)
{
	const uint32_t from = pair_take_live(pair, pos);
	const uint32_t to = pair->idle[--pair->nr_idle];
	struct book_node *old = &pair->book_node[from], *new = &pair->book_node[to];

	memset(&pair->node[to], 0xee, sizeof(pair->node[to]));
	pair->node[to].key_lo = to & KS_RB_LOOK;
	ks_rb_set_key(&pair->node[to], old->key);
	ks_rb_replace(&pair->tree, from, to);
	*new = *old;
	new->id = to;
	book_transplant(&pair->book, old, new);
	if (new->left != &pair->book.nil)
		new->left->p = new;
	if (new->right != &pair->book.nil)
		new->right->p = new;
	pair->live[pair->nr_live++] = to;
	pair->idle[pair->nr_idle++] = from;
}

/* Same shape, colours, keys; LOOK untouched. Returns the number of nodes. */
static uint32_t expect_same(const struct pair *pair, uint32_t id, const struct book_node *node)
{
	const struct ks_rb_node *ours;

	if (node == &pair->book.nil) {
		assert_int_equal(id, 0);
		return 0;
	}
	assert_int_equal(id, node->id);
	ours = &pair->node[id];
	assert_int_equal((ours->key_lo & KS_RB_RED) != 0, node->red);
	assert_int_equal(ks_rb_key(ours), node->key);
	assert_int_equal(ours->key_lo & KS_RB_LOOK, id & KS_RB_LOOK);
	assert_int_equal(ours->parent, node->p->id);
	return 1 + expect_same(pair, ours->child[0], node->left) +
	       expect_same(pair, ours->child[1], node->right);
}

static void expect_pair(const struct pair *pair)
{
	assert_int_equal(expect_same(pair, pair->tree.root, pair->book.root), pair->nr_live);
	assert_true(ks_rb_valid(&pair->tree));
}

/* @insert_of_100 inserts among 100 operations, 10 replaces, the rest erases. */
static void churn(struct pair *pair, uint64_t *chance, unsigned steps, unsigned insert_of_100,
		  uint32_t key_bits, unsigned check_every)
{
	for (unsigned step = 0; step < steps; step++) {
		const uint32_t dice = test_random_below(chance, 100);

		if (dice < insert_of_100 || !pair->nr_live) {
			if (pair->nr_idle > 1)
				pair_insert(pair, test_random(chance) >> (64 - key_bits) << 2);
		} else {
			const uint32_t pos = test_random_below(chance, pair->nr_live);

			if (dice < insert_of_100 + 10)
				pair_replace(pair, pos);
			else
				pair_erase(pair, pos);
		}
		if (step % check_every == 0)
			expect_pair(pair);
	}
	expect_pair(pair);
}

static void shape_is_the_books_after_every_change(void **state)
{
	uint64_t chance = 11;

	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		struct pair *pair = pair_new();
		/* few keys: many equal ones; many keys: none */
		const uint32_t key_bits = round % 3 == 0 ? 3 : 62;

		churn(pair, &chance, 150, 70, key_bits, 1);
		churn(pair, &chance, 150, 45, key_bits, 1);
		churn(pair, &chance, 200, 20, key_bits, 1);
		free(pair);
	}
}

static void large_trees_keep_the_shape_too(void **state)
{
	struct pair *pair = pair_new();
	uint64_t chance = 12;

	(void)state;
	churn(pair, &chance, 6000, 60, 62, 100);
	churn(pair, &chance, 20000, 46, 62, 200);
	churn(pair, &chance, 6000, 10, 62, 100);
	free(pair);
}

static void ascending_and_descending_keys(void **state)
{
	(void)state;
	for (int down = 0; down < 2; down++) {
		struct pair *pair = pair_new();

		for (uint64_t i = 0; i < 600; i++) {
			pair_insert(pair, (down ? 600 - i : i) << 2);
			expect_pair(pair);
		}
		while (pair->nr_live) {
			pair_erase(pair, 0);
			expect_pair(pair);
		}
		assert_int_equal(pair->tree.root, 0);
		free(pair);
	}
}

static void iteration_is_in_order(void **state)
{
	struct pair *pair = pair_new();
	uint64_t chance = 13, last = 0;
	uint32_t nr = 0;

	(void)state;
	assert_int_equal(ks_rb_first(&pair->tree), 0);
	assert_true(ks_rb_valid(&pair->tree));
	churn(pair, &chance, 3000, 60, 62, 1000);
	for (uint32_t id = ks_rb_first(&pair->tree); id; id = ks_rb_next(&pair->tree, id)) {
		assert_true(ks_rb_key(&pair->node[id]) >= last);
		last = ks_rb_key(&pair->node[id]);
		nr++;
	}
	assert_int_equal(nr, pair->nr_live);
	free(pair);
}

static void setting_a_key_keeps_the_trees_bits(void **state)
{
	struct ks_rb_node node = { .key_lo = KS_RB_LOOK | KS_RB_RED };

	(void)state;
	ks_rb_set_key(&node, UINT64_C(0x123456789abcdef7));
	assert_int_equal(ks_rb_key(&node), UINT64_C(0x123456789abcdef4));
	assert_int_equal(node.key_lo & 3, KS_RB_LOOK | KS_RB_RED);
	node.key_lo &= ~KS_RB_RED;
	ks_rb_set_key(&node, UINT64_MAX);
	assert_int_equal(node.key_lo & 3, KS_RB_LOOK);
}

/* Breaks one thing in a good tree; valid must see it. */
static void broken_trees_are_seen(void **state)
{
	struct pair *pair = pair_new();
	struct ks_rb_node *root;
	uint32_t leaf;

	(void)state;
	for (uint64_t i = 0; i < 100; i++)
		pair_insert(pair, i << 2);
	root = &pair->node[pair->tree.root];
	leaf = ks_rb_first(&pair->tree);

	root->key_lo |= KS_RB_RED;
	assert_false(ks_rb_valid(&pair->tree));
	root->key_lo &= ~KS_RB_RED;
	assert_true(ks_rb_valid(&pair->tree));

	pair->node[leaf].key_lo ^= KS_RB_RED; /* one black node more or less on this path */
	assert_false(ks_rb_valid(&pair->tree));
	pair->node[leaf].key_lo ^= KS_RB_RED;

	pair->node[leaf].parent = pair->tree.root;
	assert_false(ks_rb_valid(&pair->tree));
	free(pair);
}

/* Hand made: heights agree, but two red nodes follow each other. */
static void two_red_nodes_in_a_row_are_seen(void **state)
{
	struct pair *pair = pair_new();

	(void)state;
	pair->tree.root = 2;
	pair->node[2] = (struct ks_rb_node){ .key_lo = 8, .child = { 1, 3 } };
	pair->node[1] = (struct ks_rb_node){ .key_lo = 4 | KS_RB_RED, .parent = 2 };
	pair->node[3] = (struct ks_rb_node){ .key_lo = 12 | KS_RB_RED, .parent = 2 };
	assert_true(ks_rb_valid(&pair->tree));
	pair->node[3].child[1] = 4;
	pair->node[4] = (struct ks_rb_node){ .key_lo = 16 | KS_RB_RED, .parent = 3 };
	assert_false(ks_rb_valid(&pair->tree));
	free(pair);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(shape_is_the_books_after_every_change),
	cmocka_unit_test(large_trees_keep_the_shape_too),
	cmocka_unit_test(ascending_and_descending_keys),
	cmocka_unit_test(iteration_is_in_order),
	cmocka_unit_test(setting_a_key_keeps_the_trees_bits),
	cmocka_unit_test(broken_trees_are_seen),
	cmocka_unit_test(two_red_nodes_in_a_row_are_seen),
};

TEST_MAIN(tests)
