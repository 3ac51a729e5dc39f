/*
 * import_elf.c - ELF files with memory: core files of processes, dumps of guests and hosts.
 *
 *	core file      segments at virtual addresses; a note names the mapped files. Pages
 *	               of files that cannot be written are not anonymous memory: left out.
 *	dump of all    (QEMU's dump-guest-memory, kdump) recognised by a note QEMU or
 *	memory         VMCOREINFO; segments at physical addresses. One process.
 *
 * What a segment has in memory but not in the file was not dumped: by the kernel's filter,
 * or since it was not resident. A core has no flags of VMAs but read, write and execute.
 *
 * 32 and 64 bits, little-endian. Headers are read one by one, notes up to a limit, and every
 * length in them is checked against what there is.
 */
#include <elf.h>
#include <stdarg.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import.h"
#include "vector.h"

#define NOTES_MAX (16u << 20) /* bytes of notes that are looked at */
#define SEGMENTS_MAX (1u << 20)
#define NAME_BYTES 32u
#define AUXV_PAGESZ 6
#define AUXV_VDSO 33

struct segment {
	uint64_t start;	 /* address */
	uint64_t offset; /* in the file */
	uint64_t filesz, memsz;
	uint32_t flags; /* PF_ */
};

/* A mapped file of NT_FILE. */
struct mapped {
	uint64_t start, end;
	const char *name; /* in the notes */
};

struct elf {
	struct sim_import *import;
	struct sim_source *source;
	bool wide; /* 64 bits */
	uint16_t machine;
	uint64_t phoff;
	uint32_t phentsize;
	uint64_t phnum;
	struct segment *segments;
	size_t nr_segments;
	struct mapped *mapped;
	size_t nr_mapped;
	char **notes; /* kept: names point into them */
	size_t nr_notes, notes_bytes;
	bool physical;
	uint64_t vdso, page_size; /* 0: not told */
	int64_t pid;
	char name[NAME_BYTES];
};

static uint64_t little(const uint8_t *at, unsigned bytes)
{
	uint64_t number = 0;

	while (bytes--)
		number = number << 8 | at[bytes];
	return number;
}

__attribute__((format(printf, 2, 3))) static int damaged(struct elf *e, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return sim_import_fail(e->import, SIM_EINPUT, "%s is no core file or dump: %s",
			       e->source->path, text);
}

/* ---- headers ---- */

static int read_header(struct elf *e)
{
	uint8_t h[64] = { 0 };
	uint64_t shoff;
	unsigned word;

	if (sim_source_read(e->import, e->source, 0, h, 52))
		return e->import->error;
	e->wide = h[EI_CLASS] == ELFCLASS64;
	word = e->wide ? 8 : 4;
	if (e->wide && sim_source_read(e->import, e->source, 0, h, 64))
		return e->import->error;
	if (memcmp(h, ELFMAG, SELFMAG) != 0)
		return damaged(e, "it does not begin with \\177ELF");
	if (!e->wide && h[EI_CLASS] != ELFCLASS32)
		return damaged(e, "its class is %u, neither 32 nor 64 bits", h[EI_CLASS]);
	if (h[EI_DATA] != ELFDATA2LSB)
		return damaged(e, "it is not little-endian");
	if (little(h + 16, 2) != ET_CORE)
		return damaged(e, "its type is %u, that of core files is %u",
			       (unsigned)little(h + 16, 2), ET_CORE);
	e->machine = (uint16_t)little(h + 18, 2);
	e->phoff = little(h + 24 + word, word);
	shoff = little(h + 24 + 2 * word, word);
	e->phentsize = (uint32_t)little(h + (e->wide ? 54 : 42), 2);
	e->phnum = little(h + (e->wide ? 56 : 44), 2);
	if (e->phentsize < (e->wide ? 56 : 32))
		return damaged(e, "its program headers have %u bytes", e->phentsize);
	/* Too many to count there: the first section header has the number. */
	if (e->phnum == PN_XNUM) {
		if (!shoff)
			return damaged(e, "the number of its segments is missing");
		if (sim_source_read(e->import, e->source, shoff + (e->wide ? 44 : 28), h, 4))
			return e->import->error;
		e->phnum = little(h, 4);
	}
	if (e->phnum > SEGMENTS_MAX)
		return damaged(e, "it has %" PRIu64 " segments, more than %u", e->phnum,
			       SEGMENTS_MAX);
	return 0;
}

/* ---- notes ---- */

static void take_prpsinfo(struct elf *e, const char *desc, size_t length)
{
	const size_t pid = e->wide ? 24 : 12, name = e->wide ? 40 : 28;

	/* Of 32-bit machines only i386 is known to look like this. */
	if (length < name + 16 || (!e->wide && e->machine != EM_386))
		return;
	e->pid = (int64_t)(int32_t)little((const uint8_t *)desc + pid, 4);
	snprintf(e->name, sizeof(e->name), "%.16s", desc + name);
}

static void take_auxv(struct elf *e, const char *desc, size_t length)
{
	const unsigned word = e->wide ? 8 : 4;
	size_t at;

	for (at = 0; at + 2 * word <= length; at += 2 * word) {
		const uint64_t type = little((const uint8_t *)desc + at, word);
		const uint64_t value = little((const uint8_t *)desc + at + word, word);

		if (type == AUXV_PAGESZ)
			e->page_size = value;
		else if (type == AUXV_VDSO)
			e->vdso = value;
	}
}

/* count, page size, then (start, end, offset) of each, then the names */
static int take_files(struct elf *e, const char *desc, size_t length)
{
	const unsigned word = e->wide ? 8 : 4;
	const uint64_t nr = length >= 2 * word ? little((const uint8_t *)desc, word) : 0;
	const char *name, *end = desc + length;
	const uint8_t *at = (const uint8_t *)desc + 2 * word;
	struct mapped *mapped;
	uint64_t i;

	if (nr > (length - (nr ? 2 * word : 0)) / (3 * word))
		return damaged(e, "its note of mapped files is too short for %" PRIu64 " files",
			       nr);
	name = desc + 2 * word + nr * 3 * word;
	for (i = 0; i < nr; i++, at += 3 * word) {
		const char *zero = name < end ? memchr(name, 0, (size_t)(end - name)) : NULL;

		if (!zero)
			return damaged(e, "its note of mapped files has fewer names than files");
		mapped = sim_vector_add(&e->mapped, &e->nr_mapped, sizeof(*mapped));
		if (!mapped)
			return sim_import_fail(e->import, KSMSIM_ENOMEM, "no memory");
		*mapped = (struct mapped){ little(at, word), little(at + word, word), name };
		name = zero + 1;
	}
	return 0;
}

static int take_note(struct elf *e, const char *name, size_t namesz, uint32_t type,
		     const char *desc, size_t descsz)
{
	if ((namesz >= 4 && !memcmp(name, "QEMU", 4)) ||
	    (namesz >= 10 && !memcmp(name, "VMCOREINFO", 10)))
		e->physical = true;
	if (namesz < 4 || memcmp(name, "CORE", 4) != 0)
		return 0;
	if (type == NT_PRPSINFO)
		take_prpsinfo(e, desc, descsz);
	else if (type == NT_AUXV)
		take_auxv(e, desc, descsz);
	else if (type == NT_FILE)
		return take_files(e, desc, descsz);
	return 0;
}

static size_t padded(size_t bytes)
{
	return (bytes + 3) & ~(size_t)3;
}

static int take_notes(struct elf *e, uint64_t offset, uint64_t length)
{
	const size_t room = NOTES_MAX - e->notes_bytes;
	const size_t bytes = length < room ? (size_t)length : room;
	char *notes = malloc(bytes + 1), **kept;
	size_t at = 0, left;

	kept = notes ? sim_vector_add(&e->notes, &e->nr_notes, sizeof(*kept)) : NULL;
	if (!kept) {
		free(notes);
		return sim_import_fail(e->import, KSMSIM_ENOMEM, "no memory");
	}
	*kept = notes;
	e->notes_bytes += bytes;
	if (sim_source_read(e->import, e->source, offset, notes, bytes))
		return e->import->error;
	while (!e->import->error && at + 12 <= bytes) {
		const uint8_t *h = (const uint8_t *)notes + at;
		const size_t namesz = (size_t)little(h, 4), descsz = (size_t)little(h + 4, 4);

		left = bytes - at - 12;
		if (padded(namesz) > left || descsz > left - padded(namesz))
			return bytes < length ? 0 : damaged(e, "a note is longer than its segment");
		take_note(e, notes + at + 12, namesz, (uint32_t)little(h + 8, 4),
			  notes + at + 12 + padded(namesz), descsz);
		at += 12 + padded(namesz) + padded(descsz);
	}
	return e->import->error;
}

/* ---- segments ---- */

struct program_header {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz;
};

static int read_program_header(struct elf *e, uint64_t i, struct program_header *p)
{
	uint8_t h[56];
	const unsigned word = e->wide ? 8 : 4;
	const uint8_t *at = h + (e->wide ? 8 : 4);

	if (sim_source_read(e->import, e->source, e->phoff + i * e->phentsize, h,
			    e->wide ? 56 : 32))
		return e->import->error;
	p->type = (uint32_t)little(h, 4);
	p->flags = (uint32_t)little(h + (e->wide ? 4 : 24), 4);
	p->offset = little(at, word);
	p->vaddr = little(at + word, word);
	p->paddr = little(at + 2 * word, word);
	p->filesz = little(at + 3 * word, word);
	p->memsz = little(at + 4 * word, word);
	return 0;
}

static int take_segment(struct elf *e, const struct program_header *p)
{
	struct segment *s = sim_vector_add(&e->segments, &e->nr_segments, sizeof(*s));

	if (!s)
		return sim_import_fail(e->import, KSMSIM_ENOMEM, "no memory");
	*s = (struct segment){ .start = e->physical ? p->paddr : p->vaddr,
			       .offset = p->offset,
			       .filesz = p->filesz,
			       .memsz = p->memsz > p->filesz ? p->memsz : p->filesz,
			       .flags = p->flags };
	return 0;
}

/* All headers of one type. */
static int for_headers(struct elf *e, uint32_t type)
{
	struct program_header p = { .type = PT_NULL };
	uint64_t i;

	for (i = 0; i < e->phnum && !e->import->error; i++) {
		if (read_program_header(e, i, &p) || p.type != type)
			continue;
		if (type == PT_NOTE)
			take_notes(e, p.offset, p.filesz);
		else
			take_segment(e, &p);
	}
	return e->import->error;
}

static int by_start(const void *a, const void *b)
{
	const struct segment *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/*
 * Whole pages, in order, each address once: dumps with page tables of the guest have
 * memory that is mapped twice twice. What is above half the address space is the kernel's.
 */
static void tidy_segments(struct elf *e)
{
	const uint64_t page = e->import->hash.page_bytes;
	uint64_t next = 0, skip;
	size_t i, kept = 0;

	if (e->nr_segments)
		qsort(e->segments, e->nr_segments, sizeof(*e->segments), by_start);
	for (i = 0; i < e->nr_segments; i++) {
		struct segment s = e->segments[i];

		if (s.start >> 62 || s.memsz >> 62)
			continue;
		skip = (page - s.start % page) % page;
		if (s.start + skip < next)
			skip += (next - s.start - skip + page - 1) / page * page;
		if (s.memsz < skip + page)
			continue;
		s.start += skip;
		s.offset += skip;
		s.filesz = s.filesz > skip ? s.filesz - skip : 0;
		s.memsz = (s.memsz - skip) / page * page;
		s.filesz = s.filesz / page * page;
		if (s.filesz > s.memsz)
			s.filesz = s.memsz;
		next = s.start + s.memsz;
		e->segments[kept++] = s;
	}
	e->nr_segments = kept;
}

static int by_end(const void *a, const void *b)
{
	const struct mapped *x = a, *y = b;

	return x->end < y->end ? -1 : x->end > y->end;
}

/* The file that is mapped at an address, or NULL. The files are sorted, and do not overlap. */
static const char *file_at(const struct elf *e, uint64_t vaddr)
{
	size_t low = 0, high = e->nr_mapped, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (e->mapped[middle].end > vaddr)
			high = middle;
		else
			low = middle + 1;
	}
	return low < e->nr_mapped && e->mapped[low].start <= vaddr ? e->mapped[low].name : NULL;
}

static const char *flags_of(uint32_t flags)
{
	static const char *const texts[] = { "??",    "ex ??",	  "wr ??",    "wr ex ??",
					     "rd ??", "rd ex ??", "rd wr ??", "rd wr ex ??" };

	return texts[flags & 7];
}

static int import_segment(struct elf *e, const struct segment *s)
{
	const char *file = e->physical ? NULL : file_at(e, s->start);
	const char *name = e->physical ? "[guest ram]" : file ? file : "";
	const uint64_t page = e->import->hash.page_bytes;

	if (sim_import_vma(e->import, s->start, s->start + s->memsz, flags_of(s->flags), name))
		return e->import->error;
	if ((file && !(s->flags & PF_W)) ||
	    (e->vdso && e->vdso >= s->start && e->vdso < s->start + s->memsz && !e->physical)) {
		e->import->left_out += s->filesz / page;
		return 0;
	}
	return sim_import_pages(e->import, e->source, s->start, s->offset, s->filesz);
}

/* Before anything is read: all is in the file, and no part of it is wanted again and again. */
static int check_segments(struct elf *e)
{
	const struct segment *s;
	uint64_t sum = 0;
	size_t i;

	if (!e->nr_segments)
		return damaged(e, "it has no segment of memory");
	for (i = 0; i < e->nr_segments && !e->import->error; i++) {
		s = &e->segments[i];
		sim_import_fits(e->import, e->source, s->start, s->offset, s->filesz);
		sum += s->filesz;
		if (sum > e->source->length)
			damaged(e, "its segments share parts of the file");
	}
	return e->import->error;
}

static int import_segments(struct elf *e)
{
	const char *slash = strrchr(e->source->path, '/');
	const char *base = slash ? slash + 1 : e->source->path;
	uint64_t missing = 0;
	size_t i;

	tidy_segments(e);
	if (check_segments(e))
		return e->import->error;
	if (e->nr_mapped)
		qsort(e->mapped, e->nr_mapped, sizeof(*e->mapped), by_end);
	if (sim_import_begin(e->import, e->source->path, *e->name ? e->name : base, e->pid))
		return e->import->error;
	for (i = 0; i < e->nr_segments && !e->import->error; i++) {
		import_segment(e, &e->segments[i]);
		missing += e->segments[i].memsz - e->segments[i].filesz;
	}
	sim_import_end(e->import);
	if (missing && !e->import->error)
		sim_import_trouble(e->import,
				   "%s: %" PRIu64 " bytes of its VMAs are not in the dump",
				   e->source->path, missing);
	return e->import->error;
}

int sim_import_elf(struct sim_import *import, struct sim_source *source)
{
	struct elf e = { .import = import, .source = source, .pid = SIM_CAP_UNKNOWN };
	size_t i;

	if (!read_header(&e) && !for_headers(&e, PT_NOTE) && !for_headers(&e, PT_LOAD)) {
		if (e.page_size && e.page_size != import->hash.page_bytes)
			sim_import_fail(import, SIM_EINPUT,
					"%s has pages of %" PRIu64
					" bytes; say --page-size %" PRIu64,
					source->path, e.page_size, e.page_size);
		else
			import_segments(&e);
	}
	for (i = 0; i < e.nr_notes; i++)
		free(e.notes[i]);
	free(e.notes);
	free(e.mapped);
	free(e.segments);
	return import->error;
}
