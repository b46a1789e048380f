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


rule symmetries:
    input:
        "results/{dataset}/meshes/obj_{object}.ply",
    output:
        proposal="results/{dataset}/symmetries/obj_{object}.json",
        picture="results/{dataset}/symmetries/obj_{object}.png",
    log:
        "results/{dataset}/logs/symmetries/obj_{object}.log",
    benchmark:
        "results/{dataset}/benchmarks/symmetries/obj_{object}.jsonl"
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(30),
    params:
        seed=dataset_seed,
    shell:
        "python workflow_scripts/propose_symmetries.py --mesh {input} --seed {params.seed}"
        " --out {output.proposal} --picture {output.picture} > {log} 2>&1"


rule keypoints:
    input:
        models,
    output:
        "results/{dataset}/keypoints/{scheme}/obj_{object}.json",
    log:
        "results/{dataset}/logs/keypoints/{scheme}_obj_{object}.log",
    benchmark:
        "results/{dataset}/benchmarks/keypoints/{scheme}_obj_{object}.jsonl"
    wildcard_constraints:
        scheme="vertices|surface|box|sphere-box",
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(10),
    shell:
        "python workflow_scripts/extract_keypoints.py --mesh data/{wildcards.dataset}/models/obj_{wildcards.object}.ply"
        " --scheme {wildcards.scheme} --out {output} > {log} 2>&1"
