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

/* Windows' name of the directory, as snprintf; < 0: unknown. */
static int put_directory(const struct driver_target *t, unsigned dirid, const char *subdir, char *buf,
                         size_t size)
{
    while (*subdir == '\\' && dirid != DIR_ABSOLUTE)
        subdir++;
    const char *sep = *subdir ? "\\" : "";
    if (dirid == DIR_ABSOLUTE)
        return strlen(subdir) > 3 && subdir[1] == ':' && subdir[2] == '\\' && inside(subdir + 2)
                   ? snprintf(buf, size, "%s", subdir)
                   : -1;
    if (!inside(subdir))
        return -1;
    if (dirid == DIR_STORE || dirid == 1)
        return snprintf(buf, size, "%s\\System32\\DriverStore\\FileRepository\\%s%s%s", t->root, t->store,
                        sep, subdir);
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
        if (dirs[i].id == dirid && *dirs[i].path == '!')
            return snprintf(buf, size, "%.2s%s%s%s", t->root, dirs[i].path + 1, sep, subdir);
        else if (dirs[i].id == dirid)
            return snprintf(buf, size, "%s%s%s%s", t->root, dirs[i].path, sep, subdir);
    return -1;
}

/* Without empty parts and dots, so that one directory has one name. */
static void tidy(char *path)
{
    char *out = path;
    for (const char *at = path; *at;) {
        size_t n = strcspn(at, "\\/");
        if (n && !(n == 1 && *at == '.')) {
            if (out != path)
                *out++ = '\\';
            memmove(out, at, n);
            out += n;
        }
        at += n + (at[n] != 0);
    }
    *out = 0;
}

char *driver_directory(struct planner *p, unsigned dirid, const char *subdir)
{
    char buf[DRIVER_MAX_TEXT];
    int n = put_directory(p->target, dirid, subdir, buf, sizeof buf);
    if (n < 0 || n >= (int)sizeof buf)
        return NULL;
    tidy(buf);
    return driver_text(p, "%s", buf);
}

/* At a percent sign: the directory whose number follows, as put_directory, and what that takes of the text.
 */
static int number_at(struct planner *p, const char *at, char *buf, size_t size, size_t *ret_len)
{
    size_t n = strspn(at + 1, "0123456789");
    uint32_t id;
    char digits[8];
    if (!n || n >= sizeof digits || at[1 + n] != '%')
        return -1;
    memcpy(digits, at + 1, n);
    digits[n] = 0;
    driver_number(digits, &id);
    *ret_len = n + 2;
    return id == DIR_ABSOLUTE ? -1 : put_directory(p->target, id, "", buf, size);
}

const char *driver_expand_dirs(struct planner *p, const char *text)
{
    char made[DRIVER_MAX_TEXT];
    size_t n = 0;
    bool any = false;
    if (!strchr(text, '%'))
        return text;
    for (const char *at = text; *at && n < sizeof made;) {
        size_t len = 1;
        int dir = *at == '%' ? number_at(p, at, made + n, sizeof made - n, &len) : -1;
        if (dir < 0)
            made[n++] = *at++;
        else
            at += len;
        n += dir < 0 ? 0 : (size_t)dir;
        any |= dir >= 0;
    }
    if (!any)
        return text;
    if (n >= sizeof made) {
        driver_charge(p, SIZE_MAX, 0, 0); /* too long: as any other limit */
        return NULL;
    }
    made[n] = 0;
    return driver_text(p, "%s", made);
}
