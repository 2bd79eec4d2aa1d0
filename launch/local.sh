#!/usr/bin/env bash
# Trains on this machine: installs dptrain into .venv if necessary, then starts N workers.
#
#   launch/local.sh [N] [flags of dptrain train]      N worker processes (default 2)
#
# Unless a flag or a variable (DPTRAIN_RECIPE, ...) sets them: --recipe fashion-quick, --augmenters 1.
#
#   launch/local.sh                                   Fashion-MNIST mini, 2 workers, 1 augmenter
#   launch/local.sh 4 --epochs 12 --batch-size 256
#   launch/local.sh 4 --recipe cifar10-resnet20-10epochs --name first --resume auto
set -euo pipefail

home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

workers=
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    workers=$1
    shift
fi

case ${1:-} in
-h | --help)
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac

# Flags and variables win; the rest of a first run gets defaults. A run directory has its own recipe.
defaults=()
flags=" $* "
given() { [[ $flags =~ \ ($1)[\ =] ]]; }
resumed="${DPTRAIN_RESUME:+ --resume $DPTRAIN_RESUME}$flags"
stored() { [[ $resumed =~ \ --resume[\ =] && ! $resumed =~ \ --resume[\ =]auto\  ]]; }
given '--recipe|--config|-c' || stored || [[ -n ${DPTRAIN_RECIPE:-} ]] || defaults+=(--recipe fashion-quick)
given --workers || [[ -z $workers && -n ${DPTRAIN_WORKERS:-} ]] || defaults+=(--workers "${workers:-2}")
given --augmenters || [[ -n ${DPTRAIN_AUGMENTERS:-} ]] || defaults+=(--augmenters 1)

here=$PWD
cd "$home"
# shellcheck source=launch/venv.sh
source launch/venv.sh
ensure_venv plot # matplotlib too: a report is what one looks at next
dptrain=$(cd "$venv/bin" && pwd)/dptrain

cd "$here"
exec "$dptrain" train "${defaults[@]+"${defaults[@]}"}" "$@"
