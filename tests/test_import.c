/*
 * test_import.c - core files, dumps, images and lists of hashes become captures.
 *
 * The ELF files are built here, byte by byte, so that each can be wrong in one place.
 */
#define _GNU_SOURCE
#include "test.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim/import.h"

#define PAGE 4096u

/* ---- a file that is made here ---- */

struct file {
	int fd;
	char path[64]; /* by its descriptor */
};

static struct file file_new(void)
{
	struct file f = { .fd = memfd_create("import", MFD_CLOEXEC) };

	assert_true(f.fd >= 0);
	snprintf(f.path, sizeof(f.path), "/proc/self/fd/%d", f.fd);
	return f;
}

static struct file file_of(const void *bytes, size_t length)
{
	struct file f = file_new();

	assert_int_equal(pwrite(f.fd, bytes, length, 0), (ssize_t)length);
	return f;
}

static struct file file_text(const char *text)
{
	return file_of(text, strlen(text));
}

static void fill(uint8_t *page, uint64_t seed)
{
	size_t i;

	for (i = 0; i < PAGE / 8; i++) {
		const uint64_t word = test_random(&seed);

		memcpy(page + 8 * i, &word, 8);
	}
}

static void file_page(struct file *f, uint64_t offset, uint64_t seed)
{
	uint8_t page[PAGE] = { 0 };

	if (seed)
		fill(page, seed);
	assert_int_equal(pwrite(f->fd, page, PAGE, (off_t)offset), PAGE);
}

/* ---- an import, and what became of it ---- */

struct import {
	struct sim_import import;
	struct sim_import_list list;
	char why[512];
	char *bytes;
	size_t length;
	struct sim_capfile *file;
};

typedef int (*importer)(struct sim_import *import, struct sim_source *source);

static void import_begin(struct import *i)
{
	const struct sim_cap_round round = { 0, 0 };

	memset(i, 0, sizeof(*i));
	i->import.why = i->why;
	i->import.size = sizeof(i->why);
	i->list.hash_bytes = 16;
	sim_pagehash_init(&i->import.hash, PAGE, NULL);
	assert_int_equal(sim_capwriter_open("/tmp/x", i->why, sizeof(i->why), &i->import.writer),
			 0);
	sim_capwriter_round(i->import.writer, 0, &round);
}

static int import_end(struct import *i)
{
	FILE *out = open_memstream(&i->bytes, &i->length);

	if (!i->import.error)
		assert_int_equal(sim_capwriter_commit(i->import.writer, out), 0);
	fclose(out);
	sim_capwriter_free(i->import.writer);
	free(i->import.buffer);
	if (!i->import.error &&
	    sim_capfile_open_bytes(i->bytes, i->length, "import", i->why, sizeof(i->why), &i->file))
		fail_msg("%s", i->why);
	return i->import.error;
}

/* With the function that suits a dump. */
static int import_dump(struct import *i, const struct file *f, importer import)
{
	struct sim_source source;

	import_begin(i);
	sim_pagehash_meta(&i->import.hash, i->import.writer);
	assert_int_equal(sim_source_open(&i->import, f->path, &source), 0);
	import(&i->import, &source);
	sim_source_close(&source);
	return import_end(i);
}

static int import_list(struct import *i, const struct file *f, bool binary)
{
	struct sim_source source;

	sim_import_list_meta(&i->import, &i->list);
	assert_int_equal(sim_source_open(&i->import, f->path, &source), 0);
	if (binary)
		sim_import_hashes(&i->import, &source, &i->list);
	else
		sim_import_csv(&i->import, &source, &i->list);
	sim_source_close(&source);
	return import_end(i);
}

static void import_free(struct import *i, struct file *f)
{
	sim_capfile_close(i->file);
	free(i->bytes);
	close(f->fd);
}

static void assert_refused(struct import *i, struct file *f, int error, const char *word)
{
	assert_int_equal(error, SIM_EINPUT);
	if (!strstr(i->why, word))
		fail_msg("'%s' does not have '%s'", i->why, word);
	import_free(i, f);
}

/* The pages of a process: "address=seed ...", address in pages, 0 a page of zeros */
static void assert_pages(struct import *i, uint32_t process, const char *wanted)
{
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page, expected;
	uint8_t bytes[PAGE];
	unsigned long address, seed;
	int used;

	assert_int_equal(sim_cap_cursor_open(i->file, process, 0, SIM_CAP_PAGES, &cursor), 0);
	for (; sscanf(wanted, " %lx=%lu%n", &address, &seed, &used) == 2; wanted += used) {
		assert_int_equal(sim_cap_cursor_next(cursor, &page), 1);
		assert_true(page.vaddr == address * PAGE);
		memset(bytes, 0, sizeof(bytes));
		if (seed)
			fill(bytes, seed);
		expected = (struct sim_cap_page){ .flags = 0 };
		sim_pagehash(&i->import.hash, bytes, &expected);
		assert_int_equal(sim_print_compare(page.print, expected.print), 0);
		assert_int_equal(page.checksum, expected.checksum);
		assert_int_equal(page.flags, expected.flags);
	}
	assert_int_equal(sim_cap_cursor_next(cursor, &page), 0);
	sim_cap_cursor_close(cursor);
}

/* ---- ELF ---- */

static Elf64_Ehdr elf_header(uint16_t phnum)
{
	Elf64_Ehdr h = { .e_type = ET_CORE,
			 .e_machine = EM_X86_64,
			 .e_phoff = sizeof(h),
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = phnum };

	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	return h;
}

static Elf64_Phdr load(uint64_t page, uint64_t offset, uint64_t pages, uint32_t flags)
{
	return (Elf64_Phdr){ .p_type = PT_LOAD,
			     .p_flags = flags,
			     .p_offset = offset,
			     .p_vaddr = page * PAGE,
			     .p_filesz = pages * PAGE,
			     .p_memsz = pages * PAGE };
}

/* Notes, as they grow. */
struct notes {
	char bytes[2048];
	size_t length;
};

static void note_add(struct notes *n, const char *name, uint32_t type, const void *desc,
		     size_t length)
{
	const Elf64_Nhdr h = { (uint32_t)strlen(name) + 1, (uint32_t)length, type };

	memcpy(n->bytes + n->length, &h, sizeof(h));
	n->length += sizeof(h);
	memcpy(n->bytes + n->length, name, h.n_namesz);
	n->length += (h.n_namesz + 3u) & ~3u;
	memcpy(n->bytes + n->length, desc, length);
	n->length += (length + 3) & ~(size_t)3;
}

static struct notes core_notes(void)
{
	struct notes n = { .length = 0 };
	char info[136] = { 0 }, files[256] = { 0 };
	const uint64_t numbers[] = {
		2, 1, 0x20 * PAGE, 0x21 * PAGE, 0, 0x30 * PAGE, 0x31 * PAGE, 0
	};
	const int32_t pid = 1234;

	memcpy(info + 24, &pid, 4);
	memcpy(info + 40, "redis-server", 13);
	memcpy(files, numbers, sizeof(numbers));
	memcpy(files + sizeof(numbers), "/lib/a.so\0/lib/b.so", 20);
	note_add(&n, "CORE", NT_PRPSINFO, info, sizeof(info));
	note_add(&n, "CORE", NT_FILE, files, sizeof(numbers) + 20);
	return n;
}

/* Header, program headers and notes; the notes' segment comes first. */
static struct file elf_file(const Elf64_Ehdr *header, const Elf64_Phdr *loads, size_t nr,
			    const struct notes *notes)
{
	struct file f = file_new();
	Elf64_Phdr note = { .p_type = PT_NOTE, .p_offset = 2048, .p_filesz = notes->length };

	assert_true(pwrite(f.fd, header, sizeof(*header), 0) > 0);
	assert_true(pwrite(f.fd, &note, sizeof(note), sizeof(*header)) > 0);
	assert_true(pwrite(f.fd, loads, nr * sizeof(*loads), sizeof(*header) + sizeof(note)) > 0);
	assert_true(pwrite(f.fd, notes->bytes, sizeof(notes->bytes), 2048) > 0);
	return f;
}

/* Heap, a mapped file that is read only, one that is written, at 0x10, 0x20, 0x30. */
static struct file core_file(void)
{
	const Elf64_Ehdr h = elf_header(4);
	const struct notes notes = core_notes();
	const Elf64_Phdr loads[] = { load(0x10, 2 * PAGE, 4, PF_R | PF_W),
				     load(0x20, 6 * PAGE, 1, PF_R | PF_X),
				     load(0x30, 7 * PAGE, 1, PF_R | PF_W) };
	struct file f = elf_file(&h, loads, 3, &notes);

	file_page(&f, 2 * PAGE, 1);
	file_page(&f, 3 * PAGE, 0);
	/* page 2 of the heap is a hole */
	file_page(&f, 5 * PAGE, 2);
	file_page(&f, 6 * PAGE, 3);
	file_page(&f, 7 * PAGE, 4);
	return f;
}

static void a_core_file_is_a_process(void **state)
{
	struct file f = core_file();
	struct import i;
	struct sim_cap_vma *vmas;
	size_t nr;

	(void)state;
	assert_int_equal(import_dump(&i, &f, sim_import_elf), 0);
	assert_string_equal(sim_capfile_process(i.file, 0)->name, "redis-server");
	assert_int_equal(sim_capfile_process(i.file, 0)->pid, 1234);
	assert_pages(&i, 0, "10=1 11=0 13=2 30=4");
	assert_int_equal(i.import.holes, 1);
	assert_int_equal(i.import.left_out, 1);
	assert_int_equal(sim_capfile_vmas(i.file, 0, 0, &vmas, &nr), 0);
	assert_int_equal(nr, 3);
	assert_string_equal(vmas[0].name, "");
	assert_string_equal(vmas[1].name, "/lib/a.so");
	assert_string_equal(vmas[2].name, "/lib/b.so");
	assert_int_equal(vmas[2].flags, SIM_CAP_VMA_READ | SIM_CAP_VMA_WRITE | SIM_CAP_VMA_UNKNOWN);
	free(vmas);
	import_free(&i, &f);
}

static void a_dump_of_a_guest_goes_by_physical_addresses(void **state)
{
	const Elf64_Ehdr h = elf_header(4);
	struct notes notes = { .length = 0 };
	Elf64_Phdr loads[] = { load(0x7000, 4 * PAGE, 2, PF_R),
			       /* the same memory again, and one page more */
			       load(0x9000, 4 * PAGE, 3, PF_R), load(0xa000, 8 * PAGE, 1, PF_R) };
	struct file f;
	struct import i;

	(void)state;
	note_add(&notes, "QEMU", 0, "", 0);
	loads[0].p_paddr = 0x100 * PAGE;
	loads[1].p_paddr = 0x100 * PAGE;
	loads[2].p_paddr = 0;
	f = elf_file(&h, loads, 3, &notes);
	file_page(&f, 4 * PAGE, 1);
	file_page(&f, 5 * PAGE, 2);
	file_page(&f, 6 * PAGE, 3);
	file_page(&f, 8 * PAGE, 4);
	assert_int_equal(import_dump(&i, &f, sim_import_elf), 0);
	assert_pages(&i, 0, "0=4 100=1 101=2 102=3");
	import_free(&i, &f);
}

static void what_was_not_dumped_is_a_trouble(void **state)
{
	const Elf64_Ehdr h = elf_header(2);
	const struct notes notes = { .length = 0 };
	Elf64_Phdr one = load(0x10, 2 * PAGE, 1, PF_R | PF_W);
	struct file f;
	struct import i;

	(void)state;
	one.p_memsz = 5 * PAGE;
	f = elf_file(&h, &one, 1, &notes);
	file_page(&f, 2 * PAGE, 1);
	assert_int_equal(import_dump(&i, &f, sim_import_elf), 0);
	assert_pages(&i, 0, "10=1");
	assert_int_equal(sim_capfile_nr_troubles(i.file), 1);
	assert_non_null(strstr(sim_capfile_trouble(i.file, 0)->text, "16384 bytes"));
	import_free(&i, &f);
}

static void addresses_of_the_kernel_are_left_alone(void **state)
{
	const Elf64_Ehdr h = elf_header(3);
	const struct notes notes = { .length = 0 };
	const Elf64_Phdr loads[] = { load(0xffffffffff600, 3 * PAGE, 1, PF_R),
				     load(0x10, 2 * PAGE, 1, PF_R | PF_W) };
	struct file f = elf_file(&h, loads, 2, &notes);
	struct import i;

	(void)state;
	file_page(&f, 2 * PAGE, 1);
	file_page(&f, 3 * PAGE, 2);
	assert_int_equal(import_dump(&i, &f, sim_import_elf), 0);
	assert_pages(&i, 0, "10=1");
	import_free(&i, &f);
}

/* A core file with @length bytes at @offset other than they should be. */
static void refused_with(size_t offset, const void *bytes, size_t length, const char *word)
{
	struct file f = core_file();
	struct import i;

	assert_int_equal(pwrite(f.fd, bytes, length, (off_t)offset), (ssize_t)length);
	assert_refused(&i, &f, import_dump(&i, &f, sim_import_elf), word);
}

static void damaged_core_files_are_refused(void **state)
{
	const uint16_t exec = ET_EXEC, small = 8, many = 65000, xnum = PN_XNUM;
	const uint64_t far = UINT64_C(1) << 60, wrap = UINT64_MAX - 20, files = 1000;
	const size_t second = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr);
	const uint32_t long_note = 0xfffffff0;

	(void)state;
	refused_with(0, "x", 1, "begin with");
	refused_with(EI_CLASS, "\7", 1, "class is 7");
	refused_with(EI_DATA, "\2", 1, "little-endian");
	refused_with(offsetof(Elf64_Ehdr, e_type), &exec, 2, "type is 2");
	refused_with(offsetof(Elf64_Ehdr, e_phentsize), &small, 2, "have 8 bytes");
	refused_with(offsetof(Elf64_Ehdr, e_phoff), &far, 8, "cut off");
	refused_with(offsetof(Elf64_Ehdr, e_phoff), &wrap, 8, "cut off");
	refused_with(offsetof(Elf64_Ehdr, e_phnum), &many, 2, "cut off");
	refused_with(offsetof(Elf64_Ehdr, e_phnum), &xnum, 2, "number of its segments");
	refused_with(second + offsetof(Elf64_Phdr, p_offset), &far, 8, "cut off");
	refused_with(second + offsetof(Elf64_Phdr, p_offset), &wrap, 8, "cut off");
	refused_with(second + offsetof(Elf64_Phdr, p_filesz), &far, 8, "cut off");
	refused_with(2048, &long_note, 4, "note is longer");
	refused_with(2048 + 12 + 8 + 136 + 12 + 8, &files, 8, "too short for 1000 files");
	refused_with(2048 + 12 + 8 + 136 + 12 + 8 + 64, "0123456789012345678901", 22,
		     "fewer names");
}

static void core_files_that_are_cut_off_are_refused(void **state)
{
	size_t length;

	(void)state;
	for (length = 4; length < 8 * PAGE; length += length < 300 ? 13 : 1009) {
		struct file f = core_file();
		struct import i;

		assert_int_equal(ftruncate(f.fd, (off_t)length), 0);
		assert_refused(&i, &f, import_dump(&i, &f, sim_import_elf), "cut off");
	}
}

static void pages_of_another_size_are_refused(void **state)
{
	const Elf64_Ehdr h = elf_header(2);
	const Elf64_Phdr one = load(0x10, 2 * PAGE, 1, PF_R | PF_W);
	const uint64_t auxv[] = { 6, 16384, 0, 0 };
	struct notes notes = { .length = 0 };
	struct file f;
	struct import i;

	(void)state;
	note_add(&notes, "CORE", NT_AUXV, auxv, sizeof(auxv));
	f = elf_file(&h, &one, 1, &notes);
	file_page(&f, 2 * PAGE, 1);
	assert_refused(&i, &f, import_dump(&i, &f, sim_import_elf), "--page-size 16384");
}

/* ---- images ---- */

static void an_image_is_pages_from_zero_on(void **state)
{
	struct file f = file_new();
	struct import i;

	(void)state;
	file_page(&f, 0, 7);
	file_page(&f, PAGE, 0);
	file_page(&f, 1000 * PAGE, 8);
	assert_int_equal(import_dump(&i, &f, sim_import_raw), 0);
	assert_pages(&i, 0, "0=7 1=0 3e8=8");
	assert_int_equal(i.import.holes, 998);
	import_free(&i, &f);
}

static void half_a_page_is_refused(void **state)
{
	struct file f = file_new();
	struct import i;

	(void)state;
	file_page(&f, 100, 7);
	assert_refused(&i, &f, import_dump(&i, &f, sim_import_raw), "no whole pages");
	f = file_new();
	assert_refused(&i, &f, import_dump(&i, &f, sim_import_raw), "no whole pages");
}

/* ---- lists ---- */

static void assert_prints(struct import *i, uint32_t process, const char *wanted)
{
	struct sim_cap_cursor *cursor;
	struct sim_cap_page page;
	unsigned long address, high, low;
	int used;

	assert_int_equal(sim_cap_cursor_open(i->file, process, 0, SIM_CAP_PAGES, &cursor), 0);
	for (; sscanf(wanted, " %lx=%lx:%lx%n", &address, &high, &low, &used) == 3;
	     wanted += used) {
		assert_int_equal(sim_cap_cursor_next(cursor, &page), 1);
		assert_true(page.vaddr == address * PAGE);
		assert_true(page.print.high == high);
		assert_true(page.print.low == low);
		assert_int_equal(page.checksum, (uint32_t)low);
	}
	assert_int_equal(sim_cap_cursor_next(cursor, &page), 0);
	sim_cap_cursor_close(cursor);
}

static void a_line_of_text_is_a_page(void **state)
{
	struct file f = file_text("# a list\n0123456789abcdefFEDCBA9876543210aa\r\n"
				  "\n  00000000000000000000000000000001bb");
	struct import i;

	(void)state;
	import_begin(&i);
	assert_int_equal(import_list(&i, &f, false), 0);
	assert_prints(&i, 0, "0=123456789abcdef:fedcba9876543210 1=0:1");
	import_free(&i, &f);
}

static void columns_may_come_in_any_order(void **state)
{
	struct file f =
		file_text("hash, process, address\n"
			  "05, web, 0x3000\n06, db, 0x1000\n07, web, 0x1000\n08,web,0x2000\n");
	struct import i;
	struct sim_cap_vma *vmas;
	size_t nr;

	(void)state;
	import_begin(&i);
	i.list.has_zero = true;
	i.list.zero.low = 7;
	assert_int_equal(import_list(&i, &f, false), 0);
	assert_string_equal(sim_capfile_process(i.file, 0)->name, "web");
	assert_prints(&i, 0, "1=0:7 2=0:8 3=0:5");
	assert_prints(&i, 1, "1=0:6");
	assert_int_equal(i.import.zeros, 1);
	assert_int_equal(sim_capfile_vmas(i.file, 0, 0, &vmas, &nr), 0);
	assert_int_equal(nr, 1);
	assert_true(vmas[0].start == PAGE && vmas[0].end == 4 * PAGE);
	free(vmas);
	import_free(&i, &f);
}

static void list_refused(const char *text, size_t length, const char *word)
{
	struct file f = file_of(text, length);
	struct import i;

	import_begin(&i);
	assert_refused(&i, &f, import_list(&i, &f, false), word);
}

static void damaged_lists_are_refused(void **state)
{
	static char line[2000];

	(void)state;
	memset(line, 'a', sizeof(line));
	list_refused("", 0, "no hashes");
	list_refused("# only\n", 7, "no hashes");
	list_refused("01\nxyz\n", 7, ":2: 'xyz' is not hexadecimal");
	list_refused("01\n1\n", 5, "another number of digits");
	list_refused("01,02\n", 6, "one column too many");
	list_refused("hash,address\n01\n", 16, "column is missing");
	list_refused("address,hash\n0x10,01\n", 21, "not the address of a page");
	list_refused("address,hash\n0xfffffffffffff000,01\n", 35, "too large");
	list_refused("address,hash\n0,01\n0,02\n", 23, "was in line 2, too");
	list_refused("01\n\0\n", 5, "zero byte");
	list_refused(line, sizeof(line), "more than 1024 bytes");
	list_refused(line, 65, "between 1 and 64 digits");
}

static void binary_hashes_are_pages_in_a_row(void **state)
{
	static const uint8_t bytes[] = { 0, 1, 0, 2, 1, 0 };
	struct file f = file_of(bytes, sizeof(bytes));
	struct import i;

	(void)state;
	import_begin(&i);
	i.list.hash_bytes = 2;
	assert_int_equal(import_list(&i, &f, true), 0);
	assert_prints(&i, 0, "0=0:1 1=0:2 2=0:100");
	import_free(&i, &f);
	f = file_of(bytes, 5);
	import_begin(&i);
	i.list.hash_bytes = 2;
	assert_refused(&i, &f, import_list(&i, &f, true), "no whole hashes of 2 bytes");
}

/* ---- what is it? ---- */

static void assert_guess(const void *bytes, size_t length, const char *path, int wanted)
{
	struct file f = file_of(bytes, length);
	struct import i;
	struct sim_source source;
	enum sim_import_kind kind = SIM_IMPORT_HASHES;

	import_begin(&i);
	assert_int_equal(sim_source_open(&i.import, f.path, &source), 0);
	source.path = path;
	if (wanted < 0)
		assert_int_equal(sim_import_guess(&i.import, &source, &kind), SIM_EINPUT);
	else
		assert_int_equal(sim_import_guess(&i.import, &source, &kind), 0);
	if (wanted >= 0)
		assert_int_equal(kind, wanted);
	sim_source_close(&source);
	i.import.error = 1;
	import_end(&i);
	import_free(&i, &f);
}

static void files_are_known_by_how_they_begin(void **state)
{
	static uint8_t page[PAGE];

	(void)state;
	assert_guess("\177ELF", 4, "x", SIM_IMPORT_ELF);
	assert_guess(page, PAGE, "x", SIM_IMPORT_RAW);
	assert_guess("01\n", 3, "x.csv", SIM_IMPORT_CSV);
	assert_guess("01\n", 3, "x", -1);
	assert_guess("SQLite format 3", 16, "x", -1);
	memcpy(page, "KDUMP   ", 8);
	assert_guess(page, PAGE, "x", -1);
	assert_guess("", 0, "x", -1);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_core_file_is_a_process),
	cmocka_unit_test(a_dump_of_a_guest_goes_by_physical_addresses),
	cmocka_unit_test(what_was_not_dumped_is_a_trouble),
	cmocka_unit_test(addresses_of_the_kernel_are_left_alone),
	cmocka_unit_test(damaged_core_files_are_refused),
	cmocka_unit_test(core_files_that_are_cut_off_are_refused),
	cmocka_unit_test(pages_of_another_size_are_refused),
	cmocka_unit_test(an_image_is_pages_from_zero_on),
	cmocka_unit_test(half_a_page_is_refused),
	cmocka_unit_test(a_line_of_text_is_a_page),
	cmocka_unit_test(columns_may_come_in_any_order),
	cmocka_unit_test(damaged_lists_are_refused),
	cmocka_unit_test(binary_hashes_are_pages_in_a_row),
	cmocka_unit_test(files_are_known_by_how_they_begin),
};

TEST_MAIN(tests)
