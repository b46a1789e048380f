rule shard:
    input:
        models=models,
        camera="data/{dataset}/camera.json",
    output:
        "results/{dataset}/synthetic/raycast/shard_{shard}/scene_gt_info.json",
    log:
        "results/{dataset}/logs/shard/{shard}.log",
    benchmark:
        "results/{dataset}/benchmarks/shard/{shard}.jsonl"
    resources:
        mem_mb=scaled(1500),
        runtime=scaled(30),
    params:
        look=scene_look,
        images=scene_images,
        seed=scene_seed,
        overrides=scene_overrides,
        settings=scene_digest,
    shell:
        "python workflow_scripts/render_scenes.py --models data/{wildcards.dataset}/models --camera {input.camera}"
        " --look {params.look} --set {params.overrides:q} --seed {params.seed} --images {params.images}"
        " --out results/{wildcards.dataset}/synthetic/raycast/shard_{wildcards.shard} > {log} 2>&1"
