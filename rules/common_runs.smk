"""Functions that rules use: runs with their settings, detections, checkpoints, scores."""


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


def stage_checkpoint(wildcards):
    """The checkpoint that a run works on estimates with, if it needs one."""
    run = SETTINGS.runs[wildcards.run]
    return run.checkpoint.replace("{dataset}", wildcards.dataset) if STAGES[run.family].is_learnt else []


def stage_options(wildcards):
    """The options that name it and the device it is used on."""
    path = stage_checkpoint(wildcards)
    return f"--checkpoint {shlex.quote(path)} --device {DEVICE}" if path else ""


def stage_gpus(wildcards):
    """GPUs of a run that works on estimates."""
    return min(SETTINGS.gpus, 1) if stage_checkpoint(wildcards) else 0


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
        choices = [entry.choice(name), Choice(name, train=further_images(wildcards))]
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


def training_start(wildcards):
    """The checkpoint that the training of a run or a detector starts from, if it starts from one."""
    is_detector = "detector" in wildcards.keys()
    start = (SETTINGS.detectors[wildcards.detector] if is_detector else SETTINGS.runs[wildcards.run]).start
    return [] if start is None else (trained_detector if is_detector else trained_run)(wildcards.dataset, start)


def start_option(wildcards):
    """The option that names it."""
    return f"--start {shlex.quote(training_start(wildcards))}" if training_start(wildcards) else ""


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
    """The checkpoint that a run's inference uses."""
    return trained_run(wildcards.dataset, wildcards.run)


def trained_run(dataset, run):
    """The checkpoint of a run: the given one, else that of the first run that trains alike."""
    run = SETTINGS.checkpoint_run(dataset, run)
    if given := SETTINGS.runs[run].checkpoint:
        return given.replace("{dataset}", dataset)
    return f"results/{dataset}/{run}/model.ckpt"


def scores_of_run(name, run):
    """The files of scores of a run, one per protocol."""
    return [f"results/{name}/{run}/{scores_file(name, protocol)}" for protocol in SETTINGS.dataset(name).protocols]


def scores_file(name, protocol):
    """Name of the file of scores of a protocol: the dataset's first one has the short name."""
    return "scores.json" if protocol == SETTINGS.dataset(name).protocols[0] else f"scores_{protocol}.json"


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


def evaluator(wildcards):
    """Who computes the scores; BOP's toolkit knows BOP's protocols only."""
    return SETTINGS.evaluator if protocol_of(wildcards) in ("bop19", "bop24") else "builtin"


def scores_of_paper(wildcards):
    """Scores that a paper's tables need, where they are to be made first: those whose ground truth is there."""
    if not SETTINGS.complete_tables:
        return []
    needed = set()
    for dataset, run, protocol in read_paper(wildcards.paper).results():
        if dataset in SETTINGS.dataset_names and run in SETTINGS.runs and has_truth(Path("data", dataset)):
            needed.add(f"results/{dataset}/{run}/{scores_file(dataset, protocol)}")
    return sorted(needed)


def scores_there(wildcards):
    """Scores that a paper's tables show as far as they are there, with times: the table is made again when they change."""
    runs_shown = {(dataset, run) for dataset, run, _ in read_paper(wildcards.paper).results()}
    files = [file for dataset, run in sorted(runs_shown) for file in Path("results", dataset, run).glob("scores*.json")]
    return json_digest([[str(file), file.stat().st_mtime_ns] for file in sorted(files)])
