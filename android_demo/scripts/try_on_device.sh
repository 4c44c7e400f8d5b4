#!/bin/sh
# Install the demo app on a phone and see whether it starts. For a person with a device: we ran it
# on none.
#
# in:  APK     of `make apk` (simulated runner) or of Gradle
#      SERIAL  of the phone, if there are some
#      adb, and a phone with USB debugging
# out: what the phone is, its page size, and `started` or the crash; then the app is open
set -eu

[ $# -ge 1 ] || { echo "usage: $0 APK [SERIAL]" >&2; exit 2; }
command -v adb > /dev/null \
  || { echo "adb is missing: install Android's platform tools" >&2; exit 2; }
phone() { adb ${serial:+-s "$serial"} "$@"; }
apk=$1 serial=${2:-} app=dev.dsaedge.demo

echo "phone    $(phone shell getprop ro.product.model), Android $(phone shell getprop \
  ro.build.version.release), $(phone shell getprop ro.product.cpu.abi), pages of $(phone shell \
  getconf PAGE_SIZE) bytes"
phone install -r "$apk"
phone logcat -c
phone shell am start -W -n "$app/.HomeActivity"
sleep 3
phone logcat -d -s AndroidRuntime:E DEBUG:F linker:E > crash.log
if phone shell pidof "$app" > /dev/null; then
  echo "started; permissions: $(phone shell dumpsys package $app | grep -c uses-permission || true)"
  echo "Then: import a bundle, add examples, learn. 'Learn tonight' runs now with"
  echo "  adb shell cmd jobscheduler run -f $app 1"
else
  echo "it did not start; crash.log says:"
  cat crash.log
  exit 1
fi
