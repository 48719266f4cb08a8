//! `generate`: manual pages and completions, from the same source as `--help`.

use std::fs;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{
    cli::{Cli, Generate, Generated},
    failure::Failure,
};

/// Writes them to a directory.
pub fn run(arguments: &Generate) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let wrong = || Failure::system(directory.display().to_string());
    fs::create_dir_all(directory).map_err(wrong())?;
    let mut command = Cli::command();
    match arguments.what {
        Generated::Man => clap_mangen::generate_to(command, directory).map_err(wrong()),
        Generated::Completions => {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(shell, &mut command, "rdmactl", directory).map_err(wrong())?;
            }
            Ok(())
        }
    }
}
