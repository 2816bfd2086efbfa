# run.yaml -> checkpoint.safetensors -> predictions.parquet -> metrics.parquet -> MLflow

RUN = f"{RESULTS}/runs/{{dataset}}/{{protocol}}/{{backbone}}/{{method}}/{{texts}}/seed{{seed}}"
NAME = "{dataset}/{protocol}/{backbone}/{method}/{texts}/seed{seed}"


rule plan_run:
    output:
        f"{RUN}/run.yaml",
    log:
        f"{RESULTS}/logs/plan_run/{NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plan_run/{NAME}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    params:
        spec=lambda w: spec(w).model_dump_json(),
    shell:
        "kinetext plan-run --spec {params.spec:q} --output {output} 2> {log}"


rule train_method:
    input:
        run=f"{RUN}/run.yaml",
        splits=f"{RESULTS}/data/{{dataset}}/{{protocol}}/splits.parquet",
        frames=lambda w: frame_list(w.dataset),
        texts=f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/texts/{{texts}}.parquet",
        confusables=f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/confusables.parquet",
        weights=f"{RESULTS}/backbones/{{backbone}}/weights.safetensors",
        backbone=in_bucket(lambda w: f"{RESULTS}/backbones/{w.backbone}/backbone.yaml"),
        stored=in_bucket(shards_of),
    output:
        checkpoint=f"{RUN}/checkpoint.safetensors",
        curves=f"{RUN}/curves.parquet",
        cost=f"{RUN}/cost.json",
    log:
        f"{RESULTS}/logs/train_method/{NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_method/{NAME}.tsv"
    priority: 1  # before short jobs, which then fill the gaps while the last training ends
    conda:
        "../../envs/kinetext.yaml"
    threads: 1
    resources:
        gpu=1,
        nodes=1,
        mem_mb=growing(training_mb),
        runtime=1440,
    params:
        backbone=lambda w: f"{HERE}/backbones/{w.backbone}",
        cache=f"{RESULTS}/cache",
    shell:
        "kinetext train-method --run {input.run} --splits {input.splits} --frames {input.frames} --texts {input.texts}"
        " --confusables {input.confusables} --backbone {params.backbone} --cache {params.cache} --threads {threads}"
        " --gpus $(({resources.gpu} / {resources.nodes})) --nodes {resources.nodes} --output {output.checkpoint} 2> {log}"


rule predict_clips:
    input:
        run=f"{RUN}/run.yaml",
        splits=f"{RESULTS}/data/{{dataset}}/{{protocol}}/splits.parquet",
        frames=lambda w: frame_list(w.dataset),
        texts=f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/texts/{{texts}}.parquet",
        weights=f"{RESULTS}/backbones/{{backbone}}/weights.safetensors",
        backbone=in_bucket(lambda w: f"{RESULTS}/backbones/{w.backbone}/backbone.yaml"),
        stored=in_bucket(shards_of),
        checkpoint=checkpoint,
    output:
        f"{RUN}/predictions.parquet",
    log:
        f"{RESULTS}/logs/predict_clips/{NAME}.log",
    benchmark:
        f"{RESULTS}/benchmarks/predict_clips/{NAME}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    threads: 1
    resources:
        gpu=1,
        nodes=1,
        mem_mb=growing(16000),
        runtime=growing(60),
    params:
        backbone=lambda w: f"{HERE}/backbones/{w.backbone}",
        checkpoint=lambda w, input: f"--checkpoint {input.checkpoint}" if input.checkpoint else "",
    shell:
        "kinetext predict-clips --run {input.run} --splits {input.splits} --frames {input.frames} --texts {input.texts}"
        " --backbone {params.backbone} {params.checkpoint} --threads {threads} --gpus $(({resources.gpu} / {resources.nodes}))"
        " --nodes {resources.nodes} --output {output} 2> {log}"


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
    conda:
        "../../envs/kinetext.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        folder=lambda w, input: Path(input.run).parent,
        metrics=json.dumps({name: metric.model_dump() for name, metric in CONFIG.metrics.items()}),
        code=code(
            *sorted(str(f.relative_to(SOURCE)) for f in (SOURCE / "evaluation/metrics").glob("*.py")),
            "evaluation/retrieval.py",
            "evaluation/measure.py",
        ),
    shell:
        "kinetext measure-run --run {params.folder} --predictions {input.predictions}"
        " --confusables {input.confusables} --metrics {params.metrics:q} --output {output} 2> {log}"


# one job for all runs of an MLflow experiment: importing mlflow takes longer than logging a run, and a run whose content is
# there already is left alone
rule log_run:
    input:
        metrics=lambda w: [f"{run}/metrics.parquet" for run in compared()[w.dataset]],
        about=in_bucket(
            lambda w: sorted({file for run in RUNS.values() if run.dataset == w.dataset for file in logged(run)})
        ),
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
        options=CONFIG.tracking.model_dump_json(exclude={"live"}),
        results=lambda w, output: Path(output[0]).parents[2],
        runs=lambda w: run_folders(w.dataset),
        code=code("tracking/content.py"),  # LAYOUT is there: the number of what is logged how
    shell:
        "kinetext log-run --results {params.results} --options {params.options:q} --output {output} {params.runs} 2> {log}"
