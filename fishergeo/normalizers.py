"""The zoo of normalizers: each is one value."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from .axes import Axis
from .cells import First
from .errors import InputError, is_count
from .frozen import Frozen
from .normalizer import Done, Normalized, Normalizer, Stage, compose
from .spectral import Spectral
from .standardize import Scale, Standardize

_BATCH = (Axis.SAMPLE, Axis.POSITION)

identity = Normalizer("identity", source="McCullagh, Nelder 1989")
batch_norm = Normalizer("batch_norm", summed=Standardize(_BATCH), source="Ioffe, Szegedy 2015, arXiv 1502.03167")
mean_only_batch_norm = Normalizer(
    "mean_only_batch_norm",
    summed=Standardize(_BATCH, scale=Scale.NONE),
    source="Salimans, Kingma 2016, arXiv 1602.07868, section 4",
)
layer_norm = Normalizer("layer_norm", summed=Standardize(Axis.UNIT), source="Ba, Kiros, Hinton 2016, arXiv 1607.06450")
rms_norm = Normalizer(
    "rms_norm", summed=Standardize(Axis.UNIT, center=False), source="Zhang, Sennrich 2019, arXiv 1910.07467"
)
weight_norm = Normalizer(
    "weight_norm",
    weight=Standardize(Axis.INPUT, center=False, scale=Scale.NORM),
    source="Salimans, Kingma 2016, arXiv 1602.07868",
)
weight_standardization = Normalizer(
    "weight_standardization", weight=Standardize(Axis.INPUT), source="Qiao et al. 2019, arXiv 1903.10520"
)
centered_weight_norm = Normalizer(
    "centered_weight_norm",
    weight=Standardize(Axis.INPUT, scale=Scale.NORM),
    source="Huang et al. 2017, Centered weight normalization (ICCV)",
)
input_standardization = Normalizer(
    "input_standardization", inputs=Standardize(_BATCH), source="LeCun et al. 1998, Efficient BackProp"
)
input_layer_norm = Normalizer(
    "input_layer_norm", inputs=Standardize(Axis.INPUT), source="Ba, Kiros, Hinton 2016, section 5.1"
)
weight_norm_mean_only_batch_norm = compose(weight_norm, mean_only_batch_norm, name="weight_norm_mean_only_batch_norm")


def frozen_batch_norm(mean: Any, var: Any, eps: float = 0) -> Normalizer:
    """Batch norm at inference: (A - mean)/sqrt(var + eps) with given statistics: numbers, or (H,) or (S, H) of them."""
    return Normalizer("frozen_batch_norm", summed=Frozen(mean, var, eps), source="Ioffe, Szegedy 2015, Alg. 2")


def ghost_batch_norm(batches: int) -> Normalizer:
    """Batch norm within each of ``batches`` runs of cases, which must be of equal length: N divisible by ``batches``."""
    return Normalizer(
        f"ghost_batch_norm_{_count(batches, 'ghost_batch_norm', 'batches')}",
        summed=Standardize(_BATCH, groups={Axis.SAMPLE: batches}),
        source="Hoffer, Hubara, Soudry 2017, arXiv 1705.08741, section 4",
    )


def group_norm(groups: int) -> Normalizer:
    """Layer norm over positions and the units of each of ``groups`` groups: H divisible by ``groups``."""
    return Normalizer(
        f"group_norm_{_count(groups, 'group_norm', 'groups')}",
        summed=Standardize((Axis.POSITION, Axis.UNIT), groups={Axis.UNIT: groups}),
        source="Wu, He 2018, arXiv 1803.08494",
    )


def prms_norm(fraction: Any = Fraction(1, 16), rounding: Any = math.ceil) -> Normalizer:
    """RMS norm with the root mean square of the first ⌈pH⌉ units, of ⌊pH⌋ with ``rounding=math.floor`` as in its code."""
    first = First(fraction, rounding)
    return Normalizer(
        f"prms_norm_{'' if first.rounding is math.ceil else 'rounded_down_'}{first.fraction}",
        summed=Standardize(Axis.UNIT, center=False, first=first),
        source="Zhang, Sennrich 2019, arXiv 1910.07467, section 3.2",
    )


def _count(value: Any, who: str, what: str) -> int:
    if not is_count(value):
        raise InputError(f"{who} got {what}={value!r}: give a whole number >= 1")
    return int(value)


instance_norm = Normalizer(
    "instance_norm", summed=Standardize(Axis.POSITION), source="Ulyanov, Vedaldi, Lempitsky 2016, arXiv 1607.08022"
)
layer_norm_with_positions = Normalizer(
    "layer_norm_with_positions",
    summed=Standardize((Axis.UNIT, Axis.POSITION)),
    source="Wu, He 2018, arXiv 1803.08494, eq. (4)",
)
stepwise_batch_norm = Normalizer(
    "stepwise_batch_norm",
    summed=Standardize(Axis.SAMPLE),
    source="Cooijmans et al. 2017, arXiv 1603.09025, section 3",
)
spectral_norm = Normalizer("spectral_norm", weight=Spectral(), source="Miyato et al. 2018, arXiv 1802.05957")


def weight_standardization_group_norm(groups: int) -> Normalizer:
    """Weight standardization followed by group norm."""
    both = compose(weight_standardization, group_norm(groups))
    return Normalizer(f"weight_standardization_group_norm_{groups}", both.inputs, both.weight, both.summed, both.source)


ZOO: tuple[Normalizer, ...] = (
    identity,
    batch_norm,
    mean_only_batch_norm,
    frozen_batch_norm(1, 4),
    layer_norm,
    rms_norm,
    weight_norm,
    weight_standardization,
    centered_weight_norm,
    weight_norm_mean_only_batch_norm,
    input_standardization,
    input_layer_norm,
    ghost_batch_norm(2),
    group_norm(2),
    prms_norm(Fraction(1, 2)),
    prms_norm(Fraction(1, 2), math.floor),
    spectral_norm,
    instance_norm,
    layer_norm_with_positions,
    stepwise_batch_norm,
    weight_standardization_group_norm(2),
)

__all__ = ["Done", "Normalized", "Normalizer", "Stage", "compose"]
