rule simulate_detections:
    input:
        scenes=test_scenes,
        targets=targets,
    output:
        "results/{dataset}/detections/simulated.json",
    log:
        "results/{dataset}/logs/simulate_detections.log",
    benchmark:
        "results/{dataset}/benchmarks/simulate_detections.jsonl"
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(10),
    params:
        split=test_split,
        seed=dataset_seed,
    shell:
        "python workflow_scripts/simulate_detections.py --dataset data/{wildcards.dataset} --split {params.split}"
        " --seed {params.seed} --out {output} > {log} 2>&1"


rule default_detections:
    output:
        "data/bop_extra/default_detections/{dataset}.json",
    log:
        "results/{dataset}/logs/default_detections.log",
    benchmark:
        "results/{dataset}/benchmarks/default_detections.jsonl"
    wildcard_constraints:
        dataset=one_of(fetchable()),
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(60),
        mirror=mirror(),
    params:
        file=default_detections,
    shell:
        "python workflow_scripts/fetch_file.py --file {params.file:q} --out {output} {resources.mirror} > {log} 2>&1"


rule import_detections:
    input:
        given=given_detections,
        targets=targets,
    output:
        "results/{dataset}/detections/{source}.json",
    log:
        "results/{dataset}/logs/import_detections/{source}.log",
    benchmark:
        "results/{dataset}/benchmarks/import_detections/{source}.jsonl"
    wildcard_constraints:
        source=r"(?!simulated\.json)[^/]+",
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(10),
    params:
        split=test_split,
    shell:
        "python workflow_scripts/import_detections.py --detections {input.given:q} --dataset data/{wildcards.dataset}"
        " --split {params.split} --out {output} > {log} 2>&1"


rule train_detector:
    input:
        models=models,
        scenes=train_scenes,
        start=training_start,
    output:
        "results/{dataset}/detections/{detector}/model.ckpt",
    log:
        "results/{dataset}/logs/train_detector/{detector}.log",
    benchmark:
        "results/{dataset}/benchmarks/train_detector/{detector}.jsonl"
    wildcard_constraints:
        detector=one_of(SETTINGS.detectors),
    threads: SETTINGS.train_threads
    resources:
        mem_mb=scaled(8000),
        runtime=scaled(1440),
        gpu=SETTINGS.gpus,
        nodes=1,
        device=DEVICE,
        loaders=loaders,
    params:
        overrides=detector_training,
        settings=detector_training_digest,
        scenes=train_folders,
        models=models_of,
        start=start_option,
    shell:
        "python workflow_scripts/train_detector.py --set {params.overrides:q} --models {params.models}"
        " --scenes {params.scenes} {params.start}"
        " --device {resources.device} --processes {resources.gpu} --workers {resources.loaders}"
        " --out {output} > {log} 2>&1"


rule detect:
    input:
        checkpoint=detector_checkpoint,
        scenes=test_scenes,
        targets=targets,
    output:
        "results/{dataset}/detections/{detector}.json",
    log:
        "results/{dataset}/logs/detect/{detector}.log",
    benchmark:
        "results/{dataset}/benchmarks/detect/{detector}.jsonl"
    wildcard_constraints:
        detector=one_of(SETTINGS.detectors),
    threads: SETTINGS.train_threads
    resources:
        mem_mb=scaled(5000),
        runtime=scaled(240),
        gpu=min(SETTINGS.gpus, 1),
        device=DEVICE,
    params:
        overrides=detector_changes,
        settings=detector_digest,
        split=test_split,
    shell:
        "python workflow_scripts/detect.py --checkpoint {input.checkpoint} --set {params.overrides:q}"
        " --dataset data/{wildcards.dataset} --split {params.split} --device {resources.device}"
        " --out {output} > {log} 2>&1"


rule score_detections:
    input:
        detections="results/{dataset}/detections/{source}.json",
        scenes=test_scenes,
        targets=targets,
    output:
        "results/{dataset}/detections/{source}/scores.json",
    log:
        "results/{dataset}/logs/score_detections/{source}.log",
    benchmark:
        "results/{dataset}/benchmarks/score_detections/{source}.jsonl"
    wildcard_constraints:
        source="[^/]+",
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(30),
    params:
        split=test_split,
    shell:
        "python workflow_scripts/evaluate.py --dataset data/{wildcards.dataset} --split {params.split}"
        " --estimates {input.detections} --protocol coco --out {output} > {log} 2>&1"
