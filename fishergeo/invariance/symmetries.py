"""The null space of the Fisher matrix, matched with the generators that explain it.

A generator proposes directions of the parameters; what it explains is the part of the null space of F that lies in their
span and was not explained before.  Proposals need no proof: the intersection is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..families import Floats
from ..information.matrices import fisher
from ..information.operator import Metric
from ..model import GLM, Linearization, Params
from .generators import generators
from .structure import Structure

_ANGLE = 1e-6  # sine of the angle to the null space below which a direction counts as lying in it


@dataclass(frozen=True)
class Explained:
    """A generator and the number of null directions it accounts for, with an orthonormal ``basis`` (P, k) of them."""

    name: str
    dimension: int
    meaning: str
    basis: Floats = field(repr=False, compare=False)


@dataclass(frozen=True)
class Symmetries:
    """The nullity of F, split by generator; ``unexplained`` directions belong to none of them.

    ``equations`` is the rank that F could reach with these ``cases`` distinct x̂, if each chose its own summed inputs;
    ``lasting`` is the nullity with more cases, drawn between those given: what they remove is no symmetry.  ``lost``
    directions of proved invariances are not null in numbers: then F's rank is that of rounding, too large by as many.
    """

    nullity: int
    explained: tuple[Explained, ...]
    unexplained: int
    basis: Floats = field(repr=False, compare=False)
    equations: int
    lasting: int
    cases: int
    size: int
    lost: int
    gap: float = field(repr=False)  # the smallest singular value of F's root that counts, over the largest

    @property
    def shortage(self) -> int:
        """How many null directions there are only because cases are few: for want of equations, or gone with more."""
        return max(0, self._missing, self.nullity - self.lasting)

    @property
    def _missing(self) -> int:
        """How many more parameters there are than equations, but for those that are explained."""
        return self.size - sum(e.dimension for e in self.explained) - self.equations

    @property
    def note(self) -> str:
        """Why directions may be left over."""
        if not self.unexplained:
            return ""
        if self.shortage >= self.unexplained:
            if self._missing < self.unexplained:
                return f"too few equations from {self.cases} distinct cases: add cases, and they are gone"
            left = self.equations + self._missing
            return (
                f"{left} more parameters but only {self.equations} equations from {self.cases} distinct cases: add cases"
            )
        if self.gap < np.finfo(float).eps / _ANGLE:
            return f"the singular values of F's root fall to {self.gap:.1g} of the largest, which blurs its null space"
        return ""

    def __repr__(self) -> str:
        lines = [f"null space of F: {self.nullity} of {self.size} directions"]
        lines += [f"  {e.dimension:>4}  {e.name}: {e.meaning}" for e in self.explained]
        if self.unexplained:
            lines.append(f"  {self.unexplained:>4}  not explained{'; ' + self.note if self.note else ''}")
        if self.lost:
            lines.append(f"  {self.lost:>4}  more are proved, but lost in rounding: F's rank is too large")
        return "\n".join(lines)


@np.errstate(under="ignore")
def symmetries(model: GLM, p: Params, X: ArrayLike, metric: Metric | None = None) -> Symmetries:
    """The null space of F at ``p`` with the generators that explain it; ``metric`` saves factoring F again.

    Raises `InputError` for a metric that is not the Fisher matrix of this model at ``p`` and ``X``, and what `fisher`
    raises.
    """
    own = fisher(model, p, X)
    F = own if metric is None else _checked(metric, own)
    at = model.linearize(p, X)
    null, structure = F.null_space(), Structure(at)
    size, nullity = null.shape
    proposed = [(generator, generator.span(structure).T) for generator in generators(model)]
    spanned = np.zeros((size, 0))
    new: dict[str, list[Floats]] = {generator.name: [spanned] for generator, _ in proposed}
    for together in (False, True):  # each generator alone; then, for directions that take several, with all before it
        candidates = spanned
        for generator, span in proposed:
            whole = generator.proof is not None
            if spanned.shape[1] == nullity or (whole and (together or not _contains(null, span))):
                continue
            candidates = np.concatenate([candidates if together else spanned, span], axis=1)
            found = _intersection(null, candidates, proper=together)
            if (more := found.shape[1] - spanned.shape[1]) > 0 and (generator.proof is None or generator.proof()):
                U, _, _ = np.linalg.svd(found - spanned @ (spanned.T @ found), full_matrices=False)
                new[generator.name].append(U[:, :more])
                spanned = found
    sure = [span for g, span in proposed if g.proof is not None and not _contains(null, span) and g.proof()]
    lost = _dimension(np.concatenate([spanned, *sure], axis=1)) - spanned.shape[1] if sure else 0
    explained = tuple(
        Explained(generator.name, basis.shape[1], generator.meaning, basis)
        for generator, _ in proposed
        if (basis := np.concatenate(new[generator.name], axis=1)).shape[1]
    )
    s = F.singular_values()
    gap = float(s[size - nullity - 1] / s[0]) if nullity < size else 1.0
    unexplained = nullity - spanned.shape[1]
    equations, cases = _equations(at) if unexplained else (size, at.cases)
    lasting = _with_more_cases(structure, X) if size - spanned.shape[1] - equations < unexplained else nullity
    return Symmetries(nullity, explained, unexplained, null, equations, min(nullity, lasting), cases, size, lost, gap)


def _checked(metric: Metric, own: Metric) -> Metric:
    """``metric``, if it is the matrix ``own``: the same parameters, and the same product with a vector."""
    if not isinstance(metric, Metric):
        raise InputError(f"symmetries got metric={metric!r}: give fg.fisher(model, p, X), or leave it out")
    same = metric.shape == own.shape and np.array_equal(metric.params.ravel(), own.params.ravel())
    if same:
        v = np.random.default_rng(0).normal(size=own.shape[0])
        expected = own @ v
        same = np.linalg.norm(metric @ v - expected) <= 1e-9 * np.linalg.norm(expected)
    if not same:
        raise InputError(
            f"symmetries got {metric!r}, which is not the Fisher matrix of this model at these parameters and inputs: "
            "give fg.fisher(model, p, X), or leave it out"
        )
    return metric


def _contains(null: Floats, span: Floats) -> bool:
    """Whether every column of ``span`` lies in the null space."""
    off = np.linalg.norm(span - null @ (null.T @ span), axis=0)
    return bool((off <= _ANGLE * np.linalg.norm(span, axis=0)).all())


def _dimension(span: Floats) -> int:
    """The rank of directions of any length."""
    norms = np.linalg.norm(span, axis=0)
    return int(np.linalg.matrix_rank(span[:, norms > 0] / norms[norms > 0], tol=1e-10))


def _intersection(null: Floats, candidates: Floats, proper: bool = False) -> Floats:
    """An orthonormal basis of the directions in the span of ``candidates`` whose sine with the null space vanishes.

    ``proper`` candidates must not span the whole space, in which every null direction lies: none is then found.
    """
    norms = np.linalg.norm(candidates, axis=0)
    U, s, _ = np.linalg.svd(candidates[:, norms > 0] / norms[norms > 0], full_matrices=False)
    Q = U[:, s > 1e-10 * max(s.max(initial=0.0), 1e-300)]
    if proper and Q.shape[1] == len(null):
        return null[:, :0]
    _, sines, Vt = np.linalg.svd(Q - null @ (null.T @ Q), full_matrices=True)
    sines = np.concatenate([sines, np.zeros(Q.shape[1] - len(sines))])
    return Q @ Vt[sines < _ANGLE].T


def _equations(at: Linearization) -> tuple[int, int]:
    """The rank F would have if each distinct x̂ chose its own summed inputs, P + 1 at most; and the number of those x̂."""
    rng, size, (H, D) = np.random.default_rng(0), at.params.size, at.params.weight.shape
    patterns, which = np.unique(at.normalized.Xhat.reshape(-1, D), axis=0, return_inverse=True)
    dA = rng.normal(size=(size + 1, len(patterns), H))[:, which.ravel()].reshape(-1, *at.normalized.A.shape)
    for stage in at.normalized.summed:
        dA = stage.tangent(dA)
    free = at.model.unravel(rng.normal(size=(size + 1, size)), H)
    dZ = at.jvp(Params(np.zeros_like(free.weight), free.bias, free.gain))
    dZ += dA if at.params.gain is None else at.params.gain * dA
    s = np.linalg.svd(at.hessian.root(dZ).reshape(size + 1, -1), compute_uv=False)
    return int((s > size * np.finfo(float).eps * 10 * s[0]).sum()), len(patterns)


def _with_more_cases(structure: Structure, X: ArrayLike) -> int:
    """The nullity when every case is followed by others between it and one like it; P where these leave the domain.

    Cases are alike that use the same parts of the inputs, and share their statistics: on the line through two of them
    everything holds that holds for all affine functions of both.
    """
    at, rng = structure.at, np.random.default_rng(0)
    model, p = at.model, at.params
    X = np.asarray(X, float)
    times = 1 + -(-2 * p.size // len(X))
    kinds = structure.kinds(len(X))
    more = np.repeat(X, times, axis=0)
    for n in range(len(more)):
        if n % times:
            alike = np.flatnonzero(kinds == kinds[n // times])
            more[n] += rng.uniform(-0.5, 1) * (X[rng.choice(alike)] - more[n])
    try:
        return len(fisher(model, p, more).null_space().T)
    except InputError:
        return p.size
