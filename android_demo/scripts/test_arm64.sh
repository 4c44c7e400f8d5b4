#!/bin/sh
# Run the tests of core/ on what a phone gets: the APK's dex and its 64-bit ARM library, in an ARM
# JVM under an emulator. Not in CI: it fetches 50 MB.
#
# in:  DEX   the folder that test_dex.sh wrote (app.jar, tests)    APK  of build_apk.sh
#      OUT   folder, created if absent
#      what apt-get installs: qemu-user-static unzip gcc-aarch64-linux-gnu
# out: a line for each test, then "N passed, N failed"
# exit: 0 all passed, 77 a tool is missing (it is named)
set -eu

[ $# -eq 3 ] || { echo "usage: $0 DEX APK OUT" >&2; exit 2; }
. "$(dirname -- "$0")/debian.sh"
dex=$1 apk=$2
mkdir -p "$3"
out=$(cd "$3" && pwd)
for tool in qemu-aarch64-static unzip aarch64-linux-gnu-gcc; do
  command -v "$tool" > /dev/null || skip "there is no $tool here"
done

[ -e "$out/root/.done" ] || {
  unpack "$out/root" "$(debian_suite)" arm64 \
    libc6 libgcc-s1 libstdc++6 openjdk-17-jre-headless zlib1g
  touch "$out/root/.done"
}
rm -rf "$out/lib" "$out/system"
mkdir -p "$out/system"
unzip -q "$apk" 'lib/arm64-v8a/*' -d "$out"
aarch64-linux-gnu-gcc -shared -x c /dev/null -o "$out/system/libc.so" -Wl,-soname,libc.so \
  -Wl,--no-as-needed -lc
java=$out/root/usr/lib/jvm/java-17-openjdk-arm64/bin/java
# -Xint: compiling takes longer than it saves here.
qemu-aarch64-static -cpu cortex-a76 -L "$out/root" \
  -E "LD_LIBRARY_PATH=$out/system:$out/root/usr/lib/aarch64-linux-gnu" "$java" -Xint \
  -XX:-UsePerfData -Djava.library.path="$out/lib/arm64-v8a" \
  -Dstrings="$(dirname -- "$0")/../app/src/main/res/values/strings.xml" \
  -cp "$dex/app.jar:$dex/tests" dev.dsaedge.RunTests "$dex/tests"
