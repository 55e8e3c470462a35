// SPDX-License-Identifier: GPL-2.0-or-later
// The whole user space of the guest that tests/e2e/boot.sh boots: linked statically, it is /init of an
// initramfs. Loads /modules/* in the order of their names, mounts the disk's second partition (ext4), and
// says on the serial console
//
//     guest: marker TEXT         the first line of the partition's file `marker`
//     guest: word TEXT           of its file `word`
//     guest: blob SHA-256        of its file `blob`
//     guest: disk SHA-256        of all of /dev/vda
//     guest: done
//
// then turns the machine off. `guest: CALL: ERROR` in place of what could not be read.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

static void complain(const char *what)
{
    printf("guest: %s: %s\n", what, strerror(errno));
}

static void load_modules(void)
{
    struct dirent **names;
    int n = scandir("/modules", &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] == '.')
            continue;
        char path[300];
        snprintf(path, sizeof path, "/modules/%s", names[i]->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
            complain(path);
        close(fd);
    }
}

static void say_digest(const char *what, const char *path)
{
    static uint8_t buffer[1 << 18];
    struct sha256_ctx sha;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    sha256_init(&sha);
    while ((n = read(fd, buffer, sizeof buffer)) > 0)
        sha256_update(&sha, (size_t)n, buffer);
    if (n < 0) {
        complain(path);
        return;
    }
    close(fd);
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(&sha, sizeof digest, digest);
    printf("guest: %s ", what);
    for (size_t i = 0; i < sizeof digest; i++)
        printf("%02x", digest[i]);
    printf("\n");
}

static void say_line(const char *what, const char *path)
{
    char line[200];
    FILE *f = fopen(path, "re");
    if (f && fgets(line, sizeof line, f))
        printf("guest: %s %s", what, line);
    else
        complain(path);
    if (f)
        fclose(f);
}

int main(void)
{
    mkdir("/dev", 0755);
    mkdir("/root", 0755);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    if (!freopen("/dev/ttyS0", "w", stdout))
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    load_modules();
    for (int tries = 0; access("/dev/vda2", F_OK) && tries < 1000;
         tries++) // the disk is found in the background
        usleep(10000);
    if (mount("/dev/vda2", "/root", "ext4", MS_RDONLY, NULL))
        complain("mount");
    say_line("marker", "/root/marker");
    say_line("word", "/root/word");
    say_digest("blob", "/root/blob");
    say_digest("disk", "/dev/vda");
    printf("guest: done\n");
    tcdrain(STDOUT_FILENO);
    reboot(RB_POWER_OFF);
    return 1;
}
