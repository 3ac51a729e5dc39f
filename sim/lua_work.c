/*
 * lua_work.c - library functions count their work as instructions.
 *
 * The hook that limits a script runs between instructions of Lua, and a call of
 * a C function is one. So the functions that can work for long on few arguments
 * are wrapped: first the work is found out, in steps of about one instruction,
 * and charged; then the function itself runs.
 *
 * For patterns the work is found by a rehearsal: the same search in the same
 * order, which gives no result, counts its steps and stops at the limit. If it
 * judges a pattern otherwise than Lua does, a count is wrong and nothing else;
 * at what Lua will refuse anyway it ends.
 */
#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include <lauxlib.h>

#include "lua_work.h"

#define DEPTH_MAX 200
#define CAPTURES_MAX 32
#define STACK_MAX 1000000u    /* values on Lua's stack */
#define COPY_BYTES 16u	      /* copied in the time of one instruction */
#define ENTRIES_MAX (1 << 26) /* of a table: more do not fit in its memory */

/* ---- patterns ---- */

enum { OPEN = -1, POSITION = -2 };

struct rehearsal {
	const char *begin, *end; /* of the subject */
	const char *pattern_end;
	uint64_t steps, max;
	bool over; /* it is refused, here or by Lua */
	int depth, nr_captures;
	struct {
		const char *at;
		ptrdiff_t length;
	} captures[CAPTURES_MAX];
};

static const char *walk(struct rehearsal *r, const char *s, const char *p);

static void step(struct rehearsal *r, size_t steps)
{
	r->steps += steps;
	if (r->steps > r->max)
		r->over = true;
}

static const char *give_up(struct rehearsal *r)
{
	r->over = true;
	return NULL;
}

/* Behind the item at @p; NULL: it is malformed. */
static const char *item_end(struct rehearsal *r, const char *p)
{
	const char *first, *end = r->pattern_end;

	if (*p == '%')
		return p + 1 < end ? p + 2 : give_up(r);
	if (*p++ != '[')
		return p;
	if (p < end && *p == '^')
		p++;
	for (first = p; p < end; p++) {
		if (*p == ']' && p != first)
			return p + 1;
		p += *p == '%';
	}
	return give_up(r);
}

static bool in_class(int c, int class)
{
	static const struct {
		char letter;
		int (*is)(int c);
	} classes[] = { { 'a', isalpha }, { 'c', iscntrl }, { 'd', isdigit }, { 'g', isgraph },
			{ 'l', islower }, { 'p', ispunct }, { 's', isspace }, { 'u', isupper },
			{ 'w', isalnum }, { 'x', isxdigit } };
	size_t i;

	for (i = 0; i < sizeof(classes) / sizeof(*classes); i++)
		if (tolower(class) == classes[i].letter)
			return !classes[i].is(c) == !islower(class);
	return c == class;
}

/* @p: at the [, @last: at the ] */
static bool in_set(struct rehearsal *r, int c, const char *p, const char *last)
{
	const unsigned char *u = (const unsigned char *)p + 1, *end = (const unsigned char *)last;
	const bool inside = *u != '^';

	step(r, (size_t)(last - p) / 4);
	for (u += !inside; u < end; u++) {
		if (*u == '%' && u + 1 < end) {
			if (in_class(c, *++u))
				return inside;
		} else if (u + 2 < end && u[1] == '-') {
			if (u[0] <= c && c <= u[2])
				return inside;
			u += 2;
		} else if (*u == c) {
			return inside;
		}
	}
	return !inside;
}

static bool fits(struct rehearsal *r, const char *s, const char *p, const char *item_after)
{
	const int c = s < r->end ? (unsigned char)*s : -1;

	step(r, 1);
	if (c < 0 || r->over)
		return false;
	switch (*p) {
	case '.':
		return true;
	case '%':
		return in_class(c, (unsigned char)p[1]);
	case '[':
		return in_set(r, c, p, item_after - 1);
	default:
		return (unsigned char)*p == c;
	}
}

/* As many as there are, then fewer. */
static const char *expand(struct rehearsal *r, const char *s, const char *p, const char *after)
{
	const char *most = s, *found;

	while (fits(r, most, p, after))
		most++;
	for (; !r->over && most >= s; most--) {
		found = walk(r, most, after + 1);
		if (found)
			return found;
	}
	return NULL;
}

/* As few as will do. */
static const char *expand_slowly(struct rehearsal *r, const char *s, const char *p,
				 const char *after)
{
	const char *found;

	for (;; s++) {
		found = walk(r, s, after + 1);
		if (found || r->over || !fits(r, s, p, after))
			return found;
	}
}

static const char *open_capture(struct rehearsal *r, const char *s, const char *p)
{
	const bool position = p + 1 < r->pattern_end && p[1] == ')';
	const char *found;

	if (r->nr_captures == CAPTURES_MAX)
		return give_up(r);
	r->captures[r->nr_captures].at = s;
	r->captures[r->nr_captures++].length = position ? POSITION : OPEN;
	found = walk(r, s, p + 1 + position);
	if (!found)
		r->nr_captures--;
	return found;
}

static const char *close_capture(struct rehearsal *r, const char *s, const char *p)
{
	const char *found;
	int i = r->nr_captures - 1;

	while (i >= 0 && r->captures[i].length != OPEN)
		i--;
	if (i < 0)
		return give_up(r);
	r->captures[i].length = s - r->captures[i].at;
	found = walk(r, s, p + 1);
	if (!found)
		r->captures[i].length = OPEN;
	return found;
}

/* %bxy; @p: at x */
static const char *balance(struct rehearsal *r, const char *s, const char *p)
{
	uint64_t depth = 1;

	if (r->pattern_end - p < 2)
		return give_up(r);
	if (s >= r->end || *s != *p)
		return NULL;
	while (++s < r->end && !r->over) {
		step(r, 1);
		if (*s == p[1] && --depth == 0)
			return s + 1;
		depth += *s == *p && *s != p[1];
	}
	return NULL;
}

/* %f[set]; @p: at the [ */
static bool frontier(struct rehearsal *r, const char *s, const char *p, const char *after)
{
	const int before = s == r->begin ? 0 : (unsigned char)s[-1];
	const int here = s < r->end ? (unsigned char)*s : 0;

	return !in_set(r, before, p, after - 1) && in_set(r, here, p, after - 1);
}

/* %1: the same text again */
static const char *again(struct rehearsal *r, const char *s, int i)
{
	ptrdiff_t length;

	if (i < 0 || i >= r->nr_captures || r->captures[i].length == OPEN)
		return give_up(r);
	length = r->captures[i].length;
	if (length < 0 || r->end - s < length)
		return NULL;
	step(r, (size_t)length / COPY_BYTES + 1);
	return memcmp(r->captures[i].at, s, (size_t)length) ? NULL : s + length;
}

/* %b, %f, %1: *s and *p go behind it. false: it is another item. */
static bool special(struct rehearsal *r, const char **s, const char **p)
{
	const char kind = **p == '%' && *p + 1 < r->pattern_end ? (*p)[1] : '\0', *after;

	if (kind == 'b') {
		*s = balance(r, *s, *p + 2);
		*p += 4;
	} else if (kind == 'f') {
		after = *p + 2 < r->pattern_end && (*p)[2] == '[' ? item_end(r, *p + 2)
								  : give_up(r);
		if (!after || !frontier(r, *s, *p + 2, after))
			*s = NULL;
		*p = after;
	} else if (isdigit((unsigned char)kind)) {
		*s = again(r, *s, kind - '1');
		*p += 2;
	} else {
		return false;
	}
	return true;
}

/* One item that is no capture and no anchor, with its suffix. true: the rest of the pattern is done
 * with, *s is the outcome; else *s and *p are behind the item. */
static bool walk_item(struct rehearsal *r, const char **s, const char **p)
{
	const char *after = item_end(r, *p);
	const char *found;

	if (!after) {
		*s = NULL;
		return true;
	}
	switch (after < r->pattern_end ? *after : '\0') {
	case '*':
		*s = expand(r, *s, *p, after);
		return true;
	case '-':
		*s = expand_slowly(r, *s, *p, after);
		return true;
	case '+':
		*s = fits(r, *s, *p, after) ? expand(r, *s + 1, *p, after) : NULL;
		return true;
	case '?':
		found = fits(r, *s, *p, after) ? walk(r, *s + 1, after + 1) : NULL;
		*p = after + 1;
		if (found)
			*s = found;
		return found != NULL;
	default:
		*s = fits(r, *s, *p, after) ? *s + 1 : NULL;
		*p = after;
		return false;
	}
}

static const char *walk_items(struct rehearsal *r, const char *s, const char *p)
{
	while (s && !r->over && p < r->pattern_end) {
		step(r, 1);
		if (*p == '(')
			return open_capture(r, s, p);
		if (*p == ')')
			return close_capture(r, s, p);
		if (*p == '$' && p + 1 == r->pattern_end)
			return s == r->end ? s : NULL;
		if (!special(r, &s, &p) && walk_item(r, &s, &p))
			return s;
	}
	return r->over ? NULL : s;
}

static const char *walk(struct rehearsal *r, const char *s, const char *p)
{
	const char *found;

	step(r, 1);
	if (r->over || r->depth == DEPTH_MAX)
		return give_up(r);
	r->depth++;
	found = walk_items(r, s, p);
	r->depth--;
	return found;
}

/* @all: every match of the subject, not only the first */
static void rehearse(struct rehearsal *r, const char *s, const char *p, bool all, bool anchored)
{
	const char *found, *last = NULL;

	while (s <= r->end) {
		r->nr_captures = 0;
		found = walk(r, s, p);
		if (r->over || anchored || (found && !all))
			return;
		if (found && found != last)
			s = last = found;
		else
			s++;
	}
}

static void rehearse_plain(struct rehearsal *r, const char *s, const char *text, size_t length)
{
	size_t same;

	for (; !r->over && (size_t)(r->end - s) >= length; s++) {
		for (same = 0; same < length && s[same] == text[same];)
			same++;
		step(r, 1 + same / COPY_BYTES);
		if (same == length)
			return;
	}
}

static bool is_text(lua_State *lua, int index)
{
	return lua_type(lua, index) == LUA_TSTRING || lua_type(lua, index) == LUA_TNUMBER;
}

/* Where an index of a string points to, from 0; it may be behind the end. */
static size_t start_of(lua_State *lua, int index, size_t length)
{
	const lua_Integer at = lua_isnoneornil(lua, index) ? 1 : lua_tointeger(lua, index);

	if (at > 0)
		return (size_t)at - 1;
	if (at == 0 || (size_t) - (uint64_t)at > length)
		return 0;
	return length - (size_t) - (uint64_t)at;
}

static uint64_t search(lua_State *lua, uint64_t max, bool all, bool has_start, bool has_anchor,
		       bool plain)
{
	struct rehearsal r = { .max = max };
	size_t length, pattern_length, start = 0;
	const char *p;
	bool anchored;

	if (!is_text(lua, 1) || !is_text(lua, 2))
		return 0;
	r.begin = lua_tolstring(lua, 1, &length);
	p = lua_tolstring(lua, 2, &pattern_length);
	r.end = r.begin + length;
	r.pattern_end = p + pattern_length;
	if (has_start)
		start = start_of(lua, 3, length);
	if (start > length)
		return 0;
	anchored = has_anchor && pattern_length && *p == '^';
	if (plain)
		rehearse_plain(&r, r.begin + start, p, pattern_length);
	else
		rehearse(&r, r.begin + start, p + anchored, all, anchored);
	return r.steps;
}

static uint64_t work_find(lua_State *lua, uint64_t max)
{
	return search(lua, max, false, true, true, lua_toboolean(lua, 4));
}

static uint64_t work_match(lua_State *lua, uint64_t max)
{
	return search(lua, max, false, true, true, false);
}

static uint64_t work_gmatch(lua_State *lua, uint64_t max)
{
	return search(lua, max, true, true, false, false);
}

static uint64_t work_gsub(lua_State *lua, uint64_t max)
{
	return search(lua, max, true, false, true, false);
}

/* ---- lengths ---- */

/* From @from to @to, both of them. */
static uint64_t count_of(lua_Integer from, lua_Integer to, uint64_t max)
{
	const uint64_t nr = from <= to ? (uint64_t)to - (uint64_t)from : 0;

	return nr < max ? nr + 1 : max;
}

static uint64_t work_rep(lua_State *lua, uint64_t max)
{
	const lua_Integer n = lua_tointeger(lua, 2);
	size_t bytes = 0;

	(void)max;
	if (!is_text(lua, 1) || n <= 0)
		return 0;
	lua_tolstring(lua, 1, &bytes);
	if (is_text(lua, 3)) {
		size_t separator;

		lua_tolstring(lua, 3, &separator);
		bytes += separator;
	}
	/* too long: it is refused before anything is copied */
	if (bytes && bytes > sim_lua_bytes(lua) / (uint64_t)n)
		return 0;
	return (uint64_t)n + (uint64_t)n * bytes / COPY_BYTES;
}

static uint64_t work_text(lua_State *lua, uint64_t max)
{
	size_t length = 0;

	(void)max;
	if (is_text(lua, 1))
		lua_tolstring(lua, 1, &length);
	return length;
}

/* The length that concat will see is the one that is charged for. */
static uint64_t work_concat(lua_State *lua, uint64_t max)
{
	lua_Integer to;

	(void)max;
	if (!lua_istable(lua, 1))
		return 0;
	lua_settop(lua, 4);
	if (lua_isnil(lua, 4)) {
		to = luaL_len(lua, 1);
		lua_pushinteger(lua, to);
		lua_replace(lua, 4);
	}
	return count_of(lua_isnil(lua, 3) ? 1 : lua_tointeger(lua, 3), lua_tointeger(lua, 4),
			ENTRIES_MAX);
}

/* insert and remove move what is behind the place. */
static uint64_t work_shift(lua_State *lua, uint64_t max)
{
	(void)max;
	if (!lua_istable(lua, 1))
		return 0;
	if (luaL_getmetafield(lua, 1, "__len") != LUA_TNIL)
		luaL_error(lua, "a table with __len cannot be shifted");
	if (lua_isnoneornil(lua, 2) || !lua_isinteger(lua, 2))
		return 1;
	return count_of(lua_tointeger(lua, 2), (lua_Integer)lua_rawlen(lua, 1), ENTRIES_MAX);
}

static uint64_t work_move(lua_State *lua, uint64_t max)
{
	(void)max;
	return count_of(lua_tointeger(lua, 2), lua_tointeger(lua, 3), UINT64_MAX);
}

static uint64_t work_unpack(lua_State *lua, uint64_t max)
{
	const lua_Integer from = lua_isnoneornil(lua, 2) ? 1 : lua_tointeger(lua, 2);

	(void)max;
	return count_of(from,
			lua_isnoneornil(lua, 3) ? (lua_Integer)lua_rawlen(lua, 1)
						: lua_tointeger(lua, 3),
			STACK_MAX);
}

/* ---- wrapping ---- */

static const struct counted {
	const char *library, *name;
	uint64_t (*work)(lua_State *lua, uint64_t max); /* steps; may stop above @max */
} counted[] = {
	{ "string", "find", work_find },     { "string", "match", work_match },
	{ "string", "gmatch", work_gmatch }, { "string", "gsub", work_gsub },
	{ "string", "rep", work_rep },	     { "string", "byte", work_text },
	{ "utf8", "len", work_text },	     { "utf8", "codepoint", work_text },
	{ "utf8", "offset", work_text },     { "table", "concat", work_concat },
	{ "table", "insert", work_shift },   { "table", "remove", work_shift },
	{ "table", "move", work_move },	     { "table", "unpack", work_unpack },
};

/* Upvalues: index in counted[], the function. It runs in this frame, so its messages stay. */
static int run_counted(lua_State *lua)
{
	const struct counted *row = &counted[lua_tointeger(lua, lua_upvalueindex(1))];
	const lua_CFunction function = lua_tocfunction(lua, lua_upvalueindex(2));

	sim_lua_charge(lua, row->work(lua, sim_lua_left(lua)));
	return function(lua);
}

void sim_lua_count_work(lua_State *lua)
{
	size_t i;

	for (i = 0; i < sizeof(counted) / sizeof(*counted); i++) {
		lua_getglobal(lua, counted[i].library);
		lua_pushinteger(lua, (lua_Integer)i);
		lua_getfield(lua, -2, counted[i].name);
		lua_pushcclosure(lua, run_counted, 2);
		lua_setfield(lua, -2, counted[i].name);
		lua_pop(lua, 1);
	}
}
