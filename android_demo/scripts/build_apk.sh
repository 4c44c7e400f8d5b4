#!/bin/sh
# Build, align and sign the demo app with Debian's tools: no NDK, no Gradle, no AndroidX.
#
# in:  OUT   folder, created if absent
#      what apt-get installs: aapt apksigner openjdk-17-jdk-headless zip g++ g++-aarch64-linux-gnu
# out: OUT/dsa-edge-demo.apk   for arm64-v8a and x86_64, with the simulated runner; signed with
#                              a key that is made in OUT: for trying, not for a store
#      OUT/classes.dex         what is in it
# exit: 0 done, 77 a tool or a pinned package is missing (it is named)
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
scripts=$here/scripts app=$here/app/src/main
sdk="--min-sdk-version 24 --target-sdk-version 34"

for tool in aapt apksigner javac keytool zip python3; do
  command -v "$tool" > /dev/null || { echo "skipped: there is no $tool here" >&2; exit 77; }
done
"$scripts/fetch_tools.sh" "$out/tools"
"$scripts/build_jni.sh" aarch64-linux-gnu-g++ "$out/lib/arm64-v8a/libdsaedge.so"
"$scripts/build_jni.sh" g++ "$out/lib/x86_64/libdsaedge.so"

rm -rf "$out/generated" "$out/app-classes" "$out/unsigned.apk"
mkdir -p "$out/generated" "$out/app-classes"
# Libraries are mapped from the APK; with Gradle `useLegacyPackaging = false` says so.
sed 's/<application/<application android:extractNativeLibs="false"/' "$app/AndroidManifest.xml" \
  > "$out/AndroidManifest.xml"
resources() {
  # shellcheck disable=SC2086
  aapt package -f -M "$out/AndroidManifest.xml" -S "$app/res" -I "$out/tools/framework-res.apk" \
    $sdk "$@"
}
resources -m -J "$out/generated"

# Against Android's own classes (API 23), so that nothing of the JDK's alone is used.
find "$here/core/src/main/java" "$here/sdk/src/main/java" "$app/java" "$out/generated" \
  -name '*.java' > "$out/app-sources"
javac -Xlint:all,-options,-deprecation -Werror -encoding UTF-8 -source 8 -target 8 \
  -bootclasspath "$out/tools/android.jar" -d "$out/app-classes" "@$out/app-sources"
java -cp "$out/tools/dx.jar" com.android.dx.command.Main --dex --min-sdk-version=24 \
  --output="$out/classes.dex" "$out/app-classes"

resources -F "$out/unsigned.apk"
(cd "$out" && zip -q -X unsigned.apk classes.dex && zip -q -X -0 -r unsigned.apk lib)
python3 "$scripts/zipalign16.py" "$out/unsigned.apk" "$out/aligned.apk"
[ -s "$out/test.p12" ] || keytool -genkeypair -keystore "$out/test.p12" -storetype PKCS12 \
  -storepass changeit -alias test -keyalg RSA -keysize 2048 -validity 10000 -dname CN=test \
  2> "$out/keytool.log"
apksigner sign --ks "$out/test.p12" --ks-pass pass:changeit --min-sdk-version 24 \
  --out "$out/dsa-edge-demo.apk" "$out/aligned.apk"
rm "$out/unsigned.apk" "$out/aligned.apk"
echo "$out/dsa-edge-demo.apk"
