/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HIVES_IMPL_H
#define FERRYFS_HIVES_IMPL_H
/* What hives.c, hives-scan.c and hives-alone.c share. */
#include "ferry.h"
#include "hives.h"

#include "../guest/walk.h"

enum { HIVES_MAX = 1024, CUT_NAMES_MAX = 4096 };

/* A name that was shown cut. */
struct cut_name {
    uint64_t hash;
    uint16_t *units; /* owned */
    size_t n;
};

struct hives {
    pthread_mutex_t lock; /* held while hives are looked for; taken before any hive's */
    bool machine_scanned, users_scanned, bcd_scanned;
    struct reg_hive *list[HIVES_MAX]; /* owned; grows only */
    _Atomic size_t n;
    bool alone;
    pthread_mutex_t place_lock;         /* where the hives' files are; nothing is taken under it */
    pthread_mutex_t cut_lock;           /* protects what follows; nothing is taken under it */
    struct cut_name cut[CUT_NAMES_MAX]; /* the oldest gives way */
    size_t n_cut;
};

/* Adds a hive. NULL: no memory, or there are too many. */
struct reg_hive *hives_add(struct hives *hs, enum hive_place where, const char *name, const char *path);
/* Fill the list (hives-scan.c); hs->lock is held. */
void hives_scan_machine(struct ferry *f, struct hives *hs);
void hives_scan_users(struct ferry *f, struct hives *hs);
void hives_scan_bcd(struct ferry *f, struct hives *hs); /* hives-bcd.c */
/* Adds the hive at a path of a realm, if there is one. */
bool hives_add_at(struct ferry *f, struct hives *hs, enum hive_place where, const struct realm *realm,
                  const char *name, const char *path);
/* The files of a guest's hive with its logs (hives-scan.c). */
int hives_guest_files(struct ferry *f, const struct reg_hive *h, struct hive_files *ret, struct fault *fault);
/* The same of the guest as the source has it. -ENOENT: there it is none. */
int hives_source_files(struct ferry *f, const struct reg_hive *h, const struct guest *source,
                       struct hive_files *ret);
/* Where its path leads now. -ENOENT: nowhere (hives-scan.c). */
int hives_resolve(struct ferry *f, const struct reg_hive *h, struct place *ret);
/* Is that directory one on the way to it? */
bool hives_is_below(struct ferry *f, const struct reg_hive *h, struct place dir);
/* Of the hive that is the source (hives-alone.c). */
/* Is the overlay's hive made from this source? -ESTALE. A new one is bound to it. Reads the source whole. */
int hives_alone_bind(struct ferry *f, const struct reg_hive *h, struct fault *fault);
int hives_alone_files(struct ferry *f, const struct reg_hive *h, struct hive_files *ret, struct fault *fault);
int hives_alone_commit(struct ferry *f, struct reg_hive *h);
bool hives_is_hive(const char *path);
#endif
