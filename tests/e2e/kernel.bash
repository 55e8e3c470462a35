# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The Linux kernel of the guests that boot here: $kernel, its modules below $modules_root, its $version. Skips where there is
# none.
mapfile -t found < <("$top/tests/tools/guest-kernel")
[ ${#found[@]} = 3 ] || skip "no kernel in /boot that can be read, and none in build/guest-kernel"
# shellcheck disable=SC2034 # for the tests
kernel=${found[0]} modules_root=${found[1]} version=${found[2]}

# needed_for NAME...: `insmod FILE` for each module and all that it needs, `builtin NAME` for what the kernel has.
needed_for() { modprobe -d "$modules_root/" -S "$version" --show-depends -a "$@" 2>/dev/null; }

# modules_of NAME...: the files, in the order of loading, each once.
modules_of() { needed_for "$@" | sed -n 's/^insmod \(.*\.ko[.a-z]*\).*/\1/p' | awk '!seen[$0]++'; }

# install_modules ROOT NAME...: where they belong below ROOT, with depmod's index.
install_modules() {
    local at=lib/modules/$version path
    modules_of "${@:2}" >modules.list
    while read -r path; do
        path=${path##*/"$version"/}
        install -D -m 644 "$modules_root/$at/$path" "$1/$at/$path" || return
    done <modules.list
    cp "$modules_root/$at"/modules.{builtin,builtin.modinfo,order} "$1/$at/" && depmod -b "$1" "$version"
}

# install_busybox ROOT NAME...: in ROOT/bin, which is there, with its libraries, under these names too.
install_busybox() {
    local name
    cp "$(command -v busybox)" "$1/bin/busybox"
    for name in "${@:2}"; do ln -sf busybox "$1/bin/$name"; done
    ldd "$1/bin/busybox" | grep -o '/lib[^ ]*' | while read -r name; do install -D "$name" "$1/$name" || return; done
}
