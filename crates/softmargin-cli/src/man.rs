//! `softmargin man`: generated from the definitions of `--help`.

use crate::answer::json;
use crate::args::{Arguments, Common, ManOptions};
use clap::{Command, CommandFactory};
use serde::Serialize;
use softmargin_lab::Error;
use softmargin_lab::data::wording::{counted, printable};
use std::path::{Path, PathBuf};

/// A page in the JSON output.
#[derive(Serialize)]
struct Page {
    name: String,
    text: String,
}

/// The JSON output after writing pages.
#[derive(Serialize)]
struct Written {
    files: Vec<PathBuf>,
}

pub(crate) fn run(options: &ManOptions, common: &Common) -> Result<String, Error> {
    let mut command = Arguments::command();
    command.build();
    match &options.out {
        Some(folder) => {
            let files = write_all(&command, folder)?;
            if common.json {
                return json(&Written { files });
            }
            Ok(format!("{} in {}", counted(files.len(), "page"), printable(&folder.display().to_string())))
        }
        None => {
            let page = page(&command)?;
            if common.json { json(&page) } else { Ok(page.text) }
        }
    }
}

/// Writes the page of the command and those of the subcommands.
fn write_all(command: &Command, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    if !folder.is_dir() {
        let advice = "make the directory first";
        return Err(Error::request("--out", "an existing directory", folder.display(), advice));
    }
    let subcommands = command.get_subcommands().filter(|command| command.get_name() != "help");
    std::iter::once(command)
        .chain(subcommands)
        .map(|command| {
            let page = page(command)?;
            let path = folder.join(page.name);
            softmargin_lab::run::atomic_write::replace_file(&path, page.text.as_bytes())?;
            Ok(path)
        })
        .collect()
}

fn page(command: &Command) -> Result<Page, Error> {
    // The page of a subcommand is named COMMAND-SUBCOMMAND.
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = clap_mangen::Man::new(command.clone()).title(name.to_uppercase());
    let mut text = Vec::new();
    man.render(&mut text).map_err(|cause| Error::failure("man page", "a page that can be written", cause, ""))?;
    Ok(Page { name: format!("{name}.1"), text: String::from_utf8_lossy(&text).into_owned() })
}
