//! Programs in files, in order.

use crate::program::Program;
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::{Path, PathBuf},
};

/// All programs of a directory or of a file.
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

/// Saves a program, with a remark, under a name that depends on its calls, and prints it, so that the host can save it permanently.
pub fn save(directory: &Path, program: &Program, remark: &str) -> std::io::Result<()> {
    let text = program.to_string();
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let name = format!("{:012x}.fuzz", hasher.finish() & 0xffff_ffff_ffff);
    let whole = format!("// {remark}\n{text}");
    // In one write, because others print, too.
    std::io::stdout().write_all(format!("=== {name}\n{whole}===\n").as_bytes())?;
    fs::create_dir_all(directory)?;
    // Under another name until it is complete, because others may read it.
    fs::write(directory.join(format!("{name}.part")), whole)?;
    fs::rename(directory.join(format!("{name}.part")), directory.join(name))
}
