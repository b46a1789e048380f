# Published datasets: `snakemake data/tless` fetches and unpacks what inference and training on T-LESS need.


rule fetch:
    output:
        "data/{dataset}/archives/{part}.fetched.json"
        if SETTINGS.keep_archives
        # without their archives the records would promise what is no longer there
        else temp("data/{dataset}/archives/{part}.fetched.json"),
    log:
        "results/{dataset}/logs/fetch/{part}.log",
    benchmark:
        "results/{dataset}/benchmarks/fetch/{part}.jsonl"
    wildcard_constraints:
        dataset=one_of(fetchable()),
        part="[a-z0-9_]+",
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(2880),
        mirror=mirror(),
        beside=parts_beside,
    shell:
        "python workflow_scripts/fetch_dataset.py --dataset {wildcards.dataset} --parts {wildcards.part} --no-unpack"
        " --beside {resources.beside} {resources.mirror} 2>&1 | tee {log}"


rule unpack:
    input:
        "data/{dataset}/archives/{part}.fetched.json",
    output:
        "data/{dataset}/archives/{part}.unpacked.json",
    log:
        "results/{dataset}/logs/unpack/{part}.log",
    benchmark:
        "results/{dataset}/benchmarks/unpack/{part}.jsonl"
    wildcard_constraints:
        dataset=one_of(fetchable()),
        part="[a-z0-9_]+",
    threads: 4
    resources:
        mem_mb=scaled(4000),
        runtime=scaled(600),
        keep="" if SETTINGS.keep_archives else "--remove-archives",
    params:
        scenes=scenes_to_unpack,
    shell:
        "python workflow_scripts/unpack_dataset.py --dataset {wildcards.dataset} --part {wildcards.part}"
        " {params.scenes} --workers {threads} {resources.keep} > {log} 2>&1"


# A rule's name may be a path, and a target that is a rule's name is that rule.
for dataset in fetchable():

    rule:
        name:
            f"data/{dataset}"
        input:
            all_parts(dataset),
