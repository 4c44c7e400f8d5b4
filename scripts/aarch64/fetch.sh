#!/bin/sh
# Unpack what runs aarch64 programs on this machine; nothing is installed but the compiler.
#
# in:  OUT      folder, created if absent; what is already there is kept
# out: OUT/emulator (QEMU), OUT/root (libraries and Python of arm64), OUT/site (wheels of aarch64),
#      OUT/jetpack (older ones that JetPack 6 can have), OUT/libcxx (headers for android.sh)
# exit: 0 done, 77 something cannot be had here (the reason is printed)
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
python=${PYTHON:-python3}
skip() { echo "skipped: $*" >&2; exit 77; }

compiler() {
  command -v aarch64-linux-gnu-g++ > /dev/null && return
  echo "the cross compiler is missing: installing Debian's g++-aarch64-linux-gnu" >&2
  [ "$(id -u)" = 0 ] || skip "run: sudo apt-get install g++-aarch64-linux-gnu"
  { apt-get -qq update && apt-get -qq install -y --no-install-recommends g++-aarch64-linux-gnu; } \
    > "$out/apt.log" 2>&1 || skip "g++-aarch64-linux-gnu cannot be installed: see $out/apt.log"
}

# The mirror that apt is configured with: no address of our own.
mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Component: main' 'Created-By: Packages' \
    "Codename: $(. /etc/os-release; echo "$VERSION_CODENAME")" | head -n 1
}

# debs FOLDER SUITE ARCH: unpacks that folder's packages of debs.txt, in a world of apt's own.
debs() {
  folder=$out/$1 suite=$2 arch=$3 apt=$out/.apt-$1
  wanted "$folder" | cmp -s - "$folder/.done" && return
  rm -rf "$folder" "$apt"
  mkdir -p "$folder" "$apt/etc/apt/preferences.d" "$apt/etc/apt/apt.conf.d" \
    "$apt/var/lib/apt/lists/partial" "$apt/var/cache/apt/archives/partial"
  : > "$apt/status"
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb [signed-by=$keys] $(mirror) $suite main" > "$apt/etc/apt/sources.list"
  set -- -o Dir="$apt" -o Dir::State::status="$apt/status" -o APT::Architecture="$arch" \
    -o APT::Architectures="$arch" -o APT::Sandbox::User=root -qq
  (cd "$apt" && apt-get "$@" update) > "$apt/log" 2>&1 \
    || skip "Debian's index of $suite for $arch cannot be read: see $apt/log"
  names=$(wanted "$folder" | sed 's/=.*//')
  # A pinned version that is gone is replaced by the suite's own, and said so: apt checks both.
  (cd "$apt" && { apt-get "$@" download $(wanted "$folder") || {
    echo "not the versions that were tried" && apt-get "$@" download $names; }; }) \
    > "$apt/log" 2>&1 || skip "the packages of $suite for $arch are not all there: see $apt/log"
  grep -s "not the versions" "$apt/log" >&2 || true
  for deb in "$apt"/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$folder"; done
  # The other emulators are 400 MB.
  find "$folder" -path '*/bin/qemu-*' ! -name qemu-aarch64 -delete
  rm -rf "$apt"
  wanted "$folder" > "$folder/.done"
}

# wanted FOLDER: package=version for each of its lines in debs.txt.
wanted() {
  awk -v folder="$(basename "$1")" '$1 == folder { print $4 "=" $5 }' "$here/debs.txt"
}

# wheels FOLDER LIST. They carry one tag or several of these; pip takes only those that it is told.
wheels() {
  cmp -s "$here/$2" "$out/$1/.done" && return
  rm -rf "$out/$1" "$out/wheels"
  mkdir -p "$out/$1"
  folder=$1 list=$2
  set -- --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64
  "$python" -m pip download "$@" --python-version 3.11 --only-binary=:all: --no-deps -q \
    --disable-pip-version-check --require-hashes -r "$here/$list" -d "$out/wheels" \
    > "$out/pip.log" 2>&1 || skip "wheels of aarch64 cannot be had: see $out/pip.log"
  for wheel in "$out"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$out/$folder"; done
  rm -rf "$out/wheels"
  cp "$here/$list" "$out/$folder/.done"
}

command -v apt-get > /dev/null || skip "the tools come from Debian, and there is no apt-get here"
[ "$(uname -m)" = x86_64 ] || skip "the emulator is for x86-64, this machine is $(uname -m)"
compiler
debs emulator trixie amd64
debs root bookworm arm64
debs libcxx bookworm amd64
debs json bookworm amd64
wheels jetpack wheels_jetpack.txt
wheels site wheels.txt
