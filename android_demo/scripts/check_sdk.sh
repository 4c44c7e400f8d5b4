#!/bin/sh
# Compile sdk/ with the real Kotlin compiler and coroutines, and run what needs no phone of it.
#
# AndroidX and the Gradle plugin are on Google's Maven alone. So WorkManager is a stub of the shapes
# that we use (sdk/stubs), Android is API 23 to compile and a stand-in (app/src/fake) to run, and
# Gradle's own files are not tried.
#
# in:  OUT   folder, created if absent; test_core.sh and build_apk.sh have been run with
#      CORE  the folder that test_core.sh wrote       TOOLS  the folder that fetch_tools.sh wrote
# out: "N passed, N failed"
# exit: 0 all passed, 77 a tool or the pinned package is missing (it is named)
set -eu

[ $# -eq 3 ] || { echo "usage: $0 CORE TOOLS OUT" >&2; exit 2; }
core=$1 tools=$2 out=$3
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
package=kotlin-compiler version=2.4.20
hash=c23dab400d7ce5ea8b6c909947c0ca5454189e4bb1108695b5f464500e5e950f
skip() { echo "skipped: $*" >&2; exit 77; }
command -v java > /dev/null || skip "there is no java here"

mkdir -p "$out"
[ -d "$out/package/lib" ] || {
  command -v npm > /dev/null || skip "the Kotlin compiler comes from npm, and there is none here"
  (cd "$out" && npm pack --silent "$package@$version" > npm.log 2>&1) \
    || skip "$package $version is gone"
  echo "$hash  $out/$package-$version.tgz" | sha256sum --check --quiet > /dev/null 2>&1 \
    || skip "$package $version is not the file that was tried"
  tar -xzf "$out/$package-$version.tgz" -C "$out" package/lib
  rm "$out/$package-$version.tgz"
}
lib=$out/package/lib
coroutines=$lib/kotlin-stdlib.jar:$lib/kotlinx-coroutines-core-jvm.jar

rm -rf "$out/java" "$out/kotlin" "$out/fake"
mkdir -p "$out/java" "$out/fake"
# shellcheck disable=SC2046  # names without spaces
javac -Xlint:-options -encoding UTF-8 -source 8 -target 8 -bootclasspath "$tools/android.jar" \
  -d "$out/java" $(find "$here/core/src/main/java" "$here/sdk/src/main/java" -name '*.java')
# Android's own java.* is for the compiler of Java alone; Kotlin wants a whole JDK.
# shellcheck disable=SC2046
java -cp "$lib/kotlin-compiler.jar:$coroutines" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler \
  -no-stdlib -no-reflect -Werror -jvm-target 1.8 -Xsuppress-deprecated-jvm-target-warning \
  -classpath "$coroutines:$out/java:$core/classes:$tools/android.jar" -d "$out/kotlin" \
  $(find "$here/sdk/src/main/kotlin" "$here/sdk/src/test" "$here/sdk/stubs" -name '*.kt')
# Android's classes are the stand-in of the screens' tests.
# shellcheck disable=SC2046
javac -Xlint:-options -encoding UTF-8 --release 8 -d "$out/fake" \
  $(find "$here/app/src/fake/java/android" -name '*.java')
java -Djava.library.path="$core/jni" \
  -cp "$coroutines:$out/kotlin:$out/fake:$out/java:$core/classes" dev.dsaedge.android.ChecksKt
