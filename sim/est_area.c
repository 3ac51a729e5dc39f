/*
 * est_area.c - the areas of an image: which there are, what they are called, where they go.
 *
 * Areas of a process are the VMAs of its first round and, of later rounds, what lies
 * between those. They keep their addresses where a process of the model can have them;
 * images and dumps may begin at 0 or lie above: then all areas of that process are moved,
 * in order, and as far from the beginning of a huge page as they were.
 */
#include <stdlib.h>
#include <string.h>

#include "est_parts.h"
#include "vector.h"

#define USER_START UINT64_C(0x10000)
#define USER_END (UINT64_C(1) << 47)
#define BLOCK ((uint64_t)EST_BLOCK_PAGES * EST_PAGE)
#define VMA_MAX (UINT64_C(1) << 57)
#define AREA_MAX (UINT64_C(1) << 42) /* of one area: pages have 32-bit numbers */
#define GUEST_BYTES (UINT64_C(64) << 20)

/* ---- names ---- */

static bool begins(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

/* Programs whose large mappings are the memory of guests. */
static bool runs_guests(const char *name)
{
	static const char *const names[] = { "qemu", "kvm",    "cloud-hyperviso", "firecracker",
					     "fc_",  "crosvm", "VBoxHeadless",	  "lkvm" };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (begins(name, names[i]))
			return true;
	return false;
}

static enum est_kind kind_of(const struct est_process *p, const struct sim_cap_vma *vma)
{
	if (begins(vma->name, "[stack"))
		return EST_STACK;
	if (begins(vma->name, "[heap"))
		return EST_HEAP;
	if (runs_guests(p->name) && vma->end - vma->start >= GUEST_BYTES)
		return EST_GUEST;
	return *vma->name && *vma->name != '[' ? EST_FILE : EST_ANON;
}

static void name_group(struct est_group *group, const struct sim_cap_vma *vma)
{
	static const char *const names[EST_KINDS] = { "anonymous", "heap", "stack", "file",
						      "guest RAM" };
	const char *slash = strrchr(vma->name, '/');
	const char *name = names[group->kind];

	if (group->kind == EST_FILE || (group->kind == EST_ANON && *vma->name))
		name = slash && slash[1] ? slash + 1 : vma->name;
	snprintf(group->name, sizeof(group->name), "%s", name);
}

/* Index of the group of a VMA, an old or a new one; EST_NONE: no memory */
static uint32_t group_of(struct est_image *image, uint32_t process, const struct sim_cap_vma *vma)
{
	struct est_group wanted = { .process = process,
				    .kind = kind_of(&image->processes[process], vma) };
	struct est_group *group;
	size_t i;

	name_group(&wanted, vma);
	for (i = image->nr_groups; i > 0 && image->groups[i - 1].process == process; i--)
		if (image->groups[i - 1].kind == wanted.kind &&
		    !strcmp(image->groups[i - 1].name, wanted.name))
			return (uint32_t)(i - 1);
	group = sim_vector_add(&image->groups, &image->nr_groups, sizeof(*group));
	if (!group)
		return EST_NONE;
	*group = wanted;
	return (uint32_t)(image->nr_groups - 1);
}

/* ---- which ---- */

/* Models: mm/ksm.c:vma_ksm_compatible(). */
static bool is_able(uint32_t flags)
{
	return !(flags & (SIM_CAP_VMA_SHARED | SIM_CAP_VMA_IO | SIM_CAP_VMA_MIXED |
			  SIM_CAP_VMA_HUGETLB | SIM_CAP_VMA_DONTEXPAND | SIM_CAP_VMA_DROPPABLE));
}

/* [start, end) of the VMA as an area at index i of the process' */
static int insert(struct est_image *image, uint32_t process, size_t i,
		  const struct sim_cap_vma *vma, uint64_t start, uint64_t end)
{
	struct est_process *p = &image->processes[process];
	struct est_area area = { .start = start,
				 .end = end,
				 .process = process,
				 .flags = vma->flags,
				 .group = group_of(image, process, vma),
				 .able = is_able(vma->flags) };

	if (area.group == EST_NONE ||
	    !sim_vector_add(&image->areas, &image->nr_areas, sizeof(*image->areas)))
		return est_no_memory(image);
	memmove(&image->areas[i + 1], &image->areas[i],
		(image->nr_areas - 1 - i) * sizeof(*image->areas));
	image->areas[i] = area;
	p->nr_areas++;
	return 0;
}

/* The parts of a VMA that no area has yet. Both are in address order. */
static int add_vma(struct est_image *image, uint32_t process, size_t *i,
		   const struct sim_cap_vma *vma)
{
	const struct est_process *p = &image->processes[process];
	uint64_t at = vma->start, end;

	if (vma->end <= vma->start || vma->start % EST_PAGE || vma->end % EST_PAGE ||
	    vma->end - vma->start > VMA_MAX)
		return est_fail(image, SIM_EINPUT, "%s: a mapping of an impossible size", p->name);
	while (at < vma->end) {
		while (*i < p->first_area + p->nr_areas && image->areas[*i].end <= at)
			++*i;
		end = vma->end - at > AREA_MAX ? at + AREA_MAX : vma->end;
		if (*i < p->first_area + p->nr_areas && image->areas[*i].start < end)
			end = image->areas[*i].start;
		if (end > at && insert(image, process, *i, vma, at, end))
			return KSMSIM_ENOMEM;
		at = image->areas[*i].end;
	}
	return 0;
}

int est_areas_add(struct est_image *image, struct sim_capfile *file, uint32_t process,
		  uint32_t round, uint32_t in_image)
{
	struct est_process *p = &image->processes[in_image];
	struct sim_cap_vma *vmas;
	size_t nr, k, i;
	int error = 0;

	p->first_area = image->nr_areas;
	for (; !error && round < sim_capfile_nr_rounds(file); round++) {
		if (!sim_capfile_figures(file, process, round))
			continue;
		error = sim_capfile_vmas(file, process, round, &vmas, &nr);
		if (error)
			return est_fail(image, error, "%s", sim_capfile_error(file));
		for (k = 0, i = p->first_area; !error && k < nr; k++)
			error = add_vma(image, in_image, &i, &vmas[k]);
		free(vmas);
	}
	return error;
}

/* ---- where ---- */

static bool fits(const struct est_image *image, const struct est_process *p)
{
	const struct est_area *first = &image->areas[p->first_area];
	size_t i;

	if (p->nr_areas && first->start < USER_START)
		return false;
	for (i = 0; i < p->nr_areas; i++)
		if (first[i].nr && first[i].end > USER_END - EST_PAGE)
			return false;
	return true;
}

void est_place(struct est_image *image)
{
	size_t i, k;

	for (i = 0; i < image->nr_processes; i++) {
		const struct est_process *p = &image->processes[i];
		const bool moved = !fits(image, p);
		uint64_t next = BLOCK;

		for (k = p->first_area; k < p->first_area + p->nr_areas; k++) {
			struct est_area *area = &image->areas[k];

			if (!moved && area->end > USER_END - EST_PAGE)
				continue;
			area->vaddr = moved ? next + area->start % BLOCK : area->start;
			next = (area->vaddr + (area->end - area->start) + 2 * BLOCK - 1) / BLOCK *
			       BLOCK;
		}
	}
}
