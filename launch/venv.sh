# Sourced by local.sh, check.sh and soak.sh: makes the virtual environment with dptrain, if there is none.
#
#   ensure_venv [EXTRA]    sets $venv (its directory). Installs when pyproject.toml has changed since the last time.
#
# $DPTRAIN_VENV    directory, default .venv          $DPTRAIN_PYTHON   the interpreter that makes it
# Settings of pip apply, e.g. PIP_FIND_LINKS=DIR PIP_NO_INDEX=1 on a machine without a network.

say() { printf '%s\n' "$*"; }
die() { printf 'dptrain: %s\n' "$*" >&2; exit 78; }

# Prints the first interpreter that is new enough and can make virtual environments. Numba has no wheels for 3.15 yet.
find_python() {
    local candidate old="" bare=""
    for candidate in ${DPTRAIN_PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
        # A pyenv shim exists for versions that are not active, so each candidate is run.
        "$candidate" -c '' >/dev/null 2>&1 || continue
        if ! "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))'; then
            old="$candidate is $("$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo "another one")"
        elif ! "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
            bare=$candidate
        else
            command -v "$candidate"
            return
        fi
    done
    [ -z "$bare" ] || die "$bare has no module ensurepip; on Debian and Ubuntu: apt install python3-venv"
    die "Python 3.11, 3.12, 3.13 or 3.14 is needed and was not found${old:+ ($old)}; install it, or set DPTRAIN_PYTHON=/path/to/python3.11"
}

# Identifies what the installation depends on.
fingerprint() { cksum <pyproject.toml; pwd; }

# Runs pip, shows one short line per library, and keeps the whole output in a log.
pip_install() {
    local log="$venv/install.log" status=0
    "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off "$@" 2>&1 |
        tee "$log" | sed -n -u -e 's/^Collecting \([^ ]*\).*/  \1/p' -e 's/^Installing collected.*/  unpacking/p' || status=$?
    [ "$status" -eq 0 ] && return
    grep -E '^ *(ERROR|error)' "$log" | tail -n 3 >&2 || tail -n 3 "$log" >&2
    if grep -qE 'NewConnectionError|Temporary failure|ConnectTimeout|Max retries|No matching distribution' "$log"; then
        die "pip could not fetch the libraries: no network, or no such version there. Wheels in a folder: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER $0"
    fi
    die "the installation failed; its output is in $log"
}

install_into_venv() {
    local extra=$1 stamp=$2 python
    if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python)
        say "making $venv with $python"
        "$python" -m venv "$venv" || die "$python could not make a virtual environment in $venv"
    fi
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$(fingerprint)" ]; then
        say "installing dptrain${extra:+ with its extra [$extra]} into $venv (once; about 300 MB)"
        pip_install -e ".${extra:+[$extra]}"
        fingerprint >"$stamp"
    fi
}

ensure_venv() {
    local extra=${1:-} stamp
    venv=${DPTRAIN_VENV:-.venv}
    stamp="$venv/.installed${extra:+-$extra}"
    mkdir -p "$venv" || die "cannot make $venv"
    (
        # Two scripts started at the same time must not install at the same time.
        if command -v flock >/dev/null; then flock 9; fi
        install_into_venv "$extra" "$stamp"
    ) 9>"$venv/.lock"
}
