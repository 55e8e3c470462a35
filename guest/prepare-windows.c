/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a Windows guest needs to boot on another hypervisor, as edits of its registry.
 *
 * A boot driver starts if its service's Start is 0, its file is there, and no StartOverride vetoes it: since
 * Windows 8, PnP writes one for a driver whose hardware was absent, for the machine's SMBIOS UUID, which a
 * migration often keeps. All is done in every control set, since the last known good one may be booted.
 *
 * Source: Microsoft's "Prepare a Windows VHD" and the published steps of Azure Migrate; the layout of
 * StartOverride was seen in hives of 8.1, 10 1709 and 10 1903. */
#include "prepare-windows.h"

#include "../formats/bytes.h"
#include "../formats/cleanup.h"
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- reading ---- */

void windows_key(const struct windows *w, size_t set, char ret[WINDOWS_KEY], const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(ret, WINDOWS_KEY, "HKLM\\SYSTEM\\%s\\", w->sets[set]);
    va_start(ap, fmt);
    vsnprintf(ret + n, WINDOWS_KEY - (size_t)n, fmt, ap);
    va_end(ap);
}

static int any(void *ctx, const char *name, uint32_t type)
{
    (void)ctx;
    (void)name;
    (void)type;
    return 1;
}

bool windows_has_key(const struct windows *w, const char *key)
{
    return w->p->ops->subkeys(w->p, key, any, NULL) >= 0;
}

bool windows_has_value(const struct windows *w, const char *key, const char *name)
{
    uint32_t type;
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    return w->p->ops->value(w->p, key, name, &type, &bytes, &n) == 0;
}

bool windows_dword(const struct windows *w, const char *key, const char *name, uint32_t *ret)
{
    uint32_t type;
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    struct bad bad = { 0 };
    if (w->p->ops->value(w->p, key, name, &type, &bytes, &n) < 0 || type != PREPARE_DWORD || n != 4)
        return false;
    *ret = le32(bytes_of(bytes, n, 0, &bad), 0);
    return true;
}

bool windows_strings(const struct windows *w, const char *key, const char *name, struct windows_strings *ret)
{
    _cleanup_free_ uint8_t *bytes = NULL;
    size_t n;
    struct bad bad = { 0 };
    ret->n = 0;
    if (w->p->ops->value(w->p, key, name, &ret->type, &bytes, &n) < 0)
        return false;
    bool many = ret->type == PREPARE_MULTI_SZ;
    if (!many && ret->type != PREPARE_SZ && ret->type != PREPARE_EXPAND_SZ)
        return false;
    struct bytes b = bytes_of(bytes, n, 0, &bad);
    for (size_t i = 0; i < n / 2 && ret->n < WINDOWS_STRINGS; i++) {
        uint16_t units[WINDOWS_STRING];
        size_t len = 0;
        for (; i < n / 2 && le16(b, 2 * i); i++)
            if (len < WINDOWS_STRING)
                units[len++] = le16(b, 2 * i);
        if (many && !len)
            break;
        text_from_utf16(units, len, ret->s[ret->n++], WINDOWS_STRING);
        if (!many)
            break;
    }
    return true;
}

/* ---- saying ---- */

int windows_set_dword(const struct windows *w, const char *key, const char *name, uint32_t v,
                      const char *reason)
{
    uint8_t bytes[4];
    put_le32(bytes, v);
    return w->p->ops->set(w->p, key, name, PREPARE_DWORD, bytes, sizeof bytes, reason);
}

int windows_set_strings(const struct windows *w, const char *key, const char *name,
                        const struct windows_strings *s, const char *reason)
{
    if (!s->n)
        return w->p->ops->unset(w->p, key, name, reason);
    _cleanup_free_ uint8_t *bytes = malloc((s->n + 1) * (WINDOWS_STRING + 1) * 2);
    if (!bytes)
        return -ENOMEM;
    size_t at = 0;
    for (size_t i = 0; i < s->n; i++) {
        uint16_t units[WINDOWS_STRING];
        int n = text_to_utf16(s->s[i], units, WINDOWS_STRING);
        for (int k = 0; k < n; k++, at += 2)
            put_le16(bytes + at, units[k]);
        put_le16(bytes + at, 0);
        at += 2;
    }
    if (s->type == PREPARE_MULTI_SZ) {
        put_le16(bytes + at, 0);
        at += 2;
    }
    return w->p->ops->set(w->p, key, name, s->type, bytes, at, reason);
}

int windows_set_text(const struct windows *w, const char *key, const char *name, const char *text,
                     const char *reason)
{
    struct windows_strings s = { .type = PREPARE_SZ, .n = 1 };
    snprintf(s.s[0], sizeof s.s[0], "%s", text);
    return windows_set_strings(w, key, name, &s, reason);
}

/* ---- services ---- */

/* "\SystemRoot\system32\x.sys", "%SystemRoot%\...", "system32\x.sys", "\??\C:\x.sys" as a path of the guest.
 */
static void driver_path(const struct windows *w, const char *image, char *ret, size_t size)
{
    static const char *const roots[] = { "\\SystemRoot\\", "%SystemRoot%\\", "SystemRoot\\" };
    if (!strncmp(image, "\\??\\", 4))
        image += 4;
    if (isalpha((unsigned char)image[0]) && image[1] == ':') {
        snprintf(ret, size, "%c%s", image[0], image + 2);
    } else {
        for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++)
            if (!strncasecmp(image, roots[i], strlen(roots[i]))) {
                image += strlen(roots[i]);
                break;
            }
        snprintf(ret, size, "%s/%s", w->root, image);
    }
    for (char *c = ret; *c; c++)
        if (*c == '\\')
            *c = '/';
}

bool windows_driver_file(const struct windows *w, const char *key, const char *service)
{
    char path[1024];
    struct prepare_stat st;
    struct windows_strings *image = malloc(sizeof *image);
    bool named = image && windows_strings(w, key, "ImagePath", image) && image->n && image->s[0][0];
    if (named)
        driver_path(w, image->s[0], path, sizeof path);
    else
        snprintf(path, sizeof path, "%s/System32/drivers/%s.sys", w->root, service);
    free(image);
    return w->p->ops->stat(w->p, path, &st) == 0 && S_ISREG(st.mode);
}

struct boot_driver {
    const char *service;
    enum { NEEDED = 1, MINOR = 0 } needed; /* without it the guest doesn't boot there */
    const char *reason;
};

static const struct boot_driver hyperv_drivers[] = {
    { "vmbus", NEEDED, "Hyper-V's bus is there at boot" },
    { "storvsc", NEEDED, "Hyper-V's disk controller is there at boot" },
    { "storflt", MINOR, "Hyper-V's disk filter is there at boot" },
    { "intelide", MINOR, "the IDE controller of Generation 1 is there at boot" },
    { "pciide", MINOR, "the IDE controller of Generation 1 is there at boot" },
    { "atapi", MINOR, "IDE disks of Generation 1 are there at boot" },
};

/* Beside virtio: SATA and IDE, the way back in. */
static const struct boot_driver kvm_drivers[] = {
    { "vioscsi", MINOR, "virtio-scsi is there at boot" }, { "viostor", MINOR, "virtio-blk is there at boot" },
    { "storahci", MINOR, "a SATA disk boots, too" },      { "msahci", MINOR, "a SATA disk boots, too" },
    { "intelide", MINOR, "an IDE disk boots, too" },      { "pciide", MINOR, "an IDE disk boots, too" },
    { "atapi", MINOR, "an IDE disk boots, too" },
};

/* True: there is such a driver, and it will start at boot. */
static int boot_start(const struct windows *w, size_t set, const struct boot_driver *d, bool *ret)
{
    char key[WINDOWS_KEY], override[WINDOWS_KEY];
    uint32_t start;
    windows_key(w, set, key, "Services\\%s", d->service);
    windows_key(w, set, override, "Services\\%s\\StartOverride", d->service);
    *ret = windows_dword(w, key, "Start", &start) && windows_driver_file(w, key, d->service);
    if (!*ret)
        return 0;
    int r = windows_set_dword(w, key, "Start", 0, d->reason);
    return r < 0
               ? r
               : w->p->ops->unkey(w->p, override, "Windows had vetoed the driver, its hardware being absent");
}

static int boot_drivers(const struct windows *w, size_t set, const struct boot_driver *list, size_t n)
{
    char why[256];
    for (size_t i = 0; i < n; i++) {
        bool there;
        int r = boot_start(w, set, &list[i], &there);
        if (r < 0)
            return r;
        if (there || !list[i].needed || set) /* an old control set may be older than the driver */
            continue;
        snprintf(why, sizeof why, "this Windows has no driver %s, which it needs to boot on Hyper-V",
                 list[i].service);
        return w->p->ops->block(w->p, why,
                                w->major && w->major < 6
                                    ? "install the Hyper-V integration services in the guest"
                                    : "repair the guest with sfc /scannow and copy it again");
    }
    return 0;
}

/* ---- Windows 7 and earlier find the driver of a boot device by a list of ids ---- */

static int critical_device(const struct windows *w, size_t set, const char *id, const char *service,
                           const char *class)
{
    static const char reason[] = "Windows finds the driver of the boot device by this id";
    char key[WINDOWS_KEY], database[WINDOWS_KEY];
    windows_key(w, set, key, "Control\\CriticalDeviceDatabase\\%s", id);
    windows_key(w, set, database, "Control\\CriticalDeviceDatabase");
    if (windows_has_key(w, "HKLM\\SYSTEM\\DriverDatabase") || !windows_has_key(w, database))
        return 0;
    int r = windows_set_text(w, key, "Service", service, reason);
    return r < 0 ? r : windows_set_text(w, key, "ClassGUID", class, reason);
}

static int hyperv_ids(const struct windows *w, size_t set)
{
    int r = critical_device(w, set, "ACPI#VMBus", "vmbus", "{4D36E97D-E325-11CE-BFC1-08002BE10318}");
    if (!r)
        r = critical_device(w, set, "VMBUS#{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}", "storvsc",
                            "{4D36E97B-E325-11CE-BFC1-08002BE10318}");
    return r;
}

/* ---- the rest of a control set ---- */

static int san_policy(const struct windows *w, size_t set)
{
    char key[WINDOWS_KEY];
    windows_key(w, set, key, "Services\\partmgr");
    if (!windows_has_key(w, key))
        return 0;
    windows_key(w, set, key, "Services\\partmgr\\Parameters");
    return windows_set_dword(w, key, "SanPolicy", 1,
                             "data disks on the new controller come online by themselves");
}

/* A fast start-up leaves a hibernated kernel on the disk. Absent means on, since Windows 8. */
static int fast_startup(const struct windows *w, size_t set)
{
    char key[WINDOWS_KEY];
    uint32_t on;
    windows_key(w, set, key, "Control\\Session Manager\\Power");
    bool there = windows_dword(w, key, "HiberbootEnabled", &on);
    bool since_8 = w->major > 6 || (w->major == 6 && w->minor >= 2);
    if (there ? !on : !since_8)
        return 0;
    return windows_set_dword(w, key, "HiberbootEnabled", 0,
                             "a shutdown is a whole one: no kernel of other hardware is resumed");
}

struct setting {
    const char *key, *name;
    uint32_t v;
    const char *reason;
};

static int put_settings(const struct windows *w, size_t set, const struct setting *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char key[WINDOWS_KEY];
        windows_key(w, set, key, "%s", list[i].key);
        int r =
            windows_has_key(w, key) ? windows_set_dword(w, key, list[i].name, list[i].v, list[i].reason) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

#define RDP_TCP "Control\\Terminal Server\\WinStations\\RDP-Tcp"
static const struct setting azure_settings[] = {
    { "Services\\Dhcp", "Start", 2, "the network is configured by DHCP" },
    { "Services\\TermService", "Start", 3, "Remote Desktop can start" },
    { "Services\\w32time", "Start", 2, "the clock is kept" },
    { "Control\\Terminal Server", "fDenyTSConnections", 0, "Remote Desktop is let in" },
    { RDP_TCP, "PortNumber", 3389, "Remote Desktop listens where it is looked for" },
    { RDP_TCP, "LanAdapter", 0, "Remote Desktop listens on every adapter" },
    { RDP_TCP, "UserAuthentication", 1, "Remote Desktop asks who comes before it opens a session" },
    { RDP_TCP, "KeepAliveTimeout", 1, "dead sessions are noticed" },
    { RDP_TCP, "fInheritReconnectSame", 1, "sessions can be taken up again" },
    { RDP_TCP, "fReconnectSame", 0, "sessions can be taken up again" },
    { RDP_TCP, "MaxInstanceCount", 0xffffffff, "sessions aren't limited" },
    { "Control\\CrashControl", "NMICrashDump", 1, "a dump can be asked for from outside" },
};

static int azure_set(const struct windows *w, size_t set)
{
    char key[WINDOWS_KEY];
    int r = put_settings(w, set, azure_settings, sizeof azure_settings / sizeof azure_settings[0]);
    windows_key(w, set, key, RDP_TCP);
    if (!r)
        r = w->p->ops->unset(w->p, key, "SSLCertificateSHA1Hash", "the certificate is of the old machine");
    windows_key(w, set, key, "Services\\sacsvr");
    if (!r && windows_has_key(w, key))
        r = windows_set_dword(w, key, "Start", 2, "the serial console has its administration channel");
    return r;
}

/* ---- the boot configuration: the serial console ---- */

#define BCD_OBJECTS "BCD\\Objects\\"
#define BOOTMGR     BCD_OBJECTS "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
#define EMSSETTINGS BCD_OBJECTS "{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}"

static int element(const struct windows *w, const char *object, const char *id, uint64_t v, size_t n,
                   const char *reason)
{
    char key[WINDOWS_KEY];
    uint8_t bytes[8];
    put_le64(bytes, v);
    snprintf(key, sizeof key, "%s\\Elements\\%s", object, id);
    return windows_has_key(w, object) ? w->p->ops->set(w->p, key, "Element", PREPARE_BINARY, bytes, n, reason)
                                      : 0;
}

/* The entry that is booted by default. -ENOENT. */
static int default_loader(const struct windows *w, char ret[WINDOWS_KEY])
{
    struct windows_strings *def = calloc(1, sizeof *def);
    if (!def)
        return -ENOMEM;
    bool found = windows_strings(w, BOOTMGR "\\Elements\\23000003", "Element", def) && def->n;
    snprintf(ret, WINDOWS_KEY, BCD_OBJECTS "%.60s", found ? def->s[0] : "");
    free(def);
    return found ? 0 : -ENOENT;
}

/* In text mode, which a firmware of EFI needn't have, Windows stays at a black screen. */
static int graphics_on(const struct windows *w)
{
    char loader[WINDOWS_KEY], key[WINDOWS_KEY];
    int r = default_loader(w, loader);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    snprintf(key, sizeof key, "%.100s\\Elements\\16000046", loader);
    return w->p->ops->unkey(w->p, key, "graphicsmodedisabled: the VM's firmware may have no text mode");
}

static int serial_console(const struct windows *w)
{
    static const char reason[] = "the serial console shows the boot, and takes commands";
    char loader[WINDOWS_KEY];
    int r = default_loader(w, loader);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = element(w, BOOTMGR, "16000020", 1, 1, reason);
    if (!r)
        r = element(w, BOOTMGR, "26000020", 1, 1, reason);
    if (!r)
        r = element(w, BOOTMGR, "25000004", 5, 8, reason);
    if (!r)
        r = element(w, loader, "260000b0", 1, 1, reason);
    if (!r)
        r = element(w, EMSSETTINGS, "15000022", 1, 8, reason);
    return r < 0 ? r : element(w, EMSSETTINGS, "15000023", 115200, 8, reason);
}

/* ---- Azure's rules that aren't in a control set ---- */

static int azure(const struct windows *w)
{
    static const char policies[] = "HKLM\\SOFTWARE\\Policies\\Microsoft\\Windows NT\\Terminal Services";
    uint32_t deny;
    int r = 0;
    if (windows_dword(w, policies, "fDenyTSConnections", &deny))
        r = windows_set_dword(w, policies, "fDenyTSConnections", 0, "a policy had shut Remote Desktop out");
    return r < 0 ? r : serial_console(w);
}

/* ---- notes ---- */

static int time_note(const struct windows *w)
{
    char key[WINDOWS_KEY], text[512];
    uint32_t universal = 0;
    struct windows_strings *zone = calloc(1, sizeof *zone);
    if (!zone)
        return -ENOMEM;
    windows_key(w, 0, key, "Control\\TimeZoneInformation");
    windows_dword(w, key, "RealTimeIsUniversal", &universal);
    bool known = windows_strings(w, key, "TimeZoneKeyName", zone) && zone->n && zone->s[0][0];
    snprintf(text, sizeof text, "the guest takes the machine's clock for %s%s%s",
             universal ? "UTC" : "local time", known && !universal ? " of " : "",
             known && !universal ? zone->s[0] : "");
    if (prepare_is_hyperv(w->p))
        strcat(text, universal
                         ? ", but Hyper-V gives it its host's local time until the time service corrects it"
                         : "");
    else
        strcat(text, universal ? ": give it <clock offset='utc'>" : ": give it <clock offset='localtime'>");
    free(zone);
    return w->p->ops->note(w->p, text);
}

static int pending_note(const struct windows *w)
{
    char path[1024];
    struct prepare_stat st;
    snprintf(path, sizeof path, "%s/WinSxS/pending.xml", w->root);
    if (w->p->ops->stat(w->p, path, &st) < 0)
        return 0;
    return w->p->ops->note(w->p, "updates wait for a restart: they are installed at the first boot");
}

/* ---- the guest ---- */

static int note_set(void *ctx, const char *name, uint32_t type)
{
    struct windows *w = ctx;
    (void)type;
    bool is_set =
        strlen(name) == 13 && !strncasecmp(name, "ControlSet", 10) && strspn(name + 10, "0123456789") == 3;
    if (is_set && w->n_sets < WINDOWS_SETS)
        strcpy(w->sets[w->n_sets++], name);
    return 0;
}

static int find_sets(struct windows *w)
{
    uint32_t number;
    char name[32];
    int r = w->p->ops->subkeys(w->p, "HKLM\\SYSTEM", note_set, w);
    if (r < 0 && r != -ENOENT)
        return r;
    if (!windows_dword(w, "HKLM\\SYSTEM\\Select", "Default", &number) || number > 999)
        return 0;
    snprintf(name, sizeof name, "ControlSet%03u", number);
    for (size_t i = 1; i < w->n_sets; i++)
        if (!strcasecmp(w->sets[i], name)) {
            char first[16];
            memcpy(first, w->sets[0], sizeof first);
            memcpy(w->sets[0], w->sets[i], sizeof first);
            memcpy(w->sets[i], first, sizeof first);
        }
    return 0;
}

static void find_version(struct windows *w)
{
    static const char key[] = "HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion";
    uint32_t v;
    struct windows_strings *s = calloc(1, sizeof *s);
    if (windows_dword(w, key, "CurrentMajorVersionNumber", &v)) {
        w->major = v;
        w->minor = windows_dword(w, key, "CurrentMinorVersionNumber", &v) ? v : 0;
    } else if (s && windows_strings(w, key, "CurrentVersion", s) && s->n) {
        if (sscanf(s->s[0], "%3u.%3u", &w->major, &w->minor) != 2)
            w->major = w->minor = 0;
    }
    if (s && windows_strings(w, key, "CurrentBuildNumber", s) && s->n)
        sscanf(s->s[0], "%9u", &w->build);
    free(s);
}

/* Without a driver for a virtio disk there is only a plan that doesn't boot. */
static int need_virtio(const struct windows *w)
{
    static const char *const drivers[] = { "vioscsi", "viostor" };
    for (size_t i = 0; i < 2; i++) {
        char key[WINDOWS_KEY];
        uint32_t start;
        windows_key(w, 0, key, "Services\\%s", drivers[i]);
        if (windows_dword(w, key, "Start", &start) && windows_driver_file(w, key, drivers[i]))
            return 0;
    }
    return w->p->ops->block(
        w->p, "this Windows has no virtio driver for its boot disk",
        "install viostor or vioscsi through drivers/, or mount with -o drivers= and a virtio-win ISO");
}

static int plan_set(const struct windows *w, size_t set)
{
    int r;
    if (prepare_is_hyperv(w->p)) {
        r = boot_drivers(w, set, hyperv_drivers, sizeof hyperv_drivers / sizeof hyperv_drivers[0]);
        if (!r)
            r = hyperv_ids(w, set);
    } else {
        r = boot_drivers(w, set, kvm_drivers, sizeof kvm_drivers / sizeof kvm_drivers[0]);
    }
    if (!r)
        r = san_policy(w, set);
    if (!r)
        r = windows_tools_off(w, set);
    if (!r)
        r = fast_startup(w, set);
    return r < 0 || w->p->target != PREPARE_AZURE_LOCAL ? r : azure_set(w, set);
}

int plan_windows(struct prepare *p, const char *root)
{
    struct windows w = { .p = p, .root = root };
    int r = find_sets(&w);
    if (r < 0)
        return r;
    if (!w.n_sets)
        return p->ops->block(p, "its SYSTEM registry has no control set", "repair the guest first");
    find_version(&w);
    r = prepare_is_hyperv(p) ? 0 : need_virtio(&w);
    for (size_t i = 0; !r && i < w.n_sets; i++)
        r = plan_set(&w, i);
    if (!r)
        r = windows_tools_off_all(&w);
    if (!r && p->target == PREPARE_AZURE_LOCAL)
        r = azure(&w);
    if (!r && p->esp)
        r = windows_plan_efi(&w);
    if (!r && p->esp && !prepare_is_hyperv(p))
        r = graphics_on(&w);
    if (!r)
        r = windows_network(&w);
    if (!r)
        r = time_note(&w);
    return r < 0 ? r : pending_note(&w);
}
