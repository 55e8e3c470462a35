/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_PREPARE_LINUX_H
#define FERRYFS_PREPARE_LINUX_H
/* The parts of the Linux planner, and what they share; others include prepare.h. All return 0 or -errno. */
#include "prepare.h"

enum {
    LINUX_TEXT_MAX = 1 << 20, /* bytes of a configuration file that is looked into */
    LINUX_PATH_MAX = 4096,
};

struct linux_plan {
    struct prepare *p;
    bool adds_files;   /* a file that wasn't there is planned: SELinux has no label for it */
    char modules[512]; /* those that the target needs and a kernel has, each behind a space */
    char lacking[320]; /* a kernel that the target's disks are unknown to; "": none */
    char unified[900]; /* a unified kernel image that won't do; "": none */
    char unified_advice[640];
    size_t unified_images;
    char unread[900];  /* an image that can't be read; "": none */
    size_t n_read;     /* those that can */
    uint64_t unpacked; /* bytes of all images so far */
    bool boots;        /* there is one that has what it needs */
    struct linux_link_file {
        char path[64], text[160];
    } * links; /* owned: what names adapters, for the images too */
    size_t n_links;
    bool kernel_names; /* a boot entry says net.ifnames=0: adapters are called eth0 and so on */
};

/* ---- prepare-linux.c ---- */

/* Exists, whatever it is. */
bool linux_has(struct linux_plan *l, const char *path);
/* A text file, owned by the caller. -ENOENT: no such one, or none of at most LINUX_TEXT_MAX bytes. */
int linux_text(struct linux_plan *l, const char *path, char **ret);
/* What the file must be, as prepare_ops.file and link have it. */
int linux_file(struct linux_plan *l, const char *path, const char *text, mode_t mode, const char *reason);
/* The names in a directory that end in `suffix`, of what is no directory itself: the first 64. None: 0 of
 * them. */
struct linux_names {
    char names[64][256];
    size_t n;
    const char *suffix;
};
int linux_list(struct linux_plan *l, const char *dir, const char *suffix, struct linux_names *ret);
int linux_link(struct linux_plan *l, const char *path, const char *target, const char *reason);
int linux_note(struct linux_plan *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int linux_block(struct linux_plan *l, const char *what_to_do, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same name on every hypervisor for a device name that isn't: "UUID=..." for "/dev/sda3". False: it needs
 * none, or (*ret_lost) no volume of the guest has that name. */
bool linux_steady_name(struct linux_plan *l, const char *device, char *ret, size_t size, bool *ret_lost);

/* A text that grows; free(o.p). A failure sticks: linux_out_done() says so. */
struct linux_out {
    char *p;
    size_t n, size;
    bool failed;
};
void linux_put(struct linux_out *o, const char *p, size_t n);
static inline int linux_out_done(struct linux_out *o)
{
    linux_put(o, "", 1); /* the NUL */
    return o->failed ? -12 /* ENOMEM */ : 0;
}

/* The words of `names`, each with `after` behind it; those that `have` has as the first of a line aren't. */
void linux_put_words(struct linux_out *o, const char *names, const char *have, const char *after);

/* ---- prepare-linux-initramfs.c: the target's modules in every initramfs, now and when it is made anew ----
 */
int linux_plan_initramfs(struct linux_plan *l);
/* What the target's disks need, with a space between two. */
void linux_needed_modules(const struct prepare *p, char *ret, size_t size);

/* ---- prepare-linux-images.c: where they are ---- */
enum { LINUX_MAX_IMAGES = 64 };
struct linux_image {
    char path[300];
    bool unified; /* a unified kernel image, or another program of EFI's */
};
struct linux_images {
    struct linux_image list[LINUX_MAX_IMAGES];
    size_t n;
    char left_out[300]; /* the first one that `list` had no room for */
};
int linux_find_images(struct linux_plan *l, struct linux_images *ret);

/* ---- prepare-linux-boot.c: the kernel's command line, wherever a boot loader has it ---- */
const char *linux_boot_reason(const struct linux_plan *l);
int linux_plan_boot(struct linux_plan *l);
bool linux_wants_console(const struct linux_plan *l);
/* Has a command line, or a part of one, a console that isn't a screen? */
bool linux_has_serial(const char *p, size_t n);
/* The arguments, without the line's end, with steady names for devices. `console`: and a serial console, if
 * the target wants one and they have none. */
int linux_put_arguments(struct linux_plan *l, const char *p, size_t n, bool console, struct linux_out *o);

/* ---- prepare-linux-grub.c: what grub-mkconfig makes the command lines of later ---- */
int linux_plan_grub_defaults(struct linux_plan *l);

/* ---- prepare-linux-efi.c: a boot loader that firmware without boot entries finds ---- */
int linux_plan_efi(struct linux_plan *l);

/* ---- prepare-linux-makers.c: what makes an initramfs anew gets the list of modules, too ---- */
int linux_plan_makers(struct linux_plan *l);
/* What to do in the guest so that its initramfs has the modules in `names`, with spaces between them. */
void linux_remake_advice(struct linux_plan *l, const char *names, char *ret, size_t size);

/* ---- prepare-linux-net.c: adapters keep their names ---- */
int linux_plan_net(struct linux_plan *l);
#endif
