/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tar.c on any bytes. Beyond "no crash": each member lies inside the archive, members don't share bytes,
 * names are normalised, the last of a name is found, and no reference leaves. */
#include "formats/checked.h"
#include "formats/tar.h"
#include "promise.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_normalised(const char *name)
{
    size_t n = strlen(name);
    return name[0] != '/' && (!n || name[n - 1] != '/') && !strstr(name, "//") &&
           strncmp(name, "./", 2) != 0 && !strstr(name, "/./");
}

static void check_references(struct file *f)
{
    struct file *ref = NULL;
    PROMISE(file_open_ref(f, "extent", "/etc/passwd", &ref, NULL) == -EPERM);
    if (file_open_ref(f, "extent", "x.vmdk", &ref, NULL) == 0)
        file_unref(ref);
}

static void check_member(const struct tar *tar, const struct tar_member *m, size_t archive_size)
{
    struct file *f = NULL;
    uint8_t a[512], b[512];
    PROMISE(range_inside(m->offset, m->size, archive_size) && m->offset % TAR_BLOCK == 0);
    PROMISE(is_normalised(m->name) && strlen(m->name) <= TAR_MAX_NAME);
    if (tar_find(tar, m->name) != m) {
        PROMISE(m->replaced);
        return;
    }
    int r = tar_open_member(m, &f, NULL);
    PROMISE((r == 0) == (m->kind == TAR_REGULAR));
    if (r < 0)
        return;
    size_t n = (size_t)min_u64(m->size, sizeof a);
    PROMISE(f->size == m->size && file_pread(f, a, n, 0) == 0 && file_pread(f, b, n, 0) == 0);
    PROMISE(!memcmp(a, b, n));
    check_references(f);
    file_unref(f);
}

static void check_archive(const uint8_t *data, size_t size)
{
    struct file *f = NULL;
    struct tar *tar = NULL;
    struct fault fault = { 0 };
    if (file_memory_new(data, size, "fuzz.ova", &f) < 0)
        return;
    int r = tar_open(f, &tar, &fault);
    PROMISE((r < 0) == (fault.err != 0) && r == fault.err);
    uint64_t end = 0;
    for (size_t i = 0; tar && i < tar->n; i++) {
        PROMISE(tar->members[i].offset >= end + TAR_BLOCK);
        end = tar->members[i].offset + tar->members[i].size;
        if (i < 256)
            check_member(tar, &tar->members[i], size);
    }
    tar_close(tar);
    file_unref(f);
}

/* Gives each block that calls itself a header the checksum that fits: a mutation would else get no further
 * than the first one. */
static void reseal(uint8_t *data, size_t size)
{
    for (; size >= TAR_BLOCK; data += TAR_BLOCK, size -= TAR_BLOCK) {
        unsigned sum = 0;
        char text[8];
        if (memcmp(data + 257, "usta", 4) != 0)
            continue;
        memset(data + 148, ' ', 8);
        for (size_t i = 0; i < TAR_BLOCK; i++)
            sum += data[i];
        snprintf(text, sizeof text, "%06o", sum & 0777777);
        memcpy(data + 148, text, 7);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > 1 << 20)
        return 0;
    check_archive(data, size);
    uint8_t *copy = malloc(size);
    PROMISE(copy);
    memcpy(copy, data, size);
    reseal(copy, size);
    check_archive(copy, size);
    free(copy);
    return 0;
}
