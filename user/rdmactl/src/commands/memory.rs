//! `read`, `write`, `hexdump`: device memory as a file.

use std::{
    fs::File,
    io::{self, IsTerminal, Read as _, Write as _},
    path::Path,
};

use pretty_hex::{HexConfig, config_hex};
use rust_dma::Context;
use serde::Serialize;

use crate::{
    cli::{DeviceAndFile, Hexdump, Part, Read, Write},
    descriptor,
    device::{self, Device},
    failure::Failure,
    output::{Output, size},
    startup, storage,
};

#[derive(Serialize)]
struct Moved {
    device: String,
    offset: u64,
    bytes: usize,
}

impl Moved {
    fn text(&self, did: &str) -> String {
        format!("{did} {} bytes at offset {} of {}", self.bytes, self.offset, self.device)
    }
}

#[derive(Serialize)]
struct Shown {
    device: String,
    offset: u64,
    hex: String,
}

/// Reads it into a file.
pub fn read(arguments: &Read, output: &Output) -> Result<(), Failure> {
    let (device, context) = open(arguments.names.device().as_deref())?;
    let offset = arguments.part.offset;
    let to = arguments.names.file().filter(|path| !descriptor::is_stdout(path));
    if arguments.names.file().is_none() && io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "binary data is not written to a terminal: use `rdmactl hexdump`, a FILE, or - to force it".into(),
        ));
    }
    let bytes = part(&device, &context, &arguments.part)?;
    let moved = Moved { device: device.name, offset, bytes: bytes.len() };
    match to {
        None => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&bytes).and_then(|()| stdout.flush()).map_err(Failure::system("standard output"))?;
            if output.json() { output.result(&moved, String::new) } else { Ok(()) }
        }
        Some(path) => {
            let name = path.display().to_string();
            let mut file = File::create(path).map_err(Failure::system(&*name))?;
            refuse_device(&file, &name, &arguments.names, "read")?;
            file.write_all(&bytes).and_then(|()| storage::store(&file)).map_err(Failure::system(name))?;
            output.result(&moved, || moved.text("read"))
        }
    }
}

/// Writes a file to it, or nothing, if it does not fit.
pub fn write(arguments: &Write, output: &Output) -> Result<(), Failure> {
    let from = arguments.names.file().unwrap_or(Path::new("-"));
    if from == Path::new("-") {
        startup::needs_stdin()?;
    }
    let (device, context) = open(arguments.names.device().as_deref())?;
    let offset = arguments.offset;
    let room = room(&device, &context, offset)?;
    let name = from.display().to_string();
    let mut bytes = Vec::new();
    // One more than fits, to detect files that are too large.
    let read = if from == Path::new("-") {
        io::stdin().lock().take(room + 1).read_to_end(&mut bytes)
    } else {
        let file = File::open(from).map_err(Failure::system(&*name))?;
        refuse_device(&file, &name, &arguments.names, "write")?;
        file.take(room + 1).read_to_end(&mut bytes)
    };
    read.map_err(Failure::system(&*name))?;
    if bytes.len() as u64 > room {
        return Err(Failure::Usage(format!(
            "{name} is too large: there are only {} of device memory at offset {offset}",
            size(room)
        )));
    }
    let mut done = 0;
    while done < bytes.len() {
        done += context.write_device(offset + done as u64, &bytes[done..]).map_err(device.failed())?;
    }
    let moved = Moved { device: device.name, offset, bytes: bytes.len() };
    output.result(&moved, || moved.text("wrote"))
}

/// Displays it.
pub fn hexdump(arguments: &Hexdump, output: &Output) -> Result<(), Failure> {
    let (device, context) = open(arguments.one.name())?;
    let bytes = part(&device, &context, &arguments.part)?;
    let offset = arguments.part.offset;
    let hex = config_hex(
        &bytes,
        HexConfig { title: false, ascii: false, width: 0, group: 0, chunk: 0, ..HexConfig::default() },
    );
    let shown = Shown { device: device.name, offset, hex };
    let layout =
        HexConfig { title: false, display_offset: usize::try_from(offset).unwrap_or_default(), ..HexConfig::default() };
    output.result(&shown, || config_hex(&bytes, layout))
}

fn open(wanted: Option<&str>) -> Result<(Device, Context), Failure> {
    let device = device::one(wanted)?;
    let context = device.open()?;
    Ok((device, context))
}

/// Fails if no device was named, and the file is one: its memory was meant, and not that of the default device.
fn refuse_device(file: &File, name: &str, names: &DeviceAndFile, command: &str) -> Result<(), Failure> {
    match names.device() {
        Some(_) => Ok(()),
        None => device::refuse(file, name, |device| {
            format!("not a file: `rdmactl {command} {device} FILE` accesses its memory")
        }),
    }
}

/// Bytes from an offset on.
fn room(device: &Device, context: &Context, offset: u64) -> Result<u64, Failure> {
    let memory = context.info().map_err(device.failed())?.device_memory_size;
    if memory == 0 {
        return Err(Failure::Usage(format!(
            "{} has no device memory: it copies from buffer to buffer, as `rdmactl copy` does",
            device.name
        )));
    }
    memory.checked_sub(offset).ok_or_else(|| {
        Failure::Usage(format!("offset {offset} is beyond the end of the device memory, which has {}", size(memory)))
    })
}

fn part(device: &Device, context: &Context, part: &Part) -> Result<Vec<u8>, Failure> {
    let room = room(device, context, part.offset)?;
    let length = part.length.unwrap_or(room);
    if length > room {
        return Err(Failure::Usage(format!(
            "there are only {} of device memory at offset {}, not {}",
            size(room),
            part.offset,
            size(length)
        )));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    let mut done = 0;
    while done < bytes.len() {
        match context.read_device(part.offset + done as u64, &mut bytes[done..]).map_err(device.failed())? {
            0 => return Err(Failure::system("the device memory")(io::ErrorKind::UnexpectedEof.into())),
            count => done += count,
        }
    }
    Ok(bytes)
}
