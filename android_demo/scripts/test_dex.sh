#!/bin/sh
# Run the tests of core/, of the app's logic and of its screens on what the APK holds: its dex,
# turned back into classes for a JVM, and its library for this processor.
#
# in:  APK   of build_apk.sh, beside what that left     OUT  folder, made anew
#      what apt-get installs: enjarify unzip openjdk-17-jdk-headless gcc
# out: OUT/app.jar, OUT/tests; a line for each test, then "N passed, N failed"
# exit: 0 all passed, 77 a tool is missing (it is named)
#
# It shows that dx made of the sources what javac does, that the packed library is whole, and that
# the screens do what they should over a stand-in for Android (app/src/fake). It shows nothing of
# Android's own classes, of ART or of bionic.
set -eu

[ $# -eq 2 ] || { echo "usage: $0 APK OUT" >&2; exit 2; }
apk=$(readlink -f "$1") out=$2
built=$(dirname "$apk")
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
for tool in enjarify unzip javac java gcc; do
  command -v "$tool" > /dev/null || { echo "skipped: there is no $tool here" >&2; exit 77; }
done
[ "$(uname -m)" = x86_64 ] || { echo "skipped: the JVM here is not for x86_64" >&2; exit 77; }

rm -rf "$out"
mkdir -p "$out/tests" "$out/system"
unzip -q "$apk" classes.dex 'lib/x86_64/*' -d "$out"
# Debian's enjarify has its module where only the system's own Python looks.
PYTHONPATH=/usr/lib/python3/dist-packages /usr/bin/python3 -m enjarify.main -f \
  -o "$out/app.jar" "$out/classes.dex" > "$out/enjarify.log"

# Tests are compiled against the sources' classes, for a dex has no generic types; they run on the
# dex. Android's own classes come from the stand-in both times.
# shellcheck disable=SC2046  # names without spaces
javac -Xlint:-options -encoding UTF-8 --release 8 -cp "$built/app-classes" -d "$out/tests" \
  $(find "$here/core/src/test" "$here/app/src/test" "$here/app/src/fake" -name '*.java')

# Android's libc.so by name, glibc in truth: the library needs plain C functions alone.
gcc -shared -x c /dev/null -o "$out/system/libc.so" -Wl,-soname,libc.so -Wl,--no-as-needed -lc
LD_LIBRARY_PATH=$out/system java -Xverify:all -Xcheck:jni -Djava.library.path="$out/lib/x86_64" \
  -Dstrings="$here/app/src/main/res/values/strings.xml" \
  -cp "$out/app.jar:$out/tests" dev.dsaedge.RunTests "$out/tests"
