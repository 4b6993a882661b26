"""Models from files: `path/to/my_model.py:build` names a function that returns any River classifier, or an estimator."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.estimator import Build, Estimator
from models.pipelines import RiverEstimator


class NoModel(ValueError):
    """A model that cannot be loaded; the message says what was looked for where."""


def plugged(named: str) -> tuple[str, Build]:
    """Load a model by file and function; its name is the file's, and the function's too unless that is `build`.

    The file is run as Python: name only your own. Raises NoModel.
    """
    path, _, function = named.rpartition(":")
    if not path:
        path, function = named, "build"
    file = Path(path)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.exists():
        raise NoModel(f"{named}: there is no Python file {file}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise NoModel(f"{file}: {type(error).__name__}: {error}") from error
    build: Callable[[], Any] | None = getattr(module, function, None)
    if build is None:
        raise NoModel(f"{file} has no function {function}")
    model = build()
    name = file.stem if function == "build" else f"{file.stem}.{function}"
    if hasattr(model, "predict_proba_one") and hasattr(model, "learn_one"):
        return name, lambda: RiverEstimator(build)
    if all(hasattr(model, method) for method in ("predict", "learn", "weights", "dump", "load")):
        own: Callable[[], Estimator] = build
        return name, own
    raise NoModel(f"{named} returns {type(model).__name__}: neither a River classifier nor an estimator")
