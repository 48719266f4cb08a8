//! The edges of the driver: the places where the compiler has inserted a call of `__sanitizer_cov_trace_pc` into rdma.ko.

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionKind, SymbolKind};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
};

/// Maximum number of edges.
pub const MOST_EDGES: usize = 1 << 15;

const TRACE: &str = "__sanitizer_cov_trace_pc";
/// Functions that report faults of the driver. KASAN's checks are edges like others, and each has one that is never taken.
const REPORTS: [&str; 4] = ["__asan_report", "__asan_handle_no_return", "__ubsan_handle", "9panicking"];
/// The module's tests, which it contains on a kernel with KUnit.
const KUNIT: &str = "5tests";
/// Bytes in which a block has called such a function, if it does nothing else.
const BLOCK: u64 = 40;

/// An edge.
pub struct Edge {
    /// Its function, by the linker's name.
    pub function: String,
    /// Whether a system call or a fault on a mapping can reach it (according to the module's own calls).
    pub callable: bool,
}

/// All edges, and their addresses in the kernel.
#[derive(Default)]
pub struct Edges {
    /// By number.
    pub all: Vec<Edge>,
    /// Number of other edges, which lead only to the report of a fault: of KASAN, UBSAN, or a panic.
    pub reports: usize,
    /// The number of each address.
    at: HashMap<u64, u32>,
}

/// A function: its section, its position, its name.
type Functions<'a> = BTreeMap<(usize, u64), &'a str>;

impl Edges {
    /// Those of a loaded module file; none if it was built without.
    pub fn read(path: &str) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        let file = object::File::parse(&*bytes).map_err(|error| format!("{path}: {error}"))?;
        let functions: Functions = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text)
            .filter_map(|symbol| Some(((symbol.section_index()?.0, symbol.address()), symbol.name().ok()?)))
            .collect();
        let callable = reachable(&file, &functions);
        let mut edges = Self::default();
        for section in file.sections() {
            let name = section.name().unwrap_or("");
            let base = address(name);
            let calls = named(&file, &section);
            for (number, (offset, called)) in calls.iter().enumerate() {
                if *called != TRACE {
                    continue;
                }
                let next = calls[number + 1..].iter().take_while(|(next, name)| *name != TRACE && next - offset < BLOCK);
                if next.into_iter().any(|(_, name)| REPORTS.iter().any(|report| name.contains(report))) {
                    edges.reports += 1;
                    continue;
                }
                let function = function_at(&functions, section.index().0, *offset).unwrap_or("?");
                if function.contains(KUNIT) {
                    continue;
                }
                if let Some(base) = base {
                    // The kernel records the return address, which is four bytes behind the call's offset.
                    edges.at.insert(base + offset + 4, edges.all.len() as u32);
                }
                edges.all.push(Edge { function: function.into(), callable: callable.contains(function) });
            }
        }
        assert!(edges.all.len() <= MOST_EDGES);
        Ok(edges)
    }

    /// The number of the edge at an address of the kernel.
    pub fn at(&self, address: u64) -> Option<u32> {
        self.at.get(&address).copied()
    }
}

/// The symbols that a section refers to, in order of position.
fn named<'a>(file: &object::File<'a>, section: &object::Section<'a, '_>) -> Vec<(u64, &'a str)> {
    let name = |target| match target {
        RelocationTarget::Symbol(symbol) => file.symbol_by_index(symbol).ok()?.name().ok(),
        _ => None,
    };
    let mut calls: Vec<(u64, &str)> =
        section.relocations().filter_map(|(offset, relocation)| Some((offset, name(relocation.target())?))).collect();
    calls.sort_unstable_by_key(|(offset, _)| *offset);
    calls
}

fn function_at<'a>(functions: &Functions<'a>, section: usize, offset: u64) -> Option<&'a str> {
    let (place, name) = functions.range(..=(section, offset)).next_back()?;
    (place.0 == section).then_some(*name)
}

/// The address of a section of the module in the kernel.
fn address(section: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/sys/module/rdma/sections/{section}")).ok()?;
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

/// Possible calls and jumps within a section, for which the assembler leaves no relocation: source and destination. Not all of
/// them are instructions, but hardly any other bytes lead to the first byte of a function.
fn near_calls(section: &object::Section) -> Vec<(usize, u64, u64)> {
    const CALL: u8 = 0xe8;
    const JUMP: u8 = 0xe9;
    let bytes = if section.kind() == SectionKind::Text { section.data().unwrap_or(&[]) } else { &[] };
    let windows = bytes.windows(5).enumerate();
    let calls = windows.filter(|(_, code)| matches!(code[0], CALL | JUMP)).map(|(offset, code)| {
        let distance = i32::from_le_bytes([code[1], code[2], code[3], code[4]]);
        (section.index().0, offset as u64, (offset as u64 + 5).wrapping_add_signed(distance.into()))
    });
    calls.collect()
}

/// Functions that are called or referred to by those in the tables of file and VMA operations.
fn reachable<'a>(file: &object::File<'a>, functions: &Functions<'a>) -> HashSet<&'a str> {
    let mut names: HashMap<&str, HashSet<&str>> = HashMap::new();
    for section in file.sections() {
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let Ok(symbol) = file.symbol_by_index(index) else { continue };
            let target = match symbol.kind() {
                SymbolKind::Section => symbol
                    .section_index()
                    .and_then(|section| function_at(functions, section.0, (relocation.addend() + 4).max(0) as u64)),
                _ => symbol.name().ok(),
            };
            if let (Some(from), Some(target)) = (function_at(functions, section.index().0, offset), target) {
                names.entry(from).or_default().insert(target);
            }
        }
    }
    for (section, from, target) in file.sections().flat_map(|section| near_calls(&section)) {
        if let (Some(from), Some(target)) = (function_at(functions, section, from), functions.get(&(section, target))) {
            names.entry(from).or_default().insert(target);
        }
    }
    let roots =
        |name: &&str| !name.contains(KUNIT) && ["chrdev10operations", "10kernel_ext3vma"].iter().any(|part| name.contains(part));
    let mut found: HashSet<&str> = functions.values().copied().filter(roots).collect();
    let mut open: Vec<&str> = found.iter().copied().collect();
    while let Some(name) = open.pop() {
        for target in names.get(name).into_iter().flatten() {
            if found.insert(target) {
                open.push(target);
            }
        }
    }
    found
}
