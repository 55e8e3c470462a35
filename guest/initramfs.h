/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_INITRAMFS_H
#define FERRYFS_INITRAMFS_H
/* What an initramfs has in it, and what can be put behind it.
 *
 * The kernel unpacks what it finds one behind the other into the same root, later files over earlier ones:
 * plain cpio archives, at multiples of 4 bytes, zeros between them, and streams of one compressor (gzip,
 * bzip2, xz, lzma, lzo, lz4 in its legacy form, zstd). So an archive with more modules, put behind what is
 * there, makes one image of both, and nothing has to be packed anew. An archive of ours has an entry at its
 * end that says where the image ended before: by it, it is found again behind a stream whose end only its
 * decompressor knows.
 *
 * A stream of lz4 has no end of its own, and older kernels take what follows for another block of it: behind
 * one, more blocks are what is put. They are stored, not compressed.
 *
 * Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst; initramfs-tools(7);
 * dracut.cmdline(7), dracut.modules(7); systemd.net-naming-scheme(7), v240; experiments with Debian 12. */
#include "cpio.h"

enum initramfs_maker { INITRAMFS_UNKNOWN, INITRAMFS_TOOLS, INITRAMFS_DRACUT, INITRAMFS_MKINITCPIO };

struct initramfs {
    char **names; /* owned, sorted, without a leading "./" or "/" */
    size_t n_names, size_names;
    enum initramfs_maker maker;
    char *kernel;          /* owned: the first X of lib/modules/X; NULL: there are no modules */
    bool several_kernels;  /* modules of another one too */
    bool lib_is_link;      /* lib is a link to usr/lib: no directory may take its place */
    const char *packing;   /* of its last stream: "zstd", ...; "" when none is compressed */
    char module_suffix[8]; /* ".ko", ".ko.xz": of its modules; "" when it has none */
    char *load;            /* owned: initramfs-tools' conf/modules; NULL: none */
    struct initramfs_link {
        char *name, *text; /* owned */
    } * links; /* owned: the names of adapters that were put into it, INITRAMFS_LINKS; the last of a name
                  counts */
    size_t n_links;
    uint64_t stream_at; /* where that stream begins */
    uint64_t end;       /* bytes of the image */
    uint64_t unpacked;  /* bytes that were unpacked to read it */
};

/* Where an image has what gives network adapters their names, and how the names of ours begin. */
#define INITRAMFS_LINKS "etc/systemd/network/10-ferryfs-"

struct initramfs_file {
    /* Up to len bytes at off; *ret is short only at the end. */
    int (*read)(void *ctx, void *buf, size_t len, uint64_t off, size_t *ret);
    void *ctx;
    uint64_t size;
    const char *name; /* for faults */
    uint64_t budget;  /* bytes that may be unpacked; 0: 1 GiB */
};

/* Fills *ret, which the caller frees whatever is returned. -EUCLEAN: no initramfs, or a damaged one;
 * -ENOTSUP: its compressor isn't known; -EFBIG: too much in it; or what `read` returns. */
int initramfs_read(const struct initramfs_file *f, struct initramfs *ret, struct fault *fault);
void initramfs_done(struct initramfs *i);

/* By the name that a path has in the image: "conf/modules". */
bool initramfs_has(const struct initramfs *i, const char *name);
/* A module by its name of modules.dep, "kernel/drivers/block/virtio_blk.ko". */
bool initramfs_has_module(const struct initramfs *i, const char *path);
/* Does its udev give network adapters names that the root's udev won't change any more? Before version 240 of
 * systemd, whose shared library has the version in its name since 231, nothing is renamed twice. */
bool initramfs_names_for_good(const struct initramfs *i);
/* The text of a file below INITRAMFS_LINKS; NULL: there is no such file. */
const char *initramfs_link_text(const struct initramfs *i, const char *name);
/* Adds a file to `o`, with those directories on its way that neither the image nor `o` has. `made` has the
 * names of directories made so far. */
struct initramfs_dirs {
    char **names; /* owned */
    size_t n;
};
void initramfs_add(const struct initramfs *i, struct cpio_out *o, struct initramfs_dirs *made,
                   const char *name, const void *data, size_t n);
/* A symbolic link, likewise. */
void initramfs_add_link(const struct initramfs *i, struct cpio_out *o, struct initramfs_dirs *made,
                        const char *name, const char *target);
void initramfs_dirs_done(struct initramfs_dirs *d);
/* A file's bytes without its compression, owned by the caller: gzip, xz, zstd and the like; others as they
 * are. -EUCLEAN: damaged; -EFBIG: more than `max`. */
int initramfs_unpack(const void *p, size_t n, size_t max, uint8_t **ret, size_t *ret_n);
/* Ends `o`, and gives what has to be put behind the image, owned by the caller. -ENOTSUP: its lz4 stream
 * isn't the last thing in it. */
int initramfs_segment(const struct initramfs *i, const struct initramfs_file *f, struct cpio_out *o,
                      uint8_t **ret, size_t *ret_n);
#endif
