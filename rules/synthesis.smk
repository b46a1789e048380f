rule shard:
    input:
        models=models,
        camera=camera,
    output:
        "results/{dataset}/synthetic/{generator}/shard_{shard}/scene_gt_info.json",
    log:
        "results/{dataset}/logs/shard/{generator}_{shard}.log",
    benchmark:
        "results/{dataset}/benchmarks/shard/{generator}_{shard}.jsonl"
    wildcard_constraints:
        generator="raycast",
    resources:
        mem_mb=scaled(1500),
        runtime=scaled(30),
    params:
        models=models_of,
        camera=camera_of,
        look=scene_look,
        images=scene_images,
        seed=scene_seed,
        overrides=scene_overrides,
        settings=scene_digest,
    shell:
        "python workflow_scripts/render_scenes.py --models {params.models} --camera {params.camera}"
        " --look {params.look} --set {params.overrides:q} --seed {params.seed} --images {params.images}"
        " --out results/{wildcards.dataset}/synthetic/{wildcards.generator}/shard_{wildcards.shard} > {log} 2>&1"


rule photorealistic_shard:
    input:
        models=models,
        camera=camera,
    output:
        "results/{dataset}/synthetic/{generator}/shard_{shard}/scene_gt_info.json",
    log:
        "results/{dataset}/logs/shard/{generator}_{shard}.log",
    benchmark:
        "results/{dataset}/benchmarks/shard/{generator}_{shard}.jsonl"
    wildcard_constraints:
        generator="blenderproc",
    threads: SETTINGS.train_threads
    resources:
        mem_mb=scaled(6000),
        runtime=scaled(240),
        gpu=min(SETTINGS.gpus, 1),
        device=DEVICE,
    params:
        models=models_of,
        camera=camera_of,
        look=scene_look,
        images=scene_images,
        seed=scene_seed,
        overrides=scene_overrides,
        settings=scene_digest,
    shell:
        "python workflow_scripts/render_photorealistic.py --models {params.models}"
        " --camera {params.camera} --look {params.look} --set {params.overrides:q} --seed {params.seed}"
        " --images {params.images} --threads {threads} --device {resources.device}"
        " --out results/{wildcards.dataset}/synthetic/{wildcards.generator}/shard_{wildcards.shard} > {log} 2>&1"
