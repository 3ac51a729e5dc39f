/*
 * import.h - captures made of files: core files, dumps of guests, images, lists of hashes.
 *
 * A file is not trusted: whatever is in it, an import ends with an answer. Nothing of
 * a file is ever held whole but a list of hashes.
 */
#ifndef SIM_IMPORT_H
#define SIM_IMPORT_H

#include "pagehash.h"

/* What goes into one capture. */
struct sim_import {
	struct sim_capwriter *writer;
	struct sim_pagehash hash;
	char *why; /* the sentence of an error */
	size_t size;
	int error;
	/* of all files: */
	bool begun, list; /* there was one; it was a list of hashes */
	uint64_t pages, zeros;
	uint64_t holes;	   /* pages that the file has no data for: taken as not resident */
	uint64_t left_out; /* pages of mapped files, and of the kernel's own areas */
	/* between begin and end of a process */
	uint32_t process;
	struct sim_cap_vma *vmas;
	size_t nr_vmas;
	uint64_t process_pages;
	uint8_t *buffer;
};

/* A file that can be read anywhere. */
struct sim_source {
	const char *path; /* for messages */
	int fd;
	uint64_t length;
	uint64_t asked, data, data_end; /* the part without holes that follows asked */
};

enum sim_import_kind {
	SIM_IMPORT_ELF,
	SIM_IMPORT_RAW,
	SIM_IMPORT_CSV,	   /* text: a hash a line, or columns */
	SIM_IMPORT_HASHES, /* binary: hashes of one length */
};

struct sim_import_list {
	unsigned hash_bytes; /* of SIM_IMPORT_HASHES */
	bool has_zero;	     /* the hash of a page of zeros is known */
	struct sim_print zero;
};

int sim_source_open(struct sim_import *import, const char *path, struct sim_source *source);
void sim_source_close(struct sim_source *source);
/* All of it or an error that says where the file ends. */
int sim_source_read(struct sim_import *import, struct sim_source *source, uint64_t offset,
		    void *bytes, size_t length);
/* Is there data, and no hole, somewhere in this part? */
bool sim_source_has_data(struct sim_source *source, uint64_t offset, uint64_t length);

int sim_import_fail(struct sim_import *import, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void sim_import_trouble(struct sim_import *import, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A process: begin, then for each VMA in address order its row and its pages, end. */
int sim_import_begin(struct sim_import *import, const char *path, const char *name, int64_t pid);
int sim_import_vma(struct sim_import *import, uint64_t start, uint64_t end, const char *flags,
		   const char *name);
int sim_import_page(struct sim_import *import, const struct sim_cap_page *page);
/* Does the file have this part? An error if not. */
int sim_import_fits(struct sim_import *import, const struct sim_source *source, uint64_t vaddr,
		    uint64_t offset, uint64_t length);
/* Pages from @vaddr on that are at @offset of the file; both whole pages */
int sim_import_pages(struct sim_import *import, struct sim_source *source, uint64_t vaddr,
		     uint64_t offset, uint64_t length);
int sim_import_end(struct sim_import *import);

/**
 * sim_import_guess() - what a file is, from how it begins and its name
 * Returns: 0, or an error that says what can be done.
 */
int sim_import_guess(struct sim_import *import, struct sim_source *source,
		     enum sim_import_kind *kind);

/**
 * sim_import_file() - one more file
 * @format: enum sim_import_kind, or -1: what it looks like
 * The first one says what the capture's meta has.
 */
int sim_import_file(struct sim_import *import, const char *path, int format,
		    const struct sim_import_list *list);

int sim_import_elf(struct sim_import *import, struct sim_source *source);
int sim_import_raw(struct sim_import *import, struct sim_source *source);
int sim_import_csv(struct sim_import *import, struct sim_source *source,
		   const struct sim_import_list *list);
int sim_import_hashes(struct sim_import *import, struct sim_source *source,
		      const struct sim_import_list *list);
/* Hexadecimal digits, or NULL and what is wrong */
const char *sim_import_hex(const char *text, size_t length, struct sim_print *print);

/* What a capture of lists must say; once, before the first. */
int sim_import_list_meta(struct sim_import *import, const struct sim_import_list *list);

#endif
