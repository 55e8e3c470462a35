/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an installed package is in the registry. The layout is as seen in hives of installed systems:
 *
 *     DriverDatabase\DriverInfFiles\oem2.inf               which package it is, its configurations
 *     DriverDatabase\DeviceIds\PCI\VEN_..                  oem2.inf = 01 FF 00 00
 *     DriverDatabase\DriverPackages\NAME                   Version, Provider, InfName, ...
 *         Configurations\SECTION, Descriptors\PCI\VEN_.., Strings
 *     ControlSet001\Services\x                             of what starts with the system
 *     ControlSet001\Control\CriticalDeviceDatabase         instead of DriverDatabase, up to Windows 7 */
#include "driver-registry.h"
#include "text.h"

#include "../formats/bytes.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- values ---- */

bool driver_key(struct driver_edit *e, char ret[DRIVER_KEY_MAX], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(ret, DRIVER_KEY_MAX, fmt, args);
    va_end(args);
    if (n < DRIVER_KEY_MAX)
        return !e->err;
    if (!e->err)
        e->err = -ENAMETOOLONG;
    return false;
}

void driver_say(struct driver_edit *e, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    e->log.say(e->log.ctx, line);
}

void driver_set(struct driver_edit *e, const char *key, const char *name, uint32_t type, const void *bytes,
                size_t n)
{
    if (!e->err)
        e->err = e->p->ops->set(e->p, key, name, type, bytes, n, e->reason);
}

void driver_set_dword(struct driver_edit *e, const char *key, const char *name, uint32_t v)
{
    uint8_t bytes[4];
    put_le32(bytes, v);
    driver_set(e, key, name, DRIVER_REG_DWORD, bytes, sizeof bytes);
}

/* In UTF-16 with a terminator; where `separator` stands is one, too, and then two are at the end. */
static void set_units(struct driver_edit *e, const char *key, const char *name, uint32_t type,
                      const char *text, char separator)
{
    size_t room = strlen(text) + 2;
    uint16_t *units = malloc(room * sizeof *units);
    uint8_t *bytes = malloc(room * 2);
    int n = units && bytes ? text_to_utf16(text, units, room) : -ENOMEM;
    if (n >= 0) {
        size_t len = (size_t)n;
        for (size_t i = 0; i < len; i++)
            put_le16(bytes + 2 * i, separator && units[i] == (uint16_t)separator ? 0 : units[i]);
        for (int ends = separator && len ? 2 : 1; ends; ends--)
            put_le16(bytes + 2 * len++, 0);
        driver_set(e, key, name, type, bytes, 2 * len);
    } else if (!e->err) {
        e->err = n == -ENOMEM ? n : -EBADMSG;
    }
    free(units);
    free(bytes);
}

void driver_set_text(struct driver_edit *e, const char *key, const char *name, uint32_t type,
                     const char *text)
{
    set_units(e, key, name, type, text, 0);
}

void driver_set_list(struct driver_edit *e, const char *key, const char *name, const char *texts)
{
    set_units(e, key, name, DRIVER_REG_MULTI_SZ, texts, ',');
}

char *driver_get_text(struct prepare *p, const char *key, const char *name)
{
    uint32_t type;
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    if (p->ops->value(p, key, name, &type, &bytes, &n) ||
        (type != DRIVER_REG_SZ && type != DRIVER_REG_EXPAND_SZ && type != DRIVER_REG_MULTI_SZ))
        return NULL;
    size_t len = n / 2;
    uint16_t *units = malloc((len + 1) * sizeof *units);
    char *text = malloc(TEXT_UTF8_SIZE(len));
    while (len && !bytes[2 * len - 2] && !bytes[2 * len - 1])
        len--;
    for (size_t i = 0; units && i < len; i++) {
        units[i] = (uint16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8);
        if (!units[i])
            units[i] = ',';
    }
    if (units && text) {
        text_mend_surrogates(units, len);
        text_from_utf16(units, len, text, TEXT_UTF8_SIZE(len));
    }
    if (!units) {
        free(text);
        text = NULL;
    }
    free(units);
    return text;
}

bool driver_get_dword(struct prepare *p, const char *key, const char *name, uint32_t *ret)
{
    uint32_t type;
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    if (p->ops->value(p, key, name, &type, &bytes, &n) || type != DRIVER_REG_DWORD || n != 4)
        return false;
    *ret = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    return true;
}

static int seen(void *ctx, const char *name, uint32_t type)
{
    (void)ctx;
    (void)name;
    (void)type;
    return 1;
}

bool driver_key_exists(struct prepare *p, const char *key)
{
    return p->ops->values(p, key, seen, NULL) >= 0;
}

size_t driver_databases(const struct driver_edit *e, const char *ret[2])
{
    size_t n = 0;
    if (e->g->has_database && e->plan->boot_critical)
        ret[n++] = "HKLM\\SYSTEM\\DriverDatabase";
    if (e->g->has_drivers_hive)
        ret[n++] = "HKLM\\DRIVERS\\DriverDatabase";
    return n;
}

/* ---- services ---- */

/* A text with a token, as Windows keeps it: "@oem3.inf,%token%;text". */
static void write_named(struct driver_edit *e, const struct driver_service *s, const char *key,
                        const char *name, const char *text, const char *raw)
{
    const char *inf = s->inf == e->plan->inf ? e->inf : inf_name(s->inf);
    char whole[DRIVER_KEY_MAX * 2];
    if (!text || !*text)
        return;
    if (strchr(raw, '%'))
        snprintf(whole, sizeof whole, "@%s,%s;%s", inf, raw, text);
    driver_set_text(e, key, name, DRIVER_REG_SZ, strchr(raw, '%') ? whole : text);
}

/* Is it a service, and not only what Windows remembers of one? */
static bool is_service(struct driver_edit *e, const char *key)
{
    uint32_t v;
    return driver_get_dword(e->p, key, "Type", &v) || driver_get_dword(e->p, key, "Start", &v);
}

/* oemN.inf among the owners, of whom there may be others. A service that was there without any belongs to
 * Windows or to what a program's setup did: who isn't its owner doesn't take it out later. */
static void write_owners(struct driver_edit *e, const char *key, bool was_there)
{
    char list[DRIVER_KEY_MAX];
    _cleanup_free_ char *old = driver_get_text(e->p, key, "Owners");
    size_t n = old ? strlen(old) : 0;
    if (!n && was_there)
        return;
    for (const char *p = old; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == strlen(e->inf) && !strncasecmp(p, e->inf, strlen(e->inf)))
            return;
    if (driver_key(e, list, "%s%s%s", n ? old : "", n ? "," : "", e->inf))
        driver_set_list(e, key, "Owners", list);
}

static void write_service(struct driver_edit *e, unsigned set, const struct driver_service *s)
{
    char key[DRIVER_KEY_MAX], veto[DRIVER_KEY_MAX];
    if (!driver_key(e, key, "HKLM\\SYSTEM\\ControlSet%03u\\Services\\%s", set, s->name))
        return;
    bool was_there = is_service(e, key);
    driver_set_dword(e, key, "Type", s->type);
    driver_set_dword(e, key, "Start", s->start);
    driver_set_dword(e, key, "ErrorControl", s->error_control);
    driver_set_text(e, key, "ImagePath", DRIVER_REG_EXPAND_SZ, s->image_path);
    if (s->group)
        driver_set_text(e, key, "Group", DRIVER_REG_SZ, s->group);
    write_named(e, s, key, "DisplayName", s->display, s->display_raw);
    write_named(e, s, key, "Description", s->description, s->description_raw);
    if (s->object_name)
        driver_set_text(e, key, "ObjectName", DRIVER_REG_SZ, s->object_name);
    if (s->depends)
        driver_set_list(e, key, "DependOnService", s->depends);
    if (s->depends_groups)
        driver_set_list(e, key, "DependOnGroup", s->depends_groups);
    if (s->has_boot_flags)
        driver_set_dword(e, key, "BootFlags", s->boot_flags);
    write_owners(e, key, was_there);
    driver_write_values(e, key, &s->values, set);
    /* Windows 8 and later veto the start of drivers whose device was away at the last boot. */
    if (s->start == 0 && driver_key(e, veto, "%s\\StartOverride", key) && driver_key_exists(e->p, veto))
        e->err = e->p->ops->unkey(e->p, veto, e->reason);
    if (s->log_name && driver_key(e, key, "HKLM\\SYSTEM\\ControlSet%03u\\Services\\EventLog\\%s\\%s", set,
                                  s->log_type, s->log_name))
        driver_write_values(e, key, &s->log_values, set == e->g->sets[0] ? DRIVER_NO_SET : DRIVER_QUIET);
}

/* Calls fn with each id that the model answers to; rank 1 for the hardware id, 2 for the others. */
static void each_id(struct driver_edit *e, const struct driver_model *m, const char *base,
                    void (*fn)(struct driver_edit *, const struct driver_model *, const char *base,
                               const char *id, unsigned rank, unsigned place))
{
    if (*m->hardware_id)
        fn(e, m, base, m->hardware_id, 1, 0);
    for (unsigned i = 0; i < m->n_compatible && !e->err; i++)
        if (*m->compatible[i].text)
            fn(e, m, base, m->compatible[i].text, 2, i);
}

static void write_critical(struct driver_edit *e, const struct driver_model *m, const char *base,
                           const char *id, unsigned rank, unsigned place)
{
    char key[DRIVER_KEY_MAX];
    const char *service = e->plan->installs[m->install].service;
    (void)rank;
    (void)place;
    if (!service || !driver_key(e, key, "%s\\%s", base, id))
        return;
    for (char *p = key + strlen(base) + 1; *p; p++)
        if (*p == '\\')
            *p = '#';
    driver_set_text(e, key, "Service", DRIVER_REG_SZ, service);
    driver_set_text(e, key, "ClassGUID", DRIVER_REG_SZ, e->plan->class_guid);
}

/* What loads before Windows' own PnP: services, and on Windows 7 their devices. */
static void write_control_set(struct driver_edit *e, unsigned set)
{
    char key[DRIVER_KEY_MAX];
    for (size_t i = 0; i < e->plan->n_services && !e->err; i++)
        write_service(e, set, &e->plan->services[i]);
    if (e->g->has_database ||
        !driver_key(e, key, "HKLM\\SYSTEM\\ControlSet%03u\\Control\\CriticalDeviceDatabase", set))
        return;
    for (size_t i = 0; i < e->plan->n_models && !e->err; i++)
        each_id(e, &e->plan->models[i], key, write_critical);
}

/* ---- the database ---- */

static void write_device_id(struct driver_edit *e, const struct driver_model *m, const char *base,
                            const char *id, unsigned rank, unsigned place)
{
    char key[DRIVER_KEY_MAX];
    const struct driver_install *i = &e->plan->installs[m->install];
    uint8_t match[4] = { (uint8_t)rank, (uint8_t)i->feature_score, (uint8_t)place, 0 };
    if (driver_key(e, key, "%s\\DeviceIds\\%s", base, id))
        driver_set(e, key, e->inf, DRIVER_REG_BINARY, match, sizeof match);
}

/* Tokens are kept in small letters. */
static void lower(const char *text, char *ret, size_t size)
{
    size_t i = 0;
    for (; text[i] && i + 1 < size; i++)
        ret[i] = (char)tolower((unsigned char)text[i]);
    ret[i] = 0;
}

/* "%vendor%" as it is, and what it stands for in Strings. */
static void write_token(struct driver_edit *e, const char *package, const char *key, const char *name,
                        const char *raw, const char *text)
{
    char token[512], strings[DRIVER_KEY_MAX];
    lower(raw, token, sizeof token);
    size_t n = strlen(token);
    bool is_token = n > 2 && token[0] == '%' && strchr(token + 1, '%') == token + n - 1;
    driver_set_text(e, key, name, DRIVER_REG_SZ, is_token ? token : text);
    if (!is_token || !driver_key(e, strings, "%s\\Strings", package))
        return;
    token[n - 1] = 0;
    driver_set_text(e, strings, token + 1, DRIVER_REG_SZ, text);
}

static void write_descriptor(struct driver_edit *e, const struct driver_model *m, const char *base,
                             const char *id, unsigned rank, unsigned place)
{
    char key[DRIVER_KEY_MAX];
    (void)rank;
    (void)place;
    if (!driver_key(e, key, "%s\\Descriptors\\%s", base, id))
        return;
    driver_set_text(e, key, "Configuration", DRIVER_REG_SZ, e->plan->installs[m->install].section);
    write_token(e, base, key, "Manufacturer", m->manufacturer_raw, m->manufacturer);
    write_token(e, base, key, "Description", m->description_raw, m->description);
}

/* With '\n' between. */
static void set_lines(struct driver_edit *e, const char *key, const char *name, const char *lines)
{
    set_units(e, key, name, DRIVER_REG_MULTI_SZ, lines, '\n');
}

static void write_configuration(struct driver_edit *e, const char *package, const struct driver_install *i)
{
    char key[DRIVER_KEY_MAX], sub[DRIVER_KEY_MAX];
    if (!driver_key(e, key, "%s\\Configurations\\%s", package, i->section))
        return;
    driver_set_dword(e, key, "ConfigFlags", 0);
    if (i->service)
        driver_set_text(e, key, "Service", DRIVER_REG_SZ, i->service);
    if (e->g->target.major >= 10)
        driver_set_dword(e, key, "ConfigScope", 7);
    if (i->included)
        set_lines(e, key, "IncludedInfs", i->included);
    if (i->hardware.n && driver_key(e, sub, "%s\\Device", key))
        driver_write_values(e, sub, &i->hardware, DRIVER_TEMPLATE);
    if (i->software.n && driver_key(e, sub, "%s\\Driver", key))
        driver_write_values(e, sub, &i->software, DRIVER_TEMPLATE);
    for (size_t k = 0; i->service && k < e->plan->n_services; k++)
        if (e->plan->services[k].values.n && !strcasecmp(e->plan->services[k].name, i->service) &&
            driver_key(e, sub, "%s\\Services\\%s", key, i->service))
            driver_write_values(e, sub, &e->plan->services[k].values, DRIVER_QUIET);
}

static unsigned hex(const char *p, int n)
{
    unsigned v = 0;
    for (int i = 0; i < n; i++)
        v = v << 4 | (unsigned)(isdigit((unsigned char)p[i]) ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
    return v;
}

/* 48 bytes: who made it, the processor, the class, the date, the version. */
static void write_version(struct driver_edit *e, const char *package)
{
    static const uint8_t processors[] = {
        [DRIVER_X86] = 0, [DRIVER_ARM] = 5, [DRIVER_AMD64] = 9, [DRIVER_ARM64] = 12
    };
    uint8_t v[48] = { 0x00, 0xff };
    const char *g = e->plan->class_guid + 1;
    v[2] = processors[e->g->target.arch];
    put_le32(v + 8, hex(g, 8));
    put_le16(v + 12, (uint16_t)hex(g + 9, 4));
    put_le16(v + 14, (uint16_t)hex(g + 14, 4));
    for (int i = 0; i < 8; i++)
        v[16 + i] = (uint8_t)hex(g + 19 + 2 * i + (i >= 2), 2);
    put_le64(v + 24, e->plan->date);
    put_le64(v + 32, e->plan->version);
    driver_set(e, package, "Version", DRIVER_REG_BINARY, v, sizeof v);
}

/* Bit N of OemInfMap, of which the highest of the first byte is 0. */
static void write_oem_map(struct driver_edit *e, const char *base)
{
    uint32_t type;
    uint8_t *old = NULL, map[1300] = { 0 };
    size_t n = 0, at = e->oem / 8;
    int r = e->p->ops->value(e->p, base, "OemInfMap", &type, &old, &n);
    if (r == -ENOENT)
        n = 0;
    else if (r)
        e->err = e->err ? e->err : r;
    if (!r && n <= sizeof map)
        memcpy(map, old, n);
    free(old);
    if (e->err || at >= sizeof map || n > sizeof map)
        return;
    map[at] |= (uint8_t)(0x80 >> e->oem % 8);
    driver_set(e, base, "OemInfMap", DRIVER_REG_BINARY, map, n > at ? n : at + 1);
}

/* The install sections, as many as there are. Names of sections may have commas, but no line breaks. */
static void write_configurations(struct driver_edit *e, const char *key)
{
    const struct driver_plan *plan = e->plan;
    size_t n = 1;
    for (size_t i = 0; i < plan->n_installs; i++)
        n += strlen(plan->installs[i].section) + 1;
    _cleanup_free_ char *names = malloc(n);
    if (!names) {
        e->err = e->err ? e->err : -ENOMEM;
        return;
    }
    char *end = names;
    *end = 0;
    for (size_t i = 0; i < plan->n_installs; i++) {
        if (i)
            *end++ = '\n';
        end = stpcpy(end, plan->installs[i].section);
    }
    set_lines(e, key, "Configurations", names);
}

static void write_database(struct driver_edit *e, const char *base)
{
    const struct driver_plan *plan = e->plan;
    char key[DRIVER_KEY_MAX];
    if (!driver_key(e, key, "%s\\DriverInfFiles\\%s", base, e->inf))
        return;
    driver_set_list(e, key, "", e->g->store);
    driver_set_text(e, key, "Active", DRIVER_REG_SZ, e->g->store);
    write_configurations(e, key);
    if (driver_key(e, key, "%s\\DeviceIds\\%s", base, plan->class_guid))
        driver_set(e, key, e->inf, DRIVER_REG_NONE, "", 0);
    if (!driver_key(e, key, "%s\\DriverPackages\\%s", base, e->g->store))
        return;
    driver_set_text(e, key, "", DRIVER_REG_SZ, e->inf);
    write_version(e, key);
    driver_set_text(e, key, "Provider", DRIVER_REG_SZ, plan->provider);
    driver_set_text(e, key, "InfName", DRIVER_REG_SZ, inf_name(plan->inf));
    if (plan->catalog)
        driver_set_text(e, key, "Catalog", DRIVER_REG_SZ, plan->catalog);
    driver_set_dword(e, key, "StatusFlags", 0x12); /* imported and configured */
    for (size_t i = 0; i < plan->n_installs && !e->err; i++)
        write_configuration(e, key, &plan->installs[i]);
    for (size_t i = 0; i < plan->n_models && !e->err; i++) {
        each_id(e, &plan->models[i], base, write_device_id);
        each_id(e, &plan->models[i], key, write_descriptor);
    }
    write_oem_map(e, base);
}

void driver_write_registry(struct driver_edit *e)
{
    const char *bases[2];
    size_t n = driver_databases(e, bases);
    for (unsigned i = 0; e->plan->boot_critical && i < e->g->n_sets; i++)
        write_control_set(e, e->g->sets[i]);
    for (size_t i = 0; i < n; i++)
        write_database(e, bases[i]);
}
