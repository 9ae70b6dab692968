# The only vocabulary of this project: `just --list`. CI calls the same recipes.
# Every recipe installs what it needs into .venv, once, from the locks in requirements/.

set shell := ["bash", "-euo", "pipefail", "-c"]
set script-interpreter := ["bash", "-euo", "pipefail"]
set positional-arguments

# Another Python's environment must not reach into ours.
unexport PYTHONPATH
unexport PYTHONHOME
unexport PYTHONSTARTUP
unexport VIRTUAL_ENV

export PATH := justfile_directory() / ".venv/bin:" + env("PATH", "/usr/local/bin:/usr/bin:/bin")

compose := env("COMPOSE", "docker compose")
engine := env("ENGINE", "docker")
python_version := "3.13"

# What there is to say
[private]
default:
    @"{{ just_executable() }}" --justfile "{{ justfile() }}" --list --unsorted

# Start everything here, transcribe a shipped recording, show text and timings, stop
demo: (_install "local")
    @audio-text demo

# Start database, queue, store, API and workers in the foreground; Ctrl-C stops them
up *arguments: (_install "local")
    @audio-text up "$@"

# Send recordings to the running service: just transcribe talk.mp3 --format srt
transcribe *arguments: (_install "local")
    @audio-text transcribe "$@"

# Show every setting and where its value comes from
settings *arguments: (_install "local")
    @audio-text settings "$@"

# Run the HTTP API alone, against the database, queue and store that the settings name
api *arguments: (_install "local")
    @audio-text api "$@"

# Run workers alone: those of the named tiers, or all
worker *tiers: (_install "local")
    @audio-text worker "$@"

# Create the database tables or bring them up to date
migrate *arguments: (_install "local")
    @audio-text migrate "$@"

# Install everything that development and tests need
setup: (_install "dev")

# Run all tests and hold the coverage; with arguments, run just those: just test tests/unit -k name
[no-exit-message]
[script]
test *arguments: setup
    if [ $# -gt 0 ]; then exec pytest "$@"; fi
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    coverage erase
    # Most tests wait for others: two at a time, each with servers of its own, take little more than half as long. Real
    # processes are killed and frozen here, and a test may lose a race to its neighbour: what fails alone, too, has failed.
    coverage run -m pytest --numprocesses 2 --dist loadfile 2>&1 | tee "$log" ||
        coverage run -m pytest --last-failed 2>&1 | tee "$log"
    coverage combine --quiet
    coverage report
    tail -n 1 "$log"

# Lint, formatting, types and import rules
check: setup
    ruff check
    ruff format --check
    pyright
    lint-imports

# Format the code and mend what the linter can mend
fmt: setup
    ruff format
    ruff check --fix

# Measure what the README claims; results go to the screen: just bench throughput --rounds 3
[script]
bench *arguments: setup
    # What one of them is measured beside is no part of development.
    if [ "${1:-throughput}" = throughput ] && ! python -c "import fastapi, sqlalchemy, uvicorn" 2>/dev/null; then
        python -Im pip install --quiet --disable-pip-version-check --no-compile --no-deps \
            --require-hashes --requirement requirements/benchmark.txt
    fi
    python -m benchmarks "$@"

# Try many thousand requests against everything that the OpenAPI document says: just fuzz --seed 2
fuzz *arguments: setup
    @python -m benchmarks fuzz "$@"

# Write docs/reference/openapi.json anew, which a test compares with what the API says of itself
openapi: setup
    @PYTHONPATH=tests python -m services.openapi

# Ask PyPI for advisories about everything that the locks name; needs the network, and is no part of `just check`
[script]
audit *arguments: setup
    locks=()
    for lock in requirements/*.txt; do locks+=(--requirement "$lock"); done
    # strict: what could not be asked about is not clean
    # in an environment of its own, from a lock of its own: what looks at the locks must not change them
    uv run --quiet --isolated --no-project --with-requirements requirements/audit.txt -- \
        pip-audit --strict --progress-spinner off --disable-pip --require-hashes "${locks[@]}" "$@"

# Resolve the locks again; `just lock --upgrade` takes newer versions
[script]
lock *arguments: setup
    compile() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate "$@"; }
    compile pyproject.toml --extra dev --output-file requirements/dev.txt "$@"
    follow() { local lock=$1; shift; compile "$@" --constraint requirements/dev.txt --output-file "requirements/$lock.txt"; }
    follow api pyproject.toml --extra api
    follow worker pyproject.toml --extra worker
    follow local pyproject.toml requirements/build.in --extra api --extra worker --extra embedded
    follow benchmark pyproject.toml --extra benchmark
    follow build requirements/build.in
    follow just requirements/just.in
    follow audit requirements/audit.in

# Build both container images: audio-text-api and audio-text-worker
image:
    {{ engine }} build --build-arg PYTHON_VERSION={{ python_version }} --target api --tag audio-text-api --file Containerfile .
    {{ engine }} build --build-arg PYTHON_VERSION={{ python_version }} --target worker --tag audio-text-worker --file Containerfile .

# Start the container stack of compose.yaml: just up-containers multi-queue
up-containers profile="default": _secrets
    {{ compose }} --profile "{{ profile }}" up --build --detach

# Stop the container stack; its data stay in their volumes
down-containers:
    {{ compose }} --profile default --profile multi-queue down

# Write .env with fresh random secrets, unless there is one
[script]
_secrets:
    [ -e .env ] && exit
    umask 077
    while IFS= read -r line; do
        case $line in
            *=change-me) printf '%s=%s\n' "${line%%=*}" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" ;;
            *) printf '%s\n' "$line" ;;
        esac
    done <.env.example >.env
    echo "wrote .env with new secrets"

# Install a lock and this project into .venv, unless that is already so
[script]
_install lock:
    stamp() { cat "requirements/$1.txt" pyproject.toml | sha256sum; }
    installed() { [ "$(cat ".venv/installed-$1" 2>/dev/null)" = "$(stamp "$1")" ]; }
    # dev.txt is local.txt and more
    if installed dev || installed "{{ lock }}"; then exit; fi
    [ -x .venv/bin/python ] || python3 -Im venv .venv
    pip() { .venv/bin/python -Im pip install --quiet --disable-pip-version-check --no-compile --no-deps "$@"; }
    echo "installing requirements/{{ lock }}.txt into .venv (once)"
    pip --require-hashes --requirement "requirements/{{ lock }}.txt"
    pip --no-build-isolation --editable .
    stamp "{{ lock }}" >".venv/installed-{{ lock }}"
