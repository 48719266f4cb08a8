//! The known state of a program: open files, their buffers, submitted requests.

use crate::{
    sys,
    uapi::{self, rdma_request},
    uring::{Uring, RINGS},
    values::{Descriptor, Which, FILES},
};
use std::{
    ffi::CString,
    path::Path,
    sync::{
        atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::Relaxed},
        Mutex, MutexGuard,
    },
};

/// The handle that ALLOC returns for the first buffer of a context.
const NEXT: u32 = uapi::RDMA_FIRST_BUFFER + 1;

const DEPTH: usize = uapi::RDMA_QUEUE_DEPTH as usize;

/// The maximum number of threads of a program.
pub const THREADS: usize = 3;

/// A buffer that has a handle.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// The handle.
    pub handle: u32,
    /// The size in bytes.
    pub size: u64,
    /// The offset for mmap(2).
    pub offset: u64,
    /// Requests may write to it.
    pub writable: bool,
}

/// The known state of an open file.
#[derive(Default)]
pub struct Context {
    /// The buffers that have a handle.
    pub buffers: Vec<Buffer>,
    /// The cookies and lengths of requests that were submitted and not collected.
    pub submitted: Vec<(u64, u64)>,
    /// Whether it has a completion ring, so that collecting is not known.
    pub ring: bool,
    /// The number of commands of io_uring that may have room in the queue, because their end is not known.
    pub commands: usize,
    /// The number of CANCELs that have cancelled something.
    pub cancels: u64,
}

impl Context {
    /// Returns the buffer with this handle.
    pub fn find(&self, handle: u32) -> Option<&Buffer> {
        self.buffers.iter().find(|buffer| buffer.handle == handle)
    }
}

/// The mode of a descriptor, and its context.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    /// The context.
    pub context: usize,
    /// O_RDONLY, O_WRONLY or O_RDWR.
    pub access: i32,
}

impl Slot {
    /// Returns whether the descriptor is readable.
    pub fn reads(self) -> bool {
        self.access != libc::O_WRONLY
    }

    /// Returns whether the descriptor is writable.
    pub fn writes(self) -> bool {
        self.access != libc::O_RDONLY
    }
}

/// The known state of all files.
#[derive(Default)]
pub struct Known {
    /// The open files.
    pub slots: [Option<Slot>; FILES as usize],
    /// All contexts, including closed ones.
    pub contexts: Vec<Context>,
}

/// The expected result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Success.
    Right,
    /// An error.
    Wrong,
    /// Success or an error, because other threads or processes may have freed or allocated its buffers.
    Unclear,
}

/// The properties of a device, which depend on its model.
#[derive(Clone, Copy)]
pub struct Model {
    /// The size of the device memory in bytes.
    pub memory: u64,
    /// `engine_depth`, as INFO returns it.
    pub depth: u32,
    /// `capabilities`, as INFO returns them.
    pub capabilities: u64,
}

impl Model {
    const EDU: Self = Self { memory: uapi::RDMA_DEVICE_MEMORY_SIZE as u64, depth: 1, capabilities: 0 };
    const IOAT: Self = Self { memory: 0, depth: 128, capabilities: (uapi::RDMA_CAP_DIRECT_COPY | uapi::RDMA_CAP_ABORT) as u64 };

    /// Returns the model of the device behind this node.
    fn of(node: &str) -> Self {
        let id = std::fs::read_to_string(format!("/sys/class/rust_dma/{node}/device/vendor"));
        if id.is_ok_and(|id| id.trim() == "0x8086") {
            Self::IOAT
        } else {
            Self::EDU
        }
    }
}

/// The files of a program, and their known state.
pub struct World {
    /// The model of the device.
    pub model: Model,
    /// The node.
    pub node: CString,
    /// Whether the known state is certain, because no other thread uses these files.
    pub exact: AtomicBool,
    /// Whether huge pages of hugetlbfs were mapped.
    pub huge: AtomicBool,
    /// The descriptors. -1: the file is closed.
    fds: [AtomicI32; FILES as usize],
    known: Mutex<Known>,
    /// The rings of io_uring. None: the ring is closed. Locked before the known state.
    pub rings: [Mutex<Option<Uring>>; RINGS],
    /// The running children.
    pub children: Mutex<Vec<i32>>,
    /// The threads. 0: the thread has ended.
    pub threads: [AtomicI32; THREADS],
    /// The number of calls that each thread has started.
    pub steps: [AtomicU32; THREADS],
    /// Descriptors of eventfds.
    eventfds: [i32; 2],
    /// The two ends of a socket.
    pub sockets: [i32; 2],
}

impl World {
    /// Creates a state without files. The node is that of the device with this number if it exists, otherwise the first one.
    pub fn new(device: usize) -> Self {
        let eventfd = || {
            let flags = (libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) as u64;
            sys::high(sys::call(libc::SYS_eventfd2, [0, flags]).expect("an eventfd") as i32)
        };
        let mut sockets = [0i32; 2];
        // SAFETY: There is room for two.
        let done = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0, sockets.as_mut_ptr()) };
        assert_eq!(done, 0, "a socket");
        let nodes = [format!("rdma{device}"), "rdma0".into()];
        let node = nodes.into_iter().find(|node| Path::new("/dev").join(node).exists()).unwrap_or_default();
        Self {
            model: Model::of(&node),
            node: CString::new(format!("/dev/{node}")).expect("there is no zero in it"),
            exact: AtomicBool::new(true),
            huge: AtomicBool::new(false),
            fds: std::array::from_fn(|_| AtomicI32::new(-1)),
            known: Mutex::default(),
            rings: Default::default(),
            children: Mutex::default(),
            threads: std::array::from_fn(|_| AtomicI32::new(0)),
            steps: std::array::from_fn(|_| AtomicU32::new(0)),
            eventfds: [eventfd(), eventfd()],
            sockets: sockets.map(sys::high),
        }
    }

    /// Closes all rings and files, and resets the known state.
    pub fn reset(&self, exact: bool) {
        for ring in &self.rings {
            drop(ring.lock().expect("no thread panics").take());
        }
        for fd in &self.fds {
            let fd = fd.swap(-1, Relaxed);
            if fd >= 0 {
                let _ = sys::close(fd);
            }
        }
        *self.known() = Known::default();
        self.exact.store(exact, Relaxed);
        self.huge.store(false, Relaxed);
    }

    /// In a child of fork(2): forgets the files that it does not have. The kernel copies the descriptors before the memory, and another thread
    /// may have opened files in between.
    pub fn forget_closed(&self) {
        for fd in &self.fds {
            if sys::call(libc::SYS_fcntl, [fd.load(Relaxed) as u64, libc::F_GETFD as u64]).is_err() {
                fd.store(-1, Relaxed);
            }
        }
    }

    /// Opens the rings of io_uring, before there are other threads.
    pub fn open_rings(&self) -> std::io::Result<()> {
        for (number, ring) in self.rings.iter().enumerate() {
            *ring.lock().expect("no thread panics") = Some(Uring::open(number)?);
        }
        Ok(())
    }

    /// Makes all files non-blocking (fcntl(2), O_NONBLOCK).
    pub fn nonblocking(&self) {
        for fd in self.fds.iter().map(|fd| fd.load(Relaxed)).filter(|fd| *fd >= 0) {
            let _ = sys::call(libc::SYS_fcntl, [fd as u64, libc::F_SETFL as u64, libc::O_NONBLOCK as u64]);
        }
    }

    /// Returns whether the known state is certain.
    pub fn exact(&self) -> bool {
        self.exact.load(Relaxed)
    }

    /// Locks and returns the known state.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no thread panics")
    }

    /// Returns the descriptor of a file, or -1 if it is closed.
    pub fn fd(&self, file: u8) -> i32 {
        self.fds[usize::from(file % FILES)].load(Relaxed)
    }

    /// Returns the mode and the context of a file.
    pub fn slot(&self, file: u8) -> Option<Slot> {
        self.known().slots[usize::from(file % FILES)]
    }

    /// Replaces a file, and closes the previous one. If `new` is true, the file has a new context.
    pub fn replace(&self, file: u8, fd: i32, slot: Option<Slot>, new: bool) {
        let number = usize::from(file % FILES);
        let mut known = self.known();
        let mut slot = slot;
        if let (true, Some(slot)) = (new, slot.as_mut()) {
            slot.context = known.contexts.len();
            known.contexts.push(Context::default());
        }
        known.slots[number] = slot;
        let before = self.fds[number].swap(fd, Relaxed);
        drop(known);
        if before >= 0 {
            let _ = sys::close(before);
        }
    }

    /// Calls a function with the known state of a file's context.
    pub fn with<R>(&self, file: u8, f: impl FnOnce(&mut Context, Slot) -> R) -> Option<R> {
        let mut known = self.known();
        let slot = known.slots[usize::from(file % FILES)]?;
        Some(f(&mut known.contexts[slot.context], slot))
    }

    /// Returns the handle that `which` selects.
    pub fn handle(&self, file: u8, which: Which) -> u32 {
        match which {
            Which::First => uapi::RDMA_FIRST_BUFFER,
            Which::Handle(handle) => handle,
            Which::Nth(number) => {
                let others = |context: &mut Context, _| {
                    let handles = context.buffers.iter().map(|buffer| buffer.handle);
                    let others: Vec<u32> = handles.filter(|handle| *handle != uapi::RDMA_FIRST_BUFFER).collect();
                    others.get(usize::from(number) % others.len().max(1)).copied().unwrap_or(NEXT)
                };
                self.with(file, others).unwrap_or(NEXT)
            }
        }
    }

    /// Returns the descriptor that `descriptor` selects.
    pub fn descriptor(&self, descriptor: Descriptor) -> i32 {
        match descriptor {
            Descriptor::None => -1,
            Descriptor::Eventfd(number) => self.eventfds[usize::from(number) % 2],
            Descriptor::File(file) => self.fd(file),
            // A number that is not a descriptor of the fuzzer.
            Descriptor::Number(number) if (0..=1024).contains(&number) => 5000 + number,
            Descriptor::Number(number) => number,
        }
    }

    /// Returns the expected result of a request, without regard to its flags.
    pub fn judge(&self, context: &Context, slot: Slot, request: &rdma_request) -> Verdict {
        use Verdict::{Right, Unclear, Wrong};
        let inside = |offset: u64, size: u64| offset.checked_add(request.length).is_some_and(|end| end <= size);
        let exact = self.exact();
        let part = |handle: u32, offset: u64| match context.find(handle) {
            Some(buffer) if exact && inside(offset, buffer.size) => Right,
            _ if exact || !inside(offset, uapi::RDMA_MAX_BUFFER_SIZE.into()) => Wrong,
            _ => Unclear,
        };
        let device = |offset| if inside(offset, self.model.memory) { Right } else { Wrong };
        let may = |right| if right { Right } else { Wrong };
        let source = || part(request.source, request.source_offset);
        let destination = || part(request.destination, request.destination_offset);
        let verdicts = match request.operation {
            uapi::RDMA_OP_TO_DEVICE if request.destination == uapi::RDMA_NO_BUFFER => {
                [source(), device(request.destination_offset), may(slot.writes() || !exact)]
            }
            uapi::RDMA_OP_FROM_DEVICE if request.source == uapi::RDMA_NO_BUFFER => {
                [device(request.source_offset), destination(), may(slot.reads() || !exact)]
            }
            uapi::RDMA_OP_COPY => {
                let overlap = request.source == request.destination
                    && request.source_offset.abs_diff(request.destination_offset) < request.length;
                [source(), destination(), may(!overlap && (slot.writes() || !exact))]
            }
            _ => [Wrong; 3],
        };
        let read_only = exact && context.find(request.destination).is_some_and(|buffer| !buffer.writable);
        if request.length == 0 || request.reserved != [0; 2] || read_only || verdicts.contains(&Wrong) {
            Wrong
        } else if verdicts.contains(&Unclear) {
            Unclear
        } else {
            Right
        }
    }
    /// Minimum and maximum number of these requests that SUBMIT accepts, if this many are readable, and this many commands have room in
    /// the queue, at least and at most.
    pub fn acceptable(
        &self,
        context: &Context,
        slot: Slot,
        requests: &[rdma_request],
        there: usize,
        commands: (usize, usize),
    ) -> (usize, usize) {
        let exact = self.exact() && !context.ring;
        let left = |commands: usize| if exact { DEPTH.saturating_sub(context.submitted.len() + commands) } else { DEPTH };
        let (possibly, surely) = (left(commands.0), left(commands.1));
        let (mut least, mut most, mut unclear) = (0, 0, false);
        for (number, request) in requests.iter().enumerate().take(possibly.min(there)) {
            let linked = request.flags == uapi::RDMA_REQUEST_LINK;
            let verdict = self.judge(context, slot, request);
            if verdict == Verdict::Wrong || (request.flags != 0 && !linked) {
                break;
            }
            unclear |= verdict == Verdict::Unclear;
            if !linked {
                most = number + 1;
                least = if unclear || number >= surely { least } else { most };
            }
        }
        (if context.ring { 0 } else { least }, most)
    }
}
