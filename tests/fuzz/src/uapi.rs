//! The interface: what bindgen makes of `src/uapi/rdma.h`.

#![allow(missing_docs, dead_code, non_camel_case_types, non_upper_case_globals, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/uapi.rs"));
