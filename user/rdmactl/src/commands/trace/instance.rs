//! A tracing instance of its own, which does not interfere with other users of tracing, and is removed at the end. Source: the kernel's
//! Documentation/trace/ftrace.rst, "Instances".

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::fs::OFlags;

use crate::{cli::Trace, device, failure::Failure, interrupt::Guard};

/// The directory of the kernel's tracing.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The number of bytes that are read before the lines are printed, also while events are recorded faster than they are read.
const AT_ONCE: usize = 4 << 20;

/// Lines of events.
pub struct Lines {
    pub lines: Vec<String>,
    /// Others may have arrived.
    pub more: bool,
}

/// An instance of the kernel's tracing; removed when dropped, or by a signal.
pub struct Instance {
    path: PathBuf,
    pipe: Pipe,
    /// The part of a line that has arrived.
    rest: Vec<u8>,
    #[expect(dead_code, reason = "for its Drop")]
    removed_at_end: Guard,
}

/// Closed before the instance is removed: an instance that is being read cannot be.
type Pipe = Arc<Mutex<Option<File>>>;

impl Instance {
    /// Creates it.
    pub fn create() -> Result<Self, Failure> {
        let there = TRACEFS.iter().map(Path::new).find(|path| path.join("instances").is_dir());
        let Some(there) = there else {
            let root = if rustix::process::geteuid().is_root() { "" } else { "root, and " };
            let what = "cannot access the kernel's tracing: this needs";
            return Err(Failure::Unavailable(format!("{what} {root}`mount -t tracefs tracefs /sys/kernel/tracing`")));
        };
        if !there.join("events/rust_dma").is_dir() {
            return Err(Failure::Unavailable(
                "the driver is not loaded, so that it has no events: `rdmactl doctor` finds the reason".into(),
            ));
        }
        let pipe = Pipe::default();
        let make = || {
            let path = create_directory(&there.join("instances"))?;
            let (removed, pipe) = (path.clone(), Arc::clone(&pipe));
            Ok::<_, Failure>((path, move || remove(&removed, &pipe)))
        };
        let (path, removed_at_end) = Guard::of(make)?;
        Ok(Self { path, pipe, rest: Vec::new(), removed_at_end })
    }

    /// Enables the selected events, for the selected devices, and begins.
    pub fn start(&self, arguments: &Trace) -> Result<(), Failure> {
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let pipe = OpenOptions::new().read(true).custom_flags(nonblocking).open(self.path.join("trace_pipe"));
        *lock(&self.pipe) = Some(pipe.map_err(Failure::system("trace_pipe"))?);

        let events = self.path.join("events/rust_dma");
        let numbers: Vec<_> = device::some(&arguments.several.names())?
            .iter()
            .map(|device| format!("dev == {}", device.name.trim_start_matches("rdma")))
            .collect();
        if !numbers.is_empty() {
            self.write(&events.join("filter"), &numbers.join(" || "))?;
        }
        if arguments.event.is_empty() {
            return self.write(&events.join("enable"), "1");
        }
        for name in &arguments.event {
            let event = events.join(format!("rdma_{}", name.trim_start_matches("rdma_")));
            if !event.is_dir() {
                return Err(Failure::Usage(format!("unknown event {name}; known: {}", names(&events))));
            }
            self.write(&event.join("enable"), "1")?;
        }
        Ok(())
    }

    /// Ends it: no further events are recorded, and those that are can all be read.
    pub fn stop(&self) -> Result<(), Failure> {
        self.write(&self.path.join("tracing_on"), "0")
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Failure> {
        fs::write(path, text)
            .map_err(Failure::system(path.strip_prefix(&self.path).unwrap_or(path).display().to_string()))
    }

    /// The complete lines that have arrived, up to a number of bytes.
    pub fn lines(&mut self) -> Result<Lines, Failure> {
        let mut bytes = [0; 4096];
        while self.rest.len() < AT_ONCE {
            let Some(pipe) = &mut *lock(&self.pipe) else { break };
            match pipe.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => self.rest.extend(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::system("trace_pipe")(error)),
            }
        }
        let more = self.rest.len() >= AT_ONCE;
        let end = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
        let lines: Vec<_> = self.rest.drain(..end).collect();
        Ok(Lines { lines: String::from_utf8_lossy(&lines).lines().map(str::to_owned).collect(), more })
    }
}

/// Creates the directory of a new instance. Another container may have a process of the same number, and SIGKILL leaves an instance behind.
fn create_directory(instances: &Path) -> Result<PathBuf, Failure> {
    let name = format!("rdmactl-{}", process::id());
    let mut path = instances.join(&name);
    let mut others = 1_u32..;
    loop {
        match (fs::create_dir(&path), others.next()) {
            (Err(error), Some(other)) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = instances.join(format!("{name}-{other}"));
            }
            (Err(error), _) => return Err(Failure::system(path.display().to_string())(error)),
            (Ok(()), _) => return Ok(path),
        }
    }
}

fn lock(pipe: &Pipe) -> MutexGuard<'_, Option<File>> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove(path: &Path, pipe: &Pipe) {
    drop(lock(pipe).take());
    // It is busy for a moment after the pipe has been closed.
    for _ in 0..10 {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(Duration::from_millis(3)),
            _ => return,
        }
    }
}

/// The names of the existing events.
fn names(events: &Path) -> String {
    let entries = fs::read_dir(events).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("rdma_")?.to_owned()));
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.join(", ")
}
