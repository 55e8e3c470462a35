/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HIVE_SAMPLE_H
#define FERRYFS_HIVE_SAMPLE_H
/* Hives for tests: out of the corpus, and one made by hand. */
#include "registry/hive-file.h"
#include "registry/hive.h"

#include <stdio.h>

/* The bytes of a corpus file, unpacked; allocated. NULL: it can't be read. */
uint8_t *sample_unpack(const char *path, size_t *ret_n);
/* A file of the corpus as a memory file named by its last part without .xz; NULL: there is none. */
struct hive_file *sample_file(const char *corpus, const char *name);
/* The hive corpus/NAME(.xz) with its logs. 0 or what hive_open says. */
int sample_open(const char *corpus, const char *name, unsigned flags, struct hive **ret, struct fault *fault);
/* A minimal hive of version 1.`minor`: a root with security. */
struct hive_file *sample_empty(unsigned minor);

/* A line of the corpus' index that tells of a hive. */
struct sample {
    char name[128]; /* below the corpus, without .xz */
    unsigned keys, values;
    bool counted; /* keys and values are known */
    bool is_log;
    char paths[65]; /* SHA-256 of the sorted paths, hex; "" unknown */
    char line[2048];
};
/* Calls fn for each. Returns how many. */
size_t sample_each(const char *corpus, void (*fn)(const struct sample *s, void *ctx), void *ctx);
/* UTF-8 of a name; a lone surrogate becomes U+FFFD. Returns bytes; room for 3 per unit and a NUL. */
size_t sample_utf8(const uint16_t *units, size_t n, char *ret);
#endif
