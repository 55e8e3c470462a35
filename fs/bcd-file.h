/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_BCD_FILE_H
#define FERRYFS_BCD_FILE_H
/* What bcd/'s files hold while they are open for writing, and its scratch files: text that no element has
 * yet. Kept in the hive, under its lock: all of this needs bcd_begin() for writing, the finding for reading.
 */
#include "bcd-store.h"

enum { BCD_FILE_MAX = 1 << 20 /* bytes of text */, BCD_FILES_MAX = 1024 };
/* What a file is, as its node id's c: an element's number, or */
#define BCD_TYPE    (UINT64_C(1) << 32) /* .type */
#define BCD_SCRATCH (UINT64_C(1) << 33) /* a scratch file, plus a number of its own */

struct bcd_file {
    struct bcd_file *next;
    uint8_t guid[16]; /* of its object */
    uint64_t what;
    char name[256]; /* of a scratch file */
    char *text;     /* owned */
    size_t n, room;
    unsigned refs; /* open handles */
    bool created;  /* not in the store yet */
    bool written;  /* the element isn't what the text says */
    bool gone;     /* its name was taken away while it is open */
};

/* NULL: there is none. */
struct bcd_file *bcd_file_find(const struct bcd_at *at, const uint8_t guid[16], uint64_t what);
struct bcd_file *bcd_file_scratch(const struct bcd_at *at, const uint8_t guid[16], const char *name);
/* Empty, and in the list; NULL: out of memory. */
struct bcd_file *bcd_file_new(const struct bcd_at *at, const uint8_t guid[16], uint64_t what);
/* What is new is zero. -EFBIG, -ENOMEM: nothing has changed. */
int bcd_file_resize(struct bcd_file *file, size_t n);
/* Away with its name, and with it when its last handle is closed. */
void bcd_file_remove(struct reg_hive *h, struct bcd_file *file);
/* One that is gone, and that nobody has open any more. */
void bcd_file_free(struct bcd_file *file);
/* All of an object are removed. */
void bcd_files_forget(const struct bcd_at *at, const uint8_t guid[16]);

/* The text of an element or of .type, owned by the caller. */
int bcd_content(const struct bcd_at *at, uint32_t object, uint64_t what, char **ret);
/* The element, or the object's type, becomes what the text says. -EINVAL: it says nothing. */
int bcd_set_content(const struct bcd_at *at, const uint8_t guid[16], uint64_t what, const char *text,
                    size_t n);
/* At a close: the element becomes what was written so far. */
int bcd_file_settle(const struct bcd_at *at, struct bcd_file *file);
#endif
