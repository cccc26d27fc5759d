//! `softmargin completions`: generated from the definitions of `--help`.

use crate::answer::json;
use crate::args::{Arguments, Common, CompletionsOptions};
use clap::CommandFactory;
use serde::Serialize;
use softmargin_lab::Error;

/// The output of `--json`.
#[derive(Serialize)]
struct Output {
    shell: String,
    script: String,
}

pub(crate) fn run(options: &CompletionsOptions, common: &Common) -> Result<String, Error> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "softmargin", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    if common.json {
        return json(&Output { shell: options.shell.to_string(), script });
    }
    Ok(script)
}
