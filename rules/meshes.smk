rule remesh:
    input:
        models,
    output:
        "results/{dataset}/meshes/obj_{object}.ply",
    log:
        "results/{dataset}/logs/remesh/obj_{object}.log",
    benchmark:
        "results/{dataset}/benchmarks/remesh/obj_{object}.jsonl"
    resources:
        mem_mb=scaled(4000),
        runtime=scaled(30),
    params:
        models=models_of,
    shell:
        "python workflow_scripts/remesh.py --mesh {params.models}/obj_{wildcards.object}.ply"
        " --out {output} > {log} 2>&1"


rule surface:
    input:
        "results/{dataset}/meshes/obj_{object}.ply",
    output:
        "results/{dataset}/surface/obj_{object}.npz",
    log:
        "results/{dataset}/logs/surface/obj_{object}.log",
    benchmark:
        "results/{dataset}/benchmarks/surface/obj_{object}.jsonl"
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(30),
    params:
        seed=dataset_seed,
    shell:
        "python workflow_scripts/sample_surface.py --mesh {input} --seed {params.seed} --count 50000"
        " --out {output} > {log} 2>&1"
