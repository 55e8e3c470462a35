/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partition tables and signatures of any bytes. Two readings agree; numbers are distinct; what a partition
 * says is a product of its table's sectors; the work is bounded. */
#include "guest/partition.h"
#include "guest/signature.h"
#include "../unit/memdisk.h"

#include <assert.h>

enum { LENGTH_MAX = 4 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_table(const struct partition_table *t, const struct partition_table *again)
{
    assert(t->kind == again->kind && t->n == again->n);
    assert(t->notes.n <= NOTES_MAX);
    for (size_t i = 0; i < t->n; i++) {
        const struct partition *p = &t->partitions[i];
        assert(!memcmp(p, &again->partitions[i], sizeof *p));
        assert(p->number && (!i || p->number > p[-1].number));
        assert(p->length && p->start % t->sector_size == 0 && p->length % t->sector_size == 0);
        assert(p->start + p->length > p->start);
        assert(memchr(p->name, 0, sizeof p->name));
    }
    assert(t->kind != TABLE_NONE || !t->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > LENGTH_MAX)
        return 0;
    struct memdisk d = memdisk_of(data, n);
    struct fault fault = { 0 };
    struct partition_table *t, *again;
    if (partition_table_read(&d.disk, &t, &fault) == 0) {
        int r = partition_table_read(&d.disk, &again, NULL);
        assert(r == 0);
        check_table(t, again);
        partition_table_free(t);
        partition_table_free(again);
    } else {
        assert(fault.err && fault.what[0]);
    }
    assert(d.reads < 4096);
    struct signature s;
    int r = signature_probe(&d.disk, &s);
    assert(r == 0);
    assert(memchr(s.type, 0, sizeof s.type) && memchr(s.label, 0, sizeof s.label) &&
           memchr(s.uuid, 0, sizeof s.uuid));
    return 0;
}
