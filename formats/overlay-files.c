/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files beside an overlay's disks that are too large for a note: each is written whole, before the commit of
 * the note that names it. Of a scratch overlay they are kept in memory, for as long as it lives. */
#include "overlay-set.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Names are ours; a note that was tampered with must not lead out of the directory. */
static bool is_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";
    size_t n = strlen(name);
    return n && n <= OVERLAY_FILE_NAME && name[0] != '.' && strspn(name, letters) == n;
}

static struct overlay_kept *find_kept(const struct overlay *o, const char *name)
{
    for (struct overlay_kept *k = o->kept; k; k = k->next)
        if (!strcmp(k->name, name))
            return k;
    return NULL;
}

static int keep(struct overlay *o, const char *name, const void *bytes, size_t n)
{
    struct overlay_kept *k = find_kept(o, name);
    uint8_t *copy = malloc(n ? n : 1);
    if (!k && copy && (k = calloc(1, sizeof *k))) {
        strcpy(k->name, name);
        k->next = o->kept;
        o->kept = k;
    }
    if (!k || !copy) {
        free(copy);
        return -ENOMEM;
    }
    free(k->bytes);
    k->bytes = copy;
    k->n = n;
    if (n)
        memcpy(copy, bytes, n);
    return 0;
}

int overlay_file_write(struct overlay *o, const char *name, const void *bytes, size_t n)
{
    if (!is_name(name))
        return -EINVAL;
    if (!o->dir)
        return keep(o, name, bytes, n);
    char beside[OVERLAY_FILE_NAME + 8];
    snprintf(beside, sizeof beside, "%s.new", name);
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
    _cleanup_close_ int fd = openat(o->dir_fd, beside, flags, 0600);
    int r = fd < 0 ? -errno : ovl_pwrite(o->io, fd, bytes, n, 0);
    if (!r && o->io->fsync(fd) < 0)
        r = -errno;
    if (!r && o->io->renameat(o->dir_fd, beside, o->dir_fd, name) < 0)
        r = -errno;
    if (!r && o->io->fsync(o->dir_fd) < 0)
        r = -errno;
    if (r < 0)
        unlinkat(o->dir_fd, beside, 0);
    return r;
}

int overlay_file_read(struct overlay *o, const char *name, size_t max, uint8_t **ret, size_t *ret_n)
{
    if (!is_name(name))
        return -EINVAL;
    const struct overlay_kept *k = o->dir ? NULL : find_kept(o, name);
    if (!o->dir && !k)
        return -ENOENT;
    _cleanup_close_ int fd = k ? -1 : openat(o->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st = { .st_mode = S_IFREG, .st_size = k ? (off_t)k->n : 0 };
    if (!k && (fd < 0 || fstat(fd, &st) < 0))
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size < 0)
        return -EUCLEAN;
    if ((uint64_t)st.st_size > max)
        return -EFBIG;
    size_t n = (size_t)st.st_size;
    uint8_t *bytes = malloc(n ? n : 1);
    if (!bytes)
        return -ENOMEM;
    int r = 0;
    if (k && n)
        memcpy(bytes, k->bytes, n);
    else if (!k)
        r = ovl_pread(fd, bytes, n, 0);
    if (r < 0) {
        free(bytes);
        return r;
    }
    *ret = bytes;
    *ret_n = n;
    return 0;
}

void overlay_file_remove(struct overlay *o, const char *name)
{
    if (!is_name(name))
        return;
    if (o->dir) {
        unlinkat(o->dir_fd, name, 0);
        return;
    }
    for (struct overlay_kept **at = &o->kept; *at; at = &(*at)->next)
        if (!strcmp((*at)->name, name)) {
            struct overlay_kept *k = *at;
            *at = k->next;
            free(k->bytes);
            free(k);
            return;
        }
}

void ovl_files_drop(struct overlay *o)
{
    while (o->kept)
        overlay_file_remove(o, o->kept->name);
}

/* ---- what a kill left ---- */

/* "record-WHAT-SUM", SUM in 16 hexadecimal digits, or with ".new" while it is being written. Others' files
 * aren't named so by chance. */
static bool is_record_name(const char *name)
{
    static const char prefix[] = "record-", beside[] = ".new";
    size_t n = strlen(name), before = sizeof prefix - 1, after = sizeof beside - 1;
    if (n > after && !strcmp(name + n - after, beside))
        n -= after;
    return n > before + 17 && n <= OVERLAY_FILE_NAME && !strncmp(name, prefix, before) &&
           name[n - 17] == '-' && strspn(name + n - 16, "0123456789abcdef") >= 16;
}

static bool is_noted(const struct overlay *o, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < o->n_notes; i++)
        if (!strncmp(o->notes[i].text, name, n) && (!o->notes[i].text[n] || o->notes[i].text[n] == ' '))
            return true;
    return false;
}

static bool is_orphan(const struct overlay *o, const char *name)
{
    struct stat st;
    return is_record_name(name) && !is_noted(o, name) &&
           !fstatat(o->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode);
}

void ovl_files_sweep(struct overlay *o)
{
    int fd = openat(o->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    bool durable = false;
    for (struct dirent *d; (d = readdir(dir));) {
        if (!is_orphan(o, d->d_name))
            continue;
        if (!durable && o->io->fsync(o->dir_fd) < 0)
            break;
        durable = true;
        unlinkat(o->dir_fd, d->d_name, 0);
    }
    closedir(dir);
}
