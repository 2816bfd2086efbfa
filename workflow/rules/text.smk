# Features of the training clips -> confusables.parquet -> texts/{texts}.parquet


rule embed_labels:
    input:
        clips=f"{RESULTS}/data/{{dataset}}/clips.parquet",
        weights=f"{RESULTS}/backbones/{{backbone}}/weights.safetensors",
        backbone=in_bucket(lambda w: f"{RESULTS}/backbones/{w.backbone}/backbone.yaml"),
    output:
        f"{RESULTS}/data/{{dataset}}/features/{{backbone}}/labels.npz",
    log:
        f"{RESULTS}/logs/embed_labels/{{dataset}}/{{backbone}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/embed_labels/{{dataset}}/{{backbone}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(10),
    params:
        backbone=lambda w: f"{HERE}/backbones/{w.backbone}",
    shell:
        "kinetext embed-labels --backbone {params.backbone} --clips {input.clips} --output {output} 2> {log}"


rule mine_confusables:
    input:
        clips=f"{RESULTS}/data/{{dataset}}/clips.parquet",
        splits=f"{RESULTS}/data/{{dataset}}/{{protocol}}/splits.parquet",
        frames=lambda w: frame_list(w.dataset),
        features=features,
        names=f"{RESULTS}/data/{{dataset}}/features/{{backbone}}/labels.npz",
        rivals=lambda w: yours([mining(w).file] if mining(w).file else []),  # the user's own; the command finds it in its options
    output:
        f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/confusables.parquet",
    log:
        f"{RESULTS}/logs/mine_confusables/{{dataset}}/{{protocol}}/{{backbone}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/mine_confusables/{{dataset}}/{{protocol}}/{{backbone}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        options=lambda w: mining(w).model_dump_json(exclude={"rule"}),
        features=lambda w, input: f"--features {Path(input.features[0]).parent}" if input.features else "",
        code=code("texts/mining.py", "texts/confusion.py"),
    shell:
        "kinetext mine-confusables --clips {input.clips} --splits {input.splits} --names {input.names}"
        " --frames {input.frames} {params.features} --options {params.options:q} --output {output} 2> {log}"


rule describe_classes:
    input:
        clips=f"{RESULTS}/data/{{dataset}}/clips.parquet",
        splits=f"{RESULTS}/data/{{dataset}}/{{protocol}}/splits.parquet",
        confusables=f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/confusables.parquet",
        backbone=f"{RESULTS}/backbones/{{backbone}}/backbone.yaml",
        written=written,
    output:
        f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/texts/{{texts}}.parquet",
    log:
        f"{RESULTS}/logs/describe_classes/{{dataset}}/{{protocol}}/{{backbone}}/{{texts}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/describe_classes/{{dataset}}/{{protocol}}/{{backbone}}/{{texts}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    resources:
        chat=1,
    params:
        options=options("texts", "texts"),
        rule=CONFIG.confusables.rule,
        backbone=lambda w: f"{HERE}/backbones/{w.backbone}",
        cache=f"{RESULTS}/cache",
        code=lambda w: code(
            *("texts/describe.py", "texts/prompts.py", "texts/checks.py", "texts/answers.py"),
            *("texts/chat/client.py", "texts/chat/completion.py"),
            *provider(w),
        ),
    shell:
        "kinetext describe-classes --name {wildcards.texts} --clips {input.clips} --splits {input.splits}"
        " --confusables {input.confusables} --options {params.options:q} --rule {params.rule}"
        " --backbone {params.backbone} --cache {params.cache} --output {output} 2> {log}"
