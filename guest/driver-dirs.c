/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories of Windows by the numbers that INFs have for them. */
#include "driver-impl.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { DIR_ABSOLUTE = 0xffff, DIR_STORE = 13 };

/* Below the system's root, or with '!' first below the root of its drive. */
static const struct {
    unsigned id;
    const char *path;
} dirs[] = {
    { 10, "" },
    { 11, "\\System32" },
    { 12, "\\System32\\drivers" },
    { 17, "\\INF" },
    { 18, "\\Help" },
    { 20, "\\Fonts" },
    { 21, "\\System32\\viewers" },
    { 23, "\\System32\\spool\\drivers\\color" },
    { 24, "!" },
    { 25, "" },
    { 30, "!" },
    { 50, "\\System" },
    { 51, "\\System32\\spool" },
    { 52, "\\System32\\spool\\drivers" },
    { 55, "\\System32\\spool\\prtprocs" },
    { 16419, "!\\ProgramData" },
    { 16422, "!\\Program Files" },
    { 16425, "\\SysWOW64" },
    { 16426, "!\\Program Files (x86)" },
    { 16427, "!\\Program Files\\Common Files" },
    { 16428, "!\\Program Files (x86)\\Common Files" },
};

/* Neither up nor out. */
static bool inside(const char *path)
{
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "\\/");
        if ((n == 2 && p[0] == '.' && p[1] == '.') || memchr(p, ':', n))
            return false;
        p += n + (p[n] != 0);
    }
    return true;
}

char *driver_directory(struct planner *p, unsigned dirid, const char *subdir)
{
    const struct driver_target *t = p->target;
    while (*subdir == '\\' && dirid != DIR_ABSOLUTE)
        subdir++;
    const char *sep = *subdir ? "\\" : "";
    if (dirid == DIR_ABSOLUTE)
        return strlen(subdir) > 3 && subdir[1] == ':' && subdir[2] == '\\' && inside(subdir + 2)
                   ? driver_text(p, "%s", subdir)
                   : NULL;
    if (!inside(subdir))
        return NULL;
    if (dirid == DIR_STORE || dirid == 1)
        return driver_text(p, "%s\\System32\\DriverStore\\FileRepository\\%s%s%s", t->root, t->store, sep,
                           subdir);
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
        if (dirs[i].id == dirid && *dirs[i].path == '!')
            return driver_text(p, "%.2s%s%s%s", t->root, dirs[i].path + 1, sep, subdir);
        else if (dirs[i].id == dirid)
            return driver_text(p, "%s%s%s%s", t->root, dirs[i].path, sep, subdir);
    return NULL;
}

const char *driver_expand_dirs(struct planner *p, const char *text)
{
    for (const char *at = strchr(text, '%'); at; at = strchr(at + 1, '%')) {
        size_t n = strspn(at + 1, "0123456789");
        uint32_t id;
        char digits[8];
        if (!n || n >= sizeof digits || at[1 + n] != '%')
            continue;
        memcpy(digits, at + 1, n);
        digits[n] = 0;
        driver_number(digits, &id);
        const char *dir = id == DIR_ABSOLUTE ? NULL : driver_directory(p, id, "");
        if (!dir)
            continue;
        char *made = driver_text(p, "%.*s%s%s", (int)(at - text), text, dir, at + n + 2);
        if (!made)
            return NULL;
        at = made + (at - text) + strlen(dir) - 1;
        text = made;
    }
    return text;
}
