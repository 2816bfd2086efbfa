"""Samples that share clips or groups of clips, and the correlation of their means that is due to it.

Data sets may share clips, as the three test lists of HMDB51 do. A mean over them must allow for shared clips.

Data sets with the same source are lists of the same videos. Their means are not independent, because a shared clip
affects several of them. A clip with the value y in data set d of n clips contributes (y - mean of d) / (D n) to the
mean over D data sets. So all lists are treated as one sample, in which the entries of one clip form one group.

D data sets, B clips of all data sets together, N rows.
"""

from collections.abc import Sequence

import numpy as np

from kinetext.evaluation.intervals import mean_variance
from kinetext.evaluation.paired_rows import PairedRows


def shared_correlation(
    first_B: np.ndarray, first_group_B: np.ndarray, second_B: np.ndarray, second_group_B: np.ndarray
) -> float:
    """Return the correlation of the means of two samples of clips that is due to groups with clips in both.

    `first_B` and `second_B` are the values of clips, NaN for clips that are left out. The groups of both samples are
    drawn together. 0 without shared groups, and if a variance is 0 or unknown.
    """
    counted = [~np.isnan(first_B), ~np.isnan(second_B)]
    values = [first_B[counted[0]].astype(float), second_B[counted[1]].astype(float)]
    numbers = [first_group_B[counted[0]], second_group_B[counted[1]]]
    if not all(map(len, values)):
        return 0.0
    groups, number_B = np.unique(np.concatenate(numbers), return_inverse=True)
    sums = [
        np.bincount(part_B, weights=(value_B - value_B.mean()) / len(value_B), minlength=len(groups))
        for part_B, value_B in zip(np.split(number_B, [len(values[0])]), values, strict=True)
    ]
    covariance = len(groups) / max(1, len(groups) - 1) * float(sums[0] @ sums[1])
    variances = [
        mean_variance(value_B, np.unique(number_B, return_inverse=True)[1])[0]
        for value_B, number_B in zip(values, numbers, strict=True)
    ]
    scale = (variances[0] * variances[1]) ** 0.5
    return max(-1.0, min(1.0, covariance / scale)) if scale > 0 else 0.0


def overlaps(strata: Sequence[PairedRows], sources: Sequence[str]) -> np.ndarray:
    """Return the correlation [D, D] of the means of data sets that is due to shared clips. It is 1 for equal lists."""
    ids = [set(stratum.clip_ids) for stratum in strata]
    share_DD = np.eye(len(strata))
    for i, first in enumerate(ids):
        for j, second in enumerate(ids):
            if i != j and sources[i] == sources[j] and first and second:
                share_DD[i, j] = len(first & second) / (len(first) * len(second)) ** 0.5
    return share_DD


def merged(strata: Sequence[PairedRows], sources: Sequence[str]) -> PairedRows:
    """Return all data sets as one sample. The mean of the sample is the mean over the data sets."""
    total, mean_DN = sum(len(stratum.value_BN) for stratum in strata), [s.value_BN.mean(axis=0) for s in strata]
    mean_N = np.mean(mean_DN, axis=0)
    values = [
        mean_N + total / (len(strata) * len(stratum.value_BN)) * (stratum.value_BN - list_mean_N)
        for stratum, list_mean_N in zip(strata, mean_DN, strict=True)
    ]
    return PairedRows(np.concatenate(values), _groups(strata, sources))


def _groups(strata: Sequence[PairedRows], sources: Sequence[str]) -> np.ndarray:
    """Return the group number [B] of each clip. Groups that share a clip are merged."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    clip_numbers: dict[tuple[str, str], int] = {}
    clip_B = [
        clip_numbers.setdefault((source, clip_id), len(clip_numbers))
        for stratum, source in zip(strata, sources, strict=True)
        for clip_id in stratum.clip_ids
    ]
    groups, start = [], len(clip_numbers)
    for stratum in strata:
        B = len(stratum.value_BN)
        number_B = np.arange(B) if stratum.group_B is None else np.unique(stratum.group_B, return_inverse=True)[1]
        groups.append(start + number_B)
        start += int(number_B.max()) + 1
    group_B = np.concatenate(groups)
    links = coo_array((np.ones(len(clip_B)), (np.array(clip_B), group_B)), shape=(start, start))
    return connected_components(links, directed=False)[1][group_B]
