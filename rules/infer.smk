PART = "" if SETTINGS.inference_jobs == 1 else "parts/{shard}/"
NUMBER = "" if SETTINGS.inference_jobs == 1 else "_{shard}"


rule infer:
    input:
        checkpoint=checkpoint_of,
        detections=detections_of_job,
        surfaces=surfaces,
        scenes=test_scenes,
        targets=targets,
    output:
        f"results/{{dataset}}/{{run}}/{PART}estimates.csv",
    log:
        f"results/{{dataset}}/logs/infer/{{run}}{NUMBER}.log",
    benchmark:
        f"results/{{dataset}}/benchmarks/infer/{{run}}{NUMBER}.jsonl"
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


if SETTINGS.inference_jobs > 1:

    rule split_detections:
        input:
            "results/{dataset}/detections/{source}.json",
        output:
            expand("results/{{dataset}}/detections/{{source}}/{shard}.json", shard=inference_shards()),
        log:
            "results/{dataset}/logs/split_detections/{source}.log",
        benchmark:
            "results/{dataset}/benchmarks/split_detections/{source}.jsonl"
        wildcard_constraints:
            source="[^/]+",
        resources:
            mem_mb=scaled(1000),
            runtime=scaled(10),
        shell:
            "python workflow_scripts/split_detections.py --detections {input} --out {output} > {log} 2>&1"

    rule join_estimates:
        input:
            expand("results/{{dataset}}/{{run}}/parts/{shard}/estimates.csv", shard=inference_shards()),
        output:
            "results/{dataset}/{run}/estimates.csv",
        log:
            "results/{dataset}/logs/join_estimates/{run}.log",
        benchmark:
            "results/{dataset}/benchmarks/join_estimates/{run}.jsonl"
        wildcard_constraints:
            run=one_of(SETTINGS.method_runs),
        resources:
            mem_mb=scaled(1000),
            runtime=scaled(10),
        shell:
            "python workflow_scripts/join_estimates.py --parts {input} --out {output} > {log} 2>&1"
