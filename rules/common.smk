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


def models(wildcards):
    """The dataset's CAD models; models_info.json is written last and stands for the folder."""
    folder = models_of(wildcards)
    if isinstance(SETTINGS.dataset(wildcards.dataset), CatalogueDataset):
        return unpacked(wildcards, "models")
    if isinstance(SETTINGS.dataset(wildcards.dataset), PhotosDataset):
        return [f"{folder}/models_info.json"]
    numbers = [wildcards.object] if "object" in wildcards.keys() else object_numbers(wildcards)
    return [
        f"{folder}/models_info.json",
        *(f"{folder}/obj_{number}.ply" for number in numbers),
    ]


def models_of(wildcards):
    """Folder of the dataset's CAD models."""
    return f"data/{wildcards.dataset}/{models_folder(wildcards.dataset)}"


def evaluation_models(wildcards):
    """The models that estimates are scored with."""
    if isinstance(SETTINGS.dataset(wildcards.dataset), CatalogueDataset):
        return unpacked(wildcards, "models")
    return f"data/{wildcards.dataset}/models_eval/models_info.json"


def targets(wildcards):
    """The list of what is looked for in the test images."""
    if isinstance(SETTINGS.dataset(wildcards.dataset), CatalogueDataset):
        return unpacked(wildcards, "targets")
    return f"data/{wildcards.dataset}/test_targets_bop19.json"


def camera(wildcards):
    """The file of the test sensor's intrinsics, or what brings it."""
    if isinstance(SETTINGS.dataset(wildcards.dataset), CatalogueDataset):
        return unpacked(wildcards, "targets")
    return camera_of(wildcards)


def camera_of(wildcards):
    """The file of the test sensor's intrinsics."""
    return f"data/{wildcards.dataset}/{camera_file(wildcards.dataset)}"


def unpacked(wildcards, use):
    """Records of the parts of a published dataset that a use needs."""
    name = wildcards.dataset
    return [record(name, part) for part in SETTINGS.dataset(name).choice(name).parts_for(use)]


def record(name, part):
    """The file that says that a part of a published dataset is unpacked."""
    return f"data/{name}/archives/{part}.unpacked.json"


def all_parts(name):
    """Records of everything that `snakemake data/<name>` fetches."""
    return [record(source, part) for source, part in SETTINGS.dataset(name).choice(name).parts_to_fetch]


def fetchable():
    """Names of the published datasets."""
    return [name for name in SETTINGS.dataset_names if isinstance(SETTINGS.dataset(name), CatalogueDataset)]


def parts_beside(wildcards):
    """Parts that are fetched for the same purpose, for which there has to be room as well."""
    name = wildcards.dataset
    chosen = [part for source, part in SETTINGS.dataset(name).choice(name).parts_to_fetch if source == name]
    entry = published(name)
    is_small = entry.parts[wildcards.part].needed_for == "inference"
    return " ".join(part for part in chosen if not is_small or entry.parts[part].needed_for == "inference")


def mirror():
    """Option that names the folder with archives, where there is one."""
    return f"--mirror {shlex.quote(SETTINGS.data_mirror)}" if SETTINGS.data_mirror else ""


def scenes_to_unpack(wildcards):
    """Option that chooses scenes of a part of training scenes, of this dataset or of those that are trained on it."""
    users = [name for name in fetchable() if published(name).training_from == wildcards.dataset]
    for name in (wildcards.dataset, *users):
        choice = SETTINGS.dataset(name).choice(name)
        if choice.scenes is not None and (wildcards.dataset, wildcards.part) in choice.training_parts:
            return f"--scenes {choice.scenes.replace(' ', ',')}"
    return ""


def object_numbers(wildcards):
    """The dataset's objects as six digits."""
    return [f"{obj:06d}" for obj in objects(SETTINGS, wildcards.dataset)]


def surfaces(wildcards):
    """The dataset's surface samples."""
    return [f"results/{wildcards.dataset}/surface/obj_{number}.npz" for number in object_numbers(wildcards)]


def shards(name, synthetic):
    """Files of synthetic training images, one per shard."""
    folder = f"results/{name}/synthetic/{synthetic.generator}"
    return [f"{folder}/shard_{number:04d}/scene_gt_info.json" for number in range(synthetic.shards)]


def train_scenes(wildcards):
    """One file of each scene folder to train on, or records of what brings them."""
    return rendered_scenes(wildcards) + real_scenes(wildcards)


def rendered_scenes(wildcards):
    """Those of rendered images."""
    name = wildcards.dataset
    entry = SETTINGS.dataset(name)
    if isinstance(entry, DemoDataset):
        return [f"data/{name}/train_synt/{n:06d}/scene_gt_info.json" for n in range(entry.train_scenes)]
    if isinstance(entry, CatalogueDataset) and (parts := entry.choice(name).training_parts):
        return [record(source, part) for source, part in parts]
    if isinstance(entry, FolderDataset) and entry.train is not None:
        return scenes_in(name, entry.train)
    return shards(name, entry.synthetic)


def real_scenes(wildcards):
    """Those of real images, where the run learns from them."""
    name = wildcards.dataset
    if not learns_from_real(wildcards):
        return []
    if isinstance(SETTINGS.dataset(name), CatalogueDataset):
        return [record(source, part) for source, part in real_choice(name).training_parts]
    return scenes_in(name, SETTINGS.real_images(name))


def learns_from_real(wildcards):
    """Whether a run or a detector is trained on real images of the dataset."""
    name = wildcards.dataset
    if "detector" in wildcards.keys():
        return SETTINGS.detectors[wildcards.detector].real_images and SETTINGS.real_images(name) is not None
    return SETTINGS.uses_real_images(name, wildcards.run)


def real_choice(name):
    """The real training images of a published dataset."""
    return Choice(name, train=(SETTINGS.real_images(name),))


def scenes_in(name, split):
    """One file of each scene folder of a split that is there."""
    return sorted(str(path) for path in Path("data", name, split).glob("*/scene_gt_info.json"))


def test_scenes(wildcards):
    """One file of each scene folder to test on, as far as they are known before they are made."""
    name = wildcards.dataset
    entry = SETTINGS.dataset(name)
    if isinstance(entry, DemoDataset):
        return [f"data/{name}/test/{n:06d}/scene_gt_info.json" for n in range(1, entry.test_scenes + 1)]
    if isinstance(entry, CatalogueDataset):
        return unpacked(wildcards, "test")
    return [f"data/{name}/test_targets_bop19.json"]


def test_split(wildcards):
    """Name of the folder of the test scenes."""
    return split_of(SETTINGS, wildcards.dataset)


def synthetic(wildcards):
    """Settings of a dataset's synthetic images by the generator asked for; its defaults where another one is chosen."""
    chosen = getattr(SETTINGS.dataset(wildcards.dataset), "synthetic", SyntheticImages())
    return chosen if chosen.generator == wildcards.generator else SyntheticImages(generator=wildcards.generator)


def scene_look(wildcards):
    """Look of a scene folder."""
    if "shard" in wildcards.keys():
        return synthetic(wildcards).look_name
    return {"train_synt": "train", "test": "test"}[wildcards.split]


def scene_images(wildcards):
    """Images of a scene folder."""
    entry = SETTINGS.dataset(wildcards.dataset)
    if "shard" in wildcards.keys():
        return synthetic(wildcards).images
    return entry.test_images if wildcards.split == "test" else entry.train_images


def scene_changes(wildcards):
    """Scene settings that differ from the look's."""
    return synthetic(wildcards).set if "shard" in wildcards.keys() else SETTINGS.dataset(wildcards.dataset).set


def scene_overrides(wildcards):
    """The same as `key=value` strings."""
    return flatten(scene_changes(wildcards))


def scene_workers(wildcards):
    """Processes of a job that ray-casts a shard."""
    return synthetic(wildcards).workers


def image_folders(wildcards):
    """Options that name the user's folders of textures and backgrounds."""
    folders = or_stop(synthetic(wildcards).image_folders)
    return [word for name, folder in folders.items() for word in (f"--{name}", folder)]


def previewed_scenes(wildcards):
    """One file of each scene folder that a preview shows."""
    name, entry = wildcards.dataset, SETTINGS.dataset(wildcards.dataset)
    if isinstance(entry, DemoDataset) and wildcards.generator == "raycast":
        return [f"data/{name}/train_synt/{n:06d}/scene_gt_info.json" for n in range(entry.train_scenes)]
    return shards(name, synthetic(wildcards))


def previewed_folders(wildcards):
    """The scene folders that a preview shows."""
    return [str(Path(file).parent) for file in previewed_scenes(wildcards)]


def scene_digest(wildcards):
    """Digest of all settings of a scene folder: it is made again when they change."""
    if "shard" in wildcards.keys():
        return synthetic(wildcards).scene_settings().digest()
    return scene_settings(scene_look(wildcards), scene_changes(wildcards)).digest()


def scene_seed(wildcards):
    """Seed of the scene folders of a split; the program adds the folder's number, so that more folders keep the old."""
    return 2 * SETTINGS.dataset(wildcards.dataset).seed + (wildcards.get("split") == "test")


def dataset_seed(wildcards):
    """Seed of a dataset."""
    return SETTINGS.dataset(wildcards.dataset).seed


def configfiles(wildcards):
    """Configuration files given on the command line."""
    return [str(path) for path in workflow.overwrite_configfiles]


def runs(wildcards):
    """Runs of a dataset."""
    return SETTINGS.runs_of(wildcards.dataset)


def family(wildcards):
    """Family of methods of a run."""
    return SETTINGS.runs[wildcards.run].family


def training_overrides(wildcards):
    """What the run changes about training, as `key=value` strings."""
    return SETTINGS.training_overrides(wildcards.run)


def training_digest(wildcards):
    """Digest of all settings that decide the checkpoint."""
    return SETTINGS.training_digest(wildcards.run)


def candidates(wildcards):
    """Estimates that a run works on."""
    return f"results/{wildcards.dataset}/{SETTINGS.runs[wildcards.run].candidates}/estimates.csv"


def stage_program(wildcards):
    """Program of a run that works on estimates."""
    return STAGES[SETTINGS.runs[wildcards.run].family].program


def inference_overrides(wildcards):
    """What the run changes about inference, as `key=value` strings."""
    return SETTINGS.inference_overrides(wildcards.run)


def inference_digest(wildcards):
    """Digest of all settings that decide the estimates, given the checkpoint."""
    return SETTINGS.inference_digest(wildcards.run)


def train_folders(wildcards):
    """The scene folders to train on."""
    name = wildcards.dataset
    entry = SETTINGS.dataset(name)
    folders = [str(Path(file).parent) for file in train_scenes(wildcards) if not file.endswith(".unpacked.json")]
    if isinstance(entry, CatalogueDataset):
        choices = [entry.choice(name), *([real_choice(name)] if learns_from_real(wildcards) else [])]
        folders += [f"data/{scene}" for choice in choices for scene in choice.training_scenes]
    return folders


def detection_source(wildcards):
    """Name of the dataset's source of detections."""
    return SETTINGS.dataset(wildcards.dataset).detection_source(wildcards.dataset)


def given_detections(wildcards):
    """The detector's results: those that BOP gives out, or what the user gave."""
    if detection_source(wildcards) == "default":
        return f"data/bop_extra/default_detections/{wildcards.dataset}.json"
    return SETTINGS.dataset(wildcards.dataset).detections


def detections(wildcards):
    """The dataset's detections."""
    return f"results/{wildcards.dataset}/detections/{detection_source(wildcards)}.json"


def inference_shards():
    """Numbers of the jobs that share an inference."""
    return [f"{number:04d}" for number in range(SETTINGS.inference_jobs)]


def detections_of_job(wildcards):
    """The detections of one inference job."""
    if SETTINGS.inference_jobs == 1:
        return detections(wildcards)
    return f"results/{wildcards.dataset}/detections/{detection_source(wildcards)}/{wildcards.shard}.json"


def trained_detector(dataset, detector):
    """The checkpoint of a detector: the given one, else that which is trained for the dataset."""
    detector = SETTINGS.trained_detector(dataset, detector)
    if given := SETTINGS.detectors[detector].checkpoint:
        return given.replace("{dataset}", dataset)
    return f"results/{dataset}/detections/{detector}/model.ckpt"


def detector_checkpoint(wildcards):
    """The checkpoint that a detector detects with."""
    return trained_detector(wildcards.dataset, wildcards.detector)


def detector_start(wildcards):
    """The checkpoint that a detector's training starts from, if it starts from one."""
    start = SETTINGS.detectors[wildcards.detector].start
    return [] if start is None else trained_detector(wildcards.dataset, start)


def start_option(wildcards):
    """The option that names it."""
    return f"--start {shlex.quote(detector_start(wildcards))}" if detector_start(wildcards) else ""


def detector_training(wildcards):
    """What a detector changes about its training, as `key=value` strings."""
    return SETTINGS.detectors[wildcards.detector].training_overrides()


def detector_training_digest(wildcards):
    """Digest of all settings that decide a detector's checkpoint."""
    return SETTINGS.detectors[wildcards.detector].training_digest()


def detector_changes(wildcards):
    """What a detector changes about detecting, as `key=value` strings."""
    return SETTINGS.detectors[wildcards.detector].detection_overrides()


def detector_digest(wildcards):
    """Digest of all settings that decide the detections, given the checkpoint."""
    return SETTINGS.detectors[wildcards.detector].detection_digest()


def default_detections(wildcards):
    """Where BOP's default detections of a dataset lie in their repository."""
    return published(wildcards.dataset).default_detections


def checkpoint_of(wildcards):
    """The checkpoint that a run's inference uses: the given one, else that of the first run that trains alike."""
    if given := SETTINGS.runs[wildcards.run].checkpoint:
        return given.replace("{dataset}", wildcards.dataset)
    return f"results/{wildcards.dataset}/{SETTINGS.checkpoint_run(wildcards.dataset, wildcards.run)}/model.ckpt"


def scores_of_run(name, run):
    """The files of scores of a run, one per protocol."""
    further = [f"scores_{protocol}.json" for protocol in SETTINGS.dataset(name).protocols[1:]]
    return [f"results/{name}/{run}/{file}" for file in ("scores.json", *further)]


def scores_of_runs(wildcards):
    """The files of scores of all runs of a dataset."""
    name = wildcards.dataset
    return [file for run in SETTINGS.runs_of(name) for file in scores_of_run(name, run)]


def comparisons(wildcards):
    """Each later run of a dataset compared with the first, where their AR is computed."""
    entry = SETTINGS.dataset(wildcards.dataset)
    first, *others = runs(wildcards) or [None]
    if "bop19" not in entry.protocols or not has_truth(Path("data", wildcards.dataset), test_split(wildcards)):
        return []
    return [f"results/{wildcards.dataset}/comparisons/{run}_vs_{first}.json" for run in others if run != first]


def protocol_of(wildcards):
    """The protocol behind a file of scores."""
    return wildcards.protocol.removeprefix("_") or SETTINGS.dataset(wildcards.dataset).protocols[0]


def scores_of_paper(wildcards):
    """Scores that a paper's tables need, where they are to be made first: those whose ground truth is there."""
    if not SETTINGS.complete_tables:
        return []
    needed = set()
    for dataset, run, protocol in read_paper(wildcards.paper).results():
        protocols = SETTINGS.dataset(dataset).protocols if dataset in SETTINGS.dataset_names else ()
        if run in SETTINGS.runs and protocol in protocols and has_truth(Path("data", dataset)):
            needed.add(scores_of_run(dataset, run)[protocols.index(protocol)])
    return sorted(needed)


def scores_there(wildcards):
    """Scores that a paper's tables show as far as they are there, with times: the table is made again when they change."""
    runs_shown = {(dataset, run) for dataset, run, _ in read_paper(wildcards.paper).results()}
    files = [file for dataset, run in sorted(runs_shown) for file in Path("results", dataset, run).glob("scores*.json")]
    return json_digest([[str(file), file.stat().st_mtime_ns] for file in sorted(files)])


def photo_folder(wildcards):
    """Folder of the photographs."""
    return SETTINGS.dataset(wildcards.dataset).folder


def photo_description(wildcards):
    """The file that says what the photographs are."""
    return SETTINGS.dataset(wildcards.dataset).description


def photo_files(wildcards):
    """The files that the description names."""
    entry = SETTINGS.dataset(wildcards.dataset)
    description = photos_of(entry, wildcards.dataset)
    depths = [photo.depth for photo in description.photos if photo.depth is not None]
    return [str(Path(entry.folder, item.file)) for item in (*description.models.values(), *description.photos, *depths)]


SETTINGS = or_stop(load, config)
DEVICE = "auto" if SETTINGS.gpus else "cpu"
or_stop(check_targets, [argument for argument in sys.argv[1:] if not argument.endswith((".yaml", ".yml"))])
