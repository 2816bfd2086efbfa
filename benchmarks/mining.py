"""Seconds and peak memory of mining confusable classes from features: CLASSES classes of CLIPS clips.

    python benchmarks/mining.py [--classes 10000] [--clips 16] [--width 512]

The class means are random, in pairs that are near to each other; how many of these pairs are found is printed, too.
"""

import argparse
import resource
import time

import numpy as np

from kinetext.texts.confusion import confusion_scores
from kinetext.texts.mining import top_rivals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--noise", type=float, default=2.0, help="deviation of a clip from the mean of its class")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    pair_KD = np.repeat(generator.normal(size=(options.classes // 2, options.width)), 2, axis=0)
    mean_KD = pair_KD + 0.5 * generator.normal(size=pair_KD.shape)
    target_B = np.repeat(np.arange(len(mean_KD)), options.clips)
    noise_BD = generator.normal(size=(len(target_B), options.width)).astype(np.float32)
    features_BD = mean_KD[target_B].astype(np.float32) + options.noise * noise_BD
    began_s, cpu_s = time.perf_counter(), time.process_time()
    scores_KK = confusion_scores(features_BD, target_B, len(mean_KD), folds=5)
    rows = top_rivals(scores_KK, [str(k) for k in range(len(mean_KD))], "features", 3)
    first = [int(row["rival"]) == int(row["label"]) ^ 1 for row in rows if row["rank"] == 1]
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{len(mean_KD)} classes x {options.clips} clips, width {options.width}: "
        f"{time.perf_counter() - began_s:.0f} s on the clock, {time.process_time() - cpu_s:.0f} s of processor time, "
        f"peak {peak_gib:.2f} GiB; {100 * sum(first) / len(mean_KD):.1f} % of the near classes are the first rival"
    )


if __name__ == "__main__":
    main()
