//! The edges of the driver: where the compiler has put a call of `__sanitizer_cov_trace_pc` into rdma.ko.

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionKind, SymbolKind};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
};

/// Edges that there is room for.
pub const MOST_EDGES: usize = 1 << 15;

/// An edge.
pub struct Edge {
    /// The function it is in, as the linker calls it.
    pub function: String,
    /// Whether a system call, or a fault on a mapping, can come there (as far as the module's own calls tell).
    pub callable: bool,
}

/// All edges, and where they are in the kernel.
#[derive(Default)]
pub struct Edges {
    /// By number.
    pub all: Vec<Edge>,
    /// The number of each address.
    at: HashMap<u64, u32>,
}

/// A function: its section, where it begins, its name.
type Functions<'a> = BTreeMap<(usize, u64), &'a str>;

impl Edges {
    /// Those of a module file that is loaded; none if it was built without.
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
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
                let called = file.symbol_by_index(symbol).ok().and_then(|symbol| symbol.name().ok());
                if called != Some("__sanitizer_cov_trace_pc") {
                    continue;
                }
                let function = function_at(&functions, section.index().0, offset).unwrap_or("?");
                if let Some(base) = base {
                    // What the kernel records is the return address, behind the call's four bytes of distance.
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

fn function_at<'a>(functions: &Functions<'a>, section: usize, offset: u64) -> Option<&'a str> {
    let (place, name) = functions.range(..=(section, offset)).next_back()?;
    (place.0 == section).then_some(*name)
}

/// Where a section of the module is in the kernel.
fn address(section: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/sys/module/rdma/sections/{section}")).ok()?;
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

/// What could be calls and jumps within a section, which the assembler leaves no relocation of: from where to where. Not all of
/// them are, but of what is no instruction hardly any leads to the very beginning of a function.
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

/// The functions that are called, or named, by those of the tables which the kernel calls for a file and its mappings.
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
    let roots = |name: &&str| ["chrdev10operations", "10kernel_ext3vma"].iter().any(|part| name.contains(part));
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
