rule check:
    input:
        models=models,
        scenes=test_scenes,
        targets=targets,
    output:
        page="results/{dataset}/check.html",
        findings="results/{dataset}/check.json",
    log:
        "results/{dataset}/logs/check.log",
    benchmark:
        "results/{dataset}/benchmarks/check.jsonl"
    threads: 8
    resources:
        mem_mb=scaled(4000),
        runtime=scaled(240),
    # All splits that lie there are read. Errors are for the reader of the page: a failed job would have it deleted.
    shell:
        "python workflow_scripts/check_dataset.py data/{wildcards.dataset} --jobs {threads} --no-fail"
        " --page {output.page} --json {output.findings} > {log} 2>&1"
