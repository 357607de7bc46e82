"""The command line: fishergeo report | table | fisher | derive | decay | claims | bench."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from . import __version__
from .errors import InputError

_BAD, _FAILED, _INTERRUPTED, _TERMINATED = 2, 1, 130, 143


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _command(name: str) -> Callable[[argparse.Namespace], None]:
    def run(options: argparse.Namespace) -> None:
        from .report import commands

        getattr(commands, name)(options)

    return run


def _bench(options: argparse.Namespace) -> None:
    from .bench.command import bench

    bench(options)


def parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; it imports nothing that computes."""
    top = _Parser(
        prog="fishergeo", description="Exact Fisher information geometry of normalized generalized linear models."
    )
    top.add_argument("--version", action="version", version=f"fishergeo {__version__}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)

    def add(name: str, summary: str, **more: Any) -> argparse.ArgumentParser:
        command = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".", **more)
        command.set_defaults(run=_command(name))
        return command

    report = add("report", "everything about one data set under several normalizers, as HTML, LaTeX, PDF and JSON")
    _data(report)
    _normalizers(report, None, "none,batch,weight,layer as far as the data allows")
    report.add_argument("--steps", type=int, default=400, help="training steps (default 400)")
    report.add_argument("-o", "--output", default="report", metavar="FOLDER", help="output folder (default: report)")

    table = add("table", "the invariance table, every cell proved or refuted by an exact counterexample")
    _normalizers(table, None, "all")
    table.add_argument("--paper", action="store_true", help="only table 1 of Ba, Kiros, Hinton 2016")
    table.add_argument("--proofs", action="store_true", help="also print every proof and counterexample")
    _format(table)

    fisher = add("fisher", "the Fisher matrix of one model: size, rank, condition number, trace")
    _data(fisher)
    fisher.add_argument("--normalizer", default="none", metavar="NAME", help="e.g. none, batch, layer (default: none)")
    _eps(fisher)
    fisher.add_argument("--steps", type=int, default=0, help="train for so many steps first (default 0)")
    fisher.add_argument("-o", "--output", metavar="FILE", help="also save the dense matrix, as .npz or .csv")

    derive = add("derive", "the blocks of the Fisher matrix of a normalizer as formulas, for all sizes, in LaTeX")
    derive.add_argument("--normalizer", default="none", metavar="NAME", help="e.g. none, batch, layer (default: none)")
    _eps(derive)
    derive.add_argument("--family", metavar="NAME", help="write the curvature of this family out (default: any family)")
    derive.add_argument("--link", metavar="NAME", help="e.g. probit, log, power(1/3) (default: the canonical link)")
    derive.add_argument(
        "--blocks", default="all", metavar="LIST", help="comma-separated, e.g. weight-weight,weight-gain (default: all)"
    )
    derive.add_argument(
        "-o", "--output", metavar="PATH", help="write a .tex file, or a folder with it, its PDF and every block by itself"
    )

    decay = add("decay", "the effective learning rate falling as the weights grow in training")
    _data(decay)
    _normalizers(decay, "batch,weight,layer", "batch,weight,layer")
    decay.add_argument("--steps", type=int, default=400, help="training steps (default 400)")
    decay.add_argument("--rate", type=float, help="learning rate (default: chosen from the Fisher matrix at the start)")
    decay.add_argument("-o", "--output", metavar="FILE", help="also save every step (.csv) or a plot (.svg, .png, .pdf)")

    claims = add("claims", "statements of the literature, each decided by a computation")
    claims.add_argument("ids", nargs="*", metavar="ID", help="only these, with their evidence, e.g. LN-half")
    claims.add_argument("--evidence", action="store_true", help="print the evidence of each")
    _format(claims)

    bench = add("bench", "time and memory of the exact Fisher matrix, and of other libraries on the same arrays")
    bench.set_defaults(run=_bench)
    bench.add_argument("--workloads", metavar="LIST", help="comma-separated, of A to G and growth (default: all)")
    bench.add_argument("--peers", default="all", metavar="LIST", help="comma-separated, all or none (default: all)")
    bench.add_argument("--runs", type=int, default=5, help="runs of which the median is taken, 3 or more (default 5)")
    bench.add_argument("--threads", type=int, default=2, help="threads of every candidate (default 2)")
    bench.add_argument("--limit", type=float, default=120.0, help="seconds for a candidate's first run (default 120)")
    bench.add_argument(
        "--cases", type=int, metavar="N", help="at most so many rows, for a quick look (default: as they are)"
    )
    bench.add_argument(
        "--python", action="append", metavar="PEER=FILE", help="run a peer with another interpreter; may be repeated"
    )
    bench.add_argument("-o", "--output", default="bench", metavar="FOLDER", help="output folder (default: bench)")
    return top


def _data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", metavar="FILE", help=".csv with a header, .npy or .npz (default: the UCI digits)")
    command.add_argument(
        "--target",
        nargs="+",
        metavar="COLUMN",
        help="the column(s) to predict, by name or index; in a .npz the name of the array (default y)",
    )
    command.add_argument("--drop", nargs="+", metavar="COLUMN", help="columns to leave out of the inputs")
    command.add_argument(
        "--family",
        default="categorical",
        metavar="NAME",
        help="outputs, e.g. poisson, gamma, binomial(10), negative_binomial(2.5), multinomial(5) (default: categorical)",
    )
    command.add_argument("--link", metavar="NAME", help="e.g. probit, log, power(1/3) (default: the canonical link)")
    command.add_argument("--seed", type=int, default=0, help="of weights, batches and the choice of cases (default 0)")
    command.add_argument(
        "--cases", type=int, default=2000, help="use at most so many cases, drawn at random (default 2000)"
    )


def _normalizers(command: argparse.ArgumentParser, default: str | None, shown: str) -> None:
    command.add_argument(
        "--normalizers",
        default=default,
        metavar="LIST",
        help=f"comma-separated names, + composes, e.g. none,batch,weight_norm+mean_only_batch_norm (default: {shown})",
    )
    _eps(command)


def _eps(command: argparse.ArgumentParser) -> None:
    command.add_argument("--eps", type=float, default=0.0, help="ε >= 0 that is added to σ² (default 0)")


def _format(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", choices=("text", "markdown", "latex", "html"), default="text", help="default: text")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 2 after one line on bad input, 130 when interrupted."""
    if "numpy" not in sys.modules:  # products of this size gain little from threads, and lose much on a busy machine
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what the encoding of the terminal lacks
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = parser().parse_args(arguments)
        options.arguments = arguments
        with _terminable(), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what is not finite is refused by name, or shown as a dash
            options.run(options)
        print(end="", flush=True)  # what cannot be written shows here
    except KeyboardInterrupt:
        print("fishergeo: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InputError, MemoryError) as error:
        return _complain(str(error) or "out of memory; use fewer cases, columns or steps", _BAD)
    except OSError as error:
        if error.filename is None:  # what was printed cannot be flushed at exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = "the output" if error.filename is None else error.filename
        return _complain(f"{where}: {(error.strerror or str(error)).lower()}; free space there, or write elsewhere", _BAD)
    except ArithmeticError as error:
        return _complain(str(error), _FAILED)
    return 0


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Make a request to terminate clean up like an interruption; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(message: str, code: int) -> int:
    print(f"fishergeo: error: {' '.join(message.split())}", file=sys.stderr)
    return code
