/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_OVF_XML_H
#define FERRYFS_OVF_XML_H
/* What ovf.c and ovf-hardware.c share: looking into the parsed descriptor. Internal to them. */
#include "ovf.h"

#include <libxml/tree.h>

/* The next element at `n` or behind it (n may be NULL) that is `kind`. In 0.9 the kind stands in xsi:type:
 * <Section xsi:type="ovf:DiskSection_Type"> is a DiskSection. */
const xmlNode *ovf_next(const xmlNode *n, const char *kind);
static inline const xmlNode *ovf_child(const xmlNode *n, const char *kind)
{
    return ovf_next(n ? n->children : NULL, kind);
}
#define OVF_EACH(var, parent, kind)                                                                          \
    for (const xmlNode *var = ovf_child(parent, kind); var; var = ovf_next(var->next, kind))

/* The attribute of that local name, or the text of the child element of that kind, without blanks around it;
 * NULL when it is missing or empty. The caller's. */
char *ovf_attribute(const xmlNode *n, const char *name);
char *ovf_child_text(const xmlNode *n, const char *kind);
bool ovf_attribute_is(const xmlNode *n, const char *name, const char *value);
bool ovf_decimal(const char *text, uint64_t *ret);

/* Makes room for one more, zeroed, at the end of an array and counts it; NULL: no memory. */
void *ovf_append(void *array_pointer, size_t *n, size_t size);

/* Reads the VirtualSystem's hardware into cpus, memory, firmware, nics and drives. `files` and `disks` are
 * there. `others`, NULL-terminated, are the package's further systems, whose disks aren't this one's. */
int ovf_read_hardware(struct ovf *ovf, const xmlNode *envelope, const xmlNode *system,
                      const xmlNode *const *others, const char *name, struct fault *fault);
#endif
