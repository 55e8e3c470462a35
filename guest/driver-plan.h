/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DRIVER_PLAN_H
#define FERRYFS_DRIVER_PLAN_H
/* What Windows would make of a driver package: which sections of the INF are meant for this guest, and what
 * they ask for. Pure functions; nothing of the guest or the package is looked at but what the caller says.
 * Source: Microsoft's INF reference; the order of ranks as its page on target OS decorations has it.
 *
 * Texts of a plan belong to the INF, which must stay, or to the plan. */
#include "inf.h"

#include <stdint.h>

enum driver_arch { DRIVER_X86, DRIVER_AMD64, DRIVER_ARM, DRIVER_ARM64 };
enum driver_product { DRIVER_WORKSTATION = 1, DRIVER_CONTROLLER, DRIVER_SERVER };

struct driver_target {
    enum driver_arch arch;
    unsigned major, minor, build; /* 10, 0, 17763 */
    unsigned product;             /* enum driver_product */
    unsigned suite;               /* bits of the suite mask that are set */
    const char *root;             /* of the system: "C:\\Windows" */
    const char *store;            /* name of the package's directory in the FileRepository */
};

/* Types of registry values. */
enum {
    DRIVER_REG_NONE = 0,
    DRIVER_REG_SZ = 1,
    DRIVER_REG_EXPAND_SZ = 2,
    DRIVER_REG_BINARY = 3,
    DRIVER_REG_DWORD = 4,
    DRIVER_REG_MULTI_SZ = 7,
};

/* Bits of an AddReg line's flags. */
enum {
    DRIVER_ADD_NOCLOBBER = 2,
    DRIVER_ADD_DELETE = 4,
    DRIVER_ADD_APPEND = 8,
    DRIVER_ADD_KEYONLY = 16,
    DRIVER_ADD_OVERWRITEONLY = 32,
};

enum driver_op {
    DRIVER_ADD,          /* AddReg */
    DRIVER_DELETE,       /* DelReg: the value, or with all_of_key the key with all that is in it */
    DRIVER_DELETE_TEXTS, /* those in `bytes` (a MULTI_SZ) go from the list */
    DRIVER_SET_BITS,     /* BitReg: those of `mask` in a byte of the value */
    DRIVER_CLEAR_BITS,
};

/* One line of an AddReg, DelReg or BitReg section. */
struct driver_value {
    enum driver_op op;
    const struct inf *inf; /* where the line is */
    unsigned line;
    const char *root; /* "HKR", "HKLM", ... in capitals */
    const char *key;  /* below it, "" for itself; backslashes */
    const char *name; /* "" for the default value */
    uint32_t type;
    unsigned flags;  /* DRIVER_ADD_* */
    bool all_of_key; /* of a DRIVER_DELETE */
    bool view_32;    /* where a program of 32 bits would see it */
    uint8_t mask;    /* of BitReg */
    uint32_t byte;   /* which of the value's, from 0 */
    uint8_t *bytes;  /* owned; as the registry has them */
    size_t n;
};

/* In the order in which they are made: DelReg, AddReg, BitReg. */
struct driver_values {
    struct driver_value *v; /* owned */
    size_t n;
};

struct driver_file {
    unsigned line;
    unsigned dirid;        /* 13: stays in the package's directory */
    const char *dir;       /* Windows' name of the directory, as "C:\\Windows\\System32\\drivers"; owned */
    const char *name;      /* there */
    const char *source;    /* in the package, with slashes; owned */
    const struct inf *inf; /* where the line is */
    const char *store; /* of an in-box package of the guest's, which has the source: the name of its directory
                          in the FileRepository, "": unknown. NULL: the package itself has it */
    bool replace_only, no_overwrite;
};

/* DelFiles, RenFiles: what goes from where it is, before files are copied. */
struct driver_old_file {
    const struct inf *inf; /* where the line is */
    unsigned line;
    const char *dir;  /* as of driver_file */
    const char *name; /* there */
    const char *to;   /* its new name there; NULL: it is deleted */
};

struct driver_service {
    const struct inf *inf; /* where the line is */
    unsigned line;
    const char *name;
    unsigned flags; /* of AddService; 2: it is the device's function driver */
    uint32_t type, start, error_control;
    bool has_boot_flags;
    uint32_t boot_flags;
    char *image_path;                  /* owned */
    const char *display, *display_raw; /* NULL: none; raw: with its %token% */
    const char *description, *description_raw;
    const char *group;              /* NULL: none */
    const char *object_name;        /* NULL: none */
    char *depends, *depends_groups; /* owned; names with a comma between; NULL: none */
    struct driver_values values;    /* HKR is the service's key */
    const char *log_name;           /* below Services\EventLog\System, or another `log_type`; NULL: none */
    const char *log_type;
    struct driver_values log_values;
};

/* An install section, as chosen: DDInstall with its companions. */
struct driver_install {
    const char *base;    /* as the models name it */
    const char *section; /* as it is called with its decoration */
    unsigned line;
    unsigned feature_score; /* 0xff unless the INF says so */
    const char *service;    /* the function driver's; NULL: none */
    const char *included;   /* INFs whose sections were done with it, with '\n' between; NULL: none */
    struct driver_values software, hardware;
};

struct driver_model {
    unsigned line;
    const char *description, *description_raw;
    const char *manufacturer, *manufacturer_raw;
    size_t install;          /* index */
    const char *hardware_id; /* "" if there are compatible ids only */
    const struct inf_field *compatible;
    unsigned n_compatible;
};

/* An INF that another includes. */
struct driver_included {
    const char *name;
    struct inf *inf; /* owned; NULL: it wasn't found, or is none */
    char *store;     /* owned; as of driver_file */
};

struct driver_plan {
    const struct inf *inf;
    const char *class_name, *class_guid, *provider; /* never NULL; the GUID is a valid one, with braces */
    const char *catalog;                            /* NULL: the INF names none */
    unsigned catalog_line;
    uint64_t date;               /* of DriverVer, as a FILETIME; 0: none */
    uint64_t version;            /* w << 48 | x << 32 | y << 16 | z */
    const char *version_text;    /* as written, "" if there is none */
    bool boot_critical;          /* a boot-start service, or a class of disk controllers */
    uint64_t rank;               /* of the best decoration: how close it is to this guest's Windows */
    bool extension;              /* adds to another package's device */
    struct driver_model *models; /* owned arrays */
    size_t n_models;
    struct driver_install *installs;
    size_t n_installs;
    struct driver_file *files;
    size_t n_files;
    struct driver_old_file *old_files;
    size_t n_old_files;
    struct driver_service *services;
    size_t n_services;
    struct driver_included *included;
    size_t n_included;
    char **notes; /* owned: what was passed over, "line 12: ..." */
    size_t n_notes;
    void **owned; /* of the plan's texts */
    size_t n_owned;
};

/* Where INFs are found that others include. */
struct driver_includes {
    /* A file's bytes and the store's directory (see driver_included), both owned by the caller, also with an
     * error. `name` has no directory. -ENOENT. */
    int (*read)(void *ctx, const char *name, uint8_t **ret, size_t *ret_n, char **ret_store);
    void *ctx;
};

/* -EUCLEAN for an INF that Windows wouldn't take, -ENOEXEC for one that isn't for this guest, -ENOTSUP for
 * what we don't do, -EFBIG, -ENOMEM. The fault gives the line. `from` NULL: what is included is left to
 * Windows. */
int driver_plan(const struct inf *inf, const struct driver_target *target, const struct driver_includes *from,
                struct driver_plan **ret, struct fault *fault);
void driver_plan_free(struct driver_plan *plan);
DEFINE_CLEANUP(struct driver_plan *, driver_plan_free)

/* "x86", "amd64", "arm", "arm64" */
const char *driver_arch_name(enum driver_arch arch);
/* Does the decoration (as "NTamd64.10.0...17763", or "") fit the target? -EUCLEAN: it is none. 0: no. Else
 * 1, and how well: the higher the better. */
int driver_decoration(const char *decoration, const struct driver_target *target, uint64_t *ret_rank);
#endif
