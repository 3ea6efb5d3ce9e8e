#!/bin/bash
# Make the secrets that compose.yaml names, in the directory secrets beside this file. Safe to run again: what is there stays.
#
#   deploy/secrets.sh                     make what is missing
#   deploy/secrets.sh device BELL-0001    give a device a login; its password is printed this once
#
# Only their owner may enter the directory. The files in it are open to all, because every container reads its own under a
# user id of its own, and compose hands files over with the rights that they have here.
set -euo pipefail
umask 022
cd "$(dirname "$(readlink -f "$0")")"

# Letters, digits, - and _ only, so that a password may stand in a URL.
new_password() {
    openssl rand -base64 24 | tr '+/' '-_'
}

# As mosquitto_passwd does: PBKDF2 with SHA-512, 101 rounds, 12 bytes of salt.
login() {
    local salt hexsalt key
    salt="$(openssl rand -base64 12)"
    hexsalt="$(base64 -d <<<"$salt" | od -An -tx1 | tr -d ' \n')"
    key="$(openssl kdf -keylen 64 -kdfopt digest:SHA512 -kdfopt iter:101 -kdfopt "hexsalt:$hexsalt" \
        -kdfopt "pass:$2" -binary PBKDF2 | base64 -w 0)"
    echo "$1:\$7\$101\$$salt\$$key"
}

# Write the secret $1 with the text $2 and nothing behind it, unless it is there.
put() {
    [ -e "secrets/$1" ] && return
    printf '%s' "$2" >"secrets/$1.unfinished"
    mv "secrets/$1.unfinished" "secrets/$1"
    echo "made $PWD/secrets/$1"
}

make_all() {
    local name new
    mkdir -p secrets
    chmod 700 secrets
    for name in postgres_password database_password grafana_database_password grafana_admin_password broker_password; do
        new="$(new_password)"
        put "$name" "$new"
    done
    new="$(login carebell "$(<secrets/broker_password)")"
    put broker_logins "$new"$'\n'
    put carebell.toml "# Read by carebell in its container, beside the variables that compose.yaml sets.

[database]
url = \"postgresql://carebell:$(<secrets/database_password)@timescaledb:5432/carebell\"
"
}

add_device() {
    local password new
    [[ "$1" =~ ^[A-Za-z0-9_-]{1,64}$ ]] || { echo "$1: a device id is 1 to 64 of A-Z a-z 0-9 _ -" >&2; exit 2; }
    if grep -q "^$1:" secrets/broker_logins; then
        echo "$1 has a login: to make a new one, first remove its line from $PWD/secrets/broker_logins" >&2
        exit 1
    fi
    password="$(new_password)"
    new="$(login "$1" "$password")"
    # Appended, for the container would not see a file that is put in this one's place.
    echo "$new" >>secrets/broker_logins
    echo "$1 $password"
    echo "tell the broker: docker compose kill --signal HUP mosquitto" >&2
}

case "$#:${1:-}" in
0:) make_all ;;
2:device) make_all && add_device "$2" ;;
*)
    sed -n '2,/^set/{/^#/p}' "$(basename "$0")" >&2
    exit 2
    ;;
esac
