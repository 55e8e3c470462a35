#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""driver-golden.py VERSION BEFORE AFTER NETKVM.INF: what four of virtio-win's packages (builds for Windows 7, amd64) must have put into
the registry of a guest, stated value by value and compared with all that is different.

VERSION is 6.1, 6.3 or 10.0. BEFORE and AFTER have a line for each key, `[KEY]`, and for each value, `[KEY] "NAME"=DATA`, as regedit
writes them without line breaks. Installed in this order: viostor, vioscsi, netkvm, balloon; with oem0 to oem11 taken, but none in a 6.1.
Of netkvm the values of the adapter's settings are read from its INF: 180 lines, each of which is one value. Keys and names of
values have no case. Prints what is missing and what is too much; exit status 1 if there is any.

What is stated comes from the INFs, whose lines are quoted, and from what Windows is known to write:
  - DeviceIds: 01 FF 00 00 of a Models line's hardware id, 02 FF 00 00 of its compatible one; FF: no FeatureScore
  - an empty REG_NONE value of the package in DeviceIds\\{class}
  - DriverInfFiles: the package's directory as the default value and as Active, the install section as Configurations
  - DriverPackages\\DIR: INF's and catalog's name, provider, Version, StatusFlags 0x12 (configured)
  - Version: 00 FF (not in-box), architecture 9 (amd64), the class, DriverVer's date as a FILETIME and its four parts as a
    number, each little-endian
  - a driver with StartType 0 is in SYSTEM's database, too, and has its service; others are in DRIVERS' only
  - ConfigScope is of Windows 10 and later
  - OemInfMap: a bit for each number, the highest of the first byte is oem0
Windows 7 (6.1) has neither a DriverDatabase nor a DRIVERS hive. Its boot loader starts what Services say, and its PnP finds the
driver of a disk's controller in CriticalDeviceDatabase: a key for each id, with # for its backslash, that names the service and
the class. (Entries of Windows' own INFs also have DriverPackageId; those that virt-v2v writes boot without it.) Windows knows all
other packages by INF\\oemN.inf and the store alone: netkvm and balloon leave no trace in the registry. There are two control
sets, and each of them must boot."""
import datetime
import re
import struct
import sys
import uuid

version, before, after = sys.argv[1], *(open(f, encoding="utf-8").read().splitlines() for f in sys.argv[2:4])
seven = version == "6.1"
first = 0 if seven else 12  # number of the first
SYSTEM, DRIVERS = r"HKEY_LOCAL_MACHINE\SYSTEM", r"HKEY_LOCAL_MACHINE\DRIVERS"
want = set()


def hexes(data, kind=""):
    return f"hex{kind}:" + ",".join(f"{b:02x}" for b in data)


def sz(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dword(n):
    return f"dword:{n:08x}"


def expand(text):
    return hexes((text + "\0").encode("utf-16le"), "(2)")


def multi(*texts):
    return hexes("".join(t + "\0" for t in (*texts, "")).encode("utf-16le"), "(7)")


NONE = hexes(b"", "(0)")


def key(path, values=(), new_from=1):
    """The key, and those on the way to it from the new_from-th part on, with values {name: data}; "" is the default one."""
    parts = path.split("\\")
    for i in range(len(parts) - new_from + 1, len(parts) + 1):
        want.add("[" + "\\".join(parts[:i]) + "]")
    for name, data in dict(values).items():
        want.add(f"[{path}] " + ("@" if not name else f'"{name}"') + f"={data}")


class Package:
    """inf: its name without .inf; ver: DriverVer; ids: (hardware id, compatible ids) of each Models line; strings: those of
    [Strings] that Models and Manufacturer lines name, in lower case; config: {subkey: {name: data}} below the section."""

    def __init__(self, inf, oem, guid, catalog, date, parts, section, service, ids, strings, config):
        self.__dict__.update(locals())
        if seven:
            return
        active = [l for l in after if f"\\DriverInfFiles\\oem{oem}.inf] \"Active\"=" in l]
        self.dir = active[0].split('"')[3] if active else "none"
        # the digits are Windows' own and follow from nothing known: any 16 will do
        name, digits = self.dir.rsplit("_", 1)
        if name != f"{inf}.inf_amd64" or len(digits) != 16 or set(digits) - set("0123456789abcdef"):
            sys.exit(f"the directory of {inf} is named {self.dir}")

    def version_blob(self):
        days = (datetime.date(*self.date) - datetime.date(1601, 1, 1)).days
        w, x, y, z = self.parts
        return (b"\0\xff" + struct.pack("<HI", 9, 0) + uuid.UUID(self.guid).bytes_le
                + struct.pack("<Q", days * 86400 * 10**7) + struct.pack("<HHHHQ", z, y, x, w, 0))

    def in_database(self, hive):
        db = hive + r"\DriverDatabase"
        mine = f"oem{self.oem}.inf"
        for hardware, *compatible in self.ids:
            key(f"{db}\\DeviceIds\\{hardware}", {mine: hexes(b"\x01\xff\0\0")})
            for c in compatible:
                key(f"{db}\\DeviceIds\\{c}", {mine: hexes(b"\x02\xff\0\0")})
        key(f"{db}\\DeviceIds\\{self.guid}", {mine: NONE})
        key(f"{db}\\DriverInfFiles\\{mine}",
            {"": multi(self.dir), "Active": sz(self.dir), "Configurations": multi(self.section)})
        package = f"{db}\\DriverPackages\\{self.dir}"
        key(package, {"": sz(mine), "InfName": sz(self.inf + ".inf"), "Catalog": sz(self.catalog),
                      "Provider": sz("Red Hat, Inc."), "StatusFlags": dword(0x12),
                      "Version": hexes(self.version_blob())})
        section = f"{package}\\Configurations\\{self.section}"
        key(section, {"ConfigFlags": dword(0), "Service": sz(self.service)}, 2)
        if version == "10.0":
            key(section, {"ConfigScope": dword(7)})
        for sub, values in self.config.items():
            key(f"{section}\\{sub}", values, len(sub.split("\\")))
        description, manufacturer = self.strings  # in the order given
        for ids in self.ids:
            for i in ids:
                key(f"{package}\\Descriptors\\{i}", {"Configuration": sz(self.section), "Description": sz(f"%{description}%"),
                                                    "Manufacturer": sz(f"%{manufacturer}%")}, 3)
        key(f"{package}\\Strings", {name: sz(text) for name, text in self.strings.items()})

    def boots(self, bus_type):
        """[..._Service_Inst]: ServiceType 1, StartType 0, ErrorControl 1, %12%\\NAME.sys, LoadOrderGroup; its AddReg and the
        event log's. What is loaded by the boot loader has a path from the system's root on."""
        for n in (1, 2) if seven else (1,):
            self.boots_from(f"{SYSTEM}\\ControlSet{n:03}", bus_type)

    def boots_from(self, control_set, bus_type):
        services = control_set + r"\Services"
        key(f"{services}\\{self.service}", {
            "Type": dword(1), "Start": dword(0), "ErrorControl": dword(1), "Group": sz("SCSI miniport"),
            "ImagePath": expand(f"System32\\drivers\\{self.service}.sys"), "Owners": multi(f"oem{self.oem}.inf")})
        key(f"{services}\\{self.service}\\Parameters", {"BusType": dword(bus_type)})
        key(f"{services}\\{self.service}\\Parameters\\PnpInterface", {"5": dword(1)})
        key(f"{services}\\EventLog\\System\\{self.service}",
            {"EventMessageFile": expand(r"%SystemRoot%\System32\IoLogMsg.dll"), "TypesSupported": dword(7)})
        for i in [i for ids in self.ids for i in ids if seven]:
            key(control_set + r"\Control\CriticalDeviceDatabase" + "\\" + i.replace("\\", "#"),
                {"Service": sz(self.service), "ClassGUID": sz(self.guid.upper())})


def msi(limit, **affinity):
    return {r"Device\Interrupt Management": {},
            r"Device\Interrupt Management\MessageSignaledInterruptProperties":
                {"MSISupported": dword(1), "MessageNumberLimit": dword(limit)},
            r"Device\Interrupt Management\Affinity Policy": {n: dword(v) for n, v in affinity.items()}}


def scsi_service(name, bus_type):
    return {f"Services\\{name}\\Parameters": {"BusType": dword(bus_type)},
            f"Services\\{name}\\Parameters\\PnpInterface": {"5": dword(1)}}


SCSI, NET, SYS = ("{4d36e97%s-e325-11ce-bfc1-08002be10318}" % x for x in "b2d")

# %VioStorScsi.DeviceDesc% = scsi_inst, PCI\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00, PCI\VEN_1AF4&DEV_1001; 1042 likewise
viostor = Package(
    "viostor", first, SCSI, "viostor.cat", (2019, 6, 7), (61, 77, 104, 17200), "scsi_inst", "viostor",
    [(r"PCI\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00", r"PCI\VEN_1AF4&DEV_1001"),
     (r"PCI\VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01", r"PCI\VEN_1AF4&DEV_1042")],
    {"viostorscsi.devicedesc": "Red Hat VirtIO SCSI controller", "vendor": "Red Hat, Inc."},
    # [scsi_inst.HW]: MessageNumberLimit 256, DevicePolicy 5; [pnpsafe_pci_addreg]: BusType 1
    {**msi(256, DevicePolicy=5), **scsi_service("viostor", 1)})
# %RHELScsi.DeviceDesc% = rhelscsi_inst, PCI\VEN_1AF4&DEV_1004&SUBSYS_00081AF4&REV_00; no compatible id
vioscsi = Package(
    "vioscsi", first + 1, SCSI, "vioscsi.cat", (2018, 8, 3), (61, 76, 104, 16000), "rhelscsi_inst", "vioscsi",
    [(r"PCI\VEN_1AF4&DEV_1004&SUBSYS_00081AF4&REV_00",), (r"PCI\VEN_1AF4&DEV_1048&SUBSYS_11001AF4&REV_01",)],
    {"rhelscsi.devicedesc": "Red Hat VirtIO SCSI pass-through controller", "rhel": "Red Hat, Inc."},
    # DevicePriority 3; BusType 0x0A
    {**msi(256, DevicePolicy=5, DevicePriority=3), **scsi_service("vioscsi", 10)})
# [BALLOON_Device.NT]: the section with its decoration; [BALLOON_Device.NT.CoInstallers] AddReg, of the driver's key
balloon = Package(
    "balloon", first + 3, SYS, "Balloon.cat", (2019, 3, 10), (61, 77, 104, 16900), "BALLOON_Device.NT", "BALLOON",
    [(r"PCI\VEN_1AF4&DEV_1002&SUBSYS_00051AF4&REV_00", r"PCI\VEN_1AF4&DEV_1002"),
     (r"PCI\VEN_1AF4&DEV_1045&SUBSYS_11001AF4&REV_01", r"PCI\VEN_1AF4&DEV_1045")],
    {"balloon.devicedesc": "VirtIO Balloon Driver", "vendor": "Red Hat, Inc."},
    {"Driver": {"CoInstallers32": multi("WdfCoInstaller01009.dll,WdfCoInstaller")}})


def adapter_settings(inf):
    """[kvmnet6.Reg] and [Parameters], which [kvmnet6.ndi]'s AddReg names: HKR is the driver's key, flags are 0: REG_SZ."""
    text = open(inf, encoding="latin-1").read()
    strings = dict((n.lower(), v) for n, v in re.findall(r'^(\S+?) *= *"([^"]*)"', text[text.index("[Strings]"):], re.M))
    settings = {"Driver": {}}
    for section in "kvmnet6.Reg", "Parameters":
        body = re.search(r"^\[" + re.escape(section) + r"\](.*?)^\[", text, re.M | re.S).group(1)
        for line in body.splitlines():
            fields = [f.strip().strip('"') for f in line.split(",", 4)]
            if fields[0] != "HKR":
                continue
            _, sub, name, flags, data = fields
            assert flags == "0", line
            if data.startswith("%"):
                data = strings[data.strip("%").lower()]
            settings.setdefault("Driver" + ("\\" + sub if sub else ""), {})[name] = sz(data)
    return settings


# [kvmnet6.EnableMSI]: 2048, DevicePolicy 0, DevicePriority 2; [TextModeFlags.Reg] is the service's
netkvm = Package(
    "netkvm", first + 2, NET, "netkvm.cat", (2019, 6, 7), (61, 77, 104, 17200), "kvmnet6.ndi", "netkvm",
    [(r"PCI\VEN_1AF4&DEV_1000&SUBSYS_00011AF4&REV_00", r"PCI\VEN_1AF4&DEV_1000"),
     (r"PCI\VEN_1AF4&DEV_1041&SUBSYS_11001AF4&REV_01", r"PCI\VEN_1AF4&DEV_1041")],
    {"kvmnet6.devicedesc": "Red Hat VirtIO Ethernet Adapter", "vendor": "Red Hat, Inc."},
    {**msi(2048, DevicePolicy=0, DevicePriority=2), **adapter_settings(sys.argv[4]),
     r"Services\netkvm": {"TextModeFlags": dword(1)},
     r"Services\netkvm\Parameters": {"DisableMSI": sz("0"), "EarlyDebug": sz("3")}})

if not seven:
    for p in viostor, vioscsi:
        p.in_database(SYSTEM)
    for p in viostor, vioscsi, netkvm, balloon:
        p.in_database(DRIVERS)
viostor.boots(1)
vioscsi.boots(10)
want_gone = set()
if not seven:
    # oem12 and oem13 in what boots; all four in the other
    key(SYSTEM + r"\DriverDatabase", {"OemInfMap": "hex:ff,fc"})
    key(DRIVERS + r"\DriverDatabase", {"OemInfMap": "hex:ff,ff"})
    want_gone = {f"[{hive}\\DriverDatabase] \"OemInfMap\"=hex:ff,f0" for hive in (SYSTEM, DRIVERS)}


def folded(lines):
    """Key and name in lower case; the data as it is."""
    return {re.sub(r'^\[[^]]*\](?: (?:@|"(?:[^"\\]|\\.)*")=)?', lambda m: m.group().lower(), l) for l in lines}


was, now = folded(before), folded(after)
wrong = ([f"missing: {l}" for l in sorted(folded(want) - was - (now - was))]
         + [f"too much: {l}" for l in sorted(now - was - folded(want))]
         + [f"gone: {l}" for l in sorted(was - now - folded(want_gone))]
         + [f"still there: {l}" for l in sorted(folded(want_gone) & now)])
print("\n".join(wrong) or f"{len(now - was)} keys and values, as stated")
sys.exit(bool(wrong))
