#!/bin/sh
# Build dist/ from the last commit, try it, and print how to publish it.
set -eu
cd "$(dirname "$0")/.."
changed=$(git status --porcelain | head -n 1)
if [ -n "$changed" ]; then
    echo "make: the tree differs from the last commit:$changed. Commit or remove these changes first." >&2
    exit 1
fi
rm -rf dist
.venv/bin/python -m build --no-isolation
.venv/bin/twine check --strict dist/*
.venv/bin/python tools/check_wheel.py dist
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
grep -q "^## $version" CHANGELOG.md || echo "CHANGELOG.md has no section $version: rename 'Unreleased', commit, and run make release again."
echo "dist/ is built and tested. To publish version $version:"
echo "    git tag -a v$version -m 'audio-distill $version' && git push origin v$version"
echo "    .venv/bin/twine upload dist/*"
