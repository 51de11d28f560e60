//! Link settings of the program.

#[expect(clippy::disallowed_macros, reason = "a build script speaks to cargo so")]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    // Half a million addresses are relocated at every start. Packed, they are 100 KiB of the file to read and not 6 MiB: a
    // `lookup` from a cold disk starts sooner. Linkers that do not know the word ignore it.
    if of("CARGO_CFG_TARGET_OS") == "linux" && of("CARGO_CFG_TARGET_ENV") == "gnu" {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
