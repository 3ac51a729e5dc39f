/*
 * sysfs.h - floor 8: what sysfs.c and sysfs_thp.c share.
 */
#ifndef KS_SYSFS_H
#define KS_SYSFS_H

#include "machine.h"

#define KS_FEAT_always KS_FEAT_NR /* column value of rows that every profile has */

/* Does the profile have files of this feature? */
static inline bool ks_sysfs_exists(const struct ks_env *env, enum ks_feature feature)
{
	return feature == KS_FEAT_always || env->feature[feature];
}

/* Index of @text, with or without a newline, in @list, which ends with NULL; or -1. */
int ks_sysfs_word(const char *const *list, const char *text, size_t len);
/* "always [madvise] never" and a newline; the length as snprintf() has it */
int ks_sysfs_show_words(const char *const *list, size_t chosen, char *buf, size_t size);

enum ks_thp_file_kind { KS_THP_FILE_ENABLED, KS_THP_FILE_STAT, KS_THP_FILE_PMD_SIZE };

struct ks_thp_file {
	enum ks_thp_file_kind kind;
	unsigned order;
	enum ksmsim_mthp stat;
};

/* false: not one of the files of sysfs_thp.c, or the profile lacks it */
bool ks_thp_file_find(const struct ksmsim *sim, const char *file, struct ks_thp_file *found);
/* 0 or -errno */
long ks_thp_file_write(struct ksmsim *sim, const struct ks_thp_file *file, const char *text,
		       size_t len);
/* the length as snprintf() has it */
int ks_thp_file_read(const struct ksmsim *sim, const struct ks_thp_file *file, char *buf,
		     size_t size);

#endif
