"""JAX: F by Jacobian products, jitted, with the linearization kept or not, and the same through kfac-jax."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .problem import Adapter, Floats, Prepared, Problem, Refused, Storage, Task, largest_eigenvalues

_CHUNK, _COLUMNS = 1 << 17, 8  # numbers of dZ for so many columns of F at a time, the least of columns: fastest on A, B


def _jax() -> Any:
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    return jax


def _predictor(problem: Problem, jax: Any) -> Callable[[Any, Any], Any]:
    """Z as a function of the flat parameters and X."""
    case, jnp = problem.case, jax.numpy
    if case.storage is not Storage.ARRAY or case.family not in ("bernoulli", "softmax"):
        raise Refused("no adapter for this input or family")

    def predictor(v: Any, X: Any) -> Any:
        rows = v.reshape(case.H, -1)
        W, b = rows[:, : case.D], rows[:, case.D]
        if case.normalizer == "weight_norm":
            W = W / jnp.sqrt((W * W).sum(axis=1, keepdims=True))
        A = X @ W.T
        if case.normalizer in ("batch_norm", "layer_norm"):
            axis = 0 if case.normalizer == "batch_norm" else 1
            centered = A - A.mean(axis=axis, keepdims=True)
            A = centered / jnp.sqrt((centered * centered).mean(axis=axis, keepdims=True))
        return (rows[:, -1] * A if case.has_gain else A) + b

    return predictor


def _answers(problem: Problem, jax: Any, dense: Callable[[], Any], product: Callable[[Any], Any]) -> Prepared:
    case, V = problem.case, problem.vectors

    def ready(result: Any) -> Any:
        return result.block_until_ready()

    if case.task is Task.DENSE:
        return Prepared(lambda: ready(dense()))
    if case.task is Task.PRODUCT:
        rows = jax.numpy.asarray(V.T)
        return Prepared(lambda: ready(product(rows)), lambda result: np.asarray(result).T)

    def single(v: Floats) -> Floats:
        return np.asarray(product(jax.numpy.asarray(v[None])))[0]

    return Prepared(lambda: largest_eigenvalues(single, case))


def _columns(problem: Problem, keep: bool = False) -> Prepared:
    """``keep`` computes what all products share once, as our operator does, and not in each."""
    jax = _jax()
    jnp, case, predictor = jax.numpy, problem.case, _predictor(problem, jax)
    X, v = jnp.asarray(problem.inputs), jnp.asarray(problem.flat)

    def curvature(z: Any, dz: Any) -> Any:
        if case.family == "bernoulli":
            p = jax.nn.sigmoid(z)
            return p * (1 - p) * dz
        p = jax.nn.softmax(z)
        return p * dz - p * (p * dz).sum(axis=-1, keepdims=True)

    @jax.jit
    def linearized(v: Any, X: Any) -> Any:
        z, forward = jax.linearize(lambda v: predictor(v, X), v)
        return z, forward, jax.vjp(lambda v: predictor(v, X), v)[1]

    def column(shared: Any, u: Any) -> Any:
        z, forward, backward = shared
        return backward(curvature(z, forward(u)))[0] / case.N

    def columns(shared: Any, U: Any) -> Any:
        return jax.vmap(lambda u: column(shared, u))(U)

    @jax.jit
    def dense(v: Any, X: Any) -> Any:
        shared = linearized(v, X)
        step = min(case.size, max(_COLUMNS, _CHUNK // (case.N * case.H)))
        return jax.lax.map(lambda u: column(shared, u), jnp.eye(case.size), batch_size=step)

    if keep:
        shared, products = linearized(v, X), jax.jit(columns)
        return _answers(problem, jax, lambda: dense(v, X), lambda U: products(shared, U))
    anew = jax.jit(lambda v, X, U: columns(linearized(v, X), U))
    return _answers(problem, jax, lambda: dense(v, X), lambda U: anew(v, X, U))


def _implicit(problem: Problem) -> Prepared:
    jax, kfac = _jax(), importlib.import_module("kfac_jax")
    jnp, case, predictor = jax.numpy, problem.case, _predictor(problem, jax)
    X, v = jnp.asarray(problem.inputs), jnp.asarray(problem.flat)
    register = (
        kfac.register_multi_bernoulli_predictive_distribution
        if case.family == "bernoulli"
        else kfac.register_categorical_predictive_distribution
    )

    def registered(v: Any, X: Any) -> Any:
        z = predictor(v, X)
        register(z)
        return z

    curvature = kfac.ImplicitExactCurvature(registered)
    step = min(case.size, max(_COLUMNS, _CHUNK // (case.N * case.H)))
    dense = jax.jit(
        lambda v, X: jax.lax.map(lambda u: curvature.multiply_fisher((v, X), u), jnp.eye(case.size), batch_size=step)
    )
    products = jax.jit(lambda v, X, U: jax.vmap(lambda u: curvature.multiply_fisher((v, X), u))(U))
    return _answers(problem, jax, lambda: dense(v, X), lambda U: products(v, X, U))


JAX = Adapter("jax", ("jax",), _columns)
JAX_KEPT = Adapter("jax, linearized once", ("jax",), lambda problem: _columns(problem, keep=True))
KFAC_JAX = Adapter("kfac-jax", ("kfac-jax", "jax"), _implicit)
