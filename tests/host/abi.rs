// SPDX-License-Identifier: GPL-2.0

//! `src/uapi.rs`, which the driver uses, against `src/uapi/rdma.h`, which everyone else does.

#[path = "../../src/kernel_ext"]
mod kernel_ext {
    pub(crate) mod fs {
        pub(crate) mod abi;
    }
}
#[path = "../../src/uapi.rs"]
mod uapi;

/// What bindgen makes of the header.
#[allow(dead_code, non_camel_case_types, non_snake_case, non_upper_case_globals)]
mod header {
    include!(env!("RDMA_HEADER"));
}

/// Compares size and alignment of a structure, and place and size of each field; and that neither side has
/// a field that the other one lacks.
macro_rules! same_struct {
    ($ours:ident, $theirs:ident { $($field:ident,)* }) => {
        assert_eq!(size_of::<uapi::$ours>(), size_of::<header::$theirs>());
        assert_eq!(align_of::<uapi::$ours>(), align_of::<header::$theirs>());
        let ours = uapi::$ours::default();
        let theirs = header::$theirs::default();
        $(
            let name = stringify!($field);
            assert_eq!(
                std::mem::offset_of!(uapi::$ours, $field),
                std::mem::offset_of!(header::$theirs, $field),
                "{name}"
            );
            assert_eq!(size_of_val(&ours.$field), size_of_val(&theirs.$field), "{name}");
        )*
        // Without `..`: does not compile if a field is left out.
        let uapi::$ours { $($field: _,)* } = ours;
        let header::$theirs { $($field: _,)* } = theirs;
    };
}

#[test]
fn structures() {
    same_struct!(Info, rdma_info {
        abi_version, capabilities, device_memory_size, max_transfer_size, dma_bits, interrupt,
        hardware_version, queue_depth, reserved,
    });
    same_struct!(Alloc, rdma_alloc { size, mmap_offset, handle, flags, reserved, });
    same_struct!(Free, rdma_free { handle, flags, });
    same_struct!(Request, rdma_request {
        operation, flags, source, destination, source_offset, destination_offset, length, cookie,
        reserved,
    });
    same_struct!(Buffer, rdma_buffer { handle, flags, size, mmap_offset, mappings, requests, reserved, });
    same_struct!(Submit, rdma_submit { requests, count, flags, reserved, });
    same_struct!(Completion, rdma_completion { cookie, bytes, status, reserved, });
    same_struct!(Wait, rdma_wait { completions, min, max, timeout_ns, flags, reserved, });
    same_struct!(Cancel, rdma_cancel { cookie, flags, reserved, });
    same_struct!(Eventfd, rdma_eventfd { fd, flags, });
}

#[test]
fn constants() {
    assert_eq!(uapi::ABI_VERSION, header::RDMA_ABI_VERSION);
    assert_eq!(header::RDMA_DEVICE_MEMORY_SIZE, 4096, "of edu, as in engines/edu/device_memory.rs");
    assert_eq!(uapi::FIRST_BUFFER, header::RDMA_FIRST_BUFFER);
    assert_eq!(uapi::MAX_BUFFER_SIZE, u64::from(header::RDMA_MAX_BUFFER_SIZE));
    assert_eq!(uapi::QUEUE_DEPTH, header::RDMA_QUEUE_DEPTH);
    assert_eq!(uapi::REQUEST_LINK, header::RDMA_REQUEST_LINK);
    assert_eq!(uapi::CANCEL_ALL, header::RDMA_CANCEL_ALL);
    assert_eq!(uapi::INTERRUPT_INTX, header::RDMA_INTERRUPT_INTX);
    assert_eq!(uapi::INTERRUPT_MSI, header::RDMA_INTERRUPT_MSI);
    assert_eq!(uapi::OP_TO_DEVICE, header::RDMA_OP_TO_DEVICE);
    assert_eq!(uapi::OP_FROM_DEVICE, header::RDMA_OP_FROM_DEVICE);
    assert_eq!(uapi::OP_COPY, header::RDMA_OP_COPY);
}

#[test]
fn request_numbers() {
    assert_eq!(uapi::IOC_MAGIC, header::RDMA_IOC_MAGIC);
    assert_eq!(uapi::IOC_INFO, header::request_numbers_HEADER_IOC_INFO);
    assert_eq!(uapi::IOC_ALLOC, header::request_numbers_HEADER_IOC_ALLOC);
    assert_eq!(uapi::IOC_FREE, header::request_numbers_HEADER_IOC_FREE);
    assert_eq!(uapi::IOC_BUFFER, header::request_numbers_HEADER_IOC_BUFFER);
    assert_eq!(uapi::IOC_SUBMIT, header::request_numbers_HEADER_IOC_SUBMIT);
    assert_eq!(uapi::IOC_WAIT, header::request_numbers_HEADER_IOC_WAIT);
    assert_eq!(uapi::IOC_CANCEL, header::request_numbers_HEADER_IOC_CANCEL);
    assert_eq!(uapi::IOC_EVENTFD, header::request_numbers_HEADER_IOC_EVENTFD);
    assert_eq!(uapi::IOC_TRANSFER, header::request_numbers_HEADER_IOC_TRANSFER);
}

/// Every constant of the header has been compared above: a new one must be, too.
#[test]
fn nothing_of_the_header_is_left_out() {
    let header = include_str!(env!("RDMA_HEADER"));
    let test = include_str!("abi.rs");
    let mut constants = 0;
    for line in header.lines() {
        let Some(rest) = line.strip_prefix("pub const ") else {
            continue;
        };
        let name = rest.split(':').next().unwrap();
        // The request numbers come in through the enum in header.h.
        if name.starts_with("RDMA_") || name.starts_with("request_numbers_") {
            constants += 1;
            assert!(test.contains(&format!("header::{name}")), "{name} is not compared");
        }
    }
    assert!(constants >= 14, "{constants} constants found");
}
