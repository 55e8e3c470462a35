/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A directory of images as a VM: which are whose parents, and when it is refused. It needs a format with
 * references and nothing else, so this program brings its own table of formats with a toy in it:
 *
 *     TOY
 *     extent FILE
 *     parent FILE */
#include "formats/vm.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern const struct format raw_format;

static unsigned toy_probe(const struct probe *p)
{
    return bytes_match(p->head, 0, "TOY\n", 4) ? 32 : PROBE_NONE;
}

static int toy_open(struct file *file, const struct image_env *env, struct layer *ret, struct fault *fault)
{
    char text[256] = "", *save = NULL;
    size_t n = file->size < sizeof text ? (size_t)file->size : sizeof text - 1;
    int r = file_pread_what(file, text, n, 0, "the text", fault);
    if (r < 0)
        return r;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct file *extent = NULL;
        if (!strncmp(line, "extent ", 7)) {
            r = file_open_ref(file, "extent", line + 7, &extent, fault);
            if (r < 0)
                return r;
            file_unref(extent);
        } else if (!strncmp(line, "parent ", 7)) {
            ret->backing.name = strdup(line + 7);
            ret->backing.role = "parent";
        }
    }
    return raw_format.open(file, env, ret, fault);
}

static const struct format toy_format = {
    .name = "toy", .title = "toy", .probe = toy_probe, .open = toy_open
};

const struct format *const formats[] = { &toy_format, &raw_format, NULL };
const struct format *format_by_name(const char *name)
{
    return !strcmp(name, "toy") ? &toy_format : !strcmp(name, "raw") ? &raw_format : NULL;
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* What a directory of these files is: the disks' names with blanks between, or the fault's line. */
static void check(const char *const *files, const char *want)
{
    char dir[] = "/tmp/ferryfs-test-dir-XXXXXX", command[128], seen[2048] = "", path[256];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(mkdir("d", 0755), 0);
    assert_int_equal(mkdir("d/sub", 0755), 0);
    put("outside", "TOY\n");
    put("d/readme.txt", "not an image");
    for (size_t i = 0; files[i]; i += 2) {
        snprintf(path, sizeof path, "d/%s", files[i]);
        if (files[i + 1][0] == '>')
            assert_int_equal(symlink(files[i + 1] + 1, path), 0);
        else
            put(path, files[i + 1]);
    }
    struct cache *cache = cache_new(1 << 20, NULL);
    char *source = (char[]){ "d" };
    struct vm_options o = { .sources = &source, .n_sources = 1 };
    struct image_env env = { .cache = cache };
    struct vm *vm = NULL;
    struct fault fault = { 0 };
    int r = vm_open(&o, &env, &vm, &fault);
    if (r < 0)
        fault_format(&fault, seen, sizeof seen);
    for (size_t i = 0; vm && i < vm->n_disks; i++)
        snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s%s%s", i ? " " : "",
                 strrchr(vm->disks[i].source, '/') + 1, vm->disks[i].image ? "" : "!");
    vm_close(vm);
    cache_free(cache);
    assert_int_equal(chdir("/"), 0);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    const char *star = strchr(want, '*');
    char text[1024];
    snprintf(text, sizeof text, "%.*s%s%s", star ? (int)(star - want) : (int)strlen(want), want,
             star ? dir : "", star ? star + 1 : "");
    assert_string_equal(seen, text);
}
#define CHECK(want, ...) check((const char *const[]){ __VA_ARGS__, NULL }, want)

static void the_top_of_a_chain(void **state)
{
    (void)state;
    CHECK("a.toy", "a.toy", "TOY\n");
    CHECK("a-000002.toy", "a.toy", "TOY\n", "a-000001.toy", "TOY\nparent a.toy\n", "a-000002.toy",
          "TOY\nparent a-000001.toy\n");
    CHECK("a.toy", "a.toy", "TOY\nextent a-s001.toy\nextent a-flat\n", "a-s001.toy", "TOY\n", "a-flat",
          "raw");
    CHECK("z", "z", "TOY\nparent y\n", "y", "TOY\nextent x\n", "x", "TOY\n");
}

static void the_disks_of_one_vm(void **state)
{
    (void)state;
    CHECK("w.toy w_1.toy w_2.toy w_10.toy", "w_10.toy", "TOY\n", "w_2.toy", "TOY\n", "w.toy", "TOY\n",
          "w_1.toy", "TOY\n");
    CHECK("w-disk1.toy w-disk2.toy", "w-disk2.toy", "TOY\n", "w-disk1.toy", "TOY\n");
    CHECK("w-000001.toy w_1-000001.toy", "w.toy", "TOY\n", "w_1.toy", "TOY\n", "w-000001.toy",
          "TOY\nparent w.toy\n", "w_1-000001.toy", "TOY\nparent w_1.toy\n");
}

static void what_may_be_several_vms(void **state)
{
    (void)state;
    static const char hint[] = "; name the disks of one VM, in their order";
    char want[512];
#define REFUSED(names, ...)                                                                                  \
    do {                                                                                                     \
        snprintf(                                                                                            \
            want, sizeof want,                                                                               \
            "d: holds 2 disk images, and neither an .ovf nor a .vmx says whether they are one VM: %s%s",     \
            names, hint);                                                                                    \
        CHECK(want, __VA_ARGS__);                                                                            \
    } while (0)
    REFUSED("a.toy, b.toy", "a.toy", "TOY\n", "b.toy", "TOY\n");
    REFUSED("web_1.toy, web_2.toy", "web_1.toy", "TOY\n", "web_2.toy", "TOY\n");
    REFUSED("web-1.toy, web-2.toy", "web-1.toy", "TOY\n", "web-2.toy", "TOY\n");
    /* two snapshots of one disk */
    REFUSED("a-000001.toy, a-000002.toy", "a.toy", "TOY\n", "a-000001.toy", "TOY\nparent a.toy\n",
            "a-000002.toy", "TOY\nparent a.toy\n");
}

static void directories_without_a_vm(void **state)
{
    (void)state;
    CHECK("d: holds no virtual machine: neither an .ovf or .vmx nor a disk image", "notes", "text");
    CHECK("d: each of its 2 disk images is another's parent", "a", "TOY\nparent b\n", "b", "TOY\nparent a\n");
    CHECK("d/a: the extent \"gone\" is missing", "a", "TOY\nextent gone\n");
    CHECK(
        "d: the file \"*/outside\" lies outside the source's directory; -o trust=DIR allows a directory that "
        "you trust",
        "link", ">../outside", "a.toy", "TOY\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_top_of_a_chain),
        cmocka_unit_test(the_disks_of_one_vm),
        cmocka_unit_test(what_may_be_several_vms),
        cmocka_unit_test(directories_without_a_vm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
