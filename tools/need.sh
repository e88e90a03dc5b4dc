#!/usr/bin/env bash
# need.sh PROGRAM PACKAGE... makes sure that PROGRAM is on this machine: it installs the Debian packages when run as
# root where there is apt-get, and otherwise says what to install.
set -euo pipefail

program=$1
shift
if command -v "$program" >/dev/null; then
	exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "$program is missing; install it (on Debian: sudo apt-get install $*)" >&2
	exit 1
fi
echo "installing $* with apt-get"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@" >/dev/null
