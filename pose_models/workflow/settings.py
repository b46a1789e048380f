"""All of config.yaml, and what follows from it: which stage is decided by which settings, which runs share what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pose_models.datasets.catalogue import catalogue_entry, catalogue_names, published
from pose_models.files import InputError, json_digest
from pose_models.methods.registry import FAMILIES
from pose_models.settings import Settings, did_you_mean, flatten, validate
from pose_models.workflow.datasets import (
    NAME,
    RUN_NAME,
    STAGE_FOLDERS,
    CatalogueDataset,
    Dataset,
    DemoDataset,
    FolderDataset,
    PhotosDataset,
    check_scene_settings,
)
from pose_models.workflow.detectors import DEFAULT_DETECTORS, Detector
from pose_models.workflow.runs import DEFAULT_RUNS, Run

DEFAULT_DATASETS: dict[str, Dataset] = {
    "demo": DemoDataset(),
    "demo-multiview": DemoDataset(
        runs=("surfemb-of-demo", "surfemb-of-demo-4view", "surfemb-of-demo-8view"),
        test_scenes=3,
        test_images=16,
        set={"instances": [6, 9], "distractors": [0, 2], "bin_size_mm": [250, 310], "images_per_arrangement": 16},
    ),
    "real": PhotosDataset(),
}


class WorkflowSettings(Settings):
    """What to run: datasets, methods, hardware."""

    gpus: int = Field(
        1,
        ge=0,
        description="GPUs that each training asks for (inference: at most one); a machine without any runs on its CPU "
        "all the same, a cluster without any needs 0, and 0 leaves the GPUs of a machine unused",
    )
    train_threads: int = Field(
        8, ge=1, description="CPU cores that each training asks for; locally at most all there are"
    )
    inference_jobs: int = Field(
        1,
        ge=1,
        le=9999,
        description="jobs that share the images of an inference, each with a GPU of its own where there are any; "
        "estimates do not depend on it",
    )
    evaluator: Literal["builtin", "bop_toolkit"] = Field(
        "builtin",
        description="who computes scores of bop19 and bop24; `bop_toolkit` is the reference, where you have installed "
        "it",
    )
    data_mirror: str | None = Field(
        None, description="folder that holds archives of datasets (in itself or in <name>/), for use without internet"
    )
    keep_archives: bool = Field(True, description="whether downloaded archives stay when they have been unpacked")
    complete_tables: bool = Field(
        False,
        description="whether results/tables/<paper>.html computes the scores that are missing, or names them only",
    )
    datasets: dict[str, Annotated[Dataset, Field(discriminator="source")]] = Field(
        DEFAULT_DATASETS,
        min_length=1,
        description="datasets by name: `snakemake results/<name>/report.html` makes one, `snakemake` the first one",
    )
    runs: dict[str, Run] = Field(
        DEFAULT_RUNS, description="named runs: a family of methods plus the settings that differ from the paper's"
    )
    detectors: dict[str, Detector] = Field(
        DEFAULT_DETECTORS,
        description="named detectors, for `detections: <name>` of a dataset; trained where they are asked for",
    )

    @model_validator(mode="after")
    def _names_are_known(self) -> WorkflowSettings:
        for kind, names in (("datasets", self.datasets), ("runs", self.runs), ("detectors", self.detectors)):
            for name in names:
                taken = {"runs": STAGE_FOLDERS, "datasets": ("tables",)}.get(kind, ("simulated", "default"))
                if not re.fullmatch(RUN_NAME if kind == "runs" else NAME, name) or name in taken:
                    raise ValueError(f"{kind}.{name}: choose another name (a-z, 0-9, - and _; no folder of a stage)")
        for name, run in self.runs.items():
            try:
                run.settings()
            except InputError as error:
                raise ValueError(f"runs.{name}.{error}") from None
            self._check_candidates(name)
            self._check_start("runs", self.runs, name)
            self._check_start_fits(name)
        for name, detector in self.detectors.items():
            try:
                detector.settings()
            except InputError as error:
                raise ValueError(f"detectors.{name}.{error}") from None
            self._check_start("detectors", self.detectors, name)
        for name, dataset in self.datasets.items():
            check_scene_settings(name, dataset)
            try:
                source = dataset.detection_source(name)
            except InputError as error:
                raise ValueError(str(error)) from None
            if source in self.detectors and dataset.detections != source:
                raise ValueError(
                    f"datasets.{name}: detections: '{dataset.detections}': give the file another name, a detector is "
                    f"called {source}"
                )
            if isinstance(dataset, CatalogueDataset):
                try:
                    dataset.choice(name).check()
                except InputError as error:
                    raise ValueError(f"datasets.{name}: {error}") from None
            for run_name in dataset.runs:
                if run_name not in self.runs:
                    raise ValueError(
                        f"datasets.{name}.runs: '{run_name}' is not known{did_you_mean(run_name, self.runs)}"
                    )
        return self

    def _check_candidates(self, name: str) -> None:
        """Candidates lead from run to run to a method's run."""
        seen, run = [name], self.runs[name]
        while run.candidates is not None:
            if run.candidates not in self.runs:
                raise ValueError(
                    f"runs.{seen[-1]}.candidates: run '{run.candidates}' is not known"
                    f"{did_you_mean(run.candidates, self.runs)}"
                )
            if run.candidates in seen:
                raise ValueError(f"runs.{name}.candidates: leads back to '{run.candidates}'")
            seen.append(run.candidates)
            run = self.runs[run.candidates]

    @staticmethod
    def _check_start(kind: str, entries: Mapping[str, Run] | Mapping[str, Detector], name: str) -> None:
        """Entries lead from start to start to one that starts from none."""
        seen = [name]
        while (start := entries[seen[-1]].start) is not None:
            if start not in entries:
                raise ValueError(f"{kind}.{seen[-1]}.start: '{start}' is not known{did_you_mean(start, entries)}")
            if start in seen:
                raise ValueError(f"{kind}.{name}.start: leads back to '{start}'")
            seen.append(start)

    def _check_start_fits(self, name: str) -> None:
        """A run's network is that of the run it starts from; else one would hear of it after days of training."""
        run = self.runs[name]
        if run.start is None:
            return
        start = self.runs[run.start]
        if start.family != run.family:
            raise ValueError(f"runs.{name}.start: '{run.start}' is of family {start.family}, not {run.family}")
        own, other = (entry.settings().model_dump(mode="json")["network"] for entry in (run, start))
        if differing := [key for key in own if own[key] != other[key]]:
            key = differing[0]
            raise ValueError(
                f"runs.{name}.start: '{run.start}' has network.{key}={other[key]}, this run {own[key]}; set it alike"
            )

    def dataset(self, name: str) -> Dataset:
        """A dataset's entry; without a choice of protocols, published ones take those that papers report.

        Raises:
            InputError: there is none of this name.
        """
        if name in self.datasets or name in catalogue_names():
            entry = self.datasets.get(name) or CatalogueDataset()
            if isinstance(entry, CatalogueDataset) and "protocols" not in entry.model_fields_set:
                reported = published(name).protocols if published(name).vsd else ("bop24",)
                return entry.model_copy(update={"protocols": reported})
            return entry
        raise InputError(f"dataset '{name}' is not known{did_you_mean(name, [*self.datasets, *catalogue_names()])}")

    @property
    def dataset_names(self) -> list[str]:
        """Names of all datasets: those of config.yaml, then the catalogue's."""
        others = [name for name in catalogue_names() if name not in self.datasets and catalogue_entry(name).parts]
        return [*self.datasets, *others]

    @property
    def stage_runs(self) -> list[str]:
        """Runs that work on the estimates of other runs."""
        return [name for name, run in self.runs.items() if run.candidates is not None]

    @property
    def method_runs(self) -> list[str]:
        """Runs that start from images."""
        return [name for name, run in self.runs.items() if run.candidates is None]

    def training_settings(self, run: str) -> dict[str, Any]:
        """What decides a run's checkpoint: its family and that family's settings of training, defaults included."""
        if self.runs[run].candidates is not None:
            return self.training_settings(str(self.runs[run].candidates))
        sections = FAMILIES[self.runs[run].family].train_sections
        settings = self.runs[run].settings().model_dump(mode="json")
        given: dict[str, Any] = {"checkpoint": self.runs[run].checkpoint} if self.runs[run].checkpoint else {}
        if (start := self.runs[run].start) is not None:
            given["start"] = self.training_settings(start)
        return {"family": self.runs[run].family, **given, **{k: v for k, v in settings.items() if k in sections}}

    def training_digest(self, run: str) -> str:
        """Digest of `training_settings`: a training is repeated when it changes."""
        return json_digest(self.training_settings(run))

    def training_overrides(self, run: str) -> list[str]:
        """`key=value` strings for `train.py --set`."""
        sections = FAMILIES[self.runs[run].family].train_sections
        return flatten({k: v for k, v in self.runs[run].set.items() if k in sections})

    def inference_digest(self, run: str) -> str:
        """Digest of all settings of a run: inference is repeated when it changes."""
        settings = self.runs[run].settings().model_dump(mode="json")
        return json_digest({"family": self.runs[run].family, "of": self.runs[run].candidates, **settings})

    def inference_overrides(self, run: str) -> list[str]:
        """`key=value` strings for `infer.py --set`; with those of training, for the checkpoint has to fit."""
        return flatten(self.runs[run].set)

    def real_images(self, dataset: str) -> str | None:
        """Folder of a dataset's real training scenes, None if it has none."""
        entry = self.dataset(dataset)
        if isinstance(entry, CatalogueDataset):
            return published(dataset).train_real
        return entry.train_real if isinstance(entry, FolderDataset) else None

    def further_images(self, dataset: str, learner: Run | Detector) -> tuple[str, ...]:
        """Folders of a dataset that a run or a detector is trained on beside the dataset's own choice."""
        entry, real = self.dataset(dataset), self.real_images(dataset) if learner.real_images else None
        wanted = [*([] if real is None else [real]), *learner.more_images]
        there, own = set[str | None](), set[str | None]()
        if isinstance(entry, CatalogueDataset):
            there = {part.split for part in published(dataset).parts.values() if part.scenes}
            own = {published(source).parts[part].split for source, part in entry.choice(dataset).training_parts}
        elif isinstance(entry, FolderDataset):
            there = {real, *(folder for folder in learner.more_images if Path("data", dataset, folder).is_dir())}
            own = {entry.train}
        return tuple(folder for folder in dict.fromkeys(wanted) if folder in there - own)

    def trained_detector(self, dataset: str, detector: str) -> str:
        """The detector whose training `detector` uses: its start's where the real images are not there."""
        return self._trained(self.detectors, dataset, detector)

    def _trained(self, entries: Mapping[str, Run] | Mapping[str, Detector], dataset: str, name: str) -> str:
        entry = entries[name]
        if entry.checkpoint or not entry.real_images or entry.start is None or self.real_images(dataset) is not None:
            return name
        return self._trained(entries, dataset, entry.start)

    def runs_of(self, dataset: str) -> list[str]:
        """Runs of a dataset, without those that differ from another one by real images which the dataset has not."""
        runs = self.dataset(dataset).runs
        plain = {self.inference_digest(run) for run in runs if not self.runs[run].real_images}
        has_real = self.real_images(dataset) is not None
        return [r for r in runs if has_real or not self.runs[r].real_images or self.inference_digest(r) not in plain]

    def checkpoint_run(self, dataset: str, run: str) -> str:
        """The run whose checkpoint `run` uses: the first one of the dataset that would be trained the same way.

        Where a dataset has no real images, a run that adds them to those of the run it starts from is that run.
        """
        run = self._trained(self.runs, dataset, run)

        def training(name: str) -> tuple[str, tuple[str, ...]]:
            return self.training_digest(name), self.further_images(dataset, self.runs[name])

        trained = [name for name in self.dataset(dataset).runs if self._trained(self.runs, dataset, name) == name]
        return next((name for name in trained if training(name) == training(run)), run)


def load(config: Mapping[str, Any]) -> WorkflowSettings:
    """Validate the configuration that Snakemake has read and merged.

    Raises:
        InputError: one sentence that names the key and the nearest valid name.
    """
    return validate(WorkflowSettings, config, "config.yaml")
