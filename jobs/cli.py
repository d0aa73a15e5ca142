"""The entry point: reads the command line, runs a verb, turns faults into one line and a code."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cyclopts
from cyclopts import App, CycloptsError, Parameter

from jobs.bench import bench
from jobs.demo import demo
from jobs.export import export
from jobs.plan import plan
from jobs.retry import retry
from jobs.run import run
from jobs.status import status
from pipeline.config import RunConfig, faults_of
from sess_kernels.errors import ConfigError, SessError, one_line

EXIT_OK, EXIT_FAILED_ROWS, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130


def _version() -> str:
    try:
        return version("sess-pipeline")
    except PackageNotFoundError:  # run from a copy of the source that is not installed
        return "unknown"


app = App(
    name="sess",
    help="Class saliency maps of image datasets with SESS, on Ray.",
    version=_version,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for verb in (demo, run, plan, status, retry):
    app.command(verb)
_LISTS = Parameter(consume_multiple=True, negative_iterable="")
app.command(export, default_parameter=_LISTS)
# imported when they are asked for: torchmetrics takes as long as torch
_LATE = ("evaluate", "reproduce")
app.command("jobs.evaluate:evaluate", name="evaluate", default_parameter=_LISTS)
app.command("jobs.reproduce:reproduce", name="reproduce")
# of `bench` the flags alone are written down, so that it can be run without cyclopts
app.command(bench, default_parameter=Parameter(consume_multiple=True, negative=""))


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sess`` with the given arguments; returns the exit code.

    0 complete, 1 finished with failed rows, 2 bad configuration or input, 130 interrupted.
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    sys.path.insert(0, "")  # module:callable finds a module beside the user, as `python -m` does
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # retries, told by our error
    if not tokens or tokens[0].startswith("-"):  # the list of verbs says what each does
        for name in _LATE:
            app[name]
    try:
        settings = _config_file(tokens)
        app.config = [cyclopts.config.Dict(settings, use_commands_as_keys=False)]
        tokens += _other_options(tokens, settings.get("method_options", {}))
        code = app(tokens, exit_on_error=False, print_error=False)
    except (CycloptsError, SessError) as error:
        return _fault(error)
    except KeyboardInterrupt:
        print(
            "sess: interrupted; what is done is kept: give the same command again to go on",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    return int(code or EXIT_OK)


def entry() -> None:
    """Run ``sess`` as a process: SIGTERM interrupts like Ctrl-C, and then nothing is waited for."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = main()
    if code == EXIT_INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a batch in a thread may take minutes more; what is not done is done again
    sys.exit(code)


def _fault(error: Exception) -> int:
    print(f"sess: {one_line(error)}", file=sys.stderr)
    return EXIT_BAD_INPUT


def _config_file(tokens: Sequence[str]) -> dict[str, Any]:
    """What ``--config FILE`` sets; flags given beside it win.

    Raises:
        ConfigError: All faults of the file together.
    """
    path = ""
    for token, after in zip(tokens, [*tokens[1:], ""], strict=True):
        if token == "--config":
            path = after
        elif token.startswith("--config="):
            path = token.removeprefix("--config=")
    return _read_config(path) if path else {}


def _other_options(tokens: Sequence[str], options: dict[str, Any]) -> list[str]:
    """The file's options of the method as flags, where the command line sets another one.

    One flag would otherwise hide all that the file has.
    """
    prefix = "--method-options."
    flags = [token.partition("=")[0].replace("_", "-") for token in tokens]
    if not any(flag.startswith(prefix) for flag in flags):
        return []
    named = {prefix + str(key).replace("_", "-"): value for key, value in options.items()}
    return [f"{flag}={value}" for flag, value in named.items() if flag not in flags]


def _read_config(path: str) -> dict[str, Any]:
    import yaml

    try:
        loaded = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"--config {path} cannot be read: {one_line(error)}"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"--config {path} is not YAML: {one_line(error)}"]) from error
    if not isinstance(loaded, dict):
        raise ConfigError([f"--config {path} must hold 'key: value' lines"])
    values = {str(key).replace("-", "_"): value for key, value in loaded.items()}
    out = {name: values.pop(name) for name in ("out",) if name in values}
    faults = faults_of(values, path)
    known = {k: v for k, v in values.items() if k in RunConfig.__dataclass_fields__}
    try:
        RunConfig(**known)
    except ConfigError as error:
        faults += [f"{path}: {fault}" for fault in error.faults]
    if faults:
        raise ConfigError(faults)
    return known | out
