"""Other libraries, each in its own virtual environment, because their pins exclude each other.

pip reads its usual environment variables: PIP_FIND_LINKS, for example, names a folder of wheels,
such as a CPU build of torch.
"""

import subprocess
import sys
from pathlib import Path

PINS = {
    "implicit": ["implicit==0.7.3", "numpy==2.4.6", "scipy==1.17.1"],
    "cornac": ["cornac==3.0.1", "numpy==2.4.6", "scipy==1.17.1", "torch==2.13.0"],
    "recbole": [
        "recbole==1.2.1",
        "ray<=2.6.3",
        "setuptools<81",
        "numpy==1.26.4",
        "pandas==2.1.4",
        "scipy==1.12.0",
        "torch==2.13.0",
    ],
    "rectools": ["rectools[torch]==0.19.0", "torch==2.13.0"],
}


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of a peer's environment, which is made in ``folder`` on first use."""
    environment = folder / peer
    python = environment / "bin" / "python"
    stamp = environment / "installed.txt"
    pins = "\n".join(PINS[peer])
    if not stamp.exists() or stamp.read_text() != pins:
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINS[peer]], check=True)
        stamp.write_text(pins)
    return python
