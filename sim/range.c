/*
 * range.c - RANGE: a part of a region, or an address and a length.
 *
 *	heap      heap+3      heap+3:2      heap+3:*      @0x10000000000:16K
 *
 * A range by name stays inside its region, so that a slip is an error and not
 * a different test; @ADDRESS goes anywhere.
 */
#include <string.h>

#include "run.h"

static int wrong_at(struct sim_run *run, struct sim_word word, const char *why)
{
	const int length = word.length > SIM_NAME_MAX ? (int)SIM_NAME_MAX : (int)word.length;

	return sim_refuse(run, word.text,
			  "'%.*s' %s; expected a range: REGION, REGION+PAGE, REGION+PAGE:PAGES, "
			  "REGION+PAGE:* or @ADDRESS:LENGTH",
			  length, word.text, why);
}

/* Cut @word at the first @c; *rest.text is NULL if there is none. */
static struct sim_word split(struct sim_word word, char c, struct sim_word *rest)
{
	const char *at = memchr(word.text, c, word.length);

	*rest = (struct sim_word){ NULL, 0 };
	if (!at)
		return word;
	*rest = (struct sim_word){ at + 1, (size_t)(word.text + word.length - at) - 1 };
	word.length = (size_t)(at - word.text);
	return word;
}

static int parse_absolute(struct sim_run *run, struct sim_word word, struct sim_range *range)
{
	struct sim_word address, length;
	const char *wrong;

	word.text++;
	word.length--;
	address = split(word, ':', &length);
	if (!length.text)
		return wrong_at(run, word, "has no length");
	wrong = sim_word_length(address, 1, &range->vaddr);
	if (wrong)
		return wrong_at(run, address, wrong);
	wrong = sim_word_length(length, run->world.page, &range->length);
	if (wrong)
		return wrong_at(run, length, wrong);
	if (range->length > UINT64_MAX - range->vaddr)
		return wrong_at(run, word, "is too large");
	return 0;
}

static bool has_gone(const struct sim_mm *mm, struct sim_word name)
{
	size_t i;

	for (i = 0; i < mm->nr; i++)
		if (mm->regions[i].gone && sim_word_is(name, mm->regions[i].name))
			return true;
	return false;
}

static int find_region(struct sim_run *run, uint32_t process, struct sim_word name,
		       const struct sim_region **region)
{
	struct sim_mm *mm = sim_world_mm(&run->world, process);
	const char *guess;
	const int length = name.length > SIM_NAME_MAX ? (int)SIM_NAME_MAX : (int)name.length;

	*region = sim_world_region(&run->world, process, name);
	if (*region)
		return 0;
	if (has_gone(mm, name))
		return sim_refuse(run, name.text, "region '%.*s' of %s is not mapped any more",
				  length, name.text, run->world.processes[process].name);
	guess = sim_nearest(name.text, name.length, sim_world_region_name, mm);
	if (guess)
		return sim_refuse(run, name.text, "%s has no region '%.*s'; did you mean '%s'?",
				  run->world.processes[process].name, length, name.text, guess);
	return sim_refuse(run, name.text, "%s has no region '%.*s'",
			  run->world.processes[process].name, length, name.text);
}

int sim_range_parse(struct sim_run *run, uint32_t process, struct sim_word word,
		    struct sim_range *range)
{
	const struct sim_region *region;
	struct sim_word name, part, length;
	uint64_t offset = 0, bytes;
	const char *wrong = NULL;
	int error;

	*range = (struct sim_range){ 0, 0, NULL, false };
	if (word.length && word.text[0] == '@')
		return parse_absolute(run, word, range);
	name = split(word, '+', &part);
	error = find_region(run, process, name, &region);
	if (error)
		return error;
	bytes = region->length;
	if (part.text) {
		part = split(part, ':', &length);
		wrong = sim_word_length(part, run->world.page, &offset);
		if (wrong)
			return wrong_at(run, part, wrong);
		bytes = run->world.page;
		if (length.text && !sim_word_is(length, "*"))
			wrong = sim_word_length(length, run->world.page, &bytes);
		else if (length.text)
			bytes = offset < region->length ? region->length - offset : 0;
		if (wrong)
			return wrong_at(run, length, wrong);
	}
	if (offset > region->length || bytes > region->length - offset)
		return sim_refuse(run, word.text,
				  "this goes beyond region %s, which has %llu pages; use "
				  "@ADDRESS:LENGTH if that is meant",
				  region->name,
				  (unsigned long long)(region->length / run->world.page));
	range->vaddr = region->vaddr + offset;
	range->length = bytes;
	range->region = region->name;
	range->whole = bytes == region->length;
	return 0;
}
