#!/usr/bin/env bash
# Make .venv from requirements.lock with uv; seconds when nothing has changed. Called by `make setup`.
# Bytecode is compiled here: where PYTHONDONTWRITEBYTECODE is set, each job would compile torch anew (2 s).
set -euo pipefail
cd "$(dirname "$0")/.."

python=
for candidate in ${PYTHON:-python3.12 python3.11 python3}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    version=$("${PYTHON:-python3}" --version 2>/dev/null || echo "no ${PYTHON:-python3}")
    echo "setup: kinetext needs Python 3.11 or 3.12, found $version; install one, or name it: make setup PYTHON=/path/to/python3.12" >&2
    exit 1
fi

stamp=.venv/.installed
digest=$(cat requirements.lock pyproject.toml tools/setup.sh | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ] && .venv/bin/python -c 'import kinetext' 2>/dev/null; then
    exit 0
fi

needed_gib=9  # torch's wheels unpack to 6 GiB, the rest and uv's cache to 3
free_gib=$(($(df --output=avail -k . | tail -n 1) / 1024 / 1024))
if [ ! -d .venv ] && [ "$free_gib" -lt "$needed_gib" ]; then
    echo "setup: $PWD has $free_gib GiB free and the packages need about $needed_gib; free some space and run make setup again" >&2
    exit 1
fi

if [ ! -x .venv/bin/python ]; then
    "$python" -m venv .venv || { rm -rf .venv; echo "setup: '$python -m venv' failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check "$(grep '^uv==' requirements.lock)"
if [ -n "${NEWEST:-}" ]; then  # the newest versions that pyproject.toml allows: what may break tomorrow
    .venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --upgrade --editable '.[cluster,dev]'
else
    .venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python requirements.lock
    .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable .
fi
echo "$digest" > "$stamp"
