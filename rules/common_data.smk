"""Functions that rules use: files of datasets, their models, scenes and photographs."""


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
    return rendered_scenes(wildcards) + further_scenes(wildcards)


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


def further_scenes(wildcards):
    """Those of real images and of other folders, where the run or the detector learns from them."""
    name, folders = wildcards.dataset, further_images(wildcards)
    if isinstance(SETTINGS.dataset(name), CatalogueDataset):
        return [record(source, part) for source, part in Choice(name, train=folders).training_parts]
    return [file for folder in folders for file in scenes_in(name, folder)]


def further_images(wildcards):
    """Folders that a run or a detector is trained on beside the dataset's own choice."""
    is_detector = "detector" in wildcards.keys()
    learner = SETTINGS.detectors[wildcards.detector] if is_detector else SETTINGS.runs[wildcards.run]
    return SETTINGS.further_images(wildcards.dataset, learner)


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
