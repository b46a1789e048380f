#!/bin/sh
# Check that the system libraries and programs listed in the given files are there (columns: Debian package, library
# or program, reason). What is missing is installed where we are root on a Debian; elsewhere one line says what to run.
# usage: sh workflow_scripts/system_packages.sh packages.txt [packages-cluster.txt ...]
PATH="$PATH:/usr/sbin:/sbin"
libraries=$(ldconfig -p 2>/dev/null)
missing=""
while read -r package brings _reason; do
    case "$package" in "" | "#"*) continue ;; esac
    case "$brings" in
    *.so.*) case "$libraries" in *"$brings "*) continue ;; esac ;;
    *) command -v "$brings" >/dev/null && continue ;;
    esac
    missing="$missing $package"
done <<LIST
$(cat "$@")
LIST

[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing system packages:$missing"
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
else
    echo "system packages are missing; as root run: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
