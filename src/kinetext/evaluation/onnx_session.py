"""Run ONNX models with onnxruntime, which is optional: `pip install 'kinetext[onnx]'`."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx(*packages: str) -> None:
    """Raise ValueError if one of the packages (default: PACKAGES) is not installed."""
    missing = [name for name in packages or PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"onnx: {' and '.join(missing)} not installed; run: pip install 'kinetext[onnx]'")


def open_session(path: Path) -> Any:
    """Return an onnxruntime session on the CPU. Raises ValueError if the file cannot be read."""
    require_onnx("onnxruntime")
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors only
    try:
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own errors have no common class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: cannot be read as an ONNX model ({reason}); export it again") from None


def run_session(session: Any, frames_VTCHW: np.ndarray) -> np.ndarray:
    """Return the scores [V, K] of uint8 frames [V, T, C, H, W]."""
    return session.run(["scores"], {"frames": frames_VTCHW})[0]
