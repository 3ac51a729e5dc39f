/*
 * import.c - what all imports share: files with holes, processes, pages.
 *
 * A hole of a sparse file was never written by who made it: the kernel leaves one for
 * a page that was not there. Such pages are not resident; a page of written zeros is.
 * A copy that filled the holes has lost the difference.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "import.h"
#include "vector.h"

#define BUFFER_BYTES (256u << 10)

int sim_import_fail(struct sim_import *import, int error, const char *format, ...)
{
	va_list args;

	if (import->error)
		return import->error;
	import->error = error;
	va_start(args, format);
	vsnprintf(import->why, import->size, format, args);
	va_end(args);
	return error;
}

static int written(struct sim_import *import, int error)
{
	if (error)
		sim_import_fail(import, error, "%s", sim_capwriter_error(import->writer));
	return import->error;
}

void sim_import_trouble(struct sim_import *import, const char *format, ...)
{
	char text[1024];
	const struct sim_cap_trouble trouble = { .pid = SIM_CAP_UNKNOWN, .text = text };
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	written(import, sim_capwriter_trouble(import->writer, &trouble));
}

/* ---- files ---- */

int sim_source_open(struct sim_import *import, const char *path, struct sim_source *source)
{
	struct stat info;
	off_t length = -1;

	*source = (struct sim_source){ .path = path };
	source->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (source->fd >= 0 && !fstat(source->fd, &info)) {
		if (S_ISDIR(info.st_mode))
			errno = EISDIR;
		else
			length = lseek(source->fd, 0, SEEK_END);
	}
	if (length < 0) {
		sim_import_fail(import, SIM_EINPUT, "%s cannot be read: %s", path,
				errno == ESPIPE ? "it is a pipe, and must be read more than once"
						: strerror(errno));
		sim_source_close(source);
		return import->error;
	}
	source->length = (uint64_t)length;
	return 0;
}

void sim_source_close(struct sim_source *source)
{
	if (source->fd >= 0)
		close(source->fd);
	source->fd = -1;
}

int sim_source_read(struct sim_import *import, struct sim_source *source, uint64_t offset,
		    void *bytes, size_t length)
{
	size_t done = 0;
	ssize_t got = 1;

	if (offset > source->length || length > source->length - offset)
		return sim_import_fail(
			import, SIM_EINPUT,
			"%s is cut off or damaged: %zu bytes are expected at %" PRIu64
			", and it has %" PRIu64,
			source->path, length, offset, source->length);
	while (done < length && got > 0) {
		got = pread(source->fd, (char *)bytes + done, length - done,
			    (off_t)(offset + done));
		if (got > 0)
			done += (size_t)got;
	}
	if (got < 0)
		return sim_import_fail(import, SIM_EINPUT, "%s cannot be read at %" PRIu64 ": %s",
				       source->path, offset + done, strerror(errno));
	if (done < length)
		return sim_import_fail(import, SIM_EINPUT, "%s became shorter while it was read",
				       source->path);
	return 0;
}

bool sim_source_has_data(struct sim_source *source, uint64_t offset, uint64_t length)
{
	off_t data, hole;

	if (offset < source->asked || offset >= source->data_end) {
		source->asked = offset;
		data = lseek(source->fd, (off_t)offset, SEEK_DATA);
		if (data < 0)
			/* The end is a hole; other errors: a file system without holes. */
			data = (off_t)(errno == ENXIO ? source->length : offset);
		hole = lseek(source->fd, data, SEEK_HOLE);
		source->data = (uint64_t)data;
		source->data_end = hole > data ? (uint64_t)hole : source->length;
	}
	return offset + length > source->data;
}

/* ---- processes ---- */

int sim_import_begin(struct sim_import *import, const char *path, const char *name, int64_t pid)
{
	const struct sim_cap_process process = { .pid = pid,
						 .ppid = SIM_CAP_UNKNOWN,
						 .uid = SIM_CAP_UNKNOWN,
						 .name = name,
						 .exe = path,
						 .cgroup = "" };

	import->process_pages = 0;
	import->nr_vmas = 0;
	import->vmas = NULL;
	if (!import->buffer)
		import->buffer = malloc(BUFFER_BYTES);
	if (!import->buffer)
		return sim_import_fail(import, KSMSIM_ENOMEM, "no memory");
	if (written(import, sim_capwriter_process(import->writer, &process, &import->process)))
		return import->error;
	return written(import, sim_capwriter_pages_begin(import->writer, import->process, 0));
}

int sim_import_vma(struct sim_import *import, uint64_t start, uint64_t end, const char *flags,
		   const char *name)
{
	struct sim_cap_vma *vma = sim_vector_add(&import->vmas, &import->nr_vmas, sizeof(*vma));

	if (!vma)
		return sim_import_fail(import, KSMSIM_ENOMEM, "no memory");
	*vma = (struct sim_cap_vma){
		.start = start, .end = end, .flags_text = flags, .name = name
	};
	return 0;
}

int sim_import_page(struct sim_import *import, const struct sim_cap_page *page)
{
	import->pages++;
	import->process_pages++;
	import->zeros += page->flags & SIM_CAP_ZERO ? 1 : 0;
	return written(import, sim_capwriter_page(import->writer, page));
}

/* Pages that are in the buffer. */
static void hash_pages(struct sim_import *import, uint64_t vaddr, uint64_t length)
{
	struct sim_cap_page page;
	uint64_t at;

	for (at = 0; at < length && !import->error; at += import->hash.page_bytes) {
		page = (struct sim_cap_page){ .vaddr = vaddr + at, .nid = SIM_CAP_NO_NODE };
		sim_pagehash(&import->hash, import->buffer + at, &page);
		sim_import_page(import, &page);
	}
}

int sim_import_fits(struct sim_import *import, const struct sim_source *source, uint64_t vaddr,
		    uint64_t offset, uint64_t length)
{
	if (offset > source->length || length > source->length - offset)
		return sim_import_fail(import, SIM_EINPUT,
				       "%s is cut off or damaged: memory at %#" PRIx64
				       " needs it to have %" PRIu64 " bytes, and it has %" PRIu64,
				       source->path, vaddr, offset + length, source->length);
	return 0;
}

int sim_import_pages(struct sim_import *import, struct sim_source *source, uint64_t vaddr,
		     uint64_t offset, uint64_t length)
{
	const uint64_t page = import->hash.page_bytes;
	uint64_t at = 0, run;

	if (sim_import_fits(import, source, vaddr, offset, length))
		return import->error;
	while (at < length && !import->error) {
		if (!sim_source_has_data(source, offset + at, page)) {
			/* On to where data begins: a hole may be terabytes. */
			run = source->data - (offset + at);
			run = run > length - at ? length - at : run - run % page;
			import->holes += run / page;
			at += run;
			continue;
		}
		for (run = page; run < BUFFER_BYTES && at + run < length &&
				 sim_source_has_data(source, offset + at + run, page);)
			run += page;
		if (!sim_source_read(import, source, offset + at, import->buffer, run))
			hash_pages(import, vaddr + at, run);
		at += run;
	}
	return import->error;
}

int sim_import_end(struct sim_import *import)
{
	struct sim_cap_figures figures;

#define FIGURE(name, doc) figures.name = SIM_CAP_UNKNOWN;
	SIM_CAP_FIGURES(FIGURE)
#undef FIGURE
	figures.rss_anon = (int64_t)(import->process_pages * import->hash.page_bytes);
	figures.pages_unread = 0;
	figures.pages_vanished = 0;
	written(import, sim_capwriter_pages_end(import->writer));
	written(import, sim_capwriter_vmas(import->writer, import->process, 0, import->vmas,
					   import->nr_vmas));
	written(import, sim_capwriter_figures(import->writer, import->process, 0, &figures));
	free(import->vmas);
	import->vmas = NULL;
	return import->error;
}

/* ---- what is it? ---- */

static bool ends_with(const char *text, const char *end)
{
	const size_t length = strlen(text), tail = strlen(end);

	return length >= tail && !strcmp(text + length - tail, end);
}

int sim_import_guess(struct sim_import *import, struct sim_source *source,
		     enum sim_import_kind *kind)
{
	char start[16] = "";
	const size_t length = source->length < sizeof(start) ? source->length : sizeof(start);

	if (sim_source_read(import, source, 0, start, length))
		return import->error;
	if (!memcmp(start, "\177ELF", 4)) {
		*kind = SIM_IMPORT_ELF;
		return 0;
	}
	if (!memcmp(start, "SQLite format 3", 16))
		return sim_import_fail(import, SIM_EINPUT,
				       "%s is a capture already, or another database",
				       source->path);
	if (!memcmp(start, "KDUMP   ", 8) || !memcmp(start, "DISKDUMP", 8))
		return sim_import_fail(import, SIM_EINPUT,
				       "%s is a compressed dump; make it an ELF file first "
				       "(dump-guest-memory without -z -l -s, or makedumpfile -E)",
				       source->path);
	if (ends_with(source->path, ".csv") || ends_with(source->path, ".txt")) {
		*kind = SIM_IMPORT_CSV;
		return 0;
	}
	if (!source->length || source->length % import->hash.page_bytes)
		return sim_import_fail(import, SIM_EINPUT,
				       "%s: %" PRIu64
				       " bytes are no whole pages of %u, and it begins "
				       "like no dump; say what it is with --format",
				       source->path, source->length, import->hash.page_bytes);
	*kind = SIM_IMPORT_RAW;
	return 0;
}
