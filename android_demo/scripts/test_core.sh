#!/bin/sh
# Compile core/ and the app's logic, and run their tests on this machine's JVM.
#
# in:  OUT   folder, created if absent
#      DSA_SIMULATED  OFF: the real native runner in place of the stand-in
#      DSA_SANITIZE   ON: GCC's address and undefined-behaviour sanitizers watch the C++
# out: OUT/classes, OUT/jni/libdsaedge.so; a line for each test, then "N passed, N failed"
# exit: 0 all passed, 77 a tool is missing (it is named)
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
out=$1
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
for tool in javac java cmake; do
  command -v "$tool" > /dev/null || { echo "skipped: there is no $tool here" >&2; exit 77; }
done
# Where jni.h is; CMake looks there.
JAVA_HOME=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
export JAVA_HOME

flags= preload=
if [ "${DSA_SANITIZE:-OFF}" = ON ]; then
  flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined -g"
  preload=$(gcc -print-file-name=libasan.so) # the JVM is not built with it, so it comes first
fi

mkdir -p "$out/classes"
cmake -S "$here/core" -B "$out/jni" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_C_FLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" \
  -DDSA_SIMULATED="${DSA_SIMULATED:-ON}" > "$out/cmake.log"
cmake --build "$out/jni" >> "$out/cmake.log" || { tail -n 30 "$out/cmake.log" >&2; exit 1; }

# -Xlint:-options: javac 17 finds Java 8 old, and phones want it.
find "$here/core/src" "$here/app/src/main/java/dev/dsaedge/demo/logic" "$here/app/src/test" \
  -name '*.java' > "$out/sources"
javac -Xlint:all,-options -Werror -encoding UTF-8 --release 8 -d "$out/classes" "@$out/sources"

# The JVM catches faults of its own and keeps what it has until the end: the first is no fault, the
# second no leak. -Xcheck:jni reports wrong use of the border.
LD_PRELOAD=$preload ASAN_OPTIONS=handle_segv=0:allow_user_segv_handler=1:detect_leaks=0 \
  java -Xcheck:jni -Djava.library.path="$out/jni" -cp "$out/classes" \
  dev.dsaedge.RunTests "$out/classes"
