"""Files of weights: a state dict, and where it says so what its classes are and how they score."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pipeline.nearby import nearby
from sess_kernels.errors import SessError, one_line, unknown

SCORES = {"softmax": False, "sigmoid": True}
"""How a file says that its classes score, and whether that is ``Backbone.multi_label``."""


class Weights(NamedTuple):
    """What a file of weights holds; ``None`` where it does not tell.

    Attributes:
        state_dict: Tensors by name.
        class_names: One name for each class.
        multi_label: Whether scores are sigmoids.
    """

    state_dict: dict[str, torch.Tensor] | None = None
    class_names: list[str] | None = None
    multi_label: bool | None = None


def read_weights(path: str) -> Weights:
    """Read a file that ``torch.save`` wrote; nothing in it is run.

    It holds a state dict, or ``{"state_dict": ..., "class_names": [...], "scores": "sigmoid"}``, of
    which the last two may be left out; other keys beside them are not heeded.

    Args:
        path: Path or URI of the file.

    Raises:
        SessError: If it is missing or holds something else.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> held = {"state_dict": {"bias": torch.zeros(2)}, "class_names": ["cat", "dog"]}
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "weights.pt"
        ...     torch.save(held, file)
        ...     read_weights(str(file))
        Weights(state_dict={'bias': tensor([0., 0.])}, class_names=['cat', 'dog'], multi_label=None)
    """
    loaded = _loaded(path)
    if not isinstance(loaded, dict) or "state_dict" not in loaded:
        return Weights(_state_dict(loaded, path))
    names, scores = loaded.get("class_names"), loaded.get("scores")
    if names is not None and not _are_names(names):
        raise SessError(f"weights {path}: class_names must be a list of names, one for each class")
    if scores is not None and str(scores) not in SCORES:
        raise SessError(f"weights {path}: {unknown('scores', str(scores), SCORES)}")
    multi_label = None if scores is None else SCORES[scores]
    return Weights(
        _state_dict(loaded["state_dict"], path),
        names if names is None else list(names),
        multi_label,
    )


def _are_names(found: Any) -> bool:
    return isinstance(found, list | tuple) and all(type(name) is str for name in found)


def _loaded(path: str) -> Any:
    try:
        return torch.load(nearby(path), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SessError(f"weights {path} do not exist; check the path") from None
    except Exception as error:  # a file that is no state dict may raise anything
        raise SessError(
            f"weights {path} cannot be read as a state dict: {one_line(error)[:160]}; "
            "save them with torch.save(model.state_dict(), FILE)"
        ) from error


def _state_dict(found: Any, path: str) -> dict[str, torch.Tensor]:
    if not isinstance(found, dict) or not all(torch.is_tensor(value) for value in found.values()):
        raise SessError(
            f"weights {path} hold no state dict; "
            "save them with torch.save(model.state_dict(), FILE)"
        )
    return found
