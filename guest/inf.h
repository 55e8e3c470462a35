/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_INF_H
#define FERRYFS_INF_H
/* Windows setup information files (INF) as sections of lines with fields. Pure functions over bytes; whatever
 * was parsed never changes, so it may be read from any thread. Texts are UTF-8, and belong to the struct inf.
 *
 * Names of sections, keys and tokens are compared without the case of ASCII letters. Sections of one name are
 * one section, in the order of the file. Source: Microsoft's INF reference. */
#include "../formats/cleanup.h"
#include "../formats/fault.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    INF_MAX_SIZE = 4 << 20, /* bytes of a file; the largest of Windows' own has 1.5 MiB in UTF-16 */
    INF_ENGLISH = 0x409,    /* a language for inf_parse */
};

struct inf_field {
    const char
        *text;       /* %tokens% replaced, but for those of directories (%12%) and unknown ones; never NULL */
    const char *raw; /* as written, without quotes */
};

struct inf_line {
    unsigned line;        /* where it begins, from 1 */
    struct inf_field key; /* before the first '=' that no comma precedes; NULLs: there is none */
    unsigned n;           /* number of fields; 0 for `key =` */
    struct inf_field *fields;
    struct inf_line *next;  /* in the section */
    struct inf_line *alike; /* next with the same key in the same section */
};

struct inf_section {
    const char *name; /* as first written */
    unsigned line;
    struct inf_line *lines;
};

struct inf;

/* `language`: a LANGID, whose [Strings.0407] go before [Strings]. `name` is for messages, which give the
 * line. -EUCLEAN for what isn't an INF, -EFBIG over a limit of ours, -ENOMEM. */
int inf_parse(const void *bytes, size_t n, const char *name, unsigned language, struct inf **ret,
              struct fault *fault);
void inf_free(struct inf *inf);
DEFINE_CLEANUP(struct inf *, inf_free)

/* The name that was given to inf_parse. */
const char *inf_name(const struct inf *inf);
/* NULL: there is none. */
const struct inf_section *inf_section(const struct inf *inf, const char *name);
/* The first line with that key; NULL: none, or `section` is NULL. */
const struct inf_line *inf_find(const struct inf *inf, const struct inf_section *section, const char *key);
/* Field i of the line; "" when there is none, or `line` is NULL. */
const char *inf_text(const struct inf_line *line, unsigned i);
/* Field 0 of the first line with that key; NULL: there is no such line. */
const char *inf_value(const struct inf *inf, const char *section, const char *key);
/* What %token% stands for; NULL: unknown. */
const char *inf_token(const struct inf *inf, const char *token);
/* The sections one after the other, in the order of the file; NULL: no more. */
const struct inf_section *inf_nth_section(const struct inf *inf, size_t i);
#endif
