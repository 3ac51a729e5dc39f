/*
 * live_group.c - the memory cgroup of the processes.
 *
 * What is reclaimed from a group of their own is theirs alone, so the deferred split
 * shrinker can be had for them. With cgroups of version 1 that is memory.force_empty,
 * with those of version 2 memory.reclaim, asked for more than there can be.
 *
 * Both try again and again, always as often, what could not be split included: 16 times
 * without success; memory.reclaim counts differently and comes to 17. The model is told
 * so by its knob shrink_tries. Another difference is no matter: the LRU batches are
 * drained before the first try, or before the last one, so here they are drained before.
 *
 * A kernel without memory cgroups, or one whose are another's to arrange, has none for
 * the processes, and nothing can be shrunk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "live_parts.h"

#define V1_DIR "/sys/fs/cgroup/memory"
#define V2_DIR "/sys/fs/cgroup"
#define V2_SWITCH V2_DIR "/cgroup.subtree_control"
#define MORE_THAN_THERE_IS "1T"
#define REMOVE_TRIES 100

static bool is_v1(void)
{
	return !access(V1_DIR "/cgroup.procs", W_OK);
}

/* ---- how often ---- */

#define TRIES_KNOB "shrink_tries"
#define TRIES_OF_RECLAIM "17"

/* The default is that of memory.force_empty. */
bool sim_live_setting(struct sim_setting *setting)
{
	*setting = (struct sim_setting){ TRIES_KNOB, TRIES_OF_RECLAIM };
	return !is_v1() && !access(V2_SWITCH, W_OK);
}

int live_group_write(struct live *live, const char *text, int64_t *result)
{
	const unsigned long tries = live->guard.group_v2 ? strtoul(TRIES_OF_RECLAIM, NULL, 10) : 16;

	*result = 0;
	if (strtoul(text, NULL, 10) == tries)
		return 0;
	return live_fail(live, SIM_LIVE_ESKIP, "here a group is shrunk with %lu tries", tries);
}

/* ---- the group ---- */

/* Do the groups below the root have memory.* files? *@enabled: only now they do. */
static bool enable_v2(bool *enabled)
{
	char text[256];

	if (!live_read_at(AT_FDCWD, V2_SWITCH, text, sizeof(text)))
		return false;
	if (strstr(text, "memory"))
		return true;
	*enabled = !live_write_at(AT_FDCWD, V2_SWITCH, "+memory", strlen("+memory"));
	return *enabled;
}

void live_group_make(struct live *live)
{
	struct live_guard *guard = &live->guard;

	guard->group_v2 = !is_v1();
	if (guard->group_v2 && !enable_v2(&guard->group_enabled))
		return;
	snprintf(guard->group, sizeof(guard->group), "%s/ksmsim-%d",
		 guard->group_v2 ? V2_DIR : V1_DIR, (int)getpid());
	if (mkdir(guard->group, 0700) && errno != EEXIST)
		guard->group[0] = '\0';
}

void live_group_remove(const struct live_guard *guard)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	int i;

	for (i = 0; i < REMOVE_TRIES && guard->group[0]; i++) {
		if (!rmdir(guard->group) || errno != EBUSY)
			break;
		nanosleep(&pause, NULL); /* processes that are being killed */
	}
	if (guard->group_enabled)
		live_write_at(AT_FDCWD, V2_SWITCH, "-memory", strlen("-memory"));
}

/* ---- its memory ---- */

static int force_empty(struct live *live)
{
	char path[96];
	int error;

	snprintf(path, sizeof(path), "%s/memory.force_empty", live->guard.group);
	error = live_write_at(AT_FDCWD, path, "0", 1);
	return error ? live_fail(live, SIM_LIVE_EBROKEN, "%s: %s", path, strerror(-error)) : 0;
}

/* That it could not get all of it is said by EAGAIN. */
static int reclaim(struct live *live)
{
	char path[96];
	int error = live_drain(live);

	if (error)
		return error;
	snprintf(path, sizeof(path), "%s/memory.reclaim", live->guard.group);
	error = live_write_at(AT_FDCWD, path, MORE_THAN_THERE_IS, strlen(MORE_THAN_THERE_IS));
	if (error == -ENOENT || error == -EACCES)
		return live_fail(live, SIM_LIVE_ESKIP, "shrink needs memory.reclaim of cgroups");
	if (error && error != -EAGAIN)
		return live_fail(live, SIM_LIVE_EBROKEN, "%s: %s", path, strerror(-error));
	return 0;
}

int live_group_reclaim(struct live *live)
{
	if (live->thp.group < 0)
		return live_fail(live, SIM_LIVE_ESKIP, "shrink needs memory cgroups");
	return live->guard.group_v2 ? reclaim(live) : force_empty(live);
}
