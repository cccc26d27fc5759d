//! `softmargin evaluate`.

use crate::helpers::{digits_run, image_folder, json, names, rejected, softmargin, text};
use std::fs;
use tempfile::TempDir;

#[test]
fn the_test_part_gives_what_training_said() {
    let home = TempDir::new().unwrap();
    let run = digits_run(home.path());
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    let result = json(&softmargin(&["evaluate", "run", "--json"], home.path()));
    for (here, there) in [("accuracy", "test_accuracy"), ("loss", "test_loss"), ("samples", "test_images")] {
        assert_eq!(result[here], last[there], "{here}");
    }
    let recalls: Vec<_> = result["classes"].as_array().unwrap().iter().map(|class| class["recall"].clone()).collect();
    assert_eq!(serde_json::Value::from(recalls), last["recalls"]);
    let wrong: u64 = result["confusion"].as_array().unwrap().iter().map(|pair| pair["count"].as_u64().unwrap()).sum();
    let accuracy = 1.0 - wrong as f64 / result["samples"].as_f64().unwrap();
    assert!((accuracy - result["accuracy"].as_f64().unwrap()).abs() < 1e-12);
}

#[test]
fn every_part_can_be_asked_for_and_all_is_their_sum() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let samples = |part: &str| {
        let result = json(&softmargin(&["evaluate", "run", "--part", part, "--json"], home.path()));
        assert_eq!(result["part"], part);
        result["samples"].as_u64().unwrap()
    };
    let [train, validation, test, all] = ["train", "validation", "test", "all"].map(samples);
    assert_eq!((train + validation + test, all), (1797, 1797));
    assert!(validation > 100 && test == 599);
}

#[test]
fn a_page_is_written_and_the_text_names_the_classes() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let output = softmargin(&["evaluate", "run", "--report", "page.html"], home.path());
    let shown = text(&output.stdout);
    assert!(shown.contains("accuracy") && shown.contains("precision") && shown.contains("loss"), "{shown}");
    assert_eq!(names(home.path()), ["page.html", "run"]);
    let page = fs::read_to_string(home.path().join("page.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("mean F1") && page.ends_with("</html>\n"), "{page}");
    let message = rejected(&["evaluate", "run", "--report", "page.pdf"], home.path(), 2);
    assert!(message.contains("page.pdf") && message.contains(".html"), "{message}");
    let message = rejected(&["evaluate", "run", "--report", "page.html"], home.path(), 2);
    assert!(message.contains("page.html"), "{message}");
}

#[test]
fn other_data_are_prepared_as_the_runs_and_their_classes_found_by_name() {
    let home = TempDir::new().unwrap();
    digits_run(home.path());
    let pictures = image_folder(home.path(), 4);
    let message = rejected(&["evaluate", "run", "--data", "pictures"], home.path(), 2);
    assert!(message.contains("columns, lines") && message.contains("classes"), "{message}");
    // Pictures of 16 x 16 pixels for a model of 8 x 8, under the names of two digits.
    fs::rename(pictures.join("lines"), pictures.join("7")).unwrap();
    fs::rename(pictures.join("columns"), pictures.join("1")).unwrap();
    let result = json(&softmargin(&["evaluate", "run", "--data", "pictures", "--json"], home.path()));
    assert_eq!((&result["samples"], &result["part"]), (&8.into(), &"all".into()));
    let support: Vec<u64> =
        result["classes"].as_array().unwrap().iter().map(|class| class["samples"].as_u64().unwrap()).collect();
    assert_eq!(support, [0, 4, 0, 0, 0, 0, 0, 4, 0, 0]);
    assert!(result["classes"][0]["recall"].is_null());
}

#[test]
fn a_run_directory_that_is_cut_short_or_of_another_version_is_rejected() {
    let home = TempDir::new().unwrap();
    let run = digits_run(home.path());
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    fs::write(run.join("config.toml"), config.replace("format = 3", "format = 1")).unwrap();
    let message = rejected(&["evaluate", "run"], home.path(), 1);
    assert!(message.contains("format 1"), "{message}");
    fs::write(run.join("config.toml"), &config[..config.len() / 2]).unwrap();
    rejected(&["evaluate", "run"], home.path(), 1);
    fs::write(run.join("config.toml"), &config).unwrap();
    fs::remove_file(run.join("checkpoint/state.json")).unwrap();
    let message = rejected(&["evaluate", "run"], home.path(), 1);
    assert!(message.contains("state.json"), "{message}");
    rejected(&["evaluate", "absent"], home.path(), 2);
}

#[test]
fn a_part_that_is_no_longer_what_it_was_is_not_measured() {
    let home = TempDir::new().unwrap();
    let pictures = image_folder(home.path(), 12);
    json(&softmargin(&["train", "--data", "pictures", "--epochs", "1", "--out", "run", "--json"], home.path()));
    let measured = || softmargin(&["evaluate", "run", "--json"], home.path());
    assert!(json(&measured())["samples"].as_u64().unwrap() > 0);
    let lines = pictures.join("lines");
    fs::remove_file(lines.join(&names(&lines)[0])).unwrap();
    let message = rejected(&["evaluate", "run"], home.path(), 2);
    assert!(message.contains("the test part of pictures") && message.contains("--part all"), "{message}");
    assert_eq!(json(&softmargin(&["evaluate", "run", "--part", "all", "--json"], home.path()))["samples"], 23);
}

#[test]
fn the_runs_own_data_by_their_path_have_the_runs_parts() {
    let home = TempDir::new().unwrap();
    image_folder(home.path(), 12);
    let train = ["train", "--data", "pictures", "--test-split", "last:4", "--epochs", "1", "--out", "run", "--json"];
    let trained = json(&softmargin(&train, home.path()));
    let measured = json(&softmargin(&["evaluate", "run", "--data", "./pictures/", "--json"], home.path()));
    assert_eq!((&measured["samples"], &measured["part"]), (&trained["test_images"], &"test".into()));
    assert_eq!(measured["samples"], 8);
}
