"""Arguments of the wrong kind, for stages, tables, transformations, training: one line, the culprit and the remedy."""

from __future__ import annotations

from fractions import Fraction

import contracts
import numpy as np
import pytest

import fishergeo as fg
from fishergeo import errors
from fishergeo.axes import Axis, Site
from fishergeo.dynamics.equilibrium import equilibrium, equivalent_schedule, quartic_growth, random_walk
from fishergeo.dynamics.laws import effective_step, norm_identity_defect, scaling_slopes
from fishergeo.dynamics.optimizers import adamw, sgd
from fishergeo.dynamics.scale import scale_group
from fishergeo.transformations import Permute, Rescale, Rotate, Shift, State

N, D, H = 30, 4, 3
RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(N, D)), RNG.integers(H, size=N)
MODEL = fg.GLM(fg.categorical, fg.batch_norm)
P = MODEL.init(D, H, 1)
UNIT, NAN = Axis.UNIT, float("nan")
HUGE = Fraction(10**400)
SLOW = sgd(0.1, weight_decay=0.1)


def descend(model=MODEL, p=P, X=X, Y=Y, **options):
    return fg.descend(model, p, X, Y, **({"optimizer": sgd(0.1), "steps": 3} | options))


def slopes(factors, model=MODEL, p=P):
    return scaling_slopes(model, p, X, factors)


def step(model=MODEL, p=P, X=X, Y=Y, rate=0.1, **options):
    return effective_step(model, p, X, Y, rate, **options)


def small(scale, normalizer):
    """A model on inputs that are so small that their squares are not numbers any more."""
    model = fg.GLM(fg.gaussian, normalizer)
    return model.natural(model.init(D, H, 1), scale * X)


def cell(*which):
    return fg.invariance_table(fg.layer_norm, fg.sign_flip)[which if len(which) > 1 else which[0]]


def transformation(actions, **fields):
    return fg.Transformation(**({"name": "mine", "formula": "W", "actions": actions} | fields))


def names(act, culprit, remedy):
    return pytest.param(act, culprit, remedy, id=f"{culprit}; {remedy}")


AXES = "name at least one axis, e.g. fg.Axis.UNIT"
STAGE = "is not a stage; use fg.Standardize(axis, ...)"
OPTIMIZER = "give an optimizer such as fg.sgd(rate=0.1)"
POSITIVE, WHOLE, SEED = "give a finite number > 0", "give an integer >= 1", "or a seed, an integer >= 0"
A_MODEL = "give a model such as fg.GLM(fg.bernoulli, fg.batch_norm)"
FACTORS, UNITS = "a slope needs at least three different factors > 0", "measure the norms in other units"
MEMORY, ACTION = "do not fit into memory; take fewer", "give at least one action, each a Rescale, Shift"
TABLE, CELL = "give a fg.Normalizer, or several", "give a normalizer and a transformation of it"
ALONG, SITE = (
    "give axes such as fg.Axis.UNIT along which it varies",
    "give fg.Site.WEIGHT, fg.Site.INPUTS or fg.Site.SUMMED",
)

STAGES = [
    names(lambda: fg.Standardize(1), "over=1", AXES),
    names(lambda: fg.Standardize([UNIT, [1]]), "over=[<Axis.UNIT: 'h'>, [1]]", AXES),
    names(lambda: fg.Standardize(None), "over=None", AXES),
    names(lambda: fg.Standardize(UNIT, center="no"), "center='no'", "give True or False"),
    names(lambda: fg.Standardize(UNIT, center=0), "center=0", "give True or False"),
    names(lambda: fg.Standardize(UNIT, eps_inside="no"), "eps_inside='no'", "give True or False"),
    names(lambda: fg.Standardize(UNIT, scale="norm"), "scale='norm'", "use fg.Scale.STD, fg.Scale.NORM"),
    names(lambda: fg.Standardize(UNIT, eps=True), "eps=True", "use e.g. eps=1e-5"),
    names(lambda: fg.Standardize(UNIT, eps=1j), "eps=1j", "use e.g. eps=1e-5"),
    names(lambda: fg.Standardize(UNIT, eps=np.ones(2)), "eps=array([1., 1.])", "use e.g. eps=1e-5"),
    names(lambda: fg.Standardize(UNIT, eps=None), "eps=None", "use e.g. eps=1e-5"),
    names(lambda: fg.identity.with_eps("x"), "identity got eps='x'", "use e.g. eps=1e-5"),
    names(lambda: fg.Frozen([0, 1, 2], [1, 2]), "3 means and 2 variances", "give as many"),
    names(lambda: fg.Frozen(1j, 1), "mean=1j", "give finite numbers, one for each unit"),
    names(lambda: fg.Frozen(0, [[[1, 2]]]), "var=[[[1, 2]]]", "give finite numbers, one for each unit"),
    names(lambda: fg.Frozen([[1, 2], [1]], 1), "mean=[[1, 2], [1]]", "give finite numbers, one for each unit"),
    names(lambda: fg.Frozen(None, 1), "mean=None", "give finite numbers, one for each unit"),
    names(lambda: fg.Frozen(np.ma.array([1, 2], mask=[0, 1]), 1), "mean=masked_array(data=[1, --]", "drop or impute"),
    names(lambda: fg.Frozen(10**400, 1), "frozen statistics got mean=1000", "give finite numbers"),
    names(lambda: fg.Frozen(0, ["a"]), "var=['a'] of type <U1", "give finite numbers, one for each unit"),
    names(lambda: fg.Frozen(0, 1, "e"), "eps=e", "var + eps must be positive"),
    names(lambda: fg.Normalizer("x", weight=3), "x: weight=3", STAGE),
    names(lambda: fg.Normalizer("x", weight=None), "x: weight=None", STAGE),
    names(lambda: fg.Normalizer("x", summed="abc"), "x: summed='abc'", STAGE),
    names(lambda: fg.Normalizer("x", summed=fg.Standardize), "Standardize'>", STAGE),
    names(lambda: fg.Normalizer(3), "name=3", "give a non-empty string"),
    names(lambda: fg.Normalizer("x", source=3), "source=3", "give a string"),
    names(lambda: fg.compose("a"), "compose got 'a'", "give one or more normalizers"),
    names(lambda: fg.compose(), "compose got nothing", "give one or more normalizers"),
    names(lambda: fg.compose([fg.layer_norm]), "compose got [Normalizer(", "give one or more normalizers"),
    names(lambda: fg.compose(fg.layer_norm, name=""), "name=''", "give a non-empty string"),
    names(
        lambda: small(1e-170, fg.batch_norm),
        "batch_norm: the entries at unit 0 vary by",
        "rescale the inputs or the weights",
    ),
    names(
        lambda: small(1e-160, fg.rms_norm), "so their squares underflow", "rescale the inputs or the weights to about 1"
    ),
    names(lambda: small(1e-300, fg.input_standardization), "input 0 vary by", "rescale the inputs or the weights"),
]

TABLES = [
    names(lambda: fg.invariance_table("layer_norm"), "normalizers='layer_norm'", TABLE),
    names(lambda: fg.invariance_table(3), "normalizers=3", TABLE),
    names(lambda: fg.invariance_table(None), "normalizers=None", TABLE),
    names(lambda: fg.invariance_table([]), "normalizers=[]", TABLE),
    names(lambda: fg.invariance_table(fg.sign_flip), "normalizers=Transformation(name='sign_flip'", TABLE),
    names(lambda: fg.invariance_table([fg.layer_norm, "x"]), ", 'x']", TABLE),
    names(lambda: fg.invariance_table([fg.rms_norm] * 2), "rms_norm, rms_norm", "give each its own name"),
    names(lambda: fg.invariance_table(fg.layer_norm, []), "transformations=[]", "give a fg.Transformation, or several"),
    names(lambda: fg.invariance_table(fg.layer_norm, "x"), "transformations='x'", "give a fg.Transformation, or several"),
    names(lambda: fg.invariance_table(fg.rms_norm, [fg.sign_flip] * 2), "sign_flip, sign_flip", "give each its own name"),
    names(lambda: fg.invariance_table(fg.rms_norm, fg.sign_flip, 3), "progress=3", "give a function of (done, of)"),
    names(lambda: cell("x"), "no cell 'x'", CELL),
    names(lambda: cell(0), "no cell 0", CELL),
    names(lambda: cell("layer_norm", "sign_flip"), "no cell ('layer_norm', 'sign_flip')", CELL),
    names(lambda: cell(fg.layer_norm, fg.case_rescaling), "name='case_rescaling'", CELL),
    names(lambda: scale_group("x"), "normalizer='x'", "give a normalizer such as fg.batch_norm"),
    names(lambda: scale_group([1]), "normalizer=[1]", "give a normalizer such as fg.batch_norm"),
]

TRANSFORMATIONS = [
    names(lambda: transformation(None), "actions=None", ACTION),
    names(lambda: transformation("W"), "actions='W'", ACTION),
    names(lambda: transformation((Rescale,)), "Rescale'>,)", ACTION),
    names(lambda: transformation((Permute(), 3)), "actions=(Permute(), 3)", ACTION),
    names(lambda: transformation([Rotate(), Rotate()]), "'mine' permutes or rotates twice", "one permutation"),
    names(lambda: transformation(Permute(), name=""), "name=''", "give a string that names it"),
    names(lambda: transformation(Permute(), name=3), "name=3", "give a string that names it"),
    names(lambda: transformation(Permute(), formula=3), "formula=3", "give a string"),
    names(lambda: transformation(Permute(), source=3), "source=3", "give a string"),
    names(lambda: fg.sign_flip.act(State(X, X), [1]), "1 values", "give one array for each of 0 parameters"),
    names(lambda: fg.dataset_rescaling.act(State(X, X), []), "0 values", "give one array for each of 1 parameters"),
    names(lambda: Rescale("weight"), "site='weight'", SITE),
    names(lambda: Shift(None, UNIT), "site=None", SITE),
    names(lambda: Rescale(Site.SUMMED), "Rescale got the summed inputs", "rescale one of those"),
    names(lambda: Rescale(Site.WEIGHT, Axis.SAMPLE), "axis SAMPLE", "that array has the axes UNIT, INPUT"),
    names(lambda: Shift(Site.INPUTS, UNIT), "axis UNIT", "that array has the axes SAMPLE, POSITION, INPUT"),
    names(lambda: Rescale(Site.WEIGHT, "h"), "axes='h'", ALONG),
    names(lambda: Rescale(Site.WEIGHT, 3), "axes=3", ALONG),
    names(lambda: Shift(Site.WEIGHT, [[UNIT]]), "axes=[[<Axis.UNIT: 'h'>]]", ALONG),
    names(lambda: Rescale(Site.WEIGHT, sign="x"), "sign='x'", "give 1 (any factor > 0) or -1"),
    names(lambda: Rescale(Site.WEIGHT, UNIT, sign=-1), "sign=-1 and axes", "leave the axes out"),
]

TRAINING = [
    names(lambda: descend(steps="x"), "steps='x'", WHOLE),
    names(lambda: descend(steps=-1), "steps=-1", WHOLE),
    names(lambda: descend(steps=True), "steps=True", WHOLE),
    names(lambda: descend(steps=10**14), "steps=100000000000000", MEMORY),
    names(lambda: descend(optimizer="sgd"), "optimizer='sgd'", OPTIMIZER),
    names(lambda: descend(optimizer=sgd), "SGD'>", OPTIMIZER),
    names(lambda: descend(rng="a"), "rng='a'", SEED),
    names(lambda: descend(rng=-1), "rng=-1", SEED),
    names(lambda: descend(rng=1.5), "rng=1.5", SEED),
    names(lambda: descend(progress=3), "progress=3", "give a function of (step, steps)"),
    names(lambda: descend(model=fg.batch_norm), "descend got model=Normalizer('batch_norm'", A_MODEL),
    names(lambda: descend(p=P.ravel()), "parameters are a ndarray", "give Params"),
    names(lambda: descend(Y=None), "type object", "give numbers"),
    names(lambda: descend().plot("x"), "ax='x'", "give Matplotlib axes"),
    names(lambda: sgd("x"), "rate='x'", "needs a finite rate > 0"),
    names(lambda: sgd([0.1]), "rate=[0.1]", "needs a finite rate > 0"),
    names(lambda: sgd(0.1, batch="a"), "batch='a'", "give the number of cases a step"),
    names(lambda: adamw(0.1, beta2="x"), "beta2='x'", "0 <= beta2 < 1"),
    names(lambda: equilibrium("x", 1.0), "optimizer='x'", "its law is known for fg.sgd and fg.adamw"),
    names(lambda: equilibrium(SLOW, "x"), "gradient_norm='x'", POSITIVE),
    names(lambda: equilibrium(SLOW, 1e200), "gradient_norm=1e+200", "its powers overflow; use other units"),
    names(lambda: quartic_growth("x", 1.0, 3), "rate='x'", POSITIVE),
    names(lambda: quartic_growth(0.1, 1.0, 2.5), "steps=2.5", WHOLE),
    names(lambda: quartic_growth(0.1, 1.0, 10**15), "steps=1000000000000000", MEMORY),
    names(lambda: quartic_growth(1e200, 1.0, 3), "rate=1e+200", UNITS),
    names(lambda: quartic_growth(0.1, 1.0, 3, start=1e-100), "start=1e-100", UNITS),
    names(lambda: random_walk(sgd, 3, 3), "SGD'>", OPTIMIZER),
    names(lambda: random_walk(SLOW, 1, 3), "weights=1", "give an integer >= 2"),
    names(lambda: random_walk(SLOW, 3, 3, rng="a"), "rng='a'", SEED),
    names(lambda: random_walk(sgd(1e200), 3, 3, gradient_norm=1e200), "‖w‖ = inf at step 1", UNITS),
    names(lambda: equivalent_schedule(adamw(0.1), 3), "adamw(rate=0.1)", "its law is known for fg.sgd"),
    names(lambda: equivalent_schedule(SLOW, "x"), "steps='x'", WHOLE),
    names(lambda: norm_identity_defect("x"), "run='x'", "give what descend returns"),
    names(lambda: step(rate="x"), "rate='x'", POSITIVE),
    names(lambda: step(rate=NAN), "rate=nan", POSITIVE),
    names(lambda: step(rate=1e308), "rate=1e+308", "use a smaller rate"),
    names(lambda: step(group="x"), "group='x'", "give what scale_group returns"),
    names(lambda: step(model="m"), "effective_step got model='m'", A_MODEL),
    names(lambda: slopes("x"), "factors='x'", FACTORS),
    names(lambda: slopes([1j, 2, 3]), "factors=[1j, 2, 3]", FACTORS),
    names(lambda: slopes(np.ma.masked_greater([1, 2, 4, 8], 3)), "masked_array(data=[1, 2, --, --]", FACTORS),
    names(lambda: slopes([1, 2, 3], model="m"), "scaling_slopes got model='m'", A_MODEL),
    names(lambda: slopes([1, 2, 3], p=None), "parameters are a NoneType", "give Params"),
    names(lambda: errors.check_positive("f", a=True), "f got a=True", POSITIVE),
    names(lambda: errors.check_count("f", 0, n=np.float64(2)), "f got n=np.float64(2.0)", "give an integer >= 0"),
]


_SCALING = fg.fisher_scaling(fg.batch_norm, fg.weight_vector_rescaling)
NUMBERS = [
    names(lambda: _SCALING.at(0), "delta=0", POSITIVE),
    names(lambda: _SCALING.at("x"), "delta='x'", POSITIVE),
    names(lambda: _SCALING.at(-2), "delta=-2", POSITIVE),
    names(lambda: fg.claims.check([1]), "the claim [1]", "give an id such as"),
    names(lambda: fg.claims.check_all(progress=3), "progress=3", "give a function of (done, of)"),
    names(lambda: fg.fisher(MODEL, P, X).rank("a"), "tol='a'", "give a number >= 0"),
    names(lambda: fg.observed_fisher(MODEL, P, X, Y).rank(-1), "tol=-1", "relative to the largest eigenvalue"),
]


@pytest.mark.parametrize(("act", "culprit", "remedy"), [*STAGES, *TABLES, *TRANSFORMATIONS, *TRAINING, *NUMBERS])
def test_wrong_arguments_are_refused_by_name(act, culprit, remedy):
    contracts.is_refused(act, culprit, remedy)


def test_one_value_stands_for_several():
    table = fg.invariance_table(fg.layer_norm, fg.sign_flip)
    assert len(list(table)) == 1 and not table[fg.layer_norm, fg.sign_flip]
    assert transformation(Permute()).actions == transformation([Permute()]).actions == (Permute(),)
    assert Rescale(Site.WEIGHT, UNIT) == Rescale(Site.WEIGHT, frozenset([UNIT])) == Rescale(Site.WEIGHT, [UNIT])


def test_zero_of_any_kind_is_no_eps():
    for zero in (0, 0.0, Fraction(0), np.float32(0)):
        assert not fg.layer_norm.with_eps(zero).summed[0].has_eps


def test_small_inputs_are_taken_as_long_as_their_squares_are_numbers():
    for normalizer in (fg.batch_norm, fg.layer_norm, fg.input_standardization):
        assert np.allclose(small(1e-150, normalizer), small(1, normalizer), rtol=1e-12)


def test_an_error_is_one_line():
    assert str(fg.InputError("a\n  b\t c")) == "a b c"


@pytest.mark.parametrize("act", [sgd, lambda rate: fg.Frozen(0, rate), lambda rate: quartic_growth(rate, 1.0, 3)])
def test_numbers_beyond_all_floats_are_refused(act):
    with pytest.raises(fg.InputError, match=r"give finite numbers|finite (rate|number) > 0"):
        act(HUGE)
