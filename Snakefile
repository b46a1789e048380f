from snakemake.utils import min_version

min_version("9.20")


configfile: "config.yaml"


# With `--sdm apptainer` every job runs in this image, which has the Python and the system libraries of packages.txt.
container: "docker://python:3.11-bookworm"


include: "rules/common.smk"
include: "rules/common_data.smk"
include: "rules/common_runs.smk"
include: "rules/datasets.smk"
include: "rules/fetch.smk"
include: "rules/meshes.smk"
include: "rules/synthesis.smk"
include: "rules/detections.smk"
include: "rules/train.smk"
include: "rules/infer.smk"
include: "rules/stages.smk"
include: "rules/evaluate.smk"
include: "rules/check.smk"
include: "rules/report.smk"
include: "rules/tables.smk"


localrules:
    all,
    dataset_scores,
    default_detections,
    fetch,
    graph,
    table,
    targets,


wildcard_constraints:
    dataset=one_of(SETTINGS.dataset_names),
    run=one_of(SETTINGS.runs),
    object=r"\d{6}",
    scene=r"\d{6}",
    shard=r"\d{4}",


onstart:
    take_run_lock()


rule all:
    default_target: True
    input:
        expand("results/{dataset}/{file}", dataset=list(SETTINGS.datasets)[0], file=["scores.json", "report.html"]),
