#!/bin/sh
# Installs the real mail server that the tests run against, into target/smtpd-venv.
# Does nothing if it is there already. Needs python3 with venv and pip.
set -eu

cd "$(dirname "$0")/.."
venv=target/smtpd-venv

if "$venv/bin/python" -c 'import aiosmtpd' 2>/dev/null; then
    exit 0
fi
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check aiosmtpd==1.4.6
