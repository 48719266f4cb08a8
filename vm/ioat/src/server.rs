// SPDX-License-Identifier: GPL-2.0
//! The connection to QEMU, by vfio-user, and the threads: one that answers QEMU, and one for each channel.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_AUTOMASKED, VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_MASKABLE, VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_ACTION_UNMASK, VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_INTX_IRQ_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};

use crate::{
    channel::Next, config, device::Device, guest_memory::GuestMemory, interrupts::Wire, options::Options,
    registers::BAR_SIZE, registers::CHANNEL_SIZE,
};

/// The device, for all threads.
struct Shared {
    device: Mutex<Device<GuestMemory>>,
    /// For each channel: something was written that may concern it.
    changed: Vec<Condvar>,
    /// How many threads wait for the device.
    waiting: AtomicUsize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Device<GuestMemory>> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        device
    }

    fn notify_all(&self) {
        self.changed.iter().for_each(Condvar::notify_one);
    }

    /// Execute a channel's descriptors, one by one. The lock is not fair: a thread that waits for it gets it in between.
    fn work(&self, channel: usize) {
        let mut device = self.lock();
        loop {
            let now = Instant::now();
            device = match device.advance(channel, now) {
                Next::At(when) if when <= now && self.waiting.load(Ordering::SeqCst) == 0 => device,
                Next::At(when) if when <= now => {
                    drop(device);
                    thread::yield_now();
                    self.lock()
                }
                Next::At(when) => {
                    self.changed[channel].wait_timeout(device, when - now).unwrap_or_else(PoisonError::into_inner).0
                }
                Next::Register => self.changed[channel].wait(device).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// What QEMU asks for.
struct Backend(Arc<Shared>);

impl ServerBackend for Backend {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => self.0.lock().read(offset, data),
            VFIO_PCI_CONFIG_REGION_INDEX => self.0.lock().read_config(offset, data),
            _ => data.fill(0xff),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => {
                self.0.lock().write(offset, data, Instant::now());
                if let Some(changed) =
                    (offset / CHANNEL_SIZE).checked_sub(1).and_then(|channel| self.0.changed.get(channel))
                {
                    changed.notify_one();
                }
            }
            VFIO_PCI_CONFIG_REGION_INDEX => {
                self.0.lock().write_config(offset, data);
                self.0.notify_all();
            }
            _ => {}
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        file: Option<File>,
    ) -> io::Result<()> {
        // What has no file is not memory, but registers of other devices.
        let Some(file) = file else { return Ok(()) };
        let (readable, writable) = (flags.contains(DmaMapFlags::READ), flags.contains(DmaMapFlags::WRITE));
        self.0.lock().memory.map(address, size, &file, offset, readable, writable)
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        if flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            self.0.lock().memory.unmap(0, u64::MAX);
        } else {
            self.0.lock().memory.unmap(address, size);
        }
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.0.lock().reset();
        self.0.notify_all();
        Ok(())
    }

    /// As `VFIO_DEVICE_SET_IRQS` of Linux, include/uapi/linux/vfio.h.
    fn set_irqs(&mut self, index: u32, flags: u32, start: u32, count: u32, files: Vec<File>) -> io::Result<()> {
        let mut device = self.0.lock();
        let mut wires = files.into_iter().map(|file| Box::new(file) as Wire);
        match index {
            VFIO_PCI_MSIX_IRQ_INDEX if flags & VFIO_IRQ_SET_ACTION_TRIGGER != 0 && count == 0 => {
                device.interrupts.clear_vectors();
            }
            VFIO_PCI_MSIX_IRQ_INDEX if flags & VFIO_IRQ_SET_ACTION_TRIGGER != 0 => {
                let last = start.saturating_add(count).min(u32::try_from(device.channels()).map_err(io::Error::other)?);
                for vector in start..last {
                    device.interrupts.set_vector(vector as usize, wires.next());
                }
            }
            VFIO_PCI_INTX_IRQ_INDEX if flags & VFIO_IRQ_SET_ACTION_TRIGGER != 0 => {
                device.interrupts.set_line(wires.next());
            }
            VFIO_PCI_INTX_IRQ_INDEX if flags & VFIO_IRQ_SET_ACTION_UNMASK != 0 => device.interrupts.refresh_line(),
            _ => {}
        }
        Ok(())
    }
}

fn region(index: u32) -> ServerRegion {
    let size = match index {
        VFIO_PCI_BAR0_REGION_INDEX => BAR_SIZE as u64,
        VFIO_PCI_CONFIG_REGION_INDEX => config::SIZE as u64,
        _ => 0,
    };
    let flags = if size > 0 { VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE } else { 0 };
    let argsz = u32::try_from(size_of::<vfio_region_info>()).expect("a few bytes");
    ServerRegion {
        region_info: vfio_region_info { argsz, index, size, flags, ..Default::default() },
        sparse_areas: vec![],
        mmap_fd: None,
    }
}

fn interrupt(index: u32, vectors: u32) -> IrqInfo {
    let line = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
    match index {
        VFIO_PCI_INTX_IRQ_INDEX => IrqInfo { index, count: 1, flags: line },
        VFIO_PCI_MSIX_IRQ_INDEX => IrqInfo { index, count: vectors, flags: VFIO_IRQ_INFO_EVENTFD },
        _ => IrqInfo { index, count: 0, flags: 0 },
    }
}

/// Be such a device for QEMU, at this socket: one connection after the other, as the device is unplugged and plugged in again.
///
/// # Errors
///
/// If the socket cannot be created.
pub fn serve(socket: &Path, options: &Options) -> Result<(), vfio_user::Error> {
    let shared = Arc::new(Shared {
        device: Mutex::new(Device::new(options, GuestMemory::default())),
        changed: (0..options.channels).map(|_| Condvar::new()).collect(),
        waiting: AtomicUsize::new(0),
    });
    // Descriptors end at the time that they should, and not up to 50 us later. The threads inherit it; without it, only latencies differ.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    for channel in 0..options.channels {
        let shared = shared.clone();
        thread::spawn(move || shared.work(channel));
    }
    let vectors = if options.msix { u32::try_from(options.channels).expect("at most 8") } else { 0 };
    let interrupts = (0..VFIO_PCI_NUM_IRQS).map(|index| interrupt(index, vectors)).collect();
    let server = Server::new(socket, true, interrupts, (0..VFIO_PCI_NUM_REGIONS).map(region).collect())?;
    let mut backend = Backend(shared);
    loop {
        if let Err(error) = server.run(&mut backend) {
            eprintln!("ioat: QEMU's connection: {error}");
        }
        let mut device = backend.0.lock();
        device.reset();
        device.interrupts.disconnect();
        device.memory.clear();
    }
}
