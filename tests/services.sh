#!/bin/bash
# Install what the tests run against: mosquitto, Prometheus, Chromium and systemd's checker from Debian, and TimescaleDB from
# Debian trixie in a directory of its own, outside the work tree. Safe to run again; the second time it takes no time.
#
#   tests/services.sh install    install what is missing
#   tests/services.sh where      print where TimescaleDB lies
#
# Starting and stopping is done by the fixtures (tests/services.py), each test run with servers of its own.
set -euo pipefail

cache="${CAREBELL_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/carebell}"
trixie="$cache/trixie"
postgres=usr/lib/postgresql/17
export DEBIAN_FRONTEND=noninteractive

say() { echo "services: $*"; }

apt_install() {
    say "installing $*"
    apt-get update -qq </dev/null
    apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}

# We run our own; the one that a package starts would only hold the port.
disable() {
    systemctl disable --now "$1" >/dev/null 2>&1 || service "$1" stop >/dev/null 2>&1 || true
}

install_mosquitto() {
    if ! PATH="$PATH:/usr/sbin" command -v mosquitto >/dev/null; then
        apt_install mosquitto
        disable mosquitto
    fi
    # README's by-hand commands are tested with the clients.
    command -v mosquitto_pub >/dev/null || apt_install mosquitto-clients
}

install_prometheus() {
    if ! command -v promtool >/dev/null; then
        apt_install prometheus
        disable prometheus
    fi
}

# What reads the units of deploy/systemd, and what makes the passwords of deploy/secrets.sh.
install_checkers() {
    command -v systemd-analyze >/dev/null || apt_install systemd
    command -v openssl >/dev/null || apt_install openssl
}

install_chromium() {
    command -v chromium >/dev/null || apt_install chromium
}

# Leave nothing behind of an attempt that was cut off; debootstrap may have left its /proc mounted.
remove_tree() {
    [ -e "$1" ] || return 0
    umount -l "$1/proc" "$1/sys" 2>/dev/null || true
    rm -rf --one-file-system "$1"
}

install_timescaledb() {
    [ -e "$trixie/$postgres/lib/timescaledb.so" ] && return
    command -v debootstrap >/dev/null || apt_install debootstrap
    say "installing TimescaleDB into $trixie (about a minute, once)"
    # In a mount namespace of its own, where that is allowed, no mount can be left behind.
    local apart=()
    unshare --mount true 2>/dev/null && apart=(unshare --mount)
    remove_tree "$trixie"
    remove_tree "$trixie.unfinished"
    if ! "${apart[@]}" debootstrap --variant=minbase --include=postgresql-17-timescaledb trixie \
        "$trixie.unfinished" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} </dev/null >"$cache/debootstrap.log" 2>&1; then
        say "debootstrap failed; the end of $cache/debootstrap.log:" >&2
        tail -n 5 "$cache/debootstrap.log" >&2
        exit 1
    fi
    rm -rf "$trixie.unfinished"/var/cache/apt/archives/*.deb "$trixie.unfinished"/var/lib/apt/lists/*
    mv "$trixie.unfinished" "$trixie"
}

case "${1:-}" in
install)
    if ((EUID)) || ! [ -e /etc/debian_version ] || ! command -v apt-get >/dev/null; then
        say "nothing is installed: that needs root and Debian. The tests use what they find."
        exit 0
    fi
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9 # two test runs at once install once
    install_mosquitto
    install_prometheus
    install_checkers
    install_chromium
    install_timescaledb
    ;;
where)
    echo "$trixie"
    ;;
*)
    sed -n '2,/^set/{/^#/p}' "$0" >&2
    exit 2
    ;;
esac
