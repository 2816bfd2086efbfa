# Every run's metrics.parquet -> tables/*.parquet -> report.html

DATASETS = sorted({run.dataset for run in RUNS.values()})
PLACES = sorted({(run.dataset, run.protocol, run.backbone) for run in RUNS.values()})
TEXTS = sorted({f"{RESULTS}/data/{r.dataset}/{r.protocol}/{r.backbone}/texts/{r.texts}.parquet" for r in RUNS.values()})
CONFUSABLES = [f"{RESULTS}/data/{'/'.join(place)}/confusables.parquet" for place in PLACES]


rule collect_metrics:
    input:
        metrics=[f"{RESULTS}/runs/{run}/metrics.parquet" for run in RUNS],
        predictions=[f"{RESULTS}/runs/{run}/predictions.parquet" for run in RUNS],
        texts=TEXTS,
        about=in_bucket([file for run in RUNS.values() for file in run_files(run)]),
    output:
        expand(
            "{results}/tables/{table}.parquet",
            results=RESULTS,
            table=["metrics", "runs", "texts", "confusions", "costs", "curves", "differences"],
        ),
    log:
        f"{RESULTS}/logs/collect_metrics.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_metrics.tsv"
    conda:
        "../../envs/kinetext.yaml"
    params:
        folder=lambda w, output: Path(output[0]).parent,
        results=lambda w, output: Path(output[0]).parents[1],
        runs=lambda w: run_folders(),
        code=code(
            "report/collect.py",
            "report/differences.py",
            "report/keys.py",
            "report/outcomes.py",
            "evaluation/intervals.py",
            "evaluation/measure.py",
            "evaluation/paired.py",
        ),
    shell:
        "kinetext collect-metrics --results {params.results} --output {params.folder} {params.runs} 2> {log}"


rule render_report:
    input:
        tables=rules.collect_metrics.output,
        clips=expand("{results}/data/{dataset}/clips.parquet", results=RESULTS, dataset=DATASETS),
        frames=[frame_list(dataset) for dataset in DATASETS],
        confusables=CONFUSABLES,
        texts=TEXTS,
        stored=in_bucket(lambda w: [shard for dataset in DATASETS for shard in shards(dataset)]),
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
        options=CONFIG.report.model_dump_json(),
        sources=lambda w, input: json.dumps(
            {
                "datasets": list(zip(DATASETS, input.clips, input.frames)),
                "mined": [[*place, path] for place, path in zip(PLACES, input.confusables)],
                "texts": list(input.texts),
            }
        ),
        code=code(
            "report/render.py",
            "report/comparisons.py",
            "report/confusion.py",
            "report/curves.py",
            "report/descriptions.py",
            "report/estimates.py",
            "report/figures.py",
            "report/formats.py",
            "report/gallery.py",
            "report/inputs.py",
            "report/keys.py",
            "report/novel.py",
            "report/published.py",
            "report/sources.py",
            "evaluation/intervals.py",
            "evaluation/paired.py",
            "report/page/page.html.j2",
            "report/page/macros.html.j2",
            "report/page/results.html.j2",
            "report/page/analysis.html.j2",
            "report/page/inputs.html.j2",
            "report/page/page.css",
            "report/page/page.js",
        ),
    shell:
        "kinetext render-report --tables {params.tables} --options {params.options:q} --sources {params.sources:q}"
        " --figures {output.figures} --output {output.html} 2> {log}"
