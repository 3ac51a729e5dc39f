/*
 * est_build.c - the image as processes of a machine.
 *
 * Huge pages come first, by a first touch while the machine gives THPs always; the rest is
 * filled while it gives none, so that there are no others. A child is forked when its
 * parent is complete, and loses or writes what it does not share.
 *
 * What could surprise: all areas are anonymous, private and writable here. The pages that
 * KSM looks at in the captured mappings are anonymous, too, and it asks no more of them.
 */
#include <errno.h>
#include <string.h>

#include "est_machine.h"

#define RET_OK(ret) ((ret) >= 0)
#define NEIGHBOURS_SHIFT 6u /* contents that are next to each other in the trees */

static uint64_t vaddr_of(const struct est_image *image, const struct est_area *area, size_t i)
{
	return area->vaddr + (uint64_t)image->page[i] * EST_PAGE;
}

/* What the simulated kernel refused. */
static int refused(struct est_machine *m, const char *what, int error, int64_t ret)
{
	if (error)
		snprintf(m->why, EST_WHY_BYTES, "the model cannot play this: %s: %s", what,
			 ksmsim_strerror(error));
	else
		snprintf(m->why, EST_WHY_BYTES,
			 "the model cannot play this: %s: the simulated kernel answers %d", what,
			 (int)ret);
	return error ? error : SIM_EINPUT;
}

/* ---- knobs ---- */

static const char *knob_file(const char *name)
{
	size_t nr, i;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_KNOBS, &nr);

	for (i = 0; i < nr; i++)
		if (!strcmp(rows[i].name, name) || !strcmp(rows[i].file, name))
			return rows[i].file;
	return NULL;
}

int est_knob(struct est_machine *m, const char *name, const char *value, bool must)
{
	const char *file = knob_file(name);
	int64_t ret = 0;
	int error;

	if (!file) {
		snprintf(m->why, EST_WHY_BYTES, "there is no knob '%s'; see ksmsim list knobs",
			 name);
		return SIM_EINPUT;
	}
	error = ksmsim_sysfs_write(m->sim, file, value, strlen(value), &ret);
	if (!error && RET_OK(ret))
		return 0;
	if (!error && !must)
		return 0;
	snprintf(m->why, EST_WHY_BYTES, "%s cannot be set to '%s'", file, value);
	return error ? error : SIM_EINPUT;
}

/* ---- areas ---- */

static int map(struct est_machine *m, uint32_t pid, uint64_t start, uint64_t end)
{
	const struct ksmsim_mmap request = {
		.vaddr = start,
		.length = end - start,
		.prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
		.flags = KSMSIM_MAP_FIXED_NOREPLACE | KSMSIM_MAP_NORESERVE,
	};
	int64_t ret = 0;
	const int error = ksmsim_mmap(m->sim, pid, &request, &ret);

	return error || !RET_OK(ret) ? refused(m, "mmap", error, ret) : 0;
}

static int unmap(struct est_machine *m, uint32_t pid, uint64_t start, uint64_t end)
{
	int64_t ret = 0;
	const int error = ksmsim_munmap(m->sim, pid, start, end - start, &ret);

	return error || !RET_OK(ret) ? refused(m, "munmap", error, ret) : 0;
}

typedef int (*on_part)(struct est_machine *m, uint32_t pid, uint64_t start, uint64_t end);

/* @on for every part of the areas of @p that no area of @other (or NULL) covers */
static int for_parts(struct est_machine *m, uint32_t pid, const struct est_process *p,
		     const struct est_process *other, on_part on)
{
	const struct est_area *areas = m->image->areas;
	size_t i, k = other ? other->first_area : 0;
	const size_t end = other ? k + other->nr_areas : 0;
	int error = 0;

	for (i = p->first_area; !error && i < p->first_area + p->nr_areas; i++) {
		const uint64_t stop = areas[i].vaddr + (areas[i].end - areas[i].start);
		uint64_t at = areas[i].vaddr;

		while (!error && areas[i].vaddr && at < stop) {
			uint64_t next = stop, after = stop;

			while (k < end && areas[k].vaddr + (areas[k].end - areas[k].start) <= at)
				k++;
			if (k < end && areas[k].vaddr && areas[k].vaddr < stop) {
				next = areas[k].vaddr > at ? areas[k].vaddr : at;
				after = areas[k].vaddr + (areas[k].end - areas[k].start);
			}
			if (next > at)
				error = on(m, pid, at, next);
			at = after;
		}
	}
	return error;
}

/* ---- pages ---- */

/*
 * The page of a content: a word, repeated. Their order is by blocks of neighbours, so that pages
 * which are visited one after the other are near to each other in the trees, and the blocks
 * are spread evenly, so that the trees are as deep as those of bytes by chance. Odd factors
 * lose nothing: other contents, other words; none is 0.
 */
static uint64_t word_of(uint64_t content)
{
	const uint64_t block = (content >> NEIGHBOURS_SHIFT) * UINT64_C(0x9E3779B97F4A7C15);
	const uint64_t low = content & ((1u << NEIGHBOURS_SHIFT) - 1);

	return __builtin_bswap64(block << NEIGHBOURS_SHIFT | low);
}

int est_write(struct est_machine *m, uint32_t pid, uint64_t vaddr, uint64_t nr, uint64_t content)
{
	struct ksmsim_content what = { .kind = KSMSIM_CONTENT_ZERO };
	int64_t ret = 0;
	uint64_t i;
	int error = 0;

	if (content == EST_ZERO) {
		error = ksmsim_fill(m->sim, pid, vaddr, nr, &what, &ret);
		return error || !RET_OK(ret) ? refused(m, "write", error, ret) : 0;
	}
	what.kind = KSMSIM_CONTENT_WORD;
	for (i = 0; !error && RET_OK(ret) && i < nr; i++) {
		what.value = word_of(content + i);
		error = ksmsim_fill(m->sim, pid, vaddr + i * EST_PAGE, 1, &what, &ret);
	}
	return error || !RET_OK(ret) ? refused(m, "write", error, ret) : 0;
}

int est_drop(struct est_machine *m, uint32_t pid, uint64_t vaddr, uint64_t nr)
{
	int64_t ret = 0;
	const int error =
		ksmsim_madvise(m->sim, pid, vaddr, nr * EST_PAGE, KSMSIM_MADV_DONTNEED, &ret);

	/* a part that is not mapped is no harm: the rest is done all the same */
	return error || (!RET_OK(ret) && ret != -ENOMEM) ? refused(m, "madvise", error, ret) : 0;
}

/* Pages from the i-th on that one write can fill */
static size_t run_of(const struct est_image *image, const struct est_area *area, size_t i)
{
	const size_t end = area->first + area->nr;
	size_t k = i + 1;

	for (; k < end; k++)
		if (image->page[k] != image->page[k - 1] + 1 || image->nid[k] != image->nid[i] ||
		    image->attr[k] & EST_INHERITED ||
		    image->content[k] !=
			    (image->content[i] == EST_ZERO ? EST_ZERO : image->content[k - 1] + 1))
			break;
	return k - i;
}

static int set_node(struct est_machine *m, uint32_t pid, uint8_t nid)
{
	return m->image->nr_nodes > 1 ? ksmsim_node_set(m->sim, pid, nid) : 0;
}

static int fill_area(struct est_machine *m, uint32_t pid, const struct est_area *area)
{
	const struct est_image *image = m->image;
	size_t i = area->first, nr;
	int error = 0;

	while (!error && i < area->first + area->nr) {
		if (image->attr[i] & EST_INHERITED) {
			i++;
			continue;
		}
		nr = run_of(image, area, i);
		error = set_node(m, pid, image->nid[i]);
		if (!error)
			error = est_write(m, pid, vaddr_of(image, area, i), nr, image->content[i]);
		i += nr;
	}
	return error;
}

/* A first touch of each block that was a huge page; of a child, after what it inherited. */
static int touch_blocks(struct est_machine *m, uint32_t pid, const struct est_area *area,
			bool is_child)
{
	const struct est_image *image = m->image;
	size_t i = area->first;
	int error = 0;

	for (; !error && i < area->first + area->nr; i++) {
		if (!(image->attr[i] & EST_HUGE))
			continue;
		if (!(image->attr[i] & EST_INHERITED)) {
			const uint64_t vaddr = vaddr_of(image, area, i);

			error = set_node(m, pid, image->nid[i]);
			if (!error && is_child)
				error = est_drop(m, pid, vaddr, EST_BLOCK_PAGES);
			if (!error)
				error = est_write(m, pid, vaddr, 1, EST_ZERO);
		}
		i += EST_BLOCK_PAGES - 1;
	}
	return error;
}

static int fill_process(struct est_machine *m, uint32_t pid, const struct est_process *p)
{
	const struct est_area *areas = m->image->areas + p->first_area;
	size_t i;
	int error = est_knob(m, "thp_enabled", "always", true);

	for (i = 0; !error && i < p->nr_areas; i++)
		error = touch_blocks(m, pid, &areas[i], p->forked_from != EST_NONE);
	if (!error)
		error = est_knob(m, "thp_enabled", "never", true);
	for (i = 0; !error && i < p->nr_areas; i++)
		error = fill_area(m, pid, &areas[i]);
	return error;
}

/* ---- processes ---- */

/* A walk over the pages of a process by address */
struct walk {
	const struct est_image *image;
	const struct est_area *area, *end;
	size_t i;
};

static struct walk walk_begin(const struct est_image *image, const struct est_process *p)
{
	struct walk w = { .image = image, .area = image->areas + p->first_area };

	w.end = w.area + p->nr_areas;
	w.i = p->nr_areas ? w.area->first : 0;
	return w;
}

/* UINT64_MAX after the last */
static uint64_t walk_vaddr(struct walk *w)
{
	while (w->area < w->end && w->i >= w->area->first + w->area->nr) {
		w->area++;
		if (w->area < w->end)
			w->i = w->area->first;
	}
	return w->area < w->end ? vaddr_of(w->image, w->area, w->i) : UINT64_MAX;
}

/* Pages of the parent that the child has no more; those in areas that are gone went with them. */
static int drop_missing(struct est_machine *m, uint32_t pid, const struct est_process *parent,
			const struct est_process *child)
{
	struct walk theirs = walk_begin(m->image, parent), mine = walk_begin(m->image, child);
	uint64_t vaddr, start = 0, end = 0;
	int error = 0;

	while (!error && (vaddr = walk_vaddr(&theirs)) != UINT64_MAX) {
		while (walk_vaddr(&mine) < vaddr)
			mine.i++;
		theirs.i++;
		if (walk_vaddr(&mine) == vaddr)
			continue;
		if (vaddr != end) {
			error = end > start ? est_drop(m, pid, start, (end - start) / EST_PAGE) : 0;
			start = vaddr;
		}
		end = vaddr + EST_PAGE;
	}
	return !error && end > start ? est_drop(m, pid, start, (end - start) / EST_PAGE) : error;
}

/* ---- loans ---- */

static uint64_t loan_vaddr(const struct est_machine *m, const struct est_loan *loan)
{
	return m->image->areas[loan->area].vaddr + (uint64_t)loan->page * EST_PAGE;
}

/* Before its children are forked */
static int lend(struct est_machine *m, size_t process)
{
	size_t i;
	int error = 0;

	for (i = 0; !error && i < m->image->nr_loans; i++)
		if (m->image->loans[i].process == process)
			error = est_write(m, m->pids[process], loan_vaddr(m, &m->image->loans[i]),
					  1, m->image->loans[i].content);
	return error;
}

/* What the child got and has no more */
static int drop_lent(struct est_machine *m, uint32_t pid, const struct est_process *child)
{
	const struct est_image *image = m->image;
	size_t i;
	int error = 0;

	for (i = 0; !error && i < image->nr_loans; i++) {
		const struct est_loan *loan = &image->loans[i];
		const struct est_area *lent = &image->areas[loan->area], *area;
		const uint64_t vaddr = lent->start + (uint64_t)loan->page * EST_PAGE;

		if (loan->process != child->forked_from)
			continue;
		area = est_find_area(image, child, vaddr);
		if (!area ||
		    est_find_page(image, area, (uint32_t)((vaddr - area->start) / EST_PAGE)) ==
			    SIZE_MAX)
			error = est_drop(m, pid, loan_vaddr(m, loan), 1);
	}
	return error;
}

/* When all are there: the lenders have their own pages again */
static int take_back(struct est_machine *m)
{
	const struct est_image *image = m->image;
	size_t i;
	int error = 0;

	for (i = 0; !error && i < image->nr_loans; i++) {
		const struct est_loan *loan = &image->loans[i];
		const uint32_t pid = m->pids[loan->process];

		if (loan->own == SIZE_MAX)
			error = est_drop(m, pid, loan_vaddr(m, loan), 1);
		else
			error = est_write(m, pid, loan_vaddr(m, loan), 1,
					  image->content[loan->own]);
	}
	return error;
}

/* ---- all processes ---- */

static int add_child(struct est_machine *m, const struct est_process *p, uint32_t *pid)
{
	const struct est_process *parent = &m->image->processes[p->forked_from];
	int64_t ret = 0;
	int error = ksmsim_fork(m->sim, m->pids[p->forked_from], pid, &ret);

	if (error || !RET_OK(ret))
		return refused(m, "fork", error, ret);
	error = for_parts(m, *pid, parent, p, unmap);
	if (!error)
		error = for_parts(m, *pid, p, parent, map);
	return error;
}

static int add_process(struct est_machine *m, size_t i)
{
	const struct est_process *p = &m->image->processes[i];
	uint32_t *pid = &m->pids[i];
	int error;

	if (p->forked_from != EST_NONE) {
		error = add_child(m, p, pid);
		if (!error)
			error = drop_missing(m, *pid, &m->image->processes[p->forked_from], p);
		if (!error)
			error = drop_lent(m, *pid, p);
	} else {
		error = ksmsim_spawn(m->sim, pid);
		if (error)
			return refused(m, "spawn", error, 0);
		error = for_parts(m, *pid, p, NULL, map);
	}
	if (!error)
		error = fill_process(m, *pid, p);
	return error ? error : lend(m, i);
}

/* ---- who is mergeable ---- */

bool est_is_mergeable(const struct est_plan *plan, const struct est_case *which,
		      const struct est_area *area)
{
	size_t i;

	if (!area->able || !area->vaddr)
		return false;
	if (which->captured_only || plan->assume == EST_ASSUME_CAPTURED)
		return area->flags & SIM_CAP_VMA_MERGEABLE;
	if (plan->assume == EST_ASSUME_ALL)
		return true;
	for (i = 0; i < plan->nr_pids; i++)
		if (plan->image->processes[area->process].pid == plan->pids[i])
			return true;
	return false;
}

static int advise(struct est_machine *m, const struct est_plan *plan, const struct est_case *which)
{
	size_t i;

	for (i = 0; i < m->image->nr_areas; i++) {
		const struct est_area *area = &m->image->areas[i];
		int64_t ret = 0;
		int error;

		if (!est_is_mergeable(plan, which, area))
			continue;
		error = ksmsim_madvise(m->sim, m->pids[area->process], area->vaddr,
				       area->end - area->start, KSMSIM_MADV_MERGEABLE, &ret);
		if (error || !RET_OK(ret))
			return refused(m, "madvise", error, ret);
		m->mergeable += area->nr;
	}
	return 0;
}

int est_build(struct est_machine *m, const struct est_plan *plan, const struct est_case *which)
{
	size_t i;
	int error = 0;

	for (i = 0; !error && i < m->image->nr_processes; i++)
		error = add_process(m, i);
	if (!error)
		error = take_back(m);
	if (!error)
		error = ksmsim_lru_drain(m->sim);
	return error ? error : advise(m, plan, which);
}
