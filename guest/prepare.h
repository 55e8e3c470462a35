/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_PREPARE_H
#define FERRYFS_PREPARE_H
/* What a planner sees of a guest, and what it may say: the interface between the knowledge of what a guest
 * needs on another hypervisor (guest/prepare-*.c) and whoever reads and changes the guest (fs/changes.c).
 *
 * Paths are the guest's as guest/ shows them: with slashes and without a leading one ("etc/fstab";
 * "C/Windows/System32/drivers/vmbus.sys", without case there); or, of a volume that is no part of guest/,
 * "../volumes/disk0p1/EFI". Links are followed, but where it says otherwise, and never lead out of the guest.
 * Keys are written as regedit does, "HKLM\SYSTEM\ControlSet001", and "BCD\Objects" of the boot configuration:
 * without case; CurrentControlSet isn't known. Texts are UTF-8.
 *
 * Nothing is changed while a plan is made. What was planned so far is seen by the next look, so that two
 * changes of one file add up; a change that changes nothing is dropped. So a planner states what must be so,
 * and the plan of a guest that is prepared already is empty.
 *
 * Errors are negative errnos; a planner passes on what it can't deal with (-ENOMEM, -EIO), and the plan is
 * refused as a whole. -ENOENT: there is no such thing. One thread at a time. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct prepare;

/* How the path of a volume by its name begins, of those that have no place in the guest. */
#define PREPARE_VOLUMES "../volumes/"

enum prepare_target { PREPARE_HYPERV, PREPARE_AZURE_LOCAL, PREPARE_KVM, PREPARE_KUBEVIRT, PREPARE_TARGETS };

struct prepare_stat {
    mode_t mode; /* type and permissions */
    uint64_t size;
};

/* Types of values that planners write and read. */
enum prepare_type { PREPARE_SZ = 1, PREPARE_EXPAND_SZ, PREPARE_BINARY, PREPARE_DWORD, PREPARE_MULTI_SZ = 7 };

/* Called for each entry, subkey or value by its name; nonzero ends the listing and is what it returns. `type`
 * of a directory's entry: S_IFMT bits, of a value its type, of a subkey 0. */
typedef int (*prepare_each)(void *ctx, const char *name, uint32_t type);

struct prepare_ops {
    /* ---- looking ---- */
    int (*stat)(struct prepare *p, const char *path, struct prepare_stat *ret);
    /* A whole file, owned by the caller, with a NUL behind it. -EFBIG: it has more than `max` bytes. */
    int (*read)(struct prepare *p, const char *path, size_t max, uint8_t **ret, size_t *ret_n);
    /* Up to len bytes at off; short only at the end. */
    int (*read_at)(struct prepare *p, const char *path, void *buf, size_t len, uint64_t off, size_t *ret_len);
    /* The names of a directory; none of what the plan adds or takes. */
    int (*list)(struct prepare *p, const char *path, prepare_each fn, void *ctx);
    /* The text of a link that isn't followed, NUL-terminated; -EINVAL: no link. */
    int (*readlink)(struct prepare *p, const char *path, char *buf, size_t size);
    /* The UUID of what stands in the volume that a Linux device name means, as fstab has it: "/dev/sda3",
     * "/dev/disk/by-path/...". -ENOENT: no volume is that, or it has none. */
    int (*uuid)(struct prepare *p, const char *device, char *buf, size_t size);
    /* A value's bytes, owned by the caller. `name` "": the default one. */
    int (*value)(struct prepare *p, const char *key, const char *name, uint32_t *ret_type, uint8_t **ret,
                 size_t *ret_n);
    /* -ENOENT: no such key. What the plan adds or takes isn't listed. Names that aren't UTF-16 are left out.
     */
    int (*subkeys)(struct prepare *p, const char *key, prepare_each fn, void *ctx);
    int (*values)(struct prepare *p, const char *key, prepare_each fn, void *ctx);

    /* ---- what must be so; `reason` is for people: why, in a few words ----
     * 0 also where it is so already. Strings and bytes are copied. */

    /* A file of exactly these bytes. What is there keeps its owner, mode and attributes; a new one gets the
     * permissions `mode`. Its directory must be there or planned. */
    int (*file)(struct prepare *p, const char *path, const void *bytes, size_t n, mode_t mode,
                const char *reason);
    /* Bytes at the end of a file. Whether they are there already is the caller's to know. Once for each file
     * and plan, and not of one that the plan writes. */
    int (*append)(struct prepare *p, const char *path, const void *bytes, size_t n, const char *reason);
    /* No such file or link; the last name isn't followed. -EISDIR: a directory. */
    int (*remove)(struct prepare *p, const char *path, const char *reason);
    int (*mkdir)(struct prepare *p, const char *path, mode_t mode, const char *reason);
    /* No such directory. What is in it goes by earlier calls; if any is left when the plan is applied, all of
     * it fails. -ENOTDIR: no directory. */
    int (*rmdir)(struct prepare *p, const char *path, const char *reason);
    /* A symbolic link with this text, instead of what file or link has that name. */
    int (*link)(struct prepare *p, const char *path, const char *target, const char *reason);
    /* Keys on the way are made. */
    int (*set)(struct prepare *p, const char *key, const char *name, uint32_t type, const void *bytes,
               size_t n, const char *reason);
    int (*unset)(struct prepare *p, const char *key, const char *name, const char *reason);
    int (*key)(struct prepare *p, const char *key, const char *reason);
    /* The key with all that is in it. */
    int (*unkey)(struct prepare *p, const char *key, const char *reason);
    /* The guest can't be prepared: why, and what to do. The plan then is only this. */
    int (*block)(struct prepare *p, const char *why, const char *what_to_do);
    /* Something to know that is no change; shown with a plan that has any. */
    int (*note)(struct prepare *p, const char *text);
};

/* Implementers embed this as their first member. */
struct prepare {
    const struct prepare_ops *ops;
    enum prepare_target target;
    const char *const *macs; /* "00:0c:29:aa:bb:cc" of the VM's adapters, in their order; NULL: unknown */
    size_t n_macs;
    const char *esp; /* a Windows' EFI system partition, "../volumes/disk0p1"; NULL: it boots by BIOS, or it
                        isn't known */
};

/* "hyperv", "azure-local", "kvm", "kubevirt" */
const char *prepare_target_name(enum prepare_target t);
static inline bool prepare_is_hyperv(const struct prepare *p)
{
    return p->target == PREPARE_HYPERV || p->target == PREPARE_AZURE_LOCAL;
}

/* ---- planners: 0, or -errno and there is no plan ---- */

/* prepare-windows.c. `root` is SystemRoot's directory: "C/Windows". */
int plan_windows(struct prepare *p, const char *root);
/* prepare-linux.c */
int plan_linux(struct prepare *p);
/* prepare-unread.c: no guest is found, and this volume, which may be the root of one, can't be read: blocks.
 * `type` as signature.h has it, or "". */
int plan_unread(struct prepare *p, const char *volume, const char *type, const char *why);
/* Is that the type of a volume that a guest can be on? */
bool prepare_may_be_root(const char *type);
#endif
