/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tar.c on archives built byte by byte, and on those of GNU tar and Python's tarfile where they are there. */
#include "formats/tar.h"
#include "unit.h"
#include "tarball.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_ball(struct tarball *t, struct tar **ret, struct fault *fault)
{
    struct file *f = NULL;
    assert_int_equal(file_memory_new(t->p, t->n, "t.ova", &f), 0);
    int r = tar_open(f, ret, fault);
    file_unref(f);
    free(t->p);
    *t = (struct tarball){ 0 };
    return r;
}

static struct tar *must_open(struct tarball *t)
{
    struct tar *tar = NULL;
    struct fault fault = { 0 };
    if (open_ball(t, &tar, &fault) < 0)
        fail_msg("%s", fault.what);
    return tar;
}

/* It fails with this class and this line, in the form that the user sees. */
static void must_refuse(struct tarball *t, int err, const char *line)
{
    struct tar *tar = NULL;
    struct fault fault = { 0 };
    char seen[2048];
    assert_int_equal(open_ball(t, &tar, &fault), err);
    assert_null(tar);
    fault_format(&fault, seen, sizeof seen);
    assert_string_equal(seen, line);
}

static void must_hold(const struct tar *tar, const char *name, const char *data)
{
    const struct tar_member *m = tar_find(tar, name);
    struct file *f = NULL;
    char buf[64] = "";
    if (!m)
        fail_msg("%s is missing", name);
    assert_int_equal(m->size, strlen(data));
    assert_int_equal(tar_open_member(m, &f, NULL), 0);
    assert_int_equal(file_pread(f, buf, strlen(data), 0), 0);
    assert_string_equal(buf, data);
    file_unref(f);
}

static void plain_members_are_found(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    tarball_add(&t, "web01.ovf", '0', "<Envelope/>");
    tarball_add(&t, "./disks/", '5', "");
    tarball_add(&t, ".//disks/./a.vmdk", 0, "old type");
    tarball_add(&t, "/abs.vmdk", '7', "contiguous");
    tarball_add(&t, "odd", 'Z', "unknown type");
    tarball_end(&t);
    struct tar *tar = must_open(&t);
    must_hold(tar, "web01.ovf", "<Envelope/>");
    must_hold(tar, "disks/a.vmdk", "old type");
    must_hold(tar, "abs.vmdk", "contiguous");
    must_hold(tar, "odd", "unknown type");
    assert_int_equal(tar->n, 5);
    assert_int_equal(tar_find(tar, "disks")->kind, TAR_OTHER);
    assert_int_equal(tar_open_member(tar_find(tar, "disks"), &(struct file *){ NULL }, NULL), -EMEDIUMTYPE);
    tar_close(tar);
}

static void ends_of_all_kinds(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    tarball_add(&t, "a", '0', "no end");
    struct tar *tar = must_open(&t);
    must_hold(tar, "a", "no end");
    tar_close(tar);

    tarball_add(&t, "a", '0', "one zero block, then rubbish");
    tarball_grow(&t, 512);
    memset(tarball_grow(&t, 512), 'x', 512);
    tar = must_open(&t);
    assert_int_equal(tar->n, 1);
    tar_close(tar);

    tarball_add(&t, "a", '0', "no padding");
    t.n -= 512 - strlen("no padding");
    tar = must_open(&t);
    must_hold(tar, "a", "no padding");
    tar_close(tar);
}

static void prefix_belongs_to_posix_only(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    unsigned char *h = tarball_header(&t, "b", '0', 0);
    memcpy(h + 345, "dir", 3);
    tarball_seal(h, 0);
    h = tarball_header(&t, "c", '0', 0);
    memcpy(h + 257, "ustar  ", 8);
    memcpy(h + 345, "1234567", 7); /* GNU: atime */
    tarball_seal(h, 0);
    h = tarball_header(&t, "d", '0', 0);
    memset(h + 257, 0, 8); /* v7 */
    tarball_seal(h, 0);
    struct tar *tar = must_open(&t);
    assert_non_null(tar_find(tar, "dir/b"));
    assert_non_null(tar_find(tar, "c"));
    assert_non_null(tar_find(tar, "d"));
    tar_close(tar);
}

static void signed_checksums_count(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    tarball_seal(tarball_header(&t,
                                "gr\xfc\xdf"
                                "e.ovf",
                                '0', 0),
                 1);
    assert_int_equal(tar_probe(t.p), TAR_HEADER);
    struct tar *tar = must_open(&t);
    assert_non_null(tar_find(tar, "gr\xfc\xdf"
                                  "e.ovf"));
    tar_close(tar);
}

static void long_names(void **state)
{
    (void)state;
    char name[301] = "", longest[4097];
    memset(name, 'n', 300);
    struct tarball t = { 0 };
    tarball_add(&t, "././@LongLink", 'K', "a target");
    tarball_add(&t, "././@LongLink", 'L', name);
    tarball_add(&t, "cut", '0', "gnu");
    tarball_add(&t, "next", '0', "plain again");
    name[0] = 'x';
    tarball_pax(&t, 'x', "path", name);
    tarball_add(&t, "cut", '0', "pax");
    tarball_add(&t, "last", '0', "plain");
    struct tar *tar = must_open(&t);
    must_hold(tar, name, "pax");
    name[0] = 'n';
    must_hold(tar, name, "gnu");
    must_hold(tar, "next", "plain again");
    must_hold(tar, "last", "plain");
    assert_int_equal(tar->n, 4);
    tar_close(tar);

    memset(longest, 'a', sizeof longest - 1);
    longest[4096] = 0;
    tarball_pax(&t, 'x', "path", longest);
    tarball_add(&t, "cut", '0', "");
    tar = must_open(&t);
    tar_close(tar);
    char over[4098];
    memset(over, 'a', 4097);
    over[4097] = 0;
    tarball_pax(&t, 'x', "path", over);
    tarball_add(&t, "cut", '0', "");
    must_refuse(&t, -EFBIG, "t.ova: a member's name is longer than 4096 bytes at byte 5120");
}

static void pax_size_counts_before_the_data_is_passed(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    tarball_pax(&t, 'x', "size", "600");
    tarball_header(&t, "big", '0', 0);
    memset(tarball_grow(&t, 1024), 'd', 600);
    tarball_add(&t, "after", '0', "found");
    tarball_pax(&t, 'g', "size", "3");
    tarball_header(&t, "global", '0', 0);
    tarball_data(&t, "abc", 3);
    tarball_pax(&t, 'x', "size", ""); /* takes it back: the header's own */
    tarball_add(&t, "own", '0', "four");
    struct tar *tar = must_open(&t);
    assert_int_equal(tar_find(tar, "big")->size, 600);
    must_hold(tar, "after", "found");
    must_hold(tar, "global", "abc");
    tar_close(tar);
}

static void damaged_pax_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "x",
        "9 size=1\nx",
        "99 size=1\n",
        "10 size=1x\n",
        "5 a=b",
        "8 nokey\n",
        "0 a=b\n",
        "3 \n",
        "11 size=-1\n",
        "99999999999999999999999 size=1\n",
        "29 size=18446744073709551616\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tarball t = { 0 };
        tarball_add(&t, "x", 'x', bad[i]);
        tarball_add(&t, "m", '0', "");
        must_refuse(&t, -EUCLEAN, "t.ova: a damaged pax header at byte 512");
    }
}

static void base_256_sizes(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    unsigned char *h = tarball_header(&t, "b", '0', 0);
    memcpy(h + 124, "\x80\0\0\0\0\0\0\0\0\0\0\x03", 12);
    tarball_seal(h, 0);
    tarball_data(&t, "abc", 3);
    tarball_add(&t, "c", '0', "next");
    struct tar *tar = must_open(&t);
    must_hold(tar, "b", "abc");
    must_hold(tar, "c", "next");
    tar_close(tar);

    static const char bad[][13] = { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", /* -1 */
                                    "\x80\0\0\1\0\0\0\0\0\0\0\0",                       /* 2^64 */
                                    "0000000009x", "x0000000001", "--" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        h = tarball_header(&t, "b", '0', 0);
        memcpy(h + 124, bad[i], 12);
        tarball_seal(h, 0);
        must_refuse(&t, -EUCLEAN, "t.ova: the size of the member b is no number at byte 124");
    }
}

static void twelve_octal_digits(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    unsigned char *h = tarball_header(&t, "b", '0', 0);
    memcpy(h + 124, "000000000003", 12);
    tarball_seal(h, 0);
    tarball_data(&t, "abc", 3);
    tarball_add(&t, "c", '0', "next");
    struct tar *tar = must_open(&t);
    must_hold(tar, "b", "abc");
    must_hold(tar, "c", "next");
    tar_close(tar);
}

static void truncation_is_named(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    tarball_add(&t, "a.ovf", '0', "x");
    tarball_header(&t, "disk.vmdk", '0', 5000);
    tarball_grow(&t, 1000);
    must_refuse(
        &t, -ENODATA,
        "t.ova: truncated: the archive ends at byte 2536, inside the member disk.vmdk; copy or download "
        "it again");
    tarball_add(&t, "a.ovf", '0', "x");
    tarball_header(&t, "b", '0', 0);
    t.n -= 100;
    must_refuse(&t, -ENODATA,
                "t.ova: truncated: the archive ends at byte 1436, inside the header after the member a.ovf; "
                "copy or download it again");
    unsigned char *h = tarball_header(&t, "huge", '0', 0);
    memcpy(h + 124, "\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 12);
    tarball_seal(h, 0);
    must_refuse(&t, -ENODATA,
                "t.ova: truncated: the archive ends at byte 512, inside the member huge; copy or download it "
                "again");
}

static void wrong_checksums_are_refused(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    tarball_add(&t, "a.ovf", '0', "x");
    tarball_header(&t, "b", '0', 0)[0] = 'c';
    must_refuse(&t, -EUCLEAN,
                "t.ova: damaged archive: no valid tar header after the member a.ovf at byte 1024");
    tarball_header(&t, "b", '0', 0)[0] = 'c';
    assert_int_equal(tar_probe(t.p), TAR_MAGIC);
    free(t.p);
    static const uint8_t zeros[512];
    assert_int_equal(tar_probe(zeros), TAR_NO);
}

static void limits_hold(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    unsigned char *all = tarball_grow(&t, (size_t)512 * (TAR_MAX_HEADERS + 1));
    struct tarball one = { 0 };
    tarball_header(&one, "m", '0', 0);
    for (size_t i = 0; i <= TAR_MAX_HEADERS; i++)
        memcpy(all + 512 * i, one.p, 512);
    free(one.p);
    must_refuse(&t, -EFBIG, "t.ova: the archive has more than 65536 headers at byte 33554432");
    tarball_header(&t, "x", 'x', TAR_MAX_EXTENSION + 1);
    must_refuse(&t, -EFBIG,
                "t.ova: a tar header of the type 'x' has 1048577 bytes, more than 1048576 at byte 512");
}

static void sparse_members_are_refused_by_name(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    struct fault fault = { 0 };
    struct file *f = NULL;
    unsigned char *h = tarball_header(&t, "old.vmdk", 'S', 3);
    h[482] = 1;
    tarball_seal(h, 0);
    tarball_grow(&t, 512)[504] = 1; /* two more blocks of the map */
    tarball_grow(&t, 512);
    tarball_data(&t, "abc", 3);
    tarball_pax(&t, 'x', "GNU.sparse.name", "new.vmdk");
    tarball_add(&t, "GNUSparseFile.1/new.vmdk", '0', "map and data");
    tarball_add(&t, "after", '0', "found");
    struct tar *tar = must_open(&t);
    must_hold(tar, "after", "found");
    assert_int_equal(tar_find(tar, "old.vmdk")->kind, TAR_SPARSE);
    assert_int_equal(tar_open_member(tar_find(tar, "new.vmdk"), &f, &fault), -ENOTSUP);
    assert_string_equal(fault.file, "t.ova(new.vmdk)");
    assert_string_equal(fault.what, "is stored sparse (by tar -S), so it can't be read in place");
    tar_close(tar);
}

static void links_have_no_data(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    tarball_header(&t, "hard", '1', 700); /* the size of what it links to */
    tarball_header(&t, "soft", '2', 0);
    tarball_header(&t, "dir", '5', 4096);
    tarball_add(&t, "after", '0', "found");
    struct tar *tar = must_open(&t);
    struct fault fault = { 0 };
    must_hold(tar, "after", "found");
    assert_int_equal(tar_find(tar, "soft")->kind, TAR_LINK);
    assert_int_equal(tar_open_member(tar_find(tar, "hard"), &(struct file *){ NULL }, &fault), -EMEDIUMTYPE);
    assert_string_equal(fault.what, "is a link in the archive, not a file");
    tar_close(tar);
}

static void the_last_of_a_name_counts(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    tarball_add(&t, "a", '0', "first");
    tarball_add(&t, "b", '0', "other");
    tarball_add(&t, "./a", '0', "last");
    struct tar *tar = must_open(&t);
    must_hold(tar, "a", "last");
    assert_true(tar->members[0].replaced);
    assert_false(tar->members[1].replaced);
    assert_false(tar->members[2].replaced);
    tar_close(tar);
}

static void references_stay_in_the_archive(void **state)
{
    (void)state;
    static const struct {
        const char *from, *name, *to; /* NULL: outside */
    } t[] = {
        { "a.ovf", "d.vmdk", "d.vmdk" },
        { "vm/a.ovf", "./d.vmdk", "vm/d.vmdk" },
        { "vm/a.ovf", "../d.vmdk", "d.vmdk" },
        { "vm/a.ovf", "x//y/../d", "vm/x/d" },
        { "a.ovf", "../d.vmdk", NULL },
        { "vm/a.ovf", "../../d.vmdk", NULL },
        { "vm/a.ovf", "x/../../../vm/d", NULL },
        { "a.ovf", "/etc/passwd", NULL },
        { "a.ovf", "..", NULL },
        { "vm/a.ovf", "..", "" },
        { "a.ovf", "...", "..." },
        { "../x/a.ovf", "d", "../x/d" }, /* such a member's own name; nothing but it lies there */
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char *to = NULL;
        int r = tar_resolve(t[i].from, t[i].name, &to);
        assert_int_equal(r, t[i].to ? 0 : -EPERM);
        if (t[i].to)
            assert_string_equal(to, t[i].to);
        free(to);
    }
}

static void members_refer_to_each_other(void **state)
{
    (void)state;
    struct tarball t = { 0 };
    tarball_add(&t, "vm/a.ovf", '0', "x");
    tarball_add(&t, "vm/disks/d.vmdk", '0', "descriptor");
    tarball_add(&t, "vm/disks/d-flat.vmdk", '0', "flat");
    struct tar *tar = must_open(&t);
    struct file *ovf = NULL, *d = NULL, *flat = NULL;
    struct fault fault = { 0 };
    char line[2048];
    assert_int_equal(tar_open_member(tar_find(tar, "vm/a.ovf"), &ovf, NULL), 0);
    assert_int_equal(file_open_ref(ovf, "disk", "disks/d.vmdk", &d, NULL), 0);
    assert_int_equal(file_open_ref(d, "extent", "d-flat.vmdk", &flat, NULL), 0);
    assert_string_equal(flat->name, "t.ova(vm/disks/d-flat.vmdk)");
    assert_int_equal(file_open_ref(d, "extent", "e.vmdk", &flat, &fault), -ENOENT);
    fault_format(&fault, line, sizeof line);
    assert_string_equal(line, "t.ova(vm/disks/d.vmdk): the extent \"e.vmdk\" is missing from the archive");
    fault = (struct fault){ 0 };
    assert_int_equal(file_open_ref(d, "parent", "../../../x", &flat, &fault), -EPERM);
    fault_format(&fault, line, sizeof line);
    assert_string_equal(line, "t.ova(vm/disks/d.vmdk): the parent \"../../../x\" lies outside the archive");
    file_unref(ovf);
    file_unref(d);
    file_unref(flat);
    tar_close(tar);
}

/* An archive of 20 GiB of holes: the sizes beyond 8 GiB, in each way of writing them. */
static void large_members(void **state)
{
    (void)state;
    static const uint64_t nine = UINT64_C(9) << 30;
    for (int pax = 0; pax < 2; pax++) {
        char path[] = "/tmp/ferryfs-test-tar-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        struct tarball t = { 0 };
        if (pax)
            tarball_pax(&t, 'x', "size", "9663676416");
        unsigned char *h = tarball_header(&t, "big", '0', 0);
        if (!pax)
            memcpy(h + 124, "\x80\0\0\0\0\0\0\x02\x40\0\0\0", 12);
        tarball_seal(h, 0);
        size_t first = t.n;
        tarball_add(&t, "after", '0', "found");
        assert_int_equal(pwrite(fd, t.p, first, 0), first);
        assert_int_equal(pwrite(fd, t.p + first, t.n - first, (off_t)(first + nine)), t.n - first);
        free(t.p);
        struct file *f = NULL;
        struct tar *tar = NULL;
        struct trust trust = { 0 };
        assert_int_equal(file_open_source(path, &trust, &f, NULL), 0);
        assert_int_equal(tar_open(f, &tar, NULL), 0);
        assert_true(tar_find(tar, "big")->size == nine);
        must_hold(tar, "after", "found");
        tar_close(tar);
        file_unref(f);
        close(fd);
        unlink(path);
    }
}

/* What real writers write: all formats of GNU tar and of Python, a long name, a subdirectory. */
static void archives_of_others(void **state)
{
    (void)state;
    static const char make[] =
        "cd %s && mkdir -p vm/%090d && printf hello > vm/%090d/disk.vmdk && printf '<x/>' > vm/a.ovf && "
        "for f in gnu pax oldgnu; do tar --format=$f -cf $f.tar ./vm || exit 1; done && "
        "tar --format=ustar -cf ustar.tar vm && tar --format=v7 -cf v7.tar vm/a.ovf && "
        "{ ! command -v python3 >/dev/null || python3 -c \"import tarfile\n"
        "for f, n in ((tarfile.USTAR_FORMAT, 'pu'), (tarfile.GNU_FORMAT, 'pg'), (tarfile.PAX_FORMAT, "
        "'pp')):\n"
        "    t = tarfile.open(n + '.tar', 'w', format=f); t.add('vm'); t.close()\"; }";
    static const char *const names[] = { "gnu", "pax", "oldgnu", "ustar", "v7", "pu", "pg", "pp" };
    char dir[] = "/tmp/ferryfs-test-tar-XXXXXX", command[4096], long_name[512];
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof command, make, dir, 0, 0);
    assert_int_equal(system(command), 0);
    snprintf(long_name, sizeof long_name, "vm/%090d/disk.vmdk", 0);
    unsigned opened = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s.tar", dir, names[i]);
        if (access(path, R_OK) < 0)
            continue;
        struct file *f = NULL;
        struct tar *tar = NULL;
        struct trust trust = { 0 };
        assert_int_equal(file_open_source(path, &trust, &f, NULL), 0);
        assert_int_equal(tar_open(f, &tar, NULL), 0);
        must_hold(tar, "vm/a.ovf", "<x/>");
        if (strcmp(names[i], "v7") != 0)
            must_hold(tar, long_name, "hello");
        tar_close(tar);
        file_unref(f);
        opened++;
    }
    assert_true(opened >= 5);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_members_are_found),
        cmocka_unit_test(ends_of_all_kinds),
        cmocka_unit_test(prefix_belongs_to_posix_only),
        cmocka_unit_test(signed_checksums_count),
        cmocka_unit_test(long_names),
        cmocka_unit_test(pax_size_counts_before_the_data_is_passed),
        cmocka_unit_test(damaged_pax_is_refused),
        cmocka_unit_test(base_256_sizes),
        cmocka_unit_test(twelve_octal_digits),
        cmocka_unit_test(truncation_is_named),
        cmocka_unit_test(wrong_checksums_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(sparse_members_are_refused_by_name),
        cmocka_unit_test(links_have_no_data),
        cmocka_unit_test(the_last_of_a_name_counts),
        cmocka_unit_test(references_stay_in_the_archive),
        cmocka_unit_test(members_refer_to_each_other),
        cmocka_unit_test(large_members),
        cmocka_unit_test(archives_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
