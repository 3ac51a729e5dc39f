/*
 * lua_work.h - what the sandbox and its library functions count together.
 */
#ifndef SIM_LUA_WORK_H
#define SIM_LUA_WORK_H

#include <stddef.h>
#include <stdint.h>

#include <lua.h>

/* scenario_lua.c: raises the error of the limit if there are not so many left */
void sim_lua_charge(lua_State *lua, uint64_t instructions);
uint64_t sim_lua_left(lua_State *lua);
/* The bytes that the script may use. */
size_t sim_lua_bytes(lua_State *lua);

/* lua_work.c: library functions count their work from now on */
void sim_lua_count_work(lua_State *lua);

#endif
