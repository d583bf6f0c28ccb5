"""Builds the Dockerfile for real and asks the image what it is: `PYTHONPATH=tests python -m charts.image FOLDER`.

For machines without a container daemon and without the base images: buildah runs the steps in a chroot, as root, on
bases that mmdebstrap makes of Debian's packages (Go is the one of this machine). Every step is run as it stands; only
where the bases come from differs. Needs root, buildah, mmdebstrap, Go and the network; takes some minutes and 3 GB.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEBIAN, MIRROR = "bookworm", "http://deb.debian.org/debian"
PACKAGES = "ca-certificates,python3,python3-venv,python3-pip,python-is-python3"
PYTHON, GO, IMAGE = "localhost/python-base", "localhost/go-base", "localhost/fleet:0.1.0"
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")  # a machine behind an inspecting proxy has its own
USER = "65532"
ASKED = {
    ("id", "-u"): USER,
    ("/opt/fleet/bin/fleet", "version"): "fleet ",
    ("kustomize", "version"): "v5.",
    ("git", "--version"): "git version",
    ("stat", "-c", "%u %a", "/data"): f"{USER} 700",
}


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah with a store of its own, which goes with the folder."""

    folder: Path

    def __call__(self, *words: str) -> str:
        store = ("--root", str(self.folder / "store"), "--runroot", str(self.folder / "run"), "--storage-driver", "vfs")
        done = subprocess.run(["buildah", *store, *words], check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    def bases(self) -> None:
        """The two images that the Dockerfile starts from."""
        archive = self.folder / "base.tar"
        subprocess.run(
            ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN, str(archive), MIRROR], check=True
        )
        pip = self.folder / "pip.conf"
        pip.write_text(f"[global]\ncert = {TRUSTED}\n")
        made = self("from", "scratch")
        self("add", made, str(archive), "/")
        self("copy", made, str(TRUSTED), str(TRUSTED))
        self("copy", made, str(pip), "/etc/pip.conf")
        self("commit", made, PYTHON)
        go = subprocess.run(["go", "env", "GOROOT"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        self("copy", made, go, "/usr/local/go")
        path = "PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin"
        self("config", "--env", path, "--env", "GOTOOLCHAIN=local", made)
        self("commit", made, GO)
        self("rm", made)

    def build(self) -> None:
        """The Dockerfile of HEAD, in a clean checkout."""
        context = self.folder / "context"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(context)], check=True)
        bases = ("--build-arg", f"PYTHON_IMAGE={PYTHON}", "--build-arg", f"GO_IMAGE={GO}")
        self("bud", "--isolation", "chroot", "--layers=false", *bases, "-t", IMAGE, str(context))

    def ask(self) -> list[str]:
        """What the image says of itself, wrong answers first."""
        config = json.loads(self("inspect", "--type", "image", IMAGE))["OCIv1"]["config"]
        wrong = [] if config["User"] == f"{USER}:{USER}" else [f"it runs as {config['User']}"]
        made = self("from", IMAGE)
        for words, expected in ASKED.items():
            said = self("run", "--isolation", "chroot", made, "--", *words)
            sys.stdout.write(f"{' '.join(words):40} {said}\n")
            if not said.startswith(expected):
                wrong.append(f"{' '.join(words)} says {said!r}")
        return wrong


def main() -> int:
    missing = [name for name in ("buildah", "mmdebstrap", "go", "git") if shutil.which(name) is None]
    if missing or len(sys.argv) != 2:
        sys.stderr.write(f"usage: python -m charts.image FOLDER; missing: {', '.join(missing) or 'nothing'}\n")
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    buildah = Buildah(folder)
    buildah.bases()
    buildah.build()
    wrong = buildah.ask()
    sys.stdout.write("\n".join(wrong) + "\n" if wrong else "every step of the Dockerfile ran, and the image answers\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
