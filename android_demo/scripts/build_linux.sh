#!/bin/sh
# libdsaedge.so over the real native runner, for this machine's JVM.
#
# in:  RUNNER  libdsa_runner.so, as `make native` leaves it in build/native
#      OUT     folder, created if absent
# out: OUT/libdsaedge.so
# exit: 0 done, 77 a tool is missing (it is named)
set -eu

[ $# -eq 2 ] || { echo "usage: $0 RUNNER OUT" >&2; exit 2; }
runner=$(readlink -f "$1") out=$2
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
for tool in javac cmake c++; do
  command -v "$tool" > /dev/null || { echo "skipped: there is no $tool here" >&2; exit 77; }
done
JAVA_HOME=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
export JAVA_HOME

mkdir -p "$out"
{
  cmake -S "$here/core" -B "$out" -DCMAKE_BUILD_TYPE=Release -DDSA_RUNNER="$runner"
  cmake --build "$out"
} > "$out/cmake.log" 2>&1 || { tail -n 30 "$out/cmake.log" >&2; exit 1; }
