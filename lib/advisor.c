/*
 * advisor.c - the scan-time advisor: pages_to_scan for the next full scan from
 * the length and the CPU time of the last one.
 *
 * What can surprise, all of it the kernel's: advisor_min_pages_to_scan is only
 * where it starts; the first change factor is 30 %; switched on in mid-scan it
 * takes the uptime for the scan's length; the first CPU figure is ksmd's whole
 * life. Every division truncates.
 *
 * Models: mm/ksm.c:scan_time_advisor(), 6.12 to 7.3.
 */
#include "pacing.h"

#define NS_PER_MS UINT64_C(1000000)

static uint64_t at_least_1(uint64_t value)
{
	return value ? value : 1;
}

static void scan_start(void *self)
{
	struct ks_advisor *advisor = self;

	if (advisor->env->knob.advisor_mode)
		advisor->start_ns = advisor->env->now_ns;
}

/* Exponentially weighted: 70 parts of the old factor, 30 of the new one, in percent. */
static uint64_t smooth(uint64_t old, uint64_t now)
{
	return (70 * old + 30 * now) / 100;
}

static void scan_stop(void *self)
{
	struct ks_advisor *advisor = self;
	struct ks_env *env = advisor->env;
	const struct ks_knobs *knob = &env->knob;

	if (!knob->advisor_mode)
		return;

	const uint64_t seconds = at_least_1((env->now_ns - advisor->start_ns) / NS_PER_MS / 1000);
	const uint64_t cpu_ms = (env->ksmd_ns - advisor->cpu_ns) / NS_PER_MS;
	const uint32_t cpu = (uint32_t)at_least_1((uint32_t)(cpu_ms * 100 / (seconds * 1000)));
	const uint64_t last = advisor->scan_time ? advisor->scan_time : seconds;
	const uint64_t factor = at_least_1(knob->advisor_target_scan_time * 100 / seconds);
	const uint64_t change = smooth(advisor->change, at_least_1(seconds * 100 / last));
	const uint64_t cost = at_least_1(knob->pages_to_scan / cpu);
	uint64_t pages = (uint32_t)(knob->pages_to_scan * 100) / factor * change / 100;

	if (pages > cost * knob->advisor_max_cpu)
		pages = cost * knob->advisor_max_cpu;
	if (pages < cost * 10)
		pages = cost * 10;
	if (pages > knob->advisor_max_pages_to_scan)
		pages = knob->advisor_max_pages_to_scan;
	advisor->change = change;
	advisor->scan_time = seconds;
	advisor->cpu_ns = env->ksmd_ns;
	env->knob.pages_to_scan = (uint32_t)pages;
	ks_trace(env, &(struct ksmsim_event){ .trace = KSMSIM_TRACE_ksm_advisor,
					      .scan_time = (int64_t)seconds,
					      .pages_to_scan = pages,
					      .cpu_percent = cpu });
}

void ks_advisor_init(struct ks_advisor *advisor, struct ks_ksm *ksm)
{
	*advisor = (struct ks_advisor){ .env = ksm->env };
	ksm->hooks = (struct ks_scan_hooks){ advisor, scan_start, scan_stop };
}

void ks_advisor_switch(struct ks_advisor *advisor, bool on)
{
	struct ks_knobs *knob = &advisor->env->knob;

	if (on)
		*advisor = (struct ks_advisor){ .env = advisor->env };
	knob->pages_to_scan = on ? (uint32_t)knob->advisor_min_pages_to_scan : 100;
}
