#!/usr/bin/env bash
# Prints the path of each Python that is asked for (`.ci/pythons.sh 3.10 3.13`) and is here; the others on stderr.
# A pyenv shim is on PATH for every version, and runs only those that are active: hence the trial.
set -euo pipefail

runs() { "$1" -c "import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$2')" 2>/dev/null; }

for version in "$@"; do
    found=
    for candidate in "$(command -v "python$version" || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python; do
        if [ -x "$candidate" ] && runs "$candidate" "$version"; then
            found=$candidate
            break
        fi
    done
    if [ -n "$found" ]; then echo "$found"; else echo "Python $version is not here: its tests do not run." >&2; fi
done
