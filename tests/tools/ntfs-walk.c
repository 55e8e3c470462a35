/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ntfs-walk IMAGE: checks an NTFS volume by a walk of its own, and prints each rule that it breaks.
 *
 *     records     each in-use MFT record against the MFT's bitmap, its layout, attribute lists both ways
 *     clusters    each attribute's runs and sizes; no cluster twice; $Bitmap exactly what the runs say
 *     names       each directory's tree, order and bitmap; index entries and names both ways; link counts;
 *                 everything hangs below the root
 *     $Secure     each file's security id is in the indexes, and the descriptors in the stream and its copy
 *     $Reparse    the index and the files both ways
 *     $MFTMirr    equals the MFT's first records; $Volume isn't marked dirty
 *
 * Exit status: 0 nothing is broken, 1 something is, 2 not readable. */
#include "ntfs-walk.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct vol vol;
unsigned complaints;

void complain(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    complaints++;
}

void give_up(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    exit(2);
}

void *get_memory(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p)
        give_up("out of memory");
    return p;
}

uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    while (bytes--)
        v = v << 8 | p[bytes];
    return v;
}

bool fix_up(uint8_t *p, unsigned size, const char *magic)
{
    unsigned at = (unsigned)get(p + 4, 2), n = (unsigned)get(p + 6, 2);
    if (memcmp(p, magic, 4) || n != size / 512 + 1 || at + 2 * n > 510)
        return false;
    for (unsigned i = 1; i < n; i++) {
        if (memcmp(p + i * 512 - 2, p + at, 2))
            return false;
        memcpy(p + i * 512 - 2, p + at + 2 * i, 2);
    }
    return true;
}

struct attr *find_attr(uint64_t file, uint32_t type, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < vol.files[file].n; i++) {
        struct attr *a = &vol.files[file].attrs[i];
        bool same = a->type == type && a->name_len == len;
        for (size_t c = 0; same && c < len; c++)
            same = get(a->name + 2 * c, 2) == (uint8_t)name[c];
        if (same)
            return a;
    }
    return NULL;
}

uint8_t *read_attr(const struct attr *a)
{
    uint8_t *p = get_memory(a->resident ? a->size : a->allocated);
    if (a->resident) {
        memcpy(p, a->value, a->size);
        return p;
    }
    for (size_t i = 0; i < a->n_runs; i++)
        if (a->runs[i].lcn >= 0)
            memcpy(p + a->runs[i].vcn * vol.cluster, vol.image + (uint64_t)a->runs[i].lcn * vol.cluster,
                   a->runs[i].n * vol.cluster);
    if (a->initialized < a->allocated)
        memset(p + a->initialized, 0, a->allocated - a->initialized);
    return p;
}

static void open_image(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (size < 512)
        give_up("%s can't be read", path);
    /* private: fixing up is done in copies, but a stray store must not reach the file */
    vol.image = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (vol.image == MAP_FAILED)
        give_up("%s can't be mapped", path);
    vol.size = (uint64_t)size;
    close(fd);
}

static unsigned size_of(int8_t stored)
{
    return stored < 0 ? 1u << -stored : (unsigned)stored * vol.cluster;
}

static void read_boot(void)
{
    const uint8_t *b = vol.image;
    if (memcmp(b + 3, "NTFS    ", 8))
        give_up("no NTFS boot sector");
    unsigned sector = (unsigned)get(b + 0x0b, 2), per = b[0x0d];
    vol.cluster = per > 0x80 ? sector << (256 - per) : sector * per;
    vol.record = size_of((int8_t)b[0x40]);
    vol.index_block = size_of((int8_t)b[0x44]);
    vol.clusters = get(b + 0x28, 8) * sector / vol.cluster;
    if (vol.clusters * vol.cluster > vol.size)
        give_up("the volume is longer than its image");
    vol.owners = get_memory(vol.clusters);
}

static void check_bitmap(void)
{
    const struct attr *a = find_attr(6, AT_DATA, "");
    uint8_t *bits = read_attr(a);
    if (a->size * 8 < vol.clusters)
        complain("$Bitmap is too short");
    for (uint64_t i = 0; i < vol.clusters; i++) {
        bool marked = bits[i / 8] >> (i % 8) & 1;
        if (marked && !vol.owners[i])
            complain("cluster %llu is marked used, and nobody's", (unsigned long long)i);
        if (!marked && vol.owners[i])
            complain("cluster %llu is marked free, and used", (unsigned long long)i);
        if (vol.owners[i] > 1)
            complain("cluster %llu is used %u times", (unsigned long long)i, vol.owners[i]);
    }
    free(bits);
}

static void check_system(void)
{
    const struct attr *mirror = find_attr(1, AT_DATA, ""), *info = find_attr(3, 0x70, "");
    uint8_t *copy = read_attr(mirror);
    const struct attr *mft = find_attr(0, AT_DATA, "");
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *original = vol.image + (uint64_t)mft->runs[0].lcn * vol.cluster + i * vol.record;
        if (memcmp(copy + i * vol.record, original, vol.record))
            complain("$MFTMirr differs in record %u", i);
    }
    free(copy);
    if (get(info->value + 10, 2) & 1)
        complain("the volume is marked dirty");
}

int main(int argc, char **argv)
{
    if (argc != 2)
        give_up("usage: ntfs-walk IMAGE");
    open_image(argv[1]);
    read_boot();
    load_mft();
    check_records();
    check_bitmap();
    check_names();
    check_security();
    check_reparse();
    check_system();
    return complaints ? 1 : 0;
}
