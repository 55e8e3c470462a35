/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_DRIVER_IMPL_H
#define FERRYFS_DRIVER_IMPL_H
/* What the parts of driver-plan.h share. */
#include "driver-plan.h"

enum {
    DRIVER_MAX_ITEMS = 4096,     /* files, services, values of a section: more than any package has */
    DRIVER_MAX_MODELS = 1 << 16, /* a printer's package may have thousands */
    DRIVER_MAX_NOTES = 64,
    DRIVER_MAX_TEXT = 8192, /* of a text that is made of others */
    /* Of a whole plan: sections that name each other make much out of a small INF. */
    DRIVER_MAX_MEMORY = 16 << 20,
    DRIVER_MAX_STEPS = 1 << 20,
    DRIVER_FILE_SLOTS = 2 * DRIVER_MAX_ITEMS,
};

struct planner {
    const struct inf *inf;              /* the one at work: the package's, or one that is included */
    const struct driver_target *target; /* with the store of that INF */
    const char *store;                  /* of an in-box one; NULL: it is of the package */
    const struct driver_target *package_target;
    const struct driver_includes *from;
    struct driver_install *install; /* at work; NULL: none */
    size_t included_bytes;
    struct driver_plan *plan;
    struct fault *fault;
    size_t memory, steps; /* so far */
    unsigned line;        /* where it was last known to be */
    bool over;            /* a limit: the plan fails with -EFBIG, whatever was made of it */
    uint16_t *file_slots; /* owned: places in plan->files, plus 1, by a hash of where they go */
};

/* What a caller is about to do or keep. False: it is too much, and the fault says it.
 * `line` 0: the last one. */
bool driver_charge(struct planner *p, size_t bytes, size_t steps, unsigned line);
/* The texts kept since there were `n` are freed. */
void driver_unkeep(struct planner *p, size_t n);

/* Room for one more in an array of the plan; NULL: no memory, or too many, and the fault says it. */
void *driver_more(struct planner *p, void *array, size_t *n, size_t size, unsigned line);
void *driver_more_of(struct planner *p, void *array, size_t *n, size_t size, size_t max, unsigned line);
/* The plan frees it with itself. NULL stays NULL. */
void *driver_keep(struct planner *p, void *text);
char *driver_text(struct planner *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void driver_note(struct planner *p, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* -ENOMEM, or -EFBIG when a limit was the reason. */
int driver_no_memory(struct planner *p);
/* A number as INFs write them: decimal or 0x..., with a sign; "" is 0. False: none. */
bool driver_number(const char *text, uint32_t *ret);

/* driver-dirs.c: Windows' name of a directory. NULL: unknown, or no memory. `subdir` may be "". */
char *driver_directory(struct planner *p, unsigned dirid, const char *subdir);
/* %12% and the like in a text, by their directories' names. NULL: no memory. */
const char *driver_expand_dirs(struct planner *p, const char *text);

/* driver-include.c: calls fn for each section that the section needs, and itself: first or, so that what it
 * says counts, last. p->inf is the INF of the section then. `section` NULL: nothing. */
typedef int (*driver_section_fn)(struct planner *p, const struct inf_section *section, void *ctx);
int driver_each_needed(struct planner *p, const struct inf_section *section, bool own_first,
                       driver_section_fn fn, void *ctx);

/* driver-values.c: what all DelReg, AddReg and BitReg of the section say; HKR and the rest are left as they
 * are. */
int driver_add_values(struct planner *p, const struct inf_section *section, struct driver_values *ret);
/* driver-service.c: AddService lines of the section. */
int driver_add_services(struct planner *p, const struct inf_section *section, struct driver_install *install);
/* driver-files.c: CopyFiles, DelFiles and RenFiles lines of the section. */
int driver_add_files(struct planner *p, const struct inf_section *section);
#endif
