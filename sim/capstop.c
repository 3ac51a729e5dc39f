/*
 * capstop.c - processes stopped for a while, and sure to go on.
 *
 * Before anything is stopped a guard is made: a process that knows whom to send SIGCONT
 * and waits at a pipe. When the other end closes, because the round is over or because
 * the program was killed, by whatever signal, it does. There is no other way on: the
 * end of a good round takes it, too. The guard ignores what a terminal sends.
 *
 * It holds pidfds, so nobody else who got a number meanwhile is woken. Who was stopped
 * before stays so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "capstop.h"
#include "vector.h"

#define TRIES 1000 /* a millisecond each, for all together */

struct stopped {
	int64_t pid;
	int pidfd;
};

struct list {
	struct stopped *stopped;
	size_t nr;
};

static int signal_to(int pidfd, int signal)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

static bool is_stopped(char state)
{
	return state == 'T' || state == 't' || state == 'Z' || state == 'X';
}

static char state_of(int64_t pid)
{
	const int dir = sim_proc_open(pid);
	struct sim_proc proc = { .state = 'X' };

	if (dir < 0)
		return 'X';
	if (sim_proc_stat(dir, &proc))
		proc.state = 'X';
	close(dir);
	return proc.state;
}

/* A pidfd of just this process; -1: it has gone. */
static int open_pidfd(const struct sim_proc *proc)
{
	const int fd = (int)syscall(SYS_pidfd_open, (pid_t)proc->pid, 0);
	const int dir = fd < 0 ? -1 : sim_proc_open(proc->pid);
	struct sim_proc now;

	if (dir >= 0 && !sim_proc_stat(dir, &now) && now.started == proc->started &&
	    !is_stopped(now.state)) {
		close(dir);
		return fd;
	}
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	return -1;
}

static int make_list(struct list *list, const struct sim_proc *procs, size_t nr)
{
	struct stopped *new;
	size_t i;
	int fd;

	for (i = 0; i < nr; i++) {
		fd = procs[i].selected ? open_pidfd(&procs[i]) : -1;
		if (fd < 0)
			continue;
		new = sim_vector_add(&list->stopped, &list->nr, sizeof(*new));
		if (!new) {
			close(fd);
			return ENOMEM;
		}
		*new = (struct stopped){ procs[i].pid, fd };
	}
	return 0;
}

static void free_list(struct list *list)
{
	size_t i;

	for (i = 0; i < list->nr; i++)
		close(list->stopped[i].pidfd);
	free(list->stopped);
}

/* In the child: never returns. */
static void guard(const struct list *list, int wait_at)
{
	sigset_t all;
	char byte;
	size_t i;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	setsid();
	while (read(wait_at, &byte, 1) < 0 && errno == EINTR)
		;
	for (i = 0; i < list->nr; i++)
		signal_to(list->stopped[i].pidfd, SIGCONT);
	_exit(0);
}

static int make_guard(struct sim_capstop *stop, const struct list *list)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return errno;
	stop->guard = fork();
	if (stop->guard < 0) {
		close(ends[0]);
		close(ends[1]);
		return errno;
	}
	if (!stop->guard) {
		close(ends[1]);
		guard(list, ends[0]);
	}
	close(ends[0]);
	stop->pipe = ends[1];
	return 0;
}

/* How many still run after a while. */
static size_t wait_for_all(const struct list *list)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	size_t i, running = 0;
	int tries;

	for (i = 0, tries = 0; i < list->nr; i++) {
		while (!is_stopped(state_of(list->stopped[i].pid)) && tries < TRIES) {
			nanosleep(&pause, NULL);
			tries++;
		}
		running += !is_stopped(state_of(list->stopped[i].pid));
	}
	return running;
}

int sim_capstop_begin(struct sim_capstop *stop, const struct sim_proc *procs, size_t nr,
		      size_t *slow)
{
	struct list list = { .nr = 0 };
	int error = make_list(&list, procs, nr);
	size_t i;

	*slow = 0;
	*stop = (struct sim_capstop){ .pipe = -1 };
	if (!error)
		error = make_guard(stop, &list);
	for (i = 0; !error && i < list.nr; i++)
		signal_to(list.stopped[i].pidfd, SIGSTOP);
	if (!error)
		*slow = wait_for_all(&list);
	free_list(&list);
	return error;
}

void sim_capstop_end(struct sim_capstop *stop)
{
	if (stop->pipe < 0)
		return;
	close(stop->pipe);
	stop->pipe = -1;
	while (waitpid(stop->guard, NULL, 0) < 0 && errno == EINTR)
		;
}
