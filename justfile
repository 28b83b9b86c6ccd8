# People's recipes; `./just RECIPE` brings just and nats-server along where they are missing.

export PATH := justfile_directory() / ".tools/bin:" + env("PATH")

# The recipes.
default:
    @just --list

# Start everything with demo data: nats-server, services, gateway.
[no-exit-message]
dev *ARGS:
    @web/build --if-possible
    cargo build --bin millrace
    @"${CARGO_TARGET_DIR:-target}/debug/millrace" dev {{ ARGS }}

# Build the playground that the binary embeds, where it is stale.
web:
    @web/build

# Run every test of the repository.
test *ARGS: web
    cargo build --workspace --all-targets
    if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace {{ ARGS }}; else cargo test --workspace {{ ARGS }}; fi

# What must hold before a commit: format, lints, licences where cargo-deny is there.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; fi

# Format everything.
fmt:
    cargo fmt --all

# Measure a release build beside PostgreSQL and a monolith: --quick, --only 1,2,7, --resume FILE, --render FILE, --against FILE, --runs N, --out FILE; see bench/README.md.
[no-exit-message]
bench *ARGS:
    cargo build --release --package cli --package bench --bins
    @"${CARGO_TARGET_DIR:-target}/release/bench" {{ ARGS }}

# Break a bank of real processes by a seeded schedule, and hold what clients were told against the logs: --seed N --minutes N.
[no-exit-message]
chaos *ARGS:
    cargo build --release --bin millrace --bin chaos
    @"${CARGO_TARGET_DIR:-target}/release/chaos" {{ ARGS }}

# Measure how fast a bank comes back: after a stop, after kill -9, with every read model deleted; PAYMENTS is 2000000.
recovery PAYMENTS="2000000":
    cargo build --release --bin millrace --bin recovery
    "${CARGO_TARGET_DIR:-target}/release/recovery" {{ PAYMENTS }}

# Measure ten times more than can be taken, for a minute.
overload:
    cargo build --release --bin millrace --bin overload
    "${CARGO_TARGET_DIR:-target}/release/overload"
