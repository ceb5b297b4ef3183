//! Packs the relocations of `mpwasm` and `mpwasm-host` where the C library can read them so. Each process of a pool applies all of
//! them at its start: packed, they are 13 KiB instead of 780 KiB that each has to read.

use std::env;
#[cfg(target_env = "gnu")]
use std::ffi::{CStr, c_char};

/// The first version of glibc that reads `DT_RELR` ("Support for DT_RELR relative relocation format", its NEWS).
const GLIBC_WITH_PACKED_RELOCATIONS: (u32, u32) = (2, 36);

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    fn gnu_get_libc_version() -> *const c_char;
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The executable then needs such a C library wherever it runs. One that is built for older ones is built where they are.
    let native = env::var_os("HOST") == env::var_os("TARGET");
    let glibc = env::var_os("CARGO_CFG_TARGET_ENV").is_some_and(|env| env == "gnu");
    if native && glibc && glibc_version() >= Some(GLIBC_WITH_PACKED_RELOCATIONS) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Returns the version of the C library that this script runs with. `None` if it is not glibc, or has no version like `2.36`.
#[cfg(not(target_env = "gnu"))]
fn glibc_version() -> Option<(u32, u32)> {
    None
}

/// Returns the version of the C library that this script runs with. `None` if it is not glibc, or has no version like `2.36`.
#[cfg(target_env = "gnu")]
fn glibc_version() -> Option<(u32, u32)> {
    // SAFETY: the function has no preconditions, and returns a constant string of the C library.
    let version = unsafe { CStr::from_ptr(gnu_get_libc_version()) }.to_str().ok()?;
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
