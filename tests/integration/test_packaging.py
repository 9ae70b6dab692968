"""What people download: locks, wheel, recipes, and the variables that files outside the package name."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from audio_text.settings import SECRETS
from audio_text.settings.keys import RESERVED, keys
from factories import SETTINGS_FILE

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = sorted(path.stem for path in (ROOT / "requirements").glob("*.txt"))
ROLES = {
    "api": ["service", "api"],
    "worker": ["service", "worker"],
    "local": ["service", "api", "worker", "embedded"],
    "dev": [extra for extra in EXTRAS if extra != "benchmark"],
    "benchmark": ["benchmark"],
}
PIN = re.compile(
    r"^(?P<pin>[A-Za-z0-9._-]+==\S+(?: ; [^\\]+)?)(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})*)\n", re.MULTILINE
)


def pins(lock: str) -> list[Requirement]:
    return [Requirement(match["pin"]) for match in PIN.finditer(read_lock(lock))]


def read_lock(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.txt").read_text()


def declared(extras: list[str]) -> Iterator[Requirement]:
    yield from map(Requirement, PROJECT["dependencies"])
    for extra in extras:
        yield from (Requirement(line) for line in EXTRAS[extra] if not line.startswith("audio-text["))


def tracked_files() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    owned = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    listed = subprocess.run(owned, cwd=ROOT, capture_output=True, check=True, timeout=30)
    return [ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]


@pytest.mark.parametrize("role", ROLES)
def test_a_lock_holds_everything_that_its_role_declares(role: str) -> None:
    locked: dict[str, list[Requirement]] = {}
    for pin in pins(role):
        locked.setdefault(canonicalize_name(pin.name), []).append(pin)

    for requirement in declared(ROLES[role]):
        found = locked.get(canonicalize_name(requirement.name), [])
        assert found, f"{requirement} is not in requirements/{role}.txt: run `just lock`"
        for pin in found:
            version = str(pin.specifier).removeprefix("==")
            assert requirement.specifier.contains(version, prereleases=True), f"{pin} is not {requirement}: `just lock`"


def test_every_package_that_is_needed_here_is_locked() -> None:
    locked = {canonicalize_name(pin.name) for pin in pins("dev")}
    seen: set[str] = set()
    waiting = [requirement.name for requirement in declared(ROLES["dev"])]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)

    assert seen <= locked


@pytest.mark.parametrize("lock", [lock for lock in LOCKS if lock != "dev"])
def test_no_two_locks_disagree(lock: str) -> None:
    everything = pins("dev")
    shared = pins(lock)
    if lock in {"benchmark", "audit"}:  # each is installed by its own recipe alone, where nobody imports it
        shared = [pin for pin in shared if pin.name in {other.name for other in everything}]

    assert shared
    assert set(map(versioned, shared)) <= set(map(versioned, everything))


def versioned(pin: Requirement) -> str:
    return f"{pin.name}{pin.specifier}"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_nothing_but_pins_with_hashes(lock: str) -> None:
    matches = list(PIN.finditer(read_lock(lock)))

    assert matches
    assert "".join(match[0] for match in matches) == read_lock(lock)
    assert all(match["hashes"] for match in matches)


def test_the_api_lock_has_no_model_library_and_the_worker_lock_no_web_framework() -> None:
    api, worker = ({canonicalize_name(pin.name) for pin in pins(lock)} for lock in ("api", "worker"))

    assert not api & {"faster-whisper", "ctranslate2", "onnxruntime"}
    assert not worker & {"litestar", "granian"}


def test_no_file_names_a_package_index() -> None:
    index = re.compile(rb"https?://(?:[a-z.-]+/simple\b|(?:registry|files|deb)\.[a-z]+\.(?:org|com))")

    assert [path for path in tracked_files() if path.is_file() and index.search(path.read_bytes())] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (built,) = folder.glob("*.whl")
    unpacked = folder / "unpacked"
    with zipfile.ZipFile(built) as archive:
        archive.extractall(unpacked)
    return unpacked


def test_the_wheel_carries_settings_migrations_model_and_licences(wheel: Path) -> None:
    package = wheel / "audio_text"

    assert (package / "data" / "settings.toml").read_bytes() == SETTINGS_FILE.read_bytes()
    assert {path.name for path in (package / "data" / "migrations").glob("*.py")} == {
        path.name for path in (ROOT / "migrations").glob("*.py")
    }
    assert list(package.glob("data/**/model.bin")), "the model of the demo"
    assert list(package.glob("data/recordings/*.wav")), "the recordings of the demo"
    assert (package / "py.typed").exists()
    assert list(wheel.glob("*.dist-info/licenses/LICENSE"))
    assert not list(wheel.glob("**/tests"))


def test_the_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(wheel), "PATH": os.defpath, "HOME": str(tmp_path)}
    command = [sys.executable, "-P", "-c", "import audio_text; print(audio_text.__file__)"]
    imported = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    settings = subprocess.run(
        [sys.executable, "-P", "-m", "audio_text", "settings"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert imported.stdout.startswith(str(wheel))
    assert "3203" in settings.stdout


def recipes() -> dict[str, dict[str, object]]:
    dump = ["just", "--dump", "--dump-format", "json", "--justfile", str(ROOT / "Justfile")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
    listed = subprocess.run(dump, capture_output=True, check=True, env={"PATH": path}, timeout=30)
    return json.loads(listed.stdout)["recipes"]


def test_every_recipe_has_its_help_line() -> None:
    public = {name: recipe for name, recipe in recipes().items() if not recipe["private"]}

    assert {"setup", "demo", "up", "test", "check", "api", "worker", "migrate", "bench"} <= public.keys()
    assert [name for name, recipe in public.items() if not recipe["doc"]] == []


def test_the_readme_has_one_line_for_the_demo_and_the_same_for_tests_and_stack() -> None:
    blocks = re.findall(r"^```sh\n(.+?)\n```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = [block for block in blocks if ".venv/bin/just " in block]
    first, *others = lines

    assert "\n" not in first
    assert first.endswith(" demo")
    assert {line for line in others if not line.startswith(".venv")} == {
        first.removesuffix("demo") + "test",
        first.removesuffix("demo") + "up",
    }


def known_variables() -> dict[str, object]:
    tree = msgspec.toml.decode(SETTINGS_FILE.read_bytes())
    values = {key.variable: _value(tree, key.path) for key in keys(tree)}
    return values | dict.fromkeys([*SECRETS.values(), *RESERVED])


def _value(tree: dict[str, object], path: tuple[str, ...]) -> object:
    node: object = tree
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node


@pytest.mark.parametrize(
    "name", ["README.md", "docs/how-to/containers.md", "compose.yaml", ".env.example", "Containerfile", "Justfile"]
)
def test_variables_that_are_named_outside_the_package_exist(name: str) -> None:
    named = set(re.findall(r"\bAUDIO_TEXT_[A-Z0-9_]*[A-Z0-9]\b", (ROOT / name).read_text()))

    assert named <= known_variables().keys()


def test_the_defaults_in_the_readme_are_those_of_settings() -> None:
    rows = re.findall(r"^\| `(AUDIO_TEXT_\w+)` \|(.*?)\|", (ROOT / "README.md").read_text(), re.MULTILINE)
    values = known_variables()

    assert rows
    assert {name: text.strip(" `") for name, text in rows} == {name: _spelled(values[name]) for name, _ in rows}


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_every_secret_of_the_container_stack_is_in_the_example() -> None:
    compose = (ROOT / "compose.yaml").read_text()
    required = set(re.findall(r"\$\{(\w+):\?", compose))
    example = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert required <= example
    assert set(yaml.safe_load(compose)["services"]) >= {"database", "redis", "store", "migrate", "api", "worker"}


def test_every_tier_has_a_worker_in_the_multi_queue_profile() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values()
    served = [service["command"][1] for service in services if service.get("profiles") == ["multi-queue"]]

    assert sorted(served) == sorted(tomllib.loads(SETTINGS_FILE.read_text())["tiers"])
