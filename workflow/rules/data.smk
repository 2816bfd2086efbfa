# Videos and annotation files -> clips.parquet -> frames/{frame_set}/{shard}.arrow -> features/{backbone}/{shard}.arrow


checkpoint index_clips:
    input:
        user_inputs(dataset_files),
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
        mem_mb=scale_with_attempt(4000),
        runtime=scale_with_attempt(60),
    params:
        options=options("datasets", "dataset", without={"frames", "max_failed", "shots", "novel"}),
        media=lambda w: f"{RESULTS}/data/{w.dataset}/media",
        cache=f"{RESULTS}/cache/frames/{{dataset}}",
        states=pattern_states(dataset_files),
    shell:
        "kinetext index-clips --name {wildcards.dataset:q} --options {params.options:q} --media {params.media:q}"
        " --cache {params.cache:q} --shards {output.shards:q} --output {output.clips:q} 2> {log:q}"


# a shard is made again when its own clips change, not whenever the list of all clips is written again
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
        mem_mb=scale_with_attempt(4000),
        runtime=scale_with_attempt(lambda w: 10 + CONFIG.datasets[w.dataset].shard_clips // 100),
    params:
        options=lambda w: FRAME_SETS[w.dataset][w.frame_set].model_dump_json(),
        cache=f"{RESULTS}/cache/frames/{{dataset}}/{{frame_set}}",
        digest=lambda w: shard_digests(w.dataset)[w.shard],
    shell:
        "kinetext extract-frames --clips {input.clips:q} --shard {wildcards.shard:q} --options {params.options:q}"
        " --cache {params.cache:q} --threads {threads:q} --output {output:q} 2> {log:q}"


# frames.json stands for all shards: ten thousand runs of a thousand shards each would be ten million edges of the graph
rule check_frames:
    input:
        shards=f"{RESULTS}/data/{{dataset}}/shards.txt",
        frames=lambda w: [
            f"{RESULTS}/data/{w.dataset}/frames/{w.frame_set}/{name}.arrow" for name in shard_digests(w.dataset)
        ],
    output:
        f"{RESULTS}/data/{{dataset}}/frames/{{frame_set}}/frames.json",
    log:
        f"{RESULTS}/logs/check_frames/{{dataset}}/{{frame_set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/check_frames/{{dataset}}/{{frame_set}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    resources:
        mem_mb=scale_with_attempt(2000),
        runtime=scale_with_attempt(10),
    params:
        folder=f"{RESULTS_LOCAL}/data/{{dataset}}/frames/{{frame_set}}",
        max_failed=lambda w, input: CONFIG.datasets[w.dataset].max_failed,  # reruns nothing: a failed check has no output
        recorded=0.05,  # is recorded for results of earlier versions; without it their frames would be checked again
    shell:
        "kinetext check-frames --shards {input.shards:q} --frames {params.folder:q} --max-failed {params.max_failed:q}"
        " --output {output:q} 2> {log:q}"


rule split_clips:
    input:
        unpack(bucket_inputs("split_clips")),
        clips=f"{RESULTS}/data/{{dataset}}/clips.parquet",
        frames=lambda w: frame_list(w.dataset, shared_backbone(w.dataset, w.protocol)),
        source=source_splits,
        shots=user_inputs(shot_files),
    output:
        f"{RESULTS}/data/{{dataset}}/{{protocol}}/splits.parquet",
    log:
        f"{RESULTS}/logs/split_clips/{{dataset}}/{{protocol}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/split_clips/{{dataset}}/{{protocol}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    resources:
        mem_mb=scale_with_attempt(4000),
        runtime=scale_with_attempt(60),
    params:
        options=lambda w: protocol_options(CONFIG.datasets[w.dataset], w.protocol).model_dump_json(),
        source=lambda w, input: flags(["--source", "--source-frames"], input.source),
        states=pattern_states(shot_files),
    shell:
        "kinetext split-clips --name {wildcards.dataset:q} --clips {input.clips:q} --protocol {wildcards.protocol:q}"
        " --frames {input.frames:q} --options {params.options:q} {params.source:q} --output {output:q} 2> {log:q}"


# a download needs the network, so it runs where Snakemake runs; pretraining is a job for a node
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
        mem_mb=scale_with_attempt(8000),
        runtime=scale_with_attempt(240),
    params:
        options=options("backbones", "backbone"),
        folder=lambda w: f"{RESULTS_LOCAL}/backbones/{w.backbone}",
    shell:
        "kinetext prepare-backbone --options {params.options:q} --output {params.folder:q} 2> {log:q}"


rule embed_frames:
    input:
        unpack(bucket_inputs("embed_frames")),
        frames=lambda w: f"{RESULTS}/data/{w.dataset}/frames/{frame_set(w.dataset, w.backbone)}/{w.shard}.arrow",
        weights=f"{RESULTS}/backbones/{{backbone}}/weights.safetensors",
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
        mem_mb=scale_with_attempt(8000),
        runtime=scale_with_attempt(lambda w: 10 + CONFIG.datasets[w.dataset].shard_clips // 100),
    params:
        backbone=lambda w: f"{RESULTS_LOCAL}/backbones/{w.backbone}",
    shell:
        "kinetext embed-frames --backbone {params.backbone:q} --frames {input.frames:q} --threads {threads:q}"
        " --output {output:q} 2> {log:q}"
