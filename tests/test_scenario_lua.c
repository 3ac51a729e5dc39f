/*
 * test_scenario_lua.c - scenarios in Lua: the same operations, no way out, nothing that
 * differs from run to run, and limits that a script cannot pass.
 */
#include "outcome.h"

#include <string.h>

static void run_script(struct outcome *out, const char *text)
{
	static const struct sim_options options = { .check = true,
						    .lua_instructions = 10000000,
						    .lua_bytes = (size_t)128 << 20 };

	outcome_run(out, &options, true, text, strlen(text));
}

static void echoes(const char *script, const char *text)
{
	struct outcome out;

	run_script(&out, script);
	if (out.status)
		fail_msg("%s", out.error);
	assert_string_equal(out.echo, text);
	outcome_free(&out);
}

static void dies(const char *script, const char *words)
{
	struct outcome out;

	run_script(&out, script);
	assert_int_equal(out.status, SIM_EINPUT);
	if (!strstr(out.error, words))
		fail_msg("'%s' is not in '%s'", words, out.error);
	outcome_free(&out);
}

static void lua_calls_are_the_same_operations(void **state)
{
	struct outcome lines, lua;

	(void)state;
	outcome_of(&lines, "proc A\nmmap A h 4 populate prot=rw\nmadvise A h MERGEABLE\n");
	run_script(&lua, "proc('A')\nmmap('A', 'h', 4, {prot='rw', populate=true, shared=false})\n"
			 "madvise('A', 'h', 'MERGEABLE')\n");
	assert_int_equal(lua.status, 0);
	assert_string_equal(strchr(lines.json, '\n'), strchr(lua.json, '\n'));
	outcome_free(&lines);
	outcome_free(&lua);
}

static void lua_sees_results_and_figures(void **state)
{
	(void)state;
	echoes("proc('A') local at = mmap('A','h',4) fill('A','h+0:2','byte:7')\n"
	       "madvise('A','h','MERGEABLE') echo(scan(2)) echo(string.format('%x', at))\n"
	       "echo(ksm('run', 7)) echo(counter('pages_sharing')) echo(knob('run'))\n"
	       "print(process('A').rmap_items, process('A').ksm_pages) "
	       "echo(page('A','h+1').state)\n"
	       "print(expect('pages_shared=1'), knob('advisor_mode'), now(), profile)\n",
	       "4\n10000000000\n-22\n1\n0\n2 2\nksm\ntrue none 0 linux-6.18\n");
}

static void lua_expectations_fail_the_run(void **state)
{
	struct outcome out;

	(void)state;
	run_script(&out, "proc('A')\nprint(expect('pages_shared=1', 'run=0'))\n");
	assert_int_equal(out.status, 0);
	assert_int_equal(out.failed, 1);
	assert_string_equal(out.failure, "t.lua:2: expected pages_shared=1, seen 0");
	assert_string_equal(out.echo, "false\n");
	outcome_free(&out);
}

static void lua_errors_name_file_and_line(void **state)
{
	(void)state;
	dies("proc('A')\n\nmadvise('A', 'heap', 'MERGEABLE')\n", "t.lua:3: A has no region 'heap'");
	dies("proc('A')\nmmap('A', 'h', 1.5)\n",
	     "t.lua:2: argument 3 is a number; expected a whole");
	dies("mmap('A', {}, 1)\n", "t.lua:1: argument 2 is a table");
	dies("\n\nx = nil + 1\n", "t.lua:3: attempt to perform arithmetic");
	dies("x = = 1\n", "t.lua:1: unexpected symbol");
	dies("error({})\n", "error() with a table");
	dies("counter('pages_shred')\n", "t.lua:1: unknown counter 'pages_shred'; did you mean");
	dies("echo('a\\nb')\n", "t.lua:1: argument 1 has a control character");
	dies("\x1bLua\n", "t.lua: attempt to load a binary chunk");
	dies("pcall(proc) proc('B')\n", "t.lua:1: the line ends; expected a new name");
}

static void lua_has_no_way_out(void **state)
{
	(void)state;
	echoes("for _, n in ipairs{'io','os','package','debug','load','loadstring','loadfile',"
	       "'dofile','require','collectgarbage','next','warn'} do print(n, _G[n]) end\n"
	       "print(string.dump, math.randomseed)\n",
	       "io nil\nos nil\npackage nil\ndebug nil\nload nil\nloadstring nil\nloadfile nil\n"
	       "dofile nil\nrequire nil\ncollectgarbage nil\nnext nil\nwarn nil\nnil nil\n");
	dies("setmetatable({}, {__gc = function() end})", "__gc is not available");
	dies("string.format('%p', {})", "%p is an address");
	dies("string.format('%%%-10p', 1)", "%p is an address");
}

static void lua_shows_no_addresses_and_no_hash_order(void **state)
{
	(void)state;
	echoes("local t = {}\nfor i = 1, 40 do t['k' .. i % 40] = i end\nt[3] = 1 t[-1] = 1 "
	       "t[2.5] = 1 t[true] = 1\nlocal s = {}\nfor k in pairs(t) do s[#s + 1] = "
	       "tostring(k) end\nprint(table.concat(s, ' ', 1, 7), s[44])\n",
	       "-1 2.5 3 k0 k1 k10 k11 true\n");
	dies("for k in pairs({[{}] = 1}) do end", "t.lua:1: pairs: a key that is a table");
	echoes("print({}, print, string.format('%s', {}), tostring(nil))",
	       "table function table nil\n");
	echoes("local t = {}\nfor i = 1, 500 do t[i] = {i % 7, i} end\n"
	       "table.sort(t, function(a, b) return a[1] < b[1] end)\nlocal ok = true\n"
	       "for i = 2, 500 do local a, b = t[i-1], t[i]\n"
	       "ok = ok and (a[1] < b[1] or a[1] == b[1] and a[2] < b[2]) end\nprint(ok)",
	       "true\n");
}

static void lua_instructions_are_limited(void **state)
{
	static const char limit[] = "t.lua:1: the script ran more instructions than the limit";

	(void)state;
	dies("while true do end", limit);
	dies("while true do pcall(function() while true do end end) end", limit);
	dies("local function f() return pcall(f) end while true do f() end", limit);
	dies("while true do coroutine.wrap(function() end)() end", limit);
	dies("coroutine.wrap(function() while true do end end)()", limit);
	dies("table.sort({3, 2, 1}, function() while true do end end)", limit);
}

static void lua_library_functions_count_their_work(void **state)
{
	static const char limit[] = "the script ran more instructions than the limit";

	(void)state;
	dies("local s = string.rep('a', 5000) s:find('.-.-.-b')", limit);
	dies("local s = string.rep('a', 60) s:match(string.rep('a*', 30) .. 'b')", limit);
	dies("local s = string.rep('a', 5000) for w in s:gmatch('.*.*.*b') do end", limit);
	dies("local s = string.rep('a', 100) s:gsub(string.rep('a?', 40) .. 'b', '')", limit);
	dies("local s = string.rep('(', 99999) s:find('%b()')", limit);
	dies("local s = string.rep('a', 99999) s:find(s:sub(2) .. 'b', 1, true) s:find('%f[b]')\n"
	     "s:find('(a*)%1b')",
	     limit);
	dies("string.rep('', 1 << 60)", limit);
	dies("while true do string.rep('x', 1000000) end", limit);
	dies("local s = string.rep('x', 1000000) while true do local t = s .. 'y' end", limit);
	dies("local s = string.rep('x', 1000000) while true do pcall(utf8.len, s) end", limit);
	dies("local t = {'a'} table.move(t, 1, 1 << 60, 2)", limit);
	dies("local t = {} for i = 1, 20000 do table.insert(t, 1, i) end", limit);
	dies("local t = {} for i = 1, 20000 do t[i] = '' end\n"
	     "while true do table.concat(t) end",
	     limit);
	dies("local t = setmetatable({}, {__len = function() return 1 << 60 end})\n"
	     "table.insert(t, 1, 1)",
	     "t.lua:2: a table with __len cannot be shifted");
	dies("local t = {} t[100000] = 1 while true do pcall(table.unpack, t, 1, 100000) end",
	     limit);
}

static void lua_library_functions_do_what_they_did(void **state)
{
	(void)state;
	echoes("print(('key = value'):match('^(%w+)%s*=%s*(%w+)$'))\n"
	       "print(('a.b'):find('.', 1, true), ('x(y(z))w'):match('%b()'))\n"
	       "print(('hello world'):gsub('o', '0'), ('THE (quick) fox'):find('%f[%a]%a+%f[%A]', "
	       "5))\n"
	       "local n = 0 for a, b in ('k=v, l=w'):gmatch('(%w)=(%w)') do n = n + 1 end "
	       "print(n)\n"
	       "print(('abab'):match('(ab)%1'), ('[x]'):match('[]]'), ('a-b'):match('[a%-]+'))\n"
	       "local t = {1, 2, 3} table.insert(t, 2, 9) table.insert(t, 8) table.remove(t, 1)\n"
	       "print(table.concat(t, ',')) print(table.concat(t, ',', 2, 3), table.unpack(t))\n"
	       "print(string.rep('ab', 3, '-'), pcall(string.find, 'a', '['))\n",
	       "key value\n2 (y(z))\nhell0 w0rld 6 10\n2\nab ] a-\n9,2,3,8\n2,3 9 2 3 8\n"
	       "ab-ab-ab false malformed pattern (missing ']')\n");
}

static void lua_memory_and_depth_are_limited(void **state)
{
	(void)state;
	dies("local s = 'x' while true do s = s .. s end",
	     "the script needs more than 134217728 bytes");
	dies("string.rep('x', 1 << 40)", "resulting string too large");
	dies("string.rep('x', 1 << 30)", "the script needs more than 134217728 bytes");
	dies("local function f() return 1 + f() end f()", "stack overflow");
	dies("local s = string.rep('(', 300) .. '1' local t = setmetatable({}, "
	     "{__index = function(t, k) return t[k] end}) print(t.x)",
	     "overflow");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(lua_calls_are_the_same_operations),
	cmocka_unit_test(lua_sees_results_and_figures),
	cmocka_unit_test(lua_expectations_fail_the_run),
	cmocka_unit_test(lua_errors_name_file_and_line),
	cmocka_unit_test(lua_has_no_way_out),
	cmocka_unit_test(lua_shows_no_addresses_and_no_hash_order),
	cmocka_unit_test(lua_instructions_are_limited),
	cmocka_unit_test(lua_library_functions_count_their_work),
	cmocka_unit_test(lua_library_functions_do_what_they_did),
	cmocka_unit_test(lua_memory_and_depth_are_limited),
};

TEST_MAIN(tests)
