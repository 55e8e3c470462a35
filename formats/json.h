/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_JSON_H
#define FERRYFS_JSON_H
/* Just enough JSON for the small files that ferryfs keeps for itself: a reader that is strict and bounded,
 * and a writer. */
#include "cleanup.h"
#include "fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_kind kind;
    char *key;          /* of an object's member */
    char *text;         /* a string's content, without NULs; a number as it is written */
    struct json *child; /* of an array or object: the first */
    struct json *next;
};

/* -EUCLEAN with the byte, or -EFBIG for what is nested deeper than any of ours, -ENOMEM. `name` is for
 * messages. */
int json_parse(const char *text, size_t n, const char *name, struct json **ret, struct fault *fault);
void json_free(struct json *j);
DEFINE_CLEANUP(struct json *, json_free)

/* NULL where there is none, or `j` is NULL or no object. */
const struct json *json_member(const struct json *j, const char *key);
/* The member's text when it is a string; else NULL. */
const char *json_text(const struct json *j, const char *key);
/* False: there is none, or it isn't a whole number of that size. */
bool json_u64(const struct json *j, const char *key, uint64_t *ret);

/* A text that is being made. After a failure it stays empty, and `failed` is set. */
struct json_out {
    char *text; /* owned; NULL: empty */
    size_t n, room;
    bool failed;
};
void json_out_done(struct json_out *o);
/* As it is. */
void json_raw(struct json_out *o, const char *text);
/* With its quotes, escaped. Bytes that aren't UTF-8 go through as they are, as file names must. */
void json_quote(struct json_out *o, const char *text);
/* `"key": ` */
void json_key(struct json_out *o, const char *key);
void json_number(struct json_out *o, uint64_t v);
/* A value that was read, as it was but for blanks; without its own key. */
void json_copy(struct json_out *o, const struct json *j);
#endif
