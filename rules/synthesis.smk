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
    threads: scene_workers
    resources:
        mem_mb=scaled(3000),
        runtime=scaled(30),
    params:
        models=models_of,
        camera=camera_of,
        look=scene_look,
        images=scene_images,
        seed=scene_seed,
        overrides=scene_overrides,
        folders=image_folders,
        settings=scene_digest,
    shell:
        "python workflow_scripts/render_scenes.py --models {params.models} --camera {params.camera}"
        " --look {params.look} --set {params.overrides:q} --seed {params.seed} --images {params.images}"
        " {params.folders:q} --workers {threads}"
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
        folders=image_folders,
    shell:
        "python workflow_scripts/render_photorealistic.py --models {params.models}"
        " --camera {params.camera} --look {params.look} --set {params.overrides:q} --seed {params.seed}"
        " --images {params.images} {params.folders:q} --threads {threads} --device {resources.device}"
        " --out results/{wildcards.dataset}/synthetic/{wildcards.generator}/shard_{wildcards.shard} > {log} 2>&1"


rule preview:
    input:
        models=models,
        scenes=previewed_scenes,
    output:
        "results/{dataset}/synthetic/{generator}/preview.html",
    log:
        "results/{dataset}/logs/preview_{generator}.log",
    benchmark:
        "results/{dataset}/benchmarks/preview_{generator}.jsonl"
    wildcard_constraints:
        generator="raycast|blenderproc",
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(20),
    params:
        models=models_of,
        scenes=previewed_folders,
    shell:
        "python workflow_scripts/preview_images.py --scenes {params.scenes:q} --models {params.models}"
        " --title '{wildcards.dataset}, {wildcards.generator}' --out {output} > {log} 2>&1"
