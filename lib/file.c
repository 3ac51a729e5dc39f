/*
 * file.c - floor 4: files, as far as memory mappings see them.
 *
 * A file is an endless row of pages described by one content. What was read or
 * written is kept in a page cache, so that a look at a page can be borrowed and
 * what shared mappings write is seen by all. Anonymous shared memory is a file of
 * zeros as long as its first mapping, with no other user. Files live as long as the machine.
 */
#include "mm.h"

#include <string.h>

uint32_t ks_file_new(struct ks_system *sys, const struct ksmsim_content *content)
{
	struct ks_file *file;
	void *bytes = NULL;

	if (content->kind == KSMSIM_CONTENT_BYTES) {
		bytes = ks_alloc(sys->env, sys->contents.page_bytes);
		memcpy(bytes, content->bytes, sys->contents.page_bytes);
	}
	if (sys->nr_files + 1 >= sys->room_files) {
		const uint32_t room = sys->room_files ? 2 * sys->room_files : 8;

		sys->files = ks_realloc(sys->env, sys->files, room * sizeof(*sys->files));
		sys->room_files = room;
	}
	file = &sys->files[++sys->nr_files];
	*file = (struct ks_file){ .content = *content };
	file->content.bytes = bytes;
	return sys->nr_files;
}

ks_cid ks_file_page(struct ks_system *sys, uint32_t file, uint64_t index)
{
	struct ks_file *f = &sys->files[file];
	const uint64_t *cached = ks_map_find(&f->pages, index + 1);
	ks_cid cid;

	if (cached)
		return (ks_cid)*cached;
	cid = ks_content_make(sys->env, &sys->contents, &f->content, index);
	ks_map_set(sys->env, &f->pages, index + 1, cid);
	return cid;
}

void ks_file_store(struct ks_system *sys, uint32_t file, uint64_t index, ks_cid cid)
{
	struct ks_file *f = &sys->files[file];
	const uint64_t *cached = ks_map_find(&f->pages, index + 1);
	const ks_cid old = cached ? (ks_cid)*cached : KS_CID_NONE;

	ks_map_set(sys->env, &f->pages, index + 1, cid);
	if (old)
		ks_content_put(sys->env, &sys->contents, old);
}
