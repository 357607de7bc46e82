"""How the blocks of the Fisher matrix change when weights are rescaled: by 1/4, not 1/2, when a weight vector
doubles."""

from __future__ import annotations

from common import PARTS, I, J, N, ahat, col, e, h, introduce, m, n, w, x
from sympy import Expr, IndexedBase, Integer, KroneckerDelta, sqrt

from fishergeo import batch_norm, fisher_scaling, weight_matrix_rescaling, weight_vector_rescaling
from fishergeo.invariance.scaling import BLOCKS
from fishergeo.normalizers import ZOO
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.blocks import fisher_block
from fishergeo.symbolic.derivation import Derivation, Step
from fishergeo.symbolic.latex import latex
from fishergeo.symbolic.rules import Partial
from fishergeo.symbolic.sums import over
from fishergeo.transformations import Transformation

v, c, cbar, chat, slope = (IndexedBase(name, real=True) for name in ("v", "c", "cbar", "chat", "S"))
delta, sigma, s = (IndexedBase(name, positive=True) for name in ("delta", "sigma", "s"))


def build() -> Derivation:
    d = Derivation(6, "How the Fisher matrix scales")
    facts = rescaled(d)
    blocks(d, facts)
    tables(d)
    return d


def rescaled(d: Derivation) -> list[Step]:
    d.say("Take batch norm, and write down its names once more, for the weights {} and for rescaled weights.", w[h, col])
    old = introduce(d, batch_norm)
    new = [
        d.define(v[h, col], delta[h] * w[h, col]),
        d.define(c[n, h], over(v[h, e] * x[n, e], e)),
        d.define(cbar[h], over(c[m, h], m) / N),
        d.define(s[h], sqrt(over((c[m, h] - cbar[h]) ** 2, m) / N)),
        d.define(chat[n, h], (c[n, h] - cbar[h]) / s[h]),
    ]
    d.say("The standard deviation takes the factor, and nothing is left of it in the normalized summed inputs:")
    spread = d.step(s[h], delta[h] * sigma[h], by.linearity_of_the_mean, [*new[:4], *old])
    same = d.step(chat[n, h], ahat[n, h], by.invariance, [*new, *old])
    d.say(
        """so that predictions, and the covariance of the outputs, stay what they were. What changes is the
        derivative. It is the expression of the projector lemma, at {} and at the rescaled weights:""",
        w[h, col],
    )
    before = d.step(Partial(ahat[n, h], w[I, col]), projector(ahat, sigma), by.projector_identity)
    after = d.define(slope[n, h, I, col], projector(chat, s))
    d.step(Partial(chat[n, h], w[I, col]), delta[I] * after.left, by.chain_rule, [after, spread, same, before])
    d.say("The new derivative is the old one, divided by the factor:")
    d.step(after.left, before.left / delta[I], by.invariance, [after, spread, same, before])
    d.say("Along the weight vector itself it vanishes, as it must where the length does not matter:")
    d.step(over(w[I, e] * Partial(ahat[n, h], w[I, e]), e), Integer(0), by.invariance)
    return [spread, same]


def projector(hat: IndexedBase, scale: IndexedBase) -> Expr:
    """The derivative of the normalized summed inputs of unit h with respect to the weights of unit i."""
    moments = over(x[m, col], m) / N + hat[n, I] * over(hat[m, I] * x[m, col], m) / N
    return KroneckerDelta(h, I) / scale[I] * (x[n, col] - moments)


def blocks(d: Derivation, facts: list[Step]) -> None:
    d.head("The blocks")
    d.say("The blocks before, and after with the rescaled weights in their place:")
    names = {sigma: s, ahat: chat}
    laws, before = {}, {}
    for old, new in (("ww", "vv"), ("wb", "vb"), ("wg", "vg")):
        block = fisher_block(batch_norm, PARTS[old[0]], PARTS[old[1]])
        first, second = (IndexedBase(f"F{name}", real=True)[block.indices] for name in (old, new))
        definitions = [d.define(first, block.expr), d.define(second, block.expr.xreplace(names))]
        factor = delta[I] * (delta[J] if old == "ww" else 1)
        laws[old] = d.step(second, first / factor, by.substitution, [*definitions, *facts])
        before[old] = first
    d.say("The blocks of biases and gains contain the weights through {} alone, and do not change.", ahat[n, h])
    d.head("Doubling the weight vectors")
    two = d.define(delta[h], Integer(2))
    d.step(laws["ww"].left, before["ww"] / 4, by.substitution, [laws["ww"], two])
    d.step(laws["wb"].left, before["wb"] / 2, by.substitution, [laws["wb"], two])
    d.step(laws["wg"].left, before["wg"] / 2, by.substitution, [laws["wg"], two])
    d.say(
        """Ba, Kiros and Hinton (2016, section 5.2.2) state that the curvature along a weight vector changes by a
        factor of 1/2. The block changes by 1/4, lengths in that metric by 1/2, and the curvature along the weight
        vector itself is 0. The stated factor has a counterexample:"""
    )
    d.refute(laws["ww"].left, before["ww"] / 2, by.counterexample_found)


def tables(d: Derivation) -> None:
    d.head("All normalizers")
    d.say(
        """The factors by which the blocks change, found by running the definitions in index notation before and
        after. A row with a star holds only where the covariance of the outputs does not depend on the natural
        parameter, since the predictions change. A dash: no such law."""
    )
    for transformation in (weight_vector_rescaling, weight_matrix_rescaling):
        d.say(f"{transformation.title.capitalize()}, {{}}:", transformation.formula)
        d.insert(*scalings(transformation))


def scalings(transformation: Transformation) -> tuple[str, str]:
    """The laws under one transformation, each with the normalizers that have it, as LaTeX and as HTML."""
    laws: dict[tuple[tuple[Expr | str | None, ...], bool], list[str]] = {}
    for normalizer in ZOO:
        law = fisher_scaling(normalizer, transformation)
        factors = tuple(law.blocks.get(name, "") for name in BLOCKS)
        laws.setdefault((factors, law.any_family), []).append(normalizer.title)
    rows, cells = [], []
    for (factors, any_family), titles in laws.items():
        star, names = "" if any_family else " *", ", ".join(titles)
        marks = ["--" if f is None else f if isinstance(f, str) else f"${latex(f)}$" for f in factors]
        rows.append(rf"\raggedright {names}{star} & " + " & ".join(marks) + r" \\")
        cells.append([names + star, *("-" if f is None else str(f) for f in factors)])
    head = list(BLOCKS)
    tex = "\n".join(
        [
            r"\renewcommand{\arraystretch}{1.5}",
            r"\begin{tabular}{p{80mm}cccccc}",
            r"\hline",
            " & ".join(["", *head]) + r" \\",
            r"\hline",
            *rows,
            r"\hline",
            r"\end{tabular}",
        ]
    )
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in (["", *head], *cells))
    return tex, f"<table>{body}</table>"


if __name__ == "__main__":
    build().write(__file__)
