#!/bin/sh
# Make and repair the environments of `make`. PYTHON is a command or a path; default: the newest supported Python.
#   tools/environment.sh ready [PYTHON]   make .venv from requirements.lock, or repair it; print nothing if it is ready
#   tools/environment.sh fresh [PYTHON]   run the tests in a new environment, from the ranges in pyproject.toml
#   tools/environment.sh docs [PYTHON]    build the documentation site in site/, in a new environment
#   tools/environment.sh lock [PYTHON]    write requirements.lock again
set -eu
unset PYTHONHOME PYTHONPATH
cd "$(dirname "$0")/.."

supported="3.14 3.13 3.12 3.11" # as requires-python in pyproject.toml, the newest first
uv=0.13.9                       # version of the program that writes the lock
stamp=.venv/ready               # written last: the origin of .venv and its content
log=.venv/install.log

fail() {
    echo "make: $*" >&2
    exit 1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

is_supported() {
    case " $supported " in *" $1 "*) ;; *) false ;; esac
}

# Set python and version.
find_python() {
    needed="Python 3.11, 3.12, 3.13 or 3.14 is needed; choose one with: make PYTHON=python3.11"
    if [ -n "$asked" ]; then
        python=$asked version=$(version_of "$asked")
        [ -n "$version" ] || fail "PYTHON=$asked does not run. $needed"
        is_supported "$version" || fail "PYTHON=$asked is Python $version. $needed"
    else
        for name in $supported ""; do
            python=python${name:-3} version=$(version_of "python${name:-3}")
            if is_supported "$version"; then break; fi
        done
        [ -n "$version" ] || fail "python3 was not found. $needed"
        is_supported "$version" || fail "python3 is Python $version. $needed"
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python $version ($python) lacks the modules venv and ensurepip, which create environments." \
            "Install them (Debian, Ubuntu: apt install python$version-venv), or choose another Python with: make PYTHON=..."
}

# make_environment FOLDER
make_environment() {
    output=$("$python" -m venv --clear "$1" 2>&1) ||
        fail "Python $version cannot make the environment $1: $(echo "$output" | tail -n 1)"
}

# install ARGUMENT...: install into .venv; a failure becomes one line.
install() {
    .venv/bin/python -I -m pip install "$@" >>"$log" 2>&1 && return
    reason=$(grep -i '^ *error' "$log" | grep -v 'Exception:$' | head -n 1)
    reason=${reason:-$(tail -n 1 "$log")}
    if grep -q 'after connection broken' "$log" && echo "$reason" | grep -Eiq 'could not find|no matching|connection|timed out'; then
        fail "the packages could not be fetched: the package index does not answer." \
            "Check the network and pip's settings (pip config list), then run make again. The output of pip is in $log"
    fi
    fail "pip failed: ${reason%.}. The output of pip is in $log"
}

# Print the first lines of the stamp.
origin() {
    echo "folder $(pwd -P)"
    echo "python $1"
    echo "requirements.lock $(cksum <requirements.lock)"
}

project() {
    echo "pyproject.toml $(cksum <pyproject.toml)"
}

contents() {
    (cd .venv && for entry in bin/* lib/python*/site-packages/*; do echo "holds $entry"; done | grep -v '__pycache__$')
}

# Print why .venv must be made again; print nothing if it is valid.
fault() {
    [ -e .venv ] || [ -L .venv ] || { echo "it does not exist" && return; }
    [ -f "$stamp" ] || { echo "it is not complete" && return; }
    has=$(version_of .venv/bin/python)
    [ -n "$has" ] || { echo "its Python does not run" && return; }
    [ -z "$asked" ] || [ "$has" = "$version" ] || { echo "it has Python $has, not $version" && return; }
    is_supported "$has" || { echo "it has Python $has, which is not supported" && return; }
    [ -s "$stamp" ] || { echo "it was made by an older version of this repository" && return; }
    grep -qxF "folder $(pwd -P)" "$stamp" || { echo "it was made in another folder" && return; }
    origin "$has" | while read -r line; do
        grep -qxF "$line" "$stamp" || { echo "${line%% *} has changed" && return; }
    done
    sed -n 's/^holds //p' "$stamp" | while read -r entry; do
        [ -e ".venv/$entry" ] || { echo "$entry is missing from it" && return; }
    done
}

ready() {
    if [ -n "$asked" ]; then find_python; fi
    reason=$(fault | head -n 1)
    if [ -z "$reason" ] && grep -qxF "$(project)" "$stamp"; then return; fi
    if [ -n "$reason" ]; then
        find_python
        echo "Making .venv with Python $version from requirements.lock, because $reason. This takes some minutes and 6 GB." >&2
        rm -f "$stamp"
        make_environment .venv
        install --require-hashes --requirement requirements.lock
    else
        echo "Installing the project into .venv again, because pyproject.toml has changed." >&2
        version=$(version_of .venv/bin/python)
        rm -f "$stamp" "$log"
    fi
    install --no-deps --no-build-isolation --editable .
    output=$(.venv/bin/python -I -m pip check 2>&1) ||
        fail "requirements.lock does not match pyproject.toml; run make lock. pip check: $(echo "$output" | head -n 1)"
    output=$(.venv/bin/python -I -c 'import distill; [getattr(distill, name) for name in distill.__all__]' 2>&1) ||
        fail "distill cannot be imported from .venv: $(echo "$output" | tail -n 1)"
    { origin "$version" && project && contents; } >"$stamp.new"
    mv "$stamp.new" "$stamp"
    echo ".venv is ready." >&2
}

# Set temporary, a folder that is removed at the end.
make_temporary() {
    temporary=$(mktemp -d)
    trap 'rm -rf "$temporary"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

fresh() {
    find_python
    make_temporary
    make_environment "$temporary"
    "$temporary/bin/python" -I -m pip install --quiet --editable '.[dev]'
    "$temporary/bin/python" -I -m pip check
    "$temporary/bin/python" -I - <<'END'
import platform
from importlib.metadata import version

names = ["torch", "torchaudio", "transformers", "lightning", "numpy", "faiss-cpu", "jsonargparse"]
print("The newest set:", ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]))
END
    "$temporary/bin/python" -m pytest
}

docs() {
    find_python
    make_temporary
    make_environment "$temporary"
    "$python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
        >"$temporary/docs.txt"
    "$temporary/bin/python" -I -m pip install --quiet --requirement "$temporary/docs.txt"
    NO_MKDOCS_2_WARNING=1 "$temporary/bin/python" -I -m mkdocs --quiet build # a hint at the successor of MkDocs
    echo "The site is in $(pwd)/site."
}

lock() {
    find_python
    make_temporary
    make_environment "$temporary"
    "$temporary/bin/python" -I -m pip install --quiet "uv==$uv"
    "$temporary/bin/uv" pip compile --quiet --universal --upgrade --python-version "${supported##* }" --extra dev \
        --generate-hashes --no-annotate --no-emit-index-url --custom-compile-command 'make lock' \
        --output-file requirements.lock pyproject.toml
}

asked=${2:-}
case ${1:-} in
ready | fresh | docs | lock) "$1" ;;
*) fail "usage: tools/environment.sh ready|fresh|docs|lock [PYTHON]" ;;
esac
