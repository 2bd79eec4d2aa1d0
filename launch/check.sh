#!/usr/bin/env bash
# Runs every check that a change must pass, the fastest first; stops at the first failure.
#
#   launch/check.sh [flags of pytest]      e.g. launch/check.sh -k conv -x
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=launch/venv.sh
source launch/venv.sh
ensure_venv test
PATH="$(cd "$venv/bin" && pwd):$PATH"
export PATH
unset PYTHONDONTWRITEBYTECODE  # tests start some hundred processes; each would compile 150 modules again: 0.2 s

# Shows the command and, when it has passed, its time.
check() {
    local begin=$SECONDS
    printf '\n== %s\n' "$*"
    if ! "$@"; then
        printf '== FAILED: %s\n' "$*" >&2
        exit 1
    fi
    printf '== %s s\n' $((SECONDS - begin))
}

check ruff check
check ruff format --check
check bash -c 'for script in launch/*.sh .ci/run; do bash -n "$script" || exit; done'  # bash -n reads one file only
check mypy --strict dptrain tools benchmarks docs/hooks.py
check lint-imports
check env NO_MKDOCS_2_WARNING=1 mkdocs build --strict
# One process more than cores, at most five: with as many as cores, these were idle for a sixth of the time, because
# many tests wait for other processes.
processes=$(($(getconf _NPROCESSORS_ONLN) + 1))
check python -m pytest -n "$((processes < 5 ? processes : 5))" --dist loadscope "$@"
printf '\nall checks passed in %s s\n' "$SECONDS"
