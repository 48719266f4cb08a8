//! Buffers of ordinary memory, with a device that can access all of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
};

use rust_dma::{Context, Error, MAX_BUFFER_SIZE, Request};

const SIZE: usize = 64 << 10;

fn open() -> Context {
    Context::open("/dev/rdma0").unwrap()
}

/// KiB that this process has pinned. Source: Documentation/filesystems/proc.rst
fn pinned() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPin:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn fill(bytes: &mut [u8], salt: usize) {
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from((place * 7 + salt) % 251).unwrap();
    }
}

#[test]
fn copies() {
    let context = open();
    let mut from = context.register(SIZE).unwrap();
    assert!(from.iter().all(|&byte| byte == 0));
    fill(&mut from, 1);
    let (from, to) = Request::copy(from, 3..1003, context.allocate(SIZE).unwrap(), 5).run().unwrap();
    assert!(from[3..1003] == to[5..1005]);
    let (to, back) = Request::copy(to, 5..1005, context.register(4096).unwrap(), 0).run().unwrap();
    assert!(to[5..1005] == back[..1000] && back[1000..].iter().all(|&byte| byte == 0));
}

#[test]
fn sizes() {
    let context = open();
    assert!(matches!(context.register(0), Err(Error::Size { size: 0 })));
    assert!(matches!(context.register(MAX_BUFFER_SIZE + 1), Err(Error::Size { .. })));
    // Not rounded up, unlike an allocated one.
    assert_eq!(context.register(5).unwrap().len(), 5);
}

/// Such a device has no memory: requests on it are refused before they are submitted.
#[test]
fn no_device_memory() {
    let context = open();
    assert_eq!(context.info().unwrap().device_memory_size, 0);
    let failed = Request::to_device(context.allocate(1).unwrap(), ..1, 0).submit().unwrap_err();
    assert!(matches!(failed.error, Error::DeviceRange { at: 0, length: 1 }), "{failed}");
    let failed = Request::from_device(failed.buffers.unwrap(), ..2, 7).submit().unwrap_err();
    assert!(matches!(failed.error, Error::DeviceRange { at: 7, length: 2 }), "{failed}");
}

/// It is pinned until the last piece is dropped, also if a request on it was dropped before it ended.
#[test]
fn unpinned_with_the_last_piece() {
    let context = open();
    let before = pinned();
    let (first, second) = context.register(SIZE).unwrap().split_at(4096);
    assert_eq!(pinned(), before + SIZE / 1024);
    drop(first);
    assert_eq!(pinned(), before + SIZE / 1024);
    drop(Request::copy(second, ..4096, context.allocate(4096).unwrap(), 0).submit().unwrap());
    drop(context);
    for _ in 0..1000 {
        if pinned() == before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("{} KiB are still pinned", pinned() - before);
}

/// A file is read into it past the page cache, which a coherent buffer does not allow.
#[test]
fn direct_input() {
    let path = std::env::temp_dir().join("registered-direct");
    let mut bytes = vec![0; SIZE];
    fill(&mut bytes, 9);
    File::create(&path).unwrap().write_all(&bytes).unwrap();
    let direct = || OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path);
    let context = open();
    let mut registered = context.register(SIZE).unwrap();
    direct().unwrap().read_exact(&mut registered).unwrap();
    let (_, to) = Request::copy(registered, .., context.allocate(SIZE).unwrap(), 0).run().unwrap();
    assert!(to[..] == bytes[..]);
    fs::remove_file(path).unwrap();
}
