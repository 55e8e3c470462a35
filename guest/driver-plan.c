/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From an INF and a guest to what is to be done: [Version], then [Manufacturer], of each of its lines the one
 * models section that fits best, then the install sections that its models name, with their companions.
 *
 *     [Manufacturer] %VENDOR% = VioStor,NTamd64.10.0  ->  [VioStor.NTamd64.10.0]
 *     %desc% = scsi_inst, PCI\VEN_1AF4&DEV_1001       ->  [scsi_inst.NTamd64], [scsi_inst.NT] or [scsi_inst],
 *                                                         and [....Services], [....HW] */
#include "driver-impl.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- what the parts share ---- */

int driver_no_memory(struct planner *p)
{
    return p->over ? -EFBIG : fault_in(p->fault, -ENOMEM, inf_name(p->inf), "out of memory");
}

bool driver_charge(struct planner *p, size_t bytes, size_t steps, unsigned line)
{
    p->line = line ? line : p->line;
    if (!p->over && bytes <= DRIVER_MAX_MEMORY - p->memory && steps <= DRIVER_MAX_STEPS - p->steps) {
        p->memory += bytes;
        p->steps += steps;
        return true;
    }
    fault_in(p->fault, -EFBIG, inf_name(p->inf), "line %u: the INF asks for more than a package would",
             p->line);
    p->over = true;
    return false;
}

void *driver_more_of(struct planner *p, void *array, size_t *n, size_t size, size_t max, unsigned line)
{
    if (*n >= max) {
        fault_in(p->fault, -EFBIG, inf_name(p->inf), "line %u: more than %zu of a kind", line, max);
        p->over = true;
        return NULL;
    }
    if (!driver_charge(p, size, 1, line))
        return NULL;
    if (*n & (*n - 1) && *n)
        return array; /* it grows at powers of two */
    void *grown = realloc(array, (*n ? *n * 2 : 1) * size);
    if (!grown)
        driver_no_memory(p);
    return grown;
}

void *driver_more(struct planner *p, void *array, size_t *n, size_t size, unsigned line)
{
    return driver_more_of(p, array, n, size, DRIVER_MAX_ITEMS, line);
}

void driver_unkeep(struct planner *p, size_t n)
{
    struct driver_plan *plan = p->plan;
    while (plan->n_owned > n) {
        char *text = plan->owned[--plan->n_owned];
        p->memory -= strlen(text) + 1 + sizeof *plan->owned;
        free(text);
    }
}

void *driver_keep(struct planner *p, void *text)
{
    struct driver_plan *plan = p->plan;
    if (!text)
        return NULL;
    if (!driver_charge(p, strlen(text) + 1 + sizeof *plan->owned, 1, 0)) {
        free(text);
        return NULL;
    }
    if (!(plan->n_owned & (plan->n_owned - 1)) || !plan->n_owned) {
        void *grown = realloc(plan->owned, (plan->n_owned ? plan->n_owned * 2 : 1) * sizeof *plan->owned);
        if (!grown) {
            free(text);
            return NULL;
        }
        plan->owned = grown;
    }
    plan->owned[plan->n_owned++] = text;
    return text;
}

char *driver_text(struct planner *p, const char *fmt, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, fmt);
    int r = vasprintf(&text, fmt, args);
    va_end(args);
    return r < 0 ? NULL : driver_keep(p, text);
}

void driver_note(struct planner *p, unsigned line, const char *fmt, ...)
{
    struct driver_plan *plan = p->plan;
    char what[400], whole[800];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    if (plan->n_notes > DRIVER_MAX_NOTES)
        return;
    snprintf(whole, sizeof whole, "%s: line %u: %s", inf_name(p->inf), line, what);
    for (size_t i = 0; i < plan->n_notes; i++)
        if (!strcmp(plan->notes[i], whole))
            return;
    if (plan->n_notes == DRIVER_MAX_NOTES)
        snprintf(whole, sizeof whole, "%s: line %u: more of that kind, from here on, isn't listed",
                 inf_name(p->inf), line);
    char *note = driver_text(p, "%s", whole);
    char **grown = note ? driver_more(p, plan->notes, &plan->n_notes, sizeof *grown, line) : NULL;
    if (!grown)
        return;
    plan->notes = grown;
    plan->notes[plan->n_notes++] = note;
}

bool driver_number(const char *text, uint32_t *ret)
{
    bool minus = *text == '-';
    const char *p = text + (minus || *text == '+');
    int base = p[0] == '0' && (p[1] == 'x' || p[1] == 'X') ? 16 : 10;
    uint64_t n = 0;
    *ret = 0;
    if (!*text)
        return true;
    p += base == 16 ? 2 : 0;
    if (!*p)
        return false;
    for (; *p; p++) {
        int digit = isdigit((unsigned char)*p)                  ? *p - '0'
                    : base == 16 && isxdigit((unsigned char)*p) ? (*p | 32) - 'a' + 10
                                                                : -1;
        if (digit < 0)
            return false;
        n = n * (unsigned)base + (unsigned)digit;
        if (n > UINT32_MAX)
            return false;
    }
    *ret = minus ? (uint32_t)(0 - n) : (uint32_t)n;
    return true;
}

/* ---- [Version] ---- */

static int days_in(int month, int year)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    return days[month - 1] + (month == 2 && (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)));
}

/* 100 ns since 1601 of that day's beginning. */
static uint64_t filetime(int year, int month, int day)
{
    uint64_t days = 0;
    for (int y = 1601; y < year; y++)
        days += 365u + (unsigned)(days_in(2, y) - 28);
    for (int m = 1; m < month; m++)
        days += (unsigned)days_in(m, year);
    return (days + (unsigned)day - 1) * 86400u * 10000000u;
}

/* mm/dd/yyyy[,w[.x[.y[.z]]]] */
static int driver_ver(struct planner *p, const struct inf_line *l)
{
    int month, day, year, used = 0;
    if (!l)
        return 0;
    const char *date = inf_text(l, 0);
    if (sscanf(date, "%2d%*1[/-]%2d%*1[/-]%4d%n", &month, &day, &year, &used) != 3 || date[used] ||
        month < 1 || month > 12 || year < 1601 || day < 1 || day > days_in(month, year))
        return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: the date of DriverVer is none: %.40s",
                        l->line, date);
    p->plan->date = filetime(year, month, day);
    p->plan->version_text = inf_text(l, 1);
    p->plan->version = 0;
    const char *v = p->plan->version_text;
    for (int i = 0; *v; i++) {
        char *end;
        unsigned long part = isdigit((unsigned char)*v) ? strtoul(v, &end, 10) : 65536;
        if (i == 4 || part > 65535 || (*end && *end != '.'))
            return fault_in(p->fault, -EUCLEAN, inf_name(p->inf),
                            "line %u: the version of DriverVer is none: %.40s", l->line,
                            p->plan->version_text);
        p->plan->version |= (uint64_t)part << (48 - 16 * i);
        v = end + (*end == '.');
    }
    return 0;
}

static bool is_guid(const char *text)
{
    static const char form[] = "{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}";
    for (size_t i = 0; form[i]; i++)
        if (form[i] == 'x' ? !isxdigit((unsigned char)text[i]) : text[i] != form[i])
            return false;
    return !text[sizeof form - 1];
}

/* CatalogFile.ntamd64, else .nt, else CatalogFile. */
static void find_catalog(struct planner *p, const struct inf_section *version)
{
    char own[40];
    snprintf(own, sizeof own, "CatalogFile.NT%s", driver_arch_name(p->target->arch));
    const struct inf_line *l = inf_find(p->inf, version, own);
    if (!l)
        l = inf_find(p->inf, version, "CatalogFile.NT");
    if (!l)
        l = inf_find(p->inf, version, "CatalogFile");
    p->plan->catalog = *inf_text(l, 0) ? inf_text(l, 0) : NULL;
    p->plan->catalog_line = l ? l->line : 0;
}

static int read_version(struct planner *p)
{
    static const char extension[] = "{e2f84ce7-8efa-411c-aa69-97454ca4cb57}";
    const struct inf_section *version = inf_section(p->inf, "Version");
    const struct inf_line *guid = inf_find(p->inf, version, "ClassGuid");
    struct driver_plan *plan = p->plan;
    if (!guid || !is_guid(inf_text(guid, 0)))
        return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: [Version] has no valid ClassGuid",
                        guid ? guid->line : version->line);
    plan->class_guid = inf_text(guid, 0);
    plan->class_name = inf_text(inf_find(p->inf, version, "Class"), 0);
    plan->provider = inf_text(inf_find(p->inf, version, "Provider"), 0);
    plan->extension = !strcasecmp(plan->class_guid, extension);
    find_catalog(p, version);
    if (plan->catalog && (strpbrk(plan->catalog, "\\/:") || !strcmp(plan->catalog, "..")))
        return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: no name for a catalog: %.40s",
                        plan->catalog_line, plan->catalog);
    return driver_ver(p, inf_find(p->inf, version, "DriverVer"));
}

/* ---- install sections ---- */

/* X.NTamd64, X.NT or X, the first that there is, with `companion` behind. */
static const struct inf_section *chosen(struct planner *p, const char *base, const char *companion)
{
    char name[600];
    const char *arch = driver_arch_name(p->target->arch);
    snprintf(name, sizeof name, "%s.NT%s%s", base, arch, companion);
    const struct inf_section *s = inf_section(p->inf, name);
    if (!s) {
        snprintf(name, sizeof name, "%s.NT%s", base, companion);
        s = inf_section(p->inf, name);
    }
    if (!s) {
        snprintf(name, sizeof name, "%s%s", base, companion);
        s = inf_section(p->inf, name);
    }
    return s;
}

static const struct inf_section *companion(struct planner *p, const struct driver_install *i,
                                           const char *suffix)
{
    char name[600];
    snprintf(name, sizeof name, "%s%s", i->section, suffix);
    return inf_section(p->inf, name);
}

static int add_files(struct planner *p, const struct inf_section *section, void *ctx)
{
    (void)ctx;
    return driver_add_files(p, section);
}

#define LEFT_TO_WINDOWS "is left to Windows, which does this when it installs the device"

/* Of a device's own sections, what isn't about the device's keys is done by Windows, as after DISM: of a
 * directive that nothing here does, nobody would know else. */
static int add_values(struct planner *p, const struct inf_section *section, void *ctx)
{
    const struct driver_values *values = ctx;
    size_t before = values->n;
    int r = driver_add_values(p, section, ctx);
    for (size_t i = before; i < values->n && !r; i++)
        if (strcmp(values->v[i].root, "HKR") != 0)
            driver_note(p, values->v[i].line, "%s\\%.200s " LEFT_TO_WINDOWS, values->v[i].root,
                        values->v[i].key);
    return r;
}

static void note_directives(struct planner *p, const struct inf_section *section, const char *const *names)
{
    for (; *names; names++)
        for (const struct inf_line *l = inf_find(p->inf, section, *names); l; l = l->alike)
            driver_note(p, l->line, "%s " LEFT_TO_WINDOWS, *names);
}

static int note_left(struct planner *p, const struct inf_section *section, void *ctx)
{
    static const char *const names[] = { "RegisterDlls",    "UnregisterDlls", "UpdateInis",
                                         "UpdateIniFields", "Ini2Reg",        "ProfileItems",
                                         "CopyINF",         "LogConfig",      "AddPowerSetting",
                                         "AddProperty",     "DelProperty",    NULL };
    (void)ctx;
    note_directives(p, section, names);
    return p->over ? -EFBIG : 0;
}

/* Companions of an install section that nothing is done with here. */
static void note_companions(struct planner *p, const struct driver_install *i)
{
    static const char *const suffixes[] = { ".Interfaces", ".WMI",    ".Filters",           ".Components",
                                            ".Software",   ".Events", ".LogConfigOverride", ".FactDef" };
    for (size_t k = 0; k < sizeof suffixes / sizeof suffixes[0]; k++) {
        const struct inf_section *s = companion(p, i, suffixes[k]);
        if (s && s->lines)
            driver_note(p, s->line, "[%.200s] " LEFT_TO_WINDOWS, s->name);
    }
}

static int add_services(struct planner *p, const struct inf_section *section, void *ctx)
{
    static const char *const names[] = { "DelService", NULL };
    note_directives(p, section, names);
    return driver_add_services(p, section, ctx);
}

static int read_install(struct planner *p, const struct inf_section *s, struct driver_install *i)
{
    uint32_t score;
    const struct inf_line *l = inf_find(p->inf, s, "FeatureScore");
    i->feature_score = 0xff;
    if (l && *inf_text(l, 0)) {
        char *end;
        score = (uint32_t)strtoul(inf_text(l, 0), &end, 16); /* two digits, with or without 0x */
        if (*end || score > 0xff)
            return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: a FeatureScore that is none",
                            l->line);
        i->feature_score = score;
    }
    int r = driver_ver(p, inf_find(p->inf, s, "DriverVer"));
    const struct inf_section *co = companion(p, i, ".CoInstallers"), *hw = companion(p, i, ".HW");
    p->install = i;
    if (!r)
        r = driver_each_needed(p, s, true, add_files, NULL);
    if (!r)
        r = driver_each_needed(p, s, false, add_values, &i->software);
    if (!r)
        r = driver_each_needed(p, co, true, add_files, NULL);
    if (!r)
        r = driver_each_needed(p, co, false, add_values, &i->software);
    if (!r)
        r = driver_each_needed(p, hw, false, add_values, &i->hardware);
    if (!r)
        r = driver_each_needed(p, companion(p, i, ".Services"), true, add_services, i);
    if (!r)
        r = driver_each_needed(p, s, true, note_left, NULL);
    if (!r)
        note_companions(p, i);
    p->install = NULL;
    return r;
}

/* The install section of that name, read once; its index. */
static int install_of(struct planner *p, const char *base, unsigned line, size_t *ret)
{
    struct driver_plan *plan = p->plan;
    if (!driver_charge(p, 0, plan->n_installs / 16, line))
        return -EFBIG;
    for (*ret = 0; *ret < plan->n_installs; ++*ret)
        if (!strcasecmp(plan->installs[*ret].base, base))
            return 0;
    const struct inf_section *s = *base ? chosen(p, base, "") : NULL;
    if (!s)
        return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: there is no install section [%s]",
                        line, base);
    void *more = driver_more(p, plan->installs, &plan->n_installs, sizeof *plan->installs, line);
    if (!more)
        return driver_no_memory(p);
    plan->installs = more;
    struct driver_install *i = &plan->installs[plan->n_installs++];
    *i = (struct driver_install){ .base = base, .section = s->name, .line = s->line };
    return read_install(p, s, i);
}

/* ---- models ---- */

static bool is_id(const char *id)
{
    return *id != '\\' && !strstr(id, "\\\\") && (!*id || id[strlen(id) - 1] != '\\');
}

static int add_models(struct planner *p, const struct inf_line *maker, const struct inf_section *section)
{
    struct driver_plan *plan = p->plan;
    for (const struct inf_line *l = section->lines; l; l = l->next) {
        struct driver_model m = {
            .line = l->line,
            .description = l->key.text ? l->key.text : "",
            .description_raw = l->key.raw ? l->key.raw : "",
            .manufacturer = maker->key.text ? maker->key.text : "",
            .manufacturer_raw = maker->key.raw ? maker->key.raw : "",
            .hardware_id = inf_text(l, 1),
            .compatible = l->n > 2 ? l->fields + 2 : NULL,
            .n_compatible = l->n > 2 ? l->n - 2 : 0,
        };
        for (unsigned i = 1; i < l->n; i++)
            if (!is_id(inf_text(l, i)))
                return fault_in(p->fault, -EUCLEAN, inf_name(p->inf), "line %u: no hardware id: %.80s",
                                l->line, inf_text(l, i));
        int r = driver_charge(p, 0, m.n_compatible, l->line) ? 0 : -EFBIG;
        if (!r)
            r = install_of(p, inf_text(l, 0), l->line, &m.install);
        void *more =
            r ? NULL : driver_more_of(p, plan->models, &plan->n_models, sizeof m, DRIVER_MAX_MODELS, l->line);
        if (r || !more)
            return r ? r : driver_no_memory(p);
        plan->models = more;
        plan->models[plan->n_models++] = m;
    }
    return 0;
}

/* The best of the decorations of a manufacturer's line; NULL: none fits. `ret_bad`: one that is none. */
static const char *best_decoration(struct planner *p, const struct inf_line *l, const char **ret_bad,
                                   uint64_t *ret_rank)
{
    const char *best = NULL;
    uint64_t best_rank = 0;
    for (unsigned i = 0; i == 0 || i < l->n; i++) {
        const char *d = i ? inf_text(l, i) : "";
        uint64_t rank;
        int r = driver_decoration(d, p->target, &rank);
        if (r < 0)
            *ret_bad = d;
        if (r > 0 && (!best || rank > best_rank)) {
            best = d;
            best_rank = rank;
        }
    }
    *ret_rank = best_rank;
    return best;
}

static int add_manufacturer(struct planner *p, const struct inf_line *l)
{
    char name[600];
    const char *base = l->n ? inf_text(l, 0) : l->key.text, *bad = NULL;
    uint64_t rank;
    const char *best = best_decoration(p, l, &bad, &rank);
    if (bad && strchr(bad, '$'))
        return fault_in(p->fault, -EUCLEAN, inf_name(p->inf),
                        "line %u: a template of an INF, which a build fills in: %.40s", l->line, bad);
    if (bad)
        driver_note(p, l->line, "a decoration that is none: %.40s", bad);
    if (!best)
        return 0;
    snprintf(name, sizeof name, "%s%s%s", base ? base : "", *best ? "." : "", best);
    const struct inf_section *s = inf_section(p->inf, name);
    if (s && s->lines && rank > p->plan->rank)
        p->plan->rank = rank;
    return s ? add_models(p, l, s) : 0;
}

static int read_models(struct planner *p)
{
    const struct inf_section *makers = inf_section(p->inf, "Manufacturer");
    if (!makers || !makers->lines)
        return fault_in(p->fault, -EUCLEAN, inf_name(p->inf),
                        "no [Manufacturer]: not an INF of a device's driver");
    for (const struct inf_line *l = makers->lines; l; l = l->next) {
        int r = add_manufacturer(p, l);
        if (r)
            return r;
    }
    if (p->plan->n_models)
        return 0;
    const struct driver_target *t = p->target;
    return fault_in(p->fault, -ENOEXEC, inf_name(p->inf),
                    "line %u: no models for this guest: Windows %u.%u.%u %s, product type %u", makers->line,
                    t->major, t->minor, t->build, driver_arch_name(t->arch), t->product);
}

/* A controller that the system may start from, or a driver that is loaded before any other. */
static bool is_boot_critical(const struct driver_plan *plan)
{
    static const char *const classes[] = {
        "{4d36e97b-e325-11ce-bfc1-08002be10318}", /* SCSIAdapter */
        "{4d36e96a-e325-11ce-bfc1-08002be10318}", /* HDC */
    };
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (!strcasecmp(plan->class_guid, classes[i]))
            return true;
    for (size_t i = 0; i < plan->n_services; i++)
        if (plan->services[i].start == 0)
            return true;
    return false;
}

int driver_plan(const struct inf *inf, const struct driver_target *target, const struct driver_includes *from,
                struct driver_plan **ret, struct fault *fault)
{
    struct driver_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return fault_in(fault, -ENOMEM, inf_name(inf), "out of memory");
    struct planner p = {
        .inf = inf, .target = target, .package_target = target, .from = from, .plan = plan, .fault = fault
    };
    plan->inf = inf;
    plan->version_text = "";
    p.file_slots = calloc(DRIVER_FILE_SLOTS, sizeof *p.file_slots);
    int r = p.file_slots ? read_version(&p) : driver_no_memory(&p);
    if (!r)
        r = read_models(&p);
    free(p.file_slots);
    if (p.over)
        r = -EFBIG;
    if (r) {
        driver_plan_free(plan);
        return r;
    }
    plan->boot_critical = is_boot_critical(plan);
    *ret = plan;
    return 0;
}

static void values_free(struct driver_values *v)
{
    for (size_t i = 0; i < v->n; i++)
        free(v->v[i].bytes);
    free(v->v);
}

void driver_plan_free(struct driver_plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->n_installs; i++) {
        values_free(&plan->installs[i].software);
        values_free(&plan->installs[i].hardware);
    }
    for (size_t i = 0; i < plan->n_services; i++) {
        values_free(&plan->services[i].values);
        values_free(&plan->services[i].log_values);
    }
    for (size_t i = 0; i < plan->n_owned; i++)
        free(plan->owned[i]);
    for (size_t i = 0; i < plan->n_included; i++) {
        inf_free(plan->included[i].inf);
        free(plan->included[i].store);
    }
    free(plan->included);
    free(plan->models);
    free(plan->installs);
    free(plan->files);
    free(plan->old_files);
    free(plan->services);
    free(plan->notes);
    free(plan->owned);
    free(plan);
}
