# Sourced by scripts: unpacks packages of any suite and processor, without installing them.

skip() { echo "skipped: $*" >&2; exit 77; }

# The mirror that apt is configured with: no address of our own.
debian_mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Component: main' 'Created-By: Packages' \
    "Codename: $(debian_suite)" | head -n 1
}

debian_suite() {
  (. /etc/os-release && echo "$VERSION_CODENAME")
}

# unpack OUT SUITE ARCHITECTURE PACKAGE[=VERSION]...
# apt checks the signature and all hashes, so a version names one file. Dependencies are not taken.
# Packages for all processors are asked for with amd64: the index `all` failed its size check once.
unpack() {
  command -v apt-get > /dev/null || skip "packages come from Debian, and there is no apt-get here"
  mkdir -p "$1"
  target=$(cd "$1" && pwd) suite=$2 architecture=$3
  shift 3
  root=$target/.apt
  rm -rf "$root"
  mkdir -p "$root/etc/apt/preferences.d" "$root/etc/apt/apt.conf.d" \
    "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial"
  : > "$root/status"
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb [signed-by=$keys] $(debian_mirror) $suite main" > "$root/etc/apt/sources.list"
  options="-qq -o Dir=$root -o Dir::State::status=$root/status -o APT::Architecture=$architecture \
    -o APT::Architectures=$architecture -o APT::Sandbox::User=root"
  # shellcheck disable=SC2086  # options are words
  (cd "$root" && apt-get $options update && apt-get $options download "$@") > "$root/log" 2>&1 \
    || { tail -n 2 "$root/log" >&2; skip "$* cannot be had from $suite"; }
  for deb in "$root"/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$target"; done
  rm -rf "$root"
}
