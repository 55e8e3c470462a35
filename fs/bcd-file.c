/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A list in the hive: there are only as many as programs have open at once, so it is searched from the head.
 */
#include "bcd-file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bcd_file *bcd_file_find(const struct bcd_at *at, const uint8_t guid[16], uint64_t what)
{
    for (struct bcd_file *file = at->h->bcd_files; file; file = file->next)
        if (file->what == what && !memcmp(file->guid, guid, 16))
            return file;
    return NULL;
}

struct bcd_file *bcd_file_scratch(const struct bcd_at *at, const uint8_t guid[16], const char *name)
{
    for (struct bcd_file *file = at->h->bcd_files; file; file = file->next)
        if (file->what & BCD_SCRATCH && !memcmp(file->guid, guid, 16) && !strcmp(file->name, name))
            return file;
    return NULL;
}

struct bcd_file *bcd_file_new(const struct bcd_at *at, const uint8_t guid[16], uint64_t what)
{
    struct bcd_file *file = calloc(1, sizeof *file);
    if (!file)
        return NULL;
    memcpy(file->guid, guid, 16);
    file->what = what;
    file->next = at->h->bcd_files;
    at->h->bcd_files = file;
    return file;
}

void bcd_file_free(struct bcd_file *file)
{
    free(file->text);
    free(file);
}

void bcd_file_remove(struct reg_hive *h, struct bcd_file *file)
{
    struct bcd_file **p = &h->bcd_files;
    while (*p && *p != file)
        p = &(*p)->next;
    if (*p)
        *p = file->next;
    file->gone = true;
    if (!file->refs)
        bcd_file_free(file);
}

void bcd_files_drop(struct reg_hive *h)
{
    while (h->bcd_files)
        bcd_file_remove(h, h->bcd_files);
}

void bcd_files_forget(const struct bcd_at *at, const uint8_t guid[16])
{
    struct bcd_file *next;
    for (struct bcd_file *file = at->h->bcd_files; file; file = next) {
        next = file->next;
        if (!memcmp(file->guid, guid, 16))
            bcd_file_remove(at->h, file);
    }
}

int bcd_file_resize(struct bcd_file *file, size_t n)
{
    if (n > BCD_FILE_MAX)
        return -EFBIG;
    if (n > file->room) {
        char *text = realloc(file->text, n + n / 2 + 64);
        if (!text)
            return -ENOMEM;
        file->text = text;
        file->room = n + n / 2 + 64;
    }
    if (n > file->n)
        memset(file->text + file->n, 0, n - file->n);
    file->n = n;
    return 0;
}

/* ---- content ---- */

int bcd_content(const struct bcd_at *at, uint32_t object, uint64_t what, char **ret)
{
    if (what != BCD_TYPE)
        return bcd_element_text(at, object, (uint32_t)what, ret);
    return asprintf(ret, "0x%08" PRIx32 "\n", bcd_object_type(at, object)) < 0 ? -ENOMEM : 0;
}

static int set_type(const struct bcd_at *at, uint32_t object, const char *text, size_t n)
{
    char line[32], *end;
    if (n && text[n - 1] == '\n')
        n--;
    if (!n || n >= sizeof line)
        return -EINVAL;
    memcpy(line, text, n);
    line[n] = 0;
    unsigned long type = strtoul(line, &end, 0);
    return *end || type > UINT32_MAX || !type ? -EINVAL : bcd_set_object_type(at, object, (uint32_t)type);
}

int bcd_set_content(const struct bcd_at *at, const uint8_t guid[16], uint64_t what, const char *text,
                    size_t n)
{
    uint32_t object;
    int r = bcd_object(at, guid, &object);
    if (r < 0)
        return r;
    if (what == BCD_TYPE)
        return set_type(at, object, text, n);
    return bcd_element_set_text(at, object, (uint32_t)what, text ? text : "", n);
}

int bcd_file_settle(const struct bcd_at *at, struct bcd_file *file)
{
    if (file->gone || file->what & BCD_SCRATCH || !file->written)
        return 0;
    int r = bcd_set_content(at, file->guid, file->what, file->text, file->n);
    if (!r)
        file->written = file->created = false;
    return r;
}
