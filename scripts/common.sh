# shellcheck shell=bash
# What scripts/demo, scripts/test and scripts/lint share. They source it.

set -euo pipefail
umask 077
export LC_ALL=C.UTF-8
PATH=$PATH:/usr/sbin:/sbin

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
if [[ -n ${PG_CONFIG:-} ]]; then
  PG_CONFIG=$(realpath -s "$(command -v "$PG_CONFIG" || printf %s "$PG_CONFIG")")
fi
# The caller's settings for other servers and builds must not reach ours.
for name in "${!PG@}"; do
  [[ $name == PG_CONFIG ]] || unset "$name"
done
unset name DESTDIR MAKEFLAGS MAKELEVEL MFLAGS
cd /

say() { printf '==> %s\n' "$*"; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Runs a command as root, with the usual umask: what it installs is for all.
as_root() {
  if ((EUID == 0)); then
    (umask 022 && "$@")
  else
    (umask 022 && sudo -- "$@")
  fi
}

# Runs a command as the user the server runs as. PostgreSQL refuses to run as
# root, so root uses the user that Debian's package creates.
server_user=$(id -un)
((EUID != 0)) || server_user=postgres
as_server() {
  if ((EUID == 0)); then
    runuser -u "$server_user" -- env -u TMPDIR HOME=/ "$@"
  else
    "$@"
  fi
}

#
# Packages
#

missing=()
updated=false

# want PACKAGE COMMAND...: the package is missing if the command fails.
want() {
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}

install_missing() {
  ((${#missing[@]})) || return 0
  local by_hand="apt-get install ${missing[*]}" log
  command -v apt-get >/dev/null ||
    die "these Debian packages, or what this system has in their place, are missing: ${missing[*]}. Install them, then run this again."
  if ((EUID != 0)) && ! command -v sudo >/dev/null; then
    die "packages are missing, and only root can install them. As root run '$by_hand', then run this again."
  fi
  say "installing ${missing[*]}"
  log=$(mktemp)
  # What is installed here is for tests: no service of the system's comes of it. A
  # server package creates a cluster of its own, unless this setting of
  # postgresql-common (see pg_createcluster(1)) says otherwise, and packages start
  # what they bring, now unless policy-rc.d(8) forbids it, and with the system
  # unless it is disabled.
  # shellcheck disable=SC2016
  if ! as_root bash -c '
      set -e
      setting=/etc/postgresql-common/createcluster.d/batches.conf
      policy=/usr/sbin/policy-rc.d
      [[ ! -e $policy && ! -L $policy ]] || policy=
      trap "rm -f $setting $policy; rmdir --ignore-fail-on-non-empty -p ${setting%/*}" EXIT
      mkdir -p "${setting%/*}"
      echo "create_main_cluster = false" > "$setting"
      if [[ -n $policy ]]; then
        printf "#!/bin/sh\nexit 101\n" > "$policy"
        chmod 755 "$policy"
      fi
      export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
      "$1" || apt-get -q update || true
      shift
      apt-get -qy --no-install-recommends install "$@"
      for service in nginx pgbouncer haproxy; do
        [[ " $* " != *" $service "* ]] || update-rc.d "$service" disable
      done
    ' install "$updated" "${missing[@]}" </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "what is missing could not be installed (the last words of apt or sudo are above). Make '$by_hand' work, then run this again."
  fi
  rm -f "$log"
  updated=true
  missing=()
}

# want_optional PACKAGE COMMAND...: installs it by itself; nothing is said if that fails.
want_optional() {
  want "$@"
  ((!${#missing[@]})) || (install_missing) >/dev/null 2>&1 || true
  missing=()
}

#
# PostgreSQL
#

# Sets bindir to the programs of PG_CONFIG's PostgreSQL, or of the highest
# version that has a server.
find_postgres() {
  if [[ -n ${PG_CONFIG:-} ]]; then
    bindir=$("$PG_CONFIG" --bindir) || die "PG_CONFIG=$PG_CONFIG is not a pg_config program."
    [[ -x $bindir/postgres ]] || die "PG_CONFIG=$PG_CONFIG says $bindir, and there is no server in it."
  else
    bindir=$(find /usr/lib/postgresql/*/bin -name postgres 2>/dev/null | sort -V | tail -n 1)
    bindir=${bindir%/postgres}
    [[ -n $bindir ]]
  fi
}

has_server_headers() {
  [[ -f $("$pg_config" --pgxs) && -f $("$pg_config" --includedir-server)/postgres.h ]]
}

# Finds PostgreSQL and what an extension is built with; installs what is not
# there. Sets bindir, pg_config and version.
need_postgres() {
  if ! find_postgres; then
    missing=(postgresql)
    install_missing
    find_postgres || die "there is no PostgreSQL in /usr/lib/postgresql. Set PG_CONFIG to the pg_config of one."
  fi
  pg_config=${PG_CONFIG:-$bindir/pg_config}
  version=$("$bindir/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
  ((version >= 15)) ||
    die "PostgreSQL 15 or later is needed, and $bindir has $version. Install a later one, or set PG_CONFIG to its pg_config."
  id "$server_user" >/dev/null 2>&1 ||
    die "root cannot run a server, and there is no user $server_user to do it. Create it, or run this as an ordinary user."
  want "postgresql-server-dev-$version" has_server_headers
  want gcc command -v gcc
  want libc6-dev test -f /usr/include/stdio.h
  want make command -v make
  install_missing
  has_server_headers || die "there are no server headers where $pg_config says. Install the development files of that PostgreSQL."
}

# The files of the checkout without what a build leaves in it, as a tar.
sources() {
  tar -C "$project" --exclude-vcs --exclude='*.o' --exclude='*.so' --exclude='*.bc' \
    --exclude=./results --exclude=./output_iso --exclude=./tmp_check --exclude=./log -cf - .
}

# Builds in a directory of its own, so that nothing is left in the checkout
# whoever runs this, and installs.
build_and_install() {
  local build
  say "building for PostgreSQL $version"
  build=$(mktemp -d)
  sources | tar -C "$build" --no-same-owner -xf -
  if ! make -s -j "$(nproc)" -C "$build" PG_CONFIG="$pg_config" ${CI:+COPT=-Werror}; then
    rm -rf "$build"
    die "the build failed: its messages are above."
  fi
  say "installing the extension"
  if [[ -w $("$pg_config" --pkglibdir) && -w $("$pg_config" --sharedir)/extension ]]; then
    (umask 022 && make -s -C "$build" PG_CONFIG="$pg_config" install) || die "'make install' failed."
  elif command -v sudo >/dev/null; then
    as_root make -s -C "$build" PG_CONFIG="$pg_config" install || die "'sudo make install' failed."
  else
    die "only root can install an extension into this PostgreSQL, and there is no sudo. Run this as root."
  fi
  rm -rf "$build"
}

#
# A private cluster in one directory: data, log and socket
#

# start_cluster DIRECTORY: it belongs to the server's user, and only that user
# and root can connect.
start_cluster() {
  local directory=$1
  say "starting a private cluster in $directory"
  as_server "$bindir/initdb" -D "$directory/data" -U postgres --encoding=UTF8 --locale=C.UTF-8 \
    --auth=trust --no-sync >/dev/null
  as_server tee -a "$directory/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
port = 5432
unix_socket_directories = '$directory'
fsync = off
full_page_writes = off
max_wal_size = 4GB
CONF
  if ! as_server "$bindir/pg_ctl" -D "$directory/data" -l "$directory/server.log" -w start >/dev/null; then
    tail -n 20 "$directory/server.log" >&2 || true
    die "the server did not start: its log is above."
  fi
}

# remove_cluster DIRECTORY: stops the server if it runs, and removes it all.
remove_cluster() {
  local directory=$1
  if as_server "$bindir/pg_ctl" -D "$directory/data" status >/dev/null 2>&1; then
    as_server "$bindir/pg_ctl" -D "$directory/data" -m immediate -w stop >/dev/null
  fi
  as_server rm -rf "$directory"
}

# psql_in DIRECTORY DATABASE ARGUMENT...
psql_in() {
  local directory=$1 database=$2
  shift 2
  "$bindir/psql" -X -v ON_ERROR_STOP=1 -d "host=$directory port=5432 user=postgres dbname=$database" "$@"
}
