/*
 * import_file.c - one file of any kind into a capture.
 */
#include <string.h>
#include <sys/stat.h>

#include "import.h"

static bool is_list(enum sim_import_kind kind)
{
	return kind == SIM_IMPORT_CSV || kind == SIM_IMPORT_HASHES;
}

/* What the first file says about all. */
static int write_meta(struct sim_import *import, enum sim_import_kind kind, const char *path,
		      const struct sim_import_list *list)
{
	static const char *const sources[] = { "elf", "raw", "hashes", "hashes" };
	const struct sim_cap_round round = { 0, 0 };
	struct stat info;
	char clock[32] = "0";

	if (!stat(path, &info))
		snprintf(clock, sizeof(clock), "%lld", (long long)info.st_mtime);
	sim_capwriter_meta(import->writer, SIM_CAP_META_SOURCE, sources[kind]);
	sim_capwriter_meta(import->writer, SIM_CAP_META_HOST, "");
	sim_capwriter_meta(import->writer, SIM_CAP_META_KERNEL, "");
	sim_capwriter_meta(import->writer, SIM_CAP_META_ARCH, "");
	sim_capwriter_meta(import->writer, SIM_CAP_META_CLOCK, clock);
	sim_capwriter_meta(import->writer, SIM_CAP_META_INTERVAL, "0");
	sim_capwriter_meta(import->writer, SIM_CAP_META_TOOL, "ksmsim " KSMSIM_VERSION);
	sim_capwriter_round(import->writer, 0, &round);
	if (is_list(kind))
		return sim_import_list_meta(import, list);
	if (sim_pagehash_meta(&import->hash, import->writer))
		return sim_import_fail(import, SIM_EOUTPUT, "%s",
				       sim_capwriter_error(import->writer));
	return 0;
}

int sim_import_file(struct sim_import *import, const char *path, int format,
		    const struct sim_import_list *list)
{
	struct sim_source source;
	enum sim_import_kind kind = SIM_IMPORT_RAW;

	if (sim_source_open(import, path, &source))
		return import->error;
	if (format >= 0)
		kind = (enum sim_import_kind)format;
	else
		sim_import_guess(import, &source, &kind);
	if (!import->error && !import->begun)
		write_meta(import, kind, path, list);
	if (!import->error && import->begun && import->list != is_list(kind))
		sim_import_fail(import, SIM_EINPUT,
				"%s: dumps and lists of hashes cannot be compared, so they do not "
				"fit into one capture",
				path);
	import->list = is_list(kind);
	import->begun = true;
	if (!import->error && kind == SIM_IMPORT_ELF)
		sim_import_elf(import, &source);
	else if (!import->error && kind == SIM_IMPORT_RAW)
		sim_import_raw(import, &source);
	else if (!import->error && kind == SIM_IMPORT_CSV)
		sim_import_csv(import, &source, list);
	else if (!import->error)
		sim_import_hashes(import, &source, list);
	sim_source_close(&source);
	return import->error;
}
