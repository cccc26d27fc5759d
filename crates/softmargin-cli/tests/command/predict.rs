//! `softmargin predict`.

use crate::helpers::{command, digits_run, json, npy, picture_of_one, rejected, softmargin, text};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use tempfile::TempDir;

fn with_input(arguments: &[&str], home: &Path, input: &[u8]) -> Output {
    let mut child = command(arguments, home);
    let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_file_an_array_and_standard_input_are_the_same_picture() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let path = home.path().join("one.png");
    picture_of_one(&path);
    let pixels = image::open(&path).unwrap().into_luma8().into_raw();
    let shares: Vec<u8> = pixels.iter().flat_map(|&byte| (f32::from(byte) / 255.0).to_le_bytes()).collect();
    fs::write(home.path().join("bytes.npy"), npy("|u1", "1, 8, 8", &pixels)).unwrap();
    fs::write(home.path().join("shares.npy"), npy("<f4", "1, 8, 8", &shares)).unwrap();
    let inputs = ["predict", "run", "one.png", "bytes.npy", "shares.npy", "-", "--top", "10", "--json"];
    let result = json(&with_input(&inputs, home.path(), &fs::read(&path).unwrap()));
    let predictions = result["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 4);
    assert!(predictions.iter().all(|one| one["classes"] == predictions[0]["classes"]), "{result}");
    assert_eq!((&predictions[0]["row"], &predictions[1]["row"]), (&Value::Null, &0.into()));
    assert_eq!(predictions[0]["class"], predictions[0]["classes"][0]["class"]);
    let array = fs::read(home.path().join("bytes.npy")).unwrap();
    let result = json(&with_input(&["predict", "run", "-", "--json"], home.path(), &array));
    assert_eq!(result["predictions"][0]["class"], predictions[0]["class"]);
}

#[test]
fn what_is_not_likely_enough_is_unknown() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    picture_of_one(&home.path().join("one.png"));
    let predict =
        |limit: &str| softmargin(&["predict", "run", "one.png", "--unknown-below", limit, "--json"], home.path());
    assert!(json(&predict("0"))["predictions"][0]["class"].is_string());
    // Noise between the classes: its embedding is no multiple of a prototype.
    let noise: Vec<u8> = (0..64).map(|place| if place % 3 == 0 { 200 } else { 60 }).collect();
    fs::write(home.path().join("noise.npy"), npy("|u1", "1, 8, 8", &noise)).unwrap();
    let arguments = ["predict", "run", "noise.npy", "--unknown-below", "1"];
    let shown = text(&softmargin(&arguments, home.path()).stdout);
    assert!(shown.starts_with("noise.npy[0]  unknown, cosine 0."), "{shown}");
    let result = json(&softmargin(&[&arguments[..], &["--json"]].concat(), home.path()));
    assert!(result["predictions"][0]["class"].is_null() && result["predictions"][0]["classes"][0].is_object());
    assert_eq!(result["unknown_score"], "cosine");
    let best = &result["predictions"][0]["classes"][0];
    let (score, probability) = (best["score"].as_f64().unwrap(), best["probability"].as_f64().unwrap());
    assert!(score < 1.0 && score != probability, "{best}");
    let limits = [score - 1e-6, score + 1e-6].map(|limit| limit.to_string());
    let class = |limit: &str| {
        let arguments = ["predict", "run", "noise.npy", "--unknown-below", limit, "--json"];
        json(&softmargin(&arguments, home.path()))["predictions"][0]["class"].clone()
    };
    assert!(class(&limits[0]).is_string() && class(&limits[1]).is_null());
    for limit in ["-1.1", "1.5", "nan", "much"] {
        let message = rejected(&["predict", "run", "one.png", "--unknown-below", limit], home.path(), 2);
        assert!(message.contains("--unknown-below"), "{message}");
    }
}

#[test]
fn a_run_on_inner_products_is_judged_by_probability() {
    let home = TempDir::new().unwrap();
    let arguments = ["train", "--loss", "cross-entropy", "--epochs", "2", "--out", "run", "--quiet"];
    assert!(softmargin(&arguments, home.path()).status.success());
    picture_of_one(&home.path().join("one.png"));
    let arguments = ["predict", "run", "one.png", "--unknown-below", "1"];
    let shown = text(&softmargin(&arguments, home.path()).stdout);
    assert!(shown.starts_with("one.png  unknown, probability "), "{shown}");
    let result = json(&softmargin(&[&arguments[..], &["--json"]].concat(), home.path()));
    assert_eq!(result["unknown_score"], "probability");
    let message = rejected(&["predict", "run", "one.png", "--unknown-below", "-0.1"], home.path(), 2);
    assert!(message.contains("from 0 to 1"), "{message}");
}

#[test]
fn layouts_of_color_arrays_are_the_same_images() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let (rows, columns) = (8_usize, 10);
    let pixel = |row: usize, column: usize, channel: usize| (row * 29 + column * 17 + channel * 80) as u8;
    let places = || (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)));
    let last: Vec<u8> = places().flat_map(|(r, c)| (0..3).map(move |channel| pixel(r, c, channel))).collect();
    let first: Vec<u8> = (0..3).flat_map(|channel| places().map(move |(r, c)| pixel(r, c, channel))).collect();
    for (name, shape, content) in
        [("nhwc.npy", "1, 8, 10, 3", &last), ("nchw.npy", "1, 3, 8, 10", &first), ("hwc.npy", "8, 10, 3", &last)]
    {
        fs::write(home.path().join(name), npy("|u1", shape, content)).unwrap();
    }
    let arguments = ["predict", "run", "nhwc.npy", "nchw.npy", "hwc.npy", "--top", "10", "--json"];
    let result = json(&softmargin(&arguments, home.path()));
    let predictions = result["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 3);
    assert!(predictions.iter().all(|one| one["classes"] == predictions[0]["classes"]), "{result}");
    assert!(predictions[2]["row"].is_null() && predictions[1]["row"] == 0, "{result}");
}

#[test]
fn folders_are_searched_and_rows_have_their_names() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let inbox = home.path().join("inbox");
    fs::create_dir_all(inbox.join("monday/morning")).unwrap();
    picture_of_one(&inbox.join("monday/morning/one.png"));
    fs::write(inbox.join("scans.npy"), npy("|u1", "2, 8, 8", &[7; 128])).unwrap();
    fs::write(inbox.join("scans.names.json"), r#"["first\u001b[31m", "second"]"#).unwrap();
    let output = softmargin(&["predict", "run", "inbox"], home.path());
    let shown = text(&output.stdout);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    assert!(shown.contains(r"inbox/scans.npy[0] (first\u{1b}[31m)  "), "{shown}");
    assert!(shown.contains("inbox/monday/morning/one.png  "), "{shown}");
    let result = json(&softmargin(&["predict", "run", "inbox", "--json"], home.path()));
    assert_eq!(result["predictions"][1]["name"], "second");
    // The names of embeddings that are written are those of the rows, not numbers.
    let output = softmargin(&["embed", "run", "inbox/scans.npy", "--out", "x.npy"], home.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(fs::read_to_string(home.path().join("x.names.json")).unwrap().contains("second"));
    fs::write(inbox.join("scans.names.json"), r#"["first"]"#).unwrap();
    let output = softmargin(&["predict", "run", "inbox/scans.npy"], home.path());
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("2 names, one for each row"), "{said}");
}

#[test]
fn a_bad_file_stops_none_of_the_others() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let folder = home.path().join("inbox");
    fs::create_dir(&folder).unwrap();
    picture_of_one(&folder.join("a.png"));
    fs::write(folder.join("b.png"), b"no picture").unwrap();
    picture_of_one(&folder.join("c.png"));
    fs::write(folder.join("notes.txt"), b"text").unwrap();
    let output = softmargin(&["predict", "run", "inbox", "absent.png"], home.path());
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(said.contains("b.png") && said.contains("absent.png") && said.contains("1 other file"), "{said}");
    let output = softmargin(&["predict", "run", "inbox", "--json", "--quiet"], home.path());
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["failures"].as_array().unwrap().len(), 1);
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
}

#[test]
fn what_cannot_be_predicted_is_rejected_with_what_would_do() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("flat.npy", npy("<f4", "1, 64", &[0; 256]), "(N, H, W)"),
        ("large.npy", npy("<f4", "1, 8, 8", &2.0_f32.to_le_bytes().repeat(64)), "from 0 to 1"),
        ("short.npy", npy("<f4", "9, 8, 8", &[0; 256]), "short.npy"),
        ("objects.npy", npy("|O", "1, 8, 8", &[0; 512]), "objects"),
        ("text.png", b"text".to_vec(), "PNG"),
    ];
    for (name, content, named) in cases {
        fs::write(home.path().join(name), content).unwrap();
        let output = softmargin(&["predict", "run", name], home.path());
        let said = text(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty() && said.contains(named), "{name}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    rejected(&["predict", "run", "empty"], home.path(), 2);
    let output = with_input(&["predict", "run", "-"], home.path(), b"");
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("standard input"));
}

#[test]
fn threads_change_nothing_and_are_checked() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    picture_of_one(&home.path().join("one.png"));
    let predict = |threads: &str| {
        json(&softmargin(&["predict", "run", "one.png", "--top", "10", "--json", "--threads", threads], home.path()))
    };
    assert_eq!(predict("1"), predict("3"));
    for threads in ["0", "1025", "-1", "many"] {
        let message = rejected(&["predict", "run", "one.png", "--threads", threads], home.path(), 2);
        assert!(message.contains("--threads"), "{message}");
    }
}
