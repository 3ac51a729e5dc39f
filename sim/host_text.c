/*
 * host_text.c - what people paste about KSM, and what the kernel's files say.
 *
 * Understood, in any mixture and from any number of files: the output of
 * `grep -r . /sys/kernel/mm/ksm` with or without the directories, ksm_stat, smaps,
 * vmstat and meminfo, with or without the path in front that grep puts there.
 * A mail's quotation marks are taken off. There is no other reader: host.c hands
 * the files of this host to this one, line by line.
 *
 * A surprise: ksm_zero_pages is the name of a file and of a line of ksm_stat. It
 * is of a process only behind another line of ksm_stat.
 *
 * What a path says to be of the kernel but is not known is ignored and counted, as
 * kernels get new files; anything else that is not known is an error.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "host_value.h"

#define LINE_BYTES 24u /* of ":" and a line number */

/* ---- messages ---- */

static int wrong(const struct host_text *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int wrong(const struct host_text *t, const char *format, ...)
{
	const int used = snprintf(t->buf, t->size, "%s:%lu: ", t->name, t->line);
	va_list args;

	va_start(args, format);
	if (used > 0 && (size_t)used < t->size)
		vsnprintf(t->buf + used, t->size - (size_t)used, format, args);
	va_end(args);
	return SIM_EINPUT;
}

static int no_memory(const struct host_text *t)
{
	snprintf(t->buf, t->size, "%s: no memory", t->name);
	return KSMSIM_ENOMEM;
}

static int ignore(struct host_text *t, struct sim_word what)
{
	struct host *host = t->host;

	if (!host->ignored++)
		host_label(host->first_ignored, sizeof(host->first_ignored), what.text,
			   what.length);
	return 0;
}

/* "NAME: VALUE", "NAME=VALUE" or "NAME VALUE" */
static void split(struct sim_word line, struct sim_word *key, struct sim_word *value)
{
	size_t length = 0;

	while (length < line.length && !strchr(":= \t", line.text[length]))
		length++;
	*key = (struct sim_word){ line.text, length };
	*value = host_rest(line, length);
	if (value->length && (*value->text == ':' || *value->text == '='))
		*value = host_rest(*value, 1);
}

static int parse(const struct host_text *t, size_t figure, struct sim_word text, int64_t *value)
{
	char why[128];

	if (host_value(figure, text, value, why, sizeof(why)))
		return 0;
	return wrong(t, "%s is '%.*s'; expected %s", host_name(figure),
		     SIM_WORD_ARG(host_short(text)), why);
}

static int set(struct host_text *t, struct host_figures *figures, size_t figure,
	       struct sim_word text)
{
	int64_t value = 0;
	const int error = parse(t, figure, text, &value);

	if (error)
		return error;
	if (figures->known[figure])
		return wrong(t, "%s is there twice; one reading has it once", host_name(figure));
	figures->value[figure] = value;
	figures->known[figure] = true;
	return 0;
}

/* ---- processes ---- */

/* "guests/123/smaps" -> "guests/123", "redis.ksm_stat" -> "redis", others as they are. */
static struct sim_word stem(struct sim_word path)
{
	static const char *const ends[] = { "ksm_stat", "smaps_rollup", "smaps" };
	size_t i, length = path.length;

	for (i = 0; i < sizeof(ends) / sizeof(*ends) && length == path.length; i++)
		if (host_ends(path, ends[i]))
			length -= strlen(ends[i]);
	if (length == path.length || !length)
		return path;
	if (length > 1 && strchr("/._-", path.text[length - 1]))
		length--;
	if (host_begins(path, "/proc/") && length > strlen("/proc/"))
		return (struct sim_word){ path.text + strlen("/proc/"), length - strlen("/proc/") };
	return (struct sim_word){ path.text, length };
}

static int enter(struct host_text *t, const char *name)
{
	struct host_process *process = host_process(t->host, name);

	if (!process)
		return no_memory(t);
	t->process = (size_t)(process - t->host->processes);
	t->in_vma = false;
	return 0;
}

static int enter_path(struct host_text *t, struct sim_word path)
{
	const struct sim_word word = stem(path);
	char name[HOST_LABEL_MAX];

	host_label(name, sizeof(name), word.text, word.length);
	if (t->process != HOST_NO_PROCESS && !strcmp(t->host->processes[t->process].name, name))
		return 0;
	return enter(t, name);
}

/* Lines that do not say of which process they are: that of the file. */
static int enter_file(struct host_text *t)
{
	const struct sim_word word = stem((struct sim_word){ t->name, strlen(t->name) });
	char name[HOST_LABEL_MAX];

	host_label(name, sizeof(name) - LINE_BYTES, word.text, word.length);
	if (t->nr_processes++)
		snprintf(name + strlen(name), LINE_BYTES, ":%lu", t->line);
	return enter(t, name);
}

static struct host_figures *figures_of(const struct host_text *t)
{
	return &t->host->processes[t->process].figures;
}

static size_t find(struct sim_word key, bool (*is)(size_t figure))
{
	size_t i;

	for (i = 0; i < HOST_NR; i++)
		if (is(i) && *host_key(i) && sim_word_is(key, host_name(i)))
			break;
	return i;
}

static bool is_stat(size_t figure)
{
	return host_form(figure) == HOST_FORM_STAT || host_form(figure) == HOST_FORM_STAT_YES;
}

static bool is_smaps(size_t figure)
{
	return host_form(figure) == HOST_FORM_SMAPS;
}

static bool is_meminfo(size_t figure)
{
	return host_form(figure) == HOST_FORM_MEMINFO;
}

static bool is_ksm(size_t figure)
{
	return !strncmp(host_key(figure), "ksm/", strlen("ksm/"));
}

static int stat_line(struct host_text *t, struct sim_word line)
{
	struct sim_word key, value;
	size_t figure;

	split(line, &key, &value);
	figure = find(key, is_stat);
	if (figure < HOST_NR)
		return set(t, figures_of(t), figure, value);
	if (host_begins(key, "ksm_"))
		return ignore(t, key);
	return wrong(t, "'%.*s' is no line of ksm_stat; expected ksm_rmap_items and a number",
		     SIM_WORD_ARG(host_short(key)));
}

/* ---- smaps ---- */

static size_t hex_digits(const char *text, size_t length)
{
	size_t i = 0;

	while (i < length && text[i] && strchr("0123456789abcdef", text[i]))
		i++;
	return i;
}

/* "7f00a000-7f00b000 rw-p 00000000 00:00 0 [heap]" */
static bool is_vma(struct sim_word line)
{
	const size_t from = hex_digits(line.text, line.length);
	size_t to, i;

	if (!from || from >= line.length || line.text[from] != '-')
		return false;
	to = hex_digits(line.text + from + 1, line.length - from - 1);
	i = from + 1 + to;
	return to && line.length > i + 5 && line.text[i] == ' ' && strchr("r-", line.text[i + 1]) &&
	       strchr("w-", line.text[i + 2]) && strchr("x-", line.text[i + 3]) &&
	       strchr("ps", line.text[i + 4]);
}

static int begin_vma(struct host_text *t)
{
	if (t->process == HOST_NO_PROCESS && enter_file(t))
		return KSMSIM_ENOMEM;
	t->in_stat = false;
	t->in_vma = true;
	t->vma_anon_kb = t->vma_huge_kb = 0;
	return 0;
}

static int add(struct host_text *t, size_t figure, int64_t value)
{
	struct host_figures *figures = figures_of(t);

	if (figures->value[figure] + value > HOST_PAGES_MAX)
		return wrong(t, "%s: all mappings together are more than any host has",
			     host_name(figure));
	figures->value[figure] += value;
	figures->known[figure] = true;
	return 0;
}

static int end_vma(struct host_text *t, struct sim_word flags)
{
	int error = 0;

	if (!host_holds(flags, " mg") && !host_begins(flags, "mg"))
		return 0;
	error = add(t, HOST_mergeable_vmas, 1);
	if (!error)
		error = add(t, HOST_mergeable_anon_kb, t->vma_anon_kb);
	return error ? error : add(t, HOST_mergeable_huge_kb, t->vma_huge_kb);
}

/* Within a mapping; sets @done unless the line is about something else. */
static int smaps_line(struct host_text *t, struct sim_word line, bool *done)
{
	struct sim_word key, value;
	int64_t kb = 0;
	size_t figure;
	int error;

	split(line, &key, &value);
	*done = true;
	if (sim_word_is(key, "VmFlags"))
		return end_vma(t, value);
	figure = find(key, is_smaps);
	if (figure == HOST_NR) {
		*done = host_ends(value, " kB") || sim_word_is(key, "THPeligible") ||
			sim_word_is(key, "ProtectionKey");
		return 0;
	}
	error = parse(t, figure, value, &kb);
	if (error)
		return error;
	if (figure == HOST_smaps_anon_kb)
		t->vma_anon_kb = kb;
	if (figure == HOST_smaps_huge_kb)
		t->vma_huge_kb = kb;
	return add(t, figure, kb);
}

/* ---- lines ---- */

static bool is_vmstat(size_t figure)
{
	return !strcmp(host_key(figure), "vmstat");
}

static size_t find_vmstat(struct sim_word key)
{
	size_t i;

	for (i = 0; i < HOST_NR; i++)
		if (is_vmstat(i) && sim_word_is(key, host_name(i)))
			break;
	return i;
}

static const char *known_name(const void *self, size_t i)
{
	size_t figure;

	(void)self;
	for (figure = 0; figure < HOST_NR; figure++)
		if ((is_ksm(figure) || is_stat(figure)) && !i--)
			return host_name(figure);
	return NULL;
}

static int unknown(const struct host_text *t, struct sim_word key)
{
	const char *guess = sim_nearest(key.text, key.length, known_name, NULL);

	if (guess)
		return wrong(t, "'%.*s' is not known; did you mean '%s'?",
			     SIM_WORD_ARG(host_short(key)), guess);
	return wrong(t,
		     "'%.*s' is not known; expected NAME:VALUE as grep prints the files of "
		     "/sys/kernel/mm/ksm, or a line of ksm_stat or smaps",
		     SIM_WORD_ARG(host_short(key)));
}

static int meminfo_line(struct host_text *t, struct sim_word line)
{
	struct sim_word key, value;
	size_t figure;

	split(line, &key, &value);
	figure = find(key, is_meminfo);
	return figure < HOST_NR ? set(t, &t->host->figures, figure, value) : 0;
}

static int vmstat_line(struct host_text *t, struct sim_word line)
{
	struct sim_word key, value;
	size_t figure;

	split(line, &key, &value);
	figure = find_vmstat(key);
	return figure < HOST_NR ? set(t, &t->host->figures, figure, value) : 0;
}

static int process_line(struct host_text *t, struct sim_word path, struct sim_word line)
{
	bool done;
	int error = enter_path(t, path);

	if (error)
		return error;
	if (host_ends(path, "ksm_stat"))
		return stat_line(t, line);
	if (is_vma(line))
		return begin_vma(t);
	t->in_vma = true;
	return smaps_line(t, line, &done);
}

/* Has it a file of its own that is read? */
static bool is_file(size_t figure)
{
	const enum host_form form = host_form(figure);

	return is_ksm(figure) || form == HOST_FORM_HUGE || form == HOST_FORM_HUGE_MODE ||
	       form == HOST_FORM_NODES;
}

/* A line that says in which file it was. */
static int path_line(struct host_text *t, struct sim_word path, struct sim_word line)
{
	size_t i;

	t->in_stat = false;
	if (host_ends(path, "/ksm_stat") || host_ends(path, "/smaps") ||
	    host_ends(path, "/smaps_rollup"))
		return process_line(t, path, line);
	t->process = HOST_NO_PROCESS;
	t->in_vma = false;
	if (host_ends(path, "/meminfo"))
		return meminfo_line(t, line);
	if (host_ends(path, "/vmstat"))
		return vmstat_line(t, line);
	for (i = 0; i < HOST_NR; i++)
		if (is_file(i) && host_ends(path, host_key(i)))
			return set(t, &t->host->figures, i, line);
	if (host_holds(path, "sys/") || host_holds(path, "proc/"))
		return ignore(t, path);
	return unknown(t, path);
}

/* A line that says nothing of its file. */
static int bare_line(struct host_text *t, struct sim_word line)
{
	struct sim_word key, value;
	size_t figure;
	int error = 0;

	split(line, &key, &value);
	figure = find(key, is_stat);
	if (figure < HOST_NR && (figure != HOST_stat_zero || t->in_stat)) {
		if (!t->in_stat || figures_of(t)->known[figure])
			error = enter_file(t);
		t->in_stat = true;
		return error ? error : set(t, figures_of(t), figure, value);
	}
	if (t->in_stat && host_begins(key, "ksm_") && find(key, is_ksm) == HOST_NR)
		return ignore(t, key);
	t->in_stat = false;
	figure = find(key, is_ksm);
	if (figure == HOST_NR)
		figure = find_vmstat(key);
	if (figure == HOST_NR)
		figure = find(key, is_meminfo);
	if (figure < HOST_NR)
		return set(t, &t->host->figures, figure, value);
	return host_ends(value, " kB") ? ignore(t, key) : unknown(t, key);
}

void host_text_init(struct host_text *text, struct host *host, const char *name, char *buf,
		    size_t size)
{
	*text = (struct host_text){
		.host = host, .name = name, .buf = buf, .size = size, .process = HOST_NO_PROCESS
	};
}

/* "ksm/run:1": has the word in front of the colon a directory? */
static bool has_path(struct sim_word line, struct sim_word *path, struct sim_word *rest)
{
	const char *colon = memchr(line.text, ':', line.length);
	size_t length;

	if (!colon)
		return false;
	length = (size_t)(colon - line.text);
	if (!memchr(line.text, '/', length) || memchr(line.text, ' ', length))
		return false;
	*path = (struct sim_word){ line.text, length };
	*rest = host_rest(line, length + 1);
	return true;
}

int host_text_line(struct host_text *t, const char *text, size_t length)
{
	struct sim_word line = host_trimmed(text, length), path, rest;
	bool done = false;
	int error;

	t->line++;
	while (line.length && *line.text == '>')
		line = host_rest(line, 1);
	if (host_begins(line, "./"))
		line = host_rest(line, 2);
	if (!line.length || *line.text == '#')
		return 0;
	if (is_vma(line))
		return begin_vma(t);
	if (!sim_text_is_clean(line.text, line.length))
		return wrong(t, "the line has bytes that are no text");
	if (host_begins(line, "grep: ") || host_begins(line, "cat: "))
		return ignore(t, line);
	if (has_path(line, &path, &rest))
		return path_line(t, path, rest);
	if (t->in_vma) {
		error = smaps_line(t, line, &done);
		if (error || done)
			return error;
		t->in_vma = false;
		t->process = HOST_NO_PROCESS;
	}
	return bare_line(t, line);
}

/* ---- files ---- */

/* A line without its end; its length, or -1 at the end of the file, -2 if it does not fit. */
static long read_line(FILE *in, char *line, size_t size)
{
	size_t length = 0;
	int c;

	while ((c = getc(in)) != EOF && c != '\n') {
		if (length == size)
			return -2;
		line[length++] = (char)c;
	}
	return c == EOF && !length ? -1 : (long)length;
}

int host_text_read(struct host *host, FILE *in, const char *name, char *buf, size_t size)
{
	struct host_text t;
	char *line = sim_alloc(host->mem, SIM_LINE_MAX);
	long length;
	int error = 0;

	host_text_init(&t, host, name, buf, size);
	if (!line)
		return no_memory(&t);
	while (!error && (length = read_line(in, line, SIM_LINE_MAX)) >= 0)
		error = host_text_line(&t, line, (size_t)length);
	sim_free(host->mem, line);
	if (!error && length == -2) {
		t.line++;
		error = wrong(&t, "the line has more than %u bytes", SIM_LINE_MAX);
	}
	if (!error && ferror(in)) {
		snprintf(buf, size, "%s cannot be read", name);
		error = SIM_EINPUT;
	}
	return error;
}
