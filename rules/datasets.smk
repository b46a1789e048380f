rule demo_models:
    output:
        meshes=expand("data/{{dataset}}/models/obj_{object:06d}.ply", object=DEMO_OBJECTS),
        info="data/{dataset}/models/models_info.json",
        info_eval="data/{dataset}/models_eval/models_info.json",
        camera="data/{dataset}/camera.json",
    log:
        "results/{dataset}/logs/demo_models.log",
    benchmark:
        "results/{dataset}/benchmarks/demo_models.jsonl"
    wildcard_constraints:
        dataset=one_of(names_of(DemoDataset)),
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(10),
    params:
        seed=dataset_seed,
    shell:
        "python workflow_scripts/make_demo_models.py --seed {params.seed} --out data/{wildcards.dataset} > {log} 2>&1"


rule demo_scene:
    input:
        models=models,
        camera="data/{dataset}/camera.json",
    output:
        "data/{dataset}/{split}/{scene}/scene_gt_info.json",
    log:
        "results/{dataset}/logs/demo_scene/{split}_{scene}.log",
    benchmark:
        "results/{dataset}/benchmarks/demo_scene/{split}_{scene}.jsonl"
    wildcard_constraints:
        dataset=one_of(names_of(DemoDataset)),
        split="train_synt|test",
    resources:
        mem_mb=scaled(1500),
        runtime=scaled(30),
    params:
        look=scene_look,
        images=scene_images,
        seed=scene_seed,
        overrides=scene_overrides,
        settings=scene_digest,
    shell:
        "python workflow_scripts/render_scenes.py --models data/{wildcards.dataset}/models --camera {input.camera}"
        " --look {params.look} --set {params.overrides:q} --seed {params.seed} --images {params.images}"
        " --out data/{wildcards.dataset}/{wildcards.split}/{wildcards.scene} > {log} 2>&1"


rule targets:
    input:
        test_scenes,
    output:
        "data/{dataset}/test_targets_bop19.json",
    log:
        "results/{dataset}/logs/targets.log",
    benchmark:
        "results/{dataset}/benchmarks/targets.jsonl"
    wildcard_constraints:
        dataset=one_of(names_of(DemoDataset)),
    resources:
        mem_mb=scaled(1000),
        runtime=scaled(10),
    shell:
        "python workflow_scripts/write_targets.py --dataset data/{wildcards.dataset} --split test > {log} 2>&1"


rule import_photos:
    input:
        description=photo_description,
        files=photo_files,
    output:
        info="data/{dataset}/models/models_info.json",
        info_eval="data/{dataset}/models_eval/models_info.json",
        camera="data/{dataset}/camera.json",
        targets="data/{dataset}/test_targets_bop19.json",
    log:
        "results/{dataset}/logs/import_photos.log",
    benchmark:
        "results/{dataset}/benchmarks/import_photos.jsonl"
    wildcard_constraints:
        dataset=one_of(names_of(PhotosDataset)),
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(10),
    params:
        folder=photo_folder,
    shell:
        "python workflow_scripts/import_photos.py --description {input.description} --folder {params.folder:q}"
        " --out data/{wildcards.dataset} > {log} 2>&1"
