#!/bin/sh
# mypy over dsa_edge as Python sees it: the sibling folders are its sub-packages (pyproject.toml).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/dsa_edge"
for entry in "$root"/dsa_edge/*; do ln -s "$entry" "$tree/dsa_edge/"; done
for package in exporters kernels runtime; do ln -s "$root/$package" "$tree/dsa_edge/$package"; done
cd "$tree"
MYPYPATH="$tree" mypy --config-file "$root/pyproject.toml" -p dsa_edge "$@"
