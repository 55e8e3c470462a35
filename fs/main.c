/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferryfs: the command.
 *
 * Unless it stays in the foreground, a child does everything (opening, mounting, serving) and the parent
 * waits on a pipe for the one byte that says the mount answers, or for the child's exit status. So no thread
 * is ever started before a fork, and what goes wrong is printed to the user's terminal. */
#include "check-hive.h"
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

static void complain(const struct fault *fault)
{
    char line[2048];
    fault_format(fault, line, sizeof line);
    fprintf(stderr, "ferryfs: %s\n", line);
}

/* Wrong words of the user's are usage; everything else is about the source. */
static int exit_status(int r)
{
    return r == -EINVAL ? EXIT_USAGE : EXIT_SOURCE;
}

/* ---- the mount point ---- */

/* Undoes \040 and its like in a field of mountinfo. */
static void unescape_mountinfo(char *s)
{
    char *out = s;
    for (const char *p = s; *p; p++) {
        if (p[0] == '\\' && p[1] && p[2] && p[3]) {
            *out++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
            p += 3;
        } else {
            *out++ = *p;
        }
    }
    *out = 0;
}

/* The type of the FUSE file system that is mounted at `path` itself, owned; NULL when there is none. */
static char *fuse_mounted_at(const char *path)
{
    FILE *in = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, *found = NULL;
    size_t room = 0;
    while (in && getline(&line, &room, in) > 0) {
        char *save = NULL, *field = strtok_r(line, " ", &save);
        for (int i = 1; field && i < 5; i++)
            field = strtok_r(NULL, " ", &save);
        if (!field)
            continue;
        unescape_mountinfo(field);
        bool here = !strcmp(field, path);
        while (field && strcmp(field, "-"))
            field = strtok_r(NULL, " ", &save);
        field = field ? strtok_r(NULL, " ", &save) : NULL;
        if (!here)
            continue;
        free(found); /* the last one is on top */
        found = field && !strncmp(field, "fuse", 4) ? strdup(field) : NULL;
    }
    free(line);
    if (in)
        fclose(in);
    return found;
}

/* An absolute path without links, owned; NULL after a line on stderr. */
static char *check_mountpoint(const char *given)
{
    struct stat st;
    char *path = realpath(given, NULL);
    if (!path && errno == ENOTCONN)
        fprintf(stderr, "ferryfs: %s: a mount whose daemon has died is there; fusermount3 -u %s\n", given,
                given);
    else if (!path && errno == ENOENT)
        fprintf(stderr, "ferryfs: %s: no such mount point; mkdir it first\n", given);
    else if (!path)
        fprintf(stderr, "ferryfs: %s: the mount point can't be used: %s\n", given, strerror(errno));
    if (!path)
        return NULL;
    char *busy = fuse_mounted_at(path);
    if (busy && stat(path, &st) < 0 && errno == ENOTCONN)
        fprintf(stderr, "ferryfs: %s: a mount whose daemon has died is there; fusermount3 -u %s\n", given,
                given);
    else if (busy)
        fprintf(stderr, "ferryfs: %s: the mount point is busy: something is mounted there (%s)\n", given,
                busy);
    else if (stat(path, &st) < 0)
        fprintf(stderr, "ferryfs: %s: the mount point can't be used: %s\n", given, strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        fprintf(stderr, "ferryfs: %s: the mount point is not a directory\n", given);
    else
        return path;
    free(busy);
    free(path);
    return NULL;
}

/* ---- serving ---- */

struct start {
    int pipe; /* -1: nobody waits */
    bool to_background;
};

static void leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    setsid();
    if (chdir("/") < 0)
        syslog(LOG_WARNING, "can't change to /: %s", strerror(errno));
    for (int fd = 0; null >= 0 && fd < 3; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
}

static void answering(void *ctx)
{
    struct start *s = ctx;
    if (!s->to_background)
        return;
    leave_terminal();
    ssize_t n = write(s->pipe, "", 1);
    (void)n; /* a parent that is gone needs no answer */
    close(s->pipe);
    s->pipe = -1;
}

static void print_bad_disks(const struct vm *vm)
{
    for (size_t i = 0; i < vm->n_disks; i++)
        if (!vm->disks[i].image)
            complain(&vm->disks[i].why);
}

static int serve(const struct options *o, const char *mountpoint, struct start *start)
{
    struct ferry *f = NULL;
    struct session *s = NULL;
    struct fault fault = { 0 };
    int r = ferry_open(o, mountpoint, &f, &fault);
    if (r < 0) {
        complain(&fault);
        return exit_status(r);
    }
    print_bad_disks(f->vm);
    int status = EXIT_MOUNT;
    if (session_mount(f, mountpoint, &s, &fault) < 0)
        complain(&fault);
    else if ((r = session_run(s, answering, start)) < 0)
        syslog(LOG_ERR, "%s: the mount broke off: %s", mountpoint, strerror(-r));
    else if (start->pipe >= 0)
        fprintf(stderr, "ferryfs: %s: stopped before the mount answered\n", mountpoint);
    else
        status = 0;
    session_free(s);
    ferry_close(f);
    return status;
}

static int wait_for_child(pid_t child, int fd)
{
    char byte;
    ssize_t n;
    do
        n = read(fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        return 0;
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        fprintf(stderr, "ferryfs: stopped by signal %d before the mount answered\n", WTERMSIG(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_MOUNT;
}

static int command_mount(const struct options *o)
{
    int fds[2] = { -1, -1 };
    char *mountpoint = check_mountpoint(o->mountpoint);
    if (!mountpoint)
        return EXIT_MOUNT;
    struct start start = { .pipe = -1, .to_background = !o->foreground };
    pid_t child = 0;
    if (start.to_background && pipe2(fds, O_CLOEXEC) == 0)
        child = fork();
    if (child < 0 || (start.to_background && fds[0] < 0)) {
        fprintf(stderr, "ferryfs: can't start the daemon: %s\n", strerror(errno));
        free(mountpoint);
        return EXIT_MOUNT;
    }
    int status;
    if (child > 0) {
        close(fds[1]);
        status = wait_for_child(child, fds[0]);
    } else {
        if (fds[0] >= 0)
            close(fds[0]);
        start.pipe = fds[1];
        status = serve(o, mountpoint, &start);
    }
    free(mountpoint);
    return status;
}

static int command_info(const struct options *o)
{
    struct ferry *f = NULL;
    struct fault fault = { 0 };
    struct shared_text *t = NULL;
    int r = ferry_open(o, NULL, &f, &fault);
    if (r < 0) {
        complain(&fault);
        return exit_status(r);
    }
    print_bad_disks(f->vm);
    r = ferry_info(f, &t);
    if (!r)
        fwrite(t->text.bytes, 1, t->text.n, stdout);
    if (!r)
        shared_text_unref(t);
    ferry_close(f);
    if (r < 0 || fflush(stdout)) {
        fprintf(stderr, "ferryfs: info.json can't be written: %s\n", strerror(r ? -r : errno));
        return EXIT_SOURCE;
    }
    return 0;
}

/* Whoever starts us with stdin, stdout or stderr closed: their numbers must not become those of our own
 * files, or leave_terminal() would put /dev/null over them. */
static void open_standard_files(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* A long chain holds many files open. */
static void raise_file_limit(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}

int main(int argc, char **argv)
{
    struct options o;
    mallopt(M_ARENA_MAX, 4);            /* resident memory must not grow with the threads */
    mallopt(M_MMAP_THRESHOLD, 1 << 20); /* cache blocks come from the heap, and go back to it */
    mallopt(M_TRIM_THRESHOLD, 4 << 20);
    open_standard_files();
    raise_file_limit();
    openlog("ferryfs", LOG_PID, LOG_DAEMON);
    int status = options_parse(argc, argv, &o);
    if (!status && o.command == COMMAND_HELP)
        options_help();
    else if (!status && o.command == COMMAND_VERSION)
        printf("ferryfs %s\n", FERRYFS_VERSION);
    else if (!status && o.command == COMMAND_INFO)
        status = command_info(&o);
    else if (!status && o.command == COMMAND_CHECK_HIVE)
        status = check_hives(o.sources, o.n_sources);
    else if (!status)
        status = command_mount(&o);
    options_done(&o);
    return status;
}
