//! Programs that are kept in files, in their order.

use crate::program::Program;
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::{Path, PathBuf},
};

/// All programs of a directory, or of a file.
pub fn load(path: &Path) -> Result<Vec<Program>, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut files: Vec<PathBuf> = if path.is_dir() {
        let entries = fs::read_dir(path).map_err(fail)?;
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.extension().is_some_and(|e| e == "fuzz")).collect()
    } else {
        vec![path.into()]
    };
    files.sort();
    let mut programs = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        programs.extend(Program::read(&text).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    Ok(programs)
}

/// Keeps a program, with a remark, under a name that its calls make; and prints it, for the host, where it is to be kept for good.
pub fn save(directory: &Path, program: &Program, remark: &str) -> std::io::Result<()> {
    let text = program.to_string();
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let name = format!("{:012x}.fuzz", hasher.finish() & 0xffff_ffff_ffff);
    let whole = format!("// {remark}\n{text}");
    // In one piece, as others print, too.
    std::io::stdout().write_all(format!("=== {name}\n{whole}===\n").as_bytes())?;
    fs::create_dir_all(directory)?;
    // Under another name until it is whole: others may be looking.
    fs::write(directory.join(format!("{name}.part")), whole)?;
    fs::rename(directory.join(format!("{name}.part")), directory.join(name))
}
