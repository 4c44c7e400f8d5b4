#!/bin/sh
# Install dsa-edge on a Jetson or another aarch64 Linux board, in a folder of its own.
#
# in:  [DIR]   where it goes (default: ~/dsa-edge)
# out: DIR/bin/dsa-edge, and what `dsa-edge doctor` says
# use: sh scripts/jetson_install.sh && ~/dsa-edge/bin/dsa-edge bench smol.dsa
#
# Needs Python 3.10 or newer with venv, and g++ for the kernels; nothing is installed outside DIR,
# and nothing as root. The processor runs everything: CUDA is not used.
# Not run on a board by us; its packages ran as aarch64 under an emulator (docs/jetson.md).
set -eu

case "${1:-}" in -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
dir=${1:-$HOME/dsa-edge}
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
python=${PYTHON:-python3}
fail() { echo "jetson_install: $*" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || fail "this is for Linux, found $(uname -s)"
[ "$(uname -m)" = aarch64 ] \
  || fail "expected an aarch64 board, found $(uname -m): elsewhere run \`pip install $here\`"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null \
  || fail "$python is older than 3.10 or missing: set PYTHON, as PYTHON=python3.10 (JetPack 6 has it)"
"$python" -c 'import ensurepip, venv' 2> /dev/null \
  || fail "$python has no venv: sudo apt-get install python3-venv"
command -v g++ > /dev/null \
  || echo "jetson_install: no g++: the adapter will run on standard operators, slower" >&2
[ "$(df -Pk "$(dirname "$dir")" | awk 'NR == 2 { print $4 }')" -gt 600000 ] \
  || fail "less than 600 MB are free at $dir: free some, or give another folder"

# A second run takes up what the first one left, and brings what is there up to date.
[ -x "$dir/bin/python" ] || "$python" -m venv "$dir"
"$dir/bin/python" -m pip install -q --upgrade pip
# Python 3.10 takes ONNX Runtime 1.23, its last. CMake comes as a wheel, to build the kernels with.
"$dir/bin/python" -m pip install -q --upgrade cmake "$here[onnx,seal]"
"$dir/bin/dsa-edge" doctor
echo "installed: $dir/bin/dsa-edge bench BUNDLE"
