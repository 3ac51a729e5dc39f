/*
 * kpf.h - the bits of /proc/kpageflags and /proc/PID/pagemap that are looked at.
 *
 * Source: include/uapi/linux/kernel-page-flags.h, fs/proc/task_mmu.c. EXCLUSIVE is a bit of
 * the kernel's own, which doubles as AnonExclusive.
 */
#ifndef SIM_KPF_H
#define SIM_KPF_H

#include <stdint.h>

#define SIM_BIT(n) (UINT64_C(1) << (n))

#define KPF_REFERENCED SIM_BIT(2)
#define KPF_UPTODATE SIM_BIT(3)
#define KPF_DIRTY SIM_BIT(4)
#define KPF_ACTIVE SIM_BIT(6)
#define KPF_WRITEBACK SIM_BIT(8)
#define KPF_BUDDY SIM_BIT(10)
#define KPF_MMAP SIM_BIT(11)
#define KPF_ANON SIM_BIT(12)
#define KPF_SWAPCACHE SIM_BIT(13)
#define KPF_SWAPBACKED SIM_BIT(14)
#define KPF_HEAD SIM_BIT(15)
#define KPF_TAIL SIM_BIT(16)
#define KPF_HUGETLB SIM_BIT(17)
#define KPF_UNEVICTABLE SIM_BIT(18)
#define KPF_HWPOISON SIM_BIT(19)
#define KPF_KSM SIM_BIT(21)
#define KPF_THP SIM_BIT(22)
#define KPF_ZERO SIM_BIT(24)
#define KPF_RESERVED SIM_BIT(32)
#define KPF_MLOCKED SIM_BIT(33)
#define KPF_EXCLUSIVE SIM_BIT(34)
#define KPF_ARCH_2 SIM_BIT(41)

#define PAGEMAP_PFN (SIM_BIT(55) - 1)
#define PAGEMAP_SOFT_DIRTY SIM_BIT(55)
#define PAGEMAP_ONCE SIM_BIT(56) /* no other entry maps it */
#define PAGEMAP_GUARD SIM_BIT(58)
#define PAGEMAP_FILE SIM_BIT(61)
#define PAGEMAP_SWAP SIM_BIT(62)
#define PAGEMAP_PRESENT SIM_BIT(63)

#endif
