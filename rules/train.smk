rule train:
    input:
        models=models,
        scenes=train_scenes,
        start=training_start,
    output:
        "results/{dataset}/{run}/model.ckpt",
    log:
        "results/{dataset}/logs/train/{run}.log",
    benchmark:
        "results/{dataset}/benchmarks/train/{run}.jsonl"
    wildcard_constraints:
        run=one_of(SETTINGS.method_runs),
    threads: SETTINGS.train_threads
    resources:
        mem_mb=scaled(5000),
        runtime=scaled(1440),
        gpu=SETTINGS.gpus,
        nodes=1,
        device=DEVICE,
        loaders=loaders,
    params:
        family=family,
        overrides=training_overrides,
        settings=training_digest,
        scenes=train_folders,
        models=models_of,
        start=start_option,
    shell:
        "python workflow_scripts/train.py --family {params.family} --set {params.overrides:q}"
        " --models {params.models} --scenes {params.scenes} {params.start}"
        " --device {resources.device} --processes {resources.gpu} --workers {resources.loaders}"
        " --out {output} > {log} 2>&1"
