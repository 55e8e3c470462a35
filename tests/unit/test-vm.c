/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm_open() on small VMs in a scratch directory: what is shown, what is refused, and in which words. */
#include "formats/vm.h"
#include "unit.h"
#include "tarball.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
    char dir[64];
    struct cache *cache;
};

static int setup(void **state)
{
    struct scratch *s = calloc(1, sizeof *s);
    assert_non_null(s);
    strcpy(s->dir, "/tmp/ferryfs-test-vm-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    assert_int_equal(chdir(s->dir), 0);
    assert_int_equal(mkdir("vm", 0755), 0);
    assert_int_equal(mkdir("out", 0755), 0);
    s->cache = cache_new(1 << 20, NULL);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scratch *s = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", s->dir);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(system(command), 0);
    cache_free(s->cache);
    free(s);
    return 0;
}

static void put(const char *path, const void *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n), n);
    close(fd);
}

static void put_text(const char *path, const char *text)
{
    put(path, text, strlen(text));
}

/* A raw disk of `sectors`, each beginning with NUL and then `mark`. */
static void put_disk(const char *path, char mark, size_t sectors)
{
    unsigned char *p = calloc(sectors, 512);
    assert_non_null(p);
    for (size_t i = 0; i < sectors; i++)
        p[512 * i + 1] = (unsigned char)mark;
    put(path, p, 512 * sectors);
    free(p);
}

static void put_ball(const char *path, struct tarball *t)
{
    put(path, t->p, t->n);
    free(t->p);
    *t = (struct tarball){ 0 };
}

#define OPEN                                                                                                 \
    "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' "                                              \
    "xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1'>"
#define CLOSE "</Envelope>"

/* An OVF of one disk. */
static const char *one_disk(const char *file_attributes)
{
    static char text[1024];
    snprintf(text, sizeof text,
             OPEN "<References><File ovf:id='f' %s/></References><DiskSection><Disk ovf:diskId='d' "
                  "ovf:fileRef='f'/></DiskSection>" CLOSE,
             file_attributes);
    return text;
}

static int open_vm_with(struct scratch *s, const char *trust, const char *format, const char *const *sources,
                        struct vm **ret, struct fault *fault)
{
    struct vm_options o = { .sources = (char *const *)sources, .format = format };
    while (sources[o.n_sources])
        o.n_sources++;
    o.trust = (char *const *)&trust;
    o.n_trust = trust ? 1 : 0;
    struct image_env env = { .cache = s->cache };
    return vm_open(&o, &env, ret, fault);
}

static struct vm *must_open(struct scratch *s, const char *source)
{
    struct vm *vm = NULL;
    struct fault fault = { 0 };
    if (open_vm_with(s, NULL, NULL, (const char *const[]){ source, NULL }, &vm, &fault) < 0)
        fail_msg("%s: %s", source, fault.what);
    return vm;
}

/* The line that the user sees ends so; "*" in `line` stands for the scratch directory. */
static void must_refuse(struct scratch *s, const char *source, int err, const char *line)
{
    struct vm *vm = NULL;
    struct fault fault = { 0 };
    char seen[2048], want[2048] = "";
    int r = open_vm_with(s, NULL, NULL, (const char *const[]){ source, NULL }, &vm, &fault);
    fault_format(&fault, seen, sizeof seen);
    const char *star = strchr(line, '*');
    if (star)
        snprintf(want, sizeof want, "%.*s%s%s", (int)(star - line), line, s->dir, star + 1);
    else
        snprintf(want, sizeof want, "%s", line);
    assert_string_equal(seen, want);
    assert_int_equal(r, err);
    assert_int_equal(fault.err, err);
    assert_null(vm);
}

static char mark_of(const struct vm_disk *d)
{
    unsigned char sector[512];
    assert_non_null(d->image);
    assert_int_equal(disk_pread(d->image->disk, sector, sizeof sector, d->image->disk->size - 512), 0);
    return (char)sector[1];
}

/* ---- images ---- */

static void disks_in_the_order_of_the_user(void **state)
{
    struct scratch *s = *state;
    struct vm *vm = NULL;
    put_disk("b.img", 'b', 2);
    put_disk("a.img", 'a', 3);
    assert_int_equal(open_vm_with(s, NULL, NULL, (const char *const[]){ "b.img", "a.img", NULL }, &vm, NULL),
                     0);
    assert_int_equal(vm->n_disks, 2);
    assert_int_equal(mark_of(&vm->disks[0]), 'b');
    assert_int_equal(mark_of(&vm->disks[1]), 'a');
    assert_string_equal(vm->name, "b");
    assert_string_equal(vm->kind, "disks");
    assert_string_equal(vm->disks[1].source, "a.img");
    assert_int_equal(vm->disks[0].bus, -1);
    struct stat st;
    assert_int_equal(stat("a.img", &st), 0);
    assert_int_equal(vm->disks[1].mtime.tv_sec, st.st_mtim.tv_sec);
    assert_int_equal(vm->disks[1].mtime.tv_nsec, st.st_mtim.tv_nsec);
    vm_close(vm);
}

static void a_bad_disk_among_several(void **state)
{
    struct scratch *s = *state;
    struct vm *vm = NULL;
    struct fault fault = { 0 };
    put_disk("a.img", 'a', 1);
    put_disk("b.vhdx", 'b', 2); /* raw content under a container's name */
    assert_int_equal(
        open_vm_with(s, NULL, NULL, (const char *const[]){ "b.vhdx", "a.img", NULL }, &vm, &fault), 0);
    assert_null(vm->disks[0].image);
    assert_int_not_equal(vm->disks[0].why.err, 0);
    assert_int_equal(mark_of(&vm->disks[1]), 'a');
    assert_int_equal(fault.err, 0);
    vm_close(vm);
    vm = NULL;
    assert_int_equal(open_vm_with(s, NULL, NULL, (const char *const[]){ "a.img", "none", NULL }, &vm, &fault),
                     -ENOENT);
    assert_null(vm);
}

static void format_overrules_content(void **state)
{
    struct scratch *s = *state;
    struct vm *vm = NULL;
    struct tarball t = { 0 };
    tarball_add(&t, "x", '0', "y");
    put_ball("a.img", &t);
    must_refuse(s, "a.img", -EMEDIUMTYPE,
                "a.img: is a tar archive without an .ovf, not an OVA; unpack it and mount the disk image");
    assert_int_equal(open_vm_with(s, NULL, "raw", (const char *const[]){ "a.img", NULL }, &vm, NULL), 0);
    assert_int_equal(vm->disks[0].image->disk->size, 1024);
    vm_close(vm);
}

static void what_is_no_source(void **state)
{
    struct scratch *s = *state;
    struct tarball t = { 0 };
    must_refuse(s, "none.ova", -ENOENT, "none.ova: no such file");
    put_text("empty.ova", "");
    must_refuse(s, "empty.ova", -EMEDIUMTYPE, "empty.ova: is empty");
    must_refuse(s, "vm", -EMEDIUMTYPE,
                "vm: holds no virtual machine: neither an .ovf or .vmx nor a disk image");
    put_disk("photo.ova", 'p', 3);
    must_refuse(s, "photo.ova", -EUCLEAN, "photo.ova: looks like a damaged OVA; -o format=raw to insist");
    put_disk("x.ovf", 'p', 3);
    must_refuse(s, "x.ovf", -EUCLEAN, "x.ovf: looks like a damaged OVF; -o format=raw to insist");
    put("gz.ova", "\x1f\x8b\x08\0\0", 5);
    must_refuse(s, "gz.ova", -ENOTSUP, "gz.ova: is gzip-compressed; unpack it first");
    put("xz.ova",
        "\xfd"
        "7zXZ\0\0",
        7);
    must_refuse(s, "xz.ova", -ENOTSUP, "xz.ova: is xz-compressed; unpack it first");
    put("zip.ova", "PK\3\4\0\0", 6);
    must_refuse(s, "zip.ova", -ENOTSUP, "zip.ova: is a zip archive; unpack it first");
    put_text("vm.vbox", "<?xml version='1.0'?><VirtualBox/>");
    must_refuse(s, "vm.vbox", -EMEDIUMTYPE, "vm.vbox: is an XML file with the root <VirtualBox>, not an OVF");
    put_text("vm.cert", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    must_refuse(s, "vm.cert", -EMEDIUMTYPE,
                "vm.cert: is a text file, neither a disk image nor an OVF or .vmx; -o format=raw to insist "
                "on a raw disk");
    put_text("bad.ovf", OPEN "<References>\n" CLOSE);
    struct vm *vm = NULL;
    struct fault fault = { 0 };
    assert_int_equal(open_vm_with(s, NULL, NULL, (const char *const[]){ "bad.ovf", NULL }, &vm, &fault),
                     -EUCLEAN);
    assert_non_null(strstr(fault.what, "isn't well-formed XML: line 2: "));
    put_text("bomb.ovf", "<!DOCTYPE l [<!ENTITY a 'b'>]><Envelope/>");
    must_refuse(s, "bomb.ovf", -EUCLEAN, "bomb.ovf: has a DOCTYPE, which no OVF has: refused unread");
    tarball_header(&t, "a.ovf", '0', 3)[0] = 'b';
    put_ball("sum.img", &t);
    must_refuse(
        s, "sum.img", -EUCLEAN,
        "sum.img: looks like a damaged OVA: the first tar header is invalid at byte 0; -o format=raw to "
        "insist on a raw disk");
    assert_int_equal(mkfifo("fifo", 0600), 0);
    must_refuse(s, "fifo", -EMEDIUMTYPE, "fifo: is neither a file nor a block device");
}

/* ---- OVF beside its files ---- */

static void ovf_and_directory(void **state)
{
    struct scratch *s = *state;
    static const char *const sources[] = { "vm", "vm/web01.ovf", "vm/", "./vm/../vm" };
    put_text("vm/web01.ovf", one_disk("ovf:href='disks/d%201.img'"));
    put_text("vm/._web01.ovf", "junk");
    assert_int_equal(mkdir("vm/disks", 0755), 0);
    put_disk("vm/disks/d 1.img", 'd', 4);
    for (size_t i = 0; i < 4; i++) {
        struct vm *vm = must_open(s, sources[i]);
        assert_string_equal(vm->kind, "ovf");
        assert_string_equal(vm->name, i == 1 ? "web01" : "vm");
        assert_int_equal(vm->n_disks, 1);
        assert_int_equal(mark_of(&vm->disks[0]), 'd');
        assert_string_equal(vm->disks[0].id, "d");
        vm_close(vm);
    }
    /* the literal name is preferred to the decoded one */
    put_disk("vm/disks/d%201.img", 'l', 4);
    struct vm *vm = must_open(s, "vm");
    assert_int_equal(mark_of(&vm->disks[0]), 'l');
    vm_close(vm);
}

static void references_that_leave(void **state)
{
    struct scratch *s = *state;
    static const char *const hrefs[] = { "../out/d.img", "%2e%2e/out/d.img", "link.img", "sub/d.img", "*" };
    put_disk("out/d.img", 'o', 1);
    put_disk("vm/good.img", 'g', 1);
    assert_int_equal(symlink("../out/d.img", "vm/link.img"), 0);
    assert_int_equal(symlink("../out", "vm/sub"), 0);
    for (size_t i = 0; i < sizeof hrefs / sizeof hrefs[0]; i++) {
        char text[1024], absolute[128];
        snprintf(absolute, sizeof absolute, "%s/out/d.img", s->dir);
        /* a second disk that is good makes no difference */
        snprintf(
            text, sizeof text,
            OPEN
            "<References><File id='g' href='good.img'/><File id='f' href='%s'/></References><DiskSection>"
            "<Disk diskId='g' fileRef='g'/><Disk diskId='d' fileRef='f'/></DiskSection>" CLOSE,
            hrefs[i][0] == '*' ? absolute : hrefs[i]);
        put_text("vm/a.ovf", text);
        must_refuse(
            s, "vm", -EPERM,
            "vm/a.ovf: the disk file \"*/out/d.img\" lies outside the source's directory; -o trust=DIR "
            "allows a directory that you trust");
        struct vm *vm = NULL;
        assert_int_equal(open_vm_with(s, "out", NULL, (const char *const[]){ "vm", NULL }, &vm, NULL), 0);
        assert_int_equal(mark_of(&vm->disks[1]), 'o');
        vm_close(vm);
    }
    put_text("vm/a.ovf", one_disk("ovf:href='https://example.org/d.img'"));
    must_refuse(
        s, "vm/a.ovf", -EPERM,
        "vm/a.ovf: the disk file \"https://example.org/d.img\" lies outside the package; put the file "
        "beside the OVF and name it there");
    /* the descriptor itself may be a link that the user names, but not one that is found */
    assert_int_equal(rename("vm/a.ovf", "out/a.ovf"), 0);
    put_text("out/a.ovf", one_disk("ovf:href='d.img'"));
    assert_int_equal(symlink("../out/a.ovf", "vm/a.ovf"), 0);
    struct vm *vm = must_open(s, "vm/a.ovf");
    assert_int_equal(mark_of(&vm->disks[0]), 'o');
    vm_close(vm);
    must_refuse(s, "vm", -EPERM,
                "vm: the file \"*/out/a.ovf\" lies outside the source's directory; -o trust=DIR allows a "
                "directory that you trust");
}

static void disks_that_a_vm_can_do_without(void **state)
{
    struct scratch *s = *state;
    static const struct {
        const char *file, *disk, *why;
    } t[] = {
        { "href='none.img'", "", "the disk file \"none.img\" is missing" },
        { "href='gz.img'", "",
          "truncated: the file ends inside its gzip data at byte 5; copy or download it again" },
        { "href='g.img' compression='bzip2'", "",
          "has the compression \"bzip2\" by the OVF, of which only gzip is read; unpack the package and the "
          "disk, and mount the disk itself" },
        { "href='chunks' chunkSize='512'", "",
          "the disk file \"chunks.000000000\" is missing; it is a chunk of chunks: put all of them there" },
        { "href='g.img'", "parentRef='g'", "the Disk g that a disk is a delta of isn't in the OVF" },
        { "", "", "the File f has no href" },
        { "href='empty.img'", "", "is empty" },
        { "href='vm'", "", "the disk file \"vm\" is missing" },
    };
    put_disk("vm/g.img", 'g', 1);
    put("vm/gz.img", "\x1f\x8b\x08\0\0", 5);
    put_text("vm/empty.img", "");
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char text[1024], why[1024];
        snprintf(
            text, sizeof text,
            OPEN
            "<References><File id='g' href='g.img' compression='identity'/><File id='f' %s/></References>"
            "<DiskSection><Disk diskId='x' fileRef='f' %s/><Disk diskId='y' "
            "fileRef='g'/></DiskSection>" CLOSE,
            t[i].file, t[i].disk);
        put_text("vm/a.ovf", text);
        struct vm *vm = must_open(s, "vm/a.ovf");
        const struct vm_disk *bad = &vm->disks[0];
        assert_int_equal(vm->n_disks, 2);
        assert_null(bad->image);
        fault_reason(&bad->why, why, sizeof why);
        assert_string_equal(why, t[i].why);
        assert_int_equal(mark_of(&vm->disks[1]), 'g');
        vm_close(vm);
    }
}

static void compression_by_content(void **state)
{
    struct scratch *s = *state;
    put_disk("vm/g.img", 'g', 1);
    put_text("vm/a.ovf", one_disk("ovf:href='g.img' ovf:compression='gzip' ovf:chunkSize='7516192768'"));
    struct vm *vm = must_open(s, "vm/a.ovf");
    assert_int_equal(mark_of(&vm->disks[0]), 'g');
    assert_int_equal(vm->notes.n, 2); /* no virtual system; the attribute */
    vm_close(vm);
}

/* Which chunks are there, by the length of each (0: it is missing), and what comes of it. */
static void chunks_are_joined(void **state)
{
    struct scratch *s = *state;
    static const struct {
        const char *attributes;
        size_t sectors[4];
        size_t disk;     /* its sectors; 0: refused */
        const char *why; /* or the first note after the one that there is no virtual system; NULL: none */
    } t[] = {
        { "chunkSize='1024'", { 2, 2, 1 }, 5, NULL },
        { "chunkSize='1024' size='2560'", { 2, 2, 1 }, 5, NULL },
        { "chunkSize='1024' size='99999'", { 2, 2, 1 }, 5, NULL },
        { "chunkSize='1024' size='2048'", { 2, 2 }, 4, NULL },
        { "chunkSize='1024'", { 2, 2 }, 4, NULL },
        { "chunkSize='1024' size='2049'",
          { 2, 2 },
          0,
          "vm/a.ovf: the disk file \"c.000000002\" is missing; it is a chunk of c: put all of them there" },
        { "chunkSize='1024'",
          { 2, 0, 1 },
          0,
          "vm/a.ovf: the disk file \"c.000000001\" is missing; it is a chunk of c: put all of them there" },
        { "chunkSize='1024'",
          { 0, 2, 1 },
          0,
          "vm/a.ovf: the disk file \"c.000000000\" is missing; it is a chunk of c: put all of them there" },
        { "chunkSize='1024'",
          { 2, 1, 1 },
          0,
          "*/vm/c.000000001: the chunk has 512 bytes, but the OVF's chunkSize is 1024" },
        { "chunkSize='1024'",
          { 2, 3 },
          0,
          "*/vm/c.000000001: the chunk has 1536 bytes, but the OVF's chunkSize is 1024" },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char text[256], name[32];
        for (size_t k = 0; k < 4; k++) {
            snprintf(name, sizeof name, "vm/c.%09zu", k);
            unlink(name);
            if (t[i].sectors[k])
                put_disk(name, (char)('0' + k), t[i].sectors[k]);
        }
        snprintf(text, sizeof text, "href='c' %s", t[i].attributes);
        put_text("vm/a.ovf", one_disk(text));
        if (!t[i].disk) {
            int err = strstr(t[i].why, "missing") ? -ENOENT : -EUCLEAN;
            must_refuse(s, "vm/a.ovf", err, t[i].why);
            continue;
        }
        struct vm *vm = must_open(s, "vm/a.ovf");
        assert_int_equal(vm->disks[0].image->disk->size, 512 * t[i].disk);
        assert_int_equal(mark_of(&vm->disks[0]), '0' + (t[i].disk - 1) / 2);
        snprintf(text, sizeof text, "%s/vm/c", s->dir);
        assert_string_equal(vm->disks[0].source, text);
        assert_int_equal(vm->notes.n, 1);
        vm_close(vm);
    }
    /* the whole beside its chunks, and the whole alone */
    put_disk("vm/c.000000000", '0', 2);
    put_disk("vm/c.000000001", '1', 1);
    put_disk("vm/c", 'c', 3);
    put_text("vm/a.ovf", one_disk("href='c' chunkSize='1024'"));
    for (size_t i = 0; i < 2; i++) {
        struct vm *vm = must_open(s, "vm/a.ovf");
        assert_int_equal(mark_of(&vm->disks[0]), i ? 'c' : '1');
        assert_int_equal(vm->notes.n, 2);
        assert_non_null(strstr(vm->notes.lines[1], i ? "but it is whole" : "the chunks count"));
        vm_close(vm);
        unlink("vm/c.000000000");
    }
}

static void a_delta_that_is_none(void **state)
{
    struct scratch *s = *state;
    put_disk("vm/g.img", 'g', 1);
    put_disk("vm/f.img", 'f', 1);
    put_text("vm/a.ovf",
             OPEN "<References><File id='g' href='g.img'/><File id='f' href='f.img'/></References>"
                  "<DiskSection><Disk diskId='x' fileRef='f' parentRef='y'/><Disk diskId='y' "
                  "fileRef='g'/></DiskSection>" CLOSE);
    must_refuse(s, "vm/a.ovf", -ENOTSUP,
                "*/vm/f.img: is a delta of the Disk y by the OVF (ovf:parentRef), but the image itself names "
                "no parent; consolidate the disk before the export");
    put_text("vm/a.ovf", OPEN "<References><File id='f' href='f.img'/></References>"
                              "<DiskSection><Disk diskId='x' fileRef='f' parentRef='y'/><Disk diskId='y' "
                              "capacity='512'/></DiskSection>" CLOSE);
    must_refuse(s, "vm/a.ovf", -ENOENT, "vm/a.ovf: the Disk y that a disk is a delta of has no file");
    put_text("vm/a.ovf",
             OPEN "<References><File id='f' href='f.img'/><File id='g' href='g.img'/></References>"
                  "<DiskSection><Disk diskId='x' fileRef='f' parentRef='y'/><Disk diskId='y' "
                  "fileRef='g' parentRef='z'/><Disk diskId='z' fileRef='g' "
                  "parentRef='y'/></DiskSection>" CLOSE);
    must_refuse(s, "vm/a.ovf", -ELOOP, "vm/a.ovf: the parents of the Disk z (ovf:parentRef) are a loop");
}

/* What the VM's packages are, for integrity.json. */
static void manifests(void **state)
{
    struct scratch *s = *state;
    struct tarball t = { 0 };
    tarball_add(&t, "d/a(1).ovf", '0', one_disk("href='%67.img'"));
    tarball_add(&t, "d/a(1).MF", '0', "SHA1(g.img)= 00");
    tarball_add(&t, "d/g.img", '0', "not a disk, but no reason to be here either");
    tarball_add(&t, "d/a(1).cert", '0', "");
    tarball_add(&t, "a.mf", '0', "");
    put_ball("x.ova", &t);
    struct vm *vm = must_open(s, "x.ova");
    assert_int_equal(vm->n_packages, 1);
    assert_string_equal(vm->packages[0].ovf_name, "a(1).ovf");
    assert_string_equal(vm->packages[0].manifest->name, "x.ova(d/a(1).MF)");
    assert_string_equal(vm->packages[0].certificate->name, "x.ova(d/a(1).cert)");
    assert_int_equal(vm->packages[0].n_references, 1);
    assert_string_equal(vm->packages[0].references[0].name, "g.img");
    vm_close(vm);
    put_disk("vm/g.img", 'g', 1);
    put_text("vm/a.OVF", one_disk("href='g.img' chunkSize='1024'"));
    vm = must_open(s, "vm");
    assert_int_equal(vm->n_packages, 0);
    vm_close(vm);
    put_text("out/a.mf", "");
    assert_int_equal(symlink("../out/a.mf", "vm/a.mf"), 0);
    vm = must_open(s, "vm"); /* no reason to refuse the VM */
    assert_int_equal(vm->n_packages, 0);
    assert_non_null(strstr(vm->notes.lines[vm->notes.n - 1], "lies outside the source's directory"));
    vm_close(vm);
    assert_int_equal(unlink("vm/a.mf"), 0);
    put_text("vm/a.mf", "");
    vm = must_open(s, "vm/a.OVF");
    assert_int_equal(vm->n_packages, 1);
    assert_string_equal(vm->packages[0].ovf_name, "a.OVF");
    assert_true(vm->packages[0].references[0].chunked);
    assert_null(vm->packages[0].certificate);
    vm_close(vm);
}

static void nothing_left(void **state)
{
    struct scratch *s = *state;
    put_text("vm/a.ovf", one_disk("ovf:href='none.img'"));
    must_refuse(s, "vm/a.ovf", -ENOENT, "vm/a.ovf: the disk file \"none.img\" is missing");
    put_text("vm/a.ovf", OPEN "<VirtualSystem/>" CLOSE);
    must_refuse(s, "vm/a.ovf", -EMEDIUMTYPE, "vm/a.ovf: has no disks");
    put_text("vm/a.ovf", OPEN "<DiskSection><Disk diskId='d' fileRef='f'/></DiskSection>" CLOSE);
    must_refuse(s, "vm/a.ovf", -ENOENT, "vm/a.ovf: the File f that a disk refers to isn't in the OVF");
}

static void blank_disks(void **state)
{
    struct scratch *s = *state;
    put_text("vm/a.ovf", OPEN
             "<DiskSection><Disk diskId='d' capacity='5' capacityAllocationUnits='byte * 2^30'/>"
             "<Disk diskId='e' capacity='600'/><Disk diskId='f'/>"
             "<Disk diskId='g' capacity='65' capacityAllocationUnits='byte * 2^40'/></DiskSection>" CLOSE);
    struct vm *vm = must_open(s, "vm/a.ovf");
    struct extent e;
    assert_int_equal(vm->n_disks, 4);
    assert_true(vm->disks[0].image->disk->size == UINT64_C(5) << 30);
    assert_int_equal(mark_of(&vm->disks[0]), 0);
    assert_int_equal(disk_map(vm->disks[0].image->disk, 0, UINT64_MAX, &e), 0);
    assert_true(e.kind == EXTENT_HOLE && e.length == UINT64_C(5) << 30);
    assert_int_equal(vm->disks[1].image->disk->size, 1024);
    assert_string_equal(vm->disks[2].why.what, "the Disk f has neither a file nor a capacity");
    assert_int_equal(vm->disks[3].why.err, -EFBIG);
    vm_close(vm);
}

static void capacity_is_compared(void **state)
{
    struct scratch *s = *state;
    put_disk("vm/d.img", 'd', 4);
    put_text("vm/a.ovf",
             OPEN "<References><File id='f' href='d.img'/></References><DiskSection>"
                  "<Disk diskId='d' fileRef='f' capacity='1024'/></DiskSection><VirtualSystem/>" CLOSE);
    struct vm *vm = must_open(s, "vm/a.ovf");
    assert_int_equal(vm->disks[0].capacity, 1024);
    assert_int_equal(vm->notes.n, 1);
    assert_string_equal(
        vm->notes.lines[0],
        "disk0: the image has 2048 bytes, more than the capacity of 1024 that the OVF states");
    vm_close(vm);
}

/* ---- OVA ---- */

static void ball_of(const char *path, const char *dir, const char *ovf)
{
    struct tarball t = { 0 };
    char name[64], disk[1024] = { 0, 'm' };
    disk[513] = 'm';
    snprintf(name, sizeof name, "%sdisk.img", dir);
    tarball_header(&t, name, '0', sizeof disk);
    tarball_data(&t, disk, sizeof disk);
    snprintf(name, sizeof name, "%sweb.ovf", dir);
    tarball_add(&t, name, '0', ovf);
    snprintf(name, sizeof name, "%s._web.ovf", dir);
    tarball_add(&t, name, '0', "junk");
    tarball_end(&t);
    put_ball(path, &t);
}

static void ova(void **state)
{
    struct scratch *s = *state;
    static const char *const dirs[] = { "", "./", "deep/er/" };
    for (size_t i = 0; i < 3; i++) {
        ball_of("web01.ova", dirs[i], one_disk("ovf:href='disk.img'"));
        struct vm *vm = must_open(s, "web01.ova");
        assert_string_equal(vm->kind, "ova");
        assert_string_equal(vm->name, "web01");
        assert_int_equal(mark_of(&vm->disks[0]), 'm');
        if (!i)
            assert_string_equal(vm->disks[0].source, "web01.ova(disk.img)");
        vm_close(vm);
    }
    ball_of("web01.ova", "", one_disk("ovf:href='none.img'"));
    must_refuse(s, "web01.ova", -ENOENT,
                "web01.ova(web.ovf): the disk file \"none.img\" is missing from the archive");
    put_disk("disk2.img", 'o', 1); /* beside the archive is not in it */
    ball_of("web01.ova", "", one_disk("ovf:href='disk2.img'"));
    must_refuse(s, "web01.ova", -ENOENT,
                "web01.ova(web.ovf): the disk file \"disk2.img\" is missing from the archive");
    ball_of("web01.ova", "", one_disk("ovf:href='../disk2.img'"));
    must_refuse(s, "web01.ova", -EPERM,
                "web01.ova(web.ovf): the disk file \"../disk2.img\" lies outside the archive");
    ball_of("web01.ova", "", one_disk("ovf:href='/etc/passwd'"));
    must_refuse(s, "web01.ova", -EPERM,
                "web01.ova(web.ovf): the disk file \"/etc/passwd\" lies outside the archive");
    ball_of("web01.ova", "", one_disk("ovf:href='disk.img'"));
    assert_int_equal(truncate("web01.ova", 1024), 0);
    must_refuse(s, "web01.ova", -ENODATA,
                "web01.ova: truncated: the archive ends at byte 1024, inside the member disk.img; copy or "
                "download it again");
}

static void several_descriptors(void **state)
{
    struct scratch *s = *state;
    struct tarball t = { 0 };
    tarball_add(&t, "old.ovf", '0', one_disk("ovf:href='gone.img'"));
    tarball_add(&t, "new.ovf", '0', one_disk("ovf:href='d.img'"));
    tarball_add(&t, "broken.ovf", '0', "<Envelope>");
    char disk[512] = { 0, 'n' };
    tarball_header(&t, "d.img", '0', sizeof disk);
    tarball_data(&t, disk, sizeof disk);
    put_ball("two.ova", &t);
    struct vm *vm = must_open(s, "two.ova");
    assert_string_equal(vm->description, "two.ova(new.ovf)");
    assert_int_equal(mark_of(&vm->disks[0]), 'n');
    vm_close(vm);
    tarball_add(&t, "old.ovf", '0', one_disk("ovf:href='gone.img'"));
    tarball_add(&t, "new.ovf", '0', one_disk("ovf:href='gone too'"));
    put_ball("two.ova", &t);
    must_refuse(s, "two.ova", -ENOTSUP,
                "two.ova: holds 2 descriptors (.ovf), and not exactly one of them has all its files: "
                "two.ova(old.ovf), two.ova(new.ovf)");
}

static void no_permission(void **state)
{
    struct scratch *s = *state;
    if (!geteuid())
        skip(); /* root may read everything */
    put_disk("a.img", 'a', 1);
    assert_int_equal(chmod("a.img", 0), 0);
    must_refuse(s, "a.img", -EACCES, "a.img: can't be opened: Permission denied");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(disks_in_the_order_of_the_user),
        TEST(a_bad_disk_among_several),
        TEST(format_overrules_content),
        TEST(what_is_no_source),
        TEST(ovf_and_directory),
        TEST(references_that_leave),
        TEST(disks_that_a_vm_can_do_without),
        TEST(compression_by_content),
        TEST(chunks_are_joined),
        TEST(a_delta_that_is_none),
        TEST(manifests),
        TEST(nothing_left),
        TEST(blank_disks),
        TEST(capacity_is_compared),
        TEST(ova),
        TEST(several_descriptors),
        TEST(no_permission),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
