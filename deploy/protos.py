"""The contract's tool: `generate` writes vault/v1; `check` wants generated code current, buf's rules kept and nothing broken that a client relies on.

buf cannot fetch the `google/api` imports offline, so it looks at the descriptor image, which protoc builds with the copies of
googleapis-common-protos. `protos/baseline.binpb` is the image of the last release; `accept` makes the present contract the baseline.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ROOT / "vault" / "v1"
BASELINE = ROOT / "protos" / "baseline.binpb"


def main() -> int:
    """0 if everything holds."""
    match sys.argv[1:]:
        case ["generate"]:
            _generate(ROOT)
            return 0
        case ["accept"]:
            _protoc("--include_imports", f"--descriptor_set_out={BASELINE}")
            return 0
        case ["check"]:
            return _check()
        case _:
            print("usage: protos.py generate|check|accept", file=sys.stderr)
            return 2


def _check() -> int:
    with tempfile.TemporaryDirectory() as folder:
        fresh, image = Path(folder), Path(folder) / "image.binpb"
        _generate(fresh)
        _protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={image}")
        stale = sorted(_stale(fresh / "vault" / "v1"))
        for name in stale:
            print(f"vault/v1/{name} is not what protos/ generates: run `make protos`")
        buf = str(Path(sys.executable).parent / "buf")
        failures = [
            subprocess.run(command, cwd=ROOT, check=False).returncode
            for command in (
                [buf, "lint", str(image), "--config", "buf.yaml"],
                [buf, "breaking", str(image), "--against", str(BASELINE), "--config", "buf.yaml"],
                [buf, "format", "--diff", "--exit-code", "protos"],
            )
        ]
    return 1 if stale or any(failures) else 0


def _generate(target: Path) -> None:
    _protoc(f"--python_out={target}", f"--grpc_python_out={target}", f"--mypy_out=quiet:{target}", f"--mypy_grpc_out=quiet:{target}")


def _protoc(*outputs: str) -> None:
    sources = [str(path.relative_to(ROOT / "protos")) for path in sorted((ROOT / "protos").rglob("*.proto"))]
    spec = importlib.util.find_spec("google.api")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("googleapis-common-protos is not installed")
    googleapis = Path(next(iter(spec.submodule_search_locations))).parents[1]
    # protoc looks for the plugins of mypy-protobuf on the path; they are beside this interpreter, whether or not its environment is active.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Iprotos", f"-I{googleapis}", *outputs, *sources]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "PATH": path})


def _stale(fresh: Path) -> set[str]:
    """Files that differ from fresh ones, or that nothing generates any more."""
    committed = {path.name: path.read_bytes() for path in GENERATED.iterdir() if "_pb2" in path.name}
    generated = {path.name: path.read_bytes() for path in fresh.iterdir()}
    return {name for name in committed.keys() | generated.keys() if committed.get(name) != generated.get(name)}


if __name__ == "__main__":
    sys.exit(main())
