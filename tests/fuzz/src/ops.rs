//! The calls of a program as data: they can be generated, varied, printed and parsed.

use crate::{
    random::Random,
    uapi,
    values::{self, Descriptor, Kind, Pointer, Which},
};
use arbitrary::{Arbitrary, Result, Unstructured};
use serde::{Deserialize, Serialize};

/// The request numbers of the driver.
pub const NUMBERS: [u32; 13] = [
    uapi::RDMA_IOC_DEVICE_INFO,
    uapi::RDMA_IOC_ALLOC,
    uapi::RDMA_IOC_FREE,
    uapi::RDMA_IOC_REGISTER,
    uapi::RDMA_IOC_BUFFER_INFO,
    uapi::RDMA_IOC_EXPORT,
    uapi::RDMA_IOC_IMPORT,
    uapi::RDMA_IOC_TRANSFER,
    uapi::RDMA_IOC_SUBMIT,
    uapi::RDMA_IOC_WAIT,
    uapi::RDMA_IOC_CANCEL,
    uapi::RDMA_IOC_EVENTFD,
    uapi::RDMA_IOC_COMPLETION_RING,
];

/// Values that can be varied by changing one argument.
pub trait Vary {
    /// Changes one argument.
    fn vary(&mut self, u: &mut Unstructured) -> Result<()>;
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A call: its arguments, and the kinds of values that they have. Zero values are not printed.
macro_rules! call {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty = $values:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Arbitrary, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[allow(missing_docs)]
        pub struct $name {
            $(
                #[arbitrary(with = $values)]
                #[serde(skip_serializing_if = "is_default")]
                pub $field: $type,
            )*
        }

        impl Vary for $name {
            fn vary(&mut self, u: &mut Unstructured) -> Result<()> {
                let fields = [$(stringify!($field)),*];
                let field = *u.choose(&fields)?;
                $(if field == stringify!($field) { self.$field = $values(u)?; })*
                Ok(())
            }
        }
    };
}

call!(/// open(2) of the node.
    Open { file: u8 = values::file, access: u8 = access, nonblock: bool = rarely });
call!(/// close(2)
    Close { file: u8 = values::file });
call!(/// dup(2), into the place of another file.
    Dup { file: u8 = values::file, to: u8 = values::file });
call!(/// A file goes through a socket; `lost`: it is not received.
    Pass { file: u8 = values::file, to: u8 = values::file, lost: bool = rarely });
call!(/// RDMA_IOC_DEVICE_INFO
    Info { file: u8 = values::file, pointer: Pointer = values::pointer });
call!(/// RDMA_IOC_ALLOC
    Alloc { file: u8 = values::file, size: u64 = values::size, flags: u32 = values::zero32,
        reserved: u64 = values::zero, pointer: Pointer = values::pointer });
call!(/// RDMA_IOC_REGISTER; `fresh`: of new memory, of as many pages as it needs; `own`: memory of the program, otherwise a place for mappings.
    Register { file: u8 = values::file, fresh: Option<Kind> = values::fresh, own: bool = mostly, place: u8 = values::place, offset: u64 = values::offset,
        size: u64 = values::size, flags: u32 = values::flag, reserved: u64 = values::zero, pointer: Pointer = values::pointer });
call!(/// mmap(2) of memory of the program, in the place of what was there.
    Provide { place: u8 = values::place, kind: Kind = values::kind, pages: u64 = values::pages });
call!(/// RDMA_IOC_FREE
    Free { file: u8 = values::file, buffer: Which = values::which, flags: u32 = values::zero32, reserved: u64 = values::zero,
        pointer: Pointer = values::pointer });
call!(/// RDMA_IOC_BUFFER_INFO
    Buffer { file: u8 = values::file, buffer: Which = values::which, flags: u32 = values::zero32,
        reserved: u64 = values::zero, pointer: Pointer = values::pointer });
call!(/// RDMA_IOC_EXPORT; the dma-buf is mapped at this place, if it is empty, imported by the file `to`, and closed.
    Export { file: u8 = values::file, buffer: Which = values::which, flags: u32 = values::zero32, reserved: u32 = values::zero32,
        place: u8 = values::place, pointer: Pointer = values::pointer, to: u8 = values::file });
call!(/// struct rdma_request; `any` gives the side a handle that is the device's.
    Request { operation: u32 = values::operation, flags: u32 = values::flag, buffer: Which = values::which,
        other: Which = values::which, any: bool = rarely, source_offset: u64 = values::offset,
        destination_offset: u64 = values::offset, length: u64 = values::length, cookie: u64 = values::cookie,
        reserved: u64 = values::zero });
call!(/// RDMA_IOC_TRANSFER
    Transfer { file: u8 = values::file, request: Request = Request::arbitrary, pointer: Pointer = values::pointer });
call!(/// RDMA_IOC_SUBMIT; `copies`: the array is as many times as long; `element`: bytes of a request, if it has others.
    Submit { file: u8 = values::file, requests: Vec<Request> = requests, copies: u16 = copies,
        count: Option<u32> = wrong_count, element: Option<u32> = element, flags: u32 = values::zero32, reserved: u32 = values::zero32,
        array: Pointer = values::pointer, pointer: Pointer = values::pointer });
call!(/// RDMA_IOC_WAIT; `timeout_ns`: how long from now, forever if less than 0; `element`: bytes of a completion, if it has others.
    Wait { file: u8 = values::file, min: u32 = values::count, max: u32 = values::count,
        timeout_ns: i64 = values::timeout, element: Option<u32> = element, flags: u32 = values::zero32, reserved: u64 = values::zero,
        array: Pointer = values::pointer, pointer: Pointer = values::pointer });
call!(/// RDMA_IOC_CANCEL
    Cancel { file: u8 = values::file, cookie: u64 = values::cookie, flags: u32 = values::flag,
        reserved: u32 = values::zero32, pointer: Pointer = values::pointer });
call!(/// RDMA_IOC_EVENTFD
    Eventfd { file: u8 = values::file, fd: Descriptor = values::descriptor, flags: u32 = values::zero32, reserved: u64 = values::zero,
        pointer: Pointer = values::pointer });
call!(/// RDMA_IOC_COMPLETION_RING. The head is stored `behind` the tail, and a word at the position `at`.
    Ring { file: u8 = values::file, flags: u32 = values::zero32, reserved: u32 = values::zero32, behind: u32 = values::count,
        at: Option<u64> = values::position, pointer: Pointer = values::pointer });
call!(/// RDMA_IOC_TRANSFER of each request, or RDMA_IOC_SUBMIT of all of them (`batch`), as commands of io_uring, this many times; then waits up
    /// to a time. `rest`: what is in the command area, except for a structure that is there (`inline`).
    Command { ring: u8 = u8::arbitrary, file: u8 = values::file, requests: Vec<Request> = commanded, batch: bool = sometimes,
        copies: u8 = repeats, number: Option<u32> = wrong_number, flags: u32 = values::zero32, entry_flags: u8 = entry_flags,
        reserved: u32 = values::zero32, inline: bool = bool::arbitrary, rest: u8 = u8::arbitrary, array: Pointer = values::pointer,
        pointer: Pointer = values::pointer, milliseconds: u8 = briefly });
call!(/// Waits for the end of a command.
    Await { ring: u8 = u8::arbitrary, milliseconds: u8 = values::milliseconds });
call!(/// IORING_OP_ASYNC_CANCEL: of the n-th entry in flight, of those on a file, or of any, as `by` has it.
    Withdraw { ring: u8 = u8::arbitrary, by: u8 = u8::arbitrary, nth: u8 = u8::arbitrary, file: u8 = values::file,
        all: bool = bool::arbitrary });
call!(/// close(2) of a ring of io_uring, with the commands in flight on it.
    Shut { ring: u8 = u8::arbitrary });
call!(/// An ioctl that there is not.
    Unknown { file: u8 = values::file, number: u32 = values::number, pointer: Pointer = values::pointer });
call!(/// mmap(2) of the node; protection as PROT_*, flags as MAP_*.
    Map { file: u8 = values::file, place: u8 = values::place, buffer: Which = values::which, page: u64 = values::page,
        length: u64 = values::mapped, protection: u8 = protection, flags: u32 = map_flags });
call!(/// munmap(2); `own`, as for the next calls: memory of the program.
    Unmap { own: bool = rarely, place: u8 = values::place, page: u64 = values::pages, pages: u64 = values::pages });
call!(/// mremap(2); flags as MREMAP_*.
    Remap { place: u8 = values::place, page: u64 = values::pages, pages: u64 = values::pages,
        new_pages: u64 = values::pages, to: u8 = values::place, flags: u8 = remap_flags });
call!(/// mprotect(2)
    Protect { own: bool = rarely, place: u8 = values::place, page: u64 = values::pages, pages: u64 = values::pages,
        protection: u8 = protection });
call!(/// madvise(2)
    Advise { own: bool = rarely, place: u8 = values::place, page: u64 = values::pages, pages: u64 = values::pages,
        advice: u8 = advice });
call!(/// Loads from a mapping, or stores to it.
    Touch { own: bool = rarely, place: u8 = values::place, offset: u64 = values::offset, length: u64 = values::length,
        store: bool = bool::arbitrary });
call!(/// read(2), pread(2)
    Read { file: u8 = values::file, at: Option<u64> = values::position, length: u64 = values::length,
        pointer: Pointer = values::pointer });
call!(/// write(2), pwrite(2)
    Write { file: u8 = values::file, at: Option<u64> = values::position, length: u64 = values::length,
        pointer: Pointer = values::pointer });
call!(/// lseek(2)
    Seek { file: u8 = values::file, offset: i64 = seek_offset, whence: u8 = whence });
call!(/// poll(2), for a few milliseconds
    Poll { file: u8 = values::file, events: u8 = u8::arbitrary, milliseconds: u8 = values::milliseconds });
call!(/// Reads /proc/self/fdinfo.
    Fdinfo { file: u8 = values::file });
call!(/// fork(2): the child does these calls, and then waits to be killed.
    Fork { calls: Vec<Op> = child });
call!(/// SIGKILL to the youngest child, after this number of milliseconds.
    Kill { milliseconds: u8 = values::milliseconds });
call!(/// A signal with a handler to the program's other threads, or to itself.
    Signal { own: bool = rarely });
call!(/// This many calls like this one, each with one to three of its arguments changed, as `seed` has it.
    Storm { call: Box<Op> = one, times: u16 = times, seed: u32 = u32::arbitrary });

impl Storm {
    /// The n-th call.
    pub fn nth(&self, number: u16) -> Op {
        let mut random = Random::new(self.seed.into(), number.into());
        let mut op = (*self.call).clone();
        let bytes = random.bytes::<192>();
        let mut u = Unstructured::new(&bytes);
        for _ in 0..=random.below(3) {
            // If there are not enough bytes, it stays as it is.
            let _ = op.vary(&mut u);
        }
        op
    }
}

/// All calls.
macro_rules! ops {
    ($($weight:literal $name:ident),* $(,)?) => {
        /// One call, or a few of a kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[allow(missing_docs)]
        pub enum Op { $($name($name)),* }

        impl Op {
            /// Any call; those with a larger weight are more frequent.
            pub fn any(u: &mut Unstructured) -> Result<Self> {
                let mut pick = u.int_in_range(0..=(0 $(+ $weight)*) - 1)?;
                $(
                    if pick < $weight {
                        return Ok(Self::$name($name::arbitrary(u)?));
                    }
                    #[allow(unused_assignments)]
                    { pick -= $weight; }
                )*
                unreachable!()
            }
        }

        impl Vary for Op {
            fn vary(&mut self, u: &mut Unstructured) -> Result<()> {
                match self { $(Self::$name(call) => call.vary(u)),* }
            }
        }
    };
}

ops! {
    6u32 Open, 4 Close, 3 Dup, 2 Pass, 3 Info, 14 Alloc, 12 Register, 6 Provide, 8 Free, 8 Buffer, 6 Export, 16 Transfer,
    24 Submit, 18 Wait, 12 Cancel, 6 Eventfd, 4 Ring, 20 Command, 6 Await, 5 Withdraw, 5 Shut, 4 Unknown, 14 Map, 6 Unmap, 5 Remap, 5 Protect, 5 Advise, 14 Touch, 4 Read,
    4 Write, 4 Seek, 4 Poll,
    2 Fdinfo, 1 Fork, 1 Kill, 2 Signal, 40 Storm,
}

impl<'a> Arbitrary<'a> for Op {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Self::any(u)
    }
}

impl Default for Op {
    fn default() -> Self {
        Self::Signal(Signal::default())
    }
}

fn rarely(u: &mut Unstructured) -> Result<bool> {
    values::once_in(u, 12)
}

fn mostly(u: &mut Unstructured) -> Result<bool> {
    Ok(!rarely(u)?)
}

/// O_RDWR mostly.
fn access(u: &mut Unstructured) -> Result<u8> {
    Ok(if values::once_in(u, 4)? { u.int_in_range(0..=1)? } else { 2 })
}

fn requests(u: &mut Unstructured) -> Result<Vec<Request>> {
    (0..u.int_in_range(0..=4)?).map(|_| Request::arbitrary(u)).collect()
}

/// One request or a few, so that a command has one.
fn commanded(u: &mut Unstructured) -> Result<Vec<Request>> {
    (0..u.int_in_range(1..=3)?).map(|_| Request::arbitrary(u)).collect()
}

fn sometimes(u: &mut Unstructured) -> Result<bool> {
    values::once_in(u, 4)
}

/// How many times commands are submitted: mostly once, sometimes as often as fits into a ring.
fn repeats(u: &mut Unstructured) -> Result<u8> {
    match u.int_in_range(0..=9)? {
        0..=5 => Ok(1),
        6..=8 => u.int_in_range(0..=8),
        _ => u.int_in_range(9..=64),
    }
}

fn wrong_number(u: &mut Unstructured) -> Result<Option<u32>> {
    Ok(if values::once_in(u, 12)? { Some(values::number(u)?) } else { None })
}

/// Mostly none: IOSQE_ASYNC, IOSQE_IO_LINK or IOSQE_IO_HARDLINK. (Not IOSQE_IO_DRAIN, which also delays entries that do not have it.)
fn entry_flags(u: &mut Unstructured) -> Result<u8> {
    Ok(if values::once_in(u, 4)? { *u.choose(&[1 << 4, 1 << 4, 1 << 2, 1 << 3])? } else { 0 })
}

/// Mostly not at all.
fn briefly(u: &mut Unstructured) -> Result<u8> {
    Ok(if values::once_in(u, 8)? { values::milliseconds(u)? } else { 0 })
}

fn copies(u: &mut Unstructured) -> Result<u16> {
    match u.int_in_range(0..=15)? {
        0..=13 => Ok(1),
        14 => u.int_in_range(0..=20),
        _ if values::once_in(u, 8)? => u.int_in_range(0..=250),
        _ => u.int_in_range(250..=1030),
    }
}

fn wrong_count(u: &mut Unstructured) -> Result<Option<u32>> {
    Ok(if values::once_in(u, 12)? { Some(values::count(u)?) } else { None })
}

/// Bytes of an element of an array that are not those of its structure: too few, too many, and a few more.
fn element(u: &mut Unstructured) -> Result<Option<u32>> {
    let sizes = [0, 23, 63, uapi::RDMA_MAX_ELEMENT_SIZE + 1, u32::MAX, 72, 72, 72];
    Ok(if values::once_in(u, 12)? { Some(*u.choose(&sizes)?) } else { None })
}

fn protection(u: &mut Unstructured) -> Result<u8> {
    Ok(match u.int_in_range(0..=19)? {
        0..=13 => 3,
        14..=18 => u.int_in_range(0..=2)?,
        _ => u.int_in_range(4..=7)?,
    })
}

fn map_flags(u: &mut Unstructured) -> Result<u32> {
    const OTHERS: [i32; 6] = [
        libc::MAP_PRIVATE,
        libc::MAP_SHARED_VALIDATE,
        libc::MAP_SHARED | libc::MAP_POPULATE,
        libc::MAP_SHARED | libc::MAP_LOCKED,
        libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC,
        libc::MAP_SHARED | libc::MAP_NORESERVE,
    ];
    Ok(if values::once_in(u, 3)? { *u.choose(&OTHERS)? } else { libc::MAP_SHARED } as u32)
}

fn remap_flags(u: &mut Unstructured) -> Result<u8> {
    u.int_in_range(0..=7)
}

/// All but those that remove memory from the machine (MADV_HWPOISON, MADV_SOFT_OFFLINE).
fn advice(u: &mut Unstructured) -> Result<u8> {
    u.int_in_range(0..=25)
}

fn seek_offset(u: &mut Unstructured) -> Result<i64> {
    Ok(values::offset(u)? as i64)
}

fn whence(u: &mut Unstructured) -> Result<u8> {
    u.int_in_range(0..=5)
}

fn times(u: &mut Unstructured) -> Result<u16> {
    u.int_in_range(50..=3000)
}

/// A call for a storm or a child: neither of these two.
fn simple(u: &mut Unstructured) -> Result<Op> {
    loop {
        let op = Op::any(u)?;
        if !matches!(op, Op::Storm(_) | Op::Fork(_) | Op::Kill(_)) {
            return Ok(op);
        }
        if u.is_empty() {
            return Ok(Op::default());
        }
    }
}

fn child(u: &mut Unstructured) -> Result<Vec<Op>> {
    (0..u.int_in_range(1..=5)?).map(|_| simple(u)).collect()
}

/// Storms consist of calls that are cheap if they fail; those that allocate memory are less frequent.
fn one(u: &mut Unstructured) -> Result<Box<Op>> {
    loop {
        let op = simple(u)?;
        let fit = match op {
            Op::Open(_) | Op::Close(_) | Op::Dup(_) | Op::Pass(_) | Op::Poll(_) | Op::Fdinfo(_) | Op::Signal(_) | Op::Shut(_) => {
                false
            }
            Op::Alloc(_) | Op::Register(_) | Op::Provide(_) | Op::Map(_) | Op::Touch(_) | Op::Read(_) | Op::Write(_) => {
                values::once_in(u, 4)?
            }
            _ => true,
        };
        if fit || u.is_empty() {
            return Ok(Box::new(op));
        }
    }
}
