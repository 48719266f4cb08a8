//! Builds the tool for the C library of Debian 12, too.

fn main() {
    // Rust's standard library uses these functions of glibc 2.39 if they exist, by weak references. The linker still has the program require
    // that version. Defined as 0, they do not exist, and the standard library uses others.
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") {
        for function in ["pidfd_getpid", "pidfd_spawnp"] {
            println!("cargo::rustc-link-arg-bins=-Wl,--defsym={function}=0");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}
