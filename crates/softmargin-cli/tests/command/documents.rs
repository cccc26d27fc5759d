//! `softmargin completions` and `softmargin man`, and help.

use crate::helpers::{json, names, rejected, softmargin, text};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

const SUBCOMMANDS: [&str; 7] = ["train", "evaluate", "predict", "embed", "losses", "completions", "man"];

#[test]
fn completions_know_every_subcommand_and_shell() {
    let home = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&softmargin(&["completions", shell], home.path()).stdout);
        assert!(SUBCOMMANDS.iter().all(|name| script.contains(name)), "{shell}: {script}");
        assert!(script.contains("unknown-below"), "{shell}");
    }
    let result = json(&softmargin(&["completions", "bash", "--json"], home.path()));
    assert_eq!(result["shell"], "bash");
    fs::write(home.path().join("script"), result["script"].as_str().unwrap()).unwrap();
    if let Ok(bash) = Command::new("bash").arg("-n").arg(home.path().join("script")).output() {
        assert!(bash.status.success(), "{}", text(&bash.stderr));
    }
    rejected(&["completions", "cobra"], home.path(), 2);
}

#[test]
fn the_man_page_has_the_flags_and_every_subcommand_has_one() {
    let home = TempDir::new().unwrap();
    let page = text(&softmargin(&["man"], home.path()).stdout);
    assert!(page.contains(".TH") && page.contains("predict"), "{page}");
    fs::create_dir(home.path().join("man1")).unwrap();
    let written = json(&softmargin(&["man", "--out", "man1", "--json"], home.path()));
    assert_eq!(written["files"].as_array().unwrap().len(), SUBCOMMANDS.len() + 1);
    let pages = names(&home.path().join("man1"));
    for name in SUBCOMMANDS {
        assert!(pages.contains(&format!("softmargin-{name}.1")), "{name} is not in {pages:?}");
    }
    let page = fs::read_to_string(home.path().join("man1/softmargin-predict.1")).unwrap();
    assert!(page.contains("unknown") && page.contains("standard input"), "{page}");
    rejected(&["man", "--out", "absent"], home.path(), 2);
}

#[test]
fn every_subcommand_has_an_example_and_the_flags_of_all() {
    let home = TempDir::new().unwrap();
    for name in SUBCOMMANDS {
        let help = text(&softmargin(&[name, "--help"], home.path()).stdout);
        assert!(help.contains(&format!("  softmargin {name}")), "{name} has no example:\n{help}");
        for flag in ["--device", "--threads", "--quiet", "--json"] {
            assert!(help.contains(flag), "{name} lacks {flag}:\n{help}");
        }
    }
}
