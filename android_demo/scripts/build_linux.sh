#!/bin/sh
# libdsaedge.so with the real native runner, for this machine's JVM.
#
# in:  EXECUTORCH  folder of the installed executorch package      OUT  folder, created if absent
# out: OUT/libdsaedge.so; its folder is printed
# exit: 0 done, 77 a tool or a library's headers are missing (they are named)
set -eu

[ $# -eq 2 ] || { echo "usage: $0 EXECUTORCH OUT" >&2; exit 2; }
out=$2
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
skip() { echo "skipped: $*" >&2; exit 77; }
for tool in javac cmake c++; do
  command -v "$tool" > /dev/null || skip "there is no $tool here"
done
JAVA_HOME=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
export JAVA_HOME

mkdir -p "$out"
cmake -S "$here/core" -B "$out" -DCMAKE_BUILD_TYPE=Release -DEXECUTORCH_ROOT="$1" \
  > "$out/cmake.log" 2>&1 || {
  grep -qE 'Could NOT find|_INCLUDE|REQUIRED' "$out/cmake.log" \
    && skip "headers are missing: $(grep -m 1 -E 'Could NOT find|_INCLUDE' "$out/cmake.log")"
  cat "$out/cmake.log" >&2
  exit 1
}
cmake --build "$out" --target dsaedge --parallel 2 >> "$out/cmake.log" 2>&1 \
  || { tail -n 30 "$out/cmake.log" >&2; exit 1; }
echo "$out"
