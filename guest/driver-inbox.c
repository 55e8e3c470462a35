/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INFs that packages include, in the guest: Windows\INF has those of all in-box packages, whose files lie in
 * the driver store, in a directory that the registry names from Windows 8 on. What isn't there may be in the
 * package itself. */
#include "driver-registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Of an in-box INF; "": the registry doesn't say it. Owned by the caller; NULL: no memory. */
static char *store_of(struct driver_inbox *b, const char *name)
{
    static const char *const databases[] = { "HKLM\\SYSTEM", "HKLM\\DRIVERS" };
    char key[400];
    for (size_t i = 0; i < 2; i++) {
        snprintf(key, sizeof key, "%s\\DriverDatabase\\DriverInfFiles\\%s", databases[i], name);
        char *active = driver_get_text(b->p, key, "Active");
        if (active && *active && *active != '.' && strlen(active) < DRIVER_NAME_MAX &&
            !strpbrk(active, "\\/"))
            return active;
        free(active);
    }
    return strdup("");
}

static int read_packed(const struct driver_inbox *b, const char *name, uint8_t **ret, size_t *ret_n)
{
    const struct driver_package_file *file = driver_package_find(b->pkg, name);
    if (!file)
        return -ENOENT;
    if (file->n > INF_MAX_SIZE)
        return -EFBIG;
    *ret = malloc(file->n ? file->n : 1);
    if (!*ret)
        return -ENOMEM;
    memcpy(*ret, file->bytes, file->n);
    *ret_n = file->n;
    return 0;
}

static int read_stored(const struct driver_inbox *b, const char *name, uint8_t **ret, size_t *ret_n)
{
    char path[1024];
    int n = snprintf(path, sizeof path, "%s/System32/DriverStore/FileRepository/%s/%s", b->g->dir,
                     b->g->store, name);
    return n >= (int)sizeof path ? -ENOENT : b->p->ops->read(b->p, path, INF_MAX_SIZE, ret, ret_n);
}

int driver_inbox_read(void *ctx, const char *name, uint8_t **ret, size_t *ret_n, char **ret_store)
{
    struct driver_inbox *b = ctx;
    char path[512];
    *ret_store = NULL;
    snprintf(path, sizeof path, "%s/INF/%s", b->g->dir, name);
    int r = b->p->ops->read(b->p, path, INF_MAX_SIZE, ret, ret_n);
    if (!r) {
        *ret_store = store_of(b, name);
        return *ret_store ? 0 : -ENOMEM;
    }
    if (r != -ENOENT)
        return r;
    return b->pkg ? read_packed(b, name, ret, ret_n) : b->stored ? read_stored(b, name, ret, ret_n) : r;
}
