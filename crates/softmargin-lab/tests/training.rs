//! Training as a whole: which model is kept, how it ends, what makes it again, and on which data.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as its tests do")]

use softmargin_lab::data::{Dataset, LoadOptions};
use softmargin_lab::network::Model;
use softmargin_lab::observer::{Observer, Outline, Step};
use softmargin_lab::predictor::Predictor;
use softmargin_lab::run::{EpochRecord, Run, Stopped};
use softmargin_lab::{ConfigRequest, DataSource, Destination, Error, Silent, TrainSummary, train};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn request(text: &str) -> ConfigRequest {
    toml::from_str(text).unwrap()
}

fn trained(request: &ConfigRequest, out: &Path) -> Result<TrainSummary, Error> {
    train(request, &Destination::new(out).unwrap(), &mut Silent)
}

fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn model(run: &Path) -> Vec<u8> {
    fs::read(run.join("model.safetensors")).unwrap()
}

fn last(run: &Path) -> Vec<u8> {
    fs::read(run.join("checkpoint/last.safetensors")).unwrap()
}

#[test]
fn the_resolved_configuration_makes_the_same_model_again() {
    let home = TempDir::new().unwrap();
    for (number, asked) in [
        "[training]\nepochs = 2\nseed = 5\nschedule = 'one-cycle'\ngradient-limit = 0.7\n[loss]\nname = 'sphereface'",
        "[training]\nepochs = 2\noptimizer = { kind = 'adamw' }\naugmentation = { rotation = 3 }\n[network]\nembedding = 9",
        "[training]\nepochs = 1\n[network]\nkind = 'projection'\n[data]\nvalidation-split = 'none'",
    ]
    .iter()
    .enumerate()
    {
        let [first, second] = ["first", "second"].map(|name| home.path().join(format!("{name}-{number}")));
        trained(&request(asked), &first).unwrap();
        trained(&ConfigRequest::read(&first.join("config.toml")).unwrap(), &second).unwrap();
        assert!(model(&first) == model(&second), "{asked}: another model");
        assert_eq!(
            fs::read_to_string(first.join("config.toml")).unwrap(),
            fs::read_to_string(second.join("config.toml")).unwrap()
        );
        let other = ConfigRequest::read(&first.join("config.toml")).unwrap();
        let other = request("[training]\nseed = 99").over(other).unwrap();
        trained(&other, &home.path().join(format!("other-{number}"))).unwrap();
        assert!(model(&first) != model(&home.path().join(format!("other-{number}"))), "the seed changes nothing");
    }
}

#[test]
fn the_best_model_by_validation_is_kept_and_the_last_one_too() {
    let home = TempDir::new().unwrap();
    let out = home.path().join("run");
    // A rate this high makes the accuracy jump from epoch to epoch.
    let asked = "[training]\nepochs = 6\nlearning-rate = 1.0\nschedule = 'constant'\nwarm-up = 0.0\nbatch-size = 16";
    let summary = trained(&request(asked), &out).unwrap();
    let lines = metrics(&out);
    let number = |line: &serde_json::Value, key: &str| line[key].as_f64().unwrap();
    // Of equal ones, `max_by` gives the last.
    let by_accuracy = |a: &&serde_json::Value, b: &&serde_json::Value| {
        number(a, "validation_accuracy").total_cmp(&number(b, "validation_accuracy"))
    };
    let best = lines[..6].iter().max_by(by_accuracy).unwrap();
    assert_eq!(best["epoch"], summary.best_epoch);
    assert_eq!(summary.validation_accuracy, best["validation_accuracy"].as_f64());
    assert_eq!((summary.stopped, summary.epochs), (Stopped::Finished, 6));
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[6]["test_accuracy"], summary.test_accuracy.unwrap());
    assert!((model(&out) == last(&out)) == (summary.best_epoch == 6));
    // What is kept is what was judged: not mixed with what came after.
    let run = Run::read(&out).unwrap();
    let device = softmargin_lab::DeviceChoice::Cpu.open().unwrap();
    let data = Dataset::load(&DataSource::Digits, &LoadOptions::default()).unwrap();
    let model = Model::load(&run.config, run.model.clone(), run.checkpoint.loss_state.as_ref(), &device).unwrap();
    let predictor = Predictor::new(model, run.config.clone(), device);
    let evaluation = predictor.evaluate(&data.validation.unwrap()).unwrap();
    assert_eq!(Some(evaluation.classification.accuracy), best["validation_accuracy"].as_f64());
    assert_eq!(Some(evaluation.loss), best["validation_loss"].as_f64());
}

#[test]
fn without_validation_the_last_model_is_kept() {
    let home = TempDir::new().unwrap();
    let out = home.path().join("run");
    let summary = trained(&request("[training]\nepochs = 2\n[data]\nvalidation-split = 'none'"), &out).unwrap();
    assert_eq!((summary.best_epoch, summary.validation_accuracy), (2, None));
    assert!(model(&out) == last(&out));
    assert!(metrics(&out)[0]["validation_loss"].is_null());
}

#[test]
fn patience_ends_training_early() {
    let home = TempDir::new().unwrap();
    let out = home.path().join("run");
    // A rate this high makes the accuracy jump from epoch to epoch.
    let asked = "[training]\nepochs = 50\npatience = 2\nlearning-rate = 1.0\nschedule = 'constant'\nwarm-up = 0.0\nbatch-size = 16";
    let summary = trained(&request(asked), &out).unwrap();
    assert_eq!(summary.stopped, Stopped::Early);
    let losses: Vec<f64> =
        metrics(&out)[..summary.epochs].iter().map(|line| line["validation_loss"].as_f64().unwrap()).collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(losses[..summary.epochs - 2].contains(&least), "the last two were no better: {losses:?}");
    let run = Run::read(&out).unwrap();
    assert_eq!(run.checkpoint.stopped, Some(Stopped::Early));
    assert!(fs::read_to_string(out.join("config.toml")).unwrap().contains("stopped early"));
}

/// Interrupts after so many steps, and looks at what is there by then.
struct Interrupter {
    steps: usize,
    done: Cell<usize>,
    draft: PathBuf,
    usable: Vec<bool>,
}

impl Observer for Interrupter {
    fn begins(&mut self, outline: &Outline) {
        self.draft = outline.draft.clone();
    }

    fn stepped(&mut self, _step: &Step) {
        self.done.set(self.done.get() + 1);
    }

    fn finished_epoch(&mut self, epoch: &EpochRecord) {
        // The epoch that has just ended is saved after this.
        self.usable.push(Run::read(&self.draft).is_ok_and(|run| run.checkpoint.epochs + 1 == epoch.epoch));
    }

    fn interrupted(&self) -> bool {
        self.done.get() >= self.steps
    }
}

fn interrupted(steps: usize, out: &Path) -> (Result<TrainSummary, Error>, Interrupter) {
    let mut observer = Interrupter { steps, done: Cell::new(0), draft: PathBuf::new(), usable: Vec::new() };
    let asked = request("[training]\nepochs = 4\nbatch-size = 100");
    (train(&asked, &Destination::new(out).unwrap(), &mut observer), observer)
}

#[test]
fn an_interrupted_run_is_whole() {
    let home = TempDir::new().unwrap();
    let out = home.path().join("run");
    // 11 steps an epoch: it ends within the third.
    let (summary, observer) = interrupted(25, &out);
    let summary = summary.unwrap();
    assert_eq!((summary.stopped, summary.epochs, observer.done.get()), (Stopped::Interrupted, 3, 25));
    assert_eq!(observer.usable, [false, true, true], "the draft can be used from the first epoch on");
    let run = Run::read(&out).unwrap();
    assert_eq!((run.checkpoint.steps, run.checkpoint.stopped), (25, Some(Stopped::Interrupted)));
    assert!(summary.test_accuracy.unwrap() > 0.5 && (1..=3).contains(&summary.best_epoch));
    assert!(out.join("report.html").exists());
    assert!(fs::read_to_string(out.join("config.toml")).unwrap().contains("it was interrupted in epoch 3 of 4"));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn an_interrupt_before_the_first_step_leaves_nothing() {
    let home = TempDir::new().unwrap();
    let (result, _) = interrupted(0, &home.path().join("run"));
    assert_eq!(result.unwrap_err().exit_code(), 1);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_loss_that_is_no_number_names_step_samples_and_a_way_out() {
    let home = TempDir::new().unwrap();
    for asked in [
        "[training]\nepochs = 1\nlearning-rate = 1e30\nwarm-up = 0.0",
        "[training]\nepochs = 1\nlearning-rate = 1e18\nwarm-up = 0.0\n[network]\nkind = 'none'\n[loss]\nname = 'cross-entropy'",
        "[training]\nepochs = 1\n[normalization]\nstd = 1e-38\n[network]\nkind = 'none'\n[loss]\nname = 'cross-entropy'",
    ] {
        let error = trained(&request(asked), &home.path().join("run")).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.exit_code(), 1, "{message}");
        assert!(message.contains("step") && message.contains("--lr") && message.contains("image "), "{message}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}

#[test]
fn batches_that_are_short_are_not_dropped() {
    struct Counter(usize);
    impl Observer for Counter {
        fn stepped(&mut self, step: &Step) {
            self.0 = step.images;
        }
    }
    let home = TempDir::new().unwrap();
    let mut counter = Counter(0);
    // 1,078 samples are not a multiple of 250.
    let asked = request("[training]\nepochs = 2\nbatch-size = 250\n[network]\nkind = 'none'");
    let summary = train(&asked, &Destination::new(&home.path().join("run")).unwrap(), &mut counter).unwrap();
    let samples = Dataset::load(&DataSource::Digits, &asked.load_options()).unwrap().train.len();
    assert_eq!((counter.0, summary.epochs), (2 * samples, 2));
}

/// A NumPy file of version 1.
fn npy(path: &Path, kind: &str, shape: &str, content: &[u8]) {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    let padded = format!("{header:<117}\n");
    let bytes =
        [b"\x93NUMPY\x01\x00".as_slice(), &(padded.len() as u16).to_le_bytes(), padded.as_bytes(), content].concat();
    fs::write(path, bytes).unwrap();
}

/// Three classes of 40 embeddings of five numbers, each around an axis of its own.
fn embeddings(folder: &Path) -> DataSource {
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for row in 0..120_usize {
        let class = row % 3;
        for axis in 0..5 {
            let off = ((row * 31 + axis * 17) % 23) as f32 / 23.0 - 0.5;
            values.extend((if axis == class { 2.0 + off } else { 0.6 * off }).to_le_bytes());
        }
        labels.extend((class as i64).to_le_bytes());
    }
    fs::create_dir_all(folder).unwrap();
    npy(&folder.join("embeddings.npy"), "<f4", "(120, 5)", &values);
    npy(&folder.join("labels.npy"), "<i8", "(120,)", &labels);
    DataSource::Path(folder.to_path_buf())
}

#[test]
fn embeddings_train_a_head_alone_or_a_projection() {
    let home = TempDir::new().unwrap();
    let source = embeddings(&home.path().join("embeddings"));
    for (name, asked, parameters, kind) in [
        ("alone", "[training]\nepochs = 20", 3 * 5, "kind = \"none\""),
        (
            "projected",
            "[training]\nepochs = 20\n[network]\nembedding = 4",
            5 * 4 + 2 * 4 + 3 * 4,
            "kind = \"projection\"",
        ),
    ] {
        let out = home.path().join(name);
        let asked = request(asked).over(ConfigRequest::new(source.clone())).unwrap();
        let summary = trained(&asked, &out).unwrap();
        assert_eq!((summary.test_accuracy.unwrap(), summary.parameters), (1.0, parameters), "{name}");
        let config = fs::read_to_string(out.join("config.toml")).unwrap();
        assert!(config.contains(kind) && !config.contains("augmentation"), "{config}");
        trained(&ConfigRequest::read(&out.join("config.toml")).unwrap(), &home.path().join(format!("{name}-again")))
            .unwrap();
        assert!(model(&out) == model(&home.path().join(format!("{name}-again"))));
    }
    let asked = request("[training]\naugmentation = { shift = 0.1 }").over(ConfigRequest::new(source)).unwrap();
    let error = trained(&asked, &home.path().join("changed")).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("augmentation"), "{error}");
}

/// Makes the folder of the run while it is being trained.
struct Taker(PathBuf);

impl Observer for Taker {
    fn finished_epoch(&mut self, _epoch: &EpochRecord) {
        fs::create_dir_all(self.0.join("of another")).unwrap();
    }
}

#[test]
fn a_path_that_is_taken_during_training_costs_no_model() {
    let home = TempDir::new().unwrap();
    let out = home.path().join("run");
    let destination = Destination::new(&out).unwrap();
    let summary = train(&request("[training]\nepochs = 1"), &destination, &mut Taker(out.clone())).unwrap();
    let place = home.path().join("run-2");
    assert_eq!(summary.out, place);
    assert!(summary.missing.len() == 1 && summary.missing[0].contains("run-2"), "{:?}", summary.missing);
    assert_eq!(Run::read(&place).unwrap().checkpoint.epochs, 1);
    assert!(metrics(&place).last().unwrap()["test_accuracy"].is_number());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "the folder of another is as it was");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "a draft is left");
}

/// Checks a run directory whose training failed after the first epoch, and returns its run.
#[track_caller]
fn failed_run(summary: &TrainSummary, cause: &str) -> Run {
    let run = Run::read(&summary.out).unwrap();
    assert_eq!((summary.stopped, run.checkpoint.stopped), (Stopped::Failed, Some(Stopped::Failed)));
    assert!((1..=run.checkpoint.epochs).contains(&run.checkpoint.best_epoch));
    assert!(summary.missing[0].contains(cause), "{:?}", summary.missing);
    let lines = metrics(&summary.out);
    assert_eq!(lines.len(), run.checkpoint.epochs + 1);
    assert!(lines.last().unwrap()["missing"][0].as_str().unwrap().contains(cause));
    let report = fs::read_to_string(summary.out.join("report.html")).unwrap();
    assert!(report.contains("not complete") && report.contains("; training failed"), "{report}");
    assert!(fs::read_to_string(summary.out.join("config.toml")).unwrap().contains("it failed after epoch"));
    run
}

#[test]
fn a_late_divergence_leaves_the_best_model_so_far_and_its_test() {
    let home = TempDir::new().unwrap();
    let asked = "[loss]\nname = \"cross-entropy\"\n[training]\nepochs = 20\nlearning-rate = 2.0";
    let summary = trained(&request(asked), &home.path().join("run")).unwrap();
    failed_run(&summary, "diverges");
    assert!(summary.test_accuracy.unwrap() > 0.3, "the best model is tested: {summary:?}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "a draft is left");
}

/// Panics after the second epoch.
struct Panicking;

impl Observer for Panicking {
    fn finished_epoch(&mut self, epoch: &EpochRecord) {
        assert!(epoch.epoch < 2, "a defect in epoch 2");
    }
}

#[test]
fn a_panic_leaves_the_best_model_so_far() {
    let home = TempDir::new().unwrap();
    let destination = Destination::new(&home.path().join("run")).unwrap();
    let summary = train(&request("[training]\nepochs = 3"), &destination, &mut Panicking).unwrap();
    failed_run(&summary, "a defect in epoch 2");
}

/// Breaks files of the data after the first epoch.
struct Breaking(PathBuf);

impl Observer for Breaking {
    fn finished_epoch(&mut self, _epoch: &EpochRecord) {
        for class in fs::read_dir(&self.0).unwrap() {
            for file in fs::read_dir(class.unwrap().path()).unwrap() {
                fs::write(file.unwrap().path(), "broken").unwrap();
            }
        }
    }
}

#[test]
fn streamed_data_that_break_during_training_cost_no_model() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    for class in ["dark", "light"] {
        fs::create_dir_all(data.join(class)).unwrap();
        for number in 0..20_u8 {
            let shade = if class == "dark" { number } else { 255 - number };
            image::GrayImage::from_pixel(8, 8, image::Luma([shade]))
                .save(data.join(class).join(format!("{number:02}.png")))
                .unwrap();
        }
    }
    let asked = format!("[data]\nsource = {data:?}\nmemory = 1\n[training]\nepochs = 3\nbatch-size = 8");
    let destination = Destination::new(&home.path().join("run")).unwrap();
    let summary = train(&request(&asked), &destination, &mut Breaking(data)).unwrap();
    failed_run(&summary, ".png");
    assert_eq!((summary.test_accuracy, summary.missing.len()), (None, 2), "{:?}", summary.missing);
}

#[test]
fn a_killed_run_is_named_by_the_next_one_and_a_running_one_is_not() {
    let home = TempDir::new().unwrap();
    let first = trained(&request("[training]\nepochs = 1"), &home.path().join("run")).unwrap();
    let killed = home.path().join(".other.partial-1");
    fs::rename(first.out, &killed).unwrap();
    let destination = Destination::new(&home.path().join("run")).unwrap();
    let run = Run::read(&killed).unwrap();
    let going_on = destination.begin(&run.config, &run.classes).unwrap();
    let unfinished = destination.unfinished_runs();
    assert_eq!(unfinished.len(), 1, "{unfinished:?} and not {going_on:?}");
    assert_eq!((&unfinished[0].path, unfinished[0].best_epoch), (&killed, Some(1)));
}
