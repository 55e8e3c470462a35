/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is taken, each level being an object:
 *
 *     {"driver": FORMAT, "file": LEVEL}                     once
 *     {"driver": "raw", "file": LEVEL}                      says nothing, or that the file is raw
 *     {"driver": "raw", "offset": N, "size": N, "file": LEVEL}   a part, only below the format
 *     {"driver": "file", "filename": PATH}                  the last
 *
 * A path that isn't absolute counts from where QEMU runs, which nobody knows here. Options that change
 * nothing of what is read are passed over; any other is refused with the name, as it might. */
#include "qcow2-name.h"

#include "json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS_MAX = 8 };

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words && strcmp(word, *words) != 0)
        words++;
    return *words;
}

/* Only members that are known here. */
static bool is_plain(const struct json *level, const char *const *wanted)
{
    static const char *const harmless[] = { "driver",  "node-name", "read-only", "auto-read-only",
                                            "discard", "locking",   "cache",     "detect-zeroes",
                                            "aio",     NULL };
    for (const struct json *m = level->child; m; m = m->next)
        if (!is_one_of(m->key, harmless) && !is_one_of(m->key, wanted))
            return false;
    return true;
}

static const char *member_number(const struct json *level, const char *key, uint64_t *ret)
{
    return !json_member(level, key) || json_u64(level, key, ret) ? NULL : key;
}

struct reading {
    const char *first; /* driver */
    const char *format;
    bool part;
    uint64_t offset, length;
};

/* A level that isn't the last. */
static bool take_level(const struct json *level, const char *driver, struct reading *r)
{
    static const char *const formats[] = { "qcow2", "vmdk", "vhdx", "vdi", "vpc", NULL };
    static const char *const raw_members[] = { "file", "offset", "size", NULL };
    static const char *const vpc_members[] = { "file", "force_size_calc", NULL };
    if (is_one_of(driver, formats)) {
        const char *size = json_member_text(level, "force_size_calc"); /* as sizes are taken here */
        if (r->format || r->part || !is_plain(level, vpc_members) ||
            (json_member(level, "force_size_calc") &&
             (strcmp(driver, "vpc") || !size || strcmp(size, "current_size"))))
            return false;
        r->format = driver;
        return true;
    }
    if (strcmp(driver, "raw") != 0 || !is_plain(level, raw_members))
        return false;
    if (!json_member(level, "offset") && !json_member(level, "size"))
        return true;
    bool again = r->part;
    r->part = true;
    return !again && !member_number(level, "offset", &r->offset) && !member_number(level, "size", &r->length);
}

static int take_file(const struct json *level, const struct reading *r, struct qcow2_json_name *ret)
{
    static const char *const members[] = { "filename", NULL };
    const char *path = json_member_text(level, "filename");
    if (!path || path[0] != '/' || !is_plain(level, members))
        return -EPERM;
    *ret = (struct qcow2_json_name){
        .path = strdup(path),
        .format = strdup(r->format ? r->format : "raw"),
        .part = r->part,
        .offset = r->offset,
        .length = r->length,
    };
    snprintf(ret->driver, sizeof ret->driver, "%s", r->first);
    if (ret->path && ret->format)
        return 0;
    free(ret->path);
    free(ret->format);
    return -ENOMEM;
}

int qcow2_json_name_read(const char *text, struct qcow2_json_name *ret)
{
    static const char start[] = "json:";
    struct fault why = { 0 };
    _cleanup_(json_freep) struct json *j = NULL;
    text += sizeof start - 1;
    int r = json_parse(text, strlen(text), "", &j, &why);
    if (r < 0)
        return r == -ENOMEM ? r : -EPERM;
    struct reading reading = { .length = UINT64_MAX };
    const struct json *level = j;
    for (int i = 0; level && level->kind == JSON_OBJECT && i < LEVELS_MAX; i++) {
        const char *driver = json_member_text(level, "driver");
        if (!driver)
            return -EPERM;
        if (!reading.first)
            reading.first = driver;
        if (!strcmp(driver, "file"))
            return take_file(level, &reading, ret);
        if (!take_level(level, driver, &reading))
            return -EPERM;
        level = json_member(level, "file");
    }
    return -EPERM;
}
