r"""A preconditioner for F + λI: Kronecker factors in the coefficients, with their eigenvalues corrected.

In the coefficients y = T v of `structure`, F is the mean of S_n ⊗ φ_n φ_nᵀ.  With V the eigenvectors of E[φφᵀ], φ
centered where it has a constant, the components of Vᵀφ are uncorrelated, and

    F ≈ Tᵀ (1 ⊗ V) diag_k(G_k) (1 ⊗ V)ᵀ T,     G_k = E[S_n (Vᵀφ_n)_k²]  (H, H)

which is E[S] ⊗ E[φφᵀ] where S and φ are independent.  With T⁺ the pseudo-inverse of each unit's T and t_k the diagonal of
(1 ⊗ V)ᵀ(TTᵀ)⁺(1 ⊗ V),

    (F + λI)⁻¹ ≈ T⁺ (1 ⊗ V) diag_k((G_k + λ t_k)⁻¹) (1 ⊗ V)ᵀ T⁺ᵀ + (I - T⁺T)/λ

so that directions which T annihilates are exact.  Biases and gains after stages on cases have a block of their own.
Source: Martens, Grosse 2015, arXiv 1503.05671; George et al. 2018, arXiv 1806.03884, for the corrected eigenvalues.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse.linalg import LinearOperator

from ..families import Floats
from . import roots
from .pieces import Factors

_BLOCK = 1 << 16  # numbers in the largest array over a piece: 512 KiB
_LARGEST = 1 << 25  # numbers in the matrices T of all units: 256 MiB
_FLOOR = 1e-10  # eigenvalues of TTᵀ below this share of the largest belong to what T annihilates


class Kronecker:
    """The factors of the approximation, for any damping; ``scale`` is N φ of F."""

    def __init__(self, parts: tuple[Factors, ...], scale: float) -> None:
        self.chart, self.size = parts[0].chart, parts[0].chart.params.size
        H, m, D, cases = self.chart.params.units, self.chart.features, self.chart.inputs, sum(len(f.X) for f in parts)
        self.T = self._coefficients()
        total, second = np.zeros(m), np.zeros((m, m))
        for f in parts:
            for piece in f.pieces(max(256, _BLOCK // m)):
                phi = piece.phi()
                total += phi.sum(axis=0)
                second += phi.T @ phi
        mean = total / cases
        if m == D:  # without a constant there is nothing to center with
            mean[:] = 0
        else:
            mean[D] = 0
            self.T[:, D] += np.einsum("d,hds->hs", mean[:D], self.T[:, :D])
        centered = second / cases - np.outer(mean, mean)
        self._invert()
        centered = self._reached @ centered @ self._reached
        self.V: Floats = np.linalg.eigh((centered + centered.T) / 2)[1]
        self.G, self.ends = np.zeros((m, H, H)), np.zeros((H * self.chart.ends,) * 2)
        for f in parts:
            self._add(f, mean)
        self.G /= scale
        self.ends /= scale
        self.t = np.einsum("ak,hab,bk->kh", self.V, self._inverse, self.V, optimize=True)

    def _coefficients(self) -> Floats:
        """T (H, m, s) of each unit: the coefficients that its parameters change; of weights that mix, the scale alone."""
        H, m = self.chart.params.units, self.chart.features
        T = self.chart.side(np.broadcast_to(np.eye(m)[:, None], (m, H, m)))
        if self.chart.mixes:
            W = np.random.default_rng(0).normal(size=self.chart.params.weight.shape)
            T = T.copy()
            T[..., : self.chart.inputs] *= np.linalg.norm(self.chart.mix(W)) / np.linalg.norm(W)
        return np.ascontiguousarray(T.transpose(1, 0, 2))

    def _invert(self) -> None:
        """(TTᵀ)⁺ and T⁺ of each unit, and the projector onto the coefficients that most units reach."""
        self._inverse, reached = np.empty((2, *self.T.shape[:2], self.T.shape[1]))
        for T, inverse, reach in zip(self.T, self._inverse, reached, strict=True):
            inverse[...], reach[...] = _pseudo_inverse(T @ T.T)
        self.pseudo = self.T.transpose(0, 2, 1) @ self._inverse
        share, vectors = np.linalg.eigh(reached.mean(axis=0))
        self._reached = (vectors * (share > 0.5)) @ vectors.T

    @np.errstate(under="ignore")
    def _add(self, f: Factors, mean: Floats) -> None:
        H, m = self.chart.params.units, self.chart.features
        for piece in f.pieces(max(64, _BLOCK // (m + roots.outputs(f) * H))):
            B, n = roots.half(piece), len(piece)
            S = roots.pulled(f.chart, piece, B)
            squares = np.einsum("kin,kjn->ijn", S, S, optimize=True).reshape(H * H, n)
            components = (piece.phi() - mean) @ self.V
            self.G += (squares @ (components * components)).T.reshape(m, H, H)
            if len(self.ends):
                ends = np.stack([B, B * piece.value.T], axis=2)[:, :, : self.chart.ends]
                ends = ends.reshape(len(B), -1, n).transpose(1, 0, 2).reshape(len(self.ends), -1)
                self.ends += ends @ ends.T

    def inverse(self, damping: float) -> LinearOperator:
        """The approximation of (F + damping·I)⁻¹."""
        blocks = _inverted(self.G + damping * np.einsum("kh,hj->khj", self.t, np.eye(self.G.shape[1])))
        ends = _inverted((self.ends + damping * np.eye(len(self.ends)))[None])[0]

        def apply(V: Floats) -> Floats:
            rows = V.T.reshape(V.shape[1], self.chart.params.units, -1)
            through = self.T.shape[2]
            v = rows[..., :through].transpose(1, 0, 2)  # (H, k, s)
            y = v @ self.pseudo
            outside = v - y @ self.T
            y = blocks @ (y @ self.V).transpose(2, 0, 1)  # (m, H, k)
            v = y.transpose(1, 2, 0) @ self.V.T @ self.pseudo.transpose(0, 2, 1) + outside / damping
            out = [v.transpose(1, 0, 2)]
            if len(ends):
                out.append((rows[..., through:].reshape(len(rows), -1) @ ends).reshape(*rows.shape[:2], -1))
            return np.concatenate(out, axis=-1).reshape(len(rows), -1).T

        shape = (self.size, self.size)
        return LinearOperator(shape, matvec=lambda v: apply(v.reshape(-1, 1))[:, 0], matmat=apply, dtype=float)


def _inverted(blocks: Floats) -> Floats:
    """Inverses of positive semidefinite matrices (k, H, H), eigenvalues below rounding level raised to it."""
    if not blocks.size:
        return blocks
    values, vectors = np.linalg.eigh(blocks)
    least = np.finfo(float).eps * np.maximum(values[:, -1:], np.finfo(float).tiny / np.finfo(float).eps)
    return (vectors / np.maximum(values, least)[:, None]) @ vectors.transpose(0, 2, 1)


def _pseudo_inverse(A: Floats) -> tuple[Floats, Floats]:
    """A⁺ and AA⁺ of a positive semidefinite matrix."""
    L, info = dpotrf(A, lower=1)
    d = L.diagonal()
    if info == 0 and d.min() > 1e-4 * d.max():
        inverse, _ = dpotri(L, lower=1)
        return np.tril(inverse) + np.tril(inverse, -1).T, np.eye(len(A))
    values, vectors = np.linalg.eigh(A)
    kept = values > _FLOOR * values[-1]
    share = np.divide(1.0, values, out=np.zeros_like(values), where=kept)
    return (vectors * share) @ vectors.T, (vectors * kept) @ vectors.T
