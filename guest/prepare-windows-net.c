/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Static addresses. A new network adapter is a new interface to Windows, with a GUID that it makes up when it
 * first sees it, so the old settings stay with an adapter that is gone. What they were is read here, and a
 * script that finds the new adapter by its MAC sets them at the first start, as a service that removes
 * itself: nothing of the old settings is changed.
 *
 * Which MAC an old interface had is not in the registry: it is taken from the adapter's instance where its
 * driver puts it there, from an address that was set by hand, or is plain where machine and Windows have just
 * one adapter each. Where it isn't known nothing is guessed: a note says what to set. */
#include "prepare-windows.h"

#include "../formats/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ADAPTERS = 32, ADDRESSES = 16, MAC_TEXT = 18, SCRIPT_MAX = 32768 };

struct adapter {
    char guid[64], device[WINDOWS_STRING];
    char mac[MAC_TEXT]; /* "00-0C-29-AA-BB-CC"; "": unknown */
    bool is_static;
    struct windows_strings ip, mask, gateway, dns;
};

struct adapters {
    const struct windows *w;
    size_t n;
    struct adapter list[ADAPTERS];
    struct windows_strings s; /* for a moment */
};

/* Only what can stand in a script as it is. */
static bool is_ipv4(const char *s)
{
    unsigned part[4];
    char end;
    if (strspn(s, "0123456789.") != strlen(s) || strlen(s) > 15)
        return false;
    if (sscanf(s, "%3u.%3u.%3u.%3u%c", &part[0], &part[1], &part[2], &part[3], &end) != 4)
        return false;
    return part[0] < 256 && part[1] < 256 && part[2] < 256 && part[3] < 256;
}

static bool is_set(const char *s)
{
    return is_ipv4(s) && strcmp(s, "0.0.0.0");
}

/* Any 12 hexadecimal digits, with what stands between, as Windows writes a MAC. */
static bool mac_of(const char *text, char ret[MAC_TEXT])
{
    size_t n = 0;
    for (; *text; text++) {
        if (!isxdigit((unsigned char)*text)) {
            if (!strchr(":-.", *text))
                return false;
            continue;
        }
        if (n == 12)
            return false;
        ret[n / 2 * 3 + n % 2] = (char)toupper((unsigned char)*text);
        ret[n / 2 * 3 + 2] = '-';
        n++;
    }
    ret[MAC_TEXT - 1] = 0;
    return n == 12;
}

/* ---- reading ---- */

/* The first 12 digits of an instance such as "000C29FFFFAABBCC00" where they, with "FFFF" or "FFFE" in their
 * midst, are one of the machine's MACs. */
static bool mac_of_instance(const struct prepare *p, const char *device, char ret[MAC_TEXT])
{
    const char *instance = strrchr(device, '\\');
    size_t n = instance ? strspn(instance + 1, "0123456789abcdefABCDEF") : 0;
    if (n < 16)
        return false;
    char digits[13];
    snprintf(digits, sizeof digits, "%.6s%.6s", instance + 1, instance + 11);
    if (strncasecmp(instance + 7, "FFFF", 4) && strncasecmp(instance + 7, "FFFE", 4))
        return false;
    for (size_t i = 0; i < p->n_macs; i++) {
        char one[MAC_TEXT];
        if (mac_of(digits, ret) && mac_of(p->macs[i], one) && !strcmp(one, ret))
            return true;
    }
    return false;
}

/* A subkey of the class of network adapters. */
static int note_adapter(void *ctx, const char *name, uint32_t type)
{
    struct adapters *a = ctx;
    char key[WINDOWS_KEY];
    (void)type;
    windows_key(a->w, 0, key, "Control\\Class\\{4d36e972-e325-11ce-bfc1-08002be10318}\\%s", name);
    if (strspn(name, "0123456789") != strlen(name) || a->n >= ADAPTERS ||
        !windows_strings(a->w, key, "DeviceInstanceID", &a->s) || !a->s.n)
        return 0;
    struct adapter *one = &a->list[a->n];
    *one = (struct adapter){ 0 };
    snprintf(one->device, sizeof one->device, "%s", a->s.s[0]);
    if (strncasecmp(one->device, "PCI\\", 4) && strncasecmp(one->device, "XEN", 3) &&
        strncasecmp(one->device, "VMBUS\\", 6))
        return 0; /* of tunnels and the like */
    if (!windows_strings(a->w, key, "NetCfgInstanceId", &a->s) || !a->s.n)
        return 0;
    snprintf(one->guid, sizeof one->guid, "%.63s", a->s.s[0]);
    if (windows_strings(a->w, key, "NetworkAddress", &a->s) && a->s.n && mac_of(a->s.s[0], one->mac))
        ;
    else if (!mac_of_instance(a->w->p, one->device, one->mac))
        one->mac[0] = 0;
    a->n++;
    return 0;
}

/* One text with commas or blanks between addresses, as NameServer has them. */
static void split_dns(struct windows_strings *s)
{
    char text[WINDOWS_STRING], *save = NULL;
    snprintf(text, sizeof text, "%s", s->n ? s->s[0] : "");
    s->n = 0;
    for (char *at = strtok_r(text, ", ", &save); at && s->n < ADDRESSES; at = strtok_r(NULL, ", ", &save))
        snprintf(s->s[s->n++], sizeof s->s[0], "%s", at);
}

static void read_settings(const struct windows *w, struct adapter *a)
{
    char key[WINDOWS_KEY];
    uint32_t dhcp = 1;
    windows_key(w, 0, key, "Services\\Tcpip\\Parameters\\Interfaces\\%s", a->guid);
    if (!windows_dword(w, key, "EnableDHCP", &dhcp) || dhcp)
        return;
    windows_strings(w, key, "IPAddress", &a->ip);
    windows_strings(w, key, "SubnetMask", &a->mask);
    windows_strings(w, key, "DefaultGateway", &a->gateway);
    if (windows_strings(w, key, "NameServer", &a->dns))
        split_dns(&a->dns);
    a->is_static = a->ip.n && a->ip.n == a->mask.n && is_set(a->ip.s[0]);
}

/* ---- the script ---- */

struct script {
    char *text; /* owned */
    size_t n;
    unsigned adapters;
};

static void say(struct script *s, const char *line)
{
    int n = snprintf(s->text + s->n, SCRIPT_MAX - s->n, "%s\r\n", line);
    s->n = n < 0 || (size_t)n >= SCRIPT_MAX - s->n ? SCRIPT_MAX - 1 : s->n + (size_t)n;
}

static void say_adapter(struct script *s, const struct adapter *a)
{
    char line[256];
    snprintf(line, sizeof line, "Set-Adapter '%s' {", a->mac);
    say(s, line);
    for (size_t i = 0; i < a->ip.n; i++) {
        const char *gateway = !i && a->gateway.n && is_set(a->gateway.s[0]) ? a->gateway.s[0] : "";
        if (!is_set(a->ip.s[i]) || !is_ipv4(a->mask.s[i]))
            continue;
        if (!i)
            snprintf(line, sizeof line, "  netsh interface ipv4 set address $name static %s %s %s",
                     a->ip.s[i], a->mask.s[i], gateway);
        else
            snprintf(line, sizeof line, "  netsh interface ipv4 add address $name %s %s", a->ip.s[i],
                     a->mask.s[i]);
        say(s, line);
    }
    for (size_t i = 0; i < a->dns.n; i++)
        if (is_set(a->dns.s[i])) {
            snprintf(line, sizeof line, "  netsh interface ipv4 %s dnsservers $name %s%s", i ? "add" : "set",
                     i ? "" : "static ", a->dns.s[i]);
            say(s, line);
        }
    say(s, "}");
    s->adapters++;
}

static void say_head(struct script *s)
{
    static const char *const lines[] = {
        "# Sets the static addresses that this machine had before it was moved, on the adapters that have "
        "its MACs.",
        "# Runs once, as the service ferryfs-network, which it removes when all are set.",
        "$left = 0",
        "function Set-Adapter($mac, $set) {",
        "  for ($i = 0; $i -lt 60; $i++) {",
        "    $adapter = Get-WmiObject Win32_NetworkAdapter | Where-Object { $_.NetConnectionID -and "
        "$_.MACAddress -eq "
        "$mac.Replace('-', ':') } | Select-Object -First 1",
        "    if ($adapter) { $name = $adapter.NetConnectionID; . $set; return }",
        "    Start-Sleep -Seconds 5",
        "  }",
        "  $script:left++",
        "}",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        say(s, lines[i]);
}

#define SERVICE "ferryfs-network"

static int plan_script(const struct windows *w, const struct script *s)
{
    static const char reason[] =
        "sets the static addresses on the new adapters, found by MAC, at the first start";
    char path[1024], command[WINDOWS_STRING];
    snprintf(path, sizeof path, "%s/" SERVICE ".ps1", w->root);
    int r = w->p->ops->file(w->p, path, s->text, s->n, 0755, reason);
    /* The service manager waits for a service to answer, which cmd doesn't; the child that it starts lives
     * on. */
    snprintf(command, sizeof command,
             "%%SystemRoot%%\\System32\\cmd.exe /c start \"\" /b powershell.exe -NoProfile -ExecutionPolicy "
             "ByPass -File "
             "%%SystemRoot%%\\" SERVICE ".ps1");
    for (size_t set = 0; !r && set < w->n_sets; set++) {
        char key[WINDOWS_KEY];
        struct windows_strings *image = calloc(1, sizeof *image);
        if (!image)
            return -ENOMEM;
        image->type = PREPARE_EXPAND_SZ;
        image->n = 1;
        snprintf(image->s[0], sizeof image->s[0], "%s", command);
        windows_key(w, set, key, "Services\\" SERVICE);
        r = windows_set_strings(w, key, "ImagePath", image, reason);
        free(image);
        if (!r)
            r = windows_set_dword(w, key, "Type", 0x10, reason);
        if (!r)
            r = windows_set_dword(w, key, "Start", 2, reason);
        if (!r)
            r = windows_set_dword(w, key, "ErrorControl", 0, reason);
        if (!r)
            r = windows_set_text(w, key, "ObjectName", "LocalSystem", reason);
    }
    return r;
}

static int unknown_note(const struct windows *w, const struct adapter *a)
{
    char text[1024];
    snprintf(text, sizeof text,
             "the static address %s/%s%s%s is to be set by hand: which of the machine's adapters has it "
             "isn't known",
             a->ip.s[0], is_ipv4(a->mask.s[0]) ? a->mask.s[0] : "?",
             a->gateway.n && is_set(a->gateway.s[0]) ? ", gateway " : "",
             a->gateway.n && is_set(a->gateway.s[0]) ? a->gateway.s[0] : "");
    return w->p->ops->note(w->p, text);
}

static int plan_adapters(struct adapters *all, struct script *s)
{
    const struct prepare *p = all->w->p;
    int r = 0;
    say_head(s);
    for (size_t i = 0; !r && i < all->n; i++) {
        struct adapter *a = &all->list[i];
        read_settings(all->w, a);
        if (!a->is_static)
            continue;
        if (!a->mac[0] && (all->n != 1 || p->n_macs != 1 || !mac_of(p->macs[0], a->mac)))
            a->mac[0] = 0;
        if (a->mac[0])
            say_adapter(s, a);
        else
            r = unknown_note(all->w, a);
    }
    say(s,
        "if (!$left) { sc.exe delete " SERVICE "; Remove-Item -LiteralPath $MyInvocation.MyCommand.Path }");
    if (!r && s->n == SCRIPT_MAX - 1)
        return -EFBIG;
    return r < 0 || !s->adapters ? r : plan_script(all->w, s);
}

int windows_network(const struct windows *w)
{
    char key[WINDOWS_KEY];
    struct adapters *all = calloc(1, sizeof *all);
    struct script s = { .text = calloc(1, SCRIPT_MAX) };
    int r = all && s.text ? 0 : -ENOMEM;
    windows_key(w, 0, key, "Control\\Class\\{4d36e972-e325-11ce-bfc1-08002be10318}");
    if (!r) {
        all->w = w;
        r = w->p->ops->subkeys(w->p, key, note_adapter, all);
        r = r == -ENOENT ? 0 : r;
    }
    if (!r)
        r = plan_adapters(all, &s);
    free(s.text);
    free(all);
    return r;
}
