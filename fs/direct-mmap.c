/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "direct-mmap.h"

#include <stdint.h>
#include <string.h>

enum {
    IN_OPCODE = 4, /* struct fuse_in_header */
    IN_HEADER = 40,
    INIT_IN_FLAGS = 12, /* struct fuse_init_in */
    INIT_IN_FLAGS2 = 16,
    INIT_IN_SIZE = 64,
    OUT_HEADER = 16,     /* struct fuse_out_header */
    INIT_OUT_FLAGS = 12, /* struct fuse_init_out */
    INIT_OUT_FLAGS2 = 32,
    OPCODE_INIT = 26,
};
#define INIT_EXT                (UINT32_C(1) << 30) /* flags2 is there */
#define DIRECT_IO_ALLOW_MMAP_HI (UINT32_C(1) << (36 - 32))

static uint32_t get(const void *buf, size_t off)
{
    uint32_t v;
    memcpy(&v, (const char *)buf + off, sizeof v);
    return v;
}

void direct_mmap_request(struct direct_mmap *m, const void *buf, size_t n)
{
    if (m->asked || n < IN_HEADER + INIT_IN_SIZE || get(buf, IN_OPCODE) != OPCODE_INIT)
        return;
    const char *in = (const char *)buf + IN_HEADER;
    m->offered = (get(in, INIT_IN_FLAGS) & INIT_EXT) && (get(in, INIT_IN_FLAGS2) & DIRECT_IO_ALLOW_MMAP_HI);
}

void direct_mmap_answer(struct direct_mmap *m, struct iovec *iov, int count)
{
    if (m->asked || !m->offered)
        return;
    m->asked = true;
    size_t n = count == 2 && iov[0].iov_len == OUT_HEADER ? iov[1].iov_len : 0;
    if (n < INIT_OUT_FLAGS2 + 4 || n > sizeof m->answer || !(get(iov[1].iov_base, INIT_OUT_FLAGS) & INIT_EXT))
        return;
    memcpy(m->answer, iov[1].iov_base, n);
    uint32_t flags2 = get(m->answer, INIT_OUT_FLAGS2) | DIRECT_IO_ALLOW_MMAP_HI;
    memcpy(m->answer + INIT_OUT_FLAGS2, &flags2, sizeof flags2);
    iov[1].iov_base = m->answer;
}
