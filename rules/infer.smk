rule infer:
    input:
        checkpoint=checkpoint_of,
        detections=detections,
        surfaces=surfaces,
        scenes=test_scenes,
        targets=targets,
    output:
        "results/{dataset}/{run}/estimates.csv",
    log:
        "results/{dataset}/logs/infer/{run}.log",
    benchmark:
        "results/{dataset}/benchmarks/infer/{run}.jsonl"
    wildcard_constraints:
        run=one_of(SETTINGS.method_runs),
    threads: SETTINGS.train_threads
    resources:
        mem_mb=scaled(5000),
        runtime=scaled(720),
        gpu=min(SETTINGS.gpus, 1),
        device=DEVICE,
    params:
        family=family,
        overrides=inference_overrides,
        settings=inference_digest,
        split=test_split,
    shell:
        "python workflow_scripts/infer.py --family {params.family} --set {params.overrides:q}"
        " --checkpoint {input.checkpoint} --dataset data/{wildcards.dataset} --split {params.split}"
        " --detections {input.detections} --surface results/{wildcards.dataset}/surface"
        " --device {resources.device} --out {output} > {log} 2>&1"
