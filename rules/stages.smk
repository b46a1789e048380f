rule stage:
    input:
        candidates=candidates,
        checkpoint=stage_checkpoint,
        models=models,
        scenes=test_scenes,
        targets=targets,
    output:
        "results/{dataset}/{run}/estimates.csv",
    log:
        "results/{dataset}/logs/stage/{run}.log",
    benchmark:
        "results/{dataset}/benchmarks/stage/{run}.jsonl"
    wildcard_constraints:
        run=one_of(SETTINGS.stage_runs),
    threads: 4
    resources:
        mem_mb=scaled(4000),
        runtime=scaled(240),
        gpu=stage_gpus,
        options=stage_options,
    params:
        program=stage_program,
        overrides=inference_overrides,
        settings=inference_digest,
        split=test_split,
    shell:
        "python workflow_scripts/{params.program} --dataset data/{wildcards.dataset} --split {params.split}"
        " --estimates {input.candidates} {resources.options} --set {params.overrides:q} --out {output} > {log} 2>&1"
