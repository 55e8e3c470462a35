/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packages into and out of a Windows 10 in memory: whose a service is, what stays with it, and what AddReg
 * lines make of keys that are there. The package below is made by hand, after Microsoft's INF reference. */
#include "unit.h"

#include "changes-world.h"
#include "guest/driver-install.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYSTEM  "HKLM\\SYSTEM\\"
#define SVC     SYSTEM "ControlSet001\\Services\\flt"
#define FILTERS SYSTEM "ControlSet00%u\\Control\\Class\\C|UpperFilters"
#define SYS     "C/Windows/System32/drivers/flt.sys"

static uint8_t program[96];

static void make_world(void)
{
    world_clear();
    for (unsigned i = 1; i <= 2; i++) {
        char key[120];
        snprintf(key, sizeof key,
                 SYSTEM "ControlSet00%u\\Control\\Session Manager\\Environment|PROCESSOR_ARCHITECTURE", i);
        world_text(key, "AMD64");
        snprintf(key, sizeof key, SYSTEM "ControlSet00%u\\Services\\other|ImagePath", i);
        world_text(key, "System32\\drivers\\other.sys");
        snprintf(key, sizeof key, SYSTEM "ControlSet00%u\\Control\\Class\\C|Class", i);
        world_text(key, "Some");
    }
    world_dword(SYSTEM "Select|Current", 1);
    world_dword(SYSTEM "DriverDatabase|x", 1);
    world_text("HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion|CurrentBuildNumber", "17763");
    world_dword("HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion|CurrentMajorVersionNumber", 10);
    world_dword("HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion|CurrentMinorVersionNumber", 0);
    world_put('d', "C", S_IFDIR | 0755, NULL, 0);
    world_put('d', "C/Windows", S_IFDIR | 0755, NULL, 0);
    memcpy(program, "MZ", 2);
    program[0x3c] = 64;
    memcpy(program + 64, "PE\0\0\x64\x86", 6);
}

/* What an AddReg section of the service says, and where its program is. */
static char *inf_of(const char *addreg, const char *dir)
{
    char *text;
    if (asprintf(
            &text,
            "[Version]\nSignature=$Windows "
            "NT$\nClass=System\nClassGuid={4D36E97D-E325-11CE-BFC1-08002BE10318}\n"
            "Provider=me\nDriverVer=6/21/2006,1.2.3.4\nCatalogFile=f.cat\n"
            "[Manufacturer]\nm=M,NTamd64\n[M.NTamd64]\nd=X,PCI\\A\n"
            "[X]\nCopyFiles=list\n[list]\nflt.sys\nagain.sys,flt.sys\n"
            "[DestinationDirs]\nlist=%s\n"
            "[X.Services]\nAddService=flt,2,S\n"
            "[S]\nServiceType=1\nStartType=0\nErrorControl=3\nServiceBinary=%%%s%%\\flt.sys\nAddReg=values\n"
            "[values]\nHKR,Parameters,n,0x10001,1\n%s",
            dir, dir, addreg) < 0)
        abort();
    return text;
}

static char lines[8192];

static void say(void *ctx, const char *line)
{
    size_t n = strlen(lines);
    (void)ctx;
    snprintf(lines + n, sizeof lines - n, "%s\n", line);
}

static struct changes *plan_install(const char *addreg, const char *dir, int *ret)
{
    struct changes *c = changes_new(&world.ferry);
    struct driver_guest g;
    struct driver_log log = { say, NULL };
    struct fault fault = { 0 };
    unsigned oem;
    char *inf = inf_of(addreg, dir);
    const struct driver_package_file files[] = {
        { "f.inf", (const uint8_t *)inf, strlen(inf) },
        { "flt.sys", program, sizeof program },
        { "f.cat", (const uint8_t *)"none", 4 },
    };
    struct driver_package pkg = { files, 3 };
    lines[0] = 0;
    assert_int_equal(driver_guest_look(changes_prepare(c), "C/Windows", &g, &fault), 0);
    *ret = driver_install(changes_prepare(c), &g, &pkg, &files[0], log, &oem, &fault);
    free(inf);
    return c;
}

static void apply(struct changes *c)
{
    struct fault fault = { 0 };
    assert_int_equal(changes_error(c), 0);
    assert_int_equal(changes_apply(c, NULL, &fault), 0);
    changes_free(c);
}

static void install(const char *addreg, const char *dir)
{
    int r;
    struct changes *c = plan_install(addreg, dir, &r);
    assert_int_equal(r, 0);
    apply(c);
}

static void uninstall(void)
{
    struct changes *c = changes_new(&world.ferry);
    struct driver_guest g;
    struct driver_log log = { say, NULL };
    struct fault fault = { 0 };
    lines[0] = 0;
    assert_int_equal(driver_guest_look(changes_prepare(c), "C/Windows", &g, &fault), 0);
    assert_int_equal(driver_uninstall(changes_prepare(c), &g, 0, log, &fault), 0);
    apply(c);
}

static bool there(const char *what)
{
    char *all = world_show();
    bool found = strcasestr(all, what);
    free(all);
    return found;
}

/* A value's texts with commas between; "" if there is none. */
static const char *list_at(const char *key, const char *name)
{
    static char text[400];
    uint32_t type;
    uint8_t *bytes;
    size_t n, len = 0;
    text[0] = 0;
    if (key_value(&world.ferry, key, name, &type, &bytes, &n))
        return text;
    for (size_t i = 0; i + 3 < n; i += 2)
        text[len++] = bytes[i] ? (char)bytes[i] : ',';
    text[len] = 0;
    free(bytes);
    return text;
}

static void put_list(const char *key_and_name, const char *commas)
{
    uint8_t bytes[400] = { 0 };
    size_t n = strlen(commas);
    for (size_t i = 0; i < n; i++)
        bytes[2 * i] = commas[i] == ',' ? 0 : (uint8_t)commas[i];
    world_put('v', key_and_name, PREPARE_MULTI_SZ, bytes, 2 * n + 4);
}

static void own(const char *commas)
{
    put_list(SVC "|Owners", commas);
    put_list(SYSTEM "ControlSet002\\Services\\flt|Owners", commas);
}

/* ---- tests ---- */

static void in_and_out(void **state)
{
    (void)state;
    make_world();
    install("", "12");
    assert_true(there(SYS));
    assert_string_equal(list_at(SVC, "Owners"), "oem0.inf,");
    const char *once = strstr(lines, "does not have the digest"); /* two names for one file */
    assert_non_null(once);
    assert_null(strstr(once + 1, "does not have the digest"));
    uninstall();
    assert_false(there("flt"));
    assert_false(there("f.inf"));
    assert_false(there("oem0"));
    assert_false(there(".cat"));
}

/* "SYSTEM\CurrentControlSet" is a link that only a running Windows has: what goes there is for each set. */
static void current_control_set(void **state)
{
    (void)state;
    make_world();
    install("HKLM,system\\currentcontrolset\\Control\\Mine,v,,text\nHKLM,SOFTWARE\\Mine,v,,text\n"
            "HKLM,SYSTEM\\CurrentControlSetting,v,,text\n",
            "12");
    assert_false(there("CurrentControlSet\\"));
    assert_true(there("CurrentControlSetting"));
    assert_true(there(SYSTEM "ControlSet001\\Control\\Mine|v"));
    assert_true(there(SYSTEM "ControlSet002\\Control\\Mine|v"));
    assert_true(there("HKLM\\SOFTWARE\\Mine|v"));
}

static void store_of_oem0(char *ret, size_t size)
{
    snprintf(ret, size, "%s", list_at(SYSTEM "DriverDatabase\\DriverInfFiles\\oem0.inf", "Active"));
    assert_true(strlen(ret) > 10);
}

/* Windows 10 names a package twice among the owners. */
static void owners_in_pairs(void **state)
{
    char store[100], owners[250];
    (void)state;
    make_world();
    install("", "12");
    store_of_oem0(store, sizeof store);
    snprintf(owners, sizeof owners, "oem0.inf,!%s", store);
    own(owners);
    uninstall();
    assert_false(there("flt"));

    make_world();
    install("", "12");
    snprintf(owners, sizeof owners, "machine.inf,!machine.inf_amd64_1,oem0.inf,!%s", store);
    own(owners);
    uninstall();
    assert_string_equal(list_at(SVC, "Owners"), "machine.inf,!machine.inf_amd64_1,");
    assert_true(there(SYS)); /* ErrorControl 3: without it Windows doesn't boot */
    assert_true(there("oem0.cat"));
    assert_false(there("again.sys"));
    assert_false(there("INF/oem0.inf"));
    assert_non_null(strstr(lines, "a service that stays runs it"));
}

/* As in a Windows 10 1709 of the corpus: the pair's second is an earlier version's, which is there no more.
 */
static void owners_of_an_earlier_version(void **state)
{
    (void)state;
    make_world();
    install("", "12");
    own("oem0.inf,!f.inf_amd64_1111");
    uninstall();
    assert_false(there("flt"));

    make_world();
    install("", "12");
    own("oem0.inf,!f.inf_amd64_1111");
    world_put('k', SYSTEM "DriverDatabase\\DriverPackages\\f.inf_amd64_1111", 0, NULL, 0);
    uninstall();
    assert_string_equal(list_at(SVC, "Owners"), "!f.inf_amd64_1111,");
    assert_true(there(SYS));

    make_world();
    install("", "12");
    own("oem0.inf,!ff.inf_amd64_1111"); /* another's */
    uninstall();
    assert_string_equal(list_at(SVC, "Owners"), "!ff.inf_amd64_1111,");
    assert_true(there(SYS));
}

/* It runs from the store: then that is what stays. */
static void stays_in_the_store(void **state)
{
    (void)state;
    make_world();
    install("", "13");
    own("oem0.inf,machine.inf");
    uninstall();
    assert_true(there(SVC "|Start"));
    assert_true(there("FileRepository/f.inf_amd64_"));
    assert_true(there("/flt.sys"));
    assert_false(there("INF/oem0.inf"));

    make_world();
    install("", "13");
    uninstall();
    assert_false(there("FileRepository/"));
}

/* Who finds a service that nobody owns doesn't take it out later. */
static void was_there_before(void **state)
{
    (void)state;
    make_world();
    world_dword(SVC "|Type", 1);
    world_dword(SVC "|Start", 0);
    world_text(SVC "|ImagePath", "System32\\drivers\\flt.sys");
    world_put('f', SYS, S_IFREG | 0644, "old", 3);
    install("", "12");
    assert_string_equal(list_at(SVC, "Owners"), "");
    assert_string_equal(list_at(SYSTEM "ControlSet002\\Services\\flt", "Owners"), "oem0.inf,");
    uninstall();
    assert_true(there(SVC "|Start"));
    assert_false(there(SYSTEM "ControlSet002\\Services\\flt"));
    assert_true(there(SYS));
}

static void append(void **state)
{
    char name[120];
    (void)state;
    make_world();
    snprintf(name, sizeof name, FILTERS, 1u);
    put_list(name, "first,second");
    const char *line =
        "HKLM,SYSTEM\\CurrentControlSet\\Control\\Class\\C,UpperFilters,0x00010008,flt,SECOND\n"
        "HKLM,SYSTEM\\CurrentControlSet\\Control\\Class\\C,UpperFilters,0x00010008,flt\n"
        "HKLM,SYSTEM\\CurrentControlSet\\Control\\Class\\C,Class,0x00010008,flt\n";
    install(line, "12");
    assert_string_equal(list_at(SYSTEM "ControlSet001\\Control\\Class\\C", "UpperFilters"),
                        "first,second,flt,");
    assert_string_equal(list_at(SYSTEM "ControlSet002\\Control\\Class\\C", "UpperFilters"), "flt,SECOND,");
    assert_string_equal(list_at(SYSTEM "ControlSet001\\Control\\Class\\C", "Class"), "Some"); /* no list */
}

/* A key that is too long shows when half of the package is in the plan: all of that must not be applied. */
static void half_an_installation(void **state)
{
    static char line[3000] = "HKR,\"";
    struct fault fault = { 0 };
    int r;
    (void)state;
    make_world();
    char *before = world_show();
    memset(line + 5, 'k', 2500);
    strcpy(line + 2505, "\",v,,x\n");
    struct changes *c = plan_install(line, "12", &r);
    assert_int_equal(r, -ENAMETOOLONG);
    assert_true(changes_blocked(c));
    assert_int_equal(changes_apply(c, NULL, &fault), -EPERM);
    changes_free(c);
    char *after = world_show();
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void put_bytes(const char *key_and_name, uint32_t type, const char *bytes, size_t n)
{
    world_put('v', key_and_name, type, bytes, n);
}

/* DelReg: a value, a key, texts of a list, in the service's key and in HKLM; all before what AddReg adds. */
static void deletions(void **state)
{
    char name[120];
    (void)state;
    make_world();
    snprintf(name, sizeof name, FILTERS, 1u);
    put_list(name, "first,OLD,second,other");
    world_dword(SVC "|Old", 1);
    world_dword(SVC "|Kept", 1);
    world_dword(SVC "\\Sub\\Deep|x", 1);
    world_dword(SVC "\\Parameters|n", 7);
    world_dword(SVC "\\Parameters|gone", 7);
    world_text("HKLM\\SOFTWARE\\Mine\\Key|v", "x");
    world_text("HKLM\\SOFTWARE\\Mine\\Stays|v", "x");
    world_text("HKLM\\SOFTWARE\\WOW6432Node\\Mine|thirtytwo", "x");
    world_text("HKLM\\SOFTWARE\\Mine|thirtytwo", "x");
    install("[S]\nDelReg=gone\n[gone]\nHKR,,Old\nHKR,Sub\nHKR,Parameters\nHKR\n"
            "HKLM,SYSTEM\\CurrentControlSet\\Control\\Class\\C,UpperFilters,0x00018002,old\n"
            "HKLM,SYSTEM\\CurrentControlSet\\Control\\Class\\C,Class,0x00018002,Some\n"
            "HKLM,SOFTWARE\\Mine\\Key\nHKLM,SOFTWARE\\Mine,thirtytwo,0x4000\n"
            "HKLM,SOFTWARE\\NoSuch\nHKLM,SOFTWARE\\Mine,nosuch\n"
            "HKLM,SOFTWARE\nHKLM,SYSTEM\\CurrentControlSet\nHKLM,\"SYSTEM\\ControlSet001\\\"\n"
            "[values]\nHKLM,SOFTWARE\\Mine,added,0x4000,x\nHKR,,Kept,4\n"
            "HKLM,SYSTEM\\CurrentControlSet\\Control\\Class\\C,UpperFilters,0x00018002,OTHER,Second\n",
            "12");
    assert_string_equal(list_at(SYSTEM "ControlSet001\\Control\\Class\\C", "UpperFilters"), "first,");
    assert_string_equal(list_at(SYSTEM "ControlSet001\\Control\\Class\\C", "Class"), "Some");
    assert_false(there(SVC "|Old"));
    assert_false(there(SVC "|Kept"));
    assert_false(there(SVC "\\Sub"));
    assert_false(there(SVC "\\Parameters|gone"));
    assert_true(there(SVC "\\Parameters|n"));
    assert_true(there(SVC "|Start"));
    assert_false(there("HKLM\\SOFTWARE\\Mine\\Key"));
    assert_true(there("HKLM\\SOFTWARE\\Mine\\Stays|v"));
    assert_true(there("HKLM\\SOFTWARE\\Mine|thirtytwo"));
    assert_false(there("HKLM\\SOFTWARE\\WOW6432Node\\Mine|thirtytwo"));
    assert_true(there("HKLM\\SOFTWARE\\WOW6432Node\\Mine|added"));
    const char *once = strstr(lines, "HKR is not deleted");
    assert_non_null(once);
    assert_null(strstr(once + 1, "HKR is not deleted"));
    assert_non_null(strstr(lines, "HKLM\\SOFTWARE is not deleted"));
    assert_non_null(strstr(lines, "HKLM\\SYSTEM\\CurrentControlSet is not deleted"));
    assert_non_null(strstr(lines, "HKLM\\SYSTEM\\ControlSet001\\ is not deleted"));
    uninstall(); /* what was deleted doesn't come again */
    assert_false(there(SVC "|Old"));
    assert_false(there("HKLM\\SOFTWARE\\Mine\\Key"));
}

/* Of a plan with a record everything does. */
static void deletions_undone(void **state)
{
    struct fault fault = { 0 };
    int r;
    (void)state;
    make_world();
    world_dword(SVC "|Old", 1);
    world_text("HKLM\\SOFTWARE\\Mine\\Key|v", "x");
    world_text("HKLM\\SOFTWARE\\Mine\\Key\\Below|w", "x");
    put_bytes("HKLM\\SOFTWARE\\Mine|bits", PREPARE_BINARY, "\x01\x02", 2);
    world_put('d', "C/Windows/System32", S_IFDIR | 0755, NULL, 0);
    world_put('f', "C/Windows/System32/old.dll", S_IFREG | 0644, "old", 3);
    char *before = world_show();
    struct changes *c =
        plan_install("[S]\nDelReg=gone\nBitReg=bits\n[gone]\nHKR,,Old\nHKLM,SOFTWARE\\Mine\\Key\n"
                     "[bits]\nHKLM,SOFTWARE\\Mine,bits,1,80,1\n"
                     "[X]\nDelFiles=dll\n[dll]\nold.dll\n[DestinationDirs]\ndll=11\n",
                     "12", &r);
    assert_int_equal(r, 0);
    assert_int_equal(changes_apply(c, "test", &fault), 0);
    changes_free(c);
    assert_false(there("Mine\\Key"));
    assert_false(there("old.dll"));
    assert_int_equal(changes_undo(&world.ferry, "test", &fault), 0);
    char *after = world_show();
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static unsigned byte_at(const char *key, const char *name, size_t i)
{
    uint32_t type;
    uint8_t *bytes;
    size_t n;
    assert_int_equal(key_value(&world.ferry, key, name, &type, &bytes, &n), 0);
    assert_true(i < n);
    unsigned byte = bytes[i];
    free(bytes);
    return byte;
}

static void bits(void **state)
{
    (void)state;
    make_world();
    world_dword("HKLM\\SOFTWARE\\Mine|dword", 0x0f0f0f0f);
    put_bytes("HKLM\\SOFTWARE\\Mine|binary", PREPARE_BINARY, "\xff\xff\xff", 3);
    world_text("HKLM\\SOFTWARE\\Mine|text", "abc");
    install("HKR,Parameters,made,0x10001,0x10\n[S]\nBitReg=bits\n[bits]\n"
            "HKLM,SOFTWARE\\Mine,dword,1,80,3\nHKLM,SOFTWARE\\Mine,dword,,0x01,0\n"
            "HKLM,SOFTWARE\\Mine,binary,0,0x42,2\nHKLM,SOFTWARE\\Mine,binary,0,1,3\n"
            "HKLM,SOFTWARE\\Mine,text,1,1,0\nHKLM,SOFTWARE\\Mine,nosuch,1,1,0\n"
            "HKR,Parameters,made,1,1,0\n",
            "12");
    assert_int_equal(byte_at("HKLM\\SOFTWARE\\Mine", "dword", 3), 0x8f);
    assert_int_equal(byte_at("HKLM\\SOFTWARE\\Mine", "dword", 0), 0x0e);
    assert_int_equal(byte_at("HKLM\\SOFTWARE\\Mine", "dword", 1), 0x0f);
    assert_int_equal(byte_at("HKLM\\SOFTWARE\\Mine", "binary", 2), 0xbd);
    assert_int_equal(byte_at("HKLM\\SOFTWARE\\Mine", "text", 0), 'a');
    assert_int_equal(byte_at(SVC "\\Parameters", "made", 0), 0x11); /* what AddReg made before */
    assert_non_null(strstr(lines, "binary has no byte 3"));
    assert_non_null(strstr(lines, "text has no byte 0"));
    assert_non_null(strstr(lines, "nosuch has no byte 0"));
    assert_false(there("nosuch"));
}

/* DelFiles and RenFiles; what the package copies is only written over, and the registry stays. */
static void old_files(void **state)
{
    (void)state;
    make_world();
    world_put('d', "C/Windows/System32", S_IFDIR | 0755, NULL, 0);
    world_put('d', "C/Windows/System32/drivers", S_IFDIR | 0755, NULL, 0);
    world_put('d', "C/Windows/System32/config", S_IFDIR | 0755, NULL, 0);
    world_put('f', SYS, S_IFREG | 0644, "old", 3);
    world_put('f', "C/Windows/System32/drivers/old.sys", S_IFREG | 0644, "old", 3);
    world_put('f', "C/Windows/System32/drivers/was.sys", S_IFREG | 0644, "was", 3);
    world_put('f', "C/Windows/System32/drivers/other.sys", S_IFREG | 0644, "other", 5);
    world_put('f', "C/Windows/System32/config/SYSTEM", S_IFREG | 0644, "regf", 4);
    install("[X]\nDelFiles=del,hive\nRenFiles=ren\n[del]\nold.sys,,,1\nflt.sys\nnosuch.sys\n[hive]\nSYSTEM\n"
            "[ren]\nis.sys,was.sys\nother.sys,is.sys\n[DestinationDirs]\ndel=12\nren=12\nhive=11,config\n",
            "12");
    assert_false(there("old.sys"));
    assert_true(there(SYS));
    assert_true(there("C/Windows/System32/config/SYSTEM"));
    assert_non_null(strstr(lines, "config\\SYSTEM stays"));
    assert_false(there("was.sys"));
    assert_true(there("drivers/is.sys"));
    assert_true(there("drivers/other.sys"));
}

/* Nothing is copied to where hives are, however that is called. */
static void registry_kept(void **state)
{
    static const char *const dirs[] = { "11,config",
                                        "11,CONFIG\\RegBack",
                                        "11,.\\config",
                                        "11,\\\\config\\.",
                                        "10,System32/config",
                                        "24,Windows\\system32\\.\\config",
                                        "65535,C:\\Windows\\System32\\config" };
    int r;
    (void)state;
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        make_world();
        changes_free(plan_install("", dirs[i], &r));
        if (r != -EBADMSG)
            fail_msg("%s: %d", dirs[i], r);
    }
    make_world();
    install("", "11,config2");
    assert_true(there("C/Windows/System32/config2/flt.sys"));
}

static void put_inf(const char *path, const char *text)
{
    world_put('d', "C/Windows/INF", S_IFDIR | 0755, NULL, 0);
    world_put('f', path, S_IFREG | 0644, text, strlen(text));
}

/* Sections of an in-box INF of the guest, whose files are its own. */
static void included(void **state)
{
    (void)state;
    make_world();
    put_inf("C/Windows/INF/box.inf",
            "[Version]\nSignature=$Windows NT$\n[Box]\nCopyFiles=@there.sys,@stored.sys,@nowhere.sys\n"
            "[DestinationDirs]\nDefaultDestDir=12\n[Box.HW]\nAddReg=r\n[r]\nHKR,,FromBox,0x10001,1\n"
            "[Box.Services]\nAddService=box,,B\n[B]\nServiceType=1\nStartType=0\nErrorControl=1\n"
            "DisplayName=%d%\nServiceBinary=%12%\\stored.sys\n[Strings]\nd=\"Box\"\n");
    world_text(SYSTEM "DriverDatabase\\DriverInfFiles\\box.inf|Active", "box.inf_amd64_7");
    static const char *const dirs[] = { "C/Windows/System32", "C/Windows/System32/drivers",
                                        "C/Windows/System32/DriverStore",
                                        "C/Windows/System32/DriverStore/FileRepository",
                                        "C/Windows/System32/DriverStore/FileRepository/box.inf_amd64_7" };
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
        world_put('d', dirs[i], S_IFDIR | 0755, NULL, 0);
    world_put('f', "C/Windows/System32/drivers/there.sys", S_IFREG | 0644, "there", 5);
    world_put('f', "C/Windows/System32/DriverStore/FileRepository/box.inf_amd64_7/stored.sys", S_IFREG | 0644,
              "stored", 6);
    install("[X]\nInclude=box.inf\nNeeds=Box\n[X.HW]\nNeeds=Box.HW\n[X.Services]\nNeeds=Box.Services\n"
            "Include=gone.inf\n",
            "12");
    assert_true(there("drivers/stored.sys"));
    assert_non_null(
        strstr(lines, "box.inf: line 4: C:\\Windows\\System32\\drivers\\nowhere.sys is left to Windows"));
    assert_non_null(strstr(lines, "sections of gone.inf are left to Windows"));
    assert_true(there("Configurations\\X\\Device|FromBox"));
    assert_true(there(SYSTEM "ControlSet002\\Services\\box|Start"));
    char key[300], store[100];
    store_of_oem0(store, sizeof store);
    snprintf(key, sizeof key, SYSTEM "DriverDatabase\\DriverPackages\\%s\\Configurations\\X", store);
    assert_string_equal(list_at(key, "IncludedInfs"), "box.inf,");
    uninstall();
    assert_false(there("Services\\box"));     /* the package's, who else asked for it? */
    assert_true(there("drivers/stored.sys")); /* Windows' own */
    assert_true(there("drivers/there.sys"));
    assert_true(there("INF/box.inf"));
}

/* A package of many devices has a list of sections that is longer than a key's name may be. */
static void many_configurations(void **state)
{
    enum { SECTIONS = 300 };
    struct driver_guest g;
    struct fault fault = { 0 };
    struct driver_log log = { say, NULL };
    char *inf, *models = strdup(""), *sections = strdup(""), want[80];
    uint32_t type;
    uint8_t *bytes;
    size_t n;
    unsigned oem, found = 0;
    (void)state;
    make_world();
    world_dword("HKLM\\DRIVERS\\DriverDatabase|x", 1);
    for (unsigned i = 0; i < SECTIONS; i++) {
        char *m, *s;
        assert_true(asprintf(&m, "%sd=Install_Section_%u,PCI\\A%u\n", models, i, i) > 0);
        assert_true(asprintf(&s, "%s[Install_Section_%u]\n", sections, i) > 0);
        free(models);
        free(sections);
        models = m;
        sections = s;
    }
    assert_true(asprintf(&inf,
                         "[Version]\nSignature=$Windows NT$\nClass=System\n"
                         "ClassGuid={4D36E97D-E325-11CE-BFC1-08002BE10318}\nProvider=me\n"
                         "DriverVer=6/21/2006,1.2.3.4\n[Manufacturer]\nm=M,NTamd64\n[M.NTamd64]\n%s%s",
                         models, sections) > 0);
    const struct driver_package_file files[] = { { "f.inf", (const uint8_t *)inf, strlen(inf) } };
    struct driver_package pkg = { files, 1 };
    struct changes *c = changes_new(&world.ferry);
    assert_int_equal(driver_guest_look(changes_prepare(c), "C/Windows", &g, &fault), 0);
    assert_int_equal(driver_install(changes_prepare(c), &g, &pkg, &files[0], log, &oem, &fault), 0);
    struct prepare *p = changes_prepare(c);
    assert_int_equal(p->ops->value(p, "HKLM\\DRIVERS\\DriverDatabase\\DriverInfFiles\\oem0.inf",
                                   "Configurations", &type, &bytes, &n),
                     0);
    assert_int_equal(type, PREPARE_MULTI_SZ);
    size_t at = 0;
    while (at + 3 < n) {
        snprintf(want, sizeof want, "Install_Section_%u", found++);
        for (size_t i = 0; i <= strlen(want); i++, at += 2) {
            assert_int_equal(bytes[at], want[i]);
            assert_int_equal(bytes[at + 1], 0);
        }
    }
    assert_int_equal(found, SECTIONS);
    assert_int_equal(at + 2, n);
    changes_free(c);
    free(bytes);
    free(models);
    free(sections);
    free(inf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_and_out),
        cmocka_unit_test(current_control_set),
        cmocka_unit_test(owners_in_pairs),
        cmocka_unit_test(owners_of_an_earlier_version),
        cmocka_unit_test(stays_in_the_store),
        cmocka_unit_test(was_there_before),
        cmocka_unit_test(append),
        cmocka_unit_test(half_an_installation),
        cmocka_unit_test(deletions),
        cmocka_unit_test(deletions_undone),
        cmocka_unit_test(bits),
        cmocka_unit_test(old_files),
        cmocka_unit_test(registry_kept),
        cmocka_unit_test(included),
        cmocka_unit_test(many_configurations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
