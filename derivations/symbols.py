"""The symbols of the book: each is made here, once, with what it means; chapters make none of their own."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Function, Indexed, IndexedBase, Symbol
from sympy.core.function import AppliedUndef

import fishergeo as fg
from fishergeo.closed_forms.curvature import RADIUS
from fishergeo.symbolic import curvature, expectation
from fishergeo.symbolic.derivation import Derivation, Step
from fishergeo.symbolic.groups import GROUP
from fishergeo.symbolic.latex import latex, symbol_name
from fishergeo.symbolic.sums import INDEX, PERMUTATION, SIZE, is_index
from fishergeo.symbolic.sums import I as I
from fishergeo.symbolic.sums import J as J

ETA, MEAN, PHI, Y = curvature.ETA, curvature.MEAN, curvature.PHI, expectation.Y

MEANINGS: dict[str, str] = {}  # by the LaTeX of a symbol
_KNOWN: set[Any] = set()  # the symbols themselves


def letter(tex: str, meaning: str) -> None:
    """Give a symbol its meaning; raises `ValueError` if it has another."""
    if tex in MEANINGS:
        raise ValueError(f"{tex} means {MEANINGS[tex]!r}, and cannot also mean {meaning!r}")
    MEANINGS[tex] = meaning


def number(name: str, meaning: str, **kind: Any) -> Symbol:
    symbol = Symbol(name, **(kind or {"real": True}))
    letter(latex(symbol), meaning)
    _KNOWN.add(symbol)
    return symbol


def array(name: str, meaning: str, **kind: Any) -> IndexedBase:
    letter(symbol_name(name), meaning)
    base = IndexedBase(name, **(kind or {"real": True}))
    _KNOWN.add(base.label)
    return base


def function(name: str, meaning: str) -> Any:
    letter(sympy.latex(Function(name)), meaning)
    _KNOWN.add(Function(name))
    return Function(name)


def given(name: Any, meaning: str) -> Any:
    """A symbol that the package has made: a number, or an array."""
    label = getattr(name, "label", name)
    letter(symbol_name(str(label)) if name is not label else latex(label), meaning)
    _KNOWN.add(label)
    return name


def again(symbol: Symbol) -> Symbol:
    """A symbol of the package that is written, and meant, like one of the table, with other assumptions."""
    assert latex(symbol) in MEANINGS
    _KNOWN.add(symbol)
    return symbol


def check(derivation: Derivation) -> None:
    """Raise `ValueError` for an equation with a symbol that is not in the table."""
    for step in derivation.items:
        if not isinstance(step, Step):
            continue
        for side in (step.left, step.right):
            names = {atom.base.label for atom in side.atoms(Indexed)} | {f.func for f in side.atoms(AppliedUndef)}
            names |= {atom for atom in side.atoms(Symbol) if not is_index(atom)}
            if unknown := sorted(map(str, names - _KNOWN - {*SIZE.values(), PERMUTATION, GROUP})):
                raise ValueError(f"equation {step.label} contains {unknown[0]}, which is not in the table of symbols")


def _index(letters: str, meaning: str) -> tuple[Symbol, ...]:
    symbols = tuple(Symbol(name, integer=True) for name in letters.split())
    letter(", ".join(dict.fromkeys(name.rstrip("'") for name in letters.split())), meaning)
    return symbols


# indices and sizes
n, m, n2, n3, m2 = _index(
    "n m n' n'' m'", "a case; a second case, a sum over the cases; as for all indices, a prime makes another one"
)
h, k, k2, _, _ = _index("h k k' i j", "a unit, a sum over the units; the units of a block of the Fisher matrix")
col, e, d2, e2 = _index("d e d' e'", "an input, or one of the weights of a unit; a sum over them")
letter(INDEX[fg.Axis.POSITION].name, "a position, where cases have several")
N, H, D = (SIZE[axis] for axis in (fg.Axis.SAMPLE, fg.Axis.UNIT, fg.Axis.INPUT))
letter("N, H, D", "the numbers of cases, units and inputs")
assert (n, h, col) == tuple(INDEX[axis] for axis in (fg.Axis.SAMPLE, fg.Axis.UNIT, fg.Axis.INPUT)) and I != J

# the model
x = array("x", "the inputs")
letter("X", "the matrix of the inputs, one row for each case")
w = array("w", "the weights, before any normalization")
letter("W", "the matrix of the weights, one row for each unit")
b = array("b", "the biases")
g = array("g", "the gains")
a = array("a", "the summed inputs, before normalization")
z = array("z", "the natural parameters of the outputs, gain times normalized summed input plus bias")
y = given(IndexedBase(Y), "the observations")
xhat = array("xhat", "the normalized inputs")
what = array("what", "the normalized weights; for weight norm, the direction of a weight vector")
ahat = array("ahat", "the normalized summed inputs")
abar = array("abar", "the means that are subtracted from the summed inputs")
sigma = array(
    "sigma", "the standard deviation of a cell of numbers, or its norm; $\\sigma(a)$ is that of $a$", positive=True
)
mu = given(MEAN, "the mean of an output, and $\\mu(a)$ that of a cell of $a$")
epsilon = number("epsilon", "what is added to the variance under the root, or to the standard deviation", positive=True)

# families
theta = number("theta", "a natural parameter")
thetas = IndexedBase(theta)
eta = function("eta", r"the cumulant of a family: $\eta'$ is the mean and $\phi\,\eta''$ the variance")
given(ETA, "the second derivatives of the cumulant, entry by entry: the covariance of the outputs over the dispersion")
omega = array(
    "omega",
    "the Fisher weight: the curvature of the log density in the natural parameter, times $\\phi$",
    positive=True,
)
base = function("c", "the part of a log density that does not depend on the natural parameter")
given(PHI, "the dispersion")
letter(r"\Gamma", "the gamma function")
tilt = number("varsigma", "the slope of a tilt of a density")
Lambda = function("Lambda", "the logarithm of the moment generating function of an observation")
KL = function("KL", "the Kullback-Leibler divergence from a member of a family to another")
L = function("L", "the divergence in the other direction")
part = number("iota", "a fraction of a way")
score = array("upsilon", "the score: the derivative of the log density of a case")
psi = array("psi", "a change of the parameters")
change = psi.label
zeta = array("zeta", "the change of the natural parameters when the parameters change")

# the Fisher matrix
PARTS = {"w": "weight", "b": "bias", "g": "gain"}
F = {
    part: array(f"F{part}", f"the block of the Fisher matrix along {PARTS[part[0]]} and {PARTS[part[1]]}")
    for part in ("ww", "wb", "wg", "bb", "bg", "gg")
}
Ftilde = {part: array(f"Ftilde__{part}", "the same block at rescaled weights") for part in ("ww", "wb", "wg")}
chi = array(
    "chi", "the derivative of a normalized summed input by the weights of its own unit, times the standard deviation"
)
letter(r"\xi", "the factor of a derivative that is a unit's own, where units mix")
letter("M", "the matrix that mixes the units of a case")
letter("I", "1 where the two indices are equal, else 0")
letter(r"\mathrm{E}", "the mean over the cases, or the expectation of an observation")

# a cell of numbers
v = array("v", "a cell of numbers, to be standardized")
vbar = number("vbar", "the mean of the cell")
q = array("q", "the cell, centered")
vhat = array("vhat", "the cell, standardized")
P = array("P", "the projector of the lemma")
wcheck = array("wcheck", "the weights that a unit uses: gain times direction")
vdot = array("vdot", "a change of the cell")
upstream = array(
    "Y", "the gradient of the loss with respect to what comes out: natural parameters, or weights that are used"
)
R = array("R", "the gradient of the loss with respect to standardized numbers")
G = array("G", "the gradient of the loss with respect to the numbers before standardization")
V = number("V", "the gradient of the loss with respect to the variance")
U = number("U", "the gradient of the loss with respect to the mean")

# transformations
delta = array("delta", "a factor by which weights or inputs are rescaled", positive=True)
gamma = number("gamma", "a shift of weights, inputs or summed inputs")
vtilde = array("vtilde", "the cell, scaled and shifted")
vtildebar = number("vtildebar", "its mean")
sigmatilde = array("sigmatilde", "its standard deviation", positive=True)
vtildehat = array("vtildehat", "that cell, standardized")
wtilde = array("wtilde", "the weights after a rescaling, or after a step")
atilde = array("atilde", "the summed inputs of those weights")
atildebar = array("atildebar", "their means")
atildehat = array("atildehat", "their normalized values")
Psi = array("Psi", "the derivative of the natural parameters by the weights")
Psitilde = array("Psitilde", "the derivative by rescaled weights")
letter("Q", "a rotation of the inputs")
letter(r"\beta", "in a proof, by how much what is standardized is shifted")
letter(r"\Pi", "a permutation of the units")
letter(r"\varpi", "the unit that a permutation puts in a place: $\\varpi(h)$")

# training
alpha = number("alpha", "the step size, also called learning rate", positive=True)
decay = number("lambda", "the weight decay", positive=True)
momentum = number("vartheta", "the momentum", positive=True)
ell = number("ell", "the length of a weight vector", positive=True)
letter(r"\rho", "in a proof, any value of $\\sigma(w)$ that is not changed")
elltilde = number("elltilde", "its length after a step", positive=True)
wtildehat = array("wtildehat", "the direction of a weight vector after a step")
wdot = array("wdot", "the velocity of a weight vector under momentum")
wdottilde = array("wdottilde", "the velocity after a step")
Omega = number("Omega", "the length that the gradient has where the weight vector has length 1", positive=True)
Theta = number("Theta", "what weight decay leaves of the weights in a step", positive=True)
A = number("A", "the square of the length of a weight vector", positive=True)
Abar = number("Abar", "where that square settles", positive=True)
p = number("p", "the cosine of the angle that a step turns a weight vector by")
wgrave = array("wgrave", "the weights one step before")

# populations of inputs
xbar = array("xbar", "the mean of the inputs")
S = array("S", "the covariance of the inputs")
T = array("T", "a matrix of which the covariance of the inputs is the Gram matrix")
tau = array("tau", "the standard deviation of a summed input over the cases", positive=True)
s = array("scheck", "the covariance of a standardized summed input with the inputs; for white inputs, its direction")
acheck = array("acheck", "the summed inputs, standardized over the cases")
r = array("r", "what the inputs contain beside the summed input of a unit")
kappa = [array(f"kappa{order}", f"the moment of order {order} of the Fisher weight") for order in range(3)]
nu = number("nu", "the mean of a natural parameter over the inputs")
t = number("t", "the slope of a natural parameter in the standardized summed input")
letter(r"\Delta", "the determinant of the covariance of the inputs")
B = array("B", "the image of a weight vector: on the unit sphere, or an ellipsoid")
etabar = array("etabar", "the mean of the second derivatives of the cumulant over the cases")
Upsilon = array("Upsilon", "the second moments of the inputs")
f = function("f", "any function that grows moderately")
letter("C", "the projector on what layer norm leaves of the units")
letter("u", "the weights after that projector")
letter("K", "the projector on the inputs that the units see")
varphi = [number(f"varphi{place}", text, positive=True) for place, text in ((1, "an angle"), (2, "a second angle"))]
radius = again(RADIUS)
Gamma = number("Z", "the logarithm of the mean of a Poisson output over white inputs")
letter(r"\mathcal{R}", "the scalar curvature of a metric")

# natural gradient
fisher = array("F", "the Fisher matrix of all parameters")
jacobian = array("J", "the Jacobian matrix of a change of parameters; $J_i$ is that of the natural parameters of a case")
Fcheck = array("Fcheck", "the Fisher matrix in other parameters")
Gcheck = array("Gcheck", "the gradient in other parameters")
Psicheck = array("Psicheck", "the derivative by other parameters")
psicheck = array("psicheck", "a change of other parameters")
Ftildes = array("Ftilde", "the Fisher matrix at rescaled weights")
anyvector = array("Xi", "any vector")
