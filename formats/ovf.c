/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The OVF descriptor (DMTF DSP0243): XML that ties files to disks, and disks to a virtual machine.
 *
 *     Envelope
 *       References      File id href             what lies in the package
 *       DiskSection     Disk diskId fileRef      a virtual disk, and the file that holds it
 *       VirtualSystem   (or VirtualSystemCollection of them)
 *         Name, OperatingSystemSection
 *         VirtualHardwareSection  Item ...       see ovf-hardware.c; a disk's Item names "ovf:/disk/DISKID"
 *
 * The standard gives much room and exporters take more, so: prefixes don't matter, only local names do; 0.9
 * writes <Section xsi:type="ovf:DiskSection_Type">; sections come in any order; attributes may lack their
 * prefix. What is only odd becomes a note, what would give a wrong disk becomes an error of that disk.
 *
 * XenCenter writes UTF-8 under a declaration that says UTF-16 (a .NET StringWriter's habit; corpus:
 * xenadmin_sample_app.ovf). Its first bytes prove the label wrong, so it is overruled.
 *
 * A DOCTYPE is refused on sight: no OVF has a use for one, and it is where XML's bombs are kept. */
#include "ovf.h"
#include "checked.h"
#include "ovf-xml.h"

#include <ctype.h>
#include <errno.h>
#include <libxml/parser.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- looking into the tree ---- */

static const char *local_name(const xmlChar *name)
{
    const char *colon = strrchr((const char *)name, ':');
    return colon ? colon + 1 : (const char *)name;
}

/* The value of an attribute, as libxml2 made it; NULL: there is none. */
static xmlChar *attribute_value(const xmlNode *n, const char *name)
{
    for (const xmlAttr *a = n->properties; a; a = a->next)
        if (!strcmp(local_name(a->name), name))
            return xmlNodeListGetString(n->doc, a->children, 1);
    return NULL;
}

/* Copies text without the blanks around it, and frees it; NULL when nothing is left. */
static char *take_trimmed(xmlChar *text)
{
    if (!text)
        return NULL;
    const char *p = (const char *)text;
    while (isspace((unsigned char)*p))
        p++;
    size_t n = strlen(p);
    while (n && isspace((unsigned char)p[n - 1]))
        n--;
    char *copy = n ? strndup(p, n) : NULL;
    xmlFree(text);
    return copy;
}

char *ovf_attribute(const xmlNode *n, const char *name)
{
    return take_trimmed(attribute_value(n, name));
}

bool ovf_attribute_is(const xmlNode *n, const char *name, const char *value)
{
    _cleanup_free_ char *v = ovf_attribute(n, name);
    return v && !strcasecmp(v, value);
}

char *ovf_child_text(const xmlNode *n, const char *kind)
{
    const xmlNode *child = ovf_child(n, kind);
    return child ? take_trimmed(xmlNodeGetContent(child)) : NULL;
}

/* Is the text "ovf:KIND_Type"? */
static bool type_is(const xmlChar *type, const char *kind)
{
    size_t n = strlen(kind);
    const char *name = local_name(type);
    return !strncmp(name, kind, n) && (!name[n] || !strcmp(name + n, "_Type"));
}

static bool is_kind(const xmlNode *n, const char *kind)
{
    if (n->type != XML_ELEMENT_NODE)
        return false;
    const char *name = local_name(n->name);
    if (!strcmp(name, kind))
        return true;
    if (strcmp(name, "Section") != 0 && strcmp(name, "Content") != 0)
        return false;
    xmlChar *type = attribute_value(n, "type");
    bool is = type && type_is(type, kind);
    xmlFree(type);
    return is;
}

const xmlNode *ovf_next(const xmlNode *n, const char *kind)
{
    while (n && !is_kind(n, kind))
        n = n->next;
    return n;
}

bool ovf_decimal(const char *text, uint64_t *ret)
{
    uint64_t v = 0;
    if (!text || !*text)
        return false;
    for (const char *p = text; *p; p++)
        if (*p < '0' || *p > '9' || !checked_mul(v, 10, &v) || !checked_add(v, (uint64_t)(*p - '0'), &v))
            return false;
    *ret = v;
    return true;
}

void *ovf_append(void *array_pointer, size_t *n, size_t size)
{
    char **array = array_pointer;
    /* doubling: there is room whenever n isn't a power of two */
    if (!*n || is_power_of_two(*n)) {
        char *bigger = reallocarray(*array, *n ? 2 * *n : 1, size);
        if (!bigger)
            return NULL;
        *array = bigger;
    }
    void *last = *array + *n * size;
    memset(last, 0, size);
    ++*n;
    return last;
}

/* ---- units ---- */

static const char *skip_blanks(const char *p)
{
    while (isspace((unsigned char)*p))
        p++;
    return p;
}

/* A decimal number at *p, with the blanks behind it. */
static bool take_number(const char **p, uint64_t *ret)
{
    const char *q = *p;
    uint64_t v = 0;
    for (; isdigit((unsigned char)*q); q++)
        if (!checked_mul(v, 10, &v) || !checked_add(v, (uint64_t)(*q - '0'), &v))
            return false;
    if (q == *p)
        return false;
    *p = skip_blanks(q);
    *ret = v;
    return true;
}

/* "2^20", "1024" */
static bool take_factor(const char **p, uint64_t *ret)
{
    uint64_t base, exponent = 1, v = 1;
    if (!take_number(p, &base))
        return false;
    if (**p == '^') {
        *p = skip_blanks(*p + 1);
        if (!take_number(p, &exponent) || exponent > 64)
            return false;
    }
    for (uint64_t i = 0; i < exponent; i++)
        if (!checked_mul(v, base, &v))
            return false;
    *ret = v;
    return true;
}

bool ovf_unit_bytes(const char *unit, uint64_t *ret)
{
    static const struct {
        const char *word;
        unsigned shift;
    } words[] = {
        { "byte", 0 },       { "bytes", 0 },      { "b", 0 },          { "kb", 10 },
        { "kilobyte", 10 },  { "kilobytes", 10 }, { "mb", 20 },        { "megabyte", 20 },
        { "megabytes", 20 }, { "gb", 30 },        { "gigabyte", 30 },  { "gigabytes", 30 },
        { "tb", 40 },        { "terabyte", 40 },  { "terabytes", 40 },
    };
    const char *p = skip_blanks(unit);
    size_t n = 0;
    while (isalpha((unsigned char)p[n]))
        n++;
    uint64_t v = 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i].word) == n && !strncasecmp(p, words[i].word, n))
            v = UINT64_C(1) << words[i].shift;
    p = skip_blanks(p + n);
    while (v && *p == '*') {
        uint64_t factor;
        p = skip_blanks(p + 1);
        if (!take_factor(&p, &factor) || !checked_mul(v, factor, &v))
            return false;
    }
    if (!v || *p)
        return false;
    *ret = v;
    return true;
}

/* ---- References and DiskSection ---- */

static int no_memory(const char *name, struct fault *fault)
{
    return fault_in(fault, -ENOMEM, name, "out of memory");
}

static int too_many(const char *name, const char *what, struct fault *fault)
{
    return fault_in(fault, -EFBIG, name, "has more than %d %s", OVF_MAX_ENTRIES, what);
}

static int read_files(struct ovf *o, const xmlNode *envelope, const char *name, struct fault *fault)
{
    OVF_EACH(n, ovf_child(envelope, "References"), "File")
    {
        if (o->n_files >= OVF_MAX_ENTRIES)
            return too_many(name, "Files", fault);
        struct ovf_file *f = ovf_append(&o->files, &o->n_files, sizeof *f);
        if (!f)
            return no_memory(name, fault);
        f->id = ovf_attribute(n, "id");
        f->href = ovf_attribute(n, "href");
        if (!f->href && !(f->href = strdup("")))
            return no_memory(name, fault);
        f->compression = ovf_attribute(n, "compression");
        if (f->compression && !strcasecmp(f->compression, "identity")) {
            free(f->compression);
            f->compression = NULL;
        }
        _cleanup_free_ char *chunk = ovf_attribute(n, "chunkSize"), *size = ovf_attribute(n, "size");
        ovf_decimal(size, &f->size);
        if (chunk && !ovf_decimal(chunk, &f->chunk_size))
            notes_add(&o->notes, "the chunkSize \"%.64s\" of the File %s is no number", chunk, f->href);
    }
    return 0;
}

/* The default value of the property that "${key}" stands for; the caller's, NULL: there is none. Looks at no
 * more than OVF_MAX_ENTRIES properties, since each disk may ask. */
static char *property_value(const xmlNode *n, const char *key, size_t len)
{
    size_t seen = 0;
    OVF_EACH(section, n, "ProductSection")
    {
        OVF_EACH(property, section, "Property")
        {
            if (++seen > OVF_MAX_ENTRIES)
                return NULL;
            _cleanup_free_ char *k = ovf_attribute(property, "key");
            if (k && strlen(k) == len && !memcmp(k, key, len))
                return ovf_attribute(property, "value");
        }
    }
    return NULL;
}

static char *resolve_property(const char *text, const xmlNode *envelope, const xmlNode *system)
{
    size_t n = strlen(text);
    if (n < 4 || text[0] != '$' || text[1] != '{' || text[n - 1] != '}')
        return strdup(text);
    char *v = system ? property_value(system, text + 2, n - 3) : NULL;
    return v ? v : property_value(envelope, text + 2, n - 3);
}

/* The capacity is only needed for blank disks; else the image knows better. */
static void read_capacity(struct ovf *o, struct ovf_disk *d, const xmlNode *n, const xmlNode *envelope,
                          const xmlNode *system)
{
    _cleanup_free_ char *text = ovf_attribute(n, "capacity");
    _cleanup_free_ char *unit = ovf_attribute(n, "capacityAllocationUnits");
    if (!text)
        return;
    _cleanup_free_ char *number = resolve_property(text, envelope, system);
    uint64_t count, bytes = 1;
    if (!ovf_decimal(number, &count) || (unit && !ovf_unit_bytes(unit, &bytes)) ||
        !checked_mul(count, bytes, &d->capacity))
        notes_add(&o->notes,
                  "the capacity \"%.64s\" (in units of \"%.64s\") of the Disk %.64s isn't understood", text,
                  unit ? unit : "byte", d->id ? d->id : "without a diskId");
}

static int read_disks(struct ovf *o, const xmlNode *envelope, const xmlNode *system, const char *name,
                      struct fault *fault)
{
    OVF_EACH(n, ovf_child(envelope, "DiskSection"), "Disk")
    {
        if (o->n_disks >= OVF_MAX_ENTRIES)
            return too_many(name, "Disks", fault);
        struct ovf_disk *d = ovf_append(&o->disks, &o->n_disks, sizeof *d);
        if (!d)
            return no_memory(name, fault);
        d->id = ovf_attribute(n, "diskId");
        d->file_ref = ovf_attribute(n, "fileRef");
        d->parent_ref = ovf_attribute(n, "parentRef");
        d->boot = ovf_attribute_is(n, "boot", "true");
        read_capacity(o, d, n, envelope, system);
    }
    return 0;
}

/* ---- the systems ---- */

/* All VirtualSystems in document order, collections within collections too (their depth is libxml2's limit,
 * 256). */
static int find_systems(const xmlNode *n, const xmlNode ***systems, size_t *count)
{
    for (const xmlNode *c = n->children; c; c = c->next) {
        if (is_kind(c, "VirtualSystem")) {
            const xmlNode **slot = *count < OVF_MAX_ENTRIES ? ovf_append(systems, count, sizeof *slot) : NULL;
            if (!slot)
                return *count < OVF_MAX_ENTRIES ? -ENOMEM : -EFBIG;
            *slot = c;
        } else if (is_kind(c, "VirtualSystemCollection")) {
            int r = find_systems(c, systems, count);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static char *system_name(const xmlNode *system)
{
    char *name = ovf_child_text(system, "Name");
    return name ? name : ovf_attribute(system, "id");
}

static char *system_os(const xmlNode *system)
{
    const xmlNode *os = ovf_child(system, "OperatingSystemSection");
    if (!os)
        return NULL;
    char *type = ovf_attribute(os, "osType"); /* VMware */
    if (!type)
        type = ovf_child_text(os, "OSType"); /* VirtualBox */
    return type ? type : ovf_child_text(os, "Description");
}

/* Marks the files that a text names: by fileRef, or as "ovf:/file/ID" wherever it stands. */
static void mark_used(struct ovf *o, const char *text, bool is_ref)
{
    const char *path = strstr(text, "/file/");
    for (size_t i = 0; i < o->n_files; i++) {
        struct ovf_file *f = &o->files[i];
        if (f->id && ((is_ref && !strcmp(text, f->id)) || (path && !strcmp(path + strlen("/file/"), f->id))))
            f->used = true;
    }
}

/* Below `node`; libxml2 bounds the depth. */
static void find_used(struct ovf *o, const xmlNode *node)
{
    for (; node; node = node->next) {
        if (node->type == XML_TEXT_NODE && node->content)
            mark_used(o, (const char *)node->content, false);
        if (node->type != XML_ELEMENT_NODE)
            continue;
        for (const xmlAttr *a = node->properties; a; a = a->next)
            if (a->children && a->children->content)
                mark_used(o, (const char *)a->children->content, !strcmp((const char *)a->name, "fileRef"));
        find_used(o, node->children);
    }
}

static int read_systems(struct ovf *o, const xmlNode *envelope, const xmlNode *const *systems,
                        const char *name, struct fault *fault)
{
    const xmlNode *system = systems[0];
    o->name = system_name(system);
    o->os_type = system_os(system);
    for (size_t i = 1; systems[i]; i++) {
        _cleanup_free_ char *other = system_name(systems[i]);
        notes_add(&o->notes, "the package has another virtual system, \"%.128s\", which is not shown",
                  other ? other : "without a name");
    }
    return ovf_read_hardware(o, envelope, system, systems + 1, name, fault);
}

static int read_envelope(struct ovf *o, const xmlNode *envelope, const char *name, struct fault *fault)
{
    _cleanup_free_ const xmlNode **systems = NULL;
    size_t n = 0;
    int r = find_systems(envelope, &systems, &n);
    if (!r && !ovf_append(&systems, &n, sizeof *systems)) /* the NULL at the end */
        r = -ENOMEM;
    if (r < 0)
        return r == -EFBIG ? too_many(name, "VirtualSystems", fault) : no_memory(name, fault);
    r = read_files(o, envelope, name, fault);
    if (!r)
        find_used(o, envelope->children);
    if (!r)
        r = read_disks(o, envelope, systems[0], name, fault);
    if (r < 0 || systems[0])
        return r < 0 ? r : read_systems(o, envelope, systems, name, fault);
    notes_add(&o->notes,
              "the package describes no virtual system: its disks are in the order of its DiskSection");
    return ovf_read_hardware(o, envelope, NULL, systems, name, fault);
}

/* ---- parsing ---- */

bool ovf_looks_like_xml(const void *head, size_t n)
{
    const uint8_t *p = head, *end = p + n;
    if (n >= 4 && ((p[0] == 0xff && p[1] == 0xfe && p[2] == '<' && !p[3]) ||
                   (p[0] == 0xfe && p[1] == 0xff && !p[2] && p[3] == '<')))
        return true; /* UTF-16 */
    if (n >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf)
        p += 3;
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    if (end - p < 2 || p[0] != '<' || !(isalpha(p[1]) || p[1] == '?' || p[1] == '!' || p[1] == '_'))
        return false;
    return !memchr(p, 0, (size_t)(end - p) < 64 ? (size_t)(end - p) : 64); /* UTF-8 text has no NUL */
}

/* "<?xml ... encoding="utf-16"" in plain ASCII */
static bool lies_about_utf16(const char *text, size_t n)
{
    if (!text || n < 6 || memcmp(text, "<?xml ", 6) != 0)
        return false;
    const char *end = memmem(text, n < 256 ? n : 256, "?>", 2);
    _cleanup_free_ char *declaration = end ? strndup(text, (size_t)(end - text)) : NULL;
    return declaration && strcasestr(declaration, "utf-16");
}

struct parse_state {
    bool doctype;
};

static void on_doctype(void *ctx, const xmlChar *name, const xmlChar *external, const xmlChar *system)
{
    (void)name, (void)external, (void)system;
    xmlParserCtxt *ctxt = ctx;
    ((struct parse_state *)ctxt->_private)->doctype = true;
    xmlStopParser(ctxt);
}

static int not_well_formed(const xmlParserCtxt *ctxt, const char *name, struct fault *fault)
{
    const xmlError *e = &ctxt->lastError;
    if (e->code == XML_ERR_NO_MEMORY)
        return no_memory(name, fault);
    const char *message = e->message ? e->message : "no reason given";
    return fault_in(fault, -EUCLEAN, name, "isn't well-formed XML: line %d: %.*s", e->line,
                    (int)strcspn(message, "\r\n"), message);
}

static int check_root(const xmlNode *root, const char *name, struct fault *fault)
{
    static const char envelope[] = "Envelope";
    const char *ns = root && root->ns && root->ns->href ? (const char *)root->ns->href : "";
    if (!root)
        return fault_in(fault, -EUCLEAN, name, "isn't well-formed XML: it has no root element");
    if (!strcmp(local_name(root->name), "Foundry")) {
        fault_in(fault, -EMEDIUMTYPE, name,
                 "is a .vmxf: further settings of a VMware machine, which name no disk");
        return fault_hint(fault, -EMEDIUMTYPE, "mount the .vmx beside it");
    }
    /* SOAP has an Envelope too; each version's namespace of OVF has its name in it */
    if (strcmp(local_name(root->name), envelope) != 0 || (*ns && !strcasestr(ns, "/ovf/")))
        return fault_in(fault, -EMEDIUMTYPE, name, "is an XML file with the root <%.64s>%s%.128s, not an OVF",
                        (const char *)root->name, *ns ? " of " : "", ns);
    return 0;
}

/* Gives the document in *ret (to be freed even on failure). */
static int parse_xml(xmlParserCtxt *ctxt, const void *text, size_t n, const char *name, xmlDoc **ret,
                     struct fault *fault)
{
    struct parse_state state = { 0 };
    int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA;
    bool utf8 = lies_about_utf16(text, n);
    ctxt->sax->internalSubset = on_doctype;
    ctxt->_private = &state;
    *ret = xmlCtxtReadMemory(ctxt, text, (int)n, NULL, utf8 ? "UTF-8" : NULL,
                             options | (utf8 ? XML_PARSE_IGNORE_ENC : 0));
    if (state.doctype)
        return fault_in(fault, -EUCLEAN, name, "has a DOCTYPE, which no OVF has: refused unread");
    if (!*ret || !ctxt->wellFormed || !ctxt->nsWellFormed)
        return not_well_formed(ctxt, name, fault);
    return 0;
}

int ovf_parse(const void *text, size_t n, const char *name, struct ovf **ret, struct fault *fault)
{
    if (!n)
        return fault_in(fault, -EMEDIUMTYPE, name, "is empty");
    if (n > OVF_MAX_SIZE)
        return fault_in(fault, -EFBIG, name, "has %zu bytes, more than the %d MiB that an OVF may have", n,
                        OVF_MAX_SIZE >> 20);
    _cleanup_(ovf_freep) struct ovf *o = calloc(1, sizeof *o);
    xmlParserCtxt *ctxt = o ? xmlNewParserCtxt() : NULL;
    if (!ctxt)
        return no_memory(name, fault);
    xmlDoc *doc = NULL;
    int r = parse_xml(ctxt, text, n, name, &doc, fault);
    const xmlNode *root = r ? NULL : xmlDocGetRootElement(doc);
    if (!r)
        r = check_root(root, name, fault);
    if (!r)
        r = read_envelope(o, root, name, fault);
    xmlFreeDoc(doc);
    xmlFreeParserCtxt(ctxt);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

void ovf_free(struct ovf *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n_files; i++) {
        free(o->files[i].id);
        free(o->files[i].href);
        free(o->files[i].compression);
    }
    for (size_t i = 0; i < o->n_disks; i++) {
        free(o->disks[i].id);
        free(o->disks[i].file_ref);
        free(o->disks[i].parent_ref);
    }
    for (size_t i = 0; i < o->n_drives; i++)
        free(o->drives[i].missing);
    for (size_t i = 0; i < o->n_nics; i++) {
        free(o->nics[i].type);
        free(o->nics[i].network);
        free(o->nics[i].mac);
    }
    for (size_t i = 0; i < o->n_controllers; i++)
        free(o->controllers[i].subtype);
    free(o->controllers);
    free(o->boot_order);
    free(o->files);
    free(o->disks);
    free(o->drives);
    free(o->nics);
    free(o->name);
    free(o->os_type);
    free(o->firmware);
    notes_done(&o->notes);
    free(o);
}
