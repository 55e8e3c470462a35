/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_HIVE_MODEL_H
#define FERRYFS_HIVE_MODEL_H
/* What a hive should hold, as a tree in memory: edits are made to both and then compared. */
#include "registry/hive.h"

#include <stdio.h>

struct model_value {
    uint16_t *name;
    size_t n_name;
    uint32_t type;
    uint8_t *data;
    size_t n_data;
};

struct model_key {
    struct model_key *parent;
    uint16_t name[HIVE_KEY_NAME_MAX];
    size_t n_name;
    uint32_t cell; /* in the hive */
    uint64_t written;
    struct model_key **keys; /* unsorted */
    size_t n_keys;
    struct model_value *values; /* as stored */
    size_t n_values;
    uint8_t *class;
    size_t n_class;
    uint8_t *security;
    size_t n_security;
    size_t at; /* index in the model's list of all keys */
};

struct model {
    struct model_key *root;
    struct model_key **all;
    size_t n_all, room_all;
};

/* Reads the whole hive; fails the test where it can't. */
void model_load(struct model *m, const struct hive *h);
void model_done(struct model *m);
/* Fails the test with a message where the hive isn't as the model says; finds every key and value by name
 * too. */
void model_compare(const struct model *m, const struct hive *h);
/* A line for each key and value, sorted by nothing: "K PATH" and "V PATH<TAB>NAME<TAB>TYPE<TAB>HEX". */
void model_dump(const struct model *m, FILE *out);

struct model_key *model_find(struct model_key *k, const uint16_t *name, size_t n);
struct model_value *model_value(struct model_key *k, const uint16_t *name, size_t n);
struct model_key *model_add(struct model *m, struct model_key *parent, const uint16_t *name, size_t n);
void model_remove(struct model *m, struct model_key *k); /* with all below */
void model_move(struct model_key *k, struct model_key *parent, const uint16_t *name, size_t n);
void model_set(struct model_key *k, const uint16_t *name, size_t n, uint32_t type, const void *data,
               size_t len);
void model_unset(struct model_key *k, struct model_value *v);
#endif
