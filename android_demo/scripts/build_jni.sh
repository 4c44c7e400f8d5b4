#!/bin/sh
# libdsaedge.so for a phone without an NDK: the Java border over the simulated runner.
#
# The real library needs the NDK (sdk/build.gradle.kts). This one calls a handful of plain C
# functions alone, so Linux's compiler can build it: against a stub of Android's libc.so, with no
# C++ library, no threads and no unwinding. It tries the app's screens; it learns nothing.
#
# in:  CXX  aarch64-linux-gnu-g++ or g++      OUT  the file to write
# exit: 0 done, 77 the compiler is missing
set -eu

[ $# -eq 2 ] || { echo "usage: $0 CXX OUT" >&2; exit 2; }
cxx=$1 out=$2
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
for tool in "$cxx" javac; do
  command -v "$tool" > /dev/null || { echo "skipped: there is no $tool here" >&2; exit 77; }
done
java_home=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# All that may be left undefined: what Android's libc.so has as a plain function.
for name in calloc free malloc memcpy memset strcmp strlen strstr usleep; do
  echo "void $name(void) {}"
done > "$work/libc.c"
"$cxx" -x c -fno-builtin -shared -nostdlib -Wl,-soname,libc.so "$work/libc.c" -o "$work/libc.so"

case $cxx in aarch64*) arch=-mno-outline-atomics ;; *) arch= ;; esac
flags="-O2 -fPIC -fvisibility=hidden -fno-stack-protector -U_FORTIFY_SOURCE $arch \
  -I$here/../runtime/native/include -I$java_home/include -I$java_home/include/linux"
for source in "$here"/core/src/simulated/*.c; do
  # shellcheck disable=SC2086
  "$cxx" -x c -std=c11 -D_DEFAULT_SOURCE $flags -c "$source" -o "$work/$(basename "$source").o"
done
for source in "$here"/core/src/main/cpp/*.cpp; do
  # shellcheck disable=SC2086
  "$cxx" -std=c++17 -fno-exceptions -fno-rtti $flags -c "$source" \
    -o "$work/$(basename "$source").o"
done
mkdir -p "$(dirname "$out")"
"$cxx" -shared -nostdlib "$work"/*.o "$work/libc.so" -Wl,-soname,libdsaedge.so \
  -Wl,-z,max-page-size=16384 -Wl,--hash-style=both -Wl,--no-undefined -Wl,--strip-all -o "$out"
