#!/usr/bin/env bash
# The kernels of distances and clusters, where the unsafe code is, under AddressSanitizer: in a crate of their own, because
# the whole program would take half an hour to build. Stable compilers have the sanitizer behind a switch.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ "$(uname -m)" = x86_64 ] || { echo "not checked: the kernels with unsafe code are for x86-64"; exit 0; }
crate=${CARGO_TARGET_DIR:-$root/target}/sanitize
mkdir -p "$crate/src"
cp "$root/Cargo.lock" "$root/rust-toolchain.toml" "$crate/"
cat >"$crate/Cargo.toml" <<'TOML'
[package]
name = "sanitize"
version = "0.0.0"
edition = "2024"
[dependencies]
libc = "0.2"
linfa = { version = "0.8", default-features = false }
linfa-clustering = "0.8.1"
ndarray = "0.16"
rand = { version = "0.8", default-features = false }
rand_distr = "0.4"
rand_xoshiro = "0.6"
thiserror = "2"
xxhash-rust = { version = "0.8", features = ["xxh3"] }
[workspace]
TOML
ln -sfn "$root/src/numerics" "$crate/src/numerics"
cat >"$crate/src/lib.rs" <<'RUST'
#![allow(dead_code)]
pub mod numerics {
    #[cfg(test)]
    pub mod agreement;
    mod avx512;
    pub mod blocks;
    pub mod coarse;
    pub mod digits;
    pub mod kmeans;
    pub mod near;
    pub mod pages;
    pub mod random;
    mod rows;
    pub mod silhouette;
    pub mod simd;
}
RUST
cd "$crate"
RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" \
  cargo test --release --quiet --target x86_64-unknown-linux-gnu --target-dir "$crate/target"
