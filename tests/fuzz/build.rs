//! The interface, as bindgen reads it in the header itself.

use std::{env, path::PathBuf, process::Command};

fn main() {
    let output = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names it")).join("uapi.rs");
    println!("cargo::rerun-if-changed=../host/header.h");
    println!("cargo::rerun-if-changed=../../src/uapi/rdma.h");
    let status = Command::new("bindgen")
        .args(["--no-layout-tests", "--with-derive-default", "--no-doc-comments"])
        .args(["--no-prepend-enum-name", "--allowlist-item=(rdma|RDMA|HEADER|request)_.*", "-o"])
        .arg(&output)
        .args(["../host/header.h", "--", "-I../../src/uapi"])
        .status()
        .expect("bindgen is there");
    assert!(status.success(), "bindgen failed");
}
