/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of keys and values: any units become a file name that means them again, and any file name is either
 * refused or means one name. */
#include "registry/names.h"
#include "promise.h"

#include <stdlib.h>
#include <string.h>

static bool means(const struct reg_parsed *p, struct hive_name name)
{
    if (p->cut)
        return p->hash == reg_name_hash(name);
    return p->n == name.n && (!p->n || !memcmp(p->units, name.units, 2 * p->n));
}

static void from_units(const uint8_t *data, size_t size)
{
    uint16_t units[2048];
    size_t n = size / 2 < 2048 ? size / 2 : 2048;
    memcpy(units, data, 2 * n);
    struct hive_name name = { units, n };
    struct reg_file_name f;
    struct reg_parsed p;
    for (uint32_t type = 0; type < 14; type++) {
        reg_value_file(name, type * type * 77 / 76, type & 1, &f);
        PROMISE(strlen(f.text) <= REG_FILE_NAME_MAX && !strchr(f.text, '/') && strlen(f.text) > 2);
        PROMISE(reg_parse_value(f.text, &p) == 0 && p.type == type * type * 77 / 76 && p.raw == (type & 1));
        PROMISE(p.cut == f.cut && means(&p, name));
        reg_parsed_done(&p);
    }
    for (size_t i = 0; i < n; i++)
        units[i] = units[i] == '\\' ? '/' : units[i]; /* which no key's name holds */
    name.n = n < HIVE_KEY_NAME_MAX ? n : HIVE_KEY_NAME_MAX;
    if (!name.n)
        return;
    reg_key_file(name, &f);
    PROMISE(strcmp(f.text, ".") && strcmp(f.text, "..") && !strchr(f.text, '/'));
    PROMISE(reg_parse_key(f.text, &p) == 0 && p.cut == f.cut && means(&p, name));
    reg_parsed_done(&p);
    char *whole = reg_whole_name(name, false);
    PROMISE(whole);
    free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reg_parsed p;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    text[size] = 0;
    if (reg_parse_value(text, &p) == 0)
        reg_parsed_done(&p);
    if (reg_parse_key(text, &p) == 0)
        reg_parsed_done(&p);
    free(text);
    from_units(data, size);
    return 0;
}
