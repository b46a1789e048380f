rule evaluate:
    input:
        estimates="results/{dataset}/{run}/estimates.csv",
        models=evaluation_models,
        scenes=test_scenes,
        targets=targets,
    output:
        "results/{dataset}/{run}/scores{protocol}.json",
    log:
        "results/{dataset}/logs/evaluate/{run}{protocol}.log",
    benchmark:
        "results/{dataset}/benchmarks/evaluate/{run}{protocol}.jsonl"
    wildcard_constraints:
        protocol="(_[a-z0-9-]+)?",
    threads: 4
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(60),
    params:
        protocol=protocol_of,
        evaluator=evaluator,
        split=test_split,
    shell:
        "python workflow_scripts/evaluate.py --dataset data/{wildcards.dataset} --split {params.split}"
        " --estimates {input.estimates} --protocol {params.protocol} --evaluator {params.evaluator}"
        " --workers {threads} --out {output} > {log} 2>&1"


rule compare:
    input:
        first="results/{dataset}/{first}/estimates.csv",
        second="results/{dataset}/{run}/estimates.csv",
        models=evaluation_models,
        scenes=test_scenes,
        targets=targets,
    output:
        "results/{dataset}/comparisons/{run}_vs_{first}.json",
    log:
        "results/{dataset}/logs/compare/{run}_vs_{first}.log",
    benchmark:
        "results/{dataset}/benchmarks/compare/{run}_vs_{first}.jsonl"
    wildcard_constraints:
        first=one_of(SETTINGS.runs),
    threads: 4
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(60),
    params:
        split=test_split,
    shell:
        "python workflow_scripts/compare_estimates.py --dataset data/{wildcards.dataset} --split {params.split}"
        " --first {input.first} --second {input.second} --workers {threads} --out {output} > {log} 2>&1"


rule dataset_scores:
    input:
        scores_of_runs,
    output:
        "results/{dataset}/scores.json",
    log:
        "results/{dataset}/logs/dataset_scores.log",
    benchmark:
        "results/{dataset}/benchmarks/dataset_scores.jsonl"
    resources:
        mem_mb=scaled(500),
        runtime=scaled(5),
    params:
        detections=detection_source,
    shell:
        "python workflow_scripts/merge_scores.py --dataset {wildcards.dataset} --detections {params.detections}"
        " --scores {input} --out {output} > {log} 2>&1"
