/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_PREPARE_WINDOWS_H
#define FERRYFS_PREPARE_WINDOWS_H
/* What the parts of the planner for Windows share. Functions that add to the plan give 0 or -errno, as
 * prepare.h says; a value that is of another type or shape than Windows writes counts as absent. */
#include "prepare.h"

enum { WINDOWS_SETS = 16, WINDOWS_KEY = 512, WINDOWS_STRINGS = 32, WINDOWS_STRING = 260 };

struct windows {
    struct prepare *p;
    const char *root;            /* "C/Windows" */
    char sets[WINDOWS_SETS][16]; /* "ControlSet001"; the one that is booted by default is the first */
    size_t n_sets;
    unsigned major, minor; /* of the version; 0: unknown */
    unsigned build;
};

/* Strings of a value: of a REG_SZ one, of a REG_MULTI_SZ several. Those that are longer are cut. */
struct windows_strings {
    uint32_t type;
    size_t n;
    char s[WINDOWS_STRINGS][WINDOWS_STRING];
};

/* "HKLM\SYSTEM\" and the set, then the format. */
void windows_key(const struct windows *w, size_t set, char ret[WINDOWS_KEY], const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
bool windows_has_key(const struct windows *w, const char *key);
bool windows_has_value(const struct windows *w, const char *key, const char *name);
bool windows_dword(const struct windows *w, const char *key, const char *name, uint32_t *ret);
bool windows_strings(const struct windows *w, const char *key, const char *name, struct windows_strings *ret);
int windows_set_dword(const struct windows *w, const char *key, const char *name, uint32_t v,
                      const char *reason);
/* As s->type says; none at all removes the value. */
int windows_set_strings(const struct windows *w, const char *key, const char *name,
                        const struct windows_strings *s, const char *reason);
int windows_set_text(const struct windows *w, const char *key, const char *name, const char *text,
                     const char *reason);
/* prepare-windows-efi.c: a boot loader that firmware without boot entries finds. */
int windows_plan_efi(const struct windows *w);
/* Is the file there that a driver's service names? `key`: the service's. */
bool windows_driver_file(const struct windows *w, const char *key, const char *service);

/* prepare-windows-tools.c: what VMware, Nutanix, Xen and others put into the guest no longer starts, in
 * control set `set`; and what isn't in a control set. */
int windows_tools_off(const struct windows *w, size_t set);
int windows_tools_off_all(const struct windows *w);
/* prepare-windows-net.c: static addresses go to the new adapters. */
int windows_network(const struct windows *w);
#endif
