//! Run directories: written atomically, read back as they were, and rejected if they were changed.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its tests do")]

use softmargin::presets;
use softmargin_lab::config::{Config, ConfigRequest};
use softmargin_lab::data::{DataSource, Dataset, LoadOptions};
use softmargin_lab::run::{Checkpoint, Destination, Run, Stopped};
use std::fs;
use tempfile::TempDir;

fn run(loss: &str) -> Run {
    let data = Dataset::load(&DataSource::Digits, &LoadOptions::default()).unwrap();
    let mut request = ConfigRequest::new(DataSource::Digits);
    request.loss.name = Some(loss.into());
    let config = Config::resolve(&request, &data).unwrap();
    let checkpoint =
        Checkpoint { epochs: 2, steps: 10, best_epoch: 1, stopped: Some(Stopped::Early), ..Checkpoint::default() };
    // Not a model, but as long as one.
    Run { config, classes: data.classes, model: vec![7; 1 << 20], checkpoint }
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
    let finished = second.write(&run("arcface"), &[], "second").unwrap();
    assert_eq!((finished.path, finished.faults.len()), (home.path().join("run-2"), 1));
    assert_eq!(fs::read_to_string(path.join("report.html")).unwrap(), "first");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "a half-written directory is left");
}

#[test]
fn a_number_that_is_taken_meanwhile_gives_way_to_the_next() {
    let home = TempDir::new().unwrap();
    let prefix = home.path().join("run");
    let next = || Destination::next(prefix.to_str().unwrap()).unwrap();
    let (first, second, third) = (next(), next(), next());
    assert_eq!(first.path(), second.path());
    let run = run("arcface");
    let paths = [first, second, third].map(|one| one.write(&run, &[], "").unwrap().path);
    assert_eq!(paths, ["run-1", "run-2", "run-3"].map(|name| home.path().join(name)));
    assert!(paths.iter().all(|path| Run::read(path).unwrap() == run));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3, "a half-written directory is left");
}

#[test]
fn a_draft_can_be_used_before_the_end_and_is_gone_when_it_is_dropped() {
    let home = TempDir::new().unwrap();
    let run = run("arcface");
    let draft = Destination::new(&home.path().join("run")).unwrap().begin(&run.config, &run.classes).unwrap();
    assert_eq!(Run::read(draft.path()).unwrap_err().exit_code(), 1, "there is no model yet");
    draft.save(Some(&run.model), &run.model, &run.checkpoint, &["{}".into()]).unwrap();
    assert_eq!(Run::read(draft.path()).unwrap(), run);
    // An epoch that brought nothing better leaves the model.
    let later = Checkpoint { epochs: 3, ..run.checkpoint.clone() };
    draft.save(None, &[1], &later, &["{}".into(), "{}".into()]).unwrap();
    let read = Run::read(draft.path()).unwrap();
    assert_eq!((read.model == run.model, read.checkpoint), (true, later));
    drop(draft);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_parent_that_is_missing_or_a_file_is_rejected_before_any_work() {
    let home = TempDir::new().unwrap();
    assert_eq!(Destination::new(&home.path().join("no/run")).unwrap_err().exit_code(), 2);
    fs::write(home.path().join("file"), "").unwrap();
    assert!(Destination::new(&home.path().join("file/run")).is_err());
    assert!(Destination::new("..".as_ref()).is_err());
}

#[test]
fn a_directory_that_is_not_a_run_or_was_changed_is_rejected() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("run");
    assert_eq!(Run::read(&path).unwrap_err().exit_code(), 2);
    assert_eq!(Run::read(home.path()).unwrap_err().exit_code(), 2);
    Destination::new(&path).unwrap().write(&run("sphereface"), &[], "").unwrap();
    let config = fs::read_to_string(path.join("config.toml")).unwrap();
    for (from, to, named) in [
        ("format = 3", "format = 4", "format 4"),
        ("format = 3", "fomat = 3", "format"),
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

#[test]
fn a_run_of_the_old_format_says_what_to_do_and_old_names_what_they_are_now() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("run");
    Destination::new(&path).unwrap().write(&run("am-softmax"), &[], "").unwrap();
    let config = fs::read_to_string(path.join("config.toml")).unwrap();
    let message = changed(&path, &config, "format = 3", "format = 2");
    assert!(message.contains("expected format 3, found format 2; train again; or set format = 3"), "{message}");
    for (from, to, found, new) in [
        ("[normalization]", "[normalisation]", "normalisation", "normalization"),
        ("std = ", "deviation = ", "normalization.deviation", "normalization.std"),
        ("[training.optimizer]", "[training.optimiser]", "training.optimiser", "training.optimizer"),
        ("[loss.spec.negatives]", "[loss.spec.rivals]", "loss.spec.rivals", "loss.spec.negatives"),
        ("[loss.spec.margin.value]", "[loss.spec.margin.amount]", "loss.spec.margin.amount", "loss.spec.margin.value"),
    ] {
        let message = changed(&path, &config, from, to);
        assert!(message.ends_with(&format!("found {found}; use {new}")), "{to}: {message}");
    }
}

/// Changes `config.toml` and returns the message about it.
#[track_caller]
fn changed(path: &std::path::Path, config: &str, from: &str, to: &str) -> String {
    let text = config.replacen(from, to, 1);
    assert_ne!(text, config, "{from} is not in the file:\n{config}");
    fs::write(path.join("config.toml"), text).unwrap();
    let error = Run::read(path).expect_err(to);
    assert_eq!(error.exit_code(), 1, "{error}");
    error.to_string()
}

#[test]
fn a_configuration_that_was_changed_is_rejected_by_its_name() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("run");
    Destination::new(&path).unwrap().write(&run("am-softmax"), &[], "").unwrap();
    let config = fs::read_to_string(path.join("config.toml")).unwrap();
    for (from, to) in [
        ("stride = 1", "stride = 0"),
        ("stride = 1", "stride = 3"),
        ("stride = 1", "stride = -1"),
        ("channels = 16", "channels = 0"),
        ("channels = 16", "channels = 5000"),
        ("channels = 16", "channels = 9223372036854775807"),
        ("skip = false", "skip = true"),
        ("embedding = 128", "embedding = 0"),
        ("embedding = 128", "embedding = 9000000000"),
        ("height = 8", "height = 1024"),
        ("height = 8", "height = 0"),
        ("width = 8", "width = 7"),
        ("std = ", "std = 0"),
        ("std = ", "std = -"),
        ("std = ", "std = nan #"),
        ("mean = ", "mean = inf #"),
        ("value = ", "value = -"),
        ("value = ", "value = nan #"),
        ("one = ", "one = 1"),
        ("kind = \"cosine\"", "kind = \"cosines\""),
        ("batch-size = ", "batch-size = 0 #"),
        ("epochs = ", "epochs = 0 #"),
        ("learning-rate = ", "learning-rate = -"),
        ("momentum = ", "momentum = 1"),
        ("warm-up = ", "warm-up = nan #"),
        ("rotation = ", "rotation = inf #"),
        ("kind = \"images\"", "kind = \"embeddings\""),
        ("kind = \"convolutional\"", "kind = \"projection\""),
        ("kind = \"sgd\"", "kind = \"adamw\""),
        ("seed = 0", "seed = -1"),
        ("schedule = ", "schedule = \"sine\" #"),
    ] {
        let message = changed(&path, &config, from, to);
        assert!(message.contains("config.toml"), "{to}: {message}");
    }
}

#[test]
fn a_configuration_cannot_ask_for_more_than_the_model_has() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("run");
    Destination::new(&path).unwrap().write(&run("am-softmax"), &[], "").unwrap();
    let config = fs::read_to_string(path.join("config.toml")).unwrap();
    for (from, to) in [("channels = 32", "channels = 4096"), ("embedding = 128", "embedding = 65536")] {
        let message = changed(&path, &config, from, to);
        assert!(message.contains("model.safetensors") && message.contains("config.toml"), "{message}");
    }
    let many_layers = "[[network.convolutions]]\nchannels = 16\nstride = 1\npool = false\nskip = false\n".repeat(70);
    let message =
        changed(&path, &config, "[[network.convolutions]]", &format!("{many_layers}\n[[network.convolutions]]"));
    assert!(message.contains("convolutions"), "{message}");
    let pooled = many_layers.replace("pool = false", "pool = true").replacen("16", "1", 1);
    let message = changed(&path, &config, "[[network.convolutions]]", &format!("{pooled}\n[[network.convolutions]]"));
    assert!(message.contains("config.toml"), "{message}");
    // Both agree on another size: then the layers make more values of an image than any memory should hold.
    let large = config.replace("= 8\n", "= 1024\n").replace("[1, 8, 8]", "[1, 1024, 1024]");
    let message = changed(&path, &large, "channels = 16", "channels = 4096");
    assert!(message.contains("values of a layer"), "{message}");
}
