/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What info.json says of the registry: its hives, which of them can't be opened or written and why, and how
 * much is kept in memory only. */
#include "registry-info.h"

#include "registry.h"

static json_t *hive_json(struct ferry *f, struct reg_hive *h, size_t *files, size_t *bytes)
{
    static const char *const places[] = { [HIVE_MACHINE] = "HKEY_LOCAL_MACHINE",
                                          [HIVE_USERS] = "HKEY_USERS",
                                          [HIVE_ALONE] = NULL,
                                          [HIVE_BCD] = NULL };
    struct hive_state state = { 0 };
    json_t *o = json_object();
    int r = hives_read(f, h);
    json_object_set_new(o, "name", json_string(h->name));
    if (places[h->where])
        json_object_set_new(o, "in", json_string(places[h->where]));
    json_object_set_new(o, "file", json_string(h->path));
    json_object_set_new(o, "shown", json_boolean(r == 0));
    if (!r) {
        hive_state(h->hive, &state);
        json_object_set_new(o, "version", json_sprintf("1.%u", state.minor));
        json_object_set_new(o, "dirty", json_boolean(state.dirty));
        json_object_set_new(o, "replayed", json_integer(state.replayed));
        json_object_set_new(o, "writable", json_boolean(h->writable));
    }
    if (h->why[0])
        json_object_set_new(o, "why", json_string(h->why));
    for (const struct reg_file *file = r ? NULL : h->files; file; file = file->next)
        if (file->scratch) {
            ++*files;
            *bytes += file->n;
        }
    if (!r)
        hives_done(h);
    return o;
}

json_t *registry_info(struct ferry *f)
{
    if (!hives_present(f))
        return NULL;
    size_t files = 0, bytes = 0;
    json_t *o = json_object(), *hives = json_array(), *scratch = json_object();
    hives_nth(f, HIVE_USERS, 0); /* so that all are found */
    struct reg_hive *h;
    for (size_t i = 0; (h = hives_at(f, i)); i++)
        if (hives_is_there(f, h))
            json_array_append_new(hives, hive_json(f, h, &files, &bytes));
    json_object_set_new(o, "hives", hives);
    json_object_set_new(scratch, "files", json_integer((json_int_t)files));
    json_object_set_new(scratch, "bytes", json_integer((json_int_t)bytes));
    json_object_set_new(o, "scratch", scratch);
    return o;
}
