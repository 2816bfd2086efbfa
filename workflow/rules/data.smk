# Videos and annotation files -> clips.parquet -> frames/{frame_set}/{shard}.arrow -> features/{backbone}/{shard}.arrow


checkpoint index_clips:
    input:
        made_from,
    output:
        clips=f"{RESULTS}/data/{{dataset}}/clips.parquet",
        shards=f"{RESULTS}/data/{{dataset}}/shards.txt",
    log:
        f"{RESULTS}/logs/index_clips/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_clips/{{dataset}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        options=options("datasets", "dataset", without={"frames", "max_failed", "shots", "novel"}),
        media=lambda w: f"{RESULTS}/data/{w.dataset}/media",
        cache=f"{RESULTS}/cache/frames/{{dataset}}",
    shell:
        "kinetext index-clips --name {wildcards.dataset} --options {params.options:q} --media {params.media}"
        " --cache {params.cache} --shards {output.shards} --output {output.clips} 2> {log}"


# a shard is made again when what it holds changes, not whenever the list of all clips is written anew
rule extract_frames:
    input:
        clips=ancient(f"{RESULTS}/data/{{dataset}}/clips.parquet"),
    output:
        f"{RESULTS}/data/{{dataset}}/frames/{{frame_set}}/{{shard}}.arrow",
    log:
        f"{RESULTS}/logs/extract_frames/{{dataset}}/{{frame_set}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/extract_frames/{{dataset}}/{{frame_set}}/{{shard}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(lambda w: 10 + CONFIG.datasets[w.dataset].shard_clips // 100),
    params:
        options=lambda w: CONFIG.datasets[w.dataset].frames.model_dump_json(),
        cache=f"{RESULTS}/cache/frames/{{dataset}}/{{frame_set}}",
        holds=lambda w: shard_digests(w.dataset)[w.shard],
    shell:
        "kinetext extract-frames --clips {input.clips} --shard {wildcards.shard} --options {params.options:q}"
        " --cache {params.cache} --threads {threads} --output {output} 2> {log}"


# frames.json stands for all shards: ten thousand runs of a thousand shards each would be ten million edges of the graph
rule check_frames:
    input:
        shards=f"{RESULTS}/data/{{dataset}}/shards.txt",
        frames=lambda w: shards(w.dataset),
    output:
        f"{RESULTS}/data/{{dataset}}/frames/{{frame_set}}/frames.json",
    log:
        f"{RESULTS}/logs/check_frames/{{dataset}}/{{frame_set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/check_frames/{{dataset}}/{{frame_set}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        folder=f"{HERE}/data/{{dataset}}/frames/{{frame_set}}",
        max_failed=lambda w: CONFIG.datasets[w.dataset].max_failed,
    shell:
        "kinetext check-frames --shards {input.shards} --frames {params.folder} --max-failed {params.max_failed}"
        " --output {output} 2> {log}"


rule split_clips:
    input:
        clips=f"{RESULTS}/data/{{dataset}}/clips.parquet",
        frames=lambda w: frame_list(w.dataset),
        source=lambda w: [f"{RESULTS}/data/{source(w)}/supervised/splits.parquet"] if source(w) else [],
        source_frames=lambda w: [frame_list(source(w))] if source(w) else [],
        shots=lambda w: yours(list(protocol_options(CONFIG.datasets[w.dataset], w.protocol).shots.values())),
        stored=in_bucket(shards_of),
    output:
        f"{RESULTS}/data/{{dataset}}/{{protocol}}/splits.parquet",
    log:
        f"{RESULTS}/logs/split_clips/{{dataset}}/{{protocol}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/split_clips/{{dataset}}/{{protocol}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        options=lambda w: protocol_options(CONFIG.datasets[w.dataset], w.protocol).model_dump_json(),
        source=lambda w, input: (
            f"--source {input.source} --source-frames {input.source_frames}" if input.source else ""
        ),
    shell:
        "kinetext split-clips --name {wildcards.dataset} --clips {input.clips} --protocol {wildcards.protocol}"
        " --frames {input.frames} --options {params.options:q} {params.source} --output {output} 2> {log}"


# fetching needs the network, and one job has it: where Snakemake runs; to pretrain is a job for a node
rule prepare_backbone:
    output:
        f"{RESULTS}/backbones/{{backbone}}/weights.safetensors",
        f"{RESULTS}/backbones/{{backbone}}/backbone.yaml",
    log:
        f"{RESULTS}/logs/prepare_backbone/{{backbone}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare_backbone/{{backbone}}.tsv"
    localrule: all(backbone.pretrain_steps is None for backbone in CONFIG.backbones.values())
    conda:
        "../../envs/kinetext.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        options=options("backbones", "backbone"),
        folder=lambda w: f"{HERE}/backbones/{w.backbone}",
    shell:
        "kinetext prepare-backbone --options {params.options:q} --output {params.folder} 2> {log}"


rule embed_frames:
    input:
        frames=lambda w: f"{frame_folder(w.dataset)}/{w.shard}.arrow",
        weights=f"{RESULTS}/backbones/{{backbone}}/weights.safetensors",
        backbone=in_bucket(lambda w: f"{RESULTS}/backbones/{w.backbone}/backbone.yaml"),
    output:
        f"{RESULTS}/data/{{dataset}}/features/{{backbone}}/{{shard}}.arrow",
    log:
        f"{RESULTS}/logs/embed_frames/{{dataset}}/{{backbone}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/embed_frames/{{dataset}}/{{backbone}}/{{shard}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=growing(lambda w: 10 + CONFIG.datasets[w.dataset].shard_clips // 100),
    params:
        backbone=lambda w: f"{HERE}/backbones/{w.backbone}",
    shell:
        "kinetext embed-frames --backbone {params.backbone} --frames {input.frames} --threads {threads}"
        " --output {output} 2> {log}"
