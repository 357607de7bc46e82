"""Conjugate gradients for many right-hand sides at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..errors import InputError, check_count, is_finite
from ..families import Floats

Apply = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Solution:
    """Solutions x (k, P) of k systems, with the iterations that each took and the relative residual it reached."""

    x: Floats
    iterations: np.ndarray[tuple[int], np.dtype[np.intp]]
    residual: Floats


def conjugate_gradients(product: Apply, V: Floats, precondition: Apply, rtol: float, maxiter: int) -> Solution:
    """Solve A x = v for every row v of V (k, P); all products are of the rows that have not converged.

    ``product`` is A, symmetric positive definite, ``precondition`` an approximate inverse of the same kind; both map rows
    (k, P).  Raises `ArithmeticError` where one of the two turns out not to be positive definite.  Source: Saad 2003,
    Iterative Methods for Sparse Linear Systems, algorithm 9.1.
    """
    x, residual = np.zeros_like(V), V.copy()
    size = np.linalg.norm(V, axis=1)
    iterations = np.zeros(len(V), np.intp)
    active = np.flatnonzero(size > 0)
    r = residual[active]
    z = precondition(r)
    p, rz = z, _dots(r, z, "the preconditioner")
    for _ in range(maxiter):
        if not len(active):
            break
        Ap = product(p)
        step = rz / _dots(p, Ap, "the matrix")
        x[active] += step[:, None] * p
        r = r - step[:, None] * Ap
        residual[active] = r
        iterations[active] += 1
        going = np.linalg.norm(r, axis=1) > rtol * size[active]
        active, r, p, rz = active[going], r[going], p[going], rz[going]
        if len(active):
            z = precondition(r)
            new = _dots(r, z, "the preconditioner")
            p, rz = z + (new / rz)[:, None] * p, new
    reached = np.divide(np.linalg.norm(residual, axis=1), size, out=np.zeros_like(size), where=size > 0)
    return Solution(x, iterations, reached)


def _dots(a: Floats, b: Floats, what: str) -> Floats:
    """The scalar products of the rows, which must be positive."""
    dots = np.einsum("kp,kp->k", a, b)
    if not (dots > 0).all():
        raise ArithmeticError(f"{what} is not positive definite to rounding: use a larger damping")
    return dots


def iterate(
    product: Apply, v: Floats, damping: float, preconditioner: LinearOperator | None, rtol: Any, maxiter: int | None
) -> Floats:
    """(F + damping·I)⁻¹ v for v (P,) or (P, k), by conjugate gradients; raises what `Metric.solve` says."""
    size = len(v)
    if not (is_finite(rtol) and 0 < rtol < 1):
        raise InputError(f"solve got rtol={rtol!r}: give a relative residual between 0 and 1")
    if maxiter is not None:
        check_count("solve", 1, maxiter=maxiter)
    M = preconditioner
    if M is not None and getattr(M, "shape", None) != (size, size):
        raise InputError(f"solve got preconditioner={M!r:.60}: give a linear operator of shape ({size}, {size})")
    found = conjugate_gradients(
        lambda rows: product(rows) + damping * rows,
        np.ascontiguousarray(v.reshape(size, -1).T),
        (lambda rows: rows) if M is None else (lambda rows: M.matmat(rows.T).T),
        rtol,
        10 * size if maxiter is None else maxiter,
    )
    if not (found.residual <= rtol).all():
        raise ArithmeticError(
            f"conjugate gradients reached a relative residual of {found.residual.max():.2g}, not {rtol:g}, in "
            f"{found.iterations.max()} iterations: use a larger damping or rtol, or more iterations"
        )
    return found.x.T.reshape(v.shape)
