"""Functions that rules use; all of them answer from config.yaml and a few small files, in milliseconds."""

import fcntl
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Programs are started by the name `python`: it has to be the one that runs Snakemake, here and on a cluster's nodes,
# and they have to find the package that lies beside this Snakefile.
sys.path.insert(0, str(workflow.basedir))
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.getenv("PATH", "")]),
    PYTHONPATH=str(workflow.basedir),
)
# Threads that wait must not spin: with as many threads as cores and a process that loads samples beside them, or any
# other load on the machine, training took ten times as long.
os.environ.update(OMP_WAIT_POLICY="PASSIVE")

from pose_models.datasets.catalogue import has_truth, published
from pose_models.datasets.choice import Choice
from pose_models.files import InputError, json_digest
from pose_models.report.published import paper_names, read_paper
from pose_models.settings import did_you_mean, flatten
from pose_models.workflow import (
    DEMO_OBJECTS,
    CatalogueDataset,
    DemoDataset,
    FolderDataset,
    PhotosDataset,
    STAGES,
    SyntheticImages,
    camera_file,
    load,
    models_folder,
    objects,
    photos_of,
    scene_settings,
)
from pose_models.workflow import test_split as split_of

RUN_LOCK = None


def or_stop(function, *arguments):
    """Call a function; bad input ends Snakemake with the error's sentence instead of a traceback."""
    try:
        return function(*arguments)
    except InputError as error:
        sys.exit(f"error: {error}")


def one_of(names):
    """Regular expression that matches the given names only."""
    return "|".join(re.escape(name) for name in names) or r"(?!)"


def names_of(*kinds):
    """Names of the datasets of some kinds (classes of entries)."""
    return [name for name, entry in SETTINGS.datasets.items() if isinstance(entry, kinds)]


def scaled(amount):
    """A resource that grows with each attempt."""

    def resource(wildcards, attempt):
        return amount * attempt

    return resource


def loaders(wildcards, threads):
    """Processes that load training samples, beside the one that trains."""
    return max(1, threads - 1)


def take_run_lock():
    """Refuse to run beside another run in this folder; the kernel drops the lock when a run dies, however it dies."""
    global RUN_LOCK
    Path(".snakemake").mkdir(exist_ok=True)
    RUN_LOCK = open(".snakemake/bopflow.lock", "a")
    try:
        fcntl.flock(RUN_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError("another run works in this folder; wait until it has ended, or stop it") from None


def check_targets(targets):
    """Refuse targets of unknown datasets and runs, and datasets whose objects cannot be known, by one sentence."""
    for target in targets:  # command line arguments: Snakemake parses rules before it looks at its targets
        parts = Path(target).parts
        if len(parts) < 2 or parts[0] not in ("data", "results"):
            continue
        if parts[:2] == ("results", "tables"):
            read_paper(Path(target).stem)
            continue
        if parts[0] == "results" or not isinstance(SETTINGS.dataset(parts[1]), CatalogueDataset):
            objects(SETTINGS, parts[1])
        is_of_a_run = len(parts) == 4 and re.fullmatch(r"model\.ckpt|estimates\.csv|scores.*\.json", parts[3])
        if is_of_a_run and parts[2] not in SETTINGS.runs:
            raise InputError(f"run '{parts[2]}' is not known{did_you_mean(parts[2], SETTINGS.runs)}")


SETTINGS = or_stop(load, config)
DEVICE = "auto" if SETTINGS.gpus else "cpu"
or_stop(check_targets, [argument for argument in sys.argv[1:] if not argument.endswith((".yaml", ".yml"))])
