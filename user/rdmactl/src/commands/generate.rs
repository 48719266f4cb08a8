//! `generate`: manual pages and completions, from the same source as `--help`.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::{
    cli::{Generate, Generated},
    failure::Failure,
    help,
};

/// A file: its name and its content.
type Named = (String, Vec<u8>);

/// Writes them to a directory, or to standard output.
pub fn run(arguments: &Generate) -> Result<(), Failure> {
    let to_stdout = arguments.to == Path::new("-");
    let files = match arguments.what {
        Generated::Man => manual(),
        Generated::Completions if to_stdout => {
            let what = "the completions are one file for each shell: use `rdmactl generate bash`, zsh or fish, or name a directory";
            return Err(Failure::Usage(what.into()));
        }
        Generated::Completions => [Shell::Bash, Shell::Zsh, Shell::Fish].map(completions).into(),
        Generated::Bash => vec![completions(Shell::Bash)],
        Generated::Zsh => vec![completions(Shell::Zsh)],
        Generated::Fish => vec![completions(Shell::Fish)],
    };
    if to_stdout {
        let mut stdout = io::stdout().lock();
        let written = files.iter().try_for_each(|(_, text)| stdout.write_all(text)).and_then(|()| stdout.flush());
        return written.map_err(Failure::system("standard output"));
    }
    let wrong = |path: &Path| Failure::system(path.display().to_string());
    fs::create_dir_all(&arguments.to).map_err(wrong(&arguments.to))?;
    for (name, text) in files {
        let path = arguments.to.join(name);
        fs::write(&path, text).map_err(wrong(&path))?;
    }
    Ok(())
}

fn completions(shell: Shell) -> Named {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut help::command(), "rdmactl", &mut text);
    let name = match shell {
        Shell::Zsh => "_rdmactl".to_owned(),
        other => format!("rdmactl.{other}"),
    };
    (name, text)
}

/// That of the tool first.
fn manual() -> Vec<Named> {
    let mut tool = help::command().disable_help_subcommand(true);
    tool.build();
    let commands = tool.get_subcommands().filter(|command| !command.is_hide_set());
    let pages = commands.map(|command| page(command.clone(), help::page(command.get_name())));
    let mut all: Vec<_> = pages.collect();
    all.insert(0, page(tool, help::page("")));
    all
}

fn page(command: clap::Command, page: Option<&help::Page>) -> Named {
    let is_tool = command.has_subcommands();
    let man = Man::new(command);
    let mut text = Vec::new();
    let mut render = || {
        man.render_title(&mut text)?;
        man.render_name_section(&mut text)?;
        man.render_synopsis_section(&mut text)?;
        man.render_description_section(&mut text)?;
        man.render_options_section(&mut text)?;
        if is_tool {
            man.render_subcommands_section(&mut text)?;
        }
        if let Some(page) = page {
            sections(page, is_tool).to_writer(&mut text)?;
        }
        Ok::<_, io::Error>(())
    };
    render().expect("writing to memory does not fail");
    (man.get_filename(), text)
}

fn sections(page: &help::Page, is_tool: bool) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, what) in page.codes {
        roff.control("TP", []).text([bold(*code)]).text([roman(*what)]);
    }
    roff.control("SH", ["EXAMPLES"]);
    for (line, what) in page.examples {
        roff.control("TP", []).text([bold(*line)]).text([roman(*what)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    let tool = if is_tool { vec![] } else { vec![bold("rdmactl"), roman("(1), ")] };
    roff.text([tool, vec![bold("rdma"), roman("(4)")]].concat());
    roff
}
