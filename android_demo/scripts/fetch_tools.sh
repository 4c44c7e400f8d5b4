#!/bin/sh
# Unpack what building an APK needs and this Debian has no package of; nothing is installed.
#
# in:  OUT      folder, created if absent
# out: OUT/android.jar (API 23), OUT/dx.jar (dex compiler), OUT/framework-res.apk (resources, API 33)
# exit: 0 done, 77 a pinned package is gone or no longer the one that was tried (the reason is printed)
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
out=$1
skip() { echo "skipped: $*" >&2; exit 77; }

command -v apt-get > /dev/null || skip "the packages come from Debian, and there is no apt-get here"
mkdir -p "$out/unpacked"

# The mirror that apt is configured with: no address of our own.
mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Component: main' 'Created-By: Packages' \
    "Codename: $(. /etc/os-release; echo "$VERSION_CODENAME")" | head -n 1
}

# fetch SUITE PACKAGE VERSION SHA256: downloads and unpacks one package of another suite.
# The index `all` failed its size check once, so packages for all machines are asked for with amd64.
fetch() {
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  mkdir -p "$root/etc/apt/preferences.d" "$root/etc/apt/apt.conf.d" \
    "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial"
  : > "$root/status"
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb [signed-by=$keys] $(mirror) $1 main" > "$root/etc/apt/sources.list"
  set -- "$@" -o Dir="$root" -o Dir::State::status="$root/status" -o APT::Architecture=amd64 \
    -o APT::Architectures=amd64 -o APT::Sandbox::User=root
  suite=$1 package=$2 version=$3 hash=$4
  shift 4
  (cd "$root" && apt-get "$@" -qq update && apt-get "$@" -qq download "$package=$version") \
    > "$root/log" 2>&1 || { tail -n 2 "$root/log" >&2; skip "$package $version is not in $suite"; }
  echo "$hash  $(ls "$root"/*.deb)" | sha256sum --check --quiet > /dev/null 2>&1 \
    || skip "$package $version is not the file that was tried"
  dpkg-deb -x "$root"/*.deb "$out/unpacked"
  rm -rf "$root"
}

[ -s "$out/android.jar" ] || {
  fetch bullseye libandroid-23-java 6.0.1+r72-6 \
    8af1b6df556971dda0a6da3536ea526a838e0c363afcdd454213d8bce94793e3
  cp "$out"/unpacked/usr/share/java/com.android.android-23.jar "$out/android.jar"
}
[ -s "$out/dx.jar" ] || {
  fetch bullseye dalvik-exchange 10.0.0+r36-1 \
    8fc128db7c27253d963eb9b33de79b197162a4749d2ba69019b2fd0664cbd7fe
  cp "$out"/unpacked/usr/share/java/com.android.dx-10.0.0.jar "$out/dx.jar"
}
[ -s "$out/framework-res.apk" ] || {
  fetch trixie android-framework-res 1:14~beta1-3 \
    2813eeaa722b1fc67d66701ddb6111d4b74f84df20974c220da04b0ef5f4c1c8
  cp "$out"/unpacked/usr/share/android-framework-res/framework-res.apk "$out/framework-res.apk"
}
rm -rf "$out/unpacked"
