/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The planner for Windows over small guests in memory. The end-to-end test has real hives; here is what those
 * don't have: versions, filters of every shape, drivers that are missing, network adapters. */
#include "unit.h"

#include "changes-world.h"

#include <stdio.h>
#include <string.h>

#define SET "HKLM\\SYSTEM\\ControlSet001\\"
static const char version_key[] = "HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion";

static void driver(const char *name, uint32_t start)
{
    char path[200];
    snprintf(path, sizeof path, SET "Services\\%s|Start", name);
    world_dword(path, start);
    snprintf(path, sizeof path, "C/Windows/System32/drivers/%s.sys", name);
    world_put('f', path, S_IFREG | 0644, "MZ", 2);
}

static void make_windows(void)
{
    world_clear();
    world_dword("HKLM\\SYSTEM\\Select|Default", 1);
    driver("vmbus", 0);
    driver("storvsc", 0);
}

static const char *esp; /* of the guest that is planned; NULL: it has none */

static char *plan(enum prepare_target target, const char *const *macs, size_t n_macs)
{
    struct changes *c = changes_new(&world.ferry);
    struct prepare *p = changes_prepare(c);
    struct json_out out = { 0 };
    p->target = target;
    p->macs = macs;
    p->n_macs = n_macs;
    p->esp = esp;
    assert_int_equal(plan_windows(p, "C/Windows"), 0);
    assert_int_equal(changes_error(c), 0);
    changes_print(c, &out);
    if (!changes_blocked(c) && changes_count(c)) { /* what was planned is enough */
        assert_int_equal(changes_apply(c, NULL, NULL), 0);
        struct changes *again = changes_new(&world.ferry);
        changes_prepare(again)->target = target;
        changes_prepare(again)->macs = macs;
        changes_prepare(again)->n_macs = n_macs;
        changes_prepare(again)->esp = esp;
        assert_int_equal(plan_windows(changes_prepare(again), "C/Windows"), 0);
        assert_int_equal(changes_count(again), 0);
        changes_free(again);
    }
    changes_free(c);
    return out.text;
}

static void has(enum prepare_target target, const char *want)
{
    char *text = plan(target, NULL, 0);
    if (!strstr(text, want))
        fail_msg("wanted: %s\ngot: %s", want, text);
    free(text);
}

static void test_prepared(void **state)
{
    (void)state;
    make_windows();
    has(PREPARE_HYPERV, "nothing to do\n");
}

static void test_missing_drivers(void **state)
{
    (void)state;
    world_clear();
    has(PREPARE_HYPERV, "BLOCKED: its SYSTEM registry has no control set; ");
    make_windows();
    world_text("HKLM\\SYSTEM\\ControlSet001\\Services\\storvsc|ImagePath",
               "\\SystemRoot\\system32\\none.sys");
    has(PREPARE_HYPERV, "BLOCKED: this Windows has no driver storvsc");
    world_text("HKLM\\SYSTEM\\ControlSet001\\Services\\storvsc|ImagePath",
               "\\SystemRoot\\System32\\drivers\\storvsc.sys");
    has(PREPARE_HYPERV, "nothing to do\n");
    world_clear();
    driver("atapi", 0);
    char key[200];
    snprintf(key, sizeof key, "%s|CurrentVersion", version_key);
    world_text(key, "5.1");
    has(PREPARE_HYPERV, "install the Hyper-V integration services");
}

/* The other control sets are as old as they like; Default is the one that must do. */
static void test_default_set(void **state)
{
    (void)state;
    make_windows();
    world_dword("HKLM\\SYSTEM\\ControlSet002\\Services\\atapi|Start", 3);
    has(PREPARE_HYPERV, "nothing to do\n");
    world_dword("HKLM\\SYSTEM\\Select|Default", 2);
    has(PREPARE_HYPERV, "BLOCKED: this Windows has no driver vmbus");
}

static void test_overrides(void **state)
{
    (void)state;
    make_windows();
    world_dword(SET "Services\\storvsc\\StartOverride|0", 3);
    has(PREPARE_HYPERV, "registry " SET "Services\\storvsc\\StartOverride key -> (absent)");
}

static void test_fast_startup(void **state)
{
    (void)state;
    char key[200];
    make_windows();
    snprintf(key, sizeof key, "%s|CurrentVersion", version_key);
    world_text(key, "6.1"); /* 7 has none */
    has(PREPARE_HYPERV, "nothing to do\n");
    world_text(key, "6.3");
    has(PREPARE_HYPERV, "Power HiberbootEnabled (absent) -> 0");
    make_windows();
    snprintf(key, sizeof key, "%s|CurrentMajorVersionNumber", version_key);
    world_dword(key, 10);
    world_dword(SET "Control\\Session Manager\\Power|HiberbootEnabled", 1);
    has(PREPARE_HYPERV, "Power HiberbootEnabled 1 -> 0");
}

/* Since Windows 8 the ids are in DriverDatabase, which has them. */
static void test_critical_devices(void **state)
{
    (void)state;
    make_windows();
    world_dword(SET "Control\\CriticalDeviceDatabase\\x|y", 1);
    has(PREPARE_HYPERV, "CriticalDeviceDatabase\\ACPI#VMBus Service (absent) -> \"vmbus\"");
    make_windows();
    world_dword(SET "Control\\CriticalDeviceDatabase\\x|y", 1);
    world_dword("HKLM\\SYSTEM\\DriverDatabase|Version", 0x0a000000);
    has(PREPARE_HYPERV, "nothing to do\n");
}

static void filters(const char *value, const char *bytes, size_t n)
{
    char key[200];
    snprintf(key, sizeof key, SET "Control\\Class\\{x}|%s", value);
    world_dword(key, 0); /* its key */
    world_put('v', key, PREPARE_MULTI_SZ, bytes, n);
}

#define U(c) c "\0"
static void test_filters(void **state)
{
    (void)state;
    make_windows();
    static const char three[] = U("a") U("\0") U("v") U("m") U("c") U("i") U("\0") U("b") U("\0") U("\0");
    filters("UpperFilters", three, sizeof three - 1);
    has(PREPARE_KVM, "BLOCKED: "); /* nothing is done by halves */
    has(PREPARE_HYPERV, "UpperFilters {\"a\", \"vmci\", \"b\"} -> {\"a\", \"b\"}");
    make_windows();
    static const char odd[] = U("v") U("M") U("c") U("i"); /* no terminator at all */
    filters("LowerFilters", odd, sizeof odd - 1);
    has(PREPARE_HYPERV, "LowerFilters {\"vMci\"} -> (absent)");
    make_windows();
    static const char other[] = U("v") U("m") U("c") U("i") U("x") U("\0") U("\0");
    filters("LowerFilters", other, sizeof other - 1);
    has(PREPARE_HYPERV, "nothing to do\n");
}

static void test_providers(void **state)
{
    (void)state;
    static const char *const lists[][2] = { { "vmhgfs,RDPNP", "\"RDPNP\"" },
                                            { "P9NP,vmhgfs", "\"P9NP\"" },
                                            { "vmhgfs", "\"\"" } };
    for (size_t i = 0; i < 3; i++) {
        char want[100];
        make_windows();
        world_text(SET "Control\\NetworkProvider\\HwOrder|ProviderOrder", lists[i][0]);
        snprintf(want, sizeof want, "-> %s  #", lists[i][1]);
        has(PREPARE_HYPERV, want);
    }
    make_windows();
    world_text(SET "Control\\NetworkProvider\\HwOrder|ProviderOrder", "vmhgfsx,xvmhgfs");
    has(PREPARE_HYPERV, "nothing to do\n");
}

static void test_kvm(void **state)
{
    (void)state;
    make_windows();
    has(PREPARE_KVM, "BLOCKED: this Windows has no virtio driver for its boot disk; ");
    driver("vioscsi", 3);
    has(PREPARE_KUBEVIRT, "Services\\vioscsi Start 3 -> 0");
    has(PREPARE_KVM, "nothing to do\n");
}

static void test_azure(void **state)
{
    (void)state;
    make_windows();
    world_dword(SET "Control\\Terminal Server|fDenyTSConnections", 1);
    world_text(SET "Control\\Terminal Server\\WinStations\\RDP-Tcp|SSLCertificateSHA1Hash", "x");
    char *text = plan(PREPARE_AZURE_LOCAL, NULL, 0);
    assert_non_null(strstr(text, "fDenyTSConnections 1 -> 0"));
    assert_non_null(strstr(text, "RDP-Tcp SSLCertificateSHA1Hash \"x\" -> (absent)"));
    assert_non_null(strstr(text, "RDP-Tcp MaxInstanceCount (absent) -> 4294967295"));
    assert_null(strstr(text, "TermService")); /* it isn't there */
    free(text);
}

/* ---- the network ---- */

static void adapter(unsigned i, const char *device, const char *guid, const char *ip)
{
    char key[200];
    snprintf(key, sizeof key,
             SET "Control\\Class\\{4d36e972-e325-11ce-bfc1-08002be10318}\\%04u|DeviceInstanceID", i);
    world_text(key, device);
    snprintf(key, sizeof key,
             SET "Control\\Class\\{4d36e972-e325-11ce-bfc1-08002be10318}\\%04u|NetCfgInstanceId", i);
    world_text(key, guid);
    snprintf(key, sizeof key, SET "Services\\Tcpip\\Parameters\\Interfaces\\%s|EnableDHCP", guid);
    world_dword(key, !ip);
    if (!ip)
        return;
    snprintf(key, sizeof key, SET "Services\\Tcpip\\Parameters\\Interfaces\\%s|IPAddress", guid);
    world_text(key, ip);
    snprintf(key, sizeof key, SET "Services\\Tcpip\\Parameters\\Interfaces\\%s|SubnetMask", guid);
    world_text(key, "255.255.255.0");
}

static bool script_has(const char *want)
{
    uint8_t *bytes;
    size_t n;
    assert_int_equal(file_read(&world.ferry, "C/Windows/ferryfs-network.ps1", 1 << 20, &bytes, &n), 0);
    bool found = strstr((char *)bytes, want);
    free(bytes);
    return found;
}

static void test_one_adapter(void **state)
{
    (void)state;
    static const char *const mac = "00:0c:29:aa:bb:cc";
    make_windows();
    adapter(1, "PCI\\VEN_15AD\\4&x", "{g}", "192.168.1.2");
    adapter(2, "ROOT\\TUNNEL\\0000", "{t}", NULL);
    world_text(SET "Services\\Tcpip\\Parameters\\Interfaces\\{g}|DefaultGateway", "192.168.1.1");
    world_text(SET "Services\\Tcpip\\Parameters\\Interfaces\\{g}|NameServer", "9.9.9.9, 1.1.1.1,$(evil)");
    char *text = plan(PREPARE_HYPERV, &mac, 1);
    assert_non_null(strstr(text, "file C/Windows/ferryfs-network.ps1 (absent) -> "));
    assert_non_null(strstr(text, "Services\\ferryfs-network Start (absent) -> 2"));
    free(text);
    assert_true(
        script_has("Set-Adapter '00-0C-29-AA-BB-CC' {\r\n"
                   "  netsh interface ipv4 set address $name static 192.168.1.2 255.255.255.0 192.168.1.1\r\n"
                   "  netsh interface ipv4 set dnsservers $name static 9.9.9.9\r\n"
                   "  netsh interface ipv4 add dnsservers $name 1.1.1.1\r\n}\r\n"));
    assert_false(script_has("evil"));
}

static void test_two_adapters(void **state)
{
    (void)state;
    static const char *const macs[] = { "00:0c:29:aa:bb:cc", "00:0c:29:01:02:03" };
    make_windows();
    adapter(1, "PCI\\VEN_8086\\000C29FFFF01020300", "{g}", "192.168.1.2");
    adapter(2, "PCI\\VEN_8086\\4&x", "{h}", "192.168.1.3");
    char *text = plan(PREPARE_HYPERV, macs, 2);
    assert_non_null(strstr(text, "note: the static address 192.168.1.3/255.255.255.0 is to be set by hand"));
    free(text);
    assert_true(script_has("Set-Adapter '00-0C-29-01-02-03' {\r\n"
                           "  netsh interface ipv4 set address $name static 192.168.1.2 255.255.255.0 \r\n"));
    assert_false(script_has("192.168.1.3"));
}

static void test_hostile_address(void **state)
{
    (void)state;
    static const char *const mac = "00:0c:29:aa:bb:cc";
    static const char *const bad[] = { "1.2.3.4;calc", "256.1.1.1", "1.2.3", "$(x)", "0.0.0.0", "" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        make_windows();
        adapter(1, "PCI\\VEN_15AD\\4&x", "{g}", bad[i]);
        char *text = plan(PREPARE_HYPERV, &mac, 1);
        assert_string_equal(text, "nothing to do\n");
        free(text);
    }
}

#define ESP     "../volumes/disk0p1"
#define MANAGER ESP "/EFI/Microsoft/Boot/bootmgfw.efi"

/* A boot manager for that processor, as the file system has it. */
static void make_efi(uint16_t machine, bool with_manager)
{
    uint8_t program[96] = "MZ";
    make_windows();
    world_put('d', ESP "/EFI", S_IFDIR | 0755, NULL, 0);
    program[0x3c] = 64;
    memcpy(program + 64, "PE\0\0", 4);
    program[68] = (uint8_t)machine;
    program[69] = (uint8_t)(machine >> 8);
    if (with_manager)
        world_put('f', MANAGER, S_IFREG | 0644, program, sizeof program);
}

static void says(enum prepare_target target, const char *want)
{
    char *text = plan(target, NULL, 0);
    if (want ? !strstr(text, want) : strcmp(text, "nothing to do\n") != 0)
        fail_msg("wanted: %s\ngot: %s", want ? want : "nothing", text);
    free(text);
}

static void test_efi(void **state)
{
    static const char none[] = "BLOCKED: its EFI system partition has no boot loader";
    (void)state;
    esp = ESP;
    make_efi(0x8664, true);
    says(PREPARE_HYPERV, "file " ESP "/EFI/Boot/bootx64.efi (absent) -> 96 bytes");
    make_efi(0xaa64, true);
    world_put('d', ESP "/EFI/Boot", S_IFDIR | 0755, NULL, 0);
    says(PREPARE_HYPERV, "file " ESP "/EFI/Boot/bootaa64.efi (absent) -> 96 bytes");
    make_efi(0x8664, true);
    world_put('f', ESP "/EFI/Boot/BOOTX64.EFI", S_IFREG | 0644, "another's", 9);
    says(PREPARE_HYPERV, NULL);
    make_efi(0, true);
    says(PREPARE_HYPERV, none);
    make_efi(0x8664, false);
    says(PREPARE_HYPERV, none);
    /* By BIOS it isn't looked at. */
    esp = NULL;
    says(PREPARE_HYPERV, NULL);
}

static void test_text_mode(void **state)
{
    static const char mode[] = "BCD\\Objects\\{d}\\Elements\\16000046";
    (void)state;
    for (int efi = 0; efi < 2; efi++) {
        make_efi(0x8664, true);
        driver("viostor", 0);
        world_put('f', ESP "/EFI/Boot/BOOTX64.EFI", S_IFREG | 0644, "x", 1);
        world_text("BCD\\Objects\\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\\Elements\\23000003|Element", "{d}");
        world_dword("BCD\\Objects\\{d}\\Elements\\16000046|Element", 1);
        esp = efi ? ESP : NULL;
        says(PREPARE_HYPERV, NULL);
        char *text = plan(PREPARE_KVM, NULL, 0);
        assert_int_equal(strstr(text, mode) != NULL, efi);
        free(text);
    }
    esp = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prepared),
        cmocka_unit_test(test_missing_drivers),
        cmocka_unit_test(test_default_set),
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_fast_startup),
        cmocka_unit_test(test_critical_devices),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_providers),
        cmocka_unit_test(test_kvm),
        cmocka_unit_test(test_azure),
        cmocka_unit_test(test_one_adapter),
        cmocka_unit_test(test_two_adapters),
        cmocka_unit_test(test_hostile_address),
        cmocka_unit_test(test_efi),
        cmocka_unit_test(test_text_mode),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    world_clear();
    return r;
}
