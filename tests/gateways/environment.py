"""The environment that LiteLLM has to itself: its newest version does not install beside what Weir is pinned to."""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_ROOT = Path(__file__).parents[2]


def find_python() -> Path:
    """Return its Python; the first call installs it below `.cache`, which takes some seconds and the network."""
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:16]
    folder = _ROOT / ".cache" / "gateways" / digest
    folder.mkdir(parents=True, exist_ok=True)
    python, done = folder / "venv" / "bin" / "python", folder / "installed"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            uv = Path(sys.executable).with_name("uv")
            _run(uv, "venv", "--clear", "--python", sys.executable, folder / "venv")
            # What was left out of the list is never imported by a proxy without a database.
            _run(uv, "pip", "install", "--no-deps", "--python", python, "--requirement", _REQUIREMENTS)
            done.touch()
    return python


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=300)
