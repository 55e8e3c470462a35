#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A row of edits for a daemon that is killed, or whose overlay fails, and what must be there afterwards.

    kill-load.py load LOG SEED TARGET...     edits until the mount dies; exit 0 only then
        --steps N    or until so many steps are done and durable
        --arm FILE   makes FILE when the row begins
        --errors     goes on from ENOSPC and EIO: tries a step once more, and ends (exit 0) where that fails too
    kill-load.py check LOG SEED TARGET...    what is there now must be a beginning of the row

A TARGET is an empty directory of a volume, or registry:KEY, an empty key. Each step edits one of them and then counts
itself there, so that what is found tells where the row was cut: every target must be as it was at that one moment (all
are committed together), which is not before the last step that the log calls durable, nor behind the last one begun.
Only what the next step touches may be half done. The log lies outside the mount; `ready` in it: the row has begun."""
import argparse
import errno
import os
import random
import sys

# Steps between two calls that make all durable: of a row without an end, and of one of some steps.
FSYNC_EVERY, FSYNC_OFTEN = (3, 60), (2, 16)


def content(i, n):
    return random.Random(i).randbytes(n)


class Model:
    """The row of steps, and what they leave: for each target, names to bytes, None (a directory) or a number."""

    def __init__(self, seed, targets):
        self.rng = random.Random(seed)
        self.targets = targets
        self.state = [{} for _ in targets]
        self.counted = [0 for _ in targets]
        self.i = 0

    def step(self):
        """Takes one step: (target, calls, names that are touched). A call is (kind, name, ...)."""
        self.i += 1
        t = self.rng.randrange(len(self.targets))
        state = self.state[t]
        names = sorted(state)
        name = self.rng.choice(names) if names else None
        kind = self.rng.random()
        if self.targets[t].startswith("registry:"):
            call = self.registry_step(state, name, kind)
        else:
            call = self.file_step(state, name, kind)
        self.counted[t] = self.i
        return t, call

    def registry_step(self, state, name, kind):
        if name and kind < 0.2 and state[name] is not None:
            del state[name]
            return ("unlink", name)
        if kind < 0.35:
            state[f"k{self.i}"] = None
            return ("mkdir", f"k{self.i}")
        if name and kind < 0.5 and state[name] is None:
            del state[name]
            return ("rmdir", name)
        name = f"v{self.i % 40}.dword"
        state[name] = b"0x%08x\n" % self.i
        return ("set", name, state[name])

    def file_step(self, state, name, kind):
        is_file = name and state[name] is not None
        if is_file and kind < 0.15:
            del state[name]
            return ("unlink", name)
        if name and kind < 0.3:
            new = f"renamed{self.i}"
            state[new] = state.pop(name)
            return ("rename", name, new)
        if is_file and kind < 0.4:
            n = self.rng.randrange(len(state[name]) + 1)
            state[name] = state[name][:n]
            return ("truncate", name, n)
        if is_file and kind < 0.6:
            at = self.rng.randrange(len(state[name]) + 1)
            new = content(self.i, self.rng.randrange(1, 9000))
            state[name] = state[name][:at] + new + state[name][at + len(new):]
            return ("write", name, at, new)
        if kind < 0.7:
            state[f"d{self.i}"] = None
            return ("mkdir", f"d{self.i}")
        if name and not is_file and kind < 0.8:
            del state[name]
            return ("rmdir", name)
        if len(state) > 60 and is_file:
            del state[name]
            return ("unlink", name)
        state[f"f{self.i}"] = content(self.i, self.rng.choice((0, 10, 700, 5000, 70000)))
        return ("set", f"f{self.i}", state[f"f{self.i}"])


def perform(root, call):
    kind, path = call[0], f"{root}/{call[1]}"
    if kind == "unlink":
        os.unlink(path)
    elif kind == "rmdir":
        os.rmdir(path)
    elif kind == "mkdir":
        os.mkdir(path)
    elif kind == "rename":
        os.rename(path, f"{root}/{call[2]}")
    elif kind == "truncate":
        os.truncate(path, call[2])
    elif kind == "set":
        put(path, os.O_CREAT | os.O_TRUNC, 0, call[2])
    else:
        put(path, 0, call[2], call[3])


def perform_again(root, call):
    """After an error: some of it may be done already, or all."""
    kind, path = call[0], f"{root}/{call[1]}"
    there = os.path.lexists(path)
    if kind in ("unlink", "rmdir") and not there:
        return
    if kind == "mkdir" and there:
        return
    if kind == "rename" and not there and os.path.lexists(f"{root}/{call[2]}"):
        return
    perform(root, call)


def put(path, flags, at, data):
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        while data:
            n = os.pwrite(fd, data, at)
            at, data = at + n, data[n:]
    finally:
        os.close(fd)


def directory(target):
    return target.removeprefix("registry:")


def count(target, i):
    if target.startswith("registry:"):
        put(f"{directory(target)}/counter.dword", os.O_CREAT, 0, b"0x%08x\n" % i)
    else:
        put(f"{target}/counter", os.O_CREAT, 0, b"0x%08x\n" % i)


def counted(target):
    name = "counter.dword" if target.startswith("registry:") else "counter"
    with open(f"{directory(target)}/{name}", "rb") as f:
        return int(f.read(), 16)


def fsync(path, flags):
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_durable(rng, targets):
    """In one of the ways that there are."""
    t = directory(rng.choice(targets))
    if rng.random() < 0.5:
        fsync(t, os.O_RDONLY | os.O_DIRECTORY)
    else:
        mount = t.split("/registry/")[0].split("/volumes/")[0]
        fsync(f"{mount}/info.json", os.O_RDONLY)


DEAD = (errno.ENOTCONN, errno.ECONNABORTED)
FAILED = (errno.ENOSPC, errno.EIO)


class Load:
    """Takes the steps on the mount; `errors`: the overlay may fail."""

    def __init__(self, args):
        self.model, self.targets, self.errors = Model(args.seed, args.targets), args.targets, args.errors
        self.rng = random.Random(~args.seed)
        self.log = os.open(args.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def say(self, text):
        os.write(self.log, text.encode() + b"\n")

    def attempt(self, action, again):
        """Whether one of them succeeds. Where the first one was cut off half-way, the second one may say anything."""
        for first, call in (True, action), (False, again):
            try:
                call()
                return True
            except OSError as e:
                if not self.errors or e.errno in DEAD or (first and e.errno not in FAILED):
                    raise
                self.say(f"failed {self.model.i} {errno.errorcode[e.errno]}")
        return False

    def step(self):
        t, call = self.model.step()
        target = self.targets[t]
        root = directory(target)
        self.say(f"begun {self.model.i}")
        return (self.attempt(lambda: perform(root, call), lambda: perform_again(root, call))
                and self.attempt(lambda: count(target, self.model.i), lambda: count(target, self.model.i)))

    def durable(self):
        sync = lambda: make_durable(self.rng, self.targets)
        if self.attempt(sync, sync):
            self.say(f"durable {self.model.i}")
            return True
        return False

    def run(self, steps, arm):
        for t in self.targets:
            count(t, 0)
        make_durable(self.rng, self.targets)
        if arm:
            os.close(os.open(arm, os.O_WRONLY | os.O_CREAT, 0o644))
        self.say("ready")
        every = FSYNC_OFTEN if steps else FSYNC_EVERY
        until = self.rng.randrange(*every)
        while self.model.i != steps:
            if not self.step():
                return
            until -= 1
            if not until:
                if not self.durable():
                    return
                until = self.rng.randrange(*every)
        self.durable()


def load(args):
    try:
        Load(args).run(args.steps, args.arm)
    except OSError as e:
        if e.errno in DEAD:
            return 0
        raise
    return 0 if args.steps else 1


def log_says(log, word):
    with open(log, encoding="ascii") as f:
        return max((int(line.split()[1]) for line in f if line.startswith(word + " ")), default=0)


def differences(target, want, partial):
    """Of a target from its model, but for the names in `partial`."""
    root = directory(target)
    there = set(os.listdir(root)) - {"counter", "counter.dword"}
    for name in sorted((there ^ set(want)) - partial):
        yield f"{root}/{name} is {'there' if name in there else 'missing'}"
    for name in sorted(there & set(want) - partial):
        path = f"{root}/{name}"
        if os.path.isdir(path) != (want[name] is None):
            yield f"{path}: its type"
        elif want[name] is not None:
            with open(path, "rb") as f:
                got = f.read()
            if got != want[name]:
                yield f"{path}: {len(got)} bytes, wanted {len(want[name])}, or others"


def check(log, seed, targets):
    found = [counted(t) for t in targets]
    cut, durable, begun = max(found), log_says(log, "durable"), log_says(log, "begun")
    print(f"cut at {cut}, durable {durable}, begun {begun}")
    wrong = []
    if not durable <= cut <= begun:
        wrong.append("the cut is out of bounds")
    model = Model(seed, targets)
    while model.i < cut:
        model.step()
    for t, target in enumerate(targets):
        if found[t] != model.counted[t]:
            wrong.append(f"{target} counts {found[t]}, wanted {model.counted[t]}")
    want = [dict(s) for s in model.state]
    half, call = model.step()
    touched = {call[1], call[2]} if call[0] == "rename" else {call[1]}
    for t, target in enumerate(targets):
        wrong += differences(target, want[t], touched if t == half else set())
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("load", "check"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--arm")
    parser.add_argument("--errors", action="store_true")
    parser.add_argument("log")
    parser.add_argument("seed", type=int)
    parser.add_argument("targets", nargs="+", metavar="TARGET")
    args = parser.parse_args()
    return load(args) if args.mode == "load" else check(args.log, args.seed, args.targets)


if __name__ == "__main__":
    sys.exit(main())
