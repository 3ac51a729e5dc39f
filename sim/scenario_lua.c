/*
 * scenario_lua.c - scenarios in Lua: the same operations as functions.
 *
 * A call becomes the words of a line: madvise("A", "heap+3:2", "MERGEABLE")
 * and mmap("A", "heap", 4, {prot = "r", shared = true}) go through the parser
 * of the line form, so there is one syntax and one set of messages. Operations
 * return their result (negative errno if the kernel refused), expect() returns
 * whether it held. To look: counter(), knob(), process(), page(), now().
 *
 * The sandbox has no clock, file, process or code loading, and nothing whose
 * order or value differs from run to run: pairs() is sorted, table.sort() is
 * stable, math.random() is seeded, tostring() of a table has no address. What
 * can be written in Lua for that is in lua_prelude.c.
 *
 * Limits: instructions by a count hook (which also fires inside pcall, and at
 * every instruction once the limit is reached, so it cannot be caught for long)
 * and by library functions that count their work (lua_work.c); bytes by the
 * allocator, which counts the work of large blocks, too. Finalizers are refused,
 * because Lua runs them with hooks off.
 */
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "lua_work.h"
#include "run.h"

#define HOOK_EVERY 1000
#define BLOCK_BYTES 4096u /* larger ones count as work */
#define BYTES_OF_INSTRUCTION 32u

struct script {
	struct sim_run *run;
	lua_State *lua;
	FILE *in;
	size_t bytes, bytes_max;
	uint64_t left;	     /* instructions */
	struct sim_buf text; /* of the call that runs */
	char chunk[4096];
};

static struct script *script_of(lua_State *lua)
{
	struct script *script;

	memcpy(&script, lua_getextraspace(lua), sizeof(script));
	return script;
}

/* ---- limits ---- */

static const char over_limit[] = "the script ran more instructions than the limit (--lua-limit)";

/* Strings grow in single instructions. false: no instructions are left for that. */
static bool count_block(struct script *script, size_t bytes)
{
	const uint64_t work = bytes > BLOCK_BYTES ? bytes / BYTES_OF_INSTRUCTION : 0;

	if (work > script->left) {
		script->left = 0;
		return false;
	}
	script->left -= work;
	return true;
}

static void *allocate(void *self, void *ptr, size_t old, size_t bytes)
{
	struct script *script = self;
	void *new;

	if (!ptr)
		old = 0; /* it is a type then */
	if (!bytes) {
		sim_free(&script->run->mem, ptr);
		script->bytes -= old;
		return NULL;
	}
	if (bytes > old && bytes - old > script->bytes_max - script->bytes)
		return NULL;
	if (bytes > old && !count_block(script, bytes - old))
		return NULL;
	new = sim_resize(&script->run->mem, ptr, bytes);
	if (!new &&bytes > old) {
		/* for good: Lua may try again, and a script may catch it */
		sim_fail(script->run, KSMSIM_ENOMEM);
		return NULL;
	}
	if (!new)
		new = ptr; /* Lua wants shrinking never to fail */
	script->bytes += bytes - old;
	return new;
}

/* @level: of the function that runs, for the message: 0 in a hook, 1 in a C function */
static void charge(lua_State *lua, uint64_t instructions, int level)
{
	struct script *script = script_of(lua);

	if (script->left >= instructions) {
		script->left -= instructions;
		return;
	}
	script->left = 0;
	lua_sethook(lua, lua_gethook(lua), LUA_MASKCOUNT, 1);
	luaL_where(lua, level);
	lua_pushstring(lua, over_limit);
	lua_concat(lua, 2);
	lua_error(lua);
}

void sim_lua_charge(lua_State *lua, uint64_t instructions)
{
	charge(lua, instructions, 1);
}

uint64_t sim_lua_left(lua_State *lua)
{
	return script_of(lua)->left;
}

size_t sim_lua_bytes(lua_State *lua)
{
	return script_of(lua)->bytes_max;
}

static void hook(lua_State *lua, lua_Debug *debug)
{
	(void)debug;
	charge(lua, HOOK_EVERY, 0);
}

/* A new coroutine has a count of its own, so each costs one period of the hook. */
static int coroutine_create(lua_State *lua)
{
	charge(lua, HOOK_EVERY, 1);
	lua_pushvalue(lua, lua_upvalueindex(1));
	lua_insert(lua, 1);
	lua_call(lua, lua_gettop(lua) - 1, LUA_MULTRET);
	return lua_gettop(lua);
}

/* ---- calls ---- */

static int raise(lua_State *lua)
{
	lua_pushstring(lua, script_of(lua)->run->error);
	return lua_error(lua);
}

/* The line of the script that is running; every message of the run has it. */
static void locate(lua_State *lua)
{
	struct script *script = script_of(lua);
	lua_Debug debug;
	int level;

	for (level = 1; lua_getstack(lua, level, &debug); level++) {
		lua_getinfo(lua, "Sl", &debug);
		if (debug.currentline > 0 && strcmp(debug.source, "=prelude") != 0) {
			script->run->line = (unsigned long)debug.currentline;
			return;
		}
	}
}

static int refuse_argument(lua_State *lua, int index, const char *expected)
{
	struct script *script = script_of(lua);

	sim_refuse(script->run, NULL, "argument %d is a %s; expected %s", index,
		   luaL_typename(lua, index), expected);
	return raise(lua);
}

/* The value at @index as it would stand in a line. @shown: argument for the message */
static void put_value(lua_State *lua, int index, int shown)
{
	struct script *script = script_of(lua);
	const char *text;
	size_t length;
	int exact;

	if (lua_type(lua, index) == LUA_TNUMBER) {
		const lua_Integer number = lua_tointegerx(lua, index, &exact);

		if (!exact)
			refuse_argument(lua, shown, "a whole number");
		sim_buf_printf(&script->text, "%lld", (long long)number);
		return;
	}
	if (lua_type(lua, index) != LUA_TSTRING)
		refuse_argument(lua, shown, "a string or a number");
	text = lua_tolstring(lua, index, &length);
	if (!sim_text_is_clean(text, length)) {
		sim_refuse(script->run, NULL,
			   "argument %d has a control character, or is not UTF-8", shown);
		raise(lua);
	}
	sim_buf_put(&script->text, text, length);
}

/* {prot = "r", shared = true}: in the order of the names. */
static void put_options(lua_State *lua, int index)
{
	struct script *script = script_of(lua);
	const char *last = NULL, *key, *least;

	for (;; last = least) {
		least = NULL;
		lua_pushnil(lua);
		while (lua_next(lua, index)) {
			lua_pop(lua, 1);
			if (lua_type(lua, -1) != LUA_TSTRING)
				refuse_argument(lua, index, "a table of named options");
			key = lua_tostring(lua, -1);
			if ((!last || strcmp(key, last) > 0) && (!least || strcmp(key, least) < 0))
				least = key; /* kept alive by the table */
		}
		if (!least)
			return;
		lua_getfield(lua, index, least);
		if (lua_toboolean(lua, -1))
			sim_buf_printf(&script->text, " %s", least);
		if (lua_type(lua, -1) != LUA_TBOOLEAN) {
			sim_buf_put(&script->text, "=", 1);
			put_value(lua, lua_gettop(lua), index);
		}
		lua_pop(lua, 1);
	}
}

/* Any operation; upvalue 1: its name. */
static int call(lua_State *lua)
{
	struct script *script = script_of(lua);
	struct sim_run *run = script->run;
	const char *name = lua_tostring(lua, lua_upvalueindex(1));
	const int nr = lua_gettop(lua);
	const uint64_t failed = run->nr_failed;
	int i;

	if (run->status)
		return raise(lua);
	locate(lua);
	sim_buf_clear(&script->text);
	sim_buf_printf(&script->text, "%s", name);
	for (i = 1; i <= nr; i++) {
		if (i == nr && lua_istable(lua, i)) {
			put_options(lua, i);
			continue;
		}
		sim_buf_put(&script->text, " ", 1);
		put_value(lua, i, i);
	}
	run->cut.text = sim_buf_text(&script->text);
	run->cut.length = script->text.length;
	if (script->text.failed || !sim_line_cut(run, &run->cut))
		sim_fail(run, KSMSIM_ENOMEM);
	else if (script->text.length > SIM_LINE_MAX)
		sim_refuse(run, NULL, "an operation longer than %u bytes", SIM_LINE_MAX);
	else
		sim_run_cut(run);
	if (run->status)
		return raise(lua);
	if (!strcmp(name, "expect"))
		lua_pushboolean(lua, run->nr_failed == failed);
	else
		lua_pushinteger(lua, run->result);
	return 1;
}

/* ---- looking ---- */

static struct sim_word word_at(lua_State *lua, int index)
{
	struct sim_word word;

	locate(lua);
	if (lua_type(lua, index) != LUA_TSTRING)
		refuse_argument(lua, index, "a name");
	word.text = lua_tolstring(lua, index, &word.length);
	return word;
}

static int look_counter(lua_State *lua)
{
	struct sim_run *run = script_of(lua)->run;
	const enum ksmsim_table table = KSMSIM_TABLE_COUNTERS;
	const struct sim_word word = word_at(lua, 1);
	const unsigned counter = sim_counter_of(word);
	struct sim_mthp mthp = { 0 };
	unsigned stat, order;
	const char *guess;
	int64_t value = 0;
	int error = 0;

	if (sim_mthp_find(run->world.page, word, &stat, &order) && run->backend->ops->mthp) {
		error = run->backend->ops->mthp(run->backend, &mthp);
		value = mthp.value[stat][order];
	} else if (counter == KSMSIM_COUNT_NR) {
		guess = sim_nearest(word.text, word.length, sim_table_name, &table);
		sim_refuse(run, NULL, "unknown counter '%.*s'%s%s", SIM_WORD_ARG(word),
			   guess ? "; did you mean " : "", guess ? guess : "");
	} else {
		error = run->backend->ops->counter(run->backend, (enum ksmsim_counter)counter,
						   &value);
	}
	if (error)
		sim_fail(run, error);
	if (run->status)
		return raise(lua);
	lua_pushinteger(lua, value);
	return 1;
}

static int look_knob(lua_State *lua)
{
	struct sim_run *run = script_of(lua)->run;
	const struct sim_word word = word_at(lua, 1);
	const char *file = sim_file_of(word);
	char text[256];
	int64_t ret = 0;
	struct sim_word seen;
	uint64_t number;
	int error = 0;

	if (!file)
		sim_refuse(run, NULL, "unknown knob '%.*s'", SIM_WORD_ARG(word));
	else
		error = run->backend->ops->read_file(run->backend, file, text, sizeof(text), &ret);
	if (error)
		sim_fail(run, error);
	if (run->status)
		return raise(lua);
	if (ret < 0)
		return 0; /* nil: not in this kernel */
	seen = sim_file_value(text);
	if (sim_word_number(seen, &number))
		lua_pushlstring(lua, seen.text, seen.length);
	else
		lua_pushinteger(lua, (lua_Integer)number);
	return 1;
}

static int look_process(lua_State *lua)
{
	struct sim_run *run = script_of(lua)->run;
	struct ksmsim_process seen;
	uint32_t process;
	size_t i, nr;
	const struct ksmsim_row *rows = sim_figures(&nr);
	int64_t values[SIM_FIGURE_NR];
	int error;

	if (sim_process_parse(run, word_at(lua, 1), &process))
		return raise(lua);
	error = run->backend->ops->process(run->backend, process, &seen);
	if (!error)
		error = sim_figures_read(run->backend, process, &seen, 0, values);
	lua_createtable(lua, 0, (int)nr);
	for (i = 0; !error && i < nr; i++) {
		lua_pushinteger(lua, values[i]);
		lua_setfield(lua, -2, rows[i].name);
	}
	if (!error)
		return 1;
	sim_fail(run, error);
	return raise(lua);
}

static void set_boolean(lua_State *lua, const char *name, bool value)
{
	lua_pushboolean(lua, value);
	lua_setfield(lua, -2, name);
}

static void set_integer(lua_State *lua, const char *name, uint64_t value)
{
	lua_pushinteger(lua, (lua_Integer)value);
	lua_setfield(lua, -2, name);
}

static int look_page(lua_State *lua)
{
	struct sim_run *run = script_of(lua)->run;
	struct sim_range range;
	struct ksmsim_page page;
	uint32_t process;
	int error;

	if (sim_process_parse(run, word_at(lua, 1), &process) ||
	    sim_range_parse(run, process, word_at(lua, 2), &range))
		return raise(lua);
	error = run->backend->ops->page(run->backend, process, range.vaddr, &page);
	if (error && sim_fail(run, error))
		return raise(lua);
	lua_createtable(lua, 0, 12);
	lua_pushstring(lua, sim_state_name(NULL, page.state));
	lua_setfield(lua, -2, "state");
	set_integer(lua, "pfn", page.pfn);
	set_integer(lua, "mapcount", page.mapcount);
	set_integer(lua, "refs", page.refs);
	set_integer(lua, "node", page.node);
	set_integer(lua, "checksum", page.checksum);
	set_integer(lua, "order", page.order);
	set_boolean(lua, "writable", page.writable);
	set_boolean(lua, "dirty", page.dirty);
	set_boolean(lua, "has_item", page.has_item);
	set_boolean(lua, "pmd_mapped", page.pmd_mapped);
	set_boolean(lua, "soft_dirty", page.soft_dirty);
	set_boolean(lua, "huge_zero", page.huge_zero);
	return 1;
}

static int look_now(lua_State *lua)
{
	lua_pushinteger(lua, (lua_Integer)sim_run_now(script_of(lua)->run));
	return 1;
}

/* ---- the sandbox ---- */

static void forget(lua_State *lua, const char *table, const char *const *names)
{
	lua_getglobal(lua, table);
	for (; *names; names++) {
		lua_pushnil(lua);
		lua_setfield(lua, -2, *names);
	}
	lua_pop(lua, 1);
}

static void open_libraries(lua_State *lua)
{
	static const luaL_Reg libraries[] = {
		{ LUA_GNAME, luaopen_base },	    { LUA_TABLIBNAME, luaopen_table },
		{ LUA_STRLIBNAME, luaopen_string }, { LUA_MATHLIBNAME, luaopen_math },
		{ LUA_UTF8LIBNAME, luaopen_utf8 },  { LUA_COLIBNAME, luaopen_coroutine },
	};
	static const char *const base[] = { "collectgarbage", "dofile", "load", "loadfile",
					    "warn",	      "next",	NULL };
	static const char *const string[] = { "dump", NULL };
	static const char *const math[] = { "randomseed", NULL };
	struct script *script = script_of(lua);
	size_t i;

	for (i = 0; i < sizeof(libraries) / sizeof(*libraries); i++) {
		luaL_requiref(lua, libraries[i].name, libraries[i].func, 1);
		lua_pop(lua, 1);
	}
	lua_getglobal(lua, "math");
	lua_getfield(lua, -1, "randomseed");
	lua_pushinteger(lua, (lua_Integer)script->run->options.seed);
	lua_call(lua, 1, 0);
	lua_pop(lua, 1);
	if (luaL_loadbufferx(lua, sim_lua_prelude, strlen(sim_lua_prelude), "=prelude", "t"))
		lua_error(lua);
	lua_call(lua, 0, 0);
	forget(lua, LUA_GNAME, base);
	forget(lua, "string", string);
	forget(lua, "math", math);
}

static void wrap_coroutines(lua_State *lua)
{
	static const char *const names[] = { "create", "wrap" };
	size_t i;

	lua_getglobal(lua, "coroutine");
	for (i = 0; i < 2; i++) {
		lua_getfield(lua, -1, names[i]);
		lua_pushcclosure(lua, coroutine_create, 1);
		lua_setfield(lua, -2, names[i]);
	}
	lua_pop(lua, 1);
}

static void add_functions(lua_State *lua)
{
	static const luaL_Reg looks[] = { { "counter", look_counter }, { "knob", look_knob },
					  { "process", look_process }, { "page", look_page },
					  { "now", look_now },	       { NULL, NULL } };
	size_t i, nr;
	const struct ksmsim_row *rows = sim_operations(&nr);

	for (i = 0; i < nr; i++) {
		lua_pushstring(lua, rows[i].name);
		lua_pushcclosure(lua, call, 1);
		lua_setglobal(lua, rows[i].name);
	}
	lua_pushglobaltable(lua);
	luaL_setfuncs(lua, looks, 0);
	lua_pop(lua, 1);
	lua_pushstring(lua, sim_run_profile(script_of(lua)->run));
	lua_setglobal(lua, "profile");
}

/* ---- running ---- */

static const char *read_chunk(lua_State *lua, void *self, size_t *size)
{
	struct script *script = self;

	(void)lua;
	*size = fread(script->chunk, 1, sizeof(script->chunk), script->in);
	return *size ? script->chunk : NULL;
}

/* Everything that may raise an error. Argument 1: the name of the chunk, as a pointer. */
static int body(lua_State *lua)
{
	struct script *script = script_of(lua);

	open_libraries(lua);
	wrap_coroutines(lua);
	sim_lua_count_work(lua);
	add_functions(lua);
	if (lua_load(lua, read_chunk, script, lua_touserdata(lua, 1), "t"))
		return lua_error(lua);
	if (ferror(script->in)) {
		sim_refuse(script->run, NULL, "cannot be read");
		return raise(lua);
	}
	lua_sethook(lua, hook, LUA_MASKCOUNT, HOOK_EVERY);
	lua_call(lua, 0, 0);
	return 0;
}

/* What the script died of, as the error of the run. */
static int died(struct script *script, int status)
{
	struct sim_run *run = script->run;
	const char *text;

	if (run->status)
		return run->status;
	if (status == LUA_ERRMEM && !script->left)
		return sim_fail_with(run, SIM_EINPUT, "%s", over_limit);
	if (status == LUA_ERRMEM)
		return sim_fail_with(run, SIM_EINPUT, "the script needs more than %zu bytes",
				     script->bytes_max);
	text = lua_type(script->lua, -1) == LUA_TSTRING ? lua_tostring(script->lua, -1) : NULL;
	if (text && !strncmp(text, run->name, strlen(run->name)))
		snprintf(run->error, sizeof(run->error), "%s", text);
	else if (text)
		snprintf(run->error, sizeof(run->error), "%s: %s", run->name, text);
	else
		snprintf(run->error, sizeof(run->error), "%s: error() with a %s", run->name,
			 luaL_typename(script->lua, -1));
	run->status = SIM_EINPUT;
	return run->status;
}

static int protected_run(struct script *script, const char *chunk_name)
{
	int status;

	/* neither needs memory, so neither can fail outside lua_pcall() */
	lua_pushcfunction(script->lua, body);
	lua_pushlightuserdata(script->lua, (void *)(uintptr_t)chunk_name);
	status = lua_pcall(script->lua, 1, 0, 0);
	return status ? died(script, status) : script->run->status;
}

int sim_run_lua(struct sim_run *run, FILE *in, const char *name)
{
	struct script *script;
	int error;

	if (run->status)
		return run->status;
	run->name = name;
	run->line = 1;
	run->lua = true;
	script = sim_alloc(&run->mem, sizeof(*script));
	if (!script)
		return sim_fail(run, KSMSIM_ENOMEM);
	script->run = run;
	script->in = in;
	script->left = run->options.lua_instructions ? run->options.lua_instructions
						     : SIM_LUA_INSTRUCTIONS;
	script->bytes_max = run->options.lua_bytes ? run->options.lua_bytes : SIM_LUA_BYTES;
	script->text.mem = &run->mem;
	sim_buf_clear(&run->scratch);
	sim_buf_printf(&run->scratch, "@%s", name);
	script->lua = lua_newstate(allocate, script);
	if (!script->lua || run->scratch.failed) {
		error = sim_fail(run, KSMSIM_ENOMEM);
	} else {
		memcpy(lua_getextraspace(script->lua), &script, sizeof(script));
		error = protected_run(script, sim_buf_text(&run->scratch));
	}
	if (script->lua)
		lua_close(script->lua);
	sim_buf_free(&script->text);
	run->cut.text = "";
	sim_free(&run->mem, script);
	return error;
}
