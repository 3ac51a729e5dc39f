/*
 * scenario.c - scenarios in line form: from a stream to operations.
 *
 * Read as a stream, one line in memory at a time, so a recording may be longer
 * than memory. A line may end with CR LF, and the last one without anything.
 * What cannot be meant is refused where it stands: NUL bytes, control
 * characters, broken UTF-8 (comments are free), lines above SIM_LINE_MAX.
 */
#include <errno.h>
#include <string.h>

#include "run.h"

/* The text of run->cut ends up as a terminated copy without comment. */
int sim_run_line(struct sim_run *run, const char *name, unsigned long line, const char *text,
		 size_t length)
{
	if (run->status)
		return run->status;
	run->name = name;
	run->line = line;
	run->lua = false;
	run->cut.text = text;
	if (memchr(text, '\0', length))
		return sim_refuse(run, memchr(text, '\0', length), "a NUL byte");
	if (length > SIM_LINE_MAX)
		return sim_refuse(run, NULL, "the line is longer than %u bytes", SIM_LINE_MAX);
	length = sim_line_end(text, length);
	if (length && text[length - 1] == '\r')
		length--;
	while (length && (text[length - 1] == ' ' || text[length - 1] == '\t'))
		length--;
	if (!sim_text_is_clean(text, length))
		return sim_refuse(run, NULL, "a control character, or not UTF-8");
	sim_buf_clear(&run->line_text);
	sim_buf_put(&run->line_text, text, length);
	run->cut.text = sim_buf_text(&run->line_text);
	run->cut.length = length;
	if (run->line_text.failed || !sim_line_cut(run, &run->cut))
		return sim_fail(run, KSMSIM_ENOMEM);
	return sim_run_cut(run);
}

/* The next line into run->scratch, without its LF. false: there is none. */
static bool read_line(struct sim_run *run, FILE *in)
{
	char byte;
	int c;

	sim_buf_clear(&run->scratch);
	while ((c = getc(in)) != EOF && c != '\n') {
		byte = (char)c;
		sim_buf_put(&run->scratch, &byte, 1);
		if (run->scratch.failed || run->scratch.length > SIM_LINE_MAX)
			return true;
	}
	return c != EOF || run->scratch.length;
}

int sim_run_lines(struct sim_run *run, FILE *in, const char *name)
{
	unsigned long line = 0;
	int error = 0;

	run->name = name;
	errno = 0;
	while (!error && read_line(run, in)) {
		run->line = ++line;
		if (run->scratch.failed)
			return sim_fail(run, KSMSIM_ENOMEM);
		error = sim_run_line(run, name, line, sim_buf_text(&run->scratch),
				     run->scratch.length);
	}
	if (!error && ferror(in))
		error = sim_fail_with(run, SIM_EINPUT, "cannot be read: %s",
				      strerror(errno ? errno : EIO));
	return error;
}
