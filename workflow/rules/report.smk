# Every run's metrics.parquet -> tables/*.parquet -> report.html

DATASETS = sorted({run.dataset for run in RUNS.values()})
CLASS_TABLES = sorted({(run.dataset, run.protocol, run.backbone) for run in RUNS.values()})
TEXTS = sorted({f"{RESULTS}/data/{r.dataset}/{r.protocol}/{r.backbone}/texts/{r.texts}.parquet" for r in RUNS.values()})
CONFUSABLES = [f"{RESULTS}/data/{'/'.join(key)}/confusables.parquet" for key in CLASS_TABLES]


rule collect_metrics:
    input:
        unpack(bucket_inputs("collect_metrics")),
        metrics=[f"{RESULTS}/runs/{run}/metrics.parquet" for run in RUNS],
        predictions=[f"{RESULTS}/runs/{run}/predictions.parquet" for run in RUNS],
        confusables=CONFUSABLES,
        texts=TEXTS,
        tuning=[f"{RESULTS}/tuning/{group}/trials.parquet" for group in TUNED],
    output:
        expand(
            "{results}/tables/{table}.parquet",
            results=RESULTS,
            table=list(COLLECTED),
        ),
    log:
        f"{RESULTS}/logs/collect_metrics.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_metrics.tsv"
    conda:
        "../../envs/kinetext.yaml"
    threads: max(1, min(8, len(RUNS) // 200))  # 200 runs take two seconds, starting a process half of one
    params:
        folder=lambda w, output: Path(output[0]).parent,
        results=lambda w, output: Path(output[0]).parents[1],
        runs=lambda w: run_folders(),  # quoted, with braces that bash multiplies out
        code=code("report.collect"),
    shell:
        "kinetext collect-metrics --results {params.results:q} --output {params.folder:q} --processes {threads:q} "
        "{params.runs} 2> {log:q}"


rule render_report:
    input:
        unpack(bucket_inputs("render_report")),
        tables=rules.collect_metrics.output,
        clips=expand("{results}/data/{dataset}/clips.parquet", results=RESULTS, dataset=DATASETS),
        frames=[frame_list(dataset, shared_backbone(dataset)) for dataset in DATASETS],
        confusables=CONFUSABLES,
        texts=TEXTS,
    output:
        html=report(f"{RESULTS}/report.html", category="Report"),
        figures=report(
            directory(f"{RESULTS}/figures"), patterns=["{name}.png", "{name}.csv"], category="Figures and tables"
        ),
    log:
        f"{RESULTS}/logs/render_report.log",
    benchmark:
        f"{RESULTS}/benchmarks/render_report.tsv"
    conda:
        "../../envs/kinetext.yaml"
    params:
        tables=lambda w, input: Path(input.tables[0]).parent,
        options=lambda w: for_script(CONFIG.report.model_dump_json()),  # `snakemake --report` puts it into a <script>
        sources=lambda w, input: json.dumps(
            {
                "datasets": list(zip(DATASETS, input.clips, input.frames)),
                "mined": [[*key, path] for key, path in zip(CLASS_TABLES, input.confusables)],
                "texts": list(input.texts),
            }
        ),
        code=code("report.render", plugins=lambda w: metric_modules(CONFIG), stops=["video"]),
    shell:
        "kinetext render-report --tables {params.tables:q} --options {params.options:q} --sources {params.sources:q}"
        " --figures {output.figures:q} --output {output.html:q} 2> {log:q}"
