#!/usr/bin/env python3
"""Check a signed APK: what Android demands of it, and what we promise of it.

in:   an APK
out:  a line for each check, `ok` or `BAD` with the reason; exit code 1 if one is bad
use:  check_apk.py dsa-edge-demo.apk        needs aapt and apksigner
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator

from zipalign16 import misaligned

PAGE = 16384  # bytes; Android 15 and later may have such pages
SDK = "34"
ABIS = ("arm64-v8a", "x86_64")
LIBRARIES = {"libc.so"}  # what ours may need of the system
PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5


def output(*command: str) -> str:
    """Standard output of a command; raises CalledProcessError when it fails."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def signature(apk: str) -> str:
    """Signed by the schemes of Android 7 and 9."""
    told = output("apksigner", "verify", "-v", apk)
    for scheme in ("v2 scheme (APK Signature Scheme v2): true", "v3 scheme"):
        if scheme not in told:
            return f"no {scheme} in: {told}"
    return "" if re.search(r"v3 scheme .*: true", told) else "not signed with v3"


def badging(apk: str) -> str:
    """Has a launcher, the versions of Android that we say, and both processors."""
    told = output("aapt", "dump", "badging", apk)
    wanted = [
        "launchable-activity: name='dev.dsaedge.demo.HomeActivity'",
        "sdkVersion:'24'",
        f"targetSdkVersion:'{SDK}'",
        "native-code: " + " ".join(f"'{abi}'" for abi in ABIS),
    ]
    return ", ".join(f"no {line}" for line in wanted if line not in told)


def permissions(apk: str) -> str:
    """Asks for no permission, INTERNET least of all."""
    asked = re.findall(r"uses-permission.*", output("aapt", "dump", "permissions", apk))
    return ", ".join(asked)


def private(apk: str) -> str:
    """No backup, not debuggable, nothing open to other apps but the launcher."""
    tree = output("aapt", "dump", "xmltree", apk, "AndroidManifest.xml")
    problems = []
    if not re.search(r"android:allowBackup\(\w+\)=\(type 0x12\)0x0", tree):
        problems.append("allowBackup is not false")
    if "debuggable" in tree:
        problems.append("debuggable")
    exported = len(re.findall(r"android:exported\(\w+\)=\(type 0x12\)0xffffffff", tree))
    if exported != 1:
        problems.append(f"{exported} exported components, expected the launcher alone")
    if "android.permission.BIND_JOB_SERVICE" not in tree:
        problems.append("the job service is open to all")
    return ", ".join(problems)


def dark(apk: str) -> str:
    """Has a theme and colours for dark mode."""
    told = output("aapt", "dump", "resources", apk)
    return "" if told.count("config night") == 2 else "no dark theme, or no dark colours"


def alignment(apk: str) -> str:
    """Stored entries on 4 bytes, libraries on 16 KB; neither they nor resources packed."""
    problems = misaligned(apk)
    with zipfile.ZipFile(apk) as archive:
        for entry in archive.infolist():
            mapped = entry.filename.endswith((".so", "resources.arsc"))
            if mapped and entry.compress_type != zipfile.ZIP_STORED:
                problems.append(f"{entry.filename} is compressed")
    return ", ".join(problems)


def libraries(apk: str) -> str:
    """One library a processor, with segments on 16 KB pages, that needs Android's libc alone."""
    problems = []
    with zipfile.ZipFile(apk) as archive:
        for abi in ABIS:
            content = archive.read(f"lib/{abi}/libdsaedge.so")
            problems += [f"{abi}: {problem}" for problem in elf_problems(content)]
    return ", ".join(problems)


def elf_problems(content: bytes) -> Iterator[str]:
    """What is wrong with a 64-bit shared library."""
    segments = list(program_headers(content))
    for kind, offset, address, align in segments:
        if kind == PT_LOAD and (align < PAGE or (offset - address) % PAGE):
            yield f"a segment is aligned to {align} bytes, expected {PAGE}"
    needed = set(needed_libraries(content, segments))
    if not needed <= LIBRARIES:
        yield f"needs {', '.join(sorted(needed - LIBRARIES))}"


def program_headers(content: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Type, file offset, address and alignment of each segment."""
    (start,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for i in range(count):
        kind, _, offset, address, _, _, _, align = struct.unpack_from(
            "<IIQQQQQQ", content, start + i * size
        )
        yield kind, offset, address, align


def needed_libraries(content: bytes, segments: list[tuple[int, int, int, int]]) -> Iterator[str]:
    """Names of the libraries that one needs."""
    at = next(offset for kind, offset, _, _ in segments if kind == PT_DYNAMIC)
    entries = []
    while not entries or entries[-1][0] != DT_NULL:
        entries.append(struct.unpack_from("<QQ", content, at))
        at += 16
    names = dict(entries)[DT_STRTAB]  # an address in the first segment, which begins at 0
    for tag, value in entries:
        if tag == DT_NEEDED:
            start = names + value
            yield content[start : content.index(b"\0", start)].decode()


CHECKS: tuple[Callable[[str], str], ...] = (
    signature, badging, permissions, private, dark, alignment, libraries,
)  # fmt: skip


def main(args: list[str]) -> int:
    """Run all checks on the APK that is named."""
    if len(args) != 1:
        print(__doc__)
        return 2
    bad = 0
    for check in CHECKS:
        problem = check(args[0])
        bad += bool(problem)
        print(f"BAD {check.__name__}: {problem}" if problem else f"ok  {check.__doc__}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
