/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tables of the boot configuration: elements by the kind of object that they stand in, words of integers,
 * and well-known objects. */
#include "bcd.h"
#include "guid.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* What an application element's number means depends on the application; bits of struct element.in. */
enum { ANY = 1, BOOTMGR = 2, LOADER = 4, RESUME = 8, MEMDIAG = 16, DEVICE = 32, TEMPLATE = 64 };

struct element {
    uint32_t number;
    uint8_t in;
    bool hex;
    const char *name;
    const char *words; /* of the values 0, 1, ...: separated by blanks, "-" for one without */
};

static const struct element elements[] = {
    /* library: in every object */
    { 0x11000001, ANY, 0, "device", NULL },
    { 0x12000002, ANY, 0, "path", NULL },
    { 0x12000004, ANY, 0, "description", NULL },
    { 0x12000005, ANY, 0, "locale", NULL },
    { 0x14000006, ANY, 0, "inherit", NULL },
    { 0x15000007, ANY, 1, "truncatememory", NULL },
    { 0x14000008, ANY, 0, "recoverysequence", NULL },
    { 0x16000009, ANY, 0, "recoveryenabled", NULL },
    { 0x1700000a, ANY, 0, "badmemorylist", NULL },
    { 0x1600000b, ANY, 0, "badmemoryaccess", NULL },
    { 0x1500000c, ANY, 0, "firstmegabytepolicy", "UseNone UseAll UsePrivate" },
    { 0x1500000d, ANY, 1, "relocatephysical", NULL },
    { 0x1500000e, ANY, 1, "avoidlowmemory", NULL },
    { 0x16000010, ANY, 0, "bootdebug", NULL },
    { 0x15000011, ANY, 0, "debugtype", "Serial 1394 USB Net Local" },
    { 0x15000012, ANY, 1, "debugaddress", NULL },
    { 0x15000013, ANY, 0, "debugport", NULL },
    { 0x15000014, ANY, 0, "baudrate", NULL },
    { 0x15000015, ANY, 0, "channel", NULL },
    { 0x12000016, ANY, 0, "targetname", NULL },
    { 0x16000017, ANY, 0, "noumex", NULL },
    { 0x15000018, ANY, 0, "debugstart", "Active AutoEnable Disable" },
    { 0x12000019, ANY, 0, "busparams", NULL },
    { 0x1500001a, ANY, 0, "hostip", NULL },
    { 0x1500001b, ANY, 0, "port", NULL },
    { 0x1600001c, ANY, 0, "dhcp", NULL },
    { 0x1200001d, ANY, 0, "key", NULL },
    { 0x16000020, ANY, 0, "bootems", NULL },
    { 0x15000022, ANY, 0, "emsport", NULL },
    { 0x15000023, ANY, 0, "emsbaudrate", NULL },
    { 0x12000030, ANY, 0, "loadoptions", NULL },
    { 0x16000031, ANY, 0, "attemptnonbcdstart", NULL },
    { 0x16000040, ANY, 0, "advancedoptions", NULL },
    { 0x16000041, ANY, 0, "optionsedit", NULL },
    { 0x15000042, ANY, 1, "keyringaddress", NULL },
    { 0x11000043, ANY, 0, "bootstatdevice", NULL },
    { 0x12000044, ANY, 0, "bootstatfilepath", NULL },
    { 0x16000045, ANY, 0, "preservebootstat", NULL },
    { 0x16000046, ANY, 0, "graphicsmodedisabled", NULL },
    { 0x15000047, ANY, 0, "configaccesspolicy", "Default DisallowMmConfig" },
    { 0x16000048, ANY, 0, "nointegritychecks", NULL },
    { 0x16000049, ANY, 0, "testsigning", NULL },
    { 0x1200004a, ANY, 0, "fontpath", NULL },
    { 0x1500004b, ANY, 0, "integrityservices", "Default Disable Enable" },
    { 0x1500004c, ANY, 1, "volumebandid", NULL },
    { 0x16000050, ANY, 0, "extendedinput", NULL },
    { 0x15000051, ANY, 0, "initialconsoleinput", NULL },
    { 0x15000052, ANY, 0, "graphicsresolution", "1024x768 800x600 1024x600" },
    { 0x16000053, ANY, 0, "restartonfailure", NULL },
    { 0x16000054, ANY, 0, "highestmode", NULL },
    { 0x16000060, ANY, 0, "isolatedcontext", NULL },
    { 0x15000065, ANY, 0, "displaymessage",
      "Default Resume HyperV Recovery StartupRepair SystemImageRecovery "
      "CommandPrompt SystemRestore PushButtonReset" },
    { 0x15000066, ANY, 0, "displaymessageoverride",
      "Default Resume HyperV Recovery StartupRepair SystemImageRecovery "
      "CommandPrompt SystemRestore PushButtonReset" },
    { 0x16000067, ANY, 0, "nobootuxlogo", NULL },
    { 0x16000068, ANY, 0, "nobootuxtext", NULL },
    { 0x16000069, ANY, 0, "nobootuxprogress", NULL },
    { 0x1600006a, ANY, 0, "nobootuxfade", NULL },
    { 0x1600006c, ANY, 0, "bootuxdisabled", NULL },
    { 0x16000072, ANY, 0, "nokeyboard", NULL },
    { 0x16000074, ANY, 0, "bootshutdowndisabled", NULL },
    { 0x17000077, ANY, 1, "allowedinmemorysettings", NULL },
    { 0x16000079, ANY, 0, "forcefipscrypto", NULL },
    { 0x1600007e, ANY, 0, "flightsigning", NULL },
    { 0x16000082, ANY, 0, "nofirmwaresync", NULL },
    { 0x11000084, ANY, 0, "windowssyspart", NULL },

    { 0x24000001, BOOTMGR, 0, "displayorder", NULL },
    { 0x24000002, BOOTMGR, 0, "bootsequence", NULL },
    { 0x23000003, BOOTMGR, 0, "default", NULL },
    { 0x25000004, BOOTMGR, 0, "timeout", NULL },
    { 0x26000005, BOOTMGR, 0, "resume", NULL },
    { 0x23000006, BOOTMGR, 0, "resumeobject", NULL },
    { 0x24000010, BOOTMGR, 0, "toolsdisplayorder", NULL },
    { 0x26000020, BOOTMGR, 0, "displaybootmenu", NULL },
    { 0x26000021, BOOTMGR, 0, "noerrordisplay", NULL },
    { 0x21000022, BOOTMGR, 0, "bcddevice", NULL },
    { 0x22000023, BOOTMGR, 0, "bcdfilepath", NULL },
    { 0x26000024, BOOTMGR, 0, "hormenabled", NULL },
    { 0x26000025, BOOTMGR, 0, "hiberboot", NULL },
    { 0x26000028, BOOTMGR, 0, "processcustomactionsfirst", NULL },
    { 0x27000030, BOOTMGR, 1, "customactions", NULL },
    { 0x26000031, BOOTMGR, 0, "persistbootsequence", NULL },

    { 0x21000001, LOADER, 0, "osdevice", NULL },
    { 0x22000002, LOADER, 0, "systemroot", NULL },
    { 0x23000003, LOADER, 0, "resumeobject", NULL },
    { 0x26000004, LOADER, 0, "stampdisks", NULL },
    { 0x26000010, LOADER, 0, "detecthal", NULL },
    { 0x22000011, LOADER, 0, "kernel", NULL },
    { 0x22000012, LOADER, 0, "hal", NULL },
    { 0x22000013, LOADER, 0, "dbgtransport", NULL },
    { 0x25000020, LOADER, 0, "nx", "OptIn OptOut AlwaysOff AlwaysOn" },
    { 0x25000021, LOADER, 0, "pae", "Default ForceEnable ForceDisable" },
    { 0x26000022, LOADER, 0, "winpe", NULL },
    { 0x26000024, LOADER, 0, "nocrashautoreboot", NULL },
    { 0x26000025, LOADER, 0, "lastknowngood", NULL },
    { 0x26000026, LOADER, 0, "oslnointegritychecks", NULL },
    { 0x26000027, LOADER, 0, "osltestsigning", NULL },
    { 0x26000030, LOADER, 0, "nolowmem", NULL },
    { 0x25000031, LOADER, 1, "removememory", NULL },
    { 0x25000032, LOADER, 0, "increaseuserva", NULL },
    { 0x25000033, LOADER, 0, "perfmem", NULL },
    { 0x26000040, LOADER, 0, "vga", NULL },
    { 0x26000041, LOADER, 0, "quietboot", NULL },
    { 0x26000042, LOADER, 0, "novesa", NULL },
    { 0x26000043, LOADER, 0, "novga", NULL },
    { 0x25000050, LOADER, 0, "clustermodeaddressing", NULL },
    { 0x26000051, LOADER, 0, "usephysicaldestination", NULL },
    { 0x25000052, LOADER, 0, "restrictapiccluster", NULL },
    { 0x26000054, LOADER, 0, "uselegacyapicmode", NULL },
    { 0x25000055, LOADER, 0, "x2apicpolicy", "Default Disable Enable" },
    { 0x26000060, LOADER, 0, "onecpu", NULL },
    { 0x25000061, LOADER, 0, "numproc", NULL },
    { 0x26000062, LOADER, 0, "maxproc", NULL },
    { 0x25000063, LOADER, 1, "configflags", NULL },
    { 0x26000064, LOADER, 0, "maxgroup", NULL },
    { 0x26000065, LOADER, 0, "groupaware", NULL },
    { 0x25000066, LOADER, 0, "groupsize", NULL },
    { 0x26000070, LOADER, 0, "usefirmwarepcisettings", NULL },
    { 0x25000071, LOADER, 0, "msi", "Default ForceDisable" },
    { 0x25000072, LOADER, 0, "pciexpress", "Default ForceDisable" },
    { 0x25000080, LOADER, 0, "safeboot", "Minimal Network DsRepair" },
    { 0x26000081, LOADER, 0, "safebootalternateshell", NULL },
    { 0x26000090, LOADER, 0, "bootlog", NULL },
    { 0x26000091, LOADER, 0, "sos", NULL },
    { 0x260000a0, LOADER, 0, "debug", NULL },
    { 0x260000a1, LOADER, 0, "halbreakpoint", NULL },
    { 0x260000a2, LOADER, 0, "useplatformclock", NULL },
    { 0x260000a3, LOADER, 0, "forcelegacyplatform", NULL },
    { 0x260000a4, LOADER, 0, "useplatformtick", NULL },
    { 0x260000a5, LOADER, 0, "disabledynamictick", NULL },
    { 0x250000a6, LOADER, 0, "tscsyncpolicy", "Default Legacy Enhanced" },
    { 0x260000b0, LOADER, 0, "ems", NULL },
    { 0x250000c1, LOADER, 0, "driverloadfailurepolicy", "Fatal UseErrorControl" },
    { 0x250000c2, LOADER, 0, "bootmenupolicy", "Legacy Standard" },
    { 0x260000c3, LOADER, 0, "onetimeadvancedoptions", NULL },
    { 0x260000c4, LOADER, 0, "onetimeoptionsedit", NULL },
    { 0x250000e0, LOADER, 0, "bootstatuspolicy",
      "DisplayAllFailures IgnoreAllFailures IgnoreShutdownFailures IgnoreBootFailures "
      "IgnoreCheckpointFailures "
      "DisplayShutdownFailures DisplayBootFailures DisplayCheckpointFailures" },
    { 0x260000e1, LOADER, 0, "disableelamdrivers", NULL },
    { 0x250000f0, LOADER, 0, "hypervisorlaunchtype", "Off Auto" },
    { 0x220000f1, LOADER, 0, "hypervisorpath", NULL },
    { 0x260000f2, LOADER, 0, "hypervisordebug", NULL },
    { 0x250000f3, LOADER, 0, "hypervisordebugtype", "Serial 1394 None Net" },
    { 0x250000f4, LOADER, 0, "hypervisordebugport", NULL },
    { 0x250000f5, LOADER, 0, "hypervisorbaudrate", NULL },
    { 0x250000f6, LOADER, 0, "hypervisorchannel", NULL },
    { 0x250000f7, LOADER, 0, "bootux", "Disabled Basic Standard" },
    { 0x260000f8, LOADER, 0, "hypervisordisableslat", NULL },
    { 0x250000fa, LOADER, 0, "hypervisornumproc", NULL },
    { 0x250000fb, LOADER, 0, "hypervisorrootprocpernode", NULL },
    { 0x260000fc, LOADER, 0, "hypervisoruselargevtlb", NULL },
    { 0x25000100, LOADER, 0, "tpmbootentropy", "Default ForceDisable ForceEnable" },
    { 0x25000115, LOADER, 0, "hypervisoriommupolicy", "Default Enable Disable" },
    { 0x25000120, LOADER, 0, "xsavepolicy", NULL },
    { 0x2500012b, LOADER, 0, "xsavedisable", NULL },
    { 0x25000142, LOADER, 0, "vsmlaunchtype", "Off Auto" },

    { 0x21000001, RESUME, 0, "filedevice", NULL },
    { 0x22000002, RESUME, 0, "filepath", NULL },
    { 0x26000003, RESUME, 0, "customsettings", NULL },
    { 0x26000004, RESUME, 0, "pae", NULL },
    { 0x21000005, RESUME, 0, "associatedosdevice", NULL },
    { 0x26000006, RESUME, 0, "debugoptionenabled", NULL },
    { 0x25000007, RESUME, 0, "bootux", "Disabled Basic Standard" },
    { 0x25000008, RESUME, 0, "bootmenupolicy", "Legacy Standard" },

    { 0x25000001, MEMDIAG, 0, "passcount", NULL },
    { 0x25000002, MEMDIAG, 0, "testmix", "Basic Extended" },

    { 0x35000001, DEVICE, 0, "ramdiskimageoffset", NULL },
    { 0x35000002, DEVICE, 0, "ramdisktftpclientport", NULL },
    { 0x31000003, DEVICE, 0, "ramdisksdidevice", NULL },
    { 0x32000004, DEVICE, 0, "ramdisksdipath", NULL },
    { 0x35000005, DEVICE, 0, "ramdiskimagelength", NULL },
    { 0x36000006, DEVICE, 0, "exportascd", NULL },
    { 0x35000007, DEVICE, 0, "ramdisktftpblocksize", NULL },

    { 0x45000001, TEMPLATE, 0, "devicetype", NULL },
    { 0x42000002, TEMPLATE, 0, "applicationrelativepath", NULL },
    { 0x42000003, TEMPLATE, 0, "ramdiskdevicerelativepath", NULL },
    { 0x46000004, TEMPLATE, 0, "omitosloaderelements", NULL },
    { 0x46000010, TEMPLATE, 0, "recoveryos", NULL },
};
enum { N_ELEMENTS = sizeof elements / sizeof elements[0] };

/* The tables that apply to an object. */
static unsigned tables_of(uint32_t object_type)
{
    unsigned t = ANY | TEMPLATE;
    if (object_type >> 28 == 3)
        return t | DEVICE;
    switch (object_type & 0xfffff) {
    case 1:
    case 2:
        return t | BOOTMGR;
    case 3:
        return t | LOADER;
    case 4:
        return t | RESUME;
    case 5:
        return t | MEMDIAG;
    default:
        return t;
    }
}

static const struct element *find(uint32_t object_type, uint32_t number)
{
    unsigned tables = tables_of(object_type);
    for (size_t i = 0; i < N_ELEMENTS; i++)
        if (elements[i].number == number && elements[i].in & tables)
            return &elements[i];
    return NULL;
}

const char *bcd_element_name(uint32_t object_type, uint32_t element)
{
    const struct element *e = find(object_type, element);
    return e ? e->name : NULL;
}

static bool parse_number(const char *s, uint32_t *ret)
{
    uint32_t v = 0;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
        s += 2;
    if (strlen(s) != 8)
        return false;
    for (size_t i = 0; i < 8; i++) {
        if (!isxdigit((unsigned char)s[i]))
            return false;
        v = v << 4 | (uint32_t)(isdigit((unsigned char)s[i]) ? s[i] - '0' : (s[i] | 32) - 'a' + 10);
    }
    *ret = v;
    return true;
}

bool bcd_element_number(uint32_t object_type, const char *name, uint32_t *ret)
{
    unsigned tables = tables_of(object_type);
    for (size_t i = 0; i < N_ELEMENTS; i++)
        if (elements[i].in & tables && !strcasecmp(elements[i].name, name)) {
            *ret = elements[i].number;
            return true;
        }
    return parse_number(name, ret);
}

bool bcd_is_hex(uint32_t object_type, uint32_t element)
{
    const struct element *e = find(object_type, element);
    return e && e->hex;
}

/* ---- words ---- */

/* The word of number `value`: where it begins, and its length. */
static const char *nth_word(const char *words, uint64_t value, size_t *ret_n)
{
    for (; words; value--) {
        size_t n = strcspn(words, " ");
        if (!value) {
            *ret_n = n;
            return n == 1 && words[0] == '-' ? NULL : words;
        }
        words = words[n] ? words + n + 1 : NULL;
    }
    return NULL;
}

const char *bcd_word(uint32_t object_type, uint32_t element, uint64_t value)
{
    static __thread char word[32];
    const struct element *e = find(object_type, element);
    size_t n;
    const char *w = e && value < 32 ? nth_word(e->words, value, &n) : NULL;
    if (!w || n >= sizeof word)
        return NULL;
    memcpy(word, w, n);
    word[n] = 0;
    return word;
}

bool bcd_word_value(uint32_t object_type, uint32_t element, const char *word, uint64_t *ret)
{
    for (uint64_t v = 0; v < 32; v++) {
        const char *w = bcd_word(object_type, element, v);
        if (w && !strcasecmp(w, word)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

/* ---- well-known objects ---- */

static const struct {
    const char *alias, *guid;
    uint32_t type;
} known[] = {
    { "bootmgr", "9dea862c-5cdd-4e70-acc1-f32b344d4795", 0x10100002 },
    { "fwbootmgr", "a5a30fa2-3d06-4e9f-b5f4-a01df9d1fcba", 0x10100001 },
    { "memdiag", "b2721d73-1db4-4c62-bf78-c548a880142d", 0x10200005 },
    { "ntldr", "466f5a88-0af2-4f76-9038-095b170dc21c", 0x10300006 },
    { "ramdiskoptions", "ae5534e0-a924-466c-b836-758539a3ee3a", 0x30000000 },
    { "globalsettings", "7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e", 0x20100000 },
    { "bootloadersettings", "6efb52bf-1766-41db-a6b3-0ee5eff72bd7", 0x20200003 },
    { "resumeloadersettings", "1afa9c49-16ab-4a5c-901b-212802da9460", 0x20200004 },
    { "dbgsettings", "4636856e-540f-4170-a130-a84776f4c654", 0x20100000 },
    { "emssettings", "0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9", 0x20100000 },
    { "badmemory", "5189b25c-5558-4bf2-bca4-289b11bd29e2", 0x20100000 },
    { "hypervisorsettings", "7ff607e0-4395-11db-b0de-0800200c9a66", 0x20200003 },
    { "kerneldbgsettings", "313e8eed-7098-4586-a9bf-309c61f8d449", 0x20200003 },
};
enum { N_KNOWN = sizeof known / sizeof known[0] };

const char *bcd_alias_at(size_t i, uint8_t ret[16])
{
    if (i >= N_KNOWN || !guid_from_text(known[i].guid, GUID_TEXT, ret))
        return NULL;
    return known[i].alias;
}

static size_t index_of(const uint8_t guid[16])
{
    uint8_t g[16];
    size_t i = 0;
    while (bcd_alias_at(i, g) && memcmp(g, guid, 16) != 0)
        i++;
    return i;
}

const char *bcd_alias(const uint8_t guid[16])
{
    size_t i = index_of(guid);
    return i < N_KNOWN ? known[i].alias : NULL;
}

uint32_t bcd_alias_type(const uint8_t guid[16])
{
    size_t i = index_of(guid);
    return i < N_KNOWN ? known[i].type : 0;
}

bool bcd_alias_guid(const char *alias, size_t n, uint8_t ret[16])
{
    if (n == strlen("legacy") && !strncasecmp(alias, "legacy", n))
        return bcd_alias_guid("ntldr", strlen("ntldr"), ret);
    for (size_t i = 0; i < N_KNOWN; i++)
        if (strlen(known[i].alias) == n && !strncasecmp(alias, known[i].alias, n))
            return guid_from_text(known[i].guid, GUID_TEXT, ret);
    return false;
}
