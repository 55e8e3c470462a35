/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VirtualHardwareSection of an OVF: a flat list of Items, each one device.
 *
 *     Item  InstanceID 3  ResourceType 6 (SCSI controller)  Address 0
 *     Item  InstanceID 7  ResourceType 17 (disk)  Parent 3  AddressOnParent 1  HostResource ovf:/disk/vmdisk2
 *
 * Which Items count: those that belong to no configuration (DeploymentOptionSection), and those of the
 * default one, which take the place of an Item with the same InstanceID; min and max bounds are no devices.
 *
 * The disks' order, disk0 first: within the controllers of one kind by bus and unit; the kinds in the order
 * in which the disk Items first name them. That needs every disk to have a place of its own; where exporters
 * leave it out or give one twice (XenCenter, vSAN witness appliances), the Items' order is all there is. A
 * Disk that no Item of any system names comes last.
 *
 * Before all that comes what is said to boot first: the disk that oVirt marks boot="true"; vCenter's
 *
 *     <vmw:BootOrderSection vmw:type="disk" vmw:instanceId="8"/>
 *
 * one section for each device; the standard's (2.0)
 *
 *     <BootDeviceSection><CIM_BootConfigSetting>
 *         <CIM_BootSourceSetting><StructuredBootString>CIM:Hard-Disk:2</StructuredBootString></...>
 *
 * one setting for each device, the disks numbered from 1 as their Items follow each other; and VMware's
 * setting bios.hddOrder = "scsi0:1,scsi0:0".
 *
 * Sources: DSP0243 (8.1, 8.4, 9.1, BootDeviceSection of 2.0), CIM_ResourceAllocationSettingData,
 * CIM_BootSourceSetting; packages of vCenter and VirtualBox. */
#include "checked.h"
#include "ovf-xml.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { /* CIM ResourceType */
       TYPE_CPU = 3,
       TYPE_MEMORY = 4,
       TYPE_IDE = 5,
       TYPE_SCSI = 6,
       TYPE_ETHERNET = 10,
       TYPE_DISK = 17,
       TYPE_OTHER_STORAGE = 20, /* SATA and NVMe controllers, by their ResourceSubType */
       TYPE_LOGICAL_DISK = 31,
};
#define NOT_FIRST SIZE_MAX
enum { MAX_BOOT_ORDER = 64 }; /* devices to boot from; each is looked for among all drives */

struct item {
    const xmlNode *node;
    char *id; /* InstanceID, owned, may be NULL */
    uint64_t type;
    bool configured; /* it belongs to the default configuration */
};

struct hardware {
    struct ovf *ovf;
    const char *name;
    struct fault *fault;
    struct item *items;
    size_t n_items;
    struct place *places; /* of each drive */
    bool incomplete;      /* not every drive has a place */
};

/* Where a drive is plugged in, for sorting. */
struct place {
    size_t drive;            /* index in ovf->drives */
    size_t kind;             /* the first drive with the same controller */
    const struct item *item; /* NULL: none names the disk */
    size_t boot;             /* its number in the boot order; NOT_FIRST: it isn't there */
    bool appended;
};

static int no_memory(struct hardware *h)
{
    return fault_in(h->fault, -ENOMEM, h->name, "out of memory");
}

/* ---- choosing the section and its Items ---- */

/* The first section for a hypervisor that exists, else the first: several are alternatives. */
static const xmlNode *choose_section(const xmlNode *system)
{
    static const char *const known[] = { "vmx-", "virtualbox-", "xen-", "hvm-", "kvm", "ovirt", "rhev" };
    OVF_EACH(section, system, "VirtualHardwareSection")
    {
        const xmlNode *sys = ovf_child(section, "System");
        _cleanup_free_ char *type = sys ? ovf_child_text(sys, "VirtualSystemType") : NULL;
        for (size_t i = 0; type && i < sizeof known / sizeof known[0]; i++)
            if (!strncasecmp(type, known[i], strlen(known[i])))
                return section;
    }
    return ovf_child(system, "VirtualHardwareSection");
}

/* The id of the default configuration, the caller's; NULL: there are none. */
static char *default_configuration(const xmlNode *envelope)
{
    const xmlNode *section = ovf_child(envelope, "DeploymentOptionSection");
    OVF_EACH(c, section, "Configuration")
    {
        if (ovf_attribute_is(c, "default", "true"))
            return ovf_attribute(c, "id");
    }
    const xmlNode *first = ovf_child(section, "Configuration");
    return first ? ovf_attribute(first, "id") : NULL;
}

/* Is `word` one of the blank-separated words of `list`? */
static bool lists(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, " \t\r\n");
        if (len == n && !memcmp(p, word, n))
            return true;
        p += len;
        p += strspn(p, " \t\r\n");
    }
    return false;
}

static bool is_item(const xmlNode *n)
{
    static const char *const kinds[] = { "Item", "StorageItem", "EthernetPortItem" };
    for (size_t i = 0; n->type == XML_ELEMENT_NODE && i < sizeof kinds / sizeof kinds[0]; i++) {
        const char *colon = strrchr((const char *)n->name, ':');
        if (!strcmp(colon ? colon + 1 : (const char *)n->name, kinds[i]))
            return true;
    }
    return false;
}

/* Does it stand for a device of the default configuration? */
static bool applies(const xmlNode *n, const char *configuration, bool *ret_configured)
{
    _cleanup_free_ char *of = ovf_attribute(n, "configuration");
    *ret_configured = of != NULL;
    if (of && (!configuration || !lists(of, configuration)))
        return false;
    return !ovf_attribute_is(n, "bound", "min") && !ovf_attribute_is(n, "bound", "max");
}

/* The Item of the base that a configured one with this id replaces; NULL: none. */
static struct item *find_replaced(struct hardware *h, const char *id)
{
    for (size_t i = 0; id && i < h->n_items; i++)
        if (!h->items[i].configured && h->items[i].id && !strcmp(h->items[i].id, id))
            return &h->items[i];
    return NULL;
}

static int add_item(struct hardware *h, const xmlNode *n, bool configured)
{
    if (h->n_items >= OVF_MAX_ENTRIES)
        return fault_in(h->fault, -EFBIG, h->name, "a virtual system has more than %d Items",
                        OVF_MAX_ENTRIES);
    char *id = ovf_child_text(n, "InstanceID");
    if (!id)
        id = ovf_child_text(n, "InstanceId"); /* 0.9 */
    struct item *item = configured ? find_replaced(h, id) : NULL;
    if (item)
        free(item->id);
    else if (!(item = ovf_append(&h->items, &h->n_items, sizeof *item))) {
        free(id);
        return no_memory(h);
    }
    _cleanup_free_ char *type = ovf_child_text(n, "ResourceType");
    *item = (struct item){ .node = n, .id = id, .configured = configured };
    if (!ovf_decimal(type, &item->type))
        item->type = 0;
    return 0;
}

static int collect_items(struct hardware *h, const xmlNode *envelope, const xmlNode *section)
{
    _cleanup_free_ char *configuration = default_configuration(envelope);
    for (const xmlNode *n = section->children; n; n = n->next) {
        bool configured;
        if (!is_item(n) || !applies(n, configuration, &configured))
            continue;
        int r = add_item(h, n, configured);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- processors, memory, network, firmware ---- */

static void read_cpus(struct hardware *h, const struct item *item)
{
    uint64_t v;
    _cleanup_free_ char *text = ovf_child_text(item->node, "VirtualQuantity");
    if (ovf_decimal(text, &v) && v <= UINT_MAX)
        h->ovf->cpus = (unsigned)v;
    _cleanup_free_ char *cores = ovf_child_text(item->node, "CoresPerSocket"); /* VMware */
    if (ovf_decimal(cores, &v) && v <= UINT_MAX)
        h->ovf->cores = (unsigned)v;
}

static void read_memory(struct hardware *h, const struct item *item)
{
    _cleanup_free_ char *text = ovf_child_text(item->node, "VirtualQuantity");
    _cleanup_free_ char *unit = ovf_child_text(item->node, "AllocationUnits");
    uint64_t v, bytes = 1 << 20; /* where no unit is given, it is meant to be MiB */
    if (ovf_decimal(text, &v) && (!unit || ovf_unit_bytes(unit, &bytes)) && checked_mul(v, bytes, &v))
        h->ovf->memory = v;
    else
        notes_add(&h->ovf->notes, "the memory size \"%.64s\" in units of \"%.64s\" isn't understood",
                  text ? text : "", unit ? unit : "byte * 2^20");
}

static bool is_mac(const char *s)
{
    if (strlen(s) != 17)
        return false;
    for (size_t i = 0; i < 17; i++)
        if (i % 3 == 2 ? s[i] != ':' && s[i] != '-' : !strchr("0123456789abcdefABCDEF", s[i]))
            return false;
    return true;
}

static int read_nic(struct hardware *h, const struct item *item)
{
    struct ovf_nic *nic = ovf_append(&h->ovf->nics, &h->ovf->n_nics, sizeof *nic);
    if (!nic)
        return no_memory(h);
    nic->type = ovf_child_text(item->node, "ResourceSubType");
    nic->network = ovf_child_text(item->node, "Connection");
    nic->mac = ovf_child_text(item->node, "Address");
    if (!nic->mac)
        nic->mac = ovf_child_text(item->node, "MACAddress"); /* VMware */
    if (nic->mac && !is_mac(nic->mac)) {
        free(nic->mac); /* Address is a slot's number elsewhere */
        nic->mac = NULL;
    }
    return 0;
}

static bool set_firmware(struct ovf *o, const char *value)
{
    const char *known = !strncasecmp(value, "efi", 3) || !strncasecmp(value, "uefi", 4) ? "efi"
                        : !strcasecmp(value, "bios")                                    ? "bios"
                                                                                        : NULL;
    if (!known)
        notes_add(&o->notes, "the firmware \"%.64s\" isn't known", value);
    else if (!o->firmware && !(o->firmware = strdup(known)))
        return false;
    return true;
}

/* VMware: <vmw:Config vmw:key="firmware" vmw:value="efi"/>, or ExtraConfig. VirtualBox keeps it in its own
 * settings only: <vbox:Machine><Hardware><Firmware type="EFI"/>. */
static int read_firmware(struct hardware *h, const xmlNode *system, const xmlNode *section)
{
    static const char *const kinds[] = { "Config", "ExtraConfig" };
    for (size_t i = 0; section && i < sizeof kinds / sizeof kinds[0]; i++) {
        OVF_EACH(n, section, kinds[i])
        {
            _cleanup_free_ char *value = NULL;
            if (ovf_attribute_is(n, "key", "firmware") && (value = ovf_attribute(n, "value")) &&
                !set_firmware(h->ovf, value))
                return no_memory(h);
        }
    }
    const xmlNode *vbox = ovf_child(ovf_child(ovf_child(system, "Machine"), "Hardware"), "Firmware");
    _cleanup_free_ char *type = vbox ? ovf_attribute(vbox, "type") : NULL;
    return !type || set_firmware(h->ovf, type) ? 0 : no_memory(h);
}

/* ---- drives ---- */

/* What a HostResource names: "ovf:/disk/X", "/disk/X", "ovf://disk/X", the same with "file", or a bare X,
 * which is a Disk's. */
static const char *resource_id(const char *resource, bool *ret_is_file)
{
    const char *p = resource;
    *ret_is_file = false;
    if (!strncasecmp(p, "ovf:", 4))
        p += 4;
    p += strspn(p, "/");
    if (!strncasecmp(p, "file/", 5)) {
        *ret_is_file = true;
        return p + 5;
    }
    return strncasecmp(p, "disk/", 5) ? p : p + 5;
}

static const struct ovf_file *find_file(const struct ovf *o, const char *id)
{
    for (size_t i = 0; i < o->n_files; i++)
        if (o->files[i].id && !strcmp(o->files[i].id, id))
            return &o->files[i];
    return NULL;
}

static const struct ovf_disk *find_disk(const struct ovf *o, const char *id)
{
    for (size_t i = 0; i < o->n_disks; i++)
        if (o->disks[i].id && !strcmp(o->disks[i].id, id))
            return &o->disks[i];
    return NULL;
}

/* Adds a drive for a Disk or, where that is NULL, for what `id` names. */
static int add_drive(struct hardware *h, const struct ovf_disk *disk, const char *id, bool is_file)
{
    struct ovf *o = h->ovf;
    struct ovf_drive d = { .disk = disk, .bus = -1, .unit = -1 };
    const char *file_id = disk ? disk->file_ref : is_file ? id : NULL;
    if (file_id)
        d.file = find_file(o, file_id);
    int r = 0;
    if (file_id && !d.file)
        r = asprintf(&d.missing, "File %.128s", file_id);
    else if (!disk && !is_file)
        r = asprintf(&d.missing, "Disk %.128s", id);
    size_t n_places = o->n_drives;
    struct place *place = r < 0 ? NULL : ovf_append(&h->places, &n_places, sizeof *place);
    struct ovf_drive *slot = place ? ovf_append(&o->drives, &o->n_drives, sizeof *slot) : NULL;
    if (!slot) {
        if (r >= 0)
            free(d.missing);
        return no_memory(h);
    }
    *slot = d;
    *place = (struct place){ .drive = o->n_drives - 1, .boot = disk && disk->boot ? 0 : NOT_FIRST };
    return 0;
}

static const char *controller_kind(const struct item *item)
{
    _cleanup_free_ char *subtype = ovf_child_text(item->node, "ResourceSubType");
    if (subtype && strcasestr(subtype, "nvme"))
        return "nvme";
    if (subtype && (strcasestr(subtype, "sata") || strcasestr(subtype, "ahci")))
        return "sata";
    return item->type == TYPE_IDE ? "ide" : item->type == TYPE_SCSI ? "scsi" : NULL;
}

static int small_number(const xmlNode *n, const char *kind)
{
    uint64_t v;
    _cleanup_free_ char *text = ovf_child_text(n, kind);
    return ovf_decimal(text, &v) && v < 65536 ? (int)v : -1;
}

static const struct item *find_item(const struct hardware *h, const char *id)
{
    for (size_t i = 0; i < h->n_items; i++)
        if (h->items[i].id && !strcmp(h->items[i].id, id))
            return &h->items[i];
    return NULL;
}

/* The controller's own number, or else how many of its kind come before it. */
static int bus_of(const struct hardware *h, const struct item *controller)
{
    int bus = small_number(controller->node, "Address");
    if (bus < 0)
        bus = small_number(controller->node, "BusNumber"); /* 0.9 */
    for (const struct item *i = h->items; bus < 0 && i < controller; i++)
        if (i->type == controller->type)
            bus--;
    return bus < 0 ? -1 - bus : bus;
}

static void place_drive(struct hardware *h, struct ovf_drive *d, const xmlNode *n)
{
    _cleanup_free_ char *parent = ovf_child_text(n, "Parent");
    const struct item *controller = parent ? find_item(h, parent) : NULL;
    d->unit = small_number(n, "AddressOnParent");
    if (controller) {
        d->controller = controller_kind(controller);
        d->bus = bus_of(h, controller);
    }
    if (!d->controller || d->unit < 0)
        h->incomplete = true;
}

static int read_drive(struct hardware *h, const struct item *item)
{
    _cleanup_free_ char *resource = ovf_child_text(item->node, "HostResource");
    if (!resource) {
        notes_add(&h->ovf->notes, "the hard disk Item %.64s names no disk", item->id ? item->id : "");
        return 0;
    }
    bool is_file;
    const char *id = resource_id(resource, &is_file);
    int r = add_drive(h, is_file ? NULL : find_disk(h->ovf, id), id, is_file);
    if (!r)
        h->places[h->ovf->n_drives - 1].item = item;
    if (!r)
        place_drive(h, &h->ovf->drives[h->ovf->n_drives - 1], item->node);
    return r;
}

static int read_controller(struct hardware *h, const struct item *item)
{
    const char *kind = controller_kind(item);
    struct ovf_controller *c =
        kind ? ovf_append(&h->ovf->controllers, &h->ovf->n_controllers, sizeof *c) : NULL;
    if (!c)
        return kind ? no_memory(h) : 0;
    c->kind = kind;
    c->subtype = ovf_child_text(item->node, "ResourceSubType");
    c->bus = bus_of(h, item);
    return 0;
}

static int read_items(struct hardware *h)
{
    int r = 0;
    for (size_t i = 0; !r && i < h->n_items; i++) {
        const struct item *item = &h->items[i];
        bool storage = strstr((const char *)item->node->name, "StorageItem") != NULL;
        if (item->type == TYPE_CPU)
            read_cpus(h, item);
        else if (item->type == TYPE_MEMORY)
            read_memory(h, item);
        else if (item->type == TYPE_ETHERNET)
            r = read_nic(h, item);
        else if (item->type == TYPE_IDE || item->type == TYPE_SCSI || item->type == TYPE_OTHER_STORAGE)
            r = read_controller(h, item);
        else if (item->type == TYPE_DISK || item->type == TYPE_LOGICAL_DISK || (storage && !item->type))
            r = read_drive(h, item);
    }
    return r;
}

/* ---- what boots first ---- */

/* Adds a word to the boot order. */
static int add_boot_word(struct hardware *h, const char *word)
{
    char *old = h->ovf->boot_order, *longer = NULL;
    if (asprintf(&longer, "%s%s%.64s", old ? old : "", old ? "," : "", word) < 0)
        return no_memory(h);
    free(old);
    h->ovf->boot_order = longer;
    return 0;
}

static void boots_at(struct hardware *h, const char *id, size_t number)
{
    for (size_t i = 0; i < h->ovf->n_drives; i++) {
        struct place *p = &h->places[i];
        if (p->item && p->item->id && !strcmp(p->item->id, id) && p->boot > number)
            p->boot = number;
    }
}

/* vCenter's sections, one for each device to boot from. */
static int read_boot_sections(struct hardware *h, const xmlNode *system)
{
    size_t number = 0;
    OVF_EACH(section, system, "BootOrderSection")
    {
        if (++number > MAX_BOOT_ORDER)
            return 0;
        _cleanup_free_ char *type = ovf_attribute(section, "type");
        _cleanup_free_ char *id = ovf_attribute(section, "instanceId");
        int r = type ? add_boot_word(h, type) : 0;
        if (r < 0)
            return r;
        if (id)
            boots_at(h, id, number);
    }
    return 0;
}

/* "CIM:Hard-Disk:2": the class to *ret, the caller's, and its number. What isn't of that form is a class. */
static int split_boot_string(const char *text, char **ret, uint64_t *ret_number)
{
    const char *class = strncmp(text, "CIM:", 4) != 0 ? text : text + 4, *colon = strrchr(class, ':');
    *ret_number = 0;
    bool numbered = colon && ovf_decimal(colon + 1, ret_number);
    *ret = numbered ? strndup(class, (size_t)(colon - class)) : strdup(class);
    return *ret ? 0 : -ENOMEM;
}

/* The standard's section. Where there are several configurations, the first one counts. */
static int read_boot_devices(struct hardware *h, const xmlNode *system)
{
    const xmlNode *config = ovf_child(ovf_child(system, "BootDeviceSection"), "CIM_BootConfigSetting");
    size_t number = 0;
    OVF_EACH(source, config, "CIM_BootSourceSetting")
    {
        _cleanup_free_ char *text = ovf_child_text(source, "StructuredBootString"), *class = NULL;
        uint64_t nth = 0;
        if (!text || ++number > MAX_BOOT_ORDER)
            continue;
        if (split_boot_string(text, &class, &nth) < 0)
            return no_memory(h);
        int r = add_boot_word(h, class);
        if (r < 0)
            return r;
        if (!strcasecmp(class, "Hard-Disk") && nth && nth <= h->ovf->n_drives && h->places[nth - 1].item &&
            h->places[nth - 1].boot > number)
            h->places[nth - 1].boot = number;
    }
    return 0;
}

/* VirtualBox: <vbox:Machine><Hardware><Boot><Order position="1" device="HardDisk"/> */
static int read_vbox_boot(struct hardware *h, const xmlNode *system)
{
    size_t number = 0;
    const xmlNode *boot = ovf_child(ovf_child(ovf_child(system, "Machine"), "Hardware"), "Boot");
    OVF_EACH(order, boot, "Order")
    {
        _cleanup_free_ char *device = ovf_attribute(order, "device");
        int r = device && strcasecmp(device, "None") != 0 && ++number <= MAX_BOOT_ORDER
                    ? add_boot_word(h, device)
                    : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* "scsi0:1,scsi0:0": numbers the drives at these places, behind those that have a number. */
static void read_hdd_order(struct hardware *h, const char *order)
{
    size_t number = MAX_BOOT_ORDER;
    for (const char *p = order; *p && number < 2 * MAX_BOOT_ORDER; number++) {
        size_t n = strcspn(p, ", \t");
        for (size_t i = 0; i < h->ovf->n_drives; i++) {
            const struct ovf_drive *d = &h->ovf->drives[i];
            char place[48];
            snprintf(place, sizeof place, "%s%d:%d", d->controller ? d->controller : "", d->bus, d->unit);
            if (strlen(place) == n && !strncasecmp(place, p, n) && h->places[i].boot > number)
                h->places[i].boot = number;
        }
        p += n;
        p += strspn(p, ", \t");
    }
}

/* The value of VMware's setting in the section, the caller's; NULL: there is none. */
static char *extra_config(const xmlNode *section, const char *key)
{
    OVF_EACH(n, section, "ExtraConfig")
    {
        if (ovf_attribute_is(n, "key", key))
            return ovf_attribute(n, "value");
    }
    return NULL;
}

static int read_boot_order(struct hardware *h, const xmlNode *system, const xmlNode *section)
{
    int r = read_boot_sections(h, system);
    if (!r && !h->ovf->boot_order)
        r = read_boot_devices(h, system);
    _cleanup_free_ char *disks = extra_config(section, "bios.hddOrder");
    if (!r && disks)
        read_hdd_order(h, disks);
    _cleanup_free_ char *classes = h->ovf->boot_order ? NULL : extra_config(section, "bios.bootOrder");
    if (!r && classes)
        r = add_boot_word(h, classes);
    return r || h->ovf->boot_order ? r : read_vbox_boot(h, system);
}

/* ---- order ---- */

static const struct ovf *sort_ovf(const void *arg)
{
    return ((const struct hardware *)arg)->ovf;
}

static int compare(long a, long b)
{
    return (a > b) - (a < b);
}

static int by_place(const void *a, const void *b, void *arg)
{
    const struct place *x = a, *y = b;
    const struct ovf_drive *dx = &sort_ovf(arg)->drives[x->drive], *dy = &sort_ovf(arg)->drives[y->drive];
    bool sorted = !((const struct hardware *)arg)->incomplete && !x->appended && !y->appended;
    int c = (x->boot > y->boot) - (x->boot < y->boot);
    if (!c)
        c = compare(x->appended, y->appended);
    if (!c && sorted)
        c = compare((long)x->kind, (long)y->kind);
    if (!c && sorted)
        c = compare(dx->bus, dy->bus);
    if (!c && sorted)
        c = compare(dx->unit, dy->unit);
    return c ? c : compare((long)x->drive, (long)y->drive);
}

/* Fills in `kind`, and finds places that are taken twice. At most OVF_MAX_ENTRIES drives: 16 M steps. */
static void compare_places(struct hardware *h)
{
    const struct ovf *o = h->ovf;
    for (size_t i = 0; !h->incomplete && i < o->n_drives; i++) {
        const struct ovf_drive *d = &o->drives[i];
        h->places[i].kind = i;
        for (size_t k = i; k-- > 0;) {
            if (o->drives[k].controller != d->controller) /* they are our own constants */
                continue;
            h->places[i].kind = h->places[k].kind;
            if (o->drives[k].bus != d->bus || o->drives[k].unit != d->unit)
                continue;
            notes_add(&h->ovf->notes,
                      "two disks have the place %s %d:%d: the disks are in the order of their Items",
                      d->controller, d->bus, d->unit);
            h->incomplete = true;
            break;
        }
    }
}

static int sort_drives(struct hardware *h)
{
    struct ovf *o = h->ovf;
    if (o->n_drives < 2)
        return 0;
    qsort_r(h->places, o->n_drives, sizeof *h->places, by_place, h);
    struct ovf_drive *sorted = calloc(o->n_drives, sizeof *sorted);
    if (!sorted)
        return no_memory(h);
    for (size_t i = 0; i < o->n_drives; i++)
        sorted[i] = o->drives[h->places[i].drive];
    /* its room need not be a power of two any more: nothing is appended after this */
    free(o->drives);
    o->drives = sorted;
    return 0;
}

/* ---- Disks that no Item names ---- */

static void mark_named(const struct ovf *o, const xmlNode *item, bool *named)
{
    bool is_file;
    _cleanup_free_ char *resource = ovf_child_text(item, "HostResource");
    const struct ovf_disk *d = resource ? find_disk(o, resource_id(resource, &is_file)) : NULL;
    if (d && !is_file)
        named[d - o->disks] = true;
}

/* Marks the Disks that Items of these systems name (whatever their type), and those that are parents. Bounds
 * its work: past OVF_MAX_ENTRIES Items it marks no more, and a Disk too many is shown. */
static void mark_named_all(const struct ovf *o, const xmlNode *const *systems, bool *named)
{
    size_t seen = 0;
    for (size_t i = 0; systems[i]; i++) {
        OVF_EACH(section, systems[i], "VirtualHardwareSection")
        {
            for (const xmlNode *n = section->children; n && seen < OVF_MAX_ENTRIES; n = n->next)
                if (is_item(n)) {
                    seen++;
                    mark_named(o, n, named);
                }
        }
    }
    for (size_t i = 0; i < o->n_disks; i++) {
        const char *parent = o->disks[i].parent_ref;
        const struct ovf_disk *d = parent ? find_disk(o, parent) : NULL;
        if (d)
            named[d - o->disks] = true;
    }
}

static int append_unnamed(struct hardware *h, const xmlNode *system, const xmlNode *const *others)
{
    const struct ovf *o = h->ovf;
    const xmlNode *const own[] = { system, NULL };
    _cleanup_free_ bool *named = calloc(o->n_disks + 1, sizeof *named);
    if (!named)
        return no_memory(h);
    mark_named_all(o, own, named);
    mark_named_all(o, others, named);
    for (size_t i = 0; i < o->n_disks; i++) {
        if (named[i])
            continue;
        int r = add_drive(h, &o->disks[i], NULL, false);
        if (r < 0)
            return r;
        h->places[o->n_drives - 1].appended = true;
    }
    return 0;
}

static int read_all(struct hardware *h, const xmlNode *envelope, const xmlNode *system,
                    const xmlNode *const *others)
{
    const xmlNode *section = system ? choose_section(system) : NULL;
    int r = section ? collect_items(h, envelope, section) : 0;
    if (!r)
        r = read_items(h);
    if (!r && system)
        r = read_firmware(h, system, section);
    if (!r && system)
        r = read_boot_order(h, system, section);
    compare_places(h);
    if (!r)
        r = append_unnamed(h, system, others);
    return r ? r : sort_drives(h);
}

int ovf_read_hardware(struct ovf *ovf, const xmlNode *envelope, const xmlNode *system,
                      const xmlNode *const *others, const char *name, struct fault *fault)
{
    struct hardware h = { .ovf = ovf, .name = name, .fault = fault };
    int r = read_all(&h, envelope, system, others);
    for (size_t i = 0; i < h.n_items; i++)
        free(h.items[i].id);
    free(h.items);
    free(h.places);
    return r;
}
