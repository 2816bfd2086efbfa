# The trials of tuned methods -> setting.yaml, with which their runs train. No job without `tuning` in the configuration.

TUNING = f"{RESULTS}/tuning/{{dataset}}/{{protocol}}/{{backbone}}/{{method}}/{{texts}}"
GROUP = "{dataset}/{protocol}/{backbone}/{method}/{texts}"


rule tune_method:
    input:
        unpack(bucket_inputs("tune_method")),
        splits=f"{RESULTS}/data/{{dataset}}/{{protocol}}/splits.parquet",
        frames=lambda w: frame_list(w.dataset, w.backbone),
        texts=f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/texts/{{texts}}.parquet",
        confusables=f"{RESULTS}/data/{{dataset}}/{{protocol}}/{{backbone}}/confusables.parquet",
        weights=f"{RESULTS}/backbones/{{backbone}}/weights.safetensors",
        before=lambda w: trial_scores(tuned_run(w).group, int(w.rung) - 1),
    output:
        f"{TUNING}/trial{{trial}}/rung{{rung}}.json",
    log:
        f"{RESULTS}/logs/tune_method/{GROUP}/trial{{trial}}/rung{{rung}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tune_method/{GROUP}/trial{{trial}}/rung{{rung}}.tsv"
    priority: 2  # before trainings, which wait for all trials
    conda:
        "../../envs/kinetext.yaml"
    threads: 1
    resources:
        gpu=1,
        nodes=1,
        mem_mb=scale_with_attempt(training_mb(tuned_run)),
        runtime=1440,
    params:
        trial=lambda w: trial_run(tuned_run(w), int(w.trial), int(w.rung)).model_dump_json(),
        before=lambda w, input: promotion(tuned_run(w), int(w.rung), input.before),
        backbone=lambda w: f"{RESULTS_LOCAL}/backbones/{w.backbone}",
        cache=f"{RESULTS}/cache",
    shell:
        "kinetext tune-method --trial {params.trial:q} --splits {input.splits:q} --frames {input.frames:q} --texts {input.texts:q}"
        " --confusables {input.confusables:q} --backbone {params.backbone:q} --cache {params.cache:q} {params.before:q}"
        " --threads {threads:q} --gpus $(({resources.gpu} / {resources.nodes})) --nodes {resources.nodes}"
        " --output {output:q} 2> {log:q}"


rule choose_settings:
    input:
        lambda w: [
            score for rung in range(len(tuned_run(w).tuning.rungs)) for score in trial_scores(tuned_run(w).group, rung)
        ],
    output:
        setting=f"{TUNING}/setting.yaml",
        table=f"{TUNING}/trials.parquet",
    log:
        f"{RESULTS}/logs/choose_settings/{GROUP}.log",
    benchmark:
        f"{RESULTS}/benchmarks/choose_settings/{GROUP}.tsv"
    conda:
        "../../envs/kinetext.yaml"
    params:
        spec=lambda w: tuned_run(w).model_dump_json(),
    shell:
        "kinetext choose-settings --spec {params.spec:q} --output {output.setting:q} --table {output.table:q} {input:q} 2> {log:q}"
