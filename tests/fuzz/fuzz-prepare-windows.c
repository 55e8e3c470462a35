/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The planner for Windows over values of any bytes: there is a plan, and a guest that it was applied to needs
 * nothing more. */
#include "../unit/changes-world.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SET "HKLM\\SYSTEM\\ControlSet001\\"
#define NET SET "Control\\Class\\{4d36e972-e325-11ce-bfc1-08002be10318}\\0001"
#define TCP SET "Services\\Tcpip\\Parameters\\Interfaces\\{g}"

#define ESP "../volumes/disk0p1"

static const char *const values[] = {
    SET "Services\\storvsc|ImagePath",
    SET "Services\\agent|ImagePath",
    SET "Control\\Class\\{x}|UpperFilters",
    SET "Control\\Class\\{x}|LowerFilters",
    SET "Control\\NetworkProvider\\Order|ProviderOrder",
    SET "Control\\TimeZoneInformation|TimeZoneKeyName",
    SET "Control\\Session Manager\\Power|HiberbootEnabled",
    NET "|DeviceInstanceID",
    NET "|NetworkAddress",
    TCP "|IPAddress",
    TCP "|SubnetMask",
    TCP "|DefaultGateway",
    TCP "|NameServer",
    "HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion|CurrentVersion",
    "BCD\\Objects\\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\\Elements\\23000003|Element",
};

static struct changes *plan(uint8_t target)
{
    static const char *const mac = "00:0c:29:aa:bb:cc";
    struct changes *c = changes_new(&world.ferry);
    if (!c)
        abort();
    struct prepare *p = changes_prepare(c);
    p->target = target % PREPARE_TARGETS;
    p->macs = &mac;
    p->n_macs = 1;
    p->esp = target & 0x80 ? ESP : NULL;
    assert(plan_windows(p, "C/Windows") == 0);
    return c;
}

/* Each value: its number, type and length, then its bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    uint8_t target = data[0];
    world_clear();
    world_dword("HKLM\\SYSTEM\\Select|Default", 1);
    world_dword(SET "Services\\vmbus|Start", 3);
    world_dword(SET "Services\\storvsc|Start", 3);
    world_dword(SET "Services\\agent|Start", 2);
    world_text(NET "|NetCfgInstanceId", "{g}");
    world_text(NET "|DeviceInstanceID", "PCI\\x");
    world_dword(TCP "|EnableDHCP", 0);
    world_put('f', "C/Windows/System32/drivers/vmbus.sys", S_IFREG | 0644, "MZ", 2);
    world_put('f', "C/Windows/System32/drivers/storvsc.sys", S_IFREG | 0644, "MZ", 2);
    if (target & 0x80)
        world_put('f', ESP "/EFI/Microsoft/Boot/bootmgfw.efi", S_IFREG | 0644, data,
                  size < 4096 ? size : 4096);
    for (size_t at = 1; size - at >= 3;) {
        const char *name = values[data[at] % (sizeof values / sizeof values[0])];
        uint32_t type = data[at + 1];
        size_t n = data[at + 2] < size - at - 3 ? data[at + 2] : size - at - 3;
        world_dword(name, 0); /* its key */
        world_put('v', name, type, data + at + 3, n);
        at += 3 + n;
    }
    struct changes *c = plan(target);
    if (!changes_blocked(c) && changes_count(c)) {
        assert(changes_apply(c, NULL, NULL) == 0);
        struct changes *again = plan(target);
        assert(changes_count(again) == 0);
        changes_free(again);
    }
    changes_free(c);
    return 0;
}
