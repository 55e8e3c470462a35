/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opens an image, with its chain, by the drivers alone, and writes the disk as a raw file: for trying and
 * testing formats/ with no mount.
 *
 *     image-cat [-f FORMAT] [-t TRUSTED_DIR]... SOURCE OUT     the whole disk, sparse
 *     image-cat [-f FORMAT] [-t TRUSTED_DIR]... -m SOURCE      its map: offset length kind depth [compressed]
 *
 * Exit status: 0 done, 1 usage, 2 SOURCE was refused, 3 reading failed (OUT then ends at that place). */
#include "formats/checked.h"
#include "formats/image.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { EXIT_USAGE = 1, EXIT_REFUSED = 2, EXIT_READ = 3, CHUNK = 1 << 20, CACHE_BYTES = 64 << 20 };

static int print_map(struct disk *d)
{
    static const char *const names[] = { "data", "zero", "hole" };
    struct extent e;
    for (uint64_t off = 0; off < d->size; off += e.length) {
        int r = disk_map_joined(d, off, d->size - off, &e);
        if (r < 0) {
            fprintf(stderr, "image-cat: no map at %llu: %s\n", (unsigned long long)off, strerror(-r));
            return EXIT_READ;
        }
        printf("%llu %llu %s %u%s\n", (unsigned long long)off, (unsigned long long)e.length, names[e.kind],
               e.depth, e.compressed ? " compressed" : "");
    }
    return 0;
}

static int copy_range(struct disk *d, int fd, uint64_t off, uint64_t end)
{
    static uint8_t buf[CHUNK];
    while (off < end) {
        size_t n = (size_t)min_u64(CHUNK, end - off);
        int r = disk_pread(d, buf, n, off);
        if (r < 0) {
            fprintf(stderr, "image-cat: reading %zu bytes at %llu: %s\n", n, (unsigned long long)off,
                    strerror(-r));
            return EXIT_READ;
        }
        if (pwrite(fd, buf, n, (off_t)off) != (ssize_t)n) {
            perror("image-cat: writing");
            return EXIT_READ;
        }
        off += n;
    }
    return 0;
}

static int copy_disk(struct disk *d, const char *out)
{
    _cleanup_close_ int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0) {
        perror(out);
        return EXIT_USAGE;
    }
    struct extent e;
    uint64_t off = 0;
    int status = 0;
    for (; off < d->size && !status; off += e.length) {
        int r = disk_map(d, off, d->size - off, &e);
        if (r < 0) {
            fprintf(stderr, "image-cat: no map at %llu: %s\n", (unsigned long long)off, strerror(-r));
            return EXIT_READ;
        }
        if (e.kind == EXTENT_DATA)
            status = copy_range(d, fd, off, off + e.length);
    }
    if (!status && ftruncate(fd, (off_t)d->size) < 0) {
        perror("image-cat: writing");
        status = EXIT_READ;
    }
    return status;
}

static int refuse(const struct fault *fault)
{
    char line[2048];
    fault_format(fault, line, sizeof line);
    fprintf(stderr, "image-cat: %s\n", line);
    return EXIT_REFUSED;
}

static int run(const char *source, const char *format, const char *out, struct trust *trust)
{
    struct fault fault = { 0 };
    char real[PATH_MAX];
    if (realpath(source, real) && trust_add(trust, dirname(real), &fault) < 0)
        return refuse(&fault);
    _cleanup_(file_unrefp) struct file *file = NULL;
    struct image *image = NULL;
    struct image_env env = { .cache = cache_new(CACHE_BYTES, NULL) };
    if (!env.cache)
        return EXIT_READ;
    int status = 0;
    if (file_open_source(source, trust, &file, &fault) < 0 ||
        image_open(file, format, &env, &image, &fault) < 0)
        status = refuse(&fault);
    else
        status = out ? copy_disk(image->disk, out) : print_map(image->disk);
    for (size_t i = 0; image && i < image->n_layers; i++)
        for (size_t j = 0; j < image->layers[i].notes.n; j++)
            fprintf(stderr, "image-cat: %s: %s\n", image->layers[i].file, image->layers[i].notes.lines[j]);
    image_close(image);
    cache_free(env.cache);
    return status;
}

int main(int argc, char **argv)
{
    struct trust trust = { 0 };
    struct fault fault = { 0 };
    const char *format = NULL;
    bool map = false;
    int c;
    while ((c = getopt(argc, argv, "f:t:m")) != -1) {
        if (c == 'f')
            format = optarg;
        else if (c == 'm')
            map = true;
        else if (c != 't')
            return EXIT_USAGE;
        else if (trust_add(&trust, optarg, &fault) < 0)
            return refuse(&fault);
    }
    if (argc - optind != (map ? 1 : 2)) {
        fputs("usage: image-cat [-f FORMAT] [-t DIR]... (SOURCE OUT | -m SOURCE)\n", stderr);
        return EXIT_USAGE;
    }
    int status = run(argv[optind], format, map ? NULL : argv[optind + 1], &trust);
    trust_done(&trust);
    return status;
}
