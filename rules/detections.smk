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
        source=r"(?!simulated\.json).+",
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(10),
    params:
        split=test_split,
    shell:
        "python workflow_scripts/import_detections.py --detections {input.given:q} --dataset data/{wildcards.dataset}"
        " --split {params.split} --out {output} > {log} 2>&1"
