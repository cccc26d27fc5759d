//! `softmargin train`, and what all subcommands share.

use crate::helpers::{command, image_folder, names, rejected, softmargin, text};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

#[test]
fn trains_tells_and_predicts() {
    let home = TempDir::new().unwrap();
    let pictures = image_folder(home.path(), 20);
    let data = pictures.to_str().unwrap();
    let arguments = ["train", "--data", data, "--epochs", "30", "--embedding-size", "16", "--json", "--out", "run"];
    let output = softmargin(&arguments, home.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["test_accuracy"], 1.0);
    assert_eq!(result["out"], "run");
    assert!(result["seconds"].as_f64().unwrap() > 0.0);
    let progress = text(&output.stderr);
    // The run is too short for an estimate of the remaining time.
    assert!(progress.contains("epoch 30/30") && progress.contains("samples/s"), "{progress}");
    let run = home.path().join("run");
    let files = ["checkpoint", "classes.json", "config.toml", "metrics.jsonl", "model.safetensors", "report.html"];
    assert_eq!(names(&run), files);
    assert_eq!(names(home.path()), ["pictures", "run"], "nothing else is left");
    assert_eq!(fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().count(), 31);
    assert!(fs::read_to_string(run.join("report.html")).unwrap().contains("<svg"));

    let image = pictures.join("lines/03.png");
    let folder = pictures.join("columns");
    let both = [image.to_str().unwrap(), folder.to_str().unwrap()];
    let output = softmargin(&["predict", "run", both[0], both[1], "--json"], home.path());
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let predictions = result["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 21);
    assert_eq!(predictions[0]["classes"][0]["class"], "lines");
    assert_eq!(predictions[1]["classes"][0]["class"], "columns");
    let output = softmargin(&["predict", "run", image.to_str().unwrap(), "--top", "2"], home.path());
    let line = text(&output.stdout);
    assert!(line.contains("lines") && line.contains("columns") && line.lines().count() == 1, "{line}");

    let message = rejected(&["predict", "run", "absent.png"], home.path(), 2);
    assert!(message.contains("absent.png"), "{message}");
    let message = rejected(&["predict", data, image.to_str().unwrap()], home.path(), 2);
    assert!(message.contains("config.toml"), "{message}");
    let message = rejected(&["predict", "run", image.to_str().unwrap(), "--top", "0"], home.path(), 2);
    assert!(message.contains("--top"), "{message}");
    let message = rejected(&["train", "--out", "run"], home.path(), 2);
    assert!(message.contains("run") && message.contains("--out"), "{message}");

    let model = fs::read(run.join("model.safetensors")).unwrap();
    fs::write(run.join("model.safetensors"), &model[..model.len() / 2]).unwrap();
    let message = rejected(&["predict", "run", image.to_str().unwrap()], home.path(), 1);
    assert!(message.contains("model.safetensors"), "{message}");
    fs::remove_file(run.join("classes.json")).unwrap();
    let message = rejected(&["predict", "run", image.to_str().unwrap()], home.path(), 1);
    assert!(message.contains("classes.json"), "{message}");
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    fs::write(run.join("config.toml"), config.replace("format = 3", "format = 99")).unwrap();
    let message = rejected(&["predict", "run", image.to_str().unwrap()], home.path(), 1);
    assert!(message.contains("format 99"), "{message}");
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let home = TempDir::new().unwrap();
    let train = |out: &str, seed: &str, threads: &str| {
        let arguments = ["train", "--epochs", "2", "--seed", seed, "--out", out];
        let status = command(&arguments, home.path()).env("RAYON_NUM_THREADS", threads).output().unwrap().status;
        assert!(status.success());
        fs::read(home.path().join(out).join("model.safetensors")).unwrap()
    };
    let first = train("a", "7", "1");
    assert!(first == train("b", "7", "2"), "two threads give other bits than one");
    assert!(first == train("c", "7", "3"), "three threads give other bits than one");
    assert!(first != train("d", "8", "1"), "the seed has no effect");
}

#[test]
fn every_loss_trains() {
    let home = TempDir::new().unwrap();
    for preset in softmargin::presets::all() {
        let arguments = ["train", "--loss", preset.name, "--epochs", "1", "--out", preset.name, "--json"];
        let output = softmargin(&arguments, home.path());
        assert!(output.status.success(), "{}: {}", preset.name, text(&output.stderr));
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        // One pass over the digits; by chance a tenth would be right.
        assert!(result["test_accuracy"].as_f64().unwrap() > 0.3, "{}: {result}", preset.name);
    }
}

#[test]
fn a_wrong_request_is_rejected_by_the_name_of_its_flag() {
    let home = TempDir::new().unwrap();
    let cases: [(&[&str], &str); 19] = [
        (&["--loss", "arcfase"], "arcface"),
        (&["--loss", "arcface", "--margin", "28.6"], "0.4992"),
        (&["--margin", "20"], "--margin"),
        (&["--margin", "-0.1"], "--margin"),
        (&["--margin", "nan"], "--margin"),
        (&["--margin", "0.1,0.2"], "--margin"),
        (&["--loss", "combined-margin", "--margin", "0.5"], "m1,m2,m3"),
        (&["--loss", "perceptron", "--margin", "0.5"], "crammer-singer"),
        (&["--scale", "0"], "--scale"),
        (&["--scale", "-30"], "--scale"),
        (&["--scale", "inf"], "--scale"),
        (&["--loss", "normface", "--scale", "0.5"], "--scale"),
        (&["--lr", "0"], "--lr"),
        (&["--lr", "nan"], "--lr"),
        (&["--epochs", "0"], "--epochs"),
        (&["--batch-size", "1"], "--batch-size"),
        (&["--embedding-size", "0"], "--embedding-size"),
        (&["--image-size", "3"], "--image-size: expected"),
        (&["--image-size", "513", "--loss", "unknown"], "--image-size: expected"),
    ];
    for (flags, named) in cases {
        let arguments: Vec<&str> = [&["train", "--out", "run"], flags].concat();
        let message = rejected(&arguments, home.path(), 2);
        assert!(message.contains(named) && message.contains("expected"), "{flags:?}: {message}");
    }
    for flag in ["--epochs", "--seed", "--batch-size", "--image-size", "--embedding-size"] {
        for value in ["-1", "1.5", "many", "99999999999999999999999"] {
            let message = rejected(&["train", flag, value], home.path(), 2);
            assert!(message.contains(flag) && message.contains("expected a whole number"), "{flag} {value}: {message}");
        }
    }
    for flag in ["--lr", "--scale", "--margin"] {
        let message = rejected(&["train", flag, "much"], home.path(), 2);
        assert!(message.contains(flag) && message.contains("expected a number"), "{flag}: {message}");
    }
    let message = rejected(&["train", "--optimiser", "sgd"], home.path(), 2);
    assert!(message.contains("use --optimizer"), "{message}");
    let message = rejected(&["predict", "run", "x.png", "--top", "-1"], home.path(), 2);
    assert!(message.contains("--top") && message.contains("expected a whole number"), "{message}");
    for words in [&["train", "--epochs", "many"] as &[&str], &["train", "--device", "tpu"], &["fly"], &[]] {
        assert_eq!(softmargin(words, home.path()).status.code(), Some(2), "{words:?}");
    }
    rejected(&["train", "--out", "no/such/place"], home.path(), 2);
}

#[test]
fn a_run_that_diverges_fails_and_leaves_nothing() {
    let home = TempDir::new().unwrap();
    for (epochs, batch) in [("1", "1198"), ("2", "1198"), ("1", "64"), ("3", "600")] {
        for lr in ["1e30", "1e200"] {
            let arguments = ["train", "--epochs", epochs, "--batch-size", batch, "--lr", lr, "--out", "run"];
            let message = rejected(&arguments, home.path(), 1);
            assert!(message.contains("--lr"), "{epochs} epochs of {batch}, {lr}: {message}");
        }
    }
}

#[test]
fn runs_without_a_place_of_their_own_do_not_take_each_others() {
    let home = TempDir::new().unwrap();
    let train = || {
        let mut train = command(&["train", "--epochs", "3", "--json"], home.path());
        train.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap()
    };
    let mut outs: Vec<String> = [train(), train()]
        .into_iter()
        .map(|run| {
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success());
            let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            result["out"].as_str().unwrap().to_owned()
        })
        .collect();
    outs.sort();
    assert_eq!(outs, ["run-1", "run-2"]);
    assert_eq!(names(home.path()), outs);
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_utf8_is_rejected_before_any_work() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let home = TempDir::new().unwrap();
    let path = OsString::from_vec(vec![b'a', 0xff]);
    for (flag, flags) in [("--data", &["--epochs", "1"] as &[&str]), ("--out", &["--epochs", "1", "--json"])] {
        let mut command = command(&["train", flag], home.path());
        let output = command.arg(&path).args(flags).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(&format!("{flag}: expected a path in UTF-8")), "{message}");
        assert!(names(home.path()).is_empty());
    }
}

#[test]
fn one_epoch_is_not_many() {
    let home = TempDir::new().unwrap();
    let output = softmargin(&["train", "--epochs", "1", "--out", "run"], home.path());
    assert!(text(&output.stderr).contains(" 1 epoch\n"), "{}", text(&output.stderr));
    assert!(fs::read_to_string(home.path().join("run/report.html")).unwrap().contains(">1 epoch,"));
}

#[test]
fn a_configuration_that_was_changed_is_rejected_and_never_a_panic() {
    let home = TempDir::new().unwrap();
    assert!(softmargin(&["train", "--epochs", "1", "--out", "run"], home.path()).status.success());
    image::GrayImage::new(8, 8).save(home.path().join("x.png")).unwrap();
    let path = home.path().join("run/config.toml");
    let config = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("stride = 1", "stride = 0"),
        ("channels = 16", "channels = 9223372036854775807"),
        ("channels = 16", "channels = 8"),
        ("embedding = 128", "embedding = 64"),
        ("pool = true", "pool = false"),
        ("skip = true", "skip = false\npools = 1"),
        ("height = 8", "height = 9"),
        ("std = ", "std = nan #"),
        ("value = ", "value = -"),
        ("kind = \"cosine\"", "kind = \"cosines\""),
    ] {
        let changed = config.replacen(from, to, 1);
        assert_ne!(changed, config, "{from} is not in the file:\n{config}");
        fs::write(&path, changed).unwrap();
        rejected(&["predict", "run", "x.png"], home.path(), 1);
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_the_build_lacks_is_rejected_with_the_way_to_get_it() {
    let home = TempDir::new().unwrap();
    let message = rejected(&["train", "--device", "cuda"], home.path(), 2);
    assert!(message.contains("--features cuda"), "{message}");
}

#[test]
fn broken_data_are_rejected_by_the_name_of_the_file() {
    let home = TempDir::new().unwrap();
    let train = |data: &Path| {
        let output = softmargin(&["train", "--data", data.to_str().unwrap(), "--out", "run"], home.path());
        assert!(!home.path().join("run").exists());
        let message = text(&output.stderr);
        assert!(!message.contains("panicked"), "{message}");
        (output.status.code(), message)
    };

    let pictures = image_folder(home.path(), 4);
    let whole = fs::read(pictures.join("lines/01.png")).unwrap();
    fs::write(pictures.join("lines/01.png"), &whole[..whole.len() / 2]).unwrap();
    let (code, message) = train(&pictures);
    assert!(code == Some(1) && message.contains("01.png"), "{message}");
    fs::write(pictures.join("lines/01.png"), whole).unwrap();
    fs::create_dir(pictures.join("nothing")).unwrap();
    let (code, message) = train(&pictures);
    assert!(code == Some(2) && message.contains("nothing"), "{message}");

    let idx = home.path().join("idx");
    fs::create_dir(&idx).unwrap();
    let header = |magic: u32, sizes: &[u32]| -> Vec<u8> {
        std::iter::once(magic).chain(sizes.iter().copied()).flat_map(u32::to_be_bytes).collect()
    };
    let write = |name: &str, header: Vec<u8>, content: &[u8]| {
        fs::write(idx.join(name), [header.as_slice(), content].concat()).unwrap();
    };
    for part in ["train", "t10k"] {
        write(&format!("{part}-images-idx3-ubyte"), header(0x803, &[4, 8, 8]), &[7; 4 * 64]);
        write(&format!("{part}-labels-idx1-ubyte"), header(0x801, &[4]), &[0, 1, 0, 1]);
    }
    write("train-images-idx3-ubyte", header(0x803, &[u32::MAX, u32::MAX, u32::MAX]), &[7; 64]);
    let (code, message) = train(&idx);
    assert!(code == Some(1) && message.contains("train-images-idx3-ubyte"), "{message}");
    write("train-images-idx3-ubyte", header(0x803, &[4, 8, 8]), &[7; 4 * 64]);
    write("train-labels-idx1-ubyte", header(0x801, &[3]), &[0, 1, 0]);
    let (code, message) = train(&idx);
    assert!(code == Some(1) && message.contains("train-labels-idx1-ubyte"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_run_outlives_its_terminal_if_that_signal_was_ignored() {
    let home = TempDir::new().unwrap();
    let binary = env!("CARGO_BIN_EXE_softmargin");
    // The signal goes to the process once its draft shows that it listens.
    let signaled = |signal: &str| {
        let script = format!(
            "trap '' HUP; '{binary}' train --epochs 30 --out {signal} 2>/dev/null & pid=$!; \
             until ls -d .{signal}.partial-* >/dev/null 2>&1; do sleep 0.05; done; \
             sleep 0.3; kill -{signal} $pid; wait $pid"
        );
        let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(home.path()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let [hang_up, termination] = ["HUP", "TERM"].map(signaled);
    assert!(hang_up.contains("of 30") && !hang_up.contains("interrupted"), "{hang_up}");
    assert!(termination.contains("interrupted"), "{termination}");
}
