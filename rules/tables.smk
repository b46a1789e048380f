# A table takes the scores that are there and names the others; `complete_tables` makes them first.
rule table:
    input:
        scores_of_paper,
    output:
        html="results/tables/{paper}.html",
        json="results/tables/{paper}.json",
        markdown="results/tables/{paper}.md",
    log:
        "results/tables/logs/{paper}.log",
    benchmark:
        "results/tables/benchmarks/{paper}.jsonl"
    wildcard_constraints:
        paper=one_of(paper_names()),
    resources:
        mem_mb=scaled(500),
        runtime=scaled(5),
    params:
        found=scores_there,
    shell:
        "python workflow_scripts/make_table.py --paper {wildcards.paper} --out {output.html} > {log} 2>&1"
