/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The OVF descriptor: units, order of the disks, odd exporters, hostile XML, and the corpus. */
#include "formats/ovf.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void units(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        uint64_t bytes; /* 0: not understood */
    } t[] = {
        { "byte", 1 },
        { "byte * 2^20", 1 << 20 },
        { "byte * 2^30", 1 << 30 },
        { " byte*2 ^ 10 ", 1 << 10 },
        { "byte*1024*1024", 1 << 20 },
        { "byte * 10^9", 1000000000 },
        { "Byte * 2^0", 1 },
        { "MegaBytes", 1 << 20 },
        { "MB", 1 << 20 },
        { "GigaBytes", 1 << 30 },
        { "KB", 1 << 10 },
        { "bytes", 1 },
        { "byte * 2^63", UINT64_C(1) << 63 },
        { "byte * 2^64", 0 },
        { "byte * 2^99999999999", 0 },
        { "byte * 99999999999999999999", 0 },
        { "byte * 4294967296 * 4294967296", 0 },
        { "hertz * 10^6", 0 },
        { "bit", 0 },
        { "byte * ", 0 },
        { "byte 2", 0 },
        { "byte * 2^", 0 },
        { "byte / 2", 0 },
        { "byte * 0", 0 },
        { "2^20", 0 },
        { "", 0 },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        uint64_t v = 0;
        bool ok = ovf_unit_bytes(t[i].unit, &v);
        if (ok != (t[i].bytes != 0) || v != t[i].bytes)
            fail_msg("\"%s\" gives %llu", t[i].unit, (unsigned long long)v);
    }
}

static int parse(const char *text, struct ovf **ret, struct fault *fault)
{
    return ovf_parse(text, strlen(text), "x.ovf", ret, fault);
}

static struct ovf *must_parse(const char *text)
{
    struct ovf *o = NULL;
    struct fault fault = { 0 };
    if (parse(text, &o, &fault) < 0)
        fail_msg("%s", fault.what);
    return o;
}

#define OPEN                                                                                                 \
    "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' "                                              \
    "xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1' xmlns:vmw='http://www.vmware.com/schema/ovf' "       \
    "xmlns:vbox='http://www.virtualbox.org/ovf/machine'>"
#define HARDWARE "<VirtualSystem ovf:id='v'><VirtualHardwareSection>"
#define CLOSE    "</VirtualHardwareSection></VirtualSystem></Envelope>"
#define FILES                                                                                                \
    "<References><File ovf:id='f1' ovf:href='1'/><File ovf:id='f2' ovf:href='2'/>"                           \
    "<File ovf:id='f3' ovf:href='3'/></References><DiskSection>"                                             \
    "<Disk ovf:diskId='d1' ovf:fileRef='f1' ovf:capacity='4' ovf:capacityAllocationUnits='byte * 2^30'/>"    \
    "<Disk ovf:diskId='d2' ovf:fileRef='f2' ovf:capacity='512'/>"                                            \
    "<Disk ovf:diskId='d3' ovf:fileRef='f3'/></DiskSection>"
#define CONTROLLER(id, type, address)                                                                        \
    "<Item><InstanceID>" id "</InstanceID><ResourceType>" type "</ResourceType><Address>" address            \
    "</Address></Item>"
#define DISK(parent, unit, resource)                                                                         \
    "<Item><InstanceID>9</InstanceID><ResourceType>17</ResourceType><Parent>" parent                         \
    "</Parent><AddressOnParent>" unit "</AddressOnParent><HostResource>" resource "</HostResource></Item>"

static void disks_in_boot_order(void **state)
{
    (void)state;
    static const struct {
        const char *items;
        const char *order; /* the hrefs */
        const char *place; /* of the first */
    } t[] = {
        /* by unit, by bus */
        { CONTROLLER("3", "6", "0") DISK("3", "1", "ovf:/disk/d2") DISK("3", "0", "/disk/d1")
              DISK("3", "2", "d3"),
          "123", "scsi 0:0" },
        { CONTROLLER("3", "6", "0") CONTROLLER("4", "6", "1") DISK("4", "0", "ovf:/disk/d2")
              DISK("3", "5", "ovf://disk/d3") DISK("3", "0", "ovf:/disk/d1"),
          "132", "scsi 0:0" },
        /* the kind that is first in the document stays first */
        { CONTROLLER("3", "6", "0") CONTROLLER("4", "5", "0") DISK("3", "7", "ovf:/disk/d3")
              DISK("4", "0", "ovf:/disk/d1") DISK("3", "1", "ovf:/disk/d2"),
          "231", "scsi 0:1" },
        /* one without a place, one place twice: document order */
        { CONTROLLER("3", "6", "0") DISK("3", "1", "ovf:/disk/d2") DISK("8", "0", "ovf:/disk/d1")
              DISK("3", "0", "ovf:/disk/d3"),
          "213", "scsi 0:1" },
        { CONTROLLER("3", "6", "0") DISK("3", "1", "ovf:/disk/d2") DISK("3", "0", "ovf:/disk/d1")
              DISK("3", "0", "ovf:/disk/d3"),
          "213", "scsi 0:1" },
        /* a Disk without an Item is last; a File at once */
        { CONTROLLER("3", "5", "1") DISK("3", "1", "ovf:/disk/d3"), "312", "ide 1:1" },
        { DISK("3", "0", "ovf:/file/f2"), "2123", "- -1:0" },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char text[8192], order[16] = "", place[32];
        snprintf(text, sizeof text, OPEN FILES HARDWARE "%s" CLOSE, t[i].items);
        struct ovf *o = must_parse(text);
        for (size_t k = 0; k < o->n_drives; k++)
            strcat(order, o->drives[k].file->href);
        assert_string_equal(order, t[i].order);
        const struct ovf_drive *d = &o->drives[0];
        snprintf(place, sizeof place, "%s %d:%d", d->controller ? d->controller : "-", d->bus, d->unit);
        assert_string_equal(place, t[i].place);
        ovf_free(o);
    }
}

static void controllers_without_a_number_are_counted(void **state)
{
    (void)state;
    struct ovf *o =
        must_parse(OPEN FILES HARDWARE
                   "<Item><InstanceID>1</InstanceID><ResourceType>6</ResourceType></Item>"
                   "<Item><InstanceID>2</InstanceID><ResourceType>6</ResourceType></Item>"
                   "<Item><InstanceID>3</InstanceID><ResourceType>20</ResourceType>"
                   "<ResourceSubType>vmware.nvme.controller</ResourceSubType></Item>" DISK("2", "0", "d1")
                       DISK("1", "0", "d2") DISK("3", "0", "d3") CLOSE);
    assert_string_equal(o->drives[0].file->href, "2");
    assert_int_equal(o->drives[0].bus, 0);
    assert_int_equal(o->drives[1].bus, 1);
    assert_string_equal(o->drives[2].controller, "nvme");
    ovf_free(o);
}

/* Disks at scsi 0:0 and 0:1, and what is said to boot first: the hrefs in order, and the words. */
static void what_boots_first(void **state)
{
    (void)state;
    static const char items[] =
        "<Item><InstanceID>3</InstanceID><ResourceType>6</ResourceType><ResourceSubType>lsilogic"
        "</ResourceSubType></Item>"
        "<Item><InstanceID>11</InstanceID><ResourceType>17</ResourceType><Parent>3</Parent>"
        "<AddressOnParent>0</AddressOnParent><HostResource>ovf:/disk/d1</HostResource></Item>"
        "<Item><InstanceID>12</InstanceID><ResourceType>17</ResourceType><Parent>3</Parent>"
        "<AddressOnParent>1</AddressOnParent><HostResource>ovf:/disk/d2</HostResource></Item>"
        "<Item><InstanceID>13</InstanceID><ResourceType>17</ResourceType><Parent>3</Parent>"
        "<AddressOnParent>2</AddressOnParent><HostResource>ovf:/disk/d3</HostResource></Item>";
    static const struct {
        const char *sections, *config, *order, *words;
    } t[] = {
        { "", "", "123", NULL },
        { "<vmw:BootOrderSection vmw:type='disk' vmw:instanceId='12'/>", "", "213", "disk" },
        { "<vmw:BootOrderSection vmw:type='net' vmw:instanceId='7'/>"
          "<vmw:BootOrderSection vmw:type='disk' vmw:instanceId='13'/>"
          "<vmw:BootOrderSection vmw:type='disk' vmw:instanceId='12'/>",
          "", "321", "net,disk,disk" },
        { "<vmw:BootOrderSection vmw:instanceId='99'/>", "", "123", NULL },
#define BOOT_SOURCE(text)                                                                                    \
    "<b:CIM_BootSourceSetting><b:StructuredBootString>" text                                                 \
    "</b:StructuredBootString></b:CIM_BootSourceSetting>"
#define BOOT_DEVICES(sources)                                                                                \
    "<BootDeviceSection xmlns:b='urn:b'><Info/><b:CIM_BootConfigSetting><b:Caption>x</b:Caption>" sources    \
    "</b:CIM_BootConfigSetting></BootDeviceSection>"
        { BOOT_DEVICES(BOOT_SOURCE("CIM:Hard-Disk:2")), "", "213", "Hard-Disk" },
        { BOOT_DEVICES(BOOT_SOURCE("CIM:CD/DVD:1") BOOT_SOURCE("CIM:Hard-Disk:3")
                           BOOT_SOURCE("CIM:Hard-Disk:2")),
          "", "321", "CD/DVD,Hard-Disk,Hard-Disk" },
        { BOOT_DEVICES(BOOT_SOURCE("CIM:Hard-Disk:3") BOOT_SOURCE("CIM:Hard-Disk:3"))
              BOOT_DEVICES(BOOT_SOURCE("CIM:Hard-Disk:2")),
          "", "312", "Hard-Disk,Hard-Disk" },
        { BOOT_DEVICES(BOOT_SOURCE("CIM:Hard-Disk:0") BOOT_SOURCE("CIM:Hard-Disk:4")
                           BOOT_SOURCE("CIM:Hard-Disk:99999999999999999999") BOOT_SOURCE("ACME:Flash:2:1")
                               BOOT_SOURCE(":") BOOT_SOURCE("")),
          "", "123", "Hard-Disk,Hard-Disk,Hard-Disk:99999999999999999999,ACME:Flash:2,:" },
        { BOOT_DEVICES(""), "", "123", NULL },
        { "<vmw:BootOrderSection vmw:type='disk' vmw:instanceId='13'/>" BOOT_DEVICES(
              BOOT_SOURCE("CIM:Hard-Disk:2")),
          "", "312", "disk" },
        { "", "<vmw:ExtraConfig vmw:key='bios.hddOrder' vmw:value='scsi0:2,scsi0:1'/>", "321", NULL },
        { "", "<vmw:ExtraConfig vmw:key='bios.hddOrder' vmw:value=',scsi0:22 scsi0:1,'/>", "213", NULL },
        { "", "<vmw:ExtraConfig vmw:key='bios.bootOrder' vmw:value='cdrom,hdd'/>", "123", "cdrom,hdd" },
        { "<vbox:Machine><Hardware><Boot><Order position='1' device='HardDisk'/>"
          "<Order position='2' device='None'/><Order device='DVD'/></Boot></Hardware></vbox:Machine>",
          "", "123", "HardDisk,DVD" },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char text[8192], order[16] = "";
        snprintf(text, sizeof text,
                 OPEN FILES "<VirtualSystem ovf:id='v'>%s<VirtualHardwareSection>%s%s" CLOSE, t[i].sections,
                 items, t[i].config);
        struct ovf *o = must_parse(text);
        for (size_t k = 0; k < o->n_drives; k++)
            strcat(order, o->drives[k].file->href);
        assert_string_equal(order, t[i].order);
        assert_string_equal(o->boot_order ? o->boot_order : "-", t[i].words ? t[i].words : "-");
        assert_int_equal(o->n_controllers, 1);
        assert_string_equal(o->controllers[0].kind, "scsi");
        assert_string_equal(o->controllers[0].subtype, "lsilogic");
        ovf_free(o);
    }
}

static void what_the_vm_is(void **state)
{
    (void)state;
    struct ovf *o = must_parse(
        OPEN FILES
        "<VirtualSystem ovf:id='v'><Name> web01 </Name>"
        "<OperatingSystemSection ovf:id='1' vmw:osType='windows2019srv_64Guest'/>"
        "<VirtualHardwareSection>"
        "<Item><ResourceType>3</ResourceType><VirtualQuantity>4</VirtualQuantity>"
        "<vmw:CoresPerSocket>2</vmw:CoresPerSocket></Item>"
        "<Item ovf:bound='max'><ResourceType>3</ResourceType><VirtualQuantity>64</VirtualQuantity></Item>"
        "<Item><ResourceType>4</ResourceType><VirtualQuantity>8</VirtualQuantity>"
        "<AllocationUnits>byte * 2^30</AllocationUnits></Item>"
        "<Item><ResourceType>10</ResourceType><ResourceSubType>VmxNet3</ResourceSubType>"
        "<Connection>VM Network</Connection><Address>00:50:56:01:02:03</Address></Item>"
        "<Item><ResourceType>10</ResourceType><Address>7</Address></Item>"
        "<vmw:Config vmw:value='efi' ovf:required='false' vmw:key='firmware'/>" CLOSE);
    assert_string_equal(o->name, "web01");
    assert_int_equal(o->cores, 2);
    assert_string_equal(o->os_type, "windows2019srv_64Guest");
    assert_string_equal(o->firmware, "efi");
    assert_int_equal(o->cpus, 4);
    assert_true(o->memory == UINT64_C(8) << 30);
    assert_int_equal(o->n_nics, 2);
    assert_string_equal(o->nics[0].mac, "00:50:56:01:02:03");
    assert_string_equal(o->nics[0].network, "VM Network");
    assert_null(o->nics[1].mac);
    assert_true(o->disks[0].capacity == UINT64_C(4) << 30);
    assert_true(o->disks[1].capacity == 512);
    ovf_free(o);
    o = must_parse(OPEN FILES "<VirtualSystem ovf:id='v'><VirtualHardwareSection/>"
                              "<vbox:Machine><Hardware><Firmware type='EFI'/></Hardware></vbox:Machine>"
                              "</VirtualSystem></Envelope>");
    assert_string_equal(o->firmware, "efi");
    assert_string_equal(o->name, "v");
    ovf_free(o);
}

static void configurations_replace_items(void **state)
{
    (void)state;
    struct ovf *o = must_parse(
        OPEN "<DeploymentOptionSection><Configuration ovf:id='small'/>"
             "<Configuration ovf:id='large' ovf:default='true'/></DeploymentOptionSection>" HARDWARE
             "<Item><InstanceID>1</InstanceID><ResourceType>3</ResourceType><VirtualQuantity>1</"
             "VirtualQuantity></Item>"
             "<Item ovf:configuration='x large'><InstanceID>1</InstanceID><ResourceType>3</ResourceType>"
             "<VirtualQuantity>8</VirtualQuantity></Item>"
             "<Item ovf:configuration='small larger'><InstanceID>1</InstanceID><ResourceType>3</ResourceType>"
             "<VirtualQuantity>2</VirtualQuantity></Item>" CLOSE);
    assert_int_equal(o->cpus, 8);
    ovf_free(o);
}

static void what_is_missing_is_said(void **state)
{
    (void)state;
    struct ovf *o = must_parse(OPEN "<DiskSection><Disk ovf:diskId='d1' ovf:fileRef='f9' ovf:capacity='-1'/>"
                                    "</DiskSection>" HARDWARE DISK("1", "0", "ovf:/disk/d7") CLOSE);
    assert_int_equal(o->n_drives, 2);
    assert_string_equal(o->drives[0].missing, "Disk d7");
    assert_string_equal(o->drives[1].missing, "File f9");
    assert_int_equal(o->disks[0].capacity, 0);
    assert_int_equal(o->notes.n, 1);
    ovf_free(o);
}

static void the_first_of_several_systems(void **state)
{
    (void)state;
    struct ovf *o = must_parse(
        OPEN FILES
        "<VirtualSystemCollection ovf:id='app'><VirtualSystem ovf:id='one'><VirtualHardwareSection>" DISK(
            "1", "0",
            "ovf:/disk/d2") "</VirtualHardwareSection></VirtualSystem><VirtualSystemCollection>"
                            "<VirtualSystem ovf:id='two'><VirtualHardwareSection>" DISK("1", "0",
                                                                                        "ovf:/disk/d1")
                                DISK("1", "1", "ovf:/disk/d3") "</VirtualHardwareSection></VirtualSystem>"
                                                               "</VirtualSystemCollection>"
                                                               "</VirtualSystemCollection></Envelope>");
    assert_string_equal(o->name, "one");
    assert_int_equal(o->n_drives, 1);
    assert_string_equal(o->drives[0].file->href, "2");
    assert_string_equal(o->notes.lines[0],
                        "the package has another virtual system, \"two\", which is not shown");
    ovf_free(o);
}

static void old_sections(void **state)
{
    (void)state;
    struct ovf *o =
        must_parse("<Envelope xmlns='http://www.vmware.com/schema/ovf/1/envelope' "
                   "xmlns:o='http://www.vmware.com/schema/ovf/1/"
                   "envelope' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>"
                   "<References><File id='f' href='a.vmdk'/></References>"
                   "<Section xsi:type='o:DiskSection_Type'><Disk diskId='d' fileRef='f' capacity='1' "
                   "boot='true'/></Section>"
                   "<Content xsi:type='o:VirtualSystem_Type' id='old'>"
                   "<Section xsi:type='o:VirtualHardwareSection_Type'><Item><InstanceId>6</InstanceId>"
                   "<ResourceType>17</ResourceType><HostResource>/disk/d</HostResource></Item></Section></"
                   "Content></Envelope>");
    assert_string_equal(o->name, "old");
    assert_string_equal(o->drives[0].file->href, "a.vmdk");
    assert_true(o->disks[0].boot);
    ovf_free(o);
}

static void properties_stand_for_capacities(void **state)
{
    (void)state;
    struct ovf *o = must_parse(
        OPEN "<DiskSection><Disk ovf:diskId='d' ovf:capacity='${size}' "
             "ovf:capacityAllocationUnits='byte * 2^30'/></DiskSection>"
             "<VirtualSystem ovf:id='v'><ProductSection><Property ovf:key='other' ovf:value='1'/>"
             "<Property ovf:key='size' ovf:value='5'/></ProductSection></VirtualSystem></Envelope>");
    assert_true(o->disks[0].capacity == UINT64_C(5) << 30);
    ovf_free(o);
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int err;
        const char *what; /* its beginning */
    } t[] = {
        { "", -EMEDIUMTYPE, "is empty" },
        { "<VirtualBox xmlns='http://www.virtualbox.org/'/>", -EMEDIUMTYPE,
          "is an XML file with the root <VirtualBox> of http://www.virtualbox.org/, not an OVF" },
        { "<domain/>", -EMEDIUMTYPE, "is an XML file with the root <domain>, not an OVF" },
        { "<Envelope xmlns='http://schemas.xmlsoap.org/soap/envelope/'/>", -EMEDIUMTYPE,
          "is an XML file with the root <Envelope> of http://schemas.xmlsoap.org/soap/envelope/, not an "
          "OVF" },
        { "<Envelope>\n<References>\n</Envelope>", -EUCLEAN, "isn't well-formed XML: line 3: " },
        { "<Envelope><a:b/></Envelope>", -EUCLEAN, "isn't well-formed XML: line 1: " },
        { "<Envelope>&boom;</Envelope>", -EUCLEAN, "isn't well-formed XML: line 1: " },
        { "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]><Envelope>&b;</Envelope>",
          -EUCLEAN, "has a DOCTYPE, which no OVF has: refused unread" },
        { "<!DOCTYPE x SYSTEM 'file:///etc/passwd'><Envelope/>", -EUCLEAN,
          "has a DOCTYPE, which no OVF has: refused unread" },
        { "<?xml version='1.0'?>", -EUCLEAN, "isn't well-formed XML: line 1: " },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct ovf *o = NULL;
        struct fault fault = { 0 };
        assert_int_equal(parse(t[i].text, &o, &fault), t[i].err);
        assert_null(o);
        if (strncmp(fault.what, t[i].what, strlen(t[i].what)) != 0)
            fail_msg("\"%s\" says \"%s\"", t[i].text, fault.what);
    }
}

static char *repeated(const char *before, const char *piece, size_t times, const char *after)
{
    size_t n = strlen(piece);
    char *text = malloc(strlen(before) + n * times + strlen(after) + 1), *p;
    assert_non_null(text);
    p = stpcpy(text, before);
    for (size_t i = 0; i < times; i++)
        p = stpcpy(p, piece);
    strcpy(p, after);
    return text;
}

static void limits_hold(void **state)
{
    (void)state;
    static const struct {
        const char *before, *piece, *after;
        size_t times;
        int err;
    } t[] = {
        { "<Envelope>", "<a>", "", 300, -EUCLEAN },
        { "<Envelope><References>", "<File/>", "</References></Envelope>", OVF_MAX_ENTRIES + 1, -EFBIG },
        { "<Envelope><DiskSection>", "<Disk/>", "</DiskSection></Envelope>", OVF_MAX_ENTRIES + 1, -EFBIG },
        { "<Envelope>", "<VirtualSystem/>", "</Envelope>", OVF_MAX_ENTRIES + 1, -EFBIG },
        { "<Envelope><VirtualSystem><VirtualHardwareSection>", "<Item/>",
          "</VirtualHardwareSection></VirtualSystem></Envelope>", OVF_MAX_ENTRIES + 1, -EFBIG },
        { "<Envelope>", "                ", "</Envelope>", OVF_MAX_SIZE / 16, -EFBIG },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct ovf *o = NULL;
        struct fault fault = { 0 };
        char *text = repeated(t[i].before, t[i].piece, t[i].times, t[i].after);
        assert_int_equal(parse(text, &o, &fault), t[i].err);
        free(text);
    }
}

static void what_looks_like_xml(void **state)
{
    (void)state;
    assert_true(ovf_looks_like_xml("<?xml", 5));
    assert_true(ovf_looks_like_xml("\xef\xbb\xbf\r\n <Envelope", 15));
    assert_true(ovf_looks_like_xml("\xff\xfe<\0E\0", 6));
    assert_true(ovf_looks_like_xml("\xfe\xff\0<\0E", 6));
    assert_false(ovf_looks_like_xml("<<< Oracle VM VirtualBox Disk Image >>>", 39));
    assert_false(ovf_looks_like_xml("<a\0\0", 4));
    assert_false(ovf_looks_like_xml("", 0));
    assert_false(ovf_looks_like_xml("<", 1));
    assert_false(ovf_looks_like_xml("KDMV", 4));
}

/* ---- the corpus ---- */

static size_t number_after(const char *line, const char *key)
{
    const char *p = strstr(line, key);
    return p ? strtoul(p + strlen(key), NULL, 10) : 0;
}

static void check_corpus_file(const char *line, const char *dir, const char *file)
{
    char command[1024];
    static char text[1 << 20];
    size_t len = strlen(file);
    bool xz = len > 3 && !strcmp(file + len - 3, ".xz");
    snprintf(command, sizeof command, "%s '%s/%s'", xz ? "xz -dc" : "cat", dir, file);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(text, 1, sizeof text, pipe);
    assert_int_equal(pclose(pipe), 0);
    struct ovf *o = NULL;
    struct fault fault = { 0 };
    int r = ovf_parse(text, n, file, &o, &fault);
    /* Of those that aren't well-formed we read XenCenter's: its label "utf-16" is plainly wrong. */
    bool invalid = strstr(line, "NOT WELL-FORMED") && !strstr(file, "xenadmin");
    if ((r < 0) != invalid)
        fail_msg("%s: %s", file, r < 0 ? fault.what : "was not refused");
    if (r < 0) {
        assert_int_equal(r, -EUCLEAN);
        return;
    }
    if (!strstr(line, "NOT WELL-FORMED") &&
        (o->n_files != number_after(line, "; File: ") || o->n_disks != number_after(line, "; Disk: ")))
        fail_msg("%s: %zu files, %zu disks", file, o->n_files, o->n_disks);
    ovf_free(o);
}

static void corpus(void **state)
{
    (void)state;
    const char *dir = getenv("FERRYFS_CORPUS");
    char path[1024];
    static char line[65536];
    unsigned seen = 0;
    if (!dir) {
        print_message("FERRYFS_CORPUS is not set\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/INDEX.md", dir);
    FILE *index = fopen(path, "r");
    assert_non_null(index);
    while (fgets(line, sizeof line, index)) {
        char file[512];
        if (sscanf(line, "| `%511[^`]`", file) != 1 || strncmp(file, "ovf/", 4) != 0 || !strstr(file, ".ovf"))
            continue;
        check_corpus_file(line, dir, file);
        seen++;
    }
    fclose(index);
    assert_int_equal(seen, 88);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units),
        cmocka_unit_test(disks_in_boot_order),
        cmocka_unit_test(controllers_without_a_number_are_counted),
        cmocka_unit_test(what_boots_first),
        cmocka_unit_test(what_the_vm_is),
        cmocka_unit_test(configurations_replace_items),
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(the_first_of_several_systems),
        cmocka_unit_test(old_sections),
        cmocka_unit_test(properties_stand_for_capacities),
        cmocka_unit_test(refusals),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(what_looks_like_xml),
        cmocka_unit_test(corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
