"""The command line: `antiphon VERB ...`. The fields of the jobs (jobs.py) become its arguments; here they are run.

Nothing heavy is imported before it is needed, so that `antiphon --help` answers at once. Bad input ends in one sentence
on stderr and exit code 2; ANTIPHON_TRACEBACK=1 shows where it came from.
"""

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TextIO, get_args, get_origin, get_type_hints

import yaml

from antiphon import jobs
from antiphon.config import from_dict, override, to_dict
from antiphon.jobs import Target

if TYPE_CHECKING:
    from antiphon.analysis.probe import Recall
    from antiphon.retrieval.store import Store

_STARTED = perf_counter()
_PHYSICAL = ("workers", "threads", "device")
_PROBED = 5_000  # rows of each modality that the probe after indexing compares


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    try:
        job, target = parse(list(sys.argv[1:] if argv is None else argv))
        for name, value in target.env.items():
            os.environ.setdefault(name, value)
        code = RUN[type(job)](job, target) or 0
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # `antiphon ... | head`: the work is done, the reader has enough
            _close(sys.stdout)
        return code
    except BrokenPipeError:  # the reader went before the work was done
        for stream in (sys.stdout, sys.stderr):
            _close(stream)
        return 128 + signal.SIGPIPE
    except (ValueError, OSError) as error:
        if os.environ.get("ANTIPHON_TRACEBACK"):
            raise
        print(f"antiphon: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("antiphon: interrupted; the same command continues", file=sys.stderr)
        return 130


def _close(stream: TextIO) -> None:
    """Let what is still buffered go nowhere, so that the interpreter's own flush does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# --- from arguments to a job ---


def parse(argv: Sequence[str]) -> tuple[Any, Target]:
    """Arguments -> the job and where it runs. A job file's fields give way to arguments that stand beside it."""
    parser = make_parser()
    given, extra = parser.parse_known_args(argv)
    fields = vars(given)
    cls = jobs.VERBS[fields.pop("verb")]
    target = jobs.load_target(fields.pop("target", None))
    target = dataclasses.replace(target, **{name: fields.pop(name) for name in _PHYSICAL if name in fields})
    verb = cls.__name__.lower()
    fields = {**_take_job_file(fields, cls, verb), **fields}
    if extra and cls is not jobs.Ingest:
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    if extra:
        fields["options"] = {**fields.get("options", {}), **_reader_options(extra)}
    return from_dict(cls, fields, verb), target


def make_parser() -> argparse.ArgumentParser:
    """One subparser a verb, one argument a field."""
    parser = argparse.ArgumentParser(
        prog="antiphon", description="Train, adapt and search speech and text in one space."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, cls in jobs.VERBS.items():
        about = " ".join((cls.__doc__ or "").split())
        verb = verbs.add_parser(
            name, help=about, description=about, argument_default=argparse.SUPPRESS, allow_abbrev=False
        )
        for field in dataclasses.fields(cls):
            _add_argument(verb, field, get_type_hints(cls)[field.name])
        if len(dataclasses.fields(cls)) > 0:
            here = verb.add_argument_group("where it runs")
            here.add_argument("--target", metavar="NAME", help="profile cluster/NAME.yaml")
            here.add_argument("--workers", type=int, metavar="N", help="processes; 1 needs no Ray")
            here.add_argument("--threads", type=int, metavar="N", help="of torch in each")
            here.add_argument("--device", choices=get_args(get_type_hints(Target)["device"]))
    return parser


def _add_argument(verb: argparse.ArgumentParser, field: "dataclasses.Field[Any]", kind: Any) -> None:
    """A field as an argument. Nothing is required here: a job file may give it, and from_dict says what is missing."""
    settings: dict[str, Any] = {"help": field.metadata["help"]}
    if get_origin(kind) is dict:
        return  # reader options come as --name value of their own
    if get_origin(kind) is not Literal and type(None) in get_args(kind):
        kind = next(one for one in get_args(kind) if one is not type(None))
    many = get_origin(kind) is tuple
    kind = get_args(kind)[0] if many else kind
    if kind is bool:
        settings["action"] = "store_true"
    elif get_origin(kind) is Literal:
        settings["choices"] = get_args(kind)
    elif kind is not str:
        settings["type"] = kind
    if not field.metadata["named"]:
        verb.add_argument(field.name, nargs="*" if many else "?", **settings)
        return
    if field.default not in (dataclasses.MISSING, None, (), False):
        settings["help"] += f" (default: {' '.join(field.default) if many else field.default})"
    if many:
        metavar = "NAME=VALUE" if field.name == "set" else field.name.rstrip("s").upper()
        settings |= {"nargs": "+", "action": "extend", "metavar": metavar}
    verb.add_argument(f"--{field.name.replace('_', '-')}", **settings)


def _take_job_file(fields: dict[str, Any], cls: type, verb: str) -> dict[str, Any]:
    """When the first argument is a .yaml file: its fields, the argument itself taken out of `fields`."""
    field = next((field for field in dataclasses.fields(cls) if not field.metadata["named"]), None)
    value = None if field is None else fields.get(field.name)
    first = value[0] if isinstance(value, list) and value else value
    if field is None or not str(first).endswith((".yaml", ".yml")):
        return {}
    fields.pop(field.name)
    return jobs.load_job(Path(str(first)), verb)


def _reader_options(words: Sequence[str]) -> dict[str, Any]:
    """--text-column sentence --skip-header -> {"text_column": "sentence", "skip_header": True}."""
    options: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            options[name] = _plain(value) if equals else True
        elif not name:
            raise ValueError(f"a reader's options must read --name value, but {word!r} stands alone")
        else:
            before, value = options[name], _plain(word)
            options[name] = value if before is True else [*(before if isinstance(before, list) else [before]), value]
    return options


def _plain(word: str) -> Any:
    """Numbers and truth values as YAML reads them; anything else is the word itself, braces and colons included."""
    try:
        value = yaml.safe_load(word)
    except yaml.YAMLError:
        return word
    return value if isinstance(value, bool | int | float) else word


def _version() -> str:
    from importlib.metadata import version

    return version("antiphon")


# --- running jobs ---


def _quickstart(job: jobs.Quickstart, target: Target) -> None:
    from antiphon.experiments.quickstart import quickstart

    _set_threads(target)
    quickstart(job.out, job.size, started=_STARTED, workers=target.workers, device=target.torch_device())


def _ingest(job: jobs.Ingest, target: Target) -> None:
    from antiphon.data.ingest import IngestConfig, ingest

    out = target.find("shards", job.out)
    config = override(IngestConfig(corpus=out.name), job.set)
    options = dict(job.options)
    if job.paths:
        options["path"] = job.paths[0] if len(job.paths) == 1 else job.paths
    print(ingest(job.reader, options, out, config, workers=target.workers))


def _verify(job: jobs.Verify, target: Target) -> int:
    folder = job.folder
    problems: list[str] = []
    if (folder / "tokenizer.json").exists():
        from antiphon.text.tokenizer import Tokenizer

        Tokenizer.load(folder)
    elif (folder / "versions").is_dir():
        from antiphon.retrieval.verify import verify as verify_store

        problems = verify_store(folder, deep=job.deep)
    elif (folder / "model.pt").exists() or any(folder.glob("step-*")):
        from antiphon import checkpoint

        steps = [folder] if (folder / "model.pt").exists() else sorted(folder.glob("step-*"))
        for step in steps:
            try:
                checkpoint.verify(step)
            except ValueError as error:
                problems.append(str(error))
    else:
        from antiphon.data.verify import verify as verify_shards

        problems = verify_shards(folder, deep=job.deep)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{folder}: whole")
    return 1 if problems else 0


def _tokenizer(job: jobs.Tokenizer, target: Target) -> None:
    from antiphon.data.vocabulary import make_tokenizer

    out = target.find("tokenizers", job.out)
    shards = [target.find("shards", name) for name in job.shards]
    made = make_tokenizer(shards, out, vocab_size=job.vocab_size, model_type=job.model_type, splits=job.splits)
    print(f"{out}: {made.vocab_size} wordpieces, {made.num_phones} phones, {len(made.lexicon):,} words")


def _plan(job: jobs.Plan, target: Target) -> None:
    import torch

    from antiphon.data.plan import make_plan
    from antiphon.data.preview import preview
    from antiphon.models import build
    from antiphon.text.tokenizer import Tokenizer
    from antiphon.train.experiment import fit_to

    experiment = jobs.find_experiment(job.experiment, job.set)
    plan = make_plan([target.find("shards", name) for name in job.shards], experiment.data, seed=experiment.seed)
    plan.check_world(target.workers)
    if job.tokenizer is not None:
        experiment = fit_to(Tokenizer.load(target.find("tokenizers", job.tokenizer)), experiment)
    with torch.device("meta"):  # shapes without memory
        trained = sum(p.numel() for p in build(experiment.model).parameters() if p.requires_grad)
    print(preview(plan, num_steps=experiment.loop.num_steps))
    # fp32 weights, their gradients and two moments of AdamW; activations come on top and depend on max_batch_sec.
    print(f"  {trained:,} parameters, {trained * 16 / 1e9:.2f} GB with optimizer on each of {target.workers} workers")


def _train(job: jobs.Train, target: Target) -> None:
    from antiphon.train.launch import train

    _set_threads(target)
    run = train(
        jobs.find_experiment(job.experiment, job.set),
        [target.find("shards", name) for name in job.shards],
        target.find("tokenizers", job.tokenizer),
        job.out or target.runs,
        workers=target.workers,
        device=target.torch_device(),
        init=target.find_run(job.init) if job.init else None,
        wandb=job.wandb,
        threads=target.num_threads(),
    )
    print(run)


def _evaluate(job: jobs.Evaluate, target: Target) -> None:
    from antiphon import checkpoint
    from antiphon.files import write_json
    from antiphon.train.evaluate import evaluate

    _set_threads(target)
    found = checkpoint.load(target.find_run(job.checkpoint), target.torch_device())
    report = evaluate(found, [target.find("shards", name) for name in job.shards], splits=(job.split,))
    print(report.table())
    if job.out is not None:
        write_json(job.out, to_dict(report))


def _embed(job: jobs.Embed, target: Target) -> None:
    from antiphon.retrieval.embed import embed

    _set_threads(target)
    report = embed(
        target.find_run(job.checkpoint),
        [target.find("shards", name) for name in job.shards],
        target.find("stores", job.out),
        split=job.split,
        taps=job.taps,
        workers=target.workers,
        device=target.torch_device(),
    )
    print(report)


def _index(job: jobs.Index, target: Target) -> None:
    from antiphon.retrieval.index import IndexConfig, build
    from antiphon.retrieval.store import Store

    _set_threads(target)
    store = Store(target.find("stores", job.store))
    for info in build(store, override(IndexConfig(), job.set)):
        print(
            f"{info.tap}/{info.modality}: {info.kind}, {info.rows:,} rows, recall@1 {info.recall_at_1:.3f} and "
            f"@10 {info.recall_at_10:.3f} of exact search, {info.p50_ms:.2f} ms a query"
        )
    for recall in _answers(store):
        print(recall)


def _answers(store: "Store") -> Iterator["Recall"]:
    """How well the vectors answer, by exact search: each modality asks the other for its own words."""
    from antiphon.analysis.probe import probe_texts

    for name, speech_tap, text_tap in (("shared", "shared", "shared"), ("speech, text", "speech", "text")):
        if {(speech_tap, "speech"), (text_tap, "text")} <= store.sets().keys():
            speech, spoken = store.read(speech_tap, "speech")
            text, written = store.read(text_tap, "text")
            asked = [table.column("text").to_pylist()[:_PROBED] for table in (spoken, written)]
            yield from probe_texts(name, speech[:_PROBED], asked[0], text[:_PROBED], asked[1])


def _search(job: jobs.Search, target: Target) -> None:
    if (job.text is None) == (job.audio is None):
        raise ValueError("a query is either --text or --audio; give one of them")
    from antiphon.retrieval.search import search, table

    _set_threads(target)
    store = target.find("stores", job.store)
    checkpoint = None if job.checkpoint is None else target.find_run(job.checkpoint)
    hits = search(
        store, text=job.text, audio=job.audio, k=job.limit, tap=job.tap, checkpoint=checkpoint,
        device=target.torch_device(),
    )  # fmt: skip
    print(table(hits))


def _doctor(job: jobs.Doctor, target: Target) -> int:
    from antiphon.doctor import examine

    findings = examine()
    for finding in findings:
        print(finding)
    return 1 if any(finding.state == "bad" for finding in findings) else 0


def _set_threads(target: Target) -> None:
    import torch

    torch.set_num_threads(target.num_threads())


RUN: dict[type, Callable[[Any, Target], int | None]] = {
    jobs.Quickstart: _quickstart,
    jobs.Ingest: _ingest,
    jobs.Verify: _verify,
    jobs.Tokenizer: _tokenizer,
    jobs.Plan: _plan,
    jobs.Train: _train,
    jobs.Evaluate: _evaluate,
    jobs.Embed: _embed,
    jobs.Index: _index,
    jobs.Search: _search,
    jobs.Doctor: _doctor,
}

if __name__ == "__main__":
    sys.exit(main())
