#!/usr/bin/env bash
# Disturbs real runs on this machine for as long as you like, and compares every bit with an undisturbed run.
#
#   launch/soak.sh chaos [--runs 200] [--minutes M] [--seed S] [--jobs CORES]
#                                                                short runs, a few at a time; workers, augmenters and the
#                                                                coordinator are killed at any instant, checkpoint
#                                                                writes included
#   launch/soak.sh endure [--minutes 45] [--seed S]              one long run; workers join, die, pause and return all the
#                                                                time; memory, descriptors, sockets, disk are measured
#   launch/soak.sh slow [--fast 1] [--times 10] [--steps 100] [--turns 3]
#                                                                what a worker costs that is ten times slower
#   launch/soak.sh fuzz codec|checkpoint|weights|idx|cifar|torch|pyfunt [--seconds 600] [--seed S]
#                                                                mutations of valid files and frames, given to the reader
#   launch/soak.sh storm [--frames 1000000] [--seed S]           mutated frames and random bytes to the port of a real run
#   launch/soak.sh simulate [--schedules 1000000] [--seed S]     no processes: the state machines in a simulated world
#                                                                with faults of every kind; one seed per history
#   launch/soak.sh --folder DIR chaos ...                        where files are written; kept if a fault was found
set -euo pipefail

case ${1:-} in
'' | -h | --help)
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac

here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/venv.sh
source launch/venv.sh
ensure_venv
python=$(cd "$venv/bin" && pwd)/python

# The processes run from a copy, so that these files can be edited meanwhile.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r dptrain workers launch tests/simulation "$copy"
export PYTHONPATH=$copy${PYTHONPATH:+:$PYTHONPATH}

cd "$here"
if [ "$1" = simulate ]; then
    "$python" -m simulation.histories "${@:2}"
else
    "$python" -m simulation "$@"
fi
