/*
 * import_raw.c - an image of memory without any header: one process, pages from 0 on.
 */
#include <inttypes.h>
#include <string.h>

#include "import.h"

int sim_import_raw(struct sim_import *import, struct sim_source *source)
{
	const char *slash = strrchr(source->path, '/');
	const uint64_t page = import->hash.page_bytes;

	if (!source->length || source->length % page || source->length / page >= SIM_CAP_PAGES_MAX)
		return sim_import_fail(import, SIM_EINPUT,
				       "%s: %" PRIu64 " bytes are no whole pages of %" PRIu64,
				       source->path, source->length, page);
	if (sim_import_begin(import, source->path, slash ? slash + 1 : source->path,
			     SIM_CAP_UNKNOWN))
		return import->error;
	sim_import_vma(import, 0, source->length, "rd wr ??", "[image]");
	sim_import_pages(import, source, 0, 0, source->length);
	return sim_import_end(import);
}
