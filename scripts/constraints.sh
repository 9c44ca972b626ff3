#!/usr/bin/env bash
# Compiles constraints.txt: the versions that one fresh resolution of `.[all]` gives, names and versions only.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$root[all]"
{
  echo "# Compiled by 'make constraints'; used by 'make install'. Lower bounds stand in pyproject.toml."
  "$work/venv/bin/python" -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' | sort -f
} > "$root/constraints.txt"
echo "constraints.txt: $(grep -c == "$root/constraints.txt") packages"
