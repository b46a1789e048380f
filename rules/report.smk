rule graph:
    output:
        "results/{dataset}/graph.svg",
    log:
        "results/{dataset}/logs/graph.log",
    benchmark:
        "results/{dataset}/benchmarks/graph.jsonl"
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(5),
    params:
        runs=runs,
        configfiles=configfiles,
    shell:
        "python workflow_scripts/draw_graph.py --target results/{wildcards.dataset}/report.html"
        " --configfile {params.configfiles} --out {output}"
        " > {log} 2>&1"


rule report:
    input:
        scores="results/{dataset}/scores.json",
        comparisons=comparisons,
        detections=detections,
        graph="results/{dataset}/graph.svg",
        surfaces=surfaces,
    output:
        "results/{dataset}/report.html",
    log:
        "results/{dataset}/logs/report.log",
    benchmark:
        "results/{dataset}/benchmarks/report.jsonl"
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(20),
    params:
        runs=runs,
        split=test_split,
    shell:
        "python workflow_scripts/report.py --dataset data/{wildcards.dataset} --results results/{wildcards.dataset}"
        " --split {params.split} --runs {params.runs} --detections {input.detections} --graph {input.graph} --out {output} > {log} 2>&1"
