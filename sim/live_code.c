/*
 * live_code.c - what runs in the processes of a live scenario.
 *
 * A few hundred bytes that need no library, no stack but their own and no memory but the
 * arena: they wait for an order, carry it out and answer (live_child.c tells how). The
 * same bytes are a program of one segment, for a process that is new or executes: that
 * one maps the arena where all have it and goes on there.
 *
 * What could surprise: they know the places and sizes of live_parts.h as numbers; the
 * assertions behind them tell when one has changed.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live_parts.h"

#define PROGRAM_BASE UINT64_C(0x7fe000000000)

/* ---- the code ---- */

#if defined(__x86_64__)

/*
 * r15 is the slot all the time. Offsets are those of struct live_slot:
 * 0 go, 4 done, 8 order, 16 args, 72 result.
 */
extern const unsigned char live_code_start[], live_code_main[], live_code_fault[], live_code_end[],
	live_code_ignore[], live_code_return[];
__asm__(".pushsection .rodata\n"
	".balign 16\n"
	".globl live_code_start, live_code_main, live_code_fault, live_code_end\n"
	".hidden live_code_start, live_code_main, live_code_fault, live_code_end\n"
	".globl live_code_ignore, live_code_return\n"
	".hidden live_code_ignore, live_code_return\n"
	"live_code_start:\n" /* after exec: argv[0] spells the slot, 'A' + 4 bits each */
	"	mov 8(%rsp), %rsi\n"
	"	xor %r14d, %r14d\n"
	"1:	movzbl (%rsi), %ecx\n"
	"	test %ecx, %ecx\n"
	"	jz 2f\n"
	"	shl $4, %r14\n"
	"	lea -65(%r14,%rcx), %r14\n"
	"	inc %rsi\n"
	"	jmp 1b\n"
	"2:	mov $9, %eax\n" /* mmap */
	"	movabs $0x7ff000000000, %rdi\n"
	"	mov $0x10001000, %esi\n"
	"	mov $7, %edx\n"
	"	mov $0x11, %r10d\n"
	"	mov $100, %r8d\n" /* LIVE_ARENA_FD */
	"	xor %r9d, %r9d\n"
	"	syscall\n"
	"	shl $19, %r14\n"
	"	lea 0x1000(%rax,%r14), %r15\n"
	"	lea (live_code_main - live_code_start)(%rax), %rax\n"
	"	jmp *%rax\n"
	"live_code_fault:\n" /* signal handler: the interrupted order is given up */
	"	mov $-14, %rax\n"
	"	cld\n"
	"	jmp 9f\n"
	"live_code_main:\n"
	"	xor %eax, %eax\n"
	"9:	lea 0x1f000(%r15), %rsp\n" /* answer: rax */
	"	mov %rax, 72(%r15)\n"
	"	mov (%r15), %ebx\n"
	"	mov %ebx, 4(%r15)\n"
	"	mov $202, %eax\n" /* futex wake */
	"	lea 4(%r15), %rdi\n"
	"	mov $1, %esi\n"
	"	mov $1, %edx\n"
	"	syscall\n"
	"3:	cmp (%r15), %ebx\n"
	"	jne 4f\n"
	"	mov $202, %eax\n" /* futex wait */
	"	mov %r15, %rdi\n"
	"	xor %esi, %esi\n"
	"	mov %ebx, %edx\n"
	"	xor %r10d, %r10d\n"
	"	syscall\n"
	"	jmp 3b\n"
	"4:	mov 8(%r15), %rax\n"
	"	cmp $1, %rax\n"
	"	je 5f\n"
	"	cmp $2, %rax\n"
	"	je 6f\n"
	"	cmp $3, %rax\n"
	"	je 7f\n"
	"	cmp $4, %rax\n"
	"	je 8f\n"
	"	mov 16(%r15), %rax\n" /* LIVE_SYSCALL */
	"	mov 24(%r15), %rdi\n"
	"	mov 32(%r15), %rsi\n"
	"	mov 40(%r15), %rdx\n"
	"	mov 48(%r15), %r10\n"
	"	mov 56(%r15), %r8\n"
	"	mov 64(%r15), %r9\n"
	"	syscall\n"
	"	jmp 9b\n"
	"5:	mov 16(%r15), %r12\n" /* LIVE_COPY */
	"	mov 24(%r15), %r13\n"
	"	mov 40(%r15), %rbp\n"
	"51:	test %rbp, %rbp\n"
	"	jz live_code_main\n"
	"	mov %r12, %rdi\n"
	"	mov %r13, %rsi\n"
	"	mov 32(%r15), %rcx\n"
	"	rep movsb\n"
	"	add 48(%r15), %r12\n"
	"	add 56(%r15), %r13\n"
	"	dec %rbp\n"
	"	jmp 51b\n"
	"6:	mov 16(%r15), %rdi\n" /* LIVE_TOUCH */
	"	mov 24(%r15), %rcx\n"
	"61:	test %rcx, %rcx\n"
	"	jz live_code_main\n"
	"	lock addb $0, (%rdi)\n"
	"	add $4096, %rdi\n"
	"	dec %rcx\n"
	"	jmp 61b\n"
	"7:	mov 16(%r15), %rdi\n" /* LIVE_READ */
	"	mov 24(%r15), %rcx\n"
	"71:	test %rcx, %rcx\n"
	"	jz live_code_main\n"
	"	movzbl (%rdi), %eax\n"
	"	add $4096, %rdi\n"
	"	dec %rcx\n"
	"	jmp 71b\n"
	"8:	mov 16(%r15), %r14\n" /* LIVE_FORK */
	"	mov $56, %eax\n"      /* clone(CLONE_PARENT) */
	"	mov $0x8000, %edi\n"
	"	xor %esi, %esi\n"
	"	xor %edx, %edx\n"
	"	xor %r10d, %r10d\n"
	"	xor %r8d, %r8d\n"
	"	syscall\n"
	"	test %rax, %rax\n"
	"	jnz 9b\n"
	"	mov %r14, %r15\n"
	"	jmp live_code_main\n"
	"live_code_ignore:\n" /* signal handler: goes on behind the system call */
	"	ret\n"
	"live_code_return:\n"
	"	mov $15, %eax\n" /* rt_sigreturn */
	"	syscall\n"
	"live_code_end:\n"
	".popsection\n");

_Static_assert(LIVE_ARENA == 0x7ff000000000, "live_code_start");
_Static_assert(LIVE_ARENA_SIZE == 0x10001000 && LIVE_CODE_SIZE == 0x1000, "live_code_start");
_Static_assert(LIVE_SLOT_SIZE == 1 << 19 && LIVE_SLOT_STACK == 0x1f000, "live_code_start");
_Static_assert(offsetof(struct live_slot, result) == 72, "live_code_main");
_Static_assert(LIVE_ARENA_FD == 100, "live_code_start");

static uint64_t address_of(const unsigned char *code)
{
	return LIVE_ARENA + (uint64_t)(code - live_code_start);
}

uint64_t live_code_fault_address(void)
{
	return address_of(live_code_fault);
}

uint64_t live_code_ignore_address(void)
{
	return address_of(live_code_ignore);
}

uint64_t live_code_return_address(void)
{
	return address_of(live_code_return);
}

#else
/* sim_live_new() refuses before any of this is used. */
static const unsigned char live_code_start[1];
static const unsigned char *const live_code_end = live_code_start;

uint64_t live_code_fault_address(void)
{
	return 0;
}

uint64_t live_code_ignore_address(void)
{
	return 0;
}

uint64_t live_code_return_address(void)
{
	return 0;
}
#endif

void live_code_copy(uint8_t *to)
{
	memcpy(to, live_code_start, (size_t)(live_code_end - live_code_start));
}

/* ---- the program ---- */

/* An executable of one segment: the code, and nothing else. */
static bool write_program(int fd)
{
	const size_t code = (size_t)(live_code_end - live_code_start);
	const size_t head = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr);
	const Elf64_Ehdr file = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
					       ELFDATA2LSB, EV_CURRENT },
				  .e_type = ET_EXEC,
				  .e_machine = EM_X86_64,
				  .e_version = EV_CURRENT,
				  .e_entry = PROGRAM_BASE + head,
				  .e_phoff = sizeof(Elf64_Ehdr),
				  .e_ehsize = sizeof(Elf64_Ehdr),
				  .e_phentsize = sizeof(Elf64_Phdr),
				  .e_phnum = 1 };
	const Elf64_Phdr segment = { .p_type = PT_LOAD,
				     .p_flags = PF_R | PF_X,
				     .p_vaddr = PROGRAM_BASE,
				     .p_paddr = PROGRAM_BASE,
				     .p_filesz = head + code,
				     .p_memsz = head + code,
				     .p_align = LIVE_PAGE };

	return write(fd, &file, sizeof(file)) == (ssize_t)sizeof(file) &&
	       write(fd, &segment, sizeof(segment)) == (ssize_t)sizeof(segment) &&
	       write(fd, live_code_start, code) == (ssize_t)code;
}

/* A file that is open for writing cannot be executed: open it again. */
int live_code_program(struct live *live)
{
	char path[64];
	const int fd = memfd_create("ksmsim-process", MFD_CLOEXEC);

	if (fd < 0)
		return live_fail_errno(live, "a file in memory");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (write_program(fd))
		live->program_fd = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return live->program_fd < 0 ? live_fail_errno(live, "the program of the processes") : 0;
}
