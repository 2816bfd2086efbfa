# (setting of a tuned run ->) run.yaml -> checkpoint.safetensors -> predictions.parquet -> metrics.parquet -> MLflow

RUN = f"{RESULTS}/runs/{{dataset}}/{{protocol}}/{{backbone}}/{{method}}/{{texts}}/seed{{seed}}"
NAME = "{dataset}/{protocol}/{backbone}/{method}/{texts}/seed{seed}"


rule plan_run:
    input:
        setting=chosen_setting,
        trained=tuned_source,
    output:
        f"{RUN}/run.yaml",
    log:
        f"{RESULTS}/logs/plan_run/{NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plan_run/{NAME}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    params:
        spec=lambda w: run_spec(w).model_dump_json(),
        tuned=lambda w, input: flags(["--setting"], input.setting) + flags(["--trained"], input.trained),
    shell:
        "kinetext plan-run --spec {params.spec:q} {params.tuned:q} --output {output:q} 2> {log:q}"


rule train_method:
    input:
        unpack(bucket_inputs("train_method")),
        run=f"{RUN}/run.yaml",
        splits=f"{RESULTS}/data/{{dataset}}/{{protocol}}/splits.parquet",
        frames=lambda w: frame_list(w.dataset, w.backbone),
        texts=f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/texts/{{texts}}.parquet",
        confusables=f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/confusables.parquet",
        weights=f"{RESULTS}/backbones/{{backbone}}/weights.safetensors",
    output:
        checkpoint=f"{RUN}/checkpoint.safetensors",
        curves=f"{RUN}/curves.parquet",
        cost=f"{RUN}/cost.json",
    log:
        f"{RESULTS}/logs/train_method/{NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_method/{NAME}.tsv"
    priority: quick_first(1)  # trainings start before short jobs, which fill the gaps while the last training runs
    conda:
        "../../envs/kinetext.yaml"
    threads: 1
    resources:
        gpu=1,
        nodes=1,
        mem_mb=scale_with_attempt(training_mb(run_spec)),
        runtime=1440,
    params:
        backbone=lambda w: f"{RESULTS_LOCAL}/backbones/{w.backbone}",
        cache=f"{RESULTS}/cache",
    shell:
        "kinetext train-method --run {input.run:q} --splits {input.splits:q} --frames {input.frames:q} --texts {input.texts:q}"
        " --confusables {input.confusables:q} --backbone {params.backbone:q} --cache {params.cache:q} --threads {threads:q}"
        " --gpus $(({resources.gpu} / {resources.nodes})) --nodes {resources.nodes} --output {output.checkpoint:q} 2> {log:q}"


rule predict_clips:
    input:
        unpack(bucket_inputs("predict_clips")),
        run=f"{RUN}/run.yaml",
        splits=f"{RESULTS}/data/{{dataset}}/{{protocol}}/splits.parquet",
        frames=lambda w: frame_list(w.dataset, w.backbone),
        texts=f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/texts/{{texts}}.parquet",
        weights=f"{RESULTS}/backbones/{{backbone}}/weights.safetensors",
        checkpoint=tested_checkpoint,
    output:
        f"{RUN}/predictions.parquet",
    log:
        f"{RESULTS}/logs/predict_clips/{NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/predict_clips/{NAME}.tsv"
    priority: quick_first(0)
    localrule: all(reads_frames(run) for run in RUNS.values())  # then every job needs the network
    conda:
        "../../envs/kinetext.yaml"
    threads: 1
    resources:
        gpu=lambda w: 0 if reads_frames(run_spec(w)) else 1,  # a model behind an API needs none here
        chat=lambda w: 1 if reads_frames(run_spec(w)) else 0,
        nodes=1,
        mem_mb=scale_with_attempt(16000),
        runtime=scale_with_attempt(60),
    params:
        backbone=lambda w: f"{RESULTS_LOCAL}/backbones/{w.backbone}",
        checkpoint=lambda w, input: flags(["--checkpoint"], input.checkpoint) + reply_cache(run_spec(w)),
    shell:
        "kinetext predict-clips --run {input.run:q} --splits {input.splits:q} --frames {input.frames:q} --texts {input.texts:q}"
        " --backbone {params.backbone:q} {params.checkpoint:q} --threads {threads:q} --gpus $(({resources.gpu} / {resources.nodes}))"
        " --nodes {resources.nodes} --output {output:q} 2> {log:q}"


rule measure_run:
    input:
        run=f"{RUN}/run.yaml",
        predictions=f"{RUN}/predictions.parquet",
        confusables=f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/confusables.parquet",
    output:
        f"{RUN}/metrics.parquet",
    log:
        f"{RESULTS}/logs/measure_run/{NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_run/{NAME}.tsv"
    priority: quick_first(0)
    conda:
        "../../envs/kinetext.yaml"
    resources:
        mem_mb=scale_with_attempt(4000),
        runtime=scale_with_attempt(30),
    params:
        folder=lambda w, input: Path(input.run).parent,
        metrics=lambda w: json.dumps({name: metric.model_dump() for name, metric in CONFIG.metrics.items()}),
        code=code("evaluation.measure", plugins=lambda w: metric_modules(CONFIG)),
    shell:
        "kinetext measure-run --run {params.folder:q} --predictions {input.predictions:q}"
        " --confusables {input.confusables:q} --metrics {params.metrics:q} --output {output:q} 2> {log:q}"


# one job for all runs of an MLflow experiment: importing mlflow takes longer than logging a run; unchanged runs are skipped
rule log_run:
    input:
        unpack(bucket_inputs("log_run")),
        metrics=lambda w: [f"{RESULTS}/runs/{run.run}/metrics.parquet" for run in dataset_runs(w.dataset)],
    output:
        f"{RESULTS}/runs/{{dataset}}/mlflow.json",
    log:
        f"{RESULTS}/logs/log_run/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/log_run/{{dataset}}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    resources:
        tracking=1,
    params:
        options=lambda w: CONFIG.tracking.model_dump_json(exclude={"live"}),
        results=lambda w, output: Path(output[0]).parents[2],
        runs=lambda w: run_folders(w.dataset),  # quoted, with braces that bash multiplies out
        layout=lambda w: read_constant("kinetext.tracking.content", "LAYOUT", SOURCE),
    shell:
        "kinetext log-run --results {params.results:q} --options {params.options:q} --output {output:q} {params.runs} 2> {log:q}"
