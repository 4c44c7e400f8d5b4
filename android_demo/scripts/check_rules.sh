#!/bin/sh
# Shrink and rename core/ as an app's release build does, with no rules but those that the library
# brings, and learn with what is left.
#
# ProGuard reads the rules as R8 does, but is not R8.
#
# in:  CORE  the folder that test_core.sh wrote      TOOLS  the folder that fetch_tools.sh wrote
#      OUT   folder, created if absent
#      what apt-get installs: proguard-cli
# out: what a fit of three steps says
# exit: 0 done, 77 a tool is missing (it is named)
set -eu

[ $# -eq 3 ] || { echo "usage: $0 CORE TOOLS OUT" >&2; exit 2; }
core=$1 tools=$2 out=$3
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
for tool in proguard java; do
  command -v "$tool" > /dev/null || { echo "skipped: there is no $tool here" >&2; exit 77; }
done

mkdir -p "$out"
rm -f "$out/release.jar"
# The app's own entry is kept, as Android's manifest rules keep activities.
proguard -injars "$core/classes" -outjars "$out/release.jar" -libraryjars "$tools/android.jar" \
  -include "$here/sdk/consumer-rules.pro" -printmapping "$out/mapping.txt" \
  -dontnote -ignorewarnings \
  -keep 'class dev.dsaedge.Drive { public static void main(java.lang.String[]); }' \
  > "$out/proguard.log" 2>&1 || { tail -n 5 "$out/proguard.log" >&2; exit 1; }
grep -q '^dev.dsaedge.Personalizer -> dev.dsaedge.[a-z]*:' "$out/mapping.txt" \
  || { echo "nothing was renamed, so nothing is shown" >&2; exit 1; }
echo '{"prompt": "It was", "response": " great"}' > "$out/examples.jsonl"
for arguments in "fit 3 $out/examples.jsonl" "rollback 99"; do
  # shellcheck disable=SC2086  # words
  java -Djava.library.path="$core/jni" -cp "$out/release.jar" dev.dsaedge.Drive smol.dsa - \
    $arguments || [ "$arguments" = "rollback 99" ]
done
