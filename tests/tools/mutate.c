/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads thousands of truncated or bit-flipped copies of an image by the drivers, and judges what comes out.
 *
 *     mutate [-n CASES] [-s SEED] [-c CASE] [-q QEMU_FORMAT [-x FILE] [-l]] [-e TABLE] [-k DIR]
 *            SOURCE WANT [FILE...]
 *
 * SOURCE and the FILEs (all others that its disk consists of) lie in the current directory; WANT is the disk
 * as a raw file. Each case takes one of these files, cuts it off or changes a few of its bytes (SEED and the
 * case's number decide), opens SOURCE as the program does, and reads the whole disk. A sector (512 bytes) is
 * right when it is WANT's, or when it is WANT's with exactly the bytes changed that the case changed in its
 * stored copy. A case is
 *
 * - right: every sector is.
 *
 * - refused: at opening, with a reason.
 *
 * - EIO: some sectors can't be read, the others are right.
 *
 * - as qemu: sectors differ as they do for qemu-img with the same file: what the damage means.
 *
 * - zeros as qemu: the same, and some of them are zeros.
 *
 * - redirected: qemu-img has no answer or another, and what differs is data that the files hold elsewhere: a
 *   damaged pointer that is a good pointer, which no reader can tell.
 *
 * - by table: zeros where the mutation changed this very block's entry or bitmap (-e).
 *
 * - resized: the disk has another size, and what is in both is right.
 *
 * - BAD: anything else: zeros or unknown bytes for data; a file that was cut off and whose disk differs
 *   anywhere; a signal, a sanitizer's report, more than LIMIT_SECONDS, more memory than the cache's bound and
 *   64 MiB, an error class that isn't one.
 *
 * -x: the one of the files that qemu-img reads, where SOURCE only describes it. -l: a VHDX with a log, which
 * qemu-img replays into a copy only. -e PARENT,BLOCK,OFFSET,ENTRY: the parent's disk as a raw file, the size
 * of a block, where SOURCE has its table of blocks and how long an entry is, where block 0's bitmap of
 * sectors begins and how far the next one's is from it. -k: bad cases are kept as DIR/SOURCE-CASE/. -c: only
 * this case. Exit status 1 when there was a bad one. Cases run in a child process, so that one that crashes
 * is only its own end. */
#include "mutate.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MEMORY_BYTES = CACHE_BYTES + (64 << 20),
    JUDGE_BYTES = 64 << 20, /* what judging may need beside it */
    LIMIT_SECONDS = 5,
    BATCH = 1000, /* cases of one child */
    BAD_MAX = 1000,
};

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static const char *const verdict_names[] = { "right",      "refused",  "EIO",     "as qemu", "zeros as qemu",
                                             "redirected", "by table", "resized", "BAD" };

struct bad_case {
    uint64_t number;
    char why[200];
};

/* What parent and child share. */
struct board {
    atomic_ullong now;      /* the case at work */
    atomic_ullong deadline; /* monotonic ms; 0: nothing is under way */
    uint64_t count[VERDICTS];
    unsigned n_bad;
    struct bad_case bad[BAD_MAX];
};

static struct board *board;

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- the cases ---- */

static void note_bad(uint64_t number, const char *why)
{
    board->count[BAD]++;
    if (board->n_bad == BAD_MAX)
        return;
    struct bad_case *b = &board->bad[board->n_bad++];
    b->number = number;
    snprintf(b->why, sizeof b->why, "%s", why);
}

static uint64_t memory_peak(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)u.ru_maxrss << 10;
}

static void one_case(uint64_t number, struct result *r, struct result *q, uint64_t memory_max)
{
    struct mutation m;
    char why[200] = "";
    mutate(number, &m);
    apply(&m);
    atomic_store(&board->deadline, now_ms() + LIMIT_SECONDS * 1000);
    read_image(r);
    atomic_store(&board->deadline, 0);
    uint64_t peak = memory_peak();
    enum verdict v = judge(&m, r, q, why, sizeof why);
    if (!SANITIZED && peak > memory_max) {
        snprintf(why, sizeof why, "%llu MiB of memory", (unsigned long long)(peak >> 20));
        v = BAD;
    }
    restore(&m);
    if (v == BAD)
        note_bad(number, why);
    else
        board->count[v]++;
}

/* An allocation beyond the bound fails, touched or not, and ENOMEM is a bad verdict. */
static void limit_allocations(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[200];
    uint64_t data = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (!strncmp(line, "VmData:", 7))
            data = strtoull(line + 7, NULL, 10) << 10;
    }
    if (f)
        fclose(f);
    struct rlimit l;
    getrlimit(RLIMIT_DATA, &l);
    l.rlim_cur = data + MEMORY_BYTES + JUDGE_BYTES;
    if (!SANITIZED && data)
        setrlimit(RLIMIT_DATA, &l);
}

static int child(uint64_t first, uint64_t end)
{
    struct result r = result_new(), q = result_new();
    write_files();
    limit_allocations();
    uint64_t memory_max = memory_peak() + MEMORY_BYTES;
    for (uint64_t i = first; i < end; i++) {
        atomic_store(&board->now, i);
        one_case(i, &r, &q, memory_max);
    }
    atomic_store(&board->now, end);
    result_done(&r);
    result_done(&q);
    return 0;
}

/* Waits for the child; kills it when a case takes too long. Returns its status, or -1 for too long. */
static int watch(pid_t pid)
{
    int status;
    const struct timespec pause = { .tv_nsec = 5000000 };
    while (waitpid(pid, &status, WNOHANG) == 0) {
        uint64_t deadline = atomic_load(&board->deadline);
        if (deadline && now_ms() > deadline) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1;
        }
        nanosleep(&pause, NULL);
    }
    return status;
}

static void run_cases(uint64_t first, uint64_t end)
{
    while (first < end) {
        uint64_t last = min_u64(end, first + BATCH);
        atomic_store(&board->deadline, 0);
        atomic_store(&board->now, first);
        fflush(stdout);
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0)
            exit(child(first, last)); /* not _exit: a leak is reported here */
        int status = watch(pid);
        first = atomic_load(&board->now);
        if (!status)
            continue;
        char why[100] = "not done in time";
        if (status > 0)
            snprintf(why, sizeof why, WIFSIGNALED(status) ? "signal %d" : "exit status %d",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        note_bad(first, why);
        first++;
    }
}

/* Keeps the files of a bad case in a directory. `scratch`: where to go back to. */
static void keep_case(uint64_t number, const struct mutation *m, const char *scratch)
{
    char dir[4200];
    snprintf(dir, sizeof dir, "%s/%s-%llu", the.keep, the.files[0].name, (unsigned long long)number);
    if ((mkdir(dir, 0777) < 0 && errno != EEXIST) || chdir(dir) < 0)
        die(dir);
    write_files();
    apply(m);
    if (chdir(scratch) < 0)
        die(scratch);
}

static int report(const char *scratch)
{
    for (unsigned i = 0; i < board->n_bad; i++) {
        struct mutation m;
        char what[200];
        mutate(board->bad[i].number, &m);
        describe(&m, what, sizeof what);
        printf("%s: seed %llu, case %llu: %s: %s\n", the.files[0].name, (unsigned long long)the.seed,
               (unsigned long long)board->bad[i].number, what, board->bad[i].why);
        if (the.keep)
            keep_case(board->bad[i].number, &m, scratch);
    }
    uint64_t total = 0;
    for (unsigned v = 0; v < VERDICTS; v++)
        total += board->count[v];
    printf("%s: %llu cases, seed %llu:", the.files[0].name, (unsigned long long)total,
           (unsigned long long)the.seed);
    for (unsigned v = 0; v < VERDICTS; v++)
        printf(" %llu %s%s", (unsigned long long)board->count[v], verdict_names[v],
               v + 1 < VERDICTS ? "," : "\n");
    return board->count[BAD] ? 1 : 0;
}

/* Undamaged, the image must be WANT; else no verdict means anything. */
static void check_whole(void)
{
    struct result r = result_new();
    write_files();
    read_image(&r);
    if (r.err || r.size != the.want.n || memcmp(r.bytes, the.want.p, the.want.n) != 0) {
        fprintf(stderr, "mutate: %s isn't its disk even undamaged: %s\n", the.files[0].name, r.why);
        exit(2);
    }
    result_done(&r);
}

/* The current directory becomes a new one, in memory where there is a place. */
static void go_to_scratch(char *dir)
{
    if (!mkdtemp(strcpy(dir, "/dev/shm/mutate.XXXXXX")) && !mkdtemp(strcpy(dir, "/tmp/mutate.XXXXXX")))
        die("scratch directory");
    if (chdir(dir) < 0)
        die(dir);
}

static void remove_scratch(const char *dir)
{
    static const char *const more[] = { "qemu.raw", "qemu.log", "replayed.vhdx" };
    for (unsigned i = 0; i < the.n_files; i++)
        unlink(the.files[i].name);
    for (unsigned i = 0; i < sizeof more / sizeof *more; i++)
        unlink(more[i]);
    if (rmdir(dir) < 0)
        die(dir);
}

/* PARENT,BLOCK,OFFSET,ENTRY,BITMAP,STRIDE */
static void describe_table(char *text)
{
    unsigned long long block = 0, table = 0, entry = 0, bitmap = 0, stride = 0;
    char *numbers = strchr(text, ',');
    if (!numbers ||
        sscanf(numbers, ",%llu,%llu,%llu,%llu,%llu", &block, &table, &entry, &bitmap, &stride) != 5 ||
        !block) {
        errno = EINVAL;
        die("-e");
    }
    *numbers = 0;
    the.parent = load(text);
    the.block = block;
    the.table = table;
    the.entry = entry;
    the.bitmap = bitmap;
    the.stride = stride;
}

static int usage(void)
{
    fputs("usage: mutate [-n CASES] [-s SEED] [-c CASE] [-q QEMU_FORMAT [-x FILE] [-l]] [-e TABLE] [-k DIR] "
          "SOURCE "
          "WANT [FILE...]\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t first = 0, end = 100;
    the.seed = 1;
    int c;
    while ((c = getopt(argc, argv, "n:s:c:q:x:le:k:")) != -1) {
        if (c == 'n')
            end = strtoull(optarg, NULL, 10);
        else if (c == 's')
            the.seed = strtoull(optarg, NULL, 10);
        else if (c == 'c')
            end = (first = strtoull(optarg, NULL, 10)) + 1;
        else if (c == 'q')
            the.qemu_format = optarg;
        else if (c == 'x')
            the.qemu_file = optarg;
        else if (c == 'l')
            the.replay = true;
        else if (c == 'e')
            describe_table(optarg);
        else if (c == 'k')
            the.keep = optarg;
        else
            return usage();
    }
    if (argc - optind < 2 || argc - optind > FILES)
        return usage();
    char scratch[64];
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        die("memory");
    if (the.keep &&
        ((mkdir(the.keep, 0777) < 0 && errno != EEXIST) || !(the.keep = realpath(the.keep, NULL))))
        die("-k");
    load_all(argc - optind, argv + optind);
    if (the.parent.p && the.parent.n < the.want.n)
        return usage();
    go_to_scratch(scratch);
    check_whole();
    run_cases(first, end);
    int status = report(scratch);
    remove_scratch(scratch);
    return status;
}
