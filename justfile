# Short names for what one does often: `just` lists them.

_list:
    @just --list --unsorted

# Everything that must hold before a change lands.
gate:
    .ci/run

# All tests of this CPU's instruction sets.
test *ARGS:
    cargo test {{ ARGS }}

# What the compiler, clippy, rustfmt and the order of imports object to.
lint:
    cargo fmt --all --check
    .ci/imports.py
    cargo clippy --workspace --all-targets -- -D warnings

# The benchmark, with plots and tables.
bench *ARGS:
    cargo run --release --bin horq-bench -- {{ ARGS }}

# A cargo command for aarch64, under emulation: `just neon test -p horq-kernels`.
neon *ARGS:
    .ci/neon cargo {{ ARGS }}

# The C library: programs over it in C, C++ and Go, under valgrind and with sanitizers.
capi:
    .ci/capi

# The Python package in the active virtual environment.
python:
    maturin develop --release --manifest-path python/Cargo.toml
