/*
 * live_child.c - the processes of a live scenario.
 *
 * A process of the scenario must have nothing but what the scenario gives it:
 * with merge-any its own data and stack would join KSM, and its page tables and
 * mappings would be counted. So it has no program in the usual sense. It executes
 * a few hundred bytes of code (live_code.c) which lie, with its stack and its orders,
 * in one shared mapping (the arena) at the top of the address space; everything
 * else, vdso and stack included, is unmapped before the scenario begins. Shared
 * mappings never join KSM and have no anonymous pages.
 *
 *	driver				process
 *	writes order, arguments
 *	go++, futex wake	->	carries out: a system call, copying, touching
 *	waits			<-	result, done = go, futex wake
 *
 * An access that the mapping does not allow ends in the process's own SIGSEGV
 * handler, which answers -EFAULT. Fork makes a sibling (CLONE_PARENT), which goes
 * on with the slot of its own in the arena. Exec really executes: a file in
 * memory with the same code, which maps the arena and answers.
 *
 * What could surprise: a process dies with the thread that started the driver
 * (PR_SET_PDEATHSIG), so a live run must stay on one thread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "live_parts.h"

#define PROGRAM_FD 101 /* in a process, from exec on */
#ifndef PR_SET_THP_DISABLE
#define PR_SET_THP_DISABLE 41
#define PR_GET_THP_DISABLE 42
#endif
#define ANSWER_MS 300000u /* un-merging many TiB takes minutes */

/* ---- the arena ---- */

int live_children_start(struct live *live)
{
	live->arena_fd = memfd_create("ksmsim-arena", MFD_CLOEXEC);
	if (live->arena_fd < 0 || ftruncate(live->arena_fd, (off_t)LIVE_ARENA_SIZE))
		return live_fail_errno(live, "the shared memory of the processes");
	live->arena =
		mmap(NULL, LIVE_ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, live->arena_fd, 0);
	if (live->arena == MAP_FAILED) {
		live->arena = NULL;
		return live_fail_errno(live, "the shared memory of the processes");
	}
	live_code_copy(live->arena);
	return live_code_program(live);
}

static void reap(struct live_process *process)
{
	if (!process->alive)
		return;
	kill(process->pid, SIGKILL);
	while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR)
		;
	process->alive = false;
}

static void forget_files(struct live_process *process)
{
	if (process->proc >= 0)
		close(process->proc);
	if (process->pagemap >= 0)
		close(process->pagemap);
	process->proc = process->pagemap = -1;
}

void live_children_end(struct live *live)
{
	size_t i;

	for (i = 0; i < live->nr_processes; i++) {
		reap(&live->processes[i]);
		forget_files(&live->processes[i]);
		sim_free(live->mem, live->processes[i].pages.list);
		sim_free(live->mem, live->processes[i].after.list);
		sim_free(live->mem, live->processes[i].ranges);
	}
	sim_free(live->mem, live->processes);
	if (live->arena)
		munmap(live->arena, LIVE_ARENA_SIZE);
	if (live->arena_fd >= 0)
		close(live->arena_fd);
	if (live->program_fd >= 0)
		close(live->program_fd);
}

/* ---- slots ---- */

static uint64_t slot_offset(unsigned slot)
{
	return LIVE_CODE_SIZE + slot * LIVE_SLOT_SIZE;
}

struct live_slot *live_slot_of(struct live *live, const struct live_process *process)
{
	return (struct live_slot *)(void *)(live->arena + slot_offset(process->slot));
}

uint64_t live_slot_address(const struct live_process *process)
{
	return LIVE_ARENA + slot_offset(process->slot);
}

uint8_t *live_buffer_of(struct live *live, const struct live_process *process)
{
	return live->arena + slot_offset(process->slot) + LIVE_SLOT_BUFFER;
}

uint8_t *live_scratch_of(struct live *live, const struct live_process *process)
{
	return live->arena + slot_offset(process->slot) + LIVE_SLOT_SCRATCH;
}

/* ---- orders ---- */

static long futex(uint32_t *word, int what, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, what, value, timeout, NULL, 0);
}

/* Until the order is carried out, or the process is found dead. */
static int wait_answer(struct live *live, struct live_process *process)
{
	static const struct timespec patience = { .tv_nsec = 50000000 };
	struct live_slot *slot = live_slot_of(live, process);
	const uint64_t since = live_clock_ms();
	uint32_t done;
	int status;

	for (;;) {
		done = __atomic_load_n(&slot->done, __ATOMIC_ACQUIRE);
		if (done == slot->go)
			return 0;
		if (!futex(&slot->done, FUTEX_WAIT, done, &patience) || errno == EAGAIN)
			continue;
		if (waitpid(process->pid, &status, WNOHANG) == process->pid) {
			process->alive = false;
			return live_fail(live, SIM_LIVE_EBROKEN,
					 "a process of the scenario died (wait status 0x%x)",
					 (unsigned)status);
		}
		if (live_clock_ms() - since > ANSWER_MS)
			return live_fail(live, SIM_LIVE_EBROKEN,
					 "a process of the scenario does not answer");
	}
}

static void give_order(struct live_slot *slot, enum live_order order, const uint64_t *args,
		       size_t nr)
{
	slot->order = order;
	memset(slot->args, 0, sizeof(slot->args));
	memcpy(slot->args, args, nr * sizeof(*args));
	__atomic_store_n(&slot->go, slot->go + 1, __ATOMIC_RELEASE);
	futex(&slot->go, FUTEX_WAKE, 1, NULL);
}

int live_order(struct live *live, uint32_t process, enum live_order order, const uint64_t *args,
	       size_t nr, int64_t *result)
{
	struct live_process *p = &live->processes[process];
	struct live_slot *slot = live_slot_of(live, p);
	int error;

	if (!p->alive)
		return live_fail(live, SIM_LIVE_EBROKEN, "a process of the scenario is gone");
	give_order(slot, order, args, nr);
	error = wait_answer(live, p);
	*result = slot->result;
	return error;
}

/* ---- a new process ---- */

/* What the kernel takes for a signal handler. */
struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

int live_handle(struct live *live, uint32_t process, int signal, uint64_t handler,
		uint64_t restorer)
{
	struct live_process *p = &live->processes[process];
	const struct kernel_sigaction action = { handler, SA_NODEFER | 0x04000000 /* SA_RESTORER */,
						 restorer, 0 };
	int64_t result;

	memcpy(live_scratch_of(live, p), &action, sizeof(action));
	return live_call(live, process, &result, SYS_rt_sigaction, (uint64_t)signal,
			 live_slot_address(p) + LIVE_SLOT_SCRATCH, 0, 8);
}

/* Answer -EFAULT to what the mappings do not allow. */
static int catch_faults(struct live *live, uint32_t process)
{
	const uint64_t handler = live_code_fault_address();
	const int error = live_handle(live, process, SIGSEGV, handler, handler);

	return error ? error : live_handle(live, process, SIGBUS, handler, handler);
}

/* Nothing is left but the arena. */
static int clear_space(struct live *live, uint32_t process)
{
	const uint64_t end = LIVE_ARENA + LIVE_ARENA_SIZE;
	int64_t one = 0, two = 0;
	int error;

	error = live_call(live, process, &one, SYS_munmap, 0, LIVE_ARENA);
	if (!error)
		error = live_call(live, process, &two, SYS_munmap, end, LIVE_USER_END - end);
	if (!error && (one || two))
		error = live_fail(live, SIM_LIVE_EBROKEN, "a new process keeps mappings");
	return error ? error : catch_faults(live, process);
}

static int open_files(struct live *live, struct live_process *process)
{
	char path[64];

	forget_files(process);
	snprintf(path, sizeof(path), "/proc/%d", (int)process->pid);
	process->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (process->proc >= 0)
		process->pagemap = openat(process->proc, "pagemap", O_RDONLY | O_CLOEXEC);
	return process->pagemap < 0 ? live_fail_errno(live, path) : 0;
}

/* Room for a process, with a slot whose first order is to say that it is there. */
static struct live_process *reserve(struct live *live, int *error)
{
	struct live_process *process;
	unsigned slot = 0;

	while (slot < LIVE_SLOTS && live->slot_used[slot])
		slot++;
	if (slot == LIVE_SLOTS) {
		*error = live_fail(live, SIM_LIVE_ESKIP, "more than %u processes at a time",
				   LIVE_SLOTS);
		return NULL;
	}
	if (!sim_grow(live->mem, &live->processes, &live->processes_capacity, live->nr_processes,
		      sizeof(*live->processes))) {
		*error = live_no_memory(live);
		return NULL;
	}
	process = &live->processes[live->nr_processes];
	*process = (struct live_process){ .slot = slot, .proc = -1, .pagemap = -1 };
	/* its pages are there before it needs them */
	memset(live->arena + slot_offset(slot), 0, LIVE_SLOT_SIZE);
	live_slot_of(live, process)->go = 1;
	*error = 0;
	return process;
}

static void admit(struct live *live, struct live_process *process, pid_t pid)
{
	process->pid = pid;
	process->alive = true;
	live->slot_used[process->slot] = true;
	live->nr_processes++;
}

static void spell(unsigned slot, char *text)
{
	int i;

	for (i = 0; i < 4; i++)
		text[i] = (char)('A' + (slot >> (12 - 4 * i) & 15));
	text[4] = '\0';
}

/* Between vfork() and exec: only system calls. */
static void become(const struct live *live, char *name, pid_t parent)
{
	char *argv[] = { name, NULL }, *envp[] = { NULL };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent || setpgid(0, 0) ||
	    (live->thp.group >= 0 && write(live->thp.group, "0", 1) != 1) ||
	    dup2(live->arena_fd, LIVE_ARENA_FD) < 0 || dup2(live->program_fd, PROGRAM_FD) < 0)
		_exit(1);
	personality(ADDR_NO_RANDOMIZE);
	syscall(SYS_execveat, PROGRAM_FD, "", argv, envp, AT_EMPTY_PATH);
	_exit(1);
}

int live_spawn(struct live *live)
{
	const pid_t self = getpid();
	struct live_process *process;
	int64_t done;
	char name[8];
	pid_t pid;
	int error;

	process = reserve(live, &error);
	if (!process)
		return error;
	spell(process->slot, name);
	/* Not fork(): its copy-on-write would leave pages of this process behind. The child makes only
	 * system calls until its exec. */
	pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
	if (pid == 0)
		become(live, name, self); /* NOLINT(clang-analyzer-unix.Vfork) */
	if (pid < 0)
		return live_fail_errno(live, "a new process");
	admit(live, process, pid);
	process->mm = ++live->last_mm;
	error = wait_answer(live, process);
	if (!error)
		error = clear_space(live, (uint32_t)live->nr_processes - 1);
	if (!error)
		error = live_call(live, (uint32_t)live->nr_processes - 1, &done, SYS_prctl,
				  PR_SET_THP_DISABLE, 0, 0);
	return error ? error : open_files(live, process);
}

int live_fork(struct live *live, uint32_t parent, int64_t *result)
{
	struct live_process *process;
	uint64_t slot;
	int64_t done;
	int error;

	process = reserve(live, &error);
	if (!process)
		return error;
	live->newcomer = live->last_mm + 1;
	slot = live_slot_address(process);
	error = live_order(live, parent, LIVE_FORK, &slot, 1, result);
	if (error || *result < 0)
		return error;
	admit(live, process, (pid_t)*result);
	process->mm = ++live->last_mm;
	process->has_brk = live->processes[parent].has_brk;
	*result = 0;
	error = wait_answer(live, process);
	if (!error)
		error = live_call(live, (uint32_t)live->nr_processes - 1, &done, SYS_prctl,
				  PR_SET_PDEATHSIG, SIGKILL);
	return error ? error : open_files(live, process);
}

/* The new program, which is mapped for a moment only, is to get no huge pages. */
static int execute(struct live *live, uint32_t process, int64_t *result)
{
	struct live_process *p = &live->processes[process];
	const uint64_t scratch = live_slot_address(p) + LIVE_SLOT_SCRATCH;
	uint8_t *text = live_scratch_of(live, p);
	const uint64_t argv[] = { scratch, 0 };
	int64_t done;
	int error = live_call(live, process, &done, SYS_prctl, PR_SET_THP_DISABLE, 1, 0);

	spell(p->slot, (char *)text); /* and an empty string behind it */
	text[5] = '\0';
	memcpy(text + 16, argv, sizeof(argv));
	if (error)
		return error;
	return live_call(live, process, result, SYS_execveat, PROGRAM_FD, scratch + 5, scratch + 16,
			 scratch + 24, AT_EMPTY_PATH);
}

int live_exec(struct live *live, uint32_t process, int64_t *result)
{
	struct live_process *p = &live->processes[process];
	int64_t mode = 0, done;
	int error = live_call(live, process, &mode, SYS_prctl, PR_GET_THP_DISABLE, 0, 0);

	live->newcomer = live->last_mm + 1;
	if (!error)
		error = execute(live, process, result);
	if (!error && *result >= 0) {
		p->mm = ++live->last_mm;
		p->has_brk = false;
		live_pins_release(live, process, false);
		error = clear_space(live, process);
	}
	if (!error)
		error = live_call(live, process, &done, SYS_prctl, PR_SET_THP_DISABLE,
				  (uint64_t)mode & 1, (uint64_t)mode & ~UINT64_C(1));
	return error || *result < 0 ? error : open_files(live, p);
}

int live_exit(struct live *live, uint32_t process)
{
	static const uint64_t exit_group[] = { SYS_exit_group, 0 };
	struct live_process *p = &live->processes[process];
	const uint64_t since = live_clock_ms();

	if (!p->alive)
		return live_fail(live, SIM_LIVE_EBROKEN, "a process of the scenario is gone");
	give_order(live_slot_of(live, p), LIVE_SYSCALL, exit_group, 2);
	while (waitpid(p->pid, NULL, WNOHANG) == 0) {
		if (live_clock_ms() - since > ANSWER_MS)
			return live_fail(live, SIM_LIVE_EBROKEN,
					 "a process of the scenario does not end");
		sched_yield();
	}
	p->alive = false;
	live->slot_used[p->slot] = false;
	forget_files(p);
	live_pins_release(live, process, false);
	return 0;
}
