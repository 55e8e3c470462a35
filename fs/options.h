/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_OPTIONS_H
#define FERRYFS_OPTIONS_H
/* The command line. One table in options.c holds every option: parsing, ranges and --help come from it. */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum command { COMMAND_MOUNT, COMMAND_INFO, COMMAND_CHECK_HIVE, COMMAND_HELP, COMMAND_VERSION };

struct options {
    enum command command;
    bool foreground, debug, single_threaded;
    char **sources; /* point into argv */
    size_t n_sources;
    char *mountpoint; /* points into argv; NULL with COMMAND_INFO */

    /* -o */
    char *format; /* owned, or NULL */
    char **trust; /* owned */
    size_t n_trust;
    unsigned cache_mib;
    unsigned threads; /* 0: cores, at most 8 */
    unsigned os;
    bool cached, allow_other;
    char *overlay; /* owned, or NULL */
    char *drivers; /* owned, or NULL */
    bool scratch, rebind, discard_hibernation, accept_dirty_hive;
    long uid, gid, umask; /* -1: not given */
};

/* Exit statuses of the contract. */
enum { EXIT_USAGE = 1, EXIT_SOURCE = 2, EXIT_MOUNT = 3 };

/* 0, or EXIT_USAGE after one clear line on stderr. */
int options_parse(int argc, char **argv, struct options *ret);
void options_done(struct options *o);
void options_help(void);
#endif
