#!/bin/sh
# Android's published ExecuTorch library, made to run under glibc, and our kernels built for it.
#
# in:  OUT      the folder that fetch.sh filled
# out: OUT/android: libexecutorch_jni.so of react-native-executorch, the libraries that it needs,
#      stand-ins for those of Android, libdsa_executorch.so, and program_server; with the word
#      `runner` also native/dsa_runner, which takes minutes
# exit: 0 done, 77 something cannot be had here (the reason is printed), others: a build failed
#
# This is no Android: its loader, allocator, ART and SELinux are absent.
set -eu

[ $# -eq 1 ] || [ "${2-}" = runner ] || { echo "usage: $0 OUT [runner]" >&2; exit 2; }
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
top=$(CDPATH= cd -- "$here/../.." && pwd)
fetched=$(cd "$1" && pwd)
out=$fetched/android
cxx=aarch64-linux-gnu-g++ cc=aarch64-linux-gnu-gcc
python=${PYTHON:-python3}
skip() { echo "skipped: $*" >&2; exit 77; }

# package NAME VERSION SHA256 PATTERN: unpacks what matches of a package of npm.
package() {
  (cd "$out/npm" && npm pack --silent "$1@$2") > "$out/npm.log" 2>&1 \
    || skip "the npm package $1 $2 cannot be had: see $out/npm.log"
  echo "$3  $out/npm/$1-$2.tgz" | sha256sum --check --quiet > /dev/null 2>&1 \
    || skip "the npm package $1 $2 is not the file that was tried"
  tar -xz -C "$out/npm" --wildcards -f "$out/npm/$1-$2.tgz" "$4"
}

# Libraries of 64-bit ARM: ExecuTorch, and two that it needs, which React Native has.
libraries() {
  package react-native-executorch 0.9.3 \
    70a20a865b82f47ac46c82711d93c2038cf99eccbb9b287494219063f2217622 'package/third-party/*'
  package react-native 0.70.15 \
    937d2850f71d42ed4341f0229dc132b95f20c52af290a8557a072e07c2c3d310 '*/react-native-*-release.aar'
  cp "$out/npm/package/third-party/android/libs/executorch/arm64-v8a/libexecutorch.so" \
    "$out/libexecutorch_jni.so"
  "$python" - "$out" <<'END'
import pathlib, sys, zipfile
out = pathlib.Path(sys.argv[1])
(archive,) = out.glob("npm/package/**/react-native-*-release.aar")
for name in ("libfbjni.so", "libc++_shared.so"):
    (out / name).write_bytes(zipfile.ZipFile(archive).read(f"jni/arm64-v8a/{name}"))
END
  "$python" "$here/unversion_elf.py" "$out"/libexecutorch_jni.so "$out"/libfbjni.so \
    "$out"/libc++_shared.so > "$out/unversion.log"
  mv "$out/npm/package/third-party/include" "$out/include"
  rm -rf "$out/npm"
}

# stand_in NAME SOURCE. Each pulls in glibc's own: what Android's library asks of its libm comes
# from there, and nothing else would ask for it.
stand_in() {
  "$cc" -shared -fPIC -O2 -Wall "-Wl,-soname,$1" "$2" -o "$out/$1" -Wl,--no-as-needed -lm -ldl
}

stand_ins() {
  stand_in libc.so "$here/bionic_shim.c"
  : > "$out/empty.c"
  for name in libm.so libdl.so liblog.so libandroid.so; do stand_in "$name" "$out/empty.c"; done
  rm "$out/empty.c"
}

# The C++ library that Android has; with GCC's own, values such as std::variant have another layout,
# and the program aborts.
standard="-nostdinc++ -isystem $fetched/libcxx/usr/lib/llvm-14/include/c++/v1"
standard="$standard -D_LIBCPP_ABI_NAMESPACE=__ndk1"

# compile SOURCE, with it.
compile() {
  "$cxx" $standard -std=c++17 -O2 -fPIC -fvisibility=hidden -fno-math-errno \
    -fno-trapping-math -DC10_USING_CUSTOM_GENERATED_MACROS -DET_USE_THREADPOOL \
    -isystem "$out/include" -I"$top/kernels/native" -c "$1" -o "$out/$(basename "$1" .cpp).o"
}

# link …: by path, so that -lc does not take the stand-in; which comes first all the same, because
# what it defines must be found before glibc's.
link() {
  "$cc" -Wl,--no-as-needed "$out/libc.so" -Wl,--allow-shlib-undefined "$@" \
    "$out/libexecutorch_jni.so" "$out/libc++_shared.so"
  rm -f "$out"/*.o
}

kernels() {
  for source in executorch core/attend core/dispatch core/gated_lowrank core/lane_linear \
    core/isa_baseline core/isa_neon; do compile "$top/kernels/native/$source.cpp"; done
  link -shared -Wl,-soname,libdsa_executorch.so -Wl,-z,max-page-size=16384 "$out"/*.o \
    -o "$out/libdsa_executorch.so"
}

server() {
  compile "$top/tests/aarch64/program_server.cpp"
  link "$out/program_server.o" -o "$out/program_server"
}

# The native runner, learning and store included, without sealing. Two folders of headers are not in
# the package; those of the wheel are of the same classes.
runner() {
  package=$out/executorch
  mkdir -p "$package/lib/arm64-v8a"
  ln -sfn ../include "$package/include"
  ln -sf ../../../libexecutorch_jni.so "$package/lib/arm64-v8a/libexecutorch.so"
  for name in flat_tensor memory_allocator; do
    cp -r "$fetched/site/executorch/include/executorch/extension/$name" \
      "$out/include/executorch/extension/"
  done
  first="-Wl,--no-as-needed $out/libc.so $out/libc++_shared.so -Wl,--as-needed"
  cmake -S "$top/runtime/native" -B "$out/native" \
    --toolchain "$top/cmake/toolchains/aarch64-linux-gnu.cmake" \
    -DEXECUTORCH_ROOT="$package" -DANDROID=ON -DANDROID_ABI=arm64-v8a -DDSA_SEAL=OFF \
    "-DCMAKE_CXX_FLAGS=$standard" \
    "-DCMAKE_EXE_LINKER_FLAGS=$first -Wl,--allow-shlib-undefined" > "$out/native.log" 2>&1 \
    && cmake --build "$out/native" --parallel 2 --target dsa_runner >> "$out/native.log" 2>&1 \
    || { tail -n 20 "$out/native.log" >&2; exit 1; }
}

[ -e "$fetched/libcxx/.done" ] || skip "run $here/fetch.sh $1 first"
command -v npm > /dev/null || skip "the library comes from npm, which is not installed"
if [ ! -e "$out/.done" ]; then
  rm -rf "$out"
  mkdir -p "$out/npm"
  libraries
  touch "$out/.done"
fi
stand_ins
kernels
server
if [ $# -gt 1 ]; then
  command -v cmake > /dev/null || skip "the runner is built by CMake, which is not installed"
  runner
fi
