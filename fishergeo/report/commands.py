"""What each subcommand of the command line does; the modules a command needs are imported when it runs."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import output

EXTRAS = ("matplotlib", "jinja2", "latex2mathml", "markupsafe")


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """A function that marks one of ``total`` steps as done, on a bar where stderr is a terminal and tqdm is there."""
    bar = None
    if sys.stderr.isatty():
        with contextlib.suppress(ImportError):
            from tqdm import tqdm

            bar = tqdm(total=total, leave=False, bar_format="{bar:30} {percentage:3.0f}% {elapsed} {desc}")

    def tick(label: str) -> None:
        if bar is not None:
            bar.set_description_str(label)
            bar.update()

    try:
        yield tick
    finally:
        if bar is not None:
            bar.close()


def problem(options: argparse.Namespace) -> Any:
    """The data that the options name: a file with a target, or the digits."""
    from ..datasets import digits, load, prepare
    from .names import family

    if options.data is None:
        if options.target or options.drop:
            raise InputError("--target and --drop name columns of a file: give the file too (--data)")
        return digits(family(options.family), _link(options))
    return prepare(load(options.data, options.target, options.drop), family(options.family), _link(options))


def _link(options: argparse.Namespace) -> Any:
    from .names import link

    return None if options.link is None else link(options.link)


def command_line(options: argparse.Namespace) -> str:
    return shlex.join(["fishergeo", *options.arguments])


def _target(options: argparse.Namespace, *suffixes: str) -> Path | None:
    """The file to write, checked before any work; None where nothing is to be saved."""
    if options.output is None:
        return None
    target = Path(options.output)
    output.check_file(target, suffixes)
    return target


def _need_extras() -> None:
    import importlib.util

    missing = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"this needs {', '.join(missing)}: pip install 'fishergeo[report]'")


def report(options: argparse.Namespace) -> None:
    _need_extras()
    from ..normalizers import batch_norm, identity, layer_norm, weight_norm
    from .compute import Settings, default_normalizers
    from .names import family, normalizers
    from .write import write_report

    target = Path(options.output)
    output.check_folder(target)
    data = problem(options)
    chosen, note = normalizers(options.normalizers, options.eps, (identity, batch_norm, weight_norm, layer_norm)), ""
    if options.normalizers is None:
        chosen, note = default_normalizers(chosen, data)
    common = options.seed, options.steps, options.cases, command_line(options), note
    settings = Settings(family(options.family), chosen, *common, workers=2, link=_link(options))
    with progress(settings.ticks + 3) as tick:
        results = write_report(data, settings, target, tick)
    if results["pdf"] != "report.pdf":
        print(f"fishergeo: no PDF: {results['pdf']}; report.tex is there", file=sys.stderr)
    print(target / "index.html")


def table(options: argparse.Namespace) -> None:
    from ..invariance.table import invariance_table
    from ..normalizers import ZOO, batch_norm, layer_norm, weight_norm
    from ..transformations import PAPER, TRANSFORMATIONS
    from .names import normalizers

    zoo = (batch_norm, weight_norm, layer_norm) if options.paper else ZOO
    rows = normalizers(options.normalizers, options.eps, zoo)
    columns = PAPER if options.paper else TRANSFORMATIONS
    with progress(len(rows) * len(columns)) as tick:
        found = invariance_table(rows, columns, progress=lambda done, of: tick(f"{done} of {of} cells"))
    if options.format == "latex":
        print(found.to_latex())
    elif options.format == "markdown":
        print(found.to_markdown())
    elif options.format == "html":
        print(found._repr_html_())
    else:
        print(found)
    if options.proofs:
        print(*(f"\n{verdict}" + "".join(f"\n    {step}" for step in verdict.steps) for verdict in found), sep="")


def fisher(options: argparse.Namespace) -> None:
    import numpy as np

    from ..information.matrices import fisher as build
    from ..model import GLM
    from .compute import Settings, check, used
    from .names import family, normalizer
    from .study import starting_point, train

    target = _target(options, ".npz", ".csv")
    chosen = family(options.family)
    model = GLM(chosen, normalizer(options.normalizer, options.eps), link=_link(options))
    if options.steps < 0:
        raise InputError(f"--steps {options.steps}: train for no step or more")
    settings = Settings(chosen, (model.normalizer,), options.seed, max(options.steps, 1), options.cases)
    given = problem(options)
    check(given, settings)
    data, facts = used(given, settings)
    if options.steps > 0:
        p, state = train(model, data.X, data.Y, options.steps, options.seed).params, f"after {options.steps} steps"
    else:
        p, state = starting_point(model, data.X, data.Y, np.random.default_rng(options.seed)), "before training"
    F = build(model, p, data.X)
    rank = F.rank()
    lines = {
        "data": f"{facts['name']}, {facts['cases_used']} cases, {facts['inputs']} inputs, {facts['units']} units",
        "matrix": f"{F.what}; {state}",
        "size": F.shape[0],
        "rank": rank,
        "nullity": F.shape[0] - rank,
        "condition": f"{F.condition():.6g}",
        "trace": f"{F.trace():.6g}",
    }
    print(*(f"{name:<10} {value}" for name, value in lines.items()), sep="\n")
    if target is None:
        return
    names = [_parameter(F, k) for k in range(F.shape[0])]
    with output.file(target) as work:
        if target.suffix.lower() == ".npz":
            arrays: dict[str, Any] = {"weight": p.weight, "bias": p.bias} | ({} if p.gain is None else {"gain": p.gain})
            np.savez_compressed(work, fisher=F.to_dense(), names=np.array(names), **arrays)
        else:
            np.savetxt(work, F.to_dense(), delimiter=",", header=",".join(names), comments="", fmt="%.17g")
    print(target)


def _parameter(F: Any, k: int) -> str:
    unit, part, place = F.unit(k)
    return f"{part}[{unit}]" if place is None else f"{part}[{unit} {place}]"


def derive(options: argparse.Namespace) -> None:
    from .derive import Sheet, pairs
    from .names import family, normalizer

    target = None if options.output is None else Path(options.output)
    whole = target is not None and (options.output.endswith("/") or target.is_dir() or not target.suffix)
    if target is not None:
        output.check_folder(target) if whole else output.check_file(target, (".tex",))
    chosen = normalizer(options.normalizer, options.eps)
    sheet = Sheet(
        chosen,
        pairs(options.blocks, chosen),
        None if options.family is None else family(options.family),
        _link(options),
    )
    with progress(len(sheet.pairs) + 2) as tick:
        sheet.check(tick)
        missing = _write_blocks(sheet, target, command_line(options)) if target and whole else ""
        tick("document")
    if target is None:
        print(sheet.latex(), end="")
    elif not whole:
        with output.file(target) as work:
            work.write_text(sheet.latex(), encoding="utf-8")
        print(target)
    else:
        if missing:
            print(f"fishergeo: no PDF: {missing}; blocks.tex is there", file=sys.stderr)
        print(target / "blocks.tex")


def _write_blocks(sheet: Any, target: Path, command: str) -> str:
    """The document, its PDF, every block as two equations, and what was checked; returns why there is no PDF."""
    from .tex import typeset

    with output.folder(target) as folder:
        (folder / "blocks.tex").write_text(sheet.latex(), encoding="utf-8")
        for place, (row, column) in enumerate(sheet.pairs):
            (folder / f"{row}-{column}.tex").write_text(sheet.fragment(place), encoding="utf-8")
        missing = typeset(folder, "blocks")
        files = sorted({path.name for path in folder.iterdir()} | {output.RESULTS})
        results = {"generator": output.GENERATOR, "command": command, "title": sheet.title, "blocks": sheet.results()}
        numbers = json.dumps(results | {"files": files}, indent=1, allow_nan=False, ensure_ascii=False)
        (folder / output.RESULTS).write_text(numbers + "\n", encoding="utf-8")
    return missing


def decay(options: argparse.Namespace) -> None:
    import numpy as np

    from ..dynamics.optimizers import sgd
    from .compute import Settings, check, used
    from .names import family, normalizers
    from .study import train

    target = _target(options, ".csv", ".svg", ".png", ".pdf")
    if target is not None and target.suffix.lower() != ".csv":
        _need_extras()
    if options.rate is not None:
        sgd(options.rate)  # refuses a bad one before the work
    methods, chosen = normalizers(options.normalizers, options.eps), family(options.family)
    data = problem(options)
    settings = Settings(chosen, methods, options.seed, options.steps, options.cases, link=_link(options))
    check(data, settings)
    data, _ = used(data, settings)
    runs = []
    with progress(len(methods)) as tick:
        for method in methods:
            runs.append(train(settings.model(method), data.X, data.Y, options.steps, options.seed, options.rate).run)
            tick(method.title)
    steps = np.unique(np.linspace(0, options.steps, 11).round().astype(int))
    print(f"{'normalizer':<34}{'step':>7}{'norm':>12}{'effective rate':>16}{'batch loss':>12}")
    for run in runs:
        for t in steps:
            values = (np.median(run.norms[t]), np.median(run.effective_rate[t]), run.loss[t])
            print(f"{run.model.normalizer.title:<34}{t:>7}{values[0]:>12.5g}{values[1]:>16.5g}{values[2]:>12.5g}")
    if target is not None:
        with output.file(target) as work:
            _save_runs(runs, work)
        print(target)


def _save_runs(runs: list[Any], path: Path) -> None:
    if path.suffix.lower() == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["normalizer", "step", "weight_vector", "norm", "effective_rate"])
            for run in runs:
                for t, (norms, rates) in enumerate(zip(run.norms, run.effective_rate, strict=True)):
                    writer.writerows(
                        [run.model.normalizer.name, t, k, repr(float(a)), repr(float(b))]
                        for k, (a, b) in enumerate(zip(norms, rates, strict=True))
                    )
        return
    import matplotlib
    from matplotlib.figure import Figure

    from .figures import STYLE

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 4), layout="constrained")
        ax = figure.add_subplot()
        for run in runs:
            run.plot(ax)
        ax.legend()
        figure.savefig(path, dpi=200)


def claims(options: argparse.Namespace) -> None:
    from .. import claims as registry
    from ..datasets.data import nearest

    for name in options.ids:
        if name not in registry.REGISTRY:
            raise InputError(f"unknown statement {name!r}: {nearest(name, registry.REGISTRY)}")
    if options.ids:
        found = registry.Report(tuple(registry.check(name) for name in dict.fromkeys(options.ids)))
    else:
        with progress(len(registry.REGISTRY)) as tick:
            found = registry.check_all(progress=lambda done, of: tick(f"{done} of {of} statements"))
    if options.format == "latex":
        print(found.to_latex())
    elif options.format == "markdown":
        print(found.to_markdown())
    elif options.format == "html":
        print(found._repr_html_())
    elif options.ids or options.evidence:
        print(*found, sep="\n\n")
    else:
        print(found)
