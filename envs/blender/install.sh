#!/bin/sh
# Make both environments in envs/blender/.venv from their locks, laid out as `blenderproc run` expects; called by make.
# usage: sh envs/blender/install.sh UV PYTHON
set -eu
uv=$1 python=$2
here=$(cd "$(dirname "$0")" && pwd)
blender=$here/.venv/blender
mkdir -p "$blender/custom-python-packages"
for name in inside outside; do
    folder=$here/.venv/outside
    [ "$name" = inside ] && folder=$blender/4.2/python
    "$uv" venv --quiet --clear --python "$python" "$folder"
    VIRTUAL_ENV=$folder "$uv" pip sync --quiet --require-hashes "$here/$name.lock"
done
ln -sfn ../../blender "$blender/blender"
ln -sfn python/lib/python3.11/site-packages/bpy/4.2/datafiles "$blender/4.2/datafiles"  # assets, where blenderproc looks
# What blenderproc would find out at its first start, by way of pip and the network.
"$blender/4.2/python/bin/python3.11" -c 'import importlib.metadata as m, json, sys
json.dump({d.name.lower(): d.version for d in m.distributions()}, sys.stdout)' \
    > "$blender/custom-python-packages/installed_packages_cache_v2.json"
