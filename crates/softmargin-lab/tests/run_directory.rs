//! Run directories: written whole or not at all, read back as they were, and refused when they are not what they were.

use softmargin::presets;
use softmargin_lab::config::{Config, Request};
use softmargin_lab::data::{DataSource, Dataset, Sizing};
use softmargin_lab::run_dir::{Checkpoint, Destination, Run};
use std::fs;
use tempfile::TempDir;

fn run(loss: &str) -> Run {
    let data = Dataset::load(&DataSource::Digits, &Sizing::Automatic).unwrap();
    let request = Request { loss: loss.into(), ..Request::new(DataSource::Digits) };
    let config = Config::resolve(&request, &data).unwrap();
    let checkpoint = Checkpoint { epochs: 2, steps: 10, loss_state: None };
    Run { config, classes: data.classes, model: vec![1, 2, 3], checkpoint }
}

#[test]
fn every_configuration_comes_back_as_it_was() {
    let home = TempDir::new().unwrap();
    for preset in presets::all() {
        let run = run(preset.name);
        let destination = Destination::new(&home.path().join(preset.name)).unwrap();
        destination.write(&run, &["{}".into()], "page").unwrap();
        assert_eq!(Run::read(destination.path()).unwrap(), run);
    }
}

#[test]
fn a_path_is_taken_once() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("run");
    let (first, second) = (Destination::new(&path).unwrap(), Destination::new(&path).unwrap());
    first.write(&run("arcface"), &[], "first").unwrap();
    assert_eq!(Destination::new(&path).unwrap_err().exit_code(), 2);
    let error = second.write(&run("arcface"), &[], "second").unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert_eq!(fs::read_to_string(path.join("report.html")).unwrap(), "first");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "a half-written directory is left");
}

#[test]
fn a_parent_that_is_missing_or_a_file_is_refused_before_any_work() {
    let home = TempDir::new().unwrap();
    assert_eq!(Destination::new(&home.path().join("no/run")).unwrap_err().exit_code(), 2);
    fs::write(home.path().join("file"), "").unwrap();
    assert!(Destination::new(&home.path().join("file/run")).is_err());
    assert!(Destination::new("..".as_ref()).is_err());
}

#[test]
fn what_is_no_run_or_was_changed_is_refused() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("run");
    assert_eq!(Run::read(&path).unwrap_err().exit_code(), 2);
    assert_eq!(Run::read(home.path()).unwrap_err().exit_code(), 2);
    Destination::new(&path).unwrap().write(&run("sphereface"), &[], "").unwrap();
    let config = fs::read_to_string(path.join("config.toml")).unwrap();
    for (from, to, named) in [
        ("format = 1", "format = 2", "format 2"),
        ("format = 1", "fomat = 1", "format"),
        ("classes = 10", "classes = 9", "classes.json"),
        ("batch-size", "batch-sise", "batch-sise"),
    ] {
        fs::write(path.join("config.toml"), config.replacen(from, to, 1)).unwrap();
        let error = Run::read(&path).unwrap_err();
        assert!(error.exit_code() == 1 && error.to_string().contains(named), "{error}");
    }
    fs::write(path.join("config.toml"), config).unwrap();
    fs::remove_file(path.join("model.safetensors")).unwrap();
    let error = Run::read(&path).unwrap_err();
    assert!(error.exit_code() == 1 && error.to_string().contains("model.safetensors"), "{error}");
}
