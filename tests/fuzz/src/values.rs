//! Values for arguments: mostly valid ones, often at the limits, sometimes invalid ones.

use crate::uapi;
use arbitrary::{Result, Unstructured};
use serde::{Deserialize, Serialize};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// How many open files a program can name.
pub const FILES: u8 = 6;
/// How many places for mappings a program can name.
pub const PLACES: u8 = 6;
/// Bytes of a place for mappings.
pub const PLACE_SIZE: u64 = 8 << 20;

/// The limits of what is allowed, and of the numbers themselves.
const EDGES: [u64; 21] = [
    0,
    1,
    4094,
    4095,
    4096,
    4097,
    8191,
    8192,
    8193,
    1 << 16,
    1 << 21,
    1 << 22,
    (1 << 30) - 1,
    1 << 30,
    (1 << 30) + 1,
    (1 << 31) - 1,
    (1 << 32) - 1,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX,
];

/// A buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// The one that mmap at offset 0 allocates.
    First,
    /// The n-th existing one of the context.
    Nth(u8),
    /// This handle.
    Handle(u32),
}

impl Default for Which {
    fn default() -> Self {
        Self::Handle(0)
    }
}

/// The kind of pointer that a call gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pointer {
    /// To the argument, with space around it.
    #[default]
    Good,
    /// To the argument, at the end of a page with nothing behind it.
    Edge,
    /// To the argument, on a read-only page.
    ReadOnly,
    /// To an argument whose last bytes, this many, are not mapped.
    Short(u8),
    /// To nothing: 0.
    Null,
    /// Into memory of the kernel.
    Kernel,
    /// To an invalid address.
    Wild,
}

/// The kind of memory of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Private.
    #[default]
    Private,
    /// Private and read-only: the page of zeros.
    ReadOnly,
    /// Shared.
    Shared,
    /// A file of memfd_create(2), from any of its pages on.
    File(u8),
    /// A private copy of such a file.
    Copy(u8),
    /// Huge pages, if the system has some.
    Huge,
    /// Nothing.
    None,
}

/// The kind of descriptor for an eventfd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Descriptor {
    /// -1: none.
    #[default]
    None,
    /// One of the program's eventfds.
    Eventfd(u8),
    /// One of the program's open files, which is not an eventfd.
    File(u8),
    /// This number.
    Number(i32),
}

/// Any of these.
fn one_of<T: Copy>(u: &mut Unstructured, values: &[T]) -> Result<T> {
    u.choose(values).copied()
}

/// True with a probability of 1 / n.
pub fn once_in(u: &mut Unstructured, times: u32) -> Result<bool> {
    u.ratio(1, times)
}

/// A limit, a number next to one, or any number.
pub fn wild(u: &mut Unstructured) -> Result<u64> {
    let edge = one_of(u, &EDGES)?;
    Ok(match u.int_in_range(0..=9)? {
        0..=5 => edge,
        6 => edge.wrapping_sub(u.int_in_range(0..=9)?),
        7 => edge.wrapping_add(u.int_in_range(0..=9)?),
        8 => 1u64.wrapping_shl(u.int_in_range(0..=63)?),
        _ => u.arbitrary()?,
    })
}

/// A position within a small buffer, or any number.
pub fn offset(u: &mut Unstructured) -> Result<u64> {
    match u.int_in_range(0..=7)? {
        0..=2 => Ok(0),
        3..=4 => u.int_in_range(0..=2 * PAGE),
        5 => Ok(u.int_in_range(0..=8)? * PAGE),
        _ => wild(u),
    }
}

/// A number of bytes to move, or any number.
pub fn length(u: &mut Unstructured) -> Result<u64> {
    match u.int_in_range(0..=7)? {
        0..=3 => u.int_in_range(1..=64),
        4 => u.int_in_range(1..=PAGE),
        5 => u.int_in_range(1..=4 * PAGE),
        _ => wild(u),
    }
}

/// The size of a new buffer: mostly a few pages.
pub fn size(u: &mut Unstructured) -> Result<u64> {
    match u.int_in_range(0..=15)? {
        0..=9 => Ok(u.int_in_range(1..=4)? * PAGE),
        10..=11 => u.int_in_range(1..=64 * PAGE),
        12 => Ok(u.int_in_range(1..=2)? << 21),
        _ => wild(u),
    }
}

/// An operation.
pub fn operation(u: &mut Unstructured) -> Result<u32> {
    match u.int_in_range(0..=19)? {
        0..=6 => Ok(uapi::RDMA_OP_TO_DEVICE),
        7..=13 => Ok(uapi::RDMA_OP_FROM_DEVICE),
        14..=18 => Ok(uapi::RDMA_OP_COPY),
        _ => Ok(wild(u)? as u32),
    }
}

/// A buffer.
pub fn which(u: &mut Unstructured) -> Result<Which> {
    Ok(match u.int_in_range(0..=19)? {
        0..=3 => Which::First,
        4..=15 => Which::Nth(u.int_in_range(0..=3)?),
        16..=17 => Which::Handle(u.int_in_range(0..=40)?),
        _ => Which::Handle(wild(u)? as u32),
    })
}

/// A field that must be 0.
pub fn zero(u: &mut Unstructured) -> Result<u64> {
    if once_in(u, 40)? {
        wild(u)
    } else {
        Ok(0)
    }
}

/// A field of 32 bits that must be 0.
pub fn zero32(u: &mut Unstructured) -> Result<u32> {
    Ok(zero(u)? as u32)
}

/// A defined bit, no bit, or undefined ones.
pub fn flag(u: &mut Unstructured) -> Result<u32> {
    match u.int_in_range(0..=15)? {
        0..=9 => Ok(0),
        10..=14 => Ok(1),
        _ => Ok(wild(u)? as u32),
    }
}

/// A cookie: few values, so that some are equal.
pub fn cookie(u: &mut Unstructured) -> Result<u64> {
    if once_in(u, 10)? {
        wild(u)
    } else {
        u.int_in_range(0..=5)
    }
}

/// A number: small, the queue's depth, or any.
pub fn count(u: &mut Unstructured) -> Result<u32> {
    match u.int_in_range(0..=9)? {
        0..=1 => Ok(0),
        2..=6 => u.int_in_range(1..=8),
        7 => u.int_in_range(uapi::RDMA_QUEUE_DEPTH - 1..=uapi::RDMA_QUEUE_DEPTH + 1),
        _ => Ok(wild(u)? as u32),
    }
}

/// A time in nanoseconds: mostly zero or short.
pub fn timeout(u: &mut Unstructured) -> Result<i64> {
    match u.int_in_range(0..=15)? {
        0..=11 => Ok(0),
        12..=13 => u.int_in_range(1..=20_000_000),
        14 => Ok(-1),
        _ => Ok(wild(u)? as i64),
    }
}

/// An open file: mostly the first.
pub fn file(u: &mut Unstructured) -> Result<u8> {
    if u.int_in_range(0..=9)? < 7 {
        Ok(0)
    } else {
        u.int_in_range(0..=FILES - 1)
    }
}

/// A place for a mapping.
pub fn place(u: &mut Unstructured) -> Result<u8> {
    u.int_in_range(0..=PLACES - 1)
}

/// A few pages.
pub fn pages(u: &mut Unstructured) -> Result<u64> {
    match u.int_in_range(0..=9)? {
        0..=7 => u.int_in_range(0..=5),
        8 => u.int_in_range(0..=PLACE_SIZE / PAGE),
        _ => Ok(512),
    }
}

/// A page of a file: near the start of a buffer, or any.
pub fn page(u: &mut Unstructured) -> Result<u64> {
    match u.int_in_range(0..=9)? {
        0..=6 => Ok(0),
        7..=8 => u.int_in_range(0..=4),
        _ => Ok(wild(u)? / PAGE),
    }
}

/// A number of bytes to map.
pub fn mapped(u: &mut Unstructured) -> Result<u64> {
    match u.int_in_range(0..=9)? {
        0..=6 => Ok(u.int_in_range(1..=4)? * PAGE),
        7 => Ok(u.int_in_range(1..=2)? << 21),
        _ => wild(u),
    }
}

/// The position of an argument: mostly valid.
pub fn pointer(u: &mut Unstructured) -> Result<Pointer> {
    Ok(match u.int_in_range(0..=59)? {
        0..=39 => Pointer::Good,
        40..=53 => Pointer::Edge,
        54 => Pointer::ReadOnly,
        55..=56 => Pointer::Short(u.int_in_range(1..=80)?),
        57 => Pointer::Null,
        58 => Pointer::Kernel,
        _ => Pointer::Wild,
    })
}

/// A kind of memory.
pub fn kind(u: &mut Unstructured) -> Result<Kind> {
    Ok(match u.int_in_range(0..=11)? {
        0..=3 => Kind::Private,
        4..=5 => Kind::Shared,
        6..=7 => Kind::File(u.int_in_range(0..=20)?),
        8 => Kind::Copy(u.int_in_range(0..=20)?),
        9 => Kind::Huge,
        10 => Kind::ReadOnly,
        _ => Kind::None,
    })
}

/// A kind of new memory, or what is there.
pub fn fresh(u: &mut Unstructured) -> Result<Option<Kind>> {
    Ok(if once_in(u, 5)? { None } else { Some(kind(u)?) })
}

/// A descriptor for an eventfd.
pub fn descriptor(u: &mut Unstructured) -> Result<Descriptor> {
    Ok(match u.int_in_range(0..=9)? {
        0..=5 => Descriptor::Eventfd(u.int_in_range(0..=1)?),
        6..=7 => Descriptor::None,
        8 => Descriptor::File(file(u)?),
        _ => Descriptor::Number(wild(u)? as i32),
    })
}

/// A position for pread and pwrite; none for read and write.
pub fn position(u: &mut Unstructured) -> Result<Option<u64>> {
    Ok(if u.arbitrary()? { Some(offset(u)?) } else { None })
}

/// The number of an ioctl: one bit or one size different from a valid one, or any.
pub fn number(u: &mut Unstructured) -> Result<u32> {
    let right = one_of(u, &crate::ops::NUMBERS)?;
    Ok(match u.int_in_range(0..=3)? {
        0 => right ^ (1 << u.int_in_range(0..=31)?),
        1 => right ^ (u.int_in_range(1..=0x3fff)? << 16),
        2 => (right & !0xff) | u.int_in_range(0..=0xff)?,
        _ => u.arbitrary()?,
    })
}

/// A small number of milliseconds.
pub fn milliseconds(u: &mut Unstructured) -> Result<u8> {
    u.int_in_range(0..=20)
}
