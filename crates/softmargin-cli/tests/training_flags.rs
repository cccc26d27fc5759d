//! `softmargin train` as a user runs it: a file and flags above it, and what an interrupt does.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its tests do")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn command(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softmargin"));
    command.args(arguments).current_dir(directory);
    command
}

fn softmargin(arguments: &[&str], directory: &Path) -> Output {
    command(arguments, directory).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn flags_win_over_a_file_and_a_run_makes_itself_again() {
    let home = TempDir::new().unwrap();
    fs::write(
        home.path().join("asked.toml"),
        "[training]\nepochs = 5\nseed = 3\noptimizer = { kind = 'adamw' }\n[loss]\nname = 'arcface'\nscale = 12",
    )
    .unwrap();
    let arguments = ["train", "--config", "asked.toml", "--epochs", "2", "--margin", "0.1", "--out", "run", "--json"];
    let output = softmargin(&arguments, home.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["epochs"], &result["loss"]), (&2.into(), &"arcface".into()));
    assert_eq!(result["stopped"], "finished");
    assert!(result["validation_accuracy"].as_f64().is_some() && result["test_loss"].as_f64().is_some());
    let config = fs::read_to_string(home.path().join("run/config.toml")).unwrap();
    for part in ["epochs = 2", "seed = 3", "kind = \"adamw\"", "value = 12.0", "one = 0.1"] {
        assert!(config.contains(part), "{part}:\n{config}");
    }
    let output = softmargin(&["train", "--config", "run/config.toml", "--out", "again"], home.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let model = |run: &str| fs::read(home.path().join(run).join("model.safetensors")).unwrap();
    assert!(model("run") == model("again"), "the configuration of a run makes another model");
}

#[test]
fn a_file_that_cannot_be_taken_is_rejected_and_leaves_nothing() {
    let home = TempDir::new().unwrap();
    for (content, named) in [
        ("[training]\nepoch = 3", "did you mean training.epochs?"),
        ("epochs: 3", "line 1"),
        ("[training]\nepochs = 0", "--epochs"),
        ("[data]\nclasses = 3", "data.classes"),
        ("format = 2", "format 3"),
        ("[training.optimiser]\nkind = 'sgd'", "use training.optimizer"),
    ] {
        fs::write(home.path().join("asked.toml"), content).unwrap();
        let output = softmargin(&["train", "--config", "asked.toml"], home.path());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{content}: {message}");
        assert!(message.contains(named), "{content}: {message}");
        assert_eq!(names(home.path()), ["asked.toml"]);
    }
    let output = softmargin(&["train", "--config", "absent.toml"], home.path());
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("absent.toml"));
}

/// Trains images of this side for long, and interrupts after each of these milliseconds once the first epoch goes on.
#[cfg(unix)]
fn interrupted(home: &Path, side: &str, pauses: &[u64]) -> (Option<i32>, Vec<u8>, String) {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;
    let level = ["--schedule", "constant", "--warm-up", "0"];
    let mut train = command(&["train", "--image-size", side, "--epochs", "5000", "--out", "run", "--json"], home);
    train.args(level);
    let mut train = train.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(train.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("epoch 1/") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
    }
    for pause in pauses {
        std::thread::sleep(std::time::Duration::from_millis(*pause));
        assert!(Command::new("kill").args(["-INT", &train.id().to_string()]).status().unwrap().success());
    }
    lines.read_to_string(&mut said).unwrap();
    let mut result = Vec::new();
    train.stdout.take().unwrap().read_to_end(&mut result).unwrap();
    (train.wait().unwrap().code(), result, said)
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_training_with_the_best_model() {
    let home = TempDir::new().unwrap();
    let (code, result, said) = interrupted(home.path(), "8", &[0, 1]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("interrupted: the best model so far"), "{said}");
    let result: serde_json::Value = serde_json::from_slice(&result).unwrap();
    assert_eq!(result["stopped"], "interrupted");
    assert!(result["test_accuracy"].as_f64().unwrap() > 0.3);
    assert_eq!(names(home.path()), ["run"]);
    assert!(home.path().join("run/report.html").exists());
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_ends_at_once() {
    let home = TempDir::new().unwrap();
    // Images so large that the test of the model takes longer than a signal that is told apart from the first.
    let (code, result, said) = interrupted(home.path(), "256", &[0, 260]);
    assert_eq!(code, Some(130), "{said}");
    assert!(result.is_empty());
    assert!(names(home.path()).iter().all(|name| name.starts_with(".run.partial-")), "{:?}", names(home.path()));
}
