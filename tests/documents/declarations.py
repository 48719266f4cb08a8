"""Declarations of C functions in Rust, and whether they agree with the definitions in C. The compiler cannot compare them. A part of safety.py."""

import re
from pathlib import Path

# What both languages call a type: its kind and bits. Pointers are compared by what they may do with the target, and not by its type, which the
# kernel's bindings often do not have.
RUST = {"bool": "bool", "u32": "u32", "c_uint": "u32", "i32": "s32", "c_int": "s32", "u64": "u64", "i64": "s64", "usize": "u64", "c_ulong": "u64", "": "void"}
RUST |= {"bindings::vm_flags_t": "u64", "bindings::vm_fault_t": "u32", "End": "function"}
C = {"bool": "bool", "u32": "u32", "unsigned int": "u32", "int": "s32", "s32": "s32", "u64": "u64", "s64": "s64", "unsigned long": "u64", "size_t": "u64", "void": "void"}
C |= {"vm_flags_t": "u64", "vm_fault_t": "u32", "rdma_uring_end_t": "function"}

Signature = tuple[str, ...]  # the type that is returned, and those of the arguments


def rust_type(text: str) -> str:
    """The type in Rust: `*const T` is const, `*mut T` is not."""
    text = " ".join(text.split())
    if text.startswith("*"):
        return "const pointer" if text.startswith("*const") else "pointer"
    return RUST[text]


def c_type(text: str, *, named: bool) -> str:
    """The type in C, of a function or of an argument, which may have a name."""
    text = " ".join(text.replace("__user", "").split())
    if "*" in text:
        return "const pointer" if text.startswith("const ") else "pointer"
    return C[text.rpartition(" ")[0] if named and text not in C else text]


def arguments(text: str) -> list[str]:
    """Arguments, separated by commas that are not inside a type."""
    return [part for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def in_rust(text: str) -> dict[str, Signature]:
    """The functions that a file in Rust declares."""
    found = {}
    code = re.sub(r"//.*", "", text)
    for block in re.findall(r'extern "C" \{\n(.*?)\n\}', code, re.DOTALL):
        for name, taken, returned in re.findall(r"fn (rdma_\w+)\((.*?)\)(?: -> ([^;]+))?;", block, re.DOTALL):
            found[name] = (rust_type(returned), *(rust_type(part.partition(":")[2]) for part in arguments(taken)))
    return found


def in_c(text: str) -> dict[str, Signature]:
    """The functions that a file in C defines for Rust. They have no prototypes: only Rust calls them."""
    found = {}
    for returned, name, taken in re.findall(r"^(?!static )([\w ]+?[ *]+)(rdma_\w+)\(([^{;]*?)\)\n\{", text, re.MULTILINE | re.DOTALL):
        named = [] if taken.strip() == "void" else arguments(taken)
        found[name] = (c_type(returned, named=False), *(c_type(part, named=True) for part in named))
    return found


def wrong(sources: Path) -> list[str]:
    """Functions whose declarations in Rust differ from their definitions in C, or that only one language has."""
    rust = {name: signature for path in sorted(sources.glob("**/*.rs")) for name, signature in in_rust(path.read_text()).items()}
    c = {name: signature for path in sorted(sources.glob("**/*.c")) for name, signature in in_c(path.read_text()).items()}
    return [f"{name}: {rust.get(name)} in Rust, {c.get(name)} in C" for name in sorted(rust | c) if rust.get(name) != c.get(name)]
