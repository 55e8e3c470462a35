/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM out of a .vmx (or a template's .vmtx), as Workstation, Fusion and ESXi keep one beside the disks:
 *
 *     scsi0.present = "TRUE"             a controller, and of which make
 *     scsi0.virtualDev = "pvscsi"
 *     scsi0:1.present = "TRUE"           what is plugged in at unit 1
 *     scsi0:1.fileName = "web01_1.vmdk"
 *     scsi0:1.deviceType = "scsi-hardDisk"
 *
 * A fileName is relative to the .vmx or absolute; it names the newest link of a snapshot chain, so the state
 * that the machine had last is what is shown. Paths often come from another machine
 * ("/vmfs/volumes/5a0b.../web01/web01.vmdk", "D:\VMs\web01\web01.vmdk"): then the directory of that name
 * beside the .vmx's own, and the file of that base name beside the .vmx, are asked, all of them by the rules
 * of trust.
 *
 * disk0, disk1, ...: bios.hddOrder first, where there is one; then scsi, sata, ide, nvme, by bus and unit. */
#include "vm-source.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_BUS = 64,    /* VMware has 4 of each kind */
    MAX_UNIT = 1024, /* 256 on paravirtual SCSI */
    MAX_NICS = 64,   /* VMware has 10 */
    MAX_DISKS = 1024,
};

/* In the order in which their disks are shown. */
static const char *const kinds[] = { "scsi", "sata", "ide", "nvme" };
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* A place with a fileName. */
struct slot {
    size_t kind; /* index in kinds[] */
    int bus, unit;
    size_t boot; /* its number in bios.hddOrder; SIZE_MAX: it isn't there */
    const struct vmx_entry *file;
};

/* ---- keys ---- */

/* The value of PREFIX "." KEY. */
static const char *value_of(const struct vmx *vmx, const char *prefix, const char *key)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s", prefix, key);
    return vmx_value(vmx, name);
}

static int bool_of(const struct vmx *vmx, const char *prefix, const char *key)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s", prefix, key);
    return vmx_bool(vmx, name);
}

static bool take_int(const char **p, int max, int *ret)
{
    int v = 0;
    const char *q = *p;
    if (q[0] == '0' && isdigit((unsigned char)q[1]))
        return false; /* each place has one spelling */
    for (; isdigit((unsigned char)*q) && v < max; q++)
        v = 10 * v + (*q - '0');
    if (q == *p || v >= max || isdigit((unsigned char)*q))
        return false;
    *p = q;
    *ret = v;
    return true;
}

/* "scsi0:1", and what comes behind it; false: no place. */
static bool take_place(const char **p, struct slot *ret)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        size_t n = strlen(kinds[i]);
        if (strncasecmp(*p, kinds[i], n) != 0)
            continue;
        const char *q = *p + n;
        *ret = (struct slot){ .kind = i, .boot = SIZE_MAX };
        if (!take_int(&q, MAX_BUS, &ret->bus) || *q++ != ':' || !take_int(&q, MAX_UNIT, &ret->unit))
            return false;
        *p = q;
        return true;
    }
    return false;
}

static uint64_t number_of(const struct vmx *vmx, const char *key, uint64_t max)
{
    const char *s = vmx_value(vmx, key);
    uint64_t v = 0;
    for (; s && isdigit((unsigned char)*s) && v <= max; s++)
        v = 10 * v + (uint64_t)(*s - '0');
    return s && !*s && v <= max ? v : 0;
}

/* ---- which disks, in which order ---- */

static bool has_prefix(const char *s, const char *prefix)
{
    return s && !strncasecmp(s, prefix, strlen(prefix));
}

/* Is it a hard disk of the machine? What may surprise gets a note. VMware takes a device without `present`
 * for absent; but who wrote a fileName by hand and forgot it wants to see the disk. */
static bool is_disk(struct vm_builder *b, const struct vmx *vmx, const struct slot *s, const char *place)
{
    static const char *const others[] = { "cdrom", "atapi", "scsi-passthr", "floppy" };
    struct notes *notes = &b->vm->notes;
    char controller[32];
    snprintf(controller, sizeof controller, "%s%d", kinds[s->kind], s->bus);
    const char *type = value_of(vmx, place, "devicetype");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (has_prefix(type, others[i]))
            return false;
    if (bool_of(vmx, place, "present") == 0 || bool_of(vmx, controller, "present") == 0) {
        if (s->file->value[0])
            notes_add(notes, "%s (%.128s) is not present, by the .vmx, and not shown", place, s->file->value);
        return false;
    }
    if (!s->file->value[0]) {
        notes_add(notes, "%s has an empty fileName", place);
        return false;
    }
    if (bool_of(vmx, place, "present") < 0)
        notes_add(notes, "the .vmx doesn't say whether %s is present: it is taken to be", place);
    return true;
}

static void format_place(const struct slot *s, char buf[static 32])
{
    snprintf(buf, 32, "%s%d:%d", kinds[s->kind], s->bus, s->unit);
}

static int find_slots(struct vm_builder *b, const struct vmx *vmx, struct slot **ret, size_t *ret_n)
{
    size_t n = 0;
    struct slot *slots = calloc(MAX_DISKS, sizeof *slots);
    if (!slots)
        return vm_no_memory(b);
    *ret = slots;
    for (size_t i = 0; i < vmx->n; i++) {
        const char *p = vmx->entries[i].key;
        struct slot s;
        char place[32];
        if (!take_place(&p, &s) || strcmp(p, ".filename") != 0)
            continue;
        s.file = &vmx->entries[i];
        format_place(&s, place);
        if (!is_disk(b, vmx, &s, place))
            continue;
        if (n == MAX_DISKS)
            return fault_in(b->fault, -EFBIG, b->source->path, "the .vmx names more than %d disks",
                            MAX_DISKS);
        slots[n++] = s;
    }
    *ret_n = n;
    return 0;
}

/* bios.hddOrder = "scsi0:1,scsi0:0" */
static void read_hdd_order(const struct vmx *vmx, struct slot *slots, size_t n)
{
    const char *p = vmx_value(vmx, "bios.hddorder");
    for (size_t number = 0; p && *p && number < MAX_DISKS; number++) {
        struct slot s;
        p += strspn(p, ", \t");
        bool place = take_place(&p, &s);
        for (size_t i = 0; place && i < n; i++)
            if (slots[i].kind == s.kind && slots[i].bus == s.bus && slots[i].unit == s.unit &&
                slots[i].boot == SIZE_MAX)
                slots[i].boot = number;
        p += strcspn(p, ", \t");
    }
}

static int by_order(const void *a, const void *b)
{
    const struct slot *x = a, *y = b;
    if (x->boot != y->boot)
        return x->boot < y->boot ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return x->bus != y->bus ? x->bus - y->bus : x->unit - y->unit;
}

static void note_order(struct vm_builder *b, const struct slot *slots, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (slots[i].kind != slots[0].kind && slots[0].boot == SIZE_MAX) {
            notes_add(&b->vm->notes,
                      "the disks have controllers of several kinds, and no bios.hddOrder says which is the "
                      "first: they are in the order scsi, sata, ide, nvme");
            return;
        }
}

/* ---- one disk ---- */

static const char role[] = "disk";

/* Opens `name` or, where it isn't there, its base name in the directory of its directory's name beside the
 * .vmx's own, or beside the .vmx. The fault is the first try's, unless the file is there and needs trust. */
static int open_name(struct file *vmx, const char *name, struct file **ret, struct fault *fault)
{
    struct fault first = { 0 };
    int r = file_open_ref(vmx, role, name, ret, &first);
    const char *base = vm_base_name(name), *dir = base;
    if (r < 0 && r != -ENOMEM && base != name && *base) {
        for (dir = base - 1; dir > name && dir[-1] != '/';)
            dir--;
        bool named = *dir != '/' && strncmp(dir, "./", 2) != 0 && strncmp(dir, "../", 3) != 0;
        _cleanup_free_ char *beside = NULL;
        if (asprintf(&beside, "../%s", dir) < 0)
            beside = NULL;
        const char *const tries[] = { named ? beside : NULL, base };
        for (size_t i = 0; i < 2; i++) {
            struct fault other = { 0 };
            int r2 = tries[i] ? file_open_ref(vmx, role, tries[i], ret, &other) : -ENOENT;
            if (!r2)
                return 0;
            if (r2 == -EPERM && r == -ENOENT) { /* it is there, and only needs trust */
                r = r2;
                first = other;
            }
        }
    }
    if (r < 0 && fault && !fault->err)
        *fault = first;
    return r;
}

/* A copy with the slashes of a path that was written on Windows turned; NULL: nothing to turn, or no memory.
 */
static char *slashes_turned(const char *name)
{
    char *copy = name && strchr(name, '\\') ? strdup(name) : NULL;
    for (char *p = copy; p && *p; p++)
        if (*p == '\\')
            *p = '/';
    return copy;
}

/* The name in UTF-8 and as the file's own bytes, each also with its slashes turned: one of them is the name
 * here. The fault is the first one's, unless another is there and can't be opened. */
static int open_disk_file(struct file *vmx, const struct vmx_entry *e, struct file **ret, struct fault *fault)
{
    _cleanup_free_ char *turned = slashes_turned(e->value);
    _cleanup_free_ char *raw_turned = slashes_turned(e->raw);
    const char *const names[] = { e->value, turned, e->raw, raw_turned };
    struct fault first = { 0 };
    int r = -ENOENT;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && r == -ENOENT; i++) {
        struct fault other = { 0 };
        if (names[i])
            r = open_name(vmx, names[i], ret, &other);
        if (r < 0 && other.err && (r != -ENOENT || !first.err))
            first = other;
    }
    if (r < 0 && fault && !fault->err)
        *fault = first;
    return r;
}

static bool copy_string(char **dst, const char *src)
{
    return !src || (*dst = strdup(src));
}

static int describe_disk(struct vm_builder *b, const struct vmx *vmx, const struct slot *s, struct vm_disk *d)
{
    char place[32], controller[32];
    format_place(s, place);
    snprintf(controller, sizeof controller, "%s%d", kinds[s->kind], s->bus);
    const char *sharing = value_of(vmx, place, "sharing"), *bus = value_of(vmx, controller, "sharedbus");
    if (sharing && !strcasecmp(sharing, "none"))
        sharing = NULL;
    if (!sharing && bus && strcasecmp(bus, "none") != 0)
        sharing = bus;
    d->bus = s->bus;
    d->unit = s->unit;
    if (!copy_string(&d->controller, kinds[s->kind]) || !copy_string(&d->id, place) ||
        !copy_string(&d->mode, value_of(vmx, place, "mode")) || !copy_string(&d->sharing, sharing) ||
        !copy_string(&d->device_type, value_of(vmx, place, "devicetype")))
        return vm_no_memory(b);
    return 0;
}

static int add_slot(struct vm_builder *b, struct file *file, const struct vmx *vmx, const struct slot *s)
{
    _cleanup_free_ char *name = NULL;
    if (asprintf(&name, "%s: %s", file->name, s->file->value) < 0) {
        name = NULL;
        return vm_no_memory(b);
    }
    struct vm_disk *d = vm_add_disk(b, name);
    if (!d)
        return -ENOMEM;
    int r = describe_disk(b, vmx, s, d);
    if (r < 0)
        return r;
    struct fault why = { 0 };
    _cleanup_(file_unrefp) struct file *f = NULL;
    r = open_disk_file(file, s->file, &f, &why);
    if (r < 0)
        return vm_settle_disk(b, r, NULL, &why);
    char *source = strdup(f->name);
    if (!source)
        return vm_no_memory(b);
    free(d->source);
    d->source = source;
    return vm_open_disk(b, f);
}

/* ---- the machine ---- */

static int add_nics(struct vm_builder *b, const struct vmx *vmx)
{
    for (int i = 0; i < MAX_NICS; i++) {
        char nic[32];
        snprintf(nic, sizeof nic, "ethernet%d", i);
        if (bool_of(vmx, nic, "present") != 1)
            continue;
        struct vm_nic *more = reallocarray(b->vm->nics, b->vm->n_nics + 1, sizeof *more);
        if (!more)
            return vm_no_memory(b);
        b->vm->nics = more;
        struct vm_nic *n = &more[b->vm->n_nics++];
        *n = (struct vm_nic){ 0 };
        static const char *const networks[] = { "networkname", "dvs.portgroupid", "vnet", "connectiontype" };
        const char *network = NULL, *given = value_of(vmx, nic, "address");
        for (size_t k = 0; !network && k < sizeof networks / sizeof networks[0]; k++)
            network = value_of(vmx, nic, networks[k]);
        const char *made = value_of(vmx, nic, "generatedaddress"), *type = value_of(vmx, nic, "addresstype");
        bool is_static = type && !strcasecmp(type, "static");
        if (!copy_string(&n->type, value_of(vmx, nic, "virtualdev")) || !copy_string(&n->network, network) ||
            !copy_string(&n->mac, (is_static && given) || !made ? given : made))
            return vm_no_memory(b);
    }
    return 0;
}

static int add_controllers(struct vm_builder *b, const struct vmx *vmx, const struct slot *slots, size_t n)
{
    for (size_t k = 0; k < N_KINDS; k++)
        for (int bus = 0; bus < MAX_BUS; bus++) {
            char name[32];
            snprintf(name, sizeof name, "%s%d", kinds[k], bus);
            bool there = bool_of(vmx, name, "present") == 1;
            for (size_t i = 0; !there && i < n; i++)
                there = slots[i].kind == k && slots[i].bus == bus;
            int r = there ? vm_add_controller(b, kinds[k], value_of(vmx, name, "virtualdev"), bus) : 0;
            if (r < 0)
                return r;
        }
    return 0;
}

static int add_description(struct vm_builder *b, const struct vmx *vmx)
{
    struct vm *vm = b->vm;
    const char *firmware = vmx_value(vmx, "firmware"), *state = vmx_value(vmx, "checkpoint.vmstate");
    bool efi = has_prefix(firmware, "efi");
    if (firmware && !efi && strcasecmp(firmware, "bios") != 0)
        notes_add(&vm->notes, "the firmware \"%.64s\" isn't known", firmware);
    else if (!vm->firmware && !(vm->firmware = strdup(efi ? "efi" : "bios")))
        return vm_no_memory(b);
    if (!vm->os_type && !copy_string(&vm->os_type, vmx_value(vmx, "guestos")))
        return vm_no_memory(b);
    if (!vm->cpus) {
        uint64_t cpus = number_of(vmx, "numvcpus", 65535);
        vm->cpus = cpus ? (unsigned)cpus : 1; /* what VMware makes of a .vmx that doesn't say */
        vm->cores = (unsigned)number_of(vmx, "cpuid.corespersocket", 65535);
    }
    if (!vm->memory)
        vm->memory = number_of(vmx, "memsize", UINT64_C(1) << 32) << 20;
    if (state)
        notes_add(&vm->notes,
                  "the machine is suspended (%.128s): what it had only in memory is not on its disks", state);
    else if (vmx_bool(vmx, "cleanshutdown") == 0)
        notes_add(&vm->notes, "by the .vmx the machine was running when it was copied, or it crashed");
    const char *order = vmx_value(vmx, "bios.bootorder");
    for (size_t i = 0; i < vmx->notes.n; i++)
        notes_add(&vm->notes, "%s", vmx->notes.lines[i]);
    return order ? vm_add_boot_order(b, order) : 0;
}

static int refuse_without_disks(struct vm_builder *b, struct file *file, const struct vmx *vmx)
{
    if (!vmx_find(vmx, "encryption.keysafe") && !vmx_find(vmx, "encryption.data"))
        return fault_in(b->fault, -EMEDIUMTYPE, file->name, "names no hard disk that is present");
    fault_in(b->fault, -ENOTSUP, file->name, "is the .vmx of an encrypted machine (encryption.keySafe)");
    return fault_hint(b->fault, -ENOTSUP, "take the encryption away in VMware first");
}

static int add_machine(struct vm_builder *b, struct file *file, const struct vmx *vmx, struct slot *slots,
                       size_t n)
{
    if (!n)
        return refuse_without_disks(b, file, vmx);
    read_hdd_order(vmx, slots, n);
    qsort(slots, n, sizeof *slots, by_order);
    note_order(b, slots, n);
    if (!b->vm->description && !(b->vm->description = strdup(file->name)))
        return vm_no_memory(b);
    int r = vm_describe(b, "vmx", vmx_value(vmx, "displayname"));
    if (!r)
        r = add_description(b, vmx);
    if (!r)
        r = add_nics(b, vmx);
    if (!r)
        r = add_controllers(b, vmx, slots, n);
    for (size_t i = 0; !r && i < n; i++)
        r = add_slot(b, file, vmx, &slots[i]);
    return r;
}

/* ---- the file ---- */

static int read_text(struct file *f, char **ret, struct fault *fault)
{
    char *text = malloc((size_t)f->size + 1);
    if (!text)
        return fault_in(fault, -ENOMEM, f->name, "out of memory");
    int r = file_pread_what(f, text, (size_t)f->size, 0, "the .vmx", fault);
    if (r < 0)
        free(text);
    else
        *ret = text;
    return r;
}

int vm_probe_vmx(struct file *f, const uint8_t *head, size_t n, enum vmx_kind *ret, struct fault *fault)
{
    _cleanup_free_ char *text = NULL;
    *ret = VMX_NONE;
    if (f->size > VMX_MAX_SIZE || !vm_is_text(head, n) || !memchr(head, '=', n))
        return 0;
    int r = read_text(f, &text, fault);
    if (!r)
        *ret = vmx_probe(text, (size_t)f->size);
    return r;
}

int vm_add_vmx(struct vm_builder *b, struct file *file)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_free_ struct slot *slots = NULL;
    _cleanup_(vmx_freep) struct vmx *vmx = NULL;
    size_t n = 0;
    int r = read_text(file, &text, b->fault);
    if (!r)
        r = vmx_parse(text, (size_t)file->size, file->name, &vmx, b->fault);
    if (!r)
        r = find_slots(b, vmx, &slots, &n);
    return r < 0 ? r : add_machine(b, file, vmx, slots, n);
}
