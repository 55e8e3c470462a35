/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_IMAGE_H
#define FERRYFS_IMAGE_H
/* From a file to a whole disk: detection, the format drivers, and chains of them.
 *
 * A format is one file (formats/NAME.c) that defines one `const struct format`, and one row in formats.c. */
#include "bytes.h"
#include "cache.h"
#include "disk.h"
#include "fault.h"
#include "file.h"
#include "notes.h"

#include <stdbool.h>
#include <stdint.h>

/* What everything that opens images shares; constant while images are open. */
struct image_env {
    struct cache *cache; /* never NULL */
    unsigned above;      /* links of the chain that are open before this one */
};

/* How much of `full`, the bound of what is looked at when one file is opened, a file may take that comes
 * behind `n` others: all of it for the first ones, less and less in long rows, so that the sum stays some
 * hundred times `full`. What isn't looked at when opening is EIO when it is read. */
static inline uint64_t image_check_share(unsigned n, uint64_t full)
{
    enum { FULL_SHARES = 16 };
    return full / (1 + n / FULL_SHARES);
}

/* What a probe looks at. Windows shorter than stated belong to short files. */
struct probe {
    struct file *file;
    struct bytes head; /* the first PROBE_HEAD bytes */
    struct bytes tail; /* the last PROBE_TAIL bytes */
};
enum { PROBE_HEAD = 65536, PROBE_TAIL = 4096 };

/* A probe's bid: the number of bits of evidence, the highest wins. PROBE_TRACE is no bid: something of the
 * format is there (a backup header, a footer, a descriptor's words), so the file must not be taken for raw.
 */
enum { PROBE_NONE = 0, PROBE_TRACE = 1 };

/* An internal snapshot: a state of the disk that the image keeps beside the current one. Strings are owned.
 */
struct image_snapshot {
    char *name; /* as stored: any bytes, NUL too, maybe none; and a NUL behind it */
    size_t name_n;
    char *id; /* "" where it has none */
    struct timespec date;
    uint64_t vm_state; /* bytes of a running guest's memory, which isn't shown; 0: it was off */
    uint64_t size;     /* of the disk then, bytes */
    char *why;         /* why it can't be shown, as far as the table of snapshots tells; NULL: it may be */
};

/* A bitmap of what was written, which the image keeps for backup programs. */
struct image_bitmap {
    char *name;           /* owned; as stored */
    uint64_t granularity; /* bytes that one bit stands for */
    bool enabled;         /* goes on recording; else it is a frozen set */
    bool in_use;          /* wasn't stored in order: its bits mean nothing */
};

/* More of either are left out, with a remark: a hostile image could have any number. */
enum { IMAGE_MAX_SNAPSHOTS = 256, IMAGE_MAX_BITMAPS = 256 };

/* What info.json says of one link of a chain. Strings are "" when there is nothing to say. */
struct layer_info {
    const char *format;  /* the driver's name */
    char *file;          /* owned; the file's name as the user knows it */
    char subformat[40];  /* "streamOptimized", "compat=1.1", ... */
    char compression[8]; /* "zlib", "zstd" */
    char link_id[64];    /* what a child must name to be this one's child: a VMDK's CID, a VHDX's GUID; lower
                            case. Behind a blank, what only some have: compared where both do */
    uint64_t virtual_size;   /* bytes */
    uint64_t file_size;      /* bytes of all its files */
    uint32_t block_size;     /* allocation unit in bytes; 0: none */
    uint32_t sector_size;    /* logical, bytes; 0: the format doesn't say, so 512 */
    struct timespec mtime;   /* of `file`; filled in by the caller, like `file` */
    struct file_place place; /* of `file`; filled in by the caller too */
    bool odd;                /* other programs are known to read it otherwise than we do */
    bool beside; /* it was found beside its child, not where that says; filled in by the caller too */
    struct notes notes;
    struct image_snapshot *snapshots; /* owned */
    size_t n_snapshots;
    struct image_bitmap *bitmaps; /* owned */
    size_t n_bitmaps;
};
void layer_info_done(struct layer_info *info);

/* What a layer says of the layer below it. All owned; free with backing_done(). */
struct backing {
    char *name; /* as stored in the image, with '\' turned to '/'; NULL: there is none */
    char
        *others[2]; /* VHDX: further names of the same file, tried in this order where `name` leads to none */
    const char *role; /* "parent" or "backing file" */
    bool part; /* not the whole of that file, but `length` bytes from `offset` on: what lies in an archive */
    uint64_t offset, length; /* length UINT64_MAX: to its end */
    char *format; /* the format it must be read as; NULL: found by content, and then never raw unless nothing
                     else speaks (see image.c) */
    char link_id[64];   /* what its link_id must be; "": anything */
    char link_id2[64];  /* another that will do as well; "": none */
    bool search_beside; /* VMDK, VHDX: a stale or foreign path may be resolved to its last directory and base
                           name beside the child's directory, or to the base name beside the child, as long as
                           the link_id fits */
};
void backing_done(struct backing *b);

/* What a driver's open gives. On failure the driver leaves nothing behind. */
struct layer {
    struct disk *disk; /* HOLE means: ask the layer below */
    struct backing backing;
    struct layer_info info; /* `format`, `file` and `mtime` are filled in by the caller */
};

struct format {
    const char *name;  /* for info.json, messages and -o format= */
    const char *title; /* for people: "VMDK" */
    /* Names of this format end so; such a file is never taken for raw. NULL-terminated, lower case, with the
     * dot. */
    const char *suffixes[8];
    unsigned (*probe)(const struct probe *p);
    /* Opens one layer. Reads what is needed to refuse a damaged image at once, not more: tables come on
     * demand. Takes its own references of `file`. */
    int (*open)(struct file *file, const struct image_env *env, struct layer *ret, struct fault *fault);
    /* Opens snapshot `i` of a layer that `open` gave (i < info.n_snapshots; its `why` is NULL) as a layer of
     * its own, over the same backing file. It takes its own references, and outlives `layer` if need be.
     * Fills in ret->disk and of ret->info only what differs from the layer's: virtual_size, link_id and
     * notes. NULL: the format has no snapshots. */
    int (*open_snapshot)(struct disk *layer, size_t i, struct layer *ret, struct fault *fault);
};

/* The table of formats.c, ending with NULL. Order carries no meaning. */
extern const struct format *const formats[];
const struct format *format_by_name(const char *name);
/* Names what an unreadable container is ("a VHD image", "gzip-compressed"), or NULL. See foreign.c. */
const char *foreign_name(const struct probe *p, const char **ret_advice);

/* A whole disk: the chain of layers, top first, padded with zeros to whole sectors of 512 bytes. */
struct image {
    struct disk *disk;
    struct layer_info *layers;
    size_t n_layers;
};

/* Opens `file` and everything below it. `format` (may be NULL) overrules detection of the top. Refuses,
 * naming the file: a missing link, one whose id is not what its child expects, a loop, more than
 * IMAGE_MAX_DEPTH links. */
enum { IMAGE_MAX_DEPTH = 1024 };
int image_open(struct file *file, const char *format, const struct image_env *env, struct image **ret,
               struct fault *fault);
void image_close(struct image *image);
/* Opens an internal snapshot of the top link (i < image->layers[0].n_snapshots) as a whole disk: the
 * snapshot, and below it the links that `image` has below its top, which it borrows: `image` must outlive it.
 * Errors as image_open's; what is wrong with one snapshot says nothing about the others. */
int image_open_snapshot(const struct image *image, size_t i, struct image **ret, struct fault *fault);
/* The disk's logical sector size in bytes, 512 or 4096: what the top says. */
unsigned image_sector_size(const struct image *image);
DEFINE_CLEANUP(struct image *, image_close)

/* The part of image_open that only decides. */
int image_detect(struct file *file, const struct format **ret, struct fault *fault);

/* Joins layers (top first, all owned from now on, even on failure) to one disk of the top's size rounded up
 * to whole sectors. Past the end of a lower layer: zeros. Exposed for tests. */
int chain_new(struct disk **layers, size_t n, struct disk **ret);
/* Layer i (0 = the top) of a disk that chain_new made; borrowed. */
struct disk *chain_layer(const struct disk *chain, size_t i);
#endif
