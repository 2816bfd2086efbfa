# Features of the training clips -> confusables.parquet -> texts/{texts}.parquet


rule embed_labels:
    input:
        unpack(bucket_inputs("embed_labels")),
        clips=f"{RESULTS}/data/{{dataset}}/clips.parquet",
        weights=f"{RESULTS}/backbones/{{backbone}}/weights.safetensors",
    output:
        f"{RESULTS}/data/{{dataset}}/features/{{backbone}}/labels.npz",
    log:
        f"{RESULTS}/logs/embed_labels/{{dataset}}/{{backbone}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/embed_labels/{{dataset}}/{{backbone}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    resources:
        mem_mb=scale_with_attempt(8000),
        runtime=scale_with_attempt(10),
    params:
        backbone=lambda w: f"{RESULTS_LOCAL}/backbones/{w.backbone}",
    shell:
        "kinetext embed-labels --backbone {params.backbone:q} --clips {input.clips:q} --output {output:q} 2> {log:q}"


rule mine_confusables:
    input:
        clips=f"{RESULTS}/data/{{dataset}}/clips.parquet",
        splits=f"{RESULTS}/data/{{dataset}}/{{protocol}}/splits.parquet",
        frames=lambda w: frame_list(w.dataset, w.backbone),
        features=feature_shards,
        names=f"{RESULTS}/data/{{dataset}}/features/{{backbone}}/labels.npz",
        rivals=user_inputs(rival_files),  # named in the options
    output:
        f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/confusables.parquet",
    log:
        f"{RESULTS}/logs/mine_confusables/{{dataset}}/{{protocol}}/{{backbone}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/mine_confusables/{{dataset}}/{{protocol}}/{{backbone}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    resources:
        mem_mb=mining_mb,
        runtime=scale_with_attempt(60),
    params:
        options=lambda w: mining_options(CONFIG, w.dataset).model_dump_json(exclude={"rule"}),
        features=lambda w, input: flags(["--features"], [Path(f).parent for f in input.features]),
        states=pattern_states(rival_files),
        code=code("texts.mining", stops=["backbones"]),
    shell:
        "kinetext mine-confusables --clips {input.clips:q} --splits {input.splits:q} --names {input.names:q}"
        " --frames {input.frames:q} {params.features:q} --options {params.options:q} --output {output:q} 2> {log:q}"


rule describe_classes:
    input:
        unpack(bucket_inputs("describe_classes")),
        clips=f"{RESULTS}/data/{{dataset}}/clips.parquet",
        splits=f"{RESULTS}/data/{{dataset}}/{{protocol}}/splits.parquet",
        confusables=f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/confusables.parquet",
        backbone=f"{RESULTS}/backbones/{{backbone}}/backbone.yaml",
        sources=user_inputs(text_sources),
        frames=described_frames,
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
        options=lambda w, input: CONFIG.texts[w.texts].for_dataset(w.dataset).model_dump_json(),  # a change reruns nothing
        defining=lambda w: defining_options(CONFIG.texts[w.texts].for_dataset(w.dataset), w.texts).model_dump_json(),
        rule=CONFIG.confusables.rule,
        backbone=lambda w: f"{RESULTS_LOCAL}/backbones/{w.backbone}",
        cache=f"{RESULTS}/cache",
        frames=lambda w, input: flags(["--frames"], input.frames),
        states=pattern_states(text_sources),
        code=code(
            "texts.describe",
            plugins=lambda w: text_modules(CONFIG.texts[w.texts].for_dataset(w.dataset), w.texts),
            stops=["backbones"],
        ),
    shell:
        "kinetext describe-classes --name {wildcards.texts:q} --clips {input.clips:q} --splits {input.splits:q}"
        " --confusables {input.confusables:q} --options {params.options:q} --rule {params.rule:q}"
        " --backbone {params.backbone:q} --cache {params.cache:q} {params.frames:q} --output {output:q} 2> {log:q}"
