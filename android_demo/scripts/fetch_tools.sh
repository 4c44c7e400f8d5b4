#!/bin/sh
# Unpack what building an APK needs and this Debian has no package of; nothing is installed.
#
# in:  OUT      folder, created if absent; what is already there is kept
# out: OUT/android.jar (API 23), OUT/dx.jar (dex compiler), OUT/framework-res.apk (API 33)
# exit: 0 done, 77 a pinned package is gone (it is named)
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
. "$(dirname -- "$0")/debian.sh"
out=$1 unpacked=$1/unpacked

[ -s "$out/android.jar" ] && [ -s "$out/dx.jar" ] || {
  unpack "$unpacked" bullseye amd64 libandroid-23-java=6.0.1+r72-6 dalvik-exchange=10.0.0+r36-1
  mv "$unpacked/usr/share/java/com.android.android-23.jar" "$out/android.jar"
  mv "$unpacked/usr/share/java/com.android.dx-10.0.0.jar" "$out/dx.jar"
}
[ -s "$out/framework-res.apk" ] || {
  unpack "$unpacked" trixie amd64 android-framework-res=1:14~beta1-3
  mv "$unpacked/usr/share/android-framework-res/framework-res.apk" "$out/framework-res.apk"
}
rm -rf "$unpacked"
