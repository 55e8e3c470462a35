/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_TESTS_VOLUME_MODEL_H
#define FERRYFS_TESTS_VOLUME_MODEL_H
/* A file tree in memory, changed by random operations together with a volume, and held against it. Used for
 * each file system that can be written; `features` says what this one has. */
#include "guest/volume.h"

#include <stdint.h>

enum model_features {
    MODEL_LINKS = 1,  /* hard links, symbolic links and special files */
    MODEL_OWNERS = 2, /* modes and owners */
    MODEL_XATTRS = 4,
    MODEL_HOLES = 8, /* fallocate */
    MODEL_CASELESS = 16,
    MODEL_EXCHANGE = 32, /* RENAME_EXCHANGE */
};

struct model;

struct model *model_new(unsigned features, uint64_t seed);
void model_free(struct model *m);
/* From now on what is random comes from these bytes (not copied; zeros behind their end). */
void model_input(struct model *m, const uint8_t *data, size_t n);
size_t model_input_left(const struct model *m);
/* The volume that the model goes with from now on; files that were open are not. */
void model_attach(struct model *m, struct volume *v);
/* Closes all files, so that the volume can be closed. */
void model_detach(struct model *m);
/* One random operation on both; what differs fails the test, naming it. */
void model_step(struct model *m);
/* The whole tree, names, attributes and bytes. */
void model_compare(struct model *m);
/* Writes what it holds into an empty directory of the host: for comparison with what other readers extract.
 */
void model_extract(struct model *m, const char *dir);
/* How many operations came to -ENOSPC. */
unsigned model_full(const struct model *m);
/* How often operations are to be ones that free something, in percent of 100. */
void model_shrink(struct model *m, unsigned percent);
#endif
